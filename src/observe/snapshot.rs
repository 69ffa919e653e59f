//! The state of a run at one moment, as a viewer gets it: from the run itself or through the admin address.
//!
//! Owns what belongs to such a reading and its form in JSON. Leaves gathering to [`Control`]. Invariant: it is a copy, and
//! bounded in the number of sessions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::control::{Control, FoldReading, QueueReading, SessionReading, SpoolReading, TrafficReading};
use super::counters::{ByLabel, Label};

/// The state of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    pub mode: String,
    /// When it started, where that is told; as events write times.
    #[serde(skip_serializing)]
    pub started: String,
    /// Received from peers.
    pub received: TrafficReading,
    /// Sent to peers.
    pub sent: TrafficReading,
    /// Sessions there have been.
    pub connections: u64,
    pub reconnects: u64,
    /// Messages that reached where they were to go.
    pub delivered: u64,
    /// Messages that were received and have no outcome yet.
    pub waiting: u64,
    /// Messages that were kept from their receivers on purpose.
    pub filtered: u64,
    /// Messages dropped, by reason; those that are not zero.
    pub dropped: BTreeMap<String, u64>,
    /// Dead letters, by reason; those that are not zero.
    pub dead_letters: BTreeMap<String, u64>,
    /// What went wrong, by kind; those that are not zero.
    pub errors: BTreeMap<String, u64>,
    pub queues: Vec<QueueReading>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folds: Option<FoldReading>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spool: Option<SpoolReading>,
    /// Sessions that are not among these.
    pub sessions_left_out: usize,
    pub sessions: Vec<SessionReading>,
}

impl Snapshot {
    /// A run as it is now, with so many sessions at most.
    #[must_use]
    pub fn of(run: &dyn Control, most_sessions: usize) -> Self {
        let counters = run.counters();
        let (sessions, queues) = (run.sessions(most_sessions), run.queues());
        Self {
            mode: run.mode().to_owned(),
            started: String::new(),
            received: TrafficReading::from(&counters.received),
            sent: TrafficReading::from(&counters.sent),
            connections: counters.connections.get(),
            reconnects: counters.reconnects.get(),
            delivered: counters.delivered.get(),
            filtered: counters.filtered.get(),
            dropped: by_label(&counters.dropped),
            dead_letters: by_label(&counters.dead_letters),
            errors: by_label(&counters.errors),
            folds: run.folds(),
            spool: spool(&queues),
            queues,
            waiting: run.waiting(),
            sessions_left_out: run.listed().saturating_sub(sessions.len()),
            sessions,
        }
    }
}

fn by_label<L: Label>(counts: &ByLabel<L>) -> BTreeMap<String, u64> {
    counts.iter().filter(|(_, count)| *count > 0).map(|(label, count)| (label.name().to_owned(), count)).collect()
}

/// What the queues have on disk, all together.
fn spool(queues: &[QueueReading]) -> Option<SpoolReading> {
    let stored: Vec<_> = queues.iter().filter_map(|queue| Some((queue, queue.spool_bytes?))).collect();
    let oldest = |oldest: Option<f64>, queue: &QueueReading| match (oldest, queue.oldest_ms) {
        (Some(one), Some(other)) => Some(one.max(other)),
        (one, other) => one.or(other),
    };
    (!stored.is_empty()).then(|| SpoolReading {
        messages: stored.iter().map(|(queue, _)| queue.depth as u64).sum(),
        bytes: stored.iter().map(|(_, bytes)| bytes).sum(),
        oldest_ms: stored.iter().fold(None, |known, (queue, _)| oldest(known, queue)),
    })
}
