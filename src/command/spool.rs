//! Flags of a relay's spool, and its status report.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde_json::json;

use super::relay::OnFull;
use super::values::size;
use crate::error::Error;
use crate::exit::Exit;
use crate::host::Host;
use crate::message::counted::counted;
use crate::queue::spool::store::{Status, Waiting, status};
use crate::queue::spool::{Spool, SpoolFull, SpoolSettings};

/// Flags of the spool.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Queue")]
pub(crate) struct SpoolArgs {
    /// Store messages in DIR before delivery, so they survive a crash
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,
    /// Size of the spool in bytes, shared evenly by the destinations
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1GiB",
        value_parser = size,
        hide_short_help = true
    )]
    pub spool_max: usize,
    /// When the spool is full: block, drop-oldest or drop-newest
    #[arg(long, value_name = "WHAT", default_value = "block", hide_possible_values = true, hide_short_help = true)]
    pub spool_full: SpoolFullArg,
    /// Print what is queued in the spool per destination, and exit
    #[arg(long, requires = "spool", hide_short_help = true)]
    pub status: bool,
}

/// `--spool-full`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SpoolFullArg {
    /// The source waits
    Block,
    /// The oldest waiting messages make room
    DropOldest,
    /// The new message is dropped
    DropNewest,
}

impl SpoolArgs {
    /// Opens the spool, when there is to be one.
    ///
    /// # Errors
    /// Flags that do not go together, and a spool that cannot be used.
    pub(crate) fn open(&self, on_full: OnFull) -> Result<Option<Rc<Spool>>, Error> {
        let Some((directory, settings)) = self.settings(on_full)? else { return Ok(None) };
        Ok(Some(Spool::open(directory, settings)?))
    }

    /// Where the spool is and how it is used, when there is to be one.
    ///
    /// # Errors
    /// Flags that do not go together.
    pub(crate) fn settings(&self, on_full: OnFull) -> Result<Option<(&Path, SpoolSettings)>, Error> {
        let Some(directory) = &self.spool else {
            if on_full == OnFull::Spool {
                return Err(Error::usage("--on-full spool requires --spool", "add --spool DIR"));
            }
            return Ok(None);
        };
        let always = match on_full {
            OnFull::Block => true,
            OnFull::Spool => false,
            OnFull::DropOldest | OnFull::DropNewest => {
                return Err(Error::usage(
                    "with --spool a full queue overflows to the spool, so --on-full cannot drop messages",
                    "set what happens when the spool is full with --spool-full drop-oldest or drop-newest",
                ));
            }
        };
        let full = match self.spool_full {
            SpoolFullArg::Block => SpoolFull::Block,
            SpoolFullArg::DropOldest => SpoolFull::DropOldest,
            SpoolFullArg::DropNewest => SpoolFull::DropNewest,
        };
        Ok(Some((directory, SpoolSettings { always, most: self.spool_max as u64, full })))
    }
}

/// Prints what is queued in a spool.
///
/// # Errors
/// A spool that cannot be read.
pub(crate) fn print_status(directory: &Path, as_json: bool, host: &mut Host) -> Result<Exit, Error> {
    let status = status(directory)?;
    let text = if as_json { status_json(directory, &status) } else { status_text(&status, Timestamp::now()) };
    host.print(text)?;
    Ok(Exit::Done)
}

fn name(waiting: &Waiting) -> String {
    let lane = &waiting.lane;
    if lane.ordinal > 1 { format!("{} ({})", lane.name, lane.ordinal) } else { lane.name.to_string() }
}

fn status_json(directory: &Path, status: &Status) -> String {
    let destinations: Vec<_> = status
        .waiting
        .iter()
        .map(|waiting| {
            json!({
                "destination": name(waiting),
                "messages": waiting.messages,
                "bytes": waiting.bytes,
                "since": waiting.since.map(|time| format!("{time:.6}")),
            })
        })
        .collect();
    format!(
        "{}\n",
        json!({
            "spool": directory.display().to_string(), "destinations": destinations, "states": status.states
        })
    )
}

fn status_text(status: &Status, now: Timestamp) -> String {
    let waiting = &status.waiting;
    let folds = match status.states {
        0 => String::new(),
        count => format!("--fold: {}\n", counted(count, "state")),
    };
    if waiting.is_empty() {
        return format!("nothing waits\n{folds}");
    }
    let width = waiting.iter().map(|waiting| name(waiting).chars().count()).max().unwrap_or(0);
    let line = |waiting: &Waiting| {
        let since = waiting.since.map(|time| {
            let age = now.duration_since(time).as_secs().max(0);
            format!(", since {time:.0} ({})", for_so_long(age))
        });
        format!(
            "{:width$}  {}, {}{}\n",
            name(waiting),
            counted(waiting.messages, "message"),
            counted(waiting.bytes, "byte"),
            since.unwrap_or_default()
        )
    };
    waiting.iter().map(line).chain([folds]).collect()
}

/// Seconds in the largest unit that tells something.
fn for_so_long(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::spool::store::LaneKey;

    #[test]
    fn status_says_what_waits_and_since_when() {
        let time: Timestamp = "2026-01-02T03:04:05.678901Z".parse().expect("a time");
        let now: Timestamp = "2026-01-02T04:00:05Z".parse().expect("a time");
        let lane = |name: &str, ordinal| LaneKey { name: name.into(), ordinal };
        let waiting = [
            Waiting { lane: lane("ws://h/", 1), messages: 12, bytes: 340, since: Some(time) },
            Waiting { lane: lane("-", 2), messages: 1, bytes: 2, since: None },
        ];
        let status = |waiting: &[Waiting], states| Status { waiting: waiting.to_vec(), states };
        assert_eq!(
            status_text(&status(&waiting, 0), now),
            "ws://h/  12 messages, 340 bytes, since 2026-01-02T03:04:05Z (55 min)\n-   (2)    1 message, 2 bytes\n"
                .replace("-   (2)  ", "- (2)  ")
        );
        assert_eq!(status_text(&status(&[], 0), now), "nothing waits\n");
        assert_eq!(status_text(&status(&[], 1), now), "nothing waits\n--fold: 1 state\n");
        assert!(status_text(&status(&waiting, 3), now).ends_with("2 bytes\n--fold: 3 states\n"));
        assert_eq!(
            status_json(Path::new("d"), &status(&waiting[..1], 2)),
            "{\"spool\":\"d\",\"destinations\":[{\"destination\":\"ws://h/\",\"messages\":12,\"bytes\":340,\"since\":\"2026-01-02T03:04:05.678901Z\"}],\"states\":2}\n"
        );
    }
}
