//! What messages mean to a session of a run: init messages, input, replies, when to finish.
//!
//! One [`ClientPeer`] lives as long as its session, across reconnects; [`ClientPeer::begin_again`] starts
//! it over on a new connection.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::{Instant, Sleep, sleep_until};

use super::events;
use super::inbox::Inbox;
use super::info::SessionInfo;
use super::judge::{Given, Verdict};
use super::opening::Opening;
use super::plan::{Reply, Wait, draft_error};
use super::shared::{SessionName, Shared, Shown};
use crate::error::Error;
use crate::exit::Exit;
use crate::filter::Json;
use crate::filter::apart::{Begun, Task};
use crate::filter::fold::lock;
use crate::message::Message;
use crate::message::event::{Direction, EventBody, time_text};
use crate::message::render;
use crate::net::connection::{CloseReason, Incoming};
use crate::session::{Outgoing, Peer, Replies};

/// One session of a run.
pub(crate) struct ClientPeer {
    pub(super) shared: Rc<Shared>,
    pub(super) inbox: Rc<RefCell<Inbox>>,
    pub(super) info: Rc<SessionInfo>,
    pub(super) opening: Opening,
    timer: Option<Pin<Box<Sleep>>>,
    within: Option<Pin<Box<Sleep>>>,
    quiet_since: Instant,
    active: bool,
    pub(super) closing: bool,
    give_up: Option<Pin<Box<Sleep>>>,
    prev: Json,
    seq: u64,
    /// The user's own ping that is not answered yet.
    asked: Option<(Bytes, Instant)>,
    /// Whether the pong to come answers a ping that was sent to keep the connection alive.
    keeps_alive: bool,
    pub(super) replies_due: usize,
    /// What is sent next is a heartbeat.
    beats: bool,
    judged: Option<Judged>,
    /// A filter was cut short by the end of the run: no more are begun.
    is_cut_short: bool,
}

/// A received message, and what is known of it already.
struct Subject {
    message: Message,
    seq: u64,
    /// As filters are given it, where one is.
    read: Option<Result<Json, String>>,
    /// There is an output filter, or a fold.
    is_filtered: bool,
    is_beat: bool,
}

/// A message that filters are still at work on.
struct Judged {
    subject: Subject,
    task: Task<Verdict>,
}

impl ClientPeer {
    /// A session that has not been connected yet.
    pub(crate) fn new(shared: Rc<Shared>, inbox: Rc<RefCell<Inbox>>, info: Rc<SessionInfo>) -> Self {
        let opening = Opening::new(Rc::clone(&shared.plan.opening));
        Self {
            shared,
            inbox,
            info,
            opening,
            timer: None,
            within: None,
            quiet_since: Instant::now(),
            active: false,
            closing: false,
            give_up: None,
            prev: Json::null(),
            seq: 0,
            asked: None,
            keeps_alive: false,
            replies_due: 0,
            beats: false,
            judged: None,
            is_cut_short: false,
        }
    }

    /// A connection was opened: init messages and timers begin again.
    pub(super) fn begin_again(&mut self) {
        let now = Instant::now();
        self.opening.opened();
        self.forget_judged();
        self.closing = false;
        self.give_up = None;
        self.replies_due = 0;
        self.timer = None;
        self.quiet_since = now;
        let plan = &self.shared.plan;
        if self.within.is_none() {
            self.within = plan.within.map(|within| Box::pin(sleep_until(now + within)));
        }
    }

    /// At the prompt a ping of the user's own is answered in words.
    fn answer_ping(&mut self, payload: &Bytes) {
        if let Some((asked, at)) = self.asked.take_if(|(asked, _)| asked == payload) {
            let text = if asked.is_empty() { String::new() } else { format!(" {}", asked.escape_ascii()) };
            let time = at.elapsed().as_secs_f64() * 1e3;
            let told = format!("pong{text} from {} after {time:.3} ms", self.info.host);
            self.shared.line_of(&self.info.id, &told);
        }
    }

    fn fail(&self, error: &Error) {
        self.shared.fail(error);
    }

    /// What the session says by itself, when it is due.
    fn poll_own(&mut self, cx: &mut Context<'_>) -> Option<Message> {
        let own = self.opening.poll_own(cx).unwrap_or_else(|error| {
            self.fail(&draft_error(error));
            None
        });
        self.beats = own.as_ref().is_some_and(|own| own.is_heartbeat);
        own.map(|own| own.message)
    }

    /// The clock is read once a pass, not once a message.
    fn note_activity(&mut self) {
        if std::mem::take(&mut self.active) && self.shared.plan.needs_clock() {
            self.quiet_since = Instant::now();
        }
    }

    /// After the input has ended: whether it has been quiet for long enough.
    fn poll_finished(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.shared.input_ended.get() || !self.inbox.borrow().is_empty() || !self.opening.is_done() {
            return Poll::Pending;
        }
        if self.judged.is_some() {
            self.active = true;
            return Poll::Pending;
        }
        if self.shared.input_failure().is_some() {
            return Poll::Ready(());
        }
        if self.within.is_some() && self.shared.plan.expect.is_some() {
            return Poll::Pending;
        }
        let Wait::Quiet(quiet) = self.shared.plan.wait else { return Poll::Pending };
        self.note_activity();
        if self.timer.is_none() {
            // The quiet time begins when the last input was sent.
            self.quiet_since = Instant::now();
        }
        let deadline = self.quiet_since + quiet;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if timer.deadline() < deadline && timer.is_elapsed() {
            timer.as_mut().reset(deadline);
        }
        loop {
            std::task::ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= deadline {
                return Poll::Ready(());
            }
            timer.as_mut().reset(deadline);
        }
    }

    fn on_message(&mut self, message: Message, replies: &mut Replies) {
        let shared = Rc::clone(&self.shared);
        let plan = &shared.plan;
        shared.received(&self.info.id, &message);
        // While the close handshake is under way nothing past `--count` is printed.
        if shared.is_count_reached() || self.is_cut_short {
            return;
        }
        self.seq += 1;
        // What only answers a heartbeat does not keep the run alive.
        let is_beat = self.opening.answers_heartbeat(&message);
        let filter = shared.filter.borrow();
        let output = filter.as_ref();
        let is_filtered = output.is_some() || plan.fold.is_some();
        let read = (is_filtered || plan.needs_json()).then(|| {
            let read = if plan.fold.is_some() { Json::apart_from_message } else { Json::of_message };
            read(&message, plan.opening.raw_input)
        });
        let subject = Subject { message, seq: self.seq, read, is_filtered, is_beat };
        let Some(Ok(json)) = &subject.read else { return self.take(subject, Verdict::default(), replies) };
        let meta = if shared.filters.names_meta(output) { self.meta(&subject) } else { Json::null() };
        let waiting = self.opening.waiting();
        match shared.filters.begin(Given { output, json, meta: &meta, prev: &self.prev, waiting }) {
            Begun::Done(verdict) => self.take(subject, verdict, replies),
            Begun::Apart(task) => {
                shared.folds.set(plan.fold.is_some());
                let message = subject.message.into_detached();
                self.judged = Some(Judged { subject: Subject { message, ..subject }, task });
            }
        }
    }

    fn meta(&self, subject: &Subject) -> Json {
        let (time, message) = (time_text(self.shared.clock.now()), &subject.message);
        Json::meta(&self.info.id, &self.info.url, &time, message.kind().name(), message.len(), subject.seq)
    }

    /// What filters are at work on is not wanted any more.
    fn forget_judged(&mut self) {
        if self.judged.take().is_some() {
            self.shared.folds.set(false);
            self.shared.changed.set(true);
        }
    }

    /// Takes what the filters made of a message.
    fn take(&mut self, subject: Subject, verdict: Verdict, replies: &mut Replies) {
        let shared = Rc::clone(&self.shared);
        let plan = &shared.plan;
        let Subject { message, seq, read, is_filtered, is_beat } = subject;
        let before = replies.len();
        let reply = self.opening.on_marked(verdict.marked).unwrap_or_else(|error| {
            self.fail(&draft_error(error));
            None
        });
        self.active |= !is_beat && reply.is_none();
        replies.extend(reply);
        for change in verdict.changes {
            lock(shared.filters.states()).set(change);
        }
        match &plan.reply {
            Reply::Echo => replies.push_back(message.clone()),
            Reply::Filter(_) if matches!(read, Some(Ok(_))) => {
                replies.extend(verdict.replies);
                if let Some(error) = verdict.reply_error {
                    shared.line_of(&self.info.id, &format!("jq: {error}"));
                }
            }
            Reply::Filter(_) => shared.unanswered.count(read.as_ref()),
            Reply::None => {}
        }
        self.replies_due += replies.len() - before;
        let name = SessionName { id: &self.info.id, url: &self.info.url, seq };
        let shown = match &read {
            _ if !is_filtered => Shown::Whole,
            Some(Ok(_)) => Shown::Filtered(&verdict.printed, verdict.print_error.as_deref()),
            Some(Err(reason)) => Shown::Unread(reason),
            None => Shown::Unread("not JSON: binary message"),
        };
        let is_shown = shared.print(&name, &message, &shown);
        shared.check_schema(&name, &message);
        if let Some(Ok(json)) = read {
            self.prev = json;
        }
        let counted = is_shown && shared.count_passed();
        if verdict.is_expected || (counted && plan.expect.is_none()) {
            shared.stop(Exit::Done);
        } else if counted {
            shared.stop(Exit::Expectation);
        }
    }

    fn show_control(&self, arrow: &str, name: &str, payload: &[u8]) {
        if self.shared.plan.show_ping_pong {
            let mut line = format!("{arrow} {name} ").into_bytes();
            render::escape_for_terminal(&mut line, payload);
            self.shared.line_of(&self.info.id, String::from_utf8_lossy(&line).trim_end());
        }
    }
}

impl Drop for ClientPeer {
    fn drop(&mut self) {
        self.forget_judged();
    }
}

impl Peer for ClientPeer {
    fn on_incoming(&mut self, incoming: Incoming, replies: &mut Replies) {
        match incoming {
            Incoming::Message(message) => {
                self.shared.clock.pass_begins();
                self.info.got(&message);
                self.info.throttle.pass();
                self.on_message(message, replies);
            }
            Incoming::Ping(payload) => {
                self.show_control("<", "ping", &payload);
                self.shared.event(&self.info.id, Some(Direction::In), EventBody::Ping(payload));
            }
            Incoming::Pong(payload) => {
                self.show_control("<", "pong", &payload);
                self.answer_ping(&payload);
                let tell = if std::mem::take(&mut self.keeps_alive) { Shared::unrecorded } else { Shared::event };
                tell(&self.shared, &self.info.id, Some(Direction::In), EventBody::Pong(payload));
            }
            Incoming::Close(_) => {}
        }
    }

    fn poll_done(&mut self, cx: &mut Context<'_>, replies: &mut Replies) -> Poll<()> {
        if let Some(judged) = &self.judged {
            let verdict = std::task::ready!(judged.task.poll(cx));
            self.is_cut_short |= judged.task.is_cut_short();
            if let Some(Judged { subject, .. }) = self.judged.take() {
                self.shared.folds.set(false);
                self.shared.changed.set(true);
                let failed = |error| Verdict { print_error: Some(format!("jq: {error}")), ..Verdict::default() };
                self.take(subject, verdict.unwrap_or_else(failed), replies);
            }
        }
        // Code that is done with it has all sessions looked at again.
        if self.shared.folds.get() { Poll::Pending } else { Poll::Ready(()) }
    }

    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Outgoing> {
        if self.closing {
            return Poll::Pending;
        }
        if self.shared.abort.get() {
            return Poll::Ready(Outgoing::Abort);
        }
        if self.shared.stopping().is_some() {
            self.closing = true;
            return Poll::Ready(Outgoing::Close(CloseReason::new(1000, "")));
        }
        if let Some(message) = self.poll_own(cx) {
            return Poll::Ready(Outgoing::Message(message));
        }
        if self.opening.is_done() {
            let next = self.inbox.borrow_mut().pop();
            if let Some(outgoing) = next {
                if matches!(outgoing, Outgoing::Close(_)) {
                    self.closing = true;
                }
                self.timer = None;
                // Room in the inbox: more input may be read.
                self.shared.changed.set(true);
                return Poll::Ready(outgoing);
            }
        }
        if self.within.as_mut().is_some_and(|within| within.as_mut().poll(cx).is_ready())
            && self.shared.plan.expect.is_some()
        {
            self.shared.stop(Exit::Expectation);
            return self.poll_outgoing(cx);
        }
        if self.poll_finished(cx).is_ready() {
            self.closing = true;
            if self.shared.expects_in_vain() {
                self.shared.stop(Exit::Expectation);
            }
            return Poll::Ready(Outgoing::Close(CloseReason::new(1000, "")));
        }
        Poll::Pending
    }

    fn on_partial(&mut self) {
        self.active = true;
    }

    fn poll_urgent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.shared.abort.get() {
            return Poll::Ready(());
        }
        if self.closing || self.shared.stopping().is_none() {
            return Poll::Pending;
        }
        let deadline = Instant::now() + self.shared.plan.close_timeout;
        self.give_up.get_or_insert_with(|| Box::pin(sleep_until(deadline))).as_mut().poll(cx)
    }

    fn poll_can_receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // The answer to our close frame is awaited even when reading is paused.
        if !self.closing {
            std::task::ready!(self.info.throttle.poll(cx));
        }
        std::task::ready!(self.shared.poll_record_room(cx));
        self.shared.output.borrow_mut().poll_room(cx)
    }

    fn on_sent(&mut self, outgoing: &Outgoing) {
        let body = match outgoing {
            Outgoing::Message(message) => {
                self.shared.clock.pass_begins();
                self.info.gave(message);
                self.active |= !std::mem::take(&mut self.beats);
                return self.shared.sent(&self.info.id, message);
            }
            Outgoing::Ping(payload) => {
                if self.shared.plan.interactive {
                    self.asked = Some((payload.clone(), Instant::now()));
                }
                self.show_control(">", "ping", payload);
                EventBody::Ping(payload.clone())
            }
            Outgoing::Pong(payload) => {
                self.show_control(">", "pong", payload);
                EventBody::Pong(payload.clone())
            }
            Outgoing::Close(close) => events::closing(close),
            Outgoing::Abort => return,
        };
        self.active = true;
        self.shared.event(&self.info.id, Some(Direction::Out), body);
    }

    fn on_pinged(&mut self, payload: &[u8]) {
        self.show_control(">", "ping", payload);
        let body = EventBody::Ping(Bytes::copy_from_slice(payload));
        self.shared.unrecorded(&self.info.id, Some(Direction::Out), body);
    }

    fn on_replied(&mut self, message: &Message) {
        self.info.gave(message);
        self.replies_due = self.replies_due.saturating_sub(1);
        self.shared.sent(&self.info.id, message);
    }

    fn on_pass_end(&mut self) {
        self.shared.clock.pass_ends();
        self.note_activity();
        self.shared.output.borrow_mut().flush();
    }

    fn on_round_trip(&mut self, time: Duration) {
        self.keeps_alive = true;
        self.info.round_trip.set(Some(time));
        self.shared.changed.set(true);
        if self.shared.plan.show_ping_pong {
            let told = format!("round trip {:.3} ms", time.as_secs_f64() * 1e3);
            self.shared.line_of(&self.info.id, &told);
        }
    }
}
