//! What stands at the ends of a pipeline, whatever it is made of: a file, a broker, a WebSocket.
//!
//! An [`End`] that only gives messages is a source, one that only takes them a sink, and one may be both. Leaves what
//! happens between them to the pipeline.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use jiff::Timestamp;

use super::envelope::{Envelope, Origin};
use super::lane::Lane;
use super::ledger::AckCallback;
use super::stop::Stop;
use crate::exit::Exit;
use crate::message::Message;
use crate::observe::counters::DropReason;

/// A future of this thread.
pub(crate) type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

pub(crate) trait Ingress {
    /// Ready when a message may be pushed; else the waker is called when it may.
    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<()>;

    /// Takes a message in. `on_settled` is called when the source may forget it.
    fn push(&self, origin: &Rc<Origin>, seq: u64, message: Message, on_settled: Option<AckCallback>);

    /// Takes in what should have been a message and cannot be read as one: it goes to the dead letters as it is.
    fn reject(&self, origin: &Rc<Origin>, seq: u64, message: Message, error: &str);

    /// Takes a message in that is to go straight to the dead letters.
    fn refuse(
        &self,
        origin: &Rc<Origin>,
        seq: u64,
        message: Message,
        on_settled: Option<AckCallback>,
        reason: DropReason,
        error: &str,
    );

    /// So many messages of a session, of `size` bytes each where that is known, came and were lost before they could be
    /// taken in.
    fn lose(&self, session: &str, count: u64, size: Option<usize>, reason: DropReason);

    /// Whether somebody behind it asks where each message came from; otherwise finding it out is wasted work.
    fn asks_for_sources(&self) -> bool {
        false
    }

    /// So many messages wait where this source takes them from: for observers.
    fn lags(&self, _count: u64) {}

    /// This source gives no more.
    fn end(&self);

    /// How full the fullest queue behind it is.
    fn depth(&self) -> (u64, u64);

    /// Since when a queue behind it is full.
    fn full_since(&self) -> Option<Timestamp> {
        None
    }
}

/// Where messages go that nobody takes.
pub(crate) trait DeadLetters {
    /// Whether there is such a place.
    fn are_kept(&self) -> bool;

    /// Ready when one more can be kept; else the waker is called when it can. One that does not wait is kept all the same.
    fn poll_room(&self, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Ready(())
    }

    /// Keeps a message, and settles it once it is kept; without a place it is settled as dropped. `error` says why in words.
    fn dead_letter(&self, envelope: Envelope, reason: DropReason, endpoint: &str, error: &str);

    /// As [`DeadLetters::dead_letter`], of a message that was refused whatever it holds: its parts would fare no better.
    fn dead_letter_regardless(&self, envelope: Envelope, reason: DropReason, endpoint: &str, error: &str) {
        self.dead_letter(envelope, reason, endpoint, error);
    }

    /// Whether this message, refused for what it holds, is tried again in parts instead of being kept.
    fn parts(&self, _envelope: &Envelope) -> bool {
        false
    }
}

#[derive(Clone)]
pub(crate) struct EndIo {
    /// Where its messages go, when it is a source.
    pub ingress: Option<Rc<dyn Ingress>>,
    /// What waits for it, when it is a sink.
    pub lane: Option<Rc<Lane>>,
    pub stop: Rc<Stop>,
    /// For messages it will never take.
    pub dead_letters: Rc<dyn DeadLetters>,
    /// A line for the person at stderr, that `-q` silences.
    pub notice: Rc<dyn Fn(String)>,
}

impl EndIo {
    /// Waits until a message may be pushed.
    pub(crate) async fn room(&self) {
        if let Some(ingress) = &self.ingress {
            std::future::poll_fn(|cx| ingress.poll_ready(cx)).await;
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndError {
    /// The code the run ends with.
    pub exit: Exit,
    pub text: String,
    pub hint: Option<String>,
}

impl EndError {
    /// Without a hint.
    pub(crate) fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into(), hint: None }
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for EndError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// One end of a pipeline.
pub(crate) trait End {
    /// Runs until it has given or taken everything, or is told to stop.
    ///
    /// A source ends when it has nothing more to give, or at [`Step::Draining`](super::stop::Step); a sink when its lane has ended and all of it is settled. At
    /// [`Step::Aborting`](super::stop::Step) both end at once, and what is not settled stays so.
    ///
    /// # Errors
    /// What keeps it from going on, retries included.
    fn run(self: Box<Self>, io: EndIo) -> LocalFuture<'static, Result<(), EndError>>;
}

/// What a sink says to a batch.
#[derive(Debug)]
pub(crate) enum Report {
    Taken,
    /// It took so many of the first; then this happened to the next.
    Partly(usize, Problem),
    /// What happened to each, in order.
    Each(Vec<Result<(), Problem>>),
    /// It takes none of them, and would take no others in their place.
    Refused(String),
}

/// What happened to a message that was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Problem {
    /// It may be taken later, at the earliest after this time.
    Again {
        reason: String,
        /// As the other side wants it; at once, and not counted as a try, when it is zero.
        after: Option<std::time::Duration>,
    },
    Never(String),
    /// The sink itself is done for.
    Broken(EndError),
}

/// A sink that takes a batch at a time; retries and dead letters are the dispatcher's.
pub(crate) trait BatchSink {
    /// The endpoint, without secrets.
    fn name(&self) -> &str;

    /// Reaches the destination before there is a message for it, where that shows what is wrong early.
    fn open(&mut self) -> LocalFuture<'_, Result<(), Problem>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// Delivers a batch, in order.
    fn deliver<'a>(&'a mut self, batch: &'a [Envelope]) -> LocalFuture<'a, Report>;

    /// Ready when it will never take anything again, though nothing is being delivered.
    fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<EndError> {
        Poll::Pending
    }

    /// Everything has been delivered: closes in order.
    fn finish(&mut self) -> LocalFuture<'_, Result<(), EndError>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
