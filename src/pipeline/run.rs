//! The life of a relay: starts its ends, waits, stops in order, gives account.
//!
//! Stop ladder: sources stop reading; what is queued is delivered; at the end of the grace time, or on a second signal, the
//! rest is left. Invariant: the account is given last, after everything has ended.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use super::flow::Flow;
use crate::exit::Exit;
use crate::host::{Signals, StopSignal};
use crate::queue::end::{End, EndError, EndIo, Inlet};
use crate::queue::ledger::Ledger;
use crate::queue::spool::Spool;
use crate::queue::stop::{Step, Stop};

/// An end on its way.
pub struct Running {
    /// The endpoint, without secrets.
    pub name: String,
    /// The end.
    pub end: Box<dyn End>,
    /// What it works with.
    pub io: EndIo,
    /// It only takes what nobody else took: it ends after all others.
    pub is_last: bool,
}

/// Everything that runs.
pub struct Relay {
    /// Directions, each with its account.
    pub flows: Vec<Rc<Flow>>,
    /// All ends.
    pub ends: Vec<Running>,
    /// Where messages are stored.
    pub spool: Option<Rc<Spool>>,
    /// When to end.
    pub stop: Rc<Stop>,
    /// How long draining may take.
    pub grace: Duration,
    /// Longest time for the whole run.
    pub timeout: Option<Duration>,
    /// Dropped messages are a failure.
    pub fail_on_drop: bool,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The code.
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
}

impl Relay {
    /// Runs until every source has ended and everything is delivered, or until it is told to stop.
    pub async fn run(mut self, signals: &mut Signals) -> Ended {
        let state = RefCell::new(State::default());
        let (last, mut running): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.ends).into_iter().map(Start::of).partition(|start| start.is_last);
        self.attend(&mut running, &state, signals, &mut None).await;
        // Dead letters come until the others have ended.
        for start in &last {
            if let Some(lane) = &start.lane {
                lane.end();
            }
        }
        let mut last = last;
        let mut grace = Some(Box::pin(sleep(self.grace)));
        self.attend(&mut last, &state, signals, &mut grace).await;
        self.close_spool(&state, signals).await;
        let state = state.into_inner();
        Ended { exit: self.exit(&state), errors: state.errors }
    }

    /// Waits for all of them, and for signals meanwhile.
    async fn attend(
        &self,
        running: &mut Vec<Start>,
        state: &RefCell<State>,
        signals: &mut Signals,
        grace: &mut Option<Pin<Box<Sleep>>>,
    ) {
        let mut timeout = self.timeout.map(|limit| Box::pin(sleep(limit)));
        std::future::poll_fn(|cx| {
            loop {
                while let Poll::Ready(signal) = signals.poll_next(cx) {
                    let exit = match signal {
                        StopSignal::Interrupt => Exit::Interrupted,
                        StopSignal::Terminate => Exit::Terminated,
                    };
                    if self.stop.step() == Step::Running {
                        self.stop.go(Step::Draining);
                        grace.get_or_insert_with(|| Box::pin(sleep(self.grace)));
                    } else {
                        state.borrow_mut().cut_short.get_or_insert(exit);
                        self.stop.go(Step::Aborting);
                    }
                }
                if timeout.as_mut().is_some_and(|timeout| timeout.as_mut().poll(cx).is_ready()) {
                    timeout = None;
                    let text = "--timeout ran out";
                    state.borrow_mut().errors.push(EndError::new(Exit::Timeout, text));
                    self.stop.go(Step::Draining);
                    grace.get_or_insert_with(|| Box::pin(sleep(self.grace)));
                }
                if self.stop.step() < Step::Aborting
                    && grace.as_mut().is_some_and(|grace| grace.as_mut().poll(cx).is_ready())
                {
                    state.borrow_mut().cut_short.get_or_insert(Exit::Terminated);
                    self.stop.go(Step::Aborting);
                }
                let mut ended = false;
                running.retain_mut(|start| {
                    let Poll::Ready(result) = start.future.as_mut().poll(cx) else { return true };
                    ended = true;
                    if let Some(inlet) = &start.inlet {
                        inlet.end();
                    }
                    if let Some(lane) = &start.lane {
                        lane.abandon();
                    }
                    if let Err(error) = result {
                        let mut state = state.borrow_mut();
                        if error.exit == Exit::Done {
                            state.closed_early = true;
                        } else {
                            state.errors.push(error);
                        }
                        self.stop.go(Step::Draining);
                        grace.get_or_insert_with(|| Box::pin(sleep(self.grace)));
                    }
                    false
                });
                // After the ends: what they have pushed and settled is carried on at once.
                if let Some(spool) = &self.spool
                    && let Poll::Ready(error) = spool.poll(cx)
                {
                    state.borrow_mut().errors.push(error.into());
                    self.stop.go(Step::Draining);
                    grace.get_or_insert_with(|| Box::pin(sleep(self.grace)));
                    continue;
                }
                if running.is_empty() {
                    return Poll::Ready(());
                }
                if !ended {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }

    /// What was taken in is stored, what was delivered is removed; another signal cuts that short.
    async fn close_spool(&self, state: &RefCell<State>, signals: &mut Signals) {
        let Some(spool) = &self.spool else { return };
        let is_known = state.borrow().errors.iter().any(|error| error.exit == Exit::Storage);
        let mut close = std::pin::pin!(spool.close());
        let closed = std::future::poll_fn(|cx| match close.as_mut().poll(cx) {
            Poll::Ready(closed) => Poll::Ready(closed.map_err(EndError::from)),
            Poll::Pending => {
                signals.poll_next(cx).map(|_| Err(EndError::new(Exit::Storage, "the spool was left open")))
            }
        });
        if let Err(error) = closed.await
            && !is_known
        {
            state.borrow_mut().errors.push(error);
        }
    }

    /// The gravest for the data wins, then the first that happened.
    fn exit(&self, state: &State) -> Exit {
        let any = |test: fn(&Ledger) -> bool| self.flows.iter().any(|flow| test(&flow.ledger));
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

/// An end that has been started.
struct Start {
    future: Pin<Box<dyn Future<Output = Result<(), EndError>>>>,
    inlet: Option<Rc<dyn Inlet>>,
    lane: Option<Rc<crate::queue::lane::Lane>>,
    is_last: bool,
}

impl Start {
    fn of(running: Running) -> Self {
        let (inlet, lane) = (running.io.inlet.clone(), running.io.lane.clone());
        Self { future: running.end.run(running.io), inlet, lane, is_last: running.is_last }
    }
}
