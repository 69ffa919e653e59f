//! Kafka as the sink of a pipeline: an idempotent producer whose delivery reports settle each message.
//!
//! Leaves retries of requests to librdkafka, and patience and dead letters to the pipeline. Invariants: nothing is
//! produced twice while this producer lives, because what it still holds is not handed to it again; a message is
//! delivered when all in-sync replicas have it.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};

use crate::broker::again;
use crate::broker::headers;
use crate::broker::kafka::reach::{self, News, config_problem, final_problem};
use crate::broker::kafka::{KafkaSettings, Producing};
use crate::filter::apart::{Begun, Turn};
use crate::filter::{Filter, Json};
use crate::message::event::time_text;
use crate::queue::end::{LocalFuture, Problem};
use crate::queue::envelope::Envelope;
use crate::queue::window::{Answer, WindowSink};

/// Produces to Kafka.
pub(crate) struct KafkaSink {
    settings: KafkaSettings,
    producing: Producing,
    key: Option<Filter>,
    run: String,
    producer: Option<Arc<ThreadedProducer<Reports>>>,
    reports: Arc<Shared>,
    held: Held,
    care: Option<Care>,
    /// What the topic takes has been asked for.
    has_asked: bool,
    /// A message that may be too large for the topic: it goes alone, so that nothing shares its fate or overtakes it.
    lone: Option<u64>,
    /// Messages the producer has not reported on.
    under_way: usize,
    taken: Vec<Report>,
    keys: Turn<Result<Option<Json>, String>>,
}

/// What the producer has had since before the brokers were lost: it is handed over again in the order of the numbers, and
/// known by them.
#[derive(Default)]
struct Held {
    /// The last number handed over.
    last: u64,
    /// It has what was handed over up to here …
    up_to: u64,
    /// … of which this has been handed over again.
    again: u64,
    returned: HashSet<u64>,
    /// Reports on what has not been handed over again.
    early: HashMap<u64, Result<(), KafkaError>>,
}

/// Whether the producer has a message that is handed over, and what it has said of it.
#[derive(Debug, PartialEq)]
enum Handed {
    New,
    Held,
    Reported(Result<(), KafkaError>),
}

impl Held {
    /// The brokers were lost: all that is under way comes again.
    fn lost(&mut self) {
        (self.up_to, self.again) = (self.last, 0);
    }

    /// A number is handed over.
    fn hand(&mut self, number: u64) -> Handed {
        self.last = self.last.max(number);
        if number > self.up_to {
            return Handed::New;
        }
        self.again = number;
        if self.returned.remove(&number) {
            return Handed::New;
        }
        self.early.remove(&number).map_or(Handed::Held, Handed::Reported)
    }

    /// A report: passed on, or kept until the message is handed over again.
    fn report(&mut self, number: u64, result: Result<(), KafkaError>) -> Option<Result<(), KafkaError>> {
        if number <= self.up_to && number > self.again {
            self.early.insert(number, result);
            return None;
        }
        if result.is_err() {
            self.returned.insert(number);
        }
        Some(result)
    }
}

/// What a batch of one message and the headers take at most beside payload, key and session.
const OVERHEAD: usize = 512;

/// A broker that finds a batch too large refuses all of it. Until it is known which message is to blame, few go at a time.
struct Care {
    most: usize,
    /// As long as messages up to this number are handed over.
    until: u64,
    /// One of them has been refused: next time fewer go.
    is_refused: bool,
}

impl Care {
    const FIRST: usize = 256;

    /// A batch of at most so many was refused; whether that was the message alone.
    fn narrow(care: &mut Option<Self>, number: u64) -> bool {
        let care = care.get_or_insert(Self { most: Self::FIRST * 8, until: number, is_refused: false });
        care.until = care.until.max(number);
        if care.most == 1 {
            care.most = Self::FIRST;
            return true;
        }
        care.is_refused = true;
        false
    }
}

type Report = (u64, Result<(), KafkaError>);

#[derive(Default)]
struct Shared {
    news: Arc<News>,
    reports: Mutex<Vec<Report>>,
}

/// Takes delivery reports on the producer's thread.
struct Reports(Arc<Shared>);

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        self.0.news.error(&error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, number: usize) {
        let result = result.as_ref().map(|_| ()).map_err(|(error, _)| error.clone());
        let mut reports = self.0.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = reports.is_empty();
        reports.push((number as u64, result));
        drop(reports);
        if is_first {
            self.0.news.waker.wake();
        }
    }
}

impl KafkaSink {
    /// A sink that has not connected yet.
    pub(crate) fn new(settings: KafkaSettings, producing: Producing, key: Option<Filter>) -> Self {
        Self {
            settings,
            producing,
            key,
            run: headers::run_name(),
            producer: None,
            reports: Arc::default(),
            held: Held::default(),
            care: None,
            has_asked: false,
            lone: None,
            under_way: 0,
            taken: Vec::new(),
            keys: Turn::default(),
        }
    }

    async fn connect(&mut self) -> Result<(), Problem> {
        let producer = if let Some(producer) = &self.producer { Arc::clone(producer) } else { self.produce()? };
        let ask = move |topic: &str, limit: Duration| producer.client().fetch_metadata(Some(topic), limit);
        reach::check(&self.settings, self.settings.target(), &self.reports.news, ask).await?;
        if !std::mem::replace(&mut self.has_asked, true) {
            let properties = self.settings.producer(self.producing);
            if self.producing.learn(reach::size_limit(&properties, self.settings.target()).await) {
                self.drop_producer();
                self.produce()?;
            }
        }
        Ok(())
    }

    /// Makes the producer.
    fn produce(&mut self) -> Result<Arc<ThreadedProducer<Reports>>, Problem> {
        let config = reach::config(&self.settings.producer(self.producing));
        let producer = ThreadedProducer::from_config_and_context(&config, Reports(Arc::clone(&self.reports)))
            .map_err(|error| config_problem(&self.settings, &error))?;
        Ok(Arc::clone(self.producer.insert(Arc::new(producer))))
    }

    /// Whether a message may be more than the topic takes, alone as it is.
    fn may_be_too_large(&self, key: Option<&str>, envelope: &Envelope) -> bool {
        self.producing.limit.is_some_and(|limit| {
            let size =
                envelope.message.payload().len() + key.map_or(0, str::len) + envelope.origin.session.as_str().len();
            size + OVERHEAD > limit
        })
    }

    /// What the filter makes of a message as its key; without one it goes to any partition.
    fn poll_key(&mut self, number: u64, envelope: &Envelope, cx: &mut Context<'_>) -> Poll<Option<String>> {
        let Some(filter) = &self.key else { return Poll::Ready(None) };
        let begin = || match Json::of_payload(envelope.message.payload()) {
            Ok(json) => {
                let meta = filter.meta(|| envelope.origin.meta(&envelope.message, envelope.time, envelope.seq));
                filter.begin_first(&json, &meta)
            }
            Err(reason) => Begun::Done(Err(reason)),
        };
        let found = std::task::ready!(self.keys.poll(number, cx, begin));
        let key = found.and_then(|found| found).ok().flatten().map(|value| value.to_plain_string());
        Poll::Ready(key.filter(|key| key != "null"))
    }

    fn headers(&self, envelope: &Envelope) -> OwnedHeaders {
        let time = time_text(envelope.time);
        let trace = headers::trace(&self.run, envelope);
        OwnedHeaders::new_with_capacity(4)
            .insert(Header { key: headers::SESSION, value: Some(envelope.origin.session.as_str()) })
            .insert(Header { key: headers::TIME, value: Some(time.as_str()) })
            .insert(Header { key: headers::TYPE, value: Some(envelope.message.kind().name()) })
            .insert(Header { key: headers::TRACE, value: Some(trace.as_str()) })
    }

    /// What the broker's no means for a message, which may stand in a batch with others.
    fn refusal(&mut self, number: u64, error: &KafkaError) -> Problem {
        let is_size = matches!(
            error.rdkafka_error_code(),
            Some(Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidMessageSize)
        );
        let is_alone = self.lone.take_if(|lone| *lone == number).is_some();
        if is_size && !is_alone && !Care::narrow(&mut self.care, number) {
            return Problem::Again { reason: "a batch is too large".to_owned(), after: Some(Duration::ZERO) };
        }
        self.problem(error)
    }

    /// What an error means for the message it happened to.
    fn problem(&self, error: &KafkaError) -> Problem {
        let Some(code) = error.rdkafka_error_code() else { return again(error.to_string()) };
        match code {
            Code::MessageSizeTooLarge
            | Code::InvalidMessage
            | Code::InvalidMessageSize
            | Code::MessageBatchTooLarge
            | Code::InvalidRecord
            | Code::InvalidTimestamp => {
                let words = code.to_string();
                let words = words.rsplit_once('(').map_or(words.as_str(), |(_, words)| words.trim_end_matches(')'));
                Problem::Never(format!("rejected: {words}"))
            }
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
                final_problem(&self.settings, code, self.settings.target())
            }
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed | Code::SaslAuthenticationFailed => {
                final_problem(&self.settings, code, &code.to_string())
            }
            other => again(other.to_string()),
        }
    }

    /// The producer goes, with all it holds.
    fn drop_producer(&mut self) {
        if let Some(producer) = self.producer.take() {
            // It waits for its own threads.
            let _ = std::thread::Builder::new().name("kafka".to_owned()).spawn(move || drop(producer));
        }
        self.reports = Arc::default();
        self.held = Held::default();
        self.lone = None;
        self.under_way = 0;
    }
}

impl WindowSink for KafkaSink {
    fn name(&self) -> &str {
        &self.settings.shown
    }

    fn open(&mut self) -> LocalFuture<'_, Result<(), Problem>> {
        Box::pin(self.connect())
    }

    fn poll_hand(&mut self, number: u64, envelope: &Envelope, cx: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        let key = std::task::ready!(self.poll_key(number, envelope, cx));
        match self.held.hand(number) {
            Handed::New => {}
            Handed::Held => return Poll::Ready(Ok(())),
            Handed::Reported(result) => {
                self.taken.push((number, result));
                cx.waker().wake_by_ref();
                return Poll::Ready(Ok(()));
            }
        }
        if let Some(care) = &mut self.care {
            if std::mem::take(&mut care.is_refused) {
                care.most = (care.most / 8).max(1);
            }
            if number > care.until && self.under_way == 0 {
                self.care = None;
            } else if self.under_way >= care.most {
                // The next report wakes.
                return Poll::Pending;
            }
        }
        let Some(producer) = &self.producer else { return Poll::Ready(Err(again("not connected"))) };
        if self.lone.is_some() && self.under_way > 0 {
            return Poll::Pending;
        }
        let is_lone = self.may_be_too_large(key.as_deref(), envelope);
        if is_lone && self.under_way > 0 {
            return Poll::Pending;
        }
        let payload: &[u8] = envelope.message.payload();
        let mut record = BaseRecord::<str, [u8], usize>::with_opaque_to(self.settings.target(), number as usize)
            .payload(payload)
            .timestamp(envelope.time.as_millisecond());
        if let Some(key) = &key {
            record = record.key(key.as_str());
        }
        if self.settings.headers {
            record = record.headers(self.headers(envelope));
        }
        match producer.send(record) {
            Ok(()) => {
                self.under_way += 1;
                self.lone = is_lone.then_some(number);
                Poll::Ready(Ok(()))
            }
            // A report that makes room wakes.
            Err((error, _)) if error.rdkafka_error_code() == Some(Code::QueueFull) => Poll::Pending,
            Err((error, _)) => Poll::Ready(Err(self.problem(&error))),
        }
    }

    fn pause(&mut self, _cx: &mut Context<'_>) {}

    fn poll_answers(&mut self, cx: &mut Context<'_>, answers: &mut Vec<Answer>) -> Poll<Problem> {
        self.reports.news.waker.register(cx.waker());
        let mut taken = std::mem::take(&mut self.taken);
        // Those were counted when they came.
        let mut told_before = taken.len();
        taken.append(&mut self.reports.reports.lock().unwrap_or_else(PoisonError::into_inner));
        for (number, result) in taken.drain(..) {
            let result = if told_before > 0 {
                told_before -= 1;
                if result.is_err() {
                    self.held.returned.insert(number);
                }
                Some(result)
            } else {
                self.under_way = self.under_way.saturating_sub(1);
                self.held.report(number, result)
            };
            if let Some(result) = result {
                answers.push(Answer::One(number, result.map_err(|error| self.refusal(number, &error))));
            }
        }
        self.taken = taken;
        if let Some(problem) = self.reports.news.take_final(&self.settings) {
            return Poll::Ready(problem);
        }
        match self.reports.news.take_down() {
            Some(problem) if self.under_way > 0 => {
                // It keeps what it has and goes on trying; meanwhile patience is counted.
                self.held.lost();
                Poll::Ready(problem)
            }
            _ => Poll::Pending,
        }
    }

    fn give_up(&mut self) {
        self.drop_producer();
    }

    fn finish(&mut self) -> LocalFuture<'_, ()> {
        self.drop_producer();
        Box::pin(std::future::ready(()))
    }
}

impl Drop for KafkaSink {
    fn drop(&mut self) {
        self.drop_producer();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Result<(), KafkaError> {
        Err(KafkaError::MessageProduction(Code::MessageTimedOut))
    }

    #[test]
    fn fewer_go_at_a_time_until_one_is_to_blame() {
        let mut care = None;
        let mut sizes = Vec::new();
        while !Care::narrow(&mut care, 7) {
            let care = care.as_mut().expect("care");
            assert!(std::mem::take(&mut care.is_refused));
            care.most /= 8;
            care.most = care.most.max(1);
            sizes.push(care.most);
        }
        assert_eq!(sizes, [256, 32, 4, 1]);
    }

    #[test]
    fn what_the_producer_has_is_not_handed_to_it_again() {
        let mut held = Held::default();
        for number in 1..=4 {
            assert_eq!(held.hand(number), Handed::New, "{number}");
        }
        assert_eq!(held.report(1, Ok(())), Some(Ok(())));
        // The second comes back; then the brokers are lost.
        assert_eq!(held.report(2, failed()), Some(failed()));
        held.lost();
        // A report while nothing has been handed over again waits.
        assert_eq!(held.report(3, Ok(())), None);
        assert_eq!(held.hand(2), Handed::New, "it was given back, so it is produced again");
        assert_eq!(held.hand(3), Handed::Reported(Ok(())), "it was reported on meanwhile");
        assert_eq!(held.hand(4), Handed::Held, "it is still there");
        assert_eq!(held.hand(5), Handed::New, "this one is new");
        for number in [2, 4, 5] {
            assert_eq!(held.report(number, Ok(())), Some(Ok(())), "{number}");
        }
    }
}
