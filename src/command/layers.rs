//! Puts what variables and profiles want beside what the command line says, and parses the whole.
//!
//! The command line is parsed twice: leniently to learn the subcommand, the profile and what was given, then
//! strictly with the settings of lower layers put in as if they had been typed. So each value passes the same checks
//! wherever it comes from. Every such setting is tried alone first, so that an error names its variable or the line
//! of its profile. Deciding between layers is [`crate::config::decide`]'s business.
//! Invariant: without a `WSP_*` variable and without `@NAME` nothing but the strict parse happens.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::config::file::{self, Profile};
use crate::config::place::config_file;
use crate::config::variables::{self, Environment};
use crate::config::{Arity, Fault, OptionSpec, Origin, Override, Setting, decide::decide};
use crate::endpoint::WsTarget;
use crate::error::Error;

/// Subcommands that have no settings of this kind.
const PLAIN: [&str; 2] = ["generate", "config"];
/// Positional arguments that may be a profile.
const TARGETS: [&str; 2] = ["urls", "url"];
/// Bytes a value must have to be recognised in an error.
const SHORTEST_QUOTE: usize = 3;
/// Options that say one thing in several ways: the highest layer chooses the way.
const WAYS: [&[&str]; 3] = [&["user", "user-env", "bearer", "bearer-env"], &["verbose", "quiet"], &["pkcs12", "cert"]];

/// The command line with everything in it that was decided elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    /// All of it, as clap sees it.
    pub matches: ArgMatches,
    /// What did not come from the command line.
    pub added: Vec<Setting>,
    /// The profile and its URL, where one was named.
    pub target: Option<Target>,
    /// Variables that look like ours and are somebody else's.
    pub foreign: Vec<String>,
}

/// A URL that came from a profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// What the command line said, `@NAME`.
    pub word: String,
    /// What it stands for.
    pub url: String,
    /// The profile's `url` key.
    pub origin: Origin,
}

/// Why there is nothing to run.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Help, version, or an error of the command line.
    Clap(clap::Error),
    /// Settings that are wrong.
    Faults(Vec<Fault>),
}

impl From<clap::Error> for Stop {
    fn from(error: clap::Error) -> Self {
        Self::Clap(error)
    }
}

impl From<Fault> for Stop {
    fn from(fault: Fault) -> Self {
        Self::Faults(vec![fault])
    }
}

/// Parses the command line, after adding what variables and a profile want.
///
/// # Errors
/// What is wrong with the command line or with a setting, and requests for help.
pub(crate) fn resolve(
    mut definition: Command,
    arguments: Vec<OsString>,
    environment: &Environment,
) -> Result<Resolved, Stop> {
    let names_a_profile = arguments.iter().any(|argument| argument.as_encoded_bytes().starts_with(b"@"));
    if !names_a_profile && environment.ours().next().is_none() {
        let matches = definition.try_get_matches_from(arguments)?;
        return Ok(Resolved { matches, added: Vec::new(), target: None, foreign: Vec::new() });
    }
    definition.build();
    let lenient = definition.clone().ignore_errors(true).try_get_matches_from(&arguments)?;
    let layered =
        lenient.subcommand().filter(|(name, matches)| !PLAIN.contains(name) && matches.subcommand().is_none());
    let Some((name, matches)) = layered else {
        let matches = definition.try_get_matches_from(arguments)?;
        return Ok(Resolved { matches, added: Vec::new(), target: None, foreign: Vec::new() });
    };
    let specs = definition.find_subcommand(name).map(specs).unwrap_or_default();
    let given = given(&specs, definition.find_subcommand(name), matches);
    let profile = profile(&definition, matches, environment)?;
    let (layers, faults, foreign) = layers(&definition, &specs, profile.as_ref(), environment, &arguments);
    let (needs, mut faults) = try_each(&mut definition, name, &layers, faults);
    let (added, contradictions) = decide(&specs, &given, layers, &needs);
    faults.extend(contradictions);
    let target = profile.map(|profile| target(&profile)).transpose()?;
    if !faults.is_empty() {
        return Err(Stop::Faults(faults));
    }
    let whole = with(&arguments, &added);
    let matches = definition.try_get_matches_from_mut(whole).map_err(|error| {
        // An error of the command line's own is told without what was added.
        let alone = definition.try_get_matches_from_mut(&arguments).err();
        alone.filter(|alone| alone.kind() == error.kind()).unwrap_or(error)
    })?;
    Ok(Resolved { matches, added, target, foreign })
}

/// Where in the settings an error has its cause: it names an option or quotes a value that was not typed.
///
/// Only errors of settings have such a cause; others name hosts and files, too.
#[must_use]
pub(crate) fn cause<'a>(added: &'a [Setting], error: &Error) -> Option<&'a Setting> {
    let is_of_settings = matches!(error, Error::Usage { .. } | Error::Compile { .. } | Error::Tls(_));
    is_of_settings.then(|| cause_of(added, &error.to_string())).flatten()
}

fn cause_of<'a>(added: &'a [Setting], error: &str) -> Option<&'a Setting> {
    let names = |option: &str| {
        error
            .match_indices(&format!("--{option}"))
            .any(|(at, found)| !error[at + found.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-'))
    };
    let quotes = |setting: &&Setting| match &setting.change {
        Override::Values(values) => values.iter().filter_map(|value| value.to_str()).any(|value| {
            let value = value.trim_start_matches('@');
            value.len() >= SHORTEST_QUOTE && error.contains(value)
        }),
        Override::On | Override::Off => false,
    };
    added.iter().find(|setting| names(&setting.option)).or_else(|| added.iter().find(quotes))
}

/// The settings go right behind the subcommand, so that what was typed stays in order behind them.
fn with(arguments: &[OsString], added: &[Setting]) -> Vec<OsString> {
    let (subcommand, rest) = arguments.split_at(arguments.len().min(2));
    let added: Vec<OsString> = added.iter().flat_map(Setting::arguments).collect();
    [subcommand, &added, rest].concat()
}

/// The long options of every subcommand, once each.
pub(crate) fn all_options(definition: &Command) -> Vec<String> {
    let mut names: Vec<String> = definition
        .get_subcommands()
        .filter(|command| !PLAIN.contains(&command.get_name()))
        .flat_map(|command| options(command).filter_map(Arg::get_long).map(str::to_owned))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Options that can be set elsewhere than on the command line.
pub(crate) fn options(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| {
        let asks = matches!(
            arg.get_action(),
            ArgAction::Help | ArgAction::HelpShort | ArgAction::HelpLong | ArgAction::Version
        );
        // Two values under one name have no form in a file or a variable.
        let is_pair = arg.get_num_args().is_some_and(|values| values.min_values() > 1);
        arg.get_long().is_some() && !arg.is_hide_set() && !asks && !is_pair
    })
}

/// What a subcommand's options are called, what they take and what they exclude. It must have been built.
pub(crate) fn specs(command: &Command) -> Vec<OptionSpec> {
    let long = |arg: &Arg| arg.get_long().unwrap_or_default().to_owned();
    let mut specs: Vec<OptionSpec> = options(command)
        .map(|arg| OptionSpec {
            name: long(arg),
            arity: match (arg.get_action(), arg.get_num_args()) {
                (ArgAction::SetTrue | ArgAction::SetFalse | ArgAction::Count, _) => Arity::Nothing,
                (_, Some(range)) if range.min_values() == 0 => Arity::Maybe,
                _ => Arity::Value,
            },
            repeats: matches!(arg.get_action(), ArgAction::Append),
            excludes: command.get_arg_conflicts_with(arg).into_iter().map(&long).collect(),
            replaced_by: Vec::new(),
        })
        .collect();
    for (a, b) in exclusions(command, &specs) {
        if let Some(spec) = specs.iter_mut().find(|spec| spec.name == a) {
            spec.excludes.push(b);
        }
    }
    for spec in &mut specs {
        let ways = WAYS.iter().filter(|ways| ways.contains(&spec.name.as_str()));
        spec.replaced_by =
            ways.flat_map(|ways| ways.iter()).filter(|way| **way != spec.name).map(|way| (*way).to_owned()).collect();
    }
    specs
}

/// Exclusions as seen from the other side, and those of groups of which one may be chosen.
fn exclusions(command: &Command, specs: &[OptionSpec]) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> =
        specs.iter().flat_map(|spec| spec.excludes.iter().map(|other| (other.clone(), spec.name.clone()))).collect();
    for group in command.get_groups().filter(|group| !(*group).clone().is_multiple()) {
        let is_member = |arg: &&Arg| group.get_args().any(|id| id == arg.get_id());
        let members: Vec<&str> = options(command).filter(is_member).filter_map(Arg::get_long).collect();
        for a in &members {
            found.extend(members.iter().filter(|b| *b != a).map(|b| ((*a).to_owned(), (*b).to_owned())));
        }
    }
    found
}

/// What the command line itself says.
fn given(specs: &[OptionSpec], command: Option<&Command>, matches: &ArgMatches) -> Vec<Setting> {
    let Some(command) = command else { return Vec::new() };
    options(command)
        .filter(|arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine))
        .filter_map(|arg| {
            let spec = crate::config::spec(specs, arg.get_long()?)?;
            let values = || matches.get_raw(arg.get_id().as_str()).unwrap_or_default().map(OsStr::to_owned).collect();
            let change = if spec.arity == Arity::Nothing { Override::On } else { Override::Values(values()) };
            Some(Setting { option: spec.name.clone(), change, origin: Origin::Flag })
        })
        .collect()
}

/// Where the command line says to connect: URLs, and profiles as `@NAME`.
pub(crate) fn targets(matches: &ArgMatches) -> Vec<String> {
    TARGETS
        .iter()
        .filter_map(|id| matches.try_get_raw(id).ok().flatten())
        .flatten()
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}

/// The profile the command line names.
fn profile(definition: &Command, matches: &ArgMatches, environment: &Environment) -> Result<Option<Profile>, Stop> {
    let targets = targets(matches);
    let Some(name) = targets.iter().find_map(|word| word.strip_prefix('@')) else { return Ok(None) };
    let profile = find_profile(definition, name, environment).map_err(Stop::Faults)?;
    if targets.len() > 1 {
        // Its headers and passwords would go to the other addresses too.
        let message = format!("@{name} cannot be combined with other URLs");
        return Err(Fault::new(message, "give its URL and options as flags, or start one wsp per target").into());
    }
    Ok(Some(profile))
}

/// Looks a profile up, in the file of this environment.
///
/// # Errors
/// What is wrong with the file, or that there is no such profile.
pub(crate) fn find_profile(definition: &Command, name: &str, environment: &Environment) -> Result<Profile, Vec<Fault>> {
    let path = config_file(environment).ok_or_else(|| {
        let message = format!("no profile '{name}': no settings directory: neither XDG_CONFIG_HOME nor HOME is set");
        vec![Fault::new(message, "export HOME")]
    })?;
    let file = file::read(&path, &all_options(definition))?;
    file.profile(name).cloned().map_err(|fault| vec![fault])
}

fn target(profile: &Profile) -> Result<Target, Fault> {
    let (url, line) = profile.url.clone().ok_or_else(|| {
        let message = format!("{}: [profile.{}] has no url", profile.file.display(), profile.name);
        Fault::new(message, "url = \"wss://HOST/PATH\" says where to connect")
    })?;
    let origin = Origin::Profile { profile: profile.name.clone(), file: profile.file.clone(), line };
    if let Err(error) = WsTarget::parse(&url) {
        return Err(Fault::new(format!("{origin} url: {error}"), "write ws://HOST[:PORT]/PATH or wss://…"));
    }
    Ok(Target { word: format!("@{}", profile.name), url, origin })
}

/// The layers below the command line, highest first, and what is wrong with them.
fn layers(
    definition: &Command,
    specs: &[OptionSpec],
    profile: Option<&Profile>,
    environment: &Environment,
    arguments: &[OsString],
) -> (Vec<Vec<Setting>>, Vec<Fault>, Vec<String>) {
    let is_mentioned = |name: &str| {
        arguments.iter().any(|argument| argument.to_string_lossy().contains(name))
            || profile.is_some_and(|profile| profile.mentions(name))
    };
    let unknown = variables::unknown(environment, &all_options(definition), is_mentioned);
    let mut faults = unknown.misspelled;
    let (variables, wrong) = variables::settings(environment, specs);
    faults.extend(wrong);
    let (settings, wrong) = profile.map(|profile| profile.settings(specs)).unwrap_or_default();
    faults.extend(wrong);
    (vec![variables, settings], faults, unknown.foreign)
}

/// The options of a subcommand, and what the command line, whole as it was resolved, says of them.
pub(crate) fn options_given(
    definition: &mut Command,
    subcommand: &str,
    matches: &ArgMatches,
) -> (Vec<OptionSpec>, Vec<Setting>) {
    definition.build();
    let command = definition.find_subcommand(subcommand);
    let specs = command.map(specs).unwrap_or_default();
    let matches = matches.subcommand_matches(subcommand);
    let given = matches.map(|matches| given(&specs, command, matches)).unwrap_or_default();
    (specs, given)
}

/// Parses each setting alone: what it needs, and what is wrong with its value.
pub(crate) fn try_each(
    definition: &mut Command,
    subcommand: &str,
    layers: &[Vec<Setting>],
    mut faults: Vec<Fault>,
) -> (BTreeMap<String, Vec<String>>, Vec<Fault>) {
    let mut needs = BTreeMap::new();
    for setting in layers.iter().flatten() {
        let line = [OsString::from("wsp"), subcommand.into()].into_iter().chain(setting.arguments());
        let Err(error) = definition.try_get_matches_from_mut(line) else { continue };
        match error.kind() {
            ErrorKind::MissingRequiredArgument => {
                needs.insert(setting.option.clone(), missing_options(&error));
            }
            _ => faults.push(fault(setting, &error, subcommand)),
        }
    }
    (needs, faults)
}

/// The options an error misses, `--expect <JQ>` as `expect`.
fn missing_options(error: &clap::Error) -> Vec<String> {
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else { return Vec::new() };
    missing
        .iter()
        .filter_map(|text| text.strip_prefix("--"))
        .map(|text| text.split([' ', '=', '[']).next().unwrap_or_default().to_owned())
        .collect()
}

/// clap's verdict on a value, told of the place it came from.
fn fault(setting: &Setting, error: &clap::Error, subcommand: &str) -> Fault {
    use std::error::Error as _;
    let shown = |value: &ContextValue| crate::redact::option(&setting.option, &value.to_string()).into_owned();
    let value = error.get(ContextKind::InvalidValue).map(shown).unwrap_or_default();
    let what = match (error.kind(), error.source(), error.get(ContextKind::ValidValue)) {
        (_, Some(reason), _) => reason.to_string(),
        (ErrorKind::InvalidValue, _, Some(ContextValue::Strings(valid))) => {
            format!("invalid value '{value}'; use one of {}", valid.join(", "))
        }
        (ErrorKind::InvalidUtf8, _, _) => "the value is not UTF-8".to_owned(),
        _ => format!("invalid value '{value}'"),
    };
    Fault::new(format!("{}: {what}", setting.place()), format!("see wsp {subcommand} --help"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exclusion_is_seen_from_both_sides_and_in_groups() {
        let mut definition = super::super::definition();
        definition.build();
        let excludes = |command: &str, option: &str, other: &str| {
            let specs = specs(definition.find_subcommand(command).expect("a subcommand"));
            crate::config::spec(&specs, option).expect("an option").excludes.iter().any(|name| name == other)
        };
        for (command, a, b) in [
            ("connect", "compress", "no-compress"),
            ("connect", "user", "user-env"),
            ("connect", "hex", "binary"),
            ("listen", "echo", "broadcast"),
            ("listen", "tls", "tls-cert"),
        ] {
            assert!(excludes(command, a, b) && excludes(command, b, a), "{command} {a} {b}");
        }
        assert!(!excludes("connect", "user", "bearer"));
        assert!(!excludes("listen", "echo", "compress"));
    }

    #[test]
    fn the_cause_of_an_error_is_found_by_the_option_it_names() {
        let setting = |option: &str| Setting {
            option: option.to_owned(),
            change: Override::Values(vec![format!("@{option}.value").into()]),
            origin: Origin::Variable(variables::name_of(option)),
        };
        let added = [setting("jq"), setting("header"), setting("retry-max")];
        let option = |error: &str| cause_of(&added, error).map(|setting| setting.option.as_str());
        assert_eq!(option("--jq: does not compile"), Some("jq"));
        assert_eq!(option("--jq-filter: x"), None);
        assert_eq!(option("cannot read header.value"), Some("header"));
        assert_eq!(option("cannot connect"), None);
    }
}
