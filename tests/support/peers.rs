//! Starts other people's clients and servers: npm `ws`, `websocket` and `wscat`, Bun, Python `websockets`, Go's
//! gorilla/websocket, Jetty, headless Chromium, curl.
//!
//! Owns where they are found and how they are called; the scripts themselves are in `tests/peers`, put in order by
//! `tests/run`. Invariant: a peer that is not installed fails the test with the command that installs it.

use std::path::{Path, PathBuf};

use super::certs::Identity;
use super::process::{Process, Run};
use super::root;

/// A server of someone else's that echoes.
pub struct PeerServer {
    pub process: Process,
    pub port: u16,
}

impl PeerServer {
    #[track_caller]
    fn started(run: Run) -> Self {
        let process = run.spawn();
        let line = process.wait_for_stdout("listening ");
        let port = line.trim_start_matches("listening ").parse().expect("a port");
        Self { process, port }
    }

    pub fn url(&self) -> String {
        format!("ws://127.0.0.1:{}/", self.port)
    }
}

fn script(name: &str) -> PathBuf {
    root().join("tests/peers").join(name)
}

/// npm `ws`, or any script that needs the packages beside it.
pub fn node(name: &str) -> Run {
    assert!(
        root().join("tests/peers/node_modules/ws").is_dir(),
        "npm `ws` is not installed: run tests/run, or `npm ci` in tests/peers"
    );
    Run::new("node").arg(script(name))
}

/// npm `wscat`.
pub fn wscat() -> Run {
    let program = root().join("tests/peers/node_modules/wscat/bin/wscat");
    assert!(program.is_file(), "npm `wscat` is not installed: run tests/run, or `npm ci` in tests/peers");
    Run::new("node").arg(program)
}

/// A Python that has `websockets`: the one in `WSP_TEST_PYTHON`, else the environment that `tests/run` makes.
pub fn python(name: &str) -> Run {
    let own = root().join("target/test-python/bin/python");
    let program = std::env::var_os("WSP_TEST_PYTHON").map_or(own, PathBuf::from);
    assert!(program.exists(), "{} is missing: run tests/run", program.display());
    Run::new(program).arg(script(name))
}

/// The Go program in `tests/peers/go`: the one in `WSP_TEST_GORILLA`, else the one that `tests/run` builds.
pub fn gorilla() -> Run {
    let own = root().join("target/test-gorilla/gorilla");
    let program = std::env::var_os("WSP_TEST_GORILLA").map_or(own, PathBuf::from);
    assert!(program.is_file(), "{} is missing: run tests/run", program.display());
    Run::new(program)
}

/// The gorilla server that these words ask for.
#[track_caller]
pub fn gorilla_server(words: &[&str]) -> PeerServer {
    PeerServer::started(gorilla().args(words))
}

/// The Java program in `tests/peers/jetty`, with the jars in `WSP_TEST_JETTY_LIBS` or where `tests/run` puts them.
pub fn jetty() -> Run {
    let own = root().join("target/test-jetty/libs");
    let libs = std::env::var_os("WSP_TEST_JETTY_LIBS").map_or(own, PathBuf::from);
    assert!(libs.is_dir(), "{} is missing: run tests/run", libs.display());
    // It runs too briefly to be compiled well.
    Run::new("java").args(["-XX:TieredStopAtLevel=1", "-cp"]).arg(libs.join("*")).arg(script("jetty/Peer.java"))
}

/// Jetty's echo server.
#[track_caller]
pub fn jetty_server() -> PeerServer {
    PeerServer::started(jetty().arg("server"))
}

/// The `ws` echo server with these options (JSON).
#[track_caller]
pub fn node_server(options: &str) -> PeerServer {
    PeerServer::started(node("ws-server.js").arg(options))
}

/// The npm `websocket` echo server, with TLS where it has an identity.
#[track_caller]
pub fn websocket_server(identity: Option<&Identity>) -> PeerServer {
    assert!(
        root().join("tests/peers/node_modules/websocket").is_dir(),
        "npm `websocket` is not installed: run tests/run, or `npm ci` in tests/peers"
    );
    let files = identity.map(|identity| [&identity.cert, &identity.key]);
    PeerServer::started(node("websocket-server.js").args(files.into_iter().flatten()))
}

/// The echo server on Bun.
#[track_caller]
pub fn bun_server() -> PeerServer {
    let program = root().join("tests/peers/node_modules/.bin/bun");
    assert!(program.exists(), "npm `bun` is not installed: run tests/run, or `npm ci` in tests/peers");
    PeerServer::started(Run::new(program).arg(script("bun-server.js")))
}

/// The `websockets` echo server with these options (JSON).
#[track_caller]
pub fn python_server(options: &str) -> PeerServer {
    PeerServer::started(python("ws_server.py").arg(options))
}

/// A Python HTTP server that tells what it is sent, with these rules (JSON).
pub struct HttpServer {
    pub process: Process,
    pub port: u16,
    pub url: String,
}

/// A request it was sent.
#[derive(Debug, serde::Deserialize)]
pub struct Told {
    pub path: String,
    pub headers: std::collections::HashMap<String, String>,
    /// The body; of a large one its length.
    pub body: serde_json::Value,
    /// The connection it came over.
    pub from: String,
    pub answer: serde_json::Value,
}

#[track_caller]
pub fn http_server(rules: &serde_json::Value) -> HttpServer {
    let PeerServer { process, port } = PeerServer::started(python("http_server.py").arg(rules.to_string()));
    HttpServer { process, port, url: format!("http://127.0.0.1:{port}/in") }
}

impl HttpServer {
    /// Everything it has been sent until now.
    pub fn so_far(&self) -> Vec<Told> {
        let lines = self.process.lines_so_far();
        lines.iter().skip(1).map(|line| serde_json::from_str(line).expect("a request")).collect()
    }

    /// Ends it; everything it was sent.
    #[track_caller]
    pub fn stop(self) -> Vec<Told> {
        self.process.signal(nix::sys::signal::Signal::SIGTERM);
        let output = self.process.outcome();
        output.stdout().lines().skip(1).map(|line| serde_json::from_str(line).expect("a request")).collect()
    }
}

impl Told {
    /// The body as text.
    pub fn text(&self) -> &str {
        self.body.as_str().expect("a small body")
    }

    /// A header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// Where Chromium is: `WSP_TEST_CHROMIUM`, else under one of its usual names in `PATH`.
pub fn chromium() -> PathBuf {
    std::env::var_os("WSP_TEST_CHROMIUM")
        .map(PathBuf::from)
        .or_else(|| ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|name| in_path(name)))
        .expect("Chromium is not installed: run tests/run")
}

/// A program of `PATH`.
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// Makes `home` a home directory whose NSS database trusts the certificate in `ca`, as a browser's does.
pub fn trust_in_browser(home: &Path, ca: &Path) {
    let database = home.join(".pki/nssdb");
    std::fs::create_dir_all(&database).expect("a directory for the database");
    let database = format!("sql:{}", database.display());
    let certutil = |arguments: &[&str]| {
        Run::new("certutil").args(["-d", &database]).args(arguments).input("").exits(0);
    };
    certutil(&["-N", "--empty-password"]);
    certutil(&["-A", "-n", "wsp", "-t", "C,,", "-i", ca.to_str().expect("a UTF-8 path")]);
}
