//! A WebSocket client as an end of a pipeline: what messages mean to it, and what its connections do to the lane.
//!
//! Leaves connecting, and connecting again, to `client/`. Invariants: what was handed to a connection and not yet written to its
//! socket goes back to the lane when the connection is lost, and what was not acknowledged when the end ends; reading
//! pauses while the pipeline has no room.

mod hand;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use self::hand::Hand;
use super::watch::View;
use crate::client::engine::{Client, Engine, Next, Outcome, Waited};
use crate::client::opening::OpeningPlan;
use crate::client::outage::Missed;
use crate::client::voice::Voice;
use crate::error::Error;
use crate::exit::Exit;
use crate::message::Message;
use crate::net::connection::{CloseReason, Incoming};
use crate::net::connector::{Connector, Handshake};
use crate::protocol::conversation::Conversation;
use crate::protocol::{self, Depth, Ticket};
use crate::queue::end::{End as QueueEnd, EndError, EndIo, LocalFuture};
use crate::queue::envelope::{Envelope, Origin};
use crate::queue::lane::Lane;
use crate::queue::stop::Step;
use crate::session::driver::DriverSettings;
use crate::session::reconnect::{Attempt, Cause, Limit, ReconnectSettings, cause};
use crate::session::{End, Outgoing, Peer, Replies};

/// Messages taken out of the lane together.
const TOGETHER: usize = 32;

/// A WebSocket client.
pub(crate) struct WsClient {
    /// Makes its connections.
    pub connector: Connector,
    /// The session's name in events.
    pub session: String,
    pub opening: Rc<OpeningPlan>,
    /// What it speaks; lives as long as the session.
    pub protocol: protocol::Settings,
    /// Limits in time.
    pub driver: DriverSettings,
    /// Whether and when it is connected again.
    pub reconnect: ReconnectSettings,
    pub view: Rc<View>,
}

impl QueueEnd for WsClient {
    fn run(self: Box<Self>, io: EndIo) -> LocalFuture<'static, Result<(), EndError>> {
        Box::pin(self.converse(io))
    }
}

impl WsClient {
    async fn converse(self: Box<Self>, io: EndIo) -> Result<(), EndError> {
        let Self { connector, session, opening, protocol, driver, reconnect, view } = *self;
        let url = connector.target().to_string();
        view.set_reopens(reconnect.retries.later != Limit::Off);
        let origin = Origin::new(session, url.clone());
        let mut peer = WsPeer::new(io.clone(), origin, &opening, protocol, driver.close_timeout, view);
        match Engine::new(connector, driver, reconnect).run(&mut peer).await {
            Outcome::Over(None) => Ok(()),
            Outcome::Over(Some(_)) if peer.is_over() || !peer.has_work() => Ok(()),
            Outcome::Over(Some(end)) => Err(end_error(&Error::Ended { url, end })),
            Outcome::Failed(_) if peer.was_asked_to_close && !peer.has_work() => Ok(()),
            Outcome::Failed(error) => Err(end_error(&error)),
            Outcome::Spent { error, retries } => {
                (io.notice)(error.to_string());
                Err(end_error(&Error::RetriesSpent { url, attempts: retries }))
            }
        }
    }
}

/// An error of the core as what ends an end.
pub(super) fn end_error(error: &Error) -> EndError {
    let exit = match error.exit() {
        // It ended in order, but with work left.
        Exit::Done => Exit::Lost,
        exit => exit,
    };
    EndError { exit, text: error.to_string(), hint: error.hint() }
}

/// The session's side of the conversation.
struct WsPeer {
    voice: Voice,
    conversation: Conversation,
    protocol: protocol::Settings,
    hand: Hand,
    next_ticket: Ticket,
    closing: bool,
    finished: bool,
    close_timeout: Duration,
    give_up: Option<Pin<Box<Sleep>>>,
    /// Somebody outside wanted it closed.
    was_asked_to_close: bool,
    view: Rc<View>,
}

impl WsPeer {
    fn new(
        io: EndIo,
        origin: Rc<Origin>,
        opening: &Rc<OpeningPlan>,
        protocol: protocol::Settings,
        close_timeout: Duration,
        view: Rc<View>,
    ) -> Self {
        Self {
            voice: Voice::new(opening, &origin.endpoint, &io.notice),
            conversation: Conversation::new(protocol.session()),
            protocol,
            hand: Hand {
                io,
                origin,
                seq: 0,
                ready: VecDeque::new(),
                in_flight: VecDeque::new(),
                close: None,
                view: Rc::clone(&view),
            },
            next_ticket: 1,
            closing: false,
            finished: false,
            close_timeout,
            give_up: None,
            was_asked_to_close: false,
            view,
        }
    }

    /// A connection was opened.
    fn begin_again(&mut self) {
        self.voice.opened();
        self.closing = false;
        self.give_up = None;
        self.hand.close = None;
        self.hand.ready.clear();
        self.conversation.opened(&mut self.hand);
    }

    /// The connection is gone: what was not written to it waits again.
    fn lost(&mut self) {
        self.conversation.lost();
        // What the peer answers for, the protocol sends again by itself.
        if !self.conversation.acknowledges()
            && let Some(lane) = &self.hand.io.lane
        {
            lane.requeue(self.hand.in_flight.drain(..).map(|(_, envelope)| envelope));
        }
    }

    /// The step at which nothing more is to be done: a source has nothing to drain.
    fn last_step(&self) -> Step {
        if self.hand.io.lane.is_some() { Step::Aborting } else { Step::Draining }
    }

    /// Whether everything is done, or the end was told to be.
    fn is_over(&self) -> bool {
        self.hand.io.stop.step() >= self.last_step() || self.is_finished()
    }

    /// Whether everything was sent that will ever be.
    fn is_finished(&self) -> bool {
        self.finished && self.hand.in_flight.is_empty()
    }

    /// Whether there is something to send, now or later.
    fn has_work(&self) -> bool {
        let io = &self.hand.io;
        !self.hand.in_flight.is_empty()
            || io.lane.as_ref().is_some_and(|lane| !lane.is_empty() || (io.ingress.is_none() && !lane.has_ended()))
    }

    /// How full the pipeline behind this is.
    fn depth(&self) -> Option<Depth> {
        let (waiting, capacity) = self.hand.io.ingress.as_ref()?.depth();
        Some(Depth { waiting, capacity })
    }

    /// The next message of the lane, as the protocol wants it sent.
    fn poll_lane(&mut self, lane: &Lane, cx: &mut Context<'_>) -> Poll<Option<()>> {
        let Some(envelope) = std::task::ready!(lane.poll_next(cx)) else { return Poll::Ready(None) };
        self.take_out(envelope);
        Poll::Ready(Some(()))
    }

    /// Some of those behind it, so that not everything is looked at for each.
    fn take_more(&mut self, lane: &Lane) {
        for _ in 1..TOGETHER {
            if !self.conversation.takes_outgoing() {
                return;
            }
            let Some(envelope) = lane.try_next() else { return };
            self.take_out(envelope);
        }
    }

    fn take_out(&mut self, envelope: Envelope) {
        let message = envelope.message.clone();
        if envelope.attempts == 0 {
            self.protocol.on_published(&message);
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.hand.in_flight.push_back((ticket, envelope));
        self.conversation.outgoing(message, Some(ticket), &mut self.hand);
    }

    fn begin_close(&mut self, close: CloseReason) -> Poll<Outgoing> {
        self.closing = true;
        Poll::Ready(Outgoing::Close(close))
    }
}

impl Client for WsPeer {
    fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.hand.io.stop.poll_reached(self.last_step(), cx)
    }

    fn poll_waited(&self, cx: &mut Context<'_>) -> Poll<Waited> {
        let io = &self.hand.io;
        let gives_no_more = io.ingress.is_none() || io.stop.poll_reached(Step::Draining, cx).is_ready();
        let is_drained = io.lane.as_ref().is_some_and(|lane| lane.poll_done(cx).is_ready());
        let is_left = gives_no_more && is_drained && self.hand.in_flight.is_empty();
        if is_left || self.poll_over(cx).is_ready() { Poll::Ready(Waited::Over) } else { Poll::Pending }
    }

    fn on_connecting(&mut self) {
        self.was_asked_to_close = false;
    }

    fn on_open(&mut self, handshake: Handshake) {
        self.view.opened(&handshake);
        self.begin_again();
    }

    fn after(&mut self, end: &End, lived: Duration) -> Next {
        self.lost();
        self.view.closed(end);
        if self.is_over() {
            return Next::Over;
        }
        Next::Ask(match cause::of_end(end) {
            _ if self.was_asked_to_close => Attempt::Asked,
            // Who closes in order leaves, while there is something for it, as with 1001.
            Cause::Close(1000) if self.has_work() => Attempt::Ended { lived, cause: Cause::Close(1001) },
            cause => Attempt::Ended { lived, cause },
        })
    }

    fn on_failure(&mut self, error: &Error) {
        if let Error::Connect { cause, .. } = error {
            self.view.failed(&cause.to_string());
        }
    }

    fn on_retry(&mut self, attempt: u32, delay: Duration, error: &Error) {
        self.view.retries(attempt, delay, &error.cause());
    }

    fn missed(&self) -> Missed {
        match &self.hand.io.ingress {
            None => Missed::Nothing,
            Some(_) if self.voice.resumes() => Missed::Resumed,
            Some(_) => Missed::All,
        }
    }

    fn waiting(&self) -> usize {
        self.hand.in_flight.len() + self.hand.io.lane.as_ref().map_or(0, |lane| lane.len())
    }

    fn notice(&self, text: &str) {
        (self.hand.io.notice)(text.to_owned());
    }
}

impl Peer for WsPeer {
    fn on_incoming(&mut self, incoming: Incoming, replies: &mut Replies) {
        self.view.incoming(&incoming);
        let Incoming::Message(message) = incoming else { return };
        self.hand.origin.clock.pass_begins();
        self.voice.hear(&message);
        let _ = self.poll_done(&mut Context::from_waker(Waker::noop()), replies);
        self.conversation.message(message, &mut self.hand);
        replies.extend(self.hand.ready.drain(..));
    }

    fn poll_done(&mut self, cx: &mut Context<'_>, replies: &mut Replies) -> Poll<()> {
        self.voice.poll_answer(cx).map(|answer| replies.extend(answer))
    }

    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Outgoing> {
        if self.closing {
            return Poll::Pending;
        }
        if self.hand.io.stop.poll_reached(Step::Aborting, cx).is_ready() {
            return Poll::Ready(Outgoing::Abort);
        }
        // What was taken out together; the first messages of a connection come before everything.
        if self.voice.is_done()
            && let Some(message) = self.hand.ready.pop_front()
        {
            return Poll::Ready(Outgoing::Message(message));
        }
        if let Some(close) = self.view.poll_wish(cx) {
            self.was_asked_to_close = true;
            return self.begin_close(close);
        }
        if let Some(message) = self.voice.poll_own(cx) {
            return Poll::Ready(Outgoing::Message(message));
        }
        let depth = self.depth();
        self.conversation.poll(cx, depth, &mut self.hand);
        loop {
            if let Some(message) = self.hand.ready.pop_front() {
                return Poll::Ready(Outgoing::Message(message));
            }
            if let Some(close) = self.hand.close.take() {
                return self.begin_close(close);
            }
            if !self.voice.is_done() || !self.conversation.takes_outgoing() {
                break;
            }
            let Some(lane) = self.hand.io.lane.clone() else { break };
            match self.poll_lane(&lane, cx) {
                Poll::Ready(Some(())) => self.take_more(&lane),
                Poll::Ready(None) => {
                    self.finished = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        // A sink has done its work; a source stops when it is told to. Who is both goes on receiving.
        let is_done = if self.hand.io.ingress.is_some() {
            let drained = self.hand.io.lane.is_none() || self.is_finished();
            self.hand.io.stop.poll_reached(Step::Draining, cx).is_ready() && drained
        } else {
            self.is_finished()
        };
        if is_done && self.conversation.unsettled() == 0 {
            return self.begin_close(CloseReason::new(1000, ""));
        }
        Poll::Pending
    }

    fn poll_urgent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.hand.io.stop.poll_reached(Step::Aborting, cx).is_ready() {
            return Poll::Ready(());
        }
        if self.closing || self.hand.io.stop.poll_reached(self.last_step(), cx).is_pending() {
            return Poll::Pending;
        }
        let deadline = Instant::now() + self.close_timeout;
        self.give_up.get_or_insert_with(|| Box::pin(sleep_until(deadline))).as_mut().poll(cx)
    }

    fn on_sent(&mut self, outgoing: &Outgoing) {
        self.view.outgoing(outgoing);
    }

    fn on_replied(&mut self, message: &Message) {
        self.view.sent(message);
    }

    fn on_pinged(&mut self, payload: &[u8]) {
        self.view.outgoing(&Outgoing::Ping(Bytes::copy_from_slice(payload)));
    }

    fn on_pass_end(&mut self) {
        self.hand.origin.clock.pass_ends();
    }

    fn on_round_trip(&mut self, time: Duration) {
        self.view.round_trip(time);
    }

    fn poll_can_receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The answer to our close frame is awaited even when reading is paused.
        if !self.closing {
            std::task::ready!(self.view.poll_valve(cx));
        }
        std::task::ready!(self.view.poll_room(cx));
        self.hand.io.ingress.as_ref().map_or(Poll::Ready(()), |ingress| ingress.poll_ready(cx))
    }

    fn on_flushed(&mut self) {
        if self.hand.ready.is_empty()
            && !self.conversation.acknowledges()
            && let Some(lane) = &self.hand.io.lane
        {
            for (_, envelope) in self.hand.in_flight.drain(..) {
                lane.took(envelope);
            }
            // With the last one settled there may be a Close to send.
            if self.finished {
                self.conversation.wake();
            }
        }
    }
}
