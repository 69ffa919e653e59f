//! `--tui` of a relay: which of its ends are shown, and how.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::Poll;

use super::RelayArgs;
use crate::command::connect::plan::colour;
use crate::command::dashboard::{Screen, Shown};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::host::Host;
use crate::observe::Control;
use crate::pipeline::control::{Life, RelayControl, ShownEnd};
use crate::pipeline::run::Relay;
use crate::queue::end::EndIo;
use crate::queue::lane::Lane;

/// The terminal for a dashboard.
///
/// # Errors
/// When there is none, or an end needs it.
pub fn screen(args: &RelayArgs, host: &Host) -> Result<Screen, Error> {
    let from = args.from.as_deref().unwrap_or_default();
    if from == "-" || args.to.iter().any(|to| to == "-") {
        let hint = "name a file, or look at it with --admin and wsp top";
        return Err(Error::usage("--tui has the terminal, so that - cannot be an end", hint));
    }
    let shown = |text: &str| Endpoint::parse(text).map(|endpoint| endpoint.to_string()).unwrap_or_default();
    let to: Vec<_> = args.to.iter().map(|to| shown(to)).collect();
    let screen = Screen::of(host, "--tui", format!("wsp relay {} > {}", shown(from), to.join(" ")))?;
    Ok(if colour(args.output.color, host) { screen } else { screen.without_colours() })
}

/// An end that was made.
struct Made {
    id: String,
    name: String,
    life: Rc<Life>,
    gives: bool,
    is_from: bool,
    lane: Option<Rc<Lane>>,
}

/// The ends of a relay, while it is put together.
#[derive(Default)]
pub struct Ends {
    made: Vec<Made>,
    life: Rc<Life>,
}

impl Ends {
    /// Another end is about to be made.
    pub fn begin(&mut self) {
        self.life = Rc::default();
    }

    /// Where the one being made tells how things stand.
    pub fn life(&self) -> Rc<Life> {
        Rc::clone(&self.life)
    }

    /// It was made, and gave its session this number if it has one.
    pub fn add(&mut self, session: Option<usize>, endpoint: &Endpoint, io: &EndIo, is_from: bool) {
        // Others have nothing to tell: they are there, or the relay ends.
        if !matches!(endpoint, Endpoint::Ws(_)) {
            self.life.opened();
        }
        let id = session.map_or_else(|| format!("end{}", self.made.len() + 1), |number| format!("s{number}"));
        self.made.push(Made {
            id,
            name: endpoint.to_string(),
            life: Rc::clone(&self.life),
            gives: io.inlet.is_some(),
            is_from,
            lane: io.lane.clone(),
        });
    }

    /// Shows the relay, which ends when the person leaves.
    ///
    /// # Errors
    /// When the terminal cannot be set up.
    pub fn show(&mut self, screen: Screen, relay: &mut Relay) -> Result<Rc<RelayDashboard>, Error> {
        let flow = |made: &Made| {
            let place = usize::from(!made.is_from);
            relay.flows.get(place).filter(|_| made.gives).cloned()
        };
        let end =
            |made: Made| ShownEnd { flow: flow(&made), id: made.id, name: made.name, life: made.life, lane: made.lane };
        let mut ends: Vec<ShownEnd> = std::mem::take(&mut self.made).into_iter().map(end).collect();
        ends.sort_by_key(|end| end.flow.is_none());
        let control = RelayControl::new(ends, relay.flows.clone(), relay.spool.is_some());
        let shown = screen.show(control as Rc<dyn Control>)?;
        let dashboard = Rc::new(RelayDashboard(RefCell::new(Some(shown))));
        let watched = Rc::clone(&dashboard);
        relay.quit = Some(Box::pin(std::future::poll_fn(move |cx| {
            let has_left = watched.0.borrow_mut().as_mut().is_some_and(|shown| shown.poll_ended(cx).is_ready());
            if !has_left {
                return Poll::Pending;
            }
            // Who has left sees how the relay drains.
            watched.close();
            Poll::Ready(())
        })));
        Ok(dashboard)
    }
}

/// The dashboard of a relay.
pub struct RelayDashboard(RefCell<Option<Shown>>);

impl RelayDashboard {
    /// Gives the terminal back.
    pub fn close(&self) {
        if let Some(shown) = self.0.take() {
            shown.close();
        }
    }
}
