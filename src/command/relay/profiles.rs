//! `@PROFILE` as an end of a relay: a WebSocket client with connection options of its own.
//!
//! The profile is read as `wsp connect @PROFILE` reads it, with what was given to the relay standing above it. Leaves what a
//! profile may hold to `config/`. Invariant: other ends do not see its options.

use std::ffi::OsString;

use clap::{Args as _, Command};

use super::args::RelayArgs;
use super::build::Build;
use crate::command::layers::Stop;
use crate::command::options::ConnectionArgs;
use crate::command::{self, Action};
use crate::config::variables::Environment;
use crate::config::{Origin, Setting};
use crate::endpoint::Endpoint;
use crate::error::Error;

/// Whether an end is a profile's name.
pub(super) fn is_profile(text: &str) -> bool {
    text.len() > 1 && text.starts_with('@')
}

impl RelayArgs {
    /// Whether any end is a profile's name.
    #[must_use]
    pub(crate) fn names_a_profile(&self) -> bool {
        let routed = self.routes.iter().filter_map(|route| route.rsplit_once("=>")).map(|(_, to)| to.trim());
        self.from.as_deref().into_iter().chain(self.to.iter().map(String::as_str)).chain(routed).any(is_profile)
    }
}

impl Build<'_> {
    /// Reads an end, which may be a profile's name.
    ///
    /// # Errors
    /// It is not an endpoint, or the profile cannot be used.
    pub(super) fn endpoint(&mut self, text: &str) -> Result<Endpoint, Error> {
        if !is_profile(text) {
            return endpoint(text);
        }
        let (url, connection) = read(text, &self.args.given)?;
        let found = endpoint(&url)?;
        if !matches!(found, Endpoint::Ws(_)) {
            let hint = "a profile is for ws:// and wss:// ends";
            return Err(Error::usage(format!("{text}: {found} is not a WebSocket URL"), hint));
        }
        self.profiles.push((found.clone(), connection));
        Ok(found)
    }

    /// The connection options of a client end.
    pub(super) fn connection_of(&self, url: &str) -> &ConnectionArgs {
        let is_its = |(endpoint, _): &&(Endpoint, ConnectionArgs)| matches!(endpoint, Endpoint::Ws(own) if own == url);
        self.profiles.iter().find(is_its).map_or(&self.args.connection, |(_, connection)| connection)
    }
}

pub(super) fn endpoint(text: &str) -> Result<Endpoint, Error> {
    Endpoint::parse(text).map_err(|error| {
        let hint = error.suggestion().unwrap_or_else(|| "see wsp relay --help".to_owned());
        Error::usage(error.to_string(), hint)
    })
}

/// The URL and the options of a profile, below `given`.
fn read(name: &str, given: &[Setting]) -> Result<(String, ConnectionArgs), Error> {
    let known = ConnectionArgs::augment_args(Command::new("ends"));
    let is_known = |setting: &&Setting| known.get_arguments().any(|arg| arg.get_long() == Some(&*setting.option));
    // Variables are read again.
    let is_given = |setting: &&Setting| !matches!(setting.origin, Origin::Variable(_) | Origin::Default);
    let above = given.iter().filter(is_known).filter(is_given).flat_map(Setting::arguments);
    let line = ["wsp", "connect", name].map(OsString::from).into_iter().chain(above).collect();
    match command::read(line, &Environment::of_this_process()) {
        Ok(read) => match read.cli.action {
            Action::Connect(args) => Ok((args.urls.first().cloned().unwrap_or_default(), args.connection)),
            _ => Err(Error::Internal(format!("{name} cannot be a profile here"))),
        },
        Err(Stop::Clap(error)) => {
            let text = error.to_string();
            let text = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            Err(Error::usage(format!("{name}: {text}"), "wsp config show @NAME shows the settings of a profile"))
        }
        Err(Stop::Faults(faults)) => {
            let fault = |fault: crate::config::Fault| Error::Usage { message: fault.message, hint: fault.hint };
            Err(Error::Several(faults.into_iter().map(fault).collect()))
        }
    }
}
