//! One peer's life: keep-alive and reconnecting decided in pure code, driven over a connection by
//! [`driver`]. Leaves sockets to `net/` and what messages mean to whoever implements [`Peer`].

pub mod driver;
pub mod heartbeat;
mod held;
pub mod keepalive;
pub mod limit;
pub mod opening;
pub mod outage;
mod peer;
pub mod reconnect;

pub use driver::{Driver, End};
pub use peer::{Outgoing, Peer, Replies};
