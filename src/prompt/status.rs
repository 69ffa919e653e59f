//! What the prompt shows: host, state, round-trip time or number of sessions.
//!
//! rustyline measures a prompt once a line, so its width must not change while the line is edited:
//! state and time stand in fields of fixed width.

use std::fmt::Write as _;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use unicode_width::UnicodeWidthStr as _;

/// Widest host that is shown whole.
const HOST: usize = 32;

/// Where a session is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SessionState {
    #[default]
    Connecting,
    Open,
    /// Lost; tried again for this number of times.
    Retrying(u32),
    /// Ended for good.
    Closed,
    /// No session but a server, with this number of them.
    Serving(usize),
}

impl SessionState {
    /// The state in a word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "dial",
            Self::Open => "open",
            Self::Retrying(_) => "retry",
            Self::Closed => "closed",
            Self::Serving(_) => "listen",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Open | Self::Serving(1..) => "\x1b[32m",
            Self::Connecting | Self::Retrying(_) | Self::Serving(0) => "\x1b[33m",
            Self::Closed => "\x1b[31m",
        }
    }
}

/// The status line below the prompt.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    /// Host and port, or how many sessions there are.
    pub host: String,
    /// State of the session.
    pub state: SessionState,
    /// The last round-trip time.
    pub round_trip: Option<Duration>,
}

/// The status, as the editing thread reads it.
#[derive(Debug)]
pub(crate) struct Shared {
    status: Mutex<Status>,
    /// Columns for the host.
    width: usize,
    colour: bool,
    end: Mutex<End>,
    parked: Condvar,
}

/// The end of the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    /// The next to draw the prompt stops there.
    Wanted,
    /// The editing thread has stopped, the prompt's line is cleared.
    Reached,
}

impl Shared {
    /// The widest of the hosts that will be shown decides on the width.
    pub(crate) fn new<'a>(status: Status, hosts: impl IntoIterator<Item = &'a str>, colour: bool) -> Self {
        let widest = hosts.into_iter().map(unicode_width::UnicodeWidthStr::width).max().unwrap_or_default();
        let width = widest.max(status.host.width()).min(HOST);
        Self { status: Mutex::new(status), width, colour, end: Mutex::new(End::Open), parked: Condvar::new() }
    }

    /// True when the prompt looks different now.
    pub(crate) fn set(&self, status: Status) -> bool {
        let mut current = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *current != status;
        *current = status;
        changed
    }

    /// The prompt without colours; starts a line.
    pub(crate) fn plain(&self) -> String {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        draw(&status, &fit(&status.host, self.width), false)
    }

    /// From now on the prompt is not drawn any more: the editing thread, which nobody can
    /// interrupt, stops when it is about to.
    pub(crate) fn end(&self) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = End::Wanted;
    }

    /// Waits until the editing thread has stopped; false when it has not within the limit.
    pub(crate) fn has_ended(&self, limit: Duration) -> bool {
        let end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.parked.wait_timeout_while(end, limit, |end| *end != End::Reached);
        *waited.unwrap_or_else(PoisonError::into_inner).0 == End::Reached
    }

    fn stop_here_at_the_end(&self) {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        if *end == End::Open {
            return;
        }
        *end = End::Reached;
        self.parked.notify_all();
        drop(end);
        loop {
            std::thread::park();
        }
    }

    /// The prompt as it stands now, as wide as when the line was started.
    pub(crate) fn drawn(&self) -> String {
        self.stop_here_at_the_end();
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner).clone();
        draw(&status, &fit(&status.host, self.width), self.colour)
    }

    pub(crate) fn colour(&self) -> bool {
        self.colour
    }
}

/// Cuts or fills up to a width in columns.
fn fit(text: &str, width: usize) -> String {
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let columns = unicode_width::UnicodeWidthChar::width(c).unwrap_or(0);
        if used + columns > width {
            break;
        }
        out.push(c);
        used += columns;
    }
    out.extend(std::iter::repeat_n(' ', width - used));
    out
}

fn draw(status: &Status, host: &str, colour: bool) -> String {
    let (on, off) = if colour { (status.state.colour(), "\x1b[0m") } else { ("", "") };
    let mut out = format!("{host} {on}{:<6}{off}", status.state.name());
    match (status.state, status.round_trip) {
        (SessionState::Retrying(attempt), _) => {
            let _ = write!(out, "{:>7}", format!("#{attempt}"));
        }
        (SessionState::Serving(sessions), _) => {
            let _ = write!(out, "{sessions:>7}");
        }
        (SessionState::Open, Some(time)) => {
            let _ = write!(out, "{:>7}", short(time));
        }
        _ => out.push_str("       "),
    }
    out.push_str("> ");
    out
}

/// A time in at most seven columns.
fn short(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    match ms {
        ..10.0 => format!("{ms:.2}ms"),
        10.0..1000.0 => format!("{ms:.0}ms"),
        1000.0..1_000_000.0 => format!("{:.1}s", ms / 1e3),
        _ => "long".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_width_never_changes_within_a_line() {
        let times = [0, 9_999, 10_000, 999_999, 1_000_000, 59_000_000, 5_000_000_000].map(Duration::from_micros);
        let states = [
            SessionState::Connecting,
            SessionState::Open,
            SessionState::Retrying(1),
            SessionState::Retrying(999_999),
            SessionState::Closed,
            SessionState::Serving(0),
            SessionState::Serving(999_999),
        ];
        for host in ["localhost:8080", "例え.jp:443", "h", &"long.".repeat(20)] {
            let shared = Shared::new(Status { host: host.to_owned(), ..Status::default() }, ["other"], false);
            let width = shared.plain().width();
            for state in states {
                for round_trip in times.map(Some).into_iter().chain([None]) {
                    shared.set(Status { host: host.to_owned(), state, round_trip });
                    let drawn = shared.drawn();
                    assert_eq!(drawn.width(), width, "{drawn:?}");
                }
            }
            shared.set(Status { host: "another".to_owned(), ..Status::default() });
            assert_eq!(shared.drawn().width(), width);
        }
    }

    #[test]
    fn colours_only_where_they_are_wanted() {
        let status =
            Status { host: "h:1".into(), state: SessionState::Open, round_trip: Some(Duration::from_micros(420)) };
        let plain = Shared::new(status.clone(), [], false);
        plain.plain();
        assert_eq!(plain.drawn(), "h:1 open   0.42ms> ");
        let coloured = Shared::new(status, [], true);
        assert_eq!(coloured.plain(), "h:1 open   0.42ms> ");
        assert_eq!(coloured.drawn(), "h:1 \x1b[32mopen  \x1b[0m 0.42ms> ");
    }
}
