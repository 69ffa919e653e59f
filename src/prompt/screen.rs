//! What is shown above the line being edited, a frame at a time.
//!
//! A thread hands what has gathered to the editor's printer, at most once a frame, so that ten
//! thousand messages a second cost some redraws a second. Invariants: order is kept; payload waits
//! for room, notices never do; nothing is lost between the last write and [`Screen::flush`].

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustyline::ExternalPrinter;

/// Shortest time between two frames.
const FRAME: Duration = Duration::from_millis(40);
/// Bytes of payload that may wait for a frame.
const ROOM: usize = 512 * 1024;
/// How long to wait for the terminal at the end.
const PATIENCE: Duration = Duration::from_secs(1);
/// Shows nothing, but makes the editor draw its line again. The printer adds a newline to what has
/// none at its end; going up first undoes it.
const REDRAW: &str = "\x1b[A\n";

/// The screen above the prompt; clones show on the same one.
#[derive(Debug, Clone)]
pub struct Screen(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    redraw: bool,
    flush: bool,
    failed: bool,
}

impl Screen {
    /// Starts showing through the editor's printer.
    pub fn new(printer: impl ExternalPrinter + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || show(printer, &theirs));
        Self(shared)
    }

    /// A writer of payload: it waits while a frame is full.
    #[must_use]
    pub fn writer(&self) -> ScreenWriter {
        ScreenWriter(self.clone())
    }

    /// Shows one line, without waiting.
    pub fn line(&self, text: &str) {
        let mut state = self.lock();
        state.waiting.extend_from_slice(text.as_bytes());
        state.waiting.push(b'\n');
        self.0.changed.notify_all();
    }

    /// Draws the prompt again.
    pub fn redraw(&self) {
        self.lock().redraw = true;
        self.0.changed.notify_all();
    }

    /// Returns when everything has been handed to the editor and taken by it, or the terminal takes
    /// no more.
    pub fn flush(&self) {
        let mut state = self.lock();
        state.flush = true;
        self.0.changed.notify_all();
        let deadline = Instant::now() + PATIENCE;
        while state.flush && !state.failed {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Payload on its way to the screen.
#[derive(Debug)]
pub struct ScreenWriter(Screen);

impl io::Write for ScreenWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock();
        while state.waiting.len() >= ROOM && !state.failed {
            state = self.0.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.failed {
            return Err(io::Error::other("the terminal cannot be written"));
        }
        state.waiting.extend_from_slice(bytes);
        self.0.0.changed.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn show(mut printer: impl ExternalPrinter, shared: &Shared) {
    let lock = || shared.state.lock().unwrap_or_else(PoisonError::into_inner);
    let mut next = Instant::now();
    let mut print = |text: String| {
        if printer.print(text).is_err() {
            lock().failed = true;
            shared.changed.notify_all();
        }
    };
    loop {
        let mut state = lock();
        while state.waiting.is_empty() && !state.redraw && !state.flush {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        // What comes within the frame goes with it.
        loop {
            let left = next.saturating_duration_since(Instant::now());
            if left.is_zero() || state.flush {
                break;
            }
            state = shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        let frame = std::mem::take(&mut state.waiting);
        let redraw = std::mem::take(&mut state.redraw);
        let flush = state.flush;
        drop(state);
        shared.changed.notify_all();
        if !frame.is_empty() {
            print(String::from_utf8_lossy(&frame).into_owned());
        } else if redraw {
            print(REDRAW.to_owned());
        } else if flush {
            // The editor's channel holds one item: when it has room again, ours was taken.
            print(REDRAW.to_owned());
            lock().flush = false;
            shared.changed.notify_all();
        }
        next = Instant::now() + FRAME;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::mpsc;

    use super::*;

    struct Recorder(mpsc::Sender<String>);

    impl ExternalPrinter for Recorder {
        fn print(&mut self, text: String) -> rustyline::Result<()> {
            self.0.send(text).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe).into())
        }
    }

    #[test]
    fn everything_is_shown_in_order_and_in_few_frames() {
        let (sender, shown) = mpsc::channel();
        let screen = Screen::new(Recorder(sender));
        let mut writer = screen.writer();
        let mut expected = String::new();
        for number in 0..20_000 {
            let line = format!("message {number}\n");
            writer.write_all(line.as_bytes()).expect("there is room in time");
            expected.push_str(&line);
        }
        screen.line("a notice");
        expected.push_str("a notice\n");
        screen.flush();
        let frames: Vec<String> = shown.try_iter().filter(|frame| frame != REDRAW).collect();
        assert_eq!(frames.concat(), expected);
        assert!(frames.len() < 1000, "{} frames", frames.len());
    }

    #[test]
    fn a_terminal_that_is_gone_is_an_error_for_the_writer() {
        let (sender, shown) = mpsc::channel();
        drop(shown);
        let screen = Screen::new(Recorder(sender));
        let mut writer = screen.writer();
        let failed = (0..100_000).any(|_| writer.write_all(&[b'x'; 1024]).is_err());
        assert!(failed);
        screen.flush();
    }
}
