//! `wsp relay ws-listen://… ws://… --both`: a proxy that changes nothing, a connection for a connection.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::balance::Balance;
use crate::support::ends::{lines, number};
use crate::support::files::read;
use crate::support::http::{Answer, admin_port, ask, get, sample, wait_for};
use crate::support::peers::{node_server, python, python_server};
use crate::support::wire::header;
use crate::support::{FakeServer, Frame, Opcode, RawClient, Server, closed_port, require, scratch, text, wsp};

/// A proxy before this server.
#[track_caller]
fn proxy(url: &str, more: &[&str]) -> Server {
    Server::ready(wsp(["relay", "ws-listen://127.0.0.1:0", url, "--both"]).args(more))
}

/// The balances of both ways.
fn balances(stderr: &str) -> (String, String) {
    let mut lines = stderr.lines().rev();
    let back = lines.next().unwrap_or_default().to_owned();
    (lines.next().unwrap_or_default().to_owned(), back)
}

fn delivered(count: u32) -> String {
    format!("received {count} = delivered {count} + filtered 0 + dropped 0 + dead-lettered 0 + waiting 0")
}

#[test]
fn a_request_and_its_answer_are_carried() {
    let server = FakeServer::once(|request| {
        assert_eq!(request.target(), "/base/chat?room=1&x=%20y");
        assert_eq!(request.header("sec-websocket-protocol"), Some("b, a"));
        assert_eq!(request.header("origin"), Some("https://page.example"));
        assert_eq!(request.header("cookie"), Some("session=1"));
        assert_eq!(request.header("authorization"), Some("Bearer secret"));
        assert_eq!(request.header("user-agent"), Some("Tester/1"));
        assert_eq!(request.header("x-forwarded-for"), Some("10.0.0.1, 127.0.0.1"));
        assert_eq!(request.header("x-forwarded-proto"), Some("http"));
        assert_eq!(request.header("x-removed"), None);
        assert_eq!(request.header("x-hop"), None);
        assert_eq!(request.header("sec-websocket-extensions"), None);
        let mut socket = request.accept_with("Sec-WebSocket-Protocol: a\r\nSet-Cookie: seen=1\r\n");
        assert_eq!(socket.read_text(), "hello");
        socket.say(Frame::new(Opcode::Binary, [1, 2, 3]));
        assert_eq!(socket.answer_close(), 4321);
    });
    let relay = proxy(&format!("{}base/", server.url), &["-H", "X-Removed:"]);
    let (mut client, head) = RawClient::open(
        relay.port,
        "/chat?room=1&x=%20y",
        "Sec-WebSocket-Protocol: b, a\r\nOrigin: https://page.example\r\nCookie: session=1\r\n\
         Authorization: Bearer secret\r\nUser-Agent: Tester/1\r\nX-Forwarded-For: 10.0.0.1\r\nX-Removed: 1\r\n\
         X-Hop: 1\r\nConnection: X-Hop\r\n",
    );
    let head = head.to_ascii_lowercase();
    assert!(head.contains("sec-websocket-protocol: a\r\n") && head.contains("set-cookie: seen=1\r\n"), "{head}");
    client.say(Frame::text("hello"));
    let frame = client.read_data();
    assert!(frame.is(Opcode::Binary), "{frame:?}");
    assert_eq!(frame.payload, [1, 2, 3]);
    client.say(Frame::close(4321, "enough"));
    client.read_rest();
    server.join();
    let output = relay.stop().exits(0);
    assert_eq!(balances(&output.stderr), (delivered(1), delivered(1)));
}

#[test]
fn pings_pongs_and_closes_go_from_end_to_end() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        let asked = socket.read_frame().expect("a ping");
        assert!(asked.is(Opcode::Ping), "{asked:?}");
        assert_eq!(asked.payload, b"from the client");
        socket.say(Frame::new(Opcode::Pong, "from the server's own mind"));
        socket.say(Frame::new(Opcode::Ping, "from the server"));
        let answered = socket.read_frame().expect("a pong");
        assert!(answered.is(Opcode::Pong), "{answered:?}");
        assert_eq!(answered.payload, b"by hand");
        socket.say(Frame::text("last"));
        socket.say(Frame::close(4000, "the reason"));
        let answer = socket.read_close();
        assert_eq!(answer.close_code(), 4000);
    });
    let relay = proxy(&server.url, &[]);
    let mut client = RawClient::connect(relay.port);
    client.say(Frame::new(Opcode::Ping, "from the client"));
    let answered = client.read_frame().expect("a pong");
    assert!(answered.is(Opcode::Pong), "{answered:?}");
    assert_eq!(answered.payload, b"from the server's own mind", "nobody but the server answers");
    let asked = client.read_frame().expect("a ping");
    assert!(asked.is(Opcode::Ping), "{asked:?}");
    client.say(Frame::new(Opcode::Pong, "by hand"));
    assert_eq!(client.read_text(), "last");
    let close = client.read_close();
    assert_eq!((close.close_code(), &close.payload[2..]), (4000, &b"the reason"[..]));
    client.say(Frame::close(4000, ""));
    server.join();
    relay.stop().exits(0);
}

#[test]
fn a_refusal_is_the_clients() {
    let server = FakeServer::once(|request| {
        request.refuse(
            "HTTP/1.1 403 Forbidden\r\nX-Why: because\r\nContent-Length: 5\r\nContent-Type: text/html\r\n\r\nno...",
        );
    });
    let relay = proxy(&server.url, &[]);
    let mut socket = RawClient::dial(relay.port);
    socket.write(RawClient::request("/", "Connection: close\r\n"));
    let answer = String::from_utf8(socket.read_rest()).expect("text").to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 403 forbidden\r\n"), "{answer}");
    assert!(answer.contains("x-why: because\r\n") && answer.contains("content-type: text/html\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nno..."), "{answer}");
    server.join();
    relay.stop().exits(0);
    let relay = proxy(&format!("ws://127.0.0.1:{}/", closed_port()), &[]);
    assert!(RawClient::ask(relay.port, &RawClient::request("/", "")).starts_with("HTTP/1.1 502 "));
    relay.stop().exits(0);
    // A server that takes the connection and says nothing.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = mute.local_addr().expect("its address").port();
    let relay = proxy(&format!("ws://127.0.0.1:{port}/"), &["--connect-timeout", "200ms"]);
    assert!(RawClient::ask(relay.port, &RawClient::request("/", "")).starts_with("HTTP/1.1 504 "));
    relay.stop().exits(0);
}

#[test]
fn a_refusal_keeps_its_versions_its_date_and_every_byte_of_its_body() {
    let body = [0_u8, 159, 146, 150, 255, 10];
    let server = FakeServer::once(move |mut request| {
        assert_eq!(request.header("x-forwarded-port"), Some("8443"));
        assert_eq!(request.header("x-forwarded-prefix"), Some("/api"));
        let head = "HTTP/1.1 400 Bad Request\r\nSec-WebSocket-Version: 8, 7\r\nSec-WebSocket-Protocol: chat\r\n\
                    Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Encoding: x-own\r\nContent-Length: 6\r\n\r\n";
        request.socket.write([head.as_bytes(), &body].concat());
        request.socket.half_close();
        request.socket.read_rest();
    });
    let relay = proxy(&server.url, &[]);
    let mut socket = RawClient::dial(relay.port);
    let more = "Connection: close\r\nX-Forwarded-Port: 8443\r\nX-Forwarded-Prefix: /api\r\n";
    socket.write(RawClient::request("/", more));
    let head = socket.read_head();
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    for (name, value) in [
        ("sec-websocket-version", "8, 7"),
        ("sec-websocket-protocol", "chat"),
        ("date", "Sun, 06 Nov 1994 08:49:37 GMT"),
        ("content-encoding", "x-own"),
    ] {
        assert_eq!(header(&head, name), Some(value), "{head}");
    }
    assert_eq!(socket.read_rest(), body);
    server.join();
    relay.stop().exits(0);
}

#[test]
fn a_lost_connection_is_lost_at_the_other_side_too() {
    let server = FakeServer::times(2, |round, request| {
        let mut socket = request.accept();
        if round == 0 {
            socket.say(Frame::text("before the end"));
            socket.hang_up();
        } else {
            assert_eq!(socket.read_text(), "before the end");
            assert!(socket.read_frame().is_none(), "no Close");
        }
    });
    let relay = proxy(&server.url, &[]);
    let mut client = RawClient::connect(relay.port);
    assert_eq!(client.read_text(), "before the end");
    assert!(client.read_frame().is_none(), "no Close");
    let mut client = RawClient::connect(relay.port);
    client.say(Frame::text("before the end"));
    client.hang_up();
    server.join();
    let output = relay.stop().exits(0);
    assert_eq!(balances(&output.stderr), (delivered(1), delivered(1)));
}

#[test]
fn real_peers_notice_nothing() {
    if !(require("python-websockets") && require("node-ws")) {
        return;
    }
    for server in [python_server(r#"{"subprotocols":["chat"]}"#), node_server(r#"{"perMessageDeflate":true}"#)] {
        let relay = proxy(&server.url(), &[]);
        for (options, compressed) in
            [(r#"{"subprotocols":["chat"]}"#, true), (r#"{"subprotocols":["chat"],"compression":null}"#, false)]
        {
            let run = python("ws_client.py").args([&relay.url, options, "hello", "äöü", "repeat:300000:x"]).input("");
            let output = run.exits(0);
            let told: serde_json::Value = serde_json::from_str(output.stdout()).expect("JSON");
            assert_eq!((&told["replies"], &told["code"]), (&6.into(), &1000.into()), "{told}");
            let extensions = told["extensions"].as_str().expect("a text");
            assert_eq!(extensions.starts_with("permessage-deflate"), compressed, "{told}");
            assert_eq!(told["subprotocol"].as_str(), Some("chat"), "{told}");
        }
        let output = relay.stop().exits(0);
        assert_eq!(balances(&output.stderr), (delivered(14), delivered(14)));
    }
}

#[test]
fn a_filter_sees_what_passes() {
    let echo = crate::support::listen(&["--echo"]);
    let relay = proxy(&echo.url, &["--jq", "select(.keep) | .seen = true"]);
    let mut client = RawClient::connect(relay.port);
    client.say(Frame::text("{\"keep\":false}"));
    client.say(Frame::text("{\"keep\":true}"));
    assert_eq!(client.read_text(), "{\"keep\":true,\"seen\":true}");
    client.say(Frame::close(1000, ""));
    client.read_rest();
    let output = relay.stop().exits(0);
    let (there, back) = balances(&output.stderr);
    assert_eq!(there, "received 2 = delivered 1 + filtered 1 + dropped 0 + dead-lettered 0 + waiting 0");
    assert_eq!(back, delivered(1));
    echo.stop();
}

#[test]
fn a_client_that_does_not_read_holds_its_own_server_and_nobody_else() {
    let echo = crate::support::listen(&["--echo"]);
    let relay = proxy(&echo.url, &["--client-queue-size", "100"]);
    // It sends and never reads: what comes back fills every queue on the way, and then it is not read from.
    let mute = RawClient::narrow(relay.port);
    let block: Vec<u8> = (0..100).flat_map(|_| Frame::text(&"x".repeat(4000)).masked().bytes()).collect();
    let taken = mute.pour(block);
    let still = || {
        let before = taken.load(std::sync::atomic::Ordering::Relaxed);
        std::thread::sleep(Duration::from_millis(300));
        before > 0 && before == taken.load(std::sync::atomic::Ordering::Relaxed)
    };
    let deadline = Instant::now() + crate::support::DEADLINE;
    while !still() {
        assert!(Instant::now() < deadline, "it is held");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", relay.process.id())).expect("a process");
    let resident: u64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().trim_end_matches(" kB").parse().ok())
        .expect("a number");
    assert!(resident < 64 * 1024, "{resident} KiB");
    let mut client = RawClient::connect(relay.port);
    for line in lines(1, 2000, 0).lines() {
        client.say(Frame::text(line));
        assert_eq!(number(&client.read_text()), number(line));
    }
    mute.hang_up();
    client.say(Frame::close(1000, ""));
    client.read_rest();
    let output = relay.stop().exits(0);
    for balance in [balances(&output.stderr).0, balances(&output.stderr).1] {
        assert!(balance.ends_with("+ waiting 0"), "{balance}");
    }
    let _ = Balance::of(&output);
    echo.stop();
}

#[test]
fn a_signal_closes_both_sides_in_order() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        assert_eq!(socket.read_text(), "ready");
        assert_eq!(socket.answer_close(), 1001);
    });
    let relay = proxy(&server.url, &[]);
    let mut client = RawClient::connect(relay.port);
    client.say(Frame::text("ready"));
    relay.process.signal(Signal::SIGTERM);
    assert_eq!(client.answer_close(), 1001);
    server.join();
    relay.process.outcome().exits(0);
}

#[test]
fn what_passes_is_recorded_and_each_client_can_be_seen_and_closed() {
    let echo = crate::support::listen(&["--echo"]);
    let directory = scratch();
    let record = text(&directory.path().join("traffic.jsonl"));
    let relay = proxy(&echo.url, &["--admin", "127.0.0.1:0", "--record", &record]);
    let port = admin_port(&relay);
    let mut client = RawClient::connect(relay.port);
    client.say(Frame::text("hello"));
    assert_eq!(client.read_text(), "hello");
    let sessions = get(port, "/sessions").is(200).json();
    let ids: Vec<&str> = sessions.as_array().expect("a list").iter().filter_map(|one| one["id"].as_str()).collect();
    assert_eq!(ids, ["s1", "s1.1"], "{sessions}");
    assert_eq!(sessions[1]["received"]["messages"], 1);
    let metrics = get(port, "/metrics").is(200);
    assert!(sample(metrics.text(), "wsp_delivered_total") > 1.9, "{}", metrics.text());
    ask(port, "DELETE", "/sessions/s1.1?code=4001&reason=enough", "", b"").is(200);
    assert_eq!(client.answer_close(), 4001);
    relay.stop().exits(0);
    let recorded: Vec<serde_json::Value> =
        read(record.as_ref()).lines().map(|line| serde_json::from_str(line).expect("an event line")).collect();
    let seen: Vec<_> = recorded
        .iter()
        .filter(|event| event["session"] == "s1.1")
        .map(|event| (event["dir"].as_str().unwrap_or_default(), event["type"].as_str().expect("a type")))
        .collect();
    assert_eq!(seen, [("", "open"), ("in", "text"), ("out", "text"), ("in", "close")], "{recorded:?}");
    echo.stop();
}

#[test]
fn a_rate_holds_for_all_clients_together() {
    let echo = crate::support::listen(&["--echo"]);
    let relay = proxy(&echo.url, &["--rate", "50"]);
    let mut clients: Vec<_> = (0..5).map(|_| RawClient::connect(relay.port)).collect();
    let start = Instant::now();
    for client in &mut clients {
        for line in lines(1, 10, 0).lines() {
            client.say(Frame::text(line));
        }
    }
    for client in &mut clients {
        assert_eq!((0..10).map(|_| number(&client.read_text())).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    }
    assert!(start.elapsed() >= Duration::from_millis(900), "fifty at fifty a second: {:?}", start.elapsed());
    // What a client left behind still goes out at that pace, and its account closes.
    let mut last = clients.pop().expect("a client");
    for line in lines(11, 30, 0).lines() {
        last.say(Frame::text(line));
    }
    last.say(Frame::close(1000, ""));
    last.read_rest();
    drop(clients);
    let output = relay.stop().exits(0);
    let (there, back) = balances(&output.stderr);
    assert_eq!(there, delivered(70));
    assert!(back.starts_with("received 70 = delivered ") && back.ends_with(" + waiting 0"), "{back}");
    echo.stop();
}

#[test]
fn what_a_client_end_says_by_itself_it_says_on_every_connection_behind() {
    let server = FakeServer::times(2, |_, request| {
        let mut socket = request.accept();
        assert_eq!(socket.read_text(), "token");
        socket.say(Frame::text("{\"state\":\"wait\"}"));
        socket.say(Frame::text("{\"state\":\"ready\"}"));
        assert_eq!(socket.read_text(), "subscribe", "and the client's turn is after that");
        assert_eq!(socket.read_text(), "from the client");
        assert_eq!(socket.read_text(), "beat");
        socket.say(Frame::text("{\"ping\":7}"));
        loop {
            let said = socket.read_text();
            if said != "beat" {
                assert_eq!(said, "{\"pong\":1}");
                break;
            }
        }
        socket.say(Frame::close(1000, ""));
        socket.read_close();
    });
    let heartbeat =
        ["--heartbeat", "beat", "--heartbeat-interval", "150ms", "--heartbeat-reply", ".ping=>{\"pong\":1}"];
    let init = ["--init", "token", "--init", "subscribe", "--init-wait", ".state == \"ready\""];
    let relay = proxy(&server.url, &[&heartbeat[..], &init].concat());
    for _ in 0..2 {
        let mut client = RawClient::connect(relay.port);
        client.say(Frame::text("from the client"));
        // It is told everything that the server says.
        for said in ["{\"state\":\"wait\"}", "{\"state\":\"ready\"}", "{\"ping\":7}"] {
            assert_eq!(client.read_text(), said);
        }
        assert_eq!(client.answer_close(), 1000);
    }
    server.join();
    let output = relay.stop().exits(0);
    assert_eq!(balances(&output.stderr), (delivered(2), delivered(6)));
}

#[test]
fn what_waits_in_a_proxy_is_seen_and_said_to_all() {
    let echo = crate::support::listen(&["--echo"]);
    let relay = proxy(&echo.url, &["--admin", "0", "--client-queue-size", "100", "-v"]);
    let port = admin_port(&relay);
    let mute = RawClient::narrow(relay.port);
    relay.process.wait_for_stderr("s1.1 127.0.0.1");
    let block: Vec<u8> = (0..100).flat_map(|_| Frame::text(&"x".repeat(4000)).masked().bytes()).collect();
    mute.pour(block);
    // Both ways fill up, and both are queues of this relay.
    let (near, far) = ("ws-listen://127.0.0.1:0", &echo.url);
    let depth = |name: &str| format!("wsp_queue_depth{{queue=\"{name}\"}}");
    let full =
        |answer: &Answer| sample(answer.text(), &depth(near)) > 99.0 && sample(answer.text(), &depth(far)) > 99.0;
    let metrics = wait_for(port, "/metrics", full);
    assert!(sample(metrics.text(), &format!("wsp_queue_utilization{{queue=\"{near}\"}}")) > 0.99, "{}", metrics.text());
    let waiting = sample(metrics.text(), "wsp_waiting");
    assert!(waiting >= 200.0, "{waiting}");
    let sessions = get(port, "/sessions").json();
    assert_eq!((&sessions[1]["id"], &sessions[1]["queue"]["depth"]), (&"s1.1".into(), &100.into()), "{sessions}");
    mute.hang_up();
    // What is said to all goes to every client, and to what is behind each.
    let mut clients: Vec<_> = (0..2).map(|_| RawClient::connect(relay.port)).collect();
    wait_for(port, "/metrics", |answer| sample(answer.text(), "wsp_connections_active") > 1.9);
    relay.process.wait_for_stderr("s1.3 127.0.0.1");
    ask(port, "POST", "/broadcast", "", b"to all").is(200);
    for client in &mut clients {
        // From the relay, and back from the echo.
        assert_eq!((client.read_text(), client.read_text()), ("to all".to_owned(), "to all".to_owned()));
        client.say(Frame::close(1000, ""));
        client.read_rest();
    }
    let output = relay.stop().exits(0);
    for balance in [balances(&output.stderr).0, balances(&output.stderr).1] {
        assert!(balance.ends_with("+ waiting 0"), "{balance}");
    }
    echo.stop();
}

#[test]
fn many_idle_clients_cost_nothing() {
    let echo = crate::support::listen(&["--echo"]);
    let relay = proxy(&echo.url, &[]);
    let mut clients: Vec<_> = (0..150).map(|_| RawClient::connect(relay.port)).collect();
    for client in &mut clients {
        client.say(Frame::text("x"));
        assert_eq!(client.read_text(), "x");
    }
    let spent = || -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", relay.process.id())).expect("a process");
        let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
        fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    };
    // Idle it is when for once it spends no more than a hundredth; one that never sleeps spends all.
    let deadline = Instant::now() + crate::support::DEADLINE;
    loop {
        let before = spent();
        std::thread::sleep(Duration::from_secs(1));
        if spent() - before <= 1 {
            break;
        }
        assert!(Instant::now() < deadline, "it never rests");
    }
    relay.process.signal(Signal::SIGTERM);
    for client in clients {
        assert_eq!(client.answer_close(), 1001);
    }
    relay.process.outcome().exits(0);
    echo.stop();
}
