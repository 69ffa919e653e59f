//! From the bytes that a stream, a file or a program gives to messages in a pipeline.
//!
//! Leaves reading to each source. Invariants: what was read is handed on however full the queues are, unless the run is
//! aborted; what is not a message goes to the dead letters and ends nothing.

use std::rc::Rc;

use bytes::Bytes;

use super::framing::{Framing, Splitter};
use crate::exit::Exit;
use crate::message::Message;
use crate::message::counted::counted;
use crate::message::event::{Event, InputEvent, parse_input_line};
use crate::queue::end::{EndError, EndIo, Ingress};
use crate::queue::envelope::Origin;
use crate::queue::stop::Step;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LineKind {
    /// As they are; what is not text is binary.
    Raw,
    Events,
    /// Event lines when the first piece is one, else raw.
    Either,
}

/// Makes messages of bytes and hands them on.
pub(crate) struct Intake {
    io: EndIo,
    ingress: Rc<dyn Ingress>,
    origin: Rc<Origin>,
    kind: LineKind,
    framing: Framing,
    max: usize,
    splitter: Splitter,
    seq: u64,
    /// What was read before the run was aborted, and not handed on.
    left: Vec<u8>,
}

impl Intake {
    /// For one source; `None` where there is no pipeline behind it.
    pub(crate) fn new(io: &EndIo, origin: Rc<Origin>, kind: LineKind, framing: Framing, max: usize) -> Option<Self> {
        let ingress = io.ingress.clone()?;
        let splitter = Splitter::new(framing.clone(), max);
        Some(Self { io: io.clone(), ingress, origin, kind, framing, max, splitter, seq: 0, left: Vec::new() })
    }

    /// Takes what was read; false when the run is aborted.
    ///
    /// # Errors
    /// A message over the limit.
    pub(crate) async fn take(&mut self, chunk: impl Into<Bytes>) -> Result<bool, EndError> {
        let mut rest: Bytes = chunk.into();
        if self.framing == Framing::Lines {
            // What ends in this chunk is a slice of it; only what began in another is put together.
            if self.splitter.waiting() > 0 {
                let first = memchr::memchr(b'\n', &rest).map_or(rest.len(), |end| end + 1);
                let first = rest.split_to(first);
                if !self.cut(&first).await? {
                    self.left.extend_from_slice(&rest);
                    return Ok(false);
                }
            }
            while let Some(end) = memchr::memchr(b'\n', &rest) {
                let mut line = rest.split_to(end + 1);
                line.truncate(if end > 0 && line[end - 1] == b'\r' { end - 1 } else { end });
                if line.len() > self.max {
                    return Err(self.too_long());
                }
                if !self.hand_on(line).await {
                    self.left.extend_from_slice(&rest);
                    return Ok(false);
                }
            }
        }
        self.cut(&rest).await
    }

    /// Puts together what may have begun earlier.
    async fn cut(&mut self, chunk: &[u8]) -> Result<bool, EndError> {
        let mut pieces = Vec::new();
        let cut = self.splitter.push(chunk, |piece| pieces.push(piece));
        let mut pieces = pieces.into_iter();
        while let Some(piece) = pieces.next() {
            if !self.hand_on(piece.into()).await {
                pieces.for_each(|piece| self.leave(&piece));
                return Ok(false);
            }
        }
        cut.map(|()| true).map_err(|_| self.too_long())
    }

    /// What was read has ended: a last piece without its end counts. False when the run is aborted.
    ///
    /// # Errors
    /// As [`Intake::take`].
    pub(crate) async fn finish(&mut self) -> Result<bool, EndError> {
        match self.splitter.finish().map_err(|_| self.too_long())? {
            Some(last) => Ok(self.hand_on(last.into()).await),
            None => Ok(true),
        }
    }

    /// What was read of a last piece is forgotten.
    pub(crate) fn forget(&mut self) {
        let _ = self.splitter.finish();
    }

    /// What was read and did not become messages: lines that an abort left, and one that has begun.
    pub(crate) fn left(&mut self) -> Vec<u8> {
        let mut left = std::mem::take(&mut self.left);
        left.extend(self.splitter.finish().ok().flatten().unwrap_or_default());
        left
    }

    fn leave(&mut self, piece: &[u8]) {
        self.left.extend_from_slice(piece);
        match &self.framing {
            Framing::Lines => self.left.push(b'\n'),
            Framing::Delimiter(delimiter) => self.left.extend_from_slice(delimiter),
            Framing::Whole => {}
        }
    }

    async fn hand_on(&mut self, piece: Bytes) -> bool {
        let is_aborted = self.io.stop.unless(Step::Aborting, self.io.room()).await.is_none();
        if is_aborted {
            self.leave(&piece);
        } else {
            self.message(piece);
        }
        !is_aborted
    }

    fn message(&mut self, piece: Bytes) {
        if self.kind == LineKind::Either {
            self.kind = if Event::parse(&piece).is_ok() { LineKind::Events } else { LineKind::Raw };
        }
        let message = match self.kind {
            LineKind::Events => match parse_input_line(&piece).map(|line| line.event) {
                Ok(InputEvent::Message(message)) => message,
                // It records what is not a message.
                Ok(_) => return,
                Err(error) => {
                    self.seq += 1;
                    return self.ingress.reject(&self.origin, self.seq, Message::from_bytes(piece), &error);
                }
            },
            _ => Message::from_bytes(piece),
        };
        self.seq += 1;
        self.ingress.push(&self.origin, self.seq, message, None);
    }

    fn too_long(&self) -> EndError {
        let text = format!("{}: a message exceeds the limit of {}", self.origin.endpoint, counted(self.max, "byte"));
        EndError::new(Exit::Usage, text).hint("--max-message-size SIZE accepts larger ones")
    }
}
