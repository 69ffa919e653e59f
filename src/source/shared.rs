//! Standard input for one reader after another: what one has read and not handed on is the next one's.
//!
//! Leaves reading to `chunks` and messages to `stdio`. Invariant: every byte that was read is either in a message that a
//! pipeline took in, or waits here; there is one reader at a time.

use std::cell::RefCell;
use std::rc::Rc;

use super::chunks::Chunks;
use crate::host::Stream;

#[derive(Debug)]
pub(crate) struct SharedInput(RefCell<State>);

#[derive(Debug)]
enum State {
    Unread(Stream),
    Taken,
    /// Somebody has read; these bytes are the beginning of what comes next.
    Left(Chunks, Vec<u8>),
}

/// The right to read, until it is dropped.
#[derive(Debug)]
pub(crate) struct Reading {
    input: Rc<SharedInput>,
    chunks: Option<Chunks>,
    left: Vec<u8>,
}

impl SharedInput {
    /// Nobody has read from it so far.
    #[must_use]
    pub(crate) fn new(stdin: Stream) -> Rc<Self> {
        Rc::new(Self(RefCell::new(State::Unread(stdin))))
    }

    /// Begins to read, or goes on where the last one ended; `None` while somebody else reads.
    pub(crate) fn read(self: &Rc<Self>) -> Option<Reading> {
        let (chunks, left) = match self.0.replace(State::Taken) {
            State::Unread(stdin) => (Chunks::of(stdin), Vec::new()),
            State::Left(mut chunks, left) => {
                chunks.go_on();
                (chunks, left)
            }
            State::Taken => return None,
        };
        Some(Reading { input: Rc::clone(self), chunks: Some(chunks), left })
    }
}

impl Reading {
    /// What was left by the last one, once.
    pub(crate) fn left(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.left)
    }

    pub(crate) fn chunks(&mut self) -> Option<&mut Chunks> {
        self.chunks.as_mut()
    }

    /// These bytes were read and not handed on.
    pub(crate) fn leave(&mut self, left: Vec<u8>) {
        self.left = left;
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if let Some(chunks) = self.chunks.take() {
            self.input.0.replace(State::Left(chunks, std::mem::take(&mut self.left)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write as _;
    use std::os::fd::OwnedFd;

    #[test]
    fn the_next_reader_goes_on_where_the_last_one_ended() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        let input = SharedInput::new(File::from(OwnedFd::from(reader)).into());
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let next = |reading: &mut Reading| {
            let chunks = reading.chunks().expect("chunks");
            runtime.block_on(chunks.next()).expect("not the end").expect("bytes")
        };
        let mut first = input.read().expect("nobody reads");
        assert!(input.read().is_none(), "one at a time");
        writer.write_all(b"one").expect("written");
        assert_eq!(next(&mut first), b"one");
        first.leave(b"e".to_vec());
        drop(first);
        // The thread reads on, and gives it to the current reader, however often that changes.
        for _ in 0..20 {
            writer.write_all(b"two").expect("written");
            let mut second = input.read().expect("nobody reads");
            assert_eq!(second.left(), b"e");
            assert_eq!(next(&mut second), b"two");
            second.leave(b"e".to_vec());
        }
        drop(writer);
        let mut last = input.read().expect("nobody reads");
        assert!(runtime.block_on(last.chunks().expect("chunks").next()).is_none());
    }
}
