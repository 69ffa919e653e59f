//! What two ends that speak envelope ask of each other and obey: `slow`, backpressure, subscriptions, replays.
//!
//! Delivery through kills is in `relay_kills` and `relay_protocols`.

use serde_json::{Value, json};

use crate::support::balance::Balance;
use crate::support::ends::{Fifo, Receiver as _, lines};
use crate::support::files::{read, wait_until};
use crate::support::http::{admin_port, get, sample};
use crate::support::peers::gorilla;
use crate::support::process::Process;
use crate::support::{Frame, RawClient, Server, Socket, require, scratch, text, wsp};

/// All numbers come out of the pipe, which may hold the last of them for a while, once each and in order.
#[track_caller]
fn all_are_read(fifo: &Fifo, count: u32) {
    wait_until("all are read", || (fifo.got().len() >= count as usize).then_some(()));
    assert_eq!(fifo.got(), (1..=count).collect::<Vec<_>>());
}

#[track_caller]
fn relay(arguments: &[&str]) -> Server {
    Server::ready(wsp(["relay"]).args(arguments))
}

#[track_caller]
fn parsed(socket: &mut Socket) -> Value {
    serde_json::from_str(&socket.read_text()).expect("JSON")
}

fn say(socket: &mut Socket, message: &Value) {
    socket.say(Frame::text(&message.to_string()));
}

fn ack(socket: &mut Socket, data: &Value) {
    say(socket, &json!({"type": "ack", "id": data["id"], "timestamp": 1}));
}

/// Asks for the peer's status; with the reply, everything that was due before it has come. What came before it, too.
#[track_caller]
fn status(socket: &mut Socket) -> (Value, Vec<Value>) {
    let request = json!({"type": "request", "id": "status", "timestamp": 1, "payload": {"method": "status"}});
    say(socket, &request);
    let mut before = Vec::new();
    loop {
        let message = parsed(socket);
        if message["type"] == "reply" {
            return (message["payload"]["result"].clone(), before);
        }
        before.push(message);
    }
}

/// A number that is padded to so many bytes.
fn padded(number: u32, width: usize) -> String {
    lines(number, number, width).trim_end().to_owned()
}

#[test]
fn a_filling_queue_is_told_to_its_sender() {
    let mut fifo = Fifo::new(true);
    let server = relay(&["ws-listen://127.0.0.1:0", &fifo.endpoint(), "--protocol", "envelope", "--queue-size", "10"]);
    let mut client = RawClient::connect(server.port);
    let count = 60;
    for number in 1..=count {
        let payload = padded(number, 8000);
        say(&mut client, &json!({"type": "data", "id": number, "timestamp": 1, "payload": payload}));
    }
    let mut acked = Vec::new();
    let slow = loop {
        let message = parsed(&mut client);
        match message["type"].as_str() {
            Some("slow") => break message,
            Some("ack") => acked.push(message["id"].as_u64().expect("a number")),
            _ => panic!("{message}"),
        }
    };
    let payload = &slow["payload"];
    let (depth, utilization) = (payload["queue_depth"].as_u64(), payload["utilization"].as_f64().expect("a share"));
    assert_eq!(payload["queue_capacity"], 10, "{slow}");
    assert!(depth.is_some_and(|depth| depth >= 9) && utilization > 0.8, "{slow}");
    assert!(slow["id"].is_string() && slow["timestamp"].is_u64(), "{slow}");
    // What it could not take yet is still taken, and said to be.
    fifo.hold_no_more();
    while acked.len() < count as usize {
        let message = parsed(&mut client);
        if message["type"] == "ack" {
            acked.push(message["id"].as_u64().expect("a number"));
        }
    }
    assert_eq!(acked, (1..=u64::from(count)).collect::<Vec<_>>());
    all_are_read(&fifo, count);
    drop(client);
    assert_eq!(Balance::of(&server.stop().exits(0)), Balance::all_delivered(u64::from(count)));
}

#[test]
fn whoever_is_told_slow_sends_half_as_much() {
    let mut server = relay(&["-", "ws-listen://127.0.0.1:0", "--protocol", "envelope", "--window", "10"]);
    let mut client = RawClient::connect(server.port);
    server.process.send(lines(1, 40, 0));
    let mut open: std::collections::VecDeque<Value> = (0..10).map(|_| parsed(&mut client)).collect();
    let (found, before) = status(&mut client);
    assert_eq!((&found["unacknowledged"], &found["window"], before.len()), (&json!(10), &json!(10), 0), "{found}");
    let slow = json!({"type": "slow", "id": "x", "timestamp": 1,
        "payload": {"queue_depth": 9, "queue_capacity": 10, "utilization": 0.9}});
    say(&mut client, &slow);
    // Until half of it is answered nothing more comes. With the last answer of that half it has a round behind it and
    // grows by one.
    for left in (6..10).rev() {
        ack(&mut client, &open.pop_front().expect("one that is open"));
        let (found, before) = status(&mut client);
        assert_eq!((found["unacknowledged"].as_u64(), before.len()), (Some(left), 0), "{found} {before:?}");
        assert_eq!(found["slowed"], 1);
    }
    ack(&mut client, &open.pop_front().expect("one that is open"));
    let (found, before) = status(&mut client);
    assert!(before.len() <= 1 && found["window"] == 6, "{found} {before:?}");
    assert_eq!(found["unacknowledged"], 5 + before.len(), "{found} {before:?}");
    // Then it goes on, and with every round of answers there may be more.
    let mut got = 10 + before.len();
    open.extend(before);
    while let Some(data) = open.pop_front() {
        ack(&mut client, &data);
        let (found, before) = status(&mut client);
        got += before.len();
        open.extend(before);
        assert!(open.len() <= 10 && found["window"].as_u64() <= Some(10), "{found}");
        if got == 40 && open.is_empty() {
            assert_eq!(found["window"], 10, "{found}");
        }
    }
    assert_eq!(got, 40);
    server.process.end_input();
    assert_eq!(client.answer_close(), 1001);
    assert_eq!(Balance::of(&server.process.outcome().exits(0)), Balance::all_delivered(40));
}

/// The events of a recording that is being written.
fn recorded(path: &str) -> Vec<Value> {
    let text = if std::path::Path::new(path).exists() { read(path.as_ref()) } else { String::new() };
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    whole.lines().map(|line| serde_json::from_str(line).expect("an event line")).collect()
}

/// The envelope of an event, where it is one.
fn envelope(event: &Value) -> Option<(bool, Value)> {
    let content = serde_json::from_str(event["text"].as_str()?).ok()?;
    Some((event["dir"] == "in", content))
}

#[test]
fn a_relay_heeds_another_ones_slow() {
    let directory = scratch();
    let record = text(&directory.path().join("traffic.jsonl"));
    let mut fifo = Fifo::new(true);
    let receiver =
        relay(&["ws-listen://127.0.0.1:0", &fifo.endpoint(), "--protocol", "envelope", "--queue-size", "20"]);
    let mut sender = wsp(["relay", "-", &receiver.url, "--protocol", "envelope", "--record", &record]).spawn();
    let mut input = sender.take_input();
    let count = 400;
    let feeding = std::thread::spawn(move || {
        use std::io::Write as _;
        input.write_all(lines(1, count, 8000).as_bytes()).expect("all is taken");
    });
    let is_slow = |event: &Value| envelope(event).is_some_and(|(came, content)| came && content["type"] == "slow");
    wait_until("slow", || recorded(&record).iter().any(is_slow).then_some(()));
    fifo.hold_no_more();
    feeding.join().expect("all was fed");
    assert_eq!(Balance::of(&sender.outcome().exits(0)), Balance::all_delivered(u64::from(count)));
    assert_eq!(Balance::of(&receiver.stop().exits(0)), Balance::all_delivered(u64::from(count)));
    all_are_read(&fifo, count);
    // After it was told, it sent nothing until no more than half of what was open then was left.
    let (mut open, mut bound, mut told) = (0_i64, None, 0);
    for (came, content) in recorded(&record).iter().filter_map(envelope) {
        match (came, content["type"].as_str()) {
            (true, Some("slow")) => {
                bound = Some((open / 2).max(1));
                told += 1;
            }
            (true, Some("ack")) => open -= 1,
            (false, Some("data")) => {
                if let Some(bound) = bound.take() {
                    assert!(open <= bound, "{open} open, and {bound} allowed");
                }
                open += 1;
            }
            _ => {}
        }
    }
    assert!(told > 0 && open == 0, "{told} {open}");
}

/// A relay that receives envelopes as a client and makes a request.
fn asking(url: &str, request: &str) -> Process {
    wsp(["relay", url, "-", "--protocol", "envelope", "--request", request]).spawn()
}

#[test]
fn relays_obey_each_others_requests() {
    let mut server = relay(&["-", "ws-listen://127.0.0.1:0", "--protocol", "envelope", "--admin", "0"]);
    let admin = admin_port(&server);
    // A subscription: the rest is filtered.
    let few = asking(&server.url, r#"subscribe={"jq":". % 10 == 0"}"#);
    wait_until("the request", || {
        let metrics = get(admin, "/metrics");
        (sample(metrics.text(), r#"wsp_requests_total{direction="in",method="subscribe"}"#) > 0.9).then_some(())
    });
    server.process.send(lines(1, 100, 0));
    few.wait_for_stdout("100");
    few.signal(nix::sys::signal::Signal::SIGTERM);
    few.outcome().exits(0).prints("10\n20\n30\n40\n50\n60\n70\n80\n90\n100\n");
    // A replay: what went out before comes again.
    let late = asking(&server.url, r#"replay={"last":3}"#);
    late.wait_for_stdout("100");
    late.signal(nix::sys::signal::Signal::SIGTERM);
    late.outcome().exits(0).prints("98\n99\n100\n");
    // The same by time: what was published between two moments.
    let early = asking(&server.url, r#"replay={"from":0,"to":1}"#);
    let late = asking(&server.url, r#"replay={"from":0,"last":2}"#);
    late.wait_for_stdout("100");
    late.signal(nix::sys::signal::Signal::SIGTERM);
    late.outcome().exits(0).prints("99\n100\n");
    wait_until("both requests", || {
        let metrics = get(admin, "/metrics");
        (sample(metrics.text(), r#"wsp_requests_total{direction="in",method="replay"}"#) > 2.9).then_some(())
    });
    early.signal(nix::sys::signal::Signal::SIGTERM);
    early.outcome().exits(0).prints("");
    // A rate.
    let calm = asking(&server.url, r#"backpressure={"rate_limit":20}"#);
    wait_until("the request", || {
        let metrics = get(admin, "/metrics");
        (sample(metrics.text(), r#"wsp_requests_total{direction="in",method="backpressure"}"#) > 0.9).then_some(())
    });
    let start = std::time::Instant::now();
    server.process.send(lines(101, 112, 0));
    calm.wait_for_stdout("112");
    assert!(start.elapsed().as_millis() >= 500, "twelve at twenty a second: {:?}", start.elapsed());
    calm.signal(nix::sys::signal::Signal::SIGTERM);
    calm.outcome().exits(0);
    // A refusal is said.
    let mistaken = asking(&server.url, "dance");
    mistaken.wait_for_stderr("the peer refused the request dance: unknown method dance");
    mistaken.signal(nix::sys::signal::Signal::SIGTERM);
    mistaken.outcome().exits(0);
    let asked = asking(&server.url, "status");
    let line = asked.wait_for_stderr("status: ");
    let told: Value = serde_json::from_str(line.split("status: ").nth(1).expect("a reply")).expect("JSON");
    assert_eq!((&told["unacknowledged"], &told["window"]), (&json!(0), &json!(1000)), "{told}");
    asked.signal(nix::sys::signal::Signal::SIGTERM);
    asked.outcome().exits(0);
    let metrics = get(admin, "/metrics");
    for (name, wanted) in [
        (r#"wsp_requests_total{direction="in",method="replay"}"#, 3.0),
        (r#"wsp_requests_total{direction="in",method="other"}"#, 1.0),
        (r#"wsp_replies_total{direction="out",status="ok"}"#, 6.0),
        (r#"wsp_replies_total{direction="out",status="error"}"#, 1.0),
        (r#"wsp_request_seconds_count{method="replay"}"#, 3.0),
    ] {
        assert!((sample(metrics.text(), name) - wanted).abs() < 1e-9, "{name}: {}", metrics.text());
    }
    server.process.end_input();
    let expected = Balance { delivered: 22, filtered: 90, ..Balance::all_delivered(112) };
    assert_eq!(Balance::of(&server.process.outcome().exits(0)), expected);
}

#[test]
fn dashboards_made_for_another_component_go_on_working() {
    let names = ["--metrics-names", "websocket_input", "--metrics-component", "edge", "--admin", "0"];
    let server = relay(&[&["ws-listen://127.0.0.1:0", "null:", "--protocol", "envelope"][..], &names].concat());
    let admin = admin_port(&server);
    let mut client = wsp(["relay", "-", &server.url, "--protocol", "envelope", "--request", "status", "--admin", "0"])
        .args(["--metrics-names", "websocket_input"])
        .spawn();
    client.send("1\n2\n3\n");
    let sample_of = |name: &str| {
        let metrics = get(admin, "/metrics");
        sample(metrics.text(), &format!("websocket_input_{name}"))
    };
    wait_until("three messages", || {
        (sample_of(r#"messages_published_total{component="edge",subject="null:"}"#) > 2.9).then_some(())
    });
    for (name, wanted) in [
        (r#"messages_received_total{component="edge",type="data"}"#, 3.0),
        (r#"messages_received_total{component="edge",type="request"}"#, 1.0),
        (r#"messages_dropped_total{component="edge",reason="queue_full"}"#, 0.0),
        (r#"connections_active{component="edge"}"#, 1.0),
        (r#"connections_total{component="edge"}"#, 1.0),
        (r#"requests_sent_total{component="edge",method="status"}"#, 0.0),
        (r#"queue_depth{component="edge"}"#, 0.0),
        (r#"errors_total{component="edge",type="protocol"}"#, 0.0),
    ] {
        assert!((sample_of(name) - wanted).abs() < 1e-9, "{name}: {}", get(admin, "/metrics").text());
    }
    let health = get(admin, "/health").json();
    assert_eq!((&health["status"], &health["details"]["mode"]), (&"connected".into(), &"server".into()));
    let line = client.wait_for_stderr("admin on ");
    let port = line.trim().rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    let own = wait_until("the reply", || {
        let metrics = get(port, "/metrics");
        let replies = r#"websocket_input_replies_received_total{component="websocket_input",status="ok"}"#;
        (sample(metrics.text(), replies) > 0.9).then_some(metrics)
    });
    let asked = r#"websocket_input_requests_sent_total{component="websocket_input",method="status"}"#;
    assert!((sample(own.text(), asked) - 1.0).abs() < 1e-9, "{}", own.text());
    assert_eq!(get(port, "/health").json()["details"]["mode"], "client");
    client.finish().exits(0);
    server.stop().exits(0);
}

#[test]
fn a_client_end_that_receives_says_slow_too() {
    let directory = scratch();
    let record = text(&directory.path().join("traffic.jsonl"));
    let mut fifo = Fifo::new(true);
    let mut sender = relay(&["-", "ws-listen://127.0.0.1:0", "--protocol", "envelope"]);
    let receiver = wsp(["relay", &sender.url, &fifo.endpoint(), "--protocol", "envelope", "--queue-size", "20"])
        .args(["--record", &record])
        .spawn();
    let mut input = sender.process.take_input();
    let count = 400;
    let feeding = std::thread::spawn(move || {
        use std::io::Write as _;
        input.write_all(lines(1, count, 8000).as_bytes()).expect("all is taken");
    });
    let is_slow = |event: &Value| envelope(event).is_some_and(|(came, content)| !came && content["type"] == "slow");
    wait_until("slow", || recorded(&record).iter().any(is_slow).then_some(()));
    fifo.hold_no_more();
    feeding.join().expect("all was fed");
    assert_eq!(Balance::of(&sender.process.outcome().exits(0)), Balance::all_delivered(u64::from(count)));
    assert_eq!(Balance::of(&receiver.outcome().exits(0)), Balance::all_delivered(u64::from(count)));
    all_are_read(&fifo, count);
}

#[test]
fn a_gorilla_client_that_is_told_slow_sends_less_and_loses_nothing() {
    // Quick, and one that takes a thread: what waits for it is not in the queue yet.
    slowed_gorilla(".line");
    slowed_gorilla("def f: if . > 0 then . - 1 | f else . end; (200 | f) as $x | .line");
}

fn slowed_gorilla(filter: &str) {
    if !require("gorilla") {
        return;
    }
    let mut fifo = Fifo::new(true);
    let filter = ["--queue-size", "20", "--jq", filter];
    let server =
        relay(&[&["ws-listen://127.0.0.1:0", &*fifo.endpoint(), "--protocol", "envelope"], &filter[..]].concat());
    // Larger together than a pipe.
    let client = gorilla().args(["envelope-client", &server.url, "300", "50", "8000"]).spawn();
    client.wait_for_stdout("\"told slow\"");
    fifo.hold_no_more();
    let output = client.outcome().exits(0);
    let report: Value = serde_json::from_str(output.stdout().lines().last().expect("a report")).expect("JSON");
    assert_eq!((&report["done"], &report["resent"]), (&json!(300), &json!(0)), "{report}");
    assert!(report["slow"].as_u64() > Some(0), "{report}");
    all_are_read(&fifo, 300);
    assert_eq!(Balance::of(&server.stop().exits(0)), Balance::all_delivered(300));
}
