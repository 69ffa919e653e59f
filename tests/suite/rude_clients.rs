//! Clients that break RFC 6455 against `wsp listen`: each gets the right Close, and nobody else notices.
//!
//! Leaves rude servers to `rude_servers` and bad upgrade requests to `listen_limits`.

use crate::support::{Frame, Opcode, RawClient, listen};

/// Sends `bytes` to a server and checks that a Close with `code` comes back, and that others are still served.
#[track_caller]
fn is_closed_with(code: u16, why: &str, bytes: &[u8]) {
    let server = listen(&["--echo"]);
    let mut rude = RawClient::connect(server.port);
    rude.write(bytes);
    loop {
        let frame = rude.read_frame().unwrap_or_else(|| panic!("{why}: no Close before the end of the stream"));
        if frame.is(Opcode::Close) {
            assert_eq!(frame.close_code(), code, "{why}");
            break;
        }
    }
    rude.read_rest();
    let mut polite = RawClient::connect(server.port);
    polite.say(Frame::text("hello"));
    assert_eq!(polite.read_text(), "hello");
    server.stop().exits(0);
}

#[test]
fn broken_frames_are_closed_with_1002() {
    let text = || Frame::text("hello").masked();
    let table = [
        ("unmasked", Frame::text("hello").bytes()),
        ("RSV1 without compression", text().reserved(4).bytes()),
        ("RSV2", text().reserved(2).bytes()),
        ("RSV3", text().reserved(1).bytes()),
        ("opcode 3", text().opcode(3).bytes()),
        ("opcode 11", text().opcode(11).bytes()),
        ("a continuation of nothing", Frame::new(Opcode::Continuation, *b"x").masked().bytes()),
        ("a new message inside one", [text().unfinished().bytes(), text().bytes()].concat()),
        ("a fragmented ping", Frame::new(Opcode::Ping, *b"x").masked().unfinished().bytes()),
        ("a ping of 126 bytes", Frame::new(Opcode::Ping, [b'x'; 126]).masked().bytes()),
        ("a close frame of one byte", Frame::new(Opcode::Close, [3]).masked().bytes()),
        ("a Close with 1005", Frame::close(1005, "").masked().bytes()),
        ("a Close with 999", Frame::close(999, "").masked().bytes()),
    ];
    for (why, bytes) in table {
        is_closed_with(1002, why, &bytes);
    }
}

#[test]
fn bad_utf8_is_closed_with_1007() {
    let bad = |payload: &[u8]| Frame::new(Opcode::Text, payload).masked();
    is_closed_with(1007, "a lone byte", &bad(b"\xff").bytes());
    is_closed_with(1007, "an overlong form", &bad(b"\xc0\xaf").bytes());
    is_closed_with(1007, "a surrogate", &bad(b"\xed\xa0\x80").bytes());
    is_closed_with(1007, "cut short", &bad(b"ab\xe2\x82").bytes());
    let pieces = [bad(b"ok \xe2\x82").unfinished().bytes(), Frame::new(Opcode::Continuation, *b"no").masked().bytes()];
    is_closed_with(1007, "across fragments", &pieces.concat());
}

#[test]
fn bad_utf8_is_closed_at_the_byte_that_makes_it_invalid_in_a_frame_that_is_still_arriving() {
    // The rest of the frame never comes: whoever waits for it sends no Close.
    let start = |payload: &[u8], missing: usize| {
        let mut bytes = Frame::new(Opcode::Text, [payload, &vec![b'x'; missing]].concat()).masked().bytes();
        bytes.truncate(bytes.len() - missing);
        bytes
    };
    let kosme = |bad: &[u8]| ["κόσμε".as_bytes(), bad].concat();
    // Cases 6.4.3 and 6.4.4 of the Autobahn test suite.
    is_closed_with(1007, "past the last code point", &start(&kosme(b"\xf4\x90\x80\x80"), 6));
    is_closed_with(1007, "past it by its second byte", &start(&kosme(b"\xf4\x90"), 8));
    is_closed_with(1007, "a lone byte before much more", &start(b"\xff", 1 << 20));
    is_closed_with(
        1007,
        "a lone byte after much text",
        &start(&kosme(&[&vec![b'x'; 200_000][..], b"\xff"].concat()), 1 << 20),
    );
}

#[test]
fn one_byte_at_a_time_is_understood() {
    let server = listen(&["--echo"]);
    let mut client = RawClient::dial(server.port);
    for byte in RawClient::request("/", "").bytes() {
        client.write([byte]);
    }
    assert!(client.read_head().starts_with("HTTP/1.1 101 "));
    let long = "slow ".repeat(40);
    for byte in Frame::text(&long).masked().bytes() {
        client.write([byte]);
    }
    assert_eq!(client.read_text(), long);
}

#[test]
fn frames_sent_together_with_the_request_are_not_lost() {
    let server = listen(&["--echo"]);
    let mut client = RawClient::dial(server.port);
    let frames = [Frame::text("one").masked().bytes(), Frame::text("two").masked().bytes()].concat();
    client.write([RawClient::request("/", "").into_bytes(), frames].concat());
    assert!(client.read_head().starts_with("HTTP/1.1 101 "));
    assert_eq!(client.read_text(), "one");
    assert_eq!(client.read_text(), "two");
}

#[test]
fn a_client_that_closes_one_direction_still_gets_its_answers() {
    let server = listen(&["--json", "--reply", "noted"]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text("last words"));
    client.half_close();
    // The answer may or may not be had by then; the end must come, and the server must see a loss.
    client.read_rest();
    server.process.wait_for_stdout("last words");
    server.process.wait_for_stdout("\"close\"");
    server.stop().exits(0);
}

#[test]
fn a_client_that_vanishes_mid_message_costs_nothing() {
    let server = listen(&["--echo"]);
    for _ in 0..50 {
        let mut client = RawClient::connect(server.port);
        client.write(&Frame::text("half a mess").masked().bytes()[..9]);
    }
    let mut polite = RawClient::connect(server.port);
    polite.say(Frame::text("hello"));
    assert_eq!(polite.read_text(), "hello");
    server.stop().exits(0);
}

#[test]
fn what_comes_before_the_breach_is_still_answered() {
    let server = listen(&["--echo"]);
    let mut client = RawClient::connect(server.port);
    client.write([Frame::text("fine").masked().bytes(), Frame::text("bad").bytes()].concat());
    assert_eq!(client.read_text(), "fine");
    assert_eq!(client.read_close().close_code(), 1002);
}

#[test]
fn a_masked_empty_ping_storm_is_answered_and_bounded() {
    let server = listen(&["--echo"]);
    let mut client = RawClient::connect(server.port);
    client.write(Frame::new(Opcode::Ping, *b"").masked().bytes().repeat(10_000));
    client.say(Frame::text("after"));
    let mut pongs = 0;
    loop {
        let frame = client.read_frame().expect("more");
        if frame.is(Opcode::Text) {
            break;
        }
        pongs += usize::from(frame.is(Opcode::Pong));
    }
    // An endpoint may answer only the most recent of several pings.
    assert!((1..=10_000).contains(&pongs), "{pongs} pongs");
}
