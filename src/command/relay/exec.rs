//! The end that an `exec:` endpoint makes.

use super::args::InputArg;
use super::build::Build;
use crate::error::Error;
use crate::pipeline::exec::ExecEnd;
use crate::source::lines::LineKind;

impl Build<'_> {
    /// A program as source, sink or both; only as FROM it may end by itself.
    pub(super) fn exec(&self, command: &str, name: &str, session: String, is_from: bool) -> Result<ExecEnd, Error> {
        Ok(ExecEnd {
            command: command.to_owned(),
            name: name.to_owned(),
            session,
            may_end: is_from,
            format: self.line_format,
            kind: match self.args.input {
                Some(InputArg::Json) => LineKind::Events,
                Some(InputArg::Raw) | None => LineKind::Raw,
            },
            max_message_size: self.args.connection.max_message_size,
            reconnect: self.reconnect()?,
            stderr: self.stderr.clone(),
        })
    }
}
