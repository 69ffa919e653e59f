//! Where the reports of `wsp bench` go: stdout and files, opened before the run so that none is made for nothing.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::OutputArgs;
use crate::bench::histogram::{Logged, interval_log};
use crate::bench::report::{Report, Second, csv, html, text};
use crate::error::Error;
use crate::host::Host;
use crate::message::io_text::io_text;

/// A file that is written when the run is over.
struct Target {
    path: PathBuf,
    file: File,
}

impl Target {
    fn open(path: &Path) -> Result<Self, Error> {
        File::create(path).map(|file| Self { path: path.to_owned(), file }).map_err(|error| failed(path, &error))
    }

    fn write(&mut self, content: &str) -> Result<(), Error> {
        self.file.write_all(content.as_bytes()).map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Error {
    Error::Report { path: path.display().to_string(), cause: io_text(error) }
}

/// To every place the report goes.
pub(super) struct Outputs {
    json: bool,
    ndjson: bool,
    csv: Option<Target>,
    html: Option<Target>,
    hdr: Option<Target>,
}

impl Outputs {
    /// Opens the files.
    ///
    /// # Errors
    /// A file that cannot be written, or a closed stdout.
    pub(super) fn open(args: &OutputArgs, host: &Host) -> Result<Self, Error> {
        host.stdout.for_output()?;
        let open = |path: &Option<PathBuf>| path.as_deref().map(Target::open).transpose();
        Ok(Self {
            json: args.json,
            ndjson: args.ndjson,
            csv: open(&args.csv)?,
            html: open(&args.html)?,
            hdr: open(&args.hdr)?,
        })
    }

    /// Whether to keep lines of an HDR log.
    pub(super) fn keeps_log(&self) -> bool {
        self.hdr.is_some()
    }

    /// Whether each second is printed when it is over.
    pub(super) fn prints_seconds(&self) -> bool {
        self.ndjson
    }

    /// Writes the report everywhere.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn write(&mut self, report: &Report, log: &[Logged], begun: f64, host: &mut Host) -> Result<(), Error> {
        let shown = if self.json || self.ndjson { report.to_json() + "\n" } else { text::text(report) };
        let printed = host.print(&shown);
        if let Some(target) = &mut self.csv {
            target.write(&csv::csv(report))?;
        }
        if let Some(target) = &mut self.html {
            target.write(&html::html(report))?;
        }
        if let Some(target) = &mut self.hdr {
            let comment = format!("wsp bench {}: nanoseconds; Interval_Max in milliseconds", report.run.url);
            target.write(&interval_log(&comment, begun, log))?;
        }
        printed.map_err(Error::from)
    }
}

/// A second as a line of JSON.
pub(super) fn line(second: &Second) -> String {
    serde_json::to_string(second).unwrap_or_default() + "\n"
}
