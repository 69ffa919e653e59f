//! How often a source of a broker is tried again, and how long it waits in between.
//!
//! Leaves waiting to whoever tries. Invariant: only failures in a row count.

use std::time::Duration;

use crate::broker::{Patience, not_reached};
use crate::queue::end::{EndError, Problem};
use crate::session::backoff::Backoff;

/// Failures in a row.
#[derive(Debug, Clone, Copy)]
pub struct Tries {
    backoff: Backoff,
    patience: Patience,
    failures: u32,
    was_reached: bool,
}

impl Tries {
    /// None so far.
    pub fn new(backoff: Backoff, patience: Patience) -> Self {
        Self { backoff, patience, failures: 0, was_reached: false }
    }

    /// The broker answers; whether it had before.
    pub fn reached(&mut self) -> bool {
        std::mem::replace(&mut self.was_reached, true)
    }

    /// Something came from it.
    pub fn worked(&mut self) {
        self.failures = 0;
    }

    /// It failed: how long to wait before the next try, which `notice` is told.
    ///
    /// # Errors
    /// No other try helps, or there were enough.
    pub fn failed(&mut self, name: &str, problem: Problem, notice: &dyn Fn(String)) -> Result<Duration, EndError> {
        let reason = match problem {
            Problem::Broken(error) => return Err(error),
            Problem::Never(reason) | Problem::Again { reason, .. } => reason,
        };
        self.failures += 1;
        if !self.patience.allows(self.failures, self.was_reached) {
            return Err(not_reached(name, self.failures - 1, &reason));
        }
        let wait = self.backoff.wait(self.failures, fastrand::f64());
        notice(format!("{name}: {reason}; again in {:.1} s (retry {})", wait.as_secs_f64(), self.failures));
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::broker::again;
    use crate::exit::Exit;

    #[test]
    fn failures_in_a_row_are_counted() {
        let backoff = Backoff { delay: Duration::ZERO, max: Duration::ZERO, factor: 1.0 };
        let mut tries = Tries::new(backoff, Patience { first: 1, later: 2 });
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
        assert_eq!(notices.borrow().last().map(String::as_str), Some("b: no; again in 0.0 s (retry 2)"));
        let broken = Problem::Broken(EndError::new(Exit::Tls, "x"));
        assert_eq!(tries.failed("b", broken, &notice).map_err(|error| error.exit), Err(Exit::Tls));
    }
}
