//! Bins: messages gathered in front of a destination and handed to it as one message.
//!
//! Takes messages out of the destination's lane and puts bins into a lane of its own, which the end works off. `form` makes
//! a message of many. Invariants: a message has the outcome of its bin; of a bin that is refused for what is in it, only
//! those messages are given up that are refused alone as well; what has no outcome goes back to the destination's lane,
//! in order, so that a spool keeps it.

mod form;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::{Future as _, poll_fn};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

pub(crate) use form::{BinForm, Binding};

use super::batch::{BatchSettings, fill};
use crate::message::Message;
use crate::observe::counters::DropReason;
use crate::queue::LaneSettings;
use crate::queue::OverflowPolicy;
use crate::queue::end::{DeadLetters, End, EndError, EndIo, LocalFuture};
use crate::queue::envelope::Envelope;
use crate::queue::lane::Lane;
use crate::queue::ledger::{AckCallback, Ledger, Safety};
use crate::queue::settlement::Settlement;
use crate::queue::stop::Stop;
use crate::queue::wakers::Wakers;

#[derive(Debug, Clone)]
pub(crate) struct BinSettings {
    pub batch: BatchSettings,
    pub binding: Binding,
}

/// An end that is handed bins.
pub(crate) struct Binned {
    pub end: Box<dyn End>,
    pub settings: BinSettings,
}

impl End for Binned {
    fn run(self: Box<Self>, io: EndIo) -> LocalFuture<'static, Result<(), EndError>> {
        Box::pin(async move {
            let Self { end, settings } = *self;
            let Some(lane) = io.lane.clone() else { return end.run(io).await };
            let bins = Bins::new(lane, settings, &io);
            let inner = EndIo {
                lane: Some(Rc::clone(&bins.inner)),
                dead_letters: Rc::clone(&bins) as Rc<dyn DeadLetters>,
                ..io.clone()
            };
            let mut end = end.run(inner);
            let mut gathering = Some(Box::pin(bins.gather(&io.stop)));
            let result = poll_fn(|cx| {
                if gathering.as_mut().is_some_and(|gathering| gathering.as_mut().poll(cx).is_ready()) {
                    gathering = None;
                    bins.inner.end();
                }
                let ended = end.as_mut().poll(cx);
                bins.mirror();
                ended
            });
            let result = result.await;
            drop(gathering);
            bins.give_back();
            result
        })
    }
}

/// Messages that have become one, or several where a filter says so.
struct Bin {
    /// Its number among all; what was parted has that of the whole.
    place: u64,
    messages: Vec<Envelope>,
    /// Whether each may be tried alone when all together are refused.
    can_be_parted: bool,
}

/// A bin that is being gathered: what is in it when that ends early goes back.
struct Next<'b> {
    bins: &'b Bins,
    messages: VecDeque<Envelope>,
}

impl Drop for Next<'_> {
    fn drop(&mut self) {
        self.bins.next.borrow_mut().append(&mut self.messages);
    }
}

struct Bins {
    this: Weak<Self>,
    settings: BinSettings,
    outer: Rc<Lane>,
    inner: Rc<Lane>,
    /// Accounts for bins.
    ledger: Rc<Ledger>,
    dead_letters: Rc<dyn DeadLetters>,
    /// What was being gathered at the end.
    next: RefCell<VecDeque<Envelope>>,
    /// Without an outcome, by the number of their receipt.
    open: RefCell<BTreeMap<u64, Bin>>,
    /// Messages in open bins, and their payload bytes.
    under_way: Cell<(usize, usize)>,
    /// Most of both before another bin is begun.
    bounds: (usize, usize),
    /// Accounts for the messages.
    account: OnceCell<Rc<Ledger>>,
    retried: Cell<u64>,
    changed: Wakers,
}

impl Bins {
    fn new(outer: Rc<Lane>, settings: BinSettings, io: &EndIo) -> Rc<Self> {
        let queue = outer.settings();
        let inner = LaneSettings { policy: OverflowPolicy::Block, ..queue };
        let inner = Rc::new(Lane::new(outer.name.clone(), inner));
        if let Some(receiver) = outer.receiver() {
            inner.leads_to(receiver);
        }
        let bins = Rc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            // Beside the queue, and in memory twice: as they came and as one.
            bounds: ((queue.max_messages / 4).max(2 * settings.batch.most), queue.max_bytes / 8),
            settings,
            outer,
            inner,
            ledger: Rc::default(),
            dead_letters: Rc::clone(&io.dead_letters),
            next: RefCell::default(),
            open: RefCell::default(),
            under_way: Cell::default(),
            account: OnceCell::new(),
            retried: Cell::new(0),
            changed: Wakers::default(),
        });
        let told = Weak::clone(&bins.this);
        bins.ledger.on_drop(move |session, dir, reason, size| {
            if let Some(account) = told.upgrade().and_then(|bins| bins.account.get().cloned()) {
                account.tell_drop(session, dir, reason, size);
            }
        });
        bins
    }

    /// Makes bins until the lane has ended and nothing is left in it.
    async fn gather(&self, stop: &Stop) {
        loop {
            poll_fn(|cx| self.poll_room(cx)).await;
            let Some(first) = poll_fn(|cx| self.outer.poll_next(cx)).await else { return };
            if let Some(ledger) = first.receipt.ledger() {
                let _ = self.account.set(ledger);
            }
            let mut next = Next { bins: self, messages: VecDeque::from([first]) };
            fill(&self.outer, &self.settings.batch, stop, &mut next.messages).await;
            let binding = &self.settings.binding;
            match binding.bind(&next.messages).await {
                Ok(outputs) => {
                    let messages = std::mem::take(&mut next.messages).into();
                    self.begin(messages, outputs, binding.filter.is_none());
                }
                // The run is cut short: they go back.
                Err(None) => return,
                Err(Some(error)) => self.give_up(&mut next.messages, &format!("--batch-jq: {error}")).await,
            }
        }
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let (messages, bytes) = self.under_way.get();
        if messages == 0 || messages < self.bounds.0 && bytes < self.bounds.1 {
            return Poll::Ready(());
        }
        self.changed.register(cx);
        Poll::Pending
    }

    /// Puts the outputs of a bin before the end.
    fn begin(&self, messages: Vec<Envelope>, outputs: Vec<Message>, can_be_parted: bool) {
        for envelope in self.enclose(messages, outputs, None, can_be_parted) {
            self.inner.push(envelope);
        }
    }

    fn enclose(
        &self,
        messages: Vec<Envelope>,
        outputs: Vec<Message>,
        place: Option<u64>,
        can_be_parted: bool,
    ) -> Vec<Envelope> {
        let Some(first) = messages.first() else { return Vec::new() };
        let (origin, time, seq) = (Rc::clone(&first.origin), first.time, first.seq);
        let (count, bytes) = self.under_way.get();
        let size: usize = messages.iter().map(|envelope| envelope.message.len()).sum();
        self.under_way.set((count + messages.len(), bytes + size));
        let (id, bins) = (Rc::new(Cell::new(0)), Weak::clone(&self.this));
        let own_id = Rc::clone(&id);
        let settled = AckCallback::call(move |safety| {
            if let (Some(bins), Safety::Settled(settlement)) = (bins.upgrade(), safety) {
                bins.settled(own_id.get(), settlement);
            }
        });
        let receipt = self.ledger.receive(size, Some(settled));
        id.set(receipt.id());
        let place = place.unwrap_or_else(|| receipt.id());
        self.open.borrow_mut().insert(receipt.id(), Bin { place, messages, can_be_parted });
        self.outer.batches.add(outputs.len() as u64);
        let envelope = |message| Envelope {
            message,
            origin: Rc::clone(&origin),
            time,
            seq,
            attempts: 0,
            receipt: receipt.share(),
        };
        let envelopes = outputs.into_iter().map(envelope).collect();
        // A bin that has become nothing is filtered out.
        receipt.settle(Settlement::Filtered);
        envelopes
    }

    /// Takes out a bin that has its outcome.
    fn close(&self, id: u64) -> Option<Bin> {
        let bin = self.open.borrow_mut().remove(&id)?;
        let size: usize = bin.messages.iter().map(|envelope| envelope.message.len()).sum();
        let (count, bytes) = self.under_way.get();
        self.under_way.set((count - bin.messages.len(), bytes - size));
        self.changed.wake();
        Some(bin)
    }

    fn settled(&self, id: u64, settlement: Settlement) {
        for envelope in self.close(id).into_iter().flat_map(|bin| bin.messages) {
            match settlement {
                Settlement::Delivered => self.outer.took(envelope),
                // Code that dropped the bin has told of it.
                other => envelope.receipt.settle(other),
            }
        }
    }

    /// What cannot become a bin goes to the dead letters.
    async fn give_up(&self, messages: &mut VecDeque<Envelope>, error: &str) {
        while !messages.is_empty() {
            poll_fn(|cx| self.dead_letters.poll_room(cx)).await;
            let Some(envelope) = messages.pop_front() else { return };
            self.dead_letters.dead_letter(envelope, DropReason::Invalid, &self.outer.name, error);
        }
    }

    /// The end fails, and tries again in a while: that is how its lane is seen.
    fn mirror(&self) {
        if self.inner.is_retrying() {
            self.outer.retries();
        }
        let retried = self.inner.retried.get();
        self.outer.retried.add(retried - self.retried.replace(retried));
    }

    /// The end has ended: what has no outcome waits again.
    fn give_back(&self) {
        let mut open: Vec<Bin> = self.open.take().into_values().collect();
        open.sort_by_key(|bin| bin.place);
        let all: Vec<_> = open.into_iter().flat_map(|bin| bin.messages).chain(self.next.take()).collect();
        self.outer.requeue(all.into_iter());
    }
}

impl DeadLetters for Bins {
    fn are_kept(&self) -> bool {
        self.dead_letters.are_kept()
    }

    fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.dead_letters.poll_room(cx)
    }

    fn dead_letter(&self, envelope: Envelope, reason: DropReason, endpoint: &str, error: &str) {
        let id = envelope.receipt.id();
        if reason != DropReason::Rejected || !self.parts(&envelope) {
            return self.dead_letter_regardless(envelope, reason, endpoint, error);
        }
        // Each is tried alone, before all that follow.
        let (mut alone, binding) = (Vec::new(), &self.settings.binding);
        if let Some(bin) = self.close(id) {
            for message in bin.messages {
                let output = binding.form.of(binding.format, [&message]);
                alone.extend(self.enclose(vec![message], vec![output], Some(bin.place), false));
            }
        }
        envelope.receipt.settle(Settlement::Filtered);
        self.inner.requeue(alone.into_iter());
    }

    fn dead_letter_regardless(&self, envelope: Envelope, reason: DropReason, endpoint: &str, error: &str) {
        for message in self.close(envelope.receipt.id()).into_iter().flat_map(|bin| bin.messages) {
            self.dead_letters.dead_letter(message, reason, endpoint, error);
        }
        envelope.receipt.settle(Settlement::Filtered);
    }

    fn parts(&self, envelope: &Envelope) -> bool {
        let open = self.open.borrow();
        open.get(&envelope.receipt.id()).is_some_and(|bin| bin.can_be_parted && bin.messages.len() > 1)
    }
}
