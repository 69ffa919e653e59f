//! What a filter is told of a session's messages: the input, `$meta` and `$prev`.
//!
//! Invariants: a message that is no JSON is the string of its text, or null where it is binary; `$prev` is the message
//! before that was JSON, null at first; `$meta` is made once, for the first filter that asks for it.

use std::cell::OnceCell;

use jiff::Timestamp;

use crate::filter::{Filter, Json};
use crate::listen::hub::session_name;
use crate::message::Message;
use crate::message::event::time_text;

/// What was said so far in one session.
#[derive(Debug, Default)]
pub struct Told {
    seq: u64,
    prev: Option<Box<Json>>,
}

/// A message, or the beginning of a session, as a filter sees it.
#[derive(Debug)]
pub struct Input<'a> {
    json: Json,
    prev: Json,
    /// Whether the message was JSON.
    pub is_json: bool,
    facts: Facts<'a>,
    meta: OnceCell<Json>,
}

/// What `$meta` is made of.
#[derive(Debug, Clone, Copy)]
struct Facts<'a> {
    id: u64,
    target: &'a str,
    kind: &'static str,
    size: usize,
    seq: u64,
}

impl Told {
    /// The session of this number has opened, which asked for this path and query.
    pub fn opening(id: u64, target: &str) -> Input<'_> {
        let facts = Facts { id, target, kind: "open", size: 0, seq: 0 };
        Input { json: Json::null(), prev: Json::null(), is_json: false, facts, meta: OnceCell::new() }
    }

    /// A message has arrived in it.
    pub fn message<'a>(&mut self, message: &Message, id: u64, target: &'a str) -> Input<'a> {
        self.seq += 1;
        let parsed = Json::of_payload(message.payload());
        let is_json = parsed.is_ok();
        let json = parsed.unwrap_or_else(|_| message.as_text().map_or_else(Json::null, Json::from_text));
        let next = if is_json { Some(Box::new(json.clone())) } else { self.prev.clone() };
        let prev = std::mem::replace(&mut self.prev, next).map_or_else(Json::null, |prev| *prev);
        let facts = Facts { id, target, kind: message.kind().name(), size: message.len(), seq: self.seq };
        Input { json, prev, is_json, facts, meta: OnceCell::new() }
    }
}

impl Input<'_> {
    /// Runs a filter on it; each output is handed on.
    ///
    /// # Errors
    /// As [`Filter::run`].
    pub fn run(&self, filter: &Filter, mut out: impl FnMut(Json)) -> Result<(), String> {
        filter.run(&self.json, &self.meta(filter), &self.prev, &mut |value| {
            out(value);
            std::ops::ControlFlow::Continue(())
        })
    }

    /// Whether the first output of a filter is neither false nor null.
    pub fn matches(&self, filter: &Filter) -> bool {
        filter.matches(&self.json, &self.meta(filter), &self.prev)
    }

    fn meta(&self, filter: &Filter) -> Json {
        filter.meta(|| self.meta.get_or_init(|| self.facts.meta()).clone())
    }
}

impl Facts<'_> {
    fn meta(self) -> Json {
        let Self { id, target, kind, size, seq } = self;
        Json::meta(&session_name(id), target, &time_text(Timestamp::now()), kind, size, seq)
    }
}
