//! Whether Kafka brokers can be reached and know a topic, and what librdkafka tells of its connections.
//!
//! librdkafka has threads of its own and connects again by itself; here its words become problems of an end. Invariant:
//! the code that waits for news is woken by them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode as Code};
use rdkafka::metadata::Metadata;
use tokio::sync::oneshot;

use super::{KafkaSettings, Producing, Properties};
use crate::broker::address::AddressError;
use crate::broker::{again, refused};
use crate::exit::Exit;
use crate::queue::end::{EndError, Problem};
use crate::redact;

/// How long one question may take.
const QUESTION: Duration = Duration::from_millis(500);
/// How long a broker may take to create a topic automatically.
const NEW_TOPIC: Duration = Duration::from_secs(2);
/// How long brokers may need to know a topic that was made.
const MADE_TOPIC: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(crate) struct News {
    /// Woken by whatever happens.
    pub waker: AtomicWaker,
    is_down: AtomicBool,
    said: Mutex<Said>,
}

#[derive(Default)]
struct Said {
    /// The last words about a connection.
    reason: String,
    /// What no other try will change.
    final_word: Option<(Code, String)>,
}

impl News {
    /// An error of a connection, or of the client as a whole.
    pub(crate) fn error(&self, error: &KafkaError, reason: &str) {
        let Some(code) = error.rdkafka_error_code() else { return };
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match code {
            Code::AllBrokersDown => self.is_down.store(true, Ordering::Release),
            Code::Authentication
            | Code::SSL
            | Code::SaslAuthenticationFailed
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::UnsupportedSASLMechanism
            | Code::Fatal => {
                said.final_word.get_or_insert_with(|| (code, shorten(reason)));
            }
            _ => said.reason = shorten(reason),
        }
        drop(said);
        self.waker.wake();
    }

    /// No broker can be reached. Forgotten once it is told.
    pub(crate) fn take_down(&self) -> Option<Problem> {
        self.is_down.swap(false, Ordering::AcqRel).then(|| again(self.reason()))
    }

    /// What no other try will change.
    pub(crate) fn take_final(&self, settings: &KafkaSettings) -> Option<Problem> {
        let (code, reason) = self.said.lock().unwrap_or_else(PoisonError::into_inner).final_word.take()?;
        Some(final_problem(settings, code, &reason))
    }

    fn reason(&self) -> String {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.reason.is_empty() { "cannot reach any broker".to_owned() } else { said.reason.clone() }
    }
}

pub(crate) fn config(properties: &Properties) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in properties {
        config.set(name, value);
    }
    config
}

/// Whether librdkafka knows these properties and takes their values.
///
/// # Errors
/// Which it does not.
pub(crate) fn verify(settings: &KafkaSettings, properties: &Properties) -> Result<(), AddressError> {
    config(properties).create_native_config().map(|_| ()).map_err(|error| {
        let text = match &error {
            KafkaError::ClientConfig(_, what, name, value) => {
                let is_secret = name.contains("pem") || redact::is_secret_name(name);
                let value = if is_secret { redact::REDACTED } else { value };
                format!("rdkafka.{name}={value}: {}", what.trim())
            }
            other => other.to_string(),
        };
        AddressError(format!("{}: {text}", settings.shown))
    })
}

/// Why a client could not be made: certificates are read then.
pub(crate) fn config_problem(settings: &KafkaSettings, error: &KafkaError) -> Problem {
    let text = shorten(&error.to_string());
    let exit = if text.contains("ssl") || text.contains("SSL") { Exit::Tls } else { Exit::Usage };
    Problem::Broken(
        EndError::new(exit, format!("{}: {text}", settings.shown))
            .hint("see librdkafka's CONFIGURATION.md for its properties"),
    )
}

enum Lack {
    Topic,
    Other(Problem),
}

/// Waits until brokers answer and know the topic, which is made where that was asked for.
///
/// # Errors
/// Nobody answers, nobody knows the topic, or nobody wants us.
pub(crate) async fn check(
    settings: &KafkaSettings,
    topic: &str,
    news: &Arc<News>,
    ask: impl Fn(&str, Duration) -> KafkaResult<Metadata> + Clone + Send + 'static,
) -> Result<(), Problem> {
    let patience = if settings.create.is_some() { Duration::ZERO } else { NEW_TOPIC };
    let missing = || again(format!("topic {topic} does not exist yet; use ?create to create it"));
    match question(settings, topic, news, patience, ask.clone()).await {
        Ok(()) => return Ok(()),
        Err(Lack::Other(problem)) => return Err(problem),
        Err(Lack::Topic) => {}
    }
    let Some(partitions) = settings.create else { return Err(missing()) };
    create(settings, topic, partitions).await?;
    match question(settings, topic, news, MADE_TOPIC, ask).await {
        Ok(()) => Ok(()),
        Err(Lack::Other(problem)) => Err(problem),
        Err(Lack::Topic) => Err(missing()),
    }
}

/// Makes a topic, unless somebody else has.
async fn create(settings: &KafkaSettings, topic: &str, partitions: i32) -> Result<(), Problem> {
    let made: KafkaResult<AdminClient<DefaultClientContext>> =
        config(&settings.producer(Producing::default())).create();
    let client = made.map_err(|error| config_problem(settings, &error))?;
    let new = [NewTopic::new(topic, partitions, TopicReplication::Fixed(-1))];
    let options = AdminOptions::new().operation_timeout(Some(QUESTION * 4)).request_timeout(Some(QUESTION * 10));
    let answer = client.create_topics(&new, &options).await;
    // It waits for its own threads.
    let _ = thread::Builder::new().name("kafka".to_owned()).spawn(move || drop(client));
    match answer.map(|mut results| results.pop()) {
        Ok(None | Some(Ok(_) | Err((_, Code::TopicAlreadyExists)))) => Ok(()),
        Ok(Some(Err((_, code @ (Code::RequestTimedOut | Code::NotController))))) => Err(again(code.to_string())),
        Ok(Some(Err((_, code)))) => {
            Err(Problem::Broken(refused(&settings.shown, &format!("cannot create topic {topic}: {code}"))))
        }
        Err(error) => Err(again(error.to_string())),
    }
}

/// Asks on a thread, because the question blocks.
async fn question(
    settings: &KafkaSettings,
    topic: &str,
    news: &Arc<News>,
    patience: Duration,
    ask: impl Fn(&str, Duration) -> KafkaResult<Metadata> + Send + 'static,
) -> Result<(), Lack> {
    let (tell, told) = oneshot::channel();
    let (of_thread, settings, topic) = (Arc::clone(news), settings.clone(), topic.to_owned());
    let question = move || {
        let _ = tell.send(ask_until_known(&settings, &topic, &of_thread, patience, ask));
    };
    let spawned = thread::Builder::new().name("kafka".to_owned()).spawn(question);
    spawned.map_err(|_| Lack::Other(again("cannot start a thread")))?;
    told.await.unwrap_or_else(|_| Err(Lack::Other(again("the query ended without an answer"))))
}

fn ask_until_known(
    settings: &KafkaSettings,
    topic: &str,
    news: &News,
    patience: Duration,
    ask: impl Fn(&str, Duration) -> KafkaResult<Metadata>,
) -> Result<(), Lack> {
    let began = Instant::now();
    let mut unknown_since = None;
    loop {
        let answer = ask(topic, QUESTION);
        if let Some(problem) = news.take_final(settings) {
            return Err(Lack::Other(problem));
        }
        let code = match &answer {
            Ok(metadata) => {
                news.is_down.store(false, Ordering::Release);
                let found = metadata.topics().iter().find(|known| known.name() == topic);
                match found.and_then(rdkafka::metadata::MetadataTopic::error).map(Code::from) {
                    None if found.is_some_and(|known| !known.partitions().is_empty()) => return Ok(()),
                    None => Code::UnknownTopicOrPartition,
                    Some(code) => code,
                }
            }
            Err(error) => error.rdkafka_error_code().unwrap_or(Code::Fail),
        };
        match code {
            Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::LeaderNotAvailable => {
                let since = *unknown_since.get_or_insert_with(Instant::now);
                if since.elapsed() > patience {
                    return Err(Lack::Topic);
                }
                thread::sleep(Duration::from_millis(50));
            }
            Code::InvalidTopic | Code::TopicAuthorizationFailed | Code::SaslAuthenticationFailed => {
                return Err(Lack::Other(final_problem(settings, code, topic)));
            }
            _ => {
                if let Some(problem) = news.take_down() {
                    return Err(Lack::Other(problem));
                }
                if began.elapsed() > settings.connect_timeout {
                    return Err(Lack::Other(again(news.reason())));
                }
            }
        }
    }
}

/// The largest batch a topic takes, in bytes, where the broker may tell: not everybody is allowed to ask.
pub(crate) async fn size_limit(properties: &Properties, topic: &str) -> Option<usize> {
    let client: AdminClient<DefaultClientContext> = config(properties).create().ok()?;
    let resource = [ResourceSpecifier::Topic(topic)];
    let options = AdminOptions::new().request_timeout(Some(QUESTION * 4));
    let answer = tokio::time::timeout(QUESTION * 5, client.describe_configs(&resource, &options)).await;
    // It waits for its own threads.
    let _ = thread::Builder::new().name("kafka".to_owned()).spawn(move || drop(client));
    let found = answer.ok()?.ok()?.pop()?.ok()?;
    found.get("max.message.bytes")?.value.as_ref()?.parse().ok()
}

/// A problem that no other try will change.
pub(crate) fn final_problem(settings: &KafkaSettings, code: Code, reason: &str) -> Problem {
    let shown = &settings.shown;
    Problem::Broken(match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition => {
            let error = refused(shown, &format!("topic {reason} does not exist"));
            error.hint("use ?create to create it")
        }
        Code::InvalidTopic => refused(shown, &format!("invalid topic name {reason}")),
        Code::SSL => EndError::new(Exit::Tls, format!("{shown}: TLS: {reason}"))
            .hint("--cacert FILE trusts its issuer, -k accepts any certificate, --cert and --key show one"),
        Code::Authentication | Code::SaslAuthenticationFailed | Code::UnsupportedSASLMechanism => {
            refused(shown, &format!("the broker refused the credentials: {reason}"))
                .hint("?user=U&password-env=VAR&sasl=plain|scram-sha-256|scram-sha-512 gives credentials")
        }
        Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            refused(shown, &format!("not allowed: {reason}")).hint("check the broker's access control lists")
        }
        _ => refused(shown, reason),
    })
}

/// Leaves out what a person has no use for: times in states, names of addresses.
fn shorten(reason: &str) -> String {
    let reason = reason.split(" (after ").next().unwrap_or(reason);
    let mut seen = BTreeSet::new();
    let parts = reason.split(": ").filter(|part| seen.insert(*part) && !part.starts_with("sasl_"));
    parts.collect::<Vec<_>>().join(": ").replace("/bootstrap", "").replace("ssl://", "").replace("ipv4#", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_librdkafka_says_is_shortened() {
        let long = "127.0.0.1:9/bootstrap: Connect to ipv4#127.0.0.1:9 failed: Connection refused (after 0ms in \
        state CONNECT, 1 identical error(s) suppressed)";
        assert_eq!(shorten(long), "127.0.0.1:9: Connect to 127.0.0.1:9 failed: Connection refused");
    }
}
