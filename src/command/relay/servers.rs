//! `ws-listen://` and `wss-listen://` ends, and what is spoken at WebSocket ends: servers made from flags.
//!
//! Leaves the flags to `server_args`.

use std::rc::Rc;

use super::args::RelayArgs;
use super::build::Build;
use crate::command::options::ProtocolArg;
use crate::command::settings;
use crate::endpoint::{Endpoint, ListenAddr};
use crate::error::Error;
use crate::listen::config::{ServerConfig, TlsSource};
use crate::net::connector::Connector;
use crate::net::origin::Origins;
use crate::pipeline::flow::Flow;
use crate::pipeline::proxy::{Path, Proxy};
use crate::pipeline::watch::View;
use crate::pipeline::ws_listen::WsServer;
use crate::protocol;
use crate::protocol::gateway::Behind;
use crate::queue::OverflowPolicy;

impl RelayArgs {
    fn protocol_arg(&self, is_from: bool) -> ProtocolArg {
        let own = if is_from { self.ends.from_protocol } else { self.ends.to_protocol };
        own.or(self.server.protocol.protocol).unwrap_or(ProtocolArg::Raw)
    }

    /// Flags that say what is spoken, where nobody would speak it, are a mistake.
    pub(super) fn check_protocols(&self, from: &Endpoint, to: &[Endpoint]) -> Result<(), Error> {
        let speaks = |endpoint: &Endpoint| matches!(endpoint, Endpoint::Ws(_) | Endpoint::WsListen { .. });
        let (protocol, ends) = (&self.server.protocol, &self.ends);
        let routed = !self.routes.is_empty();
        let stray = |flag: &str, of: &str| Err(Error::usage(format!("{flag}: {of}"), "leave it out"));
        if ends.from_protocol.is_some() && !speaks(from) {
            return stray("--from-protocol", "FROM is not a WebSocket");
        }
        let to_speaks = routed || to.iter().any(speaks);
        if ends.to_protocol.is_some() && !to_speaks {
            return stray("--to-protocol", "no TO is a WebSocket");
        }
        if protocol.protocol.is_some() && !to_speaks && !speaks(from) {
            return stray("--protocol", "no end is a WebSocket");
        }
        let spoken = |wanted| [true, false].into_iter().any(|is_from| self.protocol_arg(is_from) == wanted);
        if !protocol.feed_fields.is_empty() && !spoken(ProtocolArg::Feed) {
            return Err(Error::usage("--feed-field requires --protocol feed", "add it, or remove this"));
        }
        if !protocol.requests.is_empty() && !spoken(ProtocolArg::Envelope) {
            return Err(Error::usage("--request requires --protocol envelope", "add it, or remove this"));
        }
        Ok(())
    }

    /// What is spoken at one side.
    pub(super) fn protocol(&self, is_from: bool) -> Result<protocol::Settings, Error> {
        let (mut args, chosen) = (self.server.protocol.clone(), self.protocol_arg(is_from));
        args.protocol = Some(chosen);
        // What is said of one protocol is not meant for a side that speaks another.
        args.feed_fields.retain(|_| chosen == ProtocolArg::Feed);
        args.requests.retain(|_| chosen == ProtocolArg::Envelope);
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
            format!("{name}: only a server can speak {spoken}, and this is a client"),
            format!("use {other} {spoken} at the other end; a client of that server speaks raw"),
        ))
    }
}

impl Build<'_> {
    /// The settings of a server end.
    fn config(&self, endpoint: &Endpoint, is_from: bool) -> Result<ServerConfig, Error> {
        let Endpoint::WsListen { secure, address, path } = endpoint else {
            return Err(Error::Internal(format!("{endpoint} is not a server")));
        };
        if path.contains('?') {
            return Err(Error::usage(
                format!("{endpoint}: a server's address has no query"),
                "remove the ? and what follows it",
            ));
        }
        if !secure && self.args.server.guards.client_ca.is_some() && !self.has_secure_server() {
            return Err(Error::usage("--client-ca needs TLS", "write wss-listen://"));
        }
        let tls = if *secure { self.certificate(endpoint)? } else { TlsSource::None };
        let pages = if self.acts_on_clients(is_from) { Origins::Local } else { Origins::Every };
        let mut config = self.args.server.config(address.clone(), tls, pages)?;
        (config.verbose, config.quiet) = (self.args.output.verbose, self.args.output.quiet);
        if !path.is_empty() {
            config.paths.insert(0, path.clone());
            config.shown_path.clone_from(path);
        }
        if self.is_trial {
            // The address is only bound when it runs.
            config.check()?;
        }
        Ok(config)
    }

    /// Whether what clients of a server end send can reach a program or standard output.
    fn acts_on_clients(&self, is_from: bool) -> bool {
        let args = self.args;
        let acts = |text: &str| matches!(Endpoint::parse(text), Ok(Endpoint::Exec(_) | Endpoint::Stdio));
        let routed = args.routes.iter().filter_map(|route| route.rsplit_once("=>"));
        let mut to = args.to.iter().map(String::as_str).chain(routed.map(|(_, to)| to.trim()));
        if is_from { to.any(acts) } else { args.both && args.from.as_deref().is_some_and(acts) }
    }

    fn certificate(&self, endpoint: &Endpoint) -> Result<TlsSource, Error> {
        match self.args.server.certificate()? {
            TlsSource::None => Err(Error::usage(
                format!("{endpoint}: no certificate given"),
                "use --tls-cert and --tls-key, or --pkcs12; --tls makes one for localhost",
            )),
            tls => Ok(tls),
        }
    }

    fn has_secure_server(&self) -> bool {
        let args = self.args;
        args.from.iter().chain(&args.to).any(|text| text.to_ascii_lowercase().starts_with("wss-listen:"))
    }

    /// A server end.
    pub(super) fn server(&self, endpoint: &Endpoint, is_from: bool, view: &Rc<View>) -> Result<WsServer, Error> {
        Ok(WsServer {
            name: endpoint.to_string(),
            config: self.config(endpoint, is_from)?,
            protocol: self.args.protocol(is_from)?,
            patience: self.args.ends.client_patience,
            stderr: self.stderr.clone(),
            view: Rc::clone(view),
        })
    }

    /// Whether a destination drops messages rather than hold up others: a server, whose clients come and go as they like.
    pub(super) fn gives_way(&self, endpoint: &Endpoint) -> bool {
        let is_asked_to_wait = self.args.server.on_full == Some(OverflowPolicy::Block)
            || self.args.protocol_arg(false) == ProtocolArg::Envelope;
        matches!(endpoint, Endpoint::WsListen { .. }) && !is_asked_to_wait
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
        let connection = &self.args.connection;
        let (Endpoint::WsListen { path, .. }, Endpoint::Ws(url)) = (from, to) else {
            return Err(Error::Internal(format!("{from} and {to} cannot form a proxy")));
        };
        let mut config = self.config(from, true)?;
        // Pings go from end to end.
        config.driver.keepalive.ping_interval = None;
        let options = settings::connect_options(url, connection, false)?;
        let names_path = options.target.path_and_query != "/";
        Ok(Proxy {
            near: from.to_string(),
            far: to.to_string(),
            config,
            connector: Connector::new(options)?,
            path: if names_path && !path.is_empty() { Path::Instead } else { Path::Before },
            may_compress: !connection.no_compress,
            there: Rc::clone(flows.0),
            back: Rc::clone(flows.1),
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
        if args.queue.spool.spool.is_some() {
            return Err(Error::usage(
                "--spool: a proxy (ws-listen to ws, --both) stores nothing: its queue ends with its client",
                "remove it, or --both",
            ));
        }
        if args.bins.asks_for_bins() {
            return Err(Error::usage(
                "--batch-as: a proxy (ws-listen to ws, --both) passes each message on as it is",
                "remove --batch-as, --batch-min and --batch-jq, or --both",
            ));
        }
        if args.server.on_full == Some(OverflowPolicy::Disconnect) {
            return Err(Error::usage(
                "--client-on-full disconnect: a proxy (ws-listen to ws, --both) has a queue per direction and cannot \
                 disconnect for either",
                "use block, drop-oldest or drop-newest",
            ));
        }
        Ok(())
    }

    /// Two servers cannot write their ports to one file.
    pub(super) fn check_servers(&self, from: &Endpoint, to: &[Endpoint]) -> Result<(), Error> {
        let is_server = |endpoint: &&Endpoint| matches!(endpoint, Endpoint::WsListen { .. });
        let servers: Vec<_> = std::iter::once(from).chain(to).filter(is_server).collect();
        if self.args.server.port_file.is_some() && servers.len() != 1 {
            return Err(Error::usage(
                "--port-file requires exactly one server end",
                "set the ports yourself, or \
            remove it",
            ));
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
