//! What a filter makes of the messages of one session, for its sender or for all: at once where the filter is quick,
//! else when it has ended.
//!
//! Invariant: one message at a time; while its answers are awaited the session's next message waits, and nobody else.

use std::task::{Context, Poll};

use super::Actions;
use super::told::{Input, Sender, Told};
use crate::filter::Filter;
use crate::filter::apart::{Begun, Task, begin};
use crate::message::Message;
use crate::observe::counters::ErrorKind;

/// Answers in order, and how the filter ended.
type Given = (Vec<Message>, Result<(), String>);

/// Whom a filter's outputs are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Audience {
    /// The session the message came from.
    Sender,
    /// Every session.
    All,
    /// Every session but that.
    Others,
}

impl Audience {
    fn give(self, message: Message, actions: &mut Actions) {
        match self {
            Self::Sender => actions.send(message),
            Self::All => actions.send_to_all(&message, None),
            Self::Others => actions.send_to_all(&message, Some(actions.mailbox.id)),
        }
    }
}

/// The answers of one session.
pub(super) struct Answers {
    filter: Filter,
    told: Told,
    /// What an error is told with.
    name: &'static str,
    audience: Audience,
    task: Option<Task<Given>>,
}

impl Answers {
    /// Of this filter, whose errors are told with a name; with `raw_input` text that is not JSON counts as JSON.
    pub(super) fn new(filter: Filter, name: &'static str, raw_input: bool) -> Self {
        Self { filter, told: Told::new(raw_input), name, audience: Audience::Sender, task: None }
    }

    /// The same, for somebody else.
    pub(super) fn to(self, audience: Audience) -> Self {
        Self { audience, ..self }
    }

    /// What the filter sees of a message.
    pub(super) fn input<'a>(&mut self, message: &Message, sender: Sender<'a>) -> Input<'a> {
        self.told.message(message, sender)
    }

    /// Answers.
    pub(super) fn answer(&mut self, input: &Input, actions: &mut Actions) {
        let filter = &self.filter;
        let begun = begin(
            || given(filter, input),
            || {
                let (filter, input) = (filter.clone(), input.detached());
                move || given(&filter, &input)
            },
        );
        match begun {
            Begun::Done(given) => self.give(given, actions),
            Begun::Apart(task) => self.task = Some(task),
        }
    }

    /// Sends the answers that are there now; else registers the waker.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, actions: &mut Actions) {
        let Some(Poll::Ready(given)) = self.task.as_ref().map(|task| task.poll(cx)) else { return };
        self.task = None;
        self.give(given.unwrap_or_else(|error| (Vec::new(), Err(error))), actions);
    }

    fn give(&self, (answers, result): Given, actions: &mut Actions) {
        for answer in answers {
            self.audience.give(answer, actions);
        }
        if let Err(error) = result {
            actions.hub.fault(actions.mailbox.id, ErrorKind::Filter, &format!("{}: {error}", self.name));
        }
    }

    /// Whether a message has not been answered yet.
    pub(super) fn is_waiting(&self) -> bool {
        self.task.is_some()
    }
}

/// What a filter makes of a message.
fn given(filter: &Filter, input: &Input) -> Given {
    let mut answers = Vec::new();
    let result = input.run(filter, |value| answers.push(Message::text(value.to_plain_string())));
    (answers, result)
}
