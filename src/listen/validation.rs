//! What clients send must have a shape: `--schema`, `--on-invalid`.
//!
//! Decides; leaves answering to the session and what becomes of the message to the hub. The schema itself is
//! `filter/schema`'s.

use crate::filter::Schema;
use crate::message::Message;

/// What a client whose message has another shape gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnInvalid {
    /// An error message.
    Reply,
    /// Close 1008.
    Close,
    /// Nothing.
    Drop,
}

/// The shape, and what happens to what has another.
#[derive(Debug, Clone)]
pub(crate) struct Validation {
    /// The shape.
    pub schema: Schema,
    /// What the sender gets.
    pub on_invalid: OnInvalid,
}

impl Validation {
    /// Looks at a message; what is not JSON has no shape.
    ///
    /// # Errors
    /// What is wrong with it, in a line.
    pub(crate) fn check(&self, message: &Message) -> Result<(), String> {
        self.schema.check(message.payload())
    }
}
