//! What filters know and are given: variables, the environment, text that is not JSON, and JSON nested deeply.

use crate::support::{FakeServer, Frame, RawClient, listen, run, scratch, text, write, wsp};

/// A server that says these and closes.
fn saying(messages: Vec<String>) -> FakeServer {
    FakeServer::once(move |request| {
        let mut socket = request.accept();
        for message in &messages {
            socket.say(Frame::text(message));
        }
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    })
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

#[test]
fn filters_know_named_values_and_the_environment() {
    let server = listen(&["--reply-jq", "[$who, $ENV.WSP_TEST_WORD]", "--arg", "who", "-s"]);
    let filter = "[., $user, $limit.n, $ENV.WSP_TEST_WORD, env.WSP_TEST_WORD, $ARGS.named.user]";
    let arguments = ["connect", &server.url, "-n", "1", "-j", filter, "--arg", "user", "al ice", "--argjson", "limit"];
    let output = wsp(arguments).args([r#"{"n":5}"#]).env("WSP_TEST_WORD", "hello").input("1\n");
    output.exits(0).prints("[[\"-s\",null],\"al ice\",5,\"hello\",\"hello\",\"al ice\"]\n");
    // In relay both filters and routes.
    let directory = scratch();
    let aside = text(&directory.path().join("aside"));
    let route = format!(". == $n => file:{aside}");
    let arguments = ["relay", "-", "-", "--jq", ". + $n", "--route", &route, "--argjson", "n", "2"];
    run(&arguments, "0\n1\n").exits(0).prints("3\n");
    assert_eq!(crate::support::files::read(aside.as_ref()), "2\n");
    run(&["connect", &server.url, "--argjson", "n", "x", "-j", "$n"], "").exits(2).complains("--argjson n: not JSON");
    run(&["connect", &server.url, "--arg", "prev", "x", "-j", "."], "").exits(2).complains("'$prev' is reserved");
}

#[test]
fn a_peers_filter_knows_no_named_values() {
    let arguments = ["--protocol", "envelope", "--arg", "secret", "word"];
    let server = listen(&arguments);
    let mut client = RawClient::connect(server.port);
    client
        .say(Frame::text(r#"{"type":"request","id":"1","payload":{"method":"subscribe","params":{"jq":"$secret"}}}"#));
    loop {
        let answer = client.read_text();
        if answer.contains("\"reply\"") || answer.contains("\"error\"") {
            assert!(answer.contains("unknown variable $secret") && !answer.contains("word"), "{answer}");
            break;
        }
    }
}

#[test]
fn raw_input_gives_the_filters_of_connect_text_that_is_not_json() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        assert_eq!(socket.read_text(), "first");
        socket.say(Frame::text("0{\"sid\":1}"));
        assert_eq!(socket.read_text(), "40");
        socket.say(Frame::text("ping: 7"));
        assert_eq!(socket.read_text(), "pong: 7");
        socket.say(Frame::text("42[\"event\",{\"n\":1}]"));
        socket.say(Frame::text("{\"n\":2}"));
        socket.say(Frame::text("bye"));
        socket.answer_close();
    });
    let opening = ["--init", "first", "--init", "40", "--init-wait", "startswith(\"0{\")"];
    let reply = "select(startswith(\"ping\")) | .[6:] => pong: {{value}}";
    let filter = "if type == \"string\" then ltrimstr(\"42\") | fromjson? // . else .n end";
    let output =
        wsp(["connect", &server.url, "-R", "--heartbeat-reply", reply, "--expect", ". == \"bye\"", "-j", filter])
            .args(opening)
            .spawn()
            .outcome();
    output.exits(0).prints("\"0{\\\"sid\\\":1}\"\n\"ping: 7\"\n[\"event\",{\"n\":1}]\n2\n\"bye\"\n");
    server.join();
}

#[test]
fn raw_input_gives_reply_filters_text_that_is_not_json() {
    let server = listen(&["--reply-jq", "if type == \"string\" then ascii_upcase else .a end", "--raw-input"]);
    run(&["connect", &server.url, "-n", "3"], "hello\n{\"a\":1}\nworld\n").exits(0).prints("HELLO\n1\nWORLD\n");
    let fake = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::text("hello"));
        assert_eq!(socket.read_text(), "HELLO");
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    run(&["connect", &fake.url, "-R", "--reply-jq", "ascii_upcase"], "").exits(0).prints("hello\n");
    fake.join();
}

#[test]
fn raw_input_gives_filters_and_routes_of_relay_text_that_is_not_json() {
    let directory = scratch();
    let aside = text(&directory.path().join("aside"));
    let route = format!("startswith(\"x\") => file:{aside}");
    let output = run(&["relay", "-", "-", "-R", "--jq", "tostring | ascii_downcase", "--route", &route], "XY\nAb\n7\n");
    output.exits(0).prints("ab\n7\n");
    assert_eq!(crate::support::files::read(aside.as_ref()), "xy\n");
    run(&["relay", "-", "-", "--jq", "."], "Ab\n7\n").exits(0).prints("7\n");
}

#[test]
fn json_nested_up_to_512_is_json_and_deeper_is_told_as_that() {
    let directory = scratch();
    let schema = text(&write(&directory, "any.json", r#"{"type":"array"}"#));
    let server = saying(vec![nested(512), nested(513)]);
    let output = run(&["connect", &server.url, "-j", "type", "--schema", &schema, "-w", "-1"], "").exits(0);
    let output = output.prints("\"array\"\n").complains("message 2 does not match the schema: nested too deeply");
    let output = output.complains("1 message dropped: nested too deeply (show them with --non-json pass)");
    assert!(!output.stderr.contains("message 1 ") && !output.stderr.contains("not JSON"), "{}", output.stderr);
    server.join();
    let server = saying(vec![nested(513)]);
    let output = run(&["connect", &server.url, "-j", ".", "--non-json", "error", "-w", "-1"], "");
    output.complains("nested too deeply: deeper than 512 levels");
    server.join();
    let dead = text(&directory.path().join("dead"));
    run(&["relay", "-", "-", "--jq", ".", "--non-json", "error", "--dead-letter", &dead], nested(513) + "\n").exits(30);
    assert!(crate::support::files::read(dead.as_ref()).contains("nested too deeply"));
    let server = listen(&["--reply-jq", ".", "-v"]);
    run(&["connect", &server.url, "-w", "0s"], nested(513) + "\n").exits(0);
    server.stop().exits(0).complains("no answer to a message nested too deeply");
}

#[test]
fn formats_are_checked_where_asked() {
    let directory = scratch();
    let schema = text(&write(&directory, "mail.json", r#"{"properties":{"mail":{"format":"email"}}}"#));
    let message = r#"{"mail":"nobody"}"#;
    let connect = |more: &[&str]| {
        let server = saying(vec![message.to_owned()]);
        let output =
            wsp(["connect", &server.url, "--schema", &schema, "--fail-on-invalid", "-w", "-1"]).args(more).input("");
        server.join();
        output
    };
    connect(&[]).exits(0);
    connect(&["--assert-format"]).exits(42).complains("expected text of format email");
    let line = format!("{message}\n");
    run(&["relay", "-", "-", "--schema", &schema], line.as_str()).exits(0).prints(&line);
    run(&["relay", "-", "-", "--schema", &schema, "--assert-format"], line.as_str()).prints("");
    let server = listen(&["--schema", &schema, "--assert-format"]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text(message));
    assert!(client.read_text().contains("text of format email"));
    run(&["connect", &server.url, "--assert-format"], "").exits(2);
}
