//! What a shard does at intervals: looks after its connections a part at a time, and hands its figures over.
//!
//! Leaves what a connection needs to `link`. Invariant: figures that nobody takes are kept and grow on.

use std::time::Duration;

use super::stats::Interval;
use super::{Event, Shard};
use crate::bench::machine;

/// How often the housekeeping looks at a part of the connections.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// In so many parts.
const PARTS: usize = 10;
/// How often figures are handed over.
const HAND_OVER: u64 = 200_000_000;

/// Once measuring has a beginning, intervals lie evenly in its seconds.
fn next_hand_over(now: u64, measure_from: u64) -> u64 {
    if measure_from == u64::MAX {
        return now + HAND_OVER;
    }
    let ahead = measure_from.saturating_sub(now) % HAND_OVER;
    let behind = now.saturating_sub(measure_from) % HAND_OVER;
    if now < measure_from && ahead > 0 { now + ahead } else { now - behind + HAND_OVER }
}

/// What a shard does at intervals.
pub(super) struct Housekeeping {
    part: usize,
    handed_over: u64,
    /// When figures are handed over next.
    next: u64,
    /// When the next tick ought to be.
    expected: u64,
    cpu: u64,
    waited: u64,
}

impl Housekeeping {
    pub(super) fn new(now: u64) -> Self {
        let (cpu, waited) = (machine::thread_cpu(), machine::thread_waited());
        Self { part: 0, handed_over: now, next: 0, expected: 0, cpu, waited }
    }

    /// When the first message is due is known.
    pub(super) fn has_started(&mut self, shard: &Shard) {
        self.next = next_hand_over(shard.now(), shard.measure_from.get());
    }

    /// Looks after a part of the connections, and hands figures over when it is time.
    pub(super) fn tick(&mut self, shard: &Shard, used: &std::sync::mpsc::Receiver<Box<Interval>>) {
        let now = shard.now();
        if self.expected > 0 {
            shard.loop_max.set(shard.loop_max.get().max(now.saturating_sub(self.expected)));
        }
        self.expected = now + TICK.as_nanos() as u64;
        let size = shard.links.len().div_ceil(PARTS).max(1);
        if let Some(links) = shard.links.chunks(size).nth(self.part) {
            for link in links {
                link.look_after(shard, now);
            }
        }
        self.part = (self.part + 1) % PARTS;
        if now >= self.next {
            self.hand_over(shard, used);
            self.next = next_hand_over(now, shard.measure_from.get());
        }
    }

    /// Hands the figures since the last time over; when nobody takes them they grow on.
    pub(super) fn hand_over(&mut self, shard: &Shard, used: &std::sync::mpsc::Receiver<Box<Interval>>) {
        let Ok(permit) = shard.events.try_reserve() else { return };
        let now = shard.now();
        let fresh = used.try_recv().unwrap_or_default();
        let mut interval = shard.interval.replace(fresh);
        let (cpu, waited) = (machine::thread_cpu(), machine::thread_waited());
        interval.shard = shard.index;
        interval.end = now;
        interval.length = now - self.handed_over;
        interval.cpu = cpu - self.cpu;
        interval.waited = waited - self.waited;
        interval.open = shard.open.get();
        interval.in_flight = shard.in_flight.get();
        interval.behind = shard.behind.get();
        interval.loop_max = shard.loop_max.take();
        (self.handed_over, self.cpu, self.waited) = (now, cpu, waited);
        permit.send(Event::Interval(interval));
    }
}
