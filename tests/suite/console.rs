//! `wsp listen --devconsole`: the page as a person uses it in Chromium, and what it is served under.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::http::{ask, get};
use crate::support::peers::{chromium, node, trust_in_browser};
use crate::support::{RawClient, listen, require, run, scratch, text, write};

/// What the page showed.
fn used(home: &Path, url: &str) -> Value {
    let run = node("console.js").arg(chromium()).arg(home).arg(url);
    let output = run.limit(Duration::from_secs(180)).input("");
    assert_eq!(output.code, 0, "stdout: {}\nstderr: {}", output.stdout(), output.stderr);
    serde_json::from_str(output.stdout()).expect("JSON")
}

#[track_caller]
fn all_is_well(seen: &Value, authority: &str) {
    let pretty = "{\n  \"b\": 12345678901234567890,\n  \"a\": [\n    \"x\",\n    null,\n    {}\n  ],\n  \"url\": \"ws://h/\\\"q\\\"\"\n}";
    let hostile = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>";
    let messages = json!(["hello", "two\nlines", pretty, hostile]);
    let expected = json!({
        "focused": "message",
        "received": messages,
        "sent": messages,
        "count": "8 messages",
        "recalled": hostile,
        "raw": "{\"b\":12345678901234567890,\"a\":[\"x\",null,{}],\"url\":\"ws://h/\\\"q\\\"\"}",
        "overflows": false,
        "filtered": "2 of 8 messages",
        "visible": ["two\nlines", "two\nlines"],
        "marked": ["lines", "lines"],
        "unfiltered": "8 messages",
        "paused": ["Resume (2 new)", 4],
        "cleared": ["0 messages", 0],
        "bounded": ["1,000 messages, 400 older left out", 1000],
        "follows": true,
        "stays": true,
        "more": ["Show all 60 lines"],
        "whole": 60,
        "fixed": "",
        "closed": "Closed, 1000",
        "elsewhere": format!("cannot connect: this page may connect to its own server only, {authority}"),
        "title": "wsp console",
        "faults": [],
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&seen[name], value, "{name}");
    }
    assert!(seen["tokens"].as_array().is_some_and(|tokens| tokens.contains(&json!(["n", "12345678901234567890"]))));
    assert_eq!(seen["asked"].as_array().map(Vec::len), Some(1), "nothing but the page is asked for: {}", seen["asked"]);
}

#[test]
fn a_person_connects_sends_filters_and_pauses() {
    if !require("chromium") {
        return;
    }
    let home = scratch();
    let server = listen(&["--echo", "--devconsole"]);
    let seen = used(home.path(), &server.url.replacen("ws", "http", 1));
    assert_eq!((&seen["url"], &seen["status"]), (&json!(server.url), &json!("Connected")));
    all_is_well(&seen, &format!("127.0.0.1:{}", server.port));
}

#[test]
fn the_page_works_over_tls_with_a_path_and_a_subprotocol() {
    if !require("chromium") {
        return;
    }
    let home = scratch();
    let ca = home.path().join("ca.pem");
    let arguments =
        ["--echo", "--devconsole", "--path", "/chat", "-s", "v2.chat", "--compress", "--tls", "--tls-ca-out"];
    let server = listen(&[&arguments[..], &[&text(&ca)]].concat());
    trust_in_browser(home.path(), &ca);
    let authority = format!("localhost:{}", server.port);
    let seen = used(home.path(), &format!("https://{authority}/"));
    assert_eq!(seen["url"], format!("wss://{authority}/chat"));
    assert_eq!(seen["status"], "Connected, v2.chat");
    all_is_well(&seen, &authority);
}

#[test]
fn the_page_is_served_under_a_strict_policy_beside_everything_else() {
    let files = scratch();
    write(&files, "index.html", "hidden by the console");
    write(&files, "page.html", "a page");
    let server = listen(&["--broadcast", "--devconsole", "--static", &text(files.path())]);
    let answer = get(server.port, "/").is(200);
    assert!(answer.text().contains("wsp console"));
    let policy = answer.header("content-security-policy").expect("a policy");
    for part in
        ["default-src 'none'", "script-src 'sha256-", "style-src 'sha256-", "base-uri 'none'", "frame-ancestors 'none'"]
    {
        assert!(policy.contains(part), "{part} in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let evil = ask(server.port, "GET", "/", "Host: x; script-src *\r\n", b"").is(200);
    assert!(evil.header("content-security-policy").is_some_and(|policy| policy.ends_with("; connect-src 'self'")));
    ask(server.port, "HEAD", "/", "", b"").is(200);
    ask(server.port, "POST", "/", "", b"x").is(405);
    assert_eq!(get(server.port, "/page.html").is(200).text(), "a page");
    RawClient::connect(server.port);

    let alone = listen(&["--echo", "--devconsole"]);
    get(alone.port, "/page.html").is(404);
    run(&["listen", ":0", "--devconsole", "--path", "/"], "").exits(2).complains("--devconsole");
}

#[test]
fn only_pages_of_allowed_origins_connect_and_those_served_here() {
    let port = |url: &str| url.trim_end_matches('/').rsplit(':').next().map(str::to_owned).expect("a port");
    let plain = listen(&["--echo", "--allow-origin", "https://good.example"]);
    let console = listen(&["--echo", "--allow-origin", "https://good.example", "--devconsole"]);
    for (server, own) in [(&plain, 5), (&console, 0)] {
        let port = port(&server.url);
        let table = [
            ("https://good.example".to_owned(), 0),
            ("https://GOOD.example".to_owned(), 0),
            ("http://good.example".to_owned(), 5),
            ("https://bad.example".to_owned(), 5),
            ("null".to_owned(), 5),
            (format!("http://127.0.0.1:{port}"), own),
        ];
        for (origin, code) in table {
            let arguments = ["connect", &server.url, "--origin", &origin, "-x", "a", "-n", "1"];
            let output = run(&arguments, "").exits(code);
            assert_eq!(output.stdout(), if code == 0 { "a\n" } else { "" }, "{origin}");
            assert_eq!(output.stderr.contains("403"), code != 0, "{origin}: {}", output.stderr);
        }
        let rebound = format!("evil.example:{port}");
        let origin = format!("http://{rebound}");
        run(&["connect", &server.url, "--host", &rebound, "--origin", &origin, "-x", "a"], "").exits(5);
        run(&["connect", &server.url, "-x", "a", "-n", "1"], "").exits(0).prints("a\n");
    }
}
