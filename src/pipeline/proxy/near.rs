//! The client's side of a proxied session.
//!
//! Leaves the other to `far`. Invariant: what was not written to the client's socket when it leaves is settled as dropped.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::Ways;
use super::pair::{Ending, Pair};
use crate::listen::handler::{Actions, Handler};
use crate::message::Message;
use crate::net::connection::Incoming;
use crate::observe::counters::DropReason;
use crate::pipeline::flow::Flow;
use crate::pipeline::watch::{Guest, View};
use crate::queue::end::Ingress as _;
use crate::queue::envelope::{Envelope, Origin};
use crate::session::Outgoing;

/// A client's side.
pub(super) struct Near {
    pair: Rc<Pair>,
    there: Rc<Flow>,
    ways: Ways,
    origin: Rc<Origin>,
    guest: Guest,
    view: Rc<View>,
    seq: u64,
    /// Handed to the connection, not yet written to its socket.
    in_flight: VecDeque<Envelope>,
}

impl Near {
    /// A client that has just been let in.
    pub(super) fn new(
        pair: Rc<Pair>,
        there: Rc<Flow>,
        ways: Ways,
        origin: Rc<Origin>,
        guest: Guest,
        view: Rc<View>,
    ) -> Self {
        Self { pair, there, ways, origin, guest, view, seq: 0, in_flight: VecDeque::new() }
    }
}

impl Handler for Near {
    fn on_message(&mut self, message: Message, _actions: &mut Actions) {
        if self.pair.far_is_gone() {
            return self.there.lose(&self.origin.session, 1, Some(message.len()), DropReason::ReceiverGone);
        }
        self.guest.is_source_of(&self.origin);
        self.seq += 1;
        self.guest.came(&message);
        self.there.push(&self.origin, self.seq, message, None);
    }

    fn on_control(&mut self, incoming: &Incoming) {
        self.guest.incoming(incoming);
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
        match self.ways.lane.poll_next(cx) {
            Poll::Ready(Some(envelope)) => {
                self.guest.went(&envelope.message);
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
        std::task::ready!(self.view.poll_room(cx));
        if self.pair.far_is_gone() { Poll::Ready(()) } else { self.there.poll_ready(cx) }
    }

    fn on_flushed(&mut self) {
        let had_some = !self.in_flight.is_empty();
        self.ways.deliver(self.in_flight.drain(..));
        if had_some && self.pair.far_is_gone() {
            // Now it may end.
            self.pair.far_goes();
        }
    }

    fn is_busy(&self) -> bool {
        !self.in_flight.is_empty() || !self.ways.lane.is_empty()
    }
}

impl Drop for Near {
    fn drop(&mut self) {
        self.pair.near_goes();
        self.there.end();
        self.ways.drop_all(&mut self.in_flight);
    }
}
