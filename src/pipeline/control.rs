//! A relay as the dashboard and other viewers see it: its ends as sessions, its lanes as queues, its account as counters.
//!
//! Owns the readings. Leaves the account to the ledgers. Invariant: nothing can be sent from outside: what goes through a
//! relay came from its source.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;

use super::flow::Flow;
use crate::message::Message;
use crate::message::event::time_text;
use crate::net::connection::CloseReason;
use crate::observe::Control;
use crate::observe::control::{
    Delivering, Delivery, QueueReading, SessionQueue, SessionReading, SessionState, SpoolReading, TrafficReading,
    milliseconds,
};
use crate::observe::counters::{ByLabel, Counters, DropReason};
use crate::observe::tap::Tap;
use crate::queue::lane::Lane;

/// Where an end is in its life, as far as it tells.
#[derive(Debug)]
pub struct Life {
    state: Cell<SessionState>,
    since: Cell<Option<Timestamp>>,
    retry_at: Cell<Option<Timestamp>>,
    round_trip: Cell<Option<Duration>>,
    connections: Cell<u64>,
}

impl Default for Life {
    fn default() -> Self {
        Self {
            state: Cell::new(SessionState::Connecting),
            since: Cell::default(),
            retry_at: Cell::default(),
            round_trip: Cell::default(),
            connections: Cell::default(),
        }
    }
}

impl Life {
    /// It is open from now on.
    pub fn opened(&self) {
        self.state.set(SessionState::Open);
        self.since.set(Some(Timestamp::now()));
        self.retry_at.set(None);
        self.connections.set(self.connections.get() + 1);
    }

    /// It was lost and is opened again after so long.
    pub fn lost(&self, wait: Duration) {
        self.state.set(SessionState::Retrying);
        self.since.set(None);
        self.retry_at.set(Timestamp::now().checked_add(wait).ok());
    }

    /// It has ended.
    pub fn ended(&self) {
        self.state.set(SessionState::Closed);
        self.since.set(None);
    }

    /// A ping was answered after so long.
    pub fn round_trip(&self, time: Duration) {
        self.round_trip.set(Some(time));
    }
}

/// An end of a relay, as it is shown.
pub struct ShownEnd {
    /// Its name in events.
    pub id: String,
    /// The endpoint, without secrets.
    pub name: String,
    /// Where it is in its life.
    pub life: Rc<Life>,
    /// What it gives goes there.
    pub flow: Option<Rc<Flow>>,
    /// What it takes comes from there.
    pub lane: Option<Rc<Lane>>,
}

/// A relay.
pub struct RelayControl {
    ends: Vec<ShownEnd>,
    flows: Vec<Rc<Flow>>,
    has_spool: bool,
    tap: Rc<Tap>,
    counters: Counters,
}

impl RelayControl {
    /// A relay of these ends. What comes in can be seen from now on.
    pub fn new(ends: Vec<ShownEnd>, flows: Vec<Rc<Flow>>, has_spool: bool) -> Rc<Self> {
        let tap = Rc::<Tap>::default();
        for flow in &flows {
            let _ = flow.tap.set(Rc::clone(&tap));
        }
        Rc::new(Self { ends, flows, has_spool, tap, counters: Counters::default() })
    }

    fn lanes(&self) -> Vec<Rc<Lane>> {
        self.flows.iter().flat_map(|flow| flow.lanes()).collect()
    }
}

fn catch_up(counts: &ByLabel<DropReason>, ledgers: &[&ByLabel<DropReason>]) {
    for (reason, known) in counts.iter().collect::<Vec<_>>() {
        let now: u64 = ledgers.iter().map(|ledger| ledger.get(reason)).sum();
        counts.add(reason, now - known);
    }
}

impl Control for RelayControl {
    fn mode(&self) -> &'static str {
        "relay"
    }

    fn counters(&self) -> &Counters {
        let counters = &self.counters;
        let ledgers: Vec<_> = self.flows.iter().map(|flow| &flow.ledger).collect();
        let delivered: u64 = self.lanes().iter().map(|lane| lane.delivered.get()).sum();
        let connections: u64 = self.ends.iter().map(|end| end.life.connections.get()).sum();
        let reconnects: u64 = self.ends.iter().map(|end| end.life.connections.get().saturating_sub(1)).sum();
        for (count, now) in [
            (&counters.received.messages, ledgers.iter().map(|ledger| ledger.received.get()).sum()),
            (&counters.received.bytes, ledgers.iter().map(|ledger| ledger.received_bytes.get()).sum()),
            (&counters.delivered, ledgers.iter().map(|ledger| ledger.delivered.get()).sum()),
            (&counters.filtered, ledgers.iter().map(|ledger| ledger.filtered.get()).sum()),
            (&counters.sent.messages, delivered),
            (&counters.connections, connections),
            (&counters.reconnects, reconnects),
        ] {
            let now: u64 = now;
            count.add(now.saturating_sub(count.get()));
        }
        catch_up(&counters.dropped, &ledgers.iter().map(|ledger| &ledger.dropped).collect::<Vec<_>>());
        catch_up(&counters.dead_letters, &ledgers.iter().map(|ledger| &ledger.dead_lettered).collect::<Vec<_>>());
        counters
    }

    fn tap(&self) -> &Tap {
        &self.tap
    }

    fn active(&self) -> usize {
        self.ends.iter().filter(|end| end.life.state.get() == SessionState::Open).count()
    }

    fn queues(&self) -> Vec<QueueReading> {
        let reading = |lane: Rc<Lane>| {
            let (depth, capacity) = lane.depth();
            QueueReading {
                name: lane.name.clone().into(),
                depth: depth as usize,
                capacity: capacity as usize,
                bytes: lane.bytes(),
                utilization: lane.utilization(),
            }
        };
        self.lanes().into_iter().map(reading).collect()
    }

    fn each_full_queue(&self, full: &mut dyn FnMut(u64)) {
        for (place, lane) in self.lanes().iter().enumerate() {
            if lane.full_since().is_some() {
                full(place as u64);
            }
        }
    }

    fn sessions(&self, limit: usize) -> Vec<SessionReading> {
        let reading = |end: &ShownEnd| {
            let received = end.flow.as_ref().map(|flow| TrafficReading {
                messages: flow.ledger.received.get(),
                bytes: flow.ledger.received_bytes.get(),
            });
            let lane = end.lane.as_ref();
            let full_since = lane.and_then(|lane| lane.full_since());
            let state = match end.life.state.get() {
                SessionState::Open if full_since.is_some() => SessionState::Throttled,
                state => state,
            };
            SessionReading {
                id: end.id.clone(),
                peer: end.name.clone(),
                state,
                target: end.name.clone(),
                since: end.life.since.get().map(time_text).unwrap_or_default(),
                received: received.unwrap_or_default(),
                sent: TrafficReading { messages: lane.map_or(0, |lane| lane.delivered.get()), bytes: 0 },
                queue: lane.map_or_else(SessionQueue::default, |lane| {
                    let (depth, capacity) = lane.depth();
                    SessionQueue { depth: depth as usize, bytes: lane.bytes(), capacity: capacity as usize }
                }),
                dropped: 0,
                round_trip_ms: end.life.round_trip.get().map(milliseconds),
                retry_in_ms: end
                    .life
                    .retry_at
                    .get()
                    .map(|at| u64::try_from(at.duration_since(Timestamp::now()).as_millis()).unwrap_or_default()),
            }
        };
        self.ends.iter().take(limit).map(reading).collect()
    }

    fn send(self: Rc<Self>, _session: &str, _message: Message) -> Option<Delivering> {
        None
    }

    fn broadcast(self: Rc<Self>, _message: Message) -> Delivering {
        Box::pin(std::future::ready(Delivery::default()))
    }

    fn close(&self, _session: &str, _close: CloseReason) -> bool {
        false
    }

    fn spool(&self) -> Option<SpoolReading> {
        let sum = |of: fn(&Lane) -> usize| self.lanes().iter().map(|lane| of(lane) as u64).sum();
        self.has_spool.then(|| SpoolReading { messages: sum(Lane::len), bytes: sum(Lane::bytes), oldest_ms: None })
    }
}
