//! The test server: who is let in ([`guard`]), who is connected ([`hub`], [`mailbox`]), what messages mean ([`handler`]), one session ([`peer`]) and
//! the life of the whole ([`run`]). Leaves sockets and framing to `net/`, the loop of one session to `session/`.

pub mod alarm;
pub mod faults;
pub mod guard;
pub mod handler;
pub mod hub;
pub mod mailbox;
pub mod peer;
pub mod recording;
pub mod run;
pub mod validation;
