//! Where the messages of a run come from: drafts, standard input, a recording, a person at a console.
//!
//! Owns handing them out to the sessions' inboxes. Leaves cutting and reading to `source/`, the console itself to the
//! code that made it. Invariant: nothing is read while a session that runs has no room.

use std::io;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::sync::mpsc;

use super::control::ClientControl;
use super::inbox::Inboxes;
use super::plan::{Plan, draft_error, input_error};
use super::replay::Replay;
use super::shared::Shared;
use crate::error::Error;
use crate::filter::Draft;
use crate::host::{Host, Stderr, Stream};
use crate::message::event::{InputEvent, parse_input_line};
use crate::message::input::{InputKind, decode};
use crate::message::io_text::io_text;
use crate::net::connection::CloseReason;
use crate::session::Outgoing;
use crate::sink::stdout::Output;
use crate::source::framing::{Framing, Splitter};
use crate::source::stdin;

/// Largest message taken from standard input.
const MAX_INPUT: usize = 1 << 30;

/// A person who sees the run, and types.
pub(crate) trait Console {
    /// Shows the run, which begins.
    ///
    /// # Errors
    /// When the terminal cannot be set up.
    fn begin(&mut self, _run: &Rc<ClientControl>) -> Result<(), Error> {
        Ok(())
    }

    /// Takes what was typed. Asked again whenever something changes.
    fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared, inboxes: &Inboxes);

    /// Gives the terminal back.
    fn close(self: Box<Self>, stderr: &Stderr);
}

/// A console, and where is printed while there is one.
pub(crate) type OpenConsole = (Box<dyn Console>, Output);

/// Where messages to send come from.
pub(super) enum Input {
    Console(Box<dyn Console>),
    /// Drafts, handed out once.
    Drafts(Vec<Draft>),
    Replay(Box<Replay>),
    Stdin {
        chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
        splitter: Splitter,
        pieces: Pieces,
    },
    Ended,
}

impl Input {
    fn new(plan: &Plan, stdin: Stream) -> Result<Self, Error> {
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
        let pieces = Pieces { called: if framing == Framing::Lines { "line" } else { "message" }, count: 0 };
        Ok(Self::Stdin { chunks: stdin::read(stdin), splitter: Splitter::new(framing, MAX_INPUT), pieces })
    }

    /// The input, and where is printed: at the console, where there is one.
    pub(super) fn open(plan: &Plan, host: &Host, console: Option<OpenConsole>) -> Result<(Self, Output), Error> {
        if let Some((console, output)) = console {
            return Ok((Self::Console(console), output));
        }
        let stdin = host.stdin.try_clone();
        let stdin = stdin.map_err(|error| Error::Internal(format!("standard input: {}", io_text(&error))))?;
        Ok((Self::new(plan, stdin)?, Output::stdout(&host.stdout)?))
    }

    /// The run begins: a console shows it.
    pub(super) fn begin(&mut self, run: &Rc<ClientControl>) -> Result<(), Error> {
        if let Self::Console(console) = self { console.begin(run) } else { Ok(()) }
    }

    /// Gives the terminal back, if it was taken.
    pub(super) fn close(self, stderr: &Stderr) {
        if let Self::Console(console) = self {
            console.close(stderr);
        }
    }

    /// Reads on while every session that runs has room.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, shared: &Shared, inboxes: &Inboxes) {
        if let Self::Console(console) = self {
            return console.poll(cx, shared, inboxes);
        }
        loop {
            if matches!(self, Self::Ended) || shared.stopping().is_some() {
                return;
            }
            if !inboxes.iter().all(|inbox| inbox.borrow().has_room()) {
                return;
            }
            match self {
                Self::Console(_) | Self::Ended => return,
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
                        shared.fail_input(&input_error(error));
                        self.end(shared);
                    }
                    Poll::Ready(None) => self.end(shared),
                },
                Self::Stdin { chunks, splitter, pieces: counted } => {
                    let Poll::Ready(chunk) = chunks.poll_recv(cx) else { return };
                    shared.changed.set(true);
                    let result = match chunk {
                        Some(Ok(chunk)) => {
                            let mut pieces = Vec::new();
                            splitter
                                .push(&chunk, |piece| pieces.push(piece))
                                .map_err(|error| input_error(error.to_string()))
                                .and_then(|()| {
                                    pieces
                                        .into_iter()
                                        .try_for_each(|piece| hand_out(shared, inboxes, piece, counted.next()))
                                })
                        }
                        Some(Err(error)) => {
                            Err(input_error(format!("cannot read standard input: {}", io_text(&error))))
                        }
                        None => {
                            let last = splitter.finish().map_err(|error| input_error(error.to_string()));
                            let name = counted.next();
                            self.end(shared);
                            last.and_then(|piece| piece.map_or(Ok(()), |piece| hand_out(shared, inboxes, piece, name)))
                        }
                    };
                    if let Err(error) = result {
                        shared.fail_input(&error);
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

fn to_all(inboxes: &Inboxes, outgoing: impl Fn() -> Outgoing) -> bool {
    let mut taken = false;
    for inbox in inboxes {
        taken |= inbox.borrow_mut().push(outgoing());
    }
    taken
}

/// Counts the pieces of standard input, to name the one that is wrong.
pub(super) struct Pieces {
    called: &'static str,
    count: u64,
}

impl Pieces {
    fn next(&mut self) -> PieceName {
        self.count += 1;
        PieceName::OfStdin(self.called, self.count)
    }
}

/// Which piece of input is handed out.
#[derive(Debug, Clone, Copy)]
pub(crate) enum PieceName {
    /// The line or message with this number.
    OfStdin(&'static str, u64),
    Typed,
}

impl PieceName {
    fn error(self, text: impl std::fmt::Display) -> Error {
        match self {
            Self::OfStdin(called, number) => input_error(format!("standard input, {called} {number}: {text}")),
            Self::Typed => input_error(text.to_string()),
        }
    }
}

/// Makes a message of a piece of input and puts it before every session.
pub(crate) fn hand_out(shared: &Shared, inboxes: &Inboxes, piece: Vec<u8>, name: PieceName) -> Result<(), Error> {
    let plan = &shared.plan;
    if plan.input == InputKind::Events {
        return hand_out_event(shared, inboxes, &piece, name);
    }
    let message = if plan.template {
        let source = String::from_utf8(piece).map_err(|_| name.error("not valid UTF-8"))?;
        plan.fill(&Draft::compile(&source, plan.input).map_err(draft_error)?)?
    } else {
        decode(plan.input, piece).map_err(|error| name.error(error))?
    };
    to_all(inboxes, || Outgoing::Message(message.clone()));
    Ok(())
}

/// An event line goes to the session it names, or to all where it names none of this run.
fn hand_out_event(shared: &Shared, inboxes: &Inboxes, line: &[u8], name: PieceName) -> Result<(), Error> {
    if line.iter().all(u8::is_ascii_whitespace) {
        return Ok(());
    }
    let line = parse_input_line(line).map_err(|error| name.error(error))?;
    let named = line.session.as_deref().and_then(|name| Some((name, named(inboxes, name)?)));
    let inboxes = named.map_or(inboxes, |(_, inbox)| inbox);
    let taken = match line.event {
        InputEvent::Message(message) => {
            let message = match message.as_text().filter(|_| shared.plan.template) {
                Some(source) => shared.plan.fill(&Draft::compile(source, InputKind::Text).map_err(draft_error)?)?,
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
fn named<'a>(inboxes: &'a Inboxes, name: &str) -> Option<&'a Inboxes> {
    let index = name.strip_prefix('s')?.parse::<usize>().ok()?.checked_sub(1)?;
    inboxes.get(index..=index)
}
