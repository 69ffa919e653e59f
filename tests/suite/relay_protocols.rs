//! `--protocol` at the WebSocket ends of `wsp relay`: feed, envelope and gateway, by hand and between two relays.

use serde_json::{Value, json};

use super::protocols::exchange_envelopes;
use crate::support::balance::Balance;
use crate::support::ends::{lines, number};
use crate::support::files::{read, wait_until};
use crate::support::peers::{node, python};
use crate::support::process::Process;
use crate::support::{Frame, RawClient, Server, Socket, closed_port, require, scratch, text, write, wsp};
use nix::sys::signal::Signal;

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

fn data(id: &str, payload: &Value) -> Value {
    json!({"type": "data", "id": id, "timestamp": 1, "payload": payload})
}

#[test]
fn feed_clients_get_what_they_register_for() {
    let mut server = relay(&["-", "ws-listen://127.0.0.1:0", "--protocol", "feed", "--feed-field", "types=.kind"]);
    let mut client = RawClient::connect(server.port);
    assert_eq!(parsed(&mut client)["type"], "welcome");
    // It waits for whoever has yet to register.
    server.process.send("{\"kind\":\"a\",\"n\":1}\n{\"kind\":\"b\",\"n\":2}\n{\"kind\":\"a\",\"n\":3}\n");
    say(&mut client, &json!({"type": "register", "filters": {"types": ["a"]}}));
    assert_eq!(parsed(&mut client)["type"], "registered");
    assert_eq!((parsed(&mut client)["n"].clone(), parsed(&mut client)["n"].clone()), (json!(1), json!(3)));
    server.process.end_input();
    assert_eq!(client.answer_close(), 1001);
    let expected = Balance { delivered: 2, filtered: 1, ..Balance::all_delivered(3) };
    assert_eq!(Balance::of(&server.process.outcome().exits(0)), expected);
}

#[test]
fn an_envelope_is_acknowledged_once_the_sink_took_it() {
    let directory = scratch();
    let schema = text(&write(&directory, "schema.json", r#"{"type":"object"}"#));
    let out = directory.path().join("out");
    let to = format!("file:{}", text(&out));
    let server = relay(&["ws-listen://127.0.0.1:0", &to, "--protocol", "envelope", "--schema", &schema]);
    let mut client = RawClient::connect(server.port);
    say(&mut client, &data("one", &json!({"n": 1})));
    let ack = parsed(&mut client);
    assert_eq!((&ack["type"], &ack["id"]), (&json!("ack"), &json!("one")));
    assert_eq!(read(&out), "{\"n\":1}\n", "it was written before");
    say(&mut client, &data("two", &json!("no object")));
    let nack = parsed(&mut client);
    assert_eq!((&nack["type"], &nack["id"]), (&json!("nack"), &json!("two")));
    assert_eq!(nack["payload"]["reason"], "rejected");
    // What is sent again is answered again and not delivered twice.
    say(&mut client, &data("one", &json!({"n": 1})));
    assert_eq!(parsed(&mut client)["type"], "ack");
    for (method, params) in [("status", json!({})), ("capabilities", json!({})), ("replay", json!({"last": 1}))] {
        let request =
            json!({"type": "request", "id": method, "timestamp": 1, "payload": {"method": method, "params": params}});
        say(&mut client, &request);
        let reply = parsed(&mut client);
        assert_eq!((&reply["type"], &reply["payload"]["status"]), (&json!("reply"), &json!("ok")), "{reply}");
    }
    let output = server.stop().exits(0);
    let expected = Balance { delivered: 1, dropped: 1, ..Balance::all_delivered(2) };
    assert_eq!(Balance::of(&output), expected);
    assert_eq!(read(&out), "{\"n\":1}\n");
}

#[test]
fn an_envelope_nobody_acknowledged_goes_to_the_next_client() {
    let dead = scratch();
    let dead = text(&dead.path().join("dead"));
    let mut server = relay(&["-", "ws-listen://127.0.0.1:0", "--protocol", "envelope", "--dead-letter", &dead]);
    let mut first = RawClient::connect(server.port);
    server.process.send("1\n2\n3\n");
    let received: Vec<Value> = (0..3).map(|_| parsed(&mut first)).collect();
    assert_eq!(received.iter().map(|data| data["payload"].clone()).collect::<Vec<_>>(), [1, 2, 3]);
    say(&mut first, &json!({"type": "ack", "id": received[1]["id"], "timestamp": 1}));
    let nack =
        json!({"type": "nack", "id": received[2]["id"], "timestamp": 1, "payload": {"reason": "bad", "error": "no"}});
    say(&mut first, &nack);
    // It has been read when this is answered.
    say(&mut first, &json!({"type": "request", "id": "r", "timestamp": 1, "payload": {"method": "status"}}));
    assert_eq!(parsed(&mut first)["type"], "reply");
    first.hang_up();
    let mut second = RawClient::connect(server.port);
    let again = parsed(&mut second);
    assert_eq!(again["payload"], 1);
    say(&mut second, &json!({"type": "ack", "id": again["id"], "timestamp": 1}));
    server.process.end_input();
    assert_eq!(second.answer_close(), 1001);
    let expected = Balance { delivered: 2, dead_lettered: 1, ..Balance::all_delivered(3) };
    assert_eq!(Balance::of(&server.process.outcome().exits(30)), expected);
    assert_eq!(read(dead.as_ref()).lines().count(), 1);
}

#[test]
fn a_subscription_and_a_rate_are_obeyed() {
    let mut server = relay(&["-", "ws-listen://127.0.0.1:0", "--protocol", "envelope"]);
    let mut client = RawClient::connect(server.port);
    let request = |id: &str, method: &str, params: Value| json!({"type": "request", "id": id, "timestamp": 1, "payload": {"method": method, "params": params}});
    say(&mut client, &request("s", "subscribe", json!({"jq": ". > 2"})));
    assert_eq!(parsed(&mut client)["payload"]["status"], "ok");
    say(&mut client, &request("b", "backpressure", json!({"rate_limit": 10})));
    assert_eq!(parsed(&mut client)["payload"]["status"], "ok");
    server.process.send(lines(1, 8, 0));
    let started = std::time::Instant::now();
    for number in 3..=8 {
        let data = parsed(&mut client);
        assert_eq!(data["payload"], number);
        say(&mut client, &json!({"type": "ack", "id": data["id"], "timestamp": 1}));
    }
    assert!(started.elapsed().as_millis() >= 300, "six at ten a second: {:?}", started.elapsed());
    // What was sent can be had again.
    say(&mut client, &request("r", "replay", json!({"last": 2})));
    assert_eq!(parsed(&mut client)["payload"]["status"], "ok");
    for number in [7, 8] {
        let data = parsed(&mut client);
        assert_eq!(data["payload"], number);
        say(&mut client, &json!({"type": "ack", "id": data["id"], "timestamp": 1}));
    }
    server.process.end_input();
    assert_eq!(client.answer_close(), 1001);
    let expected = Balance { delivered: 6, filtered: 2, ..Balance::all_delivered(8) };
    assert_eq!(Balance::of(&server.process.outcome().exits(0)), expected);
}

#[test]
fn other_peoples_clients_exchange_envelopes_and_follow_feeds() {
    if !(require("python-websockets") && require("node-ws")) {
        return;
    }
    let mut server = relay(&["ws-listen://127.0.0.1:0", "-", "--both", "--protocol", "envelope"]);
    exchange_envelopes(&mut server);
    let output = server.stop().exits(0);
    assert_eq!(output.stdout(), "{\"a\": 1.5}\ntext\n[1, null]\n");
    assert!(output.stderr.contains("received 3 = delivered 3 "), "{}", output.stderr);
    assert_eq!(Balance::of(&output), Balance { delivered: 2, filtered: 1, ..Balance::all_delivered(3) });

    let mut server = relay(&["-", "ws-listen://127.0.0.1:0", "--protocol", "feed"]);
    let filters = r#"{"types":["trade"],"min_amount":"10.0"}"#;
    let one = node("ws-feed.js").args([&server.url, filters, "2"]).spawn();
    let two = python("websocket_client.py").args(["feed", &server.url, filters, "2"]).spawn();
    for client in [&one, &two] {
        client.wait_for_stdout("registered");
    }
    for (kind, amount) in [("trade", "9.99"), ("quote", "50"), ("trade", "10"), ("trade", "\"11.5\"")] {
        server.process.send(format!("{{\"type\":\"{kind}\",\"amount\":{amount}}}\n"));
    }
    for client in [one, two] {
        client.outcome().exits(0);
    }
    let output = server.process.finish().exits(0);
    assert_eq!(Balance::of(&output), Balance { delivered: 2, filtered: 2, ..Balance::all_delivered(4) });
}

/// The receiving one of two relays.
fn receiving(port: u16, file: &str) -> Process {
    let from = format!("ws-listen://127.0.0.1:{port}");
    let relay =
        wsp(["relay", &from, &format!("file:{file}"), "--protocol", "envelope"]).limit(3 * crate::support::DEADLINE);
    let relay = relay.spawn();
    relay.wait_for_stderr("listening on ");
    relay
}

const AGAIN: [&str; 7] = ["--protocol", "envelope", "--reconnect", "--retry-delay", "20ms", "--retry-max", "100ms"];

#[test]
fn two_relays_lose_nothing_when_the_receiving_one_is_killed() {
    let directory = scratch();
    let file = text(&directory.path().join("out"));
    let port = closed_port();
    let mut receiver = receiving(port, &file);
    let to = format!("ws://127.0.0.1:{port}/");
    let mut sender = wsp(["relay", "-", &to, "--rate", "20k"]).args(AGAIN).limit(3 * crate::support::DEADLINE).spawn();
    let mut input = sender.take_input();
    let count = 60_000;
    let feeding = std::thread::spawn(move || {
        use std::io::Write as _;
        input.write_all(lines(1, count, 100).as_bytes()).expect("all is taken");
    });
    let mut random = fastrand::Rng::with_seed(7);
    for kill in 1..=10 {
        let least = kill * 4000 + random.u32(..2000);
        wait_until("progress", || (read_lines(&file).len() >= least as usize).then_some(()));
        receiver.signal(Signal::SIGKILL);
        receiver.outcome();
        receiver = receiving(port, &file);
    }
    feeding.join().expect("all was fed");
    assert_eq!(Balance::of(&sender.outcome().exits(0)), Balance::all_delivered(u64::from(count)));
    receiver.signal(Signal::SIGTERM);
    receiver.outcome().exits(0);
    check(&read_lines(&file), count);
}

/// The whole lines of a file that are numbers; a kill may leave half of one.
fn read_lines(file: &str) -> Vec<u32> {
    let text = if std::path::Path::new(file).exists() { read(file.as_ref()) } else { String::new() };
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    whole.lines().filter(|line| line.len() >= 92).map(number).collect()
}

/// Every number arrived, and but for resends in order.
#[track_caller]
fn check(got: &[u32], count: u32) {
    let mut seen = vec![false; count as usize + 1];
    let mut last = 0;
    for &number in got {
        assert!(number <= last + 1, "{number} after {last}");
        last = last.max(number);
        seen[number as usize] = true;
    }
    let missing: Vec<usize> = (1..=count as usize).filter(|&number| !seen[number]).collect();
    assert!(missing.is_empty(), "{} are missing, the first {:?}", missing.len(), missing.first());
}

#[cfg(feature = "nats")]
#[test]
fn two_relays_lose_nothing_when_either_is_killed() {
    use crate::support::nats::Nats;

    if !require("nats") {
        return;
    }
    let server = Nats::start(&[]);
    let mut client = server.client();
    let count: u32 = 40_000;
    let made = client.ask("STREAM.CREATE.S", r#"{"name":"S","subjects":["s"],"storage":"file"}"#);
    assert!(made.get("error").is_none(), "{made}");
    let config = r#"{"stream_name":"S","config":{"durable_name":"D","ack_policy":"explicit","deliver_policy":"all","ack_wait":1000000000}}"#;
    let made = client.ask("CONSUMER.DURABLE.CREATE.S.D", config);
    assert!(made.get("error").is_none(), "{made}");
    let publisher = crate::support::run(&["relay", "-", &server.url("s?stream=S")], lines(1, count, 100));
    publisher.exits(0);
    let directory = scratch();
    let file = text(&directory.path().join("out"));
    let port = closed_port();
    let (from, to) = (server.url("s?stream=S&durable=D"), format!("ws://127.0.0.1:{port}/"));
    let sending =
        || wsp(["relay", &from, &to, "--rate", "10k"]).args(AGAIN).limit(3 * crate::support::DEADLINE).spawn();
    let (mut sender, mut receiver) = (sending(), receiving(port, &file));
    let mut random = fastrand::Rng::with_seed(11);
    for kill in 1..=10_usize {
        let least = kill * 2500 + random.usize(..1000);
        wait_until("progress", || (distinct(&file) >= least).then_some(()));
        if random.bool() {
            sender.signal(Signal::SIGKILL);
            sender.outcome();
            sender = sending();
        } else {
            receiver.signal(Signal::SIGKILL);
            receiver.outcome();
            receiver = receiving(port, &file);
        }
    }
    wait_until("all of it", || (distinct(&file) == count as usize).then_some(()));
    for relay in [sender, receiver] {
        relay.signal(Signal::SIGTERM);
        let output = relay.outcome().exits(0);
        assert_eq!(Balance::of(&output).waiting, 0, "{}", output.stderr);
    }
}

#[cfg(feature = "nats")]
fn distinct(file: &str) -> usize {
    read_lines(file).into_iter().collect::<std::collections::BTreeSet<_>>().len()
}

/// A gateway before a broker: what one client writes reaches the clients of every gateway.
#[track_caller]
fn gateway_over(first: &str, second: &str, are_ready: impl FnOnce()) {
    let gateway = |to: &str| {
        let relay = wsp(["relay", "ws-listen://127.0.0.1:0/ws", to, "--protocol", "gateway", "--both"]);
        Server::ready(relay.limit(3 * crate::support::DEADLINE))
    };
    let (one, two) = (gateway(first), gateway(second));
    are_ready();
    let mut clients: Vec<Socket> =
        [&one, &one, &two].map(|server| RawClient::open(server.port, "/ws", "").0).into_iter().collect();
    let ids: Vec<Value> = clients.iter_mut().map(|client| parsed(client)["clientId"].clone()).collect();
    assert!(ids[0] != ids[1] && ids.iter().all(Value::is_string), "{ids:?}");
    for number in 1..=50 {
        let message = json!({"messageType": "USER", "content": format!("hello {number}"), "timestamp": number});
        say(&mut clients[0], &message);
    }
    say(&mut clients[0], &json!({"messageType": "USER", "content": ""}));
    // The writer hears its answers and, like everybody, the messages.
    let (mut acks, mut errors, mut heard) = (Vec::new(), 0, Vec::new());
    while acks.len() < 50 || errors < 1 || heard.len() < 50 {
        let message = parsed(&mut clients[0]);
        match message["messageType"].as_str() {
            Some("ACK") => acks.push(message["answers"].as_u64().expect("a timestamp")),
            Some("ERROR") => errors += 1,
            Some("USER") => heard.push(message["timestamp"].as_u64().expect("a timestamp")),
            _ => panic!("{message}"),
        }
    }
    assert_eq!(acks, (1..=50).collect::<Vec<_>>());
    assert_eq!(heard, acks);
    for client in &mut clients[1..] {
        for number in 1..=50 {
            let message = parsed(client);
            assert_eq!((&message["messageType"], &message["timestamp"]), (&json!("USER"), &json!(number)));
        }
    }
    drop(clients);
    for server in [one, two] {
        let output = server.stop().exits(0);
        assert_eq!(Balance::of(&output).waiting, 0, "{}", output.stderr);
    }
}

#[cfg(feature = "nats")]
#[test]
fn gateways_over_nats_reach_each_others_clients() {
    if !require("nats") {
        return;
    }
    let server = crate::support::nats::Nats::start(&[]);
    gateway_over(&server.url("chat"), &server.url("chat"), || server.wait_for_subscribers("chat", 2));
}

#[cfg(feature = "kafka")]
#[test]
fn gateways_over_kafka_reach_each_others_clients() {
    use crate::support::kafka::{Other, shared};

    if !require("kafka") {
        return;
    }
    let server = shared();
    let topic = Other(&server).create("websocket-messages", 1, &[]);
    let url = |group: &str| format!("kafka://{server}/{topic}?group={group}-{topic}&start=earliest");
    gateway_over(&url("one"), &url("two"), || ());
}
