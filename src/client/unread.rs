//! Messages that a filter of `connect` could not be given, counted by the reason.

use std::cell::Cell;

use crate::filter::Json;
use crate::filter::jq::TOO_DEEP;
use crate::message::counted::counted;

/// Counts messages that a filter could not be given.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    not_json: Cell<u64>,
    too_deep: Cell<u64>,
}

impl Unread {
    /// Counts a message by what reading it came to.
    pub(crate) fn count(&self, parsed: Option<&Result<Json, String>>) {
        self.count_reason(parsed.and_then(|parsed| parsed.as_ref().err()).map_or("", String::as_str));
    }

    /// As [`Unread::count`], by the reason reading it failed for.
    pub(crate) fn count_reason(&self, reason: &str) {
        let count = if reason.starts_with(TOO_DEEP) { &self.too_deep } else { &self.not_json };
        count.set(count.get() + 1);
    }

    pub(crate) fn is_none(&self) -> bool {
        self.not_json.get() + self.too_deep.get() == 0
    }

    /// How many, and why, in words.
    pub(crate) fn told(&self) -> impl Iterator<Item = (String, &'static str)> {
        [(self.not_json.get(), "not JSON"), (self.too_deep.get(), TOO_DEEP)]
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, why)| (counted(count, "message"), why))
    }
}
