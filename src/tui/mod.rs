//! The dashboard: sessions, queues and messages on a screen, and keys to act on them.
//!
//! [`model`] is what is shown and how keys change it, [`keymap`] which key does what, [`view`] how it looks: all three
//! pure. [`source`] is where what is shown comes from, [`remote`] the same through an admin address; [`terminal`] takes
//! the terminal over and gives it back, [`driver`] ties them together. Leaves the run to others: it is looked at through
//! copies, and acted on as from anywhere else. Invariants: looking never holds the run up, the screen least of all; the
//! terminal is given back however this ends.

pub(crate) mod driver;
pub(crate) mod keymap;
pub(crate) mod load;
pub(crate) mod model;
pub(crate) mod remote;
pub(crate) mod source;
pub(crate) mod terminal;
pub(crate) mod view;

pub(crate) use driver::{Dashboard, DashboardSettings, Heard};
pub(crate) use load::LoadScreen;
