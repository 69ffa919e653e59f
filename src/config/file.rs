//! The configuration file: `[profile.NAME]` tables with `url` and any long option by its name.
//!
//! Owns its reading (the `toml` crate, whose spans give lines) and the layer a profile is. All of the file is checked
//! whenever it is read: an unknown option is an error, and all errors are reported together. A
//! key that another subcommand has and this one has not is left alone, so that one profile serves both.

use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::toml_text;
use super::{Arity, Fault, OptionSpec, Origin, Override, Setting, spec, switched};
use crate::redact;

/// The key of a profile's address.
const URL: &str = "url";

/// The file, checked.
#[derive(Debug, Clone)]
pub(crate) struct ConfigFile {
    pub path: PathBuf,
    /// Its profiles, in the order of their names.
    pub profiles: Vec<Profile>,
}

/// A `[profile.NAME]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    pub name: String,
    /// The file it stands in.
    pub file: PathBuf,
    /// Where to connect, and the line that says so.
    pub url: Option<(String, usize)>,
    entries: Vec<Entry>,
}

/// A key and what it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) value: Value,
    pub(super) line: usize,
}

/// What a key may be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Value {
    Switch(bool),
    /// Numbers stay as they are written.
    One(String),
    Several(Vec<String>),
}

/// Reads the file.
///
/// # Errors
/// What is wrong with it, or that it cannot be read. A file that does not exist has no profiles.
pub(crate) fn read(path: &Path, known: &[String]) -> Result<ConfigFile, Vec<Fault>> {
    match std::fs::read_to_string(path) {
        Ok(text) => ConfigFile::parse(path, &text, known),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            Ok(ConfigFile { path: path.to_owned(), profiles: Vec::new() })
        }
        Err(error) => Err(vec![Fault::new(
            format!("cannot read {}: {}", path.display(), error.kind()),
            "wsp config path shows where settings are read from",
        )]),
    }
}

impl ConfigFile {
    /// Reads the text of a file whose keys may be the `known` options.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub(crate) fn parse(path: &Path, text: &str, known: &[String]) -> Result<Self, Vec<Fault>> {
        let mut reader = Reader { path, text, known, faults: Vec::new() };
        let profiles = reader.profiles();
        if reader.faults.is_empty() { Ok(Self { path: path.to_owned(), profiles }) } else { Err(reader.faults) }
    }

    /// The profile of this name.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn profile(&self, name: &str) -> Result<&Profile, Fault> {
        self.profiles.iter().find(|profile| profile.name == name).ok_or_else(|| {
            let names = || self.profiles.iter().map(|profile| profile.name.as_str());
            let hint = match nearest(name, names()) {
                Some(near) => format!("did you mean @{near}?"),
                None if self.profiles.is_empty() => "wsp config sample prints an example".to_owned(),
                None => format!("there are {}", names().map(|name| format!("@{name}")).collect::<Vec<_>>().join(", ")),
            };
            Fault::new(format!("no profile '{name}' in {}", self.path.display()), hint)
        })
    }
}

impl Profile {
    /// What the profile wants of these options; keys that are not among them are left alone.
    ///
    /// # Errors
    /// Every value of a kind its option does not take.
    pub(crate) fn settings(&self, specs: &[OptionSpec]) -> (Vec<Setting>, Vec<Fault>) {
        settings_of(&self.entries, specs, |line| Origin::Profile {
            profile: self.name.clone(),
            file: self.file.clone(),
            line,
        })
    }

    /// Whether a value names this word, a variable's name for instance.
    #[must_use]
    pub(crate) fn mentions(&self, word: &str) -> bool {
        self.entries.iter().any(|entry| match &entry.value {
            Value::Switch(_) => false,
            Value::One(text) => text.contains(word),
            Value::Several(texts) => texts.iter().any(|text| text.contains(word)),
        })
    }

    /// The address without a password, for display.
    #[must_use]
    pub(crate) fn shown_url(&self) -> Option<String> {
        self.url.as_ref().map(|(url, _)| redact::option("url", url).into_owned())
    }
}

/// What entries want of these options; keys that are not among them are left alone.
pub(super) fn settings_of(
    entries: &[Entry],
    specs: &[OptionSpec],
    origin: impl Fn(usize) -> Origin,
) -> (Vec<Setting>, Vec<Fault>) {
    let mut settings = Vec::new();
    let mut faults = Vec::new();
    for entry in entries {
        let Some(spec) = spec(specs, &entry.key) else { continue };
        let origin = origin(entry.line);
        let fault = |what: &str, hint: &str| Fault::new(format!("{origin} {}: {what}", entry.key), hint);
        let values = |values: &[String]| Override::Values(values.iter().map(OsString::from).collect());
        let change = match (&entry.value, spec.arity) {
            (Value::Switch(on), Arity::Nothing | Arity::Maybe) => {
                settings.push(switched(spec, *on, specs, origin));
                continue;
            }
            (Value::Switch(_), Arity::Value) => {
                faults.push(fault("expected a value, not true or false", "put strings in quotes"));
                continue;
            }
            (_, Arity::Nothing) => {
                faults.push(fault("expected true or false", "use true or false, without quotes"));
                continue;
            }
            (Value::One(text), _) => values(std::slice::from_ref(text)),
            (Value::Several(texts), _) if spec.repeats => values(texts),
            (Value::Several(_), _) => {
                faults.push(fault(
                    "expected one value, not an array",
                    "only options that can be repeated accept \
                arrays",
                ));
                continue;
            }
        };
        settings.push(Setting { option: spec.name.clone(), change, origin });
    }
    (settings, faults)
}

/// Walks over the file and gathers what is wrong.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    known: &'a [String],
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn line(&self, offset: usize) -> usize {
        toml_text::line_of(self.text, offset)
    }

    fn fault(&mut self, offset: usize, what: &str, hint: impl Into<String>) {
        let place = toml_text::place_of(self.path, self.text, offset);
        self.faults.push(Fault::new(format!("{place}: {what}"), hint));
    }

    fn profiles(&mut self) -> Vec<Profile> {
        let Some(document) = toml_text::read(self.text, |at, what, hint| self.fault(at, what, hint)) else {
            return Vec::new();
        };
        let mut profiles = Vec::new();
        for (key, value) in &document {
            let at = key.span().start;
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("profile", DeValue::Table(tables)) => {
                    for (name, table) in tables {
                        let at = name.span().start;
                        match table.get_ref() {
                            DeValue::Table(table) => profiles.push(self.profile(name.get_ref(), table)),
                            _ => self.fault(
                                at,
                                &format!("profile.{} must be a table", name.get_ref()),
                                "write [profile.NAME]",
                            ),
                        }
                    }
                }
                ("profile", _) => self.fault(at, "profile must be a table", "write [profile.NAME]"),
                (word, _) => {
                    let hint = match nearest(word, ["profile"]) {
                        Some(near) => format!("did you mean [{near}.NAME]?"),
                        None => "put settings below [profile.NAME]".to_owned(),
                    };
                    self.fault(at, &format!("unknown key '{word}'"), hint);
                }
            }
        }
        profiles
    }

    fn profile(&mut self, name: &str, table: &DeTable<'_>) -> Profile {
        let mut profile = Profile { name: name.to_owned(), file: self.path.to_owned(), url: None, entries: Vec::new() };
        for (key, value) in table {
            let at = key.span().start;
            let line = self.line(at);
            let key = key.get_ref().as_ref();
            let place = format!("[profile.{name}] {key}");
            match value_of(value.get_ref()) {
                _ if key != URL && !self.known.iter().any(|known| known == key) => {
                    let names = self.known.iter().map(String::as_str).chain([URL]);
                    let hint = match nearest(key, names) {
                        Some(near) => format!("did you mean '{near}'?"),
                        None => "use 'url' or long options; see wsp config sample".to_owned(),
                    };
                    self.fault(at, &format!("{place}: no option has this name"), hint);
                }
                Some(Value::One(url)) if key == URL => profile.url = Some((url, line)),
                None => self.fault(
                    at,
                    &format!("{place}: unsupported type of value"),
                    "write text, a number, true, false or an array of text",
                ),
                Some(_) if key == URL => {
                    self.fault(at, &format!("{place}: expected a string"), "write url = \"wss://HOST/PATH\"");
                }
                Some(value) => profile.entries.push(Entry { key: key.to_owned(), value, line }),
            }
        }
        // As they stand in the file.
        profile.entries.sort_by_key(|entry| entry.line);
        profile
    }
}

/// A value, when it is one that options take.
pub(super) fn value_of(value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::Boolean(on) => Some(Value::Switch(*on)),
        DeValue::Array(items) => {
            items.iter().map(|item| scalar(item.get_ref())).collect::<Option<_>>().map(Value::Several)
        }
        other => scalar(other).map(Value::One),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.clone().into_owned()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.as_str().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::specs;
    use super::*;

    fn parse(text: &str) -> Result<ConfigFile, Vec<Fault>> {
        let known: Vec<String> = specs().into_iter().map(|spec| spec.name).chain(["queue-size".to_owned()]).collect();
        ConfigFile::parse(Path::new("c.toml"), text, &known)
    }

    #[test]
    fn a_profile_becomes_what_the_command_line_would_have() {
        let text = "[profile.p]\nurl = 'wss://h/'\nheader = ['A: 1', 'B: 2']\ninsecure = true\nconnect-timeout = 5\n\
                    compress = false\nqueue-size = 7\n[profile.q]\ncompress = true\nheader = 'A: 1'\nconnect-timeout = 1.50\n";
        let file = parse(text).expect("a file");
        let (settings, faults) = file.profile("p").expect("p").settings(&specs());
        assert_eq!(faults, []);
        let arguments: Vec<_> = settings.iter().flat_map(Setting::arguments).collect();
        let expected = ["--header=A: 1", "--header=B: 2", "--insecure", "--connect-timeout=5", "--no-compress"];
        assert_eq!(arguments, expected);
        let line = Origin::Profile { profile: "p".into(), file: "c.toml".into(), line: 5 };
        assert_eq!(settings[2].origin, line);
        let (settings, _) = file.profile("q").expect("q").settings(&specs());
        let arguments: Vec<_> = settings.iter().flat_map(Setting::arguments).collect();
        assert_eq!(arguments, ["--compress", "--header=A: 1", "--connect-timeout=1.50"]);
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_its_line() {
        let text = "[profile.p]\nurl = 3.5\nconect-timeout = 1\ninsecure = 1979-05-27\n[profil.x]\n";
        let faults = parse(text).expect_err("faults");
        let lines: Vec<String> = faults.iter().map(|fault| format!("{fault} | {}", fault.hint)).collect();
        assert_eq!(lines.len(), 3, "{lines:#?}");
        assert!(
            lines
                .iter()
                .any(|line| line.starts_with("c.toml:5: unknown key 'profil'") && line.contains("[profile.NAME]"))
        );
        assert!(lines.iter().any(|line| line.starts_with("c.toml:3: [profile.p] conect-timeout: ")
            && line.ends_with("did you mean 'connect-timeout'?")));
        assert!(lines.iter().any(|line| line.starts_with("c.toml:4: [profile.p] insecure: ")));
    }

    #[test]
    fn what_is_not_toml_is_told_with_its_line_and_without_the_line_itself() {
        let faults = parse("[profile.p]\nbearer = s3cret\n").expect_err("faults");
        assert!(faults[0].message.starts_with("c.toml:2: "), "{faults:?}");
        assert!(!format!("{faults:?}").contains("s3cret"), "{faults:?}");
    }

    #[test]
    fn values_of_a_wrong_kind_name_their_place() {
        let text = "[profile.p]\nconnect-timeout = true\ninsecure = 'yes'\ncompress = ['a']\n";
        let (settings, faults) = parse(text).expect("a file").profiles[0].settings(&specs());
        assert_eq!(settings, []);
        let messages: Vec<_> = faults.iter().map(|fault| fault.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "c.toml:2: [profile.p] connect-timeout: expected a value, not true or false",
                "c.toml:3: [profile.p] insecure: expected true or false",
                "c.toml:4: [profile.p] compress: expected one value, not an array",
            ]
        );
    }

    #[test]
    fn a_profile_that_is_not_there_has_neighbours() {
        let file = parse("[profile.production]\nurl = 'x'\n[profile.test]\n").expect("a file");
        assert_eq!(file.profile("prodution").expect_err("none").hint, "did you mean @production?");
        assert_eq!(file.profile("zzz").expect_err("none").hint, "there are @production, @test");
        assert!(parse("").expect("a file").profile("x").expect_err("none").hint.contains("sample"));
    }
}
