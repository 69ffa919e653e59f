//! A recording as a source: event lines or HAR, read again in the order of their times.
//!
//! Owns finding out what a file is, checking it, and reading it by a thread through a bounded channel. When a step is
//! due is the caller's business. Invariants: memory does not grow with the recording; what is cut off at the end (the
//! recorder was killed) is left out with a notice, anything else that cannot be read is an error that names the place.

mod document;
mod har;
mod lines;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use tokio::sync::mpsc;

use document::{Document, is_archive};
use har::{Contents, index, is_har, merge};
use lines::read_lines;

use crate::message::event::{Direction, InputEvent};
use crate::message::io_text::io_text;

/// Bytes of one read.
const CHUNK: usize = 128 * 1024;
/// Steps handed over at a time.
const BATCH: usize = 512;
/// Payload bytes that end a batch early.
const BATCH_BYTES: usize = 128 * 1024;
/// Batches that may wait.
const WAITING: usize = 2;
/// A recording up to this size is checked whole before anything is sent.
const CHECKED: u64 = 1024 * 1024;

/// One thing to send again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub time: Timestamp,
    /// Which session of the recording it belongs to, from 0.
    pub session: Option<usize>,
    pub event: InputEvent,
    /// How far into the file it stands, in bytes.
    pub read: u64,
}

/// What comes out of a recording.
#[derive(Debug)]
pub(crate) enum Item {
    /// Steps in order.
    Steps(Vec<Step>),
    Notice(String),
    /// It cannot be read on: the last item.
    Failed(String),
    /// It has ended, with so many messages of the other direction in it: the last item.
    Ended(u64),
}

/// A recording that can be read.
#[derive(Debug)]
pub(crate) struct Recording {
    path: PathBuf,
    direction: Direction,
    kind: Kind,
    size: u64,
}

#[derive(Debug)]
enum Kind {
    Lines(BufReader<File>),
    Har(Contents),
}

impl Recording {
    /// Opens a recording of either kind; `direction` says whose messages are wanted.
    ///
    /// # Errors
    /// With the file's name: it cannot be read, or is not a recording.
    pub(crate) fn open(path: &Path, direction: Direction) -> Result<Self, String> {
        Self::open_unnamed(path, direction).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn open_unnamed(path: &Path, direction: Direction) -> Result<Self, String> {
        let cannot_read = |error: io::Error| format!("cannot read the recording: {}", io_text(&error));
        let file = File::open(path).map_err(cannot_read)?;
        let meta = file.metadata().map_err(cannot_read)?;
        let size = if meta.is_file() { meta.len() } else { 0 };
        let mut reader = BufReader::with_capacity(CHUNK, file);
        let beginning = reader.fill_buf().map_err(cannot_read)?;
        if beginning.is_empty() {
            return Err("it is empty".to_owned());
        }
        let kind = if is_har(beginning) || is_archive(beginning) {
            if !meta.is_file() {
                return Err("a HAR must be a regular file, since it is read twice".to_owned());
            }
            let contents = index(&Document::open(path)?, size <= CHECKED)?;
            if let Some(fault) = contents.fault() {
                return Err(fault);
            }
            Kind::Har(contents)
        } else {
            if meta.is_file() && size <= CHECKED {
                read_lines(&mut reader, direction, |_| true, |_: Told| ())?;
            } else if meta.is_file() {
                // Of a large one the beginning tells whether it is a recording at all.
                let beginning = beginning.rsplitn(2, |byte| *byte == b'\n').last().unwrap_or_default();
                read_lines(beginning, direction, |_| true, |_: Told| ())?;
            }
            if meta.is_file() {
                reader.seek(SeekFrom::Start(0)).map_err(cannot_read)?;
            }
            Kind::Lines(reader)
        };
        Ok(Self { path: path.to_owned(), direction, kind, size })
    }

    /// Bytes in the file; 0 where that is not known.
    #[must_use]
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Starts reading; the channel ends with the recording.
    #[must_use]
    pub(crate) fn read(self) -> mpsc::Receiver<Item> {
        let (sender, receiver) = mpsc::channel(WAITING);
        std::thread::spawn(move || {
            let mut batches = Batches { sender, steps: Vec::new(), bytes: 0, others: 0 };
            let (path, direction) = (self.path, self.direction);
            let mut notices = Vec::new();
            let result = match self.kind {
                Kind::Lines(mut reader) => {
                    let mut others = 0;
                    let step = |step| batches.push(step);
                    let result = read_lines(&mut reader, direction, step, |text| match text {
                        Told::Notice(text) => notices.push(text),
                        Told::Other => others += 1,
                    });
                    batches.others = others;
                    result
                }
                Kind::Har(contents) => {
                    if !contents.is_whole {
                        notices.push(
                            "it is truncated; everything after the last complete message was \
                        skipped"
                                .to_owned(),
                        );
                    }
                    notices.extend(contents.note());
                    Document::open(&path)
                        .and_then(|document| merge(&document, &contents.entries, direction, &mut batches))
                        .map(|left_out| notices.extend(left_out))
                }
            };
            batches.hand_over();
            let named = |text: String| format!("{}: {text}", path.display());
            for notice in notices {
                let _ = batches.sender.blocking_send(Item::Notice(named(notice)));
            }
            let _ = batches.sender.blocking_send(match result {
                Ok(()) => Item::Ended(batches.others),
                Err(error) => Item::Failed(named(error)),
            });
        });
        receiver
    }
}

/// Steps on their way to the channel.
struct Batches {
    sender: mpsc::Sender<Item>,
    steps: Vec<Step>,
    bytes: usize,
    /// Messages of the other direction so far.
    others: u64,
}

/// What is told of lines that are not steps.
enum Told {
    Notice(String),
    /// One is a message of the other direction.
    Other,
}

impl Batches {
    /// False when nobody listens any more.
    fn push(&mut self, step: Step) -> bool {
        if let InputEvent::Message(message) = &step.event {
            self.bytes += message.len();
        }
        self.steps.push(step);
        if self.steps.len() < BATCH && self.bytes < BATCH_BYTES {
            return true;
        }
        self.hand_over()
    }

    fn hand_over(&mut self) -> bool {
        self.bytes = 0;
        let steps = std::mem::replace(&mut self.steps, Vec::with_capacity(BATCH));
        steps.is_empty() || self.sender.blocking_send(Item::Steps(steps)).is_ok()
    }
}

/// The place of a session among those of a recording, from 0: `s1` is the first.
pub(crate) fn session_number(name: &str) -> Option<usize> {
    name.strip_prefix('s')?.parse::<usize>().ok()?.checked_sub(1)
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
