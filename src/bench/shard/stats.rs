//! What a shard hands over several times a second: counts and latencies since the last time.
//!
//! Invariant: each fact is in one interval, so that adding up all of them is the run.

use std::collections::BTreeMap;

use crate::bench::counts::{Bytes, Connections, Messages};
use crate::bench::errors::Errors;
use crate::bench::histogram::Latencies;
use crate::bench::lateness::CatchUp;

#[derive(Debug, Default)]
pub(crate) struct Opening {
    /// Look-up to the answer to the upgrade.
    pub total: Latencies,
    pub tcp: Latencies,
    pub tls: Latencies,
    pub upgrade: Latencies,
    /// From there to the first message of the server's own.
    pub first_message: Latencies,
}

impl Opening {
    pub(crate) fn add(&mut self, other: &Self) {
        self.total.add(&other.total);
        self.tcp.add(&other.tcp);
        self.tls.add(&other.tls);
        self.upgrade.add(&other.upgrade);
        self.first_message.add(&other.first_message);
    }
}

/// Deliveries of broadcasts.
#[derive(Debug, Default)]
pub(crate) struct Deliveries {
    /// The first of each message.
    pub first: Latencies,
    /// The last but one of each, which is the last where the sender does not get its own.
    pub all_but_one: Latencies,
    /// The last of each.
    pub all: Latencies,
}

/// Counts and latencies of a stretch of time on one shard.
#[derive(Debug, Default)]
pub(crate) struct Interval {
    pub shard: usize,
    /// Its end, in nanoseconds since the run began.
    pub end: u64,
    /// How long it was, in nanoseconds.
    pub length: u64,
    /// Messages sent in the warm-up.
    pub warm: Messages,
    /// Messages sent while measuring.
    pub measured: Messages,
    /// Headline latencies of the warm-up.
    pub warm_latencies: Latencies,
    pub schedule: Latencies,
    /// From the write to the reply.
    pub service: Latencies,
    /// From the intended time to the reply.
    pub response: Latencies,
    /// Pings and their pongs.
    pub ping: Latencies,
    /// Connections opened in it.
    pub opening: Option<Box<Opening>>,
    /// Deliveries of broadcasts.
    pub deliveries: Option<Box<Deliveries>>,
    pub connections: Connections,
    /// Close frames received.
    pub closes: BTreeMap<u16, u64>,
    pub errors: Errors,
    /// Failures to connect among them.
    pub failed: BTreeMap<String, u64>,
    /// Bytes while measuring.
    pub bytes: Bytes,
    /// How it kept up with the timeline.
    pub catch_up: CatchUp,
    /// Messages read in it, whatever they were.
    pub read: u64,
    /// Messages written in it.
    pub written: u64,
    /// Open connections at its end.
    pub open: u64,
    /// Messages under way at its end.
    pub in_flight: u64,
    /// How far replies were behind at its end, counting what was given up and may still wait.
    pub behind: u64,
    /// Most bytes that waited to be written on a connection.
    pub queue_max: u64,
    /// How much later than wanted the loop came round at worst, in nanoseconds.
    pub loop_max: u64,
    /// Computing time in it, in nanoseconds.
    pub cpu: u64,
    /// Time in it spent waiting for a processor, in nanoseconds.
    pub waited: u64,
}

impl Interval {
    /// Makes it as new, keeping its memory.
    pub(crate) fn clear(&mut self) {
        let mut kept = std::mem::take(self);
        for latencies in
            [&mut kept.warm_latencies, &mut kept.schedule, &mut kept.service, &mut kept.response, &mut kept.ping]
        {
            latencies.clear();
        }
        self.warm_latencies = kept.warm_latencies;
        self.schedule = kept.schedule;
        self.service = kept.service;
        self.response = kept.response;
        self.ping = kept.ping;
    }
}
