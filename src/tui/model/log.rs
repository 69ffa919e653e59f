//! What happened beside messages, and what was said: a bounded list of lines (pure).

use std::collections::VecDeque;

use jiff::Timestamp;

const LINES: usize = 2000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grade {
    Event,
    Warning,
    Error,
}

#[derive(Debug, Clone)]
pub(crate) struct LogLine {
    pub time: Timestamp,
    pub grade: Grade,
    pub text: String,
}

/// The lines, and where the view stands.
#[derive(Debug, Default)]
pub(crate) struct Log {
    lines: VecDeque<LogLine>,
    /// Lines between the last one shown and the last one.
    back: usize,
    filter: String,
}

impl Log {
    /// One more line.
    pub(crate) fn add(&mut self, time: Timestamp, grade: Grade, text: impl Into<String>) {
        let line = LogLine { time, grade, text: text.into() };
        if self.lines.len() >= LINES {
            self.lines.pop_front();
        }
        // A view that was scrolled holds still.
        if self.back > 0 && self.allows(&line) {
            self.back += 1;
        }
        self.lines.push_back(line);
    }

    fn allows(&self, line: &LogLine) -> bool {
        self.filter.is_empty() || line.text.to_lowercase().contains(&self.filter.to_lowercase())
    }

    /// Those that are shown as the view stands, the newest first.
    pub(crate) fn newest(&self) -> impl Iterator<Item = &LogLine> {
        self.lines.iter().rev().filter(|line| self.allows(line)).skip(self.back)
    }

    /// So many lines, as the view stands.
    pub(crate) fn shown(&self, count: usize) -> Vec<&LogLine> {
        let mut lines: Vec<_> = self.newest().take(count).collect();
        lines.reverse();
        lines
    }

    pub(crate) fn is_held(&self) -> bool {
        self.back > 0
    }

    /// Moves the view.
    pub(crate) fn go(&mut self, by: isize) {
        let most = self.lines.iter().filter(|line| self.allows(line)).count().saturating_sub(1);
        self.back = self.back.saturating_add_signed(-by).min(most);
    }

    /// To the last line.
    pub(crate) fn end(&mut self) {
        self.back = 0;
    }

    /// What must be in what is shown.
    pub(crate) fn filter(&self) -> &str {
        &self.filter
    }

    /// Shows only lines with this text.
    pub(crate) fn set_filter(&mut self, filter: &str) {
        filter.clone_into(&mut self.filter);
        self.back = 0;
    }

    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }
}
