//! What the dashboard shows, and how what happens and what is typed changes it (pure).
//!
//! Time is an argument, what is to be done comes back as an [`Effect`]. Leaves drawing to the view
//! and acting to the driver. Invariant: everything kept is bounded.

mod acting;
pub(crate) mod choice;
pub(crate) mod detail;
mod keys;
pub(crate) mod line;
pub(crate) mod load;
pub(crate) mod log;
pub(crate) mod messages;
pub(crate) mod queues;
pub(crate) mod sessions;
mod typing;

use std::rc::Rc;

use jiff::Timestamp;

use crate::message::Message;
use crate::message::event::{Direction, Event, EventBody};
use crate::observe::Snapshot;
use crate::observe::control::SessionState;
use detail::Form;
use line::{History, Line};
use log::{Grade, Log, LogLine};
use messages::{Entry, Messages};
use queues::Queues;
use sessions::{Column, Rates, SessionKey, Sessions, seconds};

const REMARK: f64 = 6.0;

/// What a source told since the last look.
#[derive(Debug, Default)]
pub struct Look {
    /// Its state, where that was read anew.
    pub snapshot: Option<Snapshot>,
    pub events: Vec<Rc<Event>>,
    pub missed: u64,
    /// Whether it can be seen, where that changed.
    pub link: Option<Link>,
}

/// Whether a source can be seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Link {
    #[default]
    Connecting,
    Live,
    Lost(String),
}

/// A run that is looked at.
#[derive(Debug)]
pub(crate) struct SourceState {
    /// As the user named it.
    pub label: String,
    pub link: Link,
    pub snapshot: Snapshot,
    /// A second: messages in and out, bytes in and out.
    pub rates: [f64; 4],
    track: Option<Rates>,
}

/// A part of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pane {
    Sessions,
    Queues,
    Messages,
    /// Events and errors.
    Log,
}

impl Pane {
    /// All of them, in their order.
    pub(crate) const ALL: [Self; 4] = [Self::Sessions, Self::Queues, Self::Messages, Self::Log];

    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sessions => "Sessions",
            Self::Queues => "Queues",
            Self::Messages => "Messages",
            Self::Log => "Log",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hit {
    /// A pane, nothing of it.
    Pane(Pane),
    /// The session at this place of the order shown.
    Session(usize),
    /// The head of a column.
    Column(Column),
    /// The message at this place among those chosen.
    Message(usize),
    /// A line of the log, so many before the last one shown.
    Log(usize),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Times {
    /// The time of the day, UTC.
    #[default]
    Absolute,
    Ago,
    /// How long after the one before.
    Since,
}

#[derive(Debug, Default)]
pub(crate) enum Overlay {
    #[default]
    None,
    /// The keys, from this line on.
    Help(usize),
    Detail(Box<Detail>),
    /// A line of the log, and the first row of it that is shown.
    LogLine(Box<LogLine>, usize),
}

/// One message in full.
#[derive(Debug)]
pub(crate) struct Detail {
    pub entry: Entry,
    pub hex: bool,
    /// How the lines are to be read.
    pub form: Form,
    /// The payload as lines.
    pub lines: Vec<String>,
    /// The first line that is shown.
    pub top: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum To {
    One(SessionKey),
    Marked(Vec<SessionKey>),
    All,
}

/// What a line is typed for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A program that chooses messages.
    Filter,
    /// A text in messages.
    Search,
    /// A text in sessions.
    SessionFilter,
    /// A text in the log.
    LogFilter,
    Send(To),
    /// The code to close with.
    Close {
        session: SessionKey,
        reason: &'static str,
    },
    /// How many messages a second are read from these.
    Limit(Vec<SessionKey>),
    /// The name of a file.
    SaveAs,
}

/// A line that is being typed.
#[derive(Debug)]
pub(crate) struct Typing {
    pub purpose: Purpose,
    pub line: Line,
    pub error: Option<String>,
    /// What it was before, to restore it on Esc.
    before: String,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    Quit,
    /// As a signal would.
    Interrupt,
    /// Stop until continued.
    Suspend,
    /// Draw everything anew.
    Redraw,
    /// The mouse is told about, or left to the terminal.
    Mouse(bool),
    Send(To, Message),
    Close(SessionKey, u16, &'static str),
    Reconnect(SessionKey),
    /// Read nothing from these any more, or go on.
    Pause(Vec<SessionKey>, bool),
    /// Read so many messages a second from these, or as many as come.
    Limit(Vec<SessionKey>, Option<f64>),
    /// To the clipboard.
    Copy(Vec<u8>),
    /// Into a file: a name that was given, or what it may be called by itself; what; and how that is told.
    Save {
        /// The name that was typed.
        name: Option<String>,
        /// The middle of a name made up, and its ending.
        kind: (&'static str, &'static str),
        content: Vec<u8>,
        what: String,
    },
}

/// Everything that is shown.
#[derive(Debug)]
pub(crate) struct Model {
    /// What this is a dashboard of.
    pub title: String,
    /// The runs that are looked at.
    pub sources: Vec<SourceState>,
    pub sessions: Sessions,
    pub messages: Messages,
    pub queues: Queues,
    /// Events and errors.
    pub log: Log,
    /// The pane that keys go to.
    pub pane: Pane,
    pub zoom: bool,
    pub overlay: Overlay,
    /// The line being typed.
    pub typing: Option<Typing>,
    /// Why the last session that failed did.
    failure: Option<String>,
    /// A remark, whether it is an error, and since when.
    pub remark: Option<(String, bool, Timestamp)>,
    pub times: Times,
    pub light: bool,
    /// Whether the mouse does something here.
    pub mouse: bool,
    /// Rows of the screen.
    pub rows: usize,
    pub started: Timestamp,
    pub now: Timestamp,
    control: bool,
    history: History,
}

impl Model {
    /// A dashboard of these sources. Without `control` nothing can be acted on.
    #[must_use]
    pub(crate) fn new(title: impl Into<String>, labels: Vec<String>, control: bool, now: Timestamp) -> Self {
        let source = |label| SourceState {
            label,
            link: Link::Connecting,
            snapshot: Snapshot::default(),
            rates: [0.0; 4],
            track: None,
        };
        Self {
            title: title.into(),
            sources: labels.into_iter().map(source).collect(),
            sessions: Sessions::default(),
            messages: Messages::default(),
            queues: Queues::default(),
            log: Log::default(),
            pane: Pane::Messages,
            zoom: false,
            overlay: Overlay::None,
            typing: None,
            failure: None,
            remark: None,
            times: Times::Absolute,
            light: false,
            mouse: false,
            rows: 24,
            started: now,
            now,
            control,
            history: History::default(),
        }
    }

    /// Time goes on; whether that changes what is shown.
    pub(crate) fn tick(&mut self, now: Timestamp) -> bool {
        let second = |time: Timestamp| time.as_second();
        let changed = second(self.now) != second(now);
        self.now = now;
        self.remark.take_if(|(_, _, since)| seconds(*since, now) > REMARK).is_some() || changed
    }

    /// What a source told; whether that changes what is shown.
    pub(crate) fn saw(&mut self, source: usize, look: Look, now: Timestamp) -> bool {
        let changed = look.snapshot.is_some() || !look.events.is_empty() || look.missed > 0 || look.link.is_some();
        self.now = now;
        self.messages.miss(look.missed);
        if let Some(link) = look.link {
            self.link_changed(source, link);
        }
        for event in look.events {
            self.happened(source, event);
        }
        if let Some(mut snapshot) = look.snapshot {
            self.queues.set(source, &snapshot.queues);
            self.sessions.set(source, std::mem::take(&mut snapshot.sessions), now);
            let state = &mut self.sources[source];
            let (received, sent) = (snapshot.received, snapshot.sent);
            let counts = [received.messages, sent.messages, received.bytes, sent.bytes];
            state.rates = state.track.get_or_insert_with(|| Rates::new(now, counts)).take(now, counts);
            state.snapshot = snapshot;
        }
        changed
    }

    fn link_changed(&mut self, source: usize, link: Link) {
        let state = &mut self.sources[source];
        if state.link == link {
            return;
        }
        let label = &state.label;
        match &link {
            Link::Lost(reason) => {
                self.log.add(self.now, Grade::Error, format!("lost {label}: {reason}; retrying"));
                // Another process may count from the beginning.
                state.track = None;
                state.rates = [0.0; 4];
                self.sessions.set(source, Vec::new(), self.now);
            }
            Link::Live if state.link != Link::Connecting => {
                self.log.add(self.now, Grade::Event, format!("{label} is back"));
            }
            _ => {}
        }
        state.link = link;
    }

    fn happened(&mut self, source: usize, event: Rc<Event>) {
        let prefix = if self.sources.len() > 1 { format!("{} ", self.sources[source].label) } else { String::new() };
        let line = match &event.body {
            EventBody::Open { url, peer, .. } => {
                self.failure = None;
                let who = peer.as_ref().or(url.as_ref()).map_or("", String::as_str);
                Some((Grade::Event, format!("open {who}")))
            }
            EventBody::Close { code, reason, clean } => {
                let code = code.map_or_else(|| "no code".to_owned(), |code| code.to_string());
                let way = if event.dir == Some(Direction::Out) { "close sent" } else { "closed" };
                let grade = if *clean { Grade::Event } else { Grade::Warning };
                Some((grade, format!("{way}: {code} {reason}").trim_end().to_owned()))
            }
            EventBody::Error { error } => {
                self.failure = Some(error.clone());
                Some((Grade::Error, error.clone()))
            }
            EventBody::Retry { attempt, delay_ms, .. } => {
                let delay = *delay_ms as f64 / 1000.0;
                Some((Grade::Warning, format!("reconnecting in {delay:.1} s (retry {attempt})")))
            }
            EventBody::Drop { reason, size } => {
                let size = size.map(|size| format!(" of {size} B")).unwrap_or_default();
                Some((Grade::Warning, format!("dropped a message{size}: {reason}")))
            }
            _ => None,
        };
        if let Some((grade, text)) = line {
            self.log.add(event.time, grade, format!("{prefix}{} {text}", event.session));
        }
        let is_shown = matches!(
            event.body,
            EventBody::Message(_) | EventBody::Ping(_) | EventBody::Pong(_) | EventBody::Close { .. }
        );
        if is_shown {
            self.messages.add(source, event);
        }
    }

    /// Why nothing is connected: the reason of the last session that failed, while none is open.
    #[must_use]
    pub(crate) fn failure(&self) -> Option<&str> {
        let idle = |state| !matches!(state, SessionState::Open | SessionState::Paused);
        let all_idle =
            (0..self.sessions.len()).filter_map(|place| self.sessions.at(place)).all(|row| idle(row.reading.state));
        self.failure.as_deref().filter(|_| self.sessions.total() > 0 && all_idle)
    }

    /// Returns the sources that are lost, by their labels, and why.
    #[must_use]
    pub(crate) fn lost(&self) -> Vec<(String, String)> {
        let lost = |source: &SourceState| match &source.link {
            Link::Lost(reason) => Some((source.label.clone(), reason.clone())),
            _ => None,
        };
        self.sources.iter().filter_map(lost).collect()
    }

    /// A line that would have gone to stderr.
    pub(crate) fn heard(&mut self, line: &str) {
        let grade = if line.starts_with("wsp: ") { Grade::Warning } else { Grade::Event };
        self.log.add(self.now, grade, line);
    }

    /// What became of something that was to be done.
    pub(crate) fn done(&mut self, result: Result<String, String>) {
        match result {
            Ok(text) if text.is_empty() => {}
            Ok(text) => self.say(text),
            Err(text) => self.complain(text),
        }
    }

    fn say(&mut self, text: impl Into<String>) {
        self.remark = Some((text.into(), false, self.now));
    }

    fn complain(&mut self, text: impl Into<String>) {
        let text = text.into();
        self.log.add(self.now, Grade::Error, text.clone());
        self.remark = Some((text, true, self.now));
    }

    /// The name of a session as it is shown: with its source where there are several.
    #[must_use]
    pub(crate) fn session_name(&self, source: usize, id: &str) -> String {
        match self.sources.get(source) {
            Some(state) if self.sources.len() > 1 => format!("{}/{id}", state.label),
            _ => id.to_owned(),
        }
    }

    /// Whether something can be acted on.
    #[must_use]
    pub(crate) fn can_control(&self) -> bool {
        self.control
    }
}

#[cfg(test)]
pub(in crate::tui) mod tests;
