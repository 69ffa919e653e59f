//! wscat's own flags: the same command lines given to npm `wscat` and to `wsp`, and what the server and the user see.
//!
//! Owns `wsp -c`, `wsp -l` and the program called `wscat`. Where `wsp` differs on purpose the test says so.

use std::sync::mpsc;

use crate::support::certs::Authority;
use crate::support::peers::wscat;
use crate::support::{FakeServer, Frame, Opcode, Output, Run, closed_port, listen, require, run, scratch, wsp};

/// What a server sees of a client.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    target: String,
    headers: Vec<Option<String>>,
    messages: Vec<String>,
}

/// Headers in which the two must agree.
const HEADERS: [&str; 8] = [
    "host",
    "authorization",
    "origin",
    "sec-websocket-protocol",
    "sec-websocket-version",
    "sec-websocket-origin",
    "x-first",
    "x-second",
];

/// An echo server for two clients that tells what it saw of each. It agrees to the first subprotocol.
fn watcher() -> (FakeServer, mpsc::Receiver<Seen>) {
    let (tell, told) = mpsc::channel();
    let server = FakeServer::times(2, move |_, request| {
        let header = |name: &&str| request.header(name).map(|value| value.replace(", ", ","));
        let headers: Vec<_> = HEADERS.iter().map(header).collect();
        let target = request.target().to_owned();
        let agreed = request.header("sec-websocket-protocol").and_then(|offered| offered.split(',').next());
        let answer = agreed.map(|agreed| format!("Sec-WebSocket-Protocol: {agreed}\r\n")).unwrap_or_default();
        let mut socket = request.accept_with(&answer);
        let mut messages = Vec::new();
        let close = loop {
            let frame = socket.read_frame().expect("a frame");
            if frame.is(Opcode::Close) {
                socket.say(Frame::new(Opcode::Close, frame.payload.clone()));
                break frame.close_code();
            }
            messages.push(frame.as_text());
            socket.say(Frame::text(&frame.as_text()));
        };
        // wscat's Close has no code.
        assert!(close == 1000 || close == 1005, "{close}");
        tell.send(Seen { target, headers, messages }).expect("the test listens");
    });
    (server, told)
}

/// Runs it with stdin left open: wscat ends at the end of its input, whatever is under way.
fn at_rest(program: Run) -> Output {
    program.spawn().outcome()
}

#[test]
fn both_ask_and_send_the_same() {
    if !require("node-ws") {
        return;
    }
    let cases: [&[&str]; 6] = [
        &["-x", "hello", "-w", "0.2"],
        &["-w", "0.2", "-x", "one", "-x", "two", "--no-color", "--slash", "-P"],
        &["-x", "@file", "-w", "0.2", "-H", "X-First:1", "--header", "X-Second: two:three"],
        &["-x", "", "-w", "0.2", "--auth", "me:secret", "-o", "https://page.test", "--host", "name.test:81"],
        &["-x", "-n", "-w", "0", "-s", "first", "-s", "second"],
        &["-x", "old", "-w", "0.1", "-p", "8", "-o", "https://page.test", "--auth", "@me:pw", "-H", "Authorization: x"],
    ];
    for arguments in cases {
        let (server, told) = watcher();
        let url = format!("{}path?q=1", server.url);
        let theirs = at_rest(wscat().args(["-c", &url]).args(arguments)).exits(0);
        let ours = at_rest(wsp(["-c", &url]).args(arguments)).exits(0);
        let told: Vec<Seen> = told.iter().take(2).collect();
        assert_eq!(told[0], told[1], "{arguments:?}");
        if !arguments.contains(&"0") {
            assert_eq!(ours.stdout(), theirs.stdout(), "{arguments:?}");
        }
        server.join();
    }
}

#[test]
fn the_wait_is_a_fixed_time_for_both() {
    if !require("node-ws") {
        return;
    }
    // A server that never falls silent: each message waits for the answer to a ping only.
    let server = FakeServer::times(2, |_, request| {
        let mut socket = request.accept();
        assert_eq!(socket.read_text(), "subscribe");
        loop {
            socket.say(Frame::text("tick"));
            socket.say(Frame::new(Opcode::Ping, *b""));
            let frame = socket.read_frame().expect("a pong or a Close");
            if frame.is(Opcode::Close) {
                socket.say(Frame::new(Opcode::Close, frame.payload.clone()));
                return;
            }
        }
    });
    let arguments = ["-c", &server.url, "-x", "subscribe", "-w", "0.3"];
    for program in [wscat().args(arguments), wsp(arguments)] {
        let output = at_rest(program).exits(0);
        assert!(output.stdout().lines().filter(|line| *line == "tick").count() > 1, "{}", output.stdout());
    }
    server.join();
}

#[test]
fn certificates_are_checked_by_both_unless_told_not_to() {
    if !require("node-ws") {
        return;
    }
    let authority = Authority::new();
    let identity = authority.server(&["localhost", "127.0.0.1"]);
    let server = listen(&["--echo", "--tls-cert", &identity.cert, "--tls-key", &identity.key]);
    let url = format!("wss://127.0.0.1:{}/", server.port);
    for (trust, succeeds) in
        [(&[][..], false), (&["-n"], true), (&["--no-check"], true), (&["--ca", &authority.ca()], true)]
    {
        let arguments = |program: Run| program.args(["-c", &url, "-x", "hello", "-w", "0.2"]).args(trust);
        let theirs = at_rest(arguments(wscat()));
        let ours = at_rest(arguments(wsp::<&str>([])));
        assert_eq!(theirs.code, if succeeds { 0 } else { 255 }, "{trust:?} {}", theirs.stderr);
        assert_eq!(ours.code, if succeeds { 0 } else { 8 }, "{trust:?} {}", ours.stderr);
        assert_eq!(ours.stdout(), theirs.stdout(), "{trust:?}");
    }
}

#[test]
fn redirects_are_followed_by_both_when_asked() {
    if !require("node-ws") {
        return;
    }
    let server = listen(&["--echo"]);
    for follow in [true, false] {
        let there = server.url.clone();
        let fork = FakeServer::times(2, move |_, request| {
            request.refuse(&format!("HTTP/1.1 302 Found\r\nLocation: {there}\r\nContent-Length: 0\r\n\r\n"));
        });
        let flag: &[&str] = if follow { &["-L", "--max-redirects", "1"] } else { &[] };
        let arguments = |program: Run| program.args(["-c", &fork.url, "-x", "hello", "-w", "0.2"]).args(flag);
        let theirs = at_rest(arguments(wscat()));
        let ours = at_rest(arguments(wsp::<&str>([])));
        let (their_code, our_code) = if follow { (0, 0) } else { (255, 5) };
        assert_eq!((theirs.code, ours.code), (their_code, our_code), "{} {}", theirs.stderr, ours.stderr);
        assert_eq!(ours.stdout(), theirs.stdout());
        fork.join();
    }
}

#[test]
fn both_listen_print_what_arrives_and_send_what_is_typed() {
    if !require("node-ws") {
        return;
    }
    for ours in [false, true] {
        let port = closed_port().to_string();
        let mut server =
            if ours { wsp(["-l", &port, "-s", "chat"]) } else { wscat().args(["-l", &port, "-s", "chat"]) }.spawn();
        // Asks again until the server is there.
        let url = format!("ws://127.0.0.1:{port}/");
        let client = wsp([
            "connect",
            &url,
            "--reconnect",
            "--retry-delay",
            "50ms",
            "-s",
            "chat",
            "-x",
            "hello",
            "-n",
            "1",
            "-w",
            "-1",
        ])
        .spawn();
        let line = server.wait_for_stdout("hello");
        // wscat has a prompt in a pipe, too.
        assert_eq!(line, if ours { "hello" } else { "> hello" });
        server.send("answer\n");
        client.outcome().exits(0).prints("answer\n");
    }
}

#[test]
fn nothing_piped_in_is_lost_and_its_reply_is_waited_for() {
    let server = listen(&["--echo"]);
    run(&["-c", &server.url], "hello\n/not a command\n").exits(0).prints("hello\n/not a command\n");
    run(&["-c", &server.url, "-x", "hello", "-w", "0.2"], "").exits(0).prints("hello\n");
    let bare = format!("localhost:{}", server.port);
    run(&["-c", &bare, "-x", "hello", "-w", "0.2"], "").exits(0).prints("hello\n");
}

#[test]
fn a_program_called_wscat_takes_its_flags_in_any_order() {
    let server = listen(&["--echo"]);
    let directory = scratch();
    let link = directory.path().join("wscat");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_wsp"), &link).expect("a link");
    Run::new(&link).args(["-w", "0.2", "-x", "hello", "-nLc", &server.url]).input("").exits(0).prints("hello\n");
    let help = Run::new(&link).input("").exits(0);
    for flag in ["--auth", "--no-check", "--show-ping-pong", "--passphrase", "--slash", "--max-redirects"] {
        assert!(help.stdout().contains(flag), "{flag}: {}", help.stdout());
    }
    Run::new(&link).args(["-n"]).input("").exits(2);
    let version = Run::new(&link).arg("--version").input("").exits(0);
    assert!(version.stdout().contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_flag_of_wscats_help_is_known() {
    if !require("node-ws") {
        return;
    }
    let help = wscat().arg("--help").input("").exits(0);
    let ours = wsp(["-c", "--help"]).input("");
    let own = Run::new(env!("CARGO_BIN_EXE_wsp")).args(["-l", "1", "--help"]).input("").exits(0);
    assert_eq!(ours.code, 2, "a flag is no URL");
    let flags: Vec<&str> = help
        .stdout()
        .split_whitespace()
        .map(|word| word.trim_end_matches(','))
        .filter(|word| word.starts_with("--") && !word.contains(')'))
        .filter(|word| word[2..].bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
        .collect();
    assert!(flags.len() > 18, "{flags:?}");
    for flag in flags {
        assert!(own.stdout().contains(flag), "{flag} is not known");
    }
}

#[test]
fn exit_codes_say_what_happened_and_errors_name_the_flag() {
    let port = closed_port();
    run(&["-c", &format!("ws://127.0.0.1:{port}")], "").exits(14).complains("cannot connect");
    run(&["-c", "ws://127.0.0.1:1", "-l", "1"], "").exits(2).complains("--listen");
    run(&["-c", "ws://127.0.0.1:1", "--jq", "."], "").exits(2).complains("--jq");
    run(&["-l", "1", "--auth", "u:p"], "").exits(2).complains("--auth");
}
