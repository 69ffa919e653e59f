//! How far each partition is settled without a gap (pure but for a waker).
//!
//! Invariant: a position never passes a message without an outcome; what a partition owed before it was given back
//! changes nothing when it is settled later.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::queue::ledger::OnSafe;

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
    has_rung: bool,
    waker: Option<Waker>,
}

/// All partitions.
#[derive(Default)]
pub struct Positions {
    partitions: HashMap<i32, Rc<RefCell<Partition>>>,
    bell: Rc<RefCell<Bell>>,
}

impl Positions {
    /// Who is woken when something is settled.
    pub fn watch(&self, cx: &Context<'_>) {
        let mut bell = self.bell.borrow_mut();
        if !bell.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            bell.waker = Some(cx.waker().clone());
        }
    }

    /// A message was taken; what is returned is called with its outcome.
    pub fn open(&mut self, partition: i32, offset: i64) -> OnSafe {
        let known = Rc::clone(self.partitions.entry(partition).or_default());
        known.borrow_mut().taken.push_back((offset, false));
        let bell = Rc::clone(&self.bell);
        Box::new(move |_| {
            known.borrow_mut().settle(offset);
            let mut bell = bell.borrow_mut();
            // Once a turn is enough.
            if !std::mem::replace(&mut bell.has_rung, true)
                && let Some(waker) = &bell.waker
            {
                waker.wake_by_ref();
            }
        })
    }

    /// Positions that have changed since they were last asked for.
    pub fn settled(&self) -> Vec<(i32, i64)> {
        if !std::mem::replace(&mut self.bell.borrow_mut().has_rung, false) {
            return Vec::new();
        }
        let settled = |(number, partition): (&i32, &Rc<RefCell<Partition>>)| {
            partition.borrow_mut().settled.take().map(|offset| (*number, offset))
        };
        self.partitions.iter().filter_map(settled).collect()
    }

    /// Whether one of these owes an outcome.
    pub fn is_open(&self, partitions: &[i32]) -> bool {
        let of = |number| self.partitions.get(number);
        partitions.iter().filter_map(of).any(|partition| !partition.borrow().taken.is_empty())
    }

    /// Whether nothing is owed.
    pub fn is_all_settled(&self) -> bool {
        self.partitions.values().all(|partition| partition.borrow().taken.is_empty())
    }

    /// These are not ours any more, or begin anew.
    pub fn forget(&mut self, partitions: &[i32]) {
        for number in partitions {
            self.partitions.remove(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::ledger::{Safety, Settlement};

    const SAFE: Safety = Safety::Settled(Settlement::Delivered);

    #[test]
    fn a_position_never_passes_what_is_not_settled() {
        let mut positions = Positions::default();
        let mut open: Vec<_> = [10, 11, 13, 14].map(|offset| Some(positions.open(0, offset))).into();
        let other = positions.open(1, 5);
        let mut settle = |place: usize| open[place].take().expect("once")(SAFE);
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
        other(SAFE);
        assert_eq!(positions.settled(), [(1, 6)]);
        assert!(positions.is_all_settled());
    }

    #[test]
    fn what_comes_late_changes_nothing_for_the_next_owner() {
        let mut positions = Positions::default();
        let late = positions.open(0, 10);
        positions.forget(&[0]);
        let again = positions.open(0, 10);
        late(SAFE);
        assert_eq!(positions.settled(), []);
        again(SAFE);
        assert_eq!(positions.settled(), [(0, 11)]);
    }
}
