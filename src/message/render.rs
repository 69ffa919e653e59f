//! How messages look: raw, hex, pretty JSON, and what a terminal may be shown.
//!
//! Owns the output formats and the rule which characters could drive a terminal. Leaves event
//! lines to `event` and the choice of format to the caller.
//! Invariants: `raw` and `hex` change no payload byte; whatever `pretty` and `escape_for_terminal`
//! write holds no control character but newline and tab (and our own colours), whatever the peer
//! sent; nothing here recurses.

use std::str::FromStr;

use serde::de::IgnoredAny;

use crate::message::{Message, MessageKind};

/// Deepest JSON that is pretty-printed; deeper text is shown as it is.
const MAX_DEPTH: usize = 512;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// How payloads are written to stdout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// As it came; text gets a newline.
    Raw,
    Json,
    /// Indented JSON, other text as it is.
    Pretty,
    /// Bytes as two hexadecimal digits each.
    Hex,
}

impl Format {
    /// The names a user may give, in the order they are documented.
    pub(crate) const NAMES: [&'static str; 4] = ["raw", "json", "pretty", "hex"];
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "raw" => Ok(Self::Raw),
            "json" => Ok(Self::Json),
            "pretty" => Ok(Self::Pretty),
            "hex" => Ok(Self::Hex),
            other => Err(format!("unknown format `{other}` (one of {})", Self::NAMES.join(", "))),
        }
    }
}

/// Appends the payload: text with one newline, binary as it is.
pub(crate) fn raw(out: &mut Vec<u8>, message: &Message) {
    out.extend_from_slice(message.payload());
    if message.kind() == MessageKind::Text {
        out.push(b'\n');
    }
}

/// Appends one line of lower-case hexadecimal bytes separated by spaces.
pub(crate) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.reserve(bytes.len() * 3 + 1);
    for (i, &byte) in bytes.iter().enumerate() {
        if i > 0 {
            out.push(b' ');
        }
        push_hex_byte(out, byte);
    }
    out.push(b'\n');
}

fn push_hex_byte(out: &mut Vec<u8>, byte: u8) {
    out.push(HEX[usize::from(byte >> 4)]);
    out.push(HEX[usize::from(byte & 15)]);
}

/// Whether a terminal may act on this character instead of showing it: C0 and C1 controls, DEL, and
/// the characters that reorder text around them. Newline and tab count; callers decide on them.
pub(crate) fn drives_terminal(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Appends `\uXXXX` for a character of the basic plane.
pub(super) fn push_unicode_escape(out: &mut Vec<u8>, c: char) {
    out.extend_from_slice(b"\\u");
    let code = u32::from(c);
    push_hex_byte(out, (code >> 8) as u8);
    push_hex_byte(out, code as u8);
}

/// Appends text so that it can be shown: control characters and bidirectional overrides as `\u001b`, bytes that are not
/// UTF-8 as `\xff`. Newlines and tabs stay.
pub(crate) fn escape_for_terminal(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        push_shown(out, chunk.valid());
        for &byte in chunk.invalid() {
            out.extend_from_slice(b"\\x");
            push_hex_byte(out, byte);
        }
    }
}

fn push_shown(out: &mut Vec<u8>, text: &str) {
    let mut done = 0;
    for (at, c) in text.char_indices() {
        if drives_terminal(c) && c != '\n' && c != '\t' {
            out.extend_from_slice(&text.as_bytes()[done..at]);
            push_unicode_escape(out, c);
            done = at + c.len_utf8();
        }
    }
    out.extend_from_slice(&text.as_bytes()[done..]);
}

/// Appends a text message that is JSON with two spaces of indent and a newline at its end, keeping
/// the order of keys and the text of numbers. Returns `false`, having written nothing, when it is
/// not JSON (or is nested past a limit).
pub(crate) fn pretty(out: &mut Vec<u8>, message: &Message, colour: bool) -> bool {
    let Some(text) = message.as_text() else {
        return false;
    };
    if !shallow(text) || serde_json::from_str::<IgnoredAny>(text).is_err() {
        return false;
    }
    Printer { out, colour, open: Vec::new(), key_next: false }.print(text);
    out.push(b'\n');
    true
}

/// Whether brackets outside strings nest no deeper than the limit.
fn shallow(text: &str) -> bool {
    let mut depth = 0_usize;
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => loop {
                match bytes.next() {
                    Some(b'\\') => {
                        bytes.next();
                    }
                    Some(b'"') | None => break,
                    Some(_) => {}
                }
            },
            _ => {}
        }
        if depth > MAX_DEPTH {
            return false;
        }
    }
    true
}

const DIM: &str = "\x1b[2m";
const KEY: &str = "\x1b[36m";
const STRING: &str = "\x1b[32m";
const NUMBER: &str = "\x1b[33m";
const LITERAL: &str = "\x1b[35m";
const RESET: &str = "\x1b[0m";

/// Lays out text that is known to be JSON, token by token.
struct Printer<'a> {
    out: &'a mut Vec<u8>,
    colour: bool,
    /// Brackets that are open, the innermost last.
    open: Vec<u8>,
    key_next: bool,
}

impl Printer<'_> {
    fn print(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'{' | b'[' => {
                    self.out.push(byte);
                    let close = if byte == b'{' { b'}' } else { b']' };
                    let inside = at + 1 + count(&bytes[at + 1..], |b| b.is_ascii_whitespace());
                    if bytes.get(inside) == Some(&close) {
                        self.out.push(close);
                        at = inside;
                    } else {
                        self.open.push(byte);
                        self.key_next = byte == b'{';
                        self.line();
                    }
                }
                b'}' | b']' => {
                    self.open.pop();
                    self.line();
                    self.out.push(byte);
                }
                b',' => {
                    self.out.push(byte);
                    self.key_next = self.open.last() == Some(&b'{');
                    self.line();
                }
                b':' => {
                    self.out.extend_from_slice(b": ");
                    self.key_next = false;
                }
                b'"' => {
                    let end = at + string_len(&bytes[at..]);
                    let colour = if self.key_next { KEY } else { STRING };
                    self.token(colour, text.get(at..end).unwrap_or_default());
                    at = end;
                    continue;
                }
                b if b.is_ascii_whitespace() => {}
                b => {
                    let end = at + count(&bytes[at..], |b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)).max(1);
                    let colour = if b.is_ascii_alphabetic() { LITERAL } else { NUMBER };
                    self.token(colour, text.get(at..end).unwrap_or_default());
                    at = end;
                    continue;
                }
            }
            at += 1;
        }
    }

    fn line(&mut self) {
        self.out.push(b'\n');
        for _ in &self.open {
            self.out.extend_from_slice(b"  ");
        }
    }

    fn token(&mut self, colour: &str, text: &str) {
        if self.colour {
            self.out.extend_from_slice(colour.as_bytes());
        }
        // JSON strings hold no raw C0 controls; DEL, C1 and overrides become legal JSON escapes.
        push_shown(self.out, text);
        if self.colour {
            self.out.extend_from_slice(RESET.as_bytes());
        }
    }
}

fn count(bytes: &[u8], matches: impl Fn(u8) -> bool) -> usize {
    bytes.iter().take_while(|b| matches(**b)).count()
}

/// Bytes in the JSON string that starts here, both quotes included.
fn string_len(bytes: &[u8]) -> usize {
    let mut at = 1;
    while let Some(&byte) = bytes.get(at) {
        at += match byte {
            b'"' => return at + 1,
            b'\\' => 2,
            _ => 1,
        };
    }
    bytes.len()
}

/// Appends the name of the session a message is of, and a space.
pub(crate) fn label(out: &mut Vec<u8>, name: &str, colour: bool) {
    let (dim, reset) = if colour { (DIM, RESET) } else { ("", "") };
    for part in [dim, name, reset, " "] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// Appends a message as a person or a pipe gets it; event lines are another file's.
pub(crate) fn message(out: &mut Vec<u8>, message: &Message, format: Format, to_terminal: bool, colour: bool) {
    match format {
        Format::Hex => hex(out, message.payload()),
        Format::Pretty if pretty(out, message, colour) => {}
        _ if to_terminal => {
            escape_for_terminal(out, message.payload());
            out.push(b'\n');
        }
        _ => raw(out, message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(text: &[u8]) -> String {
        let mut out = Vec::new();
        escape_for_terminal(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    fn prettied(text: &str, colour: bool) -> Option<String> {
        let mut out = Vec::new();
        let done = pretty(&mut out, &Message::text(text), colour);
        assert!(done || out.is_empty());
        done.then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn raw_and_hex() {
        let mut out = Vec::new();
        raw(&mut out, &Message::text("a\x1b"));
        raw(&mut out, &Message::binary(vec![0, 255]));
        raw(&mut out, &Message::text(""));
        assert_eq!(out, b"a\x1b\n\0\xff\n");
        out.clear();
        hex(&mut out, &[0, 0x1f, 0xff]);
        hex(&mut out, &[]);
        assert_eq!(out, b"00 1f ff\n\n");
    }

    #[test]
    fn a_terminal_is_not_driven() {
        assert_eq!(shown(b"\x1b[31mred\x07"), "\\u001b[31mred\\u0007");
        assert_eq!(shown("a\tb\nc\rd\u{7f}".as_bytes()), "a\tb\nc\\u000dd\\u007f");
        assert_eq!(shown("\u{9b}31m \u{202e}x\u{2069} é😀".as_bytes()), "\\u009b31m \\u202ex\\u2069 é😀");
        assert_eq!(shown(b"\x9b31m\xff\xc3"), "\\x9b31m\\xff\\xc3");
    }

    #[test]
    fn pretty_keeps_order_and_numbers() {
        let text = r#" {"b":1.0,"a":[ 12345678901234567890123 ,-0,1E+5,"x:,{\"}"],"e":{ },"f":[],"b":null}"#;
        let expected = r#"{
  "b": 1.0,
  "a": [
    12345678901234567890123,
    -0,
    1E+5,
    "x:,{\"}"
  ],
  "e": {},
  "f": [],
  "b": null
}
"#;
        assert_eq!(prettied(text, false).unwrap(), expected);
        assert_eq!(prettied("true", false).unwrap(), "true\n");
        assert_eq!(prettied("\"a\"\n", false).unwrap(), "\"a\"\n");
    }

    #[test]
    fn pretty_colours() {
        assert_eq!(
            prettied(r#"{"a":"b","c":[1,true]}"#, true).unwrap(),
            "{\n  \x1b[36m\"a\"\x1b[0m: \x1b[32m\"b\"\x1b[0m,\n  \x1b[36m\"c\"\x1b[0m: [\n    \x1b[33m1\x1b[0m,\n    \x1b[35mtrue\x1b[0m\n  ]\n}\n"
        );
    }

    #[test]
    fn pretty_is_safe_and_only_for_json() {
        assert_eq!(prettied("[\"\u{9b}\u{202e}\u{7f}\"]", false).unwrap(), "[\n  \"\\u009b\\u202e\\u007f\"\n]\n");
        for text in ["", "hello", "{", "[1,]", "1 2", "NaN", "01", "\"\x1b\"", "{\"a\":\x1b1}"] {
            assert_eq!(prettied(text, false), None, "{text:?}");
        }
        let nest = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(prettied(&nest(512), false).is_some());
        assert_eq!(prettied(&nest(513), false), None);
        assert_eq!(prettied(&"{\"a\":".repeat(1_000_000), false), None);
        assert!(!pretty(&mut Vec::new(), &Message::binary("{}"), false));
    }

    #[test]
    fn formats_by_name() {
        for name in Format::NAMES {
            assert!(name.parse::<Format>().is_ok());
        }
        assert!("xml".parse::<Format>().unwrap_err().contains("raw, json, pretty, hex"));
    }

    proptest! {
        #[test]
        fn nothing_that_drives_a_terminal_gets_through(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(shown(&bytes).chars().all(|c| c == '\n' || c == '\t' || !drives_terminal(c)));
        }

        #[test]
        fn pretty_means_the_same(text in any::<String>(), number in any::<i64>()) {
            let value = serde_json::json!({"k": [text.clone(), {text: number}], "e": []});
            let shown = prettied(&value.to_string(), false).unwrap();
            prop_assert!(shown.chars().all(|c| c == '\n' || !drives_terminal(c)));
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
        }
    }
}
