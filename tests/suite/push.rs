//! `wsp listen --push`: what is sent, how often, and what happens to a client that does not keep up.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::{Frame, Opcode, RawClient, Socket, listen, run, scratch, text, write};

fn number(client: &mut Socket) -> u64 {
    let text = client.read_text();
    let value: Value = serde_json::from_str(&text).expect("JSON");
    assert!(value["time"].as_str().is_some_and(|time| time.starts_with('2') && time.ends_with('Z')), "{text}");
    value["seq"].as_u64().unwrap_or_else(|| panic!("a number in {text}"))
}

#[test]
fn messages_are_numbered_from_the_first_client_on_and_all_get_the_same() {
    let server = listen(&["--push", "500"]);
    let mut one = RawClient::connect(server.port);
    assert_eq!(number(&mut one), 1, "nothing was made before");
    let mut two = RawClient::connect(server.port);
    let first = number(&mut two);
    for expected in 2..first + 20 {
        assert_eq!(number(&mut one), expected);
    }
    for expected in first + 1..first + 20 {
        assert_eq!(number(&mut two), expected);
    }
    drop((one, two));
    let output = server.stop().exits(0);
    assert!(output.stderr.contains("dropped 0"), "{}", output.stderr);
}

#[test]
fn the_rate_is_kept() {
    for (rate, messages) in [("100/s", 101), ("2k", 2001)] {
        let server = listen(&["--push", rate, "--payload", "tick"]);
        let mut client = RawClient::connect(server.port);
        client.read_text();
        let mut a_second_of_messages = || {
            let start = Instant::now();
            for _ in 1..messages {
                assert_eq!(client.read_text(), "tick");
            }
            start.elapsed()
        };
        // The first may have waited in a buffer; a second of messages never comes much earlier.
        let first = a_second_of_messages();
        assert!(first > Duration::from_millis(900), "{rate}: {first:?}");
        // On a busy machine some seconds are late; with half the rate all would be.
        let soon = Duration::from_millis(1500);
        assert!(first < soon || (0..20).any(|_| a_second_of_messages() < soon), "{rate}");
    }
}

#[test]
fn nothing_is_made_while_nobody_is_there() {
    let server = listen(&["--push", "1k"]);
    let mut client = RawClient::connect(server.port);
    let mut last = number(&mut client);
    client.say(Frame::close(1000, ""));
    while let Some(frame) = client.read_frame().filter(|frame| !frame.is(Opcode::Close)) {
        let value: Value = serde_json::from_str(&frame.as_text()).expect("JSON");
        last = value["seq"].as_u64().expect("a number");
    }
    client.read_rest();
    let mut later = RawClient::connect(server.port);
    let next = number(&mut later);
    // What was made between its Close and its end was dropped with it.
    assert!(next > last && next < last + 500, "{next} after {last}");
}

#[test]
fn payloads_are_what_was_asked_for() {
    let folder = scratch();
    let lines = write(&folder, "lines", "one\ntwo\n\nthree {{seq}}\n");
    let binary = write(&folder, "binary", b"\xff\x00");
    let file = format!("@{}", binary.display());
    let table: [(&[&str], &[&str]); 4] = [
        (&["--payload", "plain {{seq}}"], &["plain {{seq}}", "plain {{seq}}"]),
        (&["--payload", "filled {{seq}}", "--template"], &["filled 1", "filled 2"]),
        (&["--payload-file", &text(&lines)], &["one", "two", "", "three {{seq}}", "one"]),
        (&["--payload-file", &text(&lines), "--template"], &["one", "two", "", "three 4", "one"]),
    ];
    for (arguments, expected) in table {
        let server = listen(&[&["--push", "1k"], arguments].concat());
        let mut client = RawClient::connect(server.port);
        for text in expected {
            assert_eq!(client.read_text(), *text, "{arguments:?}");
        }
    }
    let server = listen(&["--push", "1k", "--payload", &file]);
    assert_eq!(RawClient::connect(server.port).read_data(), Frame::new(Opcode::Binary, [0xff, 0]));
    let server = listen(&["--push", "1k", "--payload-size", "1KiB"]);
    let mut client = RawClient::connect(server.port);
    let texts = [client.read_text(), client.read_text()];
    assert_eq!((texts[0].len(), &texts[0]), (1024, &texts[1]));
}

#[test]
fn a_client_that_does_not_keep_up_loses_messages_and_delays_nobody() {
    let server = listen(&["--push", "5k", "--payload-size", "2000", "--queue-size", "50"]);
    let _stopped = RawClient::narrow(server.port);
    let mut reader = RawClient::connect(server.port);
    // More than all buffers on the way to the one that stands still.
    for _ in 0..10_000 {
        assert_eq!(reader.read_text().len(), 2000);
    }
    let output = server.stop();
    let dropped = output.stderr.split("queue-full ").nth(1).expect("drops in the summary");
    let dropped: u64 =
        dropped.split(|c: char| !c.is_ascii_digit()).next().and_then(|n| n.parse().ok()).expect("a number");
    assert!(dropped >= 1000, "{}", output.stderr);
}

#[test]
fn with_block_a_client_that_stands_still_holds_all_up_and_nothing_is_dropped() {
    let server = listen(&["--push", "20k", "--payload-size", "2000", "--queue-size", "50", "--on-full", "block"]);
    let stopped = RawClient::narrow(server.port);
    let mut reader = RawClient::connect(server.port);
    let (send, read) = std::sync::mpsc::channel();
    let reading = std::thread::spawn(move || {
        for _ in 0..20_000 {
            assert_eq!(reader.read_text().len(), 2000);
            send.send(()).expect("the test counts");
        }
    });
    // It stands still when nothing comes while other requests are answered.
    read.recv().expect("a message");
    while read.try_iter().count() > 0 {
        for _ in 0..50 {
            RawClient::ask(server.port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
        }
    }
    drop(stopped);
    let rest = read.iter().count();
    assert!(rest > 0, "it went on");
    reading.join().expect("all were read");
    let output = server.stop();
    assert!(!output.stderr.contains("queue-full"), "{}", output.stderr);
}

#[test]
fn what_clients_send_is_counted() {
    let server = listen(&["--push", "100"]);
    run(&["connect", &server.url, "-n", "3"], "a\nb\n").exits(0);
    assert!(server.stop().exits(0).stderr.contains("received 2,"));
}

#[test]
fn mistakes_are_told_before_listening() {
    let folder = scratch();
    let empty = write(&folder, "empty", "");
    let table: [(&[&str], i32, &str); 9] = [
        (&["--push", "0"], 2, "invalid rate"),
        (&["--push", "fast"], 2, "invalid rate"),
        (&["--push", "1", "--echo"], 2, "cannot be used with"),
        (&["--payload", "x"], 2, "--push"),
        (&["--push", "1", "--payload", "x", "--payload-size", "1"], 2, "cannot be used with"),
        (&["--push", "1", "--template"], 2, "nothing to fill in"),
        (&["--push", "1", "--payload", "{{nope}}", "--template"], 7, "unknown name `nope`"),
        (&["--push", "1", "--payload-file", "/nowhere"], 2, "/nowhere"),
        (&["--push", "1", "--payload-file", &text(&empty)], 2, "it is empty"),
    ];
    for (arguments, code, complaint) in table {
        run(&[&["listen", ":0"], arguments].concat(), "").exits(code).complains(complaint);
    }
}

#[test]
fn a_template_that_fails_later_is_told_once_and_the_server_goes_on() {
    let server = listen(&[
        "--push",
        "1k",
        "--payload",
        "{{ env.NOT_SET_AT_ALL if seq is odd and seq > 1 else seq }}",
        "--template",
    ]);
    let mut client = RawClient::connect(server.port);
    assert_eq!([client.read_text(), client.read_text(), client.read_text()], ["1", "2", "4"]);
    drop(client);
    let output = server.stop().exits(0);
    assert_eq!(output.stderr.matches("NOT_SET_AT_ALL is not set").count(), 1, "{}", output.stderr);
}
