//! The name of a session: asks for it when there is something new to say, and takes the answer.
//!
//! Leaves the questions to `naming`, and who has which name to the hub.

use std::task::{Context, Poll, Waker};

use super::ServerPeer;
use crate::listen::guard::credentials::Identity;
use crate::message::Message;

impl ServerPeer {
    /// Asks now that the session has said who it is.
    pub(super) fn ask_for_name(&mut self, identity: &Identity) {
        if let Some(naming) = &mut self.naming {
            naming.identify(self.mailbox.subject(), identity);
            naming.ask(None);
            let _ = self.poll_name(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Asks about a first message, and gives it back where it need not wait for the answer; later ones as they are.
    pub(super) fn asked_for_name(&mut self, message: Message) -> Option<Message> {
        let Some(naming) = &mut self.naming else { return Some(message) };
        naming.ask(Some(message));
        self.poll_name(&mut Context::from_waker(Waker::noop()))
    }

    /// The message that has waited for the session's name, once that is known or will never be; else registers the waker.
    pub(super) fn poll_name(&mut self, cx: &mut Context<'_>) -> Option<Message> {
        let naming = self.naming.as_mut().filter(|naming| naming.is_asked())?;
        let Poll::Ready((answer, message)) = naming.poll(cx) else { return None };
        if self.hub.take_name(&self.mailbox, answer, message.is_some()) {
            self.naming = None;
            if let Some(name) = self.mailbox.name().filter(|_| self.hub.settings.verbose) {
                let name = name.escape_debug();
                self.hub.notice(format!("{}: named {name}", self.hub.id_of(self.mailbox.id)));
            }
        }
        message
    }

    /// Whether the filter has yet to say what the session is called.
    pub(super) fn awaits_name(&self) -> bool {
        self.naming.as_ref().is_some_and(|naming| naming.is_asked())
    }
}
