//! Flags of `http://` and `https://` endpoints, databases included, and the end they make.

use std::time::Duration;

use clap::Args;

use super::build::Build;
use crate::command::settings;
use crate::command::values::duration;
use crate::error::Error;
use crate::net::connector::Connector;
use crate::net::post::Poster;
use crate::pipeline::bins::BinForm;
use crate::pipeline::http::HttpSink;

/// How requests are sent.
#[derive(Debug, Clone, Args)]
pub(crate) struct HttpArgs {
    /// How long to wait for the answer to an HTTP request or a database transaction
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
    /// The sink that posts to a URL.
    pub(super) fn http(&self, url: &str, name: &str) -> Result<HttpSink, Error> {
        let args = self.args;
        let connector = Connector::new(settings::connect_options(url, &args.connection, false)?)?;
        Ok(HttpSink {
            poster: Poster::new(connector, args.http.request_timeout),
            name: name.to_owned(),
            format: self.line_format,
            lines: self.bins.as_ref().is_some_and(|bins| bins.binding.form == BinForm::Lines),
            retry_on: args.connection.retry_on.clone(),
        })
    }
}
