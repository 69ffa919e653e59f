//! Questions to brokers that wait for their answer, each asked on a thread: where a time begins, and how much waits.
//!
//! Invariant: the thread has let go of the consumer before its answer is heard, so that the code that waits for answers
//! is the last to have it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::broker::Start;

/// How long to wait for an answer.
const ANSWER: Duration = Duration::from_secs(5);
/// Time between questions how much waits.
const LAG_EVERY: Duration = Duration::from_secs(2);

fn ask<C: ConsumerContext + 'static, T: Send + 'static>(
    consumer: &Arc<BaseConsumer<C>>,
    question: impl FnOnce(&BaseConsumer<C>) -> T + Send + 'static,
) -> oneshot::Receiver<T> {
    let (tell, told) = oneshot::channel();
    let consumer = Arc::clone(consumer);
    let work = move || {
        let answer = question(&consumer);
        drop(consumer);
        let _ = tell.send(answer);
    };
    let _ = thread::Builder::new().name("kafka".to_owned()).spawn(work);
    told
}

/// Finds where partitions begin for a group that has no position there: at the first message that is not older.
pub(super) fn look_up<C: ConsumerContext + 'static>(
    consumer: &Arc<BaseConsumer<C>>,
    partitions: TopicPartitionList,
    time: jiff::Timestamp,
) -> oneshot::Receiver<TopicPartitionList> {
    ask(consumer, move |consumer| {
        let mut begin = consumer.committed_offsets(partitions.clone(), ANSWER).unwrap_or(partitions);
        let mut times = TopicPartitionList::new();
        for element in begin.elements() {
            if element.offset() == Offset::Invalid {
                let at = Offset::Offset(time.as_millisecond());
                let _ = times.add_partition_offset(element.topic(), element.partition(), at);
            }
        }
        for element in consumer.offsets_for_times(times, ANSWER).unwrap_or_default().elements() {
            let _ = begin.set_partition_offset(element.topic(), element.partition(), element.offset());
        }
        begin
    })
}

/// How much waits in our partitions, asked every few seconds.
#[derive(Default)]
pub(super) struct Lag {
    asked: Option<Instant>,
    answer: Option<oneshot::Receiver<Option<u64>>>,
}

impl Lag {
    /// Messages behind the group's position, when an answer has come.
    pub(super) fn poll<C: ConsumerContext + 'static>(
        &mut self,
        consumer: &Arc<BaseConsumer<C>>,
        start: Start,
        has_group: bool,
        cx: &mut Context<'_>,
    ) -> Option<u64> {
        if let Some(answer) = &mut self.answer {
            let Poll::Ready(told) = Pin::new(answer).poll(cx) else { return None };
            self.answer = None;
            return told.ok().flatten();
        }
        if self.asked.is_none_or(|asked| asked.elapsed() >= LAG_EVERY) {
            self.asked = Some(Instant::now());
            self.answer = Some(ask(consumer, move |consumer| measure(consumer, start, has_group).ok()));
            cx.waker().wake_by_ref();
        }
        None
    }

    /// Waits until nobody is asked any more.
    pub(super) async fn finish(&mut self) {
        if let Some(answer) = self.answer.take() {
            let _ = answer.await;
        }
    }
}

fn measure<C: ConsumerContext>(consumer: &BaseConsumer<C>, start: Start, has_group: bool) -> KafkaResult<u64> {
    let ours = consumer.assignment()?;
    // Brokers take the numbers of both ends for times.
    let at = |place: Offset| -> KafkaResult<TopicPartitionList> {
        let mut times = TopicPartitionList::with_capacity(ours.count());
        for element in ours.elements() {
            times.add_partition_offset(element.topic(), element.partition(), place)?;
        }
        if ours.count() == 0 { Ok(times) } else { consumer.offsets_for_times(times, ANSWER) }
    };
    let ends = at(Offset::End)?;
    let positions = if has_group { consumer.committed_offsets(ours.clone(), ANSWER)? } else { consumer.position()? };
    let number = |list: &TopicPartitionList, topic: &str, partition: i32| match list
        .find_partition(topic, partition)?
        .offset()
    {
        Offset::Offset(number) => Some(number),
        _ => None,
    };
    let mut begins = None;
    let mut lag = 0;
    for element in ours.elements() {
        let (topic, partition) = (element.topic(), element.partition());
        let Some(end) = number(&ends, topic, partition) else { continue };
        let position = match number(&positions, topic, partition) {
            Some(position) => position,
            None if start != Start::Earliest => end,
            None => {
                if begins.is_none() {
                    begins = Some(at(Offset::Beginning)?);
                }
                begins.as_ref().and_then(|begins| number(begins, topic, partition)).unwrap_or(end)
            }
        };
        lag += (end - position).max(0).unsigned_abs();
    }
    Ok(lag)
}
