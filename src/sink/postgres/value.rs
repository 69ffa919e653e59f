//! JSON values as the server reads them: text in the form of the type that it expects.
//!
//! What is not valid for a type is left for the server to refuse, in its own words.

use std::error::Error;

use bytes::BytesMut;
use serde_json::Value;
use tokio_postgres::types::{Format, IsNull, Kind, ToSql, Type, to_sql_checked};

/// A value for a placeholder of any type.
#[derive(Debug)]
pub(super) struct Param(pub Value);

impl ToSql for Param {
    fn to_sql(&self, kind: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        Ok(match text_of(&self.0, kind) {
            None => IsNull::Yes,
            Some(text) => {
                out.extend_from_slice(text.as_bytes());
                IsNull::No
            }
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

/// The text of a value, `None` for the null value.
fn text_of(value: &Value, kind: &Type) -> Option<String> {
    if let Kind::Domain(inner) = kind.kind() {
        return text_of(value, inner);
    }
    match (value, kind.kind()) {
        (Value::Null, _) => None,
        _ if *kind == Type::JSON || *kind == Type::JSONB => Some(value.to_string()),
        (Value::Array(items), Kind::Array(inner)) => Some(array(items, inner)),
        (Value::String(text), _) => Some(text.clone()),
        (Value::Number(number), _) if [Type::INT2, Type::INT4, Type::INT8].contains(kind) => {
            let text = number.to_string();
            Some(whole(&text).unwrap_or(text))
        }
        (other, _) => Some(other.to_string()),
    }
}

/// A whole number that was written with a fraction or an exponent, without them.
fn whole(text: &str) -> Option<String> {
    /// Up to here every whole number is one of these floats.
    const EXACT: f64 = 9_007_199_254_740_992.0;

    if !text.contains(['.', 'e', 'E']) {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    (number.fract() == 0.0 && number.abs() <= EXACT).then(|| format!("{number:.0}"))
}

/// An array as PostgreSQL writes it.
fn array(items: &[Value], inner: &Type) -> String {
    let items = items.iter().map(|item| match item {
        // A dimension more.
        Value::Array(items) if ![Type::JSON, Type::JSONB].contains(inner) => array(items, inner),
        item => match text_of(item, inner) {
            None => "NULL".to_owned(),
            Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        },
    });
    format!("{{{}}}", items.collect::<Vec<_>>().join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_the_form_of_their_type() {
        let table = [
            ("null", Type::TEXT, None),
            ("null", Type::JSONB, None),
            ("\"x\"", Type::TEXT, Some("x")),
            ("\"x\"", Type::JSONB, Some("\"x\"")),
            ("{\"a\":[1]}", Type::JSON, Some("{\"a\":[1]}")),
            ("{\"a\":1}", Type::TEXT, Some("{\"a\":1}")),
            ("true", Type::BOOL, Some("true")),
            ("5.0", Type::INT4, Some("5")),
            ("1e3", Type::INT8, Some("1000")),
            ("-0.0", Type::INT2, Some("-0")),
            ("5.5", Type::INT4, Some("5.5")),
            ("9223372036854775807", Type::INT8, Some("9223372036854775807")),
            ("1.10", Type::NUMERIC, Some("1.10")),
            ("12345678901234567890.123456789", Type::NUMERIC, Some("12345678901234567890.123456789")),
            ("[1,null,3]", Type::INT4_ARRAY, Some("{\"1\",NULL,\"3\"}")),
            ("[[1,2],[3,4]]", Type::INT4_ARRAY, Some("{{\"1\",\"2\"},{\"3\",\"4\"}}")),
            ("[\"a\\\"b\",\"c\\\\d\",\"\"]", Type::TEXT_ARRAY, Some("{\"a\\\"b\",\"c\\\\d\",\"\"}")),
            ("[[1],{\"a\":\"b\"}]", Type::JSONB_ARRAY, Some("{\"[1]\",\"{\\\"a\\\":\\\"b\\\"}\"}")),
            ("\"{1,2}\"", Type::INT4_ARRAY, Some("{1,2}")),
            ("[1,2]", Type::TEXT, Some("[1,2]")),
        ];
        for (json, kind, expected) in table {
            let value = serde_json::from_str(json).expect(json);
            assert_eq!(text_of(&value, &kind).as_deref(), expected, "{json} as {kind}");
        }
    }
}
