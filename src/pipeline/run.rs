//! The life of a relay: starts its ends, waits, stops in order, reports the outcome.
//!
//! Stop ladder: sources stop reading; what is queued is delivered; at the end of the grace time, or on a second signal, the
//! rest is left. Invariant: the account is given last, after everything has ended.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::gate::Gate;
use super::watch::{Seen, View};
use crate::exit::Exit;
use crate::observe::counters::DropReason;
use crate::queue::end::{End, EndError, EndIo};
use crate::queue::ledger::Ledger;
use crate::queue::spool::Spool;
use crate::queue::stop::{Step, Stop};
use crate::session::limit::{Due, TimeLimit};

/// An end on its way.
pub(crate) struct Running {
    /// The endpoint, without secrets.
    pub name: String,
    pub end: Box<dyn End>,
    pub io: EndIo,
    /// It only takes what nobody else took: it ends after all others.
    pub is_last: bool,
    /// It is where messages come from: where both ends give and take, it stops giving first.
    pub is_from: bool,
    pub view: Rc<View>,
}

/// What a relay is told from outside.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    pub stop: Rc<Stop>,
    was_signalled: Cell<bool>,
    cut_short: Cell<Option<Exit>>,
    /// What is being closed is to be left.
    leave: Stop,
    is_closing: Cell<bool>,
}

impl Orders {
    /// Stops, unless that has begun.
    pub(crate) fn stop_once(&self) {
        self.stop.go(Step::Draining);
    }

    /// The first time stops, where it has not begun to by itself; the second cuts short, which is what the code is for.
    pub(crate) fn stop_or_cut_short(&self, exit: Exit) {
        if !self.was_signalled.replace(true) {
            self.stop_once();
        } else if self.is_closing.get() {
            self.leave.go(Step::Aborting);
        } else {
            self.cut_short.set(self.cut_short.get().or(Some(exit)));
            self.stop.go(Step::Aborting);
        }
    }
}

/// Everything that runs of one pipeline.
pub(crate) struct Relay {
    /// How it is seen: its directions, each with its account, and its ends.
    pub seen: Rc<Seen>,
    pub ends: Vec<Running>,
    pub spool: Option<Rc<Spool>>,
    pub orders: Rc<Orders>,
    pub grace: Duration,
    /// Time limit for the whole run.
    pub timeout: Option<Duration>,
    /// Dropped messages are a failure.
    pub fail_on_drop: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub exit: Exit,
    /// What went wrong, in the order it did.
    pub errors: Vec<EndError>,
}

/// The shared part of what is waited for.
#[derive(Default)]
struct State {
    errors: Vec<EndError>,
    cut_short: Option<Exit>,
    closed_early: bool,
    has_timed_out: bool,
    /// Something has happened that must be looked at.
    changed: bool,
    /// When draining has taken too long.
    grace: Option<Pin<Box<Sleep>>>,
}

impl Relay {
    /// Runs until every source has ended and everything is delivered, or until it is told to stop.
    pub(crate) async fn run(mut self) -> Ended {
        let mut state = State::default();
        let mut running: Vec<_> = std::mem::take(&mut self.ends).into_iter().map(Start::of).collect();
        let mut limit = self.timeout.map(|limit| TimeLimit::new(limit, self.grace));
        poll_fn(|cx| {
            loop {
                self.heed(&mut state, cx);
                self.watch_time(&mut limit, &mut state, cx);
                if self.orders.stop.step() >= Step::Draining {
                    running.iter_mut().for_each(Start::gives_no_more);
                }
                let before = running.len();
                running.retain_mut(|start| match start.future.as_mut().poll(cx) {
                    Poll::Ready(result) => self.goes_on(start, result, &mut state),
                    Poll::Pending => true,
                });
                // After the ends: what they have pushed and settled is carried on at once.
                if let Some(spool) = &self.spool
                    && let Poll::Ready(error) = spool.poll(cx)
                {
                    state.errors.push(error.into());
                    self.drain(&mut state);
                    continue;
                }
                if running.is_empty() {
                    return Poll::Ready(());
                }
                if running.len() == before && !std::mem::take(&mut state.changed) {
                    return Poll::Pending;
                }
                // Dead letters come until the others have ended.
                if running.iter().all(|start| start.is_last) {
                    running.iter().filter_map(|start| start.io.lane.as_ref()).for_each(|lane| lane.end());
                }
            }
        })
        .await;
        self.close_spool(&mut state).await;
        Ended { exit: self.exit(&state), errors: state.errors }
    }

    /// How long draining may take, in every case.
    fn heed(&self, state: &mut State, cx: &mut Context<'_>) {
        if self.orders.stop.poll_reached(Step::Draining, cx).is_ready() {
            self.drain(state);
        }
        state.cut_short = state.cut_short.or(self.orders.cut_short.get());
    }

    fn watch_time(&self, limit: &mut Option<TimeLimit>, state: &mut State, cx: &mut Context<'_>) {
        while let Some(Poll::Ready(due)) = limit.as_mut().map(|limit| limit.poll(cx)) {
            let step = self.orders.stop.step();
            // What ends anyway may end in time.
            if !state.has_timed_out && (due == Due::Cut || step == Step::Running) {
                state.has_timed_out = true;
                state.errors.push(EndError::new(Exit::Timeout, "--timeout ran out"));
            }
            match due {
                Due::Stop => self.drain(state),
                Due::Cut => self.orders.stop.go(Step::Aborting),
            }
        }
        if self.orders.stop.step() < Step::Aborting
            && state.grace.as_mut().is_some_and(|grace| grace.as_mut().poll(cx).is_ready())
        {
            state.cut_short.get_or_insert(Exit::Terminated);
            self.orders.stop.go(Step::Aborting);
        }
    }

    fn drain(&self, state: &mut State) {
        self.orders.stop.go(Step::Draining);
        state.grace.get_or_insert_with(|| Box::pin(sleep(self.grace)));
    }

    /// An end has ended; whether something is left to do for it.
    fn goes_on(&self, start: &mut Start, result: Result<(), EndError>, state: &mut State) -> bool {
        if let Some(ingress) = start.io.ingress.take() {
            ingress.end();
        }
        let is_over = |start: &Start, has_failed| {
            if let Some(lane) = &start.io.lane {
                lane.abandon();
            }
            start.view.over_with(has_failed);
            false
        };
        let Err(error) = result else {
            if start.io.lane.as_ref().is_some_and(|lane| !lane.has_ended()) {
                // It takes nothing any more, so nothing more is to be given.
                state.changed = true;
                self.drain(state);
            }
            return is_over(start, false);
        };
        state.changed = true;
        self.drain(state);
        if error.exit == Exit::Done {
            state.closed_early = true;
        } else {
            state.errors.push(error.clone());
            if !start.is_last && start.io.lane.is_some() && start.io.dead_letters.are_kept() {
                start.future = Box::pin(dead_letter_the_rest(start.io.clone(), start.name.clone(), error));
                return true;
            }
        }
        is_over(start, error.exit != Exit::Done)
    }

    /// What was taken in is stored, what was delivered is removed; another signal cuts that short.
    async fn close_spool(&self, state: &mut State) {
        let Some(spool) = &self.spool else { return };
        let is_known = state.errors.iter().any(|error| error.exit == Exit::Storage);
        self.orders.is_closing.set(true);
        let closed = self.orders.leave.unless(Step::Aborting, spool.close()).await;
        let closed = match closed {
            Some(closed) => closed.map_err(EndError::from),
            None => Err(EndError::new(Exit::Storage, "the spool was left open")),
        };
        if let Err(error) = closed
            && !is_known
        {
            state.errors.push(error);
        }
    }

    /// The worst for the data wins, then the first that happened.
    fn exit(&self, state: &State) -> Exit {
        let any = |test: fn(&Ledger) -> bool| self.seen.flows.iter().any(|flow| test(&flow.ledger));
        if state.errors.iter().any(|error| error.exit == Exit::Storage) {
            return Exit::Storage;
        }
        if state.closed_early {
            return Exit::Done;
        }
        if any(Ledger::is_anything_undelivered) {
            return Exit::Undelivered;
        }
        if self.fail_on_drop && any(|ledger| ledger.dropped.total() > 0) {
            return Exit::Dropped;
        }
        match (state.errors.first(), state.cut_short) {
            (Some(error), _) => error.exit,
            (None, Some(exit)) => exit,
            (None, None) => Exit::Done,
        }
    }
}

/// What waits for an end that has failed goes to the dead letters, also what is still pushed.
async fn dead_letter_the_rest(io: EndIo, name: String, error: EndError) -> Result<(), EndError> {
    let Some(lane) = &io.lane else { return Ok(()) };
    let burying = async {
        // What is taken out goes to the dead letters at once: at an abort the rest is still in the lane.
        while let Some(envelope) = poll_fn(|cx| {
            ready!(io.dead_letters.poll_room(cx));
            lane.poll_next(cx)
        })
        .await
        {
            io.dead_letters.dead_letter(envelope, DropReason::RetriesSpent, &name, &error.text);
        }
    };
    io.stop.unless(Step::Aborting, burying).await;
    Ok(())
}

/// An end that has been started.
struct Start {
    future: Pin<Box<dyn Future<Output = Result<(), EndError>>>>,
    name: String,
    io: EndIo,
    is_last: bool,
    /// It ends its giving before its taking.
    gives_first: bool,
    view: Rc<View>,
}

impl Start {
    fn of(running: Running) -> Self {
        let Running { name, end, io, is_last, is_from, view } = running;
        let gives_first = is_from && io.ingress.is_some() && io.lane.is_some();
        let own = if gives_first { Gate::before(&io) } else { io.clone() };
        view.began();
        Self { future: end.run(own), name, io, is_last, gives_first, view }
    }

    /// Two ends that both give and take would wait for each other's last message: the first gives no more, then the other
    /// one can end, and then this one.
    fn gives_no_more(&mut self) {
        if self.gives_first
            && let Some(ingress) = self.io.ingress.take()
        {
            ingress.end();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_signal_never_cuts_short_whatever_ended_before() {
        let orders = Orders::default();
        orders.stop_once();
        orders.stop_or_cut_short(Exit::Terminated);
        assert_eq!((orders.stop.step(), orders.cut_short.get()), (Step::Draining, None));
        orders.stop_or_cut_short(Exit::Interrupted);
        orders.stop_or_cut_short(Exit::Terminated);
        assert_eq!((orders.stop.step(), orders.cut_short.get()), (Step::Aborting, Some(Exit::Interrupted)));
        let closing = Orders::default();
        closing.is_closing.set(true);
        closing.stop_or_cut_short(Exit::Terminated);
        assert_eq!(closing.leave.step(), Step::Running);
        closing.stop_or_cut_short(Exit::Terminated);
        assert_eq!(closing.leave.step(), Step::Aborting);
    }
}
