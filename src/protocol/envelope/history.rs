//! The messages published lately, for a peer that asks for them again.
//!
//! Pure. Invariants: bounded by count and bytes; what is kept lies in memory of its own.

use std::collections::VecDeque;

use crate::message::Message;

/// A ring of messages.
#[derive(Debug)]
pub struct History {
    messages: VecDeque<Message>,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
}

impl History {
    /// Keeps so many messages, of so many bytes together.
    pub fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, max_messages, max_bytes }
    }

    /// Messages kept.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// A message was published. One that is too large to keep leaves a gap.
    pub fn push(&mut self, message: &Message) {
        if self.max_messages == 0 || message.len() > self.max_bytes {
            return;
        }
        while self.messages.len() >= self.max_messages || self.bytes + message.len() > self.max_bytes {
            let Some(oldest) = self.messages.pop_front() else { break };
            self.bytes -= oldest.len();
        }
        self.bytes += message.len();
        self.messages.push_back(message.detached());
    }

    /// The last so many that are wanted, oldest first.
    pub fn last(&self, count: usize, wanted: impl Fn(&Message) -> bool) -> VecDeque<Message> {
        let mut last = VecDeque::new();
        for message in self.messages.iter().rev().filter(|message| wanted(message)).take(count) {
            last.push_front(message.clone());
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_within_bounds() {
        let mut history = History::new(4, 10);
        let texts = |history: &History, count| {
            let last = history.last(count, |_| true);
            last.iter().map(|message| message.as_text().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for text in ["a", "b", "c", "d", "e"] {
            history.push(&Message::text(text));
        }
        assert_eq!(texts(&history, 10), ["b", "c", "d", "e"]);
        assert_eq!(texts(&history, 2), ["d", "e"]);
        assert_eq!(texts(&history, 0), [""; 0]);
        history.push(&Message::text("12345678"));
        assert_eq!(texts(&history, 10), ["d", "e", "12345678"]);
        history.push(&Message::text("too long to keep"));
        assert_eq!((texts(&history, 10).len(), history.bytes), (3, 10));
        let odd = history.last(2, |message| message.len() == 1);
        assert_eq!(odd, [Message::text("d"), Message::text("e")]);
    }
}
