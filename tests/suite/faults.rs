//! `wsp listen` behaving badly on purpose: what a client sees of each fault, and that the counts agree with it.

use std::time::{Duration, Instant};

use crate::support::http::{Answer, admin_port, wait_for};
use crate::support::wire::header;
use crate::support::{Frame, Opcode, Output, RawClient, Server, Socket, events, listen, run, wsp};

/// So many messages that can be told apart even when one letter is another.
fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{number:04} {number:04} {number:04}")).collect()
}

fn distance(a: &str, b: &str) -> usize {
    if a.len() == b.len() { a.bytes().zip(b.bytes()).filter(|(a, b)| a != b).count() } else { usize::MAX }
}

/// Everything up to the Close, which is answered; its code.
fn until_close(mut client: Socket) -> (Vec<Frame>, u16) {
    let mut frames = Vec::new();
    loop {
        let frame = client.read_frame().expect("a Close");
        if frame.is(Opcode::Close) {
            let code = frame.close_code();
            client.try_write(Frame { masked: true, ..frame }.bytes());
            return (frames, code);
        }
        frames.push(frame);
    }
}

fn texts(frames: &[Frame]) -> Vec<String> {
    frames.iter().filter(|frame| frame.is(Opcode::Text)).map(Frame::as_text).collect()
}

/// Sends these to an echo server and stops it when it has them all; what came back.
fn echoes(server: &Server, client: &mut Socket, sent: &[String]) {
    for text in sent {
        client.say(Frame::text(text));
    }
    server.process.wait_for_stdout(sent.last().expect("a message"));
}

/// The number behind a word in the summary.
fn count(output: &Output, word: &str) -> usize {
    let rest = output.stderr.rsplit(&format!("{word} ")).next().expect("a part");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

const CHANCE: [&str; 8] = ["--loss", "1/5", "--corrupt", "20%", "--duplicate", "0.2", "--echo", "--json"];

#[test]
fn the_counts_agree_with_what_a_client_saw() {
    let sent = numbered(400);
    let server = listen(&CHANCE);
    let mut client = RawClient::connect(server.port);
    echoes(&server, &mut client, &sent);
    server.process.signal(nix::sys::signal::Signal::SIGTERM);
    let (frames, code) = until_close(client);
    assert_eq!(code, 1001);
    let output = server.process.outcome().exits(0);
    let mut seen = vec![0; sent.len()];
    let mut changed = vec![false; sent.len()];
    let mut newest = 0;
    for text in texts(&frames) {
        let number = (0..sent.len()).find(|number| distance(&sent[*number], &text) <= 1).expect("one of ours");
        assert!(number >= newest, "order is kept: {number} after {newest}");
        newest = number;
        seen[number] += 1;
        changed[number] |= text != sent[number];
    }
    let lost = seen.iter().filter(|times| **times == 0).count();
    let doubled = seen.iter().filter(|times| **times == 2).count();
    let corrupted = changed.iter().filter(|changed| **changed).count();
    assert!(lost > 40 && doubled > 30 && corrupted > 30, "{lost} {doubled} {corrupted}");
    let faults =
        format!("faults {} (lost {lost}, corrupted {corrupted}, duplicated {doubled})", lost + corrupted + doubled);
    let sums = format!("received 400, sent {}, dropped {lost} (loss {lost}), {faults}", frames.len());
    output.complains(&sums);
}

#[test]
fn the_same_seed_gives_the_same_faults_to_each_session_and_each_run() {
    let sent = numbered(100);
    let serve = |server: Server| -> (Vec<Vec<String>>, Output) {
        let mut clients = [RawClient::connect(server.port), RawClient::connect(server.port)];
        // Each has its own last word, so that both are known to have arrived.
        for (index, client) in clients.iter_mut().enumerate() {
            echoes(&server, client, &[&sent[..], &[format!("last {index}")]].concat());
        }
        server.process.signal(nix::sys::signal::Signal::SIGTERM);
        let seen = clients.map(|client| {
            let mut texts = texts(&until_close(client).0);
            // The last word differs.
            texts.retain(|text| text.len() > 10);
            texts
        });
        (seen.to_vec(), server.process.outcome().exits(0))
    };
    let (first, output) = serve(listen(&CHANCE));
    assert_eq!(first[0], first[1], "each session meets the same");
    let seed = output.stderr.split("--seed ").nth(1).and_then(|rest| rest.lines().next()).expect("the seed").to_owned();
    let (again, output) = serve(listen(&[&CHANCE[..], &["--seed", &seed]].concat()));
    assert_eq!(again, first, "seed {seed}");
    assert!(!output.stderr.contains("--seed"), "who gave it knows it: {}", output.stderr);
    let (other, _) = serve(listen(&[&CHANCE[..], &["--seed", "1"]].concat()));
    assert_ne!(other, first);
}

#[test]
fn late_messages_are_under_way_together() {
    let server = listen(&["--echo", "--delay", "400ms±100ms", "--seed", "3"]);
    let mut client = RawClient::connect(server.port);
    let started = Instant::now();
    for text in numbered(400) {
        client.say(Frame::text(&text));
    }
    assert_eq!(client.read_text(), numbered(1)[0]);
    assert!(started.elapsed() >= Duration::from_millis(300), "{:?}", started.elapsed());
    for text in &numbered(400)[1..] {
        assert_eq!(client.read_text(), *text);
    }
    // One after the other they would take 160 s.
    assert!(started.elapsed() < Duration::from_secs(80), "one after the other: {:?}", started.elapsed());
    // A pong is not late.
    client.say(Frame::text("late"));
    client.say(Frame::new(Opcode::Ping, *b"now"));
    assert!(client.read_frame().expect("a pong").is(Opcode::Pong));
    assert_eq!(client.read_text(), "late");
    server.process.signal(nix::sys::signal::Signal::SIGTERM);
    client.answer_close();
    server.process.outcome().exits(0).complains("faults 401 (delayed 401)");
}

#[test]
fn no_more_is_under_way_than_the_queue_holds() {
    let server = listen(&["--echo", "--json", "--delay", "1h", "--queue-size", "5"]);
    let mut client = RawClient::connect(server.port);
    for text in numbered(20) {
        client.say(Frame::text(&text));
    }
    server.process.wait_for_stdout("0004 0004");
    // The server has been at work since, and has not read on.
    let mut other = RawClient::connect(server.port);
    for _ in 0..5 {
        other.say(Frame::new(Opcode::Ping, *b""));
        assert!(other.read_frame().expect("a pong").is(Opcode::Pong));
    }
    // At its end it is in a hurry.
    server.process.signal(nix::sys::signal::Signal::SIGTERM);
    other.answer_close();
    let (frames, code) = until_close(client);
    assert_eq!((texts(&frames), code), (numbered(5), 1001));
    // The others were read behind the Close, where nothing can be sent any more.
    let output = server.process.outcome().exits(0);
    output.complains("received 20, sent 5, dropped 15 (receiver-gone 15), faults 5 (delayed 5)");
}

#[test]
fn a_stall_holds_up_everything_for_its_time() {
    let server = listen(&["--echo", "--stall", "400ms every 700ms"]);
    let mut client = RawClient::connect(server.port);
    let started = Instant::now();
    let mut longest = Duration::ZERO;
    let mut number = 0;
    while started.elapsed() < Duration::from_millis(1700) {
        let asked = Instant::now();
        // Neither pongs nor messages pass.
        if number % 2 == 0 {
            client.say(Frame::new(Opcode::Ping, *b""));
            assert!(client.read_frame().expect("a pong").is(Opcode::Pong));
        } else {
            client.say(Frame::text("hello"));
            assert_eq!(client.read_text(), "hello");
        }
        longest = longest.max(asked.elapsed());
        number += 1;
    }
    assert!(longest >= Duration::from_millis(350), "{longest:?}");
    // Not even a stall keeps the server from ending.
    server.process.signal(nix::sys::signal::Signal::SIGTERM);
    client.answer_close();
    let output = server.process.outcome().exits(0);
    assert_eq!(count(&output, "stalled"), 2, "{}", output.stderr);
}

#[test]
fn a_session_ends_after_so_many_messages_when_the_answers_are_out() {
    // How many are answered, and the Close: 1 in, 2 out, 3 in and its answer.
    for (flags, answers) in [(&["3"][..], 2), (&["4"], 2), (&["1"], 1), (&["3", "--delay", "200ms"], 3)] {
        let server = listen(&[&["--echo", "--close", "1011:enough", "--close-after"][..], flags].concat());
        let mut client = RawClient::connect(server.port);
        client.write(Frame::text("hello").masked().bytes().repeat(10));
        let (frames, code) = until_close(client);
        assert_eq!((frames.len(), code), (answers, 1011), "{flags:?}");
        server.stop().exits(0).complains("closed 1)");
    }
    // Both ways count, lines of stdin, too.
    let mut server = listen(&["--close-after", "3"]);
    let client = RawClient::connect(server.port);
    server.process.send("1\n2\n3\n4\n5\n");
    let (frames, code) = until_close(client);
    assert_eq!((texts(&frames), code), (vec!["1".to_owned(), "2".to_owned(), "3".to_owned()], 1000));
}

#[test]
fn a_session_ends_after_so_long_or_right_after_opening() {
    let server = listen(&["--echo", "--close-after", "300ms"]);
    let opened = Instant::now();
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text("hello"));
    let (frames, code) = until_close(client);
    assert_eq!((texts(&frames), code), (vec!["hello".to_owned()], 1000));
    assert!(opened.elapsed() >= Duration::from_millis(290), "{:?}", opened.elapsed());

    let server = listen(&["--echo", "--close", "4242:not today"]);
    let output = run(&["connect", &server.url, "-w", "-1"], "hello\n").exits(9).prints("");
    output.complains("4242 not today");
    server.stop().exits(0).complains("faults 1 (closed 1)");
}

#[test]
fn every_upgrade_is_rejected_as_asked() {
    let flags = ["--reject", "429:{\"wait\":true}", "-H", "Retry-After: 7", "-H", "Content-Type: application/json"];
    let server = listen(&flags);
    for _ in 0..3 {
        let mut client = RawClient::dial(server.port);
        client.write(RawClient::request("/", "Connection: close\r\n"));
        let head = client.read_head();
        assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
        assert_eq!(header(&head, "retry-after"), Some("7"));
        assert_eq!(header(&head, "content-type"), Some("application/json"));
        client.half_close();
        assert_eq!(client.read_rest(), b"{\"wait\":true}", "nothing is added");
    }
    run(&["connect", &server.url], "").exits(5).complains("429");
    // What is no upgrade is told so.
    assert!(RawClient::ask(server.port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 426 "));
    server.stop().exits(0).complains("refused 5").complains("faults 4 (rejected 4)");
    // A redirect, for clients that follow them.
    let goal = listen(&["--echo"]);
    let server = listen(&["--reject", "302", "-H", &format!("Location: {}", goal.url)]);
    run(&["connect", "-L", &server.url], "hello\n").exits(0).prints("hello\n");
}

#[test]
fn pings_stay_without_an_answer_and_all_else_works() {
    let server =
        listen(&["--echo", "--json", "--no-pong", "--compress", "--ping-interval", "200ms", "--ping-timeout", "2s"]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::new(Opcode::Ping, *b"anyone?"));
    client.say(Frame::new(Opcode::Pong, *b"unasked"));
    // A ping between the parts of a message.
    client.say(Frame::text("hel").unfinished());
    client.say(Frame::new(Opcode::Ping, *b"still?"));
    client.say(Frame::new(Opcode::Continuation, *b"lo"));
    let mut pings = 0;
    loop {
        let frame = client.read_frame().expect("an echo");
        match frame.opcode {
            1 => break assert_eq!(frame.as_text(), "hello"),
            9 => {
                pings += 1;
                client.say(Frame::new(Opcode::Pong, frame.payload));
            }
            _ => panic!("{frame:?}"),
        }
    }
    // The server's own pings are answered, so it stays: longer than one that is not would be.
    while pings < 12 {
        let frame = client.read_frame().expect("a ping");
        assert!(frame.is(Opcode::Ping), "{frame:?}");
        pings += 1;
        client.say(Frame::new(Opcode::Pong, frame.payload));
    }
    client.say(Frame::close(1000, ""));
    client.read_close();
    // Compressed as well.
    run(&["connect", &server.url, "-x", &"hello ".repeat(30), "-n", "1"], "").exits(0);
    // Whoever looks for pongs gives up on a server that is silent otherwise.
    let silent = listen(&["--echo", "--no-pong"]);
    let alive = ["connect", &silent.url, "-w", "-1", "--ping-interval", "100ms", "--ping-timeout", "300ms"];
    run(&alive, "").exits(9).complains("unresponsive");
    assert!(count(&silent.stop().exits(0), "unanswered") > 0);
    let output = server.stop().exits(0);
    assert!(count(&output, "unanswered") >= 2, "{}", output.stderr);
    let events = events(output.stdout());
    let of = |kind: &str, text: &str| {
        events.iter().any(|event| event["type"] == kind && event["dir"] == "in" && event["text"] == text)
    };
    assert!(of("ping", "anyone?") && of("ping", "still?") && of("pong", "unasked"), "each is what it was");
}

#[test]
fn messages_come_in_small_frames() {
    let server = listen(&["--echo", "--fragment", "3", "--compress"]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text("hällo"));
    client.say(Frame::text("abc"));
    let frames: Vec<_> = (0..3).map(|_| client.read_frame().expect("a frame")).collect();
    let shapes: Vec<_> = frames.iter().map(|frame| (frame.fin, frame.opcode, frame.payload.len())).collect();
    assert_eq!(shapes, [(false, 1, 3), (true, 0, 3), (true, 1, 3)]);
    assert_eq!(frames[..2].iter().flat_map(|frame| frame.payload.clone()).collect::<Vec<_>>(), "hällo".as_bytes());
    let text = "compress me ".repeat(20);
    run(&["connect", &server.url, "-x", &text, "-n", "1"], "").exits(0).prints(&format!("{text}\n"));
}

#[test]
fn what_is_changed_keeps_its_type_and_is_legal() {
    let server = listen(&["--echo", "--corrupt", "100%"]);
    let mut client = RawClient::connect(server.port);
    for text in ["a", "é", "日本語", "👍", "{\"price\":1}", "\u{1}", "~"] {
        client.say(Frame::text(text));
        // Not UTF-8 would fail here.
        let changed = client.read_text();
        assert!(changed != text && changed.len() == text.len(), "{text} {changed}");
        client.say(Frame::new(Opcode::Binary, text));
        let changed = client.read_frame().expect("an echo");
        assert!(
            changed.is(Opcode::Binary) && changed.payload != text.as_bytes() && changed.payload.len() == text.len()
        );
    }
    client.say(Frame::text(""));
    assert_eq!(client.read_text(), "");
    drop(client);
    server.stop().exits(0).complains("faults 14 (corrupted 14)");
}

#[test]
fn whatever_the_server_sends_meets_them() {
    let mut server = listen(&["--loss", "100%", "--admin", "0"]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text("hello"));
    server.process.wait_for_stdout("hello");
    server.process.send("one\ntwo\n");
    let lost = |answer: &Answer| answer.text().contains("wsp_dropped_total{reason=\"loss\"} 2\n");
    wait_for(admin_port(&server), "/metrics", lost);
    client.say(Frame::text("and on"));
    server.process.wait_for_stdout("and on");
    server.process.signal(nix::sys::signal::Signal::SIGTERM);
    let (frames, _) = until_close(client);
    assert_eq!(texts(&frames), Vec::<String>::new());
    server.process.outcome().exits(0).complains("received 2, sent 0, dropped 2 (loss 2), faults 2 (lost 2)");

    let server = listen(&["--broadcast", "--duplicate", "1", "--on-full", "drop-oldest"]);
    let (mut first, mut second) = (RawClient::connect(server.port), RawClient::connect(server.port));
    first.say(Frame::text("hello"));
    for client in [&mut first, &mut second] {
        assert_eq!((client.read_text(), client.read_text()), ("hello".to_owned(), "hello".to_owned()));
    }
    server.stop().exits(0).complains("faults 2 (duplicated 2)");
}

#[test]
fn without_faults_nothing_is_said_of_them() {
    let server = listen(&["--echo"]);
    RawClient::connect(server.port);
    let output = server.stop().exits(0);
    assert!(!output.stderr.contains("fault") && !output.stderr.contains("seed"), "{}", output.stderr);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let table: [(&[&str], &str); 10] = [
        (&["--loss", "101%"], "share"),
        (&["--corrupt", "x"], "share"),
        (&["--delay", "1s±2s"], "must not exceed"),
        (&["--stall", "2s"], "every"),
        (&["--stall", "2s every 1s"], "shorter"),
        (&["--close", "1006"], "ended without a close frame"),
        (&["--close", "1005"], "without a code"),
        (&["--close-after", "soon"], "number of messages"),
        (&["--reject", "101"], "start with 200-599"),
        (&["--fragment", "0"], "--fragment"),
    ];
    for (arguments, complaint) in table {
        wsp(["listen", "127.0.0.1:0"]).args(arguments).input("").exits(2).complains(complaint);
    }
}
