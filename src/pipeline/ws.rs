//! A WebSocket client as an end of a pipeline: connects, speaks its protocol, connects again.
//!
//! Leaves the loop of a connection to `session/`. Invariants: what was handed to a connection and not yet written to its
//! socket goes back to the lane when the connection is lost; reading pauses while the pipeline has no room.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::dispatch::RetrySettings;
use crate::error::{Error, end_exit};
use crate::exit::Exit;
use crate::filter::Json;
use crate::message::Message;
use crate::net::connection::{CloseReason, Incoming};
use crate::net::connector::Connector;
use crate::observe::counters::{DropReason, Label};
use crate::protocol::{Depth, Effect, Now, Outcome, Protocol, Ticket};
use crate::queue::end::{End, EndError, EndIo, LocalFuture};
use crate::queue::envelope::{Envelope, Origin};
use crate::queue::lane::Lane;
use crate::queue::ledger::{Safety, Settlement};
use crate::queue::stop::Step;
use crate::session::driver::DriverSettings;
use crate::session::opening::{Opening, OpeningPlan};
use crate::session::retry::is_worth_retrying;
use crate::session::{Driver, Outgoing, Peer, Replies};

/// A WebSocket client.
pub struct WsClient {
    /// Makes its connections.
    pub connector: Connector,
    /// The session's name in events.
    pub session: String,
    /// What it says by itself.
    pub opening: Rc<OpeningPlan>,
    /// What it speaks; lives as long as the session.
    pub protocol: Box<dyn Protocol>,
    /// Limits in time.
    pub driver: DriverSettings,
    /// Connecting again; `most: Some(0)` never does.
    pub retry: RetrySettings,
}

impl End for WsClient {
    fn run(self: Box<Self>, io: EndIo) -> LocalFuture<'static, Result<(), EndError>> {
        Box::pin(self.converse(io))
    }
}

impl WsClient {
    async fn converse(self: Box<Self>, io: EndIo) -> Result<(), EndError> {
        let Self { connector, session, opening, protocol, driver, retry } = *self;
        let url = connector.target().to_string();
        let mut peer =
            WsPeer::new(io.clone(), Origin::new(session, url.clone()), opening, protocol, driver.close_timeout);
        let mut failures = 0_u32;
        loop {
            let connecting = io.stop.unless(peer.last_step(), connector.connect());
            let Some(connected) = connecting.await else { return Ok(()) };
            let (error, again) = match connected {
                Ok((mut connection, _)) => {
                    if failures > 0 {
                        (io.notice)(format!("{url}: connected again after {failures} retries"));
                    }
                    failures = 0;
                    peer.opened();
                    let end = Driver::new(&mut connection, &mut peer, driver).run().await;
                    peer.lost();
                    if io.stop.step() >= peer.last_step() || peer.is_finished() {
                        return Ok(());
                    }
                    if end_exit(&end) == Exit::Done && !peer.has_work() {
                        return Ok(());
                    }
                    (Error::Ended { url: url.clone(), end }, true)
                }
                Err(cause) => {
                    let again = is_worth_retrying(&cause);
                    (Error::Connect { url: url.clone(), cause }, again)
                }
            };
            let most = if again { retry.most.unwrap_or(u32::MAX) } else { 0 };
            if failures >= most {
                if failures > 0 {
                    (io.notice)(format!("{error}"));
                    return Err(end_error(&Error::RetriesSpent { url, attempts: failures }));
                }
                return Err(end_error(&error));
            }
            failures += 1;
            let wait = retry.backoff.wait(failures, fastrand::f64());
            (io.notice)(format!("{error}; connecting again in {:.1} s (retry {failures})", wait.as_secs_f64()));
            if io.stop.unless(peer.last_step(), sleep(wait)).await.is_none() {
                return Ok(());
            }
        }
    }
}

fn end_error(error: &Error) -> EndError {
    let exit = match error.exit() {
        // It ended in order, but with work left.
        Exit::Done => Exit::Lost,
        exit => exit,
    };
    EndError { exit, text: error.to_string(), hint: error.hint() }
}

/// Outcomes of deliveries, told by whoever settles them.
#[derive(Default)]
struct Outcomes {
    told: RefCell<Vec<(Ticket, Outcome)>>,
    waker: RefCell<Option<Waker>>,
}

/// The session's side of the conversation.
struct WsPeer {
    io: EndIo,
    origin: Rc<Origin>,
    seq: u64,
    opening: Opening,
    needs_json: bool,
    protocol: Box<dyn Protocol>,
    effects: Vec<Effect>,
    outcomes: Rc<Outcomes>,
    /// To be sent before anything else.
    ready: VecDeque<Message>,
    /// Handed to the connection, or to the protocol, and not settled.
    in_flight: VecDeque<(Ticket, Envelope)>,
    next_ticket: Ticket,
    close: Option<CloseReason>,
    closing: bool,
    finished: bool,
    timer: Option<Pin<Box<Sleep>>>,
    told_depth: (u64, u64),
    prev: Json,
    close_timeout: Duration,
    give_up: Option<Pin<Box<Sleep>>>,
}

impl WsPeer {
    fn new(
        io: EndIo,
        origin: Rc<Origin>,
        opening: Rc<OpeningPlan>,
        protocol: Box<dyn Protocol>,
        close_timeout: Duration,
    ) -> Self {
        Self {
            io,
            origin,
            seq: 0,
            needs_json: opening.needs_json(),
            opening: Opening::new(opening),
            protocol,
            effects: Vec::new(),
            outcomes: Rc::default(),
            ready: VecDeque::new(),
            in_flight: VecDeque::new(),
            next_ticket: 1,
            close: None,
            closing: false,
            finished: false,
            timer: None,
            told_depth: (0, 1),
            prev: Json::null(),
            close_timeout,
            give_up: None,
        }
    }

    /// A connection was opened.
    fn opened(&mut self) {
        self.opening.opened();
        self.closing = false;
        self.close = None;
        self.give_up = None;
        self.ready.clear();
        self.speak(|protocol, now, effects| protocol.on_open(now, effects));
    }

    /// The connection is gone: what was not written to it waits again.
    fn lost(&mut self) {
        self.protocol.on_lost();
        // What the peer answers for, the protocol sends again by itself.
        if !self.protocol.acknowledges()
            && let Some(lane) = &self.io.lane
        {
            lane.put_back(self.in_flight.drain(..).map(|(_, envelope)| envelope));
        }
    }

    /// The step at which nothing more is to be done: a source has nothing to drain.
    fn last_step(&self) -> Step {
        if self.io.lane.is_some() { Step::Aborting } else { Step::Draining }
    }

    /// Whether everything was sent that will ever be.
    fn is_finished(&self) -> bool {
        self.finished && self.in_flight.is_empty()
    }

    /// Whether there is something to send, now or later.
    fn has_work(&self) -> bool {
        self.io.lane.as_ref().is_some_and(|lane| !lane.is_empty() || (self.io.inlet.is_none() && !lane.has_ended()))
    }

    /// Lets the protocol speak and carries out what it wants.
    fn speak(&mut self, speak: impl FnOnce(&mut dyn Protocol, Now, &mut Vec<Effect>)) {
        let now = Now::read();
        speak(&mut *self.protocol, now, &mut self.effects);
        while !self.effects.is_empty() {
            let mut taken = Vec::new();
            for effect in self.effects.drain(..) {
                match effect {
                    Effect::Send(message) => self.ready.push_back(message),
                    // To a client, whoever else there is stands behind the pipeline too.
                    Effect::Publish(message) => {
                        deliver(&self.io, &self.outcomes, &self.origin, &mut self.seq, message, None);
                    }
                    Effect::Deliver(message, ticket) => {
                        if !deliver(&self.io, &self.outcomes, &self.origin, &mut self.seq, message, ticket) {
                            taken.extend(ticket);
                        }
                    }
                    Effect::Filtered => {
                        if let Some((_, envelope)) = self.in_flight.pop_back() {
                            envelope.settle(Settlement::Filtered);
                        }
                    }
                    Effect::Settled(ticket, outcome) => settle(&self.io, &mut self.in_flight, ticket, outcome),
                    Effect::Measured(_) => {}
                    Effect::Fault(text) => (self.io.notice)(format!("{}: {text}", self.origin.endpoint)),
                    Effect::Close(close) => {
                        self.close.get_or_insert(close);
                    }
                }
            }
            for ticket in taken {
                self.protocol.on_outcome(ticket, Outcome::Taken, now, &mut self.effects);
            }
        }
    }

    /// What has changed around the protocol since it was last asked.
    fn inform(&mut self, cx: &mut Context<'_>) {
        let told = std::mem::take(&mut *self.outcomes.told.borrow_mut());
        for (ticket, outcome) in told {
            self.speak(|protocol, now, effects| protocol.on_outcome(ticket, outcome, now, effects));
        }
        *self.outcomes.waker.borrow_mut() = Some(cx.waker().clone());
        if let Some(inlet) = &self.io.inlet {
            let depth = inlet.depth();
            if depth != self.told_depth {
                self.told_depth = depth;
                let depth = Depth { waiting: depth.0, capacity: depth.1 };
                self.speak(|protocol, now, effects| protocol.on_depth(depth, now, effects));
            }
        }
        if let Some(deadline) = self.protocol.deadline() {
            let deadline = Instant::from_std(deadline);
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            if timer.as_mut().poll(cx).is_ready() {
                self.speak(|protocol, now, effects| protocol.on_time(now, effects));
                cx.waker().wake_by_ref();
            }
        }
    }

    fn own(&mut self, cx: &mut Context<'_>) -> Option<Message> {
        let own = match self.opening.next_init() {
            Ok(None) => self.opening.poll_heartbeat(cx),
            init => init,
        };
        own.unwrap_or_else(|error| {
            (self.io.notice)(format!("{}: {error}", self.origin.endpoint));
            None
        })
    }

    /// The next message of the lane, as the protocol wants it sent.
    fn poll_lane(&mut self, lane: &Lane, cx: &mut Context<'_>) -> Poll<Option<()>> {
        let Some(envelope) = std::task::ready!(lane.poll_next(cx)) else { return Poll::Ready(None) };
        let message = envelope.message.clone();
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.in_flight.push_back((ticket, envelope));
        self.speak(|protocol, now, effects| protocol.on_outgoing(message, Some(ticket), now, effects));
        Poll::Ready(Some(()))
    }

    fn begin_close(&mut self, close: CloseReason) -> Poll<Outgoing> {
        self.closing = true;
        Poll::Ready(Outgoing::Close(close))
    }
}

/// Hands a payload to the pipeline; false when there is none behind.
fn deliver(
    io: &EndIo,
    outcomes: &Rc<Outcomes>,
    origin: &Rc<Origin>,
    seq: &mut u64,
    message: Message,
    ticket: Option<Ticket>,
) -> bool {
    let Some(inlet) = &io.inlet else { return false };
    *seq += 1;
    let on_safe = ticket.map(|ticket| {
        let outcomes = Rc::clone(outcomes);
        Box::new(move |safety| {
            let outcome = match safety {
                Safety::Settled(Settlement::Dropped(reason)) => Outcome::Rejected(reason.name().to_owned()),
                Safety::Settled(_) | Safety::Stored => Outcome::Taken,
            };
            outcomes.told.borrow_mut().push((ticket, outcome));
            if let Some(waker) = outcomes.waker.take() {
                waker.wake();
            }
        }) as crate::queue::ledger::OnSafe
    });
    inlet.push(origin, *seq, message, on_safe);
    true
}

/// The peer has answered for a message.
fn settle(io: &EndIo, in_flight: &mut VecDeque<(Ticket, Envelope)>, ticket: Option<Ticket>, outcome: Outcome) {
    let Some(place) = in_flight.iter().position(|(known, _)| Some(*known) == ticket) else { return };
    let Some((_, envelope)) = in_flight.remove(place) else { return };
    let Some(lane) = &io.lane else { return };
    match outcome {
        Outcome::Taken => {
            lane.delivered.one();
            envelope.settle(Settlement::Delivered);
        }
        Outcome::Rejected(reason) => io.dead_letters.bury(envelope, DropReason::Rejected, &lane.name, &reason),
    }
}

impl Peer for WsPeer {
    fn on_incoming(&mut self, incoming: Incoming, replies: &mut Replies) {
        let Incoming::Message(message) = incoming else { return };
        if self.needs_json
            && let Ok(json) = Json::parse(message.payload())
        {
            match self.opening.on_json(&json, &self.prev) {
                Ok(reply) => replies.extend(reply),
                Err(error) => (self.io.notice)(format!("{}: {error}", self.origin.endpoint)),
            }
            self.prev = json;
        }
        self.speak(|protocol, now, effects| protocol.on_message(message, now, effects));
        replies.extend(self.ready.drain(..));
    }

    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Outgoing> {
        if self.closing {
            return Poll::Pending;
        }
        if self.io.stop.poll_reached(Step::Aborting, cx).is_ready() {
            return Poll::Ready(Outgoing::Abort);
        }
        if let Some(message) = self.own(cx) {
            return Poll::Ready(Outgoing::Message(message));
        }
        self.inform(cx);
        loop {
            if let Some(message) = self.ready.pop_front() {
                return Poll::Ready(Outgoing::Message(message));
            }
            if let Some(close) = self.close.take() {
                return self.begin_close(close);
            }
            if !self.opening.is_done() || !self.protocol.takes_outgoing(Now::read()) {
                break;
            }
            let Some(lane) = self.io.lane.clone() else { break };
            match self.poll_lane(&lane, cx) {
                Poll::Ready(Some(())) => {}
                Poll::Ready(None) => {
                    self.finished = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        // A sink has done its work; a source stops when it is told to. Who is both goes on receiving.
        let is_done = if self.io.inlet.is_some() {
            let drained = self.io.lane.is_none() || self.is_finished();
            self.io.stop.poll_reached(Step::Draining, cx).is_ready() && drained
        } else {
            self.is_finished()
        };
        if is_done && self.protocol.unsettled() == 0 {
            return self.begin_close(CloseReason::new(1000, ""));
        }
        Poll::Pending
    }

    fn poll_urgent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.io.stop.poll_reached(Step::Aborting, cx).is_ready() {
            return Poll::Ready(());
        }
        if self.closing || self.io.stop.poll_reached(self.last_step(), cx).is_pending() {
            return Poll::Pending;
        }
        let deadline = Instant::now() + self.close_timeout;
        self.give_up.get_or_insert_with(|| Box::pin(sleep_until(deadline))).as_mut().poll(cx)
    }

    fn poll_can_receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.io.inlet.as_ref().map_or(Poll::Ready(()), |inlet| inlet.poll_ready(cx))
    }

    fn on_flushed(&mut self) {
        if self.ready.is_empty()
            && !self.protocol.acknowledges()
            && let Some(lane) = &self.io.lane
        {
            for (_, envelope) in self.in_flight.drain(..) {
                lane.delivered.one();
                envelope.settle(Settlement::Delivered);
            }
            // With the last one settled there may be a Close to send.
            if self.finished
                && let Some(waker) = self.outcomes.waker.take()
            {
                waker.wake();
            }
        }
    }
}
