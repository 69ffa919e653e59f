//! What the sessions of one `connect` run share: output, input, the wish to stop, the exit code.
//!
//! Everything runs in one task, so plain cells do. Invariant: whoever changes something another
//! session looks at sets [`Shared::changed`], and the run polls all of them again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use jiff::Timestamp;

use super::plan::{NonJson, Plan};
use crate::error::Error;
use crate::exit::Exit;
use crate::filter::{Filter, Json};
use crate::host::Stderr;
use crate::message::event::{Direction, Event, EventBody, write_message_line};
use crate::message::render::{self, Format};
use crate::message::{Message, MessageKind};
use crate::session::Outgoing;
use crate::sink::stdout::{Output, OutputFailure};

/// Messages an inbox may hold before reading of input pauses.
const INBOX_MESSAGES: usize = 1024;
/// Payload bytes an inbox may hold before reading of input pauses.
const INBOX_BYTES: usize = 1024 * 1024;

/// Input on its way to one session.
#[derive(Debug, Default)]
pub struct Inbox {
    waiting: VecDeque<Outgoing>,
    bytes: usize,
    closed: bool,
}

impl Inbox {
    /// Adds what was read; false when the session has ended and nobody will take it.
    pub fn push(&mut self, outgoing: Outgoing) -> bool {
        if self.closed {
            return false;
        }
        self.bytes += size(&outgoing);
        self.waiting.push_back(outgoing);
        true
    }

    /// The session has ended: what waits is dropped, and what still comes.
    pub fn close(&mut self) {
        *self = Self { closed: true, ..Self::default() };
    }

    /// How much waits.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Takes the oldest.
    pub fn pop(&mut self) -> Option<Outgoing> {
        let outgoing = self.waiting.pop_front()?;
        self.bytes -= size(&outgoing);
        Some(outgoing)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether more may be read for this session.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < INBOX_MESSAGES && self.bytes < INBOX_BYTES
    }
}

fn size(outgoing: &Outgoing) -> usize {
    match outgoing {
        Outgoing::Message(message) => message.len(),
        Outgoing::Ping(payload) | Outgoing::Pong(payload) => payload.len(),
        Outgoing::Close(_) | Outgoing::Abort => 0,
    }
}

/// State of one run.
pub struct Shared {
    /// The settings.
    pub plan: Plan,
    /// Diagnostics.
    pub stderr: Stderr,
    /// Standard output.
    pub output: RefCell<Output>,
    /// Output filter; `/jq` changes it.
    pub filter: RefCell<Option<Filter>>,
    /// No more input will come.
    pub input_ended: Cell<bool>,
    /// Something changed that another session may wait for.
    pub changed: Cell<bool>,
    /// End now without waiting for anybody.
    pub abort: Cell<bool>,
    stop: Cell<Option<Exit>>,
    signalled: Cell<bool>,
    received: Cell<u64>,
    dropped_non_json: Cell<u64>,
    invalid: Cell<u64>,
}

impl Shared {
    /// A run that begins.
    pub fn new(plan: Plan, stderr: Stderr, output: Output) -> Rc<Self> {
        Rc::new(Self {
            filter: RefCell::new(plan.filter.clone()),
            plan,
            stderr,
            output: RefCell::new(output),
            input_ended: Cell::new(false),
            changed: Cell::new(false),
            abort: Cell::new(false),
            stop: Cell::new(None),
            signalled: Cell::new(false),
            received: Cell::new(0),
            dropped_non_json: Cell::new(0),
            invalid: Cell::new(0),
        })
    }

    /// Asks every session to close; the first reason counts.
    pub fn stop(&self, exit: Exit) {
        if self.stop.get().is_none() {
            self.stop.set(Some(exit));
            self.changed.set(true);
        }
    }

    /// A signal, or a key that means one: the first asks to close, the second ends at once.
    pub fn signal(&self, exit: Exit) {
        if self.signalled.replace(true) {
            self.abort.set(true);
            self.changed.set(true);
        }
        self.stop(exit);
    }

    /// Whether what arrives must be parsed.
    pub fn needs_json(&self) -> bool {
        self.plan.needs_json() || self.filter.borrow().is_some()
    }

    /// Why the run ends, once it does.
    pub fn stopping(&self) -> Option<Exit> {
        self.stop.get()
    }

    /// Ends the run with an error: a line, a hint where one helps, and the code that belongs to it.
    pub fn fail(&self, error: &Error) {
        self.stderr.line(format!("wsp: {error}"));
        if let Some(hint) = error.hint() {
            self.stderr.line(format!("hint: {hint}"));
        }
        self.stop(error.exit());
    }

    /// A line on stderr that `-q` silences.
    pub fn notice(&self, text: impl AsRef<str>) {
        if !self.plan.quiet {
            self.stderr.line(text);
        }
    }

    /// Counts a received message; true when `--count` is reached.
    pub fn count_received(&self) -> bool {
        self.received.set(self.received.get() + 1);
        self.plan.count.is_some_and(|count| self.received.get() >= count)
    }

    /// Whether `--count` is reached already.
    pub fn is_count_reached(&self) -> bool {
        self.plan.count.is_some_and(|count| self.received.get() >= count)
    }

    /// Writes an event line, when event lines are what is printed.
    pub fn event(&self, session: &str, dir: Option<Direction>, body: EventBody) {
        if self.plan.format != Format::Json {
            return;
        }
        let mut output = self.output.borrow_mut();
        let event = Event { time: Timestamp::now(), session: session.into(), dir, body };
        event.write_line(output.buffer());
        output.wrote();
    }

    /// Prints a received message: through the filter, in the format asked for.
    pub fn print(
        &self,
        session: &SessionName<'_>,
        message: &Message,
        parsed: Option<&Result<Json, String>>,
        prev: &Json,
    ) {
        let filter = self.filter.borrow();
        let Some(filter) = filter.as_ref() else {
            self.print_message(session.id, message);
            return;
        };
        let input = match parsed {
            Some(Ok(json)) => json,
            Some(Err(reason)) => return self.non_json(session, message, reason),
            None => return self.non_json(session, message, "it is binary"),
        };
        let kind = match message.kind() {
            MessageKind::Text => "text",
            MessageKind::Binary => "binary",
        };
        let time = Timestamp::now();
        let meta = Json::meta(session.id, session.url, &format!("{time:.6}"), kind, message.len(), session.seq);
        let result = filter.run(input, &meta, prev, &mut |value| {
            let text = if self.plan.raw_output { value.to_plain_string() } else { value.to_compact_string() };
            self.print_message(session.id, &Message::text(text));
            std::ops::ControlFlow::Continue(())
        });
        if let Err(error) = result {
            self.stderr.line(format!("jq: {error}"));
        }
    }

    /// Checks a received message against `--schema`.
    pub fn check_schema(&self, session: &SessionName<'_>, message: &Message) {
        let Some(schema) = &self.plan.schema else { return };
        let Err(reason) = schema.check(message.payload()) else { return };
        self.invalid.set(self.invalid.get() + 1);
        let error = format!("message {} does not match the schema: {reason}", session.seq);
        self.notice(format!("wsp: {}: {error}", session.url));
        self.event(session.id, None, EventBody::Error { error });
        if self.plan.fail_on_invalid {
            self.stop(Exit::Expectation);
        }
    }

    fn non_json(&self, session: &SessionName<'_>, message: &Message, reason: &str) {
        match self.plan.non_json {
            NonJson::Pass => self.print_message(session.id, message),
            NonJson::Drop => self.dropped_non_json.set(self.dropped_non_json.get() + 1),
            NonJson::Error => {
                self.stderr.line(format!("wsp: message {} from {} is not JSON: {reason}", session.seq, session.url));
                self.stderr.line("hint: --non-json drop or pass goes on");
                self.stop(Exit::Internal);
            }
        }
    }

    fn print_message(&self, session: &str, message: &Message) {
        let mut output = self.output.borrow_mut();
        let out = output.buffer();
        let plan = &self.plan;
        if plan.format == Format::Json {
            write_message_line(out, Timestamp::now(), session, Direction::In, message);
            output.wrote();
            return;
        }
        if plan.timestamps {
            out.extend_from_slice(format!("{:.6} ", Timestamp::now()).as_bytes());
        }
        render::message(out, message, plan.format, plan.to_terminal, plan.colour);
        output.wrote();
    }

    /// Looks whether standard output still takes anything.
    pub fn check_output(&self) {
        match self.output.borrow().failure() {
            None => {}
            Some(OutputFailure::Closed) => self.stop(Exit::Done),
            Some(OutputFailure::Failed(text)) => {
                if self.stopping().is_none() {
                    self.stderr.line(format!("wsp: cannot write to standard output: {text}"));
                }
                self.stop(Exit::Internal);
            }
        }
    }

    /// What is said at the end.
    pub fn summary(&self) {
        let dropped = self.dropped_non_json.get();
        if dropped > 0 {
            self.notice(format!("{dropped} messages were not JSON and were dropped (--non-json pass shows them)"));
        }
        let invalid = self.invalid.get();
        if invalid > 0 {
            self.notice(format!("{invalid} of {} messages did not match the schema", self.received.get()));
        }
    }
}

/// Which message of which session is being printed.
#[derive(Debug, Clone, Copy)]
pub struct SessionName<'a> {
    /// `s1`, `s2`, …
    pub id: &'a str,
    /// Without user info.
    pub url: &'a str,
    /// Counts the session's received messages from 1.
    pub seq: u64,
}
