//! `wsp generate`: completions, man pages and a reference of all flags, from the same definitions as the help, JSON Schema
//! of Avro schemas, and files for monitoring.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Args, Command, Subcommand};
use clap_complete::Shell;

use crate::config::variables::Environment;
use crate::error::Error;
use crate::exit::{self, Exit};
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
            write_files(dir, man_pages().map_err(|error| Error::Internal(error.to_string()))?)?;
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

/// Every man page, by file name.
///
/// # Errors
/// Never in practice: the pages are made in memory.
pub(crate) fn man_pages() -> std::io::Result<Vec<(String, Vec<u8>)>> {
    let mut command = super::definition();
    command.build();
    let mut pages = Vec::new();
    collect(&command, "wsp", &mut pages)?;
    Ok(pages)
}

/// What keys do on the dashboard.
fn keys() -> String {
    #[cfg(feature = "tui")]
    let text = crate::tui::keymap::text();
    #[cfg(not(feature = "tui"))]
    let text = String::from("This build has no dashboard.\n");
    text
}

fn collect(command: &Command, name: &str, pages: &mut Vec<(String, Vec<u8>)>) -> std::io::Result<()> {
    // A flag that the short help leaves out would stand there without a word.
    let in_full = |arg: clap::Arg| match (arg.get_help().cloned(), arg.get_long_help()) {
        (Some(help), None) => arg.long_help(help),
        _ => arg,
    };
    let titled = command.clone().name(name.to_owned()).after_long_help("").after_help("").mut_args(in_full);
    let man = clap_mangen::Man::new(titled).title(name.to_uppercase());
    let mut page = Vec::new();
    man.render(&mut page)?;
    page.extend_from_slice(b".SH EXIT STATUS\n.nf\n");
    page.extend_from_slice(exit::TABLE.replace('-', "\\-").as_bytes());
    page.extend_from_slice(b"\n.fi\n");
    let keys = keys();
    let sections = match name {
        "wsp" => vec![("DASHBOARD KEYS", keys.as_str()), ("WSCAT", super::wscat::DIFFERENCES)],
        "wsp-top" => vec![("KEYS", keys.as_str())],
        "wsp-config" => vec![("SETTINGS", super::config::ABOUT)],
        _ => Vec::new(),
    };
    for (heading, text) in sections {
        page.extend_from_slice(format!(".SH {heading}\n.nf\n{}.fi\n", text.replace('-', "\\-")).as_bytes());
    }
    pages.push((format!("{name}.1"), page));
    for child in command.get_subcommands().filter(|child| child.get_name() != "help") {
        if name == "wsp" {
            collect(child, &format!("{name}-{}", child.get_name()), pages)?;
        }
    }
    Ok(())
}
