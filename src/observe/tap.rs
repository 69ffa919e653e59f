//! A view of what happens, for observers: copies, of which some may be missing.
//!
//! Owns the subscriptions and their bounds. Leaves showing to the subscribers. Invariants: offering never waits and
//! costs a look at a flag while nobody subscribes; what a subscription holds is bounded in number and bytes, and what
//! it is given in the long run in number and bytes a second; what it was not given is counted.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::{Duration, Instant};

use crate::message::event::Event;

pub(crate) const SUBSCRIPTIONS: usize = 16;
/// Events a subscription may hold, and gets in any second in the long run.
const EVENTS: f64 = 1000.0;
/// The same in bytes of payload.
const BYTES: f64 = 1024.0 * 1024.0;

/// What a subscription may still be given.
#[derive(Debug)]
struct Allowance {
    events: f64,
    bytes: f64,
    at: Instant,
}

impl Allowance {
    fn new(now: Instant) -> Self {
        Self { events: EVENTS, bytes: BYTES, at: now }
    }

    fn take(&mut self, bytes: usize) -> bool {
        if self.events < 1.0 || self.bytes < bytes as f64 {
            return false;
        }
        self.events -= 1.0;
        self.bytes -= bytes as f64;
        true
    }

    /// Whether it is not worth asking again before it has grown.
    fn is_spent(&self) -> bool {
        self.events < 1.0 || self.bytes < 256.0
    }

    /// Grows with the time that has passed, up to a second's worth.
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).min(Duration::from_secs(1)).as_secs_f64();
        self.at = now;
        self.events = (self.events + passed * EVENTS).min(EVENTS);
        self.bytes = (self.bytes + passed * BYTES).min(BYTES);
    }
}

#[derive(Debug)]
struct Ring {
    events: VecDeque<Rc<Event>>,
    allowance: Allowance,
    missed: u64,
    /// [`Shared::unseen`] at the last look.
    unseen: u64,
}

/// Publishes events to observers.
#[derive(Debug, Default)]
pub struct Tap {
    rings: RefCell<Vec<Weak<RefCell<Ring>>>>,
    shared: Rc<Shared>,
}

/// What makes an offer cheap that nobody can take.
#[derive(Debug, Default)]
struct Shared {
    subscriptions: Cell<usize>,
    /// No subscription takes anything before one of them looks.
    all_spent: Cell<bool>,
    unseen: Cell<u64>,
}

/// What a [`Subscription`] has to show.
#[derive(Debug, Default)]
pub struct Seen {
    /// In the order they happened.
    pub events: VecDeque<Rc<Event>>,
    /// How many are missing between these and the last ones.
    pub missed: u64,
}

/// A place to look from; dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    ring: Rc<RefCell<Ring>>,
    shared: Rc<Shared>,
}

impl Tap {
    /// Returns whether any observer is subscribed.
    pub fn is_watched(&self) -> bool {
        self.shared.subscriptions.get() > 0
    }

    /// Begins to look; none when [`SUBSCRIPTIONS`] others do.
    pub fn subscribe(&self, now: Instant) -> Option<Subscription> {
        let shared = Rc::clone(&self.shared);
        if shared.subscriptions.get() >= SUBSCRIPTIONS {
            return None;
        }
        shared.subscriptions.set(shared.subscriptions.get() + 1);
        shared.all_spent.set(false);
        let allowance = Allowance::new(now);
        let ring = Ring { events: VecDeque::new(), allowance, missed: 0, unseen: shared.unseen.get() };
        let ring = Rc::new(RefCell::new(ring));
        let mut rings = self.rings.borrow_mut();
        rings.retain(|ring| ring.strong_count() > 0);
        rings.push(Rc::downgrade(&ring));
        Some(Subscription { ring, shared })
    }

    /// Offers an event of about so many bytes, which is made only where there is room for it.
    pub fn offer(&self, bytes: usize, make: impl FnOnce() -> Event) {
        if !self.is_watched() {
            return;
        }
        let shared = &self.shared;
        if shared.all_spent.get() {
            shared.unseen.set(shared.unseen.get() + 1);
            return;
        }
        let mut all_spent = true;
        let mut make = Some(make);
        let mut event: Option<Rc<Event>> = None;
        for ring in self.rings.borrow().iter().filter_map(Weak::upgrade) {
            let mut ring = ring.borrow_mut();
            let takes = ring.allowance.take(bytes);
            all_spent &= ring.allowance.is_spent();
            if !takes {
                ring.missed += 1;
                continue;
            }
            if let Some(make) = make.take() {
                event = Some(Rc::new(make()));
            }
            ring.events.extend(event.clone());
        }
        shared.all_spent.set(all_spent);
    }
}

impl Subscription {
    /// What has happened since the last look.
    pub fn look(&self, now: Instant) -> Seen {
        let mut ring = self.ring.borrow_mut();
        // The allowance bounds what is held because it grows only when all of it is taken away.
        ring.allowance.refill(now);
        self.shared.all_spent.set(false);
        let unseen = self.shared.unseen.get();
        let missed = std::mem::take(&mut ring.missed) + (unseen - std::mem::replace(&mut ring.unseen, unseen));
        Seen { events: std::mem::take(&mut ring.events), missed }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.shared.subscriptions.set(self.shared.subscriptions.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use crate::message::event::EventBody;
    use jiff::Timestamp;

    fn offer(tap: &Tap, number: usize, bytes: usize) {
        tap.offer(bytes, || Event {
            time: Timestamp::UNIX_EPOCH,
            session: "s1".to_owned(),
            name: None,
            dir: None,
            body: EventBody::Message(Message::text(number.to_string())),
        });
    }

    #[test]
    fn nothing_is_made_for_nobody() {
        let tap = Tap::default();
        tap.offer(1, || panic!("nobody looks"));
        drop(tap.subscribe(Instant::now()));
        tap.offer(1, || panic!("nobody looks any more"));
    }

    #[test]
    fn what_is_given_is_bounded_and_the_rest_counted() {
        let (tap, start) = (Tap::default(), Instant::now());
        let subscription = tap.subscribe(start).expect("a subscription");
        (0..5000).for_each(|number| offer(&tap, number, 1));
        let seen = subscription.look(start + Duration::from_millis(500));
        assert_eq!((seen.events.len(), seen.missed), (1000, 4000));
        assert_eq!(seen.events[0].body, EventBody::Message(Message::text("0")));
        (0..5000).for_each(|number| offer(&tap, number, 1));
        let seen = subscription.look(start + Duration::from_secs(60));
        assert_eq!((seen.events.len(), seen.missed), (500, 4500), "half a second's worth");
        assert_eq!(subscription.look(start + Duration::from_secs(61)).missed, 0);
    }

    #[test]
    fn bytes_are_bounded_too_and_each_subscription_by_itself() {
        let (tap, start) = (Tap::default(), Instant::now());
        let (first, second) = (tap.subscribe(start).expect("one"), tap.subscribe(start).expect("another"));
        offer(&tap, 0, 1 << 20);
        offer(&tap, 1, 1);
        let seen = first.look(start + Duration::from_secs(1));
        assert_eq!((seen.events.len(), seen.missed), (1, 1));
        offer(&tap, 2, 1);
        assert_eq!(first.look(start).events.len(), 1);
        let seen = second.look(start);
        assert_eq!((seen.events.len(), seen.missed), (1, 2), "it did not look, so it got no more");
    }

    #[test]
    fn subscriptions_are_bounded() {
        let tap = Tap::default();
        let subscriptions: Vec<_> = (0..SUBSCRIPTIONS).map_while(|_| tap.subscribe(Instant::now())).collect();
        assert_eq!(subscriptions.len(), SUBSCRIPTIONS);
        assert!(tap.subscribe(Instant::now()).is_none());
        drop(subscriptions);
        assert!(tap.subscribe(Instant::now()).is_some());
    }
}
