//! Errors by kind, with a first example each and a hint.
//!
//! Owns the kinds' names, which are the same in text and JSON, and which kind an error of the connection core is.
//! Invariant: kinds are few; what differs from case to case is in the example.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::net::connection::{CloseReason, ConnectionError};
use crate::net::connector::ConnectError;
use crate::net::dial::DialError;
use crate::net::tls::TlsErrorKind;
use crate::net::tunnel::ProxyError;

/// Kinds of errors with their number and a first example each.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Errors {
    kinds: BTreeMap<String, (u64, String)>,
}

/// The first error of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Example {
    pub text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Errors {
    /// Counts one; its text is kept when it is the first of its kind.
    pub(crate) fn count(&mut self, kind: impl Into<String>, example: impl FnOnce() -> String) {
        self.kinds.entry(kind.into()).or_insert_with(|| (0, example())).0 += 1;
    }

    pub(crate) fn add(&mut self, other: Self) {
        for (kind, (count, example)) in other.kinds {
            self.kinds.entry(kind).or_insert((0, example)).0 += count;
        }
    }

    #[must_use]
    pub(crate) fn total(&self) -> u64 {
        self.kinds.values().map(|(count, _)| count).sum()
    }

    #[must_use]
    pub(crate) fn counts(&self) -> BTreeMap<String, u64> {
        self.kinds.iter().map(|(kind, (count, _))| (kind.clone(), *count)).collect()
    }

    /// The first of each kind.
    #[must_use]
    pub(crate) fn examples(&self) -> BTreeMap<String, Example> {
        let example = |kind: &str, text: &str| Example { text: text.to_owned(), hint: remedy(kind).map(str::to_owned) };
        self.kinds.iter().map(|(kind, (_, text))| (kind.clone(), example(kind, text))).collect()
    }
}

/// The kind of a failure to connect.
#[must_use]
pub(crate) fn of_connect(error: &ConnectError) -> String {
    match error {
        ConnectError::Dial(error) | ConnectError::Proxy(ProxyError::LookUp(error)) => of_dial(error).to_owned(),
        ConnectError::Tls(error) if error.kind() == TlsErrorKind::NotTls => "not tls".to_owned(),
        ConnectError::Tls(_) => "tls".to_owned(),
        ConnectError::Proxy(ProxyError::Unreachable { cause, .. }) => of_dial(cause).to_owned(),
        ConnectError::Proxy(_) => "proxy".to_owned(),
        ConnectError::Refused(refusal) => format!("http {}", refusal.status),
        ConnectError::Malformed(text) if text.contains("reset") => "reset".to_owned(),
        ConnectError::NotHttp(_) => "not http".to_owned(),
        ConnectError::Malformed(_) => "malformed".to_owned(),
        ConnectError::Credentials(_) => "credentials".to_owned(),
        ConnectError::Timeout(..) => "timeout".to_owned(),
        ConnectError::Redirect { .. } => "redirect".to_owned(),
    }
}

fn of_dial(error: &DialError) -> &'static str {
    match error {
        DialError::NoAddress { .. } | DialError::LookupFailed { .. } => "dns",
        DialError::Refused { reason, .. } => of_system(reason).unwrap_or("refused"),
    }
}

/// What the system said, in its words, as a kind.
fn of_system(reason: &str) -> Option<&'static str> {
    let table = [
        ("assign requested address", "no ports"),
        ("Address already in use", "no ports"),
        ("Too many open files", "no files"),
        ("reset", "reset"),
        ("Broken pipe", "reset"),
        ("timed out", "timeout"),
        ("unreachable", "unreachable"),
        ("No route", "unreachable"),
    ];
    table.iter().find(|(words, _)| reason.contains(words)).map(|(_, kind)| *kind)
}

/// The kind of an open connection's failure.
#[must_use]
pub(crate) fn of_connection(error: &ConnectionError) -> String {
    match error {
        ConnectionError::Protocol(_) | ConnectionError::InvalidUtf8 => "protocol".to_owned(),
        ConnectionError::TooLarge { .. } => "too large".to_owned(),
        ConnectionError::Lost(reason) => of_system(reason).unwrap_or("close 1006").to_owned(),
    }
}

/// The kind of a Close we did not ask for.
#[must_use]
pub(crate) fn of_close(close: &CloseReason) -> String {
    format!("close {}", close.code.unwrap_or(1005))
}

#[must_use]
pub(crate) fn remedy(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "refused" => "is the server running there, and is its backlog large enough? --connect-rate N opens more slowly",
        "timeout" => "--connect-timeout DUR waits longer, --connect-rate N opens more slowly",
        "tls" => "--cacert FILE trusts its issuer, -k accepts any certificate",
        "not tls" => "ws:// in place of wss:// connects without TLS",
        "not http" => "use wss:// for a WebSocket server with TLS",
        "dns" => "--resolve HOST:PORT:ADDR gives the address",
        "http 401" | "http 403" => {
            "send credentials with -u USER:PASSWORD or --bearer TOKEN, other headers with -H \
         or -o"
        }
        "http 404" => "check the path of the URL",
        "http 429" | "http 503" => {
            "the server limits connections: use fewer (-c) or open them more slowly \
         (--connect-rate)"
        }
        "no ports" => {
            "--source-ip LIST connects from more addresses, which must be this machine's own; see also \
             net.ipv4.ip_local_port_range"
        }
        "no files" => "ulimit -n N allows more open files",
        "reset" | "close 1006" => "the server dropped connections: check its log",
        "too large" => "--max-message-size SIZE accepts larger messages",
        "unresponsive" => "--ping-timeout DUR waits longer for a pong, --ping-interval 0 sends no pings",
        "redirect" | "http 301" | "http 302" | "http 307" | "http 308" => "-L follows redirects",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_failure_has_its_kind() {
        let dial = |reason: &str| {
            ConnectError::Dial(DialError::Refused { reason: reason.to_owned(), tried: "127.0.0.1:1".to_owned() })
        };
        let table = [
            (dial("Connection refused"), "refused"),
            (dial("Cannot assign requested address"), "no ports"),
            (dial("Too many open files"), "no files"),
            (dial("Network is unreachable"), "unreachable"),
            (dial("Connection reset by peer"), "reset"),
            (ConnectError::Timeout(Duration::from_secs(1), "TCP".to_owned()), "timeout"),
            (ConnectError::Malformed("nonsense".to_owned()), "malformed"),
        ];
        for (error, kind) in table {
            assert_eq!(of_connect(&error), kind, "{error}");
        }
        assert_eq!(of_connection(&ConnectionError::Lost("Connection reset by peer".to_owned())), "reset");
        assert_eq!(of_connection(&ConnectionError::Lost("the peer ended it".to_owned())), "close 1006");
        assert_eq!(of_close(&CloseReason::default()), "close 1005");
    }

    #[test]
    fn the_first_of_a_kind_is_the_example() {
        let mut errors = Errors::default();
        errors.count("refused", || "one".to_owned());
        errors.count("refused", || "two".to_owned());
        let mut other = Errors::default();
        other.count("refused", || "three".to_owned());
        other.count("protocol", || "four".to_owned());
        errors.add(other);
        assert_eq!((errors.total(), errors.counts()["refused"]), (4, 3));
        let examples = errors.examples();
        assert_eq!(examples["refused"].text, "one");
        assert!(examples["refused"].hint.is_some() && examples["protocol"].hint.is_none());
    }
}
