//! The last resort: a process that has to end and does not.
//!
//! A thread waits for SIGINT and SIGTERM beside whoever takes them. When nobody has taken the first within two seconds,
//! the program is stuck: the terminal is given back, and the process ends with the code that belongs to the signal. The
//! same happens to a run that is to end soon ([`ends_soon`]) and hangs in its end, as on a terminal that nobody reads.
//! Invariant: who is not stuck ends in order.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::Exit;

/// How long the first signal may lie untaken.
const PATIENCE: Duration = Duration::from_millis(1800);
/// How long the last words may take.
const TO_TELL: Duration = Duration::from_millis(100);
/// Between two looks whether it was taken.
const LOOK: Duration = Duration::from_millis(50);

static SIGNALLED: OnceLock<Instant> = OnceLock::new();
static TAKEN: AtomicBool = AtomicBool::new(false);
static ENDS_SOON: AtomicBool = AtomicBool::new(false);
static RESTORES: Mutex<Vec<fn()>> = Mutex::new(Vec::new());

/// When the first signal came.
pub fn signalled() -> Option<Instant> {
    SIGNALLED.get().copied()
}

/// Somebody has taken a signal.
pub(super) fn taken() {
    TAKEN.store(true, Ordering::Relaxed);
}

/// The run ends within two seconds of a signal, also when that was taken.
pub fn ends_soon() {
    ENDS_SOON.store(true, Ordering::Relaxed);
}

/// Has this done before the process ends by force.
pub fn restore_with(restore: fn()) {
    let mut restores = RESTORES.lock().unwrap_or_else(PoisonError::into_inner);
    if !restores.contains(&restore) {
        restores.push(restore);
    }
}

/// Ends the process now, with a line on stderr; the terminal is given back. Neither is waited for where nobody reads.
pub fn end(exit: Exit, text: &str) -> ! {
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
    let is_over = || TAKEN.load(Ordering::Relaxed) && !ENDS_SOON.load(Ordering::Relaxed);
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let Some(first) = signals.forever().next() else { return };
        let _ = SIGNALLED.set(Instant::now());
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if is_over() {
                return;
            }
            thread::sleep(LOOK);
        }
        if !is_over() {
            let exit = if first == SIGINT { Exit::Interrupted } else { Exit::Terminated };
            end(exit, "the program did not end by itself and was ended by force");
        }
    })?;
    Ok(())
}
