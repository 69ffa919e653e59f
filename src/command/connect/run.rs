//! Runs the sessions of `connect`: input to all of them, signals, time limits, the exit code.
//!
//! One task polls everything; sessions share plain cells. Invariant: standard output has been
//! written to the end before this returns, unless a second signal came.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::ConnectArgs;
use super::peer::ClientPeer;
use super::plan::{Draft, InputKind, Plan, decode};
use super::shared::{Inbox, Shared};
use super::verbose;
use crate::command::settings;
use crate::error::{Error, end_exit, end_text};
use crate::exit::Exit;
use crate::host::{Host, Signals, StopSignal};
use crate::message::event::{Direction, EventBody, InputEvent, parse_input_line};
use crate::message::{Message, render};
use crate::net::connection::{CloseReason, ConnectionError, io_text};
use crate::net::connector::{ConnectError, Connector, Handshake};
use crate::net::dial::DialError;
use crate::net::tunnel::ProxyError;
use crate::session::driver::DriverSettings;
use crate::session::{Driver, End, Outgoing};
use crate::sink::stdout::Output;
use crate::source::framing::{Framing, Splitter};
use crate::source::stdin;

/// Bytes of a refused answer's body that are shown.
const BODY_SHOWN: usize = 1024;

/// Largest message taken from standard input.
const MAX_INPUT: usize = 1 << 30;

/// Runs `wsp connect`.
///
/// # Errors
/// Whatever keeps the run from starting; failures of sessions are reported and become the code.
pub async fn run(args: &ConnectArgs, host: Host) -> Result<Exit, Error> {
    let plan = Plan::new(args, &host)?;
    let connectors = args
        .urls
        .iter()
        .map(|url| Ok(Connector::new(settings::connect_options(url, &args.connection, true)?)?))
        .collect::<Result<Vec<_>, Error>>()?;
    let mut signals = Signals::install().map_err(|error| Error::Internal(format!("signals: {error}")))?;
    let mut input = Input::new(&plan, host.stdin);
    let shared = Shared::new(plan, host.stderr, Output::new(host.stdout));
    let mut inboxes = Vec::new();
    let mut sessions = Vec::new();
    for (index, connector) in connectors.into_iter().enumerate() {
        let inbox = Rc::new(RefCell::new(Inbox::default()));
        inboxes.push(Rc::clone(&inbox));
        let url = connector.target().to_string();
        let peer = ClientPeer::new(Rc::clone(&shared), inbox, format!("s{}", index + 1), url);
        sessions.push(Some(Box::pin(session(Rc::clone(&shared), connector, peer))));
    }
    let mut timeout = shared.plan.timeout.map(|limit| Box::pin(sleep(limit)));
    let mut signalled = false;
    let mut first_failure = None;
    let mut drained = false;
    std::future::poll_fn(|cx| {
        loop {
            shared.changed.set(false);
            while let Poll::Ready(signal) = signals.poll_next(cx) {
                let exit = match signal {
                    StopSignal::Interrupt => Exit::Interrupted,
                    StopSignal::Terminate => Exit::Terminated,
                };
                if signalled {
                    shared.abort.set(true);
                    shared.changed.set(true);
                }
                signalled = true;
                shared.stop(exit);
            }
            if timeout.as_mut().is_some_and(|timeout| timeout.as_mut().poll(cx).is_ready()) {
                timeout = None;
                if shared.stopping().is_none() {
                    shared.stderr.line("wsp: --timeout ran out");
                }
                shared.stop(Exit::Timeout);
            }
            input.poll(cx, &shared, &inboxes);
            let mut running = false;
            for (slot, inbox) in sessions.iter_mut().zip(&inboxes) {
                let Some(session) = slot else { continue };
                if let Poll::Ready(exit) = session.as_mut().poll(cx) {
                    *slot = None;
                    *inbox.borrow_mut() = Inbox::default();
                    shared.changed.set(true);
                    if exit != Exit::Done && first_failure.is_none() {
                        first_failure = Some(exit);
                    }
                } else {
                    running = true;
                }
            }
            shared.output.borrow_mut().watch(cx);
            if !drained {
                shared.check_output();
            }
            if !running {
                let finished = shared.output.borrow_mut().poll_finish(cx);
                if finished.is_ready() || shared.abort.get() {
                    drained = true;
                    shared.check_output();
                    return Poll::Ready(());
                }
            }
            if !shared.changed.get() {
                return Poll::Pending;
            }
        }
    })
    .await;
    shared.summary();
    Ok(match (shared.stopping(), first_failure) {
        (Some(Exit::Done) | None, Some(failure)) => failure,
        (Some(exit), _) => exit,
        (None, None) => Exit::Done,
    })
}

/// Waits for `future`, or `None` when the run is told to stop first.
async fn unless_stopped<F: Future>(shared: &Shared, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| {
        if shared.stopping().is_some() {
            return Poll::Ready(None);
        }
        future.as_mut().poll(cx).map(Some)
    })
    .await
}

/// One session: connect, talk, and again where that is asked for.
async fn session(shared: Rc<Shared>, connector: Connector, mut peer: ClientPeer) -> Exit {
    let mut failures = 0_u32;
    let mut lost_at = None;
    loop {
        let Some(connected) = unless_stopped(&shared, connector.connect()).await else { return Exit::Done };
        let (error, again) = match connected {
            Ok((mut connection, handshake)) => {
                failures = 0;
                announce(&shared, &peer, &handshake, lost_at.take());
                peer.opened();
                let settings = DriverSettings {
                    keepalive: shared.plan.keepalive,
                    close_timeout: shared.plan.close_timeout,
                    fragment: None,
                };
                let end = Driver::new(&mut connection, &mut peer, settings).run().await;
                report_end(&shared, &peer, &end);
                let exit = end_exit(&end);
                if exit == Exit::Done || shared.stopping().is_some() {
                    let unmet = shared.plan.expect.is_some() && shared.stopping().is_none();
                    return if unmet { Exit::Expectation } else { exit };
                }
                lost_at = Some(tokio::time::Instant::now());
                (Error::Ended { url: peer.url().to_owned(), end }, true)
            }
            Err(cause) => {
                let again = is_worth_retrying(&cause);
                (Error::Connect { url: peer.url().to_owned(), cause }, again)
            }
        };
        shared.event(peer.id(), None, EventBody::Error { error: error.to_string() });
        let Some(most) = shared.plan.reconnect.filter(|_| again) else {
            report(&shared, &error);
            return error.exit();
        };
        if failures >= most {
            report(&shared, &error);
            shared
                .stderr
                .line(format!("wsp: {}", Error::RetriesSpent { url: peer.url().to_owned(), attempts: failures }));
            return Exit::Lost;
        }
        failures += 1;
        let delay = shared.plan.backoff.wait(failures, fastrand::f64());
        shared.notice(format!("wsp: {error}; connecting again in {} (retry {failures})", seconds(delay)));
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        shared.event(peer.id(), None, EventBody::Retry { attempt: failures, delay_ms });
        shared.output.borrow_mut().flush();
        if unless_stopped(&shared, sleep(delay)).await.is_none() {
            return Exit::Done;
        }
    }
}

fn is_worth_retrying(cause: &ConnectError) -> bool {
    match cause {
        ConnectError::Dial(
            DialError::NoAddress { .. } | DialError::LookupFailed { .. } | DialError::Refused { .. },
        )
        | ConnectError::Malformed(_)
        | ConnectError::Timeout(..) => true,
        ConnectError::Refused(refusal) => refusal.status >= 500 || matches!(refusal.status, 408 | 425 | 429),
        ConnectError::Tls(error) => error.kind() == crate::net::tls::TlsErrorKind::Other,
        ConnectError::Proxy(error) => is_proxy_worth_retrying(error),
        ConnectError::Redirect { .. } => false,
    }
}

fn is_proxy_worth_retrying(error: &ProxyError) -> bool {
    match error {
        ProxyError::LookUp(_)
        | ProxyError::Unreachable { .. }
        | ProxyError::Server { .. }
        | ProxyError::Failed { .. } => true,
        ProxyError::Refused { status, .. } => *status >= 500 || matches!(status, 408 | 425 | 429),
        ProxyError::Tls { cause, .. } => cause.kind() == crate::net::tls::TlsErrorKind::Other,
        ProxyError::Setting(_) | ProxyError::Credentials { .. } => false,
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

pub(super) fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn announce(shared: &Shared, peer: &ClientPeer, handshake: &Handshake, lost_at: Option<tokio::time::Instant>) {
    if let Some(lost_at) = lost_at {
        let gap = seconds(lost_at.elapsed());
        shared.notice(format!(
            "wsp: {}: connected again; what the server sent in the {gap} between is missed",
            peer.url()
        ));
    }
    if shared.plan.verbose {
        verbose::show(shared, handshake);
    } else if shared.plan.interactive {
        shared.notice(format!("connected to {} (Ctrl-D ends)", handshake.url));
    }
    shared.event(
        peer.id(),
        None,
        EventBody::Open {
            url: Some(handshake.url.clone()),
            peer: None,
            subprotocol: handshake.subprotocol.clone(),
            extensions: handshake.extensions.clone(),
            handshake_ms: Some((handshake.total.as_secs_f64() * 1e6).round() / 1e3),
        },
    );
}

/// Says how a connection ended, where it is no error that is reported anyway.
fn report_end(shared: &Shared, peer: &ClientPeer, end: &End) {
    if let End::Closed { close, by_us } = end {
        let (code, reason) = (close.code, close.reason.clone());
        shared.event(peer.id(), Some(Direction::In), EventBody::Close { code, reason, clean: true });
        if !by_us && close.is_normal() && shared.plan.expect.is_none() {
            shared.notice(format!("{}: {}", peer.url(), end_text(end)));
        }
    } else if !matches!(end, End::Failed(ConnectionError::Protocol(_))) {
        let body = EventBody::Close { code: None, reason: end_text(end), clean: false };
        shared.event(peer.id(), None, body);
    }
    if shared.plan.verbose
        && let Some(time) = peer.round_trip()
    {
        shared.notice(format!("* last round trip {}", milliseconds(time)));
    }
}

/// An error is one line: what failed, on what, why; and a hint.
fn report(shared: &Shared, error: &Error) {
    shared.stderr.line(format!("wsp: {error}"));
    if shared.plan.verbose
        && let Error::Connect { cause, .. } = error
    {
        verbose::show_failure(shared, cause);
    }
    if let Error::Connect { cause: ConnectError::Refused(refusal), .. } = error {
        let shown = &refusal.body[..refusal.body.len().min(BODY_SHOWN)];
        if !shown.is_empty() {
            let mut safe = Vec::new();
            // Lines of a body may end as HTTP's do.
            let shown = String::from_utf8_lossy(shown).replace("\r\n", "\n");
            render::escape_for_terminal(&mut safe, shown.as_bytes());
            shared.stderr.line(String::from_utf8_lossy(&safe).trim_end());
        }
    }
    if let Some(hint) = error.hint() {
        shared.stderr.line(format!("hint: {hint}"));
    }
}

/// Where messages to send come from.
enum Input {
    /// `-x`, handed out once.
    Drafts(Vec<Draft>),
    /// Standard input.
    Stdin { chunks: mpsc::Receiver<io::Result<Vec<u8>>>, splitter: Splitter },
    /// All has been handed out.
    Ended,
}

impl Input {
    fn new(plan: &Plan, stdin: std::fs::File) -> Self {
        if let Some(drafts) = &plan.execute {
            return Self::Drafts(drafts.clone());
        }
        let framing = match plan.input {
            InputKind::Events => Framing::Lines,
            _ => plan.framing.clone(),
        };
        Self::Stdin { chunks: stdin::read(stdin), splitter: Splitter::new(framing, MAX_INPUT) }
    }

    /// Reads on while every session that runs has room.
    fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared, inboxes: &[Rc<RefCell<Inbox>>]) {
        loop {
            if matches!(self, Self::Ended) || shared.stopping().is_some() {
                return;
            }
            if !inboxes.iter().all(|inbox| inbox.borrow().has_room()) {
                return;
            }
            match self {
                Self::Ended => return,
                Self::Drafts(drafts) => {
                    for draft in std::mem::take(drafts) {
                        match shared.plan.fill(&draft) {
                            Ok(message) => to_all(inboxes, || Outgoing::Message(message.clone())),
                            Err(error) => fail(shared, &error),
                        }
                    }
                    self.end(shared);
                }
                Self::Stdin { chunks, splitter } => {
                    let Poll::Ready(chunk) = chunks.poll_recv(cx) else { return };
                    shared.changed.set(true);
                    let result = match chunk {
                        Some(Ok(chunk)) => {
                            let mut pieces = Vec::new();
                            splitter
                                .push(&chunk, |piece| pieces.push(piece))
                                .map_err(|error| error.to_string())
                                .and_then(|()| {
                                    pieces.into_iter().try_for_each(|piece| hand_out(shared, inboxes, piece))
                                })
                        }
                        Some(Err(error)) => Err(format!("cannot read standard input: {}", io_text(&error))),
                        None => {
                            let last = splitter.finish().map_err(|error| error.to_string());
                            self.end(shared);
                            last.and_then(|piece| piece.map_or(Ok(()), |piece| hand_out(shared, inboxes, piece)))
                        }
                    };
                    if let Err(error) = result {
                        fail(shared, &error);
                        self.end(shared);
                    }
                }
            }
        }
    }

    fn end(&mut self, shared: &Shared) {
        *self = Self::Ended;
        shared.input_ended.set(true);
        shared.changed.set(true);
    }
}

fn fail(shared: &Shared, error: &str) {
    shared.stderr.line(format!("wsp: {error}"));
    shared.stop(Exit::Usage);
}

fn to_all(inboxes: &[Rc<RefCell<Inbox>>], outgoing: impl Fn() -> Outgoing) {
    for inbox in inboxes {
        inbox.borrow_mut().push(outgoing());
    }
}

/// Makes a message of a piece of input and puts it before every session.
fn hand_out(shared: &Shared, inboxes: &[Rc<RefCell<Inbox>>], piece: Vec<u8>) -> Result<(), String> {
    let plan = &shared.plan;
    if plan.input == InputKind::Events {
        if piece.iter().all(u8::is_ascii_whitespace) {
            return Ok(());
        }
        let line = parse_input_line(&piece).map_err(|error| format!("event line on standard input: {error}"))?;
        let outgoing: Box<dyn Fn() -> Outgoing> = match line.event {
            InputEvent::Message(message) => Box::new(move || Outgoing::Message(message.clone())),
            InputEvent::Ping(payload) => Box::new(move || Outgoing::Ping(payload.clone())),
            InputEvent::Pong(payload) => Box::new(move || Outgoing::Pong(payload.clone())),
            InputEvent::Close { code, reason } => {
                let close = CloseReason::new(code.unwrap_or(1000), &reason);
                Box::new(move || Outgoing::Close(close.clone()))
            }
            InputEvent::Ignored => return Ok(()),
        };
        to_all(inboxes, outgoing);
        return Ok(());
    }
    let message: Message = if plan.template {
        let source = String::from_utf8(piece).map_err(|_| "input is not valid UTF-8".to_owned())?;
        let Draft::Template(template) = settings::compile(&source).map_err(|error| error.to_string())? else {
            return Ok(());
        };
        plan.fill(&Draft::Template(template))?
    } else {
        decode(plan.input, piece)?
    };
    to_all(inboxes, || Outgoing::Message(message.clone()));
    Ok(())
}
