//! Flags that every kind of server takes: `wsp listen` and the server ends of `wsp relay`.
//!
//! Owns their spelling, their help as `wsp listen` has it, and making settings of them. What a server end calls
//! otherwise is in `relay/server_args`.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{EnumValueParser, TypedValueParser};
use clap::{Args, ValueEnum};

use super::guards::{self, GuardArgs};
use super::names::NameArgs;
use super::options::{ProtocolArgs, TlsMin};
use super::settings;
use super::values::{duration, positive, size, subprotocol};
use crate::endpoint::ListenAddr;
use crate::error::Error;
use crate::listen::config::{ServerConfig, TlsSource};
use crate::net::connection::MessageLimits;
use crate::net::deflate::DeflateOffer;
use crate::net::origin::Origins;
use crate::net::tls::{ServerDemands, ServerIdentity};
use crate::queue::OverflowPolicy;
use crate::session::driver::DriverSettings;
use crate::session::keepalive::KeepaliveSettings;

/// Flags of a server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Connections")]
pub(crate) struct ServerArgs {
    /// Accept this subprotocol; the first one the client offers wins
    #[arg(short, long = "subprotocol", value_name = "P", value_delimiter = ',', value_parser = subprotocol)]
    pub subprotocols: Vec<String>,
    /// Serve this path only; others get 404
    #[arg(long = "path", value_name = "P")]
    pub paths: Vec<String>,
    /// Accept only pages of this origin (others get 403); '*' accepts all, 'same' those of the requested address
    ///
    /// Pages served by --static and --devconsole are accepted too if they were requested by address or as localhost.
    /// Clients that are not pages send no Origin and are accepted.
    ///
    /// Without this option a server on loopback that acts on messages (--exec, --script, printing, --input, a prompt)
    /// accepts only pages of this machine: those of localhost, a loopback address, or its own address. --echo, --sink,
    /// --push, --broadcast, --reply and --reply-jq accept every page.
    #[arg(long = "allow-origin", value_name = "O", hide_short_help = true)]
    pub allow_origin: Vec<String>,
    /// Accept permessage-deflate, with these parameters if given
    ///
    /// Without parameters the server compresses each message on its own (server_no_context_takeover), which takes no
    /// memory between messages. --compress=client_max_window_bits compresses similar messages better and takes about
    /// 256 KiB for each connection.
    #[arg(long, value_name = "PARAMS", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub compress: Option<String>,
    /// Time limit for TLS and the request head together, and for each 16 KiB of a download
    #[arg(long, value_name = "DUR", default_value = "10s", value_parser = duration, hide_short_help = true)]
    pub handshake_timeout: Duration,
    /// Write the port number to this file once it is open
    #[arg(long, value_name = "F")]
    pub port_file: Option<PathBuf>,
    /// Maximum message size; larger ones get close code 1009
    #[arg(long, value_name = "SIZE", default_value = "64MiB", value_parser = size)]
    pub max_message_size: usize,
    /// Maximum size of text messages, if different
    #[arg(long, value_name = "SIZE", value_parser = size, hide_short_help = true)]
    pub max_text_size: Option<usize>,
    /// Maximum size of binary messages, if different
    #[arg(long, value_name = "SIZE", value_parser = size, hide_short_help = true)]
    pub max_binary_size: Option<usize>,
    /// Queue size per session, in messages
    #[arg(id = "client_queue_size", long = "queue-size", value_name = "N", default_value_t = 1000, value_parser = positive)]
    pub queue_size: usize,
    /// Queue size per session, in bytes
    #[arg(id = "client_queue_bytes", long = "queue-bytes", value_name = "SIZE", default_value = "16MiB", value_parser = size, hide_short_help = true)]
    pub queue_bytes: usize,
    /// drop-oldest, drop-newest, block or disconnect [default: drop-oldest; replies wait]
    #[arg(id = "client_on_full", long = "on-full", value_name = "WHAT", value_parser = EnumValueParser::<OnFull>::new().map(OnFull::policy), hide_possible_values = true)]
    pub on_full: Option<OverflowPolicy>,
    /// Certificate chain, PEM
    #[arg(long, value_name = "F", requires = "tls_key", conflicts_with = "tls")]
    pub tls_cert: Option<PathBuf>,
    /// Key of the certificate, PEM
    #[arg(long, value_name = "F", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Certificate, chain and key in one PKCS#12 file
    #[arg(long, value_name = "F", conflicts_with_all = ["tls_cert", "tls_key", "tls"], hide_short_help = true)]
    pub pkcs12: Option<PathBuf>,
    /// Passphrase of the key or the PKCS#12 file, from this environment variable
    #[arg(long, value_name = "V", hide_short_help = true)]
    pub passphrase_env: Option<String>,
    /// Self-signed certificate for localhost, 127.0.0.1 and ::1
    #[arg(long)]
    pub tls: bool,
    /// Write the self-signed certificate's CA to this file
    #[arg(long, value_name = "F", requires = "tls")]
    pub tls_ca_out: Option<PathBuf>,
    /// Lowest TLS version
    #[arg(long, value_name = "V", hide_short_help = true)]
    pub tls_min: Option<TlsMin>,
    /// Send a ping at this interval; 0: never
    #[arg(long, value_name = "DUR", default_value = "30s", value_parser = duration, hide_short_help = true)]
    pub ping_interval: Duration,
    /// Disconnect a client when no pong arrives for this long
    #[arg(long, value_name = "DUR", default_value = "90s", value_parser = duration, hide_short_help = true)]
    pub ping_timeout: Duration,
    /// Close sessions that are idle for this long
    #[arg(long, value_name = "DUR", value_parser = duration, hide_short_help = true)]
    pub idle_timeout: Option<Duration>,
    /// How long to wait for a client's close frame
    #[arg(long, value_name = "DUR", default_value = "2s", value_parser = duration, hide_short_help = true)]
    pub close_timeout: Duration,
    /// What is spoken.
    #[command(flatten)]
    pub protocol: ProtocolArgs,
    /// Who is admitted.
    #[command(flatten)]
    pub guards: GuardArgs,
    /// What sessions are called.
    #[command(flatten)]
    pub names: NameArgs,
}

/// `--on-full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnFull {
    /// The oldest waiting messages make room
    DropOldest,
    /// The new message is dropped
    DropNewest,
    /// The sender waits
    Block,
    /// The slow client is closed with 1008
    Disconnect,
}

impl OnFull {
    fn policy(self) -> OverflowPolicy {
        match self {
            Self::DropOldest => OverflowPolicy::DropOldest,
            Self::DropNewest => OverflowPolicy::DropNewest,
            Self::Block => OverflowPolicy::Block,
            Self::Disconnect => OverflowPolicy::Disconnect,
        }
    }
}

impl ServerArgs {
    /// Returns the settings of a server that listens on `address`. `pages` may connect where --allow-origin lists none.
    ///
    /// # Errors
    /// Flags that do not go together, filters that do not compile, files and variables that are not there.
    pub(crate) fn config(&self, address: ListenAddr, tls: TlsSource, pages: Origins) -> Result<ServerConfig, Error> {
        let is_secure = !matches!(tls, TlsSource::None);
        Ok(ServerConfig {
            address,
            tls,
            tls_demands: ServerDemands {
                min: TlsMin::version(self.tls_min),
                client_ca: self.guards.client_ca.clone().filter(|_| is_secure),
                client_ca_passphrase: settings::secret(None, self.guards.client_ca_passphrase_env.as_deref())?,
            },
            paths: self.paths.clone(),
            origins: Origins::listed(&self.allow_origin, pages),
            subprotocols: self.subprotocols.clone(),
            deflate: settings::deflate(self.compress.as_deref(), DeflateOffer::of_server)?,
            handshake_timeout: self.handshake_timeout,
            port_file: self.port_file.clone(),
            limits: MessageLimits {
                text: self.max_text_size.unwrap_or(self.max_message_size),
                binary: self.max_binary_size.unwrap_or(self.max_message_size),
            },
            guard: guards::guards(&self.guards)?,
            driver: DriverSettings {
                keepalive: KeepaliveSettings {
                    ping_at_once: false,
                    ping_interval: Some(self.ping_interval).filter(|interval| !interval.is_zero()),
                    ping_timeout: self.ping_timeout,
                    idle_timeout: self.idle_timeout,
                },
                close_timeout: self.close_timeout,
                fragment: None,
            },
            queue_size: self.queue_size,
            queue_bytes: self.queue_bytes,
            on_full: self.on_full,
            session_name: self.names.filter()?,
            ..ServerConfig::default()
        })
    }

    /// Returns where the flags say that the certificate comes from.
    ///
    /// # Errors
    /// An unset variable, by name.
    pub(crate) fn certificate(&self) -> Result<TlsSource, Error> {
        // At a server end --pkcs12 may be meant for its clients.
        let pkcs12 = self.pkcs12.as_ref().filter(|_| !self.tls);
        Ok(match settings::identity_files(self.tls_cert.as_ref(), self.tls_key.as_ref(), pkcs12) {
            Some(files) => {
                let passphrase = settings::secret(None, self.passphrase_env.as_deref())?;
                TlsSource::Files(ServerIdentity { files, passphrase })
            }
            None if self.tls => TlsSource::SelfSigned { ca_out: self.tls_ca_out.clone() },
            None => TlsSource::None,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::FromArgMatches as _;

    use super::*;

    #[test]
    fn without_flags_the_settings_are_the_defaults() {
        let command = ServerArgs::augment_args(clap::Command::new("server"));
        let matches = command.try_get_matches_from(["server"]).expect("no flag is required");
        let args = ServerArgs::from_arg_matches(&matches).expect("all have defaults");
        let default = ServerConfig::default();
        let made = args.config(default.address.clone(), TlsSource::None, Origins::Every).expect("settings");
        let shown = |config: &ServerConfig| {
            let ServerConfig { paths, origins, subprotocols, deflate, handshake_timeout, port_file, .. } = config;
            let ServerConfig { limits, guard, driver, queue_size, queue_bytes, on_full, session_name, .. } = config;
            let demands = &config.tls_demands;
            format!(
                "{:#?}",
                (
                    (paths, origins, subprotocols, deflate, handshake_timeout, port_file, demands),
                    (limits, guard, driver, queue_size, queue_bytes, on_full, session_name),
                )
            )
        };
        assert_eq!(shown(&made), shown(&default));
    }
}
