//! What is counted in a run, on each shard and added up: messages, bytes, and connections that ended.
//!
//! Invariant: for messages that are to be answered, `sent = received + lost + censored + under way`.

use serde::{Deserialize, Serialize};

/// Messages, by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Messages {
    pub sent: u64,
    /// Answered; where nothing is to be answered, received.
    pub received: u64,
    /// Of these, equal to what was sent, byte for byte.
    pub verified: u64,
    /// Not answered within the deadline, or their connection went away.
    pub lost: u64,
    /// Without an answer when the run was cut off.
    pub censored: u64,
    /// Answers that came again.
    pub duplicated: u64,
    /// Answers that came after the answer to a later message.
    pub reordered: u64,
    /// Answers that differ from what was sent.
    pub corrupt: u64,
    /// Messages that belong to none of ours.
    pub unexpected: u64,
    /// Of these, messages of another connection's.
    #[serde(default)]
    pub cross_talk: u64,
    /// Answers to messages that had been given up as lost.
    #[serde(default)]
    pub late: u64,
    /// Due, but the connection had too much under way.
    #[serde(default)]
    pub missed_backpressure: u64,
    /// Due, but we came too late ourselves.
    #[serde(default)]
    pub missed_generator: u64,
    /// Due, but no connection was open.
    #[serde(default)]
    pub missed_closed: u64,
}

impl Messages {
    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.verified += other.verified;
        self.lost += other.lost;
        self.censored += other.censored;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.corrupt += other.corrupt;
        self.unexpected += other.unexpected;
        self.cross_talk += other.cross_talk;
        self.late += other.late;
        self.missed_backpressure += other.missed_backpressure;
        self.missed_generator += other.missed_generator;
        self.missed_closed += other.missed_closed;
    }

    /// Messages that ought to have been answered and were not.
    #[must_use]
    pub(crate) fn unanswered(&self) -> u64 {
        self.lost + self.censored
    }

    /// The share of messages that were lost.
    #[must_use]
    pub(crate) fn loss(&self) -> f64 {
        let settled = self.received + self.lost;
        if settled == 0 { 0.0 } else { self.lost as f64 / settled as f64 }
    }

    /// Messages that were due.
    #[must_use]
    pub(crate) fn due(&self) -> u64 {
        self.sent + self.missed_backpressure + self.missed_generator + self.missed_closed
    }
}

/// Bytes both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Bytes {
    /// In payloads sent.
    pub payload_sent: u64,
    /// In payloads received.
    pub payload_received: u64,
    /// Written in frames, before TLS.
    pub wire_sent: u64,
    /// Read in frames, after TLS.
    pub wire_received: u64,
}

impl Bytes {
    pub(crate) fn add(&mut self, other: &Self) {
        self.payload_sent += other.payload_sent;
        self.payload_received += other.payload_received;
        self.wire_sent += other.wire_sent;
        self.wire_received += other.wire_received;
    }
}

/// Connections, by how they opened and closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Connections {
    pub tried: u64,
    pub opened: u64,
    pub failed: u64,
    /// Of those over TLS, sessions taken up again.
    pub resumed: u64,
    /// Ended before their time.
    pub closed_early: u64,
}

impl Connections {
    pub(crate) fn add(&mut self, other: &Self) {
        self.tried += other.tried;
        self.opened += other.opened;
        self.failed += other.failed;
        self.resumed += other.resumed;
        self.closed_early += other.closed_early;
    }
}
