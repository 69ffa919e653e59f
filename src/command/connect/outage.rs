//! What a lost connection cost, in words: how long it was gone, what waits, what could not be sent.
//!
//! Owns the account of one session's outages. Leaves when to connect again to [`crate::session::backoff`].
//! Invariant: nothing is promised that is not known: what the server sent meanwhile is only said to be missed.

use crate::message::counted::counted;
use std::time::Duration;

use tokio::time::Instant;

/// A session's losses.
#[derive(Debug, Default)]
pub struct Outages {
    since: Option<Instant>,
    /// Connections opened again after a loss.
    count: u32,
    /// Time without a connection, those outages together.
    total: Duration,
}

impl Outages {
    /// An open connection was lost.
    pub fn lost(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// A connection was opened: how long there was none, if one had been lost.
    pub fn over(&mut self, now: Instant) -> Option<Duration> {
        let gap = now.saturating_duration_since(self.since.take()?);
        self.count += 1;
        self.total += gap;
        Some(gap)
    }

    /// The line for the end of the run, where there is something to say.
    pub fn summary(&self) -> Option<String> {
        let times = counted(self.count, "time");
        (self.count > 0).then(|| format!("connected again {times}, {} without a connection", seconds(self.total)))
    }
}

/// What is said after a loss about what is still here: empty when there is nothing.
pub fn left_behind(waiting: usize, replies: usize) -> String {
    let lost = (replies > 0).then(|| format!("; {} could not be sent", counted(replies, "reply")));
    let waits = (waiting > 0).then(|| format!("; {} of input to be sent then", counted(waiting, "piece")));
    [lost, waits].into_iter().flatten().collect()
}

/// What is said once the connection is open again.
pub fn missed(gap: Duration, retries: u32, waiting: usize) -> String {
    let retries = counted(retries, "retry");
    let gap = seconds(gap);
    let waited = match waiting {
        0 => String::new(),
        waiting => format!("; {} of input waited and will be sent", counted(waiting, "piece")),
    };
    format!("connected again after {retries}; what the server sent in the {gap} between is missed{waited}")
}

/// `0.5 s`.
pub fn seconds(duration: Duration) -> String {
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
        assert_eq!(outages.over(start), None, "the first open ends no outage");
        assert_eq!(outages.summary(), None);
        outages.lost(start);
        outages.lost(start + second);
        assert_eq!(outages.over(start + 2 * second), Some(2 * second));
        assert_eq!(outages.summary().as_deref(), Some("connected again 1 time, 2.0 s without a connection"));
        outages.lost(start + 3 * second);
        assert_eq!(outages.over(start + 4 * second), Some(second));
        assert_eq!(outages.summary().as_deref(), Some("connected again 2 times, 3.0 s without a connection"));
    }

    #[test]
    fn only_what_there_is_is_told() {
        assert_eq!(left_behind(0, 0), "");
        assert_eq!(left_behind(1, 0), "; 1 piece of input to be sent then");
        assert_eq!(left_behind(2, 1), "; 1 reply could not be sent; 2 pieces of input to be sent then");
        let gap = Duration::from_millis(1234);
        let text = "connected again after 1 retry; what the server sent in the 1.2 s between is missed";
        assert_eq!(missed(gap, 1, 0), text);
        assert!(missed(gap, 3, 2).ends_with("is missed; 2 pieces of input waited and will be sent"));
    }
}
