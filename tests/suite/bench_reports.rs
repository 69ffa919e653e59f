//! What `wsp bench` prints and writes, how it ends, and what is made of several reports.
//!
//! Leaves what is counted to `bench`.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::bench::{bench, bench_output, report};
use crate::support::certs::Authority;
use crate::support::peers::{chromium, node, node_server, python, python_server};
use crate::support::target::{Answer, Target, same};
use crate::support::{Run, closed_port, listen, require, run, scratch, text, wsp};

fn echo() -> Target {
    Target::new(|asked| vec![Answer::now(same(asked))])
}

#[test]
fn the_text_says_the_verdict_before_any_figure() {
    let target = echo();
    let output = wsp(["bench", &target.url, "-n", "2000", "-c", "4", "--threshold", "loss=0"]).input("");
    let shown = output.stdout();
    let place = |part: &str| shown.find(part).unwrap_or_else(|| panic!("no {part:?} in {shown}"));
    assert!(
        place("VALID") < place("connect ") && place("connect ") < place("sent ") && place("sent ") < place("p99.9")
    );
    for part in ["loss=0 ok", "verified all", "hides stalls", "check ", "generator  1 shard", "seed 42"] {
        place(part);
    }
    assert!(!shown.contains("response"), "there is none in a closed loop: {shown}");
    let output = wsp(["bench", &target.url, "--rate", "500", "-d", "500ms"]).input("");
    assert!(output.stdout().contains("<- quote this") && output.stdout().contains("schedule"), "{}", output.stdout());
}

#[test]
fn thresholds_make_the_exit_code_and_are_quoted() {
    let target = Target::new(|asked| vec![Answer::late(same(asked), Duration::from_millis(20))]);
    let arguments = ["-n", "200", "-c", "10", "--threshold", "p90<10ms", "--threshold", "loss<1%"];
    let output = bench_output(&target.url, &arguments);
    assert_eq!(output.code, 40, "{}", output.stderr);
    let output = output.complains("threshold missed: p90<10ms");
    let seen = report(&output);
    assert_eq!((&seen["verdict"], &seen["valid"]), (&json!("fail"), &json!(true)));
    let outcomes: Vec<_> = seen["thresholds"].as_array().expect("a list").iter().map(|one| &one["ok"]).collect();
    assert_eq!(outcomes, [false, true]);
    assert!(seen["reasons"].to_string().contains("p90<10ms"));
    let arguments = ["-n", "200", "-c", "10", "--threshold", "p90<10s", "--threshold", "connect.max<10s"];
    bench_output(&target.url, &arguments).exits(0);
}

#[test]
fn a_generator_that_cannot_keep_up_says_so() {
    // One thread of a debug build is far from this rate, on any machine.
    let server = listen(&["--sink"]);
    let output = bench_output(&server.url, &["--rate", "20M", "-d", "500ms", "--mode", "send", "--threads", "1"]);
    let output = output.exits(41).complains("wsp: invalid: ");
    let seen = report(&output);
    assert_eq!((&seen["valid"], &seen["verdict"]), (&json!(false), &json!("invalid")));
    assert_eq!(seen["generator"]["health"], "invalid");
    assert!(seen["messages"]["missed_generator"].as_u64() > Some(0), "{:#}", seen["messages"]);
}

#[test]
fn a_target_that_cannot_keep_up_is_told_before_any_percentile() {
    // One answer in 10 ms, one after the other.
    let begun = std::time::Instant::now();
    let target = Target::new(move |asked| {
        let due = Duration::from_millis(10 * asked.number);
        vec![Answer::late(same(asked), due.saturating_sub(begun.elapsed()))]
    });
    let output = wsp(["bench", &target.url, "--rate", "400", "-d", "2s", "--deadline", "1s"]).input("");
    assert!([40, 41].contains(&output.code), "{} {}", output.stdout(), output.stderr);
    let output = output.complains("not sustained");
    let shown = output.stdout();
    assert!(shown.find("not sustained") < shown.find("p99.9"), "{shown}");
}

#[test]
fn no_connection_at_all_is_an_exit_code_of_its_own() {
    let url = format!("ws://127.0.0.1:{}/", closed_port());
    bench_output(&url, &["-d", "200ms"]).exits(14).prints("").complains("refused").complains("hint: ");
    let server = listen(&["--echo", "--path", "/ws"]);
    bench_output(&server.url, &["-d", "200ms"]).exits(14).complains("404");
    bench_output("ws://no.such.name.invalid/", &["-d", "200ms"]).exits(20);
}

#[test]
fn failures_are_counted_by_kind_with_an_example() {
    let server = listen(&["--echo", "--max-connections", "3"]);
    let seen = bench(&server.url, &["-c", "8", "-d", "300ms"]);
    assert_eq!((&seen["connect"]["ok"], &seen["connect"]["asked"]), (&json!(3), &json!(8)));
    assert_eq!(seen["connect"]["failed"], json!({"http 503": 5}));
    assert_eq!(seen["errors"]["http 503"], 5);
    let example = &seen["examples"]["http 503"];
    assert!(
        example["text"].as_str().is_some_and(|text| text.contains("503")) && example["hint"].is_string(),
        "{example}"
    );
    assert!(seen["generator"]["warnings"].to_string().contains("3 of 8"), "{:#}", seen["generator"]);
}

#[test]
fn too_few_files_are_named_before_anything_is_opened() {
    let target = echo();
    let script = format!("ulimit -n 100; exec {} bench {} -c 200 -d 1s", env!("CARGO_BIN_EXE_wsp"), target.url);
    Run::new("sh")
        .arg("-c")
        .arg(script)
        .input("")
        .exits(2)
        .complains("264")
        .complains("100")
        .complains("ulimit -n 264");
    assert_eq!(target.asked(), 0);
    // The soft limit is raised by itself.
    let script = format!(
        "ulimit -S -n 50; exec {} bench {} -c 60 --mode connect -d 100ms --json",
        env!("CARGO_BIN_EXE_wsp"),
        target.url
    );
    let output = Run::new("sh").arg("-c").arg(script).env("XDG_CONFIG_HOME", "/nonexistent").input("").exits(0);
    assert_eq!(report(&output)["connect"]["ok"], 60);
}

#[test]
fn mistakes_are_told_before_connecting() {
    let table: [(&[&str], i32, &str); 20] = [
        (&["--rate", "0"], 2, "invalid rate"),
        (&["--rate", "x"], 2, "invalid rate"),
        (&["--stages", "10s"], 2, "invalid stage"),
        (&["-d", "0"], 2, "measures nothing"),
        (&["--deadline", "0"], 2, "count every message as lost"),
        (&["--match", "bogus"], 2, "unknown method"),
        (&["--threshold", "p99"], 2, "invalid threshold"),
        (&["--find-max", "nonsense<1"], 2, "cannot be compared"),
        (&["--mode", "push", "--rate", "5"], 2, "--mode push"),
        (&["--publish", "2"], 2, "--rate"),
        (&["--publish", "20", "--rate", "5"], 2, "exceeds the number of connections"),
        (&["--match", "marker", "--payload", "x"], 2, "{{marker}}"),
        (&["--match", "jq:.id", "--payload", "x"], 2, "same id"),
        (&["--match", "jq:.[", "--payload", "{{seq}}", "--template"], 7, "--match"),
        (&["--payload", "{{nothing}}", "--template"], 7, "nothing"),
        (&["--payload-file", "/nonexistent/file"], 2, "/nonexistent/file"),
        (&["--source-ip", "1.2.3"], 2, "invalid address"),
        (&["--reconnect"], 2, "--reconnect"),
        (&["--heartbeat", "x"], 2, "--heartbeat"),
        (&["--html", "/nonexistent/report.html"], 32, "/nonexistent/report.html"),
    ];
    for (arguments, code, words) in table {
        let output = wsp(["bench", "127.0.0.1:1"]).args(arguments).input("");
        output.exits(code).prints("").complains(words);
    }
    wsp(["bench"]).input("").exits(2);
}

#[test]
fn an_interrupt_ends_measuring_and_reports() {
    let target = echo();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let process = wsp(["bench", &target.url, "--rate", "200", "-d", "10m", "--ndjson", "-c", "3"])
            .limit(Duration::from_secs(60))
            .spawn();
        process.wait_for_stdout("\"phase\":\"measure\"");
        process.signal(signal);
        let output = process.finish().exits(code);
        let last = output.stdout().lines().last().expect("a report");
        let seen: Value = serde_json::from_str(last).expect("JSON");
        assert_eq!(seen["interrupted"], true);
        let (sent, measured) = (seen["messages"]["sent"].as_f64(), seen["load"]["measured_s"].as_f64());
        let rate = sent.expect("a count") / measured.expect("a time");
        assert!((150.0..=210.0).contains(&rate), "{rate}");
    }
    wsp(["bench", &target.url, "-d", "10m", "--timeout", "500ms"]).input("").exits(124).complains("");
}

#[test]
#[cfg(target_os = "linux")]
fn a_report_that_cannot_be_written_is_no_success() {
    let target = echo();
    let script = |more: &str| format!("{} bench {} -n 50 -c 2 {more}", env!("CARGO_BIN_EXE_wsp"), target.url);
    let shell =
        |more: &str| Run::new("sh").arg("-c").arg(script(more)).env("XDG_CONFIG_HOME", "/nonexistent").input("");
    shell(">/dev/full").exits(1).complains("cannot write to standard output: No space left");
    shell("--csv /dev/full").exits(32).complains("/dev/full").complains("hint: ");
    assert!(shell("| head -1").exits(0).stdout().starts_with("wsp bench ws://"));
}

#[test]
fn connections_that_are_gone_are_named_as_the_cause() {
    let server = listen(&["--echo", "--close-after", "500ms", "--close", "4000:bye"]);
    let output = bench_output(&server.url, &["--rate", "200", "-d", "2s"]).complains("had no open connection");
    // 41 where the machine had no time for the generator either.
    assert!([40, 41].contains(&output.code), "{}", output.stderr);
    let seen = report(&output);
    assert_eq!((&seen["errors"]["close 4000"], &seen["connect"]["closed_early"]), (&json!(10), &json!(10)));
}

#[test]
fn each_second_is_a_line_and_the_report_the_last() {
    let target = echo();
    let arguments = ["bench", &target.url, "--rate", "300", "-d", "3s", "--warmup", "1s", "--ndjson"];
    let output = wsp(arguments).input("");
    let lines: Vec<Value> = output.stdout().lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let (seen, seconds) = lines.split_last().expect("a report");
    assert_eq!(seen["schema"], "wsp.bench/1");
    assert_eq!(seen["series"].as_array().expect("seconds").as_slice(), seconds);
    let phase = |name: &str| seconds.iter().filter(|second| second["phase"] == name).count();
    assert!(phase("warmup") >= 1 && phase("measure") == 3, "{seconds:#?}");
    let sent: u64 =
        seconds.iter().filter(|second| second["phase"] == "measure").filter_map(|second| second["sent"].as_u64()).sum();
    // A busy machine may send some of a second in the next, and none of what is too late.
    let missed = seen["messages"]["missed_generator"].as_u64().expect("a count");
    assert!(sent <= 960 && sent + missed >= 600, "{sent} sent and {missed} missed of 900");
}

#[test]
fn files_hold_the_same_run() {
    let target = Target::new(|asked| vec![Answer::late(same(asked), Duration::from_millis(3))]);
    let files = scratch();
    let path = |name: &str| text(&files.path().join(name));
    let (csv, html, hdr) = (path("run.csv"), path("run.html"), path("run.hdr"));
    let arguments =
        ["--rate", "400", "-d", "2s", "--csv", &csv, "--html", &html, "--hdr", &hdr, "--threshold", "p50<1s"];
    let seen = bench(&target.url, &arguments);

    let table = std::fs::read_to_string(&csv).expect("a file");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), seen["series"].as_array().map_or(0, Vec::len) + 1);
    let columns = lines[0].split(',').count();
    assert!(lines.iter().all(|line| line.split(',').count() == columns), "{table}");

    if require("python-websockets") {
        let output = python("hdr_log.py").arg(&hdr).input("").exits(0);
        let log: Value = serde_json::from_str(output.stdout()).expect("JSON");
        assert!(log["intervals"].as_u64() >= Some(4), "{log}");
        for kind in ["response", "service", "schedule"] {
            let (theirs, ours) = (&log["tags"][kind], &seen["latency_ms"][kind]);
            assert_eq!(theirs["count"], ours["count"], "{kind}: {log}");
            let near = |name: &str, share: f64| {
                let value = |of: &Value| of[name].as_f64().unwrap_or_else(|| panic!("no {name} in {of}"));
                (value(theirs) - value(ours)).abs() <= share * value(ours) + 0.001
            };
            // Between two samples either may be named.
            assert!(near("p50", 0.05) && near("p90", 0.1) && near("max", 0.002), "{kind}: {theirs} {ours}");
        }
    }

    if require("chromium") {
        let home = scratch();
        let output = node("report-page.js")
            .arg(chromium())
            .arg(home.path())
            .arg(&html)
            .limit(Duration::from_secs(90))
            .input("")
            .exits(0);
        let page: Value = serde_json::from_str(output.stdout()).expect("JSON");
        assert_eq!(
            (&page["requests"], &page["errors"], &page["wide"]),
            (&json!([]), &json!([]), &json!(false)),
            "{page:#}"
        );
        let charts = page["charts"].as_array().expect("a list");
        assert_eq!(charts.len(), 4, "{page:#}");
        assert!(charts.iter().all(|chart| chart["inside"] == true && chart["lines"].as_u64() > Some(0)), "{charts:#?}");
        let shown = page["text"].as_str().expect("text");
        for part in [target.url.as_str(), "p50<1s", "holds", "Latency by percentile", "from the intended send time"] {
            assert!(shown.contains(part), "{part}: {shown}");
        }
    }
}

#[test]
fn reports_are_added_up_exactly() {
    let target = echo();
    let files = scratch();
    let mut parts = Vec::new();
    let mut names = Vec::new();
    for (index, count) in ["300", "700"].iter().enumerate() {
        let output = bench_output(&target.url, &["-n", count, "-c", "4", "--threshold", "loss=0"]);
        names.push(text(&crate::support::write(&files, &format!("{index}.json"), output.stdout())));
        parts.push(report(&output));
    }
    let output = run(&["bench", "report", &names[0], &names[1], "--json"], "");
    assert!([0, 41].contains(&output.code), "{}", output.stderr);
    let sum = report(&output);
    assert_eq!((&sum["messages"]["verified"], &sum["latency_ms"]["service"]["count"]), (&json!(1000), &json!(1000)));
    assert_eq!(sum["thresholds"][0]["ok"], true);
    let greatest = |of: &Value| of["latency_ms"]["service"]["max"].as_f64().expect("a maximum");
    assert!((greatest(&sum) - greatest(&parts[0]).max(greatest(&parts[1]))).abs() < 1e-9);
    let time = |of: &Value| of["load"]["measured_s"].as_f64().expect("a time");
    assert!((time(&sum) - time(&parts[0]) - time(&parts[1])).abs() < 0.01, "one after the other");
    // One alone is itself, in any form.
    let again = run(&["bench", "report", &names[0], "--json"], "");
    assert_eq!(report(&again), parts[0]);
    let page = text(&files.path().join("again.html"));
    let shown = run(&["bench", "report", "-", "--html", &page], std::fs::read(&names[1]).expect("a report"));
    assert!(shown.stdout().contains("700") && std::fs::metadata(&page).is_ok_and(|file| file.len() > 1000));
    let wrong = crate::support::write(&files, "wrong.json", "{\"schema\":\"other\"}");
    run(&["bench", "report", &text(&wrong)], "").exits(2).complains("not a report").complains("hint: ");
}

#[test]
fn two_targets_are_compared_run_by_run() {
    let fast = echo();
    let slow = Target::new(|asked| vec![Answer::late(same(asked), Duration::from_millis(10))]);
    let compare = |a: &str, b: &str, repeat: &str| {
        let arguments = ["bench", "compare", a, b, "--repeat", repeat, "-c", "4", "-n", "60", "--json"];
        let output = wsp(arguments).limit(Duration::from_secs(60)).input("");
        assert!([0, 41].contains(&output.code), "{}", output.stderr);
        serde_json::from_str::<Value>(output.stdout()).expect("JSON")
    };
    let seen = compare(&fast.url, &slow.url, "4");
    assert_eq!((&seen["enough"], &seen["runs"]), (&json!(true), &json!([4, 4])));
    let median =
        seen["differences"].as_array().expect("a list").iter().find(|one| one["figure"] == "p50").expect("p50");
    assert!(median["ratio"].as_f64() > Some(2.0) && median["p"].as_f64() < Some(0.05), "{median}");
    assert!(median["conclusion"].as_str().is_some_and(|text| text.starts_with("B is worse")), "{median}");
    // 60 messages are too few for it.
    assert_eq!(seen["unmeasured"], json!([{"figure": "p99", "a": 4, "b": 4}]), "{seen:#}");
    let few = compare(&fast.url, &slow.url, "2");
    assert_eq!(few["enough"], false);
    assert!(few["differences"][0]["conclusion"].as_str().is_some_and(|text| text.starts_with("too few runs")), "{few}");
}

#[test]
fn the_greatest_rate_is_searched_for() {
    // Above 300 a second answers come late.
    let begun = std::time::Instant::now();
    let slots = std::sync::Mutex::new(Duration::ZERO);
    let target = Target::new(move |asked| {
        let now = begun.elapsed();
        let mut next = slots.lock().expect("the next slot");
        *next = (*next).max(now) + Duration::from_micros(3333);
        vec![Answer::late(same(asked), next.saturating_sub(now))]
    });
    let arguments = ["--rate", "100", "-d", "700ms", "--find-max", "p90<60ms,loss=0", "--deadline", "2s"];
    let output = wsp(["bench", &target.url, "--json"]).args(arguments).limit(Duration::from_secs(60)).input("");
    let seen: Value = serde_json::from_str(output.stdout()).expect("JSON");
    let found = &seen["find_max"];
    assert_eq!(found["condition"], "p90<60ms,loss=0");
    let steps = found["steps"].as_array().expect("steps");
    assert!(steps.len() >= 3 && steps[0]["rate"] == 100.0, "{found:#}");
    assert!(steps.iter().all(|step| step["ok"] == true || step["reason"].is_string()), "{found:#}");
    // A busy machine finds less, or nothing; none finds more.
    let rate = found["rate"].as_f64();
    assert!(rate.is_none_or(|rate| rate < 340.0), "{found:#}");
    assert_eq!(output.code == 40 || output.code == 41, rate.is_none() || seen["verdict"] == "fail", "{found:#}");
}

#[test]
fn npm_ws_and_python_websockets_are_load_tested() {
    if require("node-ws") {
        let server = node_server(r#"{"perMessageDeflate":{"threshold":0}}"#);
        for more in [&[][..], &["--compress"], &["--compress=client_no_context_takeover"]] {
            let arguments =
                [&["-n", "500", "-c", "5", "--in-flight", "3", "--payload-json", "--payload-size", "300"], more]
                    .concat();
            let seen = bench(&server.url(), &arguments);
            assert_eq!(seen["messages"]["verified"], 500, "{more:?}: {:#}", seen["messages"]);
            assert_eq!(seen["run"]["extensions"].is_string(), !more.is_empty(), "{:#}", seen["run"]);
        }
    }
    if require("python-websockets") {
        let authority = Authority::new();
        let identity = authority.server(&["127.0.0.1"]);
        let options = json!({"cert": identity.cert, "key": identity.key, "subprotocols": ["chat"]}).to_string();
        let server = python_server(&options);
        let url = server.url().replace("ws://", "wss://");
        let seen = bench(&url, &["-n", "300", "-c", "3", "--cacert", &authority.ca(), "-s", "chat", "-b"]);
        assert_eq!(seen["messages"]["verified"], 300, "{:#}", seen["messages"]);
        assert_eq!(seen["run"]["subprotocol"], "chat");
        assert!(seen["run"]["tls"].as_str().is_some_and(|tls| tls.starts_with("TLSv1.")), "{:#}", seen["run"]);
        assert_eq!(seen["latency_ms"]["tls"]["count"], 3);
        bench_output(&url, &["-d", "200ms"]).exits(14).complains("certificate").complains("--cacert");
        let resuming = ["-n", "60", "-c", "3", "--cacert", &authority.ca(), "--churn=5", "--tls-resume"];
        let seen = bench(&url, &[&resuming[..], &["-s", "chat"]].concat());
        assert!(seen["connect"]["tls_resumed"].as_u64().is_some_and(|count| count > 0), "{:#}", seen["connect"]);
    }
}

#[test]
fn tls_sessions_are_resumed_when_that_is_asked() {
    let server = listen(&["--tls", "--echo"]);
    let url = server.url.replace("127.0.0.1", "localhost");
    let load = ["-k", "-n", "100", "-c", "2", "--threads", "1", "--churn=5"];
    let seen = bench(&url, &load);
    assert_eq!((&seen["messages"]["verified"], &seen["connect"]["tls_resumed"]), (&json!(100), &json!(0)));
    let seen = bench(&url, &[&load[..], &["--tls-resume"]].concat());
    let connect = &seen["connect"];
    let (opened, resumed) = (connect["ok"].as_u64().expect("a count"), connect["tls_resumed"].as_u64());
    assert_eq!(seen["messages"]["verified"], 100);
    // Those that were open before any session had come are full handshakes.
    assert!(resumed.is_some_and(|resumed| resumed >= opened - 4 && resumed < opened), "{connect:#}");
    assert!(seen["run"]["tls"].as_str().is_some_and(|tls| tls.starts_with("TLSv1.")), "{:#}", seen["run"]);
    // What is wrong with a certificate is said as without.
    bench_output(&url, &["-d", "200ms", "--tls-resume"]).exits(14).complains("self-signed").complains("-k");
    drop(server);
    let server = crate::support::process::listen_at("[::1]:0", &["--tls", "--echo"]);
    bench_output(&server.url, &["-k", "-d", "200ms", "--tls-resume"]).exits(14).complains("host name or IPv4 address");
}

#[test]
fn connection_options_hold_for_every_connection() {
    let files = scratch();
    let socket = files.path().join("socket");
    let server = crate::support::process::listen_at(&format!("unix:{}", socket.display()), &["--echo"]);
    let seen = bench("ws://h/", &["--unix-socket", &text(&socket), "-n", "50", "-c", "2"]);
    assert_eq!((&seen["messages"]["verified"], &seen["generator"]["ports_left"]), (&json!(50), &Value::Null));
    drop(server);

    let server = listen(&["--reply-jq", "if .op == \"auth\" then {ok: true} else . end"]);
    let arguments = [
        "-c",
        "2",
        "-n",
        "20",
        "-i",
        "{\"op\":\"auth\"}",
        "-i",
        "{\"op\":\"subscribe\"}",
        "--init-wait",
        ".ok",
        "--payload",
        "{\"x\":1}",
    ];
    let seen = bench(&server.url, &arguments);
    assert_eq!(seen["messages"]["verified"], 20, "{:#}", seen["messages"]);
    let never = ["-c", "1", "-i", "{\"op\":\"x\"}", "-i", "{}", "--init-wait", ".never", "--connect-timeout", "300ms"];
    bench_output(&server.url, &never).exits(14).complains("--init-wait");
}

#[test]
fn many_source_addresses_take_turns() {
    let target = echo();
    let seen = bench(&target.url, &["-c", "6", "-n", "60", "--source-ip", "127.0.0.2,127.0.0.3"]);
    assert_eq!((&seen["connect"]["ok"], &seen["generator"]["source_addresses"]), (&json!(6), &json!(2)));
    let seen = bench(&target.url, &["-c", "4", "-n", "40", "--source-ip", "127.0.1.0/29"]);
    assert_eq!((&seen["connect"]["ok"], &seen["generator"]["source_addresses"]), (&json!(4), &json!(6)));
}

#[test]
fn pings_are_timed_and_a_silent_peer_is_given_up() {
    let target = echo();
    let seen = bench(&target.url, &["--mode", "connect", "-c", "3", "-d", "1s", "--ping-interval", "200ms"]);
    assert!(seen["latency_ms"]["ping"]["count"].as_u64() >= Some(3), "{:#}", seen["latency_ms"]["ping"]);
    // It reads and never answers, not even a ping.
    let deaf = crate::support::FakeServer::once(|request| {
        let mut socket = request.accept();
        while socket.read_frame().is_some() {}
    });
    let arguments =
        ["--mode", "connect", "-c", "1", "-d", "10s", "--ping-interval", "100ms", "--ping-timeout", "200ms"];
    let process = wsp(["bench", &deaf.url, "--json"]).args(arguments).spawn();
    deaf.join();
    process.signal(Signal::SIGINT);
    let seen = report(&process.finish().exits(130));
    assert_eq!((&seen["errors"]["unresponsive"], &seen["connect"]["closed_early"]), (&json!(1), &json!(1)), "{seen:#}");
}
