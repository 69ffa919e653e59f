//! The report of a run: what `--json` prints, and what every other form is made from.
//!
//! Owns the names in it (`wsp.bench/1`), reading it back and adding reports up. Leaves how it looks to the files beside
//! this one, and what is in it to [`super::run`]. Invariants: units are in the names; `null` is too few samples; a report
//! that is read back and written again is the same.

pub(crate) mod csv;
pub(crate) mod html;
pub(crate) mod merge;
pub(crate) mod text;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::counts::{Bytes, Messages};
use super::errors::Example;
use super::histogram::Summary;
use super::threshold::Outcome;

/// The name and version of the form.
pub(crate) const SCHEMA: &str = "wsp.bench/1";

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// [`SCHEMA`].
    pub schema: String,
    /// Whether the figures are the target's and not the generator's.
    pub valid: bool,
    /// `pass`, `degraded`, `fail` or `invalid`.
    pub verdict: String,
    /// Why it is no pass, worst first.
    pub reasons: Vec<String>,
    /// The run was ended from outside.
    #[serde(default)]
    pub interrupted: bool,
    /// `open` or `closed`.
    pub mode: String,
    /// The run itself.
    pub run: Run,
    pub load: Load,
    /// Messages a second.
    pub rate: Rate,
    pub connect: Connect,
    pub messages: Messages,
    /// Where every message goes to all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<Publish>,
    pub bytes: Bytes,
    /// Close frames received, by code; 1006 is none at all.
    pub closes: BTreeMap<String, u64>,
    /// Latencies in milliseconds.
    pub latency_ms: Latency,
    /// Errors by kind.
    pub errors: BTreeMap<String, u64>,
    /// The first of each kind.
    #[serde(default)]
    pub examples: BTreeMap<String, Example>,
    pub generator: Generator,
    /// Thresholds, in the order given.
    pub thresholds: Vec<Outcome>,
    /// What a person did to it at the dashboard.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_hand: Vec<ByHand>,
    pub series: Vec<Second>,
    /// How the greatest rate was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub find_max: Option<FindMax>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    pub id: String,
    pub started: String,
    pub tool_version: String,
    /// The target, without user info.
    pub url: String,
    /// The address reached.
    pub address: String,
    /// Version and cipher.
    #[serde(default)]
    pub tls: Option<String>,
    #[serde(default)]
    pub subprotocol: Option<String>,
    #[serde(default)]
    pub extensions: Option<String>,
    /// What random choices were drawn from.
    pub seed: u64,
    pub host: Machine,
}

/// The machine the generator ran on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Machine {
    /// Processors that may be used.
    pub cpus: u64,
    /// The kernel's release.
    pub kernel: String,
    pub memory_bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Load {
    /// `echo`, `push`, `send`, `connect` or `publish`.
    pub kind: String,
    /// How many at the same time.
    pub connections: u64,
    /// Messages under way on each, in closed loop.
    #[serde(default)]
    pub in_flight: Option<u64>,
    /// `even` or `poisson`.
    pub spacing: String,
    /// The course, as given.
    #[serde(default)]
    pub stages: Option<String>,
    /// The payload in words.
    pub payload: String,
    /// Its size, the mean where there are several.
    pub payload_bytes: f64,
    /// How replies find their message: `marker`, `content`, `fifo`, `jq` or `none`.
    pub matching: String,
    /// Whether that was found out from the replies, since neither a mark nor a flag said it.
    #[serde(default)]
    pub matching_assumed: bool,
    /// Left out of the figures.
    pub warmup_s: f64,
    pub measured_s: f64,
    /// A message without an answer for so long is lost.
    pub deadline_s: f64,
}

/// Messages a second.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Rate {
    /// In open loop; the mean where it changes.
    pub asked: Option<f64>,
    /// Sent; where nothing is sent, received.
    pub achieved: f64,
    pub received: f64,
    /// Whether the target kept up, in open loop.
    pub sustained: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Connect {
    pub asked: u64,
    pub ok: u64,
    /// Did not, by kind.
    pub failed: BTreeMap<String, u64>,
    /// From the first attempt to the last connection.
    pub seconds: f64,
    /// Connections a second meanwhile.
    pub rate: f64,
    /// Of those over TLS, sessions taken up again.
    #[serde(default)]
    pub tls_resumed: u64,
    /// Ended before their time.
    #[serde(default)]
    pub closed_early: u64,
}

/// Where every message goes to all.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Publish {
    /// Connections that send.
    pub senders: u64,
    /// Connections a message goes to, the sender among them when it gets its own.
    pub receivers: u64,
    /// Deliveries there should be.
    pub expected: u64,
    pub delivered: u64,
    pub reach: f64,
    /// From the intended send time to the first delivery, in milliseconds.
    pub first_ms: Summary,
    /// From the intended send time to the last delivery, in milliseconds.
    pub last_ms: Summary,
}

/// Latencies in milliseconds.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    /// Look-up to the answer to the upgrade.
    pub connect: Summary,
    /// Of it, the look-up.
    #[serde(default)]
    pub dns: Summary,
    #[serde(default)]
    pub tcp: Summary,
    #[serde(default)]
    pub tls: Summary,
    #[serde(default)]
    pub upgrade: Summary,
    /// From there to the first message of the server's own.
    #[serde(default)]
    pub first_message: Summary,
    /// From the intended to the actual send time: our own lateness.
    pub schedule: Summary,
    /// From the actual send time to the reply.
    pub service: Summary,
    /// From the intended send time to the reply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Summary>,
    /// Pings and their pongs.
    #[serde(default)]
    pub ping: Summary,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Generator {
    /// `valid`, `degraded` or `invalid`.
    pub health: String,
    pub shards: Vec<Shard>,
    /// Share of the busiest thread's time it was computing.
    pub busiest_cpu: f64,
    /// Messages sent more than 1 ms late.
    pub late: u64,
    /// Most messages sent in one pass.
    pub burst: u64,
    /// Resident memory, at its greatest.
    pub rss_bytes: u64,
    pub bytes_per_connection: f64,
    /// Local ports that were still free towards this target.
    pub ports_left: Option<u64>,
    /// Source addresses used, when they were chosen.
    #[serde(default)]
    pub source_addresses: u64,
    /// What else is to be known.
    pub warnings: Vec<String>,
}

/// One thread of the generator.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Shard {
    /// Share of its time it was computing.
    pub cpu: f64,
    /// Share of its time it waited for a processor.
    pub waited: f64,
    pub loop_max_ms: f64,
    /// Most bytes that waited to be written on a connection.
    pub queue_max_bytes: u64,
    pub connections: u64,
}

/// One second of the run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Second {
    /// Its end, in seconds since measuring began; below 0 is warm-up.
    pub t: f64,
    /// `connect`, `warmup`, `measure` or `drain`.
    pub phase: String,
    pub connections: u64,
    /// Messages under way.
    pub in_flight: u64,
    pub sent: u64,
    pub received: u64,
    pub errors: u64,
    /// Of the headline latency, in milliseconds.
    pub p50: Option<f64>,
    pub p99: Option<f64>,
    pub max: Option<f64>,
    /// Share of time the busiest thread was computing.
    pub cpu: f64,
    /// What a person did in it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_hand: Vec<String>,
}

/// Something a person did to a run while it went on.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct ByHand {
    /// When, in seconds since measuring began; below 0 is warm-up.
    pub t: f64,
    /// `mark 1`, `rate`, `paused` or `resumed`.
    pub what: String,
    /// Messages a second asked for from then on, in open loop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
}

impl ByHand {
    /// In a field of a file, without the time.
    #[must_use]
    pub(crate) fn plain(&self) -> String {
        match self.rate {
            Some(rate) => format!("{} {rate}", self.what),
            None => self.what.clone(),
        }
    }

    /// In words, without the time.
    #[must_use]
    pub(crate) fn words(&self) -> String {
        match self.rate {
            Some(rate) => format!("{} {}/s", self.what, text::number(rate)),
            None => self.what.clone(),
        }
    }
}

/// How the greatest rate was found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct FindMax {
    pub condition: String,
    /// The greatest rate at which it held, in messages a second; `None` when it never did.
    pub rate: Option<f64>,
    /// Whether it held at that rate in the longer run, too.
    #[serde(default)]
    pub confirmed: bool,
    /// What ended the search, in words.
    #[serde(default)]
    pub limit: String,
    /// The rates tried.
    pub steps: Vec<Step>,
}

/// One rate that was tried.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Step {
    pub rate: f64,
    pub achieved: f64,
    /// Whether the condition held and the target kept up.
    pub ok: bool,
    /// Whether it says nothing of the target, since the generator did not keep up.
    #[serde(default)]
    pub lost: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The headline p99 in milliseconds.
    pub p99: Option<f64>,
}

impl Report {
    /// The latency to quote, with its name.
    #[must_use]
    pub(crate) fn headline(&self) -> (&'static str, &Summary) {
        match (&self.latency_ms.response, self.load.kind.as_str()) {
            (Some(response), _) => ("response", response),
            (None, "connect" | "push") => ("connect", &self.latency_ms.connect),
            (None, "send") => ("schedule", &self.latency_ms.schedule),
            (None, _) => ("service", &self.latency_ms.service),
        }
    }

    /// Messages that count as slower than every answer.
    #[must_use]
    pub(crate) fn unanswered(&self) -> u64 {
        match self.load.kind.as_str() {
            "push" | "send" | "connect" => 0,
            _ => self.messages.unanswered(),
        }
    }

    /// Reads what `--json` printed, or the last line of `--ndjson`.
    ///
    /// # Errors
    /// A line that says what is wrong with it.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let whole = text.trim();
        let last = whole.lines().next_back().unwrap_or_default();
        // One object, printed in one line or in several, or many of which the last is the report.
        let candidate = if last.starts_with('{') && last.len() < whole.len() { last } else { whole };
        let report: Self =
            serde_json::from_str(candidate).map_err(|error| format!("not a report of wsp bench: {error}"))?;
        if report.schema == SCHEMA {
            Ok(report)
        } else {
            Err(format!("unsupported report schema '{}'; this wsp reads {SCHEMA}", report.schema))
        }
    }

    /// One line of JSON.
    #[must_use]
    pub(crate) fn to_json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
