//! The event line: one line of JSON for everything that happens to a session.
//!
//! Owns the schema that `--json`, recordings, dead letters and the tap write and that
//! `--input json` reads. Leaves files, streams and sessions to others.
//! Invariants: one event is one line; payloads survive the round trip byte for byte (text as
//! `text`, other bytes as `base64`), times to the microsecond; no line holds a raw control
//! character, so that it may be shown on a terminal.

mod fields;
mod head;
pub(crate) mod recorded;

use std::borrow::Cow;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use jiff::Timestamp;
use serde::Deserialize;

pub(crate) use self::fields::push_base64;
use self::fields::{push_display, push_drop, push_field, push_field_or_null, push_message, push_payload};
pub(crate) use self::head::EventSession;
use self::head::{push_head, push_message_head};
use crate::message::Message;
use crate::message::control::{MAX_CONTROL, check_reason, stands_for_none};
pub(crate) use crate::message::digits::{push_number, push_time, time_text};
pub(crate) use crate::message::json_string::push_json_string;

/// Written with padding, read with or without.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Bytes of a message's line beside its payload, about.
const LINE_ROOM: usize = 160;

/// Stands for the session of an event that happened before there was one.
pub(crate) const NO_SESSION: &str = "-";

/// Which way a message went, seen from this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    In,
    Out,
}

impl Direction {
    /// `in` or `out`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// One thing that happened to a session.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// When it happened; written to the microsecond.
    pub time: Timestamp,
    /// Id of the session, such as `s1`.
    pub session: String,
    /// What that is called, where it has a name.
    pub name: Option<String>,
    /// Which way it went, where that means something.
    pub dir: Option<Direction>,
    /// The event itself.
    pub body: EventBody,
}

#[derive(Debug, Clone, PartialEq)]
pub enum EventBody {
    /// The connection opened.
    Open {
        url: Option<String>,
        peer: Option<String>,
        /// The path it asked for.
        path: Option<String>,
        /// The subprotocol agreed on.
        subprotocol: Option<String>,
        /// The extensions agreed on.
        extensions: Option<String>,
        handshake_ms: Option<f64>,
        subject: Option<String>,
    },
    /// A data message.
    Message(Message),
    Ping(Bytes),
    Pong(Bytes),
    /// The connection closed.
    Close {
        /// The close code; none when the Close frame had none or never came.
        code: Option<u16>,
        /// The reason given with it.
        reason: String,
        /// Whether the closing handshake was completed.
        clean: bool,
    },
    Error {
        error: String,
    },
    /// The connection will be opened again.
    Retry {
        /// Failures in a row, this one counted.
        attempt: u32,
        delay_ms: u64,
        cause: String,
    },
    /// A message was dropped.
    Drop {
        reason: Cow<'static, str>,
        /// Payload bytes, where they are known.
        size: Option<usize>,
    },
}

impl Event {
    /// Appends the event as one line.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        self.write(out, false);
    }

    /// The same for who looks on, with what a message took on the wire where it was compressed.
    pub fn write_seen_line(&self, out: &mut Vec<u8>) {
        self.write(out, true);
    }

    fn write(&self, out: &mut Vec<u8>, with_wire: bool) {
        let kind = match &self.body {
            EventBody::Open { .. } => "open",
            EventBody::Message(message) => message.kind().name(),
            EventBody::Ping(_) => "ping",
            EventBody::Pong(_) => "pong",
            EventBody::Close { .. } => "close",
            EventBody::Error { .. } => "error",
            EventBody::Retry { .. } => "retry",
            EventBody::Drop { .. } => "drop",
        };
        let session = EventSession { id: &self.session, name: self.name.as_deref() };
        push_head(out, self.time, session, self.dir, kind);
        match &self.body {
            EventBody::Open { url, peer, path, subprotocol, extensions, handshake_ms, subject } => {
                for (name, value) in [("url", url), ("peer", peer), ("path", path), ("subject", subject)] {
                    if let Some(value) = value {
                        push_field(out, name, value);
                    }
                }
                push_field_or_null(out, "subprotocol", subprotocol.as_deref());
                push_field_or_null(out, "extensions", extensions.as_deref());
                if let Some(ms) = handshake_ms.filter(|ms| ms.is_finite()) {
                    push_display(out, format_args!(",\"handshake_ms\":{ms}"));
                }
            }
            EventBody::Message(message) => {
                if let Some(wire) = message.wire().filter(|_| with_wire) {
                    push_display(out, format_args!(",\"wire_size\":{wire}"));
                }
                push_message(out, message);
            }
            EventBody::Ping(payload) | EventBody::Pong(payload) => {
                push_payload(out, payload, std::str::from_utf8(payload).is_ok());
            }
            EventBody::Close { code, reason, clean } => {
                match code {
                    Some(code) => push_display(out, format_args!(",\"code\":{code}")),
                    None => out.extend_from_slice(b",\"code\":null"),
                }
                push_field(out, "reason", reason);
                push_display(out, format_args!(",\"clean\":{clean}"));
            }
            EventBody::Error { error } => push_field(out, "error", error),
            EventBody::Retry { attempt, delay_ms, cause } => {
                push_display(out, format_args!(",\"attempt\":{attempt},\"delay_ms\":{delay_ms}"));
                push_field(out, "cause", cause);
            }
            EventBody::Drop { reason, size } => push_drop(out, reason, *size),
        }
        out.extend_from_slice(b"}\n");
    }

    /// Reads back what [`Event::write_line`] wrote.
    ///
    /// # Errors
    /// When the line is not an event line; the text says why.
    pub fn parse(line: &[u8]) -> Result<Self, String> {
        let mut line = Line::read(line)?;
        let time = line.time.take().ok_or("no \"time\"")?;
        let time = time.0.parse().map_err(|e| format!("\"time\": {e}"))?;
        let session = line.session.take().ok_or("no \"session\"")?.0.into_owned();
        let (name, dir) = (line.name.take().map(|name| name.0.into_owned()), line.direction()?);
        let body = match &*line.kind {
            "text" | "binary" => {
                let wire = line.wire_size;
                EventBody::Message(line.message()?.with_wire(wire))
            }
            "ping" => EventBody::Ping(line.payload()?),
            "pong" => EventBody::Pong(line.payload()?),
            "open" => EventBody::Open {
                url: line.url,
                peer: line.peer,
                path: line.path,
                subprotocol: line.subprotocol,
                extensions: line.extensions,
                // By way of its text: reading it as f64 at once may be off in the last digit.
                handshake_ms: line.handshake_ms.and_then(|ms| ms.as_f64()),
                subject: line.subject,
            },
            "close" => EventBody::Close {
                code: line.code,
                reason: line.reason.unwrap_or_default(),
                clean: line.clean.unwrap_or_default(),
            },
            "error" => EventBody::Error { error: line.error.unwrap_or_default() },
            "retry" => EventBody::Retry {
                attempt: line.attempt.unwrap_or_default(),
                delay_ms: line.delay_ms.unwrap_or_default(),
                cause: line.cause.unwrap_or_default(),
            },
            "drop" => EventBody::Drop {
                reason: line.reason.unwrap_or_default().into(),
                size: line.size.and_then(|size| size.as_u64()).and_then(|size| usize::try_from(size).ok()),
            },
            _ => return Err(line.unknown_type()),
        };
        Ok(Self { time, session, name, dir, body })
    }
}

/// Appends the event line of a data message without building an [`Event`].
pub(crate) fn write_message_line<'s>(
    out: &mut Vec<u8>,
    time: Timestamp,
    session: impl Into<EventSession<'s>>,
    dir: Direction,
    message: &Message,
) {
    write_line(out, time, session.into(), dir, message, None);
}

/// Appends the event line of a message that could not be delivered, with the reason as `error`.
pub(crate) fn write_dead_letter_line<'s>(
    out: &mut Vec<u8>,
    time: Timestamp,
    session: impl Into<EventSession<'s>>,
    dir: Direction,
    message: &Message,
    error: &str,
) {
    write_line(out, time, session.into(), dir, message, Some(error));
}

fn write_line(
    out: &mut Vec<u8>,
    time: Timestamp,
    session: EventSession<'_>,
    dir: Direction,
    message: &Message,
    error: Option<&str>,
) {
    out.reserve(message.len() + LINE_ROOM);
    push_message_head(out, time, session, dir, message.kind());
    push_message(out, message);
    if let Some(error) = error {
        push_field(out, "error", error);
    }
    out.extend_from_slice(b"}\n");
}

/// Appends the event line of a dropped message without building an [`Event`].
pub(crate) fn write_drop_line(
    out: &mut Vec<u8>,
    time: Timestamp,
    session: EventSession<'_>,
    dir: Direction,
    reason: &str,
    size: Option<usize>,
) {
    push_head(out, time, session, Some(dir), "drop");
    push_drop(out, reason, size);
    out.extend_from_slice(b"}\n");
}

/// What a line of `--input json` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputEvent {
    /// Send this message.
    Message(Message),
    /// Send a ping.
    Ping(Bytes),
    /// Send a pong.
    Pong(Bytes),
    /// A close frame.
    Close {
        /// With this code, if any.
        code: Option<u16>,
        /// The close reason; may be empty.
        reason: String,
    },
    /// Nothing: the line records what cannot be sent (`open`, `error`, `retry`, `drop`).
    Ignored,
}

/// One line of `--input json` or of a recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputLine<'l> {
    /// When it happened, as it is written there.
    pub time: Option<Cow<'l, str>>,
    /// Which way it went, if it says so.
    pub dir: Option<Direction>,
    /// The session it names, if it names one: by id, else by name.
    pub session: Option<Cow<'l, str>>,
    pub event: InputEvent,
}

/// Reads a line of `--input json`: an event line of which only `type` and the payload are needed.
///
/// # Errors
/// When it is no such line, or asks for a frame that RFC 6455 does not allow.
pub fn parse_input_line(line: &[u8]) -> Result<InputLine<'_>, String> {
    let mut line = Line::read(line)?;
    let dir = line.direction()?;
    let time = line.time.take().map(|word| word.0);
    let session = line.session.take().or(line.name.take()).map(|word| word.0);
    let event = match &*line.kind {
        "text" | "binary" => InputEvent::Message(line.message()?),
        "ping" => InputEvent::Ping(line.control_payload()?),
        "pong" => InputEvent::Pong(line.control_payload()?),
        "close" => {
            let (code, reason) = line.close()?;
            InputEvent::Close { code, reason }
        }
        "open" | "error" | "retry" | "drop" => InputEvent::Ignored,
        _ => return Err(line.unknown_type()),
    };
    Ok(InputLine { time, dir, session, event })
}

/// A string that is taken as it stands in the line, where it stands there without escapes.
#[derive(Deserialize)]
struct Word<'l>(#[serde(borrow)] Cow<'l, str>);

/// Every field that any event line may have.
#[derive(Deserialize)]
struct Line<'l> {
    #[serde(borrow)]
    time: Option<Word<'l>>,
    #[serde(borrow)]
    session: Option<Word<'l>>,
    #[serde(borrow)]
    name: Option<Word<'l>>,
    #[serde(borrow)]
    dir: Option<Word<'l>>,
    #[serde(borrow, rename = "type")]
    kind: Cow<'l, str>,
    text: Option<String>,
    base64: Option<String>,
    url: Option<String>,
    peer: Option<String>,
    path: Option<String>,
    subject: Option<String>,
    subprotocol: Option<String>,
    extensions: Option<String>,
    handshake_ms: Option<serde_json::Number>,
    cause: Option<String>,
    code: Option<u16>,
    reason: Option<String>,
    clean: Option<bool>,
    error: Option<String>,
    attempt: Option<u32>,
    delay_ms: Option<u64>,
    wire_size: Option<usize>,
    size: Option<serde_json::Number>,
}

impl<'l> Line<'l> {
    fn read(line: &'l [u8]) -> Result<Self, String> {
        // serde would take an array of the fields in order as well.
        if line.trim_ascii_start().first() != Some(&b'{') {
            return Err("not an event line: expected a JSON object".to_owned());
        }
        serde_json::from_slice(line).map_err(|e| format!("not an event line: {e}"))
    }

    fn unknown_type(&self) -> String {
        format!("unknown type {:?} (text, binary, ping, pong, close, open, error, retry, drop)", self.kind)
    }

    fn direction(&self) -> Result<Option<Direction>, String> {
        match self.dir.as_ref().map(|word| &*word.0) {
            None => Ok(None),
            Some("in") => Ok(Some(Direction::In)),
            Some("out") => Ok(Some(Direction::Out)),
            Some(other) => Err(format!("unknown dir {other:?} (in or out)")),
        }
    }

    fn bytes(self) -> Result<Option<Bytes>, String> {
        match (self.text, self.base64) {
            (Some(_), Some(_)) => Err("both \"text\" and \"base64\"".to_owned()),
            (Some(text), None) => Ok(Some(Bytes::from(text))),
            (None, Some(code)) => {
                let bytes = BASE64.decode(code).map_err(|e| format!("\"base64\": {e}"))?;
                Ok(Some(Bytes::from(bytes)))
            }
            (None, None) => Ok(None),
        }
    }

    fn payload(self) -> Result<Bytes, String> {
        Ok(self.bytes()?.unwrap_or_default())
    }

    fn control_payload(self) -> Result<Bytes, String> {
        control_of(self.payload()?)
    }

    fn message(self) -> Result<Message, String> {
        let binary = self.kind == "binary";
        let bytes = self.bytes()?.ok_or("no payload; add \"text\" or \"base64\"")?;
        if binary {
            Ok(Message::binary(bytes))
        } else {
            Message::text_from_bytes(bytes).map_err(|_| "type is text but the payload is not UTF-8".to_owned())
        }
    }

    fn close(self) -> Result<(Option<u16>, String), String> {
        close_of(self.code, self.reason.unwrap_or_default())
    }
}

/// The payload of a ping or pong, if it fits into one.
pub(super) fn control_of(payload: Bytes) -> Result<Bytes, String> {
    if payload.len() > MAX_CONTROL {
        return Err(format!("a ping or pong carries at most {MAX_CONTROL} bytes, not {}", payload.len()));
    }
    Ok(payload)
}

/// Code and reason for a Close frame. The codes that stand for "there was none" (RFC 6455
/// section 7.4.1) come from recordings and mean a Close frame without one.
pub(super) fn close_of(code: Option<u16>, reason: String) -> Result<(Option<u16>, String), String> {
    match code {
        None => Ok((None, String::new())),
        Some(code) if stands_for_none(code) => Ok((None, String::new())),
        Some(code @ 1000..=4999) => check_reason(&reason).map(|()| (Some(code), reason)),
        Some(code) => Err(format!("invalid close code {code}")),
    }
}

#[cfg(test)]
#[path = "event_tests.rs"]
mod tests;
