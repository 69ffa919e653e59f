//! `http://` and `https://` as TO of `wsp relay`: requests and batches, what is tried again, refused or redirected, and the
//! way there through proxies, sockets and TLS.

use std::time::Duration;

use serde_json::json;

use crate::support::certs::Authority;
use crate::support::peers::{Told, http_server};
use crate::support::proxies::{nginx, tinyproxy};
use crate::support::{FakeServer, closed_port, listen, require, run, scratch, text, wsp};

/// Short waits between tries.
const SOON: [&str; 4] = ["--retry-delay", "10ms", "--retry-max", "50ms"];

fn balance(stderr: &str) -> &str {
    stderr.lines().last().unwrap_or_default()
}

pub fn bodies(told: &[Told]) -> Vec<&str> {
    told.iter().map(Told::text).collect()
}

#[test]
fn each_message_is_a_request_of_its_own_over_one_connection() {
    if !require("python-websockets") {
        return;
    }
    let server = http_server(&json!({}));
    let input = b"{\"n\":1}\nhello\n\xff\xfe\n\n";
    let arguments = ["-H", "X-Key: v", "-u", "me:secret", "--cookie", "a=b"];
    let output = wsp(["relay", "-", &server.url]).args(arguments).input(input).exits(0);
    assert!(balance(&output.stderr).starts_with("received 4 = delivered 4 "), "{}", output.stderr);
    let told = server.stop();
    assert_eq!(bodies(&told), ["{\"n\":1}", "hello", "\\xff\\xfe", ""]);
    let types: Vec<_> = told.iter().map(|request| request.header("content-type").expect("a type")).collect();
    let plain = "text/plain; charset=utf-8";
    assert_eq!(types, ["application/json", plain, "application/octet-stream", plain]);
    for request in &told {
        assert_eq!(request.path, "/in");
        assert_eq!(request.header("authorization"), Some("Basic bWU6c2VjcmV0"));
        assert_eq!((request.header("x-key"), request.header("cookie")), (Some("v"), Some("a=b")));
        assert_eq!(request.from, told[0].from, "one connection");
    }
    assert!(!output.stderr.contains("secret"));
}

#[test]
fn a_batch_is_lines_whose_type_says_whether_all_are_json() {
    if !require("python-websockets") {
        return;
    }
    let server = http_server(&json!({}));
    let batch = ["--batch", "3", "--batch-age", "10s"];
    run(&[&["relay", "-", &server.url], &batch[..]].concat(), "1\n{\"a\":\"b\"}\n3\n4\n").exits(0);
    run(&[&["relay", "-", &server.url], &batch[..]].concat(), "1\nno json\n3\n").exits(0);
    run(&[&["relay", "-", &server.url, "--json"], &batch[..]].concat(), "x\n").exits(0);
    run(&["relay", "-", &server.url, "--batch", "2", "-H", "Content-Type: text/csv"], "x\n").exits(0);
    let told = server.stop();
    let types: Vec<_> = told.iter().map(|request| request.header("content-type").expect("a type")).collect();
    let ndjson = "application/x-ndjson";
    assert_eq!(types, [ndjson, ndjson, "text/plain; charset=utf-8", ndjson, "text/csv"]);
    assert_eq!(bodies(&told)[..3], ["1\n{\"a\":\"b\"}\n3\n", "4\n", "1\nno json\n3\n"]);
    assert!(told[3].text().starts_with("{\"time\":") && told[3].text().ends_with("\"text\":\"x\"}\n"));
}

#[test]
fn what_may_be_taken_later_is_tried_again_and_nothing_overtakes_it() {
    if !require("python-websockets") {
        return;
    }
    let answers = json!([200, 503, 429, "close", "close", [503, {"Retry-After": "0"}], 200, "bye", 408, "stall"]);
    let server = http_server(&json!({ "answers": answers }));
    let arguments = [&["relay", "-", &server.url, "--request-timeout", "300ms"], &SOON[..]].concat();
    let output = run(&arguments, "1\n2\n3\n4\n5\n").exits(0);
    assert_eq!(
        balance(&output.stderr),
        "received 5 = delivered 5 + filtered 0 + dropped 0 + dead-lettered 0 + waiting 0"
    );
    for reason in
        ["503 Service Unavailable: no, because", "429 Too Many", "without an answer", "no answer within 300ms"]
    {
        assert!(output.stderr.contains(reason), "{reason}: {}", output.stderr);
    }
    let told = server.stop();
    // A connection that was used before is replaced without a word when it breaks.
    let taken: Vec<_> = told.iter().filter(|request| request.answer == 200 || request.answer == "bye").collect();
    assert_eq!(taken.iter().map(|request| request.text()).collect::<Vec<_>>(), ["1", "2", "3", "4", "5"]);
    let all: Vec<u32> = told.iter().map(|request| request.text().parse().expect("a number")).collect();
    assert!(all.is_sorted(), "{all:?}");
}

#[test]
fn the_server_says_how_long_to_wait() {
    if !require("python-websockets") {
        return;
    }
    let server = http_server(&json!({ "answers": [[429, {"Retry-After": "1"}]] }));
    let delays = ["--retry-delay", "10ms", "--retry-max", "60s"];
    let output = run(&[&["relay", "-", &server.url], &delays[..]].concat(), "1\n").exits(0);
    assert!(output.took >= Duration::from_secs(1), "{:?}", output.took);
    assert!(output.stderr.contains("retrying in 1.0 s"), "{}", output.stderr);
    server.stop();
    // But --retry-max says how long at most.
    let server = http_server(&json!({ "answers": [[429, {"Retry-After": "3600"}], 404, 200] }));
    let more = ["--retry-on", "429,404"];
    let output = run(&[&["relay", "-", &server.url], &SOON[..], &more].concat(), "1\n").exits(0);
    assert!(output.stderr.contains("404 Not Found"), "tried again as --retry-on says: {}", output.stderr);
    server.stop();
}

#[test]
fn of_a_batch_only_what_is_refused_alone_is_given_up() {
    if !require("python-websockets") {
        return;
    }
    // The batch is refused; of its messages one is, and one is tried again, before which nothing is sent.
    let server = http_server(&json!({ "refuse": "bad", "answers": [200, 400, 200, 200, 503] }));
    let batch = ["--batch", "4", "--batch-age", "10s"];
    let arguments = [&["relay", "-", &server.url], &batch[..], &SOON].concat();
    let output = run(&arguments, "1\n2\n3\n4\n5\nbad\n7\n8\n").exits(0);
    assert_eq!(
        balance(&output.stderr),
        "received 8 = delivered 7 + filtered 0 + dropped 1 (rejected 1) + dead-lettered 0 + waiting 0"
    );
    let told = server.stop();
    let expected = ["1\n2\n3\n4\n", "5\nbad\n7\n8\n", "5\n", "bad\n", "7\n", "7\n8\n"];
    assert_eq!(bodies(&told)[..3], expected[..3]);
    let taken: String = told.iter().filter(|request| request.answer == 200).map(Told::text).collect();
    assert_eq!(taken, "1\n2\n3\n4\n5\n7\n8\n");
}

#[test]
fn a_server_that_refuses_everything_is_not_asked_for_each_message_of_a_batch() {
    if !require("python-websockets") {
        return;
    }
    let server = http_server(&json!({ "answers": [401] }));
    let output = run(&["relay", "-", &server.url, "--batch", "10"], "1\n2\n3\n").exits(0);
    assert!(balance(&output.stderr).contains("dropped 3 (rejected 3)"), "{}", output.stderr);
    assert_eq!(server.stop().len(), 1);
}

#[test]
fn a_server_that_comes_back_gets_what_waited() {
    if !require("python-websockets") {
        return;
    }
    let port = closed_port();
    let url = format!("http://127.0.0.1:{port}/in");
    let mut relay = wsp(["relay", "-", &url]).args(SOON).spawn();
    relay.send("1\n");
    relay.wait_for_stderr("retrying in");
    let server = http_server(&json!({ "port": port }));
    server.process.wait_for_stdout("\"body\": \"1\"");
    let told = server.stop();
    assert_eq!(bodies(&told), ["1"]);
    relay.send("2\n3\n");
    relay.wait_for_stderr("refused");
    let server = http_server(&json!({ "port": port }));
    server.process.wait_for_stdout("\"body\": \"3\"");
    relay.finish().exits(0);
    assert_eq!(bodies(&server.stop()), ["2", "3"]);
    let output = run(&[&["relay", "-", &url, "--reconnect=2"], &SOON[..]].concat(), "1\n").exits(30);
    assert!(output.stderr.contains("gave up after 2 retries"), "{}", output.stderr);
    assert!(balance(&output.stderr).ends_with("waiting 1"), "{}", output.stderr);
}

#[test]
fn redirects_are_followed_when_asked_for_and_credentials_stay() {
    if !require("python-websockets") {
        return;
    }
    let there = http_server(&json!({}));
    let moved = json!([308, { "Location": there.url }]);
    let here = http_server(&json!({ "answers": [moved, moved, moved] }));
    let output = run(&["relay", "-", &here.url], "1\n").exits(30);
    assert!(output.stderr.contains("308") && output.stderr.contains("-L"), "{}", output.stderr);
    run(&["relay", "-", &here.url, "-L", "--bearer", "s3cret", "-H", "X-Trace: v"], "1\n2\n").exits(0);
    let told = here.stop();
    assert_eq!(bodies(&told), ["1", "1"], "where it has moved to for good is remembered");
    assert_eq!(told[1].header("authorization"), Some("Bearer s3cret"));
    let told = there.stop();
    assert_eq!(bodies(&told), ["1", "2"]);
    assert_eq!((told[0].header("authorization"), told[0].header("x-trace")), (None, Some("v")));
}

#[test]
fn a_proxy_passes_requests_on_or_tunnels_them() {
    if !require("python-websockets") || !require("tinyproxy") {
        return;
    }
    let server = http_server(&json!({}));
    let authority = Authority::new();
    let identity = authority.server(&["127.0.0.1"]);
    let secure = http_server(&json!({ "cert": identity.cert, "key": identity.key }));
    let https = secure.url.replace("http:", "https:");
    let proxy = tinyproxy(true);
    let address = format!("http://me:pa55word@127.0.0.1:{}", proxy.port);
    run(&["relay", "-", &server.url, "--proxy", &address], "1\n2\n").exits(0);
    run(&["relay", "-", &https, "--cacert", &authority.ca(), "--proxy", &address], "3\n").exits(0);
    let told = server.stop();
    assert_eq!(bodies(&told), ["1", "2"]);
    assert!(told[0].header("via").is_some(), "{:?}", told[0].headers);
    assert_eq!(told[0].header("proxy-authorization"), None);
    assert_eq!(bodies(&secure.stop()), ["3"]);
    let output = run(
        &["relay", "-", "http://127.0.0.1:9/", "--proxy", &format!("http://127.0.0.1:{}", proxy.port), "--reconnect=1"],
        "1\n",
    )
    .exits(30);
    assert!(!output.stderr.contains("delivered 1"), "{}", output.stderr);
}

#[test]
fn a_unix_socket_leads_to_a_server_as_well() {
    if !require("python-websockets") {
        return;
    }
    let directory = scratch();
    let socket = text(&directory.path().join("socket"));
    let server = http_server(&json!({ "unix": socket }));
    run(&["relay", "-", "http://service/in", "--unix-socket", &socket], "1\n").exits(0);
    let told = server.stop();
    assert_eq!((bodies(&told)[0], told[0].header("host")), ("1", Some("service")));
}

#[test]
fn nginx_takes_posts_with_a_client_certificate_and_says_when_one_is_too_large() {
    if !require("python-websockets") || !require("nginx") {
        return;
    }
    let upstream = http_server(&json!({}));
    let authority = Authority::new();
    let (server, client) = (authority.server(&["127.0.0.1"]), authority.client());
    let between = nginx(&server, &authority.ca(), upstream.port);
    let url = format!("https://127.0.0.1:{}/old", between.port);
    let arguments =
        ["relay", "-", &url, "-L", "--cacert", &authority.ca(), "--cert", &client.cert, "--key", &client.key];
    // Together they are more than the megabyte it takes; so is the last one alone.
    let lines = [400, 401, 402, 1100].map(|kib| "x".repeat(kib * 1024));
    let batch = ["--batch", "4", "--batch-age", "10s", "--batch-bytes", "10MB"];
    let output = run(&[&arguments[..], &batch].concat(), lines.join("\n") + "\n").exits(0);
    assert!(output.stderr.contains("413"), "{}", output.stderr);
    assert_eq!(
        balance(&output.stderr),
        "received 4 = delivered 3 + filtered 0 + dropped 1 (rejected 1) + dead-lettered 0 + waiting 0"
    );
    let told = upstream.stop();
    assert_eq!(told.iter().map(|request| request.path.as_str()).collect::<Vec<_>>(), ["/new"; 3]);
    assert_eq!(told[2].text().len(), 402 * 1024 + 1);
    // A server that nobody vouches for is not tried again.
    let output = run(&["relay", "-", &url, "--cert", &client.cert, "--key", &client.key], "1\n").exits(30);
    assert!(output.stderr.contains("certificate") && output.stderr.contains("--cacert"), "{}", output.stderr);
}

#[test]
fn messages_of_a_websocket_are_posted() {
    if !require("python-websockets") {
        return;
    }
    let server = http_server(&json!({}));
    let source = listen(&["--echo"]);
    let relay = wsp(["relay", &source.url, &server.url, "-i", "{\"a\":1}", "-i", "{\"a\":2}", "--jq", ".a"]).spawn();
    server.process.wait_for_stdout("\"body\": \"2\"");
    relay.signal(nix::sys::signal::Signal::SIGTERM);
    relay.outcome().exits(0);
    assert_eq!(bodies(&server.stop()), ["1", "2"]);
}

#[test]
fn what_is_no_http_is_named_and_waits() {
    let server = FakeServer::times(2, |_, request| request.refuse("SSH-2.0-OpenSSH\r\n"));
    let url = server.url.replace("ws:", "http:");
    let output = run(&[&["relay", "-", &url, "--reconnect=1"], &SOON[..]].concat(), "1\n").exits(30);
    assert!(output.stderr.contains("the answer is not valid HTTP"), "{}", output.stderr);
    server.join();
    for arguments in [["relay", "http://h/", "-"], ["relay", "-", "http://h/#x"]] {
        assert_eq!(run(&arguments, "").code, 2);
    }
    assert_eq!(run(&["relay", "-", "http://h/", "--both"], "").code, 2);
}
