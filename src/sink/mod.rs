//! Where messages go that leave the program other than over a WebSocket.

pub mod stdout;
