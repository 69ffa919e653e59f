//! How often a source of a broker is tried again, and how long it waits in between.
//!
//! Leaves waiting to the code that tries. Invariant: only failures in a row count.

use std::time::Duration;

use crate::broker::not_reached;
use crate::queue::end::{EndError, Problem};
use crate::session::reconnect::{Attempt, Cause, Decision, ReconnectPolicy, ReconnectSettings};

/// Failures in a row.
#[derive(Debug, Clone)]
pub(crate) struct Tries(ReconnectPolicy);

impl Tries {
    pub(crate) fn new(reconnect: ReconnectSettings) -> Self {
        Self(ReconnectPolicy::new(reconnect))
    }

    /// The broker answers; whether it had before.
    pub(crate) fn reached(&mut self) -> bool {
        self.0.opened()
    }

    pub(crate) fn worked(&mut self) {
        self.0.succeeded();
    }

    /// It failed: how long to wait before the next try, which `notice` is told.
    ///
    /// # Errors
    /// No other try helps, or there were enough.
    pub(crate) fn failed(
        &mut self,
        name: &str,
        problem: Problem,
        notice: &dyn Fn(String),
    ) -> Result<Duration, EndError> {
        let (reason, after) = match problem {
            Problem::Broken(error) => return Err(error),
            Problem::Never(reason) => (reason, None),
            Problem::Again { reason, after } => (reason, after),
        };
        let attempt = Attempt::Failed { cause: Cause::Passing, retry_after: after };
        match self.0.next(attempt, fastrand::f64()) {
            Decision::Retry { attempt, delay } => {
                notice(format!("{name}: {reason}; retrying in {:.1} s (retry {attempt})", delay.as_secs_f64()));
                Ok(delay)
            }
            Decision::End => Err(not_reached(name, 0, &reason)),
            Decision::Spent { retries } => Err(not_reached(name, retries, &reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::again;
    use crate::exit::Exit;
    use crate::session::reconnect::{Backoff, Jitter, Limit, Retries, RetryOn};

    #[test]
    fn failures_in_a_row_are_counted() {
        let nothing = Duration::ZERO;
        let backoff = Backoff { delay: nothing, max: nothing, factor: 1.0, step: nothing, jitter: Jitter::None };
        let retries = Retries { first: Limit::UpTo(1), later: Limit::UpTo(2) };
        let retry_on = RetryOn::default();
        let mut tries = Tries::new(ReconnectSettings { retries, backoff, stable_after: nothing, retry_on });
        let notices = std::cell::RefCell::new(Vec::new());
        let notice = |text| notices.borrow_mut().push(text);
        assert!(tries.failed("b", again("no"), &notice).is_ok());
        assert!(!tries.reached());
        assert!(tries.reached());
        assert!(tries.failed("b", again("no"), &notice).is_ok());
        tries.worked();
        assert!(tries.failed("b", again("no"), &notice).is_ok() && tries.failed("b", again("no"), &notice).is_ok());
        let error = tries.failed("b", again("no"), &notice).expect_err("enough");
        assert_eq!((error.exit, error.text.as_str()), (Exit::Undelivered, "b: gave up after 2 retries: no"));
        assert_eq!(notices.borrow().last().map(String::as_str), Some("b: no; retrying in 0.0 s (retry 2)"));
        let broken = Problem::Broken(EndError::new(Exit::Tls, "x"));
        assert_eq!(tries.failed("b", broken, &notice).map_err(|error| error.exit), Err(Exit::Tls));
    }
}
