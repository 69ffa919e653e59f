//! `wsp relay --admin` and `--record`: what is seen of a relay while it runs, what can be done to it, what is kept.
//!
//! Leaves who may ask to `admin`, whose rules are the same.

use serde_json::{Value, json};

use super::admin::{promtool, until_it_stands_still};
use crate::support::files::{read, wsp_on_small_disk};
use crate::support::http::{Answer, Events, admin_port, ask, get, sample, wait_for};
use crate::support::process::Process;
use crate::support::{
    FakeServer, Frame, RawClient, Server, closed_port, events, events_of, listen, require, run, scratch, text, write,
    wsp,
};

/// A relay with an admin address, and that one's port.
#[track_caller]
fn observed(arguments: &[&str]) -> (Process, u16) {
    let relay = wsp([&["relay", "--admin", "0"], arguments].concat()).spawn();
    let port = port_of(&relay);
    (relay, port)
}

#[track_caller]
pub fn port_of(relay: &Process) -> u16 {
    let line = relay.wait_for_stderr("admin on http://");
    line.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or_else(|| panic!("no port in {line}"))
}

fn numbers(count: usize) -> String {
    (1..=count).map(|number| format!("{number}\n")).collect()
}

/// All samples of a name, whatever their labels.
fn sum(metrics: &str, name: &str) -> f64 {
    let of_name = metrics.lines().filter(|line| line.starts_with(name) && line[name.len()..].starts_with([' ', '{']));
    of_name.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

/// What was received and what became of it, as `/metrics` says at one instant.
fn balance(metrics: &str) -> (f64, f64) {
    let outcomes = ["wsp_delivered_total", "wsp_filtered_total", "wsp_dropped_total", "wsp_dead_letters_total"];
    let settled: f64 = outcomes.iter().map(|name| sum(metrics, name)).sum();
    (sample(metrics, "wsp_messages_total{direction=\"in\"}"), settled + sample(metrics, "wsp_waiting"))
}

#[test]
fn metrics_balance_at_every_instant_and_please_prometheus() {
    let directory = scratch();
    let dead = text(&directory.path().join("dead"));
    // A destination that reads nothing until it is told to.
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let server = FakeServer::once(move |request| {
        let mut socket = request.accept();
        may_go.recv().expect("a word from the test");
        socket.read_rest();
    });
    let slow = server.url.clone();
    let route = format!(". % 7 == 0 => {slow}");
    let arguments = ["-", "null:", "--jq", "if . % 3 == 0 then empty else . end", "--non-json", "error"];
    let (mut relay, port) = observed(&[&arguments[..], &["--dead-letter", &dead, "--route", &route]].concat());
    relay.send(numbers(3000));
    relay.send("not json\n");
    let is_in = |answer: &Answer| answer.text().contains("wsp_messages_total{direction=\"in\"} 3001\n");
    let answer = wait_for(port, "/metrics", |answer| {
        let (received, outcomes) = balance(answer.text());
        assert!((received - outcomes).abs() < 1e-9, "{received} received, {outcomes} accounted for");
        // The connection may come about later than all that.
        let is_open = answer.text().contains("wsp_connections_active 1\n");
        is_in(answer) && is_open && sum(answer.text(), "wsp_dead_letters_total") > 0.5
    });
    let metrics = answer.text();
    assert!((sample(metrics, "wsp_filtered_total") - 1000.0).abs() < 1e-9);
    assert!((sample(metrics, "wsp_dead_letters_total{reason=\"invalid\"}") - 1.0).abs() < 1e-9);
    for queue in ["null:", &slow, &format!("dead letters: {dead}")] {
        sample(metrics, &format!("wsp_queue_depth{{queue=\"{queue}\"}}"));
        sample(metrics, &format!("wsp_queue_utilization{{queue=\"{queue}\"}}"));
    }
    assert!((sample(metrics, "wsp_connections_active") - 1.0).abs() < 1e-9);
    if require("promtool") {
        let output = promtool().args(["check", "metrics"]).input(metrics);
        assert_eq!((output.code, output.stdout(), &*output.stderr), (0, "", ""), "promtool has nothing to say");
    }
    go.send(()).expect("a server");
    let output = relay.finish().exits(30);
    let last = output.stderr.lines().last().unwrap_or_default();
    assert_eq!(
        last,
        "received 3001 = delivered 2000 + filtered 1000 + dropped 0 + dead-lettered 1 (invalid 1) + waiting 0"
    );
    server.join();
}

/// Clients of all kinds come to a server on its path `/ws`; what it has counted of them once it has seen all.
fn counted_of_clients(server: Server) -> (String, Value) {
    const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                           Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let admin = admin_port(&server);
    let good = ["one", "two"].map(|_| RawClient::open(server.port, "/ws", "Authorization: Bearer secret\r\n").0);
    let [mut one, two] = good;
    ask(server.port, "GET", "/ws", UPGRADE, b"").is(401);
    ask(server.port, "GET", "/nowhere", UPGRADE, b"").is(404);
    RawClient::dial(server.port).write("hello\r\n\r\n");
    one.read_text();
    one.say(Frame::text("not a message of the gateway"));
    one.read_text();
    two.hang_up();
    let kinds = ["refused", "unauthorized", "handshake", "message", "lost"];
    let is_done = |answer: &Answer| {
        let seen = |kind| sample(answer.text(), &format!("wsp_errors_total{{kind=\"{kind}\"}}")) > 0.5;
        kinds.into_iter().all(seen) && answer.text().contains("wsp_connections_active 1\n")
    };
    let answer = wait_for(admin, "/metrics", is_done);
    let of_clients = |line: &&str| line.starts_with("wsp_errors_total") || line.starts_with("wsp_connections");
    let counted: Vec<_> = answer.text().lines().filter(of_clients).collect();
    let health = get(admin, "/health").json()["details"]["connections"].clone();
    one.hang_up();
    server.stop();
    (counted.join("\n"), health)
}

#[test]
fn clients_of_a_server_end_are_counted_as_those_of_a_server_of_its_own() {
    let more = ["--protocol", "gateway", "--auth-bearer-env", "TOKEN", "--admin", "0"];
    let own = wsp(["listen", "0", "--path", "/ws"]).args(more).env("TOKEN", "secret");
    let end = wsp(["relay", "ws-listen://127.0.0.1:0/ws", "null:"]).args(more).env("TOKEN", "secret");
    let (own, end) = (counted_of_clients(Server::ready(own)), counted_of_clients(Server::ready(end)));
    assert_eq!(own, end);
    assert_eq!(end.1, json!({"active": 1, "total": 2}));
}

#[test]
fn a_message_that_does_not_fit_the_schema_is_an_error_in_the_metrics_too() {
    let directory = scratch();
    let schema = text(&write(&directory, "schema.json", r#"{"type":"object"}"#));
    let server =
        Server::ready(wsp(["relay", "ws-listen://127.0.0.1:0/", "null:", "--schema", &schema, "--admin", "0"]));
    let port = admin_port(&server);
    RawClient::connect(server.port).say(Frame::text("17"));
    wait_for(port, "/metrics", |answer| answer.text().contains("wsp_errors_total{kind=\"invalid\"} 1\n"));
    server.stop();
}

#[test]
fn each_end_is_listed_and_a_source_without_room_is_throttled() {
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let server = FakeServer::once(move |request| {
        let mut socket = request.accept();
        may_go.recv().expect("a word from the test");
        socket.read_rest();
    });
    let (mut relay, port) = observed(&["-", &server.url, "--queue-size", "10"]);
    let sessions = wait_for(port, "/sessions", |answer| answer.json()[1]["state"] == "open").json();
    assert_eq!((&sessions[0]["id"], &sessions[0]["peer"]), (&json!("s1"), &json!("-")));
    assert_eq!((&sessions[1]["peer"], &sessions[1]["queue"]["capacity"]), (&json!(server.url), &json!(10)));
    // More than all buffers on the way hold.
    let mut input = relay.take_input();
    let feeder = std::thread::spawn(move || {
        use std::io::Write as _;
        let line = format!("{}\n", "x".repeat(100_000));
        (0..500).for_each(|_| input.write_all(line.as_bytes()).expect("a relay that reads"));
    });
    let sessions = wait_for(port, "/sessions", |answer| answer.json()[0]["state"] == "throttled").json();
    assert!(sessions[1]["queue"]["depth"].as_u64().is_some_and(|depth| depth >= 9), "{sessions}");
    assert_eq!(get(port, "/health").json()["details"]["mode"], "relay");
    go.send(()).expect("a server");
    feeder.join().expect("the feeder");
    relay.outcome().exits(0);
    server.join();
}

#[test]
fn a_destination_that_is_tried_again_is_seen_to_be() {
    let url = format!("ws://127.0.0.1:{}/", closed_port());
    let (relay, port) = observed(&["-", &url, "--reconnect", "--retry-delay", "30s"]);
    let mut view = Events::open(port);
    wait_for(port, "/sessions", |answer| answer.json()[1]["state"] == "retrying");
    let snapshot = view.wait_for(|name, data| name == "snapshot" && data["errors"]["handshake"] == 1);
    assert_eq!((&snapshot["queues"][0]["name"], &snapshot["queues"][0]["capacity"]), (&json!(url), &json!(10_000)));
    relay.signal(nix::sys::signal::Signal::SIGTERM);
    relay.outcome().exits(0);
}

#[test]
fn a_queue_on_disk_tells_its_size_and_the_age_of_what_waits() {
    let directory = scratch();
    let spool = text(&directory.path().join("spool"));
    let url = format!("ws://127.0.0.1:{}/", closed_port());
    let arguments = ["-", &url, "--reconnect", "--retry-delay", "30s", "--spool", &spool, "--grace", "100ms"];
    let (mut relay, port) = observed(&arguments);
    relay.send(numbers(20));
    let mut view = Events::open(port);
    let wanted = |queue: &Value| {
        queue["depth"] == 20
            && queue["high_water"] == 20
            && queue["spool_bytes"].as_u64().is_some_and(|bytes| bytes > 0)
            && queue["oldest_ms"].as_f64().is_some_and(|age| age > 0.0)
    };
    view.wait_for(|name, data| name == "snapshot" && wanted(&data["queues"][0]));
    assert!((sample(get(port, "/metrics").text(), "wsp_waiting") - 20.0).abs() < 1e-9);
    relay.signal(nix::sys::signal::Signal::SIGTERM);
    relay.outcome().exits(30);
}

#[test]
fn messages_from_outside_reach_destinations_and_have_their_outcome() {
    let server = listen(&["--format", "raw"]);
    let (mut relay, port) = observed(&["-", &server.url, "-"]);
    wait_for(port, "/sessions", |answer| answer.json()[1]["state"] == "open");
    ask(port, "POST", "/sessions/s2/messages", "", b"to one").is(200);
    let done = ask(port, "POST", "/broadcast", "", b"to all").is(200).json();
    assert_eq!(done, json!({ "sent": 2, "dropped": 0, "displaced": 0 }));
    ask(port, "POST", "/sessions/s1/messages", "", b"no").is(409);
    ask(port, "POST", "/sessions/s9/messages", "", b"no").is(404);
    ask(port, "DELETE", "/sessions/s3", "", b"").is(409);
    ask(port, "DELETE", "/sessions/s9", "", b"").is(404);
    ask(port, "DELETE", "/sessions/s2?code=1006", "", b"").is(400);
    relay.send("from the source\n");
    relay.wait_for_stdout("from the source");
    let output = relay.finish().exits(0);
    assert_eq!(output.stdout(), "to all\nfrom the source\n");
    assert!(
        output.stderr.ends_with("received 3 = delivered 3 + filtered 0 + dropped 0 + dead-lettered 0 + waiting 0\n")
    );
    assert_eq!(server.stop().stdout(), "to one\nto all\nfrom the source\n");
}

#[test]
fn a_connection_closed_from_outside_is_opened_again_where_that_is_wanted() {
    let server = listen(&["--push", "100"]);
    let (relay, port) = observed(&[&server.url, "null:", "--reconnect", "--retry-delay", "10ms"]);
    let mut view = Events::open(port);
    wait_for(port, "/sessions", |answer| answer.json()[0]["received"]["messages"].as_u64() > Some(0));
    ask(port, "DELETE", "/sessions/s1?code=4001&reason=enough", "", b"").is(200);
    view.wait_for(|_, data| data["type"] == "close" && data["dir"] == "out" && data["code"] == 4001);
    view.wait_for(|_, data| data["type"] == "retry");
    view.wait_for(|_, data| data["type"] == "open" && data["session"] == "s1");
    view.wait_for(|_, data| data["type"] == "text" && data["dir"] == "in");
    assert!((sample(get(port, "/metrics").text(), "wsp_reconnects_total") - 1.0).abs() < 1e-9);
    relay.signal(nix::sys::signal::Signal::SIGTERM);
    relay.outcome().exits(0);
}

#[test]
fn a_recording_holds_both_ways_of_a_client_and_what_others_give() {
    let directory = scratch();
    let record = text(&directory.path().join("r.jsonl"));
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        assert_eq!(socket.read_text(), "one");
        socket.say(Frame::text("reply"));
        assert_eq!(socket.read_text(), "two");
        socket.say(Frame::close(1000, "done"));
        socket.answer_close();
    });
    let mut relay = wsp(["relay", "-", &server.url, "--record", &record]).spawn();
    relay.send("one\ntwo\n");
    relay.finish().exits(0);
    server.join();
    let all = events(&read(record.as_ref()));
    let said = |dir: &str| -> Vec<_> {
        events_of(&all, "text", dir).iter().map(|event| format!("{} {}", event["session"], event["text"])).collect()
    };
    assert_eq!(said("out"), ["\"s2\" \"one\"", "\"s2\" \"two\""]);
    let mut received = said("in");
    received.sort();
    assert_eq!(received, ["\"s1\" \"one\"", "\"s1\" \"two\"", "\"s2\" \"reply\""]);
    assert!(all.iter().any(|event| event["type"] == "open" && event["url"] == server_url(&all)), "{all:?}");
    assert!(all.iter().any(|event| event["type"] == "close" && event["clean"] == true), "{all:?}");
}

fn server_url(all: &[Value]) -> Value {
    all.iter().find(|event| event["type"] == "open").map_or(Value::Null, |event| event["url"].clone())
}

#[test]
fn a_recording_may_be_a_har_and_a_full_disk_ends_the_relay() {
    let directory = scratch();
    let server = listen(&["--sink"]);
    let har = text(&directory.path().join("r.har"));
    run(&["relay", "-", &server.url, "--record", &har], "one\n").exits(0);
    let har: Value = serde_json::from_str(&read(har.as_ref())).expect("a HAR is JSON");
    assert_eq!(har["log"]["entries"][0]["_webSocketMessages"][0]["data"], "one");
    if require("unshare") {
        let full = scratch();
        let record = text(&full.path().join("r.jsonl"));
        let arguments = ["relay", "-", "null:", "--record", &record];
        let output = wsp_on_small_disk(full.path(), 64, "r.jsonl", &arguments).input(numbers(20_000));
        let output = output.exits(32).complains("r.jsonl");
        assert!(output.stderr.lines().last().is_some_and(|line| line.starts_with("received ")), "{}", output.stderr);
    }
}

#[test]
fn an_admin_address_that_is_taken_keeps_a_relay_from_starting() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    run(&["relay", "-", "null:", "--admin", &address], "1\n").exits(4).complains(&address);
    run(&["relay", "-", "null:", "--require-clients"], "").exits(2).complains("--admin");
}

#[test]
fn reading_is_paused_and_limited_end_by_end() {
    let source = listen(&["--push", "200"]);
    let (relay, port) = observed(&[&source.url, "null:"]);
    let of = |answer: &Answer, id: &str| {
        let all = answer.json();
        let found = all.as_array().and_then(|all| all.iter().find(|session| session["id"] == id));
        found.cloned().unwrap_or_default()
    };
    let count = |session: &Value| session["received"]["messages"].as_u64().unwrap_or_default();
    wait_for(port, "/sessions", |answer| count(&of(answer, "s1")) > 0);
    ask(port, "POST", "/sessions/s1/pause", "", b"").is(200);
    let paused = until_it_stands_still(port, || count(&of(&get(port, "/sessions"), "s1")));
    assert_eq!(of(&get(port, "/sessions"), "s1")["state"], "paused");
    ask(port, "POST", "/sessions/s1/limit?rate=50", "", b"").is(200);
    ask(port, "POST", "/sessions/s1/resume", "", b"").is(200);
    let begun = std::time::Instant::now();
    wait_for(port, "/sessions", |answer| {
        let read = count(&of(answer, "s1")) - paused;
        assert!(read as f64 <= 50.0 * begun.elapsed().as_secs_f64() + 3.0, "{read}");
        read >= 20
    });
    // Nothing is read from what only takes.
    let answer = ask(port, "POST", "/sessions/s2/pause", "", b"").is(409);
    assert_eq!(answer.json()["error"], "this end is not read from");
    relay.signal(nix::sys::signal::Signal::SIGTERM);
    relay.outcome().exits(0);
    source.stop();
    // A server reads from its clients, each by itself.
    let (relay, port) = observed(&["ws-listen://127.0.0.1:0/", "null:"]);
    let line = relay.wait_for_stderr("listening on ws://127.0.0.1:");
    let digits = line.rsplit_once("127.0.0.1:").map(|(_, rest)| rest.trim_end_matches('/')).expect("an address");
    let mut client = RawClient::connect(digits.parse().expect("a port"));
    wait_for(port, "/sessions", |answer| of(answer, "s1.1")["state"] == "open");
    ask(port, "POST", "/sessions/s1/pause", "", b"").is(409);
    ask(port, "POST", "/sessions/s1.1/pause", "", b"").is(200);
    client.say(Frame::text("held"));
    (0..20).for_each(|_| assert_eq!(count(&of(&get(port, "/sessions"), "s1.1")), 0));
    ask(port, "POST", "/sessions/s1.1/resume", "", b"").is(200);
    wait_for(port, "/sessions", |answer| count(&of(answer, "s1.1")) == 1);
    relay.signal(nix::sys::signal::Signal::SIGTERM);
    client.read_close();
    client.frame(&Frame::close(1001, ""));
    relay.outcome().exits(0);
}
