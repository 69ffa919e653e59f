//! The search for the greatest rate at which a condition holds (pure): double, halve in between, confirm.
//!
//! A run in which the generator did not keep up says nothing of the target and is tried again; where it never keeps up
//! the generator is the limit. Invariant: once the condition has held anywhere, a rate is found.

/// How close to the greatest rate the search comes.
const CLOSE: f64 = 1.05;
/// Below this share of the first rate it is given up.
const HOPELESS: f64 = 1.0 / 1024.0;
/// Times a rate is lowered when the long run does not confirm it.
const CONFIRMATIONS: u32 = 3;
/// Times a run is tried again that the generator lost.
const RETRIES: u32 = 2;

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Next {
    /// Run at this rate.
    Try(f64),
    /// Run at this rate for longer: it seems to be the greatest.
    Confirm(f64),
    /// The search is over.
    Done(Found),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Went {
    /// The condition held.
    Held,
    Failed,
    /// The generator did not keep up.
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Found {
    /// The greatest rate at which the condition held, in messages a second; `None` when it held nowhere.
    pub rate: Option<f64>,
    /// Whether it held in the longer run, too.
    pub confirmed: bool,
    /// The lowest rate at which it did not, in messages a second.
    pub failed_at: Option<f64>,
    pub by_generator: bool,
}

/// A search under way.
#[derive(Debug, Clone)]
pub(crate) struct Search {
    first: f64,
    holds: Option<f64>,
    fails: Option<f64>,
    /// Whether the generator is what failed at `fails`.
    by_generator: bool,
    /// Rates at which the condition held in a run.
    held: Vec<f64>,
    retries: u32,
    confirmations: u32,
    confirmed: Option<f64>,
    is_over: bool,
}

impl Search {
    #[must_use]
    pub(crate) fn new(first: f64) -> Self {
        Self {
            first,
            holds: None,
            fails: None,
            by_generator: false,
            held: Vec::new(),
            retries: 0,
            confirmations: 0,
            confirmed: None,
            is_over: false,
        }
    }

    /// What is to be done next.
    #[must_use]
    pub(crate) fn next(&self) -> Next {
        match (self.holds, self.fails) {
            _ if self.is_over => Next::Done(self.found()),
            (None, None) => Next::Try(self.first),
            (Some(holds), None) => Next::Try(holds * 2.0),
            (None, Some(fails)) if fails / 2.0 < self.first * HOPELESS => Next::Done(self.found()),
            (None, Some(fails)) => Next::Try(fails / 2.0),
            (Some(holds), Some(fails)) if fails / holds <= CLOSE * 1.001 => Next::Confirm(holds),
            (Some(holds), Some(fails)) => Next::Try(f64::midpoint(holds, fails)),
        }
    }

    /// What was found so far, also when the search is broken off.
    #[must_use]
    pub(crate) fn found(&self) -> Found {
        let greatest = |rates: &mut dyn Iterator<Item = f64>| rates.reduce(f64::max);
        let below = |rate: &f64| self.fails.is_none_or(|fails| *rate < fails);
        // A long run that failed says more than a short one that held, where there is another.
        let best = greatest(&mut self.held.iter().copied().filter(below))
            .or_else(|| self.held.iter().copied().reduce(f64::min));
        Found {
            rate: self.confirmed.or(best),
            confirmed: self.confirmed.is_some(),
            failed_at: self.fails,
            by_generator: self.by_generator,
        }
    }

    /// Takes in how the run that [`Search::next`] asked for went.
    pub(crate) fn learn(&mut self, went: Went) {
        if went == Went::Lost && self.retries < RETRIES {
            self.retries += 1;
            return;
        }
        self.retries = 0;
        let next = self.next();
        if let (Next::Try(rate) | Next::Confirm(rate), false) = (next, went == Went::Held) {
            self.fails = Some(rate);
            self.by_generator = went == Went::Lost;
        }
        match (next, went) {
            (Next::Try(rate), Went::Held) => {
                self.holds = Some(rate);
                self.held.push(rate);
            }
            (Next::Confirm(rate), Went::Held) => {
                self.confirmed = Some(rate);
                self.is_over = true;
            }
            (Next::Confirm(rate), _) => {
                self.confirmations += 1;
                self.holds = Some(rate / CLOSE);
                self.is_over = self.confirmations == CONFIRMATIONS;
            }
            (Next::Try(_) | Next::Done(_), _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found against a target that behaves like this, and the runs it took.
    fn search(first: f64, mut went: impl FnMut(f64, bool) -> Went) -> (Found, usize) {
        let mut search = Search::new(first);
        for runs in 0..200 {
            match search.next() {
                Next::Try(rate) => search.learn(went(rate, false)),
                Next::Confirm(rate) => search.learn(went(rate, true)),
                Next::Done(found) => return (found, runs),
            }
        }
        panic!("endless");
    }

    fn below(limit: f64) -> impl FnMut(f64, bool) -> Went {
        move |rate, _| if rate <= limit { Went::Held } else { Went::Failed }
    }

    #[test]
    fn comes_close_to_the_limit_from_below() {
        for (first, limit) in [(1000.0, 41_200.0), (1000.0, 999.0), (1000.0, 3.0), (50.0, 50.0), (10.0, 1e7)] {
            let (found, runs) = search(first, below(limit));
            let rate = found.rate.expect("a rate");
            assert!(rate <= limit && rate * CLOSE * 1.001 >= limit, "{found:?} for {limit}");
            assert!(found.confirmed && !found.by_generator && found.failed_at > Some(limit), "{found:?}");
            assert!(runs < 40, "{runs}");
        }
        let (found, _) = search(1000.0, below(0.0));
        assert_eq!((found.rate, found.confirmed), (None, false));
    }

    #[test]
    fn a_run_that_the_generator_lost_is_tried_again_and_changes_nothing() {
        // Two of three runs at any rate are lost, for no reason of the target's.
        let mut runs = 0;
        let (found, _) = search(1000.0, |rate, _| {
            runs += 1;
            if runs % 3 == 0 { below(5750.0)(rate, false) } else { Went::Lost }
        });
        let rate = found.rate.expect("a rate");
        assert!((5750.0 / 1.06..=5750.0).contains(&rate) && found.confirmed && !found.by_generator, "{found:?}");
        // One that is lost each time is where the generator ends.
        let (found, _) = search(1000.0, |rate, _| if rate <= 5750.0 { Went::Held } else { Went::Lost });
        assert!(found.by_generator && found.rate > Some(5400.0), "{found:?}");
    }

    #[test]
    fn what_held_is_found_though_the_long_run_does_not_confirm_it() {
        let mut confirmed = Vec::new();
        let (found, _) = search(1000.0, |rate, long| {
            if long {
                confirmed.push(rate);
                return Went::Failed;
            }
            below(256_000.0)(rate, false)
        });
        assert_eq!(confirmed.len(), 3);
        assert!(confirmed.windows(2).all(|pair| pair[1] < pair[0]), "{confirmed:?}");
        assert!(!found.confirmed && found.rate < confirmed.last().copied(), "{found:?} {confirmed:?}");
        assert!(found.rate >= Some(128_000.0), "{found:?}");
        // Where it held at one rate alone, that is it.
        let (found, _) = search(100.0, |rate, long| if long { Went::Failed } else { below(100.0)(rate, false) });
        assert_eq!((found.rate, found.confirmed), (Some(100.0), false));
    }

    #[test]
    fn a_search_that_is_broken_off_has_what_held_so_far() {
        let mut search = Search::new(1000.0);
        assert_eq!(search.found(), Found::default());
        search.learn(Went::Held);
        search.learn(Went::Held);
        let found = search.found();
        assert_eq!((found.rate, found.confirmed, found.failed_at), (Some(2000.0), false, None));
    }
}
