//! `ws-listen://` and `wss-listen://` as ends of `wsp relay`: who gets what, who waits for whom, who is let in.

use nix::sys::signal::Signal;

use crate::support::balance::Balance;
use crate::support::certs::Authority;
use crate::support::ends::{lines, number};
use crate::support::files::wait_for_content;
use crate::support::http::{Answer, admin_port, wait_for};
use crate::support::peers::python;
use crate::support::{Frame, Opcode, RawClient, Server, Socket, closed_port, require, run, scratch, text, wsp};

/// A relay with one server end, once that is ready; it says who comes and goes.
#[track_caller]
fn relay(from: &str, to: &str, more: &[&str]) -> Server {
    Server::ready(wsp(["relay", "-v", from, to]).args(more))
}

/// A client, once the server knows it by this number.
#[track_caller]
fn join(server: &Server, number: u32) -> Socket {
    let socket = RawClient::connect(server.port);
    server.process.wait_for_stderr(&format!(".{number} 127"));
    socket
}

fn read_numbers(socket: &mut Socket, count: u32) -> Vec<u32> {
    (0..count).map(|_| number(&socket.read_text())).collect()
}

#[test]
fn every_client_gets_every_message_in_order() {
    let mut server = relay("-", "ws-listen://127.0.0.1:0/feed", &[]);
    assert!(server.url.ends_with("/feed"), "{}", server.url);
    let mut clients: Vec<Socket> = (1..=3)
        .map(|number| {
            let client = RawClient::open(server.port, "/feed", "").0;
            server.process.wait_for_stderr(&format!(".{number} 127"));
            client
        })
        .collect();
    server.process.send(lines(1, 2000, 0));
    for client in &mut clients {
        assert_eq!(read_numbers(client, 2000), (1..=2000).collect::<Vec<_>>());
    }
    server.process.end_input();
    for client in clients {
        assert_eq!(client.answer_close(), 1001);
    }
    assert_eq!(Balance::of(&server.process.outcome().exits(0)), Balance::all_delivered(2000));
}

#[test]
fn messages_wait_while_nobody_is_connected() {
    let mut server = relay("-", "ws-listen://127.0.0.1:0", &[]);
    server.process.send(lines(1, 100, 0));
    server.process.end_input();
    let mut client = join(&server, 1);
    assert_eq!(read_numbers(&mut client, 100), (1..=100).collect::<Vec<_>>());
    assert_eq!(client.answer_close(), 1001);
    assert_eq!(Balance::of(&server.process.outcome().exits(0)), Balance::all_delivered(100));
}

#[test]
fn what_nobody_fetched_within_the_grace_time_is_said_to_wait() {
    let mut server = relay("-", "ws-listen://127.0.0.1:0", &["-", "--grace", "100ms"]);
    server.process.send(lines(1, 100, 0));
    server.process.wait_for_stdout("100");
    server.process.signal(Signal::SIGTERM);
    let balance = Balance::of(&server.process.outcome().exits(30));
    assert_eq!((balance.received, balance.waiting), (100, 100));
}

#[test]
fn a_server_end_with_nobody_there_does_not_hold_up_a_file() {
    let directory = scratch();
    let (file, relays) = (directory.path().join("file"), directory.path().join("relay.toml"));
    let to_file = format!("file:{}", text(&file));
    std::fs::write(
        &relays,
        format!("[[pipeline]]\nfrom = '-'\nto = ['ws-listen://127.0.0.1:0', '{to_file}']\nqueue-size = 5\n"),
    )
    .expect("a file");
    for by_file in [false, true] {
        let _ = std::fs::remove_file(&file);
        let mut server = if by_file {
            Server::ready(wsp(["relay", "-v", "-f", &text(&relays)]))
        } else {
            relay("-", "ws-listen://127.0.0.1:0", &[&to_file, "--queue-size", "5"])
        };
        server.process.wait_for_stderr("the oldest messages are dropped");
        server.process.send(lines(1, 30, 0));
        wait_for_content(&file, &lines(1, 30, 0));
        let mut client = join(&server, 1);
        assert_eq!(read_numbers(&mut client, 5), (26..=30).collect::<Vec<_>>());
        server.process.end_input();
        assert_eq!(client.answer_close(), 1001);
        let output = server.process.outcome().exits(0);
        assert!(output.stderr.contains("dropped 25 (queue-full 25)"), "{}", output.stderr);
        let balance = Balance::of(&output);
        assert_eq!((balance.received, balance.delivered, balance.waiting), (30, 5, 0));
    }
}

#[test]
fn a_server_end_with_nobody_there_holds_up_a_file_where_that_is_asked_for() {
    let directory = scratch();
    let to_file = format!("file:{}", text(&directory.path().join("file")));
    for more in [&["--client-on-full", "block"], &["--protocol", "envelope"]] {
        let arguments = [&[&*to_file, "--queue-size", "5"], &more[..]].concat();
        let mut server = relay("-", "ws-listen://127.0.0.1:0", &arguments);
        server.process.send(lines(1, 30, 0));
        server.process.end_input();
        let mut client = join(&server, 1);
        if more[0] == "--protocol" {
            for expected in 1..=30 {
                let data: serde_json::Value = serde_json::from_str(&client.read_text()).expect("JSON");
                assert_eq!(data["payload"], expected, "{data}");
                client.say(Frame::text(&format!("{{\"type\":\"ack\",\"id\":{},\"timestamp\":1}}", data["id"])));
            }
        } else {
            assert_eq!(read_numbers(&mut client, 30), (1..=30).collect::<Vec<_>>());
        }
        assert_eq!(client.answer_close(), 1001);
        let output = server.process.outcome().exits(0);
        assert!(!output.stderr.contains("oldest messages"), "{}", output.stderr);
        assert_eq!(Balance::of(&output), Balance::all_delivered(30));
    }
}

#[test]
fn a_client_that_does_not_read_does_not_stop_the_others() {
    let mut server = relay("-", "ws-listen://127.0.0.1:0", &["--client-patience", "100ms", "--queue-size", "100"]);
    let mut reader = join(&server, 1);
    let mute = RawClient::narrow(server.port);
    server.process.wait_for_stderr("s2.2 ");
    let mut input = server.process.take_input();
    let feeding = std::thread::spawn(move || {
        use std::io::Write as _;
        input.write_all(lines(1, 60_000, 200).as_bytes()).expect("all is taken");
    });
    assert_eq!(read_numbers(&mut reader, 60_000), (1..=60_000).collect::<Vec<_>>());
    feeding.join().expect("all was fed");
    mute.hang_up();
    assert_eq!(reader.answer_close(), 1001);
    assert_eq!(Balance::of(&server.process.outcome().exits(0)), Balance::all_delivered(60_000));
}

#[test]
fn what_a_client_left_behind_goes_to_the_next_in_order() {
    let mut server = relay("-", "ws-listen://127.0.0.1:0", &[]);
    let mute = RawClient::narrow(server.port);
    server.process.wait_for_stderr("s2.1 ");
    server.process.send(lines(1, 5000, 4000));
    server.process.end_input();
    mute.hang_up();
    server.process.wait_for_stderr("s2.1 127.0.0.1");
    server.process.wait_for_stderr("lost");
    let mut client = join(&server, 2);
    let first = number(&client.read_text());
    assert!(first < 5000, "{first}");
    assert_eq!(read_numbers(&mut client, 5000 - first), (first + 1..=5000).collect::<Vec<_>>());
    assert_eq!(client.answer_close(), 1001);
    assert_eq!(Balance::of(&server.process.outcome().exits(0)), Balance::all_delivered(5000));
}

#[test]
fn a_full_client_is_treated_as_was_asked() {
    let mut server = relay(
        "-",
        "ws-listen://127.0.0.1:0",
        &["--client-on-full", "disconnect", "--client-queue-size", "10", "--grace", "100ms"],
    );
    let mut mute = RawClient::narrow(server.port);
    server.process.wait_for_stderr("s2.1 ");
    let mut input = server.process.take_input();
    let feeding = std::thread::spawn(move || {
        use std::io::Write as _;
        let _ = input.write_all(lines(1, 20_000, 4000).as_bytes());
    });
    server.process.wait_for_stderr("s2.1 127.0.0.1");
    while let Some(frame) = mute.read_frame() {
        if frame.is(Opcode::Close) {
            assert_eq!(frame.close_code(), 1008);
            break;
        }
    }
    mute.hang_up();
    server.process.signal(Signal::SIGTERM);
    feeding.join().expect("the feeder");
    let balance = Balance::of(&server.process.outcome().exits(30));
    assert!(balance.delivered > 0 && balance.waiting > 0, "{balance:?}");
}

#[test]
fn what_clients_send_goes_in_and_comes_out_for_everyone_with_both() {
    let mut server = relay("ws-listen://127.0.0.1:0", "-", &["--both"]);
    let (mut one, mut two) = (join(&server, 1), join(&server, 2));
    for number in 1..=500 {
        one.say(Frame::text(&format!("one {number}")));
        two.say(Frame::text(&format!("two {number}")));
    }
    server.process.wait_for_stdout("one 500");
    server.process.wait_for_stdout("two 500");
    for name in ["one", "two"] {
        let said: Vec<_> = server.process.lines_so_far().into_iter().filter(|line| line.starts_with(name)).collect();
        assert_eq!(said, (1..=500).map(|number| format!("{name} {number}")).collect::<Vec<_>>());
    }
    server.process.send("to all\n");
    assert_eq!((one.read_text(), two.read_text()), ("to all".to_owned(), "to all".to_owned()));
    server.process.signal(Signal::SIGTERM);
    assert_eq!((one.answer_close(), two.answer_close()), (1001, 1001));
    let output = server.process.outcome().exits(0);
    assert!(output.stderr.contains("received 1000 = delivered 1000"), "{}", output.stderr);
    assert_eq!(Balance::of(&output), Balance::all_delivered(1));
}

#[test]
fn a_server_is_guarded_as_listen_is() {
    let server = Server::ready(
        wsp(["relay", "ws-listen://127.0.0.1:0/in", "null:", "--auth-bearer-env", "TOKEN", "--max-connections", "1"])
            .args(["--allow-origin", "https://good.example"])
            .env("TOKEN", "let me in"),
    );
    let ask = |path: &str, more: &str| RawClient::ask(server.port, &RawClient::request(path, more));
    assert!(ask("/other", "").starts_with("HTTP/1.1 404 "));
    assert!(ask("/in", "").starts_with("HTTP/1.1 401 "));
    assert!(ask("/in", "Origin: https://evil.example\r\n").starts_with("HTTP/1.1 403 "));
    let (socket, _) = RawClient::open(server.port, "/in", "Authorization: Bearer let me in\r\n");
    assert!(ask("/in", "Authorization: Bearer let me in\r\n").starts_with("HTTP/1.1 503 "));
    drop(socket);
    server.stop().exits(0);
}

#[test]
fn real_clients_come_by_tls_and_compressed() {
    if !require("python-websockets") {
        return;
    }
    let authority = Authority::new();
    let identity = authority.server(&["127.0.0.1", "localhost"]);
    let (cert, key) = (identity.cert.clone(), identity.key.clone());
    let back = closed_port();
    let echo = crate::support::process::listen_at(&format!("127.0.0.1:{back}"), &["--echo"]);
    let server = relay("wss-listen://127.0.0.1:0", &echo.url, &["--both", "--tls-cert", &cert, "--tls-key", &key]);
    let url = format!("wss://localhost:{}/", server.port);
    let options = format!("{{\"ca\":\"{}\"}}", authority.ca());
    let output = python("ws_client.py").args([&url, &options, "hello", "repeat:100000:x"]).input("").exits(0);
    assert!(output.stdout().contains("\"replies\": 4"), "{}", output.stdout());
    server.stop().exits(0);
    echo.stop();
}

#[test]
fn mistakes_are_told_before_anything_starts() {
    let directory = scratch();
    let file = format!("file:{}", text(&directory.path().join("out")));
    for (arguments, part) in [
        (&["wss-listen://127.0.0.1:0", file.as_str()][..], "no certificate given"),
        (&["-", file.as_str(), "--protocol", "feed"], "no end is a WebSocket"),
        (&["ws://127.0.0.1:1/", "-", "--protocol", "gateway"], "only a server can speak gateway"),
        (&["ws-listen://127.0.0.1:0", "-", "--to-protocol", "feed"], "no TO is a WebSocket"),
        (&["ws-listen://127.0.0.1:0", "-", "--feed-field", "a=.a"], "--feed-field requires"),
        (&["ws-listen://127.0.0.1:9", "ws-listen://127.0.0.1:9"], "listened on twice"),
        (
            &["ws-listen://127.0.0.1:0", "ws://127.0.0.1:1/", "--both", "--spool", "x"],
            "--spool: a proxy (ws-listen to ws, --both) stores nothing",
        ),
    ] {
        let output = wsp(["relay"]).args(arguments).input("").exits(2);
        assert!(output.stderr.contains(part), "{arguments:?}: {}", output.stderr);
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let output = run(&["relay", &format!("ws-listen://127.0.0.1:{port}"), "null:"], "").exits(4);
    assert!(output.stderr.contains("in use"), "{}", output.stderr);
}

#[test]
fn what_clients_sent_survives_a_kill_with_a_spool() {
    let authority = Authority::new();
    let identity = authority.server(&["127.0.0.1", "localhost"]);
    let (cert, key) = (identity.cert.clone(), identity.key.clone());
    let ca = authority.ca();
    for secure in [false, true] {
        let directory = scratch();
        let spool = text(&directory.path().join("spool"));
        let (scheme, tls) =
            if secure { ("wss", &["--tls-cert", cert.as_str(), "--tls-key", &key][..]) } else { ("ws", &[][..]) };
        let (from, nowhere) = (format!("{scheme}-listen://127.0.0.1:0"), format!("ws://127.0.0.1:{}/", closed_port()));
        let more = [&["--spool", &spool, "--reconnect", "--retry-delay", "10ms"], tls].concat();
        let server = relay(&from, &nowhere, &more);
        let url = format!("{scheme}://localhost:{}/", server.port);
        let words: &[&str] = if secure { &["--cacert", ca.as_str()] } else { &[] };
        wsp(["connect", &url, "-w", "0"]).args(words).input(lines(1, 500, 100)).exits(0);
        let stored = || {
            let status = run(&["relay", "--spool", &spool, "--status", "--json"], "");
            let status: serde_json::Value = serde_json::from_str(status.stdout()).unwrap_or_default();
            (status["destinations"][0]["messages"] == 500).then_some(())
        };
        crate::support::files::wait_until("all is stored", stored);
        server.process.signal(Signal::SIGKILL);
        server.process.outcome();
        // The next one has the same destination, which is there now.
        let port = nowhere.trim_end_matches('/').rsplit(':').next().expect("a port").to_owned();
        let sink = crate::support::process::listen_at(&format!("127.0.0.1:{port}"), &["--format", "raw"]);
        let server = relay(&from, &nowhere, &more);
        sink.process.wait_for_stdout(lines(500, 500, 100).trim_end());
        let again = format!("{scheme}://localhost:{}/", server.port);
        wsp(["connect", &again, "-w", "0"]).args(words).input(lines(501, 600, 100)).exits(0);
        sink.process.wait_for_stdout(lines(600, 600, 100).trim_end());
        assert_eq!(Balance::of(&server.stop().exits(0)), Balance::all_delivered(600));
        assert_eq!(sink.stop().stdout(), lines(1, 600, 100));
    }
}

#[test]
fn what_waits_for_clients_survives_a_kill_with_a_spool() {
    let directory = scratch();
    let spool = text(&directory.path().join("spool"));
    let to = format!("ws-listen://127.0.0.1:{}", closed_port());
    let mut server = relay("-", &to, &["--spool", &spool]);
    server.process.send(lines(1, 300, 0));
    let stored = || {
        let status = run(&["relay", "--spool", &spool, "--status", "--json"], "");
        let status: serde_json::Value = serde_json::from_str(status.stdout()).unwrap_or_default();
        (status["destinations"][0]["messages"] == 300).then_some(())
    };
    crate::support::files::wait_until("all is stored", stored);
    server.process.signal(Signal::SIGKILL);
    server.process.outcome();
    let mut server = relay("-", &to, &["--spool", &spool]);
    server.process.wait_for_stderr("spool: 300 messages recovered");
    server.process.send(lines(301, 310, 0));
    server.process.end_input();
    let mut client = join(&server, 1);
    assert_eq!(read_numbers(&mut client, 310), (1..=310).collect::<Vec<_>>());
    assert_eq!(client.answer_close(), 1001);
    assert_eq!(Balance::of(&server.process.outcome().exits(0)), Balance::all_delivered(310));
}

#[test]
fn both_ends_may_be_unix_sockets() {
    let directory = scratch();
    let socket = |name: &str| text(&directory.path().join(name));
    let (near, far) = (socket("near"), socket("far"));
    let (from, to) = (format!("ws-listen://unix:{near}"), format!("ws-listen://unix:{far}"));
    // What a crash left behind is replaced.
    drop(std::os::unix::net::UnixListener::bind(&near).expect("a socket"));
    let server = relay(&from, &to, &["--both"]);
    server.process.wait_for_stderr(&format!("listening on unix:{near}"));
    server.process.wait_for_stderr(&format!("listening on unix:{far}"));
    let client = |path: &str| wsp(["connect", "ws://anything/", "--unix-socket", path, "-w", "-1"]).spawn();
    let (mut one, mut two) = (client(&near), client(&far));
    // A unix socket has no address to tell.
    server.process.wait_for_stderr("s1.1 ");
    server.process.wait_for_stderr("s2.1 ");
    one.send("there\n");
    two.wait_for_stdout("there");
    two.send("back\n");
    one.wait_for_stdout("back");
    // A relay between relays: a client end and a server end, each on a socket.
    let last = socket("last");
    let middle =
        relay(&format!("ws-listen://unix:{last}"), "ws://anything/", &["--unix-socket", &near, "--to-protocol", "raw"]);
    middle.process.wait_for_stderr(&format!("listening on unix:{last}"));
    wsp(["connect", "ws://anything/", "--unix-socket", &last, "-w", "0"]).input("through three\n").exits(0);
    two.wait_for_stdout("through three");
    // And a proxy, whose clients see the other side go.
    let proxied = socket("proxied");
    let proxy = relay(&format!("ws-listen://unix:{proxied}"), "ws://anything/", &["--unix-socket", &near, "--both"]);
    wsp(["connect", "ws://anything/", "--unix-socket", &proxied, "-w", "0"]).input("by proxy\n").exits(0);
    two.wait_for_stdout("by proxy");
    proxy.stop().exits(0);
    middle.stop().exits(0);
    let output = server.stop().exits(0);
    assert!(
        output.stderr.contains("received 3 = delivered 3 ") && output.stderr.contains("received 1 = delivered 1 "),
        "{}",
        output.stderr
    );
    for process in [one, two] {
        process.outcome().exits(0);
    }
    assert!(!std::path::Path::new(&near).exists() && !std::path::Path::new(&far).exists(), "nothing is left behind");
    // Two servers cannot share one.
    run(&["relay", &from, &from], "").exits(2).complains("listened on twice");
}

#[test]
fn what_waits_for_a_client_is_seen() {
    let mut server = relay("-", "ws-listen://127.0.0.1:0", &["--admin", "0", "--client-queue-size", "100"]);
    let admin = admin_port(&server);
    let mute = RawClient::narrow(server.port);
    let line = server.process.wait_for_stderr("connected");
    assert!(line.starts_with("s2.1 127.0.0.1:"), "named as in events: {line}");
    let mut input = server.process.take_input();
    let feeding = std::thread::spawn(move || {
        use std::io::Write as _;
        input.write_all(lines(1, 3000, 4000).as_bytes()).expect("all is taken");
    });
    let client = |sessions: &serde_json::Value| {
        let all = sessions.as_array().expect("sessions").iter();
        all.clone().find(|one| one["id"] == "s2.1").cloned().expect("the client")
    };
    let is_full = |answer: &Answer| client(&answer.json())["queue"]["depth"] == 100;
    let sessions = wait_for(admin, "/sessions", is_full).json();
    let queue = &client(&sessions)["queue"];
    assert_eq!((&queue["capacity"], queue["bytes"].as_u64().map(|bytes| bytes > 390_000)), (&100.into(), Some(true)));
    mute.hang_up();
    let mut client = join(&server, 2);
    while number(&client.read_text()) < 3000 {}
    feeding.join().expect("all was fed");
    assert_eq!(client.answer_close(), 1001);
    server.process.outcome().exits(0);
}

#[test]
fn two_ends_that_give_and_take_end_in_order_and_soon() {
    let listen = || crate::support::listen(&["--format", "raw", "-v"]);
    let (mut one, mut two) = (listen(), listen());
    let has_come = |server: &Server, times: usize| {
        let is_there = || (server.process.count_said("connected, ") == times).then_some(());
        crate::support::files::wait_until("it has come", is_there);
    };
    let joined = wsp(["relay", &one.url, &two.url, "--both"]).spawn();
    has_come(&one, 1);
    has_come(&two, 1);
    one.process.send("there\n");
    two.process.wait_for_stdout("there");
    two.process.send("back\n");
    one.process.wait_for_stdout("back");
    joined.signal(Signal::SIGTERM);
    let output = joined.outcome().exits(0);
    assert_eq!(output.stderr.matches("received 1 = delivered 1 ").count(), 2, "{}", output.stderr);
    // One that closes in order ends the whole, whichever it is.
    let closing = crate::support::listen(&["--close-after", "1", "-v"]);
    for (round, from, to) in [(1, &two.url, &closing.url), (2, &closing.url, &two.url)] {
        let joined = wsp(["relay", from, to, "--both"]).spawn();
        has_come(&two, 1 + round);
        has_come(&closing, round);
        two.process.send("to be carried\n");
        let output = joined.outcome().exits(0);
        assert!(output.stderr.contains("received 1 = delivered 1 "), "{}", output.stderr);
    }
    one.stop();
    two.stop();
    closing.stop();
}

#[test]
fn what_a_program_or_standard_input_is_joined_with_ends_in_order_too() {
    let server = crate::support::listen(&["--echo", "-v"]);
    let mut joined = wsp(["relay", "-", &server.url, "--both"]).spawn();
    joined.send(lines(1, 100, 0));
    joined.wait_for_stdout("100");
    joined.signal(Signal::SIGTERM);
    let output = joined.outcome().exits(0);
    assert_eq!(output.stdout(), lines(1, 100, 0));
    assert_eq!(output.stderr.matches("received 100 = delivered 100 ").count(), 2, "{}", output.stderr);
    for (times, from, to) in [(2, "exec:cat", server.url.as_str()), (3, server.url.as_str(), "exec:cat")] {
        let joined = wsp(["relay", from, to, "--both"]).spawn();
        let has_come = || (server.process.count_said("connected, ") == times).then_some(());
        crate::support::files::wait_until("it has come", has_come);
        joined.signal(Signal::SIGTERM);
        joined.outcome().exits(0);
    }
    // Where the server ends it, input that still may come is not waited for.
    let closing = crate::support::listen(&["--close-after", "1"]);
    let mut joined = wsp(["relay", "-", &closing.url, "--both"]).spawn();
    joined.send("1\n");
    assert_eq!(Balance::of(&joined.outcome().exits(0)).waiting, 0);
    server.stop();
    closing.stop();
}
