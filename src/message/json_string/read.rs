//! Undoes escapes: each group of a chunk loses its backslashes by one shuffle.

use bytes::BytesMut;
use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x16, u8x64};

use super::{CHUNK, GROUP, LANE, below, is};

/// Bytes of an allocation that what is read is put into, if it is not longer.
pub(in super::super) const SHARED: usize = 64 * 1024;

/// Where the bytes of a group come from that is left without some, for each choice of these.
static KEPT: [[u8; GROUP]; 256] = {
    let mut all = [[0; GROUP]; 256];
    let mut marks = 0;
    while marks < all.len() {
        let (mut at, mut to) = (0, 0);
        while at < GROUP {
            if marks >> at & 1 == 0 {
                all[marks][to] = at as u8;
                to += 1;
            }
            at += 1;
        }
        marks += 1;
    }
    all
};

/// A bit for every other byte.
const ODD: u64 = 0xaaaa_aaaa_aaaa_aaaa;

/// A chunk of a string as it stands in JSON, a bit for each byte.
struct Marks {
    /// The backslashes that begin an escape.
    escapes: u64,
    /// Those of them behind which there is neither a quote nor a backslash.
    letters: u64,
    /// How far the string goes in this chunk: up to its quote, a control character or an escape that is not whole.
    end: usize,
}

impl Marks {
    #[inline(always)]
    fn of<S: Simd>(simd: S, chunk: &[u8; CHUNK]) -> Self {
        let chunk = u8x64::from_slice(simd, chunk);
        let (quotes, backslashes) = (is(simd, chunk, b'"').to_bitmask(), is(simd, chunk, b'\\').to_bitmask());
        let controls = chunk.simd_lt(u8x64::splat(simd, 0x20)).to_bitmask();
        // Of backslashes in a row the first escapes the second. Taken from what stands behind them and from every odd
        // place, a row carries through to its end, which then tells at which kind of place it began.
        let carried = ((backslashes << 1) | ODD).wrapping_sub(backslashes) ^ ODD;
        let (escapes, behind) = (carried & backslashes, carried ^ backslashes);
        let stops = controls | quotes & !behind | escapes & 1 << (CHUNK - 1);
        let end = stops.trailing_zeros() as usize;
        let escapes = escapes & below(end);
        Self { escapes, letters: escapes & !((quotes | backslashes) >> 1), end }
    }
}

/// Reads the string that begins at `text`, behind its quote: puts what it means at the beginning of `out`, which grows
/// as needed, and says how long that is and how many bytes it takes with the quote at its end. `None` where it is not
/// valid, does not end, or has escapes that are seldom met. What it means is not checked to be UTF-8.
pub(in super::super) fn read_json_string(text: &[u8], out: &mut BytesMut) -> Option<(usize, usize)> {
    read_at(Level::new(), text, out)
}

pub(super) fn read_at(level: Level, text: &[u8], out: &mut BytesMut) -> Option<(usize, usize)> {
    dispatch!(level, simd => read_with(simd, text, out))
}

#[inline(always)]
fn read_with<S: Simd>(simd: S, text: &[u8], out: &mut BytesMut) -> Option<(usize, usize)> {
    let (at, to, is_whole) = read_chunks(simd, text, out, 0)?;
    if is_whole {
        return Some((to, at));
    }
    // What is too short to be looked at as a chunk is, with what cannot stand in a string behind it.
    let (rest, mut last) = (&text[at..], [0; CHUNK]);
    last[..rest.len()].copy_from_slice(rest);
    let (more, to, is_whole) = read_chunks(simd, &last, out, to)?;
    is_whole.then_some((to, at + more))
}

/// Reads as far as a chunk can be looked at; where it stands then in the text and in `out`, and whether that was all.
#[inline(always)]
fn read_chunks<S: Simd>(simd: S, text: &[u8], out: &mut BytesMut, into: usize) -> Option<(usize, usize, bool)> {
    let (mut at, mut to) = (0, into);
    while let Some(chunk) = text.get(at..)?.first_chunk() {
        if out.len() < to + CHUNK {
            let rest = text.len() - at;
            // Where that much is in sight it is most likely all of one string, which then takes no more than it needs.
            let room = if rest > 2 * SHARED { to + rest } else { SHARED.max(2 * to) };
            out.resize(room + CHUNK, 0);
        }
        let place = out[to..].first_chunk_mut().expect("room for a chunk");
        let (read, wrote, is_whole) = read_chunk(simd, chunk, place)?;
        (at, to) = (at + read, to + wrote);
        if is_whole {
            return Some((at, to, true));
        }
    }
    Some((at, to, false))
}

/// Reads a chunk of a string: how much is read and written, and whether that was all.
#[inline(always)]
fn read_chunk<S: Simd>(simd: S, chunk: &[u8; CHUNK], place: &mut [u8; CHUNK]) -> Option<(usize, usize, bool)> {
    let Marks { escapes, letters, end } = Marks::of(simd, chunk);
    if escapes == 0 {
        *place = *chunk;
    } else if letters == 0 {
        put_kept(simd, place, chunk, escapes);
    } else {
        put_kept(simd, place, &meant(chunk, letters)?, escapes);
    }
    // Every escape means a byte less than it takes.
    let wrote = end - escapes.count_ones() as usize;
    match chunk.get(end) {
        Some(b'"') => Some((end + 1, wrote, true)),
        None | Some(b'\\') => Some((end, wrote, false)),
        Some(_) => None,
    }
}

/// Copies a chunk without the bytes that are marked.
#[inline(always)]
fn put_kept<S: Simd>(simd: S, place: &mut [u8; CHUNK], chunk: &[u8; CHUNK], marks: u64) {
    let mut to = 0;
    for (index, group) in chunk.as_chunks::<GROUP>().0.iter().enumerate() {
        let marks = (marks >> (index * GROUP)) as u8;
        let (mut lane, mut kept) = ([0; LANE], [0; LANE]);
        lane[..GROUP].copy_from_slice(group);
        kept[..GROUP].copy_from_slice(&KEPT[usize::from(marks)]);
        let lane = u8x16::from_slice(simd, &lane).swizzle_dyn(u8x16::from_slice(simd, &kept));
        place[to..to + GROUP].copy_from_slice(&lane.as_slice()[..GROUP]);
        to += GROUP - marks.count_ones() as usize;
    }
}

/// A chunk with what they mean where there are letters behind the backslashes that are marked.
fn meant(chunk: &[u8; CHUNK], mut marks: u64) -> Option<[u8; CHUNK]> {
    let mut chunk = *chunk;
    while marks != 0 {
        let place = &mut chunk[marks.trailing_zeros() as usize + 1];
        *place = letter(*place)?;
        marks &= marks - 1;
    }
    Some(chunk)
}

/// What a letter behind a backslash means.
fn letter(byte: u8) -> Option<u8> {
    match byte {
        b'n' => Some(b'\n'),
        b'r' => Some(b'\r'),
        b't' => Some(b'\t'),
        b'b' => Some(0x08),
        b'f' => Some(0x0c),
        b'/' => Some(b'/'),
        _ => None,
    }
}

/// Where the string that begins at `text`, behind its quote, has ended; `None` when that is not in sight. What stands
/// in it is not checked.
pub(in super::super) fn json_string_end(text: &[u8]) -> Option<usize> {
    end_at(Level::new(), text)
}

pub(super) fn end_at(level: Level, text: &[u8]) -> Option<usize> {
    dispatch!(level, simd => end_with(simd, text))
}

#[inline(always)]
fn end_with<S: Simd>(simd: S, text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(chunk) = text.get(at..)?.first_chunk() {
        let Marks { end, .. } = Marks::of(simd, chunk);
        at += match chunk.get(end) {
            None => CHUNK,
            Some(b'"') => return Some(at + end + 1),
            // An escape that is not whole begins the next chunk.
            Some(b'\\') => end,
            Some(_) => end + 1,
        };
    }
    loop {
        match *text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}
