//! What is published, on its way to the library's thread: many messages at a time, so that the thread is woken once for
//! them and the library writes them together.
//!
//! Leaves how much may be under way to the sink. Invariant: messages leave in the order they came.

use async_nats::message::OutboundMessage;
use async_nats::{Client, HeaderMap};
use futures_util::SinkExt as _;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Messages handed over together: about what the library writes at a time.
const MOST: usize = 256;
const MOST_BYTES: usize = 64 << 10;

type Batch = Vec<OutboundMessage>;

/// The near end.
pub(crate) struct Outbox {
    batch: Batch,
    bytes: usize,
    sender: UnboundedSender<Batch>,
}

/// The far end, on the library's thread.
pub(crate) struct Carrier(UnboundedReceiver<Batch>);

impl Outbox {
    pub(crate) fn new() -> (Self, Carrier) {
        let (sender, receiver) = unbounded_channel();
        (Self { batch: Batch::new(), bytes: 0, sender }, Carrier(receiver))
    }

    /// Adds a message; it may stay here until [`Outbox::ship`].
    pub(crate) fn put(&mut self, message: OutboundMessage) {
        self.bytes += message.payload.len();
        self.batch.push(message);
        if self.batch.len() >= MOST || self.bytes >= MOST_BYTES {
            self.ship();
        }
    }

    /// Sends off what is here.
    pub(crate) fn ship(&mut self) {
        if !self.batch.is_empty() {
            self.bytes = 0;
            let next = Batch::with_capacity(self.batch.len());
            // The far end is gone with the connection, which is told elsewhere.
            let _ = self.sender.send(std::mem::replace(&mut self.batch, next));
        }
    }
}

impl Carrier {
    /// Publishes what comes until the near end is dropped.
    pub(crate) async fn carry(mut self, mut client: Client) {
        while let Some(batch) = self.0.recv().await {
            for message in batch {
                // What is too large was refused before; any other error is the end of the connection.
                if client.feed(message).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// What a message counts for against the server's limit: its headers (`NATS/1.0`, a line each, an empty one) and payload.
pub(crate) fn size(headers: Option<&HeaderMap>, payload: usize) -> usize {
    let lines = |map: &HeaderMap| {
        let line = |name: &str, value: &str| name.len() + value.len() + ": \r\n".len();
        let all = map.iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
        "NATS/1.0\r\n\r\n".len() + all.map(|(name, value)| line(name.as_ref(), value.as_str())).sum::<usize>()
    };
    payload + headers.filter(|map| !map.is_empty()).map_or(0, lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_count_as_they_are_written() {
        let mut map = HeaderMap::new();
        assert_eq!(size(None, 5), 5);
        assert_eq!(size(Some(&map), 5), 5, "without headers there is no block of them");
        map.insert("Nats-Msg-Id", "run-1");
        map.append("Key", "a");
        map.append("Key", "b");
        let written = "NATS/1.0\r\nNats-Msg-Id: run-1\r\nKey: a\r\nKey: b\r\n\r\n";
        assert_eq!(size(Some(&map), 5), written.len() + 5);
    }

    #[test]
    fn what_is_put_leaves_in_order_when_there_is_much_or_when_told() {
        let message = |text: String| OutboundMessage {
            subject: text.into(),
            reply: None,
            payload: bytes::Bytes::new(),
            headers: None,
        };
        let (mut outbox, Carrier(mut receiver)) = Outbox::new();
        (0..=MOST).for_each(|number| outbox.put(message(number.to_string())));
        assert_eq!(receiver.try_recv().map(|batch| batch.len()), Ok(MOST));
        assert!(receiver.try_recv().is_err(), "the last one waits for others");
        outbox.ship();
        outbox.ship();
        let last = receiver.try_recv().expect("it is told to leave");
        assert_eq!(last.iter().map(|message| message.subject.as_str()).collect::<Vec<_>>(), [MOST.to_string()]);
        assert!(receiver.try_recv().is_err(), "nothing is shipped twice");
    }
}
