//! Where a message came from: in `$meta`, in event lines and in dead letters.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::files::read;
use crate::support::{Frame, RawClient, Server, events, listen, scratch, text, wsp};

/// The first event line that holds a text.
#[track_caller]
fn line_with(stdout: &str, text: &str) -> Value {
    events(stdout).into_iter().find(|line| line["text"] == text).unwrap_or_else(|| panic!("no {text} in {stdout}"))
}

#[cfg(feature = "nats")]
#[test]
fn a_message_of_nats_says_its_subject() {
    use crate::support::nats::Nats;
    if !crate::support::require("nats") {
        return;
    }
    let server = Nats::start(&[]);
    let folder = scratch();
    let (dead, record) = (text(&folder.path().join("dead")), text(&folder.path().join("record")));
    let lines = wsp(["relay", &server.url("a.*"), "-", "--json", "--record", &record]).spawn();
    let filtered = wsp(["relay", &server.url("a.*"), "-", "--jq", "[$meta.subject, .]", "--non-json", "error"])
        .args(["--dead-letter", &dead, "--route", "$meta.subject == \"a.null\" => null:"])
        .spawn();
    server.wait_for_subscribers("a.*", 2);
    let mut client = server.client();
    client.publish("a.null", "", "0");
    client.publish("a.b", "", "17");
    client.publish("a.d", "", "no json");
    lines.wait_for_stdout("no json");
    filtered.wait_for_stdout("17");
    lines.signal(Signal::SIGTERM);
    filtered.signal(Signal::SIGTERM);
    let lines = lines.outcome().exits(0);
    assert_eq!(line_with(lines.stdout(), "17")["subject"], "a.b");
    assert_eq!(line_with(&read(record.as_ref()), "no json")["subject"], "a.d");
    assert_eq!(filtered.outcome().stdout(), "[\"a.b\",17]\n");
    assert_eq!(line_with(&read(dead.as_ref()), "no json")["subject"], "a.d");
}

#[cfg(feature = "kafka")]
#[test]
fn a_record_of_kafka_says_its_topic_place_key_and_headers() {
    use crate::support::kafka::{Other, shared};
    if !crate::support::require("kafka") {
        return;
    }
    let server = shared();
    let topic = Other(&server).create("sources", 1, &[]);
    let url = format!("kafka://{server}/{topic}");
    crate::support::run(&["relay", "-", &url, "--key", ".k"], "{\"k\":\"one\"}\n{\"k\":\"two\"}\n").exits(0);
    let from = format!("{url}?group=sources-{}&start=earliest", std::process::id());
    let relay = wsp(["relay", &from, "-", "--json"]).spawn();
    relay.wait_for_stdout("two");
    relay.signal(Signal::SIGTERM);
    let output = relay.outcome().exits(0);
    let line = line_with(output.stdout(), "{\"k\":\"two\"}");
    let told = json!([line["topic"], line["partition"], line["offset"], line["key"], line["headers"]["type"]]);
    assert_eq!(told, json!([topic, 0, 1, "two", "text"]));
    let from = format!("{url}?group=again-{}&start=earliest", std::process::id());
    let relay = wsp(["relay", &from, "-", "--jq", "$meta | [.topic, .offset, .key, .headers.type]"]).spawn();
    relay.wait_for_stdout("two");
    relay.signal(Signal::SIGTERM);
    let output = relay.outcome().exits(0);
    assert_eq!(output.stdout(), format!("[\"{topic}\",0,\"one\",\"text\"]\n[\"{topic}\",1,\"two\",\"text\"]\n"));
}

#[test]
fn a_client_of_a_server_is_told_by_address_path_and_subprotocol() {
    let filter = "[$meta.peer, $meta.path, $meta.subprotocol]";
    let server = listen(&["--json", "--reply-jq", filter, "-s", "chat"]);
    let (mut client, _) = RawClient::open(server.port, "/a/b?c=d", "Sec-WebSocket-Protocol: chat\r\n");
    client.say(Frame::text("1"));
    let told: Value = serde_json::from_str(&client.read_text()).expect("JSON");
    assert!(told[0].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{told}");
    assert_eq!((&told[1], &told[2]), (&json!("/a/b"), &json!("chat")));
    let output = server.stop().exits(0);
    let open = events(output.stdout()).into_iter().find(|event| event["type"] == "open").expect("an open event");
    assert_eq!((&open["peer"], &open["path"], &open["subprotocol"]), (&told[0], &told[1], &told[2]));

    let relay = |more: &[&str]| Server::ready(wsp(["relay", "ws-listen://127.0.0.1:0", "-"]).args(more));
    for arguments in [&["--json"][..], &["--jq", "$meta | [.peer, .path, .subprotocol]"]] {
        let server = relay(arguments);
        let (mut client, _) = RawClient::open(server.port, "/in?token=hunter2", "");
        client.say(Frame::text("17"));
        server.process.wait_for_stdout("127.0.0.1:");
        let output = server.stop().exits(0);
        let told = match arguments {
            ["--json"] => {
                let line = line_with(output.stdout(), "17");
                json!([line["peer"], line["path"], line["subprotocol"]])
            }
            _ => serde_json::from_str(output.stdout()).expect("JSON"),
        };
        assert!(told[0].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{told}");
        assert_eq!((&told[1], &told[2]), (&json!("/in"), &Value::Null));
    }
}
