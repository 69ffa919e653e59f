//! The thread that works with the disk, so that nothing else waits for it.
//!
//! Group commit: while one transaction is made durable, everything else that is to be written gathers; the next takes all
//! of it. Removals and states alone wait a little for company. Both sides share one lock, which is held only to
//! hand things over; bounded by what the queues may have under way. Invariant: after a failure nothing is said to be stored.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::block::ReadBlock;
use super::error::{Cause, SpoolError};
use super::states::StateRows;
use super::store::{Changes, Read, Store};

/// How long removals and states wait for something that must be written.
const COMPANY: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
pub(crate) struct Results {
    /// By lane: everything before this position is durable.
    pub stored: Vec<(u32, u64)>,
    /// States of groups up to this one are durable.
    pub states: Option<u64>,
    /// By lane: what was to be read.
    pub fetched: Vec<(u32, Vec<ReadBlock>)>,
    pub failure: Option<SpoolError>,
    pub has_ended: bool,
}

#[derive(Default)]
struct State {
    changes: BTreeMap<u32, Changes>,
    states: StateRows,
    /// The last group of states handed over.
    group: Option<u64>,
    /// Since when changes wait.
    since: Option<Instant>,
    must_write: bool,
    reads: Vec<Read>,
    is_closing: bool,
    results: Results,
    waker: Option<Waker>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    work: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something to do: reads first, then everything that is to be written.
    fn next(&self) -> Job {
        let mut state = self.lock();
        loop {
            if !state.reads.is_empty() {
                return Job::Read(std::mem::take(&mut state.reads));
            }
            let left = state.since.map(|since| COMPANY.saturating_sub(since.elapsed()));
            if state.must_write || (state.is_closing && left.is_some()) || left.is_some_and(|left| left.is_zero()) {
                state.must_write = false;
                state.since = None;
                let changes = std::mem::take(&mut state.changes).into_values().collect();
                return Job::Write(changes, std::mem::take(&mut state.states), state.group);
            }
            if state.is_closing {
                return Job::Close;
            }
            state = match left {
                Some(left) => {
                    self.work.wait_timeout(state, left).map_or_else(|error| error.into_inner().0, |pair| pair.0)
                }
                None => self.work.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    /// Adds to the results and says so.
    fn report(&self, add: impl FnOnce(&mut Results)) {
        let waker = {
            let mut state = self.lock();
            add(&mut state.results);
            state.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

enum Job {
    Read(Vec<Read>),
    Write(Vec<Changes>, StateRows, Option<u64>),
    Close,
}

/// The other side's handle of the thread.
pub(crate) struct Disk {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

impl Disk {
    /// Starts a thread that works with this store.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(crate) fn start(store: Store) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("spool".to_owned()).spawn(move || {
            let directory = store.directory().to_owned();
            // Whatever happens in there, the other side must not wait for it forever.
            let result = catch_unwind(AssertUnwindSafe(|| work(store, &theirs))).unwrap_or_else(|_| {
                Err(SpoolError { directory, cause: Cause::Damaged("the store has failed".to_owned()) })
            });
            theirs.report(|results| {
                results.failure = result.err();
                results.has_ended = true;
            });
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Hands over what is to be done; all changes become durable together.
    pub(crate) fn post(
        &self,
        changes: impl Iterator<Item = Changes>,
        states: Option<(u64, StateRows)>,
        reads: impl Iterator<Item = Read>,
    ) {
        let mut state = self.shared.lock();
        if let Some((group, rows)) = states {
            state.since.get_or_insert_with(Instant::now);
            state.states.extend(rows);
            state.group = Some(group);
        }
        for change in changes {
            state.must_write |= !change.append.is_empty();
            state.since.get_or_insert_with(Instant::now);
            match state.changes.get_mut(&change.row.number) {
                Some(known) => {
                    known.append.extend(change.append);
                    known.remove.extend(change.remove);
                    known.row = change.row;
                }
                None => {
                    state.changes.insert(change.row.number, change);
                }
            }
        }
        state.reads.extend(reads);
        drop(state);
        self.shared.work.notify_one();
    }

    /// What has been done; the waker is called when there is more.
    pub(crate) fn results(&self, waker: &Waker) -> Results {
        let mut state = self.shared.lock();
        if !state.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.waker = Some(waker.clone());
        }
        std::mem::take(&mut state.results)
    }

    /// The thread writes what is left and ends.
    pub(crate) fn close(&self) {
        self.shared.lock().is_closing = true;
        self.shared.work.notify_one();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn work(store: Store, shared: &Shared) -> Result<(), SpoolError> {
    loop {
        match shared.next() {
            Job::Read(reads) => {
                for read in reads {
                    let blocks = store.read(read)?;
                    shared.report(|results| results.fetched.push((read.number, blocks)));
                }
            }
            Job::Write(changes, states, group) => {
                store.commit(&changes, &states)?;
                let stored = changes.iter().map(|change| (change.row.number, change.row.next));
                shared.report(|results| {
                    results.stored.extend(stored);
                    results.states = group;
                });
            }
            Job::Close => return store.close(),
        }
    }
}
