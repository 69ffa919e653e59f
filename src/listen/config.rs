//! What a server is made from: where it listens, whom it lets in, and what its sessions keep to.
//!
//! `wsp listen` and the server ends of a relay run on the same settings. Leaves flags to `command/`, and keeping to the
//! settings to the rest of `listen/`.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use http::header::HeaderValue;

use super::faults::FaultSettings;
use super::guard::GuardSettings;
use super::handler::Mode;
use super::site::Site;
use super::validation::Validation;
use crate::endpoint::ListenAddr;
use crate::error::Error;
use crate::filter::Filter;
use crate::message::render::Format;
use crate::net::connection::MessageLimits;
use crate::net::deflate::DeflateOffer;
use crate::net::head::SpelledName;
use crate::net::listener::{Bridge, Refuse};
use crate::net::origin::Origins;
use crate::net::tls::{ServerDemands, ServerIdentity, ServerTls};
use crate::queue::OverflowPolicy;
use crate::session::driver::DriverSettings;
use crate::session::keepalive::KeepaliveSettings;

/// Where the server's certificate comes from.
#[derive(Debug, Clone)]
pub(crate) enum TlsSource {
    /// Plain TCP.
    None,
    /// Files.
    Files(ServerIdentity),
    /// Made for this run.
    SelfSigned {
        /// Where the CA's certificate is written.
        ca_out: Option<PathBuf>,
    },
}

/// The settings of a server.
#[derive(Clone)]
pub(crate) struct ServerConfig {
    /// Where it listens.
    pub address: ListenAddr,
    /// Its certificate.
    pub tls: TlsSource,
    /// What TLS asks of clients.
    pub tls_demands: ServerDemands,
    /// Paths served; empty serves all.
    pub paths: Vec<String>,
    /// The path shown when it is ready.
    pub shown_path: String,
    /// Pages let in; [`Origins::Local`] holds where the server listens on loopback.
    pub origins: Origins,
    /// Subprotocols, in order of preference.
    pub subprotocols: Vec<String>,
    /// Headers of the upgrade answer.
    pub headers: Vec<(SpelledName, HeaderValue)>,
    /// permessage-deflate, where it is agreed to.
    pub deflate: Option<DeflateOffer>,
    /// For TLS and the request head together.
    pub handshake_timeout: Duration,
    /// Where the port is written.
    pub port_file: Option<PathBuf>,
    /// How large messages of clients may be.
    pub limits: MessageLimits,
    /// What plain requests get.
    pub site: Site,
    /// What stands behind each session, where something does.
    pub bridge: Option<Rc<Bridge>>,
    /// Who is let in and how much they may send.
    pub guard: GuardSettings,
    /// Every upgrade is answered so.
    pub reject: Option<Refuse>,
    /// What happens to messages.
    pub mode: Mode,
    /// What each message is answered with besides.
    pub ack: Option<Filter>,
    /// The shape messages must have.
    pub validation: Option<Validation>,
    /// What is to go wrong in sessions.
    pub faults: Option<Rc<FaultSettings>>,
    /// Limits in time of each session.
    pub driver: DriverSettings,
    /// Messages that may wait for one session.
    pub queue_size: usize,
    /// Payload bytes that may wait for one session.
    pub queue_bytes: usize,
    /// What happens when that is too much; `None` was not said: input and broadcasts drop the
    /// oldest, replies hold their own sender back.
    pub on_full: Option<OverflowPolicy>,
    /// Says what a session is called.
    pub session_name: Option<Filter>,
    /// What its sessions belong to, where it is one of several: `s1` has `s1.1`, `s1.2`, …
    pub under: Option<String>,
    /// How messages are printed.
    pub format: Format,
    /// Whether messages are printed in modes that answer, too.
    pub print: bool,
    /// Whether each message printed is prefixed with its session.
    pub prefix_sessions: bool,
    /// Whether stdout is a terminal.
    pub to_terminal: bool,
    /// Colours on stdout.
    pub colour: bool,
    /// Coming and going on stderr.
    pub verbose: bool,
    /// Errors only on stderr.
    pub quiet: bool,
}

impl Default for ServerConfig {
    /// Returns what `wsp listen --sink` runs with where no other flag is given, but for what it prints.
    fn default() -> Self {
        Self {
            address: ListenAddr::Tcp { host: "127.0.0.1".to_owned(), port: 8080 },
            tls: TlsSource::None,
            tls_demands: ServerDemands::default(),
            paths: Vec::new(),
            shown_path: "/".to_owned(),
            origins: Origins::default(),
            subprotocols: Vec::new(),
            headers: Vec::new(),
            deflate: None,
            handshake_timeout: Duration::from_secs(10),
            port_file: None,
            limits: MessageLimits::both(64 << 20),
            site: Site::default(),
            bridge: None,
            guard: GuardSettings::default(),
            reject: None,
            mode: Mode::Sink,
            ack: None,
            validation: None,
            faults: None,
            driver: DriverSettings {
                keepalive: KeepaliveSettings {
                    ping_interval: Some(Duration::from_secs(30)),
                    ping_at_once: false,
                    ping_timeout: Duration::from_secs(90),
                    idle_timeout: None,
                },
                close_timeout: Duration::from_secs(2),
                fragment: None,
            },
            queue_size: 1000,
            queue_bytes: 16 << 20,
            on_full: None,
            session_name: None,
            under: None,
            format: Format::Raw,
            print: false,
            prefix_sessions: false,
            to_terminal: false,
            colour: false,
            verbose: false,
            quiet: false,
        }
    }
}

impl ServerConfig {
    /// Whether clients connect by TLS.
    pub(crate) fn is_secure(&self) -> bool {
        !matches!(self.tls, TlsSource::None)
    }

    /// Checks that the certificate can be used; opens no socket and writes nothing.
    ///
    /// # Errors
    /// TLS files that cannot be used.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.tls {
            TlsSource::Files(identity) => Ok(ServerTls::from_files(identity, &self.tls_demands).map(drop)?),
            TlsSource::None | TlsSource::SelfSigned { .. } => Ok(()),
        }
    }
}
