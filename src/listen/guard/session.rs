//! The guard of one session: it has said who it is, what it sent is within its rates, or it must go (pure).
//!
//! Leaves telling the peer and closing to the session. A session that nothing was asked of has none. Invariant: before
//! the gate has opened no message passes.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::GuardSettings;
use super::credentials::{Credentials, Identity};
use super::rate::Rates;
use crate::message::Message;
use crate::observe::counters::ErrorKind;
use crate::protocol::Now;

/// What becomes of a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes its way.
    Pass,
    /// It has said who its sender is, and goes no further; the answer to it.
    Admit(Message, Identity),
    /// It goes no further, and the session ends.
    Expel(Offence),
}

/// What a session did that ends it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Offence {
    /// As it is counted.
    pub kind: ErrorKind,
    /// As it is told.
    pub text: String,
}

/// The guard of one session.
#[derive(Debug)]
pub(crate) struct SessionGuard {
    rates: Option<Rates>,
    gate: Option<Gate>,
}

/// Closed until the first message has said who its sender is.
#[derive(Debug)]
struct Gate {
    credentials: Rc<Credentials>,
    until: Instant,
}

impl SessionGuard {
    /// For a session that opens now, where there is something to guard.
    #[must_use]
    pub(crate) fn new(settings: &GuardSettings, now: Instant) -> Option<Box<Self>> {
        let rates = Rates::new(settings.rates);
        let gate = settings
            .at_the_gate()
            .map(|(credentials, time)| Gate { credentials: Rc::clone(credentials), until: now + time });
        (rates.is_some() || gate.is_some()).then(|| Box::new(Self { rates, gate }))
    }

    /// Until when it must have been said who this is, while that has not been.
    #[must_use]
    pub(crate) fn waits_until(&self) -> Option<Instant> {
        self.gate.as_ref().map(|gate| gate.until)
    }

    /// That time has come.
    #[must_use]
    pub(crate) fn too_late() -> Offence {
        Offence { kind: ErrorKind::Unauthorized, text: "no credentials came in time".to_owned() }
    }

    /// A message came in.
    pub(crate) fn on_message(&mut self, message: &Message, now: Now) -> Verdict {
        if let Some(gate) = &self.gate {
            return match gate.credentials.check_first(message, now.time) {
                Ok(identity) => {
                    self.gate = None;
                    Verdict::Admit(Message::text(r#"{"type":"auth","status":"ok"}"#), identity)
                }
                Err(denied) => Verdict::Expel(Offence { kind: ErrorKind::Unauthorized, text: denied.to_string() }),
            };
        }
        match self.rates.as_mut().map(|rates| rates.on_message(message.len(), now.instant)) {
            Some(Err(exceeded)) => Verdict::Expel(Offence { kind: ErrorKind::Rate, text: exceeded.to_string() }),
            _ => Verdict::Pass,
        }
    }

    /// How long nothing may be read; zero when the next message may come.
    pub(crate) fn pause(&mut self, now: Instant) -> Duration {
        self.rates.as_mut().map_or(Duration::ZERO, |rates| rates.pause(now))
    }
}

/// What a client is told: `{"type":"error","error":…}`, with `details` where there are any.
#[must_use]
pub(crate) fn error_message(error: &str, details: Option<&str>) -> Message {
    let mut told = serde_json::json!({"type": "error", "error": error});
    if let Some(details) = details {
        told["details"] = details.into();
    }
    Message::text(told.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listen::guard::admission::AdmissionSettings;
    use crate::listen::guard::credentials::Secret;
    use crate::listen::guard::rate::{OnRate, RateSettings};

    fn settings(by_message: Option<Duration>, messages: Option<f64>) -> GuardSettings {
        let credentials = Credentials { bearer: Some(Secret::new(b"t")), ..Credentials::default() };
        GuardSettings {
            admission: AdmissionSettings::default(),
            max_handshakes: 1,
            rates: RateSettings { messages, bytes: None, on_rate: OnRate::Close },
            credentials: Some(Rc::new(credentials)),
            by_message,
        }
    }

    #[test]
    fn nothing_passes_before_the_right_first_message() {
        let now = Now::read();
        let limit = Duration::from_secs(10);
        let hello = Message::text("hello");
        let mut guard = SessionGuard::new(&settings(Some(limit), Some(1.0)), now.instant).expect("a guard");
        assert_eq!(guard.waits_until(), Some(now.instant + limit));
        assert!(matches!(guard.on_message(&hello, now), Verdict::Expel(Offence { kind: ErrorKind::Unauthorized, .. })));
        let said = Message::text(r#"{"type":"auth","token":"t"}"#);
        assert!(matches!(guard.on_message(&said, now), Verdict::Admit(..)));
        assert_eq!(guard.waits_until(), None);
        assert_eq!(guard.on_message(&hello, now), Verdict::Pass, "saying who one is costs nothing of the rate");
        assert!(matches!(guard.on_message(&hello, now), Verdict::Expel(Offence { kind: ErrorKind::Rate, .. })));
    }

    #[test]
    fn a_session_that_has_shown_all_in_its_request_needs_no_guard() {
        assert!(SessionGuard::new(&settings(None, None), Instant::now()).is_none());
    }

    #[test]
    fn what_is_told_is_json_whatever_it_says() {
        assert_eq!(error_message("no \"x\"", None), Message::text(r#"{"type":"error","error":"no \"x\""}"#));
        let told = error_message("invalid", Some("/a: 1"));
        assert_eq!(told, Message::text(r#"{"type":"error","error":"invalid","details":"/a: 1"}"#));
    }
}
