//! What a server's answer, or the lack of one, means for the messages it was given (pure).

use crate::broker::again;
use crate::error::Error;
use crate::exit::Exit;
use crate::net::connector::ConnectError;
use crate::net::post::{Answer, PostError};
use crate::queue::end::{EndError, Problem};
use crate::session::reconnect::{RetryOn, cause};

/// Why a request was not taken.
pub(crate) enum Refusal {
    Content(String),
    /// For what it asks for, whatever is in it.
    Request(String),
    /// For anything else.
    Other(Problem),
}

/// Says what it means that there is no connection: whether another try may help.
pub(crate) fn unreachable(name: &str, cause: ConnectError, retry_on: &RetryOn) -> Problem {
    if retry_on.lets_pass(cause::of_connect(&cause)) {
        return again(cause.to_string());
    }
    let error = Error::Connect { url: name.to_owned(), cause };
    Problem::Broken(EndError { exit: error.exit(), text: error.to_string(), hint: error.hint() })
}

/// Says what it means that there is no answer.
pub(crate) fn failed(name: &str, error: PostError, retry_on: &RetryOn) -> Refusal {
    match error {
        PostError::Connect(cause) => Refusal::Other(unreachable(name, cause, retry_on)),
        PostError::Timeout(_) | PostError::Broken(_) => {
            Refusal::Other(Problem::Again { reason: error.to_string(), after: None })
        }
        PostError::Redirect(_) => broken(name, &error.to_string(), "--max-redirects allows more"),
        PostError::Request(_) => broken(name, &error.to_string(), "check the URL and the headers"),
    }
}

fn broken(name: &str, reason: &str, hint: &str) -> Refusal {
    let error = EndError::new(Exit::UpgradeRefused, format!("{name}: {reason}")).hint(hint);
    Refusal::Other(Problem::Broken(error))
}

/// Says what an answer means for what was sent.
///
/// # Errors
/// [`Refusal`].
pub(crate) fn judge(answer: &Answer, name: &str, retry_on: &RetryOn) -> Result<(), Refusal> {
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
                bytes: bytes::Bytes::new(),
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
