//! What one client registered for: lists of allowed values and a least amount.
//!
//! Pure: a register message in, a yes or no for each event out. Leaves reading events to `event`. Invariants: all filters
//! must hold; an empty or missing one always holds (`[]`, `""`, `null`); numbers and texts that say numbers are equal where their values are;
//! what a client may ask the server to keep is bounded.

use std::collections::HashSet;

use serde_json::{Map, Value as Json};

use super::event::{FeedEvent, Fields, Value};
use crate::protocol::decimal::Decimal;

/// The name of the filter that compares instead of looking up.
pub(super) const MIN_AMOUNT: &str = "min_amount";
/// Values a list may have.
const MAX_LISTED: usize = 10_000;

/// Why a register message cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadInput {
    pub error: String,
    pub details: String,
}

impl BadInput {
    /// What is wrong, and what would have been right.
    pub(super) fn new(error: impl Into<String>, details: impl Into<String>) -> Self {
        Self { error: error.into(), details: details.into() }
    }
}

/// The values of one list.
#[derive(Debug, Clone, Default)]
struct Allowed {
    texts: HashSet<Box<str>>,
    /// What was listed as a number.
    numbers: HashSet<Decimal>,
    /// What was listed as a text that says a number.
    numbers_in_texts: HashSet<Decimal>,
    bools: [bool; 2],
}

impl Allowed {
    fn add(&mut self, value: Value) {
        match value {
            Value::Text(text, number) => {
                self.texts.insert(text);
                self.numbers_in_texts.extend(number);
            }
            Value::Number(number) => {
                self.numbers.insert(number);
            }
            Value::Bool(value) => self.bools[usize::from(value)] = true,
        }
    }

    /// Two texts are equal as texts; as soon as one side is a number, values are compared.
    fn contains(&self, value: &Value) -> bool {
        match value {
            Value::Text(text, number) => {
                self.texts.contains(text) || number.as_ref().is_some_and(|number| self.numbers.contains(number))
            }
            Value::Number(number) => self.numbers.contains(number) || self.numbers_in_texts.contains(number),
            Value::Bool(value) => self.bools[usize::from(*value)],
        }
    }
}

/// The filters of one client. The default lets everything pass.
#[derive(Debug, Clone, Default)]
pub(super) struct Filters {
    lists: Vec<(usize, Allowed)>,
    least: Option<(usize, Decimal)>,
    in_force: Map<String, Json>,
}

impl Filters {
    /// Reads the `filters` of a register message.
    pub(super) fn read(filters: Option<&Json>, fields: &Fields) -> Result<Self, BadInput> {
        let known = || format!("the filters are {}", fields.names().collect::<Vec<_>>().join(", "));
        let asked = match filters {
            None | Some(Json::Null) => &Map::new(),
            Some(Json::Object(asked)) => asked,
            Some(_) => return Err(BadInput::new("filters must be an object", known())),
        };
        let mut read = Self { in_force: nothing_asked(fields), ..Self::default() };
        for (name, value) in asked {
            let Some(field) = fields.place(name) else {
                return Err(BadInput::new(format!("unknown filter {}", shortened(name)), known()));
            };
            if name == MIN_AMOUNT {
                read.least = least(value)?.map(|least| (field, least));
            } else {
                let allowed = list(name, value)?;
                read.lists.extend(allowed.map(|allowed| (field, allowed)));
            }
            // What asks for nothing is confirmed in one spelling, whichever the client used.
            let asks_nothing = value.is_null() || name == MIN_AMOUNT && read.least.is_none();
            if !asks_nothing {
                read.in_force.insert(name.clone(), value.clone());
            }
        }
        Ok(read)
    }

    /// Whether there is nothing to look at: every event passes.
    pub(super) fn pass_all(&self) -> bool {
        self.lists.is_empty() && self.least.is_none()
    }

    /// Whether an event passes all filters. A field with several values passes where one of them does.
    pub(super) fn pass(&self, event: &FeedEvent) -> bool {
        let holds =
            |(field, allowed): &(usize, Allowed)| event.values(*field).iter().any(|value| allowed.contains(value));
        let is_enough = |(field, least): &(usize, Decimal)| {
            event.values(*field).iter().filter_map(Value::number).any(|amount| amount >= least)
        };
        self.lists.iter().all(holds) && self.least.iter().all(is_enough)
    }

    /// The filters as the client gave them, with what it left out.
    pub(super) fn in_force(&self) -> &Map<String, Json> {
        &self.in_force
    }
}

/// The filters that let everything pass, written out.
pub(super) fn nothing_asked(fields: &Fields) -> Map<String, Json> {
    let empty = |name: &str| if name == MIN_AMOUNT { Json::String(String::new()) } else { Json::Array(Vec::new()) };
    fields.names().map(|name| (name.to_owned(), empty(name))).collect()
}

fn list(name: &str, value: &Json) -> Result<Option<Allowed>, BadInput> {
    let wrong =
        |error: String| BadInput::new(error, "use a list of texts, numbers, true or false; an empty list means all");
    let items = match value {
        Json::Null => return Ok(None),
        Json::Array(items) => items,
        _ => return Err(wrong(format!("{name} must be a list"))),
    };
    if items.len() > MAX_LISTED {
        return Err(wrong(format!("{name} has more than {MAX_LISTED} values")));
    }
    let mut allowed = Allowed::default();
    for item in items {
        match Value::from_json(item) {
            Some(value) => allowed.add(value),
            None => {
                return Err(wrong(format!(
                    "{name} contains {}, which no field can equal",
                    shortened(&item.to_string())
                )));
            }
        }
    }
    Ok(Some(allowed).filter(|_| !items.is_empty()))
}

fn least(value: &Json) -> Result<Option<Decimal>, BadInput> {
    if value.is_null() || value.as_str().is_some_and(|text| text.trim().is_empty()) {
        return Ok(None);
    }
    let number = Value::from_json(value).and_then(|value| value.number().cloned());
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(BadInput::new(
            format!("invalid {MIN_AMOUNT} {}", shortened(&value.to_string())),
            "use a number such as 12.5 or \"12.50\"; \"\" or null means no minimum",
        )),
    }
}

/// A piece of a peer's text that is fit for an error message.
pub(super) fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Message;
    use serde_json::json;

    fn fields() -> Fields {
        let mut fields = Fields::new(&[("types", "type"), ("account_ids", "account_id"), (MIN_AMOUNT, "amount")]);
        fields.map("regions", ".where[]?.region", &crate::filter::Filter::compile).unwrap();
        fields
    }

    fn passes(filters: &Json, event: &str) -> bool {
        let fields = fields();
        let filters = Filters::read(Some(filters), &fields).unwrap_or_else(|wrong| panic!("{wrong:?}"));
        let passes = filters.pass(&fields.read(&Message::text(event)));
        assert!(passes || !filters.pass_all());
        passes
    }

    #[test]
    fn what_passes() {
        let event = r#"{"type":"payment","account_id":12,"amount":"12.50","where":[{"region":"eu"},{"region":"us"}]}"#;
        for (filters, wanted) in [
            (json!({}), true),
            (json!({"types": []}), true),
            (json!({"types": null, "account_ids": [], "min_amount": null, "regions": []}), true),
            (json!({"types": [], "account_ids": [], "min_amount": "", "regions": []}), true),
            (json!({"types": ["payment"], "min_amount": " "}), true),
            (json!({"types": ["refund"], "min_amount": ""}), false),
            (json!({"types": ["payment"]}), true),
            (json!({"types": ["refund", "payment"]}), true),
            (json!({"types": ["refund"]}), false),
            (json!({"types": ["Payment"]}), false),
            (json!({"account_ids": [12]}), true),
            (json!({"account_ids": ["12"]}), true),
            (json!({"account_ids": ["12.0", 7]}), true),
            (json!({"account_ids": [12.0]}), true),
            (json!({"account_ids": [1, 2]}), false),
            (json!({"account_ids": ["1"]}), false),
            (json!({"account_ids": [true]}), false),
            (json!({"min_amount": 12.5}), true),
            (json!({"min_amount": "12.5"}), true),
            (json!({"min_amount": "12.500000000000000000000000001"}), false),
            (json!({"min_amount": 12.51}), false),
            (json!({"min_amount": 0}), true),
            (json!({"min_amount": -1e3}), true),
            (json!({"regions": ["us"]}), true),
            (json!({"regions": ["asia"]}), false),
            (json!({"types": ["payment"], "account_ids": ["12"], "min_amount": 1, "regions": ["eu"]}), true),
            (json!({"types": ["payment"], "account_ids": ["12"], "min_amount": 13, "regions": ["eu"]}), false),
            (json!({"types": ["payment"], "account_ids": ["13"], "min_amount": 1}), false),
        ] {
            assert_eq!(passes(&filters, event), wanted, "{filters}");
        }
    }

    #[test]
    fn texts_are_equal_as_texts() {
        assert!(passes(&json!({"account_ids": ["007"]}), r#"{"account_id":"007"}"#));
        assert!(!passes(&json!({"account_ids": ["7"]}), r#"{"account_id":"007"}"#));
        assert!(passes(&json!({"account_ids": [7]}), r#"{"account_id":"007"}"#));
        assert!(passes(&json!({"account_ids": [true]}), r#"{"account_id":true}"#));
        assert!(!passes(&json!({"account_ids": ["true"]}), r#"{"account_id":true}"#));
        assert!(passes(
            &json!({"account_ids": ["12345678901234567890123"]}),
            r#"{"account_id":12345678901234567890123}"#
        ));
        assert!(!passes(
            &json!({"account_ids": ["12345678901234567890124"]}),
            r#"{"account_id":12345678901234567890123}"#
        ));
    }

    #[test]
    fn what_has_no_such_field_does_not_pass() {
        for event in ["hello", "{}", r#"{"type":null}"#, r#"{"type":{}}"#, "[]"] {
            assert!(passes(&json!({}), event));
            assert!(!passes(&json!({"types": ["payment"]}), event), "{event}");
            assert!(!passes(&json!({"min_amount": 0}), event), "{event}");
        }
        for amount in ["null", "\"much\"", "\"\"", "true", "{}", "\"12,50\"", "\"NaN\""] {
            assert!(!passes(&json!({"min_amount": 0}), &format!(r#"{{"amount":{amount}}}"#)), "{amount}");
        }
        assert!(passes(&json!({"min_amount": "1e400"}), r#"{"amount":2e400}"#));
        assert!(passes(&json!({"min_amount": 0.1}), r#"{"amount":[0,"0.1"]}"#));
    }

    #[test]
    fn what_cannot_be_used_is_explained() {
        for (filters, error, details) in [
            (json!([]), "filters must be an object", "the filters are types, account_ids, min_amount, regions"),
            (json!("all"), "filters must be an object", "types"),
            (json!({"type": ["a"]}), "unknown filter type", "types, account_ids"),
            (json!({"x".repeat(100): 1}), "…", "types"),
            (json!({"types": "payment"}), "types must be a list", "empty list means all"),
            (json!({"types": {}}), "types must be a list", "list"),
            (json!({"types": ["a", null]}), "types contains null", "list"),
            (json!({"types": [["a"]]}), "types contains [\"a\"]", "list"),
            (json!({"types": vec![1; MAX_LISTED + 1]}), "more than 10000", "list"),
            (json!({"min_amount": "much"}), "invalid min_amount \"much\"", "null means no minimum"),
            (json!({"min_amount": [1]}), "invalid min_amount", "12.50"),
            (json!({"min_amount": true}), "invalid min_amount", "12.50"),
        ] {
            let wrong = Filters::read(Some(&filters), &fields()).expect_err("bad input");
            assert!(wrong.error.contains(error) && wrong.details.contains(details), "{wrong:?}");
            assert!(wrong.error.chars().count() < 120);
        }
    }

    #[test]
    fn what_is_in_force_is_said_in_full() {
        let read = |filters: &Json| Json::Object(Filters::read(Some(filters), &fields()).unwrap().in_force().clone());
        for nothing in [json!({}), json!({"min_amount": ""}), json!({"types": null, "min_amount": null})] {
            assert_eq!(read(&nothing), json!({"types": [], "account_ids": [], "min_amount": "", "regions": []}));
        }
        assert_eq!(
            read(&json!({"types": ["a", 1.50], "min_amount": "12.50", "regions": null})),
            json!({"types": ["a", 1.50], "account_ids": [], "min_amount": "12.50", "regions": []})
        );
    }
}
