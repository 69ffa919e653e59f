//! Destinations by content: which routes a message takes, and what each of them makes of it.

use std::ops::ControlFlow;
use std::rc::Rc;

use super::made_of;
use crate::filter::{Filter, Json};
use crate::message::Message;
use crate::queue::lane::Lane;

/// Which messages take a route, and as what.
#[derive(Debug, Clone)]
pub(crate) struct Choice {
    pub when: Filter,
    /// Makes messages for the destination; without it they go as they are.
    pub project: Option<Filter>,
}

/// A destination for the messages that match.
#[derive(Debug, Clone)]
pub(crate) struct Route {
    pub choice: Choice,
    pub lane: Rc<Lane>,
}

/// A route that a message takes.
pub(super) struct Leg {
    /// The route's place among the others.
    pub(super) route: usize,
    /// What its projection made of the message, and how that ended.
    pub(super) projected: Option<(Vec<Message>, Result<(), String>)>,
}

impl Choice {
    pub(super) fn names_meta(&self) -> bool {
        self.when.names_meta() || self.project.as_ref().is_some_and(Filter::names_meta)
    }
}

/// The first route whose filter matches a value, or every one of them with `all`.
pub(super) fn choose<'a>(
    choices: impl Iterator<Item = &'a Choice>,
    all: bool,
    json: &Json,
    meta: impl Fn() -> Json,
    message: &Message,
) -> Vec<Leg> {
    let null = Json::null();
    let matching = choices.enumerate().filter(|(_, choice)| {
        let when = &choice.when;
        when.matches(json, &when.meta(&meta), &null)
    });
    let leg = |(route, choice): (usize, &Choice)| {
        let project = |project: &Filter| {
            let mut outputs = Vec::new();
            let result = project.run(json, &project.meta(&meta), &null, &mut |value| {
                outputs.push(made_of(&value, message));
                ControlFlow::Continue(())
            });
            (outputs, result)
        };
        Leg { route, projected: choice.project.as_ref().map(project) }
    };
    matching.take(if all { usize::MAX } else { 1 }).map(leg).collect()
}
