//! What the server is given to send: lines or event lines of standard input, or a person at a console.
//!
//! Owns reading and handing out; leaves queues to the hub and the console itself to whoever made it. Invariants: input waits
//! until somebody is connected; it is read no faster than mailboxes take it; what it names and is not there is counted.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::task::{JoinHandle, spawn_local};

use super::hub::{Hub, Unplaced};
use super::mailbox::Mailbox;
use crate::host::Stream;
use crate::message::Message;
use crate::message::event::{InputEvent, parse_input_line};
use crate::message::io_text::io_text;
use crate::net::connection::CloseReason;
use crate::observe::counters::ErrorKind;
use crate::session::Outgoing;
use crate::sink::stdout::Output;
use crate::source::framing::{Framing, Splitter};
use crate::source::stdin;

/// How standard input is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InputKind {
    /// A message a line, to all.
    Lines,
    /// An event line each, to the session it names or to all.
    Events,
}

/// A person who types.
pub(crate) trait Console {
    /// Takes what was typed; ready when the server should end. Asked again whenever a session comes or goes.
    fn poll(&mut self, cx: &mut Context<'_>, hub: &Rc<Hub>) -> Poll<()>;

    /// While the server closes: ready when the person will not wait for it.
    fn poll_hurry(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Gives the terminal back, and counts what was typed and never sent.
    fn close(self: Box<Self>, hub: &Hub);
}

/// Takes the terminal over for a server that listens there: the console, and where is printed from now on. `None` where
/// the terminal cannot be driven.
pub(crate) type OpenConsole = Box<dyn FnOnce(&str) -> Option<(Box<dyn Console>, Output)>>;

/// Where what is sent comes from.
pub(crate) enum Input {
    /// From nowhere.
    None,
    /// From standard input, which a task reads; at its end the server ends where it was typed.
    Stream(JoinHandle<()>, bool),
    /// From a person.
    Console(Box<dyn Console>, Pin<Box<dyn Future<Output = ()>>>),
}

impl Input {
    /// From standard input.
    pub(crate) fn stream(hub: &Rc<Hub>, stdin: Stream, kind: InputKind, is_terminal: bool) -> Self {
        Self::Stream(spawn_local(send_input(Rc::clone(hub), stdin, kind)), is_terminal)
    }

    /// From a person.
    pub(crate) fn console(hub: &Rc<Hub>, console: Box<dyn Console>) -> Self {
        Self::Console(console, next_change(hub))
    }

    /// Takes what is there; ready when the server should end.
    pub(crate) fn poll_ended(&mut self, cx: &mut Context<'_>, hub: &Rc<Hub>) -> Poll<()> {
        match self {
            Self::None => Poll::Pending,
            Self::Stream(task, is_terminal) => {
                if !task.is_finished() && Pin::new(task).poll(cx).is_pending() {
                    return Poll::Pending;
                }
                let was_typed = *is_terminal;
                *self = Self::None;
                if was_typed { Poll::Ready(()) } else { Poll::Pending }
            }
            Self::Console(console, change) => {
                while change.as_mut().poll(cx).is_ready() {
                    *change = next_change(hub);
                }
                console.poll(cx, hub)
            }
        }
    }

    /// While the server closes: ready when nobody wants to wait for it.
    pub(crate) fn poll_hurry(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Console(console, _) => console.poll_hurry(cx),
            _ => Poll::Pending,
        }
    }

    /// Nothing is read any more.
    pub(crate) fn close(self, hub: &Hub) {
        match self {
            Self::Console(console, _) => console.close(hub),
            Self::Stream(task, _) => task.abort(),
            Self::None => {}
        }
    }
}

fn next_change(hub: &Rc<Hub>) -> Pin<Box<dyn Future<Output = ()>>> {
    let hub = Rc::clone(hub);
    Box::pin(async move { hub.next_change().await })
}

async fn send_input(hub: Rc<Hub>, stdin: Stream, kind: InputKind) {
    let mut chunks = stdin::read(stdin);
    let mut splitter = Splitter::new(Framing::Lines, usize::MAX / 2);
    let mut number = 0;
    while let Some(chunk) = chunks.recv().await {
        let mut lines = Vec::new();
        match chunk {
            Ok(chunk) => {
                let _ = splitter.push(&chunk, |line| lines.push(line));
            }
            Err(error) => hub.stderr.line(format!("wsp: cannot read standard input: {}", io_text(&error))),
        }
        for line in lines {
            number += 1;
            send_line(&hub, line, number, kind).await;
        }
    }
    if let Ok(Some(line)) = splitter.finish() {
        send_line(&hub, line, number + 1, kind).await;
    }
}

async fn send_line(hub: &Rc<Hub>, line: Vec<u8>, number: u64, kind: InputKind) {
    // Else nobody is there to hear it; a feed waits for its first client only.
    if hub.settings.mode.holds_input() {
        hub.wait_for(Hub::has_audience).await;
    } else {
        hub.wait_for(|hub| hub.counters.connections.get() > 0).await;
    }
    match kind {
        InputKind::Lines => {
            let message = Message::text_from_bytes(line.clone()).unwrap_or_else(|_| Message::binary(line));
            place(hub, hub.to_all(&message, None)).await;
        }
        InputKind::Events => send_event(hub, &line, number).await,
    }
}

/// Waits until all has its place.
async fn place(hub: &Rc<Hub>, mut unplaced: Unplaced) {
    if !unplaced.is_empty() {
        poll_fn(|cx| if hub.place_again(&mut unplaced, cx) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}

async fn send_event(hub: &Rc<Hub>, line: &[u8], number: u64) {
    if line.iter().all(u8::is_ascii_whitespace) {
        return;
    }
    let line = match parse_input_line(line) {
        Ok(line) => line,
        Err(error) => {
            // A server that others use does not end because of a line.
            hub.counters.errors.one(ErrorKind::Message);
            hub.stderr.line(format!("wsp: standard input, line {number}: {error}"));
            return;
        }
    };
    let receivers = match line.session.as_deref() {
        None => hub.sessions(),
        Some(word) => match hub.named(word) {
            receivers if !receivers.is_empty() => receivers,
            _ if line.event == InputEvent::Ignored => Vec::new(),
            _ => {
                let size = if let InputEvent::Message(message) = &line.event { message.len() } else { 0 };
                return hub.no_receiver(word, size);
            }
        },
    };
    match line.event {
        InputEvent::Message(message) => {
            let mut unplaced = Unplaced::new();
            for mailbox in receivers {
                unplaced.extend(hub.place(&mailbox, message.clone()).map(|message| (mailbox, message)));
            }
            place(hub, unplaced).await;
        }
        InputEvent::Ping(payload) => control(&receivers, &|| Outgoing::Ping(payload.clone())),
        InputEvent::Pong(payload) => control(&receivers, &|| Outgoing::Pong(payload.clone())),
        InputEvent::Close { code, reason } => {
            for mailbox in receivers {
                mailbox.close_after_all(CloseReason::new(code.unwrap_or(1000), &reason));
            }
        }
        InputEvent::Ignored => {}
    }
}

fn control(receivers: &[Rc<Mailbox>], frame: &dyn Fn() -> Outgoing) {
    for mailbox in receivers {
        mailbox.push_control(frame());
    }
}
