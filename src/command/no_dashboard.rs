//! `--tui` in a build without the dashboard: says so.
//!
//! Has the face of `dashboard`, behind which nothing is ever made.

use std::convert::Infallible;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::sync::{Notify, watch};

use crate::bench::hand::Hand;
use crate::bench::live::Live;
use crate::error::Error;
use crate::host::Host;
use crate::listen::input::OpenConsole;
use crate::observe::Control;

/// The absent dashboard's host.
pub struct Screen(Infallible);

impl Screen {
    /// Fails.
    ///
    /// # Errors
    /// Always.
    pub fn of(_host: &Host, flag: &str, _title: impl Into<String>) -> Result<Self, Error> {
        let hint = "build it with --features tui";
        Err(Error::usage(format!("{flag}: this build has no dashboard"), hint))
    }

    /// Never called.
    #[must_use]
    pub fn without_colours(self) -> Self {
        self
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn follow(
        self,
        _live: watch::Receiver<Live>,
        _enough: Rc<Notify>,
        _hand: Rc<Hand>,
    ) -> Result<Following, Error> {
        match self.0 {}
    }

    /// Never called.
    ///
    /// # Errors
    /// None.
    pub fn show(self, _run: Rc<dyn Control>) -> Result<Shown, Error> {
        match self.0 {}
    }
}

/// The absent dashboard of a load test.
pub struct Following(Infallible);

impl Following {
    /// Never called.
    pub fn close(self) {
        match self.0 {}
    }
}

/// The absent shown dashboard.
pub struct Shown(Infallible);

impl Shown {
    /// Never called.
    pub fn poll_ended(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        match self.0 {}
    }

    /// Never called.
    pub fn close(self) {
        match self.0 {}
    }
}

/// Never called.
#[expect(clippy::needless_pass_by_value, reason = "as in a build with it")]
pub fn opener(screen: Screen) -> OpenConsole {
    match screen.0 {}
}
