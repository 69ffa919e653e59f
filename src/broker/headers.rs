//! The headers a message carries through a broker, and what they say when it comes back (pure).
//!
//! Owns their names: `session`, `time`, `type` and `trace`. Invariant: a text message is UTF-8, whatever a header says.

use std::fmt::Write as _;

use bytes::Bytes;

use crate::message::event::push_number;
use crate::message::{Message, MessageKind};
use crate::queue::envelope::Envelope;

/// The session it came from.
pub(crate) const SESSION: &str = "session";
/// When it was received, as in event lines.
pub(crate) const TIME: &str = "time";
/// `text` or `binary`.
pub(crate) const TYPE: &str = "type";
/// One of a kind: the run, the session and the message's number in it.
pub(crate) const TRACE: &str = "trace";

/// The name of this run, so that what two runs send is distinguished.
pub(crate) fn run_name() -> String {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        bytes = fastrand::u64(..).to_le_bytes();
    }
    bytes.iter().fold(String::with_capacity(16), |mut name, byte| {
        let _ = write!(name, "{byte:02x}");
        name
    })
}

/// What traces a message back to where it came from.
pub(crate) fn trace(run: &str, envelope: &Envelope) -> String {
    joined(&[run, &envelope.origin.session], b'-', envelope.seq)
}

/// Words and a number behind them, with this in between: without the general way of formatting, for every message has it.
pub(crate) fn joined(words: &[&str], between: u8, number: u64) -> String {
    let mut text = Vec::with_capacity(48);
    for word in words {
        text.extend_from_slice(word.as_bytes());
        text.push(between);
    }
    push_number(&mut text, number);
    String::from_utf8(text).unwrap_or_default()
}

/// What a broker gave back as a message.
pub(crate) fn message(payload: Bytes, kind: Option<&[u8]>) -> Message {
    match kind_of(&payload, kind) {
        MessageKind::Text => Message::checked(MessageKind::Text, payload),
        MessageKind::Binary => Message::binary(payload),
    }
}

/// Of what type it is: without a word on that it is text where it can be.
pub(crate) fn kind_of(payload: &[u8], word: Option<&[u8]>) -> MessageKind {
    if word == Some(b"binary") { MessageKind::Binary } else { MessageKind::of(payload) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_comes_back_as_it_went() {
        let (text, other) = (Bytes::from_static(b"a"), Bytes::from_static(b"\xff"));
        for (payload, header, kind) in [
            (&text, None, MessageKind::Text),
            (&text, Some("text"), MessageKind::Text),
            (&text, Some("binary"), MessageKind::Binary),
            (&other, Some("text"), MessageKind::Binary),
            (&other, None, MessageKind::Binary),
        ] {
            let message = message(payload.clone(), header.map(str::as_bytes));
            assert_eq!(message.kind(), kind, "{payload:?} {header:?}");
        }
    }

    #[test]
    fn words_and_a_number_are_joined() {
        assert_eq!(joined(&["a", "s1"], b'-', 0), "a-s1-0");
        assert_eq!(joined(&["é"], b'.', u64::MAX), format!("é.{}", u64::MAX));
    }

    #[test]
    fn two_runs_have_two_names() {
        assert_ne!(run_name(), run_name());
        assert_eq!(run_name().len(), 16);
    }
}
