//! A run in another process, looked at and acted on through its admin address.
//!
//! Owns reading its live view, and asking again when that breaks off. Leaves HTTP to `net`. Invariants: what waits to be
//! looked at is bounded in number and bytes, and what is left out is counted; a run that is lost is looked for until
//! the end.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};
use url::form_urlencoded;

use super::model::{Link, Look};
use super::source::{Act, Acting, Source, told};
use crate::message::event::Event;
use crate::message::{Message, MessageKind};
use crate::net::connector::Connector;
use crate::net::fetch::{Fetched, fetch};
use crate::observe::Snapshot;
use crate::observe::control::Delivery;

/// A state comes every second; without one for this long the run is lost.
const SILENCE: Duration = Duration::from_secs(5);
/// Between two attempts.
const AGAIN: Duration = Duration::from_secs(1);
/// Events that may wait to be looked at.
const EVENTS: usize = 2000;
/// Bytes of them, about.
const BYTES: usize = 4 * 1024 * 1024;
/// Longest line that is read.
const LINE: usize = 32 * 1024 * 1024;
/// What is read of an answer that says what is wrong.
const REASON: usize = 300;

/// What has been told and not looked at.
#[derive(Debug, Default)]
struct Waiting {
    events: VecDeque<Rc<Event>>,
    bytes: usize,
    missed: u64,
    snapshot: Option<Snapshot>,
    link: Option<Link>,
}

impl Waiting {
    fn take_in(&mut self, name: &str, data: &[u8]) {
        match name {
            "snapshot" => {
                if let Ok(snapshot) = serde_json::from_slice(data) {
                    self.snapshot = Some(snapshot);
                }
            }
            "dropped" => {
                let told = serde_json::from_slice::<serde_json::Value>(data).ok();
                self.missed += told.and_then(|told| told["dropped"].as_u64()).unwrap_or_default();
            }
            _ => match Event::parse(data) {
                Ok(event) if self.events.len() < EVENTS && self.bytes + data.len() <= BYTES => {
                    self.bytes += data.len();
                    self.events.push_back(Rc::new(event));
                }
                Ok(_) => self.missed += 1,
                // A newer process may know events that this one does not.
                Err(_) => {}
            },
        }
    }
}

/// Server-sent events, cut out of what arrives: their names and data.
#[derive(Debug, Default)]
struct Splitter {
    line: Vec<u8>,
    name: String,
    data: Vec<u8>,
}

impl Splitter {
    /// Takes a piece in; false when a line is longer than any can be.
    fn push(&mut self, piece: &[u8], mut out: impl FnMut(&str, &[u8])) -> bool {
        let mut rest = piece;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.line.extend_from_slice(&rest[..end]);
            rest = &rest[end + 1..];
            let line = std::mem::take(&mut self.line);
            let line = line.strip_suffix(b"\r").unwrap_or(&line);
            if line.is_empty() {
                if !self.data.is_empty() {
                    out(&self.name, &self.data);
                }
                self.name.clear();
                self.data.clear();
            } else if let Some(data) = line.strip_prefix(b"data: ") {
                self.data.extend_from_slice(data);
            } else if let Some(name) = line.strip_prefix(b"event: ") {
                self.name = String::from_utf8_lossy(name).into_owned();
            }
        }
        self.line.extend_from_slice(rest);
        self.line.len() + self.data.len() <= LINE
    }
}

/// A run in another process.
pub(crate) struct Far {
    connector: Rc<Connector>,
    waiting: Rc<RefCell<Waiting>>,
    task: JoinHandle<()>,
}

impl Far {
    #[must_use]
    pub(crate) fn new(connector: Connector) -> Self {
        let (connector, waiting) = (Rc::new(connector), Rc::<RefCell<Waiting>>::default());
        let task = spawn_local(watch(Rc::clone(&connector), Rc::clone(&waiting)));
        Self { connector, waiting, task }
    }
}

impl Drop for Far {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn watch(connector: Rc<Connector>, waiting: Rc<RefCell<Waiting>>) {
    loop {
        let reason = watch_once(&connector, &waiting).await;
        waiting.borrow_mut().link = Some(Link::Lost(reason));
        sleep(AGAIN).await;
    }
}

/// Reads the live view to its end; why it ended.
async fn watch_once(connector: &Connector, waiting: &RefCell<Waiting>) -> String {
    let fetching = fetch(connector, Method::GET, "/events", None, Bytes::new());
    let mut answer = match timeout(SILENCE, fetching).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return error.to_string(),
        Err(_) => return format!("no answer within {SILENCE:?}"),
    };
    if answer.status != StatusCode::OK {
        return refused(answer).await;
    }
    let mut splitter = Splitter::default();
    loop {
        let piece = match timeout(SILENCE, answer.next()).await {
            Ok(Some(piece)) => piece,
            Ok(None) => return "it has ended".to_owned(),
            Err(_) => return format!("no data for {SILENCE:?}"),
        };
        let mut waiting = waiting.borrow_mut();
        waiting.link = Some(Link::Live);
        if !splitter.push(&piece, |name, data| waiting.take_in(name, data)) {
            return "not an admin address of wsp".to_owned();
        }
    }
}

/// What an answer says that is none.
async fn refused(answer: Fetched) -> String {
    let status = answer.status;
    if status == StatusCode::UNAUTHORIZED {
        return format!("{status}; --token-env VAR sends a token");
    }
    let text = answer.text(REASON).await;
    let reason = serde_json::from_str::<serde_json::Value>(&text).ok();
    let reason = reason.as_ref().and_then(|reason| reason["error"].as_str()).unwrap_or_default();
    format!("{status} {reason}").trim_end().to_owned()
}

impl Source for Far {
    fn look(&mut self, _now: Instant) -> Look {
        let mut waiting = self.waiting.borrow_mut();
        waiting.bytes = 0;
        Look {
            snapshot: waiting.snapshot.take(),
            events: std::mem::take(&mut waiting.events).into(),
            missed: std::mem::take(&mut waiting.missed),
            link: waiting.link.take(),
        }
    }

    fn act(&mut self, act: Act) -> Acting {
        let connector = Rc::clone(&self.connector);
        let done = act.done();
        Box::pin(async move {
            let post = async |path: String| ask(&connector, Method::POST, &path, None, Bytes::new()).await;
            match act {
                Act::Pause(names, paused) => {
                    let what = if paused { "pause" } else { "resume" };
                    for name in names {
                        post(format!("/sessions/{name}/{what}")).await?;
                    }
                    Ok(done)
                }
                Act::Limit(names, rate) => {
                    for name in names {
                        post(format!("/sessions/{name}/limit?rate={}", rate.unwrap_or_default())).await?;
                    }
                    Ok(done)
                }
                Act::Send(None, message) => told(send(&connector, "/broadcast", &message).await?),
                Act::Send(Some(names), message) => {
                    let mut sum = Delivery::default();
                    for name in names {
                        let delivery = send(&connector, &format!("/sessions/{name}/messages"), &message).await?;
                        sum.sent += delivery.sent;
                        sum.dropped += delivery.dropped;
                    }
                    told(sum)
                }
                Act::Close(name, close) => {
                    let mut query = form_urlencoded::Serializer::new(String::new());
                    query.append_pair("code", &close.code.unwrap_or(1000).to_string());
                    if !close.reason.is_empty() {
                        query.append_pair("reason", &close.reason);
                    }
                    let path = format!("/sessions/{name}?{}", query.finish());
                    ask(&connector, Method::DELETE, &path, None, Bytes::new()).await?;
                    Ok(done)
                }
                Act::Reconnect(name) => {
                    post(format!("/sessions/{name}/reconnect")).await?;
                    Ok(done)
                }
            }
        })
    }
}

async fn send(connector: &Connector, path: &str, message: &Message) -> Result<Delivery, String> {
    let content_type = match message.kind() {
        MessageKind::Text => "text/plain; charset=utf-8",
        MessageKind::Binary => "application/octet-stream",
    };
    let answer = ask(connector, Method::POST, path, Some(content_type), message.payload().clone()).await?;
    serde_json::from_str(&answer).map_err(|error| format!("invalid answer: {error}"))
}

async fn ask(
    connector: &Connector,
    method: Method,
    path: &str,
    content_type: Option<&'static str>,
    body: Bytes,
) -> Result<String, String> {
    let asking = async {
        let answer = fetch(connector, method, path, content_type, body).await.map_err(|error| error.to_string())?;
        if answer.status == StatusCode::OK { Ok(answer.text(LINE).await) } else { Err(refused(answer).await) }
    };
    timeout(2 * SILENCE, asking).await.unwrap_or_else(|_| Err("no answer".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_cut_out_wherever_the_pieces_end() {
        let text = "event: snapshot\ndata: {\"mode\":\"listen\"}\n\ndata: 1\n\n: nothing\n\nevent: dropped\r\ndata: \
        {}\r\n\r\n";
        let expected = ["snapshot={\"mode\":\"listen\"}", "=1", "dropped={}"];
        for size in 1..text.len() {
            let (mut splitter, mut found) = (Splitter::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                assert!(splitter.push(piece, |name, data| {
                    found.push(format!("{name}={}", String::from_utf8_lossy(data)));
                }));
            }
            assert_eq!(found, expected, "{size}");
        }
    }

    #[test]
    fn what_waits_is_bounded_and_what_is_left_out_is_counted() {
        let mut waiting = Waiting::default();
        let line = br#"{"time":"2026-01-02T03:04:05Z","session":"s1","dir":"in","type":"text","size":2,"text":"hi"}"#;
        (0..EVENTS + 3).for_each(|_| waiting.take_in("", line));
        waiting.take_in("dropped", br#"{"dropped":4}"#);
        waiting.take_in("", b"no event line");
        waiting.take_in("snapshot", br#"{"mode":"relay","unknown":1,"sessions":[]}"#);
        assert_eq!((waiting.events.len(), waiting.missed), (EVENTS, 7));
        assert_eq!(waiting.snapshot.expect("a state").mode, "relay");
    }
}
