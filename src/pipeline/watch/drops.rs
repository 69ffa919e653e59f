//! Event lines for dropped messages on standard output, under `--json` of a relay.
//!
//! Leaves what waits to `observe/drops`, and standard output to its writer. Invariants: without the flag a dropped
//! message costs a look at a flag; lines stay whole regardless of other writers; a reader that stands still holds up
//! nobody.

use std::cell::RefCell;
use std::task::Context;
use std::time::Duration;

use jiff::Timestamp;

use crate::message::event::{Direction, EventSession};
use crate::observe::counters::DropReason;
use crate::observe::drops::DropLines;
use crate::queue::wakers::Wakers;
use crate::sink::stdout::SharedOutput;

/// Bytes of lines that are appended at a time.
const BYTES: usize = 64 * 1024;

/// Prints dropped messages, where that was asked for.
#[derive(Default)]
pub(crate) struct DropPrinter {
    state: RefCell<Option<State>>,
    tender: Wakers,
}

struct State {
    lines: DropLines,
    output: SharedOutput,
    /// Up to where the output must be written for the last line to have arrived.
    appended: u64,
}

impl DropPrinter {
    /// From now on dropped messages are printed.
    pub(crate) fn begin(&self, output: SharedOutput) {
        *self.state.borrow_mut() = Some(State { lines: DropLines::default(), output, appended: 0 });
    }

    /// A message was dropped.
    pub(crate) fn push(&self, session: EventSession<'_>, dir: Direction, reason: DropReason, size: Option<usize>) {
        if let Some(state) = &mut *self.state.borrow_mut() {
            state.lines.push(Timestamp::now(), session, dir, reason, size);
            self.tender.wake();
        }
    }

    /// Writes what waits, as far as there is room; wakes the task when there is more to do.
    pub(crate) fn poll_tend(&self, cx: &mut Context<'_>) {
        let mut state = self.state.borrow_mut();
        let Some(state) = &mut *state else { return };
        self.tender.register(cx);
        state.write(cx);
    }

    /// Writes the rest, within `limit`.
    pub(crate) async fn finish(&self, limit: Duration) {
        let Some(mut state) = self.state.take() else { return };
        let finishing = std::future::poll_fn(|cx| {
            loop {
                state.write(cx);
                let finished = state.output.borrow_mut().poll_finish(cx);
                if finished.is_pending() || state.lines.is_empty() {
                    return finished;
                }
            }
        });
        let _ = tokio::time::timeout(limit, finishing).await;
    }
}

impl State {
    fn write(&mut self, cx: &mut Context<'_>) {
        let mut output = self.output.borrow_mut();
        while !self.lines.is_empty() && output.has_room() {
            let most = output.buffer().len() + BYTES;
            self.lines.write(output.buffer(), most);
            output.wrote();
            self.appended = output.appended();
        }
        if output.failure().is_some() {
            self.lines.clear();
        } else if output.written() < self.appended {
            output.watch(cx);
        }
    }
}
