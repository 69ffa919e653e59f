//! How many messages are due at a rate (pure).
//!
//! Time is an argument. The n-th message is due n intervals after the start, so no error adds up. Invariants: what is
//! late is made up for, at most [`PushSchedule::BEHIND`] of it and [`PushSchedule::BATCH`] messages at a time; what is later than that is
//! left out and counted.

use std::time::{Duration, Instant};

/// When pushed messages are due at a steady rate.
#[derive(Debug)]
pub(crate) struct PushSchedule {
    rate: f64,
    start: Instant,
    /// Messages since the start that were due, made or left out.
    done: u64,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    /// Messages to make now.
    pub now: u64,
    /// Messages that are too late to be made.
    pub left_out: u64,
}

impl PushSchedule {
    /// How far behind it may be and still make up for all of it.
    pub(crate) const BEHIND: Duration = Duration::from_secs(1);
    /// Most messages due at once; when it is that many, more may be due right after.
    pub(crate) const BATCH: u64 = 256;

    /// Messages at so many a second, the first of them at once.
    pub(crate) fn new(rate: f64, start: Instant) -> Self {
        Self { rate, start, done: 0 }
    }

    /// What is due at `now`; it counts as done.
    pub(crate) fn take(&mut self, now: Instant) -> Due {
        let due = self.due_until(now);
        let tolerated = now.checked_sub(Self::BEHIND).map_or(0, |then| self.due_until(then));
        // At less than one message a second the last one that is due is never left out.
        let left_out = tolerated.min(due.saturating_sub(1)).saturating_sub(self.done);
        let count = (due - (self.done + left_out).min(due)).min(Self::BATCH);
        self.done += left_out + count;
        Due { now: count, left_out }
    }

    /// When the next message is due.
    pub(crate) fn next(&self) -> Instant {
        // Not negative; what is too large is the largest there is, some centuries.
        #[allow(clippy::cast_sign_loss)]
        let nanoseconds = (self.done as f64 / self.rate * 1e9).ceil() as u64;
        self.start.checked_add(Duration::from_nanos(nanoseconds)).unwrap_or(self.start + Duration::from_secs(1 << 32))
    }

    /// Messages whose time has come by then.
    fn due_until(&self, time: Instant) -> u64 {
        let Some(elapsed) = time.checked_duration_since(self.start) else { return 0 };
        // Neither is negative; what is too large is the largest there is.
        #[allow(clippy::cast_sign_loss)]
        let before = (elapsed.as_secs_f64() * self.rate + ROUNDING).floor() as u64;
        before.saturating_add(1)
    }
}

/// So that a message is due when [`PushSchedule::next`] says so, whatever the last digit of the division.
const ROUNDING: f64 = 1e-6;

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_is_due_is_due_once() {
        type Step = (u64, u64, u64);
        // Rate; then at which millisecond so many are due and so many left out.
        let table: [(f64, &[Step]); 6] = [
            (10.0, &[(0, 1, 0), (0, 0, 0), (99, 0, 0), (100, 1, 0), (350, 2, 0), (400, 1, 0)]),
            // Late, but within a second: all of it.
            (10.0, &[(0, 1, 0), (1000, 10, 0), (1000, 0, 0)]),
            // Later than that: the rest is left out.
            (10.0, &[(0, 1, 0), (5000, 10, 40), (5100, 1, 0)]),
            (0.5, &[(0, 1, 0), (1999, 0, 0), (2000, 1, 0), (9000, 1, 2), (10_000, 1, 0)]),
            // Many come in batches.
            (1000.0, &[(0, 1, 0), (600, 256, 0), (600, 256, 0), (600, 88, 0), (600, 0, 0)]),
            (10_000.0, &[(0, 1, 0), (1, 10, 0), (2, 10, 0), (2500, 256, 14_980), (2500, 256, 0)]),
        ];
        for (rate, steps) in table {
            let start = Instant::now();
            let mut schedule = PushSchedule::new(rate, start);
            for (at, now, left_out) in steps {
                assert_eq!(
                    schedule.take(start + ms(*at)),
                    Due { now: *now, left_out: *left_out },
                    "{rate}/s at {at} ms"
                );
            }
        }
    }

    #[test]
    fn nothing_drifts_and_the_next_one_is_due_when_it_says() {
        for rate in [0.1, 1.0, 3.0, 7.0, 40.0, 333.3, 9_999.0, 123_456.789] {
            let start = Instant::now();
            let mut schedule = PushSchedule::new(rate, start);
            for made in 0..100_000_u32 {
                let next = schedule.next();
                let due = schedule.take(next);
                assert_eq!((due.now, due.left_out), (1, 0), "{rate}/s, message {made}");
                let exact = f64::from(made) / rate;
                assert!((next.duration_since(start).as_secs_f64() - exact).abs() < 1e-6, "{rate}/s, message {made}");
            }
        }
    }

    #[test]
    fn a_clock_that_stands_before_the_start_harms_nobody() {
        let now = Instant::now();
        let mut schedule = PushSchedule::new(5.0, now + ms(100));
        assert_eq!(schedule.take(now), Due { now: 0, left_out: 0 });
        assert_eq!(PushSchedule::new(1e-300, now).take(now + ms(1)), Due { now: 1, left_out: 0 });
        let mut slow = PushSchedule::new(1e-300, now);
        slow.take(now);
        assert!(slow.next() > now + ms(1_000_000));
    }
}
