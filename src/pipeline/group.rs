//! Several pipelines in one process: starts them, heeds signals for all, tends the recording, tells who has ended.
//!
//! Leaves each pipeline to [`Relay`] and what is said about it to the subcommand. Invariants: pipelines share nothing but
//! the thread, what is seen of them, and the signals; when the recording fails, all of them end.

use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_local};

use super::run::{Ended, Orders, Relay};
use super::watch::{Seen, Watch};
use crate::exit::Exit;
use crate::host::{Signals, StopSignal};
use crate::sink::record::RecordError;

/// A pipeline that runs.
struct Member {
    key: u64,
    seen: Rc<Seen>,
    orders: Rc<Orders>,
    task: JoinHandle<Ended>,
}

pub(crate) enum Happened {
    /// A pipeline has ended.
    Ended {
        /// What [`Group::start`] said.
        key: u64,
        seen: Rc<Seen>,
        ended: Ended,
    },
    AllEnded,
}

/// Pipelines that run.
pub(crate) struct Group {
    watch: Rc<Watch>,
    signals: Signals,
    members: Vec<Member>,
    last_key: u64,
    is_stopping: bool,
    failure: Option<RecordError>,
}

impl Group {
    /// Without pipelines so far.
    pub(crate) fn new(watch: Rc<Watch>, signals: Signals) -> Self {
        Self { watch, signals, members: Vec::new(), last_key: 0, is_stopping: false, failure: None }
    }

    /// Starts a pipeline; it is known by this key.
    pub(crate) fn start(&mut self, relay: Relay) -> u64 {
        self.last_key += 1;
        let (seen, orders) = (Rc::clone(&relay.seen), Rc::clone(&relay.orders));
        self.watch.join(&seen);
        let task = spawn_local(relay.run());
        self.members.push(Member { key: self.last_key, seen, orders, task });
        self.last_key
    }

    /// Whether a signal, or the failure of the recording, ends everything.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// How many messages have no outcome yet.
    pub(crate) fn waiting(&self) -> u64 {
        let flows = self.members.iter().flat_map(|member| &member.seen.flows);
        flows.map(|flow| flow.ledger.waiting()).sum()
    }

    pub(crate) fn runs(&self, key: u64) -> bool {
        self.members.iter().any(|member| member.key == key)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// One pipeline stops reading and drains.
    pub(crate) fn drain(&self, key: u64) {
        if let Some(member) = self.members.iter().find(|member| member.key == key) {
            member.orders.stop_once();
        }
    }

    /// All of them stop reading and drain.
    pub(crate) fn drain_all(&mut self) {
        self.is_stopping = true;
        self.members.iter().for_each(|member| member.orders.stop_once());
    }

    /// Ready with the next thing that happens.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Happened> {
        while let Poll::Ready(signal) = self.signals.poll_next(cx) {
            self.is_stopping = true;
            let exit = match signal {
                StopSignal::Interrupt => Exit::Interrupted,
                StopSignal::Terminate => Exit::Terminated,
            };
            self.members.iter().for_each(|member| member.orders.stop_or_cut_short(exit));
        }
        if let Poll::Ready(failure) = self.watch.recording().poll_tend(cx) {
            self.is_stopping = true;
            self.failure = Some(failure);
            self.members.iter().for_each(|member| member.orders.stop_once());
        }
        self.watch.drops().poll_tend(cx);
        if self.members.is_empty() {
            return Poll::Ready(Happened::AllEnded);
        }
        let finished =
            self.members.iter_mut().enumerate().find_map(|(place, member)| match Pin::new(&mut member.task).poll(cx) {
                Poll::Ready(ended) => Some((place, ended)),
                Poll::Pending => None,
            });
        let Some((place, ended)) = finished else { return Poll::Pending };
        let member = self.members.remove(place);
        self.watch.leave(&member.seen);
        match ended {
            Ok(ended) => Poll::Ready(Happened::Ended { key: member.key, seen: member.seen, ended }),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Nobody aborts them.
                Err(_) => self.poll_next(cx),
            },
        }
    }

    /// Writes the rest of the recording, within `limit`.
    ///
    /// # Errors
    /// It has failed, now or earlier.
    pub(crate) async fn finish_recording(&mut self, limit: Duration) -> Result<(), RecordError> {
        self.watch.drops().finish(limit).await;
        let finished = self.watch.recording().finish(limit).await;
        self.failure.take().map_or(finished, Err)
    }
}

/// The worst for the data wins, then the first that happened.
pub(crate) fn worst(exits: impl IntoIterator<Item = Exit>) -> Exit {
    let exits: Vec<Exit> = exits.into_iter().collect();
    let grave = [Exit::Storage, Exit::Undelivered, Exit::Dropped].into_iter().find(|exit| exits.contains(exit));
    grave.or_else(|| exits.into_iter().find(|exit| *exit != Exit::Done)).unwrap_or(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_exit_wins_and_then_the_first() {
        let table = [
            (vec![], Exit::Done),
            (vec![Exit::Done, Exit::Done], Exit::Done),
            (vec![Exit::Done, Exit::Lost, Exit::Usage], Exit::Lost),
            (vec![Exit::Lost, Exit::Dropped], Exit::Dropped),
            (vec![Exit::Dropped, Exit::Undelivered], Exit::Undelivered),
            (vec![Exit::Undelivered, Exit::Storage, Exit::Lost], Exit::Storage),
        ];
        for (exits, expected) in table {
            assert_eq!(worst(exits.clone()), expected, "{exits:?}");
        }
    }
}
