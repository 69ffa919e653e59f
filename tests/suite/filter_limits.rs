//! Filters that never end, take all memory or nest without an end: one message pays for it, and nobody else.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::support::{Frame, Opcode, RawClient, listen, run, wsp};

/// Builds a value as deep as the topic has parts.
const NEST: &str = r#"reduce (.topic|split("/")|reverse|.[]) as $k (.payload; {($k): .})"#;
/// Never ends for some messages.
const SOMETIMES: &str = "if .slow then (def f: f; f) else .n end";

/// For machines that have other things to do.
const PATIENCE: Duration = Duration::from_secs(120);

fn deep_topic(parts: usize) -> String {
    format!(r#"{{"topic":"{}","payload":1}}"#, vec!["a"; parts].join("/"))
}

#[test]
fn signals_end_a_client_whose_filter_never_ends() {
    let filters =
        ["def f: f; f", "[range(1e18)] | length", "last(repeat(1))", "[limit(1e18; repeat(1))]", "until(false; .)"];
    for (filter, (signal, code)) in
        filters.iter().zip([(Signal::SIGTERM, 143), (Signal::SIGINT, 130)].into_iter().cycle())
    {
        let server = listen(&["--echo", "--format", "raw"]);
        let words = ["connect", &server.url, "-x", "[1]", "-w", "-1", "-j", filter, "--jq-timeout", "0"];
        let client = wsp(words).spawn();
        server.process.wait_for_stdout("[1]");
        client.signal(signal);
        client.finish().exits(code);
    }
}

#[test]
fn other_sessions_are_served_while_a_filter_never_ends() {
    for mode in [["--reply-jq", SOMETIMES], ["--ack", SOMETIMES]] {
        let server = listen(&[&mode[..], &["--jq-timeout", "0"]].concat());
        let mut slow = RawClient::connect(server.port);
        let mut other = RawClient::connect(server.port);
        slow.say(Frame::text(r#"{"slow":true}"#));
        for n in 0..3 {
            other.say(Frame::new(Opcode::Ping, "alive?"));
            let pong = other.read_frame().expect("a pong");
            assert!(pong.is(Opcode::Pong), "{pong:?}");
            other.say(Frame::text(&format!(r#"{{"n":{n}}}"#)));
            assert_eq!(other.read_text(), n.to_string());
        }
        server.process.signal(Signal::SIGTERM);
        server.process.finish().exits(0).complains("the filter was stopped");
    }
}

#[test]
fn a_filter_past_its_time_costs_that_message_alone() {
    let server = listen(&["--reply-jq", SOMETIMES, "--jq-timeout", "100ms"]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text(r#"{"slow":true}"#));
    client.say(Frame::text(r#"{"n":1}"#));
    assert_eq!(client.read_text(), "1");
    server.process.wait_for_stderr("the filter ran longer than 100ms (--jq-timeout)");
}

#[test]
fn a_filter_past_its_memory_costs_that_message_alone() {
    for devours in ["[range(1e18)] | length", "[limit(1e18; repeat(1))]", "def f: . + . | f; f"] {
        let filter = format!("if .n then .n else (\"text\" | {devours}) end");
        let words = ["relay", "-", "-", "--jq", &filter, "--jq-timeout", "0", "--jq-memory", "2MiB"];
        let relay = wsp(words).limit(PATIENCE).input("{}\n{\"n\":1}\n");
        relay.complains("the filter used more memory than 2 MiB (--jq-memory)").prints("1\n");
    }
}

#[test]
fn a_topic_of_many_parts_costs_that_message_alone() {
    let server = listen(&["--reply-jq", NEST, "--jq-timeout", "0"]);
    let mut other = RawClient::connect(server.port);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text(&deep_topic(40_000)));
    server.process.wait_for_stderr("nested deeper than 1024 levels");
    for client in [&mut client, &mut other] {
        client.say(Frame::text(r#"{"topic":"x/y","payload":1}"#));
        assert_eq!(client.read_text(), r#"{"x":{"y":1}}"#);
    }
    // Compared, dropped, written and changed deep within.
    let input = format!("{}\n{{\"topic\":\"a\",\"payload\":5}}\n", deep_topic(200_000));
    for then in [".", ". == .", "[., .] | unique | length", "tojson", "[.] | length", "(.. | numbers) |= 2"] {
        let filter = format!("({NEST}) | {then}");
        let words = ["relay", "-", "-", "--jq", &filter, "--jq-timeout", "0", "--jq-memory", "4GiB"];
        let relay = wsp(words).limit(PATIENCE).input(&input);
        assert!(relay.code < 128, "{then}: {} {}", relay.code, relay.stderr);
        relay.complains("received 2 =").complains("waiting 0");
    }
}

#[test]
fn a_filter_that_calls_itself_without_end_is_an_error() {
    let relay = run(&["relay", "-", "-", "--jq", "if . == 1 then (def f: [f]; f) else . end"], "1\n2\n");
    relay.complains("the filter calls itself too deeply").prints("2\n");
}

#[test]
fn a_relay_counts_what_a_limit_stops_and_goes_on_in_order() {
    let filter = "if . == 2 then (def f: f; f) else . end";
    let relay = run(&["relay", "-", "-", "--jq", filter, "--jq-timeout", "100ms"], "1\n2\n3\n4\n");
    relay
        .complains("the filter ran longer than 100ms (--jq-timeout)")
        .complains("received 4 = delivered 3 + filtered 0 + dropped 1 (invalid 1) + dead-lettered 0 + waiting 0")
        .prints("1\n3\n4\n");
}

#[test]
fn a_signal_leaves_a_message_whose_filter_runs_undelivered() {
    let filter = "if . == 2 then (def f: f; f) else . end";
    let mut relay = wsp(["relay", "-", "-", "--jq", filter, "--jq-timeout", "0", "--grace", "1s"]).spawn();
    relay.send("1\n2\n");
    relay.wait_for_stdout("1");
    relay.signal(Signal::SIGTERM);
    relay.finish().complains("delivered 1 + filtered 0 + dropped 0 + dead-lettered 0");
}

#[test]
fn a_filter_that_cannot_be_stopped_ends_the_run_with_its_name() {
    // Two values that are small in memory and endless to compare.
    let double = "reduce range(60) as $i (0; [., .])";
    let filter = format!("({double}) as $a | ({double}) as $b | $a == $b");
    let relay = run(&["relay", "-", "-", "--jq", &filter, "--jq-timeout", "100ms"], "1\n");
    relay.exits(7).complains("the filter ran longer than 100ms (--jq-timeout) and cannot be stopped");
    let server = listen(&["--reply-jq", &filter, "--jq-timeout", "100ms"]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text("1"));
    server.process.finish().exits(7).complains("cannot be stopped");
}

#[test]
fn signals_end_what_cannot_be_stopped() {
    let double = "reduce range(60) as $i (0; [., .])";
    let filter = format!("({double}) as $a | ({double}) as $b | $a == $b");
    let server = listen(&["--echo", "--format", "raw"]);
    let words = ["connect", &server.url, "-x", "[1]", "-w", "-1", "-j", &filter, "--jq-timeout", "0"];
    let client = wsp(words).spawn();
    server.process.wait_for_stdout("[1]");
    client.signal(Signal::SIGTERM);
    client.finish().exits(143);
}
