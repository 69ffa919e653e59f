//! The life of the server: open the doors, tend input and output, stop in order.
//!
//! Stop ladder: the listening socket closes first; sessions send what is queued, then Close 1001;
//! output and files are written to their end. All of it shares one grace time: at its end, or on a second signal, the
//! rest is cut off.

use std::future::{Future, poll_fn};
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::task::spawn_local;
use tokio::time::{Instant, Sleep, sleep};

use super::config::ServerConfig;
use super::hub::Hub;
use super::input::{Input, InputKind, OpenConsole};
use super::reception::BoundServer;
use crate::error::Error;
use crate::exit::Exit;
use crate::host::{Host, Signals, StopSignal, last};
use crate::message::io_text::io_text;
use crate::observe::Control;
use crate::observe::admin::{Admin, AdminSettings, Serving};
use crate::observe::counters::Counters;
use crate::sink::line_file::{Kind, LineFile};
use crate::sink::record::Recorder;
use crate::sink::stdout::{Output, OutputFailure};

/// Longest wait for what has been cut off.
const LAST_WAIT: Duration = Duration::from_secs(5);
/// How long each later step may take once one was cut short.
const AFTER_CUT: Duration = Duration::from_millis(100);

/// What a run of the test server is made from.
pub(crate) struct Server {
    /// Where it listens, whom it lets in, and what happens to messages.
    pub config: ServerConfig,
    /// Where everything is recorded.
    pub record: Option<PathBuf>,
    /// Where messages are kept that do not have the shape they must have.
    pub dead_letters: Option<PathBuf>,
    /// For closing all sessions at the end.
    pub grace: Duration,
    /// Where it is seen and steered.
    pub admin: Option<AdminSettings>,
    /// How standard input is written.
    pub input: InputKind,
}

/// Runs the server until a signal ends it.
///
/// # Errors
/// TLS files that cannot be used, an address that cannot be had.
pub(crate) async fn run(server: Server, host: Host, console: Option<OpenConsole>) -> Result<Exit, Error> {
    // Each session is a file descriptor; the soft limit is there to be raised.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let mut signals = Signals::install().map_err(|error| Error::Internal(format!("signals: {error}")))?;
    // What prints nothing does not end with its reader either.
    let output = if server.config.print { Output::stdout(&host.stdout)? } else { Output::new(host.stdout) };
    let hub = Hub::new(server.config.clone(), Counters::default(), host.stderr.clone(), output);
    if let Some(path) = &server.record {
        hub.recording().begin(Recorder::create(path)?);
    }
    if let Some(path) = &server.dead_letters {
        hub.recording().keep_dead_letters(LineFile::append(path, Kind::DeadLetters)?);
    }
    let reception = BoundServer::bind(&hub).await?;
    let serving = match &server.admin {
        Some(settings) => Some(open_admin(settings, &hub).await?),
        None => None,
    };
    reception.announce(&hub)?;
    let address = reception.address(&hub);
    let input = match console.and_then(|open| open(&address)) {
        Some((console, output)) => {
            hub.print_through(output);
            Input::console(&hub, console)
        }
        None if hub.settings.mode.reads_input() => {
            Input::stream(&hub, host.stdin, server.input, host.stdin_is_terminal)
        }
        None => Input::None,
    };
    let result = serve(&server, reception, &hub, input, &mut signals).await;
    if let Some(serving) = serving {
        serving.stop().await;
    }
    result
}

async fn open_admin(settings: &AdminSettings, hub: &Rc<Hub>) -> Result<Serving, Error> {
    let admin = Admin::bind(settings.clone())
        .await
        .map_err(|error| Error::Bind { address: settings.address.to_string(), cause: io_text(&error) })?;
    hub.notice(format!("admin on {}", admin.url()));
    if admin.is_open() {
        hub.notice(crate::observe::admin::OPEN);
    }
    Ok(admin.serve(Rc::clone(hub) as Rc<dyn Control>))
}

async fn serve(
    server: &Server,
    reception: BoundServer,
    hub: &Rc<Hub>,
    mut input: Input,
    signals: &mut Signals,
) -> Result<Exit, Error> {
    let accepting = reception.accept(hub);
    let background = hub.settings.mode.background(hub).map(spawn_local);
    let mut output = Box::pin(hub.tend_output());
    let mut failed = None;
    poll_fn(|cx| {
        if signals.poll_next(cx).is_ready() || input.poll_ended(cx, hub).is_ready() {
            return Poll::Ready(());
        }
        if let Poll::Ready(failure) = output.as_mut().poll(cx) {
            failed = Some(failure);
            return Poll::Ready(());
        }
        Poll::Pending
    })
    .await;
    drop(output);
    accepting.abort();
    let _ = accepting.await;
    if let Some(background) = background {
        background.abort();
        let _ = background.await;
    }
    hub.stop();
    let mut ending = Ending::new(server.grace, signals, &mut input);
    ending.close_all(hub).await;
    if !ending.has_done(hub.finish_output()).await {
        hub.stderr.line("wsp: standard output was not read in time; the rest of it is lost");
    }
    if !ending.has_done(hub.recording().finish()).await {
        hub.recording().give_up();
    }
    let cut_short = ending.cut_short;
    // Giving back a terminal that nobody reads would wait for ever.
    last::ends_soon();
    input.close(hub);
    hub.notice(hub.summary());
    if let Some(failure) = hub.recording().failure() {
        return Err(failure.into());
    }
    Ok(match (failed, cut_short) {
        (Some(OutputFailure::Failed(text)), _) => {
            return Err(Error::Internal(format!("cannot write to standard output: {text}")));
        }
        (_, Some(exit)) => exit,
        (Some(OutputFailure::Closed) | None, None) => Exit::Done,
    })
}

/// What is left of the time to end in order.
struct Ending<'a> {
    signals: &'a mut Signals,
    input: &'a mut Input,
    limit: Pin<Box<Sleep>>,
    /// The exit code, once the end of the grace time or a second signal has cut something short.
    cut_short: Option<Exit>,
}

impl<'a> Ending<'a> {
    fn new(grace: Duration, signals: &'a mut Signals, input: &'a mut Input) -> Self {
        Self { signals, input, limit: Box::pin(sleep(grace)), cut_short: None }
    }

    /// Waits for the sessions to close, and cuts off those that do not.
    async fn close_all(&mut self, hub: &Hub) {
        let closed = async {
            let mut closed = pin!(hub.wait_for(Hub::is_empty));
            let mut output = pin!(hub.tend_output());
            let mut output_failed = false;
            poll_fn(|cx| {
                output_failed = output_failed || output.as_mut().poll(cx).is_ready();
                closed.as_mut().poll(cx)
            })
            .await;
        };
        if !self.has_done(closed).await {
            hub.abort();
            // Not even SIGKILL ends a program that waits for a broken disk.
            let _ = tokio::time::timeout(LAST_WAIT, hub.wait_for(Hub::is_empty)).await;
        }
    }

    /// Whether `work` was done before it was cut short. What comes after a cut gets [`AFTER_CUT`].
    async fn has_done(&mut self, work: impl Future<Output = ()>) -> bool {
        let mut work = pin!(work);
        let cut = poll_fn(|cx| {
            if work.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            match self.signals.poll_next(cx) {
                Poll::Ready(StopSignal::Interrupt) => return Poll::Ready(Some(Exit::Interrupted)),
                Poll::Ready(StopSignal::Terminate) => return Poll::Ready(Some(Exit::Terminated)),
                Poll::Pending => {}
            }
            if self.input.poll_hurry(cx).is_ready() {
                return Poll::Ready(Some(Exit::Interrupted));
            }
            self.limit.as_mut().poll(cx).map(|()| Some(Exit::Terminated))
        })
        .await;
        let Some(exit) = cut else { return true };
        self.cut_short.get_or_insert(exit);
        self.limit.as_mut().reset(Instant::now() + AFTER_CUT);
        false
    }
}
