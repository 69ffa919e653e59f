//! One message made of many.
//!
//! Invariant: what is JSON stays the JSON it is, byte by byte, but for line breaks between its tokens.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::ControlFlow;

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::filter::apart;
use crate::filter::{Filter, Json};
use crate::message::event::push_json_string;
use crate::message::render::Format;
use crate::message::{Message, MessageKind};
use crate::queue::envelope::Envelope;
use crate::sink::line;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinForm {
    Lines,
    /// The items of a JSON array.
    Array,
    /// One behind the other.
    Concat,
}

#[derive(Debug, Clone)]
pub(crate) struct Binding {
    pub form: BinForm,
    /// How each of them is written.
    pub format: Format,
    /// Makes outputs of all of them, each of which is a message.
    pub filter: Option<Filter>,
}

impl Binding {
    /// Makes messages of these.
    ///
    /// # Errors
    /// What the filter failed on; nothing when the end of the run cut it short.
    pub(crate) async fn bind(&self, messages: &VecDeque<Envelope>) -> Result<Vec<Message>, Option<String>> {
        let Some(filter) = &self.filter else { return Ok(vec![self.form.of(self.format, messages)]) };
        let array = BinForm::Array.of(self.format, messages);
        let (filter, form) = (filter.clone(), self.form);
        // An array of many is seldom quick.
        let task = apart::start(move || {
            let (null, mut outputs) = (Json::null(), Vec::new());
            let input = Json::of_payload(array.payload())?;
            filter.run(&input, &null, &null, &mut |value| {
                outputs.push(form.of_value(&value));
                ControlFlow::Continue(())
            })?;
            Ok(outputs)
        });
        let done = poll_fn(|cx| task.poll(cx)).await;
        if task.is_cut_short() {
            return Err(None);
        }
        done.and_then(|done| done).map_err(Some)
    }
}

impl BinForm {
    pub(crate) fn of<'a>(self, format: Format, messages: impl IntoIterator<Item = &'a Envelope>) -> Message {
        let (mut bytes, mut is_text) = (Vec::new(), true);
        for (place, envelope) in messages.into_iter().enumerate() {
            let is_written = format != Format::Raw && self != Self::Concat;
            is_text &= is_written || self == Self::Array || envelope.message.kind() == MessageKind::Text;
            match self {
                Self::Concat => bytes.extend_from_slice(envelope.message.payload()),
                Self::Lines => {
                    if place > 0 {
                        bytes.push(b'\n');
                    }
                    push_line(&mut bytes, format, envelope);
                }
                Self::Array => {
                    bytes.push(if place > 0 { b',' } else { b'[' });
                    push_item(&mut bytes, format, envelope);
                }
            }
        }
        if self == Self::Array {
            bytes.push(b']');
        }
        let bytes = Bytes::from(bytes);
        match Message::text_from_bytes(bytes.clone()) {
            Ok(message) if is_text => message,
            _ => Message::binary(bytes),
        }
    }

    /// What a filter yields: an array in this form, any other value as it is.
    fn of_value(self, value: &Json) -> Message {
        let items = value.items().filter(|_| self != Self::Array);
        let Some(items) = items else { return Message::text(value.to_plain_string()) };
        let texts: Vec<_> = items.iter().map(Json::to_plain_string).collect();
        Message::text(texts.join(if self == Self::Lines { "\n" } else { "" }))
    }
}

fn is_json(message: &Message) -> bool {
    message.kind() == MessageKind::Text && serde_json::from_slice::<IgnoredAny>(message.payload()).is_ok()
}

fn push_line(bytes: &mut Vec<u8>, format: Format, envelope: &Envelope) {
    let start = bytes.len();
    line::append(bytes, format, envelope);
    bytes.pop();
    if format == Format::Raw && memchr::memchr2(b'\n', b'\r', &bytes[start..]).is_some() && is_json(&envelope.message) {
        line::flatten(&mut bytes[start..]);
    }
}

fn push_item(bytes: &mut Vec<u8>, format: Format, envelope: &Envelope) {
    let message = &envelope.message;
    match message.as_text() {
        _ if format == Format::Json => push_line(bytes, format, envelope),
        Some(text) if is_json(message) => bytes.extend_from_slice(text.trim().as_bytes()),
        Some(text) => push_json_string(bytes, text),
        None => {
            use base64::Engine as _;
            let text = base64::engine::general_purpose::STANDARD.encode(message.payload());
            push_json_string(bytes, &text);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::queue::envelope::Origin;
    use crate::queue::ledger::Ledger;

    fn envelopes(messages: Vec<Message>) -> Vec<Envelope> {
        let (origin, ledger) = (Origin::new("s1", "-"), Rc::new(Ledger::default()));
        let envelope = |message: Message| Envelope {
            receipt: ledger.receive(message.len(), None),
            message,
            origin: Rc::clone(&origin),
            time: "2026-01-02T03:04:05.678901Z".parse().expect("a time"),
            seq: 1,
            attempts: 0,
        };
        messages.into_iter().map(envelope).collect()
    }

    #[test]
    fn messages_become_one() {
        let texts = |texts: &[&str]| envelopes(texts.iter().map(|&text| Message::text(text)).collect());
        let mixed = ["{\"a\":\n1}", " [2] ", "no\njson", "3"];
        let text = |form: BinForm, format| form.of(format, &texts(&mixed)).as_text().map(str::to_owned);
        assert_eq!(text(BinForm::Lines, Format::Raw).as_deref(), Some("{\"a\": 1}\n [2] \nno\njson\n3"));
        assert_eq!(text(BinForm::Array, Format::Raw).as_deref(), Some("[{\"a\":\n1},[2],\"no\\njson\",3]"));
        assert_eq!(text(BinForm::Concat, Format::Raw).as_deref(), Some("{\"a\":\n1} [2] no\njson3"));
        let lines = text(BinForm::Lines, Format::Json).expect("text");
        assert!(lines.lines().count() == 4 && lines.lines().all(|line| line.ends_with('}')), "{lines}");
        let array = text(BinForm::Array, Format::Json).expect("text");
        let array: serde_json::Value = serde_json::from_str(&array).expect("an array");
        assert_eq!(array[2]["text"], "no\njson");
        let bytes = envelopes(vec![Message::binary(vec![255, 0]), Message::text("1")]);
        let of = |form: BinForm| form.of(Format::Raw, &bytes);
        assert_eq!(
            (of(BinForm::Concat).payload().to_vec(), of(BinForm::Concat).kind()),
            (vec![255, 0, b'1'], MessageKind::Binary)
        );
        assert_eq!(of(BinForm::Array).as_text(), Some("[\"/wA=\",1]"));
        assert_eq!(BinForm::Array.of(Format::Raw, &texts(&["1"])).as_text(), Some("[1]"));
    }

    #[test]
    fn what_a_filter_yields_has_its_form() {
        let value = Json::parse(br#"[{"a":1},"x",[2]]"#).expect("JSON");
        let text = |form: BinForm, value: &Json| form.of_value(value).as_text().map(str::to_owned);
        assert_eq!(text(BinForm::Lines, &value).as_deref(), Some("{\"a\":1}\nx\n[2]"));
        assert_eq!(text(BinForm::Concat, &value).as_deref(), Some("{\"a\":1}x[2]"));
        assert_eq!(text(BinForm::Array, &value).as_deref(), Some("[{\"a\":1},\"x\",[2]]"));
        let object = Json::parse(b"{\"n\":1}").expect("JSON");
        assert_eq!(text(BinForm::Array, &object).as_deref(), Some("{\"n\":1}"));
    }
}
