//! A run as others see and steer it.
//!
//! Owns the readings of its sessions, and wishes for another connection. Leaves what sessions do to the run, which is
//! woken when something was asked of it. Invariant: what is sent from outside waits in the same inbox as what was typed.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};

use jiff::Timestamp;

use super::inbox::{INBOX_MESSAGES, Inbox};
use super::info::SessionInfo;
use super::shared::Shared;
use crate::message::Message;
use crate::message::event::time_text;
use crate::net::connection::CloseReason;
use crate::observe::Control;
use crate::observe::control::{
    Delivering, Delivery, QueueReading, Refusal, SessionQueue, SessionReading, SessionState, Steer, TrafficReading,
    WireReading, milliseconds,
};
use crate::observe::counters::Counters;
use crate::observe::tap::Tap;
use crate::session::Outgoing;

pub(crate) struct ClientControl {
    shared: Rc<Shared>,
    sessions: Vec<(Rc<SessionInfo>, Rc<RefCell<Inbox>>)>,
    waker: RefCell<Option<Waker>>,
    told: Cell<bool>,
}

impl ClientControl {
    /// A run of these sessions.
    pub(crate) fn new(shared: Rc<Shared>, sessions: Vec<(Rc<SessionInfo>, Rc<RefCell<Inbox>>)>) -> Rc<Self> {
        Rc::new(Self { shared, sessions, waker: RefCell::new(None), told: Cell::new(false) })
    }

    /// Asks to be woken when something is asked of the run; whether something was.
    pub(crate) fn watch(&self, cx: &mut Context<'_>) -> bool {
        *self.waker.borrow_mut() = Some(cx.waker().clone());
        self.told.take()
    }

    fn wake(&self) {
        self.shared.changed.set(true);
        self.told.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    fn session(&self, name: &str) -> Option<&(Rc<SessionInfo>, Rc<RefCell<Inbox>>)> {
        self.sessions.iter().find(|(info, _)| info.id == name)
    }

    fn push(&self, inbox: &RefCell<Inbox>, outgoing: Outgoing) -> Delivery {
        let mut inbox = inbox.borrow_mut();
        let taken = inbox.has_room() && inbox.push(outgoing);
        drop(inbox);
        self.wake();
        Delivery { sent: u64::from(taken), dropped: u64::from(!taken), displaced: 0 }
    }

    fn reading(info: &SessionInfo, inbox: &Inbox) -> SessionReading {
        SessionReading {
            id: info.id.clone(),
            name: None,
            subject: None,
            pipeline: None,
            peer: info.url.clone(),
            state: match info.state.get() {
                _ if info.closing.get() => SessionState::Closing,
                SessionState::Open if info.throttle.is_shut() => SessionState::Paused,
                state => state,
            },
            target: info.url.clone(),
            since: info.opened_at.get().map(time_text).unwrap_or_default(),
            received: TrafficReading::from(&info.received),
            sent: TrafficReading::from(&info.sent),
            queue: SessionQueue { depth: inbox.len(), bytes: inbox.bytes(), capacity: INBOX_MESSAGES },
            lag: None,
            dropped: 0,
            round_trip_ms: info.round_trip.get().map(milliseconds),
            retry_in_ms: info
                .retry_at
                .get()
                .map(|at| u64::try_from(at.duration_since(Timestamp::now()).as_millis()).unwrap_or_default()),
            wire: WireReading::of(
                TrafficReading::from(&info.received),
                TrafficReading::from(&info.sent),
                info.saved.get(),
            ),
            rate_limit: info.throttle.rate(),
        }
    }
}

impl Control for ClientControl {
    fn mode(&self) -> &'static str {
        "connect"
    }

    fn counters(&self) -> &Counters {
        let counters = &self.shared.counters;
        // What the sessions have counted since the last look.
        let sum = |of: fn(&SessionInfo) -> TrafficReading| {
            self.sessions.iter().map(|(info, _)| of(info)).fold(TrafficReading::default(), |sum, one| TrafficReading {
                messages: sum.messages + one.messages,
                bytes: sum.bytes + one.bytes,
            })
        };
        for (traffic, now) in [
            (&counters.received, sum(|info| TrafficReading::from(&info.received))),
            (&counters.sent, sum(|info| TrafficReading::from(&info.sent))),
        ] {
            traffic.messages.add(now.messages - traffic.messages.get());
            traffic.bytes.add(now.bytes - traffic.bytes.get());
        }
        let opened: u64 = self.sessions.iter().map(|(info, _)| info.connections.get()).sum();
        counters.connections.add(opened - counters.connections.get());
        let again: u64 = self.sessions.iter().map(|(info, _)| info.connections.get().saturating_sub(1)).sum();
        counters.reconnects.add(again - counters.reconnects.get());
        counters
    }

    fn tap(&self) -> &Tap {
        &self.shared.tap
    }

    fn active(&self) -> usize {
        self.sessions.iter().filter(|(info, _)| info.state.get() == SessionState::Open).count()
    }

    fn queues(&self) -> Vec<QueueReading> {
        let mut send = QueueReading { name: "send".into(), ..QueueReading::default() };
        for (_, inbox) in &self.sessions {
            let inbox = inbox.borrow();
            send.depth += inbox.len();
            send.bytes += inbox.bytes();
            send.capacity += INBOX_MESSAGES;
            send.utilization = send.utilization.max(inbox.len() as f64 / INBOX_MESSAGES as f64);
        }
        vec![send]
    }

    fn each_full_queue(&self, full: &mut dyn FnMut(u64)) {
        for (place, (_, inbox)) in self.sessions.iter().enumerate() {
            if !inbox.borrow().has_room() {
                full(place as u64);
            }
        }
    }

    fn sessions(&self, limit: usize) -> Vec<SessionReading> {
        let reading = |(info, inbox): &(Rc<SessionInfo>, Rc<RefCell<Inbox>>)| Self::reading(info, &inbox.borrow());
        self.sessions.iter().take(limit).map(reading).collect()
    }

    fn send(self: Rc<Self>, session: &str, message: Message) -> Result<Delivering, Refusal> {
        let (_, inbox) = self.session(session).ok_or(Refusal::Unknown)?;
        let delivery = self.push(inbox, Outgoing::Message(message));
        Ok(Box::pin(std::future::ready(delivery)))
    }

    fn broadcast(self: Rc<Self>, message: Message) -> Delivering {
        let mut sum = Delivery::default();
        for (_, inbox) in &self.sessions {
            let delivery = self.push(inbox, Outgoing::Message(message.clone()));
            sum.sent += delivery.sent;
            sum.dropped += delivery.dropped;
        }
        Box::pin(std::future::ready(sum))
    }

    fn steer(&self, session: &str, steer: &Steer) -> Result<(), Refusal> {
        let (info, inbox) = self.session(session).ok_or(Refusal::Unknown)?;
        match (steer, info.state.get()) {
            (Steer::Intake(intake), _) => info.throttle.turn(*intake),
            (Steer::Close(close), SessionState::Open) => {
                info.closing.set(true);
                inbox.borrow_mut().push(Outgoing::Close(close.clone()));
            }
            (Steer::Close(_), SessionState::Closed) => return Err(Refusal::Unfit("it has already ended")),
            (Steer::Close(_), _) => info.given_up.set(true),
        }
        self.wake();
        Ok(())
    }

    fn reconnect(&self, session: &str) -> bool {
        let Some((info, inbox)) = self.session(session) else { return false };
        info.again.set(true);
        if info.state.get() == SessionState::Open {
            info.closing.set(true);
            inbox.borrow_mut().push(Outgoing::Close(CloseReason::new(1000, "")));
        }
        self.wake();
        true
    }
}
