//! JSON values as jq programs see them: building and writing.
//!
//! Owns [`Json`] and a compact writer. Leaves reading to `reader` and running programs to `super`.
//! Invariants: nesting is bounded both ways, so neither a peer's message nor a filter's output can
//! exhaust the stack; numbers keep their text until a program calculates with them; what is written
//! is valid JSON.

use std::borrow::Cow;
use std::cell::RefCell;
use std::io::Write as _;

use bytes::Bytes;
use jaq_json::{Map, Num, Val};

use super::engine::kind;
use super::reader::{Copied, MAX_INPUT_DEPTH, read};
use crate::filter::apart;
use crate::message::Message;
use crate::message::event::push_json_string;
use crate::message::source::Source;

/// Deepest nesting a program may yield: room to wrap the deepest input a good deal further.
pub(super) const MAX_OUTPUT_DEPTH: usize = 1024;

/// What is kept to write the next value into: it grows once, not for each.
const MAX_SCRATCH: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// A parsed JSON value. Cloning shares it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Json(pub(super) Val);

impl Json {
    /// The value `null`.
    pub(crate) fn null() -> Self {
        Self(Val::Null)
    }

    /// A JSON string holding this text.
    pub(crate) fn from_text(text: &str) -> Self {
        Self(string(text.as_bytes()))
    }

    /// Reads exactly one JSON value.
    ///
    /// # Errors
    /// When the bytes are anything else, or nested deeper than [`MAX_INPUT_DEPTH`]; the text says
    /// what is wrong and where.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        read(&Copied(bytes)).map(Self)
    }

    /// Reads exactly one JSON value, whose strings share the payload and keep it alive.
    ///
    /// # Errors
    /// As [`Json::parse`].
    pub(crate) fn of_payload(payload: &Bytes) -> Result<Self, String> {
        read(payload).map(Self)
    }

    /// Reads a message as filters are given it: one JSON value or, with `raw_input`, text that is none as a string.
    ///
    /// # Errors
    /// When it is neither; the text says why, as that of [`Json::parse`].
    pub(crate) fn of_message(message: &Message, raw_input: bool) -> Result<Self, String> {
        Self::of_payload(message.payload()).or_else(|reason| Self::raw(message, raw_input).ok_or(reason))
    }

    /// As [`Json::of_message`], but nothing of the value keeps the message's memory.
    ///
    /// # Errors
    /// As [`Json::of_message`].
    pub(crate) fn apart_from_message(message: &Message, raw_input: bool) -> Result<Self, String> {
        Self::parse(message.payload()).or_else(|reason| Self::raw(message, raw_input).ok_or(reason))
    }

    fn raw(message: &Message, raw_input: bool) -> Option<Self> {
        message.as_text().filter(|_| raw_input).map(Self::from_text)
    }

    /// The value as another crate has it.
    pub(crate) fn into_serde(self) -> serde_json::Value {
        to_serde(&self.0)
    }

    /// The value of `$meta` for a message.
    pub(crate) fn meta(session: &str, url: &str, time: &str, kind: &str, size: usize, seq: u64) -> Self {
        let fields = [
            ("session", string(session.as_bytes())),
            ("url", string(url.as_bytes())),
            ("time", string(time.as_bytes())),
            ("type", string(kind.as_bytes())),
            ("size", Val::from(size)),
            ("seq", Val::Num(Num::from_integral(seq))),
        ];
        let map: Map = fields.into_iter().map(|(name, v)| (string(name.as_bytes()), v)).collect();
        Self(Val::obj(map))
    }

    /// `$meta` with where the message came from.
    #[must_use]
    pub(crate) fn with_source(self, source: &Source) -> Self {
        let mut fields = b"{\"\":null".to_vec();
        source.push_fields(&mut fields);
        fields.push(b'}');
        match (&self.0, Self::parse(&fields)) {
            (Val::Obj(own), Ok(Self(Val::Obj(more)))) => {
                let all = own.iter().chain(more.iter().skip(1));
                let map: Map = all.map(|(name, value)| (name.clone(), value.clone())).collect();
                Self(Val::obj(map))
            }
            _ => self,
        }
    }

    /// An object with this field, the last; any other value as it is.
    #[must_use]
    pub(crate) fn with_field(self, name: &str, value: Self) -> Self {
        match self.0 {
            Val::Obj(own) => {
                let own = own.iter().map(|(name, value)| (name.clone(), value.clone()));
                Self(Val::obj(own.chain([(string(name.as_bytes()), value.0)]).collect()))
            }
            other => Self(other),
        }
    }

    /// The text of a string value (for raw output), `None` for any other value.
    pub(crate) fn as_str(&self) -> Option<Cow<'_, str>> {
        match &self.0 {
            Val::TStr(s) | Val::BStr(s) => Some(String::from_utf8_lossy(s)),
            _ => None,
        }
    }

    /// The items of an array, `None` for any other value.
    pub(crate) fn items(&self) -> Option<Vec<Self>> {
        match &self.0 {
            Val::Arr(items) => Some(items.iter().cloned().map(Self).collect()),
            _ => None,
        }
    }

    /// An array of these values.
    pub(crate) fn array(items: impl IntoIterator<Item = Self>) -> Self {
        Self(items.into_iter().map(|item| item.0).collect())
    }

    /// Returns whether its text, with so many levels around it, is nested more deeply than JSON that is read may be.
    pub(crate) fn is_too_deep_to_read(&self, around: usize) -> bool {
        too_deep(&self.0, MAX_INPUT_DEPTH.saturating_sub(around))
    }

    /// What the value is, as jq's `type` names it.
    pub(crate) fn kind(&self) -> &'static str {
        kind(&self.0)
    }

    /// Whether jq counts the value as true: everything but `false` and `null`.
    pub(crate) fn is_truthy(&self) -> bool {
        !matches!(self.0, Val::Null | Val::Bool(false))
    }

    /// A string as it is, everything else as compact JSON (`jq -r`).
    pub(crate) fn to_plain_string(&self) -> String {
        self.as_str().map_or_else(|| self.to_compact_string(), std::borrow::Cow::into_owned)
    }

    /// The value as JSON on one line.
    pub(crate) fn to_compact_string(&self) -> String {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.clear();
            self.write_compact(scratch);
            let text = std::str::from_utf8(scratch).map(str::to_owned).unwrap_or_default();
            if scratch.capacity() > MAX_SCRATCH {
                *scratch = Vec::new();
            }
            text
        })
    }

    /// Appends the value as JSON on one line, without a newline.
    pub(crate) fn write_compact(&self, out: &mut Vec<u8>) {
        write_value(out, &self.0);
    }
}

/// What is left of so many bytes of JSON when this value is written with them, about; 0 when they do not suffice.
pub(super) fn left_of(value: &Val, room: usize) -> usize {
    let room = room.saturating_sub(2);
    match value {
        _ if room == 0 => 0,
        Val::TStr(text) | Val::BStr(text) => room.saturating_sub(text.len()),
        Val::Num(Num::Dec(text)) => room.saturating_sub(text.len()),
        Val::Arr(items) => items.iter().try_fold(room, |room, item| left(left_of(item, room))).unwrap_or(0),
        Val::Obj(map) => {
            let entry = |room, (key, item): (&Val, &Val)| left(left_of(item, left_of(key, room)));
            map.iter().try_fold(room, entry).unwrap_or(0)
        }
        _ => room,
    }
}

fn left(room: usize) -> Option<usize> {
    apart::tick();
    (room > 0).then_some(room)
}

/// Whether a value is nested deeper than a program may yield.
pub(super) fn too_deep(value: &Val, room: usize) -> bool {
    apart::tick();
    match value {
        Val::Arr(items) => room == 0 || items.iter().any(|v| too_deep(v, room - 1)),
        Val::Obj(map) => room == 0 || map.values().any(|v| too_deep(v, room - 1)),
        _ => false,
    }
}

fn to_serde(value: &Val) -> serde_json::Value {
    use serde_json::Value as Other;
    match value {
        Val::Null => Other::Null,
        Val::Bool(value) => Other::Bool(*value),
        Val::Num(_) => {
            let mut text = Vec::new();
            write_value(&mut text, value);
            serde_json::from_slice(&text).unwrap_or_default()
        }
        Val::TStr(bytes) | Val::BStr(bytes) => Other::String(String::from_utf8_lossy(bytes).into_owned()),
        Val::Arr(items) => Other::Array(items.iter().map(to_serde).collect()),
        Val::Obj(map) => {
            let key = |key: &Val| Json(key.clone()).to_plain_string();
            Other::Object(map.iter().map(|(name, value)| (key(name), to_serde(value))).collect())
        }
    }
}

fn string(bytes: &[u8]) -> Val {
    Val::utf8_str(Bytes::copy_from_slice(bytes))
}

pub(super) fn write_value(out: &mut Vec<u8>, value: &Val) {
    match value {
        Val::Null => out.extend_from_slice(b"null"),
        Val::Bool(true) => out.extend_from_slice(b"true"),
        Val::Bool(false) => out.extend_from_slice(b"false"),
        // JSON has no word for these; jq writes null as well.
        Val::Num(Num::Float(f)) if !f.is_finite() => out.extend_from_slice(b"null"),
        Val::Num(Num::Dec(text)) => out.extend_from_slice(text.as_bytes()),
        Val::Num(n) => {
            // Writing to a vector cannot fail.
            let _ = write!(out, "{n}");
        }
        Val::TStr(s) | Val::BStr(s) => push_json_string(out, &String::from_utf8_lossy(s)),
        Val::Arr(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_value(out, item);
            }
            out.push(b']');
        }
        Val::Obj(map) => {
            out.push(b'{');
            for (i, (key, item)) in map.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_key(out, key);
                out.push(b':');
                write_value(out, item);
            }
            out.push(b'}');
        }
    }
}

/// jaq allows any value as a key, JSON only strings: others are written as the string of their JSON.
fn write_key(out: &mut Vec<u8>, key: &Val) {
    if matches!(key, Val::TStr(_) | Val::BStr(_)) {
        write_value(out, key);
    } else {
        let mut text = Vec::new();
        write_value(&mut text, key);
        push_json_string(out, &String::from_utf8_lossy(&text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn same(text: &str) {
        assert_eq!(Json::parse(text.as_bytes()).unwrap().to_compact_string(), text);
    }

    #[test]
    fn numbers_keep_their_text() {
        for text in ["0", "-0", "1.0", "12345678901234567890123", "-99999999999999999999999", "1e1000", "1E+2", "0.10"]
        {
            same(text);
        }
        same(&"9".repeat(100_000));
    }

    #[test]
    fn keys_keep_their_order_and_the_last_of_equal_ones_counts() {
        same(r#"{"b":1,"a":[true,false,null,{}],"c":[]}"#);
        assert_eq!(Json::parse(br#"{"a":1,"b":2,"a":3}"#).unwrap().to_compact_string(), r#"{"a":3,"b":2}"#);
    }

    #[test]
    fn strings() {
        same(r#""a\n\t\"\\ é 😀""#);
        assert_eq!(Json::parse(br#""\ud83d\ude00\u0041\/""#).unwrap().as_str().unwrap(), "😀A/");
        assert_eq!(Json::parse(br#""\ud83dx\udc00""#).unwrap().as_str().unwrap(), "\u{fffd}x\u{fffd}");
        assert_eq!(Json::from_text("a\"b").to_compact_string(), r#""a\"b""#);
        assert!(Json::null().as_str().is_none());
    }

    #[test]
    fn only_json_is_accepted() {
        let bad: [&[u8]; 32] = [
            b"",
            b" ",
            b"1 2",
            b"{} x",
            b"[1,]",
            b"{\"a\":1,}",
            b"{1:2}",
            b"{a:1}",
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b"b\"x\"",
            b"# c\n1",
            b"1 # c",
            b"+1",
            b"01",
            b"-01",
            b"1.",
            b".5",
            b"1e",
            b"-",
            b"nul",
            b"\"a",
            b"\"\\x\"",
            b"\"\n\"",
            b"\"\\u12\"",
            b"[",
            b"{\"a\"}",
            b"\xff",
            b"'a'",
            b"[1 2]",
            b"\xef\xbb\xbf1",
        ];
        for text in bad {
            assert!(Json::parse(text).is_err(), "{:?}", String::from_utf8_lossy(text));
        }
        assert_eq!(Json::parse(b"{} x").unwrap_err(), "not JSON: text after the value at byte 3");
    }

    #[test]
    fn depth_is_bounded() {
        let nest = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(Json::parse(nest(512).as_bytes()).is_ok());
        assert!(Json::parse(nest(513).as_bytes()).unwrap_err().starts_with("nested too deeply: deeper than 512"));
        assert!(Json::parse("[".repeat(1_000_000).as_bytes()).is_err());
        assert!(Json::parse("{\"a\":".repeat(1_000_000).as_bytes()).is_err());
        assert!(Json::parse(format!("\"{}\"", "[".repeat(600)).as_bytes()).is_ok());
    }

    #[test]
    fn meta_has_its_fields() {
        assert_eq!(
            Json::meta("s1", "ws://h/", "t", "text", 5, 7).to_compact_string(),
            r#"{"session":"s1","url":"ws://h/","time":"t","type":"text","size":5,"seq":7}"#
        );
    }

    #[test]
    fn meta_says_where_a_message_came_from() {
        let meta = Json::meta("s1", "nats://h/a.>", "t", "text", 5, 7);
        let meta = meta.with_source(&Source::Subject("a.b".to_owned()));
        assert_eq!(
            meta.to_compact_string(),
            r#"{"session":"s1","url":"nats://h/a.>","time":"t","type":"text","size":5,"seq":7,"subject":"a.b"}"#
        );
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Json::parse(&bytes);
        }

        #[test]
        fn agrees_with_another_reader(text in r#"[\[\]{},:"0-9.eE+\-a\\u nulltrefs]{0,12}"#) {
            // Half surrogate pairs are the one difference, and need more characters than this.
            let other = serde_json::from_str::<serde_json::Value>(&text);
            prop_assert_eq!(Json::parse(text.as_bytes()).is_ok(), other.is_ok(), "{:?} {:?}", text, other);
        }

        #[test]
        fn what_shares_its_payload_is_the_same(text in r#"[\[\]{},:"0-9.eE+\-a\\u nulltrefsé]{0,16}"#) {
            prop_assert_eq!(Json::of_payload(&Bytes::from(text.clone())), Json::parse(text.as_bytes()));
        }

        #[test]
        fn any_string_survives(text in any::<String>()) {
            let json = Json::from_text(&text);
            let again = Json::parse(json.to_compact_string().as_bytes()).unwrap();
            prop_assert_eq!(again.as_str().unwrap(), text);
        }
    }
}
