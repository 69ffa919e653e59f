//! What is known about a run: counted once, where it happens, and read by whoever shows it.

pub mod counters;
