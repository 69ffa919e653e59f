//! `wsp version`: what this program is and what was built into it.
//!
//! Leaves finding the commit and the target to the build script. `--version` stays one line.

use std::fmt::Write as _;

use clap::Args;
use serde_json::json;

use crate::error::Error;
use crate::exit::Exit;
use crate::host::Host;
use crate::net::tls;

const EXAMPLES: &str = "\
Examples:
  wsp version                      version, commit, features, TLS library and target
  wsp version --json               the same as a JSON object
  wsp --version                    one line
";

/// The optional features, and whether this build has them.
const FEATURES: [(&str, bool); 4] = [
    ("kafka", cfg!(feature = "kafka")),
    ("nats", cfg!(feature = "nats")),
    ("postgres", cfg!(feature = "postgres")),
    ("tui", cfg!(feature = "tui")),
];

/// Flags of `wsp version`.
#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub(crate) struct VersionArgs {
    /// Print a JSON object
    #[arg(long)]
    pub json: bool,
}

/// Runs `wsp version`.
///
/// # Errors
/// Standard output that cannot be written to.
pub(crate) fn run(args: &VersionArgs, host: &mut Host) -> Result<Exit, Error> {
    host.print(if args.json { as_json() } else { as_text() })?;
    Ok(Exit::Done)
}

/// Returns the names of the features that this build has, or lacks.
fn features(present: bool) -> Vec<&'static str> {
    FEATURES.iter().filter(|(_, is_in)| *is_in == present).map(|(name, _)| *name).collect()
}

fn as_text() -> String {
    let listed = |names: Vec<&str>| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let mut text = concat!("wsp ", env!("CARGO_PKG_VERSION"), "\n").to_owned();
    for (name, value) in [
        ("commit", env!("BUILD_COMMIT").to_owned()),
        ("features", listed(features(true))),
        ("left out", listed(features(false))),
        ("TLS", tls::library()),
        ("target", env!("BUILD_TARGET").to_owned()),
    ] {
        let _ = writeln!(text, "{name:<10}{value}");
    }
    text
}

fn as_json() -> String {
    let object = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "commit": env!("BUILD_COMMIT"),
        "features": features(true),
        "left_out": features(false),
        "tls": tls::library(),
        "target": env!("BUILD_TARGET"),
    });
    format!("{object}\n")
}
