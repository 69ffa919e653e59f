//! `wsp bench`: whether answers can be believed: that any came, and that each belongs to its message.
//!
//! Judges by counts and verdicts: a busy machine may make a run invalid, and never a pass of a doubtful one.

use std::time::Duration;

use serde_json::json;

use super::bench::{bench_output, report};
use crate::support::target::{Answer, Target, same};
use crate::support::wire::Frame;
use crate::support::{listen, wsp};

#[test]
fn a_run_in_which_nothing_was_answered_is_no_pass() {
    let silent = Target::new(|_| vec![]);
    let arguments = ["-n", "20", "-c", "2", "--deadline", "200ms"];
    for more in [&[][..], &["--payload", "hello"], &["--match", "fifo", "--payload", "hello"]] {
        let output = wsp(["bench", &silent.url]).args(arguments).args(more).input("").exits(40);
        let output = output.complains("nothing came back: none of 20 messages was answered");
        let verdict = output.stdout().lines().nth(2).expect("the verdict");
        assert!(verdict.starts_with("NOT PASS") && !output.stdout().contains("VALID"), "{}", output.stdout());
    }
    let seen = report(&bench_output(&silent.url, &arguments).exits(40));
    assert_eq!((&seen["verdict"], &seen["messages"]["lost"]), (&json!("fail"), &json!(20)));
    assert!(seen["reasons"][0].as_str().is_some_and(|reason| reason.starts_with("nothing came back")), "{seen:#}");
    // A threshold about it decides instead.
    let expected = [&arguments[..], &["--threshold", "received=0"]].concat();
    bench_output(&silent.url, &expected).exits(0);
    let sent = bench_output(&silent.url, &["--mode", "send", "--rate", "50", "-d", "200ms"]);
    assert!([0, 41].contains(&sent.code) && !sent.stderr.contains("came back"), "{}", sent.stderr);
    bench_output(&silent.url, &["--mode", "push", "-d", "100ms"]).exits(40).complains("no message was received");
    let sink = listen(&["--sink"]);
    let publish = ["--publish", "1", "-c", "2", "--rate", "50", "-d", "200ms", "--deadline", "200ms"];
    let published = bench_output(&sink.url, &publish).complains("nothing came back");
    assert!([40, 41].contains(&published.code), "{}", published.code);
}

/// Answers after 50 ms, and says something of its own each millisecond meanwhile.
fn ticking() -> Target {
    Target::new(|asked| {
        let tick = |number: u64| Answer::late(Frame::text(&format!("tick {number}")), Duration::from_millis(number));
        let mut answers: Vec<_> = (1..50).map(tick).collect();
        answers.push(Answer::late(same(asked), Duration::from_millis(50)));
        answers
    })
}

#[test]
fn what_a_server_says_of_its_own_is_no_answer() {
    let target = ticking();
    let table: [&[&str]; 4] = [
        &["--payload", "hello"],
        &["--payload", "hello {{seq}}", "--template"],
        &["--payload", "hello", "--match", "content"],
        &["--payload", "hello", "--rate", "40", "-d", "1s"],
    ];
    for more in table {
        let number = if more.contains(&"--rate") { &[][..] } else { &["-n", "40"] };
        let output = bench_output(&target.url, &[&["-c", "2"], number, more].concat());
        let seen = report(&output);
        let (messages, load) = (&seen["messages"], &seen["load"]);
        assert_eq!(load["matching"], "content", "{more:?}");
        assert!(messages["received"].as_u64() > Some(20) && messages["received"] == messages["verified"], "{messages}");
        assert!(messages["unexpected"].as_u64() > Some(500), "{more:?}: {messages}");
        // Every latency is one of an answer.
        let fastest = seen["latency_ms"]["service"]["p50"].as_f64().expect("a median");
        assert!(fastest >= 50.0, "{more:?}: {fastest}");
        assert!([40, 41].contains(&output.code) && seen["verdict"] != "pass", "{more:?}: {}", seen["reasons"]);
        let first = seen["reasons"][0].as_str().unwrap_or_default();
        assert!(first.contains("messages arrived that equal no sent message"), "{first}");
        // Where they are known and allowed, they are no fault.
        let allowed = [&["-c", "2", "--threshold", "unexpected<1M"], number, more].concat();
        let output = bench_output(&target.url, &allowed);
        assert!([0, 41].contains(&output.code) && !output.stderr.contains("doubtful"), "{}", output.stderr);
    }
}

#[test]
fn answers_that_only_their_order_tells_apart_are_no_pass() {
    let api = Target::new(|_| vec![Answer::now(Frame::text("ok"))]);
    let arguments = ["-n", "40", "-c", "2", "--payload", "hello"];
    let seen = report(&bench_output(&api.url, &arguments).exits(40).complains("--match fifo trusts the order"));
    let (messages, load) = (&seen["messages"], &seen["load"]);
    assert_eq!((&messages["received"], &messages["verified"]), (&json!(40), &json!(0)), "{messages}");
    assert_eq!((&load["matching"], &load["matching_assumed"]), (&json!("fifo"), &json!(true)));
    for more in [["--match", "fifo"], ["--threshold", "unverified<=40"]] {
        let output = bench_output(&api.url, &[&arguments[..], &more].concat());
        assert!([0, 41].contains(&output.code) && !output.stderr.contains("doubtful"), "{}", output.stderr);
        // Answers that were held for a second do not make the measured time shorter.
        let least = if more[0] == "--threshold" { 0.9 } else { 0.0 };
        let measured = report(&output)["load"]["measured_s"].as_f64().expect("a time");
        assert!(measured >= least, "{more:?}: {measured}");
    }
    // Answers of both kinds are no order that can be believed.
    let target = ticking();
    let output = bench_output(&target.url, &[&arguments[..], &["--match", "fifo", "--in-flight", "9"]].concat());
    assert!([40, 41].contains(&output.code), "{}", output.code);
    output.complains("doubtful: ");
    bench_output(&target.url, &["--match", "nonsense"]).exits(2).complains("unknown method 'nonsense'");
}
