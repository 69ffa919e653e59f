//! What is printed of a received message: what filter and fold make of it, in the format asked for.

use std::cell::LazyCell;
use std::ops::ControlFlow;

use super::super::plan::NonJson;
use super::{SessionName, Shared};
use crate::exit::Exit;
use crate::filter::{Fold, Json};
use crate::message::Message;
use crate::message::event::{Direction, time_text, write_message_line};
use crate::message::render::{self, Format};

impl Shared {
    /// Prints a received message: through the filter, in the format asked for. Returns whether anything of it passed.
    pub fn print(
        &self,
        session: &SessionName<'_>,
        message: &Message,
        parsed: Option<&Result<Json, String>>,
        prev: &Json,
    ) -> bool {
        self.received.set(self.received.get() + 1);
        let filter = self.filter.borrow();
        if filter.is_none() && self.plan.fold.is_none() {
            self.print_message(session.id, message);
            return true;
        }
        let input = match parsed {
            Some(Ok(json)) => json,
            Some(Err(reason)) => return self.non_json(session, message, reason),
            None => return self.non_json(session, message, "not JSON: it is binary"),
        };
        let meta = LazyCell::new(|| {
            let (time, kind) = (time_text(self.clock.now()), message.kind().name());
            Json::meta(session.id, session.url, &time, kind, message.len(), session.seq)
        });
        let mut has_passed = false;
        let mut pass = |value: &Json| {
            let fold = |fold| self.fold(fold, value, &meta);
            let outputs = self.plan.fold.as_ref().map_or_else(|| Ok(vec![value.clone()]), fold)?;
            for value in outputs {
                has_passed = true;
                let text = if self.plan.raw_output { value.to_plain_string() } else { value.to_compact_string() };
                self.print_message(session.id, &Message::text(text));
            }
            Ok(())
        };
        let error = match filter.as_ref() {
            None => pass(input).err(),
            Some(filter) => {
                let mut failed = None;
                let result = filter.run(input, &filter.meta(|| meta.clone()), prev, &mut |value| match pass(&value) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        failed = Some(error);
                        ControlFlow::Break(())
                    }
                });
                failed.or_else(|| result.err().map(|error| format!("jq: {error}")))
            }
        };
        if let Some(error) = error {
            self.line_of(session.id, &error);
        }
        has_passed
    }

    /// What the fold makes of a value; nothing of it keeps the message's memory.
    fn fold(
        &self,
        fold: &Fold,
        value: &Json,
        meta: &LazyCell<Json, impl FnOnce() -> Json>,
    ) -> Result<Vec<Json>, String> {
        let meta = if fold.names_meta() { (**meta).clone() } else { Json::null() };
        let (change, outputs) = fold.run(value, &meta, |key| self.states.borrow().get(key))?;
        self.states.borrow_mut().set(change);
        Ok(outputs)
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
                self.stderr.line("hint: --non-json drop or pass goes on");
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
