//! The standard streams as they are found: non-blocking because a neighbour wants them so, or closed.
//!
//! Owns waiting for them and noticing that nobody reads any more. On macOS this is the same code; whether a pipe tells
//! there that its reader has left before something is written has not been tried. Invariants: the flags of a stream belong
//! to everybody who shares it and are never changed; a closed stream is never mistaken for `/dev/null`, which the standard
//! library puts in its place before `main`.

use std::fs::File;
use std::io::{self, PipeWriter, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt as _;
use std::sync::atomic::{AtomicU8, Ordering};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, fcntl_getfd};

use crate::message::io_text::io_text;

/// Why nothing can be printed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// Standard output was closed when the program began.
    #[error("standard output is closed, so what is printed would be lost")]
    Closed,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

/// A bit for each standard stream that was closed when the program began.
static CLOSED: AtomicU8 = AtomicU8::new(0);

/// Looks before `main`, because the standard library opens `/dev/null` for closed streams, as some parents do on purpose.
#[ctor::ctor]
fn look() {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let closed = streams.into_iter().enumerate().filter(|(_, stream)| fcntl_getfd(stream) == Err(Errno::BADF));
    CLOSED.store(closed.fold(0, |bits, (number, _)| bits | 1 << number), Ordering::Relaxed);
}

/// A standard stream.
#[derive(Debug)]
pub struct Stream {
    file: File,
    is_closed: bool,
}

impl Stream {
    /// The stream with this number.
    ///
    /// # Errors
    /// When there are no file descriptors left.
    pub fn standard(number: u8, stream: BorrowedFd<'_>) -> io::Result<Self> {
        let is_closed = CLOSED.load(Ordering::Relaxed) & 1 << number != 0;
        Ok(Self { file: File::from(stream.try_clone_to_owned()?), is_closed })
    }

    /// Whether it was closed when the program began.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Another handle of it.
    ///
    /// # Errors
    /// When there are no file descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()?, is_closed: self.is_closed })
    }

    /// Another handle of it for output that must not be lost.
    ///
    /// # Errors
    /// When it is closed, or there are no file descriptors left.
    pub fn for_output(&self) -> Result<Self, OutputError> {
        if self.is_closed {
            return Err(OutputError::Closed);
        }
        self.try_clone().map_err(|error| OutputError::Failed(format!("standard output: {}", io_text(&error))))
    }

    /// The file behind it.
    #[must_use]
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Calls `tell` on another thread once nobody reads this pipe or socket any more, while the result lives. `None` for
    /// other kinds of files, which no reader can leave: a terminal that goes away sends a signal.
    pub fn when_abandoned(&self, tell: impl FnOnce() + Send + 'static) -> Option<Watch> {
        let kind = self.file.metadata().ok()?.file_type();
        if !kind.is_fifo() && !kind.is_socket() {
            return None;
        }
        when_hung_up(&self.file, tell)
    }
}

/// Watches for the end of whatever is on the other side of a stream, until it is dropped.
#[derive(Debug)]
pub struct Watch {
    _ends: PipeWriter,
}

/// Calls `tell` on another thread once the other side of a pipe, socket or terminal has gone, while the result lives.
/// `None` where it cannot be watched.
pub(crate) fn when_hung_up(stream: impl AsFd, tell: impl FnOnce() + Send + 'static) -> Option<Watch> {
    let file = File::from(stream.as_fd().try_clone_to_owned().ok()?);
    let (ended, watch) = io::pipe().ok()?;
    let watching = move || {
        // Errors and hang-ups are told unasked. Other systems than Linux want to be asked for something.
        let mut streams = [PollFd::new(&file, PollFlags::HUP), PollFd::new(&ended, PollFlags::IN)];
        while poll(&mut streams, None) == Err(Errno::INTR) {}
        if streams[0].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
            tell();
        }
    };
    std::thread::Builder::new().name("watch".to_owned()).spawn(watching).ok()?;
    Some(Watch { _ends: watch })
}

impl From<File> for Stream {
    fn from(file: File) -> Self {
        Self { file, is_closed: false }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        patiently(&self.file, PollFlags::IN, || (&self.file).read(buffer))
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_closed {
            return Err(Errno::BADF.into());
        }
        patiently(&self.file, PollFlags::OUT, || (&self.file).write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tries until it does not block, waiting in between.
fn patiently<T>(file: &File, until: PollFlags, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return done,
        }
        match poll(&mut [PollFd::new(file, until)], None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::OwnedFd;
    use std::sync::mpsc;

    use rustix::io::ioctl_fionbio;

    fn pipe() -> (Stream, Stream) {
        let (reader, writer) = io::pipe().expect("a pipe");
        (File::from(OwnedFd::from(reader)).into(), File::from(OwnedFd::from(writer)).into())
    }

    #[test]
    fn a_pipe_that_somebody_made_non_blocking_loses_nothing() {
        let (mut reader, mut writer) = pipe();
        for end in [&reader, &writer] {
            ioctl_fionbio(end, true).expect("a flag");
        }
        let sent: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let expected = sent.clone();
        let writing = std::thread::spawn(move || writer.write_all(&sent));
        let mut all = Vec::new();
        reader.read_to_end(&mut all).expect("to the end");
        writing.join().expect("it ends").expect("all is written");
        assert!(all == expected, "{} bytes of {}", all.len(), expected.len());
    }

    #[test]
    fn a_reader_that_leaves_is_noticed_though_nothing_is_written() {
        let (reader, writer) = pipe();
        let (tell, told) = mpsc::channel();
        let watch = writer.when_abandoned(move || tell.send(()).expect("somebody listens"));
        assert!(watch.is_some() && told.try_recv().is_err());
        drop(reader);
        assert_eq!(told.recv(), Ok(()));
    }

    #[test]
    fn a_watch_that_is_dropped_ends_and_tells_nothing() {
        let (_reader, writer) = pipe();
        let (tell, told) = mpsc::channel::<()>();
        drop(writer.when_abandoned(move || _ = tell.send(())));
        assert_eq!(told.recv(), Err(mpsc::RecvError), "the thread has ended");
    }
}
