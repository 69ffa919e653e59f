//! A message as a line: what files, programs and batches of requests are given.
//!
//! Invariant: what is appended ends with a newline, and under [`Format::Json`] has no other.

use crate::message::event::{Direction, write_message_line};
use crate::message::render::{self, Format};
use crate::queue::envelope::Envelope;

/// Appends a message as a line. Raw is its bytes, text or binary, and a newline; event lines keep the two apart.
pub(crate) fn append(buffer: &mut Vec<u8>, format: Format, envelope: &Envelope) {
    let message = &envelope.message;
    match format {
        Format::Raw => {
            buffer.extend_from_slice(message.payload());
            buffer.push(b'\n');
        }
        Format::Json => write_message_line(buffer, envelope.time, &envelope.origin.session, Direction::In, message),
        Format::Hex => render::hex(buffer, message.payload()),
        Format::Pretty => {
            render::message(buffer, message, format, false, false);
            if buffer.last() != Some(&b'\n') {
                buffer.push(b'\n');
            }
        }
    }
}

/// Puts JSON on one line. Between tokens a space says the same as a line break; within a string there is none.
pub(crate) fn flatten(json: &mut [u8]) {
    json.iter_mut().filter(|byte| matches!(byte, b'\n' | b'\r')).for_each(|byte| *byte = b' ');
}
