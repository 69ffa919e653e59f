//! What the user types: one file per subcommand, and the flag groups they share.
//!
//! The only place that sees clap. Everything else gets settings in types that cannot be wrong.

pub mod connect;
pub mod generate;
pub mod listen;
pub mod options;
pub mod proxies;
pub mod settings;
pub mod values;

use std::ffi::OsString;

use clap::{Command, CommandFactory, Parser, Subcommand};

use crate::exit;

/// Examples at the head of the help.
const EXAMPLES: &str = "\
Examples:
  wsp listen 8080 --echo                   a server to try things on
  wsp localhost:8080                       connect to it: type lines, read replies
  echo hello | wsp connect ws://localhost:8080/
  wsp connect wss://localhost:8443/ -k -v  see the handshake
  wsp connect --help                       everything a connection can be told
";

const TEMPLATE: &str = "{before-help}{about}\n\n{usage-heading} {usage}\n\n{all-args}{after-help}";

/// A WebSocket client and server for terminals, pipes and scripts
#[derive(Debug, Parser)]
#[command(name = "wsp", version, before_help = EXAMPLES, after_long_help = exit_codes(), disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Connect to a WebSocket server; `wsp URL` is short for it
    Connect(Box<connect::ConnectArgs>),
    /// Run a WebSocket test server
    Listen(Box<listen::ListenArgs>),
    /// Print shell completions or write man pages
    Generate(generate::GenerateArgs),
}

fn exit_codes() -> String {
    format!("Exit codes:\n{}", exit::TABLE)
}

/// The definition help, completions and man pages are made from.
#[must_use]
pub fn definition() -> Command {
    Cli::command().mut_subcommands(|command| command.help_template(TEMPLATE)).help_template(TEMPLATE)
}

/// Puts `connect` before a URL that stands where a subcommand would.
#[must_use]
pub fn with_default_subcommand(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_command = |word: &str| definition().find_subcommand(word).is_some();
    if let Some(first) = arguments.get(1).and_then(|first| first.to_str())
        && !first.starts_with('-')
        && !is_command(first)
        && looks_like_a_url(first)
    {
        arguments.insert(1, "connect".into());
    }
    arguments
}

/// A scheme, or host:port with a number or a path after it.
fn looks_like_a_url(word: &str) -> bool {
    if word.contains("://") {
        return true;
    }
    let authority = word.split(['/', '?']).next().unwrap_or_default();
    let port = authority.rsplit_once(':').map(|(_, port)| port);
    port.is_some_and(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn a_url_alone_means_connect() {
        let table = [
            ("ws://h/", true),
            ("wss://h", true),
            ("localhost:8080", true),
            ("[::1]:80/x", true),
            (":8080", true),
            ("listen", false),
            ("conect", false),
            ("--version", false),
        ];
        for (word, means_connect) in table {
            let arguments = with_default_subcommand(vec!["wsp".into(), word.into()]);
            assert_eq!(arguments[1] == "connect", means_connect, "{word}");
        }
    }

    #[test]
    fn the_short_help_is_one_screen() {
        for name in ["connect", "listen", "generate"] {
            let mut command = definition();
            command.build();
            let help = command.find_subcommand_mut(name).expect("a subcommand").render_help().to_string();
            assert!(help.lines().count() <= 50, "{name}: {} lines", help.lines().count());
            let examples = help.find("Examples:").expect("examples");
            assert!(examples < help.find("Usage:").expect("usage"), "{name}");
        }
    }
}
