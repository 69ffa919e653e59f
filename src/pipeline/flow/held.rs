//! A message whose filter is not quick, and those that came after it: they wait in order.
//!
//! Invariants: the filter runs apart, so that everything else goes on; what waits is bounded, and sources are told to
//! wait; a message whose filter is cut short by the end of the run has no outcome, so that its source keeps it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::ops::ControlFlow;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use jiff::Timestamp;
use tokio::task::spawn_local;

use super::folding::{SharedStates, lock};
use super::routes::{Choice, Leg, choose};
use super::{Flow, Lineage, made_of};
use crate::filter::apart::{self, Task};
use crate::filter::{Change, Filter, Fold, Json};
use crate::message::Message;
use crate::message::event::time_text;
use crate::message::source::Source;
use crate::queue::ledger::{Receipt, Settlement};

/// Most messages that wait behind one whose filter runs, and their bytes.
const MAX_WAITING: usize = 256;
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// What a message has come to.
#[derive(Default)]
struct Yield {
    /// What is yielded, with the routes it takes, in order.
    outputs: Vec<(Message, Vec<Leg>)>,
    /// What it changes of the states.
    changes: Vec<Change>,
    /// What went wrong at its end.
    error: Option<String>,
}

/// What is kept.
pub(super) struct Held {
    flow: Weak<Flow>,
    /// A filter runs, or what waited behind it is being worked off.
    busy: Cell<bool>,
    current: RefCell<Option<Current>>,
    waiting: RefCell<VecDeque<(Lineage, Message, Receipt)>>,
    bytes: Cell<usize>,
    wakers: RefCell<Vec<Waker>>,
}

struct Current {
    lineage: Lineage,
    message: Message,
    receipt: Receipt,
    task: Task<Yield>,
}

impl Held {
    pub(super) fn of(flow: &Weak<Flow>) -> Self {
        Self {
            flow: Weak::clone(flow),
            busy: Cell::new(false),
            current: RefCell::default(),
            waiting: RefCell::default(),
            bytes: Cell::new(0),
            wakers: RefCell::default(),
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.get()
    }

    pub(super) fn keep(&self, lineage: Lineage, message: Message, receipt: Receipt) {
        self.bytes.set(self.bytes.get() + message.len());
        self.waiting.borrow_mut().push_back((lineage, message, receipt));
    }

    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.waiting.borrow().len() < MAX_WAITING && self.bytes.get() < MAX_BYTES {
            return Poll::Ready(());
        }
        let mut wakers = self.wakers.borrow_mut();
        if !wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            wakers.push(cx.waker().clone());
        }
        Poll::Pending
    }

    fn next(&self) -> Option<(Lineage, Message, Receipt)> {
        let next = self.waiting.borrow_mut().pop_front()?;
        self.bytes.set(self.bytes.get() - next.1.len());
        Some(next)
    }

    fn wake(&self) {
        self.wakers.take().into_iter().for_each(Waker::wake);
    }
}

impl Flow {
    /// Whether filter, fold and routes are done with a message at once.
    pub(super) fn is_quick(&self, json: &Json, prev: &Json) -> bool {
        self.settings.filter.as_ref().is_none_or(|filter| filter.is_quick(json, prev))
            && self.folding.as_ref().is_none_or(|folding| folding.fold.is_quick(json, &folding.states()))
            && self.settings.routes.iter().all(|route| route.choice.is_quick(json))
    }

    /// Runs filter, fold and routes apart; takes what they yield when it is soon there, else when it is.
    pub(super) fn run_apart(&self, lineage: Lineage, message: Message, json: Json, receipt: Receipt) {
        let prev = lineage.origin.prev.replace(json.clone());
        let work = self.work(&lineage, message.clone(), json, prev);
        let current = Current { lineage, message, receipt, task: apart::start(work) };
        if current.task.is_done_soon()
            && let Poll::Ready(yielded) = current.task.poll(&mut Context::from_waker(Waker::noop()))
        {
            return self.take(current, yielded);
        }
        *self.held.current.borrow_mut() = Some(current);
        if !self.held.busy.replace(true)
            && let Some(flow) = self.held.flow.upgrade()
        {
            spawn_local(work_off(flow));
        }
    }

    fn work(
        &self,
        lineage: &Lineage,
        message: Message,
        json: Json,
        prev: Json,
    ) -> impl FnOnce() -> Yield + Send + use<> {
        let settings = &self.settings;
        let choices: Vec<Choice> = settings.routes.iter().map(|route| route.choice.clone()).collect();
        let fold = self.folding.as_ref().map(|folding| (folding.fold.clone(), folding.share()));
        let filter = settings.filter.clone();
        let needs_meta = filter.as_ref().is_some_and(Filter::names_meta)
            || fold.as_ref().is_some_and(|(fold, _)| fold.names_meta())
            || choices.iter().any(Choice::names_meta);
        let meta = Meta {
            facts: needs_meta.then(|| (lineage.origin.session.clone(), lineage.origin.endpoint.clone())),
            time: lineage.time,
            seq: lineage.seq,
            source: message.source().or(lineage.origin.source.get()).cloned(),
        };
        let mut work = Work { message, meta, fold, choices, all: settings.route_all, yielded: Yield::default() };
        move || {
            let Some(filter) = filter else {
                work.yielded.error = work.pass(&json, false).err();
                return work.yielded;
            };
            let (meta, mut failed) = (work.meta.of(&work.message), None);
            let result = filter.run(&json, &meta, &prev, &mut |value| match work.pass(&value, true) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            });
            work.yielded.error = failed.or_else(|| result.err().map(|error| format!("jq: {error}")));
            work.yielded
        }
    }

    fn take(&self, current: Current, yielded: Result<Yield, String>) {
        let Current { lineage, message, receipt, task } = current;
        if task.is_cut_short() {
            return;
        }
        let failed = |error| Yield { error: Some(format!("jq: {error}")), ..Yield::default() };
        let Yield { outputs, changes, error } = yielded.unwrap_or_else(failed);
        if let Some(folding) = &self.folding {
            for change in changes {
                folding.keep(change, &receipt);
            }
        }
        for (out, legs) in outputs {
            self.deliver(&lineage, out, legs, &receipt);
        }
        if let Some(error) = error {
            self.bury(&lineage, message, &error, &receipt);
        }
        receipt.settle(Settlement::Filtered);
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
    fn of(&self, message: &Message) -> Json {
        let Some((session, endpoint)) = &self.facts else { return Json::null() };
        let kind = message.kind().name();
        let meta = Json::meta(session, endpoint, &time_text(self.time), kind, message.len(), self.seq);
        match self.source.as_deref() {
            Some(source) => meta.with_source(source),
            None => meta,
        }
    }
}

/// A message on its way through filters on another thread. States change only once all of it is taken.
struct Work {
    message: Message,
    meta: Meta,
    fold: Option<(Fold, SharedStates)>,
    choices: Vec<Choice>,
    all: bool,
    yielded: Yield,
}

impl Work {
    /// As [`Flow::pass`].
    fn pass(&mut self, value: &Json, is_new: bool) -> Result<(), String> {
        let Some((fold, states)) = &self.fold else {
            let out = if is_new { made_of(value, &self.message) } else { self.message.clone() };
            self.forward(out, value);
            return Ok(());
        };
        let changes = &self.yielded.changes;
        let known = |key: &str| match changes.iter().rev().find(|change| *change.key == *key) {
            Some(change) => Some((change.state.clone(), change.prev.clone())),
            None => lock(states).get(key),
        };
        let (change, outputs) = fold.run(value, &self.meta.of(&self.message), known)?;
        self.yielded.changes.push(change);
        for value in outputs {
            let out = made_of(&value, &self.message);
            self.forward(out, &value);
        }
        Ok(())
    }

    fn forward(&mut self, out: Message, value: &Json) {
        let legs = choose(self.choices.iter(), self.all, value, || self.meta.of(&out), &out);
        self.yielded.outputs.push((out, legs));
    }
}

/// Takes what the filter yields, then what came meanwhile, until nothing is left.
async fn work_off(flow: Rc<Flow>) {
    let held = &flow.held;
    loop {
        let current = held.current.take();
        if let Some(current) = current {
            let yielded = poll_fn(|cx| current.task.poll(cx)).await;
            flow.take(current, yielded);
        }
        while held.current.borrow().is_none()
            && let Some((lineage, message, receipt)) = held.next()
        {
            flow.transform(lineage, message, receipt);
        }
        held.wake();
        if held.current.borrow().is_none() {
            break;
        }
    }
    held.busy.set(false);
    if flow.sources.get() == 0 {
        flow.end_lanes();
    }
}
