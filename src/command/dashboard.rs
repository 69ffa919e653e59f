//! `--tui`: the dashboard on a run of this process, with what it needs of the terminal.
//!
//! Owns the conditions under which there can be one. Leaves what it shows to `tui`.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use crate::bench::hand::Hand;
use crate::bench::live::Live;
use crate::error::Error;
use crate::host::{Host, Stderr};
use crate::listen::hub::Hub;
use crate::listen::input::{Console, OpenConsole};
use crate::message::io_text::io_text;
use crate::observe::Control;
use crate::sink::stdout::Output;
use crate::tui::source::{Here, Source};
use crate::tui::{Dashboard, DashboardSettings, Heard, LoadScreen};

/// What a dashboard takes from the host, once it is known that there can be one.
pub struct Screen {
    settings: DashboardSettings,
    stderr: Stderr,
}

impl Screen {
    /// The terminal of this process, for a dashboard with this title.
    ///
    /// # Errors
    /// When a person cannot see it or cannot type: `flag` says what asked for it.
    pub fn of(host: &Host, flag: &str, title: impl Into<String>) -> Result<Self, Error> {
        let missing = match (host.stdin_is_terminal, host.stdout_is_terminal) {
            (true, true) if host.display.dumb => {
                return Err(Error::usage(
                    format!("{flag} needs a terminal that can move the cursor; TERM is dumb"),
                    "set TERM to your terminal's type, or run without the dashboard",
                ));
            }
            (true, true) => None,
            (false, true) => Some("standard input is not a terminal"),
            (true, false) => Some("standard output is not a terminal"),
            (false, false) => Some("standard input and output are not terminals"),
        };
        if let Some(missing) = missing {
            let elsewhere = match flag {
                "wsp top" => "for programs: curl URL/metrics, URL/sessions or URL/events",
                "wsp demo" => "wsp demo | cat prints its feed",
                _ => "for programs: --json; listen and relay also have --admin",
            };
            let hint = format!("run it in a terminal; {elsewhere}");
            return Err(Error::usage(format!("{flag} needs a terminal: {missing}"), hint));
        }
        let stdout = host.stdout.try_clone().map_err(|error| cannot(flag, &error))?;
        let heard = Heard::default();
        let settings = DashboardSettings { title: title.into(), control: true, display: host.display, stdout, heard };
        Ok(Self { settings, stderr: host.stderr.clone() })
    }

    /// Only looks, never acts.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.settings.control = false;
        self
    }

    /// Colours are left out.
    #[must_use]
    pub fn without_colours(mut self) -> Self {
        self.settings.display.depth = crate::host::Depth::None;
        self
    }

    /// Another title.
    #[must_use]
    pub fn titled(mut self, title: String) -> Self {
        self.settings.title = title;
        self
    }

    /// Takes the terminal over. What goes to stderr is shown in the log; where stderr is not a terminal it goes there,
    /// too.
    ///
    /// # Errors
    /// When the terminal cannot be set up.
    pub fn open(self, sources: Vec<(String, Box<dyn Source>)>) -> Result<Shown, Error> {
        let heard = self.settings.heard.clone();
        let dashboard = Dashboard::open(self.settings, sources).map_err(|error| cannot("the dashboard", &error))?;
        self.stderr.divert(move |line| heard.push(line));
        Ok(Shown { dashboard, stderr: self.stderr })
    }

    /// Takes the terminal over for a load test; `enough` is told when the person has seen enough of it,
    /// `hand` what the person changes.
    ///
    /// # Errors
    /// When the terminal cannot be set up.
    pub fn follow(self, live: watch::Receiver<Live>, enough: Rc<Notify>, hand: Rc<Hand>) -> Result<Following, Error> {
        let DashboardSettings { title, display, stdout, .. } = self.settings;
        let screen = LoadScreen::open(title, display, stdout, live, (enough, hand))
            .map_err(|error| cannot("the dashboard", &error))?;
        Ok(Following { screen })
    }

    /// As [`Screen::open`], for one run of this process.
    ///
    /// # Errors
    /// When the terminal cannot be set up.
    pub fn show(self, run: Rc<dyn Control>) -> Result<Shown, Error> {
        let label = run.mode().to_owned();
        self.open(vec![(label, Box::new(Here::new(run, Instant::now())))])
    }
}

fn cannot(what: &str, error: &std::io::Error) -> Error {
    Error::Internal(format!("{what}: cannot use the terminal: {}", io_text(error)))
}

/// The dashboard of a load test, as it is shown.
pub struct Following {
    screen: LoadScreen,
}

impl Following {
    /// Gives the terminal back.
    pub fn close(self) {
        self.screen.close();
    }
}

/// A dashboard that is shown.
pub struct Shown {
    dashboard: Dashboard,
    stderr: Stderr,
}

impl Shown {
    /// Ready when the person has left.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.dashboard.poll_ended(cx)
    }

    /// Waits until the person has left.
    pub async fn ended(&mut self) {
        std::future::poll_fn(|cx| self.poll_ended(cx)).await;
    }

    /// What is lost at this time: each address, and why.
    #[must_use]
    pub fn lost(&self) -> Vec<(String, String)> {
        self.dashboard.lost()
    }

    /// Gives the terminal back.
    pub fn close(self) {
        self.dashboard.close();
        self.stderr.restore();
    }
}

/// The dashboard as a server's console.
struct ServerDashboard {
    screen: Option<Screen>,
    shown: Option<Shown>,
    ended: bool,
}

/// The way to open the dashboard of a server, once it is known where that listens.
pub(crate) fn opener(screen: Screen) -> OpenConsole {
    Box::new(move |address| {
        let title = format!("wsp listen {address}");
        opener_titled(screen, title)(address)
    })
}

/// As [`opener`], under another title.
pub(crate) fn opener_titled(screen: Screen, title: String) -> OpenConsole {
    Box::new(move |_| {
        let screen = screen.titled(title);
        let dashboard = ServerDashboard { screen: Some(screen), shown: None, ended: false };
        // What would have been printed is on the dashboard.
        Some((Box::new(dashboard) as Box<dyn Console>, Output::over(std::io::sink())))
    })
}

impl Console for ServerDashboard {
    fn poll(&mut self, cx: &mut Context<'_>, hub: &Rc<Hub>) -> Poll<()> {
        if let Some(screen) = self.screen.take() {
            match screen.show(Rc::clone(hub) as Rc<dyn Control>) {
                Ok(shown) => self.shown = Some(shown),
                Err(error) => {
                    hub.stderr.line(format!("wsp: {error}"));
                    self.ended = true;
                }
            }
        }
        if !self.ended && self.shown.as_mut().is_none_or(|shown| shown.poll_ended(cx).is_ready()) {
            self.ended = true;
            // Who has left sees how the server closes.
            if let Some(shown) = self.shown.take() {
                shown.close();
            }
        }
        if self.ended { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_hurry(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    fn close(self: Box<Self>, _hub: &Hub) {
        if let Some(shown) = self.shown {
            shown.close();
        }
    }
}
