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
pub(crate) const MIN_SIZE: usize = 32;
/// Ends what a sync flush writes. Senders leave it out, receivers put it back (RFC 7692 section 7.2).
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// Speed over size: level 6 costs more than twice as much for little on live traffic.
const LEVEL: u32 = 1;
/// The smallest window zlib compresses with.
const SMALLEST_WINDOW: u8 = 9;
/// Bytes of the window of 8 bits, which it does not. A message no longer than that refers to nothing further back, as long
/// as it is compressed on its own; longer ones go plain.
const TINY_WINDOW: usize = 1 << 8;
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
    #[error("the decompressed message is too large")]
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

/// Compresses what one connection sends, as agreed on.
#[derive(Debug)]
pub struct Deflater {
    /// Our window, already within what zlib can do.
    window_bits: u8,
    /// Longer messages go plain.
    longest: Option<usize>,
    takeover: bool,
    encoder: Option<Compress>,
}

impl Deflater {
    /// Takes from `agreed` what concerns sending on the end that `role` is. Allocates nothing yet.
    pub fn new(role: Role, agreed: &Agreed) -> Self {
        let (window_bits, no_takeover) = match role {
            Role::Client => (agreed.client_max_window_bits, agreed.client_no_context_takeover),
            Role::Server => (agreed.server_max_window_bits, agreed.server_no_context_takeover),
        };
        let is_tiny = window_bits < SMALLEST_WINDOW;
        Self {
            window_bits: window_bits.clamp(SMALLEST_WINDOW, LARGEST_WINDOW),
            longest: is_tiny.then_some(TINY_WINDOW),
            takeover: !no_takeover && !is_tiny,
            encoder: None,
        }
    }

    /// The payload to send with RSV1 set; `None` when the message is to go out plain.
    pub fn compress(&mut self, payload: &[u8]) -> Option<Bytes> {
        if payload.is_empty() || (!self.takeover && payload.len() < MIN_SIZE) {
            return None;
        }
        if self.longest.is_some_and(|longest| payload.len() > longest) {
            return None;
        }
        let window_bits = self.window_bits;
        let new = || Compress::new_with_window_bits(Compression::new(LEVEL), false, window_bits);
        if self.takeover {
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
}

/// Decompresses what one connection receives, as agreed on.
#[derive(Debug)]
pub struct Inflater {
    takeover: bool,
    decoder: Option<Decompress>,
}

impl Inflater {
    /// Takes from `agreed` what concerns receiving on the end that `role` is. Allocates nothing yet.
    pub fn new(role: Role, agreed: &Agreed) -> Self {
        let no_takeover = match role {
            Role::Client => agreed.server_no_context_takeover,
            Role::Server => agreed.client_no_context_takeover,
        };
        Self { takeover: !no_takeover, decoder: None }
    }

    /// Inflates the payload of a whole message that had RSV1 set, to at most `limit` bytes.
    ///
    /// # Errors
    /// [`InflateError`]; this inflater is of no use afterwards.
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
        if self.takeover {
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
    feed(decoder, &TAIL, out, limit)?;
    if out.len() == len { Ok(()) } else { Err(InflateError::Corrupt) }
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
