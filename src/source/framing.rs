//! Cuts a byte stream into messages (pure).
//!
//! Lines by default; NUL or another delimiter; or the whole input as one message. An empty piece is
//! an empty message; a last piece without its delimiter counts. Invariant: no byte of input other
//! than the delimiters is lost or changed (a carriage return before a newline belongs to the line end).

use crate::message::counted::counted;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Framing {
    /// At a newline, with or without a carriage return before it.
    Lines,
    /// At this byte sequence, which is not empty.
    Delimiter(Vec<u8>),
    /// At the end of the input.
    Whole,
}

/// Collects chunks and yields messages.
#[derive(Debug)]
pub(crate) struct Splitter {
    framing: Framing,
    rest: Vec<u8>,
    searched: usize,
    max: usize,
    seen: bool,
}

/// A piece of input grew over the limit without an end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message on standard input exceeds the limit of {}", counted(*.0, "byte"))]
pub(crate) struct TooLong(pub usize);

impl Splitter {
    /// A splitter; no message may be longer than `max` bytes.
    #[must_use]
    pub(crate) fn new(framing: Framing, max: usize) -> Self {
        Self { framing, rest: Vec::new(), searched: 0, max, seen: false }
    }

    /// Takes a chunk and yields the messages that end in it.
    ///
    /// # Errors
    /// [`TooLong`].
    pub(crate) fn push(&mut self, chunk: &[u8], mut message: impl FnMut(Vec<u8>)) -> Result<(), TooLong> {
        self.seen = true;
        self.rest.extend_from_slice(chunk);
        let delimiter: &[u8] = match &self.framing {
            Framing::Lines => b"\n",
            Framing::Delimiter(delimiter) => delimiter,
            Framing::Whole => &[],
        };
        let mut start = 0;
        if !delimiter.is_empty() {
            let mut from = self.searched;
            while let Some(at) = find(&self.rest[from..], delimiter) {
                let end = from + at;
                let piece = strip(&self.framing, &self.rest[start..end]);
                if piece.len() > self.max {
                    return Err(TooLong(self.max));
                }
                message(piece.to_vec());
                start = end + delimiter.len();
                from = start;
            }
        }
        self.rest.drain(..start);
        self.searched = self.rest.len().saturating_sub(delimiter.len().saturating_sub(1));
        if self.rest.len() > self.max.saturating_add(1) { Err(TooLong(self.max)) } else { Ok(()) }
    }

    /// Bytes of a message whose end has not come yet.
    #[must_use]
    pub(crate) fn waiting(&self) -> usize {
        self.rest.len()
    }

    /// The input has ended: the last message, if a piece is left.
    ///
    /// # Errors
    /// [`TooLong`].
    pub(crate) fn finish(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let rest = std::mem::take(&mut self.rest);
        self.searched = 0;
        let whole = self.framing == Framing::Whole && self.seen;
        if rest.len() > self.max {
            return Err(TooLong(self.max));
        }
        Ok(if rest.is_empty() && !whole { None } else { Some(rest) })
    }
}

fn strip<'p>(framing: &Framing, piece: &'p [u8]) -> &'p [u8] {
    match framing {
        Framing::Lines => piece.strip_suffix(b"\r").unwrap_or(piece),
        _ => piece,
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    match needle {
        [byte] => memchr::memchr(*byte, haystack),
        _ => memchr::memmem::find(haystack, needle),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn split(framing: &Framing, input: &[u8], sizes: &[usize]) -> Vec<Vec<u8>> {
        let mut splitter = Splitter::new(framing.clone(), 1000);
        let mut messages = Vec::new();
        let mut rest = input;
        for size in sizes.iter().chain(std::iter::repeat(&7)) {
            if rest.is_empty() {
                break;
            }
            let (chunk, tail) = rest.split_at((*size).clamp(1, rest.len()));
            splitter.push(chunk, |message| messages.push(message)).expect("short enough");
            rest = tail;
        }
        messages.extend(splitter.finish().expect("short enough"));
        messages
    }

    #[test]
    fn cuts_at_what_it_was_told() {
        let crlf = Framing::Delimiter(b"--".to_vec());
        let table: [(&Framing, &str, &[&str]); 8] = [
            (&Framing::Lines, "a\nb\n", &["a", "b"]),
            (&Framing::Lines, "a\r\n\nb", &["a", "", "b"]),
            (&Framing::Lines, "", &[]),
            (&Framing::Delimiter(vec![0]), "a\nb\0c\0", &["a\nb", "c"]),
            (&crlf, "a-b--c---d", &["a-b", "c", "-d"]),
            (&Framing::Whole, "a\nb\n", &["a\nb\n"]),
            (&Framing::Whole, "x", &["x"]),
            (&Framing::Whole, "", &[]),
        ];
        for (framing, input, expected) in table {
            for size in 1..5 {
                let got = split(framing, input.as_bytes(), &[size; 20]);
                let got: Vec<_> = got.iter().map(|m| std::str::from_utf8(m).expect("text")).collect();
                assert_eq!(got, expected, "{framing:?} {input:?} in chunks of {size}");
            }
        }
    }

    #[test]
    fn a_message_over_the_limit_is_refused() {
        let mut splitter = Splitter::new(Framing::Lines, 3);
        assert_eq!(splitter.push(b"abc\n", |_| {}), Ok(()));
        assert_eq!(splitter.push(b"abcde", |_| {}), Err(TooLong(3)));
    }

    proptest! {
        #[test]
        fn no_byte_is_lost(input in proptest::collection::vec(prop_oneof![Just(b'|'), any::<u8>()], 0..200),
                           sizes in proptest::collection::vec(1_usize..20, 0..30)) {
            let framing = Framing::Delimiter(b"|".to_vec());
            let mut joined = split(&framing, &input, &sizes).join(&b'|');
            if input.ends_with(b"|") {
                joined.push(b'|');
            }
            prop_assert_eq!(joined, input);
        }
    }
}
