//! `--record` and `--dead-letter` of the server: what is written of its sessions, and the failure to do so.
//!
//! Leaves the files to `sink/`. Invariants: without those flags nothing is done; the files' own waker is the task's that
//! tends standard output; a session is not read from while one of them has no room.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll};

use jiff::Timestamp;

use super::session_id::SessionId;
use crate::message::Message;
use crate::message::event::{Direction, Event, EventBody, EventSession, write_dead_letter_line};
use crate::message::har::Exchange;
use crate::sink::line_file::LineFile;
use crate::sink::record::{RecordError, Recorder};

/// The recording of a run and its dead letters, where they are wanted.
#[derive(Debug, Default)]
pub(crate) struct Recording {
    recorder: RefCell<Option<Recorder>>,
    dead_letters: RefCell<Option<LineFile>>,
    failure: RefCell<Option<RecordError>>,
    full: Cell<bool>,
}

impl Recording {
    /// Begins.
    pub(crate) fn begin(&self, recorder: Recorder) {
        *self.recorder.borrow_mut() = Some(recorder);
    }

    /// Begins to keep dead letters.
    pub(crate) fn keep_dead_letters(&self, file: LineFile) {
        *self.dead_letters.borrow_mut() = Some(file);
    }

    /// Whether something waits to be written.
    pub(crate) fn is_waiting(&self) -> bool {
        self.recorder.borrow().as_ref().is_some_and(Recorder::is_waiting)
            || self.dead_letters.borrow().as_ref().is_some_and(LineFile::is_waiting)
    }

    /// Keeps a message that was not taken, and why; false when such are not kept.
    pub(crate) fn dead_letter(
        &self,
        time: Timestamp,
        session: EventSession<'_>,
        message: &Message,
        error: &str,
    ) -> bool {
        let mut slot = self.dead_letters.borrow_mut();
        let Some(file) = &mut *slot else { return false };
        file.line(|buffer| write_dead_letter_line(buffer, time, session, Direction::In, message, error));
        true
    }

    /// A session begins, which asked for `target`.
    pub(crate) fn opened(&self, url: &str, target: &str, event: impl FnOnce() -> Event) {
        if let Some(recorder) = &mut *self.recorder.borrow_mut() {
            let event = event();
            recorder.name_session(&event.session, url);
            let request = format!("GET {target} HTTP/1.1\n");
            let exchange =
                Exchange { request: &request, response: "HTTP/1.1 101 Switching Protocols\n", ..Exchange::default() };
            recorder.opened(&event, &exchange);
        }
    }

    /// A data message.
    pub(crate) fn message(&self, time: Timestamp, session: EventSession<'_>, dir: Direction, message: &Message) {
        if let Some(recorder) = &mut *self.recorder.borrow_mut() {
            recorder.message(time, session, dir, message);
        }
    }

    /// Anything else but an `open`, see [`Recording::opened`].
    pub(crate) fn event(&self, event: impl FnOnce() -> Event) {
        if let Some(recorder) = &mut *self.recorder.borrow_mut() {
            let event = event();
            if !matches!(event.body, EventBody::Open { .. }) {
                recorder.event(&event);
            }
        }
    }

    /// Whether anything is recorded.
    pub(crate) fn is_on(&self) -> bool {
        self.recorder.borrow().is_some()
    }

    /// A session has ended.
    pub(crate) fn ended(&self, id: u64) {
        if let Some(recorder) = &mut *self.recorder.borrow_mut() {
            recorder.forget_session(&SessionId::of(id));
        }
    }

    /// Whether more may be recorded, as of the last [`Recording::poll_tend`].
    pub(crate) fn has_room(&self) -> bool {
        !self.full.get()
    }

    /// Writes what is due; whether there is room for more.
    ///
    /// # Errors
    /// A file has failed, as [`Recording::failure`] tells.
    pub(crate) fn poll_tend(&self, cx: &mut Context<'_>) -> Result<Poll<()>, String> {
        let (mut has_room, mut failure) = (true, None);
        if let Some(recorder) = &mut *self.recorder.borrow_mut() {
            recorder.poll_due(cx);
            has_room &= recorder.poll_room(cx).is_ready();
            failure = recorder.failure().cloned();
        }
        if let Some(file) = &mut *self.dead_letters.borrow_mut() {
            file.poll_due(cx);
            has_room &= file.poll_room(cx).is_ready();
            failure = failure.or_else(|| file.failure().cloned());
        }
        self.full.set(!has_room && failure.is_none());
        if let Some(failure) = failure {
            // What is left waits for nobody any more.
            drop((self.recorder.take(), self.dead_letters.take()));
            let text = failure.to_string();
            self.failure.borrow_mut().get_or_insert(failure);
            return Err(text);
        }
        Ok(if has_room { Poll::Ready(()) } else { Poll::Pending })
    }

    /// Writes the rest and closes the files.
    pub(crate) async fn finish(&self) {
        std::future::poll_fn(|cx| {
            let recording = self.poll_finish_one(&self.recorder, Recorder::poll_finish, cx);
            let dead_letters = self.poll_finish_one(&self.dead_letters, LineFile::poll_finish, cx);
            if recording.is_ready() { dead_letters } else { Poll::Pending }
        })
        .await;
    }

    /// What is ready is taken out of its place.
    fn poll_finish_one<T>(
        &self,
        slot: &RefCell<Option<T>>,
        finish: impl Fn(&mut T, &mut Context<'_>) -> Poll<Result<(), RecordError>>,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let mut slot = slot.borrow_mut();
        let Some(file) = &mut *slot else { return Poll::Ready(()) };
        let result = std::task::ready!(finish(file, cx));
        *slot = None;
        self.failed(result.err());
        Poll::Ready(())
    }

    /// Gives up what [`Recording::finish`] has not written: that is a failure.
    pub(crate) fn give_up(&self) {
        self.failed(self.recorder.take().map(|recorder| recorder.late()));
        self.failed(self.dead_letters.take().map(|file| file.late()));
    }

    fn failed(&self, failure: Option<RecordError>) {
        if let Some(failure) = failure {
            self.failure.borrow_mut().get_or_insert(failure);
        }
    }

    /// What went wrong.
    pub(crate) fn failure(&self) -> Option<RecordError> {
        self.failure.borrow().clone()
    }
}
