//! How messages are written by people and programs: as text, as bytes, in hexadecimal or base64.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD as BASE64, STANDARD_NO_PAD as BASE64_NO_PAD};

use super::Message;

/// How a piece of input becomes a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InputKind {
    /// Text; bytes that are not UTF-8 are an error.
    Text,
    Binary,
    /// Binary, written in hexadecimal.
    Hex,
    /// Binary, written in base64.
    Base64,
    Events,
}

/// A piece of input as a message.
///
/// # Errors
/// Bytes that are not what the kind promises.
pub(crate) fn decode(kind: InputKind, piece: Vec<u8>) -> Result<Message, String> {
    match kind {
        InputKind::Text | InputKind::Events => Message::text_from_bytes(piece)
            .map_err(|_| "not valid UTF-8; send it as binary messages with --binary".to_owned()),
        InputKind::Binary => Ok(Message::binary(piece)),
        InputKind::Hex => hex(&piece).map(Message::binary),
        InputKind::Base64 => base64(&piece).map(Message::binary),
    }
}

/// Bytes written in hexadecimal, spaces and a 0x prefix allowed.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn hex(text: &[u8]) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace() && *byte != b':').collect();
    let digits = digits.strip_prefix(b"0x").unwrap_or(&digits);
    if !digits.len().is_multiple_of(2) {
        return Err("an odd number of hexadecimal digits".to_owned());
    }
    let value = |digit: u8| {
        char::from(digit).to_digit(16).ok_or_else(|| format!("invalid hexadecimal digit '{}'", digit.escape_ascii()))
    };
    digits
        .chunks_exact(2)
        .map(|pair| Ok(u8::try_from(value(pair[0])? * 16 + value(pair[1])?).unwrap_or(u8::MAX)))
        .collect()
}

/// Bytes written in base64, padded or not.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn base64(text: &[u8]) -> Result<Vec<u8>, String> {
    let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    BASE64.decode(&text).or_else(|_| BASE64_NO_PAD.decode(&text)).map_err(|error| format!("not base64: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_hexadecimal_and_base64() {
        assert_eq!(hex(b"00 ff 1A"), Ok(vec![0, 255, 26]));
        assert_eq!(hex(b"0xdeadBEEF"), Ok(vec![0xde, 0xad, 0xbe, 0xef]));
        assert!(hex(b"abc").is_err());
        assert!(hex(b"zz").is_err());
        assert_eq!(base64(b"aGk="), Ok(b"hi".to_vec()));
        assert_eq!(base64(b"aGk"), Ok(b"hi".to_vec()));
        assert!(base64(b"?").is_err());
    }
}
