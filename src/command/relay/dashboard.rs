//! `--tui` of a relay: the terminal for it, and the title.
//!
//! Leaves what is shown to `tui`, and what there is to show to the pipelines' watch.

use super::args::RelayArgs;
use crate::command::connect::plan::colour;
use crate::command::dashboard::Screen;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::host::Host;

/// The terminal for a dashboard.
///
/// # Errors
/// When there is none, or an end needs it.
pub(super) fn screen(args: &RelayArgs, host: &Host) -> Result<Screen, Error> {
    let from = args.from.as_deref().unwrap_or_default();
    let routed = args.routes.iter().filter_map(|route| route.rsplit_once("=>")).map(|(_, to)| to.trim());
    if args.to.iter().map(String::as_str).chain(routed).any(|to| to == "-") || from == "-" {
        let hint = "name a file, or look at it with --admin and wsp top";
        return Err(Error::usage("--tui has the terminal, so that - cannot be an end", hint));
    }
    let shown = |text: &str| Endpoint::parse(text).map(|endpoint| endpoint.to_string()).unwrap_or_default();
    let to: Vec<_> = args.to.iter().map(|to| shown(to)).collect();
    let screen = Screen::of(host, "--tui", format!("wsp relay {} > {}", shown(from), to.join(" ")))?;
    Ok(if colour(args.output.color, host) { screen } else { screen.without_colours() })
}
