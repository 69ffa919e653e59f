//! `wsp connect`: a client for the prompt, pipes and scripts.

mod dashboard;
pub(crate) mod plan;
mod prompt;
mod run;
mod slash;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::filters::FoldArgs;
use super::options::{ConnectionArgs, OutputArgs};
use super::values::{duration, frame_size, wait};
use crate::client::plan::Wait;
use crate::client::replay::Speed;
use crate::source::replay::session_number;
pub(crate) use run::run;

/// Examples at the head of the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  wsp connect localhost:8080                          type lines, read replies
  echo '{\"op\":\"ping\"}' | wsp connect ws://localhost:8080/   send, print the reply, end
  wsp connect ws://localhost:8080/ -x hello -n 1      one message out, one back
  wsp connect ws://localhost:8080/ -j .price -r > prices.txt
  wsp connect ws://localhost:8080/ --expect .ok --within 5s -x '{\"ok\":true}'
";

/// Flags of `wsp connect`.
#[derive(Debug, Clone, Args)]
#[command(before_help = EXAMPLES)]
pub(crate) struct ConnectArgs {
    /// ws://, wss:// or bare host:port, or @PROFILE; several URLs are several sessions
    #[arg(value_name = "URL|@PROFILE")]
    pub urls: Vec<String>,
    /// Connect like this "Copy as cURL" line from a browser; @FILE reads it
    ///
    /// Takes the line a browser's network panel copies for a WebSocket request, for bash or for Windows' cmd: its
    /// URL, headers, cookies, origin, subprotocols, credentials, -k, -L, --resolve and certificates. Headers that the
    /// upgrade sets itself are skipped. Your own flags are added and take precedence.
    #[arg(long, value_name = "LINE|@FILE", hide_short_help = true, help_heading = "Connection")]
    pub curl: Option<String>,
    /// Send this instead of stdin, then finish as at end of input
    #[arg(short = 'x', long = "execute", value_name = "MSG|@FILE", help_heading = "Sending")]
    pub execute: Vec<String>,
    /// Receive until silent for DUR; -1: until closed [default: 1s]
    #[arg(short, long, value_name = "DUR|-1", value_parser = wait, allow_hyphen_values = true, help_heading = "Sending")]
    pub wait: Option<Wait>,
    /// Finish after N received messages (with --jq: N that pass it)
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Receiving")]
    pub count: Option<u64>,
    /// Finish when a message matches; exit 42 if none does
    #[arg(long, value_name = "JQ", help_heading = "Receiving")]
    pub expect: Option<String>,
    /// Fail if --expect has not matched after this long
    #[arg(long, value_name = "DUR", value_parser = duration, requires = "expect", help_heading = "Receiving")]
    pub within: Option<Duration>,
    /// Send input as binary messages
    #[arg(short, long, conflicts_with_all = ["hex", "base64", "input"], help_heading = "Sending")]
    pub binary: bool,
    /// Input is hexadecimal, sent as binary
    #[arg(long, conflicts_with_all = ["base64", "input"], help_heading = "Sending")]
    pub hex: bool,
    /// Input is base64, sent as binary
    #[arg(long, hide_short_help = true, conflicts_with = "input", help_heading = "Sending")]
    pub base64: bool,
    /// Format of stdin: raw payload, or json event lines
    ///
    /// An event line is what --json prints; only type (text, binary, ping, pong, close) and the payload (text
    /// or base64; code and reason for close) are needed. A line whose session belongs to this run (s1 is the first URL,
    /// s2 the second) goes to that session only, every other line to all. Lines of type open, error and retry are
    /// ignored.
    #[arg(long, hide_possible_values = true, value_name = "KIND", help_heading = "Sending")]
    pub input: Option<InputArg>,
    /// Messages in stdin end with NUL
    #[arg(short = '0', long, conflicts_with_all = ["delimiter", "whole"], hide_short_help = true, help_heading = "Sending")]
    pub null: bool,
    /// Messages in stdin end with C
    #[arg(long, value_name = "C", conflicts_with = "whole", hide_short_help = true, help_heading = "Sending")]
    pub delimiter: Option<String>,
    /// All of stdin is one message
    #[arg(long, help_heading = "Sending")]
    pub whole: bool,
    /// Print this filter's output; $meta and $prev are set
    ///
    /// $meta holds session, url, time, type, size and seq of the message, $prev is the previous JSON message of the
    /// session, null at first; messages that are not JSON are not filtered and leave $prev unchanged. With --raw-input
    /// the filter gets their text. Each message is one input, so the input function yields nothing.
    #[arg(short, long, value_name = "FILTER", help_heading = "Receiving")]
    pub jq: Option<String>,
    /// State across messages.
    #[command(flatten)]
    pub fold: FoldArgs,
    /// Check received messages against a JSON Schema or an Avro schema, and report mismatches
    ///
    /// FILE is a JSON Schema (draft 2020-12 unless its $schema says otherwise); $ref can refer to its own $defs and to
    /// files beside it; nothing is fetched over the network. A message that does not match, or is not JSON, is still
    /// printed; it is reported on stderr (with --json as an error event) and counted.
    #[arg(long, value_name = "FILE", hide_short_help = true, help_heading = "Receiving")]
    pub schema: Option<PathBuf>,
    /// Enforce "format" in --schema (email, date-time, uri and so on) in every draft
    #[arg(long, requires = "schema", hide_short_help = true, help_heading = "Receiving")]
    pub assert_format: bool,
    /// Exit 42 at the first message that does not match --schema
    #[arg(long, requires = "schema", hide_short_help = true, help_heading = "Receiving")]
    pub fail_on_invalid: bool,
    /// Print strings from the filter without quotes
    #[arg(short, long, help_heading = "Receiving")]
    pub raw_output: bool,
    /// What to do with messages that are not JSON
    #[arg(long, value_name = "WHAT", default_value = "drop", hide_short_help = true, help_heading = "Receiving")]
    pub non_json: NonJsonArg,
    /// Prefix each message with its time
    #[arg(short, long, help_heading = "Receiving")]
    pub timestamps: bool,
    /// Show pings and pongs on stderr
    #[arg(short = 'P', long, hide_short_help = true, help_heading = "Receiving")]
    pub show_ping_pong: bool,
    /// Send each received message back; do not read stdin
    #[arg(long, conflicts_with_all = ["reply_jq", "execute"], help_heading = "Sending")]
    pub echo: bool,
    /// Answer each message with this filter's output; do not read stdin
    #[arg(long, value_name = "F", conflicts_with = "execute", help_heading = "Sending")]
    pub reply_jq: Option<String>,
    /// Split messages into frames of at most N payload bytes
    #[arg(long, value_name = "N", value_parser = frame_size, hide_short_help = true, help_heading = "Sending")]
    pub fragment: Option<usize>,
    /// Record all sessions to FILE
    ///
    /// As event lines or, where FILE ends in .har, as HAR. FILE is overwritten. Events are written within 20 ms and can
    /// be read even after kill -9; the HAR holds the first session, the others go to FILE.part2 and so on and are
    /// merged at the end. Automatic pings and pongs are not recorded, nor are secrets in headers.
    #[arg(long, value_name = "FILE", hide_short_help = true, help_heading = "Recordings")]
    pub record: Option<PathBuf>,
    /// Send the messages of a recording instead of reading stdin
    ///
    /// FILE contains event lines or a HAR, also one exported by a browser or in a .zip (Playwright). With several URLs,
    /// session s1 goes to the first and so on; with one URL all sessions go there. After the last message wsp finishes
    /// as at end of input: -w, -n and --expect apply.
    #[arg(long, value_name = "FILE", hide_short_help = true, conflicts_with_all = ["execute", "echo", "reply_jq", "binary", "hex", "base64", "input", "null", "delimiter", "whole"], help_heading = "Recordings")]
    pub replay: Option<PathBuf>,
    /// Send the recorded close frame after the last message, instead of finishing as at end of input
    #[arg(long, requires = "replay", hide_short_help = true, help_heading = "Recordings")]
    pub replay_close: bool,
    /// Replay N times as fast; max sends without delays
    #[arg(long, value_name = "N|max", value_parser = Speed::parse, default_value = "1", requires = "replay", hide_short_help = true, help_heading = "Recordings")]
    pub speed: Speed,
    /// Send the messages that were sent (out) or received (in)
    #[arg(
        long,
        value_name = "out|in",
        default_value = "out",
        requires = "replay",
        hide_possible_values = true,
        hide_short_help = true,
        help_heading = "Recordings"
    )]
    pub dir: DirArg,
    /// Send only the messages of this session, such as s2, to every URL
    #[arg(long, value_name = "sN", value_parser = session, requires = "replay", hide_short_help = true, help_heading = "Recordings")]
    pub session: Option<usize>,
    /// Show sessions, queues and messages on a dashboard; ? lists its keys
    ///
    /// Stdin is not read and nothing is printed; ended sessions stay listed, and r reconnects them.
    #[arg(long, hide_short_help = true, conflicts_with_all = ["execute", "replay", "echo", "reply_jq", "input", "null", "delimiter", "whole"], help_heading = "Monitoring")]
    pub tui: bool,
    /// wscat's meaning: -x takes no @FILE, --wait is a fixed time. No flag of its own.
    #[arg(skip)]
    pub wscat: bool,
    /// Connection options.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// How messages are printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `--dir`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DirArg {
    /// What was sent
    Out,
    /// What was received
    In,
}

/// `--non-json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NonJsonArg {
    /// It is dropped and counted
    Drop,
    /// It is printed unchanged
    Pass,
    /// The run fails
    Error,
}

/// `--input`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputArg {
    /// Payload, cut into messages
    Raw,
    /// Event lines; only type and payload are needed
    Json,
}

/// Reads `s2`: the second session of a recording.
fn session(text: &str) -> Result<usize, String> {
    session_number(text).ok_or_else(|| "sessions are called s1, s2 and so on".to_owned())
}
