//! `wsp generate reference`: every flag of every subcommand as a Markdown page.
//!
//! Leaves man pages and completions to [`super::generate`]. The long descriptions stay in the help and the man pages.

use std::fmt::Write as _;

use clap::{Arg, Command};

const HEAD: &str = "\
# Flags

Every subcommand with its flags, their meaning and their defaults. `wsp SUBCOMMAND --help` and the man pages in `man/`
describe each flag in full. This page is made by `wsp generate reference`; do not edit it.
";

/// Returns the page, with a table for each group of flags.
pub(super) fn page() -> String {
    let mut command = super::definition();
    command.build();
    let mut page = HEAD.to_owned();
    subcommands(&command, "wsp", &mut page);
    page
}

fn subcommands(command: &Command, name: &str, page: &mut String) {
    for child in command.get_subcommands().filter(|child| child.get_name() != "help" && !child.is_hide_set()) {
        let name = format!("{name} {}", child.get_name());
        let about = child.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = write!(page, "\n## {name}\n\n{}.\n", escaped(&about));
        flags(child, page);
        subcommands(child, &name, page);
    }
}

fn flags(command: &Command, page: &mut String) {
    let mut groups: Vec<(&str, Vec<&Arg>)> = Vec::new();
    let shown = |arg: &&Arg| !arg.is_hide_set() && arg.get_id() != "help" && !arg.is_positional();
    for arg in command.get_arguments().filter(shown) {
        let heading = arg.get_help_heading().unwrap_or("Options");
        match groups.iter_mut().find(|(name, _)| *name == heading) {
            Some((_, args)) => args.push(arg),
            None => groups.push((heading, vec![arg])),
        }
    }
    for (heading, args) in groups {
        let _ = write!(page, "\n**{heading}**\n\n| flag | meaning | default |\n|---|---|---|\n");
        for arg in args {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let _ = writeln!(page, "| {} | {} | {} |", spelling(arg), escaped(&help), default(arg));
        }
    }
}

/// The flag as the help writes it.
fn spelling(arg: &Arg) -> String {
    let mut names = Vec::new();
    names.extend(arg.get_short().map(|short| format!("-{short}")));
    names.extend(arg.get_long().map(|long| format!("--{long}")));
    let mut text = names.join(", ");
    let takes_value = arg.get_num_args().is_some_and(|range| range.takes_values());
    if takes_value {
        let values: Vec<_> = arg.get_value_names().unwrap_or_default().iter().map(|name| format!("<{name}>")).collect();
        let optional = arg.get_num_args().is_some_and(|range| range.min_values() == 0);
        let values = values.join(" ");
        let (before, after) = if optional { ("[=", "]") } else { (" ", "") };
        text.extend([before, &values, after]);
    }
    format!("`{}`", text.replace('|', "\\|"))
}

fn default(arg: &Arg) -> String {
    if arg.is_hide_default_value_set() || !arg.get_action().takes_values() {
        return String::new();
    }
    let values: Vec<_> = arg.get_default_values().iter().map(|value| format!("`{}`", value.display())).collect();
    values.join(", ")
}

/// Text in which Markdown sees no markup, for one cell of a table.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        match character {
            '|' | '<' | '*' | '_' | '[' | ']' => escaped.extend(['\\', character]),
            '\n' => escaped.push(' '),
            _ => escaped.push(character),
        }
    }
    escaped
}
