//! Carries out the effects of a [`Protocol`] for one session of the server.
//!
//! Leaves what to do to the protocol. What is delivered goes to standard output; it counts as taken once it has been
//! written there. Invariants: effects are carried out in order; a ticket gets exactly one outcome while the session lives.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::Context;

use tokio::time::{Instant, Sleep, sleep_until};

use super::{Actions, Handler};
use crate::message::Message;
use crate::observe::counters::ErrorKind;
use crate::protocol::{Depth, Effect, Now, Outcome, Protocol, Ticket};

/// A session that speaks a protocol.
pub struct Speaker {
    protocol: Box<dyn Protocol>,
    effects: Vec<Effect>,
    /// Printed, and up to where the output must be written for it to count as taken.
    printed: VecDeque<(Ticket, u64)>,
    told_depth: u64,
    timer: Option<Pin<Box<Sleep>>>,
    takes_outgoing: bool,
}

impl Speaker {
    /// A session at its beginning.
    pub fn new(protocol: Box<dyn Protocol>) -> Self {
        Self {
            protocol,
            effects: Vec::new(),
            printed: VecDeque::new(),
            told_depth: 0,
            timer: None,
            takes_outgoing: false,
        }
    }

    /// Lets the protocol speak and carries out what it wants, until it wants no more.
    fn speak(&mut self, actions: &mut Actions, speak: impl FnOnce(&mut dyn Protocol, Now, &mut Vec<Effect>)) {
        let now = Now::read();
        speak(&mut *self.protocol, now, &mut self.effects);
        while !self.effects.is_empty() {
            let mut taken_at_once = Vec::new();
            for effect in self.effects.drain(..) {
                match effect {
                    Effect::Send(message) => actions.send(message),
                    Effect::Deliver(message, ticket) => {
                        let position = actions.hub.print(actions.mailbox.id, &message);
                        match (ticket, position) {
                            (Some(ticket), Some(position)) => self.printed.push_back((ticket, position)),
                            (Some(ticket), None) => taken_at_once.push(ticket),
                            (None, _) => {}
                        }
                    }
                    Effect::Publish(message) => {
                        let from = actions.mailbox.id;
                        actions.send_to_all(&message.detached(), Some(from));
                    }
                    // The server does not ask what became of what it sent; requests are not counted here yet.
                    Effect::Settled(..) | Effect::Measured(_) => {}
                    Effect::Filtered => actions.hub.counters.filtered.one(),
                    Effect::Fault(text) => actions.hub.fault(actions.mailbox.id, ErrorKind::Message, &text),
                    Effect::Close(close) => actions.close(close),
                }
            }
            for ticket in taken_at_once {
                self.protocol.on_outcome(ticket, Outcome::Taken, now, &mut self.effects);
            }
        }
        self.takes_outgoing = self.protocol.takes_outgoing(now);
    }

    /// Tells the protocol what the output has taken, and how much still waits for it.
    fn settle(&mut self, cx: &mut Context<'_>, actions: &mut Actions) {
        let written = actions.hub.written();
        while let Some((ticket, position)) = self.printed.front().copied()
            && position <= written
        {
            self.printed.pop_front();
            self.speak(actions, |protocol, now, effects| protocol.on_outcome(ticket, Outcome::Taken, now, effects));
        }
        let waiting = self.printed.len() as u64;
        if waiting != self.told_depth {
            self.told_depth = waiting;
            let depth = Depth { waiting, capacity: actions.hub.settings.queue_size as u64 };
            self.speak(actions, |protocol, now, effects| protocol.on_depth(depth, now, effects));
        }
        if waiting > 0 {
            actions.hub.flush();
            actions.hub.wait(cx);
        }
    }
}

impl Handler for Speaker {
    fn on_open(&mut self, actions: &mut Actions) {
        self.speak(actions, |protocol, now, effects| protocol.on_open(now, effects));
    }

    fn on_message(&mut self, message: Message, actions: &mut Actions) {
        self.speak(actions, |protocol, now, effects| protocol.on_message(message, now, effects));
    }

    fn leaves_printing(&self) -> bool {
        false
    }

    fn takes_outgoing(&self) -> bool {
        self.takes_outgoing
    }

    fn on_outgoing(&mut self, message: Message, actions: &mut Actions) {
        self.speak(actions, |protocol, now, effects| protocol.on_outgoing(message, None, now, effects));
    }

    fn poll(&mut self, cx: &mut Context<'_>, actions: &mut Actions) {
        self.settle(cx, actions);
        while let Some(deadline) = self.protocol.deadline() {
            let deadline = Instant::from_std(deadline);
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_pending() {
                break;
            }
            self.speak(actions, |protocol, now, effects| protocol.on_time(now, effects));
            if self.protocol.deadline().is_some_and(|next| Instant::from_std(next) == deadline) {
                // It has nothing to do at its own deadline: it is asked again, not in a circle.
                cx.waker().wake_by_ref();
                break;
            }
        }
    }

    fn is_busy(&self) -> bool {
        !self.printed.is_empty() || self.protocol.unsettled() > 0
    }
}
