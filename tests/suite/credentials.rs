//! `wsp listen --auth-…`: who is let in by its request or its first message, and that no secret shows anywhere.
//!
//! Tokens are made by npm `jose`. Leaves how many are let in to `guards`.

use serde_json::{Value, json};

use crate::support::peers::node;
use crate::support::wire::header;
use crate::support::{
    Frame, Opcode, Output, RawClient, Server, Socket, events, listen, require, run, scratch, text, write, wsp,
};

const TOKEN: &str = "s3cret-t0ken-0123456789";
const PAIR: &str = "anna:s3cret-pässwort:x";
const KEY: &str = "s3cret-key-012345678901234567890123";

/// A server that knows all three secrets by its environment.
fn guarded(arguments: &[&str]) -> Server {
    let run = wsp(["listen", "127.0.0.1:0"]).args(arguments);
    Server::ready(run.env("T", TOKEN).env("P", PAIR).env("K", KEY))
}

/// The status and head of the answer to an upgrade with this header line.
fn ask(port: u16, more: &str) -> (u16, String, Socket) {
    let mut socket = RawClient::dial(port);
    socket.write(RawClient::request("/", more));
    let head = socket.read_head();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    (status, head, socket)
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

fn basic(pair: &str) -> String {
    use base64::Engine as _;
    format!("Authorization: Basic {}\r\n", base64::engine::general_purpose::STANDARD.encode(pair))
}

/// Fails when a part of a secret is in what a run left behind.
#[track_caller]
fn shows_no_secret(output: &Output, files: &[&std::path::Path]) {
    let mut all = vec![("stdout", output.stdout().to_owned()), ("stderr", output.stderr.clone())];
    for file in files {
        all.push(("a file", std::fs::read_to_string(file).expect("the file")));
    }
    for (place, text) in all {
        // All of ours hold this; tokens begin with this; and this is the pair in base64.
        for part in ["s3cret", "eyJ", "czNjcmV0", "YW5uYT"] {
            assert!(!text.contains(part), "{part} in {place}: {text}");
        }
    }
}

#[test]
fn without_the_right_credentials_it_is_401_and_any_one_of_them_is_enough() {
    let files = scratch();
    let (lines, har) = (files.path().join("all.jsonl"), files.path().join("all.har"));
    for record in [&lines, &har] {
        let path = text(record);
        let flags = ["--auth-bearer-env", "T", "--auth-basic-env", "P", "-v", "--json", "--echo", "--record", &path];
        let server = guarded(&flags);
        let table = [
            (401, String::new()),
            (401, bearer("s3cret-other")),
            (401, bearer("")),
            (401, bearer(&TOKEN[..TOKEN.len() - 1])),
            (401, basic("anna:s3cret-wrong")),
            (401, basic("s3cret")),
            (401, format!("Authorization: {TOKEN}\r\n")),
            (401, bearer(TOKEN) + &bearer(TOKEN)),
            (101, bearer(TOKEN)),
            (101, bearer(TOKEN).replace("Bearer", "bEARER")),
            (101, basic(PAIR)),
        ];
        for (expected, more) in &table {
            let (status, head, _socket) = ask(server.port, more);
            assert_eq!(status, *expected, "{more}");
            if status == 401 {
                assert!(head.contains("Bearer realm=") && head.contains("Basic realm="), "{head}");
            }
        }
        // Other clients show them, too.
        let client = wsp(["connect", &server.url, "-x", "hello", "-n", "1", "--bearer-env", "T"]).env("T", TOKEN);
        client.input("").exits(0).prints("hello\n");
        let client = wsp(["connect", &server.url, "-x", "hello", "-n", "1", "--user-env", "P"]).env("P", PAIR);
        client.input("").exits(0).prints("hello\n");
        run(&["connect", &server.url], "").exits(5).complains("401");
        let output = server.stop().exits(0).complains("connections 5, refused 9").complains("refused with 401");
        let refused = events(output.stdout()).into_iter().filter(|event| event["type"] == "error").count();
        assert_eq!(refused, 9);
        shows_no_secret(&output, &[record]);
    }
}

#[test]
fn a_refused_client_leaves_its_place_to_others() {
    let server = guarded(&["--auth-bearer-env", "T", "--max-connections", "1", "--max-per-ip", "1"]);
    for _ in 0..5 {
        assert_eq!(ask(server.port, "").0, 401);
    }
    let (status, _, _held) = ask(server.port, &bearer(TOKEN));
    assert_eq!(status, 101);
    assert_eq!(ask(server.port, &bearer(TOKEN)).0, 503);
}

/// Tokens of all kinds, and where the public keys are.
fn tokens() -> (Value, tempfile::TempDir) {
    let files = scratch();
    let output = node("tokens.js").arg(files.path()).env("WSP_TEST_SECRET", KEY).input("").exits(0);
    (serde_json::from_str(output.stdout()).expect("JSON"), files)
}

#[test]
fn tokens_are_taken_when_they_are_signed_by_whom_we_trust_and_hold_now() {
    if !require("node-ws") {
        return;
    }
    let (tokens, files) = tokens();
    for algorithm in ["RS256", "PS256", "ES256", "ES384", "EdDSA", "HS256"] {
        let pem = text(&files.path().join(format!("{algorithm}.pem")));
        let trust = if algorithm == "HS256" { ["--auth-jwt-secret-env", "K"] } else { ["--auth-jwt-key", &pem] };
        let server = guarded(&[&trust[..], &["-v", "--json", "--echo"]].concat());
        let named = guarded(&[&trust[..], &["--auth-jwt-audience", "wsp", "--auth-jwt-issuer", "tests"]].concat());
        let table = [
            ("good", 101, "", 401),
            ("forever", 101, "", 401),
            ("named", 101, "", 101),
            ("expired", 401, "expired", 401),
            ("early", 401, "not valid yet", 401),
            ("foreign", 401, "signature", 401),
            ("unsigned", 401, "not a JSON Web Token", 401),
            ("confused", 401, "not signed in the way", 401),
        ];
        for (name, expected, why, expected_named) in table {
            let Some(token) = tokens[algorithm][name].as_str() else { continue };
            let (status, head, mut socket) = ask(server.port, &bearer(token));
            assert_eq!(status, expected, "{algorithm} {name}: {head}");
            if status == 401 {
                assert!(header(&head, "www-authenticate").is_some_and(|value| value.contains(why)), "{head}");
                socket.half_close();
                assert!(String::from_utf8_lossy(&socket.read_rest()).contains(why));
            }
            assert_eq!(ask(named.port, &bearer(token)).0, expected_named, "{algorithm} {name}");
        }
        for other in ["RS256", "ES256", "EdDSA", "HS256"].iter().filter(|other| **other != algorithm) {
            let token = tokens[other]["good"].as_str().expect("a token");
            assert_eq!(ask(server.port, &bearer(token)).0, 401, "{other} where {algorithm} is asked for");
        }
        shows_no_secret(&server.stop().exits(0), &[]);
    }
}

/// What `{"type":"auth"}` is answered with.
const ADMITTED: &str = r#"{"type":"auth","status":"ok"}"#;

fn auth(token: &str) -> Frame {
    Frame::text(&json!({"type": "auth", "token": token}).to_string())
}

#[test]
fn with_auth_message_nothing_passes_either_way_before_the_first_message() {
    let files = scratch();
    let (lines, har) = (files.path().join("all.jsonl"), files.path().join("all.har"));
    for record in [&lines, &har] {
        let path = text(record);
        let flags = ["--auth-message", "--auth-bearer-env", "T", "--auth-basic-env", "P"];
        let server = guarded(&[&flags[..], &["-v", "--json", "--broadcast", "--record", &path]].concat());
        let mut first = RawClient::connect(server.port);
        let mut outside = RawClient::connect(server.port);
        first.say(auth(TOKEN));
        assert_eq!(first.read_text(), ADMITTED);
        first.say(Frame::text("for members"));
        assert_eq!(first.read_text(), "for members");
        // What was said while it was outside never reaches it; a ping is answered, with nothing before its pong.
        outside.say(Frame::new(Opcode::Ping, *b"?"));
        assert!(outside.read_frame().expect("a pong").is(Opcode::Pong));
        // Behind the first message others may follow at once.
        let pair = json!({"type": "auth", "user": "anna", "password": "s3cret-pässwort:x"}).to_string();
        outside.write([Frame::text(&pair).masked().bytes(), Frame::text("hello").masked().bytes()].concat());
        assert_eq!(outside.read_text(), ADMITTED);
        assert_eq!(outside.read_text(), "hello");
        assert_eq!(first.read_text(), "hello");
        let output = server.stop().exits(0).complains("connections 2, refused 0, received 2, sent 5");
        let printed: Vec<_> = events(output.stdout())
            .iter()
            .filter(|event| event["dir"] == "in" && event["type"] == "text")
            .map(|event| event["text"].clone())
            .collect();
        assert_eq!(printed, ["for members", "hello"]);
        shows_no_secret(&output, &[record]);
    }
}

#[test]
fn whoever_says_something_else_first_is_told_and_closed_with_1008() {
    let server = guarded(&["--auth-message", "--auth-bearer-env", "T", "-v", "--json", "--echo"]);
    let table = [
        (Frame::text("s3cret hello"), "the first message must be"),
        (Frame::new(Opcode::Binary, [0, 159]), "the first message must be"),
        (Frame::text(""), "the first message must be"),
        (Frame::text("{\"type\":\"auth\"}"), "credentials are needed"),
        (auth("s3cret-wrong"), "the credentials are wrong"),
    ];
    for (said, told) in &table {
        let mut client = RawClient::connect(server.port);
        let message = said.clone().masked().bytes();
        // A second try does not count.
        client.write([message, auth(TOKEN).masked().bytes(), Frame::text("s3cret more").masked().bytes()].concat());
        let error: Value = serde_json::from_str(&client.read_text()).expect("JSON");
        assert_eq!(error["type"], "error");
        assert!(error["error"].as_str().is_some_and(|error| error.starts_with(told)), "{error}");
        assert_eq!(client.answer_close(), 1008, "{told}");
    }
    // In the request it is no use: the server was told to ask for a message.
    let (_, _, mut client) = ask(server.port, &bearer(TOKEN));
    client.say(Frame::text("hello"));
    assert!(client.read_text().contains("first message"));
    assert_eq!(client.answer_close(), 1008);
    let output = server.stop().exits(0).complains("received 0, sent 6, dropped 0");
    let errors = events(output.stdout()).into_iter().filter(|event| event["type"] == "error").count();
    assert_eq!(errors, 6);
    shows_no_secret(&output, &[]);
}

#[test]
fn whoever_says_nothing_in_time_is_closed_with_1008() {
    let server = guarded(&["--auth-message", "--auth-timeout", "200ms", "--auth-jwt-secret-env", "K", "--echo"]);
    let mut silent = RawClient::connect(server.port);
    assert!(silent.read_text().contains("in time"));
    assert_eq!(silent.answer_close(), 1008);
    // A ping says nothing about who one is.
    let mut pinging = RawClient::connect(server.port);
    pinging.say(Frame::new(Opcode::Ping, *b""));
    assert_eq!(pinging.read_close().close_code(), 1008);
    server.stop().exits(0);
}

#[test]
fn a_token_may_come_in_the_first_message() {
    if !require("node-ws") {
        return;
    }
    let (tokens, _files) = tokens();
    let server = guarded(&["--auth-message", "--auth-jwt-secret-env", "K", "--echo", "-v"]);
    let mut client = RawClient::connect(server.port);
    client.say(auth(tokens["HS256"]["good"].as_str().expect("a token")));
    assert_eq!(client.read_text(), ADMITTED);
    client.say(Frame::text("hello"));
    assert_eq!(client.read_text(), "hello");
    let mut client = RawClient::connect(server.port);
    client.say(auth(tokens["HS256"]["expired"].as_str().expect("a token")));
    assert!(client.read_text().contains("expired"));
    assert_eq!(client.answer_close(), 1008);
    shows_no_secret(&server.stop().exits(0), &[]);
}

#[test]
fn lines_of_stdin_wait_for_somebody_who_may_hear_them() {
    let mut server = guarded(&["--auth-message", "--auth-bearer-env", "T"]);
    let mut outside = RawClient::connect(server.port);
    outside.say(Frame::new(Opcode::Ping, *b""));
    assert!(outside.read_frame().expect("a pong").is(Opcode::Pong));
    server.process.send("one\ntwo\n");
    let mut member = RawClient::connect(server.port);
    member.say(auth(TOKEN));
    assert_eq!(member.read_text(), ADMITTED);
    assert_eq!(member.read_text(), "one");
    assert_eq!(member.read_text(), "two");
    // The other has missed them for good.
    outside.say(auth(TOKEN));
    assert_eq!(outside.read_text(), ADMITTED);
    server.process.send("three\n");
    assert_eq!(outside.read_text(), "three");
    server.stop().exits(0);
}

#[test]
fn a_server_that_stops_closes_who_is_still_outside() {
    let server = guarded(&["--auth-message", "--auth-bearer-env", "T"]);
    let client = RawClient::connect(server.port);
    server.process.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(client.answer_close(), 1001);
    server.process.outcome().exits(0);
}

#[test]
fn settings_that_would_let_anybody_in_are_refused() {
    let files = scratch();
    let junk = text(&write(&files, "junk.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"));
    let small = text(&write(&files, "small.pem", SMALL_RSA_KEY));
    let private = text(&write(&files, "key.pem", rcgen::KeyPair::generate().expect("a key").serialize_pem()));
    let table: [(&[&str], &str); 12] = [
        (&["--auth-bearer-env", "NOT_SET"], "NOT_SET is not set"),
        (&["--auth-basic-env", "NOT_SET"], "NOT_SET is not set"),
        (&["--auth-jwt-secret-env", "NOT_SET"], "NOT_SET is not set"),
        (&["--auth-bearer-env", "EMPTY"], "EMPTY is empty"),
        (&["--auth-basic-env", "T"], "T does not hold USER:PASSWORD"),
        (&["--auth-message"], "--auth-message requires an authentication option"),
        (&["--auth-jwt-issuer", "x"], "require a key"),
        (&["--auth-jwt-key", "/no/such.pem"], "/no/such.pem"),
        (&["--auth-jwt-key", &junk], "junk.pem"),
        (&["--auth-jwt-key", &small], "less than 2048 bits"),
        (&["--auth-jwt-key", &private], "private key"),
        (&["--auth-jwt-key", &private, "--auth-jwt-secret-env", "K"], "cannot be used with"),
    ];
    for (arguments, complaint) in table {
        let run = wsp(["listen", "127.0.0.1:0"]).args(arguments).env("T", TOKEN).env("K", KEY).env("EMPTY", "");
        let output = run.input("").exits(2).complains(complaint);
        shows_no_secret(&output, &[]);
    }
    // Whoever needs none asks for none.
    RawClient::connect(listen(&["--echo"]).port);
}

/// 1024 bits.
const SMALL_RSA_KEY: &str = "-----BEGIN PUBLIC KEY-----
MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC+ifUb5omtYM79W9/68QJArIo/
oOVYdAuSPhLBOW7i73+StwKUXuTJ0viIyfD690JzxEGyqxS3box7qo+8J9Juh4BN
EICgwbPGbVBx1y0UIRLWl1URpmMb4rPpIsy7mAC+8pJYOpl+WDJ9EiKMZVxDGuRU
jJ9njBliCqc4F+EDWwIDAQAB
-----END PUBLIC KEY-----
";
