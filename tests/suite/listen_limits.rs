//! What `wsp listen` refuses, and the bounds it keeps: HTTP answers, time limits, sizes, queues of slow readers.
//!
//! Leaves broken frames to `rude_clients`.

use nix::sys::signal::Signal;

use crate::support::wire::header;
use crate::support::{DEADLINE, Frame, Opcode, RawClient, Socket, events, listen, scratch, text, wsp};

/// The status of the answer to `request`, and its head.
fn status(port: u16, request: &str) -> (u16, String) {
    let answer = RawClient::ask(port, request);
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.unwrap_or_else(|| panic!("no status in {answer:?}")), answer)
}

#[test]
fn requests_that_are_no_upgrade_get_the_right_status() {
    let server = listen(&["--echo", "--path", "/ws", "--path", "/other"]);
    let good = RawClient::request("/ws", "");
    let plain = "GET /ws HTTP/1.1\r\nHost: x\r\n\r\n";
    let table = [
        (426, plain.to_owned()),
        (426, good.replace("Version: 13", "Version: 8")),
        (426, good.replace("Sec-WebSocket-Version: 13\r\n", "")),
        (400, good.replace("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=")),
        (400, good.replace("dGhlIHNhbXBsZSBub25jZQ==", "not base64 at all!!!!!!!")),
        (405, good.replacen("GET", "POST", 1).replace("\r\n\r\n", "\r\nContent-Length: 0\r\n\r\n")),
        (404, good.replace("/ws", "/elsewhere")),
        (404, plain.replace("/ws", "/")),
    ];
    for (expected, request) in table {
        let (code, answer) = status(server.port, &request);
        assert_eq!(code, expected, "{request}\n{answer}");
        if code == 426 {
            assert_eq!(header(&answer, "sec-websocket-version"), Some("13"), "{answer}");
        }
    }
    for path in ["/ws", "/other", "/ws?query=1"] {
        RawClient::open(server.port, path, "");
    }
}

#[test]
fn a_refused_request_is_an_event_with_its_reason_and_without_secrets() {
    let files = scratch();
    let record = files.path().join("all.jsonl");
    let har = files.path().join("all.har");
    for path in [&record, &har] {
        let server = listen(&["--json", "--path", "/ws", "--record", &text(path)]);
        let mut socket = RawClient::dial(server.port);
        // Two on one connection are two.
        for _ in 0..2 {
            socket.write(RawClient::request("/other?token=s3cret", "Authorization: Bearer s3cret\r\n"));
            assert!(socket.read_head().starts_with("HTTP/1.1 404 "));
            socket.read_exactly("nothing at this path\n".len());
        }
        RawClient::ask(server.port, "what is this\r\n\r\n");
        let mut client = RawClient::open(server.port, "/ws", "").0;
        client.say(Frame::close(1000, ""));
        client.read_rest();
        let output = server.stop().exits(0).complains("refused 3");
        let events = events(output.stdout());
        let errors: Vec<_> = events.iter().filter(|event| event["type"] == "error").collect();
        assert_eq!(errors.len(), 3, "{events:?}");
        for error in &errors[..2] {
            let text = error["error"].as_str().expect("a text");
            assert!(
                text.starts_with("127.0.0.1:") && text.ends_with("refused with 404: nothing at this path"),
                "{text}"
            );
            assert_eq!(error["session"], "-");
        }
        let recorded = std::fs::read_to_string(path).expect("the recording");
        assert!(!output.stdout().contains("s3cret") && !recorded.contains("s3cret"));
        assert_eq!(recorded.contains("refused with 404"), path == &record, "HAR has no place for it: {recorded}");
    }
}

#[test]
fn what_is_not_http_is_turned_away() {
    let server = listen(&["--echo"]);
    let answer = RawClient::ask(server.port, "\x16\x03\x01 this is not HTTP\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer:?}");
    RawClient::connect(server.port);
}

#[test]
fn a_head_without_end_is_turned_away() {
    let server = listen(&["--echo", "--handshake-timeout", "10s"]);
    let mut socket = RawClient::dial(server.port);
    socket.try_write("GET / HTTP/1.1\r\n");
    let line = format!("X-Long: {}\r\n", "x".repeat(8000));
    for _ in 0..1000 {
        if !socket.try_write(&line) {
            break;
        }
    }
    let answer = String::from_utf8_lossy(&socket.read_rest()).into_owned();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer:?}");
}

#[test]
fn half_a_head_is_not_waited_for_forever() {
    let server = listen(&["--echo", "--handshake-timeout", "300ms"]);
    let mut silent = RawClient::dial(server.port);
    let mut half = RawClient::dial(server.port);
    half.write("GET / HTTP/1.1\r\nHost: x\r\nUpgr");
    // Both end by the server's doing, well before this side's deadline; another client is served meanwhile.
    let mut other = RawClient::connect(server.port);
    silent.read_rest();
    half.read_rest();
    other.say(Frame::text("still here"));
    assert_eq!(other.read_text(), "still here");
}

#[test]
fn one_connection_too_many_is_503_until_there_is_room() {
    let server = listen(&["--echo", "--max-connections", "2"]);
    let first = RawClient::connect(server.port);
    let mut second = RawClient::connect(server.port);
    let mut third = RawClient::dial(server.port);
    third.write(RawClient::request("/", ""));
    let head = third.read_head();
    assert!(head.starts_with("HTTP/1.1 503 "), "{head}");
    second.say(Frame::close(1000, ""));
    second.read_close();
    second.read_rest();
    let deadline = std::time::Instant::now() + DEADLINE;
    // The place is free once the server has noticed the end of the second: ask until then.
    loop {
        let mut again = RawClient::dial(server.port);
        again.write(RawClient::request("/", ""));
        if again.read_head().starts_with("HTTP/1.1 101 ") {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the place never became free");
    }
    drop(first);
}

#[test]
fn a_message_over_the_limit_is_closed_with_1009() {
    let server = listen(&["--echo", "--max-message-size", "1KiB"]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text(&"x".repeat(1024)));
    assert_eq!(client.read_text().len(), 1024);
    client.say(Frame::text(&"x".repeat(1025)));
    assert_eq!(client.answer_close(), 1009);

    // In pieces, none of which is too large by itself.
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text(&"x".repeat(600)).unfinished());
    client.say(Frame::new(Opcode::Continuation, vec![b'x'; 600]));
    assert_eq!(client.answer_close(), 1009);

    // Only announced: nothing of it needs to arrive.
    let mut client = RawClient::connect(server.port);
    client.write(Frame::text("").masked().head(1 << 40));
    client.write([1, 2, 3, 4]);
    assert_eq!(client.read_close().close_code(), 1009);
}

#[test]
fn text_and_binary_messages_have_limits_of_their_own() {
    let server = listen(&["--echo", "--compress", "--max-message-size", "30", "--max-text-size", "10"]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::new(Opcode::Binary, vec![1; 30]));
    assert_eq!(client.read_frame().expect("an echo").payload.len(), 30);
    client.say(Frame::text("0123456789"));
    assert_eq!(client.read_text(), "0123456789");
    client.say(Frame::text("0123456789a"));
    assert_eq!(client.answer_close(), 1009);
    let output = server.stop().exits(0);
    assert!(output.stderr.contains("larger than the limit of 10 bytes"), "{}", output.stderr);
    let server = listen(&["--echo", "--max-binary-size", "5"]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text("0123456789"));
    assert_eq!(client.read_text(), "0123456789");
    client.say(Frame::new(Opcode::Binary, vec![1; 6]));
    assert_eq!(client.answer_close(), 1009);
}

#[test]
fn a_client_that_answers_no_ping_is_dropped() {
    let server = listen(&["--json", "--ping-interval", "100ms", "--ping-timeout", "200ms"]);
    let mut silent = RawClient::connect(server.port);
    let ping = silent.read_frame().expect("a ping");
    assert!(ping.is(Opcode::Ping));
    silent.read_rest();
    server.process.wait_for_stdout("\"close\"");
    server.stop().exits(0);
}

#[test]
fn an_idle_client_is_dropped_when_asked() {
    let server = listen(&["--echo", "--idle-timeout", "200ms"]);
    RawClient::connect(server.port).read_rest();
    server.stop().exits(0);
}

/// Sends 30 MB to all clients in rounds that the reading one keeps up with.
fn flood(server: &mut crate::support::Server, reader: &mut Socket) {
    let line = format!("{}\n", "x".repeat(3000));
    let round = line.repeat(100);
    for _ in 0..100 {
        server.process.send(&round);
        for _ in 0..100 {
            assert_eq!(reader.read_text().len(), 3000);
        }
    }
}

#[test]
fn a_stopped_reader_neither_delays_the_others_nor_goes_uncounted() {
    for policy in ["drop-oldest", "drop-newest"] {
        let mut server = listen(&["--queue-size", "500", "--queue-bytes", "16MiB", "--on-full", policy]);
        let stopped = RawClient::narrow(server.port);
        let mut reader = RawClient::connect(server.port);
        reader.say(Frame::text("ready"));
        server.process.wait_for_stdout("ready");
        flood(&mut server, &mut reader);
        drop(stopped);
        let output = server.stop();
        let number_before = |word: &str| {
            let mut words = output.stderr.split(|c: char| !c.is_alphanumeric()).peekable();
            let mut found = None;
            while let Some(current) = words.next() {
                if words.peek() == Some(&word) {
                    found = current.parse::<u64>().ok().or(found);
                }
                if current == word {
                    found = found.or_else(|| words.peek().and_then(|next| next.parse().ok()));
                }
            }
            found
        };
        let dropped = number_before("dropped").unwrap_or_else(|| panic!("no drops in the summary: {}", output.stderr));
        assert!((1000..10_000).contains(&dropped), "{dropped} dropped: {}", output.stderr);
    }
}

#[test]
fn a_stopped_reader_is_disconnected_when_asked() {
    let mut server = listen(&["--queue-size", "500", "--on-full", "disconnect"]);
    let mut stopped = RawClient::narrow(server.port);
    let mut reader = RawClient::connect(server.port);
    reader.say(Frame::text("ready"));
    server.process.wait_for_stdout("ready");
    flood(&mut server, &mut reader);
    stopped.read_rest();
    server.stop().exits(0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_stopped_reader_costs_no_more_memory_than_its_queue() {
    let mut server = listen(&["--queue-size", "100000", "--queue-bytes", "1MiB"]);
    let _stopped = RawClient::narrow(server.port);
    let mut reader = RawClient::connect(server.port);
    reader.say(Frame::text("ready"));
    server.process.wait_for_stdout("ready");
    // The program itself, unoptimised and with its symbols, is most of it.
    let before = peak_memory(server.process.id());
    flood(&mut server, &mut reader);
    let peak = peak_memory(server.process.id());
    assert!(peak < before + (12 << 20), "{before} bytes, then {peak}");
    server.process.signal(Signal::SIGTERM);
}

/// The largest resident size that a process has had.
#[cfg(target_os = "linux")]
pub fn peak_memory(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("its peak");
    let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|size| size.parse().ok()).expect("a number");
    kilobytes * 1024
}

#[test]
fn a_stopped_echo_client_is_read_no_further_and_the_others_are_served() {
    let server = listen(&["--echo", "--queue-bytes", "1MiB", "--on-full", "block"]);
    let mut stopped = wsp(["connect", &server.url]).spawn();
    stopped.send("ready\n");
    stopped.wait_for_stdout("ready");
    stopped.signal(Signal::SIGSTOP);
    let mut other = RawClient::connect(server.port);
    for number in 0..1000 {
        other.say(Frame::text(&number.to_string()));
        assert_eq!(other.read_text(), number.to_string());
    }
    stopped.signal(Signal::SIGCONT);
    stopped.send("and on\n");
    stopped.wait_for_stdout("and on");
    server.stop().exits(0);
}
