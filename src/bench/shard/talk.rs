//! What is said on one connection: messages numbered and marked on the way out, replies matched and judged on the way in.
//!
//! Leaves bytes to [`super::link`]. Invariants: a message counts as warm-up or as measured by the time it was due, and
//! so does everything that becomes of it; what is under way on the shard is the sum over its connections.

mod ids;
mod reply;

use std::task::{Context, Poll};

use bytes::Bytes;

use self::ids::{Ids, Whose};
use super::Shard;
use crate::bench::counts::Messages;
use crate::bench::marker::{self, Marker};
use crate::bench::matching::{Arrival, Outstanding, Seen, Sent};
use crate::bench::payload::{self, Matching, Payload};
use crate::bench::plan::Kind;
use crate::bench::shard::stats::Interval;
use crate::message::{Message, MessageKind};
use crate::net::connection::{CloseReason, Connection, Incoming};

/// Messages that may be under way on a connection in open loop.
const MOST_UNDER_WAY: usize = 65_536;

/// The conversation on one connection.
#[derive(Default)]
pub(super) struct Talk {
    outstanding: Outstanding,
    /// When answers arrived of which it is not known yet what they answer, and their sizes.
    held: Vec<(u64, usize)>,
    ids: Ids,
    /// Messages sent that no reply is awaited to.
    unanswerable: u64,
    turn: u32,
    /// Answers since it was opened.
    answered: u64,
    opened: u64,
    fresh: bool,
    heard: bool,
    /// When a ping was sent that has no pong yet.
    pinged: Option<u64>,
    /// When the peer last moved bytes.
    moved: u64,
    last_ping: u64,
    /// What was seen of each sender.
    seen: Vec<Seen>,
    /// Nothing more is sent; it is closed once everything is answered.
    pub(super) retiring: bool,
    /// When we began to close it.
    pub(super) closing: Option<u64>,
    /// It is to end without more ado.
    pub(super) given_up: Option<&'static str>,
}

impl Talk {
    pub(super) fn opened(now: u64) -> Self {
        Self { opened: now, last_ping: now, fresh: true, ..Self::default() }
    }

    /// Whether nothing has been looked at yet; once.
    pub(super) fn is_fresh(&mut self) -> bool {
        std::mem::take(&mut self.fresh)
    }

    /// The peer moved bytes: it sent some, or made room for some that waited.
    pub(super) fn moved(&mut self, now: u64) {
        self.moved = now;
    }

    pub(super) fn under_way(&self) -> usize {
        self.outstanding.len()
    }

    pub(super) fn is_full(&self, shard: &Shard) -> bool {
        self.outstanding.len() >= MOST_UNDER_WAY || self.ids.is_full() || shard.in_flight.get() >= shard.most_in_flight
    }

    /// Whether it is to be closed now: it is not wanted any more, or has done its turn under `--churn`.
    pub(super) fn is_over(&mut self, shard: &Shard) -> bool {
        if !self.retiring && shard.plan.churn.is_some_and(|count| self.answered >= count) {
            self.retiring = shard.is_running();
        }
        self.retiring && self.outstanding.is_empty()
    }

    /// Queues a message on the connection.
    pub(super) fn send(&mut self, connection: &mut Connection, shard: &Shard, number: u32, intended: u64, now: u64) {
        let awaits = shard.plan.awaits();
        let sequence = if awaits { self.outstanding.next_sequence() } else { self.unanswerable };
        let turn = self.turn;
        self.turn = turn.wrapping_add(1);
        let mut sent = Sent { intended, written: now, variant: 0 };
        let mut size = 0;
        match &shard.plan.payload {
            Payload::Variants(variants) => {
                let index = turn as usize % variants.len();
                let variant = &variants[index];
                sent.variant = index as u32;
                size = variant.bytes.len();
                let mut text = [0; marker::LEN];
                let part: &[u8] = if variant.marker.is_some() {
                    payload::of(shard.run, number, sequence, intended).write(&mut text);
                    &text
                } else {
                    &[]
                };
                let at = variant.marker.unwrap_or_default();
                if connection.compresses() {
                    let mut bytes = variant.bytes.clone();
                    bytes[at..at + part.len()].copy_from_slice(part);
                    start_send(connection, variant.kind, bytes);
                } else {
                    connection.start_prebuilt(shard.frame(index, turn), at, part);
                }
                if awaits {
                    self.note(shard, sent, &variant.bytes);
                }
            }
            Payload::Template(template, kind) => {
                let text = template.render(shard.next_number()).unwrap_or_default();
                sent.variant = payload::digest(text.as_bytes());
                size += text.len();
                start_send(connection, *kind, text.clone().into_bytes());
                if awaits {
                    self.note(shard, sent, text.as_bytes());
                }
            }
        }
        if awaits {
            shard.in_flight.set(shard.in_flight.get() + 1);
            shard.behind.set(shard.behind.get() + 1);
        } else {
            self.unanswerable += 1;
            shard.published(number, sequence, shard.is_measured(intended));
        }
        shard.sent(intended, now, size);
    }

    /// Notes a message that was sent, and the id that its answer is known by.
    fn note(&mut self, shard: &Shard, sent: Sent, payload: &[u8]) {
        let sequence = self.outstanding.next_sequence();
        self.outstanding.push(sent);
        if let Matching::Id(filter) = &shard.plan.matching
            && let Some(Some(id)) = self.ids.look(filter, Whose::Sent(sequence), payload)
        {
            self.outstanding.name(sequence, &id);
        }
    }

    /// Whether nothing may be read because ids are still being looked for.
    pub(super) fn is_behind(&self) -> bool {
        self.ids.is_full()
    }

    /// Takes the ids that were not known at once, as they come.
    pub(super) fn poll_ids(&mut self, shard: &Shard, cx: &mut Context<'_>) {
        let Matching::Id(filter) = &shard.plan.matching else { return };
        while let Poll::Ready((whose, payload, id)) = self.ids.poll(filter, cx) {
            match (whose, id) {
                (Whose::Sent(sequence), Some(id)) => self.outstanding.name(sequence, &id),
                (Whose::Sent(_), None) => {}
                (Whose::Arrived(kind, at), id) => {
                    self.identified(&mut shard.interval.borrow_mut(), (kind, &payload), id, shard, at);
                }
            }
        }
    }

    /// Takes one thing that arrived; the reason when it is a Close.
    pub(super) fn receive(&mut self, incoming: Incoming, shard: &Shard, number: u32, now: u64) -> Option<CloseReason> {
        match incoming {
            Incoming::Message(message) => self.message(message.kind(), message.payload(), shard, number, now),
            Incoming::Ping(_) => {}
            Incoming::Pong(_) => {
                if let Some(pinged) = self.pinged.take() {
                    shard.interval.borrow_mut().ping.record(now.saturating_sub(pinged));
                }
            }
            Incoming::Close(close) => return Some(close),
        }
        None
    }

    fn message(&mut self, kind: MessageKind, payload: &[u8], shard: &Shard, number: u32, now: u64) {
        let mut interval = shard.interval.borrow_mut();
        let interval = &mut **interval;
        interval.read += 1;
        if !self.heard {
            self.heard = true;
            if self.outstanding.is_empty() && self.turn == 0 {
                let opening = interval.opening.get_or_insert_default();
                opening.first_message.record(now.saturating_sub(self.opened));
            }
        }
        match shard.plan.kind {
            Kind::Echo if !shard.has_started() => {}
            Kind::Echo => self.reply(interval, (kind, payload), shard, number, now),
            Kind::Publish { .. } => self.delivery(interval, payload, shard, number, now),
            Kind::Push | Kind::Send | Kind::Connect => {
                if shard.is_measured(now) && now < shard.measure_to.get() {
                    interval.measured.received += 1;
                    interval.bytes.payload_received += payload.len() as u64;
                    shard.last_settled.set(now);
                    self.answered += 1;
                } else {
                    interval.warm.received += 1;
                }
            }
        }
    }

    /// A message that one of the connections published.
    fn delivery(&mut self, interval: &mut Interval, payload: &[u8], shard: &Shard, number: u32, now: u64) {
        let place = match &shard.plan.payload {
            Payload::Variants(variants) => variants.first().and_then(|variant| variant.marker).unwrap_or_default(),
            Payload::Template(..) => 0,
        };
        let marker = Marker::read_at(payload, place)
            .filter(|marker| marker.run == shard.run)
            .or_else(|| Marker::find(payload, shard.run).map(|(_, marker)| marker));
        let sender =
            marker.map(|marker| marker.connection as usize).filter(|sender| *sender < shard.broadcasts.senders());
        let (Some(marker), Some(sender)) = (marker, sender) else {
            shard.counts(interval, now).unexpected += 1;
            return;
        };
        if self.seen.is_empty() {
            self.seen.resize(shard.broadcasts.senders(), Seen::default());
        }
        let intended = marker.stamp * 1000;
        let counts = shard.counts(interval, intended);
        match self.seen[sender].note(marker.sequence) {
            Arrival::Duplicate => {
                counts.duplicated += 1;
                return;
            }
            Arrival::Reordered => counts.reordered += 1,
            Arrival::New => {}
        }
        counts.received += 1;
        counts.verified += 1;
        let late = now.saturating_sub(intended);
        shard.delivered(interval, &marker, number, late, payload.len());
    }

    /// Gives up what is too late, pings, and ends what does not end; whether its task must look at it.
    pub(super) fn look_after(&mut self, connection: &mut Connection, shard: &Shard, now: u64) -> bool {
        let mut wake = false;
        if !self.held.is_empty() {
            let mut likeness = shard.likeness.get();
            likeness.pass(now);
            shard.likeness.set(likeness);
            let behind = self.outstanding.behind();
            self.settle_held(&mut shard.interval.borrow_mut(), shard);
            shard.behind.set(shard.behind.get() + self.outstanding.behind() - behind);
            wake = self.held.is_empty();
        }
        let before = now.saturating_sub(shard.deadline);
        if self.outstanding.oldest().is_some_and(|oldest| oldest < before) {
            let mut interval = shard.interval.borrow_mut();
            self.outstanding.expire(before, |sent| lose(shard, &mut interval, &sent));
            wake = true;
        }
        let timeout = shard.plan.ping_timeout.as_nanos() as u64;
        if let Some(pinged) = self.pinged {
            if now.saturating_sub(pinged.max(self.moved)) > timeout {
                self.given_up = Some("unresponsive");
                wake = true;
            }
        } else if let Some(every) = shard.plan.ping_interval
            && self.closing.is_none()
            && now.saturating_sub(self.last_ping) > every.as_nanos() as u64
        {
            self.pinged = Some(now);
            self.last_ping = now;
            let _ = connection.start_ping(Bytes::from_static(b"wsp"));
            wake = true;
        }
        wake |= self.retiring && self.closing.is_none() && self.outstanding.is_empty();
        let patience = shard.plan.close_timeout.as_nanos() as u64;
        if self.closing.is_some_and(|since| now.saturating_sub(since) > patience) {
            self.given_up = Some("close timeout");
            wake = true;
        }
        wake
    }

    /// The connection is gone, and with it what was under way.
    pub(super) fn abandon(&mut self, shard: &Shard) {
        let mut interval = shard.interval.borrow_mut();
        shard.behind.set(shard.behind.get() - self.outstanding.behind());
        self.settle_all_held(&mut interval, shard);
        self.outstanding.abandon(|sent| lose(shard, &mut interval, &sent));
    }

    /// The run is over, and nothing more is waited for.
    pub(super) fn censor(&mut self, shard: &Shard) {
        let mut interval = shard.interval.borrow_mut();
        shard.behind.set(shard.behind.get() - self.outstanding.behind());
        self.settle_all_held(&mut interval, shard);
        self.outstanding.abandon(|sent| {
            shard.in_flight.set(shard.in_flight.get() - 1);
            shard.counts(&mut interval, sent.intended).censored += 1;
        });
    }
}

/// Sends a message that is not built ahead.
fn start_send(connection: &mut Connection, kind: MessageKind, payload: Vec<u8>) {
    // Only after a Close it cannot be sent; then the answer is missed.
    let _ = connection.start_send(Message::checked(kind, payload));
}

fn lose(shard: &Shard, interval: &mut Interval, sent: &Sent) {
    shard.in_flight.set(shard.in_flight.get() - 1);
    let counts: &mut Messages = shard.counts(interval, sent.intended);
    counts.lost += 1;
    shard.settled_now(sent.intended);
}
