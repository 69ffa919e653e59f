//! A session of the server that speaks a protocol.
//!
//! Leaves what to do to the protocol. What is delivered goes to standard output; it counts as taken once it has been
//! written there.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Context;

use super::{Actions, Handler};
use crate::listen::hub::Hub;
use crate::message::Message;
use crate::message::counted::counted;
use crate::message::event::Direction;
use crate::net::connection::CloseReason;
use crate::observe::counters::{DropReason, ErrorKind};
use crate::protocol::conversation::{Carrier, Conversation, Told};
use crate::protocol::{Depth, Measure, Outcome, Protocol, Ticket};

/// A session that speaks a protocol.
pub(crate) struct Speaker {
    conversation: Conversation,
    /// Printed, and up to where the output must be written for it to count as taken.
    printed: VecDeque<(Told, u64)>,
    /// Who is told of a message that is left behind.
    session: Option<(Rc<Hub>, u64)>,
}

impl Drop for Speaker {
    fn drop(&mut self) {
        if let (Some(message), Some((hub, id))) = (self.conversation.waiting(), &self.session) {
            hub.dropped(*id, Direction::Out, DropReason::ReceiverGone, message.len());
        }
    }
}

impl Speaker {
    /// A session at its beginning.
    pub(crate) fn new(protocol: Box<dyn Protocol>) -> Self {
        Self { conversation: Conversation::new(protocol), printed: VecDeque::new(), session: None }
    }

    /// Lets the protocol speak, and carries out what it wants.
    fn speak(&mut self, actions: &mut Actions, speak: impl FnOnce(&mut Conversation, &mut dyn Carrier)) {
        speak(&mut self.conversation, &mut Hand { actions, printed: &mut self.printed });
    }

    /// Tells the protocol what the output has taken.
    fn settle(&mut self, cx: &mut Context<'_>, actions: &mut Actions) {
        let written = actions.hub.written();
        while self.printed.front().is_some_and(|(_, position)| *position <= written) {
            if let Some((told, _)) = self.printed.pop_front() {
                told.tell(Outcome::Taken);
            }
        }
        if !self.printed.is_empty() {
            actions.hub.flush();
            actions.hub.wait(cx);
        }
    }
}

/// What a session's protocol works through.
struct Hand<'a, 'b> {
    actions: &'a mut Actions<'b>,
    printed: &'a mut VecDeque<(Told, u64)>,
}

impl Carrier for Hand<'_, '_> {
    fn send(&mut self, message: Message) {
        self.actions.send(message);
    }

    fn deliver(&mut self, message: Message, told: Option<Told>) {
        let position = self.actions.hub.print(self.actions.mailbox.id, &message);
        match (told, position) {
            (Some(told), Some(position)) => self.printed.push_back((told, position)),
            (Some(told), None) => told.tell(Outcome::Taken),
            (None, _) => {}
        }
    }

    fn publish(&mut self, message: Message) {
        let from = self.actions.mailbox.id;
        let hub = self.actions.hub;
        if hub.settings.verbose {
            hub.notice(format!("{}: published {}", hub.label(from), counted(message.len(), "byte")));
        }
        self.actions.send_to_all(&message.detached(), Some(from));
    }

    fn filtered(&mut self) {
        self.actions.hub.counters.filtered.one();
    }

    fn settled(&mut self, _ticket: Option<Ticket>, outcome: Outcome) {
        match outcome {
            Outcome::Taken => {}
            Outcome::Rejected(reason) => {
                self.fault(format!("the client did not take a message: {reason}"));
            }
        }
    }

    fn measured(&mut self, measure: Measure) {
        measure.count(&self.actions.hub.counters);
    }

    fn answered(&mut self, text: String) {
        let label = self.actions.hub.label(self.actions.mailbox.id);
        self.actions.hub.notice(format!("{label}: {text}"));
    }

    fn fault(&mut self, text: String) {
        self.actions.hub.fault(self.actions.mailbox.id, ErrorKind::Message, &text);
    }

    fn close(&mut self, close: CloseReason) {
        self.actions.close(close);
    }
}

impl Handler for Speaker {
    fn on_open(&mut self, actions: &mut Actions) {
        self.session = Some((Rc::clone(actions.hub), actions.mailbox.id));
        self.speak(actions, Conversation::opened);
    }

    fn on_message(&mut self, message: Message, actions: &mut Actions) {
        self.speak(actions, |conversation, carrier| conversation.message(message, carrier));
    }

    fn leaves_printing(&self) -> bool {
        false
    }

    fn takes_outgoing(&self) -> bool {
        self.conversation.takes_outgoing()
    }

    fn on_outgoing(&mut self, message: Message, actions: &mut Actions) {
        self.speak(actions, |conversation, carrier| conversation.outgoing(message, None, carrier));
    }

    fn poll(&mut self, cx: &mut Context<'_>, actions: &mut Actions) {
        self.settle(cx, actions);
        let depth = Depth { waiting: self.printed.len() as u64, capacity: actions.hub.settings.queue_size as u64 };
        self.speak(actions, |conversation, carrier| conversation.poll(cx, Some(depth), carrier));
    }

    fn is_busy(&self) -> bool {
        !self.printed.is_empty() || self.conversation.unsettled() > 0
    }
}
