//! The test server: who is connected ([`hub`], [`mailbox`]), what messages mean ([`handler`]), one session ([`peer`]),
//! what plain requests get ([`site`]), how it is seen from outside ([`control`]) and the life of the whole ([`run`]).
//! Leaves sockets and framing to `net/`, the loop of one session to `session/`.

pub mod control;
pub mod handler;
pub mod hub;
pub mod mailbox;
pub mod peer;
pub mod recording;
pub mod run;
pub mod site;
