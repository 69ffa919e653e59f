//! What sessions may speak on top of WebSocket messages: a file each, sans-io.
//!
//! A [`Protocol`] is the state of one session. It is told what happened and when, and answers with [`Effect`]s;
//! it has no clock, no socket and no queue. Whoever drives it (the test server, a relay) carries the effects out
//! in order. Invariants: a message given to [`Protocol::on_outgoing`] or [`Protocol::on_message`] leads to effects or is counted
//! by one; nothing is kept without a bound.

use std::time::Instant;

use jiff::Timestamp;

use crate::message::Message;
use crate::net::connection::CloseReason;

/// The moment something happens at: one reading of both clocks.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For time limits.
    pub instant: Instant,
    /// For what is written down.
    pub time: Timestamp,
}

impl Now {
    /// Reads the clocks; the monotonic one is the runtime's, so that a paused test clock is obeyed.
    #[must_use]
    pub fn read() -> Self {
        Self { instant: tokio::time::Instant::now().into_std(), time: Timestamp::now() }
    }
}

/// Names a delivery until its outcome is known; given out by the protocol, unique in its session.
pub type Ticket = u64;

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The sink took it.
    Taken,
    /// The sink will never take it, for this reason.
    Rejected(String),
}

/// What a protocol wants done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this to the session's peer.
    Send(Message),
    /// Hand this payload inward: to the output, the filter, the sink. Where there is a ticket,
    /// [`Protocol::on_outcome`] is called once, when it is known what became of it.
    Deliver(Message, Option<Ticket>),
    /// Hand this to every other session, through their [`Protocol::on_outgoing`].
    Publish(Message),
    /// A message for the peer does not concern it: it is counted as filtered.
    Filtered,
    /// What the peer sent could not be used; said once in the log and counted as an error.
    Fault(String),
    /// Close the session; nothing is sent after it.
    Close(CloseReason),
}

/// How full the queue is that deliveries go into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depth {
    /// Messages waiting.
    pub waiting: u64,
    /// Messages it holds at most.
    pub capacity: u64,
}

/// One session's protocol. Every method appends to `effects`.
pub trait Protocol {
    /// The session has opened.
    fn on_open(&mut self, now: Now, effects: &mut Vec<Effect>);

    /// The peer sent a message.
    fn on_message(&mut self, message: Message, now: Now, effects: &mut Vec<Effect>);

    /// Whether messages for the peer may be handed to [`Protocol::on_outgoing`] now; while not, they wait in the
    /// session's queue. Asked again after every other call.
    fn takes_outgoing(&self, _now: Now) -> bool {
        true
    }

    /// A message is due for the peer: an input line, another session's publication, a broker's message.
    fn on_outgoing(&mut self, message: Message, now: Now, effects: &mut Vec<Effect>);

    /// What became of a delivery that had a ticket.
    fn on_outcome(&mut self, _ticket: Ticket, _outcome: Outcome, _now: Now, _effects: &mut Vec<Effect>) {}

    /// The queue behind [`Effect::Deliver`] has changed.
    fn on_depth(&mut self, _depth: Depth, _now: Now, _effects: &mut Vec<Effect>) {}

    /// When [`Protocol::on_time`] is due next.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The deadline has come, or may have: called early it does nothing.
    fn on_time(&mut self, _now: Now, _effects: &mut Vec<Effect>) {}

    /// Messages sent that the peer has not acknowledged: what would be lost with the session.
    fn unsettled(&self) -> usize {
        0
    }
}
