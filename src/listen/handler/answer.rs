//! The handlers that need no more than the message: echo, broadcast, replies.

use super::told::Told;
use super::{Actions, Handler};
use crate::filter::Filter;
use crate::message::Message;
use crate::observe::counters::ErrorKind;

/// Does nothing with messages; the hub has counted and printed them.
pub struct Quiet;

impl Handler for Quiet {
    fn on_message(&mut self, _message: Message, _actions: &mut Actions) {}
}

/// Sends each message back.
pub struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, message: Message, actions: &mut Actions) {
        actions.send(message);
    }
}

/// Sends each message to all.
pub struct Broadcast {
    /// Not back to its sender.
    pub no_self: bool,
}

impl Handler for Broadcast {
    fn on_message(&mut self, message: Message, actions: &mut Actions) {
        let except = self.no_self.then_some(actions.mailbox.id);
        actions.send_to_all(&message.detached(), except);
    }
}

/// Answers each message with the same one.
pub struct Reply(pub Message);

impl Handler for Reply {
    fn on_message(&mut self, _message: Message, actions: &mut Actions) {
        actions.send(self.0.clone());
    }
}

/// Answers each message that is JSON with what a filter yields.
pub struct ReplyFilter {
    filter: Filter,
    told: Told,
}

impl ReplyFilter {
    /// With this filter.
    pub fn new(filter: Filter) -> Self {
        Self { filter, told: Told::default() }
    }
}

impl Handler for ReplyFilter {
    fn on_message(&mut self, message: Message, actions: &mut Actions) {
        let input = self.told.message(&message, (&**actions.mailbox).into());
        if !input.is_json {
            actions.hub.offence(actions.mailbox.id, ErrorKind::Filter, "no answer to a message that is not JSON");
            return;
        }
        let result = input.run(&self.filter, |value| actions.send(Message::text(value.to_plain_string())));
        if let Err(error) = result {
            actions.hub.fault(actions.mailbox.id, ErrorKind::Filter, &format!("jq: {error}"));
        }
    }
}
