//! `--dead-letter` of `wsp relay`: what nobody takes is kept with the reason, and can be sent again.

use serde_json::json;

use crate::support::balance::Balance;
use crate::support::files::read;
use crate::support::peers::http_server;
use crate::support::{closed_port, events, listen, require, run, scratch, text, write, wsp};

fn numbers(from: usize, to: usize) -> String {
    (from..=to).map(|number| format!("{number}\n")).collect()
}

fn balance(stderr: &str) -> &str {
    stderr.lines().last().unwrap_or_default()
}

#[test]
fn what_cannot_be_used_is_kept_with_the_reason_and_can_be_sent_again() {
    let directory = scratch();
    let schema = text(&write(&directory, "schema.json", r#"{"type":"object"}"#));
    let dead = text(&directory.path().join("dead.jsonl"));
    let arguments =
        ["relay", "-", "-", "--jq", ".", "--non-json", "error", "--schema", &schema, "--dead-letter", &dead];
    let output = run(&arguments, b"{\"a\":1}\n17\nno json\n\xff\xfe\n{\"a\":2}\n").exits(30);
    assert_eq!(output.stdout(), "{\"a\":1}\n{\"a\":2}\n");
    assert_eq!(
        balance(&output.stderr),
        "received 5 = delivered 2 + filtered 0 + dropped 0 + dead-lettered 3 (invalid 3) + waiting 0"
    );
    let lines = events(&read(dead.as_ref()));
    let all: Vec<_> = lines.iter().map(|line| (line["type"].as_str(), line["text"].as_str())).collect();
    let (words, binary) = (Some("text"), Some("binary"));
    assert_eq!(all, [(words, Some("17")), (words, Some("no json")), (binary, None)]);
    assert!(lines[0]["error"].as_str().is_some_and(|error| error.contains("schema")), "{}", lines[0]);
    assert_eq!(lines[1]["error"], "-: not JSON");
    assert!(lines.iter().all(|line| line["time"].is_string() && line["session"] == "s1"));
    // Sent again as they were.
    run(&["relay", &format!("file:{dead}"), "-", "--format", "hex"], "")
        .exits(0)
        .prints("31 37\n6e 6f 20 6a 73 6f 6e\nff fe\n");
    // More are added to the same file.
    run(&arguments, "18\n").exits(30);
    assert_eq!(events(&read(dead.as_ref())).len(), 4);
}

#[test]
fn what_is_not_json_fits_no_schema_with_or_without_a_filter_or_a_route() {
    let directory = scratch();
    let schema = text(&write(&directory, "schema.json", r#"{"type":"object"}"#));
    let jq: &[&str] = &["--jq", "."];
    let route: &[&str] = &["--route", ".a == 2 => null:"];
    let pass: &[&str] = &["--non-json", "pass"];
    let error: &[&str] = &["--non-json", "error"];
    for (number, more) in
        [&[], jq, route, &[jq, route].concat(), &[jq, pass].concat(), &[jq, error].concat()].into_iter().enumerate()
    {
        let dead = text(&directory.path().join(format!("dead-{number}")));
        let arguments = [&["relay", "-", "-", "--schema", &schema], more].concat();
        let input = "{\"a\":1}\nnot json\n";
        let output = run(&[&arguments[..], &["--dead-letter", &dead]].concat(), input).exits(30).prints("{\"a\":1}\n");
        let expected = "received 2 = delivered 1 + filtered 0 + dropped 0 + dead-lettered 1 (invalid 1) + waiting 0";
        assert_eq!(balance(&output.stderr), expected, "{more:?}");
        assert_eq!(events(&read(dead.as_ref()))[0]["text"], "not json", "{more:?}");
        let output = run(&arguments, input).exits(0);
        let expected = "received 2 = delivered 1 + filtered 0 + dropped 1 (invalid 1) + dead-lettered 0 + waiting 0";
        assert_eq!(balance(&output.stderr), expected, "{more:?}");
    }
}

/// What becomes of a message that is not JSON.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    /// It arrives as it was.
    Delivered,
    /// It is filtered out.
    Filtered,
    /// It is a dead letter.
    Buried,
}

/// A message that is JSON and two that are not, one of them no text.
const MIXED: [&[u8]; 3] = [b"{\"a\":1}", b"not json", b"\xff\xfe"];

fn lossy(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
}

/// Arguments, and what becomes of the two that are not JSON under them.
fn rule() -> Vec<(Vec<&'static str>, Fate)> {
    let schema: &[&str] = &["--schema", "schema.json"];
    let filters: [&[&str]; 3] = [&["--jq", "."], &["--route", ".a == 2 => null:"], &["--fold", "[null, .]"]];
    let mut rule = Vec::new();
    for (non_json, fate) in [
        (&[][..], Fate::Filtered),
        (&["--non-json", "pass"], Fate::Delivered),
        (&["--non-json", "error"], Fate::Buried),
    ] {
        // Without a filter nothing has to read it, and no schema fits it, whatever else is asked for.
        rule.extend([(non_json.to_vec(), Fate::Delivered), ([schema, non_json].concat(), Fate::Buried)]);
        for filter in filters {
            rule.extend([([filter, non_json].concat(), fate), ([schema, filter, non_json].concat(), Fate::Buried)]);
        }
    }
    rule
}

/// Sends the three, checks the account and the dead letters. Returns what has to have arrived.
#[track_caller]
fn send_mixed(directory: &tempfile::TempDir, to: &str, arguments: &[&str], fate: Fate) -> Vec<String> {
    write(directory, "schema.json", r#"{"type":"object"}"#);
    let dead = directory.path().join("dead");
    let all = [&["relay", "-", to, "--dead-letter", "dead"], arguments].concat();
    let input = MIXED.map(|line| [line, b"\n"].concat()).concat();
    let output = wsp(&all).directory(directory.path()).input(input);
    let is = |wanted: Fate| if fate == wanted { 2 } else { 0 };
    let expected = Balance {
        delivered: 1 + is(Fate::Delivered),
        filtered: is(Fate::Filtered),
        dead_lettered: is(Fate::Buried),
        ..Balance::all_delivered(3)
    };
    assert_eq!(Balance::of(&output), expected, "{all:?}: {}", output.stderr);
    assert_eq!(output.code, if fate == Fate::Buried { 30 } else { 0 }, "{all:?}");
    let letters = if fate == Fate::Buried { events(&read(&dead)) } else { Vec::new() };
    let kinds: Vec<_> = letters.iter().filter_map(|letter| letter["type"].as_str()).collect();
    assert_eq!(kinds, if fate == Fate::Buried { &["text", "binary"][..] } else { &[] }, "{all:?}");
    let is_reason = |error: &str| error.contains(": not JSON");
    assert!(letters.iter().all(|letter| letter["error"].as_str().is_some_and(is_reason)), "{all:?} {letters:?}");
    let arrive = if fate == Fate::Delivered { 3 } else { 1 };
    MIXED[..arrive].iter().flat_map(|line| lossy(line)).collect()
}

#[test]
fn one_rule_says_what_becomes_of_what_is_not_json_at_every_destination() {
    for (arguments, fate) in rule() {
        for to in ["file:out", "exec:cat > out"] {
            let directory = scratch();
            let expected = send_mixed(&directory, to, &arguments, fate);
            let got = std::fs::read(directory.path().join("out")).expect("a file");
            assert_eq!(lossy(&got), expected, "{to} {arguments:?}");
        }
        let server = listen(&["--format", "raw"]);
        let expected = send_mixed(&scratch(), &server.url, &arguments, fate);
        let got = server.stop();
        assert_eq!(lossy(&got.bytes), expected, "{arguments:?}");
    }
}

#[cfg(feature = "kafka")]
#[test]
fn the_same_rule_says_what_a_topic_gets_of_what_is_not_json() {
    use crate::support::kafka::{Other, shared};

    if !(require("kafka") && require("python-websockets")) {
        return;
    }
    let kafka = shared();
    let topic = Other(&kafka).create("mixed", 1, &[]);
    let to = format!("kafka://{kafka}/{topic}");
    let send = |(arguments, fate): (Vec<&str>, Fate)| send_mixed(&scratch(), &to, &arguments, fate);
    let expected: Vec<String> = rule().into_iter().flat_map(send).collect();
    let records = Other(&kafka).read(&topic, expected.len());
    let got: Vec<_> = records.iter().map(|record| record["value"].as_str().expect("text")).collect();
    assert_eq!(got, expected);
}

#[test]
fn what_a_destination_refuses_is_kept_until_it_takes_it() {
    if !require("python-websockets") {
        return;
    }
    let directory = scratch();
    let dead = text(&directory.path().join("dead.jsonl"));
    let server = http_server(&json!({ "refuse": "7" }));
    let arguments = ["relay", "-", &server.url, "--dead-letter", &dead, "--batch", "10", "--batch-age", "10s"];
    let output = run(&arguments, numbers(1, 20)).exits(30);
    assert_eq!(
        balance(&output.stderr),
        "received 20 = delivered 18 + filtered 0 + dropped 0 + dead-lettered 2 (rejected 2) + waiting 0"
    );
    let name = &server.url;
    for line in events(&read(dead.as_ref())) {
        assert_eq!(line["error"], format!("{name}: 400 Bad Request: no, because I was told so"));
    }
    server.stop();
    let server = http_server(&json!({}));
    run(&["relay", &format!("file:{dead}"), &server.url], "").exits(0);
    let told = server.stop();
    assert_eq!(told.iter().map(crate::support::peers::Told::text).collect::<Vec<_>>(), ["7", "17"]);
}

#[test]
fn what_waits_for_a_destination_that_fails_for_good_is_kept() {
    if !require("python-websockets") {
        return;
    }
    let directory = scratch();
    let gone = format!("ws://127.0.0.1:{}/", closed_port());
    let busy = http_server(&json!({ "answers": vec![503; 40] }));
    for (number, to) in [&gone, &busy.url, "exec:exit 3", "file:/dev/full"].into_iter().enumerate() {
        let dead = text(&directory.path().join(format!("{number}.jsonl")));
        // Long enough for the input to be read before it is over.
        let retries = ["--reconnect=1", "--retry-delay", "500ms", "--retry-factor", "1"];
        let output = run(&[&["relay", "-", to, "-", "--dead-letter", &dead], &retries[..]].concat(), numbers(1, 10));
        let code = if to.starts_with("file") { 32 } else { 30 };
        assert_eq!((output.code, output.stdout()), (code, numbers(1, 10).as_str()), "{to}: {}", output.stderr);
        assert_eq!(
            balance(&output.stderr),
            "received 10 = delivered 0 + filtered 0 + dropped 0 + dead-lettered 10 (retries-spent 10) + waiting 0",
            "{to}: {}",
            output.stderr
        );
        let lines = events(&read(dead.as_ref()));
        let got: String = lines.iter().map(|line| format!("{}\n", line["text"].as_str().expect("text"))).collect();
        assert_eq!(got, numbers(1, 10), "{to}");
        assert!(lines.iter().all(|line| line["error"].as_str().is_some_and(|error| error.contains(to))), "{lines:?}");
    }
}

#[test]
fn a_place_for_dead_letters_that_cannot_be_used_ends_the_run() {
    for place in ["/dev/full", "/nonexistent/dead", "file:/dev/full"] {
        let output = run(&["relay", "-", "null:", "--jq", ".", "--non-json", "error", "--dead-letter", place], "x\n");
        assert_eq!(output.code, 32, "{}", output.stderr);
        assert!(output.stderr.contains(place.trim_start_matches("file:")), "{}", output.stderr);
        assert!(balance(&output.stderr).contains(" dead-lettered 0 "), "{}", output.stderr);
    }
    assert_eq!(run(&["relay", "-", "null:", "--dead-letter", "gopher://h/"], "").code, 2);
}

#[test]
fn dead_letters_go_to_any_endpoint_as_event_lines() {
    let server = listen(&["--format", "raw"]);
    let arguments = ["relay", "-", "null:", "--jq", ".a", "--non-json", "error", "--json", "--dead-letter"];
    let output = run(&[&arguments[..], &[&server.url]].concat(), "x\n").exits(30);
    assert!(balance(&output.stderr).contains("dead-lettered 1 (invalid 1)"), "{}", output.stderr);
    let got = server.stop();
    let lines = events(got.stdout());
    assert_eq!((lines.len(), &lines[0]["text"]), (1, &json!("x")));
    let output = run(&[&arguments[..], &["-"]].concat(), "x\n").exits(30);
    assert_eq!(events(output.stdout())[0]["text"], "x");
}
