//! Bare loops: `wsp-bare JOB SERVER NAME COUNT [SIZE]`; prints the seconds between the first message and the last.
//!
//! kafka-produce, kafka-produce-headers, kafka-consume, nats-publish, nats-subscribe (ready on a line of its own),
//! stream-publish, stream-publish-ids.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [job, server, name, count, rest @ ..] = words.as_slice() else {
        return Err("usage: wsp-bare JOB SERVER NAME COUNT [SIZE]".into());
    };
    let count: usize = count.parse()?;
    let size: usize = rest.first().map_or(Ok(200), |size| size.parse())?;
    let payload = Bytes::from(vec![b'x'; size]);
    let took = match job.as_str() {
        "kafka-produce" => kafka_produce(server, name, count, &payload, false)?,
        "kafka-produce-headers" => kafka_produce(server, name, count, &payload, true)?,
        "kafka-consume" => kafka_consume(server, name, count)?,
        "nats-publish" => nats_publish(server, name, count, payload).await?,
        "nats-subscribe" => nats_subscribe(server, name, count).await?,
        "stream-publish" => stream_publish(server, name, count, payload, false).await?,
        "stream-publish-ids" => stream_publish(server, name, count, payload, true).await?,
        _ => return Err("no such job".into()),
    };
    println!("{}", took.as_secs_f64());
    Ok(())
}

/// Headers like those of `wsp relay`, a new set for each message.
fn headers() -> OwnedHeaders {
    OwnedHeaders::new_with_capacity(4)
        .insert(Header { key: "session", value: Some("s1") })
        .insert(Header { key: "time", value: Some("2026-01-02T03:04:05.678901Z") })
        .insert(Header { key: "type", value: Some("text") })
        .insert(Header { key: "trace", value: Some("0123456789abcdef-s1-1234567") })
}

fn kafka_produce(
    server: &str,
    topic: &str,
    count: usize,
    payload: &Bytes,
    with_headers: bool,
) -> Result<Duration, Failure> {
    let producer: ThreadedProducer<DefaultProducerContext> = ClientConfig::new()
        .set("bootstrap.servers", server)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("linger.ms", "5")
        .create()?;
    producer.client().fetch_metadata(Some(topic), Duration::from_secs(10))?;
    let began = Instant::now();
    for _ in 0..count {
        let mut record = BaseRecord::<(), [u8]>::to(topic).payload(payload);
        if with_headers {
            record = record.headers(headers());
        }
        while let Err((error, same)) = producer.send(record) {
            let KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) = error else { return Err(error.into()) };
            record = same;
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    producer.flush(Duration::from_secs(60))?;
    Ok(began.elapsed())
}

fn kafka_consume(server: &str, topic: &str, count: usize) -> Result<Duration, Failure> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", server)
        .set("group.id", format!("bare-{}", std::process::id()))
        .set("auto.offset.reset", "earliest")
        .create()?;
    consumer.subscribe(&[topic])?;
    let mut began = None;
    let mut got = 0;
    while got < count {
        if let Some(message) = consumer.poll(Duration::from_secs(1)) {
            message?;
            began.get_or_insert_with(Instant::now);
            got += 1;
        }
    }
    Ok(began.map_or(Duration::ZERO, |began| began.elapsed()))
}

async fn nats_publish(server: &str, subject: &str, count: usize, payload: Bytes) -> Result<Duration, Failure> {
    let client = async_nats::connect(server).await?;
    let began = Instant::now();
    for _ in 0..count {
        client.publish(subject.to_owned(), payload.clone()).await?;
    }
    client.flush().await?;
    Ok(began.elapsed())
}

async fn nats_subscribe(server: &str, subject: &str, count: usize) -> Result<Duration, Failure> {
    let client = async_nats::connect(server).await?;
    let mut messages = client.subscribe(subject.to_owned()).await?;
    client.flush().await?;
    println!("ready");
    messages.next().await;
    let began = Instant::now();
    for _ in 1..count {
        messages.next().await;
    }
    Ok(began.elapsed())
}

async fn stream_publish(
    server: &str,
    subject: &str,
    count: usize,
    payload: Bytes,
    with_ids: bool,
) -> Result<Duration, Failure> {
    let context = async_nats::jetstream::new(async_nats::connect(server).await?);
    let run = std::process::id();
    let began = Instant::now();
    let mut waiting = VecDeque::new();
    for number in 0..count {
        let sent = if with_ids {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert("Nats-Msg-Id", format!("{run:016x}-{number}"));
            context.publish_with_headers(subject.to_owned(), headers, payload.clone()).await?
        } else {
            context.publish(subject.to_owned(), payload.clone()).await?
        };
        waiting.push_back(sent.into_future());
        if waiting.len() >= 1000
            && let Some(first) = waiting.pop_front()
        {
            first.await?;
        }
    }
    for acknowledgement in waiting {
        acknowledgement.await?;
    }
    Ok(began.elapsed())
}
