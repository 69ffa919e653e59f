//! The life of the server: bind, accept, run a task per session, stop in order.
//!
//! Stop ladder: the listening socket closes first; sessions send what is queued, then Close 1001;
//! at the end of the grace time, or on a second signal, the rest is cut off.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use http::request::Parts;
use tokio::task::spawn_local;

use super::guard::door::{Displaced, Guards, Opening};
use super::handler;
use super::hub::{Hub, HubSettings, session_name};
use super::input::{Input, InputKind, OpenConsole};
use super::mailbox::Mailbox;
use super::peer::ServerPeer;
use super::site::Site;
use crate::endpoint::ListenAddr;
use crate::error::{Error, end_text};
use crate::exit::Exit;
use crate::host::{Host, Signals, StopSignal};
use crate::message::event::EventBody;
use crate::net::connection::{BufferRole, Connection, ConnectionError, ConnectionSettings, io_text};
use crate::net::deflate::{DeflateOffer, Role};
use crate::net::listener::{self, AcceptError, Accepted, Listener, Pass, PeerAddr, UpgradeSettings};
use crate::net::self_signed;
use crate::net::tls::{ServerDemands, ServerTls};
use crate::net::transport::Transport;
use crate::observe::Control;
use crate::observe::admin::{Admin, AdminSettings, Serving};
use crate::observe::counters::{ErrorKind, Fault};
use crate::session::{Driver, End};
use crate::sink::line_file::{Kind, LineFile};
use crate::sink::record::Recorder;
use crate::sink::stdout::{Output, OutputFailure};

/// Pause after accept(2) failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for what has been cut off.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Where the server's certificate comes from.
#[derive(Debug, Clone)]
pub enum TlsSource {
    /// Plain TCP.
    None,
    /// PEM files.
    Files {
        /// Certificate chain.
        cert: PathBuf,
        /// Key.
        key: PathBuf,
    },
    /// Made for this run.
    SelfSigned {
        /// Where the CA's certificate is written.
        ca_out: Option<PathBuf>,
    },
}

/// A server as meant.
pub struct Server {
    /// Where it listens.
    pub address: ListenAddr,
    /// Its certificate.
    pub tls: TlsSource,
    /// What TLS asks of clients.
    pub tls_demands: ServerDemands,
    /// Paths served; empty serves all.
    pub paths: Vec<String>,
    /// Origins let in; empty lets every one in.
    pub origins: Vec<String>,
    /// Subprotocols, in order of preference.
    pub subprotocols: Vec<String>,
    /// Headers of the upgrade answer.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// permessage-deflate, where it is agreed to.
    pub deflate: Option<DeflateOffer>,
    /// For TLS and the request head together.
    pub handshake_timeout: Duration,
    /// Where the port is written.
    pub port_file: Option<PathBuf>,
    /// Largest message accepted, in bytes.
    pub max_message_size: usize,
    /// Where everything is recorded.
    pub record: Option<PathBuf>,
    /// Where messages are kept that do not have the shape they must have.
    pub dead_letters: Option<PathBuf>,
    /// For closing all sessions at the end.
    pub grace: Duration,
    /// What plain requests get.
    pub site: Site,
    /// Where it is seen and steered.
    pub admin: Option<AdminSettings>,
    /// How standard input is written.
    pub input: InputKind,
    /// What happens to messages.
    pub hub: HubSettings,
}

/// Everything a session's task needs from the server.
struct Door {
    hub: Rc<Hub>,
    guards: Rc<Guards>,
    tls: Option<ServerTls>,
    /// Scheme, host and port.
    url: String,
    upgrade: UpgradeSettings,
    max_message_size: usize,
}

/// Runs the server until a signal ends it.
///
/// # Errors
/// TLS files that cannot be used, an address that cannot be had.
pub async fn run(server: Server, host: Host, console: Option<OpenConsole>) -> Result<Exit, Error> {
    // Each session is a file descriptor; the soft limit is there to be raised.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let mut signals = Signals::install().map_err(|error| Error::Internal(format!("signals: {error}")))?;
    let hub = Hub::new(server.hub.clone(), host.stderr.clone(), Output::new(host.stdout));
    if let Some(path) = &server.record {
        hub.recording().begin(Recorder::create(path)?);
    }
    if let Some(path) = &server.dead_letters {
        hub.recording().keep_dead_letters(LineFile::append(path, Kind::DeadLetters)?);
    }
    let tls = server_tls(&server, &hub)?;
    let listener = Listener::bind(&server.address)
        .await
        .map_err(|error| Error::Bind { address: server.address.to_string(), cause: io_text(&error) })?;
    let serving = match &server.admin {
        Some(settings) => Some(open_admin(settings, &hub).await?),
        None => None,
    };
    announce(&server, &listener, tls.is_some(), &hub)?;
    let guards = Guards::new(&server.hub.guard);
    let (joining, letting_in, refusing) = (Rc::clone(&hub), Rc::clone(&guards), Rc::clone(&hub));
    let admit = move |head: &Parts, peer: PeerAddr| {
        if let Some(reject) = &joining.settings.reject {
            joining.counters.faults.one(Fault::Rejected);
            return Err(reject.clone());
        }
        joining.settings.mode.admit(&joining, head)?;
        letting_in.admit(head, peer)
    };
    let door = Rc::new(Door {
        hub: Rc::clone(&hub),
        guards,
        url: format!(
            "{}://{}",
            if tls.is_some() { "wss" } else { "ws" },
            listener.local_addr().map_or_else(|| "localhost".to_owned(), |address| address.to_string()),
        ),
        tls,
        max_message_size: server.max_message_size,
        upgrade: UpgradeSettings {
            paths: server.paths.clone(),
            origins: server.origins.clone(),
            subprotocols: server.subprotocols.clone(),
            headers: server.headers.clone(),
            deflate: server.deflate.clone(),
            handshake_timeout: server.handshake_timeout,
            admit: Box::new(admit),
            site: (!server.site.is_empty()).then(|| server.site.clone().into_answers(Rc::clone(&hub))),
            on_refused: Box::new(move |peer, refuse| refusing.refused(peer, refuse)),
        },
    });
    let address = listener.local_addr().map_or_else(|| server.address.to_string(), |address| address.to_string());
    let input = match console.and_then(|open| open(&address)) {
        Some((console, output)) => {
            hub.print_through(output);
            Input::console(&hub, console)
        }
        None if hub.settings.mode.reads_input() => {
            Input::stream(&hub, host.stdin, server.input, host.stdin_is_terminal)
        }
        None => Input::None,
    };
    let result = serve(&server, listener, door, input, &mut signals).await;
    if let Some(serving) = serving {
        serving.stop().await;
    }
    result
}

async fn open_admin(settings: &AdminSettings, hub: &Rc<Hub>) -> Result<Serving, Error> {
    let admin = Admin::bind(settings.clone())
        .await
        .map_err(|error| Error::Bind { address: settings.address.to_string(), cause: io_text(&error) })?;
    hub.stderr.line(format!("admin on {}", admin.url()));
    if admin.is_open() {
        hub.notice(crate::observe::admin::OPEN);
    }
    Ok(admin.serve(Rc::clone(hub) as Rc<dyn Control>))
}

async fn serve(
    server: &Server,
    listener: Listener,
    door: Rc<Door>,
    mut input: Input,
    signals: &mut Signals,
) -> Result<Exit, Error> {
    let hub = Rc::clone(&door.hub);
    let accepting = spawn_local(accept(listener, door));
    let background = hub.settings.mode.background(&hub).map(spawn_local);
    let mut output = Box::pin(hub.tend_output());
    let mut failed = None;
    std::future::poll_fn(|cx| {
        if signals.poll_next(cx).is_ready() || input.poll_ended(cx, &hub).is_ready() {
            return Poll::Ready(());
        }
        if let Poll::Ready(failure) = output.as_mut().poll(cx) {
            failed = Some(failure);
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
    drop(output);
    accepting.abort();
    let _ = accepting.await;
    if let Some(background) = background {
        background.abort();
        let _ = background.await;
    }
    hub.stop();
    let cut_short = close_all(&hub, server.grace, signals, &mut input).await;
    hub.finish_output(server.grace).await;
    hub.recording().finish(server.grace).await;
    input.close(&hub);
    hub.notice(hub.summary());
    if let Some(failure) = hub.recording().failure() {
        return Err(failure.into());
    }
    Ok(match (failed, cut_short) {
        (Some(OutputFailure::Failed(text)), _) => {
            return Err(Error::Internal(format!("cannot write to standard output: {text}")));
        }
        (_, Some(exit)) => exit,
        (Some(OutputFailure::Closed) | None, None) => Exit::Done,
    })
}

/// Waits for the sessions to close; the exit code when that was cut short.
async fn close_all(hub: &Hub, grace: Duration, signals: &mut Signals, input: &mut Input) -> Option<Exit> {
    let cut_short = {
        let mut closed = std::pin::pin!(hub.wait_for(Hub::is_empty));
        let mut grace = std::pin::pin!(tokio::time::sleep(grace));
        let mut output = std::pin::pin!(hub.tend_output());
        let mut output_failed = false;
        std::future::poll_fn(|cx| {
            if closed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            if !output_failed {
                output_failed = output.as_mut().poll(cx).is_ready();
            }
            match signals.poll_next(cx) {
                Poll::Ready(StopSignal::Interrupt) => return Poll::Ready(Some(Exit::Interrupted)),
                Poll::Ready(StopSignal::Terminate) => return Poll::Ready(Some(Exit::Terminated)),
                Poll::Pending => {}
            }
            if input.poll_hurry(cx).is_ready() {
                return Poll::Ready(Some(Exit::Interrupted));
            }
            grace.as_mut().poll(cx).map(|()| Some(Exit::Terminated))
        })
        .await
    };
    if cut_short.is_some() {
        hub.abort();
        // Not even SIGKILL ends a program that waits for a broken disk.
        let _ = tokio::time::timeout(LAST_WAIT, hub.wait_for(Hub::is_empty)).await;
    }
    cut_short
}

fn server_tls(server: &Server, hub: &Hub) -> Result<Option<ServerTls>, Error> {
    let demands = &server.tls_demands;
    Ok(match &server.tls {
        TlsSource::None => None,
        TlsSource::Files { cert, key } => Some(ServerTls::from_files(cert, key, demands)?),
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

/// Writes a file so that whoever waits for it sees it whole or not at all.
fn write_whole(path: &Path, text: &str) -> Result<(), Error> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    std::fs::write(&partial, text).and_then(|()| std::fs::rename(&partial, path)).map_err(|error| {
        Error::usage(format!("cannot write {}: {}", path.display(), io_text(&error)), "choose another file")
    })
}

fn announce(server: &Server, listener: &Listener, secure: bool, hub: &Hub) -> Result<(), Error> {
    let scheme = if secure { "wss" } else { "ws" };
    match listener.local_addr() {
        Some(address) => {
            hub.stderr.line(format!("listening on {scheme}://{address}/"));
            if let Some(file) = &server.port_file {
                write_whole(file, &format!("{}\n", address.port()))?;
            }
        }
        None => hub.stderr.line(format!("listening on {}", server.address)),
    }
    Ok(())
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
            let mailbox = hub.join(peer, &accepted.target);
            let id = mailbox.id;
            let handler = handler::for_session(&hub.settings, &accepted);
            let subject = accepted.transport.subject();
            if hub.settings.verbose {
                let target = accepted.target.escape_debug();
                let of = subject.as_deref().map(|subject| format!(", {}", subject.escape_debug())).unwrap_or_default();
                hub.notice(format!("{} {peer}: connected, {target}{of}", session_name(id)));
            }
            open_event(&mailbox, &accepted, subject, &door);
            let settings = ConnectionSettings {
                role: Role::Server,
                buffers: BufferRole::Many,
                max_message_size: door.max_message_size,
                deflate: accepted.deflate,
                no_pong: hub.settings.faults.as_ref().is_some_and(|faults| faults.no_pong),
            };
            let connection = Connection::new(accepted.transport, accepted.prefix, &settings);
            let member = ServerPeer::new(Rc::clone(&hub), Rc::clone(&mailbox), handler);
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

fn open_event(mailbox: &Mailbox, accepted: &Accepted, subject: Option<String>, door: &Door) {
    let body = EventBody::Open {
        url: None,
        peer: Some(mailbox.peer.to_string()),
        subprotocol: accepted.subprotocol.clone(),
        extensions: accepted.deflate.as_ref().map(crate::net::deflate::Agreed::to_header),
        handshake_ms: None,
        subject,
    };
    let url = format!("{}{}", door.url, accepted.target);
    door.hub.recording().opened(mailbox.id, &url, &accepted.target, &body);
    door.hub.event(mailbox.id, None, body);
}

async fn converse(hub: Rc<Hub>, mut connection: Connection, mut member: ServerPeer, mailbox: Rc<Mailbox>, pass: Pass) {
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
        hub.notice(format!("{} {peer}: {}", session_name(id), end_text(&end)));
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
