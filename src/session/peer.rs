//! The side of a session that knows what messages mean, as its driver sees it.

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;

use crate::message::Message;
use crate::net::connection::{CloseReason, Incoming};

/// Replies to what was just received, sent in order before anything else is read.
pub(crate) type Replies = VecDeque<Message>;

/// What the [`Peer`] wants sent.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// A message in one piece.
    Message(Message),
    /// A ping of the user's own.
    Ping(Bytes),
    /// An unasked pong.
    Pong(Bytes),
    /// Close, then end when the peer has answered or the close timeout ran out.
    Close(CloseReason),
    /// End without a word (a second interrupt).
    Abort,
}

/// The side of a session that knows what messages mean.
pub(crate) trait Peer {
    /// Something arrived. Replies go out in order, before the next message is read.
    fn on_incoming(&mut self, incoming: Incoming, replies: &mut Replies);

    /// The next thing to send; `Pending` registers the waker. Asked only when it can be sent.
    fn poll_outgoing(&mut self, cx: &mut Context<'_>) -> Poll<Outgoing>;

    /// Ready when what arrives can be taken in; `Pending` registers the waker and pauses reading.
    fn poll_can_receive(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// Ready when nothing is left to do for the messages that came before, so that the next may be handed over; adds what
    /// is to be replied to them. `Pending` registers the waker; messages are held meanwhile, pings are answered.
    fn poll_done(&mut self, _cx: &mut Context<'_>, _replies: &mut Replies) -> Poll<()> {
        Poll::Ready(())
    }

    /// Ready unless nothing at all may be read or written for a while; `Pending` registers the waker.
    fn poll_may_run(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Asked while nothing can be sent, so that the user can still leave: ready to
    /// end without a word.
    fn poll_urgent(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }

    /// A message, control frame or Close of ours was handed to the connection.
    fn on_sent(&mut self, _outgoing: &Outgoing) {}

    /// A ping that measures the round trip was handed to the connection.
    fn on_pinged(&mut self, _payload: &[u8]) {}

    /// A reply was handed to the connection.
    fn on_replied(&mut self, _message: &Message) {}

    /// Nothing more is ready: time to flush output.
    fn on_pass_end(&mut self) {}

    /// Everything handed to the connection has been written to its socket.
    fn on_flushed(&mut self) {}

    /// Some of what waited for room in the socket has been written to it.
    fn on_progress(&mut self) {}

    /// Part of a message came in, or all of it.
    fn on_partial(&mut self) {}

    /// Our ping was answered after this time.
    fn on_round_trip(&mut self, _time: Duration) {}
}
