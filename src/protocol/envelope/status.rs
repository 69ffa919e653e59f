//! What a session tells a peer of itself: its status and its capabilities.

use serde_json::{Value, json};

use super::requests::{METHODS, UNITS};
use super::wire::MAX_ID;
use super::{Depth, Envelope, Now, utilization};

impl Envelope {
    pub(super) fn status(&self, now: Now) -> Value {
        let counts = &self.counts;
        let depth = self.depth.unwrap_or(Depth { waiting: 0, capacity: 0 });
        json!({
            "connected_ms": self.opened.map(|opened| now.instant.saturating_duration_since(opened).as_millis() as u64),
            "sent": counts.sent,
            "resent": counts.resent,
            "acknowledged": counts.acknowledged,
            "rejected": counts.rejected,
            "unacknowledged": self.window.len(),
            "window": self.window.size(),
            "slowed": counts.slowed,
            "filtered": counts.filtered,
            "received": counts.received,
            "duplicates": counts.duplicates,
            "undecided": self.undecided.len(),
            "queue_depth": depth.waiting,
            "queue_capacity": depth.capacity,
            "utilization": utilization(depth),
            "rate_limit": self.rate.as_ref().map(|rate| &rate.asked),
            "unit": self.rate.as_ref().map(|rate| rate.unit),
            "jq": self.subscription.as_ref().map(|subscription| &subscription.source),
            "replayable": self.settings.remembered(),
        })
    }

    /// What it can do, and its limits.
    pub(super) fn capabilities(&self) -> Value {
        let limits = &self.settings.limits;
        json!({
            "protocol": "envelope",
            "types": ["data", "request", "reply", "ack", "nack", "slow"],
            "methods": METHODS,
            "units": UNITS,
            "encodings": ["base64"],
            "limits": {
                "window": limits.window,
                "window_bytes": limits.window_bytes,
                "remembered": limits.remembered,
                "replay": limits.replay,
                "replay_bytes": limits.replay_bytes,
                "max_requests": limits.max_requests,
                "request_timeout_ms": limits.request_timeout.as_millis() as u64,
                "id_bytes": MAX_ID,
            },
        })
    }
}
