//! States of folds on their way into the store, and the messages that must not be forgotten before.
//!
//! Owns which of them are stored. Leaves what a state is to the pipeline and the table to `store`. Invariant: a receipt is
//! settled once every change up to its own is durable, and never after a failure.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::queue::ledger::Receipt;
use crate::queue::settlement::Settlement;

/// By key; `None` where a state has gone.
pub(crate) type StateRows = BTreeMap<Arc<str>, Option<Vec<u8>>>;

/// Messages that may wait for their states to be stored before sources have to wait.
const MOST_WAITING: usize = 65_536;

/// States that changed since they were last handed over.
#[derive(Debug, Default)]
pub(crate) struct ChangedStates {
    rows: StateRows,
    /// Of changes that were handed over or will be, in order, each with the number of its group.
    receipts: VecDeque<(u64, Receipt)>,
    group: u64,
    has_failed: bool,
}

impl ChangedStates {
    /// Takes a change in, and the share of the message that made it.
    pub(crate) fn set(&mut self, key: Arc<str>, bytes: Option<Vec<u8>>, receipt: Option<Receipt>) {
        // What cannot be stored any more is not acknowledged: it stays waiting.
        if self.has_failed {
            return;
        }
        self.rows.insert(key, bytes);
        self.receipts.extend(receipt.map(|receipt| (self.group + 1, receipt)));
    }

    /// Hands over what has changed, as a group with a number; `None` when nothing has.
    pub(crate) fn take(&mut self) -> Option<(u64, StateRows)> {
        if self.rows.is_empty() || self.has_failed {
            return None;
        }
        self.group += 1;
        Some((self.group, std::mem::take(&mut self.rows)))
    }

    /// All groups up to this one are durable: returns the receipts to be settled as [`Settlement::Filtered`].
    pub(crate) fn stored(&mut self, group: u64) -> Vec<Receipt> {
        let count = self.receipts.iter().take_while(|(known, _)| *known <= group).count();
        self.receipts.drain(..count).map(|(_, receipt)| receipt).collect()
    }

    /// Returns whether so many messages wait that no more should come.
    pub(crate) fn is_full(&self) -> bool {
        self.receipts.len() >= MOST_WAITING
    }

    /// Nothing will be stored any more.
    pub(crate) fn fail(&mut self) {
        self.has_failed = true;
        self.rows.clear();
        self.receipts.clear();
    }
}

/// Settles what a state alone kept.
pub(crate) fn settle(receipts: Vec<Receipt>) {
    for receipt in receipts {
        receipt.settle(Settlement::Filtered);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::queue::ledger::Ledger;

    #[test]
    fn a_message_waits_until_its_group_is_stored() {
        let ledger = Rc::new(Ledger::default());
        let mut changed = ChangedStates::default();
        changed.set("a".into(), Some(vec![1]), Some(ledger.receive(1, None)));
        changed.set("a".into(), Some(vec![2]), Some(ledger.receive(1, None)));
        changed.set("b".into(), None, None);
        let (first, rows) = changed.take().expect("a group");
        assert_eq!(rows.into_iter().collect::<Vec<_>>(), [("a".into(), Some(vec![2])), ("b".into(), None)]);
        assert!(changed.take().is_none());
        changed.set("a".into(), Some(vec![3]), Some(ledger.receive(1, None)));
        let (second, _) = changed.take().expect("another");
        settle(changed.stored(first));
        assert_eq!((ledger.filtered.get(), ledger.waiting()), (2, 1));
        settle(changed.stored(second));
        assert_eq!(ledger.waiting(), 0);
        changed.set("a".into(), Some(vec![4]), Some(ledger.receive(1, None)));
        changed.fail();
        changed.set("a".into(), Some(vec![5]), Some(ledger.receive(1, None)));
        assert!(changed.take().is_none() && changed.stored(u64::MAX).is_empty());
        assert_eq!(ledger.waiting(), 2, "what is not stored is not settled");
        let mut many = ChangedStates::default();
        while !many.is_full() {
            many.set("a".into(), Some(vec![1]), Some(ledger.receive(1, None)));
        }
        let (group, _) = many.take().expect("a group");
        assert_eq!((many.stored(group).len(), many.is_full()), (MOST_WAITING, false));
    }
}
