//! Envelopes as they travel: `{"type","id","timestamp","payload"}`.
//!
//! Pure: text in, envelopes out, and the other way round. Leaves what they mean to `super`. Invariants: a message comes out
//! of its data envelope as it went in, but for white space around JSON; ids are given back exactly as they came. To that
//! end JSON other than a text stands in `payload` as it is, every other text as a JSON text, and bytes as base64 with
//! `"encoding":"base64"` beside them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::message::event::{push_base64, push_json_string};
use crate::message::{Message, MessageKind};
use crate::observe::counters::EnvelopeType;

/// Bytes of the longest id accepted.
pub(super) const MAX_ID: usize = 256;
/// Characters of a peer's explanation that are kept.
const MAX_REASON: usize = 300;
/// Characters of a result that are shown.
const MAX_RESULT: usize = 4000;

/// An id as the peer wrote it: JSON, a text or a number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Id(Box<str>);

impl Id {
    pub(super) fn as_json(&self) -> &str {
        &self.0
    }

    fn text(&self) -> Option<String> {
        serde_json::from_str(&self.0).ok()
    }
}

/// An envelope from the peer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming {
    /// A message to acknowledge.
    Data(Id, Message),
    /// Something to do and reply to.
    Request(Id, Value),
    /// The answer to a request of ours: its result as text, or the reason where it failed.
    Reply(String, Result<String, String>),
    /// A message of ours was taken.
    Ack(String),
    /// A message of ours will never be taken.
    Nack(String, String),
    /// The peer's queue is filling.
    Slow,
}

impl Incoming {
    pub(super) fn kind(&self) -> EnvelopeType {
        match self {
            Self::Data(..) => EnvelopeType::Data,
            Self::Request(..) => EnvelopeType::Request,
            Self::Reply(..) => EnvelopeType::Reply,
            Self::Ack(_) => EnvelopeType::Ack,
            Self::Nack(..) => EnvelopeType::Nack,
            Self::Slow => EnvelopeType::Slow,
        }
    }
}

/// An invalid envelope, and the id to reject it with.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Malformed {
    pub id: Option<Id>,
    pub why: String,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(rename = "type", borrow, default, deserialize_with = "present")]
    kind: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    payload: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    encoding: Option<&'a RawValue>,
}

/// A field that is there, be it `null`.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Incoming {
    /// Reads an envelope.
    pub(super) fn read(message: &Message) -> Result<Self, Malformed> {
        let nameless = |why: String| Malformed { id: None, why };
        let Some(text) = message.as_text() else {
            return Err(nameless("a binary message where an envelope was expected".to_owned()));
        };
        if !text.trim_ascii_start().starts_with('{') {
            return Err(nameless("not an envelope: not a JSON object".to_owned()));
        }
        let fields: Fields<'_> =
            serde_json::from_str(text).map_err(|error| nameless(format!("not an envelope: {error}")))?;
        let id = fields.id.map(id).transpose().map_err(nameless)?;
        match read(message, &fields, id.as_ref()) {
            Ok(incoming) => Ok(incoming),
            Err(why) => Err(Malformed { id, why }),
        }
    }
}

fn id(raw: &RawValue) -> Result<Id, String> {
    let json = raw.get();
    let is_id = json != "\"\"" && json.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
    match json.len() {
        _ if !is_id => Err("the id must be a text or a number".to_owned()),
        0..=MAX_ID => Ok(Id(json.into())),
        length => Err(format!("the id has {length} bytes; at most {MAX_ID} are allowed")),
    }
}

fn read(message: &Message, fields: &Fields<'_>, id: Option<&Id>) -> Result<Incoming, String> {
    let kind: String = match fields.kind.map(|kind| serde_json::from_str(kind.get())) {
        Some(Ok(kind)) => kind,
        Some(Err(_)) => return Err("the type must be a text".to_owned()),
        None => return Err("the type is missing".to_owned()),
    };
    if kind == "slow" {
        return Ok(Incoming::Slow);
    }
    let Some(id) = id else { return Err(format!("{} without an id", shortened(&kind))) };
    // Our ids are texts; an answer to any other is an answer to somebody else.
    let ours = || id.text().unwrap_or_default();
    Ok(match kind.as_str() {
        "data" => match fields.payload {
            Some(payload) => Incoming::Data(id.clone(), content(message, payload, fields.encoding)?),
            None => return Err("the payload is missing".to_owned()),
        },
        "request" => Incoming::Request(id.clone(), explained(fields.payload)),
        "reply" => {
            let payload = explained(fields.payload);
            let failed = || payload.get("error").map_or_else(|| "no reason given".to_owned(), told);
            let is_ok = payload.get("status").and_then(Value::as_str) == Some("ok");
            let result = || without_control(&payload["result"].to_string(), MAX_RESULT);
            Incoming::Reply(ours(), if is_ok { Ok(result()) } else { Err(failed()) })
        }
        "ack" => Incoming::Ack(ours()),
        "nack" => {
            let payload = explained(fields.payload);
            let parts: Vec<_> = ["reason", "error"].iter().filter_map(|name| payload.get(name)).map(told).collect();
            let reason = if parts.is_empty() { "no reason given".to_owned() } else { parts.join(": ") };
            Incoming::Nack(ours(), reason)
        }
        _ => return Err(format!("unknown type {}", shortened(&kind))),
    })
}

/// A payload that says something about the conversation; what cannot be read says nothing.
fn explained(payload: Option<&RawValue>) -> Value {
    payload.and_then(|payload| serde_json::from_str(payload.get()).ok()).unwrap_or_default()
}

fn content(message: &Message, payload: &RawValue, encoding: Option<&RawValue>) -> Result<Message, String> {
    let json = payload.get();
    let text = |json| serde_json::from_str::<String>(json).map_err(|error| format!("the payload is not text: {error}"));
    match encoding.map(RawValue::get) {
        None | Some("null") if json.starts_with('"') => Ok(Message::text(text(json)?)),
        None | Some("null") => Ok(Message::checked(MessageKind::Text, message.payload().slice_ref(json.as_bytes()))),
        Some("\"base64\"") => match STANDARD.decode(text(json)?) {
            Ok(bytes) => Ok(Message::binary(bytes)),
            Err(error) => Err(format!("the payload is not base64: {error}")),
        },
        Some(other) => Err(format!("unknown encoding {}", shortened(other))),
    }
}

/// A value of a peer as a short piece of one line.
fn told(value: &Value) -> String {
    match value {
        Value::String(text) => shortened(text),
        other => shortened(&other.to_string()),
    }
}

fn shortened(text: &str) -> String {
    without_control(text, MAX_REASON)
}

/// As much of a text as may be shown, on a terminal too.
fn without_control(text: &str, most: usize) -> String {
    let mut short: String = text.chars().take(most).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(most).is_some() {
        short.push('…');
    }
    short
}

/// An envelope of this type. `id` is JSON, and so is the payload.
pub(super) fn envelope(kind: &str, id: &str, time: i64, payload: Option<&str>) -> Message {
    let start = format!(r#"{{"type":"{kind}","id":{id},"timestamp":{time}"#);
    Message::text(match payload {
        Some(payload) => format!(r#"{start},"payload":{payload}}}"#),
        None => format!("{start}}}"),
    })
}

/// A data envelope around a message.
pub(super) fn data(id: &str, time: i64, message: &Message) -> Message {
    let mut out = format!(r#"{{"type":"data","id":{id},"timestamp":{time},"#).into_bytes();
    if let Some(text) = message.as_text() {
        out.extend_from_slice(b"\"payload\":");
        match as_json(text) {
            Some(json) => out.extend_from_slice(json.as_bytes()),
            None => push_json_string(&mut out, text),
        }
    } else {
        out.extend_from_slice(b"\"encoding\":\"base64\",\"payload\":\"");
        push_base64(&mut out, message.payload());
        out.push(b'"');
    }
    out.push(b'}');
    // Built of texts alone.
    Message::checked(MessageKind::Text, out)
}

/// The JSON in a text that is JSON other than a text.
fn as_json(text: &str) -> Option<&str> {
    let json = text.trim_matches([' ', '\t', '\n', '\r']);
    let may_be = json.starts_with(|c: char| matches!(c, '{' | '[' | '-' | 't' | 'f' | 'n') || c.is_ascii_digit());
    (may_be && serde_json::from_str::<Strict>(json).is_ok()).then_some(json)
}

/// JSON that every reader can read: not nested without end, without half surrogate pairs. (What is merely skipped is not
/// looked at that closely.)
struct Strict;

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(Self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(Self)
    }

    /// Objects, and numbers as they are handed over with their text.
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self, A::Error> {
        while entries.next_entry::<Self, Self>()?.is_some() {}
        Ok(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there_and_back(message: &Message) -> Message {
        let envelope = data("\"x-1\"", 5, message);
        let parsed: Value = serde_json::from_str(envelope.as_text().unwrap()).unwrap();
        assert_eq!((&parsed["type"], &parsed["id"], &parsed["timestamp"]), (&"data".into(), &"x-1".into(), &5.into()));
        match Incoming::read(&envelope) {
            Ok(Incoming::Data(id, message)) => {
                assert_eq!(id.as_json(), "\"x-1\"");
                message
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn data_is_written() {
        for (message, rest) in [
            (Message::text(r#"{"a":1.50}"#), r#""payload":{"a":1.50}}"#),
            (Message::text(" [1]\n"), r#""payload":[1]}"#),
            (Message::text("12"), r#""payload":12}"#),
            (Message::text("null"), r#""payload":null}"#),
            (Message::text("hello"), r#""payload":"hello"}"#),
            (Message::text(r#""hello""#), r#""payload":"\"hello\""}"#),
            (Message::text("{\"a\":"), r#""payload":"{\"a\":"}"#),
            (Message::text(""), r#""payload":""}"#),
            (Message::binary(vec![0, 255]), r#""encoding":"base64","payload":"AP8="}"#),
        ] {
            let wanted = format!(r#"{{"type":"data","id":"p-1","timestamp":7,{rest}"#);
            assert_eq!(data("\"p-1\"", 7, &message).as_text(), Some(wanted.as_str()));
        }
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        for text in [
            "",
            "hello",
            "\"hello\"",
            "12",
            "1e400",
            "-0",
            "true",
            "nul",
            "{\"b\":1,\"a\":[1.50, {}],\"b\":2}",
            "{\"a\":\n 1}",
            "{\"base64\":\"AP8=\"}",
            "a\u{0}b\"\\\u{2028}é😀",
            "\"\\ud800\"",
            "[\"\\ud800\"]",
            "NaN",
            "[1,]",
        ] {
            assert_eq!(there_and_back(&Message::text(text)), Message::text(text));
        }
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(there_and_back(&Message::text(deep.as_str())) == Message::text(deep));
        assert_eq!(there_and_back(&Message::text("\n {} ")), Message::text("{}"));
        assert_eq!(there_and_back(&Message::binary("")), Message::binary(""));
    }

    #[test]
    fn envelopes_of_others_are_read() {
        let ok = |text: &str| Incoming::read(&Message::text(text)).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
        let data = |id: &str, text: &str| Incoming::Data(Id(id.into()), Message::text(text));
        assert_eq!(ok(r#" {"payload": {"a": 1} ,"x":[1],"id":"a","type":"data"}"#), data("\"a\"", r#"{"a": 1}"#));
        assert_eq!(ok(r#"{"type":"d\u0061ta","id":17,"timestamp":"2026","payload":null}"#), data("17", "null"));
        assert_eq!(ok(r#"{"type":"data","id":"a","payload":"x\ny","encoding":null}"#), data("\"a\"", "x\ny"));
        assert_eq!(ok(r#"{"type":"ack","id":"p-1","timestamp":1}"#), Incoming::Ack("p-1".to_owned()));
        assert_eq!(ok(r#"{"type":"ack","id":5}"#), Incoming::Ack(String::new()));
        assert_eq!(
            ok(r#"{"type":"nack","id":"p-1","payload":{"reason":"full","error":"no\u0000room"}}"#),
            Incoming::Nack("p-1".to_owned(), "full: no room".to_owned())
        );
        assert_eq!(ok(r#"{"type":"nack","id":"p-1"}"#), Incoming::Nack("p-1".to_owned(), "no reason given".to_owned()));
        assert_eq!(
            ok(r#"{"type":"request","id":"r","payload":{"method":"status"}}"#),
            Incoming::Request(Id("\"r\"".into()), serde_json::json!({"method": "status"}))
        );
        assert_eq!(ok(r#"{"type":"request","id":"r"}"#), Incoming::Request(Id("\"r\"".into()), Value::Null));
        assert_eq!(
            ok(r#"{"type":"reply","id":"r","payload":{"status":"ok"}}"#),
            Incoming::Reply("r".to_owned(), Ok("null".to_owned()))
        );
        assert_eq!(
            ok(r#"{"type":"reply","id":"r","payload":{"status":"ok","result":{"a":"\u009b1"}}}"#),
            Incoming::Reply("r".to_owned(), Ok("{\"a\":\" 1\"}".to_owned()))
        );
        assert_eq!(
            ok(r#"{"type":"reply","id":"r","payload":{"status":"error","error":{"a":1}}}"#),
            Incoming::Reply("r".to_owned(), Err("{\"a\":1}".to_owned()))
        );
        assert_eq!(ok(r#"{"type":"slow"}"#), Incoming::Slow);
    }

    #[test]
    fn what_is_no_envelope_is_refused_by_its_id() {
        let id = |json: &str| Some(Id(json.into()));
        let long = format!(r#"{{"type":"data","id":"{}","payload":1}}"#, "x".repeat(MAX_ID));
        for (text, named, why) in [
            ("", None, "not a JSON object"),
            ("[1]", None, "not a JSON object"),
            (r#"["data","a",1]"#, None, "not a JSON object"),
            ("{\"type\":\"data\"", None, "not an envelope"),
            (r#"{"type":"data","id":"a","payload":1} x"#, None, "not an envelope"),
            (r#"{"type":"data","payload":1}"#, None, "data without an id"),
            (r#"{"type":"data","id":null,"payload":1}"#, None, "text or a number"),
            (r#"{"type":"data","id":"","payload":1}"#, None, "text or a number"),
            (r#"{"type":"data","id":{},"payload":1}"#, None, "text or a number"),
            (&long, None, "258 bytes"),
            (r#"{"id":"a","payload":1}"#, id("\"a\""), "the type is missing"),
            (r#"{"type":1,"id":7,"payload":1}"#, id("7"), "the type must be"),
            (r#"{"type":"datum","id":"a","payload":1}"#, id("\"a\""), "unknown type datum"),
            (r#"{"type":"data","id":"a"}"#, id("\"a\""), "the payload is missing"),
            (r#"{"type":"data","id":"a","encoding":"gzip","payload":"x"}"#, id("\"a\""), "unknown encoding \"gzip\""),
            (r#"{"type":"data","id":"a","encoding":"base64","payload":"*"}"#, id("\"a\""), "not base64"),
            (r#"{"type":"data","id":"a","encoding":"base64","payload":{}}"#, id("\"a\""), "not text"),
            (r#"{"type":"data","id":"a","payload":"\ud800"}"#, id("\"a\""), "not text"),
        ] {
            let wrong = Incoming::read(&Message::text(text)).expect_err(text);
            assert_eq!(wrong.id, named, "{text}");
            assert!(wrong.why.contains(why), "{text}: {}", wrong.why);
        }
        assert!(Incoming::read(&Message::binary("{}")).unwrap_err().why.contains("binary"));
    }

    proptest! {
        #[test]
        fn any_message_survives(text in ".{0,60}|[\\[\\]{}\", :0-9a-z\\\\]{0,40}", bytes in any::<Vec<u8>>()) {
            let back = there_and_back(&Message::text(text.as_str()));
            let same = back == Message::text(text.as_str());
            let trimmed = back == Message::text(text.trim_matches([' ', '\t', '\n', '\r']));
            prop_assert!(same || (trimmed && as_json(&text).is_some()));
            prop_assert_eq!(there_and_back(&Message::binary(bytes.clone())), Message::binary(bytes));
        }

        #[test]
        fn arbitrary_text_never_panics(text in ".{0,60}|\\{(\"(type|id|payload|encoding)\":(\"(data|ack|base64)\"|1|null|\\{\\}),?){0,5}\\}") {
            let _ = Incoming::read(&Message::text(text));
        }
    }
}
