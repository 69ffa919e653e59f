//! The last resort: a process that has to end and does not.
//!
//! A thread waits for SIGINT and SIGTERM beside whoever takes them. When nobody has taken the first within two seconds,
//! the program is stuck: the terminal is given back, and the process ends with the code that belongs to the signal.
//! Invariant: who is not stuck ends in order, however long that takes.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::libc::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::exit::Exit;

/// How long the first signal may lie untaken.
const PATIENCE: Duration = Duration::from_millis(1900);
/// Between two looks whether it was taken.
const LOOK: Duration = Duration::from_millis(50);

static SIGNALLED: OnceLock<Instant> = OnceLock::new();
static TAKEN: AtomicBool = AtomicBool::new(false);
static RESTORES: Mutex<Vec<fn()>> = Mutex::new(Vec::new());

/// When the first signal came.
pub fn signalled() -> Option<Instant> {
    SIGNALLED.get().copied()
}

/// Somebody has taken a signal.
pub(super) fn taken() {
    TAKEN.store(true, Ordering::Relaxed);
}

/// Has this done before the process ends by force.
pub fn restore_with(restore: fn()) {
    let mut restores = RESTORES.lock().unwrap_or_else(PoisonError::into_inner);
    if !restores.contains(&restore) {
        restores.push(restore);
    }
}

/// Ends the process now, with a line on stderr; the terminal is given back.
pub fn end(exit: Exit, text: &str) -> ! {
    let restores = RESTORES.lock().unwrap_or_else(PoisonError::into_inner).clone();
    for restore in restores {
        restore();
    }
    let line = if text.is_empty() { String::new() } else { format!("wsp: {text}\n") };
    let _ = io::Write::write_all(&mut io::stderr().lock(), line.as_bytes());
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
        let _ = SIGNALLED.set(Instant::now());
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if TAKEN.load(Ordering::Relaxed) {
                return;
            }
            thread::sleep(LOOK);
        }
        if !TAKEN.load(Ordering::Relaxed) {
            let exit = if first == SIGINT { Exit::Interrupted } else { Exit::Terminated };
            end(exit, "the program did not end by itself and was ended by force");
        }
    })?;
    Ok(())
}
