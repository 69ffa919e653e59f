//! Where messages come from other than a WebSocket.

pub mod framing;
pub mod replay;
pub mod stdin;
pub mod stdio;
