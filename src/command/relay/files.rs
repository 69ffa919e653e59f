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
    /// Keep reading at the end of a file, like tail -F
    ///
    /// A truncated or replaced file is read from the beginning; a missing one is waited for. A line is read once it is
    /// complete.
    #[arg(long, hide_short_help = true)]
    pub follow: bool,
    /// Rotate a file before it grows beyond this
    ///
    /// It is renamed to FILE-20260102T030405.678901Z after the time of rotation (UTC), so names sort by age and never
    /// change. Lines are never split. Files rotated or truncated by others, such as logrotate, are reopened
    /// automatically.
    #[arg(long, value_name = "SIZE", value_parser = size, hide_short_help = true)]
    pub rotate_size: Option<usize>,
    /// Rotate a file at this interval, aligned to UTC: 1h is every full hour
    #[arg(long, value_name = "DUR", value_parser = duration, hide_short_help = true)]
    pub rotate_every: Option<Duration>,
    /// Keep this many rotated files; delete older ones [default: all]
    #[arg(
        long,
        value_name = "N",
        value_parser = positive,
        hide_short_help = true
    )]
    pub rotate_keep: Option<usize>,
    /// When to sync files to disk: never, batch, or at the latest after DUR
    ///
    /// never: leave it to the system; a message counts as delivered once written, and survives a crash of wsp but
    /// perhaps not of the machine. batch: sync after each batch; DUR: after this time; a message counts as delivered
    /// once synced.
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
            return Err(Error::usage("the rotation limit must be above 0", "--rotate-size 100MB, --rotate-every 1h"));
        }
        if rotation.keep.is_some() && !rotation.is_wanted() {
            return Err(Error::usage(
                "--rotate-keep without a rotation",
                "--rotate-size SIZE or --rotate-every DUR sets when the file is rotated",
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
