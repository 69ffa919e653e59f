//! What waits to be sent to one session, and who that session is.
//!
//! Leaves placing messages to the hub and sending them to the session's peer. Invariant: a mailbox never exceeds its
//! bounds.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::config::ServerConfig;
use crate::message::Message;
use crate::net::connection::CloseReason;
use crate::net::listener::PeerAddr;
use crate::observe::control::{SessionQueue, Steer};
use crate::observe::counters::Traffic;
use crate::queue::read_throttle::ReadThrottle;
use crate::queue::{OverflowPolicy, Pushed, Queue};
use crate::session::Outgoing;

/// Pings and pongs that may wait for one session.
const CONTROL_FRAMES: usize = 64;

/// Where messages may be held up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// What is sent to the session: its peer does not read.
    Out,
    /// What comes from it: there is no room for it.
    In,
}

/// How far a session is, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Connected,
    /// It has begun to close.
    Closing,
    /// It has ended: nothing reaches it any more.
    Left,
}

/// One session as the server knows it, and what is to be sent to it.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// The session's number.
    pub id: u64,
    /// Where it comes from.
    pub peer: PeerAddr,
    /// Path and query it asked for.
    pub target: Box<str>,
    /// The subprotocol agreed on.
    pub subprotocol: Option<Box<str>>,
    /// Whom its token names.
    subject: OnceCell<Box<str>>,
    /// Whom its certificate names.
    certified: OnceCell<Box<str>>,
    /// What it is called.
    name: OnceCell<Rc<str>>,
    /// When it opened.
    pub since: Timestamp,
    /// Received from it.
    pub received: Traffic,
    /// Sent to it.
    pub sent: Traffic,
    /// Messages for it that were dropped.
    pub dropped: Cell<u64>,
    /// Bytes compression saved, see [`Way`].
    pub saved: [Cell<i64>; 2],
    /// The last round trip of a ping.
    pub round_trip: Cell<Option<Duration>>,
    /// Since when each way is held up, see [`Way`].
    held_since: [Cell<Option<Instant>>; 2],
    queue: RefCell<Queue>,
    waker: RefCell<Option<Waker>>,
    overflowed: Cell<bool>,
    /// Nothing is for it yet.
    waits_outside: Cell<bool>,
    stage: Cell<Stage>,
    asked_to_close: RefCell<Option<Box<CloseReason>>>,
    /// What to close with once nothing waits.
    close_after_all: RefCell<Option<Box<CloseReason>>>,
    control: RefCell<VecDeque<Outgoing>>,
    elsewhere: OnceCell<Elsewhere>,
    /// What lets its messages in, once somebody has turned it.
    throttle: OnceCell<Box<ReadThrottle>>,
}

/// Tells what waits for a session before it comes to its mailbox.
struct Elsewhere(Box<dyn Fn() -> SessionQueue>);

impl fmt::Debug for Elsewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Elsewhere")
    }
}

impl Mailbox {
    /// An empty one.
    pub(crate) fn new(
        id: u64,
        peer: PeerAddr,
        target: &str,
        subprotocol: Option<&str>,
        settings: &ServerConfig,
    ) -> Self {
        let policy = settings.on_full.unwrap_or(OverflowPolicy::DropOldest);
        Self {
            id,
            peer,
            target: target.into(),
            subprotocol: subprotocol.map(Box::from),
            subject: OnceCell::new(),
            certified: OnceCell::new(),
            name: OnceCell::new(),
            since: Timestamp::now(),
            received: Traffic::default(),
            sent: Traffic::default(),
            dropped: Cell::new(0),
            saved: Default::default(),
            round_trip: Cell::new(None),
            held_since: [Cell::new(None), Cell::new(None)],
            queue: RefCell::new(Queue::new(settings.queue_size, settings.queue_bytes, policy)),
            waker: RefCell::new(None),
            overflowed: Cell::new(false),
            waits_outside: Cell::new(settings.guard.has_gate()),
            stage: Cell::new(Stage::Connected),
            asked_to_close: RefCell::new(None),
            close_after_all: RefCell::new(None),
            control: RefCell::default(),
            elsewhere: OnceCell::new(),
            throttle: OnceCell::new(),
        }
    }

    /// Whom its token names, else its certificate, where it has shown one.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.subject.get().or(self.certified.get()).map(|subject| &**subject)
    }

    /// It has shown a token or a certificate that names these subjects.
    pub(super) fn show(&self, subject: Option<&str>, certified: Option<String>) {
        if let Some(subject) = subject {
            let _ = self.subject.set(subject.into());
        }
        if let Some(certified) = certified {
            let _ = self.certified.set(certified.into());
        }
    }

    /// What it is called, where it has a name.
    pub(crate) fn name(&self) -> Option<&Rc<str>> {
        self.name.get()
    }

    /// It is called so; the first name counts.
    pub(super) fn set_name(&self, name: Rc<str>) {
        let _ = self.name.set(name);
    }

    /// What lets its messages in, where somebody has turned it.
    pub(crate) fn throttle(&self) -> Option<&ReadThrottle> {
        self.throttle.get().map(|throttle| &**throttle)
    }

    /// Does what somebody outside wishes.
    pub(crate) fn steer(&self, steer: &Steer) {
        match steer {
            Steer::Intake(intake) => {
                self.throttle.get_or_init(Box::default).turn(*intake);
                // The session's task has to ask it again.
                self.wake();
            }
            Steer::Close(close) => self.ask_to_close(close.clone()),
        }
    }

    /// The next message, or the waker is called when there is one.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Option<Message> {
        let next = self.queue.borrow_mut().pop();
        if next.is_none() {
            self.watch(cx);
        }
        next
    }

    /// Asks to be woken when something changes.
    pub(crate) fn watch(&self, cx: &mut Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// Whether the session must go because its mailbox was full.
    pub(crate) fn has_overflowed(&self) -> bool {
        self.overflowed.get()
    }

    /// Whether the session has yet to say who it is: it gets nothing until then.
    pub(crate) fn waits_outside(&self) -> bool {
        self.waits_outside.get()
    }

    /// It has said so.
    pub(super) fn let_in(&self) {
        self.waits_outside.set(false);
    }

    /// Messages waiting.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Payload bytes waiting.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.queue.borrow().bytes()
    }

    /// What waits for it is told by this, too, since it waits elsewhere.
    pub(crate) fn waits_elsewhere(&self, told: impl Fn() -> SessionQueue + 'static) {
        let _ = self.elsewhere.set(Elsewhere(Box::new(told)));
    }

    /// What waits for it elsewhere, where something may.
    pub(crate) fn waiting_elsewhere(&self) -> Option<SessionQueue> {
        self.elsewhere.get().map(|Elsewhere(told)| told())
    }

    /// Messages that can wait.
    pub(crate) fn capacity(&self) -> usize {
        self.queue.borrow().capacity()
    }

    /// How full the queue is, from 0 to 1.
    pub(crate) fn utilization(&self) -> f64 {
        self.queue.borrow().utilization()
    }

    /// Whether the queue is full, see [`Queue::is_full`].
    pub(crate) fn is_full(&self) -> bool {
        self.queue.borrow().is_full()
    }

    /// Compression saved so many bytes one way.
    pub(crate) fn save(&self, way: Way, bytes: i64) {
        let saved = &self.saved[way as usize];
        saved.set(saved.get() + bytes);
    }

    /// Notes whether messages can go one way at present.
    pub(crate) fn note(&self, way: Way, is_held: bool) {
        let since = &self.held_since[way as usize];
        if !is_held {
            since.set(None);
        } else if since.get().is_none() {
            since.set(Some(Instant::now()));
        }
    }

    /// How long messages have been held up one way or the other.
    pub(crate) fn held_for(&self) -> Duration {
        self.held_since.iter().filter_map(Cell::get).map(|since| since.elapsed()).max().unwrap_or_default()
    }

    /// Asks the session to close, at once: what waits for it is dropped with it.
    pub(crate) fn ask_to_close(&self, close: CloseReason) {
        *self.asked_to_close.borrow_mut() = Some(Box::new(close));
        self.wake();
    }

    /// Whether the session is about to end.
    pub(crate) fn is_closing(&self) -> bool {
        self.stage.get() != Stage::Connected || self.has_overflowed() || self.is_asked_to_close()
    }

    /// The session has begun to close.
    pub(crate) fn begin_close(&self) {
        self.stage.set(self.stage.get().max(Stage::Closing));
    }

    /// The session has ended.
    pub(super) fn leave(&self) {
        self.stage.set(Stage::Left);
    }

    /// Whether the session has ended.
    pub(crate) fn has_left(&self) -> bool {
        self.stage.get() == Stage::Left
    }

    /// Whether somebody asked the session to close.
    pub(crate) fn is_asked_to_close(&self) -> bool {
        self.asked_to_close.borrow().is_some()
    }

    /// What somebody asked the session to close with.
    pub(crate) fn take_close(&self) -> Option<CloseReason> {
        self.asked_to_close.borrow_mut().take().map(|close| *close)
    }

    /// Asks the session to close when all that waits for it has been sent; nothing more is taken for it.
    pub(crate) fn close_after_all(&self, close: CloseReason) {
        self.close_after_all.borrow_mut().get_or_insert_with(|| Box::new(close));
        self.wake();
    }

    /// Whether nothing more is taken for it.
    pub(crate) fn takes_no_more(&self) -> bool {
        self.has_left() || self.close_after_all.borrow().is_some()
    }

    /// What the session closes with, once nothing waits for it.
    pub(crate) fn take_close_after_all(&self) -> Option<CloseReason> {
        if self.waiting() > 0 {
            return None;
        }
        self.close_after_all.borrow_mut().take().map(|close| *close)
    }

    /// Has a ping or pong sent, before messages that wait; too many of them make room for the new one.
    pub(crate) fn push_control(&self, frame: Outgoing) {
        let mut control = self.control.borrow_mut();
        if control.len() >= CONTROL_FRAMES {
            control.pop_front();
        }
        control.push_back(frame);
        self.wake();
    }

    /// The next ping or pong.
    pub(crate) fn take_control(&self) -> Option<Outgoing> {
        self.control.borrow_mut().pop_front()
    }

    /// Adds a message, or does what the policy says; `lost` is told the size of each message that is dropped.
    pub(super) fn push(&self, message: Message, mut lost: impl FnMut(usize)) -> Pushed {
        let pushed = self.queue.borrow_mut().push_with(message, |message| lost(message.len()));
        match &pushed {
            Pushed::Accepted { dropped } => {
                self.dropped.set(self.dropped.get() + dropped);
                self.wake();
            }
            Pushed::Dropped => self.dropped.set(self.dropped.get() + 1),
            Pushed::Disconnect => {
                self.dropped.set(self.dropped.get() + 1);
                self.overflowed.set(true);
                self.wake();
            }
            Pushed::Full(_) => {}
        }
        pushed
    }

    /// Throws away what waits; `lost` is told the size of each message.
    pub(super) fn clear(&self, mut lost: impl FnMut(usize)) {
        let mut queue = self.queue.borrow_mut();
        while let Some(message) = queue.pop() {
            lost(message.len());
        }
    }

    /// Wakes the session's task.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}
