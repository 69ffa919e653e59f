//! What the user types: one file per subcommand, and the flag groups they share.
//!
//! The only place that sees clap. Everything else gets settings in types that cannot be wrong.

pub(crate) mod admin;
pub(crate) mod bench;
pub(crate) mod brokers;
mod complete;
pub(crate) mod config;
pub(crate) mod connect;
pub(crate) mod console;
pub(crate) mod curl;
#[cfg_attr(not(feature = "tui"), path = "no_dashboard.rs")]
pub(crate) mod dashboard;
#[cfg(feature = "tui")]
pub(crate) mod demo;
pub(crate) mod faults;
pub(crate) mod filters;
pub(crate) mod generate;
pub(crate) mod guards;
mod habits;
pub(crate) mod help;
pub(crate) mod layers;
pub(crate) mod listen;
mod man;
pub(crate) mod names;
pub(crate) mod options;
pub(crate) mod payload;
mod plain;
pub(crate) mod proxies;
mod reference;
pub(crate) mod relay;
pub(crate) mod script;
pub(crate) mod server_args;
pub(crate) mod settings;
mod slash;
pub(crate) mod spool;
#[cfg(feature = "tui")]
pub(crate) mod top;
pub(crate) mod values;
pub(crate) mod version;
mod words;
pub(crate) mod wscat;

use std::ffi::OsString;

use clap::{Command, CommandFactory, FromArgMatches as _, Parser, Subcommand};

use crate::config::Setting;
use crate::config::variables::Environment;
use crate::exit;
use layers::{Stop, Target};
use wscat::Meaning;

/// Examples at the head of the help.
const EXAMPLES: &str = "\
Examples:
  wsp demo                                 a first look, no setup needed
  wsp listen 8080 --echo                   a server to try things on
  wsp localhost:8080                       connect to it: type lines, read replies
  echo hello | wsp connect ws://localhost:8080/
  wsp connect wss://localhost:8443/ -k -v  see the handshake
  wsp connect --help                       all connection options
  wsp help exit-codes                      what an exit code means; wsp help lists the topics
";

const TEMPLATE: &str = "{before-help}{about}\n\n{usage-heading} {usage}\n\n{all-args}{after-help}";

/// A WebSocket client and server for terminals, pipes and scripts
#[derive(Debug, Parser)]
#[command(name = "wsp", version, before_help = EXAMPLES, after_long_help = tables(), disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Connect to a WebSocket server; `wsp URL` is short for it
    Connect(Box<connect::ConnectArgs>),
    /// Run a WebSocket test server
    Listen(Box<listen::ListenArgs>),
    /// Move messages between endpoints, with queues and acknowledgements
    Relay(Box<relay::RelayArgs>),
    /// Load-test a WebSocket server
    Bench(Box<bench::BenchArgs>),
    /// Show running wsp processes on a dashboard, through their admin addresses
    #[cfg(feature = "tui")]
    Top(top::TopArgs),
    /// Show a demo feed on loopback on the dashboard: a first look, no setup needed
    #[cfg(feature = "tui")]
    Demo(demo::DemoArgs),
    /// Show where settings come from and what can be set
    Config(config::ConfigArgs),
    /// Print shell completions, write man pages or files for monitoring
    Generate(generate::GenerateArgs),
    /// Explain a subcommand or a topic
    Help(help::HelpArgs),
    /// Print the version, commit, features, TLS library and target
    Version(version::VersionArgs),
}

fn tables() -> String {
    let (topics, differences) = (help::list(), wscat::DIFFERENCES.trim_end());
    format!("Exit codes:\n{}\n\nTopics of wsp help:\n{topics}\nwscat's flags:\n{differences}", exit::TABLE)
}

/// What the command line, variables and profiles come to.
#[derive(Debug)]
pub(crate) struct Read {
    /// What is to be done.
    pub cli: Cli,
    /// Settings that did not come from the command line.
    pub settings: Vec<Setting>,
    /// Variables that look like ours and are somebody else's.
    pub foreign: Vec<String>,
}

/// From the arguments to what is to be done.
///
/// # Errors
/// What is wrong with the command line or with a setting, and requests for help.
pub(crate) fn read(arguments: Vec<OsString>, environment: &Environment) -> Result<Read, Stop> {
    let (arguments, meaning) = in_own_words(arguments)?;
    let resolved = layers::resolve(definition(), arguments.clone(), environment).map_err(|stop| match stop {
        Stop::Clap(error) => Stop::Clap(habits::explain(error, &arguments)),
        faults @ Stop::Faults(_) => faults,
    })?;
    let mut cli = Cli::from_arg_matches(&resolved.matches)?;
    if let (Some(meaning), Action::Connect(args)) = (meaning, &mut cli.action) {
        args.wscat = true;
        args.connection.passphrase = meaning.passphrase;
    }
    if let Action::Relay(args) = &mut cli.action
        && (args.file.is_some() || args.names_a_profile())
    {
        (args.options, args.given) = layers::options_given(&mut definition(), "relay", &resolved.matches);
    }
    if let Some(target) = &resolved.target {
        cli.action.go_to(target);
    }
    Ok(Read { cli, settings: resolved.added, foreign: resolved.foreign })
}

/// Puts wscat's flags into our words, and the default subcommand in front.
fn in_own_words(arguments: Vec<OsString>) -> Result<(Vec<OsString>, Option<Meaning>), clap::Error> {
    let ask = || rpassword::prompt_password("Passphrase: ");
    let (arguments, meaning) = wscat::translate(arguments, ask)?;
    Ok((words::with_subcommand(arguments)?, meaning))
}

impl Action {
    /// Whether what goes to stderr matters beyond the exit code: it is the account of a run, unless `-q` gives it up.
    #[must_use]
    pub(crate) fn has_much_to_tell(&self) -> bool {
        match self {
            Self::Connect(args) => !args.output.quiet,
            Self::Listen(args) => !args.output.quiet,
            Self::Relay(args) => !args.output.quiet,
            Self::Bench(args) => !args.output.quiet,
            _ => false,
        }
    }

    /// Puts the profile's URL where its name stands.
    fn go_to(&mut self, target: &Target) {
        let is_meant = |url: &&mut String| **url == target.word;
        match self {
            Self::Connect(args) => args.urls.iter_mut().filter(is_meant).for_each(|url| url.clone_from(&target.url)),
            Self::Bench(args) => args.url.iter_mut().filter(is_meant).for_each(|url| url.clone_from(&target.url)),
            _ => {}
        }
    }
}

/// The definition help, completions and man pages are made from.
#[must_use]
pub(crate) fn definition() -> Command {
    Cli::command()
        .mut_subcommand("bench", bench::without_absent)
        .mut_subcommands(|command| command.help_template(TEMPLATE))
        .help_template(TEMPLATE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn the_short_help_is_one_screen() {
        let mut command = definition();
        command.build();
        let names: Vec<_> = command.get_subcommands().map(|command| command.get_name().to_owned()).collect();
        assert!(names.len() >= 5, "{names:?}");
        for name in &names {
            let help = command.find_subcommand_mut(name).expect("a subcommand").render_help().to_string();
            assert!(help.lines().count() <= 50, "{name}: {} lines", help.lines().count());
            let examples = help.find("Examples:").expect("examples");
            assert!(examples < help.find("Usage:").expect("usage"), "{name}");
        }
    }
}
