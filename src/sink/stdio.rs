//! Standard output as the sink of a pipeline: a message a line, or event lines.
//!
//! A message counts as taken once it has been written.

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::stdout::{OutputFailure, SharedOutput};
use crate::exit::Exit;
use crate::message::event::{Direction, write_message_line};
use crate::message::render::{self, Format};
use crate::queue::end::{BatchSink, EndError, LocalFuture, Problem, Report};
use crate::queue::envelope::Envelope;

/// Writes to standard output.
#[derive(Debug)]
pub(crate) struct StdioSink {
    pub output: SharedOutput,
    pub format: Format,
    pub to_terminal: bool,
    pub colour: bool,
}

impl BatchSink for StdioSink {
    fn name(&self) -> &'static str {
        "-"
    }

    fn deliver<'a>(&'a mut self, batch: &'a [Envelope]) -> LocalFuture<'a, Report> {
        Box::pin(async move {
            for envelope in batch {
                let mut output = self.output.borrow_mut();
                let buffer = output.buffer();
                if self.format == Format::Json {
                    let session = &envelope.origin.session;
                    write_message_line(buffer, envelope.time, session, Direction::In, &envelope.message);
                } else {
                    render::message(buffer, &envelope.message, self.format, self.to_terminal, self.colour);
                }
                output.wrote();
            }
            match self.written().await {
                Ok(()) => Report::Taken,
                Err(failure) => Report::Partly(0, Problem::Broken(end(failure))),
            }
        })
    }

    fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<EndError> {
        let mut output = self.output.borrow_mut();
        output.watch(cx);
        output.failure().map_or(Poll::Pending, |failure| Poll::Ready(end(failure)))
    }
}

fn end(failure: OutputFailure) -> EndError {
    match failure {
        // The reader closed its end.
        OutputFailure::Closed => EndError::new(Exit::Done, "standard output was closed"),
        OutputFailure::Failed(cause) => {
            EndError::new(Exit::Storage, format!("cannot write to standard output: {cause}"))
        }
    }
}

impl StdioSink {
    async fn written(&mut self) -> Result<(), OutputFailure> {
        let until = self.output.borrow().appended();
        poll_fn(|cx| {
            let mut output = self.output.borrow_mut();
            output.watch(cx);
            match output.failure() {
                Some(failure) => Poll::Ready(Err(failure)),
                None if output.written() >= until => Poll::Ready(Ok(())),
                None => Poll::Pending,
            }
        })
        .await
    }
}
