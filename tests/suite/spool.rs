//! `wsp relay --spool`: what waits is on disk, says so, and is bounded; disks that fail are named.

use std::io::Write as _;

use crate::support::process::{Process, listen_at};
use crate::support::{DEADLINE, Recorder, Run, closed_port, listen, run, scratch, text, wsp};
use nix::sys::signal::Signal;
use serde_json::Value;

fn numbers(range: std::ops::RangeInclusive<usize>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

fn balance(stderr: &str) -> &str {
    stderr.lines().last().unwrap_or_default()
}

/// What `--status` says, destination by destination.
#[track_caller]
fn status(spool: &str) -> Vec<Value> {
    let output = run(&["relay", "--spool", spool, "--status", "--json"], "").exits(0);
    let status: Value = serde_json::from_str(output.stdout()).expect("one line of JSON");
    status["destinations"].as_array().expect("destinations").clone()
}

#[track_caller]
fn wait_for_status<T>(spool: &str, found: impl Fn(&[Value]) -> Option<T>) -> T {
    let deadline = std::time::Instant::now() + DEADLINE;
    loop {
        let output = run(&["relay", "--spool", spool, "--status", "--json"], "");
        let status: Value = serde_json::from_str(output.stdout()).unwrap_or_default();
        let destinations = status["destinations"].as_array().cloned().unwrap_or_default();
        if let Some(found) = found(&destinations) {
            return found;
        }
        assert!(std::time::Instant::now() < deadline, "{destinations:?}");
    }
}

/// A relay to a destination that is not there, which has stored all of its input when this returns.
fn stored(spool: &str, url: &str, more: &[&str], input: &str) -> Process {
    let mut relay =
        wsp(["relay", "-", url, "--spool", spool, "--reconnect", "--retry-delay", "60s", "--retry-factor", "1"])
            .args(more)
            .spawn();
    relay.send(input);
    let count = input.lines().count() as u64;
    wait_for_status(spool, |all| (all.first()?["messages"] == count).then_some(()));
    relay
}

fn kill(relay: Process) {
    relay.signal(Signal::SIGKILL);
    relay.outcome();
}

#[test]
fn what_was_left_goes_first_and_in_order() {
    let directory = scratch();
    let spool = text(&directory.path().join("deep/spool"));
    let port = closed_port();
    let url = format!("ws://127.0.0.1:{port}/");
    kill(stored(&spool, &url, &["--queue-size", "10"], &numbers(1..=500)));
    let waiting = &status(&spool)[0];
    assert_eq!((&waiting["messages"], &waiting["bytes"]), (&500.into(), &(9 + 180 + 401 * 3).into()));
    let server = listen_at(&format!("127.0.0.1:{port}"), &["--format", "raw"]);
    let output = run(&["relay", "-", &url, "--spool", &spool, "--queue-size", "10"], numbers(501..=600)).exits(0);
    assert!(output.stderr.contains("spool: 500 messages recovered"), "{}", output.stderr);
    assert_eq!(
        balance(&output.stderr),
        "received 600 = delivered 600 + filtered 0 + dropped 0 + dead-lettered 0 + waiting 0"
    );
    assert_eq!(server.stop().stdout(), numbers(1..=600));
    assert_eq!(status(&spool), Vec::<Value>::new());
    let output = run(&["relay", "--spool", &spool, "--status"], "").exits(0);
    assert_eq!(output.stdout(), "nothing waits\n");
}

#[test]
fn each_destination_has_what_waits_for_it() {
    let directory = scratch();
    let spool = text(&directory.path().join("spool"));
    let port = closed_port();
    let url = format!("ws://127.0.0.1:{port}/");
    let mut relay = wsp(["relay", "-", "-", &url, "--spool", &spool, "--reconnect", "--retry-delay", "60s"]).spawn();
    relay.send(numbers(1..=100));
    relay.wait_for_stdout("100");
    wait_for_status(&spool, |all| (all.len() == 1 && all[0]["destination"] == url.as_str()).then_some(()));
    // An orderly end stores what is left as well.
    relay.signal(Signal::SIGTERM);
    relay.wait_for_stderr("not delivered yet");
    relay.signal_again(Signal::SIGTERM);
    let output = relay.outcome();
    assert_eq!(output.code, 30, "{}", output.stderr);
    assert!(balance(&output.stderr).ends_with("waiting 100"), "{}", output.stderr);
    assert_eq!(status(&spool)[0]["messages"], 100);
    let server = listen_at(&format!("127.0.0.1:{port}"), &["--format", "raw"]);
    let output = run(&["relay", "-", "-", &url, "--spool", &spool], "101\n").exits(0).prints("101\n");
    assert_eq!(
        balance(&output.stderr),
        "received 101 = delivered 101 + filtered 0 + dropped 0 + dead-lettered 0 + waiting 0"
    );
    assert_eq!(server.stop().stdout(), numbers(1..=101));
}

#[test]
fn text_and_binary_come_out_as_they_went_in() {
    let directory = scratch();
    let spool = text(&directory.path().join("spool"));
    let port = closed_port();
    let url = format!("ws://127.0.0.1:{port}/");
    let lines = "{\"type\":\"text\",\"text\":\"grüße\\n\"}\n{\"type\":\"binary\",\"base64\":\"AP8KAA==\"}\n\
                 {\"type\":\"text\",\"text\":\"\"}\n{\"type\":\"binary\",\"base64\":\"\"}\n";
    kill(stored(&spool, &url, &["--input", "json"], lines));
    let server = listen_at(&format!("127.0.0.1:{port}"), &["--json"]);
    run(&["relay", "-", &url, "--spool", &spool], "").exits(0);
    let output = server.stop();
    let events = crate::support::events(output.stdout());
    let told: Vec<_> = events.iter().filter(|event| event.get("size").is_some()).collect();
    let kinds: Vec<_> = told.iter().map(|event| event["type"].as_str().expect("a type")).collect();
    assert_eq!(kinds, ["text", "binary", "text", "binary"]);
    assert_eq!((&told[0]["text"], &told[1]["base64"]), (&"grüße\n".into(), &"AP8KAA==".into()));
}

#[test]
fn a_sink_that_stands_still_fills_the_disk_not_the_memory() {
    let directory = scratch();
    let spool = text(&directory.path().join("spool"));
    let server = listen(&["--sink", "-v"]);
    let mut relay =
        wsp(["relay", "-", &server.url, "--spool", &spool, "--queue-size", "1000", "--ping-interval", "0"]).spawn();
    relay.send("first\n");
    server.process.wait_for_stderr("connected");
    server.process.signal(Signal::SIGSTOP);
    let (count, line) = (150_000, format!("{}\n", "x".repeat(199)));
    let mut input = relay.take_input();
    let feeder = std::thread::spawn(move || {
        for _ in 0..count / 1000 {
            input.write_all(line.repeat(1000).as_bytes()).expect("the relay takes all of it");
        }
    });
    feeder.join().expect("the feeder");
    // What the sockets hold has left the relay.
    wait_for_status(&spool, |all| (all.first()?["messages"].as_u64()? > count / 2).then_some(()));
    let memory = std::fs::read_to_string(format!("/proc/{}/status", relay.id())).expect("its status");
    let peak = memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak < 64 * 1024, "{peak} KiB for 30 MB of messages");
    server.process.signal(Signal::SIGCONT);
    let output = relay.finish().exits(0);
    let all = count + 1;
    assert_eq!(
        balance(&output.stderr),
        format!("received {all} = delivered {all} + filtered 0 + dropped 0 + dead-lettered 0 + waiting 0")
    );
    assert!(server.stop().stderr.contains(&format!("received {all}")));
}

#[test]
fn on_full_spool_writes_only_what_does_not_fit_in_memory() {
    let directory = scratch();
    let spool = text(&directory.path().join("spool"));
    let server = Recorder::start();
    let port = closed_port();
    let url = format!("ws://127.0.0.1:{port}/");
    let more = ["--on-full", "spool", "--queue-size", "100"];
    let mut relay =
        wsp(["relay", "-", &url, "-", "--spool", &spool, "--reconnect", "--retry-delay", "60s"]).args(more).spawn();
    relay.send(numbers(1..=100));
    relay.wait_for_stdout("100");
    assert_eq!(status(&spool), Vec::<Value>::new());
    relay.send(numbers(101..=150));
    wait_for_status(&spool, |all| (all.first()?["messages"] == 50).then_some(()));
    kill(relay);
    let output = run(&["relay", "-", &server.url, "--spool", &spool], numbers(1..=3)).exits(0);
    assert!(output.stderr.contains(&format!("spool: 50 messages for {url}")), "{}", output.stderr);
    assert_eq!(status(&spool)[0]["messages"], 50, "they stay");
    let there = listen_at(&format!("127.0.0.1:{port}"), &["--format", "raw"]);
    let output = run(&["relay", "-", &url, "--spool", &spool, "--on-full", "spool"], numbers(151..=900)).exits(0);
    assert!(balance(&output.stderr).starts_with("received 800 = delivered 800 "), "{}", output.stderr);
    assert_eq!(there.stop().stdout(), numbers(101..=900));
}

/// How a relay comes to its end, with a destination that takes nothing.
enum Ending {
    /// This signal, and no more.
    Signal(Signal),
    /// `--timeout`.
    Timeout,
    /// The destination is given up.
    GivenUp,
}

/// A relay that writes 1 to 3000 to standard output and to a destination that takes nothing, until it has ended.
fn ended(spool: &str, to: &str, more: &[&str], ending: &Ending) -> crate::support::process::Output {
    let memory = ["--on-full", "spool", "--queue-size", "500", "--grace", "100ms", "--retry-factor", "1"];
    let patience: &[&str] = match ending {
        // Everything has come by then, on a machine that is not wholly overwhelmed; what has not is not received.
        Ending::Timeout => &["--reconnect", "--retry-delay", "60s", "--timeout", "2s"],
        Ending::Signal(_) => &["--reconnect", "--retry-delay", "60s"],
        Ending::GivenUp => &["--reconnect=1", "--retry-delay", "1s"],
    };
    let relay = wsp(["relay", "-", "-", to, "--spool", spool]).args(memory).args(patience).args(more);
    let mut relay = relay.spawn();
    relay.send(numbers(1..=3000));
    if let Ending::Signal(signal) = ending {
        relay.wait_for_stdout("3000");
        relay.signal(*signal);
    }
    let output = relay.outcome();
    assert_ne!(output.code, 0, "{}", output.stderr);
    output
}

#[test]
fn what_waits_in_memory_at_an_orderly_end_is_in_the_spool() {
    for ending in [Ending::Signal(Signal::SIGTERM), Ending::Signal(Signal::SIGINT), Ending::Timeout, Ending::GivenUp] {
        let directory = scratch();
        let spool = text(&directory.path().join("spool"));
        let port = closed_port();
        let url = format!("ws://127.0.0.1:{port}/");
        let output = ended(&spool, &url, &[], &ending);
        let waiting: u64 = balance(&output.stderr).rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a balance");
        assert_eq!(status(&spool)[0]["messages"], waiting, "{}", output.stderr);
        assert!(waiting > 500, "{}", output.stderr);
        let server = listen_at(&format!("127.0.0.1:{port}"), &["--format", "raw"]);
        let again = run(&["relay", "-", &url, "--spool", &spool], "").exits(0);
        assert!(balance(&again.stderr).starts_with(&format!("received {waiting} = delivered {waiting} ")));
        assert_eq!(server.stop().stdout(), output.stdout(), "nothing lost, nothing twice, in order");
    }
}

#[test]
fn what_a_sink_has_in_hand_at_an_orderly_end_is_in_the_spool() {
    let ending = Ending::Signal(Signal::SIGTERM);
    let mute = crate::support::FakeServer::once(|request| {
        // It takes messages and acknowledges none.
        request.accept().read_rest();
    });
    let http = format!("http://127.0.0.1:{}/", closed_port());
    let envelope: &[&str] = &["--to-protocol", "envelope"];
    for (to, more) in [(&*http, &[][..]), ("exec:exec sleep 1000", &[]), (&*mute.url, envelope)] {
        let directory = scratch();
        let spool = text(&directory.path().join("spool"));
        let output = ended(&spool, to, more, &ending);
        assert!(balance(&output.stderr).ends_with("waiting 3000"), "{to}: {}", output.stderr);
        assert_eq!(status(&spool)[0]["messages"], 3000, "{to}");
    }
    mute.join();
}

#[test]
fn a_full_spool_does_what_spool_full_says() {
    let port = closed_port();
    let url = format!("ws://127.0.0.1:{port}/");
    let line = |number: usize| format!("{number:0100}\n");
    let input: String = (1..=1000).map(line).collect();
    for (policy, first, last) in [("drop-oldest", 1000, 1000), ("drop-newest", 1, 1)] {
        let directory = scratch();
        let spool = text(&directory.path().join("spool"));
        let arguments = ["relay", "-", &url, "-", "--spool", &spool, "--spool-max", "40KB", "--spool-full", policy];
        let mut relay = wsp(arguments).args(["--reconnect", "--retry-delay", "60s"]).spawn();
        // No more at a time than the other destination has room for.
        for last in (50..=1000).step_by(50) {
            relay.send((last - 49..=last).map(line).collect::<String>());
            relay.wait_for_stdout(line(last).trim());
        }
        relay.signal(Signal::SIGTERM);
        relay.wait_for_stderr("not delivered yet");
        relay.signal_again(Signal::SIGTERM);
        let output = relay.outcome();
        let waiting = status(&spool)[0]["messages"].as_u64().expect("a number");
        assert!((100..200).contains(&waiting), "20 kB hold {waiting}");
        let dropped = 1000 - waiting;
        assert_eq!(
            balance(&output.stderr),
            format!(
                "received 1000 = delivered 0 + filtered 0 + dropped {dropped} (queue-full {dropped}) + dead-lettered \
                 0 + waiting {waiting}"
            )
        );
        let server = listen_at(&format!("127.0.0.1:{port}"), &["--format", "raw"]);
        run(&["relay", "-", &url, "--spool", &spool], "").exits(0);
        let output = server.stop();
        let left: Vec<&str> = output.stdout().lines().collect();
        let expected =
            if first == 1 { left[0] == line(first).trim() } else { left[left.len() - 1] == line(last).trim() };
        assert!(left.len() as u64 == waiting && expected, "{policy}: {:?}", left.first());
    }
    // Blocked, the source is not read further.
    let directory = scratch();
    let spool = text(&directory.path().join("spool"));
    let mut relay = wsp(["relay", "-", &url, "--spool", &spool, "--spool-max", "40KB", "--reconnect"]).spawn();
    relay.send(&input);
    let most = wait_for_status(&spool, |all| all.first()?["messages"].as_u64().filter(|count| *count > 250));
    assert!(most < 400, "40 kB hold {most}");
    kill(relay);
}

#[test]
fn a_full_disk_is_named_and_what_was_stored_stays() {
    let directory = scratch();
    let spool = text(&directory.path().join("spool"));
    let port = closed_port();
    let url = format!("ws://127.0.0.1:{port}/");
    // A limit on the size of files does to the store what a full disk does.
    let script = "trap '' XFSZ; ulimit -f 2000; exec \"$@\"";
    let mut relay = Run::new("/bin/bash")
        .args(["-c", script, "bash", env!("CARGO_BIN_EXE_wsp"), "relay", "-", &url, "--spool", &spool])
        .args(["--reconnect", "--retry-delay", "60s", "--grace", "1s", "--queue-size", "100"])
        .spawn();
    let line = |number: usize| format!("{number:0200}\n");
    let mut input = relay.take_input();
    let feeder =
        std::thread::spawn(move || (1..100_000).find(|number| input.write_all(line(*number).as_bytes()).is_err()));
    let output = relay.outcome();
    feeder.join().expect("the feeder").expect("it has stopped reading");
    assert_eq!(output.code, 32, "{}", output.stderr);
    let error = output.stderr.lines().find(|line| line.contains("wsp: spool")).expect("a line that names it");
    assert!(error.contains(&spool) && error.ends_with("cannot write spool.redb: File too large"), "{error}");
    assert!(output.stderr.contains("hint: free disk space"), "{}", output.stderr);
    let count = |word: &str| -> u64 {
        let words: Vec<_> = balance(&output.stderr).split(' ').collect();
        let place = words.iter().position(|known| *known == word).expect("a word of the balance");
        words[place + 1].parse().expect("a number")
    };
    assert!(count("received") > 1000 && count("received") == count("waiting"), "{}", output.stderr);
    let stored = status(&spool)[0]["messages"].as_u64().expect("a number");
    assert!(stored > 1000 && stored <= count("received"), "{stored} are stored");
    let server = listen_at(&format!("127.0.0.1:{port}"), &["--format", "raw"]);
    run(&["relay", "-", &url, "--spool", &spool], "").exits(0);
    let expected: String = (1..=stored as usize).map(line).collect();
    assert!(server.stop().stdout() == expected, "the first {stored}, in order");
}

#[test]
fn a_spool_that_cannot_be_used_is_named() {
    let directory = scratch();
    let file = text(&crate::support::write(&directory, "file", "x"));
    let below = format!("{file}/spool");
    let missing = text(&directory.path().join("missing"));
    let damaged = text(&directory.path().join("damaged"));
    std::fs::create_dir(&damaged).expect("a directory");
    std::fs::write(format!("{damaged}/spool.redb"), "no database at all").expect("a file");
    for (arguments, code, words) in [
        (vec!["relay", "-", "-", "--spool", &below], 32, format!("wsp: spool {below}: cannot create the directory: ")),
        (vec!["relay", "-", "-", "--spool", &damaged], 32, format!("wsp: spool {damaged}: it is damaged: ")),
        (vec!["relay", "--spool", &damaged, "--status"], 32, format!("wsp: spool {damaged}: it is damaged: ")),
        (vec!["relay", "--spool", &missing, "--status"], 32, format!("wsp: spool {missing}: no such spool")),
        (vec!["relay", "-", "-", "--on-full", "spool"], 2, "--on-full spool requires --spool".to_owned()),
        (
            vec!["relay", "-", "-", "--spool", &missing, "--on-full", "drop-oldest"],
            2,
            "with --spool a full queue".to_owned(),
        ),
        (vec!["relay", "--status"], 2, "--spool".to_owned()),
    ] {
        let output = run(&arguments, "1\n").exits(code).complains(&words);
        assert!(code == 2 || output.stderr.contains("hint: "), "{}", output.stderr);
    }
    assert!(!std::path::Path::new(&missing).exists(), "looking makes nothing");
    let port = closed_port();
    let used = text(&directory.path().join("used"));
    let relay = stored(&used, &format!("ws://127.0.0.1:{port}/"), &[], "1\n");
    let output = run(&["relay", "-", "-", "--spool", &used], "").exits(32);
    assert!(output.stderr.contains(&format!("spool {used}: another process has it open")), "{}", output.stderr);
    kill(relay);
}

#[test]
fn damage_inside_is_found_before_anything_is_sent() {
    let directory = scratch();
    let spool = text(&directory.path().join("spool"));
    let url = format!("ws://127.0.0.1:{}/", closed_port());
    kill(stored(&spool, &url, &[], &numbers(1..=5000)));
    let path = format!("{spool}/spool.redb");
    let mut bytes = std::fs::read(&path).expect("the file");
    let at = bytes.windows(4).position(|four| four == b"2500").expect("a message");
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).expect("the file");
    let output = run(&["relay", "-", "-", "--spool", &spool], "1\n");
    assert_eq!((output.code, output.stdout()), (32, ""), "{}", output.stderr);
    assert!(output.stderr.contains("it is damaged"), "{}", output.stderr);
}
