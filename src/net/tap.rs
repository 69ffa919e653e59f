//! The tap under the framing layer: follows incoming frame headers in the bytes that pass by.
//!
//! Owns the bytes that came behind the HTTP head, the RSV1 bit of compressed messages (cleared in
//! place, with a [`Note`] for the layer above), pings that shall not be answered (passed on as pongs, with a mark), the
//! code of the peer's Close as it was sent, and the wire's byte counters. Leaves every check to the framing layer: what is not legal is passed on as it is and refused there.
//! Invariants: no byte is added, dropped or held back; lengths, masks and payloads are never
//! touched; one note per data message, in the order in which they start.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const OPCODE: u8 = 0x0f;
const MASK: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
/// Opcodes from here on are control frames.
const FIRST_CONTROL: u8 = 8;
/// First byte and length byte: every header has them.
const SHORT_HEADER: u8 = 2;
/// A queue of notes larger than this is given back once it is empty.
const NOTES_KEPT: usize = 64;

/// How a data message came over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Note {
    /// The payload is compressed; the framing layer will call it binary.
    pub compressed: bool,
    /// The peer sent it as text.
    pub text: bool,
}

/// Follows the frames of one direction, however they are cut into reads. Pure: bytes in, notes and
/// counters out.
#[derive(Debug, Default)]
pub struct FrameFollower {
    deflate: bool,
    notes: VecDeque<Note>,
    /// Bytes of the current header that have passed; 0 between frames and inside payloads.
    header_seen: u8,
    /// Bytes the current header has, known from its second byte on.
    header_len: u8,
    /// Bytes of the extended payload length: 0, 2 or 8.
    extended: u8,
    payload_len: u64,
    payload_left: u64,
    fin: bool,
    control: bool,
    /// Between the first and the last frame of a fragmented message.
    fragmented: bool,
    /// A Close has passed: what follows is no message any more.
    closed: bool,
    /// The frame under way is the first Close.
    in_close: bool,
    /// How it is masked.
    mask: [u8; 4],
    /// The first bytes of its payload.
    close_code: [u8; 2],
    close_seen: u8,
    /// Pings are passed on as pongs, which nobody answers.
    hides_pings: bool,
    /// For each pong passed on so far whether it was a ping.
    hidden: VecDeque<bool>,
    largest_frame: u64,
    messages_completed: u64,
    controls_completed: u64,
    /// Payload bytes of data frames that have passed.
    data_bytes: u64,
}

impl FrameFollower {
    /// Starts between two frames. `deflate`: permessage-deflate was agreed on.
    pub fn new(deflate: bool) -> Self {
        Self { deflate, ..Self::default() }
    }

    /// Follows the next bytes of the stream, clearing RSV1 where a compressed message starts.
    pub fn follow(&mut self, bytes: &mut [u8]) {
        let mut at = 0;
        while let Some(byte) = bytes.get_mut(at) {
            if self.payload_left == 0 {
                self.header_byte(byte);
                at += 1;
            } else {
                let skipped = self.payload_left.min((bytes.len() - at) as u64);
                if self.in_close {
                    self.close_bytes(&bytes[at..at + skipped as usize]);
                }
                self.payload_left -= skipped;
                self.data_bytes += if self.control { 0 } else { skipped };
                at += skipped as usize;
                if self.payload_left == 0 {
                    self.end_frame();
                }
            }
        }
    }

    fn header_byte(&mut self, byte: &mut u8) {
        let seen = self.header_seen;
        self.header_seen += 1;
        if seen == 0 {
            self.first_byte(byte);
            return;
        }
        if seen == 1 {
            self.extended = match *byte & !MASK {
                126 => 2,
                127 => 8,
                _ => 0,
            };
            self.payload_len = if self.extended == 0 { u64::from(*byte & !MASK) } else { 0 };
            self.header_len = SHORT_HEADER + self.extended + if *byte & MASK == 0 { 0 } else { 4 };
        } else if seen < SHORT_HEADER + self.extended {
            self.payload_len = (self.payload_len << 8) | u64::from(*byte);
        } else if let Some(mask) = self.mask.get_mut(usize::from(seen - SHORT_HEADER - self.extended)) {
            *mask = *byte;
        }
        if self.header_seen == self.header_len {
            self.header_seen = 0;
            self.payload_left = self.payload_len;
            self.largest_frame = self.largest_frame.max(self.payload_len);
            if self.payload_left == 0 {
                self.end_frame();
            }
        }
    }

    /// All that ever changes is in the first byte, so that a cut inside a header does no harm.
    fn first_byte(&mut self, byte: &mut u8) {
        let opcode = *byte & OPCODE;
        self.fin = *byte & FIN != 0;
        self.control = opcode >= FIRST_CONTROL;
        self.in_close = opcode == CLOSE && !self.closed;
        self.closed |= opcode == CLOSE;
        self.mask = [0; 4];
        if self.hides_pings && matches!(opcode, PING | PONG) && !self.closed {
            self.hidden.push_back(opcode == PING);
            *byte = (*byte & !OPCODE) | PONG;
        }
        let starts_message = matches!(opcode, TEXT | BINARY) && !self.fragmented;
        if self.deflate && starts_message && !self.closed {
            let compressed = *byte & RSV1 != 0;
            self.notes.push_back(Note { compressed, text: opcode == TEXT });
            if compressed {
                // Binary, lest the compressed bytes be checked as UTF-8.
                *byte = (*byte & !(RSV1 | OPCODE)) | BINARY;
            }
        }
    }

    fn close_bytes(&mut self, payload: &[u8]) {
        for byte in payload {
            let seen = usize::from(self.close_seen);
            let Some(place) = self.close_code.get_mut(seen) else { return };
            *place = byte ^ self.mask[seen];
            self.close_seen += 1;
        }
    }

    /// Returns the code of the first Close that has passed (RFC 6455 section 5.5.1), legal or not.
    pub fn close_code(&self) -> Option<u16> {
        (usize::from(self.close_seen) == self.close_code.len()).then(|| u16::from_be_bytes(self.close_code))
    }

    fn end_frame(&mut self) {
        if self.control {
            self.controls_completed += 1;
        } else {
            self.fragmented = !self.fin;
            self.messages_completed += u64::from(self.fin);
        }
    }

    /// The note of the oldest message not asked for yet; always `None` without deflate.
    pub fn take_note(&mut self) -> Option<Note> {
        let note = self.notes.pop_front();
        if self.notes.is_empty() && self.notes.capacity() > NOTES_KEPT {
            self.notes = VecDeque::new();
        }
        note
    }

    /// From now on pings are passed on as pongs.
    pub fn hide_pings(&mut self) {
        self.hides_pings = true;
    }

    /// Whether the oldest pong not asked for yet was a ping.
    pub fn take_hidden(&mut self) -> bool {
        self.hidden.pop_front().unwrap_or(false)
    }

    /// Notes of messages that have started and were not asked for yet.
    pub fn notes_pending(&self) -> usize {
        self.notes.len()
    }

    /// No frame has passed in part only.
    pub fn at_frame_boundary(&self) -> bool {
        self.header_seen == 0 && self.payload_left == 0
    }

    /// No frame has passed in part only, and no fragmented message either.
    pub fn at_message_boundary(&self) -> bool {
        self.at_frame_boundary() && !self.fragmented
    }

    /// Data messages that have passed as a whole.
    pub fn messages_completed(&self) -> u64 {
        self.messages_completed
    }

    /// Control frames that have passed as a whole.
    pub fn controls_completed(&self) -> u64 {
        self.controls_completed
    }

    /// Payload bytes of data frames that have passed, those of parts of messages among them.
    pub fn data_bytes(&self) -> u64 {
        self.data_bytes
    }

    /// The largest payload a frame header has announced since [`FrameFollower::reset_largest`].
    pub fn largest_frame_since_reset(&self) -> u64 {
        self.largest_frame
    }

    /// Starts looking for the largest frame anew.
    pub fn reset_largest(&mut self) {
        self.largest_frame = 0;
    }
}

/// A byte stream whose reading side is followed; writing passes through. Made after the HTTP
/// upgrade, it sits between the transport and the framing layer.
#[derive(Debug)]
pub struct Tap<S> {
    stream: S,
    prefix: Bytes,
    follower: FrameFollower,
    bytes_in: u64,
    bytes_out: u64,
}

impl<S> Tap<S> {
    /// `prefix`: bytes read past the HTTP head, served first. `deflate`: permessage-deflate was
    /// agreed on.
    pub fn new(stream: S, prefix: Bytes, deflate: bool) -> Self {
        Self { stream, prefix, follower: FrameFollower::new(deflate), bytes_in: 0, bytes_out: 0 }
    }

    /// See [`FrameFollower::take_note`]: to be called once per data message, when it is complete.
    pub fn take_note(&mut self) -> Option<Note> {
        self.follower.take_note()
    }

    /// See [`FrameFollower::hide_pings`].
    pub fn hide_pings(&mut self) {
        self.follower.hide_pings();
    }

    /// See [`FrameFollower::take_hidden`].
    pub fn take_hidden(&mut self) -> bool {
        self.follower.take_hidden()
    }

    /// See [`FrameFollower::notes_pending`].
    pub fn notes_pending(&self) -> usize {
        self.follower.notes_pending()
    }

    /// See [`FrameFollower::close_code`].
    pub fn close_code(&self) -> Option<u16> {
        self.follower.close_code()
    }

    /// All bytes handed up so far end at the end of a frame.
    pub fn at_frame_boundary(&self) -> bool {
        self.follower.at_frame_boundary()
    }

    /// All bytes handed up so far end at the end of a frame, outside a fragmented message.
    pub fn at_message_boundary(&self) -> bool {
        self.follower.at_message_boundary()
    }

    /// Data messages handed up as a whole.
    pub fn messages_completed(&self) -> u64 {
        self.follower.messages_completed()
    }

    /// Control frames handed up as a whole.
    pub fn controls_completed(&self) -> u64 {
        self.follower.controls_completed()
    }

    /// The largest frame payload announced since [`Tap::reset_largest`].
    pub fn largest_frame_since_reset(&self) -> u64 {
        self.follower.largest_frame_since_reset()
    }

    /// Starts looking for the largest frame anew.
    pub fn reset_largest(&mut self) {
        self.follower.reset_largest();
    }

    /// See [`FrameFollower::data_bytes`].
    pub fn data_bytes(&self) -> u64 {
        self.follower.data_bytes()
    }

    /// Bytes handed up, those of the prefix among them.
    pub fn bytes_in(&self) -> u64 {
        self.bytes_in
    }

    /// Bytes the stream has taken.
    pub fn bytes_out(&self) -> u64 {
        self.bytes_out
    }

    /// The stream below.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The stream below. Bytes read here pass the tap by.
    pub fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    /// The stream below; a prefix that was not read yet is lost.
    pub fn into_inner(self) -> S {
        self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let tap = self.get_mut();
        let before = buf.filled().len();
        if tap.prefix.is_empty() {
            ready!(Pin::new(&mut tap.stream).poll_read(cx, buf))?;
        } else {
            let served = tap.prefix.len().min(buf.remaining());
            buf.put_slice(&tap.prefix[..served]);
            tap.prefix.advance(served);
            if tap.prefix.is_empty() {
                // Even an empty slice keeps its buffer alive.
                tap.prefix = Bytes::new();
            }
        }
        let fresh = &mut buf.filled_mut()[before..];
        tap.bytes_in += fresh.len() as u64;
        tap.follower.follow(fresh);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let tap = self.get_mut();
        let written = ready!(Pin::new(&mut tap.stream).poll_write(cx, buf))?;
        tap.bytes_out += written as u64;
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tap = self.get_mut();
        let written = ready!(Pin::new(&mut tap.stream).poll_write_vectored(cx, bufs))?;
        tap.bytes_out += written as u64;
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "tap_tests.rs"]
mod tests;
