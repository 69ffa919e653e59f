//! The guards at work where connections come in: room for them, places for sessions, answers to those turned away.
//!
//! Leaves deciding to `admission` and `openings`, the sockets to the server's accept loop.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::request::Parts;
use jiff::Timestamp;
use tokio::sync::{Notify, oneshot};

use super::GuardSettings;
use super::admission::{Admission, AdmissionSettings, Full, Place};
use super::credentials::Credentials;
use super::openings::Openings;
use crate::message::clock::now;
use crate::net::listener::{Pass, PeerAddr, Refuse};

/// The guards of a server.
pub(crate) struct Guards {
    /// No limit on sessions was set: nothing needs to be kept of each.
    is_boundless: bool,
    admission: Rc<RefCell<Admission>>,
    openings: RefCell<Openings<oneshot::Sender<()>>>,
    changed: Notify,
    /// What a request must show.
    credentials: Option<Rc<Credentials>>,
}

impl Guards {
    /// With nobody there.
    #[must_use]
    pub(crate) fn new(settings: &GuardSettings) -> Rc<Self> {
        Rc::new(Self {
            is_boundless: settings.admission == AdmissionSettings::default(),
            admission: Rc::new(RefCell::new(Admission::new(settings.admission))),
            openings: RefCell::new(Openings::new(settings.max_handshakes, settings.admission.max_per_ip)),
            changed: Notify::new(),
            credentials: settings.credentials.clone().filter(|_| !settings.has_gate()),
        })
    }

    /// Decides on a session that asks to be let in; who it is goes into its head's extensions, as an `Identity`.
    ///
    /// # Errors
    /// What it is answered.
    pub(crate) fn admit(&self, head: &mut Parts, peer: PeerAddr) -> Result<Pass, Refuse> {
        let place = if self.is_boundless {
            None
        } else {
            // The rate counts those who are denied, too: guessing is no faster than it.
            Some(Place::take(&self.admission, peer.ip(), now()).map_err(turned_away)?)
        };
        if let Some(credentials) = &self.credentials {
            let identity = credentials.check_head(&head.headers, Timestamp::now()).map_err(|denied| {
                let refuse = Refuse::new(StatusCode::UNAUTHORIZED, denied.to_string());
                let challenges = credentials.challenges(denied);
                challenges.into_iter().fold(refuse, |refuse, challenge| refuse.header(WWW_AUTHENTICATE, challenge))
            })?;
            head.extensions.insert(identity);
        }
        Ok(place.map(|place| Box::new(place) as Box<dyn Any>))
    }

    /// Waits until there is room for the connection just accepted; another may have to go for it.
    pub(crate) async fn room(&self) {
        loop {
            let changed = self.changed.notified();
            let Err(until) = self.openings.borrow_mut().make_room(now()).map(drop) else { return };
            let _ = tokio::time::timeout_at(until.into(), changed).await;
        }
    }

    /// Drops the connection that has been silent longest, for want of file descriptors.
    pub(crate) fn drop_oldest(&self) {
        drop(self.openings.borrow_mut().drop_oldest());
    }

    /// A connection was accepted.
    pub(crate) fn opening(self: &Rc<Self>, peer: PeerAddr) -> (Opening, Displaced) {
        let (sender, displaced) = oneshot::channel();
        // Whoever is displaced learns it from its sender's end.
        let (id, _) = self.openings.borrow_mut().begin(peer.ip(), sender, now());
        (Opening { guards: Rc::clone(self), id: Cell::new(id) }, Displaced(displaced))
    }
}

/// A connection that is no session yet; it is one, or has ended, when this is dropped.
pub(crate) struct Opening {
    guards: Rc<Guards>,
    id: Cell<u64>,
}

/// Tells when a connection has to go for another.
pub(crate) struct Displaced(oneshot::Receiver<()>);

impl Displaced {
    /// Does `work` until then.
    pub(crate) async fn or_done<T>(self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            _ = self.0 => None,
        }
    }
}

impl Opening {
    /// A request came whole.
    pub(crate) fn on_request(&self) {
        self.id.set(self.guards.openings.borrow_mut().on_request(self.id.get(), now()));
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.guards.openings.borrow_mut().remove(self.id.get());
        self.guards.changed.notify_waiters();
    }
}

fn turned_away(full: Full) -> Refuse {
    match full {
        Full::Connections => Refuse::new(StatusCode::SERVICE_UNAVAILABLE, "as many connections as allowed are open"),
        Full::Address => later("as many connections as one address may have are open", Duration::ZERO),
        Full::Rate(wait) => later("connections are opened faster than allowed", wait),
    }
}

/// 429, and when to come again.
fn later(text: &str, wait: Duration) -> Refuse {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    Refuse::new(StatusCode::TOO_MANY_REQUESTS, text).header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
}
