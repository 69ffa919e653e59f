//! The balance of a pipeline: every message received has exactly one outcome, or waits.
//!
//! Invariant: `received = delivered + filtered + dropped + dead-lettered + waiting` at every instant, because waiting is
//! the difference and a receipt settles once.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::rc::{Rc, Weak};

use super::parked::{Parked, State};
use super::settlement::Settlement;
use crate::message::event::Direction;
use crate::observe::counters::{ByLabel, Count, DropReason};

/// Whom to tell, once, that a source may forget a message.
pub(crate) enum AckCallback {
    /// The source, by the message's number there.
    Keeper(Rc<dyn Keeper>, u64),
    Call(Box<dyn FnOnce(Safety)>),
}

/// A source that keeps messages until they are safe.
pub(crate) trait Keeper {
    /// The message of this number may be forgotten.
    fn is_safe(&self, number: u64, safety: Safety);
}

impl AckCallback {
    pub(crate) fn call(call: impl FnOnce(Safety) + 'static) -> Self {
        Self::Call(Box::new(call))
    }

    pub(crate) fn tell(self, safety: Safety) {
        match self {
            Self::Keeper(keeper, number) => keeper.is_safe(number, safety),
            Self::Call(call) => call(safety),
        }
    }
}

/// The message counts of one pipeline.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Messages taken in.
    pub received: Count,
    pub received_bytes: Count,
    /// Taken by every destination.
    pub delivered: Count,
    /// Kept from every destination.
    pub filtered: Count,
    pub dropped: ByLabel<DropReason>,
    pub dead_lettered: ByLabel<DropReason>,
    last_id: Cell<u64>,
    /// Messages that have no receipt in memory.
    parked: RefCell<Parked>,
    /// Messages that have receipts in memory for some of their shares only.
    live: RefCell<HashMap<u64, Weak<Open>>>,
    /// Memory of settled messages, for others.
    spare: RefCell<Vec<Rc<Open>>>,
    /// Called for each dropped message.
    on_drop: OnceCell<Box<OnDrop>>,
}

/// Called for a dropped message: its session, which way it went there, why, and its payload bytes, where they are
/// known.
pub(crate) type OnDrop = dyn Fn(&str, Direction, DropReason, Option<usize>);

/// Most entries of parked messages: a few MiB.
const MOST_RUNS: usize = 1 << 17;
/// Settled messages whose memory is kept, which is some 400 KiB where as many were under way.
const MOST_SPARE: usize = 4096;

impl Ledger {
    /// A message was taken in; `on_settled` is called once, as soon as the source may forget it.
    pub(crate) fn receive(self: &Rc<Self>, bytes: usize, on_settled: Option<AckCallback>) -> Receipt {
        self.received.one();
        self.received_bytes.add(bytes as u64);
        self.last_id.set(self.last_id.get() + 1);
        Receipt::of(self.open(self.last_id.get(), State::default(), on_settled), false)
    }

    /// Messages that an earlier run left behind are received once more; [`Ledger::reopen`] makes their receipts.
    pub(crate) fn recover(&self, messages: u64, bytes: u64) {
        self.received.add(messages);
        self.received_bytes.add(bytes);
    }

    /// A receipt for a message that was counted by [`Ledger::recover`].
    pub(crate) fn reopen(self: &Rc<Self>) -> Receipt {
        let open = self.open(0, State::default(), None);
        open.stored.set(1);
        Receipt::of(open, true)
    }

    /// A receipt for a share whose receipt was parked.
    pub(crate) fn unpark(self: &Rc<Self>, id: u64) -> Receipt {
        let live = self.live.borrow().get(&id).and_then(Weak::upgrade);
        if let Some(open) = live {
            open.parked.set(open.parked.get() - 1);
            if open.parked.get() == 0 {
                self.live.borrow_mut().remove(&id);
            }
            return Receipt::of(open, true);
        }
        let state = self.parked.borrow_mut().remove(id);
        let open = self.open(id, state, None);
        open.stored.set(state.shares);
        if state.shares > 1 {
            open.parked.set(state.shares - 1);
            self.live.borrow_mut().insert(id, Rc::downgrade(&open));
        }
        Receipt::of(open, true)
    }

    /// Whether so many messages on disk differ from their neighbours that no more should come.
    pub(crate) fn is_crowded(&self) -> bool {
        self.parked.borrow().runs() >= MOST_RUNS
    }

    fn open(self: &Rc<Self>, id: u64, state: State, on_settled: Option<AckCallback>) -> Rc<Open> {
        let new = Open {
            ledger: Some(Rc::clone(self)),
            id,
            shares: Cell::new(state.shares),
            stored: Cell::new(0),
            parked: Cell::new(0),
            worst: Cell::new(state.worst),
            on_settled: Cell::new(on_settled),
        };
        let spare = self.spare.borrow_mut().pop();
        if let Some(mut spare) = spare
            && let Some(open) = Rc::get_mut(&mut spare)
        {
            *open = new;
            return spare;
        }
        Rc::new(new)
    }

    /// What was settled and is known to nobody else gives its memory to another.
    fn reuse(mut settled: Rc<Open>) {
        let Some(ledger) = Rc::get_mut(&mut settled).and_then(|open| open.ledger.take()) else { return };
        let mut spare = ledger.spare.borrow_mut();
        if spare.len() < MOST_SPARE {
            spare.push(settled);
        }
    }

    /// So many messages of a session came and were lost before they could be taken in.
    pub(crate) fn lose(&self, session: &str, count: u64, size: Option<usize>, reason: DropReason) {
        self.received.add(count);
        self.dropped.add(reason, count);
        for _ in 0..count {
            self.tell_drop(session, Direction::In, reason, size);
        }
    }

    /// From now on `told` is called for each dropped message.
    pub(crate) fn on_drop(&self, told: impl Fn(&str, Direction, DropReason, Option<usize>) + 'static) {
        let _ = self.on_drop.set(Box::new(told));
    }

    /// Tells of a message that is dropped; counting it is another matter.
    pub(crate) fn tell_drop(&self, session: &str, dir: Direction, reason: DropReason, size: Option<usize>) {
        if let Some(told) = self.on_drop.get() {
            told(session, dir, reason, size);
        }
    }

    /// Messages that have no outcome yet.
    pub(crate) fn waiting(&self) -> u64 {
        let settled = self.delivered.get() + self.filtered.get() + self.dropped.total() + self.dead_lettered.total();
        self.received.get() - settled
    }

    /// Whether a destination did not get what it should have.
    pub(crate) fn is_anything_undelivered(&self) -> bool {
        self.waiting() > 0 || self.dead_lettered.total() > 0
    }

    fn settle(&self, settlement: Settlement) {
        match settlement {
            Settlement::Filtered => self.filtered.one(),
            Settlement::Delivered => self.delivered.one(),
            Settlement::DeadLettered(reason) => self.dead_lettered.one(reason),
            Settlement::Dropped(reason) => self.dropped.one(reason),
        }
    }
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ledger({self})")
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "received {} = delivered {} + filtered {} + dropped {}{} + dead-lettered {}{} + waiting {}",
            self.received.get(),
            self.delivered.get(),
            self.filtered.get(),
            self.dropped.total(),
            self.dropped.in_brackets(),
            self.dead_lettered.total(),
            self.dead_lettered.in_brackets(),
            self.waiting(),
        )
    }
}

/// Why a source may forget a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Safety {
    Settled(Settlement),
    /// It is written where a crash does not reach it.
    Stored,
}

struct Open {
    /// `None` while it is spare.
    ledger: Option<Rc<Ledger>>,
    /// Its number in the ledger; 0 for what was received in an earlier run.
    id: u64,
    /// Destinations, and the filter while it runs, that have not settled their share.
    shares: Cell<u32>,
    /// Those of them that survive a crash.
    stored: Cell<u32>,
    /// Those of them that have no receipt in memory.
    parked: Cell<u32>,
    worst: Cell<Settlement>,
    on_settled: Cell<Option<AckCallback>>,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(ledger) = &self.ledger
            && self.parked.get() > 0
        {
            ledger.live.borrow_mut().remove(&self.id);
            let state = State { shares: self.shares.get(), worst: self.worst.get() };
            ledger.parked.borrow_mut().insert(self.id, state);
        }
    }
}

/// Where the message of a receipt is stored; told when that is no longer needed.
pub(crate) trait Storage {
    /// The message of so many bytes at this position has its outcome.
    fn settled(&self, position: u64, bytes: usize);
}

/// The place of a message in a store.
#[derive(Clone)]
pub(crate) struct Place {
    pub storage: Rc<dyn Storage>,
    pub position: u64,
    /// Payload bytes.
    pub bytes: usize,
}

/// The right and duty to settle one share of a message. Dropped unsettled, the message stays waiting forever: that is
/// what an abort looks like in the balance.
pub(crate) struct Receipt {
    open: Rc<Open>,
    stored: bool,
    place: Option<Place>,
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({} open)", self.open.shares.get())
    }
}

impl Receipt {
    fn of(open: Rc<Open>, stored: bool) -> Self {
        Self { open, stored, place: None }
    }

    /// Another share of the same message.
    #[must_use]
    pub(crate) fn share(&self) -> Self {
        self.open.shares.set(self.open.shares.get() + 1);
        Self::of(Rc::clone(&self.open), false)
    }

    /// The number of the message in its ledger.
    pub(crate) fn id(&self) -> u64 {
        self.open.id
    }

    /// The account its message is in.
    pub(crate) fn ledger(&self) -> Option<Rc<Ledger>> {
        self.open.ledger.clone()
    }

    /// Tells of its message that it is dropped; settling it is another matter.
    pub(crate) fn tell_drop(&self, session: &str, dir: Direction, reason: DropReason, size: usize) {
        if let Some(ledger) = &self.open.ledger {
            ledger.tell_drop(session, dir, reason, Some(size));
        }
    }

    /// Where the message is stored, when it is.
    pub(crate) fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// The message is, or is about to be, stored there.
    pub(crate) fn put(&mut self, place: Place) {
        self.place = Some(place);
    }

    /// What became of this share. With the last one the message has its outcome: the worst of all.
    pub(crate) fn settle(self, settlement: Settlement) {
        let Self { open, stored, place } = self;
        open.worst.set(open.worst.get().max(settlement));
        open.shares.set(open.shares.get() - 1);
        if stored {
            open.stored.set(open.stored.get() - 1);
        }
        if open.shares.get() == 0 {
            if let Some(ledger) = &open.ledger {
                ledger.settle(open.worst.get());
            }
            if let Some(on_settled) = open.on_settled.take() {
                on_settled.tell(Safety::Settled(open.worst.get()));
            }
            Ledger::reuse(open);
        } else if let Some(on_settled) = open.safe() {
            on_settled.tell(Safety::Stored);
        }
        if let Some(place) = place {
            place.storage.settled(place.position, place.bytes);
        }
    }

    /// This share survives a crash. When all that are open do, the source may forget the message: it is told so by
    /// telling what this returns.
    #[must_use]
    pub(crate) fn stored(&mut self) -> Option<AckCallback> {
        if !self.stored {
            self.stored = true;
            self.open.stored.set(self.open.stored.get() + 1);
        }
        self.open.safe()
    }

    /// Gives up the receipt of a share that is stored; [`Ledger::unpark`] makes one again.
    pub(crate) fn park(self) {
        let open = &self.open;
        open.parked.set(open.parked.get() + 1);
        if Rc::strong_count(open) > 1
            && let Some(ledger) = &open.ledger
        {
            ledger.live.borrow_mut().insert(open.id, Rc::downgrade(open));
        }
    }
}

impl Open {
    /// To be called when every open share is stored.
    fn safe(&self) -> Option<AckCallback> {
        if self.stored.get() == self.shares.get() { self.on_settled.take() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_share_is_the_outcome() {
        let ledger = Rc::new(Ledger::default());
        let first = ledger.receive(3, None);
        let second = first.share();
        let third = first.share();
        first.settle(Settlement::Delivered);
        second.settle(Settlement::DeadLettered(DropReason::Invalid));
        assert_eq!(ledger.waiting(), 1);
        third.settle(Settlement::Delivered);
        assert_eq!(
            ledger.to_string(),
            "received 1 = delivered 0 + filtered 0 + dropped 0 + dead-lettered 1 (invalid 1) + waiting 0"
        );
    }

    fn told(count: &Rc<Cell<u32>>) -> AckCallback {
        let count = Rc::clone(count);
        AckCallback::call(move |_| count.set(count.get() + 1))
    }

    fn store(receipt: &mut Receipt) {
        if let Some(on_settled) = receipt.stored() {
            on_settled.tell(Safety::Stored);
        }
    }

    #[test]
    fn the_source_is_told_once() {
        let ledger = Rc::new(Ledger::default());
        let count = Rc::new(Cell::new(0));
        let mut receipt = ledger.receive(1, Some(told(&count)));
        store(&mut receipt);
        assert_eq!((count.get(), ledger.waiting()), (1, 1));
        receipt.settle(Settlement::Delivered);
        assert_eq!((count.get(), ledger.waiting(), ledger.delivered.get()), (1, 0, 1));
        let mut receipt = ledger.receive(1, Some(told(&count)));
        let share = receipt.share();
        store(&mut receipt);
        assert_eq!(count.get(), 1, "the other share is not safe yet");
        share.settle(Settlement::Delivered);
        assert_eq!(count.get(), 2, "the one that is left is");
        receipt.settle(Settlement::Filtered);
        assert_eq!((count.get(), ledger.delivered.get()), (2, 2));
        let mut receipt = ledger.receive(1, Some(told(&count)));
        let mut share = receipt.share();
        store(&mut receipt);
        store(&mut share);
        assert_eq!(count.get(), 3, "both are");
    }

    #[test]
    fn a_parked_share_keeps_its_part_in_the_outcome() {
        let ledger = Rc::new(Ledger::default());
        let mut first = ledger.receive(1, None);
        let (mut second, third) = (first.share(), first.share());
        let id = first.id();
        let _ = (first.stored(), second.stored());
        first.park();
        third.settle(Settlement::Dropped(DropReason::QueueFull));
        second.park();
        assert_eq!(ledger.parked.borrow().runs(), 1);
        let second = ledger.unpark(id);
        let first = ledger.unpark(id);
        assert_eq!(ledger.parked.borrow().runs(), 0);
        second.settle(Settlement::Delivered);
        assert_eq!(ledger.waiting(), 1);
        first.settle(Settlement::Delivered);
        assert_eq!((ledger.waiting(), ledger.dropped.total()), (0, 1), "the worst counts");
        assert!(ledger.live.borrow().is_empty());
        let mut only = ledger.receive(1, None);
        let id = only.id();
        let _ = only.stored();
        only.park();
        assert_eq!(ledger.parked.borrow().runs(), 0, "what is as expected costs nothing");
        ledger.unpark(id).settle(Settlement::Delivered);
        assert_eq!((ledger.waiting(), ledger.delivered.get()), (0, 1));
    }
}
