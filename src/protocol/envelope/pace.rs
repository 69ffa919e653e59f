//! How fast data may go to a peer that asked for backpressure.
//!
//! Pure: time is an argument. Invariants: without a limit nothing waits; over any time no more is let through than the
//! rate allows, but for one message and what [`CATCH_UP`] allows for timers that ring late.

use std::time::{Duration, Instant};

/// How much lateness of a timer is made up for.
const CATCH_UP: Duration = Duration::from_millis(20);
/// The slowest rate: one in this time. Whoever wants less wants none.
const SLOWEST: f64 = 24.0 * 3600.0;

/// What a rate counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
    /// Messages.
    Messages,
    /// Bytes of their envelopes.
    Bytes,
}

/// A rate that a peer asked for; a rate of 0 is a pause.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limit {
    per_second: f64,
    counted: Counted,
}

impl Limit {
    /// So many of what is counted in so many seconds.
    pub(super) fn new(rate: f64, counted: Counted, seconds: f64) -> Option<Self> {
        let per_second = rate / seconds;
        let usable = per_second == 0.0 || (per_second.is_finite() && per_second >= 1.0 / SLOWEST);
        usable.then_some(Self { per_second, counted })
    }
}

/// The pace of one session.
#[derive(Debug, Default)]
pub(super) struct Pace {
    limit: Option<Limit>,
    due: Option<Instant>,
    /// Whether it has been noticed that the time has come.
    reached: bool,
}

impl Pace {
    /// Sets the limit, or lifts it.
    pub(super) fn set(&mut self, limit: Option<Limit>) {
        *self = Self { limit, due: None, reached: false };
    }

    /// Whether a message may go now.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        match self.limit {
            None => true,
            Some(limit) => limit.per_second > 0.0 && self.due.is_none_or(|due| now >= due),
        }
    }

    /// A message of so many bytes goes.
    pub(super) fn spend(&mut self, bytes: usize, now: Instant) {
        let Some(limit) = self.limit.filter(|limit| limit.per_second > 0.0) else { return };
        let units = match limit.counted {
            Counted::Messages => 1.0,
            Counted::Bytes => bytes as f64,
        };
        let late = now.checked_sub(CATCH_UP).unwrap_or(now);
        let from = self.due.map_or(now, |due| due.max(late));
        // An interval that no clock can hold is as good as a day.
        let interval = Duration::try_from_secs_f64(units / limit.per_second).unwrap_or(Duration::MAX);
        self.reached = false;
        self.due = from.checked_add(interval).or_else(|| from.checked_add(Duration::from_secs(86_400)));
    }

    /// When a message may go again, while that is still to come.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.reached)
    }

    /// The time is now.
    pub(super) fn on_time(&mut self, now: Instant) {
        self.reached |= self.due.is_some_and(|due| now >= due);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn limit(rate: f64, counted: Counted) -> Option<Limit> {
        Limit::new(rate, counted, 1.0)
    }

    #[test]
    fn rates() {
        for (rate, seconds, usable) in [
            (10.0, 1.0, true),
            (0.0, 1.0, true),
            (0.5, 60.0, true),
            (1.0, 86_400.0, true),
            (1.0, 86_401.0, false),
            (-1.0, 1.0, false),
            (f64::NAN, 1.0, false),
            (f64::INFINITY, 1.0, false),
            (1e300, 1.0, true),
        ] {
            assert_eq!(Limit::new(rate, Counted::Messages, seconds).is_some(), usable, "{rate} in {seconds}");
        }
    }

    #[test]
    fn messages_keep_their_distance() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(pace.is_open(start));
        pace.spend(10, start);
        assert!(pace.is_open(start) && pace.due().is_none());
        pace.set(limit(10.0, Counted::Messages));
        assert!(pace.is_open(start));
        pace.spend(10, start);
        assert_eq!(pace.due(), Some(at(100)));
        assert!(!pace.is_open(at(99)) && pace.is_open(at(100)));
        // A timer that rings a little late costs nothing, a long silence saves nothing up.
        pace.spend(10, at(115));
        assert_eq!(pace.due(), Some(at(200)));
        pace.spend(10, at(5000));
        assert_eq!(pace.due(), Some(at(5080)));
        pace.set(limit(1000.0, Counted::Bytes));
        pace.spend(500, at(5000));
        assert_eq!(pace.due(), Some(at(5500)));
        pace.set(limit(0.0, Counted::Messages));
        assert!(!pace.is_open(at(1_000_000)) && pace.due().is_none());
        pace.spend(10, at(0));
        pace.set(None);
        assert!(pace.is_open(at(0)));
    }

    proptest! {
        #[test]
        fn no_more_passes_than_the_rate_allows(rate in 1.0..5000.0_f64, steps in proptest::collection::vec(0..50_u64, 1..500)) {
            let (start, mut pace) = (Instant::now(), Pace::default());
            pace.set(limit(rate, Counted::Messages));
            let (mut at, mut passed) = (start, 0);
            for step in steps {
                at += Duration::from_millis(step);
                while pace.is_open(at) {
                    pace.spend(1, at);
                    passed += 1;
                }
            }
            let time = (at - start + CATCH_UP).as_secs_f64();
            prop_assert!(f64::from(passed) <= time * rate + 2.0, "{} in {}", passed, time);
        }

        #[test]
        fn nothing_overflows(rate in any::<f64>(), seconds in any::<f64>(), bytes in any::<usize>()) {
            let mut pace = Pace::default();
            pace.set(Limit::new(rate, Counted::Bytes, seconds));
            for _ in 0..3 {
                pace.spend(bytes, Instant::now());
            }
        }
    }
}
