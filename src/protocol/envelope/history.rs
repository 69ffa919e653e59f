//! The messages published lately, for a peer that asks for them again.
//!
//! Pure. Invariants: bounded by count and bytes; what is kept lies in memory of its own.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::message::Message;

/// A ring of messages.
#[derive(Debug)]
pub(super) struct History {
    /// Each with when it was published, in milliseconds of Unix time.
    messages: VecDeque<(i64, Message)>,
    bytes: usize,
    max_messages: usize,
    max_bytes: usize,
}

impl History {
    /// Keeps so many messages, of so many bytes together.
    pub(super) fn new(max_messages: usize, max_bytes: usize) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, max_messages, max_bytes }
    }

    /// Messages kept.
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    /// A message was published at this time, in milliseconds of Unix time. One that is too large to keep leaves a gap.
    pub(super) fn push(&mut self, message: &Message, time: i64) {
        if self.max_messages == 0 || message.len() > self.max_bytes {
            return;
        }
        while self.messages.len() >= self.max_messages || self.bytes + message.len() > self.max_bytes {
            let Some((_, oldest)) = self.messages.pop_front() else { break };
            self.bytes -= oldest.len();
        }
        self.bytes += message.len();
        self.messages.push_back((time, message.detached()));
    }

    /// Returns the wanted messages of a span of time, oldest first; where `most` is fewer, the latest of them.
    pub(super) fn within(
        &self,
        span: &RangeInclusive<i64>,
        most: usize,
        wanted: impl Fn(&Message) -> bool,
    ) -> VecDeque<Message> {
        let mut found = VecDeque::new();
        let all = self.messages.iter().rev().filter(|(time, message)| span.contains(time) && wanted(message));
        for (_, message) in all.take(most) {
            found.push_front(message.clone());
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALWAYS: RangeInclusive<i64> = i64::MIN..=i64::MAX;

    #[test]
    fn the_last_are_kept_within_bounds() {
        let mut history = History::new(4, 10);
        let texts = |history: &History, count| {
            let last = history.within(&ALWAYS, count, |_| true);
            last.iter().map(|message| message.as_text().unwrap().to_owned()).collect::<Vec<_>>()
        };
        for (text, time) in [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)] {
            history.push(&Message::text(text), time);
        }
        assert_eq!(texts(&history, 10), ["b", "c", "d", "e"]);
        assert_eq!(texts(&history, 2), ["d", "e"]);
        assert_eq!(texts(&history, 0), [""; 0]);
        let some = history.within(&(3..=4), usize::MAX, |_| true);
        assert_eq!(some, [Message::text("c"), Message::text("d")]);
        assert_eq!(history.within(&(3..=4), 1, |_| true), [Message::text("d")]);
        history.push(&Message::text("12345678"), 6);
        assert_eq!(texts(&history, 10), ["d", "e", "12345678"]);
        history.push(&Message::text("too long to keep"), 7);
        assert_eq!((texts(&history, 10).len(), history.bytes), (3, 10));
        let odd = history.within(&ALWAYS, 2, |message| message.len() == 1);
        assert_eq!(odd, [Message::text("d"), Message::text("e")]);
    }
}
