//! What sessions may speak on top of WebSocket messages: a file or folder each, sans-io.
//!
//! A [`Protocol`] is the state of one session. It is told what happened and when, and answers with [`Effect`]s; it has
//! no clock, no socket and no queue. Code that drives it (the test server, a relay) carries the effects out in order.
//! [`Settings`] says which protocol is spoken and makes one for each session; what sessions share lives there.
//! Invariants: a message given to [`Protocol::on_outgoing`] or [`Protocol::on_message`] leads to effects or is counted
//! by one; nothing is kept without a bound.

pub(crate) mod conversation;
mod decimal;
pub(crate) mod envelope;
pub(crate) mod feed;
pub(crate) mod gateway;
mod measure;
pub(crate) mod raw;

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use jiff::Timestamp;

pub(crate) use self::measure::Measure;
use crate::message::Message;
use crate::message::{clock, uuid};
use crate::net::connection::CloseReason;

/// The moment something happens at: one reading of both clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    /// For time limits.
    pub instant: Instant,
    /// For what is written down.
    pub time: Timestamp,
}

impl Now {
    /// Reads the clocks; the monotonic one is the runtime's, so that a paused test clock is obeyed.
    #[must_use]
    pub(crate) fn read() -> Self {
        Self { instant: clock::now(), time: Timestamp::now() }
    }
}

/// Names a message until its outcome is known, unique in its session. For deliveries the protocol gives it out, for
/// outgoing messages by the caller.
pub(crate) type Ticket = u64;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The sink took it.
    Taken,
    /// The sink will never take it, for this reason.
    Rejected(String),
}

/// What a protocol wants done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Send this to the session's peer.
    Send(Message),
    /// Hand this payload inward: to the output, the filter, the sink. Where there is a ticket,
    /// [`Protocol::on_outcome`] is called once, when it is known what became of it. It may be a slice of what was received.
    Deliver(Message, Option<Ticket>),
    /// Hand this to every other session, through their [`Protocol::on_outgoing`].
    Publish(Message),
    /// The message just handed to [`Protocol::on_outgoing`] does not concern the peer: it is counted as filtered.
    Filtered,
    /// What the peer answered for a message that [`Protocol::on_outgoing`] was given, with the ticket it came with. Only
    /// where [`Protocol::acknowledges`]; then exactly once, but for messages still unsettled when the session is over.
    Settled(Option<Ticket>, Outcome),
    Measured(Measure),
    /// The answer to a request that was made for its sake, which is to be shown.
    Answered(String),
    /// What the peer sent could not be used; said once in the log and counted as an error.
    Fault(String),
    /// Close the session; nothing is sent after it.
    Close(CloseReason),
}

/// How full the queue is that deliveries go into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Depth {
    /// Messages waiting.
    pub waiting: u64,
    /// Messages it holds at most.
    pub capacity: u64,
}

/// One session's protocol. Every method appends to `effects`.
pub(crate) trait Protocol {
    /// The session has a connection: the first one, or a new one after [`Protocol::on_lost`].
    fn on_open(&mut self, now: Now, effects: &mut Vec<Effect>);

    /// The peer sent a message.
    fn on_message(&mut self, message: Message, now: Now, effects: &mut Vec<Effect>);

    /// Whether messages for the peer may be handed to [`Protocol::on_outgoing`] now; while not, they wait in the
    /// session's queue. Asked again after every other call.
    fn takes_outgoing(&self, _now: Now) -> bool {
        true
    }

    /// Whether it never looks at the time. It is then told when the session began: reading two clocks for every message is
    /// seen in what a relay costs.
    fn is_timeless(&self) -> bool {
        false
    }

    /// Ready when all is known of a message that [`Protocol::on_outgoing`] needs, which it is then given next: what
    /// filters of the user of this process find in it. Asked until it is.
    fn poll_known(&mut self, _message: &Message, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// A message is due for the peer: an input line, another session's publication, a broker's message. Where the code
    /// that hands it over wants to know what happens to it, it comes with a ticket; it is settled as soon as it is
    /// sent, or, where [`Protocol::acknowledges`], by [`Effect::Settled`].
    fn on_outgoing(&mut self, message: Message, ticket: Option<Ticket>, now: Now, effects: &mut Vec<Effect>);

    /// Whether the peer answers for what it is sent.
    fn acknowledges(&self) -> bool {
        false
    }

    /// The connection has gone; when the session gets another one, [`Protocol::on_open`] says so.
    fn on_lost(&mut self) {}

    /// The outcome of a delivery that had a ticket.
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

/// Which protocol the sessions of an endpoint speak. Cloning shares it.
#[derive(Debug, Clone)]
pub(crate) enum Settings {
    /// None: messages pass as they are.
    Raw,
    /// Events for clients that register with filters.
    Feed(Rc<feed::FeedSettings>),
    /// Envelopes with acknowledgements and requests.
    Envelope(Rc<envelope::EnvelopeSettings>),
    /// A chat-like gateway.
    Gateway(gateway::GatewaySettings),
}

impl Settings {
    #[must_use]
    pub(crate) fn session(&self) -> Box<dyn Protocol> {
        match self {
            Self::Raw => Box::new(raw::Raw),
            Self::Feed(settings) => Box::new(feed::Feed::new(Rc::clone(settings))),
            Self::Envelope(settings) => Box::new(envelope::Envelope::new(Rc::clone(settings), random_word())),
            Self::Gateway(settings) => Box::new(gateway::Gateway::new(settings.clone(), uuid::of_random(random()))),
        }
    }

    /// Whether `-v` shows every message that is published or broadcast.
    pub(crate) fn is_gateway(&self) -> bool {
        matches!(self, Self::Gateway(_))
    }

    /// A message is on its way to the sessions: said once for each, however many sessions there are, before any of
    /// them is given it. What can be asked for again is remembered here.
    pub(crate) fn on_published(&self, message: &Message) {
        if let Self::Envelope(settings) = self {
            settings.remember(message);
        }
    }
}

fn random() -> u128 {
    let mut bytes = [0; 16];
    // Without the system's randomness the time of day has to do: the words need to differ, not to be secret.
    match getrandom::fill(&mut bytes) {
        Ok(()) => u128::from_ne_bytes(bytes),
        Err(_) => fastrand::u128(..),
    }
}

/// 64 random bits as 16 hexadecimal digits.
fn random_word() -> String {
    format!("{:016x}", random() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_names_differ_and_have_their_shape() {
        assert_ne!(random_word(), random_word());
        assert_eq!(random_word().len(), 16);
    }

    #[test]
    fn raw_passes_through() {
        let mut session = Settings::Raw.session();
        let (now, mut effects) = (Now::read(), Vec::new());
        session.on_open(now, &mut effects);
        session.on_message(Message::text("in"), now, &mut effects);
        assert!(session.takes_outgoing(now) && !session.acknowledges());
        session.on_outgoing(Message::binary("out"), Some(1), now, &mut effects);
        assert_eq!(effects, [Effect::Deliver(Message::text("in"), None), Effect::Send(Message::binary("out"))]);
        assert_eq!(session.deadline(), None);
    }
}
