//! How far each partition is settled without a gap (pure but for a waker).
//!
//! Invariant: a position never passes a message without an outcome; what a partition owed before it was given back
//! changes nothing when it is settled later.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::queue::ledger::{AckCallback, Keeper, Safety};

/// One partition while it is ours.
#[derive(Default)]
struct Partition {
    /// Offsets taken, in order, and whether they are settled.
    taken: VecDeque<(i64, bool)>,
    /// The position to be told.
    settled: Option<i64>,
}

impl Partition {
    fn settle(&mut self, offset: i64) {
        let place = match self.taken.front() {
            Some((front, _)) if *front == offset => 0,
            _ => match self.taken.binary_search_by_key(&offset, |(known, _)| *known) {
                Ok(place) => place,
                Err(_) => return,
            },
        };
        self.taken[place].1 = true;
        while let Some((offset, true)) = self.taken.front() {
            self.settled = Some(offset + 1);
            self.taken.pop_front();
        }
    }
}

#[derive(Default)]
struct Bell {
    has_rung: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// What a partition's messages tell when they are settled.
struct Kept {
    partition: RefCell<Partition>,
    bell: Rc<Bell>,
}

impl Keeper for Kept {
    fn is_safe(&self, offset: u64, _: Safety) {
        self.partition.borrow_mut().settle(offset.cast_signed());
        // Once a turn is enough.
        if !self.bell.has_rung.replace(true)
            && let Some(waker) = &*self.bell.waker.borrow()
        {
            waker.wake_by_ref();
        }
    }
}

#[derive(Default)]
pub(super) struct Positions {
    /// By number; they are few.
    partitions: Vec<(i32, Rc<Kept>)>,
    bell: Rc<Bell>,
}

impl Positions {
    /// Who is woken when something is settled.
    pub(super) fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.bell.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// A message was taken; what is returned is told its outcome.
    pub(super) fn open(&mut self, partition: i32, offset: i64) -> AckCallback {
        let place = self.partitions.iter().position(|(number, _)| *number == partition).unwrap_or_else(|| {
            let kept = Kept { partition: RefCell::default(), bell: Rc::clone(&self.bell) };
            self.partitions.push((partition, Rc::new(kept)));
            self.partitions.len() - 1
        });
        let kept = Rc::clone(&self.partitions[place].1);
        kept.partition.borrow_mut().taken.push_back((offset, false));
        AckCallback::Keeper(kept, offset.cast_unsigned())
    }

    /// Positions that have changed since they were last asked for.
    pub(super) fn settled(&self) -> Vec<(i32, i64)> {
        if !self.bell.has_rung.replace(false) {
            return Vec::new();
        }
        let settled = |(number, kept): &(i32, Rc<Kept>)| {
            kept.partition.borrow_mut().settled.take().map(|offset| (*number, offset))
        };
        self.partitions.iter().filter_map(settled).collect()
    }

    /// Whether one of these owes an outcome.
    pub(super) fn is_open(&self, partitions: &[i32]) -> bool {
        self.partitions.iter().any(|(number, kept)| partitions.contains(number) && kept.owes())
    }

    pub(super) fn is_all_settled(&self) -> bool {
        !self.partitions.iter().any(|(_, kept)| kept.owes())
    }

    /// These are not ours any more, or begin anew.
    pub(super) fn forget(&mut self, partitions: &[i32]) {
        self.partitions.retain(|(number, _)| !partitions.contains(number));
    }
}

impl Kept {
    fn owes(&self) -> bool {
        !self.partition.borrow().taken.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::settlement::Settlement;

    const SAFE: Safety = Safety::Settled(Settlement::Delivered);

    #[test]
    fn a_position_never_passes_what_is_not_settled() {
        let mut positions = Positions::default();
        let mut open: Vec<_> = [10, 11, 13, 14].map(|offset| Some(positions.open(0, offset))).into();
        let other = positions.open(1, 5);
        let mut settle = |place: usize| open[place].take().expect("once").tell(SAFE);
        settle(1);
        assert_eq!(positions.settled(), []);
        settle(0);
        assert_eq!(positions.settled(), [(0, 12)]);
        assert_eq!(positions.settled(), [], "told once");
        settle(3);
        assert_eq!(positions.settled(), []);
        settle(2);
        assert_eq!(positions.settled(), [(0, 15)]);
        assert!(positions.is_open(&[0, 1]) && !positions.is_open(&[0]) && !positions.is_all_settled());
        other.tell(SAFE);
        assert_eq!(positions.settled(), [(1, 6)]);
        assert!(positions.is_all_settled());
    }

    #[test]
    fn what_comes_late_changes_nothing_for_the_next_owner() {
        let mut positions = Positions::default();
        let late = positions.open(0, 10);
        positions.forget(&[0]);
        let again = positions.open(0, 10);
        late.tell(SAFE);
        assert_eq!(positions.settled(), []);
        again.tell(SAFE);
        assert_eq!(positions.settled(), [(0, 11)]);
    }
}
