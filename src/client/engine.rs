//! The life of a client session: connect, drive the connection to its end, ask the policy, wait, and connect again.
//!
//! Owns that loop and the record of outages. Leaves what messages mean, and how others are told what happens, to the
//! session's [`Client`]. Invariant: for each connection that opens, the client is notified of its end before the next
//! attempt.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::outage::{Missed, Outages, seconds};
use crate::error::{Error, end_exit};
use crate::exit::Exit;
use crate::net::connection::Connection;
use crate::net::connector::{ConnectError, Connector, Handshake};
use crate::session::driver::DriverSettings;
use crate::session::reconnect::{Attempt, Decision, ReconnectPolicy, ReconnectSettings, cause};
use crate::session::{Driver, End, Peer};

/// A client session as its engine sees it.
pub(crate) trait Client: Peer {
    /// Ready when no further connection is needed; asked while one is being opened.
    fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// Ready when the delay before the next attempt is to be cut short.
    fn poll_waited(&self, cx: &mut Context<'_>) -> Poll<Waited>;

    /// An attempt to connect begins.
    fn on_connecting(&mut self);

    /// A connection has opened: everything begins again on it.
    fn on_open(&mut self, handshake: Handshake);

    /// The connection that lived for this long has ended: what is to follow.
    fn after(&mut self, end: &End, lived: Duration) -> Next;

    /// It is decided whether another connection follows the one that has ended; `is_last` when none does.
    fn on_end(&mut self, _end: &End, _is_last: bool) {}

    /// A connection could not be opened, or was lost.
    fn on_failure(&mut self, error: &Error);

    /// Another attempt follows after this time.
    fn on_retry(&mut self, attempt: u32, delay: Duration, error: &Error);

    /// Returns what an outage that is over means for it.
    fn missed(&self) -> Missed;

    /// Returns how many messages wait to be sent.
    fn waiting(&self) -> usize;

    /// Returns what a loss left behind, in words; asked once for each retry.
    fn left_behind(&mut self) -> String {
        String::new()
    }

    /// Says something about the session.
    fn notice(&self, text: &str);
}

/// What follows the end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Nothing: everything is done, or the run ends.
    Over,
    /// Another connection, at once.
    Again,
    /// What the policy says to this.
    Ask(Attempt),
}

/// How the delay before an attempt is cut short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waited {
    /// There will be no attempt.
    Over,
    /// The attempt is made now.
    Enough,
}

/// Why a session is not connected any more.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// No further connection is needed, or the last has ended in order; with how that was, where there was one.
    Over(Option<End>),
    /// It failed, and another attempt would not help or was not asked for.
    Failed(Error),
    /// Enough attempts in a row failed.
    Spent {
        /// The last failure.
        error: Error,
        /// Retries that were made.
        retries: u32,
    },
}

/// Keeps one session connected.
pub(crate) struct Engine {
    connector: Connector,
    driver: DriverSettings,
    reconnect: ReconnectSettings,
    outages: Outages,
}

impl Engine {
    /// An engine that connects with `connector`.
    pub(crate) fn new(connector: Connector, driver: DriverSettings, reconnect: ReconnectSettings) -> Self {
        Self { connector, driver, reconnect, outages: Outages::default() }
    }

    /// Returns the line about outages for the end of the run, where there is something to say.
    pub(crate) fn summary(&self) -> Option<String> {
        self.outages.summary()
    }

    /// Connects as often as the client wishes and the policy allows.
    pub(crate) async fn run(&mut self, client: &mut impl Client) -> Outcome {
        let url = self.connector.target().to_string();
        let mut policy = ReconnectPolicy::new(self.reconnect.clone());
        loop {
            client.on_connecting();
            let Some(connected) = self.connect(client).await else { return Outcome::Over(None) };
            let (error, decision) = match connected {
                Ok((mut connection, handshake)) => {
                    client.on_open(handshake);
                    if let Some(outage) = self.outages.over(Instant::now()) {
                        client.notice(&format!("{url}: {}", outage.told(client.missed(), client.waiting())));
                    }
                    let opened = Instant::now();
                    let end = Driver::new(&mut connection, &mut *client, self.driver).run().await;
                    let next = client.after(&end, opened.elapsed());
                    let decision = match next {
                        Next::Over => Decision::End,
                        Next::Again => {
                            client.on_end(&end, false);
                            policy.succeeded();
                            continue;
                        }
                        Next::Ask(attempt) => policy.next(attempt, fastrand::f64()),
                    };
                    client.on_end(&end, decision == Decision::End);
                    if next == Next::Over || (decision == Decision::End && end_exit(&end) == Exit::Done) {
                        return Outcome::Over(Some(end));
                    }
                    self.outages.lost(Instant::now());
                    (Error::Ended { url: url.clone(), end }, decision)
                }
                Err(cause) => {
                    let retry_after =
                        if let ConnectError::Refused(refusal) = &cause { refusal.retry_after() } else { None };
                    let attempt = Attempt::Failed { cause: cause::of_connect(&cause), retry_after };
                    (Error::Connect { url: url.clone(), cause }, policy.next(attempt, fastrand::f64()))
                }
            };
            client.on_failure(&error);
            let (attempt, delay) = match decision {
                Decision::Retry { attempt, delay } => (attempt, delay),
                Decision::End => return Outcome::Failed(error),
                Decision::Spent { retries } => return Outcome::Spent { error, retries },
            };
            self.outages.retried();
            let (left, hint) = (client.left_behind(), error.hint_of_retry(attempt));
            client.notice(&format!("{error}; reconnecting in {} (retry {attempt}){left}{hint}", seconds(delay)));
            client.on_retry(attempt, delay, &error);
            if wait(client, delay).await == Waited::Over {
                return Outcome::Over(None);
            }
        }
    }

    /// Connects once; `None` when no further connection is needed.
    async fn connect(&self, client: &impl Client) -> Option<Result<(Connection, Handshake), ConnectError>> {
        let mut connecting = pin!(self.connector.connect());
        poll_fn(|cx| match client.poll_over(cx) {
            Poll::Ready(()) => Poll::Ready(None),
            Poll::Pending => connecting.as_mut().poll(cx).map(Some),
        })
        .await
    }
}

/// Waits before an attempt.
async fn wait(client: &impl Client, delay: Duration) -> Waited {
    let mut delay = pin!(sleep(delay));
    poll_fn(|cx| match client.poll_waited(cx) {
        Poll::Ready(waited) => Poll::Ready(waited),
        Poll::Pending => delay.as_mut().poll(cx).map(|()| Waited::Enough),
    })
    .await
}
