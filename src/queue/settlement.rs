//! What became of a message, as accounts and queues keep it.

use crate::observe::counters::DropReason;

/// What became of a message, from the mildest to the worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Settlement {
    /// A filter or route kept it from every destination.
    Filtered,
    /// Every destination it was meant for took it.
    Delivered,
    /// A destination will never take it; it is in the dead letters.
    DeadLettered(DropReason),
    /// It is gone.
    Dropped(DropReason),
}
