//! `wsp listen`: a test server.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

mod mode;
mod prompt;
mod slash;

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use http::header::HeaderValue;

use self::mode::{ModeArgs, ShapeArgs};
use super::admin::AdminArgs;
use super::connect::{InputArg, plan};
use super::dashboard::Screen;
use super::faults::FaultArgs;
use super::filters::FilterArgs;
use super::options::{FilterLimitArgs, OutputArgs};
use super::server_args::ServerArgs;
use super::values::duration;
use super::{dashboard, settings};
use crate::endpoint::ListenAddr;
use crate::error::Error;
use crate::exit::Exit;
use crate::host::Host;
use crate::listen::config::{ServerConfig, TlsSource};
use crate::listen::input::InputKind;
use crate::listen::run::Server;
use crate::listen::site::{Console, Files, Site};
use crate::message::io_text::io_text;
use crate::net::head::SpelledName;
use crate::net::origin::Origins;
use crate::redact;
use crate::session::driver::DriverSettings;

/// Examples at the head of the help.
pub(crate) const EXAMPLES: &str = "\
Examples:
  wsp listen                             print received messages, send typed lines to all
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
    /// What happens to messages.
    #[command(flatten)]
    pub mode: ModeArgs,
    /// Pages.
    #[command(flatten)]
    pub site: SiteArgs,
    /// Add a header to the upgrade answer
    #[arg(short = 'H', long = "header", value_name = "K: V", hide_short_help = true, help_heading = "Connections")]
    pub headers: Vec<String>,
    /// What filters may take.
    #[command(flatten)]
    pub filter_limits: FilterLimitArgs,
    /// Record everything, as event lines or, where F ends in .har, as HAR; F is overwritten
    #[arg(long, value_name = "F", hide_short_help = true, help_heading = "Messages")]
    pub record: Option<PathBuf>,
    /// What every server takes.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Time limit for closing all sessions at the end
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration, hide_short_help = true, help_heading = "Connections")]
    pub grace: Duration,
    /// Show sessions, queues and messages on a dashboard; ? lists its keys
    #[arg(long, hide_short_help = true, help_heading = "Monitoring")]
    pub tui: bool,
    /// The admin address.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Make /health return 503 when no client was connected for 5 minutes
    #[arg(long, requires = "admin", hide_short_help = true, help_heading = "Monitoring")]
    pub require_clients: bool,
    /// The shape of messages.
    #[command(flatten)]
    pub shape: ShapeArgs,
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

/// Flags about plain requests.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Web pages")]
pub(crate) struct SiteArgs {
    /// Serve the files of this directory over HTTP on the same port
    #[arg(long = "static", value_name = "DIR", hide_short_help = true)]
    pub files: Option<PathBuf>,
    /// Serve a page at / that connects to this server to send, show and filter messages
    #[arg(long, hide_short_help = true)]
    pub devconsole: bool,
}

/// Runs `wsp listen`.
///
/// # Errors
/// Whatever keeps the server from starting.
pub(crate) async fn run(args: &ListenArgs, host: Host) -> Result<Exit, Error> {
    args.filter_limits.apply();
    let server = server(args, &host)?;
    let colour = server.config.colour;
    let console = if args.tui {
        let screen = Screen::of(&host, "--tui", "wsp listen")?;
        Some(dashboard::opener(if colour { screen } else { screen.without_colours() }))
    } else {
        server.config.prefix_sessions.then(|| prompt::opener(&host, colour))
    };
    crate::listen::run::run(server, host, console).await
}

pub(super) fn server(args: &ListenArgs, host: &Host) -> Result<Server, Error> {
    args.filters.set_variables()?;
    let address = ListenAddr::parse(&args.address)
        .map_err(|error| Error::usage(format!("{}: {error}", args.address), "write PORT, HOST:PORT or unix:PATH"))?;
    let mode = mode::of(args)?;
    let asked_for_input = args.mode.input;
    let input = match asked_for_input {
        Some(_) if !mode.reads_input() => {
            return Err(Error::usage("--input: this mode does not read stdin", "leave it out"));
        }
        Some(InputArg::Json) => InputKind::Events,
        Some(InputArg::Raw) | None => InputKind::Lines,
    };
    let has_prompt = !args.tui
        && host.stdin_is_terminal
        && host.stdout_is_terminal
        && mode.reads_input()
        && asked_for_input.is_none();
    let acts = mode.acts() || has_prompt || asked_for_input.is_some();
    let pages_otherwise = if acts { Origins::Local } else { Origins::Every };
    let asked_to_print = args.output.json || args.output.format.is_some();
    let shared = args.server.config(address, certificate(&args.server)?, pages_otherwise)?;
    let headers = args.headers.iter().map(|text| header(text)).collect::<Result<Vec<_>, _>>()?;
    let faults = args.faults.settings().map(Rc::new);
    if let Some(faults) = faults.as_ref().filter(|faults| faults.is_random() && args.faults.seed.is_none())
        && !args.output.quiet
    {
        host.stderr.line(format!("faults are those of --seed {}", faults.seed));
    }
    Ok(Server {
        config: ServerConfig {
            site: site(args)?,
            reject: args.faults.rejection(&headers),
            headers,
            print: !args.tui && (mode.prints() || asked_to_print),
            mode,
            ack: args.mode.ack.as_deref().map(|source| settings::filter("--ack", source)).transpose()?,
            validation: mode::validation(&args.shape)?,
            faults,
            driver: DriverSettings { fragment: args.faults.fragment, ..shared.driver },
            format: plan::format(&args.output, host, false),
            prefix_sessions: has_prompt,
            to_terminal: host.stdout_is_terminal,
            colour: plan::colour(args.output.color, host),
            // A person wants to see who comes and goes.
            verbose: args.output.verbose || has_prompt,
            quiet: args.output.quiet,
            ..shared
        },
        record: args.record.clone(),
        dead_letters: args.shape.dead_letter.clone(),
        grace: args.grace,
        admin: args.admin.settings(args.server.max_message_size, args.require_clients)?,
        input,
    })
}

/// Where the server's certificate comes from.
fn certificate(args: &ServerArgs) -> Result<TlsSource, Error> {
    let tls = args.certificate()?;
    if args.passphrase_env.is_some() && !matches!(tls, TlsSource::Files(_)) {
        return Err(Error::usage("--passphrase-env: no key to decrypt", "add --pkcs12, or --tls-cert and --tls-key"));
    }
    if args.guards.client_ca.is_some() && matches!(tls, TlsSource::None) {
        return Err(Error::usage("--client-ca needs TLS", "add --tls, --pkcs12, or --tls-cert and --tls-key"));
    }
    Ok(tls)
}

fn site(args: &ListenArgs) -> Result<Site, Error> {
    let folder = |path: &PathBuf| {
        Files::new(path).map_err(|error| {
            let text = format!("--static {}: {}", path.display(), io_text(&error));
            Error::usage(text, "name a readable directory")
        })
    };
    let path = args.server.paths.first().map_or("/", String::as_str);
    if args.site.devconsole && args.server.paths.iter().any(|path| path == "/") {
        let text = "--devconsole needs the path /, which --path / keeps for WebSockets";
        return Err(Error::usage(text, "choose another path for one of them, as --path /ws"));
    }
    Ok(Site {
        files: args.site.files.as_ref().map(folder).transpose()?,
        console: args.site.devconsole.then(|| Console::new(path, &args.server.subprotocols)),
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
