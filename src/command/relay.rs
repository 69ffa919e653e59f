//! `wsp relay`: moves messages between endpoints.
//!
//! Runs a relay and gives account of it. Leaves flags to `args`, what they mean to `build` and `ends`, and moving to
//! `pipeline/`.

mod args;
mod build;
mod dead;
mod ends;
mod exec;
mod files;
mod http;
mod servers;

use self::build::Build;
use super::spool::print_status;
use crate::error::Error;
use crate::exit::Exit;
use crate::host::{Host, Signals};

pub use args::{EXAMPLES, InputArg, NonJsonArg, OnFull, RelayArgs};

/// Runs `wsp relay`.
///
/// # Errors
/// Whatever keeps it from starting; what happens later is reported and becomes the code.
pub async fn run(args: &RelayArgs, mut host: Host) -> Result<Exit, Error> {
    if let (true, Some(directory)) = (args.spool.status, &args.spool.spool) {
        return print_status(directory, args.output.json, &mut host);
    }
    let mut signals = Signals::install().map_err(|error| Error::Internal(format!("signals: {error}")))?;
    let stderr = host.stderr.clone();
    let mut build = Build::new(args, host)?;
    let relay = build.relay()?;
    let flows = relay.flows.clone();
    let ended = relay.run(&mut signals).await;
    for error in &ended.errors {
        stderr.line(format!("wsp: {error}"));
        if let Some(hint) = &error.hint {
            stderr.line(format!("hint: {hint}"));
        }
    }
    for flow in &flows {
        stderr.line(flow.ledger.to_string());
    }
    Ok(ended.exit)
}
