//! A real nats-server on loopback, and a NATS client spoken by hand over a plain socket.
//!
//! Owns starting and ending them; the scripts are in `tests/peers/brokers`. Invariants: a broker ends with the test that
//! started it, because it ends with its standard input.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::time::Duration;

use super::brokers::Broker;
use super::ends::number;
use super::process::{Process, Run};
use super::{DEADLINE, closed_port, root, scratch, text};

fn script(name: &str) -> PathBuf {
    root().join("tests/peers/brokers").join(name)
}

/// A nats-server with streams.
pub struct Nats {
    directory: tempfile::TempDir,
    arguments: Vec<String>,
    pub port: u16,
    monitor: u16,
    process: Option<Process>,
    /// What was read of streams so far.
    read: HashMap<String, Vec<u32>>,
}

impl Nats {
    fn unstarted() -> Self {
        Self {
            directory: scratch(),
            arguments: Vec::new(),
            port: closed_port(),
            monitor: closed_port(),
            process: None,
            read: HashMap::new(),
        }
    }

    /// Starts one with these further arguments.
    #[track_caller]
    pub fn start(arguments: &[&str]) -> Self {
        let mut server = Self::unstarted();
        server.arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        server.go();
        server
    }

    /// Starts one without streams, with these further arguments.
    #[track_caller]
    pub fn plain(arguments: &[&str]) -> Self {
        Self::start(&[arguments, &["-js=false"]].concat())
    }

    /// Starts one with this configuration.
    #[track_caller]
    pub fn configured(configuration: &str) -> Self {
        let mut server = Self::unstarted();
        let path = super::write(&server.directory, "nats.conf", configuration);
        server.arguments = vec!["-c".to_owned(), text(&path)];
        server.go();
        server
    }

    /// Starts it, again after [`Nats::stop`].
    #[track_caller]
    pub fn go(&mut self) {
        let process = Run::new(script("nats"))
            .arg(self.directory.path().join("data"))
            .arg(self.port.to_string())
            .args(["-m", &self.monitor.to_string()])
            .args(&self.arguments)
            .spawn();
        process.wait_for_stderr("Server is ready");
        self.process = Some(process);
    }

    /// Kills it; its data stays.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Ends it as a service manager would.
    #[track_caller]
    pub fn stop_gently(&mut self) {
        if let Some(process) = self.process.take() {
            process.signal(nix::sys::signal::Signal::SIGTERM);
            process.outcome();
        }
    }

    /// Waits until somebody subscribes to this.
    #[track_caller]
    pub fn wait_for_subscriber(&self, subject: &str) {
        self.wait_for_subscribers(subject, 1);
    }

    /// Waits until so many do.
    #[track_caller]
    pub fn wait_for_subscribers(&self, subject: &str, count: usize) {
        let deadline = std::time::Instant::now() + DEADLINE;
        let wanted = format!("\"subject\": \"{subject}\"");
        loop {
            let mut stream = TcpStream::connect(("127.0.0.1", self.monitor)).expect("nats-server's monitor");
            stream.write_all(b"GET /subsz?subs=1 HTTP/1.0\r\n\r\n").expect("asking the monitor");
            let mut answer = String::new();
            stream.read_to_string(&mut answer).expect("an answer of the monitor");
            if answer.matches(&wanted).count() >= count {
                return;
            }
            assert!(std::time::Instant::now() < deadline, "{answer}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The address of a subject, or of a subject and parameters.
    pub fn url(&self, rest: &str) -> String {
        format!("nats://127.0.0.1:{}/{rest}", self.port)
    }

    /// A client.
    #[track_caller]
    pub fn client(&self) -> NatsClient {
        NatsClient::connect(self.port)
    }
}

/// A NATS client by hand.
pub struct NatsClient {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    requests: u32,
}

/// What it receives.
#[derive(Debug, Clone)]
pub struct NatsMessage {
    pub subject: String,
    /// Which subscription it belongs to.
    subscription: String,
    pub headers: String,
    pub payload: Vec<u8>,
}

impl NatsMessage {
    pub fn text(&self) -> String {
        String::from_utf8(self.payload.clone()).expect("text")
    }
}

impl NatsClient {
    #[track_caller]
    fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("a nats-server");
        stream.set_read_timeout(Some(DEADLINE)).expect("a time limit");
        // A question is two lines: the second must not wait until the first is acknowledged.
        stream.set_nodelay(true).expect("a socket");
        let mut client =
            Self { reader: BufReader::new(stream.try_clone().expect("a clone")), writer: stream, requests: 0 };
        assert!(client.line().starts_with("INFO "));
        client.say(
            "CONNECT {\"verbose\":false,\"headers\":true,\"no_responders\":true,\"lang\":\"by hand\"}\r\nPING\r\n",
        );
        while client.line() != "PONG" {}
        client
    }

    fn say(&mut self, text: &str) {
        self.writer.write_all(text.as_bytes()).expect("writing to nats-server");
    }

    #[track_caller]
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line of nats-server");
        assert!(!line.is_empty(), "nats-server hung up");
        line.trim_end().to_owned()
    }

    /// Subscribes; the server knows when this returns.
    #[track_caller]
    pub fn subscribe(&mut self, subject: &str) {
        self.say(&format!("SUB {subject} 1\r\nPING\r\n"));
        while self.line() != "PONG" {}
    }

    pub fn publish(&mut self, subject: &str, reply: &str, payload: &str) {
        self.say(&format!("PUB {subject} {reply} {}\r\n{payload}\r\n", payload.len()));
    }

    /// The next message.
    #[track_caller]
    pub fn receive(&mut self) -> NatsMessage {
        loop {
            let line = self.line();
            let words: Vec<&str> = line.split(' ').collect();
            match words[0] {
                "PING" => self.say("PONG\r\n"),
                "MSG" | "HMSG" => {
                    let has_headers = words[0] == "HMSG";
                    let size: usize = words[words.len() - 1].parse().expect("a size");
                    let head: usize = if has_headers { words[words.len() - 2].parse().expect("a size") } else { 0 };
                    let mut block = vec![0; size + 2];
                    self.reader.read_exact(&mut block).expect("a payload");
                    let headers = String::from_utf8_lossy(&block[..head]).into_owned();
                    return NatsMessage {
                        subject: words[1].to_owned(),
                        subscription: words[2].to_owned(),
                        headers,
                        payload: block[head..size].to_vec(),
                    };
                }
                "-ERR" => panic!("{line}"),
                _ => {}
            }
        }
    }

    /// Asks and waits for the answer, on a subject of its own.
    #[track_caller]
    pub fn request(&mut self, subject: &str, payload: &str) -> NatsMessage {
        self.requests += 1;
        let inbox = format!("_INBOX.hand.{}", self.requests);
        // A message of a stream keeps its own subject: what it answers is told by the subscription.
        let subscription = (100 + self.requests).to_string();
        self.say(&format!("SUB {inbox} {subscription}\r\nUNSUB {subscription} 1\r\n"));
        self.publish(subject, &inbox, payload);
        loop {
            let message = self.receive();
            if message.subscription == subscription {
                return message;
            }
        }
    }

    /// Asks the API of streams.
    #[track_caller]
    pub fn ask(&mut self, what: &str, body: &str) -> serde_json::Value {
        let answer = self.request(&format!("$JS.API.{what}"), body).text();
        serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{answer}: {error}"))
    }

    /// Makes a stream with this subject.
    #[track_caller]
    pub fn create(&mut self, name: &str, subject: &str) {
        let answer = self.ask(
            &format!("STREAM.CREATE.{name}"),
            &format!("{{\"name\":\"{name}\",\"subjects\":[\"{subject}\"],\"storage\":\"file\"}}"),
        );
        assert!(answer.get("error").is_none(), "{answer}");
    }

    /// Asks the API of streams until the answer is as wanted.
    #[track_caller]
    pub fn ask_until(&mut self, what: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        let deadline = std::time::Instant::now() + DEADLINE;
        loop {
            let answer = self.ask(what, "");
            if wanted(&answer) {
                return answer;
            }
            assert!(std::time::Instant::now() < deadline, "{what}: {answer}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// The messages of a stream, in order.
    #[track_caller]
    pub fn stored(&mut self, stream: &str) -> Vec<String> {
        self.stored_after(stream, 0)
    }

    /// Those behind so many.
    #[track_caller]
    fn stored_after(&mut self, stream: &str, count: usize) -> Vec<String> {
        let state = self.ask(&format!("STREAM.INFO.{stream}"), "");
        let last = state["state"]["last_seq"].as_u64().expect("a last number");
        let first = state["state"]["first_seq"].as_u64().expect("a first number");
        // An empty stream says 0.
        (first.max(1) + count as u64..=last)
            .map(|seq| {
                let message = self.ask(&format!("STREAM.MSG.GET.{stream}"), &format!("{{\"seq\":{seq}}}"));
                let data = message["message"]["data"].as_str().unwrap_or_default();
                let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, data);
                String::from_utf8(bytes.expect("base64")).expect("text")
            })
            .collect()
    }
}

/// Streams are named after the subject they take.
impl Broker for Nats {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn make(&mut self, place: &str, _shares: u32) {
        self.client().create(place, place);
    }

    fn to(&self, place: &str) -> String {
        self.url(&format!("{place}?stream={place}"))
    }

    fn from(&self, place: &str, group: &str) -> String {
        // What a killed relay had not acknowledged comes again soon.
        let config = format!(
            "{{\"durable_name\":\"{group}\",\"ack_policy\":\"explicit\",\"deliver_policy\":\"all\",\"ack_wait\":1000000000}}"
        );
        self.client().ask(
            &format!("CONSUMER.DURABLE.CREATE.{place}.{group}"),
            &format!("{{\"stream_name\":\"{place}\",\"config\":{config}}}"),
        );
        self.url(&format!("{place}?stream={place}&durable={group}"))
    }

    fn has_settled(&mut self, place: &str, group: &str, count: u64) -> bool {
        let info = self.client().ask(&format!("CONSUMER.INFO.{place}.{group}"), "");
        info["ack_floor"]["stream_seq"].as_u64() >= Some(count)
    }

    fn stored(&mut self, place: &str) -> Vec<u32> {
        let mut client = self.client();
        let read = self.read.entry(place.to_owned()).or_default();
        let more = client.stored_after(place, read.len());
        read.extend(more.iter().map(|line| number(line)));
        read.clone()
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("a broker that runs")
    }

    fn kill(&mut self) {
        self.stop();
    }

    fn come_back(&mut self) {
        self.go();
    }
}
