//! A file of pipelines: `[[pipeline]]` tables with `from`, `to`, `name` and any long option by its name.
//!
//! Owns its reading. Leaves what endpoints and filters mean to the command line. Invariant: all errors are reported at
//! once, each with its line, and nothing that is read is lost by it, so that more that is wrong can be found.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::file::{Entry, Value, settings_of, value_of};
use super::nearest::nearest;
use super::toml_text::{self, line_of};
use super::{Fault, OptionSpec, Origin, RouteText, Setting};
use crate::config::file;

/// Keys that are not options.
const OWN: [&str; 3] = ["name", "from", "to"];

/// Text and the line it stands at.
pub(crate) type Placed = (String, usize);

/// A `[[pipeline]]` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pipeline {
    /// The file it stands in.
    pub file: PathBuf,
    /// Its name, or its number among the others.
    pub name: String,
    /// Whether somebody gave it that name.
    pub is_named: bool,
    pub line: usize,
    pub from: Option<Placed>,
    pub to: Vec<Placed>,
    entries: Vec<Entry>,
}

impl Pipeline {
    /// What it wants of these options, and every value of a kind its option does not take.
    pub(crate) fn settings(&self, specs: &[OptionSpec]) -> (Vec<Setting>, Vec<Fault>) {
        settings_of(&self.entries, specs, |line| self.origin(line))
    }

    /// A line of it, as the origin of something.
    pub(crate) fn origin(&self, line: usize) -> Origin {
        Origin::Pipeline { pipeline: self.name.clone(), file: self.file.clone(), line }
    }

    /// Something wrong at a line of it.
    pub(crate) fn fault(&self, line: usize, what: &str, hint: impl Into<String>) -> Fault {
        Fault::new(format!("{} {what}", self.origin(line)), hint)
    }

    /// The line of a key, or where the table begins.
    pub(crate) fn line_of(&self, key: &str) -> usize {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        entry.map_or(self.line, |entry| entry.line)
    }
}

/// Reads the text of a file whose keys may be the `known` options; those of `everywhere` are of the whole run.
pub(crate) fn parse(path: &Path, text: &str, known: &[String], everywhere: &[&str]) -> (Vec<Pipeline>, Vec<Fault>) {
    let mut reader = Reader { path, text, known, everywhere, faults: Vec::new() };
    let pipelines = reader.pipelines();
    (pipelines, reader.faults)
}

struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    known: &'a [String],
    everywhere: &'a [&'a str],
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, offset: usize, what: &str, hint: impl Into<String>) {
        let place = toml_text::place_of(self.path, self.text, offset);
        self.faults.push(Fault::new(format!("{place}: {what}"), hint));
    }

    fn pipelines(&mut self) -> Vec<Pipeline> {
        let Some(document) = toml_text::read(self.text, |at, what, hint| self.fault(at, what, hint)) else {
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (key, value) in &document {
            let at = key.span().start;
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("pipeline", DeValue::Array(items)) => {
                    for item in items {
                        match item.get_ref() {
                            DeValue::Table(table) => tables.push((item.span().start, table)),
                            _ => self.fault(item.span().start, "a pipeline must be a table", "write [[pipeline]]"),
                        }
                    }
                }
                ("pipeline", DeValue::Table(table)) => {
                    self.fault(at, "[pipeline] is a single table", "write [[pipeline]], which can be repeated");
                    tables.push((at, table));
                }
                ("pipeline", _) => self.fault(at, "'pipeline' must be a table", "write [[pipeline]]"),
                (word, _) => {
                    let hint = match nearest(word, ["pipeline"]) {
                        Some(_) => "did you mean [[pipeline]]?".to_owned(),
                        None => "put all keys below [[pipeline]]".to_owned(),
                    };
                    self.fault(at, &format!("unknown key '{word}'"), hint);
                }
            }
        }
        if tables.is_empty() && self.faults.is_empty() {
            self.fault(0, "no pipeline is defined", "start one with [[pipeline]], from = \"…\" and to = [\"…\"]");
        }
        let mut pipelines: Vec<Pipeline> = Vec::new();
        for (place, (at, table)) in tables.into_iter().enumerate() {
            let pipeline = self.pipeline(place + 1, at, table);
            if let Some(other) = pipelines.iter().find(|other| other.name == pipeline.name) {
                let what = format!("line {} has a pipeline with the same name", other.line);
                self.faults.push(pipeline.fault(pipeline.line, &what, "give each its own name"));
            }
            pipelines.push(pipeline);
        }
        pipelines
    }

    fn pipeline(&mut self, number: usize, at: usize, table: &DeTable<'_>) -> Pipeline {
        let name = table.iter().find(|(key, _)| key.get_ref() == "name").map(|(_, value)| value.get_ref());
        let name = match name {
            Some(DeValue::String(text)) if !text.trim().is_empty() => Some(text.clone().into_owned()),
            _ => None,
        };
        let mut pipeline = Pipeline {
            file: self.path.to_owned(),
            is_named: name.is_some(),
            name: name.unwrap_or_else(|| number.to_string()),
            line: line_of(self.text, at),
            from: None,
            to: Vec::new(),
            entries: Vec::new(),
        };
        for (key, value) in table {
            let line = line_of(self.text, key.span().start);
            self.key(&mut pipeline, key.get_ref(), line, value.get_ref());
        }
        // As they stand in the file.
        pipeline.entries.sort_by_key(|entry| entry.line);
        for (is_missing, key) in [(pipeline.from.is_none(), "from"), (pipeline.to.is_empty(), "to")] {
            if is_missing && !table.iter().any(|(known, _)| known.get_ref() == key) {
                let what = format!("missing '{key}'");
                self.faults.push(pipeline.fault(
                    pipeline.line,
                    &what,
                    "a pipeline requires from = \"…\" and to = \
                [\"…\"]",
                ));
            }
        }
        pipeline
    }

    fn key(&mut self, pipeline: &mut Pipeline, key: &str, line: usize, value: &DeValue<'_>) {
        let mut fault = |what: &str, hint: String| {
            let fault = pipeline.fault(line, &format!("{key}: {what}"), hint);
            self.faults.push(fault);
        };
        let found = if key == "route" { routes_of(value).transpose() } else { Ok(None) };
        let found = match found {
            Ok(found) => found.or_else(|| value_of(value)),
            Err(what) => {
                let hint = "a route requires when = \"JQ\" and to = \"ENDPOINT\"; jq = \"JQ\" is optional";
                return fault(&what, hint.to_owned());
            }
        };
        let Some(found) = found else {
            return fault(
                "unsupported type of value",
                "write text, a number, true, false or an array of text".to_owned(),
            );
        };
        match (key, found) {
            ("name", Value::One(_)) if pipeline.is_named => {}
            ("from", Value::One(text)) => pipeline.from = Some((text, line)),
            ("to", Value::One(text)) => pipeline.to = vec![(text, line)],
            ("to", Value::Several(texts)) if !texts.is_empty() => {
                pipeline.to = texts.into_iter().map(|text| (text, line)).collect();
            }
            ("to", _) => fault("expected endpoints", "write to = [\"…\"]".to_owned()),
            ("name" | "from", _) => fault("expected a string", format!("write {key} = \"…\"")),
            (key, _) if self.everywhere.contains(&key) => {
                fault("this applies to the whole run, not to one pipeline", format!("give it as a flag: --{key}"));
            }
            (key, value) if self.known.iter().any(|known| known == key) => {
                pipeline.entries.push(file::Entry { key: key.to_owned(), value, line });
            }
            (key, _) => {
                let names = self.known.iter().map(String::as_str).chain(OWN);
                let hint = match nearest(key, names) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => "use name, from, to or the long options of wsp relay".to_owned(),
                };
                fault("no option has this name", hint);
            }
        }
    }
}

/// The texts of routes that are tables, or texts and tables; `None` where no table is among them.
fn routes_of(value: &DeValue<'_>) -> Option<Result<Value, String>> {
    let routes: Vec<&DeValue<'_>> = match value {
        DeValue::Array(items) => items.iter().map(toml::Spanned::get_ref).collect(),
        one => vec![one],
    };
    let is_table = |route: &&DeValue<'_>| matches!(route, DeValue::Table(_));
    if !routes.iter().any(is_table) {
        return None;
    }
    let text = |route: &DeValue<'_>| match route {
        DeValue::Table(table) => route_of(table),
        DeValue::String(text) => Ok(text.clone().into_owned()),
        _ => Err("expected text or a table".to_owned()),
    };
    Some(routes.into_iter().map(text).collect::<Result<_, _>>().map(Value::Several))
}

fn route_of(table: &DeTable<'_>) -> Result<String, String> {
    let (mut when, mut to, mut jq) = (None, None, None);
    for (key, value) in table {
        let place = match key.get_ref().as_ref() {
            "when" => &mut when,
            "to" => &mut to,
            "jq" => &mut jq,
            other => return Err(format!("unknown key '{other}'")),
        };
        match value.get_ref() {
            DeValue::String(text) => *place = Some(text.trim().to_owned()),
            _ => return Err(format!("'{}' must be text", key.get_ref())),
        }
    }
    let (Some(when), Some(to)) = (when, to) else { return Err("'when' or 'to' is missing".to_owned()) };
    let route = RouteText { when, to, jq };
    if route.can_be_written() { Ok(route.to_string()) } else { Err("'to' must not contain =>".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::super::samples::specs;
    use super::*;

    fn read(text: &str) -> (Vec<Pipeline>, Vec<String>) {
        let known: Vec<String> = specs().into_iter().map(|spec| spec.name).collect();
        let (pipelines, faults) = parse(Path::new("r.toml"), text, &known, &["admin"]);
        (pipelines, faults.iter().map(|fault| format!("{fault} | {}", fault.hint)).collect())
    }

    #[test]
    fn tables_become_pipelines_with_their_settings() {
        let text = "[[pipeline]]\nname = 'a'\nfrom = '-'\nto = ['null:', 'file:x']\nheader = ['A: 1']\n\n\
                    [[pipeline]]\nto = 'null:'\nfrom = 'ws://h/'\ninsecure = true\n";
        let (pipelines, faults) = read(text);
        assert_eq!(faults, [""; 0]);
        assert_eq!((&*pipelines[0].name, pipelines[0].is_named, pipelines[0].line), ("a", true, 1));
        assert_eq!(pipelines[0].to, [("null:".to_owned(), 4), ("file:x".to_owned(), 4)]);
        assert_eq!((&*pipelines[1].name, pipelines[1].is_named, pipelines[1].line), ("2", false, 7));
        assert_eq!(pipelines[1].from, Some(("ws://h/".to_owned(), 9)));
        let (settings, faults) = pipelines[1].settings(&specs());
        assert_eq!((settings[0].arguments(), faults), (vec!["--insecure".into()], vec![]));
        assert_eq!(settings[0].place(), "r.toml:10: pipeline 2: insecure");
    }

    #[test]
    fn routes_may_be_tables() {
        let head = "[[pipeline]]\nfrom = '-'\nto = 'null:'\n";
        let known = ["route".to_owned()];
        let read = |text: &str| parse(Path::new("r.toml"), &format!("{head}{text}"), &known, &[]);
        let routes = |text: &str| {
            let (pipelines, faults) = read(text);
            assert_eq!(faults, [], "{text}");
            pipelines[0].entries[0].value.clone()
        };
        let several = |texts: &[&str]| Value::Several(texts.iter().map(|&text| text.to_owned()).collect());
        assert_eq!(routes("route = ['. => -']"), several(&[". => -"]));
        let tables =
            "[[pipeline.route]]\nwhen = '.a'\nto = '-'\njq = '{a} '\n[[pipeline.route]]\nto = 'null:'\nwhen = '.b'\n";
        assert_eq!(routes(tables), several(&[".a => - => {a}", ".b => null:"]));
        assert_eq!(routes("route = [{ when = '.a', to = '-' }, '. => -']"), several(&[".a => -", ". => -"]));
        for (text, expected) in [
            ("route = { to = '-' }", "'when' or 'to' is missing"),
            ("route = { when = '.', to = '-', jk = '.' }", "unknown key 'jk'"),
            ("route = { when = 1, to = '-' }", "'when' must be text"),
            ("route = { when = '.', to = 'exec:a=>b' }", "'to' must not contain =>"),
            ("route = [{ when = '.', to = '-' }, 7]", "expected text or a table"),
        ] {
            let (_, faults) = read(text);
            assert!(faults[0].to_string().contains(&format!("route: {expected}")), "{text}: {faults:?}");
        }
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_its_line() {
        let text = "pipelin = 1\n[[pipeline]]\nname = 'a'\nfrm = '-'\nto = []\nadmin = '0'\n\
                    [[pipeline]]\nname = 'a'\nfrom = 3\nto = 'null:'\ninsecure = 1979-05-27\n";
        let (_, faults) = read(text);
        let expected = [
            "r.toml:1: unknown key 'pipelin' | did you mean [[pipeline]]?",
            "r.toml:4: pipeline a: frm: no option has this name | did you mean 'from'?",
            "r.toml:5: pipeline a: to: expected endpoints | write to = [\"…\"]",
            "r.toml:6: pipeline a: admin: this applies to the whole run, not to one pipeline | give it as a flag: \
             --admin",
            "r.toml:2: pipeline a: missing 'from' | a pipeline requires from = \"…\" and to = [\"…\"]",
            "r.toml:11: pipeline a: insecure: unsupported type of value | \
             write text, a number, true, false or an array of text",
            "r.toml:7: pipeline a: line 2 has a pipeline with the same name | give each its own name",
        ];
        for line in expected {
            assert!(faults.iter().any(|fault| fault == line), "{line} in {faults:#?}");
        }
        assert_eq!(faults.len(), expected.len(), "{faults:#?}");
        let (_, faults) = read("");
        assert!(faults[0].starts_with("r.toml:1: no pipeline is defined"), "{faults:?}");
        let (_, faults) = read("[pipeline]\nfrom = '-'\nto = 'null:'\n");
        assert!(faults[0].contains("[[pipeline]]"), "{faults:?}");
    }
}
