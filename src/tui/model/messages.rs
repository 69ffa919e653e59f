//! The messages that are shown: a bounded ring, what of it is chosen, and where the view stands (pure).
//!
//! Owns holding still and the cursor. Leaves what is chosen to `choice`, drawing to the view. Invariants: memory is
//! bounded in number and bytes, while the view holds still, too; a filter looks at one message a step, so that the code
//! that drives decides how long that may take; what is held still does not move, whatever arrives.

use std::collections::VecDeque;
use std::rc::Rc;

use jiff::Timestamp;

use super::choice::Choice;
use crate::message::event::{Event, EventBody};

pub(crate) const MESSAGES: usize = 10_000;
/// Most bytes of payload that are kept.
pub(crate) const BYTES: usize = 16 * 1024 * 1024;
/// What a message costs beside its payload, about.
const OVERHEAD: usize = 200;

/// A message, or a control frame, as it was seen.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Counts what was seen, from 1.
    pub number: u64,
    pub source: usize,
    pub event: Rc<Event>,
}

impl Entry {
    #[must_use]
    pub(crate) fn payload(&self) -> &[u8] {
        match &self.event.body {
            EventBody::Message(message) => message.payload(),
            EventBody::Ping(payload) | EventBody::Pong(payload) => payload,
            EventBody::Close { reason, .. } => reason.as_bytes(),
            _ => &[],
        }
    }

    /// `text`, `binary`, `ping`, …
    #[must_use]
    pub(crate) fn kind(&self) -> &'static str {
        match &self.event.body {
            EventBody::Message(message) => message.kind().name(),
            EventBody::Ping(_) => "ping",
            EventBody::Pong(_) => "pong",
            _ => "close",
        }
    }
}

/// A ring and what of it is chosen.
#[derive(Debug, Default)]
struct Part {
    entries: VecDeque<Entry>,
    bytes: usize,
    chosen: VecDeque<u64>,
}

impl Part {
    fn push(&mut self, entry: Entry) {
        self.bytes += entry.payload().len() + OVERHEAD;
        self.entries.push_back(entry);
        while self.entries.len() > MESSAGES || self.bytes > BYTES {
            let Some(gone) = self.entries.pop_front() else { break };
            self.bytes -= gone.payload().len() + OVERHEAD;
            if self.chosen.front() == Some(&gone.number) {
                self.chosen.pop_front();
            }
        }
    }

    /// The first one of this number or a later one.
    fn from(&self, number: u64) -> Option<&Entry> {
        self.entries.get(self.entries.partition_point(|entry| entry.number < number))
    }

    /// The last one before this number.
    fn before(&self, number: u64) -> Option<&Entry> {
        let place = self.entries.partition_point(|entry| entry.number < number);
        self.entries.get(place.checked_sub(1)?)
    }
}

/// What is kept, chosen and shown.
#[derive(Debug)]
pub(crate) struct Messages {
    main: Part,
    /// What arrived since the view holds still.
    fresh: Part,
    choice: Choice,
    /// The next to look at, of what arrived.
    fore: u64,
    /// All before this are still to be looked at, from the newest down.
    back: u64,
    last: u64,
    /// What arrived since the view holds still, and is chosen.
    new: u64,
    holds: bool,
    paused: bool,
    cursor: Option<u64>,
    /// Seen by nobody: it came too fast.
    missed: u64,
    /// Messages the filter failed on, and what it said last.
    failed: (u64, String),
}

impl Default for Messages {
    fn default() -> Self {
        Self {
            main: Part::default(),
            fresh: Part::default(),
            choice: Choice::default(),
            fore: 1,
            back: 1,
            last: 0,
            new: 0,
            holds: false,
            paused: false,
            cursor: None,
            missed: 0,
            failed: (0, String::new()),
        }
    }
}

impl Messages {
    pub(crate) fn add(&mut self, source: usize, event: Rc<Event>) {
        self.last += 1;
        let entry = Entry { number: self.last, source, event };
        // What needs no program is chosen at once.
        let at_once = self.fore == self.last && self.choice.is_plain();
        let chosen = at_once && self.choice.allows(&entry) == Ok(true);
        let part = if self.holds { &mut self.fresh } else { &mut self.main };
        part.push(entry);
        if at_once {
            self.fore += 1;
            if chosen {
                self.choose(self.last);
            }
        }
    }

    fn choose(&mut self, number: u64) {
        if self.holds && self.main.entries.back().is_none_or(|last| last.number < number) {
            self.new += 1;
            self.fresh.chosen.push_back(number);
        } else {
            self.main.chosen.push_back(number);
        }
    }

    pub(crate) fn miss(&mut self, count: u64) {
        self.missed += count;
    }

    pub(crate) fn missed(&self) -> u64 {
        self.missed
    }

    pub(crate) fn seen(&self) -> u64 {
        self.last
    }

    pub(crate) fn choice(&self) -> &Choice {
        &self.choice
    }

    /// Chooses anew; the steps that follow look at what is there, the newest first.
    pub(crate) fn set_choice(&mut self, choice: Choice) {
        self.choice = choice;
        self.failed = (0, String::new());
        self.main.chosen.clear();
        self.fresh.chosen.clear();
        self.new = 0;
        let main_end = self.main.entries.back().map_or(1, |last| last.number + 1);
        (self.back, self.fore) = (main_end, main_end);
    }

    /// Looks at one message that was not looked at yet, last at those that arrived since the view holds still: they may
    /// arrive faster than a filter runs. False when there is none.
    pub(crate) fn step(&mut self) -> bool {
        let ahead = self.main.from(self.fore);
        if ahead.is_none()
            && let Some(entry) = self.main.before(self.back)
        {
            let number = entry.number;
            let allows = self.choice.allows(entry);
            self.back = number;
            if self.note(allows) {
                self.main.chosen.push_front(number);
            }
            return true;
        }
        let Some(entry) = ahead.or_else(|| self.fresh.from(self.fore)) else { return false };
        let number = entry.number;
        let allows = self.choice.allows(entry);
        self.fore = number + 1;
        if self.note(allows) {
            self.choose(number);
        }
        true
    }

    fn note(&mut self, allows: Result<bool, String>) -> bool {
        allows.unwrap_or_else(|error| {
            self.failed = (self.failed.0 + 1, error);
            false
        })
    }

    /// How many messages the filter failed on, and what it said of the last.
    pub(crate) fn failed(&self) -> (u64, &str) {
        (self.failed.0, &self.failed.1)
    }

    /// How many are chosen of those the view can show.
    pub(crate) fn len(&self) -> usize {
        self.main.chosen.len()
    }

    /// Whether there is nothing to show.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Chosen ones that arrived since the view holds still.
    pub(crate) fn arrived(&self) -> u64 {
        self.new
    }

    /// Whether the view was told to hold still.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether the view holds still, told or scrolled.
    pub(crate) fn is_held(&self) -> bool {
        self.holds
    }

    /// The place of the cursor among what is chosen; none while it is live.
    pub(crate) fn cursor(&self) -> Option<usize> {
        let number = self.cursor?;
        let place = self.main.chosen.partition_point(|chosen| *chosen < number);
        Some(place.min(self.len().checked_sub(1)?))
    }

    /// The one at a place among what is chosen.
    pub(crate) fn at(&self, place: usize) -> Option<&Entry> {
        let number = *self.main.chosen.get(place)?;
        self.main.from(number).filter(|entry| entry.number == number)
    }

    /// The one under the cursor; while live the newest.
    pub(crate) fn current(&self) -> Option<&Entry> {
        self.at(self.cursor().or_else(|| self.len().checked_sub(1))?)
    }

    pub(crate) fn chosen(&self) -> impl Iterator<Item = &Entry> {
        (0..self.len()).filter_map(|place| self.at(place))
    }

    /// Moves the cursor by so many; past the last one the view is live again, unless it was told to hold still.
    pub(crate) fn go(&mut self, by: isize) {
        let Some(last) = self.len().checked_sub(1) else { return };
        let from = self.cursor().unwrap_or(last);
        let to = from.saturating_add_signed(by);
        if to > last || (by > 0 && from == last) {
            if self.paused {
                self.cursor = self.main.chosen.back().copied();
            } else {
                self.follow();
            }
            return;
        }
        self.hold();
        self.cursor = self.main.chosen.get(to).copied();
    }

    /// Holds still at a place among what is chosen.
    pub(crate) fn go_to(&mut self, place: usize) {
        if let Some(number) = self.main.chosen.get(place).copied() {
            self.hold();
            self.cursor = Some(number);
        }
    }

    /// Holds still at the first one.
    pub(crate) fn go_to_first(&mut self) {
        self.hold();
        self.cursor = self.main.chosen.front().copied();
    }

    fn hold(&mut self) {
        self.holds = true;
    }

    /// Holds still, or goes on.
    pub(crate) fn toggle_pause(&mut self) {
        if self.paused {
            self.follow();
        } else {
            self.paused = true;
            self.hold();
        }
    }

    /// Shows the newest from now on.
    pub(crate) fn follow(&mut self) {
        self.holds = false;
        self.paused = false;
        self.cursor = None;
        self.new = 0;
        let fresh = std::mem::take(&mut self.fresh);
        let mut chosen = fresh.chosen;
        for entry in fresh.entries {
            let number = entry.number;
            self.main.push(entry);
            if chosen.front() == Some(&number) {
                chosen.pop_front();
                self.main.chosen.push_back(number);
            }
        }
    }

    /// The time of the one shown before a place.
    pub(crate) fn time_before(&self, place: usize) -> Option<Timestamp> {
        Some(self.at(place.checked_sub(1)?)?.event.time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::PeerFilter;
    use crate::message::Message;
    use crate::message::event::Direction;

    fn add(messages: &mut Messages, text: &str) {
        let body = EventBody::Message(Message::text(text));
        let event =
            Event { time: Timestamp::UNIX_EPOCH, session: "s1".into(), name: None, dir: Some(Direction::In), body };
        messages.add(0, Rc::new(event));
    }

    fn shown(messages: &Messages) -> Vec<String> {
        messages.chosen().map(|entry| String::from_utf8_lossy(entry.payload()).into_owned()).collect()
    }

    fn jq(source: &str) -> Choice {
        Choice { jq: Some((source.into(), PeerFilter::compile(source).expect("a program"))), ..Choice::default() }
    }

    #[test]
    fn what_is_held_still_does_not_move_and_what_is_new_is_counted() {
        let mut messages = Messages::default();
        for text in ["a", "b", "c"] {
            add(&mut messages, text);
        }
        messages.go(-1);
        assert_eq!(messages.cursor(), Some(1));
        for text in ["d", "e"] {
            add(&mut messages, text);
        }
        assert_eq!((shown(&messages).concat(), messages.arrived()), ("abc".into(), 2));
        messages.go(1);
        assert_eq!(messages.cursor(), Some(2));
        messages.go(1);
        assert_eq!((shown(&messages).concat(), messages.arrived(), messages.cursor()), ("abcde".into(), 0, None));
        messages.toggle_pause();
        add(&mut messages, "f");
        messages.go(1);
        assert_eq!((shown(&messages).concat(), messages.arrived()), ("abcde".into(), 1), "told to hold still, it does");
        messages.toggle_pause();
        assert_eq!(shown(&messages).concat(), "abcdef");
    }

    #[test]
    fn a_filter_chooses_among_what_is_there_and_what_comes() {
        let mut messages = Messages::default();
        (0..5).for_each(|number| add(&mut messages, &format!("{{\"n\":{number}}}")));
        add(&mut messages, "no JSON");
        messages.set_choice(jq(".n > 2"));
        assert!(messages.is_empty());
        while messages.step() {}
        assert_eq!(shown(&messages), [r#"{"n":3}"#, r#"{"n":4}"#]);
        messages.go(-1);
        add(&mut messages, r#"{"n":9}"#);
        add(&mut messages, r#"{"n":1}"#);
        while messages.step() {}
        assert_eq!((messages.len(), messages.arrived()), (2, 1));
        messages.set_choice(jq(".n | error"));
        while messages.step() {}
        assert_eq!(messages.failed().0, 7);
        messages.set_choice(Choice { search: Some("json".into()), ..Choice::default() });
        while messages.step() {}
        messages.follow();
        while messages.step() {}
        assert_eq!(shown(&messages), ["no JSON"]);
    }

    #[test]
    fn what_is_held_still_is_filtered_though_messages_arrive_faster_than_the_filter_runs() {
        let mut messages = Messages::default();
        (0..4).for_each(|number| add(&mut messages, &format!("{{\"n\":{number}}}")));
        messages.toggle_pause();
        messages.set_choice(jq(".n % 2 == 0"));
        for _ in 0..4 {
            (0..10).for_each(|_| add(&mut messages, r#"{"n":10}"#));
            assert!(messages.step());
        }
        assert_eq!(shown(&messages), [r#"{"n":0}"#, r#"{"n":2}"#]);
    }

    #[test]
    fn memory_is_bounded_in_number_and_bytes_also_while_it_holds_still() {
        let mut messages = Messages::default();
        (0..MESSAGES + 5).for_each(|_| add(&mut messages, "x"));
        assert_eq!(messages.len(), MESSAGES);
        messages.go(-1);
        (0..MESSAGES + 7).for_each(|_| add(&mut messages, "y"));
        assert_eq!((messages.fresh.entries.len(), messages.arrived()), (MESSAGES, MESSAGES as u64 + 7));
        assert!(shown(&messages).iter().all(|text| text == "x"));
        messages.follow();
        assert_eq!((messages.len(), messages.main.entries.len()), (MESSAGES, MESSAGES));
        let large = "z".repeat(BYTES / 4);
        (0..9).for_each(|_| add(&mut messages, &large));
        assert_eq!(messages.len(), 3);
        assert!(messages.main.bytes <= BYTES);
    }
}
