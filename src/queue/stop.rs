//! The stop ladder's signal: everything that runs looks at it and can wait for its next step.
//!
//! Invariant: it only goes up.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

/// How far an end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// Nothing is to end.
    Running,
    /// Sources stop reading; what is under way is delivered.
    Draining,
    /// Whatever is left is left.
    Aborting,
}

#[derive(Debug)]
pub(crate) struct Stop {
    step: Cell<Step>,
    wakers: RefCell<Vec<Waker>>,
}

impl Default for Stop {
    fn default() -> Self {
        Self { step: Cell::new(Step::Running), wakers: RefCell::default() }
    }
}

impl Stop {
    /// Goes to this step, unless it has been passed.
    pub(crate) fn go(&self, step: Step) {
        if step > self.step.get() {
            self.step.set(step);
            for waker in self.wakers.take() {
                waker.wake();
            }
        }
    }

    pub(crate) fn step(&self) -> Step {
        self.step.get()
    }

    /// Ready once this step is reached; else the waker is called when something changes.
    pub(crate) fn poll_reached(&self, step: Step, cx: &mut Context<'_>) -> Poll<()> {
        if self.step.get() >= step {
            return Poll::Ready(());
        }
        let mut wakers = self.wakers.borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            // Tasks that have ended leave theirs behind; they are few, but not forever.
            if wakers.len() >= 64 {
                wakers.drain(..).for_each(Waker::wake);
            }
            wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until this step is reached.
    pub(crate) async fn reached(&self, step: Step) {
        poll_fn(|cx| self.poll_reached(step, cx)).await;
    }

    /// Waits for `future`, or `None` when this step is reached first or has been: what is always ready ends too.
    pub(crate) async fn unless<F: Future>(&self, step: Step, future: F) -> Option<F::Output> {
        let mut future = std::pin::pin!(future);
        poll_fn(|cx| match self.poll_reached(step, cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => future.as_mut().poll(cx).map(Some),
        })
        .await
    }
}
