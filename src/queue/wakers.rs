//! Who waits at either end of a lane.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

use jiff::Timestamp;

/// Tasks to be woken.
#[derive(Debug, Default)]
pub(crate) struct Wakers(RefCell<Vec<Waker>>);

impl Wakers {
    /// This task wants to be woken, once.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let mut wakers = self.0.borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
    }

    pub(crate) fn wake(&self) {
        for waker in self.0.take() {
            waker.wake();
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }
}

/// Who waits at both ends of a lane.
#[derive(Debug, Default)]
pub(crate) struct Waits {
    /// For a message.
    pub readers: Wakers,
    pub writers: Wakers,
    /// Since when the queue is full: a slow receiver does not end it by taking one message.
    pub full_since: Cell<Option<Timestamp>>,
}

impl Waits {
    /// This task waits for room.
    pub(crate) fn wait_for_room(&self, cx: &Context<'_>) {
        if self.full_since.get().is_none() {
            self.full_since.set(Some(Timestamp::now()));
        }
        self.writers.register(cx);
    }

    pub(crate) fn room(&self) {
        self.writers.wake();
    }
}
