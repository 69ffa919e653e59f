//! What is printed of a received message: what filter and fold make of it, in the format asked for.

use super::super::plan::NonJson;
use super::{SessionName, Shared};
use crate::exit::Exit;
use crate::message::Message;
use crate::message::event::{Direction, write_message_line};
use crate::message::render::{self, Format};

/// What is to be printed of a message.
pub(crate) enum Shown<'a> {
    Whole,
    /// What filter and fold make of it, and why there is no more.
    Filtered(&'a [Message], Option<&'a str>),
    /// They cannot read it, for this reason.
    Unread(&'a str),
}

impl Shared {
    /// Prints a received message in the format asked for. Returns whether anything of it passed.
    pub(crate) fn print(&self, session: &SessionName<'_>, message: &Message, shown: &Shown<'_>) -> bool {
        self.received.set(self.received.get() + 1);
        match shown {
            Shown::Whole => {
                self.print_message(session.id, message);
                true
            }
            Shown::Filtered(outputs, error) => {
                for output in *outputs {
                    self.print_message(session.id, output);
                }
                if let Some(error) = error {
                    self.line_of(session.id, error);
                }
                !outputs.is_empty()
            }
            Shown::Unread(reason) => self.non_json(session, message, reason),
        }
    }

    fn non_json(&self, session: &SessionName<'_>, message: &Message, reason: &str) -> bool {
        match self.plan.non_json {
            NonJson::Pass => self.print_message(session.id, message),
            NonJson::Drop => {
                // A person would wait for it.
                if self.plan.interactive && self.dropped.is_none() {
                    let what = format!("wsp: message skipped: {reason}; --non-json pass shows it");
                    self.notice_of(session.id, &what);
                }
                self.dropped.count_reason(reason);
            }
            NonJson::Error => {
                let what = format!("wsp: message {} from {}: {reason}", session.seq, session.url);
                self.line_of(session.id, &what);
                self.stderr.line("hint: --non-json drop or pass continues instead");
                self.stop(Exit::Internal);
            }
        }
        self.plan.non_json == NonJson::Pass
    }

    fn print_message(&self, session: &str, message: &Message) {
        let mut output = self.output.borrow_mut();
        let out = output.buffer();
        let plan = &self.plan;
        if plan.format == Format::Json {
            write_message_line(out, self.clock.now(), session, Direction::In, message);
            output.wrote();
            return;
        }
        if plan.several && plan.to_terminal {
            render::label(out, session, plan.colour);
        }
        if plan.timestamps {
            out.extend_from_slice(format!("{:.6} ", self.clock.now()).as_bytes());
        }
        render::message(out, message, plan.format, plan.to_terminal, plan.colour);
        output.wrote();
    }
}
