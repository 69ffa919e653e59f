//! `ws-listen://` and `wss-listen://` ends, and what is spoken at WebSocket ends: flags, and servers made from them.
//!
//! Limits and credentials are those of `wsp listen`; what clients and servers have in common stands with the connection
//! options.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::args::RelayArgs;
use super::build::Build;
use crate::command::guards::{self, GuardArgs};
use crate::command::listen::parse_positive;
use crate::command::names::NameArgs;
use crate::command::options::{ProtocolArg, ProtocolArgs, TlsMin};
use crate::command::settings;
use crate::command::values::{duration, size};
use crate::endpoint::{Endpoint, ListenAddr};
use crate::error::Error;
use crate::listen::handler::Mode;
use crate::listen::hub::HubSettings;
use crate::listen::reception::{Reception, TlsSource};
use crate::listen::site::Site;
use crate::message::render::Format;
use crate::net::connection::MessageLimits;
use crate::net::connector::Connector;
use crate::net::deflate::DeflateOffer;
use crate::net::origin::Origins;
use crate::net::tls::{ServerDemands, ServerIdentity, TlsVersion};
use crate::pipeline::flow::Flow;
use crate::pipeline::proxy::{Path, Proxy};
use crate::pipeline::watch::View;
use crate::pipeline::ws_listen::{AudienceSettings, WsServer};
use crate::protocol;
use crate::protocol::gateway::Behind;
use crate::queue::OverflowPolicy;
use crate::queue::lane::LaneSettings;
use crate::session::driver::DriverSettings;
use crate::session::keepalive::KeepaliveSettings;

/// Flags of server ends.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServerArgs {
    /// Serve this path too; others than these and that of the address get 404
    #[arg(long = "path", value_name = "P", hide_short_help = true, help_heading = "Server ends")]
    pub paths: Vec<String>,
    /// Let pages of this origin in, and no others (403); '*' lets all in, 'same' those of the address asked
    ///
    /// Without this option a server on loopback whose clients' messages can reach exec: or - lets in pages of this machine
    /// only: those of localhost, a loopback address, or its own address. Other server ends let in every page.
    #[arg(long = "allow-origin", value_name = "O", hide_short_help = true, help_heading = "Server ends")]
    pub allow_origin: Vec<String>,
    /// Longest time for TLS and the request head together
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration, hide_short_help = true, help_heading = "Server ends")]
    pub handshake_timeout: Duration,
    /// Write the port here once it is open
    #[arg(long, value_name = "F", hide_short_help = true, help_heading = "Server ends")]
    pub port_file: Option<PathBuf>,
    /// wss-listen: certificate chain, PEM; without it --pkcs12 names the server's certificate and key, too
    #[arg(
        long,
        value_name = "F",
        requires = "tls_key",
        conflicts_with = "tls",
        hide_short_help = true,
        help_heading = "Server ends"
    )]
    pub tls_cert: Option<PathBuf>,
    /// wss-listen: key of the certificate, PEM; --passphrase-env opens it
    #[arg(long, value_name = "F", requires = "tls_cert", hide_short_help = true, help_heading = "Server ends")]
    pub tls_key: Option<PathBuf>,
    /// wss-listen: self-signed certificate for localhost, 127.0.0.1 and ::1
    #[arg(long, hide_short_help = true, help_heading = "Server ends")]
    pub tls: bool,
    /// Write the self-signed certificate's CA here, for clients to trust
    #[arg(long, value_name = "F", requires = "tls", hide_short_help = true, help_heading = "Server ends")]
    pub tls_ca_out: Option<PathBuf>,
    /// Messages that may wait for one client of a server
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = parse_positive, hide_short_help = true, help_heading = "Server ends")]
    pub client_queue_size: usize,
    /// Bytes that may wait for one client of a server
    #[arg(long, value_name = "SIZE", default_value = "16MiB", value_parser = size, hide_short_help = true, help_heading = "Server ends")]
    pub client_queue_bytes: usize,
    /// When a client's queue is full: block, drop-oldest, drop-newest or disconnect [default: see --client-patience]
    ///
    /// With several TO, a server end never holds up the others: when its own queue is full, with no client there or only slow
    /// ones, the oldest messages are dropped and counted. block makes the others wait, and so does --protocol envelope.
    #[arg(
        long,
        value_name = "WHAT",
        hide_possible_values = true,
        hide_short_help = true,
        help_heading = "Server ends"
    )]
    pub client_on_full: Option<ClientOnFull>,
    /// How long a client that takes nothing may hold up the others
    ///
    /// Without --client-on-full a full client makes all wait, for this long; then its oldest messages are dropped, until it takes
    /// something again. If it is the only client, or no client takes anything, all keep waiting.
    #[arg(long, value_name = "DUR", default_value = "5s", value_parser = duration, conflicts_with = "client_on_full", hide_short_help = true, help_heading = "Server ends")]
    pub client_patience: Duration,
    /// Speak feed, envelope or gateway at every WebSocket end
    ///
    /// feed (servers): clients register with filters and get the messages that pass. envelope: data is acknowledged once a
    /// destination took it, and what is not acknowledged is sent again on a new connection; either side may ask for status,
    /// capabilities, back pressure, a subscription or a replay. gateway (servers): what a client writes is validated and
    /// answered ACK once a destination took it, else ERROR; what comes the other way goes to every client.
    #[arg(long, value_name = "P", hide_possible_values = true, hide_short_help = true, help_heading = "Messages")]
    pub protocol: Option<ProtocolArg>,
    /// feed: a filter's values stand where JQ says; a new NAME is a further list of allowed values
    #[arg(long = "feed-field", value_name = "NAME=JQ", hide_short_help = true, help_heading = "Messages")]
    pub feed_fields: Vec<String>,
    /// feed: time a client has to register
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration, hide_short_help = true, help_heading = "Messages")]
    pub register_timeout: Duration,
    /// envelope: request this of every peer, for example 'subscribe={"jq":".price > 100"}'
    #[arg(long = "request", value_name = "METHOD=PARAMS", hide_short_help = true, help_heading = "Messages")]
    pub requests: Vec<String>,
    /// Largest text message of a client, where it is another size than --max-message-size
    #[arg(long, value_name = "SIZE", value_parser = size, hide_short_help = true, help_heading = "Server ends")]
    pub max_text_size: Option<usize>,
    /// Largest binary message of a client, where it is another size than --max-message-size
    #[arg(long, value_name = "SIZE", value_parser = size, hide_short_help = true, help_heading = "Server ends")]
    pub max_binary_size: Option<usize>,
    /// envelope: messages that may wait for an acknowledgement
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = parse_positive, hide_short_help = true, help_heading = "Messages")]
    pub window: usize,
    /// envelope: most requests under way at a time, each way
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = parse_positive, hide_short_help = true, help_heading = "Messages")]
    pub max_requests: usize,
    /// envelope: messages a peer can have replayed
    #[arg(long, value_name = "N", default_value_t = 1000, hide_short_help = true, help_heading = "Messages")]
    pub replay_size: usize,
    /// --protocol for FROM alone
    #[arg(long, value_name = "P", hide_possible_values = true, hide_short_help = true, help_heading = "Messages")]
    pub from_protocol: Option<ProtocolArg>,
    /// --protocol for TO alone
    #[arg(long, value_name = "P", hide_possible_values = true, hide_short_help = true, help_heading = "Messages")]
    pub to_protocol: Option<ProtocolArg>,
    /// Who is let in.
    #[command(flatten)]
    pub guards: GuardArgs,
    /// What sessions are called.
    #[command(flatten)]
    pub names: NameArgs,
}

/// `--client-on-full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClientOnFull {
    /// Everybody waits
    Block,
    /// Its oldest messages make room
    DropOldest,
    /// It does not get the new message
    DropNewest,
    /// It is closed with 1008
    Disconnect,
}

impl ClientOnFull {
    fn policy(self) -> OverflowPolicy {
        match self {
            Self::Block => OverflowPolicy::Block,
            Self::DropOldest => OverflowPolicy::DropOldest,
            Self::DropNewest => OverflowPolicy::DropNewest,
            Self::Disconnect => OverflowPolicy::Disconnect,
        }
    }
}

impl RelayArgs {
    fn protocol_arg(&self, is_from: bool) -> ProtocolArg {
        let own = if is_from { self.servers.from_protocol } else { self.servers.to_protocol };
        own.or(self.servers.protocol).unwrap_or(ProtocolArg::Raw)
    }

    /// Flags that say what is spoken, where nobody would speak it, are a mistake.
    pub(super) fn check_protocols(&self, from: &Endpoint, to: &[Endpoint]) -> Result<(), Error> {
        let speaks = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Ws(_) | Endpoint::WsListen { .. });
        let servers = &self.servers;
        let routed = !self.routes.is_empty();
        let stray = |flag: &str, of: &str| Err(Error::usage(format!("{flag}: {of}"), "leave it out"));
        if servers.from_protocol.is_some() && !speaks(from) {
            return stray("--from-protocol", "FROM is not a WebSocket");
        }
        let to_speaks = routed || to.iter().any(speaks);
        if servers.to_protocol.is_some() && !to_speaks {
            return stray("--to-protocol", "no TO is a WebSocket");
        }
        if servers.protocol.is_some() && !to_speaks && !speaks(from) {
            return stray("--protocol", "no end is a WebSocket");
        }
        let spoken = |wanted| [true, false].into_iter().any(|is_from| self.protocol_arg(is_from) == wanted);
        if !servers.feed_fields.is_empty() && !spoken(ProtocolArg::Feed) {
            return Err(Error::usage("--feed-field is of --protocol feed", "add it, or leave this out"));
        }
        if !servers.requests.is_empty() && !spoken(ProtocolArg::Envelope) {
            return Err(Error::usage("--request is of --protocol envelope", "add it, or leave this out"));
        }
        Ok(())
    }

    /// What is spoken at one side.
    pub(super) fn protocol(&self, is_from: bool) -> Result<protocol::Settings, Error> {
        let (args, chosen) = (&self.servers, self.protocol_arg(is_from));
        let of = |list: &[String], protocol| if chosen == protocol { list.to_vec() } else { Vec::new() };
        let args = ProtocolArgs {
            protocol: Some(chosen),
            feed_fields: of(&args.feed_fields, ProtocolArg::Feed),
            register_timeout: args.register_timeout,
            requests: of(&args.requests, ProtocolArg::Envelope),
            request_timeout: self.http.request_timeout,
            window: args.window,
            max_requests: args.max_requests,
            replay_size: args.replay_size,
        };
        settings::protocol(&args, Behind::Broker)
    }

    /// What a client end speaks.
    pub(super) fn client_protocol(&self, name: &str, is_from: bool) -> Result<protocol::Settings, Error> {
        let spoken = match self.protocol_arg(is_from) {
            ProtocolArg::Feed => "feed",
            ProtocolArg::Gateway => "gateway",
            ProtocolArg::Raw | ProtocolArg::Envelope => return self.protocol(is_from),
        };
        let other = if is_from { "--to-protocol" } else { "--from-protocol" };
        Err(Error::usage(
            format!("{name}: {spoken} is spoken by servers, and this is a client"),
            format!("{other} {spoken} is for the other end; a client of such a server speaks raw"),
        ))
    }
}

impl Build<'_> {
    /// How clients of a server end come in.
    pub(super) fn reception(&self, endpoint: &Endpoint, is_from: bool) -> Result<(Reception, HubSettings), Error> {
        let Endpoint::WsListen { secure, address, path } = endpoint else {
            return Err(Error::Internal(format!("{endpoint} is not a server")));
        };
        let (args, connection) = (&self.args.servers, &self.args.connection);
        let mut paths = args.paths.clone();
        if !path.is_empty() {
            paths.insert(0, path.clone());
        }
        if path.contains('?') {
            return Err(Error::usage(
                format!("{endpoint}: a server's address has no query"),
                "leave out what follows the ?",
            ));
        }
        let reception = Reception {
            address: address.clone(),
            tls: self.tls_source(*secure, endpoint)?,
            tls_demands: ServerDemands {
                min: match connection.tls_min {
                    Some(TlsMin::V1_3) => TlsVersion::V1_3,
                    _ => TlsVersion::V1_2,
                },
                client_ca: args.guards.client_ca.clone().filter(|_| *secure),
                client_ca_passphrase: settings::secret(None, args.guards.client_ca_passphrase_env.as_deref())?,
            },
            paths,
            origins: Origins::listed(
                &args.allow_origin,
                if self.acts_on_clients(is_from) { Origins::Local } else { Origins::Every },
            ),
            subprotocols: connection.subprotocols.clone(),
            headers: Vec::new(),
            deflate: settings::deflate(connection.compress.as_deref(), DeflateOffer::of_server)?,
            handshake_timeout: args.handshake_timeout,
            port_file: args.port_file.clone(),
            limits: MessageLimits {
                text: args.max_text_size.unwrap_or(connection.max_message_size),
                binary: args.max_binary_size.unwrap_or(connection.max_message_size),
            },
            site: Site::default(),
            bridge: None,
            shown_path: if path.is_empty() { "/".to_owned() } else { path.clone() },
        };
        if self.is_trial {
            // The address is only taken when it runs.
            reception.check()?;
        }
        let hub = HubSettings {
            mode: Mode::Sink,
            ack: None,
            format: Format::Raw,
            print: false,
            session_name: args.names.filter()?,
            under: None,
            prefix_sessions: false,
            to_terminal: false,
            colour: false,
            verbose: self.args.output.verbose,
            quiet: self.args.output.quiet,
            queue_size: args.client_queue_size,
            queue_bytes: args.client_queue_bytes,
            on_full: None,
            driver: DriverSettings {
                keepalive: settings::keepalive(connection, false),
                close_timeout: connection.close_timeout,
                fragment: None,
            },
            guard: guards::guards(&args.guards)?,
            faults: None,
            reject: None,
            validation: None,
        };
        Ok((reception, hub))
    }

    /// Whether what clients of a server end send can reach a program or standard output.
    fn acts_on_clients(&self, is_from: bool) -> bool {
        let args = self.args;
        let acts = |text: &str| matches!(Endpoint::parse(text), Ok(Endpoint::Exec(_) | Endpoint::Stdio));
        let routed = args.routes.iter().filter_map(|route| route.rsplit_once("=>"));
        let mut to = args.to.iter().map(String::as_str).chain(routed.map(|(_, to)| to.trim()));
        if is_from { to.any(acts) } else { args.both && args.from.as_deref().is_some_and(acts) }
    }

    fn tls_source(&self, secure: bool, endpoint: &Endpoint) -> Result<TlsSource, Error> {
        let args = &self.args.servers;
        if !secure {
            if args.guards.client_ca.is_some() && !self.has_secure_server() {
                return Err(Error::usage("--client-ca needs TLS", "write wss-listen://"));
            }
            return Ok(TlsSource::None);
        }
        let connection = &self.args.connection;
        let pkcs12 = connection.pkcs12.as_ref().filter(|_| !args.tls);
        match settings::identity_files(args.tls_cert.as_ref(), args.tls_key.as_ref(), pkcs12) {
            Some(files) => {
                let passphrase = settings::secret(None, connection.passphrase_env.as_deref())?;
                Ok(TlsSource::Files(ServerIdentity { files, passphrase }))
            }
            None if args.tls => Ok(TlsSource::SelfSigned { ca_out: args.tls_ca_out.clone() }),
            None => Err(Error::usage(
                format!("{endpoint}: no certificate was given"),
                "--tls-cert and --tls-key, or --pkcs12, name one; --tls makes one for localhost",
            )),
        }
    }

    fn has_secure_server(&self) -> bool {
        let args = self.args;
        args.from.iter().chain(&args.to).any(|text| text.to_ascii_lowercase().starts_with("wss-listen:"))
    }

    /// A server end.
    pub(super) fn server(&self, endpoint: &Endpoint, is_from: bool, view: &Rc<View>) -> Result<WsServer, Error> {
        let (reception, hub) = self.reception(endpoint, is_from)?;
        Ok(WsServer {
            name: endpoint.to_string(),
            reception,
            hub,
            protocol: self.args.protocol(is_from)?,
            audience: self.audience(),
            stderr: self.stderr.clone(),
            view: Rc::clone(view),
        })
    }

    /// Whether a destination drops messages rather than hold up others: a server, whose clients come and go as they like.
    pub(super) fn gives_way(&self, endpoint: &Endpoint) -> bool {
        let is_asked_to_wait = self.args.servers.client_on_full == Some(ClientOnFull::Block)
            || self.args.protocol_arg(false) == ProtocolArg::Envelope;
        matches!(endpoint, Endpoint::WsListen { .. }) && !is_asked_to_wait
    }

    fn audience(&self) -> AudienceSettings {
        let args = &self.args.servers;
        AudienceSettings {
            max_messages: args.client_queue_size,
            max_bytes: args.client_queue_bytes,
            policy: args.client_on_full.map(ClientOnFull::policy),
            patience: args.client_patience,
        }
    }

    /// Whether both ends are one connection for one connection, each way.
    pub(super) fn is_proxy(&self, from: &Endpoint, to: &Endpoint) -> bool {
        let is_raw = |is_from| self.args.protocol_arg(is_from) == ProtocolArg::Raw;
        let are_sockets = matches!((from, to), (Endpoint::WsListen { .. }, Endpoint::Ws(_)));
        self.args.both && are_sockets && is_raw(true) && is_raw(false)
    }

    /// Both ends as one.
    pub(super) fn proxy(
        &self,
        from: &Endpoint,
        to: &Endpoint,
        flows: (&Rc<Flow>, &Rc<Flow>),
        view: &Rc<View>,
    ) -> Result<Proxy, Error> {
        let (args, connection) = (self.args, &self.args.connection);
        let (Endpoint::WsListen { path, .. }, Endpoint::Ws(url)) = (from, to) else {
            return Err(Error::Internal(format!("{from} and {to} do not make a proxy")));
        };
        let (reception, mut hub) = self.reception(from, true)?;
        // Pings go from end to end.
        let keepalive = KeepaliveSettings { ping_interval: None, ..settings::keepalive(connection, false) };
        hub.driver.keepalive = keepalive;
        let options = settings::connect_options(url, connection, false)?;
        let names_path = options.target.path_and_query != "/";
        Ok(Proxy {
            near: from.to_string(),
            far: to.to_string(),
            reception,
            driver: hub.driver,
            hub,
            connector: Connector::new(options)?,
            path: if names_path && !path.is_empty() { Path::Instead } else { Path::Before },
            may_compress: !connection.no_compress,
            there: Rc::clone(flows.0),
            back: Rc::clone(flows.1),
            queue: LaneSettings {
                max_messages: args.servers.client_queue_size,
                max_bytes: args.servers.client_queue_bytes,
                policy: args.servers.client_on_full.map_or(OverflowPolicy::Block, ClientOnFull::policy),
            },
            opening: Rc::new(settings::opening(connection)?),
            stderr: self.stderr.clone(),
            view: Rc::clone(view),
        })
    }

    /// What a proxy cannot do, before anything is opened for it.
    pub(super) fn check_proxy(&self, from: &Endpoint, to: &[Endpoint]) -> Result<(), Error> {
        let args = self.args;
        if !to.iter().any(|to| self.is_proxy(from, to)) {
            return Ok(());
        }
        if args.spool.spool.is_some() {
            return Err(Error::usage(
                "--spool: a proxy (ws-listen to ws, --both) keeps nothing: what waits is for one client and goes with it",
                "leave it out, or --both",
            ));
        }
        if args.bins.asks_for_bins() {
            return Err(Error::usage(
                "--batch-as: a proxy (ws-listen to ws, --both) passes each message on as it is",
                "leave --batch-as, --batch-min and --batch-jq out, or --both",
            ));
        }
        if args.servers.client_on_full == Some(ClientOnFull::Disconnect) {
            return Err(Error::usage(
                "--client-on-full disconnect: a proxy (ws-listen to ws, --both) has a queue each way, and no side of its own to disconnect",
                "block, drop-oldest and drop-newest are possible",
            ));
        }
        Ok(())
    }

    /// Two servers cannot write their ports to one file.
    pub(super) fn check_servers(&self, from: &Endpoint, to: &[Endpoint]) -> Result<(), Error> {
        let is_server = |endpoint: &&Endpoint| matches!(endpoint, Endpoint::WsListen { .. });
        let servers: Vec<_> = std::iter::once(from).chain(to).filter(is_server).collect();
        if self.args.servers.port_file.is_some() && servers.len() != 1 {
            return Err(Error::usage("--port-file is for one server end", "give ports, or leave it out"));
        }
        let place = |endpoint: &Endpoint| match endpoint {
            Endpoint::WsListen { address, .. } => Some(address.clone()),
            _ => None,
        };
        let fixed = |address: &ListenAddr| !matches!(address, ListenAddr::Tcp { port: 0, .. });
        let places: Vec<_> = servers.into_iter().filter_map(place).filter(fixed).collect();
        for (number, address) in places.iter().enumerate() {
            if places[..number].contains(address) {
                return Err(Error::usage(format!("{address} is listened on twice"), "give each server its own port"));
            }
        }
        Ok(())
    }
}
