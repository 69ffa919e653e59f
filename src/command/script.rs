//! `--script FILE`: rules in TOML, read and checked as a whole.
//!
//! Owns the keys of a rule and what they take. Leaves what rules do to `listen/handler/script`. Invariant: everything
//! that is wrong with a file is reported together, each with its line.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::filters;
use super::values::{close, duration};
use crate::config::nearest::nearest;
use crate::config::toml_text;
use crate::error::Error;
use crate::filter::Filter;
use crate::listen::handler::script::{Forward, On, Receiver, Reply, Rule};
use crate::message::Message;
use crate::message::io_text::io_text;

/// The long help of `--script`.
pub(crate) const HELP: &str = r#"Handle messages by the rules in a file

FILE is TOML with [[rule]] tables. For each message the first rule that matches decides:

    [[rule]]                # as soon as a session opens
    on = "open"
    reply = '{welcome: $meta.session}'

    [[rule]]                # a repeated message
    when = '$meta.seq > 1 and . == $prev'
    drop = true

    [[rule]]                # {"op":"ping","id":1}, delayed
    when = '.op == "ping"'
    reply = '{op: "pong", id: .id}'
    delay = "50ms"

    [[rule]]                # forward and answer
    when = '.op == "say"'
    forward = "others"
    reply_text = "said"

    [[rule]]                # the text bye
    when = '. == "bye"'
    close = "1000:see you"

    [[rule]]                # everything else
    reply = '{error: "not understood", message: .}'

on is "message" (default) or "open". when is a filter; the rule matches if its first output is neither false nor null. An error does not match; without when a rule always matches. reply is a filter: its outputs are sent, strings without quotes; reply_text is sent unchanged. forward sends the message to "all", to the "others", to one session ("s3"), or to those a filter names, by id or by --session-name. close is CODE[:REASON] and is done last. drop discards the message.

delay postpones all actions of the rule; each session still gets its messages in order. once = true applies the rule once per session. After a rule with stop = false the next rules are tried too. $meta, $prev and messages that are not JSON are as for --ack."#;

/// The keys of a rule.
const KEYS: [&str; 10] = ["on", "when", "reply", "reply_text", "forward", "close", "drop", "delay", "once", "stop"];
/// Those of them that do something.
const EFFECTS: &str = "reply, reply_text, forward, close or drop";

/// Reads the rules in a file.
///
/// # Errors
/// An unreadable file, or everything that is wrong with what it holds.
pub(crate) fn read(path: &Path) -> Result<Arc<[Rule]>, Error> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        let message = format!("--script: cannot read {}: {}", path.display(), io_text(&error));
        Error::usage(message, "it needs [[rule]] tables; wsp listen --help shows an example")
    })?;
    let mut reader = Reader { path, text: &text, faults: Vec::new() };
    let rules = reader.rules();
    let mut faults = reader.faults;
    faults.sort_by_key(|(offset, _)| *offset);
    let mut faults: Vec<Error> = faults.into_iter().map(|(_, fault)| fault).collect();
    match faults.len() {
        0 => Ok(rules.into()),
        1 => Err(faults.remove(0)),
        _ => Err(Error::Several(faults)),
    }
}

/// Walks over the file and gathers what is wrong.
struct Reader<'a> {
    path: &'a Path,
    text: &'a str,
    /// With their places in the text.
    faults: Vec<(usize, Error)>,
}

impl Reader<'_> {
    fn place(&self, offset: usize) -> String {
        toml_text::place_of(self.path, self.text, offset)
    }

    fn fault(&mut self, offset: usize, what: &str, hint: impl Into<String>) {
        self.faults.push((offset, Error::usage(format!("{}: {what}", self.place(offset)), hint)));
    }

    fn rules(&mut self) -> Vec<Rule> {
        let Some(document) = toml_text::read(self.text, |at, what, hint| self.fault(at, what, hint)) else {
            return Vec::new();
        };
        let mut rules = Vec::new();
        for (key, value) in &document {
            let at = key.span().start;
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("rule", DeValue::Array(tables)) => {
                    for table in tables {
                        match table.get_ref() {
                            DeValue::Table(fields) => rules.push(self.rule(table.span().start, fields)),
                            _ => self.fault(table.span().start, "a rule is a table", "write [[rule]]"),
                        }
                    }
                }
                ("rule", _) => self.fault(at, "rule must be an array of tables", "write [[rule]], with two brackets"),
                (word, _) => {
                    let is_misplaced = KEYS.contains(&word);
                    let hint = match nearest(word, ["rule"]) {
                        _ if is_misplaced => "put it below [[rule]]".to_owned(),
                        Some(near) => format!("did you mean [[{near}]]?"),
                        None => "a script may contain only [[rule]] tables".to_owned(),
                    };
                    self.fault(at, &format!("unknown key '{word}'"), hint);
                }
            }
        }
        if rules.is_empty() && self.faults.is_empty() {
            let message = format!("--script: {} contains no rule", self.path.display());
            self.faults.push((0, Error::usage(message, "write [[rule]] and its actions below it")));
        }
        rules
    }

    fn rule(&mut self, start: usize, table: &DeTable<'_>) -> Rule {
        let mut rule = Rule {
            on: On::Message,
            when: None,
            reply: None,
            forward: None,
            close: None,
            drop: false,
            delay: Duration::ZERO,
            once: false,
            stop: true,
        };
        let faults_before = self.faults.len();
        let mut fields: Vec<_> = table.iter().collect();
        // As they stand in the file.
        fields.sort_by_key(|(key, _)| key.span().start);
        for (key, value) in fields {
            self.field(&mut rule, key.span().start, key.get_ref(), value.get_ref());
        }
        if self.faults.len() > faults_before {
            return rule;
        }
        let has = |key: &str| table.iter().any(|(name, _)| name.get_ref() == key);
        let does = rule.reply.is_some() || rule.forward.is_some() || rule.close.is_some();
        if !does && !rule.drop {
            self.fault(start, "the rule does nothing", format!("give it {EFFECTS}"));
        } else if does && rule.drop {
            self.fault(start, "drop cannot be combined with another action", "remove one of them");
        }
        if has("reply") && has("reply_text") {
            self.fault(
                start,
                "both reply and reply_text",
                "a filter may yield several replies: 'reply = '\"one\", .x''",
            );
        }
        if rule.on == On::Open && (rule.forward.is_some() || rule.drop) {
            self.fault(start, "on = \"open\" has no message to forward or drop", "remove on, forward or drop");
        }
        rule
    }

    fn field(&mut self, rule: &mut Rule, at: usize, key: &str, value: &DeValue<'_>) {
        match (key, value) {
            ("on", DeValue::String(text)) => match text.as_ref() {
                "open" => rule.on = On::Open,
                "message" => rule.on = On::Message,
                other => self.fault(at, &format!("unknown value '{other}' of on"), "write \"open\" or \"message\""),
            },
            ("when", DeValue::String(source)) => rule.when = self.filter(at, key, source),
            ("reply", DeValue::String(source)) => rule.reply = self.filter(at, key, source).map(Reply::Filter),
            ("reply_text", DeValue::String(text)) => {
                rule.reply = Some(Reply::Text(Message::text(text.clone().into_owned())));
            }
            ("forward", DeValue::String(text)) => {
                rule.forward = match Receiver::parse(text) {
                    Some(receiver) => Some(Forward::To(receiver)),
                    None => self.filter(at, key, text).map(Forward::Filter),
                };
            }
            ("close", DeValue::String(text)) => self.close(rule, at, text),
            ("close", DeValue::Integer(code)) => self.close(rule, at, &code.to_string()),
            ("delay", DeValue::String(text)) => self.delay(rule, at, text),
            ("delay", DeValue::Integer(number)) => self.delay(rule, at, &number.to_string()),
            ("delay", DeValue::Float(number)) => self.delay(rule, at, number.as_str()),
            ("drop", DeValue::Boolean(on)) => rule.drop = *on,
            ("once", DeValue::Boolean(on)) => rule.once = *on,
            ("stop", DeValue::Boolean(on)) => rule.stop = *on,
            ("drop" | "once" | "stop", _) => {
                self.fault(at, &format!("{key}: expected true or false"), "use true or false, without quotes");
            }
            (key, _) if KEYS.contains(&key) => {
                self.fault(
                    at,
                    &format!("{key}: expected text"),
                    "put text in quotes; single quotes keep \\ and \" unchanged",
                );
            }
            (key, _) => {
                let hint = match nearest(key, KEYS) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => format!("a rule has {}", KEYS.join(", ")),
                };
                self.fault(at, &format!("unknown rule key '{key}'"), hint);
            }
        }
    }

    fn filter(&mut self, at: usize, key: &str, source: &str) -> Option<Filter> {
        match filters::compile(source) {
            Ok(filter) => Some(filter),
            Err(error) => {
                let reason = format!("{}: {key}: {error}", self.place(at));
                self.faults.push((at, Error::Compile { flag: "--script", reason }));
                None
            }
        }
    }

    fn close(&mut self, rule: &mut Rule, at: usize, text: &str) {
        match close(text) {
            Ok(close) => rule.close = Some(close),
            Err(error) => self.fault(at, &format!("close: {error}"), "write \"4000:reason\""),
        }
    }

    fn delay(&mut self, rule: &mut Rule, at: usize, text: &str) {
        match duration(text) {
            Ok(delay) => rule.delay = delay,
            Err(error) => self.fault(at, &format!("delay: {error}"), "write \"250ms\""),
        }
    }
}
