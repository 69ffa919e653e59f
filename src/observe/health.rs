//! Whether a run is well (pure).
//!
//! Time is an argument: somebody looks at the run every now and then and says what is so. Owns the conditions of
//! `/health` and the rate of messages over a sliding window. Invariant: memory for the window and for full queues only.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// How long a queue may be full.
pub(crate) const FULL_FOR: Duration = Duration::from_secs(30);
/// How long a server that must have clients may be without.
pub(crate) const ALONE_FOR: Duration = Duration::from_secs(300);
/// What the rate is measured over.
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Ok,
    /// A server that must have clients has had none for [`ALONE_FOR`].
    NoClients,
    /// A client has spent its retries.
    RetriesSpent,
    /// A queue was full for [`FULL_FOR`].
    QueueFull,
}

impl Status {
    /// As `/health` says it.
    #[must_use]
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NoClients => "no-clients",
            Self::RetriesSpent => "retries-spent",
            Self::QueueFull => "queue-full",
        }
    }
}

/// What is remembered from look to look.
#[derive(Debug)]
pub(crate) struct Health {
    requires_clients: bool,
    /// Since when there is no client.
    alone_since: Option<Instant>,
    /// Since when each full queue is so.
    full_since: BTreeMap<u64, Instant>,
    retries_spent: bool,
    /// Sums of messages at earlier looks, the first at or before the beginning of the window.
    samples: VecDeque<(Instant, u64)>,
}

impl Health {
    /// A run that begins now.
    #[must_use]
    pub(crate) fn new(requires_clients: bool, now: Instant) -> Self {
        Self {
            requires_clients,
            alone_since: Some(now),
            full_since: BTreeMap::new(),
            retries_spent: false,
            samples: VecDeque::from([(now, 0)]),
        }
    }

    /// A look: sessions open, queues that are full in ascending order, messages since the start.
    pub(crate) fn look(&mut self, now: Instant, active: usize, full: &[u64], retries_spent: bool, messages: u64) {
        self.alone_since = if active > 0 { None } else { self.alone_since.or(Some(now)) };
        self.full_since.retain(|queue, _| full.binary_search(queue).is_ok());
        for queue in full {
            self.full_since.entry(*queue).or_insert(now);
        }
        self.retries_spent = retries_spent;
        self.samples.push_back((now, messages));
        while self.samples.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.samples.pop_front();
        }
    }

    #[must_use]
    pub(crate) fn status(&self, now: Instant) -> Status {
        let lasted = |since: &Instant, limit| now.saturating_duration_since(*since) >= limit;
        if self.retries_spent {
            Status::RetriesSpent
        } else if self.full_since.values().any(|since| lasted(since, FULL_FOR)) {
            Status::QueueFull
        } else if self.requires_clients && self.alone_since.is_some_and(|since| lasted(&since, ALONE_FOR)) {
            Status::NoClients
        } else {
            Status::Ok
        }
    }

    /// Messages a second over the window, told their sum now; not before there is a second to tell of.
    #[must_use]
    pub(crate) fn rate(&self, now: Instant, messages: u64) -> Option<f64> {
        let (at, before) = self.samples.front()?;
        let passed = now.saturating_duration_since(*at).as_secs_f64();
        (passed >= 1.0).then(|| messages.saturating_sub(*before) as f64 / passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_server_that_must_have_clients_is_ill_after_five_minutes_without() {
        let start = Instant::now();
        for (requires, expected) in [(true, Status::NoClients), (false, Status::Ok)] {
            let mut health = Health::new(requires, start);
            health.look(start + 299 * SECOND, 0, &[], false, 0);
            assert_eq!(health.status(start + 299 * SECOND), Status::Ok);
            assert_eq!(health.status(start + 300 * SECOND), expected);
            health.look(start + 301 * SECOND, 1, &[], false, 0);
            assert_eq!(health.status(start + 900 * SECOND), Status::Ok);
            health.look(start + 901 * SECOND, 0, &[], false, 0);
            assert_eq!(health.status(start + 1200 * SECOND), Status::Ok);
            assert_eq!(health.status(start + 1201 * SECOND), expected);
        }
    }

    #[test]
    fn one_queue_must_be_full_all_the_time() {
        let start = Instant::now();
        let mut health = Health::new(false, start);
        for second in 0..100 {
            // Different ones in turn are none that stands still.
            health.look(start + second * SECOND, 1, &[u64::from(second % 3)], false, 0);
            assert_eq!(health.status(start + second * SECOND), Status::Ok);
        }
        for second in 100..130 {
            health.look(start + second * SECOND, 1, &[7], false, 0);
            assert_eq!(health.status(start + second * SECOND), Status::Ok);
        }
        health.look(start + 130 * SECOND, 1, &[7, 8], false, 0);
        assert_eq!(health.status(start + 130 * SECOND), Status::QueueFull);
        health.look(start + 131 * SECOND, 1, &[8], false, 0);
        assert_eq!(health.status(start + 131 * SECOND), Status::Ok);
    }

    #[test]
    fn spent_retries_are_told() {
        let start = Instant::now();
        let mut health = Health::new(false, start);
        health.look(start, 0, &[], true, 0);
        assert_eq!(health.status(start), Status::RetriesSpent);
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let start = Instant::now();
        let mut health = Health::new(false, start);
        assert_eq!(health.rate(start, 5), None);
        assert_eq!(health.rate(start + SECOND / 2, 2_000_000), None, "too short a time for a rate");
        for second in 1..=100_u32 {
            health.look(start + second * SECOND, 1, &[], false, u64::from(second) * 30);
            let rate = health.rate(start + second * SECOND, u64::from(second) * 30).expect("a rate");
            assert!((rate - 30.0).abs() < 1e-9, "{rate}");
        }
        assert!(health.samples.len() <= 12);
        for second in 101..=111 {
            health.look(start + second * SECOND, 1, &[], false, 3000);
        }
        assert_eq!(health.rate(start + 111 * SECOND, 3000), Some(0.0));
    }
}
