//! How much one session may send: messages and bytes a second, with a burst of one second (pure).

use std::fmt;
use std::time::{Duration, Instant};

use crate::message::counted::counted;
use crate::rate::RateLimiter;

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
    messages: Option<RateLimiter>,
    bytes: Option<RateLimiter>,
}

impl Rates {
    /// Of a session that opens now; `None` where there is no limit.
    #[must_use]
    pub(crate) fn new(settings: RateSettings) -> Option<Self> {
        (settings.messages.is_some() || settings.bytes.is_some()).then(|| Self {
            settings,
            messages: settings.messages.map(RateLimiter::with_burst),
            bytes: settings.bytes.map(RateLimiter::with_burst),
        })
    }

    /// A message of `bytes` came in.
    ///
    /// # Errors
    /// When it is one too many and the session is to be closed for it.
    pub(crate) fn on_message(&mut self, bytes: usize, now: Instant) -> Result<(), Exceeded> {
        for (limiter, amount, exceeded) in [
            (&mut self.messages, 1.0, Exceeded::Messages as fn(f64) -> Exceeded),
            (&mut self.bytes, bytes as f64, Exceeded::Bytes),
        ] {
            let Some(limiter) = limiter else { continue };
            match self.settings.on_rate {
                OnRate::Slow => limiter.charge(amount, now),
                OnRate::Close if limiter.take(amount, now) => {}
                OnRate::Close => return Err(exceeded(limiter.rate())),
            }
        }
        Ok(())
    }

    /// How long nothing may be read; zero when the next message may come.
    pub(crate) fn pause(&self, now: Instant) -> Duration {
        if self.settings.on_rate == OnRate::Close {
            return Duration::ZERO;
        }
        // How large the next message is shows only when it is there: one byte must be free.
        let limiters = self.messages.iter().chain(&self.bytes);
        limiters.map(|limiter| limiter.wait(1.0, now)).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(messages: Option<f64>, bytes: Option<f64>, on_rate: OnRate) -> Rates {
        Rates::new(RateSettings { messages, bytes, on_rate }).expect("a limit")
    }

    #[test]
    fn close_names_what_was_too_much() {
        let start = Instant::now();
        let mut both = rates(Some(2.0), Some(100.0), OnRate::Close);
        assert_eq!(both.on_message(50, start), Ok(()));
        assert_eq!(both.on_message(51, start), Err(Exceeded::Bytes(100.0)));
        let mut both = rates(Some(2.0), Some(100.0), OnRate::Close);
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
        let mut slow = rates(None, Some(1000.0), OnRate::Slow);
        assert_eq!(slow.on_message(3000, start), Ok(()));
        let pause = slow.pause(start);
        assert!((2000..=2002).contains(&pause.as_millis()), "{pause:?}");
        assert_eq!(slow.pause(start + pause), Duration::ZERO);
        let mut slow = rates(Some(4.0), None, OnRate::Slow);
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
        assert!(Rates::new(none).is_none());
    }
}
