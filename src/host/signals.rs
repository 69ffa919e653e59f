//! Signals that end a run or have files read again.
//!
//! Owns telling one wish from two. Invariant: a signal that comes twice within [`TOGETHER`] is one.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::last::{self, TOGETHER};

/// A wish from outside to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StopSignal {
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGTERM.
    Terminate,
}

/// SIGINT and SIGTERM, as they come.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Counted,
    terminate: Counted,
}

impl Signals {
    /// Takes both signals over from their default.
    ///
    /// # Errors
    /// When the runtime cannot install a handler.
    pub(crate) fn install() -> io::Result<Self> {
        last::watch()?;
        Ok(Self {
            interrupt: Counted::install(SignalKind::interrupt())?,
            terminate: Counted::install(SignalKind::terminate())?,
        })
    }

    /// The next signal.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<StopSignal> {
        if self.interrupt.poll_next(cx).is_ready() {
            return Poll::Ready(StopSignal::Interrupt);
        }
        if self.terminate.poll_next(cx).is_ready() {
            return Poll::Ready(StopSignal::Terminate);
        }
        Poll::Pending
    }

    /// The next signal.
    pub(crate) async fn next(&mut self) -> StopSignal {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }
}

/// A signal that may come more than once for one wish.
#[derive(Debug)]
struct Counted {
    arrivals: Signal,
    wishes: Wishes,
}

impl Counted {
    fn install(kind: SignalKind) -> io::Result<Self> {
        Ok(Self { arrivals: signal(kind)?, wishes: Wishes::default() })
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.arrivals.poll_recv(cx));
            last::taken();
            if self.wishes.is_another(Instant::now()) {
                return Poll::Ready(());
            }
        }
    }
}

/// Tells wishes apart. GNU `timeout` signals its child and then the child's group.
#[derive(Debug, Default)]
struct Wishes {
    last: Option<Instant>,
}

impl Wishes {
    /// Whether a signal that comes now is another wish than the one before.
    fn is_another(&mut self, now: Instant) -> bool {
        let is_another = self.last.is_none_or(|last| now.saturating_duration_since(last) >= TOGETHER);
        if is_another {
            self.last = Some(now);
        }
        is_another
    }
}

/// SIGHUP, as it comes: the wish that files are read again.
#[derive(Debug)]
pub(crate) struct Hangups(Signal);

impl Hangups {
    /// Takes the signal over from its default.
    ///
    /// # Errors
    /// When the runtime cannot install a handler.
    pub(crate) fn install() -> io::Result<Self> {
        Ok(Self(signal(SignalKind::hangup())?))
    }

    /// The next signal.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.poll_recv(cx).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_signal_that_comes_twice_at_once_is_one() {
        let begun = Instant::now();
        let mut wishes = Wishes::default();
        let table =
            [(0, true), (0, false), (99, false), (100, true), (150, false), (199, false), (200, true), (5000, true)];
        for (at, expected) in table {
            let now = begun + Duration::from_millis(at);
            assert_eq!(wishes.is_another(now), expected, "after {at} ms");
        }
    }
}
