//! One peer's life: keep-alive and reconnecting decided in pure code, driven over a connection by [`driver`]. Leaves
//! sockets to `net/` and what messages mean to the code that implements [`Peer`].

pub(crate) mod driver;
mod held;
pub(crate) mod keepalive;
pub(crate) mod limit;
mod peer;
pub(crate) mod reconnect;

pub(crate) use driver::{Driver, End};
pub(crate) use peer::{Outgoing, Peer, Replies};
