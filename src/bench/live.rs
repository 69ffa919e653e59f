//! What is to be seen of a run while it goes on: a snapshot, five times a second.
//!
//! Owns the snapshot and the line it makes on a terminal. Invariant: observers see copies made from what the shards
//! have handed over; nothing here touches a connection.

use super::schedule::Stage;
use super::verdict::{Health, whole};
use crate::message::counted::agreeing;
use std::fmt::Write as _;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    #[default]
    Connect,
    /// Sending, and not measuring yet.
    Warmup,
    Measure,
    /// Awaiting what is under way.
    Drain,
    Close,
}

impl Phase {
    /// As in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Warmup => "warmup",
            Self::Measure => "measure",
            Self::Drain => "drain",
            Self::Close => "close",
        }
    }
}

/// A run at a moment. Rates and percentiles are those of the last second.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Live {
    pub phase: Phase,
    /// Seconds it has been there.
    pub elapsed: f64,
    /// Seconds it will be there, where that is known.
    pub of: Option<f64>,
    /// Connections asked for.
    pub asked: u64,
    pub open: u64,
    /// Messages under way.
    pub in_flight: u64,
    /// Messages a second asked for.
    pub rate_asked: Option<f64>,
    /// Messages a second sent.
    pub sent: f64,
    /// Messages a second received.
    pub received: f64,
    /// Of the headline latency, in milliseconds.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
    pub errors: u64,
    /// Messages lost so far.
    pub lost: u64,
    /// Messages due and not sent so far.
    pub missed: u64,
    /// Share of its time each thread was computing.
    pub cpu: Vec<f64>,
    /// Whether what is sent can be changed by hand.
    pub steerable: bool,
    /// Nothing is sent, as a person wished.
    pub paused: bool,
    /// The load is or was another than the one asked for.
    pub changed: bool,
    /// Moments a person marked.
    pub marks: u32,
    /// The stage it is in, its number first, and how many there are.
    pub stage: Option<(usize, Stage, usize)>,
    /// What a dashboard shows besides; for a line it is not made.
    pub details: Option<Details>,
}

/// What is to be seen of a run as a whole, so far.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Details {
    /// Latencies as in the report: their name, percentiles as far as they may be told, and the greatest.
    pub rows: Vec<Row>,
    /// How many of the first kind of them lie in each doubling of a tenth of a millisecond.
    pub doublings: Vec<(f64, u64)>,
    /// Errors by kind.
    pub kinds: Vec<(String, u64)>,
    /// Messages duplicated, reordered, corrupt and unexpected.
    pub faults: [u64; 4],
    /// Messages that went out more than a millisecond late.
    pub late: u64,
    pub resident: u64,
    /// What the figures are worth so far, and why they are not worth more.
    pub verdict: Option<(Health, Option<String>)>,
}

/// A kind of latency, its percentiles and the greatest, in milliseconds.
pub(crate) type Row = (&'static str, [Option<f64>; 4], Option<f64>);

/// The percentiles of [`Details::rows`].
pub(crate) const SHOWN: [(&str, f64); 4] = [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9)];

impl Live {
    /// One line of at most 79 characters.
    #[must_use]
    pub fn line(&self) -> String {
        let time = match self.of {
            Some(of) => format!("{:.0}/{of:.0} s", self.elapsed),
            None => format!("{:.0} s", self.elapsed),
        };
        let mut line =
            format!("{} {time}  {}/{} conns", self.phase.name(), whole(self.open as f64), whole(self.asked as f64));
        if self.phase != Phase::Connect {
            let _ = write!(line, "  {}/s out  {}/s in", whole(self.sent), whole(self.received));
            if let Some(p99) = self.p99 {
                let _ = write!(line, "  p99 {p99:.2} ms");
            }
        }
        for (count, what) in
            [(self.errors, agreeing(self.errors, "error")), (self.lost, "lost".into()), (self.missed, "missed".into())]
        {
            if count > 0 {
                let _ = write!(line, "  {} {what}", whole(count as f64));
            }
        }
        line.chars().take(79).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_what_there_is_to_say() {
        let mut live = Live { asked: 1000, open: 12, elapsed: 0.4, ..Live::default() };
        assert_eq!(live.line(), "connect 0 s  12/1,000 conns");
        live = Live {
            phase: Phase::Measure,
            of: Some(10.0),
            open: 1000,
            sent: 50_000.2,
            received: 49_999.6,
            p99: Some(0.923),
            lost: 3,
            ..live
        };
        assert_eq!(live.line(), "measure 0/10 s  1,000/1,000 conns  50,000/s out  50,000/s in  p99 0.92 ms  3 lo");
    }
}
