//! Openings that are malformed or hostile, many of them against one server: it serves afterwards, and nothing is left of them.
//!
//! `WSP_TEST_HOSTILE=10000` sets how many; by default it is a share of that, to stay quick. Leaves each single fault to
//! `listen_limits`, `rude_clients` and `guards`.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use crate::support::{DEADLINE, Frame, RawClient, Server, listen, run};

/// What is done to the server, one after the other.
#[derive(Debug, Clone, Copy)]
enum Attack {
    LeaveAtOnce,
    Noise,
    HalfAHead,
    HalfAHeadThenReset,
    Silence,
    EndlessHead,
    EndlessTarget,
    TooManyHeaders,
    Request(&'static str),
    ManyRequests,
    ClientHello,
    BrokenFrame,
    LeaveAfterOpening,
    /// What a shell would run, wherever a program learns of the request.
    Injection,
}

/// A file that an injected command would make, where the server runs.
const MARK: &str = "hostile-was-here";

const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

const ATTACKS: [Attack; 31] = [
    Attack::LeaveAtOnce,
    Attack::Noise,
    Attack::HalfAHead,
    Attack::HalfAHeadThenReset,
    Attack::Silence,
    Attack::EndlessHead,
    Attack::EndlessTarget,
    Attack::TooManyHeaders,
    Attack::ManyRequests,
    Attack::ClientHello,
    Attack::BrokenFrame,
    Attack::LeaveAfterOpening,
    Attack::Injection,
    Attack::Request("GET /../../../../../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"),
    Attack::Request("GET /%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n"),
    Attack::Request("GET /..%2f..%2f..%2f..%2fetc%2fpasswd%00.html HTTP/1.1\r\nHost: x\r\n\r\n"),
    Attack::Request("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"),
    Attack::Request("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffff0\r\n"),
    Attack::Request("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
    Attack::Request("DELETE / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    Attack::Request("CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n"),
    Attack::Request("GET / HTTP/1.0\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"),
    Attack::Request("GET http://[::1/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    Attack::Request("GET / HTTP/9.9\r\nHost: x\r\n\r\n"),
    Attack::Request("GET /\0 HTTP/1.1\r\nHost: x\r\n\r\n"),
    Attack::Request("GET / HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n"),
    Attack::Request("GET / HTTP/1.1\r\n Folded: x\r\n\r\n"),
    Attack::Request("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"),
    Attack::Request(
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 7\r\n\r\n",
    ),
    Attack::Request(
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n",
    ),
    Attack::Request(
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
    ),
];

/// The beginning of a TLS handshake, as far as its own length says, with nothing right behind it.
const CLIENT_HELLO: &[u8] = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03 this is no random and what follows is noise";

fn dial(port: u16) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", port)).expect("the server listens");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    stream.set_write_timeout(Some(DEADLINE)).expect("a deadline");
    stream
}

/// Reads until the server has had enough.
fn drain(mut stream: TcpStream) {
    let _ = stream.shutdown(Shutdown::Write);
    let mut scrap = [0; 4096];
    while stream.read(&mut scrap).is_ok_and(|read| read > 0) {}
}

/// Does one; what comes back stays open until dropped.
fn attack(attack: Attack, port: u16, rng: &mut fastrand::Rng) -> Option<TcpStream> {
    let mut stream = dial(port);
    // The server may hang up at any time, and is right to.
    let mut send = |bytes: &[u8]| stream.write_all(bytes).is_ok();
    match attack {
        Attack::LeaveAtOnce => return None,
        Attack::Silence => return Some(stream),
        Attack::Noise => {
            let noise: Vec<u8> = (0..rng.usize(1..3000)).map(|_| rng.u8(..)).collect();
            send(&noise);
        }
        Attack::HalfAHead => {
            let request = RawClient::request("/", "");
            send(&request.as_bytes()[..rng.usize(1..request.len())]);
            return Some(stream).filter(|_| rng.bool());
        }
        Attack::HalfAHeadThenReset => {
            send(b"GET / HTTP/1.1\r\nHost:");
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("no lingering");
            return None;
        }
        Attack::EndlessHead => {
            send(b"GET / HTTP/1.1\r\n");
            let line = format!("X-Long: {}\r\n", "x".repeat(8000));
            while send(line.as_bytes()) {}
        }
        Attack::EndlessTarget => {
            send(b"GET /");
            while send(&[b'a'; 8000]) {}
        }
        Attack::TooManyHeaders => {
            let lines: String = (0..5000).map(|number| format!("X{number}: y\r\n")).collect();
            send(format!("GET / HTTP/1.1\r\n{lines}\r\n").as_bytes());
        }
        Attack::Request(request) => {
            send(request.as_bytes());
        }
        Attack::ManyRequests => {
            send("GET / HTTP/1.1\r\nHost: x\r\n\r\n".repeat(20).as_bytes());
        }
        Attack::ClientHello => {
            send(CLIENT_HELLO);
        }
        Attack::BrokenFrame => {
            send(RawClient::request("/", "").as_bytes());
            send(&Frame::text("unmasked").bytes());
        }
        Attack::Injection => {
            let path = format!("/$(touch%20{MARK})?;touch%20{MARK};");
            let headers = format!("X-Evil: $(touch {MARK})`touch {MARK}`\r\nX-Shock: () {{ :; }}; touch {MARK}\r\n");
            send(RawClient::request(&path, &headers).as_bytes());
            send(&Frame::text(&format!("$(touch {MARK})")).masked().bytes());
        }
        Attack::LeaveAfterOpening => {
            send(RawClient::request("/", "").as_bytes());
            let mut head = [0; 20];
            let _ = stream.read(&mut head);
            return None;
        }
    }
    drain(stream);
    None
}

/// What a process holds.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone, Copy)]
struct Held {
    files: usize,
    resident: u64,
}

#[cfg(target_os = "linux")]
fn held(id: u32) -> Held {
    let files = std::fs::read_dir(format!("/proc/{id}/fd")).expect("the process runs").count();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("the process runs");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its size");
    let kilobytes: u64 = line.split_whitespace().nth(1).and_then(|size| size.parse().ok()).expect("a number");
    Held { files, resident: kilobytes * 1024 }
}

#[cfg(target_os = "linux")]
fn children(id: u32) -> String {
    let tasks = std::fs::read_dir(format!("/proc/{id}/task")).expect("the process runs");
    tasks
        .map(|task| std::fs::read_to_string(task.expect("a task").path().join("children")).unwrap_or_default())
        .collect()
}

/// Waits until no more files are open than before, and says what is held then.
#[cfg(target_os = "linux")]
#[track_caller]
fn settled(id: u32, files: usize) -> Held {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let now = held(id);
        if now.files <= files {
            return now;
        }
        assert!(Instant::now() < deadline, "{} files are open, {files} at first", now.files);
        std::thread::yield_now();
    }
}

/// All attacks in turn, so many in all, from four sides at a time.
fn assault(port: u16, count: usize, seed: u64) {
    let sides = (0..4).map(|side| {
        std::thread::spawn(move || {
            let mut rng = fastrand::Rng::with_seed(seed + side);
            let mut open = std::collections::VecDeque::new();
            for number in 0..count / 4 {
                open.extend(attack(ATTACKS[number % ATTACKS.len()], port, &mut rng));
                // Some stay open, up to a point.
                if open.len() > 50 {
                    open.pop_front();
                }
            }
        })
    });
    for side in sides.collect::<Vec<_>>() {
        side.join().expect("one side of the assault");
    }
}

fn is_served(server: &Server) {
    for text in ["hello", "and again"] {
        let echoed = run(&["connect", "-k", &server.url, "-x", text, "-n", "1"], "");
        echoed.exits(0).prints(&format!("{text}\n"));
    }
}

#[test]
#[cfg(target_os = "linux")]
fn many_hostile_openings_leave_nothing_behind() {
    let wanted = std::env::var("WSP_TEST_HOSTILE").ok().and_then(|count| count.parse().ok());
    let count: usize = wanted.unwrap_or(1000);
    let folder = crate::support::scratch();
    crate::support::write(&folder, "index.html", "here");
    let folder = crate::support::text(folder.path());
    // As a program may well use what it is told.
    let program = "echo \"$HTTP_X_EVIL\" $HTTP_X_SHOCK $PATH_INFO $QUERY_STRING >/dev/null; exec cat";
    let table: [&[&str]; 3] = [&["--echo"], &["--echo", "--tls"], &["--exec", program, "--static", &folder]];
    for flags in table {
        let more = ["-q", "--close-timeout", "200ms", "--handshake-timeout", "2s"];
        let server = listen(&[flags, &more].concat());
        let id = server.process.id();
        is_served(&server);
        let before = held(id);
        // What is set up once is set up by then.
        assault(server.port, (count / 5).max(200), 1);
        let warm = settled(id, before.files);
        is_served(&server);
        assault(server.port, count, 100);
        let after = settled(id, before.files);
        is_served(&server);
        let grown = after.resident.saturating_sub(warm.resident);
        assert!(grown < 8 << 20, "{grown} bytes more than at {} after {count} openings", warm.resident);
        let deadline = Instant::now() + DEADLINE;
        while !children(id).trim().is_empty() {
            assert!(Instant::now() < deadline, "processes are left: {}", children(id));
            std::thread::yield_now();
        }
        assert!(!std::path::Path::new(MARK).exists(), "a command was injected");
        if wanted.is_some() {
            std::fs::write("/dev/stderr", format!("{flags:?}: {before:?}, {warm:?}, {after:?}\n")).expect("stderr");
        }
        server.stop().exits(0);
    }
}

#[test]
fn the_attacks_are_what_they_claim_to_be() {
    // None of the requests is one that is let in.
    let server = listen(&["--echo"]);
    for attack in ATTACKS {
        if let Attack::Request(request) = attack {
            assert!(!request.contains(KEY) || request.matches(KEY).count() == 2, "{request}");
            let mut stream = dial(server.port);
            stream.write_all(request.as_bytes()).expect("sending");
            let _ = stream.shutdown(Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            let answer = String::from_utf8_lossy(&answer);
            let is_refused = answer.starts_with("HTTP/1.") && answer[8..].starts_with(" 4");
            // Who ends its half before the answer may get none, and who speaks HTTP/2 would not understand one.
            assert!(is_refused || answer.is_empty(), "{request}\n{answer:?}");
        }
    }
    server.stop().exits(0).complains("connections 0");
}
