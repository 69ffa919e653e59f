//! An HTTP server as the sink of a pipeline: messages are posted, one a request.
//!
//! Leaves requests to `net/`, trying again to `dispatch`, and one request for many messages to `bins`. Invariant: order is
//! kept, so nothing overtakes what is to be tried again.

use bytes::Bytes;
use serde::de::IgnoredAny;

use crate::message::MessageKind;
use crate::message::render::Format;
use crate::net::post::Poster;
use crate::queue::end::{BatchSink, LocalFuture, Problem, Report};
use crate::queue::envelope::Envelope;
use crate::session::reconnect::RetryOn;
use crate::sink::answer::{Refusal, failed, judge};
use crate::sink::line;

pub(crate) struct HttpSink {
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

impl HttpSink {
    async fn post(&mut self, envelope: &Envelope) -> Result<(), Refusal> {
        let (body, content_type) = self.body(envelope);
        match self.poster.post(&body, content_type).await {
            Ok(answer) => judge(&answer, &self.name, &self.retry_on),
            Err(error) => Err(failed(&self.name, error, &self.retry_on)),
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
}
