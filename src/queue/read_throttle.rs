//! Whether, and how fast, is read from one peer, as somebody outside wishes it.
//!
//! Leaves reading to the code that asks. Invariants: while it is shut nothing passes, so that what the peer sends stays
//! in its socket and the peer is held back; waiting tasks are woken when it opens, or when the next message may pass.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::task::{JoinHandle, spawn_local};
use tokio::time::sleep_until;

use super::wakers::Wakers;
use crate::message::clock::now;
use crate::observe::control::Intake;
use crate::rate::RateLimiter;

/// What lets messages of one peer through.
#[derive(Debug, Default)]
pub(crate) struct ReadThrottle {
    is_shut: Cell<bool>,
    limiter: Cell<Option<RateLimiter>>,
    waiting: Rc<Wakers>,
    alarm: RefCell<Option<(Instant, JoinHandle<()>)>>,
}

impl ReadThrottle {
    /// Lets messages through in this way from now on.
    pub(crate) fn turn(&self, intake: Intake) {
        match intake {
            Intake::Paused(is_shut) => self.is_shut.set(is_shut),
            Intake::Limited(rate) => self.limiter.set(rate.map(RateLimiter::steady)),
        }
        self.waiting.wake();
    }

    pub(crate) fn is_shut(&self) -> bool {
        self.is_shut.get()
    }

    /// How many messages a second pass at most, where that is limited.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.limiter.get().map(|limiter| limiter.rate())
    }

    /// Ready when the next message may be read.
    pub(crate) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let due = self.limiter.get().and_then(|limiter| limiter.due(1.0)).filter(|due| *due > now());
        if !self.is_shut.get() && due.is_none() {
            return Poll::Ready(());
        }
        self.waiting.register(cx);
        if let Some(due) = due.filter(|_| !self.is_shut.get()) {
            self.ring_at(due);
        }
        Poll::Pending
    }

    /// A message has been read.
    pub(crate) fn pass(&self) {
        if let Some(mut limiter) = self.limiter.get() {
            limiter.charge(1.0, now());
            self.limiter.set(Some(limiter));
        }
    }

    /// Wakes all who wait, at this time.
    fn ring_at(&self, due: Instant) {
        let mut alarm = self.alarm.borrow_mut();
        if alarm.as_ref().is_some_and(|(at, task)| *at == due && !task.is_finished()) {
            return;
        }
        if let Some((_, task)) = alarm.take() {
            task.abort();
        }
        let waiting = Rc::clone(&self.waiting);
        let ring = async move {
            sleep_until(due.into()).await;
            waiting.wake();
        };
        *alarm = Some((due, spawn_local(ring)));
    }
}

impl Drop for ReadThrottle {
    fn drop(&mut self) {
        if let Some((_, task)) = self.alarm.take() {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;

    /// Reads so many messages; how long that took.
    async fn read(throttle: &ReadThrottle, count: u32) -> Duration {
        let begun = tokio::time::Instant::now();
        for _ in 0..count {
            poll_fn(|cx| throttle.poll(cx)).await;
            throttle.pass();
        }
        begun.elapsed()
    }

    fn run(test: impl AsyncFnOnce()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build_local(tokio::runtime::LocalOptions::default())
            .expect("a runtime");
        runtime.block_on(test());
    }

    #[test]
    fn a_shut_one_lets_nothing_through_until_it_is_opened() {
        run(async || {
            let throttle = Rc::new(ReadThrottle::default());
            assert_eq!(read(&throttle, 1000).await, Duration::ZERO);
            throttle.turn(Intake::Paused(true));
            let reading = tokio::time::timeout(Duration::from_secs(3600), read(&throttle, 1)).await;
            assert!(reading.is_err() && throttle.is_shut());
            let waiting = Rc::clone(&throttle);
            let reader = spawn_local(async move { read(&waiting, 1).await });
            tokio::time::sleep(Duration::from_secs(5)).await;
            throttle.turn(Intake::Paused(false));
            assert_eq!(reader.await.expect("it ends"), Duration::from_secs(5));
        });
    }

    #[test]
    fn a_limit_is_kept_and_can_be_changed_while_somebody_waits() {
        run(async || {
            let throttle = Rc::new(ReadThrottle::default());
            throttle.turn(Intake::Limited(Some(10.0)));
            let took = read(&throttle, 11).await;
            assert!((took.as_secs_f64() - 1.0).abs() < 0.05, "{took:?}");
            // Everybody who waits is woken, not only who came last.
            let readers = [1, 2, 3].map(|_| {
                let throttle = Rc::clone(&throttle);
                spawn_local(async move { read(&throttle, 1).await })
            });
            for reader in readers {
                assert!(reader.await.expect("it ends") <= Duration::from_millis(310));
            }
            throttle.turn(Intake::Limited(Some(0.001)));
            throttle.pass();
            let waiting = Rc::clone(&throttle);
            let reader = spawn_local(async move { read(&waiting, 1).await });
            tokio::time::sleep(Duration::from_secs(1)).await;
            throttle.turn(Intake::Limited(None));
            assert_eq!(reader.await.expect("it ends"), Duration::from_secs(1));
            assert_eq!(throttle.rate(), None);
        });
    }
}
