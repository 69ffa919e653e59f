//! A client of a server end, as it is seen.
//!
//! Its name is that of the end and a number. What becomes of its messages is seen elsewhere, or told here. Invariant: its
//! end is told once.

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

/// A client of a server end.
pub struct Guest {
    /// Its name in events.
    pub session: String,
    /// Where its messages come from.
    pub source: Arc<Source>,
    view: Rc<View>,
    close: Option<CloseReason>,
}

impl Guest {
    /// It has been let in.
    pub fn new(view: &Rc<View>, mailbox: &Mailbox, accepted: &Accepted) -> Self {
        let session = format!("{}.{}", view.id, mailbox.id);
        view.guest(&session, None, || EventBody::Open {
            url: None,
            peer: Some(mailbox.peer.to_string()),
            path: Some(path_of(&accepted.target).to_owned()),
            subprotocol: accepted.subprotocol.clone(),
            extensions: accepted.deflate.as_ref().map(Agreed::to_header),
            handshake_ms: None,
            subject: accepted.transport.subject(),
        });
        let source = Source::client(mailbox.peer.to_string(), &accepted.target, accepted.subprotocol.clone());
        Self { session, source: Arc::new(source), view: Rc::clone(view), close: None }
    }

    /// This came from it.
    pub fn came(&self, message: &Message) {
        self.view.came(&self.session, message);
    }

    /// This went to it.
    pub fn went(&self, message: &Message) {
        self.view.went(&self.session, message);
    }

    /// Something about its requests.
    pub fn measured(&self, measure: Measure) {
        self.view.measured(measure);
    }

    /// It sent what its protocol cannot use, and stays.
    pub fn fault(&self, text: &str) {
        self.view.guest(&self.session, None, || EventBody::Error { error: text.to_owned() });
    }

    /// It sent a ping, a pong or a Close.
    pub fn incoming(&mut self, incoming: &Incoming) {
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
