//! Where messages go that leave the program other than over a WebSocket.

pub mod answer;
pub mod file;
mod har_file;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod line;
pub mod line_file;
#[cfg(feature = "nats")]
pub mod nats;
pub mod null;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod record;
pub mod search;
pub mod stdio;
pub mod stdout;
