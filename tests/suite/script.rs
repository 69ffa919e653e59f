//! `wsp listen --script`: what rules do, in which order, and what is said about a file that is wrong.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    Frame, Opcode, Output, RawClient, Server, Socket, events, events_of, listen, root, run, scratch, text, write,
};

/// A server by these rules. The folder must live until it has read them, which it has once it listens.
fn script(rules: &str, arguments: &[&str]) -> Server {
    let folder = scratch();
    let path = text(&write(&folder, "rules.toml", rules));
    listen(&[&["--script", &path], arguments].concat())
}

fn refused(rules: &str) -> Output {
    let folder = scratch();
    let path = write(&folder, "rules.toml", rules);
    run(&["listen", ":0", "--script", &text(&path)], "")
}

fn say(client: &mut Socket, text: &str) {
    client.say(Frame::text(text));
}

fn read_json(client: &mut Socket) -> Value {
    serde_json::from_str(&client.read_text()).expect("JSON")
}

#[test]
fn the_script_of_the_guide_does_what_it_says() {
    let guide = std::fs::read_to_string(root().join("docs/guide/listen.md")).expect("the guide");
    let blocks = guide.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let rules = blocks.into_iter().find(|block| block.contains("[[rule]]")).expect("a script");
    let server = script(rules, &[]);
    let mut one = RawClient::connect(server.port);
    assert_eq!(read_json(&mut one), json!({"welcome": "s1"}));
    let mut two = RawClient::connect(server.port);
    assert_eq!(read_json(&mut two), json!({"welcome": "s2"}));
    say(&mut one, r#"{"op":"ping","id":7}"#);
    assert_eq!(read_json(&mut one), json!({"op": "pong", "id": 7}));
    say(&mut one, r#"{"op":"say","what":"hi"}"#);
    assert_eq!(one.read_text(), "said");
    assert_eq!(read_json(&mut two), json!({"op": "say", "what": "hi"}));
    for message in [r#"{"x":1}"#, r#"{"x":1}"#, "text"] {
        say(&mut one, message);
    }
    assert_eq!(read_json(&mut one), json!({"error": "not understood", "message": {"x": 1}}));
    assert_eq!(read_json(&mut one), json!({"error": "not understood", "message": "text"}));
    say(&mut one, "bye");
    let close = one.read_close();
    assert_eq!((close.close_code(), &close.payload[2..]), (1000, &b"see you"[..]));
}

#[test]
fn the_script_in_the_help_is_the_same() {
    let rules = |text: &str| {
        let mut rules = String::new();
        for line in text.lines().map(str::trim) {
            let line = line.split(" #").next().unwrap_or_default().trim();
            if line.starts_with("[[rule]]") || (!rules.is_empty() && line.contains(" = ")) {
                rules.push_str(line);
                rules.push('\n');
            }
        }
        rules
    };
    let help = run(&["listen", "--help"], "").exits(0);
    let (_, ours) = help.stdout().split_once("[[rule]]").expect("a script");
    let (ours, _) = ours.split_once("not understood").expect("its end");
    let guide = std::fs::read_to_string(root().join("docs/guide/listen.md")).expect("the guide");
    let (_, theirs) = guide.split_once("[[rule]]").expect("a script");
    let (theirs, _) = theirs.split_once("not understood").expect("its end");
    assert_eq!(rules(ours), rules(theirs));
    assert!(rules(ours).len() > 200);
}

#[test]
fn replies_with_a_delay_are_late_and_keep_their_order() {
    let rules = "[[rule]]\nwhen = '.late'\nreply = '{late: .late}'\ndelay = '300ms'\n\
                 [[rule]]\nwhen = '.never'\nreply = '{}'\ndelay = '1h'\n[[rule]]\nreply = '{at_once: .n}'\n";
    let server = script(rules, &[]);
    let mut client = RawClient::connect(server.port);
    let mut other = RawClient::connect(server.port);
    let mut waiting = RawClient::connect(server.port);
    say(&mut waiting, r#"{"never":1}"#);
    let start = Instant::now();
    for text in [r#"{"n":1}"#, r#"{"late":2}"#, r#"{"n":3}"#] {
        say(&mut client, text);
    }
    assert_eq!(read_json(&mut client), json!({"at_once": 1}));
    // Who is not delayed is answered meanwhile.
    say(&mut other, r#"{"n":9}"#);
    assert_eq!(read_json(&mut other), json!({"at_once": 9}));
    assert_eq!(read_json(&mut client), json!({"late": 2}));
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert_eq!(read_json(&mut client), json!({"at_once": 3}));
}

#[test]
fn what_is_delayed_is_bounded_and_what_nobody_waits_for_is_counted() {
    let rules =
        "[[rule]]\nwhen = '. == \"go\"'\nreply_text = 'went'\n[[rule]]\nreply_text = 'much later'\ndelay = '1h'\n";
    let server = script(rules, &["--queue-size", "100"]);
    let client = RawClient::connect(server.port);
    let taken = client.pour(Frame::text(&"x".repeat(50_000)).masked().bytes());
    // Another one is served, and sees that the first one is not read from for ever.
    let mut before = None;
    while before != Some(taken.load(std::sync::atomic::Ordering::Relaxed)) {
        before = Some(taken.load(std::sync::atomic::Ordering::Relaxed));
        for _ in 0..20 {
            let mut other = RawClient::connect(server.port);
            say(&mut other, "go");
            assert_eq!(other.read_text(), "went");
        }
    }
    assert!(before < Some(32 << 20), "{before:?} bytes were taken");
    client.hang_up();
    let output = server.stop().exits(0);
    assert!(output.stderr.contains("dropped 100 (receiver-gone 100)"), "{}", output.stderr);
}

#[test]
fn forward_reaches_whom_it_names_and_counts_whom_it_does_not_find() {
    let rules =
        "[[rule]]\nwhen = '.to == \"everyone\"'\nforward = 'all'\n[[rule]]\nforward = '.to'\nreply = '\"ok\"'\n";
    let server = script(rules, &["--json"]);
    let mut clients: Vec<Socket> = (0..3).map(|_| RawClient::connect(server.port)).collect();
    let everyone = r#"{"to":"everyone"}"#;
    // All are there once one has been answered after the last has connected.
    say(&mut clients[2], r#"{"to":"s3"}"#);
    assert_eq!([clients[2].read_text(), clients[2].read_text()].iter().filter(|text| *text == "ok").count(), 1);
    say(&mut clients[0], everyone);
    for client in &mut clients {
        assert_eq!(client.read_text(), everyone);
    }
    say(&mut clients[0], r#"{"to":"s2"}"#);
    assert_eq!(clients[1].read_text(), r#"{"to":"s2"}"#);
    assert_eq!(clients[0].read_text(), "ok");
    say(&mut clients[0], r#"{"to":"others"}"#);
    assert_eq!(
        (clients[1].read_text(), clients[2].read_text()),
        (r#"{"to":"others"}"#.into(), r#"{"to":"others"}"#.into())
    );
    assert_eq!(clients[0].read_text(), "ok");
    for nobody in [r#"{"to":"s99"}"#, r#"{"to":"me"}"#, r#"{"to":5}"#] {
        say(&mut clients[0], nobody);
        assert_eq!(clients[0].read_text(), "ok");
    }
    server.process.wait_for_stdout("forward: 5 is not a session");
    drop(clients);
    let output = server.stop().exits(0);
    assert!(output.stderr.contains("no session s99; its messages were dropped"), "{}", output.stderr);
    assert!(output.stderr.contains("no session me; its messages were dropped"), "{}", output.stderr);
    assert!(output.stderr.contains("dropped 2 (no-receiver 2)"), "{}", output.stderr);
    let events = events(output.stdout());
    assert_eq!(events_of(&events, "text", "in").len(), 7, "messages are printed when that is asked for");
}

#[test]
fn binary_messages_are_forwarded_as_they_are_and_are_null_to_filters() {
    let rules = "[[rule]]\nwhen = '. == null and $meta.type == \"binary\"'\nforward = 'all'\n";
    let server = script(rules, &[]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::new(Opcode::Binary, vec![0xff; 1000]));
    assert_eq!(client.read_data(), Frame::new(Opcode::Binary, vec![0xff; 1000]));
}

#[test]
fn once_and_stop_hold_for_each_session() {
    let rules = "[[rule]]\nonce = true\nstop = false\nreply_text = 'first'\n[[rule]]\nreply = '$meta.seq'\n";
    let server = script(rules, &[]);
    for _ in 0..2 {
        let mut client = RawClient::connect(server.port);
        for expected in [&["first", "1"][..], &["2"]] {
            say(&mut client, "x");
            for text in expected {
                assert_eq!(client.read_text(), *text);
            }
        }
    }
}

#[test]
fn a_session_may_be_closed_at_once_or_later() {
    let rules = "[[rule]]\non = 'open'\nwhen = '$meta.url == \"/closed\"'\nclose = 1013\n\
                 [[rule]]\nreply_text = 'last words'\nclose = '4001:bye'\ndelay = '50ms'\n";
    let server = script(rules, &[]);
    let (mut client, _) = RawClient::open(server.port, "/closed", "");
    assert_eq!(client.read_close().close_code(), 1013);
    let mut client = RawClient::connect(server.port);
    say(&mut client, "x");
    say(&mut client, "y");
    assert_eq!(client.read_text(), "last words");
    assert_eq!(client.read_frame().map(|frame| (frame.is(Opcode::Close), frame.close_code())), Some((true, 4001)));
}

#[test]
fn an_error_in_a_reply_is_told_and_the_session_goes_on() {
    let server = script("[[rule]]\nreply = '.a + 1'\n", &[]);
    let mut client = RawClient::connect(server.port);
    for message in [r#"{"a":"x"}"#, r#"{"a":1}"#] {
        say(&mut client, message);
    }
    assert_eq!(client.read_text(), "2");
    drop(client);
    let stderr = server.stop().stderr;
    assert!(stderr.contains("s1: reply: string (\"x\") and number (1) cannot be added"), "{stderr}");
}

#[test]
fn everything_wrong_with_a_file_is_told_at_once_with_its_line() {
    let rules = "\
[[rule]]
wen = '.a'
reply = '.['
[[rule]]
on = 'opened'
close = '1005:no'
delay = 'soon'
[[rule]]
when = true
once = 'yes'
drop = true
[[rule]]
when = '.a'
[[rule]]
reply = '.'
reply_text = 'x'
[[rule]]
on = 'open'
forward = 'all'
[[rule]]
drop = true
reply = '.'
[[rules]]
";
    let output = refused(rules).exits(2);
    let lines: Vec<&str> = output.stderr.lines().filter(|line| line.starts_with("wsp: ")).collect();
    let expected = [
        "rules.toml:2: unknown rule key 'wen'",
        "rules.toml:3: reply: ",
        "rules.toml:5: unknown value 'opened' of on",
        "rules.toml:6: close: close code 1005 is never sent",
        "rules.toml:7: delay: invalid duration 'soon'",
        "rules.toml:9: when: expected text",
        "rules.toml:10: once: expected true or false",
        "rules.toml:12: the rule does nothing",
        "rules.toml:14: both reply and reply_text",
        "rules.toml:17: on = \"open\" has no message",
        "rules.toml:20: drop cannot be combined with another action",
        "rules.toml:23: unknown key 'rules'",
    ];
    assert_eq!(lines.len(), expected.len(), "{}", output.stderr);
    for (line, part) in lines.iter().zip(expected) {
        assert!(line.contains(part), "{part}: {}", output.stderr);
    }
    for hint in ["did you mean 'when'?", "did you mean [[rule]]?"] {
        assert!(output.stderr.contains(hint), "{}", output.stderr);
    }
}

#[test]
fn what_a_file_is_not_is_told_with_the_right_code() {
    refused("[[rule]]\nwhen = '.a |'\ndrop = true\n[[rule]]\nreply = '.['\n")
        .exits(7)
        .complains("rules.toml:5: reply:");
    refused("[[rule]\n").exits(2).complains("rules.toml:1: ");
    refused("").exits(2).complains("contains no rule");
    refused("[rule]\nreply = '.'\n").exits(2).complains("two brackets");
    refused("reply = '.'\n").exits(2).complains("put it below [[rule]]");
    refused("\u{0}\u{1}\u{7f}").exits(2).complains("rules.toml:1: ");
    run(&["listen", ":0", "--script", "/nowhere"], "").exits(2).complains("cannot read /nowhere");
    run(&["listen", ":0", "--script", "/nowhere", "--echo"], "").exits(2).complains("cannot be used with");
}
