//! How `wsp connect` cuts its input into messages and writes what it receives.
//!
//! Owns the input framings and encodings and the raw and hex formats. Leaves event lines to `connect_events`.

use crate::support::{FakeServer, Frame, Opcode, listen, run, wsp};

/// What reaches the server when `input` goes through `arguments`, Close excluded.
fn sent(arguments: &[&str], input: impl AsRef<[u8]>) -> Vec<Frame> {
    let (tell, told) = std::sync::mpsc::channel();
    let server = FakeServer::once(move |request| {
        let mut socket = request.accept();
        while let Some(frame) = socket.read_frame() {
            let masked = frame.masked;
            assert!(masked, "a client masks its frames");
            if frame.is(Opcode::Close) {
                socket.say(Frame::close(frame.close_code(), ""));
                break;
            }
            if !frame.is(Opcode::Ping) {
                tell.send(Frame { masked: false, ..frame }).expect("the test listens");
            }
        }
    });
    let all = [&["connect", &server.url, "-w", "0", "--no-compress"], arguments].concat();
    run(&all, input).exits(0);
    server.join();
    told.iter().collect()
}

fn texts(words: &[&str]) -> Vec<Frame> {
    words.iter().map(|word| Frame::text(word)).collect()
}

#[test]
fn a_line_is_a_message_and_an_empty_line_an_empty_one() {
    assert_eq!(sent(&[], "one\n\ntwo\n"), texts(&["one", "", "two"]));
    assert_eq!(sent(&[], ""), texts(&[]));
    assert_eq!(sent(&[], "\n"), texts(&[""]));
    assert_eq!(sent(&[], "cut short"), texts(&["cut short"]));
}

#[test]
fn nul_ends_a_message_when_asked_so() {
    assert_eq!(sent(&["-0"], "a\nb\0\0c"), texts(&["a\nb", "", "c"]));
    assert_eq!(sent(&["--null"], "a\0"), texts(&["a"]));
}

#[test]
fn any_character_can_end_a_message() {
    assert_eq!(sent(&["--delimiter", ";"], "a\n;b;;c"), texts(&["a\n", "b", "", "c"]));
}

#[test]
fn whole_sends_the_input_unchanged() {
    assert_eq!(sent(&["--whole"], "a\n\nb\n"), texts(&["a\n\nb\n"]));
}

#[test]
fn binary_input_is_sent_in_binary_messages() {
    assert_eq!(
        sent(&["--binary"], b"\xff\x00\nab"),
        [Frame::new(Opcode::Binary, [0xff, 0]), Frame::new(Opcode::Binary, *b"ab"),]
    );
    assert_eq!(sent(&["-b", "--whole"], b"\xff\n\x00"), [Frame::new(Opcode::Binary, [0xff, 10, 0])]);
}

#[test]
fn hex_and_base64_input_become_binary_messages() {
    let expected = [Frame::new(Opcode::Binary, [0, 1, 255])];
    assert_eq!(sent(&["--hex"], "0001ff\n"), expected);
    assert_eq!(sent(&["--hex"], "00 01 FF\n"), expected);
    assert_eq!(sent(&["--base64"], "AAH/\n"), expected);
}

#[test]
fn raw_output_is_exact() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::text("text \u{1b}[31m\r"));
        socket.say(Frame::new(Opcode::Binary, [0, 255, 13, 10, 27]));
        socket.say(Frame::text(""));
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let output = run(&["connect", &server.url, "-w", "-1"], "").exits(0);
    assert_eq!(output.bytes, b"text \x1b[31m\r\n\x00\xff\r\n\x1b\n");
    server.join();
}

#[test]
fn hex_output_is_a_line_a_message() {
    let server = listen(&["--echo"]);
    run(&["connect", &server.url, "--hex", "--format", "hex", "-n", "2"], "00ab\nFF\n").exits(0).prints("00 ab\nff\n");
    run(&["connect", &server.url, "--format", "hex", "-n", "1"], "hi\n").exits(0).prints("68 69\n");
}

#[test]
fn pretty_output_indents_json() {
    let server = listen(&["--echo"]);
    let output = run(&["connect", &server.url, "--format", "pretty", "-n", "1"], "{\"a\":1}\n").exits(0);
    assert_eq!(output.stdout(), "{\n  \"a\": 1\n}\n");
}

#[test]
fn fragments_are_put_together() {
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::text("one ").unfinished());
        socket.say(Frame::new(Opcode::Ping, *b"between"));
        socket.say(Frame::new(Opcode::Continuation, "\u{fc}".as_bytes()[..1].to_vec()).unfinished());
        socket.say(Frame::new(Opcode::Continuation, "\u{fc}".as_bytes()[1..].to_vec()).unfinished());
        socket.say(Frame::new(Opcode::Continuation, *b""));
        let pong = socket.read_frame().expect("a pong");
        assert!(pong.is(Opcode::Pong));
        assert_eq!(pong.payload, b"between");
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    run(&["connect", &server.url, "-w", "-1"], "").exits(0).prints("one ü\n");
    server.join();
}

#[test]
fn input_that_is_not_as_the_flags_say_is_named() {
    let server = listen(&["--sink"]);
    let table: [(&[&str], &str, &str); 7] = [
        (&["--hex", "-x", "00", "-x", "0g"], "", "wsp: -x '0g': invalid hexadecimal digit 'g'"),
        (&["--hex", "-x", "00 0"], "", "wsp: -x '00 0': an odd number of hexadecimal digits"),
        (&["--base64", "-x", "aGk=", "-x", "a?"], "", "wsp: -x 'a?': not base64: "),
        (&["--hex"], "00\n01\n0g\n", "wsp: standard input, line 3: invalid hexadecimal digit 'g'"),
        (&["--base64"], "aGk=\na?", "wsp: standard input, line 2: not base64: "),
        (&["--hex", "--whole"], "00 0g", "wsp: standard input, message 1: invalid hexadecimal digit 'g'"),
        (
            &["--input", "json"],
            "{\"type\":\"text\",\"text\":\"a\"}\n\n{\"type\":\"txt\"}\n",
            "wsp: standard input, line 3: unknown type \"txt\"",
        ),
    ];
    for (arguments, input, expected) in table {
        let output = wsp(["connect", &server.url]).args(arguments).input(input).exits(2);
        output.complains(expected).complains("hint: --binary, --hex, --base64 and --input json");
    }
}
