//! Where messages come from other than a WebSocket.

pub mod chunks;
pub mod file;
pub mod framing;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod lines;
#[cfg(feature = "nats")]
pub mod nats;
pub mod replay;
pub mod shared;
pub mod stdin;
pub mod stdio;
#[cfg(any(feature = "kafka", feature = "nats"))]
pub mod tries;
