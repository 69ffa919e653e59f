//! The client's side of a proxied session.
//!
//! Leaves the other to `far`. Invariant: what was not written to the client's socket when it leaves is settled as dropped.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::pair::{Ending, Pair};
use crate::listen::handler::{Actions, Handler};
use crate::message::Message;
use crate::net::connection::Incoming;
use crate::observe::counters::DropReason;
use crate::pipeline::flow::Flow;
use crate::queue::end::Inlet as _;
use crate::queue::envelope::{Envelope, Origin};
use crate::queue::lane::Lane;
use crate::queue::ledger::Settlement;
use crate::session::Outgoing;

/// A client's side.
pub struct Near {
    pair: Rc<Pair>,
    there: Rc<Flow>,
    lane: Rc<Lane>,
    origin: Rc<Origin>,
    seq: u64,
    /// Handed to the connection, not yet written to its socket.
    in_flight: VecDeque<Envelope>,
}

impl Near {
    /// A client that has just been let in.
    pub fn new(pair: Rc<Pair>, there: Rc<Flow>, lane: Rc<Lane>, origin: Rc<Origin>) -> Self {
        Self { pair, there, lane, origin, seq: 0, in_flight: VecDeque::new() }
    }
}

/// Settles all that waits as dropped.
pub(super) fn drop_all(in_flight: &mut VecDeque<Envelope>, lane: &Lane) {
    let rest = std::iter::from_fn(|| lane.try_next());
    for envelope in in_flight.drain(..).chain(rest) {
        envelope.settle(Settlement::Dropped(DropReason::ReceiverGone));
    }
}

/// Settles what has been written as delivered.
pub(super) fn deliver_all(in_flight: &mut VecDeque<Envelope>, lane: &Lane) {
    for envelope in in_flight.drain(..) {
        lane.delivered.one();
        envelope.settle(Settlement::Delivered);
    }
}

impl Handler for Near {
    fn on_message(&mut self, message: Message, _actions: &mut Actions) {
        if self.pair.far_is_gone() {
            return self.there.lose(1, DropReason::ReceiverGone);
        }
        self.seq += 1;
        self.there.push(&self.origin, self.seq, message, None);
    }

    fn on_control(&mut self, incoming: &Incoming) {
        match incoming {
            Incoming::Ping(payload) => self.pair.control_to_far(Outgoing::Ping(payload.clone())),
            Incoming::Pong(payload) => self.pair.control_to_far(Outgoing::Pong(payload.clone())),
            Incoming::Close(close) => self.pair.near_closes(close),
            Incoming::Message(_) => {}
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, actions: &mut Actions) {
        if !actions.is_idle() {
            return;
        }
        match self.lane.poll_next(cx) {
            Poll::Ready(Some(envelope)) => {
                actions.send(envelope.message.clone());
                self.in_flight.push_back(envelope);
            }
            Poll::Ready(None) => {
                actions.mailbox.watch(cx);
                match self.pair.far_ending() {
                    Ending::Closed(close) => actions.close(close),
                    Ending::Lost if self.in_flight.is_empty() => actions.cut(),
                    // What was handed over goes out first.
                    Ending::Lost => {}
                }
            }
            Poll::Pending => {}
        }
    }

    fn poll_can_receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.pair.far_is_gone() { Poll::Ready(()) } else { self.there.poll_ready(cx) }
    }

    fn on_flushed(&mut self) {
        let had_some = !self.in_flight.is_empty();
        deliver_all(&mut self.in_flight, &self.lane);
        if had_some && self.pair.far_is_gone() {
            // Now it may end.
            self.pair.far_goes();
        }
    }

    fn is_busy(&self) -> bool {
        !self.in_flight.is_empty() || !self.lane.is_empty()
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        self.pair.near_goes();
        self.there.end();
        drop_all(&mut self.in_flight, &self.lane);
    }
}
