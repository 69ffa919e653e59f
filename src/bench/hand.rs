//! What a person at the dashboard does to a run while it goes on: pauses it, marks a moment, changes the rate.
//!
//! Owns the wishes on their way and what has become of them (pure). Leaves carrying them out to the conductor and the
//! shards. Invariants: wishes that wait are bounded; whatever was changed stands in the report.

use std::cell::RefCell;
use std::time::Instant;

use super::report::ByHand;
use super::schedule::Course;

/// Wishes that may wait.
const WISHES: usize = 64;
/// How much one step changes the rate by.
const STEP: f64 = 1.25;
/// How far the rate can be taken from the one asked for, and back.
const FARTHEST: f64 = 100.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Send nothing for a while, or go on.
    Pause,
    /// Mark this moment.
    Mark,
    /// A higher rate.
    Faster,
    /// A lower rate.
    Slower,
}

/// Wishes on their way from the dashboard to the run.
#[derive(Debug, Default)]
pub struct Hand(RefCell<Vec<(Instant, Wish)>>);

impl Hand {
    pub fn wish(&self, wish: Wish, now: Instant) {
        let mut wishes = self.0.borrow_mut();
        if wishes.len() < WISHES {
            wishes.push((now, wish));
        }
    }

    pub fn take(&self) -> Vec<(Instant, Wish)> {
        self.0.take()
    }
}

/// What holds from a moment on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Turn {
    /// That moment, in nanoseconds since the run began.
    pub at: u64,
    /// The whole course, in open loop.
    pub course: Option<Course>,
    /// Nothing is sent.
    pub paused: bool,
}

/// What has been done to a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    /// The rate's factor from a second of the course on, the latest last.
    turns: Vec<(f64, f64)>,
    factor: Option<f64>,
    paused: bool,
    marks: u32,
    /// As the report tells it.
    pub told: Vec<ByHand>,
}

impl Changes {
    /// Carries wishes out that came at these seconds since measuring began; whether the load is another from `at` on, in
    /// seconds of the course, of which `warmup` pass before measuring.
    pub(crate) fn take(&mut self, wishes: &[(f64, Wish)], at: f64, warmup: f64, course: Option<&Course>) -> bool {
        let before = (self.factor, self.paused);
        for (second, wish) in wishes {
            match wish {
                Wish::Mark => {
                    self.marks += 1;
                    self.tell(*second, &format!("mark {}", self.marks), None);
                }
                Wish::Pause => self.paused = !self.paused,
                Wish::Faster | Wish::Slower if course.is_some() => {
                    let step = if *wish == Wish::Faster { STEP } else { 1.0 / STEP };
                    let factor = self.factor.unwrap_or(1.0) * step;
                    if (1.0 / FARTHEST..=FARTHEST).contains(&factor) {
                        // There and back is where it was.
                        self.factor = Some(factor).filter(|factor| (factor - 1.0).abs() > 1e-9);
                    }
                }
                Wish::Faster | Wish::Slower => {}
            }
        }
        if before == (self.factor, self.paused) {
            return false;
        }
        let factor = self.factor.unwrap_or(1.0);
        self.turns.push((at, if self.paused { 0.0 } else { factor }));
        let rate = course.map(|course| course.rate_at(at) * factor).filter(|_| !self.paused);
        let what = match (before.1, self.paused) {
            (false, true) => "paused",
            (true, false) => "resumed",
            _ => "rate",
        };
        self.tell(at - warmup, what, rate);
        true
    }

    fn tell(&mut self, t: f64, what: &str, rate: Option<f64>) {
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        self.told.push(ByHand { t: rounded(t), what: what.to_owned(), rate: rate.map(rounded) });
    }

    /// The course as it was asked for, with all that was changed.
    #[must_use]
    pub(crate) fn course(&self, course: &Course) -> Course {
        course.turned(&self.turns)
    }

    /// Whether the load is or was another than the one asked for.
    #[must_use]
    pub(crate) fn has_changed(&self) -> bool {
        !self.turns.is_empty()
    }

    #[must_use]
    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    #[must_use]
    pub(crate) fn marks(&self) -> u32 {
        self.marks
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn wishes_change_the_course_and_are_told() {
        let course = Course::constant(1000.0, Duration::from_secs(12));
        let (mut changes, mut told) = (Changes::default(), Vec::new());
        let mut take = |changes: &mut Changes, wishes: &[Wish], at: f64| {
            let wishes: Vec<_> = wishes.iter().map(|wish| (at - 2.0, *wish)).collect();
            let is_new = changes.take(&wishes, at, 2.0, Some(&course));
            told.extend(changes.told.drain(..).map(|told| (told.t, told.what, told.rate)));
            is_new
        };
        assert!(!take(&mut changes, &[Wish::Mark, Wish::Mark], 3.0));
        assert!(!take(&mut changes, &[Wish::Faster, Wish::Slower], 3.0), "there and back changes nothing");
        assert!(!changes.has_changed());
        assert!(take(&mut changes, &[Wish::Faster, Wish::Faster], 4.0));
        assert!(take(&mut changes, &[Wish::Pause], 6.0) && changes.is_paused());
        assert!(take(&mut changes, &[Wish::Pause, Wish::Slower], 8.0) && !changes.is_paused());
        let expected = [
            (1.0, "mark 1", None),
            (1.0, "mark 2", None),
            (2.0, "rate", Some(1562.5)),
            (4.0, "paused", None),
            (6.0, "resumed", Some(1250.0)),
        ];
        assert_eq!(told, expected.map(|(t, what, rate)| (t, what.to_owned(), rate)));
        let turned = changes.course(&course);
        for (second, rate) in [(3.9, 1000.0), (4.1, 1562.5), (7.0, 0.0), (8.1, 1250.0), (11.9, 1250.0)] {
            assert!((turned.rate_at(second) - rate).abs() < 1e-6, "{second}: {}", turned.rate_at(second));
        }
        assert!((turned.total() - (4000.0 + 3125.0 + 5000.0)).abs() < 1e-6);
        assert!((turned.seconds() - 12.0).abs() < 1e-9);
    }

    #[test]
    fn a_closed_loop_is_paused_but_has_no_rate() {
        let mut changes = Changes::default();
        assert!(!changes.take(&[(1.0, Wish::Faster)], 1.0, 0.0, None));
        assert!(changes.take(&[(1.0, Wish::Pause)], 1.0, 0.0, None));
        assert_eq!((changes.told.len(), changes.told[0].rate), (1, None));
    }

    #[test]
    fn the_rate_stays_within_reason_and_wishes_are_bounded() {
        let course = Course::constant(1.0, Duration::from_secs(1));
        let mut changes = Changes::default();
        let many = vec![(0.0, Wish::Faster); 1000];
        changes.take(&many, 0.5, 0.0, Some(&course));
        assert!(changes.course(&course).rate_at(0.6) <= FARTHEST);
        let hand = Hand::default();
        (0..1000).for_each(|_| hand.wish(Wish::Mark, Instant::now()));
        assert_eq!((hand.take().len(), hand.take().len()), (WISHES, 0));
    }
}
