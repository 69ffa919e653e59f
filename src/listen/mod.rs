//! The test server: who is connected ([`hub`]), what messages mean ([`peer`]) and the life of the
//! whole ([`run`]). Leaves sockets and framing to `net/`, the loop of one session to `session/`.

pub mod hub;
pub mod peer;
pub mod recording;
pub mod run;
