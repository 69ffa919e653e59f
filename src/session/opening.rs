//! What a client says by itself: init messages after every open, heartbeats, answers to text-level pings.
//!
//! Leaves sending to the session's peer. Invariants: init messages go out in order and before anything else; while one
//! is waited for, nothing else is sent.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use crate::filter::draft::{Draft, DraftError, Filler};
use crate::filter::{Filter, Json};
use crate::message::Message;

/// What is said, the same for every session of a run.
#[derive(Debug, Default)]
pub struct OpeningPlan {
    /// Sent after every open, in order.
    pub init: Vec<Draft>,
    /// Gate between init messages: a message that matches.
    pub init_wait: Option<Filter>,
    /// Text-level ping of ours.
    pub heartbeat: Option<Draft>,
    /// Time between heartbeats.
    pub heartbeat_interval: Duration,
    /// Answer to text-level pings of the server.
    pub heartbeat_reply: Option<(Filter, Draft)>,
    /// Fills templates in.
    pub filler: Filler,
}

impl OpeningPlan {
    /// Whether what arrives must be looked at as JSON.
    pub fn needs_json(&self) -> bool {
        self.init_wait.is_some() || self.heartbeat_reply.is_some()
    }
}

/// How far one session has come.
#[derive(Debug)]
pub struct Opening {
    plan: Rc<OpeningPlan>,
    next: usize,
    waiting: bool,
    heartbeat: Option<Pin<Box<Sleep>>>,
}

impl Opening {
    /// Before the first open.
    pub fn new(plan: Rc<OpeningPlan>) -> Self {
        Self { plan, next: 0, waiting: false, heartbeat: None }
    }

    /// A connection was opened: everything begins again.
    pub fn opened(&mut self) {
        self.next = 0;
        self.waiting = false;
        let first = Instant::now() + self.plan.heartbeat_interval;
        self.heartbeat = self.plan.heartbeat.as_ref().map(|_| Box::pin(sleep_until(first)));
    }

    /// The next init message, once it may go.
    ///
    /// # Errors
    /// A template that cannot be filled in.
    pub fn next_init(&mut self) -> Result<Option<Message>, DraftError> {
        if self.waiting {
            return Ok(None);
        }
        let Some(draft) = self.plan.init.get(self.next) else { return Ok(None) };
        self.next += 1;
        self.waiting = self.plan.init_wait.is_some() && self.next < self.plan.init.len();
        self.plan.filler.fill(draft, "").map(Some)
    }

    /// Whether all init messages have gone out.
    pub fn is_done(&self) -> bool {
        self.next >= self.plan.init.len()
    }

    /// The heartbeat, when it is due; else the waker is called when it is.
    ///
    /// # Errors
    /// A template that cannot be filled in.
    pub fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> Result<Option<Message>, DraftError> {
        let (Some(timer), Some(draft)) = (&mut self.heartbeat, &self.plan.heartbeat) else { return Ok(None) };
        if timer.as_mut().poll(cx).is_pending() {
            return Ok(None);
        }
        timer.as_mut().reset(Instant::now() + self.plan.heartbeat_interval);
        // Ask again, so that the fresh timer knows whom to wake.
        let _ = timer.as_mut().poll(cx);
        self.plan.filler.fill(draft, "").map(Some)
    }

    /// A message arrived that is JSON; the answer to it when it is a text-level ping.
    ///
    /// # Errors
    /// A template that cannot be filled in.
    pub fn on_json(&mut self, json: &Json, prev: &Json) -> Result<Option<Message>, DraftError> {
        let null = Json::null();
        if self.waiting
            && let Some(filter) = &self.plan.init_wait
        {
            self.waiting = !filter.matches(json, &null, prev);
        }
        let Some((filter, reply)) = &self.plan.heartbeat_reply else { return Ok(None) };
        let Some(value) = filter.find(json, &null, prev) else { return Ok(None) };
        self.plan.filler.fill(reply, &value.to_plain_string()).map(Some)
    }
}
