//! The exit codes that can be had so far, each by what causes it. The table itself is printed by `wsp --help`.
//!
//! Leaves codes that need a story of their own (signals, pings, TLS, broken frames) to the modules that tell it.

use std::time::Duration;

use crate::support::{FakeServer, Frame, listen, run, wsp};

#[test]
fn normal_closes_and_the_end_of_input_are_0() {
    for code in [1000, 1001] {
        let server = FakeServer::once(move |request| {
            let mut socket = request.accept();
            socket.say(Frame::close(code, "done"));
            socket.answer_close();
        });
        run(&["connect", &server.url, "-w", "-1"], "").exits(0);
        server.join();
    }
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::new(crate::support::Opcode::Close, *b""));
        socket.answer_close();
    });
    run(&["connect", &server.url, "-w", "-1"], "").exits(0);
    server.join();
}

#[test]
fn usage_is_2() {
    run(&["connect"], "").exits(2);
    run(&["connect", "--no-such-option", "ws://127.0.0.1:1/"], "").exits(2).complains("--no-such-option");
    run(&["connect", "ftp://127.0.0.1/"], "").exits(2).complains("ftp");
    run(&["connect", "ws://127.0.0.1:99999/"], "").exits(2);
    run(&["connect", "ws://127.0.0.1:1/", "-w", "soon"], "").exits(2).complains("soon");
    run(&["connect", "ws://127.0.0.1:1/", "-H", "no colon"], "").exits(2);
    run(&["listen", "127.0.0.1:0", "--echo", "--sink"], "").exits(2);
    run(&["listen", "not an address"], "").exits(2);
}

#[test]
fn a_missing_file_is_2_and_named() {
    run(&["connect", "ws://127.0.0.1:1/", "-x", "@/no/such/file"], "").exits(2).complains("/no/such/file");
    run(&["connect", "ws://127.0.0.1:1/", "-i", "@/no/such/init"], "").exits(2).complains("/no/such/init");
    run(&["listen", "127.0.0.1:0", "--reply", "@/no/such/reply"], "").exits(2).complains("/no/such/reply");
}

#[test]
fn an_address_in_use_is_4() {
    let server = listen(&["--echo"]);
    let address = format!("127.0.0.1:{}", server.port);
    run(&["listen", &address], "").exits(4).complains(&address);
    run(&["listen", "192.0.2.1:0"], "").exits(4).complains("192.0.2.1");
}

#[test]
fn a_refused_upgrade_is_5() {
    let server = listen(&["--path", "/here"]);
    run(&["connect", &format!("ws://127.0.0.1:{}/", server.port)], "").exits(5).complains("404");
}

#[test]
fn a_malformed_upgrade_answer_is_6() {
    const UPGRADE: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let wrong_accept = format!("{UPGRADE}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n");
    let no_accept = format!("{UPGRADE}\r\n");
    for answer in ["SSH-2.0-OpenSSH_9.2\r\n\r\n", &wrong_accept, &no_accept] {
        let answer = answer.to_owned();
        let server = FakeServer::once(move |request| request.refuse(&answer));
        run(&["connect", &server.url], "").exits(6);
        server.join();
    }
    let extras = [
        "Sec-WebSocket-Protocol: never-offered\r\n",
        "Sec-WebSocket-Extensions: never-offered\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; server_max_window_bits=99\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate; unknown=1\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate, permessage-deflate\r\n",
    ];
    for extra in extras {
        let server = FakeServer::once(move |request| {
            request.accept_with(extra).read_rest();
        });
        let output = run(&["connect", &server.url], "");
        assert_eq!(output.code, 6, "{extra}: {}", output.stderr);
        server.join();
    }
}

#[test]
fn a_filter_or_template_that_does_not_compile_is_7_before_connecting() {
    // Nobody listens there: with a connection attempt it would be 14.
    let url = format!("ws://127.0.0.1:{}/", crate::support::closed_port());
    run(&["connect", &url, "-j", ".["], "").exits(7);
    run(&["connect", &url, "-j", "no_such_function"], "").exits(7).complains("no_such_function");
    run(&["connect", &url, "--expect", ".["], "").exits(7);
    run(&["connect", &url, "--reply-jq", ".["], "").exits(7);
    run(&["connect", &url, "--init-wait", ".[", "-i", "x"], "").exits(7);
    run(&["connect", &url, "--heartbeat-reply", ".[=>x"], "").exits(7);
    run(&["connect", &url, "--template", "-x", "{{ open"], "").exits(7);
    run(&["listen", "127.0.0.1:0", "--reply-jq", ".["], "").exits(7);
}

#[test]
fn a_lost_connection_or_an_error_close_is_9() {
    let server = FakeServer::once(|request| drop(request.accept()));
    run(&["connect", &server.url, "-w", "-1"], "").exits(9);
    server.join();
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::close(1011, "it broke"));
        assert_eq!(socket.answer_close(), 1011);
    });
    run(&["connect", &server.url, "-w", "-1"], "").exits(9).complains("1011").complains("it broke");
    server.join();
}

#[test]
fn a_refused_connection_is_14() {
    let address = format!("127.0.0.1:{}", crate::support::closed_port());
    run(&["connect", &format!("ws://{address}/")], "").exits(14).complains(&address);
    run(&["connect", "--unix-socket", "/no/such/socket", "ws://localhost/"], "").exits(14).complains("/no/such/socket");
}

#[test]
fn an_upgrade_that_is_never_answered_is_14_after_the_connect_timeout() {
    let server = FakeServer::once(|mut request| {
        request.socket.read_rest();
    });
    let output = run(&["connect", &server.url, "--connect-timeout", "200ms"], "").exits(14);
    assert!(output.took >= Duration::from_millis(200), "{:?}", output.took);
    server.join();
}

#[test]
fn a_name_without_an_address_of_the_wanted_kind_is_20() {
    run(&["connect", "-6", "ws://127.0.0.1:1/"], "").exits(20);
}

#[test]
fn the_whole_run_can_be_limited_to_a_time_124() {
    let server = listen(&["--echo"]);
    let output = wsp(["connect", &server.url, "--timeout", "200ms"]).spawn().outcome().exits(124);
    // The last tenth is for the end.
    assert!(output.took >= Duration::from_millis(180), "{:?}", output.took);
    let never = FakeServer::once(|mut request| {
        request.socket.read_rest();
    });
    wsp(["connect", &never.url, "--timeout", "200ms"]).spawn().outcome().exits(124);
    never.join();
}

#[test]
fn errors_are_one_line_with_at_most_a_hint() {
    let url = format!("ws://127.0.0.1:{}/", crate::support::closed_port());
    let output = run(&["connect", &url], "").exits(14).prints("");
    let lines: Vec<_> = output.stderr.lines().collect();
    assert!(matches!(lines.len(), 1 | 2), "{lines:?}");
    assert!(lines.get(1).is_none_or(|line| line.starts_with("hint: ")), "{lines:?}");
}
