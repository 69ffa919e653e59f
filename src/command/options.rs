//! Groups of flags that several subcommands share, as clap sees them.
//!
//! Owns spelling and help of the connection options and of what is printed. Turning them into
//! settings of the core is [`super::settings`]' business.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::filters::FilterArgs;
use super::values::{UNLIMITED, duration, positive, retries, size, subprotocol};
use crate::filter::apart;
use crate::net::tls::TlsVersion;
use crate::session::reconnect::{DEFAULT_RETRY_ON, Limit, RetryOn};

/// Connection options: how a client end reaches its server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectionArgs {
    /// Add a header, or the lines of @FILE; 'K:' removes a default one
    #[arg(short = 'H', long = "header", value_name = "K: V|@FILE")]
    pub headers: Vec<String>,
    /// Basic authentication, USER:PASSWORD or @FILE
    #[arg(short, long, value_name = "U:P")]
    pub user: Option<String>,
    /// Take USER:PASSWORD from this environment variable, or from two: USER_VAR,PASSWORD_VAR
    #[arg(long, value_name = "VAR", conflicts_with = "user", hide_short_help = true)]
    pub user_env: Option<String>,
    /// Bearer token, or @FILE (read at every connection attempt)
    #[arg(long, value_name = "T|@FILE")]
    pub bearer: Option<String>,
    /// Run this at every connection attempt and send its output as bearer token
    ///
    /// CMD runs with sh -c; surrounding white space is removed from its output. An exit status other than 0, no output,
    /// or no end within --connect-timeout is a failed attempt. In wsp relay, an http:// destination runs it for every
    /// connection and after every 401.
    #[arg(long, value_name = "CMD", conflicts_with_all = ["bearer", "bearer_env"], hide_short_help = true)]
    pub bearer_command: Option<String>,
    /// Take the bearer token from this environment variable
    #[arg(long, value_name = "VAR", conflicts_with = "bearer", hide_short_help = true)]
    pub bearer_env: Option<String>,
    /// Send a cookie, NAME=VALUE
    #[arg(long = "cookie", value_name = "K=V", hide_short_help = true)]
    pub cookies: Vec<String>,
    /// Origin header
    #[arg(short, long, value_name = "URL")]
    pub origin: Option<String>,
    /// Offer a subprotocol; the first is preferred
    #[arg(short, long = "subprotocol", value_name = "P", value_delimiter = ',', value_parser = subprotocol)]
    pub subprotocols: Vec<String>,
    /// Host header, if different from the URL's host
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub host: Option<String>,
    /// Send this after every open, in order; @FILE sends a file
    #[arg(short, long = "init", value_name = "MSG|@FILE")]
    pub init: Vec<String>,
    /// Wait for a message that matches before the next init message
    ///
    /// Given once, it applies after every init message but the last. Given once per init message, each applies after
    /// its own, the last one before anything else is sent.
    #[arg(long, value_name = "JQ", hide_short_help = true)]
    pub init_wait: Vec<String>,
    /// After a reconnect, send MSG with {{value}} replaced by the last value JQ yielded
    ///
    /// JQ runs on every received message; outputs that are null or false are ignored. Once there is a value, MSG is
    /// sent on every later connection after the init messages: '.seq => {"op":"resume","after":{{value}}}'. A string is
    /// inserted without its quotes, everything else as JSON. MSG may use everything --template knows.
    #[arg(long, value_name = "JQ=>MSG", hide_short_help = true)]
    pub resume: Option<String>,
    /// Accept any certificate
    #[arg(short = 'k', long)]
    pub insecure: bool,
    /// Trust only the certificates in this file (PEM or PKCS#12)
    #[arg(long, value_name = "F")]
    pub cacert: Option<PathBuf>,
    /// Passphrase of a PKCS#12 file given to --cacert, from this environment variable
    ///
    /// Without it such a file is opened with --passphrase-env.
    #[arg(long, value_name = "V", requires = "cacert", hide_short_help = true)]
    pub cacert_passphrase_env: Option<String>,
    /// Client certificate, PEM
    #[arg(long, value_name = "F", hide_short_help = true)]
    pub cert: Option<PathBuf>,
    /// Key of the client certificate, PEM
    ///
    /// In relay without --cert: a jq filter whose output is the key of each message to Kafka, as ?key=JQ.
    #[arg(long, value_name = "F", hide_short_help = true)]
    pub key: Option<PathBuf>,
    /// Passphrase of the key or PKCS#12 file, from this environment variable
    #[arg(long, value_name = "V", hide_short_help = true)]
    pub passphrase_env: Option<String>,
    /// Passphrase of the key in the open, as wscat takes it. No flag of its own.
    #[arg(skip)]
    pub passphrase: Option<String>,
    /// Client certificate and key as PKCS#12
    #[arg(long, value_name = "F", conflicts_with_all = ["cert", "key"], hide_short_help = true)]
    pub pkcs12: Option<PathBuf>,
    /// Lowest TLS version
    #[arg(long, value_name = "V", hide_short_help = true)]
    pub tls_min: Option<TlsMin>,
    /// Server name to request and verify, if different from the URL's host
    #[arg(long, value_name = "NAME", hide_short_help = true)]
    pub sni: Option<String>,
    /// Follow redirects
    #[arg(short = 'L', long, hide_short_help = true)]
    pub location: bool,
    /// Maximum number of redirects
    #[arg(long, value_name = "N", default_value_t = 10, hide_short_help = true)]
    pub max_redirects: u32,
    /// Go through this proxy: http, https, socks5 or socks5h://HOST:PORT, U:P@ before the host; '' for none
    ///
    /// By default https_proxy is used for wss, http_proxy for ws, all_proxy for either, and no proxy for hosts in
    /// no_proxy, as in curl. All but http_proxy may be in capitals. With socks5h the proxy resolves names.
    #[arg(long, value_name = "URL", conflicts_with = "unix_socket", hide_short_help = true)]
    pub proxy: Option<String>,
    /// Connect to ADDR for HOST:PORT instead of resolving it
    #[arg(long = "resolve", value_name = "HOST:PORT:ADDR", hide_short_help = true)]
    pub resolve: Vec<String>,
    /// Connect to this unix socket instead of the URL's host
    #[arg(long, value_name = "PATH", hide_short_help = true)]
    pub unix_socket: Option<PathBuf>,
    /// Local address to connect from
    #[arg(long, value_name = "ADDR", hide_short_help = true)]
    pub interface: Option<IpAddr>,
    /// Use IPv4 only
    #[arg(short = '4', long, conflicts_with = "ipv6", hide_short_help = true)]
    pub ipv4: bool,
    /// Use IPv6 only
    #[arg(short = '6', long, hide_short_help = true)]
    pub ipv6: bool,
    /// Offer permessage-deflate, with these parameters if given
    #[arg(long, value_name = "PARAMS", num_args = 0..=1, require_equals = true, default_missing_value = "", hide_short_help = true)]
    pub compress: Option<String>,
    /// Do not offer permessage-deflate
    #[arg(long, conflicts_with = "compress", hide_short_help = true)]
    pub no_compress: bool,
    /// Maximum message size; larger ones get close code 1009
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size, hide_short_help = true)]
    pub max_message_size: usize,
    /// What filters may take.
    #[command(flatten)]
    pub filter_limits: FilterLimitArgs,
    /// Time limit for lookup, TCP, TLS and upgrade together
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration, hide_short_help = true)]
    pub connect_timeout: Duration,
    /// Stop after this long (exit 124)
    #[arg(long, value_name = "DUR", value_parser = duration)]
    pub timeout: Option<Duration>,
    /// Stop when no message is sent or received for this long (exit 9)
    #[arg(long, value_name = "DUR", value_parser = duration, hide_short_help = true)]
    pub idle_timeout: Option<Duration>,
    /// How long to wait for the peer's close frame
    #[arg(long, value_name = "DUR", default_value = "2s", value_parser = duration, hide_short_help = true)]
    pub close_timeout: Duration,
    /// Send a ping at this interval; 0: never
    #[arg(long, value_name = "DUR", default_value = "20s", value_parser = duration, hide_short_help = true)]
    pub ping_interval: Duration,
    /// Disconnect when no pong arrives for this long (exit 9)
    #[arg(long, value_name = "DUR", default_value = "20s", value_parser = duration, hide_short_help = true)]
    pub ping_timeout: Duration,
    /// Send this message at intervals
    #[arg(long, value_name = "MSG", hide_short_help = true)]
    pub heartbeat: Option<String>,
    /// Time between heartbeats
    #[arg(long, value_name = "DUR", default_value = "30s", value_parser = duration, hide_short_help = true)]
    pub heartbeat_interval: Duration,
    /// Answer matching messages with MSG; {{value}} is replaced by JQ's output
    ///
    /// A text-level ping of the server is answered: '.ping => {"pong":{{value}}}' turns {"ping":7} into
    /// {"pong":7}. MSG is sent when the first output of JQ is neither false nor null. {{value}} is that
    /// output, a string without its quotes (write tojson in JQ to keep them), everything else as
    /// JSON. MSG may use everything --template knows, with or without that flag.
    #[arg(long, value_name = "JQ=>MSG", hide_short_help = true)]
    pub heartbeat_reply: Option<String>,
    /// Reconnect when the connection fails, at most N times in a row
    ///
    /// That is after a lost connection, a close code other than 1000, or a failure to connect, including the first (see
    /// --retry-on). A session shorter than --stable-after counts as a failure.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = UNLIMITED, value_parser = retries)]
    pub reconnect: Option<Limit>,
    /// Maximum delay before the first reconnect
    #[arg(long, value_name = "DUR", default_value = "1s", value_parser = duration, hide_short_help = true)]
    pub retry_delay: Duration,
    /// Maximum delay before any reconnect, also when Retry-After asks for more
    #[arg(long, value_name = "DUR", default_value = "60s", value_parser = duration, hide_short_help = true)]
    pub retry_max: Duration,
    /// Multiply the delay by this after each failure; 1 is a fixed delay
    #[arg(long, value_name = "X", default_value_t = 2.0, hide_short_help = true)]
    pub retry_factor: f64,
    /// Add this to the delay after each failure, instead of multiplying it
    #[arg(long, value_name = "DUR", conflicts_with = "retry_factor", value_parser = duration, hide_short_help = true)]
    pub retry_step: Option<Duration>,
    /// full: each delay is random, up to its maximum; none: it is the maximum [default: full; none when delays are fixed]
    #[arg(long, hide_possible_values = true, value_name = "full|none", hide_short_help = true)]
    pub retry_jitter: Option<JitterArg>,
    /// HTTP statuses and close codes to reconnect after: 429, 5xx, 1001-1015, all, none, default
    ///
    /// The list replaces the default; default,401 adds to it. all includes 1000 and 4xx. Lost connections and
    /// unreachable addresses are always retried. In wsp relay it also applies to the answers of http:// destinations.
    #[arg(long, value_name = "LIST", default_value = DEFAULT_RETRY_ON, value_parser = RetryOn::parse, hide_short_help = true)]
    pub retry_on: RetryOn,
    /// After a session has lasted this long, reset the delay and the count of retries
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration, hide_short_help = true)]
    pub stable_after: Duration,
    /// Fill in {{seq}} {{uuid}} {{now}} {{now_ms}} {{env.X}} {{rand(1,100)}} in messages to send
    ///
    /// Applies to stdin (including the text of event lines), -x, --init and --heartbeat.
    /// {{seq}} counts filled-in messages of the run from 1; {{uuid}} is a random UUID; {{now}} the time
    /// as in event lines, {{now_ms}} in milliseconds since 1970; {{env.X}} the environment variable X, an
    /// error when it is not set ({{env.X | default('a')}} is none); {{rand(1,100)}} a whole number from 1 to 100.
    /// Each use is a fresh value. Jinja's if, for, set and filters work; a literal {{ is {{'{{'}}.
    /// --binary, --hex and --base64 apply to the result. A mistake ends the run with exit 7, before connecting if it
    /// can be detected then.
    #[arg(long, hide_short_help = true)]
    pub template: bool,
    /// What filters know and are given.
    #[command(flatten)]
    pub filters: FilterArgs,
}

/// What is spoken on top of messages.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Messages")]
pub(crate) struct ProtocolArgs {
    /// Speak feed, envelope or gateway on top of messages
    ///
    /// feed: clients register with filters and get the events that pass; events come from stdin. envelope: data is
    /// acknowledged; either side may request status, capabilities, back pressure, a subscription or a replay. gateway:
    /// each client message is validated, answered, and sent to all others.
    #[arg(long, value_name = "P", group = "mode", hide_possible_values = true)]
    pub protocol: Option<ProtocolArg>,
    /// feed: match filter NAME against the output of JQ; a new NAME adds a list of allowed values
    #[arg(long = "feed-field", value_name = "NAME=JQ", hide_short_help = true)]
    pub feed_fields: Vec<String>,
    /// feed: time limit for a client to register
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration, hide_short_help = true)]
    pub register_timeout: Duration,
    /// envelope: send this request to every peer, for example 'subscribe={"jq":".price > 100"}'
    #[arg(long = "request", value_name = "METHOD=PARAMS", hide_short_help = true)]
    pub requests: Vec<String>,
    /// envelope: how long to wait for a reply
    #[arg(long, value_name = "DUR", default_value = "30s", value_parser = duration, hide_short_help = true)]
    pub request_timeout: Duration,
    /// envelope: messages that may wait for an acknowledgement
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = positive, hide_short_help = true)]
    pub window: usize,
    /// envelope: maximum number of pending requests per direction
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = positive, hide_short_help = true)]
    pub max_requests: usize,
    /// envelope: number of messages kept for replay
    #[arg(long, value_name = "N", default_value_t = 1000, hide_short_help = true)]
    pub replay_size: usize,
}

/// `--protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProtocolArg {
    /// Plain messages
    Raw,
    /// Events for clients that register with filters
    Feed,
    /// Envelopes with acknowledgements and requests
    Envelope,
    /// A chat-like gateway
    Gateway,
}

/// `--tls-min`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TlsMin {
    /// TLS 1.2
    #[value(name = "1.2")]
    V1_2,
    /// TLS 1.3
    #[value(name = "1.3")]
    V1_3,
}

impl TlsMin {
    /// Returns the lowest version where the flag may be given.
    pub(crate) fn version(min: Option<Self>) -> TlsVersion {
        match min {
            Some(Self::V1_3) => TlsVersion::V1_3,
            Some(Self::V1_2) | None => TlsVersion::V1_2,
        }
    }
}

/// `--retry-jitter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum JitterArg {
    /// Random delays up to the maximum
    Full,
    /// The maximum
    None,
}

/// What a jq filter may take.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct FilterLimitArgs {
    /// Time limit of a jq filter per message, 0 for none
    #[arg(long, value_name = "DUR", default_value = "5s", value_parser = duration, hide_short_help = true, help_heading = "Messages")]
    pub jq_timeout: Duration,
    /// Memory limit of a jq filter per message
    #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size, hide_short_help = true, help_heading = "Messages")]
    pub jq_memory: usize,
}

impl FilterLimitArgs {
    /// Sets these limits for the process.
    pub(crate) fn apply(self) {
        let time = Some(self.jq_timeout).filter(|time| !time.is_zero());
        apart::limit(apart::Limits { time, memory: self.jq_memory as u64 });
    }
}

/// How received messages are printed.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Receiving")]
pub(crate) struct OutputArgs {
    /// Event lines on stdout (same as --format json)
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// raw, json, pretty or hex [default: raw; pretty on a terminal]
    #[arg(long, hide_possible_values = true, value_name = "FORMAT")]
    pub format: Option<FormatArg>,
    /// Colours on stdout
    #[arg(long, value_name = "WHEN", default_value = "auto", hide_short_help = true)]
    pub color: ColorArg,
    /// Handshake, TLS and timings on stderr
    #[arg(short, long)]
    pub verbose: bool,
    /// Errors only on stderr
    #[arg(short, long)]
    pub quiet: bool,
}

/// `--format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FormatArg {
    /// As received, text with one newline
    Raw,
    /// Event lines
    Json,
    /// Indented where it is JSON
    Pretty,
    /// Bytes in hexadecimal
    Hex,
}

/// `--color`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorArg {
    /// On a terminal
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}
