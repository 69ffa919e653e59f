//! What the filters of a run make of a message: values of values, so that it can be done on another thread.
//!
//! Leaves what comes of it to the session's peer.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use super::opening::{Marked, Marks};
use super::plan::{Plan, Reply};
use crate::filter::apart::{Begun, begin};
use crate::filter::{Change, Filter, Fold, Json, SharedStates, States};
use crate::message::Message;

/// The filters of a run, but for the one that `/jq` changes.
pub(crate) struct Filters {
    marks: Arc<Marks>,
    reply: Option<Filter>,
    fold: Option<Fold>,
    states: SharedStates,
    expect: Option<Filter>,
    raw_output: bool,
}

/// What a message is judged with, beside the filters.
#[derive(Clone, Copy)]
pub(crate) struct Given<'a> {
    pub output: Option<&'a Filter>,
    pub json: &'a Json,
    /// Of the output filter and the fold.
    pub meta: &'a Json,
    /// The message before it.
    pub prev: &'a Json,
    /// Which init wait is not over.
    pub waiting: Option<usize>,
}

/// What the filters make of a message.
#[derive(Default)]
pub(crate) struct Verdict {
    /// What it means for what is said by itself.
    pub marked: Marked,
    /// The answers to it.
    pub replies: Vec<Message>,
    pub reply_error: Option<String>,
    pub printed: Vec<Message>,
    pub print_error: Option<String>,
    /// What it changes of the states.
    pub changes: Vec<Change>,
    /// Whether it is what `--expect` waits for.
    pub is_expected: bool,
}

impl Filters {
    pub(crate) fn new(plan: &Plan) -> Arc<Self> {
        let reply = if let Reply::Filter(filter) = &plan.reply { Some(filter.clone()) } else { None };
        let most = plan.fold.as_ref().map_or(1, |fold| fold.most);
        Arc::new(Self {
            marks: Arc::clone(&plan.opening.marks),
            reply,
            fold: plan.fold.clone(),
            states: Arc::new(Mutex::new(States::new(most))),
            expect: plan.expect.clone(),
            raw_output: plan.raw_output,
        })
    }

    pub(crate) fn states(&self) -> &SharedStates {
        &self.states
    }

    /// Whether the output filter or the fold may ask for `$meta`.
    pub(crate) fn names_meta(&self, output: Option<&Filter>) -> bool {
        output.is_some_and(Filter::names_meta) || self.fold.as_ref().is_some_and(Fold::names_meta)
    }

    pub(crate) fn begin(self: &Arc<Self>, given: Given<'_>) -> Begun<Verdict> {
        begin(
            || self.judge(given),
            || {
                let (filters, waiting) = (Arc::clone(self), given.waiting);
                let output = given.output.cloned();
                let [json, meta, prev] = [given.json, given.meta, given.prev].map(Json::clone);
                move || filters.judge(Given { output: output.as_ref(), json: &json, meta: &meta, prev: &prev, waiting })
            },
        )
    }

    fn judge(&self, given: Given<'_>) -> Verdict {
        let Given { json, prev, waiting, .. } = given;
        let null = Json::null();
        let mut verdict = Verdict { marked: self.marks.of(waiting, json, prev), ..Verdict::default() };
        if let Some(filter) = &self.reply {
            let result = filter.run(json, &null, prev, &mut |value| {
                verdict.replies.push(Message::text(value.to_plain_string()));
                ControlFlow::Continue(())
            });
            verdict.reply_error = result.err();
        }
        self.print(given, &mut verdict);
        verdict.is_expected = self.expect.as_ref().is_some_and(|filter| filter.matches(json, &null, prev));
        verdict
    }

    fn print(&self, given: Given<'_>, verdict: &mut Verdict) {
        let Some(filter) = given.output else {
            if self.fold.is_some() {
                verdict.print_error = self.pass(given.json, given.meta, verdict).err();
            }
            return;
        };
        let mut failed = None;
        let result =
            filter.run(given.json, given.meta, given.prev, &mut |value| match self.pass(&value, given.meta, verdict) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            });
        verdict.print_error = failed.or_else(|| result.err().map(|error| format!("jq: {error}")));
    }

    /// A value goes through the fold, and is printed.
    fn pass(&self, value: &Json, meta: &Json, verdict: &mut Verdict) -> Result<(), String> {
        let text = |value: &Json| {
            Message::text(if self.raw_output { value.to_plain_string() } else { value.to_compact_string() })
        };
        match &self.fold {
            None => verdict.printed.push(text(value)),
            Some(fold) => {
                let outputs = fold.step(value, meta, &self.states, &mut verdict.changes)?;
                verdict.printed.extend(outputs.iter().map(text));
            }
        }
        Ok(())
    }
}
