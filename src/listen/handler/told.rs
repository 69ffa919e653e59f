//! What a filter is told of a session's messages: the input, `$meta` and `$prev`.
//!
//! Invariants: a message that is no JSON is the string of its text, or null where it is binary; `$prev` is the message
//! before that was JSON, null at first; `$meta` is made once, for the first filter that asks for it.

use std::cell::OnceCell;

use jiff::Timestamp;

use crate::filter::{Filter, Json};
use crate::listen::mailbox::Mailbox;
use crate::listen::session_id::session_id;
use crate::message::Message;
use crate::message::event::time_text;
use crate::message::source::{Source, path_of};
use crate::net::listener::PeerAddr;

/// What was said so far in one session.
#[derive(Debug, Default)]
pub(super) struct Told {
    seq: u64,
    prev: Option<Box<Json>>,
    raw_input: bool,
}

/// A message, or the beginning of a session, as a filter sees it.
#[derive(Debug)]
pub(super) struct Input<'a> {
    json: Json,
    prev: Json,
    /// Why the message could not be read, where it is not JSON.
    pub unread: Option<String>,
    /// Gone once `meta` is made.
    facts: Option<Facts<'a>>,
    meta: OnceCell<Json>,
}

/// Whose messages they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sender<'a> {
    /// The session's number.
    pub id: u64,
    /// Where it comes from.
    pub peer: PeerAddr,
    /// Path and query it asked for.
    pub target: &'a str,
    /// The subprotocol agreed on.
    pub subprotocol: Option<&'a str>,
    /// What it is called.
    pub name: Option<&'a str>,
    /// Whom its token or certificate names.
    pub subject: Option<&'a str>,
}

impl<'a> From<&'a Mailbox> for Sender<'a> {
    fn from(mailbox: &'a Mailbox) -> Self {
        let Mailbox { id, peer, target, subprotocol, .. } = mailbox;
        let (name, subject) = (mailbox.name().map(|name| &**name), mailbox.subject());
        Self { id: *id, peer: *peer, target, subprotocol: subprotocol.as_deref(), name, subject }
    }
}

/// What `$meta` is made of.
#[derive(Debug, Clone, Copy)]
struct Facts<'a> {
    sender: Sender<'a>,
    kind: &'static str,
    size: usize,
    seq: u64,
}

impl Told {
    /// Nothing was said yet; with `raw_input` text that is not JSON counts as JSON, a string.
    pub(super) fn new(raw_input: bool) -> Self {
        Self { raw_input, ..Self::default() }
    }

    /// The session has opened.
    pub(super) fn opening(sender: Sender<'_>) -> Input<'_> {
        let facts = Some(Facts { sender, kind: "open", size: 0, seq: 0 });
        Input { json: Json::null(), prev: Json::null(), unread: Some(String::new()), facts, meta: OnceCell::new() }
    }

    /// A message has arrived in it.
    pub(super) fn message<'a>(&mut self, message: &Message, sender: Sender<'a>) -> Input<'a> {
        self.seq += 1;
        let (json, unread) = match Json::of_message(message, self.raw_input) {
            Ok(json) => (json, None),
            Err(reason) => (message.as_text().map_or_else(Json::null, Json::from_text), Some(reason)),
        };
        let next = if unread.is_none() { Some(Box::new(json.clone())) } else { self.prev.clone() };
        let prev = std::mem::replace(&mut self.prev, next).map_or_else(Json::null, |prev| *prev);
        let facts = Facts { sender, kind: message.kind().name(), size: message.len(), seq: self.seq };
        Input { json, prev, unread, facts: Some(facts), meta: OnceCell::new() }
    }
}

impl Input<'_> {
    /// The same, for another thread.
    pub(super) fn detached(&self) -> Input<'static> {
        let meta = OnceCell::from(self.made_meta());
        let [json, prev] = [&self.json, &self.prev].map(Json::clone);
        Input { json, prev, unread: self.unread.clone(), facts: None, meta }
    }

    fn made_meta(&self) -> Json {
        let make = || self.facts.map_or_else(Json::null, Facts::meta);
        self.meta.get_or_init(make).clone()
    }

    /// Runs a filter on it; each output is handed on.
    ///
    /// # Errors
    /// As [`Filter::run`].
    pub(super) fn run(&self, filter: &Filter, mut out: impl FnMut(Json)) -> Result<(), String> {
        filter.run(&self.json, &self.meta(filter), &self.prev, &mut |value| {
            out(value);
            std::ops::ControlFlow::Continue(())
        })
    }

    /// Whether the first output of a filter is neither false nor null.
    pub(super) fn matches(&self, filter: &Filter) -> bool {
        filter.matches(&self.json, &self.meta(filter), &self.prev)
    }

    fn meta(&self, filter: &Filter) -> Json {
        filter.meta(|| self.made_meta())
    }
}

impl Facts<'_> {
    fn meta(self) -> Json {
        let Self { sender, kind, size, seq } = self;
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let source = Source::Client {
            peer: sender.peer.to_string(),
            path: path_of(sender.target).to_owned(),
            subprotocol: owned(sender.subprotocol),
            name: owned(sender.name),
            subject: owned(sender.subject),
        };
        let (id, time) = (session_id(sender.id), time_text(Timestamp::now()));
        Json::meta(&id, sender.target, &time, kind, size, seq).with_source(&source)
    }
}
