//! Staying alive: text-level pings in both directions, round trips, and what a lost connection cost.
//!
//! Leaves whether a session reconnects, pings and gives up at all to `connect_life`.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::fake::next;
use crate::support::wire::Socket;
use crate::support::{FakeServer, Frame, Opcode, RawClient, closed_port, events, events_of, listen, run, wsp};

/// What the client answers to each message under this rule, everything else left unanswered.
fn answers(rule: &str, exchange: &'static [(&'static str, &'static str)]) {
    let server = FakeServer::once(move |request| {
        let mut socket = request.accept();
        for (ping, pong) in exchange {
            socket.say(Frame::text(ping));
            if !pong.is_empty() {
                assert_eq!(socket.read_text(), *pong);
            }
        }
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    wsp(["connect", &server.url, "--heartbeat-reply", rule]).spawn().outcome().exits(0);
    server.join();
}

#[test]
fn a_reply_gives_back_what_the_ping_carried() {
    let exchange = &[
        (r#"{"ping":1492420473027}"#, r#"{"pong":1492420473027}"#),
        (r#"{"ch":"market","tick":1}"#, ""),
        (r#"{"ping":18446744073709551617}"#, r#"{"pong":18446744073709551617}"#),
        (r#"{"ping":null}"#, ""),
        (r#"{"ping":0}"#, r#"{"pong":0}"#),
    ];
    answers(r#".ping => {"pong":{{value}}}"#, exchange);
}

#[test]
fn a_reply_may_be_built_by_the_filter_or_hold_text() {
    answers(
        r#"select(.op == "ping") | {op: "pong", id} => {{value}}"#,
        &[(r#"{"op":"ping","id":"a\"b"}"#, r#"{"op":"pong","id":"a\"b"}"#)],
    );
    answers(".ping | strings => pong {{ value }}", &[(r#"{"ping":"x y"}"#, "pong x y"), (r#"{"ping":1}"#, "")]);
    answers(".ping | tojson => [{{value}}]", &[(r#"{"ping":"x\"y"}"#, r#"["x\"y"]"#)]);
}

#[test]
fn a_reply_that_does_not_compile_is_7_before_connecting() {
    let url = format!("ws://127.0.0.1:{}/", closed_port());
    for (rule, code) in [(".ping", 2), (".ping => {{valu}}", 7), (".ping => {{", 7), (".ping[ => pong", 7)] {
        run(&["connect", &url, "--heartbeat-reply", rule], "").exits(code).complains("--heartbeat-reply");
    }
    run(&["connect", &url, "--template", "-x", "{{value}}"], "").exits(7).complains("unknown name `value`");
}

#[test]
fn both_sides_may_ask_at_once() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::text(r#"{"ping":7}"#));
        let (mut pongs, mut beats) = (0, Vec::new());
        while pongs < 1 || beats.len() < 3 {
            match socket.read_text() {
                pong if pong == r#"{"pong":7}"# => pongs += 1,
                beat => beats.push(beat),
            }
        }
        assert_eq!((pongs, beats), (1, [1, 2, 3].map(|number| format!(r#"{{"op":"ping","id":{number}}}"#)).to_vec()));
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let beat = r#"{"op":"ping","id":{{seq}}}"#;
    let arguments = ["connect", &server.url, "--template", "--heartbeat", beat, "--heartbeat-interval", "20ms"];
    let output = wsp(arguments).args(["--heartbeat-reply", r#".ping => {"pong":{{value}}}"#]).spawn().outcome();
    output.exits(0).prints("{\"ping\":7}\n");
    server.join();
}

#[test]
fn our_pings_and_their_round_trips_are_shown() {
    let serve = |request: crate::support::fake::Request| {
        let mut socket = request.accept();
        for _ in 0..2 {
            let ping = socket.read_frame().expect("a ping");
            assert!(ping.is(Opcode::Ping), "{ping:?}");
            socket.say(Frame::new(Opcode::Pong, ping.payload));
        }
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    };
    let server = FakeServer::once(serve);
    let output = wsp(["connect", &server.url, "-P", "-v", "--ping-interval", "20ms"]).spawn().outcome().exits(0);
    let order: Vec<_> = ["> ping", "< pong", "round trip "].map(|part| output.stderr.find(part)).into_iter().collect();
    assert!(order.iter().all(Option::is_some), "{}", output.stderr);
    assert!(order[0] < order[1], "{}", output.stderr);
    output.complains("* last round trip ").prints("");
    server.join();
    let server = FakeServer::once(serve);
    let output = wsp(["connect", &server.url, "--json", "--ping-interval", "20ms"]).spawn().outcome().exits(0);
    let events = events(output.stdout());
    let (sent, answered) = (events_of(&events, "ping", "out"), events_of(&events, "pong", "in"));
    assert!(sent.len() >= 2 && answered.len() == 2, "{events:?}");
    assert_eq!(sent[0]["text"], answered[0]["text"]);
    server.join();
}

#[test]
fn an_idle_peer_is_told_why_and_so_is_the_user() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::text("last words"));
        assert_eq!(socket.answer_close(), 1001);
    });
    let output = wsp(["connect", &server.url, "--idle-timeout", "100ms"]).spawn().outcome().exits(9);
    output.prints("last words\n").complains("no message within the idle timeout").complains("hint: --idle-timeout");
    server.join();
}

#[test]
fn an_outage_is_told_with_what_waits_and_what_is_missed() {
    let server = FakeServer::listening(|listener| {
        drop(next(&listener).accept());
        next(&listener).refuse("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        let mut socket = next(&listener).accept();
        assert_eq!(socket.read_text(), "one");
        assert_eq!(socket.read_text(), "two");
        assert_eq!(socket.answer_close(), 1000);
    });
    let arguments = ["connect", &server.url, "--reconnect", "--retry-delay", "500ms", "--retry-factor", "1"];
    let mut client = wsp(arguments).args(["--json", "-w", "0"]).spawn();
    client.wait_for_stderr("reconnecting in 0.5 s (retry 1)");
    client.send("one\ntwo\n");
    // Input is read while there is no connection.
    client.wait_for_stderr("(retry 2); 2 queued messages will be sent then");
    client.wait_for_stderr("reconnected after 2 retries; messages sent by the server during the ");
    let output = client.finish().exits(0).complains("gap were missed; 2 queued messages will be sent");
    let output = output.complains("reconnected 1 time, ");
    let events = events(output.stdout());
    let retries: Vec<_> = events.iter().filter(|event| event["type"] == "retry").collect();
    let facts: Vec<_> = retries.iter().map(|retry| (&retry["attempt"], &retry["delay_ms"])).collect();
    assert_eq!(facts, [(&json!(1), &json!(500)), (&json!(2), &json!(500))]);
    let opens = events.iter().filter(|event| event["type"] == "open").count();
    assert_eq!(opens, 2, "{events:?}");
    server.join();
}

/// Sends a message in pieces, the next when a ping has come, and never a pong.
fn trickle(socket: &mut Socket, mask: &[u8]) {
    let head = Frame { masked: !mask.is_empty(), ..Frame::new(Opcode::Binary, "") }.head(1000);
    socket.write([&head, mask].concat());
    for count in 0..10 {
        let ping = socket.read_frame().expect("another ping");
        assert!(ping.is(Opcode::Ping), "{ping:?} after {count} pings");
        socket.write([0]);
    }
    socket.write([0; 990]);
}

#[test]
fn a_peer_whose_message_takes_long_is_alive() {
    // One ping alone would go out, and the peer be given up, if only whole frames were looked at.
    for command in [&["connect", "-w", "-1"][..], &["relay", "null:"]] {
        let server = FakeServer::once(|request| {
            let mut socket = request.accept();
            trickle(&mut socket, &[]);
            socket.say(Frame::close(1000, ""));
            while !socket.read_frame().expect("a Close").is(Opcode::Close) {}
        });
        let arguments = [&command[..1], &[&server.url], &command[1..]].concat();
        wsp(arguments).args(["--ping-interval", "20ms", "--ping-timeout", "60s"]).spawn().outcome().exits(0);
        server.join();
    }
    let server = listen(&["--json", "--ping-interval", "20ms", "--ping-timeout", "60s"]);
    let mut client = RawClient::connect(server.port);
    trickle(&mut client, &[1, 2, 3, 4]);
    client.say(Frame::close(1000, ""));
    let close = server.process.wait_for_stdout(r#""type":"close""#);
    assert!(close.contains("1000"), "{close}");
    server.stop().exits(0);
}

#[test]
fn a_peer_that_takes_a_large_message_slowly_is_alive() {
    let (tell, told) = std::sync::mpsc::channel();
    let server = FakeServer::once(move |request| {
        let mut socket = request.accept();
        for () in told {
            assert!(!socket.read_exactly(1_000_000).is_empty());
        }
    });
    let pings = ["--ping-interval", "20ms", "--ping-timeout", "60s", "-P", "--no-compress", "--whole", "-w", "0"];
    let mut client = wsp(["connect", &server.url]).args(pings).spawn();
    // Far more than the peer reads and the kernel keeps: it is still under way when the peer hangs up.
    client.send("x".repeat(120_000_000));
    client.end_input();
    // The peer never answers a ping and now and then takes some: another ping goes out only to somebody who is alive.
    for taken in 0..100 {
        let until = Instant::now() + Duration::from_millis(100);
        while client.count_said("> ping") < 4 && Instant::now() < until {
            std::thread::yield_now();
        }
        if client.count_said("> ping") >= 4 {
            break;
        }
        assert!(taken < 99, "only {} pings", client.count_said("> ping"));
        tell.send(()).expect("the server reads");
    }
    drop(tell);
    let output = client.finish();
    assert!(output.stderr.contains("connection lost"), "{}", output.stderr);
    server.join();
}

#[test]
fn a_message_that_takes_longer_than_the_wait_is_waited_for() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        assert_eq!(socket.read_text(), "go");
        for (count, piece) in ["w", "h", "o", "l", "e"].into_iter().enumerate() {
            let opcode = if count == 0 { Opcode::Text } else { Opcode::Continuation };
            let frame = Frame::new(opcode, piece);
            socket.say(if count == 4 { frame } else { frame.unfinished() });
            // Each is a piece of the time that the wait takes.
            for _ in 0..4 {
                let ping = socket.read_frame().expect("a ping");
                assert!(ping.is(Opcode::Ping), "closed within a message: {ping:?}");
                socket.say(Frame::new(Opcode::Pong, ping.payload));
            }
        }
        socket.say(Frame::close(1000, ""));
        while !socket.read_frame().expect("a Close").is(Opcode::Close) {}
    });
    let wait = ["-w", "5s", "--ping-interval", "350ms", "--ping-timeout", "60s"];
    wsp(["connect", &server.url, "-x", "go"]).args(wait).spawn().outcome().exits(0).prints("whole\n");
    server.join();
}

#[test]
fn bench_gives_up_nobody_whose_answer_takes_long() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        let mut begun = false;
        // A byte of one endless answer for each message; never a pong.
        while let Some(frame) = socket.read_frame() {
            if frame.is(Opcode::Close) {
                break;
            }
            if frame.is(Opcode::Text) || frame.is(Opcode::Binary) {
                let head = if begun { Vec::new() } else { Frame::new(Opcode::Binary, "").head(1_000_000) };
                begun = true;
                socket.try_write([&head[..], &[0]].concat());
            }
        }
    });
    let arguments = ["bench", &server.url, "--json", "-c", "1", "--rate", "50", "-d", "3s"];
    let pings = ["--ping-interval", "100ms", "--ping-timeout", "1s", "--deadline", "300ms"];
    let output = wsp(arguments).args(pings).spawn().outcome();
    let report: serde_json::Value = serde_json::from_str(output.stdout()).expect("a report");
    assert_eq!(report["errors"].get("unresponsive"), None, "{:#}", report["errors"]);
    server.join();
}

#[test]
fn replies_that_could_not_be_sent_are_counted() {
    let (told, seen) = std::sync::mpsc::channel();
    let server = FakeServer::listening(move |listener| {
        let mut socket = next(&listener).accept();
        socket.say(Frame::text("1"));
        socket.say(Frame::text("2"));
        // Reads nothing: the first reply fills the socket, the second waits behind it.
        seen.recv_timeout(crate::support::DEADLINE).expect("the client has seen both");
        drop(socket);
        let mut socket = next(&listener).accept();
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let arguments = ["connect", &server.url, "--reconnect", "--retry-delay", "10ms", "--no-compress"];
    let client = wsp(arguments).args(["--reply-jq", r#""x" * 30000000"#]).spawn();
    client.wait_for_stdout("2");
    told.send(()).expect("the server waits");
    client.outcome().exits(0).prints("1\n2\n").complains("; 1 reply could not be sent");
    server.join();
}

#[test]
fn a_heartbeat_goes_on_after_a_reconnect() {
    let server = FakeServer::times(2, |number, request| {
        let mut socket = request.accept();
        assert_eq!(socket.read_text(), "beat");
        if number == 1 {
            socket.say(Frame::close(1000, ""));
            socket.answer_close();
        }
    });
    let arguments = ["connect", &server.url, "--reconnect", "--retry-delay", "10ms", "--heartbeat", "beat"];
    wsp(arguments).args(["--heartbeat-interval", "20ms"]).spawn().outcome().exits(0);
    server.join();
}

#[test]
fn quiet_says_nothing_of_it() {
    let server = FakeServer::times(2, |number, request| {
        let mut socket = request.accept();
        if number == 1 {
            socket.say(Frame::close(1000, ""));
            socket.answer_close();
        }
    });
    let output = wsp(["connect", &server.url, "--reconnect", "--retry-delay", "10ms", "-q"]).spawn().outcome().exits(0);
    assert_eq!(output.stderr, "");
    server.join();
}

#[test]
fn a_session_that_has_ended_holds_up_no_input() {
    let server = listen(&["--sink"]);
    let gone = format!("ws://127.0.0.1:{}/", closed_port());
    // More than waits for one session.
    let input = "x\n".repeat(5000);
    let mut client = wsp(["connect", &gone, &server.url, "--json", "-w", "0"]).spawn();
    client.wait_for_stderr("cannot connect");
    client.send(input);
    let output = client.finish().exits(14);
    assert_eq!(events_of(&events(output.stdout()), "text", "out").len(), 5000);
}

#[test]
fn a_run_falls_quiet_though_heartbeats_are_answered() {
    // How the server speaks of being alive, and with which flags that is told from messages.
    let heartbeat = ["--heartbeat", "{\"op\":\"ping\"}", "--heartbeat-interval", "50ms"];
    let reply = ["--heartbeat-reply", ".ping => {\"pong\":{{value}}}"];
    for (answer, flags) in [("{\"op\":\"pong\"}", &heartbeat[..]), ("{\"op\":\"ping\"}", &heartbeat), ("", &reply)] {
        let server = FakeServer::once(move |request| {
            let mut socket = request.accept();
            assert_eq!(socket.read_text(), "hello");
            // For as long as the client likes.
            for number in 0.. {
                if answer.is_empty() {
                    socket.say(Frame::text(&format!("{{\"ping\":{number}}}")));
                }
                let frame = socket.read_frame().expect("a frame");
                if frame.is(Opcode::Close) {
                    socket.say(Frame::close(1000, ""));
                    return;
                }
                if !answer.is_empty() {
                    socket.say(Frame::text(answer));
                }
            }
        });
        let output = wsp(["connect", &server.url, "-x", "hello", "-w", "400ms", "--no-compress"]).args(flags).spawn();
        let output = output.outcome().exits(0);
        assert!(!output.stdout().is_empty(), "they are printed all the same");
        server.join();
    }
}
