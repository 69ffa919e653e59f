//! Dropped messages on their way to `--json` output: a line each, while the reader keeps up.
//!
//! Pure but for the lines it writes. Invariants: what waits is bounded, however many messages are dropped: equal ones
//! that follow each other wait as one, and beyond `MOST_RUNS` they are added up by session and reason, and written as
//! one line with their `count`; none is left out.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use jiff::Timestamp;

use super::counters::{DropReason, Label as _};
use crate::message::event::{Direction, EventSession, NO_SESSION, push_number, write_drop_line};

/// Runs of equal messages that may wait: a few MiB.
const MOST_RUNS: usize = 1 << 16;
/// Sessions distinguished beyond that.
const MOST_SESSIONS: usize = 1 << 12;

/// Messages of one session dropped for one reason.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Run {
    time: Timestamp,
    session: Rc<str>,
    name: Option<Rc<str>>,
    dir: Direction,
    reason: DropReason,
    size: Option<usize>,
    count: u64,
}

/// Messages of one session and reason, added up.
#[derive(Debug)]
struct Sum {
    time: Timestamp,
    name: Option<Rc<str>>,
    count: u64,
    size: u64,
}

#[derive(Debug, Default)]
pub(crate) struct DropLines {
    runs: VecDeque<Run>,
    sums: BTreeMap<(Rc<str>, DropReason, bool), Sum>,
}

impl DropLines {
    /// Adds a dropped message of `size` bytes, where its size is known.
    pub(crate) fn push<'s>(
        &mut self,
        time: Timestamp,
        session: impl Into<EventSession<'s>>,
        dir: Direction,
        reason: DropReason,
        size: Option<usize>,
    ) {
        let EventSession { id: session, mut name } = session.into();
        if self.sums.is_empty() {
            if let Some(last) = self.runs.back_mut()
                && (last.dir, last.reason, last.size) == (dir, reason, size)
                && *last.session == *session
                && last.name.as_deref() == name
            {
                last.count += 1;
                return;
            }
            if self.runs.len() < MOST_RUNS {
                let session = match self.runs.back() {
                    Some(last) if *last.session == *session => Rc::clone(&last.session),
                    _ => session.into(),
                };
                let name = name.map(Rc::from);
                self.runs.push_back(Run { time, session, name, dir, reason, size, count: 1 });
                return;
            }
        }
        let mut key = (Rc::from(session), reason, dir == Direction::In);
        if self.sums.len() >= MOST_SESSIONS && !self.sums.contains_key(&key) {
            (key.0, name) = (NO_SESSION.into(), None);
        }
        let sum = self.sums.entry(key).or_insert_with(|| Sum { time, name: name.map(Rc::from), count: 0, size: 0 });
        sum.count += 1;
        sum.size += size.unwrap_or_default() as u64;
    }

    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.sums.is_empty()
    }

    /// Forgets what waits: nobody reads it.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Appends lines until `out` holds `most` bytes or nothing waits.
    pub(crate) fn write(&mut self, out: &mut Vec<u8>, most: usize) {
        while out.len() < most
            && let Some(run) = self.runs.front_mut()
        {
            let session = EventSession { id: &run.session, name: run.name.as_deref() };
            write_drop_line(out, run.time, session, run.dir, run.reason.name(), run.size);
            run.count -= 1;
            if run.count == 0 {
                self.runs.pop_front();
            }
        }
        while out.len() < most
            && self.runs.is_empty()
            && let Some(((session, reason, is_in), sum)) = self.sums.pop_first()
        {
            let dir = if is_in { Direction::In } else { Direction::Out };
            let size = usize::try_from(sum.size).unwrap_or(usize::MAX);
            let session = EventSession { id: &session, name: sum.name.as_deref() };
            write_drop_line(out, sum.time, session, dir, reason.name(), Some(size));
            if sum.count > 1 {
                out.truncate(out.len() - "}\n".len());
                out.extend_from_slice(b",\"count\":");
                push_number(out, sum.count);
                out.extend_from_slice(b"}\n");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(lines: &mut DropLines, session: &str, size: usize) {
        lines.push(Timestamp::UNIX_EPOCH, session, Direction::Out, DropReason::QueueFull, Some(size));
    }

    fn written(lines: &mut DropLines) -> Vec<serde_json::Value> {
        let mut out = Vec::new();
        lines.write(&mut out, usize::MAX);
        let text = String::from_utf8(out).expect("UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    #[test]
    fn each_message_has_its_line_and_equal_ones_take_no_room() {
        let mut lines = DropLines::default();
        (0..100_000).for_each(|_| push(&mut lines, "s1", 5));
        push(&mut lines, "s2", 5);
        assert_eq!(lines.runs.len(), 2);
        let mut out = Vec::new();
        lines.write(&mut out, 1000);
        assert!(out.len() < 1200 && !lines.is_empty(), "what is written at a time is bounded");
        let rest = written(&mut lines);
        let first = String::from_utf8(out).expect("UTF-8").lines().count();
        assert_eq!(first + rest.len(), 100_001);
        let last = rest.last().expect("a line");
        assert_eq!((&last["type"], &last["session"], &last["size"]), (&"drop".into(), &"s2".into(), &5.into()));
        assert_eq!((&last["reason"], &last["dir"]), (&"queue-full".into(), &"out".into()));
        assert!(lines.is_empty());
    }

    #[test]
    fn where_nobody_reads_what_waits_is_bounded_and_none_is_left_out() {
        let mut lines = DropLines::default();
        let count = MOST_RUNS + 20_000;
        (0..count).for_each(|number| push(&mut lines, &format!("s{}", number % 3), number));
        assert!(lines.runs.len() <= MOST_RUNS && lines.sums.len() <= 3);
        let lines = written(&mut lines);
        let counted: u64 = lines.iter().map(|line| line["count"].as_u64().unwrap_or(1)).sum();
        let size: u64 = lines.iter().map(|line| line["size"].as_u64().expect("a size")).sum();
        assert_eq!((counted, size), (count as u64, (0..count as u64).sum()));
        assert_eq!(lines.len(), MOST_RUNS + 3);
    }
}
