//! When to ping, and when to give a peer up (pure; RFC 6455 sections 5.5.2 and 5.5.3).
//!
//! Time is an argument. Alive is who moves bytes: one that came in, or one the kernel took after it had no room for it,
//! so a message that takes minutes is never a dead peer. Only a pong that carries our own payload gives a round-trip
//! time. While reading is paused on our side nothing is held against the peer.

use std::time::{Duration, Instant};

/// The settings of `--ping-interval`, `--ping-timeout` and `--idle-timeout`; `None` is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeepaliveSettings {
    /// Time between pings.
    pub ping_interval: Option<Duration>,
    /// Whether the first ping goes out right after opening, so that the round-trip time is known.
    pub ping_at_once: bool,
    /// A peer that moves no byte for this long after a ping is gone.
    pub ping_timeout: Duration,
    /// Longest time without a data message in either direction.
    pub idle_timeout: Option<Duration>,
}

/// What the driver must do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// Nothing before [`Keepalive::deadline`].
    Nothing,
    /// Send a ping with this payload.
    Ping([u8; 8]),
    /// The peer did not answer in time.
    Unresponsive,
    /// No data message for the idle time.
    Idle,
}

/// The liveness of one connection.
#[derive(Debug)]
pub(crate) struct Keepalive {
    settings: KeepaliveSettings,
    next_ping: Option<Instant>,
    waiting: Option<Waiting>,
    idle_since: Instant,
    count: u64,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    payload: [u8; 8],
    sent: Instant,
    give_up: Instant,
    answered: bool,
    /// Reading was paused since, so that an answer could not be seen.
    unseen: bool,
}

impl Keepalive {
    /// Starts with the connection open at `now`.
    #[must_use]
    pub(crate) fn new(settings: KeepaliveSettings, now: Instant) -> Self {
        let next_ping = settings.ping_interval.map(|interval| if settings.ping_at_once { now } else { now + interval });
        Self { settings, next_ping, waiting: None, idle_since: now, count: 0 }
    }

    /// The peer moved bytes: it sent some, or made room for some that waited.
    pub(crate) fn on_moved(&mut self) {
        if let Some(waiting) = &mut self.waiting {
            waiting.answered = true;
        }
    }

    /// A data message, or a part of one, was received or sent.
    pub(crate) fn on_message(&mut self, now: Instant) {
        self.idle_since = now;
    }

    /// A pong came in: the round-trip time when it answers the ping under way.
    pub(crate) fn on_pong(&mut self, payload: &[u8], now: Instant) -> Option<Duration> {
        let waiting = self.waiting.filter(|waiting| waiting.payload == payload)?;
        self.waiting = None;
        Some(now.saturating_duration_since(waiting.sent))
    }

    /// Reading was paused by us: the peer's answer may lie unread, so the clock starts again. Pings go on, since
    /// only sending shows that a peer who is not read from has gone.
    pub(crate) fn on_paused(&mut self, now: Instant) {
        if let Some(waiting) = &mut self.waiting {
            waiting.give_up = now + self.settings.ping_timeout;
            waiting.unseen = true;
        }
        self.idle_since = now;
    }

    /// What is due at `now`. A [`Due::Ping`] counts as sent.
    pub(crate) fn poll(&mut self, now: Instant) -> Due {
        if let Some(waiting) = self.waiting
            && now >= waiting.give_up
        {
            if !waiting.answered {
                return Due::Unresponsive;
            }
            self.waiting = None;
        }
        if self.idle_deadline().is_some_and(|deadline| now >= deadline) {
            return Due::Idle;
        }
        if let (Some(due), Some(interval)) = (self.next_ping, self.settings.ping_interval)
            && now >= due
        {
            self.next_ping = Some(now + interval);
            let unanswered = self.waiting.is_some_and(|waiting| !waiting.answered && !waiting.unseen);
            if !unanswered {
                self.count += 1;
                let payload = self.count.to_be_bytes();
                let give_up = now + self.settings.ping_timeout;
                self.waiting = Some(Waiting { payload, sent: now, give_up, answered: false, unseen: false });
                return Due::Ping(payload);
            }
        }
        Due::Nothing
    }

    /// When [`Keepalive::poll`] must be asked again at the latest.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.next_ping, self.waiting.map(|waiting| waiting.give_up), self.idle_deadline()].into_iter().flatten().min()
    }

    fn idle_deadline(&self) -> Option<Instant> {
        self.settings.idle_timeout.map(|timeout| self.idle_since + timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn settings() -> KeepaliveSettings {
        KeepaliveSettings {
            ping_interval: Some(100 * MS),
            ping_at_once: false,
            ping_timeout: 50 * MS,
            idle_timeout: None,
        }
    }

    #[test]
    fn silence_after_a_ping_is_unresponsive() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(settings(), start);
        assert_eq!(keepalive.poll(start + 99 * MS), Due::Nothing);
        assert!(matches!(keepalive.poll(start + 100 * MS), Due::Ping(_)));
        assert_eq!(keepalive.deadline(), Some(start + 150 * MS));
        assert_eq!(keepalive.poll(start + 149 * MS), Due::Nothing);
        assert_eq!(keepalive.poll(start + 150 * MS), Due::Unresponsive);
    }

    #[test]
    fn a_pong_gives_the_round_trip_and_any_byte_keeps_alive() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(settings(), start);
        let Due::Ping(payload) = keepalive.poll(start + 100 * MS) else { panic!("a ping was due") };
        assert_eq!(keepalive.on_pong(b"other", start + 101 * MS), None);
        assert_eq!(keepalive.on_pong(&payload, start + 107 * MS), Some(7 * MS));
        assert!(matches!(keepalive.poll(start + 200 * MS), Due::Ping(_)));
        keepalive.on_moved();
        assert_eq!(keepalive.poll(start + 250 * MS), Due::Nothing);
    }

    #[test]
    fn a_message_that_takes_minutes_is_no_silence() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(settings(), start);
        let mut pings = 0;
        for ms in 0..10_000 {
            // A byte now and then, and never a pong.
            if ms % 40 == 0 {
                keepalive.on_moved();
            }
            match keepalive.poll(start + ms * MS) {
                Due::Nothing => {}
                Due::Ping(_) => pings += 1,
                other => panic!("{other:?} after {ms} ms"),
            }
        }
        assert!(pings > 50, "{pings}");
        let ended = (10_000..10_200).find(|ms| keepalive.poll(start + *ms * MS) == Due::Unresponsive);
        assert!(ended.is_some_and(|ms| ms <= 10_150), "{ended:?}");
    }

    #[test]
    fn pausing_on_our_side_is_not_held_against_the_peer() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(settings(), start);
        keepalive.poll(start + 100 * MS);
        keepalive.on_paused(start + 149 * MS);
        assert_eq!(keepalive.poll(start + 150 * MS), Due::Nothing);
        assert_eq!(keepalive.poll(start + 199 * MS), Due::Unresponsive);
    }

    #[test]
    fn pings_go_on_while_reading_is_paused() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(KeepaliveSettings { ping_timeout: 500 * MS, ..settings() }, start);
        assert!(matches!(keepalive.poll(start + 100 * MS), Due::Ping(_)));
        assert_eq!(keepalive.poll(start + 200 * MS), Due::Nothing, "one is enough for a peer that is read from");
        keepalive.on_paused(start + 250 * MS);
        assert!(matches!(keepalive.poll(start + 300 * MS), Due::Ping(_)));
        keepalive.on_paused(start + 350 * MS);
        assert!(matches!(keepalive.poll(start + 400 * MS), Due::Ping(_)));
        assert_eq!(keepalive.poll(start + 899 * MS), Due::Nothing);
        assert_eq!(keepalive.poll(start + 900 * MS), Due::Unresponsive);
    }

    #[test]
    fn the_first_ping_may_go_at_once() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(KeepaliveSettings { ping_at_once: true, ..settings() }, start);
        assert!(matches!(keepalive.poll(start), Due::Ping(_)));
        keepalive.on_moved();
        assert_eq!(keepalive.poll(start + 99 * MS), Due::Nothing);
        assert!(matches!(keepalive.poll(start + 100 * MS), Due::Ping(_)));
    }

    #[test]
    fn idle_counts_messages_not_control_frames() {
        let start = Instant::now();
        let idle = KeepaliveSettings {
            ping_interval: None,
            ping_at_once: true,
            ping_timeout: MS,
            idle_timeout: Some(10 * MS),
        };
        let mut keepalive = Keepalive::new(idle, start);
        keepalive.on_message(start + 5 * MS);
        keepalive.on_moved();
        assert_eq!(keepalive.poll(start + 14 * MS), Due::Nothing);
        assert_eq!(keepalive.poll(start + 15 * MS), Due::Idle);
    }
}
