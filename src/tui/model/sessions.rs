//! The sessions of all sources: their rates, their order, the one under the cursor (pure).
//!
//! Leaves drawing to the view. Invariants: the cursor stays with its session when the order changes; a rate is that of
//! about the last second.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;

use crate::observe::control::SessionReading;

/// Which session: its source and its name there.
pub(crate) type SessionKey = (usize, String);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Column {
    Id,
    Peer,
    State,
    /// Messages received a second.
    RateIn,
    /// Messages sent a second.
    RateOut,
    In,
    Out,
    BytesIn,
    BytesOut,
    RoundTrip,
    Queue,
    /// Dropped for it.
    Drops,
    /// Since when it is open.
    Age,
}

impl Column {
    /// All of them, in the order they can be sorted by.
    pub(crate) const ALL: [Self; 13] = [
        Self::Id,
        Self::Peer,
        Self::State,
        Self::RateIn,
        Self::RateOut,
        Self::In,
        Self::Out,
        Self::BytesIn,
        Self::BytesOut,
        Self::RoundTrip,
        Self::Queue,
        Self::Drops,
        Self::Age,
    ];

    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Peer => "peer",
            Self::State => "state",
            Self::RateIn => "in/s",
            Self::RateOut => "out/s",
            Self::In => "in",
            Self::Out => "out",
            Self::BytesIn => "B in",
            Self::BytesOut => "B out",
            Self::RoundTrip => "rtt",
            Self::Queue => "queue",
            Self::Drops => "drops",
            Self::Age => "age",
        }
    }
}

/// Counts at a time.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Timestamp,
    counts: [u64; 4],
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Rates {
    before: Sample,
    since: Sample,
    grown: [f64; 4],
}

impl Rates {
    /// Counts at the first look.
    #[must_use]
    pub(crate) fn new(at: Timestamp, counts: [u64; 4]) -> Self {
        let sample = Sample { at, counts };
        Self { before: sample, since: sample, grown: [0.0; 4] }
    }

    /// Counts at a later look; how much each grew a second, over about the last second.
    pub(crate) fn take(&mut self, at: Timestamp, counts: [u64; 4]) -> [f64; 4] {
        let sample = Sample { at, counts };
        if seconds(self.since.at, at) >= 1.0 {
            self.before = std::mem::replace(&mut self.since, sample);
        }
        let passed = seconds(self.before.at, at);
        if passed > 0.0 {
            for (place, rate) in self.grown.iter_mut().enumerate() {
                *rate = counts[place].saturating_sub(self.before.counts[place]) as f64 / passed;
            }
        }
        self.grown
    }
}

/// A session as it is shown.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub key: SessionKey,
    pub reading: SessionReading,
    /// A second: messages in and out, bytes in and out.
    pub rates: [f64; 4],
    /// Since when it is open.
    pub since: Option<Timestamp>,
}

#[derive(Debug)]
pub(crate) struct Sessions {
    rows: Vec<Row>,
    /// The order of what is shown.
    order: Vec<usize>,
    tracks: HashMap<SessionKey, Rates>,
    cursor: Option<SessionKey>,
    marked: BTreeSet<SessionKey>,
    sort: Column,
    reverse: bool,
    filter: String,
}

impl Default for Sessions {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            order: Vec::new(),
            tracks: HashMap::new(),
            cursor: None,
            marked: BTreeSet::new(),
            sort: Column::Id,
            reverse: false,
            filter: String::new(),
        }
    }
}

fn counts(reading: &SessionReading) -> [u64; 4] {
    [reading.received.messages, reading.sent.messages, reading.received.bytes, reading.sent.bytes]
}

/// Seconds between two times.
pub(crate) fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64()
}

impl Sessions {
    /// The sessions of a source as they are now.
    pub(crate) fn set(&mut self, source: usize, readings: Vec<SessionReading>, now: Timestamp) {
        let before = self.place();
        self.rows.retain(|row| row.key.0 != source);
        for reading in readings {
            let key = (source, reading.id.clone());
            let counts = counts(&reading);
            let rates = self.tracks.entry(key.clone()).or_insert_with(|| Rates::new(now, counts)).take(now, counts);
            let since = reading.since.parse().ok();
            self.rows.push(Row { key, reading, rates, since });
        }
        let here: BTreeSet<SessionKey> = self.rows.iter().map(|row| row.key.clone()).collect();
        self.tracks.retain(|key, _| here.contains(key));
        self.marked.retain(|key| here.contains(key));
        self.arrange(before);
    }

    /// Puts the rows in their order; where the cursor's session is gone, the one in its place has it.
    fn arrange(&mut self, before: Option<usize>) {
        let filter = self.filter.to_lowercase();
        let rows = &self.rows;
        let shown = |row: &Row| {
            let reading = &row.reading;
            let texts = [
                Some(&reading.id),
                reading.name.as_ref(),
                reading.subject.as_ref(),
                Some(&reading.peer),
                Some(&reading.target),
            ];
            filter.is_empty()
                || texts.into_iter().flatten().any(|text| text.to_lowercase().contains(&filter))
                || format!("{:?}", reading.state).to_lowercase().contains(&filter)
        };
        let mut order: Vec<usize> = (0..rows.len()).filter(|place| shown(&rows[*place])).collect();
        let column = self.sort;
        order.sort_by(|one, other| {
            let (one, other) = (&rows[*one], &rows[*other]);
            // Names in their natural order: s2 before s10.
            let by_id =
                || (one.key.0, one.key.1.len(), &one.key.1).cmp(&(other.key.0, other.key.1.len(), &other.key.1));
            let by = match column {
                Column::Id => by_id(),
                Column::Peer => one.reading.peer.cmp(&other.reading.peer),
                Column::State => one.reading.state.cmp(&other.reading.state),
                Column::Age => one.since.cmp(&other.since),
                _ => number(other, column).total_cmp(&number(one, column)),
            };
            let by = by.then_with(by_id);
            if self.reverse { by.reverse() } else { by }
        });
        self.order = order;
        let is_shown = |key: &SessionKey| self.order.iter().any(|place| self.rows[*place].key == *key);
        if !self.cursor.as_ref().is_some_and(is_shown) {
            let place = before.unwrap_or(0).min(self.order.len().saturating_sub(1));
            self.cursor = self.order.get(place).map(|row| self.rows[*row].key.clone());
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.order.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub(crate) fn total(&self) -> usize {
        self.rows.len()
    }

    /// The one at a place of the order shown.
    pub(crate) fn at(&self, place: usize) -> Option<&Row> {
        self.order.get(place).map(|row| &self.rows[*row])
    }

    /// The place of the cursor.
    pub(crate) fn place(&self) -> Option<usize> {
        let cursor = self.cursor.as_ref()?;
        self.order.iter().position(|row| self.rows.get(*row).is_some_and(|row| row.key == *cursor))
    }

    /// The one under the cursor.
    pub(crate) fn current(&self) -> Option<&Row> {
        self.at(self.place()?)
    }

    /// The one of this name.
    pub(crate) fn get(&self, key: &SessionKey) -> Option<&Row> {
        self.rows.iter().find(|row| row.key == *key)
    }

    /// Moves the cursor.
    pub(crate) fn go(&mut self, by: isize) {
        let Some(last) = self.len().checked_sub(1) else { return };
        let place = self.place().unwrap_or(0).saturating_add_signed(by).min(last);
        self.cursor = self.at(place).map(|row| row.key.clone());
    }

    /// Moves the cursor to a place of the order shown.
    pub(crate) fn go_to(&mut self, place: usize) {
        if let Some(row) = self.at(place) {
            self.cursor = Some(row.key.clone());
        }
    }

    /// Marks the one under the cursor, or takes the mark away.
    pub(crate) fn mark(&mut self) {
        if let Some(key) = self.cursor.clone()
            && !self.marked.remove(&key)
        {
            self.marked.insert(key);
        }
    }

    pub(crate) fn marked(&self) -> &BTreeSet<SessionKey> {
        &self.marked
    }

    /// What is sorted by, and whether the other way round.
    pub(crate) fn sort(&self) -> (Column, bool) {
        (self.sort, self.reverse)
    }

    /// Sorts by the next column.
    pub(crate) fn sort_next(&mut self) {
        let place = Column::ALL.iter().position(|column| *column == self.sort).unwrap_or(0);
        self.sort = Column::ALL[(place + 1) % Column::ALL.len()];
        self.arrange(self.place());
    }

    /// Sorts by a column; by the same again, the other way round.
    pub(crate) fn sort_by(&mut self, column: Column) {
        self.reverse = column == self.sort && !self.reverse;
        self.sort = column;
        self.arrange(self.place());
    }

    /// Sorts the other way round.
    pub(crate) fn reverse(&mut self) {
        self.reverse = !self.reverse;
        self.arrange(self.place());
    }

    /// What must be in what is shown.
    pub(crate) fn filter(&self) -> &str {
        &self.filter
    }

    /// Shows only those with this text in their id, name, subject, peer, target or state.
    pub(crate) fn set_filter(&mut self, filter: &str) {
        filter.clone_into(&mut self.filter);
        self.arrange(self.place());
    }
}

fn number(row: &Row, column: Column) -> f64 {
    let reading = &row.reading;
    match column {
        Column::RateIn => row.rates[0],
        Column::RateOut => row.rates[1],
        Column::In => reading.received.messages as f64,
        Column::Out => reading.sent.messages as f64,
        Column::BytesIn => reading.received.bytes as f64,
        Column::BytesOut => reading.sent.bytes as f64,
        Column::RoundTrip => reading.round_trip_ms.unwrap_or(-1.0),
        Column::Queue => reading.queue.depth as f64,
        _ => reading.dropped as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::model::tests::reading;

    fn ids(sessions: &Sessions) -> Vec<String> {
        (0..sessions.len()).filter_map(|place| sessions.at(place)).map(|row| row.key.1.clone()).collect()
    }

    #[test]
    fn the_cursor_stays_with_its_session() {
        let (mut sessions, now) = (Sessions::default(), Timestamp::UNIX_EPOCH);
        sessions.set(0, vec![reading("s1", 5), reading("s2", 90), reading("s10", 50)], now);
        assert_eq!(ids(&sessions), ["s1", "s2", "s10"]);
        sessions.go(1);
        (0..5).for_each(|_| sessions.sort_next());
        assert_eq!(sessions.sort().0, Column::In);
        assert_eq!((ids(&sessions), sessions.place()), (vec!["s2".into(), "s10".into(), "s1".into()], Some(0)));
        sessions.reverse();
        assert_eq!(sessions.place(), Some(2));
        sessions.set(0, vec![reading("s1", 5), reading("s10", 50)], now);
        assert_eq!(sessions.current().expect("one").key.1, "s10", "its session is gone: the one in its place");
        sessions.set_filter("S1");
        assert_eq!(ids(&sessions), ["s1", "s10"]);
        sessions.set_filter("nobody");
        assert!(sessions.is_empty() && sessions.current().is_none() && sessions.total() == 2);
    }

    #[test]
    fn a_rate_is_that_of_the_last_second() {
        let mut sessions = Sessions::default();
        for tenth in 0..=40_u64 {
            let now = Timestamp::from_millisecond(i64::try_from(tenth * 100).expect("small")).expect("a time");
            sessions.set(0, vec![reading("s1", tenth * 7)], now);
        }
        let rate = sessions.at(0).expect("one").rates[0];
        assert!((rate - 70.0).abs() < 1e-6, "{rate}");
    }
}
