//! What has come on a connection while its peer is still busy with a message that came before.
//!
//! Invariants: it is bounded, and kept in order; what ended the connection comes last; what waits keeps nothing alive that
//! came in the same buffer.

use std::collections::VecDeque;

use crate::message::Message;
use crate::net::connection::{ConnectionError, Incoming};

/// Most messages that wait, and their bytes; beyond them the connection is not read from.
const MAX_MESSAGES: usize = 256;
const MAX_BYTES: usize = 1024 * 1024;

/// The next that was held.
#[derive(Debug)]
pub(super) enum Next {
    Message(Message),
    /// What ended the connection: a Close, the end of the stream, a failure.
    End(Result<Option<Incoming>, ConnectionError>),
}

#[derive(Debug, Default)]
pub(super) struct Held {
    messages: VecDeque<Message>,
    bytes: usize,
    end: Option<Result<Option<Incoming>, ConnectionError>>,
}

impl Held {
    pub(super) fn has_message(&self) -> bool {
        !self.messages.is_empty()
    }

    /// Whether nothing more may be read.
    pub(super) fn is_full(&self) -> bool {
        self.end.is_some() || self.messages.len() >= MAX_MESSAGES || self.bytes >= MAX_BYTES
    }

    /// Keeps what was read; returns it where it need not wait.
    pub(super) fn keep(&mut self, read: Result<Option<Incoming>, ConnectionError>) -> Option<Incoming> {
        match read {
            Ok(Some(Incoming::Message(message))) => {
                self.bytes += message.len();
                self.messages.push_back(message.into_detached());
                None
            }
            Ok(Some(control @ (Incoming::Ping(_) | Incoming::Pong(_)))) => Some(control),
            end => {
                self.end.get_or_insert(end);
                None
            }
        }
    }

    pub(super) fn next(&mut self) -> Option<Next> {
        let Some(message) = self.messages.pop_front() else { return self.end.take().map(Next::End) };
        self.bytes -= message.len();
        Some(Next::Message(message))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::net::connection::CloseReason;

    #[test]
    fn messages_wait_in_order_before_the_end_and_pings_do_not() {
        let mut held = Held::default();
        for text in ["a", "b"] {
            assert_eq!(held.keep(Ok(Some(Incoming::Message(Message::text(text))))), None);
        }
        let ping = Incoming::Ping(Bytes::from_static(b"x"));
        assert_eq!(held.keep(Ok(Some(ping.clone()))), Some(ping));
        assert!(!held.is_full());
        let close = Incoming::Close(CloseReason::new(1000, ""));
        assert_eq!(held.keep(Ok(Some(close.clone()))), None);
        // What fails behind a Close is of no interest.
        assert_eq!(held.keep(Err(ConnectionError::Lost("reset".to_owned()))), None);
        assert!(held.is_full());
        let mut seen = Vec::new();
        while let Some(next) = held.next() {
            seen.push(match next {
                Next::Message(message) => message.as_text().unwrap_or_default().to_owned(),
                Next::End(end) => format!("{:?}", end == Ok(Some(close.clone()))),
            });
        }
        assert_eq!(seen, ["a", "b", "true"]);
        assert!(!held.is_full());
    }

    #[test]
    fn what_waits_is_bounded_by_count_and_bytes() {
        for (size, most) in [(1, MAX_MESSAGES), (MAX_BYTES / 4, 4)] {
            let mut held = Held::default();
            let mut count = 0;
            while !held.is_full() {
                let _ = held.keep(Ok(Some(Incoming::Message(Message::text("x".repeat(size))))));
                count += 1;
            }
            assert_eq!(count, most);
        }
    }
}
