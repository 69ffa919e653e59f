//! The way out of a pipeline: takes batches from a lane, hands them to a sink, tries again, gives up.
//!
//! Invariants: order is kept; a message is settled once the sink took it, or when it never will; what was not taken at an
//! abort goes back, unsettled.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::Poll;

use tokio::time::sleep;

use super::batch::{BatchSettings, fill};
use crate::exit::Exit;
use crate::message::counted::counted;
use crate::observe::counters::DropReason;
use crate::queue::end::{BatchSink, End, EndError, EndIo, LocalFuture, Problem, Report};
use crate::queue::envelope::Envelope;
use crate::queue::lane::Lane;
use crate::queue::stop::Step;
use crate::session::reconnect::{Attempt, Cause, Decision, ReconnectPolicy, ReconnectSettings};

/// A message that is given up.
struct GivenUp {
    envelope: Envelope,
    reason: DropReason,
    error: String,
    /// Any other in its place would be refused as well.
    regardless: bool,
}

/// A sink behind a lane.
pub(crate) struct Dispatch<S> {
    pub sink: S,
    pub batch: BatchSettings,
    policy: ReconnectPolicy,
    has_given_up: bool,
    /// What waits for room among the dead letters.
    given_up: VecDeque<GivenUp>,
}

impl<S> Dispatch<S> {
    /// Puts a sink behind a lane.
    pub(crate) fn new(sink: S, batch: BatchSettings, reconnect: ReconnectSettings) -> Self {
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
            match self.sink.open().await {
                Err(Problem::Broken(error)) => return Err(error),
                Err(Problem::Again { reason, .. } | Problem::Never(reason)) => {
                    let name = self.sink.name();
                    (io.notice)(format!("{name}: {reason}; retrying with the first message"));
                }
                Ok(()) => {}
            }
            while self.collect(&lane, &io, &mut batch).await? {
                self.deliver(&lane, &io, &mut batch).await?;
            }
            self.sink.finish().await
        };
        let result = stop.unless(Step::Aborting, work).await.unwrap_or(Ok(()));
        // What is in a batch at an abort may have been taken; it stays unsettled.
        lane.requeue(batch.into_iter());
        lane.requeue(self.given_up.into_iter().map(|given_up| given_up.envelope));
        result
    }

    /// Fills the batch; false when the lane has ended and nothing is left.
    async fn collect(&mut self, lane: &Lane, io: &EndIo, batch: &mut VecDeque<Envelope>) -> Result<bool, EndError> {
        let first = poll_fn(|cx| match self.sink.poll_gone(cx) {
            Poll::Ready(error) => Poll::Ready(Err(error)),
            Poll::Pending => lane.poll_next(cx).map(Ok),
        });
        let Some(first) = first.await? else { return Ok(false) };
        batch.push_back(first);
        fill(lane, &self.batch, &io.stop, batch).await;
        Ok(true)
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
                Report::Refused(error) => {
                    let refused = |envelope| GivenUp {
                        envelope,
                        reason: DropReason::Rejected,
                        error: error.clone(),
                        regardless: true,
                    };
                    self.given_up.extend(batch.drain(..).map(refused));
                    self.dead_letter(io).await;
                    return Ok(());
                }
            };
            match problem {
                Problem::Broken(error) => return Err(error),
                Problem::Never(error) => {
                    let first = batch.pop_front();
                    self.given_up.extend(first.map(|envelope| GivenUp::rejected(envelope, error)));
                    self.dead_letter(io).await;
                }
                Problem::Again { reason, after } => {
                    let attempt = Attempt::Failed { cause: Cause::Passing, retry_after: after };
                    let retries = match self.policy.next(attempt, fastrand::f64()) {
                        Decision::Retry { delay, .. } => {
                            lane.retried.add(batch.len() as u64);
                            lane.retries();
                            let name = self.sink.name();
                            (io.notice)(format!("{name}: {reason}; retrying in {:.1} s", delay.as_secs_f64()));
                            sleep(delay).await;
                            continue;
                        }
                        Decision::End => 0,
                        Decision::Spent { retries } => retries,
                    };
                    if io.dead_letters.are_kept() {
                        self.policy.succeeded();
                        let spent = |envelope| GivenUp {
                            reason: DropReason::RetriesSpent,
                            ..GivenUp::rejected(envelope, reason.clone())
                        };
                        self.given_up.extend(batch.drain(..).map(spent));
                        self.dead_letter(io).await;
                        return Ok(());
                    }
                    let text = format!("{}: gave up after {}: {reason}", self.sink.name(), counted(retries, "retry"));
                    return Err(EndError::new(Exit::Undelivered, text).hint(
                        "keep undeliverable messages with --dead-letter FILE; try more often with \
                        --reconnect=N",
                    ));
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
                Err(Problem::Never(error)) => self.given_up.push_back(GivenUp::rejected(envelope, error)),
                Err(problem) => {
                    first.get_or_insert(problem);
                    left.push_back(envelope);
                }
            }
        }
        left.append(batch);
        *batch = left;
        self.dead_letter(io).await;
        first
    }

    /// Hands what was given up to the dead letters.
    async fn dead_letter(&mut self, io: &EndIo) {
        while let Some(first) = self.given_up.front() {
            let is_tried_again = !first.regardless && io.dead_letters.parts(&first.envelope);
            if !is_tried_again && !std::mem::replace(&mut self.has_given_up, true) {
                let (name, error) = (self.sink.name(), &first.error);
                (io.notice)(format!("{name}: message rejected: {error}; later ones are only counted"));
            }
            poll_fn(|cx| io.dead_letters.poll_room(cx)).await;
            if let Some(GivenUp { envelope, reason, error, regardless }) = self.given_up.pop_front() {
                let (dead_letters, name) = (&io.dead_letters, self.sink.name());
                if regardless {
                    dead_letters.dead_letter_regardless(envelope, reason, name, &error);
                } else {
                    dead_letters.dead_letter(envelope, reason, name, &error);
                }
            }
        }
    }
}

impl GivenUp {
    fn rejected(envelope: Envelope, error: String) -> Self {
        Self { envelope, reason: DropReason::Rejected, error, regardless: false }
    }
}

/// Settles the first so many as delivered.
fn take(lane: &Lane, batch: &mut VecDeque<Envelope>, count: usize) {
    for envelope in batch.drain(..count.min(batch.len())) {
        lane.took(envelope);
    }
}
