//! Heads of the upgrade as they are on the wire: how large they may be, how names are spelled, and what refusals say.
//!
//! Leaves what the headers mean to `connect_upgrade` and `listen`.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::support::fake::next;
use crate::support::{FakeServer, Frame, RawClient, Server, listen, run, wsp};

/// Header lines of so many bytes each.
fn lines(count: usize, size: usize) -> String {
    (0..count).map(|number| format!("{:x<size$}\r\n", format!("X-N-{number}: ")).replace(": x", ": y")).collect()
}

/// A hundred lines are many, a thousand and 256 KiB are the limit.
fn large_heads() -> [String; 3] {
    [lines(150, 20), lines(990, 20), lines(130, 2000)]
}

#[test]
fn answers_with_a_thousand_header_lines_are_taken() {
    for more in large_heads() {
        let server = FakeServer::once(move |request| {
            let mut socket = request.accept_with(&more);
            socket.say(Frame::close(1000, ""));
            socket.answer_close();
        });
        run(&["connect", &server.url, "-w", "-1"], "").exits(0);
        server.join();
    }
    let server = FakeServer::once(|mut request| {
        request.socket.try_write(format!("HTTP/1.1 101 X\r\n{}\r\n", lines(2000, 20)));
    });
    let output = run(&["connect", &server.url], "").exits(6);
    output.complains("the answer to the upgrade is too large: its header has more than 1000 lines or 256 KiB");
    server.join();
}

#[test]
fn requests_with_a_thousand_header_lines_are_taken() {
    let server = listen(&["--echo"]);
    for more in large_heads() {
        let (mut client, _) = RawClient::open(server.port, "/", &more);
        client.say(Frame::text("hello"));
        assert_eq!(client.read_text(), "hello");
    }
    assert!(RawClient::ask(server.port, &RawClient::request("/", &lines(2000, 20))).starts_with("HTTP/1.1 431 "));
}

#[test]
fn a_proxy_passes_on_a_thousand_header_lines_both_ways() {
    for more in large_heads() {
        let (there, back) = (more.clone(), more.clone());
        let server = FakeServer::once(move |request| {
            let missing = there.lines().find(|line| !request.head.contains(*line));
            assert_eq!(missing, None);
            let mut socket = request.accept_with(&back);
            assert_eq!(socket.read_text(), "hello");
            socket.say(Frame::close(1000, ""));
            socket.answer_close();
        });
        let relay = Server::ready(wsp(["relay", "ws-listen://127.0.0.1:0", &server.url, "--both"]));
        let (mut client, head) = RawClient::open(relay.port, "/", &more);
        assert_eq!(more.lines().find(|line| !head.contains(*line)), None);
        client.say(Frame::text("hello"));
        client.answer_close();
        server.join();
        relay.stop().exits(0);
    }
}

#[test]
fn names_of_headers_are_sent_as_they_are_spelled() {
    let given = ["X-API-KEY: 1", "x-lower: 2", "X-miXed: 3", "X-miXed: 4", "ORIGIN: http://a.test"];
    let arguments: Vec<&str> = given.iter().flat_map(|line| ["-H", line]).collect();
    let check = move |head: &str| {
        let missing = given.iter().find(|line| !head.contains(&format!("\r\n{line}\r\n")));
        assert_eq!(missing, None, "{head}");
    };
    let server = FakeServer::once(move |request| {
        check(&request.head);
        for ours in ["Sec-WebSocket-Key: ", "Sec-WebSocket-Version: 13\r\n", "Sec-WebSocket-Extensions: ", "Host: "] {
            assert!(request.head.contains(&format!("\r\n{ours}")), "{}", request.head);
        }
        let mut socket = request.accept_with("X-ANSWER: 1\r\nx-answer: 2\r\n");
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let output = run(&[&["connect", &server.url, "-w", "-1", "-v"], &arguments[..]].concat(), "").exits(0);
    server.join();
    // A key is nobody's to read.
    let ours = given.map(|line| format!("> {line}").replace("KEY: 1", "KEY: [redacted]"));
    let others = ["> Sec-WebSocket-Version: 13", "> Host: ", "< X-ANSWER: 1", "< x-answer: 2"].map(str::to_owned);
    for line in ours.iter().chain(&others) {
        assert!(output.stderr.contains(&format!("\n{line}")), "{line}: {}", output.stderr);
    }

    let server = FakeServer::once(move |mut request| {
        check(&request.head);
        assert_eq!(request.socket.read_exactly(5), b"hello");
        request.refuse("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let url = server.url.replace("ws://", "http://");
    wsp(["relay", "-", &url]).args(&arguments).input("hello\n").exits(0);
    server.join();

    let server = listen(&["--echo", "-H", "X-API-KEY: 1", "-H", "x-lower: 2"]);
    let (_, head) = RawClient::open(server.port, "/", "");
    for line in ["X-API-KEY: 1\r\n", "x-lower: 2\r\n", "Sec-WebSocket-Accept: "] {
        assert!(head.contains(&format!("\r\n{line}")), "{head}");
    }
    let server = listen(&["--echo", "--reject", "403", "-H", "X-API-KEY: 1"]);
    let head = RawClient::ask(server.port, &RawClient::request("/", ""));
    assert!(head.contains("\r\nX-API-KEY: 1\r\n"), "{head}");
}

#[test]
fn a_proxy_spells_names_as_they_came() {
    let server = FakeServer::listening(|listener| {
        let request = next(&listener);
        for line in ["X-API-KEY: 1", "x-lower: 2", "X-miXed: 3", "x-Mixed: 4", "X-OWN: 5", "Sec-WebSocket-Version: 13"]
        {
            assert!(request.head.contains(&format!("\r\n{line}\r\n")), "{line}: {}", request.head);
        }
        let mut socket = request.accept_with("X-SERVER-id: 1\r\nset-cookie: a=b\r\nSet-Cookie: c=d\r\n");
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
        next(&listener).refuse("HTTP/1.1 403 No\r\nX-WHY: because\r\nContent-Length: 0\r\n\r\n");
    });
    let relay = wsp(["relay", "ws-listen://127.0.0.1:0", &server.url, "--both", "-H", "X-OWN: 5"]);
    let relay = Server::ready(relay);
    let more = "X-API-KEY: 1\r\nx-lower: 2\r\nX-miXed: 3\r\nx-Mixed: 4\r\nx-own: 0\r\n";
    let (client, head) = RawClient::open(relay.port, "/", more);
    for line in ["X-SERVER-id: 1", "set-cookie: a=b", "Set-Cookie: c=d"] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    client.answer_close();
    let head = RawClient::ask(relay.port, &RawClient::request("/", ""));
    assert!(head.starts_with("HTTP/1.1 403 ") && head.contains("\r\nX-WHY: because\r\n"), "{head}");
    server.join();
    relay.stop().exits(0);
}

/// What a client says of a refusal of this head and body.
fn refused(head: &str, body: &[u8]) -> String {
    let answer = [head.as_bytes(), b"\r\n\r\n", body].concat();
    let server = FakeServer::once(move |mut request| {
        request.socket.write(answer);
        request.socket.half_close();
        request.socket.read_rest();
    });
    let output = run(&["connect", &server.url], "").exits(5);
    server.join();
    output.stderr
}

#[test]
fn the_body_of_a_refusal_is_shown_as_text_or_named() {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let zipped = encoder.write_all(b"<h1>not you</h1>").and_then(|()| encoder.finish()).expect("in memory");
    let head = "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Encoding: gzip";
    assert!(refused(head, &zipped).contains("\n<h1>not you</h1>\n"));
    let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
    let said = refused("HTTP/1.1 403 Forbidden\r\nContent-Type: image/png", png);
    assert!(said.contains("\n(a body of 16 bytes: image/png)\n"), "{said}");
}

#[test]
fn every_status_but_101_is_a_refusal_in_the_servers_words() {
    let upgrade = "Upgrade: websocket\r\nConnection: Upgrade";
    for (status, shown) in [
        ("204 No Content", "204 No Content"),
        ("200 OK", "200 OK"),
        ("299 Strange", "299 Strange"),
        ("403 Go away, please", "403 Go away, please"),
        ("999 Request denied", "999 Request denied"),
    ] {
        // What looks like a frame comes behind it.
        let said = refused(&format!("HTTP/1.1 {status}\r\n{upgrade}"), b"\x81\x02hi");
        assert!(said.contains(&format!("the server refused the upgrade: {shown}\n")), "{said}");
    }
}
