//! What the server does with messages, from the flags that say so.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::ListenArgs;
use crate::command::connect::InputArg;
use crate::command::options::ProtocolArg;
use crate::command::values::{duration, positive, rate, size};
use crate::command::{payload, script, settings};
use crate::error::Error;
use crate::filter::{Draft, Filler};
use crate::listen::handler::exec::ExecSettings;
use crate::listen::handler::push::{Payload, PushSettings};
use crate::listen::handler::{Answer, Mode};
use crate::listen::validation::{OnInvalid, Validation};
use crate::message::Message;
use crate::message::input::InputKind;
use crate::protocol::gateway::Behind;

/// Flags that say what happens to messages.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Messages")]
pub(crate) struct ModeArgs {
    /// Send each message back
    #[arg(long, group = "mode")]
    pub echo: bool,
    /// Send each message to all
    #[arg(long, group = "mode")]
    pub broadcast: bool,
    /// With --broadcast: do not send it back to its sender
    #[arg(long, requires = "broadcast")]
    pub no_self: bool,
    /// With --broadcast: send the filter's output instead of the message
    ///
    /// '{from: $meta.session, time: $meta.time, id: uuid, data: .}' names the sender to the others. $meta, $prev and
    /// messages that are not JSON are as for --ack. Without output nothing is sent.
    #[arg(long, value_name = "JQ", requires = "broadcast", hide_short_help = true)]
    pub forward_jq: Option<String>,
    /// Answer each message with this; @FILE reads it from a file
    #[arg(long, value_name = "MSG", group = "mode")]
    pub reply: Option<String>,
    /// Answer each message with this filter's output
    ///
    /// Messages that are not JSON are answered only with --raw-input. $meta and $prev are set as for --ack.
    #[arg(long, value_name = "F", group = "mode")]
    pub reply_jq: Option<String>,
    /// Count messages and discard them
    #[arg(long, group = "mode")]
    pub sink: bool,
    /// Run 'sh -c CMD' for each session, a line for each message
    ///
    /// A message is a line on the program's standard input (a message that holds newlines is several, binary ones get a
    /// newline too), and each line of its standard output is a message: text where it is UTF-8, else binary. Its stderr
    /// goes to that of wsp, a line at a time, with the session in front unless -q. Programs must write their lines as they
    /// come: what buffers (python, sed, grep) has an option against it, or stdbuf -oL.
    ///
    /// It finds the request in CGI's variables: REQUEST_METHOD, REQUEST_URI, PATH_INFO, QUERY_STRING, REMOTE_ADDR,
    /// REMOTE_PORT, SERVER_NAME, SERVER_PORT, HTTPS, UNIQUE_ID (the session, s1) and HTTP_NAME for each header, beside the
    /// environment of wsp itself. Nothing from the request enters the command line. The headers Authorization,
    /// Proxy-Authorization and Proxy are left out, and names with other signs than letters, digits and dashes.
    ///
    /// When the program ends, what it wrote is sent and the session closed: with 1000 after exit status 0, else with
    /// 1011. When the session ends first, its standard input ends; what runs half a second later gets SIGTERM, and
    /// after --exec-grace SIGKILL, together with all it started, unless that went into a session of its own (setsid).
    #[arg(long, value_name = "CMD", group = "mode")]
    pub exec: Option<String>,
    /// Maximum number of programs; more sessions get 503
    #[arg(long, value_name = "N", default_value_t = 1024, value_parser = positive, requires = "exec", hide_short_help = true)]
    pub exec_max: usize,
    /// Time between SIGTERM and SIGKILL
    #[arg(long, value_name = "DUR", default_value = "2s", value_parser = duration, requires = "exec", hide_short_help = true)]
    pub exec_grace: Duration,
    /// Send messages to all clients, RATE a second to each
    ///
    /// A rate is 500, 0.5 or 2.5k. All clients get the same messages, by default {"seq":1,"time":"…"}; none are made
    /// while no client is connected. The rate does not drift: late messages are caught up; those over a second late are
    /// skipped and reported. --on-full says what happens to a client that does not keep up.
    #[arg(long, value_name = "RATE", value_parser = rate, group = "mode")]
    pub push: Option<f64>,
    /// With --push: send this; @FILE sends a file
    #[arg(long, value_name = "MSG|@F", requires = "push", conflicts_with_all = ["payload_size", "payload_file"], hide_short_help = true)]
    pub payload: Option<String>,
    /// With --push: send a text of this many bytes
    #[arg(long, value_name = "N", value_parser = size, requires = "push", conflicts_with_all = ["payload_file", "template"], hide_short_help = true)]
    pub payload_size: Option<usize>,
    /// With --push: send the lines of a file in turn
    #[arg(long, value_name = "LINES", requires = "push", hide_short_help = true)]
    pub payload_file: Option<PathBuf>,
    /// Fill in {{seq}} {{uuid}} {{now}} {{now_ms}} {{env.X}} {{rand(1,100)}} in --reply, --payload or --payload-file
    #[arg(long, hide_short_help = true)]
    pub template: bool,
    /// Format of stdin: raw lines, or json event lines
    ///
    /// A raw line is a message to all. An event line is what --json prints: type (text, binary, ping, pong, close) and
    /// the payload (text or base64; code and reason for close) are needed. It goes to the sessions it names by id or
    /// name, or to all when it names none; for an unknown session it is dropped, counted and reported. A close takes
    /// effect after earlier messages to the session are sent. Lines of type open, error and retry are ignored.
    #[arg(long, hide_possible_values = true, value_name = "KIND", hide_short_help = true)]
    pub input: Option<InputArg>,
    /// Handle messages by the rules in a file
    #[arg(long, value_name = "FILE", group = "mode", hide_short_help = true, long_help = script::HELP)]
    pub script: Option<PathBuf>,
    /// Also answer each message with this filter's output
    ///
    /// Works in every mode; the answer follows what the mode sends. $meta holds session, name, subject, url
    /// (path and query), time, type, size and seq of the message, $prev is the previous JSON message, null at first. A
    /// text message that is not JSON is passed as a string, a binary one as null: '{ack: $meta.seq}' answers every
    /// message.
    #[arg(long, value_name = "JQ", hide_short_help = true)]
    pub ack: Option<String>,
}

/// Flags about the shape that messages must have.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Messages")]
pub(crate) struct ShapeArgs {
    /// Accept only messages that match this JSON Schema or Avro schema
    #[arg(long, value_name = "F", hide_short_help = true)]
    pub schema: Option<PathBuf>,
    /// Enforce "format" in --schema in every draft
    #[arg(long, requires = "schema", hide_short_help = true)]
    pub assert_format: bool,
    /// What to do with other messages: reply (with an error message), close (1008) or drop
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "reply",
        requires = "schema",
        hide_possible_values = true,
        hide_short_help = true
    )]
    pub on_invalid: OnInvalidArg,
    /// Append rejected messages to this file, as event lines with the error
    #[arg(long, value_name = "F", requires = "schema", hide_short_help = true)]
    pub dead_letter: Option<PathBuf>,
}

/// `--on-invalid`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnInvalidArg {
    /// An error message
    Reply,
    /// Close 1008
    Close,
    /// Nothing
    Drop,
}

/// The mode that the flags ask for.
///
/// # Errors
/// Files that cannot be read, filters that do not compile.
pub(super) fn of(args: &ListenArgs) -> Result<Mode, Error> {
    let spoken = settings::protocol(&args.server.protocol, Behind::Others)?;
    if args.server.protocol.protocol.is_some_and(|protocol| protocol != ProtocolArg::Raw) {
        return Ok(Mode::Protocol(spoken));
    }
    let raw_input = args.filters.raw_input;
    let max_line = args.server.max_message_size;
    let args = &args.mode;
    if args.template && args.reply.is_none() && args.push.is_none() {
        return Err(Error::usage("--template has nothing to fill in", "use it with --reply or --push"));
    }
    if let Some(text) = &args.reply {
        return Ok(Mode::Reply(Rc::new(Answer { draft: reply(text, args.template)?, filler: Filler::default() })));
    }
    if let Some(source) = &args.reply_jq {
        return Ok(Mode::ReplyFilter(settings::filter("--reply-jq", source)?, raw_input));
    }
    if let Some(command) = &args.exec {
        return Ok(Mode::Exec(Rc::new(ExecSettings {
            command: command.clone(),
            max: args.exec_max,
            grace: args.exec_grace,
            max_line,
        })));
    }
    if let Some(path) = &args.script {
        return Ok(Mode::Script(script::read(path)?));
    }
    if let Some(rate) = args.push {
        let source = payload::Source {
            text: args.payload.as_deref(),
            size: args.payload_size,
            file: args.payload_file.as_deref(),
            template: args.template,
        };
        let payload = payload::read(&source)?.unwrap_or(Payload::Numbered);
        return Ok(Mode::Push(Rc::new(PushSettings { rate, payload })));
    }
    Ok(match () {
        () if args.echo => Mode::Echo,
        () if args.broadcast => {
            let forward =
                args.forward_jq.as_deref().map(|source| settings::filter("--forward-jq", source)).transpose()?;
            Mode::Broadcast { no_self: args.no_self, forward }
        }
        () if args.sink => Mode::Sink,
        () => Mode::Print,
    })
}

/// The shape that messages must have.
///
/// # Errors
/// A schema that cannot be read.
pub(super) fn validation(args: &ShapeArgs) -> Result<Option<Validation>, Error> {
    let schema = args.schema.as_ref().map(|path| settings::schema("--schema", path, args.assert_format)).transpose()?;
    Ok(schema.map(|schema| Validation {
        schema,
        on_invalid: match args.on_invalid {
            OnInvalidArg::Reply => OnInvalid::Reply,
            OnInvalidArg::Close => OnInvalid::Close,
            OnInvalidArg::Drop => OnInvalid::Drop,
        },
    }))
}

fn reply(text: &str, template: bool) -> Result<Draft, Error> {
    let payload = settings::file_or_text(text)?;
    let message = Message::text_from_bytes(payload.clone()).unwrap_or_else(|_| Message::binary(payload));
    match message.as_text().filter(|_| template) {
        Some(text) => settings::compile(text, InputKind::Text),
        None if template => Err(Error::usage("--reply: a template must be UTF-8", "leave --template out")),
        None => Ok(Draft::Plain(message)),
    }
}
