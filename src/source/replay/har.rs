//! A HAR as a recording: where its messages are, and all of its entries read at once in the order of their times.
//!
//! Leaves its syntax to `message/har`, files to [`super::document`]. Invariants: memory does not grow with the document;
//! a message that cannot be read is left out and counted, so that the others are sent.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use jiff::Timestamp;

use super::document::Document;
use super::{Batches, CHUNK, Step, session_number};
use crate::message::counted::counted;
use crate::message::event::{Direction, InputEvent};
use crate::message::har;
use crate::message::har::read::{EntryFacts, Finder, Found, HarMessage, MessageReader, Scanner, as_we_write_it};

/// An entry of a HAR that has messages.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    session: Option<usize>,
    /// Which one of the document, from 1.
    number: usize,
    first: u64,
    /// Of its first message, where that is known.
    time: Timestamp,
    /// The file its messages are kept in, apart from the document.
    file: Option<String>,
}

#[derive(Debug, Default)]
pub(super) struct Contents {
    pub entries: Vec<Entry>,
    /// Whether the document has its end.
    pub is_whole: bool,
    /// Entries of all kinds, and those of `WebSocket` connections.
    all: usize,
    websockets: usize,
    /// Messages that cannot be read, and what is wrong with the first, where every one was looked at.
    wrong: Wrong,
    good: u64,
}

/// Messages that cannot be read.
#[derive(Debug, Default)]
struct Wrong {
    count: u64,
    first: Option<String>,
}

impl Wrong {
    fn add(&mut self, place: impl FnOnce() -> String, error: &str) {
        self.count += 1;
        self.first.get_or_insert_with(|| format!("{}: {error}", place()));
    }
}

impl Contents {
    /// Why there is nothing to read in it, if there is not.
    pub(super) fn fault(&self) -> Option<String> {
        if let (Some(first), 0) = (&self.wrong.first, self.good) {
            return Some(first.clone());
        }
        if !self.entries.is_empty() || !self.is_whole {
            return None;
        }
        match (self.all, self.websockets) {
            (0, _) => Some("this HAR has no entries".to_owned()),
            (all, 0) => Some(format!("this HAR has no WebSocket connection among {}", entries(all))),
            // Recordings of ours may have none.
            (_, _) => None,
        }
    }

    /// What is said where it has connections and no messages.
    pub(super) fn note(&self) -> Option<String> {
        let none = self.entries.is_empty() && self.websockets > 0;
        none.then(|| format!("it has {} of WebSockets without messages", entries(self.websockets)))
    }
}

fn entries(count: usize) -> String {
    if count == 1 { "1 entry".to_owned() } else { format!("{count} entries") }
}

/// A HAR is one object that begins with "log".
pub(super) fn is_har(beginning: &[u8]) -> bool {
    let text = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(beginning).trim_ascii_start();
    text.strip_prefix(b"{").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"\"log\""))
}

/// Looks where the entries with messages are; reads every message when `check` says so.
pub(super) fn index(document: &Document, check: bool) -> Result<Contents, String> {
    let mut index = Index { check, ..Index::default() };
    let mut scanner = Scanner::new();
    let mut chunk = vec![0; CHUNK];
    let mut length = document.read_at(&mut chunk, 0)?;
    let mut at = 0;
    if !is_har(&chunk[..length]) {
        return Err("not a HAR: it does not begin with {\"log\"".to_owned());
    }
    index.is_ours = chunk[..length].starts_with(har::CREATED_BY_US.as_bytes());
    while length > 0 {
        scanner.push(&chunk[..length], &mut index)?;
        at += length as u64;
        length = document.read_at(&mut chunk, at)?;
    }
    // Cut off in the middle of an entry.
    index.end_entry(EntryFacts::default());
    let mut contents = index.contents;
    contents.is_whole = scanner.is_whole();
    for entry in &mut contents.entries {
        if let Some(name) = &entry.file {
            // Whatever is missing is to be known before anything is sent.
            if let Some(time) = first_time(&document.open_named(name)?)? {
                entry.time = time;
            }
        }
    }
    Ok(contents)
}

/// The time of the first message of a file apart, if that can be told.
fn first_time(document: &Document) -> Result<Option<Timestamp>, String> {
    let mut cursor = Cursor::over(document.clone(), None);
    cursor.fill(&mut vec![0; CHUNK], &mut MessageReader::default(), &mut Wrong::default())?;
    Ok(cursor.ready.front().and_then(|(_, message)| message.time))
}

/// What is known of a HAR.
#[derive(Default)]
struct Index {
    check: bool,
    /// Whether its messages stand on lines of their own.
    is_ours: bool,
    contents: Contents,
    current: Option<(u64, Option<Timestamp>)>,
    messages: u64,
    reader: MessageReader,
}

impl Index {
    fn wants_message(&self) -> bool {
        self.check || self.current.is_none()
    }

    fn message(&mut self, at: u64, message: Result<HarMessage, String>) {
        // Also one that cannot be read is where the entry begins.
        let time = message.as_ref().ok().and_then(|message| message.time);
        self.current.get_or_insert((at, time));
        match message {
            Ok(message) => self.contents.good += u64::from(message.event != InputEvent::Ignored),
            Err(error) => {
                let (messages, number) = (self.messages, self.contents.all);
                self.contents.wrong.add(|| place(messages, number), &error);
            }
        }
    }

    fn end_entry(&mut self, facts: EntryFacts) {
        let Some(session) = self.contents.end_entry(facts.session.as_deref()) else { return };
        let file = facts.file.filter(|_| facts.is_websocket && self.current.is_none());
        self.contents.websockets += usize::from(facts.is_websocket || self.current.is_some());
        if self.current.is_none() && file.is_none() {
            return;
        }
        let (first, time) = self.current.take().unwrap_or_default();
        let time = time.or(facts.started).unwrap_or(Timestamp::UNIX_EPOCH);
        let number = self.contents.all;
        self.contents.entries.push(Entry { session: Some(session), number, first, time, file });
    }
}

impl Contents {
    /// The session of an entry that ends, if one has begun.
    fn end_entry(&self, name: Option<&str>) -> Option<usize> {
        // Where no session is named, as in a browser's, each connection is one.
        (self.all > 0).then(|| name.and_then(session_number).unwrap_or(self.entries.len()))
    }
}

fn place(message: u64, entry: usize) -> String {
    format!("message {message} of entry {entry}")
}

impl Finder for Index {
    fn found(&mut self, found: Found<'_>) {
        match found {
            Found::Entry => {
                self.contents.all += 1;
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
            Found::EntryEnd(facts) => self.end_entry(facts),
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

/// Reads the messages of one entry, a chunk at a time.
struct Cursor {
    session: Option<usize>,
    number: usize,
    document: Document,
    /// How far it has been read.
    at: u64,
    scanner: Scanner,
    ready: VecDeque<(u64, HarMessage)>,
    /// Messages met so far, good or not.
    met: u64,
    ended: bool,
    /// The time of the last message.
    time: Timestamp,
}

impl Cursor {
    fn open(document: &Document, entry: &Entry) -> Result<Self, String> {
        let cursor = match &entry.file {
            Some(name) => Self::over(document.open_named(name)?, None),
            None => Self::over(document.clone(), Some(entry.first)),
        };
        Ok(Self { session: entry.session, number: entry.number, time: entry.time, ..cursor })
    }

    /// Over messages from this place of a document on; without one over a file of nothing but messages, an array of
    /// them or one after the other.
    fn over(document: Document, first: Option<u64>) -> Self {
        Self {
            session: None,
            number: 0,
            document,
            at: first.unwrap_or_default(),
            scanner: Scanner::at_message(first.unwrap_or_default()),
            ready: VecDeque::new(),
            met: 0,
            ended: false,
            time: Timestamp::UNIX_EPOCH,
        }
    }

    /// Reads on until a message is ready or the entry has ended.
    fn fill(&mut self, chunk: &mut [u8], messages: &mut MessageReader, wrong: &mut Wrong) -> Result<(), String> {
        while self.ready.is_empty() && !self.ended {
            let length = self.document.read_at(chunk, self.at)?;
            if length == 0 {
                self.ended = true;
                return Ok(());
            }
            // An array of its own opens another bracket than the one that is open already.
            let skipped = if self.at == 0 { usize::from(chunk[0] == b'[') } else { 0 };
            if skipped > 0 {
                self.scanner = Scanner::at_message(1);
            }
            self.at += length as u64;
            let mut page = Page {
                messages,
                ready: &mut self.ready,
                ended: &mut self.ended,
                met: &mut self.met,
                number: self.number,
                wrong,
            };
            let pushed = self.scanner.push(&chunk[skipped..length], &mut page);
            // What comes after the entry is none of its business.
            if !self.ended {
                pushed?;
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
    met: &'a mut u64,
    number: usize,
    wrong: &'a mut Wrong,
}

impl Finder for Page<'_> {
    fn found(&mut self, found: Found<'_>) {
        match found {
            Found::Message(at, bytes) if !*self.ended => {
                *self.met += 1;
                match self.messages.read(bytes) {
                    Ok(message) => self.ready.push_back((at, message)),
                    Err(error) => self.wrong.add(|| place(*self.met, self.number), &error),
                }
            }
            Found::EntryEnd(_) => *self.ended = true,
            _ => {}
        }
    }

    fn glance(&mut self, at: u64, text: &[u8]) -> Option<usize> {
        if *self.ended {
            return as_we_write_it(text);
        }
        let (message, length) = self.messages.read_first(text)?;
        *self.met += 1;
        self.ready.push_back((at, message));
        Some(length)
    }
}

/// Reads all entries at once, the oldest message first; what is to be told of those left out.
pub(super) fn merge(
    document: &Document,
    entries: &[Entry],
    direction: Direction,
    batches: &mut Batches,
) -> Result<Option<String>, String> {
    let mut waiting: BinaryHeap<_> = entries.iter().enumerate().map(|(index, e)| Reverse((e.time, index))).collect();
    let mut cursors: Vec<Option<Cursor>> = entries.iter().map(|_| None).collect();
    let mut chunk = vec![0; CHUNK];
    let mut messages = MessageReader::default();
    let mut wrong = Wrong::default();
    let mut read = 0;
    'all: while let Some(Reverse((_, index))) = waiting.pop() {
        let slot = &mut cursors[index];
        if slot.is_none() {
            *slot = Some(Cursor::open(document, &entries[index])?);
        }
        let Some(cursor) = slot else { continue };
        // As long as this one has the oldest message, there is no need to sort again.
        let until = waiting.peek().map(|Reverse((time, _))| *time);
        loop {
            cursor.fill(&mut chunk, &mut messages, &mut wrong)?;
            let Some((_, message)) = cursor.ready.front() else { break };
            // One without a time goes with the one before it.
            let time = message.time.unwrap_or(cursor.time);
            if until.is_some_and(|until| time > until) {
                waiting.push(Reverse((time, index)));
                break;
            }
            let Some((at, message)) = cursor.ready.pop_front() else { break };
            cursor.time = time;
            if entries[index].file.is_none() {
                read = read.max(at);
            }
            let is_message = message.event != InputEvent::Ignored;
            batches.others += u64::from(is_message && message.dir != direction);
            let wanted = is_message && message.dir == direction;
            let step = Step { time, session: cursor.session, event: message.event, read };
            if wanted && !batches.push(step) {
                break 'all;
            }
        }
        if cursor.ready.is_empty() && cursor.ended {
            *slot = None;
        }
    }
    Ok(wrong.first.map(|first| match wrong.count {
        1 => format!("skipped 1 unreadable message: {first}"),
        count => format!("skipped {} unreadable; the first: {first}", counted(count, "message")),
    }))
}
