//! A message on its way through a pipeline: what it is, where it came from, and whom to notify of its outcome.

use std::cell::{OnceCell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use jiff::Timestamp;

use super::Weigh;
use super::ledger::Receipt;
use super::settlement::Settlement;
use crate::filter::Json;
use crate::message::Message;
use crate::message::clock::PassClock;
use crate::message::event::{Direction, time_text};
use crate::message::source::Source;
use crate::observe::counters::DropReason;

#[derive(Debug)]
pub(crate) struct Origin {
    /// The session's name in events, `s1`.
    pub session: String,
    /// The endpoint as the user wrote it, without secrets.
    pub endpoint: String,
    /// The last message of it that was JSON: what filters know as `$prev`.
    pub prev: RefCell<Json>,
    /// Says when what it gives was received.
    pub clock: PassClock,
    /// Where its messages come from, where that is the same for all of them.
    pub source: OnceCell<Arc<Source>>,
}

impl Origin {
    /// A session that has given nothing yet.
    pub(crate) fn new(session: impl Into<String>, endpoint: impl Into<String>) -> Rc<Self> {
        Rc::new(Self {
            session: session.into(),
            endpoint: endpoint.into(),
            prev: RefCell::new(Json::null()),
            clock: PassClock::default(),
            source: OnceCell::new(),
        })
    }
}

impl Origin {
    /// The value of `$meta` for a message of it.
    pub(crate) fn meta(&self, message: &Message, time: Timestamp, seq: u64) -> Json {
        let (kind, time) = (message.kind().name(), time_text(time));
        let meta = Json::meta(&self.session, &self.endpoint, &time, kind, message.len(), seq);
        match message.source().or(self.source.get()) {
            Some(source) => meta.with_source(source),
            None => meta,
        }
    }
}

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub message: Message,
    pub origin: Rc<Origin>,
    pub time: Timestamp,
    /// Its number among those of its origin, from 1.
    pub seq: u64,
    /// How often it has been tried.
    pub attempts: u32,
    pub receipt: Receipt,
}

impl Envelope {
    pub(crate) fn settle(self, settlement: Settlement) {
        if let Settlement::Dropped(reason) = settlement {
            self.receipt.tell_drop(&self.origin.session, Direction::In, reason, self.message.len());
        }
        self.receipt.settle(settlement);
    }

    /// It is dropped on its way to a session.
    pub(crate) fn drop_before(self, receiver: &str, reason: DropReason) {
        self.receipt.tell_drop(receiver, Direction::Out, reason, self.message.len());
        self.receipt.settle(Settlement::Dropped(reason));
    }
}

impl Weigh for Envelope {
    fn weight(&self) -> usize {
        self.message.len()
    }
}
