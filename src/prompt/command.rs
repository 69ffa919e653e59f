//! Slash commands: parses a typed line into a command. Pure.
//!
//! Owns how a line is read and what a table of commands says of them. Which commands there are, and what they do, is up
//! to the code that opens the prompt. Invariant: a line is sent, or it is a command of the table, or it is an error and
//! nothing else.

use crate::config::nearest::nearest;
use crate::message::control::check_reason;
use crate::percent;

/// A slash command: a row of the table that reading, completion, hints and help share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlashCommand {
    pub name: &'static str,
    /// What it takes, empty for nothing.
    pub arguments: &'static str,
    pub what: &'static str,
    pub completes: Completes,
}

/// A row of the table.
pub(crate) const fn command(
    name: &'static str,
    arguments: &'static str,
    what: &'static str,
    completes: Completes,
) -> SlashCommand {
    SlashCommand { name, arguments, what, completes }
}

/// How the arguments of a command are completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Completes {
    /// Not at all.
    Nothing,
    /// A file, after an `@`.
    AtFile,
    File,
    /// One of these, each with what is shown for it.
    Words(&'static [(&'static str, &'static str)]),
    /// A session's name, and then one of these.
    Session(&'static [(&'static str, &'static str)]),
}

/// Close codes worth offering, with what they mean.
pub(crate) const CLOSE_CODES: &[(&str, &str)] =
    &[("1000", "1000 normal"), ("3000", "3000 unauthorized"), ("4000", "4000 your own")];

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Line<'l> {
    /// A message to send.
    Text(String),
    /// A command, by its name, and its arguments without spaces around them.
    Command(&'static str, &'l str),
}

/// Reads a typed line.
///
/// # Errors
/// An unknown command, or arguments for one that takes none, to be shown to the user; nothing is sent then.
pub(crate) fn read<'l>(line: &'l str, commands: &[SlashCommand]) -> Result<Line<'l>, String> {
    if let Some(rest) = line.strip_prefix("//") {
        return Ok(Line::Text(format!("/{rest}")));
    }
    if !line.starts_with('/') {
        return Ok(Line::Text(line.to_owned()));
    }
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    match commands.iter().find(|command| command.name == name) {
        None => Err(unknown(name, line, commands)),
        Some(command) if command.arguments.is_empty() && !rest.is_empty() => Err(format!(
            "{name} accepts no \
        arguments"
        )),
        Some(command) => Ok(Line::Command(command.name, rest)),
    }
}

fn unknown(name: &str, line: &str, commands: &[SlashCommand]) -> String {
    let mut names = commands.iter().map(|command| command.name);
    let begun = names.clone().find(|candidate| name.len() > 2 && candidate.starts_with(name));
    // The slash they all share says nothing.
    let alike = || nearest(&name[1..], names.by_ref().map(|candidate| &candidate[1..]));
    match begun.map(|candidate| &candidate[1..]).or_else(alike) {
        Some(candidate) => format!("unknown command {name}; did you mean /{candidate}?"),
        None => format!("unknown command {name}; /help shows all, /{line} sends the line unchanged"),
    }
}

/// Reads `[CODE [REASON]]`; without a code it is 1000.
///
/// # Errors
/// A code that may not be sent, a reason that does not fit into a Close.
pub(crate) fn close(rest: &str, may_be_sent: impl Fn(u16) -> bool, which: &str) -> Result<(u16, String), String> {
    let (code, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let code = match code {
        "" => 1000,
        code => code
            .parse()
            .ok()
            .filter(|code| may_be_sent(*code))
            .ok_or_else(|| format!("invalid close code '{code}'; use {which}"))?,
    };
    let reason = reason.trim();
    check_reason(reason)?;
    Ok((code, reason.to_owned()))
}

/// What each command does, on a terminal of so many columns: names and words side by side where there is room, else
/// one below the other, and no word cut in two.
pub(crate) fn help(commands: &[SlashCommand], columns: usize) -> Vec<String> {
    let names: Vec<String> = commands
        .iter()
        .map(|command| format!("{} {}", command.name, command.arguments).trim_end().to_owned())
        .collect();
    let indent = names.iter().map(String::len).max().unwrap_or_default() + 2;
    let beside = columns >= 2 * indent + 10;
    let mut lines = Vec::new();
    for (name, command) in names.into_iter().zip(commands) {
        if beside {
            let what = fold(command.what, columns - indent);
            let first = std::iter::once(name).chain(std::iter::repeat(String::new()));
            lines.extend(what.into_iter().zip(first).map(|(what, name)| format!("{name:<indent$}{what}")));
        } else {
            lines.push(name);
            lines.extend(fold(command.what, columns.saturating_sub(2)).into_iter().map(|what| format!("  {what}")));
        }
    }
    lines
}

/// A text of ASCII in lines of at most so many columns, cut between words; a word longer than that is left whole.
pub(crate) fn fold(text: &str, columns: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            // The last column stays free: some terminals go on to the next line by themselves.
            Some(line) if line.len() + 1 + word.len() < columns => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Undoes what terminals do to the path of a file that is dropped on them: quotes, backslashes,
/// `file://`. `None` when the text cannot be one absolute path.
#[must_use]
pub(crate) fn dropped_path(text: &str) -> Option<String> {
    let text = text.trim();
    if text.contains('\n') || text.len() > 4096 {
        return None;
    }
    let path = match text.as_bytes() {
        [quote @ (b'\'' | b'"'), .., last] if quote == last && text.len() > 2 => text[1..text.len() - 1].to_owned(),
        _ => match text.strip_prefix("file://") {
            Some(path) => percent::decode_strict(path.strip_prefix("localhost").unwrap_or(path))?,
            None => unescape(text)?,
        },
    };
    path.starts_with('/').then_some(path)
}

/// Backslash escapes of a shell; a bare space means it is no single path.
fn unescape(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.push(chars.next()?),
            ' ' | '\t' => return None,
            c => out.push(c),
        }
    }
    Some(out)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const fn command(name: &'static str, arguments: &'static str, completes: Completes) -> SlashCommand {
        SlashCommand { name, arguments, what: "does something", completes }
    }

    /// Some of each kind.
    pub(crate) const COMMANDS: [SlashCommand; 7] = [
        command("/help", "", Completes::Nothing),
        command("/send", "@FILE", Completes::AtFile),
        command("/stats", "", Completes::Nothing),
        command("/sessions", "", Completes::Nothing),
        command("/record", "[FILE]", Completes::File),
        command("/close", "[CODE]", Completes::Words(CLOSE_CODES)),
        command("/kick", "ID [CODE]", Completes::Session(CLOSE_CODES)),
    ];

    #[test]
    fn a_line_is_a_message_or_a_command() {
        let text = |text: &str| Ok(Line::Text(text.to_owned()));
        let table: [(&str, Result<Line, String>); 8] = [
            ("hello", text("hello")),
            ("", text("")),
            ("//x", text("/x")),
            ("// x", text("/ x")),
            (" /help", text(" /help")),
            ("/help", Ok(Line::Command("/help", ""))),
            ("/send  @a b ", Ok(Line::Command("/send", "@a b"))),
            ("/close\t1000", Ok(Line::Command("/close", "1000"))),
        ];
        for (line, expected) in table {
            assert_eq!(read(line, &COMMANDS), expected, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let table = [
            ("/help me", "accepts no arguments"),
            ("/hlep", "did you mean /help?"),
            ("/sess", "did you mean /sessions?"),
            ("/home/me/x.json", "sends the line unchanged"),
            ("/x", "//x sends"),
            ("/", "unknown command /;"),
        ];
        for (line, expected) in table {
            let error = read(line, &COMMANDS).expect_err(line);
            assert!(error.contains(expected), "{line}: {error}");
        }
    }

    #[test]
    fn help_fits_the_terminal_and_cuts_no_word() {
        let row = |name, arguments, what| SlashCommand { name, arguments, what, completes: Completes::Nothing };
        let kick = row("/kick", "ID [CODE [REASON]]", "close a session immediately, by default with 1000");
        let table = [row("/help", "", "show this"), kick];
        let indent = " ".repeat(26);
        assert_eq!(
            help(&table, 80),
            [
                "/help                     show this",
                "/kick ID [CODE [REASON]]  close a session immediately, by default with 1000"
            ]
        );
        assert_eq!(
            help(&table, 62)[1..],
            [
                "/kick ID [CODE [REASON]]  close a session immediately, by".to_owned(),
                format!("{indent}default with 1000")
            ]
        );
        assert_eq!(
            help(&table, 24),
            [
                "/help",
                "  show this",
                "/kick ID [CODE [REASON]]",
                "  close a session",
                "  immediately, by",
                "  default with 1000"
            ]
        );
        for columns in 0..140 {
            let words = |lines: &[String]| lines.join(" ").split_whitespace().map(str::to_owned).collect::<Vec<_>>();
            assert_eq!(words(&help(&table, columns)), words(&help(&table, 200)), "{columns}");
            let longest = help(&table, columns).iter().map(String::len).max();
            assert!(columns < 26 || longest < Some(columns + 1), "{columns}: {longest:?}");
        }
    }

    #[test]
    fn closes_are_read() {
        let read = |rest| close(rest, |code| code == 1000 || code >= 3000, "1000 or more than 3000");
        assert_eq!(read(""), Ok((1000, String::new())));
        assert_eq!(read("4000 good  bye "), Ok((4000, "good  bye".to_owned())));
        assert!(read("1001").expect_err("not sent").ends_with("1000 or more than 3000"));
        assert!(read("x").is_err() && read("-1").is_err() && read("70000").is_err());
        assert!(read(&format!("1000 {}", "x".repeat(124))).is_err());
    }

    #[test]
    fn dropped_files_are_recognised() {
        let table = [
            ("/a/b.json", Some("/a/b.json")),
            ("'/a/with space.json'", Some("/a/with space.json")),
            ("\"/a/b\" ", Some("/a/b")),
            ("/a/with\\ space.json ", Some("/a/with space.json")),
            ("file:///a/b%20c", Some("/a/b c")),
            ("/close 1000", None),
            ("a/b", None),
            ("file:///%zz", None),
            ("", None),
            ("'", None),
        ];
        for (text, expected) in table {
            assert_eq!(dropped_path(text).as_deref(), expected, "{text}");
        }
    }
}
