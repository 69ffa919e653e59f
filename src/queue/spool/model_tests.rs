//! Lanes with a spool behind them against a model, with a disk that loses what was not synced, and one that fails.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use proptest::prelude::*;

use super::fake_disk::FakeDisk;
use super::states::StateRows;
use super::store::Store;
use super::*;
use crate::message::Message;
use crate::queue::OverflowPolicy;
use crate::queue::envelope::Origin;
use crate::queue::lane::Lane;
use crate::queue::ledger::AckCallback;
use crate::queue::settlement::Settlement;

const BOUNDS: LaneSettings = LaneSettings { max_messages: 6, max_bytes: 40_000, policy: OverflowPolicy::Block };

#[derive(Debug, Clone)]
enum Step {
    Push(usize, usize),
    Carry(bool),
    Take(usize, usize),
    Settle(usize, prop::sample::Index),
    PutBack(usize),
    Crash(u64),
    CrashWhileWriting(u32, u64),
    Stop,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![4 => 0_usize..50, 1 => 20_000_usize..70_000];
    prop_oneof![
        6 => (1_usize..5, size).prop_map(|(count, size)| Step::Push(count, size)),
        6 => any::<bool>().prop_map(Step::Carry),
        4 => (0_usize..2, 1_usize..6).prop_map(|(lane, count)| Step::Take(lane, count)),
        5 => (0_usize..2, any::<prop::sample::Index>()).prop_map(|(lane, index)| Step::Settle(lane, index)),
        1 => (0_usize..2).prop_map(Step::PutBack),
        1 => any::<u64>().prop_map(Step::Crash),
        1 => (0_u32..40, any::<u64>()).prop_map(|(left, seed)| Step::CrashWhileWriting(left, seed)),
        1 => Just(Step::Stop),
    ]
}

/// One destination as it should be.
struct Model {
    lane: Rc<Lane>,
    /// Messages of earlier runs that have not come out.
    recovered: u64,
    last_recovered: Option<u64>,
    /// Messages of this run that have not come out.
    fresh: VecDeque<u64>,
    /// What was put back, and comes first.
    returned: VecDeque<u64>,
    in_flight: VecDeque<Envelope>,
}

struct World {
    disk: FakeDisk,
    settings: SpoolSettings,
    lanes: usize,
    next: u64,
    safe: Rc<RefCell<BTreeSet<u64>>>,
    delivered: Vec<BTreeSet<u64>>,
    /// Of the run that is under way.
    spool: Rc<Spool>,
    ledger: Rc<Ledger>,
    pushed: u64,
    models: Vec<Model>,
}

fn number(envelope: &Envelope) -> u64 {
    let (head, _) = envelope.message.payload().split_first_chunk().expect("a number");
    u64::from_le_bytes(*head)
}

fn open(disk: &FakeDisk, settings: SpoolSettings) -> Rc<Spool> {
    let directory = Path::new("spool");
    let database = redb::Database::builder().create_with_backend(disk.clone()).expect("a database after a crash");
    let (store, saved) = Store::begin(database, directory).expect("a store after a crash");
    Spool::of(directory, store, saved, settings)
}

impl World {
    fn new(always: bool, lanes: usize) -> Self {
        let settings = SpoolSettings { always, most: 200_000, full: SpoolFull::Block };
        let disk = FakeDisk::default();
        let mut world = Self {
            spool: open(&disk, settings),
            disk,
            settings,
            lanes,
            next: 0,
            safe: Rc::default(),
            delivered: vec![BTreeSet::new(); lanes],
            ledger: Rc::default(),
            pushed: 0,
            models: Vec::new(),
        };
        world.begin();
        world
    }

    /// Lanes of a new run.
    fn begin(&mut self) {
        self.ledger = Rc::default();
        self.pushed = 0;
        let names = ["ws://one/", "ws://two/"];
        let make = |name: &&str| {
            let lane = Rc::new(Lane::spooled(*name, BOUNDS, &self.spool));
            lane.join(&self.ledger);
            let recovered = lane.len() as u64;
            Model {
                lane,
                recovered,
                last_recovered: None,
                fresh: VecDeque::new(),
                returned: VecDeque::new(),
                in_flight: VecDeque::new(),
            }
        };
        self.models = names[..self.lanes].iter().map(make).collect();
        for lane in self.spool.lanes.borrow().iter() {
            lane.queue.borrow_mut().set_share(self.settings.most / self.lanes as u64);
        }
        self.check();
    }

    fn restart(&mut self) {
        self.models.clear();
        self.spool = open(&self.disk, self.settings);
        self.begin();
    }

    fn is_ready(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.models.iter().all(|model| model.lane.poll_ready(&mut cx).is_ready())
    }

    fn push(&mut self, size: usize) {
        let number = self.next;
        self.next += 1;
        self.pushed += 1;
        let mut payload = number.to_le_bytes().to_vec();
        payload.resize(8 + size, 7);
        let message = Message::binary(payload);
        let safe = Rc::clone(&self.safe);
        let on_settled = AckCallback::call(move |_| assert!(safe.borrow_mut().insert(number), "told twice"));
        let receipt = self.ledger.receive(message.len(), Some(on_settled));
        let origin = Origin::new(format!("s{}", number % 3), "-");
        for model in &mut self.models {
            model.fresh.push_back(number);
            let time = jiff::Timestamp::from_microsecond(number.cast_signed()).expect("a time");
            model.lane.push(Envelope {
                message: message.clone(),
                origin: Rc::clone(&origin),
                time,
                seq: number + 1,
                attempts: 0,
                receipt: receipt.share(),
            });
        }
        receipt.settle(Settlement::Filtered);
    }

    /// What the thread does, as far as it gets; what was read may be known before what was written is.
    fn carry(&mut self, reads_first: bool) {
        let store = self.spool.store.borrow();
        let store = store.as_ref().expect("a store");
        let lanes = self.spool.lanes.borrow().clone();
        let changes: Vec<_> = lanes.iter().filter_map(|lane| lane.queue.borrow_mut().take_changes()).collect();
        if let Err(error) = store.commit(&changes, &StateRows::new()) {
            assert_eq!(error.to_string(), "spool spool: cannot write spool.redb: no storage space");
            self.spool.fail(error);
            return;
        }
        let told = || {
            for change in &changes {
                self.spool.with(change.row.number, |lane| lane.stored(change.row.next));
            }
        };
        if !reads_first {
            told();
        }
        for lane in &lanes {
            let read = lane.queue.borrow_mut().take_read();
            if let Some(read) = read {
                let blocks = store.read(read).expect("what was written");
                assert!(lane.fetched(blocks), "nothing was found at {read:?}");
            }
        }
        if reads_first {
            told();
        }
    }

    fn take(&mut self, lane: usize) -> bool {
        let model = &mut self.models[lane];
        let Some(envelope) = model.lane.try_next() else { return false };
        let number = number(&envelope);
        assert_eq!((envelope.seq, &*envelope.origin.session), (number + 1, &*format!("s{}", number % 3)));
        assert_eq!(envelope.time.as_microsecond(), number.cast_signed());
        if let Some(expected) = model.returned.pop_front() {
            assert_eq!(number, expected);
        } else if model.recovered > 0 {
            model.recovered -= 1;
            assert!(model.last_recovered < Some(number), "{number} after {:?}", model.last_recovered);
            model.last_recovered = Some(number);
        } else {
            assert_eq!(Some(number), model.fresh.pop_front());
            assert!(!self.settings.always || self.safe.borrow().contains(&number), "{number} is not stored");
        }
        model.in_flight.push_back(envelope);
        true
    }

    fn settle(&mut self, lane: usize, index: usize) {
        if let Some(envelope) = self.models[lane].in_flight.remove(index) {
            self.delivered[lane].insert(number(&envelope));
            envelope.settle(Settlement::Delivered);
        }
    }

    /// The balance, the bounds, and that nothing is said to be safe that is not.
    fn check(&self) {
        let recovered = self.ledger.received.get() - self.pushed;
        let waiting: u64 = self.ledger.waiting();
        assert_eq!(self.ledger.received.get(), recovered + self.pushed);
        assert_eq!(self.ledger.delivered.get() + waiting, recovered + self.pushed);
        for (model, lane) in self.models.iter().zip(self.spool.lanes.borrow().iter()) {
            let queue = lane.queue.borrow();
            // A block that is read may be more than asked for, never two.
            let most = BOUNDS.max_messages * 2 + model.returned.len() + 2000;
            assert!(queue.window().len() <= most, "{} in memory", queue.window().len());
            let expected = model.recovered as usize + model.fresh.len() + model.returned.len();
            assert!(queue.has_failed() || model.lane.len() == expected, "{} wait, not {expected}", model.lane.len());
        }
    }

    fn run(&mut self, steps: Vec<Step>) {
        for step in steps {
            match step {
                Step::Push(count, size) => {
                    for _ in 0..count {
                        if self.is_ready() && self.spool.failure.borrow().is_none() {
                            self.push(size);
                        }
                    }
                }
                Step::Carry(reads_first) => self.carry(reads_first),
                Step::Take(lane, count) => {
                    let lane = lane % self.lanes;
                    for _ in 0..count {
                        self.take(lane);
                    }
                }
                Step::Settle(lane, index) => {
                    let lane = lane % self.lanes;
                    let count = self.models[lane].in_flight.len();
                    if count > 0 {
                        self.settle(lane, index.index(count));
                    }
                }
                Step::PutBack(lane) => {
                    let model = &mut self.models[lane % self.lanes];
                    let envelopes: Vec<_> = model.in_flight.drain(..).collect();
                    for envelope in envelopes.iter().rev() {
                        model.returned.push_front(number(envelope));
                    }
                    model.lane.requeue(envelopes.into_iter());
                }
                Step::Crash(seed) => {
                    self.disk = self.disk.crashed(seed);
                    self.restart();
                }
                Step::CrashWhileWriting(left, seed) => {
                    self.disk.fill_after(left);
                    self.carry(false);
                    self.check();
                    self.disk = self.disk.crashed(seed);
                    self.restart();
                }
                Step::Stop => self.stop(),
            }
            self.check();
        }
    }

    /// An orderly end, after which all that waited is there, in order.
    fn stop(&mut self) {
        for model in &mut self.models {
            model.lane.requeue(model.in_flight.drain(..));
        }
        let waiting: Vec<_> = self.models.iter().map(|model| model.lane.len()).collect();
        for lane in self.spool.lanes.borrow().iter() {
            lane.queue.borrow_mut().store_window();
        }
        self.carry(false);
        self.models.clear();
        let store = self.spool.store.take().expect("a store");
        store.close().expect("closed");
        self.restart();
        let recovered: Vec<_> = self.models.iter().map(|model| model.lane.len()).collect();
        assert_eq!(recovered, waiting);
    }

    /// Everything comes out in the end, and everything that was said to be safe has.
    fn finish(mut self) {
        let mut idle = 0;
        loop {
            let mut moved = false;
            for lane in 0..self.lanes {
                while self.take(lane) {
                    moved = true;
                }
                while !self.models[lane].in_flight.is_empty() {
                    moved = true;
                    self.settle(lane, 0);
                }
            }
            self.check();
            if !moved && self.models.iter().all(|model| model.lane.is_empty()) {
                break;
            }
            // What is written can be read at the next turn, and is in memory at the one after.
            idle = if moved { 0 } else { idle + 1 };
            assert!(idle < 4, "what waits does not come out");
            self.carry(false);
        }
        assert_eq!(self.ledger.waiting(), 0, "{}", self.ledger);
        for delivered in &self.delivered {
            let lost: Vec<_> = self.safe.borrow().difference(delivered).copied().collect();
            assert!(lost.is_empty(), "said to be safe, and lost: {lost:?}");
        }
        self.carry(false);
        let store = self.spool.store.take().expect("a store");
        store.close().expect("closed");
        let (_, saved) = {
            let database = redb::Database::builder().create_with_backend(self.disk.clone()).expect("a database");
            Store::begin(database, Path::new("spool")).expect("a store")
        };
        assert_eq!(saved, [], "nothing waits");
    }
}

/// More where that is asked for.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2000, ..ProptestConfig::with_cases(cases()) })]

    #[test]
    fn nothing_that_is_safe_is_lost_and_order_is_kept(
        always in any::<bool>(),
        lanes in 1_usize..=2,
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(always, lanes);
        world.run(steps);
        world.finish();
    }
}

fn world(full: SpoolFull, most: u64) -> World {
    let settings = SpoolSettings { always: true, most, full };
    let mut world = World::new(true, 1);
    world.settings = settings;
    world.models.clear();
    world.spool = open(&FakeDisk::default(), settings);
    world.begin();
    world
}

fn numbers(world: &mut World) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..100 {
        world.carry(false);
        let mut taken = Vec::new();
        while let Some(envelope) = world.models[0].lane.try_next() {
            taken.push(envelope);
        }
        if taken.is_empty() && world.models[0].lane.is_empty() {
            return numbers;
        }
        for envelope in taken {
            numbers.push(number(&envelope));
            envelope.settle(Settlement::Delivered);
        }
    }
    panic!("what waits does not come out");
}

#[test]
fn the_source_waits_while_the_spool_is_full() {
    let mut world = world(SpoolFull::Block, 10 * (block::MESSAGE_OVERHEAD as u64 + 108));
    let mut pushed = 0;
    while world.is_ready() && pushed < 100 {
        world.push(100);
        world.carry(false);
        pushed += 1;
    }
    assert_eq!(pushed, 10);
    let first = world.models[0].lane.try_next().expect("a message");
    assert!(!world.is_ready(), "it may come back");
    first.settle(Settlement::Delivered);
    assert!(world.is_ready());
    assert_eq!(numbers(&mut world), (1..10).collect::<Vec<_>>());
}

#[test]
fn the_oldest_make_room_in_a_full_spool() {
    let mut world = world(SpoolFull::DropOldest, 10 * (block::MESSAGE_OVERHEAD as u64 + 108));
    for _ in 0..50 {
        assert!(world.is_ready());
        world.push(100);
        world.carry(false);
    }
    assert_eq!(numbers(&mut world), (40..50).collect::<Vec<_>>());
    assert_eq!((world.ledger.dropped.total(), world.ledger.delivered.get(), world.ledger.waiting()), (40, 10, 0));
}

#[test]
fn the_newest_do_not_get_into_a_full_spool() {
    let mut world = world(SpoolFull::DropNewest, 10 * (block::MESSAGE_OVERHEAD as u64 + 108));
    for _ in 0..50 {
        assert!(world.is_ready());
        world.push(100);
        world.carry(false);
    }
    assert_eq!(numbers(&mut world), (0..10).collect::<Vec<_>>());
    assert_eq!((world.ledger.dropped.total(), world.ledger.delivered.get(), world.ledger.waiting()), (40, 10, 0));
}

#[test]
fn nothing_is_written_while_it_fits_in_memory() {
    let mut world = World::new(false, 1);
    for _ in 0..BOUNDS.max_messages {
        world.push(10);
    }
    let lanes = world.spool.lanes.borrow().clone();
    assert_eq!(lanes[0].queue.borrow_mut().take_changes(), None);
    assert!(world.safe.borrow().is_empty(), "what is only in memory is not safe");
    world.push(10);
    world.carry(false);
    assert_eq!(*world.safe.borrow(), BTreeSet::from([BOUNDS.max_messages as u64]));
    world.finish();
}

#[test]
fn what_waits_in_memory_alone_is_stored_at_an_orderly_end_before_what_is_on_disk() {
    let mut world = World::new(false, 1);
    for _ in 0..BOUNDS.max_messages + 3 {
        world.push(10);
    }
    world.take(0);
    world.take(0);
    world.settle(0, 0);
    world.stop();
    // Again, with what was stored last time at the head.
    world.take(0);
    world.stop();
    assert_eq!(numbers(&mut world), (1..BOUNDS.max_messages as u64 + 3).collect::<Vec<_>>());
    assert_eq!(world.ledger.waiting(), 0);
}

#[test]
fn what_cannot_be_written_is_not_acknowledged_and_waits() {
    let mut world = World::new(true, 1);
    world.push(10);
    world.carry(false);
    world.disk.fill_after(1);
    world.push(10);
    world.carry(false);
    world.push(10);
    assert_eq!(*world.safe.borrow(), BTreeSet::from([0]));
    let lane = Rc::clone(&world.models[0].lane);
    let mut cx = Context::from_waker(Waker::noop());
    let first = lane.poll_next(&mut cx);
    let Poll::Ready(Some(first)) = first else { panic!("what is stored is delivered") };
    first.settle(Settlement::Delivered);
    assert!(matches!(lane.poll_next(&mut cx), Poll::Ready(None)), "nothing more will come");
    assert_eq!((world.ledger.delivered.get(), world.ledger.waiting()), (1, 2));
    assert!(world.is_ready(), "sources are not held up");
}
