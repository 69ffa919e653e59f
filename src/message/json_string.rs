//! JSON strings, written and read: the inner loop of event lines and HAR.
//!
//! Owns escaping and its undoing. Leaves objects and numbers to those who know which they write. Text is looked at in
//! the widest vectors that the machine has. Invariants: what is written is ASCII where a terminal or a reader of lines
//! could take it for something else; what is read is taken only where it is valid JSON, all else is left to a general
//! parser.

// What is not inlined is compiled for machines without those vectors.
#![allow(clippy::inline_always)]

use bytes::BytesMut;
use fearless_simd::prelude::*;
use fearless_simd::{Level, dispatch, mask8x64, u8x16, u8x64};

use super::render::{drives_terminal, push_unicode_escape};

/// Bytes of text that are looked at together, a bit each in a mask.
const CHUNK: usize = 64;
/// Bytes of a chunk that are written together.
const GROUP: usize = 8;
/// What a group becomes if everything in it is escaped.
const LANE: usize = 16;
/// What is no longer is a name more often than a text: for it a chunk would be too much.
const SHORT: usize = 8;
/// Bytes of an allocation that what is read is put into, if it is not longer.
pub(super) const SHARED: usize = 64 * 1024;

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

/// Appends a JSON string, quotes included. Beyond what JSON asks for, characters that could drive a
/// terminal or that some readers take for the end of a line are escaped: it means the same.
pub fn push_json_string(out: &mut Vec<u8>, text: &str) {
    push_json_utf8(out, text.as_bytes());
}

/// As [`push_json_string`], for bytes that are known to be UTF-8.
pub(super) fn push_json_utf8(out: &mut Vec<u8>, bytes: &[u8]) {
    if bytes.len() <= SHORT && bytes.iter().all(u8::is_ascii_alphanumeric) {
        out.push(b'"');
        out.extend_from_slice(bytes);
        out.push(b'"');
        return;
    }
    push_at(Level::new(), out, bytes);
}

fn push_at(level: Level, out: &mut Vec<u8>, bytes: &[u8]) {
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
        let (quotes, others) = marks(simd, last);
        if others == 0 {
            out.truncate(out.len() - escaped(quotes, at - begin));
            push_chunk(simd, out, last, quotes, CHUNK);
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
        let (quotes, others) = marks(simd, chunk);
        let until = (others.trailing_zeros() as usize).min(length);
        push_chunk(simd, out, chunk, quotes, until);
        at += until;
        if until < length {
            at += push_other(out, &bytes[at..]);
            plain = at;
        }
    }
    (at, plain)
}

#[inline(always)]
fn is<S: Simd>(simd: S, chunk: u8x64<S>, byte: u8) -> mask8x64<S> {
    chunk.simd_eq(u8x64::splat(simd, byte))
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

/// The bits of the first bytes of a chunk.
#[inline(always)]
const fn below(length: usize) -> u64 {
    if length < CHUNK { (1 << length) - 1 } else { u64::MAX }
}

/// Appends a chunk up to `until`, a backslash before each byte that is marked.
#[inline(always)]
fn push_chunk<S: Simd>(simd: S, out: &mut Vec<u8>, chunk: &[u8; CHUNK], marks: u64, until: usize) {
    let start = out.len();
    if marks == 0 {
        out.extend_from_slice(chunk);
    } else {
        out.extend_from_slice(&[0; CHUNK / GROUP * LANE]);
        let place = &mut out[start..];
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

/// Appends the first character, which may need an escape of its own; how many bytes it takes.
fn push_other(out: &mut Vec<u8>, bytes: &[u8]) -> usize {
    let byte = bytes[0];
    if byte.is_ascii() {
        push_ascii_escape(out, byte);
        return 1;
    }
    let c = character(bytes);
    let length = c.map_or(1, char::len_utf8);
    match c {
        Some(c) if drives_terminal(c) || matches!(c, '\u{2028}' | '\u{2029}') => push_unicode_escape(out, c),
        _ => out.extend_from_slice(&bytes[..length]),
    }
    length
}

fn character(bytes: &[u8]) -> Option<char> {
    let length = if *bytes.first()? < 0xe0 { 2 } else { 3 };
    std::str::from_utf8(bytes.get(..length)?).ok()?.chars().next()
}

fn push_ascii_escape(out: &mut Vec<u8>, byte: u8) {
    let letter = match byte {
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        other => return push_unicode_escape(out, char::from(other)),
    };
    out.extend_from_slice(&[b'\\', letter]);
}

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
pub(super) fn read_json_string(text: &[u8], out: &mut BytesMut) -> Option<(usize, usize)> {
    read_at(Level::new(), text, out)
}

fn read_at(level: Level, text: &[u8], out: &mut BytesMut) -> Option<(usize, usize)> {
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
pub(super) fn json_string_end(text: &[u8]) -> Option<usize> {
    end_at(Level::new(), text)
}

fn end_at(level: Level, text: &[u8]) -> Option<usize> {
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

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn strings_are_safe_to_show() {
        let mut out = Vec::new();
        push_json_string(&mut out, "\u{0}\u{1b}\u{7f}\u{85}\u{9b}\u{202e}\u{2066}\u{2028}¢é€😀\"\\/\u{8}\u{c}");
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\"\\u0000\\u001b\\u007f\\u0085\\u009b\\u202e\\u2066\\u2028¢é€😀\\\"\\\\/\\b\\f\""
        );
    }

    /// What this machine's vectors and those of every machine make of it, which is to be the same.
    fn alike<T: PartialEq + std::fmt::Debug>(of: impl Fn(Level) -> T) -> T {
        let made = of(Level::new());
        assert_eq!(made, of(Level::baseline()));
        made
    }

    fn written(text: &str) -> Vec<u8> {
        alike(|level| {
            // What stands there already is left alone.
            let mut out = b"so far".to_vec();
            push_at(level, &mut out, text.as_bytes());
            out.strip_prefix(b"so far").unwrap().to_vec()
        })
    }

    fn end(text: &[u8]) -> Option<usize> {
        alike(|level| end_at(level, text))
    }

    /// What is made of a literal, and what serde does.
    fn both(literal: &[u8]) -> (Option<String>, Option<String>) {
        let read = alike(|level| {
            let mut out = BytesMut::new();
            let (length, taken) = read_at(level, &literal[1..], &mut out)?;
            let whole = taken == literal.len() - 1;
            whole.then(|| String::from_utf8(out[..length].to_vec()).ok())?
        });
        (read, serde_json::from_slice(literal).ok())
    }

    #[test]
    fn every_character_is_written_as_it_means_wherever_it_stands() {
        let odd = ['"', '\\', '\n', '\u{1}', '\u{7f}', '\u{85}', 'é', '€', '\u{2028}', '\u{202e}', '😀'];
        for length in [0, 1, 7, 8, 9, 62, 63, 64, 65, 100, 127, 128, 129, 191, 192, 193] {
            for at in 0..=length {
                for c in odd {
                    let text = format!("{}{c}{}", "a\"".repeat(at / 2), "z".repeat(length - at));
                    let mut expected = String::from("\"");
                    for c in text.chars() {
                        match c {
                            '"' | '\\' => expected.extend(['\\', c]),
                            '\n' => expected.push_str("\\n"),
                            '\u{1}' | '\u{7f}' | '\u{85}' | '\u{2028}' | '\u{202e}' => {
                                write!(expected, "\\u{:04x}", u32::from(c)).unwrap();
                            }
                            c => expected.push(c),
                        }
                    }
                    expected.push('"');
                    assert_eq!(String::from_utf8(written(&text)).unwrap(), expected);
                }
            }
        }
    }

    #[test]
    fn a_string_without_an_end_or_with_a_control_character_is_not_read() {
        let long = "x".repeat(100);
        for text in
            ["\"", "\"a", "\"\\", "\"\\\"", "\"a\nb\"", "\"\\u0041\"", &format!("\"{long}"), &format!("\"{long}\t\"")]
        {
            assert_eq!(both(text.as_bytes()).0, None, "{text}");
        }
        assert_eq!(both(b"\"\"").0.as_deref(), Some(""));
        assert_eq!(both(b"\"a\\/\\n\"").0.as_deref(), Some("a/\n"));
    }

    #[test]
    fn a_long_string_takes_no_more_memory_than_it_needs() {
        let text = "x".repeat(33 * SHARED);
        let mut literal = Vec::new();
        push_json_string(&mut literal, &text);
        let mut out = BytesMut::new();
        let (length, taken) = read_json_string(&literal[1..], &mut out).unwrap();
        assert_eq!((&out[..length], taken), (text.as_bytes(), literal.len() - 1));
        assert!(out.capacity() <= literal.len() + CHUNK, "{} for {}", out.capacity(), literal.len());
    }

    #[test]
    fn every_byte_and_escape_is_read_as_a_general_parser_does_wherever_it_stands() {
        for at in [0, 1, 15, 16, 47, 62, 63, 64, 65, 78, 79, 80, 81, 126, 127, 128] {
            for behind in [0, 1, 2, 70] {
                for byte in 0..=u8::MAX {
                    for escape in [&[byte][..], &[b'\\', byte]] {
                        let mut literal = [&vec![b'a'; at + 1][..], escape, &vec![b'z'; behind], b"\""].concat();
                        literal[0] = b'"';
                        let (quick, general) = both(&literal);
                        assert!(quick.is_none() || quick == general, "{byte:#x} at {at}");
                        // Only \u is left to others.
                        assert!(quick == general || byte == b'u', "{byte:#x} at {at}");
                    }
                }
            }
        }
    }

    proptest! {
        #[test]
        fn strings_mean_the_same(text in "(?s)[a-z\"\\\\ \n\u{7f}\u{85}é€\u{2028}😀\u{0}]{0,300}|.{0,60}|[ -~]{0,200}") {
            prop_assert_eq!(serde_json::from_slice::<String>(&written(&text)).unwrap(), text);
        }

        #[test]
        fn what_is_read_means_what_a_general_parser_says(text in "[a-z\"\\\\ntu/\u{1}é€]{0,80}") {
            let (quick, general) = both(format!("\"{text}\"").as_bytes());
            if quick.is_some() {
                prop_assert_eq!(quick, general);
            }
        }

        #[test]
        fn what_was_written_is_read(text in "[a-z\"\\\\ \n\té€😀]{0,120}") {
            let out = written(&text);
            prop_assert_eq!(end(&out[1..]), Some(out.len() - 1));
            prop_assert!((1..out.len()).all(|cut| end(&out[1..cut]).is_none()));
            prop_assert_eq!(both(&out).0, Some(text));
        }
    }
}
