//! A shard: one thread with a runtime of its own and fixed connections.
//!
//! Owns what the connections of a thread share: buffers, counts, the clock, frames built ahead, and the phases of the
//! run as this thread goes through them. Leaves one connection to `link`, the timeline to `timeline`.
//! Invariants: nothing here is shared with another thread but the events it sends, the command it watches and the
//! broadcasts' counters; no timer belongs to a connection.

mod count;
mod house;
mod link;
mod open;
mod park;
pub(crate) mod stats;
mod talk;
mod timeline;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::LocalOptions;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::spawn_local;

use super::broadcasts::Broadcasts;
use super::hand::Turn;
use super::likeness::Likeness;
use super::machine;
use super::payload::Payload;
use super::plan::{Kind, Load, Plan};
use super::schedule::Timeline;
use crate::net::connector::Connector;
use crate::net::frames::Prebuilt;
use house::{Housekeeping, TICK};
use link::Link;
pub(crate) use open::Facts;
use stats::Interval;

/// Messages under way in all of a run, in open loop.
const MOST_IN_FLIGHT: u64 = 4_000_000;
/// Handshakes under way at the same time in all of a run.
const HANDSHAKES: usize = 128;
/// Masking keys that take turns, where payloads are small enough to be kept so many times.
const KEYS: usize = 4;
/// Bytes of payloads up to which that is so.
const KEYS_UP_TO: usize = 1 << 20;

/// What the run as a whole is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Command {
    /// Open the connections.
    Connect,
    /// Send, from this time on, in nanoseconds since the run began.
    Start(u64),
    /// Send no more; await what is under way.
    Stop,
    /// Await nothing more; close the connections.
    Close,
    /// End at once.
    Abort,
}

#[derive(Debug)]
pub(crate) enum Event {
    Interval(Box<Interval>),
    /// What the first connection brought to light.
    Facts(Box<Facts>),
    /// Every connection has been tried.
    Ready {
        last: u64,
        opened: u64,
    },
    /// Nothing is under way any more; the time of the last message's end.
    Drained(u64),
    /// The thread ends.
    Done,
}

/// What a shard is started with.
pub(crate) struct Assignment {
    /// Which one, from 0.
    pub index: usize,
    /// Of so many.
    pub shards: usize,
    pub plan: Arc<Plan>,
    /// The run's number, in the markers.
    pub run: u32,
    pub epoch: Instant,
    /// Messages to measure, of a number given.
    pub budget: Option<u64>,
    /// Counters all shards share.
    pub broadcasts: Arc<Broadcasts>,
    pub commands: watch::Receiver<Command>,
    pub turns: watch::Receiver<Option<Arc<Turn>>>,
    pub events: mpsc::Sender<Event>,
    /// Intervals to be used again.
    pub used: std::sync::mpsc::Receiver<Box<Interval>>,
}

/// What the connections of a thread share.
struct Shard {
    index: usize,
    shards: usize,
    plan: Arc<Plan>,
    connector: Connector,
    run: u32,
    epoch: Instant,
    broadcasts: Arc<Broadcasts>,
    events: mpsc::Sender<Event>,
    handshakes: Semaphore,
    /// Frames by payload and key.
    frames: Vec<Vec<Prebuilt>>,
    links: Vec<Rc<Link>>,
    /// Those that send, where not all do.
    senders: Vec<Rc<Link>>,
    cursor: Cell<usize>,
    dirty: RefCell<Vec<Rc<Link>>>,
    interval: RefCell<Box<Interval>>,
    timeline: RefCell<Option<Timeline>>,
    /// When the next message of the timeline is due.
    next_due: Cell<u64>,
    started: Cell<u64>,
    measure_from: Cell<u64>,
    measure_to: Cell<u64>,
    /// Nothing more is sent.
    stopped: Cell<bool>,
    /// Nothing is sent for a while, in closed loop.
    paused: Cell<bool>,
    /// Connections end, and that is as it should be.
    ending: Cell<bool>,
    resets: Cell<bool>,
    budget: Cell<Option<u64>>,
    /// Messages under way on each connection, in closed loop.
    depth: usize,
    deadline: u64,
    /// Whether answers are what was sent, where that is to be found out.
    likeness: Cell<Likeness>,
    most_in_flight: u64,
    in_flight: Cell<u64>,
    /// How far replies are behind, over all connections.
    behind: Cell<u64>,
    open: Cell<u64>,
    attempts_left: Cell<usize>,
    opened: Cell<u64>,
    last_opened: Cell<u64>,
    last_settled: Cell<u64>,
    told_facts: Cell<bool>,
    number: Cell<u64>,
    loop_max: Cell<u64>,
}

/// Runs a shard on a thread of its own.
///
/// # Errors
/// When the system gives no thread.
pub(crate) fn spawn(assignment: Assignment) -> std::io::Result<std::thread::JoinHandle<Result<(), String>>> {
    std::thread::Builder::new().name(format!("shard{}", assignment.index)).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(LocalOptions::default())
            .map_err(|error| format!("cannot start a thread: {error}"))?;
        let result = runtime.block_on(tokio::task::coop::unconstrained(run(assignment)));
        runtime.shutdown_timeout(Duration::from_millis(10));
        result
    })
}

async fn run(assignment: Assignment) -> Result<(), String> {
    let Assignment { commands, used, .. } = &assignment;
    let (mut commands, used) = (commands.clone(), used);
    let mut turns = assignment.turns.clone();
    let shard = Rc::new(Shard::new(&assignment)?);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut house = Housekeeping::new(shard.now());
    let opening = spawn_local(tokio::task::coop::unconstrained(open::all(Rc::clone(&shard))));
    let (mut ready, mut drained) = (false, false);
    let mut driver = None;
    loop {
        let command = *commands.borrow_and_update();
        match command {
            Command::Start(at) if shard.started.get() == u64::MAX => {
                shard.start(at);
                house.has_started(&shard);
                driver = Some(spawn_local(tokio::task::coop::unconstrained(timeline::drive(Rc::clone(&shard)))));
            }
            Command::Connect | Command::Start(_) => {}
            Command::Stop => shard.stopped.set(true),
            Command::Close | Command::Abort => break,
        }
        if turns.has_changed().unwrap_or(false) {
            let turn = turns.borrow_and_update().clone();
            if let (Some(turn), Some(old)) = (turn, driver.take()) {
                // It may be asleep until a time that holds no longer.
                old.abort();
                shard.turn(&turn);
                driver = Some(spawn_local(tokio::task::coop::unconstrained(timeline::go_on(Rc::clone(&shard)))));
            }
        }
        tokio::select! {
            _ = ticks.tick() => house.tick(&shard, used),
            changed = commands.changed() => if changed.is_err() { return Ok(()) },
        }
        if !ready && shard.attempts_left.get() == 0 {
            ready = true;
            let _ = shard.events.send(Event::Ready { last: shard.last_opened.get(), opened: shard.opened.get() }).await;
        }
        if !drained && shard.is_drained() {
            drained = true;
            house.hand_over(&shard, used);
            let _ = shard.events.send(Event::Drained(shard.last_settled.get())).await;
        }
    }
    opening.abort();
    if let Some(driver) = driver {
        driver.abort();
    }
    shard.close(&mut house, used, &mut commands).await;
    house.hand_over(&shard, used);
    let _ = shard.events.send(Event::Done).await;
    Ok(())
}

impl Shard {
    fn new(assignment: &Assignment) -> Result<Self, String> {
        let plan = &assignment.plan;
        let (index, shards) = (assignment.index, assignment.shards);
        let links: Vec<_> = (index..plan.connections).step_by(shards).map(|number| Link::new(number as u32)).collect();
        let senders = match plan.kind {
            Kind::Publish { senders } => {
                links.iter().filter(|link| (link.number as usize) < senders).map(Rc::clone).collect()
            }
            _ => links.clone(),
        };
        let connector = Connector::new(plan.connect.clone()).map_err(|error| error.to_string())?;
        Ok(Self {
            index,
            shards,
            connector,
            run: assignment.run,
            epoch: assignment.epoch,
            broadcasts: Arc::clone(&assignment.broadcasts),
            events: assignment.events.clone(),
            handshakes: Semaphore::new((HANDSHAKES / shards).max(1)),
            frames: frames(&plan.payload),
            attempts_left: Cell::new(links.len()),
            links,
            senders,
            cursor: Cell::default(),
            dirty: RefCell::default(),
            interval: RefCell::default(),
            timeline: RefCell::default(),
            next_due: Cell::new(u64::MAX),
            started: Cell::new(u64::MAX),
            measure_from: Cell::new(u64::MAX),
            measure_to: Cell::new(u64::MAX),
            stopped: Cell::default(),
            paused: Cell::default(),
            ending: Cell::default(),
            resets: Cell::default(),
            budget: Cell::new(assignment.budget),
            depth: match plan.load {
                Load::Closed { in_flight } => in_flight,
                Load::Open { .. } => 0,
            },
            deadline: plan.deadline.as_nanos() as u64,
            likeness: Cell::new(Likeness::new(plan.deadline.as_nanos() as u64)),
            most_in_flight: MOST_IN_FLIGHT / shards as u64,
            in_flight: Cell::default(),
            behind: Cell::default(),
            open: Cell::default(),
            opened: Cell::default(),
            last_opened: Cell::default(),
            last_settled: Cell::default(),
            told_facts: Cell::default(),
            number: Cell::new(index as u64 + 1),
            loop_max: Cell::default(),
            plan: Arc::clone(plan),
        })
    }

    /// Nanoseconds since the run began.
    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    fn start(&self, at: u64) {
        let plan = &self.plan;
        let from = at + plan.warmup.as_nanos() as u64;
        self.started.set(at);
        self.measure_from.set(from);
        self.last_settled.set(from);
        if !plan.ends_by_count() {
            self.measure_to.set(from + plan.measured().as_nanos() as u64);
        }
        if let (Some(course), Load::Open { spacing, .. }) = (plan.course(), &plan.load) {
            // Shards without a connection that sends have no share.
            let sharing = self.shards.min(match plan.kind {
                Kind::Publish { senders } => senders,
                _ => plan.connections,
            });
            if self.index < sharing {
                let share = Timeline::new(course, *spacing, self.index as u64, sharing as u64, plan.seed);
                *self.timeline.borrow_mut() = Some(share);
            }
        }
    }

    fn turn(&self, turn: &Turn) {
        self.paused.set(turn.paused);
        if let (Some(course), Some(timeline)) = (&turn.course, self.timeline.borrow_mut().as_mut()) {
            timeline.turn(course.clone(), turn.at.saturating_sub(self.started.get()));
            self.next_due.set(timeline.peek().map_or(u64::MAX, |due| self.started.get() + due));
        }
        self.links.iter().for_each(|link| link.wake());
    }

    fn has_started(&self) -> bool {
        self.started.get() != u64::MAX
    }

    fn is_running(&self) -> bool {
        self.has_started() && !self.stopped.get() && !self.ending.get() && self.now() < self.measure_to.get()
    }

    fn is_measured(&self, time: u64) -> bool {
        time >= self.measure_from.get()
    }

    fn is_closed_loop(&self) -> bool {
        self.depth > 0 && self.plan.kind.sends()
    }

    /// Sends as fast as the sockets take it.
    fn floods(&self) -> bool {
        self.plan.kind == Kind::Send && self.depth > 0
    }

    /// Whether one more message may be sent in closed loop; takes it off the number given.
    fn may_send(&self, now: u64) -> bool {
        if now < self.started.get() || now >= self.measure_to.get() || self.stopped.get() || self.paused.get() {
            return false;
        }
        match self.budget.get() {
            Some(left) if self.is_measured(now) => {
                self.budget.set(Some(left.saturating_sub(1)));
                left > 0
            }
            _ => true,
        }
    }

    /// Whether nothing more is sent and nothing is under way.
    fn is_drained(&self) -> bool {
        if !self.has_started() {
            return false;
        }
        let now = self.now();
        let spent = self.budget.get() == Some(0) && self.is_closed_loop();
        let over = self.stopped.get() || now >= self.measure_to.get() || spent;
        let late = now >= self.measure_to.get().saturating_add(self.deadline);
        over && self.in_flight.get() == 0 && self.next_due.get() == u64::MAX && (self.broadcasts.is_complete() || late)
    }

    /// The frame of this payload, with a key that changes from message to message.
    fn frame(&self, variant: usize, turn: u32) -> &Prebuilt {
        let keys = &self.frames[variant];
        &keys[turn as usize % keys.len()]
    }

    /// The number of the next filled-in message, from 1 over all shards.
    fn next_number(&self) -> u64 {
        let number = self.number.get();
        self.number.set(number + self.shards as u64);
        number
    }

    /// Writes everything that was queued.
    fn flush(&self) {
        let dirty = std::mem::take(&mut *self.dirty.borrow_mut());
        for link in &dirty {
            link.flush(self);
        }
        let mut list = dirty;
        list.clear();
        // Keeps its memory for the next pass.
        *self.dirty.borrow_mut() = list;
    }

    /// Closes all connections, within the time for it.
    async fn close(
        self: &Rc<Self>,
        house: &mut Housekeeping,
        used: &std::sync::mpsc::Receiver<Box<Interval>>,
        commands: &mut watch::Receiver<Command>,
    ) {
        self.stopped.set(true);
        self.ending.set(true);
        self.links.iter().for_each(|link| link.censor(self));
        // So many connections in TIME_WAIT would be in the way of the next run.
        self.resets.set(self.plan.connections > machine::PORTS_PER_ADDRESS / 2);
        let now = self.now();
        self.links.iter().for_each(|link| link.close(now));
        let mut ticks = tokio::time::interval(TICK);
        let patience = self.plan.close_timeout.as_nanos() as u64 + 200_000_000;
        while self.open.get() > 0 && self.now() < now + patience && *commands.borrow() != Command::Abort {
            ticks.tick().await;
            house.tick(self, used);
        }
    }
}

fn frames(payload: &Payload) -> Vec<Vec<Prebuilt>> {
    let Payload::Variants(variants) = payload else { return Vec::new() };
    let total: usize = variants.iter().map(|variant| variant.bytes.len()).sum();
    let keys = if total * KEYS > KEYS_UP_TO { 1 } else { KEYS };
    let of_key = |_| fastrand::u32(..).to_ne_bytes();
    variants
        .iter()
        .map(|variant| (0..keys).map(of_key).map(|key| Prebuilt::new(variant.kind, &variant.bytes, key)).collect())
        .collect()
}
