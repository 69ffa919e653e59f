//! What a shard notes of messages: counts, bytes and times, in the interval that is under way.
//!
//! Leaves what a message is to `talk`, and adding up to the code that gathers. Invariant: what is not measured goes to
//! the warm-up.

use super::Shard;
use super::stats::{Deliveries, Interval};
use crate::bench::counts::Messages;
use crate::bench::marker::Marker;
use crate::bench::matching::Sent;
use crate::bench::plan::Kind;

impl Shard {
    /// The counts a message belongs to by this time.
    pub(super) fn counts<'a>(&self, interval: &'a mut Interval, time: u64) -> &'a mut Messages {
        if self.is_measured(time) { &mut interval.measured } else { &mut interval.warm }
    }

    pub(super) fn was_read(&self, length: usize, now: u64) {
        if self.is_measured(now) {
            self.interval.borrow_mut().bytes.wire_received += length as u64;
        }
    }

    pub(super) fn wrote(&self, length: usize, waiting: usize) {
        let mut interval = self.interval.borrow_mut();
        if self.measure_from.get() != u64::MAX {
            interval.bytes.wire_sent += length as u64;
        }
        interval.queue_max = interval.queue_max.max(waiting as u64);
    }

    /// Counts a message that was queued.
    pub(super) fn sent(&self, intended: u64, now: u64, size: usize) {
        let mut interval = self.interval.borrow_mut();
        let interval = &mut **interval;
        interval.written += 1;
        self.counts(interval, intended).sent += 1;
        if self.is_measured(intended) {
            interval.bytes.payload_sent += size as u64;
            if self.depth == 0 {
                interval.schedule.record(now.saturating_sub(intended));
            }
            if !self.plan.awaits() {
                self.last_settled.set(now);
            }
        }
    }

    /// Records the answer to a message.
    pub(super) fn answered(&self, interval: &mut Interval, sent: &Sent, now: u64, size: usize) {
        let (response, service) = (now.saturating_sub(sent.intended), now.saturating_sub(sent.written));
        if self.is_measured(sent.intended) {
            interval.bytes.payload_received += size as u64;
            interval.service.record(service);
            if self.depth == 0 {
                interval.response.record(response);
            }
            // An answer that was held settles with the time at which it arrived, perhaps after a later one.
            self.last_settled.set(self.last_settled.get().max(now));
        } else {
            interval.warm_latencies.record(if self.depth == 0 { response } else { service });
        }
    }

    pub(super) fn settled_now(&self, intended: u64) {
        if self.is_measured(intended) {
            self.last_settled.set(self.now());
        }
    }

    /// Notes a message to all, where messages go to all.
    pub(super) fn published(&self, number: u32, sequence: u64, measured: bool) {
        if matches!(self.plan.kind, Kind::Publish { .. }) {
            self.broadcasts.sent(number, sequence, measured);
        }
    }

    /// Records the delivery of a broadcast.
    pub(super) fn delivered(&self, interval: &mut Interval, marker: &Marker, number: u32, late: u64, size: usize) {
        let count = self.broadcasts.delivered(marker.connection, marker.sequence, number);
        let intended = marker.stamp * 1000;
        if !self.is_measured(intended) {
            interval.warm_latencies.record(late);
            return;
        }
        interval.bytes.payload_received += size as u64;
        interval.response.record(late);
        let deliveries: &mut Deliveries = interval.deliveries.get_or_insert_default();
        if count == 1 {
            deliveries.first.record(late);
        }
        let all = self.broadcasts.receivers();
        if count + 1 == all {
            deliveries.all_but_one.record(late);
        } else if count == all {
            deliveries.all.record(late);
        }
        self.last_settled.set(self.now());
    }
}
