//! The way into a pipeline for an end that also takes: open until the relay stops.
//!
//! Leaves the rest to the flow. Invariant: what comes afterwards is as if it had not been read: it is not received, and who
//! waits for an answer gets none.

use std::rc::Rc;
use std::task::{Context, Poll};

use jiff::Timestamp;

use crate::message::Message;
use crate::observe::counters::DropReason;
use crate::queue::end::{EndIo, Inlet};
use crate::queue::envelope::Origin;
use crate::queue::ledger::OnSafe;
use crate::queue::stop::{Step, Stop};

/// A gate before a flow.
pub(super) struct Gate {
    inlet: Rc<dyn Inlet>,
    stop: Rc<Stop>,
}

impl Gate {
    /// What an end works with, its way in gated.
    pub(super) fn before(io: &EndIo) -> EndIo {
        let gate = |inlet: &Rc<dyn Inlet>| {
            Rc::new(Self { inlet: Rc::clone(inlet), stop: Rc::clone(&io.stop) }) as Rc<dyn Inlet>
        };
        EndIo { inlet: io.inlet.as_ref().map(gate), ..io.clone() }
    }

    fn is_open(&self) -> bool {
        self.stop.step() < Step::Draining
    }
}

impl Inlet for Gate {
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_open() { self.inlet.poll_ready(cx) } else { Poll::Ready(()) }
    }

    fn push(&self, origin: &Rc<Origin>, seq: u64, message: Message, on_safe: Option<OnSafe>) {
        if self.is_open() {
            self.inlet.push(origin, seq, message, on_safe);
        }
    }

    fn reject(&self, origin: &Rc<Origin>, seq: u64, message: Message, error: &str) {
        if self.is_open() {
            self.inlet.reject(origin, seq, message, error);
        }
    }

    fn refuse(
        &self,
        origin: &Rc<Origin>,
        seq: u64,
        message: Message,
        on_safe: Option<OnSafe>,
        reason: DropReason,
        error: &str,
    ) {
        if self.is_open() {
            self.inlet.refuse(origin, seq, message, on_safe, reason, error);
        }
    }

    fn lose(&self, session: &str, count: u64, size: Option<usize>, reason: DropReason) {
        if self.is_open() {
            self.inlet.lose(session, count, size, reason);
        }
    }

    fn asks_for_sources(&self) -> bool {
        self.inlet.asks_for_sources()
    }

    fn lags(&self, count: u64) {
        self.inlet.lags(count);
    }

    fn end(&self) {
        self.inlet.end();
    }

    fn depth(&self) -> (u64, u64) {
        self.inlet.depth()
    }

    fn full_since(&self) -> Option<Timestamp> {
        self.inlet.full_since()
    }
}
