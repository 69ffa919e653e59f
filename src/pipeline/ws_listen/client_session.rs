//! One client of a server that is an end of a relay.
//!
//! Speaks the protocol: what the client sends goes into the pipeline, what waits for the client goes out. Leaves who gets
//! what to `registry`. Invariants: a client is not read from while the pipeline has no room, and others are; what was not
//! written to the client's socket, or not acknowledged, when it leaves goes back.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::registry::{Client, ClientRegistry, Delivery, DeliveryOutcome};
use crate::listen::handler::{Actions, Handler};
use crate::message::Message;
use crate::message::counted::counted;
use crate::net::connection::{CloseReason, Incoming};
use crate::observe::counters::{ErrorKind, Label as _};
use crate::pipeline::watch::Guest;
use crate::protocol::conversation::{Carrier, Conversation, Told};
use crate::protocol::{Depth, Measure, Outcome, Ticket};
use crate::queue::envelope::Origin;
use crate::queue::ledger::{AckCallback, Safety};
use crate::queue::settlement::Settlement;
use crate::queue::stop::Step;

/// Messages that do not concern a client, passed over before other tasks get their turn.
const PASS: usize = 256;

/// A client's side of the conversation.
pub(super) struct ClientSession {
    conversation: Conversation,
    state: State,
}

struct State {
    registry: Rc<ClientRegistry>,
    origin: Rc<Origin>,
    guest: Guest,
    client: Option<Rc<Client>>,
    seq: u64,
    next_ticket: Ticket,
    /// Handed to the connection, or to the protocol, and not settled.
    in_flight: VecDeque<(Ticket, Delivery)>,
    /// Taken in, and not answered yet.
    undecided: Rc<Cell<usize>>,
}

/// What a client's protocol works through.
struct Hand<'a, 'b> {
    state: &'a mut State,
    actions: &'a mut Actions<'b>,
}

impl Carrier for Hand<'_, '_> {
    fn send(&mut self, message: Message) {
        self.actions.send(message);
    }

    fn deliver(&mut self, message: Message, told: Option<Told>) {
        let io = &self.state.registry.io;
        let Some(ingress) = &io.ingress else {
            // It is read and discarded.
            if let Some(told) = told {
                told.tell(Outcome::Taken);
            }
            return;
        };
        if told.is_some() && io.stop.step() >= Step::Draining {
            // It is not answered, so its sender keeps it and sends it again.
            return;
        }
        self.state.seq += 1;
        let on_settled = told.map(|told| {
            let undecided = Rc::clone(&self.state.undecided);
            undecided.set(undecided.get() + 1);
            let hub = self.actions.hub;
            let log = (hub.settings.verbose && self.state.registry.protocol.is_gateway())
                .then(|| (Rc::clone(hub), hub.label(self.actions.mailbox.id), counted(message.len(), "byte")));
            AckCallback::call(move |safety| {
                undecided.set(undecided.get() - 1);
                let outcome = match safety {
                    Safety::Settled(Settlement::Dropped(reason)) => Outcome::Rejected(reason.name().to_owned()),
                    Safety::Settled(_) | Safety::Stored => Outcome::Taken,
                };
                if let Some((hub, label, size)) = log {
                    hub.notice(match &outcome {
                        Outcome::Taken => format!("{label}: published {size}"),
                        Outcome::Rejected(reason) => format!("{label}: {size} not published: {reason}"),
                    });
                }
                told.tell(outcome);
            })
        });
        ingress.push(&self.state.origin, self.state.seq, message, on_settled);
    }

    fn publish(&mut self, message: Message) {
        // Other clients are behind the pipeline.
        self.deliver(message, None);
    }

    fn filtered(&mut self) {
        if let Some((_, delivery)) = self.state.in_flight.pop_back() {
            self.state.registry.settle(delivery, DeliveryOutcome::Filtered);
        }
    }

    fn settled(&mut self, ticket: Option<Ticket>, outcome: Outcome) {
        let state = &mut *self.state;
        let Some(place) = state.in_flight.iter().position(|(known, _)| Some(*known) == ticket) else { return };
        let Some((_, delivery)) = state.in_flight.remove(place) else { return };
        let outcome = match outcome {
            Outcome::Taken => DeliveryOutcome::Taken,
            Outcome::Rejected(reason) => DeliveryOutcome::Rejected(reason),
        };
        state.registry.settle(delivery, outcome);
    }

    fn measured(&mut self, measure: Measure) {
        self.state.guest.measured(measure);
    }

    fn answered(&mut self, text: String) {
        let label = self.actions.hub.label(self.actions.mailbox.id);
        self.actions.hub.notice(format!("{label}: {text}"));
    }

    fn fault(&mut self, text: String) {
        self.actions.hub.fault(self.actions.mailbox.id, ErrorKind::Message, &text);
        self.state.guest.fault(&text);
    }

    fn close(&mut self, close: CloseReason) {
        self.actions.close(close);
    }
}

impl ClientSession {
    /// A client that has just been accepted.
    pub(super) fn new(registry: Rc<ClientRegistry>, origin: Rc<Origin>, guest: Guest) -> Self {
        Self {
            conversation: Conversation::new(registry.protocol.session()),
            state: State {
                registry,
                origin,
                guest,
                client: None,
                seq: 0,
                next_ticket: 1,
                in_flight: VecDeque::new(),
                undecided: Rc::default(),
            },
        }
    }

    /// Lets the protocol speak, and carries out what it wants.
    fn speak(&mut self, actions: &mut Actions, speak: impl FnOnce(&mut Conversation, &mut dyn Carrier)) {
        speak(&mut self.conversation, &mut Hand { actions, state: &mut self.state });
    }

    /// How full the pipeline behind this is.
    fn depth(&self) -> Option<Depth> {
        let (waiting, capacity) = self.state.registry.io.ingress.as_ref()?.depth();
        Some(Depth { waiting, capacity })
    }
}

impl Handler for ClientSession {
    fn on_open(&mut self, actions: &mut Actions) {
        self.state.client = Some(self.state.registry.join(actions.mailbox));
        self.speak(actions, Conversation::opened);
    }

    fn on_message(&mut self, message: Message, actions: &mut Actions) {
        self.state.guest.is_source_of(&self.state.origin);
        self.speak(actions, |conversation, carrier| conversation.message(message, carrier));
    }

    fn takes_outgoing(&self) -> bool {
        self.conversation.takes_outgoing()
    }

    fn on_outgoing(&mut self, message: Message, actions: &mut Actions) {
        self.speak(actions, |conversation, carrier| conversation.outgoing(message, None, carrier));
    }

    fn poll(&mut self, cx: &mut Context<'_>, actions: &mut Actions) {
        let depth = self.depth();
        self.speak(actions, |conversation, carrier| conversation.poll(cx, depth, carrier));
        let Some(client) = self.state.client.clone() else { return };
        // One at a time: it is asked for when the connection can take it, so nothing stands in the way of reading.
        for _ in 0..PASS {
            if !actions.is_idle() || !self.conversation.takes_outgoing() {
                return;
            }
            let Poll::Ready(delivery) = client.poll_next(cx) else { return };
            let ticket = self.state.next_ticket;
            self.state.next_ticket += 1;
            let message = delivery.message.clone();
            self.state.in_flight.push_back((ticket, delivery));
            self.speak(actions, |conversation, carrier| conversation.outgoing(message, Some(ticket), carrier));
        }
        cx.waker().wake_by_ref();
    }

    fn poll_can_receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.state.registry.io.ingress.as_ref().map_or(Poll::Ready(()), |ingress| ingress.poll_ready(cx))
    }

    fn on_flushed(&mut self) {
        if self.conversation.acknowledges() {
            return;
        }
        for (_, delivery) in self.state.in_flight.drain(..) {
            self.state.registry.settle(delivery, DeliveryOutcome::Taken);
        }
    }

    fn on_control(&mut self, incoming: &Incoming) {
        self.state.guest.incoming(incoming);
    }

    fn is_busy(&self) -> bool {
        let state = &self.state;
        state.undecided.get() > 0
            || !state.in_flight.is_empty()
            || state.client.as_ref().is_some_and(|client| !client.is_empty())
    }
}

impl Drop for ClientSession {
    fn drop(&mut self) {
        if let Some(client) = self.state.client.take() {
            let deliveries = std::mem::take(&mut self.state.in_flight).into_iter().map(|(_, delivery)| delivery);
            self.state.registry.leave(&client, deliveries);
        }
    }
}
