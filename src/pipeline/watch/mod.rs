//! What is seen of a relay from outside: a [`View`] of every end, the accounts of all pipelines, events, the recording.
//!
//! Leaves showing to `observe/`. Invariants: nobody who looks is waited for, only a recording's file is; without viewers
//! and without a recording a message costs a look at a flag; the sums of pipelines that have ended stay in all sums.

mod control;
mod drops;
mod guest;
mod recording;
mod view;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use jiff::Timestamp;

pub(crate) use self::drops::DropPrinter;
pub(crate) use self::guest::Guest;
pub(crate) use self::recording::Recording;
pub(crate) use self::view::View;
use super::flow::Flow;
use crate::message::Message;
use crate::message::event::{Direction, Event, EventBody, EventSession};
use crate::message::har::Exchange;
use crate::observe::counters::{Counters, DropReason, ErrorKind, Label};
use crate::observe::tap::Tap;
use crate::queue::lane::Lane;

/// A pipeline as it is seen.
pub(crate) struct Seen {
    /// Its name, where pipelines have names.
    pub name: Option<String>,
    pub flows: Vec<Rc<Flow>>,
    pub views: Vec<Rc<View>>,
    /// What waits to become a dead letter.
    pub dead_letters: Option<Rc<Lane>>,
}

/// Everything that is seen of a process.
#[derive(Default)]
pub(crate) struct Watch {
    counters: Counters,
    tap: Tap,
    recording: Recording,
    drops: DropPrinter,
    pipelines: RefCell<Vec<Rc<Seen>>>,
    past: RefCell<Sums>,
    several: Cell<bool>,
    has_failed: Cell<bool>,
}

impl Watch {
    pub(crate) fn recording(&self) -> &Recording {
        &self.recording
    }

    /// Dropped messages are printed.
    pub(crate) fn drops(&self) -> &DropPrinter {
        &self.drops
    }

    /// From now on there is this pipeline.
    pub(crate) fn join(&self, seen: &Rc<Seen>) {
        self.pipelines.borrow_mut().push(Rc::clone(seen));
    }

    /// It has ended, well or not; what was counted stays.
    pub(crate) fn leave(&self, seen: &Rc<Seen>) {
        self.past.borrow_mut().add(seen);
        self.pipelines.borrow_mut().retain(|known| !Rc::ptr_eq(known, seen));
    }

    /// An end has failed for good.
    pub(crate) fn failed(&self) {
        self.has_failed.set(true);
    }

    /// Names of pipelines are shown from now on.
    pub(crate) fn name_pipelines(&self) {
        self.several.set(true);
    }

    /// Whether names of pipelines are shown.
    pub(crate) fn names_pipelines(&self) -> bool {
        self.several.get()
    }

    /// Whether anybody wants to know of messages.
    fn is_wanted(&self) -> bool {
        self.tap.is_watched() || self.recording.is_on()
    }

    fn message(&self, session: &str, dir: Direction, message: &Message) {
        if self.is_wanted() {
            let name = self.name_of(session);
            let session = EventSession { id: session, name: name.as_deref() };
            self.recording.message(session, dir, message);
            self.tap.offer(message.len(), || event(session, Some(dir), EventBody::Message(message.detached())));
        }
    }

    /// A message went somewhere that tells nothing of the wire: what it took on the way here is not what it takes there.
    fn went(&self, session: &str, message: &Message) {
        if self.is_wanted() {
            self.message(session, Direction::Out, &message.clone().with_wire(None));
        }
    }

    fn event(&self, session: &str, dir: Option<Direction>, body: impl FnOnce() -> EventBody) {
        if self.is_wanted() {
            let name = self.name_of(session);
            let event = event(EventSession { id: session, name: name.as_deref() }, dir, body());
            self.recording.event(&event);
            self.tap.offer(EVENT_BYTES, || event);
        }
    }

    /// A message was dropped.
    pub(crate) fn dropped(&self, session: &str, dir: Direction, reason: DropReason, size: Option<usize>) {
        let body = || EventBody::Drop { reason: reason.name().into(), size };
        self.event(session, Some(dir), body);
        let name = self.name_of(session);
        self.drops.push(EventSession { id: session, name: name.as_deref() }, dir, reason, size);
    }

    fn opened(&self, session: &str, url: &str, body: EventBody, exchange: &Exchange<'_>) {
        if self.is_wanted() {
            let event = event(session.into(), None, body);
            self.recording.opened(&event, url, exchange);
            self.tap.offer(EVENT_BYTES, || event);
        }
    }

    /// The counters, which reach what the accounts of all pipelines say.
    fn counted(&self) -> &Counters {
        let sums = self.sums();
        let counters = &self.counters;
        counters.received.messages.reach(sums.received.0);
        counters.received.bytes.reach(sums.received.1);
        counters.sent.messages.reach(sums.sent.0);
        counters.sent.bytes.reach(sums.sent.1);
        counters.delivered.reach(sums.delivered);
        counters.filtered.reach(sums.filtered);
        for (place, reason) in DropReason::ALL.iter().enumerate() {
            counters.dropped.reach(*reason, sums.dropped[place]);
            counters.dead_letters.reach(*reason, sums.dead_lettered[place]);
        }
        // A bad message is an error of its sender, as it is in a server of its own.
        let invalid = DropReason::Invalid.index();
        counters.errors.reach(ErrorKind::Invalid, sums.dropped[invalid] + sums.dead_lettered[invalid]);
        counters
    }

    fn sums(&self) -> Sums {
        let mut sums = *self.past.borrow();
        for seen in self.pipelines.borrow().iter() {
            sums.add(seen);
        }
        sums
    }
}

/// Bytes of an event that carries no message, about.
const EVENT_BYTES: usize = 256;

fn event(session: EventSession<'_>, dir: Option<Direction>, body: EventBody) -> Event {
    let name = session.name.map(str::to_owned);
    Event { time: Timestamp::now(), session: session.id.to_owned(), name, dir, body }
}

/// Reasons a message is dropped for.
const REASONS: usize = <DropReason as Label>::ALL.len();

/// Accounts added up.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    received: (u64, u64),
    sent: (u64, u64),
    delivered: u64,
    filtered: u64,
    dropped: [u64; REASONS],
    dead_lettered: [u64; REASONS],
    waiting: u64,
}

impl Sums {
    fn add(&mut self, seen: &Seen) {
        for flow in &seen.flows {
            let ledger = &flow.ledger;
            self.received.0 += ledger.received.get();
            self.received.1 += ledger.received_bytes.get();
            self.delivered += ledger.delivered.get();
            self.filtered += ledger.filtered.get();
            self.waiting += ledger.waiting();
            for (place, reason) in DropReason::ALL.iter().enumerate() {
                self.dropped[place] += ledger.dropped.get(*reason);
                self.dead_lettered[place] += ledger.dead_lettered.get(*reason);
            }
            for lane in flow.lanes() {
                self.sent.0 += lane.delivered.get();
                self.sent.1 += lane.delivered_bytes.get();
            }
        }
    }
}
