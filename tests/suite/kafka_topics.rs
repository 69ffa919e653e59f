//! Topics of `kafka://` that are not there yet: waited for, or made with `?create`; and a gateway over one, set up by the
//! variables that other gateways read.

use serde_json::{Value, json};

use crate::support::balance::Balance;
use crate::support::kafka::{Other, SOON, shared};
use crate::support::process::Run;
use crate::support::{Frame, RawClient, Server, Socket, require, run, wsp};

/// A name that no other test has.
fn name(of: &str) -> String {
    format!("{of}-{}", std::process::id())
}

#[test]
fn a_topic_is_made_on_either_side_where_that_is_asked_for() {
    if !require("kafka") {
        return;
    }
    let server = shared();
    let topic = name("made-for-writing");
    for _ in 0..2 {
        let output = run(&["relay", "-", &format!("kafka://{server}/{topic}?create=2")], "1\n2\n").exits(0);
        assert_eq!(Balance::of(&output), Balance::all_delivered(2));
    }
    let records = Other(&server).read(&topic, 4);
    assert!(records.iter().all(|record| record["partition"].as_u64().is_some_and(|place| place < 2)), "{records:?}");
    let topic = name("made-for-reading");
    let from = format!("kafka://{server}/{topic}?create&start=earliest&group={topic}&{SOON}");
    let relay = wsp(["relay", &from, "-"]).spawn();
    let to = format!("kafka://{server}/{topic}");
    run(&["relay", "-", &to, "--reconnect"], "hello\n").exits(0);
    relay.wait_for_stdout("hello");
    relay.signal(nix::sys::signal::Signal::SIGTERM);
    relay.outcome().exits(0);
    run(&["relay", "-", "kafka://h/t?create=none"], "").exits(2).complains("invalid ?create=none");
}

#[test]
fn a_topic_that_is_not_there_is_waited_for() {
    if !require("kafka") {
        return;
    }
    let server = shared();
    let topic = name("waited-for");
    let soon = ["--reconnect", "--retry-delay", "10ms", "--retry-max", "100ms"];
    let from = format!("kafka://{server}/{topic}?start=earliest&group={topic}&{SOON}");
    let reader = wsp(["relay", &from, "-"]).args(soon).spawn();
    let mut writer = wsp(["relay", "-", &format!("kafka://{server}/{topic}")]).args(soon).spawn();
    writer.send("hello\n");
    for relay in [&reader, &writer] {
        relay.wait_for_stderr(&format!("topic {topic} does not exist yet; use ?create to create it; retrying in"));
    }
    run(&["relay", "-", &format!("kafka://{server}/{topic}?create")], "").exits(0);
    assert_eq!(Balance::of(&writer.finish().exits(0)), Balance::all_delivered(1));
    reader.wait_for_stdout("hello");
    reader.signal(nix::sys::signal::Signal::SIGTERM);
    reader.outcome().exits(0);
    // Without end only where that is asked for.
    let missing = format!("kafka://{server}/{}", name("never-made"));
    let output = run(&["relay", "-", &missing, "--reconnect=1", "--retry-delay", "10ms"], "1\n").exits(30);
    assert!(output.stderr.contains("gave up after 1 retry: topic"), "{}", output.stderr);
}

fn parsed(client: &mut Socket) -> Value {
    serde_json::from_str(&client.read_text()).expect("JSON")
}

#[test]
fn the_variables_of_a_gateway_make_the_command_line_of_one() {
    if !require("kafka") {
        return;
    }
    // As it stands in docs/reference/equivalents.md, at a port of its own.
    let page = std::fs::read_to_string(crate::support::root().join("docs/reference/equivalents.md")).expect("the page");
    let line = page.lines().find(|line| line.starts_with("wsp relay ws-listen://")).expect("the command line");
    let command = line.replace("0.0.0.0:9090", "127.0.0.1:0").replace("wsp relay", "exec \"$WSP\" relay");
    let run = Run::new("sh")
        .args(["-c", &command])
        .env("WSP", env!("CARGO_BIN_EXE_wsp"))
        .env("kafkaBootstrapServers", shared())
        .env("kafkaGroupId", name("websocket-consumer-group"))
        .env("kafkaTopic", name("gateway-by-variables"));
    let server = Server::ready(run);
    let mut clients: Vec<Socket> = (0..2).map(|_| RawClient::open(server.port, "/ws", "").0).collect();
    let time = |message: &Value| message["timestamp"].as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    for client in &mut clients {
        let welcome = parsed(client);
        assert!(welcome["messageType"] == "SYSTEM" && time(&welcome).is_some(), "{welcome}");
    }
    let said = json!({"messageType": "USER", "content": "hello", "timestamp": "2024-01-01T12:00:00Z"});
    clients[0].say(Frame::text(&said.to_string()));
    clients[0].say(Frame::text("{}"));
    let mut seen: Vec<Value> = (0..3).map(|_| parsed(&mut clients[0])).collect();
    seen.sort_by_key(|message| message["messageType"].as_str().map(str::to_owned));
    assert_eq!(seen.iter().map(|message| &message["messageType"]).collect::<Vec<_>>(), ["ACK", "ERROR", "USER"]);
    assert!(seen.iter().all(|message| time(message).is_some()), "{seen:?}");
    assert_eq!(parsed(&mut clients[1]), said);
    // A line each.
    let size = said.to_string().len();
    for told in [format!("published {size} bytes"), format!("broadcast {size} bytes to 2 clients")] {
        server.process.wait_for_stderr(&told);
        assert_eq!(server.process.count_said(&told), 1, "{told}");
    }
    drop(clients);
    let output = server.stop().exits(0);
    assert!(
        output.stderr.contains("connected") && output.stderr.contains("messageType is missing"),
        "{}",
        output.stderr
    );
}
