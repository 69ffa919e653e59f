//! How a session of a run comes and goes, and how that is told: as events, on stderr, in what is known of the session.

use std::task::{Context, Poll};
use std::time::Duration;

use super::engine::{Client, Engine, Next, Outcome, Waited};
use super::outage::{self, Missed};
use super::peer::ClientPeer;
use super::{events, verbose};
use crate::error::{Error, end_exit, end_text};
use crate::exit::Exit;
use crate::message::counted::counted;
use crate::message::event::{Direction, EventBody};
use crate::message::render;
use crate::net::connection::ConnectionError;
use crate::net::connector::{ConnectError, Handshake};
use crate::observe::control::SessionState;
use crate::session::End;
use crate::session::reconnect::{Attempt, cause};

/// Bytes of a refused answer's body that are shown.
const BODY_SHOWN: usize = 1024;

/// Runs a session to its end; at a dashboard it can be connected again. Returns the code it ends with.
pub(super) async fn session(mut engine: Engine, mut peer: ClientPeer) -> Exit {
    let exit = loop {
        let outcome = engine.run(&mut peer).await;
        let exit = peer.exit(outcome);
        peer.info.left(SessionState::Closed);
        if !peer.shared.plan.dashboard || !peer.is_wanted_again().await {
            break exit;
        }
    };
    if let Some(summary) = engine.summary() {
        peer.shared.notice_of(&peer.info.id, &format!("{}: {summary}", peer.info.url));
    }
    exit
}

impl Client for ClientPeer {
    fn poll_over(&self, _cx: &mut Context<'_>) -> Poll<()> {
        // Code that asks for the end has all sessions looked at again.
        if self.shared.stopping().is_some() || self.info.given_up.take() { Poll::Ready(()) } else { Poll::Pending }
    }

    fn poll_waited(&self, cx: &mut Context<'_>) -> Poll<Waited> {
        if self.poll_over(cx).is_ready() {
            return Poll::Ready(Waited::Over);
        }
        if self.info.again.take() { Poll::Ready(Waited::Enough) } else { Poll::Pending }
    }

    fn on_connecting(&mut self) {
        self.info.retry_at.set(None);
        self.info.left(SessionState::Connecting);
    }

    fn on_open(&mut self, handshake: Handshake) {
        self.announce(&handshake);
        self.info.opened(handshake);
        self.begin_again();
        self.shared.changed.set(true);
    }

    fn after(&mut self, end: &End, lived: Duration) -> Next {
        let is_stopping = self.shared.stopping().is_some();
        if self.info.again.take() && !is_stopping {
            return Next::Again;
        }
        if is_stopping || self.is_hung_up_on(end) {
            return Next::Over;
        }
        Next::Ask(Attempt::Ended { lived, cause: cause::of_end(end) })
    }

    fn on_end(&mut self, end: &End, is_last: bool) {
        self.report_end(end, is_last);
        if is_last && self.is_hung_up_on(end) && self.shared.plan.verbose {
            let told = "* the peer dropped the connection instead of answering the close frame";
            self.shared.notice_of(&self.info.id, told);
        }
    }

    fn on_failure(&mut self, error: &Error) {
        if error.exit() != Exit::Done {
            self.shared.event(&self.info.id, None, EventBody::Error { error: error.to_string() });
        }
    }

    fn on_retry(&mut self, attempt: u32, delay: Duration, error: &Error) {
        let (shared, info) = (&self.shared, &self.info);
        info.retries(attempt, delay);
        shared.changed.set(true);
        shared.counters.reconnect_attempts.one();
        shared.event(&info.id, None, events::retry(attempt, delay, error.cause()));
        shared.output.borrow_mut().flush();
    }

    fn missed(&self) -> Missed {
        if self.opening.resumes() { Missed::Resumed } else { Missed::All }
    }

    fn waiting(&self) -> usize {
        self.inbox.borrow().len()
    }

    fn left_behind(&mut self) -> String {
        outage::left_behind(self.waiting(), std::mem::take(&mut self.replies_due))
    }

    fn notice(&self, text: &str) {
        self.shared.notice_of(&self.info.id, &format!("wsp: {text}"));
    }
}

impl ClientPeer {
    /// At a dashboard a session that has ended waits for a request to reconnect; false when the run
    /// ends first.
    async fn is_wanted_again(&self) -> bool {
        self.info.given_up.set(false);
        std::future::poll_fn(|_| match self.shared.stopping() {
            Some(_) => Poll::Ready(false),
            None if self.info.again.take() => Poll::Ready(true),
            None => Poll::Pending,
        })
        .await
    }

    /// Says why the session is over, where that is an error, and returns the code for it.
    fn exit(&self, outcome: Outcome) -> Exit {
        match outcome {
            Outcome::Over(None) => Exit::Done,
            Outcome::Over(Some(_)) if self.shared.expects_in_vain() && self.shared.stopping().is_none() => {
                Exit::Expectation
            }
            Outcome::Over(Some(end)) if self.is_hung_up_on(&end) => Exit::Done,
            Outcome::Over(Some(end)) => end_exit(&end),
            Outcome::Failed(error) => {
                self.report(&error);
                error.exit()
            }
            Outcome::Spent { error, retries } => {
                self.report(&error);
                let spent = Error::RetriesSpent { url: self.info.url.clone(), attempts: retries };
                self.shared.line_of(&self.info.id, &format!("wsp: {spent}"));
                Exit::Lost
            }
        }
    }

    /// Whether the peer dropped the connection when all that was asked for was done: it may hang up as it likes then.
    fn is_hung_up_on(&self, end: &End) -> bool {
        let is_done = self.closing || self.shared.stopping() == Some(Exit::Done);
        is_done && matches!(end, End::Failed(ConnectionError::Lost(_)))
    }

    fn announce(&self, handshake: &Handshake) {
        let (shared, id) = (&self.shared, &self.info.id);
        if shared.plan.verbose {
            verbose::show(shared, id, handshake);
        } else if shared.plan.interactive && !shared.plan.dashboard {
            shared.notice_of(id, &format!("connected to {} (Ctrl-D ends)", handshake.url));
        }
        shared.opened(id, events::opened(handshake), handshake);
    }

    /// Says how a connection ended, where it is not an error that is reported anyway; `is_last` when there will be no
    /// other.
    fn report_end(&self, end: &End, is_last: bool) {
        let (shared, info) = (&self.shared, &self.info);
        if let End::Closed { close, by_us } = end {
            shared.event(&info.id, Some(Direction::In), events::closing(close));
            let is_over = is_last && !by_us && close.is_normal();
            if is_over && shared.plan.expect.is_none() {
                shared.notice_of(&info.id, &format!("{}: {}", info.url, end_text(end)));
            }
            let waiting = self.waiting();
            // Somebody at the dashboard may connect it again.
            if is_over && waiting > 0 && !shared.plan.dashboard {
                let lost = counted(waiting, "piece");
                shared.line_of(&info.id, &format!("wsp: {}: {lost} of input could not be sent", info.url));
            }
        } else if !matches!(end, End::Failed(ConnectionError::Protocol(_))) {
            shared.event(&info.id, None, events::lost(end));
        }
        if shared.plan.verbose
            && let Some(time) = info.round_trip.get()
        {
            shared.notice_of(&info.id, &format!("* last round trip {}", verbose::milliseconds(time)));
        }
    }

    /// An error is one line: what failed, on what, why; and a hint.
    fn report(&self, error: &Error) {
        let (shared, id) = (&self.shared, &self.info.id);
        if shared.plan.verbose
            && let Error::Connect { cause, .. } = error
        {
            verbose::show_failure(shared, id, cause);
        }
        let mut lines = vec![shared.name_in(id, &format!("wsp: {error}"))];
        if let Error::Connect { cause: ConnectError::Refused(refusal), .. } = error {
            let shown = refusal.text(BODY_SHOWN);
            if !shown.is_empty() {
                let mut safe = Vec::new();
                // Lines of a body may end as HTTP's do.
                let shown = shown.replace("\r\n", "\n");
                render::escape_for_terminal(&mut safe, shown.as_bytes());
                lines.push(shared.name_in(id, String::from_utf8_lossy(&safe).trim_end()));
            }
        }
        if let Some(hint) = error.hint() {
            lines.push(format!("hint: {hint}"));
        }
        for line in &lines {
            shared.stderr.line(line);
        }
        *self.info.failure.borrow_mut() = lines;
    }
}
