//! Two sides of the envelope protocol on a connection that breaks, and one side against anything at all.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use proptest::prelude::*;

use super::tests::Side;
use super::{EnvelopeSettings, Limits};
use crate::message::Message;
use crate::protocol::{Effect, Outcome, Protocol as _, Ticket};

#[derive(Debug, Clone)]
enum Step {
    Send,
    Carry(usize),
    CarryBack(usize),
    Decide(bool),
    Break,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Send),
        3 => (1..6_usize).prop_map(Step::Carry),
        3 => (1..6_usize).prop_map(Step::CarryBack),
        3 => any::<bool>().prop_map(Step::Decide),
        1 => Just(Step::Break),
    ]
}

/// A sender and a receiver, and what is on its way between them.
struct Pair {
    sender: Side,
    receiver: Side,
    there: VecDeque<Message>,
    back: VecDeque<Message>,
    open: VecDeque<Ticket>,
    delivered: Vec<u64>,
    settled: BTreeMap<u64, Outcome>,
}

impl Pair {
    fn new(window: usize) -> Self {
        let settings = Rc::new(EnvelopeSettings::new(Limits { window, ..Limits::default() }, Vec::new()));
        let mut pair = Self {
            sender: Side::with(&settings, "s"),
            receiver: Side::with(&settings, "r"),
            there: VecDeque::new(),
            back: VecDeque::new(),
            open: VecDeque::new(),
            delivered: Vec::new(),
            settled: BTreeMap::new(),
        };
        pair.connect();
        pair
    }

    fn connect(&mut self) {
        self.there.clear();
        self.back.clear();
        let (sent, back) = (self.sender.opens(), self.receiver.opens());
        self.sent(sent);
        self.received(back);
    }

    fn sent(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(message) => self.there.push_back(message),
                Effect::Settled(Some(ticket), outcome) => assert!(self.settled.insert(ticket, outcome).is_none()),
                other => panic!("{other:?}"),
            }
        }
    }

    fn received(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send(message) => self.back.push_back(message),
                Effect::Deliver(message, Some(ticket)) => {
                    self.delivered.push(message.as_text().unwrap().parse().unwrap());
                    self.open.push_back(ticket);
                }
                other => panic!("{other:?}"),
            }
        }
    }

    fn carry(&mut self, count: usize) {
        for message in self.there.drain(..count.min(self.there.len())).collect::<Vec<_>>() {
            let effects = self.receiver.gets(message.as_text().unwrap());
            self.received(effects);
        }
    }

    fn carry_back(&mut self, count: usize) {
        for message in self.back.drain(..count.min(self.back.len())).collect::<Vec<_>>() {
            let effects = self.sender.gets(message.as_text().unwrap());
            self.sent(effects);
        }
    }

    fn decide(&mut self, taken: bool) {
        if let Some(ticket) = self.open.pop_front() {
            let outcome = if taken { Outcome::Taken } else { Outcome::Rejected("no".to_owned()) };
            let effects = self.receiver.learns(ticket, outcome);
            self.received(effects);
        }
    }
}

proptest! {
    /// However often the connection breaks, every message is delivered and settled; what was taken is delivered once.
    #[test]
    fn nothing_is_lost(window in 1..8_usize, rejects in any::<bool>(), steps in proptest::collection::vec(step(), 0..120)) {
        let mut pair = Pair::new(window);
        let mut count = 0;
        for step in steps {
            match step {
                Step::Send if pair.sender.takes() => {
                    count += 1;
                    let effects = pair.sender.sends(&count.to_string(), Some(count));
                    pair.sent(effects);
                }
                Step::Send => prop_assert!(pair.sender.envelope.unsettled() == window),
                Step::Carry(messages) => pair.carry(messages),
                Step::CarryBack(messages) => pair.carry_back(messages),
                Step::Decide(taken) => pair.decide(taken || !rejects),
                Step::Break => pair.connect(),
            }
            prop_assert!(pair.sender.envelope.unsettled() <= window);
            prop_assert_eq!(pair.sender.envelope.unsettled() + pair.settled.len(), count as usize);
        }
        while pair.sender.envelope.unsettled() > 0 {
            pair.connect();
            pair.carry(usize::MAX);
            while !pair.open.is_empty() {
                pair.decide(true);
            }
            pair.carry_back(usize::MAX);
        }
        prop_assert_eq!(pair.settled.keys().copied().collect::<Vec<_>>(), (1..=count).collect::<Vec<_>>());
        let distinct: BTreeSet<u64> = pair.delivered.iter().copied().collect();
        prop_assert_eq!(distinct.len(), count as usize);
        if !rejects {
            prop_assert_eq!(pair.delivered, (1..=count).collect::<Vec<_>>());
        }
    }

    /// Whatever the peer sends, nothing panics, and every delivery is answered exactly once.
    #[test]
    fn every_delivery_is_answered_once(inputs in proptest::collection::vec(
        (r#"\{"type":"(data|ack|nack|request|reply|slow|x)"(,"id":("[ab]"|1|null|"p-[1-3]"))?(,"payload":("t"|1|\{"method":"(status|replay|subscribe)"\}))?\}|.{0,20}"#, any::<bool>()),
        0..40,
    )) {
        let mut side = Side::opened();
        let mut open = Vec::new();
        for (input, decide) in inputs {
            side.sends("1", None);
            for effect in side.gets(&input) {
                if let Effect::Deliver(_, ticket) = effect {
                    open.push(ticket.expect("a ticket"));
                }
            }
            if let Some(ticket) = open.pop().filter(|_| decide) {
                prop_assert!(matches!(side.learns(ticket, Outcome::Taken)[..], [Effect::Send(_)]));
                prop_assert_eq!(side.learns(ticket, Outcome::Taken), []);
            }
        }
    }
}
