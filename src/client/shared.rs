//! What the sessions of one `connect` run share: output, input, the wish to stop, the exit code.
//!
//! Everything runs in one task, so plain cells do. Invariant: the code that changes something another session looks at
//! sets [`Shared::changed`], and the run polls all of them again.

mod print;

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

pub(crate) use print::Shown;

use super::judge::Filters;
use super::plan::Plan;
use super::unread::Unread;
use crate::error::Error;
use crate::exit::Exit;
use crate::filter::Filter;
use crate::host::Stderr;
use crate::message::Message;
use crate::message::clock::PassClock;
use crate::message::counted::counted;
use crate::message::event::{Direction, Event, EventBody, write_message_line};
use crate::message::render::Format;
use crate::net::connector::Handshake;
use crate::observe::counters::Counters;
use crate::observe::tap::Tap;
use crate::sink::record::{RecordError, Recorder};
use crate::sink::stdout::{Output, OutputFailure};

/// Bytes of an event that is not a message, about.
const EVENT: usize = 100;

/// State of one run.
pub(crate) struct Shared {
    pub plan: Plan,
    pub stderr: Stderr,
    pub output: RefCell<Output>,
    /// Output filter; `/jq` changes it.
    pub filter: RefCell<Option<Filter>>,
    pub filters: Arc<Filters>,
    /// A message that changes a state is being worked on: others wait, since they build on it.
    pub folds: Cell<bool>,
    /// What is counted for observers.
    pub counters: Counters,
    pub tap: Tap,
    /// The recording, while there is one.
    pub recorder: RefCell<Option<Recorder>>,
    /// Recordings that are being closed.
    ending: RefCell<Vec<Recorder>>,
    record_failed: Cell<bool>,
    output_failed: Cell<bool>,
    input_failed: Cell<Option<Exit>>,
    /// No more input will come.
    pub input_ended: Cell<bool>,
    /// Something changed that another session may wait for.
    pub changed: Cell<bool>,
    /// End now without waiting for anybody.
    pub abort: Cell<bool>,
    stop: Cell<Option<Exit>>,
    signalled: Cell<bool>,
    received: Cell<u64>,
    /// Messages that passed the filter.
    passed: Cell<u64>,
    dropped: Unread,
    pub clock: PassClock,
    /// Messages that --reply-jq has no answer to.
    pub unanswered: Unread,
    invalid: Cell<u64>,
}

impl Shared {
    /// A run that begins.
    pub(crate) fn new(plan: Plan, stderr: Stderr, output: Output) -> Rc<Self> {
        Rc::new(Self {
            filter: RefCell::new(plan.filter.clone()),
            filters: Filters::new(&plan),
            folds: Cell::new(false),
            plan,
            stderr,
            output: RefCell::new(output),
            counters: Counters::default(),
            tap: Tap::default(),
            recorder: RefCell::new(None),
            ending: RefCell::default(),
            record_failed: Cell::new(false),
            output_failed: Cell::new(false),
            input_failed: Cell::new(None),
            input_ended: Cell::new(false),
            changed: Cell::new(false),
            abort: Cell::new(false),
            stop: Cell::new(None),
            signalled: Cell::new(false),
            received: Cell::new(0),
            passed: Cell::new(0),
            dropped: Unread::default(),
            clock: PassClock::default(),
            unanswered: Unread::default(),
            invalid: Cell::new(0),
        })
    }

    /// Asks every session to close; the first reason counts.
    pub(crate) fn stop(&self, exit: Exit) {
        if self.stop.get().is_none() {
            self.stop.set(Some(exit));
            self.changed.set(true);
        }
    }

    /// A signal, or a key that means one: the first asks to close, the second ends at once.
    pub(crate) fn signal(&self, exit: Exit) {
        if self.signalled.replace(true) {
            self.cut();
        }
        self.stop(exit);
    }

    /// Whether a signal asked for the end.
    pub(crate) fn is_signalled(&self) -> bool {
        self.signalled.get()
    }

    /// Ends what has not ended in order.
    pub(crate) fn cut(&self) {
        self.abort.set(true);
        self.changed.set(true);
    }

    /// Why the run ends, once it does.
    pub(crate) fn stopping(&self) -> Option<Exit> {
        self.stop.get()
    }

    /// Ends the run with an error: a line, a hint where one helps, and the code that belongs to it.
    pub(crate) fn fail(&self, error: &Error) {
        self.tell(error);
        self.stop(error.exit());
    }

    fn tell(&self, error: &Error) {
        self.stderr.line(format!("wsp: {error}"));
        if let Some(hint) = error.hint() {
            self.stderr.line(format!("hint: {hint}"));
        }
    }

    /// The input cannot be read further: what came before is sent, then the run ends with this.
    pub(crate) fn fail_input(&self, error: &Error) {
        self.tell(error);
        self.input_failed.set(Some(error.exit()));
    }

    /// What the run ends with because of its input.
    pub(crate) fn input_failure(&self) -> Option<Exit> {
        self.input_failed.get()
    }

    /// Whether an end now means that nothing was as expected; where the input failed, that is why it ends.
    pub(crate) fn expects_in_vain(&self) -> bool {
        self.plan.expect.is_some() && self.input_failed.get().is_none()
    }

    /// A line on stderr that `-q` silences.
    pub(crate) fn notice(&self, text: impl AsRef<str>) {
        if !self.plan.quiet {
            self.stderr.line(text);
        }
    }

    /// A line on stderr about one session, which is named where there are several.
    pub(crate) fn line_of(&self, session: &str, text: &str) {
        self.stderr.line(naming(self.plan.several.then_some(session), text));
    }

    /// Returns a line about one session, which is named where there are several.
    pub(crate) fn name_in(&self, session: &str, text: &str) -> String {
        naming(self.plan.several.then_some(session), text).into_owned()
    }

    /// As [`Shared::line_of`], and `-q` silences it.
    pub(crate) fn notice_of(&self, session: &str, text: &str) {
        if !self.plan.quiet {
            self.line_of(session, text);
        }
    }

    /// Counts a message that passed the filter; true when `--count` is reached.
    pub(crate) fn count_passed(&self) -> bool {
        self.passed.set(self.passed.get() + 1);
        self.is_count_reached()
    }

    /// Whether `--count` is reached already.
    pub(crate) fn is_count_reached(&self) -> bool {
        self.plan.count.is_some_and(|count| self.passed.get() >= count)
    }

    /// Records an event, and prints it when event lines are what is printed.
    pub(crate) fn event(&self, session: &str, dir: Option<Direction>, body: EventBody) {
        if let Some(event) = self.print_event(session, dir, body)
            && let Some(recorder) = &mut *self.recorder.borrow_mut()
        {
            recorder.event(&event);
        }
    }

    /// As [`Shared::event`], of what keeps the connection alive by itself, which is not recorded.
    pub(crate) fn unrecorded(&self, session: &str, dir: Option<Direction>, body: EventBody) {
        let _ = self.print_event(session, dir, body);
    }

    /// A connection opened.
    pub(crate) fn opened(&self, session: &str, body: EventBody, handshake: &Handshake) {
        if let Some(event) = self.print_event(session, None, body)
            && let Some(recorder) = &mut *self.recorder.borrow_mut()
        {
            recorder.opened(&event, &handshake.exchange());
        }
    }

    /// The event, unless nobody wants it.
    fn print_event(&self, session: &str, dir: Option<Direction>, body: EventBody) -> Option<Event> {
        self.tap.offer(EVENT, || Event {
            time: self.clock.now(),
            session: session.into(),
            name: None,
            dir,
            body: body.clone(),
        });
        let print = self.plan.format == Format::Json && !self.plan.dashboard;
        if !print && self.recorder.borrow().is_none() {
            return None;
        }
        let event = Event { time: self.clock.now(), session: session.into(), name: None, dir, body };
        if print {
            let mut output = self.output.borrow_mut();
            event.write_line(output.buffer());
            output.wrote();
        }
        Some(event)
    }

    /// A message arrived: only recorded here, [`Shared::print`] prints it.
    pub(crate) fn received(&self, session: &str, message: &Message) {
        self.record(session, Direction::In, message);
    }

    /// A message was sent: recorded, and printed when event lines are what is printed.
    pub(crate) fn sent(&self, session: &str, message: &Message) {
        self.record(session, Direction::Out, message);
        if self.plan.format == Format::Json && !self.plan.dashboard {
            let mut output = self.output.borrow_mut();
            write_message_line(output.buffer(), self.clock.now(), session, Direction::Out, message);
            output.wrote();
        }
    }

    fn record(&self, session: &str, dir: Direction, message: &Message) {
        self.tap.offer(message.len(), || Event {
            time: self.clock.now(),
            session: session.into(),
            name: None,
            dir: Some(dir),
            body: EventBody::Message(message.detached()),
        });
        if let Some(recorder) = &mut *self.recorder.borrow_mut() {
            recorder.message(self.clock.now(), session, dir, message);
        }
    }

    /// Ready when the recording takes more.
    pub(crate) fn poll_record_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.recorder.borrow_mut().as_mut().map_or(Poll::Ready(()), |recorder| recorder.poll_room(cx))
    }

    /// Records into this from now on; what was recorded until now is closed.
    pub(crate) fn record_into(&self, recorder: Option<Recorder>) {
        let before = std::mem::replace(&mut *self.recorder.borrow_mut(), recorder);
        self.ending.borrow_mut().extend(before);
        self.changed.set(true);
    }

    /// Keeps the recording moving; its failure ends the run.
    pub(crate) fn poll_record(&self, cx: &mut Context<'_>) {
        let failure = self.recorder.borrow_mut().as_mut().and_then(|recorder| {
            recorder.poll_due(cx);
            recorder.failure().cloned()
        });
        if let Some(failure) = failure {
            self.recorder.take();
            self.record_failed(failure);
        }
        self.poll_ending(cx);
    }

    fn poll_ending(&self, cx: &mut Context<'_>) {
        let mut failures = Vec::new();
        self.ending.borrow_mut().retain_mut(|recorder| match recorder.poll_finish(cx) {
            Poll::Pending => true,
            Poll::Ready(ended) => {
                failures.extend(ended.err());
                false
            }
        });
        for failure in failures {
            self.record_failed(failure);
        }
    }

    /// Ready when every recording is closed, or there is none.
    pub(crate) fn poll_record_end(&self, cx: &mut Context<'_>) -> Poll<()> {
        let last = self.recorder.take();
        self.ending.borrow_mut().extend(last);
        self.poll_ending(cx);
        if self.ending.borrow().is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Gives up recordings that are not written yet: that is a failure.
    pub(crate) fn give_up_records(&self) {
        for recorder in self.ending.take() {
            self.record_failed(recorder.late());
        }
    }

    fn record_failed(&self, failure: RecordError) {
        self.record_failed.set(true);
        self.fail(&Error::from(failure));
    }

    /// Whether something that was to be printed could not be.
    pub(crate) fn has_output_failed(&self) -> bool {
        self.output_failed.get()
    }

    /// Whether this file is being recorded into, or still closed.
    pub(crate) fn is_recorded_into(&self, path: &Path) -> bool {
        let is_it = |recorder: &Recorder| recorder.is_into(path);
        self.recorder.borrow().as_ref().is_some_and(is_it) || self.ending.borrow().iter().any(is_it)
    }

    /// Whether a recording was asked for and is not whole.
    pub(crate) fn has_record_failed(&self) -> bool {
        self.record_failed.get()
    }

    /// Checks a received message against `--schema`.
    pub(crate) fn check_schema(&self, session: &SessionName<'_>, message: &Message) {
        let Some(schema) = &self.plan.schema else { return };
        let Err(reason) = schema.check(message.payload()) else { return };
        self.invalid.set(self.invalid.get() + 1);
        let error = format!("message {} does not match the schema: {reason}", session.seq);
        self.notice_of(session.id, &format!("wsp: {}: {error}", session.url));
        self.event(session.id, None, EventBody::Error { error });
        if self.plan.fail_on_invalid {
            self.stop(Exit::Expectation);
        }
    }

    /// Looks whether standard output still takes anything.
    pub(crate) fn check_output(&self) {
        match self.output.borrow().failure() {
            None => {}
            Some(OutputFailure::Closed) => self.stop(Exit::Done),
            Some(OutputFailure::Failed(text)) => {
                if !self.output_failed.replace(true) {
                    self.stderr.line(format!("wsp: cannot write to standard output: {text}"));
                }
                self.stop(Exit::Internal);
            }
        }
    }

    /// Says that nothing was as expected, where that is why the run ends so.
    pub(crate) fn tell_unmet(&self) {
        let is_for_schema = self.plan.fail_on_invalid && self.invalid.get() > 0;
        if self.plan.expect.is_some() && !is_for_schema {
            let received = counted(self.received.get(), "message");
            self.stderr.line(format!("wsp: --expect: {received} received, and none matched"));
        }
    }

    /// What is said at the end.
    pub(crate) fn summary(&self) {
        for (messages, why) in self.unanswered.told() {
            self.notice(format!("{messages} not answered: {why} (--reply-jq)"));
        }
        for (messages, why) in self.dropped.told() {
            self.notice(format!("{messages} dropped: {why} (show them with --non-json pass)"));
        }
        let invalid = self.invalid.get();
        if invalid > 0 {
            self.notice(format!("{invalid} of {} did not match the schema", counted(self.received.get(), "message")));
        }
    }
}

/// A line about a session: what begins with the program's name has the session's behind it, all else before it.
fn naming<'t>(session: Option<&str>, text: &'t str) -> Cow<'t, str> {
    match (session, text.strip_prefix("wsp: ")) {
        (None, _) => text.into(),
        (Some(session), Some(text)) => format!("wsp: {session}: {text}").into(),
        // A text of several lines is about the same session to its end.
        (Some(session), None) => format!("{session} {}", text.replace('\n', &format!("\n{session} "))).into(),
    }
}

/// Which message of which session is being printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SessionName<'a> {
    /// `s1`, `s2`, …
    pub id: &'a str,
    /// Without user info.
    pub url: &'a str,
    /// Counts the session's received messages from 1.
    pub seq: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_session_where_there_are_several() {
        for (session, text, expected) in [
            (None, "wsp: it failed", "wsp: it failed"),
            (Some("s2"), "wsp: it failed", "wsp: s2: it failed"),
            (Some("s2"), "> GET / HTTP/1.1", "s2 > GET / HTTP/1.1"),
            (Some("s2"), "one\ntwo", "s2 one\ns2 two"),
        ] {
            assert_eq!(naming(session, text), expected);
        }
    }
}
