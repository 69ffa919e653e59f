//! Undoes percent-encoding (RFC 3986 section 2.1), by the crate that `url` uses.
//!
//! Owns what happens to escapes that are none and of bytes that are not UTF-8; leaves forms, where `+` is a space, to
//! `url`.

use percent_encoding::percent_decode_str;

/// Returns the text decoded; what only looks like an escape stays, and bytes that are not UTF-8 are replaced.
#[must_use]
pub(crate) fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// Returns the bytes decoded; what only looks like an escape stays.
#[must_use]
pub(crate) fn decode_bytes(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

/// Returns the text decoded, or `None` if an escape is broken or the bytes are not UTF-8.
#[must_use]
pub(crate) fn decode_strict(text: &str) -> Option<String> {
    let is_escape =
        |rest: &str| rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    let is_sound = text.split('%').skip(1).all(is_escape);
    percent_decode_str(text).decode_utf8().ok().filter(|_| is_sound).map(std::borrow::Cow::into_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_and_what_only_looks_like_one_stays_or_is_refused() {
        for (text, lenient, strict) in [
            ("", "", Some("")),
            ("a%20b", "a b", Some("a b")),
            ("%C3%a9+", "é+", Some("é+")),
            ("%41%42", "AB", Some("AB")),
            ("100%", "100%", None),
            ("%4", "%4", None),
            ("%zz%41", "%zzA", None),
            ("%+1", "%+1", None),
            ("%%41", "%A", None),
            ("%ff", "\u{fffd}", None),
            ("%é", "%é", None),
        ] {
            assert_eq!(decode(text), lenient, "{text}");
            assert_eq!(decode_strict(text).as_deref(), strict, "{text}");
        }
        assert_eq!(decode_bytes("%ff%0A%x"), b"\xff\n%x");
    }
}
