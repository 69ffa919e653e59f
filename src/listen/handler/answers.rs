//! What a filter makes of the messages of one session, for its sender or for all: at once where the filter is quick,
//! else when it has ended.
//!
//! Invariant: one message at a time; while its answers are awaited the session is not read from, and everybody else is.

use std::task::{Context, Poll, Waker};

use super::Actions;
use super::told::{Input, Sender, Told};
use crate::filter::Filter;
use crate::filter::apart::{self, Task};
use crate::message::Message;
use crate::observe::counters::ErrorKind;

/// Answers in order, and how the filter ended.
type Given = (Vec<Message>, Result<(), String>);

/// Whom a filter's outputs are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
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
pub struct Answers {
    filter: Filter,
    told: Told,
    /// What an error is told with.
    name: &'static str,
    audience: Audience,
    task: Option<Task<Given>>,
}

impl Answers {
    /// Of this filter, whose errors are told with a name; with `raw_input` text that is not JSON counts as JSON.
    pub fn new(filter: Filter, name: &'static str, raw_input: bool) -> Self {
        Self { filter, told: Told::new(raw_input), name, audience: Audience::Sender, task: None }
    }

    /// The same, for somebody else.
    pub fn to(self, audience: Audience) -> Self {
        Self { audience, ..self }
    }

    /// What the filter sees of a message.
    pub fn input<'a>(&mut self, message: &Message, sender: Sender<'a>) -> Input<'a> {
        self.told.message(message, sender)
    }

    /// Answers.
    pub fn answer(&mut self, input: Input, actions: &mut Actions) {
        if input.is_quick(&self.filter) {
            let result = input.run(&self.filter, |value| {
                self.audience.give(Message::text(value.to_plain_string()), actions);
            });
            return self.ended(result, actions);
        }
        let (filter, input) = (self.filter.clone(), input.detached());
        let task = apart::start(move || {
            let mut answers = Vec::new();
            let result = input.run(&filter, |value| answers.push(Message::text(value.to_plain_string())));
            (answers, result)
        });
        let is_done = task.is_done_soon();
        self.task = Some(task);
        if is_done {
            self.poll(&mut Context::from_waker(Waker::noop()), actions);
        }
    }

    /// Sends the answers that are there now; else registers the waker.
    pub fn poll(&mut self, cx: &mut Context<'_>, actions: &mut Actions) {
        let Some(Poll::Ready(given)) = self.task.as_ref().map(|task| task.poll(cx)) else { return };
        self.task = None;
        let (answers, result) = given.unwrap_or_else(|error| (Vec::new(), Err(error)));
        for answer in answers {
            self.audience.give(answer, actions);
        }
        self.ended(result, actions);
    }

    /// Whether a message has not been answered yet.
    pub fn is_waiting(&self) -> bool {
        self.task.is_some()
    }

    fn ended(&self, result: Result<(), String>, actions: &Actions) {
        if let Err(error) = result {
            actions.hub.fault(actions.mailbox.id, ErrorKind::Filter, &format!("{}: {error}", self.name));
        }
    }
}
