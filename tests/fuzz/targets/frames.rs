//! The codec against any stream of bytes, beside tungstenite's own.
//!
//! Held: where the stream is cut makes no difference; without compression the events are those of tungstenite, to the
//! first fault; no message is larger than the limit; what one end compresses the other decompresses.

#![no_main]

use std::io::{self, Cursor, Read, Write};

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use tungstenite::protocol::{Role as WsRole, WebSocketConfig};
use tungstenite::{Error, Message as WsMessage, WebSocket};
use wscat_plus::internals::{
    Agreed, Decoder, Deflater, FrameError, FrameEvent, Inflater, MessageKind, MessageLimits, Role,
};

/// Largest message that is accepted.
const LIMIT: usize = 10_000;

fuzz_target!(|input: (u8, Vec<u8>, &[u8])| {
    let (switches, cuts, stream) = input;
    let agreed = Agreed {
        server_no_context_takeover: switches & 1 != 0,
        client_no_context_takeover: switches & 2 != 0,
        server_max_window_bits: 9 + (switches >> 2 & 3) * 2,
        ..Agreed::default()
    };
    let role = if switches & 0x10 == 0 { Role::Server } else { Role::Client };
    let compressed = || Some(Box::new(Inflater::new(role, &agreed)));
    let (whole, fault) = decode(Decoder::new(role, MessageLimits::both(LIMIT), compressed()), stream, &[]);
    assert_eq!(decode(Decoder::new(role, MessageLimits::both(LIMIT), compressed()), stream, &cuts), (whole, fault), "cuts make no difference");

    let (ours, fault) = decode(Decoder::new(role, MessageLimits::both(LIMIT), None), stream, &cuts);
    let (theirs, refused) = tungstenite(role, stream);
    // tungstenite answers a forbidden close code as if it were a Close.
    let forbidden = matches!(fault, Some(FrameError::CloseCode(_)));
    assert_eq!(ours[..], theirs[..ours.len()]);
    assert!(ours.len() == theirs.len() || forbidden, "{ours:?} {theirs:?} {fault:?}");
    // A fault of ours is found before its frame is whole: whatever follows, tungstenite finds it, too.
    let is_found = || refused || tungstenite(role, &[stream, &[0; LIMIT + 14]].concat()).1;
    assert!(if fault.is_some() { forbidden || is_found() } else { !refused }, "{fault:?} {refused}");
    round_trip(&agreed, &cuts, stream);
});

/// What is said, in words that both sides share.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// All that comes of a stream in pieces of these sizes, and the fault that ended it.
fn decode(mut decoder: Decoder, stream: &[u8], cuts: &[u8]) -> (Vec<Said>, Option<FrameError>) {
    let mut cuts = cuts.iter().map(|cut| usize::from(*cut).max(1));
    let (mut said, mut rest) = (Vec::new(), stream);
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(cuts.next().unwrap_or(rest.len()).min(rest.len()));
        rest = behind;
        let mut input = BytesMut::from(piece);
        loop {
            match decoder.next(&mut input) {
                Ok(None) => break,
                Ok(Some(event)) => said.push(match event {
                    FrameEvent::Message(message) => {
                        assert!(message.len() <= LIMIT);
                        match message.kind() {
                            MessageKind::Text => Said::Text(message.payload().to_vec()),
                            MessageKind::Binary => Said::Binary(message.payload().to_vec()),
                        }
                    }
                    FrameEvent::Ping(payload) => Said::Ping(payload.to_vec()),
                    FrameEvent::Pong(payload) => Said::Pong(payload.to_vec()),
                    // Registered with IANA, but not known to tungstenite, which answers it as a breach.
                    FrameEvent::Close(close) if close.code == Some(1014) => {
                        Said::Close(Some(1002), "Protocol violation".to_owned())
                    }
                    FrameEvent::Close(close) => Said::Close(close.code, close.reason),
                }),
                Err(error) => return (said, Some(error)),
            }
        }
    }
    (said, None)
}

/// A stream that is read, and to which nothing that is written goes anywhere.
struct Deaf<'a>(Cursor<&'a [u8]>);

impl Read for Deaf<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Deaf<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What tungstenite makes of it, and whether it found a fault.
fn tungstenite(role: Role, stream: &[u8]) -> (Vec<Said>, bool) {
    let role = match role {
        Role::Client => WsRole::Client,
        Role::Server => WsRole::Server,
    };
    let config = WebSocketConfig::default().max_message_size(Some(LIMIT)).max_frame_size(Some(LIMIT));
    let mut socket = WebSocket::from_raw_socket(Deaf(Cursor::new(stream)), role, Some(config));
    let mut said = Vec::new();
    loop {
        match socket.read() {
            Ok(WsMessage::Text(text)) => said.push(Said::Text(text.as_bytes().to_vec())),
            Ok(WsMessage::Binary(payload)) => said.push(Said::Binary(payload.to_vec())),
            Ok(WsMessage::Ping(payload)) => said.push(Said::Ping(payload.to_vec())),
            Ok(WsMessage::Pong(payload)) => said.push(Said::Pong(payload.to_vec())),
            Ok(WsMessage::Close(close)) => {
                let close = close.map(|close| (u16::from(close.code), close.reason.as_str().to_owned()));
                let (code, reason) = close.map_or((None, String::new()), |(code, reason)| (Some(code), reason));
                said.push(Said::Close(code, reason));
                return (said, false);
            }
            Ok(WsMessage::Frame(_)) => {}
            Err(Error::Protocol(tungstenite::error::ProtocolError::ResetWithoutClosingHandshake)) => return (said, false),
            Err(Error::Protocol(_) | Error::Capacity(_) | Error::Utf8(_)) => return (said, true),
            Err(_) => return (said, false),
        }
    }
}

/// The stream as messages of ours, compressed at one end and decompressed at the other.
fn round_trip(agreed: &Agreed, cuts: &[u8], stream: &[u8]) {
    let mut to_client = (Deflater::new(Role::Server, agreed), Inflater::new(Role::Client, agreed));
    let mut to_server = (Deflater::new(Role::Client, agreed), Inflater::new(Role::Server, agreed));
    let mut rest = stream;
    for cut in cuts.iter().take(8).map(|cut| usize::from(*cut)).chain([stream.len()]) {
        let (message, behind) = rest.split_at(cut.min(rest.len()));
        rest = behind;
        for (deflater, inflater) in [&mut to_client, &mut to_server] {
            if let Some(compressed) = deflater.compress(message) {
                assert_eq!(inflater.inflate(&compressed, message.len()).as_deref(), Ok(message));
            }
        }
    }
    // The peer's compressed bytes may be anything.
    if let Ok(inflated) = to_server.1.inflate(stream, LIMIT) {
        assert!(inflated.len() <= LIMIT);
    }
}
