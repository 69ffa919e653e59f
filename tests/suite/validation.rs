//! `wsp listen --schema`: what does not match goes no further, its sender is told as asked, and it is kept when asked.

use serde_json::{Value, json};

use crate::support::{Frame, Opcode, RawClient, Server, events, events_of, listen, run, scratch, text, write, wsp};

const PRICE: &str = r#"{"type":"object","required":["price"],"properties":{"price":{"type":"number"}}}"#;

/// A server that asks for prices, with further arguments, and the place of its files.
fn asking(arguments: &[&str]) -> (Server, tempfile::TempDir) {
    let files = scratch();
    let schema = text(&write(&files, "price.json", PRICE));
    (listen(&[&["--schema", &schema, "--close-timeout", "100ms"], arguments].concat()), files)
}

#[test]
fn what_does_not_match_is_answered_by_an_error_and_never_seen_again() {
    let (server, files) = asking(&["--json", "--broadcast", "-v"]);
    let (mut client, mut other) = (RawClient::connect(server.port), RawClient::connect(server.port));
    let table = [
        (Frame::text(r#"{"price":"1"}"#), r#"/price: expected a number, not the string "1""#),
        (Frame::text("{}"), r#""price" is required and missing"#),
        (Frame::text("hello"), "not JSON"),
        (Frame::text(""), "not JSON"),
        (Frame::new(Opcode::Binary, [0, 255]), "not JSON"),
    ];
    for (message, details) in &table {
        client.say(message.clone());
        let told: Value = serde_json::from_str(&client.read_text()).expect("JSON");
        assert_eq!((&told["type"], &told["error"]), (&json!("error"), &json!("invalid message")));
        assert!(told["details"].as_str().is_some_and(|told| told.starts_with(details)), "{told}");
    }
    // Binary is as good as text.
    client.say(Frame::new(Opcode::Binary, *br#"{"price":2}"#));
    for client in [&mut client, &mut other] {
        assert_eq!(client.read_data().payload, br#"{"price":2}"#, "the first that was broadcast");
    }
    let output = server.stop().exits(0).complains("s1: invalid message: not JSON");
    let output = output.complains("received 6, sent 7, dropped 5 (invalid 5), dead-lettered 0");
    let events = events(output.stdout());
    let taken = events.iter().filter(|event| event["dir"] == "in" && event["type"] == "binary");
    assert_eq!(taken.count(), 1, "{events:?}");
    assert_eq!(events.iter().filter(|event| event["type"] == "drop" && event["reason"] == "invalid").count(), 5);
    assert!(events.iter().all(|event| event["dir"] != "in" || event["type"] != "text"), "{events:?}");
    assert_eq!(events.iter().filter(|event| event["type"] == "error").count(), table.len());
    drop(files);
}

#[test]
fn its_sender_is_closed_or_hears_nothing_when_that_is_asked() {
    let (server, _files) = asking(&["--echo", "--on-invalid", "close"]);
    let mut client = RawClient::connect(server.port);
    let all = [r#"{"price":1}"#, "no", r#"{"price":2}"#].map(|text| Frame::text(text).masked().bytes()).concat();
    client.write(&all);
    assert_eq!(client.read_text(), r#"{"price":1}"#);
    let close = client.read_frame().expect("a Close");
    assert!(close.is(Opcode::Close) && close.close_code() == 1008);
    assert!(close.payload[2..].starts_with(b"invalid message: not JSON"), "{close:?}");
    server.stop().exits(0).complains("dropped 1 (invalid 1)");

    let (server, _files) = asking(&["--echo", "--on-invalid", "drop"]);
    let mut client = RawClient::connect(server.port);
    client.write(&all);
    assert_eq!(client.read_text(), r#"{"price":1}"#);
    assert_eq!(client.read_text(), r#"{"price":2}"#);
    let output = server.stop().exits(0).complains("received 3, sent 2, dropped 1 (invalid 1)");
    assert!(!output.stderr.contains("not JSON"), "told under -v only: {}", output.stderr);
}

#[test]
fn what_does_not_match_is_kept_with_its_error() {
    let files = scratch();
    let dead = files.path().join("dead.jsonl");
    // Something is there already, and its last line was cut off.
    std::fs::write(&dead, "{\"an\":\"older line\"}\n{\"cut o").expect("a file");
    let (server, _files) = asking(&["--echo", "--on-invalid", "drop", "--dead-letter", &text(&dead)]);
    let (mut first, mut second) = (RawClient::connect(server.port), RawClient::connect(server.port));
    first.say(Frame::text("hällo"));
    first.say(Frame::new(Opcode::Binary, [0, 255]));
    first.say(Frame::text(r#"{"price":1}"#));
    first.read_text();
    second.say(Frame::text(r#"{"price":"high"}"#));
    second.say(Frame::text(r#"{"price":1}"#));
    second.read_text();
    server.stop().exits(0).complains("dropped 0, dead-lettered 3 (invalid 3)");
    let kept = std::fs::read_to_string(&dead).expect("dead letters");
    let lines: Vec<&str> = kept.lines().collect();
    assert_eq!((lines.len(), lines[..2].to_vec()), (5, vec!["{\"an\":\"older line\"}", "{\"cut o"]));
    let kept = events(&lines[2..].join("\n"));
    let gist = |event: &Value| ["session", "dir", "type", "text", "base64"].map(|field| event[field].clone());
    assert_eq!(gist(&kept[0]), [json!("s1"), json!("in"), json!("text"), json!("hällo"), json!(null)]);
    assert_eq!(gist(&kept[1]), [json!("s1"), json!("in"), json!("binary"), json!(null), json!("AP8=")]);
    assert_eq!(gist(&kept[2])[..3], [json!("s2"), json!("in"), json!("text")]);
    assert!(kept[2]["error"].as_str().is_some_and(|error| error.starts_with("invalid message: /price: ")), "{kept:?}");
    // They can be sent again as they are.
    let again = listen(&["--json"]);
    run(&["connect", &again.url, "--input", "json", "-w", "0"], lines[2..].join("\n")).exits(0);
    let output = again.stop().exits(0);
    assert_eq!(events_of(&events(output.stdout()), "text", "in").len(), 2);
}

#[test]
fn dead_letters_that_cannot_be_kept_end_the_server_with_32() {
    let files = scratch();
    let full = files.path().join("full.jsonl");
    std::os::unix::fs::symlink("/dev/full", &full).expect("a link");
    let (server, _files) = asking(&["--echo", "--dead-letter", &text(&full)]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text("no"));
    let output = server.process.outcome().exits(32).complains("cannot write the dead letters").complains("full.jsonl");
    assert!(output.stderr.contains("hint: --dead-letter"), "{}", output.stderr);
    let schema = text(&write(&files, "price.json", PRICE));
    let nowhere = text(&files.path().join("no/such/place"));
    let listen = ["listen", "127.0.0.1:0", "--schema", &schema, "--dead-letter", &nowhere];
    run(&listen, "").exits(32).complains("no/such/place");
}

#[test]
fn dead_letters_may_go_to_somebody_who_reads_them() {
    // A pipe as the file: the server goes on while its reader is slow, and loses nothing.
    let files = scratch();
    let pipe = files.path().join("dead.pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
    let path = text(&pipe);
    let reading = std::thread::spawn(move || std::fs::read_to_string(path).expect("the dead letters"));
    let (server, _files) = asking(&["--echo", "--on-invalid", "drop", "--dead-letter", &text(&pipe)]);
    let mut client = RawClient::connect(server.port);
    let invalid = Frame::text(&format!("\"{}\"", "x".repeat(1000))).masked().bytes();
    for number in 0..1000 {
        client.write(&invalid);
        client.say(Frame::text(&json!({"price": number}).to_string()));
        assert_eq!(client.read_text(), json!({"price": number}).to_string());
    }
    server.stop().exits(0).complains("dead-lettered 1000");
    assert_eq!(events(&reading.join().expect("the reader")).len(), 1000);
}

#[test]
fn a_schema_that_is_none_is_refused() {
    let files = scratch();
    let bad = text(&write(&files, "bad.json", r#"{"type":"strin"}"#));
    wsp(["listen", "127.0.0.1:0", "--schema", &bad]).input("").exits(7).complains("bad.json");
    wsp(["listen", "127.0.0.1:0", "--schema", "/no/such.json"]).input("").exits(2).complains("/no/such.json");
    wsp(["listen", "127.0.0.1:0", "--dead-letter", "x"]).input("").exits(2).complains("--schema");
    wsp(["listen", "127.0.0.1:0", "--on-invalid", "drop"]).input("").exits(2).complains("--schema");
}

#[test]
fn a_recording_has_what_came_and_what_was_wrong_with_it() {
    let files = scratch();
    let record = text(&files.path().join("all.jsonl"));
    let (server, _files) = asking(&["--echo", "--record", &record]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text("no"));
    client.read_text();
    server.stop().exits(0);
    let recorded = events(&std::fs::read_to_string(&record).expect("the recording"));
    let kinds: Vec<_> =
        recorded.iter().map(|event| (event["type"].as_str().unwrap_or(""), event["dir"].as_str())).collect();
    assert_eq!(kinds[..4], [("open", None), ("text", Some("in")), ("error", None), ("drop", Some("in"))]);
    assert_eq!(kinds[4], ("text", Some("out")));
}
