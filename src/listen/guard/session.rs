//! The guard of one session: what it sent is within its rates, or it must go.
//!
//! Decides; leaves telling the peer and closing to the session. A session that nothing was asked of has none.

use std::time::{Duration, Instant};

use super::GuardSettings;
use super::rate::Rates;
use crate::message::Message;
use crate::observe::counters::ErrorKind;

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It goes its way.
    Pass,
    /// It goes no further, and the session ends.
    Expel(Offence),
}

/// What a session did that ends it.
#[derive(Debug, PartialEq, Eq)]
pub struct Offence {
    /// As it is counted.
    pub kind: ErrorKind,
    /// As it is told.
    pub text: String,
}

/// The guard of one session.
#[derive(Debug)]
pub struct SessionGuard {
    rates: Option<Rates>,
}

impl SessionGuard {
    /// For a session that opens now, where there is something to guard.
    #[must_use]
    pub fn new(settings: &GuardSettings, now: Instant) -> Option<Box<Self>> {
        let rates = Rates::new(settings.rates, now);
        rates.is_some().then(|| Box::new(Self { rates }))
    }

    /// A message came in.
    pub fn on_message(&mut self, message: &Message, now: Instant) -> Verdict {
        match self.rates.as_mut().map(|rates| rates.on_message(message.len(), now)) {
            Some(Err(exceeded)) => Verdict::Expel(Offence { kind: ErrorKind::Rate, text: exceeded.to_string() }),
            _ => Verdict::Pass,
        }
    }

    /// How long nothing may be read; zero when the next message may come.
    pub fn pause(&mut self, now: Instant) -> Duration {
        self.rates.as_mut().map_or(Duration::ZERO, |rates| rates.pause(now))
    }
}

/// What a client is told: `{"type":"error","error":…}`, with `details` where there are any.
#[must_use]
pub fn error_message(error: &str, details: Option<&str>) -> Message {
    let mut told = serde_json::json!({"type": "error", "error": error});
    if let Some(details) = details {
        told["details"] = details.into();
    }
    Message::text(told.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_json_whatever_it_says() {
        assert_eq!(error_message("no \"x\"", None), Message::text(r#"{"type":"error","error":"no \"x\""}"#));
        let told = error_message("invalid", Some("/a: 1"));
        assert_eq!(told, Message::text(r#"{"type":"error","error":"invalid","details":"/a: 1"}"#));
    }
}
