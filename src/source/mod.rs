//! Where messages come from other than a WebSocket.

pub mod framing;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "nats")]
pub mod nats;
pub mod replay;
pub mod stdin;
pub mod stdio;
