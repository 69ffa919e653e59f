//! Other people's clients speak `feed`, `envelope` and `gateway` with `wsp listen`.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::peers::{chromium, gorilla, node, python};
use crate::support::process::{Output, Process};
use crate::support::{Frame, RawClient, Server, Socket, listen, require, scratch, wsp};

/// The JSON behind `key` in each line of a client.
fn said(stdout: &str, key: &str) -> Vec<Value> {
    let lines = stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.filter_map(|line| line.get(key).cloned()).collect()
}

fn trade(n: u64, kind: &str, amount: &str) -> String {
    format!("{{\"n\":{n},\"type\":\"{kind}\",\"account_id\":{n},\"asset_code\":\"EUR\",\"amount\":{amount}}}\n")
}

/// Registers for trades of 10 and more; of the events sent only three pass.
fn follows_a_feed(server: &mut Server, client: Process) {
    client.wait_for_stdout("registered");
    for (n, kind, amount) in [
        (1, "trade", "9.99"),
        (2, "trade", "10"),
        (3, "quote", "50"),
        (4, "trade", "\"10.00\""),
        (5, "trade", "\"much\""),
        (6, "trade", "1e1"),
    ] {
        server.process.send(trade(n, kind, amount));
    }
    let output = client.outcome().exits(0);
    let events: Vec<_> = said(output.stdout(), "event").iter().map(|event| event["n"].clone()).collect();
    assert_eq!(events, [2, 4, 6], "{}", output.stdout());
    let control = said(output.stdout(), "control");
    assert_eq!((&control[0]["type"], &control[1]["type"]), (&json!("welcome"), &json!("registered")));
    assert_eq!(control[1]["filters"]["types"], json!(["trade"]));
    assert_eq!(said(output.stdout(), "close"), [1000]);
}

const TRADES: &str = r#"{"types":["trade"],"min_amount":"10.0"}"#;

#[test]
fn npm_ws_follows_a_feed() {
    if !require("node-ws") {
        return;
    }
    let mut server = listen(&["--protocol", "feed"]);
    let client = node("ws-feed.js").args([&server.url, TRADES, "3"]).spawn();
    follows_a_feed(&mut server, client);
}

#[test]
fn gorilla_follows_a_feed() {
    if !require("gorilla") {
        return;
    }
    let mut server = listen(&["--protocol", "feed"]);
    let client = gorilla().args(["feed", &server.url, TRADES, "3"]).spawn();
    follows_a_feed(&mut server, client);
}

#[test]
fn a_full_queue_is_told_once_for_each_client_and_the_newest_events_wait() {
    for relays in [false, true] {
        let feed = |arguments: &[&str]| Server::ready(wsp(arguments).arg("--protocol").arg("feed").arg("-v"));
        let mut server = if relays {
            let queue = ["--client-queue-size", "5", "--client-on-full", "drop-oldest"];
            feed(&[&["relay", "-", "ws-listen://127.0.0.1:0"][..], &queue].concat())
        } else {
            feed(&["listen", ":0", "--queue-size", "5"])
        };
        let mut client = RawClient::connect(server.port);
        let read = |client: &mut Socket| serde_json::from_str::<Value>(&client.read_text()).expect("JSON");
        assert_eq!(read(&mut client)["type"], "welcome");
        for n in 1..=20 {
            server.process.send(trade(n, "trade", "5"));
        }
        server.process.wait_for_stderr("1: message queue full, dropping messages");
        client.say(Frame::text(r#"{"type":"register","filters":{}}"#));
        assert_eq!(read(&mut client)["type"], "registered");
        let mut last = 0;
        while last < 20 {
            let next = read(&mut client)["n"].as_u64().expect("a number");
            assert!(next > last, "{next} after {last}");
            last = next;
        }
        let output = server.stop().exits(0);
        assert_eq!(output.stderr.matches("message queue full").count(), 1, "{}", output.stderr);
    }
}

#[test]
fn websocket_client_follows_a_feed() {
    if !require("python-websockets") {
        return;
    }
    let mut server = listen(&["--protocol", "feed"]);
    let client = python("websocket_client.py").args(["feed", &server.url, TRADES, "3"]).spawn();
    follows_a_feed(&mut server, client);
}

#[test]
fn a_page_in_chromium_follows_a_feed() {
    if !require("chromium") {
        return;
    }
    let home = scratch();
    let mut server = listen(&["--protocol", "feed"]);
    let client = node("chromium-feed.js").arg(chromium()).arg(home.path()).args([&server.url, TRADES, "3"]);
    follows_a_feed(&mut server, client.limit(Duration::from_secs(120)).spawn());
}

/// Every filter is there, as the feed's own clients write it, and empty where nothing is asked for.
const NO_MINIMUM: &str = r#"{"types":["trade"],"account_ids":[],"asset_codes":["EUR"],"min_amount":""}"#;

#[test]
fn a_client_whose_least_amount_is_empty_is_registered_and_gets_any_amount() {
    if !(require("node-ws") && require("python-websockets") && require("chromium")) {
        return;
    }
    let home = scratch();
    let mut server = listen(&["--protocol", "feed"]);
    let arguments = [&server.url, NO_MINIMUM, "3"];
    let page = node("chromium-feed.js").arg(chromium()).arg(home.path()).args(arguments);
    let clients = [
        node("ws-feed.js").args(arguments),
        python("websocket_client.py").arg("feed").args(arguments),
        page.limit(Duration::from_secs(120)),
    ];
    // One after the other: a browser takes its time to start, and the others have theirs to register.
    for client in clients {
        let client = client.spawn();
        client.wait_for_stdout("registered");
        for (n, kind, amount) in [(1, "trade", "0"), (2, "quote", "50"), (3, "trade", "\"\""), (4, "trade", "1e9")] {
            server.process.send(trade(n, kind, amount));
        }
        let output = client.outcome().exits(0);
        let events: Vec<_> = said(output.stdout(), "event").iter().map(|event| event["n"].clone()).collect();
        assert_eq!(events, [1, 3, 4], "{}", output.stdout());
        let control = said(output.stdout(), "control");
        assert_eq!(control[0]["format"]["filters"]["min_amount"], "");
        let asked: Value = serde_json::from_str(NO_MINIMUM).expect("JSON");
        assert_eq!(control[1]["filters"], asked, "the confirmation says what was asked for");
    }
}

#[test]
fn events_wait_for_a_late_registration() {
    if !require("node-ws") {
        return;
    }
    let mut server = listen(&["--protocol", "feed"]);
    let mut client = node("ws-feed.js").args([&server.url, "none", "2"]).spawn();
    client.wait_for_stdout("welcome");
    server.process.send(trade(1, "trade", "5") + &trade(2, "quote", "5") + &trade(3, "trade", "5"));
    client.send("{\"type\":\"nonsense\"}\n{\"type\":\"register\",\"filters\":{\"types\":[\"trade\"]}}\n");
    let output = client.outcome().exits(0);
    let events: Vec<_> = said(output.stdout(), "event").iter().map(|event| event["n"].clone()).collect();
    assert_eq!(events, [1, 3]);
    let control = said(output.stdout(), "control");
    let types: Vec<_> = control.iter().map(|message| message["type"].as_str().expect("text")).collect();
    assert_eq!(types, ["welcome", "error", "registered"]);
}

/// Lets websocket-client make four requests, send three messages and get two of three; and what it had to say.
pub fn exchange_envelopes(server: &mut Server) -> Output {
    let options = json!({
        "requests": [
            {"method": "capabilities", "params": {}},
            {"method": "subscribe", "params": {"jq": ".n > 1"}},
            {"method": "stop", "params": {}},
            {"method": "status", "params": {}},
        ],
        "send": [{"a": 1.5}, "text", [1, null]],
        "receive": 2,
    });
    let client = python("websocket_client.py").args(["envelope", &server.url, &options.to_string()]).spawn();
    // Its third message is acknowledged once the second has been printed.
    server.process.wait_for_stdout("[1, null]");
    server.process.send("{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    client.outcome().exits(0)
}

#[test]
fn websocket_client_exchanges_envelopes() {
    if !require("python-websockets") {
        return;
    }
    let mut server = listen(&["--protocol", "envelope"]);
    let output = exchange_envelopes(&mut server);
    let received = said(output.stdout(), "received");
    let of = |kind: &str| received.iter().filter(|envelope| envelope["type"] == kind).cloned().collect::<Vec<_>>();
    let replies: Vec<_> = of("reply").iter().map(|reply| reply["payload"]["status"].clone()).collect();
    assert_eq!(replies, ["ok", "ok", "error", "ok"]);
    assert_eq!(of("ack").len(), 3);
    let data: Vec<_> = of("data").iter().map(|data| data["payload"].clone()).collect();
    assert_eq!(data, [json!({"n": 2}), json!({"n": 3})]);
    let printed = server.stop();
    assert_eq!(printed.stdout(), "{\"a\": 1.5}\ntext\n[1, null]\n");
}

#[test]
fn gateway_clients_write_to_each_other() {
    let server = listen(&["--protocol", "gateway"]);
    let mut first = RawClient::connect(server.port);
    let mut second = RawClient::connect(server.port);
    let json = |text: String| serde_json::from_str::<Value>(&text).expect("JSON");
    let (one, two) = (json(first.read_text()), json(second.read_text()));
    assert_eq!((&one["messageType"], &two["messageType"]), (&json!("SYSTEM"), &json!("SYSTEM")));
    assert_ne!(one["clientId"], two["clientId"]);
    let hello = r#"{"messageType":"USER", "content":"hello","timestamp":1767323045000}"#;
    first.say(Frame::text(hello));
    assert_eq!(json(first.read_text())["messageType"], "ACK");
    assert_eq!(second.read_text(), hello);
    second.say(Frame::text("hello"));
    assert_eq!(json(second.read_text())["messageType"], "ERROR");
}
