//! When a program that should end is told so, and how (pure).
//!
//! Time is an argument; sending the signals is up to the program's keeper. Invariants: nothing is due before
//! [`Ladder::end`]; each step is due once and in order, and SIGKILL is the last.

use std::time::{Duration, Instant};

/// What is due now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing before [`Ladder::deadline`].
    Nothing,
    /// SIGTERM to the whole group.
    Terminate,
    /// SIGKILL to the whole group.
    Kill,
}

/// The steps from the end of a program's input to SIGKILL.
#[derive(Debug)]
pub struct Ladder {
    patience: Duration,
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

impl Ladder {
    /// SIGTERM comes `patience` after the end of the input, SIGKILL `limit` after SIGTERM.
    pub fn new(patience: Duration, limit: Duration) -> Self {
        Self { patience, limit, stage: Stage::Running }
    }

    /// Its input has ended, or it has ended itself and left others behind. The first time counts.
    pub fn end(&mut self, now: Instant) {
        if self.stage == Stage::Running {
            self.stage = Stage::Ending { terminate_at: now + self.patience };
        }
    }

    /// No more waiting: SIGKILL is due at once.
    pub fn abort(&mut self, now: Instant) {
        if self.stage != Stage::Killed {
            self.stage = Stage::Terminated { kill_at: now };
        }
    }

    /// What is due at `now`; it counts as done.
    pub fn due(&mut self, now: Instant) -> Due {
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

    /// When [`Ladder::due`] must be asked again at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        match self.stage {
            Stage::Running | Stage::Killed => None,
            Stage::Ending { terminate_at } => Some(terminate_at),
            Stage::Terminated { kill_at } => Some(kill_at),
        }
    }

    /// Whether everything has been done that can be.
    pub fn is_spent(&self) -> bool {
        self.stage == Stage::Killed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What happens to a program, in milliseconds from its start.
    #[derive(Clone, Copy)]
    enum At {
        End(u64),
        Abort(u64),
        Ask(u64, Due),
    }
    use At::{Abort, Ask, End};

    #[test]
    fn each_step_comes_once_and_in_order() {
        let table: [&[At]; 6] = [
            &[Ask(0, Due::Nothing), Ask(1_000_000, Due::Nothing)],
            &[
                End(10),
                Ask(109, Due::Nothing),
                Ask(110, Due::Terminate),
                Ask(111, Due::Nothing),
                Ask(1110, Due::Kill),
                Ask(9999, Due::Nothing),
            ],
            // The first end counts.
            &[End(10), End(60), Ask(110, Due::Terminate), End(500), Ask(1110, Due::Kill)],
            // Asked late, a program still has its time between the signals.
            &[End(0), Ask(5000, Due::Terminate), Ask(5999, Due::Nothing), Ask(6000, Due::Kill)],
            &[Abort(5), Ask(5, Due::Kill), Ask(6, Due::Nothing), End(7), Abort(8), Ask(9999, Due::Nothing)],
            &[End(0), Ask(100, Due::Terminate), Abort(101), Ask(101, Due::Kill)],
        ];
        for (row, steps) in table.iter().enumerate() {
            let start = Instant::now();
            let at = |ms: u64| start + Duration::from_millis(ms);
            let mut ladder = Ladder::new(Duration::from_millis(100), Duration::from_secs(1));
            for step in *steps {
                match *step {
                    End(ms) => ladder.end(at(ms)),
                    Abort(ms) => ladder.abort(at(ms)),
                    Ask(ms, due) => {
                        assert_eq!(ladder.due(at(ms)), due, "row {row} at {ms}");
                        assert!(ladder.deadline().is_none_or(|deadline| deadline > at(ms)), "row {row} at {ms}");
                        assert!(due != Due::Kill || ladder.is_spent(), "row {row} at {ms}");
                    }
                }
            }
        }
    }
}
