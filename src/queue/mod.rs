//! A queue bounded by count and by bytes, whose behaviour when full has a name.
//!
//! Pure: no clock, no waker, no lock. Invariants: neither bound is ever exceeded (one message that
//! alone is larger than the byte bound is refused or dropped); every message pushed is either
//! inside, popped, or counted by its refusal.

pub(crate) mod end;
pub(crate) mod envelope;
pub(crate) mod lane;
pub(crate) mod ledger;
pub(crate) mod pace;
pub(crate) mod parked;
pub(crate) mod read_throttle;
pub(crate) mod settlement;
pub(crate) mod spool;
pub(crate) mod stop;
pub(crate) mod wakers;
pub(crate) mod window;

use std::collections::VecDeque;

use crate::message::Message;

/// What counts against the byte bound of a queue.
pub(crate) trait Weigh {
    /// Payload bytes.
    fn weight(&self) -> usize;
}

impl Weigh for Message {
    fn weight(&self) -> usize {
        self.len()
    }
}

/// What happens to a message that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum OverflowPolicy {
    /// The sender waits.
    Block,
    /// The oldest messages make room.
    DropOldest,
    /// The new message is dropped.
    DropNewest,
    /// The receiver is disconnected.
    Disconnect,
}

/// Bounds of a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LaneSettings {
    /// Messages it holds.
    pub max_messages: usize,
    /// Payload bytes it holds.
    pub max_bytes: usize,
    /// What happens when it is full; with a spool behind it that waits, [`OverflowPolicy::DropOldest`] drops from its
    /// share of the spool, and the rest is the spool's.
    pub policy: OverflowPolicy,
}

/// What became of a pushed message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pushed<T = Message> {
    /// It is in the queue; so many older ones were dropped for it.
    Accepted {
        /// Messages dropped to make room.
        dropped: u64,
    },
    Dropped,
    /// It does not fit: the sender has it back and waits.
    Full(T),
    /// It does not fit: the receiver must go.
    Disconnect,
}

/// Messages that wait, in order.
#[derive(Debug)]
pub(crate) struct Queue<T = Message> {
    messages: VecDeque<T>,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
    policy: OverflowPolicy,
    full: bool,
}

impl<T: Weigh> Queue<T> {
    /// An empty queue; both bounds are at least one.
    #[must_use]
    pub(crate) fn new(max_messages: usize, max_bytes: usize, policy: OverflowPolicy) -> Self {
        Self {
            messages: VecDeque::new(),
            bytes: 0,
            max_messages: max_messages.max(1),
            max_bytes: max_bytes.max(1),
            policy,
            full: false,
        }
    }

    /// Messages it can hold.
    #[must_use]
    pub(crate) fn capacity(&self) -> usize {
        self.max_messages
    }

    /// Whether something did not fit, and since then it has not been emptied to nine tenths: a slow receiver does not
    /// end it by taking one message.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    /// How full it is, by count or by bytes, from 0 to 1.
    #[must_use]
    pub(crate) fn utilization(&self) -> f64 {
        let share = |part: usize, whole: usize| part as f64 / whole as f64;
        share(self.messages.len(), self.max_messages).max(share(self.bytes, self.max_bytes)).min(1.0)
    }

    /// Messages inside.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.messages.len()
    }

    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Payload bytes inside.
    #[must_use]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a message of `size` bytes fits now. An empty queue takes any size, so that a message
    /// larger than the byte bound can pass alone under [`OverflowPolicy::Block`].
    #[must_use]
    pub(crate) fn fits(&self, size: usize) -> bool {
        self.messages.is_empty() || (self.messages.len() < self.max_messages && self.bytes + size <= self.max_bytes)
    }

    /// Adds a message, or does what the policy says; what is dropped for it is dropped.
    #[cfg(test)]
    pub(crate) fn push(&mut self, message: T) -> Pushed<T> {
        self.push_with(message, drop)
    }

    /// Adds a message, or does what the policy says; every message that is dropped for it goes to `lost`.
    pub(crate) fn push_with(&mut self, message: T, mut lost: impl FnMut(T)) -> Pushed<T> {
        let size = message.weight();
        if self.fits(size) && (size <= self.max_bytes || self.policy == OverflowPolicy::Block) {
            self.put(message);
            return Pushed::Accepted { dropped: 0 };
        }
        self.full = true;
        match self.policy {
            OverflowPolicy::Block => return Pushed::Full(message),
            OverflowPolicy::Disconnect => {
                lost(message);
                return Pushed::Disconnect;
            }
            OverflowPolicy::DropOldest if size <= self.max_bytes => {}
            OverflowPolicy::DropOldest | OverflowPolicy::DropNewest => {
                lost(message);
                return Pushed::Dropped;
            }
        }
        let mut dropped = 0;
        while !self.fits(size) {
            if let Some(older) = self.pop() {
                lost(older);
            }
            dropped += 1;
        }
        self.full = true;
        self.put(message);
        Pushed::Accepted { dropped }
    }

    /// Adds a message whatever the bounds.
    pub(crate) fn put(&mut self, message: T) {
        self.bytes += message.weight();
        self.messages.push_back(message);
    }

    /// Puts a message back that was taken out, before all others and whatever the bounds.
    pub(crate) fn requeue(&mut self, message: T) {
        self.bytes += message.weight();
        self.messages.push_front(message);
    }

    /// Takes the oldest message. An empty queue keeps no memory.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.weight();
        self.full &= self.utilization() > 0.9;
        if self.messages.is_empty() && self.messages.capacity() > 64 {
            self.messages = VecDeque::new();
        }
        Some(message)
    }

    /// The oldest message.
    #[must_use]
    pub(crate) fn front(&self) -> Option<&T> {
        self.messages.front()
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.messages.iter()
    }

    /// All messages, the oldest first; their weight must stay.
    pub(crate) fn iter_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut T> + ExactSizeIterator {
        self.messages.iter_mut()
    }

    /// Bytes it holds at most.
    #[must_use]
    pub(crate) fn byte_capacity(&self) -> usize {
        self.max_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(size: usize) -> Message {
        Message::binary(vec![0; size])
    }

    fn filled(policy: OverflowPolicy) -> Queue {
        let mut queue = Queue::new(2, 10, policy);
        assert_eq!(queue.push(message(1)), Pushed::Accepted { dropped: 0 });
        assert_eq!(queue.push(message(2)), Pushed::Accepted { dropped: 0 });
        queue
    }

    #[test]
    fn drops_oldest_when_full() {
        let mut queue = filled(OverflowPolicy::DropOldest);
        assert_eq!(queue.push(message(3)), Pushed::Accepted { dropped: 1 });
        assert_eq!(queue.push(message(10)), Pushed::Accepted { dropped: 2 });
        assert_eq!((queue.len(), queue.bytes()), (1, 10));
        assert_eq!(queue.push(message(11)), Pushed::Dropped);
    }

    #[test]
    fn drops_newest_blocks_or_disconnects_when_full() {
        assert_eq!(filled(OverflowPolicy::DropNewest).push(message(3)), Pushed::Dropped);
        assert_eq!(filled(OverflowPolicy::Block).push(message(3)), Pushed::Full(message(3)));
        assert_eq!(filled(OverflowPolicy::Disconnect).push(message(3)), Pushed::Disconnect);
    }

    #[test]
    fn full_is_a_state_that_one_message_taken_does_not_end() {
        let mut queue = Queue::new(20, 1000, OverflowPolicy::DropOldest);
        (0..20).for_each(|_| assert_eq!(queue.push(message(1)), Pushed::Accepted { dropped: 0 }));
        assert!(!queue.is_full(), "all has found room");
        queue.push(message(1));
        assert!(queue.is_full());
        queue.pop();
        assert!(queue.is_full());
        queue.pop();
        assert!(!queue.is_full());
        assert!((queue.utilization() - 0.9).abs() < 1e-9);
        assert_eq!(queue.capacity(), 20);
        queue.push(message(2000));
        assert!(queue.is_full(), "by bytes");
    }

    #[test]
    fn a_message_over_the_byte_bound_passes_alone_when_blocking() {
        let mut queue = Queue::new(5, 4, OverflowPolicy::Block);
        assert_eq!(queue.push(message(9)), Pushed::Accepted { dropped: 0 });
        assert_eq!(queue.push(message(1)), Pushed::Full(message(1)));
        assert_eq!(queue.pop(), Some(message(9)));
        assert!(queue.is_empty());
    }

    proptest! {
        #[test]
        fn bounds_hold_and_every_message_is_accounted_for(
            sizes in proptest::collection::vec((0_usize..30, any::<bool>()), 0..200),
            policy in prop_oneof![Just(OverflowPolicy::DropOldest), Just(OverflowPolicy::DropNewest), Just(OverflowPolicy::Block)],
        ) {
            let mut queue = Queue::new(7, 50, policy);
            let (mut accepted, mut dropped_later, mut popped) = (0_u64, 0_u64, 0_u64);
            for (size, pop) in sizes {
                if let Pushed::Accepted { dropped } = queue.push(message(size)) {
                    accepted += 1;
                    dropped_later += dropped;
                }
                prop_assert!(queue.len() <= 7);
                prop_assert!(queue.bytes() <= 50);
                if pop && queue.pop().is_some() {
                    popped += 1;
                }
            }
            prop_assert_eq!(accepted, dropped_later + popped + queue.len() as u64);
        }
    }
}
