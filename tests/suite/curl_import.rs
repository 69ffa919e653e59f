//! `--curl`: the line a browser copies connects as the browser did.
//!
//! Leaves how each option of curl is read to the unit tests; here the request is looked at that arrives.

use std::collections::BTreeSet;

use crate::support::peers::{in_path, node_server};
use crate::support::wire::header;
use crate::support::{FakeServer, Run, listen, require, run, scratch, text, write, wsp};

/// Chrome's line for bash.
fn chrome(url: &str) -> String {
    format!(
        r#"curl '{url}' \
  -H 'Upgrade: websocket' \
  -H 'Origin: https://app.example.com' \
  -H 'Accept-Language: en-GB,en;q=0.9' \
  -b 'session=abc123; theme=dark' \
  -H 'Connection: Upgrade' \
  -H 'Sec-WebSocket-Key: c29tZSBrZXkgaGVyZSEhIQ==' \
  -H $'X-Note: it\'s \u0021' \
  -H 'X-Money: "$5" \ `a`' \
  -H 'User-Agent: Mozilla/5.0 (X11; Linux x86_64)' \
  -H 'Sec-WebSocket-Version: 13' \
  -H 'Sec-WebSocket-Protocol: chat' \
  -H 'Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits'"#
    )
}

/// The upgrade request that `wsp connect` sends with these arguments, which may name `URL`.
fn request(arguments: &[&str]) -> String {
    let (told, head) = std::sync::mpsc::channel();
    let server = FakeServer::once(move |request| {
        told.send(request.head.clone()).expect("the test waits");
        let offered =
            request.header("sec-websocket-protocol").map(|name| name.split(',').next().unwrap_or("").to_owned());
        let answer = offered.map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n")).unwrap_or_default();
        request.accept_with(&answer).answer_close();
    });
    let arguments: Vec<_> = arguments.iter().map(|argument| argument.replace("URL", &server.url)).collect();
    wsp(["connect"]).args(&arguments).args(["-x", "hi", "-w", "0"]).input("").exits(0);
    server.join();
    head.recv().expect("a request")
}

#[test]
fn chromes_line_connects_as_chrome_did() {
    let head = request(&["--curl", &chrome("URLpath?a=b%20c")]);
    assert!(head.starts_with("GET /path?a=b%20c HTTP/1.1\r\n"), "{head}");
    for line in [
        "Origin: https://app.example.com",
        "Accept-Language: en-GB,en;q=0.9",
        "Cookie: session=abc123; theme=dark",
        "X-Note: it's !",
        r#"X-Money: "$5" \ `a`"#,
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
        "Sec-WebSocket-Protocol: chat",
    ] {
        let (name, value) = line.split_once(": ").expect("a header");
        assert_eq!(header(&head, name), Some(value), "{head}");
    }
    assert!(!head.contains("c29tZSBrZXkgaGVyZSEhIQ"), "the key is our own: {head}");
    for name in ["sec-websocket-key", "sec-websocket-version", "upgrade", "connection", "origin", "cookie"] {
        let count = head.to_lowercase().matches(&format!("\r\n{name}: ")).count();
        assert_eq!(count, 1, "{name} in {head}");
    }
}

#[test]
fn flags_of_ones_own_are_added_and_win() {
    let own = ["-o", "http://mine", "-H", "accept-language: de", "--cookie", "theme=light", "-H", "X-More: 1"];
    let head = request(&[&["--curl", &chrome("URL")][..], &own].concat());
    assert!(head.contains("Origin: http://mine\r\n"), "{head}");
    assert!(head.contains("Cookie: session=abc123; theme=light\r\n"), "{head}");
    assert!(head.contains("X-More: 1\r\n") && head.contains("X-Note: "), "{head}");
    assert!(head.contains("accept-language: de\r\n") && !head.contains("en-GB"), "{head}");
}

#[test]
fn a_line_for_cmd_is_understood() {
    let line = "curl ^\"URL^\" ^\r\n  -H ^\"X-Json: ^{^\\^\"a^\\^\":1^}^\" ^\r\n  -H ^\"Origin: http://o^\"";
    let head = request(&["--curl", line]);
    assert!(head.contains("X-Json: {\"a\":1}\r\n") && head.contains("Origin: http://o\r\n"), "{head}");
}

#[test]
fn credentials_and_addresses_are_taken_along() {
    let server = listen(&["--echo"]);
    let url = format!("http://somewhere.example:{}/", server.port);
    let line = format!("curl {url} --resolve somewhere.example:{}:127.0.0.1 -u me:secret --compressed", server.port);
    let output = run(&["connect", "--curl", &line, "-v"], "hello\n").exits(0).prints("hello\n");
    assert!(output.stderr.to_lowercase().contains("> authorization: "), "{}", output.stderr);
    assert!(!output.stderr.contains("secret") && !output.stderr.contains("bWU6c2VjcmV0"), "{}", output.stderr);
}

/// The header lines of a request that do not belong to the client alone.
fn copied(head: &str) -> BTreeSet<String> {
    let own = ["host", "accept", "connection", "upgrade", "sec-websocket-key", "sec-websocket-extensions"];
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let lines = lines.map(|(name, value)| (name.to_lowercase(), value));
    lines.filter(|(name, _)| !own.contains(&name.as_str())).map(|(name, value)| format!("{name}: {value}")).collect()
}

#[test]
fn bash_and_curl_make_the_same_of_it() {
    if !require("curl") {
        return;
    }
    let (told, head) = std::sync::mpsc::channel();
    let server = FakeServer::once(move |request| {
        told.send(request.head.clone()).expect("the test waits");
        request.refuse("HTTP/1.1 204 No Content\r\n\r\n");
    });
    let line = chrome(&server.url.replace("ws://", "http://"));
    assert!(in_path("curl").is_some(), "curl is not installed: run tests/run");
    Run::new("bash").args(["-c", &line]).input("");
    server.join();
    assert_eq!(copied(&request(&["--curl", &chrome("URL")])), copied(&head.recv().expect("a request")));
}

#[test]
fn npm_ws_agrees_on_the_subprotocol_in_the_line() {
    if !require("node-ws") {
        return;
    }
    let directory = scratch();
    let server = node_server("{}");
    let file = write(&directory, "line.txt", chrome(&server.url().replace("ws://", "http://")) + "\n");
    run(&["connect", "--curl", &format!("@{}", text(&file))], "hello\n").exits(0).prints("hello\n");
    server.process.wait_for_stdout(r#""protocol":"chat""#);
}

#[test]
fn what_is_no_such_line_is_a_usage_error_and_stays_secret() {
    for (line, expected) in [
        ("fetch('ws://h/')", "this is a fetch() call"),
        ("curl -H 'Cookie: s=SECRET'", "contains no URL"),
        ("curl ws://127.0.0.1:1/ --data SECRET", "--data is not supported"),
        ("curl ws://127.0.0.1:1/ -H 'Cookie: s=SECRET", "a quote is not closed"),
        ("@/nonexistent/line", "/nonexistent/line"),
    ] {
        let output = run(&["connect", "--curl", line], "").exits(2).complains(expected).complains("hint: ");
        assert!(!output.stderr.contains("SECRET"), "{}", output.stderr);
    }
    run(&["connect"], "").exits(2);
}
