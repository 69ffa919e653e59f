//! What rustyline asks while a line is edited: completion, hints, how the prompt looks.

use std::borrow::Cow;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper, Result};

use super::command::{Completes, SlashCommand, dropped_path};
use super::{Names, status};

/// Most names of sessions offered at once.
const SESSIONS: usize = 100;

/// Completes slash commands, their arguments and file names.
pub(super) struct PromptHelper {
    status: Arc<status::Shared>,
    commands: &'static [SlashCommand],
    names: Names,
}

impl PromptHelper {
    pub(super) fn new(status: Arc<status::Shared>, commands: &'static [SlashCommand], names: Names) -> Self {
        Self { status, commands, names }
    }

    /// The file a line names that was dropped on the terminal or pasted, where files can be sent.
    fn dropped_file(&self, line: &str) -> Option<String> {
        self.commands.iter().find(|command| command.name == "/send")?;
        existing_file(line)
    }

    fn begun(&self, typed: &str) -> Vec<Pair> {
        self.commands
            .iter()
            .filter(|command| command.name.starts_with(typed))
            .map(|command| Pair {
                display: format!("{} {}", command.name, command.arguments).trim_end().to_owned(),
                replacement: match command.arguments {
                    "" => command.name.to_owned(),
                    _ => format!("{} ", command.name),
                },
            })
            .collect()
    }

    fn sessions(&self, begun: &str) -> Vec<Pair> {
        let all = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .filter(|name| name.starts_with(begun))
            .take(SESSIONS)
            .map(|name| Pair { display: name.clone(), replacement: format!("{name} ") })
            .collect()
    }

    /// What the argument of a command may become, and where it begins.
    fn argument(&self, name: &str, argument: &str, position: usize) -> (usize, Vec<Pair>) {
        let start = position - argument.len();
        let command = self.commands.iter().find(|command| command.name == name);
        match (command.map_or(Completes::Nothing, |command| command.completes), argument.strip_prefix('@')) {
            (Completes::AtFile, Some(path)) => (position - path.len(), files(path)),
            (Completes::AtFile, None) if argument.is_empty() => (start, offer(argument, [("@", "@FILE")])),
            (Completes::File, _) => (start, files(argument)),
            (Completes::Words(words), _) => (start, offer(argument, words.iter().copied())),
            (Completes::Session(words), _) => {
                let Some((_, word)) = argument.split_once(' ') else { return (start, self.sessions(argument)) };
                (position - word.len(), offer(word, words.iter().copied()))
            }
            _ => (position, Vec::new()),
        }
    }
}

/// Those of the words that begin like this.
fn offer<'w>(begun: &str, words: impl IntoIterator<Item = (&'w str, &'w str)>) -> Vec<Pair> {
    words
        .into_iter()
        .filter(|(word, _)| word.starts_with(begun))
        .map(|(word, display)| Pair { display: display.to_owned(), replacement: word.to_owned() })
        .collect()
}

impl Helper for PromptHelper {}
impl Validator for PromptHelper {}

impl Completer for PromptHelper {
    type Candidate = Pair;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> Result<(usize, Vec<Pair>)> {
        if let Some(path) = self.dropped_file(line) {
            let command = format!("/send @{path}");
            return Ok((0, vec![Pair { display: command.clone(), replacement: command }]));
        }
        let typed = &line[..position];
        if !typed.starts_with('/') || typed.starts_with("//") {
            return Ok((position, Vec::new()));
        }
        match typed.split_once(' ') {
            None => Ok((0, self.begun(typed))),
            Some((name, rest)) => Ok(self.argument(name, rest, position)),
        }
    }
}

/// The files a path may become, spaces and all: the argument is everything up to the end of the line.
fn files(path: &str) -> Vec<Pair> {
    let (folder, part) = path.rsplit_once('/').map_or(("", path), |(folder, part)| (&path[..=folder.len()], part));
    let home = || std::env::home_dir().map(|home| home.join(folder.trim_start_matches("~/")));
    let place = if folder.starts_with("~/") { home() } else { Some(Path::new(folder).to_path_buf()) };
    let place = place.filter(|place| !place.as_os_str().is_empty()).unwrap_or_else(|| Path::new(".").to_path_buf());
    let Ok(entries) = std::fs::read_dir(place) else { return Vec::new() };
    let mut found: Vec<Pair> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let hidden = name.starts_with('.') && !part.starts_with('.');
            if hidden || !name.starts_with(part) || name.chars().any(char::is_control) {
                return None;
            }
            let slash = if entry.path().is_dir() { "/" } else { "" };
            Some(Pair { display: format!("{name}{slash}"), replacement: format!("{folder}{name}{slash}") })
        })
        .collect();
    found.sort_by(|one, other| one.display.cmp(&other.display));
    found
}

/// The file a line names that was dropped on the terminal or pasted.
fn existing_file(line: &str) -> Option<String> {
    let path = dropped_path(line)?;
    (path.len() > 1 && Path::new(&path).is_file()).then_some(path)
}

impl Hinter for PromptHelper {
    type Hint = String;

    fn hint(&self, line: &str, position: usize, _: &Context<'_>) -> Option<String> {
        if position < line.len() || line.len() < 2 {
            return None;
        }
        if let Some(path) = self.dropped_file(line) {
            return Some(format!("  Tab: /send @{path}"));
        }
        if line.starts_with("//") {
            return None;
        }
        let command = self.commands.iter().find(|command| command.name == line)?;
        Some(format!(" {}  {}", command.arguments, command.what))
    }
}

impl Highlighter for PromptHelper {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, default: bool) -> Cow<'b, str> {
        // The prompt of a search is rustyline's own.
        if default { Cow::Owned(self.status.drawn()) } else { Cow::Borrowed(prompt) }
    }

    fn highlight_hint<'h>(&self, hint: &'h str) -> Cow<'h, str> {
        if self.status.colour() { Cow::Owned(format!("\x1b[2m{hint}\x1b[0m")) } else { Cow::Borrowed(hint) }
    }
}

#[cfg(test)]
mod tests {
    use rustyline::history::{FileHistory, History as _};

    use super::super::command::tests::COMMANDS;
    use super::*;

    fn helper() -> PromptHelper {
        let status = Arc::new(status::Shared::new(status::Status::default(), [], false));
        let names = ["s1", "s2", "s12"].map(str::to_owned).to_vec();
        PromptHelper::new(status, &COMMANDS, Arc::new(names.into()))
    }

    fn completed(line: &str) -> Vec<String> {
        let history = FileHistory::new();
        assert!(history.is_empty());
        let (start, pairs) = helper().complete(line, line.len(), &Context::new(&history)).expect("completion");
        pairs.into_iter().map(|pair| format!("{}{}", &line[..start], pair.replacement)).collect()
    }

    #[test]
    fn completes_commands_arguments_and_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("with space.json");
        std::fs::write(&file, "{}").expect("a file");
        let file = file.to_str().expect("UTF-8");
        let part = &file[..file.len() - 8];
        assert_eq!(completed("/s"), ["/send ", "/stats", "/sessions"]);
        assert_eq!(completed("/k"), ["/kick "]);
        assert_eq!(completed("/kick "), ["/kick s1 ", "/kick s2 ", "/kick s12 "]);
        assert_eq!(completed("/kick s1"), ["/kick s1 ", "/kick s12 "]);
        assert_eq!(completed("/kick s1 1"), ["/kick s1 1000"]);
        assert_eq!(completed("/kick s1 1000 s"), [""; 0]);
        assert_eq!(completed("/send "), ["/send @"]);
        assert_eq!(completed(&format!("/send @{part}")), [format!("/send @{file}")]);
        assert_eq!(completed(&format!("/record {part}")), [format!("/record {file}")]);
        assert_eq!(completed("/close 10"), ["/close 1000"]);
        assert_eq!(completed(&format!("'{file}'")), [format!("/send @{file}")]);
        assert_eq!(completed("hello"), [""; 0]);
        assert_eq!(completed("//s"), [""; 0]);
    }

    #[test]
    fn hints_what_a_command_wants() {
        let history = FileHistory::new();
        let hint = |line: &str| helper().hint(line, line.len(), &Context::new(&history));
        assert_eq!(hint("/kick").as_deref(), Some(" ID [CODE]  does something"));
        assert_eq!(hint("hello"), None);
        assert_eq!(hint("//kick"), None);
    }
}
