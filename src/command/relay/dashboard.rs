//! `--tui` of a relay: the terminal for it, and the title.
//!
//! Leaves what is shown to `tui`, and what there is to show to the pipelines' watch.

use super::args::RelayArgs;
use super::profiles::is_profile;
use crate::command::connect::plan::colour;
use crate::command::dashboard::Screen;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::host::Host;

/// The terminal for a dashboard on these pipelines.
///
/// # Errors
/// When there is none, or an end needs it.
pub(super) fn screen<'a>(
    title: &str,
    pipelines: impl IntoIterator<Item = &'a RelayArgs>,
    args: &RelayArgs,
    host: &Host,
) -> Result<Screen, Error> {
    if pipelines.into_iter().any(has_stdio) {
        let hint = "write to a file, or use --admin and wsp top";
        return Err(Error::usage("--tui uses the terminal, so - cannot be an endpoint", hint));
    }
    let screen = Screen::of(host, "--tui", format!("wsp relay {title}"))?;
    Ok(if colour(args.output.color, host) { screen } else { screen.without_colours() })
}

fn has_stdio(args: &RelayArgs) -> bool {
    let routed = args.routes.iter().filter_map(|route| route.rsplit_once("=>")).map(|(_, to)| to.trim());
    let dead = args.queue.dead_letter.as_deref();
    args.from
        .as_deref()
        .into_iter()
        .chain(args.to.iter().map(String::as_str))
        .chain(routed)
        .chain(dead)
        .any(|end| end == "-")
}

/// A pipeline in a line.
pub(super) fn title(args: &RelayArgs) -> String {
    let shown = |text: &str| match Endpoint::parse(text) {
        Ok(endpoint) => endpoint.to_string(),
        Err(_) if is_profile(text) => text.to_owned(),
        Err(_) => String::new(),
    };
    let to: Vec<_> = args.to.iter().map(|to| shown(to)).collect();
    format!("{} > {}", shown(args.from.as_deref().unwrap_or_default()), to.join(" "))
}
