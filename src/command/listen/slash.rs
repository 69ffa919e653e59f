//! The slash commands of `listen`. Pure; what they do is the prompt's business.

use crate::command::slash::{self, Common, HELP, SESSIONS};
use crate::message::control::{SENDABLE, may_be_sent};
use crate::prompt::command::{CLOSE_CODES, Completes, Line, SlashCommand, close, command, read};

/// What a typed line means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    /// A message for all sessions.
    Send(String),
    /// A message for those that a word means: an id, a bare number, or a name.
    SendTo(String, String),
    /// What every prompt can do.
    Common(Common),
    /// Close a session.
    Kick {
        /// Which, as for [`Command::SendTo`].
        session: String,
        /// Close code.
        code: u16,
        /// Reason, at most 123 bytes.
        reason: String,
    },
}

/// Every command.
pub(super) const COMMANDS: [SlashCommand; 6] = [
    HELP,
    command(
        "/to",
        "ID|NAME MESSAGE",
        "send a message to one session, or to all with a name; a line without a slash goes to all",
        Completes::Session(&[]),
    ),
    SESSIONS,
    command(
        "/kick",
        "ID|NAME [CODE [REASON]]",
        "close a session, or all with a name, immediately (default code 1000)",
        Completes::Session(CLOSE_CODES),
    ),
    slash::stats("show the counters"),
    slash::quit("close all sessions and quit (also Ctrl-D)"),
];

/// Reads a typed line.
///
/// # Errors
/// What is wrong with a slash command, to be shown to the user; nothing is sent then.
pub(super) fn parse(line: &str) -> Result<Command, String> {
    let (name, rest) = match read(line, &COMMANDS)? {
        Line::Text(text) => return Ok(Command::Send(text)),
        Line::Command(name, rest) => (name, rest),
    };
    Ok(match name {
        "/to" => {
            let (session, text) = of_session(name, rest)?;
            if text.is_empty() {
                return Err("/to requires a message after the session".to_owned());
            }
            Command::SendTo(session, text.to_owned())
        }
        "/kick" => {
            let (session, rest) = of_session(name, rest)?;
            let (code, reason) = close(rest, may_be_sent, SENDABLE)?;
            Command::Kick { session, code, reason }
        }
        common => Command::Common(Common::of(common)),
    })
}

/// A session, and what follows it. A name with spaces is written in quotes, as JSON writes it.
fn of_session<'l>(name: &str, rest: &'l str) -> Result<(String, &'l str), String> {
    let quoted = || {
        let mut texts = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        let text = texts.next()?.ok()?;
        Some((text, &rest[texts.byte_offset()..]))
    };
    let word = || {
        let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        (word.to_owned(), rest)
    };
    let (session, rest) = quoted().unwrap_or_else(word);
    if session.is_empty() {
        return Err(format!("{name} requires a session, such as s1 or a name; /sessions lists them"));
    }
    Ok((session, rest.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_reads_as_documented() {
        let kick = |session: &str, code, reason: &str| {
            Ok(Command::Kick { session: session.to_owned(), code, reason: reason.to_owned() })
        };
        let to = |session: &str, text: &str| Ok(Command::SendTo(session.to_owned(), text.to_owned()));
        let table = [
            ("hello", Ok(Command::Send("hello".into()))),
            ("//to all", Ok(Command::Send("/to all".into()))),
            ("/to s3 two  words", to("s3", "two  words")),
            ("/to 3  /x", to("3", "/x")),
            ("/to anna hello", to("anna", "hello")),
            ("/to \"CN=Anna \\u00e4\" hello there", to("CN=Anna ä", "hello there")),
            ("/to \"half hello", to("\"half", "hello")),
            ("/kick s1", kick("s1", 1000, "")),
            ("/kick 12 1008 too loud ", kick("12", 1008, "too loud")),
            ("/kick \"a b\" 1008", kick("a b", 1008, "")),
            ("/sessions", Ok(Command::Common(Common::Sessions))),
            ("/stats", Ok(Command::Common(Common::Stats))),
            ("/help", Ok(Command::Common(Common::Help))),
            ("/quit", Ok(Command::Common(Common::Quit))),
        ];
        for (line, expected) in table {
            assert_eq!(parse(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let table = [
            ("/to", "requires a session"),
            ("/to \"\" hello", "requires a session"),
            ("/to s1", "requires a message"),
            ("/to s1  ", "requires a message"),
            ("/kick", "requires a session"),
            ("/kick s1 1005", "invalid close code"),
            ("/kick s1 soon", "invalid close code"),
            ("/quit now", "accepts no arguments"),
            ("/kik s1", "did you mean /kick?"),
        ];
        for (line, expected) in table {
            let error = parse(line).expect_err(line);
            assert!(error.contains(expected), "{line}: {error}");
        }
        assert!(parse(&format!("/kick s1 1000 {}", "x".repeat(124))).is_err());
    }

    #[test]
    fn every_command_of_the_table_is_known() {
        for command in COMMANDS {
            let meant = parse(command.name).map(|meant| meant == Command::Common(Common::Help));
            assert_eq!(meant.unwrap_or(false), command.name == "/help", "{}", command.name);
        }
    }
}
