//! `wsp connect` in pipes and scripts: when input is sent, what ends the run, what is printed.
//!
//! Owns `-x`, `-i`, `-w`, `-n`, `--expect`, the jq filter, answers and closed pipes. Leaves framings and formats,
//! events, reconnecting and the upgrade to the modules named after them.

use std::io::Write as _;
use std::time::Duration;

use crate::support::{FakeServer, Frame, Opcode, Run, listen, run, scratch, text, write, wsp};

#[test]
fn a_flood_to_send_does_not_keep_what_arrives_from_being_printed() {
    let (seen, may_end) = std::sync::mpsc::channel::<()>();
    let server = FakeServer::once(move |request| {
        let mut socket = request.accept();
        // In the midst of it; what comes is read as fast as it comes, so the client never waits to send.
        socket.read_exactly(300_000);
        socket.say(Frame::text("hello"));
        while may_end.try_recv().is_err() {
            socket.read_exactly(4096);
        }
    });
    let mut client = wsp(["connect", &server.url]).spawn();
    let mut input = client.take_input();
    let feeding = std::thread::spawn(move || while input.write_all(&b"y\n".repeat(4096)).is_ok() {});
    client.wait_for_stdout("hello");
    seen.send(()).expect("the server");
    server.join();
    assert_eq!(client.outcome().code, 9);
    feeding.join().expect("it ends with the client");
}

#[test]
fn a_line_is_sent_and_its_reply_printed() {
    let server = listen(&["--echo"]);
    run(&["connect", &server.url], "hello\n").exits(0).prints("hello\n");
}

#[test]
fn a_bare_url_means_connect() {
    let server = listen(&["--echo"]);
    run(&[&server.url], "hello\n").exits(0).prints("hello\n");
    run(&[&format!("127.0.0.1:{}", server.port)], "bare\n").exits(0).prints("bare\n");
}

#[test]
fn input_is_held_until_the_connection_is_open() {
    // The answer to the upgrade comes only once the client's input has ended.
    let (ended, input_ended) = std::sync::mpsc::channel::<()>();
    let server = FakeServer::once(move |request| {
        input_ended.recv().expect("the test goes on");
        let mut socket = request.accept();
        assert_eq!(socket.read_text(), "early");
        socket.say(Frame::text("got it"));
        assert_eq!(socket.answer_close(), 1000);
    });
    let mut client = wsp(["connect", &server.url]).spawn();
    client.send("early\n");
    client.end_input();
    ended.send(()).expect("the server waits");
    client.finish().exits(0).prints("got it\n");
    server.join();
}

#[test]
fn the_last_line_needs_no_newline() {
    let server = listen(&["--echo"]);
    run(&["connect", &server.url, "-n", "2"], "one\ntwo").exits(0).prints("one\ntwo\n");
}

#[test]
fn messages_given_with_x_are_sent_in_order_and_stdin_is_not_read() {
    let server = listen(&["--echo"]);
    let client = wsp(["connect", &server.url, "-x", "one", "-x", "two", "-w", "300ms"]).spawn();
    // stdin stays open: the client must end without it.
    client.outcome().exits(0).prints("one\ntwo\n");
}

#[test]
fn a_message_can_come_from_a_file() {
    let files = scratch();
    let file = write(&files, "message", "line one\nline two");
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        assert_eq!(socket.read_text(), "line one\nline two");
        socket.answer_close();
    });
    run(&["connect", &server.url, "-x", &format!("@{}", text(&file)), "-w", "0"], "").exits(0);
    server.join();
}

#[test]
fn wait_zero_closes_at_once_but_sends_everything_first() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        for number in 0..100 {
            assert_eq!(socket.read_text(), number.to_string());
        }
        assert_eq!(socket.answer_close(), 1000);
    });
    let input: String = (0..100).map(|number| format!("{number}\n")).collect();
    run(&["connect", &server.url, "-w", "0"], input).exits(0).prints("");
    server.join();
}

#[test]
fn the_wait_starts_anew_with_every_message() {
    // Each answer is provoked by the one before, so the whole takes longer than one wait only if the wait restarts.
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        assert_eq!(socket.read_text(), "go");
        for number in 0..3 {
            socket.say(Frame::text(&format!("tick {number}")));
        }
        assert_eq!(socket.answer_close(), 1000);
    });
    let output = run(&["connect", &server.url, "-w", "400ms"], "go\n").exits(0).prints("tick 0\ntick 1\ntick 2\n");
    assert!(output.took >= Duration::from_millis(400), "waited only {:?}", output.took);
    server.join();
}

#[test]
fn wait_without_end_stays_until_the_peer_closes() {
    let (ended, go_on) = std::sync::mpsc::channel::<()>();
    let server = FakeServer::once(move |request| {
        let mut socket = request.accept();
        assert_eq!(socket.read_text(), "go");
        go_on.recv().expect("the test goes on");
        socket.say(Frame::text("late"));
        socket.say(Frame::close(1000, "done"));
        assert_eq!(socket.answer_close(), 1000);
    });
    let mut client = wsp(["connect", &server.url, "-w", "-1"]).spawn();
    client.send("go\n");
    client.end_input();
    ended.send(()).expect("the server waits");
    client.outcome().exits(0).prints("late\n");
    server.join();
}

#[test]
fn count_ends_the_run_after_that_many_messages() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        for word in ["one", "two", "three"] {
            socket.say(Frame::text(word));
        }
        assert_eq!(socket.answer_close(), 1000);
    });
    // stdin stays open: the count alone ends the run.
    wsp(["connect", &server.url, "-n", "2"]).spawn().outcome().exits(0).prints("one\ntwo\n");
    server.join();
}

#[test]
fn expect_ends_the_run_when_a_message_matches() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::text(r#"{"state":"starting"}"#));
        socket.say(Frame::text("not JSON"));
        socket.say(Frame::text(r#"{"state":"ready"}"#));
        assert_eq!(socket.answer_close(), 1000);
    });
    wsp(["connect", &server.url, "--expect", r#".state? == "ready""#, "--within", "15s"]).spawn().outcome().exits(0);
    server.join();
}

#[test]
fn expect_that_is_not_met_in_time_is_42() {
    let server = listen(&["--echo"]);
    let client = wsp(["connect", &server.url, "--expect", ".ready", "--within", "200ms"]).spawn();
    client.outcome().exits(42).complains("wsp: --expect: 0 messages received, and none matched");
    let client = wsp(["connect", &server.url, "-x", r#"{"ready":false}"#, "--expect", ".ready", "-w", "200ms"]).spawn();
    client.outcome().exits(42).complains("wsp: --expect: 1 message received, and none matched");
}

#[test]
fn a_filter_shapes_what_is_printed() {
    let server = listen(&["--echo"]);
    let input = "{\"a\":{\"b\":1}}\n{\"a\":\"text\"}\n{\"a\":[1,2]}\n";
    let output = run(&["connect", &server.url, "-n", "3", "-j", ".a"], input).exits(0);
    output.prints("{\"b\":1}\n\"text\"\n[1,2]\n");
    let output = run(&["connect", &server.url, "-n", "3", "-j", ".a", "-r"], input).exits(0);
    output.prints("{\"b\":1}\ntext\n[1,2]\n");
    let output = run(&["connect", &server.url, "-n", "3", "-j", ".a[]?", "-r"], input).exits(0);
    output.prints("1\n1\n2\n");
}

#[test]
fn a_filter_keeps_numbers_and_the_order_of_keys() {
    let server = listen(&["--echo"]);
    let input = "{\"z\":1.10,\"a\":12345678901234567890123}\n";
    let output = run(&["connect", &server.url, "-n", "1", "-j", "."], input).exits(0);
    output.prints("{\"z\":1.10,\"a\":12345678901234567890123}\n");
}

#[test]
fn a_filter_sees_where_a_message_came_from_and_the_one_before() {
    let server = listen(&["--echo"]);
    let filter = "[$meta.url, $meta.session, $meta.type, $meta.size, $meta.seq, ($meta.time|type), $prev.n, .n]";
    let output = run(&["connect", &server.url, "-n", "2", "-j", filter], "{\"n\":7}\n{\"n\":88}\n").exits(0);
    let lines: Vec<serde_json::Value> =
        output.stdout().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines.len(), 2);
    for (line, size, seq, prev, n) in [(&lines[0], 7, 1, None, 7), (&lines[1], 8, 2, Some(7), 88)] {
        assert_eq!(line[0].as_str().map(|url| url.trim_end_matches('/')), Some(server.url.trim_end_matches('/')));
        assert_eq!(line[1], "s1");
        assert_eq!(line[2], "text");
        assert_eq!(line[3], size);
        assert_eq!(line[4], seq);
        assert_eq!(line[5], "string");
        assert_eq!(line[6].as_i64(), prev);
        assert_eq!(line[7], n);
    }
}

#[test]
fn what_is_not_json_is_dropped_or_passed_on_as_asked() {
    let server = listen(&["--echo"]);
    let input = "plain\n{\"a\":1}\n";
    let with = |choice: &str| run(&["connect", &server.url, "-n", "2", "-j", ".a", "--non-json", choice], input);
    with("drop").exits(0).prints("1\n");
    with("pass").exits(0).prints("plain\n1\n");
    let output = with("error");
    assert!(!output.stdout().contains("plain"));
    assert!(!output.stderr.is_empty(), "the message that is not JSON is reported");
}

#[test]
fn a_filter_cannot_end_the_program() {
    let server = listen(&["--echo"]);
    let output = wsp(["connect", &server.url, "-n", "2", "-j", "if . == 1 then halt else . end"]).input("1\n2\n");
    assert!(output.code != 0 || output.stdout().ends_with("2\n"), "a halt must not pass for success");
}

#[test]
fn echo_answers_byte_for_byte_and_reads_no_input() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::text("ünï"));
        assert_eq!(socket.read_text(), "ünï");
        socket.say(Frame::new(Opcode::Binary, [0, 255, 10]));
        let back = socket.read_data();
        assert!(back.is(Opcode::Binary));
        assert_eq!(back.payload, [0, 255, 10]);
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    wsp(["connect", &server.url, "--echo"]).spawn().outcome().exits(0);
    server.join();
}

#[test]
fn reply_jq_answers_with_what_the_filter_yields() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::text(r#"{"id":1,"method":"sum","params":[1,2]}"#));
        assert_eq!(socket.read_text(), r#"{"id":1,"result":3}"#);
        socket.say(Frame::text(r#"{"method":"note"}"#));
        socket.say(Frame::text(r#"{"id":2,"method":"sum","params":[5]}"#));
        assert_eq!(socket.read_text(), r#"{"id":2,"result":5}"#);
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let filter = "select(.id) | {id, result: (.params | add)}";
    wsp(["connect", &server.url, "--reply-jq", filter]).spawn().outcome().exits(0);
    server.join();
}

#[test]
fn a_closed_pipe_ends_the_run_silently_with_0() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        let block = Frame::text(&"x".repeat(100)).bytes().repeat(1000);
        while socket.try_write(&block) {}
    });
    let script = r#""$0" connect "$1" -w -1 | head -1; echo "wsp: ${PIPESTATUS[0]}""#;
    let output = Run::new("bash").args(["-c", script, env!("CARGO_BIN_EXE_wsp"), &server.url]).input("");
    let expected = format!("{}\nwsp: 0\n", "x".repeat(100));
    let output = output.exits(0).prints(&expected);
    assert_eq!(output.stderr, "");
    server.join();
}

#[test]
fn a_message_is_printed_at_once_not_when_a_buffer_is_full() {
    let (seen, go_on) = std::sync::mpsc::channel::<()>();
    let server = FakeServer::once(move |request| {
        let mut socket = request.accept();
        socket.say(Frame::text("first"));
        go_on.recv().expect("the test goes on");
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let client = wsp(["connect", &server.url, "-w", "-1"]).spawn();
    client.wait_for_stdout("first");
    seen.send(()).expect("the server waits");
    client.outcome().exits(0);
    server.join();
}

#[test]
fn a_flood_is_printed_whole_and_in_order() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        let flood: Vec<u8> = (0..50_000).flat_map(|n: u32| Frame::text(&format!("message {n}")).bytes()).collect();
        socket.write(flood);
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let output = run(&["connect", &server.url, "-w", "-1"], "").exits(0);
    let expected: String = (0..50_000).map(|n| format!("message {n}\n")).collect();
    assert!(output.stdout() == expected, "{} of {} bytes", output.bytes.len(), expected.len());
    server.join();
}

#[test]
fn a_large_message_goes_both_ways_in_one_piece() {
    let server = listen(&["--echo"]);
    let input = "0123456789abcdef".repeat(1 << 18);
    let output = run(&["connect", &server.url, "--whole", "-n", "1"], &input).exits(0);
    assert_eq!(output.bytes.len(), input.len() + 1);
    assert!(output.stdout().trim_end() == input);
}

#[test]
fn templates_are_filled_in() {
    let server = listen(&["--echo"]);
    let message = "{{seq}} {{env.WSP_TEST_NAME}} {{rand(5,5)}}";
    wsp(["connect", &server.url, "--template", "-x", message, "-x", message, "-n", "2"])
        .env("WSP_TEST_NAME", "someone")
        .input("")
        .exits(0)
        .prints("1 someone 5\n2 someone 5\n");
}

#[test]
fn what_stands_before_bad_input_is_sent() {
    let server = listen(&["--json"]);
    let mut input: Vec<u8> = (1..=20_000).flat_map(|number| format!("{number}\n").into_bytes()).collect();
    input.extend_from_slice(b"b\xffad\nlost\n");
    run(&["connect", &server.url, "-w", "-1"], input).exits(2).complains("UTF-8");
    let output = server.stop();
    let lines = output.stdout();
    assert_eq!(lines.matches("\"type\":\"text\"").count(), 20_000);
    assert!(!lines.contains("lost"));
    let server = listen(&["--echo"]);
    run(&["connect", &server.url, "--expect", "false"], b"1\nb\xffad\n".as_slice()).exits(2).complains("UTF-8");
}

#[test]
fn input_that_the_peer_did_not_wait_for_is_told() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.read_text();
        socket.say(Frame::close(1000, ""));
        socket.read_rest();
    });
    let input = "more than the buffers of a socket hold\n".repeat(500_000);
    run(&["connect", &server.url], input).exits(0).complains("of input could not be sent");
    server.join();
}

#[test]
fn what_cannot_be_printed_is_an_error_even_where_the_run_was_done() {
    let server = listen(&["--echo"]);
    let shell = ["-c", "exec \"$@\" > /dev/full", "sh", env!("CARGO_BIN_EXE_wsp")];
    let connect = ["connect", &server.url, "-x", "a", "-n", "1"];
    let output = Run::new("sh").args(shell).args(connect).input("").exits(1);
    output.complains("No space left on device");
}

#[test]
fn options_may_stand_before_the_url_and_a_url_may_be_a_host_or_a_port() {
    let server = listen(&["--echo", "--json"]);
    run(&["-q", "-H", "A: b", "-n", "1", &server.url], "hello\n").exits(0).prints("hello\n");
    run(&[&server.port.to_string(), "-n", "1"], "port\n").exits(0).prints("port\n");
    run(&["localhost:abc"], "").exits(2).complains("'localhost:abc'").complains("port");
    run(&["-k"], "").exits(2).complains("no URL to connect to");
    run(&["conect", &server.url], "").exits(2).complains("connect");
    let closed = format!("http://127.0.0.1:{}", crate::support::closed_port());
    for host in ["127.0.0.1", "example.com"] {
        // Through a proxy that is not there, so that nothing leaves this machine.
        run(&["--proxy", &closed, host], "").exits(14).complains("proxy");
    }
}

#[test]
fn help_is_a_word_as_well_and_an_unknown_topic_names_the_nearest() {
    for (words, flags) in [(&["help"][..], &["--help"][..]), (&["help", "relay"], &["relay", "--help"])] {
        let expected = run(flags, "").exits(0);
        run(words, "").exits(0).prints(expected.stdout());
    }
    run(&["help", "nonsense"], "").exits(2).complains("no help on 'nonsense'; topics are connect, listen, ");
    run(&["help", "exit-code"], "").exits(2).complains("no help on 'exit-code'; did you mean 'exit-codes'? ");
    run(&["help", "recipes", "chat"], "").exits(2).complains("did you mean 'chat-server'? ");
    run(&["help", "tls", "more"], "").exits(2).complains("'tls' has no page on 'more'");
}
