//! What waits in a message broker, as `/metrics`, `/sessions` and the dashboard say it.

use nix::sys::signal::Signal;

use crate::support::brokers::BROKERS;
use crate::support::http::{Answer, wait_for};
use crate::support::numbers::{all_delivered, numbers};
use crate::support::process::listen_at;
use crate::support::terminal::Terminal;
use crate::support::{closed_port, require, run, wsp};

/// The one lag there is.
fn lag(answer: &Answer) -> Option<f64> {
    let mut lines = answer.text().lines().filter(|line| line.starts_with("wsp_lag{source="));
    let value = lines.next().and_then(|line| line.rsplit(' ').next()?.parse().ok());
    assert!(lines.next().is_none(), "{}", answer.text());
    value
}

#[test]
fn what_waits_in_a_broker_is_told_also_while_nothing_can_be_taken() {
    for (component, make) in BROKERS {
        if !require(component) {
            continue;
        }
        let mut broker = make();
        broker.make("lag", 3);
        run(&["relay", "-", &broker.to("lag")], numbers(1..=500)).exits(0);
        // The destination is not there.
        let port = closed_port();
        let target = format!("ws://127.0.0.1:{port}/");
        let flags =
            ["--queue-size", "5", "--admin", "0", "--reconnect", "--retry-delay", "50ms", "--retry-max", "50ms"];
        let relay = wsp(["relay", &broker.from("lag", "g"), &target]).args(flags).spawn();
        let admin = super::relay_admin::port_of(&relay);
        wait_for(admin, "/metrics", |answer| lag(answer) == Some(500.0));
        let answer = wait_for(admin, "/sessions", |answer| answer.json()[0]["lag"] == 500);
        assert!(answer.json()[1].get("lag").is_none(), "{}", answer.text());
        run(&["relay", "-", &broker.to("lag")], numbers(501..=2000)).exits(0);
        wait_for(admin, "/metrics", |answer| lag(answer) == Some(2000.0));
        let destination = listen_at(&format!("127.0.0.1:{port}"), &["--sink"]);
        wait_for(admin, "/metrics", |answer| lag(answer) == Some(0.0));
        relay.signal(Signal::SIGTERM);
        all_delivered(&relay.outcome().exits(0).stderr, 2000);
        destination.stop();
    }
}

#[cfg(feature = "tui")]
#[test]
fn the_dashboard_says_how_much_waits_in_a_broker() {
    if !require("tmux") {
        return;
    }
    for (component, make) in BROKERS {
        if !require(component) {
            continue;
        }
        let mut broker = make();
        broker.make("lag", 1);
        run(&["relay", "-", &broker.to("lag")], numbers(1..=500)).exits(0);
        let (from, terminal) = (broker.from("lag", "g"), Terminal::sized(100, 24));
        let target = format!("ws://127.0.0.1:{}/", closed_port());
        let wsp = env!("CARGO_BIN_EXE_wsp");
        terminal.line(&format!("clear; LANG=C.UTF-8 {wsp} relay '{from}' {target} --queue-size 5 --reconnect --tui"));
        let is_told = |screen: &str| screen.lines().any(|line| line.contains("s1 ") && line.contains("500 lag"));
        terminal.wait_until("how much waits", is_told);
    }
}
