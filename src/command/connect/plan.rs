//! From the flags as typed to the run as meant: after it no illegal setting can exist.

use std::rc::Rc;
use std::time::Duration;

use super::replay::ReplayPlan;
use super::{ConnectArgs, DirArg};
use crate::command::options::{ColorArg, FormatArg, OutputArgs};
use crate::command::settings;
use crate::command::values::Wait;
use crate::error::Error;
use crate::filter::{Draft, DraftError, Filter, Fold, Schema};
use crate::host::Host;
use crate::message::Message;
use crate::message::event::Direction;
use crate::message::input::InputKind;
use crate::message::render::Format;
use crate::session::keepalive::KeepaliveSettings;
use crate::session::opening::OpeningPlan;
use crate::session::reconnect::{ReconnectSettings, Retries};
use crate::source::framing::Framing;

/// What happens to a message the filter cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum NonJson {
    /// It is left out, and counted
    Drop,
    /// It is printed as it is
    Pass,
    /// The run ends with an error
    Error,
}

/// How what arrives is answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Not at all.
    None,
    /// With itself.
    Echo,
    /// With what the filter yields.
    Filter(Filter),
}

/// A `connect` run as meant.
pub(crate) struct Plan {
    /// What is said by itself: init messages, heartbeats.
    pub opening: Rc<OpeningPlan>,
    /// `-x` messages; `None` reads stdin.
    pub execute: Option<Vec<Draft>>,
    /// Sent instead of stdin.
    pub replay: Option<ReplayPlan>,
    /// How stdin becomes messages.
    pub input: InputKind,
    /// Where messages end in stdin.
    pub framing: Framing,
    /// Fill in templates in what stdin brings.
    pub template: bool,
    /// After the input has ended.
    pub wait: Wait,
    /// Messages do not begin the wait anew.
    pub fixed_wait: bool,
    /// Finish after so many messages.
    pub count: Option<u64>,
    /// Finish when this matches.
    pub expect: Option<Filter>,
    /// Longest time for `expect`.
    pub within: Option<Duration>,
    /// Output filter.
    pub filter: Option<Filter>,
    /// State from message to message, behind the filter.
    pub fold: Option<Fold>,
    /// Strings the filter yields are printed without quotes.
    pub raw_output: bool,
    /// Messages the filter cannot read.
    pub non_json: NonJson,
    /// Replies.
    pub reply: Reply,
    /// Shape of what arrives.
    pub schema: Option<Schema>,
    /// The first message without that shape ends the run.
    pub fail_on_invalid: bool,
    /// Most payload bytes in a frame we send.
    pub fragment: Option<usize>,
    /// How messages are printed.
    pub format: Format,
    /// Whether stdout is a terminal, where control characters are escaped.
    pub to_terminal: bool,
    /// Several sessions, which are told apart where a person reads.
    pub several: bool,
    /// Colours on stdout.
    pub colour: bool,
    /// Time before each message.
    pub timestamps: bool,
    /// Pings and pongs on stderr.
    pub show_ping_pong: bool,
    /// Handshake on stderr.
    pub verbose: bool,
    /// Only errors on stderr.
    pub quiet: bool,
    /// Longest wait for the peer's Close.
    pub close_timeout: Duration,
    /// Whole run.
    pub timeout: Option<Duration>,
    /// Pings and idle time.
    pub keepalive: KeepaliveSettings,
    /// Whether and when a session is connected again.
    pub reconnect: ReconnectSettings,
    /// End of input closes at once: a person typed Ctrl-D.
    pub interactive: bool,
    /// A dashboard shows everything, and a person says when it ends.
    pub dashboard: bool,
}

impl Plan {
    /// Checks and compiles everything before the first connection.
    ///
    /// # Errors
    /// Usage, unreadable files, filters and templates that do not compile.
    pub(crate) fn new(args: &ConnectArgs, host: &Host) -> Result<Self, Error> {
        let connection = &args.connection;
        connection.filters.set_variables()?;
        let template = connection.template;
        let filter = |flag: &'static str, source: &Option<String>| {
            source.as_deref().map(|source| settings::filter(flag, source)).transpose()
        };
        let reply = match (&args.reply_jq, args.echo) {
            (Some(source), _) => Reply::Filter(settings::filter("--reply-jq", source)?),
            (None, true) => Reply::Echo,
            (None, false) => Reply::None,
        };
        let input = match () {
            () if args.binary => InputKind::Binary,
            () if args.hex => InputKind::Hex,
            () if args.base64 => InputKind::Base64,
            () if args.input == Some(super::InputArg::Json) => InputKind::Events,
            () => InputKind::Text,
        };
        // A reply mode reads no stdin and goes on until the peer closes.
        let replies = !matches!(reply, Reply::None);
        let default_wait = if replies { Wait::UntilClosed } else { Wait::Quiet(Duration::from_secs(1)) };
        let execute = if args.execute.is_empty() && !replies {
            None
        } else {
            let mut messages = Vec::new();
            for text in &args.execute {
                messages.push(if args.wscat {
                    Draft::Plain(Message::text(text.clone()))
                } else {
                    settings::encoded_draft(text, template, input)?
                });
            }
            Some(messages)
        };
        let interactive = host.stdin_is_terminal && execute.is_none() && args.replay.is_none();
        let format = format(&args.output, host, args.jq.is_some() || args.fold.fold.is_some());
        Ok(Self {
            opening: Rc::new(settings::opening(connection)?),
            execute,
            replay: args.replay.as_ref().map(|path| ReplayPlan {
                path: path.clone(),
                speed: args.speed,
                direction: if args.dir == DirArg::In { Direction::In } else { Direction::Out },
                session: args.session,
                closes: args.replay_close,
            }),
            input,
            framing: framing(args)?,
            template,
            wait: args.wait.unwrap_or(if interactive { Wait::Quiet(Duration::ZERO) } else { default_wait }),
            fixed_wait: args.wscat,
            count: args.count,
            expect: filter("--expect", &args.expect)?,
            within: args.within,
            filter: filter("--jq", &args.jq)?,
            fold: args.fold.fold()?,
            raw_output: args.raw_output,
            non_json: args.non_json,
            reply,
            schema: args
                .schema
                .as_deref()
                .map(|path| settings::schema("--schema", path, args.assert_format))
                .transpose()?,
            fail_on_invalid: args.fail_on_invalid,
            fragment: args.fragment,
            format,
            to_terminal: host.stdout_is_terminal,
            several: args.urls.len() > 1,
            colour: colour(args.output.color, host),
            timestamps: args.timestamps,
            show_ping_pong: args.show_ping_pong,
            verbose: args.output.verbose,
            quiet: args.output.quiet,
            close_timeout: connection.close_timeout,
            timeout: connection.timeout,
            keepalive: settings::keepalive(connection, interactive && host.stdout_is_terminal),
            // What was not asked for is not done.
            reconnect: settings::reconnect(connection, Retries::up_to(0))?,
            interactive,
            dashboard: args.tui,
        })
    }

    /// The message to send now; a template is filled in with the next number.
    ///
    /// # Errors
    /// A template that cannot be filled in, or yields what `--hex` or `--base64` cannot read.
    pub(crate) fn fill(&self, draft: &Draft) -> Result<Message, Error> {
        self.opening.filler.fill(draft, "").map_err(draft_error)
    }

    /// Whether every message's time matters, so that the clock is read for each.
    pub(crate) fn needs_clock(&self) -> bool {
        matches!(self.wait, Wait::Quiet(wait) if !wait.is_zero()) && !self.fixed_wait
    }

    /// Whether what arrives must be parsed, a filter for the output aside.
    pub(crate) fn needs_json(&self) -> bool {
        self.fold.is_some()
            || self.expect.is_some()
            || self.opening.marks.needs_json()
            || matches!(self.reply, Reply::Filter(_))
    }
}

/// The format asked for, or what suits the reader.
pub(crate) fn format(output: &OutputArgs, host: &Host, filtered: bool) -> Format {
    if output.json {
        return Format::Json;
    }
    match output.format {
        Some(FormatArg::Json) => Format::Json,
        Some(FormatArg::Pretty) => Format::Pretty,
        Some(FormatArg::Hex) => Format::Hex,
        None if host.stdout_is_terminal && !filtered => Format::Pretty,
        Some(FormatArg::Raw) | None => Format::Raw,
    }
}

/// Whether colours are used on stdout.
pub(crate) fn colour(wish: ColorArg, host: &Host) -> bool {
    match wish {
        ColorArg::Always => true,
        ColorArg::Never => false,
        ColorArg::Auto => host.stdout_is_terminal && host.colour,
    }
}

fn framing(args: &ConnectArgs) -> Result<Framing, Error> {
    if args.whole {
        return Ok(Framing::Whole);
    }
    if args.null {
        return Ok(Framing::Delimiter(vec![0]));
    }
    match args.delimiter.as_deref() {
        None => Ok(Framing::Lines),
        Some("") => Err(Error::usage("--delimiter must not be empty", "--whole sends the input as one message")),
        Some(text) => Ok(Framing::Delimiter(unescape(text))),
    }
}

/// `\n`, `\t`, `\r`, `\0` and `\\` as in printf.
fn unescape(text: &str) -> Vec<u8> {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, if c == '\\' { chars.clone().next() } else { None }) {
            ('\\', Some(escaped @ ('n' | 't' | 'r' | '0' | '\\'))) => {
                chars.next();
                out.push(match escaped {
                    'n' => '\n',
                    't' => '\t',
                    'r' => '\r',
                    '0' => '\0',
                    other => other,
                });
            }
            _ => out.push(c),
        }
    }
    out.into_bytes()
}

/// Input that is not what the flags promised, with what helps.
pub(crate) fn input_error(text: impl Into<String>) -> Error {
    Error::usage(text, settings::HOW_INPUT_IS_WRITTEN)
}

/// A draft that did not become a message.
pub(crate) fn draft_error(error: DraftError) -> Error {
    match error {
        DraftError::Template(error) => Error::Compile { flag: "--template", reason: error.to_string() },
        DraftError::Input(text) => input_error(text),
    }
}
