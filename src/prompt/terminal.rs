//! The terminal's settings, kept and put back: on return, on error, on panic.
//!
//! The editing thread may be in the middle of a line when the process ends; nobody can interrupt
//! it, so its work is undone from outside.

use std::io::{self, Write as _};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::{PATIENCE, status};
use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

/// How many columns the terminal on standard output has.
#[must_use]
pub fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(io::stdout());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(80)
}

/// Ends bracketed paste and a synchronized update, and shows the cursor.
const SANE: &[u8] = b"\x1b[?2026l\x1b[?2004l\x1b[?25h";

/// Whether a line is being edited right now.
#[derive(Debug, Clone, Default)]
pub struct Editing(Arc<Mutex<Stage>>);

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
    pub fn begin(&self) {
        if !self.step(Stage::Idle, Stage::Editing) {
            loop {
                std::thread::park();
            }
        }
    }

    /// The terminal was given back.
    pub fn end(&self) {
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

/// Puts the terminal back as it was found, once.
#[derive(Debug)]
pub struct TerminalGuard {
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
            let mut out = io::stdout().lock();
            let newline: &[u8] = if line_is_clear { b"" } else { b"\r\n" };
            let _ = out.write_all(SANE).and_then(|()| out.write_all(newline)).and_then(|()| out.flush());
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &termios);
        }
    }
}

impl TerminalGuard {
    /// Keeps the settings of the terminal on standard input.
    ///
    /// # Errors
    /// When standard input is no terminal.
    pub fn new(status: Arc<status::Shared>) -> io::Result<Self> {
        static HOOK: OnceLock<()> = OnceLock::new();
        static PANICKED: Mutex<Option<Arc<Kept>>> = Mutex::new(None);
        let termios = tcgetattr(io::stdin()).map_err(io::Error::from)?;
        let kept = Arc::new(Kept { termios: Mutex::new(Some(termios)), editing: Editing::default(), status });
        *PANICKED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&kept));
        HOOK.get_or_init(|| {
            let report = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                if let Some(kept) = PANICKED.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                    // Until its line is drawn the editor may still be changing the terminal.
                    kept.status.end();
                    kept.status.has_ended(PATIENCE);
                    kept.restore(false);
                }
                report(panic);
            }));
        });
        Ok(Self { kept })
    }

    /// Whether a line is being edited right now; if not, none will be any more.
    pub fn is_editing(&self) -> bool {
        !self.kept.editing.is_over()
    }

    /// Puts the terminal back; unless its line is clear the shell's prompt gets one of its own.
    pub fn restore(&self, line_is_clear: bool) {
        self.kept.restore(line_is_clear);
    }

    /// For the editing thread to say what it is doing.
    pub fn editing(&self) -> Editing {
        self.kept.editing.clone()
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        self.kept.restore(false);
    }
}
