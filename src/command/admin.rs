//! `--admin` and what belongs to it: flags that several subcommands share.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use clap::{Args, ValueEnum};

use super::settings;
use crate::endpoint::ListenAddr;
use crate::error::Error;
use crate::observe::admin::AdminSettings;
use crate::observe::metrics::Names;

/// The admin address.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Monitoring")]
pub(crate) struct AdminArgs {
    /// Serve metrics, health, sessions and events over HTTP: PORT (on loopback), HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDR", hide_short_help = true)]
    pub admin: Option<String>,
    /// Require the token in this environment variable there, as Authorization: Bearer
    #[arg(long, value_name = "VAR", requires = "admin", hide_short_help = true)]
    pub admin_token_env: Option<String>,
    /// Names of metrics: wsp, or websocket_input as in StreamKit's component
    ///
    /// With websocket_input, /metrics has websocket_input_messages_received_total{component,type} and the others of that
    /// component, and /health says connected or disconnected, and server or client as its mode.
    #[arg(
        long,
        value_name = "NAMES",
        default_value = "wsp",
        requires = "admin",
        hide_possible_values = true,
        hide_short_help = true
    )]
    pub metrics_names: NamesArg,
    /// Value of the component label in those metrics
    #[arg(long, value_name = "NAME", default_value = "websocket_input", requires = "admin", hide_short_help = true)]
    pub metrics_component: String,
}

/// `--metrics-names`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NamesArg {
    /// `wsp_…`
    Wsp,
    /// `websocket_input_…`
    #[value(name = "websocket_input")]
    WebsocketInput,
}

impl AdminArgs {
    /// What these flags ask for.
    ///
    /// # Errors
    /// An invalid address; a token that is not there, or that no header can carry.
    pub(crate) fn settings(&self, max_body: usize, requires_clients: bool) -> Result<Option<AdminSettings>, Error> {
        let Some(text) = &self.admin else { return Ok(None) };
        let address = ListenAddr::parse(text)
            .map_err(|error| Error::usage(format!("--admin {text}: {error}"), "write PORT, HOST:PORT or unix:PATH"))?;
        let token = settings::secret(None, self.admin_token_env.as_deref())?;
        if let (Some(token), Some(variable)) = (&token, &self.admin_token_env)
            && (token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            let message = format!("the token in {variable} is empty, or has spaces or characters outside ASCII");
            return Err(Error::usage(message, "use printable ASCII without spaces"));
        }
        let names = match self.metrics_names {
            NamesArg::Wsp => Names::Own,
            NamesArg::WebsocketInput => Names::WebsocketInput { component: self.metrics_component.clone() },
        };
        Ok(Some(AdminSettings { address, token, max_body, requires_clients, names }))
    }
}
