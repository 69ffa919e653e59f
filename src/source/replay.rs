//! A recording as a source: event lines or HAR, read again in the order of their times.
//!
//! Owns finding out what a file is, checking it, and reading it by a thread through a bounded channel. When a step is
//! due is the caller's business. Invariants: memory does not grow with the recording; what is cut off at the end (the
//! recorder was killed) is left out with a notice, anything else that cannot be read is an error that names the place.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::sync::mpsc;

use crate::message::event::recorded::{RecordedLines, RecordedMessage};
use crate::message::event::{Direction, InputEvent, parse_input_line};
use crate::message::har;
use crate::message::har::read::{Finder, Found, HarMessage, MessageReader, Scanner, as_we_write_it};
use crate::net::connection::io_text;

/// Bytes of one read.
const CHUNK: usize = 128 * 1024;
/// Steps handed over at a time.
const BATCH: usize = 512;
/// Payload bytes that end a batch early.
const BATCH_BYTES: usize = 128 * 1024;
/// Batches that may wait.
const WAITING: usize = 2;
/// Longest line.
const MAX_LINE: usize = 2 << 30;
/// A recording up to this size is checked whole before anything is sent.
const CHECKED: u64 = 1024 * 1024;

/// One thing to send again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// When it happened.
    pub time: Timestamp,
    /// Which session of the recording it belongs to, from 0.
    pub session: Option<usize>,
    /// What it is.
    pub event: InputEvent,
    /// How far into the file it stands, in bytes.
    pub read: u64,
}

/// What comes out of a recording.
#[derive(Debug)]
pub enum Item {
    /// Steps in order.
    Steps(Vec<Step>),
    /// Something to tell the user.
    Notice(String),
    /// It cannot be read on: the last item.
    Failed(String),
}

/// A recording that can be read.
#[derive(Debug)]
pub struct Recording {
    path: PathBuf,
    direction: Direction,
    kind: Kind,
    size: u64,
}

#[derive(Debug)]
enum Kind {
    Lines(BufReader<File>),
    /// The entries, and whether the document is whole.
    Har(Vec<Entry>, bool),
}

/// An entry of a HAR that has messages.
#[derive(Debug, Clone)]
struct Entry {
    session: Option<usize>,
    first: u64,
    time: Timestamp,
}

impl Recording {
    /// Opens a recording of either kind; `direction` says whose messages are wanted.
    ///
    /// # Errors
    /// With the file's name: it cannot be read, or is no recording.
    pub fn open(path: &Path, direction: Direction) -> Result<Self, String> {
        Self::open_unnamed(path, direction).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn open_unnamed(path: &Path, direction: Direction) -> Result<Self, String> {
        let cannot_read = |error: io::Error| format!("cannot read the recording: {}", io_text(&error));
        let file = File::open(path).map_err(cannot_read)?;
        let meta = file.metadata().map_err(cannot_read)?;
        let size = if meta.is_file() { meta.len() } else { 0 };
        let mut reader = BufReader::with_capacity(CHUNK, file);
        let kind = if is_har(reader.fill_buf().map_err(cannot_read)?) {
            if !meta.is_file() {
                return Err("a HAR must be a file, because it is read more than once".to_owned());
            }
            let (entries, whole) = index(path, size <= CHECKED)?;
            Kind::Har(entries, whole)
        } else {
            if meta.is_file() && size <= CHECKED {
                read_lines(&mut reader, direction, |_| true, |_| ())?;
                reader.seek(SeekFrom::Start(0)).map_err(cannot_read)?;
            }
            Kind::Lines(reader)
        };
        Ok(Self { path: path.to_owned(), direction, kind, size })
    }

    /// Bytes in the file; 0 where that is not known.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Starts reading; the channel ends with the recording.
    #[must_use]
    pub fn read(self) -> mpsc::Receiver<Item> {
        let (sender, receiver) = mpsc::channel(WAITING);
        std::thread::spawn(move || {
            let mut batches = Batches { sender, steps: Vec::new(), bytes: 0 };
            let (path, direction) = (self.path, self.direction);
            let mut notices = Vec::new();
            let result = match self.kind {
                Kind::Lines(mut reader) => {
                    read_lines(&mut reader, direction, |step| batches.push(step), |text| notices.push(text))
                }
                Kind::Har(entries, whole) => {
                    if !whole {
                        notices.push("it is cut off; what came after the last whole message was left out".to_owned());
                    }
                    merge(&path, &entries, direction, &mut batches)
                }
            };
            batches.hand_over();
            let named = |text: String| format!("{}: {text}", path.display());
            for notice in notices {
                let _ = batches.sender.blocking_send(Item::Notice(named(notice)));
            }
            if let Err(error) = result {
                let _ = batches.sender.blocking_send(Item::Failed(named(error)));
            }
        });
        receiver
    }
}

/// Steps on their way to the channel.
struct Batches {
    sender: mpsc::Sender<Item>,
    steps: Vec<Step>,
    bytes: usize,
}

impl Batches {
    /// False when nobody listens any more.
    fn push(&mut self, step: Step) -> bool {
        if let InputEvent::Message(message) = &step.event {
            self.bytes += message.len();
        }
        self.steps.push(step);
        if self.steps.len() < BATCH && self.bytes < BATCH_BYTES {
            return true;
        }
        self.hand_over()
    }

    fn hand_over(&mut self) -> bool {
        self.bytes = 0;
        let steps = std::mem::replace(&mut self.steps, Vec::with_capacity(BATCH));
        steps.is_empty() || self.sender.blocking_send(Item::Steps(steps)).is_ok()
    }
}

/// A HAR is one object that begins with "log".
fn is_har(beginning: &[u8]) -> bool {
    let text = beginning.strip_prefix(b"\xef\xbb\xbf").unwrap_or(beginning).trim_ascii_start();
    text.strip_prefix(b"{").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"\"log\""))
}

/// The place of a session among those of a recording, from 0: `s1` is the first.
pub fn session_number(name: &str) -> Option<usize> {
    name.strip_prefix('s')?.parse::<usize>().ok()?.checked_sub(1)
}

/// Lines, taken where they stand unless they go beyond what the reader has in memory.
struct Lines<R> {
    reader: R,
    begun: Vec<u8>,
    taken: usize,
}

impl<R: BufRead> Lines<R> {
    /// What `read` makes of the beginning of what the reader has in memory, if it says how long that is.
    fn first<T>(&mut self, read: impl FnOnce(&[u8]) -> Option<(T, usize)>) -> io::Result<Option<T>> {
        self.reader.consume(std::mem::take(&mut self.taken));
        let block = match self.reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(None),
            block => block?,
        };
        let Some((first, length)) = read(block) else { return Ok(None) };
        self.taken = length;
        Ok(Some(first))
    }

    /// The next line with its newline, if it has one; nothing at the end.
    fn next(&mut self) -> io::Result<&[u8]> {
        self.reader.consume(std::mem::take(&mut self.taken));
        self.begun.clear();
        loop {
            let block = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                block => block?,
            };
            let end = memchr::memchr(b'\n', block).map(|at| at + 1);
            let length = end.unwrap_or(block.len());
            if self.begun.is_empty() && end.is_some() {
                self.taken = length;
                return Ok(&self.reader.fill_buf()?[..length]);
            }
            self.begun.extend_from_slice(&block[..length]);
            self.reader.consume(length);
            if self.begun.len() > MAX_LINE {
                return Err(io::Error::other(format!("longer than {} GiB", MAX_LINE >> 30)));
            }
            if end.is_some() || length == 0 {
                return Ok(&self.begun);
            }
        }
    }
}

/// Reads event lines. `step` says whether to go on.
fn read_lines(
    reader: impl BufRead,
    direction: Direction,
    mut step: impl FnMut(Step) -> bool,
    mut notice: impl FnMut(String),
) -> Result<(), String> {
    let mut lines = Lines { reader, begun: Vec::new(), taken: 0 };
    let mut quick = RecordedLines::default();
    let mut read = 0;
    for number in 1_u64.. {
        let named = |error| format!("line {number}: {}", io_text(&error));
        let first = |text: &[u8]| {
            let (message, length) = quick.read_first(text)?;
            Some(((length, recorded(message, direction, read + length as u64)), length))
        };
        if let Some((length, next)) = lines.first(first).map_err(named)? {
            read += length as u64;
            if next.is_some_and(|next| !step(next)) {
                break;
            }
            continue;
        }
        let line = lines.next().map_err(named)?;
        if line.is_empty() {
            break;
        }
        read += line.len() as u64;
        match parse_line(&mut quick, line, direction, read) {
            Ok(next) => {
                if next.is_some_and(|next| !step(next)) {
                    break;
                }
            }
            Err(_) if !line.ends_with(b"\n") => {
                notice(format!("line {number} is cut off and was left out"));
                break;
            }
            Err(error) => return Err(format!("line {number}: {error}")),
        }
    }
    Ok(())
}

fn parse_line(quick: &mut RecordedLines, line: &[u8], direction: Direction, read: u64) -> Result<Option<Step>, String> {
    if let Some((message, _)) = quick.read_first(line) {
        return Ok(recorded(message, direction, read));
    }
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let line = parse_input_line(line)?;
    if line.dir != Some(direction) || line.event == InputEvent::Ignored {
        return Ok(None);
    }
    let time = line.time.ok_or("no \"time\"")?;
    let time = time.parse().map_err(|error| format!("\"time\": {error}"))?;
    Ok(Some(Step { time, session: line.session.as_deref().and_then(session_number), event: line.event, read }))
}

/// A message as a step, if its direction is wanted.
fn recorded(message: RecordedMessage<'_>, direction: Direction, read: u64) -> Option<Step> {
    let RecordedMessage { time, session, dir, message } = message;
    let event = InputEvent::Message(message);
    (dir == direction).then(|| Step { time, session: session_number(session), event, read })
}

/// Looks where the entries with messages are; reads every message when `check` says so.
fn index(path: &Path, check: bool) -> Result<(Vec<Entry>, bool), String> {
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
fn merge(path: &Path, entries: &[Entry], direction: Direction, batches: &mut Batches) -> Result<(), String> {
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

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
