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

use crate::message::Message;
use crate::message::event::{BASE64, Direction, InputEvent, close_of, control_of};
use crate::message::json_string::json_string_end;
use crate::message::payloads::Payloads;

/// Longest key or session name looked at.
const MAX_WORD: usize = 64;
/// Beyond this a time is in milliseconds, as Playwright writes it; as seconds it would be the year 5138.
const MILLISECONDS_ABOVE: f64 = 1e11;

/// What a [`Scanner`] comes across.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a> {
    /// An entry begins.
    Entry,
    /// A message that begins at this byte.
    Message(u64, &'a [u8]),
    /// The entry has ended; the session it names, if it does.
    EntryEnd(Option<String>),
}

/// Who is told what a [`Scanner`] comes across.
pub trait Finder {
    /// It has come across this.
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
pub struct Scanner {
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
    session: Option<String>,
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
    pub fn new() -> Self {
        Self::default()
    }

    /// A scanner at byte `position`, where a message begins.
    #[must_use]
    pub fn at_message(position: u64) -> Self {
        Self { position, stack: b"{{[{[".to_vec(), matched: MESSAGE_LEVEL - 1, ..Self::default() }
    }

    /// Whether the document has ended.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.begun && self.stack.is_empty()
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// Bytes that cannot stand there in JSON.
    pub fn push(&mut self, chunk: &[u8], finder: &mut impl Finder) -> Result<(), String> {
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
                        finder.found(Found::EntryEnd(self.session.take()));
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
                if self.looks_at_keys() && self.stack.len() == ENTRY_LEVEL && self.key == b"_session" {
                    self.session = String::from_utf8(self.word.clone()).ok();
                }
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
        self.matched == self.stack.len() && matches!(self.matched, 1 | 2 | ENTRY_LEVEL)
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
        self.stack.push(byte);
        if on_the_way {
            self.matched += 1;
            self.key.clear();
        }
    }

    fn close(&mut self, byte: u8) -> Result<(), ()> {
        let opened = self.stack.pop().ok_or(())?;
        if (opened == b'{') != (byte == b'}') {
            return Err(());
        }
        if self.matched > self.stack.len() {
            self.matched = self.stack.len();
        }
        if self.looks_at_keys() {
            self.key.clear();
        }
        Ok(())
    }
}

/// One of the `_webSocketMessages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HarMessage {
    /// When, to the microsecond.
    pub time: Timestamp,
    /// Which way, seen from whoever recorded it.
    pub dir: Direction,
    /// What to send in order to say it again.
    pub event: InputEvent,
}

#[derive(Deserialize)]
struct Raw<'m> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'m, str>,
    time: f64,
    opcode: i64,
    #[serde(borrow)]
    data: Cow<'m, str>,
}

/// The length of a message that stands there whole and as `har::push_message` writes it: what recordings of ours are
/// full of is passed over at once.
pub fn as_we_write_it(text: &[u8]) -> Option<usize> {
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
pub struct MessageReader {
    payloads: Payloads,
}

impl MessageReader {
    /// Reads one of the `_webSocketMessages`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(&mut self, bytes: &[u8]) -> Result<HarMessage, String> {
        match self.read_first(bytes) {
            Some((message, length)) if length == bytes.len() => Ok(message),
            _ => parse_message(bytes),
        }
    }

    /// Reads the message that `text` begins with, and says how long it is, where it stands there whole and as
    /// `har::push_message` writes it.
    pub fn read_first(&mut self, text: &[u8]) -> Option<(HarMessage, usize)> {
        let ((dir, time), is_text, data) = quick_head(text)?;
        let (message, rest) = if is_text { self.payloads.text(data)? } else { self.payloads.base64(data)? };
        let time = Timestamp::from_microsecond(time).ok()?;
        let rest = rest.strip_prefix(b"}")?;
        Some((HarMessage { time, dir, event: InputEvent::Message(message) }, text.len() - rest.len()))
    }
}

/// Reads a message, whoever wrote it.
pub(super) fn parse_message(bytes: &[u8]) -> Result<HarMessage, String> {
    let raw: Raw = serde_json::from_slice(bytes).map_err(|error| format!("not a WebSocket message: {error}"))?;
    let seconds = if raw.time.abs() > MILLISECONDS_ABOVE { raw.time / 1e3 } else { raw.time };
    let time = Timestamp::from_microsecond((seconds * 1e6).round() as i64)
        .map_err(|_| format!("\"time\" is {}: seconds since 1970 are expected", raw.time))?;
    let dir = match &*raw.kind {
        "send" => Direction::Out,
        "receive" => Direction::In,
        "error" => return Ok(HarMessage { time, dir: Direction::In, event: InputEvent::Ignored }),
        other => return Err(format!("unknown type {other:?} (send, receive, error)")),
    };
    if raw.opcode == 1 {
        return Ok(HarMessage { time, dir, event: InputEvent::Message(Message::text(raw.data.into_owned())) });
    }
    let payload = BASE64.decode(raw.data.as_bytes()).map_err(|error| format!("\"data\": {error}"))?;
    let event = match raw.opcode {
        2 => InputEvent::Message(Message::binary(payload)),
        8 => {
            let (code, reason) = split_close(&payload)?;
            let (code, reason) = close_of(code, reason)?;
            InputEvent::Close { code, reason }
        }
        9 => InputEvent::Ping(control_of(Bytes::from(payload))?),
        10 => InputEvent::Pong(control_of(Bytes::from(payload))?),
        _ => return Err(format!("unknown opcode {}", raw.opcode)),
    };
    Ok(HarMessage { time, dir, event })
}

fn split_close(payload: &[u8]) -> Result<(Option<u16>, String), String> {
    match payload {
        [] => Ok((None, String::new())),
        [high, low, reason @ ..] => {
            let reason = std::str::from_utf8(reason).map_err(|_| "the reason of a Close is not UTF-8".to_owned())?;
            Ok((Some(u16::from_be_bytes([*high, *low])), reason.to_owned()))
        }
        [_] => Err("a Close of one byte".to_owned()),
    }
}
