//! What was sent and the peer has not answered for, and how much of that there may be.
//!
//! Pure. A peer that says it is slow halves what may be open, so that what waits with it shrinks; while it answers, that grows
//! again by an eighth for each round of answers. Invariants: never more than the limits say, but for the last message's
//! bytes; never less than one message, so there is always an answer to go on from.

use std::collections::BTreeMap;

use crate::message::Message;
use crate::protocol::Ticket;

/// By how much the window grows in a round of answers: one part in this many.
const GROWTH: usize = 8;

/// Where a message that was sent came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// It was handed over, perhaps with a ticket.
    Given(Option<Ticket>),
    /// The peer asked for it again.
    Replay,
}

/// Everything without an answer, oldest first.
#[derive(Debug)]
pub(super) struct Window {
    open: BTreeMap<u64, (Message, Origin)>,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
    size: usize,
    /// Answers since it last grew.
    answers: usize,
}

impl Window {
    /// At most so many messages, of so many bytes together.
    pub(super) fn new(max_messages: usize, max_bytes: usize) -> Self {
        let max_messages = max_messages.max(1);
        Self { open: BTreeMap::new(), bytes: 0, max_messages, max_bytes, size: max_messages, answers: 0 }
    }

    /// Whether one more may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.open.len() < self.size && self.bytes < self.max_bytes
    }

    /// This was sent, or goes out with the next connection.
    pub(super) fn sent(&mut self, number: u64, envelope: Message, origin: Origin) {
        self.bytes += envelope.len();
        self.open.insert(number, (envelope, origin));
    }

    /// The peer answered for this; where it came from.
    pub(super) fn answered(&mut self, number: u64) -> Option<Origin> {
        let (envelope, origin) = self.open.remove(&number)?;
        self.bytes -= envelope.len();
        self.answers += 1;
        if self.answers >= self.size {
            self.answers = 0;
            self.size = (self.size + (self.size / GROWTH).max(1)).min(self.max_messages);
        }
        Some(origin)
    }

    /// The peer is slow: half of what is open is enough.
    pub(super) fn narrow(&mut self) {
        self.size = (self.open.len().min(self.size) / 2).max(1);
        self.answers = 0;
    }

    /// A new connection: it says again when it is slow.
    pub(super) fn widen(&mut self) {
        self.size = self.max_messages;
        self.answers = 0;
    }

    /// What is open, in the order it was sent.
    pub(super) fn open(&self) -> impl Iterator<Item = &Message> {
        self.open.values().map(|(envelope, _)| envelope)
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn send(window: &mut Window, numbers: std::ops::RangeInclusive<u64>) {
        for number in numbers {
            window.sent(number, Message::text("12345"), Origin::Replay);
        }
    }

    #[test]
    fn it_holds_so_many_messages_and_bytes() {
        let mut window = Window::new(2, 100);
        send(&mut window, 1..=1);
        assert!(window.has_room());
        send(&mut window, 2..=2);
        assert!(!window.has_room());
        assert_eq!(window.answered(7), None);
        assert_eq!(window.answered(1), Some(Origin::Replay));
        assert_eq!(window.answered(1), None, "only once");
        assert!(window.has_room());
        let mut window = Window::new(10, 10);
        send(&mut window, 1..=2);
        assert_eq!((window.len(), window.has_room()), (2, false));
    }

    #[test]
    fn a_slow_peer_halves_it_and_answers_widen_it_again() {
        let mut window = Window::new(1000, usize::MAX);
        send(&mut window, 1..=100);
        window.narrow();
        assert_eq!((window.size(), window.has_room()), (50, false));
        for number in 1..=50 {
            assert!(!window.has_room(), "{number}");
            window.answered(number);
        }
        // The first round has made it wider by an eighth.
        assert_eq!((window.size(), window.len(), window.has_room()), (56, 50, true));
        // It never closes, and it reaches its full width again.
        for _ in 0..20 {
            window.narrow();
        }
        assert_eq!((window.size(), window.has_room()), (1, false));
        for number in 51..=100 {
            window.answered(number);
        }
        window.narrow();
        assert_eq!((window.size(), window.has_room()), (1, true));
        let mut answers = 0;
        while window.size() < 1000 {
            send(&mut window, 1000 + answers..=1000 + answers);
            window.answered(1000 + answers);
            answers += 1;
        }
        assert!(answers < 10_000, "{answers}");
        send(&mut window, 1..=1);
        window.answered(1);
        assert_eq!(window.size(), 1000);
        window.narrow();
        window.widen();
        assert_eq!(window.size(), 1000);
    }
}
