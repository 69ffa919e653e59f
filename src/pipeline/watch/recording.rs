//! `--record` of a relay: what is written of its ends, and the failure to do so.
//!
//! Leaves the file to `sink/`. Invariants: without the flag nothing is done; nothing more is taken in while the file
//! has no room; the writer task is woken when there is something to write.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;

use crate::message::Message;
use crate::message::event::{Direction, Event, EventSession};
use crate::message::har::Exchange;
use crate::queue::wakers::Wakers;
use crate::sink::record::{RecordError, Recorder};

/// The optional recording of a run.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    recorder: RefCell<Option<Recorder>>,
    is_on: Cell<bool>,
    is_full: Cell<bool>,
    tender: Wakers,
    writers: Wakers,
}

impl Recording {
    pub(crate) fn begin(&self, recorder: Recorder) {
        *self.recorder.borrow_mut() = Some(recorder);
        self.is_on.set(true);
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on.get()
    }

    fn write(&self, write: impl FnOnce(&mut Recorder)) {
        if let Some(recorder) = &mut *self.recorder.borrow_mut() {
            write(recorder);
            self.tender.wake();
        }
    }

    /// A session has opened.
    pub(crate) fn opened(&self, event: &Event, url: &str, exchange: &Exchange<'_>) {
        self.write(|recorder| {
            recorder.name_session(&event.session, url);
            recorder.opened(event, exchange);
        });
    }

    /// A data message.
    pub(crate) fn message(&self, session: EventSession<'_>, dir: Direction, message: &Message) {
        self.write(|recorder| recorder.message(Timestamp::now(), session, dir, message));
    }

    pub(crate) fn event(&self, event: &Event) {
        self.write(|recorder| recorder.event(event));
    }

    /// Ready when more may be recorded.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_full.get() {
            self.writers.register(cx);
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Writes what is due. Ready, once, when the file has failed; then nothing more is written.
    pub(crate) fn poll_tend(&self, cx: &mut Context<'_>) -> Poll<RecordError> {
        let mut slot = self.recorder.borrow_mut();
        let Some(recorder) = &mut *slot else { return Poll::Pending };
        self.tender.register(cx);
        recorder.poll_due(cx);
        let has_room = recorder.poll_room(cx).is_ready();
        let failure = recorder.failure().cloned();
        if failure.is_some() {
            *slot = None;
            self.is_on.set(false);
        }
        self.is_full.set(!has_room && failure.is_none());
        if !self.is_full.get() {
            self.writers.wake();
        }
        failure.map_or(Poll::Pending, Poll::Ready)
    }

    /// Writes the rest and closes the file, within `limit`.
    ///
    /// # Errors
    /// The failure to do so.
    pub(crate) async fn finish(&self, limit: Duration) -> Result<(), RecordError> {
        self.is_on.set(false);
        let Some(mut recorder) = self.recorder.take() else { return Ok(()) };
        let finishing = std::future::poll_fn(|cx| recorder.poll_finish(cx));
        let finished = tokio::time::timeout(limit, finishing).await;
        finished.unwrap_or_else(|_| Err(recorder.late()))
    }
}
