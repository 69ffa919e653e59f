//! What arrives under `--mode echo`: which message it answers, and whether it is what was sent.
//!
//! Invariants: every message is settled once; answers that wait for a decision keep the time at which they arrived.

use super::ids::{Id, Whose};
use super::{Shard, Talk};
use crate::bench::likeness::Order;
use crate::bench::matching::{Reply, Sent};
use crate::bench::payload::{self, Found, Matching, Payload, Variant};
use crate::bench::shard::stats::Interval;
use crate::message::MessageKind;

/// Messages without an answer that an answer is compared with.
const CANDIDATES: usize = 1024;
/// Answers that wait on a connection to be known for what they are.
const MOST_HELD: usize = 1024;

/// An answer to a message.
struct Answer {
    sent: Sent,
    reordered: bool,
    /// Whether it is what was sent, where that is known to matter.
    verified: bool,
    corrupt: bool,
}

impl Talk {
    /// Takes a reply that arrived at `now`, in nanoseconds since the run began.
    pub(super) fn reply(
        &mut self,
        interval: &mut Interval,
        (kind, bytes): (MessageKind, &[u8]),
        shard: &Shard,
        number: u32,
        now: u64,
    ) {
        let variants: &[Variant] = match &shard.plan.payload {
            Payload::Variants(variants) => variants,
            Payload::Template(..) => &[],
        };
        let mut damaged = false;
        let mut place = None;
        let behind = self.outstanding.behind();
        let reply = match &shard.plan.matching {
            Matching::Marker => match payload::find(variants, shard.run, number, &self.outstanding, bytes) {
                Found::Message { sequence } => {
                    place = Some(sequence);
                    self.outstanding.take(sequence)
                }
                Found::Damaged { sequence } => {
                    damaged = true;
                    self.outstanding.take(sequence)
                }
                Found::CrossTalk => {
                    shard.counts(interval, now).cross_talk += 1;
                    Reply::Unknown
                }
                Found::Foreign => Reply::Unknown,
            },
            Matching::Auto => match self.by_likeness(interval, (kind, bytes), shard, number, now) {
                Some(reply) => reply,
                None => return,
            },
            Matching::Content => self.take_equal((kind, bytes), shard, number).unwrap_or(Reply::Unknown),
            Matching::Fifo => match self.outstanding.take_oldest() {
                Some((sequence, sent)) => {
                    place = Some(sequence);
                    Reply::First { sent, reordered: false }
                }
                None => Reply::Unknown,
            },
            Matching::Id(filter) => {
                if let Some(id) = self.ids.look(filter, Whose::Arrived(kind, now), bytes) {
                    self.identified(interval, (kind, bytes), id, shard, now);
                }
                return;
            }
        };
        shard.behind.set(shard.behind.get() + self.outstanding.behind() - behind);
        let Some((sent, reordered)) = first(interval, reply, shard, now) else { return };
        let marker = place.map(|sequence| payload::of(shard.run, number, sequence, sent.intended));
        let intact = match &shard.plan.payload {
            // Of these it is known already.
            _ if matches!(shard.plan.matching, Matching::Auto | Matching::Content) => {
                shard.likeness.get().order() != Order::Fifo
            }
            Payload::Template(..) => sent.variant == payload::digest(bytes),
            Payload::Variants(_) => payload::is_intact(variants, &sent, marker.as_ref(), kind, bytes),
        };
        // Only a marked message is known to come back as it went.
        let corrupt = matches!(shard.plan.matching, Matching::Marker) && (damaged || !intact);
        let answer = Answer { sent, reordered, verified: intact && !damaged, corrupt };
        self.settle(interval, shard, &answer, now, bytes.len());
    }

    /// Takes a reply that is known by its id.
    pub(super) fn identified(
        &mut self,
        interval: &mut Interval,
        (kind, bytes): (MessageKind, &[u8]),
        id: Id,
        shard: &Shard,
        now: u64,
    ) {
        let behind = self.outstanding.behind();
        let reply = id.map_or(Reply::Unknown, |id| self.outstanding.take_id(&id));
        shard.behind.set(shard.behind.get() + self.outstanding.behind() - behind);
        let Some((sent, reordered)) = first(interval, reply, shard, now) else { return };
        let verified = match &shard.plan.payload {
            Payload::Template(..) => sent.variant == payload::digest(bytes),
            Payload::Variants(variants) => payload::is_intact(variants, &sent, None, kind, bytes),
        };
        let answer = Answer { sent, reordered, verified, corrupt: false };
        self.settle(interval, shard, &answer, now, bytes.len());
    }

    /// What a reply answers where nothing is known of answers beforehand; `None` when that is still to be decided.
    fn by_likeness(
        &mut self,
        interval: &mut Interval,
        reply: (MessageKind, &[u8]),
        shard: &Shard,
        number: u32,
        now: u64,
    ) -> Option<Reply> {
        let size = reply.1.len();
        let equal = self.take_equal(reply, shard, number);
        let mut likeness = shard.likeness.get();
        match equal {
            Some(_) => likeness.saw_equal(),
            None => likeness.saw_other(now),
        }
        if self.held.len() >= MOST_HELD {
            likeness.give_up();
        }
        shard.likeness.set(likeness);
        if equal.is_some() {
            self.settle_held(interval, shard);
            return equal;
        }
        match likeness.order() {
            Order::Undecided => {
                self.held.push((now, size));
                None
            }
            Order::Content => Some(Reply::Unknown),
            Order::Fifo => {
                self.settle_held(interval, shard);
                let oldest = self.outstanding.take_oldest();
                Some(oldest.map_or(Reply::Unknown, |(_, sent)| Reply::First { sent, reordered: false }))
            }
        }
    }

    /// Settles the oldest message that a reply equals.
    fn take_equal(&mut self, (kind, bytes): (MessageKind, &[u8]), shard: &Shard, number: u32) -> Option<Reply> {
        let equals = |sequence: u64, sent: &Sent| match &shard.plan.payload {
            Payload::Template(_, own) => kind == *own && sent.variant == payload::digest(bytes),
            Payload::Variants(variants) => {
                let marker = payload::of(shard.run, number, sequence, sent.intended);
                payload::is_intact(variants, sent, Some(&marker), kind, bytes)
            }
        };
        let found = self.outstanding.iter().take(CANDIDATES).find(|(sequence, sent)| equals(*sequence, sent));
        let sequence = found?.0;
        Some(self.outstanding.take(sequence))
    }

    /// Settles the answers that wait, where it is known by now what they are.
    pub(super) fn settle_held(&mut self, interval: &mut Interval, shard: &Shard) {
        if shard.likeness.get().order() != Order::Undecided {
            self.settle_all_held(interval, shard);
        }
    }

    /// Settles the answers that wait: by their order, unless it is known that answers equal their message. Leaves it to
    /// the caller to say how far replies are behind.
    pub(super) fn settle_all_held(&mut self, interval: &mut Interval, shard: &Shard) {
        for (at, size) in std::mem::take(&mut self.held) {
            let oldest = match shard.likeness.get().order() {
                Order::Content => None,
                Order::Undecided | Order::Fifo => self.outstanding.take_oldest(),
            };
            let Some((_, sent)) = oldest else {
                shard.counts(interval, at).unexpected += 1;
                continue;
            };
            let answer = Answer { sent, reordered: false, verified: false, corrupt: false };
            self.settle(interval, shard, &answer, at, size);
        }
    }

    fn settle(&mut self, interval: &mut Interval, shard: &Shard, answer: &Answer, now: u64, size: usize) {
        shard.in_flight.set(shard.in_flight.get() - 1);
        self.answered += 1;
        let counts = shard.counts(interval, answer.sent.intended);
        counts.received += 1;
        counts.reordered += u64::from(answer.reordered);
        counts.verified += u64::from(answer.verified);
        counts.corrupt += u64::from(answer.corrupt);
        shard.answered(interval, &answer.sent, now, size);
    }
}

/// The message that a reply is the first to; every other reply is counted for what it is.
fn first(interval: &mut Interval, reply: Reply, shard: &Shard, now: u64) -> Option<(Sent, bool)> {
    let counts = shard.counts(interval, now);
    match reply {
        Reply::First { sent, reordered } => return Some((sent, reordered)),
        Reply::Duplicate => counts.duplicated += 1,
        Reply::Late => counts.late += 1,
        Reply::Unknown => counts.unexpected += 1,
    }
    None
}
