//! `--record` of the server: what is recorded of its sessions, and the recording's failure.
//!
//! Leaves the files to `sink/record`. Invariants: without `--record` nothing is done; the recording's own waker is the
//! task's that tends standard output.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;

use super::hub::session_name;
use crate::message::Message;
use crate::message::event::{Direction, Event, EventBody};
use crate::message::har::Exchange;
use crate::sink::record::{RecordError, Recorder};

/// The recording of a run, where there is one.
#[derive(Debug, Default)]
pub struct Recording {
    recorder: RefCell<Option<Recorder>>,
    failure: RefCell<Option<RecordError>>,
    full: Cell<bool>,
}

impl Recording {
    /// Begins.
    pub fn begin(&self, recorder: Recorder) {
        *self.recorder.borrow_mut() = Some(recorder);
    }

    /// Whether something waits to be written.
    pub fn is_waiting(&self) -> bool {
        self.recorder.borrow().as_ref().is_some_and(Recorder::is_waiting)
    }

    /// A session begins, which asked for `target`.
    pub fn opened(&self, id: u64, url: &str, target: &str, body: &EventBody) {
        if let Some(recorder) = &mut *self.recorder.borrow_mut() {
            let session = session_name(id);
            recorder.name_session(&session, url);
            let request = format!("GET {target} HTTP/1.1\n");
            let exchange =
                Exchange { request: &request, response: "HTTP/1.1 101 Switching Protocols\n", ..Exchange::default() };
            let event = Event { time: Timestamp::now(), session, dir: None, body: body.clone() };
            recorder.opened(&event, &exchange);
        }
    }

    /// A data message.
    pub fn message(&self, id: u64, dir: Direction, message: &Message) {
        if let Some(recorder) = &mut *self.recorder.borrow_mut() {
            recorder.message(Timestamp::now(), &session_name(id), dir, message);
        }
    }

    /// Anything else but an `open`, see [`Recording::opened`].
    pub fn event(&self, id: u64, dir: Option<Direction>, body: &EventBody) {
        if let Some(recorder) = &mut *self.recorder.borrow_mut()
            && !matches!(body, EventBody::Open { .. })
        {
            recorder.event(&Event { time: Timestamp::now(), session: session_name(id), dir, body: body.clone() });
        }
    }

    /// A session has ended.
    pub fn ended(&self, id: u64) {
        if let Some(recorder) = &mut *self.recorder.borrow_mut() {
            recorder.forget_session(&session_name(id));
        }
    }

    /// Whether more may be recorded, as of the last [`Recording::poll_tend`].
    pub fn has_room(&self) -> bool {
        !self.full.get()
    }

    /// Writes what is due; whether there is room for more.
    ///
    /// # Errors
    /// The recording has failed, as [`Recording::failure`] tells.
    pub fn poll_tend(&self, cx: &mut Context<'_>) -> Result<Poll<()>, String> {
        let mut slot = self.recorder.borrow_mut();
        let Some(recorder) = &mut *slot else { return Ok(Poll::Ready(())) };
        recorder.poll_due(cx);
        let room = recorder.poll_room(cx);
        self.full.set(room.is_pending());
        let Some(failure) = recorder.failure().cloned() else { return Ok(room) };
        *slot = None;
        let text = failure.to_string();
        self.failure.replace(Some(failure));
        Err(text)
    }

    /// Writes the rest and closes the files, within `limit`.
    pub async fn finish(&self, limit: Duration) {
        let Some(mut recorder) = self.recorder.take() else { return };
        let finished = tokio::time::timeout(limit, std::future::poll_fn(|cx| recorder.poll_finish(cx))).await;
        if let Ok(Err(failure)) = finished {
            self.failure.replace(Some(failure));
        }
    }

    /// What went wrong.
    pub fn failure(&self) -> Option<RecordError> {
        self.failure.borrow().clone()
    }
}
