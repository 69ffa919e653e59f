//! Moves messages from sources through filters and queues to sinks, and accounts for every one.
//!
//! [`flow`] is the way in (filter, route, copies for each destination), [`bins`] make one message of many for a destination, [`dispatch`] is the way out (batches, retries), [`ws`] a
//! WebSocket client as either end, [`ws_listen`] a server, [`proxy`] one before the other, [`exec`] a program as either, [`http`] a server that is posted to, [`window`] the way out to brokers, [`dead`] where messages go that nobody takes, [`run`] the life of the whole.

pub(crate) mod batch;
pub(crate) mod bins;
pub(crate) mod dead;
pub(crate) mod dispatch;
pub(crate) mod exec;
pub(crate) mod flow;
mod gate;
pub(crate) mod group;
pub(crate) mod http;
pub(crate) mod proxy;
pub(crate) mod run;
pub(crate) mod watch;
pub(crate) mod window;
pub(crate) mod ws;
pub(crate) mod ws_listen;
