//! NATS as the sink of a pipeline: plain publishing, publishing to a stream with acknowledgements, and requests.
//!
//! Leaves the connection to `broker/`, and retries and dead letters to the pipeline. Invariants: a message for a stream is
//! delivered when the stream has acknowledged it; a plain one when the server has answered what was sent behind it; a
//! request when its reply has come. What is published again has the message id it had before.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::message::OutboundMessage;
use async_nats::{HeaderMap, HeaderName, Message as NatsMessage, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use crate::broker::nats::{Link, NatsSettings, covers, outbox};
use crate::broker::{again, headers, refused};
use crate::filter::apart::{Begun, Turn};
use crate::filter::{Filter, Json};
use crate::message::MessageKind;
use crate::message::event::time_text;
use crate::queue::end::{Ingress, LocalFuture, Problem};
use crate::queue::envelope::{Envelope, Origin};
use crate::queue::window::{Answer, WindowSink};

/// Longest silence of a server that owes an answer.
const SILENCE: Duration = Duration::from_secs(10);
/// Messages before the server is asked whether it has them, whatever else is to be sent.
const MARK_EVERY: usize = 1000;

const SESSION: HeaderName = HeaderName::from_static(headers::SESSION);
const TIME: HeaderName = HeaderName::from_static(headers::TIME);
const TYPE: HeaderName = HeaderName::from_static(headers::TYPE);
const TRACE: HeaderName = HeaderName::from_static(headers::TRACE);

/// Subjects of requests that wait for an answer, oldest first.
pub(crate) type Requests = Rc<RefCell<VecDeque<Subject>>>;

pub(crate) struct Replies {
    /// Where they go; nowhere when nobody listens.
    pub ingress: Option<Rc<dyn Ingress>>,
    /// The session they belong to.
    pub origin: Rc<Origin>,
    /// The number of the last one.
    pub seq: u64,
}

/// Publishes to NATS.
pub(crate) struct NatsSink {
    pub settings: NatsSettings,
    /// Yields the message id.
    pub id: Option<Filter>,
    /// What happens to replies to requests.
    pub replies: Replies,
    /// Requests that what goes out answers, under `?reply`.
    pub requests: Option<Requests>,
    /// The name of this run.
    pub run: String,
    pub state: Option<Open>,
    ids: Turn<Result<Option<Json>, String>>,
}

/// An open connection and what it owes.
pub(crate) struct Open {
    link: Link,
    target: Subject,
    inbox: String,
    answers: Subscriber,
    /// Numbers handed over and not answered, and since when.
    owed: VecDeque<(u64, Instant)>,
    /// Of those, how many came after the last mark.
    since_mark: usize,
    is_marked: bool,
    /// Whether the server is known to let us publish here.
    is_allowed: bool,
    /// When the last was handed over whose time counts.
    asked: Instant,
    heard: Instant,
    tick: Interval,
    lost: Option<Problem>,
}

impl NatsSink {
    /// A sink that has not connected yet.
    pub(crate) fn new(
        settings: NatsSettings,
        id: Option<Filter>,
        replies: Replies,
        requests: Option<Requests>,
    ) -> Self {
        Self { settings, id, replies, requests, run: headers::run_name(), state: None, ids: Turn::default() }
    }

    async fn connect(&mut self) -> Result<(), Problem> {
        self.state = None;
        let settings = &self.settings;
        let link = Link::open(settings).await?;
        if let Some(stream) = &settings.stream {
            let info = link.stream(settings, stream).await?;
            check_subject(settings, stream, &info)?;
        }
        let inbox = link.client.new_inbox();
        let answers = link.client.subscribe(format!("{inbox}.*")).await.map_err(|error| again(error.to_string()))?;
        let mut tick = interval(Duration::from_millis(500));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.state = Some(Open {
            link,
            target: Subject::from(settings.target()),
            inbox,
            answers,
            owed: VecDeque::new(),
            since_mark: 0,
            is_marked: false,
            is_allowed: false,
            asked: Instant::now(),
            heard: Instant::now(),
            tick,
            lost: None,
        });
        Ok(())
    }

    fn is_plain(&self) -> bool {
        self.settings.stream.is_none() && !self.settings.request
    }

    /// The id that a stream knows a message by.
    fn poll_id(&mut self, number: u64, envelope: &Envelope, cx: &mut Context<'_>) -> Poll<Result<String, Problem>> {
        let Some(filter) = &self.id else {
            return Poll::Ready(Ok(headers::joined(&[&self.run], b'-', number)));
        };
        let begin = || match Json::of_payload(envelope.message.payload()) {
            Ok(json) => filter.begin_first(&json, &Json::null()),
            Err(reason) => Begun::Done(Err(reason)),
        };
        let never = |why: String| Problem::Never(format!("?id: {why}"));
        let found = std::task::ready!(self.ids.poll(number, cx, begin)).and_then(|found| found).map_err(never)?;
        let id = found.map(|value| value.to_plain_string()).filter(|id| !id.is_empty() && id != "null");
        let id = id.ok_or_else(|| never("it yields nothing".to_owned()));
        Poll::Ready(id.map(|id| id.replace(['\r', '\n'], " ")))
    }

    fn headers(&self, envelope: &Envelope, id: Option<String>) -> Option<HeaderMap> {
        let is_binary = envelope.message.kind() == MessageKind::Binary;
        if !self.settings.headers && id.is_none() && !is_binary {
            return None;
        }
        let mut map = HeaderMap::new();
        if let Some(id) = id {
            map.insert(NATS_MESSAGE_ID, id);
        }
        if self.settings.headers {
            map.insert(SESSION, envelope.origin.session.as_str());
            map.insert(TIME, time_text(envelope.time));
            map.insert(TRACE, headers::trace(&self.run, envelope));
        }
        // What is not said to be binary is text where it can be.
        if is_binary {
            map.insert(TYPE, envelope.message.kind().name());
        }
        Some(map)
    }

    fn hand(&mut self, number: u64, envelope: &Envelope, cx: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        let id = match &self.settings.stream {
            Some(_) => Some(std::task::ready!(self.poll_id(number, envelope, cx))?),
            None => None,
        };
        let headers = self.headers(envelope, id);
        let (is_plain, requests) = (self.is_plain(), self.requests.clone());
        let Some(open) = &mut self.state else { return Poll::Ready(Err(again("not connected"))) };
        if open.link.is_lost() {
            // Said by what is asked for answers.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let (size, most) = (outbox::size(headers.as_ref(), envelope.message.len()), open.link.client.max_payload());
        if size > most {
            let text = format!("it has {} bytes; the server accepts at most {most}", envelope.message.len());
            return Poll::Ready(Err(Problem::Never(text)));
        }
        let subject = match &requests {
            None => open.target.clone(),
            Some(requests) => match requests.borrow_mut().pop_front() {
                Some(subject) => subject,
                None => return Poll::Ready(Err(Problem::Never("no request is waiting for an answer".to_owned()))),
            },
        };
        let reply = (!is_plain).then(|| Subject::from(headers::joined(&[&open.inbox], b'.', number)));
        let message = OutboundMessage { subject, reply, payload: envelope.message.payload().clone(), headers };
        open.link.outbox.put(message);
        // Only requests have each a time of its own: reading the clock is not free.
        if open.owed.is_empty() || self.settings.request {
            open.asked = Instant::now();
        }
        if open.owed.is_empty() {
            open.heard = open.asked;
        }
        open.owed.push_back((number, open.asked));
        if is_plain {
            open.since_mark += 1;
            if open.since_mark >= MARK_EVERY {
                open.mark();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Open {
    /// Sends something to ourselves behind what was published: when it comes back, the server has that.
    fn mark(&mut self) {
        let Some((last, _)) = self.owed.back() else { return };
        // Whether a subject is forbidden is told beside the messages: the first time a second mark makes sure of it.
        let name = if self.is_allowed { 'm' } else { 'p' };
        self.say(format!("{}.{name}{last}", self.inbox));
        (self.since_mark, self.is_marked) = (0, true);
    }

    fn say(&mut self, subject: String) {
        let subject = Subject::from(subject);
        self.link.outbox.put(OutboundMessage { subject, reply: None, payload: Bytes::new(), headers: None });
    }

    fn on_mark(&mut self, word: &str, answers: &mut Vec<Answer>) {
        let (kind, number) = word.split_at(1);
        let Ok(number) = number.parse::<u64>() else { return };
        if kind == "p" {
            self.say(format!("{}.m{number}", self.inbox));
            return;
        }
        self.is_allowed = true;
        self.is_marked = false;
        self.owed.drain(..self.owed.partition_point(|(known, _)| *known <= number));
        answers.push(Answer::UpTo(number));
    }

    fn settle(&mut self, number: u64) -> bool {
        let place = match self.owed.front() {
            Some((front, _)) if *front == number => 0,
            _ => match self.owed.binary_search_by_key(&number, |(known, _)| *known) {
                Ok(place) => place,
                Err(_) => return false,
            },
        };
        self.owed.remove(place);
        true
    }
}

impl WindowSink for NatsSink {
    fn name(&self) -> &str {
        &self.settings.shown
    }

    fn open(&mut self) -> LocalFuture<'_, Result<(), Problem>> {
        Box::pin(self.connect())
    }

    fn poll_hand(&mut self, number: u64, envelope: &Envelope, cx: &mut Context<'_>) -> Poll<Result<(), Problem>> {
        self.hand(number, envelope, cx)
    }

    fn pause(&mut self, _: &mut Context<'_>) {
        let is_plain = self.is_plain();
        if let Some(open) = &mut self.state {
            if is_plain && open.since_mark > 0 && !open.is_marked {
                open.mark();
            }
            open.link.outbox.ship();
        }
    }

    fn poll_answers(&mut self, cx: &mut Context<'_>, answers: &mut Vec<Answer>) -> Poll<Problem> {
        let (is_request, is_plain) = (self.settings.request, self.is_plain());
        let Some(open) = &mut self.state else { return Poll::Ready(again("not connected")) };
        loop {
            match open.answers.poll_next_unpin(cx) {
                Poll::Ready(Some(message)) => {
                    open.heard = Instant::now();
                    let word = message.subject.as_str().rsplit('.').next().unwrap_or_default();
                    if let Ok(number) = word.parse::<u64>() {
                        if open.settle(number) {
                            let outcome = if is_request {
                                take_reply(&mut self.replies, message)
                            } else {
                                acknowledgement(&message)
                            };
                            answers.push(Answer::One(number, outcome));
                        }
                    } else if !word.is_empty() {
                        let word = word.to_owned();
                        open.on_mark(&word, answers);
                    }
                }
                Poll::Ready(None) => {
                    open.lost.get_or_insert_with(|| again("the connection was lost"));
                    break;
                }
                Poll::Pending => break,
            }
        }
        let (errors, is_lost) = open.link.news(cx);
        for error in errors {
            if error.to_ascii_lowercase().contains("permissions violation") {
                let error = refused(&self.settings.shown, &error)
                    .hint("check the account's permissions for the subject and the inbox (?inbox=PREFIX)");
                open.lost = Some(Problem::Broken(error));
            }
        }
        if is_lost {
            open.lost.get_or_insert_with(|| again("the connection was lost"));
        }
        if !open.owed.is_empty() {
            while open.tick.poll_tick(cx).is_ready() {}
            if is_request {
                while open.owed.front().is_some_and(|(_, since)| since.elapsed() > self.settings.timeout) {
                    let Some((number, _)) = open.owed.pop_front() else { break };
                    answers.push(Answer::One(number, Err(again("no reply in time"))));
                }
            } else if open.heard.elapsed() > SILENCE {
                open.lost.get_or_insert_with(|| again("the server does not answer"));
            }
            if is_plain && open.since_mark > 0 && !open.is_marked {
                open.mark();
            }
        }
        open.link.outbox.ship();
        match open.lost.take() {
            Some(problem) => {
                self.state = None;
                Poll::Ready(problem)
            }
            None => Poll::Pending,
        }
    }

    fn finish(&mut self) -> LocalFuture<'_, ()> {
        self.state = None;
        Box::pin(std::future::ready(()))
    }
}

/// A stream that does not take the subject would leave every message without an answer.
fn check_subject(settings: &NatsSettings, stream: &str, info: &serde_json::Value) -> Result<(), Problem> {
    let subjects = info["config"]["subjects"].as_array();
    let mut subjects = subjects.into_iter().flatten().filter_map(serde_json::Value::as_str);
    if subjects.any(|pattern| covers(pattern, settings.target())) {
        return Ok(());
    }
    let text = format!("stream {stream} does not include the subject {}", settings.target());
    Err(Problem::Broken(refused(&settings.shown, &text).hint("add it with nats stream edit --subjects")))
}

/// What a stream says to a message.
fn acknowledgement(message: &NatsMessage) -> Result<(), Problem> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(again("no stream includes the subject"));
    }
    if memchr::memmem::find(&message.payload, b"\"error\"").is_none() {
        return Ok(());
    }
    let answer: serde_json::Value = serde_json::from_slice(&message.payload).unwrap_or_default();
    let text = answer["error"]["description"].as_str().unwrap_or("an error without a description").to_owned();
    match answer["error"]["code"].as_u64() {
        // The message itself is wrong, not the moment.
        Some(400..=428 | 430..=499) => Err(Problem::Never(text)),
        _ => Err(again(text)),
    }
}

fn take_reply(replies: &mut Replies, message: NatsMessage) -> Result<(), Problem> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Err(again("no one answers requests there"));
    }
    if let Some(ingress) = &replies.ingress {
        let kind = message.headers.as_ref().and_then(|map| map.get(headers::TYPE)).map(|kind| kind.as_str().as_bytes());
        let message = headers::message(message.payload, kind);
        replies.seq += 1;
        ingress.push(&replies.origin, replies.seq, message, None);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stream_says_is_understood() {
        let answer = |payload: &'static str, status: Option<StatusCode>| {
            let length = payload.len();
            acknowledgement(&NatsMessage {
                subject: "x".into(),
                reply: None,
                payload: payload.into(),
                headers: None,
                status,
                description: None,
                length,
            })
        };
        assert_eq!(answer(r#"{"stream":"S","seq":1}"#, None), Ok(()));
        assert_eq!(answer(r#"{"stream":"S","seq":1,"duplicate":true}"#, None), Ok(()));
        let never = answer(r#"{"error":{"code":400,"err_code":10054,"description":"too large"}}"#, None);
        assert_eq!(never, Err(Problem::Never("too large".to_owned())));
        let full = answer(r#"{"error":{"code":503,"err_code":10077,"description":"full"}}"#, None);
        assert!(matches!(full, Err(Problem::Again { .. })));
        assert!(matches!(answer("", Some(StatusCode::NO_RESPONDERS)), Err(Problem::Again { .. })));
    }
}
