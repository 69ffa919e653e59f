//! What a lost connection cost, in words: how long it was gone, what was missed, what waits, what could not be sent.
//!
//! Owns the record of one session's outages. Leaves when to connect again to [`super::engine`]. Invariant: nothing is
//! promised that is not known: what the server sent meanwhile is only said to be missed.

use crate::message::counted::counted;
use std::time::Duration;

use tokio::time::Instant;

/// A session's losses.
#[derive(Debug, Default)]
pub(crate) struct Outages {
    since: Option<Instant>,
    /// Attempts since then.
    retries: u32,
    count: u32,
    /// Time without a connection, those outages together.
    total: Duration,
}

/// An outage that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outage {
    /// How long there was no connection.
    pub gap: Duration,
    /// Attempts it took.
    pub retries: u32,
}

/// What a session is for, as far as an outage matters to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missed {
    /// It only sends: nothing was missed.
    Nothing,
    /// Everything the server sent meanwhile.
    All,
    /// The server was asked to send it again.
    Resumed,
}

impl Outages {
    /// Notes that an open connection was lost.
    pub(crate) fn lost(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// Notes an attempt to connect again.
    pub(crate) fn retried(&mut self) {
        self.retries += 1;
    }

    /// Notes that a connection was opened, and returns the outage that ended with it.
    pub(crate) fn over(&mut self, now: Instant) -> Option<Outage> {
        let retries = std::mem::take(&mut self.retries);
        let gap = now.saturating_duration_since(self.since.take()?);
        self.count += 1;
        self.total += gap;
        Some(Outage { gap, retries })
    }

    /// Returns the line for the end of the run, where there is something to say.
    pub(crate) fn summary(&self) -> Option<String> {
        let times = counted(self.count, "time");
        (self.count > 0).then(|| format!("reconnected {times}, disconnected for {} in total", seconds(self.total)))
    }
}

impl Outage {
    /// Returns what is said once the connection is open again.
    pub(crate) fn told(self, missed: Missed, waiting: usize) -> String {
        let (retries, gap) = (counted(self.retries, "retry"), seconds(self.gap));
        let queued = match waiting {
            0 => String::new(),
            waiting => format!("; {} will be sent", counted(waiting, "queued message")),
        };
        let missed = match missed {
            Missed::Nothing => format!(", {gap} without a connection"),
            Missed::All => format!("; messages sent by the server during the {gap} gap were missed"),
            Missed::Resumed => format!("; --resume requests the messages of the {gap} gap from the server"),
        };
        format!("reconnected after {retries}{missed}{queued}")
    }
}

/// Returns what is said after a loss about what is still here: empty when there is nothing.
pub(crate) fn left_behind(waiting: usize, replies: usize) -> String {
    let lost = (replies > 0).then(|| format!("; {} could not be sent", counted(replies, "reply")));
    let waits = (waiting > 0).then(|| format!("; {} will be sent then", counted(waiting, "queued message")));
    [lost, waits].into_iter().flatten().collect()
}

/// Returns a time as `0.5 s`.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_lasts_from_the_loss_to_the_next_open() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut outages = Outages::default();
        outages.retried();
        assert_eq!(outages.over(start), None, "the first open ends no outage");
        assert_eq!(outages.summary(), None);
        outages.lost(start);
        outages.retried();
        outages.lost(start + second);
        outages.retried();
        assert_eq!(outages.over(start + 2 * second), Some(Outage { gap: 2 * second, retries: 2 }));
        assert_eq!(outages.summary().as_deref(), Some("reconnected 1 time, disconnected for 2.0 s in total"));
        outages.lost(start + 3 * second);
        outages.retried();
        assert_eq!(outages.over(start + 4 * second), Some(Outage { gap: second, retries: 1 }));
        assert_eq!(outages.summary().as_deref(), Some("reconnected 2 times, disconnected for 3.0 s in total"));
    }

    #[test]
    fn only_what_there_is_is_told() {
        assert_eq!(left_behind(0, 0), "");
        assert_eq!(left_behind(1, 0), "; 1 queued message will be sent then");
        assert_eq!(left_behind(2, 1), "; 1 reply could not be sent; 2 queued messages will be sent then");
        let outage = Outage { gap: Duration::from_millis(1234), retries: 1 };
        for (missed, waiting, expected) in [
            (Missed::All, 0, "; messages sent by the server during the 1.2 s gap were missed"),
            (Missed::Nothing, 1, ", 1.2 s without a connection; 1 queued message will be sent"),
            (
                Missed::Resumed,
                2,
                "; --resume requests the messages of the 1.2 s gap from the server; 2 queued messages will be sent",
            ),
        ] {
            assert_eq!(outage.told(missed, waiting), format!("reconnected after 1 retry{expected}"));
        }
    }
}
