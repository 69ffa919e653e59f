//! What travels: a WebSocket message (RFC 6455 section 5.6), text or binary, in one piece.
//!
//! Owns the message type, the codecs of event lines ([`event`]) and HAR ([`har`]), and terminal-safe rendering ([`render`]).
//! Knows nothing of sockets. Invariant: the payload of a text message is valid UTF-8.

pub mod counted;
mod digits;
pub mod event;
pub mod har;
pub mod input;
mod json_string;
mod payloads;
pub mod render;

use bytes::Bytes;

/// Text or binary: the two data message types of RFC 6455.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8 text (opcode 1).
    Text,
    /// Arbitrary bytes (opcode 2).
    Binary,
}

/// One whole data message. Cloning shares the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    kind: MessageKind,
    payload: Bytes,
}

impl Message {
    /// A text message.
    pub fn text(text: impl Into<String>) -> Self {
        Self { kind: MessageKind::Text, payload: Bytes::from(text.into()) }
    }

    /// A binary message.
    pub fn binary(payload: impl Into<Bytes>) -> Self {
        Self { kind: MessageKind::Binary, payload: payload.into() }
    }

    /// A text message from bytes.
    ///
    /// # Errors
    /// When the bytes are not valid UTF-8.
    pub fn text_from_bytes(payload: impl Into<Bytes>) -> Result<Self, std::str::Utf8Error> {
        let payload = payload.into();
        std::str::from_utf8(&payload)?;
        Ok(Self { kind: MessageKind::Text, payload })
    }

    /// A text message where the bytes are valid UTF-8, else a binary one.
    pub fn from_bytes(payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        let kind = if std::str::from_utf8(&payload).is_ok() { MessageKind::Text } else { MessageKind::Binary };
        Self { kind, payload }
    }

    /// A text message whose bytes another layer has already checked to be UTF-8.
    pub(crate) fn text_checked(payload: Bytes) -> Self {
        debug_assert!(std::str::from_utf8(&payload).is_ok());
        Self { kind: MessageKind::Text, payload }
    }

    /// Text or binary.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        self.kind
    }

    /// The bytes, as they travel (before compression and masking).
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The bytes, by value.
    #[must_use]
    pub fn into_payload(self) -> Bytes {
        self.payload
    }

    /// Bytes in the payload.
    #[must_use]
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// Whether the payload is empty (an empty message is a legal message).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// The text, or `None` for a binary message.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self.kind {
            MessageKind::Text => std::str::from_utf8(&self.payload).ok(),
            MessageKind::Binary => None,
        }
    }

    /// The same message in memory of its own: for messages that are kept, so that a small one does
    /// not pin the large read buffer it is a slice of.
    #[must_use]
    pub fn detached(&self) -> Self {
        Self { kind: self.kind, payload: Bytes::copy_from_slice(&self.payload) }
    }
}
