//! The way out to a sink that answers later: many messages under way, each settled by its own answer.
//!
//! Leaves what is said on the wire to the sink. Invariants: messages are handed over in order, and after a failure none
//! overtakes another, because nothing new goes out before all that failed was handed over again; a message is settled
//! once, by its answer or as a dead letter; what was under way at an abort goes back, unsettled.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll};

use tokio::time::sleep;

use crate::broker::not_reached;
use crate::message::counted::counted;
use crate::observe::counters::DropReason;
use crate::queue::end::{End, EndError, EndIo, LocalFuture, Problem};
use crate::queue::envelope::Envelope;
use crate::queue::lane::Lane;
use crate::queue::stop::Step;
use crate::queue::window::{Answer, WindowSink};
use crate::session::reconnect::{Attempt, Cause, Decision, ReconnectPolicy, ReconnectSettings};

/// Messages handed over before others may run.
const TURN: usize = 512;

/// How much may be under way.
#[derive(Debug, Clone)]
pub(crate) struct WindowSettings {
    pub messages: usize,
    /// Payload bytes.
    pub bytes: usize,
    /// Whether and when it is tried again.
    pub reconnect: ReconnectSettings,
}

/// A sink that answers later, behind a lane.
pub(crate) struct Windowed<S> {
    pub sink: S,
    /// How much may be under way.
    pub settings: WindowSettings,
}

impl<S: WindowSink + 'static> End for Windowed<S> {
    fn run(self: Box<Self>, io: EndIo) -> LocalFuture<'static, Result<(), EndError>> {
        Box::pin(async move {
            let Some(lane) = io.lane.clone() else { return Ok(()) };
            let Self { mut sink, settings } = *self;
            let mut way = Way::default();
            let work = carry(&mut sink, &settings, &lane, &io, &mut way);
            let result = io.stop.unless(Step::Aborting, work).await.unwrap_or(Ok(()));
            // What is under way at an abort may have been taken; it stays unsettled.
            lane.requeue(way.take_back().map(|(_, envelope)| envelope));
            result
        })
    }
}

/// What has been taken from the lane and has no outcome.
#[derive(Default)]
struct Way {
    /// Handed over, in the order of their numbers; `None` has been answered.
    out: VecDeque<(u64, Option<Envelope>)>,
    unanswered: usize,
    bytes: usize,
    /// To be handed over before anything new, in the order of their numbers.
    again: VecDeque<(u64, Envelope)>,
    last: u64,
}

impl Way {
    fn handed(&mut self, number: u64, envelope: Envelope) {
        self.unanswered += 1;
        self.bytes += envelope.message.len();
        self.out.push_back((number, Some(envelope)));
    }

    fn answered(&mut self, number: u64) -> Option<Envelope> {
        let place = match self.out.front() {
            Some((front, _)) if *front == number => 0,
            _ => self.out.binary_search_by_key(&number, |(known, _)| *known).ok()?,
        };
        let envelope = self.out[place].1.take()?;
        self.unanswered -= 1;
        self.bytes -= envelope.message.len();
        while self.out.front().is_some_and(|(_, envelope)| envelope.is_none()) {
            self.out.pop_front();
        }
        Some(envelope)
    }

    /// The first that has not been answered, if its number is not a higher.
    fn answered_up_to(&mut self, last: u64) -> Option<Envelope> {
        while self.out.front().is_some_and(|(number, _)| *number <= last) {
            if let Some((_, Some(envelope))) = self.out.pop_front() {
                self.unanswered -= 1;
                self.bytes -= envelope.message.len();
                return Some(envelope);
            }
        }
        None
    }

    /// Everything that was handed over and not answered is to be handed over again.
    fn lost(&mut self) {
        let mut all: VecDeque<_> = self.take_back().collect();
        std::mem::swap(&mut self.again, &mut all);
    }

    /// Takes all of it out, in order.
    fn take_back(&mut self) -> impl DoubleEndedIterator<Item = (u64, Envelope)> + use<> {
        (self.unanswered, self.bytes) = (0, 0);
        let mut all: Vec<_> = std::mem::take(&mut self.out)
            .into_iter()
            .filter_map(|(number, envelope)| Some((number, envelope?)))
            .chain(std::mem::take(&mut self.again))
            .collect();
        all.sort_by_key(|(number, _)| *number);
        all.into_iter()
    }

    fn is_empty(&self) -> bool {
        self.unanswered == 0 && self.again.is_empty()
    }
}

/// Why messages are not handed over any more for the moment.
enum Halt {
    /// All are delivered that will ever be.
    Ended,
    /// The link is gone.
    Lost(Problem),
    /// Some failed; all others have been answered.
    Failed(Problem),
}

async fn carry<S: WindowSink>(
    sink: &mut S,
    settings: &WindowSettings,
    lane: &Lane,
    io: &EndIo,
    way: &mut Way,
) -> Result<(), EndError> {
    let mut policy = ReconnectPolicy::new(settings.reconnect.clone());
    let mut is_open = false;
    loop {
        let problem = if is_open {
            match pump(sink, settings, lane, io, way, &mut policy).await {
                Halt::Ended => {
                    sink.finish().await;
                    return Ok(());
                }
                Halt::Lost(problem) => {
                    way.lost();
                    is_open = false;
                    problem
                }
                Halt::Failed(problem) => problem,
            }
        } else {
            match sink.open().await {
                Ok(()) => {
                    if policy.opened() {
                        (io.notice)(format!("{}: reconnected", sink.name()));
                    }
                    is_open = true;
                    continue;
                }
                Err(problem) => problem,
            }
        };
        let (reason, after) = match problem {
            Problem::Broken(error) => return Err(error),
            Problem::Never(reason) => (reason, None),
            Problem::Again { reason, after } => (reason, after),
        };
        if after.is_some_and(|after| after.is_zero()) {
            continue;
        }
        let attempt = Attempt::Failed { cause: Cause::Passing, retry_after: after };
        let retries = match policy.next(attempt, fastrand::f64()) {
            Decision::Retry { attempt, delay } => {
                lane.retried.add(way.again.len() as u64);
                lane.retries();
                let (name, seconds) = (sink.name(), delay.as_secs_f64());
                (io.notice)(format!("{name}: {reason}; retrying in {seconds:.1} s (retry {attempt})"));
                sleep(delay).await;
                continue;
            }
            Decision::End => 0,
            Decision::Spent { retries } => retries,
        };
        if !io.dead_letters.are_kept() {
            return Err(not_reached(sink.name(), retries, &reason)
                .hint("try more often with --reconnect=N; keep undeliverable messages with --dead-letter FILE"));
        }
        policy.succeeded();
        if way.again.is_empty() && !take_waiting(lane, way).await {
            return Ok(());
        }
        sink.give_up();
        (io.notice)(format!("{}: {} given up: {reason}", sink.name(), counted(way.again.len(), "message")));
        for (_, envelope) in way.again.drain(..) {
            io.dead_letters.dead_letter(envelope, DropReason::RetriesSpent, sink.name(), &reason);
        }
    }
}

/// Takes what waits in the lane; false when it has ended and nothing does.
async fn take_waiting(lane: &Lane, way: &mut Way) -> bool {
    let mut next = poll_fn(|cx| lane.poll_next(cx)).await;
    let any = next.is_some();
    while let Some(envelope) = next {
        way.last += 1;
        way.again.push_back((way.last, envelope));
        next = lane.try_next();
    }
    any
}

async fn pump<S: WindowSink>(
    sink: &mut S,
    settings: &WindowSettings,
    lane: &Lane,
    io: &EndIo,
    way: &mut Way,
    policy: &mut ReconnectPolicy,
) -> Halt {
    let mut answers: Vec<Answer> = Vec::new();
    let mut problem = None;
    poll_fn(|cx| {
        loop {
            let lost = sink.poll_answers(cx, &mut answers);
            let any_answer = !answers.is_empty();
            for answer in answers.drain(..) {
                let (number, outcome) = match answer {
                    Answer::One(number, outcome) => (number, outcome),
                    Answer::UpTo(highest) => {
                        policy.succeeded();
                        while let Some(envelope) = way.answered_up_to(highest) {
                            lane.took(envelope);
                        }
                        continue;
                    }
                };
                let Some(envelope) = way.answered(number) else { continue };
                match outcome {
                    Ok(()) => {
                        policy.succeeded();
                        lane.took(envelope);
                    }
                    Err(Problem::Never(reason)) => dead_letter(sink.name(), io, envelope, &reason),
                    Err(other) => {
                        let place = way.again.partition_point(|(known, _)| *known < number);
                        way.again.insert(place, (number, envelope));
                        problem.get_or_insert(other);
                    }
                }
            }
            if let Poll::Ready(problem) = lost {
                return Poll::Ready(Halt::Lost(problem));
            }
            if problem.is_some() {
                if way.unanswered == 0
                    && let Some(problem) = problem.take()
                {
                    return Poll::Ready(Halt::Failed(problem));
                }
                sink.pause(cx);
                return Poll::Pending;
            }
            let (handed, ended) = hand_over(sink, settings, lane, io, way, &mut problem, cx);
            if ended && way.is_empty() {
                return Poll::Ready(Halt::Ended);
            }
            if handed >= TURN {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if handed == 0 && !any_answer && problem.is_none() {
                return Poll::Pending;
            }
            sink.pause(cx);
        }
    })
    .await
}

/// Hands over what there is; how many, and whether nothing more will come.
fn hand_over<S: WindowSink>(
    sink: &mut S,
    settings: &WindowSettings,
    lane: &Lane,
    io: &EndIo,
    way: &mut Way,
    problem: &mut Option<Problem>,
    cx: &mut Context<'_>,
) -> (usize, bool) {
    let mut handed = 0;
    while handed < TURN && way.unanswered < settings.messages && (way.unanswered == 0 || way.bytes < settings.bytes) {
        let (number, envelope) = match way.again.pop_front() {
            Some(next) => next,
            None => match lane.poll_next(cx) {
                Poll::Ready(Some(envelope)) => {
                    way.last += 1;
                    (way.last, envelope)
                }
                Poll::Ready(None) => return (handed, true),
                Poll::Pending => return (handed, false),
            },
        };
        match sink.poll_hand(number, &envelope, cx) {
            Poll::Ready(Ok(())) => {
                way.handed(number, envelope);
                handed += 1;
            }
            Poll::Ready(Err(Problem::Never(reason))) => dead_letter(sink.name(), io, envelope, &reason),
            Poll::Ready(Err(other)) => {
                way.again.push_front((number, envelope));
                *problem = Some(other);
                return (handed, false);
            }
            Poll::Pending => {
                way.again.push_front((number, envelope));
                return (handed, false);
            }
        }
    }
    (handed, false)
}

fn dead_letter(name: &str, io: &EndIo, envelope: Envelope, reason: &str) {
    if !io.dead_letters.parts(&envelope) {
        (io.notice)(format!("{name}: a message is given up: {reason}"));
    }
    io.dead_letters.dead_letter(envelope, DropReason::Rejected, name, reason);
}
