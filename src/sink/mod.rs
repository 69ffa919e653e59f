//! Where messages go that leave the program other than over a WebSocket.

mod har_file;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "nats")]
pub mod nats;
pub mod null;
pub mod record;
pub mod stdio;
pub mod stdout;
