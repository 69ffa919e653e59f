//! What is known about a run: counted once, where it happens, and read by whoever shows it.
//!
//! [`counters`] and [`tap`] are told by the run; [`control`] is how others see and steer it; [`metrics`], [`health`] and
//! [`admin`] show it. Leaves the terminal to others. Invariant: whoever looks holds up nobody.

pub mod admin;
pub mod control;
pub mod counters;
pub mod drops;
pub mod health;
pub mod metrics;
pub mod monitoring;
pub mod process;
pub mod snapshot;
pub mod tap;
pub mod websocket_input;

pub use control::Control;
pub use snapshot::Snapshot;
