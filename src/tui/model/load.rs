//! A load test on the screen: what is shown of it, and what keys do there (pure).
//!
//! Leaves figures to the load tester, which hands over a snapshot several times a second.

use std::collections::VecDeque;

use crate::bench::live::{Live, Phase};
use crate::tui::keymap::Key;

/// Snapshots that charts remember.
const REMEMBERED: usize = 600;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// Measure no more, and report.
    Enough,
    /// The same as on an interrupt.
    Interrupt,
    /// To the background.
    Suspend,
    /// Draw everything anew.
    Redraw,
}

/// A load test, as it is shown.
#[derive(Debug, Default)]
pub struct Load {
    /// What is tested.
    pub title: String,
    /// The last snapshot.
    pub live: Live,
    /// Messages a second, snapshot by snapshot.
    pub rates: VecDeque<f64>,
    /// The p99 of the last second, or its greatest where there are too few, in milliseconds.
    pub tails: VecDeque<f64>,
    /// The keys are shown.
    pub help: bool,
    /// The end has been asked for.
    pub ending: bool,
}

impl Load {
    /// Takes a snapshot in.
    pub fn saw(&mut self, live: Live) {
        // A search and its steps begin anew.
        if live.phase == Phase::Connect && self.live.phase != Phase::Connect {
            self.rates.clear();
            self.tails.clear();
        }
        if matches!(live.phase, Phase::Warmup | Phase::Measure | Phase::Drain) {
            for (chart, value) in [
                (&mut self.rates, live.sent.max(live.received)),
                (&mut self.tails, live.p99.or(live.max).unwrap_or_default()),
            ] {
                if chart.len() == REMEMBERED {
                    chart.pop_front();
                }
                chart.push_back(value);
            }
        }
        self.live = live;
    }

    /// What a key does.
    pub fn key(&mut self, key: Key) -> Option<Wish> {
        match key {
            Key::Char('q') => {
                self.ending = true;
                Some(Wish::Enough)
            }
            Key::Ctrl('c') => {
                self.ending = true;
                Some(Wish::Interrupt)
            }
            Key::Ctrl('z') => Some(Wish::Suspend),
            Key::Ctrl('l') => Some(Wish::Redraw),
            Key::Char('?') => {
                self.help = !self.help;
                None
            }
            Key::Esc => {
                self.help = false;
                None
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charts_begin_anew_with_each_run_and_are_bounded() {
        let mut load = Load::default();
        let at = |phase, sent| Live { phase, sent, max: Some(2.0), ..Live::default() };
        load.saw(at(Phase::Connect, 5.0));
        assert!(load.rates.is_empty());
        (0..1000).for_each(|_| load.saw(at(Phase::Measure, 7.0)));
        assert_eq!((load.rates.len(), load.rates[0], load.tails[0]), (REMEMBERED, 7.0, 2.0));
        load.saw(at(Phase::Connect, 0.0));
        assert!(load.rates.is_empty() && load.tails.is_empty());
    }

    #[test]
    fn keys_end_it_in_two_ways() {
        let mut load = Load::default();
        assert_eq!(load.key(Key::Char('x')), None);
        assert_eq!(load.key(Key::Char('?')), None);
        assert!(load.help && !load.ending);
        load.key(Key::Esc);
        assert!(!load.help);
        assert_eq!(load.key(Key::Char('q')), Some(Wish::Enough));
        assert!(load.ending);
        assert_eq!(load.key(Key::Ctrl('c')), Some(Wish::Interrupt));
    }
}
