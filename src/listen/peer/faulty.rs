//! A session of the server that behaves badly on purpose: carries out what its faults decide.
//!
//! Stands between what the session wants sent and its connection. Invariants: every fault is counted when it happens; a
//! Close of whatever cause goes out behind what is under way.

use std::task::{Context, Poll};

use super::ServerPeer;
use crate::listen::alarm::Alarm;
use crate::listen::faults::{Fate, Faults};
use crate::listen::hub::Hub;
use crate::message::Message;
use crate::message::clock;
use crate::message::event::Direction;
use crate::observe::counters::{DropReason, Fault};
use crate::session::Outgoing;

/// The faults of a session, carried out.
pub(super) struct Faulty {
    pub(super) faults: Faults,
    /// Answers in the mailbox that go out before an end on purpose.
    pub(super) owed: usize,
    alarm: Alarm,
    stall_ends: Alarm,
}

impl Faulty {
    pub(super) fn new(faults: Faults) -> Self {
        Self { faults, owed: 0, alarm: Alarm::default(), stall_ends: Alarm::default() }
    }

    pub(super) fn must_end(&self) -> bool {
        self.faults.must_end(clock::now())
    }

    pub(super) fn is_full(&self, hub: &Hub) -> bool {
        self.faults.is_full(hub.settings.queue_size, hub.settings.queue_bytes)
    }

    pub(super) fn may_receive(&self, hub: &Hub) -> bool {
        !self.faults.is_due(clock::now()) && !self.is_full(hub) && !self.must_end()
    }

    pub(super) fn send(&mut self, id: u64, message: &Message, is_answer: bool, hub: &Hub) {
        let Fate { lost, corrupted, duplicated, delayed } = self.faults.send(message, is_answer, clock::now());
        let counters = &hub.counters;
        counters.faults.add(Fault::Delayed, delayed);
        for (happened, fault) in [(lost, Fault::Lost), (corrupted, Fault::Corrupted), (duplicated, Fault::Duplicated)] {
            counters.faults.add(fault, happened.into());
        }
        if lost {
            hub.dropped(id, Direction::Out, DropReason::Loss, message.len());
        }
    }

    pub(super) fn poll_may_run(&mut self, hub: &Hub, cx: &mut Context<'_>) -> Poll<()> {
        let Some((end, is_new)) = self.faults.stalls_until(clock::now()) else { return Poll::Ready(()) };
        if is_new {
            hub.counters.faults.one(Fault::Stalled);
        }
        self.stall_ends.poll(end, cx)
    }
}

impl ServerPeer {
    /// What the session wants sent, with faults in between.
    pub(super) fn poll_faulty(&mut self, faulty: &mut Faulty, cx: &mut Context<'_>) -> Poll<Outgoing> {
        loop {
            let now = clock::now();
            if self.hub.is_stopping() {
                faulty.faults.hurry(now);
            }
            let must_end = faulty.must_end();
            if must_end {
                for message in faulty.faults.keep_answers() {
                    self.hub.dropped(self.mailbox.id, Direction::Out, DropReason::ReceiverGone, message.len());
                }
            }
            if let Some(message) = faulty.faults.next(now) {
                return Poll::Ready(Outgoing::Message(message));
            }
            if must_end && faulty.owed > 0 {
                faulty.owed -= 1;
                if let Some(message) = self.mailbox.poll_next(cx) {
                    self.act(|handler, actions| handler.on_outgoing(message, actions));
                    self.sends.drain(..).for_each(|message| faulty.send(self.mailbox.id, &message, true, &self.hub));
                }
                continue;
            }
            if faulty.faults.waiting() == 0 {
                if let Some(close) = self.phase.held().cloned() {
                    return self.close_with(close);
                }
                if must_end {
                    self.hub.counters.faults.one(Fault::Closed);
                    return self.close_at_once(faulty.faults.close());
                }
            }
            if !must_end && self.phase.held().is_none() && !faulty.is_full(&self.hub) {
                match self.poll_next(cx) {
                    Poll::Ready(Outgoing::Message(message)) => {
                        faulty.send(self.mailbox.id, &message, false, &self.hub);
                        continue;
                    }
                    Poll::Ready(Outgoing::Close(close)) => {
                        // What is under way goes out before it.
                        self.phase.hold(close);
                        continue;
                    }
                    Poll::Ready(other) => return Poll::Ready(other),
                    Poll::Pending => {}
                }
            }
            self.mailbox.watch(cx);
            match faulty.faults.deadline() {
                Some(due) if faulty.alarm.poll(due, cx).is_ready() => {}
                _ => return Poll::Pending,
            }
        }
    }
}
