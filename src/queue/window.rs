//! A sink that takes messages one after the other and answers for each later, many being under way at a time.
//!
//! Brokers are such sinks: waiting for all answers of a batch would leave them idle. Leaves settling, retries and dead
//! letters to the pipeline.

use std::task::{Context, Poll};

use super::end::{LocalFuture, Problem};
use super::envelope::Envelope;

/// What became of messages, by their numbers.
pub(crate) enum Answer {
    One(u64, Result<(), Problem>),
    /// All that were handed over up to this one are delivered.
    UpTo(u64),
}

/// A sink that answers later.
pub(crate) trait WindowSink {
    /// The endpoint, without secrets.
    fn name(&self) -> &str;

    /// Connects: at first, and again after the link was lost. Nothing is under way then.
    fn open(&mut self) -> LocalFuture<'_, Result<(), Problem>>;

    /// Hands a message over, whose answer comes later. Pending when there is no room now.
    ///
    /// Numbers grow from message to message; one that is handed over again has the number it had before.
    fn poll_hand(&mut self, number: u64, envelope: &Envelope, cx: &mut Context<'_>) -> Poll<Result<(), Problem>>;

    /// Nothing more will be handed over for the moment.
    fn pause(&mut self, cx: &mut Context<'_>);

    /// Adds what has been answered. Ready with an error when the link is lost, and all that was under way with it.
    fn poll_answers(&mut self, cx: &mut Context<'_>, answers: &mut Vec<Answer>) -> Poll<Problem>;

    /// What was under way when the link was lost will not be handed over again.
    fn give_up(&mut self) {}

    /// Everything has been answered: closes in order.
    fn finish(&mut self) -> LocalFuture<'_, ()>;
}
