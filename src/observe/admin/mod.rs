//! The admin address: a run seen and steered over HTTP.
//!
//! Owns the socket, how many may ask at a time, and the regular look that `/health` needs. Leaves who may ask to
//! `guard`, what is answered to `routes`, the live view to `events`, and the run to its [`Control`].
//! Invariants: connections, bodies under way and live views are bounded; nobody who asks holds up the run.

mod events;
mod guard;
mod routes;

use std::cell::{Cell, RefCell};
use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore};
use tokio::task::{JoinHandle, JoinSet, spawn_local};

use super::control::Control;
use super::health::Health;
use super::metrics::Names;
use crate::endpoint::{ListenAddr, bracketed};
use crate::message::clock::now;
use crate::net::head;
use crate::net::http;
use crate::net::http_timeouts::HttpTimeouts;
use crate::net::listener::Listener;
use crate::net::transport::Transport;

/// Most connections at a time; further ones wait to be accepted.
const CONNECTIONS: usize = 64;
/// Most bodies that are read at a time.
const BODIES: usize = 4;
/// For a request head, and for a piece of a body or an answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often the run is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long to wait for live views to end.
const FAREWELL: Duration = Duration::from_millis(500);
/// Pause after accept(2) failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What is said of an address that [`Admin::is_open`].
pub(crate) const OPEN: &str =
    "admin: other machines can reach it without a token; require one with --admin-token-env VAR";

/// What the admin address is made from.
#[derive(Debug, Clone)]
pub(crate) struct AdminSettings {
    pub address: ListenAddr,
    pub token: Option<String>,
    /// Largest body of a request.
    pub max_body: usize,
    /// Whether a server without clients is ill.
    pub requires_clients: bool,
    /// What metrics and health are called.
    pub names: Names,
}

/// An admin address that is bound.
pub(crate) struct Admin {
    listener: Listener,
    settings: AdminSettings,
    is_loopback: bool,
}

impl Admin {
    /// Binds the address.
    ///
    /// # Errors
    /// As [`Listener::bind`].
    pub(crate) async fn bind(settings: AdminSettings) -> io::Result<Self> {
        let listener = Listener::bind(&settings.address).await?;
        let is_loopback = listener.local_addr().is_some_and(|address| address.ip().is_loopback());
        Ok(Self { listener, settings, is_loopback })
    }

    /// Where it is, as a user reads it.
    #[must_use]
    pub(crate) fn url(&self) -> String {
        match self.listener.local_addr() {
            Some(address) => format!("http://{}:{}", bracketed(&address.ip().to_string()), address.port()),
            None => self.settings.address.to_string(),
        }
    }

    /// Whether other machines may ask without a token.
    #[must_use]
    pub(crate) fn is_open(&self) -> bool {
        self.settings.token.is_none() && self.listener.local_addr().is_some() && !self.is_loopback
    }

    /// Begins to answer for `run`.
    #[must_use]
    pub(crate) fn serve(self, run: Rc<dyn Control>) -> Serving {
        let now = now();
        let state = Rc::new(State {
            run,
            token: self.settings.token,
            max_body: self.settings.max_body,
            names: self.settings.names,
            is_loopback: self.is_loopback,
            health: RefCell::new(Health::new(self.settings.requires_clients, now)),
            started: Timestamp::now(),
            bodies: Semaphore::new(BODIES),
            closing: Cell::new(false),
            views: Cell::new(0),
            view_ended: Notify::new(),
        });
        let tasks = [spawn_local(accept(self.listener, Rc::clone(&state))), spawn_local(look(Rc::clone(&state)))];
        Serving { state, tasks }
    }
}

/// An admin address that answers.
pub(crate) struct Serving {
    state: Rc<State>,
    tasks: [JoinHandle<()>; 2],
}

impl Serving {
    /// Ends the live views in order, and everything else at once.
    pub(crate) async fn stop(self) {
        self.state.closing.set(true);
        let views_ended = async {
            while self.state.views.get() > 0 {
                self.state.view_ended.notified().await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, views_ended).await;
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
    }
}

struct State {
    run: Rc<dyn Control>,
    token: Option<String>,
    max_body: usize,
    names: Names,
    is_loopback: bool,
    health: RefCell<Health>,
    started: Timestamp,
    bodies: Semaphore,
    closing: Cell<bool>,
    /// Live views that are open.
    views: Cell<usize>,
    view_ended: Notify,
}

impl State {
    fn messages(&self) -> u64 {
        let counters = self.run.counters();
        counters.received.messages.get() + counters.sent.messages.get()
    }

    fn look(&self, now: Instant) {
        let mut full = Vec::new();
        self.run.each_full_queue(&mut |queue| full.push(queue));
        full.sort_unstable();
        let retries_spent = self.run.has_spent_retries();
        self.health.borrow_mut().look(now, self.run.active(), &full, retries_spent, self.messages());
    }
}

async fn look(state: Rc<State>) {
    let mut ticks = tokio::time::interval(LOOK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        state.look(now());
    }
}

async fn accept(listener: Listener, state: Rc<State>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => match accepted {
                Ok((transport, _)) => {
                    connections.spawn_local(converse(transport, Rc::clone(&state)));
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn converse(transport: Transport, state: Rc<State>) {
    let answer = |request| routes::answer(Rc::clone(&state), request);
    let served = http::serve(transport, HttpTimeouts::new(PATIENCE, now()), head::small_server(), answer).await;
    http::linger(served.transport).await;
}
