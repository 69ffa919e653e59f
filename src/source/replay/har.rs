//! A HAR as a recording: where its messages are, and all of its entries read at once in the order of their times.
//!
//! Leaves its syntax to `message/har`. Invariants: memory does not grow with the document; a file is open only while its
//! entry is under way.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use jiff::Timestamp;

use super::{Batches, CHUNK, Step, session_number};
use crate::message::event::{Direction, InputEvent};
use crate::message::har;
use crate::message::har::read::{Finder, Found, HarMessage, MessageReader, Scanner, as_we_write_it};
use crate::net::connection::io_text;

/// An entry of a HAR that has messages.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    session: Option<usize>,
    first: u64,
    time: Timestamp,
}

/// A HAR is one object that begins with "log".
pub(super) fn is_har(beginning: &[u8]) -> bool {
    let text = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(beginning).trim_ascii_start();
    text.strip_prefix(b"{").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"\"log\""))
}

/// Looks where the entries with messages are; reads every message when `check` says so.
pub(super) fn index(path: &Path, check: bool) -> Result<(Vec<Entry>, bool), String> {
    let mut index = Index { check, ..Index::default() };
    let mut scanner = Scanner::new();
    let mut file = open_at(path, 0)?;
    let mut chunk = vec![0; CHUNK];
    let mut length = read_chunk(&mut file, &mut chunk)?;
    index.is_ours = chunk[..length].starts_with(har::CREATED_BY_US.as_bytes());
    while length > 0 && index.wrong.is_none() {
        scanner.push(&chunk[..length], &mut index)?;
        length = read_chunk(&mut file, &mut chunk)?;
    }
    if let Some(wrong) = index.wrong {
        return Err(wrong);
    }
    // Cut off in the middle of an entry.
    push_entry(&mut index.entries, index.current.take(), None);
    Ok((index.entries, scanner.is_whole()))
}

/// What is known of a HAR.
#[derive(Default)]
struct Index {
    /// Whether every message is read.
    check: bool,
    /// Whether its messages stand on lines of their own.
    is_ours: bool,
    entries: Vec<Entry>,
    current: Option<(u64, Timestamp)>,
    number: usize,
    messages: u64,
    reader: MessageReader,
    wrong: Option<String>,
}

impl Index {
    fn wants_message(&self) -> bool {
        self.check || self.current.is_none()
    }

    fn message(&mut self, at: u64, message: Result<HarMessage, String>) {
        match message {
            Ok(message) => {
                self.current.get_or_insert((at, message.time));
            }
            Err(error) => {
                let (messages, number) = (self.messages, self.number);
                self.wrong.get_or_insert(format!("message {messages} of entry {number}: {error}"));
            }
        }
    }
}

impl Finder for Index {
    fn found(&mut self, found: Found<'_>) {
        match found {
            Found::Entry => {
                self.number += 1;
                self.messages = 0;
                self.current = None;
            }
            Found::Message(at, bytes) => {
                self.messages += 1;
                if self.wants_message() {
                    let message = self.reader.read(bytes);
                    self.message(at, message);
                }
            }
            Found::EntryEnd(session) => push_entry(&mut self.entries, self.current.take(), session.as_deref()),
        }
    }

    fn glance(&mut self, at: u64, text: &[u8]) -> Option<usize> {
        if !self.wants_message() {
            let length = as_we_write_it(text)?;
            self.messages += 1;
            return Some(length);
        }
        let (message, length) = self.reader.read_first(text)?;
        self.messages += 1;
        self.message(at, Ok(message));
        // Someone may have joined the lines.
        let rest = &text[length..];
        self.is_ours &= rest.starts_with(b",\n{") || rest.starts_with(b"\n]");
        Some(length)
    }

    fn is_content(&self) -> bool {
        self.is_ours && !self.check
    }
}

fn push_entry(entries: &mut Vec<Entry>, first: Option<(u64, Timestamp)>, session: Option<&str>) {
    if let Some((first, time)) = first {
        // Where no session is named, as in a browser's, each connection is one.
        let session = Some(session.map_or(entries.len(), |name| session_number(name).unwrap_or(entries.len())));
        entries.push(Entry { session, first, time });
    }
}

fn open_at(path: &Path, from: u64) -> Result<File, String> {
    let mut file = File::open(path).map_err(|error| io_text(&error))?;
    file.seek(SeekFrom::Start(from)).map_err(|error| io_text(&error))?;
    Ok(file)
}

fn read_chunk(file: &mut File, chunk: &mut [u8]) -> Result<usize, String> {
    loop {
        match file.read(chunk) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map_err(|error| io_text(&error)),
        }
    }
}

/// Reads the messages of one entry, a chunk at a time.
struct Cursor {
    session: Option<usize>,
    file: File,
    scanner: Scanner,
    ready: VecDeque<(u64, HarMessage)>,
    ended: bool,
}

impl Cursor {
    fn open(path: &Path, entry: &Entry) -> Result<Self, String> {
        Ok(Self {
            session: entry.session,
            file: open_at(path, entry.first)?,
            scanner: Scanner::at_message(entry.first),
            ready: VecDeque::new(),
            ended: false,
        })
    }

    /// Reads on until a message is ready or the entry has ended.
    fn fill(&mut self, chunk: &mut [u8], messages: &mut MessageReader) -> Result<(), String> {
        while self.ready.is_empty() && !self.ended {
            let length = read_chunk(&mut self.file, chunk)?;
            if length == 0 {
                self.ended = true;
                return Ok(());
            }
            let mut page = Page { messages, ready: &mut self.ready, ended: &mut self.ended, wrong: None };
            let pushed = self.scanner.push(&chunk[..length], &mut page);
            let wrong = page.wrong;
            // What comes after the entry is none of its business.
            if !self.ended {
                pushed?;
            }
            if let Some(wrong) = wrong {
                return Err(wrong);
            }
        }
        Ok(())
    }
}

/// What a chunk holds of an entry.
struct Page<'a> {
    messages: &'a mut MessageReader,
    ready: &'a mut VecDeque<(u64, HarMessage)>,
    ended: &'a mut bool,
    wrong: Option<String>,
}

impl Finder for Page<'_> {
    fn found(&mut self, found: Found<'_>) {
        match found {
            Found::Message(at, bytes) if !*self.ended && self.wrong.is_none() => match self.messages.read(bytes) {
                Ok(message) => self.ready.push_back((at, message)),
                Err(error) => self.wrong = Some(format!("byte {at}: {error}")),
            },
            Found::EntryEnd(_) => *self.ended = true,
            _ => {}
        }
    }

    fn glance(&mut self, at: u64, text: &[u8]) -> Option<usize> {
        if *self.ended || self.wrong.is_some() {
            return as_we_write_it(text);
        }
        let (message, length) = self.messages.read_first(text)?;
        self.ready.push_back((at, message));
        Some(length)
    }
}

/// Reads all entries at once, the oldest message first; a file is open only while its entry is under way.
pub(super) fn merge(path: &Path, entries: &[Entry], direction: Direction, batches: &mut Batches) -> Result<(), String> {
    let mut waiting: BinaryHeap<_> = entries.iter().enumerate().map(|(index, e)| Reverse((e.time, index))).collect();
    let mut cursors: Vec<Option<Cursor>> = entries.iter().map(|_| None).collect();
    let mut chunk = vec![0; CHUNK];
    let mut messages = MessageReader::default();
    let mut read = 0;
    while let Some(Reverse((_, index))) = waiting.pop() {
        let slot = &mut cursors[index];
        if slot.is_none() {
            *slot = Some(Cursor::open(path, &entries[index])?);
        }
        let Some(cursor) = slot else { continue };
        // As long as this one has the oldest message, there is no need to sort again.
        let until = waiting.peek().map(|Reverse((time, _))| *time);
        loop {
            cursor.fill(&mut chunk, &mut messages)?;
            let Some((_, message)) = cursor.ready.front() else { break };
            if until.is_some_and(|until| message.time > until) {
                waiting.push(Reverse((message.time, index)));
                break;
            }
            let Some((at, message)) = cursor.ready.pop_front() else { break };
            read = read.max(at);
            let wanted = message.dir == direction && message.event != InputEvent::Ignored;
            let step = Step { time: message.time, session: cursor.session, event: message.event, read };
            if wanted && !batches.push(step) {
                return Ok(());
            }
        }
        if cursor.ready.is_empty() && cursor.ended {
            *slot = None;
        }
    }
    Ok(())
}
