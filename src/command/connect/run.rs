//! Runs the sessions of `connect`: input to all of them, signals, time limits, the exit code.
//!
//! One task polls everything; sessions share plain cells. Invariant: standard output has been
//! written to the end before this returns, unless a second signal came.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::ConnectArgs;
use super::info::SessionInfo;
use super::outage::{self, Outages, seconds};
use super::peer::ClientPeer;
use super::plan::{Draft, InputKind, Plan, decode, input_error};
use super::prompt::PromptInput;
use super::replay::Replay;
use super::shared::{Inbox, Shared};
use super::verbose;
use crate::command::{curl, settings};
use crate::error::{Error, end_exit, end_text};
use crate::exit::Exit;
use crate::host::{Host, Signals, Stderr, StopSignal};
use crate::message::event::{Direction, EventBody, InputEvent, parse_input_line};
use crate::message::render;
use crate::net::connection::{CloseReason, ConnectionError, io_text};
use crate::net::connector::{ConnectError, Connector, Handshake};
use crate::net::dial::DialError;
use crate::net::tunnel::ProxyError;
use crate::prompt::{Prompt, PromptSettings, SessionState, history_file};
use crate::session::driver::DriverSettings;
use crate::session::{Driver, End, Outgoing};
use crate::sink::record::Recorder;
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
    let args = &curl::import(args)?;
    if args.urls.is_empty() {
        return Err(Error::usage("no URL to connect to", "wsp connect URL, @PROFILE or --curl LINE"));
    }
    let plan = Plan::new(args, &host)?;
    let connectors = args
        .urls
        .iter()
        .map(|url| Ok(Connector::new(settings::connect_options(url, &args.connection, true)?)?))
        .collect::<Result<Vec<_>, Error>>()?;
    let mut signals = Signals::install().map_err(|error| Error::Internal(format!("signals: {error}")))?;
    let named = |(index, connector): (usize, &Connector)| {
        Rc::new(SessionInfo::new(format!("s{}", index + 1), connector.target().to_string()))
    };
    let infos: Vec<_> = connectors.iter().enumerate().map(named).collect();
    let mut recording = args.record.as_deref().map(|path| recorder(path, args.replay.as_deref())).transpose()?;
    if let Some(recording) = &mut recording {
        for info in &infos {
            recording.name_session(&info.id, &info.url);
        }
    }
    let (mut input, output) = Input::open(&plan, &host, &infos)?;
    let shared = Shared::new(plan, host.stderr, output);
    *shared.recorder.borrow_mut() = recording;
    let mut inboxes = Vec::new();
    let mut sessions = Vec::new();
    for (connector, info) in connectors.into_iter().zip(infos) {
        let inbox = Rc::new(RefCell::new(Inbox::default()));
        inboxes.push(Rc::clone(&inbox));
        let peer = ClientPeer::new(Rc::clone(&shared), inbox, info);
        sessions.push(Some(Box::pin(session(Rc::clone(&shared), connector, peer))));
    }
    let mut timeout = shared.plan.timeout.map(|limit| Box::pin(sleep(limit)));
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
                shared.signal(exit);
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
                    inbox.borrow_mut().close();
                    shared.changed.set(true);
                    if exit != Exit::Done && first_failure.is_none() {
                        first_failure = Some(exit);
                    }
                } else {
                    running = true;
                }
            }
            shared.output.borrow_mut().watch(cx);
            shared.poll_record(cx);
            if !drained {
                shared.check_output();
            }
            if !running {
                let recorded = shared.poll_record_end(cx);
                let finished = shared.output.borrow_mut().poll_finish(cx);
                if (recorded.is_ready() && finished.is_ready()) || shared.abort.get() {
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
    input.close(&shared.stderr);
    shared.stderr.progress("");
    shared.summary();
    if shared.has_record_failed() {
        return Ok(Exit::Storage);
    }
    Ok(match (shared.stopping(), first_failure) {
        (Some(Exit::Done) | None, Some(failure)) => failure,
        (Some(exit), _) => exit,
        (None, None) => Exit::Done,
    })
}

/// Opens the recording to write, which must not be the one to send.
pub(super) fn recorder(path: &Path, replay: Option<&Path>) -> Result<Recorder, Error> {
    let is_replayed = replay.is_some_and(|replay| {
        let id = |path| std::fs::metadata(path).map(|meta| (meta.dev(), meta.ino())).ok();
        id(path).is_some_and(|record| Some(record) == id(replay))
    });
    if is_replayed {
        let message = format!("--record and --replay name the same file: {}", path.display());
        return Err(Error::usage(message, "record to another file"));
    }
    Ok(Recorder::create(path)?)
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
    let mut outages = Outages::default();
    let exit = connect_until_done(&shared, &connector, &mut peer, &mut outages).await;
    peer.info().left(SessionState::Closed);
    if let Some(summary) = outages.summary() {
        shared.notice(format!("{}: {summary}", peer.url()));
    }
    exit
}

async fn connect_until_done(
    shared: &Shared,
    connector: &Connector,
    peer: &mut ClientPeer,
    outages: &mut Outages,
) -> Exit {
    let mut failures = 0_u32;
    let mut replies_due = 0;
    loop {
        let Some(connected) = unless_stopped(shared, connector.connect()).await else { return Exit::Done };
        let (error, again) = match connected {
            Ok((mut connection, handshake)) => {
                if let Some(gap) = outages.over(tokio::time::Instant::now()) {
                    let missed = outage::missed(gap, failures, peer.waiting());
                    shared.notice(format!("wsp: {}: {missed}", peer.url()));
                }
                failures = 0;
                announce(shared, peer, &handshake);
                peer.info().opened(handshake);
                peer.opened();
                shared.changed.set(true);
                let settings = DriverSettings {
                    keepalive: shared.plan.keepalive,
                    close_timeout: shared.plan.close_timeout,
                    fragment: shared.plan.fragment,
                };
                let end = Driver::new(&mut connection, &mut *peer, settings).run().await;
                report_end(shared, peer, &end);
                let exit = end_exit(&end);
                if exit == Exit::Done || shared.stopping().is_some() {
                    let unmet = shared.plan.expect.is_some() && shared.stopping().is_none();
                    return if unmet { Exit::Expectation } else { exit };
                }
                replies_due = peer.replies_due();
                outages.lost(tokio::time::Instant::now());
                (Error::Ended { url: peer.url().to_owned(), end }, true)
            }
            Err(cause) => {
                let again = is_worth_retrying(&cause);
                (Error::Connect { url: peer.url().to_owned(), cause }, again)
            }
        };
        shared.event(peer.id(), None, EventBody::Error { error: error.to_string() });
        let Some(most) = shared.plan.reconnect.filter(|_| again) else {
            report(shared, &error);
            return error.exit();
        };
        if failures >= most {
            report(shared, &error);
            shared
                .stderr
                .line(format!("wsp: {}", Error::RetriesSpent { url: peer.url().to_owned(), attempts: failures }));
            return Exit::Lost;
        }
        failures += 1;
        let delay = shared.plan.backoff.wait(failures, fastrand::f64());
        let left = outage::left_behind(peer.waiting(), std::mem::take(&mut replies_due));
        shared.notice(format!("wsp: {error}; connecting again in {} (retry {failures}){left}", seconds(delay)));
        peer.info().left(SessionState::Retrying(failures));
        shared.changed.set(true);
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        shared.event(peer.id(), None, EventBody::Retry { attempt: failures, delay_ms });
        shared.output.borrow_mut().flush();
        if unless_stopped(shared, sleep(delay)).await.is_none() {
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

pub(super) fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn announce(shared: &Shared, peer: &ClientPeer, handshake: &Handshake) {
    if shared.plan.verbose {
        verbose::show(shared, handshake);
    } else if shared.plan.interactive {
        shared.notice(format!("connected to {} (Ctrl-D ends)", handshake.url));
    }
    let body = EventBody::Open {
        url: Some(handshake.url.clone()),
        peer: None,
        subprotocol: handshake.subprotocol.clone(),
        extensions: handshake.extensions.clone(),
        handshake_ms: Some((handshake.total.as_secs_f64() * 1e6).round() / 1e3),
        subject: None,
    };
    shared.opened(peer.id(), body, handshake);
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
        && let Some(time) = peer.info().round_trip.get()
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
    /// A person at the prompt.
    Prompt(Box<PromptInput>),
    /// `-x`, handed out once.
    Drafts(Vec<Draft>),
    /// A recording.
    Replay(Box<Replay>),
    /// Standard input.
    Stdin { chunks: mpsc::Receiver<io::Result<Vec<u8>>>, splitter: Splitter },
    /// All has been handed out.
    Ended,
}

impl Input {
    fn new(plan: &Plan, stdin: std::fs::File) -> Result<Self, Error> {
        if let Some(replay) = &plan.replay {
            return Ok(Self::Replay(Box::new(Replay::open(replay)?)));
        }
        if let Some(drafts) = &plan.execute {
            return Ok(Self::Drafts(drafts.clone()));
        }
        let framing = match plan.input {
            InputKind::Events => Framing::Lines,
            _ => plan.framing.clone(),
        };
        Ok(Self::Stdin { chunks: stdin::read(stdin), splitter: Splitter::new(framing, MAX_INPUT) })
    }

    /// The input, and the output that goes with it: a prompt shares its screen.
    fn open(plan: &Plan, host: &Host, infos: &[Rc<SessionInfo>]) -> Result<(Self, Output), Error> {
        let again = |file: &std::fs::File| {
            file.try_clone().map_err(|error| Error::Internal(format!("standard streams: {}", io_text(&error))))
        };
        let prompts = plan.interactive && host.stdout_is_terminal;
        let settings = PromptSettings {
            history: host.state.as_deref().zip(infos.first()).map(|(state, info)| {
                let host = info.host.rsplit_once(':').map_or(info.host.as_str(), |(host, _)| host);
                history_file(state, host.trim_matches(['[', ']']))
            }),
            colour: plan.colour,
            status: PromptInput::first_status(infos),
            hosts: infos.iter().map(|info| info.host.clone()).collect(),
        };
        if prompts && let Ok(prompt) = Prompt::open(settings) {
            let screen = prompt.screen().clone();
            let output = Output::over(screen.writer());
            if host.stderr.is_terminal() {
                host.stderr.divert(move |line| screen.line(line));
            }
            return Ok((Self::Prompt(Box::new(PromptInput::new(prompt, infos.to_vec()))), output));
        }
        Ok((Self::new(plan, again(&host.stdin)?)?, Output::new(again(&host.stdout)?)))
    }

    /// Gives the terminal back, if it was taken.
    fn close(self, stderr: &Stderr) {
        if let Self::Prompt(prompt) = self {
            prompt.close();
            stderr.restore();
        }
    }

    /// Reads on while every session that runs has room.
    fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared, inboxes: &[Rc<RefCell<Inbox>>]) {
        if let Self::Prompt(prompt) = self {
            if prompt.poll(cx, shared, inboxes) {
                shared.input_ended.set(true);
                shared.changed.set(true);
            }
            return;
        }
        loop {
            if matches!(self, Self::Ended) || shared.stopping().is_some() {
                return;
            }
            if !inboxes.iter().all(|inbox| inbox.borrow().has_room()) {
                return;
            }
            match self {
                Self::Prompt(_) | Self::Ended => return,
                Self::Drafts(drafts) => {
                    for draft in std::mem::take(drafts) {
                        match shared.plan.fill(&draft) {
                            Ok(message) => {
                                to_all(inboxes, || Outgoing::Message(message.clone()));
                            }
                            Err(error) => shared.fail(&error),
                        }
                    }
                    self.end(shared);
                }
                Self::Replay(replay) => match replay.poll_step(cx, shared, inboxes) {
                    Poll::Pending => return,
                    Poll::Ready(Some(Ok(()))) => {}
                    Poll::Ready(Some(Err(error))) => {
                        shared.fail(&input_error(error));
                        self.end(shared);
                    }
                    Poll::Ready(None) => self.end(shared),
                },
                Self::Stdin { chunks, splitter } => {
                    let Poll::Ready(chunk) = chunks.poll_recv(cx) else { return };
                    shared.changed.set(true);
                    let result = match chunk {
                        Some(Ok(chunk)) => {
                            let mut pieces = Vec::new();
                            splitter
                                .push(&chunk, |piece| pieces.push(piece))
                                .map_err(|error| input_error(error.to_string()))
                                .and_then(|()| {
                                    pieces.into_iter().try_for_each(|piece| hand_out(shared, inboxes, piece))
                                })
                        }
                        Some(Err(error)) => {
                            Err(input_error(format!("cannot read standard input: {}", io_text(&error))))
                        }
                        None => {
                            let last = splitter.finish().map_err(|error| input_error(error.to_string()));
                            self.end(shared);
                            last.and_then(|piece| piece.map_or(Ok(()), |piece| hand_out(shared, inboxes, piece)))
                        }
                    };
                    if let Err(error) = result {
                        shared.fail(&error);
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

/// Whether somebody took it.
fn to_all(inboxes: &[Rc<RefCell<Inbox>>], outgoing: impl Fn() -> Outgoing) -> bool {
    let mut taken = false;
    for inbox in inboxes {
        taken |= inbox.borrow_mut().push(outgoing());
    }
    taken
}

/// Makes a message of a piece of input and puts it before every session.
pub(super) fn hand_out(shared: &Shared, inboxes: &[Rc<RefCell<Inbox>>], piece: Vec<u8>) -> Result<(), Error> {
    let plan = &shared.plan;
    if plan.input == InputKind::Events {
        return hand_out_event(shared, inboxes, &piece);
    }
    let message = if plan.template {
        let source = String::from_utf8(piece).map_err(|_| input_error("input is not valid UTF-8"))?;
        plan.fill(&settings::compile(&source, plan.input)?)?
    } else {
        decode(plan.input, piece).map_err(input_error)?
    };
    to_all(inboxes, || Outgoing::Message(message.clone()));
    Ok(())
}

/// An event line goes to the session it names, or to all where it names none of this run.
fn hand_out_event(shared: &Shared, inboxes: &[Rc<RefCell<Inbox>>], line: &[u8]) -> Result<(), Error> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let line = parse_input_line(line).map_err(|error| input_error(format!("event line on standard input: {error}")))?;
    let named = line.session.as_deref().and_then(|name| Some((name, named(inboxes, name)?)));
    let inboxes = named.map_or(inboxes, |(_, inbox)| inbox);
    let taken = match line.event {
        InputEvent::Message(message) => {
            let message = match message.as_text().filter(|_| shared.plan.template) {
                Some(source) => shared.plan.fill(&settings::compile(source, InputKind::Text)?)?,
                None => message,
            };
            to_all(inboxes, || Outgoing::Message(message.clone()))
        }
        InputEvent::Ping(payload) => to_all(inboxes, || Outgoing::Ping(payload.clone())),
        InputEvent::Pong(payload) => to_all(inboxes, || Outgoing::Pong(payload.clone())),
        InputEvent::Close { code, reason } => {
            let close = CloseReason::new(code.unwrap_or(1000), &reason);
            to_all(inboxes, || Outgoing::Close(close.clone()))
        }
        InputEvent::Ignored => true,
    };
    if let Some((name, _)) = named.filter(|_| !taken) {
        shared.notice(format!("wsp: session {name} has ended; an event line for it was dropped"));
    }
    Ok(())
}

/// The inbox of `s1`, `s2`, …
fn named<'a>(inboxes: &'a [Rc<RefCell<Inbox>>], name: &str) -> Option<&'a [Rc<RefCell<Inbox>>]> {
    let index = name.strip_prefix('s')?.parse::<usize>().ok()?.checked_sub(1)?;
    inboxes.get(index..=index)
}
