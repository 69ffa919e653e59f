//! `wsp relay --spool` killed at random moments: what was durable arrives, in order, without a gap.

use crate::support::process::Process;
use crate::support::{Recorder, run, scratch, text, wsp};
use nix::sys::signal::Signal;

/// So many kills, or as many as `WSP_TEST_KILLS` says.
fn kills() -> usize {
    std::env::var("WSP_TEST_KILLS").ok().map_or(20, |count| count.parse().expect("a number of kills"))
}

fn seed() -> u64 {
    std::env::var("WSP_TEST_SEED").ok().map_or(5, |seed| seed.parse().expect("a seed"))
}

/// Writes numbers from `first` on to a relay until it is gone or has had them all.
fn feed(relay: &mut Process, first: u64, count: u64) -> std::thread::JoinHandle<()> {
    use std::io::Write as _;
    let mut input = relay.take_input();
    std::thread::spawn(move || {
        for chunk in (first..first + count).collect::<Vec<_>>().chunks(100) {
            let lines: String = chunk.iter().map(|number| format!("{number}\n")).collect();
            if input.write_all(lines.as_bytes()).is_err() {
                return;
            }
        }
    })
}

/// The first and the last of numbers that follow each other without a gap.
#[track_caller]
fn unbroken(texts: &[String]) -> Option<(u64, u64)> {
    let numbers: Vec<u64> = texts.iter().map(|text| text.parse().expect("a number")).collect();
    for pair in numbers.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "after {}", pair[0]);
    }
    Some((*numbers.first()?, *numbers.last()?))
}

#[test]
fn what_was_durable_arrives_after_any_kill() {
    let mut random = fastrand::Rng::with_seed(seed());
    let server = Recorder::start();
    let directory = scratch();
    let spool = text(&directory.path().join("spool"));
    // Everything below is durable or has arrived; what follows is sent again, as an acknowledging source would.
    let mut safe = 0;
    let mut connections = 0;
    let mut recovered = 0;
    for kill in 0..kills() {
        let (queue, most) = [("3", 50), ("100", 1000), ("10000", 5000)][random.usize(..3)];
        let mut relay = wsp(["relay", "-", &server.url, "--spool", &spool, "--queue-size", queue]).spawn();
        let feeder = feed(&mut relay, safe + 1, 30_000);
        let heard = random.usize(0..most);
        server.wait("nothing arrives", |all| {
            let last = all.get(connections)?;
            (last.texts.len() >= heard || last.has_ended).then_some(())
        });
        relay.signal(Signal::SIGKILL);
        let output = relay.outcome();
        assert_eq!(output.code, 137, "{}", output.stderr);
        feeder.join().expect("the feeder");
        let first = server.wait("it is not cut off", |all| {
            all.get(connections).filter(|heard| heard.has_ended).map(|heard| heard.texts.clone())
        });
        connections += 1;
        let mut arrived = safe;
        if let Some((from, to)) = unbroken(&first) {
            assert_eq!(from, safe + 1, "kill {kill}");
            arrived = to;
        }
        // Sometimes what is left is killed too.
        if random.bool() {
            let relay = wsp(["relay", "-", &server.url, "--spool", &spool]).spawn();
            let heard = random.usize(0..500);
            server.wait("nothing arrives", |all| {
                let last = all.get(connections)?;
                (last.texts.len() >= heard || last.has_ended || all.len() > connections).then_some(())
            });
            relay.signal(Signal::SIGKILL);
            relay.outcome();
            let again = server.wait("it is not cut off", |all| {
                all.get(connections).filter(|heard| heard.has_ended).map(|heard| heard.texts.clone())
            });
            connections += 1;
            if let Some((from, to)) = unbroken(&again) {
                assert!(from <= arrived + 1, "kill {kill}: {from} after {arrived}");
                arrived = arrived.max(to);
            }
        }
        let status = run(&["relay", "--spool", &spool, "--status", "--json"], "").exits(0);
        let status: serde_json::Value = serde_json::from_str(status.stdout()).expect("one line of JSON");
        let waiting = status["destinations"][0]["messages"].as_u64().unwrap_or(0);
        let output = run(&["relay", "-", &server.url, "--spool", &spool], "").exits(0);
        let balance =
            format!("received {waiting} = delivered {waiting} + filtered 0 + dropped 0 + dead-lettered 0 + waiting 0");
        assert_eq!(output.stderr.lines().last(), Some(balance.as_str()), "{}", output.stderr);
        let left = server.wait("it is not closed", |all| {
            all.get(connections).filter(|heard| heard.has_ended).map(|heard| heard.texts.clone())
        });
        connections += 1;
        assert_eq!(left.len() as u64, waiting);
        if let Some((from, to)) = unbroken(&left) {
            assert!(from <= arrived + 1, "kill {kill}: a gap before {from}, after {arrived}");
            arrived = arrived.max(to);
            recovered += waiting;
        }
        safe = arrived;
    }
    assert!(recovered > 0 && safe > 0, "kills left something behind");
}

#[test]
fn what_status_says_waits_is_there_after_a_kill() {
    let port = crate::support::closed_port();
    let directory = scratch();
    let spool = text(&directory.path().join("spool"));
    let url = format!("ws://127.0.0.1:{port}/");
    let mut relay =
        wsp(["relay", "-", &url, "--spool", &spool, "--reconnect", "--retry-delay", "10ms", "--queue-size", "50"])
            .spawn();
    let feeder = feed(&mut relay, 1, 5000);
    let waiting = |least: u64| {
        let deadline = std::time::Instant::now() + crate::support::DEADLINE;
        loop {
            assert!(std::time::Instant::now() < deadline, "not so many are stored");
            // It may not have been made yet.
            let status = run(&["relay", "--spool", &spool, "--status", "--json"], "");
            let status: serde_json::Value = serde_json::from_str(status.stdout()).unwrap_or_default();
            let destination = &status["destinations"][0];
            let count = destination["messages"].as_u64().unwrap_or(0);
            if count >= least {
                assert_eq!(destination["destination"], url);
                return count;
            }
        }
    };
    let said = waiting(1);
    relay.signal(Signal::SIGKILL);
    relay.outcome();
    feeder.join().expect("the feeder");
    let output = wsp(["relay", "-", "-", "--spool", &spool]).input("");
    assert!(output.stderr.contains(&format!("messages for {url}")), "{}", output.stderr);
    assert!(waiting(said) >= said);
    let status = run(&["relay", "--spool", &spool, "--status"], "").exits(0);
    assert!(
        status.stdout().starts_with(&format!("{url}  ")) && status.stdout().contains(", since 20"),
        "{}",
        status.stdout()
    );
}
