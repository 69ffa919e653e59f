//! Values a program knows by name: `--arg`, `--argjson`, `$ENV`, `$ARGS`.
//!
//! Decides which of them a program is compiled with. Leaves what a peer supplies alone: its programs know none of them.

use jaq_json::{Map, Val};

use super::engine::Value;
use super::{Json, natives};

/// Names that have a meaning of their own.
const RESERVED: [&str; 6] = ["meta", "prev", "state", "ENV", "ARGS", "__loc__"];

/// Named values for the programs of the user of this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arguments(Vec<(String, Json)>);

impl Arguments {
    /// Adds `$name`; of equal names the first counts, as in jq.
    ///
    /// # Errors
    /// When a program cannot have a variable of this name.
    pub(crate) fn add(&mut self, name: &str, value: Json) -> Result<(), String> {
        let is_name = |name: &str| {
            let mut bytes = name.bytes();
            bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
                && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        if RESERVED.contains(&name) {
            return Err(format!("'${name}' is reserved; use another name"));
        }
        if !is_name(name) {
            return Err(format!("invalid variable name '{name}'; use letters, digits and _"));
        }
        if !self.0.iter().any(|(known, _)| known == name) {
            self.0.push((name.to_owned(), value));
        }
        Ok(())
    }

    /// What a program gets, `$` included in the names: what does not occur in its text is left out.
    pub(super) fn used_by(&self, source: &str) -> Vec<(String, Value)> {
        let text = |text: &str| Val::from(text.to_owned());
        let named = || self.0.iter().map(|(name, value)| (text(name), value.0.clone())).collect::<Map>();
        let all = || {
            let entries = [(text("positional"), std::iter::empty().collect()), (text("named"), Val::obj(named()))];
            Val::obj(entries.into_iter().collect())
        };
        let own: [(&str, &dyn Fn() -> Val); 2] = [("ENV", &natives::environment), ("ARGS", &all)];
        let own = own.into_iter().filter(|(name, _)| source.contains(name)).map(|(name, make)| (name, make()));
        let given = self.0.iter().filter(|(name, _)| source.contains(&**name));
        let given = given.map(|(name, value)| (&**name, value.0.clone()));
        own.chain(given).map(|(name, value)| (format!("${name}"), Value(value))).collect()
    }
}
