//! Which of the peer's messages have been here before.
//!
//! Pure. A message that comes again has the same id and the same content; a peer that counts its ids anew after a restart
//! sends other content under an old id, which must not be lost. Invariants: what is undecided is never forgotten; of what
//! was taken so many are remembered, of each no more than a fingerprint.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use super::wire::Id;
use crate::message::Message;

/// A message, in short. Keyed by chance, so that no peer can make two that are alike.
pub(super) type Fingerprint = u64;

/// What is known of a message that arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Arrival {
    /// It is here for the first time.
    New,
    /// It is here already, and nobody knows yet what happens to it.
    Undecided,
    Taken,
}

/// The messages seen lately.
#[derive(Debug)]
pub(super) struct Seen {
    keys: RandomState,
    taken: HashMap<Fingerprint, bool>,
    order: VecDeque<Fingerprint>,
    capacity: usize,
}

impl Seen {
    /// Remembers so many taken messages.
    pub(super) fn new(capacity: usize) -> Self {
        Self { keys: RandomState::new(), taken: HashMap::new(), order: VecDeque::new(), capacity }
    }

    pub(super) fn fingerprint(&self, id: &Id, message: &Message) -> Fingerprint {
        self.keys.hash_one((id.as_json(), message.payload().as_ref()))
    }

    /// A message arrives; a new one is undecided from now on.
    pub(super) fn arrive(&mut self, message: Fingerprint) -> Arrival {
        match self.taken.get(&message) {
            Some(true) => Arrival::Taken,
            Some(false) => Arrival::Undecided,
            None => {
                self.taken.insert(message, false);
                Arrival::New
            }
        }
    }

    /// An undecided message was taken.
    pub(super) fn take(&mut self, message: Fingerprint) {
        if self.taken.insert(message, true) != Some(true) {
            self.order.push_back(message);
        }
        while self.order.len() > self.capacity {
            if let Some(oldest) = self.order.pop_front() {
                self.taken.remove(&oldest);
            }
        }
    }

    /// An undecided message was rejected: when it comes again it is new.
    pub(super) fn forget(&mut self, message: Fingerprint) {
        self.taken.remove(&message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::envelope::wire::Incoming;

    fn arrival(text: &str) -> (Id, Message) {
        match Incoming::read(&Message::text(text)) {
            Ok(Incoming::Data(id, message)) => (id, message),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_message_is_known_by_id_and_content() {
        let seen = Seen::new(10);
        let print = |text: &str| {
            let (id, message) = arrival(text);
            seen.fingerprint(&id, &message)
        };
        let first = print(r#"{"type":"data","id":"1","timestamp":1,"payload":{"a":1}}"#);
        assert_eq!(first, print(r#"{"payload":{"a":1},"type":"data","id":"1","timestamp":2}"#));
        assert_ne!(first, print(r#"{"type":"data","id":"2","timestamp":1,"payload":{"a":1}}"#));
        assert_ne!(first, print(r#"{"type":"data","id":1,"timestamp":1,"payload":{"a":1}}"#));
        assert_ne!(first, print(r#"{"type":"data","id":"1","timestamp":1,"payload":{"a":2}}"#));
    }

    #[test]
    fn what_was_taken_is_remembered_for_a_while_and_what_is_undecided_always() {
        let mut seen = Seen::new(3);
        assert_eq!((seen.arrive(100), seen.arrive(100)), (Arrival::New, Arrival::Undecided));
        for message in 1..=10 {
            assert_eq!(seen.arrive(message), Arrival::New);
            seen.take(message);
            assert_eq!(seen.arrive(message), Arrival::Taken);
            assert!(seen.order.len() <= 3 && seen.taken.len() <= 4);
        }
        assert_eq!(
            (seen.arrive(100), seen.arrive(10), seen.arrive(8)),
            (Arrival::Undecided, Arrival::Taken, Arrival::Taken)
        );
        assert_eq!(seen.arrive(7), Arrival::New);
        seen.forget(100);
        assert_eq!(seen.arrive(100), Arrival::New);
    }
}
