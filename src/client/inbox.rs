//! Input on its way to one session, which may have to wait for the network.
//!
//! Owns how much may wait; leaves reading, and whom it is for, to `input`. Invariant: after the session's end nothing is
//! taken any more.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use crate::session::Outgoing;

/// Messages an inbox may hold before reading of input pauses.
pub(crate) const INBOX_MESSAGES: usize = 1024;
/// Payload bytes an inbox may hold before reading of input pauses.
const INBOX_BYTES: usize = 1024 * 1024;

/// The inboxes of all sessions, in their order.
pub(crate) type Inboxes = [Rc<RefCell<Inbox>>];

/// Input on its way to one session.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    waiting: VecDeque<Outgoing>,
    bytes: usize,
    closed: bool,
}

impl Inbox {
    /// Adds what was read; false when the session has ended and nobody will take it.
    pub(crate) fn push(&mut self, outgoing: Outgoing) -> bool {
        if self.closed {
            return false;
        }
        self.bytes += size(&outgoing);
        self.waiting.push_back(outgoing);
        true
    }

    /// The session has ended: what waits is dropped, and what still comes.
    pub(crate) fn close(&mut self) {
        *self = Self { closed: true, ..Self::default() };
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Payload bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes the oldest.
    pub(crate) fn pop(&mut self) -> Option<Outgoing> {
        let outgoing = self.waiting.pop_front()?;
        self.bytes -= size(&outgoing);
        Some(outgoing)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether more may be read for this session.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() < INBOX_MESSAGES && self.bytes < INBOX_BYTES
    }
}

fn size(outgoing: &Outgoing) -> usize {
    match outgoing {
        Outgoing::Message(message) => message.len(),
        Outgoing::Ping(payload) | Outgoing::Pong(payload) => payload.len(),
        Outgoing::Close(_) | Outgoing::Abort => 0,
    }
}
