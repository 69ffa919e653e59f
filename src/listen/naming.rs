//! `--session-name`: what a session is called, as a filter says.
//!
//! Asks the filter when the session opens and, unless that gave a name, once more with the first message. Leaves who has
//! which name to the hub. Invariants: a name is text of 1 to [`MAX_NAME`] bytes; the filter is given no secret; a filter
//! that is not quick runs apart, and only its own session waits for it.

use std::task::{Context, Poll};

use http::HeaderMap;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::guard::credentials::Identity;
use crate::filter::apart::Begun;
use crate::filter::{Filter, Json};
use crate::message::Message;
use crate::message::source::path_of;
use crate::net::listener::{Accepted, PeerAddr};
use crate::redact;

/// Most bytes of a name.
pub(crate) const MAX_NAME: usize = 128;

/// The first output of the filter.
type First = Result<Option<Json>, String>;

/// What the filter says a session is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// This.
    Name(String),
    /// Nothing.
    None,
    /// Something that cannot be a name, and why.
    Unfit(String),
    /// The filter failed.
    Failed(String),
}

/// The questions about one session.
pub(crate) struct Naming {
    filter: Filter,
    /// What the filter is given, but for the message.
    opening: Map<String, Value>,
    asked: Option<Asked>,
}

/// A question under way.
struct Asked {
    first: Begun<First>,
    /// The message it was about, which waits for the answer.
    message: Option<Message>,
}

impl Naming {
    /// The session that was accepted from this peer.
    pub(crate) fn new(filter: Filter, accepted: &Accepted, peer: PeerAddr) -> Self {
        let query = accepted.target.split_once('?').map_or("", |(_, query)| query);
        let opening = [
            ("path", json!(path_of(&accepted.target))),
            ("query", query_fields(query)),
            ("headers", header_fields(&accepted.head.headers)),
            ("peer", json!(peer.to_string())),
        ];
        let opening = opening.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { filter, opening, asked: None }
    }

    /// Who its client is, as it has shown, which the questions from now on say.
    pub(crate) fn identify(&mut self, subject: Option<&str>, identity: &Identity) {
        self.opening.insert("subject".to_owned(), json!(subject));
        self.opening.insert("claims".to_owned(), json!(identity.claims()));
    }

    /// Asks about the session, with its first message where that is there.
    pub(crate) fn ask(&mut self, message: Option<Message>) {
        let first = match self.input(message.as_ref()) {
            Ok(input) => self.filter.begin_first(&input, &Json::null()),
            Err(error) => Begun::Done(Err(error)),
        };
        self.asked = Some(Asked { first, message });
    }

    fn input(&self, message: Option<&Message>) -> Result<Json, String> {
        let opening = serde_json::to_vec(&self.opening).map_err(|error| error.to_string())?;
        let message = message.and_then(|message| Json::of_message(message, true).ok());
        Ok(Json::parse(&opening)?.with_field("message", message.unwrap_or_else(Json::null)))
    }

    /// Whether an answer is awaited.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// The answer, and the message that waited for it; else the waker is called when it is there.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Answer, Option<Message>)> {
        let Some(asked) = &mut self.asked else { return Poll::Ready((Answer::None, None)) };
        let answer = std::task::ready!(asked.first.poll_any(cx)).map_or_else(Answer::Failed, answer);
        Poll::Ready((answer, self.give_up()))
    }

    /// The message that waits for an answer that will not be heard.
    pub(crate) fn give_up(&mut self) -> Option<Message> {
        self.asked.take().and_then(|asked| asked.message)
    }
}

/// What the filter's first output says.
fn answer(first: &First) -> Answer {
    match first {
        Ok(first) => first.as_ref().map_or(Answer::None, read),
        Err(error) => Answer::Failed(error.clone()),
    }
}

fn read(value: &Json) -> Answer {
    let name = match value.kind() {
        "null" => return Answer::None,
        "string" | "number" => value.to_plain_string(),
        kind => return Answer::Unfit(format!("expected a name as text, got {kind}")),
    };
    match name.len() {
        0 => Answer::None,
        length if length > MAX_NAME => {
            Answer::Unfit(format!("a name of {length} bytes is too long; at most {MAX_NAME} are allowed"))
        }
        _ => Answer::Name(name),
    }
}

/// The fields of a query, but for secrets.
fn query_fields(query: &str) -> Value {
    let fields = form_urlencoded::parse(query.as_bytes());
    object(fields.filter(|(name, _)| !redact::is_secret_name(name)).map(|(name, value)| (name, value.into_owned())))
}

/// The headers, but for secrets; their names are in lower case.
fn header_fields(headers: &HeaderMap) -> Value {
    let open = headers.iter().filter(|(name, _)| !redact::is_secret_header(name.as_str()));
    object(open.map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned())))
}

/// An object of texts; a name that comes more than once has an array.
fn object<N: AsRef<str>>(fields: impl Iterator<Item = (N, String)>) -> Value {
    let mut object = Map::new();
    for (name, value) in fields {
        match object.get_mut(name.as_ref()) {
            None => {
                object.insert(name.as_ref().to_owned(), value.into());
            }
            Some(Value::Array(values)) => values.push(value.into()),
            Some(first) => *first = json!([first.take(), value]),
        }
    }
    object.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_text_of_a_bounded_length() {
        let long = |length| format!("\"x\" * {length}");
        let table = [
            (".path".to_owned(), Answer::Name("/a".to_owned())),
            (".user, error(\"late\")".to_owned(), Answer::Name("anna".to_owned())),
            ("12, \"second\"".to_owned(), Answer::Name("12".to_owned())),
            ("1.50".to_owned(), Answer::Name("1.50".to_owned())),
            ("\"\"".to_owned(), Answer::None),
            ("null".to_owned(), Answer::None),
            ("empty".to_owned(), Answer::None),
            ("false".to_owned(), Answer::Unfit("expected a name as text, got boolean".to_owned())),
            ("[.path]".to_owned(), Answer::Unfit("expected a name as text, got array".to_owned())),
            (long(MAX_NAME), Answer::Name("x".repeat(MAX_NAME))),
            (long(MAX_NAME + 1), Answer::Unfit("a name of 129 bytes is too long; at most 128 are allowed".to_owned())),
            ("error(\"no\")".to_owned(), Answer::Failed("no".to_owned())),
        ];
        let input = Json::parse(br#"{"path":"/a","user":"anna"}"#).expect("JSON");
        for (source, expected) in table {
            let filter = Filter::compile(&source).expect("a filter");
            assert_eq!(answer(&filter.first(&input, &Json::null())), expected, "{source}");
        }
    }

    #[test]
    fn the_filter_is_given_no_secret() {
        assert_eq!(
            query_fields("user=anna&access_token=x&room=1&room=b+c&room=%2F"),
            json!({"user": "anna", "room": ["1", "b c", "/"]})
        );
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-user", "anna"), ("authorization", "Bearer x"), ("cookie", "a=b"), ("x-api-key", "x")]
        {
            headers.append(name, value.parse().expect("a value"));
        }
        headers.append("x-user", http::HeaderValue::from_bytes(b"b\xff").expect("a value"));
        assert_eq!(header_fields(&headers), json!({"x-user": ["anna", "b\u{fffd}"]}));
    }
}
