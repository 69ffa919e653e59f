//! What waits for one destination: a bounded queue with a writing and a reading end.
//!
//! Leaves what happens to messages to both ends. Invariants: the bounds hold, but for what one message's filter yields
//! at once; what the policy drops is settled as dropped; what was put back comes out first.

use std::cell::{Cell, OnceCell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use jiff::Timestamp;

use super::envelope::Envelope;
use super::ledger::Settlement;
use super::pace::Pacer;
use super::{OverflowPolicy, Pushed, Queue};
use crate::observe::counters::{Count, DropReason};

/// Bounds of a lane.
#[derive(Debug, Clone, Copy)]
pub struct LaneSettings {
    /// Messages it holds.
    pub max_messages: usize,
    /// Payload bytes it holds.
    pub max_bytes: usize,
    /// What happens when it is full.
    pub policy: OverflowPolicy,
}

/// What waits for one destination.
#[derive(Debug)]
pub struct Lane {
    /// The destination as the user wrote it, without secrets.
    pub name: String,
    /// Messages its destination took.
    pub delivered: Count,
    /// Times a message was tried again.
    pub retried: Count,
    settings: LaneSettings,
    pace: OnceCell<(Rc<Pacer>, u32)>,
    queue: RefCell<Queue<Envelope>>,
    ended: Cell<bool>,
    abandoned: Cell<bool>,
    high_water: Cell<usize>,
    full_since: Cell<Option<Timestamp>>,
    reader: RefCell<Option<Waker>>,
    writers: RefCell<Vec<Waker>>,
}

impl Lane {
    /// An empty lane.
    pub fn new(name: impl Into<String>, settings: LaneSettings) -> Self {
        Self {
            name: name.into(),
            delivered: Count::default(),
            retried: Count::default(),
            settings,
            pace: OnceCell::new(),
            queue: RefCell::new(Queue::new(settings.max_messages, settings.max_bytes, settings.policy)),
            ended: Cell::new(false),
            abandoned: Cell::new(false),
            high_water: Cell::new(0),
            full_since: Cell::new(None),
            reader: RefCell::new(None),
            writers: RefCell::default(),
        }
    }

    /// Ready when a message may be pushed without waiting or dropping; under a policy that drops, always.
    pub fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.abandoned.get() || self.settings.policy != OverflowPolicy::Block || self.queue.borrow().fits(1) {
            return Poll::Ready(());
        }
        if self.full_since.get().is_none() {
            self.full_since.set(Some(Timestamp::now()));
        }
        let mut writers = self.writers.borrow_mut();
        if !writers.iter().any(|waker| waker.will_wake(cx.waker())) {
            writers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Adds a message.
    pub fn push(&self, envelope: Envelope) {
        // Nobody takes it any more: it is not kept, and stays unsettled.
        if self.abandoned.get() {
            return;
        }
        let mut lost = Vec::new();
        {
            let mut queue = self.queue.borrow_mut();
            // What was not asked to wait when it could comes in all the same: it is one message's worth.
            if let Pushed::Full(envelope) = queue.push_with(envelope, |envelope| lost.push(envelope)) {
                queue.put(envelope);
            }
            self.high_water.set(self.high_water.get().max(queue.len()));
        }
        // Settling may lead back here.
        for envelope in lost {
            envelope.settle(Settlement::Dropped(DropReason::QueueFull));
        }
        self.wake_reader();
    }

    /// From now on its messages leave at this pace.
    pub fn pace_by(&self, pacer: &Rc<Pacer>) {
        let _ = self.pace.set((Rc::clone(pacer), pacer.join()));
    }

    /// The next message; `None` when there will be no more.
    pub fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Envelope>> {
        if let Some((pacer, number)) = self.pace.get()
            && self.next_size().is_some()
        {
            ready!(pacer.poll(*number, cx));
        }
        if let Some(envelope) = self.take() {
            return Poll::Ready(Some(envelope));
        }
        if self.ended.get() {
            return Poll::Ready(None);
        }
        let mut reader = self.reader.borrow_mut();
        if !reader.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The next message, when there is one that may leave now.
    pub fn try_next(&self) -> Option<Envelope> {
        if self.pace.get().is_some_and(|(pacer, number)| !pacer.is_open(*number)) {
            return None;
        }
        self.take()
    }

    fn take(&self) -> Option<Envelope> {
        let next = self.queue.borrow_mut().pop();
        if next.is_some() {
            self.has_room_again();
            if let Some((pacer, number)) = self.pace.get() {
                pacer.spend(*number);
            }
        }
        next
    }

    /// Ready when nothing waits and nothing more will be pushed; else the waker is called when something changes.
    pub fn poll_done(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended.get() && self.queue.borrow().is_empty() {
            return Poll::Ready(());
        }
        *self.reader.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Payload bytes of the next message, when there is one now.
    pub fn next_size(&self) -> Option<usize> {
        self.queue.borrow().front().map(|envelope| envelope.message.len())
    }

    /// Puts back what was taken out and not delivered, in the order it was taken.
    pub fn put_back(&self, envelopes: impl DoubleEndedIterator<Item = Envelope>) {
        let mut queue = self.queue.borrow_mut();
        for mut envelope in envelopes.rev() {
            envelope.attempts += 1;
            self.retried.one();
            queue.put_back(envelope);
        }
        drop(queue);
        self.wake_reader();
    }

    /// Nothing more will be pushed.
    pub fn end(&self) {
        self.ended.set(true);
        self.wake_reader();
    }

    /// Nobody will take anything any more: writers need not wait, and what they push stays unsettled.
    pub fn abandon(&self) {
        self.abandoned.set(true);
        for waker in self.writers.take() {
            waker.wake();
        }
    }

    /// Whether nothing more will be pushed.
    pub fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Messages waiting.
    pub fn len(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Payload bytes waiting.
    pub fn bytes(&self) -> usize {
        self.queue.borrow().bytes()
    }

    /// The most messages that waited at a time.
    pub fn high_water(&self) -> usize {
        self.high_water.get()
    }

    /// How full it is, from 0 to 1: by count or bytes, whichever is more.
    pub fn utilization(&self) -> f64 {
        let queue = self.queue.borrow();
        let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
        share(queue.len(), queue.capacity()).max(share(queue.bytes(), queue.byte_capacity())).min(1.0)
    }

    /// Since when a writer waits.
    pub fn full_since(&self) -> Option<Timestamp> {
        self.full_since.get()
    }

    /// Its bounds.
    pub fn settings(&self) -> LaneSettings {
        self.settings
    }

    fn has_room_again(&self) {
        if self.writers.borrow().is_empty() || !self.queue.borrow().fits(1) {
            return;
        }
        self.full_since.set(None);
        for waker in self.writers.take() {
            waker.wake();
        }
    }

    fn wake_reader(&self) {
        if let Some(waker) = self.reader.take() {
            waker.wake();
        }
    }
}
