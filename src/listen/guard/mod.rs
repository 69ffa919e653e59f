//! Who is let in, and how much they may send: limits, rates, credentials.
//!
//! Decides in pure code, with time as an argument; the server's accept loop and its sessions act on it. Leaves the rules
//! of the upgrade to `net/listener`. Invariants: a place that was given is given back; no secret is kept in the open, and
//! none is in what is said about a refusal.

pub(crate) mod admission;
pub(crate) mod credentials;
pub(crate) mod door;
pub(crate) mod jwt;
pub(crate) mod openings;
pub(crate) mod rate;
pub(crate) mod session;

use std::rc::Rc;
use std::time::Duration;

use admission::AdmissionSettings;
use credentials::Credentials;
use rate::RateSettings;

/// Who is let in and how much they may send.
#[derive(Debug, Clone)]
pub(crate) struct GuardSettings {
    /// How many.
    pub admission: AdmissionSettings,
    /// Connections that are not sessions yet.
    pub max_handshakes: usize,
    /// How fast.
    pub rates: RateSettings,
    /// What clients must show.
    pub credentials: Option<Rc<Credentials>>,
    /// They show it in their first message, which must come within this time, and not in the request.
    pub by_message: Option<Duration>,
}

impl Default for GuardSettings {
    fn default() -> Self {
        Self {
            admission: AdmissionSettings::default(),
            max_handshakes: 1000,
            rates: RateSettings::default(),
            credentials: None,
            by_message: None,
        }
    }
}

impl GuardSettings {
    /// What must be shown in the first message.
    fn at_the_gate(&self) -> Option<(&Rc<Credentials>, Duration)> {
        self.credentials.as_ref().zip(self.by_message)
    }

    /// Whether sessions have to show something before anything is delivered to or from them.
    #[must_use]
    pub(crate) fn has_gate(&self) -> bool {
        self.at_the_gate().is_some()
    }
}
