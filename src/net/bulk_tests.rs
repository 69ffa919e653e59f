//! Tests of `bulk`: against the framing layer of the other connection, cut anywhere, and against what no peer may send.

use std::future::poll_fn;

use proptest::prelude::*;
use tokio::io::DuplexStream;

use super::*;
use crate::message::Message;
use crate::net::connection::{BufferRole, Connection, ConnectionSettings, Incoming};
use crate::net::deflate::{Agreed, DeflateOffer, Role, check_answer};

const LIMIT: usize = 1 << 20;

fn bulk() -> (Bulk, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(1 << 22);
    (Bulk::new(Transport::Memory(ours), &Bytes::new(), None, LIMIT), theirs)
}

/// An unmasked frame, as a server sends it.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(len as u8),
        len @ 126..=0xffff => {
            out.push(126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(payload);
    out
}

#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Message(MessageKind, Vec<u8>),
    Ping,
    Pong(Vec<u8>),
    Close(Option<u16>),
}

fn see(received: Received<'_>) -> Seen {
    match received {
        Received::Message(kind, payload) => Seen::Message(kind, payload.to_vec()),
        Received::Ping => Seen::Ping,
        Received::Pong(payload) => Seen::Pong(payload.to_vec()),
        Received::Close(close) => Seen::Close(close.code),
    }
}

fn take(bulk: &mut Bulk, bytes: &[u8]) -> (Vec<Seen>, Result<(), ConnectionError>) {
    let mut seen = Vec::new();
    let result = bulk.take(bytes, |received| seen.push(see(received)));
    (seen, result)
}

proptest! {
    #[test]
    fn messages_are_whole_however_they_are_cut(
        messages in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300), 1..5_usize), 1..8),
        step in 1..700_usize,
    ) {
        let mut stream = Vec::new();
        let mut expected = Vec::new();
        for (text, payload, pieces) in messages {
            let payload = if text { payload.iter().map(|byte| b'a' + byte % 26).collect() } else { payload };
            let kind = if text { MessageKind::Text } else { MessageKind::Binary };
            let size = payload.len().div_ceil(pieces).max(1);
            let mut chunks: Vec<&[u8]> = payload.chunks(size).collect();
            if chunks.is_empty() {
                chunks.push(&[]);
            }
            for (index, chunk) in chunks.iter().enumerate() {
                let opcode = if index > 0 { CONTINUATION } else { opcode(kind) };
                let fin = if index + 1 == chunks.len() { FIN } else { 0 };
                stream.extend(frame(fin | opcode, chunk));
                if fin == 0 {
                    stream.extend(frame(FIN | PONG, b"between"));
                    expected.push(Seen::Pong(b"between".to_vec()));
                }
            }
            expected.push(Seen::Message(kind, payload));
        }
        stream.extend(frame(FIN | CLOSE, &1000_u16.to_be_bytes()));
        expected.push(Seen::Close(Some(1000)));
        stream.extend(b"what follows a Close does not count");
        let (mut bulk, _peer) = bulk();
        let mut seen = Vec::new();
        for piece in stream.chunks(step) {
            bulk.take(piece, |received| seen.push(see(received))).expect("legal");
        }
        prop_assert_eq!(seen, expected);
        prop_assert!(bulk.is_closed_by_peer() && bulk.waiting() > 0);
    }
}

#[test]
fn what_no_server_may_send_is_refused() {
    let masked = [FIN | TEXT, MASK | 1, 1, 2, 3, 4, 5];
    let huge = [FIN | BINARY, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255];
    let table: Vec<(Vec<u8>, Option<u16>)> = vec![
        (masked.to_vec(), Some(1002)),
        (frame(FIN | RSV1 | TEXT, b"x"), Some(1002)),
        (frame(FIN | 0x20 | TEXT, b"x"), Some(1002)),
        (frame(FIN | 3, b"x"), Some(1002)),
        (frame(FIN | CONTINUATION, b"x"), Some(1002)),
        ([frame(TEXT, b"x"), frame(FIN | TEXT, b"y")].concat(), Some(1002)),
        (frame(PING, b"x"), Some(1002)),
        (frame(FIN | PING, &[0; 126]), Some(1002)),
        (frame(FIN | CLOSE, &[3]), Some(1002)),
        (frame(FIN | CLOSE, &1005_u16.to_be_bytes()), Some(1002)),
        (frame(FIN | TEXT, &[0xff]), Some(1007)),
        (huge.to_vec(), Some(1009)),
        ([frame(BINARY, &[0; 1000]), frame(FIN | CONTINUATION, &vec![0; LIMIT - 999])].concat(), Some(1009)),
        ([frame(BINARY, &[0; 1000]), frame(FIN | CONTINUATION, &vec![0; LIMIT - 1000])].concat(), None),
    ];
    for (bytes, code) in table {
        let (mut bulk, _peer) = bulk();
        let (_, result) = take(&mut bulk, &bytes);
        assert_eq!(result.err().and_then(|error| error.close_code()), code, "{:?}", &bytes[..2]);
        assert_eq!(bulk.waiting() > 0, code.is_some(), "the Close that says so waits");
    }
}

#[test]
fn a_part_of_a_frame_built_ahead_is_filled_in() {
    for (size, offset) in [(20, 0), (64, 7), (300, 280), (70_000, 33)] {
        let payload = vec![b'.'; size];
        let mut out = b"before".to_vec();
        Prebuilt::new(MessageKind::Text, &payload, [1, 2, 3, 250]).append(&mut out, offset, b"the marker 123456789");
        let mut expected = payload;
        expected[offset..offset + 20].copy_from_slice(b"the marker 123456789");
        let mut whole = b"before".to_vec();
        append_frame(&mut whole, TEXT, false, &expected, [1, 2, 3, 250]);
        assert_eq!(out, whole);
    }
}

fn server(stream: DuplexStream, deflate: Option<Agreed>) -> Connection {
    let settings = ConnectionSettings {
        role: Role::Server,
        buffers: BufferRole::Many,
        max_message_size: LIMIT,
        deflate,
        no_pong: false,
    };
    Connection::new(Transport::Memory(stream), Bytes::new(), &settings)
}

/// Sends each message there and back between `Bulk` and the other connection.
async fn echo(mut bulk: Bulk, mut server: Connection, messages: Vec<Message>) {
    let mut buffer = vec![0; 1000];
    for message in messages {
        bulk.start_send(message.kind(), message.payload());
        let waiting = bulk.waiting();
        let written = bulk.flush_now().expect("written");
        assert_eq!(bulk.waiting(), waiting - written);
        poll_fn(|cx| bulk.poll_flush(cx)).await.expect("flushed");
        let Some(Incoming::Message(received)) = poll_fn(|cx| server.poll_receive(cx)).await.expect("received") else {
            panic!("a message");
        };
        assert_eq!(received, message);
        poll_fn(|cx| server.poll_ready(cx)).await.expect("ready");
        server.start_send(received).expect("sent");
        poll_fn(|cx| server.poll_flush(cx)).await.expect("flushed");
        let mut back = None;
        while back.is_none() {
            let length = poll_fn(|cx| bulk.poll_read(cx, &mut buffer)).await.expect("read");
            assert!(length > 0, "the stream is open");
            let each = |received: Received<'_>| back = Some(see(received));
            bulk.take(&buffer[..length], each).expect("legal");
        }
        assert_eq!(back, Some(Seen::Message(message.kind(), message.payload().to_vec())));
    }
    bulk.start_close(1000);
    poll_fn(|cx| bulk.poll_flush(cx)).await.expect("flushed");
    let close = poll_fn(|cx| server.poll_receive(cx)).await.expect("received");
    assert_eq!(close, Some(Incoming::Close(CloseReason::new(1000, ""))));
}

fn messages() -> Vec<Message> {
    let words = |size: usize| "some words ".repeat(size / 11 + 1)[..size].to_owned();
    let sizes = [0, 1, 20, 125, 126, 127, 4096, 65_535, 65_536, 200_000];
    sizes.iter().flat_map(|size| [Message::text(words(*size)), Message::binary(words(*size).into_bytes())]).collect()
}

#[tokio::test]
async fn the_other_connection_understands_it_and_is_understood() {
    let (bulk, peer) = bulk();
    echo(bulk, server(peer, None), messages()).await;
}

#[tokio::test]
async fn compressed_messages_go_both_ways() {
    let offer = DeflateOffer::default();
    for answer in ["permessage-deflate", "permessage-deflate; server_no_context_takeover; client_no_context_takeover"] {
        let agreed = check_answer(Some(&offer), &[answer]).expect("a legal answer").expect("agreed");
        let (ours, theirs) = tokio::io::duplex(1 << 22);
        let codec = Some(Box::new(Codec::new(Role::Client, &agreed)));
        let bulk = Bulk::new(Transport::Memory(ours), &Bytes::new(), codec, LIMIT);
        assert!(!bulk.is_plain());
        echo(bulk, server(theirs, Some(agreed)), messages()).await;
    }
}

#[tokio::test]
async fn what_came_with_the_upgrade_is_not_lost_and_a_ping_is_answered() {
    let (ours, theirs) = tokio::io::duplex(4096);
    let prefix = Bytes::from(frame(FIN | TEXT, b"hello")[..4].to_vec());
    let mut bulk = Bulk::new(Transport::Memory(ours), &prefix, None, LIMIT);
    let (seen, result) = take(&mut bulk, &[b"llo", frame(FIN | PING, b"x").as_slice()].concat());
    assert_eq!((seen, result), (vec![Seen::Message(MessageKind::Text, b"hello".to_vec()), Seen::Ping], Ok(())));
    poll_fn(|cx| bulk.poll_flush(cx)).await.expect("flushed");
    let mut server = server(theirs, None);
    let pong = poll_fn(|cx| server.poll_receive(cx)).await.expect("received");
    assert_eq!(pong, Some(Incoming::Pong(Bytes::from_static(b"x"))));
}
