//! Two gateways on one group of a message broker: they share the messages, and each reaches the clients of one of them, once.
//!
//! Leaves gateways that each have a group of their own to `relay_protocols`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::brokers::BROKERS;
use crate::support::process::{Process, Server};
use crate::support::{DEADLINE, require, wsp};

/// Everything of a type that a client was told.
fn told(client: &Process, kind: &str) -> Vec<Value> {
    let lines = client.lines_so_far();
    let messages = lines.iter().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    messages.filter(|message| message["messageType"] == kind).collect()
}

#[test]
fn gateways_on_one_group_share_what_is_written() {
    for (component, make) in BROKERS {
        if !require(component) {
            continue;
        }
        let mut broker = make();
        broker.make("chat", 6);
        let url = broker.from("chat", "websocket-consumer-group");
        let gateways = [0, 1].map(|_| {
            let relay = wsp(["relay", "ws-listen://127.0.0.1:0/ws", &url, "--protocol", "gateway", "--both"]);
            Server::ready(relay.limit(6 * DEADLINE))
        });
        let mut clients: Vec<Process> = [0, 0, 1, 1]
            .map(|place: usize| {
                let url = format!("ws://127.0.0.1:{}/ws", gateways[place].port);
                let client = wsp(["connect", &url, "--format", "raw", "-w", "-1"]).limit(6 * DEADLINE).spawn();
                client.wait_for_stdout("SYSTEM");
                client
            })
            .into_iter()
            .collect();
        let count = |clients: &[Process], kind: &str| -> Vec<usize> {
            clients.iter().map(|client| told(client, kind).len()).collect()
        };
        let deadline = std::time::Instant::now() + 5 * DEADLINE;
        // Until both have had a share, and then a hundred more.
        let (mut sent, mut last) = (0, usize::MAX);
        loop {
            let (heard, acknowledged) = (count(&clients, "USER"), count(&clients, "ACK").iter().sum::<usize>());
            if last == usize::MAX && heard.iter().all(|share| *share > 0) {
                last = sent + 100;
            }
            if sent == last && acknowledged == sent && heard.iter().sum::<usize>() >= 2 * sent {
                break;
            }
            if sent < last && acknowledged == sent {
                sent += 1;
                let message = json!({"messageType": "USER", "content": "hello", "timestamp": sent});
                clients[sent % 4].send(format!("{message}\n"));
            }
            assert!(
                std::time::Instant::now() < deadline,
                "{component}: {sent} sent, {acknowledged} taken, {heard:?} heard"
            );
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let mut reached = BTreeMap::<u64, Vec<usize>>::new();
        for (place, client) in clients.iter().enumerate() {
            for message in told(client, "USER") {
                reached.entry(message["timestamp"].as_u64().expect("a number")).or_default().push(place);
            }
        }
        assert_eq!(reached.len(), sent, "{component}");
        for (number, places) in reached {
            assert!(places == [0, 1] || places == [2, 3], "{component}: {number} reached {places:?}");
        }
        drop(clients);
        for server in gateways {
            server.stop().exits(0);
        }
    }
}
