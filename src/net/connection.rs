//! `Connection`: one open WebSocket, bytes on one side and whole messages on the other.
//!
//! Drives the codec of [`super::frames`] over a transport. Owns the answers to pings and Closes (RFC 6455, sections 5.5 and
//! 7.1), compression of what is sent, fragments where the user wants them, and what waits to be written. Leaves
//! keep-alive, idle time and reconnecting to `session/`.
//! Invariants: every method is cancel safe; what waits to be written is bounded; all connections of a thread read into
//! one buffer, and an idle one keeps none.

mod outgoing;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::future::Future as _;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWrite};
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

use self::outgoing::Outgoing;
use super::deflate::{Agreed, Deflater, Inflater, Role};
pub(crate) use super::frames::{CloseReason, MessageLimits};
use super::frames::{Decoder, Event, FrameError, FrameKind, Prebuilt};
use super::transport::Transport;
use crate::message::Message;
use crate::message::counted::counted;
use crate::message::io_text::io_text;

/// Bytes read at most at once, by all connections of a thread into one buffer.
const READ: usize = 64 * 1024;
/// With less room left the buffer is renewed.
const LEAST_READ: usize = 16 * 1024;
/// While this many bytes wait to be written, no more messages are taken.
const HIGH_WATER: usize = 64 * 1024;

thread_local! {
    static READ_BUFFER: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Incoming {
    /// A whole data message.
    Message(Message),
    /// A ping; the pong is already on its way, if there is to be one.
    Ping(Bytes),
    Pong(Bytes),
    /// The peer's Close; its echo is already on its way, unless that is to be delayed.
    Close(CloseReason),
}

/// Why a connection cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionError {
    /// Broken frames: answered with Close 1002.
    #[error("the peer broke the WebSocket protocol: {0}")]
    Protocol(String),
    /// A text message that is not UTF-8: answered with Close 1007.
    #[error("the peer sent a text message that is not valid UTF-8")]
    InvalidUtf8,
    /// A message over `--max-message-size`: answered with Close 1009.
    #[error("the peer sent a message larger than the limit of {}", counted(*limit, "byte"))]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// The byte stream ended or failed without a Close.
    #[error("connection lost: {0}")]
    Lost(String),
}

impl ConnectionError {
    /// The code of the Close that tells the peer (RFC 6455 section 7.4.1).
    #[must_use]
    pub fn close_code(&self) -> Option<u16> {
        match self {
            Self::Protocol(_) => Some(1002),
            Self::InvalidUtf8 => Some(1007),
            Self::TooLarge { .. } => Some(1009),
            Self::Lost(_) => None,
        }
    }

    fn close_text(&self) -> &str {
        match self {
            Self::Protocol(text) => text,
            Self::InvalidUtf8 => "text is not valid UTF-8",
            Self::TooLarge { .. } => "message too large",
            Self::Lost(_) => "",
        }
    }

    fn lost(error: &io::Error) -> Self {
        Self::Lost(io_text(error))
    }
}

/// How a connection is set up after the upgrade.
#[derive(Debug, Clone)]
pub(crate) struct ConnectionSettings {
    /// Client connections mask their frames.
    pub role: Role,
    /// How large the peer's messages may be.
    pub limits: MessageLimits,
    /// permessage-deflate as negotiated.
    pub deflate: Option<Agreed>,
    /// Pings are not answered, against RFC 6455 section 5.5.2.
    pub no_pong: bool,
}

/// The rest of a message that is being sent in fragments.
#[derive(Debug)]
struct Fragments {
    payload: Bytes,
    kind: FrameKind,
    /// Most payload bytes of a frame.
    size: usize,
}

/// One open WebSocket.
#[derive(Debug)]
pub(crate) struct Connection {
    transport: Transport,
    decoder: Decoder,
    /// Read, but not decoded.
    input: BytesMut,
    bytes_in: u64,
    outgoing: Outgoing,
    deflater: Option<Box<Deflater>>,
    fragments: Option<Box<Fragments>>,
    /// The answer to the last ping, while much else waits to be written.
    pong: Option<Bytes>,
    role: Role,
    no_pong: bool,
    close_sent: bool,
    delays_close: bool,
    unflushed: bool,
    /// What the last message took on the wire, where it was compressed.
    last_wire: Option<usize>,
}

impl Connection {
    /// Starts on a transport whose upgrade is done; `prefix` is what was read past the HTTP head.
    #[must_use]
    pub(crate) fn new(transport: Transport, prefix: &[u8], settings: &ConnectionSettings) -> Self {
        let role = settings.role;
        let limits = settings.limits;
        let deflate = settings.deflate.as_ref();
        Self {
            transport,
            decoder: Decoder::new(role, limits, deflate.map(|agreed| Box::new(Inflater::new(role, agreed)))),
            input: BytesMut::from(prefix),
            bytes_in: prefix.len() as u64,
            outgoing: Outgoing::default(),
            deflater: deflate.map(|agreed| Box::new(Deflater::new(role, agreed))),
            fragments: None,
            pong: None,
            role,
            no_pong: settings.no_pong,
            close_sent: false,
            delays_close: false,
            unflushed: false,
            last_wire: None,
        }
    }

    /// Returns how many bytes were read from and written to the transport so far (after compression, before TLS).
    #[must_use]
    pub(crate) fn wire_bytes(&self) -> (u64, u64) {
        (self.bytes_in, self.outgoing.total())
    }

    /// Returns how many payload bytes of messages have come so far, also of one whose end has not.
    #[must_use]
    pub(crate) fn message_bytes(&self) -> u64 {
        self.decoder.data_bytes()
    }

    /// Returns the next thing the peer sent, or `None` once the closing handshake is complete and, where we are the client,
    /// the server has ended the byte stream (RFC 6455 section 7.1.1).
    ///
    /// # Errors
    /// [`ConnectionError`]; call [`Connection::fail`] next, so that the peer learns why.
    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Incoming>, ConnectionError>> {
        loop {
            if let Some(incoming) = self.next_incoming()? {
                return Poll::Ready(Ok(Some(incoming)));
            }
            if self.decoder.is_closed() {
                return self.poll_closed(cx).map(|()| Ok(None));
            }
            match ready!(self.poll_read(cx))? {
                (_, Some(incoming)) => return Poll::Ready(Ok(Some(incoming))),
                (0, None) => return Poll::Ready(Err(ConnectionError::Lost(NO_CLOSE.to_owned()))),
                _ => {}
            }
        }
    }

    /// After the peer's Close: ready once our own is written and, on the client's side, the server has hung up
    /// (RFC 6455, section 7.1.1).
    fn poll_closed(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut is_over = ready!(self.poll_flush(cx)).is_err() || self.role == Role::Server;
        while !is_over {
            is_over = !matches!(ready!(self.poll_read(cx)), Ok((1.., _)));
            self.input.clear();
        }
        Poll::Ready(())
    }

    /// Decodes what was read; `None` once more has to be read.
    ///
    /// # Errors
    /// As [`Connection::poll_receive`].
    pub(crate) fn next_incoming(&mut self) -> Result<Option<Incoming>, ConnectionError> {
        if self.input.is_empty() {
            return Ok(None);
        }
        let event = self.decoder.next(&mut self.input);
        if self.input.is_empty() {
            // Even an empty slice keeps its buffer alive.
            self.input = BytesMut::new();
        }
        match event {
            Ok(event) => Ok(event.map(|event| self.take(event))),
            Err(error) => Err(Self::explain(error)),
        }
    }

    /// Reads once, into the buffer of the thread or, where most of a large message is missing, straight into that; with
    /// the number of bytes comes what that completed. No bytes: the peer has ended the stream.
    ///
    /// # Errors
    /// As [`Connection::poll_receive`].
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(usize, Option<Incoming>), ConnectionError>> {
        let mut event = None;
        let read = if let Some(mut spare) = self.decoder.spare() {
            let read = ready!(pin!(self.transport.read_buf(&mut spare)).poll(cx));
            if let Ok(count @ 1..) = read {
                event = self.decoder.filled(count).map_err(Self::explain)?;
            }
            read
        } else {
            ready!(READ_BUFFER.with_borrow_mut(|buffer| {
                // From its start, where no message is left in it, and not where it has to be fetched from memory.
                if !buffer.try_reclaim(READ) && buffer.capacity() < LEAST_READ {
                    buffer.reserve(READ);
                }
                let read = ready!(pin!(self.transport.read_buf(&mut (&mut *buffer).limit(READ))).poll(cx));
                self.input = buffer.split();
                Poll::Ready(read)
            }))
        };
        Poll::Ready(match read {
            Ok(count) => {
                self.bytes_in += count as u64;
                Ok((count, event.map(|event| self.take(event))))
            }
            Err(error) => Err(ConnectionError::lost(&error)),
        })
    }

    /// Answers what asks for an answer.
    fn take(&mut self, event: Event) -> Incoming {
        match event {
            Event::Message(message) => Incoming::Message(message),
            Event::Ping(payload) => {
                if !self.no_pong && !self.close_sent {
                    self.unflushed = true;
                    self.pong = Some(payload.clone());
                    self.put_pong();
                }
                Incoming::Ping(payload)
            }
            Event::Pong(payload) => Incoming::Pong(payload),
            Event::Close(close) => {
                if !self.delays_close {
                    self.put_close(&close);
                }
                Incoming::Close(close)
            }
        }
    }

    /// Queues the pong that waits, once there is room: a peer that pings and does not read gets the last one alone.
    fn put_pong(&mut self) {
        if self.outgoing.len() < HIGH_WATER
            && let Some(payload) = self.pong.take()
        {
            self.outgoing.push(FrameKind::PONG, payload, self.role == Role::Client);
        }
    }

    fn put_close(&mut self, close: &CloseReason) {
        if !std::mem::replace(&mut self.close_sent, true) {
            // What is cut off by the Close is not missed: nothing can follow it.
            self.fragments = None;
            self.unflushed = true;
            self.outgoing.push(FrameKind::CLOSE, close.payload().into(), self.role == Role::Client);
        }
    }

    fn explain(error: FrameError) -> ConnectionError {
        match error {
            FrameError::InvalidUtf8 => ConnectionError::InvalidUtf8,
            FrameError::TooLarge(limit) => ConnectionError::TooLarge { limit },
            error => ConnectionError::Protocol(error.to_string()),
        }
    }

    /// Ready when [`Connection::start_send`] may be called; drives what is being sent meanwhile.
    ///
    /// # Errors
    /// [`ConnectionError::Lost`] when the byte stream failed.
    pub(crate) fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        loop {
            if self.outgoing.len() >= HIGH_WATER {
                ready!(self.poll_write(cx, HIGH_WATER - 1))?;
            }
            self.put_pong();
            let Some(fragments) = &mut self.fragments else { return Poll::Ready(Ok(())) };
            let piece = fragments.payload.split_to(fragments.payload.len().min(fragments.size));
            let fin = fragments.payload.is_empty();
            let kind = FrameKind { fin, ..fragments.kind };
            fragments.kind = FrameKind { opcode: OpCode::Data(Data::Continue), fin: false, compressed: false };
            if fin {
                self.fragments = None;
            }
            self.outgoing.push(kind, piece, self.role == Role::Client);
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, left: usize) -> Poll<Result<(), ConnectionError>> {
        self.outgoing.poll_write(cx, &mut self.transport, left).map_err(|error| ConnectionError::lost(&error))
    }

    /// Takes a message to send. It goes out with the next flush, or before when much is waiting.
    ///
    /// # Errors
    /// [`ConnectionError::Protocol`] after a Close.
    pub(crate) fn start_send(&mut self, message: Message) -> Result<(), ConnectionError> {
        self.start_send_limited(message, None)
    }

    /// As [`Connection::start_send`], in fragments of at most `fragment` payload bytes when given.
    ///
    /// # Errors
    /// As [`Connection::start_send`].
    pub(crate) fn start_send_limited(
        &mut self,
        message: Message,
        fragment: Option<usize>,
    ) -> Result<(), ConnectionError> {
        self.may_send()?;
        let compressed = self.deflater.as_mut().and_then(|deflater| deflater.compress(message.payload()));
        self.last_wire = compressed.as_ref().map(Bytes::len);
        let kind = FrameKind::whole(message.kind(), compressed.is_some());
        let payload = compressed.unwrap_or_else(|| message.into_payload());
        match fragment.filter(|size| *size > 0 && *size < payload.len()) {
            Some(size) => self.fragments = Some(Box::new(Fragments { payload, kind, size })),
            None => self.outgoing.push(kind, payload, self.role == Role::Client),
        }
        Ok(())
    }

    /// Takes a frame built ahead: a whole message, sent uncompressed, with `part` from `offset` on.
    pub(crate) fn start_prebuilt(&mut self, frame: &Prebuilt, offset: usize, part: &[u8]) {
        if self.may_send().is_ok() {
            self.outgoing.gather(|out| frame.append(out, offset, part));
        }
    }

    fn may_send(&mut self) -> Result<(), ConnectionError> {
        if self.close_sent {
            return Err(ConnectionError::Protocol(ProtocolError::SendAfterClosing.to_string()));
        }
        self.unflushed = true;
        Ok(())
    }

    /// Returns whether messages may be sent compressed.
    #[must_use]
    pub(crate) fn compresses(&self) -> bool {
        self.deflater.is_some()
    }

    /// Returns the payload bytes of the last message that was taken, as it is on the wire, where it was compressed.
    #[must_use]
    pub(crate) fn last_wire(&self) -> Option<usize> {
        self.last_wire
    }

    /// Returns how many bytes wait to be written.
    #[must_use]
    pub(crate) fn waiting(&self) -> usize {
        self.outgoing.len()
    }

    /// Takes a ping to send; control frames may pass between the fragments of a message.
    ///
    /// # Errors
    /// As [`Connection::start_send`].
    pub(crate) fn start_ping(&mut self, payload: Bytes) -> Result<(), ConnectionError> {
        self.may_send()?;
        self.outgoing.push(FrameKind::PING, payload, self.role == Role::Client);
        Ok(())
    }

    /// Takes an unasked pong to send (RFC 6455 section 5.5.3 allows it).
    ///
    /// # Errors
    /// As [`Connection::start_send`].
    pub(crate) fn start_pong(&mut self, payload: Bytes) -> Result<(), ConnectionError> {
        self.may_send()?;
        self.outgoing.push(FrameKind::PONG, payload, self.role == Role::Client);
        Ok(())
    }

    /// Takes a Close to send, once; nothing can be sent after it.
    pub(crate) fn start_close(&mut self, close: &CloseReason) {
        self.put_close(close);
    }

    /// Says whether the peer's Close is answered only by [`Connection::start_close`], since something is still to be sent.
    pub(crate) fn delay_close(&mut self, delays: bool) {
        self.delays_close = delays;
    }

    /// Ready when everything taken so far is with the kernel.
    ///
    /// # Errors
    /// [`ConnectionError::Lost`] when the byte stream failed.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        if !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_ready(cx))?;
        ready!(self.poll_write(cx, 0))?;
        // TLS holds records back until they are flushed.
        ready!(Pin::new(&mut self.transport).poll_flush(cx)).map_err(|error| ConnectionError::lost(&error))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Writes what the kernel takes at once; the rest waits for [`Connection::poll_flush`].
    ///
    /// # Errors
    /// [`ConnectionError::Lost`] when the byte stream failed.
    pub(crate) fn try_flush(&mut self) -> Result<(), ConnectionError> {
        self.outgoing.try_write(&mut self.transport).map_err(|error| ConnectionError::lost(&error))
    }

    /// Tells the peer why the connection ends and waits, within `limit`, until it has hung up:
    /// hanging up first could destroy the Close on its way.
    pub(crate) async fn fail(&mut self, error: &ConnectionError, limit: Duration) {
        let Some(code) = error.close_code() else { return };
        self.start_close(&CloseReason::new(code, error.close_text()));
        let _ = tokio::time::timeout(limit, async {
            let _ = std::future::poll_fn(|cx| self.poll_flush(cx)).await;
            self.linger(limit).await;
        })
        .await;
    }

    /// Ends our half of the byte stream and discards what still comes, for at most `limit`, until the peer ends its own.
    pub(crate) async fn linger(&mut self, limit: Duration) {
        self.transport.linger(usize::MAX, limit).await;
    }

    /// Ends what lies below the WebSocket. With `reset` it leaves no trace in the kernel's tables: the peer sees a reset.
    pub(crate) fn end(self, reset: bool) {
        if reset {
            self.transport.reset_on_drop();
        }
    }
}

/// How a stream without a Close ends.
const NO_CLOSE: &str = "the peer ended the connection without a close frame";
