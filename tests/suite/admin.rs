//! The admin address of `wsp listen`: what it shows and does, and who may ask.
//!
//! Leaves those who mean harm to `admin_hostile`.

use serde_json::{Value, json};

use crate::support::http::{Events, admin_port, ask, get, request, sample, wait_for};
use crate::support::wire::header;
use crate::support::{DEADLINE, Frame, Opcode, RawClient, Run, Server, Socket, listen, root, run, scratch, text, wsp};

/// A server with an admin address, and that one's port.
#[track_caller]
fn observed(arguments: &[&str]) -> (Server, u16) {
    let server = listen(&[&["--admin", "0"], arguments].concat());
    let port = admin_port(&server);
    (server, port)
}

/// `promtool`, which `tests/run` puts in place.
pub fn promtool() -> Run {
    let own = root().join("target/test-promtool/promtool");
    Run::new(std::env::var_os("WSP_TEST_PROMTOOL").map_or(own, std::path::PathBuf::from))
}

const NAMES: [&str; 20] = [
    "wsp_messages_total",
    "wsp_bytes_total",
    "wsp_connections_active",
    "wsp_connections_total",
    "wsp_reconnect_attempts_total",
    "wsp_reconnects_total",
    "wsp_delivered_total",
    "wsp_filtered_total",
    "wsp_dropped_total",
    "wsp_dead_letters_total",
    "wsp_waiting",
    "wsp_queue_depth",
    "wsp_queue_utilization",
    "wsp_errors_total",
    "wsp_envelopes_total",
    "wsp_requests_total",
    "wsp_replies_total",
    "wsp_request_timeouts_total",
    "wsp_request_seconds",
    "wsp_ping_seconds",
];

#[test]
fn metrics_are_as_prometheus_wants_them() {
    let (server, port) = observed(&["--echo"]);
    run(&["connect", &server.url, "-n", "2"], "one\ntwo\n").exits(0);
    let answer = get(port, "/metrics").is(200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = answer.text();
    for name in NAMES {
        for line in ["HELP", "TYPE"] {
            assert!(text.contains(&format!("# {line} {name} ")), "{line} of {name} in {text}");
        }
    }
    assert!((sample(text, "wsp_bytes_total{direction=\"in\"}") - 6.0).abs() < 1e-9);
    assert!(sample(text, "process_resident_memory_bytes") > 1e6 || cfg!(not(target_os = "linux")));
    assert!(sample(text, "process_open_fds") > 3.0);
    if crate::support::require("promtool") {
        let output = promtool().args(["check", "metrics"]).input(text);
        assert_eq!((output.code, output.stdout(), &*output.stderr), (0, "", ""), "promtool has nothing to say");
    }
}

#[test]
fn metrics_and_the_last_line_agree_to_the_message() {
    let (mut server, port) = observed(&["--queue-size", "10", "--on-full", "drop-newest", "--path", "/ws"]);
    let mut clients: Vec<Socket> = (0..3).map(|_| RawClient::open(server.port, "/ws", "").0).collect();
    for client in &mut clients {
        client.say(Frame::text("hello"));
        client.say(Frame::new(Opcode::Binary, [1, 2, 3]));
    }
    wait_for(port, "/metrics", |answer| answer.text().contains("wsp_messages_total{direction=\"in\"} 6\n"));
    get(server.port, "/elsewhere").is(404);
    drop(RawClient::dial(server.port));
    // A burst that no queue of ten holds, though all are read.
    server.process.send("line\n".repeat(5000));
    server.process.send("the end\n");
    for mut client in clients {
        // Newer lines are dropped, so there is no last one to wait for: what is to come has come once nothing waits.
        wait_for(port, "/metrics", |answer| {
            let (text, is) = (answer.text(), |name: &str| sample(answer.text(), name));
            let settled = is("wsp_messages_total{direction=\"out\"}") + is("wsp_dropped_total{reason=\"queue-full\"}");
            text.contains("wsp_waiting 0\n") && (settled - 15003.0).abs() < 1e-9
        });
        client.say(Frame::close(1000, ""));
        client.read_close();
    }
    let closed = |answer: &crate::support::http::Answer| answer.text().contains("wsp_connections_active 0\n");
    let answer = wait_for(port, "/metrics", closed);
    let is = |name: &str| sample(answer.text(), name);
    let reasons = ["queue-full", "receiver-gone"].map(|reason| {
        let count = is(&format!("wsp_dropped_total{{reason=\"{reason}\"}}"));
        (reason, count)
    });
    let dropped: f64 = reasons.iter().map(|(_, count)| count).sum();
    let shown: Vec<_> =
        reasons.iter().filter(|(_, count)| *count > 0.0).map(|(reason, count)| format!("{reason} {count}")).collect();
    let shown = if shown.is_empty() { String::new() } else { format!(" ({})", shown.join(", ")) };
    let refused = is("wsp_errors_total{kind=\"refused\"}") + is("wsp_errors_total{kind=\"handshake\"}");
    let expected = format!(
        "connections {}, refused {refused}, received {}, sent {}, dropped {dropped}{shown}",
        is("wsp_connections_total"),
        is("wsp_messages_total{direction=\"in\"}"),
        is("wsp_messages_total{direction=\"out\"}"),
    );
    let output = server.stop().exits(0);
    assert_eq!(output.stderr.lines().last(), Some(&*expected));
}

#[test]
fn health_is_told_as_it_is() {
    let (server, port) = observed(&["--echo", "--require-clients"]);
    let client = RawClient::connect(server.port);
    let answer = wait_for(port, "/health", |answer| answer.json()["details"]["connections"]["active"] == 1).is(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let health = answer.json();
    assert_eq!(
        health,
        json!({
            "healthy": true,
            "status": "ok",
            "details": {
                "mode": "listen",
                "connections": { "active": 1, "total": 1 },
                "queue": { "depth": 0, "utilization": 0.0 },
                "throughput": { "messages_per_second": health["details"]["throughput"]["messages_per_second"] },
            },
        })
    );
    drop(client);
    run(&["connect", &server.url, "-n", "100"], "x\n".repeat(100)).exits(0);
    // A rate is told once there is a second to tell of.
    let rate = |value: &Value| value["details"]["throughput"]["messages_per_second"].as_f64();
    let health = wait_for(port, "/health", |answer| rate(&answer.json()).is_some()).json();
    assert!(rate(&health).is_some_and(|rate| (200.0 / 30.0..=200.0).contains(&rate)), "{health}");
}

#[test]
fn sessions_are_listed_with_their_round_trips() {
    let (server, port) = observed(&["--sink", "--ping-interval", "50ms"]);
    let client = wsp(["connect", &format!("{}room?x=1", server.url), "-w", "-1", "-x", "hello"]).spawn();
    let answer = wait_for(port, "/sessions", |answer| answer.json()[0]["round_trip_ms"].is_number()).is(200);
    let sessions = answer.json();
    assert_eq!(sessions.as_array().map(Vec::len), Some(1), "{sessions}");
    let session = &sessions[0];
    assert!(session["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{session}");
    assert!(session["since"].as_str().is_some_and(|since| since.len() == 27 && since.ends_with('Z')), "{session}");
    let expected = json!({
        "id": "s1",
        "peer": session["peer"],
        "state": "open",
        "target": "/room?x=1",
        "since": session["since"],
        "received": { "messages": 1, "bytes": 5 },
        "sent": { "messages": 0, "bytes": 0 },
        "queue": { "depth": 0, "bytes": 0, "capacity": 1000 },
        "dropped": 0,
        "round_trip_ms": session["round_trip_ms"],
    });
    assert_eq!(session, &expected);
    let metrics = get(port, "/metrics");
    assert!(sample(metrics.text(), "wsp_ping_seconds_count") >= 1.0);
    assert!(sample(metrics.text(), "wsp_ping_seconds_sum") > 0.0);
    drop(client);
    wait_for(port, "/sessions", |answer| answer.json() == json!([]));
}

#[test]
fn a_session_that_does_not_read_is_throttled() {
    let (server, port) = observed(&["--echo"]);
    let mut deaf = RawClient::connect(server.port);
    let large = Frame::new(Opcode::Binary, vec![7; 1 << 20]).masked().bytes();
    // More than all buffers on the way hold: from somewhere on, the server no longer reads either.
    let writer = std::thread::spawn(move || {
        for _ in 0..64 {
            if !deaf.try_write(&large) {
                break;
            }
        }
        deaf
    });
    wait_for(port, "/sessions", |answer| answer.json()[0]["state"] == "throttled");
    ask(port, "DELETE", "/sessions/s1", "", b"").is(200);
    wait_for(port, "/sessions", |answer| answer.json() == json!([]));
    writer.join().expect("the writer");
}

#[test]
fn messages_are_sent_to_one_and_to_all() {
    let (server, port) = observed(&["--sink", "--max-message-size", "1KiB"]);
    let mut clients: Vec<Socket> = (0..2)
        .map(|number| {
            let client = RawClient::connect(server.port);
            wait_for(port, "/sessions", |answer| answer.json().as_array().map(Vec::len) == Some(number + 1));
            client
        })
        .collect();
    let done = |sent: u64| json!({ "sent": sent, "dropped": 0, "displaced": 0 });
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let answer = ask(port, "POST", "/sessions/s2/messages", form, "für zwei".as_bytes()).is(200);
    assert_eq!(answer.json(), done(1));
    let binary = "Content-Type: application/octet-stream\r\n";
    assert_eq!(ask(port, "POST", "/broadcast", binary, b"\xff\x00").is(200).json(), done(2));
    assert_eq!(ask(port, "POST", "/broadcast", "Content-Length: 0\r\n", b"").is(200).json(), done(2));
    assert_eq!(clients[1].read_text(), "für zwei");
    for client in &mut clients {
        assert_eq!(client.read_data(), Frame::new(Opcode::Binary, *b"\xff\x00"));
        assert_eq!(client.read_text(), "");
    }
    ask(port, "POST", "/broadcast", "", b"\xff").is(400);
    ask(port, "POST", "/broadcast", "", &vec![b'x'; 1024]).is(200);
    ask(port, "POST", "/broadcast", "", &vec![b'x'; 1025]).is(413);
    for unknown in ["s3", "s0", "1", "s01", "%73%33", "s1%2e"] {
        ask(port, "POST", &format!("/sessions/{unknown}/messages"), "", b"x").is(404);
        ask(port, "DELETE", &format!("/sessions/{unknown}"), "", b"").is(404);
    }
    let output = server.stop().exits(0);
    assert!(output.stderr.contains("sent 7, dropped 0"), "{}", output.stderr);
}

#[test]
fn a_message_that_has_no_room_is_told_to_whoever_sent_it() {
    for (policy, dropped, displaced) in [("drop-newest", 1, 0), ("drop-oldest", 0, 1)] {
        let (server, port) = observed(&["--sink", "--queue-size", "1", "--on-full", policy]);
        let mut deaf = RawClient::connect(server.port);
        let large = vec![b'x'; 1 << 20];
        let mut last = json!(null);
        for _ in 0..100 {
            last = ask(port, "POST", "/broadcast", "", &large).is(200).json();
            if last["dropped"] != 0 || last["displaced"] != 0 {
                break;
            }
        }
        assert_eq!(last, json!({ "sent": 1 - dropped, "dropped": dropped, "displaced": displaced }));
        ask(port, "DELETE", "/sessions/s1", "", b"").is(200);
        deaf.read_rest();
        let metrics = wait_for(port, "/metrics", |answer| answer.text().contains("wsp_connections_active 0\n"));
        assert!(sample(metrics.text(), "wsp_dropped_total{reason=\"queue-full\"}") >= 1.0);
    }
}

#[test]
fn a_session_is_closed_with_code_and_reason() {
    let (server, port) = observed(&["--sink"]);
    for (query, code, reason) in [("", 1000, ""), ("?code=4321&reason=go%20away", 4321, "go away")] {
        let mut client = RawClient::connect(server.port);
        let listed = wait_for(port, "/sessions", |answer| answer.json()[0]["id"].is_string());
        let id = listed.json()[0]["id"].as_str().expect("an id").to_owned();
        for bad in ["?code=1001", "?code=5000", "?code=x", "?reason=", "?code=1000&more=1"] {
            let bad = if bad == "?reason=" { format!("?reason={}", "x".repeat(124)) } else { bad.to_owned() };
            ask(port, "DELETE", &format!("/sessions/{id}{bad}"), "", b"").is(400);
        }
        let answer = ask(port, "DELETE", &format!("/sessions/{id}{query}"), "", b"").is(200);
        assert_eq!(answer.json(), json!({ "id": id, "code": code }));
        let close = client.read_close();
        assert_eq!((close.close_code(), &close.payload[2..]), (code, reason.as_bytes()));
        drop(client);
        wait_for(port, "/sessions", |answer| answer.json() == json!([]));
    }
}

#[test]
fn paths_and_methods_that_are_none_are_told() {
    let (_server, port) = observed(&["--sink"]);
    for path in ["/nothing", "/metrics/", "/sessions/", "//health", "/Health", "/sessions/s1/x"] {
        get(port, path).is(404);
    }
    let table = [
        ("POST", "/metrics", "GET, HEAD"),
        ("DELETE", "/health", "GET, HEAD"),
        ("PUT", "/sessions", "GET, HEAD"),
        ("GET", "/broadcast", "POST"),
        ("GET", "/sessions/s1", "DELETE"),
        ("GET", "/sessions/s1/messages", "POST"),
        ("OPTIONS", "/events", "GET, HEAD"),
        ("BREW", "/", "GET, HEAD"),
    ];
    for (method, path, allow) in table {
        let answer = ask(port, method, path, "", b"").is(405);
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
    for path in ["/", "/metrics", "/health", "/sessions", "/events"] {
        let answer = ask(port, "HEAD", path, "", b"").is(200);
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
    }
    assert!(get(port, "/").is(200).text().contains("/metrics"));
}

#[test]
fn pages_of_elsewhere_and_other_names_are_kept_out() {
    let (server, port) = observed(&["--sink"]);
    let mut client = RawClient::connect(server.port);
    let host = format!("Host: 127.0.0.1:{port}\r\n");
    let own = format!("{host}Origin: http://127.0.0.1:{port}\r\n");
    wait_for(port, "/sessions", |answer| answer.json()[0]["id"] == "s1");
    for foreign in ["http://evil.example", "null", "http://127.0.0.1:1"] {
        let more = format!("{host}Origin: {foreign}\r\n");
        ask(port, "POST", "/broadcast", &more, b"bad").is(403);
        ask(port, "POST", "/sessions/s1/messages", &more, b"bad").is(403);
        ask(port, "DELETE", "/sessions/s1", &more, b"").is(403);
    }
    for name in ["evil.example", "localhost.evil.example", "", "[::1"] {
        ask(port, "GET", "/sessions", &format!("Host: {name}\r\n"), b"").is(403);
    }
    for name in ["localhost", "[::1]:9", "127.0.0.1"] {
        ask(port, "GET", "/sessions", &format!("Host: {name}\r\n"), b"").is(200);
    }
    ask(port, "POST", "/broadcast", &own, b"good").is(200);
    assert_eq!(client.read_text(), "good", "nothing came before it");
}

#[test]
fn a_token_is_asked_for_and_never_shown() {
    let server = wsp(["listen", "127.0.0.1:0", "--sink", "-v", "--admin", "0", "--admin-token-env", "ADMIN_TOKEN"])
        .env("ADMIN_TOKEN", "s3cret")
        .spawn();
    let line = server.wait_for_stderr("admin on http://127.0.0.1:");
    let port = line.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    for path in ["/metrics", "/health", "/sessions", "/events", "/", "/nothing"] {
        for more in ["", "Authorization: Bearer s3cre\r\n", "Authorization: Basic czNjcmV0\r\n"] {
            let answer = ask(port, "GET", path, more, b"").is(401);
            assert!(answer.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
            assert!(!answer.text().contains("s3cret"));
        }
    }
    ask(port, "GET", "/metrics", "Authorization: Bearer s3cret\r\n", b"").is(200);
    ask(port, "POST", "/broadcast", "Authorization: Bearer s3cret\r\n", b"x").is(200);
    ask(port, "POST", "/broadcast", "", b"x").is(401);
    server.signal(nix::sys::signal::Signal::SIGTERM);
    let output = server.outcome().exits(0);
    assert!(!output.stderr.contains("s3cret"), "{}", output.stderr);
}

#[test]
fn an_admin_address_that_cannot_be_had_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    run(&["listen", ":0", "--admin", &address], "").exits(4).complains(&address);
    run(&["listen", ":0", "--admin", "nonsense"], "").exits(2).complains("--admin nonsense");
    run(&["listen", ":0", "--admin", "0", "--admin-token-env", "NO_SUCH"], "").exits(2).complains("NO_SUCH");
    run(&["listen", ":0", "--require-clients"], "").exits(2).complains("--admin");
    let empty = wsp(["listen", ":0", "--admin", "0", "--admin-token-env", "EMPTY"]).env("EMPTY", "").input("");
    empty.exits(2).complains("EMPTY");
}

#[test]
fn an_open_address_is_warned_of_and_a_unix_socket_is_possible() {
    let server = listen(&["--sink", "--admin", "0.0.0.0:0"]);
    server.process.wait_for_stderr("--admin-token-env");
    let port = admin_port(&server);
    // Under any name: there it may have one.
    ask(port, "GET", "/health", "Host: monitor.example\r\n", b"").is(200);
    server.stop().exits(0);

    let files = scratch();
    let path = text(&files.path().join("admin"));
    let server = listen(&["--sink", "--admin", &format!("unix:{path}")]);
    server.process.wait_for_stderr(&format!("admin on unix:{path}"));
    let output = Run::new("curl").args(["-sf", "--unix-socket", &path, "http://any.name/health"]).input("").exits(0);
    assert!(output.stdout().contains("\"healthy\":true"), "{}", output.stdout());
    server.stop().exits(0);
    assert!(!std::path::Path::new(&path).exists(), "the socket's file is gone");
}

#[test]
fn a_live_view_shows_what_happens_and_ends_in_order() {
    let (server, port) = observed(&["--echo", "--path", "/ws"]);
    let mut events = Events::open(port);
    let (name, first) = events.next().expect("a snapshot");
    assert_eq!((&*name, &first["details"]["mode"], &first["sessions"]), ("snapshot", &json!("listen"), &json!([])));
    get(server.port, "/elsewhere").is(404);
    let error = events.wait_for(|name, data| name.is_empty() && data["type"] == "error");
    assert!(error["error"].as_str().is_some_and(|text| text.contains("refused with 404")), "{error}");
    let (mut client, _) = RawClient::open(server.port, "/ws", "");
    let open = events.wait_for(|_, data| data["type"] == "open");
    assert_eq!(open["session"], "s1");
    client.say(Frame::text("hello"));
    assert_eq!(client.read_text(), "hello");
    client.say(Frame::new(Opcode::Binary, [0xca, 0xfe]));
    for (dir, kind, field, payload) in [
        ("in", "text", "text", "hello"),
        ("out", "text", "text", "hello"),
        ("in", "binary", "base64", "yv4="),
        ("out", "binary", "base64", "yv4="),
    ] {
        let event = events.wait_for(|name, _| name.is_empty());
        assert_eq!((&event["dir"], &event["type"], &event[field]), (&json!(dir), &json!(kind), &json!(payload)));
    }
    let snapshot = events.wait_for(|name, data| name == "snapshot" && data["received"]["messages"] == 2);
    assert_eq!(snapshot["sessions"][0]["received"]["bytes"], 7);
    assert_eq!(snapshot["errors"], json!({ "refused": 1 }));
    client.say(Frame::close(1000, ""));
    events.wait_for(|_, data| data["type"] == "close");
    server.process.signal(nix::sys::signal::Signal::SIGTERM);
    let mut last = String::new();
    while let Some((name, _)) = events.next() {
        last = name;
    }
    assert_eq!(last, "snapshot", "the last word is how it ended");
    server.process.outcome().exits(0);
}

#[test]
fn a_flood_is_seen_in_part_and_what_is_missing_is_told() {
    let (server, port) = observed(&["--sink"]);
    let mut events = Events::open(port);
    let mut client = RawClient::connect(server.port);
    client.write(Frame::text("x").masked().bytes().repeat(50_000));
    let (mut seen, mut missed) = (0, 0);
    while seen + missed < 50_000 {
        let (name, data) = events.next().expect("more");
        match &*name {
            "" if data["type"] == "text" => seen += 1,
            "dropped" => missed += data["dropped"].as_u64().expect("a count"),
            _ => {}
        }
    }
    assert_eq!(seen + missed, 50_000);
    assert!(seen >= 500 && missed > 0, "{seen} seen, {missed} missed");
    let metrics = get(port, "/metrics");
    assert!((sample(metrics.text(), "wsp_messages_total{direction=\"in\"}") - 50_000.0).abs() < 1e-9);
    assert!(metrics.text().contains("wsp_dropped_total{reason=\"queue-full\"} 0\n"), "no message was dropped");
}

#[test]
fn live_views_are_bounded_and_one_that_is_not_read_costs_nobody() {
    let (server, port) = observed(&["--echo"]);
    let views: Vec<Events> = (0..16).map(|_| Events::open(port)).collect();
    get(port, "/events").is(503);
    let mut client = RawClient::connect(server.port);
    for number in 0..2000 {
        client.say(Frame::text(&format!("{number} {}", "x".repeat(1000))));
        assert!(client.read_text().starts_with(&number.to_string()));
    }
    drop(views);
    let deadline = std::time::Instant::now() + DEADLINE;
    while !RawClient::ask(port, "GET /events HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 ") {
        assert!(std::time::Instant::now() < deadline, "no view was ever free again");
    }
}

#[test]
fn keep_alive_and_requests_sent_together_are_served() {
    let (_server, port) = observed(&["--sink"]);
    let mut socket = RawClient::dial(port);
    let together: Vec<u8> = (0..100).flat_map(|_| request("GET", "/health", "", b"")).collect();
    socket.write(together);
    for _ in 0..100 {
        let head = socket.read_head();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let length = header(&head, "content-length").and_then(|length| length.parse().ok()).expect("a length");
        assert_eq!(socket.read_exactly(length).len(), length);
    }
}

/// Waits until a figure no longer changes while the admin address answers.
pub fn until_it_stands_still<T: PartialEq>(port: u16, figure: impl Fn() -> T) -> T {
    let mut before = figure();
    loop {
        (0..40).for_each(|_| drop(get(port, "/sessions")));
        let now = figure();
        if now == before {
            return now;
        }
        before = now;
    }
}

#[test]
fn while_reading_is_paused_tcp_holds_the_peer_back() {
    let (server, port) = observed(&["--sink"]);
    let client = RawClient::connect(server.port);
    let session = |answer: &crate::support::http::Answer| answer.json()[0].clone();
    let received = || session(&get(port, "/sessions"))["received"]["messages"].as_u64().expect("a number");
    assert_eq!(ask(port, "POST", "/sessions/s1/pause", "", b"").is(200).json(), json!({"id": "s1", "paused": true}));
    assert_eq!(session(&get(port, "/sessions"))["state"], "paused");
    let taken = client.pour(Frame::text(&"x".repeat(64 * 1024)).masked().bytes());
    let taken = || taken.load(std::sync::atomic::Ordering::Relaxed);
    wait_for(port, "/sessions", |_| taken() > 0);
    let held = until_it_stands_still(port, taken);
    assert_eq!((received(), held < 32 << 20), (0, true), "{held} bytes lie in the sockets, nothing was read");
    ask(port, "POST", "/sessions/s1/resume", "", b"").is(200);
    wait_for(port, "/sessions", |answer| session(answer)["state"] == "open" && taken() > 2 * held);
    // A limit holds from now on, and is told.
    let limited = ask(port, "POST", "/sessions/s1/limit?rate=20", "", b"").is(200);
    assert_eq!(limited.json(), json!({"id": "s1", "rate": 20.0}));
    let (before, begun) = (received(), std::time::Instant::now());
    wait_for(port, "/sessions", |answer| {
        let session = session(answer);
        let count = session["received"]["messages"].as_u64().expect("a number") - before;
        let allowed = 20.0 * begun.elapsed().as_secs_f64() + 3.0;
        assert!(count as f64 <= allowed, "{count} messages, {allowed} allowed");
        assert_eq!(session["rate_limit"], 20.0);
        count >= 10
    });
    ask(port, "POST", "/sessions/s1/limit?rate=0", "", b"").is(200);
    assert_eq!(session(&get(port, "/sessions"))["rate_limit"], Value::Null);
    let before = received();
    wait_for(port, "/sessions", |answer| {
        session(answer)["received"]["messages"].as_u64().expect("a number") > before + 100
    });
    // Paused again it can still be closed: the answer to the Close lies behind what was not read.
    ask(port, "POST", "/sessions/s1/pause", "", b"").is(200);
    ask(port, "DELETE", "/sessions/s1", "", b"").is(200);
    wait_for(port, "/sessions", |answer| answer.json() == json!([]));
    for (path, status) in [
        ("/sessions/s9/pause", 404),
        ("/sessions/s9/limit?rate=1", 404),
        ("/sessions/s1/limit?rate=-1", 400),
        ("/sessions/s1/limit", 400),
    ] {
        ask(port, "POST", path, "", b"").is(status);
    }
    ask(port, "GET", "/sessions/s1/pause", "", b"").is(405);
}

#[test]
fn what_compression_saves_is_told_by_message_and_session() {
    let (server, port) = observed(&["--echo", "--compress"]);
    let mut events = Events::open(port);
    events.wait_for(|name, _| name == "snapshot");
    let text = "all the same ".repeat(100);
    let mut client = wsp(["connect", &server.url, "-w", "-1"]).spawn();
    client.send(format!("{text}\nshort\n"));
    client.wait_for_stdout("short");
    let mut told = Vec::new();
    while told.len() < 4 {
        told.push(events.wait_for(|_, event| event["type"] == "text"));
    }
    let long: Vec<&Value> = told.iter().filter(|event| event["size"] == text.len()).collect();
    assert_eq!(long.len(), 2);
    assert!(long.iter().all(|event| event["wire_size"].as_u64().is_some_and(|wire| wire < 100)), "{told:?}");
    let session = get(port, "/sessions").json()[0].clone();
    for dir in ["received", "sent"] {
        let (wire, payload) = (session["wire"][dir].as_u64(), session[dir]["bytes"].as_u64());
        assert!(wire.is_some_and(|wire| wire > 5 && wire < 120) && payload == Some(1305), "{session}");
    }
    client.end_input();
    server.stop();
    // Without compression nothing is said of it.
    let (server, port) = observed(&["--echo"]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text(&text));
    client.read_text();
    assert_eq!(get(port, "/sessions").json()[0]["wire"], Value::Null);
}
