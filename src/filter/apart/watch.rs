//! Looks at work done apart: how long it takes, how much the memory of the process grows, whether the run ends.
//!
//! Work that goes past a limit is asked to stop. What does not stop within a second cannot: waiters are notified, and
//! the run ends with exit code 7, in order when it can and by force when it cannot. The thread sleeps while there is no
//! work.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Job, Stopped, lock};
use crate::exit::Exit;
use crate::host::last;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);
/// Looks without work before the thread sleeps until there is some.
const IDLE_LOOKS: u32 = 100;
/// How long work may take to stop.
const TO_STOP: Duration = Duration::from_millis(1500);
/// The same where it goes on taking memory, and how much that is beside the limit.
const TO_LET_GO: Duration = Duration::from_millis(300);
const TOO_MUCH: u64 = 1 << 30;
/// How long work may go on once the run ends, and how much of that each piece has at least.
const TO_END: Duration = Duration::from_millis(500);
const LEAST: Duration = Duration::from_millis(50);
/// How long the run may take to end in order when work cannot be stopped.
const IN_ORDER: Duration = Duration::from_millis(1900);

/// What a filter may take for one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// `None` is as long as it likes.
    pub time: Option<Duration>,
    /// Bytes that the process may grow by.
    pub memory: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Some(Duration::from_secs(5)), memory: 1 << 30 }
    }
}

static LIMITS: OnceLock<Limits> = OnceLock::new();
static FATAL: OnceLock<String> = OnceLock::new();

/// Sets the limits of this process, once.
pub(crate) fn limit(limits: Limits) {
    let _ = LIMITS.set(limits);
}

fn limits() -> Limits {
    // Unit tests share a process: what one of them takes is not another's.
    let default = if cfg!(test) { Limits { time: None, memory: u64::MAX } } else { Limits::default() };
    LIMITS.get().copied().unwrap_or(default)
}

/// Why the run ends because of a filter that cannot be stopped.
pub(crate) fn fatal() -> Option<&'static str> {
    FATAL.get().map(String::as_str)
}

pub(super) fn time_text() -> String {
    format!("{:?}", limits().time.unwrap_or_default())
}

pub(super) fn memory_text() -> String {
    let bytes = limits().memory;
    match [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
        .into_iter()
        .find(|(_, unit)| bytes.is_multiple_of(*unit))
    {
        Some((name, unit)) => format!("{} {name}", bytes / unit),
        None => format!("{bytes} bytes"),
    }
}

/// Where a thread says what it does.
#[derive(Default)]
pub(super) struct Slot {
    job: Mutex<Option<Arc<Job>>>,
    /// Memory of the process when its work was seen first, and since when it should have stopped.
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    base: Option<u64>,
    asked: Option<Instant>,
}

struct Watch {
    slots: Mutex<Vec<Arc<Slot>>>,
    sleeps: AtomicBool,
    thread: OnceLock<thread::Thread>,
}

static WATCH: Watch = Watch { slots: Mutex::new(Vec::new()), sleeps: AtomicBool::new(false), thread: OnceLock::new() };

pub(super) fn slot() -> Arc<Slot> {
    let slot = Arc::new(Slot::default());
    lock(&WATCH.slots).push(Arc::clone(&slot));
    WATCH.thread.get_or_init(|| match thread::Builder::new().name("filter watch".to_owned()).spawn(watch) {
        Ok(handle) => handle.thread().clone(),
        Err(_) => thread::current(),
    });
    slot
}

pub(super) fn remove(slot: &Arc<Slot>) {
    lock(&WATCH.slots).retain(|other| !Arc::ptr_eq(other, slot));
}

impl Slot {
    pub(super) fn begin(&self, job: &Arc<Job>) {
        *lock(&self.job) = Some(Arc::clone(job));
        if WATCH.sleeps.swap(false, Ordering::SeqCst)
            && let Some(thread) = WATCH.thread.get()
        {
            thread.unpark();
        }
    }

    pub(super) fn end(&self) {
        *lock(&self.job) = None;
        *lock(&self.seen) = Seen::default();
    }
}

fn watch() {
    let mut idle = 0;
    loop {
        let slots = lock(&WATCH.slots).clone();
        let mut works = false;
        for slot in slots {
            let job = lock(&slot.job).clone();
            if let Some(job) = job {
                works = true;
                look(&slot, &job);
            }
        }
        idle = if works { 0 } else { idle + 1 };
        if idle > IDLE_LOOKS {
            // Code that begins work from here on wakes this thread, also when it is not asleep yet.
            if WATCH.sleeps.swap(true, Ordering::SeqCst) {
                thread::park();
            }
        } else {
            thread::sleep(LOOK);
        }
    }
}

/// Bytes of memory the process has.
fn memory() -> Option<u64> {
    memory_stats::memory_stats().map(|stats| stats.physical_mem as u64)
}

fn look(slot: &Slot, job: &Job) {
    let Some(started) = lock(&job.state).started else { return };
    let now = Instant::now();
    let took = now.saturating_duration_since(started);
    let limits = limits();
    let memory = memory().unwrap_or_default();
    let mut seen = lock(&slot.seen);
    let base = *seen.base.get_or_insert(memory);
    let grown = memory.saturating_sub(base);
    let ending = last::signalled().map(|at| now.saturating_duration_since(at));
    let why = if ending.is_some_and(|since| since > TO_END && took > LEAST) {
        Some(Stopped::Ending)
    } else if limits.time.is_some_and(|time| took > time) {
        Some(Stopped::Time)
    } else {
        (grown > limits.memory).then_some(Stopped::Memory)
    };
    if let Some(why) = why {
        job.stop(why);
    }
    let Some(why) = job.stopped() else { return };
    let asked = *seen.asked.get_or_insert(now);
    let patience = match why {
        Stopped::Ending => TO_END,
        // It stops by itself, and is on its way.
        Stopped::Depth => TO_STOP * 10,
        _ => TO_STOP,
    };
    let waited = now.saturating_duration_since(asked);
    let devours = waited > TO_LET_GO && grown > limits.memory.saturating_add(limits.memory.max(TOO_MUCH));
    if waited > patience || devours {
        give_up(job, why, devours);
    }
    if FATAL.get().is_some() && (waited > patience + IN_ORDER || devours) {
        last::end(Exit::Compile, fatal().unwrap_or_default());
    }
}

/// The work cannot be stopped.
fn give_up(job: &Job, why: Stopped, devours: bool) {
    if job.has_ended() {
        return;
    }
    match why {
        Stopped::Ending => {}
        Stopped::Unwanted if !devours => return,
        _ => {
            let why = if devours { Stopped::Memory } else { why };
            if FATAL.set(format!("{why} and cannot be stopped")).is_ok() {
                // The run ends as if somebody had asked for it.
                let _ = kill(Pid::this(), Signal::SIGTERM);
            }
        }
    }
    job.end(Err(why.to_string()));
}
