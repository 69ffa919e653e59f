//! The load tester: what a run does, measures and says of itself.
//!
//! Decided in pure code: [`schedule`] (when messages are due), [`matching`] and [`marker`] (which reply is whose),
//! [`verdict`], [`doubt`] and [`threshold`] (what the figures are worth). Acted out by shards: threads with a runtime and fixed
//! connections each. Leaves flags to `command/` and frames to `net/`.

pub(crate) mod broadcasts;
pub(crate) mod compare;
pub(crate) mod compose;
pub(crate) mod counts;
pub(crate) mod doubt;
pub(crate) mod errors;
pub(crate) mod find_max;
pub(crate) mod gather;
pub(crate) mod hand;
pub(crate) mod histogram;
pub(crate) mod lateness;
pub(crate) mod likeness;
pub(crate) mod live;
pub(crate) mod machine;
pub(crate) mod marker;
pub(crate) mod matching;
pub(crate) mod payload;
pub(crate) mod plan;
pub(crate) mod preflight;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod schedule;
pub(crate) mod shard;
pub(crate) mod threshold;
pub(crate) mod verdict;
