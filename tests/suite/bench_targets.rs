//! `wsp bench` against servers whose behaviour is known: `wsp listen` with faults on purpose, and Bun.
//!
//! Shares are compared within three standard deviations of what chance allows; the same seed gives the same faults, so that
//! a share which fits fits every time. Times have room for a busy machine; `tests/bench` looks closer.

use serde_json::{Value, json};

use super::bench::bench;
use crate::support::peers::bun_server;
use crate::support::{listen, require};

#[track_caller]
fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {path}: {report:#}"))
}

/// Whether `count` of `all` is what chance makes of `share`.
#[track_caller]
fn is_share(count: f64, all: f64, share: f64) {
    let (mean, deviation) = (all * share, (all * share * (1.0 - share)).sqrt());
    assert!(
        (count - mean).abs() <= 3.0 * deviation,
        "{count} of {all}; {mean:.0} +- {deviation:.0} are to be expected"
    );
}

#[test]
fn faults_of_a_known_share_are_found() {
    let table = [
        ("--loss", "5%", 0.05, "lost"),
        ("--corrupt", "3%", 0.03, "corrupt"),
        ("--duplicate", "4%", 0.04, "duplicated"),
    ];
    for (flag, text, share, name) in table {
        let server = listen(&["--echo", flag, text, "--seed", "11"]);
        // Each connection has the same faults; with one, chance is what it is among its messages.
        let load = ["-c", "1", "-n", "4000", "--in-flight", "64", "--deadline", "500ms"];
        let report = bench(&server.url, &load);
        assert_eq!(report["messages"]["sent"], 4000);
        is_share(number(&report, &format!("/messages/{name}")), 4000.0, share);
        for other in ["lost", "corrupt", "duplicated", "unexpected", "cross_talk", "reordered"] {
            // A lost message is settled before the connection closes, a duplicate that comes last is not awaited.
            if other != name {
                assert_eq!(report["messages"][other], 0, "{flag} {other}: {:#}", report["messages"]);
            }
        }
    }
}

#[test]
fn a_delay_is_measured_from_the_intended_time() {
    let (prompt, late) = (listen(&["--echo"]), listen(&["--echo", "--delay", "20ms"]));
    let run = |url: &str| bench(url, &["--rate", "500", "-d", "2s", "--warmup", "300ms"]);
    let mut told = Vec::new();
    // What the machine adds is in both, and now and then more in one than in the other.
    let is_delay = (0..5).any(|_| {
        let (base, report) = (run(&prompt.url), run(&late.url));
        assert_eq!(report["messages"]["lost"], 0);
        ["response", "service"].into_iter().all(|kind| {
            let path = format!("/latency_ms/{kind}/p50");
            let (base, p50) = (number(&base, &path), number(&report, &path));
            assert!(p50 >= 20.0, "{kind}: {p50}");
            told.push((kind, p50, base));
            p50 - base < 24.0
        })
    });
    assert!(is_delay, "{told:?}");
}

#[test]
fn a_stall_is_in_the_percentiles_of_an_open_loop_and_is_no_overload() {
    // Four times in five seconds: a tenth of the messages waits for 375 ms or more.
    let server = listen(&["--echo", "--stall", "500ms every 1s"]);
    for deadline in ["5s", "200ms"] {
        let report = bench(&server.url, &["--rate", "300", "-d", "5s", "-c", "3", "--deadline", deadline]);
        assert_eq!(report["rate"]["sustained"], true, "{:#}", report["reasons"]);
        if deadline == "5s" {
            let (p90, p99) = (number(&report, "/latency_ms/response/p90"), number(&report, "/latency_ms/response/p99"));
            assert!((300.0..480.0).contains(&p90) && (420.0..650.0).contains(&p99), "{p90} {p99}");
        } else {
            assert_eq!(report["messages"]["lost"], report["messages"]["late"], "{:#}", report["messages"]);
            assert!(number(&report, "/messages/lost") > 50.0, "{:#}", report["messages"]);
        }
    }
    let closed = bench(&server.url, &["-d", "1s", "-c", "3"]);
    assert!(closed["latency_ms"]["response"].is_null(), "{:#}", closed["latency_ms"]);
    assert!(closed["generator"]["warnings"].to_string().contains("closed loop"), "{:#}", closed["generator"]);
}

#[test]
fn losses_by_chance_are_no_overload() {
    let server = listen(&["--echo", "--loss", "5%", "--seed", "3"]);
    for deadline in ["5s", "300ms"] {
        let report = bench(&server.url, &["--rate", "1000", "-d", "2s", "--deadline", deadline]);
        assert!(number(&report, "/messages/lost") > 50.0, "{:#}", report["messages"]);
        assert_eq!(report["rate"]["sustained"], true, "{:#}", report["reasons"]);
    }
}

#[test]
fn a_server_that_pushes_is_measured_without_a_word() {
    let server = listen(&["--push", "200"]);
    let report = bench(&server.url, &["--mode", "push", "-c", "3", "-d", "2s"]);
    assert_eq!(report["messages"]["sent"], 0);
    let received = number(&report, "/messages/received");
    assert!((1000.0..=1230.0).contains(&received), "{received} of 1200");
    let silent = listen(&["--sink"]);
    let report = bench(&silent.url, &["--mode", "push", "-d", "300ms"]);
    assert!(report["reasons"].to_string().contains("no message was received"), "{:#}", report["reasons"]);
}

#[test]
fn bun_is_load_tested() {
    if !require("node-ws") {
        return;
    }
    let server = bun_server();
    for more in
        [&[][..], &["-b", "--payload-size", "70000"], &["--compress", "--payload-json", "--payload-size", "500"]]
    {
        let report = bench(&server.url(), &[&["-n", "500", "-c", "5", "--in-flight", "3"], more].concat());
        assert_eq!(report["messages"]["verified"], 500, "{more:?}: {:#}", report["messages"]);
        assert_eq!(report["run"]["extensions"].is_string(), more.contains(&"--compress"), "{:#}", report["run"]);
    }
    let report = bench(&server.url(), &["--rate", "500", "-d", "1s", "-c", "20"]);
    assert_eq!(report["messages"]["received"], report["messages"]["sent"], "{:#}", report["messages"]);
    assert_eq!((&report["messages"]["lost"], &report["mode"]), (&json!(0), &json!("open")));
}
