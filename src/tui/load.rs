//! The dashboard of a load test: snapshots in, frames out, and keys that end it or change what is sent.
//!
//! Leaves what is shown to the model and the view. Invariants: ten frames a second at most, none while the terminal has
//! not taken the last one; nothing here reaches a connection, so that looking costs the load nothing but the drawing.

use std::io;
use std::rc::Rc;
use std::time::{Duration, Instant};

use ratatui::backend::CrosstermBackend;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinHandle, spawn_local};

use super::model::load::{Load, Wish};
use super::terminal::{Canvas, SelfSignal, Terminal, Typed, resume, signal_self};
use super::view::load::draw;
use super::view::theme::Theme;
use crate::bench::hand::Hand;
use crate::bench::live::Live;
use crate::host::{Display, Stream};

/// Between two frames.
const FRAME: Duration = Duration::from_millis(100);

/// A load test on the terminal.
#[derive(Debug)]
pub(crate) struct LoadScreen {
    terminal: Rc<Terminal>,
    task: JoinHandle<()>,
}

impl LoadScreen {
    /// Takes the terminal over and follows the snapshots; `enough` is told when the person has seen enough,
    /// `hand` what the person changes.
    ///
    /// # Errors
    /// When the terminal cannot be set up.
    pub(crate) fn open(
        title: String,
        display: Display,
        stdout: Stream,
        live: watch::Receiver<Live>,
        (enough, hand): (Rc<Notify>, Rc<Hand>),
    ) -> io::Result<Self> {
        let signals = (
            signal(SignalKind::hangup())?,
            signal(SignalKind::from_raw(nix::libc::SIGTSTP))?,
            signal(SignalKind::from_raw(nix::libc::SIGCONT))?,
        );
        let (terminal, typed) = Terminal::take(stdout)?;
        let canvas = Canvas::default();
        let screen = ratatui::Terminal::new(CrosstermBackend::new(canvas.clone()))?;
        let driver = Driver {
            terminal: Rc::clone(&terminal),
            screen,
            canvas,
            load: Load { title, ..Load::default() },
            display,
            changed: true,
            suspending: false,
            enough,
            hand,
        };
        let task = spawn_local(driver.run(live, typed, signals));
        Ok(Self { terminal, task })
    }

    /// Gives the terminal back.
    pub(crate) fn close(self) {
        self.task.abort();
        self.terminal.close();
    }
}

struct Driver {
    terminal: Rc<Terminal>,
    screen: ratatui::Terminal<CrosstermBackend<Canvas>>,
    canvas: Canvas,
    load: Load,
    display: Display,
    changed: bool,
    suspending: bool,
    enough: Rc<Notify>,
    hand: Rc<Hand>,
}

impl Driver {
    async fn run(
        mut self,
        mut live: watch::Receiver<Live>,
        mut typed: mpsc::Receiver<Typed>,
        (mut hangup, mut stop, mut continued): (Signal, Signal, Signal),
    ) {
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                item = typed.recv() => match item {
                    Some(Typed::Key(key)) => {
                        self.changed = true;
                        if let Some(wish) = self.load.key(key) {
                            self.grant(wish);
                        }
                    }
                    Some(Typed::Paste(_) | Typed::Click(..) | Typed::Wheel(..)) => {}
                    Some(Typed::Resized) => self.changed = true,
                    // The terminal has gone: the run is not to go on unseen.
                    Some(Typed::Gone) | None => {
                        self.enough.notify_one();
                        return;
                    }
                },
                seen = live.changed() => {
                    if seen.is_err() {
                        return;
                    }
                    let seen = live.borrow_and_update().clone();
                    self.load.saw(seen);
                    self.changed = true;
                }
                _ = hangup.recv() => signal_self(SelfSignal::Terminate),
                _ = stop.recv() => {
                    // What this process sent to all with it comes back to itself.
                    if !std::mem::take(&mut self.suspending) {
                        self.suspend();
                    }
                }
                _ = continued.recv() => {
                    self.suspending = false;
                    resume();
                    self.redraw();
                }
                _ = frames.tick() => self.draw(),
            }
        }
    }

    fn grant(&mut self, wish: Wish) {
        match wish {
            Wish::Change(change) => self.hand.wish(change, Instant::now()),
            Wish::Enough => self.enough.notify_one(),
            Wish::Interrupt => signal_self(SelfSignal::Interrupt),
            Wish::Suspend => self.suspend(),
            Wish::Redraw => self.redraw(),
        }
    }

    fn suspend(&mut self) {
        self.suspending = true;
        self.terminal.suspend();
        self.redraw();
    }

    fn redraw(&mut self) {
        let _ = self.screen.clear();
        self.changed = true;
    }

    fn draw(&mut self) {
        if !self.changed || !self.terminal.is_idle() {
            return;
        }
        self.changed = false;
        let theme = Theme::new(self.display, self.display.light);
        let load = &self.load;
        // The size could not be asked for: the terminal has gone, and a signal says so.
        if self.screen.draw(|frame| draw(frame, load, &theme)).is_ok() {
            let frame = self.canvas.take(self.display.depth);
            if !frame.is_empty() {
                self.terminal.write(&[b"\x1b[?2026h", &frame[..], b"\x1b[?2026l"].concat());
            }
        }
    }
}
