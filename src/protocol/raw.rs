//! No protocol: messages pass as they are, both ways.

use super::{Effect, Now, Protocol, Ticket};
use crate::message::Message;

/// A session that speaks plain messages.
#[derive(Debug)]
pub(crate) struct Raw;

impl Protocol for Raw {
    fn on_open(&mut self, _now: Now, _effects: &mut Vec<Effect>) {}

    fn on_message(&mut self, message: Message, _now: Now, effects: &mut Vec<Effect>) {
        effects.push(Effect::Deliver(message, None));
    }

    fn is_timeless(&self) -> bool {
        true
    }

    fn on_outgoing(&mut self, message: Message, _ticket: Option<Ticket>, _now: Now, effects: &mut Vec<Effect>) {
        effects.push(Effect::Send(message));
    }
}
