//! permessage-deflate (RFC 7692): what is offered, what is agreed, and the compression itself.
//!
//! Owns negotiation ([`negotiate`], pure) and both directions of compression ([`codec`]). Leaves the RSV1 bit and UTF-8 to
//! `frames`.
//! Invariants: nothing is used that was not agreed on; inflating never exceeds the caller's limit.

pub mod codec;
pub mod negotiate;

pub use codec::{Deflater, InflateError, Inflater, Role};
pub use negotiate::{Agreed, DeflateOffer, NegotiationError, accept, check_answer};
