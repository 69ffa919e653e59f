//! What is known of one session, for code that shows or steers it.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::message::Message;
use crate::net::connector::Handshake;
use crate::observe::control::SessionState;
use crate::observe::counters::Traffic;
use crate::queue::read_throttle::ReadThrottle;

/// One session, from the first connection to the last.
#[derive(Debug)]
pub(crate) struct SessionInfo {
    /// `s1`, `s2`, …
    pub id: String,
    /// Without user info.
    pub url: String,
    /// Host and port as the URL has them.
    pub host: String,
    /// Where it is in its life.
    pub state: Cell<SessionState>,
    /// Failures in a row, while it waits for the next attempt.
    pub failures: Cell<u32>,
    /// The last round-trip time.
    pub round_trip: Cell<Option<Duration>>,
    /// When the present connection was opened.
    pub since: Cell<Option<Instant>>,
    /// Connections opened so far.
    pub connections: Cell<u64>,
    /// Messages and payload bytes received.
    pub received: Traffic,
    /// Messages and payload bytes sent.
    pub sent: Traffic,
    /// The handshake of the last connection.
    pub handshake: RefCell<Option<Handshake>>,
    /// When the present connection was opened, as others read it.
    pub opened_at: Cell<Option<Timestamp>>,
    /// When it will be opened again.
    pub retry_at: Cell<Option<Timestamp>>,
    /// A close was asked for.
    pub closing: Cell<bool>,
    /// Another connection was asked for.
    pub again: Cell<bool>,
    /// No further connection is needed.
    pub given_up: Cell<bool>,
    /// Bytes compression saved, in and out.
    pub saved: Cell<(i64, i64)>,
    pub throttle: ReadThrottle,
    /// What was said when the last connection failed, line by line; nothing once another has opened.
    pub failure: RefCell<Vec<String>>,
}

impl SessionInfo {
    /// A session that has not been connected yet.
    pub(crate) fn new(id: String, url: String) -> Self {
        let authority = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        let host = authority.split(['/', '?']).next().unwrap_or_default().to_owned();
        Self {
            id,
            url,
            host,
            state: Cell::new(SessionState::Connecting),
            failures: Cell::default(),
            round_trip: Cell::default(),
            since: Cell::default(),
            connections: Cell::default(),
            received: Traffic::default(),
            sent: Traffic::default(),
            handshake: RefCell::default(),
            opened_at: Cell::default(),
            retry_at: Cell::default(),
            closing: Cell::default(),
            again: Cell::default(),
            given_up: Cell::default(),
            saved: Cell::default(),
            throttle: ReadThrottle::default(),
            failure: RefCell::default(),
        }
    }

    /// A connection was opened.
    pub(crate) fn opened(&self, handshake: Handshake) {
        self.state.set(SessionState::Open);
        self.since.set(Some(Instant::now()));
        self.opened_at.set(Some(Timestamp::now()));
        self.retry_at.set(None);
        self.again.set(false);
        self.failure.borrow_mut().clear();
        self.connections.set(self.connections.get() + 1);
        *self.handshake.borrow_mut() = Some(handshake);
    }

    /// A message was received.
    pub(crate) fn got(&self, message: &Message) {
        self.received.message(message.len());
        let (received, sent) = self.saved.get();
        self.saved.set((received + message.saved(), sent));
    }

    /// A message was sent.
    pub(crate) fn gave(&self, message: &Message) {
        self.sent.message(message.len());
        let (received, sent) = self.saved.get();
        self.saved.set((received, sent + message.saved()));
    }

    /// The connection is gone.
    pub(crate) fn left(&self, state: SessionState) {
        self.state.set(state);
        self.since.set(None);
        self.opened_at.set(None);
        self.closing.set(false);
    }

    /// It is tried again after this time, for the failure of this number in a row.
    pub(crate) fn retries(&self, failures: u32, delay: Duration) {
        self.left(SessionState::Retrying);
        self.failures.set(failures);
        self.retry_at.set(Timestamp::now().checked_add(delay).ok());
    }
}
