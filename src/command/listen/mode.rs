//! What the server does with messages, from the flags that say so.

use std::rc::Rc;

use super::ListenArgs;
use crate::command::options::ProtocolArg;
use crate::command::{payload, script, settings};
use crate::error::Error;
use crate::listen::handler::Mode;
use crate::listen::handler::exec::ExecSettings;
use crate::listen::handler::push::{Payload, PushSettings};
use crate::message::Message;
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
    if let Some(text) = &args.reply {
        return Ok(Mode::Reply(reply(text)?));
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
        () if args.broadcast => Mode::Broadcast { no_self: args.no_self },
        () if args.sink => Mode::Sink,
        () => Mode::Print,
    })
}

fn reply(text: &str) -> Result<Message, Error> {
    let payload = settings::file_or_text(text)?;
    Ok(Message::text_from_bytes(payload.clone()).unwrap_or_else(|_| Message::binary(payload)))
}
