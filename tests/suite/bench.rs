//! `wsp bench`: what it counts and measures, against servers whose faults are known.
//!
//! The machine the tests run on may be busy, and then the generator says that it was: only tests of the verdict look at
//! the verdict. Leaves reports in other forms to `bench_reports`.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::target::{Answer, Asked, Target, To, same};
use crate::support::wire::{Frame, Opcode};
use crate::support::{Output, listen, root, wsp};

/// Runs `wsp bench` on the URL and reads its report; the measurement may be anything but impossible.
#[track_caller]
pub fn bench(url: &str, arguments: &[&str]) -> Value {
    let output = bench_output(url, arguments);
    assert!([0, 40, 41].contains(&output.code), "exit {}: {}", output.code, output.stderr);
    report(&output)
}

#[track_caller]
pub fn bench_output(url: &str, arguments: &[&str]) -> Output {
    wsp(["bench", url, "--json"]).args(arguments).limit(Duration::from_secs(60)).input("")
}

/// The report in stdout, which must be what the schema says.
#[track_caller]
pub fn report(output: &Output) -> Value {
    let report: Value = serde_json::from_str(output.stdout()).unwrap_or_else(|e| panic!("{e}: {}", output.stderr));
    let text = std::fs::read_to_string(root().join("src/bench/report/schema.json")).expect("the schema");
    let schema: Value = serde_json::from_str(&text).expect("JSON");
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let faults: Vec<String> = validator.iter_errors(&report).map(|e| format!("{e} at {}", e.instance_path())).collect();
    assert!(faults.is_empty(), "{faults:#?}");
    report
}

#[track_caller]
fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no number at {path}: {report:#}"))
}

#[track_caller]
fn is_settled(report: &Value) {
    let of = |name: &str| report["messages"][name].as_u64().expect("a count");
    assert_eq!(of("sent"), of("received") + of("lost") + of("censored"), "{:#}", report["messages"]);
}

fn echo() -> Target {
    Target::new(|asked| vec![Answer::now(same(asked))])
}

#[test]
fn every_message_is_sent_answered_and_verified() {
    let server = listen(&["--echo"]);
    for more in [&[][..], &["--payload-size", "20"], &["-b", "--payload-size", "70000"], &["--in-flight", "16"]] {
        let report = bench(&server.url, &[&["-n", "1003", "-c", "7"], more].concat());
        let messages = &report["messages"];
        for name in ["sent", "received", "verified"] {
            assert_eq!(messages[name], 1003, "{more:?} {name}: {messages}");
        }
        for name in ["lost", "censored", "duplicated", "reordered", "corrupt", "unexpected"] {
            assert_eq!(messages[name], 0, "{more:?} {name}: {messages}");
        }
        assert_eq!((&report["mode"], &report["load"]["matching"]), (&json!("closed"), &json!("marker")));
        assert!(report["latency_ms"].get("response").is_none(), "there is none in a closed loop");
        assert_eq!(report["latency_ms"]["service"]["count"], 1003);
        assert_eq!(report["closes"], json!({"1000": 7}));
    }
}

#[test]
fn a_shard_has_its_share_of_everything() {
    let target = echo();
    let report = bench(&target.url, &["-n", "1001", "-c", "5", "--threads", "3"]);
    assert_eq!(report["messages"]["verified"], 1001);
    assert_eq!(target.asked(), 1001, "what the server has seen");
    assert_eq!(report["generator"]["shards"].as_array().map(Vec::len), Some(3));
    assert_eq!(report["connect"]["ok"], 5);
    let open = bench(&target.url, &["--rate", "500", "-d", "1s", "-c", "5", "--threads", "2", "--warmup", "200ms"]);
    let due = ["sent", "missed_generator", "missed_backpressure", "missed_closed"]
        .map(|name| number(&open, &format!("/messages/{name}")))
        .iter()
        .sum::<f64>();
    assert!((due - 500.0).abs() <= 1.0, "{:#}", open["messages"]);
}

#[test]
fn an_open_loop_counts_from_the_intended_time() {
    let target = Target::new(|asked| vec![Answer::late(same(asked), Duration::from_millis(5))]);
    let report = bench(&target.url, &["--rate", "1000", "-d", "2s", "--warmup", "500ms"]);
    is_settled(&report);
    assert_eq!(report["mode"], "open");
    let latency = |kind: &str| number(&report, &format!("/latency_ms/{kind}/p50"));
    let (response, service) = (latency("response"), latency("service"));
    assert!(response >= 5.0 && service >= 5.0, "{response} {service}");
    // What is above is this machine's lateness: it is in the response times, and the service times are without it.
    let mean = |kind: &str| number(&report, &format!("/latency_ms/{kind}/mean"));
    let (response, late, service) = (mean("response"), mean("schedule"), mean("service"));
    assert!((response - late - service).abs() <= 0.01 * response + 0.05, "{response} is not {late} and {service}");
    assert_eq!(report["messages"]["lost"], 0);
    assert_eq!(report["rate"]["asked"], 1000.0);
}

#[test]
fn a_server_that_stands_still_is_seen_by_an_open_loop_only() {
    let begun = std::time::Instant::now();
    // Every second it stands still for 400 ms.
    let stall = move |asked: &Asked| {
        let into = begun.elapsed().as_millis() % 1000;
        let wait = if into >= 600 { 1000 - into } else { 0 };
        vec![Answer::late(same(asked), Duration::from_millis(wait as u64))]
    };
    let target = Target::new(stall);
    let open = bench(&target.url, &["--rate", "500", "-d", "4s", "-c", "4"]);
    let p90 = number(&open, "/latency_ms/response/p90");
    assert!(p90 >= 250.0, "a tenth of the time is left after 300 ms of 400: {p90}");
    assert!(
        open["rate"]["sustained"] == true || open["valid"] == false,
        "a stall is no overload: {:#}",
        open["reasons"]
    );
    let closed = bench(&target.url, &["-d", "2s", "-c", "4"]);
    let blind = number(&closed, "/latency_ms/service/p90");
    assert!(blind < p90, "{blind} {p90}");
    let notes = closed["generator"]["warnings"].to_string();
    assert!(notes.contains("closed loop"), "and it says so: {notes}");
}

#[test]
fn losses_are_counted_and_their_percentiles_have_no_number() {
    let target = Target::new(|asked| if asked.number % 20 == 7 { vec![] } else { vec![Answer::now(same(asked))] });
    let report = bench(&target.url, &["-n", "2000", "-c", "40", "--in-flight", "50", "--deadline", "5s"]);
    is_settled(&report);
    assert_eq!(report["messages"]["lost"], 100, "{:#}", report["messages"]);
    let service = &report["latency_ms"]["service"];
    assert_eq!(service["beyond_deadline"], json!(["p99", "p99.9", "p99.99"]), "{service}");
    assert!(service["p99"].is_null() && service["p50"].is_number());
}

#[test]
fn faults_are_told_apart() {
    let fault = |asked: &Asked| {
        let same = same(asked);
        match asked.number % 10 {
            3 => vec![Answer::now(same.clone()), Answer::now(same)],
            5 => {
                let mut damaged = same;
                let at = usize::try_from(asked.number).expect("small") % damaged.payload.len();
                damaged.payload[at] = if damaged.payload[at] == b'#' { b'*' } else { b'#' };
                vec![Answer::now(damaged)]
            }
            8 => vec![Answer::now(Frame::text("who asked?")), Answer::now(same)],
            _ => vec![Answer::now(same)],
        }
    };
    let target = Target::new(fault);
    let report = bench(&target.url, &["-n", "1000", "-c", "4", "--in-flight", "5"]);
    is_settled(&report);
    let messages = &report["messages"];
    assert_eq!(
        (&messages["received"], &messages["corrupt"], &messages["verified"]),
        (&json!(1000), &json!(100), &json!(900)),
        "{messages}"
    );
    // The last answers of all may come when nobody listens any more.
    let nearly = |name: &str| number(&report, &format!("/messages/{name}"));
    assert!((96.0..=100.0).contains(&nearly("duplicated")), "{messages}");
    assert!((96.0..=100.0).contains(&nearly("unexpected")), "{messages}");
    assert_eq!((&messages["lost"], &messages["reordered"]), (&json!(0), &json!(0)), "{messages}");
}

#[test]
fn answers_out_of_order_and_to_others_are_seen() {
    let swap = |asked: &Asked| {
        let delay = if asked.number.is_multiple_of(10) { Duration::from_millis(30) } else { Duration::ZERO };
        vec![Answer::late(same(asked), delay)]
    };
    let target = Target::new(swap);
    let report = bench(&target.url, &["-n", "500", "-c", "1", "--in-flight", "20"]);
    is_settled(&report);
    assert_eq!(report["messages"]["verified"], 500);
    let reordered = number(&report, "/messages/reordered");
    assert!((20.0..=50.0).contains(&reordered), "{:#}", report["messages"]);

    let gossip = Target::new(|asked| {
        let mut answers = vec![Answer::now(same(asked))];
        if asked.number.is_multiple_of(10) {
            answers.push(Answer::now(same(asked)).to(To::Others));
        }
        answers
    });
    let report = bench(&gossip.url, &["-n", "500", "-c", "2"]);
    assert_eq!(report["messages"]["verified"], 500);
    let heard = number(&report, "/messages/cross_talk");
    assert!((45.0..=50.0).contains(&heard), "{:#}", report["messages"]);
}

#[test]
fn replies_of_an_api_are_matched_by_id_or_by_order() {
    // Answers as APIs do: another message with the same id, now and then after that of a later one.
    let api = |asked: &Asked| {
        let text = asked.frame.as_text();
        let id = text.split("\"id\":").nth(1).map(|rest| rest.trim_end_matches('}').to_owned()).expect("an id");
        let delay = if asked.number.is_multiple_of(7) { Duration::from_millis(10) } else { Duration::ZERO };
        vec![Answer::late(Frame::text(&format!("{{\"ok\":true,\"id\":{id}}}")), delay)]
    };
    let target = Target::new(api);
    let payload = r#"{"op":"get","id":{{seq}}}"#;
    let by_id = ["-n", "300", "-c", "2", "--in-flight", "4", "--payload", payload, "--template", "--match", "jq:.id"];
    let report = bench(&target.url, &by_id);
    is_settled(&report);
    assert_eq!((&report["messages"]["received"], &report["load"]["matching"]), (&json!(300), &json!("jq")));
    assert!(number(&report, "/messages/reordered") > 0.0, "{:#}", report["messages"]);
    assert_eq!(report["messages"]["unexpected"], 0);
    let report = bench(&target.url, &["-n", "300", "-c", "2", "--payload", payload, "--template"]);
    assert_eq!((&report["messages"]["received"], &report["load"]["matching"]), (&json!(300), &json!("fifo")));
    assert_eq!((&report["messages"]["verified"], &report["messages"]["corrupt"]), (&json!(0), &json!(0)));
}

#[test]
fn payloads_of_all_kinds_come_back_as_they_went() {
    let files = crate::support::scratch();
    let lines = crate::support::write(&files, "lines", "one\n\ntwo\r\nthree {{marker}}\n");
    let lines = crate::support::text(&lines);
    let target = echo();
    let table: [(&[&str], &str); 6] = [
        (&["--payload", "hello"], "content"),
        (&["--payload", "{\"id\":\"{{marker}}\"}"], "marker"),
        (&["--payload-file", &lines], "content"),
        (&["--payload-size", "5"], "content"),
        (&["--payload-json", "--payload-size", "400"], "marker"),
        (&["--payload", "{{uuid}} {{seq}}", "--template"], "content"),
    ];
    for (more, matching) in table {
        let report = bench(&target.url, &[&["-n", "100", "-c", "3"], more].concat());
        assert_eq!(report["messages"]["verified"], 100, "{more:?}: {:#}", report["messages"]);
        assert_eq!(report["load"]["matching"], matching, "{more:?}");
    }
}

#[test]
fn what_a_server_pushes_is_counted() {
    let greeting: Vec<Frame> = (0..50).map(|number| Frame::text(&format!("news {number}"))).collect();
    let target = Target::greeting(greeting, |_| vec![]);
    // What is said before measuring begins is not measured; it is seen all the same.
    let report = bench(&target.url, &["--mode", "push", "-d", "300ms", "-c", "3"]);
    assert_eq!((&report["messages"]["sent"], &report["load"]["kind"]), (&json!(0), &json!("push")));
    assert_eq!(report["latency_ms"]["first_message"]["count"], 3);

    let server = listen(&["--broadcast"]);
    let publisher = bench_in_background(&server.url, &["--mode", "send", "--rate", "200", "-d", "20s", "-c", "1"]);
    let report = bench(&server.url, &["--mode", "push", "-n", "50", "-c", "2"]);
    let received = number(&report, "/messages/received");
    assert!(received >= 50.0, "{:#}", report["messages"]);
    assert!(number(&report, "/rate/received") > 50.0, "{:#}", report["rate"]);
    publisher.signal(Signal::SIGINT);
    publisher.finish().exits(130);
}

fn bench_in_background(url: &str, arguments: &[&str]) -> crate::support::process::Process {
    wsp(["bench", url, "--json"]).args(arguments).limit(Duration::from_secs(60)).spawn()
}

#[test]
fn a_broadcast_is_followed_to_everybody() {
    for (to, receivers) in [(To::All, 6_u64), (To::Others, 5)] {
        let target = Target::new(move |asked| vec![Answer::now(same(asked)).to(to)]);
        let report = bench(&target.url, &["--publish", "2", "-c", "6", "--rate", "100", "-d", "1s"]);
        let publish = &report["publish"];
        let sent = report["messages"]["sent"].as_u64().expect("a count");
        assert_eq!(publish["receivers"], receivers, "{publish:#}");
        assert_eq!(publish["expected"], sent * receivers, "{publish:#}");
        assert_eq!((&publish["reach"], &report["messages"]["lost"]), (&json!(1.0), &json!(0)), "{publish:#}");
        assert_eq!(publish["last_ms"]["count"], report["messages"]["sent"], "{publish:#}");
        assert!(number(&report, "/publish/first_ms/p50") <= number(&report, "/publish/last_ms/p50"));
        assert_eq!(report["latency_ms"]["response"]["count"], sent * receivers);
    }
    // Every fifth message reaches its sender only.
    let target = Target::new(|asked| {
        let to = if asked.number.is_multiple_of(5) { To::Sender } else { To::All };
        vec![Answer::now(same(asked)).to(to)]
    });
    let report = bench(&target.url, &["--publish", "1", "-c", "4", "--rate", "200", "-d", "1s", "--deadline", "5s"]);
    let reach = number(&report, "/publish/reach");
    assert!((reach - 0.85).abs() < 0.01, "{:#}", report["publish"]);
}

#[test]
fn connections_come_at_their_pace_and_go_anew() {
    let target = echo();
    let report = bench(&target.url, &["--mode", "connect", "-c", "50", "--connect-rate", "100", "-d", "200ms"]);
    assert_eq!((&report["connect"]["asked"], &report["connect"]["ok"]), (&json!(50), &json!(50)));
    let rate = number(&report, "/connect/rate");
    assert!(rate > 0.0 && rate <= 105.0, "{rate}");
    assert_eq!(report["latency_ms"]["connect"]["count"], 50);

    let report = bench(&target.url, &["-c", "5", "-d", "1s", "--churn=3"]);
    is_settled(&report);
    let (opened, answered) = (number(&report, "/connect/ok"), number(&report, "/messages/received"));
    assert!(opened > 5.0 && answered <= 3.0 * opened && answered >= 3.0 * (opened - 10.0), "{opened} {answered}");
    assert_eq!(report["connect"]["closed_early"], 0);
    let report = bench(&target.url, &["-c", "5", "-d", "500ms", "--mode", "connect", "--churn=0"]);
    assert!(number(&report, "/connect/ok") > 10.0, "{:#}", report["connect"]);
}

#[test]
fn a_server_that_closes_is_told_by_its_code() {
    let target = Target::new(|asked| {
        if asked.number == 20 {
            vec![Answer::now(Frame::close(4001, "enough"))]
        } else {
            vec![Answer::now(same(asked))]
        }
    });
    let report = bench(&target.url, &["-d", "500ms", "-c", "3"]);
    is_settled(&report);
    assert_eq!((&report["closes"]["4001"], &report["errors"]["close 4001"]), (&json!(1), &json!(1)), "{report:#}");
    assert_eq!((&report["connect"]["closed_early"], &report["messages"]["lost"]), (&json!(1), &json!(1)));
    assert!(report["examples"]["close 4001"]["text"].as_str().is_some_and(|text| text.contains("enough")));
}

#[test]
fn a_server_that_breaks_the_protocol_is_named() {
    let target = Target::new(|_| vec![Answer::now(Frame::new(Opcode::Text, b"x".to_vec()).reserved(4))]);
    let report = bench(&target.url, &["-d", "300ms", "-c", "2"]);
    assert_eq!(report["errors"]["protocol"], 2, "{report:#}");
}

#[test]
fn connections_come_and_go_by_stages() {
    let target = echo();
    let report = bench(&target.url, &["--stages", "500ms:20c,500ms:=20c,500ms:4c,300ms:=4c", "--rate", "300"]);
    is_settled(&report);
    assert_eq!((&report["load"]["connections"], &report["connect"]["ok"]), (&json!(20), &json!(20)), "{report:#}");
    assert_eq!((&report["messages"]["lost"], &report["connect"]["closed_early"]), (&json!(0), &json!(0)));
    assert!((report["load"]["measured_s"].as_f64().expect("a time") - 1.8).abs() < 0.01);
    assert_eq!(report["closes"]["1000"], 20);
    let closed = bench(&target.url, &["--stages", "300ms:5c,300ms:=5c"]);
    assert_eq!(closed["connect"]["ok"], 5);
    assert!(closed["messages"]["verified"].as_u64() > Some(20), "{:#}", closed["messages"]);
}

#[test]
fn a_signal_ends_a_load_test_whose_answers_never_come() {
    let server = listen(&["--sink"]);
    let never = ["--deadline", "1h", "--close-timeout", "1h", "-d", "1h"];
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let bench = wsp(["bench", &server.url, "-c", "2", "--ndjson"]).args(never).spawn();
        bench.wait_for_stdout("\"phase\":\"measure\"");
        bench.signal(signal);
        let output = bench.outcome();
        assert_eq!(output.code, code, "{}", output.stderr);
        assert!(output.stdout().contains("wsp.bench/1"), "the report is printed: {}", output.stdout());
    }
}

#[test]
fn a_time_limit_holds_for_answers_that_never_come() {
    let server = listen(&["--sink"]);
    let never = ["--deadline", "1h", "--close-timeout", "1h", "--timeout", "500ms"];
    wsp(["bench", &server.url, "-c", "2"]).args(never).input("").exits(124);
}
