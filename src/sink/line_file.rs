//! A file of lines that is written while the program goes on: recordings as event lines, dead letters.
//!
//! Lines are appended in blocks and cut only at line ends, so that what a kill leaves behind is readable up to its last
//! whole line. Invariants: nothing waits longer than [`HOLD`] for its block to fill; after the first failure nothing more
//! is written and [`LineFile::failure`] names the file; nothing is lost between the last line and
//! [`LineFile::poll_finish`].

use std::fs::File;
use std::future::Future;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

use super::stdout::{Output, OutputFailure};
pub(crate) use crate::error::{Kind, RecordError};
use crate::message::io_text::io_text;

/// Longest time something waits to be written.
pub(crate) const HOLD: Duration = Duration::from_millis(20);

/// Why a file is not whole that could not be finished.
pub(super) const LATE: &str = "not in time; the rest is lost";

/// A file being written.
#[derive(Debug)]
pub(crate) struct LineFile {
    kind: Kind,
    path: PathBuf,
    output: Output,
    /// Is there to be closed, which may fail.
    handle: Option<File>,
    failure: Option<RecordError>,
    dirty: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl LineFile {
    /// Opens the file and empties it.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn create(path: &Path, kind: Kind) -> Result<Self, RecordError> {
        Self::new(path, kind, File::create(path))
    }

    /// Opens the file and goes on behind what is there.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn append(path: &Path, kind: Kind) -> Result<Self, RecordError> {
        let mut file = Self::new(path, kind, File::options().create(true).append(true).open(path))?;
        if ends_within_a_line(path) {
            file.line(|buffer| buffer.push(b'\n'));
        }
        Ok(file)
    }

    fn new(path: &Path, kind: Kind, file: io::Result<File>) -> Result<Self, RecordError> {
        let opened = file.and_then(|file| Ok((file.try_clone()?, file)));
        let (handle, file) =
            opened.map_err(|error| RecordError { kind, path: path.display().to_string(), cause: io_text(&error) })?;
        let (output, path) = (Output::new(file), path.to_owned());
        Ok(Self { kind, path, output, handle: Some(handle), failure: None, dirty: false, timer: None })
    }

    /// Appends what is written into the buffer: whole lines.
    pub(crate) fn line(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(self.output.buffer());
        self.output.wrote();
        self.dirty = true;
    }

    /// Why nothing more is written, once that is so.
    pub(crate) fn failure(&mut self) -> Option<&RecordError> {
        if self.failure.is_none()
            && let Some(failure) = self.output.failure()
        {
            self.fail_with(failure);
        }
        self.failure.as_ref()
    }

    fn fail_with(&mut self, failure: OutputFailure) {
        let cause = match failure {
            OutputFailure::Closed => "its reader closed it".to_owned(),
            OutputFailure::Failed(cause) => cause,
        };
        let (kind, path) = (self.kind, self.path.display().to_string());
        self.failure.get_or_insert(RecordError { kind, path, cause });
    }

    /// Whether something is there that [`LineFile::poll_due`] has yet to write.
    pub(crate) fn is_waiting(&self) -> bool {
        self.dirty
    }

    /// The failure to write all of it in the time that there was.
    pub(crate) fn late(&self) -> RecordError {
        RecordError { kind: self.kind, path: self.path.display().to_string(), cause: LATE.to_owned() }
    }

    /// Ready when more may be appended; a pipe that nobody reads says no.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.output.poll_room(cx)
    }

    /// Writes what has waited for [`HOLD`]; the waker is called when the rest has.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>) {
        if !self.dirty {
            return;
        }
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + HOLD)));
        if timer.as_mut().poll(cx).is_ready() {
            self.timer = None;
            self.dirty = false;
            self.output.watch(cx);
        }
    }

    /// Ready when all is written and the file is closed, or can never be. Call it until then.
    ///
    /// # Errors
    /// The first failure.
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), RecordError>> {
        if let Err(failure) = ready!(self.output.poll_finish(cx)) {
            self.fail_with(failure);
        } else if let Some(handle) = self.handle.take()
            && let Err(error) = nix::unistd::close(handle)
        {
            self.fail_with(OutputFailure::Failed(io_text(&error.into())));
        }
        Poll::Ready(self.failure.clone().map_or(Ok(()), Err))
    }
}

/// Whether a file was cut off, as by a kill, and the next line would be part of the last.
fn ends_within_a_line(path: &Path) -> bool {
    let last = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        if !file.metadata()?.is_file() {
            return Ok(b'\n');
        }
        file.seek(SeekFrom::End(-1))?;
        let mut last = [b'\n'];
        file.read_exact(&mut last)?;
        Ok(last[0])
    };
    // An empty file has no last byte.
    last().is_ok_and(|last| last != b'\n')
}
