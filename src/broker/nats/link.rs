//! A connection to NATS servers, and who notices that it is gone.
//!
//! The library runs on a thread of its own and connects once: connecting again is ours, so that what was under way is
//! known and order is kept. Invariant: when a [`Link`] is dropped, its connection and all its tasks are.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Context;
use std::thread;
use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, Event, ServerAddr};
use futures_util::task::AtomicWaker;
use tokio::sync::oneshot;

use super::outbox::Outbox;
use super::{ANSWER, NatsSettings, covers};
use crate::broker::{again, refused};
use crate::exit::Exit;
use crate::message::io_text::without_number;
use crate::queue::end::{EndError, Problem};

/// What the API says when there is no such stream.
const NO_STREAM: u64 = 10059;
/// What it says when the stream has no such consumer.
const NO_CONSUMER: u64 = 10014;

#[derive(Default)]
struct Told {
    is_connected: AtomicBool,
    is_lost: AtomicBool,
    errors: Mutex<Vec<String>>,
    waker: AtomicWaker,
}

/// A connection, until it is lost.
pub(crate) struct Link {
    /// What subscribes, and publishes now and then.
    pub client: Client,
    pub outbox: Outbox,
    told: Arc<Told>,
    /// Its thread ends when this is dropped.
    _end: oneshot::Sender<()>,
}

impl Link {
    /// Connects once.
    ///
    /// # Errors
    /// Why not, and whether another try may help.
    pub(crate) async fn open(settings: &NatsSettings) -> Result<Self, Problem> {
        let told = Arc::new(Told::default());
        let (event, once) = (Arc::clone(&told), Arc::clone(&told));
        let options = settings
            .options()?
            .event_callback(move |what| {
                let told = Arc::clone(&event);
                async move { told.note(&what) }
            })
            .reconnect_delay_callback(|_| Duration::ZERO)
            // It connects once, for the library has no other way not to connect again: whether and when is the policy's to
            // say. What it would send later on is sent by the next connection, in order.
            .reconnect_to_server_callback(move |_, _| {
                let once = Arc::clone(&once);
                async move {
                    if once.is_connected.load(Ordering::Relaxed) {
                        std::future::pending::<()>().await;
                    }
                    None
                }
            });
        let servers = settings
            .servers
            .iter()
            .map(|server| format!("nats://{server}").parse::<ServerAddr>())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Problem::Broken(EndError::new(Exit::Usage, format!("{}: {error}", settings.shown))))?;
        let (opened, result) = oneshot::channel();
        let (end, ended) = oneshot::channel::<()>();
        let noted = Arc::clone(&told);
        let (outbox, carrier) = Outbox::new();
        let work = move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
            runtime.block_on(async move {
                let client = options.connect(servers).await;
                noted.is_connected.store(client.is_ok(), Ordering::Relaxed);
                if let Ok(client) = &client {
                    // A batch is to be written together.
                    tokio::spawn(tokio::task::unconstrained(carrier.carry(client.clone())));
                }
                if opened.send(client).is_ok() {
                    let _ = ended.await;
                }
            });
            runtime.shutdown_background();
        };
        let failed = |text: &str| again(text.to_owned());
        thread::Builder::new().name("nats".to_owned()).spawn(work).map_err(|_| failed("cannot start a thread"))?;
        match result.await {
            Ok(Ok(client)) => Ok(Self { client, outbox, told, _end: end }),
            Ok(Err(error)) => Err(connect_problem(settings, error.kind(), &error.to_string())),
            Err(_) => Err(failed("the connection's thread ended")),
        }
    }

    /// What has happened to it: errors of the server, and whether it is lost. Else the waker is called when something does.
    pub(crate) fn news(&self, cx: &mut Context<'_>) -> (Vec<String>, bool) {
        self.told.waker.register(cx.waker());
        let errors = self.told.errors.lock().map(|mut errors| std::mem::take(&mut *errors)).unwrap_or_default();
        (errors, self.told.is_lost.load(Ordering::Acquire))
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.told.is_lost.load(Ordering::Acquire)
    }

    /// Waits until the server has taken everything published so far.
    pub(crate) async fn settled(&self) {
        let inbox = self.client.new_inbox();
        let Ok(mut own) = self.client.subscribe(inbox.clone()).await else { return };
        if self.client.publish(inbox, bytes::Bytes::new()).await.is_err() {
            return;
        }
        let _ = tokio::time::timeout(ANSWER, futures_util::StreamExt::next(&mut own)).await;
    }

    /// What the server knows of the stream; it is made where there is none and `?create` says so.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn stream(&self, settings: &NatsSettings, name: &str) -> Result<serde_json::Value, Problem> {
        let info = match self.ask(settings, &format!("STREAM.INFO.{name}"), "").await {
            Err(Refusal::Error { code: NO_STREAM, .. }) if settings.create => {
                let mut subjects = vec![settings.subject.as_str()];
                // The server takes no two that meet.
                subjects.extend(settings.publish.as_deref().filter(|target| !covers(&settings.subject, target)));
                let config = serde_json::json!({"name": name, "subjects": subjects});
                self.ask(settings, &format!("STREAM.CREATE.{name}"), &config.to_string()).await
            }
            info => info,
        };
        info.map_err(|refusal| refusal.problem(settings, "stream"))
    }

    /// Asks the stream API.
    ///
    /// # Errors
    /// No answer, or an error of the server with its code.
    pub(crate) async fn ask(
        &self,
        settings: &NatsSettings,
        what: &str,
        body: &str,
    ) -> Result<serde_json::Value, Refusal> {
        let subject = format!("{}.{what}", settings.api());
        let request = async_nats::Request::new().payload(body.to_owned().into()).timeout(Some(ANSWER));
        let answer = self.client.send_request(subject, request).await.map_err(|error| match error.kind() {
            async_nats::RequestErrorKind::NoResponders => Refusal::NoJetStream,
            _ => Refusal::NoAnswer(error.to_string()),
        })?;
        let answer: serde_json::Value =
            serde_json::from_slice(&answer.payload).map_err(|error| Refusal::NoAnswer(error.to_string()))?;
        match answer.get("error") {
            None => Ok(answer),
            Some(error) => Err(Refusal::Error {
                code: error["err_code"].as_u64().unwrap_or_default(),
                text: error["description"].as_str().unwrap_or("an error without a description").to_owned(),
            }),
        }
    }
}

/// Why the stream API did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The server has none.
    NoJetStream,
    /// It said nothing in time, or nothing that can be read.
    NoAnswer(String),
    Error {
        code: u64,
        text: String,
    },
}

impl Refusal {
    /// Whether a consumer that was asked for is missing and may be made, and its stream where that is missing too.
    pub(crate) fn is_missing_consumer(&self, settings: &NatsSettings) -> bool {
        match self {
            Self::Error { code: NO_CONSUMER, .. } => true,
            Self::Error { code: NO_STREAM, .. } => settings.create,
            _ => false,
        }
    }

    /// What it means for an end.
    pub(crate) fn problem(self, settings: &NatsSettings, what: &str) -> Problem {
        match self {
            Self::NoJetStream => Problem::Broken(match &settings.domain {
                None => refused(&settings.shown, "the server has no JetStream, or not for this account")
                    .hint("leave ?stream out for core NATS, or start nats-server with -js"),
                Some(domain) => refused(&settings.shown, &format!("no JetStream answered in domain {domain}"))
                    .hint("leave ?domain out for the server's own streams"),
            }),
            Self::NoAnswer(text) => again(format!("{what}: {text}")),
            Self::Error { code: NO_STREAM, .. } => {
                let name = settings.stream.as_deref().unwrap_or_default();
                let error = refused(&settings.shown, &format!("stream {name} does not exist"));
                Problem::Broken(if settings.create { error } else { error.hint("use ?create to create it") })
            }
            Self::Error { text, .. } => Problem::Broken(refused(&settings.shown, &format!("{what}: {text}"))),
        }
    }
}

impl Told {
    fn note(&self, event: &Event) {
        match event {
            Event::Disconnected | Event::Closed => self.is_lost.store(true, Ordering::Release),
            Event::ServerError(error) => {
                if let Ok(mut errors) = self.errors.lock() {
                    errors.push(error.to_string());
                }
            }
            _ => return,
        }
        self.waker.wake();
    }
}

fn connect_problem(settings: &NatsSettings, kind: ConnectErrorKind, text: &str) -> Problem {
    let servers = settings.servers.join(",");
    match kind {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => Problem::Broken(
            refused(&settings.shown, "the server refused the credentials")
                .hint("?user=U&password-env=VAR, ?token-env=VAR, ?nkey=FILE or ?creds=FILE gives credentials"),
        ),
        _ if text.contains("certificate") || text.contains("alert") || kind == ConnectErrorKind::Tls => {
            Problem::Broken(
                EndError::new(Exit::Tls, format!("{}: TLS: {}", settings.shown, last_part(text)))
                    .hint("--cacert FILE trusts its issuer, -k accepts any certificate, --cert and --key show one"),
            )
        }
        ConnectErrorKind::TimedOut => again(format!("timed out connecting to {servers}")),
        _ => again(format!("cannot connect to {servers}: {}", last_part(text))),
    }
}

/// The libraries put their errors one before the other.
fn last_part(text: &str) -> &str {
    let text = text.strip_prefix("IO error: ").or_else(|| text.strip_prefix("TLS error: ")).unwrap_or(text);
    without_number(text)
}
