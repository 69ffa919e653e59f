//! An HTTP server as the sink of a pipeline: messages are posted, one a request.
//!
//! Leaves requests to `net/`, trying again to `dispatch`, and one request for many messages to `bins`. Invariant: order is
//! kept, so nothing overtakes what is to be tried again.

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::error::Error;
use crate::exit::Exit;
use crate::message::MessageKind;
use crate::message::render::Format;
use crate::net::post::{Answer, PostError, Poster};
use crate::queue::end::{BatchSink, EndError, LocalFuture, Problem, Report};
use crate::queue::envelope::Envelope;
use crate::session::reconnect::{RetryOn, cause};
use crate::sink::line;

/// Posts messages.
pub struct HttpSink {
    /// Sends requests.
    pub poster: Poster,
    /// The endpoint, without secrets.
    pub name: String,
    /// How messages become lines, or bodies.
    pub format: Format,
    /// Whether a message is made of lines, even of one.
    pub lines: bool,
    /// Statuses that may pass.
    pub retry_on: RetryOn,
}

impl BatchSink for HttpSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver<'a>(&'a mut self, batch: &'a [Envelope]) -> LocalFuture<'a, Report> {
        Box::pin(async move {
            let mut fates = Vec::with_capacity(batch.len());
            for envelope in batch {
                match self.post(envelope).await {
                    Ok(()) => fates.push(Ok(())),
                    Err(Refusal::Request(reason)) if batch.len() == 1 => return Report::Refused(reason),
                    Err(Refusal::Content(reason) | Refusal::Request(reason)) => fates.push(Err(Problem::Never(reason))),
                    Err(Refusal::Other(problem)) => {
                        fates.resize(batch.len(), Err(problem));
                        break;
                    }
                }
            }
            Report::Each(fates)
        })
    }
}

/// Why a request was not taken.
enum Refusal {
    /// For what is in it.
    Content(String),
    /// For what it asks for, whatever is in it.
    Request(String),
    /// For anything else.
    Other(Problem),
}

impl HttpSink {
    async fn post(&mut self, envelope: &Envelope) -> Result<(), Refusal> {
        let (body, content_type) = self.body(envelope);
        match self.poster.post(&body, content_type).await {
            Ok(answer) => judge(&answer, &self.name, &self.retry_on),
            Err(error) => Err(self.failed(error)),
        }
    }

    fn body(&self, envelope: &Envelope) -> (Bytes, &'static str) {
        const TEXT: &str = "text/plain; charset=utf-8";
        let (message, is_text) = (&envelope.message, envelope.message.kind() == MessageKind::Text);
        let is_json = |payload: &[u8]| is_text && serde_json::from_slice::<IgnoredAny>(payload).is_ok();
        if self.lines {
            let all_json = message.payload().split(|byte| *byte == b'\n').all(is_json);
            let body = [message.payload(), &b"\n"[..]].concat();
            return (body.into(), if all_json { "application/x-ndjson" } else { TEXT });
        }
        if self.format == Format::Raw {
            let content_type = match message.kind() {
                MessageKind::Binary => "application/octet-stream",
                MessageKind::Text if is_json(message.payload()) => "application/json",
                MessageKind::Text => TEXT,
            };
            return (message.payload().clone(), content_type);
        }
        let mut body = Vec::new();
        line::append(&mut body, self.format, envelope);
        body.pop();
        let is_json = self.format == Format::Json || (self.format == Format::Pretty && is_json(message.payload()));
        (body.into(), if is_json { "application/json" } else { TEXT })
    }

    fn failed(&self, error: PostError) -> Refusal {
        let again = |reason: String| Refusal::Other(Problem::Again { reason, after: None });
        match error {
            PostError::Connect(cause) if self.retry_on.lets_pass(cause::of_connect(&cause)) => again(cause.to_string()),
            PostError::Connect(cause) => {
                let error = Error::Connect { url: self.name.clone(), cause };
                let end = EndError { exit: error.exit(), text: error.to_string(), hint: error.hint() };
                Refusal::Other(Problem::Broken(end))
            }
            PostError::Timeout(_) | PostError::Broken(_) => again(error.to_string()),
            PostError::Redirect(_) => self.broken(&error.to_string(), "--max-redirects allows more"),
            PostError::Request(_) => self.broken(&error.to_string(), "check the URL and the headers"),
        }
    }

    fn broken(&self, reason: &str, hint: &str) -> Refusal {
        broken(&self.name, reason, hint)
    }
}

fn broken(name: &str, reason: &str, hint: &str) -> Refusal {
    let error = EndError::new(Exit::UpgradeRefused, format!("{name}: {reason}")).hint(hint);
    Refusal::Other(Problem::Broken(error))
}

/// What an answer means for what was sent.
fn judge(answer: &Answer, name: &str, retry_on: &RetryOn) -> Result<(), Refusal> {
    let status = answer.status;
    let reason = || {
        let first = answer.body.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let shown: String = first.chars().take(200).collect();
        let colon = if shown.is_empty() { "" } else { ": " };
        format!("{status}{colon}{}", shown.escape_debug())
    };
    match status.as_u16() {
        // 303 is what a form that was taken is answered with.
        200..=299 | 303 => Ok(()),
        passing if retry_on.contains(passing) => {
            Err(Refusal::Other(Problem::Again { reason: reason(), after: answer.retry_after }))
        }
        407 => Err(broken(name, &reason(), "--proxy http://USER:PASSWORD@HOST:PORT sends credentials to the proxy")),
        300..=399 => Err(broken(name, &format!("it answers with {status}"), "-L follows redirects")),
        // Who asks, for what and how: another body changes nothing.
        401 | 403 | 404 | 405 | 410 => Err(Refusal::Request(reason())),
        _ => Err(Refusal::Content(reason())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use std::time::Duration;

    #[test]
    fn an_answer_decides_what_becomes_of_a_message() {
        let judged = |status: u16, retry_after: Option<u64>| {
            let answer = Answer {
                status: StatusCode::from_u16(status).expect("a status"),
                retry_after: retry_after.map(Duration::from_secs),
                body: "\n why\x1b \nmore".to_owned(),
            };
            match judge(&answer, "http://h/", &RetryOn::default()) {
                Ok(()) => "taken".to_owned(),
                Err(Refusal::Content(reason)) => format!("content {reason}"),
                Err(Refusal::Request(reason)) => format!("request {reason}"),
                Err(Refusal::Other(Problem::Again { reason, after })) => format!("again {reason} {after:?}"),
                Err(Refusal::Other(Problem::Broken(error))) => format!("broken {error}"),
                Err(Refusal::Other(Problem::Never(reason))) => format!("never {reason}"),
            }
        };
        let table = [
            (200, None, "taken"),
            (202, None, "taken"),
            (204, None, "taken"),
            (303, None, "taken"),
            (301, None, "broken http://h/: it answers with 301 Moved Permanently"),
            (400, None, "content 400 Bad Request: why\\u{1b}"),
            (401, None, "request 401 Unauthorized: why\\u{1b}"),
            (413, None, "content 413 Payload Too Large: why\\u{1b}"),
            (407, None, "broken http://h/: 407 Proxy Authentication Required: why\\u{1b}"),
            (408, None, "again 408 Request Timeout: why\\u{1b} None"),
            (429, Some(3), "again 429 Too Many Requests: why\\u{1b} Some(3s)"),
            (503, Some(0), "again 503 Service Unavailable: why\\u{1b} Some(0ns)"),
        ];
        for (status, retry_after, expected) in table {
            assert_eq!(judged(status, retry_after), expected, "{status}");
        }
    }
}
