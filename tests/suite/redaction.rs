//! Secrets in URLs, headers and cookies, wherever they might be shown: streams, recordings, dead letters, the admin
//! address, reports.
//!
//! The table of what a secret is stands beside the rule, in `src/redact.rs`.

use serde_json::Value;

use super::relay_admin::port_of;
use crate::support::files::read;
use crate::support::http::{Events, admin_port, get, wait_for};
use crate::support::{FakeServer, Frame, Output, RawClient, closed_port, listen, run, scratch, text, wsp};

/// What must be nowhere.
const SECRET: &str = "hunter2";

/// Query, fit for the end of a URL.
const QUERY: &str = "?room=lobby&token=hunter2&X-Amz-Signature=hunter2";

#[track_caller]
fn holds_no_secret(what: &str, text: &str) {
    assert!(!text.contains(SECRET), "{what}: {text}");
}

#[track_caller]
fn says_no_secret(output: &Output) {
    holds_no_secret("stdout", output.stdout());
    holds_no_secret("stderr", &output.stderr);
}

#[test]
fn a_client_and_a_server_show_no_secret_of_a_url_or_a_header() {
    let folder = scratch();
    let file = |name: &str| text(&folder.path().join(name));
    for kind in ["jsonl", "har"] {
        let (mine, theirs) = (file(&format!("client.{kind}")), file(&format!("server.{kind}")));
        let server = listen(&["--echo", "--json", "-v", "--admin", "0", "--record", &theirs]);
        let port = admin_port(&server);
        let url = format!("ws://me:hunter2@127.0.0.1:{}/chat{QUERY}", server.port);
        let arguments = ["connect", &url, "-v", "--json", "--record", &mine, "-w", "-1"];
        let mut client = wsp(arguments)
            .args(["-H", "X-Api-Key: hunter2", "--cookie", "sid=hunter2", "-s", "access_token", "-s", "hunter2"])
            .args(["-H", "Referer: https://page.example/?jwt=hunter2"])
            .spawn();
        client.send("hello\n");
        client.wait_for_stdout("\"in\"");
        for path in ["/sessions", "/metrics", "/health"] {
            holds_no_secret(path, get(port, path).is(200).text());
        }
        assert!(get(port, "/sessions").text().contains("room=lobby"), "the rest is shown");
        let output = server.stop().exits(0);
        says_no_secret(&output);
        assert!(output.stderr.contains("room=lobby&token=[redacted]"), "{}", output.stderr);
        let client = client.outcome();
        says_no_secret(&client);
        assert!(client.stderr.contains("GET /chat?room=lobby&token=[redacted]"), "{}", client.stderr);
        for path in [mine, theirs] {
            let recorded = read(path.as_ref());
            holds_no_secret(&path, &recorded);
            assert!(recorded.contains("hello"), "{path}");
        }
    }
}

#[test]
fn errors_refusals_and_redirects_show_no_secret() {
    let port = closed_port();
    let url = format!("ws://me:hunter2@127.0.0.1:{port}/{QUERY}");
    let other = format!("ws://127.0.0.1:{port}/{QUERY}#hunter2");
    let cases: [(&[&str], i32); 12] = [
        (&["connect", &url], 14),
        (&["connect", &url, "-v", "--reconnect=1", "--retry-delay", "1ms"], 9),
        (&["connect", &other], 2),
        (&["connect", "ws://me:hunter2@h:x/"], 2),
        (&["connect", "ws://h:x/?token=hunter2"], 2),
        (&["connect", "ws://h/", "--proxy", "http://me:hunter2@h:x/"], 2),
        (&["connect", "ws://h/", "-H", "Authorization Bearer hunter2"], 2),
        (&["bench", &url, "-d", "100ms"], 14),
        (&["relay", "nothing://me:hunter2@h/?token=hunter2", "-"], 2),
        (&["relay", "nothing?token=hunter2", "-"], 2),
        (&["relay", "null:", "nats://h/s?token=hunter2&bad=1"], 2),
        (&["listen", ":0", "-H", "X-Api-Key hunter2"], 2),
    ];
    for (arguments, code) in cases {
        let output = run(arguments, "");
        says_no_secret(&output);
        assert!(!output.stderr.is_empty(), "{arguments:?}");
        assert_eq!(output.code, code, "{arguments:?}: {}", output.stderr);
    }
    let location = "Location: /on?token=hunter2\r\nContent-Length: 0\r\n\r\n";
    let server = FakeServer::times(4, move |number, request| {
        request.refuse(&match number {
            0 => "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n".to_owned(),
            _ => format!("HTTP/1.1 302 Found\r\nSet-Cookie: sid=hunter2\r\n{location}"),
        });
    });
    let url = format!("{}{QUERY}", server.url);
    says_no_secret(&run(&["connect", &url, "-v"], "").exits(5));
    let output = run(&["connect", &url, "-v", "-L", "--max-redirects", "1"], "").exits(5);
    says_no_secret(&output);
    assert!(output.stderr.to_lowercase().contains("location: /on?token=[redacted]"), "{}", output.stderr);
    says_no_secret(&run(&["connect", &url], "").exits(5));
    server.join();
    let server = FakeServer::once(|request| {
        request.refuse("HTTP/1.1 302 Found\r\nLocation: ftp://h:x/?token=hunter2\r\nContent-Length: 0\r\n\r\n");
    });
    says_no_secret(&run(&["connect", &server.url, "-v", "-L"], "").exits(5));
    server.join();
}

#[test]
fn a_relay_shows_no_secret_in_metrics_dead_letters_and_events() {
    let folder = scratch();
    let (dead, record) = (text(&folder.path().join("dead")), text(&folder.path().join("record")));
    let server = listen(&["--sink"]);
    let from = format!("ws-listen://127.0.0.1:{}", closed_port());
    let to = format!("{}{QUERY}", server.url);
    let mut relay = wsp(["relay", "-v", "--json", &from, &to, "--jq", ".", "--non-json", "error"])
        .args(["--dead-letter", &dead, "--record", &record, "--admin", "0"])
        .args(["--route", ".a => exec:curl -s https://me:hunter2@127.0.0.1:1/?key=hunter2"])
        .spawn();
    let admin = port_of(&relay);
    let port = relay
        .wait_for_stderr("listening on ")
        .rsplit(':')
        .next()
        .and_then(|port| port.trim_end_matches('/').parse().ok());
    let mut seen = Events::open(admin);
    let (mut client, _) = RawClient::open(port.expect("a port"), &format!("/in{QUERY}"), "");
    client.say(Frame::text("no json"));
    client.say(Frame::text("17"));
    let opened = seen.wait_for(|_, data| data["type"] == "open" && data["peer"].is_string());
    holds_no_secret("/events", &opened.to_string());
    wait_for(admin, "/metrics", |answer| answer.text().contains("wsp_delivered_total 1"));
    for path in ["/sessions", "/metrics", "/health"] {
        let shown = get(admin, path);
        holds_no_secret(path, shown.text());
    }
    let shown = get(admin, "/metrics");
    assert!(shown.text().contains("token=[redacted]"), "{}", shown.text());
    relay.end_input();
    relay.signal(nix::sys::signal::Signal::SIGTERM);
    let output = relay.outcome();
    says_no_secret(&output);
    for path in [dead, record] {
        let kept = read(path.as_ref());
        holds_no_secret(&path, &kept);
        assert!(kept.contains("no json"), "{path}: {kept}");
    }
}

#[test]
fn reports_of_a_load_test_show_no_secret() {
    let folder = scratch();
    let file = |name: &str| text(&folder.path().join(name));
    let server = listen(&["--echo"]);
    let url = format!("{}{QUERY}", server.url);
    let (html, hdr) = (file("report.html"), file("report.hdr"));
    let output = wsp(["bench", &url, "-n", "20", "-c", "1", "--json", "--html", &html, "--hdr", &hdr]).input("");
    says_no_secret(&output);
    let report: Value = serde_json::from_str(output.stdout()).expect("JSON");
    assert!(report.to_string().contains("token=[redacted]"), "{report}");
    says_no_secret(&wsp(["bench", &url, "-n", "20", "-c", "1"]).input(""));
    holds_no_secret("HTML", &read(html.as_ref()));
    holds_no_secret("HDR", &read(hdr.as_ref()));
}
