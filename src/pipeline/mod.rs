//! Moves messages from sources through filters and queues to sinks, and accounts for every one.
//!
//! [`flow`] is the way in (filter, route, copies for each destination), [`bins`] make one message of many for a destination, [`dispatch`] is the way out (batches, retries), [`ws`] a
//! WebSocket client as either end, [`ws_listen`] a server, [`proxy`] one before the other, [`exec`] a program as either, [`http`] a server that is posted to, [`window`] the way out to brokers, [`dead`] where messages go that nobody takes, [`run`] the life of the whole.

pub mod batch;
pub mod bins;
pub mod dead;
pub mod dispatch;
pub mod exec;
pub mod flow;
mod gate;
pub mod group;
pub mod http;
pub mod proxy;
pub mod run;
pub mod watch;
pub mod window;
pub mod ws;
pub mod ws_listen;
