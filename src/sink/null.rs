//! Takes everything and keeps nothing: for measuring and trying.

use crate::queue::end::{BatchSink, LocalFuture, Report};
use crate::queue::envelope::Envelope;

#[derive(Debug)]
pub(crate) struct NullSink;

impl BatchSink for NullSink {
    fn name(&self) -> &'static str {
        "null:"
    }

    fn deliver<'a>(&'a mut self, _batch: &'a [Envelope]) -> LocalFuture<'a, Report> {
        Box::pin(std::future::ready(Report::Taken))
    }
}
