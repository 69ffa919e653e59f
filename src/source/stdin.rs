//! Standard input, read by a thread because reading it cannot be cancelled.
//!
//! Chunks pass through a bounded channel, so a peer that does not read stops the reading of input.
//! The thread is left behind at the end of the process; nothing waits for it.

use std::io::{self, Read};

use tokio::sync::mpsc;

/// Bytes of one read.
const CHUNK: usize = 64 * 1024;
/// Chunks that may wait.
const WAITING: usize = 4;

/// Starts reading; the channel ends with the input. An error is the last item.
#[must_use]
pub(crate) fn read(mut stdin: impl Read + Send + 'static) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(WAITING);
    std::thread::spawn(move || {
        loop {
            let mut chunk = vec![0; CHUNK];
            let item = match stdin.read(&mut chunk) {
                Ok(0) => return,
                Ok(length) => {
                    chunk.truncate(length);
                    if length < CHUNK / 4 {
                        chunk.shrink_to_fit();
                    }
                    Ok(chunk)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let last = item.is_err();
            if sender.blocking_send(item).is_err() || last {
                return;
            }
        }
    });
    receiver
}
