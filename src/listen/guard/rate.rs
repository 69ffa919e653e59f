//! Rates: so much a second, with a burst of one second (pure).
//!
//! A bucket holds what one second brings and is full at first; what is asked of it leaves, time brings it back.

use crate::message::counted::counted;
use std::fmt;
use std::time::{Duration, Instant};

/// A wait so long that it will not end.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// What may be taken at a steady rate.
#[derive(Debug, Clone)]
pub(crate) struct Bucket {
    rate: f64,
    capacity: f64,
    level: f64,
    at: Instant,
}

impl Bucket {
    /// A full one. `rate` is per second and above zero; one unit is there at the least.
    #[must_use]
    pub(crate) fn new(rate: f64, now: Instant) -> Self {
        let capacity = rate.max(1.0);
        Self { rate, capacity, level: capacity, at: now }
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        self.level = (self.level + passed.as_secs_f64() * self.rate).min(self.capacity);
        self.at = self.at.max(now);
    }

    /// Whether all of it is there that can be.
    pub(crate) fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.level >= self.capacity
    }

    /// Takes `amount` when it is there.
    pub(crate) fn take(&mut self, amount: f64, now: Instant) -> bool {
        self.refill(now);
        let is_there = self.level >= amount;
        if is_there {
            self.level -= amount;
        }
        is_there
    }

    /// Takes `amount` even when it has yet to come.
    pub(crate) fn owe(&mut self, amount: f64, now: Instant) {
        self.refill(now);
        self.level -= amount;
    }

    /// How long until `amount` is there; zero when it is.
    pub(crate) fn wait(&mut self, amount: f64, now: Instant) -> Duration {
        self.refill(now);
        let missing = amount.min(self.capacity) - self.level;
        // A little more, lest rounding leaves a trifle to wait for.
        let seconds = if missing > 0.0 { missing / self.rate + 1e-6 } else { 0.0 };
        Duration::try_from_secs_f64(seconds).unwrap_or(FOR_EVER).min(FOR_EVER)
    }
}

/// What happens when a client sends more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum OnRate {
    /// It is told, and closed with 1008.
    #[default]
    Close,
    /// It is read no faster.
    Slow,
}

/// `--message-rate`, `--byte-rate` and `--on-rate`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct RateSettings {
    /// Messages a second.
    pub messages: Option<f64>,
    /// Payload bytes a second.
    pub bytes: Option<f64>,
    /// What happens beyond.
    pub on_rate: OnRate,
}

/// A client has sent more than it may.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Exceeded {
    /// More messages a second than this.
    Messages(f64),
    /// More bytes a second than this.
    Bytes(f64),
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Messages(rate) => write!(f, "more than {} a second", counted(*rate, "message")),
            Self::Bytes(rate) => write!(f, "more than {} a second", counted(*rate, "byte")),
        }
    }
}

/// How much one session has sent.
#[derive(Debug)]
pub(crate) struct Rates {
    settings: RateSettings,
    messages: Option<Bucket>,
    bytes: Option<Bucket>,
}

impl Rates {
    /// Of a session that opens now; `None` where there is no limit.
    #[must_use]
    pub(crate) fn new(settings: RateSettings, now: Instant) -> Option<Self> {
        (settings.messages.is_some() || settings.bytes.is_some()).then(|| Self {
            settings,
            messages: settings.messages.map(|rate| Bucket::new(rate, now)),
            bytes: settings.bytes.map(|rate| Bucket::new(rate, now)),
        })
    }

    /// A message of `bytes` came in.
    ///
    /// # Errors
    /// When it is one too many and the session is to be closed for it.
    pub(crate) fn on_message(&mut self, bytes: usize, now: Instant) -> Result<(), Exceeded> {
        for (bucket, amount, exceeded) in [
            (&mut self.messages, 1.0, Exceeded::Messages as fn(f64) -> Exceeded),
            (&mut self.bytes, bytes as f64, Exceeded::Bytes),
        ] {
            let Some(bucket) = bucket else { continue };
            match self.settings.on_rate {
                OnRate::Slow => bucket.owe(amount, now),
                OnRate::Close if bucket.take(amount, now) => {}
                OnRate::Close => return Err(exceeded(bucket.rate)),
            }
        }
        Ok(())
    }

    /// How long nothing may be read; zero when the next message may come.
    pub(crate) fn pause(&mut self, now: Instant) -> Duration {
        if self.settings.on_rate == OnRate::Close {
            return Duration::ZERO;
        }
        // How large the next message is shows only when it is there: one byte must be free.
        let wait = |bucket: &mut Option<Bucket>| bucket.as_mut().map(|bucket| bucket.wait(1.0, now));
        wait(&mut self.messages).max(wait(&mut self.bytes)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn rates(messages: Option<f64>, bytes: Option<f64>, on_rate: OnRate, now: Instant) -> Rates {
        Rates::new(RateSettings { messages, bytes, on_rate }, now).expect("a limit")
    }

    #[test]
    fn a_burst_of_one_second_passes_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, start);
        assert_eq!((0..20).filter(|_| bucket.take(1.0, start)).count(), 10);
        assert!(!bucket.take(1.0, start + 99 * MS));
        assert!(bucket.take(1.0, start + 101 * MS));
        // However long it was quiet, no more than one second's worth is saved.
        let later = start + 60_000 * MS;
        assert_eq!((0..20).filter(|_| bucket.take(1.0, later)).count(), 10);
        // The clock never runs backwards, and is not believed when it does.
        assert!(!bucket.take(1.0, start));
    }

    #[test]
    fn less_than_one_a_second_is_one_now_and_then() {
        let start = Instant::now();
        let mut bucket = Bucket::new(0.5, start);
        assert!(bucket.take(1.0, start));
        assert_eq!(bucket.wait(1.0, start + 500 * MS).as_millis(), 1500);
        assert!(!bucket.take(1.0, start + 1999 * MS));
        assert!(bucket.take(1.0, start + 2001 * MS));
        assert_eq!(Bucket::new(1e-300, start).wait(1.0, start), Duration::ZERO);
        let mut never = Bucket::new(1e-300, start);
        never.owe(5.0, start);
        assert_eq!(never.wait(1.0, start), FOR_EVER);
    }

    #[test]
    fn close_names_what_was_too_much() {
        let start = Instant::now();
        let mut both = rates(Some(2.0), Some(100.0), OnRate::Close, start);
        assert_eq!(both.on_message(50, start), Ok(()));
        assert_eq!(both.on_message(51, start), Err(Exceeded::Bytes(100.0)));
        let mut both = rates(Some(2.0), Some(100.0), OnRate::Close, start);
        for _ in 0..2 {
            assert_eq!(both.on_message(0, start), Ok(()));
        }
        assert_eq!(both.on_message(0, start), Err(Exceeded::Messages(2.0)));
        assert_eq!(both.pause(start), Duration::ZERO);
        assert_eq!(Exceeded::Messages(2500.0).to_string(), "more than 2500 messages a second");
    }

    #[test]
    fn slow_pauses_for_what_was_taken_too_early() {
        let start = Instant::now();
        let mut slow = rates(None, Some(1000.0), OnRate::Slow, start);
        assert_eq!(slow.on_message(3000, start), Ok(()));
        let pause = slow.pause(start);
        assert!((2000..=2002).contains(&pause.as_millis()), "{pause:?}");
        assert_eq!(slow.pause(start + pause), Duration::ZERO);
        let mut slow = rates(Some(4.0), None, OnRate::Slow, start);
        let mut now = start;
        for _ in 0..12 {
            now += slow.pause(now);
            assert_eq!(slow.on_message(1, now), Ok(()));
        }
        let took = now - start;
        assert!((2000..=2002).contains(&took.as_millis()), "4 at once, 8 at 4 a second: {took:?}");
    }

    #[test]
    fn without_a_limit_there_is_nothing_to_keep() {
        let none = RateSettings { messages: None, bytes: None, on_rate: OnRate::Close };
        assert!(Rates::new(none, Instant::now()).is_none());
    }
}
