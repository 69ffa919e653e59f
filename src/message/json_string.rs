//! JSON strings, written and read: the inner loop of event lines and HAR.
//!
//! Owns escaping and its undoing. Leaves objects and numbers to those who know which they write. Text is looked at in
//! the widest vectors that the machine has. Invariants: what is written is ASCII where a terminal or a reader of lines
//! could take it for something else; what is read is taken only where it is valid JSON, all else is left to a general
//! parser.

// What is not inlined is compiled for machines without those vectors.
#![allow(clippy::inline_always)]

mod read;
mod write;

use fearless_simd::prelude::*;
use fearless_simd::{mask8x64, u8x64};

pub(super) use read::{SHARED, json_string_end, read_json_string};
pub(crate) use write::push_json_string;
pub(super) use write::push_json_utf8;

/// Bytes of text that are looked at together, a bit each in a mask.
const CHUNK: usize = 64;
/// Bytes of a chunk that are written together.
const GROUP: usize = 8;
/// What a group becomes if everything in it is escaped.
const LANE: usize = 16;

#[inline(always)]
fn is<S: Simd>(simd: S, chunk: u8x64<S>, byte: u8) -> mask8x64<S> {
    chunk.simd_eq(u8x64::splat(simd, byte))
}

/// The bits of the first bytes of a chunk.
#[inline(always)]
const fn below(length: usize) -> u64 {
    if length < CHUNK { (1 << length) - 1 } else { u64::MAX }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use bytes::BytesMut;
    use fearless_simd::Level;
    use proptest::prelude::*;

    use super::read::{end_at, read_at};
    use super::write::push_at;
    use super::*;

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
        let odd = [
            '"', '\\', '\n', '\u{1}', '\u{7f}', '\u{85}', 'é', '°', '€', '’', '\u{2028}', '\u{202e}', '\u{2066}', '😀',
        ];
        for length in [0, 1, 7, 8, 9, 62, 63, 64, 65, 100, 127, 128, 129, 191, 192, 193] {
            for at in 0..=length {
                for c in odd {
                    let text = format!("{}{c}{}", "a\"".repeat(at / 2), "z".repeat(length - at));
                    let mut expected = String::from("\"");
                    for c in text.chars() {
                        match c {
                            '"' | '\\' => expected.extend(['\\', c]),
                            '\n' => expected.push_str("\\n"),
                            '\u{1}' | '\u{7f}' | '\u{85}' | '\u{2028}' | '\u{202e}' | '\u{2066}' => {
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
