//! Flags of `wsp relay`.
//!
//! Those of certain endpoints stand with the ends they make. Leaves what they mean to `build` and `ends`.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown, rustdoc::broken_intra_doc_links)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::bins::BinArgs;
use super::files::FileArgs;
use super::http::HttpArgs;
use super::server_args::{EndArgs, EndServerArgs};
use crate::command::admin::AdminArgs;
use crate::command::filters::FoldArgs;
use crate::command::options::{ConnectionArgs, OutputArgs};
use crate::command::spool::SpoolArgs;
use crate::command::values::{duration, positive, rate, size};
use crate::config::{OptionSpec, Setting};

/// Examples at the head of the help.
pub(super) const EXAMPLES: &str = "\
Examples:
  wsp relay ws://localhost:8080/ - --jq '.price'       a stream to standard output
  seq 1000 | wsp relay - ws://localhost:8080/          lines to a server, none lost
  wsp relay ws-listen://127.0.0.1:9000 ws://localhost:8080 --both   a proxy
  wsp relay -f relay.toml                              many pipelines from a file
  wsp relay ws://localhost:8080/ 'kafka://localhost:9092/ticks?key=.id'
  wsp relay 'nats://localhost:4222/ticks?stream=TICKS&durable=wsp' ws://localhost:8080/ --reconnect
";
/// Flags of `wsp relay`.
#[derive(Debug, Clone, Args)]
#[command(before_help = EXAMPLES)]
pub(crate) struct RelayArgs {
    /// Source: -, file:F, exec:C, ws[s]://, @PROFILE, ws[s]-listen://, kafka://, nats://
    #[arg(value_name = "FROM", required_unless_present_any = ["status", "file"])]
    pub from: Option<String>,
    /// Destinations: any of these, http[s]://, postgres://, opensearch+http[s]://, null:
    ///
    /// Each destination gets every message.
    ///
    /// postgres://[USER[:PASSWORD]@]HOST[:PORT]/DATABASE/[SCHEMA.]TABLE writes a row for each message.
    /// ?columns=NAME=JQ,NAME sets the columns; without it they are the fields of the JSON object. ?conflict=nothing or
    /// ?conflict=update&key=NAME,… handles existing rows. Instead of a table, ?sql=STATEMENT&params=JQ,JQ runs a
    /// statement with the outputs of the filters as $1, $2. ?sslmode=disable|prefer|require and the TLS options apply.
    ///
    /// opensearch+http[s]://[USER:PASSWORD@]HOST:PORT/INDEX (or elasticsearch+…) writes a document for each message, in
    /// _bulk requests. ?id=JQ is its id, ?action=index|create|update handles an existing one; {JQ} in INDEX is replaced
    /// by the filter's output. ?routing=JQ, ?pipeline=NAME and ?refresh=true|wait_for are passed on.
    ///
    /// Only the rejected row or document becomes a dead letter, with the reason.
    #[arg(value_name = "TO", required_unless_present_any = ["status", "file"])]
    pub to: Vec<String>,
    /// Run the pipelines of a file; reload it on SIGHUP
    ///
    /// Each is a [[pipeline]] table with from, to (an array), optionally name, and any long option by its name; options
    /// that can be repeated are arrays. Flags and WSP_* variables are the defaults of every pipeline; --admin, --record
    /// and --check are for the whole run. All errors in the file
    /// are reported together.
    ///
    /// On SIGHUP unchanged pipelines keep running, and failed ones restart. Changed or removed ones stop reading and
    /// deliver their queues within --grace; then the new ones start. A file with errors changes nothing. A pipeline
    /// that fails does not stop the others.
    #[arg(short, long, value_name = "RELAY.TOML", conflicts_with_all = ["from", "status"])]
    pub file: Option<PathBuf>,
    /// Check flags and the pipeline file without opening anything
    #[arg(long, conflicts_with = "status", hide_short_help = true)]
    pub check: bool,
    /// The options there are, for the file.
    #[arg(skip)]
    pub options: Vec<OptionSpec>,
    /// What was given beside the file.
    #[arg(skip)]
    pub given: Vec<Setting>,
    /// Choose and transform; each output is a message
    #[arg(short, long, value_name = "F", help_heading = "Messages")]
    pub jq: Option<String>,
    /// State across messages.
    #[command(flatten)]
    pub fold: FoldArgs,
    /// What to do with messages that --jq, --fold and --route cannot read: drop, pass, or error (dead letter)
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "drop",
        hide_possible_values = true,
        hide_short_help = true,
        help_heading = "Messages"
    )]
    pub non_json: NonJsonArg,
    /// Pass only messages that match this JSON or Avro schema
    #[arg(long, value_name = "F", help_heading = "Messages")]
    pub schema: Option<PathBuf>,
    /// Enforce "format" in --schema in every draft
    #[arg(long, requires = "schema", hide_short_help = true, help_heading = "Messages")]
    pub assert_format: bool,
    /// Send matching messages to ENDPOINT, the others to TO
    ///
    /// 'JQ => ENDPOINT => JQ' sends the second filter's output instead of the message, or nothing if there is none. In
    /// a pipeline file a route may be a table: [[pipeline.route]] with when, to and optionally jq.
    #[arg(long = "route", value_name = "JQ=>ENDPOINT", help_heading = "Messages")]
    pub routes: Vec<String>,
    /// Send a message to every matching route
    #[arg(long, requires = "routes", hide_short_help = true, help_heading = "Messages")]
    pub route_all: bool,
    /// Both directions: messages from TO go to FROM
    #[arg(long, help_heading = "Messages")]
    pub both: bool,
    /// Format of lines from standard input, files and programs: raw or json (event lines)
    ///
    /// By default standard input and programs are raw; a file is detected by its first line, so a recording or dead
    /// letters are read as event lines.
    #[arg(long, value_name = "HOW", hide_possible_values = true, hide_short_help = true, help_heading = "Messages")]
    pub input: Option<InputArg>,
    /// Batches.
    #[command(flatten)]
    pub bins: BinArgs,
    /// What waits for destinations.
    #[command(flatten)]
    pub queue: QueueArgs,
    /// Show endpoints, queues and messages on a dashboard; ? lists its keys
    #[arg(long, hide_short_help = true, help_heading = "Monitoring")]
    pub tui: bool,
    /// `file:` ends.
    #[command(flatten)]
    pub files: FileArgs,
    /// `ws-listen://` ends, as servers.
    #[command(flatten)]
    pub server: EndServerArgs,
    /// `ws-listen://` ends, as ends.
    #[command(flatten)]
    pub ends: EndArgs,
    /// `http://` ends.
    #[command(flatten)]
    pub http: HttpArgs,
    /// Record what passes, as event lines or, where F ends in .har, as HAR; F is overwritten
    ///
    /// WebSocket ends are recorded completely, in both directions and as on the wire; other ends only what they send.
    #[arg(long, value_name = "F", hide_short_help = true, help_heading = "Messages")]
    pub record: Option<PathBuf>,
    /// The admin address.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Make /health return 503 when no WebSocket connection was open for 5 minutes
    #[arg(long, requires = "admin", hide_short_help = true, help_heading = "Monitoring")]
    pub require_clients: bool,
    /// How messages are printed.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Client ends.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// Flags about what waits for destinations.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Queue")]
pub(crate) struct QueueArgs {
    /// Queue size per destination, in messages
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = positive)]
    pub queue_size: usize,
    /// Queue size per destination, in bytes
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size, hide_short_help = true)]
    pub queue_bytes: usize,
    /// When full: block, drop-oldest, drop-newest, spool
    #[arg(long, value_name = "WHAT", default_value = "block", hide_possible_values = true)]
    pub on_full: OnFull,
    /// Keep undeliverable messages in a file or at an endpoint
    ///
    /// They are event lines with the reason in error; wsp relay file:F TO sends them again. Dead letters (dropped
    /// without this option) are messages that a destination rejects, that do not match --schema or cannot be read, and
    /// those queued for a destination that fails permanently (--reconnect=N).
    #[arg(long, value_name = "F|ENDPOINT")]
    pub dead_letter: Option<String>,
    /// What is kept on disk.
    #[command(flatten)]
    pub spool: SpoolArgs,
    /// Maximum number of messages per second to all destinations together
    ///
    /// Excess messages wait in the queues. Each copy to a destination counts, and so does each retry. With --both each
    /// direction has its own rate.
    #[arg(long, value_name = "R", value_parser = rate, hide_short_help = true)]
    pub rate: Option<f64>,
    /// Dropped messages are a failure (exit 31)
    #[arg(long, hide_short_help = true)]
    pub fail_on_drop: bool,
    /// Time limit for delivering queued messages at the end
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration, hide_short_help = true)]
    pub grace: Duration,
}

/// `--non-json`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NonJsonArg {
    /// It is filtered out
    Drop,
    /// It goes on unchanged
    Pass,
    /// It is a dead letter
    Error,
}

/// `--input`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum InputArg {
    /// A line is a message
    Raw,
    /// A line is an event line
    Json,
}

/// `--on-full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnFull {
    /// The source waits
    Block,
    /// The oldest waiting messages make room
    DropOldest,
    /// The new message is dropped
    DropNewest,
    /// What does not fit in memory goes to the spool
    Spool,
}
