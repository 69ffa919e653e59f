//! What the prompts of `connect` and `listen` have in common: taking the terminal over, and saying something there.

use crate::host::Stderr;
use crate::message::render;
use crate::prompt::command::{self, SlashCommand};
use crate::prompt::{Prompt, PromptSettings, terminal};
use crate::sink::stdout::Output;

/// Takes the terminal over: what is printed and what goes to a stderr that is the terminal, too, is shown above the line.
/// `None` where the terminal cannot be driven.
pub(crate) fn open(settings: PromptSettings, stderr: &Stderr) -> Option<(Prompt, Output)> {
    let prompt = Prompt::open(settings).ok()?;
    let screen = prompt.screen().clone();
    let output = Output::over(screen.writer());
    if stderr.is_terminal() {
        stderr.divert(move |line| screen.line(line));
    }
    Some((prompt, output))
}

/// A line to the user, whatever `-q` says: it was asked for. What the peer wrote cannot drive the
/// terminal.
pub(crate) fn say(stderr: &Stderr, text: &str) {
    let mut safe = Vec::new();
    render::escape_for_terminal(&mut safe, text.as_bytes());
    stderr.line(String::from_utf8_lossy(&safe));
}

/// What is shown below the commands.
const HABITS: [&str; 2] = [
    "//x sends /x; a line that starts with a space is not saved in the history",
    "Tab completes, Ctrl-R searches the history, Ctrl-D or Ctrl-C quits (Ctrl-C twice: immediately)",
];

/// Shows the commands, and which keys do what.
pub(crate) fn help(stderr: &Stderr, commands: &[SlashCommand]) {
    let columns = terminal::columns();
    let rest = HABITS.into_iter().flat_map(|text| command::fold(text, columns));
    for line in command::help(commands, columns).into_iter().chain(rest) {
        say(stderr, &line);
    }
}
