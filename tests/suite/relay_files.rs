//! `file:` at either end of `wsp relay`: appending, rotating, following, full disks, event lines there and back.

use nix::sys::signal::Signal;

use crate::support::files::{append, list, make_fifo, read, wait_for_content, wait_until, wsp_on_small_disk};
use crate::support::{DEADLINE, FakeServer, Frame, Opcode, listen, require, run, scratch, text, write, wsp};

fn numbers(from: usize, to: usize) -> String {
    (from..=to).map(|number| format!("{number}\n")).collect()
}

fn balance(stderr: &str) -> &str {
    stderr.lines().last().unwrap_or_default()
}

#[test]
fn lines_are_appended_and_a_torn_one_is_ended_first() {
    let directory = scratch();
    let path = directory.path().join("out");
    let to = format!("file:{}", text(&path));
    for (fsync, from) in [("never", 1), ("batch", 501), ("1h", 1001)] {
        let output = run(&["relay", "-", &to, "--fsync", fsync], numbers(from, from + 499)).exits(0);
        assert_eq!(
            balance(&output.stderr),
            "received 500 = delivered 500 + filtered 0 + dropped 0 + dead-lettered 0 + waiting 0"
        );
    }
    assert_eq!(read(&path), numbers(1, 1500));
    append(&path, "torn");
    run(&["relay", "-", &to], "next\n").exits(0);
    assert_eq!(read(&path), numbers(1, 1500) + "torn\nnext\n");
}

#[test]
fn a_file_is_put_aside_by_size_and_no_line_is_lost_or_cut() {
    let directory = scratch();
    let path = directory.path().join("out");
    let arguments = ["relay", "-", &format!("file:{}", text(&path)), "--rotate-size", "10KB"];
    run(&arguments, numbers(1, 10_000)).exits(0);
    let files = list(directory.path());
    assert!(files.len() > 4, "{files:?}");
    assert_eq!(files[0], path, "the file itself sorts before those put aside");
    let all: String = files[1..].iter().chain(&files[..1]).map(|path| read(path)).collect();
    assert_eq!(all, numbers(1, 10_000));
    for file in &files {
        assert!(read(file).len() <= 10_000 && read(file).ends_with('\n'), "{}", file.display());
    }
    run(&[&arguments[..], &["--rotate-keep", "1"]].concat(), numbers(1, 5000)).exits(0);
    let left = list(directory.path());
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(numbers(1, 5000).ends_with(&(read(&left[1]) + &read(&left[0]))));
}

#[test]
fn a_file_is_put_aside_in_time_also_when_nothing_comes() {
    let directory = scratch();
    let path = directory.path().join("out");
    let to = format!("file:{}", text(&path));
    let mut relay = wsp(["relay", "-", &to, "--rotate-every", "100ms"]).spawn();
    relay.send("one\n");
    wait_until("a file put aside", || {
        let files = list(directory.path());
        (files.len() == 2 && read(&files[1]) == "one\n" && read(&path).is_empty()).then_some(())
    });
    relay.send("two\n");
    let files = wait_until("another one", || Some(list(directory.path())).filter(|files| files.len() == 3));
    assert_eq!(read(&files[2]), "two\n");
    relay.finish().exits(0);
    assert_eq!(list(directory.path()).len(), 3, "an empty file is not put aside");
}

#[test]
fn a_file_that_others_rotate_is_opened_anew() {
    let directory = scratch();
    let path = directory.path().join("out");
    let mut relay = wsp(["relay", "-", &format!("file:{}", text(&path))]).spawn();
    relay.send("one\n");
    wait_for_content(&path, "one\n");
    std::fs::rename(&path, directory.path().join("out.1")).expect("a move");
    relay.send("two\n");
    wait_for_content(&path, "two\n");
    // What copytruncate does.
    std::fs::File::create(&path).expect("cut to nothing");
    relay.send("three\n");
    wait_for_content(&path, "three\n");
    relay.finish().exits(0);
    assert_eq!(read(&directory.path().join("out.1")), "one\n");
}

#[test]
fn a_file_that_cannot_be_written_is_named_and_what_waits_is_said() {
    for (path, why) in [("/dev/full", "No space left on device"), ("/nonexistent/out", "No such file")] {
        let output = run(&["relay", "-", &format!("file:{path}")], numbers(1, 3)).exits(32);
        assert!(output.stderr.contains(path) && output.stderr.contains(why), "{}", output.stderr);
        // How much had been read by then is a matter of chance.
        let balance = balance(&output.stderr);
        let received = balance.split(' ').nth(1).unwrap_or_default();
        assert!(balance.contains(" = delivered 0 "), "{balance}");
        assert!(balance.ends_with(&format!("waiting {received}")), "{balance}");
    }
    let output = run(&["relay", "-", "file:/tmp/x", "--rotate-keep", "3"], "").exits(2);
    assert!(output.stderr.contains("--rotate-size"), "{}", output.stderr);
}

#[test]
fn a_file_that_is_read_is_not_written() {
    let directory = scratch();
    let path = directory.path().join("in");
    std::fs::write(&path, "one\n").expect("a file");
    let (source, name) = (format!("file:{}", path.display()), text(&path));
    run(&["relay", &source, "null:", "--record", &name], "").exits(2).complains("--record names the file that is read");
    run(&["relay", &source, &source], "").exits(2).complains("is both read and written");
    let other = format!("file://{}", path.display());
    run(&["relay", &source, &other], "").exits(2).complains("is both read and written");
    let plan = write(&directory, "relay.toml", format!("[[pipeline]]\nfrom = \"{source}\"\nto = [\"null:\"]\n"));
    run(&["relay", "-f", &text(&plan), "--record", &name], "")
        .exits(2)
        .complains("--record names the file that is read");
    // What is no file may be named twice.
    run(&["relay", "file:/dev/null", "file:/dev/null"], "").exits(0);
    assert_eq!(read(&path), "one\n");
}

#[test]
fn a_full_disk_holds_whole_lines_and_exactly_those_that_were_delivered() {
    if !require("small-disk") {
        return;
    }
    let directory = scratch();
    let disk = directory.path().join("disk");
    std::fs::create_dir(&disk).expect("a mount point");
    let to = format!("file:{}", text(&disk.join("out")));
    for fsync in ["never", "batch"] {
        let arguments = ["relay", "-", &to, "--fsync", fsync];
        let output = wsp_on_small_disk(&disk, 64, "out", &arguments).input(numbers(1, 30_000)).exits(32);
        assert!(output.stderr.contains("No space left on device"), "{}", output.stderr);
        let lines = output.stdout().lines().count();
        assert!(lines > 5000 && output.stdout() == numbers(1, lines), "{lines} lines");
        let expected =
            format!("= delivered {lines} + filtered 0 + dropped 0 + dead-lettered 0 + waiting {}", 30_000 - lines);
        assert!(balance(&output.stderr).ends_with(&expected), "{}", output.stderr);
    }
}

#[test]
fn a_file_that_hangs_stops_neither_pings_nor_signals() {
    let directory = scratch();
    let fifo = directory.path().join("fifo");
    make_fifo(&fifo);
    let (answered, all_answered) = std::sync::mpsc::channel();
    let server = FakeServer::once(move |request| {
        let mut socket = request.accept();
        for number in 0..3 {
            socket.say(Frame::text("for a pipe that nobody reads"));
            socket.say(Frame::new(Opcode::Ping, [number]));
            let pong = socket.read_frame().expect("a pong");
            assert!(pong.is(Opcode::Pong) && pong.payload == [number]);
        }
        answered.send(()).expect("the test waits");
        socket.read_rest();
    });
    let relay = wsp(["relay", &server.url, &format!("file:{}", text(&fifo)), "--grace", "100ms"]).spawn();
    all_answered.recv_timeout(DEADLINE).expect("an answer to every ping");
    relay.signal(Signal::SIGTERM);
    let output = relay.outcome().exits(30);
    assert!(balance(&output.stderr).ends_with("waiting 3"), "{}", output.stderr);
    server.join();
}

#[test]
fn a_file_is_read_to_its_end_with_or_without_a_last_newline() {
    let directory = scratch();
    let path = directory.path().join("in");
    let from = format!("file:{}", text(&path));
    for (content, printed) in [("a\n\nb\r\nc", "a\n\nb\nc\n"), ("a\n", "a\n"), ("", "")] {
        std::fs::write(&path, content).expect("a file");
        run(&["relay", &from, "-"], "").exits(0).prints(printed);
    }
    std::fs::remove_file(&path).expect("a removal");
    let output = run(&["relay", &from, "-"], "").exits(2);
    assert!(output.stderr.contains("No such file") && output.stderr.contains("--follow"), "{}", output.stderr);
}

#[test]
fn a_followed_file_is_followed_through_whatever_is_done_to_it() {
    let directory = scratch();
    let path = directory.path().join("in");
    let relay = wsp(["relay", &format!("file:{}", text(&path)), "-", "--follow"]).spawn();
    relay.wait_for_stderr("does not exist yet");
    append(&path, "first\nsec");
    relay.wait_for_stdout("first");
    append(&path, "ond\n");
    relay.wait_for_stdout("second");
    // Moved, written to a little longer, and another put in its place.
    let moved = directory.path().join("in.1");
    std::fs::rename(&path, &moved).expect("a move");
    append(&path, "");
    append(&moved, "third\n");
    relay.wait_for_stdout("third");
    append(&path, "fourth\n");
    relay.wait_for_stdout("fourth");
    // Cut to nothing.
    std::fs::write(&path, "5\n").expect("shorter than before");
    relay.wait_for_stdout("5");
    append(&path, "half a line");
    relay.signal(Signal::SIGTERM);
    relay.outcome().exits(0).prints("first\nsecond\nthird\nfourth\n5\n");
}

#[test]
fn event_lines_are_known_by_the_first_and_keep_binary() {
    let directory = scratch();
    let path = directory.path().join("dead.jsonl");
    let lines = [
        r#"{"time":"2026-01-02T03:04:05Z","session":"s1","dir":"in","type":"text","size":5,"text":"hello","error":"x"}"#,
        r#"{"time":"2026-01-02T03:04:05Z","session":"s1","dir":"in","type":"binary","size":2,"base64":"AP8=","error":"x"}"#,
        r#"{"time":"2026-01-02T03:04:05Z","session":"s1","type":"open","url":"ws://h/"}"#,
        r#"{"time":"2026-01-02T03:04:05Z","session":"s1","dir":"in","type":"te"#,
    ];
    std::fs::write(&path, lines.join("\n")).expect("a file");
    let from = format!("file:{}", text(&path));
    let server = listen(&["--json"]);
    let output = run(&["relay", &from, &server.url], "").exits(0);
    assert!(
        balance(&output.stderr)
            .starts_with("received 3 = delivered 2 + filtered 0 + dropped 1 (invalid 1) + dead-lettered 0"),
        "{}",
        output.stderr
    );
    let printed = server.stop();
    assert!(printed.stdout().contains(r#""type":"text","size":5,"text":"hello"}"#), "{}", printed.stdout());
    assert!(printed.stdout().contains(r#""type":"binary","size":2,"base64":"AP8="}"#), "{}", printed.stdout());
    // As they are, when that is asked for.
    run(&["relay", &from, "-", "--input", "raw"], "").exits(0).prints(&(lines.join("\n") + "\n"));
    // And written again as event lines.
    let copy = directory.path().join("copy.jsonl");
    run(&["relay", &from, &format!("file:{}", text(&copy)), "--json"], "").exits(0);
    run(&["relay", &format!("file:{}", text(&copy)), "-", "--format", "hex"], "")
        .exits(0)
        .prints("68 65 6c 6c 6f\n00 ff\n");
}
