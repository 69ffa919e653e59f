//! `wsp connect`: a client for the prompt, pipes and scripts.

pub mod peer;
pub mod plan;
pub mod run;
pub mod shared;
mod verbose;

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::options::{ConnectionArgs, OutputArgs};
use super::values::{Wait, duration, wait};
use plan::NonJson;

/// Examples at the head of the help.
pub const EXAMPLES: &str = "\
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
pub struct ConnectArgs {
    /// ws://, wss:// or bare host:port; several URLs are several sessions
    #[arg(value_name = "URL", required = true)]
    pub urls: Vec<String>,
    /// Send this, read no stdin, then finish as at end of input
    #[arg(short = 'x', long = "execute", value_name = "MSG|@FILE", help_heading = "Sending")]
    pub execute: Vec<String>,
    /// Receive on until quiet for DUR; -1: until closed [default: 1s]
    #[arg(short, long, value_name = "DUR|-1", value_parser = wait, allow_hyphen_values = true, help_heading = "Sending")]
    pub wait: Option<Wait>,
    /// Finish after N received messages
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Receiving")]
    pub count: Option<u64>,
    /// Finish when a message matches, else exit 42
    #[arg(long, value_name = "JQ", help_heading = "Receiving")]
    pub expect: Option<String>,
    /// Longest time for --expect
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
    /// How stdin is written: raw payload, or json event lines
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
    /// Print what this filter yields; $meta and $prev are set
    #[arg(short, long, value_name = "FILTER", help_heading = "Receiving")]
    pub jq: Option<String>,
    /// Strings the filter yields are printed without quotes
    #[arg(short, long, help_heading = "Receiving")]
    pub raw_output: bool,
    /// What becomes of messages the filter cannot read
    #[arg(long, value_name = "WHAT", default_value = "drop", hide_short_help = true, help_heading = "Receiving")]
    pub non_json: NonJson,
    /// Time before each message
    #[arg(short, long, help_heading = "Receiving")]
    pub timestamps: bool,
    /// Show pings and pongs on stderr
    #[arg(short = 'P', long, hide_short_help = true, help_heading = "Receiving")]
    pub show_ping_pong: bool,
    /// Send back what arrives, and read no stdin
    #[arg(long, conflicts_with_all = ["reply_jq", "execute"], help_heading = "Sending")]
    pub echo: bool,
    /// Answer what arrives with what the filter yields, and read no stdin
    #[arg(long, value_name = "F", conflicts_with = "execute", help_heading = "Sending")]
    pub reply_jq: Option<String>,
    /// Connection options.
    #[command(flatten)]
    pub connection: ConnectionArgs,
    /// How messages are printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `--input`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum InputArg {
    /// Payload, cut into messages
    Raw,
    /// Event lines; only type and payload are needed
    Json,
}
