//! What the server does with messages: a [`Handler`] per session, made from the server's [`Mode`].
//!
//! A handler is told what happened and says what is to be done through [`Actions`]; it touches no connection. Larger
//! handlers have a file each. Invariant: what a handler is given it answers, passes on, or counts.

mod ack;
mod answer;
mod answers;
pub(crate) mod exec;
pub(crate) mod push;
pub(crate) mod script;
mod speaker;
mod told;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;

pub(crate) use answer::{Answer, Broadcast, Echo, Quiet, Reply, ReplyFilter};
pub(crate) use speaker::Speaker;

use self::ack::Acknowledged;
use self::answers::Audience;
use self::exec::{Exec, ExecSettings};
use self::push::PushSettings;
use self::script::{Rule, Script};
use super::hub::{Hub, Unplaced};
use super::mailbox::Mailbox;
use super::phase::Phase;
use crate::filter::Filter;
use crate::message::Message;
use crate::net::connection::{CloseReason, Incoming};
use crate::net::listener::{Accepted, Refuse};
use crate::protocol;

/// What the server does with messages.
#[derive(Debug, Clone)]
pub(crate) enum Mode {
    /// Print what arrives, send input to all.
    Print,
    /// Send each message back.
    Echo,
    /// Send each message to all.
    Broadcast {
        /// Not back to its sender.
        no_self: bool,
        /// What is sent in its place.
        forward: Option<Filter>,
    },
    /// Answer each message with this.
    Reply(Rc<Answer>),
    /// Answer each message with what the filter yields; whether it is given text that is not JSON.
    ReplyFilter(Filter, bool),
    /// Count and discard.
    Sink,
    /// Run a program for each session.
    Exec(Rc<ExecSettings>),
    /// Send all sessions messages of the server's own.
    Push(Rc<PushSettings>),
    /// Speak a protocol; input goes to all.
    Protocol(protocol::Settings),
    /// Do what the rules of a script say.
    Script(Arc<[Rule]>),
    /// What somebody else makes handlers for.
    Other(Rc<dyn MakeHandler>),
}

/// Makes the handlers of sessions whose messages are not this room's business.
pub(crate) trait MakeHandler: fmt::Debug {
    /// The handler of a session that has just joined.
    fn handler(&self, hub: &Rc<Hub>, mailbox: &Rc<Mailbox>, accepted: &mut Accepted) -> Box<dyn Handler>;
}

/// The handler of a session that has just been accepted, with all that was asked for beside its mode.
pub(crate) fn for_session(hub: &Rc<Hub>, mailbox: &Rc<Mailbox>, accepted: &mut Accepted) -> Box<dyn Handler> {
    let handler = match &hub.settings.mode {
        Mode::Other(maker) => maker.handler(hub, mailbox, accepted),
        mode => mode.handler(accepted),
    };
    match &hub.settings.ack {
        Some(filter) => Box::new(Acknowledged::new(handler, filter.clone())),
        None => handler,
    }
}

impl Mode {
    fn handler(&self, accepted: &Accepted) -> Box<dyn Handler> {
        match self {
            Self::Print | Self::Sink | Self::Push(_) | Self::Other(_) => Box::new(Quiet),
            Self::Echo => Box::new(Echo),
            Self::Broadcast { no_self, forward: None } => Box::new(Broadcast { no_self: *no_self }),
            Self::Broadcast { no_self, forward: Some(filter) } => {
                let audience = if *no_self { Audience::Others } else { Audience::All };
                Box::new(ReplyFilter::forwarding(filter.clone(), audience))
            }
            Self::Reply(answer) => Box::new(Reply(Rc::clone(answer))),
            Self::ReplyFilter(filter, raw_input) => Box::new(ReplyFilter::new(filter.clone(), *raw_input)),
            Self::Exec(settings) => Box::new(Exec::new(Rc::clone(settings), accepted)),
            Self::Protocol(settings) => Box::new(Speaker::new(settings.session())),
            Self::Script(rules) => Box::new(Script::new(Arc::clone(rules))),
        }
    }

    /// What the server does beside its sessions, until it stops.
    pub(crate) fn background(&self, hub: &Rc<Hub>) -> Option<Pin<Box<dyn Future<Output = ()>>>> {
        match self {
            Self::Push(settings) => Some(Box::pin(push::generate(Rc::clone(hub), Rc::clone(settings)))),
            _ => None,
        }
    }

    /// The handlers' word on who may join.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn admit(&self, hub: &Hub, head: &Parts) -> Result<(), Refuse> {
        match self {
            Self::Exec(settings) => settings.admit(hub, head),
            _ => Ok(()),
        }
    }

    /// Whether messages are printed when nothing else was said.
    pub(crate) fn prints(&self) -> bool {
        matches!(self, Self::Print | Self::Protocol(_))
    }

    /// Whether standard input is sent.
    pub(crate) fn reads_input(&self) -> bool {
        matches!(self, Self::Print | Self::Protocol(_))
    }

    /// Whether what a client sends reaches a program, a script or standard output, whatever is on stdin.
    pub(crate) fn acts(&self) -> bool {
        matches!(self, Self::Exec(_) | Self::Script(_) | Self::Print)
    }

    /// Whether input waits while nobody is connected; otherwise it waits for the first session only.
    pub(crate) fn holds_input(&self) -> bool {
        !matches!(self, Self::Protocol(protocol::Settings::Feed(_) | protocol::Settings::Gateway(_)))
    }

    /// A message is on its way to all sessions.
    pub(crate) fn on_published(&self, message: &Message) {
        if let Self::Protocol(settings) = self {
            settings.on_published(message);
        }
    }
}

/// What messages mean to one session.
pub(crate) trait Handler {
    /// The session has opened.
    fn on_open(&mut self, _actions: &mut Actions) {}

    /// The peer sent a message.
    fn on_message(&mut self, message: Message, actions: &mut Actions);

    /// Whether the hub prints what arrives; otherwise the handler does, through [`Hub::print`].
    fn leaves_printing(&self) -> bool {
        true
    }

    /// Whether messages of the mailbox may go out now; while not, they wait there.
    fn takes_outgoing(&self) -> bool {
        true
    }

    /// A message of the mailbox is due.
    fn on_outgoing(&mut self, message: Message, actions: &mut Actions) {
        actions.send(message);
    }

    /// Looked at whenever the session is: time limits, a child process. Registers the waker for the next time.
    fn poll(&mut self, _cx: &mut Context<'_>, _actions: &mut Actions) {}

    /// Ready when what arrives can be taken in; `Pending` registers the waker and pauses reading.
    fn poll_can_receive(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// The peer sent a ping, a pong or a Close.
    fn on_control(&mut self, _incoming: &Incoming) {}

    /// Everything the handler sent has been written to the socket.
    fn on_flushed(&mut self) {}

    /// Whether answers to the message that was given last are still to come from a filter.
    fn is_answering(&self) -> bool {
        false
    }

    /// Whether the handler has more to send before an orderly end of the server, and will wake the task when that changes.
    fn is_busy(&self) -> bool {
        false
    }
}

/// What a handler wants done for its session.
pub(crate) struct Actions<'a> {
    /// The server.
    pub hub: &'a Rc<Hub>,
    /// The session.
    pub mailbox: &'a Rc<Mailbox>,
    pub(super) sends: &'a mut Vec<Message>,
    pub(super) unplaced: &'a mut Unplaced,
    pub(super) phase: &'a mut Phase,
}

impl Actions<'_> {
    /// Sends to the session's peer, in order.
    pub(crate) fn send(&mut self, message: Message) {
        self.sends.push(message);
    }

    /// Whether nothing is to be sent, and the session goes on.
    pub(crate) fn is_idle(&self) -> bool {
        self.sends.is_empty() && !self.is_closing()
    }

    /// Whether the session is to be closed.
    pub(crate) fn is_closing(&self) -> bool {
        self.phase.wants_close()
    }

    /// Places before every session but `except`; what has no room pauses reading from this one.
    pub(crate) fn send_to_all(&mut self, message: &Message, except: Option<u64>) {
        self.unplaced.extend(self.hub.to_all(message, except));
    }

    /// Places before the session of this id, or all of this name; where there is none, the message is dropped and counted.
    pub(crate) fn send_to(&mut self, word: &str, message: &Message) {
        let mut receivers = self.hub.named(word);
        receivers.retain(|mailbox| !mailbox.waits_outside());
        if receivers.is_empty() {
            self.hub.no_receiver(word, message.len());
        }
        for mailbox in receivers {
            if let Some(message) = self.hub.place(&mailbox, message.clone()) {
                self.unplaced.push((mailbox, message));
            }
        }
    }

    /// Ends the session at once and without a word.
    pub(crate) fn cut(&mut self) {
        self.phase.cut();
    }

    /// Closes the session once what was sent so far has gone out.
    pub(crate) fn close(&mut self, close: CloseReason) {
        self.phase.leave(close);
    }
}
