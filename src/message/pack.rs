//! Memory for small messages that wait together: many in one piece, because allocating each costs more than copying it.
//!
//! Invariant: a piece is freed with the last of its messages, so what is kept here must be let go about as it came.

use bytes::{Bytes, BytesMut};

/// Bytes of a piece.
const PIECE: usize = 8 << 10;
/// A larger payload has memory of its own.
const SMALL: usize = 1 << 10;

/// The piece that is being filled.
#[derive(Debug, Default)]
pub struct Pack(BytesMut);

impl Pack {
    /// A copy of a small payload in the piece, or in a new one.
    pub(super) fn copy(&mut self, payload: &[u8]) -> Option<Bytes> {
        if payload.is_empty() || payload.len() > SMALL {
            return None;
        }
        if self.0.capacity() < payload.len() {
            self.0 = BytesMut::with_capacity(PIECE);
        }
        self.0.extend_from_slice(payload);
        Some(self.0.split().freeze())
    }

    /// Keeps no memory beyond that of its messages.
    pub fn close(&mut self) {
        if self.0.capacity() > 0 {
            self.0 = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;

    #[test]
    fn small_payloads_share_a_piece_and_large_ones_have_their_own() {
        let mut pack = Pack::default();
        let first = pack.copy(b"first").expect("small");
        let second = pack.copy(b"second").expect("small");
        assert_eq!(first.as_ptr().wrapping_add(first.len()), second.as_ptr(), "side by side");
        assert!(pack.copy(&[b'x'; SMALL + 1]).is_none() && pack.copy(b"").is_none());
        let full = (0..2 * PIECE / SMALL).map(|_| pack.copy(&[b'x'; SMALL]).expect("small")).collect::<Vec<_>>();
        assert_eq!((&first[..], &second[..]), (&b"first"[..], &b"second"[..]));
        assert!(full.iter().all(|payload| payload.len() == SMALL));
        pack.close();
        assert_eq!(pack.0.capacity(), 0);
    }

    #[test]
    fn a_packed_message_is_copied_once_and_detached_from_its_pack() {
        let mut pack = Pack::default();
        let buffer = Bytes::from_static(b"abc");
        let packed = Message::text_from_bytes(buffer.clone()).expect("UTF-8").packed(&mut pack);
        assert_ne!(packed.payload().as_ptr(), buffer.as_ptr());
        let again = packed.clone().packed(&mut pack);
        assert_eq!(again.payload().as_ptr(), packed.payload().as_ptr());
        let detached = packed.detached();
        assert_ne!(detached.payload().as_ptr(), packed.payload().as_ptr());
        assert_eq!(detached, packed);
        let own = detached.payload().as_ptr();
        assert_eq!(detached.into_detached().payload().as_ptr(), own);
    }
}
