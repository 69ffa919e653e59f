//! From a file of pipelines to what each of them is to be run with, or everything that is wrong with it.
//!
//! Each pipeline's settings pass the same parser as the command line. Leaves TOML to `config/` and running to `many`.
//! Invariants: nothing is opened; a pipeline that comes out can be built, unless the world changes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::FromArgMatches as _;

use super::args::RelayArgs;
use super::build::{Build, Surroundings};
use super::files::check_source;
use super::profiles::{endpoint, is_profile};
use super::routes;
use crate::command::{definition, layers, settings};
use crate::config::pipelines::{Pipeline, parse};
use crate::config::{Fault, Override, RouteText, Setting, decide::decide};
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::message::io_text::io_text;

/// Options of the whole run.
const EVERYWHERE: [&str; 9] =
    ["file", "check", "status", "admin", "admin-token-env", "require-clients", "record", "jq-timeout", "jq-memory"];

/// A pipeline as it is to be run.
#[derive(Debug, Clone)]
pub(super) struct Planned {
    /// Its name, or its number.
    pub(super) name: String,
    /// Whether somebody gave it that name.
    pub(super) is_named: bool,
    /// What it is run with.
    pub(super) args: RelayArgs,
    /// Differs when it is to be run in another way.
    pub(super) print: (Vec<OsString>, Option<Vec<u8>>),
}

/// Reads the file.
///
/// # Errors
/// All that is wrong with it.
pub(super) fn read(path: &Path, args: &RelayArgs, around: &Surroundings) -> Result<Vec<Planned>, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let text = format!("cannot read {}: {}", path.display(), io_text(&error));
        Error::usage(text, "-f requires a file with [[pipeline]] tables")
    })?;
    let known: Vec<String> = args.options.iter().map(|option| option.name.clone()).collect();
    let (pipelines, faults) = parse(path, &text, &known, &EVERYWHERE);
    let mut planner = Planner { args, around, errors: faults.into_iter().map(usage).collect(), uses: Uses::default() };
    let all: Vec<_> = pipelines.iter().filter_map(|pipeline| planner.plan(pipeline)).collect();
    if planner.errors.is_empty() { Ok(all) } else { Err(Error::Several(planner.errors)) }
}

fn usage(fault: Fault) -> Error {
    Error::Usage { message: fault.message, hint: fault.hint }
}

/// What only one endpoint of a process may use, and the place of who does.
#[derive(Default)]
struct Uses(BTreeMap<Use, String>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Use {
    Stdin,
    Stdout,
    Spool(PathBuf),
    Address(String),
}

impl Use {
    fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::Stdout => "standard output".to_owned(),
            Self::Spool(path) => format!("the spool {}", path.display()),
            Self::Address(address) => format!("the address {address}"),
        }
    }
}

struct Planner<'a> {
    args: &'a RelayArgs,
    around: &'a Surroundings,
    errors: Vec<Error>,
    uses: Uses,
}

impl Planner<'_> {
    fn push_error_at(&mut self, pipeline: &Pipeline, line: usize, error: Error) {
        let place = pipeline.origin(line).to_string();
        let each = match error {
            Error::Several(errors) => errors,
            one => vec![one],
        };
        self.errors.extend(each.into_iter().map(|error| Error::At { place: place.clone(), error: Box::new(error) }));
    }

    /// What a pipeline is to be run with, unless something is wrong with it.
    fn plan(&mut self, pipeline: &Pipeline) -> Option<Planned> {
        let before = self.errors.len();
        let (own, faults) = pipeline.settings(&self.args.options);
        self.errors.extend(faults.into_iter().map(usage));
        let mut definition = definition();
        let (needs, faults) = layers::try_each(&mut definition, "relay", std::slice::from_ref(&own), Vec::new());
        self.errors.extend(faults.into_iter().map(usage));
        self.check_texts(pipeline, &own);
        let is_for_one = |setting: &Setting| !EVERYWHERE.contains(&&*setting.option);
        let given = self.args.given.iter().filter(|setting| is_for_one(setting)).cloned().collect();
        let (decided, faults) = decide(&self.args.options, &[], vec![own, given], &needs);
        self.errors.extend(faults.into_iter().map(usage));
        self.check_uses(pipeline, &decided);
        let (from, to) = (pipeline.from.as_ref()?, &pipeline.to);
        if self.errors.len() > before || to.is_empty() {
            return None;
        }
        let words = ["wsp", "relay"].map(OsString::from);
        let settings = decided.iter().flat_map(Setting::arguments);
        let ends = ["--", &from.0].into_iter().chain(to.iter().map(|(text, _)| &**text)).map(OsString::from);
        let line: Vec<OsString> = words.into_iter().chain(settings).chain(ends).collect();
        let parsed = definition.try_get_matches_from_mut(&line).and_then(|matches| {
            let matches = matches.subcommand_matches("relay").cloned().unwrap_or_default();
            RelayArgs::from_arg_matches(&matches)
        });
        let args = match parsed {
            Ok(args) => RelayArgs { given: decided.clone(), ..args },
            Err(error) => {
                let what = error.to_string();
                let what = what.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
                self.push_error_at(pipeline, pipeline.line, Error::usage(what, "see wsp relay --help"));
                return None;
            }
        };
        if let Err(error) = check_source(&args, self.args.record.as_deref()) {
            self.push_error_at(pipeline, pipeline.line, error);
            return None;
        }
        if let Err(error) = Build::new(&args, self.around, None).and_then(Build::try_out) {
            let text = error.to_string();
            let named = decided.iter().find(|setting| text.contains(&format!("--{}", setting.option)));
            let of_profile = |end: &&(String, usize)| {
                let name = end.0.strip_prefix('@');
                name.is_some_and(|name| {
                    text.contains(&format!("'{name}'")) || text.contains(&format!("[profile.{name}]"))
                })
            };
            let line = match (pipeline.from.iter().chain(&pipeline.to).find(of_profile), named) {
                (Some((_, line)), _) => *line,
                (None, Some(setting)) => pipeline.line_of(&setting.option),
                (None, None) => pipeline.line,
            };
            self.push_error_at(pipeline, line, error);
        }
        let schema = args.schema.as_ref().and_then(|path| std::fs::read(path).ok());
        (self.errors.len() == before).then(|| Planned {
            name: pipeline.name.clone(),
            is_named: pipeline.is_named,
            args,
            print: (line, schema),
        })
    }

    /// Endpoints and filters, each by itself.
    fn check_texts(&mut self, pipeline: &Pipeline, own: &[Setting]) {
        // Profiles are read when all is put together.
        let endpoint = |text: &str| if is_profile(text) { Ok(()) } else { endpoint(text).map(drop) };
        for (text, line) in pipeline.from.iter().chain(&pipeline.to) {
            if let Err(error) = endpoint(text) {
                self.push_error_at(pipeline, *line, error);
            }
        }
        for setting in own {
            let line = pipeline.line_of(&setting.option);
            for text in texts(setting) {
                let checked = match &*setting.option {
                    "jq" => settings::filter("--jq", text).map(drop),
                    "schema" => settings::schema("--schema", Path::new(text), false).map(drop),
                    "init-wait" => settings::filter("--init-wait", text).map(drop),
                    "batch-jq" => settings::filter("--batch-jq", text).map(drop),
                    "state-key" => settings::filter("--state-key", text).map(drop),
                    "fold" => settings::fold("--fold", text).map(drop),
                    "route" => routes::parse(text).and_then(|route| {
                        if let Err(error) = endpoint(&route.to) {
                            self.push_error_at(pipeline, line, error);
                        }
                        route.compile(|_| Ok(Endpoint::Null)).map(drop)
                    }),
                    _ => Ok(()),
                };
                if let Err(error) = checked {
                    self.push_error_at(pipeline, line, error);
                }
            }
        }
    }

    /// What only one may use.
    fn check_uses(&mut self, pipeline: &Pipeline, decided: &[Setting]) {
        let values = |option: &'static str| {
            let settings = decided.iter().filter(move |setting| setting.option == option);
            settings.flat_map(move |setting| texts(setting).map(move |text| (text, pipeline.line_of(option))))
        };
        let both = decided.iter().any(|setting| setting.option == "both" && setting.change == Override::On);
        let from = pipeline.from.iter().map(|(text, line)| (&**text, *line, true, both));
        let to = pipeline.to.iter().map(|(text, line)| (&**text, *line, both, true));
        // A route to an endpoint that is there already goes to the same one.
        let is_new = |target: &str| !pipeline.to.iter().any(|(text, _)| text == target);
        let targets = values("route").filter_map(|(text, line)| Some((RouteText::parse(text)?.to, line)));
        let targets: Vec<_> = targets.collect();
        let targets = targets.iter().map(|(target, line)| (&**target, *line));
        let mut routes: Vec<_> = targets.filter(|(target, _)| is_new(target)).collect();
        routes.sort_unstable();
        routes.dedup_by_key(|(target, _)| *target);
        let routes = routes.into_iter().map(|(target, line)| (target, line, false, true));
        let dead = values("dead-letter").map(|(text, line)| (text, line, false, true));
        for (text, line, is_read, is_written) in from.chain(to).chain(routes).chain(dead) {
            match Endpoint::parse(text) {
                Ok(Endpoint::Stdio) => {
                    if is_read {
                        self.uses(pipeline, line, Use::Stdin, "one endpoint of all pipelines may read it");
                    }
                    if is_written {
                        self.uses(pipeline, line, Use::Stdout, "one endpoint of all pipelines may write to it");
                    }
                }
                Ok(Endpoint::WsListen { address, .. }) => {
                    let address = address.to_string();
                    if !address.ends_with(":0") {
                        self.uses(pipeline, line, Use::Address(address), "give each its own port");
                    }
                }
                _ => {}
            }
        }
        for (path, line) in values("spool") {
            let path = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
            self.uses(pipeline, line, Use::Spool(path), "give each pipeline its own spool");
        }
    }

    fn uses(&mut self, pipeline: &Pipeline, line: usize, what: Use, hint: &str) {
        let place = pipeline.origin(line).to_string();
        match self.uses.0.get(&what) {
            Some(other) => {
                let text = format!("{} is used twice, also at {}", what.name(), other.trim_end_matches(':'));
                self.push_error_at(pipeline, line, Error::usage(text, hint));
            }
            None => {
                self.uses.0.insert(what, place);
            }
        }
    }
}

fn texts(setting: &Setting) -> impl Iterator<Item = &str> {
    let values = match &setting.change {
        Override::Values(values) => &values[..],
        Override::On | Override::Off => &[],
    };
    values.iter().filter_map(|value| value.to_str())
}
