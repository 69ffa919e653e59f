//! A stream read by a thread, a chunk for each permit: what was read when reading is to stop can be taken to the last byte.
//!
//! Reading cannot be cancelled, so the thread is left behind at the end of the process. Invariant: no more than
//! `PERMITS` chunks have been read that nobody has taken.

use std::io::{self, Read};

use tokio::sync::mpsc;

/// Bytes of one read.
const CHUNK: usize = 64 * 1024;
/// Chunks that are read ahead.
const PERMITS: usize = 4;

#[derive(Debug)]
pub(crate) struct Chunks {
    received: mpsc::UnboundedReceiver<io::Result<Vec<u8>>>,
    permits: std::sync::mpsc::Sender<()>,
    /// Chunks for which no other was asked yet.
    owed: usize,
}

impl Chunks {
    pub(crate) fn of(mut stream: impl Read + Send + 'static) -> Self {
        let (sender, received) = mpsc::unbounded_channel();
        let (permits, granted) = std::sync::mpsc::channel();
        for _ in 0..PERMITS {
            let _ = permits.send(());
        }
        std::thread::spawn(move || {
            while granted.recv().is_ok() {
                let item = loop {
                    let mut chunk = vec![0; CHUNK];
                    match stream.read(&mut chunk) {
                        Ok(0) => return,
                        Ok(length) => {
                            chunk.truncate(length);
                            if length < CHUNK / 4 {
                                chunk.shrink_to_fit();
                            }
                            break Ok(chunk);
                        }
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) => break Err(error),
                    }
                };
                let last = item.is_err();
                if sender.send(item).is_err() || last {
                    return;
                }
            }
        });
        Self { received, permits, owed: 0 }
    }

    /// The next chunk; `None` at the end of the stream, and after an error.
    pub(crate) async fn next(&mut self) -> Option<io::Result<Vec<u8>>> {
        let chunk = self.received.recv().await;
        let _ = self.permits.send(());
        chunk
    }

    /// The next chunk of those that have been read, when no more are to be.
    pub(crate) fn rest(&mut self) -> Option<io::Result<Vec<u8>>> {
        let chunk = self.received.try_recv().ok();
        self.owed += usize::from(chunk.is_some());
        chunk
    }

    /// Reading goes on after [`Chunks::rest`].
    pub(crate) fn go_on(&mut self) {
        for _ in 0..std::mem::take(&mut self.owed) {
            let _ = self.permits.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn what_was_read_ahead_is_bounded_and_can_be_taken_to_the_last_byte() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let mut chunks = Chunks::of(reader);
        let writing = std::thread::spawn(move || {
            let mut written = 0_usize;
            // Until nobody reads any more.
            while writer.write_all(&[7; 4096]).is_ok() {
                written += 4096;
            }
            written
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let mut taken = 0;
        let mut take = |chunk: Option<io::Result<Vec<u8>>>| {
            let length = chunk.map_or(0, |chunk| chunk.expect("bytes").len());
            taken += length;
            length
        };
        for _ in 0..100 {
            take(runtime.block_on(chunks.next()));
        }
        // The thread has used up its permits when the pipe is full.
        let mut rest = 0;
        while rest < PERMITS {
            rest += usize::from(take(chunks.rest()) > 0);
        }
        assert_eq!(take(chunks.rest()), 0, "it waits for a permit");
        drop(chunks);
        let written = writing.join().expect("it ends");
        assert!(written >= taken && written - taken <= 1 << 20, "{written} {taken}");
    }
}
