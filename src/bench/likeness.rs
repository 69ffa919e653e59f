//! Whether answers are what was sent (pure): what decides how answers without a mark or an id find their message.
//!
//! A server that echoes answers with what was sent, and whatever differs is a message of its own; of a server that answers
//! with something else the order is all there is. Nobody says which it is, so it is learned from what arrives: one equal
//! answer is proof, and answers that differ wait for one. Leaves matching to [`super::matching`].

/// Answers that differ wait this long for an equal one, in nanoseconds.
const PATIENCE: u64 = 1_000_000_000;

/// How an answer finds its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Order {
    /// Not known yet.
    #[default]
    Undecided,
    /// The oldest message is answered first.
    Fifo,
    /// An answer equals its message.
    Content,
}

/// What the answers so far were like.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Likeness {
    order: Order,
    /// When the first one arrived that differs, in nanoseconds.
    waits_since: Option<u64>,
    patience: u64,
}

impl Likeness {
    /// Nothing has arrived; messages are given up after `deadline` nanoseconds.
    #[must_use]
    pub(crate) fn new(deadline: u64) -> Self {
        Self { patience: PATIENCE.min(deadline / 2), ..Self::default() }
    }

    /// Returns how answers find their message.
    #[must_use]
    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// Notes an answer that equals a message: from now on all do.
    pub(crate) fn saw_equal(&mut self) {
        self.order = Order::Content;
    }

    /// Notes an answer that equals none, at `now` nanoseconds.
    pub(crate) fn saw_other(&mut self, now: u64) {
        self.waits_since.get_or_insert(now);
        self.pass(now);
    }

    /// Stops waiting for an equal answer once the time for it has passed.
    pub(crate) fn pass(&mut self, now: u64) {
        if self.waits_since.is_some_and(|since| now.saturating_sub(since) > self.patience) {
            self.give_up();
        }
    }

    /// Stops waiting for an equal answer.
    pub(crate) fn give_up(&mut self) {
        if self.order == Order::Undecided {
            self.order = Order::Fifo;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_equal_answer_is_proof_and_others_wait_for_it() {
        let mut likeness = Likeness::new(10 * PATIENCE);
        assert_eq!(likeness.order(), Order::Undecided);
        likeness.saw_other(5);
        likeness.saw_other(PATIENCE);
        likeness.pass(PATIENCE + 5);
        assert_eq!(likeness.order(), Order::Undecided);
        likeness.pass(PATIENCE + 6);
        assert_eq!(likeness.order(), Order::Fifo);
        // Proof counts at any time, and nothing undoes it.
        likeness.saw_equal();
        likeness.saw_other(9 * PATIENCE);
        likeness.give_up();
        assert_eq!(likeness.order(), Order::Content);
    }

    #[test]
    fn nothing_waits_until_its_message_is_lost() {
        let mut likeness = Likeness::new(1000);
        likeness.saw_other(0);
        likeness.pass(501);
        assert_eq!(likeness.order(), Order::Fifo);
    }
}
