//! The load tester: what a run does, measures and says of itself.
//!
//! Decided in pure code: [`schedule`] (when messages are due), [`matching`] and [`marker`] (which reply is whose),
//! [`verdict`] and [`threshold`] (what the figures are worth). Acted out by shards: threads with a runtime and fixed
//! connections each. Leaves flags to `command/` and frames to `net/`.

pub mod counts;
pub mod errors;
pub mod histogram;
pub mod marker;
pub mod matching;
pub mod report;
pub mod schedule;
pub mod threshold;
pub mod verdict;
