//! `wsp listen --ack`: an answer to each message, in every mode, after what the mode itself sends.

use serde_json::Value;

use crate::support::{Frame, Opcode, RawClient, listen, run};

const NUMBERED: &str =
    "{ack: $meta.seq, type: $meta.type, size: $meta.size, of: $meta.session, at: $meta.url, was: $prev}";

#[test]
fn meta_and_prev_say_what_is_answered() {
    let mut server = listen(&["--ack", NUMBERED]);
    let (mut client, _) = RawClient::open(server.port, "/path?query", "");
    let sent = [
        (
            Frame::text("{\"id\":7}"),
            "{\"ack\":1,\"type\":\"text\",\"size\":8,\"of\":\"s1\",\"at\":\"/path?query\",\"was\":null}",
        ),
        (
            Frame::text("no JSON"),
            "{\"ack\":2,\"type\":\"text\",\"size\":7,\"of\":\"s1\",\"at\":\"/path?query\",\"was\":{\"id\":7}}",
        ),
        (
            Frame::new(Opcode::Binary, [0xff; 3]),
            "{\"ack\":3,\"type\":\"binary\",\"size\":3,\"of\":\"s1\",\"at\":\"/path?query\",\"was\":{\"id\":7}}",
        ),
    ];
    for (frame, answer) in sent {
        client.say(frame);
        assert_eq!(client.read_text(), answer);
    }
    // What the server prints and its input are as without.
    server.process.wait_for_stdout("no JSON");
    server.process.send("from stdin\n");
    assert_eq!(client.read_text(), "from stdin");
}

#[test]
fn every_mode_answers_first_and_acknowledges_then() {
    let modes: [(&[&str], &[&str]); 6] = [
        (&["--echo"], &["hi"]),
        (&["--broadcast"], &["hi"]),
        (&["--reply", "own"], &["own"]),
        (&["--sink"], &[]),
        (&["--exec", "while read -r line; do echo \"[$line]\"; done"], &["[hi]"]),
        (&["--push", "0.001", "--payload", "pushed"], &[]),
    ];
    for (mode, answers) in modes {
        let server = listen(&[mode, &["--ack", "{ack: .}"]].concat());
        let mut client = RawClient::connect(server.port);
        if mode[0] == "--push" {
            assert_eq!(client.read_text(), "pushed");
        }
        client.say(Frame::text("hi"));
        let mut seen: Vec<String> = (0..=answers.len()).map(|_| client.read_text()).collect();
        let mut expected: Vec<&str> = answers.iter().copied().chain(["{\"ack\":\"hi\"}"]).collect();
        // A program, and a mailbox, answer in their own time.
        if matches!(mode[0], "--exec" | "--broadcast") {
            seen.sort();
            expected.sort_unstable();
        }
        assert_eq!(seen, expected, "{mode:?}");
    }
}

#[test]
fn a_filter_may_yield_nothing_several_or_an_error() {
    let server = listen(&["--sink", "--ack", "if .n then range(.n) elif .bad then error(\"no\") else empty end"]);
    let output = run(&["connect", &server.url, "-n", "3"], "{\"x\":1}\n{\"bad\":1}\nplain\n{\"n\":3}\n").exits(0);
    output.prints("0\n1\n2\n");
    let output = server.stop().exits(0);
    assert!(output.stderr.contains("s1: --ack: no\n"), "{}", output.stderr);
    assert!(output.stderr.contains("s1: --ack: Cannot index"), "a text has no fields: {}", output.stderr);
}

#[test]
fn reply_jq_knows_meta_too() {
    let server = listen(&["--reply-jq", "{n: $meta.seq, before: $prev.a}"]);
    let output = run(&["connect", &server.url, "-n", "2"], "{\"a\":1}\nnot JSON\n{\"a\":2}\n").exits(0);
    let lines: Vec<Value> = output.stdout().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines, [serde_json::json!({"n": 1, "before": null}), serde_json::json!({"n": 3, "before": 1})]);
}

#[test]
fn a_filter_that_does_not_compile_is_told_before_listening() {
    run(&["listen", ":0", "--ack", ".["], "").exits(7).complains("--ack");
}
