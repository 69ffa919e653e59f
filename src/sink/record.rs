//! A recording on disk: event lines, or HAR where the name ends in `.har`.
//!
//! Owns which of the two it is; leaves lines to `line_file` and HAR to `har_file`, and what they promise. Nothing waits
//! longer than [`HOLD`]. Invariants: after the first failure nothing more is written and [`Recorder::failure`] names the
//! file; nothing is lost between the last event and [`Recorder::poll_finish`].

use std::future::Future;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use jiff::Timestamp;
use tokio::time::{Instant, Sleep, sleep_until};

use super::har_file::HarFiles;
pub(crate) use super::line_file::RecordError;
use super::line_file::{HOLD, Kind, LATE, LineFile};
use crate::message::Message;
use crate::message::event::{Direction, Event, EventBody, EventSession, NO_SESSION, write_message_line};
use crate::message::har::Exchange;
use crate::message::io_text::io_text;

/// Whether both name one file that is there; a pipe, a terminal or `/dev/null` may be named twice.
pub(crate) fn is_same_file(one: &Path, other: &Path) -> bool {
    let id = |path| {
        let meta = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
        Some((meta.dev(), meta.ino()))
    };
    id(one).is_some_and(|one| id(other) == Some(one))
}

/// Writes what happens to a file.
#[derive(Debug)]
pub(crate) struct Recorder {
    path: PathBuf,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Lines(LineFile),
    Har(Har),
}

#[derive(Debug)]
struct Har {
    files: HarFiles,
    failure: Option<RecordError>,
    dirty: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

fn har_error((path, error): (String, io::Error)) -> RecordError {
    RecordError { kind: Kind::Recording, path, cause: io_text(&error) }
}

impl Har {
    fn done(&mut self, result: Result<(), (String, io::Error)>) {
        self.dirty = true;
        if let Err(failure) = result.map_err(har_error) {
            self.failure.get_or_insert(failure);
        }
    }
}

impl Recorder {
    /// Opens the file and empties it.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn create(path: &Path) -> Result<Self, RecordError> {
        let is_har = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("har"));
        let way = if is_har {
            let files = HarFiles::create(path).map_err(har_error)?;
            Way::Har(Har { files, failure: None, dirty: false, timer: None })
        } else {
            Way::Lines(LineFile::create(path, Kind::Recording)?)
        };
        Ok(Self { path: path.to_owned(), way })
    }

    /// Whether this is the file that is written, by whatever name.
    pub(crate) fn is_into(&self, path: &Path) -> bool {
        is_same_file(&self.path, path)
    }

    /// Where a session connects to: what stands in its HAR entries. Call it before anything else of that session.
    pub(crate) fn name_session(&mut self, session: &str, url: &str) {
        if let Way::Har(har) = &mut self.way {
            har.files.name_session(session, url);
        }
    }

    /// A connection opened: the event, and what a HAR shows of its handshake.
    pub(crate) fn opened(&mut self, event: &Event, exchange: &Exchange<'_>) {
        match &mut self.way {
            Way::Lines(_) => self.event(event),
            Way::Har(har) => {
                let result = har.files.open(&event.session, event.time, exchange);
                har.done(result);
            }
        }
    }

    /// Appends a data message.
    pub(crate) fn message<'s>(
        &mut self,
        time: Timestamp,
        session: impl Into<EventSession<'s>>,
        dir: Direction,
        message: &Message,
    ) {
        let session = session.into();
        match &mut self.way {
            Way::Lines(file) => file.line(|buffer| write_message_line(buffer, time, session, dir, message)),
            Way::Har(har) => {
                let result = har.files.message(time, session.id, dir, message);
                har.done(result);
            }
        }
    }

    /// Appends anything else.
    pub(crate) fn event(&mut self, event: &Event) {
        match &mut self.way {
            Way::Lines(file) => file.line(|buffer| event.write_line(buffer)),
            // HAR has entries for sessions alone.
            Way::Har(_) if event.session == NO_SESSION => {}
            // What was dropped is no part of what went over the connection.
            Way::Har(_) if matches!(event.body, EventBody::Drop { .. }) => {}
            Way::Har(har) => {
                let result = har.files.event(event);
                har.done(result);
            }
        }
    }

    /// A session will not be heard of again.
    pub(crate) fn forget_session(&mut self, session: &str) {
        if let Way::Har(har) = &mut self.way {
            har.files.forget_session(session);
        }
    }

    /// Why nothing more is written, once that is so.
    pub(crate) fn failure(&mut self) -> Option<&RecordError> {
        match &mut self.way {
            Way::Lines(file) => file.failure(),
            Way::Har(har) => har.failure.as_ref(),
        }
    }

    /// Whether something is there that [`Recorder::poll_due`] has yet to write.
    pub(crate) fn is_waiting(&self) -> bool {
        match &self.way {
            Way::Lines(file) => file.is_waiting(),
            Way::Har(har) => har.dirty,
        }
    }

    /// The failure to write all of it in the time that there was.
    pub(crate) fn late(&self) -> RecordError {
        RecordError { kind: Kind::Recording, path: self.path.display().to_string(), cause: LATE.to_owned() }
    }

    /// Ready when more may be appended; a pipe that nobody reads says no.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.way {
            Way::Lines(file) => file.poll_room(cx),
            Way::Har(_) => Poll::Ready(()),
        }
    }

    /// Writes what has waited for [`HOLD`]; the waker is called when the rest has.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>) {
        let har = match &mut self.way {
            Way::Lines(file) => return file.poll_due(cx),
            Way::Har(har) => har,
        };
        if !har.dirty {
            return;
        }
        let timer = har.timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + HOLD)));
        if timer.as_mut().poll(cx).is_ready() {
            har.timer = None;
            let result = har.files.flush();
            har.done(result);
            har.dirty = false;
        }
    }

    /// Ready when all is written and the files are closed, or can never be. Call it until then.
    ///
    /// # Errors
    /// The first failure of the recording.
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RecordError>> {
        match &mut self.way {
            Way::Lines(file) => file.poll_finish(cx),
            Way::Har(har) => {
                if har.failure.is_none() {
                    let result = har.files.finish();
                    har.done(result);
                }
                Poll::Ready(har.failure.clone().map_or(Ok(()), Err))
            }
        }
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
