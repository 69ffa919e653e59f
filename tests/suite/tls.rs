//! TLS on both sides: who is trusted, which versions are spoken, what is said when it fails.
//!
//! Owns `--cacert -k --cert --key --tls-min --sni` and `listen --tls --tls-cert --tls-key --client-ca`. Leaves browsers to
//! `chromium`.

use crate::support::certs::Authority;
use crate::support::peers::python_server;
use crate::support::{FakeServer, Server, listen, require, run, scratch, text, wsp};

/// A server with a self-signed certificate, and where its CA was written.
fn self_signed() -> (Server, tempfile::TempDir, String) {
    let files = scratch();
    let ca = text(&files.path().join("ca.pem"));
    let server = listen(&["--echo", "--tls", "--tls-ca-out", &ca]);
    (server, files, ca)
}

#[test]
fn a_self_signed_server_is_trusted_by_its_ca_under_each_of_its_names() {
    let (server, _files, ca) = self_signed();
    assert!(server.url.starts_with("wss://127.0.0.1:"), "{}", server.url);
    for host in ["127.0.0.1", "localhost"] {
        let url = format!("wss://{host}:{}/", server.port);
        run(&["connect", "-4", "--cacert", &ca, &url], "hello\n").exits(0).prints("hello\n");
    }
}

#[test]
fn a_server_that_is_not_trusted_is_8_with_a_hint() {
    let (server, _files, _) = self_signed();
    let output = run(&["connect", &server.url], "hello\n").exits(8).prints("");
    let hint = output.stderr.lines().find(|line| line.starts_with("hint:")).expect("a hint");
    assert!(hint.contains("--cacert") && hint.contains("-k"), "{hint}");
}

#[test]
fn with_v_the_certificates_that_are_refused_are_shown_before_the_error() {
    let authority = Authority::new();
    let identity = authority.server(&["wsp.test"]);
    // A chain of two, as a server with a private CA presents it.
    let files = scratch();
    let both = [&identity.cert, &authority.ca()].map(|file| std::fs::read_to_string(file).expect("PEM")).concat();
    let both = text(&crate::support::write(&files, "chain.pem", both));
    let server = listen(&["--echo", "--tls-cert", &both, "--tls-key", &identity.key]);
    let shown = |arguments: &[&str]| {
        let output = run(&[&["connect", "-v", &server.url], arguments].concat(), "").exits(8).prints("");
        let facts: Vec<String> =
            output.stderr.lines().take_while(|line| !line.starts_with("wsp: ")).map(str::to_owned).collect();
        let rest: Vec<String> = output.stderr.lines().skip(facts.len()).map(str::to_owned).collect();
        assert!(rest.len() == 2 && rest[1].starts_with("hint: "), "{}", output.stderr);
        (facts.join("\n"), rest[0].clone())
    };
    for (arguments, why) in [
        (&[][..], "self-signed certificate in certificate chain"),
        (&["--cacert", &authority.ca()], "IP address mismatch"),
    ] {
        let (facts, error) = shown(arguments);
        assert!(error.contains(why), "{error}");
        let parts = [
            "* certificate: CN=server",
            "* valid for: wsp.test",
            "* issued by: CN=wsp test CA",
            "* valid until: ",
            "* certificate 2: CN=wsp test CA",
            "* issued by: CN=wsp test CA",
            " days left)",
        ];
        assert!(parts.iter().all(|part| facts.contains(part)), "{facts}");
        assert_eq!(facts.matches("* valid until: ").count(), 2, "{facts}");
    }
    // Without -v it is the error and its hint alone.
    assert_eq!(run(&["connect", &server.url], "").exits(8).stderr.lines().count(), 2);
}

#[test]
fn insecure_takes_any_certificate() {
    let (server, _files, _) = self_signed();
    run(&["connect", "-k", &server.url], "hello\n").exits(0).prints("hello\n");
}

#[test]
fn another_ca_is_not_enough() {
    let (server, _files, _) = self_signed();
    run(&["connect", "--cacert", &Authority::new().ca(), &server.url], "").exits(8);
}

#[test]
fn the_fingerprint_is_printed() {
    let files = scratch();
    let ca = text(&files.path().join("ca.pem"));
    let process = crate::support::wsp(["listen", "127.0.0.1:0", "--echo", "--tls", "--tls-ca-out", &ca]).spawn();
    process.wait_for_stderr("listening on wss://");
    let digits = |line: &str| line.chars().filter(char::is_ascii_hexdigit).count();
    let line = process.wait_for_stderr("SHA-256");
    assert!(digits(&line) >= 64, "{line}");
}

#[test]
fn a_certificate_of_ones_own_is_served_and_its_name_checked() {
    let authority = Authority::new();
    let identity = authority.server(&["wsp.test"]);
    let server = listen(&["--echo", "--tls-cert", &identity.cert, "--tls-key", &identity.key]);
    let resolve = format!("wsp.test:{}:127.0.0.1", server.port);
    let url = format!("wss://wsp.test:{}/", server.port);
    let arguments = ["connect", "--cacert", &authority.ca(), "--resolve", &resolve];
    run(&[&arguments[..], &[&url]].concat(), "hello\n").exits(0).prints("hello\n");
    run(&["connect", "--cacert", &authority.ca(), &server.url], "").exits(8);
    let arguments = ["connect", "--cacert", &authority.ca(), "--sni", "wsp.test", &server.url];
    run(&arguments, "hello\n").exits(0).prints("hello\n");
}

#[test]
fn files_that_hold_no_certificate_are_named() {
    let files = scratch();
    let junk = text(&crate::support::write(&files, "junk.pem", "not a certificate"));
    let output = run(&["connect", "--cacert", &junk, "wss://127.0.0.1:1/"], "").complains("junk.pem");
    assert!(matches!(output.code, 2 | 8), "{}", output.code);
    let output = run(&["connect", "--cacert", "/no/such.pem", "wss://127.0.0.1:1/"], "").complains("/no/such.pem");
    assert!(matches!(output.code, 2 | 8), "{}", output.code);
    let output = run(&["listen", "127.0.0.1:0", "--tls-cert", &junk, "--tls-key", &junk], "").complains("junk.pem");
    assert!(matches!(output.code, 2 | 8), "{}", output.code);
}

#[test]
fn tls_against_a_plain_server_is_8_and_plain_against_tls_is_an_error() {
    let plain = FakeServer::listening(|listener| {
        let (mut stream, _) = listener.accept().expect("a connection");
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").expect("answering");
        crate::support::Socket::new(stream, false).read_rest();
    });
    let output = run(&["connect", "-k", &plain.url.replace("ws://", "wss://")], "").exits(8);
    output.complains("the server does not speak TLS\nhint: try ws://127.0.0.1:");
    plain.join();
    let (server, _files, _) = self_signed();
    let output = run(&["connect", &server.url.replace("wss://", "ws://")], "").exits(6);
    output.complains("with TLS use wss://");
}

#[test]
fn the_scheme_that_would_have_been_right_is_named_by_all() {
    let plain = listen(&["--echo"]);
    let (secure, _files, _) = self_signed();
    let other = |url: &str, from: &str, to: &str| url.replace(from, to);
    for (url, right, code) in [
        (other(&plain.url, "ws://", "wss://"), format!("hint: try {}", plain.url), 8),
        (other(&secure.url, "wss://", "ws://"), format!("with TLS use {}", secure.url), 6),
    ] {
        let output = run(&["relay", "-", &url, "-k"], "x\n").complains(&right);
        // It may have failed before it read what then was not delivered.
        let read = output.stderr.contains("received 1 ");
        output.exits(if read { 30 } else { code });
        run(&["bench", &url, "-k", "-n", "1", "-c", "1"], "").exits(14).complains(&right);
    }
    // What no retry can change is not tried again.
    let url = other(&plain.url, "ws://", "wss://");
    run(&["connect", &url, "-k", "--reconnect"], "").exits(8).complains("hint: try ws://");
    // Where one might, it is said while they last, once.
    let url = other(&secure.url, "wss://", "ws://");
    let retries = ["--reconnect=2", "--retry-delay", "10ms"];
    for arguments in [&["connect", &url][..], &["relay", &url, "-"]] {
        let output = wsp(arguments).args(retries).input("").exits(9);
        output.complains(&format!("(retry 1); hint: is this a WebSocket server? with TLS use {}\n", secure.url));
    }
    let nginx = FakeServer::once(|request| {
        let body = "<h1>400 Bad Request</h1>The plain HTTP request was sent to HTTPS port";
        request.refuse(&format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    });
    run(&["connect", &nginx.url], "").exits(5).complains("hint: the server requires TLS: try wss://127.0.0.1:");
    nginx.join();
}

#[test]
fn a_client_that_never_finishes_its_handshake_is_dropped() {
    let server = listen(&["--echo", "--tls", "--handshake-timeout", "300ms"]);
    let mut silent = crate::support::RawClient::dial(server.port);
    assert_eq!(silent.read_rest(), b"");
    run(&["connect", "-k", &server.url], "hello\n").exits(0).prints("hello\n");
}

#[test]
fn large_messages_pass_through_tls_both_ways() {
    let (server, _files, ca) = self_signed();
    let input = "0123456789abcdef".repeat(1 << 17);
    let output = run(&["connect", "--cacert", &ca, &server.url, "--whole", "-n", "1"], &input).exits(0);
    assert!(output.stdout().trim_end() == input, "{} bytes", output.bytes.len());
}

#[test]
fn a_client_certificate_is_shown_when_asked_for() {
    if !require("python-websockets") {
        return;
    }
    let authority = Authority::new();
    let (server, client) = (authority.server(&["127.0.0.1"]), authority.client());
    let ca = authority.ca();
    let options = serde_json::json!({"cert": server.cert, "key": server.key, "client_ca": ca});
    let server = python_server(&options.to_string());
    let url = server.url().replace("ws://", "wss://");
    let arguments = ["connect", "--cacert", &ca, "--cert", &client.cert, "--key", &client.key, &url];
    run(&arguments, "hello\n").exits(0).prints("hello\n");
    let output = run(&["connect", "--cacert", &ca, &url], "hello\n");
    // With TLS 1.3 the refusal comes after the handshake, and may be no more than the end of the connection.
    assert!(matches!(output.code, 6 | 8 | 9), "{}: {}", output.code, output.stderr);
    assert_eq!(output.stdout(), "");
}

#[test]
fn the_lowest_version_is_kept_and_the_name_is_sent() {
    if !require("python-websockets") {
        return;
    }
    let authority = Authority::new();
    let identity = authority.server(&["wsp.test"]);
    let options = serde_json::json!({"cert": identity.cert, "key": identity.key, "tls_max": "1.2"});
    let server = python_server(&options.to_string());
    let url = server.url().replace("ws://", "wss://");
    let ca = authority.ca();
    let arguments = ["connect", "--cacert", &ca, "--sni", "wsp.test", &url];
    run(&[&arguments[..], &["--tls-min", "1.3"]].concat(), "hello\n").exits(8);
    run(&[&arguments[..], &["--tls-min", "1.2"]].concat(), "hello\n").exits(0).prints("hello\n");
    assert!(server.process.wait_for_stdout("\"open\"").contains("\"sni\": \"wsp.test\""));
}

#[test]
fn the_server_speaks_the_newest_version_and_keeps_its_lowest() {
    if !require("curl") {
        return;
    }
    // curl asks for one version and says which it got; the answer to its plain request is 426.
    let ask = |server: &crate::support::Server, version: &str| {
        let url = server.url.replace("wss://", "https://");
        let arguments = ["-skv", "--tls-max", version, "-o", "/dev/null", url.as_str()];
        crate::support::process::Run::new("curl").args(arguments).input("")
    };
    let server = listen(&["--echo", "--tls"]);
    run(&["connect", "-k", &server.url, "--tls-min", "1.3"], "hello\n").exits(0).prints("hello\n");
    assert!(ask(&server, "1.2").stderr.contains("SSL connection using TLSv1.2"));
    let strict = listen(&["--echo", "--tls", "--tls-min", "1.3"]);
    run(&["connect", "-k", &strict.url], "hello\n").exits(0).prints("hello\n");
    assert!(ask(&strict, "1.3").stderr.contains("SSL connection using TLSv1.3"));
    assert_ne!(ask(&strict, "1.2").code, 0);
}

#[test]
fn a_broken_frame_inside_tls_is_still_answered_by_a_close() {
    // The Close arrives although it is the last thing before the connection ends.
    let server = listen(&["--echo", "--tls", "--max-message-size", "100"]);
    let output = run(&["connect", "-k", &server.url, "-w", "-1"], "x".repeat(200)).exits(9);
    assert!(output.stderr.contains("1009"), "{}", output.stderr);
}

#[test]
fn a_server_that_asks_for_client_certificates_lets_nobody_in_without() {
    let authority = Authority::new();
    let (identity, client) = (authority.server(&["127.0.0.1"]), authority.client());
    let others = Authority::new();
    let stranger = others.client();
    let (ca, directory) = (authority.ca(), scratch());
    let record = text(&directory.path().join("all.jsonl"));
    for version in ["1.2", "1.3"] {
        let trust = ["--tls-cert", &identity.cert, "--tls-key", &identity.key, "--client-ca", &ca];
        let server = listen(&[&trust[..], &["--echo", "-v", "--json", "--record", &record]].concat());
        let connect = ["connect", "--cacert", &ca, &server.url];
        let known = run(&[&connect[..], &["--cert", &client.cert, "--key", &client.key]].concat(), "hello\n");
        known.exits(0).prints("hello\n");
        // TLS tells them so, and does not just hang up.
        run(&connect, "hello\n").exits(8).prints("").complains("--cert");
        let strange = run(&[&connect[..], &["--cert", &stranger.cert, "--key", &stranger.key]].concat(), "hello\n");
        strange.exits(8).prints("").complains("alert");
        let mut refused = 2;
        if require("curl") {
            let url = server.url.replace("wss://", "https://");
            let curl = || {
                let arguments = ["-sv", "--tls-max", version, "--cacert", ca.as_str(), "-o", "/dev/null", &url];
                crate::support::process::Run::new("curl").args(arguments)
            };
            let known = curl().args(["--cert", &client.cert, "--key", &client.key]).input("");
            known.exits(0).complains("426").complains(&format!("TLSv{version}"));
            let output = curl().input("");
            assert!(output.code != 0 && output.stderr.contains("alert"), "{}: {}", output.code, output.stderr);
            refused += 2;
        }
        let output = server.stop().exits(0).complains(&format!("connections 1, refused {refused}"));
        let output = output.complains("connected, /, CN=client").complains("did not return a certificate");
        let recorded = std::fs::read_to_string(&record).expect("the recording");
        for lines in [output.stdout(), &recorded] {
            let events = crate::support::events(lines);
            let open = events.iter().find(|event| event["type"] == "open").expect("a session");
            assert_eq!(open["subject"], "CN=client");
            let told =
                |event: &&serde_json::Value| event["error"].to_string().contains(": TLS: client certificate rejected");
            assert!(events.iter().any(|event| told(&event)), "{lines}");
        }
    }
}

#[test]
fn client_certificates_are_asked_for_by_tls_with_a_file_that_holds_some() {
    let files = scratch();
    let junk = text(&crate::support::write(&files, "junk.pem", "not a certificate"));
    run(&["listen", "127.0.0.1:0", "--client-ca", &junk], "").exits(2).complains("--tls");
    for file in [&junk, "/no/such.pem"] {
        run(&["listen", "127.0.0.1:0", "--tls", "--client-ca", file], "").exits(8).complains(file);
    }
}
