//! Runs client sessions: input to all of them, signals, time limits, the exit code.
//!
//! One task polls everything; sessions share plain cells. Invariant: standard output has been
//! written to the end before this returns, unless a second signal came.

use std::cell::RefCell;
use std::future::Future;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::control::ClientControl;
use super::inbox::Inbox;
use super::info::SessionInfo;
use super::input::{Input, OpenConsole};
use super::peer::ClientPeer;
use super::plan::Plan;
use super::shared::Shared;
use super::verbose;
use crate::error::{Error, end_exit, end_text};
use crate::exit::Exit;
use crate::host::{Host, Signals, StopSignal, last};
use crate::message::counted::counted;
use crate::message::event::{Direction, EventBody};
use crate::message::render;
use crate::net::connection::ConnectionError;
use crate::net::connector::{ConnectError, Connector, Handshake};
use crate::observe::control::SessionState;
use crate::session::driver::DriverSettings;
use crate::session::limit::{Due, TimeLimit};
use crate::session::outage::{self, Missed, Outages, seconds};
use crate::session::reconnect::{Attempt, Decision, ReconnectPolicy, cause};
use crate::session::{Driver, End};
use crate::sink::record::{Recorder, is_same_file};

/// Most of `--timeout` that is kept for the closing handshake.
const CLOSING: Duration = Duration::from_millis(250);
/// Bytes of a refused answer's body that are shown.
const BODY_SHOWN: usize = 1024;

/// Runs a session for each connector until all have ended.
///
/// `open` takes the terminal over, where the run has a console.
///
/// # Errors
/// Whatever keeps the run from starting; failures of sessions are reported and become the code.
pub(crate) async fn run(
    plan: Plan,
    connectors: Vec<Connector>,
    host: Host,
    open: impl FnOnce(&Plan, &Host, &[Rc<SessionInfo>]) -> Result<Option<OpenConsole>, Error>,
) -> Result<Exit, Error> {
    let mut signals = Signals::install().map_err(|error| Error::Internal(format!("signals: {error}")))?;
    last::ends_soon();
    let named = |(index, connector): (usize, &Connector)| {
        Rc::new(SessionInfo::new(format!("s{}", index + 1), connector.target().to_string()))
    };
    let infos: Vec<_> = connectors.iter().enumerate().map(named).collect();
    let replay = plan.replay.as_ref().map(|replay| replay.path.as_path());
    let recording = plan.record.as_deref().map(|path| recorder(path, replay, &infos)).transpose()?;
    let console = open(&plan, &host, &infos)?;
    let (mut input, output) = Input::open(&plan, &host, console)?;
    let shared = Shared::new(plan, host.stderr, output);
    *shared.recorder.borrow_mut() = recording;
    let mut inboxes = Vec::new();
    let mut sessions = Vec::new();
    for (connector, info) in connectors.into_iter().zip(&infos) {
        let inbox = Rc::new(RefCell::new(Inbox::default()));
        inboxes.push(Rc::clone(&inbox));
        let peer = ClientPeer::new(Rc::clone(&shared), inbox, Rc::clone(info));
        sessions.push(Some(Box::pin(session(Rc::clone(&shared), connector, peer))));
    }
    let known = infos.iter().cloned().zip(inboxes.iter().cloned()).collect();
    input.begin(&ClientControl::new(Rc::clone(&shared), known))?;
    let grace = shared.plan.close_timeout.min(CLOSING);
    let mut limit = shared.plan.timeout.map(|limit| TimeLimit::new(limit, grace));
    let mut ending = None;
    let mut was_cut = false;
    let mut first_failure = None;
    let mut drained = false;
    std::future::poll_fn(|cx| {
        loop {
            shared.changed.set(false);
            heed_signals(&mut signals, &mut ending, &shared, cx);
            was_cut |= heed_time(&mut limit, &shared, cx);
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
                if shared.abort.get() {
                    give_up(&shared, finished.is_pending());
                }
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
    tell_failures(&shared, &infos);
    shared.summary();
    let exit = match outcome(&shared, first_failure) {
        Exit::Done if was_cut => Exit::Timeout,
        exit => exit,
    };
    if exit == Exit::Expectation {
        shared.tell_unmet();
    }
    Ok(exit)
}

/// Says what is lost because there is no more time: the rest of the output, and of recordings.
fn give_up(shared: &Shared, is_output_left: bool) {
    if is_output_left {
        shared.stderr.line("wsp: standard output was not read in time; the rest of it is lost");
    }
    shared.give_up_records();
}

/// Asks for the end at the first signal, and cuts it short at the second or when the time for it is over.
fn heed_signals(signals: &mut Signals, ending: &mut Option<TimeLimit>, shared: &Shared, cx: &mut Context<'_>) {
    while let Poll::Ready(signal) = signals.poll_next(cx) {
        let exit = match signal {
            StopSignal::Interrupt => Exit::Interrupted,
            StopSignal::Terminate => Exit::Terminated,
        };
        shared.signal(exit);
    }
    if !shared.is_signalled() {
        return;
    }
    let ending = ending.get_or_insert_with(TimeLimit::after_signal);
    while let Poll::Ready(due) = ending.poll(cx) {
        if due == Due::Cut {
            shared.cut();
        }
    }
}

/// Ends the run in time for `--timeout`; whether the time is over and the rest is cut off.
fn heed_time(limit: &mut Option<TimeLimit>, shared: &Shared, cx: &mut Context<'_>) -> bool {
    let mut is_cut = false;
    while let Some(Poll::Ready(due)) = limit.as_mut().map(|limit| limit.poll(cx)) {
        is_cut |= due == Due::Cut;
        if shared.stopping().is_none() || (is_cut && shared.stopping() == Some(Exit::Done)) {
            shared.stderr.line("wsp: --timeout ran out");
        }
        shared.stop(Exit::Timeout);
    }
    if is_cut {
        shared.cut();
    }
    is_cut
}

/// The code of the run.
fn outcome(shared: &Shared, first_failure: Option<Exit>) -> Exit {
    match (shared.stopping(), first_failure) {
        _ if shared.has_record_failed() => Exit::Storage,
        (Some(Exit::Done) | None, Some(failure)) => failure,
        (Some(Exit::Done) | None, None) if shared.has_output_failed() => Exit::Internal,
        (Some(Exit::Done) | None, None) => shared.input_failure().unwrap_or(Exit::Done),
        (Some(exit), _) => exit,
    }
}

/// Opens the recording to write, which knows all sessions and must not be the one to send.
///
/// # Errors
/// A file that cannot be written, or is the one to send.
pub(crate) fn recorder(path: &Path, replay: Option<&Path>, infos: &[Rc<SessionInfo>]) -> Result<Recorder, Error> {
    if replay.is_some_and(|replay| is_same_file(path, replay)) {
        let message = format!("--record and --replay name the same file: {}", path.display());
        return Err(Error::usage(message, "record to another file"));
    }
    let mut recorder = Recorder::create(path)?;
    for info in infos {
        recorder.name_session(&info.id, &info.url);
    }
    Ok(recorder)
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

/// Waits for `future`, or `None` when nobody wants the connection any more.
async fn unless_given_up<F: Future>(info: &SessionInfo, future: F) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| if info.given_up.take() { Poll::Ready(None) } else { future.as_mut().poll(cx).map(Some) })
        .await
}

/// One session: connect, talk, and again where that is asked for.
async fn session(shared: Rc<Shared>, connector: Connector, mut peer: ClientPeer) -> Exit {
    let mut outages = Outages::default();
    let exit = loop {
        let exit = connect_until_done(&shared, &connector, &mut peer, &mut outages).await;
        peer.info().left(SessionState::Closed);
        if !shared.plan.dashboard {
            break exit;
        }
        if shared.stopping().is_some() || wait_for_wish(&shared, peer.info()).await.is_none() {
            break exit;
        }
    };
    if let Some(summary) = outages.summary() {
        shared.notice_of(peer.id(), &format!("{}: {summary}", peer.url()));
    }
    exit
}

/// At a dashboard a session that has ended waits for whoever wants another connection, or the end of the run.
async fn wait_for_wish(shared: &Shared, info: &SessionInfo) -> Option<()> {
    info.given_up.set(false);
    let wish = std::future::poll_fn(|_| if info.again.take() { Poll::Ready(()) } else { Poll::Pending });
    unless_stopped(shared, wish).await
}

async fn connect_until_done(
    shared: &Shared,
    connector: &Connector,
    peer: &mut ClientPeer,
    outages: &mut Outages,
) -> Exit {
    let mut policy = ReconnectPolicy::new(shared.plan.reconnect.clone());
    let mut replies_due = 0;
    peer.info().left(SessionState::Connecting);
    loop {
        let connecting = unless_given_up(peer.info(), connector.connect());
        let Some(Some(connected)) = unless_stopped(shared, connecting).await else { return Exit::Done };
        let (error, decision) = match connected {
            Ok((mut connection, handshake)) => {
                announce(shared, peer, &handshake);
                peer.info().opened(handshake);
                peer.opened();
                if let Some(outage) = outages.over(Instant::now()) {
                    let missed = if peer.resumes() { Missed::Resumed } else { Missed::All };
                    let told = outage.told(missed, peer.waiting());
                    shared.notice_of(peer.id(), &format!("wsp: {}: {told}", peer.url()));
                }
                shared.changed.set(true);
                let settings = DriverSettings {
                    keepalive: shared.plan.keepalive,
                    close_timeout: shared.plan.close_timeout,
                    fragment: shared.plan.fragment,
                };
                let opened = Instant::now();
                let end = Driver::new(&mut connection, &mut *peer, settings).run().await;
                let was_asked = peer.info().again.take() && shared.stopping().is_none();
                if was_asked {
                    report_end(shared, peer, &end, false);
                    policy.succeeded();
                    peer.info().left(SessionState::Connecting);
                    continue;
                }
                let outcome = Attempt::Ended { lived: opened.elapsed(), cause: cause::of_end(&end) };
                // All that was asked for is done: the peer may hang up as it likes.
                let is_done = peer.is_closing() || shared.stopping() == Some(Exit::Done);
                let hung_up = is_done && matches!(end, End::Failed(ConnectionError::Lost(_)));
                let decision = match shared.stopping() {
                    None if !hung_up => policy.next(outcome, fastrand::f64()),
                    _ => Decision::End,
                };
                report_end(shared, peer, &end, decision == Decision::End);
                if hung_up && shared.plan.verbose {
                    let told = "* the peer dropped the connection instead of answering the close frame";
                    shared.notice_of(peer.id(), told);
                }
                let exit = if hung_up { Exit::Done } else { end_exit(&end) };
                if decision == Decision::End && (exit == Exit::Done || shared.stopping().is_some()) {
                    let unmet = shared.expects_in_vain() && shared.stopping().is_none();
                    return if unmet { Exit::Expectation } else { exit };
                }
                replies_due = peer.replies_due();
                outages.lost(Instant::now());
                let error = Error::Ended { url: peer.url().to_owned(), end };
                if exit != Exit::Done {
                    shared.event(peer.id(), None, EventBody::Error { error: error.to_string() });
                }
                (error, decision)
            }
            Err(cause) => {
                let retry_after =
                    if let ConnectError::Refused(refusal) = &cause { refusal.retry_after() } else { None };
                let outcome = Attempt::Failed { cause: cause::of_connect(&cause), retry_after };
                let error = Error::Connect { url: peer.url().to_owned(), cause };
                shared.event(peer.id(), None, EventBody::Error { error: error.to_string() });
                (error, policy.next(outcome, fastrand::f64()))
            }
        };
        let (attempt, delay) = match decision {
            Decision::Retry { attempt, delay } => (attempt, delay),
            Decision::End => {
                report(shared, peer, &error);
                return error.exit();
            }
            Decision::Spent { retries } => {
                report(shared, peer, &error);
                let spent = Error::RetriesSpent { url: peer.url().to_owned(), attempts: retries };
                shared.line_of(peer.id(), &format!("wsp: {spent}"));
                return Exit::Lost;
            }
        };
        outages.retried();
        let left = outage::left_behind(peer.waiting(), std::mem::take(&mut replies_due));
        let hint = error.hint_of_retry(attempt);
        let again = format!("wsp: {error}; connecting again in {} (retry {attempt}){left}{hint}", seconds(delay));
        shared.notice_of(peer.id(), &again);
        peer.info().retries(attempt, delay);
        shared.changed.set(true);
        let delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        shared.counters.reconnect_attempts.one();
        shared.event(peer.id(), None, EventBody::Retry { attempt, delay_ms, cause: error.cause() });
        shared.output.borrow_mut().flush();
        let info = peer.info();
        let mut delay = std::pin::pin!(sleep(delay));
        let waiting =
            std::future::poll_fn(|cx| if info.again.take() { Poll::Ready(()) } else { delay.as_mut().poll(cx) });
        let Some(Some(())) = unless_stopped(shared, unless_given_up(info, waiting)).await else { return Exit::Done };
        info.retry_at.set(None);
        info.left(SessionState::Connecting);
    }
}

pub(super) fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1e3)
}

fn announce(shared: &Shared, peer: &ClientPeer, handshake: &Handshake) {
    if shared.plan.verbose {
        verbose::show(shared, peer.id(), handshake);
    } else if shared.plan.interactive && !shared.plan.dashboard {
        shared.notice_of(peer.id(), &format!("connected to {} (Ctrl-D ends)", handshake.url));
    }
    let body = EventBody::Open {
        url: Some(handshake.url.clone()),
        peer: None,
        path: None,
        subprotocol: handshake.subprotocol.clone(),
        extensions: handshake.extensions.clone(),
        handshake_ms: Some((handshake.total.as_secs_f64() * 1e6).round() / 1e3),
        subject: None,
    };
    shared.opened(peer.id(), body, handshake);
}

/// Says how a connection ended, where it is no error that is reported anyway; `is_over` when there will be no other.
fn report_end(shared: &Shared, peer: &ClientPeer, end: &End, is_over: bool) {
    if let End::Closed { close, by_us } = end {
        let (code, reason) = (close.code, close.reason.clone());
        shared.event(peer.id(), Some(Direction::In), EventBody::Close { code, reason, clean: true });
        let is_over = is_over && !by_us && close.is_normal();
        if is_over && shared.plan.expect.is_none() {
            shared.notice_of(peer.id(), &format!("{}: {}", peer.url(), end_text(end)));
        }
        let waiting = peer.waiting();
        // Somebody at the dashboard may connect it again.
        if is_over && waiting > 0 && !shared.plan.dashboard {
            let lost = counted(waiting, "piece");
            shared.line_of(peer.id(), &format!("wsp: {}: {lost} of input could not be sent any more", peer.url()));
        }
    } else if !matches!(end, End::Failed(ConnectionError::Protocol(_))) {
        let body = EventBody::Close { code: None, reason: end_text(end), clean: false };
        shared.event(peer.id(), None, body);
    }
    if shared.plan.verbose
        && let Some(time) = peer.info().round_trip.get()
    {
        shared.notice_of(peer.id(), &format!("* last round trip {}", milliseconds(time)));
    }
}

/// Says again what a dashboard on the same terminal took away with it.
fn tell_failures(shared: &Shared, infos: &[Rc<SessionInfo>]) {
    if !shared.plan.dashboard || !shared.stderr.is_terminal() {
        return;
    }
    for line in infos.iter().flat_map(|info| info.failure.take()) {
        shared.stderr.line(line);
    }
}

/// An error is one line: what failed, on what, why; and a hint.
fn report(shared: &Shared, peer: &ClientPeer, error: &Error) {
    if shared.plan.verbose
        && let Error::Connect { cause, .. } = error
    {
        verbose::show_failure(shared, peer.id(), cause);
    }
    let mut lines = vec![shared.name_in(peer.id(), &format!("wsp: {error}"))];
    if let Error::Connect { cause: ConnectError::Refused(refusal), .. } = error {
        let shown = refusal.text(BODY_SHOWN);
        if !shown.is_empty() {
            let mut safe = Vec::new();
            // Lines of a body may end as HTTP's do.
            let shown = shown.replace("\r\n", "\n");
            render::escape_for_terminal(&mut safe, shown.as_bytes());
            lines.push(shared.name_in(peer.id(), String::from_utf8_lossy(&safe).trim_end()));
        }
    }
    if let Some(hint) = error.hint() {
        lines.push(format!("hint: {hint}"));
    }
    for line in &lines {
        shared.stderr.line(line);
    }
    *peer.info().failure.borrow_mut() = lines;
}
