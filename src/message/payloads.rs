//! Payloads read from text, many in one allocation.
//!
//! Leaves the text around them to its readers. Invariant: a text message is UTF-8; one that is not is not made.

use base64::Engine as _;
use bytes::BytesMut;

use super::Message;
use super::event::BASE64;
use super::json_string::read_json_string;

/// Payload bytes that share an allocation.
pub(super) const SHARED: usize = 64 * 1024;

/// Makes messages.
#[derive(Debug, Default)]
pub struct Payloads(BytesMut);

impl Payloads {
    /// The place where a payload of at most this length is put.
    fn room(&mut self, length: usize) -> &mut [u8] {
        if self.0.capacity() < length {
            self.0 = BytesMut::with_capacity(length.max(SHARED));
        }
        self.0.resize(length, 0);
        &mut self.0
    }

    /// A text message of the JSON string that begins at `text`, behind its quote, and what comes after it. `None`
    /// leaves it to a general parser.
    pub(super) fn text<'t>(&mut self, text: &'t [u8]) -> Option<(Message, &'t [u8])> {
        let (length, taken) = read_json_string(text, self.room(text.len()))?;
        self.0.truncate(length);
        std::str::from_utf8(&self.0).ok()?;
        Some((Message::text_checked(self.0.split().freeze()), &text[taken..]))
    }

    /// A binary message of the base64 that begins at `text`, up to a quote, and what comes after it.
    pub(super) fn base64<'t>(&mut self, text: &'t [u8]) -> Option<(Message, &'t [u8])> {
        let end = memchr::memchr(b'"', text)?;
        let length = BASE64.decode_slice(&text[..end], self.room(end)).ok()?;
        self.0.truncate(length);
        Some((Message::binary(self.0.split().freeze()), &text[end + 1..]))
    }
}
