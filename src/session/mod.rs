//! One peer's life: keep-alive and backoff decided in pure code, driven over a connection by
//! [`driver`]. Leaves sockets to `net/` and what messages mean to whoever implements [`Peer`].

pub mod backoff;
pub mod driver;
pub mod keepalive;
pub mod opening;
pub mod retry;

pub use driver::{Driver, End, Outgoing, Peer, Replies};
