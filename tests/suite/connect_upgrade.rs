//! What `wsp connect` asks for in the upgrade and how it takes the answer.
//!
//! Owns request headers, credentials, redirects, refusals with their hints, subprotocols and unix sockets. Leaves TLS
//! to `tls` and what a broken answer costs to `exit_codes`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::fake::Request;
use crate::support::{FakeServer, Frame, Output, listen, run, scratch, wsp};

/// Runs the client against a server that lets `check` look at the request, then closes normally.
fn asks(arguments: &[&str], check: impl FnOnce(&Request) + Send + 'static) -> Output {
    let server = FakeServer::once(move |request| {
        check(&request);
        let mut socket = request.accept();
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let all = [&["connect", &server.url, "-w", "-1"], arguments].concat();
    let output = run(&all, "").exits(0);
    server.join();
    output
}

#[test]
fn the_request_is_an_upgrade_by_rfc_6455() {
    asks(&[], |request| {
        assert!(request.head.starts_with("GET / HTTP/1.1\r\n"), "{}", request.head);
        assert_eq!(request.header("upgrade").map(str::to_ascii_lowercase).as_deref(), Some("websocket"));
        assert_eq!(request.header("connection").map(str::to_ascii_lowercase).as_deref(), Some("upgrade"));
        assert_eq!(request.header("sec-websocket-version"), Some("13"));
        let key = STANDARD.decode(request.header("sec-websocket-key").expect("a key")).expect("base64");
        assert_eq!(key.len(), 16);
        assert!(request.header("host").is_some_and(|host| host.starts_with("127.0.0.1:")));
        assert!(
            request.header("sec-websocket-extensions").is_some_and(|offer| offer.starts_with("permessage-deflate"))
        );
    });
}

#[test]
fn compression_is_not_offered_when_refused() {
    asks(&["--no-compress"], |request| assert_eq!(request.header("sec-websocket-extensions"), None));
}

#[test]
fn headers_origin_host_and_cookies_reach_the_server() {
    let arguments =
        ["-H", "X-One: 1", "-H", "X-Two:two", "-o", "https://example.test", "--cookie", "a=1", "--cookie", "b=2"];
    asks(&arguments, |request| {
        assert_eq!(request.header("x-one"), Some("1"));
        assert_eq!(request.header("x-two"), Some("two"));
        assert_eq!(request.header("origin"), Some("https://example.test"));
        assert_eq!(request.header("cookie"), Some("a=1; b=2"));
    });
    asks(&["--host", "example.test:81"], |request| assert_eq!(request.header("host"), Some("example.test:81")));
}

#[test]
fn credentials_reach_the_server() {
    let basic = || format!("Basic {}", STANDARD.encode("me:p:w"));
    asks(&["-u", "me:p:w"], move |request| assert_eq!(request.header("authorization"), Some(&*basic())));
    asks(&["--bearer", "t0ken"], |request| assert_eq!(request.header("authorization"), Some("Bearer t0ken")));
    let server = FakeServer::once(move |request| {
        assert_eq!(request.header("authorization"), Some(&*format!("Basic {}", STANDARD.encode("me:p w"))));
        assert_eq!(request.target(), "/path?q=1");
        let mut socket = request.accept();
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let url = format!("ws://me:p%20w@127.0.0.1:{}/path?q=1", server.port);
    run(&["connect", &url, "-w", "-1"], "").exits(0);
    server.join();
}

#[test]
fn credentials_can_come_from_the_environment() {
    let server = FakeServer::times(3, move |number, request| {
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        let expected = ["Bearer from-env".to_owned(), basic("me:env"), basic("name:two:parts")];
        assert_eq!(request.header("authorization"), Some(&*expected[number]));
        let mut socket = request.accept();
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    wsp(["connect", &server.url, "--bearer-env", "MY_TOKEN", "-w", "-1"])
        .env("MY_TOKEN", "from-env")
        .input("")
        .exits(0);
    wsp(["connect", &server.url, "--user-env", "MY_USER", "-w", "-1"]).env("MY_USER", "me:env").input("").exits(0);
    wsp(["connect", &server.url, "--user-env", "MY_NAME,MY_PASSWORD", "-w", "-1"])
        .env("MY_NAME", "name")
        .env("MY_PASSWORD", "two:parts")
        .input("")
        .exits(0);
    server.join();
}

#[test]
fn secrets_are_never_printed() {
    let secret = "hunter2-secret";
    let with_user_info = |port: u16| format!("ws://me:{secret}@127.0.0.1:{port}/");
    let server = FakeServer::times(10, |number, request| {
        if number % 2 == 0 {
            let mut socket = request.accept();
            socket.say(Frame::close(1000, ""));
            socket.answer_close();
        } else {
            request.refuse("HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let cases: [&[&str]; 5] = [
        &["-u", "me:hunter2-secret", &server.url],
        &["--bearer", secret, &server.url],
        &["--cookie", "sid=hunter2-secret", &server.url],
        &["-H", "Authorization: hunter2-secret", &server.url],
        &[&with_user_info(server.port)],
    ];
    for case in cases {
        for json in ["raw", "json"] {
            let output = run(&[&["connect", "-v", "-w", "-1", "--format", json], case].concat(), "");
            let all = format!("{}{}", output.stdout(), output.stderr);
            assert!(!all.contains(secret), "{case:?}: {all}");
            assert!(!all.contains(&STANDARD.encode(format!("me:{secret}"))), "{case:?}: {all}");
        }
    }
    server.join();
}

#[test]
fn subprotocols_are_offered_and_the_choice_is_taken() {
    let server = FakeServer::once(|request| {
        assert_eq!(
            request.header("sec-websocket-protocol").map(|offer| offer.replace(' ', "")).as_deref(),
            Some("a,b")
        );
        let mut socket = request.accept_with("Sec-WebSocket-Protocol: b\r\n");
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let output = run(&["connect", &server.url, "-s", "a", "-s", "b", "-w", "-1", "--json"], "").exits(0);
    assert_eq!(crate::support::events(output.stdout())[0]["subprotocol"], "b");
    server.join();
}

#[test]
fn a_refusal_shows_status_and_body_and_under_v_the_headers() {
    let refuse = |number: usize, request: Request| {
        let body = "no entry".repeat(1000);
        let length = body.len();
        let _ = number;
        request.refuse(&format!("HTTP/1.1 403 Forbidden\r\nX-Why: because\r\nContent-Length: {length}\r\n\r\n{body}"));
    };
    let server = FakeServer::times(2, refuse);
    let output = run(&["connect", &server.url], "").exits(5).complains("403 Forbidden").complains("no entryno entry");
    assert!(!output.stderr.to_lowercase().contains("x-why"), "{}", output.stderr);
    assert!(output.stderr.len() < 2000, "only the first KiB of the body: {}", output.stderr.len());
    let output = run(&["connect", &server.url, "-v"], "").exits(5);
    assert!(output.stderr.to_lowercase().contains("x-why: because"), "{}", output.stderr);
    server.join();
}

/// The hint on stderr.
fn hint(output: &Output) -> &str {
    let line = output.stderr.lines().find(|line| line.starts_with("hint:"));
    line.unwrap_or_else(|| panic!("no hint in {}", output.stderr))
}

#[test]
fn refusals_come_with_a_hint_that_helps() {
    let server = FakeServer::times(2, |number, request| {
        request.refuse(
            [
                "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
                "HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n",
            ][number],
        );
    });
    let output = run(&["connect", &server.url], "").exits(5);
    assert!(hint(&output).contains("-u"), "{}", output.stderr);
    let output = run(&["connect", &server.url], "").exits(5);
    assert!(hint(&output).contains("-L"), "{}", output.stderr);
    server.join();
}

#[test]
fn redirects_are_followed_when_asked() {
    let target = listen(&["--echo"]);
    for location in [target.url.clone(), target.url.replace("ws://", "http://")] {
        let server = FakeServer::once(move |request| {
            request.refuse(&format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"
            ));
        });
        run(&["connect", "-L", &server.url], "hello\n").exits(0).prints("hello\n");
        server.join();
    }
}

#[test]
fn a_relative_redirect_keeps_credentials_and_another_port_loses_them() {
    let elsewhere = FakeServer::once(|request| {
        assert_eq!(request.header("authorization"), None);
        assert_eq!(request.header("cookie"), None);
        assert_eq!(request.header("x-kept"), Some("yes"));
        let mut socket = request.accept();
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let away = elsewhere.url.clone();
    let server = FakeServer::times(2, move |number, request| {
        assert!(request.header("authorization").is_some_and(|value| value.starts_with("Basic ")));
        assert_eq!(request.header("cookie"), Some("a=1"));
        assert_eq!(request.target(), ["/", "/there"][number]);
        let location = ["/there", &away][number];
        request.refuse(&format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n"));
    });
    let arguments = ["connect", "-L", "-u", "me:pw", "--cookie", "a=1", "-H", "X-Kept: yes", "-w", "-1", &server.url];
    run(&arguments, "").exits(0);
    server.join();
    elsewhere.join();
}

#[test]
fn a_circle_of_redirects_ends() {
    let server = FakeServer::times(4, |_, request| {
        request.refuse("HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\n\r\n");
    });
    let output = run(&["connect", "-L", "--max-redirects", "3", &server.url], "");
    assert_eq!(output.code, 5, "{}", output.stderr);
    server.join();
}

#[test]
fn a_name_can_be_given_an_address() {
    let server = listen(&["--echo"]);
    let resolve = format!("example.test:{}:127.0.0.1", server.port);
    let url = format!("ws://example.test:{}/", server.port);
    run(&["connect", "--resolve", &resolve, &url], "hello\n").exits(0).prints("hello\n");
}

#[test]
fn a_unix_socket_serves_both_ways() {
    let files = scratch();
    let path = crate::support::text(&files.path().join("socket"));
    // A file left behind by a server that was killed is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a stale socket"));
    let server = crate::support::process::listen_at(&format!("unix:{path}"), &["--echo"]);
    assert_eq!(server.url, format!("unix:{path}"));
    let output = run(&["connect", "--unix-socket", &path, "ws://localhost/"], "hello\n");
    output.exits(0).prints("hello\n");
    server.stop().exits(0);
    assert!(!std::path::Path::new(&path).exists(), "the socket file is gone");
}
