//! The test server: who is let in ([`guard`]), who is connected ([`hub`], [`mailbox`]), what messages mean ([`handler`]), one session ([`peer`]) and
//! what plain requests get ([`site`]), how it is seen from outside ([`control`]) and the life of the whole ([`run`]).
//! Leaves sockets and framing to `net/`, the loop of one session to `session/`.

pub mod alarm;
pub mod control;
pub mod faults;
pub mod guard;
pub mod handler;
pub mod hub;
pub mod input;
pub mod mailbox;
pub mod naming;
pub mod pace;
pub mod peer;
pub mod reception;
pub mod recording;
pub mod run;
pub mod site;
pub mod validation;
