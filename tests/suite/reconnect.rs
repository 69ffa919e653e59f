//! Staying connected: what is tried again and when, what is read anew for it, and what is said first on the new connection.
//!
//! Leaves the arithmetic of delays to the model in `session/reconnect`, and what an outage costs to `alive`.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::fake::{Request, next};
use crate::support::wire::header;
use crate::support::{FakeServer, Frame, Opcode, Socket, closed_port, events, run, scratch, text, write, wsp};

/// Delays that are told exactly and are over soon.
const EXACT: [&str; 4] = ["--retry-delay", "20ms", "--retry-jitter", "none"];

/// Opens a session and closes it at once.
fn close_with(request: Request, code: u16) {
    let mut socket = request.accept();
    socket.say(Frame::close(code, ""));
    socket.answer_close();
}

fn retries(stdout: &str, field: &str) -> Vec<Value> {
    events(stdout).iter().filter(|event| event["type"] == "retry").map(|event| event[field].clone()).collect()
}

#[test]
fn a_server_that_accepts_and_closes_is_met_less_and_less_often() {
    let server = FakeServer::times(4, |_, request| close_with(request, 1011));
    let output = wsp(["connect", &server.url, "--json", "--reconnect=3"]).args(EXACT).spawn().outcome().exits(9);
    assert_eq!(retries(output.stdout(), "delay_ms"), [20, 40, 80]);
    assert_eq!(retries(output.stdout(), "attempt"), [1, 2, 3]);
    for cause in retries(output.stdout(), "cause") {
        assert!(cause.as_str().is_some_and(|cause| cause.contains("1011")), "{cause}");
    }
    output.complains("gave up after 3 retries");
    server.join();
    let server = FakeServer::times(4, |_, request| close_with(request, 1011));
    let delays = ["--retry-delay", "100ms", "--retry-jitter", "none", "--reconnect=3"];
    let output = wsp(["relay", &server.url, "null:"]).args(delays).spawn().outcome().exits(9);
    let output = output.complains("in 0.1 s (retry 1)").complains("in 0.2 s (retry 2)").complains("in 0.4 s (retry 3)");
    output.complains("gave up after 3 retries");
    server.join();
}

#[test]
fn delays_are_exact_up_to_their_maximum() {
    let server = FakeServer::times(6, |_, request| close_with(request, 1011));
    let most = ["--reconnect=5", "--retry-max", "150ms"];
    let output = wsp(["connect", &server.url, "--json"]).args(EXACT).args(most).spawn().outcome().exits(9);
    assert_eq!(retries(output.stdout(), "delay_ms"), [20, 40, 80, 150, 150]);
    server.join();
    // Destinations of relay keep to the same delays.
    let delays = ["--retry-jitter", "none", "--retry-delay", "100ms", "--retry-step", "200ms", "--reconnect=3"];
    let url = format!("http://127.0.0.1:{}/", closed_port());
    let output = run(&[&["relay", "-", &url][..], &delays].concat(), "1\n").exits(30);
    let output = output.complains("retrying in 0.1 s").complains("retrying in 0.3 s").complains("retrying in 0.5 s");
    output.complains("gave up after 3 retries");
}

#[test]
fn a_step_makes_delays_grow_evenly() {
    let server = FakeServer::times(4, |_, request| close_with(request, 1011));
    let step = ["--reconnect=3", "--retry-step", "10ms"];
    let output = wsp(["connect", &server.url, "--json"]).args(EXACT).args(step).spawn().outcome().exits(9);
    assert_eq!(retries(output.stdout(), "delay_ms"), [20, 30, 40]);
    server.join();
    run(&["connect", "ws://h/", "--retry-step", "1s", "--retry-factor", "3"], "").exits(2).complains("--retry-factor");
}

#[test]
fn a_server_that_restarts_is_come_back_to() {
    let serve = |number: usize, request: Request| {
        let mut socket = request.accept();
        socket.say(Frame::text(&number.to_string()));
        socket.say(Frame::close([1001, 1012, 1005, 1000][number], ""));
        socket.answer_close();
    };
    for arguments in [vec!["connect"], vec!["relay"]] {
        // A Close without a code has no code to send.
        let server = FakeServer::times(4, move |number, request| match number {
            2 => {
                let mut socket = request.accept();
                socket.say(Frame::text("2"));
                socket.say(Frame::new(Opcode::Close, Vec::new()));
                socket.read_close();
            }
            number => serve(number, request),
        });
        let more = if arguments[0] == "relay" { vec!["-"] } else { vec![] };
        let output = wsp(&arguments).arg(&server.url).args(more).args(["--reconnect"]).args(EXACT).spawn().outcome();
        output.exits(0).prints("0\n1\n2\n3\n").complains("closed by the peer: 1001");
        server.join();
    }
}

#[test]
fn a_destination_that_restarts_gets_the_rest() {
    for code in [1000, 1001, 1012] {
        let server = FakeServer::listening(move |listener| {
            let mut socket = next(&listener).accept();
            assert_eq!(socket.read_text(), "1");
            socket.say(Frame::close(code, ""));
            socket.answer_close();
            let mut socket = next(&listener).accept();
            assert_eq!(socket.read_text(), "2");
            assert_eq!(socket.answer_close(), 1000);
        });
        let mut relay = wsp(["relay", "-", &server.url, "--reconnect"]).args(EXACT).spawn();
        relay.send("1\n");
        relay.wait_for_stderr("reconnecting in");
        relay.send("2\n");
        let output = relay.finish().exits(0).complains("received 2 = delivered 2 ");
        output.complains("reconnected after 1 retry, ");
        server.join();
    }
}

#[test]
fn retry_on_says_what_may_pass() {
    let refuse = |request: Request, status: u16| {
        request.refuse(&format!("HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n"));
    };
    // What happens first, with which list, and whether it is tried again.
    for (first, list, is_retried, code) in [
        (404, "default", false, 5),
        (404, "all", true, 0),
        (404, "default,404", true, 0),
        (503, "default", true, 0),
        (503, "none", false, 5),
        (503, "404", false, 5),
        (1011, "none", false, 9),
        (1011, "1011", true, 0),
        (1000, "all", true, 0),
        (1000, "1000", true, 0),
        (0, "none", true, 0),
    ] {
        // Then only this side ends it.
        let retries_1000 = matches!(list, "all" | "1000");
        let server = FakeServer::times(if is_retried { 2 } else { 1 }, move |number, request| match (number, first) {
            (0, 0) => drop(request.accept()),
            (0, status @ ..1000) => refuse(request, status),
            (0, code) => close_with(request, code),
            _ if retries_1000 => {
                let mut socket = request.accept();
                assert_eq!(socket.read_text(), "input");
                socket.answer_close();
            }
            _ => close_with(request, 1000),
        });
        let mut client = wsp(["connect", &server.url, "--reconnect", "--retry-on", list]).args(EXACT).spawn();
        if retries_1000 {
            client.wait_for_stderr("reconnecting");
            client.send("input\n");
            client.end_input();
        }
        let output = client.outcome().exits(code);
        assert_eq!(output.stderr.contains("reconnecting"), is_retried, "{first} {list}: {}", output.stderr);
        server.join();
    }
    run(&["connect", "ws://h/", "--retry-on", "often"], "").exits(2).complains("invalid status or close code 'often'");
}

#[test]
fn a_refusal_says_how_long_to_wait_and_retry_max_how_long_at_most() {
    let date = httpdate_in(3600);
    for (retry_after, most, expected) in [("1", "60s", 1000), ("5", "50ms", 50), (&date, "50ms", 50), ("0", "60s", 20)]
    {
        let answer =
            format!("HTTP/1.1 429 Too Many Requests\r\nRetry-After: {retry_after}\r\nContent-Length: 0\r\n\r\n");
        for relays in [false, true] {
            let answer = answer.clone();
            let server = FakeServer::times(2, move |number, request| match number {
                0 => request.refuse(&answer),
                _ => close_with(request, 1000),
            });
            let more = ["--reconnect", "--retry-max", most];
            if relays {
                let output = wsp(["relay", &server.url, "null:"]).args(EXACT).args(more).spawn().outcome().exits(0);
                output.complains(&format!("reconnecting in {:.1} s", f64::from(expected) / 1e3));
            } else {
                let output = wsp(["connect", &server.url, "--json"]).args(EXACT).args(more).spawn().outcome().exits(0);
                assert_eq!(retries(output.stdout(), "delay_ms"), [expected], "{retry_after}");
            }
            server.join();
        }
    }
}

/// A date as HTTP writes it, so many seconds from now.
fn httpdate_in(seconds: u64) -> String {
    httpdate::fmt_http_date(SystemTime::now() + Duration::from_secs(seconds))
}

#[test]
fn a_token_that_was_renewed_is_the_one_that_is_sent() {
    let directory = scratch();
    let path = write(&directory, "secret", "-");
    let file = text(&path);
    let at = format!("@{file}");
    let command = format!("cat '{file}'");
    for (flag, value, contents, header, shown) in [
        ("--bearer", &at, ["one\n", "two\n"], "authorization", ["Bearer one", "Bearer two"]),
        ("--bearer-command", &command, ["one\n", " two \n"], "authorization", ["Bearer one", "Bearer two"]),
        ("-u", &at, ["a:1\n", "a:2\n"], "authorization", ["Basic YTox", "Basic YToy"]),
        ("-H", &at, ["X-Key: 1\n\nX-Other: a\n", "X-Key: 2\n"], "x-key", ["1", "2"]),
    ] {
        for relays in [false, true] {
            std::fs::write(&path, contents[0]).expect("written");
            let (path, header, shown) = (path.clone(), header.to_owned(), shown.map(str::to_owned));
            let renewed = contents[1].to_owned();
            let server = FakeServer::times(2, move |number, request| {
                assert_eq!(request.header(&header), Some(&*shown[number]), "{}", request.head);
                std::fs::write(&path, &renewed).expect("written");
                close_with(request, [1012, 1000][number]);
            });
            let run = if relays { wsp(["relay", &server.url, "null:"]) } else { wsp(["connect", &server.url]) };
            let output = run.args([flag, value, "--reconnect", "-v"]).args(EXACT).spawn().outcome().exits(0);
            assert!(!output.stderr.contains("Bearer two"), "{}", output.stderr);
            server.join();
        }
    }
}

#[test]
fn a_destination_over_http_is_shown_the_token_of_now() {
    let directory = scratch();
    let path = write(&directory, "token", "one");
    let file = format!("@{}", text(&path));
    let server = FakeServer::once(move |request| {
        let Request { mut head, mut socket } = request;
        // Both over the same connection.
        for (body, token) in [("1", "one"), ("2", "two")] {
            assert_eq!(header(&head, "authorization"), Some(&*format!("Bearer {token}")));
            assert_eq!(socket.read_exactly(1), body.as_bytes());
            std::fs::write(&path, "two").expect("written");
            socket.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
            if body == "1" {
                head = socket.read_head();
            }
        }
    });
    let url = server.url.replace("ws://", "http://");
    run(&["relay", "-", &url, "--bearer", &file], "1\n2\n").exits(0);
    server.join();
}

#[test]
fn a_token_that_cannot_be_read_is_a_failed_attempt() {
    let directory = scratch();
    let path = write(&directory, "token", "one");
    let file = format!("@{}", text(&path));
    let removed = Arc::new(path);
    let gone = Arc::clone(&removed);
    let server = FakeServer::once(move |request| {
        std::fs::remove_file(&*gone).expect("removed");
        close_with(request, 1012);
    });
    let retries = ["--reconnect=1", "--retry-delay", "1ms"];
    let output = wsp(["connect", &server.url, "--bearer", &file]).args(retries).spawn().outcome().exits(9);
    output.complains("cannot read ").complains("gave up after 1 retry");
    server.join();
    // Before the first attempt it is a mistake.
    run(&["connect", "ws://127.0.0.1:9/", "--bearer", &file], "").exits(2).complains("cannot read ");
    let command = ["connect", "ws://127.0.0.1:9/", "--bearer-command"];
    let output = run(&[&command[..], &["echo 'no such vault' >&2; exit 3"]].concat(), "").exits(2);
    output.complains("--bearer-command: exit status: 3: no such vault");
    let output = run(&[&command[..], &["exit 3", "--reconnect=1", "--retry-delay", "1ms"]].concat(), "").exits(9);
    output.complains("gave up after 1 retry");
    let output = run(&[&command[..], &["sleep 1000 & wait", "--connect-timeout", "200ms"]].concat(), "").exits(14);
    output.complains("reading the credentials");
    run(&[&command[..], &["echo x", "--bearer", "y"]].concat(), "").exits(2).complains("cannot be used with");
}

#[test]
fn the_last_value_is_asked_for_after_a_reconnect() {
    for relays in [false, true] {
        let server = FakeServer::times(2, |number, request| {
            let mut socket = request.accept();
            assert_eq!(socket.read_text(), "subscribe");
            if number == 0 {
                for message in [r#"{"seq":1}"#, r#"{"seq":2}"#, r#"{"other":1}"#, "not JSON"] {
                    socket.say(Frame::text(message));
                }
                socket.say(Frame::close(1012, ""));
                socket.answer_close();
            } else {
                assert_eq!(socket.read_text(), r#"{"after":2}"#);
                socket.say(Frame::close(1000, ""));
                socket.answer_close();
            }
        });
        let run = if relays { wsp(["relay", &server.url, "null:"]) } else { wsp(["connect", &server.url]) };
        let resume = ["-i", "subscribe", "--resume", r#".seq => {"after":{{value}}}"#, "--reconnect"];
        let output = run.args(resume).args(EXACT).spawn().outcome().exits(0);
        output.complains("reconnected after 1 retry; --resume requests the messages of the ");
        server.join();
    }
    run(&["connect", "ws://h/", "--resume", ".seq"], "").exits(2).complains("--resume '.seq' has no =>");
    run(&["connect", "ws://h/", "--resume", ".[=>x"], "").exits(7).complains("--resume");
}

#[test]
fn each_init_message_has_an_answer_of_its_own() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        let silent = |socket: &mut Socket| {
            socket.say(Frame::new(Opcode::Ping, *b"mark"));
            let first = socket.read_frame().expect("a pong");
            assert!(first.is(Opcode::Pong), "nothing is sent before the answer: {first:?}");
        };
        assert_eq!(socket.read_text(), "auth");
        socket.say(Frame::text(r#"{"subscribed":true}"#));
        silent(&mut socket);
        socket.say(Frame::text(r#"{"welcome":true}"#));
        assert_eq!(socket.read_text(), "subscribe");
        silent(&mut socket);
        socket.say(Frame::text(r#"{"subscribed":true}"#));
        assert_eq!(socket.read_text(), "input");
        socket.answer_close();
    });
    let init = ["-i", "auth", "--init-wait", ".welcome", "-i", "subscribe", "--init-wait", ".subscribed"];
    wsp(["connect", &server.url, "-w", "0"]).args(init).input("input\n").exits(0);
    server.join();
    let output = run(&["connect", "ws://h/", "-i", "a", "--init-wait", ".a", "--init-wait", ".b"], "").exits(2);
    output.complains("--init-wait given 2 times for 1 init message");
}

#[test]
fn the_first_connection_and_the_account_of_a_relay_are_covered_too() {
    let server = FakeServer::times(3, |number, request| match number {
        0 => request.refuse("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
        1 => close_with(request, 1012),
        _ => close_with(request, 1000),
    });
    let output = wsp(["relay", &server.url, "null:", "--reconnect"]).args(EXACT).spawn().outcome().exits(0);
    output.complains("(retry 1)").complains("; messages sent by the server during the ");
    server.join();
}
