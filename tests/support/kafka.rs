//! A real Apache Kafka on loopback, and another client of it.
//!
//! Owns starting and ending it; the scripts are in `tests/peers`. Invariants: a broker ends with the test that started it,
//! and the shared one with the test program, because it ends with its standard input.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use super::brokers::Broker;
use super::ends::number;
use super::process::{Output, Process, Run};
use super::{DEADLINE, closed_port, peers, root, scratch, write};

/// For addresses of sources: a member of the group that is gone is missed soon.
pub const SOON: &str = "rdkafka.session.timeout.ms=1000&rdkafka.heartbeat.interval.ms=200";

/// Apache Kafka, one node.
pub struct Kafka {
    directory: tempfile::TempDir,
    pub port: u16,
    controller: u16,
    process: Option<Process>,
    format: String,
    /// Those who print what comes to a topic.
    followers: HashMap<String, Process>,
}

impl Kafka {
    /// Starts one; `more` makes further settings of its ports.
    #[track_caller]
    pub fn start(more: impl Fn(u16, u16) -> String, format: &str) -> Self {
        // A port that is free now may be somebody's when the broker comes to it.
        let mut started = (1..=5).filter_map(|_| {
            let (directory, port, controller) = (scratch(), closed_port(), closed_port());
            write(&directory, "more.properties", more(port, controller));
            let mut server = Self {
                directory,
                port,
                controller,
                process: None,
                format: format.to_owned(),
                followers: HashMap::new(),
            };
            server.has_started().then_some(server)
        });
        started.next().expect("a broker")
    }

    /// Starts it, again after [`Kafka::stop`].
    #[track_caller]
    pub fn go(&mut self) {
        assert!(self.has_started(), "port {} or {} is taken", self.port, self.controller);
    }

    /// Whether its ports were free.
    #[track_caller]
    fn has_started(&mut self) -> bool {
        let own = root().join("target/test-kafka/libs");
        let libs = std::env::var_os("WSP_TEST_KAFKA_LIBS").map_or(own, PathBuf::from);
        assert!(libs.is_dir(), "{} is missing: run tests/run", libs.display());
        let process = Run::new(root().join("tests/peers/brokers/kafka"))
            .env("KAFKA_FORMAT", &self.format)
            .env("WSP_TEST_JAVA", std::env::var_os("WSP_TEST_JAVA").unwrap_or_else(|| "java".into()))
            .arg(self.directory.path())
            .arg(self.port.to_string())
            .arg(self.controller.to_string())
            .arg(libs)
            .limit(Duration::from_secs(90))
            .spawn();
        let outcome = process.wait_for_stdout_of(&["Kafka Server started", "Address already in use"]);
        self.process = (outcome == 0).then_some(process);
        self.process.is_some()
    }

    /// Kills it; its data stays.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Where it listens.
    pub fn server(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// Where a Kafka broker listens that the tests share: the one in `WSP_TEST_KAFKA`, else one of our own.
#[track_caller]
pub fn shared() -> String {
    static SHARED: OnceLock<(Option<Kafka>, String)> = OnceLock::new();
    let (_, server) = SHARED.get_or_init(|| match std::env::var("WSP_TEST_KAFKA") {
        Ok(server) if !server.is_empty() => (None, server),
        _ => {
            let own = Kafka::start(|_, _| String::new(), "");
            let server = own.server();
            (Some(own), server)
        }
    });
    server.clone()
}

/// Another client, at this server.
pub struct Other<'a>(pub &'a str);

impl Other<'_> {
    #[track_caller]
    fn run(&self, words: &[&str], input: &str) -> Output {
        let run = peers::python("kafka_client.py").arg(self.0).args(words);
        run.limit(Duration::from_secs(60)).input(input).exits(0)
    }

    /// Makes a topic with so many partitions; its name is one of a kind.
    #[track_caller]
    pub fn create(&self, name: &str, partitions: u32, settings: &[&str]) -> String {
        let topic = format!("{name}-{}-{:?}", std::process::id(), std::thread::current().id());
        let topic = topic.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-', "");
        let mut words = vec!["create".to_owned(), topic.clone(), partitions.to_string()];
        words.extend(settings.iter().map(|setting| (*setting).to_owned()));
        self.run(&words.iter().map(String::as_str).collect::<Vec<_>>(), "");
        topic
    }

    /// So many records of a topic, in the order of each partition.
    #[track_caller]
    pub fn read(&self, topic: &str, count: usize) -> Vec<serde_json::Value> {
        let output = self.run(&["read", topic, &count.to_string()], "");
        let records: Vec<_> =
            output.stdout().lines().map(|line| serde_json::from_str(line).expect("a record")).collect();
        assert_eq!(records.len(), count, "records of {topic}");
        records
    }

    /// Writes a record for each line.
    #[track_caller]
    pub fn write(&self, topic: &str, lines: &str) {
        self.run(&["write", topic], lines);
    }

    /// The sum of a group's positions.
    #[track_caller]
    pub fn committed(&self, group: &str, topic: &str) -> u64 {
        self.run(&["committed", group, topic], "").stdout().trim().parse().expect("a number")
    }

    /// Waits until the sum of a group's positions is this.
    #[track_caller]
    pub fn wait_for_committed(&self, group: &str, topic: &str, wanted: u64) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let committed = self.committed(group, topic);
            if committed == wanted {
                return;
            }
            assert!(Instant::now() < deadline, "{committed} are committed, not {wanted}");
        }
    }
}

impl Broker for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn make(&mut self, place: &str, shares: u32) {
        let server = self.server();
        Other(&server).run(&["create", place, &shares.to_string()], "");
    }

    fn to(&self, place: &str) -> String {
        format!("kafka://{}/{place}", self.server())
    }

    fn from(&self, place: &str, group: &str) -> String {
        format!("kafka://{}/{place}?group={group}&{SOON}", self.server())
    }

    fn has_settled(&mut self, place: &str, group: &str, count: u64) -> bool {
        Other(&self.server()).committed(group, place) >= count
    }

    fn stored(&mut self, place: &str) -> Vec<u32> {
        let server = self.server();
        let follower = self.followers.entry(place.to_owned()).or_insert_with(|| {
            let run = peers::python("kafka_client.py").arg(server).args(["follow", place]);
            run.limit(Duration::from_secs(600)).spawn()
        });
        follower.lines_so_far().iter().map(|line| number(line)).collect()
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
