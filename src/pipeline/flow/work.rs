//! What filter, fold and routes make of a message: values of values, so that it can be done on another thread.

use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::Timestamp;

use super::folding::Folding;
use super::routes::{Choice, Leg, choose};
use super::{FlowSettings, Lineage, made_of};
use crate::filter::apart::{Begun, begin};
use crate::filter::{Change, Filter, Fold, Json, SharedStates};
use crate::message::Message;
use crate::message::event::time_text;
use crate::message::source::Source;

/// What a message has come to.
#[derive(Default)]
pub(super) struct Yield {
    /// What is yielded, with the routes it takes, in order.
    pub(super) outputs: Vec<(Message, Vec<Leg>)>,
    /// What it changes of the states, which change only once all of it is taken.
    pub(super) changes: Vec<Change>,
    /// What went wrong at its end.
    pub(super) error: Option<String>,
}

/// Filter, fold and routes.
pub(super) struct Work {
    filter: Option<Filter>,
    fold: Option<(Fold, SharedStates)>,
    choices: Vec<Choice>,
    all: bool,
    names_meta: bool,
}

impl Work {
    pub(super) fn new(settings: &FlowSettings, folding: Option<&Folding>) -> Arc<Self> {
        let filter = settings.filter.clone();
        let fold = settings.fold.clone().zip(folding.map(Folding::share));
        let choices: Vec<Choice> = settings.routes.iter().map(|route| route.choice.clone()).collect();
        let names_meta = filter.as_ref().is_some_and(Filter::names_meta)
            || fold.as_ref().is_some_and(|(fold, _)| fold.names_meta())
            || choices.iter().any(Choice::names_meta);
        Arc::new(Self { filter, fold, choices, all: settings.route_all, names_meta })
    }

    /// Begins to work on a message.
    pub(super) fn begin(
        self: &Arc<Self>,
        lineage: &Lineage,
        message: &Message,
        json: &Json,
        prev: &Json,
    ) -> Begun<Yield> {
        begin(
            || self.make(message, json, prev, &|message| lineage.meta(message)),
            || {
                let (work, message) = (Arc::clone(self), message.clone());
                let (json, prev, meta) = (json.clone(), prev.clone(), Meta::of(self, lineage, &message));
                move || work.make(&message, &json, &prev, &|message| meta.make(message))
            },
        )
    }

    fn make(&self, message: &Message, json: &Json, prev: &Json, meta: &dyn Fn(&Message) -> Json) -> Yield {
        let mut yielded = Yield::default();
        let Some(filter) = &self.filter else {
            yielded.error = self.pass(message, json, false, meta, &mut yielded).err();
            return yielded;
        };
        let mut failed = None;
        let own = filter.meta(|| meta(message));
        let result =
            filter.run(json, &own, prev, &mut |value| match self.pass(message, &value, true, meta, &mut yielded) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            });
        yielded.error = failed.or_else(|| result.err().map(|error| format!("jq: {error}")));
        yielded
    }

    /// What the filter yields, or the message itself, goes through the fold and on.
    fn pass(
        &self,
        message: &Message,
        value: &Json,
        is_new: bool,
        meta: &dyn Fn(&Message) -> Json,
        yielded: &mut Yield,
    ) -> Result<(), String> {
        let Some((fold, states)) = &self.fold else {
            let out = if is_new { made_of(value, message) } else { message.clone() };
            self.forward(out, value, meta, yielded);
            return Ok(());
        };
        let own = if fold.names_meta() { meta(message) } else { Json::null() };
        for value in fold.step(value, &own, states, &mut yielded.changes)? {
            self.forward(made_of(&value, message), &value, meta, yielded);
        }
        Ok(())
    }

    fn forward(&self, out: Message, value: &Json, meta: &dyn Fn(&Message) -> Json, yielded: &mut Yield) {
        let legs = if self.choices.is_empty() {
            Vec::new()
        } else {
            choose(self.choices.iter(), self.all, value, || meta(&out), &out)
        };
        yielded.outputs.push((out, legs));
    }
}

/// What `$meta` is made of on another thread.
struct Meta {
    /// Session and endpoint, where somebody asks.
    facts: Option<(String, String)>,
    time: Timestamp,
    seq: u64,
    source: Option<Arc<Source>>,
}

impl Meta {
    fn of(work: &Work, lineage: &Lineage, message: &Message) -> Self {
        let origin = &lineage.origin;
        Self {
            facts: work.names_meta.then(|| (origin.session.clone(), origin.endpoint.clone())),
            time: lineage.time,
            seq: lineage.seq,
            source: message.source().or(origin.source.get()).cloned(),
        }
    }

    fn make(&self, message: &Message) -> Json {
        let Some((session, endpoint)) = &self.facts else { return Json::null() };
        let kind = message.kind().name();
        let meta = Json::meta(session, endpoint, &time_text(self.time), kind, message.len(), self.seq);
        match self.source.as_deref() {
            Some(source) => meta.with_source(source),
            None => meta,
        }
    }
}
