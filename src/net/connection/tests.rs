//! Tests of `connection`: two of them against one another over a pipe of any width, and what one that waits still holds.

use std::future::poll_fn;

use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

use super::*;
use crate::net::deflate::{DeflateOffer, check_answer};

const LIMIT: usize = 1 << 20;

fn settings(role: Role, is_compressed: bool) -> ConnectionSettings {
    let agreed = || check_answer(Some(&DeflateOffer::default()), &["permessage-deflate"]).expect("an answer");
    let deflate = is_compressed.then(agreed).flatten();
    ConnectionSettings { role, limits: MessageLimits::both(LIMIT), deflate, no_pong: false }
}

fn connection(stream: DuplexStream, role: Role, is_compressed: bool) -> Connection {
    Connection::new(Transport::Memory(stream), &[], &settings(role, is_compressed))
}

/// A server, and the other end of its pipe, which holds so many bytes.
fn server(width: usize) -> (Connection, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(width);
    (connection(ours, Role::Server, false), theirs)
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(future)
}

async fn receive(connection: &mut Connection) -> Incoming {
    poll_fn(|cx| connection.poll_receive(cx)).await.expect("a connection").expect("something")
}

async fn send_all(connection: &mut Connection, messages: &[Message], fragment: Option<usize>) {
    for (index, message) in messages.iter().enumerate() {
        poll_fn(|cx| connection.poll_ready(cx)).await.expect("a connection");
        if index % 3 == 1 {
            connection.start_ping(Bytes::from_static(b"between")).expect("open");
        }
        connection.start_send_limited(message.clone(), fragment).expect("open");
    }
    poll_fn(|cx| connection.poll_flush(cx)).await.expect("a connection");
}

async fn receive_all(connection: &mut Connection, count: usize) -> Vec<Message> {
    let mut messages = Vec::new();
    while messages.len() < count {
        if let Incoming::Message(message) = receive(connection).await {
            messages.push(message.with_wire(None));
        }
    }
    messages
}

fn message() -> impl Strategy<Value = Message> {
    let size = prop_oneof![5 => 0..300_usize, 2 => 3900..5000_usize, 1 => 10_000..300_000_usize];
    (any::<bool>(), size, any::<u8>()).prop_map(|(is_text, size, seed)| {
        let bytes = (0..size).map(|index| (index as u8).wrapping_mul(31).wrapping_add(seed));
        if is_text {
            Message::text(bytes.map(|byte| char::from(b'a' + byte % 26)).collect::<String>())
        } else {
            Message::binary(bytes.collect::<Vec<u8>>())
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_sent_arrives_whatever_the_pipe_takes_at_once(
        messages in prop::collection::vec(message(), 1..8),
        width in prop_oneof![1..64_usize, 1000..200_000_usize],
        is_client in any::<bool>(),
        is_compressed in any::<bool>(),
        fragment in prop::option::of(1..100_000_usize),
    ) {
        // A narrow pipe and tiny frames take as many steps as there are bytes.
        let fragment = fragment.map(|size| if width < 64 { size } else { size.max(100) });
        let (one, other) = tokio::io::duplex(width);
        let (ours, theirs) = if is_client { (Role::Client, Role::Server) } else { (Role::Server, Role::Client) };
        let mut sender = connection(one, ours, is_compressed);
        let mut receiver = connection(other, theirs, is_compressed);
        let ((), received) = block_on(async {
            tokio::join!(send_all(&mut sender, &messages, fragment), receive_all(&mut receiver, messages.len()))
        });
        prop_assert!(received == messages);
        prop_assert_eq!(sender.waiting(), 0);
        prop_assert!(sender.wire_bytes().1 >= receiver.wire_bytes().0, "what was read was written");
    }
}

#[test]
fn what_came_with_the_upgrade_is_not_lost_and_a_ping_is_answered() {
    block_on(async {
        let (ours, mut theirs) = tokio::io::duplex(1000);
        let prefix = [&b"\x81\x03one"[..], b"\x89\x01p", b"\x81\x03tw"].concat();
        let mut client = Connection::new(Transport::Memory(ours), &prefix, &settings(Role::Client, false));
        assert_eq!(receive(&mut client).await, Incoming::Message(Message::text("one")));
        assert_eq!(receive(&mut client).await, Incoming::Ping(Bytes::from_static(b"p")));
        theirs.write_all(b"o").await.expect("room");
        assert_eq!(receive(&mut client).await, Incoming::Message(Message::text("two")));
        poll_fn(|cx| client.poll_flush(cx)).await.expect("a connection");
        let mut pong = [0; 7];
        theirs.read_exact(&mut pong).await.expect("a pong");
        assert_eq!((pong[..2].to_vec(), pong[6] ^ pong[2]), (vec![0x8a, 0x81], b'p'));
        assert_eq!(client.wire_bytes(), (prefix.len() as u64 + 1, 7));
    });
}

#[test]
fn a_peer_that_pings_and_does_not_read_costs_a_bounded_amount() {
    block_on(async {
        let (mut server, mut theirs) = server(4096);
        let pings = [&[0x89, 0x84, 0, 0, 0, 0][..], b"ping"].concat().repeat(400);
        for _ in 0..200 {
            theirs.write_all(&pings).await.expect("room");
            for _ in 0..400 {
                assert_eq!(receive(&mut server).await, Incoming::Ping(Bytes::from_static(b"ping")));
            }
        }
        assert!(server.waiting() < HIGH_WATER + 127, "{} bytes", server.waiting());
    });
}

#[test]
fn one_that_waits_holds_no_buffer() {
    block_on(async {
        let (mut server, mut theirs) = server(1 << 20);
        let large = [&[0x82, 0xff, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0][..], &vec![7; 1 << 18]].concat();
        theirs.write_all(&large).await.expect("room");
        let incoming = receive(&mut server).await;
        let Incoming::Message(message) = incoming else { panic!("{incoming:?}") };
        server.start_send(message).expect("open");
        server.start_send(Message::text("small")).expect("open");
        poll_fn(|cx| server.poll_flush(cx)).await.expect("a connection");
        assert!(poll_fn(|cx| Poll::Ready(server.poll_receive(cx))).await.is_pending());
        assert_eq!((server.input.capacity(), server.outgoing.capacity()), (0, 0));
    });
}

#[test]
fn nothing_follows_a_close_of_ours() {
    block_on(async {
        let (mut server, mut theirs) = server(1000);
        let message = Message::text("cut off by the Close");
        server.start_send_limited(message, Some(3)).expect("open");
        server.start_close(&CloseReason::new(1000, "bye"));
        server.start_close(&CloseReason::new(1001, "again"));
        let refused = server.start_send(Message::text("late"));
        assert!(matches!(refused, Err(ConnectionError::Protocol(_))), "{refused:?}");
        poll_fn(|cx| server.poll_flush(cx)).await.expect("a connection");
        drop(server);
        let mut written = Vec::new();
        theirs.read_to_end(&mut written).await.expect("an end");
        assert_eq!(written, b"\x88\x05\x03\xe8bye");
    });
}
