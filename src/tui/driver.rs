//! Ties keys, sources, the model and the screen together.
//!
//! Owns when to look, when to draw and what effects do. Leaves all decisions to the model. Invariants: at most fifteen
//! frames a second, none while the terminal has not taken the last one; a key is answered at once, but for one that
//! follows another within a frame's time; filters get a bounded part of the time.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use base64::Engine as _;
use jiff::Timestamp;
use ratatui::backend::CrosstermBackend;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_local};

use super::model::sessions::SessionKey;
use super::model::{Effect, Model, To};
use super::source::{Act, Source};
use super::terminal::{Canvas, SelfSignal, Terminal, Typed, resume, signal_self};
use super::view;
use super::view::theme::Theme;
use crate::host::{Display, Stream};
use crate::message::io_text::io_text;
use crate::net::connection::CloseReason;

/// How often sources are looked at.
const TICK: Duration = Duration::from_millis(50);
/// Between two frames that only bring news.
const NEWS: Duration = Duration::from_millis(100);
/// News are shown less often where that would take more than one part in so many of the time, …
const SHARE: u32 = 125;
/// … but this often in any case.
const SELDOM: Duration = Duration::from_millis(300);
/// Between two frames that answer keys.
const ANSWER: Duration = Duration::from_millis(67);
/// For filters, each time.
const FILTERING: Duration = Duration::from_millis(4);
/// Rows for a step of the wheel.
const WHEEL: isize = 3;
/// Lines that may wait to be shown.
const HEARD: usize = 500;
/// Names that are tried for a file.
const NAMES: u32 = 100;

/// Lines that would have gone to stderr, on their way to the screen.
#[derive(Debug, Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<VecDeque<String>>>);

impl Heard {
    /// One more; the oldest makes room.
    pub(crate) fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() >= HEARD {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    fn take(&self) -> VecDeque<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a dashboard is made from.
#[derive(Debug)]
pub(crate) struct DashboardSettings {
    pub title: String,
    /// Whether sessions can be acted on.
    pub control: bool,
    pub display: Display,
    pub stdout: Stream,
    /// Lines for the log.
    pub heard: Heard,
}

/// A dashboard on the terminal.
#[derive(Debug)]
pub(crate) struct Dashboard {
    terminal: Rc<Terminal>,
    task: JoinHandle<()>,
    lost: Rc<RefCell<Vec<(String, String)>>>,
}

impl Dashboard {
    /// Takes the terminal over and shows these sources, each under its name.
    ///
    /// # Errors
    /// When the terminal cannot be set up.
    pub(crate) fn open(settings: DashboardSettings, sources: Vec<(String, Box<dyn Source>)>) -> io::Result<Self> {
        let signals = (
            signal(SignalKind::hangup())?,
            signal(SignalKind::from_raw(nix::libc::SIGTSTP))?,
            signal(SignalKind::from_raw(nix::libc::SIGCONT))?,
        );
        let (terminal, typed) = Terminal::take(settings.stdout)?;
        let canvas = Canvas::default();
        let screen = ratatui::Terminal::new(CrosstermBackend::new(canvas.clone()))?;
        let (labels, sources): (Vec<_>, Vec<_>) = sources.into_iter().unzip();
        let mut model = Model::new(settings.title, labels, settings.control, Timestamp::now());
        model.light = settings.display.light;
        let (done, acted) = mpsc::channel(16);
        let driver = Driver {
            terminal: Rc::clone(&terminal),
            screen,
            canvas,
            model,
            sources,
            heard: settings.heard,
            display: settings.display,
            done,
            changed: Changed::Keys,
            answered: None,
            drawn: None,
            cost: Duration::ZERO,
            looking: Duration::ZERO,
            suspending: false,
            lost: Rc::default(),
        };
        let lost = Rc::clone(&driver.lost);
        let task = spawn_local(driver.run(typed, acted, signals));
        Ok(Self { terminal, task, lost })
    }

    /// Ready when the person has left.
    pub(crate) fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match std::task::ready!(Pin::new(&mut self.task).poll(cx)) {
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            _ => Poll::Ready(()),
        }
    }

    /// Returns the sources that are lost, by their labels, and why.
    pub(crate) fn lost(&self) -> Vec<(String, String)> {
        self.lost.borrow().clone()
    }

    /// Gives the terminal back.
    pub(crate) fn close(self) {
        self.task.abort();
        self.terminal.close();
    }
}

/// What has not been drawn yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Changed {
    Nothing,
    News,
    Keys,
}

struct Driver {
    terminal: Rc<Terminal>,
    screen: ratatui::Terminal<CrosstermBackend<Canvas>>,
    canvas: Canvas,
    model: Model,
    sources: Vec<Box<dyn Source>>,
    heard: Heard,
    display: Display,
    done: mpsc::Sender<Result<String, String>>,
    changed: Changed,
    /// The last frame that answered a key.
    answered: Option<Instant>,
    /// The last frame.
    drawn: Option<Instant>,
    /// What looking and drawing have taken since the frame before that one.
    cost: Duration,
    /// What looking has taken since the last frame.
    looking: Duration,
    suspending: bool,
    /// The sources that are lost, for the code that ends this.
    lost: Rc<RefCell<Vec<(String, String)>>>,
}

impl Driver {
    async fn run(
        mut self,
        mut typed: mpsc::Receiver<Typed>,
        mut acted: mpsc::Receiver<Result<String, String>>,
        (mut hangup, mut stop, mut continued): (Signal, Signal, Signal),
    ) {
        let mut ticks = tokio::time::interval(TICK);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.look();
        self.draw();
        loop {
            let due = self.due(Instant::now());
            let drawing = async move {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                // A key comes first, however much there is to see.
                biased;
                item = typed.recv() => {
                    if !self.typed(item) {
                        return;
                    }
                    while let Ok(item) = typed.try_recv() {
                        if !self.typed(Some(item)) {
                            return;
                        }
                    }
                }
                Some(result) = acted.recv() => {
                    self.model.done(result);
                    self.changed = Changed::Keys;
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
                () = drawing => {}
                _ = ticks.tick() => self.look(),
            }
            self.choose();
            self.draw();
        }
    }

    /// When the next frame may be drawn, if one is wanted.
    fn due(&self, now: Instant) -> Option<Instant> {
        if !self.terminal.is_idle() {
            return None;
        }
        match self.changed {
            Changed::Nothing => None,
            Changed::News => {
                let pause = (self.cost * SHARE).clamp(NEWS, SELDOM);
                Some(self.drawn.map_or(now, |drawn| drawn + pause))
            }
            Changed::Keys => Some(self.answered.map_or(now, |answered| answered + ANSWER)),
        }
    }

    fn look(&mut self) {
        let (now, time) = (Instant::now(), Timestamp::now());
        let mut changed = self.model.tick(time);
        for (place, source) in self.sources.iter_mut().enumerate() {
            changed |= self.model.saw(place, source.look(now), time);
        }
        *self.lost.borrow_mut() = self.model.lost();
        for line in self.heard.take() {
            self.model.heard(&line);
            changed = true;
        }
        if changed {
            self.changed = self.changed.max(Changed::News);
        }
        self.looking += now.elapsed();
    }

    /// Lets filters look at messages, for a while.
    fn choose(&mut self) {
        let begun = Instant::now();
        while self.model.messages.step() {
            self.changed = self.changed.max(Changed::News);
            if begun.elapsed() >= FILTERING {
                return;
            }
        }
    }

    fn draw(&mut self) {
        let now = Instant::now();
        if self.due(now).is_none_or(|due| due > now) {
            return;
        }
        if self.changed == Changed::Keys {
            self.answered = Some(now);
        }
        self.drawn = Some(now);
        self.changed = Changed::Nothing;
        let theme = Theme::new(self.display, self.model.light);
        let model = &mut self.model;
        let drawn = self.screen.draw(|frame| {
            model.rows = usize::from(frame.area().height);
            view::draw(frame, model, &theme);
        });
        // The size could not be asked for: the terminal has gone, and a signal says so.
        if drawn.is_ok() {
            let frame = self.canvas.take(self.display.depth);
            if !frame.is_empty() {
                self.terminal.write(&[b"\x1b[?2026h", &frame[..], b"\x1b[?2026l"].concat());
            }
        }
        self.cost = now.elapsed() + std::mem::take(&mut self.looking);
    }

    fn redraw(&mut self) {
        // Giving the terminal back gave the mouse back, too.
        if self.model.mouse {
            self.terminal.set_mouse(true);
        }
        let _ = self.screen.clear();
        self.changed = Changed::Keys;
        self.answered = None;
    }

    /// Columns and rows.
    fn size(&self) -> Option<(u16, u16)> {
        self.screen.size().ok().map(|size| (size.width, size.height))
    }

    fn suspend(&mut self) {
        self.suspending = true;
        self.terminal.suspend();
        self.redraw();
    }

    /// False when the person leaves.
    fn typed(&mut self, item: Option<Typed>) -> bool {
        self.changed = Changed::Keys;
        match item {
            Some(Typed::Key(key)) => {
                self.model.now = Timestamp::now();
                let effects = self.model.key(key);
                return effects.into_iter().all(|effect| self.effect(effect));
            }
            Some(Typed::Paste(text)) => self.model.paste(&text),
            Some(Typed::Click(x, y)) => {
                if self.model.typing.is_none()
                    && let Some(hit) = self.size().and_then(|size| view::hit(size, &self.model, (x, y)))
                {
                    self.model.clicked(hit);
                }
            }
            Some(Typed::Wheel(x, y, by)) => {
                let pane = self.size().and_then(|size| view::pane_at(size, &self.model, (x, y)));
                self.model.wheeled(pane.map(|(pane, _)| pane), isize::from(by) * WHEEL);
            }
            Some(Typed::Resized) => {}
            Some(Typed::Gone) | None => return false,
        }
        true
    }

    fn effect(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::Quit => return false,
            Effect::Interrupt => signal_self(SelfSignal::Interrupt),
            Effect::Suspend => self.suspend(),
            Effect::Redraw => self.redraw(),
            Effect::Mouse(told) => self.terminal.set_mouse(told),
            Effect::Copy(payload) => {
                let text = base64::engine::general_purpose::STANDARD.encode(&payload);
                self.terminal.write(format!("\x1b]52;c;{text}\x07").as_bytes());
                self.model.done(Ok(format!("{} bytes to the clipboard", payload.len())));
            }
            Effect::Send(To::One((source, id)), message) => self.act(source, Act::Send(Some(vec![id]), message)),
            Effect::Send(To::Marked(marked), message) => {
                self.act_on_each(&marked, |ids| Act::Send(Some(ids), message.clone()));
            }
            Effect::Send(To::All, message) => {
                (0..self.sources.len()).for_each(|source| self.act(source, Act::Send(None, message.clone())));
            }
            Effect::Close((source, id), code, reason) => {
                self.act(source, Act::Close(id, CloseReason::new(code, reason)));
            }
            Effect::Pause(sessions, paused) => {
                self.act_on_each(&sessions, |ids| Act::Pause(ids, paused));
            }
            Effect::Limit(sessions, rate) => self.act_on_each(&sessions, |ids| Act::Limit(ids, rate)),
            Effect::Reconnect((source, id)) => self.act(source, Act::Reconnect(id)),
            Effect::Save { name, kind, content, what } => {
                let done = self.done.clone();
                let named = name.clone().map(PathBuf::from);
                spawn_local(async move {
                    let saving = tokio::task::spawn_blocking(move || save(named, kind, &content));
                    let result = match saving.await {
                        Ok(Ok(path)) => Ok(format!("saved {what} to {}", path.display())),
                        Ok(Err((path, error))) => {
                            Err(format!("cannot save to {}: {}", path.display(), io_text(&error)))
                        }
                        Err(error) => Err(format!("cannot save: {error}")),
                    };
                    let _ = done.send(result).await;
                });
            }
        }
        true
    }

    /// Acts on these sessions, source by source.
    fn act_on_each(&mut self, sessions: &[SessionKey], act: impl Fn(Vec<String>) -> Act) {
        for source in 0..self.sources.len() {
            let of = |key: &&SessionKey| key.0 == source;
            let ids: Vec<String> = sessions.iter().filter(of).map(|key| key.1.clone()).collect();
            if !ids.is_empty() {
                self.act(source, act(ids));
            }
        }
    }

    fn act(&mut self, source: usize, act: Act) {
        let acting = self.sources[source].act(act);
        let done = self.done.clone();
        spawn_local(async move {
            let result = acting.await;
            let _ = done.send(result).await;
        });
    }
}

/// Writes a new file, under this name or one made up; never over another.
fn save(
    name: Option<PathBuf>,
    (middle, ending): (&str, &str),
    content: &[u8],
) -> Result<PathBuf, (PathBuf, io::Error)> {
    let create = |path: &PathBuf| OpenOptions::new().write(true).create_new(true).open(path);
    let write = |mut file: File, path: PathBuf| match file.write_all(content) {
        Ok(()) => Ok(path),
        Err(error) => Err((path, error)),
    };
    if let Some(path) = name {
        return match create(&path) {
            Ok(file) => write(file, path),
            Err(error) => Err((path, error)),
        };
    }
    let stamp = Timestamp::now().strftime("%Y%m%d-%H%M%S").to_string();
    let mut number = 1;
    loop {
        let again = if number == 1 { String::new() } else { format!("-{number}") };
        let path = PathBuf::from(format!("wsp-{middle}-{stamp}{again}.{ending}"));
        match create(&path) {
            Ok(file) => return write(file, path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < NAMES => number += 1,
            Err(error) => return Err((path, error)),
        }
    }
}
