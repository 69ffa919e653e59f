//! The prompt of `wsp connect`, in a real terminal with real keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wscat_plus::internals::{Prompt, PromptSettings, Status};

use crate::support::fake::next;
use crate::support::terminal::Terminal;
use crate::support::{FakeServer, Frame, Opcode, listen, require, run, write, wsp};

fn person() -> Option<Terminal> {
    require("tmux").then(Terminal::open)
}

/// A server that prints what arrives, and its output so far as lines.
macro_rules! terminal {
    () => {
        match person() {
            Some(terminal) => terminal,
            None => return,
        }
    };
}

#[test]
fn lines_are_sent_and_replies_are_shown() {
    let terminal = terminal!();
    let server = listen(&["--echo"]);
    terminal.wsp(&server.url);
    terminal.line("hello there");
    terminal.wait_until("the line and its echo", |screen| {
        screen.contains("> hello there\n") && screen.contains("\nhello there\n")
    });
    terminal.line(r#"{"a":[1]}"#);
    terminal.wait_for("{\n  \"a\": [\n    1\n  ]\n}");
    let coloured = terminal.coloured();
    assert!(coloured.contains("\x1b[36m\"a\""), "keys have a colour: {coloured:?}");
    terminal.keys(&["C-d"]);
    assert_eq!(terminal.ended(), 0);
    assert!(server.stop().stderr.contains("received 2, sent 2"));
}

#[test]
fn the_prompt_shows_host_state_and_round_trip_time() {
    let terminal = terminal!();
    let server = listen(&["--echo"]);
    terminal.wsp(&server.url);
    let host = format!("127.0.0.1:{} open", server.port);
    terminal.wait_until("a round trip time", |screen| {
        screen.lines().any(|line| line.starts_with(&host) && line.contains("ms> "))
    });
    terminal.line("/ping are you there");
    terminal.wait_for(&format!("pong are you there from 127.0.0.1:{} after ", server.port));
    terminal.line("/quit");
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn history_is_kept_per_host_without_secrets() {
    let terminal = terminal!();
    let server = listen(&["--sink"]);
    terminal.wsp(&server.url);
    for line in ["first one", " with a space in front", r#"{"op":"auth","token":"hunter2"}"#, "last one"] {
        terminal.line(line);
    }
    terminal.keys(&["C-d"]);
    assert_eq!(terminal.ended(), 0);
    let file = terminal.state().join("wscat-plus/history/127.0.0.1");
    let kept = std::fs::read_to_string(&file).expect("a history file");
    assert_eq!(kept.lines().skip(1).collect::<Vec<_>>(), ["first one", "last one"]);
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&file).expect("the file"));
    assert_eq!(mode & 0o077, 0, "nobody else reads it");

    let later = terminal.again();
    later.wsp(&server.url);
    later.keys(&["Up"]);
    later.wait_for("> last one");
    later.keys(&["Up"]);
    later.wait_for("> first one");
    later.keys(&["C-u", "C-r"]);
    later.type_in("ast");
    later.wait_until("the search", |screen| screen.contains("ast': last one") || screen.contains("`ast'"));
    later.keys(&["Enter", "C-d"]);
    assert_eq!(later.ended(), 0);
    let other = terminal.again();
    other.wsp(&format!("ws://localhost:{}/", server.port));
    other.keys(&["Up"]);
    other.type_in("nothing");
    other.wait_for("> nothing");
    other.keys(&["C-u", "C-d"]);
    assert_eq!(other.ended(), 0);
}

#[test]
fn tab_completes_commands_and_files() {
    let terminal = terminal!();
    let folder = crate::support::scratch();
    let file = write(&folder, "with space.json", r#"{"from":"a file"}"#);
    let path = file.to_str().expect("UTF-8");
    let server = listen(&["--echo"]);
    terminal.wsp(&server.url);
    terminal.type_in("/hea");
    terminal.keys(&["Tab"]);
    terminal.wait_for("> /headers");
    terminal.keys(&["Enter"]);
    terminal.wait_for("< HTTP/1.1 101");
    terminal.type_in(&format!("/send @{}", &path[..path.len() - 10]));
    terminal.keys(&["Tab"]);
    terminal.wait_for("/with space.json");
    terminal.keys(&["Enter"]);
    terminal.wait_for("\"from\": \"a file\"");
    // A file that is dropped on the terminal.
    terminal.paste(&format!("'{path}'"));
    terminal.wait_for(&format!("Tab: /send @{path}"));
    terminal.keys(&["Tab"]);
    terminal.wait_for(&format!("> /send @{path}"));
    terminal.keys(&["Enter", "C-d"]);
    assert_eq!(terminal.ended(), 0);
    assert!(server.stop().stderr.contains("received 2,"));
}

#[test]
fn a_paste_of_many_lines_is_one_message() {
    let terminal = terminal!();
    let server = listen(&["--json"]);
    terminal.wsp(&server.url);
    let rows: String = (0..3000).map(|row| format!("row {row} of what was copied somewhere\n")).collect();
    let pasted = rows.trim_end();
    terminal.paste(pasted);
    terminal.wait_for("row 2999 of");
    terminal.keys(&["Enter", "C-d"]);
    assert_eq!(terminal.ended(), 0);
    let output = server.stop();
    let events = crate::support::events(output.stdout());
    let texts: Vec<_> = crate::support::events_of(&events, "text", "in");
    let texts: Vec<_> = texts.iter().filter_map(|event| event["text"].as_str()).collect();
    assert!(texts == [pasted], "{:?}", texts.iter().map(|text| (text.len(), text.get(..60))).collect::<Vec<_>>());
}

#[test]
fn typed_lines_survive_ten_thousand_messages_a_second() {
    let terminal = terminal!();
    // A slow prompt slows the flood down instead of losing some of it.
    let mut server = listen(&["--on-full", "block"]);
    let stop = Arc::new(AtomicBool::new(false));
    terminal.wsp(&server.url);
    let flood = {
        let stop = Arc::clone(&stop);
        let mut input = server.process.take_input();
        std::thread::spawn(move || {
            let mut sent = 0_u64;
            let begun = std::time::Instant::now();
            while !stop.load(Ordering::Relaxed) {
                let due = u64::try_from(begun.elapsed().as_micros() / 100).expect("a short test").min(sent + 1000);
                let block: String = (sent..due).map(|number| format!("message {number:09} of the flood\n")).collect();
                std::io::Write::write_all(&mut input, block.as_bytes()).expect("the server reads");
                sent = due;
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            sent
        })
    };
    terminal.wait_for("of the flood");
    let lines: Vec<String> = (0..20).map(|number| format!("typed line {number} {{\"while\":\"it rains\"}}")).collect();
    for line in &lines {
        for part in line.split_inclusive(' ') {
            terminal.type_in(part);
        }
        terminal.keys(&["Enter"]);
    }
    terminal.type_in("half typed");
    // The line stays, and what arrives goes by above it.
    for _ in 0..3 {
        let before = terminal.wait_until("the half line", |screen| last(screen).ends_with("> half typed"));
        terminal.wait_until("new messages above it", |screen| {
            last(screen).ends_with("> half typed") && screen.lines().rev().nth(1) != before.lines().rev().nth(1)
        });
    }
    stop.store(true, Ordering::Relaxed);
    let sent = flood.join().expect("the flood ends");
    terminal.wait_for(&format!("message {:09} of the flood", sent - 1));
    terminal.keys(&["C-u", "C-d"]);
    assert_eq!(terminal.ended(), 0);
    let output = server.stop();
    assert_eq!(output.stdout().lines().collect::<Vec<_>>(), lines, "no line is lost or torn");
    assert!(output.stderr.contains("dropped 0"), "{}", output.stderr);
}

fn last(screen: &str) -> &str {
    screen.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim_end()
}

#[test]
fn slash_commands_do_what_they_say() {
    let terminal = terminal!();
    let server = listen(&["--json"]);
    terminal.wsp(&server.url);
    terminal.line("//x is sent with one slash");
    terminal.line("/binary 00 ff 10");
    terminal.line("/nonsense");
    terminal.wait_for("unknown command /nonsense");
    terminal.line("/hlep");
    terminal.wait_for("did you mean /help?");
    terminal.line("/stats");
    terminal.wait_for("sent 2 messages, 28 bytes");
    terminal.line("/help");
    terminal.wait_for("//x sends /x");
    terminal.line("/close 4001 good bye");
    assert_eq!(terminal.ended(), 0);
    let output = server.stop();
    let events = crate::support::events(output.stdout());
    let data: Vec<_> = events.iter().filter(|event| event["type"] == "text" || event["type"] == "binary").collect();
    assert_eq!(data.len(), 2, "{data:?}");
    assert_eq!((&data[0]["text"], &data[1]["base64"]), (&"/x is sent with one slash".into(), &"AP8Q".into()));
    let close = events.iter().find(|event| event["type"] == "close" && event["dir"] == "in").expect("a close");
    assert_eq!((&close["code"], &close["reason"]), (&4001.into(), &"good bye".into()));
}

#[test]
fn help_is_folded_between_words_at_any_width() {
    let server = listen(&["--echo"]);
    for columns in [40, 80, 120] {
        if !require("tmux") {
            return;
        }
        let terminal = Terminal::sized(columns, 50);
        terminal.wsp(&server.url);
        terminal.line("/help");
        let screen = terminal.wait_for("immediately)");
        let line = |start: &str| screen.lines().position(|line| line.starts_with(start)).expect(start);
        let between = |start: &str, end: &str| -> Vec<&str> {
            screen.lines().take(line(end)).skip(line(start)).flat_map(str::split_whitespace).collect()
        };
        let record = "/record [FILE] record both directions into FILE (.jsonl or .har); without one, stop";
        assert_eq!(between("/record", "/headers"), record.split(' ').collect::<Vec<_>>(), "{columns}: {screen}");
    }
}

#[test]
fn a_filter_is_set_and_taken_away_while_connected() {
    let terminal = terminal!();
    let server = listen(&["--echo"]);
    terminal.wsp(&server.url);
    terminal.line("/jq .price | . * 2");
    terminal.line(r#"{"price":21}"#);
    terminal.wait_until("the filter's result", |screen| screen.lines().any(|line| line == "42"));
    terminal.line("plain words");
    terminal.wait_for("message skipped: not JSON");
    terminal.line("/jq .[");
    terminal.wait_for("/jq");
    terminal.line("/jq off");
    terminal.line(r#"{"price":22}"#);
    terminal.wait_for("  \"price\": 22");
    terminal.keys(&["C-d"]);
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn a_recording_begins_and_ends_while_connected() {
    let terminal = terminal!();
    let folder = crate::support::scratch();
    let (one, two) = (folder.path().join("one.jsonl"), folder.path().join("two.har"));
    let server = listen(&["--echo"]);
    terminal.wsp(&server.url);
    terminal.line("before");
    terminal.wait_for("\nbefore\n");
    terminal.line(&format!("/record {}", one.display()));
    terminal.line("within");
    terminal.wait_for("\nwithin\n");
    terminal.line(&format!("/record {}", two.display()));
    // It would be written from its beginning by both.
    terminal.line(&format!("/record {}", two.display()));
    terminal.wait_for("already recording to");
    terminal.line("in the other");
    terminal.wait_for("\nin the other\n");
    terminal.line("/record");
    terminal.line("after");
    terminal.wait_for("\nafter\n");
    terminal.line("/record /nowhere/at/all");
    terminal.wait_for("cannot write the recording /nowhere/at/all");
    terminal.keys(&["C-d"]);
    assert_eq!(terminal.ended(), 0);
    let events = crate::support::events(&std::fs::read_to_string(&one).expect("a recording"));
    let texts: Vec<_> = events.iter().map(|event| format!("{} {}", event["dir"], event["text"])).collect();
    assert_eq!(texts, [r#""out" "within""#, r#""in" "within""#]);
    let har: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&two).expect("a recording")).expect("a JSON document");
    let messages = har["log"]["entries"][0]["_webSocketMessages"].as_array().expect("messages");
    assert_eq!(messages.iter().map(|message| &message["data"]).collect::<Vec<_>>(), ["in the other"; 2]);
}

#[test]
fn a_prompt_that_was_put_aside_goes_on_as_before() {
    let terminal = terminal!();
    let server = listen(&["--echo"]);
    terminal.wsp(&server.url);
    terminal.wait_for("open");
    for round in 1..=3 {
        terminal.type_in("half");
        terminal.wait_for("half");
        terminal.keys(&["C-z"]);
        terminal.wait_until("the shell", |screen| screen.contains("Stopped") && screen.trim_end().ends_with('$'));
        terminal.line("clear; fg");
        // Nothing comes from the server meanwhile.
        terminal.wait_until("the prompt", |screen| !screen.contains("Stopped") && screen.contains("> half"));
        terminal.keys(&["C-a"]);
        terminal.line(&format!("{round} "));
        terminal.wait_for(&format!("\n{round} half\n"));
    }
    assert!(!terminal.screen().contains("^A"), "{}", terminal.screen());
    terminal.keys(&["C-d"]);
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn several_sessions_are_chosen_from() {
    let terminal = terminal!();
    let (one, two) = (listen(&[]), listen(&[]));
    terminal.wsp(&format!("{} {}", one.url, two.url));
    terminal.line("to both");
    terminal.line("/use 2");
    terminal.wait_for(&format!("127.0.0.1:{} open", two.port));
    terminal.line("to the second");
    terminal.line("/sessions");
    terminal.wait_for(&format!("* s2 open   {}", two.url));
    terminal.line("/use 3");
    terminal.wait_for("no session 3");
    terminal.keys(&["C-d"]);
    assert_eq!(terminal.ended(), 0);
    assert_eq!(one.stop().stdout(), "to both\n");
    assert_eq!(two.stop().stdout(), "to both\nto the second\n");
}

#[test]
fn what_several_sessions_say_is_told_apart() {
    let terminal = terminal!();
    let (one, two) = (listen(&["--reply", "from one"]), listen(&["--reply", r#"{"from":2}"#]));
    let urls = format!("{} {}", one.url, two.url);
    terminal.wsp(&format!("{urls} -P"));
    terminal.line("to both");
    let connected = format!("s1 connected to {} (Ctrl-D ends)\n", one.url);
    terminal.wait_until("replies and notices", |screen| {
        let replies = ["\ns1 from one\n", "\ns2 {\n  \"from\": 2\n}\n"];
        replies.iter().all(|reply| screen.contains(reply))
            && screen.contains(&connected)
            && screen.contains("s2 round trip ")
    });
    let coloured = terminal.coloured();
    assert!(coloured.contains("\x1b[2ms1\x1b[0m"), "the name is dim: {coloured:?}");
    terminal.line("/ping here");
    terminal.wait_for(&format!("s2 pong here from 127.0.0.1:{} after ", two.port));
    terminal.keys(&["C-d"]);
    assert_eq!(terminal.ended(), 0);
    // Without a prompt and without colours, on a terminal all the same.
    let wsp = env!("CARGO_BIN_EXE_wsp");
    terminal.line(&format!("clear; {wsp} connect {urls} -x hello -n 2 --color never -j .from --non-json pass"));
    terminal.wait_until("both", |screen| screen.contains("s1 from one\n") && screen.contains("s2 2\n"));
    assert_eq!(terminal.ended(), 0);
    // One session needs no name; in a pipe payload stays as it is.
    terminal.line(&format!("clear; {wsp} connect {} -x hello -n 1", one.url));
    terminal.wait_until("one", |screen| screen.lines().any(|line| line == "from one"));
    assert_eq!(terminal.ended(), 0);
    terminal.line(&format!("clear; {wsp} connect {urls} -x hello -n 2 | sort"));
    terminal.wait_until("lines", |screen| screen.contains("from one\n{\"from\":2}\n") && !screen.contains("s1 "));
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn control_c_closes_and_twice_leaves_at_once() {
    let terminal = terminal!();
    let server = listen(&["-v"]);
    terminal.wsp(&server.url);
    terminal.type_in("half a line");
    terminal.wait_for("half a line");
    terminal.keys(&["C-c"]);
    assert_eq!(terminal.ended(), 130);
    assert!(server.stop().stderr.contains("1000"), "it was closed properly");

    let (silent, close) = std::sync::mpsc::channel();
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let server = FakeServer::once(move |request| {
        let mut socket = request.accept();
        let frame = socket.read_close();
        silent.send(frame.close_code()).expect("the test listens");
        let _ = ended.recv();
    });
    terminal.wsp(&format!("{} --close-timeout 1h", server.url));
    terminal.keys(&["C-c"]);
    assert_eq!(close.recv().expect("a Close"), 1000);
    terminal.keys(&["C-c"]);
    assert_eq!(terminal.ended(), 130);
    end.send(()).expect("the server waits");
    server.join();
}

#[test]
fn the_terminal_is_restored_when_there_was_hardly_a_prompt() {
    let terminal = terminal!();
    let nobody = crate::support::closed_port();
    for _ in 0..5 {
        terminal.line(&format!("clear; {} ws://127.0.0.1:{nobody}/", env!("CARGO_BIN_EXE_wsp")));
        terminal.wait_for("Connection refused");
        assert_eq!(terminal.ended(), 14);
    }
}

#[test]
fn the_terminal_is_restored_when_the_server_leaves_and_on_sigterm() {
    let terminal = terminal!();
    let server = listen(&[]);
    terminal.wsp(&server.url);
    terminal.type_in("half a line");
    terminal.wait_for("half a line");
    server.stop();
    assert_eq!(terminal.ended(), 0);

    let server = listen(&[]);
    terminal.line("echo pid=$$");
    let screen = terminal.wait_until("its number", |screen| screen.lines().any(|line| line.starts_with("pid=")));
    let shell = screen.lines().find_map(|line| line.strip_prefix("pid=")).expect("a number").trim().to_owned();
    terminal.wsp(&server.url);
    terminal.type_in("half a line");
    terminal.wait_for("half a line");
    let children = std::fs::read_to_string(format!("/proc/{shell}/task/{shell}/children")).expect("its children");
    let child: i32 = children.trim().parse().expect("one child");
    kill(Pid::from_raw(child), Signal::SIGTERM).expect("a signal");
    assert_eq!(terminal.ended(), 143);
}

#[test]
fn reconnecting_shows_in_the_prompt_and_keeps_what_was_typed() {
    let terminal = terminal!();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let server = FakeServer::listening(move |listener| {
        drop(next(&listener).accept());
        // Refused until the test has seen the prompt say so.
        while gone.try_recv().is_err() {
            next(&listener).refuse("HTTP/1.1 503 Later\r\nContent-Length: 0\r\n\r\n");
        }
        let mut socket = next(&listener).accept();
        assert_eq!(socket.read_text(), "typed before and after");
        socket.say(Frame::text("got it"));
        socket.answer_close();
    });
    terminal.line(&format!(
        "clear; {} {} --reconnect --retry-delay 20ms --retry-factor 1",
        env!("CARGO_BIN_EXE_wsp"),
        server.url
    ));
    terminal.wait_for(" retry ");
    terminal.type_in("typed before");
    terminal.wait_until("a retry with the line in it", |screen| {
        last(screen).contains(" retry ") && last(screen).ends_with("> typed before")
    });
    go.send(()).expect("the server waits");
    terminal.wait_until("the open prompt", |screen| {
        last(screen).contains(" open ") && last(screen).ends_with("> typed before")
    });
    terminal.line(" and after");
    terminal.wait_for("\ngot it\n");
    terminal.keys(&["C-d"]);
    assert_eq!(terminal.ended(), 0);
    server.join();
}

#[test]
fn what_the_peer_sends_cannot_drive_the_terminal() {
    let terminal = terminal!();
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::new(Opcode::Text, "\x1b[2Jgone\x1b]0;title\x07\rhidden"));
        socket.answer_close();
    });
    terminal.wsp(&server.url);
    terminal.wait_for("\\u001b[2Jgone\\u001b]0;title\\u0007\\u000dhidden");
    terminal.keys(&["C-d"]);
    assert_eq!(terminal.ended(), 0);
    server.join();
}

#[test]
fn a_narrower_terminal_keeps_the_line() {
    let terminal = terminal!();
    let server = listen(&[]);
    terminal.wsp(&server.url);
    terminal.type_in("a line that is longer than the terminal will be in a moment");
    terminal.wait_for("in a moment");
    terminal.resize(50, 20);
    terminal.wait_for("moment");
    terminal.keys(&["Enter", "C-d"]);
    assert_eq!(terminal.ended(), 0);
    let output = server.stop();
    assert_eq!(output.stdout(), "a line that is longer than the terminal will be in a moment\n");
}

#[test]
fn a_terminal_that_cannot_be_driven_gets_plain_lines() {
    let terminal = terminal!();
    let server = listen(&["--echo"]);
    terminal.line(&format!("clear; TERM=dumb {} {}", env!("CARGO_BIN_EXE_wsp"), server.url));
    terminal.wait_for("connected to");
    terminal.line("plain");
    terminal.wait_for("plain\nplain\n");
    terminal.keys(&["C-d"]);
    assert_eq!(terminal.ended(), 0);
}

/// Not a test by itself: it runs in the terminal of the next one.
#[test]
#[ignore = "panics on purpose"]
fn panics_at_a_prompt() {
    let status = Status { host: "here".into(), ..Status::default() };
    let settings = PromptSettings { history: None, colour: false, status, hosts: Vec::new(), commands: &[] };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let _inside = runtime.enter();
    let prompt = Prompt::open(settings).expect("a terminal");
    while !std::io::IsTerminal::is_terminal(&std::io::stdin()) {}
    prompt.screen().line("about to panic");
    prompt.screen().flush();
    panic!("on purpose");
}

#[test]
fn the_terminal_is_restored_on_panic() {
    let terminal = terminal!();
    let program = std::env::current_exe().expect("this program");
    let arguments = "--ignored --exact --nocapture suite::prompt::panics_at_a_prompt";
    terminal.line(&format!("clear; {} {arguments} >/dev/tty 2>&1", program.display()));
    terminal.wait_for("on purpose");
    assert_eq!(terminal.ended(), 101);
}

#[test]
fn without_a_terminal_there_is_no_prompt() {
    let server = listen(&["--echo"]);
    let output = run(&["connect", &server.url, "-n", "1"], "hello\n").exits(0).prints("hello\n");
    assert!(!output.stderr.contains(" open "), "{}", output.stderr);
    wsp(["connect", "--help"]).input("").exits(0);
}
