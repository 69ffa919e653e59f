//! The slash commands of `connect`. Pure; what they do is the prompt's business.

use crate::command::slash::{self, Common, HELP, SESSIONS};
use crate::message::control::is_for_applications;
use crate::prompt::command::{CLOSE_CODES, Completes, Line, SlashCommand, close, command, read};

/// What a typed line means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Command {
    /// A message to send.
    Send(String),
    /// What every prompt can do.
    Common(Common),
    /// Ping, with this payload.
    Ping(String),
    /// Close.
    Close {
        /// Close code.
        code: u16,
        /// Reason, at most 123 bytes.
        reason: String,
    },
    /// Send binary: hexadecimal digits, or `@FILE`.
    Binary(String),
    /// Send what a file holds.
    SendFile(String),
    /// Print what this filter yields; `None` prints messages whole again.
    Filter(Option<String>),
    /// Record into this file; `None` stops.
    Record(Option<String>),
    /// Show the heads of request and answer.
    Headers,
    /// Send what is typed to this session, or `None`: to all.
    Use(Option<usize>),
}

/// Every command.
pub(crate) const COMMANDS: [SlashCommand; 12] = [
    HELP,
    command("/ping", "[TEXT]", "send a ping and show the round-trip time", Completes::Nothing),
    command("/close", "[CODE [REASON]]", "close the connection (default code 1000)", Completes::Words(CLOSE_CODES)),
    command("/binary", "HEX|@FILE", "send a binary message", Completes::AtFile),
    command("/send", "@FILE", "send a file: text when it is UTF-8, else binary", Completes::AtFile),
    command(
        "/jq",
        "[FILTER]",
        "print the filter's output; without a filter, whole messages",
        Completes::Words(&[("off", "off")]),
    ),
    command(
        "/record",
        "[FILE]",
        "record both directions into FILE (.jsonl or .har); without one, stop",
        Completes::File,
    ),
    command("/headers", "", "show the headers of the request and its response", Completes::Nothing),
    slash::stats("show messages, bytes and times"),
    SESSIONS,
    command("/use", "[N]", "send typed lines to session N; without N, to all", Completes::Words(&[("all", "all")])),
    slash::quit("close and quit (also Ctrl-D)"),
];

/// Reads a typed line.
///
/// # Errors
/// What is wrong with a slash command, to be shown to the user; nothing is sent then.
pub(crate) fn parse(line: &str) -> Result<Command, String> {
    let (name, rest) = match read(line, &COMMANDS)? {
        Line::Text(text) => return Ok(Command::Send(text)),
        Line::Command(name, rest) => (name, rest),
    };
    let given = || Some(rest).filter(|rest| !rest.is_empty()).map(str::to_owned);
    Ok(match name {
        "/ping" if rest.len() > 125 => return Err("a ping carries at most 125 bytes".to_owned()),
        "/ping" => Command::Ping(rest.to_owned()),
        "/close" => {
            let (code, reason) = close(rest, is_for_applications, "1000, or 3000 to 4999")?;
            Command::Close { code, reason }
        }
        "/binary" => Command::Binary(given().ok_or("/binary requires HEX or @FILE")?),
        "/send" => match rest.strip_prefix('@') {
            Some(path) if !path.is_empty() => Command::SendFile(path.to_owned()),
            _ => return Err("/send requires @FILE; to send text, type it without a slash".to_owned()),
        },
        "/jq" => Command::Filter(given().filter(|filter| filter != "off")),
        "/record" => Command::Record(given().filter(|file| file != "off")),
        "/headers" => Command::Headers,
        "/use" => match rest {
            "" | "all" => Command::Use(None),
            number => match number.trim_start_matches('s').parse() {
                Ok(number @ 1..) => Command::Use(Some(number)),
                _ => return Err("/use requires a session number; /sessions lists them".to_owned()),
            },
        },
        common => Command::Common(Common::of(common)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_reads_as_documented() {
        let send = |text: &str| Ok(Command::Send(text.to_owned()));
        let table: [(&str, Result<Command, String>); 22] = [
            ("hello", send("hello")),
            ("", send("")),
            ("//x", send("/x")),
            ("// x", send("/ x")),
            (" /help", send(" /help")),
            ("/help", Ok(Command::Common(Common::Help))),
            ("/ping", Ok(Command::Ping(String::new()))),
            ("/ping a b", Ok(Command::Ping("a b".into()))),
            ("/close", Ok(Command::Close { code: 1000, reason: String::new() })),
            ("/close 4000 good  bye ", Ok(Command::Close { code: 4000, reason: "good  bye".into() })),
            ("/binary 00ff", Ok(Command::Binary("00ff".into()))),
            ("/send @a b.json", Ok(Command::SendFile("a b.json".into()))),
            ("/jq .price | tonumber", Ok(Command::Filter(Some(".price | tonumber".into())))),
            ("/jq off", Ok(Command::Filter(None))),
            ("/jq", Ok(Command::Filter(None))),
            ("/record x.har", Ok(Command::Record(Some("x.har".into())))),
            ("/record off", Ok(Command::Record(None))),
            ("/use 2", Ok(Command::Use(Some(2)))),
            ("/use s3", Ok(Command::Use(Some(3)))),
            ("/use", Ok(Command::Use(None))),
            ("/sessions", Ok(Command::Common(Common::Sessions))),
            ("/quit", Ok(Command::Common(Common::Quit))),
        ];
        for (line, expected) in table {
            assert_eq!(parse(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let table = [
            ("/close 99", "invalid close code"),
            ("/close 1005", "invalid close code"),
            ("/send file", "requires @FILE"),
            ("/binary", "requires HEX"),
            ("/use zero", "requires a session number"),
            ("/use 0", "requires a session number"),
            ("/help me", "accepts no arguments"),
            ("/qiut", "did you mean /quit?"),
            ("/sess", "did you mean /sessions?"),
            ("/home/me/x.json", "sends the line unchanged"),
            ("/x", "//x sends"),
        ];
        for (line, expected) in table {
            let error = parse(line).expect_err(line);
            assert!(error.contains(expected), "{line}: {error}");
        }
        assert!(parse(&format!("/ping {}", "x".repeat(126))).is_err());
        assert!(parse(&format!("/close 1000 {}", "x".repeat(124))).is_err());
    }

    #[test]
    fn every_command_of_the_table_is_known() {
        for command in COMMANDS {
            let meant = parse(command.name).map(|meant| meant == Command::Common(Common::Help));
            assert_eq!(meant.unwrap_or(false), command.name == "/help", "{}", command.name);
        }
    }
}
