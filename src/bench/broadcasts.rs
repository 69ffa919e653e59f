//! Counters of broadcasts, the one thing all shards share: how many connections each message has reached.
//!
//! Invariant: counters only, without a lock; a message is looked up by its sender and number, for as many of the latest
//! as there is room for.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Latest messages of a sender that are followed.
const FOLLOWED: usize = 4096;

/// Counters of a run's broadcasts.
#[derive(Debug, Default)]
pub(crate) struct Broadcasts {
    senders: usize,
    /// By sender and number.
    reached: Vec<AtomicU32>,
    receivers: AtomicU32,
    sent: AtomicU64,
    measured: AtomicU64,
    delivered: AtomicU64,
    /// A sender got its own message.
    returned: AtomicBool,
}

impl Broadcasts {
    /// For so many senders; 0 where nothing is broadcast.
    #[must_use]
    pub(crate) fn new(senders: usize) -> Self {
        let reached = (0..senders * FOLLOWED).map(|_| AtomicU32::new(0)).collect();
        Self { senders, reached, ..Self::default() }
    }

    #[must_use]
    pub(crate) fn senders(&self) -> usize {
        self.senders
    }

    /// Sets how many connections are to be reached.
    pub(crate) fn set_receivers(&self, receivers: u64) {
        self.receivers.store(u32::try_from(receivers).unwrap_or(u32::MAX), Ordering::Relaxed);
    }

    /// How many connections are to be reached, the sender among them.
    #[must_use]
    pub(crate) fn receivers(&self) -> u32 {
        self.receivers.load(Ordering::Relaxed)
    }

    fn slot(&self, sender: u32, sequence: u64) -> Option<&AtomicU32> {
        self.reached.get(sender as usize * FOLLOWED + sequence as usize % FOLLOWED)
    }

    /// A message is being sent.
    pub(crate) fn sent(&self, sender: u32, sequence: u64, measured: bool) {
        if let Some(slot) = self.slot(sender, sequence) {
            slot.store(0, Ordering::Relaxed);
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
        self.measured.fetch_add(u64::from(measured), Ordering::Relaxed);
    }

    /// It has reached one more connection; how many that makes.
    pub(crate) fn delivered(&self, sender: u32, sequence: u64, receiver: u32) -> u32 {
        self.delivered.fetch_add(1, Ordering::Relaxed);
        if sender == receiver {
            self.returned.store(true, Ordering::Relaxed);
        }
        self.slot(sender, sequence).map_or(0, |slot| slot.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Whether senders get their own messages.
    #[must_use]
    pub(crate) fn is_returned(&self) -> bool {
        self.returned.load(Ordering::Relaxed)
    }

    /// Connections a message goes to.
    #[must_use]
    pub(crate) fn audience(&self) -> u64 {
        u64::from(self.receivers()).saturating_sub(u64::from(!self.is_returned()))
    }

    /// Whether every message has reached every connection.
    #[must_use]
    pub(crate) fn is_complete(&self) -> bool {
        self.delivered.load(Ordering::Relaxed) >= self.sent.load(Ordering::Relaxed) * self.audience()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_are_counted_by_message() {
        let broadcasts = Broadcasts::new(2);
        broadcasts.set_receivers(3);
        broadcasts.sent(1, 0, true);
        assert_eq!([(1, 0, 0), (1, 0, 2)].map(|(s, n, r)| broadcasts.delivered(s, n, r)), [1, 2]);
        assert!(broadcasts.is_complete() && broadcasts.audience() == 2);
        broadcasts.sent(1, FOLLOWED as u64, true);
        assert!(!broadcasts.is_complete());
        assert_eq!(broadcasts.delivered(1, FOLLOWED as u64, 1), 1, "the place is used again");
        assert!(broadcasts.is_returned() && broadcasts.audience() == 3);
        assert!(Broadcasts::new(0).is_complete());
    }
}
