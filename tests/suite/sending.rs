//! What is sent: in fragments, filled-in templates, and event lines to one session or all.

use flate2::{Decompress, FlushDecompress};
use serde_json::{Value, json};

use crate::support::peers::node_server;
use crate::support::{
    FakeServer, Frame, Opcode, RawClient, Socket, closed_port, events, events_of, listen, require, run, wsp,
};

/// The frames of the next message.
fn frames(socket: &mut Socket) -> Vec<Frame> {
    let mut frames = Vec::new();
    while frames.last().is_none_or(|frame: &Frame| !frame.fin) {
        frames.push(socket.read_frame().expect("a frame"));
    }
    frames
}

fn joined(frames: &[Frame]) -> Vec<u8> {
    frames.iter().flat_map(|frame| frame.payload.clone()).collect()
}

/// A message of `size` or more frames, none longer than `most`, the first with this opcode and RSV1 or not.
fn assert_fragments(frames: &[Frame], opcode: Opcode, most: usize, compressed: bool) {
    assert!(frames.len() > 1, "{frames:?}");
    for (index, frame) in frames.iter().enumerate() {
        assert!(frame.masked && frame.payload.len() <= most, "{frame:?}");
        let expected = if index == 0 { opcode } else { Opcode::Continuation };
        assert!(frame.is(expected), "frame {index}: {frame:?}");
        assert_eq!(frame.reserved, if index == 0 && compressed { 4 } else { 0 }, "frame {index}");
    }
}

#[test]
fn messages_are_sent_in_fragments_when_asked() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        let text = frames(&mut socket);
        // Cut by bytes: a character may be in two frames.
        assert_fragments(&text, Opcode::Text, 4, false);
        assert_eq!(joined(&text), "hällo wörld".as_bytes());
        let binary = frames(&mut socket);
        assert_fragments(&binary, Opcode::Binary, 4, false);
        assert_eq!((joined(&binary), binary.len()), (vec![0, 1, 2, 3, 4, 5, 6, 7], 2));
        let short = frames(&mut socket);
        assert_eq!((short.len(), joined(&short)), (1, b"four".to_vec()));
        let empty = frames(&mut socket);
        assert_eq!((empty.len(), joined(&empty)), (1, Vec::new()));
        let ping = socket.read_frame().expect("a ping");
        assert!(ping.is(Opcode::Ping) && ping.fin && ping.payload == b"whole", "{ping:?}");
        assert_eq!(socket.answer_close(), 1000);
    });
    let input = [
        json!({"type": "text", "text": "hällo wörld"}),
        json!({"type": "binary", "base64": "AAECAwQFBgc="}),
        json!({"type": "text", "text": "four"}),
        json!({"type": "text", "text": ""}),
        json!({"type": "ping", "text": "whole"}),
    ]
    .map(|event| format!("{event}\n"))
    .concat();
    run(&["connect", &server.url, "--fragment", "4", "--input", "json", "-w", "0"], input).exits(0);
    server.join();
}

#[test]
fn compressed_messages_are_fragmented_after_compressing() {
    let text = (0..200).map(|number| format!("{number} ")).collect::<String>();
    let expected = text.clone();
    let server = FakeServer::once(move |request| {
        let mut socket = request.accept_with("Sec-WebSocket-Extensions: permessage-deflate\r\n");
        let message = frames(&mut socket);
        assert_fragments(&message, Opcode::Text, 10, true);
        let deflated = [joined(&message), vec![0, 0, 0xff, 0xff]].concat();
        let mut inflated = Vec::with_capacity(64 * 1024);
        let mut codec = Decompress::new(false);
        codec.decompress_vec(&deflated, &mut inflated, FlushDecompress::Sync).expect("deflate data");
        assert_eq!(String::from_utf8(inflated).expect("text"), expected);
        assert_eq!(socket.answer_close(), 1000);
    });
    run(&["connect", &server.url, "--fragment", "10", "-x", &text, "-w", "0"], "").exits(0);
    server.join();
}

#[test]
fn a_real_server_puts_fragments_together() {
    if !require("node-ws") {
        return;
    }
    for options in [r#"{"perMessageDeflate":false}"#, r#"{"perMessageDeflate":{"threshold":0}}"#] {
        let server = node_server(options);
        let input = format!("ünï ✓\n{}\nx\n", "0123456789".repeat(30_000));
        run(&["connect", &server.url(), "--fragment", "777", "-n", "3"], &input).exits(0).prints(&input);
    }
}

#[test]
fn a_slow_reader_gets_every_one_of_very_many_fragments() {
    const COUNT: usize = 2_000_000;
    let server = FakeServer::listening(|listener| {
        // What waits in the kernel is much less than the message takes in frames of 7 bytes.
        socket2::SockRef::from(&listener).set_recv_buffer_size(4096).expect("a small buffer");
        let mut socket = crate::support::fake::next(&listener).accept();
        let bytes = socket.read_exactly(7 * COUNT);
        assert_eq!(bytes.len(), 7 * COUNT);
        for (index, frame) in bytes.chunks(7).enumerate() {
            let first = match index {
                0 => 1,
                index if index + 1 == COUNT => 0x80,
                _ => 0,
            };
            assert_eq!(frame[..2], [first, 0x81], "frame {index}");
        }
        assert_eq!(socket.answer_close(), 1000);
    });
    // A ping between the fragments would be right, and is not looked for.
    let arguments =
        ["connect", &server.url, "--no-compress", "--fragment", "1", "--whole", "-w", "0", "--ping-interval", "0"];
    run(&arguments, "x".repeat(COUNT)).exits(0);
    server.join();
}

#[test]
fn a_message_of_any_size_is_one_frame_unless_fragments_are_asked_for() {
    const MIB: usize = 1 << 20;
    let sizes = |fragment: &[&str]| {
        let (tell, told) = std::sync::mpsc::channel();
        let server = FakeServer::once(move |request| {
            let mut socket = request.accept();
            let message = frames(&mut socket);
            assert!(message.iter().all(|frame| frame.masked), "a client masks every frame");
            assert!(joined(&message) == b"0123456789abcdef".repeat(MIB / 4), "the message is whole");
            tell.send(message.iter().map(|frame| frame.payload.len()).collect::<Vec<_>>()).expect("a listener");
            assert_eq!(socket.answer_close(), 1000);
        });
        let arguments = [&["connect", "--no-compress", "--whole", "-w", "0", &server.url], fragment].concat();
        run(&arguments, "0123456789abcdef".repeat(MIB / 4)).exits(0);
        server.join();
        told.recv().expect("the sizes of frames")
    };
    assert_eq!(sizes(&[]), [4 * MIB]);
    assert_eq!(sizes(&["--fragment", "3MiB"]), [3 * MIB, MIB]);
    assert_eq!(sizes(&["--fragment", "64KiB"]), [MIB / 16; 64]);
}

#[test]
fn a_server_answers_a_large_message_in_one_frame() {
    let large = "0123456789abcdef".repeat(1 << 17);
    for (fragment, expected) in [(&[][..], vec![1 << 21]), (&["--fragment", "1MiB"], vec![1 << 20; 2])] {
        let server = listen(&[&["--echo"], fragment].concat());
        let mut client = RawClient::connect(server.port);
        client.say(Frame::text(&large));
        let answer = frames(&mut client);
        assert_eq!(answer.iter().map(|frame| frame.payload.len()).collect::<Vec<_>>(), expected);
        assert!(joined(&answer) == large.as_bytes() && answer.iter().all(|frame| !frame.masked), "{fragment:?}");
        server.stop().exits(0);
    }
}

#[test]
fn fragments_of_nothing_are_refused() {
    run(&["connect", "ws://127.0.0.1:1/", "--fragment", "0"], "").exits(2).complains("--fragment");
}

/// What `listen --echo` sends back to these arguments and this input.
fn echoed(arguments: &[&str], input: &str) -> String {
    let server = listen(&["--echo"]);
    let output = wsp(["connect", &server.url]).args(arguments).env("WHO", "me").input(input).exits(0);
    output.stdout().to_owned()
}

#[test]
fn every_kind_of_message_is_a_template() {
    let input = "{\"n\":{{seq}}}\n{{env.WHO}} {{seq}}\n";
    assert_eq!(echoed(&["--template", "-n", "2"], input), "{\"n\":1}\nme 2\n");
    assert_eq!(echoed(&["--template", "-i", "{{env.WHO}}", "-x", "x", "-n", "2"], ""), "me\nx\n");
    assert_eq!(echoed(&["--template", "--hex", "--format", "hex", "-n", "1"], "0{{seq}} ff\n"), "01 ff\n");
    let line = format!("{}\n", json!({"type": "text", "text": "{{seq}}"}));
    assert_eq!(echoed(&["--template", "--input", "json", "-n", "2"], &line.repeat(2)), "1\n2\n");
    let values = echoed(&["--template", "-x", "[{{now_ms}},\"{{uuid}}\",\"{{now}}\",{{rand(5,6)}}]", "-n", "1"], "");
    let values: Value = serde_json::from_str(&values).expect("JSON");
    assert!(values[0].as_u64().is_some_and(|ms| ms > 1_600_000_000_000), "{values}");
    assert_eq!(values[1].as_str().map(str::len), Some(36), "{values}");
    assert!(values[2].as_str().is_some_and(|time| time.ends_with('Z')), "{values}");
    assert!(values[3] == 5 || values[3] == 6, "{values}");
    assert_eq!(echoed(&["-x", "{{seq}}", "-n", "1"], ""), "{{seq}}\n", "only when asked for");
}

#[test]
fn a_template_that_cannot_be_filled_in_is_7() {
    // Whoever connects first ends with 14.
    let url = format!("ws://127.0.0.1:{}/", closed_port());
    for flag in ["-x", "-i", "--heartbeat"] {
        let output = run(&["connect", &url, "--template", flag, "{{env.WSP_NO_SUCH}}"], "").exits(7);
        output.complains("wsp: --template: environment variable WSP_NO_SUCH is not set");
    }
    let server = listen(&["--echo"]);
    let output = run(&["connect", &server.url, "--template", "-n", "9"], "{{seq}}\n{{sequence}}\n").exits(7);
    output.complains("unknown name `sequence` (known are seq, uuid, now, now_ms, env.NAME, rand(FROM, TO))");
    let late = "{{ env.WSP_NO_SUCH if seq > 1 else 'fine' }}";
    let output = run(&["connect", &server.url, "--template", "-x", late, "-x", late], "").exits(7);
    output.complains("environment variable WSP_NO_SUCH is not set");
}

#[test]
fn event_lines_go_to_all_or_to_the_session_they_name() {
    let play = |mine: &'static [&'static str]| {
        FakeServer::once(move |request| {
            let mut socket = request.accept();
            let mut seen = Vec::new();
            let close = loop {
                let frame = socket.read_frame().expect("a frame");
                if frame.is(Opcode::Close) {
                    break frame;
                }
                seen.push(format!("{} {}", frame.opcode, String::from_utf8_lossy(&frame.payload)));
            };
            assert_eq!(seen, mine);
            assert_eq!((close.close_code(), &close.payload[2..]), (4000, &b"done"[..]));
            socket.say(Frame::close(4000, "done"));
            socket.read_rest();
        })
    };
    let one = play(&["1 all", "2 bytes", "1 first", "10 unasked"]);
    let two = play(&["1 all", "2 bytes", "9 second", "1 of another run", "1 left"]);
    let input = [
        json!({"type": "text", "text": "all"}),
        json!({"type": "binary", "text": "bytes"}),
        json!({"type": "text", "text": "first", "session": "s1"}),
        json!({"type": "ping", "text": "second", "session": "s2"}),
        json!({"type": "pong", "text": "unasked", "session": "s1"}),
        json!({"type": "open", "session": "s1", "url": "ws://h/"}),
        json!({"type": "close", "code": 4000, "reason": "done", "session": "s1"}),
    ]
    .map(|event| format!("{event}\n"))
    .concat();
    let mut client = wsp(["connect", &one.url, &two.url, "--input", "json", "--json", "-w", "-1"]).spawn();
    client.send(input);
    one.join();
    client.wait_for_stdout(r#""dir":"in","type":"close""#);
    let input = [
        json!({"type": "text", "text": "of another run", "session": "s77"}),
        json!({"type": "text", "text": "too late", "session": "s1"}),
        json!({"type": "text", "text": "left"}),
        json!({"type": "close", "code": 4000, "reason": "done"}),
    ]
    .map(|event| format!("{event}\n"))
    .concat();
    client.send(input);
    client.wait_for_stderr("session s1 has ended; an event line for it was dropped");
    two.join();
    let output = client.finish().exits(0);
    let events = events(output.stdout());
    for (session, count) in [("s1", 2), ("s2", 3)] {
        let sent = events_of(&events, "text", "out").iter().filter(|event| event["session"] == session).count();
        assert_eq!(sent, count, "{session}: {events:?}");
    }
}
