//! `--ack`: beside what another handler does with a message, its sender is told.
//!
//! Invariant: the answer to a message comes after everything the other handler sent for it.

use std::task::{Context, Poll};

use super::answers::Answers;
use super::told::Input;
use super::{Actions, Handler};
use crate::filter::Filter;
use crate::message::Message;
use crate::net::connection::Incoming;

/// A handler whose messages are acknowledged.
pub(super) struct Acknowledged {
    inner: Box<dyn Handler>,
    answers: Answers,
    /// A message that `inner` still answers.
    held: Option<Input<'static>>,
}

impl Acknowledged {
    /// Answers what `inner` is given with what the filter yields.
    pub(super) fn new(inner: Box<dyn Handler>, filter: Filter) -> Self {
        Self { inner, answers: Answers::new(filter, "--ack", false), held: None }
    }
}

impl Handler for Acknowledged {
    fn on_open(&mut self, actions: &mut Actions) {
        self.inner.on_open(actions);
    }

    fn on_message(&mut self, message: Message, actions: &mut Actions) {
        let input = self.answers.input(&message, (&**actions.mailbox).into());
        self.inner.on_message(message, actions);
        if self.inner.is_answering() {
            self.held = Some(input.detached());
        } else {
            self.answers.answer(&input, actions);
        }
    }

    fn leaves_printing(&self) -> bool {
        self.inner.leaves_printing()
    }

    fn takes_outgoing(&self) -> bool {
        self.inner.takes_outgoing()
    }

    fn on_outgoing(&mut self, message: Message, actions: &mut Actions) {
        self.inner.on_outgoing(message, actions);
    }

    fn poll(&mut self, cx: &mut Context<'_>, actions: &mut Actions) {
        self.inner.poll(cx, actions);
        self.answers.poll(cx, actions);
        if !self.inner.is_answering()
            && let Some(input) = self.held.take()
        {
            self.answers.answer(&input, actions);
            self.answers.poll(cx, actions);
        }
    }

    fn poll_can_receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_can_receive(cx)
    }

    fn is_answering(&self) -> bool {
        self.held.is_some() || self.answers.is_waiting() || self.inner.is_answering()
    }

    fn on_control(&mut self, incoming: &Incoming) {
        self.inner.on_control(incoming);
    }

    fn on_flushed(&mut self) {
        self.inner.on_flushed();
    }

    fn is_busy(&self) -> bool {
        self.held.is_some() || self.answers.is_waiting() || self.inner.is_busy()
    }
}
