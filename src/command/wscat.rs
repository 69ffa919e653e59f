//! wscat 6's own flags, put into the words of `wsp connect` and `wsp listen`.
//!
//! Owns when they are meant (`wsp -c URL`, `wsp -l PORT`, or a program called `wscat`) and what each becomes. Leaves
//! everything else to the subcommand that runs then. Invariant: what is translated means what wscat means by it,
//! or is named in [`DIFFERENCES`]; a flag that would silently do nothing for a server is refused when somebody's
//! safety could hang on it.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser};

/// The name under which wscat's flags are the only ones.
const NAME: &str = "wscat";

/// How long wscat waits after `-x`.
const WAIT_AFTER_EXECUTE: &str = "2";

const EXAMPLES: &str = "\
Examples:
  wscat -l 8080                                  a server to talk to
  wscat -c ws://localhost:8080                   a prompt
  wscat -c ws://localhost:8080 -x hello -w 1     send, listen for a second, end
  wscat -c wss://localhost:8443 -n -H 'X-Id: 7'  accept any certificate, add a header
";

/// For `--help` and the man page.
pub(crate) const DIFFERENCES: &str = "\
wsp -c URL and wsp -l PORT accept the flags of wscat 6 with wscat's meaning: -n is
--no-check there, and -w SEC a fixed time after -x. A link to wsp by the name
wscat takes them alone: ln -s wsp ~/.local/bin/wscat; wscat --help lists them.
wsp differs on purpose in these points:
  - Piped input is queued until the connection is open and then sent; wsp waits for a reply. wscat loses both.
  - With -x stdin is not read, so its end does not shorten the wait.
  - The exit code says what happened; wscat's is 0 or 255. Everything but messages
    goes to stderr.
  - Slash commands are on at the prompt with or without --slash; //x sends /x.
    Piped lines are sent as they are.
  - ws:// is optional, with or without a port: localhost:8080.
  - -l listens on 127.0.0.1 only (-l 0.0.0.0:8080 is everyone), serves any number
    of clients, and keeps running when stdin ends.
  - With -l, security flags that a server would ignore are rejected.
  - Binary messages go to a pipe unchanged.
";

/// wscat 6's flags
#[derive(Debug, Clone, Parser)]
#[command(
    name = NAME,
    version,
    about = "wscat's own flags, as wsp understands them",
    before_help = EXAMPLES,
    after_long_help = DIFFERENCES,
    arg_required_else_help = false,
    override_usage = "wscat [OPTIONS] (--listen PORT | --connect URL)"
)]
struct WscatArgs {
    /// Connect to a WebSocket server
    #[arg(short, long, value_name = "URL", conflicts_with = "listen", required_unless_present = "listen")]
    connect: Option<String>,
    /// Listen on a port
    #[arg(short, long, value_name = "PORT")]
    listen: Option<String>,
    /// Basic authentication
    #[arg(long, value_name = "USERNAME:PASSWORD", conflicts_with = "listen")]
    auth: Option<String>,
    /// Trust only the certificates in this PEM file
    #[arg(long, value_name = "CA", conflicts_with = "listen")]
    ca: Option<OsString>,
    /// Client certificate
    #[arg(long, value_name = "CERT", conflicts_with = "listen")]
    cert: Option<OsString>,
    /// Key of the client certificate
    #[arg(long, value_name = "KEY", conflicts_with = "listen")]
    key: Option<OsString>,
    /// Passphrase of the key; asked for when none is given
    #[arg(long, value_name = "PASSPHRASE", num_args = 0..=1, conflicts_with = "listen")]
    passphrase: Option<Vec<String>>,
    /// Host header
    #[arg(long, value_name = "HOST", conflicts_with = "listen")]
    host: Option<String>,
    /// Add a header; may be repeated
    #[arg(short = 'H', long, value_name = "HEADER:VALUE", conflicts_with = "listen")]
    header: Vec<String>,
    /// Follow redirects
    #[arg(short = 'L', long)]
    location: bool,
    /// Maximum number of redirects [default: 10]
    #[arg(long, value_name = "NUM", num_args = 0..=1, default_missing_value = "10")]
    max_redirects: Option<u32>,
    /// Accept any certificate
    #[arg(short, long)]
    no_check: bool,
    /// No colours
    #[arg(long)]
    no_color: bool,
    /// Origin header
    #[arg(short, long, value_name = "ORIGIN", conflicts_with = "listen")]
    origin: Option<String>,
    /// Version of the protocol, 13 or 8
    #[arg(short, long, value_name = "VERSION", value_parser = ["13", "8"], conflicts_with = "listen")]
    protocol: Option<String>,
    /// Show pings and pongs
    #[arg(short = 'P', long)]
    show_ping_pong: bool,
    /// Connect through a proxy
    #[arg(long, value_name = "[PROTOCOL://]HOST[:PORT]", conflicts_with = "listen")]
    proxy: Option<String>,
    /// Slash commands at the prompt; they are always on
    #[arg(long)]
    slash: bool,
    /// Subprotocol; may be repeated
    #[arg(short, long, value_name = "PROTOCOL")]
    subprotocol: Vec<String>,
    /// Seconds to wait after -x, -1 to hold open [default: 2]
    #[arg(short, long, value_name = "SECONDS", allow_hyphen_values = true)]
    wait: Option<String>,
    /// Send this after connecting, and read no stdin; may be repeated
    #[arg(short = 'x', long, value_name = "COMMAND", conflicts_with = "listen", allow_hyphen_values = true)]
    execute: Vec<String>,
}

/// What of wscat's meaning no flag of ours says: besides, `-x` takes no `@FILE` and the wait is a fixed time.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Meaning {
    /// The passphrase of the key, in the open.
    pub passphrase: Option<String>,
}

impl fmt::Debug for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Meaning")
    }
}

/// Puts the arguments into wsp's own words when they are wscat's.
///
/// `ask` is called for a passphrase that is to be typed.
///
/// # Errors
/// Flags that wscat has not, and requests for help.
pub(crate) fn translate(
    arguments: Vec<OsString>,
    ask: impl FnOnce() -> std::io::Result<String>,
) -> Result<(Vec<OsString>, Option<Meaning>), clap::Error> {
    if !is_meant(&arguments) {
        return Ok((arguments, None));
    }
    let mut command = WscatArgs::command().help_template(super::TEMPLATE);
    if arguments.len() < 2 {
        // wscat shows its help then.
        return Err(match command.try_get_matches_from(["wscat", "--help"]) {
            Err(help) => help,
            Ok(_) => clap::Error::new(ErrorKind::DisplayHelp),
        });
    }
    let mut args = WscatArgs::from_arg_matches(&command.try_get_matches_from_mut(&arguments)?)?;
    let mut passphrase = args.passphrase.take().map(|mut given| given.pop());
    if passphrase == Some(None) {
        let asked = ask().map_err(|error| {
            let text = format!("cannot ask for the passphrase: {error}; give it as --passphrase=PASSPHRASE\n");
            command.error(ErrorKind::MissingRequiredArgument, text)
        })?;
        passphrase = Some(Some(asked));
    }
    Ok((args.in_our_words(), Some(Meaning { passphrase: passphrase.flatten() })))
}

/// Whether these are wscat's flags: by the name of the program, or by `-c` or `-l` before any subcommand.
fn is_meant(arguments: &[OsString]) -> bool {
    let mut words = arguments.iter().map(|argument| argument.to_string_lossy());
    let name = words.next().unwrap_or_default();
    let called_so = Path::new(name.as_ref()).file_name().is_some_and(|name| name == NAME);
    let words: Vec<_> = words.collect();
    match words.first() {
        None => called_so,
        Some(first) => first.starts_with('-') && (called_so || words.iter().any(|word| says_where(word))),
    }
}

/// `-c`, `-l`, their long forms, and either at the end of a cluster or with its value attached.
fn says_where(word: &str) -> bool {
    if let Some(long) = word.strip_prefix("--") {
        let name = long.split('=').next().unwrap_or_default();
        return name == "connect" || name == "listen";
    }
    let Some(cluster) = word.strip_prefix('-') else { return false };
    let switches = ['n', 'L', 'P'];
    cluster.chars().find(|flag| !switches.contains(flag)).is_some_and(|flag| flag == 'c' || flag == 'l')
}

/// Arguments under construction.
struct Words(Vec<OsString>);

impl Words {
    fn switch(&mut self, on: bool, name: &str) {
        if on {
            self.0.push(name.into());
        }
    }

    fn value(&mut self, name: &str, value: impl Into<OsString>) {
        let mut word = OsString::from(format!("{name}="));
        word.push(value.into());
        self.0.push(word);
    }

    fn values<T: Into<OsString>>(&mut self, name: &str, values: impl IntoIterator<Item = T>) {
        for value in values {
            self.value(name, value);
        }
    }
}

impl WscatArgs {
    fn in_our_words(self) -> Vec<OsString> {
        match (self.connect.clone(), self.listen.clone()) {
            (Some(url), _) => self.connecting(url),
            (None, address) => self.listening(address.unwrap_or_default()),
        }
    }

    fn listening(self, address: String) -> Vec<OsString> {
        let mut words = Words(vec!["wsp".into(), "listen".into()]);
        words.values("--subprotocol", self.subprotocol);
        words.values("--color", self.no_color.then_some("never"));
        words.0.extend(["--".into(), address.into()]);
        words.0
    }

    fn connecting(self, url: String) -> Vec<OsString> {
        let mut words = Words(vec!["wsp".into(), "connect".into()]);
        self.headers(&mut words);
        words.values("--cacert", self.ca);
        words.values("--cert", self.cert);
        words.values("--key", self.key);
        words.values("--host", self.host);
        words.switch(self.location, "--location");
        words.values("--max-redirects", self.max_redirects.map(|most| most.to_string()));
        words.switch(self.no_check, "--insecure");
        words.values("--color", self.no_color.then_some("never"));
        words.values("--proxy", self.proxy.map(with_scheme));
        words.switch(self.show_ping_pong, "--show-ping-pong");
        words.values("--subprotocol", self.subprotocol);
        if !self.execute.is_empty() {
            // Without -x wscat takes no notice of -w.
            words.value("--wait", self.wait.unwrap_or_else(|| WAIT_AFTER_EXECUTE.to_owned()));
        }
        words.values("--execute", self.execute);
        words.0.extend(["--".into(), url.into()]);
        words.0
    }

    /// Headers, and the flags that are headers.
    fn headers(&self, words: &mut Words) {
        let is_authorization = |header: &str| {
            header.split(':').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("authorization"))
        };
        let headers = self.header.iter().filter(|header| self.auth.is_none() || !is_authorization(header));
        words.values("--header", headers);
        match &self.auth {
            // For us it would name a file.
            Some(pair) if pair.starts_with('@') => {
                words.value("--header", format!("Authorization: Basic {}", BASE64.encode(pair)));
            }
            pair => words.values("--user", pair),
        }
        if self.protocol.as_deref() == Some("8") {
            words.value("--header", "Sec-WebSocket-Version: 8");
            words.values("--header", self.origin.iter().map(|origin| format!("Sec-WebSocket-Origin: {origin}")));
        } else {
            words.values("--origin", &self.origin);
        }
    }
}

fn with_scheme(proxy: String) -> String {
    if proxy.contains("://") { proxy } else { format!("http://{proxy}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(line: &[&str]) -> Result<Vec<String>, ErrorKind> {
        let words = line.iter().map(OsString::from).collect();
        translate(words, || Ok("asked".to_owned()))
            .map(|(words, _)| words.into_iter().map(|word| word.into_string().expect("UTF-8")).collect())
            .map_err(|error| error.kind())
    }

    #[test]
    fn wscats_flags_become_ours() {
        let table: [(&[&str], &[&str]); 14] = [
            (&["-c", "ws://h"], &[]),
            (&["--connect=h:1", "-n"], &["--insecure"]),
            (&["-nLc", "ws://h"], &["--location", "--insecure"]),
            (&["-cws://h", "--auth", "u:p"], &["--user=u:p"]),
            (
                &["-c", "h", "--auth", "@u:p", "-H", "authorization: x", "-H", "A: 1"],
                &["--header=A: 1", "--header=Authorization: Basic QHU6cA=="],
            ),
            (&["-x", "@a", "-x", "-b", "-c", "h"], &["--wait=2", "--execute=@a", "--execute=-b"]),
            (&["-w", "5", "-x", "a", "-c", "h"], &["--wait=5", "--execute=a"]),
            (&["-w", "-1", "-x", "a", "-c", "h"], &["--wait=-1", "--execute=a"]),
            (&["-w", "5", "-c", "h", "--slash", "-P"], &["--show-ping-pong"]),
            (
                &["-c", "h", "-o", "o", "-s", "a", "-s", "b", "-p", "13"],
                &["--origin=o", "--subprotocol=a", "--subprotocol=b"],
            ),
            (
                &["-c", "h", "-o", "o", "-p", "8"],
                &["--header=Sec-WebSocket-Version: 8", "--header=Sec-WebSocket-Origin: o"],
            ),
            (
                &["-c", "h", "--ca", "a", "--cert", "b", "--key", "c", "--passphrase", "d"],
                &["--cacert=a", "--cert=b", "--key=c"],
            ),
            (&["-c", "h", "--passphrase", "--host", "v"], &["--host=v"]),
            (
                &["-c", "h", "--proxy", "p:3128", "-L", "--max-redirects", "3", "--no-color"],
                &["--location", "--max-redirects=3", "--color=never", "--proxy=http://p:3128"],
            ),
        ];
        for (line, expected) in table {
            let line = [&["wsp"], line].concat();
            let words = translated(&line).expect("a translation");
            assert_eq!(words[..2], ["wsp", "connect"], "{line:?}");
            assert_eq!(words[2..words.len() - 2], *expected, "{line:?}");
            assert_eq!(words[words.len() - 2], "--", "{line:?}");
        }
        let words = translated(&["wsp", "-l", "8080", "-s", "chat", "--slash", "-P"]).expect("a translation");
        assert_eq!(words, ["wsp", "listen", "--subprotocol=chat", "--", "8080"]);
    }

    #[test]
    fn they_are_wscats_only_with_minus_c_or_l_or_by_its_name() {
        let own: [&[&str]; 7] = [
            &["wsp"],
            &["wsp", "connect", "ws://h", "-x", "-c"],
            &["wsp", "ws://h", "-n", "1"],
            &["wsp", "--help"],
            &["wsp", "bench", "-c", "5", "ws://h"],
            &["wsp", "-n"],
            &["/bin/wscat", "connect", "ws://h"],
        ];
        for line in own {
            assert_eq!(translated(line), Ok(line.iter().map(|word| (*word).to_owned()).collect()), "{line:?}");
        }
        assert_eq!(translated(&["/usr/bin/wscat"]), Err(ErrorKind::DisplayHelp));
        assert_eq!(translated(&["wscat", "-h"]), Err(ErrorKind::DisplayHelp));
        assert_eq!(translated(&["wscat", "-V"]), Err(ErrorKind::DisplayVersion));
        assert_eq!(translated(&["wscat", "-n"]), Err(ErrorKind::MissingRequiredArgument));
        assert_eq!(translated(&["wsp", "-c", "h", "--json"]), Err(ErrorKind::UnknownArgument));
        assert_eq!(translated(&["wsp", "-c", "h", "-l", "1"]), Err(ErrorKind::ArgumentConflict));
        assert_eq!(translated(&["wsp", "-l", "1", "--auth", "u:p"]), Err(ErrorKind::ArgumentConflict));
        assert_eq!(translated(&["wsp", "-c", "h", "-p", "7"]), Err(ErrorKind::InvalidValue));
    }

    #[test]
    fn the_passphrase_is_given_or_asked_for() {
        for (line, expected) in [
            (&["wscat", "-c", "h", "--passphrase", "given"][..], Some("given")),
            (&["wscat", "--passphrase", "-c", "h"], Some("asked")),
            (&["wscat", "-c", "h"], None),
        ] {
            let words = line.iter().map(OsString::from).collect();
            let (_, meaning) = translate(words, || Ok("asked".to_owned())).expect("a translation");
            assert_eq!(meaning, Some(Meaning { passphrase: expected.map(str::to_owned) }), "{line:?}");
        }
        let words = ["wscat", "-c", "h", "--passphrase"].iter().map(OsString::from).collect();
        let error = translate(words, || Err(std::io::Error::other("no terminal"))).expect_err("nobody to ask");
        assert!(error.to_string().contains("no terminal"), "{error}");
    }

    #[test]
    fn the_definition_is_sound() {
        WscatArgs::command().debug_assert();
    }
}
