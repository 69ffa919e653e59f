//! The state of messages whose open shares all lie on disk: what their account needs, without the messages.
//!
//! Pure. Neighbours in the same state are one entry, so a long queue on disk costs next to nothing: a message is one
//! among its neighbours unless its destinations have got to different places with it. Invariant: a message is in at most
//! one entry; what has one share left and no outcome yet is in none, since that can be told without.

use std::collections::BTreeMap;

use super::settlement::Settlement;

/// What is known of a message between two visits to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State {
    /// Shares that have no outcome.
    pub shares: u32,
    /// The worst outcome so far.
    pub worst: Settlement,
}

impl Default for State {
    fn default() -> Self {
        Self { shares: 1, worst: Settlement::Filtered }
    }
}

/// Messages by their number in the ledger.
#[derive(Debug, Default)]
pub(crate) struct Parked {
    /// The last number of a run of equals, and their state, by the first number.
    runs: BTreeMap<u64, (u64, State)>,
}

impl Parked {
    /// Entries: what it costs.
    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Keeps the state of a message.
    pub(crate) fn insert(&mut self, id: u64, state: State) {
        if state == State::default() {
            return;
        }
        let (mut first, mut last) = (id, id);
        if let Some((&start, &(end, known))) = self.runs.range(..id).next_back()
            && known == state
            && end + 1 == id
        {
            first = start;
        }
        if let Some(&(end, known)) = self.runs.get(&(id + 1))
            && known == state
        {
            last = end;
            self.runs.remove(&(id + 1));
        }
        self.runs.insert(first, (last, state));
    }

    /// Gives the state of a message out.
    pub(crate) fn remove(&mut self, id: u64) -> State {
        let Some((&first, &(last, state))) = self.runs.range(..=id).next_back() else { return State::default() };
        if last < id {
            return State::default();
        }
        self.runs.remove(&first);
        if first < id {
            self.runs.insert(first, (id - 1, state));
        }
        if id < last {
            self.runs.insert(id + 1, (last, state));
        }
        state
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    #[test]
    fn neighbours_in_the_same_state_are_one_entry() {
        let mut parked = Parked::default();
        let two = State { shares: 2, worst: Settlement::Filtered };
        for id in (1..=1000).rev().chain(2000..=3000) {
            parked.insert(id, two);
        }
        assert_eq!(parked.runs(), 2);
        for id in 1..=500 {
            assert_eq!(parked.remove(id), two);
        }
        assert_eq!((parked.runs(), parked.remove(1)), (2, State::default()));
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec((0_u64..30, 1_u32..4, any::<bool>()), 0..300)) {
            let (mut parked, mut model) = (Parked::default(), HashMap::new());
            for (id, shares, insert) in steps {
                if insert && !model.contains_key(&id) {
                    let state = State { shares, worst: Settlement::Filtered };
                    parked.insert(id, state);
                    model.insert(id, state);
                } else {
                    prop_assert_eq!(parked.remove(id), model.remove(&id).unwrap_or_default());
                }
                prop_assert!(parked.runs() <= model.len());
            }
        }
    }
}
