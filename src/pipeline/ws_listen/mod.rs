//! A WebSocket server as an end of a relay: what clients send goes in, what waits goes to all of them.
//!
//! Leaves letting clients in to `listen/`. Owns its life: it takes its address, serves, and stops in order. Invariant: it
//! ends when nothing waits any more, or when it is told to, and no session outlives it.

mod client_session;
mod registry;

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use self::client_session::ClientSession;
use self::registry::{ClientQueueSettings, ClientRegistry};
use super::watch::{Guest, View};
use super::ws::end_error;
use crate::exit::Exit;
use crate::host::Stderr;
use crate::listen::config::ServerConfig;
use crate::listen::handler::{Handler, MakeHandler, Mode};
use crate::listen::hub::Hub;
use crate::listen::mailbox::Mailbox;
use crate::listen::reception::BoundServer;
use crate::message::io_text::io_text;
use crate::net::listener::Accepted;
use crate::protocol;
use crate::queue::end::{End, EndError, EndIo, LocalFuture};
use crate::queue::envelope::Origin;
use crate::queue::stop::Step;
use crate::sink::stdout::Output;

/// How long to wait for what has been cut off.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// A WebSocket server.
pub(crate) struct WsServer {
    pub name: String,
    /// Its settings; their mode does not matter.
    pub config: ServerConfig,
    pub protocol: protocol::Settings,
    /// How long a client may hold up the others.
    pub patience: Duration,
    /// Where it says that it is ready.
    pub stderr: Stderr,
    pub view: Rc<View>,
}

impl End for WsServer {
    fn run(self: Box<Self>, io: EndIo) -> LocalFuture<'static, Result<(), EndError>> {
        Box::pin(self.serve(io))
    }
}

impl WsServer {
    async fn serve(self: Box<Self>, io: EndIo) -> Result<(), EndError> {
        let Self { name, config, protocol, patience, stderr, view } = *self;
        let registry = ClientRegistry::new(
            io.clone(),
            protocol,
            ClientQueueSettings {
                max_messages: config.queue_size,
                max_bytes: config.queue_bytes,
                policy: config.on_full,
                patience,
            },
        );
        let sessions = ClientSessions { name, registry: Rc::clone(&registry), view: Rc::clone(&view) };
        let server = ServerHandle::open(config, Rc::new(sessions), &view, stderr).await?;
        view.set_hub(&server.hub);
        let work = async {
            let told = async {
                if io.ingress.is_some() {
                    io.stop.reached(Step::Draining).await;
                }
            };
            let delivered = async {
                if let Some(lane) = &io.lane {
                    registry.serve(lane, &server.hub).await;
                }
            };
            futures_util::future::join(told, delivered).await;
        };
        io.stop.unless(Step::Aborting, work).await;
        server.close(&io).await;
        Ok(())
    }
}

/// Makes a session of each client.
struct ClientSessions {
    name: String,
    registry: Rc<ClientRegistry>,
    view: Rc<View>,
}

impl fmt::Debug for ClientSessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientSessions({})", self.name)
    }
}

impl MakeHandler for ClientSessions {
    fn handler(&self, _hub: &Rc<Hub>, mailbox: &Rc<Mailbox>, accepted: &mut Accepted) -> Box<dyn Handler> {
        let guest = Guest::new(&self.view, mailbox, accepted);
        let origin = Origin::new(guest.session.clone(), self.name.clone());
        Box::new(ClientSession::new(Rc::clone(&self.registry), origin, guest))
    }
}

/// A hub whose doors are open.
pub(super) struct ServerHandle {
    pub hub: Rc<Hub>,
    accepting: tokio::task::JoinHandle<()>,
}

impl ServerHandle {
    /// Binds the address and lets clients in.
    pub(super) async fn open(
        config: ServerConfig,
        sessions: Rc<dyn MakeHandler>,
        view: &View,
        stderr: Stderr,
    ) -> Result<Self, EndError> {
        // What is relayed waits in queues of the end; only answers of the server itself wait at the session.
        let config =
            ServerConfig { mode: Mode::Other(sessions), under: Some(view.id.clone()), on_full: None, ..config };
        // Each session is a file descriptor; the soft limit is there to be raised.
        let _ = rlimit::increase_nofile_limit(u64::MAX);
        // Nothing is printed here.
        let nowhere = std::fs::File::options().write(true).open("/dev/null");
        let nowhere =
            nowhere.map_err(|error| EndError::new(Exit::Internal, format!("/dev/null: {}", io_text(&error))))?;
        let hub = Hub::new(config, view.counters_of_server(), stderr, Output::new(nowhere));
        let bound = BoundServer::bind(&hub).await.map_err(|error| end_error(&error))?;
        bound.announce(&hub).map_err(|error| end_error(&error))?;
        let accepting = bound.accept(&hub);
        Ok(Self { hub, accepting })
    }

    /// Lets nobody in any more, closes all sessions, and cuts them off where the relay is aborted.
    pub(super) async fn close(self, io: &EndIo) {
        self.accepting.abort();
        let _ = self.accepting.await;
        self.hub.stop();
        if io.stop.unless(Step::Aborting, self.hub.wait_for(Hub::is_empty)).await.is_none() {
            self.hub.abort();
            let _ = tokio::time::timeout(LAST_WAIT, self.hub.wait_for(Hub::is_empty)).await;
        }
    }
}
