//! A filter that takes all the time it may holds up nothing but the messages it is asked about: pings are answered, signals
//! are heeded, others are served, and what comes behind it comes in order.

use std::sync::mpsc;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::process::Process;
use crate::support::stores::{Postgres, Search};
use crate::support::{
    FakeServer, Frame, Opcode, RawClient, Server, Socket, listen, require, run, scratch, text, write, wsp,
};

/// Never ends for some messages.
const SOMETIMES: &str = "if .slow then (def f: f; f) else .n end";
const SLOW: &str = r#"{"slow":true}"#;
/// Without what these tests are about they would wait for so long.
const HOUR: [&str; 2] = ["--jq-timeout", "1h"];

/// Pings are answered one after the other, whatever else is said.
#[track_caller]
fn answers_pings(socket: &mut Socket) {
    for n in 0..3 {
        let payload = format!("alive {n}?");
        socket.say(Frame::new(Opcode::Ping, payload.as_str()));
        loop {
            let frame = socket.read_frame().expect("a pong");
            if frame.is(Opcode::Pong) && frame.payload == payload.as_bytes() {
                break;
            }
        }
    }
}

/// A server that sends what takes a filter all its time once `text` is there, and then pings; it tells when it has its pongs.
fn pinging(text: Option<&'static str>) -> (FakeServer, mpsc::Receiver<()>) {
    let (sender, ponged) = mpsc::channel();
    let server = FakeServer::once(move |request| {
        let mut socket = request.accept();
        if let Some(text) = text {
            assert!(socket.read_text().contains(text));
        }
        socket.say(Frame::text(SLOW));
        answers_pings(&mut socket);
        sender.send(()).expect("the test waits");
        // Who is only opening a connection drops it.
        while let Some(frame) = socket.read_frame() {
            if frame.is(Opcode::Close) {
                socket.try_write(Frame::close(1000, "").bytes());
                break;
            }
        }
    });
    (server, ponged)
}

/// Once its peer has its pongs the run is stopped, and ends with this code.
fn is_stopped_at_once(process: Process, (server, ponged): (FakeServer, mpsc::Receiver<()>), code: i32) {
    ponged.recv().expect("pings are answered");
    process.signal(Signal::SIGTERM);
    process.finish().exits(code);
    server.join();
}

#[test]
fn a_client_answers_pings_and_ends_at_once_while_its_filter_takes_its_time() {
    let when = format!("{SOMETIMES} => x");
    let fold = format!("[null, ({SOMETIMES})]");
    let ways: [&[&str]; 7] = [
        &["--jq", SOMETIMES],
        &["--expect", SOMETIMES],
        &["--reply-jq", SOMETIMES],
        &["--heartbeat-reply", &when],
        &["--resume", &when],
        &["--fold", &fold],
        &["-i", "a", "-i", "b", "--init-wait", SOMETIMES],
    ];
    for way in ways {
        let server = pinging(None);
        let client = wsp(["connect", &server.0.url, "-w", "-1"]).args(way).args(HOUR).spawn();
        is_stopped_at_once(client, server, 143);
    }
}

#[test]
fn the_ends_of_a_relay_answer_pings_while_their_filters_take_their_time() {
    let route = format!("{SOMETIMES} => null:");
    for way in [["--init-wait", SOMETIMES], ["--jq", SOMETIMES], ["--route", &route]] {
        let (server, ponged) = pinging(None);
        let words = ["relay", &server.url, "-", "-i", "a", "-i", "b", "--grace", "100ms"];
        let relay = wsp(words).args(way).args(HOUR).spawn();
        ponged.recv().expect("pings are answered");
        relay.signal(Signal::SIGTERM);
        let _ = relay.finish();
        server.join();
    }
}

#[test]
fn a_load_test_answers_pings_and_ends_at_once_while_its_filter_takes_its_time() {
    let filter = format!("jq:{SOMETIMES}");
    let words: [(&[&str], Option<&str>); 2] = [
        (&["--payload", "{\"n\":{{seq}}}", "--template", "--match", &filter], Some("\"n\"")),
        (&["-i", "a", "-i", "b", "--init-wait", SOMETIMES, "--payload", "x"], Some("a")),
    ];
    for (way, text) in words {
        let server = pinging(text);
        let bench =
            wsp(["bench", &server.0.url, "-c", "1", "-d", "1h", "--deadline", "1h"]).args(way).args(HOUR).spawn();
        is_stopped_at_once(bench, server, 143);
    }
}

#[test]
fn a_server_answers_the_pings_of_the_session_whose_filter_takes_its_time() {
    let files = scratch();
    let rules = text(&write(&files, "rules.toml", format!("[[rule]]\nwhen = '{SOMETIMES}'\nreply = '1'\n")));
    for way in [["--reply-jq", SOMETIMES], ["--ack", SOMETIMES], ["--script", &rules]] {
        let server = listen(&[&way[..], &HOUR].concat());
        let mut client = RawClient::connect(server.port);
        client.say(Frame::text(SLOW));
        answers_pings(&mut client);
        server.process.signal(Signal::SIGTERM);
        let output = server.process.finish().exits(0);
        // A rule's condition that fails, however that is, does not hold.
        if way[0] != "--script" {
            output.complains("the filter was stopped");
        }
    }
}

#[test]
fn what_comes_behind_a_costly_message_is_dealt_with_in_order_although_the_peer_has_gone() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        for text in [SLOW, r#"{"n":1}"#, SLOW, r#"{"n":2}"#] {
            socket.say(Frame::text(text));
        }
        socket.say(Frame::close(1000, ""));
        socket.half_close();
        socket.read_rest();
    });
    let words = ["connect", &server.url, "-w", "-1", "--jq", SOMETIMES, "--jq-timeout", "100ms"];
    run(&words, "").exits(0).complains("the filter ran longer than 100ms").prints("1\n2\n");
    server.join();
}

#[test]
fn what_has_come_is_not_lost_when_its_sender_falls_silent_behind_a_costly_message() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        for text in [SLOW, r#"{"n":1}"#, r#"{"n":2}"#] {
            socket.say(Frame::text(text));
        }
        // Pings are read and not answered.
        socket.read_rest();
    });
    let words = ["connect", &server.url, "-w", "-1", "--jq", SOMETIMES, "--jq-timeout", "2s"];
    let pings = ["--ping-interval", "20ms", "--ping-timeout", "50ms"];
    run(&[&words[..], &pings].concat(), "").exits(9).complains("the filter ran longer than 2s").prints("1\n2\n");
    server.join();
}

#[test]
fn answers_go_out_before_the_answer_to_a_close_that_came_behind_a_costly_message() {
    let close = || Frame::close(1000, "");
    // The last answer takes a while too.
    let filter = format!("if .count then ([range(.count)] | length) else ({SOMETIMES}) end");
    let talk = |socket: &mut Socket, close: Frame| {
        for text in [SLOW, r#"{"n":1}"#, r#"{"count":20000}"#] {
            socket.say(Frame::text(text));
        }
        socket.say(close);
        assert_eq!([socket.read_text(), socket.read_text()], ["1", "20000"]);
        assert_eq!(socket.read_close().close_code(), 1000);
    };
    let server = FakeServer::once(move |request| talk(&mut request.accept(), close()));
    let limit = ["--reply-jq", &filter, "--jq-timeout", "2s"];
    run(&[&["connect", &server.url][..], &limit].concat(), "").exits(0);
    server.join();
    let server = listen(&limit);
    talk(&mut RawClient::connect(server.port), close());
}

#[test]
fn one_state_is_folded_in_order_while_a_fold_takes_its_time() {
    let server = listen(&["--push", "50", "--payload", r#"{"n":1}"#]);
    let fold = "(def f: .; [$state + (.n | f), $state])";
    let words = ["connect", &server.url, &server.url, "-w", "-1", "-n", "40", "--fold", fold, "--state", "0"];
    let client = run(&words, "").exits(0);
    let mut seen: Vec<u32> = client.stdout().lines().map(|line| line.parse().expect("a number")).collect();
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..40), "each state once: {}", client.stdout());
}

/// Registers a client of a feed for one kind, or for everything.
fn registered(server: &Server, kinds: &[&str]) -> Socket {
    let mut client = RawClient::connect(server.port);
    assert!(client.read_text().contains("welcome"));
    client.say(Frame::text(&json!({"type": "register", "filters": {"types": kinds}}).to_string()));
    assert!(client.read_text().contains("registered"));
    client
}

#[test]
fn feeds_go_on_while_a_field_takes_its_time() {
    let field = format!("types={}", SOMETIMES.replace(".n", ".kind"));
    let feed = ["--protocol", "feed", "--feed-field", &field];
    let servers = [
        listen(&[&feed[..], &HOUR].concat()),
        Server::ready(wsp(["relay", "-", "ws-listen://127.0.0.1:0", "--grace", "100ms"]).args(feed).args(HOUR)),
    ];
    for mut server in servers {
        let (mut all, mut one) = (registered(&server, &[]), registered(&server, &["a"]));
        server.process.send(format!("{{\"kind\":\"a\"}}\n{SLOW}\n{{\"kind\":\"a\"}}\n"));
        assert_eq!(one.read_text(), r#"{"kind":"a"}"#);
        assert_eq!([all.read_text(), all.read_text(), all.read_text()], [r#"{"kind":"a"}"#, SLOW, r#"{"kind":"a"}"#]);
        answers_pings(&mut one);
        answers_pings(&mut all);
        server.process.signal(Signal::SIGTERM);
        let _ = server.process.finish();
    }
}

/// A relay from clients goes on while this destination's filter takes its time; what it is about stays.
fn goes_on(to: &str) {
    let words = ["relay", "ws-listen://127.0.0.1:0", to, "--grace", "1s"];
    let relay = Server::ready(wsp(words).args(HOUR));
    let mut client = RawClient::connect(relay.port);
    client.say(Frame::text(r#"{"n":1}"#));
    client.say(Frame::text(SLOW));
    answers_pings(&mut client);
    relay.process.signal(Signal::SIGTERM);
    relay.process.finish().complains("received 2 =");
}

#[test]
fn a_relay_goes_on_while_the_keys_of_a_destination_take_their_time() {
    #[cfg(feature = "nats")]
    if require("nats") {
        let server = crate::support::nats::Nats::start(&[]);
        goes_on(&server.url(&format!("ids?stream=IDS&create&id={SOMETIMES}")));
    }
    #[cfg(feature = "kafka")]
    if require("kafka") {
        let server = crate::support::kafka::shared();
        let topic = crate::support::kafka::Other(&server).create("costly-keys", 1, &[]);
        goes_on(&format!("kafka://{server}/{topic}?key={SOMETIMES}"));
    }
    if require("postgres") {
        let server = Postgres::shared();
        let table = server.table("n int8");
        goes_on(&server.url(&format!("/{table}?columns=n=({SOMETIMES})")));
    }
    if require("opensearch") {
        let server = Search::shared();
        goes_on(&server.url(&format!("{}?id={SOMETIMES}", Search::index())));
    }
}
