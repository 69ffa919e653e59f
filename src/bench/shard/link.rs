//! One connection of a shard: sends what it is told to, takes what arrives, and knows what is outstanding.
//!
//! Leaves opening it to [`super::open`] and the clock's part of sending to [`super::timeline`].
//! Invariants: a borrow of its state is never held while another link or the timeline is called; what is sent is written
//! in the same pass, or its task is woken to write the rest.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::Shard;
use super::talk::Talk;
use crate::bench::errors;
use crate::net::connection::{CloseReason, Connection, ConnectionError, Incoming};

/// Reads of one connection before others get their turn.
const READS: usize = 16;
/// Bytes that may wait to be written on a connection; beyond it messages are not sent.
const MOST_WAITING: usize = 4 * 1024 * 1024;
/// Messages of a flood that are queued in one pass.
const FLOOD: usize = 64;

#[derive(Debug)]
pub(super) enum End {
    /// The peer closed it, or the closing handshake is complete.
    Closed(CloseReason),
    /// The stream ended or failed.
    Failed(ConnectionError),
    /// We gave it up.
    GivenUp(&'static str),
}

/// One connection, open or not.
pub(super) struct Link {
    /// Its number among all connections of the run.
    pub(super) number: u32,
    /// It is open, or on its way there or away.
    pub(super) lives: Cell<bool>,
    /// It ought to be open, where connections come and go.
    pub(super) wanted: Cell<bool>,
    state: RefCell<State>,
    waker: RefCell<Option<Waker>>,
}

#[derive(Default)]
struct State {
    connection: Option<Connection>,
    talk: Talk,
    close: Option<CloseReason>,
    /// What a write outside the task met.
    failed: Option<ConnectionError>,
    /// Waits in the shard's list to be flushed.
    dirty: bool,
    /// The kernel had no room for all of it.
    is_blocked: bool,
}

impl Link {
    pub(super) fn new(number: u32) -> Rc<Self> {
        Rc::new(Self {
            number,
            lives: Cell::default(),
            wanted: Cell::default(),
            state: RefCell::default(),
            waker: RefCell::default(),
        })
    }

    pub(super) fn opened(&self, connection: Connection, now: u64) {
        let mut state = self.state.borrow_mut();
        *state = State { connection: Some(connection), talk: Talk::opened(now), ..State::default() };
    }

    pub(super) fn is_open(&self) -> bool {
        let state = self.state.borrow();
        state.connection.is_some() && state.talk.closing.is_none() && !state.talk.retiring
    }

    /// Has its task look at it again.
    pub(super) fn wake(&self) {
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Sends a message that was due at `intended`, unless too much is under way. It is written with the next
    /// [`Shard::flush`].
    pub(super) fn send(self: &Rc<Self>, shard: &Shard, intended: u64, now: u64) -> bool {
        let mut state = self.state.borrow_mut();
        let State { connection: Some(connection), talk, dirty, .. } = &mut *state else { return false };
        if connection.waiting() > MOST_WAITING || talk.is_full(shard) {
            return false;
        }
        talk.send(connection, shard, self.number, intended, now);
        if !std::mem::replace(dirty, true) {
            shard.dirty.borrow_mut().push(Rc::clone(self));
        }
        true
    }

    /// Writes what was queued by [`Link::send`].
    pub(super) fn flush(&self, shard: &Shard) {
        let mut state = self.state.borrow_mut();
        state.dirty = false;
        if !state.flush(shard) {
            drop(state);
            self.wake();
        }
    }

    /// What the housekeeping does at intervals: gives up late messages, pings, ends what does not end.
    pub(super) fn look_after(&self, shard: &Shard, now: u64) {
        let mut state = self.state.borrow_mut();
        let State { connection: Some(connection), talk, .. } = &mut *state else { return };
        if talk.look_after(connection, shard, now) {
            drop(state);
            self.wake();
        }
    }

    /// Sends nothing more, and closes when everything is answered.
    pub(super) fn retire(&self) {
        self.state.borrow_mut().talk.retiring = true;
        self.wake();
    }

    pub(super) fn close(&self, now: u64) {
        let mut state = self.state.borrow_mut();
        let State { connection: Some(connection), talk, .. } = &mut *state else { return };
        if talk.closing.is_none() {
            talk.closing = Some(now);
            connection.start_close(&CloseReason::new(1000, ""));
        }
        drop(state);
        self.wake();
    }

    /// Messages without an answer are cut off by the end of the run.
    pub(super) fn censor(&self, shard: &Shard) {
        self.state.borrow_mut().talk.censor(shard);
    }

    /// Reads, answers and writes until nothing is left to do.
    pub(super) fn poll(&self, shard: &Shard, cx: &mut Context<'_>) -> Poll<End> {
        let mut state = self.state.borrow_mut();
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        drop(waker);
        let (poll, now) = state.poll(shard, self.number, cx);
        drop(state);
        // A busy shard finds its due messages here, between two reads, and needs no timer.
        if now >= shard.next_due.get() {
            shard.send_due(now);
        }
        poll
    }

    /// The connection has ended: settles what was under way on it.
    pub(super) fn ended(&self, shard: &Shard, end: &End) {
        let mut state = self.state.borrow_mut();
        if let Some(connection) = state.connection.take() {
            connection.end(shard.resets.get());
        }
        let wanted = state.talk.closing.is_some();
        state.talk.abandon(shard);
        let mut interval = shard.interval.borrow_mut();
        let code = match (end, &state.close) {
            (End::Closed(close), _) | (_, Some(close)) => close.code.unwrap_or(1005),
            _ => 1006,
        };
        *interval.closes.entry(code).or_default() += 1;
        if wanted {
            return;
        }
        interval.connections.closed_early += 1;
        match end {
            End::Closed(close) => {
                interval.errors.count(errors::of_close(close), || format!("closed by the peer: {close}"));
            }
            End::Failed(error) => interval.errors.count(errors::of_connection(error), || error.to_string()),
            End::GivenUp(kind) => {
                interval.errors.count(*kind, || "no pong within the ping timeout".to_owned());
            }
        }
    }
}

impl State {
    /// Writes what waits; false when the task must see to the rest.
    fn flush(&mut self, shard: &Shard) -> bool {
        let Some(connection) = &mut self.connection else { return true };
        let before = connection.waiting();
        let flushed = connection.try_flush();
        let waiting = connection.waiting();
        shard.wrote(before - waiting, waiting);
        self.wrote(shard, before - waiting, waiting);
        self.failed = self.failed.take().or(flushed.err());
        waiting == 0 && self.failed.is_none()
    }

    /// The kernel takes what it has room for, whether anybody is there or not: only more than that shows a live peer.
    fn wrote(&mut self, shard: &Shard, written: usize, waiting: usize) {
        if std::mem::replace(&mut self.is_blocked, waiting > 0) && written > 0 {
            self.talk.moved(shard.now());
        }
    }

    /// The time of the last read goes with the outcome; 0 when there was none.
    fn poll(&mut self, shard: &Shard, number: u32, cx: &mut Context<'_>) -> (Poll<End>, u64) {
        let mut now = 0;
        if let Some(error) = self.failed.take() {
            return (Poll::Ready(End::Failed(error)), now);
        }
        if self.talk.is_fresh() {
            // What came with the upgrade's answer is already here.
            now = shard.now();
            if let Err(error) = self.take(shard, number, None, now) {
                return (Poll::Ready(End::Failed(error)), now);
            }
        }
        self.talk.poll_ids(shard, cx);
        let mut reads = 0;
        while !self.talk.is_behind() {
            let Some(connection) = &mut self.connection else { return (Poll::Pending, now) };
            match connection.poll_read(cx) {
                Poll::Pending => break,
                Poll::Ready(Ok((0, _))) => return (Poll::Ready(self.end_of_stream()), now),
                Poll::Ready(Ok((length, first))) => {
                    now = shard.now();
                    shard.was_read(length, now);
                    if let Err(error) = self.take(shard, number, first, now) {
                        let _ = self.flush(shard);
                        return (Poll::Ready(End::Failed(error)), now);
                    }
                }
                Poll::Ready(Err(error)) => return (Poll::Ready(self.failure(error)), now),
            }
            reads += 1;
            if reads == READS {
                cx.waker().wake_by_ref();
                break;
            }
        }
        if let Some(kind) = self.talk.given_up {
            return (Poll::Ready(End::GivenUp(kind)), now);
        }
        let end = self.write(shard, number, &mut now, cx);
        (end, now)
    }

    /// Takes everything that was read, `first` before the rest.
    fn take(&mut self, shard: &Shard, number: u32, first: Option<Incoming>, now: u64) -> Result<(), ConnectionError> {
        let Self { connection: Some(connection), talk, close, .. } = self else { return Ok(()) };
        talk.moved(now);
        let mut next = first;
        loop {
            let Some(incoming) = next.take().map_or_else(|| connection.next_incoming(), |one| Ok(Some(one)))? else {
                return Ok(());
            };
            if let Some(reason) = talk.receive(incoming, shard, number, now) {
                *close = Some(reason);
            }
        }
    }

    /// Sends what is to be sent now, and writes what waits.
    fn write(&mut self, shard: &Shard, number: u32, now: &mut u64, cx: &mut Context<'_>) -> Poll<End> {
        let Self { connection: Some(connection), talk, .. } = self else { return Poll::Pending };
        if talk.closing.is_none() && talk.is_over(shard) {
            talk.closing = Some(shard.now());
            connection.start_close(&CloseReason::new(1000, ""));
        } else if talk.closing.is_none() && !talk.retiring && shard.is_closed_loop() {
            if *now == 0 {
                *now = shard.now();
            }
            if shard.floods() {
                // Only what the socket takes: a batch when the one before is written.
                let room = if connection.waiting() == 0 { FLOOD } else { 0 };
                for _ in 0..room {
                    if !shard.may_send(*now) {
                        break;
                    }
                    talk.send(connection, shard, number, *now, *now);
                }
            } else {
                while talk.under_way() < shard.depth && shard.may_send(*now) {
                    talk.send(connection, shard, number, *now, *now);
                }
            }
        }
        let before = connection.waiting();
        if before > 0 {
            let flushed = connection.poll_flush(cx);
            let (written, waiting) = (before - connection.waiting(), connection.waiting());
            shard.wrote(written, waiting);
            self.wrote(shard, written, waiting);
            match flushed {
                Poll::Ready(Err(error)) => return Poll::Ready(self.failure(error)),
                Poll::Ready(Ok(())) if shard.floods() && shard.may_send(*now) => cx.waker().wake_by_ref(),
                _ => {}
            }
        }
        Poll::Pending
    }

    fn end_of_stream(&mut self) -> End {
        self.failure(ConnectionError::Lost("the peer ended the connection without a close frame".to_owned()))
    }

    /// After a Close the stream may end in any way.
    fn failure(&mut self, error: ConnectionError) -> End {
        self.close.take().map_or(End::Failed(error), End::Closed)
    }
}
