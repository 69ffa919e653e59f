//! How fast data may go to a peer that asked for backpressure.
//!
//! Pure: time is an argument. Invariant: without a limit nothing waits.

use std::time::Instant;

use crate::rate::RateLimiter;

/// The slowest rate: one in this time. Anything slower is a pause.
const SLOWEST: f64 = 24.0 * 3600.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counted {
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

/// What one session's limit lets through.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    limit: Option<Limit>,
    /// None without a limit, and while it is a pause.
    limiter: Option<RateLimiter>,
    /// Whether it has been noticed that the time has come.
    reached: bool,
}

impl Throttle {
    /// Sets the limit, or lifts it.
    pub(super) fn set(&mut self, limit: Option<Limit>) {
        let rate = limit.map(|limit| limit.per_second).filter(|rate| *rate > 0.0);
        *self = Self { limit, limiter: rate.map(RateLimiter::steady), reached: false };
    }

    /// Returns whether a message may go now.
    pub(super) fn is_open(&self, now: Instant) -> bool {
        self.limiter.map_or(self.limit.is_none(), |limiter| limiter.allows(1.0, now))
    }

    /// Accounts for a message of so many bytes that goes.
    pub(super) fn spend(&mut self, bytes: usize, now: Instant) {
        if let (Some(limit), Some(limiter)) = (self.limit, &mut self.limiter) {
            let units = match limit.counted {
                Counted::Messages => 1.0,
                Counted::Bytes => bytes as f64,
            };
            limiter.charge(units, now);
            self.reached = false;
        }
    }

    /// Returns when a message may go again, while that is still to come.
    pub(super) fn due(&self) -> Option<Instant> {
        self.limiter.and_then(|limiter| limiter.due(1.0)).filter(|_| !self.reached)
    }

    /// Notes that the time has come.
    pub(super) fn on_time(&mut self, now: Instant) {
        self.reached |= self.due().is_some_and(|due| now >= due);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
        let (start, mut throttle) = (Instant::now(), Throttle::default());
        let at = |ms| start + Duration::from_millis(ms);
        assert!(throttle.is_open(start));
        throttle.spend(10, start);
        assert!(throttle.is_open(start) && throttle.due().is_none());
        throttle.set(limit(10.0, Counted::Messages));
        assert!(throttle.is_open(start));
        throttle.spend(10, start);
        assert_eq!(throttle.due(), Some(at(100)));
        assert!(!throttle.is_open(at(99)) && throttle.is_open(at(100)));
        // A timer that rings a little late costs nothing, a long silence saves nothing up.
        throttle.spend(10, at(115));
        assert_eq!(throttle.due(), Some(at(200)));
        throttle.spend(10, at(5000));
        assert_eq!(throttle.due(), Some(at(5080)));
        throttle.set(limit(1000.0, Counted::Bytes));
        throttle.spend(500, at(5000));
        assert_eq!(throttle.due(), Some(at(5500)));
        throttle.set(limit(0.0, Counted::Messages));
        assert!(!throttle.is_open(at(1_000_000)) && throttle.due().is_none());
        throttle.spend(10, at(0));
        throttle.set(None);
        assert!(throttle.is_open(at(0)));
    }

    proptest! {
        #[test]
        fn nothing_overflows(rate in any::<f64>(), seconds in any::<f64>(), bytes in any::<usize>()) {
            let mut throttle = Throttle::default();
            throttle.set(Limit::new(rate, Counted::Bytes, seconds));
            for _ in 0..3 {
                throttle.spend(bytes, Instant::now());
            }
        }
    }
}
