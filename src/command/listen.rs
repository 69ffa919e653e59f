//! `wsp listen`: a test server.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

mod mode;
mod prompt;
mod slash;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use http::header::HeaderValue;

use super::admin::AdminArgs;
use super::connect::{InputArg, plan};
use super::dashboard::Screen;
use super::faults::FaultArgs;
use super::filters::FilterArgs;
use super::guards::{self, GuardArgs};
use super::names::NameArgs;
use super::options::{FilterLimitArgs, OutputArgs, ProtocolArgs, TlsMin};
use super::values::{duration, rate, size, subprotocol};
use super::{dashboard, script, settings};
use crate::endpoint::ListenAddr;
use crate::error::Error;
use crate::exit::Exit;
use crate::host::Host;
use crate::listen::hub::HubSettings;
use crate::listen::input::InputKind;
use crate::listen::reception::{Reception, TlsSource};
use crate::listen::run::Server;
use crate::listen::site::{Console, Files, Site};
use crate::net::connection::MessageLimits;
use crate::net::connection::io_text;
use crate::net::deflate::DeflateOffer;
use crate::net::head::SpelledName;
use crate::net::origin::Origins;
use crate::net::tls::{ServerDemands, ServerIdentity, TlsVersion};
use crate::queue::OverflowPolicy;
use crate::redact;
use crate::session::driver::DriverSettings;
use crate::session::keepalive::KeepaliveSettings;

/// Examples at the head of the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  wsp listen                             print what arrives, send typed lines to all
  wsp listen 9000 --echo                 an echo server
  wsp listen 9000 --broadcast --no-self  a chat room
  wsp listen :0 --reply-jq '{got: .}' --port-file port
  wsp listen 8443 --tls --tls-ca-out ca.pem --echo
  wsp listen 9000 --exec 'exec cat -n'   a program for each session
";

/// Flags of `wsp listen`.
#[derive(Debug, Clone, Args)]
#[command(before_help = EXAMPLES)]
pub(crate) struct ListenArgs {
    /// PORT, HOST:PORT or unix:PATH; port 0 picks a free one
    #[arg(value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub address: String,
    /// Send each message back
    #[arg(long, group = "mode", help_heading = "Messages")]
    pub echo: bool,
    /// Send each message to all
    #[arg(long, group = "mode", help_heading = "Messages")]
    pub broadcast: bool,
    /// With --broadcast: not back to its sender
    #[arg(long, requires = "broadcast", help_heading = "Messages")]
    pub no_self: bool,
    /// With --broadcast: send what the filter yields in place of the message
    ///
    /// '{from: $meta.session, time: $meta.time, id: uuid, data: .}' tells the others who said it. $meta and $prev are set
    /// as for --ack, and what is not JSON is given as it is there. No output sends nothing.
    #[arg(long, value_name = "JQ", requires = "broadcast", hide_short_help = true, help_heading = "Messages")]
    pub forward_jq: Option<String>,
    /// Answer each message with this; @FILE answers with a file
    #[arg(long, value_name = "MSG", group = "mode", help_heading = "Messages")]
    pub reply: Option<String>,
    /// Answer each message with what the filter yields
    ///
    /// A message that is not JSON has no answer, but with --raw-input. $meta and $prev are set as for --ack.
    #[arg(long, value_name = "F", group = "mode", help_heading = "Messages")]
    pub reply_jq: Option<String>,
    /// Count messages and discard them
    #[arg(long, group = "mode", help_heading = "Messages")]
    pub sink: bool,
    /// Run 'sh -c CMD' for each session, a line for each message
    ///
    /// A message is a line on the program's standard input (a message that holds newlines is several, binary ones get a
    /// newline too), and each line of its standard output is a message: text where it is UTF-8, else binary. Its stderr
    /// goes to that of wsp, a line at a time, with the session in front unless -q. Programs must write their lines as they
    /// come: what buffers (python, sed, grep) has an option against it, or stdbuf -oL.
    ///
    /// It finds the request in CGI's variables: REQUEST_METHOD, REQUEST_URI, PATH_INFO, QUERY_STRING, REMOTE_ADDR,
    /// REMOTE_PORT, SERVER_NAME, SERVER_PORT, HTTPS, UNIQUE_ID (the session, s1) and HTTP_NAME for each header, beside the
    /// environment of wsp itself. Nothing from the request enters the command line. The headers Authorization,
    /// Proxy-Authorization and Proxy are left out, and names with other signs than letters, digits and dashes.
    ///
    /// When the program ends, what it wrote is sent and the session closed: with 1000 after exit status 0, else with
    /// 1011. When the session ends first, its standard input ends; what runs half a second later gets SIGTERM, and
    /// after --exec-grace SIGKILL, together with all it started, unless that went into a session of its own (setsid).
    #[arg(long, value_name = "CMD", group = "mode", help_heading = "Messages")]
    pub exec: Option<String>,
    /// Most programs at a time; others get 503
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = parse_positive, requires = "exec", hide_short_help = true, help_heading = "Messages")]
    pub exec_max: usize,
    /// Time between SIGTERM and SIGKILL
    #[arg(long, value_name = "DUR", default_value = "2s", value_parser = duration, requires = "exec", hide_short_help = true, help_heading = "Messages")]
    pub exec_grace: Duration,
    /// Send messages to all clients, RATE a second to each
    ///
    /// A rate is 500, 0.5 or 2.5k. All clients get the same messages, by default {"seq":1,"time":"…"}; nothing is made
    /// while nobody is connected. The rate is kept without drift: what is late is made up for, what is more than a second
    /// late is skipped and reported. --on-full says what happens to a client that does not keep up.
    #[arg(long, value_name = "RATE", value_parser = rate, group = "mode", help_heading = "Messages")]
    pub push: Option<f64>,
    /// With --push: send this; @FILE sends a file
    #[arg(long, value_name = "MSG|@F", requires = "push", conflicts_with_all = ["payload_size", "payload_file"], hide_short_help = true, help_heading = "Messages")]
    pub payload: Option<String>,
    /// With --push: send a text of so many bytes
    #[arg(long, value_name = "N", value_parser = size, requires = "push", conflicts_with_all = ["payload_file", "template"], hide_short_help = true, help_heading = "Messages")]
    pub payload_size: Option<usize>,
    /// With --push: send the lines of a file in turn
    #[arg(long, value_name = "LINES", requires = "push", hide_short_help = true, help_heading = "Messages")]
    pub payload_file: Option<PathBuf>,
    /// Fill in {{seq}} {{uuid}} {{now}} {{now_ms}} {{env.X}} {{rand(1,100)}} in --reply, --payload or --payload-file
    #[arg(long, hide_short_help = true, help_heading = "Messages")]
    pub template: bool,
    /// How stdin is written: raw lines, or json event lines
    ///
    /// A raw line is a message to all. An event line is what --json prints: type (text, binary, ping, pong, close) and the
    /// payload (text or base64; code and reason for close) are needed. It goes to the sessions it names by id or name, or to all
    /// when it names none; for one that is not there it is dropped, counted and reported. A close takes effect when what was
    /// sent to the session before has gone out. Lines of type open, error and retry are passed over.
    #[arg(long, hide_possible_values = true, value_name = "KIND", hide_short_help = true, help_heading = "Messages")]
    pub input: Option<InputArg>,
    /// Treat messages by the rules in a file
    #[arg(long, value_name = "FILE", group = "mode", hide_short_help = true, help_heading = "Messages", long_help = script::HELP)]
    pub script: Option<PathBuf>,
    /// Besides, answer each message with what the filter yields
    ///
    /// Goes with every way to treat messages, and comes after what that sends. $meta holds session, name, subject, url
    /// (path and query), time, type, size and seq of the message, $prev is the last message before it that
    /// was JSON, null at first. A message that is not JSON is given as the
    /// string of its text, or as null where it is binary: '{ack: $meta.seq}' answers every one.
    #[arg(long, value_name = "JQ", hide_short_help = true, help_heading = "Messages")]
    pub ack: Option<String>,
    /// Serve the files of this folder to plain requests on the same port
    #[arg(long = "static", value_name = "DIR", hide_short_help = true, help_heading = "Web pages")]
    pub files: Option<PathBuf>,
    /// Serve a page at / that connects to this server, sends, and shows and filters messages
    #[arg(long, hide_short_help = true, help_heading = "Web pages")]
    pub devconsole: bool,
    /// Speak this subprotocol; the first of ours that the client offers
    #[arg(short, long = "subprotocol", value_name = "P", value_delimiter = ',', value_parser = subprotocol, help_heading = "Connections")]
    pub subprotocols: Vec<String>,
    /// Add a header to the upgrade answer
    #[arg(short = 'H', long = "header", value_name = "K: V", hide_short_help = true, help_heading = "Connections")]
    pub headers: Vec<String>,
    /// Serve this path only; others get 404
    #[arg(long = "path", value_name = "P", help_heading = "Connections")]
    pub paths: Vec<String>,
    /// Let pages of this origin in, and no others (403); '*' lets all in, 'same' those of the address asked
    ///
    /// Pages that --static and --devconsole serve are let in too, where they were asked for by address or as localhost.
    /// Clients that are no pages send no Origin and are let in.
    ///
    /// Without this option a server on loopback that acts on messages (--exec, --script, printing, --input, a prompt) lets
    /// in pages of this machine only: those of localhost, a loopback address, or its own address. --echo, --sink, --push,
    /// --broadcast, --reply and --reply-jq let in every page.
    #[arg(long = "allow-origin", value_name = "O", hide_short_help = true, help_heading = "Connections")]
    pub allow_origin: Vec<String>,
    /// Agree to permessage-deflate, with these parameters when given
    ///
    /// Without parameters the server compresses each message on its own (server_no_context_takeover), which takes no
    /// memory between messages. --compress=client_max_window_bits compresses similar messages better and takes about
    /// 256 KiB for each connection.
    #[arg(long, value_name = "PARAMS", num_args = 0..=1, require_equals = true, default_missing_value = "", help_heading = "Connections")]
    pub compress: Option<String>,
    /// Longest time for TLS and the request head together, and for each 16 KiB of a download
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration, hide_short_help = true, help_heading = "Connections")]
    pub handshake_timeout: Duration,
    /// Write the port here once it is open
    #[arg(long, value_name = "F", help_heading = "Connections")]
    pub port_file: Option<PathBuf>,
    /// Largest message accepted; a larger one ends with Close 1009
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size, help_heading = "Connections")]
    pub max_message_size: usize,
    /// The same for text messages, where it is another size
    #[arg(long, value_name = "SIZE", value_parser = size, hide_short_help = true, help_heading = "Connections")]
    pub max_text_size: Option<usize>,
    /// The same for binary messages, where it is another size
    #[arg(long, value_name = "SIZE", value_parser = size, hide_short_help = true, help_heading = "Connections")]
    pub max_binary_size: Option<usize>,
    /// What filters may take.
    #[command(flatten)]
    pub filter_limits: FilterLimitArgs,
    /// Messages that may wait for one session
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = parse_positive, help_heading = "Connections")]
    pub queue_size: usize,
    /// Bytes that may wait for one session
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = size, hide_short_help = true, help_heading = "Connections")]
    pub queue_bytes: usize,
    /// drop-oldest, drop-newest, block or disconnect [default: drop-oldest; replies wait]
    #[arg(long, value_name = "WHAT", hide_possible_values = true, help_heading = "Connections")]
    pub on_full: Option<OnFull>,
    /// Certificate chain, PEM
    #[arg(long, value_name = "F", requires = "tls_key", conflicts_with = "tls", help_heading = "Connections")]
    pub tls_cert: Option<PathBuf>,
    /// Key of the certificate, PEM
    #[arg(long, value_name = "F", requires = "tls_cert", help_heading = "Connections")]
    pub tls_key: Option<PathBuf>,
    /// Certificate, chain and key in one PKCS#12 file
    #[arg(long, value_name = "F", conflicts_with_all = ["tls_cert", "tls_key", "tls"], hide_short_help = true, help_heading = "Connections")]
    pub pkcs12: Option<PathBuf>,
    /// Passphrase of the key or the PKCS#12 file, from this environment variable
    #[arg(long, value_name = "V", hide_short_help = true, help_heading = "Connections")]
    pub passphrase_env: Option<String>,
    /// Self-signed certificate for localhost, 127.0.0.1 and ::1
    #[arg(long, help_heading = "Connections")]
    pub tls: bool,
    /// Write the self-signed certificate's CA here, for clients to trust
    #[arg(long, value_name = "F", requires = "tls", help_heading = "Connections")]
    pub tls_ca_out: Option<PathBuf>,
    /// Lowest TLS version
    #[arg(long, value_name = "V", hide_short_help = true, help_heading = "Connections")]
    pub tls_min: Option<TlsMin>,
    /// Time between pings, 0 for none
    #[arg(long, value_name = "DUR", default_value = "30s", value_parser = duration, hide_short_help = true, help_heading = "Connections")]
    pub ping_interval: Duration,
    /// Give a client up when it answers no ping for this long
    #[arg(long, value_name = "DUR", default_value = "90s", value_parser = duration, hide_short_help = true, help_heading = "Connections")]
    pub ping_timeout: Duration,
    /// Close sessions without a message for this long
    #[arg(long, value_name = "DUR", value_parser = duration, hide_short_help = true, help_heading = "Connections")]
    pub idle_timeout: Option<Duration>,
    /// Longest wait for a client's Close
    #[arg(long, value_name = "DUR", default_value = "2s", value_parser = duration, hide_short_help = true, help_heading = "Connections")]
    pub close_timeout: Duration,
    /// Longest time to close all sessions at the end
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration, hide_short_help = true, help_heading = "Connections")]
    pub grace: Duration,
    /// Record everything, as event lines or, where F ends in .har, as HAR; F is overwritten
    #[arg(long, value_name = "F", hide_short_help = true, help_heading = "Messages")]
    pub record: Option<PathBuf>,
    /// What is spoken.
    #[command(flatten)]
    pub protocol: ProtocolArgs,
    /// Who is let in.
    #[command(flatten)]
    pub guards: GuardArgs,
    /// What sessions are called.
    #[command(flatten)]
    pub names: NameArgs,
    /// Show sessions, queues and messages on a dashboard; ? there shows the keys
    #[arg(long, hide_short_help = true, help_heading = "Monitoring")]
    pub tui: bool,
    /// The admin address.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// /health says 503 when nobody was connected for 5 minutes
    #[arg(long, requires = "admin", hide_short_help = true, help_heading = "Monitoring")]
    pub require_clients: bool,
    /// Accept only messages that match this JSON Schema or Avro schema
    #[arg(long, value_name = "F", hide_short_help = true, help_heading = "Messages")]
    pub schema: Option<PathBuf>,
    /// Check what format says in --schema, whatever the draft
    #[arg(long, requires = "schema", hide_short_help = true, help_heading = "Messages")]
    pub assert_format: bool,
    /// What a client gets whose message does not: reply (an error message), close (1008) or drop (nothing)
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "reply",
        requires = "schema",
        hide_possible_values = true,
        hide_short_help = true,
        help_heading = "Messages"
    )]
    pub on_invalid: OnInvalidArg,
    /// Keep such messages here, as event lines with the error; what is there already is kept, too
    #[arg(long, value_name = "F", requires = "schema", hide_short_help = true, help_heading = "Messages")]
    pub dead_letter: Option<PathBuf>,
    /// What filters know and are given.
    #[command(flatten)]
    pub filters: FilterArgs,
    /// What goes wrong on purpose.
    #[command(flatten)]
    pub faults: FaultArgs,
    /// How messages are printed.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// `--on-full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnFull {
    /// The oldest waiting messages make room
    DropOldest,
    /// The new message is dropped
    DropNewest,
    /// The sender waits
    Block,
    /// The slow client is closed with 1008
    Disconnect,
}

/// `--on-invalid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnInvalidArg {
    /// An error message
    Reply,
    /// Close 1008
    Close,
    /// Nothing
    Drop,
}

/// A number above 0.
pub(crate) fn parse_positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("it must be a whole number above 0".to_owned()),
    }
}

/// Runs `wsp listen`.
///
/// # Errors
/// Whatever keeps the server from starting.
pub(crate) async fn run(args: &ListenArgs, host: Host) -> Result<Exit, Error> {
    args.filter_limits.apply();
    let server = server(args, &host)?;
    let colour = server.hub.colour;
    let console = if args.tui {
        let screen = Screen::of(&host, "--tui", "wsp listen")?;
        Some(dashboard::opener(if colour { screen } else { screen.without_colours() }))
    } else {
        server.hub.prefix_sessions.then(|| prompt::opener(&host, colour))
    };
    crate::listen::run::run(server, host, console).await
}

pub(super) fn server(args: &ListenArgs, host: &Host) -> Result<Server, Error> {
    args.filters.set_variables()?;
    let address = ListenAddr::parse(&args.address)
        .map_err(|error| Error::usage(format!("{}: {error}", args.address), "write PORT, HOST:PORT or unix:PATH"))?;
    let mode = mode::of(args)?;
    let input = match args.input {
        Some(_) if !mode.reads_input() => {
            return Err(Error::usage("--input: nothing is read from stdin in this mode", "leave it out"));
        }
        Some(InputArg::Json) => InputKind::Events,
        Some(InputArg::Raw) | None => InputKind::Lines,
    };
    let has_prompt =
        !args.tui && host.stdin_is_terminal && host.stdout_is_terminal && mode.reads_input() && args.input.is_none();
    let acts = mode.acts() || has_prompt || args.input.is_some();
    let pages_otherwise = if acts { Origins::Local } else { Origins::Every };
    let asked_to_print = args.output.json || args.output.format.is_some();
    let (tls, tls_demands) = tls(args)?;
    let headers = args.headers.iter().map(|text| header(text)).collect::<Result<Vec<_>, _>>()?;
    let faults = args.faults.settings().map(Rc::new);
    if let Some(faults) = faults.as_ref().filter(|faults| faults.is_random() && args.faults.seed.is_none())
        && !args.output.quiet
    {
        host.stderr.line(format!("faults are those of --seed {}", faults.seed));
    }
    Ok(Server {
        reception: Reception {
            address,
            tls,
            tls_demands,
            paths: args.paths.clone(),
            origins: Origins::listed(&args.allow_origin, pages_otherwise),
            subprotocols: args.subprotocols.clone(),
            headers: headers.clone(),
            deflate: settings::deflate(args.compress.as_deref(), DeflateOffer::of_server)?,
            handshake_timeout: args.handshake_timeout,
            port_file: args.port_file.clone(),
            limits: MessageLimits {
                text: args.max_text_size.unwrap_or(args.max_message_size),
                binary: args.max_binary_size.unwrap_or(args.max_message_size),
            },
            site: site(args)?,
            bridge: None,
            shown_path: "/".to_owned(),
        },
        record: args.record.clone(),
        dead_letters: args.dead_letter.clone(),
        grace: args.grace,
        admin: args.admin.settings(args.max_message_size, args.require_clients)?,
        input,
        hub: HubSettings {
            print: !args.tui && (mode.prints() || asked_to_print),
            mode,
            ack: args.ack.as_deref().map(|source| settings::filter("--ack", source)).transpose()?,
            format: plan::format(&args.output, host, false),
            session_name: args.names.filter()?,
            under: None,
            prefix_sessions: has_prompt,
            to_terminal: host.stdout_is_terminal,
            colour: plan::colour(args.output.color, host),
            // A person wants to see who comes and goes.
            verbose: args.output.verbose || has_prompt,
            quiet: args.output.quiet,
            queue_size: args.queue_size,
            queue_bytes: args.queue_bytes,
            on_full: args.on_full.map(|policy| match policy {
                OnFull::DropOldest => OverflowPolicy::DropOldest,
                OnFull::DropNewest => OverflowPolicy::DropNewest,
                OnFull::Block => OverflowPolicy::Block,
                OnFull::Disconnect => OverflowPolicy::Disconnect,
            }),
            driver: DriverSettings {
                keepalive: KeepaliveSettings {
                    ping_at_once: false,
                    ping_interval: Some(args.ping_interval).filter(|interval| !interval.is_zero()),
                    ping_timeout: args.ping_timeout,
                    idle_timeout: args.idle_timeout,
                },
                close_timeout: args.close_timeout,
                fragment: args.faults.fragment,
            },
            faults,
            reject: args.faults.rejection(&headers),
            validation: mode::validation(args)?,
            guard: guards::guards(&args.guards)?,
        },
    })
}

/// The server's certificate, and what is asked of clients.
fn tls(args: &ListenArgs) -> Result<(TlsSource, ServerDemands), Error> {
    let tls_demands = ServerDemands {
        min: match args.tls_min {
            Some(TlsMin::V1_3) => TlsVersion::V1_3,
            _ => TlsVersion::V1_2,
        },
        client_ca: args.guards.client_ca.clone(),
        client_ca_passphrase: settings::secret(None, args.guards.client_ca_passphrase_env.as_deref())?,
    };
    let files = settings::identity_files(args.tls_cert.as_ref(), args.tls_key.as_ref(), args.pkcs12.as_ref());
    if args.passphrase_env.is_some() && files.is_none() {
        return Err(Error::usage("--passphrase-env: no key to decrypt", "add --pkcs12, or --tls-cert and --tls-key"));
    }
    let tls = match files {
        Some(files) => {
            let passphrase = settings::secret(None, args.passphrase_env.as_deref())?;
            TlsSource::Files(ServerIdentity { files, passphrase })
        }
        None if args.tls => TlsSource::SelfSigned { ca_out: args.tls_ca_out.clone() },
        None if tls_demands.client_ca.is_some() => {
            return Err(Error::usage("--client-ca needs TLS", "add --tls, --pkcs12, or --tls-cert and --tls-key"));
        }
        None => TlsSource::None,
    };
    Ok((tls, tls_demands))
}

fn site(args: &ListenArgs) -> Result<Site, Error> {
    let folder = |path: &PathBuf| {
        Files::new(path).map_err(|error| {
            let text = format!("--static {}: {}", path.display(), io_text(&error));
            Error::usage(text, "name a folder that can be read")
        })
    };
    let path = args.paths.first().map_or("/", String::as_str);
    if args.devconsole && args.paths.iter().any(|path| path == "/") {
        let text = "--devconsole needs the path /, which --path / keeps for WebSockets";
        return Err(Error::usage(text, "choose another path for one of them, as --path /ws"));
    }
    Ok(Site {
        files: args.files.as_ref().map(folder).transpose()?,
        console: args.devconsole.then(|| Console::new(path, &args.subprotocols)),
    })
}

fn header(text: &str) -> Result<(SpelledName, HeaderValue), Error> {
    let wrong =
        || Error::usage(format!("-H: invalid header '{}'", redact::option("header", text)), "write -H 'Name: value'");
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    let name = SpelledName::parse(name.trim().as_bytes()).map_err(|_| wrong())?;
    let value = HeaderValue::from_str(value.trim()).map_err(|_| wrong())?;
    Ok((name, value))
}
