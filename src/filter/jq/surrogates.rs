//! Characters beyond U+FFFF as JSON writes them, two `\u` escapes each, in the text of a program: jaq's parser takes one
//! escape for one character.
//!
//! Invariant: what does not stand behind a backslash is left as it is.

use std::borrow::Cow;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pairs {
    /// The character it stands for.
    Joined,
    /// Two escapes of the same length, so that a place in the text stays the same.
    Replaced,
}

/// The program with pairs the parser can read; half a pair becomes U+FFFD, as in JSON.
pub(super) fn readable(source: &str, pairs: Pairs) -> Cow<'_, str> {
    if !source.contains("\\u") {
        return Cow::Borrowed(source);
    }
    let (mut out, mut rest) = (String::with_capacity(source.len()), source);
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = match (escape(rest), rest.get(6..).and_then(escape)) {
            (Some(high @ 0xd800..0xdc00), Some(low @ 0xdc00..0xe000)) => {
                match char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00)) {
                    Some(joined) if pairs == Pairs::Joined => out.push(joined),
                    _ => out.push_str("\\ufffd\\ufffd"),
                }
                12
            }
            (Some(0xd800..0xe000), _) => {
                out.push_str("\\ufffd");
                6
            }
            _ => {
                // The character behind a backslash is not a beginning of an escape.
                let length = 1 + rest[1..].chars().next().map_or(0, char::len_utf8);
                out.push_str(&rest[..length]);
                length
            }
        };
        rest = &rest[length..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// The code of an escape that `text` begins with.
fn escape(text: &str) -> Option<u32> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    digits.bytes().all(|digit| digit.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_become_characters_and_places_can_be_kept() {
        for (source, joined, replaced) in [
            (r#""\ud83d\ude00" | ."#, r#""😀" | ."#, r#""\ufffd\ufffd" | ."#),
            (r#""\uD83Dx\u0041""#, r#""\ufffdx\u0041""#, r#""\ufffdx\u0041""#),
            (r#""\\ud83d\\ude00""#, r#""\\ud83d\\ude00""#, r#""\\ud83d\\ude00""#),
            (r#""\u12"#, r#""\u12"#, r#""\u12"#),
            (r#""é\"#, r#""é\"#, r#""é\"#),
            (".a", ".a", ".a"),
        ] {
            assert_eq!(readable(source, Pairs::Joined), joined);
            assert_eq!(readable(source, Pairs::Replaced), replaced);
        }
    }
}
