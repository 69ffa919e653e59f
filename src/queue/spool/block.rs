//! Blocks: many messages as one value of the store, so that its cost is paid once for all of them.
//!
//! Pure. A block has the number of the run that wrote it, how many messages it holds, and then entries: an origin, which
//! later messages name by its place, or a message. Numbers are little-endian. Invariant: what a block says it holds it
//! holds; anything else is an error, never a guess.

use std::rc::Rc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::message::{Message, MessageKind};
use crate::queue::envelope::{Envelope, Origin};

/// Bytes of a message beside its payload.
pub(crate) const MESSAGE_OVERHEAD: usize = 1 + 2 + 8 + 8 + 8 + 8;

/// Bytes after which a block takes no more. The store keeps values in pages of a power of two.
const FULL: usize = 64 * 1024 - 512;

const HEADER: usize = 8 + 4;
const ORIGIN: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;

/// A block being filled.
#[derive(Debug)]
pub(crate) struct BlockWriter {
    first: u64,
    count: u32,
    bytes: Vec<u8>,
    origins: Vec<Rc<Origin>>,
}

/// A block as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// Position of its first message.
    pub first: u64,
    pub bytes: Vec<u8>,
}

impl BlockWriter {
    /// An empty block whose first message has this position.
    pub(crate) fn new(run: u64, first: u64) -> Self {
        let mut bytes = Vec::with_capacity(4096);
        bytes.extend_from_slice(&run.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        Self { first, count: 0, bytes, origins: Vec::new() }
    }

    /// Whether a message of so many bytes belongs into another block.
    pub(crate) fn is_full_for(&self, size: usize) -> bool {
        self.count > 0
            && (self.bytes.len() + size + MESSAGE_OVERHEAD > FULL || self.origins.len() >= usize::from(u16::MAX))
    }

    /// Position of its first message.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Messages in it.
    pub(crate) fn count(&self) -> u64 {
        u64::from(self.count)
    }

    /// Adds a message.
    pub(crate) fn add(&mut self, envelope: &Envelope) {
        let origin = self.origin(&envelope.origin);
        let message = &envelope.message;
        self.bytes.reserve(message.len() + MESSAGE_OVERHEAD);
        self.bytes.push(match message.kind() {
            MessageKind::Text => TEXT,
            MessageKind::Binary => BINARY,
        });
        self.bytes.extend_from_slice(&origin.to_le_bytes());
        for number in [envelope.receipt.id(), envelope.seq] {
            self.bytes.extend_from_slice(&number.to_le_bytes());
        }
        self.bytes.extend_from_slice(&envelope.time.as_microsecond().to_le_bytes());
        self.bytes.extend_from_slice(&(message.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(message.payload());
        self.count += 1;
    }

    pub(crate) fn finish(mut self) -> Block {
        self.bytes[8..HEADER].copy_from_slice(&self.count.to_le_bytes());
        Block { first: self.first, bytes: self.bytes }
    }

    /// The place of an origin, which is written when it is new to the block.
    fn origin(&mut self, origin: &Rc<Origin>) -> u16 {
        // Most often it is that of the message before.
        let place = self.origins.iter().rposition(|known| Rc::ptr_eq(known, origin));
        let place = place.unwrap_or_else(|| {
            self.bytes.push(ORIGIN);
            for text in [&origin.session, &origin.endpoint] {
                self.bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
                self.bytes.extend_from_slice(text.as_bytes());
            }
            self.origins.push(Rc::clone(origin));
            self.origins.len() - 1
        });
        place as u16
    }
}

/// A message as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its place among the origins of the block.
    pub origin: usize,
    /// Its number in the ledger of the run that wrote it.
    pub id: u64,
    /// Its number among those of its origin.
    pub seq: u64,
    pub time: Timestamp,
    pub message: Message,
}

/// A block that has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadBlock {
    /// Position of its first message.
    pub first: u64,
    /// The run that wrote it.
    pub run: u64,
    /// Sessions and endpoints.
    pub origins: Vec<(String, String)>,
    pub records: Vec<Record>,
}

/// How many messages a block says it holds.
pub(crate) fn count(bytes: &[u8]) -> Option<u64> {
    Some(u64::from(u32::from_le_bytes(bytes.get(8..HEADER)?.try_into().ok()?)))
}

/// Reads a block; `None` if it is invalid.
pub(crate) fn read(first: u64, bytes: Vec<u8>) -> Option<ReadBlock> {
    let bytes = Bytes::from(bytes);
    let expected = count(&bytes)?;
    let mut cursor = Cursor { bytes, at: 0 };
    let run = cursor.number()?;
    cursor.at = HEADER;
    let (mut origins, mut records) = (Vec::new(), Vec::new());
    while cursor.at < cursor.bytes.len() {
        let kind = cursor.take(1)?[0];
        if kind == ORIGIN {
            origins.push((cursor.text()?, cursor.text()?));
            continue;
        }
        let origin = usize::from(u16::from_le_bytes(cursor.take(2)?.as_ref().try_into().ok()?));
        let (id, seq) = (cursor.number()?, cursor.number()?);
        let time = Timestamp::from_microsecond(cursor.number()?.cast_signed()).ok()?;
        let length = usize::try_from(cursor.number()?).ok()?;
        let payload = cursor.take(length)?;
        let message = match kind {
            TEXT => Message::text_from_bytes(payload).ok()?,
            BINARY => Message::binary(payload),
            _ => return None,
        };
        if origin >= origins.len() {
            return None;
        }
        records.push(Record { origin, id, seq, time, message });
    }
    (records.len() as u64 == expected).then_some(ReadBlock { first, run, origins, records })
}

struct Cursor {
    bytes: Bytes,
    at: usize,
}

impl Cursor {
    fn take(&mut self, count: usize) -> Option<Bytes> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.bytes.len())?;
        let taken = self.bytes.slice(self.at..end);
        self.at = end;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.as_ref().try_into().ok()?))
    }

    fn text(&mut self) -> Option<String> {
        let length = u32::from_le_bytes(self.take(4)?.as_ref().try_into().ok()?);
        String::from_utf8(self.take(length as usize)?.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::ledger::Ledger;
    use proptest::prelude::*;

    fn envelope(ledger: &Rc<Ledger>, origin: &Rc<Origin>, seq: u64, message: Message) -> Envelope {
        let receipt = ledger.receive(message.len(), None);
        let time = Timestamp::from_microsecond(1_700_000_000_123_456).expect("a time");
        Envelope { message, origin: Rc::clone(origin), time, seq, attempts: 0, receipt }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            messages in proptest::collection::vec((any::<bool>(), ".{0,40}", 0_usize..3), 1..50),
            cut in any::<proptest::sample::Index>(),
        ) {
            let ledger = Rc::new(Ledger::default());
            let origins: Vec<_> = (0..3).map(|n| Origin::new(format!("s{n}"), format!("ws://h{n}/ä"))).collect();
            let mut writer = BlockWriter::new(7, 100);
            let mut expected = Vec::new();
            for (place, (is_text, text, origin)) in messages.into_iter().enumerate() {
                let message = if is_text { Message::text(text) } else { Message::binary(text.into_bytes()) };
                let envelope = envelope(&ledger, &origins[origin], place as u64 + 5, message);
                writer.add(&envelope);
                expected.push(envelope);
            }
            let block = writer.finish();
            let read_block = read(block.first, block.bytes.clone()).expect("a block");
            prop_assert_eq!((read_block.first, read_block.run), (100, 7));
            prop_assert_eq!(read_block.records.len(), expected.len());
            for (record, envelope) in read_block.records.iter().zip(&expected) {
                let (session, endpoint) = &read_block.origins[record.origin];
                prop_assert_eq!((session, endpoint), (&envelope.origin.session, &envelope.origin.endpoint));
                prop_assert_eq!(&record.message, &envelope.message);
                prop_assert_eq!((record.id, record.seq, record.time), (envelope.receipt.id(), envelope.seq, envelope.time));
            }
            let cut = cut.index(block.bytes.len());
            prop_assert_eq!(read(100, block.bytes[..cut].to_vec()), None);
        }

        #[test]
        fn garbage_is_refused_or_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(0, bytes);
        }
    }

    #[test]
    fn a_large_message_has_a_block_of_its_own() {
        let ledger = Rc::new(Ledger::default());
        let origin = Origin::new("s1", "-");
        let mut writer = BlockWriter::new(1, 0);
        assert!(!writer.is_full_for(1 << 20));
        writer.add(&envelope(&ledger, &origin, 1, Message::binary(vec![0; 1 << 20])));
        assert!(writer.is_full_for(0));
    }
}
