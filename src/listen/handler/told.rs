//! What a filter is told of a session's messages: the input, `$meta` and `$prev`.
//!
//! Invariants: a message that is no JSON is the string of its text, or null where it is binary; `$prev` is the message
//! before that was JSON, null at first.

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
pub struct Input {
    json: Json,
    meta: Json,
    prev: Json,
    /// Whether the message was JSON.
    pub is_json: bool,
}

impl Told {
    /// The session of this number has opened, which asked for this path and query.
    pub fn opening(id: u64, target: &str) -> Input {
        Input { json: Json::null(), meta: meta(id, target, "open", 0, 0), prev: Json::null(), is_json: false }
    }

    /// A message has arrived in it.
    pub fn message(&mut self, message: &Message, id: u64, target: &str) -> Input {
        self.seq += 1;
        let kind = message.kind().name();
        let parsed = Json::of_payload(message.payload());
        let is_json = parsed.is_ok();
        let json = parsed.unwrap_or_else(|_| message.as_text().map_or_else(Json::null, Json::from_text));
        let next = if is_json { Some(Box::new(json.clone())) } else { self.prev.clone() };
        let prev = std::mem::replace(&mut self.prev, next).map_or_else(Json::null, |prev| *prev);
        Input { json, meta: meta(id, target, kind, message.len(), self.seq), prev, is_json }
    }
}

impl Input {
    /// Runs a filter on it; each output is handed on.
    ///
    /// # Errors
    /// As [`Filter::run`].
    pub fn run(&self, filter: &Filter, mut out: impl FnMut(Json)) -> Result<(), String> {
        filter.run(&self.json, &self.meta, &self.prev, &mut |value| {
            out(value);
            std::ops::ControlFlow::Continue(())
        })
    }

    /// Whether the first output of a filter is neither false nor null.
    pub fn matches(&self, filter: &Filter) -> bool {
        filter.matches(&self.json, &self.meta, &self.prev)
    }
}

fn meta(id: u64, target: &str, kind: &str, size: usize, seq: u64) -> Json {
    Json::meta(&session_name(id), target, &time_text(Timestamp::now()), kind, size, seq)
}
