//! Waits that end on time: a shard sleeps until its next message is due.
//!
//! The runtime's timers go by milliseconds; on Linux the kernel's own timer does the waiting. Elsewhere a wait ends
//! with the runtime's timer before the time, and the rest is passed by yielding.

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
    pub struct Park(AsyncFd<Timer>);

    impl Park {
        /// One for this thread's runtime.
        ///
        /// # Errors
        /// When the system has no more of them.
        pub fn new() -> std::io::Result<Self> {
            let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            // Its successor is unsafe, for types whose descriptor could change or close; this one's is its own.
            #[allow(deprecated)]
            AsyncFd::with_interest(Timer(timer), Interest::READABLE).map(Self)
        }

        /// Waits so long.
        pub async fn sleep(&self, nanos: u64) {
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

pub use precise::Park;
