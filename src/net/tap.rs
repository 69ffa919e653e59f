//! The tap under the framing layer: follows incoming frame headers in the bytes that pass by.
//!
//! Owns the bytes that came behind the HTTP head, the RSV1 bit of compressed messages (cleared in
//! place, with a [`Note`] for the layer above), pings that shall not be answered (passed on as pongs, with a mark) and the
//! wire's byte counters. Leaves every check to the framing layer: what is not legal is passed on as it is and refused there.
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
    /// Pings are passed on as pongs, which nobody answers.
    hides_pings: bool,
    /// For each pong passed on so far whether it was a ping.
    hidden: VecDeque<bool>,
    largest_frame: u64,
    messages_completed: u64,
    controls_completed: u64,
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
                self.payload_left -= skipped;
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
        self.closed |= opcode == CLOSE;
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
mod tests {

    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const MASK_KEY: [u8; 4] = [0x11, 0x82, 0x7f, 0xc1];

    /// A frame whose first byte is `first`; the payload holds bytes that look like headers.
    fn frame(first: u8, len: usize, masked: bool) -> Vec<u8> {
        let mut frame = vec![first];
        let mask = if masked { MASK } else { 0 };
        match len {
            0..126 => frame.push(mask | len as u8),
            126..0x1_0000 => {
                frame.push(mask | 0x7e);
                frame.extend((len as u16).to_be_bytes());
            }
            _ => {
                frame.push(mask | 0x7f);
                frame.extend((len as u64).to_be_bytes());
            }
        }
        if masked {
            frame.extend(MASK_KEY);
        }
        frame.extend((0..len).map(|i| [0xc1, 0x81, 0x41, 0x02, 0xff][i % 5]));
        frame
    }

    /// Stream, the same as it should leave the tap, and notes.
    fn conversation() -> (Vec<u8>, Vec<u8>, Vec<Note>) {
        let rows: &[(u8, u8, usize, bool)] = &[
            (0xc1, 0x82, 5, true),        // compressed text
            (0x81, 0x81, 3, false),       // plain text
            (0x82, 0x82, 0, true),        // empty binary
            (0x41, 0x02, 130, true),      // compressed text in fragments ...
            (0x89, 0x89, 4, true),        // ... a ping between
            (0x00, 0x00, 0, true),        // ... an empty fragment
            (0xc9, 0xc9, 0, false),       // ... RSV1 on a ping: for the framing layer to refuse
            (0x40, 0x40, 7, false),       // ... RSV1 on a continuation: the same
            (0x80, 0x80, 126, false),     // ... the end
            (0xc2, 0x82, 0x1_0000, true), // 64-bit length
            (0xf2, 0xb2, 0xffff, false),  // RSV2 and RSV3 stay
            (0x02, 0x02, 1, true),        // plain binary in fragments
            (0xc1, 0xc1, 2, true),        // a new message inside: for the framing layer to refuse
            (0x88, 0x88, 2, true),        // Close
            (0xc1, 0xc1, 9, true),        // behind the Close
        ];
        let (mut wire, mut above) = (Vec::new(), Vec::new());
        for (first, expected, len, masked) in rows {
            wire.extend(frame(*first, *len, *masked));
            above.extend(frame(*expected, *len, *masked));
        }
        let note = |compressed, text| Note { compressed, text };
        let notes = vec![
            note(true, true),
            note(false, true),
            note(false, false),
            note(true, true),
            note(true, false),
            note(true, false),
            note(false, false),
        ];
        (wire, above, notes)
    }

    fn drain(follower: &mut FrameFollower) -> Vec<Note> {
        std::iter::from_fn(|| follower.take_note()).collect()
    }

    fn follow_in_pieces(wire: &[u8], cuts: impl IntoIterator<Item = usize>, deflate: bool) -> (Vec<u8>, FrameFollower) {
        let mut follower = FrameFollower::new(deflate);
        let mut bytes = wire.to_vec();
        let mut rest = &mut bytes[..];
        for cut in cuts {
            let (piece, behind) = rest.split_at_mut(cut.min(rest.len()));
            follower.follow(piece);
            rest = behind;
        }
        follower.follow(rest);
        (bytes, follower)
    }

    fn check(wire: &[u8], above: &[u8], notes: &[Note], cuts: impl IntoIterator<Item = usize>) {
        let (bytes, mut follower) = follow_in_pieces(wire, cuts, true);
        assert!(bytes == above);
        assert_eq!(drain(&mut follower), notes);
        assert!(follower.at_frame_boundary() && follower.at_message_boundary());
        assert_eq!(follower.largest_frame_since_reset(), 0x1_0000);
        assert_eq!((follower.messages_completed(), follower.controls_completed()), (8, 3));
    }

    #[test]
    fn every_way_to_cut_the_stream_gives_the_same() {
        let (wire, above, notes) = conversation();
        check(&wire, &above, &notes, []);
        check(&wire, &above, &notes, std::iter::repeat_n(1, wire.len()));
        // All single cuts near headers; inside the two large payloads nothing differs.
        let (front, back) = (frame(0xc1, 5, true).len() + 600, wire.len() - 100);
        for cut in (0..front).chain(back..wire.len()) {
            check(&wire, &above, &notes, [cut]);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn random_cuts_give_the_same(cuts in prop::collection::vec(prop_oneof![0usize..20, 0usize..40_000], 0..60)) {
            let (wire, above, notes) = conversation();
            check(&wire, &above, &notes, cuts);
        }

        #[test]
        fn any_bytes_pass_with_their_length(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
            let (whole, mut one) = follow_in_pieces(&bytes, [], true);
            let (cut, mut two) = follow_in_pieces(&bytes, [cut], true);
            prop_assert_eq!(whole, cut);
            prop_assert_eq!(drain(&mut one), drain(&mut two));
            let (untouched, _) = follow_in_pieces(&bytes, [], false);
            prop_assert_eq!(untouched, bytes);
        }
    }

    #[test]
    fn without_deflate_nothing_changes_but_boundaries_are_known() {
        let (wire, _, _) = conversation();
        let (bytes, mut follower) = follow_in_pieces(&wire, [3, 50], false);
        assert!(bytes == wire);
        assert_eq!(follower.take_note(), None);
        assert!(follower.at_message_boundary());
        assert_eq!((follower.messages_completed(), follower.controls_completed()), (8, 3));
    }

    #[test]
    fn boundaries_of_frames_and_messages() {
        let mut follower = FrameFollower::new(false);
        let mut at = |bytes: &[u8]| {
            follower.follow(&mut bytes.to_vec());
            (follower.at_frame_boundary(), follower.at_message_boundary(), follower.messages_completed())
        };
        assert_eq!(at(&[]), (true, true, 0));
        assert_eq!(at(&[0x01]), (false, false, 0));
        assert_eq!(at(&[0x02]), (false, false, 0));
        assert_eq!(at(b"ab"), (true, false, 0));
        assert_eq!(at(&[0x89, 0x00]), (true, false, 0));
        assert_eq!(at(&[0x80, 0x80, 1, 2, 3]), (false, false, 0));
        assert_eq!(at(&[4]), (true, true, 1));
    }

    #[test]
    fn an_absurd_length_is_only_a_number() {
        let mut follower = FrameFollower::new(true);
        let mut header = [&[0x82, 0xff][..], &[0xff; 8], &MASK_KEY].concat();
        follower.follow(&mut header);
        assert_eq!(follower.largest_frame_since_reset(), u64::MAX);
        follower.reset_largest();
        follower.follow(&mut [0xc1; 100]);
        assert!(!follower.at_frame_boundary());
        assert_eq!((follower.largest_frame_since_reset(), follower.notes_pending()), (0, 1));
    }

    #[test]
    fn a_large_queue_of_notes_is_given_back() {
        let mut follower = FrameFollower::new(true);
        follower.follow(&mut [0x81, 0x00].repeat(5000));
        assert_eq!(follower.notes_pending(), 5000);
        assert_eq!(drain(&mut follower).len(), 5000);
        assert_eq!(follower.notes.capacity(), 0);
    }

    #[tokio::test]
    async fn the_prefix_comes_first_and_bytes_are_counted() {
        let (wire, above, notes) = conversation();
        for prefix_len in [0, 1, 4, 200, wire.len()] {
            let (near, mut far) = tokio::io::duplex(wire.len());
            let mut tap = Tap::new(near, Bytes::copy_from_slice(&wire[..prefix_len]), true);
            far.write_all(&wire[prefix_len..]).await.unwrap();
            let mut read = Vec::new();
            while read.len() < wire.len() {
                let mut piece = [0; 7001];
                let len = tap.read(&mut piece).await.unwrap();
                read.extend_from_slice(&piece[..len]);
            }
            assert!(read == above);
            assert_eq!(std::iter::from_fn(|| tap.take_note()).collect::<Vec<_>>(), notes);
            assert_eq!(tap.bytes_in(), wire.len() as u64);
            assert!(tap.at_message_boundary());

            tap.write_all(b"\x81\x05Hello").await.unwrap();
            let mut written = [0; 7];
            far.read_exact(&mut written).await.unwrap();
            assert_eq!((&written, tap.bytes_out()), (b"\x81\x05Hello", 7));
        }
    }
}
