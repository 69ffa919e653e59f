//! Standard output: large blocks in a flood, at once when nothing more is ready.
//!
//! A pipe or terminal is written by a thread of its own, one block at a time, so that a reader that
//! stands still stops neither pings nor Ctrl-C; what goes to a file or `/dev/null` is written in
//! place. Invariants: order is kept; at most `HIGH` bytes plus one block wait, after which
//! [`Output::poll_room`] says no; nothing is lost between the last write and [`Output::poll_finish`];
//! a reader that leaves a pipe is noticed although nothing is written.

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileTypeExt;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::error::Error;
use crate::host::{Stream, Watch};

/// A block this large is handed over before the pass ends.
const BLOCK: usize = 64 * 1024;
/// Beyond this reading pauses until the reader of our output has caught up.
const HIGH: usize = 256 * 1024;

/// Standard output for several who write it in turn, each whole lines.
pub(crate) type SharedOutput = Rc<RefCell<Output>>;

/// Buffered payload on its way to standard output.
#[derive(Debug)]
pub(crate) struct Output {
    buffer: Vec<u8>,
    /// Bytes handed over so far.
    handed: u64,
    way: Way,
    /// Looks whether the reader leaves.
    watch: Option<Watch>,
}

#[derive(Debug)]
enum Way {
    InPlace { file: Stream, failure: Option<io::ErrorKind>, text: String },
    Thread(Arc<Shared>),
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    handed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    block: Vec<u8>,
    /// Bytes written so far.
    written: u64,
    busy: bool,
    failure: Option<(io::ErrorKind, String)>,
    wakers: Vec<Waker>,
    ended: bool,
}

impl State {
    fn wake_later(&mut self, cx: &mut Context<'_>) {
        if !self.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            self.wakers.push(cx.waker().clone());
        }
    }
}

/// Why nothing more can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OutputFailure {
    /// The reader has closed: a reason to stop, not an error.
    Closed,
    /// Anything else, in the words of the system.
    Failed(String),
}

impl Output {
    /// Takes over standard output: a reader that leaves is a failure at once.
    ///
    /// # Errors
    /// When it is closed.
    pub(crate) fn stdout(stdout: &Stream) -> Result<Self, Error> {
        let mut output = Self::new(stdout.for_output()?);
        if let Way::Thread(shared) = &output.way {
            let shared = Arc::clone(shared);
            output.watch = stdout.when_abandoned(move || abandoned(&shared));
        }
        Ok(output)
    }

    /// Takes over a file of any kind.
    #[must_use]
    pub(crate) fn new(file: impl Into<Stream>) -> Self {
        let file = file.into();
        let in_place = file.file().metadata().is_ok_and(|meta| {
            let kind = meta.file_type();
            kind.is_file() || (kind.is_char_device() && is_null(file.file()))
        });
        if in_place {
            let way = Way::InPlace { file, failure: None, text: String::new() };
            return Self { buffer: Vec::with_capacity(BLOCK + 4096), handed: 0, way, watch: None };
        }
        Self::over(file)
    }

    /// Writes from a thread of its own, because this writer may block.
    #[must_use]
    pub(crate) fn over(writer: impl Write + Send + 'static) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        std::thread::spawn(move || write_blocks(writer, &theirs));
        let way = Way::Thread(shared);
        Self { buffer: Vec::with_capacity(BLOCK + 4096), handed: 0, way, watch: None }
    }

    /// Where the next payload is appended; call [`Output::wrote`] afterwards.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Something was appended: hands a full block over.
    pub(crate) fn wrote(&mut self) {
        if self.buffer.len() >= BLOCK {
            self.flush();
        }
    }

    /// Hands over what is there, unless the last block is still being written.
    pub(crate) fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        match &mut self.way {
            Way::InPlace { file, failure, text } => {
                if failure.is_none()
                    && let Err(error) = file.write_all(&self.buffer)
                {
                    *failure = Some(error.kind());
                    *text = crate::message::io_text::io_text(&error);
                }
                self.handed += self.buffer.len() as u64;
                self.buffer.clear();
            }
            Way::Thread(shared) => {
                let mut state = lock(shared);
                if state.failure.is_some() {
                    self.buffer.clear();
                } else if !state.busy {
                    self.handed += self.buffer.len() as u64;
                    std::mem::swap(&mut state.block, &mut self.buffer);
                    state.busy = true;
                    shared.handed.notify_one();
                }
            }
        }
    }

    /// Bytes appended since the start.
    #[must_use]
    pub(crate) fn appended(&self) -> u64 {
        self.handed + self.buffer.len() as u64
    }

    /// Bytes written since the start: what was appended up to there has arrived.
    #[must_use]
    pub(crate) fn written(&self) -> u64 {
        match &self.way {
            Way::InPlace { failure: None, .. } => self.handed,
            Way::InPlace { .. } => 0,
            Way::Thread(shared) => lock(shared).written,
        }
    }

    #[must_use]
    pub(crate) fn has_room(&self) -> bool {
        self.buffer.len() < HIGH
    }

    /// Ready when more may be appended; else the waker is called when it may.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_room() {
            return Poll::Ready(());
        }
        self.flush();
        if self.has_room() {
            return Poll::Ready(());
        }
        self.watch(cx);
        Poll::Pending
    }

    /// Flushes and asks to be woken when the writer is free again or has failed.
    pub(crate) fn watch(&mut self, cx: &mut Context<'_>) {
        self.flush();
        if let Way::Thread(shared) = &self.way {
            let mut state = lock(shared);
            state.wake_later(cx);
        }
    }

    /// Why nothing more can be written, once that is so.
    #[must_use]
    pub(crate) fn failure(&self) -> Option<OutputFailure> {
        let (kind, text) = match &self.way {
            Way::InPlace { failure, text, .. } => ((*failure)?, text.clone()),
            Way::Thread(shared) => lock(shared).failure.clone()?,
        };
        Some(if kind == io::ErrorKind::BrokenPipe { OutputFailure::Closed } else { OutputFailure::Failed(text) })
    }

    /// Ready when everything appended has been written, or can never be.
    pub(crate) fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), OutputFailure>> {
        self.flush();
        if let Way::Thread(shared) = &self.way {
            let mut state = lock(shared);
            if state.failure.is_none() && (state.busy || !self.buffer.is_empty()) {
                state.wake_later(cx);
                return Poll::Pending;
            }
        }
        Poll::Ready(self.failure().map_or(Ok(()), Err))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.flush();
        if let Way::Thread(shared) = &self.way {
            lock(shared).ended = true;
            shared.handed.notify_one();
        }
    }
}

fn lock(shared: &Shared) -> MutexGuard<'_, State> {
    shared.state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reader has closed its end.
fn abandoned(shared: &Shared) {
    let error = io::Error::from(io::ErrorKind::BrokenPipe);
    let mut state = lock(shared);
    state.failure.get_or_insert_with(|| (error.kind(), crate::message::io_text::io_text(&error)));
    state.wakers.drain(..).for_each(Waker::wake);
}

fn write_blocks(mut writer: impl Write, shared: &Shared) {
    let mut block = Vec::with_capacity(BLOCK + 4096);
    loop {
        {
            let mut state = lock(shared);
            while !state.busy {
                if state.ended || state.failure.is_some() {
                    return;
                }
                state = shared.handed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut state.block, &mut block);
        }
        let written = writer.write_all(&block);
        let mut state = lock(shared);
        state.busy = false;
        let failed = written.is_err();
        if !failed {
            state.written += block.len() as u64;
        }
        block.clear();
        if let Err(error) = written {
            state.failure.get_or_insert_with(|| (error.kind(), crate::message::io_text::io_text(&error)));
        }
        state.wakers.drain(..).for_each(Waker::wake);
        if failed {
            return;
        }
    }
}

/// Whether this is `/dev/null`, which takes everything at once.
fn is_null(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    let device = |meta: std::fs::Metadata| meta.rdev();
    match (file.metadata().map(device), std::fs::metadata("/dev/null").map(device)) {
        (Ok(ours), Ok(null)) => ours == null,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::fd::OwnedFd;

    async fn finish(output: &mut Output) -> Result<(), OutputFailure> {
        std::future::poll_fn(|cx| output.poll_finish(cx)).await
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
    }

    #[test]
    fn a_slow_reader_gets_every_byte_in_order_and_bounds_what_waits() {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        let mut output = Output::new(File::from(OwnedFd::from(writer)));
        let total = 3 * HIGH;
        let reading = std::thread::spawn(move || {
            let mut all = Vec::new();
            reader.read_to_end(&mut all).map(|_| all)
        });
        runtime().block_on(async {
            for number in 0..total / 8 {
                std::future::poll_fn(|cx| output.poll_room(cx)).await;
                output.buffer().extend_from_slice(&(number as u64).to_be_bytes());
                output.wrote();
                assert!(output.buffer.len() < HIGH + 8);
                assert!(output.written() <= output.appended());
            }
            assert_eq!(output.appended(), total as u64);
            finish(&mut output).await.expect("all is written");
            assert_eq!(output.written(), total as u64);
        });
        drop(output);
        let all = reading.join().expect("the reader ends").expect("the pipe is readable");
        let expected: Vec<u8> = (0..total as u64 / 8).flat_map(u64::to_be_bytes).collect();
        assert!(all == expected, "{} bytes of {}", all.len(), expected.len());
    }

    #[test]
    fn a_reader_that_closed_is_told_apart_from_an_error() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut output = Output::new(File::from(OwnedFd::from(writer)));
        output.buffer().extend_from_slice(b"x");
        output.wrote();
        assert_eq!(runtime().block_on(finish(&mut output)), Err(OutputFailure::Closed));
        let mut full = Output::new(File::options().write(true).open("/dev/full").expect("/dev/full"));
        full.buffer().extend_from_slice(b"x");
        assert!(matches!(runtime().block_on(finish(&mut full)), Err(OutputFailure::Failed(_))));
    }
}
