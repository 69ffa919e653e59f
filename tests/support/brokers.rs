//! What every message broker can be asked for, whichever it is: a place to publish at and receive from, where a group has
//! got to, and to be killed and come back.
//!
//! Leaves what only one of them does to `kafka` and `nats`. Invariant: a place is of the test that asked for it alone.

use nix::sys::signal::Signal;

use super::ends::Receiver;
use super::process::Process;

/// A message broker of a test's own.
pub trait Broker {
    /// Its name, for what is said of a failure.
    fn name(&self) -> &'static str;

    /// Makes a place for messages that stays when the broker is killed; `shares` of them can be worked on in parallel.
    fn make(&mut self, place: &str, shares: u32);

    /// A place as TO.
    fn to(&self, place: &str) -> String;

    /// A place as FROM, for a group whose position is remembered.
    fn from(&self, place: &str, group: &str) -> String;

    /// Whether a group has settled so many messages of a place.
    fn has_settled(&mut self, place: &str, group: &str, count: u64) -> bool;

    /// What a place holds, in order.
    fn stored(&mut self, place: &str) -> Vec<u32>;

    /// Its process.
    fn process(&self) -> &Process;

    /// Kills it; its data stays.
    fn kill(&mut self);

    /// Starts it again.
    fn come_back(&mut self);
}

type Make = fn() -> Box<dyn Broker>;

/// Every broker there is, with the component its tests need.
pub const BROKERS: &[(&str, Make)] = &[
    #[cfg(feature = "nats")]
    ("nats", || Box::new(super::nats::Nats::start(&[]))),
    #[cfg(feature = "kafka")]
    ("kafka", || Box::new(super::kafka::Kafka::start(|_, _| String::new(), ""))),
];

/// A broker as a receiver.
pub struct Station {
    broker: std::cell::RefCell<Box<dyn Broker>>,
    is_paused: bool,
}

/// Where it receives.
const PLACE: &str = "place";

impl Station {
    pub fn new(mut broker: Box<dyn Broker>) -> Self {
        broker.make(PLACE, 1);
        Self { broker: std::cell::RefCell::new(broker), is_paused: false }
    }

    fn signal(&self, signal: Signal) {
        self.broker.borrow().process().signal(signal);
    }
}

impl Receiver for Station {
    fn endpoint(&self) -> String {
        self.broker.borrow().to(PLACE)
    }

    fn arguments(&self) -> Vec<String> {
        ["--reconnect", "--retry-delay", "50ms", "--retry-max", "200ms"].map(str::to_owned).into()
    }

    fn got(&self) -> Vec<u32> {
        // One that is stopped answers nobody.
        if self.is_paused { Vec::new() } else { self.broker.borrow_mut().stored(PLACE) }
    }

    fn pause(&mut self, _: &Process) {
        self.is_paused = true;
        self.signal(Signal::SIGSTOP);
    }

    fn resume(&mut self, _: &Process) {
        self.signal(Signal::SIGCONT);
        self.is_paused = false;
    }

    fn go_and_come_back(&mut self, _: &Process) -> bool {
        let broker = self.broker.get_mut();
        broker.kill();
        broker.come_back();
        true
    }
}
