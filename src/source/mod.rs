//! Where messages come from other than a WebSocket.

pub(crate) mod chunks;
pub(crate) mod file;
pub(crate) mod framing;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
pub(crate) mod lines;
#[cfg(feature = "nats")]
pub(crate) mod nats;
pub(crate) mod replay;
pub(crate) mod shared;
pub(crate) mod stdin;
pub(crate) mod stdio;
#[cfg(any(feature = "kafka", feature = "nats"))]
pub(crate) mod tries;
