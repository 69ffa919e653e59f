//! Completions: what fits where somebody is typing, and the scripts by which bash, zsh and fish ask for it.
//!
//! Owns the candidates: subcommands, options of the subcommand that is meant (also behind a URL alone), profiles, schemes of
//! endpoints, files where files are meant. Leaves finding options and values to clap's engine. Invariant: it reads the
//! configuration file and names of files, connects to nothing and never fails: what cannot be completed has no candidates.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use clap::{Arg, Command};
use clap_complete::Shell;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter as _, complete};

use super::{definition, help, layers, words};
use crate::config::file;
use crate::config::place::config_file;
use crate::config::variables::Environment;

/// What an end of a relay begins with.
const SCHEMES: [&str; 13] = [
    "-",
    "null:",
    "file:",
    "exec:",
    "ws://",
    "wss://",
    "ws-listen://",
    "wss-listen://",
    "http://",
    "kafka://",
    "nats://",
    "postgres://",
    "opensearch+http://",
];

/// Returns the script that makes a shell complete `wsp`.
pub(super) fn script(shell: Shell) -> Vec<u8> {
    match shell {
        Shell::Bash => include_bytes!("../../completions/wsp.bash").to_vec(),
        Shell::Zsh => include_bytes!("../../completions/_wsp").to_vec(),
        Shell::Fish => include_bytes!("../../completions/wsp.fish").to_vec(),
        other => {
            let mut text = Vec::new();
            clap_complete::generate(other, &mut definition(), "wsp", &mut text);
            text
        }
    }
}

/// Returns what the last of these words may become, a line each: the word, a tab, and what it means.
pub(super) fn candidates(typed: &[OsString], environment: &Environment) -> Vec<u8> {
    let profiles = profiles(environment);
    let mut command = definition().mut_subcommands(|command| command.mut_args(|arg| completed(arg, &profiles)));
    let Some(words) = meant(typed) else { return Vec::new() };
    let last = words.len() - 1;
    let folder = std::env::current_dir().ok();
    let found = complete(&mut command, words, last, folder.as_deref()).unwrap_or_default();
    let mut lines = Vec::new();
    for candidate in found.iter().filter(|candidate| !candidate.is_hide_set()) {
        lines.extend_from_slice(candidate.get_value().as_bytes());
        let help = candidate.get_help().map(ToString::to_string).unwrap_or_default();
        if let Some(line) = help.lines().next() {
            lines.push(b'\t');
            lines.extend_from_slice(line.as_bytes());
        }
        lines.push(b'\n');
    }
    lines
}

/// The words with the subcommand that is meant; the last is the one that is being typed. `None` is help on what there is not.
fn meant(typed: &[OsString]) -> Option<Vec<OsString>> {
    let (last, before) = match typed.split_last() {
        Some((last, before)) => (last.clone(), before),
        None => (OsString::new(), typed),
    };
    let mut words = vec![OsString::from("wsp")];
    let is_of_connect = last.as_bytes().starts_with(b"-") || last.as_bytes().starts_with(b"@");
    if before.is_empty() && is_of_connect {
        words.push("connect".into());
    }
    words.extend_from_slice(before);
    let mut words = words::with_subcommand(words).ok()?;
    if before.first().is_some_and(|word| word == "help") && words.last().is_some_and(|word| word == "--help") {
        // What stands there now is the subcommand, and --help behind it.
        words.pop();
        if before.len() == 1 {
            words.push("help".into());
        }
    }
    words.push(last);
    Some(words)
}

/// A word, and what it means.
type Known = (String, Option<String>);

/// The profiles of the configuration file, with where they lead.
fn profiles(environment: &Environment) -> Vec<Known> {
    let Some(path) = config_file(environment) else { return Vec::new() };
    let mut definition = definition();
    definition.build();
    let Ok(read) = file::read(&path, &layers::all_options(&definition)) else { return Vec::new() };
    read.profiles.iter().map(|profile| (format!("@{}", profile.name), profile.shown_url())).collect()
}

fn known_command(command: &Command) -> Known {
    (command.get_name().to_owned(), command.get_about().map(ToString::to_string))
}

/// Adds to an argument what its values may be, as the name of the value tells.
fn completed(arg: Arg, profiles: &[Known]) -> Arg {
    let names: Vec<&str> = arg.get_value_names().unwrap_or_default().iter().map(AsRef::as_ref).collect();
    let takes = |what: &str| names.iter().any(|name| name.contains(what));
    if takes("@PROFILE") || matches!(arg.get_id().as_str(), "from" | "to") {
        let schemes: &[&str] = if takes("@PROFILE") { &["ws://", "wss://"] } else { &SCHEMES };
        let schemes = schemes.iter().map(|scheme| ((*scheme).to_owned(), None));
        let known: Vec<Known> = profiles.iter().cloned().chain(schemes).collect();
        return arg.add(ArgValueCompleter::new(move |typed: &OsStr| of_address(typed, &known)));
    }
    if arg.get_id() == "topic" {
        let commands = definition().get_subcommands().map(known_command).collect::<Vec<_>>();
        let known: Vec<Known> = commands.into_iter().chain(help::topics()).collect();
        return arg.add(ArgValueCompleter::new(move |typed: &OsStr| of_address(typed, &known)));
    }
    if takes("@F") {
        return arg.add(ArgValueCompleter::new(|typed: &OsStr| files_behind(typed, "@")));
    }
    arg
}

/// Profiles and schemes that begin as it does, and files behind `file:`.
fn of_address(typed: &OsStr, known: &[Known]) -> Vec<CompletionCandidate> {
    if typed.as_bytes().starts_with(b"file:") {
        return files_behind(typed, "file:");
    }
    let fitting = known.iter().filter(|(word, _)| word.as_bytes().starts_with(typed.as_bytes()));
    fitting.map(|(word, meaning)| CompletionCandidate::new(word).help(meaning.clone().map(Into::into))).collect()
}

/// Files whose name is typed behind a mark, which stays.
fn files_behind(typed: &OsStr, mark: &str) -> Vec<CompletionCandidate> {
    let Some(path) = typed.as_bytes().strip_prefix(mark.as_bytes()) else { return Vec::new() };
    let found = PathCompleter::any().complete(OsStr::from_bytes(path));
    found.into_iter().map(|candidate| candidate.add_prefix(mark)).collect()
}
