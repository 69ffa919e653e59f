//! The other side of a proxied session: the connection to the server behind.
//!
//! Leaves the client to `near`. Invariant: what was not written to the server's socket when the connection ends is settled as
//! dropped; what the client sent before it closed goes out before the Close.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::pair::{Ending, Pair};
use super::{Pairs, Ways};
use crate::client::voice::Voice;
use crate::net::connection::Incoming;
use crate::observe::counters::DropReason;
use crate::pipeline::flow::Flow;
use crate::pipeline::watch::View;
use crate::queue::end::Ingress as _;
use crate::queue::envelope::{Envelope, Origin};
use crate::queue::stop::{Step, Stop};
use crate::session::{End, Outgoing, Peer, Replies};

/// The side of the server behind.
pub(super) struct Far {
    pair: Rc<Pair>,
    back: Rc<Flow>,
    ways: Ways,
    origin: Rc<Origin>,
    voice: Voice,
    view: Rc<View>,
    stop: Rc<Stop>,
    seq: u64,
    /// Handed to the connection, not yet written to its socket.
    in_flight: VecDeque<Envelope>,
    /// Called when everything is.
    flushed: Option<Waker>,
    closing: bool,
    close_timeout: Duration,
    give_up: Option<Pin<Box<Sleep>>>,
}

impl Far {
    /// A connection that has just been opened.
    pub(super) fn new(of: &Pairs, pair: Rc<Pair>, back: Rc<Flow>, ways: Ways, origin: Rc<Origin>) -> Self {
        let mut voice = Voice::new(&of.opening, &origin.endpoint, &of.io.notice);
        voice.opened();
        Self {
            pair,
            back,
            ways,
            origin,
            voice,
            view: Rc::clone(&of.view),
            stop: Rc::clone(&of.io.stop),
            seq: 0,
            in_flight: VecDeque::new(),
            flushed: None,
            closing: false,
            close_timeout: of.driver.close_timeout,
            give_up: None,
        }
    }

    /// The connection has ended.
    pub(super) fn ended(&mut self, end: &End) {
        if let End::Closed { close, by_us: false } = end {
            self.pair.far_closes(close);
        }
        self.ways.drop_all(&mut self.in_flight);
        self.pair.far_goes();
        self.back.end();
    }
}

impl Peer for Far {
    fn on_incoming(&mut self, incoming: Incoming, replies: &mut Replies) {
        if let Incoming::Message(message) = &incoming {
            self.voice.hear(message);
            let _ = self.poll_done(&mut Context::from_waker(Waker::noop()), replies);
        }
        match incoming {
            Incoming::Message(message) if self.pair.near_is_gone() => {
                self.back.lose(&self.origin.session, 1, Some(message.len()), DropReason::ReceiverGone);
            }
            Incoming::Message(message) => {
                self.seq += 1;
                self.back.push(&self.origin, self.seq, message, None);
            }
            Incoming::Ping(payload) => self.pair.control_to_near(Outgoing::Ping(payload)),
            Incoming::Pong(payload) => self.pair.control_to_near(Outgoing::Pong(payload)),
            Incoming::Close(close) => self.pair.far_closes(&close),
        }
    }

    fn poll_done(&mut self, cx: &mut Context<'_>, replies: &mut Replies) -> Poll<()> {
        self.voice.poll_answer(cx).map(|answer| replies.extend(answer))
    }

    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Outgoing> {
        if self.closing {
            return Poll::Pending;
        }
        // The client's side is cut off first, and wakes this one.
        if self.stop.step() >= Step::Aborting {
            return Poll::Ready(Outgoing::Abort);
        }
        if let Some(frame) = self.pair.poll_control_to_far(cx) {
            return Poll::Ready(frame);
        }
        if let Some(message) = self.voice.poll_own(cx) {
            return Poll::Ready(Outgoing::Message(message));
        }
        if !self.voice.is_done() && !self.pair.near_is_gone() {
            // The client's turn comes after that.
            return Poll::Pending;
        }
        match self.ways.lane.poll_next(cx) {
            Poll::Ready(Some(envelope)) => {
                let message = envelope.message.clone();
                self.in_flight.push_back(envelope);
                Poll::Ready(Outgoing::Message(message))
            }
            Poll::Ready(None) => match self.pair.near_ending() {
                Ending::Closed(close) => {
                    self.closing = true;
                    Poll::Ready(Outgoing::Close(close))
                }
                Ending::Lost if self.in_flight.is_empty() => Poll::Ready(Outgoing::Abort),
                Ending::Lost => {
                    // What was handed over goes out first.
                    self.flushed = Some(cx.waker().clone());
                    Poll::Pending
                }
            },
            Poll::Pending => Poll::Pending,
        }
    }

    fn poll_urgent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.pair.watch_from_far(cx);
        if self.stop.step() >= Step::Aborting {
            return Poll::Ready(());
        }
        // A server that does not read does not keep what the client left forever.
        let _ = self.pair.near_is_gone().then(|| {
            let deadline = Instant::now() + self.close_timeout;
            self.give_up.get_or_insert_with(|| Box::pin(sleep_until(deadline)))
        });
        match &mut self.give_up {
            Some(give_up) if !self.closing => give_up.as_mut().poll(cx),
            _ => Poll::Pending,
        }
    }

    fn poll_can_receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        std::task::ready!(self.view.poll_room(cx));
        if self.pair.near_is_gone() { Poll::Ready(()) } else { self.back.poll_ready(cx) }
    }

    fn on_progress(&mut self) {
        // It reads, so it is given the rest as well.
        self.give_up = None;
    }

    fn on_flushed(&mut self) {
        if !self.in_flight.is_empty() {
            self.give_up = None;
        }
        self.ways.deliver(self.in_flight.drain(..));
        if let Some(waker) = self.flushed.take() {
            waker.wake();
        }
    }
}
