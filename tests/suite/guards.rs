//! Who `wsp listen` lets in, and how much they may send: places, rates, connections that never become sessions.
//!
//! Leaves credentials to `credentials`, requests that are no upgrade to `listen_limits`.

use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::{Domain, Socket as PlainSocket, Type};

use crate::support::wire::header;
use crate::support::{DEADLINE, Frame, Opcode, RawClient, Server, Socket, events, listen, scratch, text, wsp};

/// A connection that comes from `ip`.
fn dial_from(ip: &str, port: u16) -> Socket {
    let socket = PlainSocket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let ip: IpAddr = ip.parse().expect("an address");
    socket.bind(&SocketAddr::from((ip, 0)).into()).expect("an address of loopback");
    socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into()).expect("connecting");
    Socket::new(TcpStream::from(socket), true)
}

/// The head of the answer to an upgrade, and the socket.
fn ask(mut socket: Socket) -> (Socket, String) {
    socket.write(RawClient::request("/", ""));
    let head = socket.read_head();
    (socket, head)
}

fn is(head: &str, status: u16) -> bool {
    head.starts_with(&format!("HTTP/1.1 {status} "))
}

/// Asks again and again until it is let in.
#[track_caller]
fn until_let_in(port: u16) -> Socket {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let (socket, head) = ask(RawClient::dial(port));
        if is(&head, 101) {
            return socket;
        }
        assert!(is(&head, 429) || is(&head, 503), "{head}");
        assert!(Instant::now() < deadline, "never let in");
    }
}

#[test]
fn one_address_has_no_more_places_than_allowed_and_gets_429() {
    let server = listen(&["--json", "--echo", "--max-per-ip", "2", "--close-timeout", "100ms"]);
    let first = RawClient::connect(server.port);
    let mut second = RawClient::connect(server.port);
    let (_, head) = ask(RawClient::dial(server.port));
    assert!(is(&head, 429), "{head}");
    let seconds: u64 = header(&head, "retry-after").and_then(|value| value.parse().ok()).expect("when to come again");
    assert!(seconds >= 1, "{head}");
    let (_elsewhere, head) = ask(dial_from("127.0.0.2", server.port));
    assert!(is(&head, 101), "another address has places of its own: {head}");
    second.say(Frame::close(1000, ""));
    second.read_close();
    let _third = until_let_in(server.port);
    drop(first);
    let output = server.stop().exits(0);
    let errors: Vec<Value> = events(output.stdout()).into_iter().filter(|event| event["type"] == "error").collect();
    let told = errors[0]["error"].as_str().expect("a text");
    assert!(told.contains("429") && told.starts_with("127.0.0.1:"), "{told}");
    output.complains(&format!("refused {}", errors.len()));
}

#[test]
fn sessions_begin_no_faster_than_allowed() {
    let server = listen(&["--echo", "--accept-rate", "3/s"]);
    let started = Instant::now();
    let _held: Vec<_> = (0..3).map(|_| RawClient::connect(server.port)).collect();
    let (_, head) = ask(RawClient::dial(server.port));
    if started.elapsed() < Duration::from_millis(300) {
        assert!(is(&head, 429), "{head}");
        assert_eq!(header(&head, "retry-after"), Some("1"));
    }
    let _more: Vec<_> = (0..3).map(|_| until_let_in(server.port)).collect();
    assert!(started.elapsed() >= Duration::from_millis(600), "{:?}", started.elapsed());
}

#[test]
fn one_address_begins_no_more_sessions_than_it_may() {
    let server = listen(&["--echo", "--accept-rate-per-ip", "0.01/s"]);
    let _first = RawClient::connect(server.port);
    let (_, head) = ask(RawClient::dial(server.port));
    assert!(is(&head, 429), "{head}");
    let wait: u32 = header(&head, "retry-after").and_then(|wait| wait.parse().ok()).expect("seconds");
    assert!((60..=100).contains(&wait), "{wait}");
}

#[test]
fn all_at_once_get_no_more_places_than_there_are() {
    let server = listen(&["--echo", "--max-connections", "10"]);
    let mut sockets: Vec<_> = (0..50).map(|_| RawClient::dial(server.port)).collect();
    for socket in &mut sockets {
        socket.write(RawClient::request("/", ""));
    }
    let heads: Vec<_> = sockets.iter_mut().map(Socket::read_head).collect();
    assert_eq!(heads.iter().filter(|head| is(head, 101)).count(), 10);
    assert_eq!(heads.iter().filter(|head| is(head, 503)).count(), 40);
    drop(sockets);
    server.stop().exits(0).complains("refused 40");
}

#[test]
fn silent_connections_give_way_to_others() {
    let server = listen(&["--echo", "--max-handshakes", "3", "--handshake-timeout", "1h", "--close-timeout", "100ms"]);
    let mut silent: Vec<_> = (0..3).map(|_| RawClient::dial(server.port)).collect();
    silent[1].write("GET / HTTP/1.1\r\nHost: ");
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text("here"));
    assert_eq!(client.read_text(), "here");
    assert_eq!(silent[0].read_rest(), b"", "the oldest has gone");
    // There is room again for one that is not done, and no more.
    silent.push(RawClient::dial(server.port));
    RawClient::connect(server.port);
    assert_eq!(silent[1].read_rest(), b"", "then the next");
    silent[2].write(RawClient::request("/", ""));
    assert!(is(&silent[2].read_head(), 101), "whoever was not in the way is served");
    server.stop().exits(0).complains("refused 2");
}

#[test]
fn a_burst_waits_instead_of_displacing_itself() {
    let server = listen(&["--echo", "--max-handshakes", "2"]);
    let mut sockets: Vec<_> = (0..60).map(|_| RawClient::dial(server.port)).collect();
    for socket in &mut sockets {
        socket.write(RawClient::request("/", ""));
    }
    assert!(sockets.iter_mut().all(|socket| is(&socket.read_head(), 101)));
    drop(sockets);
    server.stop().exits(0).complains("connections 60, refused 0");
}

#[test]
fn one_address_cannot_fill_the_server_with_half_a_request() {
    let server = listen(&["--echo", "--max-per-ip", "1", "--handshake-timeout", "1h", "--close-timeout", "100ms"]);
    let mut silent: Vec<_> = (0..100).map(|_| RawClient::dial(server.port)).collect();
    for socket in &mut silent {
        socket.try_write("GET / HTTP/1.1\r\n");
    }
    // At once, not after a second: it displaces its own and nobody else's.
    let (_socket, head) = ask(dial_from("127.0.0.2", server.port));
    assert!(is(&head, 101), "{head}");
    assert_eq!(silent[0].read_rest(), b"");
    let _one = RawClient::connect(server.port);
    let ended = server.stop().exits(0);
    let refused: u32 =
        ended.stderr.split("refused ").nth(1).and_then(|rest| rest.split(',').next()?.parse().ok()).expect("a count");
    assert!(refused >= 84, "{}", ended.stderr);
}

/// Reads up to the Close: the texts before it, and its code.
fn texts_and_close(mut client: Socket) -> (Vec<String>, u16) {
    let mut texts = Vec::new();
    loop {
        let frame = client.read_frame().expect("a Close");
        if frame.is(Opcode::Text) {
            texts.push(frame.as_text());
        } else if frame.is(Opcode::Close) {
            let code = frame.close_code();
            client.try_write(Frame { masked: true, ..frame }.bytes());
            return (texts, code);
        }
    }
}

#[test]
fn whoever_sends_more_than_it_may_is_told_and_closed_with_1008() {
    let table = [
        ("--message-rate", "5", "more than 5 messages a second", 1, 6),
        ("--byte-rate", "1KiB/s", "more than 1024 bytes a second", 300, 4),
    ];
    for (flag, rate, told, size, count) in table {
        let server = listen(&["--json", "--echo", flag, rate, "--close-timeout", "100ms"]);
        let mut client = RawClient::connect(server.port);
        let message = Frame::text(&"x".repeat(size)).masked().bytes();
        // All at once, and more behind that nobody may see.
        client.write(message.repeat(count + 20));
        let (texts, code) = texts_and_close(client);
        assert_eq!(code, 1008);
        let (error, echoes) = texts.split_last().expect("an answer");
        assert_eq!(echoes.len(), count - 1, "{flag}");
        let error: Value = serde_json::from_str(error).expect("JSON");
        assert_eq!(error, json!({"type": "error", "error": told}));
        let output = server.stop().exits(0).complains("dropped 1 (rate 1)");
        let events = events(output.stdout());
        assert!(events.iter().any(|event| event["type"] == "error" && event["error"] == told), "{events:?}");
        let received = events.iter().filter(|event| event["dir"] == "in" && event["type"] == "text").count();
        assert_eq!(received, count - 1, "{flag}");
    }
}

#[test]
fn slow_reads_no_faster_than_allowed_and_loses_nothing() {
    for (flag, rate, size) in [("--message-rate", "20", 1), ("--byte-rate", "20KiB", 1024)] {
        let server = listen(&["--echo", flag, rate, "--on-rate", "slow", "--close-timeout", "100ms"]);
        let mut client = RawClient::connect(server.port);
        let started = Instant::now();
        let message = Frame::text(&"x".repeat(size)).masked().bytes();
        client.write(message.repeat(40));
        for _ in 0..40 {
            assert_eq!(client.read_text().len(), size);
        }
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(850), "{flag}: 20 at once, 20 in a second: {took:?}");
        server.stop().exits(0).complains("received 40, sent 40, dropped 0");
    }
}

#[test]
fn a_client_that_is_slowed_down_feels_it_and_the_others_do_not() {
    let server = listen(&["--echo", "--byte-rate", "64KiB", "--on-rate", "slow", "--close-timeout", "100ms"]);
    let mut flood = TcpStream::connect(("127.0.0.1", server.port)).expect("connecting");
    flood.write_all(RawClient::request("/", "").as_bytes()).expect("a request");
    flood.set_write_timeout(Some(Duration::from_millis(500))).expect("a deadline");
    let message = Frame::text(&"x".repeat(60_000)).masked().bytes();
    // More than the kernel takes for the two of us: the writer comes to a stand.
    let stopped = (0..2000).find_map(|_| flood.write_all(&message).err()).expect("120 MB went through");
    assert!(matches!(stopped.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{stopped}");
    let mut other = RawClient::connect(server.port);
    for number in 0..1000 {
        other.say(Frame::text(&number.to_string()));
        assert_eq!(other.read_text(), number.to_string());
    }
    server.stop().exits(0);
}

#[test]
fn refusals_are_recorded_as_event_lines() {
    let files = scratch();
    let record = files.path().join("all.jsonl");
    let server = listen(&["--echo", "--max-connections", "0", "--record", &text(&record)]);
    let (_, head) = ask(RawClient::dial(server.port));
    assert!(is(&head, 503), "{head}");
    server.stop().exits(0).complains("refused 1");
    let recorded = events(&std::fs::read_to_string(&record).expect("the recording"));
    assert_eq!((&recorded[0]["type"], &recorded[0]["session"]), (&json!("error"), &json!("-")));
}

#[test]
fn what_arrives_behind_our_close_does_not_delay_the_end() {
    let server = listen(&["--echo", "--close-timeout", "10m", "--grace", "10m"]);
    let mut client = RawClient::connect(server.port);
    server.process.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(client.read_close().close_code(), 1001);
    client.say(Frame::text("too late"));
    client.say(Frame::close(1001, ""));
    server.process.outcome().exits(0).complains("received 1, sent 0, dropped 1 (receiver-gone 1)");
}

#[test]
fn a_web_page_does_not_drive_a_server_on_loopback_that_acts() {
    let folder = scratch();
    let rules = text(&crate::support::write(&folder, "rules.toml", "[[rule]]\nreply = '.'\n"));
    // What no page, a foreign page and a page of this machine are answered.
    let acting = [101, 403, 101];
    let open = [101, 101, 101];
    let listening: [(&[&str], [u16; 3]); 13] = [
        (&["--exec", "cat"], acting),
        (&["--script", &rules], acting),
        (&[], acting),
        (&["--protocol", "feed", "--input", "json"], acting),
        (&["--exec", "cat", "--allow-origin", "*"], open),
        (&["--exec", "cat", "--allow-origin", "https://page.example"], [101, 101, 403]),
        (&["--exec", "cat", "--allow-origin", "same"], [101, 403, 403]),
        (&["--echo"], open),
        (&["--sink"], open),
        (&["--push", "1"], open),
        (&["--broadcast"], open),
        (&["--reply", "a"], open),
        (&["--reply-jq", "."], open),
    ];
    let relaying: [(&[&str], [u16; 3]); 6] = [
        (&["ws-listen://127.0.0.1:0", "exec:cat"], acting),
        (&["ws-listen://127.0.0.1:0", "null:", "--route", ".a => -"], acting),
        (&["exec:sleep 1000", "ws-listen://127.0.0.1:0", "--both"], acting),
        (&["ws-listen://127.0.0.1:0", "-", "--allow-origin", "*"], open),
        (&["exec:sleep 1000", "ws-listen://127.0.0.1:0"], open),
        (&["ws-listen://127.0.0.1:0", "null:"], open),
    ];
    let servers = listening.into_iter().map(|(arguments, expected)| (listen(arguments), arguments, expected)).chain(
        relaying
            .into_iter()
            .map(|(arguments, expected)| (Server::ready(wsp(["relay"]).args(arguments)), arguments, expected)),
    );
    for (server, arguments, expected) in servers {
        let ask = |origin: &str| {
            let header = if origin.is_empty() { String::new() } else { format!("Origin: {origin}\r\n") };
            let head = RawClient::ask(server.port, &RawClient::request("/", &header));
            head.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok()).expect("a status")
        };
        let answers = [ask(""), ask("https://page.example"), ask("http://localhost:3000")];
        assert_eq!(answers, expected, "{arguments:?}");
        assert_eq!(ask("null"), if expected == open { 101 } else { 403 }, "{arguments:?}");
        let output = server.stop();
        let told = output.stderr.matches("--allow-origin ORIGIN").count();
        assert_eq!(told, usize::from(answers.contains(&403)), "told once: {arguments:?} {}", output.stderr);
    }
}

#[test]
fn a_page_that_is_turned_away_is_told_what_would_let_it_in() {
    let server = listen(&["--exec", "cat"]);
    let answer = crate::support::http::ask(
        server.port,
        "GET",
        "/",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: https://evil.example\r\n",
        b"",
    );
    let answer = answer.is(403);
    assert!(
        answer.text().contains("https://evil.example") && answer.text().contains("--allow-origin"),
        "{}",
        answer.text()
    );
    // A name server may point a name of its own to this machine.
    let mut socket = RawClient::dial(server.port);
    socket.write(
        RawClient::request("/", "Origin: http://evil.example\r\n").replace("Host: 127.0.0.1", "Host: evil.example"),
    );
    assert!(socket.read_head().starts_with("HTTP/1.1 403 "));
}
