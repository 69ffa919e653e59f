//! NATS as the source of a pipeline: a subject, alone or shared in a queue group, or a consumer of a stream.
//!
//! Leaves the connection to `broker/`, and what is asked of a consumer to `pull`. Invariants: a message of a stream is
//! acknowledged once it is settled, never before; what a connection owed when it was lost is acknowledged over the next
//! one; nothing is asked for while there is no room.

mod pull;

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use async_nats::message::OutboundMessage;
use async_nats::{HeaderMap, Message as NatsMessage, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{Sink as _, StreamExt as _};
use tokio::time::{Instant, sleep};

use crate::broker::nats::{Link, NatsSettings};
use crate::broker::{again, headers, refused};
use crate::message::counted::counted;
use crate::message::source::Source;
use crate::observe::counters::DropReason;
use crate::queue::end::{End, EndError, EndIo, Ingress, LocalFuture, Problem};
use crate::queue::envelope::Origin;
use crate::queue::ledger::{AckCallback, Keeper, Safety};
use crate::queue::settlement::Settlement;
use crate::queue::stop::Step;
use crate::source::tries::Tries;
use pull::{Delivery, Pull, send};

/// Messages handed on before others may run.
const TURN: usize = 512;

/// Subscribes to NATS.
pub(crate) struct NatsSource {
    pub settings: NatsSettings,
    /// The session's name in events.
    pub session: String,
    /// Requests received, for the code that answers them.
    pub requests: Option<Rc<RefCell<std::collections::VecDeque<Subject>>>>,
    /// How often it is tried again.
    pub tries: Tries,
}

impl End for NatsSource {
    fn run(self: Box<Self>, io: EndIo) -> LocalFuture<'static, Result<(), EndError>> {
        Box::pin(async move {
            let Some(ingress) = io.ingress.clone() else { return Ok(()) };
            let stop = Rc::clone(&io.stop);
            stop.unless(Step::Aborting, self.receive(&io, ingress)).await.unwrap_or(Ok(()))
        })
    }
}

enum Halt {
    /// It was told to, and all is settled.
    Stopped,
    /// The connection is lost, or the server does not want it any more.
    Lost(Problem),
}

impl NatsSource {
    async fn receive(mut self, io: &EndIo, ingress: Rc<dyn Ingress>) -> Result<(), EndError> {
        let settings = &self.settings;
        let mut intake = Intake {
            ingress,
            origin: Origin::new(self.session.clone(), settings.shown.clone()),
            seq: 0,
            requests: self.requests.clone(),
            max_deliver: settings.max_deliver,
            acks: Rc::default(),
            last_seen: 0,
        };
        let tries = &mut self.tries;
        loop {
            let opened = io.stop.unless(Step::Draining, Receiving::open(settings, intake.last_seen)).await;
            let problem = match opened {
                None if intake.acks.borrow().owed.is_empty() => return Ok(()),
                // Stopped, but acknowledgements are owed: they need a connection.
                None => match Receiving::open(settings, intake.last_seen).await {
                    Ok(mut receiving) => match receiving.run(io, &mut intake, tries).await {
                        Halt::Stopped => return Ok(()),
                        Halt::Lost(problem) => problem,
                    },
                    Err(problem) => problem,
                },
                Some(Ok(mut receiving)) => {
                    if tries.reached() {
                        (io.notice)(format!("{}: reconnected", settings.shown));
                    }
                    match receiving.run(io, &mut intake, tries).await {
                        Halt::Stopped => return Ok(()),
                        Halt::Lost(problem) => problem,
                    }
                }
                Some(Err(problem)) => problem,
            };
            let wait = tries.failed(&settings.shown, problem, &*io.notice)?;
            if io.stop.step() >= Step::Draining {
                // In a hurry: what is owed would come again anyway.
                return Ok(());
            }
            io.stop.unless(Step::Draining, sleep(wait)).await;
        }
    }
}

/// Messages handed on whose outcome the server waits for, and outcomes it has not been told.
#[derive(Default)]
struct AckTable {
    /// By number in the stream: where to answer, and when it was last told that work goes on.
    owed: HashMap<u64, (Subject, Instant)>,
    settled: Vec<(u64, &'static [u8])>,
    waker: Option<Waker>,
}

impl Keeper for RefCell<AckTable> {
    fn is_safe(&self, number: u64, safety: Safety) {
        let mut acks = self.borrow_mut();
        acks.settled.push((number, word_for(safety)));
        if let Some(waker) = acks.waker.take() {
            waker.wake();
        }
    }
}

/// The way into the pipeline; outlives connections.
struct Intake {
    ingress: Rc<dyn Ingress>,
    origin: Rc<Origin>,
    seq: u64,
    requests: Option<Rc<RefCell<std::collections::VecDeque<Subject>>>>,
    max_deliver: Option<u64>,
    acks: Rc<RefCell<AckTable>>,
    /// The last number of the stream seen.
    last_seen: u64,
}

impl Intake {
    /// A message without acknowledgement.
    fn plain(&mut self, message: NatsMessage) {
        if let (Some(requests), Some(reply)) = (&self.requests, &message.reply) {
            requests.borrow_mut().push_back(reply.clone());
        }
        let source = self.source(&message.subject);
        let message = headers::message(message.payload, type_of(message.headers.as_ref())).with_source(source);
        self.seq += 1;
        self.ingress.push(&self.origin, self.seq, message, None);
    }

    /// Where a message of this subject came from, where somebody asks.
    fn source(&self, subject: &Subject) -> Option<Arc<Source>> {
        self.ingress.asks_for_sources().then(|| Arc::new(Source::Subject(subject.to_string())))
    }

    fn streamed(&mut self, message: NatsMessage, reply: Subject, delivery: Delivery) {
        self.last_seen = self.last_seen.max(delivery.number);
        let known = self.acks.borrow_mut().owed.insert(delivery.number, (reply, Instant::now()));
        if known.is_some() {
            // It is still on its way from the last time; this is where its outcome goes now.
            return;
        }
        let on_settled = AckCallback::Keeper(Rc::<RefCell<AckTable>>::clone(&self.acks), delivery.number);
        let source = self.source(&message.subject);
        let message = headers::message(message.payload, type_of(message.headers.as_ref())).with_source(source);
        self.seq += 1;
        if self.max_deliver.is_some_and(|most| delivery.times > most) {
            let error = format!("delivered {} without acknowledgement", counted(delivery.times - 1, "time"));
            self.ingress.refuse(&self.origin, self.seq, message, Some(on_settled), DropReason::RetriesSpent, &error);
        } else {
            self.ingress.push(&self.origin, self.seq, message, Some(on_settled));
        }
    }
}

/// What the server is told of an outcome.
fn word_for(safety: Safety) -> &'static [u8] {
    match safety {
        Safety::Settled(Settlement::Dropped(DropReason::Rejected | DropReason::RetriesSpent | DropReason::Invalid)) => {
            b"+TERM"
        }
        Safety::Settled(_) | Safety::Stored => b"+ACK",
    }
}

fn type_of(map: Option<&HeaderMap>) -> Option<&[u8]> {
    map.and_then(|map| map.get(headers::TYPE)).map(|kind| kind.as_str().as_bytes())
}

/// An open connection that receives.
struct Receiving<'a> {
    settings: &'a NatsSettings,
    link: Link,
    messages: Subscriber,
    /// Messages received over this connection, for counting what the library had to drop.
    taken: u64,
    /// What is pulled, and for a consumer of a stream alone.
    pull: Option<Pull>,
}

impl<'a> Receiving<'a> {
    async fn open(settings: &'a NatsSettings, last_seen: u64) -> Result<Self, Problem> {
        let link = Link::open(settings).await?;
        let failed = |error: async_nats::SubscribeError| again(error.to_string());
        let Some(stream) = &settings.stream else {
            let subject = settings.subject.clone();
            let subscribed = match &settings.queue {
                Some(queue) => link.client.queue_subscribe(subject, queue.clone()).await,
                None => link.client.subscribe(subject).await,
            };
            let messages = subscribed.map_err(failed)?;
            return Ok(Self { settings, link, messages, taken: 0, pull: None });
        };
        let (pull, messages) = Pull::open(settings, stream, &link, last_seen).await?;
        Ok(Self { settings, link, messages, taken: 0, pull: Some(pull) })
    }

    /// Receives until told to stop or the connection is lost.
    async fn run(&mut self, io: &EndIo, intake: &mut Intake, tries: &mut Tries) -> Halt {
        let mut is_draining = false;
        loop {
            match poll_fn(|cx| self.poll(io, intake, is_draining, cx)).await {
                Turn::Received => tries.worked(),
                Turn::Lost(problem) => {
                    self.account(intake);
                    return Halt::Lost(problem);
                }
                Turn::Drain => {
                    is_draining = true;
                    // What is on its way to us comes before the end of the subscription.
                    let _ = self.messages.drain().await;
                }
                Turn::Drained => {
                    self.account(intake);
                    self.link.settled().await;
                    return Halt::Stopped;
                }
            }
        }
    }

    /// What the library dropped because we were too slow is received and dropped all the same.
    fn account(&self, intake: &Intake) {
        if self.pull.is_none() {
            let came = self.link.client.statistics().in_messages.load(Ordering::Relaxed);
            let lost = came.saturating_sub(self.taken);
            intake.ingress.lose(&intake.origin.session, lost, None, DropReason::QueueFull);
        }
    }

    fn poll(&mut self, io: &EndIo, intake: &mut Intake, is_draining: bool, cx: &mut Context<'_>) -> Poll<Turn> {
        intake.acks.borrow_mut().waker = Some(cx.waker().clone());
        self.answer(&intake.acks, cx);
        let (errors, is_lost) = self.link.news(cx);
        for error in errors {
            if error.to_ascii_lowercase().contains("permissions violation") {
                let error = refused(&self.settings.shown, &error)
                    .hint("check the account's permissions for the subject and the inbox (?inbox=PREFIX)");
                return Poll::Ready(Turn::Lost(Problem::Broken(error)));
            }
        }
        if !is_draining && !is_lost && io.stop.poll_reached(Step::Draining, cx).is_ready() {
            return Poll::Ready(Turn::Drain);
        }
        let (mut got, mut has_room, mut has_ended) = (0, true, false);
        intake.origin.clock.pass_ends();
        while got < TURN {
            has_room = intake.ingress.poll_ready(cx).is_ready();
            if !has_room {
                break;
            }
            match self.messages.poll_next_unpin(cx) {
                Poll::Ready(Some(message)) => {
                    got += 1;
                    intake.origin.clock.pass_begins();
                    if let Err(problem) = self.take(intake, message) {
                        return Poll::Ready(Turn::Lost(problem));
                    }
                }
                Poll::Ready(None) => {
                    has_ended = true;
                    break;
                }
                Poll::Pending => break,
            }
        }
        if has_room && !is_draining {
            self.ask(intake, cx);
        }
        if let Some(problem) = self.look_at_the_clock(intake, has_room && !is_draining, cx) {
            return Poll::Ready(Turn::Lost(problem));
        }
        if got > 0 {
            return Poll::Ready(Turn::Received);
        }
        if has_ended && is_draining {
            let acks = intake.acks.borrow();
            let is_settled = acks.owed.is_empty() && acks.settled.is_empty();
            return if is_settled { Poll::Ready(Turn::Drained) } else { Poll::Pending };
        }
        // What had already come in is not given away.
        if has_ended || (is_lost && has_room) {
            return Poll::Ready(Turn::Lost(again("the connection was lost")));
        }
        Poll::Pending
    }

    /// Tells the server what has become of messages.
    fn answer(&mut self, acks: &RefCell<AckTable>, cx: &mut Context<'_>) {
        let mut acks = acks.borrow_mut();
        while !acks.settled.is_empty() {
            let mut client = Pin::new(&mut self.link.client);
            if !matches!(client.as_mut().poll_ready(cx), Poll::Ready(Ok(()))) {
                return;
            }
            let Some((number, word)) = acks.settled.pop() else { return };
            let Some((subject, _)) = acks.owed.remove(&number) else { continue };
            let message = OutboundMessage { subject, reply: None, payload: Bytes::from_static(word), headers: None };
            let _ = client.start_send(message);
        }
    }

    fn take(&mut self, intake: &mut Intake, message: NatsMessage) -> Result<(), Problem> {
        let Some(pull) = &mut self.pull else {
            self.taken += 1;
            intake.plain(message);
            return Ok(());
        };
        pull.heard(&message)?;
        if let Some(reply) = message.reply.clone()
            && let Some(delivery) = Delivery::read(&reply)
        {
            if !pull.asks_lag() {
                intake.ingress.lags(delivery.pending);
            }
            intake.streamed(message, reply, delivery);
        }
        Ok(())
    }

    /// Asks for as many messages as there is room for.
    fn ask(&mut self, intake: &Intake, cx: &mut Context<'_>) {
        if let Some(pull) = &mut self.pull {
            let (waiting, capacity) = intake.ingress.depth();
            pull.ask(&mut self.link.client, capacity.saturating_sub(waiting), cx);
        }
    }

    /// Whether the server stopped responding; what is still worked on is said to be, and how much waits is told.
    fn look_at_the_clock(&mut self, intake: &Intake, listens: bool, cx: &mut Context<'_>) -> Option<Problem> {
        let pull = self.pull.as_mut()?;
        if let Some(count) = pull.poll_lag(cx) {
            intake.ingress.lags(count);
        }
        if !pull.is_time(cx) {
            return None;
        }
        if let Some(problem) = pull.silence(listens) {
            return Some(problem);
        }
        let client = &mut self.link.client;
        pull.ask_lag(client, cx);
        for (subject, since) in intake.acks.borrow_mut().owed.values_mut() {
            if since.elapsed() < pull.ack_wait / 3 {
                continue;
            }
            if !send(client, subject, None, Bytes::from_static(b"+WPI"), cx) {
                break;
            }
            *since = Instant::now();
        }
        None
    }
}

/// What a turn of receiving came to.
enum Turn {
    Received,
    Lost(Problem),
    Drain,
    Drained,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_is_told_what_became_of_a_message() {
        let table: [(Safety, &[u8]); 5] = [
            (Safety::Stored, b"+ACK"),
            (Safety::Settled(Settlement::Delivered), b"+ACK"),
            (Safety::Settled(Settlement::DeadLettered(DropReason::Rejected)), b"+ACK"),
            (Safety::Settled(Settlement::Dropped(DropReason::QueueFull)), b"+ACK"),
            (Safety::Settled(Settlement::Dropped(DropReason::Rejected)), b"+TERM"),
        ];
        for (safety, word) in table {
            assert_eq!(word_for(safety), word, "{safety:?}");
        }
    }
}
