//! Fields of an event line, as they are appended to it.
//!
//! Owns how payloads, texts and reasons are written. Leaves what a line begins with to `head`.

use std::io::Write as _;

use base64::Engine as _;

use super::BASE64;
use crate::message::digits::push_number;
use crate::message::json_string::{push_json_string, push_json_utf8};
use crate::message::{Message, MessageKind};

pub(super) fn push_message(out: &mut Vec<u8>, message: &Message) {
    push_payload(out, message.payload(), message.kind() == MessageKind::Text);
    if let Some(source) = message.source() {
        source.push_fields(out);
    }
}

/// Appends size and payload; `text` says that it is UTF-8.
pub(super) fn push_payload(out: &mut Vec<u8>, bytes: &[u8], text: bool) {
    out.extend_from_slice(b",\"size\":");
    push_number(out, bytes.len() as u64);
    if text {
        out.extend_from_slice(b",\"text\":");
        push_json_utf8(out, bytes);
    } else {
        out.extend_from_slice(b",\"base64\":\"");
        push_base64(out, bytes);
        out.push(b'"');
    }
}

/// Appends bytes in base64, padded.
pub(crate) fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    // The room is exact.
    let length = BASE64.encode_slice(bytes, &mut out[start..]).unwrap_or_default();
    out.truncate(start + length);
}

pub(super) fn push_field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    push_json_string(out, value);
}

pub(super) fn push_field_or_null(out: &mut Vec<u8>, name: &str, value: Option<&str>) {
    match value {
        Some(value) => push_field(out, name, value),
        None => push_display(out, format_args!(",\"{name}\":null")),
    }
}

pub(super) fn push_display(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a vector cannot fail.
    let _ = out.write_fmt(text);
}

pub(super) fn push_drop(out: &mut Vec<u8>, reason: &str, size: Option<usize>) {
    push_field(out, "reason", reason);
    match size {
        Some(size) => push_display(out, format_args!(",\"size\":{size}")),
        None => out.extend_from_slice(b",\"size\":null"),
    }
}
