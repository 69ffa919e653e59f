//! Dropped messages in `--json` output and in the live view: which session, why, how large.
//!
//! Leaves what is dropped when to the subjects it belongs to. The lines' bounds stand beside them, in
//! `src/observe/drops.rs`.

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::http::{Events, admin_port};
use crate::support::{FakeServer, Frame, Opcode, Output, RawClient, events, listen, run, scratch, text, write, wsp};

/// The lines about dropped messages.
#[track_caller]
fn drops(output: &Output) -> Vec<Value> {
    events(output.stdout()).into_iter().filter(|event| event["type"] == "drop").collect()
}

/// How many messages were dropped for this reason, as the last line on stderr says.
#[track_caller]
fn counted(output: &Output, reason: &str) -> usize {
    let rest = output.stderr.rsplit_once(&format!("{reason} ")).map(|(_, rest)| rest);
    let digits = rest.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    digits.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no {reason} in {}", output.stderr))
}

#[track_caller]
fn is(drop: &Value, session: &str, dir: &str, reason: &str, size: usize) {
    let told = (&drop["session"], &drop["dir"], &drop["reason"], &drop["size"]);
    assert_eq!(told, (&session.into(), &dir.into(), &reason.into(), &size.into()), "{drop}");
    assert!(drop["time"].is_string(), "{drop}");
}

#[test]
fn what_a_server_drops_is_a_line_with_session_reason_and_size() {
    let server = listen(&["--json", "--echo", "--loss", "1", "--admin", "0"]);
    let mut seen = Events::open(admin_port(&server));
    seen.wait_for(|name, _| name == "snapshot");
    let mut client = RawClient::connect(server.port);
    for size in [1, 20, 300] {
        client.say(Frame::text(&"x".repeat(size)));
        let drop = seen.wait_for(|_, data| data["type"] == "drop");
        is(&drop, "s1", "out", "loss", size);
    }
    let output = server.stop().exits(0).complains("dropped 3 (loss 3)");
    let drops = drops(&output);
    assert_eq!(drops.len(), 3);
    is(&drops[2], "s1", "out", "loss", 300);
}

#[test]
fn what_comes_too_fast_does_not_fit_or_finds_nobody_is_told() {
    let server = listen(&["--json", "--echo", "--message-rate", "1", "--close-timeout", "100ms"]);
    let mut client = RawClient::connect(server.port);
    client.write([Frame::text("one").masked().bytes(), Frame::text("second").masked().bytes()].concat());
    client.read_close();
    let output = server.stop().exits(0);
    is(&drops(&output)[0], "s1", "in", "rate", 6);

    let folder = scratch();
    let schema = text(&write(&folder, "schema.json", r#"{"type":"object"}"#));
    let server = listen(&["--json", "--echo", "--schema", &schema]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text("1234"));
    client.read_text();
    is(&drops(&server.stop().exits(0))[0], "s1", "in", "invalid", 4);

    let mut server = listen(&["--json", "--input", "json"]);
    let _client = RawClient::connect(server.port);
    server.process.send("{\"type\":\"text\",\"session\":\"s77\",\"text\":\"abc\"}\n");
    server.process.wait_for_stderr("no session s77");
    is(&drops(&server.stop().exits(0))[0], "s77", "out", "no-receiver", 3);
}

#[test]
fn what_a_relay_drops_is_a_line_among_the_messages_and_can_be_read_again() {
    let folder = scratch();
    let schema = text(&write(&folder, "schema.json", r#"{"type":"object"}"#));
    let record = text(&folder.path().join("record"));
    let arguments = ["relay", "-", "-", "--json", "--schema", &schema, "--record", &record];
    let output = run(&arguments, "{}\nnone\n{\"a\":1}\n");
    let lines = events(output.stdout());
    assert_eq!(lines.iter().filter(|line| line["type"] == "text").count(), 2);
    let drops = drops(&output);
    assert_eq!(drops.len(), 1);
    is(&drops[0], "s1", "in", "invalid", 4);
    let recorded = crate::support::files::read(record.as_ref());
    assert!(recorded.contains("\"type\":\"drop\""), "{recorded}");
    // Whatever reads event lines passes it over.
    let again = run(&["relay", "-", "-", "--input", "json", "--jq", "."], output.stdout()).exits(0);
    again.prints("{}\n{\"a\":1}\n");
    let echo = listen(&["--echo"]);
    run(&["connect", &echo.url, "--replay", &record, "--dir", "in", "--speed", "max", "-w", "0"], "").exits(0);
}

#[test]
fn a_relay_says_which_destination_was_too_slow() {
    let (go, may_go) = std::sync::mpsc::channel::<()>();
    let server = FakeServer::once(move |request| {
        let _socket = request.accept();
        let _ = may_go.recv();
    });
    let arguments =
        ["relay", "-", &server.url, "--json", "--on-full", "drop-oldest", "--queue-size", "3", "--grace", "100ms"];
    let mut relay = wsp(arguments).spawn();
    let line = format!("{}\n", "x".repeat(1 << 20));
    for _ in 0..40 {
        relay.send(&line);
    }
    relay.wait_for_stdout("queue-full");
    relay.signal(Signal::SIGTERM);
    let output = relay.outcome();
    let drops = drops(&output);
    assert_eq!(drops.len(), counted(&output, "queue-full"));
    is(&drops[0], "s2", "out", "queue-full", 1 << 20);
    drop(go);
    server.join();
}

#[test]
fn a_har_has_no_entry_for_what_was_dropped() {
    let folder = scratch();
    let record = text(&folder.path().join("all.har"));
    let server = listen(&["--echo", "--loss", "1", "--record", &record]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text("lost"));
    client.say(Frame::new(Opcode::Ping, *b"done"));
    assert!(client.read_frame().expect("an answer").is(Opcode::Pong));
    server.stop().exits(0).complains("loss 1");
    let har: Value = serde_json::from_str(&crate::support::files::read(record.as_ref())).expect("JSON");
    let entries = har["log"]["entries"].as_array().expect("entries");
    assert_eq!(entries.len(), 1);
    let messages = entries[0]["_webSocketMessages"].as_array().expect("messages");
    assert!(messages.iter().any(|message| message["data"] == "lost") && !har.to_string().contains("dropped"));
}
