//! The last resort: a process that has to end and does not.
//!
//! A thread waits for SIGINT and SIGTERM beside whoever takes them. The program is stuck when nobody has taken the first
//! within two seconds, when it lives on for two seconds after a second one, or when a run that is to end soon
//! ([`ends_soon`]) does not, as on a terminal that nobody reads. Then the terminal is given back, and the process ends
//! with the code that belongs to the signal. Invariant: who is not stuck ends in order.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::Exit;

/// Signals of a kind that come within this time are one.
pub(super) const TOGETHER: Duration = Duration::from_millis(100);
/// How long the first signal may lie untaken.
const PATIENCE: Duration = Duration::from_millis(1800);
/// How long the last words may take.
const TO_TELL: Duration = Duration::from_millis(100);
/// Between two looks whether it was taken.
const LOOK: Duration = Duration::from_millis(50);

static SIGNALLED: OnceLock<Instant> = OnceLock::new();
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Since when an end by itself is due within two seconds.
static ENDS_SOON: Mutex<Option<Instant>> = Mutex::new(None);
static RESTORES: Mutex<Vec<fn()>> = Mutex::new(Vec::new());

/// When the first signal came.
pub(crate) fn signalled() -> Option<Instant> {
    SIGNALLED.get().copied()
}

/// Somebody has taken a signal.
pub(super) fn taken() {
    TAKEN.store(true, Ordering::Relaxed);
}

/// A signalled run ends within two seconds from now, or from the signal if that comes later.
pub(crate) fn ends_soon() {
    ENDS_SOON.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(Instant::now);
}

/// Has this done before the process ends by force.
pub(crate) fn restore_with(restore: fn()) {
    let mut restores = RESTORES.lock().unwrap_or_else(PoisonError::into_inner);
    if !restores.contains(&restore) {
        restores.push(restore);
    }
}

/// Ends the process now, with a line on stderr; the terminal is given back. Neither is waited for where nobody reads.
pub(crate) fn end(exit: Exit, text: &str) -> ! {
    let restores = RESTORES.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let line = if text.is_empty() { String::new() } else { format!("wsp: {text}\n") };
    let (sender, done) = mpsc::channel();
    let told = thread::Builder::new().name("end".to_owned()).spawn(move || {
        for restore in restores {
            restore();
        }
        let _ = io::Write::write_all(&mut io::stderr().lock(), line.as_bytes());
        let _ = sender.send(());
    });
    if told.is_ok() {
        let _ = done.recv_timeout(TO_TELL);
    }
    std::process::exit(i32::from(exit.code()))
}

/// Waits for signals from now on, once a process.
///
/// # Errors
/// When that is not possible.
pub(super) fn watch() -> io::Result<()> {
    static WATCHED: AtomicBool = AtomicBool::new(false);
    if WATCHED.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let Some(first) = signals.forever().next() else { return };
        let at = Instant::now();
        let _ = SIGNALLED.set(at);
        let mut again = None;
        loop {
            thread::sleep(LOOK);
            if signals.pending().count() > 0 && at.elapsed() > TOGETHER {
                again.get_or_insert_with(Instant::now);
            }
            let untaken = (!TAKEN.load(Ordering::Relaxed)).then_some(at);
            let ends_soon = ENDS_SOON.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.max(at));
            let since = untaken.or(again).or(ends_soon);
            if since.is_some_and(|since| since.elapsed() >= PATIENCE) {
                let exit = if first == SIGINT { Exit::Interrupted } else { Exit::Terminated };
                end(exit, "the program did not end by itself and was ended by force");
            }
        }
    })?;
    Ok(())
}
