//! `Bulk`: a client's connection that is one of thousands, or one that carries as many small messages as it can.
//!
//! The lean sibling of [`super::connection`], for load: frames are built ahead and written as they are, many at once;
//! what arrives is read into a buffer that all connections of a thread share and looked at in place. Owns framing by
//! the client's rules (RFC 6455 section 5), pongs, the echo of a Close, and permessage-deflate by [`super::deflate`].
//! Invariants: nothing the peer may not send passes as a message; a whole message is handed over once; between messages
//! no memory is kept beyond a few bytes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::{BAD_CLOSE, CloseReason, ConnectionError, io_text, may_be_sent};
use super::deflate::{Codec, InflateError};
use super::transport::Transport;
use crate::message::MessageKind;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RESERVED: u8 = 0x30;
const OPCODE: u8 = 0x0f;
const MASK: u8 = 0x80;
const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// Most payload bytes of a control frame.
const CONTROL: usize = 125;
/// Empty buffers larger than this are given back.
const KEPT: usize = 4096;
/// Pongs are left out while more than this waits to be written: the peer does not read.
const MOST_WAITING: usize = 1024 * 1024;

/// A masked data frame built ahead, of which a part is filled in each time.
#[derive(Debug, Clone)]
pub struct Prebuilt {
    bytes: Vec<u8>,
    head: usize,
    key: [u8; 4],
}

impl Prebuilt {
    /// A frame that is a whole message.
    #[must_use]
    pub fn new(kind: MessageKind, payload: &[u8], key: [u8; 4]) -> Self {
        let mut bytes = Vec::with_capacity(payload.len() + 14);
        append_frame(&mut bytes, opcode(kind), false, payload, key);
        Self { head: bytes.len() - payload.len(), bytes, key }
    }

    /// Appends it with `part` in the place of the payload's bytes from `offset` on.
    ///
    /// # Panics
    /// When the part does not fit into the payload.
    pub fn append(&self, out: &mut Vec<u8>, offset: usize, part: &[u8]) {
        let start = out.len() + self.head + offset;
        out.extend_from_slice(&self.bytes);
        let place = &mut out[start..start + part.len()];
        for (index, (to, from)) in place.iter_mut().zip(part).enumerate() {
            *to = from ^ self.key[(offset + index) & 3];
        }
    }
}

fn opcode(kind: MessageKind) -> u8 {
    match kind {
        MessageKind::Text => TEXT,
        MessageKind::Binary => BINARY,
    }
}

/// Appends one whole masked frame (RFC 6455 section 5.2).
fn append_frame(out: &mut Vec<u8>, opcode: u8, compressed: bool, payload: &[u8], key: [u8; 4]) {
    out.push(FIN | opcode | if compressed { RSV1 } else { 0 });
    match (payload.len(), u16::try_from(payload.len())) {
        (len @ 0..=125, _) => out.push(MASK | len as u8),
        (_, Ok(len)) => {
            out.push(MASK | 0x7e);
            out.extend_from_slice(&len.to_be_bytes());
        }
        (len, Err(_)) => {
            out.push(MASK | 0x7f);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&key);
    let start = out.len();
    out.extend_from_slice(payload);
    for (index, byte) in out[start..].iter_mut().enumerate() {
        *byte ^= key[index & 3];
    }
}

/// What the peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received<'a> {
    /// A whole message.
    Message(MessageKind, &'a [u8]),
    /// A ping; its pong waits to be flushed.
    Ping,
    /// A pong.
    Pong(&'a [u8]),
    /// The peer's Close; where it came first, its echo waits to be flushed.
    Close(CloseReason),
}

/// The beginning of a message whose end has not come.
#[derive(Debug)]
struct Begun {
    kind: MessageKind,
    compressed: bool,
    payload: Vec<u8>,
}

/// A frame as it lies in the buffer.
struct Frame {
    first: u8,
    head: usize,
    payload: usize,
}

/// One open connection.
#[derive(Debug)]
pub struct Bulk {
    transport: Transport,
    /// Read, but no whole frame yet.
    partial: Vec<u8>,
    /// Taken to be sent, but not by the kernel.
    unsent: Vec<u8>,
    begun: Option<Box<Begun>>,
    codec: Option<Box<Codec>>,
    limit: usize,
    close_sent: bool,
    close_received: bool,
}

impl Bulk {
    /// Starts on a transport whose upgrade is done; `prefix` is what was read past the HTTP head.
    pub(crate) fn new(transport: Transport, prefix: &Bytes, codec: Option<Box<Codec>>, limit: usize) -> Self {
        Self {
            transport,
            partial: prefix.to_vec(),
            unsent: Vec::new(),
            begun: None,
            codec,
            limit,
            close_sent: false,
            close_received: false,
        }
    }

    /// Reads what is there into `buffer`; 0 is the end of the stream.
    ///
    /// # Errors
    /// [`ConnectionError::Lost`].
    pub fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Result<usize, ConnectionError>> {
        let mut read = ReadBuf::new(buffer);
        match ready!(Pin::new(&mut self.transport).poll_read(cx, &mut read)) {
            Ok(()) => Poll::Ready(Ok(read.filled().len())),
            Err(error) => Poll::Ready(Err(lost(&error))),
        }
    }

    /// Takes bytes that were read and hands over each whole message in them, and each control frame.
    ///
    /// # Errors
    /// What the peer must not do; the Close that says so waits to be flushed.
    pub fn take(&mut self, bytes: &[u8], mut each: impl FnMut(Received<'_>)) -> Result<(), ConnectionError> {
        let result = if self.partial.is_empty() {
            self.take_frames(bytes, &mut each).map(|taken| {
                if taken < bytes.len() {
                    self.partial.extend_from_slice(&bytes[taken..]);
                }
            })
        } else {
            let mut partial = std::mem::take(&mut self.partial);
            partial.extend_from_slice(bytes);
            self.take_frames(&partial, &mut each).map(|taken| {
                partial.drain(..taken);
                if !partial.is_empty() || partial.capacity() <= KEPT {
                    self.partial = partial;
                }
            })
        };
        if let Err(error) = &result
            && let Some(code) = error.close_code()
        {
            self.start_close(code);
        }
        result
    }

    fn take_frames(&mut self, bytes: &[u8], each: &mut impl FnMut(Received<'_>)) -> Result<usize, ConnectionError> {
        let mut at = 0;
        while !self.close_received {
            let Some(frame) = self.frame(&bytes[at..])? else { return Ok(at) };
            let start = at + frame.head;
            let end = start + frame.payload;
            let Some(payload) = bytes.get(start..end) else { return Ok(at) };
            at = end;
            self.take_frame(frame.first, payload, each)?;
        }
        // After a Close nothing counts.
        Ok(bytes.len())
    }

    /// The head of the frame at the start, when all of it is there.
    fn frame(&self, bytes: &[u8]) -> Result<Option<Frame>, ConnectionError> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        if second & MASK != 0 {
            return Err(protocol("a masked frame from the server"));
        }
        let (head, payload) = match second {
            0x7e => match rest.first_chunk() {
                Some(length) => (4, u64::from(u16::from_be_bytes(*length))),
                None => return Ok(None),
            },
            0x7f => match rest.first_chunk() {
                Some(length) => (10, u64::from_be_bytes(*length)),
                None => return Ok(None),
            },
            length => (2, u64::from(length)),
        };
        let before = self.begun.as_ref().map_or(0, |begun| begun.payload.len());
        let payload = usize::try_from(payload).ok().filter(|payload| before.saturating_add(*payload) <= self.most());
        let Some(payload) = payload else { return Err(ConnectionError::TooLarge { limit: self.limit }) };
        Ok(Some(Frame { first, head, payload }))
    }

    /// A compressed message may be a little longer than what it inflates to.
    fn most(&self) -> usize {
        match self.codec {
            Some(_) => self.limit.saturating_add(self.limit / 1000).saturating_add(1024),
            None => self.limit.max(CONTROL),
        }
    }

    fn take_frame(
        &mut self,
        first: u8,
        payload: &[u8],
        each: &mut impl FnMut(Received<'_>),
    ) -> Result<(), ConnectionError> {
        let (fin, opcode) = (first & FIN != 0, first & OPCODE);
        let compressed = first & RSV1 != 0;
        let starts = matches!(opcode, TEXT | BINARY);
        if first & RESERVED != 0 || (compressed && (self.codec.is_none() || !starts)) {
            return Err(protocol("reserved bits are set"));
        }
        let kind = if opcode == TEXT { MessageKind::Text } else { MessageKind::Binary };
        match opcode {
            TEXT | BINARY if self.begun.is_some() => Err(protocol("a message inside a message")),
            TEXT | BINARY if fin => self.message(kind, compressed, payload, each),
            TEXT | BINARY => {
                self.begun = Some(Box::new(Begun { kind, compressed, payload: payload.to_vec() }));
                Ok(())
            }
            CONTINUATION => {
                let Some(mut begun) = self.begun.take() else { return Err(protocol("a fragment of no message")) };
                begun.payload.extend_from_slice(payload);
                if fin {
                    return self.message(begun.kind, begun.compressed, &begun.payload, each);
                }
                self.begun = Some(begun);
                Ok(())
            }
            CLOSE | PING | PONG if !fin || payload.len() > CONTROL => Err(protocol("a control frame in fragments")),
            PING => {
                if self.unsent.len() < MOST_WAITING {
                    append_frame(&mut self.unsent, PONG, false, payload, key());
                }
                each(Received::Ping);
                Ok(())
            }
            PONG => {
                each(Received::Pong(payload));
                Ok(())
            }
            CLOSE => {
                let close = close_reason(payload)?;
                self.close_received = true;
                if !self.close_sent {
                    self.close_sent = true;
                    append_frame(&mut self.unsent, CLOSE, false, payload.get(..2).unwrap_or_default(), key());
                }
                each(Received::Close(close));
                Ok(())
            }
            _ => Err(protocol("a frame of an unknown kind")),
        }
    }

    fn message(
        &mut self,
        kind: MessageKind,
        compressed: bool,
        payload: &[u8],
        each: &mut impl FnMut(Received<'_>),
    ) -> Result<(), ConnectionError> {
        let limit = self.limit;
        let inflated;
        let payload = match &mut self.codec {
            Some(codec) if compressed => {
                inflated = codec.inflate(payload, limit).map_err(|error| match error {
                    InflateError::TooLarge => ConnectionError::TooLarge { limit },
                    InflateError::Corrupt => protocol("compressed data is corrupt"),
                })?;
                inflated.as_ref()
            }
            _ => payload,
        };
        if payload.len() > limit {
            return Err(ConnectionError::TooLarge { limit });
        }
        if kind == MessageKind::Text && std::str::from_utf8(payload).is_err() {
            return Err(ConnectionError::InvalidUtf8);
        }
        each(Received::Message(kind, payload));
        Ok(())
    }

    /// Takes a message to send with the next flush, compressed where that was agreed on.
    pub fn start_send(&mut self, kind: MessageKind, payload: &[u8]) {
        match self.codec.as_mut().and_then(|codec| codec.compress(payload)) {
            Some(compressed) => append_frame(&mut self.unsent, opcode(kind), true, &compressed, key()),
            None => append_frame(&mut self.unsent, opcode(kind), false, payload, key()),
        }
    }

    /// Takes a frame built ahead, to send with the next flush. Only where [`Bulk::is_plain`] or the frame is compressed.
    pub fn start_prebuilt(&mut self, frame: &Prebuilt, offset: usize, part: &[u8]) {
        frame.append(&mut self.unsent, offset, part);
    }

    /// Whether frames built ahead may be written: nothing is to be compressed.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.codec.is_none()
    }

    /// Writes what the kernel takes at once, and tells how much; the rest waits for [`Bulk::poll_flush`].
    ///
    /// # Errors
    /// [`ConnectionError::Lost`].
    pub fn flush_now(&mut self) -> Result<usize, ConnectionError> {
        match self.transport.try_write(&self.unsent) {
            Ok(written) if written == self.unsent.len() => {
                self.clear_unsent();
                Ok(written)
            }
            Ok(written) => {
                self.unsent.drain(..written);
                Ok(written)
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            Err(error) => Err(lost(&error)),
        }
    }

    fn clear_unsent(&mut self) {
        self.unsent.clear();
        if self.unsent.capacity() > KEPT {
            self.unsent = Vec::new();
        }
    }

    /// Bytes that wait to be written.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.unsent.len()
    }

    /// Takes a ping to send with the next flush.
    pub fn start_ping(&mut self, payload: &[u8]) {
        append_frame(&mut self.unsent, PING, false, &payload[..payload.len().min(CONTROL)], key());
    }

    /// Takes a Close to send with the next flush, once.
    pub fn start_close(&mut self, code: u16) {
        if !self.close_sent {
            self.close_sent = true;
            append_frame(&mut self.unsent, CLOSE, false, &code.to_be_bytes(), key());
        }
    }

    /// Whether the peer's Close has come.
    #[must_use]
    pub fn is_closed_by_peer(&self) -> bool {
        self.close_received
    }

    /// Ready when nothing waits to be written.
    ///
    /// # Errors
    /// [`ConnectionError::Lost`].
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        while !self.unsent.is_empty() {
            match Pin::new(&mut self.transport).poll_write(cx, &self.unsent) {
                Poll::Ready(Ok(written)) => {
                    self.unsent.drain(..written);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(lost(&error))),
                Poll::Pending => return Poll::Pending,
            }
        }
        self.clear_unsent();
        // TLS holds records back until they are flushed.
        Pin::new(&mut self.transport).poll_flush(cx).map_err(|error| lost(&error))
    }

    /// Ends what lies below the WebSocket. With `reset` it leaves no trace in the kernel's tables: the peer sees a reset.
    pub fn end(self, reset: bool) {
        if reset {
            self.transport.reset_on_drop();
        }
    }
}

/// Masks need not be unpredictable towards the server one tests; they should differ.
fn key() -> [u8; 4] {
    fastrand::u32(..).to_ne_bytes()
}

fn protocol(text: &str) -> ConnectionError {
    ConnectionError::Protocol(text.to_owned())
}

fn lost(error: &io::Error) -> ConnectionError {
    ConnectionError::Lost(io_text(error))
}

/// The payload of a Close (RFC 6455 section 5.5.1 and 7.4).
fn close_reason(payload: &[u8]) -> Result<CloseReason, ConnectionError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(CloseReason::default()) } else { Err(protocol("a Close of one byte")) };
    };
    let code = u16::from_be_bytes(*code);
    if !may_be_sent(code) {
        return Err(protocol(BAD_CLOSE));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| protocol("a Close whose reason is not UTF-8"))?;
    Ok(CloseReason { code: Some(code), reason: reason.to_owned() })
}

#[cfg(test)]
#[path = "bulk_tests.rs"]
mod tests;
