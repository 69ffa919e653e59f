//! What travels: a WebSocket message (RFC 6455 section 5.6), text or binary, in one piece.
//!
//! Owns the message type, the codecs of event lines ([`event`]) and HAR ([`har`]), and terminal-safe rendering ([`render`]).
//! Knows nothing of sockets. Invariant: the payload of a text message is valid UTF-8.

pub(crate) mod clock;
pub(crate) mod control;
pub(crate) mod counted;
mod digits;
pub(crate) mod event;
pub(crate) mod har;
pub(crate) mod input;
pub(crate) mod io_text;
mod json_string;
pub(crate) mod pack;
mod payloads;
pub(crate) mod render;
pub(crate) mod source;
pub(crate) mod uuid;

use std::sync::Arc;

use bytes::Bytes;

use pack::Pack;
use source::Source;

/// Text or binary: the two data message types of RFC 6455.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// UTF-8 text (opcode 1).
    Text,
    /// Arbitrary bytes (opcode 2).
    Binary,
}

impl MessageKind {
    /// Text where the bytes are valid UTF-8, else binary.
    #[must_use]
    pub fn of(payload: &[u8]) -> Self {
        if std::str::from_utf8(payload).is_ok() { Self::Text } else { Self::Binary }
    }

    /// `text` or `binary`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Binary => "binary",
        }
    }
}

/// One whole data message. Cloning shares the payload.
#[derive(Debug, Clone)]
pub struct Message {
    kind: MessageKind,
    /// Bytes it took compressed on the wire, and one; 0 where it was not compressed.
    wire: u32,
    memory: Memory,
    payload: Bytes,
    /// Where it came from, where that is known and somebody asks.
    source: Option<Arc<Source>>,
}

/// What else is in the memory of a payload, and kept as long as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// Nobody knows what and how much.
    Shared,
    /// Other messages that wait with it.
    Packed,
    Own,
}

/// What it took on the wire, and where it came from, is no part of what it says.
impl PartialEq for Message {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind && self.payload == other.payload
    }
}

impl Eq for Message {}

impl Message {
    fn new(kind: MessageKind, payload: Bytes) -> Self {
        Self { kind, wire: 0, memory: Memory::Shared, payload, source: None }
    }

    /// Creates a text message.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        // What is spare would be kept with it.
        let memory = if text.capacity() == text.len() { Memory::Own } else { Memory::Shared };
        Self { memory, ..Self::new(MessageKind::Text, Bytes::from(text)) }
    }

    /// Creates a binary message.
    pub fn binary(payload: impl Into<Bytes>) -> Self {
        Self::new(MessageKind::Binary, payload.into())
    }

    /// A text message from bytes.
    ///
    /// # Errors
    /// When the bytes are not valid UTF-8.
    pub fn text_from_bytes(payload: impl Into<Bytes>) -> Result<Self, std::str::Utf8Error> {
        let payload = payload.into();
        std::str::from_utf8(&payload)?;
        Ok(Self::new(MessageKind::Text, payload))
    }

    /// A text message where the bytes are valid UTF-8, else a binary one.
    pub fn from_bytes(payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        Self::new(MessageKind::of(&payload), payload)
    }

    /// A message whose bytes, where it is text, are known to be UTF-8.
    pub(crate) fn checked(kind: MessageKind, payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        debug_assert!(kind == MessageKind::Binary || std::str::from_utf8(&payload).is_ok());
        Self::new(kind, payload)
    }

    /// A copy that shares memory at most with others of this pack. Text has already been checked to be UTF-8.
    #[cfg(feature = "kafka")]
    pub(crate) fn copied(kind: MessageKind, payload: &[u8], pack: &mut Pack) -> Self {
        debug_assert!(kind == MessageKind::Binary || std::str::from_utf8(payload).is_ok());
        match pack.copy(payload) {
            Some(payload) => Self { memory: Memory::Packed, ..Self::new(kind, payload) },
            None => Self { memory: Memory::Own, ..Self::new(kind, Bytes::copy_from_slice(payload)) },
        }
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

    /// The same message, which took so many bytes compressed on the wire.
    #[must_use]
    pub fn with_wire(mut self, wire: Option<usize>) -> Self {
        self.wire = wire.map_or(0, |wire| u32::try_from(wire).unwrap_or(u32::MAX).saturating_add(1));
        self
    }

    /// Payload bytes it took on the wire, where it was compressed.
    #[must_use]
    pub fn wire(&self) -> Option<usize> {
        self.wire.checked_sub(1).map(|wire| wire as usize)
    }

    /// The same message, which came from there.
    #[must_use]
    pub fn with_source(mut self, source: Option<Arc<Source>>) -> Self {
        self.source = source;
        self
    }

    /// Where it came from, where that was asked for when it was received.
    #[must_use]
    pub fn source(&self) -> Option<&Arc<Source>> {
        self.source.as_ref()
    }

    /// Bytes that compression saved on the wire; below 0 where it made it longer.
    #[must_use]
    pub fn saved(&self) -> i64 {
        let bytes = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.wire().map_or(0, |wire| bytes(self.len()) - bytes(wire))
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
        if self.memory == Memory::Own {
            return self.clone();
        }
        let (payload, source) = (Bytes::copy_from_slice(&self.payload), self.source.clone());
        Self { memory: Memory::Own, payload, source, ..*self }
    }

    /// As [`Message::detached`], for one that is not needed any more.
    #[must_use]
    pub fn into_detached(self) -> Self {
        if self.memory == Memory::Own { self } else { self.detached() }
    }

    /// The same message in memory that it shares at most with others of this pack: for messages that are kept and let go
    /// in the order they came.
    #[must_use]
    pub fn packed(self, pack: &mut Pack) -> Self {
        if self.memory != Memory::Shared {
            return self;
        }
        match pack.copy(&self.payload) {
            Some(payload) => Self { memory: Memory::Packed, payload, ..self },
            None => self.into_detached(),
        }
    }
}
