//! Message brokers: what an address says, how they are reached, and how often they are tried.
//!
//! Owns addresses and settings of `kafka://` and `nats://`, and the connection to NATS servers. Leaves moving messages to
//! `source/` and `sink/`. Invariant: an address is never shown with a secret in it.

pub(crate) mod address;
pub(crate) mod headers;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
#[cfg(feature = "nats")]
pub(crate) mod nats;

use std::time::Duration;

use crate::exit::Exit;
use crate::message::counted::counted;
use crate::queue::end::{EndError, Problem};
use crate::session::reconnect::{Limit, Retries};

/// How often in a row a broker is tried again: before it was ever reached it may be a wrong address.
pub(crate) const RETRIES: Retries = Retries { first: Limit::UpTo(3), later: Limit::UpTo(10) };

/// The broker was not reached within the retries.
pub(crate) fn not_reached(name: &str, retries: u32, reason: &str) -> EndError {
    EndError::new(Exit::Undelivered, format!("{name}: gave up after {}: {reason}", counted(retries, "retry")))
        .hint("is the broker running there? --reconnect=N tries more often")
}

/// The broker will not have us.
pub(crate) fn refused(name: &str, reason: &str) -> EndError {
    EndError::new(Exit::Undelivered, format!("{name}: {reason}"))
}

/// Worth another try.
pub(crate) fn again(reason: impl Into<String>) -> Problem {
    Problem::Again { reason: reason.into(), after: None }
}

/// A time as `?start=` has it: RFC 3339, or `-DUR` for so long ago.
///
/// # Errors
/// What was expected.
pub(crate) fn start_time(text: &str, ago: impl Fn(&str) -> Option<Duration>) -> Result<jiff::Timestamp, String> {
    let wrong = || format!("invalid start '{text}'; use earliest, latest, a time such as 2026-01-02T03:04:05Z, or -1h");
    if let Some(before) = text.strip_prefix('-') {
        let before = ago(before).and_then(|before| jiff::SignedDuration::try_from(before).ok()).ok_or_else(wrong)?;
        return jiff::Timestamp::now().checked_sub(before).map_err(|_| wrong());
    }
    text.parse().map_err(|_| wrong())
}

/// Where a source begins that has no position of its own yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// With the oldest message there is.
    Earliest,
    /// With what comes from now on.
    Latest,
    /// With the first message that is not older.
    At(jiff::Timestamp),
}

impl Start {
    /// Reads `earliest`, `latest` or a time.
    ///
    /// # Errors
    /// What was expected.
    pub(crate) fn parse(text: &str, ago: impl Fn(&str) -> Option<Duration>) -> Result<Self, String> {
        match text {
            "earliest" => Ok(Self::Earliest),
            "latest" => Ok(Self::Latest),
            time => start_time(time, ago).map(Self::At),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_where_to_start() {
        let ago = |text: &str| (text == "1h").then(|| Duration::from_secs(3600));
        assert_eq!(Start::parse("earliest", ago), Ok(Start::Earliest));
        assert_eq!(Start::parse("latest", ago), Ok(Start::Latest));
        let Ok(Start::At(time)) = Start::parse("2026-01-02T03:04:05Z", ago) else { panic!("a time") };
        assert_eq!(time.to_string(), "2026-01-02T03:04:05Z");
        let Ok(Start::At(time)) = Start::parse("-1h", ago) else { panic!("a time") };
        assert!((jiff::Timestamp::now().as_second() - time.as_second() - 3600).abs() < 5);
        assert!(Start::parse("yesterday", ago).is_err() && Start::parse("-x", ago).is_err());
    }
}
