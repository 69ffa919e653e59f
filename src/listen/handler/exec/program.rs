//! One program and whatever it starts: its process group, from the start to the last of it.
//!
//! A task of its own keeps it, which outlives the session: it reaps the process, passes its stderr on, and sends the
//! signals that [`Ladder`] asks for. Standard input and output are the handler's. Invariants: a process is reaped as
//! soon as it ends; once a program is over nothing of its group runs.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use super::ladder::{Due, Ladder};
use super::variables::{self, Variable};
use crate::host::Stderr;
use crate::listen::hub::{Hub, ProgramSlot};
use crate::message::render;
use crate::source::framing::{Framing, Splitter};

/// From the end of its input a program has this long to end by itself.
const PATIENCE: Duration = Duration::from_millis(500);
/// How often it is looked whether others of the group are left, once the program itself has ended.
const GLANCE: Duration = Duration::from_millis(20);
/// Longest line of stderr passed on in one piece.
const LONGEST_LINE: usize = 64 * 1024;
/// Bytes of stderr that are still looked for when everything has ended: more than a pipe holds.
const LAST_WORDS: usize = 1024 * 1024;

/// A program as its handler sees it. Dropping it lets the program go: its input ends, the ladder begins.
pub struct Program {
    link: Rc<Link>,
    /// Its standard input, until that is closed.
    pub stdin: Option<ChildStdin>,
    /// Its standard output, until that has ended.
    pub stdout: Option<ChildStdout>,
}

/// What the handler and the keeper tell each other.
#[derive(Default)]
struct Link {
    status: Cell<Option<ExitStatus>>,
    over: Cell<bool>,
    handler: RefCell<Option<Waker>>,
    let_go: Notify,
    /// What the handler no longer reads.
    unread: RefCell<Option<ChildStdout>>,
}

impl Program {
    /// Starts `sh -c` with a command in a process group of its own, and its keeper.
    ///
    /// # Errors
    /// As fork and exec: no processes, memory or file descriptors left.
    pub fn start(
        command: &str,
        variables: Vec<Variable>,
        limit: Duration,
        hub: &Rc<Hub>,
        session: &str,
    ) -> io::Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command);
        for (name, _) in std::env::vars_os().filter(|(name, _)| variables::is_of_a_request(name)) {
            shell.env_remove(name);
        }
        shell.envs(variables).process_group(0).kill_on_drop(true);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = shell.spawn()?;
        let link = Rc::new(Link::default());
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stderr = child.stderr.take().map(|stream| Lines {
            stream,
            splitter: Splitter::new(Framing::Lines, usize::MAX / 2),
            prefix: if hub.settings.quiet { String::new() } else { format!("{session}: ") },
            to: hub.stderr.clone(),
        });
        let keeper = Keeper {
            group: child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw),
            child,
            stderr,
            link: Rc::clone(&link),
            ladder: Ladder::new(PATIENCE, limit),
            _slot: hub.begin_program(),
        };
        spawn_local(keeper.keep(Rc::clone(hub)));
        Ok(Self { link, stdin, stdout })
    }

    /// How it ended, once it has; else the waker is called then.
    pub fn poll_status(&self, cx: &mut Context<'_>) -> Option<ExitStatus> {
        let status = self.link.status.get();
        if !self.is_over() {
            *self.link.handler.borrow_mut() = Some(cx.waker().clone());
        }
        status
    }

    /// Whether nothing of its group runs any more: what still holds its output has left the group.
    pub fn is_over(&self) -> bool {
        self.link.over.get()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stdin = None;
        *self.link.unread.borrow_mut() = self.stdout.take();
        self.link.let_go.notify_one();
    }
}

/// The task that outlives the session.
struct Keeper {
    child: Child,
    group: Option<Pid>,
    stderr: Option<Lines>,
    link: Rc<Link>,
    ladder: Ladder,
    _slot: ProgramSlot,
}

impl Keeper {
    async fn keep(mut self, hub: Rc<Hub>) {
        let link = Rc::clone(&self.link);
        let mut unread: Option<ChildStdout> = None;
        let mut aborted = false;
        loop {
            match self.ladder.due(now().into_std()) {
                Due::Nothing => {}
                Due::Terminate => self.signal(Signal::SIGTERM),
                Due::Kill => self.signal(Signal::SIGKILL),
            }
            let ended = link.status.get().is_some();
            if ended && (self.ladder.is_spent() || !self.is_anybody_left()) {
                break;
            }
            let glance = ended.then(|| now() + GLANCE);
            let next = self.ladder.deadline().map(Instant::from_std).into_iter().chain(glance).min();
            let time = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = time => {}
                () = link.let_go.notified() => {
                    unread = link.unread.take();
                    self.ladder.end(now().into_std());
                }
                () = hub.aborted(), if !aborted => {
                    aborted = true;
                    self.ladder.abort(now().into_std());
                }
                status = self.child.wait(), if !ended => {
                    // Should the kernel not tell, it was no success.
                    link.end(status.unwrap_or_else(|_| ExitStatus::from_raw(255 << 8)));
                    // What it started and left behind ends with it.
                    self.ladder.end(now().into_std());
                }
                // Last, because what floods is always ready.
                open = Lines::pass_on_of(&mut self.stderr) => if !open { self.stderr = None },
                open = discard(&mut unread) => if !open { unread = None },
            }
        }
        if let Some(mut stderr) = self.stderr.take() {
            stderr.pass_on_the_rest();
        }
        link.over.set(true);
        link.wake();
    }

    /// Signals the group. After its first process has been reaped the group's number is still taken for as long as any
    /// other process of it is left, and is only used while one was there a glance ago.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            let _ = killpg(group, signal);
        }
    }

    fn is_anybody_left(&self) -> bool {
        self.group.is_some_and(|group| killpg(group, None) != Err(Errno::ESRCH))
    }
}

impl Link {
    fn end(&self, status: ExitStatus) {
        self.status.set(Some(status));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.handler.take() {
            waker.wake();
        }
    }
}

/// Reads what nobody wants, so that a program may finish what it is saying; false when it has.
async fn discard(stdout: &mut Option<ChildStdout>) -> bool {
    match stdout {
        Some(stdout) => stdout.read(&mut [0; 4096]).await.is_ok_and(|read| read > 0),
        None => std::future::pending().await,
    }
}

/// A program's stderr on its way to ours, a line at a time.
struct Lines {
    stream: ChildStderr,
    splitter: Splitter,
    prefix: String,
    to: Stderr,
}

impl Lines {
    /// Passes on what comes next; false when nothing will any more. Waits forever where there is no stream.
    async fn pass_on_of(lines: &mut Option<Self>) -> bool {
        match lines {
            Some(lines) => lines.pass_on().await > 0,
            None => std::future::pending().await,
        }
    }

    async fn pass_on(&mut self) -> usize {
        let mut chunk = [0; 4096];
        let read = self.stream.read(&mut chunk).await.unwrap_or(0);
        self.take(&chunk[..read]);
        read
    }

    fn take(&mut self, chunk: &[u8]) {
        let (to, prefix) = (&self.to, &self.prefix);
        let show = |line: Vec<u8>| to.line(format!("{prefix}{}", safe(to, &line)));
        let _ = self.splitter.push(chunk, show);
        // What has no end in sight is passed on in pieces.
        if chunk.is_empty() || self.splitter.waiting() > LONGEST_LINE {
            self.splitter.finish().ok().flatten().into_iter().for_each(show);
        }
    }

    /// What has been written until now, without waiting for more.
    fn pass_on_the_rest(&mut self) {
        let mut passed = 0;
        let mut chunk = [0; 4096];
        while passed < LAST_WORDS {
            let read = read_now(&self.stream, &mut chunk);
            if read == 0 {
                break;
            }
            passed += read;
            self.take(&chunk[..read]);
        }
        self.take(&[]);
    }
}

/// What a pipe holds right now; nothing where it is empty or has ended. The runtime's own reads may put a task off while
/// there is something to read.
pub fn read_now(pipe: &impl AsFd, into: &mut [u8]) -> usize {
    nix::unistd::read(pipe, into).unwrap_or(0)
}

/// A line as text; on a terminal, with nothing in it that drives the terminal.
fn safe(to: &Stderr, line: &[u8]) -> String {
    if !to.is_terminal() {
        return String::from_utf8_lossy(line).into_owned();
    }
    let mut safe = Vec::with_capacity(line.len());
    render::escape_for_terminal(&mut safe, line);
    String::from_utf8_lossy(&safe).into_owned()
}

fn now() -> Instant {
    Instant::now()
}
