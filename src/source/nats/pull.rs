//! A pull consumer of a stream: found or made, asked for as many messages as there is room for, missed when it falls silent,
//! and asked how much waits in it.
//!
//! Leaves what comes, and acknowledging it, to the source. Invariant: no more is asked for than there is room for.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::message::OutboundMessage;
use async_nats::{Client, HeaderMap, Message as NatsMessage, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures_util::{Sink as _, StreamExt as _};
use serde_json::json;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::broker::nats::{Link, NatsSettings, Refusal};
use crate::broker::{Start, again, refused};
use crate::queue::end::Problem;

/// Messages asked for at a time.
const BATCH: u64 = 500;
/// How long the server keeps what was asked for open.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often it says that it is still there.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long it may say nothing.
const SILENCE: Duration = Duration::from_secs(15);
/// Time between questions how much waits.
const LAG_EVERY: Duration = Duration::from_secs(2);

/// What the subject for answers says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Delivery {
    /// How often it was delivered, this time included.
    pub times: u64,
    pub number: u64,
    /// Messages of the stream behind it.
    pub pending: u64,
}

impl Delivery {
    /// Reads `$JS.ACK.[DOMAIN.ACCOUNT.]STREAM.CONSUMER.TIMES.NUMBER.CONSUMER-NUMBER.TIME.PENDING[.TOKEN]`.
    pub(super) fn read(reply: &str) -> Option<Self> {
        let words: Vec<&str> = reply.strip_prefix("$JS.ACK.")?.split('.').collect();
        let first = if words.len() == 7 { 2 } else { 4 };
        let number = |place: usize| words.get(place)?.parse().ok();
        Some(Self { times: number(first)?, number: number(first + 1)?, pending: number(first + 4)? })
    }
}

/// Asking a consumer for messages.
pub(super) struct Pull {
    next: Subject,
    inbox: String,
    /// Messages asked for that have not come.
    credit: u64,
    /// How long the consumer waits for an outcome before it delivers a message again.
    pub ack_wait: Duration,
    heard: Instant,
    tick: Interval,
    lag: Option<Lag>,
}

/// Asking a consumer that others may share how much waits in it.
struct Lag {
    info: Subject,
    inbox: String,
    answers: Subscriber,
    asked: Option<Instant>,
}

impl Pull {
    /// Finds the consumer, or makes it; with where its messages come.
    ///
    /// # Errors
    /// There is no stream, or no consumer of this kind can be had.
    pub(super) async fn open(
        settings: &NatsSettings,
        stream: &str,
        link: &Link,
        last_seen: u64,
    ) -> Result<(Self, Subscriber), Problem> {
        let failed = |error: async_nats::SubscribeError| again(error.to_string());
        let info = consumer(settings, stream, link, last_seen).await?;
        let name = info["name"].as_str().unwrap_or_default();
        if info["config"]["deliver_subject"].is_string() {
            let text = format!("{name} is a push consumer; use a pull consumer");
            return Err(Problem::Broken(refused(&settings.shown, &text).hint("name another with ?durable=NAME")));
        }
        let inbox = link.client.new_inbox();
        let messages = link.client.subscribe(inbox.clone()).await.map_err(failed)?;
        let mut lag = None;
        // Who may find a durable consumer may ask about it; a client that made its own might not.
        if settings.durable.is_some() {
            let inbox = link.client.new_inbox();
            let answers = link.client.subscribe(inbox.clone()).await.map_err(failed)?;
            let info = Subject::from(format!("{}.CONSUMER.INFO.{stream}.{name}", settings.api()));
            lag = Some(Lag { info, inbox, answers, asked: None });
        }
        let ack_wait = Duration::from_nanos(info["config"]["ack_wait"].as_u64().unwrap_or(30_000_000_000));
        let mut tick = interval((ack_wait / 6).clamp(Duration::from_millis(50), Duration::from_secs(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let pull = Self {
            next: Subject::from(format!("{}.CONSUMER.MSG.NEXT.{stream}.{name}", settings.api())),
            inbox,
            credit: 0,
            ack_wait,
            heard: Instant::now(),
            tick,
            lag,
        };
        Ok((pull, messages))
    }

    /// A message has come, or a word about those that were asked for.
    ///
    /// # Errors
    /// The word is that no more will come.
    pub(super) fn heard(&mut self, message: &NatsMessage) -> Result<(), Problem> {
        self.heard = Instant::now();
        let Some(status) = message.status else {
            self.credit = self.credit.saturating_sub(1);
            return Ok(());
        };
        self.told(status, message.description.as_deref().unwrap_or_default(), message.headers.as_ref())
    }

    fn told(&mut self, status: StatusCode, text: &str, map: Option<&HeaderMap>) -> Result<(), Problem> {
        match status.as_u16() {
            // It is still there.
            100 => {}
            404 | 408 => self.give_back(map),
            409 if text.starts_with("Message Size") || text.starts_with("Batch Completed") => self.give_back(map),
            503 => return Err(again("the consumer was deleted")),
            _ => return Err(again(text)),
        }
        Ok(())
    }

    /// Part of what was asked for will not come.
    fn give_back(&mut self, map: Option<&HeaderMap>) {
        let left = map.and_then(|map| map.get("Nats-Pending-Messages")).and_then(|left| left.as_str().parse().ok());
        self.credit = self.credit.saturating_sub(left.unwrap_or(u64::MAX));
    }

    /// Asks for as many messages as there is room for.
    pub(super) fn ask(&mut self, client: &mut Client, room: u64, cx: &mut Context<'_>) {
        let room = room.clamp(1, BATCH);
        if self.credit * 2 > room {
            return;
        }
        let batch = room - self.credit;
        let body = json!({"batch": batch, "expires": nanos(EXPIRES), "idle_heartbeat": nanos(HEARTBEAT)});
        if send(client, &self.next, Some(&self.inbox), Bytes::from(body.to_string()), cx) {
            if self.credit == 0 {
                self.heard = Instant::now();
            }
            self.credit += batch;
        }
    }

    /// Whether it is time to look what is late.
    pub(super) fn is_time(&mut self, cx: &mut Context<'_>) -> bool {
        let mut is_time = false;
        while self.tick.poll_tick(cx).is_ready() {
            is_time = true;
        }
        is_time
    }

    /// What is wrong when the server has said nothing for too long, though messages are asked for.
    pub(super) fn silence(&mut self, listens: bool) -> Option<Problem> {
        if !listens {
            self.heard = Instant::now();
        }
        (self.credit > 0 && self.heard.elapsed() > SILENCE).then(|| again("the server stopped responding"))
    }

    /// Asks how much waits, every few seconds. Sources without that query learn it from the messages.
    pub(super) fn ask_lag(&mut self, client: &mut Client, cx: &mut Context<'_>) {
        if let Some(lag) = &mut self.lag
            && lag.asked.is_none_or(|asked| asked.elapsed() >= LAG_EVERY)
            && send(client, &lag.info, Some(&lag.inbox), Bytes::new(), cx)
        {
            lag.asked = Some(Instant::now());
        }
    }

    /// Messages of the stream without an outcome, when the answer has come.
    pub(super) fn poll_lag(&mut self, cx: &mut Context<'_>) -> Option<u64> {
        let mut last = None;
        while let Poll::Ready(Some(answer)) = self.lag.as_mut()?.answers.poll_next_unpin(cx) {
            let info: serde_json::Value = serde_json::from_slice(&answer.payload).unwrap_or_default();
            last = info["num_pending"].as_u64().map(|left| left + info["num_ack_pending"].as_u64().unwrap_or(0));
        }
        last
    }

    /// Whether what waits is asked for.
    pub(super) fn asks_lag(&self) -> bool {
        self.lag.is_some()
    }
}

/// Sends where there is room for it.
pub(super) fn send(
    client: &mut Client,
    subject: &Subject,
    reply: Option<&str>,
    payload: Bytes,
    cx: &mut Context<'_>,
) -> bool {
    let mut client = Pin::new(client);
    let message = OutboundMessage { subject: subject.clone(), reply: reply.map(Subject::from), payload, headers: None };
    matches!(client.as_mut().poll_ready(cx), Poll::Ready(Ok(()))) && client.start_send(message).is_ok()
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
            Err(refusal) if refusal.is_missing_consumer(settings) => {}
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
}
