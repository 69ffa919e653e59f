//! What is said by itself in a session whose messages are only carried: the opening, with what it hears read for it.
//!
//! Leaves sending to the session's peer.

use std::rc::Rc;
use std::task::{Context, Poll};

use super::opening::{Opening, OpeningPlan};
use crate::filter::{DraftError, Json};
use crate::message::Message;

/// The opening of one session, and what tells its faults.
pub(crate) struct Voice {
    opening: Opening,
    raw_input: bool,
    needs_json: bool,
    prev: Json,
    endpoint: String,
    notice: Rc<dyn Fn(String)>,
}

impl Voice {
    /// Before the first open; faults are noticed with the name of the endpoint.
    pub(crate) fn new(plan: &Rc<OpeningPlan>, endpoint: &str, notice: &Rc<dyn Fn(String)>) -> Self {
        Self {
            opening: Opening::new(Rc::clone(plan)),
            raw_input: plan.raw_input,
            needs_json: plan.marks.needs_json(),
            prev: Json::null(),
            endpoint: endpoint.to_owned(),
            notice: Rc::clone(notice),
        }
    }

    /// A connection was opened: everything begins again.
    pub(crate) fn opened(&mut self) {
        self.opening.opened();
    }

    /// Whether everything that comes first has gone out, and nothing is waited for.
    pub(crate) fn is_done(&self) -> bool {
        self.opening.is_done()
    }

    /// Whether this connection is to go on where the last one ended.
    pub(crate) fn resumes(&self) -> bool {
        self.opening.resumes()
    }

    /// Returns what is to be said before anything else.
    pub(crate) fn poll_own(&mut self, cx: &mut Context<'_>) -> Option<Message> {
        let own = self.opening.poll_own(cx);
        self.known(own).map(|own| own.message)
    }

    /// The other side said something; what it comes to is told by [`Voice::poll_answer`], before it says more.
    pub(crate) fn hear(&mut self, message: &Message) {
        if self.needs_json
            && let Ok(json) = Json::of_message(message, self.raw_input)
        {
            self.opening.on_json(&json, &self.prev);
            self.prev = json;
        }
    }

    /// Returns the answer to what the other side said, where there is to be one.
    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.opening.poll_answer(cx).map(|answer| self.known(answer))
    }

    fn known<T>(&self, said: Result<Option<T>, DraftError>) -> Option<T> {
        said.unwrap_or_else(|error| {
            (self.notice)(format!("{}: {error}", self.endpoint));
            None
        })
    }
}
