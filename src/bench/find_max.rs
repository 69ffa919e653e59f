//! The search for the greatest rate at which a condition holds (pure): double, halve in between, confirm.

/// How close to the greatest rate the search comes.
const CLOSE: f64 = 1.05;
/// Below this share of the first rate it is given up.
const HOPELESS: f64 = 1.0 / 1024.0;
/// Times a rate is lowered when the long run does not confirm it.
const CONFIRMATIONS: u32 = 3;

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// Run at this rate.
    Try(f64),
    /// Run at this rate for longer: it seems to be the greatest.
    Confirm(f64),
    /// This is it; `None`: it never holds.
    Done(Option<f64>),
}

/// A search under way.
#[derive(Debug, Clone)]
pub struct Search {
    first: f64,
    holds: Option<f64>,
    fails: Option<f64>,
    confirmations: u32,
    /// The end of the search.
    done: Option<Next>,
}

impl Search {
    /// Begins at this rate.
    #[must_use]
    pub fn new(first: f64) -> Self {
        Self { first, holds: None, fails: None, confirmations: 0, done: None }
    }

    /// What is to be done next.
    #[must_use]
    pub fn next(&self) -> Next {
        match (self.done, self.holds, self.fails) {
            (Some(done), ..) => done,
            (None, None, None) => Next::Try(self.first),
            (None, Some(holds), None) => Next::Try(holds * 2.0),
            (None, None, Some(fails)) if fails / 2.0 < self.first * HOPELESS => Next::Done(None),
            (None, None, Some(fails)) => Next::Try(fails / 2.0),
            (None, Some(holds), Some(fails)) if fails / holds <= CLOSE => Next::Confirm(holds),
            (None, Some(holds), Some(fails)) => Next::Try(f64::midpoint(holds, fails)),
        }
    }

    /// Takes in how the run that [`Search::next`] asked for went.
    pub fn learn(&mut self, ok: bool) {
        match (self.next(), ok) {
            (Next::Try(rate), true) => self.holds = Some(rate),
            (Next::Try(rate), false) => self.fails = Some(rate),
            (Next::Confirm(rate), true) => self.done = Some(Next::Done(Some(rate))),
            (Next::Confirm(rate), false) => {
                self.confirmations += 1;
                self.fails = Some(rate);
                self.holds = Some(rate / CLOSE);
                if self.confirmations == CONFIRMATIONS {
                    self.done = Some(Next::Done(None));
                }
            }
            (Next::Done(_), _) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The outcome against a target that holds below this, and the runs it took.
    fn search(first: f64, limit: f64) -> (Option<f64>, usize) {
        let mut search = Search::new(first);
        for runs in 0..100 {
            match search.next() {
                Next::Try(rate) | Next::Confirm(rate) => search.learn(rate <= limit),
                Next::Done(rate) => return (rate, runs),
            }
        }
        panic!("endless");
    }

    #[test]
    fn comes_close_to_the_limit_from_below() {
        for (first, limit) in [(1000.0, 41_200.0), (1000.0, 999.0), (1000.0, 3.0), (50.0, 50.0), (10.0, 1e7)] {
            let (found, runs) = search(first, limit);
            let found = found.expect("a rate");
            assert!(found <= limit && found * CLOSE * 1.001 >= limit, "{found} for {limit}");
            assert!(runs < 40, "{runs}");
        }
        assert_eq!(search(1000.0, 0.0).0, None);
    }

    #[test]
    fn what_the_long_run_does_not_confirm_is_lowered_and_then_given_up() {
        let mut search = Search::new(100.0);
        search.learn(true);
        search.learn(false);
        let mut asked = Vec::new();
        while let Next::Try(_) = search.next() {
            search.learn(false);
        }
        while let Next::Confirm(rate) = search.next() {
            asked.push(rate);
            search.learn(false);
        }
        assert_eq!((asked.len(), search.next()), (3, Next::Done(None)));
        assert!(asked.windows(2).all(|pair| pair[1] < pair[0]));
    }
}
