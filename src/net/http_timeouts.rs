//! How long a peer that speaks HTTP may take (pure).
//!
//! Time is an argument. One limit bounds three things: a request head from the moment it may come, which is also how
//! long an idle connection is kept; and, while an answer goes out, how long the peer may take for the next
//! [`LEAST`] bytes of it. A long download is cut by neither as long as it moves. Invariant: while the program works on
//! an answer, nothing is held against the peer.

use std::time::{Duration, Instant};

/// What a peer must take, or send, within the limit while it is waited for.
pub(crate) const LEAST: usize = 16 * 1024;

/// Bytes that must move within a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    since: Instant,
    moved: usize,
}

impl Progress {
    #[must_use]
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, moved: 0 }
    }

    pub(crate) fn on_moved(&mut self, bytes: usize, now: Instant) {
        self.moved += bytes;
        if self.moved >= LEAST {
            *self = Self::new(now);
        }
    }

    /// When the peer is too slow.
    #[must_use]
    pub(crate) fn deadline(&self, limit: Duration) -> Instant {
        self.since + limit
    }
}

/// The time limits of one HTTP connection.
#[derive(Debug)]
pub(crate) struct HttpTimeouts {
    limit: Duration,
    /// Since when a request head may come; none while one is being answered.
    head_since: Option<Instant>,
    blocked: Option<Progress>,
    requests: u64,
}

impl HttpTimeouts {
    /// A connection that began at `started`.
    #[must_use]
    pub(crate) fn new(limit: Duration, started: Instant) -> Self {
        Self { limit, head_since: Some(started), blocked: None, requests: 0 }
    }

    /// The time all of this may take.
    #[must_use]
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// A request head is whole.
    pub(crate) fn on_request(&mut self) {
        self.requests += 1;
        self.head_since = None;
    }

    /// The answer has been given out, though some of it may still wait for the socket.
    pub(crate) fn on_answered(&mut self, now: Instant) {
        self.head_since = Some(now);
    }

    /// The socket takes nothing at present.
    pub(crate) fn on_blocked(&mut self, now: Instant) {
        self.blocked.get_or_insert_with(|| Progress::new(now));
    }

    /// The socket took so many bytes.
    pub(crate) fn on_written(&mut self, bytes: usize, now: Instant) {
        if let Some(blocked) = &mut self.blocked {
            blocked.on_moved(bytes, now);
        }
        // The next head is not late while the answer to the last one is on its way.
        self.head_since = self.head_since.map(|_| now);
    }

    /// The socket took all there was.
    pub(crate) fn on_flushed(&mut self) {
        self.blocked = None;
    }

    /// When the connection has to end if nothing happens before.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.blocked {
            Some(blocked) => Some(blocked.deadline(self.limit)),
            None => self.head_since.map(|since| since + self.limit),
        }
    }

    /// Whether it is the socket that is waited for.
    #[must_use]
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked.is_some()
    }

    /// Whether a request was answered, so that an end without another is in order.
    #[must_use]
    pub(crate) fn has_answered(&self) -> bool {
        self.requests > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn second(start: Instant, number: u64) -> Instant {
        start + Duration::from_secs(number)
    }

    #[test]
    fn a_head_has_the_limit_and_an_answer_that_is_thought_about_has_none() {
        let start = Instant::now();
        let mut timeouts = HttpTimeouts::new(LIMIT, start);
        assert_eq!(timeouts.deadline(), Some(second(start, 10)));
        assert!(!timeouts.has_answered());
        timeouts.on_request();
        assert_eq!(timeouts.deadline(), None);
        timeouts.on_answered(second(start, 60));
        assert_eq!(timeouts.deadline(), Some(second(start, 70)), "an idle connection is kept for the limit");
        assert!(timeouts.has_answered());
    }

    #[test]
    fn a_download_that_moves_is_not_cut() {
        let start = Instant::now();
        let mut timeouts = HttpTimeouts::new(LIMIT, start);
        timeouts.on_request();
        for number in 0..100 {
            timeouts.on_blocked(second(start, 9 * number));
            assert_eq!(timeouts.deadline(), Some(second(start, 9 * number + 10)));
            timeouts.on_written(LEAST, second(start, 9 * number + 9));
        }
    }

    #[test]
    fn a_download_that_crawls_is_cut() {
        let start = Instant::now();
        let mut timeouts = HttpTimeouts::new(LIMIT, start);
        timeouts.on_request();
        timeouts.on_blocked(start);
        for number in 1..9 {
            timeouts.on_written(1000, second(start, number));
            timeouts.on_blocked(second(start, number));
        }
        assert_eq!(timeouts.deadline(), Some(second(start, 10)), "a little at a time is not enough");
        timeouts.on_flushed();
        assert_eq!(timeouts.deadline(), None, "all there was is enough");
    }

    #[test]
    fn the_next_head_is_not_late_while_a_large_answer_goes_out() {
        let start = Instant::now();
        let mut timeouts = HttpTimeouts::new(LIMIT, start);
        timeouts.on_request();
        timeouts.on_answered(start);
        timeouts.on_blocked(start);
        timeouts.on_written(2 * LEAST, second(start, 9));
        timeouts.on_written(1, second(start, 18));
        timeouts.on_flushed();
        assert_eq!(timeouts.deadline(), Some(second(start, 28)));
    }
}
