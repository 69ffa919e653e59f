//! Everything the program takes from outside: arguments are passed, the rest is here.
//!
//! Owns the standard streams' handles, whether they are terminals, and signals. A test can hand in
//! pipes of its own. No other file opens standard streams. `last` ends a process that is stuck.

pub(crate) mod last;

mod signals;
mod stream;

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

pub(crate) use signals::{Hangups, Signals, StopSignal};
pub(crate) use stream::{OutputError, Stream, Watch, when_hung_up};

use crate::message::io_text::io_text;

/// The outside as the program sees it.
#[derive(Debug)]
pub struct Host {
    /// Where input comes from.
    pub stdin: Stream,
    /// Where payload goes: unbuffered, byte-exact.
    pub stdout: Stream,
    /// Whether a person types the input.
    pub stdin_is_terminal: bool,
    /// Whether a person reads the output.
    pub stdout_is_terminal: bool,
    /// Everything that is not payload.
    pub stderr: Stderr,
    /// Whether colours may be used on stdout when the user has not said.
    pub colour: bool,
    /// Where programs keep their state for this user.
    pub state: Option<PathBuf>,
    /// What the terminal can show.
    pub display: Display,
}

/// How many colours a terminal shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Depth {
    /// None are wanted, or none are there.
    None,
    /// The sixteen of old, as the user has set them.
    #[default]
    Sixteen,
    /// A table of 256.
    Many,
    /// Any.
    True,
}

impl Depth {
    /// What a terminal of this name shows, and `COLORTERM` says of it; empty is not said.
    fn of(term: &str, colorterm: &str) -> Self {
        // Terminals of old, and kinds whose name says that they have no colours.
        let is_plain = ["vt50", "vt52", "vt100", "vt102", "vt200", "vt220", "vt320", "vt420"].contains(&term)
            || term == "dumb"
            || ["-m", "-mono"].iter().any(|ending| term.ends_with(ending));
        match colorterm {
            _ if is_plain => Self::None,
            "truecolor" | "24bit" => Self::True,
            _ if ["-direct", "-truecolor"].iter().any(|ending| term.ends_with(ending)) => Self::True,
            _ if term.contains("256color") => Self::Many,
            _ => Self::Sixteen,
        }
    }
}

/// What a terminal can show, as far as the environment says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Display {
    /// Colours.
    pub depth: Depth,
    /// Only ASCII.
    pub ascii: bool,
    /// A light background.
    pub light: bool,
    /// The cursor cannot be moved.
    pub dumb: bool,
}

impl Display {
    /// What these variables say.
    fn of(variable: impl Fn(&str) -> Option<String>) -> Self {
        let value = |name: &str| variable(name).filter(|value| !value.is_empty());
        let term = value("TERM").unwrap_or_default();
        // Whether colours are wanted is said elsewhere: by flags, and by NO_COLOR where they are silent.
        let depth = Depth::of(&term, value("COLORTERM").as_deref().unwrap_or_default());
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|name| value(name)).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        // Where no locale is set, terminals of today show UTF-8 all the same; the console of Linux does not draw braille.
        let ascii = term == "linux" || !(locale.is_empty() || locale.contains("utf-8") || locale.contains("utf8"));
        let background = value("COLORFGBG").and_then(|pair| pair.rsplit(';').next()?.parse::<u8>().ok());
        Self { depth, ascii, light: matches!(background, Some(7 | 9..=15)), dumb: term == "dumb" }
    }
}

impl Host {
    /// The streams and the environment of this process.
    ///
    /// # Errors
    /// When there are no file descriptors left.
    pub fn of_this_process() -> io::Result<Self> {
        let stdin = io::stdin();
        let stdout = io::stdout();
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Ok(Self {
            stdin_is_terminal: stdin.is_terminal(),
            stdout_is_terminal: stdout.is_terminal(),
            stdin: Stream::standard(0, stdin.as_fd())?,
            stdout: Stream::standard(1, stdout.as_fd())?,
            stderr: Stderr::of_this_process(),
            colour: !plain,
            state: state_directory(),
            display: Display::of(|name| std::env::var(name).ok()),
        })
    }

    /// Prints on stdout what was asked for. A reader that has seen enough is no error.
    ///
    /// # Errors
    /// When it is closed, or anything else keeps the text from being written.
    pub fn print(&mut self, text: impl AsRef<[u8]>) -> Result<(), OutputError> {
        match self.stdout.for_output()?.write_all(text.as_ref()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(OutputError::Failed(format!("cannot write to standard output: {}", io_text(&error))))
            }
            _ => Ok(()),
        }
    }
}

/// `$XDG_STATE_HOME`, or where it is by default.
fn state_directory() -> Option<PathBuf> {
    let given = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    given.or_else(|| std::env::home_dir().map(|home| home.join(".local/state")))
}

/// Diagnostics, a whole line at a time; a closed stderr is no reason to stop.
#[derive(Debug, Clone)]
pub struct Stderr(Arc<Mutex<Lines>>);

/// Shows one line somewhere else.
type Show = Box<dyn Fn(&str) + Send>;

struct Lines {
    file: Stream,
    terminal: bool,
    /// A progress line stands where the next line belongs.
    progress: bool,
    /// A prompt or a dashboard owns the terminal.
    show: Option<Show>,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Stderr {
    fn of_this_process() -> Self {
        let stderr = io::stderr();
        let terminal = stderr.is_terminal();
        let file = Stream::standard(2, stderr.as_fd()).or_else(|_| File::create("/dev/null").map(Stream::from));
        match file {
            Ok(file) => Self(Arc::new(Mutex::new(Lines { file, terminal, progress: false, show: None }))),
            Err(_) => std::process::exit(1),
        }
    }

    /// Whether it was closed when the program began, so that nobody is told anything.
    pub fn is_closed(&self) -> bool {
        self.0.lock().is_ok_and(|lines| lines.file.is_closed())
    }

    /// Whether a person reads it as it comes.
    pub fn is_terminal(&self) -> bool {
        self.0.lock().is_ok_and(|lines| lines.terminal)
    }

    /// Writes one line.
    pub fn line(&self, text: impl AsRef<str>) {
        let Ok(mut lines) = self.0.lock() else { return };
        if let Some(show) = &lines.show {
            show(text.as_ref());
            // Elsewhere than on that terminal they are wanted all the same.
            if lines.terminal {
                return;
            }
        }
        let clear = if std::mem::take(&mut lines.progress) { CLEAR } else { "" };
        let _ = lines.file.write_all(format!("{clear}{}\n", text.as_ref()).as_bytes());
    }

    /// Sends lines there instead, until [`Stderr::restore`]: a prompt owns the terminal.
    pub fn divert(&self, show: impl Fn(&str) + Send + 'static) {
        if let Ok(mut lines) = self.0.lock() {
            lines.show = Some(Box::new(show));
        }
    }

    /// Lines go to the stream itself again.
    pub fn restore(&self) {
        if let Ok(mut lines) = self.0.lock() {
            lines.show = None;
        }
    }

    /// On a terminal, writes a line that the next one replaces; an empty one takes it away.
    pub fn progress(&self, text: &str) {
        if let Ok(mut lines) = self.0.lock()
            && lines.terminal
            && (lines.progress || !text.is_empty())
        {
            lines.progress = !text.is_empty();
            let _ = lines.file.write_all(format!("{CLEAR}{text}").as_bytes());
        }
    }
}

/// Back to the start of the line, which is emptied.
const CLEAR: &str = "\r\x1b[K";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_says_what_a_terminal_shows() {
        let display = |pairs: &[(&str, &str)]| {
            Display::of(|name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        let table = [
            ("xterm", "", Depth::Sixteen),
            ("xterm-16color", "", Depth::Sixteen),
            ("screen", "", Depth::Sixteen),
            ("linux", "", Depth::Sixteen),
            ("", "", Depth::Sixteen),
            ("rxvt", "rxvt-xpm", Depth::Sixteen),
            ("xterm-256color", "", Depth::Many),
            ("tmux-256color", "yes", Depth::Many),
            ("screen-256color-bce", "", Depth::Many),
            ("xterm", "truecolor", Depth::True),
            ("xterm-256color", "24bit", Depth::True),
            ("alacritty", "truecolor", Depth::True),
            ("xterm-direct", "", Depth::True),
            ("dumb", "truecolor", Depth::None),
            ("vt100", "", Depth::None),
            ("xterm-mono", "", Depth::None),
            ("ansi-m", "", Depth::None),
        ];
        for (term, colorterm, expected) in table {
            let shown = display(&[("TERM", term), ("COLORTERM", colorterm)]);
            assert_eq!(shown.depth, expected, "TERM={term} COLORTERM={colorterm}");
        }
        assert_eq!(display(&[]).depth, Depth::Sixteen);
        assert!(display(&[("TERM", "linux")]).ascii && display(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]).ascii);
        assert!(!display(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8")]).ascii && !display(&[]).ascii);
        assert!(display(&[("COLORFGBG", "0;15")]).light && !display(&[("COLORFGBG", "15;default;0")]).light);
    }
}
