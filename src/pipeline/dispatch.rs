//! The way out of a pipeline: takes batches from a lane, hands them to a sink, tries again, gives up.
//!
//! Invariants: order is kept; a message is settled once the sink took it, or when it never will; what was not taken at an
//! abort goes back, unsettled.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::exit::Exit;
use crate::message::counted::counted;
use crate::observe::counters::DropReason;
use crate::queue::end::{BatchSink, End, EndError, EndIo, LocalFuture, Problem, Report};
use crate::queue::envelope::Envelope;
use crate::queue::lane::Lane;
use crate::queue::stop::Step;
use crate::session::reconnect::{Attempt, Cause, Decision, ReconnectPolicy, ReconnectSettings};

/// How large a batch may be, and how long it may wait to become so.
#[derive(Debug, Clone, Copy)]
pub struct BatchSettings {
    /// Messages.
    pub count: usize,
    /// Payload bytes.
    pub bytes: usize,
    /// Time since its first message.
    pub age: Duration,
}

/// A sink behind a lane.
pub struct Dispatch<S> {
    /// Takes batches.
    pub sink: S,
    /// Their size.
    pub batch: BatchSettings,
    policy: ReconnectPolicy,
    has_given_up: bool,
    /// What waits for room among the dead letters: why, and in words.
    given_up: VecDeque<(Envelope, DropReason, String)>,
}

impl<S> Dispatch<S> {
    /// Puts a sink behind a lane.
    pub fn new(sink: S, batch: BatchSettings, reconnect: ReconnectSettings) -> Self {
        Self { sink, batch, policy: ReconnectPolicy::new(reconnect), has_given_up: false, given_up: VecDeque::new() }
    }
}

impl<S: BatchSink + 'static> End for Dispatch<S> {
    fn run(self: Box<Self>, io: EndIo) -> LocalFuture<'static, Result<(), EndError>> {
        Box::pin(self.dispatch(io))
    }
}

impl<S: BatchSink> Dispatch<S> {
    async fn dispatch(mut self: Box<Self>, io: EndIo) -> Result<(), EndError> {
        let Some(lane) = io.lane.clone() else { return Ok(()) };
        let stop = std::rc::Rc::clone(&io.stop);
        let mut batch = VecDeque::new();
        let work = async {
            while self.collect(&lane, &io, &mut batch).await? {
                self.deliver(&lane, &io, &mut batch).await?;
            }
            self.sink.finish().await
        };
        let result = stop.unless(Step::Aborting, work).await.unwrap_or(Ok(()));
        // What is in a batch at an abort may have been taken; it stays unsettled.
        lane.put_back(batch.into_iter());
        lane.put_back(self.given_up.into_iter().map(|(envelope, ..)| envelope));
        result
    }

    /// Fills the batch; false when the lane has ended and nothing is left.
    async fn collect(&mut self, lane: &Lane, io: &EndIo, batch: &mut VecDeque<Envelope>) -> Result<bool, EndError> {
        let first = poll_fn(|cx| match self.sink.poll_gone(cx) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => lane.poll_next(cx).map(Ok),
        });
        let Some(first) = first.await? else { return Ok(false) };
        let mut bytes = first.message.len();
        batch.push_back(first);
        let limit = Instant::now() + self.batch.age;
        let mut timer = None;
        loop {
            while batch.len() < self.batch.count
                && lane.next_size().is_some_and(|next| bytes + next <= self.batch.bytes)
                && let Some(envelope) = lane.try_next()
            {
                bytes += envelope.message.len();
                batch.push_back(envelope);
            }
            let is_full = batch.len() >= self.batch.count || lane.next_size().is_some();
            // Nobody waits for company at the end.
            if is_full || self.batch.age.is_zero() || lane.has_ended() || io.stop.step() > Step::Running {
                return Ok(true);
            }
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(limit)));
            let more = poll_fn(|cx| {
                if timer.as_mut().poll(cx).is_ready() || io.stop.poll_reached(Step::Draining, cx).is_ready() {
                    return Poll::Ready(false);
                }
                match lane.poll_next(cx) {
                    Poll::Ready(Some(envelope)) => {
                        bytes += envelope.message.len();
                        batch.push_back(envelope);
                        Poll::Ready(true)
                    }
                    Poll::Ready(None) => Poll::Ready(false),
                    Poll::Pending => Poll::Pending,
                }
            })
            .await;
            if !more {
                return Ok(true);
            }
        }
    }

    /// Delivers until the batch is empty.
    async fn deliver(&mut self, lane: &Lane, io: &EndIo, batch: &mut VecDeque<Envelope>) -> Result<(), EndError> {
        while !batch.is_empty() {
            let report = self.sink.deliver(batch.make_contiguous()).await;
            let problem = match report {
                Report::Taken => {
                    self.policy.succeeded();
                    take(lane, batch, usize::MAX);
                    return Ok(());
                }
                Report::Partly(taken, problem) => {
                    if taken > 0 {
                        self.policy.succeeded();
                    }
                    take(lane, batch, taken);
                    problem
                }
                Report::Each(fates) => match self.sort(lane, io, batch, fates).await {
                    Some(problem) => problem,
                    None => continue,
                },
            };
            match problem {
                Problem::Broken(error) => return Err(error),
                Problem::Never(reason) => {
                    let first = batch.pop_front();
                    self.given_up.extend(first.map(|envelope| (envelope, DropReason::Rejected, reason)));
                    self.bury(io).await;
                }
                Problem::Again { reason, after } => {
                    let attempt = Attempt::Failed { cause: Cause::Passing, retry_after: after };
                    let retries = match self.policy.next(attempt, fastrand::f64()) {
                        Decision::Retry { delay, .. } => {
                            lane.retried.add(batch.len() as u64);
                            lane.retries();
                            let name = self.sink.name();
                            (io.notice)(format!("{name}: {reason}; again in {:.1} s", delay.as_secs_f64()));
                            sleep(delay).await;
                            continue;
                        }
                        Decision::End => 0,
                        Decision::Spent { retries } => retries,
                    };
                    if io.dead_letters.are_kept() {
                        self.policy.succeeded();
                        let spent = |envelope| (envelope, DropReason::RetriesSpent, reason.clone());
                        self.given_up.extend(batch.drain(..).map(spent));
                        self.bury(io).await;
                        return Ok(());
                    }
                    let text = format!("{}: gave up after {}: {reason}", self.sink.name(), counted(retries, "retry"));
                    return Err(EndError::new(Exit::Undelivered, text)
                        .hint("--dead-letter FILE keeps what cannot be delivered, --reconnect=N tries more often"));
                }
            }
        }
        Ok(())
    }

    /// Settles what has its outcome; what may be tried again stays, in order, with the first reason why.
    async fn sort(
        &mut self,
        lane: &Lane,
        io: &EndIo,
        batch: &mut VecDeque<Envelope>,
        fates: Vec<Result<(), Problem>>,
    ) -> Option<Problem> {
        let mut first = None;
        let mut left = VecDeque::new();
        for fate in fates {
            let Some(envelope) = batch.pop_front() else { break };
            match fate {
                Ok(()) => {
                    self.policy.succeeded();
                    lane.took(envelope);
                }
                Err(Problem::Never(reason)) => self.given_up.push_back((envelope, DropReason::Rejected, reason)),
                Err(problem) => {
                    first.get_or_insert(problem);
                    left.push_back(envelope);
                }
            }
        }
        left.append(batch);
        *batch = left;
        self.bury(io).await;
        first
    }

    /// Hands what was given up to the dead letters.
    async fn bury(&mut self, io: &EndIo) {
        while let Some((_, _, error)) = self.given_up.front() {
            if !std::mem::replace(&mut self.has_given_up, true) {
                let name = self.sink.name();
                (io.notice)(format!("{name}: a message is given up: {error}; later ones are counted only"));
            }
            poll_fn(|cx| io.dead_letters.poll_room(cx)).await;
            if let Some((envelope, reason, error)) = self.given_up.pop_front() {
                io.dead_letters.bury(envelope, reason, self.sink.name(), &error);
            }
        }
    }
}

/// Settles the first so many as delivered.
fn take(lane: &Lane, batch: &mut VecDeque<Envelope>, count: usize) {
    for envelope in batch.drain(..count.min(batch.len())) {
        lane.took(envelope);
    }
}
