//! Where clients come in: binds, does the handshakes, and runs a task for each session.
//!
//! Leaves who is let in to `guard`, what messages mean to the handler of the hub's mode, and the end of it all to whoever
//! runs it. Invariant: what is accepted either becomes a session of the hub or is counted as refused.

use std::future::{Future, poll_fn};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderValue};
use http::request::Parts;
use tokio::task::{JoinHandle, spawn_local};

use super::guard::credentials::Identity;
use super::guard::door::{Displaced, Guards, Opening};
use super::handler;
use super::hub::Hub;
use super::mailbox::Mailbox;
use super::naming::{Answer, Naming};
use super::peer::ServerPeer;
use super::site::Site;
use crate::endpoint::ListenAddr;
use crate::error::{Error, end_text};
use crate::message::event::EventBody;
use crate::message::source::path_of;
use crate::net::connection::{Connection, ConnectionError, ConnectionSettings, MessageLimits, io_text};
use crate::net::deflate::{DeflateOffer, Role};
use crate::net::head::SpelledName;
use crate::net::listener::{self, AcceptError, Accepted, Bridge, Listener, Pass, PeerAddr, UpgradeSettings};
use crate::net::origin::Origins;
use crate::net::self_signed;
use crate::net::tls::{ServerDemands, ServerIdentity, ServerTls};
use crate::net::transport::Transport;
use crate::observe::counters::{ErrorKind, Fault};
use crate::redact;
use crate::session::{Driver, End};

/// Pause after accept(2) failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Where the server's certificate comes from.
#[derive(Debug, Clone)]
pub(crate) enum TlsSource {
    /// Plain TCP.
    None,
    /// Files.
    Files(ServerIdentity),
    /// Made for this run.
    SelfSigned {
        /// Where the CA's certificate is written.
        ca_out: Option<PathBuf>,
    },
}

/// How clients come in.
#[derive(Clone)]
pub(crate) struct Reception {
    /// Where it listens.
    pub address: ListenAddr,
    /// Its certificate.
    pub tls: TlsSource,
    /// What TLS asks of clients.
    pub tls_demands: ServerDemands,
    /// Paths served; empty serves all.
    pub paths: Vec<String>,
    /// Pages let in; [`Origins::Local`] holds where the server listens on loopback.
    pub origins: Origins,
    /// Subprotocols, in order of preference.
    pub subprotocols: Vec<String>,
    /// Headers of the upgrade answer.
    pub headers: Vec<(SpelledName, HeaderValue)>,
    /// permessage-deflate, where it is agreed to.
    pub deflate: Option<DeflateOffer>,
    /// For TLS and the request head together.
    pub handshake_timeout: Duration,
    /// Where the port is written.
    pub port_file: Option<PathBuf>,
    /// How large messages of clients may be.
    pub limits: MessageLimits,
    /// What plain requests get.
    pub site: Site,
    /// What stands behind each session, where something does.
    pub bridge: Option<Rc<Bridge>>,
    /// What is told of the path when it is ready.
    pub shown_path: String,
}

/// A reception whose address is had.
pub(crate) struct Bound {
    reception: Reception,
    listener: Listener,
    tls: Option<ServerTls>,
}

/// Everything a session's task needs from the server.
struct Door {
    hub: Rc<Hub>,
    guards: Rc<Guards>,
    tls: Option<ServerTls>,
    /// Scheme, host and port.
    url: String,
    upgrade: UpgradeSettings,
    limits: MessageLimits,
    /// Pings are carried to what stands behind the session, and answered there.
    passes_pings: bool,
}

impl Reception {
    /// Whether clients come by TLS.
    pub(crate) fn is_secure(&self) -> bool {
        !matches!(self.tls, TlsSource::None)
    }

    /// Whether its certificate can be used; takes nothing and writes nothing.
    ///
    /// # Errors
    /// TLS files that cannot be used.
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.tls {
            TlsSource::Files(identity) => Ok(ServerTls::from_files(identity, &self.tls_demands).map(drop)?),
            TlsSource::None | TlsSource::SelfSigned { .. } => Ok(()),
        }
    }

    /// Takes its address and reads its certificate.
    ///
    /// # Errors
    /// TLS files that cannot be used, an address that cannot be had.
    pub(crate) async fn bind(&self, hub: &Hub) -> Result<Bound, Error> {
        let tls = self.server_tls(hub)?;
        let listener = Listener::bind(&self.address)
            .await
            .map_err(|error| Error::Bind { address: self.address.to_string(), cause: io_text(&error) })?;
        Ok(Bound { reception: self.clone(), listener, tls })
    }

    fn server_tls(&self, hub: &Hub) -> Result<Option<ServerTls>, Error> {
        let demands = &self.tls_demands;
        Ok(match &self.tls {
            TlsSource::None => None,
            TlsSource::Files(identity) => Some(ServerTls::from_files(identity, demands)?),
            TlsSource::SelfSigned { ca_out } => {
                let made = self_signed::generate()
                    .map_err(|error| Error::Internal(format!("cannot make a certificate: {error}")))?;
                if let Some(path) = ca_out {
                    write_whole(path, &made.ca_pem)?;
                }
                hub.notice(format!("certificate fingerprint (SHA-256) {}", made.fingerprint));
                Some(ServerTls::from_pem(made.chain_pem.as_bytes(), made.key_pem.as_bytes(), demands)?)
            }
        })
    }
}

impl Bound {
    /// The address it listens on.
    pub(crate) fn address(&self) -> String {
        let address = self.listener.local_addr();
        address.map_or_else(|| self.reception.address.to_string(), |address| address.to_string())
    }

    /// Says that it is ready.
    ///
    /// # Errors
    /// A port file that cannot be written.
    pub(crate) fn announce(&self, hub: &Hub) -> Result<(), Error> {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        let path = &self.reception.shown_path;
        match self.listener.local_addr() {
            Some(address) => {
                hub.notice(format!("listening on {scheme}://{address}{path}"));
                if let Some(file) = &self.reception.port_file {
                    write_whole(file, &format!("{}\n", address.port()))?;
                }
            }
            None => hub.notice(format!("listening on {}", self.reception.address)),
        }
        Ok(())
    }

    /// Lets clients in from now on, until the task is aborted.
    pub(crate) fn accept(self, hub: &Rc<Hub>) -> JoinHandle<()> {
        let Self { reception, listener, tls } = self;
        let is_on_loopback = listener.local_addr().is_some_and(|address| address.ip().is_loopback());
        let origins = match reception.origins {
            Origins::Local if !is_on_loopback => Origins::Every,
            origins => origins,
        };
        let guards = Guards::new(&hub.settings.guard);
        let (joining, letting_in, refusing) = (Rc::clone(hub), Rc::clone(&guards), Rc::clone(hub));
        let admit = move |head: &mut Parts, peer: PeerAddr| {
            if let Some(reject) = &joining.settings.reject {
                joining.counters.faults.one(Fault::Rejected);
                return Err(reject.clone());
            }
            joining.settings.mode.admit(&joining, head)?;
            letting_in.admit(head, peer)
        };
        let door = Rc::new(Door {
            hub: Rc::clone(hub),
            guards,
            url: format!(
                "{}://{}",
                if tls.is_some() { "wss" } else { "ws" },
                listener.local_addr().map_or_else(|| "localhost".to_owned(), |address| address.to_string()),
            ),
            tls,
            limits: reception.limits,
            passes_pings: reception.bridge.is_some(),
            upgrade: UpgradeSettings {
                paths: reception.paths,
                origins,
                subprotocols: reception.subprotocols,
                headers: reception.headers,
                deflate: reception.deflate,
                handshake_timeout: reception.handshake_timeout,
                admit: Box::new(admit),
                site: (!reception.site.is_empty()).then(|| reception.site.into_answers(Rc::clone(hub))),
                on_refused: Box::new(move |peer, refuse| refusing.refused(peer, refuse)),
                bridge: reception.bridge,
            },
        });
        spawn_local(accept(listener, door))
    }
}

/// Writes a file so that whoever waits for it sees it whole or not at all.
fn write_whole(path: &Path, text: &str) -> Result<(), Error> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, text).and_then(|()| std::fs::rename(&partial, path)).map_err(|error| {
        Error::usage(format!("cannot write {}: {}", path.display(), io_text(&error)), "choose another file")
    })
}

async fn accept(listener: Listener, door: Rc<Door>) {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((transport, peer)) => {
                failing = false;
                door.guards.room().await;
                let opening = door.guards.opening(peer);
                spawn_local(welcome(Rc::clone(&door), transport, peer, opening));
            }
            Err(error) => {
                door.guards.drop_oldest();
                if !failing {
                    door.hub.stderr.line(format!("wsp: cannot accept connections: {}", io_text(&error)));
                    failing = true;
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Does the handshake; the session then gets a task of its own, so that the handshake's memory
/// does not live as long as the session.
async fn welcome(door: Rc<Door>, transport: Transport, peer: PeerAddr, opening: (Opening, Displaced)) {
    let (opening, displaced) = opening;
    let hub = Rc::clone(&door.hub);
    let on_request = || opening.on_request();
    let upgraded = listener::upgrade(transport, peer, door.tls.as_ref(), &door.upgrade, on_request);
    match displaced.or_done(upgraded).await.unwrap_or(Err(AcceptError::Displaced)) {
        Ok(Some(mut accepted)) if !hub.is_stopping() => {
            if hub.settings.guard.credentials.is_some() {
                // It has done its work; nobody behind the door needs to know it.
                accepted.head.headers.remove(AUTHORIZATION);
            }
            let identity = accepted.head.extensions.remove::<Identity>().unwrap_or_default();
            let certified = accepted.transport.subject();
            let mut naming = hub.settings.session_name.clone().map(|filter| {
                let mut naming = Box::new(Naming::new(filter, &accepted, peer));
                naming.identify(identity.subject().or(certified.as_deref()), &identity);
                naming
            });
            let mut answer = match &mut naming {
                // Who has yet to say who it is has no name before.
                Some(naming) if !hub.settings.guard.has_gate() => {
                    naming.ask(None);
                    Some(poll_fn(|cx| naming.poll(cx)).await.0)
                }
                _ => None,
            };
            if hub.is_stopping() {
                return;
            }
            let mailbox = hub.join(peer, &accepted.target, accepted.subprotocol.as_deref());
            mailbox.show(identity.subject(), certified);
            // The open event has the name; what is wrong with one comes behind it.
            if matches!(answer, Some(Answer::Name(_))) {
                take_name(&hub, &mailbox, &mut answer, &mut naming);
            }
            let handler = handler::for_session(&hub, &mailbox, &mut accepted);
            if hub.settings.verbose {
                tell_open(&hub, &mailbox);
            }
            open_event(&mailbox, &accepted, &door);
            take_name(&hub, &mailbox, &mut answer, &mut naming);
            let settings = ConnectionSettings {
                role: Role::Server,
                limits: door.limits,
                deflate: accepted.deflate,
                no_pong: door.passes_pings || hub.settings.faults.as_ref().is_some_and(|faults| faults.no_pong),
            };
            let connection = Connection::new(accepted.transport, &accepted.prefix, &settings);
            let member = ServerPeer::new(Rc::clone(&hub), Rc::clone(&mailbox), handler, naming);
            let converse = converse(hub, connection, member, mailbox, accepted.pass);
            spawn_local(Box::pin(converse));
        }
        Ok(_) => {}
        Err(error) => {
            let told = hub.settings.verbose || matches!(error, AcceptError::Tls(_) | AcceptError::Timeout);
            hub.handshake_failed(peer, &error, told);
        }
    }
}

fn take_name(hub: &Hub, mailbox: &Mailbox, answer: &mut Option<Answer>, naming: &mut Option<Box<Naming>>) {
    if answer.take().is_some_and(|answer| hub.take_name(mailbox, answer, false)) {
        *naming = None;
    }
}

fn tell_open(hub: &Hub, mailbox: &Mailbox) {
    let target = redact::target(&mailbox.target);
    let (label, peer, target) = (hub.label(mailbox.id), mailbox.peer, target.escape_debug());
    let of = mailbox.subject().map(|subject| format!(", {}", subject.escape_debug())).unwrap_or_default();
    hub.notice(format!("{label} {peer}: connected, {target}{of}"));
}

fn open_event(mailbox: &Mailbox, accepted: &Accepted, door: &Door) {
    let body = EventBody::Open {
        url: None,
        peer: Some(mailbox.peer.to_string()),
        path: Some(path_of(&accepted.target).to_owned()),
        subprotocol: accepted.subprotocol.clone(),
        extensions: accepted.deflate.as_ref().map(crate::net::deflate::Agreed::to_header),
        handshake_ms: None,
        subject: mailbox.subject().map(str::to_owned),
    };
    let target = redact::target(&accepted.target);
    let url = format!("{}{target}", door.url);
    door.hub.recording().opened(&url, &target, || door.hub.make_event(mailbox.id, None, body.clone()));
    door.hub.event(mailbox.id, None, body);
}

/// One session from the first message to the last. A block, not an `async fn`: that would keep what it is given twice, and
/// there may be many thousands of these.
#[allow(clippy::manual_async_fn)] // See above.
fn converse(
    hub: Rc<Hub>,
    mut connection: Connection,
    mut member: ServerPeer,
    mailbox: Rc<Mailbox>,
    pass: Pass,
) -> impl Future<Output = ()> {
    async move {
        let end = Driver::new(&mut connection, &mut member, hub.settings.driver).run().await;
        // The session holds its mailbox until here, so that what cannot be placed any more is counted.
        drop(member);
        let (id, peer) = (mailbox.id, mailbox.peer);
        drop(mailbox);
        let kind = match &end {
            End::Failed(ConnectionError::Lost(_)) => Some(ErrorKind::Lost),
            End::Failed(_) => Some(ErrorKind::Protocol),
            End::Unresponsive => Some(ErrorKind::Unresponsive),
            _ => None,
        };
        if let Some(kind) = kind {
            hub.counters.errors.one(kind);
        }
        if hub.settings.verbose || kind.is_some_and(|kind| kind != ErrorKind::Lost) {
            hub.notice(format!("{} {peer}: {}", hub.label(id), end_text(&end)));
        }
        if !matches!(end, End::Closed { .. }) {
            hub.event(id, None, EventBody::Close { code: None, reason: end_text(&end), clean: false });
        }
        hub.recording().ended(id);
        drop(pass);
        hub.leave(id);
        hub.flush();
        if matches!(end, End::Closed { .. } | End::Idle) {
            let lingering: Pin<Box<dyn Future<Output = ()>>> = Box::pin(connection.linger());
            let _ = tokio::time::timeout(hub.settings.driver.close_timeout, lingering).await;
        }
    }
}
