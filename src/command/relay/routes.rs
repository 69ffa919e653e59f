//! `--route`: from a text to a choice and the endpoint it leads to.

use crate::command::settings;
use crate::config::RouteText;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::pipeline::flow::Choice;
use crate::redact;

/// Takes a route apart.
///
/// # Errors
/// A text without an arrow.
pub(super) fn parse(text: &str) -> Result<RouteText, Error> {
    RouteText::parse(text).ok_or_else(|| {
        let text = format!("--route '{}' has no =>", redact::text(text));
        Error::usage(text, "write --route 'JQ => ENDPOINT', or 'JQ => ENDPOINT => JQ'")
    })
}

impl RouteText {
    /// Compiles its filters; `endpoint` reads where it leads to.
    ///
    /// # Errors
    /// Filters that do not compile, and what `endpoint` says.
    pub(super) fn compile(
        &self,
        endpoint: impl FnOnce(&str) -> Result<Endpoint, Error>,
    ) -> Result<(Choice, Endpoint), Error> {
        let filter = |source: &str| settings::filter("--route", source);
        let choice = Choice { when: filter(&self.when)?, project: self.jq.as_deref().map(filter).transpose()? };
        Ok((choice, endpoint(&self.to)?))
    }
}
