//! `gateway`: clients write to everyone, through a broker or to each other.
//!
//! Owns the welcome with the client's id, what is accepted from a client, and the answer to it. Leaves carrying
//! messages to the code that drives it. Invariants: a client's message is published as it came, whole, or not at all;
//! each is answered by exactly one ACK or ERROR; what comes from the others goes to the client as it is.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::DateTime;
use serde_json::{Map, Value, json};

use super::{Effect, Now, Outcome, Protocol, Ticket};
use crate::message::Message;
use crate::message::counted::counted;
use crate::message::event::time_text;

/// Bytes of an `id` that are worth repeating in the answer.
const MAX_ID: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behind {
    /// A broker, or whatever else says what became of a message: the answer waits for it.
    Broker,
    /// The other clients: a message is published once it has been handed to them.
    Others,
}

#[derive(Debug, Clone)]
pub(crate) struct GatewaySettings {
    pub behind: Behind,
    /// Longest content, in bytes.
    pub max_content: usize,
    /// Messages of one client whose outcome may be open.
    pub max_unsettled: usize,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self { behind: Behind::Others, max_content: 64 * 1024, max_unsettled: 1000 }
    }
}

/// One client of a gateway.
#[derive(Debug)]
pub(crate) struct Gateway {
    settings: GatewaySettings,
    client: String,
    next: Ticket,
    unsettled: BTreeMap<Ticket, Reference>,
}

/// What an answer repeats of the message it answers.
#[derive(Debug, Clone, Default)]
struct Reference {
    id: Option<Value>,
    timestamp: Option<Value>,
}

impl Gateway {
    /// A session of the client that is given this id.
    #[must_use]
    pub(crate) fn new(settings: GatewaySettings, client: String) -> Self {
        Self { settings, client, next: 1, unsettled: BTreeMap::new() }
    }

    fn say(&self, kind: &str, content: &str, of: &Reference, now: Now) -> Effect {
        let mut message = Map::new();
        message.insert("messageType".to_owned(), json!(kind));
        message.insert("content".to_owned(), json!(content));
        message.insert("clientId".to_owned(), json!(self.client));
        message.insert("timestamp".to_owned(), json!(time_text(now.time).as_str()));
        message.extend(of.id.clone().map(|id| ("id".to_owned(), id)));
        message.extend(of.timestamp.clone().map(|timestamp| ("answers".to_owned(), timestamp)));
        Effect::Send(Message::text(Value::Object(message).to_string()))
    }

    /// What the answer refers to, and whether the message is one that can be published.
    fn check(&self, message: &Message) -> (Reference, Result<(), String>) {
        let Some(text) = message.as_text() else {
            return (Reference::default(), Err("the message is binary; send a JSON object as text".to_owned()));
        };
        let parsed = match serde_json::from_str(text) {
            Ok(Value::Object(parsed)) => parsed,
            Ok(_) => return (Reference::default(), Err("the message is not a JSON object".to_owned())),
            Err(error) => return (Reference::default(), Err(format!("the message is not JSON: {error}"))),
        };
        let short = |value: &&Value| match value {
            Value::String(text) => text.len() <= MAX_ID,
            Value::Number(number) => number.as_str().len() <= MAX_ID,
            _ => false,
        };
        let repeated = |name| parsed.get(name).filter(short).cloned();
        let reference = Reference { id: repeated("id"), timestamp: repeated("timestamp") };
        (reference, self.check_fields(&parsed))
    }

    fn check_fields(&self, message: &Map<String, Value>) -> Result<(), String> {
        match message.get("messageType") {
            Some(Value::String(kind)) if kind == "USER" => {}
            Some(_) => return Err("a client's messageType is \"USER\"".to_owned()),
            None => return Err("messageType is missing; a client's is \"USER\"".to_owned()),
        }
        match message.get("content") {
            Some(Value::String(content)) if content.trim().is_empty() => return Err("content is empty".to_owned()),
            Some(Value::String(content)) if content.len() > self.settings.max_content => {
                let (length, most) = (content.len(), self.settings.max_content);
                return Err(format!("content has {length} bytes; at most {most} are allowed"));
            }
            Some(Value::String(_)) => {}
            Some(_) => return Err("content must be a text".to_owned()),
            None => return Err("content is missing".to_owned()),
        }
        match message.get("timestamp") {
            Some(timestamp) if is_time(timestamp) => Ok(()),
            Some(_) => Err("timestamp must be a number of milliseconds or a time like 2026-01-02T03:04:05Z".to_owned()),
            None => Err("timestamp is missing".to_owned()),
        }
    }
}

fn is_time(value: &Value) -> bool {
    match value {
        Value::Number(number) => number.as_f64().is_some_and(|number| number.is_finite() && number >= 0.0),
        Value::String(text) => text.parse::<Timestamp>().is_ok() || text.parse::<DateTime>().is_ok(),
        _ => false,
    }
}

impl Protocol for Gateway {
    fn on_open(&mut self, now: Now, effects: &mut Vec<Effect>) {
        effects.push(self.say("SYSTEM", &format!("welcome; you are {}", self.client), &Reference::default(), now));
    }

    fn on_message(&mut self, message: Message, now: Now, effects: &mut Vec<Effect>) {
        let (reference, checked) = self.check(&message);
        if let Err(why) = checked {
            effects.push(self.say("ERROR", &why, &reference, now));
            effects.push(Effect::Fault(why));
            return;
        }
        match self.settings.behind {
            Behind::Others => {
                effects.push(Effect::Publish(message));
                effects.push(self.say("ACK", "published", &reference, now));
            }
            Behind::Broker if self.unsettled.len() >= self.settings.max_unsettled => {
                let why = format!("{} still pending; wait for the answers", counted(self.unsettled.len(), "message"));
                effects.push(self.say("ERROR", &why, &reference, now));
                effects.push(Effect::Fault(why));
            }
            Behind::Broker => {
                let ticket = self.next;
                self.next += 1;
                self.unsettled.insert(ticket, reference);
                effects.push(Effect::Deliver(message, Some(ticket)));
            }
        }
    }

    fn on_outgoing(&mut self, message: Message, _ticket: Option<Ticket>, _now: Now, effects: &mut Vec<Effect>) {
        effects.push(Effect::Send(message));
    }

    fn on_outcome(&mut self, ticket: Ticket, outcome: Outcome, now: Now, effects: &mut Vec<Effect>) {
        let Some(reference) = self.unsettled.remove(&ticket) else { return };
        effects.push(match outcome {
            Outcome::Taken => self.say("ACK", "published", &reference, now),
            Outcome::Rejected(why) => self.say("ERROR", &format!("not published: {why}"), &reference, now),
        });
    }
}

#[cfg(test)]
#[path = "gateway_tests.rs"]
mod tests;
