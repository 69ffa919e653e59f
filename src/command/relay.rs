//! `wsp relay`: moves messages between endpoints.
//!
//! Runs a relay and reports its outcome. Leaves flags to `args`, what they mean to `build` and `ends`, and moving to
//! `pipeline/`.

mod args;
mod bins;
mod build;
mod dashboard;
mod dead;
mod ends;
mod exec;
mod files;
mod http;
mod many;
mod plan;
mod profiles;
mod routes;
mod run;
mod server_args;
mod servers;
mod stores;

use self::build::Surroundings;
use super::spool::print_status;
use crate::error::Error;
use crate::exit::Exit;
use crate::host::{Host, Signals};

pub(crate) use args::{OnFull, RelayArgs};

/// Runs `wsp relay`.
///
/// # Errors
/// Whatever keeps it from starting; what happens later is reported and becomes the code.
pub(crate) async fn run(args: &RelayArgs, mut host: Host) -> Result<Exit, Error> {
    if let (true, Some(directory)) = (args.queue.spool.status, &args.queue.spool.spool) {
        return print_status(directory, args.output.json, &mut host);
    }
    args.connection.filter_limits.apply();
    args.connection.filters.set_variables()?;
    let signals = Signals::install().map_err(|error| Error::Internal(format!("signals: {error}")))?;
    let around = Surroundings::new(host);
    match &args.file {
        Some(path) => many::run(path, args, &around, signals).await,
        None => run::run(args, &around, signals).await,
    }
}
