//! A source, two relays that speak envelope, and a sink, each a process that is killed or stopped at random moments: no number
//! is lost, and but for what is sent again they come in order.
//!
//! The source and the sink are other people's programs. `WSP_TEST_KILLS` says how often something happens, `WSP_TEST_SEED` when
//! and to whom.

use std::io::{Read as _, Seek as _, SeekFrom};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::balance::Balance;
use crate::support::files::{read, wait_until};
use crate::support::http::{get, sample};
use crate::support::peers::python;
use crate::support::process::Process;
use crate::support::{DEADLINE, closed_port, require, scratch, text, wsp};

/// Numbers between two things that happen, about.
const APART: u32 = 350;

fn variable(name: &str, default: u32) -> u32 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// A relay and where it is asked how it fares.
struct Relay {
    process: Process,
    admin: u16,
}

/// How a relay sees its own account.
#[derive(Debug)]
struct Account {
    received: f64,
    delivered: f64,
    waiting: f64,
    /// In its queues, which is part of what waits.
    queued: f64,
    unresponsive: f64,
}

impl Relay {
    #[track_caller]
    fn start(arguments: &[&str], limit: Duration) -> Self {
        let process = wsp(["relay", "--admin", "0"]).args(arguments).limit(limit).spawn();
        let line = process.wait_for_stderr("admin on http://");
        process.wait_for_stderr("listening on ");
        let admin = line.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).expect("a port");
        Self { process, admin }
    }

    /// Its account, which adds up, and in which nothing was lost.
    #[track_caller]
    fn account(&self) -> Account {
        let answer = get(self.admin, "/metrics").is(200);
        let metrics = answer.text();
        let all = |name: &str| -> f64 {
            let of = |line: &&str| line.starts_with(name) && !line[name.len()..].starts_with('_');
            let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
            metrics.lines().filter(of).filter_map(value).sum()
        };
        let account = Account {
            received: sample(metrics, "wsp_messages_total{direction=\"in\"}"),
            delivered: all("wsp_delivered_total"),
            waiting: all("wsp_waiting"),
            queued: all("wsp_queue_depth{"),
            unresponsive: sample(metrics, "wsp_errors_total{kind=\"unresponsive\"}"),
        };
        let lost = all("wsp_dropped_total") + all("wsp_dead_letters_total") + all("wsp_filtered_total");
        assert!(lost.abs() < 1e-9, "{metrics}");
        assert!((account.received - account.delivered - account.waiting).abs() < 1e-9, "{account:?}");
        assert!(account.queued <= account.waiting, "{account:?}");
        account
    }

    fn kill(self) {
        self.process.signal(Signal::SIGKILL);
        assert_eq!(self.process.outcome().code, 137);
    }

    #[track_caller]
    fn stop(self) {
        self.process.signal(Signal::SIGTERM);
        let output = self.process.outcome().exits(0);
        let balance = Balance::of(&output);
        assert_eq!(Balance::all_delivered(balance.received), balance, "{}", output.stderr);
    }
}

/// All four, and what they leave behind.
struct Chain {
    directory: tempfile::TempDir,
    ports: [u16; 3],
    last: u32,
    limit: Duration,
    has_spools: bool,
    source: Process,
    first: Relay,
    second: Relay,
    sink: Process,
    /// Bytes of what has arrived that were looked at.
    checked: u64,
    highest: u32,
}

impl Chain {
    fn start(last: u32, has_spools: bool) -> Self {
        let directory = scratch();
        let ports = [closed_port(), closed_port(), closed_port()];
        let limit = DEADLINE * (3 + last / 5000);
        let sink = Self::sink(&directory, ports[2], limit);
        let second = Self::second(&directory, ports, has_spools, limit);
        let first = Self::first(&directory, ports, has_spools, limit);
        let source = Self::source(&directory, ports[0], last, limit);
        Self { directory, ports, last, limit, has_spools, source, first, second, sink, checked: 0, highest: 0 }
    }

    fn source(directory: &tempfile::TempDir, port: u16, last: u32, limit: Duration) -> Process {
        let (url, state) = (format!("ws://127.0.0.1:{port}/"), text(&directory.path().join("acknowledged")));
        python("envelope_source.py").args([&url, &state, &last.to_string(), "100"]).limit(limit).spawn()
    }

    fn relay(more: &[&str], spool: Option<String>, limit: Duration) -> Relay {
        let words = ["--protocol", "envelope", "--reconnect", "--retry-delay", "10ms", "--retry-max", "50ms"];
        let spool: Vec<String> = spool.into_iter().flat_map(|path| ["--spool".to_owned(), path]).collect();
        let spool = spool.iter().map(String::as_str);
        let all: Vec<&str> = more.iter().copied().chain(words).chain(spool).collect();
        Relay::start(&all, limit)
    }

    fn first(directory: &tempfile::TempDir, ports: [u16; 3], has_spool: bool, limit: Duration) -> Relay {
        let (from, to) = (format!("ws-listen://127.0.0.1:{}", ports[0]), format!("ws://127.0.0.1:{}/", ports[1]));
        let spool = has_spool.then(|| text(&directory.path().join("first")));
        // It gives up a silent peer soon, and is slow enough for something to be under way.
        let times = ["--ping-interval", "200ms", "--ping-timeout", "500ms", "--connect-timeout", "1s", "--rate", "3k"];
        Self::relay(&[&[from.as_str(), &to], &times[..]].concat(), spool, limit)
    }

    fn second(directory: &tempfile::TempDir, ports: [u16; 3], has_spool: bool, limit: Duration) -> Relay {
        let (from, to) = (format!("ws-listen://127.0.0.1:{}", ports[1]), format!("http://127.0.0.1:{}/in", ports[2]));
        let spool = has_spool.then(|| text(&directory.path().join("second")));
        Self::relay(&[&from, &to, "--batch", "20", "--queue-size", "50", "--request-timeout", "1s"], spool, limit)
    }

    fn sink(directory: &tempfile::TempDir, port: u16, limit: Duration) -> Process {
        let file = text(&directory.path().join("arrived"));
        let sink = python("http_file.py").args([&file, &port.to_string()]).limit(limit).spawn();
        sink.wait_for_stdout("listening ");
        sink
    }

    /// The highest number that has arrived; what is new must follow what was there.
    #[track_caller]
    fn look(&mut self) -> u32 {
        let mut file = std::fs::File::open(self.directory.path().join("arrived")).expect("what has arrived");
        file.seek(SeekFrom::Start(self.checked)).expect("a place in it");
        let mut content = String::new();
        file.read_to_string(&mut content).expect("text");
        let whole = content.rfind('\n').map_or(0, |end| end + 1);
        for line in content[..whole].lines() {
            let number: u32 = line.parse().unwrap_or_else(|_| panic!("a number: {line:?}"));
            assert!(number <= self.highest + 1, "{number} after {}", self.highest);
            self.highest = self.highest.max(number);
        }
        self.checked += whole as u64;
        self.highest
    }

    /// Something happens to somebody; what.
    fn happen(&mut self, what: usize) -> &'static str {
        let (ports, limit, has_spools) = (self.ports, self.limit, self.has_spools);
        let directory = &self.directory;
        match what {
            0 => {
                self.source.signal(Signal::SIGKILL);
                self.source = Self::source(directory, ports[0], self.last, limit);
                "source killed"
            }
            1 => {
                self.first.process.signal(Signal::SIGKILL);
                let old = std::mem::replace(&mut self.first, {
                    wait_until("its port is free", || std::net::TcpListener::bind(("127.0.0.1", ports[0])).ok());
                    Self::first(directory, ports, has_spools, limit)
                });
                old.kill();
                "first relay killed"
            }
            2 => {
                self.second.process.signal(Signal::SIGKILL);
                let old = std::mem::replace(&mut self.second, {
                    wait_until("its port is free", || std::net::TcpListener::bind(("127.0.0.1", ports[1])).ok());
                    Self::second(directory, ports, has_spools, limit)
                });
                old.kill();
                "second relay killed"
            }
            3 => {
                self.sink.signal(Signal::SIGKILL);
                wait_until("its port is free", || std::net::TcpListener::bind(("127.0.0.1", ports[2])).ok());
                self.sink = Self::sink(directory, ports[2], limit);
                "sink killed"
            }
            4 => {
                self.sink.signal(Signal::SIGSTOP);
                // As many as a sender that was told `slow` before still has under way.
                wait_until("a queue that fills", || (self.second.account().waiting >= 10.0).then_some(()));
                self.sink.signal(Signal::SIGCONT);
                "sink stopped"
            }
            _ => {
                // To the first relay this looks like a network that carries nothing any more.
                let before = self.first.account().unresponsive;
                self.second.process.signal(Signal::SIGSTOP);
                wait_until("it is missed", || (self.first.account().unresponsive > before).then_some(()));
                self.second.process.signal(Signal::SIGCONT);
                "network cut"
            }
        }
    }
}

/// Runs a chain, to which so much happens; `--nocapture` shows the figures.
#[allow(clippy::print_stdout)] // They are what a long run is for.
fn nothing_is_lost(has_spools: bool) {
    if !require("python-websockets") {
        return;
    }
    let (count, seed) = (variable("WSP_TEST_KILLS", 12), variable("WSP_TEST_SEED", 3));
    let mut random = fastrand::Rng::with_seed(u64::from(seed));
    let start = Instant::now();
    let last = count * APART + 3000;
    let mut chain = Chain::start(last, has_spools);
    let mut happened = std::collections::BTreeMap::<&str, u32>::new();
    for number in 0..count {
        let from = (number * APART).max(chain.look() + 1) + random.u32(..APART / 2);
        wait_until(&format!("progress at {number} of seed {seed}"), || (chain.look() >= from).then_some(()));
        // Everything happens at least once before chance decides.
        let what = if number < 6 { number as usize } else { random.usize(..6) };
        *happened.entry(chain.happen(what)).or_default() += 1;
        for relay in [&chain.first, &chain.second] {
            relay.account();
        }
    }
    chain.source.wait_for_stdout("done");
    // What was acknowledged is there, or in the spools.
    wait_until("the last", || (chain.look() == last).then_some(()));
    let Chain { directory, first, second, .. } = chain;
    first.stop();
    second.stop();
    let mut times = vec![0_u32; last as usize + 1];
    for line in read(&directory.path().join("arrived")).lines() {
        times[line.parse::<usize>().expect("a number")] += 1;
    }
    assert!(times[1..].iter().all(|times| *times > 0), "every number at least once");
    let again: u32 = times[1..].iter().map(|times| times - 1).sum();
    println!("{last} numbers, {happened:?}, {again} repeated, seed {seed}, {:.0?}", start.elapsed());
}

#[test]
fn a_chain_of_relays_loses_nothing_whoever_is_killed() {
    nothing_is_lost(false);
}

#[test]
fn a_chain_of_relays_with_spools_loses_nothing_whoever_is_killed() {
    nothing_is_lost(true);
}
