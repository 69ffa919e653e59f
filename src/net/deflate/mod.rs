//! permessage-deflate (RFC 7692): what is offered, what is agreed, and the compression itself.
//!
//! Owns negotiation ([`negotiate`], pure) and both directions of compression ([`codec`]). Leaves the RSV1 bit and UTF-8 to
//! `frames`.
//! Invariants: nothing is used that was not agreed on; inflating never exceeds the caller's limit.

pub(crate) mod codec;
pub(crate) mod negotiate;

pub(crate) use codec::InflateError;
pub use codec::{Deflater, Inflater, Role};
pub(crate) use negotiate::NegotiationError;
pub use negotiate::{Agreed, DeflateOffer, accept, check_answer};
