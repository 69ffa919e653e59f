//! Flags of `http://` and `https://` endpoints, and the end they make.

use std::time::Duration;

use clap::Args;

use super::build::Build;
use crate::command::settings;
use crate::command::values::duration;
use crate::error::Error;
use crate::net::connector::Connector;
use crate::net::post::Poster;
use crate::pipeline::http::HttpSink;

/// How requests are sent.
#[derive(Debug, Clone, Args)]
pub struct HttpArgs {
    /// Longest wait for the answer to an HTTP request
    #[arg(
        long,
        value_name = "DUR",
        default_value = "30s",
        value_parser = duration,
        hide_short_help = true,
        help_heading = "HTTP"
    )]
    pub request_timeout: Duration,
}

impl Build<'_> {
    /// The sink that posts to a URL, and how many messages it takes at a time when the user has not said.
    pub(super) fn http(&self, url: &str, name: &str) -> Result<(HttpSink, usize), Error> {
        let args = self.args;
        let connector = Connector::new(settings::connect_options(url, &args.connection, false)?)?;
        let is_batch = args.batch.is_some() || args.batch_bytes.is_some() || args.batch_age.is_some();
        let sink = HttpSink {
            poster: Poster::new(connector, args.http.request_timeout),
            name: name.to_owned(),
            format: self.line_format,
            lines: is_batch && args.batch != Some(1),
            retry_on: args.connection.retry_on.clone(),
        };
        Ok((sink, if is_batch { super::ends::BATCH } else { 1 }))
    }
}
