//! Reads the clocks: the monotonic one for time limits, and the time of messages that are handled together.
//!
//! Reading the time costs as much as handing a small message on, so it is read once for all that are taken in, or sent,
//! before anything is waited for. Leaves when such a pass begins and ends to the code that runs it.

use std::cell::Cell;
use std::time::Instant;

use jiff::Timestamp;

/// Reads the runtime's monotonic clock, which a test can pause.
#[must_use]
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Tells the time: within a pass always the same.
#[derive(Debug, Default)]
pub(crate) struct PassClock(Cell<Option<Timestamp>>);

impl PassClock {
    /// What comes from now on has the same time, until [`PassClock::pass_ends`].
    pub(crate) fn pass_begins(&self) {
        if self.0.get().is_none() {
            self.0.set(Some(Timestamp::now()));
        }
    }

    /// What comes next has a time of its own. To be said before anything is waited for.
    pub(crate) fn pass_ends(&self) {
        self.0.set(None);
    }

    /// The time of the pass, else that of this moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.get().unwrap_or_else(Timestamp::now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_stands_still_within_a_pass_alone() {
        let clock = PassClock::default();
        let before = clock.now();
        clock.pass_begins();
        let began = clock.now();
        while Timestamp::now() == began {}
        clock.pass_begins();
        assert!(before <= began && clock.now() == began);
        clock.pass_ends();
        assert!(clock.now() > began);
    }
}
