//! Servers that break RFC 6455 against `wsp connect`: the Close is really sent, and the exit code is 3.
//!
//! Leaves rude clients to `rude_clients` and broken upgrade answers to `exit_codes`.

use crate::support::{FakeServer, Frame, Opcode, run};

/// Sends `bytes` to a client and checks the Close on the wire and the exit code.
#[track_caller]
fn closes_with(code: u16, why: &'static str, arguments: &[&str], bytes: Vec<u8>) {
    let server = FakeServer::once(move |request| {
        let mut socket = request.accept();
        socket.try_write(bytes);
        let close = socket.read_close();
        assert_eq!(close.close_code(), code, "{why}");
        assert!(close.masked, "a client masks its Close too");
        socket.try_write(Frame::close(code, "").bytes());
        socket.read_rest();
    });
    let output = run(&[&["connect", &server.url, "-w", "-1"], arguments].concat(), "");
    server.join();
    assert_eq!(output.code, 3, "{why}: {}", output.stderr);
    assert_ne!(output.stderr, "", "{why}");
}

#[test]
fn broken_frames_are_closed_with_1002() {
    let text = || Frame::text("hello");
    let table = [
        ("masked", text().masked().bytes()),
        ("RSV1 without compression", text().reserved(4).bytes()),
        ("RSV2", text().reserved(2).bytes()),
        ("opcode 5", text().opcode(5).bytes()),
        ("a continuation of nothing", Frame::new(Opcode::Continuation, *b"x").bytes()),
        ("a new message inside one", [text().unfinished().bytes(), text().bytes()].concat()),
        ("a fragmented ping", Frame::new(Opcode::Ping, *b"x").unfinished().bytes()),
        ("a ping of 126 bytes", Frame::new(Opcode::Ping, [b'x'; 126]).bytes()),
        ("a close frame of one byte", Frame::new(Opcode::Close, [3]).bytes()),
        ("a Close 1005", Frame::close(1005, "").bytes()),
        ("a Close 1006 with a reason", Frame::close(1006, "lost").bytes()),
        ("a Close 999", Frame::close(999, "").bytes()),
        ("a Close 2000", Frame::close(2000, "").bytes()),
    ];
    for (why, bytes) in table {
        closes_with(1002, why, &[], bytes);
    }
}

#[test]
fn an_honest_close_1002_is_reported_as_that_close() {
    for reason in ["Protocol violation", "protocol error", ""] {
        let server = FakeServer::once(move |request| {
            let mut socket = request.accept();
            socket.say(Frame::close(1002, reason));
            assert_eq!(socket.read_close().close_code(), 1002);
        });
        let output = run(&["connect", &server.url, "-w", "-1"], "").exits(9);
        output.complains(format!("closed by the peer: 1002 {reason}").trim_end());
        server.join();
    }
}

#[test]
fn a_close_of_ours_answered_with_a_forbidden_code_is_a_breach() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        assert_eq!(socket.read_close().close_code(), 1000);
        socket.say(Frame::close(1006, ""));
    });
    run(&["connect", &server.url, "-w", "0"], "")
        .exits(3)
        .complains("a close frame with code 1006, which must not be sent");
    server.join();
}

#[test]
fn bad_utf8_is_closed_with_1007() {
    closes_with(1007, "a lone byte", &[], Frame::new(Opcode::Text, *b"\xff").bytes());
    let pieces =
        [Frame::new(Opcode::Text, *b"ok \xe2").unfinished().bytes(), Frame::new(Opcode::Continuation, *b"no").bytes()];
    closes_with(1007, "across fragments", &[], pieces.concat());
    // The rest of the frame never comes: whoever waits for it sends no Close.
    let mut start = Frame::new(Opcode::Text, ["κόσμε".as_bytes(), b"\xf4\x90", &[b'x'; 8]].concat()).bytes();
    start.truncate(start.len() - 8);
    closes_with(1007, "in a frame that is still arriving", &[], start);
}

#[test]
fn a_message_over_the_limit_is_closed_with_1009() {
    let limit = ["--max-message-size", "1KiB"];
    closes_with(1009, "one frame", &limit, Frame::text(&"x".repeat(1025)).bytes());
    let pieces =
        [Frame::text(&"x".repeat(600)).unfinished().bytes(), Frame::new(Opcode::Continuation, vec![b'x'; 600]).bytes()];
    closes_with(1009, "in pieces", &limit, pieces.concat());
    closes_with(1009, "only announced", &[], Frame::text("").head(1 << 50));
}

#[test]
fn what_came_before_the_breach_is_printed() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.write([Frame::text("fine").bytes(), Frame::text("bad").reserved(1).bytes()].concat());
        assert_eq!(socket.answer_close(), 1002);
    });
    run(&["connect", &server.url, "-w", "-1"], "").exits(3).prints("fine\n");
    server.join();
}

#[test]
fn a_peer_that_never_answers_the_close_is_left() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::text("bad").opcode(7));
        assert_eq!(socket.read_close().close_code(), 1002);
        socket.read_rest();
    });
    let output = run(&["connect", &server.url, "-w", "-1", "--close-timeout", "200ms"], "").exits(3);
    assert!(output.took.as_secs() < 10, "{:?}", output.took);
    server.join();
}

#[test]
fn one_byte_at_a_time_is_understood() {
    let server = FakeServer::once(|mut request| {
        let key = request.header("sec-websocket-key").expect("a key");
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            crate::support::wire::accept_for(key)
        );
        let frames = [Frame::text(&"slow ".repeat(40)).bytes(), Frame::close(1000, "").bytes()].concat();
        for byte in answer.bytes().chain(frames) {
            request.socket.write([byte]);
        }
        assert_eq!(request.socket.read_close().close_code(), 1000);
    });
    run(&["connect", &server.url, "-w", "-1"], "").exits(0).prints(&format!("{}\n", "slow ".repeat(40)));
    server.join();
}

#[test]
fn frames_that_come_with_the_answer_to_the_upgrade_are_not_lost() {
    let server = FakeServer::once(|mut request| {
        let key = request.header("sec-websocket-key").expect("a key");
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            crate::support::wire::accept_for(key)
        );
        let frames = [Frame::text("one").bytes(), Frame::close(1000, "").bytes()].concat();
        request.socket.write([head.into_bytes(), frames].concat());
        assert_eq!(request.socket.read_close().close_code(), 1000);
    });
    run(&["connect", &server.url, "-w", "-1"], "").exits(0).prints("one\n");
    server.join();
}

#[test]
fn a_server_that_only_hangs_up_half_is_a_loss() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::text("last words"));
        socket.half_close();
        socket.read_rest();
    });
    run(&["connect", &server.url, "-w", "-1"], "").exits(9).prints("last words\n");
    server.join();
}

#[test]
fn a_server_that_vanishes_mid_message_is_a_loss_and_half_a_message_is_not_printed() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        let bytes = Frame::text("only half of this").bytes();
        socket.write(&bytes[..8]);
    });
    run(&["connect", &server.url, "-w", "-1"], "").exits(9).prints("");
    server.join();
}

#[test]
fn control_characters_of_a_refusal_do_not_reach_the_terminal_raw() {
    let server = FakeServer::once(|request| {
        request.refuse("HTTP/1.1 403 Forbidden\r\nContent-Length: 9\r\n\r\n\u{1b}]0;evil\u{7}");
    });
    let output = run(&["connect", &server.url], "").exits(5);
    assert!(!output.stderr.contains('\u{1b}') && !output.stderr.contains('\u{7}'), "{:?}", output.stderr);
    server.join();
}

#[test]
fn what_comes_after_the_close_is_discarded() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        let frames = [Frame::text("before"), Frame::close(1000, "done"), Frame::text("after"), Frame::close(1000, "")];
        socket.write(frames.map(|frame| frame.bytes()).concat());
        socket.read_close();
        socket.read_rest();
    });
    run(&["connect", &server.url, "-w", "-1"], "").exits(0).prints("before\n");
    server.join();
}
