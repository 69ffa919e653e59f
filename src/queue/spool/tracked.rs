//! Which messages of the store are in memory or on their way, and which of them have their outcome.
//!
//! Pure. Invariants: blocks stand in the order of their positions; one of which nothing waits any more is handed out for
//! removal, once.

use std::collections::VecDeque;

/// A block some of whose messages are in memory.
#[derive(Debug)]
struct Tracked {
    first: u64,
    count: u64,
    /// A bit for each message that has its outcome.
    done: Vec<u64>,
    done_count: u64,
    /// So many of the first are done.
    leading: u64,
    /// No more messages are added.
    is_complete: bool,
}

impl Tracked {
    fn is_done(&self, index: u64) -> bool {
        self.done.get((index / 64) as usize).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Tracker {
    blocks: VecDeque<Tracked>,
    removed: Vec<u64>,
}

impl Tracker {
    /// The last block is followed by another one.
    pub(crate) fn begin(&mut self, first: u64) {
        self.complete();
        self.blocks.push_back(Tracked {
            first,
            count: 0,
            done: Vec::new(),
            done_count: 0,
            leading: 0,
            is_complete: false,
        });
    }

    /// The last block has one message more.
    pub(crate) fn extend(&mut self) {
        if let Some(last) = self.blocks.back_mut() {
            last.count += 1;
            if last.count.div_ceil(64) > last.done.len() as u64 {
                last.done.push(0);
            }
        }
    }

    /// The last block is as it will stay.
    pub(crate) fn complete(&mut self) {
        if let Some(last) = self.blocks.back_mut() {
            last.is_complete = true;
            if last.done_count == last.count {
                self.removed.push(last.first);
                self.blocks.pop_back();
            }
        }
    }

    /// A complete block stands before all others.
    pub(crate) fn prepend(&mut self, first: u64, count: u64) {
        let done = vec![0; count.div_ceil(64) as usize];
        self.blocks.push_front(Tracked { first, count, done, done_count: 0, leading: 0, is_complete: true });
    }

    /// The message at this position has its outcome.
    pub(crate) fn settled(&mut self, position: u64) {
        let place = self.blocks.partition_point(|block| block.first <= position);
        let Some(block) = place.checked_sub(1).and_then(|place| self.blocks.get_mut(place)) else { return };
        let index = position - block.first;
        if index >= block.count || block.is_done(index) {
            return;
        }
        block.done[(index / 64) as usize] |= 1 << (index % 64);
        block.done_count += 1;
        while block.leading < block.count && block.is_done(block.leading) {
            block.leading += 1;
        }
        if block.is_complete && block.done_count == block.count {
            self.removed.push(block.first);
            self.blocks.remove(place - 1);
        }
    }

    /// The first position that has no outcome, if any.
    pub(crate) fn front(&self) -> Option<u64> {
        self.blocks.front().map(|block| block.first + block.leading)
    }

    /// Ranges of what has its outcome behind the front.
    pub(crate) fn settled_ranges(&self) -> Vec<(u64, u64)> {
        let mut ranges = Vec::new();
        for (place, block) in self.blocks.iter().enumerate() {
            let known = if place == 0 { block.leading } else { 0 };
            if block.done_count == known {
                continue;
            }
            let mut index = known;
            while index < block.count {
                let from = index;
                while index < block.count && block.is_done(index) {
                    index += 1;
                }
                if index > from {
                    ranges.push((block.first + from, block.first + index));
                } else {
                    index += 1;
                }
            }
        }
        ranges
    }

    /// Blocks of which nothing waits any more.
    pub(crate) fn take_removed(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(first: u64, count: u64) -> Tracker {
        let mut tracker = Tracker::default();
        tracker.begin(first);
        (0..count).for_each(|_| tracker.extend());
        tracker
    }

    #[test]
    fn the_front_is_the_first_without_an_outcome() {
        let mut tracker = of(10, 100);
        tracker.settled(11);
        tracker.settled(80);
        tracker.settled(81);
        assert_eq!((tracker.front(), tracker.settled_ranges()), (Some(10), vec![(11, 12), (80, 82)]));
        tracker.settled(10);
        assert_eq!((tracker.front(), tracker.settled_ranges()), (Some(12), vec![(80, 82)]));
    }

    #[test]
    fn a_block_is_removed_when_it_is_complete_and_done() {
        let mut tracker = of(0, 2);
        tracker.settled(0);
        tracker.settled(1);
        tracker.settled(1);
        assert_eq!(tracker.take_removed(), Vec::<u64>::new(), "more may come");
        tracker.begin(2);
        assert_eq!(tracker.take_removed(), [0]);
        tracker.extend();
        tracker.begin(3);
        tracker.extend();
        tracker.complete();
        tracker.settled(3);
        assert_eq!((tracker.take_removed(), tracker.front()), (vec![3], Some(2)), "out of order");
        tracker.settled(2);
        assert_eq!((tracker.take_removed(), tracker.front()), (vec![2], None));
        tracker.settled(2);
        assert_eq!(tracker.take_removed(), Vec::<u64>::new());
    }
}
