//! The handlers that need no more than the message: echo, broadcast, replies.

use std::rc::Rc;
use std::task::Context;

use super::answers::{Answers, Audience};
use super::{Actions, Handler};
use crate::filter::jq::TOO_DEEP;
use crate::filter::{Draft, Filler, Filter};
use crate::message::Message;
use crate::observe::counters::ErrorKind;

/// Does nothing with messages; the hub has counted and printed them.
pub(crate) struct Quiet;

impl Handler for Quiet {
    fn on_message(&mut self, _message: Message, _actions: &mut Actions) {}
}

/// Sends each message back.
pub(crate) struct Echo;

impl Handler for Echo {
    fn on_message(&mut self, message: Message, actions: &mut Actions) {
        actions.send(message);
    }
}

/// Sends each message to all.
pub(crate) struct Broadcast {
    /// Not back to its sender.
    pub no_self: bool,
}

impl Handler for Broadcast {
    fn on_message(&mut self, message: Message, actions: &mut Actions) {
        let except = self.no_self.then_some(actions.mailbox.id);
        actions.send_to_all(&message.detached(), except);
    }
}

/// Answers each message with the same draft.
pub(crate) struct Reply(pub Rc<Answer>);

/// A draft, and the number that it is filled in with next.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The draft.
    pub draft: Draft,
    /// Fills it in, for all sessions.
    pub filler: Filler,
}

impl Handler for Reply {
    fn on_message(&mut self, _message: Message, actions: &mut Actions) {
        match self.0.filler.fill(&self.0.draft, "") {
            Ok(message) => actions.send(message),
            Err(error) => actions.hub.fault(actions.mailbox.id, ErrorKind::Filter, &error.to_string()),
        }
    }
}

/// Answers each message that is JSON with what a filter yields, or sends that to all.
pub(crate) struct ReplyFilter {
    answers: Answers,
    /// Whether it is given what is not JSON, too, as the string of its text or null.
    takes_all: bool,
}

impl ReplyFilter {
    /// With this filter; text that is not JSON is given to it with `raw_input`.
    pub(crate) fn new(filter: Filter, raw_input: bool) -> Self {
        Self { answers: Answers::new(filter, "jq", raw_input), takes_all: false }
    }

    /// Sends what the filter makes of each message to all.
    pub(crate) fn forwarding(filter: Filter, audience: Audience) -> Self {
        Self { answers: Answers::new(filter, "--forward-jq", false).to(audience), takes_all: true }
    }
}

impl Handler for ReplyFilter {
    fn on_message(&mut self, message: Message, actions: &mut Actions) {
        let input = self.answers.input(&message, (&**actions.mailbox).into());
        if let Some(reason) = input.unread.as_ref().filter(|_| !self.takes_all) {
            let what = if reason.starts_with(TOO_DEEP) { reason } else { "that is not JSON" };
            actions.hub.offence(actions.mailbox.id, ErrorKind::Filter, &format!("no answer to a message {what}"));
            return;
        }
        self.answers.answer(&input, actions);
    }

    fn poll(&mut self, cx: &mut Context<'_>, actions: &mut Actions) {
        self.answers.poll(cx, actions);
    }

    fn is_answering(&self) -> bool {
        self.answers.is_waiting()
    }

    fn is_busy(&self) -> bool {
        self.answers.is_waiting()
    }
}
