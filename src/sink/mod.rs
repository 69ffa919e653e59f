//! Where messages go that leave the program other than over a WebSocket.

pub(crate) mod answer;
pub(crate) mod file;
mod har_file;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
pub(crate) mod line;
pub(crate) mod line_file;
#[cfg(feature = "nats")]
pub(crate) mod nats;
pub(crate) mod null;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
pub(crate) mod record;
pub(crate) mod search;
pub(crate) mod stdio;
pub(crate) mod stdout;
