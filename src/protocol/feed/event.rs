//! An event as filters see it: the values of its fields, taken out once and shared by all clients.
//!
//! Owns where a field's values stand, how they are read and compared, and a cache of events read lately. Leaves what a
//! client asked for to `filters`. Invariants: every session is given the same memory when it is given the same event, so
//! an event is known by where its bytes are; the cache keeps those bytes alive and is bounded by count and bytes.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::task::{Context, Poll};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::filter::apart::{Begun, begin};
use crate::filter::{Filter, FilterError, Json};
use crate::message::Message;
use crate::protocol::decimal::Decimal;

/// Compiles what --feed-field says.
pub(super) type Compile<'a> = &'a dyn Fn(&str) -> Result<Filter, FilterError>;

/// Events remembered at most; sessions that go through their queues one after the other find them again.
const CACHED_EVENTS: usize = 1024;
/// Payload bytes that remembered events may keep alive.
const CACHED_BYTES: usize = 4 * 1024 * 1024;
/// Values of one field that count; further ones are not looked at.
const MAX_VALUES: usize = 1024;

/// A value that a filter can name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    /// A text, and the number it is where it is one.
    Text(Box<str>, Option<Decimal>),
    /// A JSON number.
    Number(Decimal),
    /// `true` or `false`.
    Bool(bool),
}

impl Value {
    pub(super) fn text(text: &str) -> Self {
        Self::Text(text.into(), Decimal::parse(text))
    }

    /// The value as a number, if it is one or a text that says one.
    pub(super) fn number(&self) -> Option<&Decimal> {
        match self {
            Self::Text(_, number) => number.as_ref(),
            Self::Number(number) => Some(number),
            Self::Bool(_) => None,
        }
    }

    /// What JSON value is, where a filter can name it.
    pub(super) fn from_json(json: &serde_json::Value) -> Option<Self> {
        match json {
            serde_json::Value::String(text) => Some(Self::text(text)),
            serde_json::Value::Number(number) => Decimal::parse(number.as_str()).map(Self::Number),
            serde_json::Value::Bool(value) => Some(Self::Bool(*value)),
            _ => None,
        }
    }
}

/// The values of an event's fields, in the order of the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FeedEvent(Vec<Vec<Value>>);

impl FeedEvent {
    /// The values of the field at this place.
    pub(super) fn values(&self, field: usize) -> &[Value] {
        self.0.get(field).map_or(&[], Vec::as_slice)
    }
}

#[derive(Debug, Clone)]
enum Source {
    /// A key of the event itself, by its place among the keys that are looked for.
    Key(usize),
    /// Whatever the filter yields.
    Filter(Filter),
}

/// The names that filters go by, and where their values stand in an event.
#[derive(Debug, Clone)]
pub(super) struct Fields {
    fields: Vec<(String, Source)>,
    keys: Vec<String>,
}

impl Fields {
    /// Names whose values stand under keys of the event.
    pub(super) fn new(keys: &[(&str, &str)]) -> Self {
        let mut fields = Self { fields: Vec::new(), keys: Vec::new() };
        for (name, key) in keys {
            let source = fields.key(key);
            fields.fields.push(((*name).to_owned(), source));
        }
        fields
    }

    fn key(&mut self, key: &str) -> Source {
        let place = self.keys.iter().position(|known| known == key).unwrap_or_else(|| {
            self.keys.push(key.to_owned());
            self.keys.len() - 1
        });
        Source::Key(place)
    }

    /// Says where the values of a name stand; a new name is added.
    ///
    /// # Errors
    /// When `jq` does not compile.
    pub(super) fn map(&mut self, name: &str, jq: &str, compile: Compile<'_>) -> Result<(), FilterError> {
        let source = if let Some(key) = plain_key(jq) {
            self.key(key)
        } else {
            // Compiled by itself first, so that an error names a place in what was written.
            compile(jq)?;
            Source::Filter(compile(&format!("({jq}\n) | if isarray then .[] end"))?)
        };
        match self.fields.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = source,
            None => self.fields.push((name.to_owned(), source)),
        }
        Ok(())
    }

    /// The names, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn place(&self, name: &str) -> Option<usize> {
        self.names().position(|known| known == name)
    }

    /// Reads an event. A list stands for each of its values; what is not JSON has no values.
    pub(super) fn read(&self, message: &Message) -> FeedEvent {
        let top = self.top_level(message.payload());
        let json = std::cell::OnceCell::new();
        let values = self.fields.iter().map(|(_, source)| match source {
            Source::Key(place) => top.get(*place).cloned().unwrap_or_default(),
            Source::Filter(filter) => {
                let json = json.get_or_init(|| Json::of_payload(message.payload()).ok());
                json.as_ref().map(|json| yielded(filter, json)).unwrap_or_default()
            }
        });
        FeedEvent(values.collect())
    }

    /// The values under the keys looked for.
    fn top_level(&self, payload: &[u8]) -> Vec<Vec<Value>> {
        let mut found = vec![Vec::new(); self.keys.len()];
        let mut reader = serde_json::Deserializer::from_slice(payload);
        let read = TopLevel { keys: &self.keys, found: &mut found }.deserialize(&mut reader);
        if read.and_then(|()| reader.end()).is_err() {
            found.iter_mut().for_each(Vec::clear);
        }
        found
    }
}

/// The key in `.key`.
fn plain_key(jq: &str) -> Option<&str> {
    let key = jq.trim().strip_prefix('.')?;
    let mut bytes = key.bytes();
    let starts = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    (starts && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')).then_some(key)
}

fn listed(json: &serde_json::Value) -> Vec<Value> {
    match json {
        serde_json::Value::Array(items) => items.iter().take(MAX_VALUES).filter_map(Value::from_json).collect(),
        other => Value::from_json(other).into_iter().collect(),
    }
}

/// What a filter yields for an event. Where it fails, what it yielded before counts.
fn yielded(filter: &Filter, event: &Json) -> Vec<Value> {
    let mut values = Vec::new();
    let mut left = MAX_VALUES;
    let _ = filter.run(event, &Json::null(), &Json::null(), &mut |output| {
        values.extend(match output.as_str() {
            Some(text) => Some(Value::text(&text)),
            None => serde_json::from_str(&output.to_compact_string()).ok().as_ref().and_then(Value::from_json),
        });
        left -= 1;
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    values
}

/// Reads an object, keeping what stands under some of its keys; the last of equal keys counts.
struct TopLevel<'a> {
    keys: &'a [String],
    found: &'a mut [Vec<Value>],
}

impl<'de> DeserializeSeed<'de> for TopLevel<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TopLevel<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(place) = map.next_key_seed(KeyPlace(self.keys))? {
            match place.and_then(|place| self.found.get_mut(place)) {
                Some(found) => *found = listed(&map.next_value()?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The place of a key among those looked for.
struct KeyPlace<'a>(&'a [String]);

impl<'de> DeserializeSeed<'de> for KeyPlace<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for KeyPlace<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().position(|known| known == key))
    }
}

/// An event that is being read: filters may take their time.
#[derive(Debug)]
pub(super) struct Reading(RefCell<Begun<FeedEvent>>);

impl Reading {
    fn begin(message: &Message, fields: &Fields) -> Self {
        Self(RefCell::new(begin(
            || fields.read(message),
            || {
                let (fields, message) = (fields.clone(), message.clone());
                move || fields.read(&message)
            },
        )))
    }

    /// Ready when it has been read; else every waker that asked is called when it is.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        // Where a filter cannot be stopped the run ends, and says so.
        self.0.borrow_mut().poll(cx).map(|_| ())
    }

    /// Looks at the event; at one without values where it has not been read.
    pub(super) fn look<T>(&self, look: impl FnOnce(&FeedEvent) -> T) -> T {
        match &*self.0.borrow() {
            Begun::Done(event) => look(event),
            Begun::Apart(_) => look(&FeedEvent(Vec::new())),
        }
    }
}

/// Where the bytes of a message are.
type Address = (usize, usize);

/// Events read lately.
#[derive(Debug, Default)]
pub(super) struct EventCache(RefCell<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    events: HashMap<Address, (Message, Rc<Reading>)>,
    order: VecDeque<Address>,
    bytes: usize,
}

impl EventCache {
    /// The event in this message, begun to be read now unless it was lately.
    pub(super) fn event(&self, message: &Message, fields: &Fields) -> Rc<Reading> {
        let address = (message.payload().as_ptr() as usize, message.len());
        let mut remembered = self.0.borrow_mut();
        if let Some((_, event)) = remembered.events.get(&address) {
            return Rc::clone(event);
        }
        let event = Rc::new(Reading::begin(message, fields));
        if message.len() > CACHED_BYTES {
            return event;
        }
        while remembered.order.len() >= CACHED_EVENTS || remembered.bytes + message.len() > CACHED_BYTES {
            let Some(oldest) = remembered.order.pop_front() else { break };
            remembered.events.remove(&oldest);
            remembered.bytes -= oldest.1;
        }
        remembered.bytes += message.len();
        remembered.order.push_back(address);
        remembered.events.insert(address, (message.clone(), Rc::clone(&event)));
        event
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields() -> Fields {
        Fields::new(&[("types", "type"), ("ids", "id"), ("min_amount", "amount")])
    }

    fn number(text: &str) -> Value {
        Value::Number(Decimal::parse(text).unwrap())
    }

    #[test]
    fn values_are_read() {
        let read = |text: &str| {
            let event = fields().read(&Message::text(text));
            [event.values(0).to_vec(), event.values(1).to_vec(), event.values(2).to_vec()]
        };
        let none = [vec![], vec![], vec![]];
        assert_eq!(
            read(r#"{"other":{"type":1},"type":"pay\u0041","id":12,"amount":"12.50"}"#),
            [vec![Value::text("payA")], vec![number("12")], vec![Value::text("12.50")]]
        );
        assert_eq!(read(r#"{"id":[1,"2",true,null,{}]}"#)[1], [number("1"), Value::text("2"), Value::Bool(true)]);
        assert_eq!(read(r#"{"type":"a","type":"b"}"#)[0], [Value::text("b")]);
        assert_eq!(
            read(r#"{"amount":123456789012345678901234567890.10}"#)[2],
            [number("123456789012345678901234567890.1")]
        );
        for text in [
            "",
            "hello",
            "12",
            "[]",
            "null",
            r#"{"type":"a""#,
            r#"{"type":"a"} x"#,
            r#"{"type":null}"#,
            r#"{"type":{"a":1}}"#,
        ] {
            assert_eq!(read(text), none, "{text}");
        }
        assert_eq!(fields().read(&Message::binary(&b"{\"type\":\"a\"}"[..])).values(0), [Value::text("a")]);
        assert_eq!(fields().read(&Message::text("{}")).values(9), []);
    }

    #[test]
    fn fields_may_be_anywhere() {
        let mut fields = fields();
        fields.map("types", ".event.kind", &Filter::compile).unwrap();
        fields.map("ids", ".accounts[].id, .owner", &Filter::compile).unwrap();
        fields.map("min_amount", ".value", &Filter::compile).unwrap();
        fields.map("regions", "[.region, .country] # both", &Filter::compile).unwrap();
        assert_eq!(fields.names().collect::<Vec<_>>(), ["types", "ids", "min_amount", "regions"]);
        let event = fields.read(&Message::text(
            r#"{"event":{"kind":"x"},"accounts":[{"id":1},{"id":"b"}],"value":5,"region":"eu","country":true}"#,
        ));
        assert_eq!(event.values(0), [Value::text("x")]);
        // `.owner` is null: no value.
        assert_eq!(event.values(1), [number("1"), Value::text("b")]);
        assert_eq!(event.values(2), [number("5")]);
        assert_eq!(event.values(3), [Value::text("eu"), Value::Bool(true)]);
        assert_eq!(fields.read(&Message::text("[]")).values(0), []);
        assert!(fields.map("x", ".a |", &Filter::compile).unwrap_err().to_string().contains("column 5"));
        assert!(fields.map("x", ".) | (.", &Filter::compile).is_err());
    }

    #[test]
    fn plain_keys() {
        for (jq, key) in [
            (".a", Some("a")),
            (" ._b1 ", Some("_b1")),
            (".", None),
            (".a.b", None),
            (".1", None),
            ("a", None),
            (".a?", None),
        ] {
            assert_eq!(plain_key(jq), key, "{jq}");
        }
    }

    #[test]
    fn an_event_is_read_once_for_all() {
        let (cache, fields) = (EventCache::default(), fields());
        let events: Vec<_> = (0..500).map(|n| Message::text(format!(r#"{{"id":{n}}}"#))).collect();
        let first: Vec<_> = events.iter().map(|event| cache.event(&event.clone(), &fields)).collect();
        for (event, first) in events.iter().zip(&first) {
            assert!(Rc::ptr_eq(&cache.event(event, &fields), first));
        }
        // The same bytes elsewhere are another event, and equal.
        let copy = cache.event(&Message::text(events[7].as_text().expect("text")), &fields);
        assert!(!Rc::ptr_eq(&copy, &first[7]) && copy.look(|copy| first[7].look(|first| copy == first)));
    }

    #[test]
    fn the_cache_is_bounded() {
        let (cache, fields) = (EventCache::default(), fields());
        for n in 0..5000 {
            cache.event(&Message::text(format!(r#"{{"id":{n},"text":"{}"}}"#, "x".repeat(n % 20 * 1000))), &fields);
            let remembered = cache.0.borrow();
            assert!(remembered.order.len() <= CACHED_EVENTS && remembered.bytes <= CACHED_BYTES);
            assert_eq!(remembered.order.len(), remembered.events.len());
            assert_eq!(remembered.bytes, remembered.events.keys().map(|(_, len)| len).sum::<usize>());
        }
        let huge = Message::text("x".repeat(CACHED_BYTES + 1));
        cache.event(&huge, &fields);
        assert!(cache.0.borrow().events.values().all(|(message, _)| message.len() < CACHED_BYTES));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in ".{0,60}|\\{\"(type|id|amount)\":.{0,30}\\}") {
            let _ = fields().read(&Message::text(text));
        }
    }
}
