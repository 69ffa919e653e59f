//! Work done apart from everything else, on threads where it can be stopped: filters that are not quick.
//!
//! All work with filters is begun with [`begin`]: in place, and on such a thread once a filter of it is not quick. Such
//! a thread has a large stack, so that a value as deep as the memory allows can be made, compared and dropped. `watch`
//! looks at time and memory, and says when a piece of work must stop; the work looks often whether it must ([`tick`]),
//! and then ends by unwinding. Invariants: every waiter gets an answer, also of work that cannot be stopped, which ends
//! the run; what nobody waits for any more is stopped.

mod begun;
mod watch;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use begun::{Begun, Turn, begin};
pub(super) use begun::{NotQuick, leave, not_quick};
pub(crate) use watch::{Limits, fatal, limit};

/// Sizes of a thread's stack, tried in this order. Only what is used of it takes memory.
const STACKS: [usize; 5] = [8 << 30, 2 << 30, 512 << 20, 128 << 20, 32 << 20];
/// Most of a stack that a program may take by calling itself: unwinding it takes time.
const MAX_CALLS: usize = 32 << 20;
/// Most pieces of work at a time; others wait.
const MAX_THREADS: usize = 8;
/// How long the code that starts work waits for it before doing other things: a pass over hundreds of messages stays
/// short.
const BRIEFLY: Duration = Duration::from_micros(200);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stopped {
    /// It took longer than it may.
    Time = 1,
    /// It took more memory than it may.
    Memory = 2,
    /// It calls itself too often for the stack.
    Depth = 3,
    /// The run ends.
    Ending = 4,
    Unwanted = 5,
}

impl Stopped {
    fn of(number: u8) -> Option<Self> {
        [Self::Time, Self::Memory, Self::Depth, Self::Ending, Self::Unwanted]
            .into_iter()
            .find(|why| *why as u8 == number)
    }
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Time => write!(f, "the filter ran longer than {} (--jq-timeout)", watch::time_text()),
            Self::Memory => write!(f, "the filter used more memory than {} (--jq-memory)", watch::memory_text()),
            Self::Depth => f.write_str("the filter calls itself too deeply"),
            Self::Ending | Self::Unwanted => f.write_str("the filter was stopped"),
        }
    }
}

type Work = Box<dyn FnOnce() + Send>;

/// A piece of work, as the one who waits, the thread and the watch see it.
#[derive(Default)]
struct Job {
    /// A [`Stopped`], once it must end.
    stop: AtomicU8,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    started: Option<Instant>,
    end: Option<Result<(), String>>,
    wakers: Vec<Waker>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Job {
    fn stop(&self, why: Stopped) {
        // The first reason counts.
        let _ = self.stop.compare_exchange(0, why as u8, Ordering::Relaxed, Ordering::Relaxed);
    }

    fn stopped(&self) -> Option<Stopped> {
        Stopped::of(self.stop.load(Ordering::Relaxed))
    }

    fn has_ended(&self) -> bool {
        lock(&self.state).end.is_some()
    }

    fn end(&self, end: Result<(), String>) {
        let mut state = lock(&self.state);
        if state.end.is_none() {
            state.end = Some(end);
            std::mem::take(&mut state.wakers).into_iter().for_each(Waker::wake);
            self.changed.notify_all();
        }
    }
}

/// Work under way, whose result somebody waits for. Dropped, it is stopped.
pub(crate) struct Task<T> {
    job: Arc<Job>,
    result: Arc<Mutex<Option<T>>>,
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Task")
    }
}

impl<T> Task<T> {
    /// Waits for the result, and does nothing else.
    ///
    /// # Errors
    /// When the work cannot be stopped, and the run ends because of it.
    pub(crate) fn wait(self) -> Result<T, String> {
        let mut state = lock(&self.job.state);
        while state.end.is_none() {
            state = self.job.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let end = state.end.clone().unwrap_or(Ok(()));
        drop(state);
        self.result(end)
    }

    /// Whether it is done within a time so short that nothing else suffers.
    pub(crate) fn is_done_soon(&self) -> bool {
        let state = lock(&self.job.state);
        let waited = self.job.changed.wait_timeout_while(state, BRIEFLY, |state| state.end.is_none());
        waited.is_ok_and(|(state, _)| state.end.is_some())
    }

    /// Whether it was stopped because the run ends.
    pub(crate) fn is_cut_short(&self) -> bool {
        self.job.stopped() == Some(Stopped::Ending)
    }

    /// The result, once it is there; else every waker that asked is called when it is.
    ///
    /// # Errors
    /// As [`Task::wait`].
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, String>> {
        let mut state = lock(&self.job.state);
        let Some(end) = state.end.clone() else {
            if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.wakers.push(cx.waker().clone());
            }
            return Poll::Pending;
        };
        drop(state);
        Poll::Ready(self.result(end))
    }

    fn result(&self, end: Result<(), String>) -> Result<T, String> {
        end?;
        lock(&self.result).take().ok_or_else(|| "the filter failed with an internal error".to_owned())
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.job.stop(Stopped::Unwanted);
    }
}

/// Starts work on a thread of its own kind.
pub(crate) fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Task<T> {
    let task = Task { job: Arc::new(Job::default()), result: Arc::new(Mutex::new(None)) };
    let result = Arc::clone(&task.result);
    let work = move || {
        let value = work();
        *lock(&result) = Some(value);
    };
    pool().submit(Arc::clone(&task.job), Box::new(work));
    task
}

/// What waits, and the threads that do it.
#[derive(Default)]
struct Pool {
    queue: Mutex<Queue>,
    filled: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Arc<Job>, Work)>,
    threads: usize,
    idle: usize,
}

fn pool() -> &'static Pool {
    static POOL: OnceLock<Pool> = OnceLock::new();
    POOL.get_or_init(Pool::default)
}

impl Pool {
    fn submit(&'static self, job: Arc<Job>, work: Work) {
        let mut queue = lock(&self.queue);
        queue.waiting.push_back((job, work));
        if queue.idle < queue.waiting.len() && queue.threads < MAX_THREADS && self.add_thread() {
            queue.threads += 1;
        }
        if queue.threads == 0 {
            let none = "cannot start a thread for the filter".to_owned();
            queue.waiting.drain(..).for_each(|(job, _)| job.end(Err(none.clone())));
        }
        drop(queue);
        self.filled.notify_one();
    }

    fn add_thread(&'static self) -> bool {
        STACKS.into_iter().any(|size| {
            let thread = thread::Builder::new().name("filter".to_owned()).stack_size(size);
            thread.spawn(move || self.work(size)).is_ok()
        })
    }

    fn work(&'static self, stack: usize) {
        let marker = 0_u8;
        // This much for what calls itself, the rest for values that are nested deeply.
        LOWEST.set(std::ptr::from_ref(&marker).addr().saturating_sub((stack / 4).min(MAX_CALLS)));
        APART.set(true);
        let slot = watch::slot();
        let mut used_up = false;
        while !used_up {
            let mut queue = lock(&self.queue);
            queue.idle += 1;
            let (job, work) = loop {
                match queue.waiting.pop_front() {
                    Some(next) => break next,
                    None => queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner),
                }
            };
            queue.idle -= 1;
            drop(queue);
            if job.stopped().is_some() {
                job.end(Err("the filter was stopped".to_owned()));
                continue;
            }
            lock(&job.state).started = Some(Instant::now());
            slot.begin(&job);
            JOB.set(Some(Arc::clone(&job)));
            let result: Result<(), Box<dyn Any + Send>> = catch_unwind(AssertUnwindSafe(work));
            JOB.set(None);
            slot.end();
            drop(result);
            // What was stopped may have used much of the stack, which is given back with the thread.
            used_up = job.stopped().is_some_and(|why| why != Stopped::Unwanted);
            job.end(Ok(()));
        }
        let mut queue = lock(&self.queue);
        queue.threads -= 1;
        if !queue.waiting.is_empty() && self.add_thread() {
            queue.threads += 1;
        }
        drop(queue);
        watch::remove(&slot);
    }
}

thread_local! {
    static APART: Cell<bool> = const { Cell::new(false) };
    static LOWEST: Cell<usize> = const { Cell::new(0) };
    static JOB: RefCell<Option<Arc<Job>>> = const { RefCell::new(None) };
}

/// Whether this is a thread where work can be stopped.
pub(crate) fn is_apart() -> bool {
    APART.get()
}

/// Ends the work on this thread by unwinding when it must stop.
pub(crate) fn tick() {
    if !APART.get() {
        return;
    }
    let marker = 0_u8;
    let is_deep = std::ptr::from_ref(&marker).addr() < LOWEST.get();
    let stopped = JOB.with_borrow(|job| {
        let job = job.as_ref()?;
        if is_deep {
            job.stop(Stopped::Depth);
        }
        job.stopped()
    });
    if let Some(why) = stopped {
        resume_unwind(Box::new(why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_never_ends_is_stopped_when_nobody_waits_for_it() {
        let (sender, stopped) = std::sync::mpsc::channel();
        let task = start(move || {
            let sender = sender;
            let _ = catch_unwind(AssertUnwindSafe(|| {
                loop {
                    tick();
                }
            }));
            let _ = sender.send(());
        });
        assert!(!task.is_done_soon());
        drop(task);
        // It may not even have begun.
        let stopped = stopped.recv_timeout(Duration::from_secs(60));
        assert!(stopped != Err(std::sync::mpsc::RecvTimeoutError::Timeout), "it stops");
    }

    #[test]
    fn work_that_panics_is_an_error_and_what_calls_itself_has_an_end() {
        fn deeper(level: u64) -> u64 {
            tick();
            if level == u64::MAX { level } else { deeper(level + 1) + 1 }
        }
        assert!(start::<()>(|| resume_unwind(Box::new("no"))).wait().is_err());
        assert_eq!(start(|| 7).wait(), Ok(7));
        let task = start(|| catch_unwind(|| deeper(0)).map_err(|payload| *payload.downcast::<Stopped>().expect("why")));
        assert_eq!(task.wait(), Ok(Err(Stopped::Depth)));
    }
}
