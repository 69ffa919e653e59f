//! What can be seen of a run, and done to it, from outside: the seam between a run and the code that shows or steers
//! it.
//!
//! Owns the trait that each kind of run implements and the readings it gives. Leaves HTTP to `admin`. Invariant:
//! readings are copies of a moment; nobody who holds one holds up the run.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::counters::{Counters, Traffic};
use super::tap::Tap;
use crate::message::Message;
use crate::net::connection::CloseReason;

/// A run as others see it.
pub trait Control {
    /// Returns the subcommand's mode, such as `listen`.
    fn mode(&self) -> &'static str;

    /// Whether clients connect to this run; otherwise it is one that connects.
    fn is_server(&self) -> bool {
        false
    }

    /// Returns the counters of the run.
    fn counters(&self) -> &Counters;

    /// Returns the stream of events.
    fn tap(&self) -> &Tap;

    /// Sessions open now.
    fn active(&self) -> usize;

    /// The queues by their names, which are a closed set.
    fn queues(&self) -> Vec<QueueReading>;

    /// Messages that were received and have no outcome yet.
    fn waiting(&self) -> u64 {
        self.queues().iter().map(|queue| queue.depth as u64).sum()
    }

    /// Messages that wait where a source takes them from, by the source, where it knows.
    fn lags(&self) -> Vec<(String, u64)> {
        Vec::new()
    }

    /// Messages that each destination took, by its name.
    fn published(&self) -> Vec<(String, u64)> {
        vec![(String::new(), self.counters().delivered.get())]
    }

    /// Most sessions at a time, where there is a limit.
    fn max_sessions(&self) -> Option<usize> {
        None
    }

    /// Names each single queue that is full.
    fn each_full_queue(&self, full: &mut dyn FnMut(u64));

    /// Whether a client of this run has spent its retries.
    fn has_spent_retries(&self) -> bool {
        false
    }

    /// Sessions that can be listed.
    fn listed(&self) -> usize {
        self.active()
    }

    /// The first sessions, up to `limit`.
    fn sessions(&self, limit: usize) -> Vec<SessionReading>;

    /// Returns what folds keep, where there is a fold.
    fn folds(&self) -> Option<FoldReading> {
        None
    }

    /// Sends a message to the session of this id, or all of this name.
    ///
    /// # Errors
    /// [`Refusal`].
    fn send(self: Rc<Self>, session: &str, message: Message) -> Result<Delivering, Refusal>;

    /// Sends a message to all sessions.
    fn broadcast(self: Rc<Self>, message: Message) -> Delivering;

    /// Steers the session of this id, or all of this name.
    ///
    /// # Errors
    /// [`Refusal`].
    fn steer(&self, session: &str, steer: &Steer) -> Result<(), Refusal>;

    /// Ends a session's connection and opens another; whether this is a session of that name that can do so.
    fn reconnect(&self, _session: &str) -> bool {
        false
    }
}

/// What somebody outside wishes of a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Steer {
    /// It is read in another way.
    Intake(Intake),
    /// Close the session with this code and reason.
    Close(CloseReason),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Intake {
    /// Nothing is read from it, so that its peer is held back; or reading goes on.
    Paused(bool),
    /// So many messages a second are read from it at most, above zero; or as many as come.
    Limited(Option<f64>),
}

/// Why a session is not done to as asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No session has this id or name.
    Unknown,
    /// The session does not support this action.
    Unfit(&'static str),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown => "it has ended",
            Self::Unfit(why) => why,
        })
    }
}

/// A message on its way into the queues of its receivers, which may have to wait for room.
pub type Delivering = Pin<Box<dyn Future<Output = Delivery>>>;

/// The outcome of sending a message to sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Sessions that will be sent it.
    pub sent: u64,
    /// Sessions it was dropped for.
    pub dropped: u64,
    /// Older messages that were dropped to make room for it.
    pub displaced: u64,
}

impl std::iter::Sum for Delivery {
    fn sum<I: Iterator<Item = Self>>(deliveries: I) -> Self {
        deliveries.fold(Self::default(), |sum, one| Self {
            sent: sum.sent + one.sent,
            dropped: sum.dropped + one.dropped,
            displaced: sum.displaced + one.displaced,
        })
    }
}

/// The state of one queue, or of all of one name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct QueueReading {
    /// Name of the queue.
    pub name: Cow<'static, str>,
    /// Messages in it.
    pub depth: usize,
    /// Messages it can hold.
    #[serde(default)]
    pub capacity: usize,
    /// Payload bytes in it.
    #[serde(default)]
    pub bytes: usize,
    /// How full it is, from 0 to 1; the fullest one's where there are several.
    pub utilization: f64,
    /// The most messages that were in it at a time, where that is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub high_water: Option<usize>,
    /// Bytes it takes up in a spool, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spool_bytes: Option<u64>,
    /// Messages made of several for its destination, where that is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batches: Option<u64>,
    /// The batch that is being gathered from it, where messages have waited for others to join them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gathering: Option<BatchReading>,
    /// Age of the message that has waited longest, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<f64>,
}

/// A batch that is being gathered; all zero between two batches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchReading {
    /// Messages in it so far; they are no longer in the queue.
    pub messages: u64,
    /// How long they have waited for more, in milliseconds.
    pub age_ms: f64,
}

/// What folds keep from message to message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoldReading {
    /// States, one for each key.
    pub states: u64,
    /// States there may be.
    pub most: u64,
    /// States that had to go for others.
    pub evicted: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct SpoolReading {
    pub messages: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// How long the oldest has waited, where that is known.
    pub oldest_ms: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SessionState {
    Connecting,
    /// Messages go both ways.
    Open,
    /// It has been held back for a while: its peer does not read, or there is no room for what it sends.
    Throttled,
    /// Nothing is read from it, as somebody wished.
    Paused,
    /// Its connection was lost and will be opened again.
    Retrying,
    Closing,
    Closed,
}

/// Messages and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrafficReading {
    pub messages: u64,
    /// Payload bytes.
    pub bytes: u64,
}

impl From<&Traffic> for TrafficReading {
    fn from(traffic: &Traffic) -> Self {
        Self { messages: traffic.messages.get(), bytes: traffic.bytes.get() }
    }
}

/// Payload bytes as they were on the wire, where some of them were compressed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WireReading {
    pub received: u64,
    pub sent: u64,
}

impl WireReading {
    /// What is left of these bytes where compression saved so many, in and out; none where nothing was compressed.
    #[must_use]
    pub fn of(received: TrafficReading, sent: TrafficReading, saved: (i64, i64)) -> Option<Self> {
        (saved != (0, 0)).then(|| Self {
            received: received.bytes.saturating_add_signed(-saved.0),
            sent: sent.bytes.saturating_add_signed(-saved.1),
        })
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionQueue {
    /// Messages.
    pub depth: usize,
    /// Payload bytes.
    pub bytes: usize,
    /// Messages it can hold.
    pub capacity: usize,
}

/// A snapshot of one session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionReading {
    /// Its id, as events have it.
    pub id: String,
    /// What it is called, where it has a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whom its token or certificate names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The pipeline it belongs to, where there are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// Who is at the other end.
    pub peer: String,
    /// State of the session.
    pub state: SessionState,
    /// Path and query it asked for, or the address it connected to.
    pub target: String,
    /// When it opened, as events write it.
    pub since: String,
    /// Traffic received from the peer.
    pub received: TrafficReading,
    /// Traffic sent to the peer.
    pub sent: TrafficReading,
    /// The session's send queue.
    pub queue: SessionQueue,
    /// Messages that wait where it takes them from, where it knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag: Option<u64>,
    /// Messages for it that were dropped.
    pub dropped: u64,
    /// The last round trip of a ping.
    pub round_trip_ms: Option<f64>,
    /// How long until it connects again, while it waits for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
    /// Payload bytes on the wire, where some were compressed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wire: Option<WireReading>,
    /// How many messages a second are read from it at most, where somebody wished so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<f64>,
}

/// A time in milliseconds, to the microsecond.
#[must_use]
pub(crate) fn milliseconds(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}
