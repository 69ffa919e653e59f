//! Conducts a run: starts the shards, leads them through its phases, gathers what they say.
//!
//! Owns the order of the phases and what ends them: time, number, a signal. Leaves the report to [`super::compose`].
//! Invariants: a signal ends measuring and still yields a report; every shard's thread has ended when this returns.

mod look;
mod steer;

use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::broadcasts::Broadcasts;
use super::gather::Gathered;
use super::hand::{Changes, Hand, Turn};
use super::histogram::Logged;
use super::live::{Live, Phase};
use super::machine;
use super::marker::RUN_BITS;
use super::plan::{Kind, Plan};
use super::preflight::{self, Preflight};
use super::report::{Report, Second};
use super::shard::stats::Interval;
use super::shard::{self, Assignment, Command, Event, Facts};
use crate::error::Error;
use crate::host::{Signals, StopSignal};
use crate::net::connector::ConnectError;
use crate::net::dial;
use crate::session::limit::{Due, TimeLimit};

/// Between the last connection and the first message.
const SETTLE: Duration = Duration::from_millis(50);
/// How often the live figures change.
const LIVE: Duration = Duration::from_millis(200);
/// Messages between shards and conductor that may wait.
const EVENTS: usize = 1024;

/// What a run yields besides its report.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The report, thresholds and all.
    pub report: Report,
    /// Lines of an HDR log.
    pub log: Vec<Logged>,
    /// When the run began, in seconds since 1970.
    pub begun: f64,
    pub signal: Option<StopSignal>,
    /// A person ended it early.
    pub enough: bool,
    /// `--timeout` ended it.
    pub timed_out: bool,
}

/// What a run is watched and ended by.
pub(crate) struct Control<'a> {
    /// Signals to the process.
    pub signals: &'a mut Signals,
    pub live: &'a watch::Sender<Live>,
    /// Whether to keep lines of an HDR log.
    pub keeps_log: bool,
    pub detailed: bool,
    /// Ends measuring as a person's wish, when asked to.
    pub enough: &'a tokio::sync::Notify,
    /// What a person changes meanwhile, where that is possible.
    pub hand: Option<&'a Hand>,
    /// Called after each second.
    pub second: &'a mut dyn FnMut(&Second),
}

/// What is known when a run is over, for the report.
pub(crate) struct Finished<'a> {
    pub plan: &'a Plan,
    pub gathered: Gathered,
    /// Of the first connection.
    pub facts: Facts,
    pub preflight: Preflight,
    pub look_up: Duration,
    pub broadcasts: Arc<Broadcasts>,
    /// The run's number.
    pub run: u32,
    pub started: jiff::Timestamp,
    /// From the beginning to the last connection.
    pub connected: Duration,
    pub measured: Duration,
    /// Memory before the first connection and at its greatest.
    pub memory: (u64, u64),
    /// Ended from outside.
    pub interrupted: bool,
    pub changes: Changes,
}

/// Runs the plan.
///
/// # Errors
/// What keeps it from starting, and no connection at all.
pub(crate) async fn run(plan: &Plan, control: Control<'_>) -> Result<Outcome, Error> {
    let looked_up = Instant::now();
    let (plan, targets) = resolved(plan).await?;
    let look_up = looked_up.elapsed();
    let preflight = preflight::look(&plan, &targets)?;
    let plan = Arc::new(Plan { sources: preflight.sources.clone(), ..plan });
    let mut seed = [0; 4];
    getrandom::fill(&mut seed).map_err(|error| Error::Internal(format!("random numbers: {error}")))?;
    let run = u32::from_ne_bytes(seed) & ((1 << RUN_BITS) - 1);
    let mut conductor = Conductor::start(&plan, shard_count(&plan, &targets), run, control)?;
    let result = conductor.conduct().await;
    let threads = conductor.end();
    result?;
    threads?;
    let Conductor {
        gathered,
        facts,
        broadcasts,
        signal,
        enough,
        timed_out,
        started,
        connected,
        measured,
        memory,
        changes,
        ..
    } = conductor;
    if gathered.connections.opened == 0 && signal.is_none() && !timed_out && !enough {
        return Err(no_connection(&plan, &gathered));
    }
    let finished = Finished {
        plan: &plan,
        gathered,
        facts,
        preflight,
        look_up,
        broadcasts,
        run,
        started,
        connected,
        measured,
        memory,
        interrupted: signal.is_some() || timed_out || enough,
        changes,
    };
    let (report, log) = super::compose::report(finished);
    let begun = started.as_millisecond() as f64 / 1000.0;
    Ok(Outcome { report, log, begun, signal, enough, timed_out })
}

/// Looks the target up once for all connections.
async fn resolved(plan: &Plan) -> Result<(Plan, Vec<IpAddr>), Error> {
    let mut plan = plan.clone();
    let target = &plan.connect.target;
    let (host, port) = (target.host.clone(), target.port);
    let through_proxy = plan.connect.proxies.choose(target).is_ok_and(|proxy| proxy.is_some());
    if plan.connect.dial.unix_socket.is_some() || through_proxy {
        return Ok((plan, Vec::new()));
    }
    let addresses = dial::look_up(&host, port, &plan.connect.dial)
        .await
        .map_err(|error| Error::Connect { url: target.to_string(), cause: ConnectError::Dial(error) })?;
    plan.connect.dial.resolve = addresses.iter().map(|address| (host.to_ascii_lowercase(), port, *address)).collect();
    Ok((plan, addresses))
}

/// As many threads as there are processors, less one where the target is on this machine too.
fn shard_count(plan: &Plan, targets: &[IpAddr]) -> usize {
    let local = plan.connect.dial.unix_socket.is_some() || targets.iter().any(IpAddr::is_loopback);
    let suitable = if local { machine::cpus().saturating_sub(1) } else { machine::cpus() };
    plan.threads.unwrap_or(suitable).clamp(1, plan.connections.max(1))
}

fn no_connection(plan: &Plan, gathered: &Gathered) -> Error {
    let counts = gathered.errors.counts();
    let most = counts.iter().max_by_key(|(_, count)| **count).map(|(kind, _)| kind.clone()).unwrap_or_default();
    let example = gathered.errors.examples().remove(&most);
    let text = example.as_ref().map_or_else(|| "none was tried".to_owned(), |example| example.text.clone());
    let hint =
        example.and_then(|example| example.hint).unwrap_or_else(|| "-v shows more: wsp connect -v URL".to_owned());
    Error::NoConnection { url: plan.connect.target.to_string(), kind: most, text, hint }
}

struct Conductor<'a> {
    plan: Arc<Plan>,
    control: Control<'a>,
    epoch: Instant,
    commands: watch::Sender<Command>,
    turns: watch::Sender<Option<Arc<Turn>>>,
    changes: Changes,
    events: mpsc::Receiver<Event>,
    used: Vec<std::sync::mpsc::Sender<Box<Interval>>>,
    threads: Vec<JoinHandle<Result<(), String>>>,
    gathered: Gathered,
    facts: Facts,
    broadcasts: Arc<Broadcasts>,
    phase: Phase,
    phase_since: Instant,
    ready: usize,
    opened: u64,
    drained: usize,
    done: usize,
    signal: Option<StopSignal>,
    /// A person has seen enough.
    enough: bool,
    timed_out: bool,
    started: jiff::Timestamp,
    connected: Duration,
    measured: Duration,
    measure_from: u64,
    last_settled: u64,
    stopped_at: Option<u64>,
    memory: (u64, u64),
    /// Seconds reported.
    told: usize,
}

impl<'a> Conductor<'a> {
    fn start(plan: &Arc<Plan>, shards: usize, run: u32, control: Control<'a>) -> Result<Self, Error> {
        let (commands, _) = watch::channel(Command::Connect);
        let (report, events) = mpsc::channel(EVENTS);
        let senders = match plan.kind {
            Kind::Publish { senders } => senders,
            _ => 0,
        };
        let broadcasts = Arc::new(Broadcasts::new(senders));
        let gathered = Gathered::new(shards, control.keeps_log);
        let mut conductor = Self {
            plan: Arc::clone(plan),
            epoch: Instant::now(),
            commands,
            turns: watch::Sender::default(),
            changes: Changes::default(),
            events,
            used: Vec::new(),
            threads: Vec::new(),
            gathered,
            facts: Facts::default(),
            broadcasts,
            phase: Phase::Connect,
            phase_since: Instant::now(),
            ready: 0,
            opened: 0,
            drained: 0,
            done: 0,
            signal: None,
            enough: false,
            timed_out: false,
            started: jiff::Timestamp::now(),
            connected: Duration::ZERO,
            measured: Duration::ZERO,
            measure_from: u64::MAX,
            last_settled: 0,
            stopped_at: None,
            memory: (machine::resident(), 0),
            told: 0,
            control,
        };
        for index in 0..shards {
            let (back, used) = std::sync::mpsc::channel();
            conductor.used.push(back);
            let share = |messages: u64| messages / shards as u64 + u64::from((index as u64) < messages % shards as u64);
            let assignment = Assignment {
                index,
                shards,
                plan: Arc::clone(plan),
                run,
                epoch: conductor.epoch,
                budget: plan.messages.filter(|_| plan.ends_by_count() && plan.kind.sends()).map(share),
                broadcasts: Arc::clone(&conductor.broadcasts),
                commands: conductor.commands.subscribe(),
                turns: conductor.turns.subscribe(),
                events: report.clone(),
                used,
            };
            let thread =
                shard::spawn(assignment).map_err(|error| Error::Internal(format!("cannot start a thread: {error}")))?;
            conductor.threads.push(thread);
        }
        Ok(conductor)
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.phase_since = Instant::now();
    }

    async fn conduct(&mut self) -> Result<(), Error> {
        let mut live = tokio::time::interval(LIVE);
        let ending = self.plan.deadline + self.plan.close_timeout;
        let mut limit = self.plan.timeout.map(|limit| TimeLimit::new(limit, ending));
        let mut last = None;
        loop {
            if self.signal.is_some() && last.is_none() {
                last = Some(TimeLimit::after_signal());
            }
            let late = poll_fn(|cx| last.as_mut().map_or(Poll::Pending, |last: &mut TimeLimit| last.poll(cx)));
            let due = poll_fn(|cx| limit.as_mut().map_or(Poll::Pending, |limit| limit.poll(cx)));
            tokio::select! {
                signal = self.control.signals.next() => self.interrupt(signal),
                () = self.control.enough.notified() => {
                    self.enough = true;
                    self.stop();
                }
                due = due => {
                    self.timed_out = true;
                    match due {
                        Due::Stop => self.stop(),
                        Due::Cut => {
                            self.stopped_at.get_or_insert(self.now());
                            let _ = self.commands.send(Command::Abort);
                        }
                    }
                }
                late = late => match late {
                    Due::Stop if self.phase != Phase::Close => self.close(),
                    Due::Stop => {}
                    Due::Cut => {
                        let _ = self.commands.send(Command::Abort);
                    }
                },
                event = self.events.recv() => match event {
                    Some(event) => self.take(event).await,
                    None => return Ok(()),
                },
                _ = live.tick() => self.look(),
            }
            if self.done == self.threads.len() {
                return Ok(());
            }
            // A thread that has gone without a word would never answer.
            if self.threads.iter().any(JoinHandle::is_finished) && self.done == 0 {
                while let Ok(event) = self.events.try_recv() {
                    self.take(event).await;
                }
                if self.done == 0 {
                    let _ = self.commands.send(Command::Abort);
                    return Ok(());
                }
            }
        }
    }

    fn close(&mut self) {
        self.memory.1 = self.memory.1.max(machine::resident());
        let _ = self.commands.send(Command::Close);
        self.enter(Phase::Close);
    }

    async fn take(&mut self, event: Event) {
        match event {
            Event::Interval(mut interval) => {
                self.gathered.add(&mut interval);
                interval.clear();
                let shard = interval.shard;
                // A shard that has ended needs none.
                let _ = self.used[shard].send(interval);
                self.end_by_count();
            }
            Event::Facts(facts) => {
                if self.facts.address.is_empty() {
                    self.facts = *facts;
                }
            }
            Event::Ready { last, opened } => {
                self.connected = self.connected.max(Duration::from_nanos(last));
                self.ready += 1;
                self.opened += opened;
                if self.ready == self.threads.len() && self.phase == Phase::Connect {
                    if self.opened > 0 || self.plan.connection_course.is_some() {
                        self.begin().await;
                    } else {
                        self.close();
                    }
                }
            }
            Event::Drained(last) => {
                self.last_settled = self.last_settled.max(last);
                self.drained += 1;
                if self.drained == self.threads.len() && self.phase != Phase::Close {
                    self.finish_measuring();
                    self.close();
                }
            }
            Event::Done => self.done += 1,
        }
    }

    async fn begin(&mut self) {
        tokio::time::sleep(SETTLE).await;
        self.memory.1 = machine::resident();
        self.broadcasts.set_receivers(self.plan.connections as u64);
        // A whole microsecond: that is what markers tell.
        let start = (self.now() + SETTLE.as_nanos() as u64) / 1000 * 1000;
        let warmup = self.plan.warmup.as_nanos() as u64;
        self.measure_from = start + warmup;
        self.gathered.begin(self.measure_from, warmup);
        let _ = self.commands.send(Command::Start(start));
        self.enter(if warmup > 0 { Phase::Warmup } else { Phase::Measure });
    }

    /// Where the server speaks, a number of messages ends the run from here.
    fn end_by_count(&mut self) {
        let enough = self.plan.messages.is_some_and(|messages| self.gathered.measured.received >= messages);
        if enough && self.plan.kind == Kind::Push && self.phase == Phase::Measure {
            self.stop();
        }
    }

    fn measure_to(&self) -> u64 {
        let planned = self.measure_from.saturating_add(self.plan.measured().as_nanos() as u64);
        let end = if self.plan.ends_by_count() { self.last_settled } else { planned };
        self.stopped_at.map_or(end, |stopped| stopped.min(end.max(self.last_settled)))
    }

    fn finish_measuring(&mut self) {
        if self.measure_from == u64::MAX {
            return;
        }
        let end = self.measure_to();
        self.measured = Duration::from_nanos(end.saturating_sub(self.measure_from));
        self.gathered.end(end);
    }

    /// When the first message was due.
    fn began(&self) -> u64 {
        self.measure_from.saturating_sub(self.plan.warmup.as_nanos() as u64)
    }

    /// Ends the threads; what one of them died of.
    fn end(&mut self) -> Result<(), Error> {
        if self.measured.is_zero() {
            self.finish_measuring();
        }
        let _ = self.commands.send(Command::Abort);
        self.events.close();
        self.gathered.finish();
        self.tell_seconds();
        let mut result = Ok(());
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok(())) => {}
                Ok(Err(text)) => result = Err(Error::Internal(text)),
                Err(_) => result = Err(Error::Internal("a thread of the load generator failed".to_owned())),
            }
        }
        result
    }
}
