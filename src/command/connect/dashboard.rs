//! `--tui`: the dashboard as the console of a run.

use std::rc::Rc;
use std::task::Context;

use crate::client::control::ClientControl;
use crate::client::inbox::Inboxes;
use crate::client::info::SessionInfo;
use crate::client::input::{Console, OpenConsole};
use crate::client::plan::Plan;
use crate::client::shared::Shared;
use crate::command::dashboard::{Screen, Shown};
use crate::error::Error;
use crate::exit::Exit;
use crate::host::{Host, Stderr};
use crate::observe::Control;
use crate::sink::stdout::Output;

/// A person at the dashboard.
pub(super) struct DashboardConsole {
    screen: Option<Screen>,
    shown: Option<(Shown, Rc<ClientControl>)>,
}

impl DashboardConsole {
    /// The terminal, for a dashboard.
    ///
    /// # Errors
    /// When a person cannot see it or cannot type.
    pub(super) fn open(plan: &Plan, host: &Host, infos: &[Rc<SessionInfo>]) -> Result<OpenConsole, Error> {
        let title = match infos {
            [only] => only.url.clone(),
            several => format!("{} URLs", several.len()),
        };
        let screen = Screen::of(host, "--tui", format!("wsp connect {title}"))?;
        let screen = Some(if plan.colour { screen } else { screen.without_colours() });
        // What would have been printed is on the dashboard.
        Ok((Box::new(Self { screen, shown: None }), Output::over(std::io::sink())))
    }

    fn leave(&mut self) {
        if let Some((shown, _)) = self.shown.take() {
            shown.close();
        }
    }
}

impl Console for DashboardConsole {
    fn begin(&mut self, run: &Rc<ClientControl>) -> Result<(), Error> {
        if let Some(screen) = self.screen.take() {
            let shown = screen.show(Rc::clone(run) as Rc<dyn Control>)?;
            self.shown = Some((shown, Rc::clone(run)));
        }
        Ok(())
    }

    fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared, _: &Inboxes) {
        let Some((shown, control)) = &mut self.shown else { return };
        if control.watch(cx) {
            shared.changed.set(true);
        }
        if shown.poll_ended(cx).is_ready() {
            shared.stop(Exit::Done);
            // Who has left sees how the sessions close.
            self.leave();
        }
    }

    fn close(mut self: Box<Self>, _: &Stderr) {
        self.leave();
    }
}
