//! What waits to be written on a connection: small frames gathered, large payloads as they are.
//!
//! Invariants: bytes leave in the order they came; a payload longer than [`GATHERED`] is not copied; nothing is kept once
//! all is written.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

use crate::net::frames::{FrameKind, fresh_key, mask, put_frame, put_head};
use crate::net::transport::Transport;

/// Payloads up to this many bytes are gathered with what is written around them.
const GATHERED: usize = 4096;
/// Most pieces in one vectored write.
const PIECES: usize = 16;
/// A gathering buffer larger than this is not kept for the next connection.
const KEPT: usize = 64 * 1024;

thread_local! {
    /// An empty buffer to gather in, for whichever connection of the thread writes next.
    static SPARE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Bytes on their way to the transport.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// Before the gathered bytes, in order.
    pieces: VecDeque<Bytes>,
    gathered: Vec<u8>,
    /// Gathered bytes that are written already.
    written: usize,
    len: usize,
    total: u64,
}

impl Outgoing {
    /// Returns how many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns how much memory is held for what may come.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.pieces.capacity() + self.gathered.capacity()
    }

    /// Returns how many bytes were written so far.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Appends bytes of frames that `put` writes to the end of a buffer.
    pub(super) fn gather(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        if self.gathered.capacity() == 0 {
            self.gathered = SPARE.take();
        }
        let before = self.gathered.len();
        put(&mut self.gathered);
        self.len += self.gathered.len() - before;
    }

    /// Appends a frame; `masked` as a client does it.
    pub(super) fn push(&mut self, kind: FrameKind, payload: Bytes, masked: bool) {
        let key = masked.then(fresh_key);
        if payload.len() <= GATHERED {
            return self.gather(|out| put_frame(out, kind, &payload, key));
        }
        self.gather(|out| put_head(out, kind, payload.len(), key));
        let payload = match key {
            None => payload,
            Some(key) => {
                let mut payload = payload.try_into_mut().unwrap_or_else(|payload| (&payload[..]).into());
                mask(&mut payload, key, 0);
                payload.freeze()
            }
        };
        let mut gathered = Bytes::from(std::mem::take(&mut self.gathered));
        gathered.advance(std::mem::take(&mut self.written));
        self.pieces.push_back(gathered);
        self.len += payload.len();
        self.pieces.push_back(payload);
    }

    /// Writes until at most `left` bytes wait.
    pub(super) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        transport: &mut Transport,
        left: usize,
    ) -> Poll<io::Result<()>> {
        while self.len > left {
            let written = if self.pieces.is_empty() {
                Pin::new(&mut *transport).poll_write(cx, &self.gathered[self.written..])
            } else {
                let mut slices = [IoSlice::new(&[]); PIECES];
                let pieces = self.pieces.iter().map(|piece| &piece[..]).chain([&self.gathered[self.written..]]);
                let mut count = 0;
                for (slice, piece) in slices.iter_mut().zip(pieces.filter(|piece| !piece.is_empty())) {
                    *slice = IoSlice::new(piece);
                    count += 1;
                }
                Pin::new(&mut *transport).poll_write_vectored(cx, &slices[..count])
            };
            let written = match ready!(written)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => written,
            };
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what the transport takes at once, without waiting.
    pub(super) fn try_write(&mut self, transport: &mut Transport) -> io::Result<()> {
        while self.len > 0 {
            let piece = self.pieces.front().map_or(&self.gathered[self.written..], |piece| piece);
            match transport.try_write(piece) {
                Ok(written) => self.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes `count` bytes from the start.
    fn advance(&mut self, mut count: usize) {
        self.len -= count;
        self.total += count as u64;
        while let Some(piece) = self.pieces.front_mut() {
            if count < piece.len() {
                piece.advance(count);
                return;
            }
            count -= piece.len();
            self.pieces.pop_front();
        }
        self.written += count;
        if self.len > 0 {
            if self.written > KEPT {
                self.gathered.drain(..self.written);
                self.written = 0;
            }
            return;
        }
        self.written = 0;
        if self.pieces.capacity() > 0 {
            self.pieces = VecDeque::new();
        }
        let mut gathered = std::mem::take(&mut self.gathered);
        gathered.clear();
        if gathered.capacity() <= KEPT {
            SPARE.set(gathered);
        }
    }
}
