//! A message on its way through a pipeline: what it is, where it came from, and who must be told what became of it.

use std::cell::RefCell;
use std::rc::Rc;

use jiff::Timestamp;

use super::Weigh;
use super::ledger::{Receipt, Settlement};
use crate::filter::Json;
use crate::message::Message;
use crate::message::clock::PassClock;

/// Where messages come from.
#[derive(Debug)]
pub struct Origin {
    /// The session's name in events, `s1`.
    pub session: String,
    /// The endpoint as the user wrote it, without secrets.
    pub endpoint: String,
    /// The last message of it that was JSON: what filters know as `$prev`.
    pub prev: RefCell<Json>,
    /// Says when what it gives was received.
    pub clock: PassClock,
}

impl Origin {
    /// A session that has given nothing yet.
    pub fn new(session: impl Into<String>, endpoint: impl Into<String>) -> Rc<Self> {
        Rc::new(Self {
            session: session.into(),
            endpoint: endpoint.into(),
            prev: RefCell::new(Json::null()),
            clock: PassClock::default(),
        })
    }
}

/// A message on its way.
#[derive(Debug)]
pub struct Envelope {
    /// The message.
    pub message: Message,
    /// Where it came from.
    pub origin: Rc<Origin>,
    /// When it was received.
    pub time: Timestamp,
    /// Its number among those of its origin, from 1.
    pub seq: u64,
    /// How often it has been tried.
    pub attempts: u32,
    /// Whom to tell.
    pub receipt: Receipt,
}

impl Envelope {
    /// It has its outcome here.
    pub fn settle(self, settlement: Settlement) {
        self.receipt.settle(settlement);
    }
}

impl Weigh for Envelope {
    fn weight(&self) -> usize {
        self.message.len()
    }
}
