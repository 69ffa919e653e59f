//! Slash commands: from a typed line to what is meant. Pure.

use crate::config::nearest::nearest;

/// What a typed line means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A message to send.
    Send(String),
    /// Show the commands.
    Help,
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
    /// Show counters.
    Stats,
    /// Show the sessions.
    Sessions,
    /// Send what is typed to this session, or `None`: to all.
    Use(Option<usize>),
    /// Close and leave.
    Quit,
}

/// Every command: its name, its arguments, what it does.
pub const COMMANDS: [(&str, &str, &str); 12] = [
    ("/help", "", "show this"),
    ("/ping", "[TEXT]", "send a ping and show the round trip time"),
    ("/close", "[CODE [REASON]]", "close the connection, 1000 when no code is given"),
    ("/binary", "HEX|@FILE", "send a binary message"),
    ("/send", "@FILE", "send a file: text when it is UTF-8, else binary"),
    ("/jq", "[FILTER]", "print what the filter yields; without one, whole messages"),
    ("/record", "[FILE]", "record both directions into FILE (.jsonl or .har); without one, stop"),
    ("/headers", "", "show the heads of the request and its answer"),
    ("/stats", "", "show messages, bytes and times"),
    ("/sessions", "", "show the sessions"),
    ("/use", "[N]", "send what is typed to session N; without one, to all"),
    ("/quit", "", "close and leave (Ctrl-D too)"),
];

/// Reads a typed line.
///
/// # Errors
/// What is wrong with a slash command, to be shown to the user; nothing is sent then.
pub fn parse(line: &str) -> Result<Command, String> {
    if let Some(rest) = line.strip_prefix("//") {
        return Ok(Command::Send(format!("/{rest}")));
    }
    if !line.starts_with('/') {
        return Ok(Command::Send(line.to_owned()));
    }
    let (name, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let given = || Some(rest).filter(|rest| !rest.is_empty()).map(str::to_owned);
    let nothing = |command: Command| match rest {
        "" => Ok(command),
        _ => Err(format!("{name} takes no arguments")),
    };
    match name {
        "/help" => nothing(Command::Help),
        "/ping" => match rest.len() {
            ..=125 => Ok(Command::Ping(rest.to_owned())),
            _ => Err("a ping carries at most 125 bytes".to_owned()),
        },
        "/close" => close(rest),
        "/binary" => given().map(Command::Binary).ok_or_else(|| "/binary wants HEX or @FILE".to_owned()),
        "/send" => match rest.strip_prefix('@') {
            Some(path) if !path.is_empty() => Ok(Command::SendFile(path.to_owned())),
            _ => Err("/send wants @FILE; a line without a slash is sent as it is".to_owned()),
        },
        "/jq" => Ok(Command::Filter(given().filter(|filter| filter != "off"))),
        "/record" => Ok(Command::Record(given().filter(|file| file != "off"))),
        "/headers" => nothing(Command::Headers),
        "/stats" => nothing(Command::Stats),
        "/sessions" => nothing(Command::Sessions),
        "/use" => match rest {
            "" | "all" => Ok(Command::Use(None)),
            number => match number.trim_start_matches('s').parse() {
                Ok(number @ 1..) => Ok(Command::Use(Some(number))),
                _ => Err("/use wants the number of a session; /sessions shows them".to_owned()),
            },
        },
        "/quit" => nothing(Command::Quit),
        unknown => Err(unknown_command(unknown, line)),
    }
}

fn close(rest: &str) -> Result<Command, String> {
    let (code, reason) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let code = match code {
        "" => 1000,
        code => code
            .parse()
            .ok()
            .filter(|code| matches!(code, 1000 | 3000..=4999))
            .ok_or_else(|| format!("'{code}' is no close code that may be sent: 1000, or 3000 to 4999"))?,
    };
    let reason = reason.trim();
    if reason.len() > 123 {
        return Err("a reason has at most 123 bytes".to_owned());
    }
    Ok(Command::Close { code, reason: reason.to_owned() })
}

fn unknown_command(name: &str, line: &str) -> String {
    let mut names = COMMANDS.iter().map(|(candidate, ..)| *candidate);
    let begun = names.clone().find(|candidate| name.len() > 2 && candidate.starts_with(name));
    // The slash they all share says nothing.
    let alike = || nearest(&name[1..], names.by_ref().map(|candidate| &candidate[1..]));
    match begun.map(|candidate| &candidate[1..]).or_else(alike) {
        Some(candidate) => format!("unknown command {name}; did you mean /{candidate}?"),
        None => format!("unknown command {name}; /help shows all, /{line} sends the line as it is"),
    }
}

/// Undoes what terminals do to the path of a file that is dropped on them: quotes, backslashes,
/// `file://`. `None` when the text cannot be one absolute path.
#[must_use]
pub fn dropped_path(text: &str) -> Option<String> {
    let text = text.trim();
    if text.contains('\n') || text.len() > 4096 {
        return None;
    }
    let path = match text.as_bytes() {
        [quote @ (b'\'' | b'"'), .., last] if quote == last && text.len() > 2 => text[1..text.len() - 1].to_owned(),
        _ => match text.strip_prefix("file://") {
            Some(path) => percent_decode(path.strip_prefix("localhost").unwrap_or(path))?,
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

fn percent_decode(text: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            out.push(u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
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
            ("/help", Ok(Command::Help)),
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
            ("/sessions", Ok(Command::Sessions)),
            ("/quit", Ok(Command::Quit)),
        ];
        for (line, expected) in table {
            assert_eq!(parse(line), expected, "{line}");
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let table = [
            ("/close 99", "no close code"),
            ("/close 1005", "no close code"),
            ("/send file", "wants @FILE"),
            ("/binary", "wants HEX"),
            ("/use zero", "wants the number"),
            ("/use 0", "wants the number"),
            ("/help me", "takes no arguments"),
            ("/qiut", "did you mean /quit?"),
            ("/sess", "did you mean /sessions?"),
            ("/home/me/x.json", "sends the line as it is"),
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
        for (name, ..) in COMMANDS {
            let error = parse(name).err().unwrap_or_default();
            assert!(!error.contains("unknown"), "{name}");
        }
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
