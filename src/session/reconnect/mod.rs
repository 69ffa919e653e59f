//! Decides whether and when something that failed is tried again (pure).
//!
//! [`ReconnectPolicy`] is fed with outcomes and returns what to do next; waiting and connecting are its caller's business.
//! [`RetryOn`] says which refusals and close codes may pass, [`cause`] reads that off the errors of a connection.
//! Invariants: only failures in a row count, and a session that lived for less than `stable_after` is one; no delay is
//! longer than `max`, none is shorter than what the server asked for up to `max`.

pub(crate) mod cause;
#[cfg(test)]
mod model_tests;
mod retry_on;

use std::time::Duration;

pub(crate) use self::cause::Cause;
pub(crate) use self::retry_on::{DEFAULT_RETRY_ON, RetryOn};

/// How delays grow with each failure in a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Backoff {
    /// Ceiling of the first delay.
    pub delay: Duration,
    /// No delay is longer than this.
    pub max: Duration,
    /// Multiplies the ceiling after each failure.
    pub factor: f64,
    /// Is added to the ceiling after each failure.
    pub step: Duration,
    /// How delays are spread below the ceiling.
    pub jitter: Jitter,
}

/// How delays are spread, so that many clients do not come back in step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Jitter {
    /// Uniformly between zero and the ceiling.
    Full,
    /// Not at all: every delay is the ceiling.
    None,
}

impl Backoff {
    /// Returns the longest delay before retry number `attempt`, counted from 1.
    #[must_use]
    pub(crate) fn ceiling(&self, attempt: u32) -> Duration {
        let before = attempt.saturating_sub(1);
        let growth = self.factor.powi(i32::try_from(before).unwrap_or(i32::MAX));
        let seconds = self.delay.as_secs_f64() * growth + self.step.as_secs_f64() * f64::from(before);
        // Zero times infinity is not a number: a delay of zero stays zero.
        let seconds = if seconds.is_nan() { 0.0 } else { seconds };
        if seconds >= self.max.as_secs_f64() { self.max } else { Duration::from_secs_f64(seconds) }
    }

    /// Returns the delay before retry number `attempt`; `random` is uniform in `[0, 1)`.
    #[must_use]
    pub(crate) fn delay(&self, attempt: u32, random: f64) -> Duration {
        let ceiling = self.ceiling(attempt);
        match self.jitter {
            Jitter::Full => ceiling.mul_f64(random.clamp(0.0, 1.0)),
            Jitter::None => ceiling,
        }
    }
}

/// How many failures in a row are retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Limit {
    Off,
    UpTo(u32),
    Unlimited,
}

impl From<u32> for Limit {
    fn from(most: u32) -> Self {
        if most == 0 { Self::Off } else { Self::UpTo(most) }
    }
}

/// The limits before and after there was a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retries {
    /// Before a connection was ever open.
    pub first: Limit,
    pub later: Limit,
}

impl Retries {
    /// Returns the same limit for the first connection and for later ones.
    #[must_use]
    pub(crate) const fn up_to(limit: Limit) -> Self {
        Self { first: limit, later: limit }
    }
}

/// What a [`ReconnectPolicy`] goes by.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ReconnectSettings {
    /// Failures in a row that are retried.
    pub retries: Retries,
    /// Delays between attempts.
    pub backoff: Backoff,
    /// A session that lived this long was a success.
    pub stable_after: Duration,
    /// Refusals and close codes that may pass.
    pub retry_on: RetryOn,
}

/// What became of an attempt to connect, or of what was connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attempt {
    /// There was no session.
    Failed {
        cause: Cause,
        /// How long the server asked to wait.
        retry_after: Option<Duration>,
    },
    /// There was a session, and it has ended.
    Ended {
        /// Time from its opening to its end.
        lived: Duration,
        cause: Cause,
    },
    /// The user asked for another connection.
    Asked,
}

impl Attempt {
    /// Returns a failure without a wish of the server's.
    #[cfg(test)]
    #[must_use]
    pub(crate) fn failed(cause: Cause) -> Self {
        Self::Failed { cause, retry_after: None }
    }
}

/// What to do after an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Wait, then try again.
    Retry {
        /// Failures in a row, this one counted.
        attempt: u32,
        delay: Duration,
    },
    /// Do not try again: it would not help, or was not asked for.
    End,
    /// Do not try again: enough retries in a row failed.
    Spent {
        /// Retries that were made.
        retries: u32,
    },
}

/// Turns outcomes into delays, as long as another attempt may help.
#[derive(Debug, Clone)]
pub(crate) struct ReconnectPolicy {
    settings: ReconnectSettings,
    failures: u32,
    was_open: bool,
}

impl ReconnectPolicy {
    #[must_use]
    pub(crate) fn new(settings: ReconnectSettings) -> Self {
        Self { settings, failures: 0, was_open: false }
    }

    /// Notes that the other side was reached, and returns whether it had been before.
    pub(crate) fn opened(&mut self) -> bool {
        std::mem::replace(&mut self.was_open, true)
    }

    /// Notes a success, such as an acknowledged message: failures are counted anew.
    pub(crate) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// Decides what follows an outcome; `random` is uniform in `[0, 1)`.
    pub(crate) fn next(&mut self, outcome: Attempt, random: f64) -> Decision {
        let settings = &self.settings;
        let (cause, wanted) = match outcome {
            Attempt::Failed { cause, retry_after } => (cause, retry_after.unwrap_or_default()),
            Attempt::Ended { lived, cause } => {
                self.was_open = true;
                if lived >= settings.stable_after {
                    self.failures = 0;
                }
                (cause, Duration::ZERO)
            }
            Attempt::Asked => {
                self.failures = 0;
                (Cause::Passing, Duration::ZERO)
            }
        };
        let limit = if self.was_open { settings.retries.later } else { settings.retries.first };
        match limit {
            _ if !settings.retry_on.lets_pass(cause) => return Decision::End,
            Limit::Off => return Decision::End,
            Limit::UpTo(most) if self.failures >= most => return Decision::Spent { retries: self.failures },
            Limit::UpTo(_) | Limit::Unlimited => {}
        }
        self.failures = self.failures.saturating_add(1);
        let delay = settings.backoff.delay(self.failures, random).max(wanted.min(settings.backoff.max));
        Decision::Retry { attempt: self.failures, delay }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn backoff(delay: Duration, factor: f64, step: Duration, jitter: Jitter) -> Backoff {
        Backoff { delay, max: 60 * SECOND, factor, step, jitter }
    }

    fn policy(limit: Limit) -> ReconnectPolicy {
        ReconnectPolicy::new(ReconnectSettings {
            retries: Retries::up_to(limit),
            backoff: backoff(SECOND, 2.0, Duration::ZERO, Jitter::None),
            stable_after: 10 * SECOND,
            retry_on: RetryOn::default(),
        })
    }

    #[test]
    fn ceilings_grow_to_the_maximum() {
        let nothing = Duration::ZERO;
        let table: [(Backoff, &[(u32, u64)]); 5] = [
            (backoff(SECOND, 2.0, nothing, Jitter::Full), &[(1, 1), (2, 2), (3, 4), (7, 60), (4_000_000_000, 60)]),
            (backoff(30 * SECOND, 1.0, nothing, Jitter::None), &[(1, 30), (9, 30)]),
            (backoff(SECOND, 1.0, 2 * SECOND, Jitter::None), &[(1, 1), (2, 3), (3, 5), (1000, 60), (u32::MAX, 60)]),
            (backoff(nothing, 2.0, nothing, Jitter::None), &[(1, 0), (5000, 0)]),
            (backoff(90 * SECOND, 2.0, nothing, Jitter::None), &[(1, 60)]),
        ];
        for (backoff, rows) in table {
            for (attempt, seconds) in rows {
                let expected = Duration::from_secs(*seconds);
                assert_eq!(backoff.ceiling(*attempt), expected, "{backoff:?}, attempt {attempt}");
                let random = if backoff.jitter == Jitter::Full { 0.5 } else { 0.1 };
                let share = if backoff.jitter == Jitter::Full { expected / 2 } else { expected };
                assert_eq!(backoff.delay(*attempt, random), share, "{backoff:?}, attempt {attempt}");
            }
        }
    }

    /// What happens, in short: `-` a failed attempt, a number a session of so many seconds that was lost.
    fn delays(policy: &mut ReconnectPolicy, script: &str) -> String {
        let decide = |word: &str| {
            let outcome = match (word.parse(), word.strip_prefix("after=")) {
                (Ok(seconds), _) => Attempt::Ended { lived: Duration::from_secs(seconds), cause: Cause::Passing },
                (_, Some(seconds)) => Attempt::Failed {
                    cause: Cause::Status(429),
                    retry_after: Some(Duration::from_secs(seconds.parse().expect("seconds"))),
                },
                _ => match word {
                    "-" => Attempt::failed(Cause::Passing),
                    "asked" => Attempt::Asked,
                    "final" => Attempt::failed(Cause::Final),
                    "refused" => Attempt::failed(Cause::Status(404)),
                    "c1000" => Attempt::Ended { lived: SECOND, cause: Cause::Close(1000) },
                    "c1001" => Attempt::Ended { lived: SECOND, cause: Cause::Close(1001) },
                    "c1011" => Attempt::Ended { lived: SECOND, cause: Cause::Close(1011) },
                    other => panic!("{other}"),
                },
            };
            match policy.next(outcome, 0.5) {
                Decision::Retry { attempt, delay } => format!("{attempt}:{}", delay.as_secs()),
                Decision::End => "end".to_owned(),
                Decision::Spent { retries } => format!("spent:{retries}"),
            }
        };
        script.split(' ').map(decide).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn outcomes_become_delays() {
        for (limit, script, expected) in [
            // A session that ends at once is a failure like any other.
            (Limit::Unlimited, "0 0 0 0", "1:1 2:2 3:4 4:8"),
            (Limit::Unlimited, "9 9 10 9", "1:1 2:2 1:1 2:2"),
            (Limit::Unlimited, "- - 0 10 -", "1:1 2:2 3:4 1:1 2:2"),
            (Limit::UpTo(2), "0 0 0", "1:1 2:2 spent:2"),
            (Limit::UpTo(2), "- 0 -", "1:1 2:2 spent:2"),
            (Limit::UpTo(1), "- 10 10 0", "1:1 1:1 1:1 spent:1"),
            (Limit::Off, "-", "end"),
            (Limit::Off, "20", "end"),
            (Limit::Unlimited, "c1001 c1011 c1000", "1:1 2:2 end"),
            (Limit::Unlimited, "refused", "end"),
            (Limit::Unlimited, "final", "end"),
            // Retry-After is a lower bound, and --retry-max the upper one.
            (Limit::Unlimited, "after=0 after=1 after=7 after=3600 -", "1:1 2:2 3:7 4:60 5:16"),
            (Limit::Unlimited, "- - asked -", "1:1 2:2 1:1 2:2"),
        ] {
            assert_eq!(delays(&mut policy(limit), script), expected, "{script}");
        }
    }

    #[test]
    fn delays_are_exact_where_that_is_asked_for() {
        let delays = |factor, step| {
            let backoff = backoff(SECOND, factor, step, Jitter::None);
            let mut policy = ReconnectPolicy::new(ReconnectSettings { backoff, ..policy(Limit::Unlimited).settings });
            // Whatever the dice say.
            let mut delay =
                |number: u32| match policy.next(Attempt::failed(Cause::Passing), f64::from(number % 7) / 7.0) {
                    Decision::Retry { delay, .. } => delay.as_secs_f64(),
                    other => panic!("{other:?}"),
                };
            (0..8).map(&mut delay).collect::<Vec<_>>()
        };
        assert_eq!(delays(2.0, Duration::ZERO), [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]);
        assert_eq!(delays(1.0, 15 * SECOND), [1.0, 16.0, 31.0, 46.0, 60.0, 60.0, 60.0, 60.0]);
        assert_eq!(delays(1.0, Duration::ZERO), [1.0; 8]);
    }

    #[test]
    fn what_was_never_reached_is_given_up_sooner() {
        let mut broker = policy(Limit::Off);
        broker.settings.retries = Retries { first: Limit::UpTo(1), later: Limit::UpTo(2) };
        assert_eq!(delays(&mut broker.clone(), "- -"), "1:1 spent:1");
        assert!(!broker.opened() && broker.opened());
        assert_eq!(delays(&mut broker, "- - -"), "1:1 2:2 spent:2");
        broker.succeeded();
        assert_eq!(delays(&mut broker, "- - -"), "1:1 2:2 spent:2");
    }
}
