//! Where messages go that leave the program other than over a WebSocket.

mod har_file;
pub mod line_file;
pub mod record;
pub mod stdout;
