//! The states of a pipeline's fold: in memory and, where there is a spool, on disk.
//!
//! Invariants: a change reaches the spool together with what the message's outputs add to it, so both are stored at once or
//! not at all; its source is told that a message is safe only once its change is.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use crate::filter::fold::lock;
use crate::filter::{Change, Fold, SharedStates, States};
use crate::queue::ledger::Receipt;
use crate::queue::spool::Spool;
use crate::queue::spool::error::SpoolError;

/// The states of a fold.
pub(super) struct Folding {
    shared: SharedStates,
    spool: OnceCell<Rc<Spool>>,
}

impl Folding {
    pub(super) fn new(fold: &Fold) -> Self {
        Self { shared: Arc::new(Mutex::new(States::new(fold.most))), spool: OnceCell::new() }
    }

    pub(super) fn states(&self) -> MutexGuard<'_, States> {
        lock(&self.shared)
    }

    pub(super) fn share(&self) -> SharedStates {
        Arc::clone(&self.shared)
    }

    /// Goes on from the states in the spool, and keeps them there. Returns how many there are.
    pub(super) fn keep_in(&self, spool: &Rc<Spool>) -> Result<usize, SpoolError> {
        let mut states = self.states();
        for (key, bytes) in spool.saved_states()? {
            let gone = states.restore(&key, &bytes).map_err(|reason| spool.damaged_state(&key, &reason))?;
            if let Some(gone) = gone {
                spool.keep_state(gone, None, None);
            }
        }
        let _ = self.spool.set(Rc::clone(spool));
        Ok(states.len())
    }

    /// Ready when another message may change a state.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.spool.get().map_or(Poll::Ready(()), |spool| spool.poll_state_room(cx))
    }

    /// A message changes a state.
    pub(super) fn keep(&self, change: Change, receipt: &Receipt) {
        let Some(spool) = self.spool.get() else {
            self.states().set(change);
            return;
        };
        let (used, gone) = self.states().set(change.clone());
        if let Some(gone) = gone {
            spool.keep_state(gone, None, None);
        }
        spool.keep_state(Arc::clone(&change.key), Some(change.to_bytes(used)), Some(receipt.share()));
    }
}
