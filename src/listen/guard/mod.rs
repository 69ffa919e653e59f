//! Who is let in, and how much they may send: limits, rates, credentials.
//!
//! Decides in pure code, with time as an argument; the server's accept loop and its sessions act on it. Leaves the rules
//! of the upgrade to `net/listener`. Invariants: a place that was given is given back; no secret is kept in the open, and
//! none is in what is said about a refusal.

pub mod admission;
pub mod door;
pub mod openings;
pub mod rate;
pub mod session;

use admission::AdmissionSettings;
use rate::RateSettings;

/// Who is let in and how much they may send.
#[derive(Debug, Clone)]
pub struct GuardSettings {
    /// How many.
    pub admission: AdmissionSettings,
    /// Connections that are not sessions yet.
    pub max_handshakes: usize,
    /// How fast.
    pub rates: RateSettings,
}
