//! What stands at either end of a relay under test, seen from outside: receivers that can be stopped, sent away and called
//! back, and givers that never tire.
//!
//! Every message is a number, alone or padded with `x`, so that loss, order and repetition show. Leaves what is expected to
//! the tests. Invariant: whatever is started here ends with its value.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde_json::json;

use super::closed_port;
use super::files::{list, make_fifo, read, wait_until};
use super::peers::{HttpServer, http_server};
use super::process::{Process, Server, listen_at, wsp};
use super::programs::{self, children_of};
use super::{scratch, text};

/// What a line says.
pub fn number(line: &str) -> u32 {
    line.trim_start_matches('x').trim().parse().unwrap_or_else(|_| panic!("a number: {line:?}"))
}

/// Lines with the numbers from `first` to `last`, each of at least `width` bytes.
pub fn lines(first: u32, last: u32, width: usize) -> String {
    (first..=last).map(|number| format!("{}{number}\n", "x".repeat(width.saturating_sub(8)))).collect()
}

/// A receiver at the end of a relay.
pub trait Receiver {
    /// What it is called as TO.
    fn endpoint(&self) -> String;

    /// Flags it needs.
    fn arguments(&self) -> Vec<String> {
        Vec::new()
    }

    /// What it needs made of each message, as a filter.
    fn projection(&self) -> Option<&'static str> {
        None
    }

    /// What it has got, in order.
    fn got(&self) -> Vec<u32>;

    /// It takes nothing until [`Receiver::resume`].
    fn pause(&mut self, relay: &Process);

    /// It takes everything again.
    fn resume(&mut self, relay: &Process);

    /// It goes away while nothing is on its way to it, and comes back; false when that is nothing it can do.
    fn go_and_come_back(&mut self, relay: &Process) -> bool;
}

/// A receiver that gets lines in batches, each of which is one message.
pub struct Batched<R>(pub R);

impl<R: Receiver> Receiver for Batched<R> {
    fn endpoint(&self) -> String {
        self.0.endpoint()
    }

    fn arguments(&self) -> Vec<String> {
        let batch = ["--batch-as", "lines", "--batch", "50", "--batch-min", "20", "--batch-age", "20ms"];
        batch.map(str::to_owned).into_iter().chain(self.0.arguments()).collect()
    }

    fn got(&self) -> Vec<u32> {
        self.0.got()
    }

    fn pause(&mut self, relay: &Process) {
        self.0.pause(relay);
    }

    fn resume(&mut self, relay: &Process) {
        self.0.resume(relay);
    }

    fn go_and_come_back(&mut self, relay: &Process) -> bool {
        self.0.go_and_come_back(relay)
    }
}

/// A pipe with a name, read by a thread that can be held.
pub struct Fifo {
    pub path: PathBuf,
    shared: Arc<(Mutex<FifoState>, Condvar)>,
    _directory: tempfile::TempDir,
}

#[derive(Default)]
struct FifoState {
    got: Vec<u32>,
    held: bool,
}

impl Fifo {
    /// Not read from before [`Receiver::resume`] if `held`.
    pub fn new(held: bool) -> Self {
        let directory = scratch();
        let path = directory.path().join("fifo");
        make_fifo(&path);
        let shared = Arc::new((Mutex::new(FifoState { got: Vec::new(), held }), Condvar::new()));
        let (theirs, place) = (Arc::clone(&shared), path.clone());
        std::thread::spawn(move || {
            // Both ways, so that it opens at once and never ends.
            let file = std::fs::File::options().read(true).write(true).open(place).expect("the pipe");
            for line in BufReader::with_capacity(4096, file).lines() {
                let (state, changed) = &*theirs;
                let mut state = state.lock().expect("the state");
                while state.held {
                    state = changed.wait(state).expect("the state");
                }
                state.got.push(number(&line.expect("a line")));
            }
        });
        Self { path, shared, _directory: directory }
    }

    /// From now on it is read from.
    pub fn hold_no_more(&mut self) {
        self.hold(false);
    }

    fn hold(&self, held: bool) {
        self.shared.0.lock().expect("the state").held = held;
        self.shared.1.notify_all();
    }
}

impl Receiver for Fifo {
    fn endpoint(&self) -> String {
        format!("file:{}", text(&self.path))
    }

    fn got(&self) -> Vec<u32> {
        self.shared.0.lock().expect("the state").got.clone()
    }

    fn pause(&mut self, _: &Process) {
        self.hold(true);
    }

    fn resume(&mut self, _: &Process) {
        self.hold(false);
    }

    fn go_and_come_back(&mut self, _: &Process) -> bool {
        false
    }
}

/// A file, which others may rotate.
pub struct PlainFile {
    directory: tempfile::TempDir,
    fsync: &'static str,
}

impl PlainFile {
    pub fn new(fsync: &'static str) -> Self {
        Self { directory: scratch(), fsync }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("out")
    }
}

impl Receiver for PlainFile {
    fn endpoint(&self) -> String {
        format!("file:{}", text(&self.path()))
    }

    fn arguments(&self) -> Vec<String> {
        vec!["--fsync".to_owned(), self.fsync.to_owned()]
    }

    fn got(&self) -> Vec<u32> {
        let moved = list(self.directory.path()).into_iter().filter(|path| *path != self.path());
        moved.chain([self.path()]).flat_map(|path| read(&path).lines().map(number).collect::<Vec<_>>()).collect()
    }

    // A disk takes everything.
    fn pause(&mut self, _: &Process) {}
    fn resume(&mut self, _: &Process) {}

    fn go_and_come_back(&mut self, _: &Process) -> bool {
        let name = format!("out.{}", list(self.directory.path()).len());
        std::fs::rename(self.path(), self.directory.path().join(name)).is_ok()
    }
}

/// A program.
pub struct Program {
    directory: tempfile::TempDir,
}

impl Program {
    pub fn new() -> Self {
        Self { directory: scratch() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("out")
    }

    fn running(relay: &Process) -> Option<u32> {
        // Until it has a group of its own it belongs to ours.
        let is_ready = |one: &programs::Program| !one.is_zombie && one.group == one.id;
        children_of(relay.id()).into_iter().find(is_ready).map(|one| one.id)
    }

    /// Sends a signal to it and its group; its number.
    fn signal(relay: &Process, signal: Signal) -> u32 {
        let id = wait_until("a program", || Self::running(relay));
        killpg(Pid::from_raw(i32::try_from(id).expect("a group")), signal).expect("it runs");
        id
    }
}

impl Receiver for Program {
    fn endpoint(&self) -> String {
        format!("exec:cat >> '{}'", text(&self.path()))
    }

    fn arguments(&self) -> Vec<String> {
        ["--retry-delay", "1ms", "--retry-max", "1ms"].map(str::to_owned).into()
    }

    fn got(&self) -> Vec<u32> {
        read(&self.path()).lines().map(number).collect()
    }

    fn pause(&mut self, relay: &Process) {
        Self::signal(relay, Signal::SIGSTOP);
    }

    fn resume(&mut self, relay: &Process) {
        Self::signal(relay, Signal::SIGCONT);
    }

    fn go_and_come_back(&mut self, relay: &Process) -> bool {
        let id = Self::signal(relay, Signal::SIGKILL);
        // What is sent before that may still be read by what is about to die.
        wait_until("another one", || Self::running(relay).filter(|next| *next != id));
        true
    }
}

/// Someone else's HTTP server.
pub struct Http {
    server: Option<HttpServer>,
    port: u16,
    batch: &'static str,
    before: Vec<u32>,
}

impl Http {
    pub fn new(batch: &'static str) -> Self {
        let server = http_server(&json!({}));
        Self { port: server.port, server: Some(server), batch, before: Vec::new() }
    }

    fn signal(&self, signal: Signal) {
        let id = self.server.as_ref().expect("a server").process.id();
        kill(Pid::from_raw(i32::try_from(id).expect("an id")), signal).expect("our server");
    }
}

impl Receiver for Http {
    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/in", self.port)
    }

    fn arguments(&self) -> Vec<String> {
        ["--batch", self.batch, "--retry-delay", "10ms", "--retry-max", "50ms"].map(str::to_owned).into()
    }

    fn got(&self) -> Vec<u32> {
        let told = self.server.as_ref().expect("a server").so_far();
        let here = told.iter().flat_map(|request| request.text().lines().map(number).collect::<Vec<_>>());
        self.before.iter().copied().chain(here).collect()
    }

    fn pause(&mut self, _: &Process) {
        self.signal(Signal::SIGSTOP);
    }

    fn resume(&mut self, _: &Process) {
        self.signal(Signal::SIGCONT);
    }

    fn go_and_come_back(&mut self, _: &Process) -> bool {
        self.before = self.got();
        self.server.take().expect("a server").stop();
        self.server = Some(http_server(&json!({ "port": self.port })));
        true
    }
}

/// A WebSocket server.
pub struct Ws {
    server: Option<Server>,
    port: u16,
    before: Vec<u32>,
}

impl Ws {
    pub fn new() -> Self {
        let port = closed_port();
        Self { server: Some(Self::start(port)), port, before: Vec::new() }
    }

    fn start(port: u16) -> Server {
        listen_at(&format!("127.0.0.1:{port}"), &["--format", "raw"])
    }

    fn signal(&self, signal: Signal) {
        self.server.as_ref().expect("a server").process.signal(signal);
    }
}

impl Receiver for Ws {
    fn endpoint(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.port)
    }

    fn arguments(&self) -> Vec<String> {
        ["--reconnect", "--retry-delay", "10ms", "--retry-max", "50ms"].map(str::to_owned).into()
    }

    fn got(&self) -> Vec<u32> {
        let here = self.server.as_ref().expect("a server").process.lines_so_far();
        self.before.iter().copied().chain(here.iter().map(|line| number(line))).collect()
    }

    fn pause(&mut self, _: &Process) {
        self.signal(Signal::SIGSTOP);
    }

    fn resume(&mut self, _: &Process) {
        self.signal(Signal::SIGCONT);
    }

    fn go_and_come_back(&mut self, relay: &Process) -> bool {
        self.before = self.got();
        self.server.take().expect("a server").stop();
        relay.wait_for_stderr("reconnecting");
        self.server = Some(Self::start(self.port));
        true
    }
}

/// A WebSocket client of a server end.
pub struct WsGuest {
    client: Option<Process>,
    port: u16,
    before: Vec<u32>,
    visits: u32,
}

impl WsGuest {
    pub fn new() -> Self {
        let port = closed_port();
        Self { client: Some(Self::start(port)), port, before: Vec::new(), visits: 1 }
    }

    /// One that comes as soon as there is somebody to come to, and stays.
    fn start(port: u16) -> Process {
        let url = format!("ws://127.0.0.1:{port}/");
        let words = ["--format", "raw", "-w", "-1", "--reconnect", "--retry-delay", "10ms", "--retry-max", "50ms"];
        wsp(["connect", &url]).args(words).limit(3 * super::DEADLINE).spawn()
    }

    fn client(&self) -> &Process {
        self.client.as_ref().expect("a client")
    }
}

impl Receiver for WsGuest {
    fn endpoint(&self) -> String {
        format!("ws-listen://127.0.0.1:{}/", self.port)
    }

    fn arguments(&self) -> Vec<String> {
        vec!["-v".to_owned()]
    }

    fn got(&self) -> Vec<u32> {
        let here = self.client().lines_so_far();
        self.before.iter().copied().chain(here.iter().map(|line| number(line))).collect()
    }

    fn pause(&mut self, _: &Process) {
        self.client().signal(Signal::SIGSTOP);
    }

    fn resume(&mut self, _: &Process) {
        self.client().signal(Signal::SIGCONT);
    }

    fn go_and_come_back(&mut self, relay: &Process) -> bool {
        self.before = self.got();
        let client = self.client.take().expect("a client");
        client.signal(Signal::SIGTERM);
        client.outcome();
        relay.wait_for_stderr(&format!(".{} 127.0.0.1:", self.visits));
        wait_until("a client that is missed", || {
            relay.has_said(&format!(".{} 127.0.0.1:", self.visits), "closed").then_some(())
        });
        self.visits += 1;
        self.client = Some(Self::start(self.port));
        true
    }
}
