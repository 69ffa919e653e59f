//! What a program says, on its way to our standard error, a line at a time.
//!
//! Invariant: on a terminal nothing a program says there drives the terminal.

use std::os::fd::{AsFd, BorrowedFd};

use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStderr, ChildStdout};

use super::read_now;
use crate::host::Stderr;
use crate::message::render;
use crate::source::framing::{Framing, Splitter};

/// Longest line passed on in one piece.
const LONGEST_LINE: usize = 64 * 1024;
/// Bytes that are still looked for when everything has ended: more than a pipe holds.
const LAST_WORDS: usize = 1024 * 1024;

pub(super) enum Stream {
    Stdout(ChildStdout),
    Stderr(ChildStderr),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stdout(stream) => stream.as_fd(),
            Self::Stderr(stream) => stream.as_fd(),
        }
    }
}

/// Forwards the lines a program prints.
pub(super) struct Lines {
    stream: Stream,
    splitter: Splitter,
    prefix: String,
    to: Stderr,
}

impl Lines {
    /// From this stream, with this before each line.
    pub(super) fn new(stream: Stream, prefix: String, to: Stderr) -> Self {
        Self { stream, splitter: Splitter::new(Framing::Lines, usize::MAX / 2), prefix, to }
    }

    /// Passes on what comes next; false when nothing will any more. Waits forever where there is no stream.
    pub(super) async fn pass_on_of(lines: &mut Option<Self>) -> bool {
        match lines {
            Some(lines) => lines.pass_on().await > 0,
            None => std::future::pending().await,
        }
    }

    async fn pass_on(&mut self) -> usize {
        let mut chunk = [0; 4096];
        let read = match &mut self.stream {
            Stream::Stdout(stream) => stream.read(&mut chunk).await,
            Stream::Stderr(stream) => stream.read(&mut chunk).await,
        };
        let read = read.unwrap_or(0);
        self.take(&chunk[..read]);
        read
    }

    fn take(&mut self, chunk: &[u8]) {
        let (to, prefix) = (&self.to, &self.prefix);
        let show = |line: Vec<u8>| to.line(format!("{prefix}{}", safe(to, &line)));
        let _ = self.splitter.push(chunk, show);
        // What has no end in sight is passed on in pieces.
        if chunk.is_empty() || self.splitter.waiting() > LONGEST_LINE {
            self.splitter.finish().ok().flatten().into_iter().for_each(show);
        }
    }

    /// What has been written until now, without waiting for more.
    pub(super) fn pass_on_the_rest(&mut self) {
        let mut passed = 0;
        let mut chunk = [0; 4096];
        while passed < LAST_WORDS {
            let read = read_now(&self.stream, &mut chunk);
            if read == 0 {
                break;
            }
            passed += read;
            self.take(&chunk[..read]);
        }
        self.take(&[]);
    }
}

/// A line as text; on a terminal, with nothing in it that drives the terminal.
fn safe(to: &Stderr, line: &[u8]) -> String {
    if !to.is_terminal() {
        return String::from_utf8_lossy(line).into_owned();
    }
    let mut safe = Vec::with_capacity(line.len());
    render::escape_for_terminal(&mut safe, line);
    String::from_utf8_lossy(&safe).into_owned()
}
