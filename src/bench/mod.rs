//! The load tester: what a run does, measures and says of itself.
//!
//! Decided in pure code: [`schedule`] (when messages are due), [`matching`] and [`marker`] (which reply is whose),
//! [`verdict`], [`doubt`] and [`threshold`] (what the figures are worth). Acted out by shards: threads with a runtime and fixed
//! connections each. Leaves flags to `command/` and frames to `net/`.

pub mod broadcasts;
pub mod compare;
pub mod compose;
pub mod counts;
pub mod doubt;
pub mod errors;
pub mod find_max;
pub mod gather;
pub mod hand;
pub mod histogram;
pub mod lateness;
pub mod likeness;
pub mod live;
pub mod machine;
pub mod marker;
pub mod matching;
pub mod payload;
pub mod plan;
pub mod preflight;
pub mod report;
pub mod run;
pub mod schedule;
pub mod shard;
pub mod threshold;
pub mod verdict;
