//! What is known about a run: counted once, where it happens, and read by the code that shows it.
//!
//! [`counters`] and [`tap`] are told by the run; [`control`] is how others see and steer it; [`metrics`], [`health`]
//! and [`admin`] show it. Leaves the terminal to others. Invariant: observers never block the run.

pub(crate) mod admin;
pub(crate) mod control;
pub(crate) mod counters;
pub(crate) mod drops;
pub(crate) mod health;
pub(crate) mod metrics;
pub(crate) mod monitoring;
pub(crate) mod process;
mod sample;
pub(crate) mod snapshot;
pub(crate) mod tap;
pub(crate) mod websocket_input;

pub use control::Control;
pub(crate) use snapshot::Snapshot;
