//! The counters of a run.
//!
//! One thread counts, so plain cells do. Leaves showing them to others. Invariant: a message that is not delivered is
//! counted with its reason, and in one place only.

use std::cell::Cell;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(Cell<u64>);

impl Count {
    /// Adds so many.
    pub fn add(&self, count: u64) {
        self.0.set(self.0.get() + count);
    }

    /// Adds one.
    pub fn one(&self) {
        self.add(1);
    }

    /// The sum.
    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Messages, and the bytes of their payloads.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Messages.
    pub messages: Count,
    /// Payload bytes.
    pub bytes: Count,
}

impl Traffic {
    /// Counts a message of so many bytes.
    pub fn message(&self, bytes: usize) {
        self.messages.one();
        self.bytes.add(bytes as u64);
    }
}

/// A closed set of names that something is counted by.
pub trait Label: Copy + 'static {
    /// All of them, in the order they are shown in.
    const ALL: &'static [Self];

    /// As metrics and summaries write it.
    fn name(self) -> &'static str;

    /// Its place in [`Label::ALL`].
    fn index(self) -> usize;
}

/// A count for each name of a closed set.
#[derive(Debug)]
pub struct ByLabel<L> {
    counts: Box<[Count]>,
    label: std::marker::PhantomData<L>,
}

impl<L: Label> Default for ByLabel<L> {
    fn default() -> Self {
        Self { counts: L::ALL.iter().map(|_| Count::default()).collect(), label: std::marker::PhantomData }
    }
}

impl<L: Label> ByLabel<L> {
    /// Adds to one of them.
    pub fn add(&self, label: L, count: u64) {
        self.counts[label.index()].add(count);
    }

    /// Adds one to one of them.
    pub fn one(&self, label: L) {
        self.add(label, 1);
    }

    /// One of them.
    pub fn get(&self, label: L) -> u64 {
        self.counts[label.index()].get()
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(Count::get).sum()
    }

    /// Every name with its count.
    pub fn iter(&self) -> impl Iterator<Item = (L, u64)> + '_ {
        L::ALL.iter().map(|label| (*label, self.get(*label)))
    }

    /// ` (name 3, other 1)` of those that are not zero, or nothing.
    #[must_use]
    pub fn in_brackets(&self) -> String {
        let shown: Vec<_> =
            self.iter().filter(|(_, n)| *n > 0).map(|(label, n)| format!("{} {n}", label.name())).collect();
        if shown.is_empty() { String::new() } else { format!(" ({})", shown.join(", ")) }
    }
}

/// Declares a closed set of names.
macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)*
        }

        impl Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

labels! {
    /// Why a message was dropped.
    DropReason {
        /// A queue was full.
        QueueFull => "queue-full",
        /// Its receiver left while it waited.
        ReceiverGone => "receiver-gone",
        /// It did not fit the schema.
        Invalid => "invalid",
        /// It was lost on purpose.
        Loss => "loss",
        /// Nobody has the name it was meant for.
        NoReceiver => "no-receiver",
        /// Its sender sent more than it may.
        Rate => "rate",
    }
}

labels! {
    /// What went wrong, by kind.
    ErrorKind {
        /// A request was refused.
        Refused => "refused",
        /// TLS or the request head failed.
        Handshake => "handshake",
        /// A peer broke the WebSocket protocol.
        Protocol => "protocol",
        /// A connection was lost without a Close.
        Lost => "lost",
        /// A peer did not answer pings.
        Unresponsive => "unresponsive",
        /// A peer sent more often than it may.
        Rate => "rate",
        /// A peer did not say who it is, or not rightly.
        Unauthorized => "unauthorized",
        /// A message did not fit the schema.
        Invalid => "invalid",
        /// A message could not be used by the protocol on top.
        Message => "message",
        /// A filter failed on a message.
        Filter => "filter",
        /// A program of a handler could not be run or failed.
        Exec => "exec",
    }
}

labels! {
    /// What was done wrong on purpose.
    Fault {
        /// A message was sent late.
        Delayed => "delayed",
        /// A message was not sent.
        Lost => "lost",
        /// A message was changed.
        Corrupted => "corrupted",
        /// A message was sent twice.
        Duplicated => "duplicated",
        /// For a while nothing was read or written.
        Stalled => "stalled",
        /// A session was ended.
        Closed => "closed",
        /// An upgrade was refused.
        Rejected => "rejected",
        /// A ping was not answered.
        Unanswered => "unanswered",
    }
}

/// What has been counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Sessions opened.
    pub connections: Count,
    /// Requests that did not become sessions.
    pub refused: Count,
    /// Data messages received from peers.
    pub received: Traffic,
    /// Data messages handed to connections.
    pub sent: Traffic,
    /// Messages a filter or registration kept from a receiver.
    pub filtered: Count,
    /// Messages dropped.
    pub dropped: ByLabel<DropReason>,
    /// Messages written to the dead letters.
    pub dead_letters: ByLabel<DropReason>,
    /// What went wrong.
    pub errors: ByLabel<ErrorKind>,
    /// What was done wrong on purpose.
    pub faults: ByLabel<Fault>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_name_and_shows_what_is_not_zero() {
        let dropped = ByLabel::<DropReason>::default();
        assert_eq!(dropped.in_brackets(), "");
        dropped.add(DropReason::ReceiverGone, 2);
        dropped.one(DropReason::QueueFull);
        assert_eq!(dropped.in_brackets(), " (queue-full 1, receiver-gone 2)");
        assert_eq!(dropped.total(), 3);
    }

    #[test]
    fn every_label_is_where_its_index_says() {
        for (place, label) in ErrorKind::ALL.iter().enumerate() {
            assert_eq!(label.index(), place);
        }
        for (place, label) in DropReason::ALL.iter().enumerate() {
            assert_eq!(label.index(), place);
        }
        for (place, label) in Fault::ALL.iter().enumerate() {
            assert_eq!(label.index(), place);
        }
    }
}
