//! The way into a pipeline for an end that also takes: open until the relay stops.
//!
//! Leaves the rest to the flow. Invariant: what comes afterwards is as if it had not been read: it is not received, and who
//! waits for an answer gets none.

use std::rc::Rc;
use std::task::{Context, Poll};

use jiff::Timestamp;

use crate::message::Message;
use crate::observe::counters::DropReason;
use crate::queue::end::{EndIo, Ingress};
use crate::queue::envelope::Origin;
use crate::queue::ledger::AckCallback;
use crate::queue::stop::{Step, Stop};

/// A gate before a flow.
pub(super) struct Gate {
    ingress: Rc<dyn Ingress>,
    stop: Rc<Stop>,
}

impl Gate {
    /// What an end works with, its way in gated.
    pub(super) fn before(io: &EndIo) -> EndIo {
        let gate = |ingress: &Rc<dyn Ingress>| {
            Rc::new(Self { ingress: Rc::clone(ingress), stop: Rc::clone(&io.stop) }) as Rc<dyn Ingress>
        };
        EndIo { ingress: io.ingress.as_ref().map(gate), ..io.clone() }
    }

    fn is_open(&self) -> bool {
        self.stop.step() < Step::Draining
    }
}

impl Ingress for Gate {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_open() { self.ingress.poll_ready(cx) } else { Poll::Ready(()) }
    }

    fn push(&self, origin: &Rc<Origin>, seq: u64, message: Message, on_settled: Option<AckCallback>) {
        if self.is_open() {
            self.ingress.push(origin, seq, message, on_settled);
        }
    }

    fn reject(&self, origin: &Rc<Origin>, seq: u64, message: Message, error: &str) {
        if self.is_open() {
            self.ingress.reject(origin, seq, message, error);
        }
    }

    fn refuse(
        &self,
        origin: &Rc<Origin>,
        seq: u64,
        message: Message,
        on_settled: Option<AckCallback>,
        reason: DropReason,
        error: &str,
    ) {
        if self.is_open() {
            self.ingress.refuse(origin, seq, message, on_settled, reason, error);
        }
    }

    fn lose(&self, session: &str, count: u64, size: Option<usize>, reason: DropReason) {
        if self.is_open() {
            self.ingress.lose(session, count, size, reason);
        }
    }

    fn asks_for_sources(&self) -> bool {
        self.ingress.asks_for_sources()
    }

    fn lags(&self, count: u64) {
        self.ingress.lags(count);
    }

    fn end(&self) {
        self.ingress.end();
    }

    fn depth(&self) -> (u64, u64) {
        self.ingress.depth()
    }

    fn full_since(&self) -> Option<Timestamp> {
        self.ingress.full_since()
    }
}
