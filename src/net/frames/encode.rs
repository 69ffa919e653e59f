//! Frames as bytes (RFC 6455, section 5.2).
//!
//! Leaves what to send, and compression, to `connection`. Invariant: a payload that is not masked is not copied by
//! [`put_head`]; [`put_frame`] copies it once.

use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::mask;
use crate::message::MessageKind;

/// Longest head of a frame in bytes.
const MAX_HEAD: usize = 14;

/// What a frame is, apart from its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameKind {
    pub(crate) opcode: OpCode,
    /// The last frame of its message.
    pub(crate) fin: bool,
    /// The first frame of a compressed message (RSV1, RFC 7692, section 6).
    pub(crate) compressed: bool,
}

impl FrameKind {
    pub(crate) const PING: Self = Self::control(Control::Ping);
    pub(crate) const PONG: Self = Self::control(Control::Pong);
    pub(crate) const CLOSE: Self = Self::control(Control::Close);

    const fn control(control: Control) -> Self {
        Self { opcode: OpCode::Control(control), fin: true, compressed: false }
    }

    /// Returns the only frame of a message.
    pub(crate) fn whole(kind: MessageKind, compressed: bool) -> Self {
        Self { opcode: OpCode::Data(data(kind)), fin: true, compressed }
    }
}

/// Returns the opcode that begins a message.
pub(crate) fn data(kind: MessageKind) -> Data {
    match kind {
        MessageKind::Text => Data::Text,
        MessageKind::Binary => Data::Binary,
    }
}

/// Appends the head of a frame with `length` bytes of payload, masked with `key` where there is one.
pub(crate) fn put_head(out: &mut Vec<u8>, kind: FrameKind, length: usize, key: Option<[u8; 4]>) {
    let header = FrameHeader {
        is_final: kind.fin,
        rsv1: kind.compressed,
        opcode: kind.opcode,
        mask: key,
        ..FrameHeader::default()
    };
    out.reserve(MAX_HEAD);
    // Writing to a Vec cannot fail.
    let _ = header.format(length as u64, out);
}

/// Appends a whole frame, its payload masked with `key` where there is one.
pub(crate) fn put_frame(out: &mut Vec<u8>, kind: FrameKind, payload: &[u8], key: Option<[u8; 4]>) {
    out.reserve(MAX_HEAD + payload.len());
    put_head(out, kind, payload.len(), key);
    let start = out.len();
    out.extend_from_slice(payload);
    if let Some(key) = key {
        mask(&mut out[start..], key, 0);
    }
}

/// A masked frame built ahead, of which a part is written anew each time.
#[derive(Debug, Clone)]
pub(crate) struct Prebuilt {
    bytes: Vec<u8>,
    head: usize,
    key: [u8; 4],
}

impl Prebuilt {
    /// Builds a frame that is a whole message.
    pub(crate) fn new(kind: MessageKind, payload: &[u8], key: [u8; 4]) -> Self {
        let mut bytes = Vec::new();
        put_frame(&mut bytes, FrameKind::whole(kind, false), payload, Some(key));
        Self { head: bytes.len() - payload.len(), bytes, key }
    }

    /// Appends it with `part` in the place of the payload's bytes from `offset` on.
    ///
    /// # Panics
    /// When the part does not fit into the payload.
    pub(crate) fn append(&self, out: &mut Vec<u8>, offset: usize, part: &[u8]) {
        let start = out.len() + self.head + offset;
        out.extend_from_slice(&self.bytes);
        let place = &mut out[start..start + part.len()];
        place.copy_from_slice(part);
        mask(place, self.key, offset);
    }
}
