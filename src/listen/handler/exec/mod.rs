//! `--exec`: a program for each session, a line for each message.
//!
//! Carries messages between the session and the program's standard streams; the program's life is `process`'s, what it
//! learns of the request `variables`'. Invariants: nothing of the request enters the command line; a program that does
//! not read pauses reading from its client, a client that does not read pauses reading from its program; what the program
//! wrote before it ended goes out before the Close.

mod variables;

use std::collections::VecDeque;
use std::pin::Pin;
use std::process::ExitStatus;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use self::variables::Variable;
use super::{Actions, Handler};
use crate::listen::hub::Hub;
use crate::listen::session_id::session_id;
use crate::message::Message;
use crate::message::event::Direction;
use crate::message::io_text::io_text;
use crate::net::connection::CloseReason;
use crate::net::listener::{Accepted, Refuse};
use crate::net::transport::Transport;
use crate::observe::counters::{DropReason, ErrorKind};
use crate::process::{self, Plan, Program};
use crate::source::framing::{Framing, Splitter};

/// Bytes that wait for a program to read before its client is not read from.
const ROOM: usize = 64 * 1024;
/// Messages that do.
const ROOM_MESSAGES: usize = 1024;
/// Bytes of output taken at once.
const CHUNK: usize = 16 * 1024;
/// Bytes that may come out of a pipe after everything that wrote to it has ended: more than a pipe holds.
const LEFT_BEHIND: usize = 1024 * 1024;

/// How programs are run.
#[derive(Debug)]
pub(crate) struct ExecSettings {
    /// What `sh -c` is given.
    pub command: String,
    /// Most programs at a time.
    pub max: usize,
    /// From SIGTERM to SIGKILL.
    pub grace: Duration,
    /// Longest line taken from a program, in bytes.
    pub max_line: usize,
}

impl ExecSettings {
    /// Whether one more program may be run, for a request that can be told to it.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn admit(&self, hub: &Hub, head: &Parts) -> Result<(), Refuse> {
        if variables::has_nul(head) {
            return Err(Refuse::new(StatusCode::BAD_REQUEST, "the path holds a NUL"));
        }
        if hub.programs() >= self.max {
            return Err(Refuse::new(StatusCode::SERVICE_UNAVAILABLE, "as many programs as allowed are running"));
        }
        Ok(())
    }
}

/// The handler of a session with a program.
pub(crate) struct Exec {
    settings: Rc<ExecSettings>,
    /// Until the program has been started.
    variables: Vec<Variable>,
    program: Option<Program>,
    hub: Option<Rc<Hub>>,
    session: u64,
    /// For the program's standard input, a line each.
    input: VecDeque<Vec<u8>>,
    input_bytes: usize,
    /// Bytes of the first line that have been written.
    written: usize,
    lines: Splitter,
    left_behind: usize,
}

impl Exec {
    /// For a session that has just been accepted.
    pub(crate) fn new(settings: Rc<ExecSettings>, accepted: &Accepted) -> Self {
        let secure = matches!(accepted.transport, Transport::Tls(_));
        Self {
            lines: Splitter::new(Framing::Lines, settings.max_line),
            settings,
            variables: variables::of_request(&accepted.head, secure),
            program: None,
            hub: None,
            session: 0,
            input: VecDeque::new(),
            input_bytes: 0,
            written: 0,
            left_behind: 0,
        }
    }

    fn has_room(&self) -> bool {
        self.input_bytes < ROOM && self.input.len() < ROOM_MESSAGES
    }

    /// Writes what waits for the program, as far as it takes it.
    fn write_input(&mut self, cx: &mut Context<'_>) {
        let Some(program) = &mut self.program else { return };
        while let (Some(line), Some(stdin)) = (self.input.front(), &mut program.stdin) {
            match Pin::new(stdin).poll_write(cx, &line[self.written..]) {
                Poll::Pending => return,
                Poll::Ready(Ok(length)) => {
                    self.written += length;
                    if self.written == line.len() {
                        self.input_bytes -= line.len();
                        self.written = 0;
                        self.input.pop_front();
                    }
                }
                Poll::Ready(Err(_)) => program.stdin = None,
            }
        }
        if program.stdin.is_none() {
            self.drop_input();
        }
    }

    /// Nobody reads what waits.
    fn drop_input(&mut self) {
        for line in &self.input {
            // Without the newline that was added.
            let size = line.len().saturating_sub(1);
            if let Some(hub) = &self.hub {
                hub.dropped(self.session, Direction::In, DropReason::ReceiverGone, size);
            }
        }
        self.input.clear();
        self.input_bytes = 0;
        self.written = 0;
    }

    /// Takes what the program wrote; what it could not end with a newline comes when it has ended. True when something
    /// was read.
    fn read_output(&mut self, cx: &mut Context<'_>, actions: &mut Actions) -> bool {
        let Some(program) = &mut self.program else { return false };
        let is_over = program.is_over();
        let Some(stdout) = &mut program.stdout else { return false };
        let mut chunk = [0; CHUNK];
        let read = if is_over {
            // Whoever still holds the pipe has left the group: what it holds now is the rest.
            let read = process::read_now(stdout, &mut chunk);
            self.left_behind += read;
            read
        } else {
            let mut buffer = ReadBuf::new(&mut chunk);
            match Pin::new(stdout).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => buffer.filled().len(),
                Poll::Ready(Err(_)) => 0,
                Poll::Pending => return false,
            }
        };
        let mut send = |line: Vec<u8>| {
            let message = Message::text_from_bytes(line.clone()).unwrap_or_else(|_| Message::binary(line));
            actions.send(message);
        };
        let mut cut = self.lines.push(&chunk[..read], &mut send);
        if read == 0 || self.left_behind > LEFT_BEHIND {
            program.stdout = None;
            cut = cut.and_then(|()| self.lines.finish().map(|rest| rest.into_iter().for_each(send)));
        }
        if cut.is_err() {
            program.stdout = None;
            let reason = format!("a line of output is over the limit of {} bytes", self.settings.max_line);
            actions.hub.fault(actions.mailbox.id, ErrorKind::Exec, &reason);
            actions.close(CloseReason::new(1011, &reason));
        }
        true
    }
}

/// The program has ended and all it wrote has been sent.
fn finish(status: ExitStatus, actions: &mut Actions) {
    let (code, text) = outcome(status);
    if !status.success() {
        actions.hub.fault(actions.mailbox.id, ErrorKind::Exec, &format!("the program ended with {text}"));
    }
    actions.close(CloseReason::new(code, &text));
}

/// The close code for how a program ended, and how it ended in words, where it did not end well.
fn outcome(status: ExitStatus) -> (u16, String) {
    if status.success() { (1000, String::new()) } else { (1011, process::outcome(status)) }
}

impl Handler for Exec {
    fn on_open(&mut self, actions: &mut Actions) {
        let (hub, mailbox) = (actions.hub, actions.mailbox);
        (self.hub, self.session) = (Some(Rc::clone(hub)), mailbox.id);
        // Requests that came together were all let in before any of their programs counted.
        if hub.programs() >= self.settings.max {
            return actions.close(CloseReason::new(1013, "as many programs as allowed are running"));
        }
        let session = session_id(mailbox.id);
        let mut variables = std::mem::take(&mut self.variables);
        variables.extend(variables::of_peer(mailbox.peer, &session));
        let stopping = Rc::clone(hub);
        let plan = Plan {
            command: &self.settings.command,
            variables,
            without: variables::is_of_a_request,
            takes_input: true,
            gives_output: true,
            limit: self.settings.grace,
            stderr: hub.stderr.clone(),
            prefix: if hub.settings.quiet { String::new() } else { format!("{session}: ") },
            aborted: Box::pin(async move { stopping.aborted().await }),
            slot: Box::new(hub.begin_program()),
        };
        match Program::start(plan) {
            Ok(program) => self.program = Some(program),
            Err(error) => {
                hub.fault(mailbox.id, ErrorKind::Exec, &format!("cannot start the program: {}", io_text(&error)));
                actions.close(CloseReason::new(1011, "the program cannot be started"));
            }
        }
    }

    fn on_message(&mut self, message: Message, _actions: &mut Actions) {
        let mut line = Vec::with_capacity(message.len() + 1);
        line.extend_from_slice(message.payload());
        line.push(b'\n');
        self.input_bytes += line.len();
        self.input.push_back(line);
        if self.program.as_ref().is_none_or(|program| program.stdin.is_none()) {
            self.drop_input();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>, actions: &mut Actions) {
        self.write_input(cx);
        // Half a line is no message: on, until there is one or the program is waited for.
        while self.read_output(cx, actions) && actions.is_idle() {}
        let Some(program) = &self.program else { return };
        let status = program.poll_status(cx);
        if let Some(status) = status.filter(|_| program.stdout.is_none()) {
            finish(status, actions);
        }
    }

    fn poll_can_receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.write_input(cx);
        if self.has_room() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Exec {
    fn drop(&mut self) {
        self.drop_input();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn the_end_of_a_program_has_a_close_code_and_words() {
        // As wait(2) encodes them.
        let table = [
            (0, 1000, ""),
            (3 << 8, 1011, "exit status 3"),
            (127 << 8, 1011, "exit status 127"),
            (9, 1011, "signal 9 (SIGKILL)"),
            (11, 1011, "signal 11 (SIGSEGV)"),
        ];
        for (raw, code, text) in table {
            assert_eq!(outcome(ExitStatus::from_raw(raw)), (code, text.to_owned()), "{raw}");
        }
    }
}
