//! How a connection finds its way: addresses, families, the local address, redirects, and what `-v` tells of it.
//!
//! Leaves proxies to `proxy`, certificates of clients to `identities`, and what the upgrade asks for to
//! `connect_upgrade`.

use std::net::TcpListener;

use crate::support::certs::Authority;
use crate::support::process::listen_at;
use crate::support::{FakeServer, Frame, listen, run, scratch, text, write};

#[test]
fn a_family_can_be_asked_for() {
    let v4 = listen(&["--echo"]);
    let by_name = format!("ws://localhost:{}/", v4.port);
    run(&["connect", &by_name], "hello\n").exits(0).prints("hello\n");
    run(&["connect", "-4", &by_name], "hello\n").exits(0).prints("hello\n");
    run(&["connect", "-6", &v4.url], "").exits(20).complains("no IPv6 address");
    run(&["connect", "-4", "ws://[::1]:1/"], "").exits(20).complains("no IPv4 address");
    run(&["connect", "-4", "-6", &by_name], "").exits(2);
    let both = [format!("two.test:{}:::1", v4.port), format!("two.test:{}:127.0.0.1", v4.port)];
    let url = format!("ws://two.test:{}/", v4.port);
    let arguments = ["connect", "-4", "--resolve", &both[0], "--resolve", &both[1], &url];
    run(&arguments, "hello\n").exits(0).prints("hello\n");
    // Machines without IPv6 have nothing to show here.
    if TcpListener::bind("[::1]:0").is_ok() {
        let v6 = listen_at("[::1]:0", &["--echo"]);
        run(&["connect", "-6", &v6.url], "hello\n").exits(0).prints("hello\n");
        run(&["connect", "-4", "--resolve", &both[0], &url], "").exits(20).complains("no IPv4 address");
    }
}

#[cfg(target_os = "linux")] // Elsewhere loopback is one address.
#[test]
fn the_local_address_can_be_chosen() {
    let server = FakeServer::listening(|listener| {
        let (stream, from) = listener.accept().expect("a connection");
        assert_eq!(from.ip().to_string(), "127.0.0.2");
        let mut socket = crate::support::Socket::new(stream, false);
        let head = socket.read_head();
        let mut socket = crate::support::fake::Request { head, socket }.accept();
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    // By name: an address of the other family is not even tried.
    let url = server.url.replace("127.0.0.1", "localhost");
    run(&["connect", "--interface", "127.0.0.2", &url, "-w", "-1"], "").exits(0);
    server.join();
    let server = listen(&["--echo"]);
    run(&["connect", "--interface", "192.0.2.1", &server.url], "").exits(14).complains("address");
    run(&["connect", "--interface", "::1", &server.url], "").exits(20).complains("no IPv6 address");
    run(&["connect", "--interface", "lo", &server.url], "").exits(2);
}

#[test]
fn another_host_header_is_shown_and_sent_while_the_name_checked_stays() {
    let authority = Authority::new();
    let identity = authority.server(&["localhost"]);
    let server = listen(&["--echo", "--tls-cert", &identity.cert, "--tls-key", &identity.key]);
    let url = format!("wss://localhost:{}/", server.port);
    let arguments = ["connect", "-v", "--cacert", &authority.ca(), "--host", "example.test", &url];
    run(&arguments, "hello\n").exits(0).prints("hello\n").complains("> Host: example.test");
}

#[test]
fn a_redirect_leads_from_ws_to_wss_and_verbose_shows_each_step() {
    let authority = Authority::new();
    let identity = authority.server(&["localhost"]);
    let target = listen(&["--echo", "--tls-cert", &identity.cert, "--tls-key", &identity.key]);
    let location = format!("https://localhost:{}/there", target.port);
    let server = FakeServer::times(2, move |_, request| {
        let answer = "HTTP/1.1 301 Moved Permanently\r\nContent-Length: 0\r\nSet-Cookie: id=hunter2\r\n";
        request.refuse(&format!("{answer}Location: {location}\r\n\r\n"));
    });
    let arguments = ["connect", "-L", "-v", "--cacert", &authority.ca(), &server.url];
    let output = run(&arguments, "hello\n").exits(0).prints("hello\n");
    for part in ["> GET / HTTP/1.1", "< HTTP/1.1 301", "< Location: https", "> GET /there HTTP/1.1", "< HTTP/1.1 101"] {
        assert!(output.stderr.contains(part), "no {part} in {}", output.stderr);
    }
    assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
    let arguments = ["connect", "-L", "-v", "--max-redirects", "0", &server.url];
    run(&arguments, "").exits(5).complains("redirect: more than 0").complains("< HTTP/1.1 301");
    server.join();
}

#[test]
fn verbose_shows_the_chain_the_version_and_every_step_s_time() {
    let authority = Authority::new();
    let identity = authority.server(&["localhost", "127.0.0.1"]);
    let files = scratch();
    let chain = [identity.cert, authority.ca()].map(|file| std::fs::read_to_string(file).expect("PEM")).concat();
    let chain = text(&write(&files, "chain.pem", chain));
    let server = listen(&["--echo", "--compress", "-s", "chat", "--tls-cert", &chain, "--tls-key", &identity.key]);
    let arguments = ["connect", "-v", "--cacert", &authority.ca(), "-s", "chat", "--cookie", "id=hunter2", &server.url];
    let output = run(&arguments, "hello\n").exits(0).prints("hello\n");
    let facts = ["* subprotocol: chat", "* extensions: permessage-deflate", "> Cookie: [redacted]", "* lookup "];
    for part in facts {
        assert!(output.stderr.contains(part), "no {part} in {}", output.stderr);
    }
    for step in ["lookup", "TCP", "TLS", "upgrade", "total"] {
        let line = output.stderr.lines().find(|line| line.starts_with("* lookup")).expect("the times");
        let time = line.split(step).nth(1).and_then(|rest| rest.trim_start().split(' ').next()).expect("a time");
        assert!(time.parse::<f64>().is_ok(), "{step}: {line}");
    }
    assert!(!output.stderr.contains("hunter2"), "{}", output.stderr);
    if cfg!(not(any(target_os = "macos", target_os = "windows"))) {
        for part in [
            "* TLS: TLSv1.",
            "* certificate: CN=server",
            "* valid for: localhost, 127.0.0.1",
            "* issued by: CN=wsp test CA",
            "* certificate 2: CN=wsp test CA",
            "days left)",
        ] {
            assert!(output.stderr.contains(part), "no {part} in {}", output.stderr);
        }
        let output = run(&["connect", "-v", "-k", &server.url], "hello\n").exits(0);
        assert!(output.stderr.contains("accepted by -k although: "), "{}", output.stderr);
    }
}

#[test]
fn what_the_connect_timeout_ran_out_in_is_named() {
    let silent = FakeServer::listening(|listener| {
        for _ in 0..2 {
            let (stream, _) = listener.accept().expect("a connection");
            crate::support::Socket::new(stream, false).read_rest();
        }
    });
    let arguments = ["connect", "--connect-timeout", "200ms"];
    let plain = [&arguments[..], &[&silent.url]].concat();
    run(&plain, "").exits(14).complains("the answer to the upgrade");
    let secure = silent.url.replace("ws://", "wss://");
    run(&[&arguments[..], &[&secure]].concat(), "").exits(14).complains("the TLS handshake");
    silent.join();
}
