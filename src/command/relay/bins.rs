//! Flags about batches: what destinations are handed at a time, and bins that make one message of many.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::build::Build;
use super::ends::BATCH;
use crate::command::settings;
use crate::command::values::{duration, positive, size};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::pipeline::batch::BatchSettings;
use crate::pipeline::bins::{BinForm, BinSettings, Binding};

/// How messages are handed to destinations.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Queue")]
pub(crate) struct BinArgs {
    /// Maximum number of messages in a batch; HTTP gets a batch as lines
    ///
    /// Without --batch-as, --batch-min and --batch-jq only an http:// destination gets a batch as one message, a line
    /// for each; Kafka's producer batches as the flags say; all others get single messages, a batch at a time.
    #[arg(long, value_name = "N", value_parser = positive)]
    pub batch: Option<usize>,
    /// Minimum number of messages in a batch, until --batch-age or the end
    #[arg(long, value_name = "N", value_parser = positive, hide_short_help = true)]
    pub batch_min: Option<usize>,
    /// Maximum payload bytes of a batch [default: 1MiB]
    #[arg(long, value_name = "SIZE", value_parser = size, hide_short_help = true)]
    pub batch_bytes: Option<usize>,
    /// How long a batch waits for --batch-min (or, without it, --batch)
    #[arg(long, value_name = "DUR", value_parser = duration, hide_short_help = true)]
    pub batch_age: Option<Duration>,
    /// Make each batch one message: lines, array (JSON), or concat
    ///
    /// Applies to every destination. A batch is sent when it has --batch messages (1000) or --batch-bytes, when it has
    /// --batch-min and no more are waiting, when it is --batch-age old, and at the end. Its messages share one outcome;
    /// if it is rejected, each message is tried alone, and those rejected again are dead letters. In an array, text
    /// that is not JSON is a
    /// string and binary its base64. --json and --format set how each message in a batch is written.
    #[arg(long, value_name = "HOW", hide_possible_values = true, hide_short_help = true)]
    pub batch_as: Option<BatchAs>,
    /// Filter a batch as an array; each output is a message [with --batch-as lines by default]
    ///
    /// Array outputs are written as --batch-as says, others unchanged: 'sort_by(.time)' orders a batch,
    /// 'group_by(.symbol)[]' makes one message per symbol. A batch without output is filtered out; if the filter fails
    /// or an output is rejected, its messages are dead letters.
    #[arg(long, value_name = "JQ", hide_short_help = true)]
    pub batch_jq: Option<String>,
}

/// `--batch-as`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BatchAs {
    /// A line each
    Lines,
    /// A JSON array
    Array,
    /// One behind the other
    Concat,
}

/// What goes into a batch: by default all that is there, up to `most`; with an age, as much as may be.
pub(super) fn batch_settings(
    most: usize,
    least: Option<usize>,
    bytes: Option<usize>,
    age: Option<Duration>,
) -> BatchSettings {
    let age = age.filter(|age| !age.is_zero());
    let least = least.unwrap_or(if age.is_some() { most } else { 1 });
    BatchSettings { most, least, bytes: bytes.unwrap_or(1 << 20), age }
}

impl BinArgs {
    /// Whether every destination is to get one message for many.
    pub(super) fn asks_for_bins(&self) -> bool {
        self.batch_as.is_some() || self.batch_min.is_some() || self.batch_jq.is_some()
    }

    fn asks_for_lines(&self) -> bool {
        let any = self.batch.is_some() || self.batch_bytes.is_some() || self.batch_age.is_some();
        any && self.batch != Some(1)
    }
}

impl Build<'_> {
    /// What a sink is handed at a time.
    pub(super) fn batch(&self, most: usize) -> BatchSettings {
        let args = &self.args.bins;
        batch_settings(args.batch.unwrap_or(most), None, args.batch_bytes, args.batch_age)
    }

    /// The bins of a destination, where it gets some.
    pub(super) fn bins_for(&self, endpoint: &Endpoint) -> Result<Option<BinSettings>, Error> {
        let args = &self.args.bins;
        let is_wanted = args.asks_for_bins() || matches!(endpoint, Endpoint::Http(_)) && args.asks_for_lines();
        if !is_wanted || self.takes_dead_letters {
            return Ok(None);
        }
        let least = args.batch_min.unwrap_or(1);
        let most = args.batch.unwrap_or(BATCH.max(least));
        if least > most {
            return Err(Error::usage(
                format!("--batch-min {least} is more than --batch {most}"),
                "set --batch-min to at most --batch",
            ));
        }
        let form = match args.batch_as {
            Some(BatchAs::Array) => BinForm::Array,
            Some(BatchAs::Concat) => BinForm::Concat,
            Some(BatchAs::Lines) | None => BinForm::Lines,
        };
        let filter = args.batch_jq.as_deref().map(|source| settings::filter("--batch-jq", source)).transpose()?;
        Ok(Some(BinSettings {
            batch: batch_settings(most, args.batch_min, args.batch_bytes, args.batch_age),
            binding: Binding { form, format: self.line_format, filter },
        }))
    }
}
