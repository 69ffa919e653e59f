//! What a client's protocol works through: what it sends, delivers into the pipeline and settles.

use std::collections::VecDeque;
use std::rc::Rc;

use crate::message::Message;
use crate::net::connection::CloseReason;
use crate::observe::counters::{DropReason, Label};
use crate::pipeline::watch::View;
use crate::protocol::conversation::{Carrier, Told};
use crate::protocol::{Measure, Outcome, Ticket};
use crate::queue::end::EndIo;
use crate::queue::envelope::{Envelope, Origin};
use crate::queue::ledger::{AckCallback, Safety};
use crate::queue::settlement::Settlement;

/// What the session's protocol works through.
pub(super) struct Hand {
    pub(super) io: EndIo,
    pub(super) origin: Rc<Origin>,
    pub(super) seq: u64,
    /// To be sent before anything else.
    pub(super) ready: VecDeque<Message>,
    /// Handed to the connection, or to the protocol, and not settled.
    pub(super) in_flight: VecDeque<(Ticket, Envelope)>,
    pub(super) close: Option<CloseReason>,
    pub(super) view: Rc<View>,
}

impl Drop for Hand {
    fn drop(&mut self) {
        // The end is over: what has no outcome waits again, for its keeper.
        if let Some(lane) = &self.io.lane {
            lane.requeue(self.in_flight.drain(..).map(|(_, envelope)| envelope));
        }
    }
}

impl Carrier for Hand {
    fn send(&mut self, message: Message) {
        self.ready.push_back(message);
    }

    fn deliver(&mut self, message: Message, told: Option<Told>) {
        let Some(ingress) = &self.io.ingress else {
            // It is read and discarded.
            if let Some(told) = told {
                told.tell(Outcome::Taken);
            }
            return;
        };
        self.seq += 1;
        let on_settled = told.map(|told| {
            AckCallback::call(move |safety| {
                told.tell(match safety {
                    Safety::Settled(Settlement::Dropped(reason)) => Outcome::Rejected(reason.name().to_owned()),
                    Safety::Settled(_) | Safety::Stored => Outcome::Taken,
                });
            })
        });
        ingress.push(&self.origin, self.seq, message, on_settled);
    }

    fn publish(&mut self, message: Message) {
        // To a client, other clients stand behind the pipeline.
        self.deliver(message, None);
    }

    fn filtered(&mut self) {
        if let Some((_, envelope)) = self.in_flight.pop_back() {
            envelope.settle(Settlement::Filtered);
        }
    }

    fn settled(&mut self, ticket: Option<Ticket>, outcome: Outcome) {
        let Some(place) = self.in_flight.iter().position(|(known, _)| Some(*known) == ticket) else { return };
        let Some((_, envelope)) = self.in_flight.remove(place) else { return };
        let Some(lane) = &self.io.lane else { return };
        match outcome {
            Outcome::Taken => {
                lane.took(envelope);
            }
            Outcome::Rejected(reason) => {
                self.io.dead_letters.dead_letter(envelope, DropReason::Rejected, &lane.name, &reason);
            }
        }
    }

    fn measured(&mut self, measure: Measure) {
        self.view.measured(measure);
    }

    fn answered(&mut self, text: String) {
        (self.io.notice)(format!("{}: {text}", self.origin.endpoint));
    }

    fn fault(&mut self, text: String) {
        self.view.fault(&text);
        (self.io.notice)(format!("{}: {text}", self.origin.endpoint));
    }

    fn close(&mut self, close: CloseReason) {
        self.close.get_or_insert(close);
    }
}
