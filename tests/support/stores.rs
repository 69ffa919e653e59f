//! Real databases on loopback: PostgreSQL, and OpenSearch.
//!
//! Owns starting, killing and asking them; the scripts are in `tests/peers/stores`. Invariant: a server ends with the test
//! that started it, and the shared ones with the test program, because they end with their standard input.

use std::cell::RefCell;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::certs::Identity;
use super::ends::{Receiver, number};
use super::files::wait_until;
use super::http::{Answer, ask};
use super::process::{Process, Run};
use super::{DEADLINE, closed_port, root, scratch};

/// Flags for short waits between tries.
pub const SOON: [&str; 4] = ["--retry-delay", "10ms", "--retry-max", "100ms"];

fn script(name: &str) -> PathBuf {
    root().join("tests/peers/stores").join(name)
}

/// A name that no other test has.
fn own_name(of: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(1);
    format!("{of}{}", COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A PostgreSQL server.
pub struct Postgres {
    directory: tempfile::TempDir,
    pub port: u16,
    settings: Vec<String>,
    process: Option<Process>,
}

impl Postgres {
    /// Starts one.
    #[track_caller]
    pub fn start() -> Self {
        Self::with(Vec::new())
    }

    /// Starts one that offers TLS.
    #[track_caller]
    pub fn secure(identity: &Identity) -> Self {
        let mut server = Self::unstarted();
        let copy = |from: &str, name: &str| {
            let to = server.directory.path().join(name);
            std::fs::copy(from, &to).expect("a copy");
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&to, mode).expect("its mode");
            to.display().to_string()
        };
        let (cert, key) = (copy(&identity.cert, "cert.pem"), copy(&identity.key, "key.pem"));
        server.settings = vec!["ssl=on".to_owned(), format!("ssl_cert_file={cert}"), format!("ssl_key_file={key}")];
        server.go();
        server
    }

    fn with(settings: Vec<String>) -> Self {
        let mut server = Self { settings, ..Self::unstarted() };
        server.go();
        server
    }

    /// One that several tests use, each with tables of its own.
    #[track_caller]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    fn unstarted() -> Self {
        Self { directory: scratch(), port: closed_port(), settings: Vec::new(), process: None }
    }

    /// Starts it, again after [`Postgres::kill`].
    #[track_caller]
    pub fn go(&mut self) {
        let deadline = Instant::now() + DEADLINE;
        // What the last one left in memory is gone soon after it.
        let said = ["is ready to accept connections", "shared memory block", "Address already in use", "lock file"];
        loop {
            let process = Run::new(script("postgres"))
                .arg(self.directory.path())
                .arg(self.port.to_string())
                .args(&self.settings)
                .limit(Duration::from_secs(600))
                .spawn();
            if process.wait_for_stdout_of(&said) == 0 {
                self.process = Some(process);
                return;
            }
            assert!(Instant::now() < deadline, "PostgreSQL does not start: {:?}", process.lines_so_far());
        }
    }

    /// Kills it with SIGKILL; its data stays.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Asks `psql`; rows are lines, columns separated by `|`.
    #[track_caller]
    pub fn ask(&self, sql: &str) -> String {
        self.psql().args(["-c", sql]).input("").exits(0).stdout().trim_end().to_owned()
    }

    fn psql(&self) -> Run {
        let port = self.port.to_string();
        let words = ["-h", "127.0.0.1", "-p", &port, "-U", "wsp", "-d", "postgres", "-qAtX", "-v", "ON_ERROR_STOP=1"];
        Run::new("psql").args(words).limit(Duration::from_secs(300))
    }

    /// Makes a table with these columns; its name.
    #[track_caller]
    pub fn table(&self, columns: &str) -> String {
        let name = own_name("t");
        self.ask(&format!("CREATE TABLE {name} ({columns})"));
        name
    }

    /// The address of a table, or of whatever else stands behind the database.
    pub fn url(&self, rest: &str) -> String {
        format!("postgres://wsp@127.0.0.1:{}/postgres{rest}", self.port)
    }
}

/// A table at the end of a relay.
pub struct Rows {
    server: Postgres,
    /// Holds the table, so that nobody writes.
    holder: Option<Process>,
    /// Read so far, and the number of the last row.
    read: RefCell<(Vec<u32>, String)>,
}

impl Rows {
    pub fn new() -> Self {
        let server = Postgres::start();
        server.ask("CREATE TABLE rows (place bigserial, line text)");
        Self { server, holder: None, read: RefCell::new((Vec::new(), "0".to_owned())) }
    }
}

impl Receiver for Rows {
    fn endpoint(&self) -> String {
        self.server.url("/rows?columns=line=.")
    }

    fn arguments(&self) -> Vec<String> {
        SOON.iter().chain(&["--raw-input"]).map(|word| (*word).to_owned()).collect()
    }

    fn got(&self) -> Vec<u32> {
        let mut read = self.read.borrow_mut();
        let sql = format!("SELECT place, line FROM rows WHERE place > {} ORDER BY place", read.1);
        for row in self.server.ask(&sql).lines() {
            let (place, line) = row.split_once('|').expect("two columns");
            place.clone_into(&mut read.1);
            read.0.push(number(line));
        }
        read.0.clone()
    }

    fn pause(&mut self, _: &Process) {
        let mut holder = self.server.psql().spawn();
        holder.send("BEGIN; LOCK TABLE rows IN SHARE MODE; SELECT 'held';\n");
        holder.wait_for_stdout("held");
        self.holder = Some(holder);
    }

    fn resume(&mut self, _: &Process) {
        self.holder.take().expect("somebody who holds it").finish().exits(0);
    }

    fn go_and_come_back(&mut self, _: &Process) -> bool {
        self.server.kill();
        self.server.go();
        true
    }
}

/// An OpenSearch server.
pub struct Search {
    directory: tempfile::TempDir,
    pub port: u16,
    transport: u16,
    process: Option<Process>,
}

impl Search {
    /// Starts one.
    #[track_caller]
    pub fn start() -> Self {
        let mut server = Self { directory: scratch(), port: closed_port(), transport: closed_port(), process: None };
        server.go();
        server
    }

    /// One that several tests use, each with indices of its own.
    #[track_caller]
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Search> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// Starts it, again after [`Search::kill`].
    #[track_caller]
    pub fn go(&mut self) {
        let own = root().join("target/test-opensearch/libs");
        let libs = std::env::var_os("WSP_TEST_OPENSEARCH_LIBS").map_or(own, PathBuf::from);
        assert!(libs.is_dir(), "{} is missing: run tests/run", libs.display());
        let process = Run::new(script("opensearch"))
            .arg(self.directory.path())
            .arg(self.port.to_string())
            .arg(self.transport.to_string())
            .arg(libs)
            .limit(Duration::from_secs(600))
            .spawn();
        process.wait_for_stdout("INFO Node started");
        self.process = Some(process);
        // It answers before it has found its indices again: searching them fails until then.
        wait_until("its indices", || (self.ask("GET", "/_cluster/health", "")["status"] != "red").then_some(()));
    }

    /// Kills it with SIGKILL; its data stays.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// A name for an index.
    pub fn index() -> String {
        own_name("index-")
    }

    /// The address of an index.
    pub fn url(&self, rest: &str) -> String {
        format!("opensearch+http://127.0.0.1:{}/{rest}", self.port)
    }

    /// Asks for something.
    #[track_caller]
    pub fn ask(&self, method: &str, path: &str, body: &str) -> Value {
        let answer: Answer = ask(self.port, method, path, "Content-Type: application/json\r\n", body.as_bytes());
        answer.json()
    }

    /// The documents of an index by id, in the order of `sort`.
    #[track_caller]
    pub fn documents(&self, index: &str, sort: &str) -> Vec<(String, Value)> {
        self.ask("POST", &format!("/{index}/_refresh"), "");
        let found = self.ask("GET", &format!("/{index}/_search?size=10000&sort={sort}"), "");
        let hits = found["hits"]["hits"].as_array().unwrap_or_else(|| panic!("hits: {found}"));
        let one = |hit: &Value| (hit["_id"].as_str().expect("an id").to_owned(), hit["_source"].clone());
        hits.iter().map(one).collect()
    }
}

/// An index at the end of a relay, in a server that one test at a time has.
pub struct Documents {
    server: MutexGuard<'static, Option<Search>>,
    index: String,
    /// Nobody is answered.
    is_paused: bool,
    /// Read so far, and the place of the last document.
    read: RefCell<(Vec<u32>, u64)>,
}

impl Documents {
    pub fn new() -> Self {
        static ONE: Mutex<Option<Search>> = Mutex::new(None);
        let mut server = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let index = Search::index();
        let mappings = json!({"properties": {"place": {"type": "long"}, "line": {"type": "keyword", "index": false}}});
        let body = json!({"mappings": mappings}).to_string();
        server.get_or_insert_with(Search::start).ask("PUT", &format!("/{index}"), &body);
        Self { server, index, is_paused: false, read: RefCell::default() }
    }

    fn server(&self) -> &Search {
        self.server.as_ref().expect("it runs")
    }

    fn signal(&mut self, signal: Signal) {
        self.is_paused = signal == Signal::SIGSTOP;
        // There is none when its start has failed.
        if let Some(process) = self.server.as_ref().and_then(|server| server.process.as_ref()) {
            process.signal(signal);
        }
    }
}

impl Drop for Documents {
    /// The next test finds it awake.
    fn drop(&mut self) {
        self.signal(Signal::SIGCONT);
    }
}

impl Receiver for Documents {
    /// With ids of their own nothing is there twice, whatever was sent again.
    fn endpoint(&self) -> String {
        self.server().url(&format!("{}?id=.place&action=create", self.index))
    }

    fn arguments(&self) -> Vec<String> {
        SOON.iter().chain(&["--raw-input"]).map(|word| (*word).to_owned()).collect()
    }

    fn projection(&self) -> Option<&'static str> {
        Some("{place: $meta.seq, line: tostring}")
    }

    fn got(&self) -> Vec<u32> {
        let mut read = self.read.borrow_mut();
        if !self.is_paused {
            let server = self.server();
            server.ask("POST", &format!("/{}/_refresh", self.index), "");
            let query = json!({
                "size": 10_000, "sort": ["place"], "query": {"range": {"place": {"gt": read.1}}}, "_source": true
            });
            let found = server.ask("POST", &format!("/{}/_search", self.index), &query.to_string());
            for hit in found["hits"]["hits"].as_array().unwrap_or_else(|| panic!("hits: {found}")) {
                let document = &hit["_source"];
                read.1 = document["place"].as_u64().expect("a place");
                read.0.push(number(document["line"].as_str().expect("a line")));
            }
        }
        read.0.clone()
    }

    fn pause(&mut self, _: &Process) {
        self.signal(Signal::SIGSTOP);
    }

    fn resume(&mut self, _: &Process) {
        self.signal(Signal::SIGCONT);
    }

    fn go_and_come_back(&mut self, _: &Process) -> bool {
        let server = self.server.as_mut().expect("it runs");
        server.kill();
        server.go();
        true
    }
}
