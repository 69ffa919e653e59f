//! Waits that end on time: a shard sleeps until its next message is due.
//!
//! The runtime's timers go by milliseconds; on Linux the kernel's own timer does the waiting. Elsewhere a wait ends
//! with the runtime's timer before the time, and the rest is passed by yielding. A thread that is woken comes late all the
//! same, by what the machine takes to wake it: where waits are long, [`Early`] has them end that much earlier.

#[cfg(target_os = "linux")]
mod precise {
    use std::os::fd::{AsFd, AsRawFd, RawFd};
    use std::time::Duration;

    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    struct Timer(TimerFd);

    impl AsRawFd for Timer {
        fn as_raw_fd(&self) -> RawFd {
            self.0.as_fd().as_raw_fd()
        }
    }

    /// A timer of nanoseconds.
    pub(crate) struct Park(AsyncFd<Timer>);

    impl Park {
        /// One for this thread's runtime.
        ///
        /// # Errors
        /// When the system has no more of them.
        pub(crate) fn new() -> std::io::Result<Self> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            // Its successor is unsafe, for types whose descriptor could change or close; this one's is its own.
            #[allow(deprecated)]
            AsyncFd::with_interest(Timer(timer), Interest::READABLE).map(Self)
        }

        /// Waits so long.
        pub(crate) async fn sleep(&self, nanos: u64) {
            // Nothing switches the timer off by accident: 0 would.
            let time = TimeSpec::from(Duration::from_nanos(nanos.max(1)));
            if self.0.get_ref().0.set(Expiration::OneShot(time), TimerSetTimeFlags::empty()).is_err() {
                tokio::task::yield_now().await;
                return;
            }
            // Setting it anew makes it unread again; reading it would be one more call.
            if let Ok(mut ready) = self.0.readable().await {
                ready.clear_ready();
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod precise {
    use std::time::Duration;

    use tokio::time::Instant;

    /// How much before its time a wait goes over to yielding.
    const COARSE: Duration = Duration::from_millis(2);

    /// A wait by the runtime's timer.
    pub struct Park;

    impl Park {
        /// One for this thread's runtime.
        ///
        /// # Errors
        /// Never.
        pub fn new() -> std::io::Result<Self> {
            Ok(Self)
        }

        /// Waits so long.
        pub async fn sleep(&self, nanos: u64) {
            let until = Instant::now() + Duration::from_nanos(nanos);
            if Duration::from_nanos(nanos) > COARSE {
                tokio::time::sleep_until(until - COARSE).await;
            }
            while Instant::now() < until {
                tokio::task::yield_now().await;
            }
        }
    }
}

pub(super) use precise::Park;

/// Most a wait ends early, in nanoseconds.
const MOST_EARLY: u64 = 100_000;
/// A wait ends early by at most this part of it, so that passing the rest awake costs little.
const PART: u64 = 8;
/// How slowly the habit of the machine is learned.
const MEMORY: u64 = 16;

/// How late this machine wakes a thread, learned from wait to wait (pure).
#[derive(Debug, Default)]
pub(super) struct Early {
    /// In nanoseconds, an average that follows.
    late: u64,
}

impl Early {
    /// How much of a wait to sleep; the rest is to be passed awake.
    pub(super) fn sleep(&self, wait: u64) -> u64 {
        // Half as much again, since every other waking is later than the average.
        wait - (self.late + self.late / 2).min(MOST_EARLY).min(wait / PART)
    }

    /// Takes in that a sleep ended so much later than asked.
    pub(super) fn learn(&mut self, late: u64) {
        self.late = (self.late * (MEMORY - 1) + late.min(MOST_EARLY)) / MEMORY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_end_early_by_what_waking_takes_and_never_by_much() {
        let mut early = Early::default();
        assert_eq!(early.sleep(1_000_000), 1_000_000);
        (0..200).for_each(|_| early.learn(40_000));
        let slept = early.sleep(1_000_000);
        assert!((935_000..=945_000).contains(&slept), "{slept}");
        assert_eq!(early.sleep(80_000), 70_000, "an eighth of it");
        (0..200).for_each(|_| early.learn(10_000_000));
        assert_eq!(early.sleep(10_000_000), 9_900_000);
        (0..500).for_each(|_| early.learn(0));
        assert!(early.sleep(1_000_000) > 999_900);
    }
}
