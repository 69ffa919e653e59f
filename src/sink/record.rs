//! A recording on disk: event lines, or HAR where the name ends in `.har`.
//!
//! Owns the recording's files. Lines are appended in blocks and cut only at line ends, so that what a kill leaves
//! behind is readable up to its last whole line (`.har`: see `har_file`). Nothing waits longer than [`HOLD`] for its
//! block to fill. Invariants: after the first failure nothing more is written and [`Recorder::failure`] names the
//! file; nothing is lost between the last event and [`Recorder::poll_finish`].

use std::fs::File;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::{Instant, Sleep, sleep_until};

use super::har_file::HarFiles;
use super::stdout::{Output, OutputFailure};
use crate::message::Message;
use crate::message::event::{Direction, Event, NO_SESSION, write_message_line};
use crate::message::har::Exchange;
use crate::net::connection::io_text;

/// Longest time something waits to be written.
pub const HOLD: Duration = Duration::from_millis(20);

/// The recording failed: which file, and what the system says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot write the recording {path}: {cause}")]
pub struct RecordError {
    /// The file.
    pub path: String,
    /// Why.
    pub cause: String,
}

/// Writes what happens to a file.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    way: Way,
    failure: Option<RecordError>,
    dirty: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
enum Way {
    /// The second handle is there to be closed, which may fail.
    Lines(Output, Option<File>),
    Har(HarFiles),
}

impl Recorder {
    /// Opens the file and empties it.
    ///
    /// # Errors
    /// When that fails.
    pub fn create(path: &Path) -> Result<Self, RecordError> {
        let named = |error: &io::Error| RecordError { path: path.display().to_string(), cause: io_text(error) };
        let is_har = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("har"));
        let way = if is_har {
            Way::Har(HarFiles::create(path).map_err(|(path, error)| RecordError { path, cause: io_text(&error) })?)
        } else {
            let file = File::create(path).map_err(|error| named(&error))?;
            let handle = file.try_clone().map_err(|error| named(&error))?;
            Way::Lines(Output::new(file), Some(handle))
        };
        Ok(Self { path: path.to_owned(), way, failure: None, dirty: false, timer: None })
    }

    /// Where a session connects to: what stands in its HAR entries. Call it before anything else of that session.
    pub fn name_session(&mut self, session: &str, url: &str) {
        if let Way::Har(files) = &mut self.way {
            files.name_session(session, url);
        }
    }

    /// A connection opened: the event, and what a HAR shows of its handshake.
    pub fn opened(&mut self, event: &Event, exchange: &Exchange<'_>) {
        match &mut self.way {
            Way::Lines(..) => self.event(event),
            Way::Har(files) => {
                let result = files.open(&event.session, event.time, exchange);
                self.har_done(result);
            }
        }
    }

    /// Appends a data message.
    pub fn message(&mut self, time: Timestamp, session: &str, dir: Direction, message: &Message) {
        match &mut self.way {
            Way::Lines(output, _) => {
                write_message_line(output.buffer(), time, session, dir, message);
                output.wrote();
                self.dirty = true;
            }
            Way::Har(files) => {
                let result = files.message(time, session, dir, message);
                self.har_done(result);
            }
        }
    }

    /// Appends anything else.
    pub fn event(&mut self, event: &Event) {
        match &mut self.way {
            Way::Lines(output, _) => {
                event.write_line(output.buffer());
                output.wrote();
                self.dirty = true;
            }
            // HAR has entries for sessions alone.
            Way::Har(_) if event.session == NO_SESSION => {}
            Way::Har(files) => {
                let result = files.event(event);
                self.har_done(result);
            }
        }
    }

    /// A session will not be heard of again.
    pub fn forget_session(&mut self, session: &str) {
        if let Way::Har(files) = &mut self.way {
            files.forget_session(session);
        }
    }

    fn har_done(&mut self, result: Result<(), (String, io::Error)>) {
        self.dirty = true;
        if let Err((path, error)) = result {
            self.failure.get_or_insert(RecordError { path, cause: io_text(&error) });
        }
    }

    /// Why nothing more is written, once that is so.
    pub fn failure(&mut self) -> Option<&RecordError> {
        if self.failure.is_none()
            && let Way::Lines(output, _) = &self.way
            && let Some(failure) = output.failure()
        {
            self.fail_with(failure);
        }
        self.failure.as_ref()
    }

    fn fail_with(&mut self, failure: OutputFailure) {
        let cause = match failure {
            OutputFailure::Closed => "its reader has closed it".to_owned(),
            OutputFailure::Failed(cause) => cause,
        };
        self.failure.get_or_insert(RecordError { path: self.path.display().to_string(), cause });
    }

    /// Whether something is there that [`Recorder::poll_due`] has yet to write.
    pub fn is_waiting(&self) -> bool {
        self.dirty
    }

    /// Ready when more may be appended; a pipe that nobody reads says no.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.way {
            Way::Lines(output, _) => output.poll_room(cx),
            Way::Har(_) => Poll::Ready(()),
        }
    }

    /// Writes what has waited for [`HOLD`]; the waker is called when the rest has.
    pub fn poll_due(&mut self, cx: &mut Context<'_>) {
        if !self.dirty {
            return;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + HOLD)));
        if timer.as_mut().poll(cx).is_ready() {
            self.timer = None;
            self.dirty = false;
            self.flush(cx);
        }
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        match &mut self.way {
            Way::Lines(output, _) => output.watch(cx),
            Way::Har(files) => {
                let result = files.flush();
                self.har_done(result);
                self.dirty = false;
            }
        }
    }

    /// Ready when all is written and the files are closed, or can never be. Call it until then.
    ///
    /// # Errors
    /// The first failure of the recording.
    pub fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RecordError>> {
        match &mut self.way {
            Way::Lines(output, handle) => {
                if let Err(failure) = std::task::ready!(output.poll_finish(cx)) {
                    self.fail_with(failure);
                } else if let Some(handle) = handle.take()
                    && let Err(error) = nix::unistd::close(handle)
                {
                    self.fail_with(OutputFailure::Failed(io_text(&error.into())));
                }
            }
            Way::Har(files) => {
                if self.failure.is_none() {
                    let result = files.finish();
                    self.har_done(result);
                }
            }
        }
        Poll::Ready(self.failure.clone().map_or(Ok(()), Err))
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
