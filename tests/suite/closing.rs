//! How a connection ends below the closing handshake: TLS with a `close_notify`, TCP by the server first.
//!
//! Leaves codes and reasons to `connect_life` and `rude_servers`.

use std::time::Duration;

use crate::support::certs::Authority;
use crate::support::peers::websocket_server;
use crate::support::wire::Socket;
use crate::support::{FakeServer, Frame, require, run, wsp};

#[test]
fn npm_websocket_sees_every_end_as_clean() {
    if !require("node-ws") {
        return;
    }
    let authority = Authority::new();
    for identity in [None, Some(authority.server(&["127.0.0.1"]))] {
        let server = websocket_server(identity.as_ref());
        let scheme = if identity.is_some() { "wss" } else { "ws" };
        let url = format!("{scheme}://127.0.0.1:{}/", server.port);
        let connect = |arguments: &[&str]| run(&[&["connect", &url, "-k"], arguments].concat(), "").exits(0);
        for _ in 0..10 {
            connect(&["-x", "hello", "-n", "1"]).prints("hello\n");
            connect(&["-x", "close", "-w", "-1"]);
        }
        let mut ends = Vec::new();
        while ends.len() < 20 {
            let count = ends.len();
            ends = server.process.lines_so_far().split_off(1);
            if ends.len() == count {
                std::thread::yield_now();
            }
        }
        assert!(ends.iter().all(|end| end == r#"{"event":"close","code":1000}"#), "{scheme}: {ends:?}");
    }
}

/// Answers the client's Close or sends the first, and leaves hanging up to whoever does it.
fn after_the_handshake(ours_first: bool, then: impl FnOnce(Socket) + Send + 'static) -> FakeServer {
    FakeServer::once(move |request| {
        let mut socket = request.accept();
        if ours_first {
            socket.say(Frame::close(1000, ""));
            socket.read_close();
        } else {
            // What the client ends after.
            socket.say(Frame::text("hello"));
            let close = socket.read_close();
            socket.say(Frame { masked: false, ..close });
        }
        then(socket);
    })
}

#[test]
fn a_client_leaves_hanging_up_to_the_server() {
    for ours_first in [false, true] {
        for command in ["connect", "relay", "bench"] {
            let server = after_the_handshake(ours_first, |mut socket| {
                assert!(!socket.stirs_within(Duration::from_millis(300)), "the client hung up first");
                socket.half_close();
                assert!(socket.read_rest().is_empty());
            });
            let client = wsp([command, &server.url, "--close-timeout", "30s"]);
            match (command, ours_first) {
                ("connect", false) => client.args(["-n", "1"]).input("").exits(0),
                ("connect", true) => client.args(["-w", "-1"]).input("").exits(0),
                ("relay", true) => client.arg("null:").spawn().outcome().exits(0),
                ("relay", false) => {
                    let relay = client.arg("-").spawn();
                    relay.wait_for_stdout("hello");
                    relay.signal(nix::sys::signal::Signal::SIGTERM);
                    relay.outcome().exits(0)
                }
                (_, true) => continue,
                _ => client.args(["-c", "1", "--mode", "push", "-d", "200ms"]).input(""),
            };
            server.join();
        }
    }
}

#[test]
fn a_server_that_does_not_hang_up_is_left() {
    for ours_first in [false, true] {
        let server = after_the_handshake(ours_first, |mut socket| drop(socket.read_rest()));
        let end = if ours_first { ["-w", "-1"] } else { ["-n", "1"] };
        let arguments = ["connect", &server.url, "--close-timeout", "200ms"];
        let output = run(&[&arguments[..], &end].concat(), "").exits(0);
        assert!(output.took < Duration::from_secs(10), "{:?}", output.took);
        server.join();
    }
}
