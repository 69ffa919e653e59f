//! A queue whose messages are on disk, all of them or those that do not fit in memory, with a window of the first of them
//! in memory.
//!
//! Pure: it says what is to be written and read, and is told what has been. Order: the window, then what is only on disk.
//! While anything is only on disk, new messages go there. Invariants: a message is handed on only once it is durable, where
//! it is to be stored at all; what leaves memory leaves nothing behind but its place in the count; what is in memory is
//! bounded by the queue's bounds and as much again that is not yet written.

use std::collections::VecDeque;
use std::rc::Rc;

use super::block::{Block, BlockWriter, MESSAGE_OVERHEAD, ReadBlock};
use super::store::{Changes, LaneKey, Read, Row};
use super::tracked::Tracker;
use super::{SpoolFull, SpoolSettings};
use crate::queue::LaneSettings;
use crate::queue::envelope::{Envelope, Origin};
use crate::queue::ledger::{AckCallback, Ledger, Place, Receipt, Storage};
use crate::queue::{OverflowPolicy, Queue, Weigh as _};

/// Most payload bytes that wait to be written.
const MOST_UNWRITTEN: u64 = 8 << 20;
/// Bytes read at a time.
const READ: usize = 1 << 20;
/// The first position of a new queue: there is room before it for what is stored in front at the end of each run.
pub(crate) const FIRST_POSITION: u64 = 1 << 48;
/// More than the messages of a block: the block of the first message that waits may begin so far before it.
const BLOCK_SPAN: u64 = 1 << 16;

/// Messages and their payload bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub messages: u64,
    /// Payload bytes.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: usize) {
        self.messages += 1;
        self.bytes += bytes as u64;
    }

    fn subtract(&mut self, other: Self) {
        self.messages = self.messages.saturating_sub(other.messages);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }

    /// What waits according to a row.
    pub(crate) fn of(row: &Row) -> Self {
        Self { messages: row.messages, bytes: row.bytes }
    }

    fn one(bytes: usize) -> Self {
        Self { messages: 1, bytes: bytes as u64 }
    }

    fn is_zero(self) -> bool {
        self.messages == 0
    }

    /// What it takes up in the store.
    pub(crate) fn stored_bytes(self) -> u64 {
        self.bytes + self.messages * MESSAGE_OVERHEAD as u64
    }
}

/// The queue of one destination.
#[derive(Debug)]
pub(crate) struct SpooledQueue {
    lane: LaneKey,
    number: u32,
    run: u64,
    bounds: LaneSettings,
    settings: SpoolSettings,
    /// Bytes it may take up in the store.
    share: u64,
    ledger: Option<Rc<Ledger>>,
    window: Queue<Envelope>,
    /// Position of the next message.
    next: u64,
    durable: u64,
    /// What is before is in memory or has left it.
    read_to: u64,
    /// Nothing was ever stored so far before what waited at the start of this run.
    unused_before: u64,
    /// Only on disk, or on its way there.
    beyond: Amount,
    /// Without an outcome, and not only in memory.
    unsettled: Amount,
    /// Not yet durable.
    unwritten: Amount,
    /// Part of it that is not yet handed out to be written.
    pending: Amount,
    block: Option<(BlockWriter, bool)>,
    ready: Vec<Block>,
    /// What was handed out to be written: the position after it, and how much it is.
    writing: VecDeque<(u64, Amount)>,
    /// Receipts of what goes to disk only, until it is durable.
    receipts: VecDeque<(u64, Receipt)>,
    tracker: Tracker,
    /// Ranges beyond what has been read that had their outcome in an earlier run.
    settled_before: VecDeque<(u64, u64)>,
    is_reading: bool,
    has_changed: bool,
    has_failed: bool,
}

impl SpooledQueue {
    /// A queue with what an earlier run left.
    pub(crate) fn new(lane: LaneKey, row: Row, run: u64, bounds: LaneSettings, settings: SpoolSettings) -> Self {
        let left = Amount::of(&row);
        Self {
            lane,
            number: row.number,
            run,
            bounds,
            settings,
            share: settings.most,
            ledger: None,
            window: Queue::new(bounds.max_messages, bounds.max_bytes, OverflowPolicy::Block),
            next: row.next,
            durable: row.next,
            read_to: if left.is_zero() { row.next } else { row.front },
            unused_before: if left.is_zero() { row.next } else { row.front }.saturating_sub(BLOCK_SPAN),
            beyond: left,
            unsettled: left,
            unwritten: Amount::default(),
            pending: Amount::default(),
            block: None,
            ready: Vec::new(),
            writing: VecDeque::new(),
            receipts: VecDeque::new(),
            tracker: Tracker::default(),
            settled_before: row.settled.into(),
            is_reading: false,
            has_changed: false,
            has_failed: false,
        }
    }

    /// Whose messages it holds from now on, and what an earlier run left.
    pub(crate) fn join(&mut self, ledger: &Rc<Ledger>) -> Amount {
        self.ledger = Some(Rc::clone(ledger));
        self.beyond
    }

    /// What it may take up in the store.
    pub(crate) fn set_share(&mut self, bytes: u64) {
        self.share = bytes;
    }

    /// What its blocks are found by.
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    /// The messages in memory.
    pub(crate) fn window(&self) -> &Queue<Envelope> {
        &self.window
    }

    /// Only on disk.
    pub(crate) fn beyond(&self) -> Amount {
        self.beyond
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// How full the store's share is, from 0 to 1.
    pub(crate) fn utilization(&self) -> f64 {
        (self.unsettled.stored_bytes() as f64 / self.share.max(1) as f64).min(1.0)
    }

    /// Bytes it takes up in the store.
    pub(crate) fn stored_bytes(&self) -> u64 {
        self.unsettled.stored_bytes()
    }

    /// Messages of the present size that its share of the store holds.
    pub(crate) fn capacity(&self) -> u64 {
        let (messages, used) = (self.unsettled.messages, self.unsettled.stored_bytes());
        let whole = u128::from(messages.max(1)) * u128::from(self.share) / u128::from(used.max(1));
        u64::try_from(whole).unwrap_or(u64::MAX)
    }

    /// Whether a message may be pushed without waiting.
    pub(crate) fn has_room(&self) -> bool {
        if self.has_failed || self.fits_in_memory(1) && !self.settings.always {
            return true;
        }
        let is_behind = self.unwritten.messages >= self.bounds.max_messages as u64
            || self.unwritten.bytes >= MOST_UNWRITTEN.min(self.bounds.max_bytes as u64);
        let is_crowded = !self.beyond.is_zero() && self.ledger.as_ref().is_some_and(|ledger| ledger.is_crowded());
        if is_behind || is_crowded {
            return false;
        }
        match self.settings.full {
            SpoolFull::Block => self.fits_in_store(1),
            // The oldest can only be dropped once it is in memory.
            SpoolFull::DropOldest => self.fits_in_store(1) || !self.window.is_empty() || self.beyond.is_zero(),
            SpoolFull::DropNewest => true,
        }
    }

    fn fits_in_memory(&self, size: usize) -> bool {
        self.beyond.is_zero() && self.window.fits(size)
    }

    fn fits_in_store(&self, size: usize) -> bool {
        self.excess(size) == 0
    }

    /// Bytes by which a message of this size is too much; alone, each fits.
    fn excess(&self, size: usize) -> u64 {
        if self.unsettled.is_zero() {
            return 0;
        }
        (self.unsettled.stored_bytes() + Amount::one(size).stored_bytes()).saturating_sub(self.share)
    }

    /// Takes a message in. What has no place, or makes place for it, is returned to be dropped.
    pub(crate) fn push(&mut self, mut envelope: Envelope, storage: &Rc<dyn Storage>) -> Vec<Envelope> {
        let size = envelope.weight();
        if !self.settings.always && self.fits_in_memory(size) {
            self.window.put(envelope);
            return Vec::new();
        }
        let mut dropped = Vec::new();
        let mut excess = self.excess(size);
        match self.settings.full {
            SpoolFull::DropNewest if excess > 0 => return vec![envelope],
            // Who was not asked to wait is one message's worth.
            SpoolFull::Block | SpoolFull::DropNewest => {}
            SpoolFull::DropOldest => {
                while excess > 0
                    && let Some(oldest) = self.window.pop()
                {
                    excess = excess.saturating_sub(Amount::one(oldest.weight()).stored_bytes());
                    dropped.push(oldest);
                }
            }
        }
        let in_memory = self.fits_in_memory(size);
        let position = self.append(&envelope, in_memory);
        if in_memory {
            self.read_to = self.next;
            envelope.receipt.put(Place { storage: Rc::clone(storage), position, bytes: size });
            self.window.put(envelope);
        } else {
            self.beyond.add(size);
            self.receipts.push_back((position, envelope.receipt));
        }
        dropped
    }

    /// Adds it to what is to be written; its position. A block is wholly in memory as well, or wholly not.
    fn append(&mut self, envelope: &Envelope, in_memory: bool) -> u64 {
        let size = envelope.weight();
        if self.block.as_ref().is_some_and(|(block, kept)| *kept != in_memory || block.is_full_for(size)) {
            self.end_block();
        }
        let (block, _) = self.block.get_or_insert_with(|| {
            if in_memory {
                self.tracker.begin(self.next);
            }
            (BlockWriter::new(self.run, self.next), in_memory)
        });
        block.add(envelope);
        if in_memory {
            self.tracker.extend();
        }
        self.next += 1;
        for amount in [&mut self.unsettled, &mut self.unwritten, &mut self.pending] {
            amount.add(size);
        }
        self.has_changed = true;
        self.next - 1
    }

    /// Stores what waits in memory alone, in front of all that waits only on disk: nobody is left to hand it on. The bound
    /// of the store is of no matter then.
    pub(crate) fn store_window(&mut self) {
        if self.has_failed || self.window.iter().all(|envelope| envelope.receipt.place().is_some()) {
            return;
        }
        self.end_block();
        let mut waiting: Vec<_> = std::iter::from_fn(|| self.window.pop()).collect();
        // What is on disk already moves with the rest, so that order holds.
        for place in waiting.iter().filter_map(|envelope| envelope.receipt.place()) {
            self.tracker.settled(place.position);
            self.unsettled.subtract(Amount::one(place.bytes));
        }
        let count = waiting.len() as u64;
        let first = match self.unused_before.checked_sub(count) {
            Some(first) => first,
            // A spool of an earlier version, which left no room in front: behind is better than nowhere.
            None => self.next,
        };
        let mut blocks: Vec<BlockWriter> = Vec::new();
        for (position, envelope) in (first..).zip(&waiting) {
            let size = envelope.weight();
            if blocks.last().is_none_or(|block| block.is_full_for(size)) {
                blocks.push(BlockWriter::new(self.run, position));
            }
            blocks.iter_mut().last().into_iter().for_each(|block| block.add(envelope));
            for amount in [&mut self.unsettled, &mut self.unwritten, &mut self.pending, &mut self.beyond] {
                amount.add(size);
            }
        }
        while let Some(envelope) = waiting.pop() {
            self.receipts.push_front((first + waiting.len() as u64, envelope.receipt));
        }
        if first == self.next {
            self.next += count;
        } else {
            blocks.iter().rev().for_each(|block| self.tracker.prepend(block.first(), block.count()));
        }
        self.ready.extend(blocks.into_iter().map(BlockWriter::finish));
        self.has_changed = true;
        // Nothing is to come back into memory.
        self.is_reading = true;
    }

    fn end_block(&mut self) {
        if let Some((block, in_memory)) = self.block.take() {
            if in_memory {
                self.tracker.complete();
            }
            self.ready.push(block.finish());
        }
    }

    /// The oldest message, when it is there and may be handed on.
    pub(crate) fn front(&self) -> Option<&Envelope> {
        let is_durable =
            |envelope: &&Envelope| envelope.receipt.place().is_none_or(|place| place.position < self.durable);
        self.window.front().filter(is_durable)
    }

    /// Takes the oldest message.
    pub(crate) fn pop(&mut self) -> Option<Envelope> {
        self.front()?;
        self.window.pop()
    }

    /// Puts a message back before all others.
    pub(crate) fn requeue(&mut self, envelope: Envelope) {
        self.window.requeue(envelope);
    }

    /// Whether there will be no message but those that are pushed from now on.
    pub(crate) fn is_exhausted(&self) -> bool {
        (self.window.is_empty() && self.beyond.is_zero()) || (self.has_failed && self.front().is_none())
    }

    /// A message of the store has its outcome.
    pub(crate) fn settled(&mut self, position: u64, bytes: usize) {
        self.tracker.settled(position);
        self.unsettled.subtract(Amount::one(bytes));
        self.has_changed = true;
    }

    /// What has changed since it was last asked.
    pub(crate) fn take_changes(&mut self) -> Option<Changes> {
        if !self.has_changed || self.has_failed {
            return None;
        }
        self.has_changed = false;
        self.end_block();
        let pending = std::mem::take(&mut self.pending);
        if !pending.is_zero() {
            self.writing.push_back((self.next, pending));
        }
        let mut settled = self.tracker.settled_ranges();
        settled.extend(&self.settled_before);
        let row = Row {
            number: self.number,
            next: self.next,
            front: self.tracker.front().unwrap_or(self.read_to),
            messages: self.unsettled.messages,
            bytes: self.unsettled.bytes,
            settled,
        };
        let append = std::mem::take(&mut self.ready);
        Some(Changes { lane: self.lane.clone(), row, append, remove: self.tracker.take_removed() })
    }

    /// What is to be read next, when there is room for it.
    pub(crate) fn take_read(&mut self) -> Option<Read> {
        let is_low =
            self.window.len() * 2 <= self.window.capacity() && self.window.bytes() * 2 <= self.window.byte_capacity();
        if self.is_reading || self.has_failed || !is_low || self.beyond.is_zero() || self.read_to >= self.durable {
            return None;
        }
        self.is_reading = true;
        let bytes = READ.min(self.bounds.max_bytes / 2);
        Some(Read { number: self.number, from: self.read_to, to: self.durable, bytes })
    }

    /// Everything before this position is durable: what returns is to be called, to tell the sources.
    pub(crate) fn stored(&mut self, position: u64) -> Vec<AckCallback> {
        let mut safe = Vec::new();
        let before = self.durable;
        self.durable = self.durable.max(position);
        while let Some((end, amount)) = self.writing.front().copied()
            && end <= position
        {
            self.unwritten.subtract(amount);
            self.writing.pop_front();
        }
        let place = |envelope: &Envelope| envelope.receipt.place().map(|place| place.position);
        // The oldest first.
        let new = self.window.iter().rev().take_while(|envelope| place(envelope) >= Some(before)).count();
        for envelope in self.window.iter_mut().rev().take(new).rev() {
            if place(envelope) < Some(position) {
                safe.extend(envelope.receipt.stored());
            }
        }
        while self.receipts.front().is_some_and(|(at, _)| *at < position)
            && let Some((_, mut receipt)) = self.receipts.pop_front()
        {
            safe.extend(receipt.stored());
            receipt.park();
        }
        safe
    }

    /// What was read. False when the store does not hold what it should.
    pub(crate) fn fetched(&mut self, blocks: Vec<ReadBlock>, storage: &Rc<dyn Storage>) -> bool {
        self.is_reading = false;
        let Some(ledger) = self.ledger.clone() else { return false };
        let before = self.read_to;
        for block in blocks {
            let origins: Vec<_> =
                block.origins.into_iter().map(|(session, endpoint)| Origin::new(session, endpoint)).collect();
            self.tracker.begin(block.first);
            for (position, record) in (block.first..).zip(block.records) {
                self.tracker.extend();
                let was_read = position < self.read_to;
                self.read_to = self.read_to.max(position + 1);
                if was_read || self.was_settled(position) {
                    self.tracker.settled(position);
                    continue;
                }
                let bytes = record.message.len();
                let mut receipt = if block.run == self.run { ledger.unpark(record.id) } else { ledger.reopen() };
                receipt.put(Place { storage: Rc::clone(storage), position, bytes });
                self.window.put(Envelope {
                    message: record.message,
                    origin: Rc::clone(&origins[record.origin]),
                    time: record.time,
                    seq: record.seq,
                    attempts: 0,
                    receipt,
                });
                self.beyond.subtract(Amount::one(bytes));
            }
            self.tracker.complete();
            self.has_changed = true;
        }
        let progress = self.read_to > before;
        if self.beyond.is_zero() {
            self.read_to = self.next;
        }
        progress
    }

    fn was_settled(&mut self, position: u64) -> bool {
        while self.settled_before.front().is_some_and(|(_, to)| *to <= position) {
            self.settled_before.pop_front();
        }
        self.settled_before.front().is_some_and(|(from, _)| *from <= position)
    }

    /// Nothing can be stored any more, or read.
    pub(crate) fn fail(&mut self) {
        self.has_failed = true;
    }
}
