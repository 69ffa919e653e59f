//! What `wsp listen` does with messages, and its start and stop.
//!
//! Owns the handlers (print, echo, broadcast, reply, sink), the ready line, the port file and the orderly end. Leaves
//! refusals and bounds to `listen_limits`.

use std::net::TcpListener;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::wire::header;
use crate::support::{Frame, Opcode, RawClient, events, events_of, listen, run, scratch, text, wsp};

#[test]
fn what_arrives_is_printed_and_stdin_goes_to_all() {
    let mut server = listen(&[]);
    let mut clients = [RawClient::connect(server.port), RawClient::connect(server.port)];
    clients[0].say(Frame::text("hello"));
    server.process.wait_for_stdout("hello");
    clients[1].say(Frame::text("good day"));
    server.process.wait_for_stdout("good day");
    server.process.send("welcome\n");
    for client in &mut clients {
        assert_eq!(client.read_text(), "welcome");
    }
    server.stop().exits(0).prints("hello\ngood day\n");
}

#[test]
fn a_server_whose_input_has_ended_goes_on() {
    let mut server = listen(&[]);
    server.process.end_input();
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text("still there"));
    server.process.wait_for_stdout("still there");
    server.stop().exits(0);
}

#[test]
fn echo_keeps_text_and_binary_apart() {
    let server = listen(&["--echo"]);
    let mut client = RawClient::connect(server.port);
    for frame in [
        Frame::text("ünï"),
        Frame::new(Opcode::Binary, [0, 255, 10]),
        Frame::text(""),
        Frame::new(Opcode::Binary, vec![7; 70_000]),
    ] {
        client.say(frame.clone());
        assert_eq!(client.read_data(), frame);
    }
    let output = server.stop().exits(0);
    assert_eq!(output.bytes, b"", "an echo server prints no messages");
}

#[test]
fn fragments_are_put_together_and_a_ping_between_them_is_answered() {
    let server = listen(&["--echo"]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text("one ").unfinished());
    client.say(Frame::new(Opcode::Ping, *b"between"));
    let pong = client.read_frame().expect("a pong");
    assert_eq!((pong.opcode, &pong.payload[..]), (Opcode::Pong as u8, &b"between"[..]));
    client.say(Frame::new(Opcode::Continuation, *b"two"));
    assert_eq!(client.read_text(), "one two");
}

#[test]
fn a_close_is_answered_in_kind() {
    let server = listen(&["--echo"]);
    for (sent, answer) in [(Frame::close(1000, "bye"), 1000), (Frame::close(4321, ""), 4321)] {
        let mut client = RawClient::connect(server.port);
        client.say(sent);
        assert_eq!(client.read_close().close_code(), answer);
        assert_eq!(client.read_rest(), b"", "the server lets go first");
    }
}

#[test]
fn broadcast_reaches_all_and_with_no_self_not_the_sender() {
    let server = listen(&["--broadcast"]);
    let mut clients = [RawClient::connect(server.port), RawClient::connect(server.port)];
    // Each has been heard once its own message has come back.
    clients[1].say(Frame::text("ready"));
    assert_eq!(clients[1].read_text(), "ready");
    clients[0].say(Frame::text("to all"));
    assert_eq!(clients[1].read_text(), "to all");
    assert!(["ready", "to all"].contains(&clients[0].read_text().as_str()));

    let server = listen(&["--broadcast", "--no-self"]);
    let mut clients = [RawClient::connect(server.port), RawClient::connect(server.port)];
    clients[0].say(Frame::text("from 0"));
    assert_eq!(clients[1].read_text(), "from 0");
    clients[1].say(Frame::text("from 1"));
    assert_eq!(clients[0].read_text(), "from 1", "what it sent itself did not come first");
}

#[test]
fn a_broadcast_carries_what_the_server_adds() {
    let forward = "select(. != \"quiet\") | {from: $meta.session, seq: $meta.seq, id: uuid, data: .}";
    let server = listen(&["--broadcast", "--no-self", "--forward-jq", forward]);
    let mut clients = [RawClient::connect(server.port), RawClient::connect(server.port)];
    clients[0].say(Frame::text("quiet"));
    clients[0].say(Frame::text("{\"n\":1}"));
    clients[0].say(Frame::text("plain text"));
    let mut got = || serde_json::from_str::<serde_json::Value>(&clients[1].read_text()).expect("JSON");
    let (first, second) = (got(), got());
    assert_eq!([&first["from"], &first["seq"], &first["data"]], [&json!("s1"), &json!(2), &json!({"n": 1})]);
    assert_eq!([&second["seq"], &second["data"]], [&json!(3), &json!("plain text")]);
    assert_ne!(first["id"], second["id"]);
    assert_eq!(first["id"].as_str().map(str::len), Some(36));
    clients[1].say(Frame::text("7"));
    let back: serde_json::Value = serde_json::from_str(&clients[0].read_text()).expect("JSON");
    assert_eq!([&back["from"], &back["data"]], [&json!("s2"), &json!(7)], "what it sent itself did not come first");
}

#[test]
fn a_reply_is_a_template_where_that_is_asked_for() {
    let server = listen(&["--reply", "{{seq}} of {{env.HOME}}", "--template"]);
    let home = std::env::var("HOME").expect("a home");
    run(&["connect", &server.url, "-n", "2"], "a\nb\n").exits(0).prints(&format!("1 of {home}\n2 of {home}\n"));
    run(&["listen", "127.0.0.1:0", "--echo", "--template"], "").exits(2).complains("--template has nothing to fill in");
    run(&["listen", "127.0.0.1:0", "--reply", "{{nothing}}", "--template"], "").exits(7).complains("nothing");
}

#[test]
fn reply_answers_every_message_with_the_same() {
    let server = listen(&["--reply", "noted"]);
    run(&["connect", &server.url, "-n", "2"], "a\nb\n").exits(0).prints("noted\nnoted\n");
}

#[test]
fn reply_jq_answers_with_what_the_filter_yields() {
    let server = listen(&["--reply-jq", "select(.id) | {id, ok: true}"]);
    let input = "{\"id\":1}\n{\"note\":1}\nnot JSON\n{\"id\":2}\n";
    let output = run(&["connect", &server.url, "-n", "2"], input).exits(0);
    output.prints("{\"id\":1,\"ok\":true}\n{\"id\":2,\"ok\":true}\n");
}

#[test]
fn what_a_filter_cannot_answer_is_told() {
    let server = listen(&["--reply-jq", ".id", "-v", "--json"]);
    run(&["connect", &server.url, "-n", "1"], "not JSON\n{\"id\":2}\n").exits(0).prints("2\n");
    let output = server.stop().exits(0).complains("s1: no answer to a message that is not JSON");
    let errors = events(output.stdout()).into_iter().filter(|event| event["type"] == "error");
    let errors: Vec<_> = errors.map(|event| event["error"].clone()).collect();
    assert_eq!(errors, ["no answer to a message that is not JSON"]);
}

#[test]
fn a_filter_that_meets_an_endless_input_ends_neither_the_server_nor_the_others() {
    let server = listen(&["--reply-jq", "if .halt then halt else .n end"]);
    let mut first = RawClient::connect(server.port);
    first.say(Frame::text(r#"{"halt":true}"#));
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    first.say(Frame::text(&deep));
    let mut second = RawClient::connect(server.port);
    second.say(Frame::text(r#"{"n":7}"#));
    assert_eq!(second.read_text(), "7");
}

#[test]
fn sink_counts_and_discards() {
    let server = listen(&["--sink"]);
    let input = "line\n".repeat(1000);
    run(&["connect", &server.url, "-w", "0"], input).exits(0).prints("");
    let output = server.stop().exits(0).prints("");
    assert!(output.stderr.contains("1000"), "a summary with the count: {}", output.stderr);
}

#[test]
fn json_prints_events_of_every_connection() {
    let server = listen(&["--json"]);
    let arguments = ["connect", &server.url, "-x", "hello", "-w", "0"];
    run(&arguments, "").exits(0);
    server.process.wait_for_stdout("\"close\"");
    let output = server.stop().exits(0);
    let events = events(output.stdout());
    let open = events.iter().find(|event| event["type"] == "open").expect("an open event");
    assert!(open["peer"].as_str().is_some_and(|peer| peer.starts_with("127.0.0.1:")), "{open}");
    let texts = events_of(&events, "text", "in");
    assert_eq!((texts.len(), &texts[0]["text"], &texts[0]["session"]), (1, &json!("hello"), &open["session"]));
    let close = events_of(&events, "close", "in");
    assert_eq!((close.len(), &close[0]["code"]), (1, &json!(1000)));
}

#[test]
fn the_port_file_holds_the_port() {
    let files = scratch();
    let path = files.path().join("port");
    let server = listen(&["--echo", "--port-file", &text(&path)]);
    // Written after the ready line, so wait for what can be seen: a line of an answered client comes later still.
    run(&["connect", &server.url, "-n", "1"], "x\n").exits(0);
    let content = std::fs::read_to_string(&path).expect("the port file");
    assert_eq!(content.trim().parse(), Ok(server.port));
    server.stop().exits(0);
}

#[test]
fn a_port_alone_is_loopback() {
    let port = crate::support::closed_port();
    for address in [port.to_string(), format!(":{port}")] {
        let server = crate::support::process::listen_at(&address, &["--echo"]);
        assert_eq!(server.url, format!("ws://127.0.0.1:{port}/"));
        server.stop().exits(0);
    }
}

#[test]
fn sigterm_and_sigint_close_all_connections_and_free_the_port() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = listen(&["--echo"]);
        let clients: Vec<_> = (0..3).map(|_| RawClient::connect(server.port)).collect();
        server.process.signal(signal);
        for client in clients {
            assert_eq!(client.answer_close(), 1001);
        }
        server.process.outcome().exits(0);
        TcpListener::bind(("127.0.0.1", server.port)).expect("the port is free");
    }
}

#[test]
fn a_client_that_ignores_the_close_does_not_hold_up_the_stop_for_long() {
    let server = listen(&["--echo"]);
    let silent = RawClient::connect(server.port);
    server.process.signal(Signal::SIGTERM);
    let output = server.process.outcome();
    assert!(matches!(output.code, 0 | 143), "{}: {}", output.code, output.stderr);
    drop(silent);
}

#[test]
fn the_upgrade_answer_carries_headers_and_the_first_subprotocol_of_ours_that_is_offered() {
    let server = listen(&["--echo", "-s", "new", "-s", "old", "-H", "X-Served-By: wsp"]);
    let (_, head) = RawClient::open(server.port, "/", "Sec-WebSocket-Protocol: other, old, new\r\n");
    assert_eq!(header(&head, "sec-websocket-protocol"), Some("new"));
    assert_eq!(header(&head, "x-served-by"), Some("wsp"));
    let (_, head) = RawClient::open(server.port, "/", "Sec-WebSocket-Protocol: other\r\n");
    assert_eq!(header(&head, "sec-websocket-protocol"), None);
}

#[test]
fn many_clients_are_served_at_once() {
    let server = listen(&["--echo"]);
    let mut clients: Vec<_> = (0..200).map(|_| RawClient::connect(server.port)).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.say(Frame::text(&number.to_string()));
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.read_text(), number.to_string());
    }
    server.stop().exits(0);
}

#[test]
fn two_of_them_can_be_chained_through_a_pipe() {
    let target = listen(&[]);
    let source = listen(&[]);
    let mut from = source;
    let reader = wsp(["connect", &from.url, "-i", "here"]).spawn();
    from.process.wait_for_stdout("here");
    from.process.send("payload\n");
    let line = reader.wait_for_stdout("payload");
    run(&["connect", &target.url, "-w", "0"], line).exits(0);
    target.process.wait_for_stdout("payload");
}

#[test]
fn a_quiet_server_says_errors_only() {
    let server = listen(&["-q", "--echo", "--tls", "--admin", "0"]);
    run(&["connect", &server.url, "-k", "-n", "1"], "hello\n").exits(0).prints("hello\n");
    assert_eq!(server.stop().exits(0).stderr, "");
}
