//! A proxy: each client of a server end has a connection of its own to the server behind, and nothing changes on the way
//! but what the filters change.
//!
//! `reach` opens the connection behind before the client is answered, `near` is the client's side, `far` the other.
//! Invariants: each pair has queues of its own, so one that does not read stops nobody else; a message whose receiver has
//! gone is settled as dropped; a Close ends the other side with the same code and reason, a lost connection without one.

mod far;
mod near;
mod pair;
mod reach;

use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use self::far::Far;
use self::near::Near;
use self::pair::Pair;
use self::reach::Reach;
use super::flow::Flow;
use super::watch::{Guest, View};
use super::ws_listen::ServerHandle;
use crate::client::opening::OpeningPlan;
use crate::host::Stderr;
use crate::listen::config::ServerConfig;
use crate::listen::handler::{Handler, MakeHandler, Quiet};
use crate::listen::hub::Hub;
use crate::listen::mailbox::Mailbox;
use crate::net::connection::Connection;
use crate::net::connector::Connector;
use crate::net::listener::Accepted;
use crate::observe::control::SessionQueue;
use crate::observe::counters::DropReason;
use crate::queue::LaneSettings;
use crate::queue::OverflowPolicy;
use crate::queue::end::{End, EndError, EndIo, LocalFuture};
use crate::queue::envelope::{Envelope, Origin};
use crate::queue::lane::Lane;
use crate::queue::stop::Step;
use crate::session::Driver;
use crate::session::driver::DriverSettings;

pub(crate) use reach::Path;

/// A server end and a client end joined, a connection for a connection.
pub(crate) struct Proxy {
    /// The server end.
    pub near: String,
    /// The client end.
    pub far: String,
    /// The server's settings; its queue is what waits each way for each client, its limits in time hold for both sides.
    pub config: ServerConfig,
    /// Makes connections to what is behind.
    pub connector: Connector,
    pub path: Path,
    /// permessage-deflate is offered where the client offers it.
    pub may_compress: bool,
    /// From the server end to the client end.
    pub there: Rc<Flow>,
    pub back: Rc<Flow>,
    /// What is said by itself on each connection to what is behind.
    pub opening: Rc<OpeningPlan>,
    /// Where it says that it is ready.
    pub stderr: Stderr,
    pub view: Rc<View>,
}

impl End for Proxy {
    fn run(self: Box<Self>, io: EndIo) -> LocalFuture<'static, Result<(), EndError>> {
        Box::pin(self.serve(io))
    }
}

impl Proxy {
    async fn serve(self: Box<Self>, io: EndIo) -> Result<(), EndError> {
        let Self { near, far, mut config, connector, path, may_compress, there, back, opening, stderr, view } = *self;
        let keeps_credentials = config.guard.credentials.is_some() && !config.guard.has_gate();
        let reach = Rc::new(Reach { connector, path, may_compress, keeps_credentials, is_secure: config.is_secure() });
        config.bridge = Some(Rc::new(move |head, peer| {
            let (reach, head) = (Rc::clone(&reach), head.clone());
            Box::pin(async move {
                let request = reach.request(head, peer).await;
                reach.open(request).await
            })
        }));
        // Each client has queues of its own.
        for flow in [&there, &back] {
            flow.spread();
        }
        let queue = LaneSettings {
            max_messages: config.queue_size,
            max_bytes: config.queue_bytes,
            policy: config.on_full.unwrap_or(OverflowPolicy::Block),
        };
        let driver = config.driver;
        let pairs = Pairs { near, far, there, back, queue, driver, opening, io: io.clone(), view: Rc::clone(&view) };
        let server = ServerHandle::open(config, Rc::new(pairs), &view, stderr).await?;
        view.set_hub(&server.hub);
        io.stop.reached(Step::Draining).await;
        server.close(&io).await;
        Ok(())
    }
}

/// What waits for one side, and where it is counted with what waits for the same side of all others.
struct Ways {
    lane: Rc<Lane>,
    account: Rc<Lane>,
}

impl Ways {
    /// Settles what has been written as delivered.
    fn deliver(&self, envelopes: impl Iterator<Item = Envelope>) {
        for envelope in envelopes {
            self.account.took(envelope);
        }
    }

    /// Settles all that waits as dropped; nobody is to give it anything more.
    fn drop_all(&self, in_flight: &mut VecDeque<Envelope>) {
        self.lane.end();
        let rest = std::iter::from_fn(|| self.lane.take());
        for envelope in in_flight.drain(..).chain(rest) {
            self.lane.lose(envelope, DropReason::ReceiverGone);
        }
    }
}

fn waiting(lane: &Lane) -> SessionQueue {
    SessionQueue { depth: lane.len(), bytes: lane.bytes(), capacity: lane.settings().max_messages }
}

/// Where a flow counts what is delivered.
fn account(flow: &Flow, otherwise: &Rc<Lane>) -> Rc<Lane> {
    flow.lanes().into_iter().next().unwrap_or_else(|| Rc::clone(otherwise))
}

/// Makes a pair of each client.
struct Pairs {
    near: String,
    far: String,
    there: Rc<Flow>,
    back: Rc<Flow>,
    queue: LaneSettings,
    driver: DriverSettings,
    opening: Rc<OpeningPlan>,
    io: EndIo,
    view: Rc<View>,
}

impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pairs({})", self.near)
    }
}

impl MakeHandler for Pairs {
    fn handler(&self, hub: &Rc<Hub>, mailbox: &Rc<Mailbox>, accepted: &mut Accepted) -> Box<dyn Handler> {
        let far = accepted.far.take().and_then(|far| far.downcast::<Connection>().ok());
        // Admitted clients have been led there.
        let Some(connection) = far else { return Box::new(Quiet) };
        let guest = Guest::new(&self.view, mailbox, accepted);
        let session = guest.session.clone();
        let to_far = Rc::new(Lane::new(self.far.clone(), self.queue));
        let to_near = Rc::new(Lane::new(self.near.clone(), self.queue));
        to_far.leads_to(session.clone());
        to_near.leads_to(session.clone());
        let told = Rc::clone(&to_near);
        mailbox.waits_elsewhere(move || waiting(&told));
        let pair = Rc::new(Pair::new(Rc::clone(mailbox)));
        let far = Far::new(
            self,
            Rc::clone(&pair),
            self.back.branch(Rc::clone(&to_near)),
            Ways { lane: Rc::clone(&to_far), account: account(&self.there, &to_far) },
            Origin::new(session.clone(), self.far.clone()),
        );
        let slot = hub.begin_program();
        let driver = self.driver;
        tokio::task::spawn_local(async move {
            let (mut connection, mut far) = (*connection, far);
            let end = Driver::new(&mut connection, &mut far, driver).run().await;
            far.ended(&end);
            connection.linger(Duration::from_secs(1)).await;
            drop(slot);
        });
        let there = self.there.branch(to_far);
        let account = account(&self.back, &to_near);
        let origin = Origin::new(session, self.near.clone());
        Box::new(Near::new(pair, there, Ways { lane: to_near, account }, origin, guest, Rc::clone(&self.view)))
    }
}
