//! A client of a server end, as it is seen.
//!
//! Its name is that of the end and a number. What happens to its messages is seen elsewhere, or told here. Invariant:
//! its end is told once.

use std::rc::Rc;
use std::sync::Arc;

use super::View;
use crate::listen::mailbox::Mailbox;
use crate::message::Message;
use crate::message::event::{Direction, EventBody};
use crate::message::source::{Source, path_of};
use crate::net::connection::{CloseReason, Incoming};
use crate::net::deflate::Agreed;
use crate::net::listener::Accepted;
use crate::protocol::Measure;
use crate::queue::envelope::Origin;

/// A client of a server end.
pub(crate) struct Guest {
    pub session: String,
    mailbox: Rc<Mailbox>,
    view: Rc<View>,
    close: Option<CloseReason>,
}

impl Guest {
    pub(crate) fn new(view: &Rc<View>, mailbox: &Rc<Mailbox>, accepted: &Accepted) -> Self {
        let session = format!("{}.{}", view.id, mailbox.id);
        view.guest(&session, None, || EventBody::Open {
            url: None,
            peer: Some(mailbox.peer.to_string()),
            path: Some(path_of(&accepted.target).to_owned()),
            subprotocol: accepted.subprotocol.clone(),
            extensions: accepted.deflate.as_ref().map(Agreed::to_header),
            handshake_ms: None,
            subject: mailbox.subject().map(str::to_owned),
        });
        Self { session, mailbox: Rc::clone(mailbox), view: Rc::clone(view), close: None }
    }

    /// Its first message is here, or a later one: what comes from it says so. By now it has whatever name it will have.
    pub(crate) fn is_source_of(&self, origin: &Origin) {
        origin.source.get_or_init(|| {
            let mailbox = &self.mailbox;
            Arc::new(Source::Client {
                peer: mailbox.peer.to_string(),
                path: path_of(&mailbox.target).to_owned(),
                subprotocol: mailbox.subprotocol.as_deref().map(str::to_owned),
                name: mailbox.name().map(ToString::to_string),
                subject: mailbox.subject().map(str::to_owned),
            })
        });
    }

    pub(crate) fn came(&self, message: &Message) {
        self.view.came(&self.session, message);
    }

    pub(crate) fn went(&self, message: &Message) {
        self.view.went(&self.session, message);
    }

    pub(crate) fn measured(&self, measure: Measure) {
        self.view.measured(measure);
    }

    /// It sent what its protocol cannot use, and stays.
    pub(crate) fn fault(&self, text: &str) {
        self.view.guest(&self.session, None, || EventBody::Error { error: text.to_owned() });
    }

    /// It sent a ping, a pong or a Close.
    pub(crate) fn incoming(&mut self, incoming: &Incoming) {
        let dir = Some(Direction::In);
        match incoming {
            Incoming::Ping(payload) => self.view.guest(&self.session, dir, || EventBody::Ping(payload.clone())),
            Incoming::Pong(payload) => self.view.guest(&self.session, dir, || EventBody::Pong(payload.clone())),
            Incoming::Close(close) => self.close = Some(close.clone()),
            Incoming::Message(_) => {}
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let close = self.close.take();
        let dir = close.is_some().then_some(Direction::In);
        self.view.guest(&self.session, dir, || match close {
            Some(close) => EventBody::Close { code: close.code, reason: close.reason, clean: true },
            None => EventBody::Close { code: None, reason: "the connection ended".to_owned(), clean: false },
        });
    }
}
