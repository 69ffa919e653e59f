//! Plain conversations with other people's programs: npm `ws`, Python `websockets`, Go's gorilla/websocket, Jetty,
//! curl.
//!
//! Leaves compression in all its forms to `compression`, and browsers to `chromium`.

use serde_json::{Value, json};

use crate::support::certs::Authority;
use crate::support::peers::{
    gorilla, gorilla_server, in_path, jetty, jetty_server, node, node_server, python, python_server,
};
use crate::support::{Run, listen, require, run};

const MESSAGES: [&str; 4] = ["hello", "", "ünï ✓", "repeat:100000:0123456789"];

#[test]
fn npm_ws_clients_are_served() {
    if !require("node-ws") {
        return;
    }
    let server = listen(&["--echo", "-s", "chat"]);
    let options = json!({"perMessageDeflate": false, "protocols": ["other", "chat"]}).to_string();
    let output = node("ws-client.js").args([&server.url, &options]).args(MESSAGES).input("").exits(0);
    let result: Value = serde_json::from_str(output.stdout()).expect("JSON");
    assert_eq!(result, json!({"replies": 8, "pongs": 1, "extensions": "", "protocol": "chat", "code": 1000}));
}

#[test]
fn npm_ws_clients_are_served_over_tls() {
    if !require("node-ws") {
        return;
    }
    let authority = Authority::new();
    let identity = authority.server(&["127.0.0.1"]);
    let server = listen(&["--echo", "--tls-cert", &identity.cert, "--tls-key", &identity.key]);
    let options = json!({"caFile": authority.ca()}).to_string();
    let output = node("ws-client.js").args([&server.url, &options]).args(MESSAGES).input("").exits(0);
    assert!(output.stdout().contains("\"replies\":8"), "{}", output.stdout());
}

#[test]
fn npm_ws_servers_are_talked_to() {
    if !require("node-ws") {
        return;
    }
    let server = node_server(r#"{"perMessageDeflate":false}"#);
    run(&["connect", &server.url(), "-n", "3"], "hello\n\nünï ✓\n").exits(0).prints("hello\n\nünï ✓\n");
    let output = run(&["connect", &server.url(), "--hex", "-n", "1"], "00ff0a\n").exits(0);
    assert_eq!(output.bytes, [0, 255, 10]);
    server.process.wait_for_stdout(r#"{"event":"close","code":1000,"#);
}

#[test]
fn gorilla_clients_are_served() {
    if !require("gorilla") {
        return;
    }
    for more in [&[][..], &["--compress"]] {
        let server = listen(&[&["--echo", "-s", "chat"], more].concat());
        let output = gorilla().args(["client", &server.url, "hello", "", "ünï ✓"]).input("").exits(0);
        let result: Value = serde_json::from_str(output.stdout()).expect("JSON");
        assert_eq!(result, json!({"replies": 6, "pongs": 1, "protocol": "chat", "code": 1000}));
    }
}

#[test]
fn gorilla_servers_are_talked_to() {
    if !require("gorilla") {
        return;
    }
    let server = gorilla_server(&["server"]);
    let input = format!("hello\nünï ✓\n{}\n", "words ".repeat(50_000));
    for more in [&[][..], &["--no-compress"]] {
        let output = run(&[&["connect", &server.url(), "-s", "chat", "-n", "3"], more].concat(), &input).exits(0);
        assert!(output.stdout() == input, "{more:?}");
    }
    server.process.wait_for_stdout(r#"{"event":"open","protocol":"chat"}"#);
    server.process.wait_for_stdout(r#"{"code":1000,"event":"close","reason":""}"#);
}

#[test]
fn jetty_clients_are_served() {
    if !require("jetty") {
        return;
    }
    for compress in [&[][..], &["--compress"]] {
        let server = listen(&[&["--echo", "-s", "chat"], compress].concat());
        let words = [&["client", &server.url], compress, &["hello", "", "ünï ✓"]].concat();
        let output = jetty().args(words).input("").exits(0);
        let result: Value = serde_json::from_str(output.stdout()).expect("JSON");
        let compressed = !compress.is_empty();
        assert_eq!(result, json!({"replies": 6, "compressed": compressed, "protocol": "chat", "code": 1000}));
    }
}

#[test]
fn jetty_servers_are_talked_to() {
    if !require("jetty") {
        return;
    }
    let server = jetty_server();
    let input = format!("hello\nünï ✓\n{}\n", "words ".repeat(50_000));
    for more in [&[][..], &["--no-compress"]] {
        let output = run(&[&["connect", &server.url(), "-s", "chat", "-n", "3"], more].concat(), &input).exits(0);
        assert!(output.stdout() == input, "{more:?}");
    }
    server.process.wait_for_stdout(r#"{"event":"open","protocol":"chat"}"#);
    server.process.wait_for_stdout(r#"{"code":1000,"event":"close"}"#);
}

#[test]
fn python_websockets_clients_are_served() {
    if !require("python-websockets") {
        return;
    }
    for (arguments, compression) in [(&["--echo"][..], "null"), (&["--echo", "--compress"], "\"deflate\"")] {
        let server = listen(arguments);
        let options = format!(r#"{{"compression":{compression}}}"#);
        let output = python("ws_client.py").args([&server.url, &options]).args(MESSAGES).input("").exits(0);
        let result: Value = serde_json::from_str(output.stdout()).expect("JSON");
        assert_eq!((&result["replies"], &result["code"]), (&json!(8), &json!(1000)), "{result}");
        let extensions = result["extensions"].as_str().expect("text");
        assert_eq!(extensions.starts_with("permessage-deflate"), arguments.len() == 2, "{result}");
    }
}

#[test]
fn python_websockets_clients_trust_the_self_signed_server_by_its_ca() {
    if !require("python-websockets") {
        return;
    }
    let files = crate::support::scratch();
    let ca = crate::support::text(&files.path().join("ca.pem"));
    let server = listen(&["--echo", "--tls", "--tls-ca-out", &ca]);
    let options = json!({"ca": ca}).to_string();
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("wss://{host}:{}/", server.port);
        python("ws_client.py").args([&url, &options, "hello"]).input("").exits(0);
    }
}

#[test]
fn python_websockets_servers_are_talked_to() {
    if !require("python-websockets") {
        return;
    }
    for compression in ["null", "\"deflate\""] {
        let options = format!(r#"{{"compression":{compression},"subprotocols":["chat"]}}"#);
        let server = python_server(&options);
        let url = format!("{}some/path?q=1", server.url());
        let long = "words ".repeat(50_000);
        let input = format!("hello\n{long}\nünï\n");
        let output = run(&["connect", &url, "-s", "chat", "-n", "3"], &input).exits(0);
        assert!(output.stdout() == input, "{compression}");
        let open: Value = serde_json::from_str(&server.process.wait_for_stdout("\"open\"")).expect("JSON");
        assert_eq!((&open["path"], &open["subprotocol"]), (&json!("/some/path?q=1"), &json!("chat")));
    }
}

#[test]
fn a_close_of_python_websockets_becomes_the_exit_code() {
    if !require("python-websockets") {
        return;
    }
    let server = python_server("{}");
    run(&["connect", &server.url(), "-w", "-1"], "close 1000 done\n").exits(0);
    run(&["connect", &server.url(), "-w", "-1"], "close 4000 go away\n")
        .exits(9)
        .complains("4000")
        .complains("go away");
}

#[test]
fn python_websockets_over_tls_is_talked_to() {
    if !require("python-websockets") {
        return;
    }
    let authority = Authority::new();
    let identity = authority.server(&["127.0.0.1", "localhost"]);
    let server = python_server(&json!({"cert": identity.cert, "key": identity.key}).to_string());
    let url = server.url().replace("ws://", "wss://");
    run(&["connect", "--cacert", &authority.ca(), &url], "hello\n").exits(0).prints("hello\n");
    run(&["connect", &url], "hello\n").exits(8);
}

/// curl's answer to these arguments, head included.
fn curl(arguments: &[&str]) -> String {
    let common = ["--silent", "--show-error", "--include", "--max-time", "15", "--http1.1"];
    let output = Run::new(in_path("curl").expect("curl is not installed: run tests/run"));
    String::from_utf8_lossy(&output.args(common).args(arguments).input("").bytes).into_owned()
}

#[test]
fn curl_is_told_what_the_server_wants() {
    if !require("curl") {
        return;
    }
    let server = listen(&["--echo", "--path", "/ws"]);
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", server.port);
    let plain = curl(&[&url("/ws")]);
    assert!(plain.starts_with("HTTP/1.1 426 "), "{plain}");
    assert!(plain.to_lowercase().contains("sec-websocket-version: 13\r\n"), "{plain}");
    assert!(curl(&[&url("/nowhere")]).starts_with("HTTP/1.1 404 "));
    assert!(curl(&["--data", "x=1", &url("/ws")]).starts_with("HTTP/1.1 405 "));
}

#[test]
fn curl_upgrades_over_tls_with_the_written_ca() {
    if !require("curl") {
        return;
    }
    let files = crate::support::scratch();
    let ca = crate::support::text(&files.path().join("ca.pem"));
    let server = listen(&["--echo", "--tls", "--tls-ca-out", &ca]);
    let answer = curl(&["--cacert", &ca, &server.url.replace("wss://", "https://")]);
    assert!(answer.starts_with("HTTP/1.1 426 "), "{answer}");
}
