//! A message whose filter is not quick, and those that came after it: they wait in order.
//!
//! Invariants: the filter runs apart, so that everything else goes on; what waits is bounded, and sources are told to
//! wait; a message whose filter is cut short by the end of the run has no outcome, so that its source keeps it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use tokio::task::spawn_local;

use super::{Flow, Lineage};
use crate::filter::apart::{self, Task};
use crate::filter::{Filter, Json};
use crate::message::Message;
use crate::message::event::time_text;
use crate::queue::ledger::{Receipt, Settlement};

/// Most messages that wait behind one whose filter runs, and their bytes.
const MAX_WAITING: usize = 256;
const MAX_BYTES: usize = 8 * 1024 * 1024;

/// What a filter yields and the routes it takes, in order, and how it ended.
type Yield = (Vec<(Message, Vec<usize>)>, Result<(), String>);

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
    /// Whether the filter and the routes are done with a message at once.
    pub(super) fn is_quick(&self, json: &Json, prev: &Json) -> bool {
        let is_quick = |filter: &Filter| filter.is_quick(json, prev);
        self.settings.filter.as_ref().is_none_or(is_quick)
            && self.settings.routes.iter().all(|route| is_quick(&route.when))
    }

    /// Runs filter and routes apart; takes what they yield when it is soon there, else when it is.
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
        let (filter, all) = (settings.filter.clone(), settings.route_all);
        let routes: Vec<Filter> = settings.routes.iter().map(|route| route.when.clone()).collect();
        let needs_meta = filter.iter().chain(&routes).any(Filter::names_meta);
        let facts = needs_meta.then(|| (lineage.origin.session.clone(), lineage.origin.endpoint.clone()));
        let (time, seq) = (lineage.time, lineage.seq);
        let source = message.source().or(lineage.origin.source.get()).cloned();
        move || {
            let null = Json::null();
            let meta_of = |message: &Message| match &facts {
                None => Json::null(),
                Some((session, endpoint)) => {
                    let kind = message.kind().name();
                    let meta = Json::meta(session, endpoint, &time_text(time), kind, message.len(), seq);
                    match source.as_deref() {
                        Some(source) => meta.with_source(source),
                        None => meta,
                    }
                }
            };
            let mut yielded = Vec::new();
            let matching = |json: &Json, meta: &Json| {
                let numbers = (0..routes.len()).filter(|number| routes[*number].matches(json, meta, &null));
                if all { numbers.collect() } else { numbers.take(1).collect::<Vec<_>>() }
            };
            let Some(filter) = filter else {
                let routes = matching(&json, &meta_of(&message));
                return (vec![(message, routes)], Ok(()));
            };
            let result = filter.run(&json, &meta_of(&message), &prev, &mut |value| {
                let out = Message::text(value.to_plain_string()).with_source(message.source().cloned());
                let routes = matching(&value, &meta_of(&out));
                yielded.push((out, routes));
                std::ops::ControlFlow::Continue(())
            });
            (yielded, result)
        }
    }

    fn take(&self, current: Current, yielded: Result<Yield, String>) {
        let Current { lineage, message, receipt, task } = current;
        if task.is_cut_short() {
            return;
        }
        let (outputs, result) = yielded.unwrap_or_else(|error| (Vec::new(), Err(error)));
        for (out, routes) in outputs {
            let routes = routes.iter().filter_map(|number| self.settings.routes.get(*number));
            self.deliver(&lineage, out, routes, &receipt);
        }
        if let Err(error) = result {
            self.bury(&lineage, message, &format!("jq: {error}"), &receipt);
        }
        receipt.settle(Settlement::Filtered);
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
