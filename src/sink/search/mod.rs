//! OpenSearch and Elasticsearch as the sink of a pipeline: messages are documents, written by `_bulk` requests.
//!
//! Leaves what an address says to `settings`, what is written and answered to `bulk`, requests to `net/` and trying again
//! to the dispatcher. Invariants: each document has its own outcome; those with the same id stay in order.

mod bulk;
pub(crate) mod settings;

use self::bulk::{Target, append, fates};
use self::settings::{Action, Piece, SearchSettings};
use crate::broker::refused;
use crate::filter::{Filter, Json};
use crate::message::render::Format;
use crate::net::post::Poster;
use crate::queue::end::{BatchSink, LocalFuture, Problem, Report};
use crate::queue::envelope::Envelope;
use crate::session::reconnect::RetryOn;
use crate::sink::answer::{Refusal, failed, judge};
use crate::sink::line;

pub(crate) const MAX_ANSWER: usize = 16 << 20;

/// A piece of the index's name.
enum Part {
    Text(String),
    Filter(Filter),
}

pub(crate) struct SearchSink {
    poster: Poster,
    name: String,
    index: Vec<Part>,
    id: Option<Filter>,
    routing: Option<Filter>,
    action: Action,
    format: Format,
    retry_on: RetryOn,
}

/// A document on its way.
struct Document {
    target: Target,
    body: Vec<u8>,
}

impl SearchSink {
    /// Returns a sink that has connected to nothing; `compile` makes a filter of the text of the parameter named first.
    ///
    /// # Errors
    /// What `compile` says.
    pub(crate) fn new<E>(
        settings: SearchSettings,
        poster: Poster,
        name: &str,
        format: Format,
        retry_on: RetryOn,
        compile: impl Fn(&'static str, &str) -> Result<Filter, E>,
    ) -> Result<Self, E> {
        let part = |piece| match piece {
            Piece::Text(text) => Ok(Part::Text(text)),
            Piece::Filter(source) => compile("index", &source).map(Part::Filter),
        };
        Ok(Self {
            poster: poster.keeping(MAX_ANSWER),
            name: name.to_owned(),
            index: settings.index.into_iter().map(part).collect::<Result<_, _>>()?,
            id: settings.id.as_deref().map(|source| compile("?id", source)).transpose()?,
            routing: settings.routing.as_deref().map(|source| compile("?routing", source)).transpose()?,
            action: settings.action,
            format,
            retry_on,
        })
    }

    /// A message as a document.
    async fn document(&self, envelope: &Envelope) -> Result<Document, String> {
        let body = match self.format {
            Format::Json => {
                let mut body = Vec::new();
                line::append(&mut body, Format::Json, envelope);
                body.pop();
                body.into()
            }
            _ => envelope.message.payload().clone(),
        };
        let input = Json::of_payload(&body)?;
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err("not a JSON object".to_owned());
        }
        let mut index = String::new();
        for part in &self.index {
            match part {
                Part::Text(text) => index.push_str(text),
                Part::Filter(filter) => index.push_str(&value("index", filter, &input, envelope).await?),
            }
        }
        let mut texts = [None, None];
        for (text, (what, filter)) in texts.iter_mut().zip([("id", &self.id), ("routing", &self.routing)]) {
            if let Some(filter) = filter {
                *text = Some(value(what, filter, &input, envelope).await?);
            }
        }
        let [id, routing] = texts;
        Ok(Document { target: Target { index, id, routing }, body: body.to_vec() })
    }

    /// Writes documents, in halves where the request is too large; in order, up to what is to be tried again.
    async fn write(&mut self, documents: &[Document], results: &mut Vec<Result<(), Problem>>) {
        let mut rest = vec![documents];
        while let Some(part) = rest.pop() {
            match self.post(part).await {
                Ok(mut fates) => results.append(&mut fates),
                Err(Refusal::Content(_)) if part.len() > 1 => {
                    let (first, second) = part.split_at(part.len() / 2);
                    rest.extend([second, first]);
                }
                Err(Refusal::Content(reason) | Refusal::Request(reason)) => {
                    results.extend(part.iter().map(|_| Err(Problem::Never(reason.clone()))));
                }
                Err(Refusal::Other(problem)) => {
                    results.resize(documents.len(), Err(problem));
                    return;
                }
            }
        }
    }

    async fn post(&mut self, documents: &[Document]) -> Result<Vec<Result<(), Problem>>, Refusal> {
        let mut body = Vec::new();
        for document in documents {
            append(&mut body, self.action, &document.target, &document.body);
        }
        let answer = self.poster.post(&body.into(), "application/x-ndjson").await;
        let answer = answer.map_err(|error| failed(&self.name, error, &self.retry_on))?;
        judge(&answer, &self.name, &self.retry_on)?;
        let targets: Vec<Target> = documents.iter().map(|document| document.target.clone()).collect();
        fates(&answer.bytes, self.action, &targets, &self.retry_on).ok_or_else(|| {
            let is_json = answer.bytes.starts_with(b"{");
            Refusal::Other(if is_json {
                Problem::Again {
                    reason: "the answer does not list the outcome of each document".to_owned(),
                    after: None,
                }
            } else {
                Problem::Broken(refused(&self.name, "the answer is not from OpenSearch or Elasticsearch"))
            })
        })
    }
}

impl BatchSink for SearchSink {
    fn name(&self) -> &str {
        &self.name
    }

    fn deliver<'a>(&'a mut self, batch: &'a [Envelope]) -> LocalFuture<'a, Report> {
        Box::pin(async move {
            let mut refused = Vec::with_capacity(batch.len());
            let mut documents = Vec::with_capacity(batch.len());
            for envelope in batch {
                match self.document(envelope).await {
                    Ok(document) => {
                        documents.push(document);
                        refused.push(None);
                    }
                    Err(reason) => refused.push(Some(reason)),
                }
            }
            let mut results = Vec::with_capacity(documents.len());
            if !documents.is_empty() {
                self.write(&documents, &mut results).await;
            }
            let mut results = results.into_iter();
            let fate = |reason: Option<String>| match reason {
                Some(reason) => Err(Problem::Never(reason)),
                None => results.next().unwrap_or(Ok(())),
            };
            Report::Each(refused.into_iter().map(fate).collect())
        })
    }
}

/// What a filter makes of a message, as text; nothing and null are not.
async fn value(what: &str, filter: &Filter, input: &Json, envelope: &Envelope) -> Result<String, String> {
    let meta = filter.meta(|| envelope.origin.meta(&envelope.message, envelope.time, envelope.seq));
    let value = filter.begin_first(input, &meta).finish().await.and_then(|first| first);
    let value = value.map_err(|error| format!("{what}: {error}"))?.map(|value| value.to_plain_string());
    value
        .filter(|value| value != "null" && !value.is_empty())
        .ok_or_else(|| format!("{what}: the filter yields no value for this message"))
}
