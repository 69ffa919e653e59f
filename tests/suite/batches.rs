//! `--batch-as`: one message made of many, for every destination alike.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::relay_admin::port_of;
use super::relay_http::bodies;
use crate::support::balance::Balance;
use crate::support::files::{read, wait_until};
use crate::support::http::{sample, wait_for};
use crate::support::peers::http_server;
use crate::support::{FakeServer, Frame, RawClient, Recorder, require, run, scratch, text, wsp};

fn numbers(range: std::ops::RangeInclusive<usize>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

#[test]
fn a_batch_is_one_message_in_the_form_asked_for() {
    let input = "1\nno json\n{\"a\":[2]}\n";
    let relay = |more: &[&str], input: &str| run(&[&["relay", "-", "-", "--batch-age", "60s"], more].concat(), input);
    relay(&["--batch-as", "lines"], input).exits(0).prints("1\nno json\n{\"a\":[2]}\n");
    relay(&["--batch-as", "array"], input).exits(0).prints("[1,\"no json\",{\"a\":[2]}]\n");
    relay(&["--batch-as", "concat"], input).exits(0).prints("1no json{\"a\":[2]}\n");
    let output = relay(&["--batch-as", "array", "--batch", "2"], &numbers(1..=5)).exits(0);
    assert_eq!(Balance::of(&output), Balance::all_delivered(5));
    output.prints("[1,2]\n[3,4]\n[5]\n");
    relay(&["--batch-as", "array", "--batch-bytes", "4"], "11\n22\n3\n444444\n5\n")
        .exits(0)
        .prints("[11,22]\n[3]\n[444444]\n[5]\n");
    let output = relay(&["--batch-as", "array", "--json"], "x\n").exits(0);
    let array: Value = serde_json::from_str(output.stdout()).expect("an array");
    assert_eq!((&array[0]["text"], &array[0]["session"]), (&"x".into(), &"s1".into()));
}

#[test]
fn a_batch_waits_for_its_minimum_its_age_or_the_end() {
    // Below the minimum it waits, with what is there at the end.
    let batch = ["--batch-as", "array", "--batch-min", "3", "--batch", "4", "--admin", "0"];
    let mut relay = wsp(["relay", "-", "-"]).args(batch).spawn();
    let port = port_of(&relay);
    relay.send("1\n2\n");
    relay.send("3\n");
    relay.wait_for_stdout("[1,2,3]");
    relay.send(numbers(4..=8));
    relay.wait_for_stdout("[4,5,6,7]");
    wait_for(port, "/metrics", |answer| answer.text().contains("\nwsp_batches_total{queue=\"-\"} 2\n"));
    relay.finish().exits(0).prints("[1,2,3]\n[4,5,6,7]\n[8]\n");
    // A batch that is old enough goes below the minimum, and so does one at a signal.
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        socket.say(Frame::text("1"));
        socket.say(Frame::text("2"));
        socket.read_rest();
    });
    let relay = ["relay", &server.url, "-", "--batch-as", "concat", "--batch-min", "1000"];
    let aged = wsp(relay).args(["--batch-age", "300ms"]).spawn();
    aged.wait_for_stdout("12");
    aged.signal(Signal::SIGTERM);
    aged.outcome().exits(0);
    server.join();
    let mut stopped = wsp(["relay", "-", "-", "--batch-as", "concat", "--batch-min", "1000", "--admin", "0"]).spawn();
    let port = port_of(&stopped);
    stopped.send("1\n2\n");
    wait_for(port, "/metrics", |answer| sample(answer.text(), "wsp_waiting") >= 2.0);
    stopped.signal(Signal::SIGTERM);
    let output = stopped.outcome().exits(0);
    assert_eq!(Balance::of(&output), Balance::all_delivered(2));
    output.prints("12\n");
    for (arguments, code, what) in [
        (&["--batch-min", "5", "--batch", "3"][..], 2, "--batch-min 5 is more than --batch 3"),
        (&["--batch-min", "0"], 2, "--batch-min"),
        (&["--batch-jq", "("], 7, "--batch-jq"),
        (&["--batch-as", "rows"], 2, "lines, array, concat"),
    ] {
        run(&[&["relay", "-", "-"][..], arguments].concat(), "").exits(code).complains(what);
    }
    let proxy = ["relay", "ws-listen://127.0.0.1:0", "ws://127.0.0.1:9", "--both", "--batch-as", "array"];
    run(&proxy, "").exits(2).complains("--batch-as: a proxy");
}

#[test]
fn a_filter_sorts_and_groups_a_batch() {
    let input = "{\"s\":\"B\",\"t\":3}\n{\"s\":\"A\",\"t\":2}\n{\"s\":\"B\",\"t\":1}\n";
    let relay = |more: &[&str]| run(&[&["relay", "-", "-", "--batch-age", "60s"], more].concat(), input);
    let sorted = "{\"s\":\"B\",\"t\":1}\n{\"s\":\"A\",\"t\":2}\n{\"s\":\"B\",\"t\":3}\n";
    relay(&["--batch-jq", "sort_by(.t)"]).exits(0).prints(sorted);
    let grouped = ["--batch-jq", "group_by(.s)[]", "--batch-as", "array"];
    let output = relay(&grouped).exits(0);
    assert_eq!(Balance::of(&output), Balance::all_delivered(3));
    output.prints("[{\"s\":\"A\",\"t\":2}]\n[{\"s\":\"B\",\"t\":3},{\"s\":\"B\",\"t\":1}]\n");
    relay(&["--batch-jq", "{first: .[0].t, n: length}"]).exits(0).prints("{\"first\":3,\"n\":3}\n");
    let output = relay(&["--batch-jq", "empty"]).exits(0).prints("");
    assert_eq!(Balance::of(&output), Balance { delivered: 0, filtered: 3, ..Balance::all_delivered(3) });
    // What it fails on is an error of each of its messages.
    let directory = scratch();
    let dead = text(&directory.path().join("dead"));
    let output = relay(&["--batch-jq", "if length > 1 then error(\"many\") else . end", "--dead-letter", &dead]);
    let output = output.exits(30);
    assert_eq!(Balance::of(&output), Balance { delivered: 0, dead_lettered: 3, ..Balance::all_delivered(3) });
    let dead = read(dead.as_ref());
    assert_eq!(dead.lines().filter(|line| line.contains("--batch-jq: many")).count(), 3, "{dead}");
}

#[test]
fn every_kind_of_destination_gets_batches() {
    let directory = scratch();
    let path = |name: &str| text(&directory.path().join(name));
    let batch = ["--batch-as", "array", "--batch", "2", "--batch-age", "60s"];
    let relay = |to: &str| {
        let output = run(&[&["relay", "-", to], &batch[..]].concat(), numbers(1..=3)).exits(0);
        assert_eq!(Balance::of(&output), Balance::all_delivered(3), "{to}");
    };
    let file = path("file");
    relay(&format!("file:{file}"));
    assert_eq!(read(file.as_ref()), "[1,2]\n[3]\n");
    let program = path("program");
    relay(&format!("exec:cat > {program}"));
    assert_eq!(read(program.as_ref()), "[1,2]\n[3]\n");
    let server = Recorder::start();
    relay(&server.url);
    let texts = server
        .wait("it is not closed", |all| all.first().filter(|heard| heard.has_ended).map(|heard| heard.texts.clone()));
    assert_eq!(texts, ["[1,2]", "[3]"]);
    // A server's clients, all of them.
    let mut guests = wsp(["relay", "-", "ws-listen://127.0.0.1:0"]).args(batch).spawn();
    let line = guests.wait_for_stderr("listening on ");
    let port = line.trim_end_matches('/').rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
    let mut guest = RawClient::connect(port);
    guests.send(numbers(1..=3));
    assert_eq!(guest.read_text(), "[1,2]");
    let answering = std::thread::spawn(move || {
        let last = guest.read_text();
        guest.answer_close();
        last
    });
    let output = guests.finish().exits(0);
    assert_eq!(
        (Balance::of(&output), answering.join().expect("a client")),
        (Balance::all_delivered(3), "[3]".to_owned())
    );
}

#[test]
fn a_webhook_gets_arrays_and_what_it_refuses_alone_is_given_up() {
    if !require("python-websockets") {
        return;
    }
    let server = http_server(&json!({ "refuse": "bad", "answers": [200, 400, 200, 200, 200] }));
    let directory = scratch();
    let dead = text(&directory.path().join("dead"));
    let relay = ["relay", "-", &server.url, "--batch-as", "array", "--batch", "3", "--batch-age", "60s"];
    let relay = [&relay[..], &["--dead-letter", &dead]].concat();
    let output = run(&relay, "1\n2\n3\n4\n\"bad\"\n6\n7\n").exits(30);
    assert_eq!(Balance::of(&output), Balance { delivered: 6, dead_lettered: 1, ..Balance::all_delivered(7) });
    let told = server.stop();
    assert_eq!(bodies(&told), ["[1,2,3]", "[4,\"bad\",6]", "[4]", "[\"bad\"]", "[6]", "[7]"]);
    assert!(told.iter().all(|request| request.header("content-type") == Some("application/json")));
    let dead = read(dead.as_ref());
    assert!(dead.lines().count() == 1 && dead.contains(r#""text":"\"bad\"""#) && dead.contains("400"), "{dead}");
}

#[test]
fn what_waits_for_a_batch_survives_a_kill() {
    let directory = scratch();
    let (spool, out) = (text(&directory.path().join("spool")), text(&directory.path().join("out")));
    let to = format!("file:{out}");
    let relay = ["relay", "-", &to, "--spool", &spool, "--batch-as", "array", "--batch-min", "5"];
    let mut killed = wsp(relay).spawn();
    killed.send(numbers(1..=7));
    // All that was there at a time is one batch; what is left of it waits.
    wait_until("a batch", || read(out.as_ref()).contains(",5").then_some(()));
    killed.send(numbers(8..=9));
    let waiting = || {
        let status = run(&["relay", "--spool", &spool, "--status", "--json"], "");
        let status: Value = serde_json::from_str(status.stdout()).unwrap_or_default();
        status["destinations"][0]["messages"].as_u64().unwrap_or(0)
    };
    wait_until("nine that arrived or wait", || {
        let arrived: usize =
            read(out.as_ref()).lines().map(|line| line.matches(|c: char| c.is_ascii_digit()).count()).sum();
        (arrived as u64 + waiting() == 9).then_some(())
    });
    killed.signal(Signal::SIGKILL);
    killed.outcome();
    let output = wsp(relay).input("10\n");
    let output = output.exits(0);
    assert_eq!(Balance::of(&output).waiting, 0);
    let content = read(out.as_ref());
    let mut all: Vec<u64> = Vec::new();
    for line in content.lines() {
        all.extend(serde_json::from_str::<Vec<u64>>(line).expect("an array"));
    }
    all.dedup();
    assert_eq!(all, (1..=10).collect::<Vec<_>>(), "{content}");
}

#[test]
fn a_destination_that_comes_back_gets_the_batches_that_waited() {
    let server = FakeServer::times(2, |number, request| {
        let mut socket = request.accept();
        if number == 0 {
            assert_eq!(socket.read_text(), "[1,2]");
            return;
        }
        // It is not known whether the first one was read.
        let first = socket.read_text();
        let next = if first == "[1,2]" { socket.read_text() } else { first };
        assert_eq!(next, "[3,4]");
        assert_eq!(socket.read_text(), "[5]");
        socket.answer_close();
    });
    let batch = ["--batch-as", "array", "--batch", "2", "--batch-age", "60s"];
    let mut relay = wsp(["relay", "-", &server.url, "--reconnect", "--retry-delay", "10ms"]).args(batch).spawn();
    relay.send("1\n2\n");
    relay.wait_for_stderr("reconnecting");
    relay.send("3\n4\n5\n");
    let output = relay.finish().exits(0);
    assert_eq!(Balance::of(&output), Balance::all_delivered(5));
    server.join();
}

#[test]
#[cfg(any(feature = "kafka", feature = "nats"))]
fn brokers_get_batches_and_a_filter_may_group_them() {
    for (name, make) in crate::support::brokers::BROKERS {
        if !require(name) {
            continue;
        }
        let mut broker = make();
        broker.make("batches", 1);
        let batch = ["--batch", "4", "--batch-age", "60s", "--batch-as", "array", "--batch-jq", "group_by(. % 2)[]"];
        let output = run(&[&["relay", "-", &broker.to("batches")], &batch[..]].concat(), numbers(1..=5)).exits(0);
        assert_eq!(Balance::of(&output), Balance::all_delivered(5), "{name}");
        let reader = wsp(["relay", &broker.from("batches", "g"), "-", "--reconnect"]).spawn();
        reader.wait_for_stdout("[5]");
        reader.signal(Signal::SIGTERM);
        reader.outcome().exits(0).prints("[2,4]\n[1,3]\n[5]\n");
    }
}

#[test]
fn a_file_of_pipelines_says_how_batches_are_made() {
    let directory = scratch();
    let file = "[[pipeline]]\nfrom = '-'\nto = '-'\nbatch = 3\nbatch-min = 2\nbatch-age = '60s'\nbatch-as = 'array'\n\
                batch-jq = 'map(. * 2)'\n";
    let file = text(&crate::support::write(&directory, "relay.toml", file));
    run(&["relay", "-f", &file], numbers(1..=4)).exits(0).prints("[2,4,6]\n[8]\n");
    let wrong = "[[pipeline]]\nfrom = '-'\nto = '-'\nbatch-jq = '('\n";
    let file = text(&crate::support::write(&directory, "wrong.toml", wrong));
    run(&["relay", "-f", &file], "").exits(7).complains("wrong.toml:4: pipeline 1: --batch-jq");
}
