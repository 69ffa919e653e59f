//! JSON strings, written and read: the inner loop of event lines and HAR.
//!
//! Owns escaping and its undoing. Leaves objects and numbers to those who know which they write. Text is looked at in
//! vectors. Invariants: what is written is ASCII where a terminal or a reader of lines could take it for something else;
//! what is read is taken only where it is valid JSON, all else is left to a general parser.

use std::ops::Range;

use bytes::BytesMut;
use wide::u8x16;

use super::render::{drives_terminal, push_unicode_escape};

/// Bytes of text that are looked at together, a bit each in a mask.
const CHUNK: usize = 64;
/// Bytes that are compared, and copied, at a time.
const LANE: usize = 16;
/// A chunk and what may be copied behind it.
const SIGHT: usize = CHUNK + LANE;
/// Room for a chunk of which everything is escaped, and what is written too much then.
const PLACE: usize = 2 * CHUNK + LANE;
/// What is no longer is a name more often than a text: for it a chunk would be too much.
const SHORT: usize = 8;
/// Bytes of an allocation that what is read is put into, if it is not longer.
pub(super) const SHARED: usize = 64 * 1024;

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
    let start = out.len();
    out.resize(start + bytes.len() + PLACE, 0);
    out[start] = b'"';
    let (mut at, mut to) = put_chunks(bytes, bytes.len(), out, start + 1);
    // What is too short to be looked at as a chunk is, with what stands for more behind it.
    let rest = &bytes[at..];
    let mut last = [b' '; 2 * SIGHT];
    last[..rest.len()].copy_from_slice(rest);
    (at, to) = put_chunks(&last, rest.len(), out, to);
    debug_assert_eq!(at, rest.len(), "all is written");
    out[to] = b'"';
    out.truncate(to + 1);
}

/// Writes the characters before `end` as far as a chunk can be looked at; where both stand then. There must be room for
/// a chunk at the end of `out`, and there is again.
fn put_chunks(bytes: &[u8], end: usize, out: &mut Vec<u8>, into: usize) -> (usize, usize) {
    let (mut at, mut to) = (0, into);
    while at < end
        && let Some(chunk) = bytes[at..].first_chunk()
    {
        let length = CHUNK.min(end - at);
        let (quotes, others) = marks(chunk);
        let until = (others.trailing_zeros() as usize).min(length);
        if out.len() < to + PLACE {
            out.resize(to + PLACE + end - at, 0);
        }
        let place = out[to..].first_chunk_mut().expect("room for a chunk");
        to += until + put_escaped(place, chunk, until, quotes);
        at += until;
        if until < length {
            (at, to) = put_other(bytes, at, out, to);
        }
    }
    (at, to)
}

const fn all(byte: u8) -> u8x16 {
    u8x16::new([byte; LANE])
}

/// Which bytes of a chunk are quotes and backslashes, and which are to be looked at before they are written: control
/// characters, and what U+0080 to U+00BF and U+2000 to U+2FFF begin with.
#[inline]
fn marks(chunk: &[u8; SIGHT]) -> (u64, u64) {
    let (mut quotes, mut others) = (0, 0);
    let (lanes, _) = chunk[..CHUNK].as_chunks::<LANE>();
    for (index, lane) in lanes.iter().enumerate() {
        let lane = u8x16::new(*lane);
        let quote = lane.simd_eq(all(b'"')) | lane.simd_eq(all(b'\\'));
        let control = lane.simd_eq(lane.min(all(0x1f))) | lane.simd_eq(all(0x7f));
        let lead = (lane | all(0x20)).simd_eq(all(0xe2));
        quotes |= bits(quote, index);
        others |= bits(control | lead, index);
    }
    (quotes, others)
}

/// Copies a chunk up to `until`, a backslash before each byte that is marked; how many these are.
#[inline]
fn put_escaped(place: &mut [u8; PLACE], chunk: &[u8; SIGHT], until: usize, marks: u64) -> usize {
    let mut marks = if until < CHUNK { marks & ((1 << until) - 1) } else { marks };
    let (mut from, mut count) = (0, 0);
    while marks != 0 {
        let next = marks.trailing_zeros() as usize;
        copy_lanes(place, chunk, from..next, from + count);
        place[next + count] = b'\\';
        (from, count) = (next, count + 1);
        marks &= marks - 1;
    }
    copy_lanes(place, chunk, from..until, from + count);
    count
}

/// Copies a part of a chunk to `into`, both within a chunk; what is copied too much is written over later.
#[inline]
fn copy_lanes<const N: usize>(place: &mut [u8; N], chunk: &[u8; SIGHT], part: Range<usize>, into: usize) {
    let (mut at, mut to) = (part.start, into);
    loop {
        place[to..to + LANE].copy_from_slice(&chunk[at..at + LANE]);
        (at, to) = (at + LANE, to + LANE);
        if at >= part.end {
            break;
        }
    }
}

/// Writes the character that begins at `at`, which may need an escape of its own; where both stand then.
fn put_other(bytes: &[u8], at: usize, out: &mut Vec<u8>, to: usize) -> (usize, usize) {
    let byte = bytes[at];
    if byte.is_ascii() {
        return (at + 1, put_ascii_escape(out, to, byte));
    }
    let c = character(&bytes[at..]);
    let length = c.map_or(1, char::len_utf8);
    if let Some(c) = c.filter(|c| drives_terminal(*c) || matches!(c, '\u{2028}' | '\u{2029}')) {
        return (at + length, put_unicode_escape(out, to, c));
    }
    out[to..to + length].copy_from_slice(&bytes[at..at + length]);
    (at + length, to + length)
}

fn character(bytes: &[u8]) -> Option<char> {
    let length = if *bytes.first()? < 0xe0 { 2 } else { 3 };
    std::str::from_utf8(bytes.get(..length)?).ok()?.chars().next()
}

/// Where it goes on behind the escape.
fn put_ascii_escape(out: &mut Vec<u8>, to: usize, byte: u8) -> usize {
    let letter = match byte {
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        other => return put_unicode_escape(out, to, char::from(other)),
    };
    out[to..to + 2].copy_from_slice(&[b'\\', letter]);
    to + 2
}

fn put_unicode_escape(out: &mut Vec<u8>, to: usize, c: char) -> usize {
    let room = out.len();
    out.truncate(to);
    push_unicode_escape(out, c);
    let to = out.len();
    out.resize(room + 6, 0);
    to
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
    #[inline]
    fn of(chunk: &[u8; CHUNK]) -> Self {
        let (mut quotes, mut backslashes, mut controls) = (0, 0, 0);
        let (lanes, _) = chunk.as_chunks::<LANE>();
        for (index, lane) in lanes.iter().enumerate() {
            let lane = u8x16::new(*lane);
            quotes |= bits(lane.simd_eq(all(b'"')), index);
            backslashes |= bits(lane.simd_eq(all(b'\\')), index);
            controls |= bits(lane.simd_eq(lane.min(all(0x1f))), index);
        }
        // Of backslashes in a row the first escapes the second. Taken from what stands behind them and from every odd
        // place, a row carries through to its end, which then tells at which kind of place it began.
        let carried = ((backslashes << 1) | ODD).wrapping_sub(backslashes) ^ ODD;
        let (escapes, behind) = (carried & backslashes, carried ^ backslashes);
        let stops = controls | quotes & !behind | escapes & 1 << (CHUNK - 1);
        let end = stops.trailing_zeros();
        let before = 1_u64.checked_shl(end).map_or(u64::MAX, |bit| bit - 1);
        let escapes = escapes & before;
        Self { escapes, letters: escapes & !((quotes | backslashes) >> 1), end: end as usize }
    }
}

/// A lane's bits at its place in a chunk.
#[inline]
fn bits(lane: u8x16, index: usize) -> u64 {
    u64::from(lane.to_bitmask() as u16) << (index * LANE)
}

/// Reads the string that begins at `text`, behind its quote: puts what it means at the beginning of `out`, which grows
/// as needed, and says how long that is and how many bytes it takes with the quote at its end. `None` where it is not
/// valid, does not end, or has escapes that are seldom met. What it means is not checked to be UTF-8.
pub(super) fn read_json_string(text: &[u8], out: &mut BytesMut) -> Option<(usize, usize)> {
    let (at, to, is_whole) = read_chunks(text, out, 0)?;
    if is_whole {
        return Some((to, at));
    }
    // What is too short to be looked at as a chunk is, with what cannot stand in a string behind it.
    let (rest, mut last) = (&text[at..], [0; 2 * SIGHT]);
    last[..rest.len()].copy_from_slice(rest);
    let (more, to, is_whole) = read_chunks(&last, out, to)?;
    is_whole.then_some((to, at + more))
}

/// Reads as far as a chunk can be looked at; where it stands then in the text and in `out`, and whether that was all.
fn read_chunks(text: &[u8], out: &mut BytesMut, into: usize) -> Option<(usize, usize, bool)> {
    let (mut at, mut to) = (0, into);
    while let Some(chunk) = text.get(at..)?.first_chunk() {
        if out.len() < to + SIGHT {
            let rest = text.len() - at;
            // Where that much is in sight it is most likely all of one string, which then takes no more than it needs.
            let room = if rest > 2 * SHARED { to + rest } else { SHARED.max(2 * to) };
            out.resize(room + SIGHT, 0);
        }
        let place = out[to..].first_chunk_mut().expect("room for a chunk");
        let (read, wrote, is_whole) = read_chunk(chunk, place)?;
        (at, to) = (at + read, to + wrote);
        if is_whole {
            return Some((at, to, true));
        }
    }
    Some((at, to, false))
}

/// Reads a chunk of a string: how much is read and written, and whether that was all.
#[inline]
fn read_chunk(chunk: &[u8; SIGHT], place: &mut [u8; SIGHT]) -> Option<(usize, usize, bool)> {
    let Marks { mut escapes, letters, end } = Marks::of(chunk.first_chunk().expect("a chunk is in sight"));
    // Every escape means a byte less than it takes.
    let (mut from, mut less) = (0, 0);
    while escapes != 0 {
        let next = escapes.trailing_zeros() as usize;
        copy_lanes(place, chunk, from..next, from - less);
        from = next + 1;
        if letters >> next & 1 != 0 {
            place[next - less] = letter(chunk[from])?;
            from += 1;
        }
        less += 1;
        escapes &= escapes - 1;
    }
    if less == 0 {
        *place = *chunk;
    } else {
        copy_lanes(place, chunk, from..end, from - less);
    }
    match chunk[end] {
        _ if end == CHUNK => Some((end, end - less, false)),
        b'"' => Some((end + 1, end - less, true)),
        b'\\' => Some((end, end - less, false)),
        _ => None,
    }
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
    let mut at = 0;
    while let Some(chunk) = text.get(at..)?.first_chunk() {
        let Marks { end, .. } = Marks::of(chunk);
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

    /// What [`read_json_string`] makes of a literal, and serde.
    fn both(literal: &[u8]) -> (Option<String>, Option<String>) {
        let mut out = BytesMut::new();
        let read = read_json_string(&literal[1..], &mut out)
            .filter(|(_, taken)| *taken == literal.len() - 1)
            .and_then(|(length, _)| String::from_utf8(out[..length].to_vec()).ok());
        (read, serde_json::from_slice(literal).ok())
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
        assert!(out.capacity() <= literal.len() + SIGHT, "{} for {}", out.capacity(), literal.len());
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
            let mut out = Vec::new();
            push_json_string(&mut out, &text);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
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
            let mut out = Vec::new();
            push_json_string(&mut out, &text);
            prop_assert_eq!(json_string_end(&out[1..]), Some(out.len() - 1));
            prop_assert!((1..out.len()).all(|end| json_string_end(&out[1..end]).is_none()));
            prop_assert_eq!(both(&out).0, Some(text));
        }
    }
}
