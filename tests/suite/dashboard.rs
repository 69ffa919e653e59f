//! The dashboard, in a real terminal with real keys and real traffic.

use std::rc::Rc;

use nix::sys::signal::Signal;
use wscat_plus::internals::{
    Control, Counters, Delivering, Delivery, Host, Message, QueueReading, Refusal, Screen, SessionReading, Steer, Tap,
};

use crate::support::terminal::Terminal;
use crate::support::{Frame, Process, RawClient, Server, events, listen, require, run, wsp};

const WSP: &str = env!("CARGO_BIN_EXE_wsp");

macro_rules! terminal {
    ($columns:expr, $rows:expr) => {
        match require("tmux") {
            true => Terminal::sized($columns, $rows),
            false => return,
        }
    };
}

/// Starts a server with the dashboard on it; its port.
fn serve(terminal: &Terminal, arguments: &str) -> u16 {
    let file = terminal.state().with_file_name("port");
    let _ = std::fs::remove_file(&file);
    let folder = file.parent().expect("its folder");
    terminal.line(&format!(
        "cd {}; clear; LANG=C.UTF-8 {WSP} listen :0 --tui --port-file port {arguments}",
        folder.display()
    ));
    terminal.wait_for("Sessions");
    std::fs::read_to_string(file).expect("the port").trim().parse().expect("a number")
}

/// The lines of a pane, from its title to the next one's.
fn pane<'s>(screen: &'s str, name: &str) -> Vec<&'s str> {
    let is_title = |line: &&str| line.starts_with("─ ") || line.starts_with("▶ ");
    let mut lines = screen.lines().skip_while(|line| !(is_title(line) && line.contains(&format!(" {name} "))));
    let title = lines.next();
    title.into_iter().chain(lines.take_while(|line| !is_title(line))).collect()
}

/// The sequence numbers of the messages on the screen.
fn numbers(screen: &str) -> Vec<u64> {
    let number = |line: &&str| line.split_once("\"seq\":")?.1.split([',', '}']).next()?.parse().ok();
    pane(screen, "Messages").iter().filter_map(number).collect()
}

/// How many are new, in the title of the messages.
fn new(screen: &str) -> Option<u64> {
    let title = pane(screen, "Messages").first().copied()?.replace(',', "");
    let words: Vec<&str> = title.split_whitespace().collect();
    let place = words.iter().position(|word| *word == "new")?;
    words[place - 1].parse().ok()
}

fn reader(url: &str) -> Process {
    wsp(["connect", url, "-w", "-1"]).spawn()
}

#[test]
fn a_server_is_seen_filtered_and_acted_on() {
    let terminal = terminal!(80, 24);
    let port = serve(&terminal, "");
    terminal.wait_for("nobody is connected");
    let mut one = RawClient::connect(port);
    terminal.wait_until("the session", |screen| {
        pane(screen, "Sessions").iter().any(|line| line.contains("s1") && line.contains("open"))
    });
    for price in [1, 5, 9] {
        one.say(Frame::text(&format!(r#"{{"price":{price}}}"#)));
    }
    one.say(Frame::text("\x1b[2J\x1b]0;title\x07gone"));
    terminal.wait_for("\\u001b[2J\\u001b]0;title\\u0007gone");
    terminal.type_in("/.price >");
    terminal.wait_until("what is wrong", |screen| {
        let bottom: Vec<&str> = screen.trim_end().lines().rev().take(2).collect();
        bottom[1].starts_with("jq .price >") && !bottom[0].is_empty() && !bottom[0].contains("Enter apply")
    });
    terminal.type_in(" 4");
    terminal.keys(&["Enter"]);
    let screen = terminal.wait_until("the two that match", |screen| {
        let shown = pane(screen, "Messages").join("\n");
        shown.contains("\"price\":5") && shown.contains("\"price\":9") && !shown.contains("\"price\":1")
    });
    assert!(!screen.contains("gone"), "{screen}");
    terminal.keys(&["Enter"]);
    terminal.wait_for("  \"price\": 9");
    terminal.keys(&["Escape"]);
    terminal.type_in("ihello <q>");
    terminal.keys(&["Enter"]);
    assert_eq!(one.read_text(), "hello <q>");
    terminal.type_in("w");
    terminal.wait_for("saved 2 messages to wsp-messages-");
    let folder = terminal.state().parent().expect("its folder");
    let saved = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let saved = saved.filter(|path| path.extension().is_some_and(|ending| ending == "jsonl")).collect::<Vec<_>>();
    let events = events(&std::fs::read_to_string(&saved[0]).expect("what was saved"));
    assert_eq!((saved.len(), &events[1]["text"], events.len()), (1, &r#"{"price":9}"#.into(), 2));
    terminal.type_in("x");
    terminal.wait_for("close s1 with code 1000");
    terminal.type_in("y");
    assert_eq!(one.read_close().close_code(), 1000);
    one.frame(&Frame::close(1000, ""));
    terminal.wait_for("nobody is connected");
    terminal.type_in("q");
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn it_holds_still_while_a_flood_arrives_and_answers() {
    let terminal = terminal!(80, 24);
    let port = serve(&terminal, "--push 5k");
    let client = reader(&format!("ws://127.0.0.1:{port}/"));
    terminal.wait_until("a full pane of the flood, and what is not shown", |screen| {
        numbers(screen).len() >= 5 && screen.contains("not shown")
    });
    terminal.keys(&["Up", "Up"]);
    let before = terminal.wait_until("it is held", |screen| new(screen).is_some());
    let after = terminal.wait_until("more than a screenful is new", |screen| new(screen).is_some_and(|new| new > 100));
    assert_eq!(numbers(&before), numbers(&after), "it holds still");
    assert!(new(&after) > new(&before));
    terminal.keys(&["End"]);
    let live = terminal.wait_until("it is live", |screen| new(screen).is_none());
    assert!(numbers(&live).first() > numbers(&after).last());
    terminal.keys(&["Space"]);
    let paused = terminal.wait_for("PAUSED");
    terminal.wait_until("it counts", |screen| new(screen) > new(&paused).max(Some(100)));
    terminal.type_in("/.seq % 2 == 0");
    terminal.keys(&["Enter"]);
    terminal.wait_until("even numbers only", |screen| {
        let numbers = numbers(screen);
        !numbers.is_empty() && numbers.iter().all(|number| number % 2 == 0)
    });
    terminal.type_in("q");
    assert_eq!(terminal.ended(), 0);
    client.finish().exits(0);
}

#[test]
fn it_fits_every_size() {
    let terminal = terminal!(80, 24);
    let port = serve(&terminal, "--push 20");
    let client = reader(&format!("ws://127.0.0.1:{port}/"));
    terminal.wait_until("messages", |screen| !numbers(screen).is_empty());
    terminal.resize(40, 10);
    terminal.wait_until("one pane", |screen| {
        screen.lines().count() <= 10 && screen.contains("▶ Messages") && !screen.contains("Sessions")
    });
    terminal.keys(&["BTab", "BTab"]);
    terminal.wait_until("another", |screen| screen.contains("▶ Sessions") && screen.contains("s1"));
    terminal.resize(160, 50);
    terminal.wait_until("all, with the message beside the list", |screen| {
        ["Sessions", "Queues", "Messages", "Log"].iter().all(|name| screen.contains(name))
            && screen.contains("  \"seq\": ")
            && screen.contains(" of 1,000 ")
    });
    terminal.type_in("?");
    terminal.wait_until("the keys", |screen| screen.contains("Ctrl-Z") && screen.contains("pause or resume the view"));
    terminal.type_in("q");
    assert_eq!(terminal.ended(), 0);
    client.finish().exits(0);
}

#[test]
fn colours_follow_the_environment() {
    let terminal = terminal!(80, 24);
    // What the colours of the text on the screen are given by; 39 is that of what has none.
    let kinds = |screen: &str| {
        let mut kinds = std::collections::BTreeSet::new();
        for code in screen.split("\x1b[").skip(1).filter_map(|code| code.split_once('m')).map(|(code, _)| code) {
            match code {
                code if code.contains("38;2;") => kinds.insert("true"),
                code if code.contains("38;5;") => kinds.insert("256"),
                code if code.split(';').any(|code| matches!(code.parse(), Ok(30..=37 | 90..=97))) => kinds.insert("16"),
                _ => false,
            };
        }
        kinds.into_iter().collect::<Vec<_>>().join(" ")
    };
    for (environment, flag, expected) in [
        ("NO_COLOR=1 COLORTERM=truecolor TERM=tmux-256color", "", ""),
        // A flag says more than the environment.
        ("NO_COLOR=1 COLORTERM=truecolor TERM=tmux-256color", "--color always", "true"),
        ("COLORTERM=truecolor TERM=tmux-256color", "--color never", ""),
        ("TERM=vt100 COLORTERM=", "", ""),
        ("TERM=screen COLORTERM=", "", "16"),
        ("TERM=tmux-256color COLORTERM=", "", "256"),
        ("TERM=tmux-256color COLORTERM=truecolor", "", "true"),
    ] {
        terminal.line(&format!("clear; {environment} LANG=C.UTF-8 {WSP} listen :0 --tui {flag}"));
        terminal.wait_for("nobody is connected");
        assert_eq!(kinds(&terminal.coloured()), expected, "{environment} {flag}: {}", terminal.coloured());
        terminal.type_in("q");
        assert_eq!(terminal.ended(), 0);
    }
    terminal.line(&format!("clear; LANG=C {WSP} listen :0 --tui"));
    terminal.wait_for("nobody is connected");
    assert_ne!(kinds(&terminal.coloured()), "");
    assert!(terminal.screen().is_ascii(), "{}", terminal.screen());
    terminal.type_in("q");
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn it_stops_and_goes_on() {
    let terminal = terminal!(80, 24);
    let port = serve(&terminal, "--echo");
    terminal.keys(&["C-z"]);
    terminal.wait_until("the shell", |screen| screen.lines().any(|line| line.starts_with('$')));
    terminal.line("clear; stty -a | tr ' ;' '\\n\\n' | grep -cx -e icanon -e echo -e isig -e icrnl");
    terminal.wait_until("the terminal as it was", |screen| screen.lines().any(|line| line.trim() == "4"));
    terminal.line("fg");
    terminal.wait_for("nobody is connected");
    let mut client = RawClient::connect(port);
    client.say(Frame::text("still here"));
    assert_eq!(client.read_text(), "still here");
    terminal.wait_for("still here");
    terminal.keys(&["C-c"]);
    assert_eq!(client.read_close().close_code(), 1001);
    client.frame(&Frame::close(1001, ""));
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn signals_give_the_terminal_back() {
    let terminal = terminal!(80, 24);
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 143), (Signal::SIGINT, 130)] {
        let server = listen(&["--echo"]);
        let file = terminal.state().with_file_name("pid");
        let command = format!("sh -c 'echo $$ > {}; exec {WSP} connect --tui {}'", file.display(), server.url);
        terminal.line(&format!("clear; {command}"));
        terminal.wait_until("it is open", |screen| {
            pane(screen, "Sessions").iter().any(|line| line.contains("s1") && line.contains("open"))
        });
        let id = std::fs::read_to_string(file).expect("its id").trim().parse().expect("a number");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), signal).expect("sending a signal");
        assert_eq!(terminal.ended(), code, "{signal}");
    }
}

/// Not a test by itself: it runs in the terminal of the next one.
#[tokio::test(flavor = "local")]
#[ignore = "panics on purpose"]
async fn panics_at_a_dashboard() {
    let host = Host::of_this_process().expect("streams");
    let screen = Screen::of(&host, "this", "about to panic").expect("a terminal");
    let mut shown = screen.show(Rc::new(Panics) as Rc<dyn Control>).expect("a dashboard");
    shown.ended().await;
}

/// A run that panics when it is looked at closely.
struct Panics;

impl Control for Panics {
    fn mode(&self) -> &'static str {
        "panic"
    }

    fn counters(&self) -> &Counters {
        panic!("on purpose");
    }

    fn tap(&self) -> &Tap {
        Box::leak(Box::default())
    }

    fn active(&self) -> usize {
        0
    }

    fn queues(&self) -> Vec<QueueReading> {
        Vec::new()
    }

    fn each_full_queue(&self, _full: &mut dyn FnMut(u64)) {}

    fn sessions(&self, _limit: usize) -> Vec<SessionReading> {
        Vec::new()
    }

    fn send(self: Rc<Self>, _session: &str, _message: Message) -> Result<Delivering, Refusal> {
        Err(Refusal::Unknown)
    }

    fn broadcast(self: Rc<Self>, _message: Message) -> Delivering {
        Box::pin(std::future::ready(Delivery::default()))
    }

    fn steer(&self, _session: &str, _steer: &Steer) -> Result<(), Refusal> {
        Err(Refusal::Unknown)
    }
}

#[test]
fn a_panic_gives_the_terminal_back() {
    let terminal = terminal!(100, 30);
    let program = std::env::current_exe().expect("this program");
    let arguments = "--ignored --exact --nocapture suite::dashboard::panics_at_a_dashboard";
    terminal.line(&format!("clear; RUST_BACKTRACE=0 {} {arguments}", program.display()));
    terminal.wait_for("on purpose");
    assert_eq!(terminal.ended(), 101);
}

#[test]
fn clients_are_closed_and_connected_again() {
    let terminal = terminal!(100, 24);
    let (echo, push) = (listen(&["--echo"]), listen(&["--push", "20"]));
    terminal.line(&format!("clear; LANG=C.UTF-8 {WSP} connect --tui {} {}", echo.url, push.url));
    let line = |screen: &str, id: &str| {
        let of = |line: &&&str| line.split_whitespace().any(|word| word == id);
        pane(screen, "Sessions").iter().find(of).map(|line| (*line).to_owned()).unwrap_or_default()
    };
    terminal.wait_until("both", |screen| line(screen, "s1").contains("open") && line(screen, "s2").contains("open"));
    terminal.type_in("ihello");
    terminal.keys(&["Enter"]);
    terminal.type_in("fhello");
    terminal.keys(&["Enter"]);
    terminal.wait_until("out and in", |screen| {
        let shown = pane(screen, "Messages").join("\n");
        shown.contains("▸    5B hello") && shown.contains("◂    5B hello")
    });
    terminal.type_in("x4001y");
    terminal.wait_until("one is closed, and the other goes on", |screen| {
        line(screen, "s1").contains("closed") && line(screen, "s2").contains("open")
    });
    terminal.type_in("r");
    terminal.wait_until("it is open again", |screen| line(screen, "s1").contains("open"));
    terminal.type_in("q");
    assert_eq!(terminal.ended(), 0);
    let told = echo.stop();
    assert!(told.stderr.contains("connections 2"), "{}", told.stderr);
    push.stop();
}

#[test]
fn a_relay_is_seen_and_ends_in_order() {
    let terminal = terminal!(100, 24);
    let source = listen(&["--push", "50"]);
    terminal.line(&format!("clear; LANG=C.UTF-8 {WSP} relay --tui {} null:", source.url));
    terminal.wait_until("messages, and the lane", |screen| {
        !numbers(screen).is_empty() && pane(screen, "Queues").concat().contains("null:")
    });
    terminal.type_in("q");
    terminal.wait_for("received ");
    let screen = terminal.screen();
    assert!(screen.contains("waiting 0"), "{screen}");
    assert_eq!(terminal.ended(), 0);
    source.stop();
}

#[test]
fn processes_are_looked_at_from_elsewhere() {
    let terminal = terminal!(100, 24);
    let started = |port: &str| {
        let server = listen(&["--push", "20", "--admin", port]);
        let line = server.process.wait_for_stderr("admin on http://127.0.0.1:");
        let (_, rest) = line.split_once("admin on http://127.0.0.1:").expect("the address");
        let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
        (server, port)
    };
    let ((one, port_one), (two, port_two)) = (started("0"), started("0"));
    let (client_one, client_two) = (reader(&one.url), reader(&two.url));
    terminal.line(&format!("clear; LANG=C.UTF-8 {WSP} top {port_one} http://127.0.0.1:{port_two}"));
    let (name_one, name_two) = (format!("127.0.0.1:{port_one}/s1"), format!("127.0.0.1:{port_two}/s1"));
    terminal.wait_until("both", |screen| screen.contains(&name_one) && screen.contains(&name_two));
    assert!(!terminal.screen().contains("i send"), "nothing is offered that may not be done");
    for key in ["x", "p"] {
        terminal.type_in(key);
        terminal.wait_for("read-only: start wsp top with --control");
        terminal.keys(&["Escape"]);
    }
    two.stop();
    client_two.finish();
    terminal.wait_until("one is lost", |screen| screen.contains("1 LOST"));
    let (two, _) = started(&port_two);
    terminal.wait_until("it is there again", |screen| !screen.contains("LOST") && screen.contains("is back"));
    terminal.type_in("q");
    assert_eq!(terminal.ended(), 0);
    terminal.line(&format!("clear; LANG=C.UTF-8 {WSP} top {port_one} --control"));
    terminal.wait_for("s1");
    terminal.type_in("xy");
    terminal.wait_for("nobody is connected");
    client_one.finish().exits(0);
    terminal.type_in("q");
    assert_eq!(terminal.ended(), 0);
    one.stop();
    two.stop();
}

#[test]
fn a_token_is_sent_and_its_lack_is_told() {
    let terminal = terminal!(100, 24);
    let server = wsp(["listen", ":0", "--echo", "--admin", "0", "--admin-token-env", "TOKEN"]).env("TOKEN", "secret-x");
    let server = Server::ready(server);
    let line = server.process.wait_for_stderr("admin on http://127.0.0.1:");
    let (_, rest) = line.split_once("admin on http://127.0.0.1:").expect("the address");
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    terminal.line(&format!("clear; {WSP} top {port}"));
    terminal.wait_for("--token-env");
    terminal.type_in("q");
    assert_eq!(terminal.ended(), 14, "nothing was seen");
    terminal.line(&format!("clear; TOKEN=secret-x {WSP} top {port} --token-env TOKEN"));
    terminal.wait_for("nobody is connected");
    terminal.wait_until("it is seen", |screen| !screen.contains("LOST") && !screen.contains("connecting"));
    terminal.type_in("q");
    assert_eq!(terminal.ended(), 0);
    server.stop();
}

#[test]
fn a_connection_that_is_refused_is_told_on_the_screen_and_at_the_end() {
    let terminal = terminal!(120, 24);
    let reason = "Connection refused";
    let said = terminal.state().with_file_name("said");
    terminal.line(&format!("clear; LANG=C.UTF-8 {WSP} connect ws://127.0.0.1:1/ --tui; code=$?"));
    terminal.wait_until("the reason, and the end of the session", |screen| {
        screen.lines().next().is_some_and(|head| head.contains(reason))
            && pane(screen, "Log").join("\n").contains(reason)
            && pane(screen, "Sessions").join("\n").contains("closed")
    });
    terminal.type_in("q");
    terminal.wait_until("the reason behind the dashboard", |screen| {
        screen.contains("wsp: cannot connect to ws://127.0.0.1:1/")
    });
    terminal.line("(exit $code)");
    assert_eq!(terminal.ended(), 14);
    // Where stderr is a file, it is there and on the screen.
    terminal.line(&format!("clear; LANG=C.UTF-8 {WSP} connect ws://127.0.0.1:1/ --tui 2> {}", said.display()));
    terminal.wait_until("the reason in the log", |screen| pane(screen, "Log").join("\n").contains(reason));
    terminal.type_in("q");
    assert_eq!(terminal.ended(), 14);
    let said = std::fs::read_to_string(said).expect("what was said");
    assert_eq!(said.matches("wsp: cannot connect").count(), 1, "{said}");
    for (arguments, code, words) in [
        ("bench ws://127.0.0.1:1/ --tui -d 1s", 14, reason),
        ("listen 192.0.2.1:1 --tui", 4, "cannot listen"),
        ("relay ws://127.0.0.1:1/ null: --tui", 14, reason),
    ] {
        terminal.line(&format!("clear; LANG=C.UTF-8 {WSP} {arguments}"));
        terminal.wait_until(arguments, |screen| screen.contains(words) && screen.contains("$ "));
        assert_eq!(terminal.ended(), code, "{arguments}");
    }
    terminal.line(&format!("clear; LANG=C.UTF-8 {WSP} top 127.0.0.1:1"));
    terminal.wait_for("is lost");
    terminal.type_in("q");
    terminal.wait_until("the reason behind it", |screen| screen.contains("wsp: 127.0.0.1:1: "));
}

#[test]
fn the_demo_needs_nothing() {
    let terminal = terminal!(120, 30);
    terminal.line(&format!("clear; LANG=C.UTF-8 {WSP} demo"));
    terminal.wait_until("its clients and its feed", |screen| {
        ["/steady", "/slow", "/comes-and-goes", "/talks", "trade", "reading"].iter().all(|text| screen.contains(text))
    });
    terminal.type_in("q");
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn in_a_pipe_the_demo_prints_its_feed() {
    let feed = |seed: &str| run(&["demo", "--seed", seed, "-n", "50", "--rate", "5k"], "").exits(0).stdout().to_owned();
    let one = feed("7");
    assert_eq!(one, feed("7"));
    assert_ne!(one, feed("8"));
    assert_eq!(one.lines().count(), 50);
    for line in one.lines() {
        serde_json::from_str::<serde_json::Value>(line).expect("JSON");
    }
    let piped = std::process::Command::new("bash")
        .args(["-c", &format!("set -o pipefail; {WSP} demo --rate 1k | head -3")])
        .output()
        .expect("running bash");
    assert_eq!((piped.status.code(), piped.stdout.split(|byte| *byte == b'\n').count() - 1), (Some(0), 3));
}

#[test]
fn without_a_terminal_it_says_so() {
    let url = "ws://127.0.0.1:1/";
    for arguments in [
        &["listen", ":0", "--tui"][..],
        &["connect", url, "--tui"],
        &["relay", url, "null:", "--tui"],
        &["top", "127.0.0.1:1"],
    ] {
        run(arguments, "").exits(2).complains("not terminals");
    }
    run(&["relay", "-", "null:", "--tui"], "").exits(2).complains("- cannot be an end");
    run(&["top", "ws://127.0.0.1:1/"], "").exits(2);
    run(&["top"], "").exits(2);
}

#[test]
fn a_load_test_is_seen_while_it_goes_on_and_reports_when_it_is_left() {
    let terminal = terminal!(80, 24);
    let server = listen(&["--echo"]);
    let start = |more: &str| {
        terminal.line(&format!("clear; LANG=C.UTF-8 {WSP} bench {} --rate 200 -d 10m --tui {more}", server.url));
        terminal.wait_until("figures of a run", |screen| {
            let row = screen.lines().find(|line| line.starts_with("response "));
            screen.contains("measure") && row.is_some_and(|row| row.split_whitespace().nth(1) != Some("–"))
        })
    };
    let screen = start("");
    for part in ["conns 10/10", "asked 200/s", "msg/s", "errors 0", "schedule", "shard0", "q stop and report"] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
    terminal.type_in("?");
    terminal.wait_for("stop measuring and report");
    terminal.keys(&["Escape"]);
    terminal.resize(40, 10);
    terminal.wait_until("a small screen", |screen| screen.lines().next().is_some_and(|line| line.contains("measure")));
    terminal.resize(80, 24);
    terminal.type_in("q");
    terminal.wait_for("interrupted: figures up to the interruption");
    assert!([0, 41].contains(&terminal.ended()), "a busy machine may be the bottleneck, an end by hand is none");
    start("--threshold 'p50<1h'");
    terminal.keys(&["C-c"]);
    terminal.wait_for("p50<1h ok");
    assert_eq!(terminal.ended(), 130);
    wsp(["bench", &server.url, "--tui", "-d", "1s"]).input("").exits(2).complains("--tui needs a terminal");
}

#[test]
fn reading_is_paused_and_limited_by_keys() {
    let terminal = terminal!(80, 24);
    let port = serve(&terminal, "--sink");
    let client = RawClient::connect(port);
    let state = |screen: &str| pane(screen, "Sessions").get(2).copied().unwrap_or_default().to_owned();
    terminal.wait_until("the session", |screen| state(screen).contains("open"));
    terminal.type_in("p");
    terminal.wait_until("it is paused", |screen| state(screen).contains("paused") && screen.contains("s1 paused"));
    let taken = client.pour(Frame::text(&"x".repeat(64 * 1024)).masked().bytes());
    terminal.wait_until("nothing comes in", |screen| {
        taken.load(std::sync::atomic::Ordering::Relaxed) > 0 && screen.contains("in 0/s")
    });
    terminal.type_in("l");
    terminal.wait_for("messages per second from s1: ");
    terminal.type_in("30");
    terminal.keys(&["Enter"]);
    terminal.type_in("p");
    terminal.wait_until("as much comes as may", |screen| {
        let line = state(screen);
        let rate = line.split_whitespace().find_map(|word| word.parse::<f64>().ok().filter(|rate| *rate > 1.0));
        line.contains("≤30/s") && rate.is_some_and(|rate| (20.0..=40.0).contains(&rate))
    });
    terminal.type_in("q");
    assert_eq!(terminal.ended(), 0);
}

#[test]
fn a_load_test_is_changed_by_hand_and_says_so() {
    let terminal = terminal!(80, 24);
    let server = listen(&["--echo"]);
    let file = terminal.state().with_file_name("seconds.csv");
    terminal.line(&format!(
        "clear; LANG=C.UTF-8 {WSP} bench {} -c 5 --rate 160 -d 60s --tui --csv {}",
        server.url,
        file.display()
    ));
    terminal.wait_for("asked 160/s");
    terminal.wait_for("p pause  + - rate  m mark");
    terminal.type_in("m");
    terminal.wait_until("the mark", |screen| screen.contains("▼"));
    terminal.type_in("+");
    terminal.wait_for("asked 200/s");
    terminal.wait_until("the rate is another", |screen| {
        let sent = screen.split_once("sent ").and_then(|(_, rest)| rest.split_once("/s"));
        sent.and_then(|(sent, _)| sent.parse::<f64>().ok()).is_some_and(|sent| (185.0..=215.0).contains(&sent))
    });
    terminal.type_in("p");
    terminal.wait_until("nothing is sent", |screen| screen.contains("PAUSED") && screen.contains("sent 0/s"));
    terminal.type_in("p-");
    terminal.wait_for("asked 160/s");
    terminal.wait_until("it goes on", |screen| !screen.contains("sent 0/s"));
    terminal.type_in("q");
    terminal.wait_for("do not compare these figures with other runs");
    terminal.wait_for("by hand    mark 1 at ");
    assert!([0, 41].contains(&terminal.ended()), "a busy machine may be the bottleneck, a hand is none");
    let seconds = std::fs::read_to_string(file).expect("the seconds");
    for told in ["mark 1", "rate 200", "paused", "resumed 160"] {
        assert!(seconds.contains(told), "{told}: {seconds}");
    }
    // In closed loop there is no rate, but it can be paused.
    terminal.line(&format!("clear; LANG=C.UTF-8 {WSP} bench {} -c 2 -d 60s --tui", server.url));
    terminal.wait_until("it sends", |screen| screen.contains("measure") && !screen.contains("sent 0/s"));
    terminal.type_in("+");
    terminal.wait_for("a closed loop has no rate");
    terminal.type_in("p");
    terminal.wait_until("nothing is sent", |screen| screen.contains("PAUSED") && screen.contains("sent 0/s"));
    terminal.type_in("p");
    terminal.wait_until("it goes on", |screen| !screen.contains("PAUSED") && !screen.contains("sent 0/s"));
    terminal.type_in("q");
    terminal.wait_for("by hand    paused at ");
    assert!([0, 41].contains(&terminal.ended()));
}

#[test]
fn the_mouse_is_used_only_while_it_is_asked_for() {
    let terminal = terminal!(80, 24);
    let port = serve(&terminal, "--push 20");
    let clients = [(); 3].map(|()| reader(&format!("ws://127.0.0.1:{port}/")));
    terminal.wait_until("three", |screen| pane(screen, "Sessions").iter().any(|line| line.contains("s3 ")));
    assert_eq!(terminal.mouse(), "00", "the terminal selects text by itself");
    terminal.type_in("M");
    terminal.wait_for("click and wheel");
    assert_eq!(terminal.mouse(), "11");
    let row = |screen: &str, part: &str| screen.lines().position(|line| line.contains(part)).expect("a row") + 1;
    let screen = terminal.screen();
    // A click as a terminal tells it: button, column, row.
    terminal.type_in(&format!("\x1b[<0;5;{}M\x1b[<0;5;{}m", row(&screen, " s2 "), row(&screen, " s2 ")));
    terminal.wait_until("the second is under the cursor", |screen| {
        pane(screen, "Sessions").iter().any(|line| line.starts_with('▸') && line.contains("s2 "))
    });
    let messages = row(&screen, " Messages ") + 3;
    terminal.type_in(&format!("\x1b[<64;20;{messages}M"));
    terminal.wait_until("it is held", |screen| new(screen).is_some());
    terminal.type_in("M");
    terminal.wait_for("mouse off");
    assert_eq!(terminal.mouse(), "00");
    terminal.type_in("Mq");
    assert_eq!(terminal.ended(), 0);
    assert_eq!(terminal.mouse(), "00", "it is given back with the terminal");
    for client in clients {
        client.finish().exits(0);
    }
}

#[test]
fn frames_are_few_and_hold_only_what_changed() {
    let terminal = terminal!(80, 24);
    let port = serve(&terminal, "--push 5k");
    let client = reader(&format!("ws://127.0.0.1:{port}/"));
    terminal.wait_until("a full pane of the flood", |screen| numbers(screen).len() >= 5);
    let file = terminal.state().with_file_name("written");
    terminal.keep_output(&file);
    let written = || std::fs::read(&file).unwrap_or_default();
    let frames = |written: &[u8]| String::from_utf8_lossy(written).matches("\x1b[?2026h").count();
    let begun = std::time::Instant::now();
    // Keys pressed as fast as they can be bring no more frames than news do.
    terminal.wait_until("forty-five frames", |_| {
        terminal.keys(&["Up", "Down"]);
        frames(&written()) >= 45
    });
    let (took, written) = (begun.elapsed().as_secs_f64(), written());
    let count = frames(&written);
    assert!(count as f64 <= 15.0 * took + 3.0, "{count} frames in {took} s");
    assert!(written.len() < count * 80 * 24 * 2, "{} bytes in {count} frames", written.len());
    terminal.type_in("q");
    assert_eq!(terminal.ended(), 0);
    client.finish().exits(0);
}
