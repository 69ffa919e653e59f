//! What the server does with messages, from the flags that say so.

use std::rc::Rc;

use super::{ListenArgs, OnInvalidArg};
use crate::command::options::ProtocolArg;
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

/// The mode that the flags ask for.
///
/// # Errors
/// Files that cannot be read, filters that do not compile.
pub(super) fn of(args: &ListenArgs) -> Result<Mode, Error> {
    let spoken = settings::protocol(&args.protocol, Behind::Others)?;
    if args.protocol.protocol.is_some_and(|protocol| protocol != ProtocolArg::Raw) {
        return Ok(Mode::Protocol(spoken));
    }
    if args.template && args.reply.is_none() && args.push.is_none() {
        return Err(Error::usage("--template has nothing to fill in", "it goes with --reply or --push"));
    }
    if let Some(text) = &args.reply {
        return Ok(Mode::Reply(Rc::new(Answer { draft: reply(text, args.template)?, filler: Filler::default() })));
    }
    if let Some(source) = &args.reply_jq {
        return Ok(Mode::ReplyFilter(settings::filter("--reply-jq", source)?, args.filters.raw_input));
    }
    if let Some(command) = &args.exec {
        return Ok(Mode::Exec(Rc::new(ExecSettings {
            command: command.clone(),
            max: args.exec_max,
            grace: args.exec_grace,
            max_line: args.max_message_size,
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
pub(super) fn validation(args: &ListenArgs) -> Result<Option<Validation>, Error> {
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
