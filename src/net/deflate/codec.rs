//! The two codecs of a connection: our messages to raw deflate, the peer's back again.
//!
//! Owns the compressors' state and memory, the limit on what is inflated, and which messages are
//! not worth compressing. Leaves RSV1, fragments and UTF-8 to `connection`.
//! Invariants: a codec is made when first needed; without context takeover it belongs to the thread
//! instead of the connection; inflating allocates no more than the limit, whatever the peer sent.

use std::cell::RefCell;

use bytes::Bytes;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};

use super::negotiate::Agreed;

/// Without context takeover, shorter messages go plain: they hardly ever shrink.
pub const MIN_SIZE: usize = 32;
/// Ends what a sync flush writes. Senders leave it out, receivers put it back (RFC 7692 section 7.2).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// Speed over size: level 6 costs more than twice as much for little on live traffic.
const LEVEL: u32 = 1;
/// What zlib can compress with; 8 is never agreed on for our own side.
const SMALLEST_WINDOW: u8 = 9;
const LARGEST_WINDOW: u8 = 15;
const WINDOWS: usize = (LARGEST_WINDOW - SMALLEST_WINDOW) as usize + 1;
/// Output is collected in a buffer of the thread's that never keeps more than this; a larger
/// result takes the buffer with it.
const SCRATCH_KEPT: usize = 64 * 1024;
/// First size of the output buffer.
const SCRATCH_START: usize = 8 * 1024;

/// Which end of the connection we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We opened the connection.
    Client,
    /// We accepted it.
    Server,
}

/// Why a message could not be inflated. The connection is to be failed: the state is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// It inflates to more than the limit.
    #[error("the message inflates to more than allowed")]
    TooLarge,
    /// It is not deflate data, or not all of it.
    #[error("the compressed data is corrupt")]
    Corrupt,
}

thread_local! {
    /// What connections without context takeover share, one encoder per window size.
    static SHARED: RefCell<Shared> = const { RefCell::new(Shared { encoders: [const { None }; WINDOWS], decoder: None }) };
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Shared {
    encoders: [Option<Compress>; WINDOWS],
    decoder: Option<Decompress>,
}

/// Compression of one connection, as agreed on.
#[derive(Debug)]
pub struct Codec {
    /// Our window, already within what zlib can do.
    window_bits: u8,
    deflate_takeover: bool,
    inflate_takeover: bool,
    encoder: Option<Compress>,
    decoder: Option<Decompress>,
}

impl Codec {
    /// Takes from `agreed` what concerns the end that `role` is. Allocates nothing yet.
    pub fn new(role: Role, agreed: &Agreed) -> Self {
        let (window_bits, ours_alone, theirs_alone) = match role {
            Role::Client => {
                (agreed.client_max_window_bits, agreed.client_no_context_takeover, agreed.server_no_context_takeover)
            }
            Role::Server => {
                (agreed.server_max_window_bits, agreed.server_no_context_takeover, agreed.client_no_context_takeover)
            }
        };
        Self {
            window_bits: window_bits.clamp(SMALLEST_WINDOW, LARGEST_WINDOW),
            deflate_takeover: !ours_alone,
            inflate_takeover: !theirs_alone,
            encoder: None,
            decoder: None,
        }
    }

    /// The payload to send with RSV1 set; `None` when the message is to go out plain.
    pub fn compress(&mut self, payload: &[u8]) -> Option<Bytes> {
        if payload.is_empty() || (!self.deflate_takeover && payload.len() < MIN_SIZE) {
            return None;
        }
        let window_bits = self.window_bits;
        let new = || Compress::new_with_window_bits(Compression::new(LEVEL), false, window_bits);
        if self.deflate_takeover {
            let encoder = self.encoder.get_or_insert_with(new);
            let compressed = SCRATCH.with_borrow_mut(|out| {
                deflate(encoder, payload, out)?;
                Some(into_bytes(out))
            });
            // The message is in the encoder's window now, and so it must get into the peer's: it is
            // sent compressed even where it did not shrink, which costs a few bytes.
            if compressed.is_none() {
                self.encoder = None;
            }
            return compressed;
        }
        SHARED.with_borrow_mut(|shared| {
            let slot = shared.encoders.get_mut(usize::from(window_bits - SMALLEST_WINDOW))?;
            let encoder = slot.get_or_insert_with(new);
            encoder.reset();
            SCRATCH.with_borrow_mut(|out| {
                let compressed = deflate(encoder, payload, out);
                if compressed.is_some() && out.len() < payload.len() {
                    return Some(into_bytes(out));
                }
                trim(out);
                None
            })
        })
    }

    /// Inflates the payload of a whole message that had RSV1 set, to at most `limit` bytes.
    ///
    /// # Errors
    /// [`InflateError`]; this codec is of no use afterwards.
    pub fn inflate(&mut self, data: &[u8], limit: usize) -> Result<Bytes, InflateError> {
        // Not legal deflate data, but there is only one thing it can mean.
        if data.is_empty() {
            return Ok(Bytes::new());
        }
        // Always the largest window: it reads what was written with any smaller one.
        let new = || Decompress::new(false);
        let inflate = |decoder: &mut Decompress| {
            SCRATCH.with_borrow_mut(|out| {
                let inflated = inflate(decoder, data, out, limit);
                if inflated.is_err() {
                    out.clear();
                }
                let bytes = into_bytes(out);
                inflated.map(|()| bytes)
            })
        };
        if self.inflate_takeover {
            return inflate(self.decoder.get_or_insert_with(new));
        }
        SHARED.with_borrow_mut(|shared| {
            let decoder = shared.decoder.get_or_insert_with(new);
            decoder.reset(false);
            inflate(decoder)
        })
    }
}

/// Compresses into the emptied `out`, without the tail. `None`: zlib refused, which it never
/// should; the encoder is to be thrown away.
fn deflate(encoder: &mut Compress, payload: &[u8], out: &mut Vec<u8>) -> Option<()> {
    out.clear();
    let start = encoder.total_in();
    loop {
        if out.capacity() - out.len() < SCRATCH_START / 2 {
            out.reserve(SCRATCH_START.max(out.len()));
        }
        let rest = payload.get((encoder.total_in() - start) as usize..)?;
        encoder.compress_vec(rest, out, FlushCompress::Sync).ok()?;
        // Room left over means that the flush is complete.
        if out.len() < out.capacity() {
            break;
        }
    }
    if encoder.total_in() - start != payload.len() as u64 || !out.ends_with(&TAIL) {
        return None;
    }
    out.truncate(out.len() - TAIL.len());
    Some(())
}

/// Inflates `data` and the tail into the emptied `out`.
fn inflate(decoder: &mut Decompress, data: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<(), InflateError> {
    out.clear();
    // A message may end with its stream (BFINAL, RFC 7692 section 7.2.3.4): nothing is missing then.
    if feed(decoder, data, out, limit)? == Fed::StreamEnded {
        return Ok(());
    }
    // The tail is an empty block, so that it inflates to nothing unless a block was cut off.
    let len = out.len();
    let fed = feed(decoder, &TAIL, out, limit)?;
    // Or unless the tail was taken for the end of a cut-off stream, of which some is then left over.
    let restarted = fed == Fed::WithinStream && decoder.total_in() < TAIL.len() as u64;
    if out.len() != len || restarted {
        return Err(InflateError::Corrupt);
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
enum Fed {
    WithinStream,
    /// The input's last byte ended a stream; the decoder is ready for the next one.
    StreamEnded,
}

/// Feeds `input` until all of it is used up and all of its output is out.
fn feed(decoder: &mut Decompress, mut input: &[u8], out: &mut Vec<u8>, limit: usize) -> Result<Fed, InflateError> {
    loop {
        if out.len() == out.capacity() {
            // One byte more than allowed tells a message that just fits from one that does not.
            let room = limit.saturating_add(1).saturating_sub(out.len());
            out.reserve_exact(out.len().max(SCRATCH_START).min(room));
        }
        let (start, len) = (decoder.total_in(), out.len());
        let status = decoder.decompress_vec(input, out, FlushDecompress::Sync).map_err(|_| InflateError::Corrupt)?;
        let used = (decoder.total_in() - start) as usize;
        input = input.get(used..).ok_or(InflateError::Corrupt)?;
        if out.len() > limit {
            return Err(InflateError::TooLarge);
        }
        if status == Status::StreamEnd {
            decoder.reset(false);
            if input.is_empty() {
                return Ok(Fed::StreamEnded);
            }
        } else if out.len() < out.capacity() {
            if input.is_empty() {
                return Ok(Fed::WithinStream);
            }
            if used == 0 && out.len() == len {
                return Err(InflateError::Corrupt);
            }
        }
    }
}

/// What was collected: a copy where the buffer is small, else the buffer itself.
fn into_bytes(out: &mut Vec<u8>) -> Bytes {
    if out.len() > SCRATCH_KEPT {
        // It may wait in a queue for long: without the room it was given to grow.
        out.shrink_to_fit();
        return std::mem::take(out).into();
    }
    let bytes = Bytes::copy_from_slice(out);
    trim(out);
    bytes
}

fn trim(out: &mut Vec<u8>) {
    if out.capacity() > SCRATCH_KEPT {
        *out = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use flate2::read::DeflateEncoder;
    use proptest::prelude::*;
    use std::io::Read as _;

    use super::*;

    const NO_LIMIT: usize = usize::MAX;

    fn agreed(alone: bool, bits: u8) -> Agreed {
        Agreed {
            server_no_context_takeover: alone,
            client_no_context_takeover: alone,
            server_max_window_bits: bits,
            client_max_window_bits: bits,
            ..Agreed::default()
        }
    }

    fn pair(alone: bool, bits: u8) -> (Codec, Codec) {
        let agreed = agreed(alone, bits);
        (Codec::new(Role::Client, &agreed), Codec::new(Role::Server, &agreed))
    }

    /// Reproducible bytes that do not compress.
    fn noise(len: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        std::iter::repeat_with(|| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .take(len)
        .collect()
    }

    /// JSON whose repetitions lie farther apart than the smallest windows.
    fn prose(len: usize) -> Vec<u8> {
        let mut text = Vec::new();
        for i in 0_u64.. {
            if text.len() >= len {
                break;
            }
            let spread = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            text.extend(format!("{{\"id\":{i},\"price\":{spread},\"symbol\":\"S{}\"}},", i % 37).bytes());
        }
        text.truncate(len);
        text
    }

    fn samples() -> Vec<Vec<u8>> {
        let mut samples = vec![vec![], b"a".to_vec(), b"Hello".to_vec(), vec![0; 31], vec![7; 32]];
        for len in [33, 200, 4096, 8192, 8193, 70_000, 300_000] {
            samples.extend([prose(len), noise(len), vec![0; len]]);
        }
        samples
    }

    #[test]
    fn messages_come_back_whatever_was_agreed() {
        for bits in SMALLEST_WINDOW..=LARGEST_WINDOW {
            for alone in [false, true] {
                let (mut client, mut server) = pair(alone, bits);
                for message in samples().iter().chain(&samples()) {
                    for flip in [false, true] {
                        let (from, to) = if flip { (&mut server, &mut client) } else { (&mut client, &mut server) };
                        let Some(compressed) = from.compress(message) else {
                            assert!(message.is_empty() || alone);
                            continue;
                        };
                        assert!(!alone || compressed.len() < message.len());
                        assert!(compressed.len() < message.len() + message.len() / 100 + 16);
                        assert!(to.inflate(&compressed, message.len()).unwrap() == message);
                    }
                }
            }
        }
    }

    #[test]
    fn the_window_is_kept_to() {
        for bits in SMALLEST_WINDOW..=LARGEST_WINDOW {
            let (mut client, _) = pair(false, bits);
            let mut strict = Decompress::new_with_window_bits(false, bits);
            for message in [prose(100_000), prose(50_000)] {
                let compressed = client.compress(&message).unwrap();
                let mut out = Vec::new();
                // A small output buffer at a time makes the decoder rely on its window.
                for piece in [&compressed[..], &TAIL].concat().chunks(100) {
                    let mut rest = piece;
                    loop {
                        let mut small = Vec::with_capacity(128);
                        let start = strict.total_in();
                        strict.decompress_vec(rest, &mut small, FlushDecompress::None).unwrap();
                        rest = &rest[(strict.total_in() - start) as usize..];
                        out.extend_from_slice(&small);
                        if rest.is_empty() && small.len() < 128 {
                            break;
                        }
                    }
                }
                assert!(out == message);
            }
        }
    }

    #[test]
    fn takeover_pays_and_its_absence_is_kept_to() {
        let message = prose(300);
        let (mut client, mut server) = pair(false, 15);
        let first = client.compress(&message).unwrap();
        let second = client.compress(&message).unwrap();
        assert!(second.len() * 4 < first.len());
        // Alone, the second message cannot be understood.
        assert_ne!(server.inflate(&second, NO_LIMIT).ok().as_deref(), Some(&message[..]));

        let (mut client, mut server) = pair(true, 15);
        let first = client.compress(&message).unwrap();
        assert_eq!(client.compress(&message).unwrap(), first);
        assert_eq!(server.inflate(&first, NO_LIMIT).unwrap(), message);
        assert!(client.encoder.is_none() && server.decoder.is_none());
    }

    #[test]
    fn what_is_not_worth_it_goes_plain() {
        let (mut takeover, _) = pair(false, 15);
        assert_eq!(takeover.compress(b""), None);
        assert!(takeover.encoder.is_none());
        assert!(takeover.compress(b"Hello").is_some());
        // Sent compressed though longer: the encoder's window and the peer's must stay the same.
        assert!(takeover.compress(&noise(1000)).is_some_and(|compressed| compressed.len() > 1000));

        let (mut alone, _) = pair(true, 15);
        for plain in [vec![], vec![0; MIN_SIZE - 1], noise(MIN_SIZE), noise(100_000)] {
            assert_eq!(alone.compress(&plain), None);
        }
        assert!(alone.compress(&[0; MIN_SIZE]).is_some());
    }

    #[test]
    fn each_direction_has_its_own_parameters() {
        let agreed = Agreed {
            server_no_context_takeover: true,
            server_max_window_bits: 10,
            client_max_window_bits: 12,
            ..Agreed::default()
        };
        let facts = |role| {
            let codec = Codec::new(role, &agreed);
            (codec.window_bits, codec.deflate_takeover, codec.inflate_takeover)
        };
        assert_eq!(facts(Role::Client), (12, true, false));
        assert_eq!(facts(Role::Server), (10, false, true));
    }

    /// RFC 7692 section 7.2.3, and what peers are known to send besides.
    #[test]
    fn ways_to_write_a_message() {
        let rows: &[(&[u8], &[u8])] = &[
            (&[0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], b"Hello"),
            // The same text again, from the window.
            (&[0xf2, 0x00, 0x11, 0x00, 0x00], b"Hello"),
            // One block without compression.
            (&[0x00, 0x05, 0x00, 0xfa, 0xff, 0x48, 0x65, 0x6c, 0x6c, 0x6f, 0x00], b"Hello"),
            // BFINAL, with the extra byte and without it.
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00], b"Hello"),
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], b"Hello"),
            // Two blocks.
            (&[0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00], b"Hello"),
            // Two streams.
            (&[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00], b"HelloHello"),
            // Empty, in four ways; the last is a final block whose lengths are the tail.
            (&[0x00], b""),
            (&[], b""),
            (&[0x02, 0x00], b""),
            (&[0x01], b""),
        ];
        for alone in [false, true] {
            let (_, mut server) = pair(alone, 15);
            for (data, message) in rows {
                let from_window = data.len() == 5;
                if !(alone && from_window) {
                    assert_eq!(server.inflate(data, 10).as_deref(), Ok(*message), "{data:02x?}");
                }
            }
        }
    }

    #[test]
    fn broken_data_is_refused() {
        let rows: &[&[u8]] = &[
            &[0xff],
            &[0x06],
            b"not deflate at all",
            // A block cut off before its last letters, and one whose end lies in the tail.
            &[0xf2, 0x48, 0xcd],
            &[0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07],
            // Back beyond the start.
            &[0xf2, 0x00, 0x11, 0x00, 0x00],
            // A length that its complement belies.
            &[0x00, 0x05, 0x00, 0xfa, 0xfe, 0x48],
        ];
        for alone in [false, true] {
            for data in rows {
                let (_, mut server) = pair(alone, 15);
                assert_eq!(server.inflate(data, NO_LIMIT), Err(InflateError::Corrupt), "{data:02x?}");
            }
        }
        // What is shared is as new for the next connection.
        let (mut client, mut server) = pair(true, 15);
        let message = prose(1000);
        assert!(server.inflate(&client.compress(&message).unwrap(), 1000).unwrap() == message);
    }

    #[test]
    fn the_limit_is_exact() {
        for len in [1_usize, 40, 8191, 8192, 8193, 65_536, 65_537, 200_000] {
            let message = prose(len);
            for (limit, expected) in [
                (len, Ok(len)),
                (len + 1, Ok(len)),
                (len - 1, Err(InflateError::TooLarge)),
                (0, Err(InflateError::TooLarge)),
            ] {
                let (mut client, mut server) = pair(false, 15);
                let compressed = client.compress(&message).unwrap();
                assert_eq!(server.inflate(&compressed, limit).map(|inflated| inflated.len()), expected);
            }
        }
    }

    #[test]
    fn a_bomb_costs_no_more_than_the_limit() {
        let mut bomb = Vec::new();
        DeflateEncoder::new(std::io::repeat(0).take(200 << 20), Compression::best()).read_to_end(&mut bomb).unwrap();
        assert!(bomb.len() < 1 << 20);
        for alone in [false, true] {
            let (_, mut server) = pair(alone, 15);
            assert_eq!(server.inflate(&bomb, 1 << 20), Err(InflateError::TooLarge));
            assert!(SCRATCH.with_borrow(Vec::capacity) <= SCRATCH_KEPT);
        }
        let mut decoder = Decompress::new(false);
        let mut out = Vec::new();
        assert_eq!(inflate(&mut decoder, &bomb, &mut out, 1 << 20), Err(InflateError::TooLarge));
        assert_eq!((out.len(), out.capacity()), ((1 << 20) + 1, (1 << 20) + 1));
    }

    #[test]
    fn many_tiny_streams_do_not_take_long() {
        let start = std::time::Instant::now();
        let (_, mut server) = pair(false, 15);
        assert_eq!(server.inflate(&[0x03, 0x00].repeat(500_000), 10).as_deref(), Ok(&[][..]));
        assert!(start.elapsed().as_secs() < 10);
    }

    #[test]
    fn scratch_is_small_between_messages() {
        let (mut client, mut server) = pair(false, 15);
        for message in [prose(5_000_000), noise(5_000_000), prose(10)] {
            let compressed = client.compress(&message).unwrap();
            assert!(server.inflate(&compressed, NO_LIMIT).unwrap() == message);
            assert!(SCRATCH.with_borrow(Vec::capacity) <= SCRATCH_KEPT);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn any_conversation_comes_back(
            messages in prop::collection::vec((0usize..40_000, 0usize..3, any::<u8>()), 1..8),
            alone: bool,
            bits in SMALLEST_WINDOW..=LARGEST_WINDOW,
        ) {
            let (mut client, mut server) = pair(alone, bits);
            for (len, kind, fill) in messages {
                let message = match kind {
                    0 => prose(len),
                    1 => noise(len),
                    _ => vec![fill; len],
                };
                if let Some(compressed) = client.compress(&message) {
                    prop_assert!(server.inflate(&compressed, len).unwrap() == message);
                }
            }
        }

        #[test]
        fn any_bytes_inflate_within_the_limit(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..4),
            alone: bool,
            limit in 0usize..2000,
        ) {
            let (_, mut server) = pair(alone, 15);
            for data in messages {
                match server.inflate(&data, limit) {
                    Ok(inflated) => prop_assert!(inflated.len() <= limit),
                    Err(_) => break,
                }
            }
        }
    }
}
