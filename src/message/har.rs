//! HAR 1.2 with the `_webSocketMessages` of Chrome: an entry for each connection, its messages in it.
//!
//! Owns how a recording looks as HAR ([`read`] takes it apart again). Leaves files to `sink/record` and
//! `source/replay`. Invariants: a document is [`HEAD`], entries with commas between, and [`FOOT`]; an entry is
//! [`push_entry_head`], messages with commas between, and [`push_entry_tail`], so that a file that ends in a tail and
//! [`FOOT`] is whole at any time. Times are seconds since 1970 to the microsecond. What is not a message (a ping, a
//! pong, a Close) stands under its opcode of RFC 6455, an error as Chrome's own type `error`.

pub(crate) mod read;

use std::io::Write as _;

use jiff::Timestamp;

use super::digits::{push_number, push_seconds, push_time};
use super::event::{Direction, Event, EventBody, push_base64};
use super::json_string::{push_json_string, push_json_utf8};
use super::{Message, MessageKind};

/// The beginning of a document.
pub(crate) const HEAD: &str = concat!(
    "{\"log\":{\"version\":\"1.2\",\"creator\":{\"name\":\"wsp\",\"version\":\"",
    env!("CARGO_PKG_VERSION"),
    "\"},\"pages\":[],\"entries\":["
);

/// How a document begins that was written here, whatever the version: its messages stand on lines of their own.
pub(crate) const CREATED_BY_US: &str = "{\"log\":{\"version\":\"1.2\",\"creator\":{\"name\":\"wsp\",";

/// The end of a document.
pub(crate) const FOOT: &str = "\n]}}\n";

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Request, answer and times of a connection. Heads are as `-v` shows them, secrets redacted; empty for a connection
/// that never opened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Exchange<'a> {
    /// Request line and headers.
    pub request: &'a str,
    /// Status line and headers of the answer.
    pub response: &'a str,
    /// The server's address.
    pub address: &'a str,
    /// Look-up, TCP (TLS included), TLS and upgrade, in milliseconds.
    pub times: Times,
}

/// How long the steps of opening took, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Times {
    pub dns: f64,
    pub tcp: f64,
    /// TLS; 0 without it.
    pub tls: f64,
    /// From the request to its answer.
    pub upgrade: f64,
}

impl Times {
    #[must_use]
    pub(crate) fn total(&self) -> f64 {
        self.dns + self.tcp + self.tls + self.upgrade
    }
}

/// Appends an entry up to its first message.
pub(crate) fn push_entry_head(
    out: &mut Vec<u8>,
    session: &str,
    url: &str,
    started: Timestamp,
    exchange: &Exchange<'_>,
) {
    out.extend_from_slice(b"\n{\"_session\":");
    push_json_string(out, session);
    out.extend_from_slice(b",\"_resourceType\":\"websocket\",\"startedDateTime\":\"");
    push_time(out, started);
    out.extend_from_slice(b"\",\"cache\":{}");
    if let Some((host, port)) = exchange.address.rsplit_once(':') {
        field(out, "serverIPAddress", host.trim_matches(['[', ']']));
        field(out, "connection", port);
    }
    request(out, url, exchange.request);
    response(out, exchange.response);
    out.extend_from_slice(b",\"_webSocketMessages\":[");
}

fn request(out: &mut Vec<u8>, url: &str, head: &str) {
    out.extend_from_slice(b",\"request\":{\"method\":\"GET\"");
    field(out, "url", url);
    field(out, "httpVersion", "HTTP/1.1");
    headers(out, head);
    let query = url.split_once('?').map_or("", |(_, query)| query.split('#').next().unwrap_or_default());
    out.extend_from_slice(b",\"queryString\":[");
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    pairs_as_objects(out, pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))));
    out.extend_from_slice(b"],\"cookies\":[],\"headersSize\":-1,\"bodySize\":0}");
}

fn response(out: &mut Vec<u8>, head: &str) {
    let mut words = head.lines().next().unwrap_or_default().splitn(3, ' ').skip(1);
    let status: u16 = words.next().and_then(|status| status.parse().ok()).unwrap_or(0);
    write(out, format_args!(",\"response\":{{\"status\":{status}"));
    field(out, "statusText", words.next().unwrap_or_default().trim());
    field(out, "httpVersion", "HTTP/1.1");
    headers(out, head);
    out.extend_from_slice(b",\"cookies\":[],\"content\":{\"size\":0,\"mimeType\":\"x-unknown\"},\"redirectURL\":\"\"");
    out.extend_from_slice(b",\"headersSize\":-1,\"bodySize\":0,\"_transferSize\":0}");
}

fn headers(out: &mut Vec<u8>, head: &str) {
    out.extend_from_slice(b",\"headers\":[");
    pairs_as_objects(out, head.lines().skip(1).filter_map(|line| line.split_once(": ")));
    out.push(b']');
}

fn pairs_as_objects<'t>(out: &mut Vec<u8>, pairs: impl Iterator<Item = (&'t str, &'t str)>) {
    for (index, (name, value)) in pairs.enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"name\":" } else { b",{\"name\":" });
        push_json_string(out, name);
        field(out, "value", value);
        out.push(b'}');
    }
}

/// Appends the end of an entry whose connection has lasted `time` milliseconds since it was open.
pub(crate) fn push_entry_tail(out: &mut Vec<u8>, times: Times, time: f64) {
    let Times { dns, tcp, tls, upgrade } = times;
    let ssl = if tls > 0.0 { tls } else { -1.0 };
    write(
        out,
        format_args!(
            "\n],\"time\":{:.3},\"timings\":{{\"blocked\":-1,\"dns\":{dns:.3},\"connect\":{:.3},\"ssl\":{ssl:.3},\
             \"send\":0,\"wait\":{upgrade:.3},\"receive\":{time:.3}}}}}",
            times.total() + time,
            tcp + tls,
        ),
    );
}

/// Appends a message, without a comma before it.
pub(crate) fn push_message(out: &mut Vec<u8>, time: Timestamp, dir: Direction, message: &Message) {
    match message.kind() {
        MessageKind::Text => {
            frame_head(out, kind(dir), time, TEXT);
            push_json_utf8(out, message.payload());
            out.push(b'}');
        }
        MessageKind::Binary => frame(out, kind(dir), time, BINARY, message.payload()),
    }
}

/// Appends what an event has to say beyond messages; false when that is nothing (an `open` begins an entry instead).
/// A comma is put before it when `comma` says so.
pub(crate) fn push_event(out: &mut Vec<u8>, event: &Event, comma: bool) -> bool {
    if matches!(event.body, EventBody::Open { .. } | EventBody::Drop { .. }) {
        return false;
    }
    if comma {
        out.push(b',');
    }
    let (time, dir) = (event.time, event.dir.unwrap_or(Direction::In));
    match &event.body {
        EventBody::Open { .. } | EventBody::Drop { .. } => {}
        EventBody::Message(message) => push_message(out, time, dir, message),
        EventBody::Ping(payload) => frame(out, kind(dir), time, PING, payload),
        EventBody::Pong(payload) => frame(out, kind(dir), time, PONG, payload),
        EventBody::Close { code, reason, .. } if event.dir.is_some() => {
            let mut payload = code.map_or_else(Vec::new, |code| code.to_be_bytes().to_vec());
            if !payload.is_empty() {
                payload.extend_from_slice(reason.as_bytes());
            }
            frame(out, kind(dir), time, CLOSE, &payload);
        }
        EventBody::Close { reason: text, .. } | EventBody::Error { error: text } => {
            error(out, time, text);
            out.push(b'}');
        }
        EventBody::Retry { attempt, delay_ms, cause } => {
            error(out, time, &format!("{cause}; reconnecting in {delay_ms} ms (retry {attempt})"));
            write(out, format_args!(",\"_attempt\":{attempt},\"_delay_ms\":{delay_ms}}}"));
        }
    }
    true
}

fn kind(dir: Direction) -> &'static str {
    match dir {
        Direction::In => "receive",
        Direction::Out => "send",
    }
}

fn frame(out: &mut Vec<u8>, kind: &str, time: Timestamp, opcode: u8, payload: &[u8]) {
    frame_head(out, kind, time, opcode);
    out.push(b'"');
    push_base64(out, payload);
    out.extend_from_slice(b"\"}");
}

fn frame_head(out: &mut Vec<u8>, kind: &str, time: Timestamp, opcode: u8) {
    out.extend_from_slice(b"\n{\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"time\":");
    push_seconds(out, time);
    out.extend_from_slice(b",\"opcode\":");
    push_number(out, u64::from(opcode));
    out.extend_from_slice(b",\"data\":");
}

/// As Chrome notes a failure: a message of type `error` without an opcode.
fn error(out: &mut Vec<u8>, time: Timestamp, text: &str) {
    out.extend_from_slice(b"\n{\"type\":\"error\",\"time\":");
    push_seconds(out, time);
    out.extend_from_slice(b",\"opcode\":-1,\"data\":");
    push_json_string(out, text);
}

fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    write(out, format_args!(",\"{name}\":"));
    push_json_string(out, value);
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
#[path = "har/tests.rs"]
mod tests;
