//! `--ack`: beside what another handler does with a message, its sender is told.
//!
//! Invariant: the answer to a message comes after everything the other handler sent for it.

use std::task::{Context, Poll};

use super::told::Told;
use super::{Actions, Handler};
use crate::filter::Filter;
use crate::message::Message;
use crate::net::connection::Incoming;
use crate::observe::counters::ErrorKind;

/// A handler whose messages are acknowledged.
pub struct Acknowledged {
    inner: Box<dyn Handler>,
    filter: Filter,
    told: Told,
}

impl Acknowledged {
    /// Answers what `inner` is given with what the filter yields.
    pub fn new(inner: Box<dyn Handler>, filter: Filter) -> Self {
        Self { inner, filter, told: Told::default() }
    }
}

impl Handler for Acknowledged {
    fn on_open(&mut self, actions: &mut Actions) {
        self.inner.on_open(actions);
    }

    fn on_message(&mut self, message: Message, actions: &mut Actions) {
        let input = self.told.message(&message, (&**actions.mailbox).into());
        self.inner.on_message(message, actions);
        let result = input.run(&self.filter, |value| actions.send(Message::text(value.to_plain_string())));
        if let Err(error) = result {
            actions.hub.fault(actions.mailbox.id, ErrorKind::Filter, &format!("--ack: {error}"));
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
    }

    fn poll_can_receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.inner.poll_can_receive(cx)
    }

    fn on_control(&mut self, incoming: &Incoming) {
        self.inner.on_control(incoming);
    }

    fn on_flushed(&mut self) {
        self.inner.on_flushed();
    }

    fn is_busy(&self) -> bool {
        self.inner.is_busy()
    }
}
