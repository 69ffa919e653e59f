//! The WebSocket codec (RFC 6455, RFC 7692), without sockets: bytes in, events out; messages in, bytes out.
//!
//! Owns framing, masking, fragments, compression, UTF-8 as it arrives and every limit on what a peer may send. Leaves
//! sockets, the answers to pings and Closes, and time to `connection`. Built on tungstenite's frame header, opcodes,
//! close codes and protocol errors.
//! Invariants: where the bytes are cut makes no difference to the events; a limit is enforced before memory is taken;
//! bytes are kept only between the pieces of a frame or message.

mod close;
mod decode;
mod encode;
mod mask;

#[cfg(test)]
mod tests;

use tokio_tungstenite::tungstenite::error::ProtocolError;

pub use close::CloseReason;
pub use decode::{Decoder, Event};
pub(crate) use encode::{FrameKind, Prebuilt, put_frame, put_head};
pub(crate) use mask::{fresh_key, mask};

use crate::message::MessageKind;

/// What a peer sent that ends the connection (RFC 6455, section 7.1.7).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A frame or a sequence of frames that RFC 6455 forbids.
    #[error("{0}")]
    Protocol(ProtocolError),
    /// A Close with a code that must not be sent (section 7.4).
    #[error("a close frame with code {0}, which must not be sent")]
    CloseCode(u16),
    /// A compressed message that cannot be decompressed (RFC 7692, section 7.2.2).
    #[error("compressed data is corrupt")]
    Compression,
    /// A text message or close reason that is not UTF-8.
    #[error("text is not valid UTF-8")]
    InvalidUtf8,
    /// A message of more than so many bytes.
    #[error("message too large")]
    TooLarge(usize),
}

/// How large messages may be, in bytes after decompression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLimits {
    /// Maximum size of a text message in bytes.
    pub text: usize,
    /// Maximum size of a binary message in bytes.
    pub binary: usize,
}

impl MessageLimits {
    /// Returns the same limit for both kinds.
    #[must_use]
    pub const fn both(bytes: usize) -> Self {
        Self { text: bytes, binary: bytes }
    }

    /// Returns the limit in bytes for a kind of message.
    #[must_use]
    pub fn of(self, kind: MessageKind) -> usize {
        match kind {
            MessageKind::Text => self.text,
            MessageKind::Binary => self.binary,
        }
    }
}

impl From<ProtocolError> for FrameError {
    fn from(error: ProtocolError) -> Self {
        Self::Protocol(error)
    }
}
