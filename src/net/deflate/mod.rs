//! permessage-deflate (RFC 7692): what is offered, what is agreed, and the compression itself.
//!
//! Owns negotiation ([`negotiate`], pure) and the two codecs of a connection ([`codec`]). Leaves
//! the RSV1 bit to `tap` (reading) and `connection` (writing), and UTF-8 checks to `connection`.
//! Invariants: nothing is used that was not agreed on; inflating never exceeds the caller's limit.

pub mod codec;
pub mod negotiate;

pub use codec::{Codec, InflateError, Role};
pub use negotiate::{Agreed, DeflateOffer, NegotiationError, accept, check_answer};
