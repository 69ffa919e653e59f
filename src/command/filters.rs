//! `--arg`, `--argjson`, `--raw-input` and `--fold`: what the filters of the command line know, and what they are given.
//!
//! The variables are those of the run: set once, before its first filter is compiled, and known to all that come later,
//! such as one typed at the prompt or in a file that is read again. Invariant: programs of peers are compiled elsewhere.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use std::cell::RefCell;

use clap::{ArgAction, Args};

use super::settings;
use super::values::positive;
use crate::error::Error;
use crate::filter::{Arguments, Filter, FilterError, Fold, Json};

thread_local! {
    static ARGUMENTS: RefCell<Arguments> = RefCell::default();
}

/// Flags about filters.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FilterArgs {
    /// Set $NAME to the text VALUE in every filter
    ///
    /// As in jq, and as $ARGS.named.NAME too. Filters also know $ENV and env, the environment. Command line only;
    /// applies to every pipeline of a file. Filters sent by a peer have none of these variables.
    #[arg(long, action = ArgAction::Append, num_args = 2, value_names = ["NAME", "VALUE"], allow_hyphen_values = true, hide_short_help = true)]
    pub arg: Vec<String>,
    /// Set $NAME to the JSON value in every filter
    #[arg(long, action = ArgAction::Append, num_args = 2, value_names = ["NAME", "JSON"], allow_hyphen_values = true, hide_short_help = true)]
    pub argjson: Vec<String>,
    /// Pass messages that are not JSON to filters as strings
    ///
    /// Like jq -R, except that JSON messages are still parsed. Applies to every filter that reads messages, such as
    /// --jq, --expect, --init-wait, --heartbeat-reply, --reply-jq and --route. Binary messages are never passed.
    #[arg(short = 'R', long, hide_short_help = true)]
    pub raw_input: bool,
}

impl FilterArgs {
    /// Sets the variables of the run.
    ///
    /// # Errors
    /// A name no variable can have, or what is not JSON.
    pub(crate) fn set_variables(&self) -> Result<(), Error> {
        let wrong = |flag: &str, name: &str, reason: String| {
            Error::usage(format!("{flag} {name}: {reason}"), "for example --arg user alice, or --argjson limit 5")
        };
        let mut arguments = Arguments::default();
        for (flag, values) in [("--arg", &self.arg), ("--argjson", &self.argjson)] {
            for pair in values.chunks_exact(2) {
                let value = match flag {
                    "--arg" => Json::from_text(&pair[1]),
                    _ => Json::parse(pair[1].as_bytes()).map_err(|reason| wrong(flag, &pair[0], reason))?,
                };
                arguments.add(&pair[0], value).map_err(|reason| wrong(flag, &pair[0], reason))?;
            }
        }
        ARGUMENTS.set(arguments);
        Ok(())
    }
}

/// Compiles a filter of the command line, of a file it names, or typed at the prompt.
///
/// # Errors
/// As [`Filter::compile_with`].
pub(crate) fn compile(source: &str) -> Result<Filter, FilterError> {
    ARGUMENTS.with_borrow(|arguments| Filter::compile_with(source, arguments))
}

/// Compiles a fold of the command line or of a file it names.
///
/// # Errors
/// As [`Filter::compile_fold`].
pub(crate) fn compile_fold(source: &str) -> Result<Filter, FilterError> {
    ARGUMENTS.with_borrow(|arguments| Filter::compile_fold(source, arguments))
}

/// Flags about state kept from message to message.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Filters")]
pub(crate) struct FoldArgs {
    /// Keep state across messages: JQ yields [STATE, OUTPUT...] and can use $state and $prev
    ///
    /// It runs on the output of --jq, before --schema and --route. $state is the STATE from the previous message,
    /// initially --state; $prev is that message, null at first; both are kept per --state-key. Each OUTPUT becomes a
    /// message. If JQ yields nothing, the message is filtered out and the state is unchanged. Anything but one array is
    /// an error for that message and leaves the state unchanged. In wsp relay with --spool the states are stored with
    /// the output, and the next run continues with them.
    ///
    /// --fold '[.price, . + {change: (.price - ($state // .price))}]' --state-key .symbol adds the change of each symbol's price.
    #[arg(long, value_name = "JQ", hide_short_help = true)]
    pub fold: Option<String>,
    /// Keep one state per value of JQ
    #[arg(long, value_name = "JQ", requires = "fold", hide_short_help = true)]
    pub state_key: Option<String>,
    /// The state before the first message [default: null]
    #[arg(long, value_name = "JSON", requires = "fold", hide_short_help = true)]
    pub state: Option<String>,
    /// Maximum number of states; the least recently used is dropped
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = positive, hide_short_help = true)]
    pub state_keys: usize,
}

impl FoldArgs {
    /// Returns the fold that the flags ask for.
    ///
    /// # Errors
    /// Filters that do not compile, and a state that is not JSON.
    pub(crate) fn fold(&self) -> Result<Option<Fold>, Error> {
        let Some(source) = &self.fold else { return Ok(None) };
        let first = self.state.as_ref().map_or(Ok(Json::null()), |text| Json::parse(text.as_bytes()));
        let key = self.state_key.as_deref().map(|source| settings::filter("--state-key", source));
        Ok(Some(Fold {
            key: key.transpose()?,
            program: settings::fold("--fold", source)?,
            first: first.map_err(|reason| {
                Error::usage(format!("--state: {reason}"), "for example --state 0, or --state '{\"n\":0}'")
            })?,
            most: self.state_keys,
            names_prev: source.contains("prev"),
        }))
    }
}
