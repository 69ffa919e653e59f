//! How a setting is decided: flag, then `WSP_*` variable, then profile, then default.
//!
//! Owns the layers, the file they may come from, and the origin every value keeps. Leaves the options themselves to
//! the command line: it is told what they are called and what they take ([`OptionSpec`]), and knows none by itself
//! but those that are headers under another name. Invariants: pure but for [`file::read`]; a setting is never
//! changed on its way, only left out; what is wrong is reported all at once, with the place it stands at.

pub(crate) mod decide;
pub(crate) mod file;
pub(crate) mod nearest;
pub(crate) mod pipelines;
pub(crate) mod place;
mod route;
pub(crate) mod toml_text;
pub(crate) mod variables;

pub(crate) use self::route::RouteText;

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

/// Something wrong with a setting: a line for the person who must act, and a hint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Fault {
    pub message: String,
    pub hint: String,
}

impl Fault {
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: hint.into() }
    }
}

/// Where a value came from, in falling order of weight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The command line.
    Flag,
    /// An environment variable, by its name.
    Variable(String),
    /// A profile of the configuration file.
    Profile {
        profile: String,
        file: PathBuf,
        /// The line of the key, from 1.
        line: usize,
    },
    /// A table of a file of pipelines.
    Pipeline {
        pipeline: String,
        file: PathBuf,
        /// The line of the key, from 1.
        line: usize,
    },
    Default,
}

impl Origin {
    /// One word, for programs.
    #[must_use]
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Variable(_) => "env",
            Self::Profile { .. } => "profile",
            Self::Pipeline { .. } => "pipeline",
            Self::Default => "default",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag | Self::Default => f.write_str(self.kind()),
            Self::Variable(name) => f.write_str(name),
            Self::Profile { profile, file, line } => write!(f, "{}:{line}: [profile.{profile}]", file.display()),
            Self::Pipeline { pipeline, file, line } => write!(f, "{}:{line}: pipeline {pipeline}:", file.display()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arity {
    /// Nothing: it is on or off.
    Nothing,
    /// A value, or nothing.
    Maybe,
    Value,
}

/// A long option of a subcommand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OptionSpec {
    pub name: String,
    /// What it takes: nothing, or a value.
    pub arity: Arity,
    /// Whether it may be given more than once.
    pub repeats: bool,
    /// Options that must not be given with it.
    pub excludes: Vec<String>,
    /// Options that say the same thing another way: given in a higher layer they take its place.
    pub replaced_by: Vec<String>,
}

/// What a layer wants of an option.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Override {
    /// As if nobody had asked for it, whatever lower layers say.
    Off,
    /// Given without a value.
    On,
    /// Given with these values, once each.
    Values(Vec<OsString>),
}

/// An option with what a layer wants of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// The option's name without dashes.
    pub option: String,
    pub change: Override,
    pub origin: Origin,
}

impl Setting {
    /// The setting as the command line would have it.
    #[must_use]
    pub(crate) fn arguments(&self) -> Vec<OsString> {
        match &self.change {
            Override::Off => Vec::new(),
            Override::On => vec![format!("--{}", self.option).into()],
            Override::Values(values) => values
                .iter()
                .map(|value| {
                    let mut argument = OsString::from(format!("--{}=", self.option));
                    argument.push(value);
                    argument
                })
                .collect(),
        }
    }

    /// The place and the key, as errors begin.
    #[must_use]
    pub(crate) fn place(&self) -> String {
        match &self.origin {
            Origin::Flag | Origin::Default => format!("--{}", self.option),
            Origin::Variable(name) => name.clone(),
            origin @ (Origin::Profile { .. } | Origin::Pipeline { .. }) => format!("{origin} {}", self.option),
        }
    }
}

pub(crate) fn spec<'a>(specs: &'a [OptionSpec], name: &str) -> Option<&'a OptionSpec> {
    specs.iter().find(|spec| spec.name == name)
}

/// What `true` or `false` mean to an option; `false` is the opposite's `true` where there is one.
fn switched(spec: &OptionSpec, on: bool, specs: &[OptionSpec], origin: Origin) -> Setting {
    let opposite = format!("no-{}", spec.name);
    if !on && self::spec(specs, &opposite).is_some() {
        return Setting { option: opposite, change: Override::On, origin };
    }
    Setting { option: spec.name.clone(), change: if on { Override::On } else { Override::Off }, origin }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::{Arity, OptionSpec};

    /// Options that have one of everything.
    pub(crate) fn specs() -> Vec<OptionSpec> {
        let row = |name: &str, arity, repeats, excludes: &[&str], replaced_by: &[&str]| OptionSpec {
            name: name.to_owned(),
            arity,
            repeats,
            excludes: excludes.iter().map(|name| (*name).to_owned()).collect(),
            replaced_by: replaced_by.iter().map(|name| (*name).to_owned()).collect(),
        };
        vec![
            row("connect-timeout", Arity::Value, false, &[], &[]),
            row("header", Arity::Value, true, &[], &[]),
            row("init", Arity::Value, true, &[], &[]),
            row("insecure", Arity::Nothing, false, &[], &[]),
            row("compress", Arity::Maybe, false, &["no-compress"], &[]),
            row("no-compress", Arity::Nothing, false, &["compress"], &[]),
            row("broadcast", Arity::Nothing, false, &["echo"], &[]),
            row("echo", Arity::Nothing, false, &["broadcast"], &[]),
            row("no-self", Arity::Nothing, false, &[], &[]),
            row("user", Arity::Value, false, &["user-env"], &["bearer"]),
            row("user-env", Arity::Value, false, &["user"], &["bearer"]),
            row("bearer", Arity::Value, false, &[], &["user", "user-env"]),
        ]
    }
}
