//! What messages mean to one session of the server.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::time::{Instant, Sleep, sleep_until};

use super::hub::{Hub, Mailbox, Mode, Unplaced, add, session_name};
use crate::filter::Json;
use crate::message::Message;
use crate::message::event::{Direction, EventBody};
use crate::net::connection::{CloseReason, Incoming};
use crate::session::{Outgoing, Peer, Replies};

/// One session of the server.
pub struct ServerPeer {
    hub: Rc<Hub>,
    id: u64,
    mailbox: Rc<Mailbox>,
    unplaced: Unplaced,
    closing: bool,
    give_up: Option<Pin<Box<Sleep>>>,
    prev: Option<Box<Json>>,
}

impl ServerPeer {
    /// A session that has just joined.
    pub fn new(hub: Rc<Hub>, id: u64, mailbox: Rc<Mailbox>) -> Self {
        Self { hub, id, mailbox, unplaced: Unplaced::new(), closing: false, give_up: None, prev: None }
    }

    fn reply(&mut self, message: Message, replies: &mut Replies) {
        // Asked for by name, the queue and its policy hold for replies too.
        if self.hub.settings.on_full.is_none() {
            replies.push_back(message);
            return;
        }
        if let Some(message) = self.hub.place(&self.mailbox, message.detached()) {
            replies.push_back(message);
        }
    }

    fn on_message(&mut self, message: Message, replies: &mut Replies) {
        let hub = Rc::clone(&self.hub);
        add(&hub.counters.received, 1);
        hub.print(self.id, &message);
        match &hub.settings.mode {
            Mode::Print | Mode::Sink => {}
            Mode::Echo => self.reply(message, replies),
            Mode::Broadcast { no_self } => {
                let except = no_self.then_some(self.id);
                self.unplaced.extend(hub.to_all(&message.detached(), except));
            }
            Mode::Reply(reply) => self.reply(reply.clone(), replies),
            Mode::ReplyFilter(filter) => {
                let Ok(json) = Json::parse(message.payload()) else { return };
                let prev = self.prev.take().map_or_else(Json::null, |prev| *prev);
                let mut answers = Vec::new();
                let result = filter.run(&json, &Json::null(), &prev, &mut |value| {
                    let text = value.as_str().map_or_else(|| value.to_compact_string(), |text| text.to_string());
                    answers.push(Message::text(text));
                    std::ops::ControlFlow::Continue(())
                });
                self.prev = Some(Box::new(json));
                for answer in answers {
                    self.reply(answer, replies);
                }
                if let Err(error) = result {
                    hub.notice(format!("{}: jq: {error}", session_name(self.id)));
                }
            }
        }
    }

    fn on_out(&mut self, body: EventBody) {
        self.hub.event(self.id, Some(Direction::Out), body);
    }
}

impl Peer for ServerPeer {
    fn on_incoming(&mut self, incoming: Incoming, replies: &mut Replies) {
        match incoming {
            Incoming::Message(message) => self.on_message(message, replies),
            Incoming::Ping(payload) => self.hub.event(self.id, Some(Direction::In), EventBody::Ping(payload)),
            Incoming::Pong(payload) => self.hub.event(self.id, Some(Direction::In), EventBody::Pong(payload)),
            Incoming::Close(close) => {
                let body = EventBody::Close { code: close.code, reason: close.reason, clean: true };
                self.hub.event(self.id, Some(Direction::In), body);
            }
        }
    }

    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Outgoing> {
        if self.closing {
            return Poll::Pending;
        }
        if self.hub.is_aborting() {
            return Poll::Ready(Outgoing::Abort);
        }
        if self.mailbox.has_overflowed() {
            self.closing = true;
            return Poll::Ready(Outgoing::Close(CloseReason::new(1008, "too slow: the send queue is full")));
        }
        if let Some(message) = self.mailbox.poll_next(cx) {
            self.hub.wake_waiting();
            return Poll::Ready(Outgoing::Message(message));
        }
        // What was queued before the stop goes out first.
        if self.hub.is_stopping() {
            self.closing = true;
            return Poll::Ready(Outgoing::Close(CloseReason::new(1001, "the server is shutting down")));
        }
        Poll::Pending
    }

    fn poll_urgent(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.mailbox.watch(cx);
        if self.hub.is_aborting() {
            return Poll::Ready(());
        }
        if self.closing || !(self.hub.is_stopping() || self.mailbox.has_overflowed()) {
            return Poll::Pending;
        }
        let deadline = Instant::now() + self.hub.settings.driver.close_timeout;
        self.give_up.get_or_insert_with(|| Box::pin(sleep_until(deadline))).as_mut().poll(cx)
    }

    fn poll_can_receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.unplaced.is_empty() && !self.hub.place_again(&mut self.unplaced, cx) {
            return Poll::Pending;
        }
        if !self.hub.has_room_to_record(cx) {
            return Poll::Pending;
        }
        if self.hub.prints() && !self.hub.has_room_to_print(cx) {
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    fn on_sent(&mut self, outgoing: &Outgoing) {
        match outgoing {
            Outgoing::Message(message) => {
                add(&self.hub.counters.sent, 1);
                self.hub.sent(self.id, message);
            }
            Outgoing::Close(close) => {
                self.on_out(EventBody::Close { code: close.code, reason: close.reason.clone(), clean: true });
            }
            Outgoing::Ping(_) | Outgoing::Pong(_) | Outgoing::Abort => {}
        }
    }

    fn on_replied(&mut self, message: &Message) {
        add(&self.hub.counters.sent, 1);
        self.hub.sent(self.id, message);
    }

    fn on_pass_end(&mut self) {
        if self.hub.prints() || self.hub.recording().is_waiting() {
            self.hub.flush();
        }
    }
}
