//! `wsp listen --input json`: event lines on standard input, to all or to the session they name.
//!
//! Leaves raw lines to `listen`, the prompt to `listen_prompt`.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::{Frame, Opcode, RawClient, Server, Socket, events, events_of, listen, run};

/// A server that reads event lines, and clients that have been heard in this order.
fn server(arguments: &[&str], count: usize) -> (Server, Vec<Socket>) {
    let server = listen(&[&["--input", "json"], arguments].concat());
    let mut clients = Vec::new();
    for number in 1..=count {
        let mut client = RawClient::connect(server.port);
        client.say(Frame::text(&format!("here is number {number}")));
        server.process.wait_for_stdout(&format!("here is number {number}"));
        clients.push(client);
    }
    (server, clients)
}

#[test]
fn a_line_goes_to_the_session_it_names_or_to_all() {
    let (mut server, mut clients) = server(&[], 3);
    server.process.send("{\"type\":\"text\",\"session\":\"s2\",\"text\":\"to the second\"}\n");
    server.process.send("\n{\"type\":\"binary\",\"base64\":\"AP8=\"}\n");
    server
        .process
        .send("{\"time\":\"2026-01-02T03:04:05Z\",\"dir\":\"in\",\"type\":\"text\",\"size\":1,\"text\":\"x\"}\n");
    assert_eq!(clients[1].read_text(), "to the second");
    for client in &mut clients {
        assert_eq!(client.read_data(), Frame::new(Opcode::Binary, [0, 255]));
        assert_eq!(client.read_text(), "x");
    }
}

#[test]
fn a_close_comes_after_what_was_sent_before_and_the_others_stay() {
    let (mut server, mut clients) = server(&[], 2);
    let many: String =
        (0..500).map(|number| format!("{{\"type\":\"text\",\"session\":\"s1\",\"text\":\"{number}\"}}\n")).collect();
    server.process.send(&many);
    server.process.send("{\"type\":\"close\",\"session\":\"s1\",\"code\":1008,\"reason\":\"enough\"}\n");
    server
        .process
        .send("{\"type\":\"text\",\"session\":\"s2\",\"text\":\"stay\"}\n{\"type\":\"text\",\"text\":\"all\"}\n");
    for number in 0..500 {
        assert_eq!(clients[0].read_text(), number.to_string());
    }
    let close = clients[0].read_frame().expect("a Close");
    assert!(close.is(Opcode::Close), "nothing is sent after the close was asked for: {close:?}");
    assert_eq!((close.close_code(), &close.payload[2..]), (1008, &b"enough"[..]));
    assert_eq!((clients[1].read_text(), clients[1].read_text()), ("stay".into(), "all".into()));
    server.process.send("{\"type\":\"close\"}\n");
    assert_eq!(clients.pop().expect("the second").answer_close(), 1000);
}

#[test]
fn what_is_for_nobody_is_counted_and_told() {
    let (mut server, mut clients) = server(&[], 1);
    for line in [
        "{\"type\":\"text\",\"session\":\"s9\",\"text\":\"x\"}\n",
        "{\"type\":\"close\",\"session\":\"nobody\\u001b[2J\"}\n",
        "{\"type\":\"open\",\"session\":\"s9\"}\n",
    ] {
        server.process.send(line);
    }
    server.process.send("{\"type\":\"text\",\"text\":\"after\"}\n");
    assert_eq!(clients[0].read_text(), "after");
    drop(clients);
    let output = server.stop().exits(0);
    assert!(output.stderr.contains("no session s9; its messages were dropped\n"), "{}", output.stderr);
    assert!(output.stderr.contains("no session nobody\\u{1b}[2J;"), "{}", output.stderr);
    assert!(output.stderr.contains("dropped 2 (no-receiver 2)"), "{}", output.stderr);
}

#[test]
fn a_line_that_is_no_event_is_told_and_the_server_goes_on() {
    let (mut server, mut clients) = server(&[], 1);
    let wrong = [
        "not JSON\n",
        "[]\n",
        "{\"type\":\"text\"}\n",
        "{\"type\":\"shout\",\"text\":\"x\"}\n",
        "{\"type\":\"close\",\"code\":99}\n",
        "{\"type\":\"text\",\"text\":\"a\",\"base64\":\"YQ==\"}\n",
    ];
    for line in wrong {
        server.process.send(line);
    }
    server.process.send(b"\xff\xfe\n");
    server.process.send("{\"type\":\"text\",\"text\":\"after\"}\n");
    assert_eq!(clients[0].read_text(), "after");
    drop(clients);
    let output = server.stop().exits(0);
    let told = output.stderr.matches("wsp: standard input, line ").count();
    assert_eq!(told, wrong.len() + 1, "{}", output.stderr);
}

#[test]
fn pings_are_sent_and_their_answers_are_events() {
    let (mut server, mut clients) = server(&["--json"], 1);
    server.process.send("{\"type\":\"ping\",\"session\":\"s1\",\"text\":\"are you there\"}\n");
    let ping = clients[0].read_frame().expect("a ping");
    assert!(ping.is(Opcode::Ping) && ping.payload == b"are you there", "{ping:?}");
    clients[0].say(Frame::new(Opcode::Pong, ping.payload));
    server.process.wait_for_stdout("\"pong\"");
    drop(clients);
    let output = server.stop().exits(0);
    let events = events(output.stdout());
    assert_eq!(events_of(&events, "ping", "out")[0]["text"], "are you there");
    assert_eq!(events_of(&events, "pong", "in")[0]["text"], "are you there");
}

#[test]
fn what_one_server_prints_another_sends() {
    let (source, mut clients) = server(&["--json"], 1);
    clients[0].say(Frame::new(Opcode::Binary, [1, 2, 3]));
    source.process.wait_for_stdout("\"AQID\"");
    drop(clients);
    let recorded = source.stop().exits(0);
    let (mut target, mut clients) = server(&[], 1);
    target.process.send(&recorded.bytes);
    assert_eq!(clients[0].read_text(), "here is number 1");
    assert_eq!(clients[0].read_data(), Frame::new(Opcode::Binary, [1, 2, 3]));
    // The close of the recording was that of the client.
    assert!(clients[0].read_frame().is_none_or(|frame| frame.is(Opcode::Close)));
}

#[test]
fn with_block_input_waits_for_the_session_it_names() {
    let (mut server, _) = server(&["--queue-size", "10", "--on-full", "block"], 0);
    let mut client = RawClient::narrow(server.port);
    let line = json!({"type": "text", "session": "s1", "text": "x".repeat(3000)}).to_string() + "\n";
    let input = line.repeat(2000);
    let mut stdin = server.process.take_input();
    let writing = std::thread::spawn(move || std::io::Write::write_all(&mut stdin, input.as_bytes()));
    for _ in 0..2000 {
        assert_eq!(client.read_text().len(), 3000);
    }
    writing.join().expect("it ends").expect("all is written");
    server.process.signal(Signal::SIGTERM);
    assert_eq!(client.answer_close(), 1001);
    assert!(server.process.outcome().exits(0).stderr.contains("sent 2000, dropped 0"));
}

#[test]
fn where_nothing_is_read_input_is_a_mistake() {
    run(&["listen", ":0", "--echo", "--input", "json"], "").exits(2).complains("does not read stdin");
}
