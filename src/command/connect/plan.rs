//! Turns flags into the plan of a run.

use std::rc::Rc;
use std::time::Duration;

use super::{ConnectArgs, DirArg, NonJsonArg};
use crate::client::plan::{NonJson, Plan, Reply, Wait};
use crate::client::replay::ReplayPlan;
use crate::command::options::{ColorArg, FormatArg, OutputArgs};
use crate::command::settings;
use crate::error::Error;
use crate::filter::Draft;
use crate::host::Host;
use crate::message::Message;
use crate::message::event::Direction;
use crate::message::input::InputKind;
use crate::message::render::Format;
use crate::session::reconnect::{Limit, Retries};
use crate::source::framing::Framing;

/// Checks and compiles everything before the first connection.
///
/// # Errors
/// Usage, unreadable files, filters and templates that do not compile.
pub(crate) fn plan(args: &ConnectArgs, host: &Host) -> Result<Plan, Error> {
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
    Ok(Plan {
        opening: Rc::new(settings::opening(connection)?),
        execute,
        record: args.record.clone(),
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
        non_json: match args.non_json {
            NonJsonArg::Drop => NonJson::Drop,
            NonJsonArg::Pass => NonJson::Pass,
            NonJsonArg::Error => NonJson::Error,
        },
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
        reconnect: settings::reconnect(connection, Retries::up_to(Limit::Off))?,
        interactive,
        dashboard: args.tui,
    })
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
