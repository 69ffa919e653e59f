//! Flags of `wsp listen` that say who is let in, and how much they may send.
//!
//! Owns their spelling and help, and turning them into settings. Leaves keeping to them to `listen/guard`.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use clap::{Args, ValueEnum};

use super::values::{byte_rate, rate};
use crate::error::Error;
use crate::listen::guard::GuardSettings;
use crate::listen::guard::admission::AdmissionSettings;
use crate::listen::guard::rate::{OnRate, RateSettings};

/// Limits and credentials.
#[derive(Debug, Clone, Args)]
pub struct GuardArgs {
    /// Most sessions at a time; others get 503
    #[arg(long, value_name = "N", hide_short_help = true, help_heading = "Guards")]
    pub max_connections: Option<usize>,
    /// Most sessions at a time of one address; others get 429
    #[arg(long, value_name = "N", hide_short_help = true, help_heading = "Guards")]
    pub max_per_ip: Option<usize>,
    /// Most sessions begun a second, as many at once; others get 429
    #[arg(long, value_name = "N/s", value_parser = rate, hide_short_help = true, help_heading = "Guards")]
    pub accept_rate: Option<f64>,
    /// Most connections that are not sessions yet; beyond it the one silent longest is dropped
    ///
    /// New ones wait until one is done or the oldest has been silent for a second. With --max-per-ip an address has
    /// twice as many at the most (16 where that is more); beyond it it displaces its own.
    #[arg(long, value_name = "N", default_value_t = 1000, hide_short_help = true, help_heading = "Guards")]
    pub max_handshakes: usize,
    /// Most messages a second of each client, as many at once
    #[arg(long, value_name = "N/s", value_parser = rate, hide_short_help = true, help_heading = "Guards")]
    pub message_rate: Option<f64>,
    /// Most payload bytes a second of each client, as many at once
    #[arg(long, value_name = "SIZE/s", value_parser = byte_rate, hide_short_help = true, help_heading = "Guards")]
    pub byte_rate: Option<f64>,
    /// What happens beyond --message-rate and --byte-rate: an error and Close 1008, or reading slows down
    #[arg(long, value_name = "WHAT", default_value = "close", hide_short_help = true, help_heading = "Guards")]
    pub on_rate: OnRateArg,
}

/// `--on-rate`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnRateArg {
    /// The client is told and closed with 1008
    Close,
    /// The client is read no faster
    Slow,
}

/// The guards as meant.
///
/// # Errors
/// Flags that do not go together, files and variables that are not there.
pub fn guards(args: &GuardArgs) -> Result<GuardSettings, Error> {
    Ok(GuardSettings {
        admission: AdmissionSettings {
            max_connections: args.max_connections,
            max_per_ip: args.max_per_ip,
            accept_rate: args.accept_rate,
        },
        max_handshakes: args.max_handshakes,
        rates: RateSettings {
            messages: args.message_rate,
            bytes: args.byte_rate,
            on_rate: match args.on_rate {
                OnRateArg::Close => OnRate::Close,
                OnRateArg::Slow => OnRate::Slow,
            },
        },
    })
}
