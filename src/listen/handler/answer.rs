//! The handlers that need no more than the message: echo, broadcast, replies.

use super::{Actions, Handler};
use crate::filter::{Filter, Json};
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
    prev: Option<Box<Json>>,
}

impl ReplyFilter {
    /// With this filter; `$prev` is null at first.
    pub fn new(filter: Filter) -> Self {
        Self { filter, prev: None }
    }
}

impl Handler for ReplyFilter {
    fn on_message(&mut self, message: Message, actions: &mut Actions) {
        let Ok(json) = Json::parse(message.payload()) else { return };
        let prev = self.prev.take().map_or_else(Json::null, |prev| *prev);
        let result = self.filter.run(&json, &Json::null(), &prev, &mut |value| {
            let text = value.as_str().map_or_else(|| value.to_compact_string(), |text| text.to_string());
            actions.send(Message::text(text));
            std::ops::ControlFlow::Continue(())
        });
        self.prev = Some(Box::new(json));
        if let Err(error) = result {
            actions.hub.fault(actions.mailbox.id, ErrorKind::Filter, &format!("jq: {error}"));
        }
    }
}
