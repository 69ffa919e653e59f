//! A strict reader of JSON.
//!
//! Leaves what is done with values to `value`. Invariants: exactly one JSON value (RFC 8259) is accepted, no extension of
//! it; nesting is bounded; the text of a number that is no small integer is kept; strings are copied or share what they
//! are read from, as the caller wishes.

use std::ops::Range;

use bytes::Bytes;
use jaq_json::{Map, Num, Rc, Val};

/// Deepest nesting accepted from outside.
pub(crate) const MAX_INPUT_DEPTH: usize = 512;
/// What the reason begins with where that is exceeded; every other reason begins with "not JSON".
pub(crate) const TOO_DEEP: &str = "nested too deeply";
/// Integers longer than this are kept as text: making a big integer of them takes time that grows
/// with the square of their length, which a peer must not be able to ask for.
const MAX_BIG_INTEGER: usize = 1024;
/// Fields of a first object, as a guess.
const FIELDS: usize = 8;
/// No guess is higher: a peer's short objects after a long one must not cost what the long one does.
const MAX_GUESS: usize = 32;

/// What a value is read from, and how a string of it is kept.
pub(super) trait Origin {
    fn bytes(&self) -> &[u8];
    /// The bytes of a string that stands in it as it is.
    fn part(&self, range: Range<usize>) -> Bytes;
}

pub(super) struct Copied<'a>(pub(super) &'a [u8]);

impl Origin for Copied<'_> {
    fn bytes(&self) -> &[u8] {
        self.0
    }

    fn part(&self, range: Range<usize>) -> Bytes {
        Bytes::copy_from_slice(&self.0[range])
    }
}

impl Origin for Bytes {
    fn bytes(&self) -> &[u8] {
        self
    }

    fn part(&self, range: Range<usize>) -> Bytes {
        self.slice(range)
    }
}

/// Reads exactly one JSON value.
pub(super) fn read(origin: &impl Origin) -> Result<Val, String> {
    let bytes = origin.bytes();
    std::str::from_utf8(bytes).map_err(|e| format!("not JSON: not UTF-8 at byte {}", e.valid_up_to()))?;
    let mut reader = Reader { origin, bytes, at: 0, fields: FIELDS };
    let value = reader.value(MAX_INPUT_DEPTH)?;
    match reader.peek() {
        None => Ok(value),
        Some(_) => Err(format!("not JSON: text after the value at byte {}", reader.at)),
    }
}

/// As [`read`], of a text.
pub(super) fn parse_value(text: &str) -> Result<Val, String> {
    read(&Copied(text.as_bytes()))
}

struct Reader<'a, O> {
    origin: &'a O,
    bytes: &'a [u8],
    at: usize,
    /// Fields of the object read last, as a guess at those of the next.
    fields: usize,
}

impl<O: Origin> Reader<'_, O> {
    /// The next byte that is not white space, which is skipped.
    fn peek(&mut self) -> Option<u8> {
        while let Some(&b) = self.bytes.get(self.at) {
            if !matches!(b, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(b);
            }
            self.at += 1;
        }
        None
    }

    fn here(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn wrong<T>(&self, expected: &str) -> Result<T, String> {
        if self.at >= self.bytes.len() {
            Err(format!("not JSON: expected {expected}, but the text ends"))
        } else {
            Err(format!("not JSON: expected {expected} at byte {}", self.at))
        }
    }

    fn value(&mut self, room: usize) -> Result<Val, String> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{' | b'[') if room == 0 => {
                Err(format!("{TOO_DEEP}: deeper than {MAX_INPUT_DEPTH} levels at byte {}", self.at))
            }
            Some(b'{') => self.object(room - 1),
            Some(b'[') => self.array(room - 1),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'n') => self.word(b"null", Val::Null),
            Some(b't') => self.word(b"true", Val::Bool(true)),
            Some(b'f') => self.word(b"false", Val::Bool(false)),
            _ => self.wrong("a value"),
        }
    }

    fn word(&mut self, word: &[u8], value: Val) -> Result<Val, String> {
        if self.bytes[self.at..].starts_with(word) {
            self.at += word.len();
            Ok(value)
        } else {
            self.wrong("a value")
        }
    }

    fn array(&mut self, room: usize) -> Result<Val, String> {
        self.at += 1;
        let mut items = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Val::Arr(Rc::new(items)));
        }
        loop {
            items.push(self.value(room)?);
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => break,
                _ => return self.wrong("',' or ']'"),
            }
        }
        self.at += 1;
        Ok(Val::Arr(Rc::new(items)))
    }

    fn object(&mut self, room: usize) -> Result<Val, String> {
        self.at += 1;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Val::obj(Map::default()));
        }
        // Those within have not been read yet: they must not each get room for many.
        let room_for = std::mem::take(&mut self.fields);
        let mut map = Map::default();
        map.reserve(room_for);
        loop {
            if self.peek() != Some(b'"') {
                return self.wrong("a key in quotes");
            }
            let key = self.string()?;
            if self.peek() != Some(b':') {
                return self.wrong("':'");
            }
            self.at += 1;
            let value = self.value(room)?;
            map.insert(key, value);
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => break,
                _ => return self.wrong("',' or '}'"),
            }
        }
        self.at += 1;
        self.fields = map.len().min(MAX_GUESS);
        Ok(Val::obj(map))
    }

    fn digits(&mut self) -> Result<(), String> {
        let start = self.at;
        while self.here().is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { self.wrong("a digit") } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Val, String> {
        let start = self.at;
        let negative = self.here() == Some(b'-');
        self.at += usize::from(negative);
        let zero = self.here() == Some(b'0');
        if zero {
            self.at += 1;
            if self.here().is_some_and(|b| b.is_ascii_digit()) {
                return self.wrong("no digit after a leading zero");
            }
        } else {
            self.digits()?;
        }
        let mut integer = true;
        if self.here() == Some(b'.') {
            integer = false;
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.here(), Some(b'e' | b'E')) {
            integer = false;
            self.at += 1;
            if matches!(self.here(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        let text = String::from_utf8_lossy(&self.bytes[start..self.at]);
        let number = if integer && !(zero && negative) {
            match text.parse() {
                Ok(small) => Some(Num::Int(small)),
                Err(_) if text.len() <= MAX_BIG_INTEGER => Num::from_str_radix(&text, 10),
                Err(_) => None,
            }
        } else {
            None
        };
        Ok(Val::Num(number.unwrap_or_else(|| Num::Dec(Rc::new(text.into_owned())))))
    }

    fn string(&mut self) -> Result<Val, String> {
        self.at += 1;
        let start = self.at;
        self.plain();
        if self.here() == Some(b'"') {
            let value = Val::utf8_str(self.origin.part(start..self.at));
            self.at += 1;
            return Ok(value);
        }
        let mut text = self.bytes[start..self.at].to_vec();
        loop {
            match self.here() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Val::utf8_str(text));
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut text)?;
                }
                Some(_) => {
                    return Err(format!("not JSON: control character in a string at byte {}", self.at));
                }
                None => return self.wrong("the end of a string"),
            }
            let start = self.at;
            self.plain();
            text.extend_from_slice(&self.bytes[start..self.at]);
        }
    }

    /// Skips what stands for itself in a string.
    fn plain(&mut self) {
        while self.here().is_some_and(|b| b >= 0x20 && b != b'"' && b != b'\\') {
            self.at += 1;
        }
    }

    fn escape(&mut self, text: &mut Vec<u8>) -> Result<(), String> {
        let byte = match self.here() {
            Some(b @ (b'"' | b'\\' | b'/')) => b,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                self.at += 1;
                let c = self.unicode()?;
                text.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return self.wrong("an escape sequence"),
        };
        text.push(byte);
        self.at += 1;
        Ok(())
    }

    /// The character of `\uXXXX` or of a pair of them. Half a pair is legal JSON but no character:
    /// as in jq it becomes U+FFFD.
    fn unicode(&mut self) -> Result<char, String> {
        let first = self.hex4()?;
        if (0xd800..0xdc00).contains(&first) && self.bytes[self.at..].starts_with(b"\\u") {
            let mark = self.at;
            self.at += 2;
            let second = self.hex4()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            self.at = mark;
        }
        Ok(char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex4(&mut self) -> Result<u32, String> {
        let mut code = 0;
        for _ in 0..4 {
            match self.here().and_then(|b| char::from(b).to_digit(16)) {
                Some(digit) => code = code * 16 + digit,
                None => return self.wrong("a hexadecimal digit"),
            }
            self.at += 1;
        }
        Ok(code)
    }
}
