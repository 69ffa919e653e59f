//! What a client says by itself: init messages after every open, heartbeats, answers to text-level pings.
//!
//! Leaves sending to the session's peer. Invariants: init messages go out in order and before anything else, `--resume`
//! right after them; while an answer to one is waited for, nothing else is sent.

use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::heartbeat::Heartbeats;
use crate::filter::apart::{Begun, begin};
use crate::filter::draft::{Draft, DraftError, Filler};
use crate::filter::{Filter, Json};
use crate::message::Message;

/// What is looked for in all that arrives.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    /// What must arrive before the next init message goes out: one for all, or one for each.
    pub init_waits: Vec<Filter>,
    /// Yields the value that `--resume` is sent with.
    pub resume: Option<Filter>,
    /// Matches text-level pings of the server.
    pub heartbeat: Option<Filter>,
}

/// What a message holds of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Marked {
    ends_wait: bool,
    resume: Option<String>,
    heartbeat: Option<String>,
}

impl Marks {
    /// Whether what arrives must be looked at as JSON.
    pub(crate) fn needs_json(&self) -> bool {
        !self.init_waits.is_empty() || self.heartbeat.is_some() || self.resume.is_some()
    }

    /// What a message holds, while the wait of this place is not over.
    pub(crate) fn of(&self, waiting: Option<usize>, json: &Json, prev: &Json) -> Marked {
        let null = Json::null();
        let wait = waiting.and_then(|wait| self.init_waits.get(wait));
        let text = |value: Json| value.to_plain_string();
        Marked {
            ends_wait: wait.is_some_and(|filter| filter.matches(json, &null, prev)),
            resume: self.resume.as_ref().and_then(|filter| last_value(filter, json, prev)).map(text),
            heartbeat: self.heartbeat.as_ref().and_then(|filter| filter.find(json, &null, prev)).map(text),
        }
    }
}

/// What is said, the same for every session of a run.
#[derive(Debug, Default)]
pub(crate) struct OpeningPlan {
    /// Sent after every open, in order.
    pub init: Vec<Draft>,
    /// What decides when something is said.
    pub marks: Arc<Marks>,
    /// Sent after the init messages of a later connection, with the last value its filter yielded.
    pub resume: Option<Draft>,
    /// Text-level ping of ours.
    pub heartbeat: Option<Draft>,
    /// Time between heartbeats.
    pub heartbeat_interval: Duration,
    /// Answer to text-level pings of the server.
    pub heartbeat_reply: Option<Draft>,
    /// Text that is not JSON is looked at as a string.
    pub raw_input: bool,
    /// Fills templates in.
    pub filler: Filler,
}

/// Returns which of so many waits follows the init message that was sent as number `sent`, counted from 1; `is_last` when
/// nothing is to be sent after it. One wait stands between all messages, several stand each behind their own.
#[must_use]
pub(crate) fn wait_after(waits: usize, sent: usize, is_last: bool) -> Option<usize> {
    match waits {
        0 => None,
        1 => (!is_last).then_some(0),
        several => sent.checked_sub(1).filter(|wait| *wait < several),
    }
}

/// What a session says by itself.
#[derive(Debug)]
pub(crate) struct Own {
    pub message: Message,
    /// Whether it only keeps the session alive.
    pub is_heartbeat: bool,
}

/// How far one session has come.
#[derive(Debug)]
pub(crate) struct Opening {
    plan: Rc<OpeningPlan>,
    next: usize,
    /// Which of the waits is not over.
    waiting: Option<usize>,
    /// `--resume` is to be sent.
    resumes: bool,
    value: Option<String>,
    heartbeat: Option<Pin<Box<Sleep>>>,
    heartbeats: Heartbeats,
    /// What is looked for in the last message.
    looking: Option<Begun<Marked>>,
}

impl Opening {
    /// Before the first open.
    pub(crate) fn new(plan: Rc<OpeningPlan>) -> Self {
        Self {
            plan,
            next: 0,
            waiting: None,
            resumes: false,
            value: None,
            heartbeat: None,
            heartbeats: Heartbeats::default(),
            looking: None,
        }
    }

    /// A connection was opened: everything begins again.
    pub(crate) fn opened(&mut self) {
        self.next = 0;
        self.waiting = None;
        self.looking = None;
        self.resumes = self.plan.resume.is_some() && self.value.is_some();
        self.heartbeats = Heartbeats::default();
        let first = Instant::now() + self.plan.heartbeat_interval;
        self.heartbeat = self.plan.heartbeat.as_ref().map(|_| Box::pin(sleep_until(first)));
    }

    /// What is to be said now, before anything else: what comes first, then heartbeats. Else the waker is called when a
    /// heartbeat is due.
    ///
    /// # Errors
    /// A template that cannot be filled in.
    pub(crate) fn poll_own(&mut self, cx: &mut Context<'_>) -> Result<Option<Own>, DraftError> {
        let init = self.next_init()?.map(|message| Own { message, is_heartbeat: false });
        if init.is_some() {
            return Ok(init);
        }
        Ok(self.poll_heartbeat(cx)?.map(|message| Own { message, is_heartbeat: true }))
    }

    /// The next init message, or `--resume` after the last, once it may go.
    fn next_init(&mut self) -> Result<Option<Message>, DraftError> {
        if self.waiting.is_some() {
            return Ok(None);
        }
        let plan = &self.plan;
        if let Some(draft) = plan.init.get(self.next) {
            self.next += 1;
            let is_last = self.next >= plan.init.len() && !self.resumes;
            self.waiting = wait_after(plan.marks.init_waits.len(), self.next, is_last);
            return plan.filler.fill(draft, "").map(Some);
        }
        match (&plan.resume, &self.value) {
            (Some(draft), Some(value)) if std::mem::take(&mut self.resumes) => plan.filler.fill(draft, value).map(Some),
            _ => Ok(None),
        }
    }

    /// Whether everything that comes first has gone out, and nothing is waited for.
    pub(crate) fn is_done(&self) -> bool {
        self.next >= self.plan.init.len() && self.waiting.is_none() && !self.resumes
    }

    /// Whether this connection is to go on where the last one ended.
    pub(crate) fn resumes(&self) -> bool {
        self.resumes
    }

    /// Notes a received message, and returns whether it only answers a heartbeat.
    pub(crate) fn answers_heartbeat(&mut self, message: &Message) -> bool {
        self.heartbeats.is_answer(message)
    }

    /// The heartbeat, when it is due; else the waker is called when it is.
    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> Result<Option<Message>, DraftError> {
        let (Some(timer), Some(draft)) = (&mut self.heartbeat, &self.plan.heartbeat) else { return Ok(None) };
        if timer.as_mut().poll(cx).is_pending() {
            return Ok(None);
        }
        timer.as_mut().reset(Instant::now() + self.plan.heartbeat_interval);
        // Ask again, so that the fresh timer knows whom to wake.
        let _ = timer.as_mut().poll(cx);
        let message = self.plan.filler.fill(draft, "")?;
        self.heartbeats.sent(&message);
        Ok(Some(message))
    }

    /// Which init wait is not over.
    pub(crate) fn waiting(&self) -> Option<usize> {
        self.waiting
    }

    /// A message arrived that is JSON; what it comes to is told by [`Opening::poll_answer`], before the next arrives.
    pub(crate) fn on_json(&mut self, json: &Json, prev: &Json) {
        let (marks, waiting) = (&self.plan.marks, self.waiting);
        self.looking = Some(begin(
            || marks.of(waiting, json, prev),
            || {
                let (marks, json, prev) = (Arc::clone(marks), json.clone(), prev.clone());
                move || marks.of(waiting, &json, &prev)
            },
        ));
    }

    /// Ready when all that arrived has been looked at, with the answer to it when it is a text-level ping.
    ///
    /// # Errors
    /// A template that cannot be filled in.
    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>, DraftError>> {
        let Some(looking) = &mut self.looking else { return Poll::Ready(Ok(None)) };
        // Where a filter cannot be stopped the run ends, and says so.
        let marked = ready!(looking.poll_any(cx)).cloned().unwrap_or_default();
        self.looking = None;
        Poll::Ready(self.on_marked(marked))
    }

    /// A message arrived that holds this; the answer to it when it is a text-level ping.
    ///
    /// # Errors
    /// A template that cannot be filled in.
    pub(crate) fn on_marked(&mut self, marked: Marked) -> Result<Option<Message>, DraftError> {
        if marked.ends_wait {
            self.waiting = None;
        }
        if marked.resume.is_some() {
            self.value = marked.resume;
        }
        let (Some(value), Some(reply)) = (marked.heartbeat, &self.plan.heartbeat_reply) else { return Ok(None) };
        self.plan.filler.fill(reply, &value).map(Some)
    }
}

/// The last output that is neither `false` nor `null`; an error does not count.
fn last_value(filter: &Filter, json: &Json, prev: &Json) -> Option<Json> {
    let mut last = None;
    let result = filter.run(json, &Json::null(), prev, &mut |value| {
        if value.is_truthy() {
            last = Some(value);
        }
        ControlFlow::Continue(())
    });
    last.filter(|_| result.is_ok())
}
