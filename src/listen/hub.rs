//! Who is connected, and what waits for whom.
//!
//! Leaves what is said of it to `telling`. One thread runs all sessions, so plain cells do. Invariants: every message that is not delivered
//! is counted with its reason; a mailbox never exceeds its bounds; one full mailbox stops nobody
//! but, under `--on-full block`, the sender of what does not fit.

mod names;
mod telling;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Waker};

use self::names::Names;
use super::config::ServerConfig;
use super::guard::credentials::Identity;
use super::mailbox::Mailbox;
use super::recording::Recording;
use super::session_id::session_id;
use crate::host::Stderr;
use crate::message::Message;
use crate::message::clock::PassClock;
use crate::message::event::Direction;
use crate::net::listener::PeerAddr;
use crate::observe::counters::{Counters, DropReason};
use crate::observe::drops::DropLines;
use crate::observe::tap::Tap;
use crate::queue::Pushed;
use crate::sink::stdout::Output;

/// Messages that wait for room in full mailboxes.
pub(crate) type Unplaced = Vec<(Rc<Mailbox>, Message)>;

/// The server's state.
pub(crate) struct Hub {
    /// The settings.
    pub settings: ServerConfig,
    /// The counters.
    pub counters: Counters,
    /// Diagnostics.
    pub stderr: Stderr,
    /// The time of what happens: one for all that a session takes in, or sends, at once.
    pub clock: PassClock,
    output: RefCell<Output>,
    output_waker: RefCell<Option<Waker>>,
    recording: Recording,
    tap: Tap,
    /// Dropped messages that are to be printed.
    drops: RefCell<DropLines>,
    sessions: RefCell<BTreeMap<u64, Rc<Mailbox>>>,
    names: RefCell<Names>,
    waiting: RefCell<Vec<Waker>>,
    next_id: Cell<u64>,
    stopping: Cell<bool>,
    aborting: Cell<bool>,
    /// A refusal has been told with what helps; later ones are told under `-v`.
    hinted: Cell<bool>,
    /// A session without a name has been told; later ones are told under `-v`.
    told_unnamed: Cell<bool>,
    /// Programs that have not ended.
    programs: Cell<usize>,
    aborted: tokio::sync::Notify,
    changed: tokio::sync::Notify,
}

/// A program the server waits for at its end, counted while this lives.
pub(crate) struct ProgramSlot(Rc<Hub>);

impl Drop for ProgramSlot {
    fn drop(&mut self) {
        self.0.programs.set(self.0.programs.get() - 1);
        self.0.changed.notify_waiters();
    }
}

impl Hub {
    /// A server with nobody connected.
    pub(crate) fn new(settings: ServerConfig, counters: Counters, stderr: Stderr, output: Output) -> Rc<Self> {
        Rc::new(Self {
            settings,
            counters,
            stderr,
            clock: PassClock::default(),
            output: RefCell::new(output),
            output_waker: RefCell::new(None),
            recording: Recording::default(),
            tap: Tap::default(),
            drops: RefCell::default(),
            sessions: RefCell::default(),
            names: RefCell::default(),
            waiting: RefCell::default(),
            next_id: Cell::new(1),
            stopping: Cell::new(false),
            aborting: Cell::new(false),
            hinted: Cell::new(false),
            told_unnamed: Cell::new(false),
            programs: Cell::new(0),
            aborted: tokio::sync::Notify::new(),
            changed: tokio::sync::Notify::new(),
        })
    }

    /// A session begins.
    pub(crate) fn join(&self, peer: PeerAddr, target: &str, subprotocol: Option<&str>) -> Rc<Mailbox> {
        let id = self.next_id.get();
        self.next_id.set(id + 1);
        self.counters.connections.one();
        let mailbox = Rc::new(Mailbox::new(id, peer, target, subprotocol, &self.settings));
        self.sessions.borrow_mut().insert(id, Rc::clone(&mailbox));
        self.changed.notify_waiters();
        mailbox
    }

    /// A session has said who it is, and whom it speaks for.
    pub(crate) fn let_in(&self, mailbox: &Mailbox, identity: &Identity) {
        mailbox.let_in();
        mailbox.show(identity.subject(), None);
        self.changed.notify_waiters();
    }

    /// Whether somebody is there who gets messages.
    pub(crate) fn has_audience(&self) -> bool {
        self.sessions.borrow().values().any(|mailbox| !mailbox.waits_outside())
    }

    /// The session of this number, while it is connected.
    pub(crate) fn session(&self, id: u64) -> Option<Rc<Mailbox>> {
        self.sessions.borrow().get(&id).cloned()
    }

    /// Looks at each that is connected.
    pub(crate) fn each_session(&self, mut look: impl FnMut(&Rc<Mailbox>)) {
        self.sessions.borrow().values().for_each(&mut look);
    }

    /// All that are connected, in the order they came.
    pub(crate) fn sessions(&self) -> Vec<Rc<Mailbox>> {
        self.sessions.borrow().values().cloned().collect()
    }

    /// A session has ended; what still waits for it is dropped and counted.
    pub(crate) fn leave(&self, id: u64) {
        if let Some(mailbox) = self.session(id) {
            mailbox.leave();
            mailbox.clear(|size| self.dropped(id, Direction::Out, DropReason::ReceiverGone, size));
            if let Some(name) = mailbox.name() {
                self.names.borrow_mut().remove(name, id);
            }
        }
        self.sessions.borrow_mut().remove(&id);
        self.wake_waiting();
        self.changed.notify_waiters();
    }

    /// The id of a session, as the whole run knows it.
    pub(crate) fn id_of(&self, number: u64) -> String {
        self.settings.under.as_ref().map_or_else(|| session_id(number), |under| format!("{under}.{number}"))
    }

    /// A session as stderr shows it: its id, and its name in brackets.
    pub(crate) fn label(&self, number: u64) -> String {
        let id = self.id_of(number);
        self.name_of(number).map_or_else(|| id.clone(), |name| format!("{id} ({})", name.escape_debug()))
    }

    /// Sessions connected now.
    pub(crate) fn active(&self) -> usize {
        self.sessions.borrow().len()
    }

    /// Counts a program that is about to start.
    pub(crate) fn begin_program(self: &Rc<Self>) -> ProgramSlot {
        self.programs.set(self.programs.get() + 1);
        ProgramSlot(Rc::clone(self))
    }

    /// Programs that have not ended, those of sessions that have left included.
    pub(crate) fn programs(&self) -> usize {
        self.programs.get()
    }

    /// Whether no session is connected and no program runs.
    pub(crate) fn is_empty(&self) -> bool {
        self.active() == 0 && self.programs() == 0
    }

    /// Waits until `condition` holds; it is looked at whenever a session comes or goes, or a program ends.
    pub(crate) async fn wait_for(&self, condition: impl Fn(&Self) -> bool) {
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
    pub(crate) async fn next_change(&self) {
        self.changed.notified().await;
    }

    /// Puts a message into one mailbox; it comes back when it must wait there.
    pub(crate) fn place(&self, mailbox: &Rc<Mailbox>, message: Message) -> Option<Message> {
        if mailbox.takes_no_more() {
            self.dropped(mailbox.id, Direction::Out, DropReason::ReceiverGone, message.len());
            return None;
        }
        match self.push(mailbox, message) {
            Pushed::Full(message) => Some(message),
            Pushed::Accepted { .. } | Pushed::Dropped | Pushed::Disconnect => None,
        }
    }

    /// As [`Hub::place`], with what became of it.
    pub(super) fn push(&self, mailbox: &Mailbox, message: Message) -> Pushed {
        let mut is_first = true;
        mailbox.push(message, |size| {
            if std::mem::take(&mut is_first) {
                self.queue_full(mailbox);
            }
            self.dropped(mailbox.id, Direction::Out, DropReason::QueueFull, size);
        })
    }

    /// Puts a message before every session, but for `except`.
    pub(crate) fn to_all(&self, message: &Message, except: Option<u64>) -> Unplaced {
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
    pub(crate) fn place_again(&self, unplaced: &mut Unplaced, cx: &mut Context<'_>) -> bool {
        unplaced.retain_mut(|(mailbox, message)| match self.place(mailbox, message.clone()) {
            None => false,
            Some(back) => {
                *message = back;
                true
            }
        });
        if unplaced.is_empty() {
            return true;
        }
        self.wait(cx);
        false
    }

    /// Asks to be woken when there is room somewhere.
    pub(crate) fn wait(&self, cx: &mut Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            waiting.push(cx.waker().clone());
        }
    }

    /// There may be room again.
    pub(crate) fn wake_waiting(&self) {
        for waker in self.waiting.borrow_mut().drain(..) {
            waker.wake();
        }
    }

    /// Asks every session to close.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        self.wake_all();
    }

    /// Asks every session to end without waiting for its peer.
    pub(crate) fn abort(&self) {
        self.aborting.set(true);
        self.aborted.notify_waiters();
        self.stop();
    }

    /// Waits until everything must end at once.
    pub(crate) async fn aborted(&self) {
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
    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Whether sessions must end at once.
    pub(crate) fn is_aborting(&self) -> bool {
        self.aborting.get()
    }
}
