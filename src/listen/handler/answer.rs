//! The handlers that need no more than the message: echo, broadcast, replies.

use std::task::{Context, Poll};

use super::answers::Answers;
use super::{Actions, Handler};
use crate::filter::Filter;
use crate::filter::jq::TOO_DEEP;
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
pub struct ReplyFilter(Answers);

impl ReplyFilter {
    /// With this filter; text that is not JSON is given to it with `raw_input`.
    pub fn new(filter: Filter, raw_input: bool) -> Self {
        Self(Answers::new(filter, "jq", raw_input))
    }
}

impl Handler for ReplyFilter {
    fn on_message(&mut self, message: Message, actions: &mut Actions) {
        let input = self.0.input(&message, (&**actions.mailbox).into());
        if let Some(reason) = &input.unread {
            let what = if reason.starts_with(TOO_DEEP) { reason } else { "that is not JSON" };
            actions.hub.offence(actions.mailbox.id, ErrorKind::Filter, &format!("no answer to a message {what}"));
            return;
        }
        self.0.answer(input, actions);
    }

    fn poll(&mut self, cx: &mut Context<'_>, actions: &mut Actions) {
        self.0.poll(cx, actions);
    }

    fn poll_can_receive(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        // `poll`, which goes before this in each pass of the session, has registered the waker.
        if self.0.is_waiting() { Poll::Pending } else { Poll::Ready(()) }
    }

    fn is_answering(&self) -> bool {
        self.0.is_waiting()
    }

    fn is_busy(&self) -> bool {
        self.0.is_waiting()
    }
}
