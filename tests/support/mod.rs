//! What the tests share.
//!
//! `kafka` and `nats` start real message brokers; `process` runs `wsp` and other programs with their streams captured apart; `terminal` is a person at tmux; `wire` speaks
//! WebSocket by hand over a plain socket; `certs` makes certificates; `fake` is a server made of such sockets; `http` asks plainly; `peers` starts the real
//! clients and servers of other people, `programs` looks at what a server runs, and `proxies` are what stands between a client and its
//! server; `files` waits for what is written, and `recorder` writes down what arrives.
//! `ends` are what stands at either end of a relay, `brokers` what every message broker can be asked, and `numbers` numbered load.
//! `stores` starts real databases. `pages` are those of the documentation, which it runs as a reader would. `target` is a server for load tests.
//! Invariant: a component is left out only when `WSP_TEST_SKIP` names it, so a test never passes by accident.

pub mod balance;
#[cfg(any(feature = "kafka", feature = "nats"))]
pub mod brokers;
pub mod certs;
pub mod ends;
pub mod fake;
pub mod files;
pub mod http;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "nats")]
pub mod nats;
#[cfg(any(feature = "kafka", feature = "nats"))]
pub mod numbers;
pub mod pages;
pub mod peers;
pub mod process;
pub mod programs;
pub mod proxies;
pub mod recorder;
pub mod stores;
pub mod target;
pub mod terminal;
pub mod wire;

use std::net::SocketAddr;
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use fake::FakeServer;
pub use process::{Output, Process, Run, Server, listen, run, wsp};
pub use recorder::Recorder;
pub use wire::{Frame, Opcode, RawClient, Socket};

/// How long any single wait may take. Long, because it is only reached when a test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The top of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether the test may use `component`. False only when `WSP_TEST_SKIP` lists it; `tests/run` reports those.
#[allow(clippy::print_stderr)] // The notice is for whoever runs the tests.
pub fn require(component: &str) -> bool {
    let left_out = std::env::var("WSP_TEST_SKIP").unwrap_or_default();
    if left_out.split([',', ' ']).any(|name| name == component) {
        eprintln!("left out: needs {component}");
        return false;
    }
    true
}

/// A directory that goes away with the test.
pub fn scratch() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("wsp-test-").tempdir().expect("a temporary directory")
}

/// Writes `content` to `name` below `directory`.
pub fn write(directory: &tempfile::TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.path().join(name);
    std::fs::write(&path, content).expect("writing a test file");
    path
}

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.to_str().expect("a UTF-8 path").to_owned()
}

/// A port of 127.0.0.1 on which nobody listens, until who was told it does.
///
/// The system gives it to nobody else while the tests run: it stays bound, and what may be bound again is only so by
/// number.
pub fn closed_port() -> u16 {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_reuse_address(true).expect("setting an option");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("binding a port");
    let address = socket.local_addr().expect("its address").as_socket().expect("an address of the internet");
    // Never closed.
    let _ = socket.into_raw_fd();
    address.port()
}

/// The event lines of `--json`.
pub fn events(stdout: &str) -> Vec<serde_json::Value> {
    stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("not an event line: {line:?}: {e}")))
        .collect()
}

/// The events of one type and direction.
pub fn events_of<'a>(events: &'a [serde_json::Value], kind: &str, direction: &str) -> Vec<&'a serde_json::Value> {
    events.iter().filter(|event| event["type"] == kind && event["dir"] == direction).collect()
}
