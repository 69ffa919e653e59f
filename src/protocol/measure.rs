//! What is to be known of requests, and where it is counted.
//!
//! Leaves showing the counts to `observe/`. Invariant: a method is a label of a bounded set, whatever the peer calls it.

use std::time::Duration;

use crate::message::event::Direction;
use crate::observe::counters::{Counters, EnvelopeType, Label as _, ReplyStatus, RequestMethod};

/// Facts about envelopes and requests, which metrics count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    /// An envelope was received.
    Envelope(EnvelopeType),
    /// The peer (in) or this side (out) asked for this method; what is not known counts as `other`.
    Request(Direction, &'static str),
    /// The peer (in) or this side (out) replied.
    Reply { dir: Direction, ok: bool },
    /// From a request for this method to the end of what it asked for.
    RequestTime(&'static str, Duration),
    /// The peer did not reply in time.
    RequestTimeout,
}

impl Measure {
    pub(crate) fn count(self, counters: &Counters) {
        match self {
            Self::Envelope(kind) => counters.envelopes.one(kind),
            Self::Request(Direction::In, method) => counters.requests.received.one(known(method)),
            Self::Request(Direction::Out, method) => counters.requests.sent.one(known(method)),
            Self::Reply { dir, ok } => {
                let replies = match dir {
                    Direction::In => &counters.replies.received,
                    Direction::Out => &counters.replies.sent,
                };
                replies.one(if ok { ReplyStatus::Ok } else { ReplyStatus::Error });
            }
            Self::RequestTime(method, time) => counters.request_time.add(known(method), time),
            Self::RequestTimeout => counters.request_timeouts.one(),
        }
    }
}

fn known(method: &str) -> RequestMethod {
    RequestMethod::ALL.iter().find(|known| known.name() == method).copied().unwrap_or(RequestMethod::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_has_its_count() {
        let counters = Counters::default();
        for measure in [
            Measure::Envelope(EnvelopeType::Slow),
            Measure::Request(Direction::In, "replay"),
            Measure::Request(Direction::Out, "unknown"),
            Measure::Reply { dir: Direction::In, ok: true },
            Measure::Reply { dir: Direction::Out, ok: false },
            Measure::RequestTime("status", Duration::from_secs(1)),
            Measure::RequestTimeout,
        ] {
            measure.count(&counters);
        }
        let (received, sent) = (&counters.requests.received, &counters.requests.sent);
        assert_eq!((received.get(RequestMethod::Replay), received.total()), (1, 1));
        assert_eq!((sent.get(RequestMethod::Other), sent.total()), (1, 1));
        let (received, sent) = (&counters.replies.received, &counters.replies.sent);
        assert_eq!([received.get(ReplyStatus::Ok), received.total()], [1, 1]);
        assert_eq!([sent.get(ReplyStatus::Error), sent.total()], [1, 1]);
        let times = counters.request_time.iter().find(|(method, _)| *method == RequestMethod::Status);
        assert_eq!(times.map(|(_, times)| times.count()), Some(1));
        assert_eq!((counters.envelopes.get(EnvelopeType::Slow), counters.request_timeouts.get()), (1, 1));
    }
}
