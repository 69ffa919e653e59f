//! Payloads read from text, many in one allocation.
//!
//! Leaves the text around them to its readers. Invariant: a text message is UTF-8; one that is not is not made.

use base64::Engine as _;
use bytes::BytesMut;

use super::event::BASE64;
use super::json_string::{SHARED, read_json_string};
use super::{Message, MessageKind};

/// Makes messages, which are put one behind the other.
#[derive(Debug, Default)]
pub(super) struct Payloads(BytesMut);

impl Payloads {
    /// A text message of the JSON string that begins at `text`, behind its quote, and what comes after it. `None`
    /// leaves it to a general parser.
    pub(super) fn text<'t>(&mut self, text: &'t [u8]) -> Option<(Message, &'t [u8])> {
        let (length, taken) = read_json_string(text, &mut self.0)?;
        std::str::from_utf8(&self.0[..length]).ok()?;
        Some((Message::checked(MessageKind::Text, self.0.split_to(length).freeze()), &text[taken..]))
    }

    /// A binary message of the base64 that begins at `text`, up to a quote, and what comes after it.
    pub(super) fn base64<'t>(&mut self, text: &'t [u8]) -> Option<(Message, &'t [u8])> {
        let end = memchr::memchr(b'"', text)?;
        if self.0.len() < end {
            self.0.resize(SHARED.max(end), 0);
        }
        let length = BASE64.decode_slice(&text[..end], &mut self.0).ok()?;
        Some((Message::binary(self.0.split_to(length).freeze()), &text[end + 1..]))
    }
}
