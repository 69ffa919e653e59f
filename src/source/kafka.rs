//! Kafka as the source of a pipeline: a member of a consumer group whose position is what was settled.
//!
//! Leaves what an address says to `broker/`. Invariants: the position of a partition is the first message without an
//! outcome, so a crash repeats messages and loses none; a partition is given back once what was taken from it is settled,
//! or when the time for that is over; librdkafka is asked for events even while there is no room for messages.

mod ask;
mod feed;
mod positions;

use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::oneshot;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout};

use crate::broker::kafka::KafkaSettings;
use crate::broker::kafka::reach::{self, News, config_problem, final_problem};
use crate::broker::{Start, not_reached};
use crate::queue::end::{End, EndError, EndIo, Ingress, LocalFuture, Problem};
use crate::queue::envelope::Origin;
use crate::queue::stop::Step;
use crate::source::tries::Tries;
use ask::{Lag, look_up};
use feed::{Feed, Taken};
use positions::Positions;

/// Messages handed on before others may run.
const TURN: usize = 512;
/// How long a partition may take to be given back.
const GIVING_BACK: Duration = Duration::from_secs(5);
/// How long leaving the group may take.
const LEAVING: Duration = Duration::from_secs(5);
/// How long there may be no room before the brokers are told to send no more.
const PATIENT: Duration = Duration::from_millis(500);

/// Consumes from Kafka.
pub(crate) struct KafkaSource {
    pub settings: KafkaSettings,
    /// The session's name in events.
    pub session: String,
    /// How often it is tried again.
    pub tries: Tries,
}

impl End for KafkaSource {
    fn run(self: Box<Self>, io: EndIo) -> LocalFuture<'static, Result<(), EndError>> {
        Box::pin(async move {
            let Some(ingress) = io.ingress.clone() else { return Ok(()) };
            let stop = Rc::clone(&io.stop);
            stop.unless(Step::Aborting, self.receive(&io, ingress)).await.unwrap_or(Ok(()))
        })
    }
}

/// Partitions that come or go.
struct Rebalanced {
    is_revoked: bool,
    partitions: TopicPartitionList,
}

/// What the consumer tells while it is polled or elsewhere.
struct Told {
    news: Arc<News>,
    rebalanced: Mutex<VecDeque<Rebalanced>>,
    /// Whether there is something in it.
    is_waiting: AtomicBool,
    /// Nobody attends to it any more: what it asks for is done at once.
    is_leaving: AtomicBool,
}

impl Told {
    fn put(&self, what: Rebalanced) {
        let mut rebalanced = self.rebalanced.lock().unwrap_or_else(PoisonError::into_inner);
        rebalanced.push_back(what);
        self.is_waiting.store(true, Ordering::Release);
    }

    fn next(&self) -> Option<Rebalanced> {
        let mut rebalanced = self.rebalanced.lock().unwrap_or_else(PoisonError::into_inner);
        let next = rebalanced.pop_front();
        self.is_waiting.store(!rebalanced.is_empty(), Ordering::Release);
        next
    }
}

struct Group(Arc<Told>);

impl ClientContext for Group {
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.news.error(&error, reason);
    }
}

impl ConsumerContext for Group {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, error: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let is_revoked = error != RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.0.is_leaving.load(Ordering::Acquire) {
            let _ = change(consumer, is_revoked, partitions);
            return;
        }
        self.0.put(Rebalanced { is_revoked, partitions: partitions.clone() });
        self.0.news.waker.wake();
    }
}

fn numbers_of(partitions: &TopicPartitionList) -> Vec<i32> {
    partitions.elements().iter().map(TopicPartitionListElem::partition).collect()
}

/// Takes partitions, or gives them back.
fn change(consumer: &BaseConsumer<Group>, is_revoked: bool, partitions: &TopicPartitionList) -> Result<(), KafkaError> {
    match (consumer.rebalance_protocol(), is_revoked) {
        (RebalanceProtocol::Cooperative, false) => consumer.incremental_assign(partitions),
        (RebalanceProtocol::Cooperative, true) => consumer.incremental_unassign(partitions),
        (_, false) => consumer.assign(partitions),
        (_, true) => consumer.unassign(),
    }
}

impl KafkaSource {
    async fn receive(mut self, io: &EndIo, ingress: Rc<dyn Ingress>) -> Result<(), EndError> {
        let settings = &self.settings;
        let member = Member::join(settings).map_err(|problem| match problem {
            Problem::Broken(error) => error,
            Problem::Never(reason) | Problem::Again { reason, .. } => not_reached(&settings.shown, 0, &reason),
        })?;
        let mut receiving = Receiving {
            settings,
            member,
            ingress,
            origin: Origin::new(self.session.clone(), settings.shown.clone()),
            seq: 0,
            positions: Positions::default(),
            pending: VecDeque::new(),
            giving_back: None,
            taking: None,
            no_room_since: None,
            is_paused: false,
            lag: Lag::default(),
            tick: {
                let mut tick = interval(Duration::from_millis(200));
                tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
                tick
            },
        };
        let tries = &mut self.tries;
        loop {
            let problem = match io.stop.unless(Step::Draining, receiving.member.check(settings)).await {
                None => {
                    receiving.leave(io).await;
                    return Ok(());
                }
                Some(Ok(())) => {
                    if tries.reached() {
                        (io.notice)(format!("{}: reconnected", settings.shown));
                    } else {
                        receiving.member.subscribe(settings)?;
                    }
                    match poll_fn(|cx| receiving.poll(io, tries, cx)).await {
                        None => {
                            receiving.leave(io).await;
                            return Ok(());
                        }
                        Some(problem) => problem,
                    }
                }
                Some(Err(problem)) => problem,
            };
            let wait = tries.failed(&settings.shown, problem, &*io.notice)?;
            io.stop.unless(Step::Draining, sleep(wait)).await;
        }
    }
}

/// A consumer, and what it tells.
struct Member {
    consumer: Option<Arc<BaseConsumer<Group>>>,
    told: Arc<Told>,
    feed: Feed,
}

impl Member {
    fn join(settings: &KafkaSettings) -> Result<Self, Problem> {
        let told = Arc::new(Told {
            news: Arc::default(),
            rebalanced: Mutex::default(),
            is_waiting: AtomicBool::new(false),
            is_leaving: AtomicBool::new(false),
        });
        let config = reach::config(&settings.consumer());
        let consumer = BaseConsumer::from_config_and_context(&config, Group(Arc::clone(&told)))
            .map_err(|error| config_problem(settings, &error))?;
        let consumer = Arc::new(consumer);
        let (comes_or_goes, news) = (Arc::clone(&told), Arc::clone(&told.news));
        let feed = Feed::new(
            Arc::clone(&consumer),
            &settings.topic,
            move || comes_or_goes.is_waiting.load(Ordering::Acquire),
            move || news.waker.wake(),
        );
        Ok(Self { consumer: Some(consumer), told, feed })
    }

    fn subscribe(&self, settings: &KafkaSettings) -> Result<(), EndError> {
        let Some(consumer) = &self.consumer else { return Ok(()) };
        consumer.subscribe(&[settings.topic.as_str()]).map_err(|error| {
            EndError::new(crate::exit::Exit::Undelivered, format!("{}: cannot subscribe: {error}", settings.shown))
        })
    }

    async fn check(&self, settings: &KafkaSettings) -> Result<(), Problem> {
        let Some(consumer) = self.consumer.clone() else { return Ok(()) };
        // What went wrong with connections is told by polling.
        let ask = move |topic: &str, limit: Duration| {
            let answer = consumer.fetch_metadata(Some(topic), limit);
            // Before it subscribes there are no messages in there.
            if answer.is_err() && consumer.subscription().is_ok_and(|topics| topics.count() == 0) {
                while consumer.poll(Duration::ZERO).is_some() {}
            }
            answer
        };
        reach::check(settings, &settings.topic, &self.told.news, ask).await
    }

    /// Leaves the group on a thread, for it waits; told when that is done.
    fn leave_later(&mut self) -> oneshot::Receiver<()> {
        let (tell, told) = oneshot::channel();
        self.told.is_leaving.store(true, Ordering::Release);
        let pending: Vec<_> = std::iter::from_fn(|| self.told.next()).collect();
        let feed = self.feed.end();
        if let Some(consumer) = self.consumer.take() {
            let leave = move || {
                for what in pending {
                    let _ = change(&consumer, what.is_revoked, &what.partitions);
                }
                // The last who has it leaves the group.
                if let Some(feed) = feed {
                    let _ = feed.join();
                }
                drop(consumer);
                let _ = tell.send(());
            };
            let _ = thread::Builder::new().name("kafka".to_owned()).spawn(leave);
        }
        told
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leave_later();
    }
}

/// A member of the group at work.
struct Receiving<'a> {
    settings: &'a KafkaSettings,
    member: Member,
    ingress: Rc<dyn Ingress>,
    origin: Rc<Origin>,
    seq: u64,
    positions: Positions,
    /// Polled, and not handed on.
    pending: VecDeque<Result<Taken, KafkaError>>,
    /// Partitions to be given back, and by when.
    giving_back: Option<(TopicPartitionList, Instant)>,
    /// Partitions whose beginning is being looked up.
    taking: Option<oneshot::Receiver<TopicPartitionList>>,
    no_room_since: Option<Instant>,
    is_paused: bool,
    lag: Lag,
    tick: Interval,
}

impl Receiving<'_> {
    /// Receives until told to stop (`None`), or until something is wrong.
    fn poll(&mut self, io: &EndIo, tries: &mut Tries, cx: &mut Context<'_>) -> Poll<Option<Problem>> {
        self.member.told.news.waker.register(cx.waker());
        self.positions.watch(cx);
        while self.tick.poll_tick(cx).is_ready() {}
        if io.stop.poll_reached(Step::Draining, cx).is_ready() {
            return Poll::Ready(None);
        }
        let Some(consumer) = self.member.consumer.clone() else { return Poll::Ready(None) };
        if let Some(problem) = self.member.told.news.take_final(self.settings) {
            return Poll::Ready(Some(problem));
        }
        if let Some(lag) = self.lag.poll(&consumer, self.settings.start, self.settings.group.is_some(), cx) {
            self.ingress.lags(lag);
        }
        self.remember(&consumer);
        self.origin.clock.pass_ends();
        if let Some(batch) = self.member.feed.take() {
            self.pending.extend(batch);
        }
        // What was polled before partitions go is known by then.
        if !self.member.feed.is_asked() {
            self.rebalance(&consumer, cx);
            if self.giving_back.is_some() || self.taking.is_some() {
                // Messages of revoked partitions would be discarded.
                return Poll::Pending;
            }
            // Where there is no room for long events alone are asked for, but something may slip through.
            let most = if self.is_paused { 4 * TURN } else { TURN };
            if self.pending.len() <= most {
                self.member.feed.ask(self.ingress.asks_for_sources());
            }
        }
        let mut got = 0;
        while got < TURN && !self.pending.is_empty() && self.has_room(&consumer, cx) {
            match self.pending.pop_front() {
                Some(Ok(taken)) => {
                    got += 1;
                    self.hand_on(taken);
                }
                Some(Err(error)) => {
                    if let Some(problem) = self.problem(&error) {
                        return Poll::Ready(Some(problem));
                    }
                }
                None => break,
            }
        }
        if got > 0 {
            tries.worked();
            let _ = self.member.told.news.take_down();
        } else if let Some(problem) = self.member.told.news.take_down() {
            return Poll::Ready(Some(problem));
        }
        if got == TURN {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    fn hand_on(&mut self, taken: Taken) {
        self.seq += 1;
        self.origin.clock.pass_begins();
        let on_settled = self.positions.open(taken.partition, taken.offset);
        self.ingress.push(&self.origin, self.seq, taken.message, Some(on_settled));
    }

    /// What was polled from these has not been handed on: their next owner gets it.
    fn forget(&mut self, partitions: &[i32]) {
        self.pending.retain(|item| !matches!(item, Ok(taken) if partitions.contains(&taken.partition)));
    }

    /// Whether a message may be handed on. When there is no room for long, the brokers are told.
    fn has_room(&mut self, consumer: &BaseConsumer<Group>, cx: &mut Context<'_>) -> bool {
        if self.ingress.poll_ready(cx).is_ready() {
            self.no_room_since = None;
            self.resume(consumer);
            return true;
        }
        let since = *self.no_room_since.get_or_insert_with(Instant::now);
        if since.elapsed() > PATIENT && !self.is_paused {
            self.is_paused = consumer.pause(&consumer.assignment().unwrap_or_default()).is_ok();
        }
        false
    }

    fn resume(&mut self, consumer: &BaseConsumer<Group>) {
        if std::mem::take(&mut self.is_paused) {
            let _ = consumer.resume(&consumer.assignment().unwrap_or_default());
        }
    }

    /// Tells librdkafka how far everything is settled; it commits that.
    fn remember(&mut self, consumer: &BaseConsumer<Group>) {
        let settled = self.positions.settled();
        if settled.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::with_capacity(settled.len());
        for (partition, offset) in settled {
            let _ = list.add_partition_offset(&self.settings.topic, partition, Offset::Offset(offset));
        }
        // What is not ours any more is for its new owner to remember.
        let _ = consumer.store_offsets(&list);
    }

    /// Takes new partitions, and gives others back once they are settled.
    fn rebalance(&mut self, consumer: &Arc<BaseConsumer<Group>>, cx: &mut Context<'_>) {
        loop {
            if let Some(looked_up) = &mut self.taking {
                let Poll::Ready(partitions) = std::pin::Pin::new(looked_up).poll(cx) else { return };
                self.taking = None;
                if let Ok(partitions) = partitions {
                    self.assign(consumer, &partitions);
                }
            }
            if let Some((partitions, deadline)) = self.giving_back.take() {
                let numbers = numbers_of(&partitions);
                let is_over = deadline <= Instant::now() || consumer.assignment_lost();
                if self.positions.is_open(&numbers) && !is_over {
                    self.giving_back = Some((partitions, deadline));
                    return;
                }
                self.remember(consumer);
                let _ = change(consumer, true, &partitions);
                self.positions.forget(&numbers);
            }
            let next = self.member.told.next();
            if next.is_some() {
                // A partition that goes and comes back would still be paused.
                self.resume(consumer);
            }
            match next {
                None => return,
                Some(Rebalanced { is_revoked: true, partitions }) => {
                    self.forget(&numbers_of(&partitions));
                    self.giving_back = Some((partitions, Instant::now() + GIVING_BACK));
                }
                Some(Rebalanced { is_revoked: false, partitions }) => match self.settings.start {
                    Start::At(time) => self.taking = Some(look_up(consumer, partitions, time)),
                    _ => self.assign(consumer, &partitions),
                },
            }
        }
    }

    fn assign(&mut self, consumer: &BaseConsumer<Group>, partitions: &TopicPartitionList) {
        let numbers = numbers_of(partitions);
        self.forget(&numbers);
        self.positions.forget(&numbers);
        let _ = change(consumer, false, partitions);
    }

    fn problem(&self, error: &KafkaError) -> Option<Problem> {
        match error.rdkafka_error_code()? {
            code @ (Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::TopicAuthorizationFailed) => {
                Some(final_problem(self.settings, code, &self.settings.topic))
            }
            code @ (Code::GroupAuthorizationFailed | Code::InvalidGroupId | Code::InconsistentGroupProtocol) => {
                let group = self.settings.group.as_deref().unwrap_or_default();
                Some(final_problem(self.settings, code, &format!("group {group}: {code}")))
            }
            _ => None,
        }
    }

    /// Waits until everything taken is settled, and leaves.
    async fn leave(&mut self, io: &EndIo) {
        // What was not handed on is for another time.
        self.pending.clear();
        if let Some(consumer) = self.member.consumer.clone() {
            if let Ok(all) = consumer.assignment() {
                let _ = consumer.pause(&all);
            }
            io.stop
                .unless(
                    Step::Aborting,
                    poll_fn(|cx| {
                        self.member.told.news.waker.register(cx.waker());
                        self.positions.watch(cx);
                        while self.tick.poll_tick(cx).is_ready() {}
                        self.remember(&consumer);
                        self.rebalance(&consumer, cx);
                        if self.positions.is_all_settled() { Poll::Ready(()) } else { Poll::Pending }
                    }),
                )
                .await;
            self.remember(&consumer);
        }
        self.lag.finish().await;
        // With the last position committed.
        let _ = timeout(LEAVING, self.member.leave_later()).await;
    }
}
