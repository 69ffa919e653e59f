//! Where clients come in: binds, does the handshakes, and runs a task for each session.
//!
//! Leaves who is let in to `guard`, what messages mean to the handler of the hub's mode, and the end of it all to whoever
//! runs it. Invariant: what is accepted either becomes a session of the hub or is counted as refused.

use std::future::{Future, poll_fn};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::request::Parts;
use tokio::task::{JoinHandle, spawn_local};

use super::config::TlsSource;
use super::guard::credentials::Identity;
use super::guard::door::{Displaced, Guards, Opening};
use super::handler;
use super::hub::Hub;
use super::mailbox::Mailbox;
use super::naming::{Answer, Naming};
use super::peer::ServerPeer;
use crate::error::{Error, end_text};
use crate::message::event::EventBody;
use crate::message::io_text::io_text;
use crate::message::source::path_of;
use crate::net::connection::{Connection, ConnectionError, ConnectionSettings};
use crate::net::deflate::Role;
use crate::net::listener::{self, AcceptError, Accepted, Listener, Pass, PeerAddr, UpgradeSettings};
use crate::net::origin::Origins;
use crate::net::self_signed;
use crate::net::tls::ServerTls;
use crate::net::transport::Transport;
use crate::observe::counters::{ErrorKind, Fault};
use crate::redact;
use crate::session::{Driver, End};

/// Pause after accept(2) failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A server whose address is bound, with nobody let in yet.
pub(crate) struct BoundServer {
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
}

fn server_tls(hub: &Hub) -> Result<Option<ServerTls>, Error> {
    let demands = &hub.settings.tls_demands;
    Ok(match &hub.settings.tls {
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

impl BoundServer {
    /// Binds the address of a server, and reads or makes its certificate.
    ///
    /// # Errors
    /// TLS files that cannot be used, an address that cannot be bound.
    pub(crate) async fn bind(hub: &Hub) -> Result<Self, Error> {
        let tls = server_tls(hub)?;
        let address = &hub.settings.address;
        let listener = Listener::bind(address)
            .await
            .map_err(|error| Error::Bind { address: address.to_string(), cause: io_text(&error) })?;
        Ok(Self { listener, tls })
    }

    /// The address it listens on.
    pub(crate) fn address(&self, hub: &Hub) -> String {
        let address = self.listener.local_addr();
        address.map_or_else(|| hub.settings.address.to_string(), |address| address.to_string())
    }

    /// Says that it is ready.
    ///
    /// # Errors
    /// A port file that cannot be written.
    pub(crate) fn announce(&self, hub: &Hub) -> Result<(), Error> {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        let path = &hub.settings.shown_path;
        match self.listener.local_addr() {
            Some(address) => {
                hub.notice(format!("listening on {scheme}://{address}{path}"));
                if let Some(file) = &hub.settings.port_file {
                    write_whole(file, &format!("{}\n", address.port()))?;
                }
            }
            None => hub.notice(format!("listening on {}", hub.settings.address)),
        }
        Ok(())
    }

    /// Lets clients in from now on, until the task is aborted.
    pub(crate) fn accept(self, hub: &Rc<Hub>) -> JoinHandle<()> {
        let Self { listener, tls } = self;
        let settings = &hub.settings;
        let is_on_loopback = listener.local_addr().is_some_and(|address| address.ip().is_loopback());
        let origins = match &settings.origins {
            Origins::Local if !is_on_loopback => Origins::Every,
            origins => origins.clone(),
        };
        let guards = Guards::new(&settings.guard);
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
            upgrade: UpgradeSettings {
                paths: settings.paths.clone(),
                origins,
                subprotocols: settings.subprotocols.clone(),
                headers: settings.headers.clone(),
                deflate: settings.deflate.clone(),
                handshake_timeout: settings.handshake_timeout,
                admit: Box::new(admit),
                site: (!settings.site.is_empty()).then(|| settings.site.clone().into_answers(Rc::clone(hub))),
                on_refused: Box::new(move |peer, refuse| refusing.refused(peer, refuse)),
                bridge: settings.bridge.clone(),
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
                limits: hub.settings.limits,
                deflate: accepted.deflate,
                // Pings are carried to what stands behind the session, and answered there.
                no_pong: hub.settings.bridge.is_some()
                    || hub.settings.faults.as_ref().is_some_and(|faults| faults.no_pong),
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
            connection.linger(hub.settings.driver.close_timeout).await;
        }
    }
}
