//! permessage-deflate (RFC 7692) on both sides: what is negotiated, what goes over the wire, what a bomb costs.
//!
//! Owns the tests with frames made by hand and with npm `ws` in every negotiated form. Leaves plain conversations with
//! other people's programs to `peers`.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::support::peers::{node, node_server};
use crate::support::wire::header;
use crate::support::{FakeServer, Frame, Opcode, RawClient, Server, listen, require, run, wsp};

/// A message as it goes over the wire: deflated, the tail of RFC 7692 taken off, RSV1 set.
fn deflated(codec: &mut Compress, opcode: Opcode, payload: &[u8]) -> Frame {
    if payload.is_empty() {
        // A stored block of nothing; a codec with nothing new to flush would write nothing.
        return Frame::new(opcode, [0]).reserved(4);
    }
    let mut out = Vec::with_capacity(payload.len() + 64);
    let mut used = 0;
    loop {
        let before = codec.total_in();
        codec.compress_vec(&payload[used..], &mut out, FlushCompress::Sync).expect("deflating");
        used += usize::try_from(codec.total_in() - before).expect("a length");
        if used == payload.len() && out.len() < out.capacity() {
            break;
        }
        out.reserve(out.len() + 64);
    }
    assert!(out.ends_with(&[0, 0, 255, 255]));
    out.truncate(out.len() - 4);
    Frame::new(opcode, out).reserved(4)
}

fn inflated(codec: &mut Decompress, frame: &Frame) -> Vec<u8> {
    if frame.reserved == 0 {
        return frame.payload.clone();
    }
    assert_eq!(frame.reserved, 4);
    let input = [&frame.payload[..], &[0, 0, 255, 255]].concat();
    let mut out = Vec::with_capacity(1 << 20);
    codec.decompress_vec(&input, &mut out, FlushDecompress::Sync).expect("inflating");
    out
}

fn fresh() -> (Compress, Decompress) {
    (Compress::new(Compression::default(), false), Decompress::new(false))
}

const LINE: &str = r#"{"type":"trade","symbol":"EURUSD","price":1.0842,"size":100000,"venue":"somewhere"}"#;

/// What a server answers to a plain offer where it is told nothing but `--compress`.
const SERVERS_ANSWER: &str = "permessage-deflate;server_no_context_takeover";

/// What `listen` answers to an offer; none when it declines.
fn agreed(arguments: &[&str], offer: &str) -> Option<String> {
    let server = listen(&[&["--echo"], arguments].concat());
    let (_, head) = RawClient::open(server.port, "/", &format!("Sec-WebSocket-Extensions: {offer}\r\n"));
    header(&head, "sec-websocket-extensions").map(|answer| answer.replace(' ', ""))
}

#[test]
fn the_server_compresses_only_when_asked_to() {
    assert_eq!(agreed(&[], "permessage-deflate"), None);
    let answer = agreed(&["--compress"], "permessage-deflate; client_max_window_bits").expect("an agreement");
    assert!(answer.starts_with("permessage-deflate"), "{answer}");
}

#[test]
fn offers_are_judged_one_by_one() {
    let answer = |offer: &str| agreed(&["--compress"], offer);
    assert!(
        answer("permessage-deflate; server_no_context_takeover")
            .is_some_and(|a| a.contains("server_no_context_takeover"))
    );
    assert!(
        answer("permessage-deflate; server_max_window_bits=10")
            .is_some_and(|a| a.contains("server_max_window_bits=10"))
    );
    assert!(
        answer("permessage-deflate; server_max_window_bits=8").is_some_and(|a| a.contains("server_max_window_bits=8"))
    );
    // Unknown, repeated or impossible parameters.
    assert_eq!(answer("permessage-deflate; unknown"), None);
    assert_eq!(answer("permessage-deflate; server_no_context_takeover; server_no_context_takeover"), None);
    assert_eq!(answer("permessage-deflate; server_max_window_bits=16"), None);
    assert_eq!(answer("x-other"), None);
    // The second offer is taken when the first cannot be.
    assert!(answer("permessage-deflate; unknown, permessage-deflate").is_some_and(|a| a == SERVERS_ANSWER));
}

#[test]
fn a_server_keeps_no_compressor_for_each_client_unless_it_is_told_to() {
    let offer = "permessage-deflate; client_max_window_bits";
    assert_eq!(agreed(&["--compress"], offer).as_deref(), Some(SERVERS_ANSWER));
    assert_eq!(agreed(&["--compress=client_max_window_bits"], offer).as_deref(), Some("permessage-deflate"));
    let relay = Server::ready(wsp(["relay", "-", "ws-listen://127.0.0.1:0", "--compress"]));
    let (_, head) = RawClient::open(relay.port, "/", &format!("Sec-WebSocket-Extensions: {offer}\r\n"));
    let answer = header(&head, "sec-websocket-extensions").map(|answer| answer.replace(' ', ""));
    assert_eq!(answer.as_deref(), Some(SERVERS_ANSWER));
}

#[test]
fn the_context_is_taken_over_from_message_to_message() {
    let server = listen(&["--echo", "--compress=client_max_window_bits"]);
    let (mut client, head) = RawClient::open(server.port, "/", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    assert!(header(&head, "sec-websocket-extensions").is_some());
    let (mut deflate, mut inflate) = fresh();
    let mut sizes = Vec::new();
    let long = LINE.repeat(4);
    for _ in 0..3 {
        client.say(deflated(&mut deflate, Opcode::Text, long.as_bytes()));
        let frame = client.read_data();
        sizes.push(frame.payload.len());
        assert!(inflated(&mut inflate, &frame) == long.as_bytes());
    }
    assert!(sizes[0] < long.len() && sizes[1] < sizes[0], "{sizes:?} of {}", long.len());
}

#[test]
fn an_answer_of_eight_window_bits_is_kept_to() {
    let short = "short ".repeat(20);
    let long = LINE.repeat(4);
    let input = format!("{short}\n{long}\n{short}\n");
    let server = FakeServer::once(move |request| {
        let mut socket = request.accept_with(
            "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=8; server_max_window_bits=8\r\n",
        );
        for text in [&short, &long, &short] {
            let frame = socket.read_data();
            // What a window of 256 bytes holds is compressed, each message on its own; more goes plain.
            assert_eq!(frame.reserved == 4, text.len() <= 256, "{} bytes", text.len());
            assert!(inflated(&mut fresh().1, &frame) == text.as_bytes());
        }
        assert_eq!(socket.answer_close(), 1000);
    });
    run(&["connect", &server.url, "-w", "0"], &input).exits(0);
    server.join();
}

#[test]
fn without_takeover_every_message_stands_alone() {
    let server = listen(&["--echo", "--compress"]);
    let offer =
        "Sec-WebSocket-Extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";
    let (mut client, _) = RawClient::open(server.port, "/", offer);
    let long = LINE.repeat(4);
    for _ in 0..3 {
        let (mut deflate, mut inflate) = fresh();
        client.say(deflated(&mut deflate, Opcode::Text, long.as_bytes()));
        assert!(inflated(&mut inflate, &client.read_data()) == long.as_bytes());
    }
}

#[test]
fn plain_messages_and_fragments_with_pings_between_mix_with_compressed_ones() {
    let server = listen(&["--echo", "--compress"]);
    let (mut client, _) = RawClient::open(server.port, "/", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    let (mut deflate, mut inflate) = fresh();
    client.say(Frame::text("plain"));
    assert_eq!(inflated(&mut inflate, &client.read_data()), b"plain");
    let whole = deflated(&mut deflate, Opcode::Text, LINE.as_bytes());
    let (one, two) = whole.payload.split_at(20);
    client.say(Frame { payload: one.to_vec(), ..whole.clone() }.unfinished());
    client.say(Frame::new(Opcode::Ping, *b"between"));
    client.say(Frame::new(Opcode::Continuation, Vec::new()).unfinished());
    client.say(Frame::new(Opcode::Continuation, two));
    let pong = client.read_frame().expect("a pong");
    assert_eq!((pong.opcode, &pong.payload[..], pong.reserved), (Opcode::Pong as u8, &b"between"[..], 0));
    assert_eq!(inflated(&mut inflate, &client.read_data()), LINE.as_bytes());
    client.say(deflated(&mut deflate, Opcode::Binary, &[0; 1000]));
    let back = client.read_data();
    assert!(back.is(Opcode::Binary));
    assert_eq!(inflated(&mut inflate, &back), [0; 1000]);
    client.say(deflated(&mut deflate, Opcode::Text, b""));
    assert_eq!(inflated(&mut inflate, &client.read_data()), b"");
}

#[test]
fn a_breach_of_the_extension_is_answered_by_the_right_close() {
    let (mut deflate, _) = fresh();
    let bad_text = deflated(&mut deflate, Opcode::Text, b"\xff\xfe");
    let table = [
        (1007, "bad UTF-8 inside", bad_text),
        (1002, "garbage", Frame::new(Opcode::Text, [0xff; 40]).reserved(4)),
        (1002, "RSV1 on a ping", Frame::new(Opcode::Ping, *b"x").reserved(4)),
    ];
    for (code, why, frame) in table {
        let server = listen(&["--echo", "--compress"]);
        let (mut client, _) = RawClient::open(server.port, "/", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
        client.say(frame);
        assert_eq!(client.answer_close(), code, "{why}");
    }
}

/// A message that is small on the wire and large in memory.
fn bomb(size: usize) -> Frame {
    let mut codec = Compress::new(Compression::best(), false);
    deflated(&mut codec, Opcode::Text, &vec![b'0'; size])
}

#[test]
fn a_bomb_is_closed_with_1009_and_costs_no_more_than_the_limit() {
    let frame = bomb(256 << 20);
    assert!(frame.payload.len() < 1 << 20, "{} bytes on the wire", frame.payload.len());
    let server = listen(&["--echo", "--compress", "--max-message-size", "1MiB"]);
    let (mut client, _) = RawClient::open(server.port, "/", "Sec-WebSocket-Extensions: permessage-deflate\r\n");
    // The program itself, unoptimised and with its symbols, is most of it.
    #[cfg(target_os = "linux")]
    let before = super::listen_limits::peak_memory(server.process.id());
    client.say(frame.clone());
    assert_eq!(client.answer_close(), 1009);
    #[cfg(target_os = "linux")]
    {
        let peak = super::listen_limits::peak_memory(server.process.id());
        assert!(peak < before + (12 << 20), "{before} bytes, then {peak}");
    }

    let fake = FakeServer::once(move |request| {
        let mut socket = request.accept_with("Sec-WebSocket-Extensions: permessage-deflate\r\n");
        socket.say(frame);
        assert_eq!(socket.answer_close(), 1009);
    });
    run(&["connect", &fake.url, "-w", "-1", "--max-message-size", "1MiB"], "").exits(3).prints("");
    fake.join();
}

#[test]
fn the_client_takes_what_the_server_makes_of_its_offer() {
    let answers = [
        "permessage-deflate",
        "permessage-deflate; server_no_context_takeover",
        "permessage-deflate; client_no_context_takeover; server_no_context_takeover",
        "permessage-deflate; client_max_window_bits=10",
        "permessage-deflate; server_max_window_bits=12",
    ];
    for answer in answers {
        let server = FakeServer::once(move |request| {
            let mut socket = request.accept_with(&format!("Sec-WebSocket-Extensions: {answer}\r\n"));
            let (mut deflate, mut inflate) = fresh();
            for _ in 0..3 {
                if answer.contains("client_no_context") {
                    inflate = Decompress::new(false);
                }
                if answer.contains("server_no_context") || answer.contains("server_max") {
                    deflate = Compress::new(Compression::default(), false);
                }
                let frame = socket.read_data();
                let payload = inflated(&mut inflate, &frame);
                assert_eq!(String::from_utf8_lossy(&payload), LINE.repeat(3));
                socket.say(deflated(&mut deflate, Opcode::Text, LINE.as_bytes()));
            }
            socket.answer_close();
        });
        let input = format!("{}\n", LINE.repeat(3)).repeat(3);
        let output = run(&["connect", &server.url, "-n", "3"], input);
        assert_eq!(output.code, 0, "{answer}: {}", output.stderr);
        assert_eq!(output.stdout(), format!("{LINE}\n").repeat(3));
        server.join();
    }
}

#[test]
fn a_server_that_declines_is_spoken_to_in_plain() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        let frame = socket.read_data();
        assert_eq!((frame.reserved, frame.as_text()), (0, LINE.repeat(100)));
        socket.answer_close();
    });
    run(&["connect", &server.url, "-w", "0"], LINE.repeat(100)).exits(0);
    server.join();
}

#[test]
fn npm_ws_as_a_server_understands_every_form() {
    if !require("node-ws") {
        return;
    }
    let forms = [
        r#"{"threshold":0}"#,
        r#"{"threshold":0,"serverNoContextTakeover":true}"#,
        r#"{"threshold":0,"clientNoContextTakeover":true}"#,
        r#"{"threshold":0,"serverNoContextTakeover":true,"clientNoContextTakeover":true}"#,
        r#"{"threshold":0,"serverMaxWindowBits":10}"#,
        r#"{"threshold":0,"clientMaxWindowBits":9}"#,
    ];
    for form in forms {
        let server = node_server(&format!(r#"{{"perMessageDeflate":{form}}}"#));
        let input: String = (0..200).map(|number| format!("{number} {LINE}\n")).collect();
        let output = run(&["connect", &server.url(), "-n", "200"], &input);
        assert_eq!(output.code, 0, "{form}: {}", output.stderr);
        assert!(output.stdout() == input, "{form}");
        let open = server.process.wait_for_stdout("\"open\"");
        assert!(open.contains("permessage-deflate"), "{form}: {open}");
        let large = LINE.repeat(20_000);
        let output = run(&["connect", &server.url(), "--whole", "-n", "1"], &large);
        assert!(output.stdout().trim_end() == large, "{form}");
    }
}

#[test]
fn npm_ws_may_ping_between_compressed_fragments() {
    if !require("node-ws") {
        return;
    }
    for deflate in [r#"{"threshold":0}"#, "false"] {
        let server = node_server(&format!(r#"{{"perMessageDeflate":{deflate}}}"#));
        run(&["connect", &server.url(), "-n", "1"], "fragments\n").exits(0).prints("one, two, three\n");
        server.process.wait_for_stdout(r#"{"event":"pong","text":"between"}"#);
        server.process.wait_for_stdout(r#"{"event":"pong","text":"again"}"#);
    }
}

#[test]
fn npm_ws_as_a_client_understands_every_form() {
    if !require("node-ws") {
        return;
    }
    let server = listen(&["--echo", "--compress"]);
    let forms = [
        r#"{"threshold":0}"#,
        r#"{"threshold":0,"serverNoContextTakeover":true}"#,
        r#"{"threshold":0,"clientNoContextTakeover":true}"#,
        r#"{"threshold":0,"serverMaxWindowBits":9}"#,
        r#"{"threshold":0,"serverMaxWindowBits":8}"#,
        r#"{"threshold":0,"clientMaxWindowBits":10}"#,
    ];
    for form in forms {
        let options = format!(r#"{{"perMessageDeflate":{form}}}"#);
        let large = format!("repeat:20000:{LINE}");
        let output = node("ws-client.js").args([&server.url, &options, LINE, "", LINE, &large]).input("");
        assert_eq!(output.code, 0, "{form}: {}{}", output.stdout(), output.stderr);
        let result: serde_json::Value = serde_json::from_str(output.stdout()).expect("JSON");
        assert_eq!((&result["replies"], &result["code"]), (&8.into(), &1000.into()), "{form}: {result}");
        assert_eq!(result["extensions"], "permessage-deflate", "{form}: {result}");
    }
}
