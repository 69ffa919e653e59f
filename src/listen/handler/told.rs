//! What a filter is told of a session's messages: the input, `$meta` and `$prev`.
//!
//! Invariants: a message that is no JSON is the string of its text, or null where it is binary; `$prev` is the message
//! before that was JSON, null at first.

use jiff::Timestamp;

use crate::filter::{Filter, Json};
use crate::listen::hub::session_name;
use crate::listen::mailbox::Mailbox;
use crate::message::{Message, MessageKind};

/// What was said so far in one session.
#[derive(Debug, Default)]
pub struct Told {
    seq: u64,
    prev: Option<Box<Json>>,
}

/// A message as a filter sees it.
#[derive(Debug)]
pub struct Input {
    json: Json,
    meta: Json,
    prev: Json,
    /// Whether the message was JSON.
    pub is_json: bool,
}

impl Told {
    /// A message has arrived.
    pub fn message(&mut self, message: &Message, mailbox: &Mailbox) -> Input {
        self.seq += 1;
        let kind = match message.kind() {
            MessageKind::Text => "text",
            MessageKind::Binary => "binary",
        };
        let parsed = Json::parse(message.payload());
        let is_json = parsed.is_ok();
        let json = parsed.unwrap_or_else(|_| message.as_text().map_or_else(Json::null, Json::from_text));
        let next = if is_json { Some(Box::new(json.clone())) } else { self.prev.clone() };
        let prev = std::mem::replace(&mut self.prev, next).map_or_else(Json::null, |prev| *prev);
        Input { json, meta: meta(mailbox, kind, message.len(), self.seq), prev, is_json }
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
}

fn meta(mailbox: &Mailbox, kind: &str, size: usize, seq: u64) -> Json {
    let time = format!("{:.6}", Timestamp::now());
    Json::meta(&session_name(mailbox.id), &mailbox.target, &time, kind, size, seq)
}
