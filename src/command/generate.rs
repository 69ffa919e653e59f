//! `wsp generate`: completions, man pages and a reference of all flags, from the same definitions as the help, JSON Schema
//! of Avro schemas, and files for monitoring.
//!
//! Owns writing files. Leaves their text to [`super::complete`], [`super::man`] and [`super::reference`].

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use clap_complete::Shell;

use crate::config::variables::Environment;
use crate::error::Error;
use crate::exit::Exit;
use crate::host::Host;
use crate::message::io_text::io_text;
use crate::observe::monitoring;

const EXAMPLES: &str = "\
Examples:
  wsp generate completions bash > wsp.bash
  wsp generate completions zsh > _wsp
  wsp generate man share/man/man1
  wsp generate reference docs/reference  every flag as a Markdown page, flags.md
  wsp generate schema trade.avsc         the JSON Schema of an Avro schema
  wsp generate monitoring monitoring     alerts for Prometheus, a dashboard for Grafana
";

/// Flags of `wsp generate`.
#[derive(Debug, Args)]
#[command(before_help = EXAMPLES)]
pub(crate) struct GenerateArgs {
    /// What to make.
    #[command(subcommand)]
    pub what: What,
}

/// What can be generated.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Print completions for a shell
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: Shell,
    },
    /// Print what the last of these words may become; the shells' completions ask it
    #[command(hide = true)]
    Candidates {
        /// What stands on the line behind wsp, as far as the cursor
        #[arg(last = true)]
        words: Vec<OsString>,
    },
    /// Write the man pages into a folder
    Man {
        /// The folder; it is made when missing
        dir: PathBuf,
    },
    /// Write every flag with its meaning and default as a Markdown page, flags.md, into a folder
    Reference {
        /// The folder; it is made when missing
        dir: PathBuf,
    },
    /// Print the JSON Schema that an Avro schema comes to, as --schema uses it
    Schema {
        /// A file with an Avro schema
        file: PathBuf,
    },
    /// Write alert rules for Prometheus and a dashboard for Grafana into a folder
    Monitoring {
        /// The folder; it is made when missing
        dir: PathBuf,
    },
}

/// Runs `wsp generate`.
///
/// # Errors
/// A folder that cannot be written to.
pub(crate) fn run(args: &GenerateArgs, host: &mut Host) -> Result<Exit, Error> {
    match &args.what {
        What::Completions { shell } => {
            host.print(super::complete::script(*shell))?;
        }
        What::Candidates { words } => {
            host.print(super::complete::candidates(words, &Environment::of_this_process()))?;
        }
        What::Man { dir } => {
            write_files(dir, super::man::pages().map_err(|error| Error::Internal(error.to_string()))?)?;
        }
        What::Reference { dir } => {
            write_files(dir, [("flags.md".to_owned(), super::reference::page().into_bytes())])?;
        }
        What::Schema { file } => {
            let mut text = super::settings::avro_schema(file)?;
            text.push('\n');
            host.print(text)?;
        }
        What::Monitoring { dir } => {
            write_files(dir, monitoring::FILES.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec())))?;
        }
    }
    Ok(Exit::Done)
}

fn write_files(dir: &Path, files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<(), Error> {
    let failed = |path: &Path, error: &std::io::Error| {
        Error::usage(format!("cannot write {}: {}", path.display(), io_text(error)), "choose another folder")
    };
    std::fs::create_dir_all(dir).map_err(|error| failed(dir, &error))?;
    for (name, content) in files {
        let path = dir.join(name);
        std::fs::write(&path, content).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}
