//! `--fold`: state across messages, by key, in connect and relay, beyond the end of a run and beyond a kill.

use nix::sys::signal::Signal;
use serde_json::json;

use super::relay_admin::port_of;
use crate::support::balance::Balance;
use crate::support::files::read;
use crate::support::http::{sample, wait_for};
use crate::support::{FakeServer, Frame, RawClient, Recorder, Server, Socket, listen, run, scratch, text, write, wsp};

/// Prices of two symbols, mixed.
const TRADES: &str = r#"{"s":"A","p":100,"q":10}
{"s":"B","p":50,"q":1}
{"s":"A","p":102,"q":30}
{"s":"B","p":40,"q":3}
{"s":"A","p":101,"q":10}
"#;

/// The change of each symbol's price, by `$prev`.
const CHANGE: &str = "[null, {s, change: (.p - ($prev.p // .p))}]";
/// The volume-weighted average price of each symbol, by `$state`.
const VWAP: &str = "($state | .pv += 0 | .q += 0) as $s | {pv: ($s.pv + .p * .q), q: ($s.q + .q)} | [., .pv / .q]";

#[test]
fn the_change_of_a_price_is_that_of_its_symbol() {
    let expected = "{\"s\":\"A\",\"change\":0}\n{\"s\":\"B\",\"change\":0}\n{\"s\":\"A\",\"change\":2}\n\
                    {\"s\":\"B\",\"change\":-10}\n{\"s\":\"A\",\"change\":-1}\n";
    let fold = ["--fold", CHANGE, "--state-key", ".s"];
    run(&[&["relay", "-", "-"][..], &fold].concat(), TRADES).exits(0).prints(expected);
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        for line in TRADES.lines() {
            socket.say(Frame::text(line));
        }
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    run(&[&["connect", &server.url, "-w", "-1"][..], &fold].concat(), "").exits(0).prints(expected);
    server.join();
    // Without a key there is one state for all.
    let all = run(&["relay", "-", "-", "--fold", "[.p, .p - ($state // .p)]"], TRADES).exits(0);
    all.prints("0\n-50\n52\n-62\n61\n");
}

#[test]
fn an_average_weighs_each_symbols_volume() {
    let fold = ["--fold", VWAP, "--state-key", ".s", "--state", r#"{"pv":0,"q":0}"#];
    let output = run(&[&["relay", "-", "-"][..], &fold].concat(), TRADES).exits(0);
    output.prints("100.0\n50.0\n101.5\n42.5\n101.4\n");
}

#[test]
fn a_spike_raises_an_alert_for_its_symbol_alone() {
    let directory = scratch();
    let alerts = text(&directory.path().join("alerts"));
    let route = format!(".pct | fabs > 3 => file:{alerts} => {{alert: .s, pct}}");
    let fold = "[.p, {s, pct: (if $state then (.p - $state) / $state * 100 else 0 end)}]";
    let output = run(&["relay", "-", "null:", "--state-key", ".s", "--fold", fold, "--route", &route], TRADES).exits(0);
    assert_eq!(Balance::of(&output), Balance::all_delivered(5));
    assert_eq!(read(alerts.as_ref()), "{\"alert\":\"B\",\"pct\":-20.0}\n");
}

#[test]
fn a_fold_goes_on_after_a_restart_with_a_spool() {
    let directory = scratch();
    let spool = text(&directory.path().join("spool"));
    // Both the state and the message before come back, and a message without an output counts.
    let fold = "[$state + 1, (select(.p != 50) | {n: ($state + 1), before: $prev.p})]";
    let relay = ["relay", "-", "-", "--spool", &spool, "--state", "0", "--state-key", ".s", "--fold", fold];
    let first = run(&relay, TRADES).exits(0);
    assert_eq!(Balance::of(&first), Balance { delivered: 4, filtered: 1, ..Balance::all_delivered(5) });
    let output = run(&relay, "{\"s\":\"A\",\"p\":7}\n{\"s\":\"B\",\"p\":8}\n{\"s\":\"C\",\"p\":9}\n").exits(0);
    let output = output.prints("{\"n\":4,\"before\":101}\n{\"n\":3,\"before\":40}\n{\"n\":1,\"before\":null}\n");
    output.complains("spool: --fold goes on with 2 states");
    let status = run(&["relay", "--spool", &spool, "--status"], "").exits(0);
    status.prints("nothing waits\n--fold: 3 states\n");
    // Those of the longest unused keys are given up where fewer are wanted.
    let output = run(&[&relay[..], &["--state-keys", "1"]].concat(), "{\"s\":\"C\",\"p\":1}\n").exits(0);
    output.complains("--fold goes on with 1 state").prints("{\"n\":2,\"before\":9}\n");
    let output = run(&relay, "{\"s\":\"A\",\"p\":1}\n").exits(0);
    output.complains("--fold goes on with 1 state").prints("{\"n\":1,\"before\":null}\n");
}

#[test]
fn a_state_is_stored_together_with_what_it_yielded() {
    let server = Recorder::start();
    let directory = scratch();
    let spool = text(&directory.path().join("spool"));
    let mut random = fastrand::Rng::with_seed(11);
    let relay = ["relay", "-", &server.url, "--spool", &spool, "--state", "0", "--fold", "[$state + 1, $state + 1]"];
    let (mut connections, mut last) = (0, 0_u64);
    for kill in 0..6 {
        let mut running = wsp(relay).spawn();
        let mut input = running.take_input();
        let feeder = std::thread::spawn(move || {
            use std::io::Write as _;
            // Until it is gone.
            while input.write_all(&b"null\n".repeat(200)).is_ok() {}
        });
        let heard = random.usize(1..400);
        server.wait("nothing arrives", |all| {
            let here = all.get(connections)?;
            (here.texts.len() >= heard || here.has_ended).then_some(())
        });
        running.signal(Signal::SIGKILL);
        running.outcome();
        feeder.join().expect("the feeder");
        // What is left is sent, and one more is folded: every number follows the one before.
        run(&relay, "null\n").exits(0);
        for _ in 0..2 {
            let texts = server.wait("it is not cut off", |all| {
                all.get(connections).filter(|heard| heard.has_ended).map(|heard| heard.texts.clone())
            });
            connections += 1;
            for number in texts.iter().map(|text| text.parse::<u64>().expect("a number")) {
                // What was under way at the kill comes twice.
                assert!(number <= last + 1, "kill {kill}: {number} after {last}");
                last = last.max(number);
            }
        }
    }
    run(&["relay", "-", "-", "--spool", &spool, "--fold", "[$state, $state]"], "null\n")
        .exits(0)
        .prints(&format!("{last}\n"));
}

#[test]
fn what_was_acknowledged_is_in_the_state_whatever_is_killed() {
    let directory = scratch();
    let spool = text(&directory.path().join("spool"));
    let keep = ["--spool", &spool, "--state", "[]", "--fold", "[$state + [.], (select(. == 0) | $state)]"];
    for number in 1..=5 {
        let server = ["relay", "ws-listen://127.0.0.1:0", "null:", "--protocol", "envelope"];
        let server = Server::ready(wsp(server).args(keep));
        let mut client = RawClient::connect(server.port);
        let data = json!({"type": "data", "id": number, "timestamp": 1, "payload": number});
        client.say(Frame::text(&data.to_string()));
        // There is no output that could be stored for it; it is killed as soon as it has acknowledged.
        while !client.read_text().contains("\"ack\"") {}
        server.process.signal(Signal::SIGKILL);
        server.process.outcome();
    }
    run(&[&["relay", "-", "-"][..], &keep].concat(), "0\n").exits(0).prints("[1,2,3,4,5]\n");
}

#[test]
fn each_connection_through_a_proxy_has_its_own_state() {
    let server = listen(&["--echo"]);
    let count = ["--both", "--state", "0", "--fold", "[$state + 1, $state + 1]"];
    let proxy = Server::ready(wsp(["relay", "ws-listen://127.0.0.1:0", &server.url]).args(count));
    let (mut one, mut other) = (RawClient::connect(proxy.port), RawClient::connect(proxy.port));
    let ask = |client: &mut Socket| {
        client.say(Frame::text("null"));
        client.read_text()
    };
    assert_eq!([ask(&mut one), ask(&mut one), ask(&mut other), ask(&mut one)], ["1", "2", "1", "3"]);
    proxy.stop().exits(0);
}

#[test]
fn the_longest_unused_state_goes_where_there_are_too_many() {
    let arguments =
        ["-", "null:", "--fold", "[$state + 1, .]", "--state-key", ".", "--state-keys", "3", "--admin", "0"];
    let mut relay = wsp([&["relay"], &arguments[..]].concat()).spawn();
    let port = port_of(&relay);
    relay.send("1\n2\n3\n1\n4\n5\n1\n");
    let answer = wait_for(port, "/metrics", |answer| sample(answer.text(), "wsp_delivered_total") >= 7.0);
    for line in ["wsp_fold_states 3", "wsp_fold_states_evicted_total 2"] {
        assert!(answer.text().lines().any(|known| known == line), "{line}: {}", answer.text());
    }
    relay.finish().exits(0);
    let count = ["relay", "-", "-", "--state", "0", "--fold", "[$state + 1, $state + 1]", "--state-key", "."];
    run(&[&count[..], &["--state-keys", "2"]].concat(), "1\n2\n1\n3\n2\n1\n").exits(0).prints("1\n1\n2\n1\n1\n1\n");
    run(&[&count[..], &["--state-keys", "3"]].concat(), "1\n2\n1\n3\n2\n1\n").exits(0).prints("1\n1\n2\n1\n2\n3\n");
}

#[test]
fn a_fold_that_fails_is_an_error_of_that_message() {
    let directory = scratch();
    let dead = text(&directory.path().join("dead"));
    let fold = "if . == 0 then 7 elif . == 1 then [] elif . == 2 then error(\"two\") elif . == 3 then empty \
                else [$state + ., $state + .] end";
    let relay = ["relay", "-", "-", "--fold", fold, "--state", "0", "--dead-letter", &dead];
    let output = run(&relay, "10\n0\n1\n2\n3\nx\n5\n").exits(30).prints("10\n15\n");
    let expected = Balance { delivered: 2, filtered: 2, dead_lettered: 3, ..Balance::all_delivered(7) };
    assert_eq!(Balance::of(&output), expected);
    let dead = read(dead.as_ref());
    let reasons = ["--fold must yield [STATE, OUTPUT...], not number", "an empty array", "--fold: two"];
    for (line, reason) in dead.lines().zip(reasons) {
        assert!(line.contains(reason), "{line}");
    }
    let server = FakeServer::once(|request| {
        let mut socket = request.accept();
        for line in ["10", "0", "x", "5"] {
            socket.say(Frame::text(line));
        }
        socket.say(Frame::close(1000, ""));
        socket.answer_close();
    });
    let output = run(&["connect", &server.url, "-w", "-1", "-j", ". + 1", "--fold", "[$state + ., $state + .]"], "");
    output.exits(0).prints("11\n12\n18\n").complains("1 message dropped: not JSON");
    server.join();
}

#[test]
fn filters_come_before_the_fold_and_slow_ones_keep_the_order() {
    // A definition is not known to be quick: it runs apart, one message after the other.
    let slow = "def f: reduce range(20000) as $i (0; . + 1); [$state + 1, [$state, ., f]]";
    let input: String = (1..=20).map(|number| format!("{number}\n")).collect();
    let expected: String = (0..20).map(|number| format!("[{number},{},20000]\n", number + 101)).collect();
    let relay = ["relay", "-", "-", "--jq", ". + 100", "--state", "0", "--fold", slow];
    run(&relay, input.as_str()).exits(0).prints(&expected);
    // Several outputs of one message, each with its state; those before an error stand.
    let relay = ["relay", "-", "-", "--jq", ".[]", "--state-key", ".k", "--fold", "[$state + .v, [.k, $state + .v]]"];
    let messages = "[{\"k\":1,\"v\":2},{\"k\":2,\"v\":3},{\"k\":1,\"v\":5}]\n[{\"k\":2,\"v\":1},{\"k\":1,\"v\":\"x\"}]\n\
                    [{\"k\":1,\"v\":1}]\n";
    let expected = "[1,2]\n[2,3]\n[1,7]\n[2,4]\n[1,8]\n";
    run(&relay, messages).exits(0).prints(expected);
    let slow = "def f: .v; [$state + f, [.k, $state + f]]";
    run(&[&relay[..5], &["--state-key", ".k", "--fold", slow][..]].concat(), messages).exits(0).prints(expected);
    // What is passed on is what the fold yields: routes and the schema see that.
    let directory = scratch();
    let schema = text(&write(&directory, "even.json", r#"{"multipleOf":2}"#));
    let aside = text(&directory.path().join("aside"));
    let route = format!(". > 5 => file:{aside}");
    let relay = ["relay", "-", "-", "--fold", "[$state + ., $state + .]", "--schema", &schema, "--route", &route];
    run(&relay, "2\n1\n1\n4\n").exits(0).prints("2\n4\n");
    assert_eq!(read(aside.as_ref()), "8\n");
}

#[test]
fn what_is_wrong_with_a_fold_is_told_before_anything_runs() {
    for (arguments, code, what) in [
        (&["--fold", ".a |"][..], 7, "--fold: expected term at column 5"),
        (&["--fold", "$x"], 7, "known are $state, $meta, $prev"),
        (&["--fold", ".", "--state-key", ".a."], 7, "--state-key"),
        (&["--fold", ".", "--state", "{"], 2, "--state: not JSON"),
        (&["--fold", ".", "--state-keys", "0"], 2, "--state-keys"),
        (&["--state-key", "."], 2, "--fold"),
        (&["--state", "1"], 2, "--fold"),
        (&["--fold", ".", "--arg", "state", "1"], 2, "'$state' is reserved"),
    ] {
        run(&[&["relay", "-", "-"][..], arguments].concat(), "").exits(code).complains(what);
        run(&[&["connect", "ws://127.0.0.1:9/"][..], arguments].concat(), "").exits(code).complains(what);
    }
    let directory = scratch();
    let head = "[[pipeline]]\nfrom = '-'\nto = '-'\n";
    let file = text(&write(&directory, "bad.toml", format!("{head}fold = '['\n")));
    run(&["relay", "-f", &file], "").exits(7).complains("bad.toml:4: pipeline 1: --fold");
    let good = "fold = '[$state + ., $state + .]'\nstate = 1\nstate-key = '. % 2'\nstate-keys = 9\n";
    let file = text(&write(&directory, "good.toml", format!("{head}{good}")));
    run(&["relay", "-f", &file], "1\n2\n3\n").exits(0).prints("2\n3\n5\n");
}
