//! `wsp top`: the dashboard of processes that run elsewhere, through their admin addresses.
//!
//! Owns reading the addresses and the run. Leaves looking and acting to `tui`.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use std::future::poll_fn;
use std::path::PathBuf;
use std::task::Poll;
use std::time::Duration;

use clap::Args;

use super::dashboard::Screen;
use super::options::ColorArg;
use super::{connect, proxies, settings};
use crate::endpoint::WsTarget;
use crate::error::Error;
use crate::exit::Exit;
use crate::host::{Host, Signals, StopSignal};
use crate::net::connector::{ConnectOptions, Connector};
use crate::net::credentials::{Credentials, Secret};
use crate::net::dial::DialOptions;
use crate::net::tls::ClientTls;
use crate::redact;
use crate::tui::remote::Far;
use crate::tui::source::Source;

const EXAMPLES: &str = "\
Examples:
  wsp listen 8080 --echo --admin 9090       something to watch
  wsp top localhost:9090                    watch it; q quits, the process keeps running
  wsp top localhost:9090 --control          allow sending, closing and reconnecting
  wsp top localhost:9090 localhost:9091     several at once
";

/// For look-up, TCP and TLS.
const CONNECT: Duration = Duration::from_secs(5);

/// Flags of `wsp top`.
#[derive(Debug, Clone, Args)]
#[command(before_help = EXAMPLES)]
pub(crate) struct TopArgs {
    /// Admin addresses: http://HOST:PORT, HOST:PORT, PORT or unix:PATH
    ///
    /// An unreachable address is shown as LOST and retried until it answers. With several processes each line starts
    /// with the address.
    #[arg(value_name = "URL", required = true)]
    pub urls: Vec<String>,
    /// Allow sending, closing and reconnecting; without it the dashboard only looks
    #[arg(long)]
    pub control: bool,
    /// Send the token in this environment variable as Authorization: Bearer
    #[arg(long, value_name = "VAR")]
    pub token_env: Option<String>,
    /// Trust only the certificates in this PEM file (https)
    #[arg(long, value_name = "F")]
    pub cacert: Option<PathBuf>,
    /// Accept any certificate (https)
    #[arg(short = 'k', long)]
    pub insecure: bool,
    /// auto, always or never
    #[arg(long, value_name = "WHEN", default_value = "auto", hide_possible_values = true)]
    pub color: ColorArg,
}

/// Runs `wsp top`.
///
/// # Errors
/// An invalid address, no terminal.
pub(crate) async fn run(args: &TopArgs, host: Host) -> Result<Exit, Error> {
    let token = settings::secret(None, args.token_env.as_deref())?;
    let mut connectors = Vec::new();
    for url in &args.urls {
        let (label, options) = options(url, args, token.clone())?;
        connectors.push((label, Connector::new(options)?));
    }
    let title = match &connectors[..] {
        [(label, _)] => format!("wsp top {label}"),
        several => format!("wsp top {} processes", several.len()),
    };
    let mut screen = Screen::of(&host, "wsp top", title)?;
    if !args.control {
        screen = screen.read_only();
    }
    if !connect::plan::colour(args.color, &host) {
        screen = screen.without_colours();
    }
    let mut signals = Signals::install().map_err(|error| Error::Internal(format!("signals: {error}")))?;
    let source = |(label, connector)| (label, Box::new(Far::new(connector)) as Box<dyn Source>);
    let mut shown = screen.open(connectors.into_iter().map(source).collect())?;
    let exit = poll_fn(|cx| {
        if let Poll::Ready(signal) = signals.poll_next(cx) {
            return Poll::Ready(match signal {
                StopSignal::Interrupt => Exit::Interrupted,
                StopSignal::Terminate => Exit::Terminated,
            });
        }
        shown.poll_ended(cx).map(|()| Exit::Done)
    })
    .await;
    let lost = shown.lost();
    shown.close();
    for (label, reason) in &lost {
        host.stderr.line(format!("wsp: {label}: {reason}"));
    }
    // A person who looked at nothing else has not seen what was asked for.
    Ok(if exit == Exit::Done && lost.len() == args.urls.len() { Exit::Connect } else { exit })
}

/// How an address is shown, and what reaches it.
fn options(text: &str, args: &TopArgs, token: Option<String>) -> Result<(String, ConnectOptions), Error> {
    let wrong = |reason: String| {
        Error::usage(
            format!("{}: {reason}", redact::broken_url(text)),
            "write http://HOST:PORT, HOST:PORT, PORT or unix:PATH",
        )
    };
    let unix_socket = text.strip_prefix("unix:").map(PathBuf::from);
    let url = match text {
        _ if unix_socket.is_some() => "http://localhost/".to_owned(),
        text if text.bytes().all(|byte| byte.is_ascii_digit()) => format!("http://127.0.0.1:{text}/"),
        text if text.starts_with(':') => format!("http://127.0.0.1{text}/"),
        text if text.contains("://") => text.to_owned(),
        text => format!("http://{text}/"),
    };
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(wrong("not an HTTP address".to_owned()));
    }
    let target = WsTarget::parse(&url).map_err(|error| wrong(error.to_string()))?;
    if !matches!(target.path_and_query.as_str(), "" | "/") {
        return Err(wrong("remove the path from the admin address".to_owned()));
    }
    let label = if unix_socket.is_some() { text.to_owned() } else { target.host_header() };
    let user = target.user_info.as_ref().map(|(user, password)| Secret::Text(format!("{user}:{password}")));
    let credentials = Credentials { user, bearer: token.map(Secret::Text), header_files: Vec::new() };
    let options = ConnectOptions {
        dial: DialOptions { unix_socket, ..DialOptions::default() },
        proxies: proxies::rules(None, |name| std::env::var(name).ok())?,
        tls: ClientTls { insecure: args.insecure, ca_file: args.cacert.clone(), ..ClientTls::default() },
        headers: Vec::new(),
        host: None,
        origin: None,
        subprotocols: Vec::new(),
        credentials,
        cookies: Vec::new(),
        deflate: None,
        max_message_size: 0,
        no_pong: false,
        connect_timeout: CONNECT,
        redirects: None,
        target,
    };
    Ok((label, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_in_many_ways() {
        let args = TopArgs {
            urls: Vec::new(),
            control: false,
            token_env: None,
            cacert: None,
            insecure: false,
            color: ColorArg::Auto,
        };
        for (text, label) in [
            ("9090", Some("127.0.0.1:9090")),
            (":9090", Some("127.0.0.1:9090")),
            ("localhost:9090", Some("localhost:9090")),
            ("http://h:1/", Some("h:1")),
            ("https://[::1]:9090", Some("[::1]:9090")),
            ("unix:/tmp/x", Some("unix:/tmp/x")),
            ("ws://h:1/", None),
            ("http://h:1/metrics", None),
            ("http://", None),
        ] {
            let found = options(text, &args, None).ok().map(|(label, _)| label);
            assert_eq!(found.as_deref(), label, "{text}");
        }
    }
}
