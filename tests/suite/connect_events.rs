//! Event lines of `wsp connect`: what `--json` prints, what `--input json` reads, and several sessions in one run.
//!
//! Owns the schema as a user's script sees it. Leaves raw output to `connect_framing`.

use serde_json::{Value, json};

use crate::support::{FakeServer, Frame, Opcode, events, events_of, listen, run, wsp};

#[test]
fn every_event_of_a_session_is_a_line() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept_with("Sec-WebSocket-Protocol: chat\r\n");
        assert_eq!(socket.read_text(), "hello");
        socket.say(Frame::text("ünï"));
        socket.say(Frame::new(Opcode::Binary, [0, 255]));
        socket.say(Frame::close(1000, "bye"));
        socket.answer_close();
    });
    let output = run(&["connect", &server.url, "--json", "-s", "chat", "-w", "-1"], "hello\n").exits(0);
    let events = events(output.stdout());
    for event in &events {
        assert_eq!(event["session"], "s1");
        let time = event["time"].as_str().expect("a time");
        assert_eq!(time.len(), "2026-01-02T03:04:05.678901Z".len(), "{time}");
        assert!(time.ends_with('Z'), "{time}");
    }
    let open = &events[0];
    assert_eq!(open["type"], "open");
    assert_eq!(open["url"].as_str().map(|url| url.trim_end_matches('/')), Some(server.url.trim_end_matches('/')));
    assert_eq!(open["subprotocol"], "chat");
    assert!(open["handshake_ms"].is_number(), "{open}");
    let sent = events_of(&events, "text", "out");
    assert_eq!((sent.len(), &sent[0]["text"], &sent[0]["size"]), (1, &json!("hello"), &json!(5)));
    let text = events_of(&events, "text", "in");
    assert_eq!((text.len(), &text[0]["text"], &text[0]["size"]), (1, &json!("ünï"), &json!(5)));
    let binary = events_of(&events, "binary", "in");
    assert_eq!((binary.len(), &binary[0]["base64"], &binary[0]["size"]), (1, &json!("AP8="), &json!(2)));
    let close = events_of(&events, "close", "in");
    assert_eq!(close.len(), 1);
    assert_eq!(
        (&close[0]["code"], &close[0]["reason"], &close[0]["clean"]),
        (&json!(1000), &json!("bye"), &json!(true))
    );
    server.join();
}

#[test]
fn event_lines_are_sent_as_what_they_are() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        assert_eq!(socket.read_text(), "line\nbreak");
        let binary = socket.read_data();
        assert!(binary.is(Opcode::Binary));
        assert_eq!(binary.payload, [0, 255]);
        let ping = socket.read_frame().expect("a ping");
        assert!(ping.is(Opcode::Ping), "{ping:?}");
        socket.say(Frame::new(Opcode::Pong, ping.payload));
        assert_eq!(socket.answer_close(), 1000);
    });
    let input = [
        json!({"type": "text", "text": "line\nbreak"}),
        json!({"time": "2026-01-02T03:04:05.678901Z", "session": "s9", "dir": "in", "type": "binary", "size": 2, "base64": "AP8="}),
        json!({"type": "ping", "text": "p"}),
    ]
    .map(|event| format!("{event}\n"))
    .concat();
    run(&["connect", &server.url, "--input", "json", "-w", "0"], input).exits(0);
    server.join();
}

#[test]
fn what_json_prints_input_json_reads() {
    let server = listen(&["--echo"]);
    let sent = run(&["connect", &server.url, "--json", "--hex", "-n", "2"], "00ff\n0a\n").exits(0);
    let received = |event: &&str| serde_json::from_str::<Value>(event).expect("JSON")["dir"] == "in";
    let lines: String = sent.stdout().lines().filter(received).fold(String::new(), |all, line| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        if event["type"] == "binary" { all + line + "\n" } else { all }
    });
    let output = run(&["connect", &server.url, "--input", "json", "--format", "hex", "-n", "2"], lines).exits(0);
    output.prints("00 ff\n0a\n");
}

#[test]
fn an_event_line_that_is_none_is_named() {
    let server = listen(&["--echo"]);
    let output = run(&["connect", &server.url, "--input", "json", "-w", "0"], "{\"type\":\"nonsense\"}\n");
    assert_ne!(output.stderr, "");
}

#[test]
fn several_urls_are_several_sessions() {
    let (one, two) = (listen(&["--reply", "from one"]), listen(&["--reply", "from two"]));
    let output = run(&["connect", &one.url, &two.url, "--json", "-x", "hello", "-w", "1s"], "").exits(0);
    let events = events(output.stdout());
    let opens = events.iter().filter(|event| event["type"] == "open");
    let mut urls: Vec<_> = opens.map(|open| (open["url"].as_str().expect("a url"), open["session"].clone())).collect();
    urls.sort_by_key(|(_, session)| session.to_string());
    assert_eq!(urls.len(), 2, "{events:?}");
    assert!(urls[0].0.contains(&one.port.to_string()), "{urls:?}");
    assert!(urls[1].0.contains(&two.port.to_string()), "{urls:?}");
    let mut replies: Vec<_> = events_of(&events, "text", "in")
        .iter()
        .map(|event| (event["session"].to_string(), event["text"].to_string()))
        .collect();
    replies.sort();
    let expected = [("\"s1\"", "\"from one\""), ("\"s2\"", "\"from two\"")];
    assert_eq!(replies, expected.map(|(session, text)| (session.to_owned(), text.to_owned())));
}

#[test]
fn one_of_several_sessions_may_fail_without_taking_the_others_along() {
    let server = listen(&["--echo"]);
    let missing = format!("ws://127.0.0.1:{}/", crate::support::closed_port());
    let output = run(&["connect", &missing, &server.url, "--json", "-x", "hello", "-w", "500ms"], "").exits(14);
    let events = events(output.stdout());
    assert_eq!(events_of(&events, "text", "in").len(), 1, "{events:?}");
    let refused = format!("wsp: s1: cannot connect to {missing}: ");
    assert!(output.stderr.starts_with(&refused) && output.stderr.contains("\nhint: "), "{}", output.stderr);
}

#[test]
fn notices_of_several_sessions_name_them() {
    let (one, two) = (listen(&["--echo"]), listen(&["--echo"]));
    let output = run(&["connect", &one.url, &two.url, "-v", "-x", "hello", "-n", "2"], "").exits(0);
    output.prints("hello\nhello\n");
    let output = run(&["connect", &one.url, &one.url, "-v", "-x", "hello", "-n", "2"], "").exits(0);
    assert!(output.stderr.lines().all(|line| line.starts_with("s1 ") || line.starts_with("s2 ")), "{}", output.stderr);
    for session in ["s1", "s2"] {
        for what in ["* connected to ", "> GET / HTTP/1.1", "< HTTP/1.1 101 "] {
            assert!(output.stderr.contains(&format!("{session} {what}")), "{}", output.stderr);
        }
    }
}

#[test]
fn pings_are_shown_on_stderr_when_asked_for() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::new(Opcode::Ping, *b"are you there"));
        let pong = socket.read_frame().expect("a pong");
        assert_eq!((pong.opcode, &pong.payload[..]), (Opcode::Pong as u8, &b"are you there"[..]));
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let output = run(&["connect", &server.url, "-P", "-w", "-1"], "").exits(0).prints("");
    assert!(output.stderr.to_lowercase().contains("ping"), "{}", output.stderr);
    server.join();
}

#[test]
fn a_retry_is_an_event() {
    let url = format!("ws://127.0.0.1:{}/", crate::support::closed_port());
    let output = wsp(["connect", &url, "--json", "--reconnect=2", "--retry-delay", "10ms"]).spawn().outcome();
    let output = output.exits(9);
    let events = events(output.stdout());
    let attempts: Vec<_> =
        events.iter().filter(|event| event["type"] == "retry").map(|event| &event["attempt"]).collect();
    assert_eq!(attempts, [&json!(1), &json!(2)]);
    assert!(events.iter().any(|event| event["type"] == "error" && event["error"].is_string()), "{events:?}");
}

#[test]
fn open_events_always_say_which_subprotocol_and_extensions() {
    let folder = crate::support::scratch();
    let recorded = crate::support::text(&folder.path().join("relay.jsonl"));
    let server = listen(&["--echo", "--json"]);
    let client = run(&["connect", &server.url, "--json", "--no-compress", "-n", "1"], "x\n").exits(0);
    run(&["relay", "-", &server.url, "--record", &recorded], "x\n").exits(0);
    let server = server.stop();
    let relayed = crate::support::files::read(std::path::Path::new(&recorded));
    for lines in [client.stdout(), server.stdout(), &relayed] {
        let events = events(lines);
        let opened: Vec<_> = events.iter().filter(|event| event["type"] == "open").collect();
        assert!(!opened.is_empty(), "{lines}");
        for open in opened {
            assert_eq!(
                (open.get("subprotocol"), open.get("extensions")),
                (Some(&json!(null)), Some(&json!(null))),
                "{open}"
            );
        }
    }
}
