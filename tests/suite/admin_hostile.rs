//! Those who mean harm to the admin address: it stays small, answers others, and lets go of them.

use std::time::Duration;

use crate::support::http::{admin_port, ask, get, read_answer, request};
use crate::support::{Frame, RawClient, Server, Socket, listen};

fn observed(arguments: &[&str]) -> (Server, u16) {
    let server = listen(&[&["--echo", "--admin", "0"], arguments].concat());
    let port = admin_port(&server);
    (server, port)
}

/// Connections that dawdle: on `port` three without a whole request, and more endless bodies than are read at a time.
fn dawdlers(port: u16) -> ([Socket; 3], Vec<Socket>) {
    let silent = RawClient::dial(port);
    let mut half = RawClient::dial(port);
    half.write("GET /metrics HTTP/1.1\r\nHost: x");
    let mut idle = RawClient::dial(port);
    idle.write(request("GET", "/health", "", b""));
    read_answer(&mut idle, true).is(200);
    let endless = || {
        let mut socket = RawClient::dial(port);
        socket.write("POST /broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nand then");
        socket
    };
    ([silent, half, idle], std::iter::repeat_with(endless).take(5).collect())
}

#[test]
fn those_who_dawdle_are_let_go_and_nobody_waits_for_them() {
    // On a machine with much to do the first of them may have been let go before another client was served: then again.
    for _ in 0..10 {
        let (server, port) = observed(&[]);
        let (mut waiting, endless) = dawdlers(port);
        let mut client = RawClient::connect(server.port);
        client.say(Frame::text("still here"));
        assert_eq!(client.read_text(), "still here");
        get(port, "/metrics").is(200);
        let all_wait = waiting.iter_mut().all(|socket| !socket.stirs_within(Duration::from_millis(1)));
        for mut socket in waiting {
            assert_eq!(String::from_utf8_lossy(&socket.read_rest()), "");
        }
        for mut socket in endless.into_iter().take(4) {
            let answer = read_answer(&mut socket, true).is(408);
            assert!(answer.text().contains("too slowly"), "{}", answer.text());
        }
        if all_wait {
            return;
        }
    }
    panic!("the others were served only when those who dawdle were gone");
}

#[test]
fn heads_and_bodies_over_the_limit_are_refused() {
    let (server, port) = observed(&["--max-message-size", "10KiB"]);
    let mut huge = RawClient::dial(port);
    huge.try_write("GET / HTTP/1.1\r\nHost: localhost\r\n");
    for _ in 0..1000 {
        if !huge.try_write(format!("X-Long: {}\r\n", "x".repeat(8000))) {
            break;
        }
    }
    assert!(huge.read_head().starts_with("HTTP/1.1 431 "));

    let mut many = RawClient::dial(port);
    many.try_write(format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1000)));
    assert!(many.read_head().starts_with("HTTP/1.1 431 "));

    let declared = "POST /broadcast HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n";
    let chunked = "POST /broadcast HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    for head in [declared, chunked] {
        let mut socket = RawClient::dial(port);
        socket.write(head);
        // Goes on long after it was refused, and still gets to read the refusal.
        let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
        for _ in 0..200 {
            if !socket.try_write(&chunk) {
                break;
            }
        }
        let answer = read_answer(&mut socket, true).is(413);
        assert_eq!(answer.header("connection"), Some("close"));
    }
    let mut wrong = RawClient::dial(port);
    wrong.write("POST /broadcast HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n");
    assert!(wrong.read_head().starts_with("HTTP/1.1 400 "));
    for nonsense in ["\x16\x03\x01\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\r\n\r\n\r\nx y z\r\n\r\n"] {
        let answer = RawClient::ask(port, nonsense);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{nonsense:?}: {answer}");
    }
    get(port, "/health").is(200);
    assert_eq!(get(port, "/health").json()["details"]["connections"]["total"], 0);
    server.stop().exits(0);
}

#[test]
fn connections_are_bounded_and_the_next_is_served_when_one_ends() {
    let (server, port) = observed(&[]);
    let mut held: Vec<Socket> = (0..64)
        .map(|_| {
            let mut socket = RawClient::dial(port);
            socket.write(request("GET", "/health", "", b""));
            read_answer(&mut socket, true).is(200);
            socket
        })
        .collect();
    let mut late = RawClient::dial(port);
    late.write(request("GET", "/health", "", b""));
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text("not concerned"));
    assert_eq!(client.read_text(), "not concerned");
    drop(held.pop());
    read_answer(&mut late, true).is(200);
    server.stop().exits(0);
}

#[test]
fn those_who_leave_early_cost_nothing() {
    let (server, port) = observed(&[]);
    for _ in 0..100 {
        for part in ["", "GET", "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "GET /events HTTP/1.1\r\n\r\n"] {
            let mut socket = RawClient::dial(port);
            socket.try_write(part);
        }
        let mut socket = RawClient::dial(port);
        socket.try_write("POST /broadcast HTTP/1.1\r\nContent-Length: 5\r\n\r\nab");
    }
    ask(port, "POST", "/broadcast", "", b"x").is(200);
    get(port, "/metrics").is(200);
    server.stop().exits(0);
}
