//! What is to be known of requests, and where it is counted.
//!
//! Leaves showing the counts to `observe/`. Invariant: a method is a label of a bounded set, whatever the peer calls it.

use std::time::Duration;

use crate::observe::counters::{Counters, Label as _, ReplyStatus, RequestMethod};

/// Facts about requests, which metrics count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Either side asked for this method; what is not known counts as `unknown`.
    Request(&'static str),
    /// Either side replied, with success or not.
    Reply {
        /// Whether it was a success.
        ok: bool,
    },
    /// From a request to the end of what it asked for.
    RequestTime(Duration),
    /// The peer did not reply in time.
    RequestTimeout,
}

impl Measure {
    /// Counts it.
    pub fn count(self, counters: &Counters) {
        match self {
            Self::Request(method) => {
                let known = RequestMethod::ALL.iter().find(|known| known.name() == method);
                counters.requests.one(known.copied().unwrap_or(RequestMethod::Other));
            }
            Self::Reply { ok } => counters.replies.one(if ok { ReplyStatus::Ok } else { ReplyStatus::Error }),
            Self::RequestTime(time) => counters.request_time.add(time),
            Self::RequestTimeout => counters.request_timeouts.one(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fact_has_its_count() {
        let counters = Counters::default();
        for measure in [
            Measure::Request("replay"),
            Measure::Request("unknown"),
            Measure::Reply { ok: true },
            Measure::Reply { ok: false },
            Measure::RequestTime(Duration::from_secs(1)),
            Measure::RequestTimeout,
        ] {
            measure.count(&counters);
        }
        assert_eq!((counters.requests.get(RequestMethod::Replay), counters.requests.get(RequestMethod::Other)), (1, 1));
        assert_eq!((counters.replies.get(ReplyStatus::Ok), counters.replies.total()), (1, 2));
        assert_eq!((counters.request_time.count(), counters.request_timeouts.get()), (1, 1));
    }
}
