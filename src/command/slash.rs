//! The slash commands that every prompt has. What they show is each prompt's business.

use crate::prompt::command::{Completes, SlashCommand, command};

/// A command of every prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Common {
    /// Show the commands.
    Help,
    /// Show the sessions.
    Sessions,
    /// Show counters.
    Stats,
    /// Close everything and leave.
    Quit,
}

/// The row of [`Common::Help`].
pub(crate) const HELP: SlashCommand = row("/help", "show this");
/// The row of [`Common::Sessions`].
pub(crate) const SESSIONS: SlashCommand = row("/sessions", "show the sessions");

/// Returns the row of [`Common::Stats`], which says what is counted.
pub(crate) const fn stats(what: &'static str) -> SlashCommand {
    row("/stats", what)
}

/// Returns the row of [`Common::Quit`], which says what is left.
pub(crate) const fn quit(what: &'static str) -> SlashCommand {
    row("/quit", what)
}

const fn row(name: &'static str, what: &'static str) -> SlashCommand {
    command(name, "", what, Completes::Nothing)
}

impl Common {
    /// Returns the command of this name, help where there is none.
    pub(crate) fn of(name: &str) -> Self {
        match name {
            "/sessions" => Self::Sessions,
            "/stats" => Self::Stats,
            "/quit" => Self::Quit,
            _ => Self::Help,
        }
    }
}
