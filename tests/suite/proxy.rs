//! Through proxies: real ones, and ones that misbehave.
//!
//! Owns `--proxy`, the environment's variables, and what is said when a proxy does not let through. Which proxy is
//! chosen is a table beside the code; here it is seen to be asked, or not.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::certs::Authority;
use crate::support::fake::next;
use crate::support::proxies::{microsocks, nginx, stunnel, tinyproxy};
use crate::support::{FakeServer, Output, Run, closed_port, listen, require, run, scratch, text, wsp};

/// The hint on stderr.
fn hint(output: &Output) -> &str {
    let line = output.stderr.lines().find(|line| line.starts_with("hint:"));
    line.unwrap_or_else(|| panic!("no hint in {}", output.stderr))
}

/// A proxy that answers each of `count` requests with these bytes.
fn answering(count: usize, answer: &'static str) -> FakeServer {
    FakeServer::times(count, move |_, request| request.refuse(answer))
}

#[test]
fn ws_and_wss_pass_through_a_real_http_proxy_with_credentials() {
    if !require("tinyproxy") {
        return;
    }
    let proxy = tinyproxy(true);
    let place = format!("127.0.0.1:{}", proxy.port);
    let plain = listen(&["--echo"]);
    let with_user = format!("http://me:pa55%77ord@{place}");
    run(&["connect", "--proxy", &with_user, &plain.url], "hello\n").exits(0).prints("hello\n");
    proxy.process.wait_for_stdout(&format!("CONNECT 127.0.0.1:{}", plain.port));
    let files = scratch();
    let ca = text(&files.path().join("ca.pem"));
    let secure = listen(&["--echo", "--tls", "--tls-ca-out", &ca]);
    let url = format!("wss://localhost:{}/", secure.port);
    let output = run(&["connect", "-v", "--cacert", &ca, "--proxy", &with_user, &url], "hello\n");
    let output = output.exits(0).prints("hello\n");
    assert!(output.stderr.contains(&format!("through the proxy http://{place}")), "{}", output.stderr);
    assert!(output.stderr.contains(&format!("> CONNECT localhost:{}", secure.port)), "{}", output.stderr);
    for secret in ["pa55", &STANDARD.encode("me:pa55word")] {
        assert!(!output.stderr.contains(secret), "{}", output.stderr);
    }
    // Tinyproxy tells no credentials from wrong ones.
    for (user, status) in [("", "407"), ("me:wrong@", "401")] {
        let url = format!("http://{user}{place}");
        let output = run(&["connect", "--proxy", &url, &plain.url], "hello\n").exits(14).prints("").complains(status);
        assert!(output.stderr.contains(&place) && !output.stderr.contains("wrong"), "{}", output.stderr);
        assert!(hint(&output).contains("--proxy http://USER:PASSWORD@"), "{}", output.stderr);
    }
}

#[test]
fn large_messages_pass_through_tls_in_a_tunnel_in_tls() {
    if !require("tinyproxy") || !require("stunnel") {
        return;
    }
    let authority = Authority::new();
    let identity = authority.server(&["localhost"]);
    let inner = tinyproxy(false);
    let outer = stunnel(&identity, inner.port);
    let server = listen(&["--echo", "--tls-cert", &identity.cert, "--tls-key", &identity.key]);
    let proxy = format!("https://localhost:{}", outer.port);
    let url = format!("wss://localhost:{}/", server.port);
    let input = "0123456789abcdef".repeat(1 << 16);
    let arguments = ["connect", "-v", "--cacert", &authority.ca(), "--proxy", &proxy, &url, "--whole", "-n", "1"];
    let output = run(&arguments, &input).exits(0);
    assert!(output.stdout().trim_end() == input, "{} bytes", output.bytes.len());
    assert!(output.stderr.contains("* proxy certificate: CN=server"), "{}", output.stderr);
    let output = run(&["connect", "--proxy", &proxy, &url], "").exits(8).complains(&proxy);
    assert!(hint(&output).contains("--cacert"), "{}", output.stderr);
}

#[test]
fn socks5_looks_names_up_here_and_socks5h_at_the_proxy() {
    if !require("microsocks") {
        return;
    }
    let proxy = microsocks(Some(("me", "pa55word")));
    let server = listen(&["--echo"]);
    let through = |scheme: &str| format!("{scheme}://me:pa55word@127.0.0.1:{}", proxy.port);
    for scheme in ["socks5", "socks5h"] {
        for host in ["127.0.0.1", "localhost"] {
            let url = format!("ws://{host}:{}/", server.port);
            run(&["connect", "--proxy", &through(scheme), &url], "hello\n").exits(0).prints("hello\n");
        }
    }
    let url = format!("ws://no-such-name.invalid:{}/", server.port);
    let code = run(&["connect", "--proxy", &through("socks5"), &url], "").code;
    assert!(matches!(code, 20 | 21), "looked up here: {code}");
    run(&["connect", "--proxy", &through("socks5h"), &url], "").exits(14).complains("socks5h://127.0.0.1");
    let resolve = format!("no-such-name.invalid:{}:127.0.0.1", server.port);
    for scheme in ["socks5", "socks5h"] {
        let arguments = ["connect", "--proxy", &through(scheme), "--resolve", &resolve, &url];
        run(&arguments, "hello\n").exits(0).prints("hello\n");
    }
}

#[test]
fn a_socks_proxy_that_lets_nobody_in_or_reaches_nobody_is_14_and_named() {
    if !require("microsocks") {
        return;
    }
    let proxy = microsocks(Some(("me", "pa55word")));
    let place = format!("127.0.0.1:{}", proxy.port);
    let url = format!("ws://127.0.0.1:{}/", closed_port());
    for user in ["", "me:hunter2@"] {
        let output = run(&["connect", "--proxy", &format!("socks5://{user}{place}"), &url], "").exits(14);
        assert!(output.stderr.contains(&place) && !output.stderr.contains("hunter2"), "{}", output.stderr);
        assert!(hint(&output).contains("--proxy socks5://USER:PASSWORD@"), "{}", output.stderr);
    }
    let output = run(&["connect", "--proxy", &format!("socks5://me:pa55word@{place}"), &url], "").exits(14);
    assert!(output.stderr.contains("refused") && !output.stderr.contains("pa55"), "{}", output.stderr);
}

#[test]
fn a_client_certificate_is_for_the_server_behind_the_proxy() {
    if !require("tinyproxy") || !require("nginx") {
        return;
    }
    let authority = Authority::new();
    let (identity, client, ca) = (authority.server(&["localhost"]), authority.client(), authority.ca());
    let server = listen(&["--echo"]);
    let gate = nginx(&identity, &ca, server.port);
    let between = tinyproxy(false);
    let proxy = format!("http://127.0.0.1:{}", between.port);
    let url = format!("wss://localhost:{}/", gate.port);
    let arguments = ["connect", "--cacert", &ca, "--cert", &client.cert, "--key", &client.key, "--proxy", &proxy, &url];
    run(&arguments, "hello\n").exits(0).prints("hello\n");
}

#[test]
fn the_environment_decides_as_with_curl() {
    let server = listen(&["--echo"]);
    let local = format!("ws://localhost:{}/", server.port);
    let proxied: [&[(&str, &str)]; 4] = [
        &[("http_proxy", "PROXY")],
        &[("ALL_PROXY", "PROXY")],
        &[("all_proxy", "PROXY"), ("NO_PROXY", "example.test, 10.0.0.0/8")],
        &[("http_proxy", "PROXY"), ("ALL_PROXY", "http://127.0.0.1:1")],
    ];
    let direct: [&[(&str, &str)]; 5] = [
        &[("HTTP_PROXY", "PROXY")],
        &[("HTTPS_PROXY", "PROXY"), ("https_proxy", "PROXY")],
        &[("http_proxy", "PROXY"), ("NO_PROXY", "localhost")],
        &[("http_proxy", "PROXY"), ("no_proxy", "*")],
        &[("http_proxy", "")],
    ];
    let proxy = answering(proxied.len(), "HTTP/1.1 403 Not Today\r\nContent-Length: 0\r\n\r\n");
    let url = proxy.url.replace("ws://", "http://me:hunter2@");
    let with = |arguments: &[&str], environment: &[(&str, &str)]| {
        let run = wsp(arguments);
        environment.iter().fold(run, |run, (name, value)| run.env(name, value.replace("PROXY", &url)))
    };
    for environment in proxied {
        let output = with(&["connect", &local], environment).input("hello\n").exits(14).complains("403 Not Today");
        assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
    }
    proxy.join();
    for environment in direct {
        with(&["connect", &local], environment).input("hello\n").exits(0).prints("hello\n");
    }
    let everywhere: &[(&str, &str)] = &[("ALL_PROXY", "PROXY"), ("http_proxy", "PROXY")];
    with(&["connect", "--proxy", "", &local], everywhere).input("hello\n").exits(0).prints("hello\n");
}

/// A proxy that lets nobody through, for as long as the tests run; its URL.
fn refusing() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binding a port");
    let url = format!("http://{}", listener.local_addr().expect("its address"));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut socket = crate::support::Socket::new(stream, false);
            socket.read_head();
            socket.try_write("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    url
}

#[test]
fn curl_and_wsp_ask_a_proxy_for_the_same_urls() {
    if !require("curl") {
        return;
    }
    let proxy = refusing();
    let port = closed_port();
    let variables: [(&str, &str); 16] = [
        ("HTTP_PROXY", &proxy),
        ("http_proxy", &proxy),
        ("HTTPS_PROXY", &proxy),
        ("https_proxy", &proxy),
        ("ALL_PROXY", &proxy),
        ("NO_PROXY", "*"),
        ("NO_PROXY", "localhost"),
        ("NO_PROXY", ".LocalHost"),
        ("NO_PROXY", "host"),
        ("NO_PROXY", "other, localhost"),
        ("NO_PROXY", "other localhost"),
        ("NO_PROXY", "localhost:80"),
        ("NO_PROXY", "127.0.0.1"),
        ("NO_PROXY", "127.0.0.0/8"),
        ("NO_PROXY", "::1"),
        ("no_proxy", ""),
    ];
    for (name, value) in variables {
        for host in ["localhost", "127.0.0.1", "[::1]"] {
            for (web, socket) in [("http", "ws"), ("https", "wss")] {
                let with = |run: Run| {
                    let everything = if name.eq_ignore_ascii_case("no_proxy") { &proxy } else { "" };
                    run.env("all_proxy", everything).env(name, value).input("")
                };
                let curl = Run::new("curl").args(["-sk", "-m", "10", "-w", "%{http_code} %{http_connect}"]);
                let curl = with(curl.arg(format!("{web}://{host}:{port}/"))).stdout().contains("403");
                let wsp = with(wsp(["connect", "-k", &format!("{socket}://{host}:{port}/")])).stderr.contains("403");
                assert_eq!(wsp, curl, "{name}={value} {socket}://{host}");
            }
        }
    }
}

#[test]
fn a_variable_that_is_no_proxy_is_2_and_named_where_it_would_be_used() {
    let server = listen(&["--echo"]);
    let environment = ("HTTPS_PROXY", "socks4://me:hunter2@127.0.0.1:1");
    let connect = |url: &str| wsp(["connect", url]).env(environment.0, environment.1).input("hello\n");
    let output = connect("wss://127.0.0.1:1/").exits(2).complains("HTTPS_PROXY");
    assert!(!output.stderr.contains("hunter2") && hint(&output).contains("--proxy ''"), "{}", output.stderr);
    connect(&server.url).exits(0).prints("hello\n");
    run(&["connect", "--proxy", "ftp://h:1", &server.url], "").exits(2).complains("ftp");
}

#[test]
fn a_proxy_is_asked_by_connect_with_basic_credentials() {
    let proxy = FakeServer::once(|request| {
        assert!(request.head.starts_with("CONNECT example.test:80 HTTP/1.1\r\n"), "{}", request.head);
        assert_eq!(request.header("host"), Some("example.test:80"));
        let basic = format!("Basic {}", STANDARD.encode("me:p@:w"));
        assert_eq!(request.header("proxy-authorization"), Some(&*basic));
        assert_eq!(request.header("authorization"), None);
        request.refuse("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\nnope");
    });
    let url = proxy.url.replace("ws://", "http://me:p%40%3Aw@");
    let arguments = ["connect", "-v", "-u", "you:secret", "--proxy", &url, "ws://example.test/"];
    let output = run(&arguments, "").exits(14).complains("502 Bad Gateway").complains("< HTTP/1.1 502 Bad Gateway");
    assert!(!output.stderr.contains("p@:w") && !output.stderr.contains(&STANDARD.encode("me:p@:w")));
    proxy.join();
}

#[test]
fn an_address_given_for_the_server_is_what_the_proxy_is_asked_for() {
    let proxy = FakeServer::once(|request| {
        assert!(request.head.starts_with("CONNECT [::1]:81 HTTP/1.1\r\n"), "{}", request.head);
        request.refuse("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    });
    let url = proxy.url.replace("ws://", "http://");
    let arguments = ["connect", "--proxy", &url, "--resolve", "example.test:81:[::1]", "ws://example.test:81/"];
    run(&arguments, "").exits(14).complains("403 Forbidden");
    proxy.join();
}

#[test]
fn a_proxy_that_breaks_off_or_talks_nonsense_is_14() {
    let table = [
        ("", "without an answer"),
        ("hello there\r\n\r\n", "not valid HTTP"),
        ("HTTP/1.1 200 OK\r\n\r\nearly", "unexpected bytes"),
        ("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", ""),
    ];
    for (answer, says) in table {
        let proxy = answering(1, answer);
        let url = proxy.url.replace("ws://", "http://");
        let output = run(&["connect", "--proxy", &url, "ws://example.test/"], "").exits(14).complains(says);
        assert!(output.stderr.contains(url.trim_end_matches('/')), "{}", output.stderr);
        proxy.join();
    }
    let output = run(&["connect", "--proxy", &format!("http://127.0.0.1:{}", closed_port()), "ws://example.test/"], "");
    assert!(hint(&output.exits(14).complains("cannot reach the proxy")).contains("--proxy ''"));
}

#[test]
fn a_proxy_that_never_answers_costs_the_connect_timeout() {
    for scheme in ["http", "https", "socks5h"] {
        let proxy = FakeServer::listening(|listener| {
            let (stream, _) = listener.accept().expect("a connection");
            crate::support::Socket::new(stream, false).read_rest();
        });
        let url = proxy.url.replace("ws", scheme);
        let arguments = ["connect", "--connect-timeout", "300ms", "--proxy", &url, "ws://example.test/"];
        run(&arguments, "").exits(14).complains(&format!("the proxy {}", url.trim_end_matches('/')));
        proxy.join();
    }
}

#[test]
fn a_proxy_is_tried_again_unless_it_said_no() {
    let server = listen(&["--echo"]);
    let proxy = FakeServer::listening({
        let port = server.port;
        move |listener| {
            next(&listener).refuse("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
            let mut request = next(&listener);
            request.socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
            let upstream = std::net::TcpStream::connect(("127.0.0.1", port)).expect("the server");
            request.socket.splice(upstream);
        }
    });
    let url = proxy.url.replace("ws://", "http://");
    let arguments = ["connect", "--reconnect=3", "--retry-delay", "1ms", "--proxy", &url, &server.url];
    run(&arguments, "hello\n").exits(0).prints("hello\n").complains("503 Busy");
    proxy.join();
    let proxy = answering(1, "HTTP/1.1 407 Who\r\nContent-Length: 0\r\n\r\n");
    let url = proxy.url.replace("ws://", "http://");
    run(&["connect", "--reconnect=3", "--retry-delay", "1ms", "--proxy", &url, &server.url], "").exits(14);
    proxy.join();
}

#[test]
fn a_proxy_and_a_unix_socket_exclude_each_other_but_the_environment_yields() {
    run(&["connect", "--proxy", "h:1", "--unix-socket", "/x", "ws://h/"], "").exits(2);
    let files = scratch();
    let path = text(&files.path().join("socket"));
    let server = crate::support::process::listen_at(&format!("unix:{path}"), &["--echo"]);
    let arguments = ["connect", "--unix-socket", &path, "ws://localhost/"];
    wsp(arguments).env("ALL_PROXY", "http://127.0.0.1:1").input("hello\n").exits(0).prints("hello\n");
    server.stop().exits(0);
}
