//! One peer's life: keep-alive and reconnecting decided in pure code, driven over a connection by
//! [`driver`]. Leaves sockets to `net/` and what messages mean to whoever implements [`Peer`].

pub mod driver;
pub mod heartbeat;
pub mod keepalive;
pub mod limit;
pub mod opening;
pub mod outage;
pub mod reconnect;

pub use driver::{Driver, End, Outgoing, Peer, Replies};
