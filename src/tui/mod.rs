//! The dashboard: sessions, queues and messages on a screen, and keys to act on them.
//!
//! [`model`] is what is shown and how keys change it, [`keymap`] which key does what, [`view`] how it looks: all three
//! pure. [`source`] is where what is shown comes from, [`remote`] the same through an admin address; [`terminal`] takes
//! the terminal over and gives it back, [`driver`] ties them together. Leaves the run to others: it is looked at through
//! copies, and acted on as from anywhere else. Invariants: looking never holds the run up, the screen least of all; the
//! terminal is given back however this ends.

pub mod driver;
pub mod keymap;
pub mod load;
pub mod model;
pub mod remote;
pub mod source;
pub mod terminal;
pub mod view;

pub use driver::{Dashboard, DashboardSettings, Heard};
pub use load::LoadScreen;
