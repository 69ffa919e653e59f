//! NATS as the source of a pipeline: a subject, alone or shared in a queue group, or a consumer of a stream.
//!
//! Leaves the connection to `broker/`. Invariants: a message of a stream is acknowledged once it is settled, never before;
//! what a connection owed when it was lost is acknowledged over the next one; nothing is asked for while there is no room.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use async_nats::message::OutboundMessage;
use async_nats::{HeaderMap, Message as NatsMessage, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{Sink as _, StreamExt as _};
use serde_json::json;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};

use crate::broker::nats::{Link, NatsSettings, Refusal};
use crate::broker::{Patience, Start, again, headers, not_reached, refused};
use crate::message::counted::counted;
use crate::observe::counters::DropReason;
use crate::queue::end::{End, EndError, EndIo, Inlet, LocalFuture, Problem};
use crate::queue::envelope::Origin;
use crate::queue::ledger::{OnSafe, Safety, Settlement};
use crate::queue::stop::Step;
use crate::session::backoff::Backoff;

/// Messages asked for at a time.
const BATCH: u64 = 500;
/// How long the server keeps what was asked for open.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often it says that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long it may say nothing.
const SILENCE: Duration = Duration::from_secs(15);
/// Messages handed on before others may run.
const TURN: usize = 512;

/// Subscribes to NATS.
pub struct NatsSource {
    /// Where and how.
    pub settings: NatsSettings,
    /// The session's name in events.
    pub session: String,
    /// Requests received, for whoever answers them.
    pub requests: Option<Rc<RefCell<std::collections::VecDeque<Subject>>>>,
    /// Waits between tries.
    pub backoff: Backoff,
    /// How often it is tried again.
    pub patience: Patience,
}

impl End for NatsSource {
    fn run(self: Box<Self>, io: EndIo) -> LocalFuture<'static, Result<(), EndError>> {
        Box::pin(async move {
            let Some(inlet) = io.inlet.clone() else { return Ok(()) };
            let stop = Rc::clone(&io.stop);
            stop.unless(Step::Aborting, self.receive(&io, inlet)).await.unwrap_or(Ok(()))
        })
    }
}

/// Why receiving ended.
enum Halt {
    /// It was told to, and all is settled.
    Stopped,
    /// The connection is lost, or the server does not want it any more.
    Lost(Problem),
}

impl NatsSource {
    async fn receive(self, io: &EndIo, inlet: Rc<dyn Inlet>) -> Result<(), EndError> {
        let settings = &self.settings;
        let mut intake = Intake {
            inlet,
            origin: Origin::new(self.session.clone(), settings.shown.clone()),
            seq: 0,
            requests: self.requests.clone(),
            max_deliver: settings.max_deliver,
            desk: Rc::default(),
            last_seen: 0,
        };
        let (mut failures, mut was_reached) = (0_u32, false);
        loop {
            let opened = io.stop.unless(Step::Draining, Receiving::open(settings, intake.last_seen)).await;
            let problem = match opened {
                None if intake.desk.borrow().owed.is_empty() => return Ok(()),
                // Stopped, but acknowledgements are owed: they need a connection.
                None => match Receiving::open(settings, intake.last_seen).await {
                    Ok(mut receiving) => match receiving.run(io, &mut intake, &mut failures).await {
                        Halt::Stopped => return Ok(()),
                        Halt::Lost(problem) => problem,
                    },
                    Err(problem) => problem,
                },
                Some(Ok(mut receiving)) => {
                    if was_reached {
                        (io.notice)(format!("{}: connected again", settings.shown));
                    }
                    was_reached = true;
                    match receiving.run(io, &mut intake, &mut failures).await {
                        Halt::Stopped => return Ok(()),
                        Halt::Lost(problem) => problem,
                    }
                }
                Some(Err(problem)) => problem,
            };
            let reason = match problem {
                Problem::Broken(error) => return Err(error),
                Problem::Never(reason) | Problem::Again { reason, .. } => reason,
            };
            failures += 1;
            if !self.patience.allows(failures, was_reached) {
                return Err(not_reached(&settings.shown, failures - 1, &reason));
            }
            let wait = self.backoff.wait(failures, fastrand::f64());
            let seconds = wait.as_secs_f64();
            (io.notice)(format!("{}: {reason}; again in {seconds:.1} s (retry {failures})", settings.shown));
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
struct Desk {
    /// By number in the stream: where to answer, and when it was last told that work goes on.
    owed: HashMap<u64, (Subject, Instant)>,
    /// What to say.
    settled: Vec<(u64, &'static [u8])>,
    waker: Option<Waker>,
}

/// The way into the pipeline; outlives connections.
struct Intake {
    inlet: Rc<dyn Inlet>,
    origin: Rc<Origin>,
    seq: u64,
    requests: Option<Rc<RefCell<std::collections::VecDeque<Subject>>>>,
    max_deliver: Option<u64>,
    desk: Rc<RefCell<Desk>>,
    /// The last number of the stream seen.
    last_seen: u64,
}

impl Intake {
    /// A message without acknowledgement.
    fn plain(&mut self, message: NatsMessage) {
        if let (Some(requests), Some(reply)) = (&self.requests, message.reply) {
            requests.borrow_mut().push_back(reply);
        }
        let message = headers::message(message.payload, type_of(message.headers.as_ref()));
        self.seq += 1;
        self.inlet.push(&self.origin, self.seq, message, None);
    }

    /// A message of a stream.
    fn streamed(&mut self, message: NatsMessage, reply: Subject, delivery: Delivery) {
        self.last_seen = self.last_seen.max(delivery.number);
        self.inlet.lags(delivery.pending);
        let known = self.desk.borrow_mut().owed.insert(delivery.number, (reply, Instant::now()));
        if known.is_some() {
            // It is still on its way from the last time; this is where its outcome goes now.
            return;
        }
        let (desk, number) = (Rc::clone(&self.desk), delivery.number);
        let on_safe: OnSafe = Box::new(move |safety| {
            let mut desk = desk.borrow_mut();
            desk.settled.push((number, word_for(safety)));
            if let Some(waker) = desk.waker.take() {
                waker.wake();
            }
        });
        let message = headers::message(message.payload, type_of(message.headers.as_ref()));
        self.seq += 1;
        if self.max_deliver.is_some_and(|most| delivery.times > most) {
            let error = format!("delivered {} without being settled", counted(delivery.times - 1, "time"));
            self.inlet.refuse(&self.origin, self.seq, message, Some(on_safe), DropReason::RetriesSpent, &error);
        } else {
            self.inlet.push(&self.origin, self.seq, message, Some(on_safe));
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

/// What the subject for answers says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Delivery {
    /// How often it was delivered, this time included.
    times: u64,
    /// Its number in the stream.
    number: u64,
    /// Messages of the stream behind it.
    pending: u64,
}

impl Delivery {
    /// Reads `$JS.ACK.[DOMAIN.ACCOUNT.]STREAM.CONSUMER.TIMES.NUMBER.CONSUMER-NUMBER.TIME.PENDING[.TOKEN]`.
    fn read(reply: &str) -> Option<Self> {
        let words: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let first = if words.len() == 7 { 2 } else { 4 };
        let number = |place: usize| words.get(place)?.parse().ok();
        Some(Self { times: number(first)?, number: number(first + 1)?, pending: number(first + 4)? })
    }
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

/// Asking a consumer for messages.
struct Pull {
    next: Subject,
    inbox: String,
    /// Messages asked for that have not come.
    credit: u64,
    ack_wait: Duration,
    heard: Instant,
    tick: Interval,
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
        let info = consumer(settings, stream, &link, last_seen).await?;
        let name = info["name"].as_str().unwrap_or_default();
        if info["config"]["deliver_subject"].is_string() {
            let text = format!("{name} is a push consumer; a pull consumer is wanted");
            return Err(Problem::Broken(refused(&settings.shown, &text).hint("?durable=NAME names another")));
        }
        let inbox = link.client.new_inbox();
        let messages = link.client.subscribe(inbox.clone()).await.map_err(failed)?;
        let next = Subject::from(format!("{}.CONSUMER.MSG.NEXT.{stream}.{name}", settings.api));
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let ack_wait = Duration::from_nanos(info["config"]["ack_wait"].as_u64().unwrap_or(30_000_000_000));
        let pull = Pull { next, inbox, credit: 0, ack_wait, heard: Instant::now(), tick };
        Ok(Self { settings, link, messages, taken: 0, pull: Some(pull) })
    }

    /// Receives until told to stop or the connection is lost.
    async fn run(&mut self, io: &EndIo, intake: &mut Intake, failures: &mut u32) -> Halt {
        let mut is_draining = false;
        loop {
            match poll_fn(|cx| self.poll(io, intake, is_draining, cx)).await {
                Turn::Received => *failures = 0,
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
            intake.inlet.lose(came.saturating_sub(self.taken), DropReason::QueueFull);
        }
    }

    fn poll(&mut self, io: &EndIo, intake: &mut Intake, is_draining: bool, cx: &mut Context<'_>) -> Poll<Turn> {
        intake.desk.borrow_mut().waker = Some(cx.waker().clone());
        self.answer(&intake.desk, cx);
        let (errors, is_lost) = self.link.news(cx);
        for error in errors {
            if error.to_ascii_lowercase().contains("permissions violation") {
                let error = refused(&self.settings.shown, &error)
                    .hint("the account's permissions must allow the subject, and the inbox (?inbox=PREFIX)");
                return Poll::Ready(Turn::Lost(Problem::Broken(error)));
            }
        }
        if !is_draining && !is_lost && io.stop.poll_reached(Step::Draining, cx).is_ready() {
            return Poll::Ready(Turn::Drain);
        }
        let (mut got, mut has_room, mut has_ended) = (0, true, false);
        while got < TURN {
            has_room = intake.inlet.poll_ready(cx).is_ready();
            if !has_room {
                break;
            }
            match self.messages.poll_next_unpin(cx) {
                Poll::Ready(Some(message)) => {
                    got += 1;
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
        if let Some(problem) = self.look_at_the_clock(&intake.desk, has_room && !is_draining, cx) {
            return Poll::Ready(Turn::Lost(problem));
        }
        if got > 0 {
            return Poll::Ready(Turn::Received);
        }
        if has_ended && is_draining {
            let desk = intake.desk.borrow();
            let is_settled = desk.owed.is_empty() && desk.settled.is_empty();
            return if is_settled { Poll::Ready(Turn::Drained) } else { Poll::Pending };
        }
        // What had already come in is not given away.
        if has_ended || (is_lost && has_room) {
            return Poll::Ready(Turn::Lost(again("the connection was lost")));
        }
        Poll::Pending
    }

    /// Tells the server what has become of messages.
    fn answer(&mut self, desk: &RefCell<Desk>, cx: &mut Context<'_>) {
        let mut desk = desk.borrow_mut();
        while !desk.settled.is_empty() {
            let mut client = Pin::new(&mut self.link.client);
            if !matches!(client.as_mut().poll_ready(cx), Poll::Ready(Ok(()))) {
                return;
            }
            let Some((number, word)) = desk.settled.pop() else { return };
            let Some((subject, _)) = desk.owed.remove(&number) else { continue };
            let _ = client.start_send(outbound(subject, word));
        }
    }

    fn take(&mut self, intake: &mut Intake, message: NatsMessage) -> Result<(), Problem> {
        let Some(pull) = &mut self.pull else {
            self.taken += 1;
            intake.plain(message);
            return Ok(());
        };
        pull.heard = Instant::now();
        let Some(status) = message.status else {
            pull.credit = pull.credit.saturating_sub(1);
            let Some((reply, delivery)) =
                message.reply.clone().and_then(|reply| Delivery::read(&reply).map(|delivery| (reply, delivery)))
            else {
                return Ok(());
            };
            intake.streamed(message, reply, delivery);
            return Ok(());
        };
        let text = message.description.unwrap_or_default();
        match status.as_u16() {
            // It is still there.
            100 => {}
            404 | 408 => pull.give_back(message.headers.as_ref()),
            409 if text.starts_with("Message Size") || text.starts_with("Batch Completed") => {
                pull.give_back(message.headers.as_ref());
            }
            503 => return Err(again("the consumer is gone")),
            _ => return Err(again(text)),
        }
        Ok(())
    }

    /// Asks for as many messages as there is room for.
    fn ask(&mut self, intake: &Intake, cx: &mut Context<'_>) {
        let Some(pull) = &mut self.pull else { return };
        let (waiting, capacity) = intake.inlet.depth();
        let room = capacity.saturating_sub(waiting).clamp(1, BATCH);
        if pull.credit * 2 > room {
            return;
        }
        let mut client = Pin::new(&mut self.link.client);
        if !matches!(client.as_mut().poll_ready(cx), Poll::Ready(Ok(()))) {
            return;
        }
        let batch = room - pull.credit;
        let body = json!({"batch": batch, "expires": nanos(EXPIRES), "idle_heartbeat": nanos(HEARTBEAT)});
        let message = OutboundMessage {
            subject: pull.next.clone(),
            reply: Some(Subject::from(pull.inbox.as_str())),
            payload: Bytes::from(body.to_string()),
            headers: None,
        };
        if client.start_send(message).is_ok() {
            if pull.credit == 0 {
                pull.heard = Instant::now();
            }
            pull.credit += batch;
        }
    }

    /// Whether the server has fallen silent; and what is still worked on is said to be.
    fn look_at_the_clock(&mut self, desk: &RefCell<Desk>, listens: bool, cx: &mut Context<'_>) -> Option<Problem> {
        let pull = self.pull.as_mut()?;
        let mut is_time = false;
        while pull.tick.poll_tick(cx).is_ready() {
            is_time = true;
        }
        if !is_time {
            return None;
        }
        if listens && pull.credit > 0 && pull.heard.elapsed() > SILENCE {
            return Some(again("the server has fallen silent"));
        }
        if !listens {
            pull.heard = Instant::now();
        }
        for (subject, since) in desk.borrow_mut().owed.values_mut() {
            if since.elapsed() < pull.ack_wait / 3 {
                continue;
            }
            let mut client = Pin::new(&mut self.link.client);
            if !matches!(client.as_mut().poll_ready(cx), Poll::Ready(Ok(()))) {
                break;
            }
            let _ = client.start_send(outbound(subject.clone(), b"+WPI"));
            *since = Instant::now();
        }
        None
    }
}

impl Pull {
    /// Part of what was asked for will not come.
    fn give_back(&mut self, map: Option<&HeaderMap>) {
        let left = map.and_then(|map| map.get("Nats-Pending-Messages")).and_then(|left| left.as_str().parse().ok());
        self.credit = self.credit.saturating_sub(left.unwrap_or(u64::MAX));
    }
}

/// What a turn of receiving came to.
enum Turn {
    Received,
    Lost(Problem),
    Drain,
    Drained,
}

fn outbound(subject: Subject, word: &'static [u8]) -> OutboundMessage {
    OutboundMessage { subject, reply: None, payload: Bytes::from_static(word), headers: None }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The durable consumer, made where there is none, or a new one that goes on where the last ended.
async fn consumer(
    settings: &NatsSettings,
    stream: &str,
    link: &Link,
    last_seen: u64,
) -> Result<serde_json::Value, Problem> {
    let failed = |refusal: Refusal| refusal.problem(settings, "consumer");
    if let Some(durable) = &settings.durable {
        match link.ask(settings, &format!("CONSUMER.INFO.{stream}.{durable}"), "").await {
            // 10014: consumer not found.
            Err(Refusal::Error { code: 10014, .. }) => {}
            other => return other.map_err(failed),
        }
    }
    link.stream(settings, stream).await?;
    let mut config = json!({"ack_policy": "explicit", "filter_subject": settings.subject, "max_ack_pending": 10_000});
    match settings.start {
        _ if settings.durable.is_none() && last_seen > 0 => {
            config["deliver_policy"] = json!("by_start_sequence");
            config["opt_start_seq"] = json!(last_seen + 1);
        }
        Start::Earliest => config["deliver_policy"] = json!("all"),
        Start::Latest => config["deliver_policy"] = json!("new"),
        Start::At(time) => {
            config["deliver_policy"] = json!("by_start_time");
            config["opt_start_time"] = json!(time.to_string());
        }
    }
    let what = if let Some(durable) = &settings.durable {
        config["durable_name"] = json!(durable);
        format!("CONSUMER.DURABLE.CREATE.{stream}.{durable}")
    } else {
        config["inactive_threshold"] = json!(nanos(Duration::from_secs(300)));
        format!("CONSUMER.CREATE.{stream}")
    };
    let body = json!({"stream_name": stream, "config": config});
    link.ask(settings, &what, &body.to_string()).await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_a_delivery_says_of_itself() {
        let delivery = Some(Delivery { times: 2, number: 41, pending: 7 });
        assert_eq!(Delivery::read("$JS.ACK.S.D.2.41.9.1700000000000000000.7"), delivery);
        assert_eq!(Delivery::read("$JS.ACK.hub.ACCOUNT.S.D.2.41.9.1700000000000000000.7.token"), delivery);
        assert_eq!(Delivery::read("_INBOX.x"), None);
        assert_eq!(Delivery::read("$JS.ACK.S.D.2"), None);
    }

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
