//! Tests of the codec: cut anywhere, every rule of RFC 6455 about what may be sent, and limits.

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::message::{Message, MessageKind};
use crate::net::deflate::{Agreed, DeflateOffer, Deflater, Inflater, Role, check_answer};

const LIMIT: usize = 1 << 20;
const KEY: [u8; 4] = [0x12, 0x34, 0x56, 0x78];
const FIN: u8 = 0x80;
const TEXT: u8 = 1;
const BINARY: u8 = 2;

fn deflate() -> Agreed {
    check_answer(Some(&DeflateOffer::default()), &["permessage-deflate"]).unwrap().unwrap()
}

/// A decoder for the frames of a peer whose own role is the other one.
fn decoder(role: Role, compressed: bool) -> Decoder {
    let inflater = compressed.then(|| Box::new(Inflater::new(role, &deflate())));
    Decoder::new(role, MessageLimits::both(LIMIT), inflater)
}

/// A frame as `first` begins it; masked as a client does it.
fn frame(first: u8, payload: &[u8], key: Option<[u8; 4]>) -> Vec<u8> {
    let mut out = vec![first];
    let masked = if key.is_some() { 0x80 } else { 0 };
    match payload.len() {
        len @ 0..=125 => out.push(masked + len as u8),
        len @ 126..=0xffff => {
            out.push(masked + 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(masked + 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    let key = key.inspect(|key| out.extend(key)).unwrap_or_default();
    out.extend(payload.iter().enumerate().map(|(index, byte)| byte ^ key[index & 3]));
    out
}

/// Everything that comes of bytes which arrive in pieces of `cuts` bytes, in turn.
fn decode(decoder: &mut Decoder, bytes: &[u8], cuts: &[usize]) -> Result<Vec<Event>, (Vec<Event>, FrameError)> {
    let mut events = Vec::new();
    let mut rest = bytes;
    for cut in cuts.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*cut).clamp(1, rest.len()));
        let mut input = BytesMut::from(piece);
        rest = after;
        loop {
            match decoder.next(&mut input) {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return Err((events, error)),
            }
        }
        assert!(input.is_empty(), "all that was given is taken");
    }
    Ok(events)
}

/// As [`decode`], but what is missing of a large payload is read straight into it, as from a socket.
fn decode_direct(decoder: &mut Decoder, bytes: &[u8], read: usize) -> Vec<Event> {
    let (mut events, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let spare = decoder.spare().map(|mut spare| {
            let count = bytes::BufMut::remaining_mut(&spare).min(read).min(rest.len());
            bytes::BufMut::put_slice(&mut spare, &rest[..count]);
            count
        });
        if let Some(count) = spare {
            rest = &rest[count..];
            events.extend(decoder.filled(count).unwrap());
            continue;
        }
        let count = read.min(rest.len());
        let mut input = BytesMut::from(&rest[..count]);
        rest = &rest[count..];
        while let Some(event) = decoder.next(&mut input).unwrap() {
            events.push(event);
        }
    }
    events
}

#[derive(Debug, Clone)]
enum Said {
    Message { text: bool, compressed: bool, payload: Vec<u8>, pieces: usize },
    Ping(Vec<u8>),
    Pong(Vec<u8>),
}

fn said() -> impl Strategy<Value = Said> {
    let payload = prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..300),
        1 => (any::<u8>(), 60_000..70_000_usize).prop_map(|(byte, len)| vec![byte; len]),
    ];
    prop_oneof![
        4 => (any::<bool>(), any::<bool>(), payload, 1..5_usize)
            .prop_map(|(text, compressed, payload, pieces)| Said::Message { text, compressed, payload, pieces }),
        1 => prop::collection::vec(any::<u8>(), 0..=125).prop_map(Said::Ping),
        1 => prop::collection::vec(any::<u8>(), 0..=125).prop_map(Said::Pong),
    ]
}

/// The bytes of what is said, with a pong between the pieces of each message, and what is to come of them.
fn encode(said: &[Said], role: Role, deflater: &mut Option<Deflater>) -> (Vec<u8>, Vec<Event>) {
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    let key = || (role == Role::Client).then(fresh_key);
    for one in said {
        match one {
            Said::Ping(payload) => {
                put_frame(&mut bytes, FrameKind::PING, payload, key());
                events.push(Event::Ping(payload.clone().into()));
            }
            Said::Pong(payload) => {
                put_frame(&mut bytes, FrameKind::PONG, payload, key());
                events.push(Event::Pong(payload.clone().into()));
            }
            Said::Message { text, compressed, payload, pieces } => {
                let message = if *text {
                    Message::text(String::from_utf8_lossy(payload).into_owned())
                } else {
                    Message::binary(payload.clone())
                };
                let packed = deflater.as_mut().filter(|_| *compressed).and_then(|one| one.compress(message.payload()));
                let mut kind = FrameKind::whole(message.kind(), packed.is_some());
                let wire = packed.unwrap_or_else(|| message.payload().clone());
                let size = wire.len().div_ceil(*pieces).max(1);
                let mut chunks: Vec<&[u8]> = wire.chunks(size).collect();
                if chunks.is_empty() {
                    chunks.push(&[]);
                }
                for (index, chunk) in chunks.iter().enumerate() {
                    kind.fin = index + 1 == chunks.len();
                    put_frame(&mut bytes, kind, chunk, key());
                    kind = FrameKind { opcode: OpCode::Data(Data::Continue), fin: false, compressed: false };
                    if index + 1 < chunks.len() {
                        put_frame(&mut bytes, FrameKind::PONG, b"between", key());
                        events.push(Event::Pong(Bytes::from_static(b"between")));
                    }
                }
                events.push(Event::Message(message));
            }
        }
    }
    (bytes, events)
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded_however_it_is_cut(
        said in prop::collection::vec(said(), 1..8),
        compressed in any::<bool>(),
        client in any::<bool>(),
        cuts in prop::collection::vec(1..40_000_usize, 1..4),
        small in prop::collection::vec(1..9_usize, 1..4),
    ) {
        let (sender, receiver) = if client { (Role::Client, Role::Server) } else { (Role::Server, Role::Client) };
        let mut deflater = compressed.then(|| Deflater::new(sender, &deflate()));
        let (bytes, expected) = encode(&said, sender, &mut deflater);
        for cuts in [&[bytes.len()][..], &cuts, &small] {
            let events = decode(&mut decoder(receiver, compressed), &bytes, cuts);
            prop_assert_eq!(events.as_ref(), Ok(&expected));
        }
        prop_assert_eq!(decode_direct(&mut decoder(receiver, compressed), &bytes, cuts[0]), expected);
    }

    #[test]
    fn any_bytes_come_to_the_same_however_they_are_cut(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        cuts in prop::collection::vec(1..20_usize, 1..4),
    ) {
        for role in [Role::Client, Role::Server] {
            let whole = decode(&mut decoder(role, true), &bytes, &[bytes.len()]);
            let cut = decode(&mut decoder(role, true), &bytes, &cuts);
            prop_assert_eq!(whole, cut);
        }
    }

    #[test]
    fn text_is_refused_at_the_byte_that_makes_it_invalid(
        before in "\\PC{0,40}",
        bad in prop::sample::select(vec![&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]),
    ) {
        let mut text = before.clone().into_bytes();
        text.extend(bad);
        text.extend([b'x'; 100]);
        let at = std::str::from_utf8(&text).expect_err("bad").valid_up_to();
        // The byte after which no continuation could make it valid.
        let end = (at..text.len()).find(|end| {
            std::str::from_utf8(&text[..=*end]).is_err_and(|error| error.error_len().is_some())
        }).expect("it is bad");
        let bytes = frame(FIN | TEXT, &text, Some(KEY));
        let head = bytes.len() - text.len();
        prop_assert_eq!(decode(&mut decoder(Role::Server, false), &bytes[..head + end], &[1]), Ok(vec![]));
        let refused = decode(&mut decoder(Role::Server, false), &bytes[..=head + end], &[1]);
        prop_assert_eq!(refused, Err((vec![], FrameError::InvalidUtf8)));
    }

    #[test]
    fn a_mask_may_be_applied_in_pieces(bytes in prop::collection::vec(any::<u8>(), 0..100), cut in 0..100_usize) {
        let cut = cut.min(bytes.len());
        let expected: Vec<u8> = bytes.iter().enumerate().map(|(index, byte)| byte ^ KEY[index & 3]).collect();
        let mut masked = bytes;
        mask(&mut masked[..cut], KEY, 0);
        mask(&mut masked[cut..], KEY, cut);
        prop_assert_eq!(masked, expected);
    }

    #[test]
    fn a_frame_built_ahead_is_as_one_built_anew(len in 0..300_usize, offset in 0..200_usize, part in "[a-z]{0,40}") {
        let mut payload = vec![b'.'; len];
        let offset = offset.min(len);
        let part = &part.as_bytes()[..part.len().min(len - offset)];
        let prebuilt = Prebuilt::new(MessageKind::Text, &payload, KEY);
        let mut ahead = vec![7];
        prebuilt.append(&mut ahead, offset, part);
        payload[offset..offset + part.len()].copy_from_slice(part);
        let mut anew = vec![7];
        put_frame(&mut anew, FrameKind::whole(MessageKind::Text, false), &payload, Some(KEY));
        prop_assert_eq!(ahead, anew);
    }
}

/// Text in frames of `size` payload bytes, of which the last announces `missing` more than come: each byte with the number
/// of payload bytes up to there.
fn text_frames(text: &[u8], size: usize, missing: usize) -> Vec<(u8, usize)> {
    let (mut wire, mut passed) = (Vec::new(), 0);
    for chunk in text.chunks(size) {
        let is_last = passed + chunk.len() == text.len();
        let first = if passed == 0 { TEXT } else { 0 } | if is_last { FIN } else { 0 };
        let missing = if is_last { missing } else { 0 };
        let mut bytes = frame(first, &[chunk, &vec![b'x'; missing]].concat(), None);
        bytes.truncate(bytes.len() - missing);
        let head = bytes.len() - chunk.len();
        wire.extend(bytes.iter().enumerate().map(|(at, byte)| (*byte, passed + (at + 1).saturating_sub(head))));
        passed += chunk.len();
    }
    wire
}

#[test]
fn text_is_refused_at_its_first_bad_byte_in_a_frame_as_across_frames() {
    let kosme = "κόσμε".as_bytes();
    let table: [(&str, Vec<u8>, Option<usize>); 12] = [
        ("good", kosme.to_vec(), None),
        ("the last code point", b"\xf4\x8f\xbf\xbf".to_vec(), None),
        // 6.4.1 to 6.4.4 of the Autobahn test suite.
        ("past the last code point", [kosme, b"\xf4\x90\x80\x80edited"].concat(), Some(kosme.len() + 2)),
        ("a lone continuation", b"a\x80b".to_vec(), Some(2)),
        ("an overlong form of two", b"\xc0\x80".to_vec(), Some(1)),
        ("an overlong form of three", b"\xe0\x9f\x80".to_vec(), Some(2)),
        ("an overlong form of four", b"\xf0\x8f\x80\x80".to_vec(), Some(2)),
        ("a surrogate", b"\xed\xa0\x80".to_vec(), Some(2)),
        ("five bytes", b"\xf8\x88\x80\x80\x80".to_vec(), Some(1)),
        ("a character broken off", b"\xe2\x82x".to_vec(), Some(3)),
        ("never a byte of text", b"ab\xfe".to_vec(), Some(3)),
        ("after much that is good", [&vec![b'x'; 40_000][..], b"\xff"].concat(), Some(40_001)),
    ];
    for (name, text, expected) in table {
        // One byte a frame; one frame; one so large that it is read straight into its message.
        for (size, missing) in [(1, 0), (text.len(), 0), (text.len(), 1), (text.len(), 100_000)] {
            let mut decoder = decoder(Role::Client, false);
            let refused = text_frames(&text, size, missing).into_iter().find_map(|(byte, passed)| {
                let outcome = if let Some(mut spare) = decoder.spare() {
                    bytes::BufMut::put_u8(&mut spare, byte);
                    decoder.filled(1)
                } else {
                    decoder.next(&mut BytesMut::from(&[byte][..]))
                };
                outcome.err().map(|error| (error, passed))
            });
            assert_eq!(refused, expected.map(|at| (FrameError::InvalidUtf8, at)), "{name}, {size}, {missing}");
        }
    }
}

#[test]
fn what_no_client_may_send_is_refused() {
    let masked = |first, payload: &[u8]| frame(first, payload, Some(KEY));
    let two = |one: Vec<u8>, other: Vec<u8>| [one, other].concat();
    let table: [(&str, Vec<u8>, &str); 17] = [
        ("unmasked", frame(FIN | TEXT, b"x", None), "Received an unmasked frame from client"),
        ("RSV1 without agreement", masked(FIN | 0x40 | TEXT, b"x"), "Reserved bits are non-zero"),
        ("RSV2", masked(FIN | 0x20 | TEXT, b"x"), "Reserved bits are non-zero"),
        ("RSV3", masked(FIN | 0x10 | TEXT, b"x"), "Reserved bits are non-zero"),
        ("opcode 3", masked(FIN | 3, b"x"), "Encountered invalid opcode: 3"),
        ("opcode 11", masked(FIN | 0xb, b"x"), "Encountered invalid opcode: 11"),
        ("a ping in fragments", masked(9, b"x"), "Fragmented control frame"),
        ("a long ping", masked(FIN | 9, &[b'x'; 126]), "Control frame too big (payload must be 125 bytes or less)"),
        ("a fragment of nothing", masked(FIN, b"x"), "Continue frame but nothing to continue"),
        (
            "text in text",
            two(masked(TEXT, b"a"), masked(FIN | TEXT, b"b")),
            "While waiting for more fragments received: TEXT",
        ),
        ("a Close of a byte", masked(FIN | 8, b"\x03"), "Invalid close sequence"),
        (
            "Close 1005",
            masked(FIN | 8, &1005_u16.to_be_bytes()),
            "a close frame with code 1005, which must not be \
        sent",
        ),
        ("Close 999", masked(FIN | 8, &999_u16.to_be_bytes()), "a close frame with code 999, which must not be sent"),
        (
            "Close 5000",
            masked(FIN | 8, &5000_u16.to_be_bytes()),
            "a close frame with code 5000, which must not be \
        sent",
        ),
        ("a bad reason", masked(FIN | 8, b"\x03\xe8\xff"), "text is not valid UTF-8"),
        ("bad text", masked(FIN | TEXT, b"ab\xffcd"), "text is not valid UTF-8"),
        ("a cut character", masked(FIN | TEXT, "é".as_bytes().split_last().expect("two").1), "text is not valid UTF-8"),
    ];
    for (name, bytes, expected) in table {
        for cut in [1, 2, bytes.len()] {
            let (events, error) = decode(&mut decoder(Role::Server, false), &bytes, &[cut]).expect_err(name);
            assert_eq!((events.len(), error.to_string().as_str()), (0, expected), "{name}, cut {cut}");
        }
    }
    let from_server = decode(&mut decoder(Role::Client, false), &masked(FIN | TEXT, b"x"), &[9]);
    assert_eq!(from_server.expect_err("masked").1.to_string(), "Received a masked frame from server");
    // RSV1 is for the first frame of a message alone.
    let bytes = two(masked(0x40 | BINARY, b"x"), masked(FIN | 0x40, b"x"));
    let error = decode(&mut decoder(Role::Server, true), &bytes, &[3]).expect_err("RSV1 in a continuation").1;
    assert_eq!(error.to_string(), "Reserved bits are non-zero");
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_head() {
    let head = |first: u8, length: u64| {
        let mut bytes = vec![first, 0xff];
        bytes.extend(length.to_be_bytes());
        bytes.extend(KEY);
        bytes
    };
    let limit = LIMIT as u64;
    assert_eq!(decode(&mut decoder(Role::Server, false), &head(FIN | BINARY, limit), &[4]), Ok(vec![]));
    for length in [limit + 1, 1 << 40, u64::MAX] {
        let refused = decode(&mut decoder(Role::Server, false), &head(FIN | BINARY, length), &[4]);
        assert_eq!(refused, Err((vec![], FrameError::TooLarge(LIMIT))), "{length}");
    }
    let mut begun = frame(BINARY, &[0; 100], Some(KEY));
    begun.extend(head(FIN, limit - 99));
    assert_eq!(decode(&mut decoder(Role::Server, false), &begun, &[50]), Err((vec![], FrameError::TooLarge(LIMIT))));
    // What is announced takes no memory before it comes.
    let mut decoder = decoder(Role::Server, false);
    decode(&mut decoder, &head(FIN | BINARY, limit), &[4]).expect("within the limit");
    assert!(format!("{decoder:?}").contains("payload: b\"\""));
}

#[test]
fn each_kind_of_message_has_its_limit_also_in_fragments() {
    let decoder = || Decoder::new(Role::Server, MessageLimits { text: 5, binary: 10 }, None);
    let said = |first: u8, length: usize| frame(first, &vec![b'x'; length], Some(KEY));
    for (bytes, refused) in [
        (said(FIN | TEXT, 5), None),
        (said(FIN | TEXT, 6), Some(5)),
        (said(FIN | BINARY, 10), None),
        (said(FIN | BINARY, 11), Some(10)),
        ([said(TEXT, 3), said(FIN, 3)].concat(), Some(5)),
        ([said(BINARY, 3), said(FIN, 7)].concat(), None),
        ([said(BINARY, 3), said(FIN, 8)].concat(), Some(10)),
    ] {
        let outcome = decode(&mut decoder(), &bytes, &[3]);
        assert_eq!(outcome.err().map(|(_, error)| error), refused.map(FrameError::TooLarge), "{bytes:?}");
    }
}

#[test]
fn a_bomb_is_refused_at_the_limit() {
    let mut deflater = Deflater::new(Role::Client, &deflate());
    let bomb = deflater.compress(&vec![0; 4 * LIMIT]).expect("compressed");
    let refused = decode(&mut decoder(Role::Server, true), &frame(FIN | 0x40 | BINARY, &bomb, Some(KEY)), &[777]);
    assert_eq!(refused, Err((vec![], FrameError::TooLarge(LIMIT))));
    let corrupt = decode(&mut decoder(Role::Server, true), &frame(FIN | 0x40 | TEXT, b"\xff\xff", Some(KEY)), &[777]);
    assert_eq!(corrupt, Err((vec![], FrameError::Compression)));
}

#[test]
fn nothing_counts_after_a_close() {
    let mut bytes = frame(FIN | 8, b"\x03\xe8bye", Some(KEY));
    bytes.extend(frame(FIN | TEXT, b"late", Some(KEY)));
    bytes.extend(b"and garbage");
    for cut in [1, 5, bytes.len()] {
        let mut decoder = decoder(Role::Server, false);
        let close = CloseReason { code: Some(1000), reason: "bye".to_owned() };
        assert_eq!(decode(&mut decoder, &bytes, &[cut]), Ok(vec![Event::Close(close)]));
        assert!(decoder.is_closed());
    }
}

#[test]
fn codes_that_may_be_sent_are_accepted() {
    for code in (1000..=1003).chain(1007..=1014).chain([3000, 4000, 4999]) {
        let close = CloseReason::new(code, "é");
        assert_eq!(CloseReason::read(&close.payload()), Ok(close));
    }
    assert_eq!(CloseReason::read(&[]), Ok(CloseReason::default()));
    assert!(CloseReason::default().payload().is_empty());
    assert_eq!(CloseReason::new(1000, &"é".repeat(100)).payload().len(), 124, "cut between characters");
}
