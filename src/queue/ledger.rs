//! The balance of a pipeline: every message received has exactly one outcome, or waits.
//!
//! Invariant: `received = delivered + filtered + dropped + dead-lettered + waiting` at every instant, because waiting is
//! the difference and a receipt settles once.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use crate::observe::counters::{ByLabel, Count, DropReason};

/// Called when a source may forget a message.
pub type OnSafe = Box<dyn FnOnce(Safety)>;

/// What became of a message, from the mildest to the gravest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Settlement {
    /// A filter or route kept it from every destination.
    Filtered,
    /// Every destination it was meant for took it.
    Delivered,
    /// A destination will never take it; it is in the dead letters.
    DeadLettered(DropReason),
    /// It is gone.
    Dropped(DropReason),
}

/// The account of one pipeline.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Messages taken in.
    pub received: Count,
    /// Their payload bytes.
    pub received_bytes: Count,
    /// Taken by every destination.
    pub delivered: Count,
    /// Kept from every destination.
    pub filtered: Count,
    /// Gone.
    pub dropped: ByLabel<DropReason>,
    /// In the dead letters.
    pub dead_lettered: ByLabel<DropReason>,
}

impl Ledger {
    /// A message was taken in; `on_safe` is called once, as soon as the source may forget it.
    pub fn receive(self: &Rc<Self>, bytes: usize, on_safe: Option<OnSafe>) -> Receipt {
        self.received.one();
        self.received_bytes.add(bytes as u64);
        Receipt(Rc::new(Open {
            ledger: Rc::clone(self),
            shares: Cell::new(1),
            gravest: Cell::new(Settlement::Filtered),
            on_safe: Cell::new(on_safe),
        }))
    }

    /// So many messages came and were lost before they could be taken in.
    pub fn lose(&self, count: u64, reason: DropReason) {
        self.received.add(count);
        self.dropped.add(reason, count);
    }

    /// Messages that have no outcome yet.
    pub fn waiting(&self) -> u64 {
        let settled = self.delivered.get() + self.filtered.get() + self.dropped.total() + self.dead_lettered.total();
        self.received.get() - settled
    }

    /// Whether a destination did not get what it should have.
    pub fn is_anything_undelivered(&self) -> bool {
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
pub enum Safety {
    /// It has its outcome.
    Settled(Settlement),
    /// It is written where a crash does not reach it.
    Stored,
}

struct Open {
    ledger: Rc<Ledger>,
    /// Destinations, and the filter while it runs, that have not settled their share.
    shares: Cell<u32>,
    gravest: Cell<Settlement>,
    on_safe: Cell<Option<OnSafe>>,
}

/// The right and duty to settle one share of a message. Dropped unsettled, the message stays waiting for ever: that is
/// what an abort looks like in the balance.
pub struct Receipt(Rc<Open>);

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receipt({} open)", self.0.shares.get())
    }
}

impl Receipt {
    /// Another share of the same message.
    #[must_use]
    pub fn share(&self) -> Self {
        self.0.shares.set(self.0.shares.get() + 1);
        Self(Rc::clone(&self.0))
    }

    /// What became of this share. With the last one the message has its outcome: the gravest of all.
    pub fn settle(self, settlement: Settlement) {
        let open = &self.0;
        open.gravest.set(open.gravest.get().max(settlement));
        open.shares.set(open.shares.get() - 1);
        if open.shares.get() == 0 {
            open.ledger.settle(open.gravest.get());
            if let Some(on_safe) = open.on_safe.take() {
                on_safe(Safety::Settled(open.gravest.get()));
            }
        }
    }

    /// This share survives a crash. When it is the only one, the source may forget the message.
    pub fn stored(&self) {
        if self.0.shares.get() == 1
            && let Some(on_safe) = self.0.on_safe.take()
        {
            on_safe(Safety::Stored);
        }
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

    #[test]
    fn the_source_is_told_once() {
        let ledger = Rc::new(Ledger::default());
        let told = Rc::new(Cell::new(0));
        let tell = |told: &Rc<Cell<u32>>| {
            let told = Rc::clone(told);
            Some(Box::new(move |_| told.set(told.get() + 1)) as OnSafe)
        };
        let receipt = ledger.receive(1, tell(&told));
        receipt.stored();
        assert_eq!((told.get(), ledger.waiting()), (1, 1));
        receipt.settle(Settlement::Delivered);
        assert_eq!((told.get(), ledger.waiting(), ledger.delivered.get()), (1, 0, 1));
        let receipt = ledger.receive(1, tell(&told));
        let share = receipt.share();
        receipt.stored();
        assert_eq!(told.get(), 1, "the other share is not safe yet");
        share.settle(Settlement::Delivered);
        receipt.settle(Settlement::Filtered);
        assert_eq!((told.get(), ledger.delivered.get()), (2, 2));
    }
}
