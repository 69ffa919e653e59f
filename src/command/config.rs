//! `wsp config`: where a setting came from, where settings are kept, and what could be set.
//!
//! Owns what is shown of settings; deciding them is [`super::layers`]' business, so what is shown is what a run would
//! use. Invariant: secrets are redacted whichever layer they come from.

// Comments on flags are help texts, where code spans would show as backticks.
#![allow(clippy::doc_markdown)]

use std::ffi::OsString;
use std::fmt::Write as _;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Subcommand};
use indexmap::IndexMap;
use serde_json::json;

use super::layers::{self, Resolved, Stop};
use crate::config::place::config_file;
use crate::config::variables::{Environment, name_of};
use crate::config::{Fault, Origin, file};
use crate::host::Host;
use crate::redact;

/// Examples at the head of the help.
const EXAMPLES: &str = "\
Examples:
  wsp config show                        the settings wsp connect would use, and all profiles
  wsp config show @prod                  the same with the profile 'prod'
  wsp config show listen 9000 --echo     the settings this command line would use
  wsp config sample                      every key with its default
  wsp config path                        the path of the file
";

/// For `--help` and the man page.
pub(crate) const ABOUT: &str = "\
A setting is decided in this order: flag, WSP_* variable, profile, default.

Variables are WSP_ and the long option in capitals with _, and apply to every
subcommand that has the option: WSP_CONNECT_TIMEOUT=3s. Switches take true or
false, options that repeat one value a line; an empty variable counts as not
set. An unknown one is an error, unless the command line or the
profile names it (--bearer-env WSP_TOKEN) or it begins with WSP_TEST_.

Profiles are tables [profile.NAME] in $XDG_CONFIG_HOME/wscat-plus/config.toml,
else in ~/.config, with `url` and any long option by its name: text, numbers,
true or false, arrays for options that repeat. `wsp connect @NAME` uses one,
and so does `wsp @NAME`. An unknown key is an error.

What is set higher takes the place of what is set lower, and of what excludes
it: --no-compress beats a profile's compress. Headers and cookies are decided
by name, so a profile's credentials stay when -H adds another header.
`compress = false` is `no-compress = true`.
";

/// Flags of `wsp config`.
#[derive(Debug, Args)]
#[command(before_help = EXAMPLES, after_long_help = ABOUT)]
pub(crate) struct ConfigArgs {
    /// What to show.
    #[command(subcommand)]
    pub what: What,
}

/// What there is to show.
#[derive(Debug, Subcommand)]
pub(crate) enum What {
    /// Print every option that is set, its value and its origin
    Show {
        /// JSON lines
        #[arg(long)]
        json: bool,
        /// @PROFILE, or a subcommand with its arguments
        #[arg(value_name = "@PROFILE|ARGS", trailing_var_arg = true, allow_hyphen_values = true)]
        line: Vec<OsString>,
    },
    /// Print the path of the configuration file
    Path,
    /// Print a sample configuration file with every key
    Sample,
}

/// Returns what `wsp config` prints.
///
/// # Errors
/// Settings that are wrong, all of them.
pub(crate) fn run(args: &ConfigArgs, environment: &Environment, host: &Host) -> Result<String, Stop> {
    Ok(match &args.what {
        What::Show { json, line } => show(line, *json, environment)?,
        What::Path => path(environment, host)?,
        What::Sample => sample(&super::definition()),
    })
}

fn path(environment: &Environment, host: &Host) -> Result<String, Fault> {
    let path = config_file(environment)
        .ok_or_else(|| Fault::new("no settings directory: neither XDG_CONFIG_HOME nor HOME is set", "export HOME"))?;
    if !path.exists() {
        host.stderr.line("wsp: this file does not exist yet; wsp config sample prints one to start from");
    }
    Ok(format!("{}\n", path.display()))
}

/// An option that is set, as it is shown.
struct Row {
    option: String,
    values: Vec<String>,
    origin: Origin,
}

fn show(line: &[OsString], as_json: bool, environment: &Environment) -> Result<String, Stop> {
    let mut words = vec![OsString::from("wsp")];
    words.extend(line.iter().cloned());
    let (mut words, _) = super::in_own_words(words)?;
    if words.get(1).is_none_or(|word| word.as_encoded_bytes().starts_with(b"-")) {
        words.insert(1, "connect".into());
    }
    // What is shown need not be complete.
    let definition = super::definition().mut_subcommands(|command| command.mut_args(|arg| arg.required(false)));
    let resolved = layers::resolve(definition.clone(), words, environment)?;
    let mut rows = rows(&definition, &resolved);
    if line.is_empty() {
        rows.extend(profiles(environment)?);
    }
    Ok(if as_json { rows.iter().map(Row::json).collect() } else { table(&rows) })
}

fn profiles(environment: &Environment) -> Result<Vec<Row>, Stop> {
    let Some(path) = config_file(environment) else { return Ok(Vec::new()) };
    let known = layers::all_options(&super::definition());
    let file = file::read(&path, &known).map_err(Stop::Faults)?;
    let row = |profile: &file::Profile| Row {
        option: format!("@{}", profile.name),
        values: profile.shown_url().into_iter().collect(),
        origin: Origin::Profile {
            profile: profile.name.clone(),
            file: profile.file.clone(),
            line: profile.url.as_ref().map_or(1, |(_, line)| *line),
        },
    };
    Ok(file.profiles.iter().map(row).collect())
}

fn rows(definition: &Command, resolved: &Resolved) -> Vec<Row> {
    let Some((name, matches)) = resolved.matches.subcommand() else { return Vec::new() };
    let Some(command) = definition.find_subcommand(name) else { return Vec::new() };
    let url = |text: &str, origin: Origin| Row {
        option: "url".to_owned(),
        values: vec![redact::option("url", text).into_owned()],
        origin,
    };
    let mut rows: Vec<Row> = match &resolved.target {
        Some(target) => vec![url(&target.url, target.origin.clone())],
        None => layers::targets(matches).iter().map(|text| url(text, Origin::Flag)).collect(),
    };
    rows.extend(layers::options(command).flat_map(|arg| rows_of(arg, matches, resolved)));
    rows
}

/// One row an origin: headers may come from several.
fn rows_of(arg: &Arg, matches: &ArgMatches, resolved: &Resolved) -> Vec<Row> {
    let option = arg.get_long().unwrap_or_default().to_owned();
    let id = arg.get_id().as_str();
    let is_switch = matches!(arg.get_action(), ArgAction::SetTrue);
    let source = matches.value_source(id);
    if source.is_none() || (is_switch && source == Some(ValueSource::DefaultValue)) {
        return Vec::new();
    }
    let text = |value: &std::ffi::OsStr| redact::option(&option, &value.to_string_lossy()).into_owned();
    let mut values: Vec<String> = match matches.get_raw(id) {
        Some(_) if is_switch => vec!["true".to_owned()],
        Some(values) => values.map(text).collect(),
        None => Vec::new(),
    };
    let mut rows = Vec::new();
    for setting in resolved.added.iter().filter(|setting| setting.option == option) {
        let rest = values.split_off(setting.arguments().len().min(values.len()));
        rows.push(Row { option: option.clone(), values, origin: setting.origin.clone() });
        values = rest;
    }
    let origin = if source == Some(ValueSource::DefaultValue) { Origin::Default } else { Origin::Flag };
    if rows.is_empty() || !values.is_empty() {
        rows.push(Row { option, values, origin });
    }
    rows
}

impl Row {
    fn json(&self) -> String {
        let (from, line) = match &self.origin {
            Origin::Profile { file, line, .. } | Origin::Pipeline { file, line, .. } => {
                (Some(file.display().to_string()), Some(*line))
            }
            Origin::Variable(name) => (Some(name.clone()), None),
            Origin::Flag | Origin::Default => (None, None),
        };
        let value = match self.values.as_slice() {
            [value] => json!(value),
            values => json!(values),
        };
        let mut row = json!({"option": self.option, "value": value, "origin": self.origin.kind()});
        if let Some(from) = from {
            row["from"] = json!(from);
        }
        if let Some(line) = line {
            row["line"] = json!(line);
        }
        format!("{row}\n")
    }
}

fn table(rows: &[Row]) -> String {
    let lines: Vec<[String; 3]> = rows
        .iter()
        .flat_map(|row| {
            row.values.iter().map(|value| {
                let value = if value.is_empty() { "\"\"".to_owned() } else { value.escape_debug().to_string() };
                [row.option.clone(), value.replace("\\\"", "\"").replace("\\'", "'"), row.origin.to_string()]
            })
        })
        .collect();
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).min(60);
    let (first, second) = (width(0), width(1));
    let mut text = String::new();
    for [option, value, origin] in &lines {
        let _ = writeln!(text, "{option:first$}  {value:second$}  {origin}");
    }
    text
}

/// A configuration file with every key in it, all but one commented out.
fn sample(definition: &Command) -> String {
    let mut text = String::from(
        "# Settings of wsp. Save this at the path `wsp config path` prints and delete what you don't need.\n\
         # A flag beats a WSP_* variable, which beats a profile, which beats the default.\n\
         # Replace words in capitals with values; options that can be repeated take arrays.\n\
         # `wsp @local` connects with this profile; `wsp config show @local` shows the resulting settings.\n\n\
         [profile.local]\nurl = \"ws://localhost:8080/\"\n",
    );
    let known = layers::all_options(definition);
    let mut seen: Vec<&str> = Vec::new();
    for command in definition.get_subcommands() {
        let mut groups: IndexMap<&str, String> = IndexMap::new();
        for arg in layers::options(command) {
            let name = arg.get_long().unwrap_or_default();
            if seen.contains(&name) || !known.iter().any(|known| known == name) {
                continue;
            }
            seen.push(name);
            let group = groups.entry(arg.get_help_heading().unwrap_or("Options")).or_default();
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            let _ = write!(group, "\n# {help} ({})\n# {name} = {}\n", name_of(name), example(arg));
        }
        for (heading, keys) in groups {
            let _ = write!(text, "\n# --- wsp {}: {}\n{keys}", command.get_name(), heading.to_lowercase());
        }
    }
    text
}

/// The default where there is one, else the expected kind of value.
fn example(arg: &Arg) -> String {
    // TOML reads a string of JSON's as JSON does.
    let quoted = |text: &str| json!(text).to_string();
    if matches!(arg.get_action(), ArgAction::SetTrue) {
        return "true".to_owned();
    }
    if let [default] = arg.get_default_values() {
        return quoted(&default.to_string_lossy());
    }
    if let Some(first) = arg.get_possible_values().first() {
        return quoted(first.get_name());
    }
    let kind = arg.get_value_names().and_then(|names| names.first()).map_or("VALUE", |name| name.as_str());
    if matches!(arg.get_action(), ArgAction::Append) { format!("[{}]", quoted(kind)) } else { quoted(kind) }
}
