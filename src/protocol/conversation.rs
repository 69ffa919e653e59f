//! Drives one session's protocol: tells it the time, its deliveries' outcomes and the depth of what is behind it.
//!
//! Leaves carrying effects out to a [`Carrier`]. Invariants: effects are carried out in order; a ticket gets exactly one
//! outcome while the session lives.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Instant;

use tokio::time::Sleep;

use super::{Depth, Effect, Measure, Now, Outcome, Protocol, Ticket};
use crate::message::Message;
use crate::net::connection::CloseReason;

/// Carries effects out for one session.
pub(crate) trait Carrier {
    /// Sends to the session's peer, in order.
    fn send(&mut self, message: Message);

    /// Hands a payload inward; `told` receives its outcome.
    fn deliver(&mut self, message: Message, told: Option<Told>);

    /// Hands a message to every other session.
    fn publish(&mut self, message: Message);

    /// The message just handed over for the peer does not concern it.
    fn filtered(&mut self);

    /// What the peer answered for a message.
    fn settled(&mut self, ticket: Option<Ticket>, outcome: Outcome);

    fn measured(&mut self, measure: Measure);

    /// The answer to a request, for the user.
    fn answered(&mut self, text: String);

    /// What the peer sent could not be used.
    fn fault(&mut self, text: String);

    /// Closes the session.
    fn close(&mut self, close: CloseReason);
}

#[derive(Default)]
struct Outcomes {
    told: RefCell<Vec<(Ticket, Outcome)>>,
    waker: RefCell<Option<Waker>>,
}

impl Outcomes {
    fn watch(&self, cx: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }
}

/// The right to tell what became of one delivery, once.
pub(crate) struct Told {
    ticket: Ticket,
    outcomes: Rc<Outcomes>,
}

impl Told {
    /// What became of it; the session's task is woken.
    pub(crate) fn tell(self, outcome: Outcome) {
        self.outcomes.told.borrow_mut().push((self.ticket, outcome));
        if let Some(waker) = self.outcomes.waker.take() {
            waker.wake();
        }
    }
}

/// One session's conversation; it may outlive connections.
pub(crate) struct Conversation {
    protocol: Box<dyn Protocol>,
    effects: Vec<Effect>,
    outcomes: Rc<Outcomes>,
    timer: Option<Pin<Box<Sleep>>>,
    depth: Option<Depth>,
    takes_outgoing: bool,
    /// A message for the peer of which not all is known.
    waiting: Option<(Message, Option<Ticket>)>,
    began: Now,
}

impl Conversation {
    /// A session that has no connection yet.
    pub(crate) fn new(protocol: Box<dyn Protocol>) -> Self {
        let (outcomes, began) = (Rc::default(), Now::read());
        Self {
            protocol,
            effects: Vec::new(),
            outcomes,
            timer: None,
            depth: None,
            takes_outgoing: false,
            waiting: None,
            began,
        }
    }

    /// A connection was opened.
    pub(crate) fn opened(&mut self, carrier: &mut dyn Carrier) {
        self.speak(carrier, |protocol, now, effects| protocol.on_open(now, effects));
    }

    /// The connection has gone.
    pub(crate) fn lost(&mut self) {
        self.protocol.on_lost();
        self.takes_outgoing = false;
        self.waiting = None;
    }

    /// The peer sent a message.
    pub(crate) fn message(&mut self, message: Message, carrier: &mut dyn Carrier) {
        self.speak(carrier, |protocol, now, effects| protocol.on_message(message, now, effects));
    }

    /// A message is due for the peer.
    pub(crate) fn outgoing(&mut self, message: Message, ticket: Option<Ticket>, carrier: &mut dyn Carrier) {
        self.waiting = Some((message, ticket));
        self.hand_over(&mut Context::from_waker(Waker::noop()), carrier);
        if self.waiting.is_some() {
            let waker = self.outcomes.waker.borrow().clone();
            self.hand_over(&mut Context::from_waker(waker.as_ref().unwrap_or(Waker::noop())), carrier);
        }
    }

    /// Hands the message that waits over, once all is known of it.
    fn hand_over(&mut self, cx: &mut Context<'_>, carrier: &mut dyn Carrier) {
        if let Some((message, _)) = &self.waiting
            && self.protocol.poll_known(message, cx).is_ready()
            && let Some((message, ticket)) = self.waiting.take()
        {
            self.speak(carrier, |protocol, now, effects| protocol.on_outgoing(message, ticket, now, effects));
        }
    }

    /// The message that was handed over last, while it waits.
    pub(crate) fn waiting(&self) -> Option<&Message> {
        self.waiting.as_ref().map(|(message, _)| message)
    }

    /// Whether a message may be handed over for the peer, as of the last call.
    pub(crate) fn takes_outgoing(&self) -> bool {
        self.takes_outgoing && self.waiting.is_none()
    }

    /// Whether the peer answers for what it is sent.
    pub(crate) fn acknowledges(&self) -> bool {
        self.protocol.acknowledges()
    }

    /// Messages sent that the peer has not acknowledged.
    pub(crate) fn unsettled(&self) -> usize {
        self.protocol.unsettled()
    }

    /// Wakes the session's task.
    pub(crate) fn wake(&self) {
        if let Some(waker) = self.outcomes.waker.take() {
            waker.wake();
        }
    }

    /// Tells the protocol what has changed around it; the waker is called when there is more to tell.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, depth: Option<Depth>, carrier: &mut dyn Carrier) {
        self.outcomes.watch(cx);
        self.hand_over(cx, carrier);
        loop {
            let told = std::mem::take(&mut *self.outcomes.told.borrow_mut());
            if told.is_empty() {
                break;
            }
            for (ticket, outcome) in told {
                self.speak(carrier, |protocol, now, effects| protocol.on_outcome(ticket, outcome, now, effects));
            }
        }
        if depth != self.depth
            && let Some(depth) = depth
        {
            self.depth = Some(depth);
            self.speak(carrier, |protocol, now, effects| protocol.on_depth(depth, now, effects));
        }
        let mut last: Option<Instant> = None;
        while let Some(deadline) = self.protocol.deadline() {
            let at = tokio::time::Instant::from_std(deadline);
            let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
            if timer.deadline() != at {
                timer.as_mut().reset(at);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return;
            }
            if last == Some(deadline) {
                // It has nothing to do at its own deadline: it is asked again, not in a circle.
                cx.waker().wake_by_ref();
                return;
            }
            last = Some(deadline);
            self.speak(carrier, |protocol, now, effects| protocol.on_time(now, effects));
        }
    }

    /// Lets the protocol speak and carries out what it wants.
    fn speak(&mut self, carrier: &mut dyn Carrier, speak: impl FnOnce(&mut dyn Protocol, Now, &mut Vec<Effect>)) {
        let now = if self.protocol.is_timeless() { self.began } else { Now::read() };
        speak(&mut *self.protocol, now, &mut self.effects);
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Send(message) => carrier.send(message),
                Effect::Deliver(message, ticket) => {
                    let told = ticket.map(|ticket| Told { ticket, outcomes: Rc::clone(&self.outcomes) });
                    carrier.deliver(message, told);
                }
                Effect::Publish(message) => carrier.publish(message),
                Effect::Filtered => carrier.filtered(),
                Effect::Settled(ticket, outcome) => carrier.settled(ticket, outcome),
                Effect::Measured(measure) => carrier.measured(measure),
                Effect::Answered(text) => carrier.answered(text),
                Effect::Fault(text) => carrier.fault(text),
                Effect::Close(close) => carrier.close(close),
            }
        }
        self.takes_outgoing = self.protocol.takes_outgoing(now);
    }
}
