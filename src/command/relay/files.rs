//! Flags of `file:` endpoints, and the ends they make.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use super::args::{InputArg, RelayArgs};
use super::build::Build;
use crate::command::options::{FormatArg, OutputArgs};
use crate::command::values::{duration, positive, size};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::message::render::Format;
use crate::sink::file::{FileSink, Fsync, Rotation};
use crate::sink::record::is_same_file;
use crate::source::file::FileSource;
use crate::source::lines::LineKind;

/// Whether a relay would write into the file it reads, which would never end or leave nothing to read.
///
/// # Errors
/// When one of `to`, or the recording, is the source.
pub(super) fn check_source(args: &RelayArgs, record: Option<&Path>) -> Result<(), Error> {
    let file = |text: &str| match Endpoint::parse(text) {
        Ok(Endpoint::File(path)) => Some(path),
        _ => None,
    };
    let Some(source) = args.from.as_deref().and_then(file) else { return Ok(()) };
    let message = if record.is_some_and(|record| is_same_file(&source, record)) {
        format!("--record names the file that is read: {}", source.display())
    } else if args.to.iter().filter_map(|to| file(to)).any(|to| is_same_file(&source, &to)) {
        format!("{} is both read and written", source.display())
    } else {
        return Ok(());
    };
    Err(Error::usage(message, "write to another file"))
}

/// How files are read and written.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Files")]
pub(crate) struct FileArgs {
    /// Go on reading at the end of a file, as tail -F does
    ///
    /// A file that is cut or replaced by another is read from its beginning, one that is not there is waited for. A line is
    /// taken once it is whole.
    #[arg(long, hide_short_help = true)]
    pub follow: bool,
    /// Put a file aside before it grows beyond this, and go on with an empty one
    ///
    /// It becomes FILE-20260102T030405.678901Z, by the time (UTC) at which it was put aside, so that such names sort by
    /// age and never change again. A line is never cut. Files that others put aside or cut, as logrotate does, are
    /// opened anew by themselves.
    #[arg(long, value_name = "SIZE", value_parser = size, hide_short_help = true)]
    pub rotate_size: Option<usize>,
    /// Put a file aside when a period of this length is over, counted from 1970 in UTC: 1h is at every full hour
    #[arg(long, value_name = "DUR", value_parser = duration, hide_short_help = true)]
    pub rotate_every: Option<Duration>,
    /// Files put aside that are kept; older ones are deleted [default: all]
    #[arg(
        long,
        value_name = "N",
        value_parser = positive,
        hide_short_help = true
    )]
    pub rotate_keep: Option<usize>,
    /// When files are brought to disk: never, batch, or at the latest after DUR
    ///
    /// never leaves it to the system: a message counts as delivered once its line is written, and survives the end of wsp
    /// but perhaps not that of the machine. batch does it for what was written at a time, DUR after that time; a message
    /// counts as delivered then.
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "never",
        value_parser = fsync,
        hide_short_help = true
    )]
    pub fsync: Fsync,
}

fn fsync(text: &str) -> Result<Fsync, String> {
    Ok(match text {
        "never" => Fsync::Never,
        "batch" => Fsync::Batch,
        other => match duration(other) {
            Ok(Duration::ZERO) => Fsync::Batch,
            Ok(interval) => Fsync::Every(interval),
            Err(_) => return Err(format!("'{other}' is not never, batch or a duration")),
        },
    })
}

impl FileArgs {
    fn rotation(&self) -> Result<Rotation, Error> {
        let rotation = Rotation {
            size: self.rotate_size.map(|size| size as u64),
            every: self.rotate_every,
            keep: self.rotate_keep,
        };
        if rotation.size == Some(0) || rotation.every.is_some_and(|every| every < Duration::from_millis(1)) {
            return Err(Error::usage(
                "a file cannot be rotated all the time",
                "--rotate-size 100MB, --rotate-every 1h",
            ));
        }
        if rotation.keep.is_some() && !rotation.is_wanted() {
            return Err(Error::usage(
                "--rotate-keep without a rotation",
                "--rotate-size SIZE or --rotate-every DUR says when a file is put aside",
            ));
        }
        Ok(rotation)
    }
}

impl Build<'_> {
    /// The end that appends to a file.
    pub(super) fn file_sink(&self, path: &Path) -> Result<FileSink, Error> {
        let args = &self.args.files;
        Ok(FileSink { path: path.to_owned(), format: self.line_format, rotation: args.rotation()?, fsync: args.fsync })
    }

    /// The end that reads a file.
    pub(super) fn file_source(&self, path: &Path, name: &str, session: String) -> FileSource {
        FileSource {
            path: path.to_owned(),
            name: name.to_owned(),
            session,
            kind: match self.args.input {
                None => LineKind::Either,
                Some(InputArg::Raw) => LineKind::Raw,
                Some(InputArg::Json) => LineKind::Events,
            },
            follow: self.args.files.follow,
            max_message_size: self.args.connection.max_message_size,
        }
    }
}

/// How messages become lines where no person reads them: raw, unless another format was asked for.
pub(super) fn line_format(output: &OutputArgs) -> Format {
    match output.format {
        Some(FormatArg::Json) => Format::Json,
        Some(FormatArg::Pretty) => Format::Pretty,
        Some(FormatArg::Hex) => Format::Hex,
        None if output.json => Format::Json,
        Some(FormatArg::Raw) | None => Format::Raw,
    }
}
