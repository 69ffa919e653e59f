//! Who is connected, what waits for whom, and what has been counted.
//!
//! One thread runs all sessions, so plain cells do. Invariants: every message that is not delivered
//! is counted with its reason; a mailbox never exceeds its bounds; one full mailbox stops nobody
//! but, under `--on-full block`, the sender of what does not fit.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;

use super::faults::FaultSettings;
use super::guard::GuardSettings;
use super::handler::Mode;
use super::mailbox::{Mailbox, Way};
use super::recording::Recording;
use super::validation::Validation;
use crate::filter::Filter;
use crate::host::Stderr;
use crate::message::Message;
use crate::message::event::{Direction, Event, EventBody, NO_SESSION, write_message_line};
use crate::message::render::{self, Format};
use crate::net::listener::{AcceptError, PeerAddr, Refuse};
use crate::observe::counters::{Counters, DropReason, ErrorKind};
use crate::observe::tap::Tap;
use crate::queue::{OverflowPolicy, Pushed};
use crate::session::driver::DriverSettings;
use crate::sink::stdout::{Output, OutputFailure};

/// What a run of the server is made from.
#[derive(Debug, Clone)]
pub struct HubSettings {
    /// What happens to messages.
    pub mode: Mode,
    /// What each message is answered with besides.
    pub ack: Option<Filter>,
    /// How messages are printed.
    pub format: Format,
    /// Whether messages are printed in modes that answer, too.
    pub print: bool,
    /// Whether each message printed is told whose it is.
    pub name_sessions: bool,
    /// Whether stdout is a terminal.
    pub to_terminal: bool,
    /// Colours on stdout.
    pub colour: bool,
    /// Coming and going on stderr.
    pub verbose: bool,
    /// Errors only on stderr.
    pub quiet: bool,
    /// Messages a mailbox holds.
    pub queue_size: usize,
    /// Payload bytes a mailbox holds.
    pub queue_bytes: usize,
    /// What happens when a mailbox is full; `None` was not said: input and broadcasts drop the
    /// oldest, replies hold their own sender back.
    pub on_full: Option<OverflowPolicy>,
    /// Limits in time of each session.
    pub driver: DriverSettings,
    /// Who is let in and how much they may send.
    pub guard: GuardSettings,
    /// What is to go wrong in sessions.
    pub faults: Option<Rc<FaultSettings>>,
    /// Every upgrade is answered so.
    pub reject: Option<Refuse>,
    /// The shape messages must have.
    pub validation: Option<Validation>,
}

/// Messages that wait for room in full mailboxes.
pub type Unplaced = Vec<(Rc<Mailbox>, Message)>;

/// The server's state.
pub struct Hub {
    /// The settings.
    pub settings: HubSettings,
    /// The counters.
    pub counters: Counters,
    /// Diagnostics.
    pub stderr: Stderr,
    output: RefCell<Output>,
    output_waker: RefCell<Option<Waker>>,
    recording: Recording,
    tap: Tap,
    sessions: RefCell<BTreeMap<u64, Rc<Mailbox>>>,
    waiting: RefCell<Vec<Waker>>,
    next_id: Cell<u64>,
    stopping: Cell<bool>,
    aborting: Cell<bool>,
    /// Programs that have not ended.
    programs: Cell<usize>,
    aborted: tokio::sync::Notify,
    changed: tokio::sync::Notify,
}

/// A program the server waits for at its end, counted while this lives.
pub struct ProgramSlot(Rc<Hub>);

impl Drop for ProgramSlot {
    fn drop(&mut self) {
        self.0.programs.set(self.0.programs.get() - 1);
        self.0.changed.notify_waiters();
    }
}

impl Hub {
    /// A server with nobody connected.
    pub fn new(settings: HubSettings, stderr: Stderr, output: Output) -> Rc<Self> {
        Rc::new(Self {
            settings,
            counters: Counters::default(),
            stderr,
            output: RefCell::new(output),
            output_waker: RefCell::new(None),
            recording: Recording::default(),
            tap: Tap::default(),
            sessions: RefCell::default(),
            waiting: RefCell::default(),
            next_id: Cell::new(1),
            stopping: Cell::new(false),
            aborting: Cell::new(false),
            programs: Cell::new(0),
            aborted: tokio::sync::Notify::new(),
            changed: tokio::sync::Notify::new(),
        })
    }

    /// A session begins.
    pub fn join(&self, peer: PeerAddr, target: &str) -> Rc<Mailbox> {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        self.counters.connections.one();
        let mailbox = Rc::new(Mailbox::new(id, peer, target, &self.settings));
        self.sessions.borrow_mut().insert(id, Rc::clone(&mailbox));
        self.changed.notify_waiters();
        mailbox
    }

    /// A session has said who it is.
    pub fn let_in(&self, mailbox: &Mailbox) {
        mailbox.let_in();
        self.changed.notify_waiters();
    }

    /// Whether somebody is there who gets messages.
    pub fn has_audience(&self) -> bool {
        self.sessions.borrow().values().any(|mailbox| !mailbox.waits_outside())
    }

    /// The session of this number, while it is connected.
    pub fn session(&self, id: u64) -> Option<Rc<Mailbox>> {
        self.sessions.borrow().get(&id).cloned()
    }

    /// Looks at each that is connected.
    pub fn each_session(&self, mut look: impl FnMut(&Rc<Mailbox>)) {
        self.sessions.borrow().values().for_each(&mut look);
    }

    /// All that are connected, in the order they came.
    pub fn sessions(&self) -> Vec<Rc<Mailbox>> {
        self.sessions.borrow().values().cloned().collect()
    }

    /// A session has ended; what still waits for it is dropped and counted.
    pub fn leave(&self, id: u64) {
        if let Some(mailbox) = self.sessions.borrow_mut().remove(&id) {
            self.counters.dropped.add(DropReason::ReceiverGone, mailbox.clear());
        }
        self.wake_waiting();
        self.changed.notify_waiters();
    }

    /// Sessions connected now.
    pub fn active(&self) -> usize {
        self.sessions.borrow().len()
    }

    /// Counts a program that is about to start.
    pub fn begin_program(self: &Rc<Self>) -> ProgramSlot {
        self.programs.set(self.programs.get() + 1);
        ProgramSlot(Rc::clone(self))
    }

    /// Programs that have not ended, those of sessions that have left included.
    pub fn programs(&self) -> usize {
        self.programs.get()
    }

    /// Whether no session is connected and no program runs.
    pub fn is_empty(&self) -> bool {
        self.active() == 0 && self.programs() == 0
    }

    /// Waits until `condition` holds; it is looked at whenever a session comes or goes, or a program ends.
    pub async fn wait_for(&self, condition: impl Fn(&Self) -> bool) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if condition(self) {
                return;
            }
            changed.await;
        }
    }

    /// Waits until a session comes or goes, or a program ends.
    pub async fn next_change(&self) {
        self.changed.notified().await;
    }

    /// Prints through another output from now on.
    pub fn print_through(&self, output: Output) {
        *self.output.borrow_mut() = output;
    }

    /// Puts a message into one mailbox; it comes back when it must wait there.
    pub fn place(&self, mailbox: &Rc<Mailbox>, message: Message) -> Option<Message> {
        if mailbox.takes_no_more() {
            self.counters.dropped.one(DropReason::ReceiverGone);
            return None;
        }
        match self.push(mailbox, message) {
            Pushed::Full(message) => Some(message),
            Pushed::Accepted { .. } | Pushed::Dropped | Pushed::Disconnect => None,
        }
    }

    /// As [`Hub::place`], with what became of it.
    pub(super) fn push(&self, mailbox: &Mailbox, message: Message) -> Pushed {
        let dropped = &self.counters.dropped;
        let pushed = mailbox.push(message);
        match &pushed {
            Pushed::Accepted { dropped: older } => dropped.add(DropReason::QueueFull, *older),
            Pushed::Dropped | Pushed::Disconnect => dropped.one(DropReason::QueueFull),
            Pushed::Full(_) => {}
        }
        pushed
    }

    /// Puts a message before every session, but for `except`.
    pub fn to_all(&self, message: &Message, except: Option<u64>) -> Unplaced {
        self.settings.mode.on_published(message);
        let sessions = self.sessions.borrow();
        let mut unplaced = Unplaced::new();
        for (id, mailbox) in sessions.iter() {
            if except == Some(*id) || mailbox.has_overflowed() || mailbox.waits_outside() {
                continue;
            }
            if let Some(message) = self.place(mailbox, message.clone()) {
                unplaced.push((Rc::clone(mailbox), message));
            }
        }
        unplaced
    }

    /// Tries again to place what had to wait; true when nothing waits any more. Otherwise the
    /// waker is called when a mailbox has room again.
    pub fn place_again(&self, unplaced: &mut Unplaced, cx: &mut Context<'_>) -> bool {
        unplaced.retain_mut(|(mailbox, message)| {
            if Rc::strong_count(mailbox) == 1 {
                self.counters.dropped.one(DropReason::ReceiverGone);
                return false;
            }
            match self.place(mailbox, message.clone()) {
                None => false,
                Some(back) => {
                    *message = back;
                    true
                }
            }
        });
        if unplaced.is_empty() {
            return true;
        }
        self.wait(cx);
        false
    }

    /// Asks to be woken when there is room somewhere.
    pub fn wait(&self, cx: &mut Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
    }

    /// There may be room again.
    pub fn wake_waiting(&self) {
        for waker in self.waiting.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Asks every session to close.
    pub fn stop(&self) {
        self.stopping.set(true);
        self.wake_all();
    }

    /// Asks every session to end without waiting for its peer.
    pub fn abort(&self) {
        self.aborting.set(true);
        self.aborted.notify_waiters();
        self.stop();
    }

    /// Waits until everything must end at once.
    pub async fn aborted(&self) {
        let aborted = self.aborted.notified();
        let mut aborted = std::pin::pin!(aborted);
        aborted.as_mut().enable();
        if !self.is_aborting() {
            aborted.await;
        }
    }

    fn wake_all(&self) {
        for mailbox in self.sessions.borrow().values() {
            mailbox.wake();
        }
        self.wake_waiting();
        self.changed.notify_waiters();
    }

    /// Whether the server is closing.
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Whether sessions must end at once.
    pub fn is_aborting(&self) -> bool {
        self.aborting.get()
    }

    /// Whether messages are printed.
    pub fn prints(&self) -> bool {
        self.settings.print
    }

    /// The recording of this run.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// What happens, for whoever looks.
    pub fn tap(&self) -> &Tap {
        &self.tap
    }

    fn offer(&self, id: u64, dir: Option<Direction>, bytes: usize, body: impl FnOnce() -> EventBody) {
        let make = || Event { time: Timestamp::now(), session: session_name(id), dir, body: body() };
        self.tap.offer(bytes, make);
    }

    /// Prints a message of session `id`, where messages are printed; yields up to where the output must be
    /// [written](Hub::written) for it to have arrived.
    pub fn print(&self, id: u64, message: &Message) -> Option<u64> {
        if !self.prints() {
            return None;
        }
        let mut output = self.output.borrow_mut();
        let settings = &self.settings;
        if settings.format == Format::Json {
            write_message_line(output.buffer(), Timestamp::now(), &session_name(id), Direction::In, message);
        } else {
            if settings.name_sessions {
                let (on, off) = if settings.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
                output.buffer().extend_from_slice(format!("{on}{}{off} ", session_name(id)).as_bytes());
            }
            render::message(output.buffer(), message, settings.format, settings.to_terminal, settings.colour);
        }
        output.wrote();
        Some(output.appended())
    }

    /// Bytes of output written so far.
    pub fn written(&self) -> u64 {
        self.output.borrow().written()
    }

    /// Counts and records a message received from a session.
    pub fn received(&self, mailbox: &Mailbox, message: &Message) {
        self.recording.message(mailbox.id, Direction::In, message);
        self.offer(mailbox.id, Some(Direction::In), message.len(), || EventBody::Message(message.detached()));
        self.counters.received.message(message.len());
        mailbox.received.message(message.len());
        mailbox.save(Way::In, message.saved());
    }

    /// Counts, records and prints a message sent to a session.
    pub fn sent(&self, mailbox: &Mailbox, message: &Message) {
        self.counters.sent.message(message.len());
        mailbox.sent.message(message.len());
        mailbox.save(Way::Out, message.saved());
        self.counters.delivered.one();
        let id = mailbox.id;
        self.recording.message(id, Direction::Out, message);
        self.offer(id, Some(Direction::Out), message.len(), || EventBody::Message(message.detached()));
        self.print_event(id, Some(Direction::Out), || EventBody::Message(message.clone()));
    }

    /// Records an event, and prints its line where event lines are printed.
    pub fn event(&self, id: u64, dir: Option<Direction>, body: EventBody) {
        self.recording.event(id, dir, &body);
        self.offer(id, dir, 0, || body.clone());
        self.print_event(id, dir, || body);
    }

    /// Something went wrong with a session that goes on: counted, told and an event.
    pub fn fault(&self, id: u64, kind: ErrorKind, text: &str) {
        self.counters.errors.one(kind);
        self.notice(format!("{}: {text}", session_name(id)));
        self.event(id, None, EventBody::Error { error: text.to_owned() });
    }

    /// A message of a session goes no further: kept among the dead letters, or dropped; counted, an event and, under
    /// `-v`, told.
    pub fn not_taken(&self, id: u64, message: &Message, error: &str) {
        if self.recording.dead_letter(id, message, error) {
            self.counters.dead_letters.one(DropReason::Invalid);
        } else {
            self.counters.dropped.one(DropReason::Invalid);
        }
        self.offence(id, ErrorKind::Invalid, error);
    }

    /// A session did what it may not: counted, an event and, under `-v`, told.
    pub fn offence(&self, id: u64, kind: ErrorKind, text: &str) {
        self.counters.errors.one(kind);
        if self.settings.verbose {
            self.notice(format!("{}: {text}", session_name(id)));
        }
        self.event(id, None, EventBody::Error { error: text.to_owned() });
    }

    /// A request was refused: counted, an event and, under `-v`, told.
    pub fn refused(&self, peer: PeerAddr, refuse: &Refuse) {
        self.counters.refused.one();
        self.counters.errors.one(match refuse.status {
            StatusCode::UNAUTHORIZED => ErrorKind::Unauthorized,
            StatusCode::TOO_MANY_REQUESTS => ErrorKind::Rate,
            _ => ErrorKind::Refused,
        });
        let error = format!("{peer}: refused with {}: {}", refuse.status.as_u16(), refuse.text);
        if self.settings.verbose {
            self.notice(error.escape_debug().to_string());
        }
        self.fault_before_session(error);
    }

    /// A connection came to nothing: counted, an event and, where it is `told`, a notice.
    pub fn handshake_failed(&self, peer: PeerAddr, error: &AcceptError, told: bool) {
        self.counters.refused.one();
        self.counters.errors.one(ErrorKind::Handshake);
        let error = format!("{peer}: {error}");
        if told {
            self.notice(error.escape_debug().to_string());
        }
        self.fault_before_session(error);
    }

    fn fault_before_session(&self, error: String) {
        // Nobody holds these back as sessions are held back, so where there is no room they are counted only.
        if self.output.borrow().has_room() && self.recording.has_room() {
            self.event(0, None, EventBody::Error { error });
            self.flush();
        }
    }

    /// A message was meant for a session that is not there: counted and told.
    pub fn no_receiver(&self, name: &str) {
        self.counters.dropped.one(DropReason::NoReceiver);
        self.notice(format!("wsp: there is no session {}; what was for it was dropped", name.escape_debug()));
    }

    fn print_event(&self, id: u64, dir: Option<Direction>, body: impl FnOnce() -> EventBody) {
        if self.settings.format != Format::Json || !self.prints() {
            return;
        }
        let mut output = self.output.borrow_mut();
        Event { time: Timestamp::now(), session: session_name(id).as_str().into(), dir, body: body() }
            .write_line(output.buffer());
        output.wrote();
    }

    /// Nothing more is ready: what was printed goes out.
    pub fn flush(&self) {
        self.output.borrow_mut().flush();
        if let Some(waker) = self.output_waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Ready when more may be printed; else the waker is called then.
    pub fn has_room_to_print(&self, cx: &mut Context<'_>) -> bool {
        // The output has one waker of its own, the tending task's; sessions wait with the hub.
        if self.output.borrow().has_room() {
            return true;
        }
        self.flush();
        self.wait(cx);
        false
    }

    /// As [`Hub::has_room_to_print`], for the recording.
    pub fn has_room_to_record(&self, cx: &mut Context<'_>) -> bool {
        if self.recording.has_room() {
            return true;
        }
        self.flush();
        self.wait(cx);
        false
    }

    /// Keeps standard output and the recording moving until one of them fails.
    pub async fn tend_output(&self) -> OutputFailure {
        std::future::poll_fn(|cx| {
            let mut output = self.output.borrow_mut();
            output.watch(cx);
            *self.output_waker.borrow_mut() = Some(cx.waker().clone());
            let may_record = match self.recording.poll_tend(cx) {
                Ok(room) => room.is_ready(),
                Err(failure) => return std::task::Poll::Ready(OutputFailure::Failed(failure)),
            };
            if let Some(failure) = output.failure() {
                return std::task::Poll::Ready(failure);
            }
            if output.has_room() && may_record {
                drop(output);
                self.wake_waiting();
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// Writes the rest of the output, within `limit`.
    pub async fn finish_output(&self, limit: Duration) {
        let finish = std::future::poll_fn(|cx| self.output.borrow_mut().poll_finish(cx));
        let _ = tokio::time::timeout(limit, finish).await;
    }

    /// A line on stderr that `-q` silences.
    pub fn notice(&self, text: impl AsRef<str>) {
        if !self.settings.quiet {
            self.stderr.line(text);
        }
    }

    /// What the run amounted to, in a line.
    pub fn summary(&self) -> String {
        let counters = &self.counters;
        let dead_letters = if self.settings.validation.is_some() {
            format!(", dead-lettered {}{}", counters.dead_letters.total(), counters.dead_letters.in_brackets())
        } else {
            String::new()
        };
        let faults = if self.settings.faults.is_some() || self.settings.reject.is_some() {
            format!(", faults {}{}", counters.faults.total(), counters.faults.in_brackets())
        } else {
            String::new()
        };
        format!(
            "connections {}, refused {}, received {}, sent {}, dropped {}{}{dead_letters}{faults}",
            counters.connections.get(),
            counters.refused.get(),
            counters.received.messages.get(),
            counters.sent.messages.get(),
            counters.dropped.total(),
            counters.dropped.in_brackets(),
        )
    }
}

/// The session of this name.
pub fn session_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix('s')?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    if is_plain { digits.parse().ok() } else { None }
}

/// How a session is called in events and on stderr; 0 is none.
pub fn session_name(id: u64) -> String {
    if id == 0 { NO_SESSION.to_owned() } else { format!("s{id}") }
}
