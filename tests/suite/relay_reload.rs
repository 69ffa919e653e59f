//! SIGHUP and pipelines that hold something nobody else may have meanwhile: an address, standard input.

use nix::sys::signal::Signal;

use crate::support::ends::{Fifo, Receiver as _, lines};
use crate::support::files::{read, wait_for_content, wait_until};
use crate::support::process::Process;
use crate::support::{Frame, RawClient, closed_port, run, scratch, text, write, wsp};

/// A relay of the pipelines in a file, which can be changed.
struct Reloading {
    directory: tempfile::TempDir,
    relay: Process,
    reloads: usize,
}

impl Reloading {
    #[track_caller]
    fn start(content: &str, more: &[&str]) -> Self {
        let directory = scratch();
        let file = write(&directory, "relay.toml", content);
        let relay = wsp(["relay", "-f", &text(&file)]).args(more).directory(directory.path()).spawn();
        Self { directory, relay, reloads: 0 }
    }

    /// It has read this.
    #[track_caller]
    fn reload(&mut self, content: &str) {
        write(&self.directory, "relay.toml", content);
        self.relay.signal(Signal::SIGHUP);
        self.reloads += 1;
        wait_until("it is read again", || (self.relay.count_said("read again") == self.reloads).then_some(()));
    }

    fn content(&self, name: &str) -> String {
        read(&self.directory.path().join(name))
    }

    #[track_caller]
    fn arrives(&self, name: &str, content: &str) {
        wait_for_content(&self.directory.path().join(name), content);
    }

    /// A server that has been ready so many times.
    #[track_caller]
    fn listens(&self, port: u16, times: usize) {
        let ready = format!("listening on ws://127.0.0.1:{port}/");
        wait_until(&ready, || (self.relay.count_said(&ready) == times).then_some(()));
    }

    #[track_caller]
    fn stop(self) -> crate::support::Output {
        self.relay.signal(Signal::SIGTERM);
        self.relay.outcome()
    }
}

fn server(name: &str, port: u16, more: &str) -> String {
    format!("[[pipeline]]\nname = '{name}'\nfrom = 'ws-listen://127.0.0.1:{port}'\nto = 'file:{name}.out'\n{more}\n")
}

#[test]
fn a_check_takes_no_address() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let directory = scratch();
    let file = write(&directory, "relay.toml", server("a", port, ""));
    run(&["relay", "-f", &text(&file), "--check"], "").exits(0).complains("1 pipeline, nothing wrong");
    let url = format!("ws-listen://127.0.0.1:{port}");
    run(&["relay", "--check", &url, "null:", "--port-file", &text(&directory.path().join("port"))], "").exits(0);
    assert!(!directory.path().join("port").exists() && !directory.path().join("a.out").exists());
    // A certificate that cannot be used is known before anything runs, though.
    let more = "tls-cert = 'no.pem'\ntls-key = 'no.pem'";
    let content = server("a", port, more).replace("ws-listen", "wss-listen");
    let file = write(&directory, "relay.toml", content);
    let output = run(&["relay", "-f", &text(&file), "--check"], "");
    assert!(output.code != 0 && output.stderr.contains("no.pem"), "{}", output.stderr);
}

#[test]
fn a_server_that_has_not_changed_keeps_its_clients_and_its_address() {
    let (kept, other) = (closed_port(), closed_port());
    let mut relay = Reloading::start(&(server("kept", kept, "") + &server("other", other, "")), &[]);
    relay.listens(kept, 1);
    relay.listens(other, 1);
    let (mut one, mut two) = (RawClient::connect(kept), RawClient::connect(other));
    for client in [&mut one, &mut two] {
        client.say(Frame::text("1"));
    }
    relay.arrives("kept.out", "1\n");
    relay.arrives("other.out", "1\n");
    relay.reload(&(server("kept", kept, "") + &server("other", other, "jq = '. + 100'")));
    assert_eq!(two.answer_close(), 1001, "it is sent away in order");
    relay.listens(other, 2);
    let mut two = RawClient::connect(other);
    two.say(Frame::text("2"));
    relay.arrives("other.out", "1\n102\n");
    one.say(Frame::text("2"));
    relay.arrives("kept.out", "1\n2\n");
    relay.listens(kept, 1);
    // Both addresses change hands.
    relay.reload(&(server("kept", other, "") + &server("other", kept, "")));
    assert_eq!((one.answer_close(), two.answer_close()), (1001, 1001));
    relay.listens(kept, 2);
    relay.listens(other, 3);
    let (mut one, mut two) = (RawClient::connect(other), RawClient::connect(kept));
    one.say(Frame::text("3"));
    two.say(Frame::text("3"));
    relay.arrives("kept.out", "1\n2\n3\n");
    relay.arrives("other.out", "1\n102\n3\n");
    let output = relay.stop().exits(0);
    assert!(!output.stderr.contains("cannot"), "{}", output.stderr);
}

#[test]
fn an_address_that_somebody_else_has_stops_that_pipeline_alone() {
    let port = closed_port();
    let mut relay = Reloading::start(&server("a", port, ""), &[]);
    relay.listens(port, 1);
    let mut client = RawClient::connect(port);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let other = taken.local_addr().expect("its address").port();
    let both = server("a", port, "") + &server("b", other, "");
    relay.reload(&both);
    let line = relay.relay.wait_for_stderr("cannot listen on");
    assert!(line.contains("b: ") && line.contains("in use"), "{line}");
    client.say(Frame::text("1"));
    relay.arrives("a.out", "1\n");
    // Once it is free, the next SIGHUP starts it.
    drop(taken);
    relay.reload(&both);
    relay.listens(other, 1);
    let mut second = RawClient::connect(other);
    second.say(Frame::text("2"));
    relay.arrives("b.out", "2\n");
    assert_eq!(relay.relay.count_said(&format!("listening on ws://127.0.0.1:{port}/")), 1);
    let output = relay.stop().exits(4);
    assert!(output.stderr.contains("a: received 1 = delivered 1 "), "{}", output.stderr);
}

fn input(to: &str, more: &str) -> String {
    format!("[[pipeline]]\nname = 'p'\nfrom = '-'\nto = '{to}'\n{more}\n")
}

#[test]
fn nothing_of_standard_input_is_lost_between_two_readers() {
    let mut relay = Reloading::start(&input("file:out", ""), &[]);
    let count: u32 = 30_000;
    let mut stdin = relay.relay.take_input();
    let feeding = std::thread::spawn(move || {
        use std::io::Write as _;
        // Pieces end in the middle of lines.
        for piece in lines(1, count, 0).as_bytes().chunks(37) {
            stdin.write_all(piece).expect("it is read");
        }
        // It ends when nothing is to change any more.
        stdin
    });
    let mut random = fastrand::Rng::with_seed(5);
    for round in 1..=15 {
        let from = relay.content("out").len() + random.usize(..2000);
        wait_until("progress", || (feeding.is_finished() || relay.content("out").len() > from).then_some(()));
        relay.reload(&input("file:out", &format!("queue-size = {}", 10 + round)));
    }
    drop(feeding.join().expect("all was fed"));
    let output = relay.relay.outcome().exits(0);
    assert!(read(&relay.directory.path().join("out")) == lines(1, count, 0), "every line once, in order");
    let received: u32 = output
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix("received ")?.split(' ').next()?.parse::<u32>().ok())
        .sum();
    assert_eq!(received, count, "{}", output.stderr);
}

#[test]
fn what_a_reader_that_is_cut_off_had_read_is_the_next_ones() {
    let fifo = Fifo::new(true);
    let mut relay = Reloading::start(&input(&fifo.endpoint(), "queue-size = 10\nbatch = 1"), &["--grace", "200ms"]);
    let count: u32 = 2000;
    let mut stdin = relay.relay.take_input();
    let feeding = std::thread::spawn(move || {
        use std::io::Write as _;
        stdin.write_all(lines(1, count, 1000).as_bytes()).expect("it is read");
    });
    // Its destination takes nothing, so it is cut off with lines in its hands.
    wait_until("it is full", || (!fifo.got().is_empty() || relay.relay.has_read(500_000)).then_some(()));
    relay.reload(&input("file:out", ""));
    feeding.join().expect("all was fed");
    let output = relay.relay.outcome().exits(30);
    let account = output.stderr.lines().find(|line| line.starts_with("received ")).expect("an account").to_owned();
    let received: u32 = account.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a number");
    assert!(received < count && !account.ends_with(" + waiting 0"), "{account}");
    let rest = read(&relay.directory.path().join("out"));
    assert!(rest == lines(received + 1, count, 1000), "{account}; then {:?}", rest.get(..1100));
}
