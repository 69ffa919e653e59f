//! What every source and every sink of `wsp relay` has to be able to do: a table of ends, a test for each demand.
//!
//! A new end is a line in [`RECEIVERS`] or [`GIVERS`]. Each test goes through all of them and checks numbers, their order
//! and the exact balance.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::support::balance::Balance;
#[cfg(any(feature = "kafka", feature = "nats"))]
use crate::support::brokers::{Broker, Station};
use crate::support::ends::{Batched, Fifo, Http, PlainFile, Program, Receiver, Ws, WsGuest, lines, number};
use crate::support::files::{append, read, wait_until};
#[cfg(feature = "kafka")]
use crate::support::kafka::Kafka;
#[cfg(feature = "nats")]
use crate::support::nats::Nats;
use crate::support::process::Process;
use crate::support::stores::Documents;
#[cfg(feature = "postgres")]
use crate::support::stores::Rows;
use crate::support::{DEADLINE, FakeServer, Frame, RawClient, closed_port, require, scratch, text, write, wsp};

type MakeReceiver = fn() -> Box<dyn Receiver>;

/// Every sink, by name.
const RECEIVERS: &[(&str, MakeReceiver)] = &[
    ("file", || Box::new(PlainFile::new("never"))),
    ("file, synced in batches", || Box::new(PlainFile::new("batch"))),
    ("file, synced in time", || Box::new(PlainFile::new("20ms"))),
    ("pipe", || Box::new(Fifo::new(false))),
    ("exec", || Box::new(Program::new())),
    ("http", || Box::new(Http::new("1"))),
    ("http in batches", || Box::new(Http::new("100"))),
    ("ws", || Box::new(Ws::new())),
    ("ws in batches", || Box::new(Batched(Ws::new()))),
    ("ws-listen", || Box::new(WsGuest::new())),
    ("ws-listen in batches", || Box::new(Batched(WsGuest::new()))),
    #[cfg(feature = "postgres")]
    ("postgres", || Box::new(Rows::new())),
    ("opensearch", || Box::new(Documents::new())),
    #[cfg(feature = "nats")]
    ("nats", || Box::new(Station::new(Box::new(Nats::start(&[]))))),
    #[cfg(feature = "kafka")]
    ("kafka", || Box::new(Station::new(Box::new(Kafka::start(|_, _| String::new(), ""))))),
];

/// Those that can be had here.
fn receivers() -> impl Iterator<Item = (&'static str, MakeReceiver)> {
    RECEIVERS.iter().copied().filter(|(name, _)| can_be_had(name))
}

fn can_be_had(name: &str) -> bool {
    !["nats", "kafka", "postgres", "opensearch"].contains(&name) || require(name)
}

/// A relay from standard input to a receiver and further ends.
fn relay_to(receiver: &dyn Receiver, more: &[&str]) -> Process {
    let endpoint = receiver.endpoint();
    let (mut to, mut more) = (vec![endpoint.clone()], more);
    if let Some(projection) = receiver.projection() {
        // A route makes of each message what it needs; who is to get it as well is another route.
        to = ["null:", "--route-all", "--route"].map(str::to_owned).into();
        to.push(format!("true => {endpoint} => {projection}"));
        if let Some((&"-", rest)) = more.split_first() {
            to.extend(["--route".to_owned(), "true => -".to_owned()]);
            more = rest;
        }
    }
    wsp(["relay", "-"]).args(to).args(more).args(receiver.arguments()).limit(3 * DEADLINE).spawn()
}

fn upto(last: u32) -> Vec<u32> {
    (1..=last).collect()
}

#[track_caller]
fn wait_for(name: &str, receiver: &dyn Receiver, expected: &[u32]) {
    let deadline = Instant::now() + 3 * DEADLINE;
    let mut got = receiver.got();
    while got.len() < expected.len() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
        got = receiver.got();
    }
    assert!(got == expected, "{name}: {} of {}, the last {:?}", got.len(), expected.len(), got.last());
}

/// Waits until a process does nothing any more: ten looks in a row at what it has used show the same.
fn wait_until_idle(process: &Process) {
    let threads = format!("/proc/{}/task", process.id());
    let used = || -> Vec<(String, String)> {
        let ids = std::fs::read_dir(&threads).expect("a process").filter_map(Result::ok);
        let stats = ids.filter_map(|id| std::fs::read_to_string(id.path().join("stat")).ok());
        // Threads of librdkafka look again and again whether a broker takes something.
        let ours = stats.filter(|stat| !stat.contains("(rdk:") && !stat.contains("(producer"));
        let words = ours.map(|stat| stat.rsplit(')').next().unwrap_or_default().to_owned());
        words
            .map(|words| {
                let words: Vec<&str> = words.split_whitespace().collect();
                (words[11].to_owned(), words[12].to_owned())
            })
            .collect()
    };
    let (mut last, mut same) = (used(), 0);
    wait_until("an idle process", || {
        std::thread::sleep(Duration::from_millis(20));
        let now = used();
        same = if now == last { same + 1 } else { 0 };
        last = now;
        (same >= 10).then_some(())
    });
}

/// Writes lines to a relay's standard input from a thread, as far as it takes them.
fn feed(relay: &mut Process, input: String) -> JoinHandle<()> {
    let mut stdin = relay.take_input();
    std::thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    })
}

#[test]
fn every_sink_gets_everything_in_order() {
    if !require("python-websockets") {
        return;
    }
    for (name, make) in receivers() {
        let receiver = make();
        let mut relay = relay_to(&*receiver, &[]);
        relay.send(lines(1, 3000, 0));
        let output = relay.finish().exits(0);
        assert_eq!(Balance::of(&output), Balance::all_delivered(3000), "{name}");
        wait_for(name, &*receiver, &upto(3000));
    }
}

#[test]
fn every_sink_gets_what_follows_when_it_has_been_away() {
    if !require("python-websockets") {
        return;
    }
    for (name, make) in receivers() {
        let mut receiver = make();
        let mut relay = relay_to(&*receiver, &[]);
        for round in 0..3 {
            relay.send(lines(round * 500 + 1, round * 500 + 500, 0));
            wait_for(name, &*receiver, &upto(round * 500 + 500));
            // What has arrived is not on its way, but what says so may be.
            wait_until_idle(&relay);
            if !receiver.go_and_come_back(&relay) {
                break;
            }
        }
        let last = *receiver.got().last().expect("some");
        relay.send(lines(last + 1, last + 500, 0));
        let output = relay.finish().exits(0);
        assert_eq!(Balance::of(&output), Balance::all_delivered(u64::from(last) + 500), "{name}");
        wait_for(name, &*receiver, &upto(last + 500));
    }
}

#[test]
fn a_message_that_is_not_valid_keeps_no_sink_from_the_others() {
    if !require("python-websockets") {
        return;
    }
    let directory = scratch();
    let schema = text(&write(&directory, "schema.json", r#"{"not":{"multipleOf":10}}"#));
    for (place, (name, make)) in receivers().enumerate() {
        let receiver = make();
        let dead = text(&directory.path().join(place.to_string()));
        let mut relay = relay_to(&*receiver, &["--schema", &schema, "--dead-letter", &dead]);
        relay.send(lines(1, 1000, 0));
        let output = relay.finish().exits(30);
        let expected = Balance { delivered: 900, dead_lettered: 100, ..Balance::all_delivered(1000) };
        assert_eq!(Balance::of(&output), expected, "{name}");
        wait_for(name, &*receiver, &upto(1000).into_iter().filter(|number| number % 10 != 0).collect::<Vec<_>>());
        assert_eq!(read(dead.as_ref()).lines().count(), 100, "{name}");
    }
}

#[test]
fn every_sink_that_is_stopped_stops_the_source_and_loses_nothing() {
    if !require("python-websockets") {
        return;
    }
    for (name, make) in receivers() {
        let mut receiver = make();
        let mut relay = relay_to(&*receiver, &["--queue-size", "100"]);
        relay.send("1\n");
        wait_for(name, &*receiver, &[1]);
        receiver.pause(&relay);
        // More than all pipes and sockets on the way hold.
        let (count, width) = match name {
            "http" | "http in batches" => (3_000, 4000),
            // What a stream has got is asked for one by one.
            "nats" => (20_000, 200),
            "opensearch" => (20_000, 400),
            _ => (60_000, 200),
        };
        let feeding = feed(&mut relay, lines(2, count, width));
        wait_until_idle(&relay);
        assert!(name.starts_with("file") || !feeding.is_finished(), "{name}: the source is held");
        receiver.resume(&relay);
        feeding.join().expect("all is fed");
        let output = relay.outcome().exits(0);
        assert_eq!(Balance::of(&output), Balance::all_delivered(u64::from(count)), "{name}");
        wait_for(name, &*receiver, &upto(count));
    }
}

#[test]
fn every_sink_gets_what_was_taken_in_before_a_signal() {
    if !require("python-websockets") {
        return;
    }
    for (name, make) in receivers() {
        let mut receiver = make();
        // What is on standard output waits for the sink too.
        let mut relay = relay_to(&*receiver, &["-", "--grace", "60s"]);
        relay.send("1\n");
        wait_for(name, &*receiver, &[1]);
        receiver.pause(&relay);
        relay.send(lines(2, 2000, 0));
        relay.wait_for_stdout("2000");
        relay.signal(Signal::SIGTERM);
        receiver.resume(&relay);
        let output = relay.outcome().exits(0);
        assert_eq!(Balance::of(&output), Balance::all_delivered(2000), "{name}");
        wait_for(name, &*receiver, &upto(2000));
    }
}

#[test]
fn what_a_stopped_sink_does_not_take_within_the_grace_time_is_said_to_wait() {
    if !require("python-websockets") {
        return;
    }
    for (name, make) in receivers() {
        // A disk is not stopped.
        if name.starts_with("file") {
            continue;
        }
        let mut receiver = make();
        let mut relay = relay_to(&*receiver, &["-", "--grace", "200ms"]);
        relay.send("1\n");
        wait_for(name, &*receiver, &[1]);
        wait_until_idle(&relay);
        receiver.pause(&relay);
        // More than what is on the way to the sink can hold.
        relay.send(lines(2, 5000, 4000));
        relay.wait_for_stdout("5000");
        relay.signal(Signal::SIGTERM);
        let output = relay.outcome().exits(30);
        let balance = Balance::of(&output);
        assert!(balance.received == 5000 && balance.waiting > 0 && balance.dropped == 0, "{name}: {balance:?}");
        assert!(receiver.got().len() as u64 <= balance.received, "{name}");
    }
}

/// A source: what it is called as FROM, its flags, and how it gives numbers.
struct Giver {
    endpoint: String,
    arguments: Vec<String>,
    input: Option<String>,
    /// Lives as long as the source.
    _kept: Box<dyn std::any::Any>,
}

type MakeGiver = fn(u32, usize) -> Giver;

/// Every source, by name; made to give so many numbers in lines of that width, and to end then or when it is told to.
const GIVERS: &[(&str, MakeGiver)] = &[
    ("stdin", |count, width| Giver {
        endpoint: "-".to_owned(),
        arguments: Vec::new(),
        input: Some(lines(1, count, width)),
        _kept: Box::new(()),
    }),
    ("file", |count, width| file(count, width, &[])),
    ("file, followed", |count, width| file(count, width, &["--follow"])),
    ("exec", |count, width| {
        let padding = "x".repeat(width.saturating_sub(8));
        let endpoint = format!("exec:seq -f '{padding}%.0f' {count}");
        Giver { endpoint, arguments: Vec::new(), input: None, _kept: Box::new(()) }
    }),
    ("ws", |count, width| {
        let server = FakeServer::once(move |request| {
            let mut socket = request.accept();
            let lines = lines(1, count, width);
            // In blocks, until the client has had enough.
            let frames: Vec<Vec<u8>> = lines.lines().map(|line| Frame::text(line).bytes()).collect();
            let all_taken = frames.chunks(100).all(|block| socket.try_write(block.concat()));
            if all_taken {
                socket.try_write(Frame::close(1000, "").bytes());
            }
            socket.read_rest();
        });
        Giver { endpoint: server.url.clone(), arguments: Vec::new(), input: None, _kept: Box::new(server) }
    }),
    ("ws-listen", |count, width| {
        let port = closed_port();
        let giving = std::thread::spawn(move || {
            let deadline = Instant::now() + DEADLINE;
            while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
                assert!(Instant::now() < deadline, "nobody listens");
                std::thread::sleep(Duration::from_millis(5));
            }
            let mut socket = RawClient::connect(port);
            let lines = lines(1, count, width);
            // In blocks, until the server has had enough.
            let frames: Vec<Vec<u8>> = lines.lines().map(|line| Frame::text(line).masked().bytes()).collect();
            for block in frames.chunks(100) {
                if !socket.try_write(block.concat()) {
                    return;
                }
            }
            socket.answer_close();
        });
        let arguments = vec!["--max-connections".to_owned(), "9".to_owned()];
        let endpoint = format!("ws-listen://127.0.0.1:{port}");
        Giver { endpoint, arguments, input: None, _kept: Box::new(giving) }
    }),
    #[cfg(feature = "nats")]
    ("nats", |count, width| stored(Box::new(Nats::start(&[])), count, width)),
    #[cfg(feature = "kafka")]
    ("kafka", |count, width| stored(Box::new(Kafka::start(|_, _| String::new(), "")), count, width)),
];

/// Those that can be had here.
fn givers() -> impl Iterator<Item = (&'static str, MakeGiver)> {
    GIVERS.iter().copied().filter(|(name, _)| can_be_had(name))
}

/// What a broker has.
#[cfg(any(feature = "kafka", feature = "nats"))]
fn stored(mut broker: Box<dyn Broker>, count: u32, width: usize) -> Giver {
    broker.make("given", 1);
    let fill = wsp(["relay", "-", &broker.to("given")]).limit(3 * DEADLINE);
    fill.input(lines(1, count, width)).exits(0);
    let arguments = vec!["--reconnect".to_owned()];
    Giver { endpoint: broker.from("given", "g"), arguments, input: None, _kept: Box::new(broker) }
}

fn file(count: u32, width: usize, arguments: &[&str]) -> Giver {
    let directory = scratch();
    let path = write(&directory, "in", lines(1, count, width));
    let arguments = arguments.iter().map(|&word| word.to_owned()).collect();
    Giver { endpoint: format!("file:{}", text(&path)), arguments, input: None, _kept: Box::new(directory) }
}

impl Giver {
    /// Starts a relay from here.
    fn relay(&mut self, to: &str, more: &[&str]) -> (Process, Option<JoinHandle<()>>) {
        let run = wsp(["relay", &self.endpoint, to]).args(&self.arguments).args(more);
        let mut relay = run.limit(3 * DEADLINE).spawn();
        let feeding = self.input.take().map(|input| feed(&mut relay, input));
        (relay, feeding)
    }

    fn ends_by_itself(&self) -> bool {
        self.arguments.is_empty()
    }
}

#[test]
fn every_source_gives_everything_in_order() {
    for (name, make) in givers() {
        let mut giver = make(5000, 0);
        let (relay, _feeding) = giver.relay("-", &[]);
        if !giver.ends_by_itself() {
            relay.wait_for_stdout("5000");
            relay.signal(Signal::SIGTERM);
        }
        let output = relay.outcome().exits(0);
        assert_eq!(Balance::of(&output), Balance::all_delivered(5000), "{name}");
        assert_eq!(output.stdout(), lines(1, 5000, 0), "{name}");
    }
}

#[test]
fn every_source_is_held_while_nobody_takes_what_it_gives() {
    for (name, make) in givers() {
        let count = 60_000;
        let mut giver = make(count, 200);
        let mut sink = Fifo::new(true);
        let (relay, feeding) = giver.relay(&sink.endpoint(), &["--queue-size", "100"]);
        wait_until_idle(&relay);
        if let Some(feeding) = &feeding {
            assert!(!feeding.is_finished(), "{name} is held");
        }
        let resident = resident_kib(&relay, "VmRSS");
        assert!(resident < 64 * 1024, "{name}: {resident} KiB, with 12 MB to be had");
        sink.resume(&relay);
        wait_for(name, &sink, &upto(count));
        if !giver.ends_by_itself() {
            relay.signal(Signal::SIGTERM);
        }
        let output = relay.outcome().exits(0);
        assert_eq!(Balance::of(&output), Balance::all_delivered(u64::from(count)), "{name}");
    }
}

#[test]
fn every_source_stops_at_a_signal_and_what_it_gave_is_delivered() {
    for (name, make) in givers() {
        // More than is read before the signal.
        let count = 300_000;
        let mut giver = make(count, 200);
        let (relay, _feeding) = giver.relay("-", &["--rate", "20k", "--grace", "60s"]);
        relay.wait_for_stdout("1");
        relay.signal(Signal::SIGTERM);
        let output = relay.outcome().exits(0);
        let got: Vec<u32> = output.stdout().lines().map(number).collect();
        assert_eq!(Balance::of(&output), Balance::all_delivered(got.len() as u64), "{name}");
        assert!(got.len() < count as usize, "{name} goes on");
        assert_eq!(got, upto(got.len() as u32), "{name}");
    }
}

#[test]
fn every_source_that_was_away_goes_on() {
    // A program that fails in between.
    let directory = scratch();
    let state = text(&write(&directory, "state", "0"));
    let program =
        format!("exec:n=$(cat '{state}'); seq $((n+1)) $((n+500)); echo $((n+500)) > '{state}'; [ $n = 1500 ]");
    // A server that hangs up in between.
    let server = FakeServer::times(4, |round, request| {
        let mut socket = request.accept();
        let first = round as u32 * 500 + 1;
        for number in first..first + 500 {
            socket.say(Frame::text(&number.to_string()));
        }
        let code = if round < 3 { 1012 } else { 1000 };
        socket.say(Frame::close(code, ""));
        socket.read_rest();
    });
    for from in [&program, &server.url] {
        let arguments = ["--reconnect", "--retry-delay", "1ms", "--retry-max", "5ms"];
        let output = wsp(["relay", from, "-"]).args(arguments).input("").exits(0);
        assert_eq!(Balance::of(&output), Balance::all_delivered(2000), "{from}");
        assert_eq!(output.stdout(), lines(1, 2000, 0), "{from}");
    }
    server.join();
    // A file that is put aside in between.
    let path = directory.path().join("followed");
    let relay = wsp(["relay", &format!("file:{}", text(&path)), "-", "--follow"]).spawn();
    for round in 0..4 {
        append(&path, &lines(round * 500 + 1, round * 500 + 500, 0));
        relay.wait_for_stdout(&(round * 500 + 500).to_string());
        std::fs::rename(&path, directory.path().join(format!("followed.{round}"))).expect("a move");
    }
    relay.signal(Signal::SIGTERM);
    let output = relay.outcome().exits(0);
    assert_eq!(Balance::of(&output), Balance::all_delivered(2000));
    assert_eq!(output.stdout(), lines(1, 2000, 0));
}

/// What a relay may take beside the payloads that wait, and beside its program file, which is large in a debug build.
const OWN_KIB: u64 = 40 * 1024;

/// A line of `/proc/…/status`.
fn resident_kib(process: &Process, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(&format!("{field}:"))).expect("a field");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[test]
fn memory_is_bounded_while_a_sink_is_stopped_at_full_input() {
    if !require("python-websockets") {
        return;
    }
    for (name, make) in receivers().filter(|(name, _)| !name.starts_with("file")) {
        // Few large messages fill the bytes of the queue, many small ones its places.
        for (width, queue_kib) in [(200, 10_000 * 200 / 1024), (500_000, 64 * 1024)] {
            let mut receiver = make();
            let mut relay = relay_to(&*receiver, &["--grace", "0"]);
            relay.send("1\n");
            wait_for(name, &*receiver, &[1]);
            receiver.pause(&relay);
            let stop = Arc::new(AtomicBool::new(false));
            let (mut stdin, flag) = (relay.take_input(), Arc::clone(&stop));
            let feeding = std::thread::spawn(move || {
                let block = lines(2, 2, width).repeat(100_000_usize.div_ceil(width));
                while !flag.load(Ordering::Relaxed) && stdin.write_all(block.as_bytes()).is_ok() {}
            });
            wait_until_idle(&relay);
            let (most, program) = (resident_kib(&relay, "VmHWM"), resident_kib(&relay, "RssFile"));
            assert!(
                most < OWN_KIB + program + queue_kib,
                "{name}, {width} bytes: {most} KiB, {program} of it the program"
            );
            assert!(!feeding.is_finished(), "{name}: the source is held");
            stop.store(true, Ordering::Relaxed);
            relay.signal(Signal::SIGTERM);
            let balance = Balance::of(&relay.outcome());
            feeding.join().expect("it was let go");
            assert!(balance.waiting > 0, "{name}, {width} bytes: {balance:?}");
        }
    }
}
