//! The terminal's settings, kept and put back: on return, on error, on panic.
//!
//! The editing thread may be in the middle of a line when the process ends; nobody can interrupt
//! it, so its work is undone from outside.

use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use nix::sys::termios::{SetArg, Termios, tcgetattr, tcsetattr};

/// Ends bracketed paste and shows the cursor.
const SANE: &[u8] = b"\x1b[?2004l\x1b[?25h\r\n";

/// Whether a line is being edited right now.
#[derive(Debug, Clone, Default)]
pub struct Editing(Arc<AtomicBool>);

impl Editing {
    /// The terminal is about to be taken over.
    pub fn begin(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// The terminal was given back.
    pub fn end(&self) {
        self.0.store(false, Ordering::SeqCst);
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
}

impl Kept {
    fn restore(&self) {
        let termios = self.termios.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(termios) = termios
            && self.editing.0.load(Ordering::SeqCst)
        {
            let _ = io::stdout().write_all(SANE).and_then(|()| io::stdout().flush());
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, &termios);
        }
    }
}

impl TerminalGuard {
    /// Keeps the settings of the terminal on standard input.
    ///
    /// # Errors
    /// When standard input is no terminal.
    pub fn new() -> io::Result<Self> {
        static HOOK: OnceLock<()> = OnceLock::new();
        static PANICKED: Mutex<Option<Arc<Kept>>> = Mutex::new(None);
        let termios = tcgetattr(io::stdin()).map_err(io::Error::from)?;
        let kept = Arc::new(Kept { termios: Mutex::new(Some(termios)), editing: Editing::default() });
        *PANICKED.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&kept));
        HOOK.get_or_init(|| {
            let report = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                if let Some(kept) = PANICKED.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
                    kept.restore();
                }
                report(panic);
            }));
        });
        Ok(Self { kept })
    }

    /// For the editing thread to say what it is doing.
    pub fn editing(&self) -> Editing {
        self.kept.editing.clone()
    }
}

impl Drop for TerminalGuard {
    fn drop(&mut self) {
        self.kept.restore();
    }
}
