//! `wsp relay --spool` killed at random moments before files and HTTP servers: no gap, no loss, and order but for what is sent again.
//!
//! Leaves WebSocket destinations to `spool_kills`. `WSP_TEST_KILLS` says how often, `WSP_TEST_SEED` when.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::ChildStdin;
use std::sync::{Arc, Mutex};

use nix::sys::signal::Signal;

use crate::support::files::wait_until;
use crate::support::process::Process;
use crate::support::{run, scratch, text, wsp};

fn variable(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// Writes numbered lines from `first` on to a relay until it is gone; its input does not end before.
fn feed(relay: &mut Process, first: u64) -> std::thread::JoinHandle<ChildStdin> {
    let mut input = relay.take_input();
    std::thread::spawn(move || {
        for start in (first..first + 30_000).step_by(100) {
            let lines: String = (start..start + 100).map(|number| format!("{number:08};\n")).collect();
            if input.write_all(lines.as_bytes()).is_err() {
                break;
            }
        }
        input
    })
}

/// The numbers of whole lines; a kill may tear one.
fn numbers(content: &str) -> Vec<u64> {
    let whole = |line: &str| line.strip_suffix(';').filter(|digits| digits.len() == 8)?.parse().ok();
    content.lines().filter_map(whole).collect()
}

/// Bytes of a line.
const LINE: usize = 10;

/// A destination of which everything that ever came can be read.
struct Destination<'a> {
    endpoint: &'a str,
    /// Bytes that have come.
    size: &'a dyn Fn() -> usize,
    /// What came after so many bytes.
    content: &'a dyn Fn(usize) -> String,
}

/// Kills relays to this destination.
#[track_caller]
fn no_kill_loses_anything(to: &Destination, more: &[&str]) {
    let start = variable("WSP_TEST_SEED", 7);
    let mut random = fastrand::Rng::with_seed(start);
    let directory = scratch();
    let spool = text(&directory.path().join("spool"));
    let (mut seen, mut last, mut recovered) = (0, 0, 0);
    for kill in 0..variable("WSP_TEST_KILLS", 10) {
        let (queue, most) = [("3", 50), ("100", 1000), ("10000", 5000)][random.usize(..3)];
        let arguments = [&["relay", "-", to.endpoint, "--spool", &spool, "--queue-size", queue], more].concat();
        let mut relay = wsp(&arguments).spawn();
        let feeder = feed(&mut relay, last + 1);
        let wanted = seen + random.usize(1..most) * LINE;
        wait_until("nothing arrives", || ((to.size)() >= wanted).then_some(()));
        relay.signal(Signal::SIGKILL);
        assert_eq!(relay.outcome().code, 137, "kill {kill} of seed {start}");
        drop(feeder.join().expect("the feeder"));
        let before = (to.size)();
        let output = run(&[&["relay", "-", to.endpoint, "--spool", &spool], more].concat(), "").exits(0);
        let balance = output.stderr.lines().last().unwrap_or_default();
        assert!(balance.ends_with("+ filtered 0 + dropped 0 + dead-lettered 0 + waiting 0"), "{}", output.stderr);
        recovered += (to.size)() - before;
        for number in numbers(&(to.content)(seen)) {
            assert!(number <= last + 1, "kill {kill} of seed {start}: {number} after {last}");
            last = last.max(number);
        }
        seen = (to.size)();
    }
    assert!(recovered > 0 && last > 0, "kills left something behind");
}

#[test]
fn a_file_misses_nothing_after_any_kill() {
    let directory = scratch();
    let path = directory.path().join("out");
    let size = || std::fs::metadata(&path).map_or(0, |file| usize::try_from(file.len()).expect("a size"));
    let content = |from: usize| std::fs::read_to_string(&path).expect("the file")[from..].to_owned();
    let endpoint = format!("file:{}", text(&path));
    no_kill_loses_anything(&Destination { endpoint: &endpoint, size: &size, content: &content }, &[]);
    // Nothing but whole numbers, and pieces where a line was torn.
    let content = std::fs::read_to_string(&path).expect("the file");
    assert!(
        content.lines().all(|line| line.len() <= 9 && line.bytes().all(|byte| byte.is_ascii_digit() || byte == b';'))
    );
}

/// An HTTP server that takes every body.
struct Taker {
    url: String,
    bodies: Arc<Mutex<String>>,
}

impl Taker {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}/in", listener.local_addr().expect("its address"));
        let bodies = Arc::new(Mutex::new(String::new()));
        let taken = Arc::clone(&bodies);
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                let taken = Arc::clone(&taken);
                std::thread::spawn(move || while take(&socket, &taken).is_some() {});
            }
        });
        Self { url, bodies }
    }
}

/// Takes one request; none when the other side is gone. What was cut off is not taken.
fn take(mut socket: &TcpStream, taken: &Mutex<String>) -> Option<()> {
    // One request at a time is under way, so nothing is lost with the buffer.
    let mut reader = BufReader::new(socket);
    let mut length = None;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim_end().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok();
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length?];
    reader.read_exact(&mut body).ok()?;
    {
        let mut taken = taken.lock().expect("bodies");
        taken.push_str(std::str::from_utf8(&body).expect("text"));
        if !taken.ends_with('\n') {
            taken.push('\n');
        }
    }
    socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").ok()
}

#[test]
fn an_http_server_misses_nothing_after_any_kill() {
    let server = Taker::start();
    let size = || server.bodies.lock().expect("bodies").len();
    let content = |from: usize| server.bodies.lock().expect("bodies")[from..].to_owned();
    no_kill_loses_anything(&Destination { endpoint: &server.url, size: &size, content: &content }, &["--batch", "20"]);
}
