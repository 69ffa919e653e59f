//! What a schema has against a message, in one line: where, what is expected, and what is there.
//!
//! Owns the wording, also of what is wrong with a schema itself. Leaves bounds and what drives terminals to
//! the file above. Invariant: an instance is shown by its first characters only, so that what is expected is always seen.

use std::fmt::{self, Display};

use jsonschema::error::{TypeKind, ValidationErrorKind as Kind};
use jsonschema::{JsonType, ReferencingError, ValidationError};
use serde_json::Value;

use super::bounded_to;
use crate::message::counted::counted;

/// Most characters of what came instead.
const MAX_SHOWN: usize = 60;

/// `/a/0: a number is expected, not the string "x"`; the path is left out where it is the whole.
pub(super) struct Fault<'a, 'i>(pub &'a ValidationError<'i>);

impl Display for Fault<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(error) = self;
        match error.instance_path().as_str() {
            "" => reason(error, f),
            path => {
                write!(f, "{path}: ")?;
                reason(error, f)
            }
        }
    }
}

fn reason(error: &ValidationError<'_>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let instance: &Value = error.instance();
    let shown = Shown(instance);
    match error.kind() {
        Kind::Type { kind } => {
            let names: Vec<&str> = match kind {
                TypeKind::Single(one) => vec![name(*one)],
                TypeKind::Multiple(several) => several.iter().map(name).collect(),
            };
            write!(f, "expected {}, not {shown}", names.join(" or "))
        }
        Kind::Required { property } => write!(f, "{property} is required and missing"),
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            let (what, are) = if unexpected.len() == 1 { ("property", "is") } else { ("properties", "are") };
            write!(
                f,
                "the {what} {} {are} not allowed",
                listed(unexpected.iter().map(|name| Value::from(name.as_str())))
            )
        }
        Kind::UnevaluatedItems { unexpected } => write!(f, "the items {} are not allowed", unexpected.join(", ")),
        Kind::AdditionalItems { limit } => {
            write!(f, "expected at most {}, not {}", items(*limit as u64), size(instance))
        }
        Kind::Enum { options } => match options.as_array().map(Vec::as_slice) {
            Some([one]) => write!(f, "expected {one}, not {shown}"),
            Some(several) => write!(f, "expected one of {}, not {shown}", listed(several.iter().cloned())),
            None => write!(f, "{error}"),
        },
        Kind::Constant { expected_value } => write!(f, "expected {expected_value}, not {shown}"),
        Kind::Minimum { limit } => write!(f, "expected {limit} or more, not {shown}"),
        Kind::Maximum { limit } => write!(f, "expected {limit} or less, not {shown}"),
        Kind::ExclusiveMinimum { limit } => write!(f, "expected more than {limit}, not {shown}"),
        Kind::ExclusiveMaximum { limit } => write!(f, "expected less than {limit}, not {shown}"),
        Kind::MultipleOf { multiple_of } => write!(f, "expected a multiple of {multiple_of}, not {shown}"),
        Kind::MinLength { limit } => write!(f, "expected at least {}, not {shown}", counted(*limit, "character")),
        Kind::MaxLength { limit } => write!(f, "expected at most {}, not {shown}", counted(*limit, "character")),
        Kind::MinItems { limit } => write!(f, "expected at least {}, not {}", items(*limit), size(instance)),
        Kind::MaxItems { limit } => write!(f, "expected at most {}, not {}", items(*limit), size(instance)),
        Kind::MinProperties { limit } => write!(f, "expected at least {}, not {}", properties(*limit), size(instance)),
        Kind::MaxProperties { limit } => write!(f, "expected at most {}, not {}", properties(*limit), size(instance)),
        Kind::Pattern { pattern } => write!(f, "expected text matching {pattern}, not {shown}"),
        Kind::Format { format } if format == "regex" => write!(f, "expected a regular expression, not {shown}"),
        Kind::Format { format } => write!(f, "expected text of format {format}, not {shown}"),
        Kind::UniqueItems => write!(f, "expected unique items, not {shown}"),
        Kind::Contains => write!(f, "no item matches \"contains\""),
        Kind::FalseSchema if error.schema_path().as_str().ends_with("/additionalProperties") => {
            write!(f, "additional properties are not allowed, found {shown}")
        }
        Kind::FalseSchema => write!(f, "no value is allowed here, found {shown}"),
        Kind::Not { .. } => write!(f, "{shown} matches \"not\""),
        Kind::PropertyNames { error } => {
            f.write_str("the name of a property: ")?;
            reason(error, f)
        }
        Kind::AnyOf { context } | Kind::OneOfNotValid { context } => alternatives(context, f),
        Kind::OneOfMultipleValid { .. } => write!(f, "more than one schema of \"oneOf\" matches"),
        Kind::Referencing(error) => f.write_str(&reference(error)),
        _ => write!(f, "{error}"),
    }
}

/// Why each of several ways is barred, the first fault of each.
fn alternatives(ways: &[Vec<ValidationError<'static>>], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, error) in ways.iter().filter_map(|faults| faults.first()).enumerate() {
        if index > 0 {
            f.write_str("; or ")?;
        }
        reason(error, f)?;
    }
    Ok(())
}

fn reference(error: &ReferencingError) -> String {
    match error {
        ReferencingError::Unretrievable { uri, source } => {
            let path = url::Url::parse(uri).ok().and_then(|url| url.to_file_path().ok());
            let place = path.map_or_else(|| uri.clone(), |path| path.display().to_string());
            format!("cannot read {place}: {source}")
        }
        ReferencingError::PointerToNowhere { pointer } => format!("#{pointer} does not exist"),
        ReferencingError::NoSuchAnchor { anchor } => format!("#{anchor} does not exist"),
        ReferencingError::UnknownSpecification { specification } => {
            format!("unknown JSON Schema draft {specification}; without $schema it is 2020-12")
        }
        other => other.to_string(),
    }
}

/// What the fault of a schema is about, where it does not say itself in which place it stands.
pub(super) fn reference_of(error: &ValidationError<'_>) -> Option<String> {
    let Kind::Referencing(error) = error.kind() else { return None };
    Some(match error {
        ReferencingError::Unretrievable { uri, .. } => uri.rsplit('/').next().unwrap_or(uri).to_owned(),
        ReferencingError::PointerToNowhere { pointer } => format!("#{pointer}"),
        ReferencingError::NoSuchAnchor { anchor } => format!("#{anchor}"),
        ReferencingError::UnknownSpecification { specification } => specification.clone(),
        _ => return None,
    })
}

/// Where in a schema something is referred to by these words: as a JSON pointer.
pub(super) fn place_of(words: &str, schema: &Value) -> Option<String> {
    match schema {
        Value::Object(members) => members.iter().find_map(|(key, value)| {
            let step = key.replace('~', "~0").replace('/', "~1");
            let refers = matches!(key.as_str(), "$ref" | "$dynamicRef" | "$schema");
            match value.as_str() {
                Some(text) if refers && text.contains(words) => Some(format!("/{step}")),
                _ => place_of(words, value).map(|rest| format!("/{step}{rest}")),
            }
        }),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, item)| Some(format!("/{index}{}", place_of(words, item)?)))
        }
        _ => None,
    }
}

fn name(kind: JsonType) -> &'static str {
    match kind {
        JsonType::Array => "an array",
        JsonType::Boolean => "a boolean",
        JsonType::Integer => "an integer",
        JsonType::Null => "null",
        JsonType::Number => "a number",
        JsonType::Object => "an object",
        JsonType::String => "a string",
    }
}

fn listed(values: impl Iterator<Item = Value>) -> String {
    values.map(|value| value.to_string()).collect::<Vec<_>>().join(", ")
}

fn items(count: u64) -> String {
    counted(count, "item")
}

fn properties(count: u64) -> String {
    counted(count, "property")
}

fn size(instance: &Value) -> usize {
    match instance {
        Value::Array(items) => items.len(),
        Value::Object(members) => members.len(),
        _ => 0,
    }
}

/// What is there: its type and its beginning.
struct Shown<'a>(&'a Value);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(value) => write!(f, "the number {}", bounded_to(MAX_SHOWN, format_args!("{value}"))),
            Value::String(_) => write!(f, "the string {}", bounded_to(MAX_SHOWN, format_args!("{}", self.0))),
            Value::Array(_) => write!(f, "the array {}", bounded_to(MAX_SHOWN, format_args!("{}", self.0))),
            Value::Object(_) => write!(f, "the object {}", bounded_to(MAX_SHOWN, format_args!("{}", self.0))),
        }
    }
}
