//! Drives one connection: reads, answers, sends, pings and closes, in one task.
//!
//! Takes whatever is ready in both directions and flushes once per pass. What messages mean is up
//! to the [`Peer`]; when to ping and give up is decided by [`Keepalive`].
//! Invariants: replies wait in order before anything new is read, so a peer that does not read its
//! answers is not read from either; while a message is worked on, the connection is read from, pings are answered and
//! messages are held, in order and up to a bound; a closing handshake ends within the close timeout, which begins anew
//! while the peer still takes what was to be sent before it; a client leaves hanging up to the server for as long
//! (RFC 6455 section 7.1.1).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::time::Sleep;

use super::held::{Held, Next};
use super::keepalive::{Due, Keepalive, KeepaliveSettings};
use super::peer::{Outgoing, Peer, Replies};
use crate::message::Message;
use crate::message::clock;
use crate::net::connection::{CloseReason, Connection, ConnectionError, Incoming};

/// Messages moved in one pass before other tasks get their turn.
const PASS: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The closing handshake is complete; `by_us` when our Close came first.
    Closed { close: CloseReason, by_us: bool },
    /// Our Close was not answered within the close timeout.
    CloseTimeout,
    /// We ended it without a word.
    Aborted,
    /// No byte moved in either direction within the ping timeout.
    Unresponsive,
    /// No message for the idle timeout.
    Idle,
    /// The connection failed; the peer was told with a Close where there is a code for it.
    Failed(ConnectionError),
}

/// Limits of one session in time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DriverSettings {
    /// Pings and idle time.
    pub keepalive: KeepaliveSettings,
    /// How long to wait for the peer's close frame after ours.
    pub close_timeout: Duration,
    /// Most payload bytes in a frame we send, when the user wants fragments.
    pub fragment: Option<usize>,
}

/// One connection on its way.
pub(crate) struct Driver<'a, P> {
    connection: &'a mut Connection,
    peer: &'a mut P,
    settings: DriverSettings,
    keepalive: Keepalive,
    timer: Option<Pin<Box<Sleep>>>,
    close_deadline: Option<Instant>,
    replies: Replies,
    held: Held,
    /// How the connection has ended before all that came on it was worked on.
    cut: Option<Box<End>>,
    closing: Option<Instant>,
    received_close: Option<CloseReason>,
    /// Bytes in and out at the last look, and those of messages.
    moved: (u64, u64, u64),
    /// The kernel had no room for all of it.
    is_blocked: bool,
    /// A message has come whole since the last look.
    has_message: bool,
}

impl<'a, P: Peer> Driver<'a, P> {
    /// Takes over an open connection.
    pub(crate) fn new(connection: &'a mut Connection, peer: &'a mut P, settings: DriverSettings) -> Self {
        let keepalive = Keepalive::new(settings.keepalive, clock::now());
        Self {
            connection,
            peer,
            settings,
            keepalive,
            timer: None,
            close_deadline: None,
            replies: Replies::new(),
            held: Held::default(),
            cut: None,
            closing: None,
            received_close: None,
            moved: (0, 0, 0),
            is_blocked: false,
            has_message: false,
        }
    }

    /// Runs until the connection has ended, however that is.
    #[allow(clippy::manual_async_fn)] // That would keep the driver twice.
    pub(crate) fn run(mut self) -> impl Future<Output = End> {
        async move {
            let end = std::future::poll_fn(|cx| self.poll(cx)).await;
            self.peer.on_pass_end();
            match &end {
                // Boxed: its buffer would make every session larger that never fails.
                End::Failed(error) => Box::pin(self.connection.fail(error, self.settings.close_timeout)).await,
                End::Idle => {
                    let close = CloseReason::new(1001, "idle");
                    let limit = self.settings.close_timeout;
                    let _ = tokio::time::timeout(limit, Box::pin(self.say_goodbye(&close))).await;
                }
                _ => {}
            }
            end
        }
    }

    async fn say_goodbye(&mut self, close: &CloseReason) -> Result<(), ConnectionError> {
        self.connection.start_close(close);
        std::future::poll_fn(|cx| self.connection.poll_flush(cx)).await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        if self.cut.is_some() {
            return self.finish_held(cx);
        }
        match self.pass(cx) {
            Ok(Some(End::Unresponsive)) => self.cut_off(End::Unresponsive, cx),
            Ok(Some(end)) => Poll::Ready(end),
            Ok(None) => Poll::Pending,
            // The peer's Close came first: what fails or is said after it is of no interest.
            Err(_) if self.received_close.is_some() => Poll::Ready(self.closed()),
            Err(error) => self.cut_off(End::Failed(error), cx),
        }
    }

    fn cut_off(&mut self, end: End, cx: &mut Context<'_>) -> Poll<End> {
        self.cut = Some(Box::new(end));
        self.finish_held(cx)
    }

    /// What came before the connection was lost is worked on to its end; nothing can be answered any more.
    fn finish_held(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let end = loop {
            if self.peer.poll_urgent(cx).is_ready() {
                break Poll::Ready(End::Aborted);
            }
            let is_busy = self.peer.poll_done(cx, &mut self.replies).is_pending();
            if is_busy || self.held.has_message() && self.peer.poll_can_receive(cx).is_pending() {
                break Poll::Pending;
            }
            match self.held.next() {
                Some(Next::Message(message)) => {
                    self.peer.on_incoming(Incoming::Message(message), &mut self.replies);
                    self.replies.clear();
                }
                Some(Next::End(Ok(Some(Incoming::Close(close))))) => {
                    self.peer.on_incoming(Incoming::Close(close.clone()), &mut self.replies);
                    self.received_close = Some(close);
                    break Poll::Ready(self.closed());
                }
                Some(Next::End(Err(error))) => break Poll::Ready(End::Failed(error)),
                Some(Next::End(Ok(_))) => break Poll::Ready(self.closed()),
                None => break Poll::Ready(self.cut.take().map_or_else(|| self.closed(), |end| *end)),
            }
        };
        self.peer.on_pass_end();
        end
    }

    fn closed(&mut self) -> End {
        let by_us = self.closing.is_some();
        End::Closed { close: self.received_close.take().unwrap_or_default(), by_us }
    }

    fn pass(&mut self, cx: &mut Context<'_>) -> Result<Option<End>, ConnectionError> {
        let started = clock::now();
        let is_ending = self.closing.is_some() || self.received_close.is_some();
        if !is_ending && self.peer.poll_may_run(cx).is_pending() {
            // What the peer says meanwhile lies unread.
            self.keepalive.on_paused(started);
            return Ok(None);
        }
        // Each way has its own: a flood in one does not keep the other waiting.
        let (mut sending, mut receiving) = (PASS, PASS);
        let mut is_first = true;
        loop {
            let sent = self.send_some(cx, started, &mut sending)?;
            if let Some(end) = sent.end {
                return Ok(Some(end));
            }
            if !sent.progress && !is_first {
                break;
            }
            is_first = false;
            let received = self.receive_some(cx, started, &mut receiving, &mut sending)?;
            if let Some(end) = received.end {
                return Ok(Some(end));
            }
            if sending == 0 || receiving == 0 {
                cx.waker().wake_by_ref();
                break;
            }
            if !received.progress {
                break;
            }
        }
        self.peer.on_pass_end();
        let flushed = self.connection.poll_flush(cx)?.is_ready();
        self.note_bytes(started);
        self.is_blocked = !flushed;
        if flushed {
            self.peer.on_flushed();
        }
        Ok(self.check_time(cx, started))
    }

    /// Takes note of what the peer has moved since the last look.
    fn note_bytes(&mut self, now: Instant) {
        let (came, went) = self.connection.wire_bytes();
        let of_messages = self.connection.message_bytes();
        let before = std::mem::replace(&mut self.moved, (came, went, of_messages));
        // The kernel takes what it has room for, whether anybody is there or not: only more than that tells.
        let has_progress = self.is_blocked && went > before.1;
        if came > before.0 {
            self.keepalive.on_moved();
        }
        // A message that has come whole speaks for itself.
        let is_whole = std::mem::take(&mut self.has_message);
        if of_messages > before.2 && !is_whole {
            self.keepalive.on_message(now);
            self.peer.on_partial();
        }
        if has_progress {
            self.keepalive.on_moved();
            self.keepalive.on_message(now);
            self.peer.on_progress();
            self.closing = self.closing.map(|_| now + self.settings.close_timeout);
        }
    }

    /// Sends replies as far as there is room for them.
    fn send_replies(&mut self, cx: &mut Context<'_>, now: Instant, budget: &mut usize) -> Result<(), ConnectionError> {
        while *budget > 0 && !self.replies.is_empty() && self.connection.poll_ready(cx)?.is_ready() {
            *budget -= 1;
            if let Some(reply) = self.replies.pop_front() {
                self.send(reply, true)?;
                self.keepalive.on_message(now);
            }
        }
        Ok(())
    }

    fn send_some(&mut self, cx: &mut Context<'_>, now: Instant, budget: &mut usize) -> Result<Step, ConnectionError> {
        let mut progress = false;
        while self.closing.is_none() && self.received_close.is_none() && *budget > 0 {
            if self.connection.poll_ready(cx)?.is_pending() {
                // A full socket must not keep the user from leaving.
                if self.peer.poll_urgent(cx).is_ready() {
                    return Ok(Step::end(End::Aborted));
                }
                break;
            }
            if !self.replies.is_empty() {
                self.send_replies(cx, now, budget)?;
                progress = true;
                continue;
            }
            *budget -= 1;
            let Poll::Ready(outgoing) = self.peer.poll_outgoing(cx) else { break };
            progress = true;
            let outgoing = match outgoing {
                Outgoing::Message(message) => {
                    self.send(message, false)?;
                    self.keepalive.on_message(now);
                    continue;
                }
                outgoing => outgoing,
            };
            self.peer.on_sent(&outgoing);
            match outgoing {
                Outgoing::Message(_) => {}
                Outgoing::Ping(payload) => self.connection.start_ping(payload)?,
                Outgoing::Pong(payload) => self.connection.start_pong(payload)?,
                Outgoing::Close(close) => {
                    self.connection.start_close(&close);
                    self.closing = Some(now + self.settings.close_timeout);
                }
                Outgoing::Abort => return Ok(Step::end(End::Aborted)),
            }
        }
        if self.closing.is_some() && self.peer.poll_urgent(cx).is_ready() {
            // After the peer's close frame there is no need to wait for it to hang up.
            return Ok(Step::end(if self.received_close.is_some() { self.closed() } else { End::Aborted }));
        }
        Ok(Step { progress, end: None })
    }

    /// Hands a message to the connection, and tells the peer, of a compressed one with what it takes on the wire.
    fn send(&mut self, message: Message, is_reply: bool) -> Result<(), ConnectionError> {
        let tell = |peer: &mut P, outgoing: &Outgoing| match outgoing {
            Outgoing::Message(reply) if is_reply => peer.on_replied(reply),
            outgoing => peer.on_sent(outgoing),
        };
        if self.connection.compresses() {
            let told = message.clone();
            let sent = self.connection.start_send_limited(message, self.settings.fragment);
            tell(self.peer, &Outgoing::Message(told.with_wire(self.connection.last_wire())));
            return sent;
        }
        // What it took on its way here is not what it takes from here.
        let outgoing = Outgoing::Message(message.with_wire(None));
        tell(self.peer, &outgoing);
        match outgoing {
            Outgoing::Message(message) => self.connection.start_send_limited(message, self.settings.fragment),
            _ => Ok(()),
        }
    }

    fn receive_some(
        &mut self,
        cx: &mut Context<'_>,
        now: Instant,
        budget: &mut usize,
        sending: &mut usize,
    ) -> Result<Step, ConnectionError> {
        let mut progress = false;
        while *budget > 0 && self.replies.is_empty() {
            // After a Close there is nothing to take in but the end of the stream.
            if self.received_close.is_none() && self.peer.poll_can_receive(cx).is_pending() {
                self.keepalive.on_paused(now);
                break;
            }
            let is_busy = self.peer.poll_done(cx, &mut self.replies).is_pending();
            if is_busy {
                // It is our side that is idle.
                self.keepalive.on_message(now);
            }
            self.drop_replies();
            self.send_replies(cx, now, sending)?;
            if !self.replies.is_empty() {
                progress = true;
                break;
            }
            let incoming = match if is_busy { None } else { self.held.next() } {
                Some(Next::Message(message)) => Some(Incoming::Message(message)),
                Some(Next::End(end)) => end?,
                None if self.held.is_full() => {
                    self.keepalive.on_paused(now);
                    break;
                }
                None => {
                    // What is still to be replied goes out before our own Close.
                    self.connection.delay_close(is_busy);
                    let Poll::Ready(read) = self.connection.poll_receive(cx) else { break };
                    *budget -= 1;
                    progress = true;
                    let read = if is_busy { self.hold(read, now).map(Some) } else { Some(read?) };
                    let Some(incoming) = read else { continue };
                    incoming
                }
            };
            progress = true;
            let Some(incoming) = incoming else { return Ok(Step::end(self.closed())) };
            self.take(incoming, now);
            self.send_replies(cx, now, sending)?;
        }
        Ok(Step { progress, end: None })
    }

    /// Holds what was read while the peer is busy; returns what need not wait.
    fn hold(&mut self, read: Result<Option<Incoming>, ConnectionError>, now: Instant) -> Option<Incoming> {
        if matches!(read, Ok(Some(Incoming::Message(_)))) {
            self.has_message = true;
            self.keepalive.on_message(now);
        }
        self.held.keep(read)
    }

    /// Hands over what has come.
    fn take(&mut self, incoming: Incoming, now: Instant) {
        match &incoming {
            Incoming::Message(_) => {
                self.has_message = true;
                self.keepalive.on_message(now);
            }
            Incoming::Pong(payload) => {
                if let Some(time) = self.keepalive.on_pong(payload, clock::now()) {
                    self.peer.on_round_trip(time);
                }
            }
            Incoming::Ping(_) => {}
            Incoming::Close(close) => {
                self.connection.start_close(close);
                self.received_close = Some(close.clone());
            }
        }
        self.peer.on_incoming(incoming, &mut self.replies);
        self.drop_replies();
        if self.received_close.is_some() {
            // The echo of a Close goes out with the next reads; a server then hangs up.
            self.close_deadline = None;
        }
    }

    /// Replies that cannot be sent any more must not keep the peer's Close from being read.
    fn drop_replies(&mut self) {
        if self.closing.is_some() || self.received_close.is_some() {
            self.replies.clear();
        }
    }

    fn check_time(&mut self, cx: &mut Context<'_>, started: Instant) -> Option<End> {
        loop {
            let now = clock::now().max(started);
            if let Some(deadline) = self.closing {
                if now >= deadline {
                    return Some(if self.received_close.is_some() { self.closed() } else { End::CloseTimeout });
                }
            } else if self.received_close.is_some() {
                self.closing_by_peer(now);
                if self.close_deadline.is_some_and(|deadline| now >= deadline) {
                    return Some(self.closed());
                }
            } else {
                match self.keepalive.poll(now) {
                    Due::Nothing => {}
                    Due::Ping(payload) => {
                        self.peer.on_pinged(&payload);
                        let sent = self.connection.start_ping(Bytes::copy_from_slice(&payload));
                        if let Err(error) = sent {
                            return Some(End::Failed(error));
                        }
                        if let Poll::Ready(Err(error)) = self.connection.poll_flush(cx) {
                            return Some(End::Failed(error));
                        }
                    }
                    Due::Unresponsive => return Some(End::Unresponsive),
                    Due::Idle => return Some(End::Idle),
                }
            }
            let deadline = match (self.closing, self.received_close.is_some()) {
                (Some(deadline), _) => Some(deadline),
                (None, true) => self.close_deadline,
                (None, false) => self.keepalive.deadline(),
            };
            let deadline = deadline?;
            let at = tokio::time::Instant::from_std(deadline);
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return None;
            }
        }
    }

    /// The peer closed: it has the close timeout to hang up.
    fn closing_by_peer(&mut self, now: Instant) {
        if self.close_deadline.is_none() {
            self.close_deadline = Some(now + self.settings.close_timeout);
        }
    }
}

struct Step {
    progress: bool,
    end: Option<End>,
}

impl Step {
    fn end(end: End) -> Self {
        Self { progress: true, end: Some(end) }
    }
}
