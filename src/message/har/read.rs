//! Finds the WebSocket messages in a HAR as it streams by (sans-io).
//!
//! A HAR may be huge, most of it about other things: [`Scanner`] follows its brackets and strings, knows when it stands
//! in `log.entries[]._webSocketMessages[]`, and hands out each message as the bytes of one JSON object, for
//! [`MessageReader`]. Invariants: chunks may be cut anywhere; memory is one message and a byte a level of nesting.

use std::borrow::Cow;

use base64::Engine as _;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::message::Message;
use crate::message::event::{BASE64, Direction, InputEvent, close_of, control_of};
use crate::message::json_string::json_string_end;
use crate::message::payloads::Payloads;

/// Longest key, name or path looked at.
const MAX_WORD: usize = 1024;
/// Beyond this a time is in milliseconds, as Playwright writes it; as seconds it would be the year 5138.
const MILLISECONDS_ABOVE: f64 = 1e11;

/// What a [`Scanner`] comes across.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a> {
    /// An entry begins.
    Entry,
    /// A message that begins at this byte.
    Message(u64, &'a [u8]),
    /// The entry has ended, of which this is known.
    EntryEnd(EntryFacts),
}

/// What an entry says of itself beside its messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EntryFacts {
    /// The session it names.
    pub session: Option<String>,
    pub started: Option<Timestamp>,
    /// The file its content is kept in, apart from the document.
    pub file: Option<String>,
    /// Whether it is a WebSocket's, by its type, its address, or messages in it.
    pub is_websocket: bool,
}

/// Who is told what a [`Scanner`] comes across.
pub(crate) trait Finder {
    fn found(&mut self, found: Found<'_>);

    /// A message begins at byte `at` with this text, which may go on beyond the message or end before it does. Says how
    /// long the message is where that can be told at a glance and it has been dealt with.
    fn glance(&mut self, at: u64, text: &[u8]) -> Option<usize> {
        let length = as_we_write_it(text)?;
        self.found(Found::Message(at, &text[..length]));
        Some(length)
    }

    /// Whether the rest of this entry's messages, each known to stand on a line of its own, need not be found.
    fn is_content(&self) -> bool {
        false
    }
}

/// Follows a document in chunks.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    position: u64,
    begun: bool,
    /// The open brackets.
    stack: Vec<u8>,
    /// How many of them, from the outermost, are on the way to the messages.
    matched: usize,
    in_string: bool,
    escaped: bool,
    /// The messages are passed over to their end, which begins a line.
    passing_over: bool,
    /// Whether that line may begin with the next chunk.
    at_line: bool,
    /// The last string at a place where keys are looked at.
    word: Vec<u8>,
    key: Vec<u8>,
    facts: EntryFacts,
    /// How many of the open brackets, behind those of an entry, are on the way to what else is looked at.
    aside: usize,
    message: Vec<u8>,
    message_at: u64,
}

/// Brackets open inside a message.
const MESSAGE_LEVEL: usize = 6;
/// Brackets open inside an entry.
const ENTRY_LEVEL: usize = 4;

impl Scanner {
    /// A scanner at the beginning of a document.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A scanner at byte `position`, where a message begins.
    #[must_use]
    pub(crate) fn at_message(position: u64) -> Self {
        Self { position, stack: b"{{[{[".to_vec(), matched: MESSAGE_LEVEL - 1, ..Self::default() }
    }

    #[must_use]
    pub(crate) fn is_whole(&self) -> bool {
        self.begun && self.stack.is_empty()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// Bytes that cannot stand there in JSON.
    pub(crate) fn push(&mut self, chunk: &[u8], finder: &mut impl Finder) -> Result<(), String> {
        let start = self.position;
        let mut at = 0;
        // From here on bytes of a message are still to be kept.
        let mut kept = 0;
        while at < chunk.len() {
            if self.passing_over {
                at = self.pass_over(chunk, at);
                continue;
            }
            if self.in_string {
                at = self.string(chunk, at);
                continue;
            }
            let byte = chunk[at];
            match byte {
                b'"' => {
                    self.in_string = true;
                    self.word.clear();
                }
                b':' if self.looks_at_keys() => self.key = std::mem::take(&mut self.word),
                b',' if self.looks_at_keys() => self.key.clear(),
                b'{' | b'[' if !self.stack.is_empty() || !self.begun => {
                    self.begun = true;
                    if byte == b'{'
                        && self.matched == MESSAGE_LEVEL - 1
                        && self.stack.len() == MESSAGE_LEVEL - 1
                        && let Some(length) = finder.glance(start + at as u64, &chunk[at..])
                    {
                        at += length;
                        self.passing_over = finder.is_content();
                        continue;
                    }
                    self.open(byte);
                    match self.matched {
                        ENTRY_LEVEL if self.stack.len() == ENTRY_LEVEL => finder.found(Found::Entry),
                        MESSAGE_LEVEL if self.stack.len() == MESSAGE_LEVEL => {
                            (kept, self.message_at) = (at, start + at as u64);
                        }
                        _ => {}
                    }
                }
                b'}' | b']' => {
                    let (was_open, was_matched) = (self.stack.len(), self.matched);
                    self.close(byte).map_err(|()| format!("not valid JSON at byte {}", start + at as u64))?;
                    if was_open == was_matched && was_matched == MESSAGE_LEVEL {
                        self.message.extend_from_slice(&chunk[kept..=at]);
                        finder.found(Found::Message(self.message_at, &self.message));
                        self.message.clear();
                    } else if was_open == was_matched && was_matched == ENTRY_LEVEL {
                        finder.found(Found::EntryEnd(std::mem::take(&mut self.facts)));
                    }
                }
                // A byte order mark may stand at the beginning.
                b'\xef' | b'\xbb' | b'\xbf' if !self.begun && start + (at as u64) < 3 => {}
                _ if self.stack.is_empty() && !byte.is_ascii_whitespace() => {
                    return Err(format!("not valid JSON at byte {}", start + at as u64));
                }
                _ => {}
            }
            at += 1;
        }
        if self.matched == MESSAGE_LEVEL {
            self.message.extend_from_slice(&chunk[kept..]);
        }
        self.position = start + chunk.len() as u64;
        Ok(())
    }

    /// Goes on to the bracket that ends the messages; where it stands afterwards.
    fn pass_over(&mut self, chunk: &[u8], from: usize) -> usize {
        let here = std::mem::take(&mut self.at_line) && chunk[from] == b']';
        let end = if here { Some(from) } else { memchr::memmem::find(&chunk[from..], b"\n]").map(|at| from + at + 1) };
        self.passing_over = end.is_none();
        self.at_line = end.is_none() && chunk.ends_with(b"\n");
        end.unwrap_or(chunk.len())
    }

    /// Goes on in a string; where it stands afterwards.
    fn string(&mut self, chunk: &[u8], from: usize) -> usize {
        let mut at = from;
        if std::mem::take(&mut self.escaped) {
            at += 1;
        }
        loop {
            let rest = chunk.get(at..).unwrap_or_default();
            let Some(next) = memchr::memchr2(b'"', b'\\', rest) else {
                self.keep_word(&chunk[from..]);
                return chunk.len();
            };
            at += next;
            if chunk[at] == b'"' {
                self.keep_word(&chunk[from..at]);
                self.in_string = false;
                self.note_fact();
                return at + 1;
            }
            // What comes after a backslash is part of the string, whatever it is.
            at += 2;
            if at > chunk.len() {
                self.escaped = true;
                self.keep_word(&chunk[from..]);
                return chunk.len();
            }
        }
    }

    fn keep_word(&mut self, bytes: &[u8]) {
        if self.looks_at_keys() {
            let room = MAX_WORD.saturating_sub(self.word.len());
            self.word.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    fn looks_at_keys(&self) -> bool {
        self.matched == self.stack.len() && matches!(self.matched, 1 | 2 | ENTRY_LEVEL) || self.is_aside()
    }

    /// Whether this is an entry's request, its response, or that one's content.
    fn is_aside(&self) -> bool {
        self.aside > 0 && self.matched == ENTRY_LEVEL && self.stack.len() == ENTRY_LEVEL + self.aside
    }

    /// Notes a value that has just been read, where it says something of its entry.
    fn note_fact(&mut self) {
        if !self.looks_at_keys() || self.stack.len() < ENTRY_LEVEL {
            return;
        }
        let Ok(value) = std::str::from_utf8(&self.word) else { return };
        let facts = &mut self.facts;
        match (self.stack.len() - ENTRY_LEVEL, self.key.as_slice()) {
            (0, b"_session") => facts.session = Some(value.to_owned()),
            (0, b"_resourceType") => facts.is_websocket |= value == "websocket",
            (0, b"startedDateTime") => facts.started = value.parse().ok(),
            (1, b"url") => facts.is_websocket |= value.starts_with("ws://") || value.starts_with("wss://"),
            (2, b"_file") => facts.file = Some(value.to_owned()),
            _ => {}
        }
    }

    fn open(&mut self, byte: u8) {
        let on_the_way = self.matched == self.stack.len()
            && match self.matched {
                0 => byte == b'{',
                1 => byte == b'{' && self.key == b"log",
                2 => byte == b'[' && self.key == b"entries",
                ENTRY_LEVEL => byte == b'[' && self.key == b"_webSocketMessages",
                3 | 5 => byte == b'{',
                _ => false,
            };
        let is_next_aside = byte == b'{'
            && self.matched == ENTRY_LEVEL
            && self.stack.len() == ENTRY_LEVEL + self.aside
            && matches!((self.aside, self.key.as_slice()), (0, b"request" | b"response") | (1, b"content"));
        self.stack.push(byte);
        if on_the_way {
            self.matched += 1;
            // An array of messages, even of none.
            self.facts.is_websocket |= self.matched == ENTRY_LEVEL + 1;
        } else if is_next_aside {
            self.aside += 1;
        } else {
            return;
        }
        self.key.clear();
    }

    fn close(&mut self, byte: u8) -> Result<(), ()> {
        let opened = self.stack.pop().ok_or(())?;
        if (opened == b'{') != (byte == b'}') {
            return Err(());
        }
        if self.matched > self.stack.len() {
            self.matched = self.stack.len();
        }
        self.aside = self.aside.min(self.stack.len().saturating_sub(ENTRY_LEVEL));
        if self.looks_at_keys() {
            self.key.clear();
        }
        Ok(())
    }
}

/// One of the `_webSocketMessages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HarMessage {
    /// When, to the microsecond, where that is known.
    pub time: Option<Timestamp>,
    /// Direction, as seen by the recorder.
    pub dir: Direction,
    /// What to send in order to say it again.
    pub event: InputEvent,
}

/// As exporters write it: several leave the opcode or the time out, one writes -1 for a time it was told to leave out.
#[derive(Deserialize)]
struct Raw<'m> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'m, str>,
    #[serde(borrow, default)]
    time: Option<&'m RawValue>,
    #[serde(default)]
    opcode: Option<i64>,
    #[serde(borrow, default)]
    data: Option<Cow<'m, str>>,
}

/// The time of a message: a number, or a date in quotes.
fn time_of(raw: &RawValue) -> Result<Option<Timestamp>, String> {
    let text = raw.get();
    if text == "null" {
        return Ok(None);
    }
    let inner = text.trim_matches('"');
    if let (true, Ok(time)) = (text.starts_with('"'), inner.parse::<Timestamp>()) {
        return Ok(Some(time));
    }
    let number: f64 = inner.parse().map_err(|_| "\"time\" is neither a number nor a date".to_owned())?;
    if number < 0.0 {
        return Ok(None);
    }
    let seconds = if number > MILLISECONDS_ABOVE { number / 1e3 } else { number };
    Timestamp::from_microsecond((seconds * 1e6).round() as i64)
        .map(Some)
        .map_err(|_| format!("\"time\" is {number}; expected seconds since 1970"))
}

/// The length of a message that stands there whole and as `har::push_message` writes it: what recordings of ours are
/// full of is passed over at once.
pub(crate) fn as_we_write_it(text: &[u8]) -> Option<usize> {
    let (_, _, data) = quick_head(text)?;
    let end = json_string_end(data)?;
    (*data.get(end)? == b'}').then_some(text.len() - data.len() + end + 1)
}

/// Direction, microseconds and opcode of a message that begins as `har::push_message` writes it, and what comes after
/// the quote that begins its data.
fn quick_head(text: &[u8]) -> Option<((Direction, i64), bool, &[u8])> {
    let rest = text.strip_prefix(b"{\"type\":\"")?;
    let (dir, rest) = match rest.strip_prefix(b"send\",\"time\":") {
        Some(rest) => (Direction::Out, rest),
        None => (Direction::In, rest.strip_prefix(b"receive\",\"time\":")?),
    };
    // Ten digits: neither is it in milliseconds nor is a double too short for it.
    let (seconds, rest) = rest.split_first_chunk::<10>()?;
    let (micros, rest) = rest.strip_prefix(b".")?.split_first_chunk::<6>()?;
    let time = seconds.iter().chain(micros).try_fold(0_i64, |value, digit| {
        let digit = digit.wrapping_sub(b'0');
        (digit < 10).then_some(value * 10 + i64::from(digit))
    })?;
    if !(1_000_000_000_000_000..1 << 51).contains(&time) {
        return None;
    }
    let rest = rest.strip_prefix(b",\"opcode\":")?;
    let (is_text, rest) = match rest.strip_prefix(b"1") {
        Some(rest) => (true, rest),
        None => (false, rest.strip_prefix(b"2")?),
    };
    Some(((dir, time), is_text, rest.strip_prefix(b",\"data\":\"")?))
}

/// Reads messages one after the other.
#[derive(Debug, Default)]
pub(crate) struct MessageReader {
    payloads: Payloads,
}

impl MessageReader {
    /// Reads one of the `_webSocketMessages`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Result<HarMessage, String> {
        match self.read_first(bytes) {
            Some((message, length)) if length == bytes.len() => Ok(message),
            _ => parse_message(bytes),
        }
    }

    /// Reads the message that `text` begins with, and says how long it is, where it stands there whole and as
    /// `har::push_message` writes it.
    pub(crate) fn read_first(&mut self, text: &[u8]) -> Option<(HarMessage, usize)> {
        let ((dir, time), is_text, data) = quick_head(text)?;
        let (message, rest) = if is_text { self.payloads.text(data)? } else { self.payloads.base64(data)? };
        let time = Some(Timestamp::from_microsecond(time).ok()?);
        let rest = rest.strip_prefix(b"}")?;
        Some((HarMessage { time, dir, event: InputEvent::Message(message) }, text.len() - rest.len()))
    }
}

/// Reads a message from any exporter.
pub(super) fn parse_message(bytes: &[u8]) -> Result<HarMessage, String> {
    let raw: Raw = serde_json::from_slice(bytes).map_err(|error| format!("not a WebSocket message: {error}"))?;
    let time = raw.time.map(time_of).transpose()?.flatten();
    let dir = match &*raw.kind {
        "send" => Direction::Out,
        "receive" => Direction::In,
        "error" => return Ok(HarMessage { time, dir: Direction::In, event: InputEvent::Ignored }),
        other => return Err(format!("unknown type {other:?} (send, receive, error)")),
    };
    let opcode = raw.opcode.unwrap_or(1);
    let data = match raw.data {
        Some(data) => data,
        // What is not a message may be empty.
        None if opcode > 2 => Cow::Borrowed(""),
        None => return Err("no \"data\"".to_owned()),
    };
    if opcode == 1 {
        return Ok(HarMessage { time, dir, event: InputEvent::Message(Message::text(data.into_owned())) });
    }
    let payload = BASE64.decode(data.as_bytes()).map_err(|error| format!("\"data\": {error}"))?;
    let event = match opcode {
        2 => InputEvent::Message(Message::binary(payload)),
        8 => {
            let (code, reason) = split_close(&payload)?;
            let (code, reason) = close_of(code, reason)?;
            InputEvent::Close { code, reason }
        }
        9 => InputEvent::Ping(control_of(Bytes::from(payload))?),
        10 => InputEvent::Pong(control_of(Bytes::from(payload))?),
        _ => return Err(format!("unknown opcode {opcode}")),
    };
    Ok(HarMessage { time, dir, event })
}

fn split_close(payload: &[u8]) -> Result<(Option<u16>, String), String> {
    match payload {
        [] => Ok((None, String::new())),
        [high, low, reason @ ..] => {
            let reason = std::str::from_utf8(reason).map_err(|_| "the close reason is not UTF-8".to_owned())?;
            Ok((Some(u16::from_be_bytes([*high, *low])), reason.to_owned()))
        }
        [_] => Err("a close frame of one byte".to_owned()),
    }
}
