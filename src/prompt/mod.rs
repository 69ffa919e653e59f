//! The prompt: line editing on a thread of its own, and a screen that both sides may write to.
//!
//! rustyline blocks, so it has a thread; what was typed comes out of a bounded channel, what is to
//! be shown goes in through [`screen::Screen`], above the line being edited. Slash commands are a table the caller
//! brings, read in [`command`]; what they do is the caller's business.
//! Invariants: a half-typed line survives whatever is shown; the terminal is restored when the
//! [`Prompt`] is dropped, and on panic; the editing thread never keeps the process alive.

pub(crate) mod command;
mod helper;
mod history;
mod screen;
mod status;
pub(crate) mod terminal;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustyline::config::{BellStyle, ColorMode, CompletionType};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use rustyline::{Config, Editor};
use tokio::sync::mpsc;

use command::SlashCommand;
use helper::PromptHelper;
pub(crate) use history::history_file;
pub(crate) use screen::Screen;
pub(crate) use status::SessionState;
pub use status::Status;
use terminal::{Stops, TerminalGuard};

/// Typed lines that may wait before the editing thread does.
const WAITING: usize = 16;
/// How long to wait for the editing thread at the end.
const PATIENCE: Duration = Duration::from_millis(500);
/// Lines of history kept.
const HISTORY: usize = 5000;

#[derive(Debug, PartialEq, Eq)]
pub enum Typed {
    /// A line, or several that were pasted together.
    Line(String),
    Interrupt,
    /// Ctrl-D on an empty line.
    End,
    /// The terminal cannot be read any more.
    Failed(String),
}

/// What the prompt needs to know.
#[derive(Debug, Clone)]
pub struct PromptSettings {
    /// Where lines are remembered; `None` remembers nothing.
    pub history: Option<PathBuf>,
    /// Whether to use colours.
    pub colour: bool,
    /// The initial status line.
    pub status: Status,
    /// What else may be shown as the host.
    pub hosts: Vec<String>,
    /// The slash commands.
    pub commands: &'static [SlashCommand],
}

/// What sessions are called, for completion.
type Names = Arc<Mutex<Vec<String>>>;

/// A prompt that is open.
#[derive(Debug)]
pub struct Prompt {
    typed: mpsc::Receiver<Typed>,
    screen: Screen,
    status: Arc<status::Shared>,
    names: Names,
    guard: TerminalGuard,
    stops: Stops,
}

impl Prompt {
    /// Takes the terminal over. To be called within a runtime, which takes the signals that stop and resume it.
    ///
    /// # Errors
    /// When the terminal cannot be driven (not a terminal, `TERM=dumb`): read plain lines then.
    pub fn open(settings: PromptSettings) -> io::Result<Self> {
        let failed = |error: ReadlineError| io::Error::other(error.to_string());
        let config = Config::builder()
            .max_history_size(HISTORY)
            .map_err(failed)?
            .history_ignore_space(true)
            .history_ignore_dups(true)
            .map_err(failed)?
            .completion_type(CompletionType::List)
            .bell_style(BellStyle::None)
            // The helper draws the state into the prompt; it leaves colours out where they are not wanted.
            .color_mode(ColorMode::Forced)
            .build();
        let mut editor: Editor<PromptHelper, FileHistory> = Editor::with_config(config).map_err(failed)?;
        let printer = editor.create_external_printer().map_err(failed)?;
        let status =
            Arc::new(status::Shared::new(settings.status, settings.hosts.iter().map(String::as_str), settings.colour));
        let guard = TerminalGuard::new(Arc::clone(&status))?;
        let stops = Stops::install()?;
        let names = Names::default();
        editor.set_helper(Some(PromptHelper::new(Arc::clone(&status), settings.commands, Arc::clone(&names))));
        let screen = Screen::new(printer);
        let (sender, typed) = mpsc::channel(WAITING);
        let shared = Arc::clone(&status);
        let editing = guard.editing();
        std::thread::Builder::new()
            .name("prompt".to_owned())
            .spawn(move || edit(editor, settings.history.as_deref(), &shared, &editing, &sender))?;
        Ok(Self { typed, screen, status, names, guard, stops })
    }

    /// What was typed next; `None` once nothing more can come.
    pub fn poll_typed(&mut self, cx: &mut Context<'_>) -> Poll<Option<Typed>> {
        if self.stops.poll(cx, &self.guard) {
            self.screen.redraw();
        }
        self.typed.poll_recv(cx)
    }

    /// Where everything is shown that must not tear the line being edited.
    #[must_use]
    pub fn screen(&self) -> &Screen {
        &self.screen
    }

    /// Shows another state in the prompt.
    pub fn set_status(&self, status: Status) {
        if self.status.set(status) {
            self.screen.redraw();
        }
    }

    /// Completes these as the names of sessions from now on.
    pub fn set_names(&self, names: Vec<String>) {
        *self.names.lock().unwrap_or_else(PoisonError::into_inner) = names;
    }

    /// Writes what still waits and gives the terminal back.
    pub fn close(self) {
        // What waits is shown by frames that draw the prompt again; the last one stops there.
        self.screen.flush();
        self.status.end();
        self.screen.redraw();
        let clear = self.guard.is_editing() && self.status.has_ended(PATIENCE);
        self.guard.restore(clear);
    }
}

/// The thread that edits: line after line until the user leaves or nobody listens.
fn edit(
    mut editor: Editor<PromptHelper, FileHistory>,
    history: Option<&std::path::Path>,
    status: &status::Shared,
    editing: &terminal::Editing,
    typed: &mpsc::Sender<Typed>,
) {
    let mut history = history::Keeper::load(&mut editor, history);
    loop {
        let prompt = status.plain();
        editing.begin();
        let read = editor.readline(&prompt);
        editing.end();
        let item = match read {
            Ok(line) => {
                history.keep(&mut editor, &line);
                Typed::Line(line)
            }
            Err(ReadlineError::Interrupted) => Typed::Interrupt,
            Err(ReadlineError::Eof) => Typed::End,
            // What is not UTF-8 was not typed: the line goes, the prompt stays.
            Err(ReadlineError::Io(error)) if error.kind() == io::ErrorKind::InvalidData => continue,
            Err(error) => Typed::Failed(error.to_string()),
        };
        let last = matches!(item, Typed::Failed(_) | Typed::End);
        if typed.blocking_send(item).is_err() || last {
            return;
        }
    }
}
