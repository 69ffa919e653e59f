//! `wsp bench`: the load tester.
//!
//! Owns its flags. What they mean together is `plan`'s business, running and printing [`mod@run`]'s.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

mod output;
mod plan;
mod run;
mod search;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Command, Subcommand, ValueEnum};

use super::options::ConnectionArgs;
use super::values::{count, duration, rate, size};
pub(crate) use run::run;

/// Examples at the head of the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  wsp bench localhost:8080 --rate 1k -d 5s          open loop: latency as users see it
  wsp bench localhost:8080 -c 100 --in-flight 4     closed loop: send the next when one is answered
  wsp bench localhost:8080 --rate 5k --threshold 'p99<20ms' --threshold 'loss=0'
  wsp bench localhost:8080 --stages '10s:1k,20s:5k' --html report.html
  wsp bench localhost:8080 -c 1000 --mode connect   how fast connections open
";

/// Connection options that have no meaning here.
const ABSENT: [&str; 14] = [
    "reconnect",
    "retry_delay",
    "retry_max",
    "retry_factor",
    "retry_step",
    "retry_jitter",
    "retry_on",
    "stable_after",
    "resume",
    "heartbeat",
    "heartbeat_interval",
    "heartbeat_reply",
    "idle_timeout",
    "raw_input",
];
/// Connection options that the short help leaves out.
const LESS_USED: [&str; 6] = ["bearer", "origin", "subprotocols", "cacert", "user", "timeout"];

/// The subcommand as help, completions and settings know it.
pub(crate) fn without_absent(command: Command) -> Command {
    let command = ABSENT.iter().fold(command, |command, name| command.mut_arg(name, |arg| arg.hide(true)));
    LESS_USED.iter().fold(command, |command, name| command.mut_arg(name, |arg| arg.hide_short_help(true)))
}

/// Flags of `wsp bench`.
#[derive(Debug, Clone, Args)]
#[command(before_help = EXAMPLES, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(crate) struct BenchArgs {
    /// Something to do with reports.
    #[command(subcommand)]
    pub action: Option<BenchAction>,
    /// The target: ws://, wss:// or bare host:port, or @PROFILE
    #[arg(value_name = "URL|@PROFILE", required = true)]
    pub url: Option<String>,
    /// The load.
    #[command(flatten)]
    pub load: LoadArgs,
    /// Where reports go.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Show the run on a dashboard; q stops measuring and prints the report
    #[arg(long, hide_short_help = true, conflicts_with = "ndjson", help_heading = "Report")]
    pub tui: bool,
}

/// What else `wsp bench` does.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum BenchAction {
    /// Merge reports: histograms are merged, percentiles never averaged
    Report(ReportArgs),
    /// Run against two targets alternately (A B A B) and report whether they differ
    Compare(Box<CompareArgs>),
}

/// Examples at the head of the help of `wsp bench report`.
const REPORT_EXAMPLES: &str = "\
Examples:
  wsp bench report one.json two.json              several runs as one, percentiles of the merged histograms
  wsp bench report one.json --html report.html    a run that was kept, as a page
";

/// Examples at the head of the help of `wsp bench compare`.
const COMPARE_EXAMPLES: &str = "\
Examples:
  wsp bench compare localhost:8080 localhost:8081 -d 5s
  wsp bench compare localhost:8080 localhost:8081 --rate 1k --repeat 10 --json
";

/// Flags of `wsp bench report`.
#[derive(Debug, Clone, Args)]
#[command(before_help = REPORT_EXAMPLES)]
pub(crate) struct ReportArgs {
    /// Reports as --json or --ndjson printed them; - is stdin
    #[arg(value_name = "F", required = true)]
    pub files: Vec<PathBuf>,
    /// Where the sum goes.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Flags of `wsp bench compare`.
#[derive(Debug, Clone, Args)]
#[command(before_help = COMPARE_EXAMPLES)]
pub(crate) struct CompareArgs {
    /// First target (A)
    #[arg(value_name = "A")]
    pub a: String,
    /// The other
    #[arg(value_name = "B")]
    pub b: String,
    /// Runs of each target; at least 4 are needed for a decision
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeat: u32,
    /// One JSON object on stdout
    #[arg(long)]
    pub json: bool,
    /// The load of each run.
    #[command(flatten)]
    pub load: LoadArgs,
}

/// Flags that say what is sent, when, and how it is judged.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct LoadArgs {
    /// Connections at the same time
    #[arg(short, long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub connections: u32,
    /// Open this many connections per second
    #[arg(long, value_name = "N/s", value_parser = rate)]
    pub connect_rate: Option<f64>,
    /// Measure for this long [default: 10s]
    #[arg(short, long, value_name = "DUR", value_parser = duration, conflicts_with_all = ["messages", "stages"])]
    pub duration: Option<Duration>,
    /// Measure this many messages
    #[arg(short = 'n', long, value_name = "N", value_parser = count, conflicts_with = "stages")]
    pub messages: Option<u64>,
    /// Send for this long before measuring
    #[arg(long, value_name = "DUR", default_value = "0s", value_parser = duration)]
    pub warmup: Duration,
    /// Open loop: messages per second, over all connections
    ///
    /// Latency is measured from the scheduled send time, so stalls of the target are visible.
    #[arg(long, value_name = "R", value_parser = rate, conflicts_with = "in_flight")]
    pub rate: Option<f64>,
    /// Closed loop: messages in flight on each connection [default: 1]
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub in_flight: Option<u32>,
    /// Open loop, rate over time: 10s:1k ramps to it, 10s:=1k steps
    ///
    /// Each stage is DURATION:RATE. The rate changes linearly from the previous stage's (--rate at first, else 0) to
    /// this one; with = it is constant. The warm-up has the first rate. With a c after the numbers they are
    /// connections: 10s:100c opens up to 100 in 10 s, a later 10s:0c closes them again.
    #[arg(long, value_name = "S")]
    pub stages: Option<String>,
    /// Even or random (Poisson) spacing in open loop
    #[arg(long, value_name = "HOW", default_value = "even", hide_short_help = true)]
    pub spacing: SpacingArg,
    /// echo, push, send or connect
    ///
    /// echo: expect an answer to each message. push: send nothing, count what the server sends. send: do not wait for
    /// answers. connect: open connections and hold them.
    #[arg(long, value_name = "MODE", default_value = "echo", hide_possible_values = true)]
    pub mode: ModeArg,
    /// The first N connections send, and every message should reach all; requires --rate or --stages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), conflicts_with = "in_flight", hide_short_help = true)]
    pub publish: Option<u32>,
    /// Close each connection after N answers and open a new one; 0 (with --mode connect): right after it opens
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "1", hide_short_help = true)]
    pub churn: Option<u64>,
    /// Offer the TLS session of an earlier connection, as browsers do; the report counts resumed sessions
    ///
    /// Without it every handshake is a full one. Each thread has its own sessions; its first handshakes are full, and a
    /// server may refuse to resume. Most useful with --churn.
    #[arg(long, hide_short_help = true)]
    pub tls_resume: bool,
    /// Count a message as lost when it is not answered for this long
    #[arg(long, value_name = "DUR", default_value = "5s", value_parser = duration, hide_short_help = true)]
    pub deadline: Duration,
    /// Threads [default: one per processor, one less for a target on this machine]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), hide_short_help = true)]
    pub threads: Option<u32>,
    /// Connect from these addresses in turn: A,B or 10.0.0.0/24
    ///
    /// Each address has about 28,000 ports per target. For a target at 127.0.0.1 more loopback addresses are used
    /// automatically.
    #[arg(long, value_name = "LIST|CIDR", conflicts_with = "interface", hide_short_help = true)]
    pub source_ip: Option<String>,
    /// Seed of the random choices
    #[arg(long, value_name = "N", default_value_t = 42, hide_short_help = true)]
    pub seed: u64,
    /// What is sent.
    #[command(flatten)]
    pub payload: PayloadArgs,
    /// Exit 40 unless this holds: p99<20ms, loss<0.01%, rate>10k
    ///
    /// Latencies are p50, p99.9, mean and max of response times (of service times in closed loop), or of another kind:
    /// connect.p99,
    /// service.p99, schedule.p99. Shares are loss, errors and reach; counts are lost, duplicated, reordered, corrupt,
    /// unexpected,
    /// unverified, verified and received; rate is messages sent per second. Unless a threshold allows them, unexpected
    /// or corrupt answers fail the run, and so does a run without any answer.
    #[arg(long = "threshold", value_name = "T", help_heading = "Report")]
    pub thresholds: Vec<String>,
    /// Find the highest rate at which this holds: 'p99<20ms,loss=0'
    ///
    /// The rate is doubled from --rate (or 1,000) until it fails, then bisected to 5 %; each step takes --duration, the
    /// last one three times that. A step at which the generator fell behind is repeated. The report gives the highest
    /// rate that held and what ended the search.
    #[arg(long, value_name = "T", conflicts_with_all = ["stages", "messages", "in_flight"], help_heading = "Report")]
    pub find_max: Option<String>,
    /// How the target is reached.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Flags that say what messages are made of.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Payload")]
pub(crate) struct PayloadArgs {
    /// Send this; {{marker}} is replaced by each message's mark
    #[arg(long, value_name = "MSG|@F", conflicts_with_all = ["payload_size", "payload_file"])]
    pub payload: Option<String>,
    /// Send generated payloads of this many bytes [default: 64]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub payload_size: Option<usize>,
    /// Send the lines of this file in turn
    #[arg(long, value_name = "LINES", conflicts_with = "payload_size", hide_short_help = true)]
    pub payload_file: Option<PathBuf>,
    /// Send random JSON objects of --payload-size bytes
    #[arg(long, conflicts_with_all = ["payload", "payload_file", "binary"], hide_short_help = true)]
    pub payload_json: bool,
    /// Send binary messages
    #[arg(short, long, hide_short_help = true)]
    pub binary: bool,
    /// How answers are matched to messages: marker, content, fifo or jq:F
    ///
    /// marker: by a 20-character mark in the payload, which checks every byte and detects each loss, duplicate and
    /// mix-up; the default when the payload has one. content: an answer must equal its message; any other is
    /// unexpected. fifo: by order. jq:F: by an id that the filter yields for both. Without a mark the default is
    /// content as soon as one answer equals its message; until then answers are matched by order, and the run does not
    /// pass.
    #[arg(long, value_name = "HOW", hide_short_help = true)]
    pub r#match: Option<String>,
}

/// Flags that say where reports go.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Report")]
pub(crate) struct OutputArgs {
    /// One JSON object on stdout (wsp.bench/1)
    #[arg(long)]
    pub json: bool,
    /// One JSON line per second, the report last
    #[arg(long, conflicts_with = "json", hide_short_help = true)]
    pub ndjson: bool,
    /// Write per-second figures to F as CSV
    #[arg(long, value_name = "F")]
    pub csv: Option<PathBuf>,
    /// Write an HTML page with charts to F
    #[arg(long, value_name = "F")]
    pub html: Option<PathBuf>,
    /// Write an HDR interval log to F
    #[arg(long, value_name = "F")]
    pub hdr: Option<PathBuf>,
    /// Errors only on stderr
    #[arg(short, long, hide_short_help = true)]
    pub quiet: bool,
}

/// `--mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ModeArg {
    /// Each message is answered
    Echo,
    /// The server speaks
    Push,
    /// Answers are not awaited
    Send,
    /// Nothing is sent
    Connect,
}

/// `--spacing`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SpacingArg {
    /// Evenly
    Even,
    /// Randomly, like independent users
    Poisson,
}
