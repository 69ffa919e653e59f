//! What people type where a subcommand would stand: a URL, options before it, and `help SUBCOMMAND`.
//!
//! Owns inserting the implied subcommand. Leaves wscat's flags to `wscat` and everything else to clap. Invariant: a
//! command line that begins with a subcommand other than `help` is not changed.

use std::ffi::{OsStr, OsString};

use clap::error::ErrorKind;
use clap::{Arg, ArgAction, Command};

use super::{definition, help as topics};
use crate::config::nearest::nearest;

/// Options that are about the program itself.
const OWN: [&str; 4] = ["-h", "--help", "-V", "--version"];

/// Inserts the implied subcommand.
///
/// # Errors
/// Help on what there is not.
pub(super) fn with_subcommand(mut arguments: Vec<OsString>) -> Result<Vec<OsString>, clap::Error> {
    let mut command = definition();
    command.build();
    let Some(first) = arguments.get(1).map(|word| word.to_string_lossy().into_owned()) else { return Ok(arguments) };
    if first == "help" {
        return help(&mut command, arguments);
    }
    if command.find_subcommand(&first).is_some() || OWN.contains(&first.as_str()) {
        return Ok(arguments);
    }
    match first.as_str() {
        word if word.starts_with('-') => {
            // A subcommand behind options is a mistake that clap explains.
            let is_command = |word: &OsStr| word.to_str().is_some_and(|word| command.find_subcommand(word).is_some());
            if !first_plain(&command, &arguments[1..]).is_some_and(is_command) {
                arguments.insert(1, "connect".into());
            }
        }
        word if is_where_to(&command, word) => arguments.insert(1, "connect".into()),
        _ => {}
    }
    Ok(arguments)
}

/// `wsp help SUBCOMMAND` is `wsp SUBCOMMAND --help`, and `wsp help` is `wsp --help`; pages on topics are left as they are.
fn help(command: &mut Command, mut arguments: Vec<OsString>) -> Result<Vec<OsString>, clap::Error> {
    let asked: Vec<_> = arguments[2..].iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if asked.first().is_some_and(|word| word.starts_with('-') || topics::is_topic(word)) {
        return match topics::unknown(&asked) {
            Some(text) => Err(command.error(ErrorKind::InvalidSubcommand, text)),
            None => Ok(arguments),
        };
    }
    let mut inner = &*command;
    for (depth, word) in asked.iter().enumerate() {
        let Some(found) = inner.find_subcommand(word) else {
            let mut known: Vec<&str> = inner.get_subcommands().map(Command::get_name).collect();
            if depth == 0 {
                topics::names().for_each(|name| known.push(name));
            }
            let text = topics::no_help_on(word, &known);
            return Err(command.error(ErrorKind::InvalidSubcommand, text));
        };
        inner = found;
    }
    arguments.remove(1);
    arguments.push("--help".into());
    Ok(arguments)
}

/// A URL, a profile, a host or a port; not what is nearly a subcommand.
fn is_where_to(command: &Command, word: &str) -> bool {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'-');
    match word {
        "" | "@" => false,
        _ => !is_plain || nearest(word, command.get_subcommands().map(Command::get_name)).is_none(),
    }
}

/// The first word that is neither an option of `connect` nor the value of one.
fn first_plain<'a>(command: &Command, words: &'a [OsString]) -> Option<&'a OsStr> {
    let connect = command.find_subcommand("connect")?;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        if text == "--" {
            return words.next().map(OsString::as_os_str);
        }
        if !text.starts_with('-') || text == "-" {
            return Some(word);
        }
        if takes_the_next(connect, &text) {
            words.next();
        }
    }
    None
}

/// Whether the value of this option, or of the last in this cluster, is the next word.
fn takes_the_next(command: &Command, word: &str) -> bool {
    let wants_value =
        |arg: &Arg| matches!(arg.get_action(), ArgAction::Set | ArgAction::Append) && !arg.is_require_equals_set();
    if let Some(long) = word.strip_prefix("--") {
        let found = command.get_arguments().find(|arg| arg.get_long() == Some(long));
        return !long.contains('=') && found.is_some_and(wants_value);
    }
    let mut flags = word[1..].chars();
    while let Some(flag) = flags.next() {
        let found = command.get_arguments().find(|arg| arg.get_short() == Some(flag));
        if found.is_some_and(wants_value) {
            // What follows in the same word is its value.
            return flags.next().is_none();
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> String {
        let words = std::iter::once("wsp").chain(line.split_whitespace()).map(OsString::from).collect();
        let read = with_subcommand(words).expect("a command line");
        read[1..].iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_url_alone_or_behind_options_means_connect() {
        let table = [
            ("ws://h/", true),
            ("wss://h", true),
            ("localhost:8080", true),
            ("localhost:abc", true),
            ("localhost", true),
            ("example.com", true),
            ("example.com/path", true),
            ("127.0.0.1", true),
            ("8080", true),
            ("[::1]:80/x", true),
            (":8080", true),
            ("@prod", true),
            ("myhost", true),
            ("-k wss://h", true),
            ("-H A:b ws://h", true),
            ("-kvH A:b ws://h", true),
            ("--header A:b --insecure ws://h", true),
            ("--curl line", true),
            ("-n 1 listen.example", true),
            ("-s listen ws://h", true),
            ("-- ws://h", true),
            ("@", false),
            ("", false),
            ("listen", false),
            ("listen -v", false),
            ("conect", false),
            ("relai", false),
            ("--version", false),
            ("--help", false),
            ("-v listen", false),
            ("-H A:b connect ws://h", false),
        ];
        for (line, means_connect) in table {
            let expected = if means_connect { format!("connect {line}") } else { line.to_owned() };
            assert_eq!(read(line), expected);
        }
    }

    #[test]
    fn help_and_version_are_words_as_well() {
        let table = [
            ("help", "--help"),
            ("help relay", "relay --help"),
            ("help bench report", "bench report --help"),
            ("help exit-codes", "help exit-codes"),
            ("help recipes chat-server", "help recipes chat-server"),
            ("version", "version"),
        ];
        for (line, expected) in table {
            assert_eq!(read(line), expected);
        }
        let error = with_subcommand(["wsp", "help", "foo"].map(OsString::from).to_vec()).expect_err("no such topic");
        let text = error.render().to_string();
        assert!(text.contains("no help on 'foo'; topics are connect, listen, relay"), "{text}");
    }
}
