//! The layer of `WSP_*` variables (pure).
//!
//! A variable is `WSP_` and the long option in capitals with `_`. An empty one counts as not set. Switches take true,
//! false, yes, no, on, off, 1 and 0; options that may stand alone take true and false besides their value; options
//! that repeat take a value a line. A `WSP_*` variable that no option answers to is a fault where its name is close to
//! one of ours, and somebody else's where it is not; `WSP_TEST_*` belong to the tests, and the command line or a profile
//! may name others itself (`--bearer-env WSP_TOKEN`).

use std::ffi::{OsStr, OsString};

use super::nearest::nearest;
use super::{Arity, Fault, OptionSpec, Origin, Override, Setting, switched};

const PREFIX: &str = "WSP_";
/// Variables of the test programs.
const TESTS: &str = "WSP_TEST_";

/// The environment as it was at the start.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment(Vec<(String, OsString)>);

impl Environment {
    /// That of this process. Variables whose name is not text are none of ours.
    #[must_use]
    pub(crate) fn of_this_process() -> Self {
        std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect()
    }

    /// The value of a variable that is set and not empty.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> Option<&OsStr> {
        self.0.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_os_str())
    }

    /// Names of variables that could be ours.
    pub(crate) fn ours(&self) -> impl Iterator<Item = &str> {
        self.0
            .iter()
            .filter(|(name, value)| name.starts_with(PREFIX) && !name.starts_with(TESTS) && !value.is_empty())
            .map(|(name, _)| name.as_str())
    }
}

impl FromIterator<(String, OsString)> for Environment {
    fn from_iter<T: IntoIterator<Item = (String, OsString)>>(variables: T) -> Self {
        Self(variables.into_iter().collect())
    }
}

/// The variable of an option.
#[must_use]
pub(crate) fn name_of(option: &str) -> String {
    format!("{PREFIX}{}", option.to_uppercase().replace('-', "_"))
}

/// What the environment wants of these options.
///
/// # Errors
/// Every switch whose value is neither yes nor no.
pub(crate) fn settings(environment: &Environment, specs: &[OptionSpec]) -> (Vec<Setting>, Vec<Fault>) {
    let mut settings = Vec::new();
    let mut faults = Vec::new();
    for spec in specs {
        let name = name_of(&spec.name);
        let Some(value) = environment.get(&name) else { continue };
        let origin = Origin::Variable(name.clone());
        match switch(spec, value) {
            Ok(Some(on)) => settings.push(switched(spec, on, specs, origin)),
            Ok(None) => {
                let values = if spec.repeats { lines(value) } else { vec![value.to_owned()] };
                settings.push(Setting { option: spec.name.clone(), change: Override::Values(values), origin });
            }
            Err(()) => faults
                .push(Fault::new(format!("{name}: invalid value '{}'", value.to_string_lossy()), "use true or false")),
        }
    }
    (settings, faults)
}

/// On or off; `None` when it is a value.
fn switch(spec: &OptionSpec, value: &OsStr) -> Result<Option<bool>, ()> {
    let word = value.to_str().unwrap_or_default().to_ascii_lowercase();
    match (spec.arity, word.as_str()) {
        (Arity::Value, _) => Ok(None),
        (_, "true") | (Arity::Nothing, "yes" | "on" | "1") => Ok(Some(true)),
        (_, "false") | (Arity::Nothing, "no" | "off" | "0") => Ok(Some(false)),
        (Arity::Maybe, _) => Ok(None),
        (Arity::Nothing, _) => Err(()),
    }
}

fn lines(value: &OsStr) -> Vec<OsString> {
    match value.to_str() {
        Some(text) => text.lines().filter(|line| !line.is_empty()).map(OsString::from).collect(),
        None => vec![value.to_owned()],
    }
}

/// Variables that belong to none of the `known` options.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unknown {
    /// Misspelled ones of ours.
    pub misspelled: Vec<Fault>,
    /// Somebody else's, by name.
    pub foreign: Vec<String>,
}

/// Variables that look like ours and belong to none of the `known` options.
pub(crate) fn unknown(environment: &Environment, known: &[String], is_mentioned: impl Fn(&str) -> bool) -> Unknown {
    let known: Vec<String> = known.iter().map(|option| name_of(option)).collect();
    let mut unknown = Unknown::default();
    for name in environment.ours().filter(|name| !known.iter().any(|known| known == name) && !is_mentioned(name)) {
        // The prefix, which all have, says nothing.
        match nearest(&name[PREFIX.len()..], known.iter().map(|known| &known[PREFIX.len()..])) {
            Some(near) => unknown.misspelled.push(Fault::new(
                format!("the environment variable {name}: no option has this name"),
                format!("did you mean {PREFIX}{near}? Otherwise unset or rename it"),
            )),
            None => unknown.foreign.push(name.to_owned()),
        }
    }
    unknown
}

#[cfg(test)]
mod tests {
    use super::super::samples::specs;
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect()
    }

    #[test]
    fn a_variable_becomes_what_the_command_line_would_have() {
        let table: [(&str, &str, &[&str]); 13] = [
            ("WSP_CONNECT_TIMEOUT", "3s", &["--connect-timeout=3s"]),
            ("WSP_CONNECT_TIMEOUT", "", &[]),
            ("WSP_INSECURE", "true", &["--insecure"]),
            ("WSP_INSECURE", "1", &["--insecure"]),
            ("WSP_INSECURE", "off", &[]),
            ("WSP_COMPRESS", "true", &["--compress"]),
            ("WSP_COMPRESS", "false", &["--no-compress"]),
            ("WSP_COMPRESS", "server_max_window_bits=9", &["--compress=server_max_window_bits=9"]),
            ("WSP_COMPRESS", "1", &["--compress=1"]),
            ("WSP_NO_COMPRESS", "yes", &["--no-compress"]),
            ("WSP_HEADER", "A: 1\nB: 2\n", &["--header=A: 1", "--header=B: 2"]),
            ("WSP_TEST_SKIP", "x", &[]),
            ("HOME", "/h", &[]),
        ];
        for (name, value, expected) in table {
            let (settings, faults) = settings(&environment(&[(name, value)]), &specs());
            assert_eq!(faults, [], "{name}");
            let arguments: Vec<_> = settings.iter().flat_map(Setting::arguments).collect();
            assert_eq!(arguments, expected, "{name}={value}");
        }
    }

    #[test]
    fn a_switch_is_on_or_off() {
        let (settings, faults) = settings(&environment(&[("WSP_INSECURE", "perhaps")]), &specs());
        assert!(settings.is_empty());
        assert_eq!(faults[0].message, "WSP_INSECURE: invalid value 'perhaps'");
    }

    #[test]
    fn what_no_option_answers_to_is_named() {
        let far = unknown(&environment(&[("WSP_ZZZ", "1")]), &["jq".to_owned()], |_| false);
        assert_eq!(far, Unknown { misspelled: Vec::new(), foreign: vec!["WSP_ZZZ".to_owned()] });
        let environment = environment(&[
            ("WSP_CONECT_TIMEOUT", "1"),
            ("WSP_TEST_SKIP", "x"),
            ("WSP_TOKEN", "t"),
            ("WSP_HEADER", "a: b"),
            ("WSP_EMPTY", ""),
        ]);
        let known: Vec<String> = specs().into_iter().map(|spec| spec.name).collect();
        let unknown = unknown(&environment, &known, |name| name == "WSP_TOKEN");
        assert_eq!(unknown.foreign, [""; 0]);
        let faults = unknown.misspelled;
        assert_eq!(faults.len(), 1, "{faults:?}");
        assert!(faults[0].message.contains("WSP_CONECT_TIMEOUT"));
        assert!(faults[0].hint.starts_with("did you mean WSP_CONNECT_TIMEOUT?"), "{faults:?}");
    }
}
