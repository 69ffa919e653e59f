//! Where messages go that no destination takes: event lines with the reason in a file, another endpoint, or nowhere.
//!
//! Invariant: a message that was to be kept is settled as dead-lettered only once it is; one that is not to be kept is
//! settled as dropped.

use std::rc::Rc;
use std::task::{Context, Poll};

use crate::message::Message;
use crate::message::event::{Direction, write_dead_letter_line};
use crate::observe::counters::DropReason;
use crate::queue::end::DeadLetters;
use crate::queue::envelope::Envelope;
use crate::queue::lane::Lane;
use crate::queue::ledger::{AckCallback, Ledger, Safety};
use crate::queue::settlement::Settlement;

#[derive(Debug)]
pub(crate) struct Nowhere;

impl DeadLetters for Nowhere {
    fn are_kept(&self) -> bool {
        false
    }

    fn dead_letter(&self, envelope: Envelope, reason: DropReason, _endpoint: &str, _error: &str) {
        envelope.settle(Settlement::Dropped(reason));
    }
}

/// Keeps them as event lines in a lane of their own.
pub(crate) struct Kept {
    pub lane: Rc<Lane>,
    /// Accounts for the event lines, apart from the pipelines.
    pub ledger: Rc<Ledger>,
}

impl DeadLetters for Kept {
    fn are_kept(&self) -> bool {
        true
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.lane.poll_ready(cx)
    }

    fn dead_letter(&self, envelope: Envelope, reason: DropReason, endpoint: &str, error: &str) {
        let mut line = Vec::new();
        let (session, error) = (&envelope.origin.session, format!("{endpoint}: {error}"));
        write_dead_letter_line(&mut line, envelope.time, session, Direction::In, &envelope.message, &error);
        // A lane's messages end without a newline; its sink adds one.
        line.pop();
        let Ok(message) = Message::text_from_bytes(line) else { return };
        let (origin, time, seq) = (Rc::clone(&envelope.origin), envelope.time, envelope.seq);
        let (original, size, sender) = (envelope.receipt, envelope.message.len(), Rc::clone(&envelope.origin));
        let kept = AckCallback::call(move |safety| match safety {
            Safety::Stored | Safety::Settled(Settlement::Delivered) => {
                original.settle(Settlement::DeadLettered(reason));
            }
            Safety::Settled(_) => {
                original.tell_drop(&sender.session, Direction::In, reason, size);
                original.settle(Settlement::Dropped(reason));
            }
        });
        let receipt = self.ledger.receive(message.len(), Some(kept));
        self.lane.push(Envelope { message, origin, time, seq, attempts: 0, receipt });
    }
}
