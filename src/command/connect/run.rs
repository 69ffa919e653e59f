//! From the flags of `wsp connect` to a run of client sessions, with the console that is asked for.

use std::rc::Rc;

use super::ConnectArgs;
use super::dashboard::DashboardConsole;
use super::plan::plan;
use super::prompt::PromptConsole;
use crate::client::info::SessionInfo;
use crate::client::input::OpenConsole;
use crate::client::plan::Plan;
use crate::client::run;
use crate::command::{curl, settings};
use crate::error::Error;
use crate::exit::Exit;
use crate::host::Host;
use crate::net::connector::Connector;

/// Runs `wsp connect`.
///
/// # Errors
/// Whatever keeps the run from starting; failures of sessions are reported and become the code.
pub(crate) async fn run(args: &ConnectArgs, host: Host) -> Result<Exit, Error> {
    let args = &curl::import(args)?;
    args.connection.filter_limits.apply();
    if args.urls.is_empty() {
        return Err(Error::usage("no URL to connect to", "wsp connect URL, @PROFILE or --curl LINE"));
    }
    let plan = plan(args, &host)?;
    let connector = |url: &String| Ok(Connector::new(settings::connect_options(url, &args.connection, true)?)?);
    let connectors = args.urls.iter().map(connector).collect::<Result<Vec<_>, Error>>()?;
    run::run(plan, connectors, host, console).await
}

/// The console that is asked for, where there can be one.
fn console(plan: &Plan, host: &Host, infos: &[Rc<SessionInfo>]) -> Result<Option<OpenConsole>, Error> {
    if plan.dashboard {
        return DashboardConsole::open(plan, host, infos).map(Some);
    }
    Ok(if plan.interactive && host.stdout_is_terminal { PromptConsole::open(plan, host, infos) } else { None })
}
