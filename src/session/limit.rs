//! When a run has to have ended: under `--timeout`, and after a signal.
//!
//! Owns how the time is shared between working and ending in order. Leaves both to the code that runs. Invariant:
//! ending in order takes nothing from the run but the last tenth of its time.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// A run ends within two seconds of SIGINT or SIGTERM, whatever it waits for.
const AFTER_SIGNAL: Duration = Duration::from_millis(1500);
/// The part of a run's time that ending may take.
const SHARE: u32 = 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// The run begins to end in order.
    Stop,
    /// The time is over: what has not ended is cut off.
    Cut,
}

/// The time limit of a run.
#[derive(Debug)]
pub(crate) struct TimeLimit {
    timer: Pin<Box<Sleep>>,
    end: Instant,
    next: Option<Due>,
}

impl TimeLimit {
    /// A run that begins now, takes `limit` at most, and likes to have `grace` for its end.
    pub(crate) fn new(limit: Duration, grace: Duration) -> Self {
        let end = Instant::now() + limit;
        Self { timer: Box::pin(sleep_until(end - kept_for_the_end(limit, grace))), end, next: Some(Due::Stop) }
    }

    /// What a signal leaves: nearly two seconds, most of them for ending in order.
    pub(crate) fn after_signal() -> Self {
        Self::new(AFTER_SIGNAL, AFTER_SIGNAL)
    }

    /// Ready when something is due: once with each, in order.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Due> {
        let Some(due) = self.next else { return Poll::Pending };
        ready!(self.timer.as_mut().poll(cx));
        self.next = match due {
            Due::Stop => Some(Due::Cut),
            Due::Cut => None,
        };
        self.timer.as_mut().reset(self.end);
        Poll::Ready(due)
    }
}

fn kept_for_the_end(limit: Duration, grace: Duration) -> Duration {
    grace.min(limit / SHARE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[test]
    fn the_end_takes_its_time_from_the_run() {
        let ms = Duration::from_millis;
        let table = [(2000, 10_000, 200), (600_000, 10_000, 10_000), (2000, 0, 0), (0, 10_000, 0), (1000, 50, 50)];
        for (limit, grace, kept) in table {
            assert_eq!(kept_for_the_end(ms(limit), ms(grace)), ms(kept), "{limit} {grace}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_stops_in_time_to_have_ended_at_its_limit() {
        let begun = Instant::now();
        let mut limit = TimeLimit::new(Duration::from_secs(2), Duration::from_secs(10));
        let mut next = async || {
            let due = poll_fn(|cx| limit.poll(cx)).await;
            (due, begun.elapsed().as_millis())
        };
        assert_eq!(next().await, (Due::Stop, 1800));
        assert_eq!(next().await, (Due::Cut, 2000));
        let more = tokio::time::timeout(Duration::from_secs(60), next()).await;
        assert!(more.is_err(), "{more:?}");
    }
}
