//! A connection to a PostgreSQL server, and what its errors mean.
//!
//! tokio-postgres speaks the protocol over a byte stream of ours. Invariant: when a [`Link`] is dropped, its connection is.

use std::cell::RefCell;
use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::config::{self, Config};
use tokio_postgres::error::DbError;
use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_postgres::{Client, Error, Statement};

use super::settings::{PostgresSettings, SslMode};
use super::value::Param;
use crate::broker::{again, refused};
use crate::net::connector::ConnectError;
use crate::net::stream::StreamConnector;
use crate::net::tls::{ClientConnector, TlsError};
use crate::net::transport::Transport;
use crate::queue::end::{LocalFuture, Problem};
use crate::session::reconnect::RetryOn;
use crate::sink::answer::unreachable;

/// How long to wait for the server to take our leave.
const LEAVING: Duration = Duration::from_secs(1);

pub(crate) struct Way {
    /// Sockets and TLS.
    pub connector: StreamConnector,
    pub ssl: SslMode,
    pub retry_on: RetryOn,
}

/// A connection, until it is lost.
pub(super) struct Link {
    client: Client,
    driver: Driver,
}

/// What moves bytes for the client.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What an error means for the row it happened to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The row is refused.
    Row(String),
    Again(String),
    /// Nothing will work until somebody changes something.
    Final(String),
}

impl Link {
    /// Connects to one server and logs in.
    ///
    /// # Errors
    /// Why not, and whether another try may help.
    pub(super) async fn open(settings: &PostgresSettings, way: &Way, server: &(String, u16)) -> Result<Self, Problem> {
        let limit = way.connector.connect_timeout;
        let opening = Self::connect(settings, way, server);
        tokio::time::timeout(limit, opening)
            .await
            .unwrap_or_else(|_| Err(again(format!("no connection to {}:{} within {limit:?}", server.0, server.1))))
    }

    async fn connect(settings: &PostgresSettings, way: &Way, (host, port): &(String, u16)) -> Result<Self, Problem> {
        let unreachable = |cause: ConnectError| unreachable(&settings.shown, cause, &way.retry_on);
        let transport = way.connector.open(host, *port).await.map_err(unreachable)?;
        let mut config = Config::new();
        config.user(&settings.user).dbname(&settings.database).application_name(&settings.application);
        config.ssl_mode(match way.ssl {
            SslMode::Disable => config::SslMode::Disable,
            SslMode::Prefer => config::SslMode::Prefer,
            SslMode::Require => config::SslMode::Require,
        });
        if let Some(password) = &settings.password {
            config.password(password);
        }
        if let Some(options) = &settings.options {
            config.options(options);
        }
        let fault = Rc::new(RefCell::new(None));
        let connector = match way.ssl {
            SslMode::Disable => None,
            _ => Some(way.connector.tls().map_err(|error| unreachable(error.into()))?.clone()),
        };
        let tls = Tls { connector, host: host.clone(), fault: Rc::clone(&fault) };
        match config.connect_raw(transport, tls).await {
            Ok((client, connection)) => {
                let driver = tokio::task::spawn_local(async move {
                    // What goes wrong is told to the code that waits for an answer.
                    let _ = connection.await;
                });
                Ok(Self { client, driver: Driver(driver) })
            }
            Err(error) => Err(match fault.take() {
                Some(fault) => unreachable(fault.into()),
                None => not_let_in(&settings.shown, &error),
            }),
        }
    }

    pub(super) fn is_lost(&self) -> bool {
        self.client.is_closed()
    }

    /// Prepares a statement.
    ///
    /// # Errors
    /// What the server says.
    pub(super) async fn prepare(&self, sql: &str) -> Result<Statement, Error> {
        self.client.prepare(sql).await
    }

    /// Runs statements that return nothing.
    ///
    /// # Errors
    /// What the server says.
    pub(super) async fn run(&self, sql: &str) -> Result<(), Error> {
        self.client.batch_execute(sql).await
    }

    /// Runs prepared statements between two others, all on their way before the first answer. Returns what became of each,
    /// those two included.
    pub(super) async fn run_all<'r>(
        &self,
        before: &str,
        rows: impl Iterator<Item = (&'r Statement, &'r [Param])>,
        after: &str,
    ) -> Vec<Result<(), Error>> {
        let row = |(statement, params): (&'r Statement, &'r [Param])| -> LocalFuture<'_, Result<(), Error>> {
            Box::pin(async move { self.client.execute_raw(statement, params).await.map(drop) })
        };
        let mut asked: Vec<Asked<'_>> = Vec::new();
        asked.push(Asked::new(Box::pin(self.run(before))));
        asked.extend(rows.map(|one| Asked::new(row(one))));
        if !after.is_empty() {
            asked.push(Asked::new(Box::pin(self.run(after))));
        }
        // A request leaves when it is first polled.
        poll_fn(|cx| {
            for one in &mut asked {
                one.poll(cx);
            }
            Poll::Ready(())
        })
        .await;
        let mut answers = Vec::with_capacity(asked.len());
        for one in asked {
            answers.push(one.answer().await);
        }
        answers
    }

    /// Takes leave of the server.
    pub(super) async fn close(self) {
        let Self { client, mut driver } = self;
        // Without it the other half says goodbye.
        drop(client);
        let _ = tokio::time::timeout(LEAVING, &mut driver.0).await;
    }
}

/// A request under way.
struct Asked<'f> {
    future: LocalFuture<'f, Result<(), Error>>,
    answer: Option<Result<(), Error>>,
}

impl<'f> Asked<'f> {
    fn new(future: LocalFuture<'f, Result<(), Error>>) -> Self {
        Self { future, answer: None }
    }

    fn poll(&mut self, cx: &mut std::task::Context<'_>) {
        if self.answer.is_none()
            && let Poll::Ready(answer) = self.future.as_mut().poll(cx)
        {
            self.answer = Some(answer);
        }
    }

    async fn answer(self) -> Result<(), Error> {
        match self.answer {
            Some(answer) => answer,
            None => self.future.await,
        }
    }
}

/// Does the handshake, and keeps what went wrong.
struct Tls {
    connector: Option<ClientConnector>,
    host: String,
    fault: Rc<RefCell<Option<TlsError>>>,
}

impl TlsConnect<Transport> for Tls {
    type Stream = Transport;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Transport, std::io::Error>>>>;

    fn connect(self, stream: Transport) -> Self::Future {
        Box::pin(async move {
            let Some(connector) = &self.connector else { return Err(std::io::ErrorKind::Unsupported.into()) };
            connector.handshake(&self.host, stream).await.map_err(|error| {
                let text = error.to_string();
                self.fault.replace(Some(error));
                std::io::Error::other(text)
            })
        })
    }
}

impl TlsStream for Transport {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// What it means that a server does not let us in.
fn not_let_in(shown: &str, error: &Error) -> Problem {
    if let Some(told) = error.as_db_error() {
        let text = words(told);
        return match told.code().code() {
            // Who we are (28…) and which database it is (3D000, or 42501 without the right to connect).
            code if code.starts_with("28") => Problem::Broken(
                refused(shown, &text).hint("put the user and password in the URL, or use ?password-env=VAR"),
            ),
            "3D000" | "42501" => Problem::Broken(refused(shown, &text)),
            _ => again(text),
        };
    }
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    match error.to_string().as_str() {
        "error performing TLS handshake" => {
            Problem::Broken(refused(shown, &cause).hint("to connect without TLS, remove the TLS flags and ?sslmode"))
        }
        "invalid configuration" | "authentication error" => Problem::Broken(
            refused(shown, &cause).hint("put the user and password in the URL, or use ?password-env=VAR"),
        ),
        _ => again(lost(error)),
    }
}

/// What an error means that is not a matter of logging in.
pub(super) fn judge(error: &Error) -> Verdict {
    let Some(told) = error.as_db_error() else { return Verdict::Again(lost(error)) };
    let text = words(told);
    match told.code().code() {
        // Connections, resources, shutdown, the system, the server itself; a standby; locks and time limits; statements
        // the server, or something before it, has forgotten or that a changed table has made void.
        code if may_pass(code) => Verdict::Again(text),
        // Rights, tables, schemas; what no row can change about a statement.
        "42501" | "42P01" | "3F000" | "42601" | "42P10" => Verdict::Final(text),
        _ => Verdict::Row(text),
    }
}

/// Whether an error with this SQLSTATE may pass.
fn may_pass(code: &str) -> bool {
    ["08", "53", "57", "58", "XX", "40"].iter().any(|class| code.starts_with(class))
        || ["25006", "55P03", "55006", "26000", "0A000"].contains(&code)
}

/// The server's own words, in one line.
fn words(error: &DbError) -> String {
    let detail = error.detail().map(|detail| format!(" ({detail})")).unwrap_or_default();
    let text = format!("{} (SQLSTATE {}){detail}", error.message(), error.code().code());
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What is said of a connection that broke.
fn lost(error: &Error) -> String {
    match error.source() {
        Some(cause) => format!("the connection was lost: {cause}"),
        None => format!("the connection was lost: {error}"),
    }
}
