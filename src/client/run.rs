//! Runs client sessions: input to all of them, signals, time limits, the exit code.
//!
//! One task polls everything; sessions share plain cells. Invariant: standard output has been
//! written to the end before this returns, unless a second signal came.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::control::ClientControl;
use super::engine::Engine;
use super::inbox::Inbox;
use super::info::SessionInfo;
use super::input::{Input, OpenConsole};
use super::life::session;
use super::peer::ClientPeer;
use super::plan::Plan;
use super::shared::Shared;
use crate::error::Error;
use crate::exit::Exit;
use crate::host::{Host, Signals, StopSignal, last};
use crate::net::connector::Connector;
use crate::session::driver::DriverSettings;
use crate::session::limit::{Due, TimeLimit};
use crate::sink::record::{Recorder, is_same_file};

/// Most of `--timeout` that is kept for the closing handshake.
const CLOSING: Duration = Duration::from_millis(250);

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
    let driver = DriverSettings {
        keepalive: shared.plan.keepalive,
        close_timeout: shared.plan.close_timeout,
        fragment: shared.plan.fragment,
    };
    let mut inboxes = Vec::new();
    let mut sessions = Vec::new();
    for (connector, info) in connectors.into_iter().zip(&infos) {
        let inbox = Rc::new(RefCell::new(Inbox::default()));
        inboxes.push(Rc::clone(&inbox));
        let peer = ClientPeer::new(Rc::clone(&shared), inbox, Rc::clone(info));
        let engine = Engine::new(connector, driver, shared.plan.reconnect.clone());
        sessions.push(Some(Box::pin(session(engine, peer))));
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
        shared.stderr.line("wsp: standard output was not read in time; the rest is lost");
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

/// Says again what a dashboard on the same terminal took away with it.
fn tell_failures(shared: &Shared, infos: &[Rc<SessionInfo>]) {
    if !shared.plan.dashboard || !shared.stderr.is_terminal() {
        return;
    }
    for line in infos.iter().flat_map(|info| info.failure.take()) {
        shared.stderr.line(line);
    }
}
