//! The life of a connection of `wsp connect`: init messages, reconnecting, heartbeats, pings, time limits, signals.
//!
//! Leaves the upgrade to `connect_upgrade` and the table of exit codes to `exit_codes`.

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::fake::next;
use crate::support::process::listen_at;
use crate::support::{FakeServer, Frame, Opcode, listen, run, wsp};

#[test]
fn init_messages_come_first_and_in_order() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        for expected in ["auth", "subscribe", "from stdin"] {
            assert_eq!(socket.read_text(), expected);
        }
        socket.answer_close();
    });
    let arguments = ["connect", &server.url, "-i", "auth", "-i", "subscribe", "-w", "0"];
    wsp(arguments).input("from stdin\n").exits(0);
    server.join();
}

#[test]
fn the_next_init_message_waits_for_the_answer_to_the_one_before() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        assert_eq!(socket.read_text(), "auth");
        socket.say(Frame::text(r#"{"ok":false}"#));
        // What the client sent before it saw this ping comes before the pong: nothing may.
        socket.say(Frame::new(Opcode::Ping, *b"mark"));
        let first = socket.read_frame().expect("a pong");
        assert!(first.is(Opcode::Pong), "nothing is sent before the answer: {first:?}");
        socket.say(Frame::text(r#"{"ok":true}"#));
        assert_eq!(socket.read_text(), "subscribe");
        socket.say(Frame::text(r#"{"ok":true}"#));
        assert_eq!(socket.read_text(), "input");
        socket.answer_close();
    });
    let arguments = ["connect", &server.url, "-i", "auth", "-i", "subscribe", "--init-wait", ".ok", "-w", "0"];
    let output = wsp(arguments).input("input\n").exits(0);
    assert!(output.stdout().starts_with("{\"ok\":false}\n{\"ok\":true}\n"), "{:?}", output.stdout());
    server.join();
}

#[test]
fn init_messages_are_sent_again_in_order_after_a_reconnect() {
    let server = FakeServer::times(3, |number, request| {
        let mut socket = request.accept();
        assert_eq!(socket.read_text(), "auth");
        socket.say(Frame::text(&format!(r#"{{"ok":{number}}}"#)));
        assert_eq!(socket.read_text(), "subscribe");
        socket.say(Frame::text(r#"{"ok":true}"#));
        if number == 2 {
            socket.say(Frame::close(1000, "enough"));
            socket.answer_close();
        }
    });
    let arguments = ["connect", &server.url, "-i", "auth", "-i", "subscribe", "--init-wait", ".ok"];
    let client = wsp(arguments).args(["--reconnect", "--retry-delay", "10ms", "-w", "-1"]).spawn();
    let output = client.outcome().exits(0);
    let expected: String = (0..3).map(|number| format!("{{\"ok\":{number}}}\n{{\"ok\":true}}\n")).collect();
    assert_eq!(output.stdout(), expected);
    server.join();
}

#[test]
fn a_server_that_comes_back_on_its_port_is_found_again() {
    let server = listen(&[]);
    let arguments = ["connect", &server.url, "--reconnect", "--retry-delay", "20ms", "--retry-max", "100ms"];
    let mut client = wsp(arguments).args(["-i", "hello", "-w", "-1"]).spawn();
    server.process.wait_for_stdout("hello");
    let port = server.port;
    server.process.signal(Signal::SIGKILL);
    assert_eq!(server.process.outcome().code, 128 + 9);
    let mut server = listen_at(&format!("127.0.0.1:{port}"), &[]);
    server.process.wait_for_stdout("hello");
    server.process.send("welcome back\n");
    client.wait_for_stdout("welcome back");
    client.send("still here\n");
    server.process.wait_for_stdout("still here");
    client.signal(Signal::SIGINT);
    client.outcome().exits(130);
}

#[test]
fn the_first_connect_is_tried_again_too_and_then_given_up() {
    let url = format!("ws://127.0.0.1:{}/", crate::support::closed_port());
    wsp(["connect", &url, "--reconnect=2", "--retry-delay", "10ms"]).spawn().outcome().exits(9);
}

#[test]
fn failures_are_counted_in_a_row_only() {
    // Four losses, never two in a row without a session that was long enough: one retry is enough for each of them.
    let server = FakeServer::times(5, |number, request| {
        let mut socket = request.accept();
        socket.say(Frame::text(&number.to_string()));
        if number == 4 {
            socket.say(Frame::close(1000, ""));
            socket.answer_close();
        }
    });
    let arguments = ["connect", &server.url, "--reconnect=1", "--retry-delay", "10ms", "-w", "-1"];
    wsp(arguments).args(["--stable-after", "0"]).spawn().outcome().exits(0).prints("0\n1\n2\n3\n4\n");
    server.join();
}

#[test]
fn a_count_is_of_messages_that_pass_the_filter() {
    let messages = "1\nx\n2\n3\n4\n5\n6\n";
    let server = listen(&["--echo"]);
    let select = ["connect", &server.url, "-j", "select(. % 2 == 0)", "-w", "-1"];
    let output = wsp(select).args(["-n", "2"]).input(messages).exits(0);
    output.prints("2\n4\n");
    let output = wsp(select).args(["-n", "3", "--non-json", "pass"]).input(messages).exits(0);
    output.prints("x\n2\n4\n");
    // A message is one, whatever becomes of it.
    let arguments = ["connect", &server.url, "-j", ".,.", "-n", "2"];
    wsp(arguments).input("1\n2\n3\n").exits(0).prints("1\n1\n2\n2\n");
}

#[test]
fn a_fixed_delay_is_told() {
    let url = format!("ws://127.0.0.1:{}/", crate::support::closed_port());
    let arguments = ["connect", &url, "--json", "--reconnect=3", "--retry-delay", "20ms", "--retry-factor", "1"];
    let output = wsp(arguments).spawn().outcome().exits(9);
    let events = crate::support::events(output.stdout());
    let delays: Vec<_> =
        events.iter().filter(|event| event["type"] == "retry").map(|event| &event["delay_ms"]).collect();
    assert_eq!(delays, [&json!(20); 3]);
}

#[test]
fn input_is_not_lost_while_reconnecting() {
    let server = FakeServer::listening(|listener| {
        drop(next(&listener).accept());
        let mut socket = next(&listener).accept();
        assert_eq!(socket.read_text(), "held");
        assert_eq!(socket.answer_close(), 1000);
    });
    let arguments = ["connect", &server.url, "--reconnect", "--retry-delay", "50ms", "-v"];
    let mut client = wsp(arguments).args(["--retry-factor", "1", "-w", "0", "--json"]).spawn();
    client.wait_for_stdout("\"retry\"");
    client.send("held\n");
    client.finish().exits(0);
    server.join();
}

#[test]
fn a_heartbeat_is_sent_again_and_again() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        for _ in 0..3 {
            assert_eq!(socket.read_text(), "beat");
        }
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let arguments = ["connect", &server.url, "--heartbeat", "beat", "--heartbeat-interval", "50ms"];
    wsp(arguments).spawn().outcome().exits(0);
    server.join();
}

#[test]
fn a_peers_heartbeat_is_answered() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::text(r#"{"op":"data"}"#));
        socket.say(Frame::text(r#"{"op":"ping"}"#));
        assert_eq!(socket.read_text(), r#"{"op":"pong"}"#);
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let rule = r#".op == "ping"=>{"op":"pong"}"#;
    wsp(["connect", &server.url, "--heartbeat-reply", rule]).spawn().outcome().exits(0);
    server.join();
}

#[test]
fn the_client_pings_and_a_pong_keeps_it_content() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        for _ in 0..3 {
            let ping = socket.read_frame().expect("a ping");
            assert!(ping.is(Opcode::Ping), "{ping:?}");
            socket.say(Frame::new(Opcode::Pong, ping.payload));
        }
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let arguments = ["connect", &server.url, "--ping-interval", "50ms", "--ping-timeout", "10s"];
    wsp(arguments).spawn().outcome().exits(0);
    server.join();
}

#[test]
fn a_stopped_peer_is_noticed() {
    let server = listen(&["--echo"]);
    let arguments = ["connect", &server.url, "--ping-interval", "200ms", "--ping-timeout", "300ms"];
    let mut client = wsp(arguments).spawn();
    client.send("hello\n");
    client.wait_for_stdout("hello");
    server.process.signal(Signal::SIGSTOP);
    let output = client.outcome();
    server.process.signal(Signal::SIGCONT);
    output.exits(9);
}

#[test]
fn a_silent_peer_is_left_after_the_idle_timeout() {
    let server = listen(&["--sink"]);
    wsp(["connect", &server.url, "--idle-timeout", "200ms"]).spawn().outcome().exits(9);
}

#[test]
fn a_peer_that_does_not_answer_the_close_is_not_waited_for_long() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        assert_eq!(socket.read_close().close_code(), 1000);
        // Never answers; the client lets go of its own accord.
        assert_eq!(socket.read_rest(), b"");
    });
    let arguments = ["connect", &server.url, "-x", "hi", "-w", "0", "--close-timeout", "200ms"];
    let output = wsp(arguments).spawn().outcome();
    assert!(output.took.as_secs() < 10, "{:?}", output.took);
    server.join();
}

#[test]
fn sigint_and_sigterm_close_the_connection() {
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let server = FakeServer::once(|request| {
            let mut socket = request.accept();
            socket.say(Frame::text("open"));
            let close = socket.answer_close();
            assert!(matches!(close, 1000 | 1001), "Close {close}");
        });
        let client = wsp(["connect", &server.url]).spawn();
        client.wait_for_stdout("open");
        client.signal(signal);
        client.outcome().exits(code);
        server.join();
    }
}

#[test]
fn a_second_sigint_ends_it_at_once() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::text("open"));
        socket.read_close();
        socket.read_rest();
    });
    let client = wsp(["connect", &server.url, "--close-timeout", "1h"]).spawn();
    client.wait_for_stdout("open");
    client.signal(Signal::SIGINT);
    // Signals of one kind may be merged while pending: repeat until it is gone, by what it does.
    let id = client.id();
    let repeat = std::thread::spawn(move || {
        let id = nix::unistd::Pid::from_raw(i32::try_from(id).expect("process id"));
        let process = std::path::PathBuf::from(format!("/proc/{id}/stat"));
        let alive = || std::fs::read_to_string(&process).is_ok_and(|stat| !stat.contains(") Z "));
        while alive() {
            let _ = nix::sys::signal::kill(id, Signal::SIGINT);
            std::thread::yield_now();
        }
    });
    let output = client.outcome();
    repeat.join().expect("the repeating thread");
    output.exits(130);
    server.join();
}

#[test]
fn signals_are_heeded_while_connecting() {
    let (arrived, connecting) = std::sync::mpsc::channel();
    let server = FakeServer::once(move |mut request| {
        arrived.send(()).expect("the test waits");
        request.socket.read_rest();
    });
    let client = wsp(["connect", &server.url]).spawn();
    connecting.recv_timeout(crate::support::DEADLINE).expect("a connection");
    client.signal(Signal::SIGINT);
    client.outcome().exits(130);
    server.join();
}

#[test]
fn a_peer_that_drops_the_connection_instead_of_answering_our_close_is_no_error() {
    for arguments in
        [&["-n", "1"][..], &["-w", "100ms"], &["-w", "0"], &["--expect", ".a == 1"], &["--reconnect", "-n", "1"]]
    {
        let server = FakeServer::once(|request| {
            let mut socket = request.accept();
            socket.say(Frame::text("{\"a\":1}"));
            socket.read_close();
        });
        let output = wsp(["connect", &server.url, "-v"]).args(arguments).input("").exits(0);
        output.complains("dropped the connection instead of answering the close frame");
        server.join();
    }
    // What was asked for has not been done.
    let server = FakeServer::once(|request| {
        request.accept().say(Frame::text("1"));
    });
    run(&["connect", &server.url, "-n", "2", "-w", "-1"], "").exits(9);
    server.join();
}

#[test]
fn a_time_limit_holds_for_the_closing_handshake_and_for_output_that_nobody_reads() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.read_close();
        socket.read_rest();
    });
    let silent = ["connect", &server.url, "--close-timeout", "1h", "--timeout", "300ms"];
    wsp(silent).spawn().outcome().exits(124).complains("wsp: --timeout ran out");
    server.join();
    let flood = listen(&["--push", "100k"]);
    let (unread, stdout) = std::io::pipe().expect("a pipe");
    let mut client = std::process::Command::new(env!("CARGO_BIN_EXE_wsp"))
        .args(["connect", &flood.url, "-q", "--timeout", "300ms"])
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .stdin(std::process::Stdio::null())
        .stdout(stdout)
        .spawn()
        .expect("running wsp");
    let ended = crate::support::files::wait_until("its end", || client.try_wait().expect("its status"));
    assert_eq!(ended.code(), Some(124));
    drop(unread);
}
