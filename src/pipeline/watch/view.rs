//! One end of a relay as it is seen: what passes, how its connection fares, and the wish to close it.
//!
//! WebSocket clients tell by themselves, each frame as it is on the wire; of all other ends the way in and out of the
//! pipeline is seen. Leaves sums to the accounts. Invariant: a view changes nothing of what it sees.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Watch;
use crate::client::events;
use crate::listen::hub::Hub;
use crate::message::Message;
use crate::message::event::{Direction, EventBody, time_text};
use crate::net::connection::{CloseReason, ConnectionError, Incoming};
use crate::net::connector::Handshake;
use crate::observe::control::{
    Refusal, SessionQueue, SessionReading, SessionState, Steer, TrafficReading, WireReading, milliseconds,
};
use crate::observe::counters::{Count, Counters, DropReason, ErrorKind, Traffic};
use crate::protocol::Measure;
use crate::queue::end::{EndIo, Ingress};
use crate::queue::envelope::Origin;
use crate::queue::lane::Lane;
use crate::queue::ledger::AckCallback;
use crate::queue::read_throttle::ReadThrottle;
use crate::queue::stop::{Step, Stop};
use crate::queue::wakers::Wakers;
use crate::session::{End, Outgoing};

/// A queue that is full for less does not make its source throttled.
const THROTTLED_AFTER: SignedDuration = SignedDuration::from_secs(1);

pub(crate) struct View {
    /// The session's name in events.
    pub id: String,
    /// What waits for it, where it takes messages.
    pub lane: Option<Rc<Lane>>,
    /// Whether it has a connection that can be closed.
    pub is_client: bool,
    watch: Rc<Watch>,
    endpoint: String,
    ingress: Option<Rc<dyn Ingress>>,
    stop: Rc<Stop>,
    since: Cell<Timestamp>,
    state: Cell<SessionState>,
    connections: Count,
    /// Parts of it that run.
    parts: Cell<u32>,
    received: Traffic,
    round_trip: Cell<Option<Duration>>,
    retry_at: Cell<Option<Timestamp>>,
    lag: Cell<Option<u64>>,
    wish: RefCell<Option<CloseReason>>,
    wishes: Wakers,
    hub: RefCell<Option<Rc<Hub>>>,
    /// Bytes compression saved, in and out.
    saved: Cell<(i64, i64)>,
    throttle: ReadThrottle,
    /// Whether it opens another connection where one has ended.
    reopens: Cell<bool>,
}

impl View {
    /// A view of the end that works with this.
    pub(crate) fn new(watch: &Rc<Watch>, id: String, endpoint: &str, is_client: bool, io: &EndIo) -> Rc<Self> {
        let view = Rc::new(Self {
            id,
            lane: io.lane.clone(),
            is_client,
            watch: Rc::clone(watch),
            endpoint: endpoint.to_owned(),
            ingress: io.ingress.clone(),
            stop: Rc::clone(&io.stop),
            since: Cell::new(Timestamp::now()),
            state: Cell::new(if is_client { SessionState::Connecting } else { SessionState::Open }),
            connections: Count::default(),
            parts: Cell::new(0),
            received: Traffic::default(),
            round_trip: Cell::new(None),
            retry_at: Cell::new(None),
            lag: Cell::new(None),
            wish: RefCell::new(None),
            wishes: Wakers::default(),
            hub: RefCell::new(None),
            saved: Cell::default(),
            throttle: ReadThrottle::default(),
            reopens: Cell::new(false),
        });
        if let Some(lane) = &view.lane {
            lane.leads_to(view.id.clone());
        }
        if let (Some(lane), false) = (&view.lane, is_client) {
            let (watch, id) = (Rc::clone(watch), view.id.clone());
            lane.show_to(move |envelope| watch.went(&id, &envelope.message));
        }
        view
    }

    /// What the end is to work with, so that it is seen.
    pub(crate) fn over(self: &Rc<Self>, io: &EndIo) -> EndIo {
        let seen = |ingress: &Rc<dyn Ingress>| {
            let (ingress, view) = (Rc::clone(ingress), Rc::clone(self));
            Rc::new(SeenIngress { ingress, view }) as Rc<dyn Ingress>
        };
        EndIo { ingress: io.ingress.as_ref().map(seen), ..io.clone() }
    }

    /// It is a server, whose clients are here.
    pub(crate) fn set_hub(&self, hub: &Rc<Hub>) {
        *self.hub.borrow_mut() = Some(Rc::clone(hub));
    }

    /// Returns the counters of a server that is this end: its clients count for the whole run.
    pub(crate) fn counters_of_server(&self) -> Counters {
        self.watch.counters.of_part()
    }

    /// Who has the clients, where it is a server.
    pub(crate) fn hub(&self) -> Option<Rc<Hub>> {
        self.hub.borrow().clone()
    }

    /// This came from a client of it.
    pub(crate) fn came(&self, session: &str, message: &Message) {
        self.received.message(message.len());
        self.watch.message(session, Direction::In, message);
    }

    /// This went to a client of it.
    pub(crate) fn went(&self, session: &str, message: &Message) {
        self.watch.went(session, message);
    }

    /// Something else happened with a client of it.
    pub(crate) fn guest(&self, session: &str, dir: Option<Direction>, body: impl FnOnce() -> EventBody) {
        self.watch.event(session, dir, body);
    }

    /// The endpoint, without secrets.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Messages that wait where it takes them from, where it knows.
    pub(crate) fn lag(&self) -> Option<u64> {
        self.lag.get()
    }

    /// A part of the end runs.
    pub(crate) fn began(&self) {
        self.parts.set(self.parts.get() + 1);
    }

    /// A part of the end has ended.
    pub(crate) fn over_with(&self, has_failed: bool) {
        self.parts.set(self.parts.get().saturating_sub(1));
        if self.parts.get() == 0 {
            self.state.set(SessionState::Closed);
        }
        if has_failed {
            self.watch.failed();
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.is_client && self.state.get() == SessionState::Open
    }

    /// A connection has opened.
    pub(crate) fn opened(&self, handshake: &Handshake) {
        let counters = &self.watch.counters;
        counters.connections.one();
        if self.connections.get() > 0 {
            counters.reconnects.one();
        }
        self.connections.one();
        self.state.set(SessionState::Open);
        self.since.set(Timestamp::now());
        self.watch.opened(&self.id, &self.endpoint, events::opened(handshake), &handshake.exchange());
    }

    /// The connection has ended; its Close has been seen as it came.
    pub(crate) fn closed(&self, end: &End) {
        self.state.set(SessionState::Closing);
        let kind = match end {
            End::Failed(ConnectionError::Lost(_)) => Some(ErrorKind::Lost),
            End::Failed(_) => Some(ErrorKind::Protocol),
            End::Unresponsive => Some(ErrorKind::Unresponsive),
            _ => None,
        };
        if let Some(kind) = kind {
            self.watch.counters.errors.one(kind);
        }
        if !matches!(end, End::Closed { .. }) {
            self.tell(None, || events::lost(end));
        }
    }

    /// A connection could not be made.
    pub(crate) fn failed(&self, error: &str) {
        self.watch.counters.errors.one(ErrorKind::Handshake);
        self.tell(None, || EventBody::Error { error: error.to_owned() });
    }

    /// Its peer sent what its protocol cannot use, and the connection goes on.
    pub(crate) fn fault(&self, text: &str) {
        self.watch.counters.errors.one(ErrorKind::Message);
        self.tell(None, || EventBody::Error { error: text.to_owned() });
    }

    /// It is tried again after this time, because of what failed.
    pub(crate) fn retries(&self, attempt: u32, wait: Duration, cause: &str) {
        self.state.set(SessionState::Retrying);
        self.watch.counters.reconnect_attempts.one();
        self.retry_at.set(Timestamp::now().checked_add(wait).ok());
        self.tell(None, || events::retry(attempt, wait, cause.to_owned()));
    }

    fn tell(&self, dir: Option<Direction>, body: impl FnOnce() -> EventBody) {
        self.watch.event(&self.id, dir, body);
    }

    /// This came over the connection.
    pub(crate) fn incoming(&self, incoming: &Incoming) {
        let dir = Some(Direction::In);
        match incoming {
            Incoming::Message(message) => {
                self.throttle.pass();
                let (received, sent) = self.saved.get();
                self.saved.set((received + message.saved(), sent));
                self.received.message(message.len());
                self.watch.message(&self.id, Direction::In, message);
            }
            Incoming::Ping(payload) => self.tell(dir, || EventBody::Ping(payload.clone())),
            Incoming::Pong(payload) => self.tell(dir, || EventBody::Pong(payload.clone())),
            Incoming::Close(close) => self.tell(dir, || events::closing(close)),
        }
    }

    /// This goes over the connection.
    pub(crate) fn outgoing(&self, outgoing: &Outgoing) {
        let dir = Some(Direction::Out);
        match outgoing {
            Outgoing::Message(message) => self.sent(message),
            Outgoing::Ping(payload) => self.tell(dir, || EventBody::Ping(payload.clone())),
            Outgoing::Pong(payload) => self.tell(dir, || EventBody::Pong(payload.clone())),
            Outgoing::Close(close) => self.tell(dir, || events::closing(close)),
            Outgoing::Abort => {}
        }
    }

    /// This message goes over the connection.
    pub(crate) fn sent(&self, message: &Message) {
        let (received, sent) = self.saved.get();
        self.saved.set((received, sent + message.saved()));
        self.watch.message(&self.id, Direction::Out, message);
    }

    /// A ping was answered after this time.
    pub(crate) fn round_trip(&self, time: Duration) {
        self.round_trip.set(Some(time));
        self.watch.counters.ping_time.add(time);
    }

    /// Something about requests, its own or those of its peers.
    pub(crate) fn measured(&self, measure: Measure) {
        measure.count(&self.watch.counters);
    }

    /// Ready when what comes may be taken in, as far as a recording is concerned.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        self.watch.recording.poll_room(cx)
    }

    /// Ready when somebody outside wishes that what comes is read.
    pub(crate) fn poll_valve(&self, cx: &Context<'_>) -> Poll<()> {
        self.throttle.poll(cx)
    }

    /// What lets its messages in, where there are any; those of a server come from its clients.
    fn throttle(&self) -> Option<&ReadThrottle> {
        let reads = self.is_client || (self.ingress.is_some() && self.hub.borrow().is_none());
        reads.then_some(&self.throttle)
    }

    /// It opens another connection where one has ended.
    pub(crate) fn set_reopens(&self, reopens: bool) {
        self.reopens.set(reopens);
    }

    /// Somebody outside wants another connection; whether there will be one.
    pub(crate) fn ask_to_reopen(&self) -> bool {
        let can = self.reopens.get() && self.is_connected();
        if can {
            self.ask_to_close(CloseReason::new(1000, ""));
        }
        can
    }

    /// Does what somebody outside wishes.
    ///
    /// # Errors
    /// It has no connection, or nothing is read from it.
    pub(crate) fn steer(&self, steer: &Steer) -> Result<(), Refusal> {
        match steer {
            Steer::Intake(intake) => {
                self.throttle().ok_or(Refusal::Unfit("this end is not read from"))?.turn(*intake);
            }
            Steer::Close(_) if !self.is_client => {
                return Err(Refusal::Unfit("this end has no WebSocket connection to close"));
            }
            Steer::Close(_) if !self.is_connected() => return Err(Refusal::Unfit("this end is not connected")),
            Steer::Close(close) => self.ask_to_close(close.clone()),
        }
        Ok(())
    }

    fn ask_to_close(&self, close: CloseReason) {
        *self.wish.borrow_mut() = Some(close);
        self.wishes.wake();
    }

    /// The wish to close the connection, when there is one.
    pub(crate) fn poll_wish(&self, cx: &Context<'_>) -> Option<CloseReason> {
        self.wishes.register(cx);
        self.wish.take()
    }

    fn state(&self) -> SessionState {
        let state = self.state.get();
        let is_retrying = self.lane.as_ref().is_some_and(|lane| lane.is_retrying());
        let full_since = self.ingress.as_ref().and_then(|ingress| ingress.full_since());
        match state {
            SessionState::Open if self.stop.step() > Step::Running => SessionState::Closing,
            SessionState::Open if self.throttle.is_shut() => SessionState::Paused,
            SessionState::Open if is_retrying && !self.is_client => SessionState::Retrying,
            SessionState::Open if full_since.is_some_and(has_lasted) => SessionState::Throttled,
            state => state,
        }
    }

    /// Payload bytes on the wire, where some were compressed.
    fn wire(&self) -> Option<WireReading> {
        let delivered =
            |lane: &Rc<Lane>| TrafficReading { messages: lane.delivered.get(), bytes: lane.delivered_bytes.get() };
        let sent = self.lane.as_ref().map_or_else(TrafficReading::default, delivered);
        WireReading::of(TrafficReading::from(&self.received), sent, self.saved.get())
    }

    pub(crate) fn reading(&self, pipeline: Option<String>) -> SessionReading {
        let lane = self.lane.as_ref();
        SessionReading {
            id: self.id.clone(),
            name: None,
            subject: None,
            pipeline,
            peer: self.endpoint.clone(),
            state: self.state(),
            target: self.endpoint.clone(),
            since: time_text(self.since.get()),
            received: TrafficReading::from(&self.received),
            sent: lane.map_or_else(TrafficReading::default, |lane| TrafficReading {
                messages: lane.delivered.get(),
                bytes: lane.delivered_bytes.get(),
            }),
            queue: lane.map_or(SessionQueue { depth: 0, bytes: 0, capacity: 0 }, |lane| SessionQueue {
                depth: lane.len(),
                bytes: lane.bytes(),
                capacity: usize::try_from(lane.depth().1).unwrap_or(usize::MAX),
            }),
            lag: self.lag(),
            dropped: 0,
            round_trip_ms: self.round_trip.get().map(milliseconds),
            retry_in_ms: self
                .retry_at
                .get()
                .filter(|_| self.state.get() == SessionState::Retrying)
                .map(|at| u64::try_from(at.duration_since(Timestamp::now()).as_millis()).unwrap_or_default()),
            wire: self.wire(),
            rate_limit: self.throttle.rate(),
        }
    }
}

fn has_lasted(since: Timestamp) -> bool {
    Timestamp::now().duration_since(since) >= THROTTLED_AFTER
}

/// The way into a pipeline, seen.
struct SeenIngress {
    ingress: Rc<dyn Ingress>,
    view: Rc<View>,
}

impl SeenIngress {
    fn see(&self, origin: &Origin, message: &Message) {
        if !self.view.is_client {
            self.view.throttle.pass();
            self.view.received.message(message.len());
            self.view.watch.message(&origin.session, Direction::In, message);
        }
    }
}

impl Ingress for SeenIngress {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        // A client asks by itself: while it closes it goes on reading.
        if !self.view.is_client {
            std::task::ready!(self.view.poll_valve(cx));
        }
        std::task::ready!(self.view.poll_room(cx));
        self.ingress.poll_ready(cx)
    }

    fn push(&self, origin: &Rc<Origin>, seq: u64, message: Message, on_settled: Option<AckCallback>) {
        self.see(origin, &message);
        self.ingress.push(origin, seq, message, on_settled);
    }

    fn reject(&self, origin: &Rc<Origin>, seq: u64, message: Message, error: &str) {
        self.see(origin, &message);
        self.ingress.reject(origin, seq, message, error);
    }

    fn refuse(
        &self,
        origin: &Rc<Origin>,
        seq: u64,
        message: Message,
        on_settled: Option<AckCallback>,
        reason: DropReason,
        error: &str,
    ) {
        self.see(origin, &message);
        self.ingress.refuse(origin, seq, message, on_settled, reason, error);
    }

    fn lose(&self, session: &str, count: u64, size: Option<usize>, reason: DropReason) {
        self.ingress.lose(session, count, size, reason);
    }

    fn asks_for_sources(&self) -> bool {
        self.ingress.asks_for_sources() || self.view.watch.is_wanted()
    }

    fn lags(&self, count: u64) {
        self.view.lag.set(Some(count));
        self.ingress.lags(count);
    }

    fn end(&self) {
        self.ingress.end();
    }

    fn depth(&self) -> (u64, u64) {
        self.ingress.depth()
    }

    fn full_since(&self) -> Option<Timestamp> {
        self.ingress.full_since()
    }
}
