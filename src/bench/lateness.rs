//! What is done with a message that is due (pure): sent in time, sent late, or given up as missed.
//!
//! Leaves when it is due to `schedule`. Invariant: what is given up is counted.

use std::time::Duration;

/// A message later than this for our own reasons is not sent: the target would be measured by our pause.
pub(crate) const PATIENCE: Duration = Duration::from_millis(10);
/// Lateness from which a message counts as caught up.
pub(crate) const LATE: Duration = Duration::from_millis(1);

/// What is done with a message that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Not before its time.
    Wait,
    /// Sent, in time or a little late.
    Send,
    /// Too late for reasons of our own: counted, not sent.
    Missed,
}

/// What is done at `now` with a message due at `due`, both in nanoseconds.
#[must_use]
pub(crate) fn judge(due: u64, now: u64) -> Due {
    match now.checked_sub(due) {
        None => Due::Wait,
        Some(late) if u128::from(late) > PATIENCE.as_nanos() => Due::Missed,
        Some(_) => Due::Send,
    }
}

/// How a shard kept up with its timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CatchUp {
    /// Messages sent more than [`LATE`] late.
    pub late: u64,
    /// Messages given up because we came too late.
    pub missed: u64,
    /// Most messages that were due in one pass.
    pub burst: u64,
}

impl CatchUp {
    /// Counts one message that was sent or given up.
    pub(crate) fn count(&mut self, due: u64, now: u64, verdict: Due) {
        match verdict {
            Due::Wait => {}
            Due::Send => self.late += u64::from(u128::from(now.saturating_sub(due)) > LATE.as_nanos()),
            Due::Missed => self.missed += 1,
        }
    }

    /// Notes how many messages one pass sent.
    pub(crate) fn pass(&mut self, messages: u64) {
        self.burst = self.burst.max(messages);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.late += other.late;
        self.missed += other.missed;
        self.burst = self.burst.max(other.burst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_is_sent_a_little_late_or_given_up() {
        let ms = 1_000_000;
        let table = [
            (5 * ms, 4 * ms, Due::Wait),
            (5 * ms, 5 * ms, Due::Send),
            (5 * ms, 15 * ms, Due::Send),
            (5 * ms, 15 * ms + 1, Due::Missed),
            (0, u64::MAX, Due::Missed),
        ];
        let mut kept = CatchUp::default();
        for (due, now, expected) in table {
            assert_eq!(judge(due, now), expected, "{due} at {now}");
            kept.count(due, now, expected);
        }
        kept.pass(3);
        kept.pass(1);
        assert_eq!(kept, CatchUp { late: 1, missed: 2, burst: 3 });
    }
}
