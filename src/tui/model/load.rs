//! A load test on the screen: what is shown of it, and what keys do there (pure).
//!
//! Leaves figures to the load tester, which hands over a snapshot several times a second.

use std::collections::VecDeque;

use crate::bench::hand;
use crate::bench::live::{Live, Phase};
use crate::tui::keymap::Key;

/// Snapshots that charts remember.
const REMEMBERED: usize = 600;

/// Snapshots for which a key's answer stays.
const NOTE: u32 = 15;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Change(hand::Wish),
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
pub(crate) struct Load {
    pub title: String,
    /// The last snapshot.
    pub live: Live,
    /// Messages a second, snapshot by snapshot.
    pub rates: VecDeque<f64>,
    /// The p99 of the last second, or its greatest where there are too few, in milliseconds.
    pub tails: VecDeque<f64>,
    /// Marks among the snapshots that charts remember, counted from the newest.
    pub marks: VecDeque<usize>,
    /// What a key is answered with until the figures show it.
    pub note: Option<&'static str>,
    /// Snapshots since then.
    pub note_age: u32,
    /// The keys are shown.
    pub help: bool,
    /// The end has been asked for.
    pub ending: bool,
}

impl Load {
    /// Takes a snapshot in.
    pub(crate) fn saw(&mut self, live: Live) {
        // A search and its steps begin anew.
        if live.phase == Phase::Connect && self.live.phase != Phase::Connect {
            self.rates.clear();
            self.tails.clear();
            self.marks.clear();
        }
        if matches!(live.phase, Phase::Warmup | Phase::Measure | Phase::Drain) {
            for age in &mut self.marks {
                *age += 1;
            }
            self.marks.retain(|age| *age < REMEMBERED);
            if live.marks > self.live.marks {
                self.marks.push_front(0);
            }
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
        self.note_age += 1;
        self.note.take_if(|_| self.note_age > NOTE);
    }

    /// Whether messages are being sent, or could be.
    #[must_use]
    pub(crate) fn is_running(&self) -> bool {
        matches!(self.live.phase, Phase::Warmup | Phase::Measure)
    }

    /// A key that changes or marks something; what it is answered with where it cannot.
    fn change(&mut self, change: hand::Wish) -> Option<Wish> {
        use hand::Wish::{Faster, Mark, Pause, Slower};
        let live = &self.live;
        let refused = match change {
            _ if !self.is_running() => Some("this works only while messages are sent"),
            Mark => None,
            _ if !live.steerable => Some("the load cannot be changed in this mode or during --find-max"),
            Faster | Slower if live.rate_asked.is_none() => {
                Some("a closed loop has no rate; start with --rate R for an open loop")
            }
            _ => None,
        };
        self.note = Some(refused.unwrap_or(match change {
            Mark => "marked",
            Pause if live.paused => "going on",
            Pause => "pausing",
            Faster => "a quarter faster",
            Slower => "a fifth slower",
        }));
        refused.is_none().then_some(Wish::Change(change))
    }

    pub(crate) fn key(&mut self, key: Key) -> Option<Wish> {
        (self.note, self.note_age) = (None, 0);
        match key {
            Key::Char('p' | ' ') => self.change(hand::Wish::Pause),
            Key::Char('m') => self.change(hand::Wish::Mark),
            Key::Char('+' | '=') => self.change(hand::Wish::Faster),
            Key::Char('-') => self.change(hand::Wish::Slower),
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
    fn keys_change_what_is_sent_where_that_can_be() {
        use hand::Wish::{Faster, Mark, Pause, Slower};
        let pressed = |load: &mut Load| ['p', 'm', '+', '-'].map(|key| load.key(Key::Char(key)));
        let mut load = Load::default();
        assert_eq!(pressed(&mut load), [None; 4], "nothing is sent yet");
        assert!(load.note.is_some());
        load.saw(Live { phase: Phase::Measure, ..Live::default() });
        assert_eq!(pressed(&mut load), [None, Some(Wish::Change(Mark)), None, None]);
        load.saw(Live { phase: Phase::Measure, steerable: true, ..Live::default() });
        assert_eq!(pressed(&mut load), [Some(Wish::Change(Pause)), Some(Wish::Change(Mark)), None, None]);
        assert!(load.note.is_some_and(|note| note.contains("--rate")));
        load.saw(Live { phase: Phase::Measure, steerable: true, rate_asked: Some(5.0), ..Live::default() });
        assert_eq!(pressed(&mut load), [Pause, Mark, Faster, Slower].map(|wish| Some(Wish::Change(wish))));
        load.saw(Live { marks: 1, ..load.live.clone() });
        load.saw(load.live.clone());
        assert_eq!(load.marks, [1], "the mark goes back with the chart");
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
