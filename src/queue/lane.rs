//! What waits for one destination: a bounded queue with a writing and a reading end, in memory or with a spool behind it.
//!
//! Leaves what happens to messages to both ends. Invariants: the bounds hold, but for what one message's filter yields
//! at once; what the policy drops is settled as dropped; what was put back comes out first.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, ready};

use jiff::Timestamp;

use super::envelope::Envelope;
use super::ledger::Ledger;
use super::pace::{Pacer, Turn};
use super::settlement::Settlement;
use super::spool::{Spool, SpoolLane};
use super::wakers::Waits;
use super::{LaneSettings, OverflowPolicy, Pushed, Queue};
use crate::message::Message;
use crate::message::pack::Pack;
use crate::observe::counters::{Count, DropReason};

#[derive(Debug)]
enum Backing {
    Memory(RefCell<Queue<Envelope>>),
    Spool(Rc<SpoolLane>),
}

#[derive(Debug)]
pub(crate) struct Lane {
    /// The destination as the user wrote it, without secrets.
    pub name: String,
    /// Messages its destination took.
    pub delivered: Count,
    pub delivered_bytes: Count,
    /// Times a message was tried again.
    pub retried: Count,
    /// Messages made of several for its destination.
    pub batches: Count,
    /// Messages that were taken out and wait for others, and since when; `None` where none ever has.
    gathering: Cell<Option<(usize, Timestamp)>>,
    settings: LaneSettings,
    pace: OnceCell<Turn>,
    backing: Backing,
    ended: Cell<bool>,
    abandoned: Cell<bool>,
    high_water: Cell<usize>,
    /// What its destination failed at is tried again in a while.
    retrying: Cell<bool>,
    /// Sees what was delivered.
    witness: OnceCell<Witness>,
    pack: RefCell<Pack>,
    waits: Rc<Waits>,
    /// Whom its messages go to, as events name it.
    receiver: OnceCell<String>,
    /// Lanes that hold what would be here, where each receiver has one of its own.
    branches: RefCell<Option<Vec<Weak<Lane>>>>,
}

struct Witness(Box<dyn Fn(&Envelope)>);

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Witness")
    }
}

impl Lane {
    /// An empty lane.
    pub(crate) fn new(name: impl Into<String>, settings: LaneSettings) -> Self {
        let queue = Queue::new(settings.max_messages, settings.max_bytes, settings.policy);
        Self::of(name.into(), settings, Backing::Memory(RefCell::new(queue)), Rc::default())
    }

    /// A lane with a spool behind it, and with what an earlier run left there.
    pub(crate) fn spooled(name: impl Into<String>, settings: LaneSettings, spool: &Spool) -> Self {
        let (name, waits) = (name.into(), Rc::default());
        let lane = spool.lane(&name, settings, &waits);
        Self::of(name, settings, Backing::Spool(lane), waits)
    }

    fn of(name: String, settings: LaneSettings, backing: Backing, waits: Rc<Waits>) -> Self {
        Self {
            name,
            delivered: Count::default(),
            delivered_bytes: Count::default(),
            retried: Count::default(),
            batches: Count::default(),
            gathering: Cell::new(None),
            settings,
            pace: OnceCell::new(),
            backing,
            ended: Cell::new(false),
            abandoned: Cell::new(false),
            high_water: Cell::new(0),
            retrying: Cell::new(false),
            witness: OnceCell::new(),
            pack: RefCell::default(),
            waits,
            receiver: OnceCell::new(),
            branches: RefCell::new(None),
        }
    }

    /// Its messages are those of this account from now on; what an earlier run left is received by it.
    pub(crate) fn join(&self, ledger: &Rc<Ledger>) {
        if let Backing::Spool(lane) = &self.backing {
            lane.join(ledger);
        }
    }

    /// Ready when a message may be pushed without waiting or dropping; under a policy that drops, always, but for a
    /// spool whose disk has to catch up.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        let has_room = match &self.backing {
            Backing::Memory(queue) => self.settings.policy != OverflowPolicy::Block || queue.borrow().fits(1),
            Backing::Spool(lane) => lane.queue.borrow().has_room(),
        };
        if self.abandoned.get() || has_room {
            return Poll::Ready(());
        }
        self.waits.wait_for_room(cx);
        Poll::Pending
    }

    /// Adds a message. What came in the same buffer is not kept alive by what waits.
    pub(crate) fn push(&self, mut envelope: Envelope) {
        envelope.message = self.keep(envelope.message);
        match &self.backing {
            // Nobody takes it any more: it is not kept, and stays unsettled.
            Backing::Memory(_) if self.abandoned.get() => return,
            Backing::Memory(queue) => {
                let mut lost = Vec::new();
                {
                    let mut queue = queue.borrow_mut();
                    // A sender that was not told to wait may exceed the limit by at most one message.
                    if let Pushed::Full(envelope) = queue.push_with(envelope, |envelope| lost.push(envelope)) {
                        queue.put(envelope);
                    }
                }
                // Settling may lead back here.
                for envelope in lost {
                    self.lose(envelope, DropReason::QueueFull);
                }
            }
            Backing::Spool(lane) => lane.push(envelope, |envelope| self.lose(envelope, DropReason::QueueFull)),
        }
        self.high_water.set(self.high_water.get().max(self.len()));
        self.waits.readers.wake();
    }

    /// Its messages go to the session that events call so.
    pub(crate) fn leads_to(&self, receiver: impl Into<String>) {
        let _ = self.receiver.set(receiver.into());
    }

    /// The session that its messages go to, as events name it.
    pub(crate) fn receiver(&self) -> Option<&str> {
        self.receiver.get().map(String::as_str)
    }

    /// Settles a message as dropped on its way to the receiver.
    pub(crate) fn lose(&self, envelope: Envelope, reason: DropReason) {
        match self.receiver() {
            Some(receiver) => envelope.drop_before(receiver, reason),
            None => envelope.settle(Settlement::Dropped(reason)),
        }
    }

    /// What waits behind others leaves with them, unless some are dropped; what waits alone may do so for long.
    fn keep(&self, message: Message) -> Message {
        match &self.backing {
            Backing::Memory(queue) if self.settings.policy == OverflowPolicy::Block && !queue.borrow().is_empty() => {
                message.packed(&mut self.pack.borrow_mut())
            }
            _ => message.into_detached(),
        }
    }

    /// From now on its messages leave at this pace.
    pub(crate) fn pace_by(&self, pacer: &Rc<Pacer>) {
        let _ = self.pace.set(Turn::new(pacer));
    }

    /// From now on it holds nothing: every receiver has a branch of its own.
    pub(crate) fn spread(&self) {
        self.branches.borrow_mut().get_or_insert_default();
    }

    /// One more branch, which keeps to the same pace.
    pub(crate) fn branch(&self, lane: &Rc<Self>) {
        if let Some(branches) = &mut *self.branches.borrow_mut() {
            branches.retain(|branch| branch.strong_count() > 0);
            branches.push(Rc::downgrade(lane));
        }
        if let Some(turn) = self.pace.get() {
            lane.pace_by(turn.pacer());
        }
    }

    /// Where what is for its receivers waits: its branches, or this lane where it has none.
    pub(crate) fn branches(self: &Rc<Self>) -> Vec<Rc<Self>> {
        match &*self.branches.borrow() {
            Some(branches) => branches.iter().filter_map(Weak::upgrade).collect(),
            None => vec![Rc::clone(self)],
        }
    }

    /// The next message; `None` when there will be no more.
    pub(crate) fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Option<Envelope>> {
        if let Some(turn) = self.pace.get()
            && self.next_size().is_some()
        {
            ready!(turn.poll(cx));
        }
        if let Some(envelope) = self.take() {
            return Poll::Ready(Some(envelope));
        }
        let is_over = match &self.backing {
            Backing::Memory(_) => self.ended.get(),
            Backing::Spool(lane) => {
                let queue = lane.queue.borrow();
                queue.has_failed() || self.ended.get() && queue.is_exhausted()
            }
        };
        if is_over {
            return Poll::Ready(None);
        }
        self.waits.readers.register(cx);
        Poll::Pending
    }

    /// The next message, when there is one that may leave now.
    pub(crate) fn try_next(&self) -> Option<Envelope> {
        if self.pace.get().is_some_and(|turn| !turn.is_open()) {
            return None;
        }
        self.take()
    }

    /// The next message, whatever the pace: nobody is to get it any more.
    pub(crate) fn take(&self) -> Option<Envelope> {
        let next = match &self.backing {
            Backing::Memory(queue) => {
                let mut queue = queue.borrow_mut();
                let next = queue.pop();
                if queue.is_empty() {
                    self.pack.borrow_mut().close();
                }
                next
            }
            Backing::Spool(lane) => lane.pop(),
        };
        if next.is_some() {
            self.has_room_again();
            if let Some(turn) = self.pace.get() {
                turn.spend();
            }
        }
        next
    }

    /// Ready when nothing waits and nothing more will be pushed; else the waker is called when something changes.
    pub(crate) fn poll_done(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.ended.get() && self.is_empty() {
            return Poll::Ready(());
        }
        self.waits.readers.register(cx);
        Poll::Pending
    }

    /// Payload bytes of the next message, when there is one now.
    pub(crate) fn next_size(&self) -> Option<usize> {
        let size = |envelope: &Envelope| envelope.message.len();
        match &self.backing {
            Backing::Memory(queue) => queue.borrow().front().map(size),
            Backing::Spool(lane) => lane.queue.borrow().front().map(size),
        }
    }

    /// Puts back what was taken out and not delivered, in the order it was taken.
    pub(crate) fn requeue(&self, envelopes: impl DoubleEndedIterator<Item = Envelope>) {
        for mut envelope in envelopes.rev() {
            envelope.attempts += 1;
            self.retried.one();
            match &self.backing {
                Backing::Memory(queue) => queue.borrow_mut().requeue(envelope),
                Backing::Spool(lane) => lane.queue.borrow_mut().requeue(envelope),
            }
        }
        self.waits.readers.wake();
    }

    pub(crate) fn took(&self, envelope: Envelope) {
        self.delivered.one();
        self.delivered_bytes.add(envelope.message.len() as u64);
        self.retrying.set(false);
        if let Some(Witness(see)) = self.witness.get() {
            see(&envelope);
        }
        envelope.settle(Settlement::Delivered);
    }

    /// From now on `see` is shown what its destination took.
    pub(crate) fn show_to(&self, see: impl Fn(&Envelope) + 'static) {
        let _ = self.witness.set(Witness(Box::new(see)));
    }

    /// A batch of so many messages, taken out of it, waits for more.
    pub(crate) fn gathers(&self, messages: usize) {
        let since =
            self.gathering.get().filter(|(before, _)| *before > 0).map_or_else(Timestamp::now, |(_, since)| since);
        self.gathering.set(Some((messages, since)));
    }

    /// That batch waits no longer.
    pub(crate) fn has_gathered(&self) {
        self.gathering.set(self.gathering.get().map(|(_, since)| (0, since)));
    }

    /// Messages of a batch that waits for more, and since when it does; `None` where none ever has.
    pub(crate) fn gathering(&self) -> Option<(usize, Timestamp)> {
        self.gathering.get()
    }

    /// Its destination has failed, and is tried again in a while, until it takes something.
    pub(crate) fn retries(&self) {
        self.retrying.set(true);
    }

    /// Whether its destination has failed and not taken anything since.
    pub(crate) fn is_retrying(&self) -> bool {
        self.retrying.get()
    }

    /// Nothing more will be pushed.
    pub(crate) fn end(&self) {
        self.ended.set(true);
        self.waits.readers.wake();
    }

    /// Nobody will take anything any more: writers need not wait, and what they push stays unsettled.
    pub(crate) fn abandon(&self) {
        self.abandoned.set(true);
        self.waits.writers.wake();
    }

    /// Whether nothing more will be pushed.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// Messages waiting, on disk too.
    pub(crate) fn len(&self) -> usize {
        match &self.backing {
            Backing::Memory(queue) => queue.borrow().len(),
            Backing::Spool(lane) => {
                let queue = lane.queue.borrow();
                queue.window().len() + queue.beyond().messages as usize
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Payload bytes waiting, on disk too.
    pub(crate) fn bytes(&self) -> usize {
        match &self.backing {
            Backing::Memory(queue) => queue.borrow().bytes(),
            Backing::Spool(lane) => {
                let queue = lane.queue.borrow();
                queue.window().bytes() + queue.beyond().bytes as usize
            }
        }
    }

    /// The most messages that waited at a time.
    pub(crate) fn high_water(&self) -> usize {
        self.high_water.get()
    }

    /// How full it is, from 0 to 1: by count or bytes, whichever is more; with a spool, how full its share of that is.
    pub(crate) fn utilization(&self) -> f64 {
        match &self.backing {
            Backing::Memory(queue) => {
                let queue = queue.borrow();
                let share = |part: usize, whole: usize| part as f64 / whole.max(1) as f64;
                share(queue.len(), queue.capacity()).max(share(queue.bytes(), queue.byte_capacity())).min(1.0)
            }
            Backing::Spool(lane) => lane.queue.borrow().utilization(),
        }
    }

    /// Messages waiting, and how many it would hold: with a spool, of the size they have.
    pub(crate) fn depth(&self) -> (u64, u64) {
        let (waiting, most) = (self.len() as u64, self.settings.max_messages as u64);
        match &self.backing {
            Backing::Memory(_) => (waiting, most),
            Backing::Spool(lane) => (waiting, lane.queue.borrow().capacity().max(most)),
        }
    }

    /// Since when it is full: from the first writer that had to wait until a tenth of it is free again.
    pub(crate) fn full_since(&self) -> Option<Timestamp> {
        self.is_full_no_more();
        self.waits.full_since.get()
    }

    /// Whether it is full: writers wait, or messages are dropped.
    pub(crate) fn is_full(&self) -> bool {
        self.full_since().is_some()
            || match &self.backing {
                Backing::Memory(queue) => queue.borrow().is_full(),
                Backing::Spool(_) => false,
            }
    }

    /// When the message that has waited longest was received, as far as that is known without reading from disk.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        let time = |envelope: &Envelope| envelope.time;
        match &self.backing {
            Backing::Memory(queue) => queue.borrow().front().map(time),
            Backing::Spool(lane) => lane.queue.borrow().front().map(time),
        }
    }

    /// Bytes it takes up in the spool, when it has one.
    pub(crate) fn stored_bytes(&self) -> Option<u64> {
        match &self.backing {
            Backing::Memory(_) => None,
            Backing::Spool(lane) => Some(lane.queue.borrow().stored_bytes()),
        }
    }

    /// Whether it is the new message that is dropped when it is full.
    pub(crate) fn drops_newest(&self) -> bool {
        self.settings.policy == OverflowPolicy::DropNewest
    }

    pub(crate) fn settings(&self) -> LaneSettings {
        self.settings
    }

    fn is_full_no_more(&self) {
        if self.waits.full_since.get().is_some() && self.utilization() <= 0.9 {
            self.waits.full_since.set(None);
        }
    }

    fn has_room_again(&self) {
        self.is_full_no_more();
        if self.waits.writers.is_empty() {
            return;
        }
        let has_room = match &self.backing {
            Backing::Memory(queue) => queue.borrow().fits(1),
            Backing::Spool(lane) => lane.queue.borrow().has_room(),
        };
        if has_room {
            self.waits.room();
        }
    }
}

#[cfg(test)]
#[path = "lane_tests.rs"]
mod tests;
