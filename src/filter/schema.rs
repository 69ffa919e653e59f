//! JSON Schema (draft 2020-12 unless `$schema` says otherwise), or an Avro schema: does a message have the shape agreed on.
//!
//! Owns compiling a schema with the files it refers to; `avro` turns Avro schemas into JSON Schema, `words` says what
//! is wrong with a message or a schema. Leaves what happens to such a message to the caller. `jsonschema` is seen here
//! alone. Invariants: nothing is fetched over a network: `$ref` reaches this document and files beside it; a reason is
//! one line of bounded length, however large the message, and drives no terminal.

mod avro;
mod words;

use std::fmt::{self, Write as _};
use std::path::Path;
use std::sync::Arc;

use jsonschema::{Retrieve, ValidationError, Validator};
use serde_json::Value;

use super::Json;
use crate::message::render::drives_terminal;

/// What `serde_json` says of a message nested deeper than it reads.
const SERDE_LIMIT: &str = "recursion limit exceeded";
/// Most characters of a reason: what is wrong may be all of a large message.
const MAX_REASON: usize = 200;

/// A compiled schema. Cloning shares it; any thread may use it.
#[derive(Clone)]
pub(crate) struct Schema(Arc<Validator>);

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Schema")
    }
}

/// Whether `format` in a schema is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// As the schema's draft says: up to draft 7, later it is a comment.
    AsDraft,
    /// Always (`--assert-format`).
    Asserted,
}

/// Why there is no schema to check with: one line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SchemaError {
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
    /// Invalid JSON, invalid schema, or an unresolvable `$ref`.
    #[error("{0}")]
    Invalid(String),
}

impl Schema {
    /// Compiles the schema in a file; relative references are files beside it.
    ///
    /// # Errors
    /// [`SchemaError`].
    pub(crate) fn from_file(path: &Path, format: Format) -> Result<Self, SchemaError> {
        let source = std::fs::read(path)?;
        let base = url::Url::from_file_path(path.canonicalize()?).ok();
        let is_avro = path.extension().is_some_and(|extension| extension == "avsc");
        Self::build(&source, base.as_ref().map(url::Url::as_str), format, is_avro)
    }

    /// Compiles a schema that refers to nothing outside itself.
    ///
    /// # Errors
    /// [`SchemaError::Invalid`].
    #[cfg(test)]
    pub(crate) fn compile(source: &[u8]) -> Result<Self, SchemaError> {
        Self::build(source, None, Format::AsDraft, false)
    }

    fn build(source: &[u8], base: Option<&str>, format: Format, is_avro: bool) -> Result<Self, SchemaError> {
        let mut schema = parse(without_mark(source)).map_err(SchemaError::Invalid)?;
        if is_avro || avro::is_avro(&schema) {
            schema = avro::to_json_schema(&schema).map_err(SchemaError::Invalid)?;
        }
        let mut options = jsonschema::options().with_retriever(Files);
        if format == Format::Asserted {
            options = options.should_validate_formats(true);
        }
        if let Some(base) = base {
            options = options.with_base_uri(base);
        }
        let validator = options.build(&schema).map_err(|error| SchemaError::Invalid(describe(&error, &schema)))?;
        Ok(Self(Arc::new(validator)))
    }

    /// Whether a message has this shape; what is not JSON has none.
    ///
    /// # Errors
    /// Where the first fault is, as a JSON pointer, and what it is.
    pub(crate) fn check(&self, message: &[u8]) -> Result<(), String> {
        let value = parse(message)?;
        self.0.validate(&value).map_err(|error| bounded(format_args!("{}", words::Fault(&error))))
    }
}

/// Returns the JSON Schema, as text, that an Avro schema comes to.
///
/// # Errors
/// What is not Avro about it.
pub(crate) fn from_avro(source: &[u8]) -> Result<String, String> {
    let schema = avro::to_json_schema(&parse(without_mark(source))?)?;
    serde_json::to_string_pretty(&schema).map_err(|error| error.to_string())
}

/// Without a byte order mark.
fn without_mark(source: &[u8]) -> &[u8] {
    source.strip_prefix(b"\xef\xbb\xbf").unwrap_or(source)
}

fn parse(text: &[u8]) -> Result<Value, String> {
    serde_json::from_slice(text).or_else(|error| match text.trim_ascii() {
        [] => Err("not JSON: empty message".to_owned()),
        // It gives up at a depth that filters still read.
        _ if error.to_string().starts_with(SERDE_LIMIT) => Json::parse(text).map(Json::into_serde),
        _ => Err(bounded(format_args!("not JSON: {error}"))),
    })
}

/// What is wrong with a schema, and in which place.
fn describe(error: &ValidationError<'_>, schema: &Value) -> String {
    let fault = words::Fault(error);
    let place = words::reference_of(error).and_then(|reference| words::place_of(&reference, schema));
    match place.filter(|_| error.instance_path().as_str().is_empty()) {
        Some(place) => bounded(format_args!("{place}: {fault}")),
        None => bounded(format_args!("{fault}")),
    }
}

/// Writes no more than is kept: the rest of a large message is never formatted.
struct Bounded {
    text: String,
    left: usize,
}

impl fmt::Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        for c in part.chars() {
            if self.left == 0 {
                self.text.push('…');
                return Err(fmt::Error);
            }
            self.left -= 1;
            self.text.push(if drives_terminal(c) { ' ' } else { c });
        }
        Ok(())
    }
}

fn bounded(text: fmt::Arguments<'_>) -> String {
    bounded_to(MAX_REASON, text)
}

fn bounded_to(most: usize, text: fmt::Arguments<'_>) -> String {
    let mut out = Bounded { text: String::new(), left: most };
    // Breaking off when it is full is how it says so.
    let _ = out.write_fmt(text);
    out.text
}

/// Reads what a schema refers to, from files only.
struct Files;

impl Retrieve for Files {
    fn retrieve(
        &self,
        uri: &jsonschema::Uri<String>,
    ) -> Result<Value, Box<dyn std::error::Error + Send + Sync + 'static>> {
        let path = url::Url::parse(uri.as_str())
            .ok()
            .filter(|url| url.scheme() == "file")
            .and_then(|url| url.to_file_path().ok())
            .ok_or("only files are read, never the network")?;
        let text = std::fs::read(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => "no such file".to_owned(),
            _ => error.to_string(),
        })?;
        Ok(parse(&text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: &str = r##"{
        "type": "object",
        "required": ["price"],
        "properties": {"price": {"$ref": "#/$defs/positive"}, "tags": {"type": "array", "items": {"type": "string"}}},
        "$defs": {"positive": {"type": "number", "exclusiveMinimum": 0}},
        "unevaluatedProperties": false
    }"##;

    fn reason(message: &str) -> String {
        Schema::compile(PRICE.as_bytes()).expect("a schema").check(message.as_bytes()).expect_err(message)
    }

    #[test]
    fn what_has_the_shape_passes() {
        let schema = Schema::compile(PRICE.as_bytes()).expect("a schema");
        for message in
            [r#"{"price":1}"#, r#" {"price":0.5,"tags":["a"]} "#, r#"{"price":123456789012345678901234567890}"#]
        {
            assert_eq!(schema.check(message.as_bytes()), Ok(()), "{message}");
        }
        assert_eq!(Schema::compile(b"true").expect("a schema").check(b"[]"), Ok(()));
    }

    #[test]
    fn what_has_not_is_told_where_and_why() {
        let table = [
            (r#"{"price":"1"}"#, r#"/price: expected a number, not the string "1""#),
            (r#"{"price":1,"tags":["a",2]}"#, "/tags/1: expected a string, not the number 2"),
            ("[1]", "expected an object, not the array [1]"),
            ("{}", r#""price" is required and missing"#),
            (r#"{"price":0}"#, "/price: expected more than 0, not the number 0"),
            (r#"{"price":1,"more":1}"#, r#"the property "more" is not allowed"#),
            ("hello", "not JSON: expected value at line 1 column 1"),
            ("", "not JSON: empty message"),
        ];
        for (message, expected) in table {
            assert_eq!(reason(message), expected, "{message}");
        }
        assert!(reason("\u{1}\u{ff}").starts_with("not JSON"));
        assert!(reason(&"[".repeat(100_000)).starts_with("nested too deeply: deeper than 512"));
        let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        assert!(reason(&nested(513)).starts_with("nested too deeply"));
        assert!(reason(&nested(512)).starts_with("expected an object, not the array"));
        let anything = Schema::compile(br##"{"items":{"$ref":"#"}}"##).expect("a schema");
        assert_eq!(anything.check(nested(512).as_bytes()), Ok(()));
        assert_eq!(anything.check(format!("{}{{}}{}", "{\"a\":".repeat(511), "}".repeat(511)).as_bytes()), Ok(()));
    }

    #[test]
    fn each_keyword_has_its_words() {
        let table = [
            (r#"{"type":["integer","null"]}"#, "1.5", "expected null or an integer, not the number 1.5"),
            (r#"{"enum":["a","b"]}"#, r#""c""#, r#"expected one of "a", "b", not the string "c""#),
            (r#"{"const":1}"#, "null", "expected 1, not null"),
            (r#"{"minimum":3}"#, "2", "expected 3 or more, not the number 2"),
            (r#"{"maximum":3}"#, "4", "expected 3 or less, not the number 4"),
            (r#"{"minLength":2}"#, r#""a""#, r#"expected at least 2 characters, not the string "a""#),
            (r#"{"minItems":1}"#, "[]", "expected at least 1 item, not 0"),
            (r#"{"maxProperties":1}"#, r#"{"a":1,"b":2}"#, "expected at most 1 property, not 2"),
            (r#"{"pattern":"^a"}"#, r#""b""#, r#"expected text matching ^a, not the string "b""#),
            (
                r#"{"anyOf":[{"type":"string"},{"minimum":5}]}"#,
                "3",
                "expected a string, not the number 3; or expected 5 or more, not the number 3",
            ),
            (r#"{"oneOf":[{"type":"number"},{"minimum":5}]}"#, "7", r#"more than one schema of "oneOf" matches"#),
            (
                r#"{"additionalProperties":false}"#,
                r#"{"a":1}"#,
                "additional properties are not allowed, found the number 1",
            ),
            (
                r#"{"properties":{"a":{}},"additionalProperties":false}"#,
                r#"{"b":1,"c":2}"#,
                r#"the property "b" is not allowed"#,
            ),
            (r#"{"properties":{"a":false}}"#, r#"{"a":1}"#, "/a: no value is allowed here, found the number 1"),
            (r#"{"not":{"type":"null"}}"#, "null", r#"null matches "not""#),
        ];
        for (schema, message, expected) in table {
            let schema = Schema::compile(schema.as_bytes()).expect(schema);
            assert_eq!(schema.check(message.as_bytes()), Err(expected.to_owned()), "{message}");
        }
    }

    #[test]
    fn a_reason_is_short_and_drives_no_terminal() {
        let long = format!("{{\"price\":\"{}\"}}", "x".repeat(1 << 20));
        assert!(reason(&long).chars().count() <= MAX_REASON + 1);
        let rude = reason("{\"price\":\"\u{202e}\u{9b}31m\",\"a\\u001b[31m\":1}");
        assert!(!rude.chars().any(drives_terminal), "{rude:?}");
    }

    #[test]
    fn draft_2020_12_is_the_default() {
        let schema = r#"{"prefixItems":[{"type":"string"}],"items":{"type":"number"},"dependentRequired":{"a":["b"]}}"#;
        let schema = Schema::compile(schema.as_bytes()).expect("a schema");
        assert_eq!(schema.check(br#"["a",1,2]"#), Ok(()));
        assert!(schema.check(br#"["a","b"]"#).is_err());
        assert!(schema.check(br#"{"a":1}"#).is_err());
    }

    #[test]
    fn formats_are_checked_where_asked() {
        let schema = br#"{"properties":{"mail":{"format":"email"},"at":{"format":"date-time"}}}"#;
        let wrong = br#"{"mail":"nobody","at":"soon"}"#;
        assert_eq!(Schema::compile(schema).expect("a schema").check(wrong), Ok(()));
        let asserted = Schema::build(schema, None, Format::Asserted, false).expect("a schema");
        assert_eq!(asserted.check(br#"{"mail":"a@example.com","at":"2026-01-02T03:04:05Z"}"#), Ok(()));
        let reason = asserted.check(wrong).expect_err("an address");
        assert!(reason.contains("expected text of format"), "{reason}");
    }

    #[test]
    fn what_is_no_schema_is_refused() {
        let invalid = |source: &str| match Schema::compile(source.as_bytes()) {
            Err(SchemaError::Invalid(reason)) => reason,
            other => panic!("{source}: {other:?}"),
        };
        assert_eq!(invalid("{"), "not JSON: EOF while parsing an object at line 1 column 1");
        let kinds = r#"expected one of "array", "boolean", "integer", "null", "number", "object", "string""#;
        let reason = invalid(r#"{"properties":{"a":{"type":"strin"}}}"#);
        assert!(reason.starts_with(&format!("/properties/a/type: {kinds}, not the string \"strin\"")), "{reason}");
        assert_eq!(invalid("3"), "expected a boolean or an object, not the number 3");
        assert_eq!(invalid(r##"{"items":{"$ref":"#/$defs/none"}}"##), "/items/$ref: #/$defs/none does not exist");
        assert_eq!(invalid(r#"{"pattern":"("}"#), r#"/pattern: expected a regular expression, not the string "(""#);
        assert_eq!(invalid(" "), "not JSON: empty message");
        let remote = invalid(r#"{"$ref":"http://127.0.0.1:1/schema.json"}"#);
        assert!(remote.contains("127.0.0.1:1/schema.json"), "{remote}");
        let remote = invalid(r#"{"$id":"https://example.com/a.json","$ref":"b.json"}"#);
        assert!(remote.contains("example.com/b.json"), "{remote}");
    }
}
