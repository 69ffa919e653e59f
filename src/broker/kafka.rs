//! What a `kafka://` address says: brokers, topic, group, security, and any property of librdkafka.
//!
//! Leaves speaking to brokers to [`reach`] and to both sides. Invariants: what the user sets as a property wins, but for
//! what keeps messages from being lost; no secret is shown.

pub(crate) mod reach;

use std::fmt;
use std::time::Duration;

use super::Start;
use super::address::{Address, AddressError};
use super::headers::run_name;
use crate::net::tls::{ClientTls, TlsVersion};

/// The port of Kafka.
const PORT: u16 = 9092;

/// Parameters of the address.
const PARAMETERS: &str = "group, start, publish, create, key, compression, headers, tls, user, password, \
password-env, sasl \
                          and rdkafka.NAME";

/// Properties that decide whether messages are lost.
const OURS: [&str; 4] = ["enable.auto.commit", "enable.auto.offset.store", "bootstrap.servers", "group.id"];

/// Properties by name.
pub(crate) type Properties = Vec<(String, String)>;

#[derive(Clone)]
pub(crate) struct KafkaSettings {
    /// The address as it is shown.
    pub shown: String,
    /// HOST:PORT each, separated by commas.
    pub servers: String,
    pub topic: String,
    /// Where it is published, when that is elsewhere.
    pub publish: Option<String>,
    /// The consumer group; without one everything is received and nothing remembered.
    pub group: Option<String>,
    /// Where a group starts that has no position.
    pub start: Start,
    /// Makes a topic that is not there, with so many partitions; -1 leaves their number to the broker.
    pub create: Option<i32>,
    /// A filter that yields the key.
    pub key: Option<String>,
    /// Messages carry headers of ours.
    pub headers: bool,
    /// Time limit for a broker to answer at first.
    pub connect_timeout: Duration,
    compression: Option<String>,
    /// Security, for both sides.
    security: Properties,
    /// The user's own.
    more: Properties,
}

impl fmt::Debug for KafkaSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// What batches of a producer are like.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Producing {
    /// How long a batch waits to become full.
    pub linger: Option<Duration>,
    pub messages: Option<usize>,
    /// Payload bytes.
    pub bytes: Option<usize>,
    /// The largest batch the topic takes, in bytes, where that is known.
    pub limit: Option<usize>,
}

/// What a topic takes unless it is set up otherwise, which librdkafka keeps to by itself.
const USUAL_LIMIT: std::ops::RangeInclusive<usize> = 1_000_000..=1_048_588;

impl Producing {
    /// Takes what the topic takes into account; whether that changes what is asked of librdkafka.
    pub(crate) fn learn(&mut self, limit: Option<usize>) -> bool {
        self.limit = limit.filter(|limit| !USUAL_LIMIT.contains(limit));
        self.limit.is_some()
    }
}

impl KafkaSettings {
    /// Reads an address; `secret` fetches what stands in an environment variable.
    ///
    /// # Errors
    /// What is wrong or not known.
    pub(crate) fn parse(
        text: &str,
        trust: &ClientTls,
        connect_timeout: Duration,
        secret: impl Fn(&str, bool) -> Result<String, String>,
        duration: impl Fn(&str) -> Option<Duration>,
    ) -> Result<Self, AddressError> {
        let mut address = Address::parse(text, PORT)?;
        let shown = address.to_string();
        let wrong = |what: String| AddressError(format!("{shown}: {what}"));
        if address.name.is_empty() {
            return Err(wrong("no topic: write kafka://HOST:PORT/TOPIC".to_owned()));
        }
        let group = address.take("group");
        let start = match address.take("start") {
            Some(text) => Start::parse(&text, &duration).map_err(&wrong)?,
            // Without a group only new messages are read; a group loses nothing.
            None if group.is_none() => Start::Latest,
            None => Start::Earliest,
        };
        let security = security(&mut address, trust, &secret).map_err(&wrong)?;
        let more = address.take_prefixed("rdkafka.");
        if let Some((name, _)) = more.iter().find(|(name, _)| OURS.contains(&name.as_str())) {
            return Err(wrong(format!("?rdkafka.{name} cannot be set: wsp sets it so that no message is lost")));
        }
        let settings = Self {
            servers: address.servers.join(","),
            topic: address.name.clone(),
            publish: address.take("publish"),
            group,
            start,
            create: create(&mut address).map_err(&wrong)?,
            key: address.take("key"),
            headers: address.take_switch("headers")?.unwrap_or(true),
            compression: address.take("compression"),
            connect_timeout,
            security,
            more,
            shown: shown.clone(),
        };
        match address.left_over() {
            Some(unknown) => Err(wrong(format!("unknown parameter ?{unknown}; use {PARAMETERS}"))),
            None => Ok(settings),
        }
    }

    pub(crate) fn target(&self) -> &str {
        self.publish.as_deref().unwrap_or(&self.topic)
    }

    fn common(&self) -> Properties {
        let mut properties = vec![
            pair("bootstrap.servers", &self.servers),
            pair("client.id", "wsp"),
            pair("socket.connection.setup.timeout.ms", self.connect_timeout.as_millis().clamp(1000, 900_000)),
            pair("reconnect.backoff.max.ms", 2000),
            pair("socket.nagle.disable", true),
        ];
        properties.extend(self.security.iter().cloned());
        properties
    }

    /// Properties of a producer: nothing twice, nothing out of order, nothing forgotten.
    pub(crate) fn producer(&self, producing: Producing) -> Properties {
        let mut properties = self.common();
        properties.extend([
            pair("enable.idempotence", true),
            pair("acks", "all"),
            // How long to try is decided outside, where a message can still be given to somebody else.
            pair("message.timeout.ms", 0),
            // A key belongs to the same partition as for clients in Java.
            pair("partitioner", "murmur2_random"),
            pair("linger.ms", producing.linger.map_or(5, |linger| linger.as_millis().min(900_000))),
            pair("queue.buffering.max.messages", 200_000),
        ]);
        properties.extend(producing.messages.map(|count| pair("batch.num.messages", count)));
        // A batch that is too large would be refused as a whole, and overtaken by those behind it.
        let small = producing.limit.filter(|limit| limit < USUAL_LIMIT.start());
        let bytes = producing.bytes.into_iter().chain(small).min();
        properties.extend(bytes.map(|bytes| pair("batch.size", bytes)));
        let large = producing.limit.filter(|limit| limit > USUAL_LIMIT.end());
        properties.extend(large.map(|limit| pair("message.max.bytes", limit.min(1_000_000_000))));
        properties.extend(self.compression.as_ref().map(|kind| pair("compression.type", kind)));
        properties.extend(self.more.iter().filter(|(name, _)| !is_of_consumers(name)).cloned());
        properties
    }

    /// Properties of a consumer: its position is what was settled, never what was merely read.
    pub(crate) fn consumer(&self) -> Properties {
        let mut properties = self.common();
        let group = self.group.clone().unwrap_or_else(|| format!("wsp-{}", run_name()));
        let reset = if self.start == Start::Earliest { "earliest" } else { "latest" };
        properties.extend([
            pair("group.id", group),
            pair("session.timeout.ms", 10_000),
            pair("heartbeat.interval.ms", 3000),
            pair("auto.offset.reset", reset),
            pair("auto.commit.interval.ms", 500),
            pair("fetch.wait.max.ms", 100),
            // With plenty at hand it asks for no more, and looks again so soon that it never runs dry.
            pair("fetch.queue.backoff.ms", 10),
            // What is fetched ahead takes as much again as its payloads.
            pair("queued.min.messages", 20_000),
            pair("queued.max.messages.kbytes", 16_384),
        ]);
        properties.extend(self.more.iter().filter(|(name, _)| !is_of_producers(name)).cloned());
        properties.push(pair("enable.auto.offset.store", false));
        properties.push(pair("enable.auto.commit", self.group.is_some()));
        properties
    }
}

/// Reads `?create` or `?create=PARTITIONS`.
fn create(address: &mut Address) -> Result<Option<i32>, String> {
    match address.take("create").as_deref() {
        None | Some("false" | "no") => Ok(None),
        Some("" | "true" | "yes") => Ok(Some(-1)),
        Some(text) => match text.parse() {
            Ok(count @ 1..) => Ok(Some(count)),
            _ => Err(format!("invalid ?create={text}; use ?create or ?create=PARTITIONS")),
        },
    }
}

/// One address may be both sides; each takes what it knows.
fn is_of_producers(name: &str) -> bool {
    ["linger.", "batch.", "compression.", "message.timeout", "partitioner", "queue.buffering", "acks", "enable.idem"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

fn is_of_consumers(name: &str) -> bool {
    ["fetch.", "session.", "heartbeat.", "auto.", "group.", "max.poll", "partition.assignment", "isolation."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

#[allow(clippy::needless_pass_by_value)] // A value is a number, a flag or borrowed text.
fn pair(name: &str, value: impl ToString) -> (String, String) {
    (name.to_owned(), value.to_string())
}

fn security(
    address: &mut Address,
    trust: &ClientTls,
    secret: &impl Fn(&str, bool) -> Result<String, String>,
) -> Result<Properties, String> {
    let tls = address.take_switch("tls").map_err(|error| error.0)?.unwrap_or(false);
    let password = address.take_secret("password", secret)?;
    let user = match (address.take("user"), address.user.take()) {
        (Some(user), _) => Some((user, password)),
        (None, Some((user, in_url))) => Some((user, password.or(in_url))),
        (None, None) => None,
    };
    let mechanism = address.take("sasl");
    let mut properties = Properties::new();
    if let Some((user, password)) = &user {
        let mechanism = mechanism.as_deref().unwrap_or("plain").to_ascii_uppercase();
        if !["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"].contains(&mechanism.as_str()) {
            return Err(format!("unknown mechanism ?sasl={mechanism}; use plain, scram-sha-256 or scram-sha-512"));
        }
        let password = password.as_deref().ok_or("?user requires a password; use ?password-env=VAR")?;
        properties.extend([
            pair("sasl.mechanism", mechanism),
            pair("sasl.username", user),
            pair("sasl.password", password),
        ]);
    } else if mechanism.is_some() {
        return Err("?sasl requires ?user and ?password-env".to_owned());
    }
    let protocol = match (tls, user.is_some()) {
        (false, false) => "plaintext",
        (true, false) => "ssl",
        (false, true) => "sasl_plaintext",
        (true, true) => "sasl_ssl",
    };
    properties.push(pair("security.protocol", protocol));
    if tls {
        properties.extend(tls_properties(trust)?);
    }
    Ok(properties)
}

/// The one set of TLS settings as librdkafka wants it.
fn tls_properties(trust: &ClientTls) -> Result<Properties, String> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| "the certificate is not PEM".to_owned());
    let mut properties = Properties::new();
    if trust.min == TlsVersion::V1_3 {
        return Err("--tls-min 1.3 is not supported for Kafka; set ssl.enabled.protocols on the broker".to_owned());
    }
    if trust.insecure {
        properties.push(pair("enable.ssl.certificate.verification", false));
        properties.push(pair("ssl.endpoint.identification.algorithm", "none"));
    }
    if let Some(path) = &trust.ca_file {
        if let Err(error) = std::fs::File::open(path) {
            return Err(format!("--cacert {}: {}", path.display(), crate::message::io_text::io_text(&error)));
        }
        let authorities = trust.authorities().map_err(|error| error.to_string())?;
        properties.push(pair("ssl.ca.pem", text(authorities.unwrap_or_default())?));
    }
    if let Some(pem) = trust.identity().map_err(|error| error.to_string())? {
        properties.push(pair("ssl.certificate.pem", text(pem.chain)?));
        properties.push(pair("ssl.key.pem", text(pem.key)?));
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<KafkaSettings, AddressError> {
        let secret =
            |name: &str, _| (name == "VAR").then(|| "from-env".to_owned()).ok_or_else(|| format!("{name} is not set"));
        let connect_timeout = Duration::from_secs(10);
        KafkaSettings::parse(text, &ClientTls::default(), connect_timeout, secret, |_| None)
    }

    fn property<'a>(properties: &'a Properties, name: &str) -> Option<&'a str> {
        properties.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn says_who_we_are_and_how_it_is_secured() {
        let table = [
            ("kafka://h/t", "plaintext", None),
            ("kafka://h/t?tls", "ssl", None),
            ("kafka://ann:pass@h/t", "sasl_plaintext", Some(("PLAIN", "ann", "pass"))),
            ("kafka://h/t?tls&user=ann&password-env=VAR", "sasl_ssl", Some(("PLAIN", "ann", "from-env"))),
            (
                "kafka://ann@h/t?password-env=VAR&sasl=scram-sha-512",
                "sasl_plaintext",
                Some(("SCRAM-SHA-512", "ann", "from-env")),
            ),
        ];
        for (text, protocol, sasl) in table {
            let settings = parse(text).expect(text);
            for properties in [settings.producer(Producing::default()), settings.consumer()] {
                assert_eq!(property(&properties, "security.protocol"), Some(protocol), "{text}");
                let words =
                    ["sasl.mechanism", "sasl.username", "sasl.password"].map(|name| property(&properties, name));
                assert_eq!(words, sasl.map_or([None; 3], |(a, b, c)| [Some(a), Some(b), Some(c)]), "{text}");
            }
            assert!(!format!("{settings:?}").contains("pass"), "{settings:?}");
        }
    }

    #[test]
    fn what_keeps_messages_cannot_be_unset_and_the_rest_can() {
        let settings = parse("kafka://h/t?group=g&compression=lz4&rdkafka.linger.ms=7&rdkafka.fetch.wait.max.ms=9");
        let settings = settings.expect("settings");
        let (producer, consumer) = (settings.producer(Producing::default()), settings.consumer());
        assert_eq!(property(&producer, "linger.ms"), Some("7"));
        assert_eq!(property(&producer, "compression.type"), Some("lz4"));
        assert_eq!(property(&producer, "enable.idempotence"), Some("true"));
        assert_eq!(property(&producer, "fetch.wait.max.ms"), None);
        assert_eq!(property(&consumer, "fetch.wait.max.ms"), Some("9"));
        assert_eq!(property(&consumer, "linger.ms"), None);
        assert_eq!(property(&consumer, "group.id"), Some("g"));
        assert_eq!(property(&consumer, "session.timeout.ms"), Some("10000"));
        assert_eq!(property(&consumer, "enable.auto.offset.store"), Some("false"));
        // Without a group nothing is remembered, and two see the same.
        let (one, other) = (parse("kafka://h/t").expect("settings"), parse("kafka://h/t").expect("settings"));
        assert_eq!(property(&one.consumer(), "enable.auto.commit"), Some("false"));
        assert_eq!(property(&one.consumer(), "auto.offset.reset"), Some("latest"));
        assert_ne!(property(&one.consumer(), "group.id"), property(&other.consumer(), "group.id"));
    }

    #[test]
    fn batches_are_as_large_as_the_topic_takes_them() {
        let settings = parse("kafka://h/t").expect("settings");
        let table = [
            (None, None, None, None),
            (None, Some(1_048_588), None, None),
            (Some(5000), Some(1_048_588), Some("5000"), None),
            (None, Some(2000), Some("2000"), None),
            (Some(5000), Some(2000), Some("2000"), None),
            (Some(500), Some(2000), Some("500"), None),
            (None, Some(10_000_000), None, Some("10000000")),
        ];
        for (bytes, limit, size, largest) in table {
            let mut producing = Producing { bytes, ..Producing::default() };
            assert_eq!(producing.learn(limit), limit.is_some_and(|limit| limit != 1_048_588));
            let properties = settings.producer(producing);
            let said = (property(&properties, "batch.size"), property(&properties, "message.max.bytes"));
            assert_eq!(said, (size, largest), "{bytes:?} {limit:?}");
        }
    }

    #[test]
    fn refuses_what_is_not_known() {
        for (text, word) in [
            ("kafka://h/", "no topic"),
            ("kafka://h/t?grp=g", "?grp"),
            ("kafka://h/t?sasl=plain", "?user"),
            ("kafka://h/t?user=u", "password"),
            ("kafka://h/t?user=u&password=p&sasl=magic", "MAGIC"),
            ("kafka://h/t?user=u&password-env=NO", "NO"),
            ("kafka://h/t?start=soon", "start"),
            ("kafka://h/t?rdkafka.enable.auto.commit=true", "enable.auto.commit"),
        ] {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
