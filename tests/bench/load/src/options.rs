//! `--name value` pairs, and `--name` alone for a switch.
//!
//! Owns reading them and their defaults' types. Leaves what they mean to each job.

use std::collections::HashMap;
use std::str::FromStr;

use crate::Outcome;

/// Options that take no value.
const SWITCHES: [&str; 2] = ["deflate", "packed"];

/// What stood on the command line behind the job.
#[derive(Debug, Default)]
pub struct Options {
    values: HashMap<String, String>,
}

impl Options {
    /// Reads all arguments.
    pub fn read(mut arguments: impl Iterator<Item = String>) -> Outcome<Self> {
        let mut options = Self::default();
        while let Some(argument) = arguments.next() {
            let name = argument.strip_prefix("--").ok_or_else(|| format!("unexpected {argument:?}"))?;
            let value = if SWITCHES.contains(&name) {
                String::new()
            } else {
                arguments.next().ok_or_else(|| format!("--{name} needs a value"))?
            };
            options.values.insert(name.to_owned(), value);
        }
        Ok(options)
    }

    /// The value of `--name`, or what stands in for it.
    pub fn or<T: FromStr>(&self, name: &str, default: T) -> Outcome<T> {
        Ok(self.maybe(name)?.unwrap_or(default))
    }

    /// The value of `--name`, if it was given.
    pub fn maybe<T: FromStr>(&self, name: &str) -> Outcome<Option<T>> {
        let read = |text: &String| text.parse().map_err(|_| format!("--{name} {text:?} cannot be read"));
        Ok(self.values.get(name).map(read).transpose()?)
    }

    /// The value of `--name`, which must be given.
    pub fn must<T: FromStr>(&self, name: &str) -> Outcome<T> {
        self.maybe(name)?.ok_or_else(|| format!("--{name} is missing").into())
    }

    /// Whether the switch was given.
    pub fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }
}
