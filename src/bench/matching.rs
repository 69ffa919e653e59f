//! Which reply belongs to which message (pure): what is outstanding on one connection.
//!
//! Owns the messages sent and not settled yet, by sequence number, by order or by an id of the payload's own, and what a
//! reply is when it is no plain first one: a duplicate, out of order, late, or unknown. Leaves payloads to
//! [`super::payload`] and counting to [`super::counts`].
//! Invariants: every message is settled once, as answered or as lost; memory is bounded by what is outstanding and a
//! fixed number of recent losses and ids.

use std::collections::{HashMap, VecDeque};

/// Stretches of losses that are remembered, so that a reply which comes after all is told from a duplicate.
const LOSSES: usize = 4096;
/// Answered ids that are remembered beyond those outstanding.
const RECENT_IDS: usize = 1024;

/// A message on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sent {
    /// When it was due, in nanoseconds since the run began.
    pub intended: u64,
    pub written: u64,
    /// Which of several payloads it had.
    pub variant: u32,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    sent: Sent,
    open: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The first to its message. `overtook`: a later message was answered before.
    First {
        sent: Sent,
        /// Whether a later message was answered before.
        reordered: bool,
    },
    Duplicate,
    /// Its message was given up as lost before.
    Late,
    /// There was no such message.
    Unknown,
}

/// What is outstanding on one connection.
#[derive(Debug, Default)]
pub(crate) struct Outstanding {
    /// Sequence number of the oldest slot.
    first: u64,
    slots: VecDeque<Slot>,
    open: usize,
    highest: Option<u64>,
    /// One past the highest number a reply has come to, in time or not.
    heard: u64,
    /// Lost sequence numbers, rising: from the first of a stretch to one past its last.
    lost: VecDeque<(u64, u64)>,
    ids: HashMap<Box<[u8]>, u64>,
}

impl Outstanding {
    /// The number the next message gets.
    #[must_use]
    pub(crate) fn next_sequence(&self) -> u64 {
        self.first + self.slots.len() as u64
    }

    /// Messages without an answer.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.open
    }

    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.open == 0
    }

    /// How far replies are behind: messages sent after the last one that was answered, in time or not. A message that got
    /// lost on its way counts until a later one is answered, one that still waits counts even when it was given up.
    #[must_use]
    pub(crate) fn behind(&self) -> u64 {
        self.next_sequence() - self.heard
    }

    /// Notes a message that was sent; its number is what [`Outstanding::next_sequence`] said.
    pub(crate) fn push(&mut self, sent: Sent) {
        self.slots.push_back(Slot { sent, open: true });
        self.open += 1;
    }

    /// Notes the id that the message of this number is answered by.
    pub(crate) fn name(&mut self, sequence: u64, id: &[u8]) {
        let first = self.first;
        self.ids.insert(id.into(), sequence);
        if self.ids.len() > 2 * (self.slots.len() + RECENT_IDS) {
            self.ids.retain(|_, sequence| *sequence + RECENT_IDS as u64 >= first);
        }
    }

    /// Settles the message of this number.
    pub(crate) fn take(&mut self, sequence: u64) -> Reply {
        if sequence >= self.next_sequence() {
            return Reply::Unknown;
        }
        let slot = sequence.checked_sub(self.first).and_then(|index| self.slots.get_mut(index as usize));
        match slot {
            Some(slot) if slot.open => {
                slot.open = false;
                let sent = slot.sent;
                self.open -= 1;
                let reordered = self.highest.is_some_and(|highest| sequence < highest);
                self.highest = self.highest.max(Some(sequence));
                self.heard = self.heard.max(sequence + 1);
                self.drop_settled();
                Reply::First { sent, reordered }
            }
            _ => {
                if self.take_lost(sequence) {
                    self.heard = self.heard.max(sequence + 1);
                    return Reply::Late;
                }
                Reply::Duplicate
            }
        }
    }

    /// Forgets a loss; whether it was one.
    fn take_lost(&mut self, sequence: u64) -> bool {
        let at = self.lost.partition_point(|(_, past)| *past <= sequence);
        let Some((first, past)) = self.lost.get(at).copied().filter(|(first, _)| *first <= sequence) else {
            return false;
        };
        match (first == sequence, past == sequence + 1) {
            (true, true) => drop(self.lost.remove(at)),
            (true, false) => self.lost[at].0 = sequence + 1,
            (false, true) => self.lost[at].1 = sequence,
            (false, false) => {
                self.lost[at].1 = sequence;
                self.lost.insert(at + 1, (sequence + 1, past));
            }
        }
        true
    }

    /// Settles the oldest message, and tells its number: where replies have nothing but their order.
    pub(crate) fn take_oldest(&mut self) -> Option<(u64, Sent)> {
        // The front is open: settled ones in front are dropped at once.
        let (sequence, sent) = (self.first, self.slots.front()?.sent);
        self.take(sequence);
        Some((sequence, sent))
    }

    /// Settles the message with this id.
    pub(crate) fn take_id(&mut self, id: &[u8]) -> Reply {
        let sequence = self.ids.get(id).copied();
        sequence.map_or(Reply::Unknown, |sequence| self.take(sequence))
    }

    /// Messages without an answer, oldest first, with their numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &Sent)> {
        let numbered = self.slots.iter().enumerate().filter(|(_, slot)| slot.open);
        numbered.map(|(index, slot)| (self.first + index as u64, &slot.sent))
    }

    /// When the oldest message without an answer was due.
    #[must_use]
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.slots.front().map(|slot| slot.sent.intended)
    }

    /// Gives up the messages that were due before `before`, handing each to `lost`.
    pub(crate) fn expire(&mut self, before: u64, mut lost: impl FnMut(Sent)) {
        while let Some(slot) = self.slots.front().copied() {
            if slot.open && slot.sent.intended >= before {
                break;
            }
            if slot.open {
                self.open -= 1;
                match self.lost.back_mut() {
                    Some((_, past)) if *past == self.first => *past += 1,
                    _ => self.lost.push_back((self.first, self.first + 1)),
                }
                if self.lost.len() > LOSSES {
                    self.lost.pop_front();
                }
                lost(slot.sent);
            }
            self.slots.pop_front();
            self.first += 1;
        }
    }

    /// Gives all of them up: the connection is gone.
    pub(crate) fn abandon(&mut self, lost: impl FnMut(Sent)) {
        self.expire(u64::MAX, lost);
        self.heard = self.next_sequence();
    }

    fn drop_settled(&mut self) {
        while self.slots.front().is_some_and(|slot| !slot.open) {
            self.slots.pop_front();
            self.first += 1;
        }
        if self.slots.is_empty() && self.slots.capacity() > LOSSES {
            self.slots = VecDeque::new();
        }
    }
}

/// What one receiver has seen of one sender, where every message goes to all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The number expected next.
    next: u64,
    /// The 64 numbers before it, the lowest bit being the last.
    recent: u64,
}

/// What a broadcast message is to a receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// In order, or after a gap.
    New,
    /// Behind a later one.
    Reordered,
    Duplicate,
}

impl Seen {
    /// Notes the arrival of this number.
    pub(crate) fn note(&mut self, sequence: u64) -> Arrival {
        if sequence >= self.next {
            let ahead = sequence - self.next + 1;
            self.recent = if ahead < 64 { (self.recent << ahead) | 1 } else { 1 };
            self.next = sequence + 1;
            return Arrival::New;
        }
        let back = self.next - 1 - sequence;
        // What lies further back than the memory reaches is taken for seen.
        if back >= 64 || self.recent & (1 << back) != 0 {
            return Arrival::Duplicate;
        }
        self.recent |= 1 << back;
        Arrival::Reordered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(intended: u64) -> Sent {
        Sent { intended, written: intended, variant: 0 }
    }

    fn with(count: u64) -> Outstanding {
        let mut outstanding = Outstanding::default();
        (0..count).for_each(|time| outstanding.push(sent(time * 10)));
        outstanding
    }

    #[test]
    fn replies_are_told_apart() {
        let mut outstanding = with(5);
        let first = |intended, reordered| Reply::First { sent: sent(intended), reordered };
        let table = [
            (0, first(0, false)),
            (0, Reply::Duplicate),
            (2, first(20, false)),
            (1, first(10, true)),
            (2, Reply::Duplicate),
            (9, Reply::Unknown),
            (4, first(40, false)),
        ];
        for (sequence, expected) in table {
            assert_eq!(outstanding.take(sequence), expected, "{sequence}");
        }
        assert_eq!((outstanding.len(), outstanding.oldest()), (1, Some(30)));
    }

    #[test]
    fn what_is_given_up_is_late_when_it_comes_and_a_duplicate_after_that() {
        let mut outstanding = with(4);
        outstanding.take(1);
        let mut lost = Vec::new();
        outstanding.expire(30, |sent| lost.push(sent.intended));
        assert_eq!((lost, outstanding.len()), (vec![0, 20], 1));
        assert_eq!(outstanding.take(2), Reply::Late);
        assert_eq!(outstanding.take(2), Reply::Duplicate);
        assert_eq!(outstanding.take(1), Reply::Duplicate);
        assert_eq!(outstanding.next_sequence(), 4);
        outstanding.abandon(|_| ());
        assert!(outstanding.is_empty() && outstanding.oldest().is_none());
    }

    #[test]
    fn a_queue_of_losses_is_remembered_whole() {
        let count = 10 * LOSSES as u64;
        let mut outstanding = with(count);
        outstanding.expire(u64::MAX, |_| ());
        assert_eq!(outstanding.lost.len(), 1);
        for sequence in [0, 5, count - 1, 4, 6] {
            assert_eq!(outstanding.take(sequence), Reply::Late, "{sequence}");
            assert_eq!(outstanding.take(sequence), Reply::Duplicate, "{sequence}");
        }
        assert_eq!(outstanding.lost, [(1, 4), (7, count - 1)]);
    }

    #[test]
    fn what_waits_is_behind_and_what_was_lost_on_the_way_is_not() {
        let mut outstanding = with(10);
        assert_eq!(outstanding.behind(), 10);
        outstanding.take(0);
        outstanding.take(3);
        assert_eq!(outstanding.behind(), 6, "1 and 2 got lost, or come out of order");
        outstanding.expire(80, |_| ());
        assert_eq!(outstanding.behind(), 6, "given up, and waiting all the same");
        assert_eq!((outstanding.take(6), outstanding.behind()), (Reply::Late, 3));
        assert_eq!((outstanding.take(5), outstanding.behind()), (Reply::Late, 3));
        outstanding.abandon(|_| ());
        assert_eq!(outstanding.behind(), 0);
    }

    #[test]
    fn order_alone_settles_the_oldest() {
        let mut outstanding = with(3);
        assert_eq!(outstanding.take_oldest(), Some((0, sent(0))));
        outstanding.expire(15, |_| ());
        assert_eq!(outstanding.take_oldest(), Some((2, sent(20))));
        assert_eq!(outstanding.take_oldest(), None);
    }

    #[test]
    fn ids_settle_what_they_name_and_are_forgotten_in_time() {
        let mut outstanding = Outstanding::default();
        for number in 0..10_000_u64 {
            outstanding.push(sent(number));
            outstanding.name(number, number.to_string().as_bytes());
            assert!(matches!(outstanding.take_id(number.to_string().as_bytes()), Reply::First { .. }));
        }
        assert_eq!(outstanding.take_id(b"9999"), Reply::Duplicate);
        assert_eq!(outstanding.take_id(b"3"), Reply::Unknown);
        assert!(outstanding.ids.len() <= 2 * RECENT_IDS + 2);
    }

    #[test]
    fn a_receiver_of_broadcasts_sees_gaps_duplicates_and_order() {
        let mut seen = Seen::default();
        let table = [
            (0, Arrival::New),
            (2, Arrival::New),
            (1, Arrival::Reordered),
            (1, Arrival::Duplicate),
            (2, Arrival::Duplicate),
            (100, Arrival::New),
            (0, Arrival::Duplicate),
            (99, Arrival::Reordered),
        ];
        for (sequence, expected) in table {
            assert_eq!(seen.note(sequence), expected, "{sequence}");
        }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Send,
        Reply(u64),
        Expire(u64),
    }

    proptest! {
        #[test]
        fn every_message_is_settled_once(steps in prop::collection::vec(prop_oneof![
            2 => Just(Step::Send), 2 => (0..60_u64).prop_map(Step::Reply), 1 => (0..60_u64).prop_map(Step::Expire),
        ], 0..300)) {
            let mut outstanding = Outstanding::default();
            let (mut sends, mut answered, mut lost) = (0_u64, 0_u64, 0_u64);
            for step in steps {
                match step {
                    Step::Send => {
                        prop_assert_eq!(outstanding.next_sequence(), sends);
                        outstanding.push(sent(sends));
                        sends += 1;
                    }
                    Step::Reply(sequence) => match outstanding.take(sequence) {
                        Reply::First { sent, .. } => {
                            prop_assert_eq!(sent.intended, sequence);
                            answered += 1;
                        }
                        Reply::Unknown => prop_assert!(sequence >= sends),
                        Reply::Duplicate | Reply::Late => prop_assert!(sequence < sends),
                    },
                    Step::Expire(before) => outstanding.expire(before, |_| lost += 1),
                }
                prop_assert_eq!(sends, answered + lost + outstanding.len() as u64);
                prop_assert_eq!(outstanding.iter().count(), outstanding.len());
                prop_assert!(outstanding.behind() <= sends);
                prop_assert!(outstanding.oldest().is_some() != outstanding.is_empty());
            }
        }
    }
}
