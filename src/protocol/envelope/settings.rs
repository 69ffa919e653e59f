//! How envelopes are exchanged: limits, requests to make, and what all sessions of an endpoint share.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::history::History;
use crate::message::Message;

/// What a session of this protocol may keep.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Messages sent whose answer is open; then the sender waits.
    pub window: usize,
    /// Bytes of them; the last one may exceed it.
    pub window_bytes: usize,
    /// Messages taken that are recognised when they come again.
    pub remembered: usize,
    /// Messages that a peer can ask for again.
    pub replay: usize,
    /// Bytes of them.
    pub replay_bytes: usize,
    /// How long a reply to a request of ours may take.
    pub request_timeout: Duration,
    /// Requests under way at a time, each way.
    pub max_requests: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            window: 1000,
            window_bytes: 16 * 1024 * 1024,
            remembered: 10_000,
            replay: 1000,
            replay_bytes: 4 * 1024 * 1024,
            request_timeout: Duration::from_secs(30),
            max_requests: 8,
        }
    }
}

/// Something to request of the peer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub method: String,
    pub params: Value,
}

/// How envelopes are exchanged; shared by the sessions of an endpoint.
#[derive(Debug)]
pub(crate) struct EnvelopeSettings {
    pub(super) limits: Limits,
    pub(super) requests: Vec<Request>,
    history: RefCell<History>,
}

impl Default for EnvelopeSettings {
    fn default() -> Self {
        Self::new(Limits::default(), Vec::new())
    }
}

impl EnvelopeSettings {
    /// These limits; and requests to make on every new connection.
    #[must_use]
    pub(crate) fn new(limits: Limits, requests: Vec<Request>) -> Self {
        let history = RefCell::new(History::new(limits.replay, limits.replay_bytes));
        Self { limits, requests, history }
    }

    /// A message was published to the sessions: a peer may ask for it again.
    pub(crate) fn remember(&self, message: &Message) {
        self.history.borrow_mut().push(message, Timestamp::now().as_millisecond());
    }

    /// As [`History::within`].
    pub(super) fn within(
        &self,
        span: &RangeInclusive<i64>,
        most: usize,
        wanted: impl Fn(&Message) -> bool,
    ) -> VecDeque<Message> {
        self.history.borrow().within(span, most, wanted)
    }

    /// Messages that can be asked for again.
    pub(super) fn remembered(&self) -> usize {
        self.history.borrow().len()
    }
}
