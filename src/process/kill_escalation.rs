//! When a program that should end is told so, and how (pure).
//!
//! Time is an argument; sending the signals is up to the program's keeper. Invariants: nothing is due before
//! [`KillEscalation::end`]; each step is due once and in order, and SIGKILL is the last.

use std::time::{Duration, Instant};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing before [`KillEscalation::deadline`].
    Nothing,
    /// SIGTERM to the whole group.
    Terminate,
    /// SIGKILL to the whole group.
    Kill,
}

/// The steps from the end of a program's input to SIGKILL.
#[derive(Debug)]
pub(crate) struct KillEscalation {
    limit: Duration,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Running,
    Ending { terminate_at: Instant },
    Terminated { kill_at: Instant },
    Killed,
}

impl KillEscalation {
    /// SIGKILL comes `limit` after SIGTERM.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, stage: Stage::Running }
    }

    /// It is to end, or has ended itself and left others behind: SIGTERM comes after `patience`. The earliest time counts.
    pub(crate) fn end(&mut self, now: Instant, patience: Duration) {
        let at = now + patience;
        self.stage = match self.stage {
            Stage::Running => Stage::Ending { terminate_at: at },
            Stage::Ending { terminate_at } => Stage::Ending { terminate_at: at.min(terminate_at) },
            later => later,
        };
    }

    /// No more waiting: SIGKILL is due at once.
    pub(crate) fn abort(&mut self, now: Instant) {
        if self.stage != Stage::Killed {
            self.stage = Stage::Terminated { kill_at: now };
        }
    }

    /// What is due at `now`; it counts as done.
    pub(crate) fn due(&mut self, now: Instant) -> Due {
        match self.stage {
            Stage::Ending { terminate_at } if now >= terminate_at => {
                self.stage = Stage::Terminated { kill_at: now + self.limit };
                Due::Terminate
            }
            Stage::Terminated { kill_at } if now >= kill_at => {
                self.stage = Stage::Killed;
                Due::Kill
            }
            _ => Due::Nothing,
        }
    }

    /// When [`KillEscalation::due`] must be asked again at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Running | Stage::Killed => None,
            Stage::Ending { terminate_at } => Some(terminate_at),
            Stage::Terminated { kill_at } => Some(kill_at),
        }
    }

    /// Whether everything has been done that can be.
    pub(crate) fn is_spent(&self) -> bool {
        self.stage == Stage::Killed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens to a program, in milliseconds from its start.
    #[derive(Clone, Copy)]
    enum At {
        End(u64, u64),
        Abort(u64),
        Ask(u64, Due),
    }
    use At::{Abort, Ask, End};

    #[test]
    fn each_step_comes_once_and_in_order() {
        let table: [&[At]; 7] = [
            &[Ask(0, Due::Nothing), Ask(1_000_000, Due::Nothing)],
            &[
                End(10, 100),
                Ask(109, Due::Nothing),
                Ask(110, Due::Terminate),
                Ask(111, Due::Nothing),
                Ask(1110, Due::Kill),
                Ask(9999, Due::Nothing),
            ],
            // The earliest end counts.
            &[End(10, 100), End(60, 100), Ask(110, Due::Terminate), End(500, 100), Ask(1110, Due::Kill)],
            &[End(10, 1000), Ask(20, Due::Nothing), End(20, 0), Ask(20, Due::Terminate)],
            // Asked late, a program still has its time between the signals.
            &[End(0, 100), Ask(5000, Due::Terminate), Ask(5999, Due::Nothing), Ask(6000, Due::Kill)],
            &[Abort(5), Ask(5, Due::Kill), Ask(6, Due::Nothing), End(7, 100), Abort(8), Ask(9999, Due::Nothing)],
            &[End(0, 100), Ask(100, Due::Terminate), Abort(101), Ask(101, Due::Kill)],
        ];
        for (row, steps) in table.iter().enumerate() {
            let start = Instant::now();
            let at = |ms: u64| start + Duration::from_millis(ms);
            let mut escalation = KillEscalation::new(Duration::from_secs(1));
            for step in *steps {
                match *step {
                    End(ms, patience) => escalation.end(at(ms), Duration::from_millis(patience)),
                    Abort(ms) => escalation.abort(at(ms)),
                    Ask(ms, due) => {
                        assert_eq!(escalation.due(at(ms)), due, "row {row} at {ms}");
                        assert!(escalation.deadline().is_none_or(|deadline| deadline > at(ms)), "row {row} at {ms}");
                        assert!(due != Due::Kill || escalation.is_spent(), "row {row} at {ms}");
                    }
                }
            }
        }
    }
}
