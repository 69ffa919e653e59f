//! How long to wait before the next connection attempt (pure).
//!
//! Exponential growth with a cap and full jitter: the wait is uniform between zero and the current
//! ceiling, so that many clients do not come back in step. A factor of 1 means a fixed delay.

use std::time::Duration;

/// The settings of `--retry-delay`, `--retry-max` and `--retry-factor`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Ceiling of the first wait.
    pub delay: Duration,
    /// No wait is longer than this.
    pub max: Duration,
    /// What the ceiling is multiplied by after each failure; 1 is a fixed delay without jitter.
    pub factor: f64,
}

impl Backoff {
    /// The wait before attempt `attempt` (1 is the first retry); `random` is uniform in `[0, 1)`.
    #[must_use]
    pub fn wait(&self, attempt: u32, random: f64) -> Duration {
        if self.factor <= 1.0 {
            return self.delay.min(self.max);
        }
        let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
        let ceiling = (self.delay.as_secs_f64() * self.factor.powi(exponent)).min(self.max.as_secs_f64());
        Duration::from_secs_f64(ceiling * random.clamp(0.0, 1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn grows_to_the_cap_and_jitters_below_it() {
        let backoff = Backoff { delay: SECOND, max: 60 * SECOND, factor: 2.0 };
        for (attempt, ceiling) in [(1, 1), (2, 2), (3, 4), (7, 60), (4_000_000_000, 60)] {
            assert_eq!(backoff.wait(attempt, 1.0), ceiling * SECOND, "attempt {attempt}");
            assert_eq!(backoff.wait(attempt, 0.0), Duration::ZERO);
            assert_eq!(backoff.wait(attempt, 0.5), ceiling * SECOND / 2);
        }
    }

    #[test]
    fn factor_one_is_a_fixed_delay() {
        let backoff = Backoff { delay: 30 * SECOND, max: 60 * SECOND, factor: 1.0 };
        assert_eq!(backoff.wait(1, 0.1), 30 * SECOND);
        assert_eq!(backoff.wait(9, 0.9), 30 * SECOND);
    }
}
