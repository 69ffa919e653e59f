//! A program as an end of a pipeline: a line a message into its standard input, out of its standard output, or both.
//!
//! Leaves the program's life to `process/`; this file starts it again when it ends too early. Invariants: a message counts
//! as delivered once the program has read the whole of its line (where the system cannot say so, once it is in the pipe); what
//! it has not goes to the program started next; nothing of a program's group runs when the end has ended.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::process::ExitStatus;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWrite as _};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::exit::Exit;
use crate::host::Stderr;
use crate::message::counted::counted;
use crate::message::io_text::io_text;
use crate::message::render::Format;
use crate::process::{self, Plan, Program};
use crate::queue::end::{End, EndError, EndIo, LocalFuture};
use crate::queue::envelope::{Envelope, Origin};
use crate::queue::lane::Lane;
use crate::queue::stop::Step;
use crate::session::reconnect::{Attempt, Cause, Decision, ReconnectPolicy, ReconnectSettings};
use crate::sink::line;
use crate::source::framing::Framing;
use crate::source::lines::{Intake, LineKind};

/// Bytes of lines that wait for the program before more is taken.
const BLOCK: usize = 64 * 1024;
/// Bytes of output taken at once.
const CHUNK: usize = 64 * 1024;
/// Bytes that may come out of a pipe after everything that wrote to it has ended: more than a pipe holds.
const LEFT_BEHIND: usize = 1024 * 1024;
/// How soon it is looked whether the program has read what it was given.
const SOON: Duration = Duration::from_millis(1);
/// How seldom, when it does not.
const LATE: Duration = Duration::from_millis(100);
/// When the run is to end, a program that has got everything has this long before SIGTERM.
const PATIENCE: Duration = Duration::from_secs(2);
/// From SIGTERM to SIGKILL.
const LIMIT: Duration = Duration::from_secs(5);
/// Most of a command that is shown before what its program says.
const PREFIX: usize = 40;

pub(crate) struct ExecEnd {
    /// What `sh -c` is given.
    pub command: String,
    /// The endpoint as the user wrote it.
    pub name: String,
    /// The session's name in events.
    pub session: String,
    /// Whether an end with exit status 0 is meant: of what stands as FROM it is.
    pub may_end: bool,
    pub format: Format,
    pub kind: LineKind,
    /// Longest line taken from it.
    pub max_message_size: usize,
    /// Whether and when it is started again.
    pub reconnect: ReconnectSettings,
    /// For what it says on its standard error.
    pub stderr: Stderr,
}

impl End for ExecEnd {
    fn run(self: Box<Self>, io: EndIo) -> LocalFuture<'static, Result<(), EndError>> {
        Box::pin(async move { self.live(io).await })
    }
}

/// How one life of the program ended.
enum Death {
    /// Everything is done.
    Done,
    Early(String),
    /// It cannot be found, or what it gives cannot be taken.
    Broken(EndError),
}

impl ExecEnd {
    async fn live(&self, io: EndIo) -> Result<(), EndError> {
        let origin = Origin::new(self.session.clone(), self.name.clone());
        let mut intake = Intake::new(&io, origin, self.kind, Framing::Lines, self.max_message_size);
        let mut feeder = io.lane.clone().map(|lane| Feeder::new(lane, self.format));
        let mut policy = ReconnectPolicy::new(self.reconnect.clone());
        let mut is_first = true;
        loop {
            let born = Instant::now();
            let reason = match self.start(&io) {
                Err(error) => format!("cannot be started: {}", io_text(&error)),
                Ok(mut program) => match self.life(&io, &mut program, feeder.as_mut(), intake.as_mut(), is_first).await
                {
                    Death::Done => return Ok(()),
                    Death::Broken(error) => return Err(error),
                    Death::Early(reason) => reason,
                },
            };
            is_first = false;
            if io.stop.step() >= last_step(&io) {
                return Ok(());
            }
            let attempt = Attempt::Ended { lived: born.elapsed(), cause: Cause::Passing };
            let gave_up = |retries: u32| {
                let text = format!("{}: gave up after {}: {reason}", self.name, counted(retries, "retry"));
                Err(EndError::new(Exit::Lost, text))
            };
            let wait = match policy.next(attempt, fastrand::f64()) {
                Decision::Retry { delay, .. } => delay,
                Decision::End => return gave_up(0),
                Decision::Spent { retries } => return gave_up(retries),
            };
            io.lane.iter().for_each(|lane| lane.retries());
            (io.notice)(format!("{}: {reason}; restarting in {:.1} s", self.name, wait.as_secs_f64()));
            let mut time = pin!(sleep(wait));
            let is_over = poll_fn(|cx| {
                let is_done = io.lane.as_ref().is_some_and(|lane| lane.poll_done(cx).is_ready());
                if is_done || io.stop.poll_reached(last_step(&io), cx).is_ready() {
                    return Poll::Ready(true);
                }
                time.as_mut().poll(cx).map(|()| false)
            });
            if is_over.await {
                return Ok(());
            }
        }
    }

    fn start(&self, io: &EndIo) -> std::io::Result<Program> {
        let stop = Rc::clone(&io.stop);
        let shown: String = self.command.chars().take(PREFIX).collect();
        let dots = if shown.len() < self.command.len() { "…" } else { "" };
        Program::start(Plan {
            command: &self.command,
            variables: Vec::new(),
            without: |_| false,
            takes_input: io.lane.is_some(),
            gives_output: io.ingress.is_some(),
            limit: LIMIT,
            stderr: self.stderr.clone(),
            prefix: format!("exec:{shown}{dots}: "),
            aborted: Box::pin(async move { stop.reached(Step::Aborting).await }),
            slot: Box::new(()),
        })
    }

    /// From its start until nothing of it runs any more.
    async fn life(
        &self,
        io: &EndIo,
        program: &mut Program,
        mut feeder: Option<&mut Feeder>,
        mut intake: Option<&mut Intake>,
        is_first: bool,
    ) -> Death {
        let (mut stdin, stdout) = (program.stdin.take(), program.stdout.take());
        let program = &*program;
        let has_said_any = Cell::new(false);
        let ended = {
            let mut reading = pin!(read(program, stdout, intake.as_deref_mut(), &has_said_any));
            let mut has_read = None;
            let mut was_told = false;
            poll_fn(|cx| {
                if let (Some(feeder), Some(pipe)) = (&mut feeder, &mut stdin)
                    && feeder.poll(pipe, cx).is_ready()
                {
                    stdin = None;
                    // It has closed its input and lives on: start another one.
                    if !feeder.is_done() {
                        program.end(process::PATIENCE);
                    }
                }
                // A sink is told to end only when it has got everything.
                if !was_told && stdin.is_none() && io.stop.poll_reached(Step::Draining, cx).is_ready() {
                    was_told = true;
                    program.end(if feeder.is_some() { PATIENCE } else { Duration::ZERO });
                }
                if has_read.is_none()
                    && let Poll::Ready(result) = reading.as_mut().poll(cx)
                {
                    has_read = Some(result);
                }
                if let Some(Err(error)) = &has_read {
                    return Poll::Ready(Err(error.clone()));
                }
                let status = program.poll_status(cx);
                match (status, &has_read) {
                    (Some(status), Some(Ok(()))) if program.is_over() => Poll::Ready(Ok(status)),
                    _ => Poll::Pending,
                }
            })
            .await
        };
        drop(stdin);
        let ended = match (ended, intake) {
            (Ok(status), Some(intake)) => intake_end(io, intake, status).await.map(|()| status),
            (ended, _) => ended,
        };
        match ended {
            Err(error) => {
                program.end(Duration::ZERO);
                program.over().await;
                Death::Broken(error)
            }
            Ok(status) => {
                let has_read_any = feeder.as_ref().is_some_and(|feeder| feeder.delivered > 0);
                self.judge(io, status, feeder, is_first && !has_read_any && !has_said_any.get())
            }
        }
    }

    fn judge(&self, io: &EndIo, status: ExitStatus, feeder: Option<&mut Feeder>, is_unused: bool) -> Death {
        let reason = process::outcome(status);
        let is_stopping = io.stop.step() > Step::Running;
        if is_unused && !is_stopping && matches!(status.code(), Some(126 | 127)) {
            let text = format!("{}: the shell cannot run the command: {reason}", self.name);
            return Death::Broken(EndError::new(Exit::Usage, text).hint("the text after exec: runs with sh -c"));
        }
        let Some(feeder) = feeder else {
            return if status.success() || is_stopping { Death::Done } else { Death::Early(reason) };
        };
        let has_got_all = feeder.is_done();
        feeder.start_again();
        if has_got_all && !status.success() && !is_stopping {
            let text = format!("{}: {reason}, after all messages were written", self.name);
            let error = EndError::new(Exit::Lost, text);
            return Death::Broken(error.hint("it may not have processed the last messages"));
        }
        let is_over = io.stop.step() == Step::Aborting || (self.may_end && status.success());
        if has_got_all || is_over { Death::Done } else { Death::Early(reason) }
    }
}

/// The step from which it is not started again.
fn last_step(io: &EndIo) -> Step {
    if io.lane.is_some() { Step::Aborting } else { Step::Draining }
}

/// Takes what the program says until it has said everything.
async fn read(
    program: &Program,
    stdout: Option<ChildStdout>,
    intake: Option<&mut Intake>,
    has_said_any: &Cell<bool>,
) -> Result<(), EndError> {
    let (Some(mut stdout), Some(intake)) = (stdout, intake) else { return Ok(()) };
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = {
            let mut next = pin!(stdout.read(&mut chunk));
            poll_fn(|cx| match next.as_mut().poll(cx) {
                Poll::Ready(result) => Poll::Ready(Some(result.unwrap_or(0))),
                Poll::Pending => {
                    program.poll_status(cx);
                    // A process that still holds the pipe has left the group: what it holds now is the rest.
                    if program.is_over() { Poll::Ready(None) } else { Poll::Pending }
                }
            })
            .await
        };
        let Some(read) = read else { break };
        if read == 0 {
            return Ok(());
        }
        has_said_any.set(true);
        if !intake.take(Bytes::copy_from_slice(&chunk[..read])).await? {
            return Ok(());
        }
    }
    let mut left = 0;
    while left < LEFT_BEHIND {
        let read = process::read_now(&stdout, &mut chunk);
        if read == 0 || !intake.take(Bytes::copy_from_slice(&chunk[..read])).await? {
            break;
        }
        left += read;
    }
    Ok(())
}

/// A last line without its newline counts when the program ended by itself; what a signal cut off is not a line.
async fn intake_end(io: &EndIo, intake: &mut Intake, status: ExitStatus) -> Result<(), EndError> {
    if status.code().is_some() && io.stop.step() == Step::Running {
        return intake.finish().await.map(drop);
    }
    intake.forget();
    Ok(())
}

/// What is on its way into a program.
struct Feeder {
    lane: Rc<Lane>,
    format: Format,
    /// Lines, the first bytes of which are in the pipe already.
    bytes: Vec<u8>,
    written: usize,
    /// Bytes of all lines made for this program.
    made: u64,
    /// Whose lines the program has not read, and where each ends.
    waiting: VecDeque<(u64, Envelope)>,
    /// Messages this program has read.
    delivered: u64,
    ended: bool,
    /// Nothing announces that the program has read something: it is looked at in growing intervals.
    glance: Option<Pin<Box<Sleep>>>,
    pause: Duration,
}

impl Drop for Feeder {
    fn drop(&mut self) {
        // What its program has not read is for the next program.
        self.lane.requeue(self.waiting.drain(..).map(|(_, envelope)| envelope));
    }
}

impl Feeder {
    fn new(lane: Rc<Lane>, format: Format) -> Self {
        Self {
            lane,
            format,
            bytes: Vec::new(),
            written: 0,
            made: 0,
            waiting: VecDeque::new(),
            delivered: 0,
            ended: false,
            glance: None,
            pause: SOON,
        }
    }

    /// Writes what there is; ready when all has been read and there will be no more, or when nobody will read it.
    fn poll(&mut self, pipe: &mut ChildStdin, cx: &mut Context<'_>) -> Poll<()> {
        let mut is_broken = false;
        loop {
            self.take_in(cx);
            if self.bytes.is_empty() {
                break;
            }
            match Pin::new(&mut *pipe).poll_write(cx, &self.bytes[self.written..]) {
                Poll::Ready(Ok(count)) => self.written += count,
                Poll::Ready(Err(_)) => is_broken = true,
                Poll::Pending => {}
            }
            if self.written < self.bytes.len() {
                break;
            }
            self.bytes.clear();
            self.bytes.shrink_to(2 * BLOCK);
            self.written = 0;
        }
        self.settle(process::unread(pipe));
        if is_broken || (self.ended && self.waiting.is_empty()) {
            return Poll::Ready(());
        }
        while !self.waiting.is_empty() {
            let (now, pause) = (Instant::now(), self.pause);
            let glance = self.glance.get_or_insert_with(|| Box::pin(sleep_until(now + pause)));
            ready!(glance.as_mut().poll(cx));
            self.pause = (self.pause * 2).min(LATE);
            glance.as_mut().reset(now + self.pause);
            self.settle(process::unread(pipe));
            if self.ended && self.waiting.is_empty() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    /// All that was written has been read, but so many bytes.
    fn settle(&mut self, unread: u64) {
        let read = self.made.saturating_sub((self.bytes.len() - self.written) as u64 + unread);
        while self.waiting.front().is_some_and(|(end, _)| *end <= read) {
            if let Some((_, envelope)) = self.waiting.pop_front() {
                self.delivered += 1;
                self.lane.took(envelope);
            }
            self.pause = SOON;
        }
        if self.waiting.is_empty() {
            self.glance = None;
            self.pause = SOON;
        }
    }

    fn take_in(&mut self, cx: &mut Context<'_>) {
        while !self.ended && self.bytes.len() < BLOCK {
            match self.lane.poll_next(cx) {
                Poll::Ready(Some(envelope)) => {
                    let before = self.bytes.len();
                    line::append(&mut self.bytes, self.format, &envelope);
                    self.made += (self.bytes.len() - before) as u64;
                    self.waiting.push_back((self.made, envelope));
                }
                Poll::Ready(None) => self.ended = true,
                Poll::Pending => return,
            }
        }
    }

    /// Whether the program has read all there ever was.
    fn is_done(&self) -> bool {
        self.ended && self.waiting.is_empty()
    }

    /// What it has not read is for the program that comes next.
    fn start_again(&mut self) {
        *self = Self::new(Rc::clone(&self.lane), self.format);
    }
}
