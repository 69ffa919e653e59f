//! `--admin` and what belongs to it: flags that several subcommands share.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use clap::Args;

use super::settings;
use crate::endpoint::ListenAddr;
use crate::error::Error;
use crate::observe::admin::AdminSettings;

/// The admin address.
#[derive(Debug, Clone, Args)]
pub struct AdminArgs {
    /// Metrics, health, sessions and events over HTTP: PORT (on loopback), HOST:PORT or unix:PATH
    #[arg(long, value_name = "ADDR", hide_short_help = true, help_heading = "Monitoring")]
    pub admin: Option<String>,
    /// Answer there only to whoever sends the token in this variable as Authorization: Bearer
    #[arg(long, value_name = "VAR", requires = "admin", hide_short_help = true, help_heading = "Monitoring")]
    pub admin_token_env: Option<String>,
}

impl AdminArgs {
    /// What these flags ask for.
    ///
    /// # Errors
    /// An address that is none; a token that is not there, or that no header can carry.
    pub fn settings(&self, max_body: usize, requires_clients: bool) -> Result<Option<AdminSettings>, Error> {
        let Some(text) = &self.admin else { return Ok(None) };
        let address = ListenAddr::parse(text)
            .map_err(|error| Error::usage(format!("--admin {text}: {error}"), "write PORT, HOST:PORT or unix:PATH"))?;
        let token = settings::secret(None, self.admin_token_env.as_deref())?;
        if let (Some(token), Some(variable)) = (&token, &self.admin_token_env)
            && (token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            let message = format!("the token in {variable} is empty, or has spaces or characters outside ASCII");
            return Err(Error::usage(message, "a header must be able to carry it"));
        }
        Ok(Some(AdminSettings { address, token, max_body, requires_clients }))
    }
}
