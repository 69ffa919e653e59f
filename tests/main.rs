//! The integration tests, one binary: the real `wsp` on loopback, judged by what a user sees.
//!
//! `suite` holds the tests, a module per area; `support` holds what they share: the process harness, a WebSocket
//! spoken by hand for peers that misbehave, and the start of other people's clients and servers.
//! Invariants: port 0 only, no sleeping (every wait is for a condition and has a deadline), nothing leaves loopback.

// Clarity over speed: texts to compare are built from iterators.
#![allow(clippy::format_collect)]

mod suite;
mod support;
