//! JSON strings, written and read: the inner loop of event lines and HAR.
//!
//! Owns escaping and its undoing. Leaves objects and numbers to those who know which they write. Text is looked at in
//! vectors, words and blocks. Invariants: what is written is ASCII where a terminal or a reader of lines could take it
//! for something else; what is read is taken only where it is valid JSON, all else is left to a general parser.

use std::ops::Range;

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
/// Bytes of text passed over in one go.
const BLOCK: usize = 32;
/// Bytes of a word.
const WORD: usize = size_of::<u64>();
/// The highest bit of each byte of a word.
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Appends a JSON string, quotes included. Beyond what JSON asks for, characters that could drive a
/// terminal or that some readers take for the end of a line are escaped: it means the same.
pub fn push_json_string(out: &mut Vec<u8>, text: &str) {
    push_json_utf8(out, text.as_bytes());
}

/// As [`push_json_string`], for bytes that are known to be UTF-8.
pub(super) fn push_json_utf8(out: &mut Vec<u8>, bytes: &[u8]) {
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

/// Which bytes of a chunk are quotes and backslashes, and which are to be looked at before they are written: control
/// characters, and what U+0080 to U+00BF and U+2000 to U+2FFF begin with.
#[inline]
fn marks(chunk: &[u8; SIGHT]) -> (u64, u64) {
    const fn all(byte: u8) -> u8x16 {
        u8x16::new([byte; LANE])
    }
    let (mut quotes, mut others) = (0, 0);
    let (lanes, _) = chunk[..CHUNK].as_chunks::<LANE>();
    for (index, lane) in lanes.iter().enumerate() {
        let lane = u8x16::new(*lane);
        let quote = lane.simd_eq(all(b'"')) | lane.simd_eq(all(b'\\'));
        let control = lane.simd_eq(lane.min(all(0x1f))) | lane.simd_eq(all(0x7f));
        let lead = (lane | all(0x20)).simd_eq(all(0xe2));
        quotes |= u64::from(quote.to_bitmask() as u16) << (index * LANE);
        others |= u64::from((control | lead).to_bitmask() as u16) << (index * LANE);
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
        copy_lanes(place, chunk, from..next, count);
        place[next + count] = b'\\';
        (from, count) = (next, count + 1);
        marks &= marks - 1;
    }
    copy_lanes(place, chunk, from..until, count);
    count
}

/// Copies a part of a chunk to where it stands, shifted by `count`; what is copied too much is written over later.
#[inline]
fn copy_lanes(place: &mut [u8; PLACE], chunk: &[u8; SIGHT], part: Range<usize>, count: usize) {
    let mut at = part.start;
    while let Some(lane) = chunk[at..].first_chunk::<LANE>()
        && let Some(there) = place[at + count..].first_chunk_mut::<LANE>()
    {
        *there = *lane;
        at += LANE;
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

/// Copies printable ASCII without quotes and backslashes, where there must be room for a word more; where both stand
/// when that ends, or a few bytes before its end.
#[allow(clippy::inline_always, reason = "called between any two quotes: what it sets up is worth keeping")]
#[inline(always)]
fn copy_plain(bytes: &[u8], from: usize, out: &mut [u8], into: usize) -> (usize, usize) {
    let (mut at, mut to) = (from, into);
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<WORD>) {
        let Some(place) = out.get_mut(to..to + WORD) else { break };
        // What is too much is written over.
        place.copy_from_slice(word);
        let plain = plain_bytes(*word);
        (at, to) = (at + plain, to + plain);
        if plain < WORD {
            break;
        }
        while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>) {
            let Some(place) = out.get_mut(to..to + BLOCK) else { break };
            if !is_plain(block) {
                break;
            }
            place.copy_from_slice(block);
            (at, to) = (at + BLOCK, to + BLOCK);
        }
    }
    (at, to)
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

/// Where printable ASCII without quotes and backslashes ends, or a few bytes before that.
fn pass_plain(bytes: &[u8], from: usize) -> usize {
    let mut at = from;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<WORD>) {
        let plain = plain_bytes(*word);
        at += plain;
        if plain < WORD {
            break;
        }
        while bytes.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>).is_some_and(is_plain) {
            at += BLOCK;
        }
    }
    at
}

/// Whether all of this is printable ASCII without quotes and backslashes. Written so that it becomes vector code.
fn is_plain(block: &[u8; BLOCK]) -> bool {
    let special = |byte: u8| u8::from(!(0x20..0x7f).contains(&byte)) | u8::from(byte == b'"') | u8::from(byte == b'\\');
    block.iter().fold(0, |found, byte| found | special(*byte)) == 0
}

/// How many bytes of a word, from its beginning, are printable ASCII without quotes and backslashes.
fn plain_bytes(word: [u8; WORD]) -> usize {
    const fn all(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; WORD])
    }
    // No byte borrows from the next one: each has its highest bit set before anything is taken from it.
    let word = u64::from_le_bytes(word);
    let ascii = word & !HIGH;
    let control = !((ascii | HIGH) - all(0x20));
    let quote = !(((ascii ^ all(b'"')) | HIGH) - all(1));
    let backslash = !(((ascii ^ all(b'\\')) | HIGH) - all(1));
    let delete = ascii + all(1);
    let special = (word | control | quote | backslash | delete) & HIGH;
    special.trailing_zeros() as usize / 8
}

/// Reads the string that begins at `text`, behind its quote, into `out` from `at` on, where there must be as much room
/// as `text` is long: the bytes it means, and the bytes it takes with the quote at its end. `None` where it is not
/// valid, or has escapes that are seldom met. The bytes are not checked to be UTF-8.
pub(super) fn read_json_string(text: &[u8], out: &mut [u8]) -> Option<(usize, usize)> {
    let (mut at, mut to) = (0, 0);
    loop {
        (at, to) = copy_plain(text, at, out, to);
        match *text.get(at)? {
            b'"' => return Some((to, at + 1)),
            b'\\' => {
                let (byte, length) = match *text.get(at + 1)? {
                    plain @ (b'"' | b'\\' | b'/') => (plain, 2),
                    b'n' => (b'\n', 2),
                    b'r' => (b'\r', 2),
                    b't' => (b'\t', 2),
                    b'b' => (0x08, 2),
                    b'f' => (0x0c, 2),
                    _ => return None,
                };
                *out.get_mut(to)? = byte;
                (at, to) = (at + length, to + 1);
            }
            0..0x20 => return None,
            other => {
                *out.get_mut(to)? = other;
                (at, to) = (at + 1, to + 1);
            }
        }
    }
}

/// Where the string that begins at `text`, behind its quote, has ended; `None` when that is not in sight. What stands
/// in it is not checked.
pub(super) fn json_string_end(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at = pass_plain(text, at);
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

    #[test]
    fn plain_text_is_told_from_the_rest_byte_by_byte() {
        for byte in 0..=u8::MAX {
            let plain = (0x20..0x7f).contains(&byte) && byte != b'"' && byte != b'\\';
            for at in 0..WORD {
                // Neighbours of every kind must not change the answer.
                for around in [b'a', b' ', b'~', b'!'] {
                    let mut word = [around; WORD];
                    word[at] = byte;
                    assert_eq!(plain_bytes(word), if plain { WORD } else { at }, "{byte:#x} at {at}");
                }
            }
            let mut block = [b'x'; BLOCK];
            block[17] = byte;
            assert_eq!(is_plain(&block), plain, "{byte:#x}");
        }
    }

    /// What [`read_json_string`] makes of a literal, and serde.
    fn both(literal: &[u8]) -> (Option<String>, Option<String>) {
        let mut out = vec![0; literal.len() - 1];
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
