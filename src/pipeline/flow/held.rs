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

use super::work::Yield;
use super::{Flow, Lineage};
use crate::filter::Json;
use crate::filter::apart::{Begun, Task};
use crate::message::Message;
use crate::queue::ledger::Receipt;
use crate::queue::settlement::Settlement;

/// Most messages that wait behind one whose filter runs, and their bytes.
const MAX_WAITING: usize = 256;
const MAX_BYTES: usize = 8 * 1024 * 1024;

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

    /// Returns how many messages wait.
    pub(super) fn len(&self) -> usize {
        self.waiting.borrow().len()
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
    /// Works on a message; takes what it yields now, or when it is there.
    pub(super) fn work_on(&self, lineage: Lineage, message: Message, json: Json, receipt: Receipt) {
        let prev = lineage.origin.prev.replace(Json::null());
        let begun = self.work.begin(&lineage, &message, &json, &prev);
        lineage.origin.prev.replace(json);
        match begun {
            Begun::Done(yielded) => self.take(&lineage, message, receipt, yielded),
            Begun::Apart(task) => {
                *self.held.current.borrow_mut() = Some(Current { lineage, message, receipt, task });
                if !self.held.busy.replace(true)
                    && let Some(flow) = self.held.flow.upgrade()
                {
                    spawn_local(work_off(flow));
                }
            }
        }
    }

    fn take(&self, lineage: &Lineage, message: Message, receipt: Receipt, yielded: Yield) {
        let Yield { outputs, changes, error } = yielded;
        if let Some(folding) = &self.folding {
            for change in changes {
                folding.keep(change, &receipt);
            }
        }
        for (out, legs) in outputs {
            self.deliver(lineage, out, legs, &receipt);
        }
        if let Some(error) = error {
            self.dead_letter(lineage, message, &error, &receipt);
        }
        // The filter's own share: what nobody else has is filtered out.
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
            let Current { lineage, message, receipt, task } = current;
            if !task.is_cut_short() {
                let failed = |error| Yield { error: Some(format!("jq: {error}")), ..Yield::default() };
                flow.take(&lineage, message, receipt, yielded.unwrap_or_else(failed));
            }
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
