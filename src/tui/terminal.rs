//! The terminal: taken over, and given back however this ends.
//!
//! Owns raw mode, the other screen, the thread that reads keys and the one that writes frames: a terminal that is slow
//! to take them holds nobody up. Leaves what keys mean and what frames show to others. Invariants: the terminal is given
//! back once, on return, on error, on panic and before a stop; nothing is drawn afterwards.

use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use ratatui::crossterm::event::{
    self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEventKind,
};
use ratatui::crossterm::terminal::{disable_raw_mode, enable_raw_mode};
use tokio::sync::mpsc;

use super::keymap::Key;
use crate::host::{Depth, Stream, Watch, when_hung_up};

/// The other screen, without a cursor, pastes marked as such.
const TAKE: &[u8] = b"\x1b[?1049h\x1b[2J\x1b[?25l\x1b[?2004h";
const GIVE_BACK: &[u8] = b"\x1b[?1006l\x1b[?1000l\x1b[?2026l\x1b[?2004l\x1b[0m\x1b[?25h\x1b[?1049l";
/// Clicks and the wheel are told about, in the form that has no limit.
const MOUSE: &[u8] = b"\x1b[?1000h\x1b[?1006h";
/// The mouse is the terminal's own again.
const NO_MOUSE: &[u8] = b"\x1b[?1006l\x1b[?1000l";
/// How long to wait for a frame under way.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often the thread that reads keys looks whether it should end.
const LOOK: Duration = Duration::from_millis(100);
/// Keys that may wait.
const KEYS: usize = 256;

static TAKEN: AtomicBool = AtomicBool::new(false);

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Typed {
    Key(Key),
    /// A text that was pasted.
    Paste(String),
    /// A click at a column and a row.
    Click(u16, u16),
    /// The wheel was turned there, so far down.
    Wheel(u16, u16, i8),
    /// The screen has another size.
    Resized,
    /// Nothing more can be read.
    Gone,
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    TAKEN.store(true, Ordering::SeqCst);
    let mut out = io::stdout().lock();
    out.write_all(TAKE).and_then(|()| out.flush())
}

/// Gives the terminal back, if it is ours.
fn give_back() {
    if TAKEN.swap(false, Ordering::SeqCst) {
        let mut out = io::stdout().lock();
        let _ = out.write_all(GIVE_BACK).and_then(|()| out.flush());
        let _ = disable_raw_mode();
    }
}

/// The frame under way, and whether there is one.
#[derive(Debug, Default)]
struct Slot {
    frame: Option<Vec<u8>>,
    writing: bool,
    over: bool,
}

type Shared = Arc<(Mutex<Slot>, Condvar)>;

/// A terminal that is ours.
#[derive(Debug)]
pub(crate) struct Terminal {
    slot: Shared,
    reading: Arc<AtomicBool>,
    /// Looks whether the terminal goes away, for reading keys does not say so.
    _watch: Option<Watch>,
}

impl Terminal {
    /// Takes the terminal over. Frames go to `stdout`, keys come out of the channel.
    ///
    /// # Errors
    /// When it cannot be set up.
    pub(crate) fn take(stdout: Stream) -> io::Result<(Rc<Self>, mpsc::Receiver<Typed>)> {
        static HOOK: OnceLock<()> = OnceLock::new();
        // Whether there are colours is decided once for all that is drawn, not by crossterm's look at NO_COLOR.
        ratatui::crossterm::style::force_color_output(true);
        HOOK.get_or_init(|| {
            crate::host::last::restore_with(give_back);
            let report = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                give_back();
                report(panic);
            }));
        });
        take()?;
        let slot = Shared::default();
        let reading = Arc::new(AtomicBool::new(true));
        let (sender, typed) = mpsc::channel(KEYS);
        let gone = sender.clone();
        let watch = when_hung_up(io::stdin(), move || _ = gone.blocking_send(Typed::Gone));
        let terminal = Rc::new(Self { slot: Arc::clone(&slot), reading: Arc::clone(&reading), _watch: watch });
        std::thread::Builder::new().name("screen".to_owned()).spawn(move || write_frames(stdout, &slot))?;
        std::thread::Builder::new().name("keys".to_owned()).spawn(move || read_keys(&reading, &sender))?;
        Ok((terminal, typed))
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Slot> {
        self.slot.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the last frame has been written.
    pub(crate) fn is_idle(&self) -> bool {
        let slot = self.slot();
        slot.frame.is_none() && !slot.writing
    }

    /// Has this written, after what is being written.
    pub(crate) fn write(&self, frame: &[u8]) {
        if TAKEN.load(Ordering::SeqCst) {
            self.slot().frame.get_or_insert_default().extend_from_slice(frame);
            self.slot.1.notify_all();
        }
    }

    /// Has the terminal tell about the mouse, or keep it to itself.
    pub(crate) fn set_mouse(&self, told: bool) {
        self.write(if told { MOUSE } else { NO_MOUSE });
    }

    /// Waits, for a while, until all is written.
    fn settle(&self) {
        let waits = |slot: &mut Slot| slot.frame.is_some() || slot.writing;
        let _ = self.slot.1.wait_timeout_while(self.slot(), PATIENCE, waits);
    }

    /// Gives the terminal back for good.
    pub(crate) fn close(&self) {
        self.reading.store(false, Ordering::SeqCst);
        self.settle();
        give_back();
        self.slot().over = true;
        self.slot.1.notify_all();
    }

    /// Gives the terminal back and stops this process; when it is continued the terminal is ours again.
    pub(crate) fn suspend(&self) {
        self.settle();
        give_back();
        // All that was started with this, as Ctrl-Z does; this process itself listens for that signal.
        let _ = kill(Pid::from_raw(0), Signal::SIGTSTP);
        let _ = kill(Pid::this(), Signal::SIGSTOP);
        resume();
    }
}

/// Takes the terminal again: the process was continued.
pub(crate) fn resume() {
    let _ = take();
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.close();
    }
}

/// Sends this process a signal, so that what was asked for goes the usual way.
pub(crate) fn signal_self(signal: SelfSignal) {
    let signal = match signal {
        SelfSignal::Interrupt => Signal::SIGINT,
        SelfSignal::Terminate => Signal::SIGTERM,
    };
    let _ = kill(Pid::this(), signal);
}

/// A signal for this process.
#[derive(Debug, Clone, Copy)]
pub(crate) enum SelfSignal {
    Interrupt,
    Terminate,
}

fn write_frames(mut stdout: Stream, shared: &Shared) {
    let (slot, changed) = &**shared;
    loop {
        let mut guard = slot.lock().unwrap_or_else(PoisonError::into_inner);
        guard.writing = false;
        changed.notify_all();
        let waits = |slot: &mut Slot| slot.frame.is_none() && !slot.over;
        let mut guard = changed.wait_while(guard, waits).unwrap_or_else(PoisonError::into_inner);
        let Some(frame) = guard.frame.take() else { return };
        guard.writing = true;
        drop(guard);
        // Who has given the terminal back draws no more.
        if TAKEN.load(Ordering::SeqCst) {
            let _ = stdout.write_all(&frame).and_then(|()| stdout.flush());
        }
    }
}

fn read_keys(reading: &AtomicBool, typed: &mpsc::Sender<Typed>) {
    while reading.load(Ordering::SeqCst) {
        let event = match event::poll(LOOK) {
            Ok(false) => continue,
            Ok(true) => event::read(),
            Err(error) => Err(error),
        };
        let item = match event {
            Ok(Event::Key(pressed)) => match key(pressed) {
                Some(key) => Typed::Key(key),
                None => continue,
            },
            Ok(Event::Paste(text)) => Typed::Paste(text),
            Ok(Event::Mouse(mouse)) => match mouse.kind {
                MouseEventKind::Down(MouseButton::Left) => Typed::Click(mouse.column, mouse.row),
                MouseEventKind::ScrollUp => Typed::Wheel(mouse.column, mouse.row, -1),
                MouseEventKind::ScrollDown => Typed::Wheel(mouse.column, mouse.row, 1),
                _ => continue,
            },
            Ok(Event::Resize(..)) => Typed::Resized,
            Ok(_) => continue,
            Err(_) => Typed::Gone,
        };
        let is_last = item == Typed::Gone;
        if typed.blocking_send(item).is_err() || is_last {
            return;
        }
    }
}

fn key(pressed: KeyEvent) -> Option<Key> {
    if pressed.kind == KeyEventKind::Release {
        return None;
    }
    Some(match pressed.code {
        KeyCode::Char(c) if pressed.modifiers.contains(KeyModifiers::CONTROL) => Key::Ctrl(c.to_ascii_lowercase()),
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Esc,
        KeyCode::Tab => Key::Tab,
        KeyCode::BackTab => Key::BackTab,
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Left => Key::Left,
        KeyCode::Right => Key::Right,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown => Key::PageDown,
        KeyCode::Home => Key::Home,
        KeyCode::End => Key::End,
        KeyCode::Backspace => Key::Backspace,
        KeyCode::Delete => Key::Delete,
        _ => return None,
    })
}

/// Where frames are made, before they are written in one piece.
#[derive(Debug, Clone, Default)]
pub(crate) struct Canvas(Rc<RefCell<Vec<u8>>>);

impl Canvas {
    /// What has been drawn since the last time, for a terminal of these colours.
    pub(crate) fn take(&self, depth: Depth) -> Vec<u8> {
        let drawn = self.0.take();
        if depth == Depth::Sixteen { sixteen(&drawn) } else { drawn }
    }
}

/// The sixteen colours as terminals that have no more know them: they are drawn as the first of 256.
fn sixteen(drawn: &[u8]) -> Vec<u8> {
    let mut told = Vec::with_capacity(drawn.len());
    let mut rest = drawn;
    while let Some(start) = memchr::memmem::find(rest, b"\x1b[") {
        told.extend_from_slice(&rest[..start]);
        rest = &rest[start..];
        let length = rest[2..].iter().take_while(|byte| byte.is_ascii_digit() || **byte == b';').count();
        let (sequence, after) = rest.split_at(2 + length);
        rest = after;
        let is_style = rest.first() == Some(&b'm');
        match std::str::from_utf8(&sequence[2..]) {
            Ok(codes) if is_style && length > 0 => {
                told.extend_from_slice(b"\x1b[");
                told.extend_from_slice(plain_codes(codes).as_bytes());
            }
            _ => told.extend_from_slice(sequence),
        }
    }
    told.extend_from_slice(rest);
    told
}

fn plain_codes(codes: &str) -> String {
    let codes: Vec<&str> = codes.split(';').collect();
    let (mut plain, mut rest) = (Vec::new(), &codes[..]);
    while let [first, others @ ..] = rest {
        let base = match *first {
            "38" => Some(30),
            "48" => Some(40),
            _ => None,
        };
        rest = match (base, others) {
            (Some(base), ["5", colour, after @ ..]) if colour.parse::<u8>().is_ok_and(|colour| colour < 16) => {
                let colour: u8 = colour.parse().unwrap_or_default();
                // The brighter half has codes of its own.
                plain.push((base + if colour < 8 { colour } else { 52 + colour }).to_string());
                after
            }
            _ => {
                plain.push((*first).to_owned());
                others
            }
        };
    }
    plain.join(";")
}

impl Write for Canvas {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_colours_have_codes_of_their_own() {
        for (drawn, told) in [
            ("a\x1b[38;5;8mb", "a\x1b[90mb"),
            ("\x1b[38;5;1m\x1b[48;5;15m", "\x1b[31m\x1b[107m"),
            ("\x1b[1;38;5;6;49mx\x1b[0m", "\x1b[1;36;49mx\x1b[0m"),
            ("\x1b[38;5;16m\x1b[38;2;5;5;5m", "\x1b[38;5;16m\x1b[38;2;5;5;5m"),
            ("\x1b[5;38H\x1b[38;5", "\x1b[5;38H\x1b[38;5"),
            ("\x1b[m\x1b[?25l", "\x1b[m\x1b[?25l"),
        ] {
            assert_eq!(String::from_utf8(sixteen(drawn.as_bytes())).as_deref(), Ok(told), "{drawn:?}");
        }
    }
}
