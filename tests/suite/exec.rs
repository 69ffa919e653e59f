//! `wsp listen --exec`: what a program gets and gives, how it ends, and that nothing of it is left behind.
//!
//! Programs say their process id, which is also their group's, and the tests look for it from outside.

use std::sync::atomic::Ordering;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::programs::{children_of, of_group, wait_for_end_of_children, wait_for_end_of_group};
use crate::support::{
    DEADLINE, Frame, Opcode, RawClient, Server, Socket, events, events_of, listen, run, scratch, text, wsp,
};

/// A server that runs this for each session.
fn exec(command: &str) -> Server {
    listen(&["--exec", command])
}

/// A client whose program has begun by saying its process id.
fn client_of(server: &Server) -> (Socket, u32) {
    let mut client = RawClient::connect(server.port);
    let id = client.read_text().trim().parse().expect("a process id");
    (client, id)
}

fn close_of(client: &mut Socket) -> (u16, String) {
    let close = client.read_close();
    (close.close_code(), String::from_utf8_lossy(close.payload.get(2..).unwrap_or_default()).into_owned())
}

/// Waits until a figure no longer changes while other clients are served.
fn until_it_stands_still<T: PartialEq>(server: &Server, figure: impl Fn() -> T) -> T {
    let mut before = figure();
    loop {
        for _ in 0..20 {
            RawClient::connect(server.port).read_text();
        }
        let now = figure();
        if now == before {
            return now;
        }
        before = now;
    }
}

#[test]
fn a_message_is_a_line_both_ways() {
    let server = exec("while read -r line; do echo \"<$line>\"; done");
    let mut client = RawClient::connect(server.port);
    for (sent, answers) in [("one", &["<one>"][..]), ("", &["<>"]), ("ünï $HOME `id`", &["<ünï $HOME `id`>"])] {
        client.say(Frame::text(sent));
        for answer in answers {
            assert_eq!(client.read_text(), *answer);
        }
    }
    // A message with newlines is several lines; binary gets a newline, too.
    client.say(Frame::text("a\nb"));
    client.say(Frame::new(Opcode::Binary, *b"c"));
    let answers: Vec<String> = (0..3).map(|_| client.read_text()).collect();
    assert_eq!(answers, ["<a>", "<b>", "<c>"]);
    drop(client);
    let output = server.stop().exits(0);
    assert_eq!(output.bytes, b"", "nothing is printed");
}

#[test]
fn lines_that_are_no_text_are_binary_and_the_last_needs_no_newline() {
    let server = exec(r"printf 'text\r\n\377\376\nrest'");
    let mut client = RawClient::connect(server.port);
    assert_eq!(client.read_data(), Frame::text("text"));
    assert_eq!(client.read_data(), Frame::new(Opcode::Binary, [0xff, 0xfe]));
    assert_eq!(client.read_data(), Frame::text("rest"));
    assert_eq!(close_of(&mut client), (1000, String::new()));
}

#[test]
fn every_session_has_a_program_of_its_own() {
    let server = exec("echo $$; exec cat");
    let (mut one, first) = client_of(&server);
    let (mut two, second) = client_of(&server);
    assert_ne!(first, second);
    two.say(Frame::text("to the second"));
    one.say(Frame::text("to the first"));
    assert_eq!((one.read_text(), two.read_text()), ("to the first".into(), "to the second".into()));
    // One ends, the other goes on.
    one.say(Frame::close(1000, ""));
    one.read_rest();
    wait_for_end_of_group(first);
    two.say(Frame::text("still there"));
    assert_eq!(two.read_text(), "still there");
    assert_eq!(of_group(second).len(), 1);
}

#[test]
fn the_end_of_a_program_is_a_close_after_all_it_wrote() {
    let table = [
        ("seq 1 50000", 50_000, (1000, "")),
        ("echo last; exit 3", 1, (1011, "exit status 3")),
        ("echo last; kill -9 $$", 1, (1011, "signal 9 (SIGKILL)")),
        ("no-such-program-here", 0, (1011, "exit status 127")),
        ("true", 0, (1000, "")),
    ];
    for (command, lines, (code, reason)) in table {
        let server = exec(command);
        let mut client = RawClient::connect(server.port);
        let mut seen = 0;
        let close = loop {
            let frame = client.read_frame().expect("a Close at the end");
            if frame.is(Opcode::Close) {
                break frame;
            }
            seen += usize::from(frame.is(Opcode::Text));
        };
        assert_eq!((seen, close.close_code()), (lines, code), "{command}");
        assert_eq!(&close.payload[2..], reason.as_bytes(), "{command}");
        drop(client);
        wait_for_end_of_children(server.process.id());
        let output = server.stop().exits(0);
        assert_eq!(output.stderr.contains("the program ended with"), code == 1011, "{command}: {}", output.stderr);
    }
    let server = exec("head -c 60000 /dev/zero | tr '\\0' x");
    let text = RawClient::connect(server.port).read_text();
    assert!(text == "x".repeat(60_000), "a line of any length in one message, {} of it", text.len());
}

#[test]
fn the_request_is_in_the_environment_and_never_in_the_command_line() {
    let folder = scratch();
    let trap = folder.path().join("trap");
    let server = exec("env -0 | tr '\\n\\0' '@\\n'; echo end; cat /proc/$$/cmdline | tr '\\0' ' '; echo; echo end");
    let evil = format!("$(touch {0}) `touch {0}` ; touch {0} | \"' \u{fc}", trap.display());
    let path = format!("/a%0Ab/$(touch${{IFS}}{0})/%60touch%20{0}%60?q=$(touch%20{0})&`x`", trap.display());
    let headers = format!(
        "X-Evil: {evil}\r\nX-Two: a\r\nX-Two: b\r\nX_Two: smuggled\r\nProxy: http://evil.example/\r\n\
         Authorization: Bearer hush\r\nCookie: a=1\r\nCookie: b=2\r\nX%28%29: odd\r\n"
    );
    let (mut client, _) = RawClient::open(server.port, &path, &headers);
    let mut part = || {
        let mut lines = Vec::new();
        loop {
            let frame = client.read_data();
            let line = String::from_utf8_lossy(&frame.payload).into_owned();
            if line == "end" {
                return lines;
            }
            lines.push(line);
        }
    };
    let variables = part();
    let value = |name: &str| variables.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    assert_eq!(value("HTTP_X_EVIL"), Some(evil.as_str()));
    assert_eq!(value("HTTP_X_TWO"), Some("a, b"));
    assert_eq!(value("HTTP_COOKIE"), Some("a=1; b=2"));
    assert_eq!(value("HTTP_PROXY"), None);
    assert_eq!(value("HTTP_AUTHORIZATION"), None);
    assert_eq!(value("REQUEST_METHOD"), Some("GET"));
    let decoded = format!("/a@b/$(touch${{IFS}}{0})/`touch {0}`", trap.display());
    assert_eq!(value("PATH_INFO"), Some(decoded.as_str()));
    assert_eq!(value("QUERY_STRING"), path.split_once('?').map(|(_, query)| query));
    assert_eq!(value("REMOTE_ADDR"), Some("127.0.0.1"));
    assert_eq!(value("UNIQUE_ID"), Some("s1"));
    for line in &variables {
        let name = line.split('=').next().unwrap_or_default();
        assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "a plain name: {line}");
    }
    let command = part().concat();
    assert!(command.starts_with("/bin/sh -c env -0"), "{command}");
    assert!(!command.contains("touch") && !command.contains("evil"), "{command}");
    assert!(!trap.exists(), "nothing of the request was run");
}

#[test]
fn requests_that_no_variable_can_hold_are_refused() {
    let server = exec("cat");
    for request in [
        RawClient::request("/a%00b", ""),
        RawClient::request("/", "X-Nul: a\0b\r\n"),
        RawClient::request("/", "X-Return: a\rb\r\n"),
        RawClient::request("/", "X Space: a\r\n"),
        RawClient::request("/a\0b", ""),
    ] {
        let answer = RawClient::ask(server.port, &request);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{request:?}: {answer:?}");
    }
    assert_eq!(children_of(server.process.id()).len(), 0, "no program was started");
}

#[test]
fn the_environment_of_the_server_does_not_pass_for_a_request() {
    let process = wsp(["listen", "127.0.0.1:0", "--exec", "echo \"[$HTTP_COOKIE] [$HTTP_PROXY] [$OWN]\""])
        .env("HTTP_COOKIE", "stale")
        .env("HTTP_PROXY", "http://proxy.example/")
        .env("OWN", "kept")
        .spawn();
    let line = process.wait_for_stderr("listening on ");
    let url = line.split("listening on ").nth(1).expect("an address").to_owned();
    run(&["connect", &url, "-H", "Proxy: http://evil.example/", "-n", "1"], "")
        .exits(0)
        .prints("[] [http://proxy.example/] [kept]\n");
}

#[test]
fn stderr_is_passed_on_by_line() {
    let command = "printf 'one\\ntwo' >&2; echo done; read -r line; printf '\\nthree\\n\\377\\n' >&2";
    let server = exec(command);
    let mut client = RawClient::connect(server.port);
    assert_eq!(client.read_text(), "done");
    client.say(Frame::text("go on"));
    assert_eq!(close_of(&mut client).0, 1000);
    drop(client);
    let output = server.stop().exits(0);
    for line in ["s1: one\n", "s1: two\n", "s1: three\n", "s1: \u{fffd}\n"] {
        assert!(output.stderr.contains(line), "{line:?} in {}", output.stderr);
    }
    let server = listen(&["-q", "--exec", "echo plain >&2"]);
    RawClient::connect(server.port).read_close();
    server.process.wait_for_stderr("plain");
    let output = server.stop().exits(0);
    assert!(output.stderr.lines().any(|line| line == "plain"), "without the session: {}", output.stderr);
}

#[test]
fn a_flood_on_stderr_or_a_line_without_end_harms_nobody() {
    let server =
        exec("case $PATH_INFO in /flood) yes on stderr >&2;; /long) tr '\\0' x </dev/zero >&2;; *) cat;; esac");
    let _flood = RawClient::open(server.port, "/flood", "").0;
    let _long = RawClient::open(server.port, "/long", "").0;
    server.process.wait_for_stderr("on stderr");
    server.process.wait_for_stderr("xxxxxxxxxx");
    let mut other = RawClient::connect(server.port);
    other.say(Frame::text("served"));
    assert_eq!(other.read_text(), "served");
    server.process.signal(Signal::SIGTERM);
}

#[test]
fn events_tell_of_messages_and_of_the_end() {
    let server = listen(&["--json", "--exec", "read -r line; echo \"got $line\"; exit 2"]);
    let mut client = RawClient::connect(server.port);
    client.say(Frame::text("it"));
    assert_eq!(client.read_text(), "got it");
    assert_eq!(client.answer_close(), 1011);
    server.process.wait_for_stdout("\"error\"");
    let output = server.stop().exits(0);
    let events = events(output.stdout());
    assert_eq!(events_of(&events, "text", "in")[0]["text"], "it");
    assert_eq!(events_of(&events, "text", "out")[0]["text"], "got it");
    let error = events.iter().find(|event| event["type"] == "error").expect("an error event");
    assert_eq!(error["error"], "the program ended with exit status 2");
}

#[test]
fn a_program_that_never_reads_pauses_its_client() {
    let server = listen(&["--ping-interval", "100ms", "--exec", "echo $$; sleep 1000"]);
    let (client, group) = client_of(&server);
    let taken = client.pour(Frame::text(&"x".repeat(64 * 1024)).masked().bytes());
    let taken = until_it_stands_still(&server, || taken.load(Ordering::Relaxed));
    assert!(taken < 32 << 20, "the client was paused after {taken} bytes");
    let peak = super::listen_limits::peak_memory(server.process.id());
    assert!(peak < 64 << 20, "{peak} bytes at its peak");
    // A client that leaves meanwhile is noticed by the pings.
    client.hang_up();
    wait_for_end_of_group(group);
    let output = server.stop().exits(0);
    assert!(output.stderr.contains("receiver-gone"), "what the program never read is counted: {}", output.stderr);
}

#[test]
fn a_client_that_never_reads_pauses_its_program() {
    let folder = scratch();
    let count = folder.path().join("count");
    let server = exec(&format!(
        "echo $$; n=0; while [ $n -lt 4000 ]; do n=$((n+1)); printf '%010d%04000d\\n' $n 0; echo $n >{}; done",
        count.display()
    ));
    let (mut client, group) = client_of(&server);
    let written = || std::fs::read_to_string(&count).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let before = until_it_stands_still(&server, written);
    assert!(before < Some(4000), "the program was paused after {before:?} of 4000 lines");
    for number in 1..=4000_u32 {
        assert!(client.read_text().starts_with(&format!("{number:010}")), "line {number}");
    }
    assert_eq!(close_of(&mut client).0, 1000);
    wait_for_end_of_group(group);
}

#[test]
fn a_program_that_floods_loses_nothing_and_holds_up_nobody() {
    let server = exec("case $PATH_INFO in /flood) seq 1 200000;; *) cat;; esac");
    let mut flooded = RawClient::open(server.port, "/flood", "").0;
    assert_eq!(flooded.read_text(), "1");
    let mut other = RawClient::connect(server.port);
    other.say(Frame::text("served"));
    assert_eq!(other.read_text(), "served");
    for number in 2..=200_000 {
        assert_eq!(flooded.read_text(), number.to_string());
    }
    assert_eq!(close_of(&mut flooded).0, 1000);
}

#[test]
fn a_line_over_the_limit_ends_the_session() {
    let server = listen(&["--max-message-size", "1KiB", "--exec", "echo $$; yes | tr -d '\\n'"]);
    let (mut client, group) = client_of(&server);
    let (code, reason) = close_of(&mut client);
    assert_eq!(code, 1011, "{reason}");
    assert!(reason.contains("1024 bytes"), "{reason}");
    drop(client);
    wait_for_end_of_group(group);
}

#[test]
fn a_program_that_ignores_the_end_of_its_input_is_terminated_and_then_killed() {
    for (command, seen) in [
        ("trap 'echo terminated >&2; exit' TERM; echo $$; while :; do sleep 0.05; done", true),
        ("trap '' TERM; echo $$; while :; do sleep 0.05; done", false),
    ] {
        let server = listen(&["--exec-grace", "200ms", "--exec", command]);
        let (client, group) = client_of(&server);
        drop(client);
        wait_for_end_of_group(group);
        wait_for_end_of_children(server.process.id());
        let output = server.stop().exits(0);
        assert_eq!(output.stderr.contains("s1: terminated"), seen, "{}", output.stderr);
    }
}

#[test]
fn a_program_may_finish_its_work_after_its_client_has_left() {
    let folder = scratch();
    let file = folder.path().join("saved");
    let server = exec(&format!(
        "echo $$; while read -r line; do all=$all$line; done; yes bye | head -c 200000; echo \"$all\" >{}",
        file.display()
    ));
    let (mut client, group) = client_of(&server);
    client.say(Frame::text("kept"));
    client.say(Frame::close(1000, ""));
    client.read_rest();
    wait_for_end_of_group(group);
    assert_eq!(std::fs::read_to_string(file).expect("it was saved"), "kept\n");
}

#[test]
fn what_a_program_leaves_behind_ends_with_it() {
    // A child that holds the pipes, one that ignores signals, and one that has let go of them.
    for command in [
        "sleep 1000 & echo $$",
        "(trap '' TERM; sleep 1000) & echo $$",
        "sleep 1000 </dev/null >/dev/null 2>&1 & echo $$",
        "(yes >&2) & echo $$",
    ] {
        let server = listen(&["--exec-grace", "100ms", "--exec", command]);
        let (mut client, group) = client_of(&server);
        loop {
            let frame = client.read_frame().expect("a Close");
            if frame.is(Opcode::Close) {
                assert_eq!(frame.close_code(), 1000, "{command}");
                break;
            }
        }
        wait_for_end_of_group(group);
        drop(client);
        server.stop().exits(0);
    }
}

#[test]
fn one_that_left_the_group_and_holds_the_pipe_does_not_hold_the_session() {
    let folder = scratch();
    let file = folder.path().join("id");
    let server = exec(&format!(
        "setsid sh -c 'echo $$ >{0}; sleep 1000' & while [ ! -s {0} ]; do :; done; echo $$",
        text(&file)
    ));
    let (mut client, group) = client_of(&server);
    assert_eq!(close_of(&mut client), (1000, String::new()));
    wait_for_end_of_group(group);
    drop(client);
    server.stop().exits(0);
    // It was told to live on, so it is ours to end.
    let left: u32 = std::fs::read_to_string(file).expect("its id").trim().parse().expect("a number");
    assert!(!of_group(left).is_empty(), "a session of its own outlives the server");
    for program in of_group(left) {
        kill(Pid::from_raw(i32::try_from(program.id).expect("an id")), Signal::SIGKILL).expect("it runs");
    }
}

#[test]
fn a_program_that_closes_its_output_or_its_input_goes_on() {
    let server =
        exec("case $PATH_INFO in /out) exec >&-; read -r line; exit 5;; *) exec <&-; echo deaf; sleep 1000;; esac");
    let mut mute = RawClient::open(server.port, "/out", "").0;
    mute.say(Frame::text("go"));
    assert_eq!(close_of(&mut mute), (1011, "exit status 5".to_owned()));
    let mut deaf = RawClient::connect(server.port);
    assert_eq!(deaf.read_text(), "deaf");
    for _ in 0..100 {
        deaf.say(Frame::text(&"unheard".repeat(1000)));
    }
    deaf.say(Frame::new(Opcode::Ping, *b"read on"));
    assert!(deaf.read_frame().expect("a pong").is(Opcode::Pong), "the client is not paused");
    drop((mute, deaf));
    let output = server.stop().exits(0);
    assert!(output.stderr.contains("dropped 100 (receiver-gone 100)"), "{}", output.stderr);
}

#[test]
fn two_hundred_quick_sessions_leave_no_process() {
    let server = exec("echo $$; exec cat");
    for round in 0..20 {
        let mut clients: Vec<_> = (0..10).map(|_| RawClient::connect(server.port)).collect();
        for (number, client) in clients.iter_mut().enumerate() {
            // Some leave with a Close, some without a word, some before their program has said anything.
            match (round + number) % 3 {
                0 => client.say(Frame::close(1000, "")),
                1 => drop(client.read_text()),
                _ => {}
            }
        }
    }
    wait_for_end_of_children(server.process.id());
    let output = server.stop().exits(0);
    assert!(output.stderr.contains("connections 200,"), "{}", output.stderr);
}

#[test]
fn above_the_most_programs_a_request_is_refused_until_there_is_room() {
    let server = listen(&["--exec-max", "2", "--exec", "echo $$; exec cat"]);
    let (one, group) = client_of(&server);
    let (_two, _) = client_of(&server);
    let answer = RawClient::ask(server.port, &RawClient::request("/", ""));
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    drop(one);
    wait_for_end_of_group(group);
    let deadline = std::time::Instant::now() + DEADLINE;
    while !RawClient::ask(server.port, &RawClient::request("/", "")).starts_with("HTTP/1.1 101 ") {
        assert!(std::time::Instant::now() < deadline, "the place never became free");
    }
}

#[test]
fn a_stopping_server_ends_every_program() {
    // One that ends with its input, one that wants to be told, one that has children, one that will not listen.
    let command = "echo $$; case $PATH_INFO in /cat) exec cat;; /sleep) exec sleep 1000;; \
                   /family) sleep 1000 & sleep 1000;; *) trap '' TERM; while :; do sleep 0.05; done;; esac";
    for (signals, code) in
        [(&[Signal::SIGTERM][..], 0), (&[Signal::SIGINT][..], 0), (&[Signal::SIGINT, Signal::SIGINT][..], 130)]
    {
        let grace = if code == 0 { "100ms" } else { "1h" };
        let server = listen(&["--exec-grace", grace, "--exec", command]);
        let mut groups = Vec::new();
        let mut clients = Vec::new();
        for path in ["/cat", "/sleep", "/family", "/stubborn"] {
            let mut client = RawClient::open(server.port, path, "").0;
            groups.push(client.read_text().parse::<u32>().expect("a process id"));
            clients.push(client);
        }
        server.process.signal(signals[0]);
        for client in clients {
            assert_eq!(client.answer_close(), 1001);
        }
        for signal in &signals[1..] {
            server.process.signal_again(*signal);
        }
        let output = server.process.outcome().exits(code);
        for group in groups {
            assert!(of_group(group).is_empty(), "{:?} is left: {}", of_group(group), output.stderr);
        }
    }
}

#[test]
fn flags_that_belong_to_programs_want_one() {
    run(&["listen", ":0", "--exec-max", "3"], "").exits(2).complains("--exec");
    run(&["listen", ":0", "--exec", "cat", "--echo"], "").exits(2);
}
