//! Limits a rate: so many units a second, with a bounded burst (pure).
//!
//! A token bucket with time as an argument. Leaves waiting, turns and units to its users. Invariant: over any time no
//! more is allowed than the rate and the burst bring, except that a charge may overdraw, which later ones wait for.

use std::time::{Duration, Instant};

/// How much lateness of a timer a steady limiter makes up for.
const CATCH_UP: Duration = Duration::from_millis(20);
/// A wait so long that it does not end; clocks can still hold its end.
const NEVER: Duration = Duration::from_secs(1 << 32);
/// Units that arithmetic may lose.
const ROUNDING_UNITS: f64 = 1e-6;
/// Nanoseconds that arithmetic may add to a wait.
const ROUNDING_NANOSECONDS: f64 = 1e-3;

/// A token bucket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RateLimiter {
    /// Units a second.
    rate: f64,
    capacity: f64,
    /// Units there at the last charge; negative when overdrawn.
    level: f64,
    charged: Option<Instant>,
}

impl RateLimiter {
    /// Creates a limiter that saves up what one second brings, one unit at least, and is full at first. `rate` is in
    /// units per second and above zero.
    #[must_use]
    pub(crate) fn with_burst(rate: f64) -> Self {
        let capacity = rate.max(1.0);
        Self { rate, capacity, level: capacity, charged: None }
    }

    /// Creates a limiter that keeps units apart: it allows one at first, and saves up no more than makes up for late
    /// timers. `rate` is in units per second and above zero.
    #[must_use]
    pub(crate) fn steady(rate: f64) -> Self {
        Self { rate, capacity: 1.0 + rate * CATCH_UP.as_secs_f64(), level: 1.0, charged: None }
    }

    /// Returns the rate in units per second.
    #[must_use]
    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    /// Returns the units there at `now`.
    fn level(&self, now: Instant) -> f64 {
        let passed = self.charged.map_or(Duration::ZERO, |charged| now.saturating_duration_since(charged));
        (self.level + passed.as_secs_f64() * self.rate).min(self.capacity)
    }

    /// Returns whether as much is saved up as can be.
    #[must_use]
    pub(crate) fn is_full(&self, now: Instant) -> bool {
        self.level(now) >= self.capacity
    }

    /// Returns whether `amount` units are there at `now`.
    #[must_use]
    pub(crate) fn allows(&self, amount: f64, now: Instant) -> bool {
        self.level(now) + ROUNDING_UNITS >= amount
    }

    /// Takes `amount` units if they are there, and returns whether they were.
    pub(crate) fn take(&mut self, amount: f64, now: Instant) -> bool {
        let is_allowed = self.allows(amount, now);
        if is_allowed {
            self.charge(amount, now);
        }
        is_allowed
    }

    /// Takes `amount` units even if they have yet to come.
    pub(crate) fn charge(&mut self, amount: f64, now: Instant) {
        self.level = self.level(now) - amount;
        // Time that runs backwards brings nothing twice.
        self.charged = Some(self.charged.map_or(now, |charged| charged.max(now)));
    }

    /// Returns when `amount` units, or as many as can be saved up, are there; `None` when they were at the last charge.
    #[must_use]
    pub(crate) fn due(&self, amount: f64) -> Option<Instant> {
        let missing = amount.min(self.capacity) - self.level;
        if missing <= ROUNDING_UNITS {
            return None;
        }
        // Not negative; what is too large is cut off.
        #[allow(clippy::cast_sign_loss)]
        let nanoseconds = (missing / self.rate * 1e9 - ROUNDING_NANOSECONDS).ceil() as u64;
        Some(self.charged? + Duration::from_nanos(nanoseconds).min(NEVER))
    }

    /// Returns how long after `now` it is until `amount` units, or as many as can be saved up, are there.
    #[must_use]
    pub(crate) fn wait(&self, amount: f64, now: Instant) -> Duration {
        self.due(amount).map_or(Duration::ZERO, |due| due.saturating_duration_since(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_of_one_second_passes_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut limiter = RateLimiter::with_burst(10.0);
        assert_eq!((0..20).filter(|_| limiter.take(1.0, start)).count(), 10);
        assert!(!limiter.take(1.0, start + 99 * MS));
        assert!(limiter.take(1.0, start + 101 * MS));
        // However long it was quiet, no more than one second's worth is saved.
        let later = start + 60_000 * MS;
        assert_eq!((0..20).filter(|_| limiter.take(1.0, later)).count(), 10);
        // The clock never runs backwards, and is not believed when it does.
        assert!(!limiter.take(1.0, start));
    }

    #[test]
    fn less_than_one_a_second_is_one_now_and_then() {
        let start = Instant::now();
        let mut limiter = RateLimiter::with_burst(0.5);
        assert!(limiter.is_full(start) && limiter.take(1.0, start));
        assert_eq!(limiter.wait(1.0, start + 500 * MS).as_millis(), 1500);
        assert!(!limiter.take(1.0, start + 1999 * MS) && !limiter.is_full(start + 1999 * MS));
        assert!(limiter.take(1.0, start + 2001 * MS));
        assert_eq!(RateLimiter::with_burst(1e-300).wait(1.0, start), Duration::ZERO);
        let mut never = RateLimiter::with_burst(1e-300);
        never.charge(5.0, start);
        assert_eq!(never.wait(1.0, start), NEVER);
    }

    #[test]
    fn a_steady_one_keeps_units_apart() {
        let (start, mut limiter) = (Instant::now(), RateLimiter::steady(10.0));
        let at = |ms| start + ms * MS;
        assert!(limiter.allows(1.0, start) && limiter.due(1.0).is_none());
        limiter.charge(1.0, start);
        assert!(!limiter.allows(1.0, at(99)) && limiter.allows(1.0, at(100)));
        // A timer that rings a little late costs nothing, a long silence saves nothing up.
        limiter.charge(1.0, at(115));
        assert_eq!(limiter.due(1.0), Some(at(200)));
        limiter.charge(1.0, at(5000));
        assert_eq!(limiter.due(1.0), Some(at(5080)));
        // What is overdrawn is waited for.
        let mut bytes = RateLimiter::steady(1000.0);
        bytes.charge(500.0, at(5000));
        assert_eq!(bytes.due(1.0), Some(at(5500)));
    }

    proptest! {
        #[test]
        fn no_more_passes_than_the_rate_allows(rate in 1.0..5000.0_f64, steps in proptest::collection::vec(0..50_u64, 1..500)) {
            for (mut limiter, burst) in [(RateLimiter::steady(rate), CATCH_UP), (RateLimiter::with_burst(rate), 1000 * MS)] {
                let start = Instant::now();
                let (mut at, mut passed) = (start, 0);
                for step in &steps {
                    at += Duration::from_millis(*step);
                    while limiter.take(1.0, at) {
                        passed += 1;
                    }
                }
                let time = (at - start + burst).as_secs_f64();
                prop_assert!(f64::from(passed) <= time * rate + 2.0, "{} in {}", passed, time);
            }
        }

        #[test]
        fn what_was_waited_for_is_there(rate in 1e-3..1e9_f64, amounts in proptest::collection::vec(0.0..1e6_f64, 1..50)) {
            for mut limiter in [RateLimiter::steady(rate), RateLimiter::with_burst(rate)] {
                let mut now = Instant::now();
                for amount in &amounts {
                    now += limiter.wait(1.0, now);
                    // The last nanosecond may be missing.
                    prop_assert!(limiter.allows(1.0, now + Duration::from_nanos(1)));
                    limiter.charge(*amount, now);
                }
            }
        }

        #[test]
        fn nothing_overflows(rate in 1e-300..1e300_f64, amount in any::<u64>()) {
            for mut limiter in [RateLimiter::steady(rate), RateLimiter::with_burst(rate)] {
                for _ in 0..3 {
                    limiter.charge(amount as f64, Instant::now());
                    prop_assert!(limiter.wait(1.0, Instant::now()) <= NEVER);
                }
            }
        }
    }
}
