//! A server: its settings ([`config`]), who is let in ([`guard`]), who is connected ([`hub`], [`mailbox`]), what messages mean ([`handler`]), one session ([`peer`]) and
//! what plain requests get ([`site`]), how it is seen from outside ([`control`]) and the life of the whole ([`run`]).
//! Leaves sockets and framing to `net/`, the loop of one session to `session/`.

pub(crate) mod alarm;
pub(crate) mod config;
pub(crate) mod control;
pub(crate) mod faults;
pub(crate) mod guard;
pub(crate) mod handler;
pub(crate) mod hub;
pub(crate) mod input;
pub(crate) mod mailbox;
pub(crate) mod naming;
pub(crate) mod peer;
mod phase;
pub(crate) mod push_schedule;
pub(crate) mod reception;
pub(crate) mod recording;
pub(crate) mod run;
pub(crate) mod session_id;
pub(crate) mod site;
pub(crate) mod validation;
