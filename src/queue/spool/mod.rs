//! Queues on disk that survive a crash: a store for all destinations of a relay, and a queue for each.
//!
//! [`queue`] decides in pure code what is where, [`block`] packs messages, [`store`] keeps them, [`thread`] works with the disk,
//! [`tracked`] knows what may be removed, [`states`] has what folds know, [`error`] says what went wrong. Here they are joined: a [`Spool`] is polled by the relay that
//! owns it and carries work and results between its lanes and the thread. Invariants: what a source was told it may
//! forget comes out after a crash, at least once and in order; nothing here waits for the disk but [`Spool::close`].

pub(crate) mod block;
pub(crate) mod error;
#[cfg(test)]
mod fake_disk;
#[cfg(test)]
mod model_tests;
pub(crate) mod queue;
pub(crate) mod states;
pub(crate) mod store;
pub(crate) mod thread;
pub(crate) mod tracked;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll};

use self::error::{Cause, SpoolError};
use self::queue::{Amount, FIRST_POSITION, SpooledQueue};
use self::states::ChangedStates;
use self::store::{LaneKey, Row, Store};
use self::thread::{Disk, Results};
use super::LaneSettings;
use super::OverflowPolicy;
use super::envelope::Envelope;
use super::ledger::{Ledger, Receipt, Safety, Storage};
use super::wakers::{Waits, Wakers};
use crate::redact;

/// What happens when a destination's share of the spool is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SpoolFull {
    /// The source waits.
    Block,
    /// The oldest messages make room.
    DropOldest,
    /// The new message is dropped.
    DropNewest,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct SpoolSettings {
    /// Every message is stored before it is handed on; else only what does not fit in memory.
    pub always: bool,
    /// Bytes it holds at most.
    pub most: u64,
    pub full: SpoolFull,
}

/// Messages in the store for a destination that nobody serves now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Leftover {
    pub name: String,
    pub messages: u64,
}

/// The word that there is something to carry.
#[derive(Debug, Default)]
struct Signal {
    is_set: Cell<bool>,
    carrier: Wakers,
}

impl Signal {
    fn set(&self) {
        if !self.is_set.replace(true) {
            self.carrier.wake();
        }
    }
}

/// The spool of a relay.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    settings: SpoolSettings,
    run: u64,
    store: RefCell<Option<Store>>,
    /// Rows of the store that no lane has claimed.
    saved: RefCell<Vec<(LaneKey, Row)>>,
    next_number: Cell<u32>,
    lanes: RefCell<Vec<Rc<SpoolLane>>>,
    states: RefCell<ChangedStates>,
    /// Who waits for room among the messages that wait for their states.
    state_writers: Wakers,
    signal: Rc<Signal>,
    disk: RefCell<Option<Disk>>,
    failure: RefCell<Option<SpoolError>>,
    is_failure_told: Cell<bool>,
    has_ended: Cell<bool>,
}

impl Spool {
    /// Opens the spool of a directory; the directory is made when it is not there.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub(crate) fn open(directory: &Path, settings: SpoolSettings) -> Result<Rc<Self>, SpoolError> {
        let (store, saved) = Store::open(directory)?;
        Ok(Self::of(directory, store, saved, settings))
    }

    fn of(directory: &Path, store: Store, saved: Vec<(LaneKey, Row)>, settings: SpoolSettings) -> Rc<Self> {
        let next_number = saved.iter().map(|(_, row)| row.number + 1).max().unwrap_or(0);
        Rc::new(Self {
            directory: directory.to_owned(),
            settings,
            run: store.run,
            store: RefCell::new(Some(store)),
            saved: RefCell::new(saved),
            next_number: Cell::new(next_number),
            lanes: RefCell::default(),
            states: RefCell::default(),
            state_writers: Wakers::default(),
            signal: Rc::default(),
            disk: RefCell::default(),
            failure: RefCell::default(),
            is_failure_told: Cell::new(false),
            has_ended: Cell::new(false),
        })
    }

    /// The queue of a destination, with what an earlier run left for it.
    pub(super) fn lane(&self, name: &str, bounds: LaneSettings, waits: &Rc<Waits>) -> Rc<SpoolLane> {
        let mut lanes = self.lanes.borrow_mut();
        let ordinal = lanes.iter().filter(|lane| redact::url(&lane.key.name) == name).count() as u32 + 1;
        let key = LaneKey { name: name.into(), ordinal };
        let mut saved = self.saved.borrow_mut();
        // An earlier version may have kept the name with more of its secrets shown.
        let is_its_own = |known: &LaneKey| known.ordinal == ordinal && redact::url(&known.name) == name;
        let place = saved.iter().position(|(known, _)| *known == key);
        let place = place.or_else(|| saved.iter().position(|(known, _)| is_its_own(known)));
        let (key, row) = if let Some(place) = place {
            saved.swap_remove(place)
        } else {
            let number = self.next_number.replace(self.next_number.get() + 1);
            (key, Row { number, next: FIRST_POSITION, front: FIRST_POSITION, ..Row::default() })
        };
        let full = match (self.settings.full, bounds.policy) {
            (SpoolFull::Block, OverflowPolicy::DropOldest) => SpoolFull::DropOldest,
            (full, _) => full,
        };
        let settings = SpoolSettings { full, ..self.settings };
        let lane = Rc::new_cyclic(|this: &Weak<SpoolLane>| SpoolLane {
            this: Weak::clone(this),
            key: key.clone(),
            queue: RefCell::new(SpooledQueue::new(key, row, self.run, bounds, settings)),
            waits: Rc::clone(waits),
            signal: Rc::clone(&self.signal),
        });
        lanes.push(Rc::clone(&lane));
        lane
    }

    /// States that an earlier run kept, by key; none once it has begun.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub(crate) fn saved_states(&self) -> Result<Vec<(String, Vec<u8>)>, SpoolError> {
        self.store.borrow().as_ref().map_or(Ok(Vec::new()), Store::states)
    }

    /// Returns the error of a state that cannot be read.
    pub(crate) fn damaged_state(&self, key: &str, reason: &str) -> SpoolError {
        let cause = Cause::Damaged(format!("cannot read the state of {key}: {reason}"));
        SpoolError { directory: self.directory.clone(), cause }
    }

    /// Keeps the state of a key, or forgets it. The share of the message that made it so is settled once that is durable.
    pub(crate) fn keep_state(&self, key: Arc<str>, bytes: Option<Vec<u8>>, receipt: Option<Receipt>) {
        self.states.borrow_mut().set(key, bytes, receipt);
        self.signal.set();
    }

    /// Ready when another message may change a state without too many of them waiting for the disk.
    pub(crate) fn poll_state_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.states.borrow().is_full() {
            return Poll::Ready(());
        }
        self.state_writers.register(cx);
        Poll::Pending
    }

    /// All lanes have been made: shares the room out and starts to work. What waits for others is said, and stays.
    ///
    /// # Errors
    /// [`SpoolError`].
    pub(crate) fn begin(&self) -> Result<Vec<Leftover>, SpoolError> {
        let saved = self.saved.borrow();
        let taken: u64 = saved.iter().map(|(_, row)| Amount::of(row).stored_bytes()).sum();
        let lanes = self.lanes.borrow();
        let share = self.settings.most.saturating_sub(taken) / (lanes.len() as u64).max(1);
        for lane in lanes.iter() {
            lane.queue.borrow_mut().set_share(share);
        }
        if let Some(store) = self.store.take() {
            let disk = Disk::start(store).map_err(|error| SpoolError {
                directory: self.directory.clone(),
                cause: Cause::io("start a thread", &error),
            })?;
            *self.disk.borrow_mut() = Some(disk);
        }
        let leftover = |(key, row): &(LaneKey, Row)| Leftover { name: key.name.to_string(), messages: row.messages };
        Ok(saved.iter().map(leftover).collect())
    }

    /// Carries work and results. Ready, once, when the spool has failed.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<SpoolError> {
        loop {
            self.signal.carrier.register(cx);
            self.take_results(cx);
            if self.failure.borrow().is_some() {
                self.signal.is_set.set(false);
                let told = self.is_failure_told.replace(true);
                let failure = if told { None } else { self.failure.borrow().clone() };
                return failure.map_or(Poll::Pending, Poll::Ready);
            }
            if !self.signal.is_set.replace(false) {
                return Poll::Pending;
            }
            self.post();
        }
    }

    /// Writes what is left, also what waited in memory alone, and ends. All ends have put back what they had.
    ///
    /// # Errors
    /// [`SpoolError`]: something is not written, or was not earlier.
    pub(crate) async fn close(&self) -> Result<(), SpoolError> {
        self.lanes.borrow().iter().for_each(|lane| lane.queue.borrow_mut().store_window());
        self.post();
        if let Some(disk) = &*self.disk.borrow() {
            disk.close();
        }
        poll_fn(|cx| {
            let _ = self.poll(cx);
            let is_over = self.has_ended.get() || self.disk.borrow().is_none();
            if is_over { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.failure.borrow().clone().map_or(Ok(()), Err)
    }

    fn take_results(&self, cx: &Context<'_>) {
        let results = self.disk.borrow().as_ref().map(|disk| disk.results(cx.waker()));
        let Some(Results { stored, states, fetched, failure, has_ended }) = results else { return };
        if let Some(group) = states {
            let receipts = self.states.borrow_mut().stored(group);
            states::settle(receipts);
            self.state_writers.wake();
        }
        for (number, position) in stored {
            self.with(number, |lane| lane.stored(position));
        }
        for (number, blocks) in fetched {
            self.with(number, |lane| {
                if !lane.fetched(blocks) {
                    let cause = Cause::Damaged(format!("messages for {} are missing", lane.key.name));
                    self.fail(SpoolError { directory: self.directory.clone(), cause });
                }
            });
        }
        // What one lane has read may have been in the way of another.
        for lane in self.lanes.borrow().iter() {
            if !lane.waits.writers.is_empty() && lane.queue.borrow().has_room() {
                lane.waits.room();
            }
        }
        if let Some(failure) = failure {
            self.fail(failure);
        }
        if has_ended {
            self.has_ended.set(true);
        }
    }

    fn with(&self, number: u32, act: impl FnOnce(&SpoolLane)) {
        let lane = self.lanes.borrow().iter().find(|lane| lane.queue.borrow().number() == number).cloned();
        if let Some(lane) = lane {
            act(&lane);
        }
    }

    fn post(&self) {
        let lanes = self.lanes.borrow();
        let changes: Vec<_> = lanes.iter().filter_map(|lane| lane.queue.borrow_mut().take_changes()).collect();
        let reads: Vec<_> = lanes.iter().filter_map(|lane| lane.queue.borrow_mut().take_read()).collect();
        let Some(disk) = &*self.disk.borrow() else { return };
        let states = self.states.borrow_mut().take();
        if !changes.is_empty() || !reads.is_empty() || states.is_some() {
            disk.post(changes.into_iter(), states, reads.into_iter());
        }
    }

    fn fail(&self, error: SpoolError) {
        self.failure.borrow_mut().get_or_insert(error);
        self.states.borrow_mut().fail();
        self.state_writers.wake();
        for lane in self.lanes.borrow().iter() {
            lane.queue.borrow_mut().fail();
            lane.waits.readers.wake();
            lane.waits.room();
        }
    }
}

/// The queue of one destination, and who waits for it.
#[derive(Debug)]
pub(crate) struct SpoolLane {
    this: Weak<SpoolLane>,
    key: LaneKey,
    pub(super) queue: RefCell<SpooledQueue>,
    waits: Rc<Waits>,
    signal: Rc<Signal>,
}

impl Storage for SpoolLane {
    fn settled(&self, position: u64, bytes: usize) {
        let has_room = {
            let mut queue = self.queue.borrow_mut();
            queue.settled(position, bytes);
            !self.waits.writers.is_empty() && queue.has_room()
        };
        self.signal.set();
        if has_room {
            self.waits.room();
        }
    }
}

impl SpoolLane {
    /// Whose messages it holds from now on; what an earlier run left is counted as received.
    pub(super) fn join(&self, ledger: &Rc<Ledger>) {
        let left = self.queue.borrow_mut().join(ledger);
        ledger.recover(left.messages, left.bytes);
        self.signal.set();
    }

    /// Takes a message in; `lost` settles each that is dropped.
    pub(super) fn push(&self, envelope: Envelope, lost: impl FnMut(Envelope)) {
        let Some(this) = self.this.upgrade() else { return };
        let storage: Rc<dyn Storage> = this;
        // What cannot be stored any more is not acknowledged: it stays waiting.
        if self.queue.borrow().has_failed() {
            return;
        }
        let dropped = self.queue.borrow_mut().push(envelope, &storage);
        // Settling may lead back here.
        dropped.into_iter().for_each(lost);
        self.signal.set();
    }

    /// The next message, when it may be handed on.
    pub(super) fn pop(&self) -> Option<Envelope> {
        let mut queue = self.queue.borrow_mut();
        let envelope = queue.pop()?;
        if queue.beyond().messages > 0 {
            self.signal.set();
        }
        Some(envelope)
    }

    fn stored(&self, position: u64) {
        let safe = self.queue.borrow_mut().stored(position);
        for on_settled in safe {
            on_settled.tell(Safety::Stored);
        }
        self.waits.readers.wake();
        // There may be something to read now.
        self.signal.set();
    }

    fn fetched(&self, blocks: Vec<block::ReadBlock>) -> bool {
        let Some(this) = self.this.upgrade() else { return true };
        let storage: Rc<dyn Storage> = this;
        let is_right = self.queue.borrow_mut().fetched(blocks, &storage);
        self.waits.readers.wake();
        self.signal.set();
        is_right
    }
}
