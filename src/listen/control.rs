//! The server as the admin address and other viewers see and steer it.
//!
//! Owns the readings and the delivery of messages from outside. Leaves sessions to the hub. Invariant: a message from
//! outside is placed, or dropped and counted, also where whoever sent it has gone.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use super::hub::Hub;
use super::mailbox::{Mailbox, Way};
use super::session_id::session_id;
use crate::message::Message;
use crate::message::event::{Direction, time_text};
use crate::observe::Control;
use crate::observe::control::{
    Delivering, Delivery, QueueReading, Refusal, SessionQueue, SessionReading, SessionState, Steer, TrafficReading,
    WireReading, milliseconds,
};
use crate::observe::counters::{Counters, DropReason};
use crate::observe::tap::Tap;
use crate::queue::Pushed;
use crate::queue::read_throttle::ReadThrottle;
use crate::redact;

/// A session that is held up for less is not told to be.
const THROTTLED_AFTER: Duration = Duration::from_secs(1);
/// Longest wait for room in full queues, under `--on-full block`.
const WAIT: Duration = Duration::from_secs(10);

impl Control for Hub {
    fn mode(&self) -> &'static str {
        "listen"
    }

    fn is_server(&self) -> bool {
        true
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }

    fn tap(&self) -> &Tap {
        Hub::tap(self)
    }

    fn active(&self) -> usize {
        Hub::active(self)
    }

    fn max_sessions(&self) -> Option<usize> {
        self.settings.guard.admission.max_connections
    }

    fn queues(&self) -> Vec<QueueReading> {
        let mut send = QueueReading { name: "send".into(), ..QueueReading::default() };
        self.each_session(|mailbox| {
            send.depth += mailbox.waiting();
            send.bytes += mailbox.waiting_bytes();
            send.capacity += mailbox.capacity();
            send.utilization = send.utilization.max(mailbox.utilization());
        });
        vec![send]
    }

    fn each_full_queue(&self, full: &mut dyn FnMut(u64)) {
        self.each_session(|mailbox| {
            if mailbox.is_full() {
                full(mailbox.id);
            }
        });
    }

    fn sessions(&self, limit: usize) -> Vec<SessionReading> {
        Hub::sessions(self).iter().take(limit).map(|mailbox| reading(mailbox)).collect()
    }

    fn send(self: Rc<Self>, session: &str, message: Message) -> Result<Delivering, Refusal> {
        let receivers = known(&self, session)?;
        Ok(Box::pin(deliver(self, receivers, message)))
    }

    fn broadcast(self: Rc<Self>, message: Message) -> Delivering {
        let all = Hub::sessions(&self);
        Box::pin(deliver(self, all, message))
    }

    fn steer(&self, session: &str, steer: &Steer) -> Result<(), Refusal> {
        known(self, session)?.iter().for_each(|mailbox| mailbox.steer(steer));
        Ok(())
    }
}

/// The sessions of this id or name, one at least.
fn known(hub: &Hub, session: &str) -> Result<Vec<Rc<Mailbox>>, Refusal> {
    Some(hub.named(session)).filter(|mailboxes| !mailboxes.is_empty()).ok_or(Refusal::Unknown)
}

fn reading(mailbox: &Mailbox) -> SessionReading {
    let state = if mailbox.is_closing() {
        SessionState::Closing
    } else if mailbox.throttle().is_some_and(ReadThrottle::is_shut) {
        SessionState::Paused
    } else if mailbox.held_for() >= THROTTLED_AFTER {
        SessionState::Throttled
    } else {
        SessionState::Open
    };
    SessionReading {
        id: session_id(mailbox.id),
        name: mailbox.name().map(ToString::to_string),
        subject: mailbox.subject().map(str::to_owned),
        pipeline: None,
        peer: mailbox.peer.to_string(),
        state,
        target: redact::target(&mailbox.target).into_owned(),
        since: time_text(mailbox.since),
        received: TrafficReading::from(&mailbox.received),
        sent: TrafficReading::from(&mailbox.sent),
        queue: queue(mailbox),
        lag: None,
        dropped: mailbox.dropped.get(),
        round_trip_ms: mailbox.round_trip.get().map(milliseconds),
        retry_in_ms: None,
        wire: WireReading::of(
            TrafficReading::from(&mailbox.received),
            TrafficReading::from(&mailbox.sent),
            (mailbox.saved[Way::In as usize].get(), mailbox.saved[Way::Out as usize].get()),
        ),
        rate_limit: mailbox.throttle().and_then(ReadThrottle::rate),
    }
}

/// What waits for a session, here and before it comes here.
fn queue(mailbox: &Mailbox) -> SessionQueue {
    let (depth, bytes, capacity) = (mailbox.waiting(), mailbox.waiting_bytes(), mailbox.capacity());
    match mailbox.waiting_elsewhere() {
        Some(other) => {
            SessionQueue { depth: depth + other.depth, bytes: bytes + other.bytes, capacity: other.capacity }
        }
        None => SessionQueue { depth, bytes, capacity },
    }
}

/// Those that a message still waits for; they are counted as dropped where nobody waits any longer.
struct Waiting {
    hub: Rc<Hub>,
    mailboxes: Vec<Rc<Mailbox>>,
    /// Bytes of the message.
    size: usize,
}

impl Waiting {
    /// Gives them up, for a reason; how many that is.
    fn give_up(&mut self, reason: DropReason) -> u64 {
        let mailboxes: Vec<_> = self.mailboxes.drain(..).collect();
        for mailbox in &mailboxes {
            self.hub.dropped(mailbox.id, Direction::Out, reason, self.size);
        }
        mailboxes.len() as u64
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.give_up(DropReason::QueueFull);
    }
}

async fn deliver(hub: Rc<Hub>, receivers: Vec<Rc<Mailbox>>, message: Message) -> Delivery {
    let mut delivery = Delivery::default();
    let mut waiting = Waiting { hub: Rc::clone(&hub), mailboxes: receivers, size: message.len() };
    let placed = poll_fn(|cx| {
        waiting.mailboxes.retain(|mailbox| {
            // It has gone, or is about to, and takes nothing more.
            if mailbox.has_left() || mailbox.has_overflowed() {
                hub.dropped(mailbox.id, Direction::Out, DropReason::ReceiverGone, message.len());
                delivery.dropped += 1;
                return false;
            }
            match hub.push(mailbox, message.clone()) {
                Pushed::Accepted { dropped } => {
                    delivery.sent += 1;
                    delivery.displaced += dropped;
                    false
                }
                Pushed::Dropped | Pushed::Disconnect => {
                    delivery.dropped += 1;
                    false
                }
                Pushed::Full(_) => true,
            }
        });
        if waiting.mailboxes.is_empty() {
            return Poll::Ready(());
        }
        hub.wait(cx);
        Poll::Pending
    });
    let _ = tokio::time::timeout(WAIT, placed).await;
    delivery.dropped += waiting.give_up(DropReason::QueueFull);
    delivery
}
