//! The prompt of `wsp listen`, in a real terminal with real keys.

use nix::sys::signal::Signal;

use crate::support::terminal::Terminal;
use crate::support::{Frame, Opcode, Process, RawClient, Socket, require, wsp};

/// A terminal with a server at its prompt, and the server's port.
fn serving(arguments: &str) -> Option<(Terminal, u16)> {
    if !require("tmux") {
        return None;
    }
    let terminal = Terminal::open();
    let port = serve(&terminal, arguments);
    Some((terminal, port))
}

fn serve(terminal: &Terminal, arguments: &str) -> u16 {
    let file = terminal.state().with_file_name("port");
    let wsp = env!("CARGO_BIN_EXE_wsp");
    terminal.line(&format!("clear; {wsp} listen :0 --port-file {} {arguments}", file.display()));
    terminal.wait_until("the prompt", |screen| screen.contains(" listen ") && screen.contains("0> "));
    std::fs::read_to_string(file).expect("the port").trim().parse().expect("a number")
}

macro_rules! serving {
    ($arguments:expr) => {
        match serving($arguments) {
            Some(serving) => serving,
            None => return,
        }
    };
}

fn last(screen: &str) -> &str {
    screen.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default().trim_end()
}

/// A client the server has seen.
fn client(terminal: &Terminal, port: u16, number: usize) -> Socket {
    let client = RawClient::connect(port);
    terminal.wait_until("the number of sessions", |screen| last(screen).ends_with(&format!(" {number}>")));
    client
}

#[test]
fn lines_go_to_all_and_messages_come_above_the_line() {
    let (terminal, port) = serving!("");
    terminal.line("typed early");
    terminal.wait_for("queued until a client connects");
    let mut one = client(&terminal, port, 1);
    assert_eq!(one.read_text(), "typed early");
    let mut two = client(&terminal, port, 2);
    terminal.wait_for("s2 127.0.0.1:");
    terminal.type_in("half a li");
    one.say(Frame::text("hello"));
    two.say(Frame::text(r#"{"a":[1]}"#));
    terminal.wait_until("both, each with its session, and the line", |screen| {
        screen.contains("\ns1 hello\n")
            && screen.contains("\ns2 {\n  \"a\": [\n    1\n  ]\n}\n")
            && last(screen).ends_with("> half a li")
    });
    assert!(terminal.coloured().contains("\x1b[2ms1"), "the session is set apart: {}", terminal.coloured());
    terminal.line("ne");
    assert_eq!((one.read_text(), two.read_text()), ("half a line".into(), "half a line".into()));
    // What a peer sends does not drive the terminal.
    one.say(Frame::text("\x1b[2Jgone"));
    terminal.wait_for("s1 \\u001b[2Jgone");
    drop((one, two));
    terminal.wait_until("nobody", |screen| last(screen).ends_with(" 0>"));
    terminal.keys(&["C-d"]);
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn slash_commands_do_what_they_say() {
    let (terminal, port) = serving!("");
    terminal.line("/sessions");
    terminal.wait_for("nobody is connected");
    let mut one = client(&terminal, port, 1);
    let mut two = client(&terminal, port, 2);
    terminal.line("/to s2 only you");
    terminal.line("//help is no command");
    assert_eq!((two.read_text(), two.read_text()), ("only you".into(), "/help is no command".into()));
    assert_eq!(one.read_text(), "/help is no command");
    terminal.line("/sessions");
    terminal.wait_until("both sessions", |screen| {
        screen.lines().any(|line| line.starts_with("s1 127.0.0.1:") && line.contains("sent 1 message, 19 bytes"))
            && screen.lines().any(|line| line.starts_with("s2 127.0.0.1:"))
    });
    terminal.line("/stats");
    terminal.wait_for("connected 2; connections 2, refused 0, received 0, sent 3, dropped 0");
    for (line, answer) in [
        ("/to s7 hello", "no session s7"),
        ("/to", "/to requires a session"),
        ("/kick s1 1005", "invalid close code '1005'"),
        ("/kik s1", "did you mean /kick?"),
        ("/help", "close all sessions and quit (also Ctrl-D)"),
    ] {
        terminal.line(line);
        terminal.wait_for(answer);
    }
    terminal.line("/kick s1 1008 too loud");
    let close = one.read_close();
    assert_eq!((close.close_code(), &close.payload[2..]), (1008, &b"too loud"[..]));
    drop(one);
    terminal.wait_until("one less", |screen| last(screen).ends_with(" 1>"));
    terminal.line("/quit");
    assert_eq!(two.answer_close(), 1001);
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn tab_completes_commands_and_sessions() {
    let (terminal, port) = serving!("");
    let mut clients: Vec<Socket> = (1..=11).map(|number| client(&terminal, port, number)).collect();
    terminal.type_in("/ki");
    terminal.keys(&["Tab"]);
    terminal.wait_for("> /kick");
    terminal.type_in("s11");
    terminal.keys(&["Tab"]);
    terminal.type_in("4");
    terminal.keys(&["Tab"]);
    terminal.wait_for("> /kick s11 4000");
    terminal.keys(&["Enter"]);
    assert_eq!(clients.pop().expect("the last").answer_close(), 4000);
    terminal.wait_until("one less", |screen| last(screen).ends_with(" 10>"));
    // Who has left is not offered any more.
    terminal.type_in("/to s1");
    terminal.keys(&["Tab", "Tab"]);
    terminal.wait_until("those there are", |screen| screen.lines().any(|line| line.trim_end() == "s1   s10"));
    terminal.keys(&["C-u", "C-d"]);
    for client in clients {
        assert_eq!(client.answer_close(), 1001);
    }
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn names_work_where_ids_do() {
    let (terminal, port) = serving!("--session-name '.query.user // .message.user'");
    let open = |path: &str, number: usize| {
        let client = RawClient::open(port, path, "").0;
        terminal.wait_until("the number of sessions", |screen| last(screen).ends_with(&format!(" {number}>")));
        client
    };
    let mut clients = [("/?user=anna", 1), ("/?user=anna", 2), ("/?user=b%1B%5B2J%20c", 3), ("/", 4)]
        .map(|(path, number)| open(path, number));
    clients[3].say(Frame::text(r#"{"user":"s2"}"#));
    terminal.wait_for("s4: named s2");
    clients[0].say(Frame::text("hello"));
    terminal.wait_for("s1 (anna) hello");
    terminal.line("/sessions");
    terminal.wait_until("all sessions", |screen| {
        let is_named = |id: &str, name: &str| {
            screen.lines().any(|line| line.starts_with(&format!("{id} 127.0.0.1:")) && line.contains(name))
        };
        is_named("s2", "; named anna;") && is_named("s3", r"; named b\u{1b}[2J c;") && is_named("s4", "; named s2;")
    });
    terminal.line("/to anna both of you");
    terminal.line(r#"/to "b\u001b[2J c" you"#);
    terminal.line("/to s2 by id");
    terminal.line("/to 4 the last");
    assert_eq!(clients[0].read_text(), "both of you");
    assert_eq!([clients[1].read_text(), clients[1].read_text()], ["both of you", "by id"]);
    assert_eq!([clients[2].read_text(), clients[3].read_text()], ["you", "the last"]);
    terminal.line("/to nobody hello");
    terminal.wait_for("no session nobody; /sessions lists them");
    terminal.type_in("/to an");
    terminal.keys(&["Tab"]);
    terminal.wait_until("the name", |screen| last(screen).ends_with("> /to anna"));
    terminal.line(" again");
    assert_eq!(clients[0].read_text(), "again");
    terminal.line("/kick anna 4000");
    let [first, second, ..] = &mut clients;
    assert_eq!((first.read_close().close_code(), second.read_close().close_code()), (4000, 4000));
    drop(clients);
    terminal.line("/quit");
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn what_is_typed_and_never_sent_is_counted() {
    let (terminal, _) = serving!("");
    terminal.line("nobody hears this");
    terminal.wait_for("queued until a client connects");
    terminal.keys(&["C-d"]);
    terminal.wait_for("sent 0, dropped 1 (receiver-gone 1)");
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn history_is_kept() {
    let (terminal, _) = serving!("");
    terminal.line("/stats");
    terminal.wait_for("connected 0;");
    terminal.keys(&["C-d"]);
    assert_eq!(terminal.ended(), 0);
    let later = terminal.again();
    serve(&later, "");
    later.keys(&["Up"]);
    later.wait_for("> /stats");
    later.keys(&["C-u", "C-d"]);
    assert_eq!(later.ended(), 0);
}

#[test]
fn control_c_closes_all_and_twice_leaves_at_once() {
    let (terminal, port) = serving!("--close-timeout 1h --grace 1h");
    let one = client(&terminal, port, 1);
    terminal.type_in("half a line");
    terminal.wait_for("half a line");
    terminal.keys(&["C-c"]);
    assert_eq!(one.answer_close(), 1001);
    assert_eq!(terminal.ended(), 0);

    let port = serve(&terminal, "--close-timeout 1h --grace 1h");
    let mut silent = client(&terminal, port, 1);
    terminal.keys(&["C-c"]);
    assert_eq!(silent.read_close().close_code(), 1001);
    terminal.keys(&["C-c"]);
    assert_eq!(terminal.ended(), 130);
}

#[test]
fn typed_lines_survive_a_flood() {
    let (terminal, port) = serving!("-q");
    let flood = client(&terminal, port, 1);
    let mut listener = client(&terminal, port, 2);
    let poured = flood.pour(Frame::text("a message of the flood").masked().bytes());
    terminal.wait_for("s1 a message of the flood");
    for number in 0..5 {
        terminal.line(&format!("typed line {number}"));
        assert_eq!(listener.read_text(), format!("typed line {number}"));
    }
    terminal.type_in("half typed");
    terminal.wait_until("the line below the flood", |screen| last(screen).ends_with("> half typed"));
    flood.hang_up();
    assert!(poured.load(std::sync::atomic::Ordering::Relaxed) > 0);
    terminal.keys(&["C-u", "C-d"]);
    drop(listener);
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn many_sessions_leave_the_prompt_usable() {
    let (terminal, port) = serving!("");
    let clients: Vec<Socket> = (0..300).map(|_| RawClient::connect(port)).collect();
    terminal.wait_until("all of them", |screen| last(screen).ends_with(" 300>"));
    terminal.line("/sessions");
    terminal.wait_for("and 200 more");
    drop(clients);
    terminal.wait_until("none of them", |screen| last(screen).ends_with(" 0>"));
    let mut one = client(&terminal, port, 1);
    one.say(Frame::new(Opcode::Binary, vec![7; 10]));
    terminal.wait_for("s301 \\u0007");
    terminal.keys(&["C-d"]);
    assert_eq!(one.answer_close(), 1001);
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn a_terminal_that_cannot_be_driven_gets_plain_lines() {
    if !require("tmux") {
        return;
    }
    let terminal = Terminal::open();
    terminal.line(&format!("clear; TERM=dumb {} listen :0", env!("CARGO_BIN_EXE_wsp")));
    let screen = terminal.wait_for("listening on ws://127.0.0.1:");
    let (_, rest) = screen.split_once("listening on ws://127.0.0.1:").expect("the ready line");
    let port = rest.split('/').next().and_then(|port| port.parse().ok()).expect("a port");
    let mut one = RawClient::connect(port);
    terminal.wait_for("s1 127.0.0.1:");
    terminal.line("plain");
    assert_eq!(one.read_text(), "plain");
    one.say(Frame::text("back"));
    terminal.wait_for("s1 back");
    terminal.keys(&["C-d"]);
    assert_eq!(one.answer_close(), 1001);
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn in_a_pipe_there_is_no_prompt_and_no_name_before_a_message() {
    let process: Process = wsp(["listen", "127.0.0.1:0"]).spawn();
    let line = process.wait_for_stderr("listening on ");
    let port = line.rsplit(':').next().and_then(|rest| rest.trim_end_matches('/').parse().ok()).expect("a port");
    RawClient::connect(port).say(Frame::text("bare"));
    process.wait_for_stdout("bare");
    process.signal(Signal::SIGTERM);
    process.outcome().exits(0).prints("bare\n");
}
