//! `feed`: a server that sends each client the events it registered for.
//!
//! Owns the conversation: welcome, register within a time limit, what is answered to bad input. Leaves reading events to
//! `event` and choosing among them to `filters`. Invariants: no event goes to a client before it has registered; bad
//! input changes nothing and closes nothing; every event handed over is sent or counted as filtered.

mod event;
mod filters;

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use self::event::{Compile, EventCache, Fields, Reading};
use self::filters::{BadInput, Filters, MIN_AMOUNT, nothing_asked, shortened};
use super::{Effect, Now, Protocol, Ticket};
use crate::filter::FilterError;
use crate::message::Message;
use crate::net::connection::CloseReason;

/// The filters and the keys of an event whose values they are about.
const FIELDS: [(&str, &str); 4] =
    [("types", "type"), ("account_ids", "account_id"), ("asset_codes", "asset_code"), (MIN_AMOUNT, "amount")];
/// Bytes of the longest message a client may send.
const MAX_INPUT: usize = 1024 * 1024;

/// How a feed is offered; shared by its sessions.
#[derive(Debug)]
pub(crate) struct FeedSettings {
    register_within: Duration,
    fields: Fields,
    cache: EventCache,
}

/// Why a `NAME=JQ` cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    /// There is no name in front of an equals sign.
    #[error("it must be NAME=JQ, for example types=.event.kind")]
    Shape,
    /// The jq behind it does not compile.
    #[error(transparent)]
    Filter(#[from] FilterError),
}

impl Default for FeedSettings {
    fn default() -> Self {
        Self::new(Duration::from_secs(10))
    }
}

impl FeedSettings {
    /// A feed with the usual fields, whose clients have so much time to register.
    #[must_use]
    pub(crate) fn new(register_within: Duration) -> Self {
        Self { register_within, fields: Fields::new(&FIELDS), cache: EventCache::default() }
    }

    /// Takes a `NAME=JQ`: where the values of a filter stand in an event. A new name is a further list of allowed values.
    ///
    /// # Errors
    /// When it has another shape, or the jq does not compile.
    pub(crate) fn map_field(&mut self, text: &str, compile: Compile<'_>) -> Result<(), FieldError> {
        let (name, jq) = text.split_once('=').ok_or(FieldError::Shape)?;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        if name.is_empty() || !name.chars().all(is_name) || jq.trim().is_empty() {
            return Err(FieldError::Shape);
        }
        Ok(self.fields.map(name, jq, compile)?)
    }
}

/// One client of a feed.
#[derive(Debug)]
pub(crate) struct Feed {
    settings: Rc<FeedSettings>,
    state: State,
    /// The event that is handed over next.
    known: Option<Rc<Reading>>,
}

#[derive(Debug)]
enum State {
    /// There is no connection, or no more.
    Closed,
    /// The client has until then to register.
    Welcomed(Instant),
    Registered(Box<Filters>),
}

impl Feed {
    /// A session that has no connection yet.
    #[must_use]
    pub(crate) fn new(settings: Rc<FeedSettings>) -> Self {
        Self { settings, state: State::Closed, known: None }
    }

    fn input(&mut self, message: &Message) -> Result<Message, BadInput> {
        let shape = || format!("write {}", self.format());
        if message.len() > MAX_INPUT {
            return Err(BadInput::new("the message is too long", format!("at most {MAX_INPUT} bytes are allowed")));
        }
        let input: Value = serde_json::from_slice(message.payload())
            .map_err(|error| BadInput::new("the message is not JSON", format!("{error}; {}", shape())))?;
        match input.get("type").and_then(Value::as_str) {
            Some("register") => {
                let filters = Filters::read(input.get("filters"), &self.settings.fields)?;
                let answer = json!({
                    "type": "registered",
                    "message": "you get the events that pass all of these filters; register again to replace them",
                    "filters": filters.in_force(),
                });
                self.state = State::Registered(Box::new(filters));
                Ok(text(&answer))
            }
            Some("ping") => Ok(text(&json!({"type": "pong"}))),
            Some(other) => Err(BadInput::new(format!("unknown type {}", shortened(other)), shape())),
            None => Err(BadInput::new("the message has no type that is a text", shape())),
        }
    }

    /// A register message, as it stands: the one that asks for everything.
    fn format(&self) -> Value {
        json!({"type": "register", "filters": nothing_asked(&self.settings.fields)})
    }
}

fn text(json: &Value) -> Message {
    Message::text(json.to_string())
}

fn error(error: &str, details: &str) -> Effect {
    Effect::Send(text(&json!({"type": "error", "error": error, "details": details})))
}

impl Protocol for Feed {
    fn on_open(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let within = self.settings.register_within;
        self.state = State::Welcomed(now.instant + within);
        let message = format!(
            "register within {} to receive events: each filter is a list of allowed values, {MIN_AMOUNT} a number; \
             empty means all, and an event must pass every filter",
            seconds(within)
        );
        effects.push(Effect::Send(text(&json!({"type": "welcome", "message": message, "format": self.format()}))));
    }

    fn on_message(&mut self, message: Message, _now: Now, effects: &mut Vec<Effect>) {
        if matches!(self.state, State::Closed) {
            return;
        }
        match self.input(&message) {
            Ok(answer) => effects.push(Effect::Send(answer)),
            Err(bad) => {
                effects.push(error(&bad.error, &bad.details));
                effects.push(Effect::Fault(bad.error));
            }
        }
    }

    fn takes_outgoing(&self, _now: Now) -> bool {
        matches!(self.state, State::Registered(_))
    }

    fn poll_known(&mut self, message: &Message, cx: &mut Context<'_>) -> Poll<()> {
        match &self.state {
            State::Registered(filters) if !filters.pass_all() => {}
            _ => return Poll::Ready(()),
        }
        let Self { settings, known, .. } = self;
        known.get_or_insert_with(|| settings.cache.event(message, &settings.fields)).poll(cx)
    }

    fn on_outgoing(&mut self, message: Message, _ticket: Option<Ticket>, _now: Now, effects: &mut Vec<Effect>) {
        let known = self.known.take();
        let passes = match &self.state {
            State::Registered(filters) => {
                let event = || known.unwrap_or_else(|| self.settings.cache.event(&message, &self.settings.fields));
                filters.pass_all() || event().look(|event| filters.pass(event))
            }
            State::Welcomed(_) | State::Closed => false,
        };
        effects.push(if passes { Effect::Send(message) } else { Effect::Filtered });
    }

    fn on_lost(&mut self) {
        self.known = None;
        self.state = State::Closed;
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Welcomed(until) => Some(until),
            State::Registered(_) | State::Closed => None,
        }
    }

    fn on_time(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.deadline().is_some_and(|until| now.instant >= until) {
            self.state = State::Closed;
            let late = format!("not registered within {}", seconds(self.settings.register_within));
            effects.push(error(&late, &format!("send {} right after connecting", self.format())));
            effects.push(Effect::Fault(late.clone()));
            effects.push(Effect::Close(CloseReason::new(1008, &late)));
        }
    }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
