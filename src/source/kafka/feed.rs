//! Messages polled from librdkafka on a thread, a batch at a time, while the batch before is handed on.
//!
//! Leaves when to ask, and what happens to messages, to the source. Invariants: nothing is polled that was not asked
//! for; at most one batch is under way, and it ends early when partitions come or go.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use rdkafka::consumer::{BaseConsumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};

use crate::broker::headers;
use crate::message::Message;
use crate::message::pack::Pack;
use crate::message::source::Source;

/// Messages of a batch.
const MOST: usize = 2048;
/// Payload bytes of a batch, but for its last message.
const MOST_BYTES: usize = 1 << 20;
/// How long a batch waits for its first message.
const PATIENCE: Duration = Duration::from_millis(100);

/// A message with its place.
pub(super) struct Taken {
    pub partition: i32,
    pub offset: i64,
    pub message: Message,
}

impl Taken {
    fn new(message: &BorrowedMessage<'_>, pack: &mut Pack, topic: Option<&Arc<str>>) -> Self {
        let payload = message.payload().unwrap_or_default();
        let word = message.headers().and_then(|map| map.iter().find(|header| header.key == headers::TYPE));
        let kind = headers::kind_of(payload, word.and_then(|header| header.value));
        let source = topic.map(|topic| Arc::new(source_of(message, topic)));
        let own = Message::copied(kind, payload, pack).with_source(source);
        Self { partition: message.partition(), offset: message.offset(), message: own }
    }
}

fn source_of(message: &BorrowedMessage<'_>, topic: &Arc<str>) -> Source {
    let headers = message.headers().map(|map| {
        map.iter().map(|header| (header.key.to_owned(), header.value.map(Bytes::copy_from_slice))).collect()
    });
    Source::Record {
        topic: Arc::clone(topic),
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().map(Bytes::copy_from_slice),
        headers: headers.unwrap_or_default(),
    }
}

pub(super) type Batch = Vec<Result<Taken, KafkaError>>;

/// The thread, and what it has.
pub(super) struct Feed {
    asks: Option<Sender<()>>,
    ready: Arc<Mutex<Option<Batch>>>,
    is_asked: bool,
    /// Somebody asks where messages came from.
    tells_sources: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    /// Starts the thread, for a topic; `told` says whether a batch should end, `wake` is called when one is there.
    pub(super) fn new<C: ConsumerContext + 'static>(
        consumer: Arc<BaseConsumer<C>>,
        topic: &str,
        told: impl Fn() -> bool + Send + 'static,
        wake: impl Fn() + Send + 'static,
    ) -> Self {
        let (asks, asked) = channel();
        let ready = Arc::new(Mutex::new(None));
        let slot = Arc::clone(&ready);
        let tells_sources = Arc::new(AtomicBool::new(false));
        let (is_told, topic) = (Arc::clone(&tells_sources), Arc::from(topic));
        let work = move || {
            while asked.recv().is_ok() {
                let topic = is_told.load(Ordering::Relaxed).then_some(&topic);
                let batch = poll(&consumer, topic, &told);
                *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(batch);
                wake();
            }
        };
        let thread = thread::Builder::new().name("kafka".to_owned()).spawn(work).ok();
        Self { asks: Some(asks), ready, is_asked: false, tells_sources, thread }
    }

    /// Whether a batch was asked for that has not come.
    pub(super) fn is_asked(&self) -> bool {
        self.is_asked
    }

    /// Asks for a batch, if none is under way; each message is to say where it came from where that is asked for.
    pub(super) fn ask(&mut self, with_sources: bool) {
        self.tells_sources.store(with_sources, Ordering::Relaxed);
        if let (false, Some(asks)) = (self.is_asked, &self.asks) {
            self.is_asked = asks.send(()).is_ok();
        }
    }

    /// The batch, when it has come.
    pub(super) fn take(&mut self) -> Option<Batch> {
        let batch = self.ready.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        self.is_asked = false;
        Some(batch)
    }

    /// No more will be asked for; what waits for the thread to end.
    pub(super) fn end(&mut self) -> Option<JoinHandle<()>> {
        self.asks = None;
        self.thread.take()
    }
}

fn poll<C: ConsumerContext>(consumer: &BaseConsumer<C>, topic: Option<&Arc<str>>, told: &impl Fn() -> bool) -> Batch {
    let (mut batch, mut bytes, mut wait) = (Vec::with_capacity(MOST), 0, PATIENCE);
    let mut pack = Pack::default();
    while batch.len() < MOST && bytes < MOST_BYTES {
        match consumer.poll(wait) {
            Some(Ok(message)) => {
                let taken = Taken::new(&message, &mut pack, topic);
                bytes += taken.message.len();
                batch.push(Ok(taken));
            }
            Some(Err(error)) => batch.push(Err(error)),
            None => break,
        }
        if told() {
            break;
        }
        wait = Duration::ZERO;
    }
    batch
}
