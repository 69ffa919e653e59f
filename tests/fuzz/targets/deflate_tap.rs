//! The deflate tap, and the connection on top of it, against any stream of bytes.
//!
//! Held: the tap neither adds, drops nor changes bytes other than the first of a compressed
//! message's first frame, and how the stream is cut makes no difference; a connection fed with it
//! ends with messages or an error, and no message is larger than the limit; what one codec
//! compresses the other inflates.

#![no_main]

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use wscat_plus::net::connection::{BufferRole, Connection, ConnectionSettings, Incoming};
use wscat_plus::net::deflate::{Agreed, Codec, Role};
use wscat_plus::net::tap::{Note, Tap};
use wscat_plus::net::transport::Transport;

/// Largest message the connection accepts.
const LIMIT: usize = 10_000;

fuzz_target!(|input: (u8, Vec<u8>, &[u8])| {
    let (switches, cuts, stream) = input;
    let prefix = usize::from(switches >> 4).min(stream.len());
    let whole = through_the_tap(stream, 0, &[]);
    assert_eq!(through_the_tap(stream, prefix, &cuts), whole, "cuts make no difference");
    let (bytes, notes) = whole;
    assert_eq!(bytes.len(), stream.len());
    let changed = bytes.iter().zip(stream).filter(|(after, before)| after != before);
    assert!(changed.count() <= notes.iter().filter(|note| note.compressed).count());

    let agreed = Agreed {
        server_no_context_takeover: switches & 1 != 0,
        client_no_context_takeover: switches & 2 != 0,
        server_max_window_bits: 9 + (switches >> 2 & 3) * 2,
        ..Agreed::default()
    };
    let role = if switches & 0x10 == 0 { Role::Server } else { Role::Client };
    converse(role, agreed.clone(), prefix, stream);
    round_trip(&agreed, &cuts, stream);
});

/// What comes out above the tap, read in pieces of these sizes.
fn through_the_tap(stream: &[u8], prefix: usize, cuts: &[u8]) -> (Vec<u8>, Vec<Note>) {
    let (prefix, rest) = stream.split_at(prefix);
    let mut tap = Tap::new(rest, Bytes::copy_from_slice(prefix), true);
    let mut cx = Context::from_waker(Waker::noop());
    let mut cuts = cuts.iter().map(|cut| usize::from(*cut).max(1));
    let mut out = Vec::new();
    let mut notes = Vec::new();
    loop {
        let mut piece = vec![0; cuts.next().unwrap_or(stream.len().max(1))];
        let mut buffer = ReadBuf::new(&mut piece);
        match Pin::new(&mut tap).poll_read(&mut cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => break,
            Poll::Ready(Ok(())) => out.extend(buffer.filled()),
            other => panic!("reading from memory gave {other:?}"),
        }
        notes.extend(std::iter::from_fn(|| tap.take_note()));
    }
    assert_eq!(tap.bytes_in(), stream.len() as u64);
    (out, notes)
}

/// A connection that reads the stream to its end.
fn converse(role: Role, agreed: Agreed, prefix: usize, stream: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(async {
        let (near, mut far) = tokio::io::duplex(stream.len().max(1) + 4096);
        let (prefix, rest) = stream.split_at(prefix);
        far.write_all(rest).await.expect("room for the stream");
        far.shutdown().await.expect("an end");
        let settings = ConnectionSettings {
            role,
            buffers: BufferRole::Many,
            max_message_size: LIMIT,
            deflate: Some(agreed),
            no_pong: false,
        };
        let mut connection = Connection::new(Transport::Memory(near), Bytes::copy_from_slice(prefix), &settings);
        // Every message takes at least two bytes of the stream.
        for _ in 0..=stream.len() {
            match poll_fn(|cx| connection.poll_receive(cx)).await {
                Ok(Some(Incoming::Message(message))) => assert!(message.len() <= LIMIT),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
        panic!("a stream that never ends");
    });
}

/// The stream as messages of ours, compressed at one end and inflated at the other.
fn round_trip(agreed: &Agreed, cuts: &[u8], stream: &[u8]) {
    let mut server = Codec::new(Role::Server, agreed);
    let mut client = Codec::new(Role::Client, agreed);
    let mut rest = stream;
    for cut in cuts.iter().take(8).map(|cut| usize::from(*cut)).chain([stream.len()]) {
        let (message, behind) = rest.split_at(cut.min(rest.len()));
        rest = behind;
        pass_on(&mut server, &mut client, message);
        pass_on(&mut client, &mut server, message);
    }
    // The peer's compressed bytes may be anything.
    if let Ok(inflated) = server.inflate(stream, LIMIT) {
        assert!(inflated.len() <= LIMIT);
    }
}

fn pass_on(from: &mut Codec, to: &mut Codec, message: &[u8]) {
    if let Some(compressed) = from.compress(message) {
        assert_eq!(to.inflate(&compressed, message.len()).as_deref(), Ok(message));
    }
}
