//! Compression and inflation of whole messages (RFC 7692 section 7.2).
//!
//! Owns the DEFLATE state of one connection; made lazily, and shared per thread where a direction
//! keeps no context. Invariants: inflating stops at the caller's limit; whatever state a peer has
//! to follow is only advanced by what is really sent.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::negotiate::Agreed;

/// What every message compressed for sending ends with, and is stripped of.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// Shorter messages are sent plain: compressing costs more than it saves.
const MIN_SIZE: usize = 32;
/// Inflating always uses the largest window, which reads every smaller one.
const INFLATE_BITS: u8 = 15;
/// Fast enough for live traffic.
const LEVEL: u32 = 1;
/// Output grows by this much at a time.
const STEP: usize = 8 * 1024;

/// Which end of a connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The end that asked for the upgrade.
    Client,
    /// The end that answered it.
    Server,
}

/// Why a message cannot be inflated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// It is longer than the limit.
    #[error("the message is too large")]
    TooLarge,
    /// It is not DEFLATE data.
    #[error("the compressed data is corrupt")]
    Corrupt,
}

thread_local! {
    static ENCODERS: RefCell<Vec<(u8, Compress)>> = const { RefCell::new(Vec::new()) };
    static DECODER: RefCell<Option<Decompress>> = const { RefCell::new(None) };
}

/// The codecs of one connection.
pub struct Codec {
    own_bits: u8,
    own_context: bool,
    peer_context: bool,
    encoder: Option<Compress>,
    decoder: Option<Decompress>,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec").field("own_bits", &self.own_bits).finish_non_exhaustive()
    }
}

impl Codec {
    /// Codecs as agreed; no memory is taken before the first message.
    #[must_use]
    pub fn new(role: Role, agreed: &Agreed) -> Self {
        let (own_bits, own_plain, peer_plain) = match role {
            Role::Client => {
                (agreed.client_max_window_bits, agreed.client_no_context_takeover, agreed.server_no_context_takeover)
            }
            Role::Server => {
                (agreed.server_max_window_bits, agreed.server_no_context_takeover, agreed.client_no_context_takeover)
            }
        };
        Self { own_bits, own_context: !own_plain, peer_context: !peer_plain, encoder: None, decoder: None }
    }

    /// The message compressed, or `None` when it should go plain.
    pub fn compress(&mut self, payload: &[u8]) -> Option<Bytes> {
        if payload.len() < MIN_SIZE {
            return None;
        }
        let bits = self.own_bits;
        if self.own_context {
            let encoder = self.encoder.get_or_insert_with(|| new_encoder(bits));
            let compressed = deflate(encoder, payload);
            if compressed.is_none() {
                // The state has advanced over what is not sent; start over, which a peer follows.
                self.encoder = None;
            }
            return compressed;
        }
        ENCODERS.with_borrow_mut(|encoders| {
            let index = encoders.iter().position(|(own, _)| *own == bits).unwrap_or_else(|| {
                encoders.push((bits, new_encoder(bits)));
                encoders.len() - 1
            });
            let encoder = &mut encoders[index].1;
            encoder.reset();
            deflate(encoder, payload).filter(|compressed| compressed.len() < payload.len())
        })
    }

    /// The message inflated, at most `limit` bytes.
    ///
    /// # Errors
    /// [`InflateError`]; the connection cannot go on after it.
    pub fn inflate(&mut self, data: &[u8], limit: usize) -> Result<Bytes, InflateError> {
        if self.peer_context {
            let decoder = self.decoder.get_or_insert_with(new_decoder);
            return inflate(decoder, data, limit);
        }
        DECODER.with_borrow_mut(|decoder| {
            let decoder = decoder.get_or_insert_with(new_decoder);
            decoder.reset(false);
            inflate(decoder, data, limit)
        })
    }
}

fn new_encoder(bits: u8) -> Compress {
    Compress::new_with_window_bits(Compression::new(LEVEL), false, bits.clamp(9, 15))
}

fn new_decoder() -> Decompress {
    Decompress::new_with_window_bits(false, INFLATE_BITS)
}

fn deflate(encoder: &mut Compress, payload: &[u8]) -> Option<Bytes> {
    let mut out = Vec::with_capacity(payload.len() / 2 + 64);
    let start = encoder.total_in();
    loop {
        let consumed = usize::try_from(encoder.total_in() - start).ok()?;
        encoder.compress_vec(&payload[consumed..], &mut out, FlushCompress::Sync).ok()?;
        let consumed = usize::try_from(encoder.total_in() - start).ok()?;
        // Room left over means that everything, the flush included, has come out.
        if consumed == payload.len() && out.len() < out.capacity() {
            break;
        }
        out.reserve(out.len().max(STEP));
    }
    let length = out.len().checked_sub(TAIL.len()).filter(|length| out[*length..] == TAIL)?;
    out.truncate(length);
    if out.capacity() > out.len() * 2 {
        out.shrink_to_fit();
    }
    Some(out.into())
}

fn inflate(decoder: &mut Decompress, data: &[u8], limit: usize) -> Result<Bytes, InflateError> {
    let mut out = Vec::with_capacity((data.len() * 4).clamp(64, STEP).min(limit.saturating_add(1)));
    for part in [data, &TAIL] {
        let mut rest = part;
        loop {
            let (before_in, before_out) = (decoder.total_in(), out.len());
            let status = decoder
                .decompress_vec(rest, &mut out, FlushDecompress::Sync)
                .map_err(|_| InflateError::Corrupt)?;
            let consumed = usize::try_from(decoder.total_in() - before_in).map_err(|_| InflateError::Corrupt)?;
            rest = &rest[consumed..];
            if out.len() > limit {
                return Err(InflateError::TooLarge);
            }
            if status == Status::StreamEnd {
                // A final block: what follows is a stream of its own (RFC 7692 section 7.2.3.4).
                decoder.reset(false);
            }
            let is_full = out.len() == out.capacity();
            if rest.is_empty() && !is_full {
                break;
            }
            if !is_full && consumed == 0 && out.len() == before_out {
                return Err(InflateError::Corrupt);
            }
            if is_full {
                let room = limit.saturating_add(1) - out.len();
                out.reserve_exact(out.len().max(STEP).min(room.max(1)));
            }
        }
    }
    if out.capacity() > out.len() + out.len() / 2 + 64 {
        out.shrink_to_fit();
    }
    Ok(out.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair(takeover: bool, bits: u8) -> (Codec, Codec) {
        let agreed = Agreed {
            server_no_context_takeover: !takeover,
            client_no_context_takeover: !takeover,
            server_max_window_bits: bits,
            client_max_window_bits: bits,
        };
        (Codec::new(Role::Client, &agreed), Codec::new(Role::Server, &agreed))
    }

    fn json(number: usize) -> Vec<u8> {
        format!("{{\"symbol\":\"ABC\",\"price\":{number}.25,\"venue\":\"XYZ\",\"number\":{number}}}").repeat(9).into_bytes()
    }

    #[test]
    fn what_is_compressed_inflates_with_every_setting() {
        for takeover in [true, false] {
            for bits in 9..=15 {
                let (mut client, mut server) = pair(takeover, bits);
                for number in 0..50 {
                    let payload = json(number * 997);
                    let compressed = client.compress(&payload).expect("it shrinks");
                    assert!(compressed.len() < payload.len());
                    assert_eq!(server.inflate(&compressed, payload.len()), Ok(payload.into()), "{takeover} {bits}");
                }
            }
        }
    }

    #[test]
    fn context_takeover_makes_repeats_small() {
        let (mut with, _) = pair(true, 15);
        let (mut without, _) = pair(false, 15);
        let payload = json(1);
        let first = with.compress(&payload).expect("compressed").len();
        assert!(with.compress(&payload).expect("compressed").len() < first / 2);
        assert_eq!(without.compress(&payload).expect("compressed").len(), first);
    }

    #[test]
    fn small_messages_go_plain() {
        let (mut client, _) = pair(true, 15);
        assert_eq!(client.compress(b""), None);
        assert_eq!(client.compress(b"short"), None);
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let zeros = vec![0; 200 << 20];
        let bomb = deflate(&mut new_encoder(15), &zeros).expect("compressed");
        let (_, mut server) = pair(true, 15);
        assert_eq!(server.inflate(&bomb, 1 << 20), Err(InflateError::TooLarge));
        let (_, mut server) = pair(true, 15);
        assert_eq!(server.inflate(&bomb, zeros.len()).map(|out| out.len()), Ok(zeros.len()));
    }

    #[test]
    fn garbage_is_corrupt_and_a_final_block_is_not() {
        let (_, mut server) = pair(true, 15);
        assert_eq!(server.inflate(&[0xff; 40], 1000), Err(InflateError::Corrupt));
        let (_, mut server) = pair(true, 15);
        // One stored block with BFINAL set holding "hi", then the empty block a sender pads with.
        let last = [0x01, 0x02, 0x00, 0xfd, 0xff, b'h', b'i', 0x00];
        for _ in 0..3 {
            assert_eq!(server.inflate(&last, 1000), Ok(Bytes::from_static(b"hi")));
        }
        assert_eq!(server.inflate(&[0x00], 1000), Ok(Bytes::new()));
    }

    proptest! {
        #[test]
        fn any_messages_in_any_order_come_back(
            payloads in proptest::collection::vec(proptest::collection::vec(0_u8..4, 0..300), 1..20),
            takeover in any::<bool>(), bits in 9_u8..=15,
        ) {
            let (mut client, mut server) = pair(takeover, bits);
            for payload in payloads {
                if let Some(compressed) = client.compress(&payload) {
                    prop_assert_eq!(server.inflate(&compressed, payload.len()), Ok(payload.into()));
                }
            }
        }

        #[test]
        fn hostile_data_never_exceeds_the_limit(data in proptest::collection::vec(any::<u8>(), 0..500)) {
            let (_, mut server) = pair(true, 15);
            if let Ok(out) = server.inflate(&data, 100) {
                prop_assert!(out.len() <= 100);
            }
        }
    }
}
