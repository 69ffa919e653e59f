//! Where messages come from other than a WebSocket.

pub mod framing;
#[cfg(feature = "nats")]
pub mod nats;
pub mod replay;
pub mod stdin;
pub mod stdio;
