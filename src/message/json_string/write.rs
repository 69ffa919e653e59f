//! Escapes text: each group of a chunk gets its backslashes by one shuffle.

use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, u8x16, u8x64};

use super::super::render::{drives_terminal, push_unicode_escape};
use super::{CHUNK, GROUP, LANE, below, is};

/// What is no longer is a name more often than a text: for it a chunk would be too much.
const SHORT: usize = 8;

/// What a chunk becomes if everything in it is escaped.
const PLACE: usize = CHUNK / GROUP * LANE;

/// Where the bytes of a written group come from, for each choice of those in it that a backslash goes before. It stands
/// behind the group.
static SPREAD: [[u8; LANE]; 256] = {
    let mut all = [[0; LANE]; 256];
    let mut marks = 0;
    while marks < all.len() {
        let (mut at, mut to) = (0, 0);
        while at < GROUP {
            if marks >> at & 1 != 0 {
                all[marks][to] = GROUP as u8;
                to += 1;
            }
            all[marks][to] = at as u8;
            (at, to) = (at + 1, to + 1);
        }
        marks += 1;
    }
    all
};

/// Appends a JSON string, quotes included. Beyond what JSON asks for, characters that could drive a
/// terminal or that some readers take for the end of a line are escaped: it means the same.
pub(crate) fn push_json_string(out: &mut Vec<u8>, text: &str) {
    push_json_utf8(out, text.as_bytes());
}

/// As [`push_json_string`], for bytes that are known to be UTF-8.
pub(in super::super) fn push_json_utf8(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= SHORT && bytes.iter().all(u8::is_ascii_alphanumeric) {
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    push_at(Level::new(), out, bytes);
}

pub(super) fn push_at(level: Level, out: &mut Vec<u8>, bytes: &[u8]) {
    dispatch!(level, simd => push_with(simd, out, bytes));
}

#[inline(always)]
fn push_with<S: Simd>(simd: S, out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() + 2 * CHUNK);
    out.push(b'"');
    let (mut at, plain) = push_chunks(simd, out, bytes, bytes.len());
    // What is too short for a chunk is written with what stands before it, which is written once more.
    if at < bytes.len()
        && let Some(last) = bytes.last_chunk()
        && let begin = bytes.len() - CHUNK
        && begin >= plain
    {
        let named;
        let (mut chunk, (mut quotes, mut others)) = (last, marks(simd, last));
        if others != 0 {
            (named, quotes, others) = looked_at(simd, last, quotes);
            chunk = &named;
        }
        if others == 0 {
            out.truncate(out.len() - escaped(quotes, at - begin));
            push_chunk(simd, out, chunk, quotes, CHUNK);
            at = bytes.len();
        }
    }
    if at < bytes.len() {
        let (rest, mut last) = (&bytes[at..], [b' '; 2 * CHUNK]);
        last[..rest.len()].copy_from_slice(rest);
        push_chunks(simd, out, &last, rest.len());
    }
    out.push(b'"');
}

/// Writes the characters before `end` as far as a chunk can be looked at; how far that is, and since where there is
/// nothing but bytes with and without a backslash.
#[inline(always)]
fn push_chunks<S: Simd>(simd: S, out: &mut Vec<u8>, bytes: &[u8], end: usize) -> (usize, usize) {
    let (mut at, mut plain) = (0, 0);
    while at < end
        && let Some(chunk) = bytes[at..].first_chunk()
    {
        let length = CHUNK.min(end - at);
        let named;
        let (mut chunk, mut until) = (chunk, length);
        let (mut quotes, mut others) = marks(simd, chunk);
        if others != 0 {
            (named, quotes, others) = looked_at(simd, chunk, quotes);
            chunk = &named;
            until = length.min(others.trailing_zeros() as usize);
        }
        if until > 0 {
            push_chunk(simd, out, chunk, quotes, until);
        }
        at += until;
        if until < length {
            at += push_other(out, &bytes[at..]);
            plain = at;
        }
    }
    (at, plain)
}

/// Which bytes of a chunk are quotes and backslashes, and which are to be looked at before they are written: control
/// characters, and what U+0080 to U+00BF and U+2000 to U+2FFF begin with.
#[inline(always)]
fn marks<S: Simd>(simd: S, chunk: &[u8; CHUNK]) -> (u64, u64) {
    let chunk = u8x64::from_slice(simd, chunk);
    let quotes = is(simd, chunk, b'"') | is(simd, chunk, b'\\');
    let controls = chunk.simd_lt(u8x64::splat(simd, 0x20)) | is(simd, chunk, 0x7f);
    let leads = is(simd, chunk | u8x64::splat(simd, 0x20), 0xe2);
    (quotes.to_bitmask(), (controls | leads).to_bitmask())
}

/// Bytes that so many of a chunk take when those that are marked have a backslash before them.
#[inline(always)]
fn escaped(marks: u64, length: usize) -> usize {
    length + (marks & below(length)).count_ones() as usize
}

/// Appends a chunk up to `until`, a backslash before each byte that is marked.
#[inline(always)]
fn push_chunk<S: Simd>(simd: S, out: &mut Vec<u8>, chunk: &[u8; CHUNK], marks: u64, until: usize) {
    let start = out.len();
    if marks == 0 {
        out.extend_from_slice(chunk);
    } else {
        out.extend_from_slice(&[0; PLACE]);
        let place: &mut [u8; PLACE] = out[start..].first_chunk_mut().expect("a place for the chunk");
        let mut to = 0;
        for (index, group) in chunk.as_chunks::<GROUP>().0.iter().enumerate() {
            let marks = (marks >> (index * GROUP)) as u8;
            let mut lane = [b'\\'; LANE];
            lane[..GROUP].copy_from_slice(group);
            let spread = u8x16::from_slice(simd, &SPREAD[usize::from(marks)]);
            u8x16::from_slice(simd, &lane).swizzle_dyn(spread).store_slice(&mut place[to..to + LANE]);
            to += GROUP + marks.count_ones() as usize;
        }
    }
    out.truncate(start + escaped(marks, until));
}

/// A chunk with letters for the control characters that have one, what is then written with a backslash before it, and
/// where characters begin that take more than that or are not all in sight.
#[inline(always)]
fn looked_at<S: Simd>(simd: S, chunk: &[u8; CHUNK], quotes: u64) -> ([u8; CHUNK], u64, u64) {
    let chunk = u8x64::from_slice(simd, chunk);
    let (letters, named) = named(simd, chunk);
    let controls = chunk.simd_lt(u8x64::splat(simd, 0x20)) | is(simd, chunk, 0x7f);
    (named, quotes | letters, controls.to_bitmask() & !letters | driving(simd, chunk))
}

/// Which bytes are control characters that have a letter, and the chunk with these letters.
#[inline(always)]
fn named<S: Simd>(simd: S, chunk: u8x64<S>) -> (u64, [u8; CHUNK]) {
    let (mut letters, mut named) = (0, chunk);
    for (byte, letter) in [(b'\n', b'n'), (b'\r', b'r'), (b'\t', b't'), (0x08, b'b'), (0x0c, b'f')] {
        let found = is(simd, chunk, byte);
        letters |= found.to_bitmask();
        named = found.select(u8x64::splat(simd, letter), named);
    }
    (letters, named.into())
}

/// Where U+0080 to U+009F, U+2028 to U+202E or U+2066 to U+2069 begin if a character begins there, as far as it is in
/// sight.
#[inline(always)]
fn driving<S: Simd>(simd: S, chunk: u8x64<S>) -> u64 {
    let two = ahead(within(simd, chunk, 0x80, 0x9f), 1);
    let separator = ahead(is(simd, chunk, 0x80).to_bitmask(), 1) & ahead(within(simd, chunk, 0xa8, 0xae), 2);
    let isolate = ahead(is(simd, chunk, 0x81).to_bitmask(), 1) & ahead(within(simd, chunk, 0xa6, 0xa9), 2);
    is(simd, chunk, 0xc2).to_bitmask() & two | is(simd, chunk, 0xe2).to_bitmask() & (separator | isolate)
}

#[inline(always)]
fn within<S: Simd>(simd: S, chunk: u8x64<S>, first: u8, last: u8) -> u64 {
    (chunk.simd_ge(u8x64::splat(simd, first)) & chunk.simd_le(u8x64::splat(simd, last))).to_bitmask()
}

/// What is so many bytes ahead; all of what is not in sight.
#[inline(always)]
fn ahead(bits: u64, steps: u32) -> u64 {
    bits >> steps | !(u64::MAX >> steps)
}

/// Appends the first character, which may need an escape of its own; how many bytes it takes.
fn push_other(out: &mut Vec<u8>, bytes: &[u8]) -> usize {
    let c = character(bytes);
    let length = c.map_or(1, char::len_utf8);
    match c {
        Some(c) if drives_terminal(c) || matches!(c, '\u{2028}' | '\u{2029}') => push_unicode_escape(out, c),
        _ => out.extend_from_slice(&bytes[..length]),
    }
    length
}

fn character(bytes: &[u8]) -> Option<char> {
    let length = match *bytes.first()? {
        0..0x80 => 1,
        0x80..0xe0 => 2,
        _ => 3,
    };
    std::str::from_utf8(bytes.get(..length)?).ok()?.chars().next()
}
