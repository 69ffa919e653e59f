//! The counters of a run.
//!
//! One thread counts, so plain cells do. Leaves showing them to others. Invariant: a message that is not delivered is
//! counted with its reason, and in one place only.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use crate::message::counted::counted;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Count(Cell<u64>);

impl Count {
    /// Adds so many.
    pub fn add(&self, count: u64) {
        self.0.set(self.0.get() + count);
    }

    pub fn one(&self) {
        self.add(1);
    }

    /// Grows to a sum that was counted elsewhere.
    pub fn reach(&self, sum: u64) {
        self.0.set(self.0.get().max(sum));
    }

    pub fn get(&self) -> u64 {
        self.0.get()
    }
}

/// Messages, and the bytes of their payloads.
#[derive(Debug, Default)]
pub struct Traffic {
    pub messages: Count,
    pub bytes: Count,
}

impl std::fmt::Display for Traffic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {}", counted(self.messages.get(), "message"), counted(self.bytes.get(), "byte"))
    }
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

/// A value for each name of a closed set.
#[derive(Debug)]
pub struct PerLabel<L, T> {
    values: Box<[T]>,
    label: std::marker::PhantomData<L>,
}

/// A count for each name of a closed set.
pub(crate) type ByLabel<L> = PerLabel<L, Count>;

/// Durations for each name of a closed set.
pub(crate) type DurationsBy<L> = PerLabel<L, Durations>;

impl<L: Label, T: Default> Default for PerLabel<L, T> {
    fn default() -> Self {
        Self { values: L::ALL.iter().map(|_| T::default()).collect(), label: std::marker::PhantomData }
    }
}

impl<L: Label> DurationsBy<L> {
    pub fn add(&self, label: L, time: Duration) {
        self.values[label.index()].add(time);
    }

    /// Every name with its durations.
    pub fn iter(&self) -> impl Iterator<Item = (L, &Durations)> + '_ {
        L::ALL.iter().copied().zip(&self.values)
    }
}

impl<L: Label> ByLabel<L> {
    pub fn add(&self, label: L, count: u64) {
        self.values[label.index()].add(count);
    }

    /// Adds one to one of them.
    pub fn one(&self, label: L) {
        self.add(label, 1);
    }

    /// One of them grows to a sum that was counted elsewhere.
    pub fn reach(&self, label: L, sum: u64) {
        self.values[label.index()].reach(sum);
    }

    pub fn get(&self, label: L) -> u64 {
        self.values[label.index()].get()
    }

    pub fn total(&self) -> u64 {
        self.values.iter().map(Count::get).sum()
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
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
        /// Its destination will never take it.
        Rejected => "rejected",
        /// It was tried as often as allowed.
        RetriesSpent => "retries-spent",
        /// Its sender sent more than it may.
        Rate => "rate",
    }
}

labels! {
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
    /// What a peer may ask for in a protocol with requests.
    RequestMethod {
        /// How fast it may send.
        Backpressure => "backpressure",
        /// A filter of its own.
        Subscribe => "subscribe",
        /// The last messages again.
        Replay => "replay",
        /// How things stand.
        Status => "status",
        /// What can be asked for.
        Capabilities => "capabilities",
        /// Anything else.
        Other => "other",
    }
}

labels! {
    ReplyStatus {
        /// As asked.
        Ok => "ok",
        /// With an error.
        Error => "error",
    }
}

labels! {
    /// What an envelope that was received is.
    EnvelopeType {
        /// A message.
        Data => "data",
        /// Something is asked for.
        Request => "request",
        /// The answer to a request.
        Reply => "reply",
        /// A message was taken.
        Ack => "ack",
        /// A message was refused.
        Nack => "nack",
        /// The peer cannot keep up.
        Slow => "slow",
    }
}

/// A count of what was received from peers, and of what was sent to them.
#[derive(Debug)]
pub struct BothWays<L> {
    pub received: ByLabel<L>,
    pub sent: ByLabel<L>,
}

impl<L: Label> Default for BothWays<L> {
    fn default() -> Self {
        Self { received: ByLabel::default(), sent: ByLabel::default() }
    }
}

/// How often something took how long.
#[derive(Debug, Default)]
pub struct Durations {
    /// As many as [`Durations::BOUNDS`], not cumulative; what is longer than all of them is in the count alone.
    buckets: RefCell<[u64; Durations::BOUNDS.len()]>,
    count: Count,
    sum: Cell<Duration>,
}

impl Durations {
    /// The upper bound of each bucket, in seconds.
    pub const BOUNDS: [f64; 14] =
        [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

    pub fn add(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        if let Some(place) = Self::BOUNDS.iter().position(|bound| seconds <= *bound) {
            self.buckets.borrow_mut()[place] += 1;
        }
        self.count.one();
        self.sum.set(self.sum.get().saturating_add(time));
    }

    /// Each bound with how many took no longer.
    pub fn cumulative(&self) -> Vec<(f64, u64)> {
        let mut sum = 0;
        let buckets = self.buckets.borrow();
        let so_far = |(bound, count): (&f64, &u64)| {
            sum += count;
            (*bound, sum)
        };
        Self::BOUNDS.iter().zip(buckets.iter()).map(so_far).collect()
    }

    pub fn count(&self) -> u64 {
        self.count.get()
    }

    pub fn sum(&self) -> Duration {
        self.sum.get()
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
    /// Open connections.
    pub connections: Rc<Count>,
    /// Requests that did not become sessions.
    pub refused: Rc<Count>,
    /// Data messages received from peers.
    pub received: Traffic,
    /// Data messages handed to connections.
    pub sent: Traffic,
    /// Successful reconnects.
    pub reconnects: Count,
    /// Attempts to open a connection again, after a loss or a failed attempt.
    pub reconnect_attempts: Count,
    /// Messages that reached where they were to go.
    pub delivered: Count,
    /// Messages filtered out by a filter or registration.
    pub filtered: Count,
    /// Messages dropped, by reason.
    pub dropped: ByLabel<DropReason>,
    /// Messages written to the dead letters.
    pub dead_letters: ByLabel<DropReason>,
    /// Errors, by kind.
    pub errors: Rc<ByLabel<ErrorKind>>,
    /// Envelopes received, by type.
    pub envelopes: ByLabel<EnvelopeType>,
    /// Requests received and sent, by method.
    pub requests: BothWays<RequestMethod>,
    /// Answers to requests.
    pub replies: BothWays<ReplyStatus>,
    /// Requests that were not answered in time.
    pub request_timeouts: Count,
    /// From request to answer.
    pub request_time: DurationsBy<RequestMethod>,
    /// Round trips of pings.
    pub ping_time: Rc<Durations>,
    /// What was done wrong on purpose.
    pub faults: ByLabel<Fault>,
}

impl Counters {
    /// Returns counters for a part of a run: connections, refusals, errors and round trips are counted for the whole,
    /// messages apart.
    #[must_use]
    pub fn of_part(&self) -> Self {
        Self {
            connections: Rc::clone(&self.connections),
            refused: Rc::clone(&self.refused),
            errors: Rc::clone(&self.errors),
            ping_time: Rc::clone(&self.ping_time),
            ..Self::default()
        }
    }
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

    #[test]
    fn durations_are_cumulative_and_none_is_lost() {
        let durations = Durations::default();
        for millis in [0, 1, 2, 600, 20_000] {
            durations.add(Duration::from_millis(millis));
        }
        let cumulative = durations.cumulative();
        assert_eq!(cumulative[0], (0.0005, 1));
        assert_eq!(cumulative[1], (0.001, 2));
        assert_eq!(cumulative[2], (0.0025, 3));
        assert_eq!(cumulative[9], (0.5, 3));
        assert_eq!(cumulative[13], (10.0, 4));
        assert_eq!((durations.count(), durations.sum()), (5, Duration::from_millis(20_603)));
    }
}
