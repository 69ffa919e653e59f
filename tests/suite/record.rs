//! `--record` and `--replay`: what is written, what a kill leaves of it, and what comes out again.
//!
//! Owns recordings as a user meets them, Chromium's `DevTools` included. Leaves the codecs' tables to their own files.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::files::{make_fifo, wait_until};
use crate::support::peers::{chromium, node};
use crate::support::process::sending_without_end;
use crate::support::terminal::Terminal;
use crate::support::{FakeServer, Frame, Opcode, RawClient, events, listen, require, run, scratch, text, write, wsp};

/// What matters of an event: type, direction, payload, close code.
fn gist(events: &[Value]) -> Vec<Value> {
    let data = |event: &&Value| event["dir"].is_string();
    let fields = ["session", "dir", "type", "text", "base64", "code", "reason"];
    events.iter().filter(data).map(|event| fields.map(|field| event[field].clone()).into()).collect()
}

/// The same without the session, of one direction, in order.
fn said(events: &[Value], direction: &str) -> Vec<Value> {
    let fields = ["type", "text", "base64", "code", "reason"];
    let that_way = |event: &&Value| event["dir"] == direction;
    events.iter().filter(that_way).map(|event| fields.map(|field| event[field].clone()).into()).collect()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).expect("the recording")
}

fn har(path: &Path) -> Vec<Value> {
    let har: Value = serde_json::from_str(&read(path)).expect("a HAR is JSON");
    har["log"]["entries"].as_array().expect("entries").clone()
}

/// Type, opcode and data of an entry's messages of one type.
fn frames(entry: &Value, kind: &str) -> Vec<Value> {
    let messages = entry["_webSocketMessages"].as_array().expect("messages");
    let of_kind = messages.iter().filter(|message| message["type"] == kind);
    of_kind.map(|message| json!([message["opcode"], message["data"]])).collect()
}

const CONVERSATION: &str = "{\"type\":\"text\",\"text\":\"ünï \
\\\"q\\\"\\n\"}\n{\"type\":\"binary\",\"base64\":\"AP8=\"}\n\
    {\"type\":\"ping\",\"text\":\"p\"}\n{\"type\":\"text\",\"text\":\"\"}\n{\"type\":\"close\",\"code\":4001,\"reason\":\"bye\"}\n";

#[test]
fn a_recording_holds_everything_that_json_prints() {
    let directory = scratch();
    let path = directory.path().join("r.jsonl");
    let server = listen(&["--echo"]);
    let arguments = ["connect", &server.url, "--json", "--input", "json", "--record", &text(&path)];
    let output = run(&arguments, CONVERSATION).exits(0);
    let recorded = events(&read(&path));
    assert_eq!(gist(&recorded), gist(&events(output.stdout())));
    assert_eq!(recorded.len(), output.stdout().lines().count());
    assert_eq!((&recorded[0]["type"], &recorded[0]["url"]), (&json!("open"), &json!(server.url)));
    // In every other format as well.
    run(&["connect", &server.url, "-q", "--format", "hex", "--record", &text(&path), "-x", "a", "-n", "1"], "")
        .exits(0);
    let recorded = events(&read(&path));
    assert_eq!(said(&recorded, "in")[0], json!(["text", "a", null, null, null]), "overwritten: {recorded:?}");
}

#[test]
fn a_har_holds_request_answer_and_messages_without_secrets() {
    let directory = scratch();
    let path = directory.path().join("r.har");
    let server = FakeServer::once(|request| {
        let mut socket = request.accept_with("Set-Cookie: sid=s3cret-set\r\nX-Plain: visible\r\n");
        assert_eq!(socket.read_text(), "hi");
        socket.say(Frame::new(Opcode::Binary, [0, 255]));
        socket.say(Frame::close(1000, "bye"));
        socket.answer_close();
    });
    let url = server.url.replace("ws://", "ws://user:s3cret-url@") + "path?a=1";
    let path_text = text(&path);
    let arguments = ["connect", &url, "--record", &path_text, "--cookie", "c=s3cret-cookie", "-x", "hi", "-w", "-1"];
    let more = ["Proxy-Authorization: Basic s3cret-proxy", "X-Api-Key: s3cret-key"].map(|header| ["-H", header]);
    let output = wsp(arguments).args(more.concat()).arg("-v").input("").exits(0);
    assert!(!output.stderr.contains("s3cret"), "{}", output.stderr);
    server.join();
    assert!(!read(&path).contains("s3cret"), "{}", read(&path));
    let entries = har(&path);
    assert_eq!(entries.len(), 1);
    let entry = &entries[0];
    assert_eq!((&entry["_resourceType"], &entry["response"]["status"]), (&json!("websocket"), &json!(101)));
    assert_eq!(entry["request"]["url"].as_str().map(|url| url.ends_with("/path?a=1")), Some(true));
    let header = |side: &str, name: &str| {
        let headers = entry[side]["headers"].as_array().expect("headers");
        let is_named = |header: &&Value| header["name"].as_str().is_some_and(|own| own.eq_ignore_ascii_case(name));
        headers.iter().find(is_named).map(|header| header["value"].clone())
    };
    for (side, name) in [
        ("request", "authorization"),
        ("request", "cookie"),
        ("request", "proxy-authorization"),
        ("request", "x-api-key"),
        ("response", "set-cookie"),
    ] {
        assert_eq!(header(side, name), Some(json!("[redacted]")), "{side} {name}");
    }
    assert_eq!(header("response", "x-plain"), Some(json!("visible")));
    assert_eq!(frames(entry, "send")[0], json!([1, "hi"]));
    assert_eq!(frames(entry, "receive"), [json!([2, "AP8="]), json!([8, "A+hieWU="])]);
}

#[test]
fn a_replay_of_either_kind_says_the_same_again() {
    let directory = scratch();
    let server = listen(&["--echo"]);
    let names = ["0.jsonl", "1.har", "2.jsonl", "3.har"].map(|name| text(&directory.path().join(name)));
    let mut expected = None;
    for (index, name) in names.iter().enumerate() {
        let mut arguments = vec!["connect", server.url.as_str(), "--json", "-q", "--record", name];
        let input = if index == 0 {
            arguments.extend(["--input", "json"]);
            CONVERSATION
        } else {
            arguments.extend(["--replay", &names[index - 1], "--speed", "max", "--replay-close"]);
            ""
        };
        let output = run(&arguments, input).exits(0);
        let events = events(output.stdout());
        let sent = said(&events, "out");
        assert_eq!(sent.len(), 5, "{sent:?}");
        assert_eq!(sent[4], json!(["close", null, null, 4001, "bye"]));
        assert_eq!(expected.get_or_insert(sent.clone()), &sent, "{name}");
    }
    let (first, last) = (har(Path::new(&names[1])), har(Path::new(&names[3])));
    assert_eq!(frames(&first[0], "send"), frames(&last[0], "send"));
    assert_eq!(frames(&first[0], "receive"), frames(&last[0], "receive"));
}

#[test]
fn a_replay_ends_as_the_end_of_input_does() {
    let directory = scratch();
    let echo = listen(&["--echo"]);
    for name in ["s.jsonl", "s.har"] {
        let path = text(&directory.path().join(name));
        run(&["connect", &echo.url, "--record", &path, "-n", "3"], "1\n2\n3\n").exits(0).prints("1\n2\n3\n");
        // Answers late, when the recording has been sent long ago.
        let slow = listen(&["--echo", "--delay", "300ms"]);
        let replay = ["connect", &slow.url, "--replay", &path, "--speed", "max"];
        run(&[&replay[..], &["-n", "3"]].concat(), "").exits(0).prints("1\n2\n3\n");
        run(&[&replay[..], &["-w", "2s"]].concat(), "").exits(0).prints("1\n2\n3\n");
        run(&[&replay[..], &["--expect", ". == 3"]].concat(), "").exits(0);
        // With the Close of the recording nothing is waited for.
        let closes = [&replay[..], &["--replay-close", "-n", "3", "--json"]].concat();
        let output = run(&closes, "").exits(0);
        let closes = events(output.stdout());
        assert!(closes.iter().any(|event| event["type"] == "close" && event["dir"] == "out"), "{closes:?}");
        assert!(closes.iter().all(|event| event["type"] != "text" || event["dir"] == "out"), "{closes:?}");
    }
}

#[test]
fn dir_in_sends_what_was_received() {
    let directory = scratch();
    let path = text(&directory.path().join("r.jsonl"));
    let server = listen(&["--reply", "an answer"]);
    run(&["connect", &server.url, "--record", &path, "-x", "a question", "-n", "1"], "").exits(0);
    let echo = listen(&["--echo"]);
    let replay = ["connect", &echo.url, "--replay", &path];
    wsp(replay).args(["--dir", "in"]).input("").exits(0).prints("an answer\n");
    run(&replay, "").exits(0).prints("a question\n");
}

#[test]
fn a_line_written_by_hand_is_sent_and_that_there_is_none_is_said() {
    let directory = scratch();
    let path = directory.path().join("r.jsonl");
    let server = listen(&["--echo"]);
    let replay = ["connect", &server.url, "--replay", &text(&path)];
    std::fs::write(&path, "{\"time\":\"2026-01-02T03:04:05Z\",\"type\":\"text\",\"text\":\"by hand\"}\n")
        .expect("a file");
    run(&replay, "").exits(0).prints("by hand\n");
    let received = "{\"time\":\"2026-01-02T03:04:05Z\",\"dir\":\"in\",\"type\":\"text\",\"text\":\"no\"}\n";
    std::fs::write(&path, received).expect("a file");
    // A flag is spoken of where it helps.
    run(&replay, "").exits(0).complains("no recorded message was sent; --dir in sends the 1");
    std::fs::write(&path, "{\"type\":\"open\"}\n").expect("a file");
    let output = run(&replay, "").exits(0).complains("nothing to send: the recording has no messages");
    assert!(!output.stderr.contains("--dir"), "{}", output.stderr);
}

#[test]
fn what_is_no_recording_is_refused_and_what_is_wrong_in_one_left_out() {
    let directory = scratch();
    let server = listen(&["--echo"]);
    let replay = |content: &str| {
        let path = text(&write(&directory, "r.har", content));
        run(&["connect", &server.url, "--replay", &path, "--speed", "max"], "")
    };
    let http = "{\"log\":{\"entries\":[{\"request\":{\"url\":\"https://h/\"}}]}}";
    for (content, what) in [
        ("", "it is empty"),
        ("<html>", "line 1"),
        ("[1, 2]\n", "line 1"),
        (http, "this HAR has no WebSocket connection among 1 entry"),
    ] {
        let output = replay(content).exits(2).complains(what).complains("hint: ");
        assert!(!output.stderr.contains("--dir"), "{}", output.stderr);
    }
    let messages = "{\"type\":\"send\",\"data\":\"a\"},{\"type\":\"send\",\"opcode\":3,\"data\":\"\"},{\"type\":\"send\",\"data\":\"b\"}";
    let output = replay(&format!("{{\"log\":{{\"entries\":[{{\"_webSocketMessages\":[{messages}]}}]}}}}")).exits(0);
    output.complains("skipped 1 unreadable message: message 2 of entry 1: unknown opcode 3").prints("a\nb\n");
    // Where a recording cannot be read on, how far it went is said.
    let line = |number: u32| {
        let padding = "x".repeat(1 << 16);
        format!("{{\"time\":\"2026-01-02T03:04:05Z\",\"type\":\"text\",\"text\":\"{number} {padding}\"}}\n")
    };
    let large = (0..20).map(line).collect::<String>() + "damaged\n";
    replay(&large).complains("line 21").complains("sent 20 messages from before it");
}

#[test]
fn what_keeps_the_connection_alive_is_not_recorded() {
    let directory = scratch();
    let path = directory.path().join("r.jsonl");
    let server = listen(&["--echo"]);
    let connect = ["connect", &server.url, "--json", "--ping-interval", "10ms", "-w", "-1", "--record", &text(&path)];
    let mut client = wsp(connect).spawn();
    client.wait_for_stdout("\"type\":\"pong\"");
    client.send("hello\n");
    client.wait_for_stdout("\"in\",\"type\":\"text\"");
    client.signal(Signal::SIGINT);
    client.finish().exits(130);
    let events = events(&read(&path));
    assert_eq!(said(&events, "in")[0], json!(["text", "hello", null, null, null]), "{events:?}");
    assert!(events.iter().all(|event| event["type"] != "ping" && event["type"] != "pong"), "{events:?}");
}

#[test]
fn times_between_messages_are_kept_and_divided_by_the_speed() {
    let directory = scratch();
    let line = |time: &str, text: &str| {
        format!(
            "{{\"time\":\"2026-01-02T03:04:{time}Z\",\"session\":\"s1\",\"dir\":\"out\",\"type\":\"text\",\"text\":\"{text}\"}}\n"
        )
    };
    let lines = line("05.000000", "a") + &line("05.250000", "b") + &line("06.000000", "c");
    let path = text(&write(&directory, "r.jsonl", lines));
    let server = listen(&["--echo"]);
    // Never sooner than the recording says; how much later depends on the machine.
    for (speed, at_least) in [("1", 1000), ("2", 500), ("0.5", 2000), ("max", 0)] {
        let started = Instant::now();
        let output = run(&["connect", &server.url, "--replay", &path, "--speed", speed, "-n", "3"], "").exits(0);
        output.prints("a\nb\nc\n");
        assert!(started.elapsed() >= Duration::from_millis(at_least), "speed {speed}: {:?}", started.elapsed());
    }
    let arguments = ["connect", &server.url, "--replay", &path, "--json", "-n", "3"];
    let sent: Vec<_> = events(run(&arguments, "").exits(0).stdout())
        .iter()
        .filter(|event| event["dir"] == "out" && event["type"] == "text")
        .map(|event| event["time"].as_str().expect("a time").parse::<jiff::Timestamp>().expect("a time"))
        .collect();
    assert!(sent[2].duration_since(sent[0]).as_millis() >= 1000, "{sent:?}");
}

#[test]
fn on_a_terminal_a_replay_says_how_far_it_is_and_takes_that_away_again() {
    if !require("tmux") {
        return;
    }
    let line = |second: u32, text: &str| {
        format!(
            "{{\"time\":\"2026-01-02T03:04:0{second}Z\",\"session\":\"s1\",\"dir\":\"out\",\"type\":\"text\",\"text\":\"{text}\"}}\n"
        )
    };
    let directory = scratch();
    let recording = text(&write(&directory, "r.jsonl", line(1, "a") + &line(3, "b") + &line(3, "c")));
    let (out, err) = (directory.path().join("out"), directory.path().join("err"));
    let server = listen(&["--echo"]);
    let terminal = Terminal::open();
    let wsp = env!("CARGO_BIN_EXE_wsp");
    let command = format!("{wsp} connect {} --replay {recording} -n 3", server.url);
    terminal.line(&format!("clear; {command} > {}", out.display()));
    terminal.wait_for("replay: 1 message, 33 % of the recording");
    assert_eq!(terminal.ended(), 0);
    assert_eq!(read(&out), "a\nb\nc\n");
    // What the line was written over is gone, too: it stood where the shell's prompt is now.
    terminal.line(&format!("clear; {command} > {}; echo over", out.display()));
    terminal.wait_for("replay: 1 message, ");
    let screen = terminal.wait_until("the end", |screen| screen.lines().any(|line| line == "over"));
    assert!(!screen.contains("replay: "), "{screen}");
    // Nobody watches a file.
    terminal.line(&format!("clear; {command} > {} 2> {}", out.display(), err.display()));
    assert_eq!(terminal.ended(), 0);
    assert_eq!((read(&out).as_str(), read(&err).as_str()), ("a\nb\nc\n", ""));
}

#[test]
fn each_session_is_recorded_and_replayed_as_its_own() {
    let directory = scratch();
    let server = listen(&["--echo"]);
    let url = server.url.as_str();
    for name in ["r.jsonl", "r.har"] {
        let path = text(&directory.path().join(name));
        run(&["connect", url, url, "--record", &path, "-w", "300ms"], "one\ntwo\n").exits(0);
        // One session's own words, marked by hand: those of whichever was open first.
        let marked = read(Path::new(&path)).replacen("\"two\"", "\"first's\"", 1);
        let before = &marked[..marked.find("first's").expect("the mark")];
        let first = before.rsplit_once("session\":\"").and_then(|(_, name)| name.get(..2)).expect("its session");
        let other = if first == "s1" { "s2" } else { "s1" };
        let names = [(first.to_owned(), ["one", "first's"]), (other.to_owned(), ["one", "two"])];
        let marked = text(&write(&directory, &format!("marked-{name}"), marked));
        let output = run(&["connect", url, url, "--json", "--replay", &marked, "--speed", "max"], "").exits(0);
        let events = events(output.stdout());
        for (session, expected) in names {
            let texts: Vec<_> = events
                .iter()
                .filter(|event| {
                    event["session"] == session.as_str() && event["dir"] == "out" && event["type"] == "text"
                })
                .map(|event| event["text"].as_str().expect("text"))
                .collect();
            assert_eq!(texts, expected, "{name} {session}");
        }
        // With one URL all of them go there.
        let output = run(&["connect", url, "--replay", &marked, "--speed", "max"], "").exits(0);
        assert_eq!(output.stdout().lines().count(), 4, "{name}: {}", output.stdout());
    }
    let left: Vec<_> = std::fs::read_dir(directory.path()).expect("a directory").collect();
    assert_eq!(left.len(), 4, "no parts of the HAR are left: {left:?}");
}

#[test]
fn a_failed_connection_and_its_retries_are_recorded() {
    let directory = scratch();
    let url = format!("ws://127.0.0.1:{}/", crate::support::closed_port());
    for name in ["r.jsonl", "r.har"] {
        let path = directory.path().join(name);
        let arguments = ["connect", &url, "--reconnect=2", "--retry-delay", "10ms", "--record", &text(&path)];
        wsp(arguments).spawn().outcome().exits(9);
        if name == "r.jsonl" {
            let kinds: Vec<_> = events(&read(&path)).iter().map(|event| event["type"].clone()).collect();
            assert_eq!(kinds, ["error", "retry", "error", "retry", "error"]);
        } else {
            let entries = har(&path);
            assert_eq!(
                (entries[0]["response"]["status"].as_u64(), &entries[0]["request"]["url"]),
                (Some(0), &json!(url))
            );
            assert_eq!(frames(&entries[0], "error").len(), 5);
        }
    }
}

/// Records until `part` stands in the file, then kills the recorder.
fn killed(path: &Path, url: &str, part: &str) {
    let mut process = wsp(["connect", url, "--record", &text(path)]).spawn();
    process.send("before\nthe kill\n");
    let deadline = Instant::now() + crate::support::DEADLINE;
    while !std::fs::read_to_string(path).is_ok_and(|text| text.matches(part).count() == 4) {
        assert!(Instant::now() < deadline, "not written: {:?}", std::fs::read_to_string(path));
        std::thread::yield_now();
    }
    process.signal(Signal::SIGKILL);
    assert_eq!(process.outcome().code, 128 + 9);
}

#[test]
fn what_a_kill_leaves_is_readable() {
    let directory = scratch();
    let server = listen(&["--echo"]);
    for name in ["r.jsonl", "r.har"] {
        let path = directory.path().join(name);
        killed(&path, &server.url, if name == "r.jsonl" { "\"type\":\"text\"" } else { "\"opcode\":1" });
        let output = run(&["connect", &server.url, "--replay", &text(&path)], "").exits(0);
        assert_eq!(output.stderr.matches("truncated").count(), 0, "{}", output.stderr);
        output.prints("before\nthe kill\n");
        // Torn in the middle of the last line or message.
        let whole = read(&path);
        let torn = &whole[..whole.rfind("the kill").expect("the last message") + 3];
        std::fs::write(&path, torn).expect("written");
        let output = run(&["connect", &server.url, "--replay", &text(&path)], "").exits(0);
        output.complains("truncated").complains(name).prints("before\nthe kill\n");
    }
}

#[test]
fn a_damaged_recording_is_refused_before_connecting() {
    let directory = scratch();
    let url = format!("ws://127.0.0.1:{}/", crate::support::closed_port());
    let lines = "{\"type\":\"open\"}\n{\"type\":\"te\n{\"type\":\"open\"}\n";
    let har =
        "{\"log\":{\"entries\":[{\"_webSocketMessages\":[{\"type\":\"send\",\"time\":1,\"opcode\":1,\"data\":7}]}]}}";
    let big = "{\"type\":\"ping\",\"dir\":\"out\",\"time\":\"2026-01-02T03:04:05Z\",\"text\":\"".to_owned()
        + &"x".repeat(126)
        + "\"}\n";
    for (content, what) in [
        (lines, "line 2"),
        (har, "message 1 of entry 1"),
        ("{\"log\":{\"entries\":[}]}}", "not valid JSON at byte 19"),
        ("hello\n", "line 1"),
        (&big, "at most 125 bytes"),
    ] {
        let path = text(&write(&directory, "damaged", content));
        run(&["connect", &url, "--replay", &path], "").exits(2).complains(what).complains(&path).complains("hint:");
    }
    let missing = text(&directory.path().join("missing"));
    run(&["connect", &url, "--replay", &missing], "").exits(2).complains(&missing);
    let path = text(&write(&directory, "r.jsonl", ""));
    run(&["connect", &url, "--replay", &path, "--record", &path], "").exits(2).complains("same file");
    for more in [["-x", "a"], ["--input", "json"], ["--delimiter", ";"], ["--dir", "both"], ["--speed", "0"]] {
        wsp(["connect", &url, "--replay", &path]).args(more).input("").exits(2);
    }
    run(&["connect", &url, "--speed", "2"], "").exits(2).complains("--replay");
}

#[test]
fn a_recording_that_cannot_be_written_is_32() {
    let directory = scratch();
    let server = listen(&["--echo"]);
    let missing = text(&directory.path().join("no/such/directory"));
    for name in ["full.jsonl", "full.har"] {
        std::os::unix::fs::symlink("/dev/full", directory.path().join(name)).expect("a link");
    }
    let full = ["full.jsonl", "full.har"].map(|name| text(&directory.path().join(name)));
    for path in [&missing, &full[0], &full[1]] {
        let output = run(&["connect", &server.url, "--record", path, "-x", "a", "-w", "0"], "").exits(32);
        output.complains(path).complains("hint:");
    }
}

#[test]
fn a_file_at_its_limit_ends_the_run_and_stays_readable() {
    let directory = scratch();
    let server = listen(&["--sink"]);
    let lines = format!("{}\n", "x".repeat(1000)).repeat(400);
    let input = text(&write(&directory, "input", lines));
    for name in ["r.jsonl", "r.har"] {
        let path = directory.path().join(name);
        // The shell counts blocks of 512 or 1024 bytes; without its signal a write beyond them fails with EFBIG.
        let script = format!("trap '' XFSZ; ulimit -f 200; exec \"$0\" connect \"$1\" --record \"$2\" -w -1 < {input}");
        let shell = crate::support::Run::new("sh").args(["-c", &script, env!("CARGO_BIN_EXE_wsp"), &server.url]);
        let output = shell.arg(&path).spawn().outcome().exits(32);
        output.complains(&text(&path)).complains("too large");
        let echo = listen(&["--echo"]);
        let output = run(&["connect", &echo.url, "--replay", &text(&path), "--speed", "max"], "").exits(0);
        let replayed = output.stdout().lines().count();
        assert!((1..400).contains(&replayed), "{name}: {replayed} messages");
        if name == "r.har" {
            assert_eq!(frames(&har(&path)[0], "send").iter().filter(|frame| frame[0] == 1).count(), replayed);
        }
    }
}

#[test]
fn many_messages_come_back_in_order_at_full_speed() {
    let directory = scratch();
    let server = listen(&["--echo"]);
    let lines: String = (0..20_000).map(|number| format!("message {number}\n")).collect();
    let mut replayed = None;
    for name in ["r.jsonl", "r.har"] {
        let path = text(&directory.path().join(name));
        let mut arguments = vec!["connect", server.url.as_str(), "--record", &path, "-n", "20000"];
        let before: Option<String> = replayed.replace(path.clone());
        if let Some(before) = &before {
            arguments.extend(["--replay", before, "--speed", "max"]);
        }
        run(&arguments, if before.is_none() { lines.as_str() } else { "" }).exits(0).prints(&lines);
    }
    let path = replayed.expect("a recording");
    run(&["connect", &server.url, "--replay", &path, "--speed", "max", "-n", "20000"], "").exits(0).prints(&lines);
}

#[test]
fn a_server_records_all_its_sessions() {
    let directory = scratch();
    for name in ["r.jsonl", "r.har"] {
        let path = directory.path().join(name);
        let server = listen(&["--echo", "--record", &text(&path)]);
        run(&["connect", &server.url, &server.url, "-x", "a", "-n", "2"], "").exits(0);
        run(&["connect", &format!("{}later", server.url), "-x", "b", "-n", "1"], "").exits(0);
        server.stop().exits(0);
        // What the clients said, said again to another server.
        let echo = listen(&["--echo"]);
        let arguments = ["connect", &echo.url, "--replay", &text(&path), "--dir", "in", "--speed", "max"];
        let output = run(&arguments, "").exits(0);
        let mut texts: Vec<_> = output.stdout().lines().collect();
        texts.sort_unstable();
        assert_eq!(texts, ["a", "a", "b"], "{name}");
        if name == "r.har" {
            let entries = har(&path);
            let urls: Vec<_> = entries.iter().filter_map(|entry| entry["request"]["url"].as_str()).collect();
            assert_eq!(urls.len(), 3);
            assert_eq!(urls.iter().filter(|url| url.ends_with("/later")).count(), 1, "{urls:?}");
            assert!(entries.iter().all(|entry| frames(entry, "send")[0] == frames(entry, "receive")[0]));
        } else {
            let recorded = events(&read(&path));
            assert_eq!(gist(&recorded).iter().filter(|event| event[2] == "text").count(), 6);
            assert_eq!(recorded.iter().filter(|event| event["type"] == "open").count(), 3);
        }
    }
    let full = directory.path().join("full.jsonl");
    std::os::unix::fs::symlink("/dev/full", &full).expect("a link");
    let server = listen(&["--echo", "--record", &text(&full)]);
    run(&["connect", &server.url, "-x", "a", "-n", "1"], "");
    server.process.outcome().exits(32).complains(&text(&full));
}

#[test]
fn each_of_many_sessions_is_recorded_whole_and_can_be_replayed_alone() {
    const SESSIONS: usize = 60;
    let directory = scratch();
    for name in ["r.jsonl", "r.har"] {
        let path = directory.path().join(name);
        let server = listen(&["--echo", "--record", &text(&path), "--close-timeout", "100ms"]);
        let mut clients: Vec<_> = (0..SESSIONS).map(|_| RawClient::connect(server.port)).collect();
        // All at a time, a word of each in turn.
        for word in 0..5 {
            for (number, client) in clients.iter_mut().enumerate() {
                client.say(Frame::text(&format!("{number}: {word}")));
            }
        }
        let mut spoken = Vec::new();
        for client in &mut clients {
            spoken.push((0..5).map(|_| client.read_text()).collect::<Vec<_>>());
            client.say(Frame::close(1000, "done"));
        }
        for mut client in clients {
            client.read_rest();
        }
        server.stop().exits(0).complains("connections 60");
        if name == "r.har" {
            let entries = har(&path);
            assert_eq!(entries.len(), SESSIONS);
            for entry in &entries {
                // Five words each way and the Close, and nobody else's.
                let (received, sent) = (frames(entry, "receive"), frames(entry, "send"));
                assert_eq!((received.len(), sent.len()), (6, 5));
                assert_eq!(received[..5], sent);
            }
        }
        let left = std::fs::read_dir(directory.path()).expect("a directory").count();
        assert_eq!(left, if name == "r.har" { 2 } else { 1 }, "no parts are left");
        let echo = listen(&["--echo"]);
        let replay =
            ["connect", "--replay", &text(&path), "--dir", "in", "--speed", "max", "-w", "-1", "--replay-close"];
        for session in [1, 17, SESSIONS] {
            let name = format!("s{session}");
            let output = run(&[&replay[..], &["--session", &name, &echo.url]].concat(), "").exits(0);
            let words: Vec<_> = output.stdout().lines().map(str::to_owned).collect();
            assert!(spoken.contains(&words), "{name}: {words:?}");
            assert!(session != 1 || words == spoken[0], "the first that came is s1: {words:?}");
        }
        // With several URLs each gets it.
        let output = run(&[&replay[..], &["--session", "s2", &echo.url, &echo.url]].concat(), "").exits(0);
        assert_eq!(output.stdout().lines().count(), 10, "{}", output.stdout());
        let none = run(&[&replay[..], &["--session", "s61", &echo.url]].concat(), "").exits(2);
        none.prints("").complains("no messages of session s61");
        // All of them together, where nothing is said.
        let all = run(&["connect", "--replay", &text(&path), "--dir", "in", "--speed", "max", &echo.url], "").exits(0);
        assert_eq!(all.stdout().lines().count(), 5 * SESSIONS);
    }
    run(&["connect", "ws://127.0.0.1:1/", "--replay", "r", "--session", "first"], "").exits(2).complains("s1, s2");
    run(&["connect", "ws://127.0.0.1:1/", "--session", "s1"], "").exits(2).complains("--replay");
}

#[test]
fn a_session_that_is_over_does_not_hold_up_the_others() {
    let left = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let server = listen(&["--echo"]);
    let lines: String = (0..5000).map(|number| format!("{number}\n")).collect();
    let mut process = wsp(["connect", &left.url, &server.url, "-w", "500ms"]).spawn();
    process.wait_for_stderr("closed by the peer");
    process.send(&lines);
    process.finish().exits(0).prints(&lines);
    left.join();
}

#[test]
fn the_network_panel_of_chromium_takes_our_har_and_we_take_its() {
    if !require("chromium") {
        return;
    }
    let home = scratch();
    let server = listen(&["--echo"]);
    let devtools = |arguments: &[&str]| {
        let run = node("devtools-har.js").arg(chromium()).arg(home.path()).args(arguments);
        run.limit(Duration::from_secs(120)).input("").exits(0)
    };
    let ours = home.path().join("ours.har");
    let url = format!("{}?room=1", server.url);
    run(&["connect", &url, "--input", "json", "--record", &text(&ours)], CONVERSATION).exits(0);
    let panel: Value = serde_json::from_str(devtools(&["import", &text(&ours)]).stdout()).expect("JSON");
    assert_eq!(panel["drawn"].as_array().map(Vec::len), Some(1), "{panel}");
    let request = &panel["requests"][0];
    assert_eq!(
        (&request["url"], &request["status"], &request["type"]),
        (&json!(url), &json!(101), &json!("websocket"))
    );
    let shown: Vec<_> = request["frames"].as_array().expect("frames").iter().collect();
    let written = har(&ours)[0]["_webSocketMessages"].as_array().expect("messages").clone();
    assert_eq!(shown.len(), written.len());
    for (shown, written) in shown.iter().zip(&written) {
        let pairs = [("type", "type"), ("opCode", "opcode"), ("text", "data")];
        assert!(pairs.iter().all(|(ours, theirs)| shown[ours] == written[theirs]), "{shown} for {written}");
        assert_eq!(shown["time"].as_f64(), written["time"].as_f64());
    }
    let theirs = text(&write(&home, "theirs.har", devtools(&["export", &url, "hello", "ünï"]).stdout()));
    let output = run(&["connect", &server.url, "--replay", &theirs, "--json"], "").exits(0);
    let sent: Vec<_> = said(&events(output.stdout()), "out");
    let expected = [
        json!(["text", "hello", null, null, null]),
        json!(["binary", null, "aGVsbG8=", null, null]),
        json!(["text", "ünï", null, null, null]),
        json!(["binary", null, "w7xuw68=", null, null]),
    ];
    assert_eq!(sent[..4], expected);
}

#[test]
fn a_recording_that_cannot_be_written_in_time_is_a_failure_and_not_silence() {
    let directory = scratch();
    // A message that is larger than the pipe: what does not fit is still to be written.
    let pushing = listen(&["--push", "50", "--payload-size", "100000"]);
    let socket = directory.path().join("socket");
    let address = format!("unix:{}", socket.display());
    let table: [&[&str]; 3] = [
        &["connect", &pushing.url, "-w", "-1"],
        &["relay", &pushing.url, "null:", "--grace", "300ms"],
        &["listen", &address, "--sink", "--grace", "300ms"],
    ];
    for (number, arguments) in table.into_iter().enumerate() {
        let path = directory.path().join(format!("{number}.jsonl"));
        make_fifo(&path);
        // Held open and not read.
        let fifo = File::options().read(true).write(true).open(&path).expect("a pipe");
        let run = wsp(arguments).args(["--record", &text(&path)]).spawn();
        let sender = (arguments[0] == "listen").then(|| {
            wait_until("the socket", || socket.exists().then_some(()));
            sending_without_end(&socket)
        });
        wait_until("a full pipe", || {
            let mut room = [PollFd::new(fifo.as_fd(), PollFlags::POLLOUT)];
            (poll(&mut room, PollTimeout::ZERO) == Ok(0)).then_some(())
        });
        run.signal(Signal::SIGTERM);
        run.outcome().exits(32).complains("cannot write the recording").complains("not in time; the rest is lost");
        drop(sender);
    }
}
