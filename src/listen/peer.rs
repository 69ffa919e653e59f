//! One session of the server: carries messages between its connection, its mailbox and its handler.
//!
//! Leaves what messages mean to the [`Handler`], the loop to the session's driver. Invariants: what a handler sends goes
//! out in order; a session whose answers have no room is not read from.

mod faulty;
mod name;

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use faulty::Faulty;

use super::alarm::Alarm;
use super::faults::Faults;
use super::guard::session::{Offence, SessionGuard, Verdict, error_message};
use super::handler::{Actions, Handler};
use super::hub::{Hub, Unplaced};
use super::mailbox::{Mailbox, Way};
use super::naming::Naming;
use super::phase::Phase;
use super::validation::OnInvalid;
use crate::message::Message;
use crate::message::clock;
use crate::message::event::{Direction, EventBody};
use crate::net::connection::{CloseReason, Incoming};
use crate::observe::counters::{DropReason, ErrorKind, Fault};
use crate::protocol::Now;
use crate::session::{Outgoing, Peer, Replies};

/// One session of the server.
pub(crate) struct ServerPeer {
    hub: Rc<Hub>,
    mailbox: Rc<Mailbox>,
    handler: Box<dyn Handler>,
    guard: Option<Box<SessionGuard>>,
    /// Until it has been asked what the session is called.
    naming: Option<Box<Naming>>,
    /// For the guard: its gate's end at first, pauses in reading later.
    alarm: Alarm,
    phase: Phase,
    /// What a handler sent; empty between calls but for what waits in `ready`.
    sends: Vec<Message>,
    /// Sent, not yet handed to the connection.
    ready: VecDeque<Message>,
    unplaced: Unplaced,
    faults: Option<Box<Faulty>>,
    give_up: Option<Pin<Box<Sleep>>>,
}

impl ServerPeer {
    /// A session that has just joined.
    pub(crate) fn new(
        hub: Rc<Hub>,
        mailbox: Rc<Mailbox>,
        handler: Box<dyn Handler>,
        naming: Option<Box<Naming>>,
    ) -> Self {
        let now = clock::now();
        let guard = SessionGuard::new(&hub.settings.guard, now);
        let faults = hub.settings.faults.as_ref().map(|settings| Box::new(Faulty::new(Faults::new(settings, now))));
        Self {
            hub,
            mailbox,
            handler,
            guard,
            naming,
            alarm: Alarm::default(),
            phase: Phase::New,
            sends: Vec::new(),
            ready: VecDeque::new(),
            unplaced: Unplaced::new(),
            faults,
            give_up: None,
        }
    }

    /// Lets the handler act, and takes what it sent.
    fn act(&mut self, act: impl FnOnce(&mut dyn Handler, &mut Actions)) {
        let mut actions = Actions {
            hub: &self.hub,
            mailbox: &self.mailbox,
            sends: &mut self.sends,
            unplaced: &mut self.unplaced,
            phase: &mut self.phase,
        };
        act(&mut *self.handler, &mut actions);
    }

    /// What the handler sent in answer to something received.
    fn reply(&mut self, replies: &mut Replies) {
        if self.phase.has_closed() {
            // Nothing can be sent behind our Close.
            for message in self.sends.drain(..) {
                self.hub.dropped(self.mailbox.id, Direction::Out, DropReason::ReceiverGone, message.len());
            }
        }
        if let (Some(faulty), None) = (&mut self.faults, self.hub.settings.on_full) {
            for message in self.sends.drain(..) {
                faulty.send(self.mailbox.id, &message, true, &self.hub);
            }
        }
        for message in self.sends.drain(..) {
            // Asked for by name, the queue and its policy hold for replies too.
            let message = match self.hub.settings.on_full {
                None => Some(message),
                Some(_) => self.hub.place(&self.mailbox, message.detached()),
            };
            replies.extend(message);
        }
    }

    fn on_message(&mut self, message: Message, replies: &mut Replies) {
        if let Some(throttle) = self.mailbox.throttle() {
            throttle.pass();
        }
        match self.guard.as_mut().map(|guard| guard.on_message(&message, Now::read())) {
            None | Some(Verdict::Pass) => {}
            Some(Verdict::Admit(answer, identity)) => {
                self.hub.let_in(&self.mailbox, &identity);
                self.ready.push_back(answer);
                return self.ask_for_name(&identity);
            }
            Some(Verdict::Expel(offence)) => {
                // What was said at the gate is a secret, or should have been one.
                if offence.kind == ErrorKind::Rate {
                    self.hub.received(&self.mailbox, &message);
                    self.hub.dropped(self.mailbox.id, Direction::In, DropReason::Rate, message.len());
                }
                return self.expel(&offence);
            }
        }
        if let Some(message) = self.asked_for_name(message) {
            self.take_in(message, replies);
        }
    }

    fn take_in(&mut self, message: Message, replies: &mut Replies) {
        self.hub.received(&self.mailbox, &message);
        if let Some(faulty) = &mut self.faults {
            faulty.faults.on_message();
        }
        if let Some(Err(error)) = self.hub.settings.validation.as_ref().map(|validation| validation.check(&message)) {
            return self.not_taken(&message, &error, replies);
        }
        if self.handler.leaves_printing() {
            self.hub.print(self.mailbox.id, &message);
        }
        self.act(|handler, actions| handler.on_message(message, actions));
        self.reply(replies);
        if let Some(faulty) = &mut self.faults
            && self.hub.settings.on_full.is_some()
        {
            // The answers are among them.
            faulty.owed = self.mailbox.waiting();
        }
    }

    /// A message does not have the shape it must have.
    fn not_taken(&mut self, message: &Message, error: &str, replies: &mut Replies) {
        self.hub.not_taken(self.mailbox.id, message, &format!("invalid message: {error}"));
        match self.hub.settings.validation.as_ref().map(|validation| validation.on_invalid) {
            Some(OnInvalid::Reply) => {
                self.sends.push(error_message("invalid message", Some(error)));
                self.reply(replies);
            }
            Some(OnInvalid::Close) => {
                self.phase.expel(CloseReason::new(1008, &format!("invalid message: {error}")));
            }
            Some(OnInvalid::Drop) | None => {}
        }
    }

    /// Tells the peer what it did, and closes.
    fn expel(&mut self, offence: &Offence) {
        self.hub.offence(self.mailbox.id, offence.kind, &offence.text);
        self.ready.push_back(error_message(&offence.text, None));
        self.phase.expel(CloseReason::new(1008, &offence.text));
    }

    fn on_out(&mut self, body: EventBody) {
        self.hub.event(self.mailbox.id, Some(Direction::Out), body);
    }

    /// A Close is all that the session still wants sent.
    fn close_with(&mut self, close: CloseReason) -> Poll<Outgoing> {
        self.mailbox.begin_close();
        // Nothing goes out behind it, and what waits must not keep the peer's answer from being read.
        for message in self.ready.drain(..) {
            self.hub.dropped(self.mailbox.id, Direction::Out, DropReason::ReceiverGone, message.len());
        }
        Poll::Ready(Outgoing::Close(close))
    }

    /// Closes with this, whatever the session wanted to close with.
    fn close_at_once(&mut self, close: CloseReason) -> Poll<Outgoing> {
        self.phase.close_at_once();
        self.close_with(close)
    }

    /// What the session wants sent, faults apart.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Outgoing> {
        if let Some(until) = self.guard.as_ref().and_then(|guard| guard.waits_until()) {
            return self.poll_at_the_gate(until, cx);
        }
        if self.phase.open() {
            self.act(|handler, actions| handler.on_open(actions));
        }
        if let Some(control) = self.mailbox.take_control() {
            return Poll::Ready(control);
        }
        loop {
            self.ready.extend(self.sends.drain(..));
            if let Some(message) = self.ready.pop_front() {
                return Poll::Ready(Outgoing::Message(message));
            }
            if let Some(close) = self.phase.pending_close().cloned() {
                return self.close_with(close);
            }
            self.act(|handler, actions| handler.poll(cx, actions));
            if self.phase == Phase::Cut {
                return Poll::Ready(Outgoing::Abort);
            }
            if !self.sends.is_empty() || self.phase.pending_close().is_some() {
                continue;
            }
            if !self.handler.takes_outgoing() {
                self.mailbox.watch(cx);
                break;
            }
            let Some(message) = self.mailbox.poll_next(cx) else { break };
            self.hub.wake_waiting();
            self.act(|handler, actions| handler.on_outgoing(message, actions));
        }
        if let Some(close) = self.mailbox.take_close_after_all() {
            return self.close_with(close);
        }
        // What was queued before the stop goes out first.
        if self.hub.is_stopping() && !self.handler.is_busy() && !self.awaits_name() {
            return self.close_with(going_away());
        }
        Poll::Pending
    }

    /// Before the session has said who it is: nothing but its answer goes out.
    fn poll_at_the_gate(&mut self, until: std::time::Instant, cx: &mut Context<'_>) -> Poll<Outgoing> {
        if self.phase.pending_close().is_none() && self.alarm.poll(until, cx).is_ready() {
            self.expel(&SessionGuard::too_late());
        }
        if let Some(message) = self.ready.pop_front() {
            return Poll::Ready(Outgoing::Message(message));
        }
        if let Some(close) = self.phase.pending_close().cloned() {
            return self.close_with(close);
        }
        if self.hub.is_stopping() {
            return self.close_with(going_away());
        }
        self.mailbox.watch(cx);
        Poll::Pending
    }

    /// As [`Peer::poll_can_receive`].
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The answer to our Close is awaited, whoever wished that nothing be read.
        let has_closed = self.phase.has_closed();
        if let Some(throttle) = self.mailbox.throttle().filter(|_| !has_closed) {
            std::task::ready!(throttle.poll(cx));
        }
        if !self.unplaced.is_empty() && !self.hub.place_again(&mut self.unplaced, cx) {
            return Poll::Pending;
        }
        if let Some(faulty) = self.faults.as_ref().filter(|_| !has_closed) {
            // What is due goes out first, and whatever is under way wakes the task when it is.
            if !faulty.may_receive(&self.hub) {
                return Poll::Pending;
            }
        }
        // What is ready goes out first: the connection wakes the task when it takes more.
        if !self.ready.is_empty() {
            return Poll::Pending;
        }
        if let Some(guard) = self.guard.as_mut().filter(|_| !has_closed) {
            let now = clock::now();
            let pause = guard.pause(now);
            if !pause.is_zero() && self.alarm.poll(now + pause, cx).is_pending() {
                return Poll::Pending;
            }
        }
        if !self.hub.has_room_to_record(cx) {
            return Poll::Pending;
        }
        if self.hub.prints() && !self.hub.has_room_to_print(cx) {
            return Poll::Pending;
        }
        self.handler.poll_can_receive(cx)
    }

    /// Whether the session must close whatever waits for it.
    fn must_close(&self) -> bool {
        self.mailbox.has_overflowed() || self.mailbox.is_asked_to_close()
    }
}

impl Drop for ServerPeer {
    fn drop(&mut self) {
        let under_way = self.faults.iter().flat_map(|faulty| faulty.faults.under_way());
        for message in self.ready.iter().chain(under_way) {
            self.hub.dropped(self.mailbox.id, Direction::Out, DropReason::ReceiverGone, message.len());
        }
        if let Some(message) = self.naming.as_mut().and_then(|naming| naming.give_up()) {
            self.hub.received(&self.mailbox, &message);
            self.hub.dropped(self.mailbox.id, Direction::In, DropReason::ReceiverGone, message.len());
        }
        for (mailbox, message) in &self.unplaced {
            self.hub.dropped(mailbox.id, Direction::Out, DropReason::QueueFull, message.len());
        }
    }
}

fn going_away() -> CloseReason {
    CloseReason::new(1001, "the server is shutting down")
}

impl Peer for ServerPeer {
    fn on_incoming(&mut self, incoming: Incoming, replies: &mut Replies) {
        let id = self.mailbox.id;
        if !matches!(incoming, Incoming::Message(_)) {
            self.handler.on_control(&incoming);
        }
        match incoming {
            Incoming::Message(message) => {
                self.hub.clock.pass_begins();
                if self.phase.accepts_messages() {
                    self.on_message(message, replies);
                }
            }
            Incoming::Ping(payload) => {
                if self.faults.as_ref().is_some_and(|faulty| faulty.faults.answers_no_ping()) {
                    self.hub.counters.faults.one(Fault::Unanswered);
                }
                self.hub.event(id, Some(Direction::In), EventBody::Ping(payload));
            }
            Incoming::Pong(payload) => self.hub.event(id, Some(Direction::In), EventBody::Pong(payload)),
            Incoming::Close(close) => {
                let body = EventBody::Close { code: close.code, reason: close.reason, clean: true };
                self.hub.event(id, Some(Direction::In), body);
            }
        }
    }

    fn poll_done(&mut self, cx: &mut Context<'_>, replies: &mut Replies) -> Poll<()> {
        if self.awaits_name() {
            match self.poll_name(cx) {
                Some(message) => {
                    self.hub.clock.pass_begins();
                    if self.phase.accepts_messages() {
                        self.take_in(message, replies);
                    }
                }
                None if self.awaits_name() => return Poll::Pending,
                None => {}
            }
            // What waited for that besides is looked at in the next pass.
            cx.waker().wake_by_ref();
        }
        if !self.handler.is_answering() {
            return Poll::Ready(());
        }
        self.act(|handler, actions| handler.poll(cx, actions));
        self.reply(replies);
        if self.handler.is_answering() {
            return Poll::Pending;
        }
        // What else it wants done is looked at in the next pass.
        cx.waker().wake_by_ref();
        Poll::Ready(())
    }

    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Outgoing> {
        self.mailbox.note(Way::Out, false);
        if self.phase.has_closed() {
            return Poll::Pending;
        }
        if self.hub.is_aborting() {
            return Poll::Ready(Outgoing::Abort);
        }
        if self.mailbox.has_overflowed() {
            return self.close_at_once(CloseReason::new(1008, "too slow: the send queue is full"));
        }
        if let Some(close) = self.mailbox.take_close() {
            return self.close_at_once(close);
        }
        let outgoing = match self.faults.take() {
            None => self.poll_next(cx),
            Some(mut faulty) => {
                let outgoing = self.poll_faulty(&mut faulty, cx);
                self.faults = Some(faulty);
                outgoing
            }
        };
        if matches!(outgoing, Poll::Ready(Outgoing::Close(_))) {
            self.phase.close_sent();
        }
        outgoing
    }

    fn poll_may_run(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(faulty) = &mut self.faults else { return Poll::Ready(()) };
        if self.hub.is_stopping() || self.mailbox.is_asked_to_close() {
            return Poll::Ready(());
        }
        self.mailbox.watch(cx);
        faulty.poll_may_run(&self.hub, cx)
    }

    fn poll_urgent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.mailbox.note(Way::Out, true);
        self.mailbox.watch(cx);
        if self.hub.is_aborting() {
            return Poll::Ready(());
        }
        if self.phase.has_closed() || !(self.hub.is_stopping() || self.must_close()) {
            return Poll::Pending;
        }
        let deadline = Instant::now() + self.hub.settings.driver.close_timeout;
        self.give_up.get_or_insert_with(|| Box::pin(sleep_until(deadline))).as_mut().poll(cx)
    }

    fn poll_can_receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ready = self.poll_room(cx);
        self.mailbox.note(Way::In, ready.is_pending());
        ready
    }

    fn on_sent(&mut self, outgoing: &Outgoing) {
        match outgoing {
            Outgoing::Message(message) => {
                self.hub.clock.pass_begins();
                self.hub.sent(&self.mailbox, message);
                if let Some(faulty) = &mut self.faults {
                    faulty.faults.on_message();
                }
            }
            Outgoing::Close(close) => {
                self.on_out(EventBody::Close { code: close.code, reason: close.reason.clone(), clean: true });
            }
            Outgoing::Ping(payload) => self.on_out(EventBody::Ping(payload.clone())),
            Outgoing::Pong(payload) => self.on_out(EventBody::Pong(payload.clone())),
            Outgoing::Abort => {}
        }
    }

    fn on_replied(&mut self, message: &Message) {
        self.hub.sent(&self.mailbox, message);
    }

    fn on_pass_end(&mut self) {
        self.hub.clock.pass_ends();
        if self.hub.prints() || self.hub.recording().is_waiting() {
            self.hub.flush();
        }
    }

    fn on_flushed(&mut self) {
        if self.ready.is_empty() && self.sends.is_empty() {
            self.handler.on_flushed();
        }
    }

    fn on_round_trip(&mut self, time: Duration) {
        self.mailbox.round_trip.set(Some(time));
        self.hub.counters.ping_time.add(time);
    }
}
