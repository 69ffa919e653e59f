//! How fast messages may leave: at most so many a second from several lanes together, which take turns.
//!
//! [`Turns`] is pure; [`Pacer`] adds the rate limiter and the clock. Invariant: a lane that asks waits for no more than
//! one message of every other.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::time::{Sleep, sleep_until};

use crate::message::clock::now;
use crate::rate::RateLimiter;

/// Who is next, of those who ask.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Turns {
    asking: u64,
    last: u32,
}

impl Turns {
    pub(crate) fn ask(&mut self, who: u32) {
        self.asking |= 1 << who;
    }

    /// Whether it is this one's turn: of those who ask it comes next after the last.
    pub(crate) fn is_turn_of(&self, who: u32) -> bool {
        let asking = self.asking | 1 << who;
        let after = asking & !((2_u64 << self.last).wrapping_sub(1));
        let next = if self.last < 63 && after != 0 { after } else { asking };
        next.trailing_zeros() == who
    }

    pub(crate) fn take(&mut self, who: u32) {
        self.asking &= !(1 << who);
        self.last = who;
    }
}

/// The pace of several lanes.
#[derive(Debug)]
pub(crate) struct Pacer {
    limiter: Cell<RateLimiter>,
    turns: Cell<Turns>,
    joined: Cell<u32>,
    /// Somebody was let go first, and did not go.
    yielded: Cell<bool>,
}

/// One lane's part in a pace: its number, and its own timer, since lanes may be polled by different tasks.
#[derive(Debug)]
pub(crate) struct Turn {
    pacer: Rc<Pacer>,
    number: u32,
    timer: RefCell<Option<Pin<Box<Sleep>>>>,
}

impl Turn {
    /// One more lane.
    pub(crate) fn new(pacer: &Rc<Pacer>) -> Self {
        Self { pacer: Rc::clone(pacer), number: pacer.join(), timer: RefCell::new(None) }
    }

    pub(crate) fn pacer(&self) -> &Rc<Pacer> {
        &self.pacer
    }

    /// Ready when a message of this lane may leave, which is to be followed by [`Turn::spend`].
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.pacer.poll(self.number, &self.timer, cx)
    }

    /// Whether a message of this lane may leave now.
    pub(crate) fn is_open(&self) -> bool {
        self.pacer.is_open(self.number)
    }

    /// A message of this lane leaves.
    pub(crate) fn spend(&self) {
        self.pacer.spend(self.number);
    }
}

impl Pacer {
    /// So many messages a second, above zero.
    pub(crate) fn new(rate: f64) -> Self {
        Self {
            limiter: Cell::new(RateLimiter::steady(rate)),
            turns: Cell::default(),
            joined: Cell::new(0),
            yielded: Cell::new(false),
        }
    }

    /// The number of one more lane. From the 64th on lanes share theirs, and their turn.
    fn join(&self) -> u32 {
        let number = self.joined.get();
        self.joined.set(number.saturating_add(1));
        number.min(63)
    }

    fn poll(&self, lane: u32, timer: &RefCell<Option<Pin<Box<Sleep>>>>, cx: &mut Context<'_>) -> Poll<()> {
        let mut turns = self.turns.get();
        turns.ask(lane);
        self.turns.set(turns);
        let due = self.limiter.get().due(1.0).filter(|due| *due > now());
        if let Some(due) = due {
            let due = due.into();
            let mut timer = timer.borrow_mut();
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
        // A task that stopped asking blocks others for one pass at most.
        if !turns.is_turn_of(lane) && !self.yielded.replace(true) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn is_open(&self, lane: u32) -> bool {
        self.turns.get().is_turn_of(lane) && self.limiter.get().allows(1.0, now())
    }

    fn spend(&self, lane: u32) {
        let (mut limiter, mut turns) = (self.limiter.get(), self.turns.get());
        limiter.charge(1.0, now());
        turns.take(lane);
        self.limiter.set(limiter);
        self.turns.set(turns);
        self.yielded.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_ask_take_turns() {
        let mut turns = Turns::default();
        let mut order = Vec::new();
        for _ in 0..7 {
            for who in [0, 2, 63] {
                turns.ask(who);
            }
            let next = (0..64).find(|who| turns.is_turn_of(*who) && turns.asking & (1 << who) != 0).expect("one");
            turns.take(next);
            order.push(next);
        }
        assert_eq!(order, [2, 63, 0, 2, 63, 0, 2]);
        // Who asks alone has every turn.
        let mut turns = Turns::default();
        for who in [5, 5, 5] {
            assert!(turns.is_turn_of(who));
            turns.take(who);
        }
    }
}
