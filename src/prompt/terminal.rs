//! The terminal's settings, kept and put back: on return, on error, on panic.
//!
//! The editing thread may be in the middle of a line when the process ends; nobody can interrupt
//! it, so its work is undone from outside.

use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::Context;
use std::time::{Duration, Instant};

use super::{PATIENCE, status};
use nix::sys::signal::{Signal, raise};
use nix::sys::termios::{
    ControlFlags, InputFlags, LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr,
};
use nix::unistd::{getpgrp, getsid};
use tokio::signal::unix::{Signal as Arrivals, SignalKind, signal};

/// How many columns the terminal on standard output has.
#[must_use]
pub(crate) fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(80)
}

/// Ends bracketed paste and a synchronized update, and shows the cursor.
const SANE: &[u8] = b"\x1b[?2026l\x1b[?2004l\x1b[?25h";

const PASTES: &[u8] = b"\x1b[?2004h";
/// Longest time the editor needs to take the terminal again.
const TAKEN: Duration = Duration::from_millis(100);

/// Whether a line is being edited right now.
#[derive(Debug, Clone, Default)]
pub(crate) struct Editing(Arc<Mutex<Stage>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// The terminal is as it was found.
    #[default]
    Idle,
    /// It is, or is about to be, the editor's.
    Editing,
    /// It stays as it was found.
    Over,
}

impl Editing {
    /// The terminal is about to be taken over; does not return once it has been given back for good.
    pub(crate) fn begin(&self) {
        if !self.step(Stage::Idle, Stage::Editing) {
            loop {
                std::thread::park();
            }
        }
    }

    /// The terminal was given back.
    pub(crate) fn end(&self) {
        self.step(Stage::Editing, Stage::Idle);
    }

    /// Nothing may take the terminal over any more; false when something has.
    fn is_over(&self) -> bool {
        self.step(Stage::Idle, Stage::Over) || self.stage() == Stage::Over
    }

    fn stage(&self) -> Stage {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Goes from one stage to another; false when it was in none such.
    fn step(&self, from: Stage, to: Stage) -> bool {
        let mut stage = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let steps = *stage == from;
        if steps {
            *stage = to;
        }
        steps
    }
}

/// The signals that stop the process and let it go on.
#[derive(Debug)]
pub(crate) struct Stops {
    stopped: Arrivals,
    resumed: Arrivals,
}

impl Stops {
    /// Takes them from now on.
    ///
    /// # Errors
    /// When that is not possible.
    pub(crate) fn install() -> io::Result<Self> {
        let arrivals = |kind| signal(SignalKind::from_raw(kind));
        Ok(Self { stopped: arrivals(nix::libc::SIGTSTP)?, resumed: arrivals(nix::libc::SIGCONT)? })
    }

    /// Does what they ask for; whether there were any.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, guard: &TerminalGuard) -> bool {
        let mut came = false;
        while self.stopped.poll_recv(cx).is_ready() {
            guard.suspend();
            came = true;
        }
        while self.resumed.poll_recv(cx).is_ready() {
            guard.resume();
            came = true;
        }
        came
    }
}

/// Puts the terminal back as it was found, once.
#[derive(Debug)]
pub(crate) struct TerminalGuard {
    kept: Arc<Kept>,
}

#[derive(Debug)]
struct Kept {
    termios: Mutex<Option<Termios>>,
    editing: Editing,
    status: Arc<status::Shared>,
}

impl Kept {
    fn restore(&self, line_is_clear: bool) {
        let termios = self.termios.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(termios) = termios
            && !self.editing.is_over()
        {
            // First, and at once: where nobody reads the terminal, writing to it does not return.
            let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &termios);
            let mut out = io::stdout().lock();
            let newline: &[u8] = if line_is_clear { b"" } else { b"\r\n" };
            let _ = out.write_all(SANE).and_then(|()| out.write_all(newline)).and_then(|()| out.flush());
        }
    }
}

/// The terminal that was kept last.
static LAST: Mutex<Option<Arc<Kept>>> = Mutex::new(None);

/// Puts it back when the process panics or ends by force.
fn restore_last() {
    if let Some(kept) = LAST.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
        // Until its line is drawn the editor may still be changing the terminal.
        kept.status.end();
        kept.status.has_ended(PATIENCE);
        kept.restore(false);
    }
}

impl TerminalGuard {
    /// Keeps the settings of the terminal on standard input.
    ///
    /// # Errors
    /// When standard input is not a terminal.
    pub(crate) fn new(status: Arc<status::Shared>) -> io::Result<Self> {
        static HOOK: OnceLock<()> = OnceLock::new();
        let termios = tcgetattr(io::stdin()).map_err(io::Error::from)?;
        let kept = Arc::new(Kept { termios: Mutex::new(Some(termios)), editing: Editing::default(), status });
        *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&kept));
        HOOK.get_or_init(|| {
            crate::host::last::restore_with(restore_last);
            let report = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore_last();
                report(panic);
            }));
        });
        Ok(Self { kept })
    }

    /// Whether a line is being edited right now; if not, none will be any more.
    pub(crate) fn is_editing(&self) -> bool {
        !self.kept.editing.is_over()
    }

    /// Puts the terminal back; unless its line is clear the shell's prompt gets one of its own.
    pub(crate) fn restore(&self, line_is_clear: bool) {
        self.kept.restore(line_is_clear);
    }

    /// SIGTSTP came: stops here, the terminal as it was found, until somebody brings the process back.
    ///
    /// The editor gives the terminal back before it sends that signal, but takes it again at once.
    pub(crate) fn suspend(&self) {
        // Shells that can bring it back give each job a group of its own.
        if getsid(None).is_ok_and(|session| session == getpgrp()) {
            return self.resume();
        }
        let termios = self.kept.termios.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(termios) = termios.filter(|_| self.kept.editing.stage() == Stage::Editing) {
            let taken = Instant::now() + TAKEN;
            while tcgetattr(io::stdin()).is_ok_and(|now| now.local_flags.contains(LocalFlags::ICANON))
                && Instant::now() < taken
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            let mut out = io::stdout().lock();
            let _ = out.write_all(SANE).and_then(|()| out.write_all(b"\r\n")).and_then(|()| out.flush());
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &termios);
        }
        let _ = raise(Signal::SIGSTOP);
        self.resume();
    }

    /// The process was stopped and goes on: a line that is being edited has its terminal again.
    pub(crate) fn resume(&self) {
        let termios = self.kept.termios.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(mut raw) = termios.filter(|_| self.kept.editing.stage() == Stage::Editing) {
            // As the editor has it.
            raw.input_flags.remove(
                InputFlags::BRKINT | InputFlags::ICRNL | InputFlags::INPCK | InputFlags::ISTRIP | InputFlags::IXON,
            );
            raw.control_flags.insert(ControlFlags::CS8);
            raw.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::IEXTEN | LocalFlags::ISIG);
            raw.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
            raw.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw);
            let mut out = io::stdout().lock();
            let _ = out.write_all(PASTES).and_then(|()| out.flush());
        }
    }

    /// For the editing thread to say what it is doing.
    pub(crate) fn editing(&self) -> Editing {
        self.kept.editing.clone()
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        self.kept.restore(false);
    }
}
