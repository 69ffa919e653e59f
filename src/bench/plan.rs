//! The validated plan of a run: after the plan is made, no illegal setting can exist.
//!
//! Owns the settings' types and how a plan is divided among shards. Making one from flags is `command/`'s business.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use super::payload::{Matching, Payload};
use super::schedule::{Course, Spacing, Stage};
use super::threshold::Threshold;
use crate::filter::{Filter, Template};
use crate::message::{Message, MessageKind};
use crate::net::connector::ConnectOptions;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Send, and await a reply to each message.
    Echo,
    /// Send nothing: the server speaks.
    Push,
    /// Send; replies are not awaited.
    Send,
    /// Open and hold.
    Connect,
    /// Some send, and all are to receive.
    Publish { senders: usize },
}

impl Kind {
    /// As in the report.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Push => "push",
            Self::Send => "send",
            Self::Connect => "connect",
            Self::Publish { .. } => "publish",
        }
    }

    #[must_use]
    pub(crate) fn sends(self) -> bool {
        matches!(self, Self::Echo | Self::Send | Self::Publish { .. })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Load {
    /// By the clock, whatever the target does.
    Open {
        /// Messages a second of all connections, at the start.
        rate: f64,
        /// The course from there; none: the rate holds.
        stages: Vec<Stage>,
        spacing: Spacing,
    },
    /// A message when one is answered.
    Closed {
        /// Messages under way on each connection.
        in_flight: usize,
    },
}

/// Something to send first on a connection.
#[derive(Debug, Clone)]
pub(crate) enum Compose {
    Fixed(Message),
    /// To be filled in.
    Template(Arc<Template>, MessageKind),
}

/// The validated plan of a run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub connect: ConnectOptions,
    /// Local addresses to connect from, in turn; none: as the system chooses.
    pub sources: Vec<IpAddr>,
    pub kind: Kind,
    /// So many at the same time.
    pub connections: usize,
    /// How many are open over time, where that changes; the most is the number above.
    pub connection_course: Option<Course>,
    /// Connections a second while opening them.
    pub connect_rate: Option<f64>,
    pub load: Load,
    /// How long is measured, where no number of messages is given.
    pub duration: Duration,
    pub messages: Option<u64>,
    /// Left out of the figures, before measuring.
    pub warmup: Duration,
    pub payload: Payload,
    /// The payload in words.
    pub payload_text: String,
    pub matching: Matching,
    /// A message without an answer for so long is lost.
    pub deadline: Duration,
    /// A connection is closed after so many answers and opened anew; 0: right after it has opened.
    pub churn: Option<u64>,
    /// Sent after every open, in order.
    pub init: Vec<Compose>,
    /// What must arrive before the next init message: one for all, or one for each.
    pub init_waits: Vec<Filter>,
    /// Time between pings, if there are any.
    pub ping_interval: Option<Duration>,
    /// How long to wait for a pong.
    pub ping_timeout: Duration,
    /// How long to wait for the peer's close frame.
    pub close_timeout: Duration,
    /// The whole run.
    pub timeout: Option<Duration>,
    /// Threads; none: as many as suit the target.
    pub threads: Option<usize>,
    /// Seed of the random choices.
    pub seed: u64,
    /// The stages as written.
    pub stages_text: Option<String>,
    pub thresholds: Vec<Threshold>,
}

impl Plan {
    /// Messages of all connections over time, warm-up first; `None` in closed loop or where nothing is sent.
    #[must_use]
    pub(crate) fn course(&self) -> Option<Course> {
        let Load::Open { rate, stages, .. } = &self.load else { return None };
        if !self.kind.sends() {
            return None;
        }
        Some(if stages.is_empty() {
            Course::constant(*rate, self.warmup + self.measured())
        } else {
            Course::staged(self.warmup, *rate, stages)
        })
    }

    /// How long is measured, as far as it is known beforehand.
    #[must_use]
    pub(crate) fn measured(&self) -> Duration {
        if let Some(course) = &self.connection_course {
            return Duration::try_from_secs_f64(course.seconds()).unwrap_or_default();
        }
        match (&self.load, self.messages) {
            (Load::Open { stages, .. }, _) if !stages.is_empty() => stages.iter().map(|stage| stage.duration).sum(),
            (Load::Open { rate, .. }, Some(messages)) if self.kind.sends() => {
                Duration::try_from_secs_f64(messages as f64 / rate).unwrap_or(Duration::MAX / 4)
            }
            _ => self.duration,
        }
    }

    /// Whether measuring ends after a number of messages, at a time not known beforehand.
    #[must_use]
    pub(crate) fn ends_by_count(&self) -> bool {
        self.messages.is_some() && (!matches!(self.load, Load::Open { .. }) || !self.kind.sends())
    }

    /// `open` or `closed`.
    #[must_use]
    pub(crate) fn mode(&self) -> &'static str {
        match &self.load {
            Load::Open { .. } if self.kind.sends() => "open",
            _ => "closed",
        }
    }

    #[must_use]
    pub(crate) fn awaits(&self) -> bool {
        self.kind == Kind::Echo
    }
}
