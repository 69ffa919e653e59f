//! Programs run by `sh -c`: one and whatever it starts, from the start to the last of its process group.
//!
//! A task of its own keeps each program: it reaps the process, passes on what it says by line, and sends the signals that
//! [`kill_escalation`] asks for. Standard input and output are its user's. Invariants: a process is reaped as soon as it ends;
//! once a program is over nothing of its group runs.

pub(crate) mod kill_escalation;
mod voice;

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{OsStr, OsString};
use std::future::poll_fn;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt as _;
use std::pin::Pin;
use std::process::{ExitStatus, Stdio};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::{Instant, sleep_until};

use self::kill_escalation::{Due, KillEscalation};
use self::voice::Lines;
use crate::host::Stderr;
use crate::message::clock::now;

/// From the end of its input, or its own, a program and what it left behind have this long to end by themselves.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);
/// How often it is looked whether others of the group are left, once the program itself has ended.
const GLANCE: Duration = Duration::from_millis(20);
/// How often that is after SIGKILL, which takes a moment: what is still there then waits to be reaped by others.
const LAST_GLANCES: u32 = 5;

/// What is to be run, and how.
pub(crate) struct Plan<'p> {
    /// What `sh -c` is given.
    pub command: &'p str,
    /// Set in its environment.
    pub variables: Vec<(String, OsString)>,
    /// Taken out of its environment beforehand.
    pub without: fn(&OsStr) -> bool,
    /// Whether it gets a standard input that can be written to; else that has ended.
    pub takes_input: bool,
    /// Whether its standard output can be read; else it is passed on as its standard error is.
    pub gives_output: bool,
    /// From SIGTERM to SIGKILL.
    pub limit: Duration,
    /// Where its standard error goes, by line.
    pub stderr: Stderr,
    /// What stands before each of these lines.
    pub prefix: String,
    /// When this is ready no more waiting is done.
    pub aborted: Pin<Box<dyn Future<Output = ()>>>,
    /// Dropped when the program is over.
    pub slot: Box<dyn Any>,
}

/// A program as its user sees it. Dropping it lets the program go: its input ends, the escalation begins.
pub(crate) struct Program {
    link: Rc<Link>,
    /// Its standard input, until that is closed.
    pub stdin: Option<ChildStdin>,
    /// Its standard output, until that has ended.
    pub stdout: Option<ChildStdout>,
}

/// What the user and the keeper tell each other.
#[derive(Default)]
struct Link {
    status: Cell<Option<ExitStatus>>,
    over: Cell<bool>,
    user: RefCell<Option<Waker>>,
    /// How long the program may still go on by itself.
    patience: Cell<Option<Duration>>,
    asked: Notify,
    /// What the user no longer reads.
    unread: RefCell<Option<ChildStdout>>,
}

impl Program {
    /// Starts `sh -c` with a command in a process group of its own, and its keeper.
    ///
    /// # Errors
    /// As fork and exec: no processes, memory or file descriptors left.
    pub(crate) fn start(plan: Plan<'_>) -> io::Result<Self> {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(plan.command);
        for (name, _) in std::env::vars_os().filter(|(name, _)| (plan.without)(name)) {
            shell.env_remove(name);
        }
        shell.envs(plan.variables).process_group(0).kill_on_drop(true);
        shell.stdin(if plan.takes_input { Stdio::piped() } else { Stdio::null() });
        shell.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = shell.spawn()?;
        let link = Rc::new(Link::default());
        let lines = |stream| Lines::new(stream, plan.prefix.clone(), plan.stderr.clone());
        let stderr = child.stderr.take().map(|stream| lines(voice::Stream::Stderr(stream)));
        let (stdin, mut stdout) = (child.stdin.take(), child.stdout.take());
        let spoken = if plan.gives_output { None } else { stdout.take() };
        let keeper = Keeper {
            group: child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw),
            child,
            stderr,
            spoken: spoken.map(|stream| lines(voice::Stream::Stdout(stream))),
            link: Rc::clone(&link),
            escalation: KillEscalation::new(plan.limit),
            _slot: plan.slot,
        };
        spawn_local(keeper.keep(plan.aborted));
        Ok(Self { link, stdin, stdout })
    }

    /// How it ended, once it has; else the waker is called then, and again when it is over.
    pub(crate) fn poll_status(&self, cx: &mut Context<'_>) -> Option<ExitStatus> {
        let status = self.link.status.get();
        if !self.is_over() {
            *self.link.user.borrow_mut() = Some(cx.waker().clone());
        }
        status
    }

    /// Whether nothing of its group runs any more: what still holds its output has left the group.
    pub(crate) fn is_over(&self) -> bool {
        self.link.over.get()
    }

    /// Waits until nothing of its group runs any more.
    pub(crate) async fn over(&self) -> Option<ExitStatus> {
        poll_fn(|cx| {
            let status = self.poll_status(cx);
            if self.is_over() { Poll::Ready(status) } else { Poll::Pending }
        })
        .await
    }

    /// It is to end: by itself within `patience`, then the escalation begins.
    pub(crate) fn end(&self, patience: Duration) {
        let sooner = self.link.patience.get().map_or(patience, |known| known.min(patience));
        self.link.patience.set(Some(sooner));
        self.link.asked.notify_one();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.stdin = None;
        *self.link.unread.borrow_mut() = self.stdout.take();
        self.end(PATIENCE);
    }
}

/// The task that outlives the user.
struct Keeper {
    child: Child,
    group: Option<Pid>,
    stderr: Option<Lines>,
    spoken: Option<Lines>,
    link: Rc<Link>,
    escalation: KillEscalation,
    _slot: Box<dyn Any>,
}

impl Keeper {
    async fn keep(mut self, mut abort: Pin<Box<dyn Future<Output = ()>>>) {
        let link = Rc::clone(&self.link);
        let mut unread: Option<ChildStdout> = None;
        let mut aborted = false;
        let mut glances = 0;
        loop {
            match self.escalation.due(now()) {
                Due::Nothing => {}
                Due::Terminate => self.signal(Signal::SIGTERM),
                Due::Kill => self.signal(Signal::SIGKILL),
            }
            let ended = link.status.get().is_some();
            if ended && (glances > LAST_GLANCES || !self.is_anybody_left()) {
                break;
            }
            glances += u32::from(ended && self.escalation.is_spent());
            let glance = ended.then(|| Instant::now() + GLANCE);
            let next = self.escalation.deadline().map(Instant::from_std).into_iter().chain(glance).min();
            let time = async {
                match next {
                    Some(next) => sleep_until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = time => {}
                () = link.asked.notified() => {
                    if unread.is_none() {
                        unread = link.unread.take();
                    }
                    if let Some(patience) = link.patience.get() {
                        self.escalation.end(now(), patience);
                    }
                }
                () = &mut abort, if !aborted => {
                    aborted = true;
                    self.escalation.abort(now());
                }
                status = self.child.wait(), if !ended => {
                    // Should the kernel not tell, it was not a success.
                    link.end(status.unwrap_or_else(|_| ExitStatus::from_raw(255 << 8)));
                    // What it started and left behind ends with it.
                    self.escalation.end(now(), PATIENCE);
                }
                // Last, because what floods is always ready.
                open = Lines::pass_on_of(&mut self.stderr) => if !open { self.stderr = None },
                open = Lines::pass_on_of(&mut self.spoken) => if !open { self.spoken = None },
                open = discard(&mut unread) => if !open { unread = None },
            }
        }
        for mut voice in [self.stderr.take(), self.spoken.take()].into_iter().flatten() {
            voice.pass_on_the_rest();
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
        self.group.is_some_and(|group| killpg(group, None) != Err(Errno::ESRCH) && !is_dead(group))
    }
}

impl Link {
    fn end(&self, status: ExitStatus) {
        self.status.set(Some(status));
        self.wake();
    }

    fn wake(&self) {
        if let Some(waker) = self.user.take() {
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

/// What a pipe holds right now; nothing where it is empty or has ended. The runtime's own reads may put a task off while
/// there is something to read.
pub(crate) fn read_now(pipe: &impl AsFd, into: &mut [u8]) -> usize {
    nix::unistd::read(pipe, into).unwrap_or(0)
}

/// Bytes written to a pipe that nobody has read, also when nobody is left to; none where the system cannot say.
pub(crate) fn unread(pipe: &impl AsFd) -> u64 {
    rustix::io::ioctl_fionread(pipe).unwrap_or(0)
}

/// Whether a group has only processes that have ended and wait to be reaped, by their new parent. That may
/// be nobody, as in many a container.
fn is_dead(group: Pid) -> bool {
    let Ok(entries) = std::fs::read_dir("/proc") else { return false };
    let mut seen = false;
    for entry in entries.flatten() {
        let is_process = entry.file_name().to_str().is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        if !is_process {
            continue;
        }
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // After the name, which may hold anything: state, parent, group.
        let mut words = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let (state, group_of_it) = (words.next(), words.nth(1).and_then(|word| word.parse().ok()));
        if group_of_it == Some(group.as_raw()) {
            seen = true;
            if !matches!(state, Some("Z" | "X")) {
                return false;
            }
        }
    }
    seen
}

/// How a program ended, in words.
pub(crate) fn outcome(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(number)) => match Signal::try_from(number) {
            Ok(signal) => format!("signal {number} ({})", signal.as_str()),
            Err(_) => format!("signal {number}"),
        },
        (None, None) => "no exit status".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_program_has_words() {
        // As wait(2) encodes them.
        let table =
            [(0, "exit status 0"), (3 << 8, "exit status 3"), (9, "signal 9 (SIGKILL)"), (11, "signal 11 (SIGSEGV)")];
        for (raw, text) in table {
            assert_eq!(outcome(ExitStatus::from_raw(raw)), text, "{raw}");
        }
    }
}
