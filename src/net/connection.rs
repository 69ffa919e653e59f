//! `Connection`: one open WebSocket, bytes on one side and whole messages on the other.
//!
//! The only thing above `net/` that knows frames exist. Owns compression, fragmentation of large
//! messages, the Close that answers a broken peer (RFC 6455 section 7.1.7) and the buffers' sizes.
//! Leaves keep-alive, idle time and reconnecting to `session/`.
//! Invariants: every method is cancel safe; what is not flushed is bounded; a connection that once
//! carried a large message gives its memory back when it falls idle.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{CloseCode, Data, OpCode};
use tokio_tungstenite::tungstenite::protocol::frame::{CloseFrame, Frame, FrameHeader};
use tokio_tungstenite::tungstenite::protocol::{Role as WsRole, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message as WsMessage};

use super::deflate::{Agreed, Codec, InflateError, Role};
use super::tap::Tap;
use super::transport::Transport;
use crate::message::counted::counted;
use crate::message::{Message, MessageKind};

/// A message longer than this is sent in fragments, so that a slow reader costs one fragment.
const FRAGMENT_ABOVE: usize = 256 * 1024;
/// Payload bytes of such a fragment.
const FRAGMENT: usize = 64 * 1024;
/// Bytes of a frame that are no payload, about.
const FRAME_HEAD: usize = 8;
/// A connection that moved a frame larger than this gets fresh buffers once it is idle.
const SHED_ABOVE: u64 = 32 * 1024;
/// Most that may wait in the write buffer; beyond it pongs replace one another.
const MAX_WRITE_BUFFER: usize = 1024 * 1024;

/// Which buffers a connection gets: one stream that carries a flood, or one of thousands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BufferRole {
    /// Large reads: a client, where few connections carry much.
    Stream,
    /// Small reads: a server, where many connections carry little.
    Many,
}

impl BufferRole {
    fn sizes(self) -> (usize, usize) {
        match self {
            Self::Stream => (64 * 1024, 64 * 1024),
            Self::Many => (2048, 16 * 1024),
        }
    }
}

/// What the peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A whole data message.
    Message(Message),
    /// A ping; the pong is already on its way, if there is to be one.
    Ping(Bytes),
    /// A pong.
    Pong(Bytes),
    /// The peer's Close; its echo is already on its way.
    Close(CloseReason),
}

/// Code and reason of a Close frame (RFC 6455 section 7.1.5 and 7.1.6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CloseReason {
    /// `None` when the frame carried no code (1005 in the APIs of others).
    pub code: Option<u16>,
    /// UTF-8, at most 123 bytes.
    pub reason: String,
}

impl CloseReason {
    /// A reason with a code; the text is cut to what fits into a control frame.
    #[must_use]
    pub fn new(code: u16, reason: &str) -> Self {
        let mut end = reason.len().min(123);
        while !reason.is_char_boundary(end) {
            end -= 1;
        }
        Self { code: Some(code), reason: reason[..end].to_owned() }
    }

    /// Whether this is an orderly end: 1000, 1001 or no code at all.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        matches!(self.code, None | Some(1000 | 1001 | 1005))
    }
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.code, self.reason.is_empty()) {
            (None, _) => f.write_str("no code"),
            (Some(code), true) => write!(f, "{code}"),
            (Some(code), false) => write!(f, "{code} {}", self.reason.escape_debug()),
        }
    }
}

/// What is said of a Close whose code is for no wire.
pub(super) const BAD_CLOSE: &str = "a Close with a code that may not be sent";

/// Returns whether a Close may carry this code (RFC 6455 section 7.4).
pub(super) fn may_be_sent(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
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
    #[error("the peer sent a message over the limit of {}", counted(*limit, "byte"))]
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
}

/// How a connection is set up after the upgrade.
#[derive(Debug, Clone)]
pub struct ConnectionSettings {
    /// Client connections mask their frames.
    pub role: Role,
    /// Buffer sizes.
    pub buffers: BufferRole,
    /// Largest message accepted, in bytes after inflating.
    pub max_message_size: usize,
    /// permessage-deflate as negotiated.
    pub deflate: Option<Agreed>,
    /// Pings are not answered, against RFC 6455 section 5.5.2.
    pub no_pong: bool,
}

/// The rest of a message that is being sent in fragments.
#[derive(Debug)]
struct Fragments {
    payload: Bytes,
    opcode: Data,
    compressed: bool,
    /// Most payload bytes of a frame.
    size: usize,
    /// Bytes handed over since the last flush.
    unflushed: usize,
}

/// One open WebSocket.
pub struct Connection {
    ws: Option<WebSocketStream<Tap<Transport>>>,
    config: WebSocketConfig,
    codec: Option<Box<Codec>>,
    fragments: Option<Box<Fragments>>,
    stashed: Option<Box<WsMessage>>,
    limit: usize,
    role: Role,
    unflushed: bool,
    sent_large: bool,
    /// What the last message took on the wire, where it was compressed.
    last_wire: Option<usize>,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("role", &self.role).finish_non_exhaustive()
    }
}

impl Connection {
    /// Starts on a transport whose upgrade is done; `prefix` is what was read past the HTTP head.
    #[must_use]
    pub fn new(transport: Transport, prefix: Bytes, settings: &ConnectionSettings) -> Self {
        let (read, write) = settings.buffers.sizes();
        let limit = settings.max_message_size;
        // A compressed message may be a little longer than what it inflates to.
        let wire_limit = match settings.deflate {
            Some(_) => limit.saturating_add(limit / 1000).saturating_add(1024),
            None => limit,
        };
        let config = WebSocketConfig::default()
            .read_buffer_size(read)
            .write_buffer_size(write)
            .max_write_buffer_size(MAX_WRITE_BUFFER)
            .max_message_size(Some(wire_limit))
            .max_frame_size(Some(wire_limit));
        let mut tap = Tap::new(transport, prefix, settings.deflate.is_some());
        if settings.no_pong {
            tap.hide_pings();
        }
        let codec = settings.deflate.as_ref().map(|agreed| Box::new(Codec::new(settings.role, agreed)));
        let mut connection = Self {
            ws: None,
            config,
            codec,
            fragments: None,
            stashed: None,
            limit,
            role: settings.role,
            unflushed: false,
            sent_large: false,
            last_wire: None,
        };
        connection.frame(tap);
        connection
    }

    /// Puts a fresh framing layer, with fresh buffers, on the byte stream.
    fn frame(&mut self, tap: Tap<Transport>) {
        let role = match self.role {
            Role::Client => WsRole::Client,
            Role::Server => WsRole::Server,
        };
        self.ws = WebSocketStream::from_raw_socket(tap, role, Some(self.config)).now_or_never();
    }

    fn stream(&mut self) -> Result<&mut WebSocketStream<Tap<Transport>>, ConnectionError> {
        self.ws.as_mut().ok_or_else(|| ConnectionError::Lost("already closed".to_owned()))
    }

    /// Bytes read from and written to the transport so far (after compression, before TLS).
    #[must_use]
    pub fn wire_bytes(&self) -> (u64, u64) {
        self.ws.as_ref().map_or((0, 0), |ws| (ws.get_ref().bytes_in(), ws.get_ref().bytes_out()))
    }

    /// Returns how many payload bytes of messages have come so far, also of one whose end has not.
    #[must_use]
    pub fn message_bytes(&self) -> u64 {
        self.ws.as_ref().map_or(0, |ws| ws.get_ref().data_bytes())
    }

    /// The next thing the peer sent, or `None` once the closing handshake is complete and, where we are the client, the
    /// server has ended the byte stream (RFC 6455 section 7.1.1).
    ///
    /// # Errors
    /// [`ConnectionError`]; call [`Connection::fail`] next, so that the peer learns why.
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Incoming>, ConnectionError>> {
        match Pin::new(self.stream()?).poll_next(cx) {
            Poll::Ready(None) => Poll::Ready(Ok(None)),
            Poll::Ready(Some(Ok(message))) => Poll::Ready(self.translate(message).map(Some)),
            Poll::Ready(Some(Err(error))) => Poll::Ready(Err(self.explain(&error))),
            Poll::Pending => {
                if self.shed(cx) {
                    // The fresh stream must know whom to wake.
                    return self.poll_receive(cx);
                }
                Poll::Pending
            }
        }
    }

    fn translate(&mut self, message: WsMessage) -> Result<Incoming, ConnectionError> {
        Ok(match message {
            WsMessage::Text(text) => self.plain(Message::text_checked(text.into()))?,
            WsMessage::Binary(payload) => {
                let note = match self.codec {
                    Some(_) => self.stream()?.get_mut().take_note(),
                    None => None,
                };
                match note {
                    Some(note) if note.compressed => self.inflate(&payload, note.text)?,
                    _ => self.plain(Message::binary(payload))?,
                }
            }
            WsMessage::Ping(payload) => Incoming::Ping(payload),
            WsMessage::Pong(payload) if self.stream()?.get_mut().take_hidden() => Incoming::Ping(payload),
            WsMessage::Pong(payload) => Incoming::Pong(payload),
            WsMessage::Close(None) => Incoming::Close(CloseReason::default()),
            WsMessage::Close(Some(frame)) => {
                // The framing layer gives a Close of its own in place of one that may not be sent.
                let sent = self.stream()?.get_ref().close_code();
                let code = sent.unwrap_or_else(|| frame.code.into());
                if !may_be_sent(code) {
                    return Err(ConnectionError::Protocol(BAD_CLOSE.to_owned()));
                }
                Incoming::Close(CloseReason { code: Some(code), reason: frame.reason.as_str().to_owned() })
            }
            WsMessage::Frame(_) => return Err(ConnectionError::Protocol("a frame outside a message".to_owned())),
        })
    }

    fn plain(&mut self, message: Message) -> Result<Incoming, ConnectionError> {
        if self.codec.is_some() && message.kind() == MessageKind::Text {
            self.stream()?.get_mut().take_note();
        }
        if message.len() > self.limit {
            return Err(ConnectionError::TooLarge { limit: self.limit });
        }
        Ok(Incoming::Message(message))
    }

    fn inflate(&mut self, payload: &[u8], text: bool) -> Result<Incoming, ConnectionError> {
        let limit = self.limit;
        let Some(codec) = &mut self.codec else {
            return Err(ConnectionError::Protocol("compressed without agreement".to_owned()));
        };
        let inflated = codec.inflate(payload, limit).map_err(|error| match error {
            InflateError::TooLarge => ConnectionError::TooLarge { limit },
            InflateError::Corrupt => ConnectionError::Protocol("compressed data is corrupt".to_owned()),
        })?;
        let message = if text {
            Message::text_from_bytes(inflated).map_err(|_| ConnectionError::InvalidUtf8)?
        } else {
            Message::binary(inflated)
        };
        Ok(Incoming::Message(message.with_wire(Some(payload.len()))))
    }

    fn explain(&self, error: &tungstenite::Error) -> ConnectionError {
        use tungstenite::error::ProtocolError;
        match error {
            tungstenite::Error::Capacity(_) => ConnectionError::TooLarge { limit: self.limit },
            tungstenite::Error::Utf8(_) => ConnectionError::InvalidUtf8,
            tungstenite::Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => {
                ConnectionError::Lost("the peer ended the connection without a Close".to_owned())
            }
            tungstenite::Error::Protocol(error) => ConnectionError::Protocol(error.to_string()),
            tungstenite::Error::Io(error) => ConnectionError::Lost(io_text(error)),
            other => ConnectionError::Lost(other.to_string()),
        }
    }

    /// Replaces the framing layer by a fresh one, once nothing is under way, if a large message
    /// went through it: its buffers never shrink by themselves.
    fn shed(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(ws) = self.ws.as_mut() else { return false };
        if !self.sent_large && ws.get_ref().largest_frame_since_reset() <= SHED_ABOVE {
            return false;
        }
        if self.fragments.is_some() || self.stashed.is_some() || !ws.get_ref().at_message_boundary() {
            return false;
        }
        if !matches!(Pin::new(&mut *ws).poll_flush(cx), Poll::Ready(Ok(()))) {
            return false;
        }
        self.unflushed = false;
        self.sent_large = false;
        if let Some(ws) = self.ws.take() {
            let mut tap = ws.into_inner();
            tap.reset_largest();
            self.frame(tap);
        }
        true
    }

    /// Ready when [`Connection::start_send`] may be called; drives what is being sent meanwhile.
    ///
    /// # Errors
    /// [`ConnectionError::Lost`] when the byte stream failed.
    pub fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        loop {
            ready!(Pin::new(self.stream()?).poll_ready(cx)).map_err(|error| self.explain(&error))?;
            if let Some(message) = self.stashed.take() {
                ready!(self.poll_stream_flush(cx, Some(message)))?;
                continue;
            }
            if self.fragments.as_ref().is_some_and(|fragments| fragments.unflushed >= FRAGMENT) {
                ready!(self.poll_stream_flush(cx, None))?;
            }
            let Some(fragments) = &mut self.fragments else { return Poll::Ready(Ok(())) };
            if fragments.unflushed >= FRAGMENT {
                fragments.unflushed = 0;
            }
            let piece = fragments.payload.split_to(fragments.payload.len().min(fragments.size));
            fragments.unflushed += piece.len() + FRAME_HEAD;
            let last = fragments.payload.is_empty();
            let frame = data_frame(piece, fragments.opcode, last, fragments.compressed);
            fragments.opcode = Data::Continue;
            fragments.compressed = false;
            if last {
                self.fragments = None;
            }
            self.hand_over(WsMessage::Frame(frame))?;
        }
    }

    fn poll_stream_flush(
        &mut self,
        cx: &mut Context<'_>,
        then: Option<Box<WsMessage>>,
    ) -> Poll<Result<(), ConnectionError>> {
        let flushed = Pin::new(self.stream()?).poll_flush(cx);
        let Some(message) = then else {
            return flushed.map_err(|error| self.explain(&error));
        };
        match flushed {
            Poll::Ready(Ok(())) => Poll::Ready(self.hand_over(*message)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.explain(&error))),
            Poll::Pending => {
                self.stashed = Some(message);
                Poll::Pending
            }
        }
    }

    fn hand_over(&mut self, message: WsMessage) -> Result<(), ConnectionError> {
        self.unflushed = true;
        match Pin::new(self.stream()?).start_send(message) {
            Ok(()) => Ok(()),
            Err(tungstenite::Error::WriteBufferFull(message)) => {
                self.stashed = Some(message);
                Ok(())
            }
            Err(error) => Err(self.explain(&error)),
        }
    }

    /// Takes a message to send. It goes out with the next flush, or before when much is waiting.
    ///
    /// # Errors
    /// [`ConnectionError::Lost`] when the byte stream failed or the connection is closing.
    pub fn start_send(&mut self, message: Message) -> Result<(), ConnectionError> {
        self.start_send_limited(message, None)
    }

    /// As [`Connection::start_send`], in fragments of at most `fragment` payload bytes when given.
    ///
    /// # Errors
    /// As [`Connection::start_send`].
    pub fn start_send_limited(&mut self, message: Message, fragment: Option<usize>) -> Result<(), ConnectionError> {
        let opcode = match message.kind() {
            MessageKind::Text => Data::Text,
            MessageKind::Binary => Data::Binary,
        };
        let compressed = match &mut self.codec {
            Some(codec) => codec.compress(message.payload()),
            None => None,
        };
        let is_compressed = compressed.is_some();
        self.last_wire = compressed.as_ref().map(Bytes::len);
        let payload = compressed.unwrap_or_else(|| message.into_payload());
        if payload.len() as u64 > SHED_ABOVE {
            self.sent_large = true;
        }
        let size = match fragment.filter(|size| *size > 0 && *size < payload.len()) {
            // A frame larger than the write buffer would never fit.
            Some(size) => Some(size.min(FRAGMENT_ABOVE)),
            None => Some(FRAGMENT).filter(|_| payload.len() > FRAGMENT_ABOVE),
        };
        if let Some(size) = size {
            self.unflushed = true;
            let fragments = Fragments { payload, opcode, compressed: is_compressed, size, unflushed: 0 };
            self.fragments = Some(Box::new(fragments));
            return Ok(());
        }
        self.hand_over(WsMessage::Frame(data_frame(payload, opcode, true, is_compressed)))
    }

    /// Whether messages may be sent compressed.
    #[must_use]
    pub fn compresses(&self) -> bool {
        self.codec.is_some()
    }

    /// Payload bytes of the last message that was taken, as it is on the wire, where it was compressed.
    #[must_use]
    pub fn last_wire(&self) -> Option<usize> {
        self.last_wire
    }

    /// Takes a ping to send; control frames may pass between the fragments of a message.
    ///
    /// # Errors
    /// As [`Connection::start_send`].
    pub fn start_ping(&mut self, payload: Bytes) -> Result<(), ConnectionError> {
        self.hand_over(WsMessage::Ping(payload))
    }

    /// Takes an unasked pong to send (RFC 6455 section 5.5.3 allows it).
    ///
    /// # Errors
    /// As [`Connection::start_send`].
    pub fn start_pong(&mut self, payload: Bytes) -> Result<(), ConnectionError> {
        self.hand_over(WsMessage::Frame(Frame::pong(payload)))
    }

    /// Takes a Close to send; nothing can be sent after it.
    ///
    /// # Errors
    /// As [`Connection::start_send`].
    pub fn start_close(&mut self, close: &CloseReason) -> Result<(), ConnectionError> {
        // A message cut off by the Close would break the framing of nothing that follows.
        self.fragments = None;
        let frame =
            close.code.map(|code| CloseFrame { code: CloseCode::from(code), reason: close.reason.as_str().into() });
        self.hand_over(WsMessage::Close(frame))
    }

    /// Ready when everything taken so far is with the kernel.
    ///
    /// # Errors
    /// [`ConnectionError::Lost`] when the byte stream failed.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ConnectionError>> {
        if !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        ready!(self.poll_ready(cx))?;
        ready!(self.poll_stream_flush(cx, None))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Tells the peer why the connection ends and waits, within `limit`, until it has hung up:
    /// hanging up first could destroy the Close on its way.
    pub async fn fail(&mut self, error: &ConnectionError, limit: Duration) {
        let Some(code) = error.close_code() else { return };
        let reason = CloseReason::new(code, error.close_text());
        let _ = tokio::time::timeout(limit, async {
            // A Close with a forbidden code has queued its own answer: then only flushing is left.
            let _ = self.start_close(&reason);
            let _ = std::future::poll_fn(|cx| self.poll_stream_flush(cx, None)).await;
            self.linger().await;
        })
        .await;
    }

    /// Ends our half of the byte stream and discards what still comes until the peer ends its own.
    pub async fn linger(&mut self) {
        let Some(ws) = self.ws.as_mut() else { return };
        let transport = ws.get_mut().get_mut();
        let mut scrap = [0_u8; 4096];
        let _ = std::future::poll_fn(|cx| Pin::new(&mut *transport).poll_shutdown(cx)).await;
        loop {
            let mut buffer = ReadBuf::new(&mut scrap);
            let read = std::future::poll_fn(|cx| Pin::new(&mut *transport).poll_read(cx, &mut buffer)).await;
            if read.is_err() || buffer.filled().is_empty() {
                return;
            }
        }
    }
}

impl ConnectionError {
    fn close_text(&self) -> &str {
        match self {
            Self::Protocol(text) => text,
            Self::InvalidUtf8 => "text is not valid UTF-8",
            Self::TooLarge { .. } => "message too large",
            Self::Lost(_) => "",
        }
    }
}

fn data_frame(payload: Bytes, opcode: Data, last: bool, compressed: bool) -> Frame {
    let header =
        FrameHeader { is_final: last, rsv1: compressed, opcode: OpCode::Data(opcode), ..FrameHeader::default() };
    Frame::from_payload(header, payload)
}

/// The cause in the words of the system, without the number behind it.
pub(crate) fn io_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
