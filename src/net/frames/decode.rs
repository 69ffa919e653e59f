//! Bytes to events (RFC 6455, sections 5 and 8.1; RFC 7692, section 7.2.2).
//!
//! Owns the pieces of a frame or message whose rest has not come, and every rule about what a peer may send. What comes
//! whole in one read is handed on where it lies; what comes in pieces is collected in memory of its own, which a large
//! payload is read straight into. Invariants: a fault is found as soon as its bytes are there; after a Close nothing
//! counts any more.

use std::io::Cursor;

use bytes::buf::Limit;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_tungstenite::tungstenite::error::{Error as WsError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::{CloseReason, FrameError, MessageLimits, mask};
use crate::message::control::MAX_CONTROL;
use crate::message::{Message, MessageKind};
use crate::net::deflate::{InflateError, Inflater, Role};

/// Longest head of a frame in bytes.
const MAX_HEAD: usize = 14;
/// A frame of which more is missing is read straight into its message.
const DIRECT: usize = 16 * 1024;
/// Memory for the rest of a message is taken in steps of this size, or twice what is there.
const STEP: usize = 1024 * 1024;

/// A message or control frame received from the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A whole data message.
    Message(Message),
    /// A ping, at most 125 bytes.
    Ping(Bytes),
    /// A pong, at most 125 bytes.
    Pong(Bytes),
    /// The peer's Close; nothing comes after it.
    Close(CloseReason),
}

/// The first bytes of a head whose rest has not come.
#[derive(Debug, Default)]
struct PartialHead {
    bytes: [u8; MAX_HEAD],
    len: u8,
}

/// A frame whose payload has not all come.
#[derive(Debug)]
struct UnderWay {
    left: usize,
    /// Payload bytes that have come, for the mask.
    passed: usize,
    key: Option<[u8; 4]>,
    fin: bool,
    /// Where a control frame is collected; data goes to the message.
    control: Option<(Control, BytesMut)>,
}

/// A message whose end has not come.
#[derive(Debug)]
struct Assembly {
    kind: MessageKind,
    compressed: bool,
    payload: BytesMut,
    /// Bytes at the start of the payload that are known to be UTF-8.
    valid: usize,
}

impl Assembly {
    /// Checks the text that has come so far; its last character may be cut.
    fn check_text(&mut self) -> Result<(), FrameError> {
        if self.kind == MessageKind::Binary || self.compressed {
            return Ok(());
        }
        match std::str::from_utf8(&self.payload[self.valid..]) {
            Ok(_) => self.valid = self.payload.len(),
            Err(error) if error.error_len().is_some() => return Err(FrameError::InvalidUtf8),
            Err(error) => self.valid += error.valid_up_to(),
        }
        Ok(())
    }
}

/// The receiving half of the codec. Feed it with [`Decoder::next`], and where `spare` has memory to offer, with `filled`.
#[derive(Debug)]
pub struct Decoder {
    role: Role,
    limits: MessageLimits,
    inflater: Option<Box<Inflater>>,
    head: PartialHead,
    frame: Option<Box<UnderWay>>,
    message: Option<Box<Assembly>>,
    closed: bool,
    data_bytes: u64,
}

impl Decoder {
    /// Starts between two frames. `role` is our own; `limits` are those of the messages that the peer sends.
    #[must_use]
    pub fn new(role: Role, limits: MessageLimits, inflater: Option<Box<Inflater>>) -> Self {
        Self {
            role,
            limits,
            inflater,
            head: PartialHead::default(),
            frame: None,
            message: None,
            closed: false,
            data_bytes: 0,
        }
    }

    /// Returns whether the peer's Close has come.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Returns how many payload bytes of data frames have come.
    pub(crate) fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// Takes bytes from the start of `input` until there is an event; `None` once all are taken.
    ///
    /// # Errors
    /// What the peer must not do; nothing can be read after it.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Event>, FrameError> {
        while !input.is_empty() && !self.closed {
            let event = if self.frame.is_some() { self.go_on(input)? } else { self.begin(input)? };
            if event.is_some() {
                return Ok(event);
            }
        }
        if self.closed {
            input.clear();
        }
        Ok(None)
    }

    /// Returns memory to read the rest of a large frame into; call [`Decoder::filled`] with what was read.
    pub(crate) fn spare(&mut self) -> Option<Limit<&mut BytesMut>> {
        let frame = self.frame.as_ref().filter(|frame| frame.left >= DIRECT && frame.control.is_none())?;
        let payload = &mut self.message.as_mut()?.payload;
        if payload.capacity() == payload.len() {
            payload.reserve(frame.left.min(payload.len().max(STEP)));
        }
        Some(payload.limit(frame.left))
    }

    /// Takes `count` bytes that were read into what [`Decoder::spare`] returned.
    ///
    /// # Errors
    /// As [`Decoder::next`].
    pub(crate) fn filled(&mut self, count: usize) -> Result<Option<Event>, FrameError> {
        let (Some(frame), Some(message)) = (&mut self.frame, &mut self.message) else { return Ok(None) };
        let start = message.payload.len() - count;
        if let Some(key) = frame.key {
            mask(&mut message.payload[start..], key, frame.passed);
        }
        frame.passed += count;
        frame.left -= count;
        self.data_bytes += count as u64;
        message.check_text()?;
        self.end_frame_if_whole()
    }

    /// Takes a head, and with it the payload where all of that is there.
    fn begin(&mut self, input: &mut BytesMut) -> Result<Option<Event>, FrameError> {
        let Some((header, length)) = self.take_head(input)? else { return Ok(None) };
        let length = self.check(&header, length)?;
        if let Some(mut payload) = (input.len() >= length).then(|| input.split_to(length)) {
            if let Some(key) = header.mask {
                mask(&mut payload, key, 0);
            }
            return match header.opcode {
                OpCode::Control(control) => self.control(control, payload.freeze()).map(Some),
                OpCode::Data(data) => self.data(data, &header, payload),
            };
        }
        let control = match header.opcode {
            OpCode::Control(control) => Some((control, BytesMut::with_capacity(length))),
            OpCode::Data(data) => {
                let payload = &mut self.assembly(data, &header).payload;
                if length < DIRECT {
                    payload.reserve(length);
                }
                None
            }
        };
        let frame = UnderWay { left: length, passed: 0, key: header.mask, fin: header.is_final, control };
        self.frame = Some(Box::new(frame));
        Ok(None)
    }

    /// Takes more of the payload of the frame under way.
    fn go_on(&mut self, input: &mut BytesMut) -> Result<Option<Event>, FrameError> {
        let Some(frame) = &mut self.frame else { return Ok(None) };
        let count = input.len().min(frame.left);
        let piece = &mut input[..count];
        if let Some(key) = frame.key {
            mask(piece, key, frame.passed);
        }
        frame.passed += count;
        frame.left -= count;
        if let Some((_, payload)) = &mut frame.control {
            payload.extend_from_slice(piece);
        } else if let Some(message) = &mut self.message {
            self.data_bytes += count as u64;
            message.payload.extend_from_slice(piece);
            message.check_text()?;
        }
        input.advance(count);
        self.end_frame_if_whole()
    }

    fn end_frame_if_whole(&mut self) -> Result<Option<Event>, FrameError> {
        let Some(frame) = self.frame.take_if(|frame| frame.left == 0) else { return Ok(None) };
        match frame.control {
            Some((control, payload)) => self.control(control, payload.freeze()).map(Some),
            None if frame.fin => self.end_message(),
            None => Ok(None),
        }
    }

    /// The head at the start, once all of it is there.
    fn take_head(&mut self, input: &mut BytesMut) -> Result<Option<(FrameHeader, u64)>, FrameError> {
        let head = &mut self.head;
        if head.len == 0 {
            let mut cursor = Cursor::new(&input[..]);
            if let Some(found) = parse(&mut cursor)? {
                let length = cursor.position() as usize;
                input.advance(length);
                return Ok(Some(found));
            }
            head.len = input.len() as u8;
            head.bytes[..input.len()].copy_from_slice(input);
            input.clear();
            return Ok(None);
        }
        while let Some(byte) = input.first() {
            head.bytes[usize::from(head.len)] = *byte;
            head.len += 1;
            input.advance(1);
            if let Some(found) = parse(&mut Cursor::new(&head.bytes[..usize::from(head.len)]))? {
                head.len = 0;
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Checks a frame before its payload is looked at; returns the payload's length in bytes.
    fn check(&self, header: &FrameHeader, length: u64) -> Result<usize, FrameError> {
        let begins = matches!(header.opcode, OpCode::Data(Data::Text | Data::Binary));
        if header.rsv2 || header.rsv3 || (header.rsv1 && (self.inflater.is_none() || !begins)) {
            return Err(ProtocolError::NonZeroReservedBits.into());
        }
        match (self.role, header.mask) {
            (Role::Server, None) => return Err(ProtocolError::UnmaskedFrameFromClient.into()),
            (Role::Client, Some(_)) => return Err(ProtocolError::MaskedFrameFromServer.into()),
            _ => {}
        }
        let before = match (header.opcode, &self.message) {
            (OpCode::Control(_), _) if !header.is_final => return Err(ProtocolError::FragmentedControlFrame.into()),
            (OpCode::Control(_), _) if length > MAX_CONTROL as u64 => {
                return Err(ProtocolError::ControlFrameTooBig.into());
            }
            (OpCode::Control(_), _) => return Ok(length as usize),
            (OpCode::Data(Data::Continue), None) => return Err(ProtocolError::UnexpectedContinueFrame.into()),
            (OpCode::Data(data), Some(_)) if begins => return Err(ProtocolError::ExpectedFragment(data).into()),
            (OpCode::Data(_), message) => message.as_ref().map_or(0, |message| message.payload.len()),
        };
        let compressed = header.rsv1 || self.message.as_ref().is_some_and(|message| message.compressed);
        let kind = match (&self.message, header.opcode) {
            (Some(message), _) => message.kind,
            (None, OpCode::Data(Data::Text)) => MessageKind::Text,
            (None, _) => MessageKind::Binary,
        };
        let limit = self.limits.of(kind);
        let most = if compressed { wire_limit(limit) } else { limit };
        let length = usize::try_from(length).ok().filter(|length| before.saturating_add(*length) <= most);
        length.ok_or(FrameError::TooLarge(limit))
    }

    /// A data frame that is there as a whole.
    fn data(&mut self, data: Data, header: &FrameHeader, payload: BytesMut) -> Result<Option<Event>, FrameError> {
        self.data_bytes += payload.len() as u64;
        if header.is_final && self.message.is_none() {
            let kind = if data == Data::Text { MessageKind::Text } else { MessageKind::Binary };
            return self.message(kind, header.rsv1, false, payload.freeze()).map(Some);
        }
        let message = self.assembly(data, header);
        message.payload.extend_from_slice(&payload);
        message.check_text()?;
        if header.is_final { self.end_message() } else { Ok(None) }
    }

    /// The message that a frame belongs to.
    fn assembly(&mut self, data: Data, header: &FrameHeader) -> &mut Assembly {
        self.message.get_or_insert_with(|| {
            let kind = if data == Data::Text { MessageKind::Text } else { MessageKind::Binary };
            Box::new(Assembly { kind, compressed: header.rsv1, payload: BytesMut::new(), valid: 0 })
        })
    }

    fn end_message(&mut self) -> Result<Option<Event>, FrameError> {
        let Some(message) = self.message.take() else { return Ok(None) };
        let Assembly { kind, compressed, payload, valid } = *message;
        if kind == MessageKind::Text && !compressed && valid < payload.len() {
            return Err(FrameError::InvalidUtf8);
        }
        self.message(kind, compressed, true, payload.freeze()).map(Some)
    }

    /// A message that is there as a whole; `checked`: where it is plain text, it is known to be UTF-8.
    fn message(
        &mut self,
        kind: MessageKind,
        compressed: bool,
        checked: bool,
        payload: Bytes,
    ) -> Result<Event, FrameError> {
        let message = match &mut self.inflater {
            Some(inflater) if compressed => {
                let wire = payload.len();
                let limit = self.limits.of(kind);
                let plain = inflater.inflate(&payload, limit).map_err(|error| match error {
                    InflateError::TooLarge => FrameError::TooLarge(limit),
                    InflateError::Corrupt => FrameError::Compression,
                })?;
                return message(kind, plain, false).map(|message| Event::Message(message.with_wire(Some(wire))));
            }
            _ => message(kind, payload, checked)?,
        };
        Ok(Event::Message(message))
    }

    fn control(&mut self, control: Control, payload: Bytes) -> Result<Event, FrameError> {
        match control {
            Control::Ping => Ok(Event::Ping(payload)),
            Control::Pong => Ok(Event::Pong(payload)),
            Control::Close => {
                let close = CloseReason::read(&payload)?;
                self.closed = true;
                Ok(Event::Close(close))
            }
            Control::Reserved(opcode) => Err(ProtocolError::UnknownControlFrameType(opcode).into()),
        }
    }
}

fn message(kind: MessageKind, payload: Bytes, checked: bool) -> Result<Message, FrameError> {
    match kind {
        MessageKind::Binary => Ok(Message::binary(payload)),
        MessageKind::Text if checked => Ok(Message::checked(kind, payload)),
        MessageKind::Text => Message::text_from_bytes(payload).map_err(|_| FrameError::InvalidUtf8),
    }
}

/// A compressed message may be a little longer than what it decompresses to.
fn wire_limit(limit: usize) -> usize {
    limit.saturating_add(limit / 1000).saturating_add(1024)
}

fn parse(cursor: &mut Cursor<&[u8]>) -> Result<Option<(FrameHeader, u64)>, FrameError> {
    FrameHeader::parse(cursor).map_err(|error| match error {
        WsError::Protocol(error) => error.into(),
        // Reading from memory does not fail otherwise.
        _ => ProtocolError::InvalidOpcode(0).into(),
    })
}
