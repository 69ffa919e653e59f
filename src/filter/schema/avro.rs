//! Avro schemas (1.12) as JSON Schema (pure).
//!
//! Messages are JSON as programs write it: a union is the value itself, not an object that names its type; logical types
//! are what they are in Avro, or ISO 8601 text, or a number for decimals. A field that has a default, or may be null, may be
//! left out; fields that the schema does not name are let through, as Avro's own rules for reading do.

use serde_json::{Map, Value, json};

/// Types that have no parts, in Avro's words and not in those of JSON Schema.
const ONLY_AVRO: [&str; 10] = ["int", "long", "float", "double", "bytes", "record", "error", "enum", "fixed", "map"];
/// Types whose names are the same in both.
const PRIMITIVES: [&str; 3] = ["null", "boolean", "string"];

/// Whether a schema can only be Avro's: JSON Schema has no such types, and is not an array.
pub(super) fn is_avro(schema: &Value) -> bool {
    match schema {
        Value::String(_) => true,
        Value::Array(branches) => !branches.is_empty(),
        Value::Object(fields) if fields.contains_key("$schema") => false,
        Value::Object(fields) => match fields.get("type") {
            Some(Value::String(kind)) if kind == "array" => {
                fields.get("items").is_some_and(|items| match items {
                    // An array of schemas is JSON Schema's as well, in older drafts.
                    Value::Array(branches) => branches.iter().any(Value::is_string),
                    other => is_avro(other),
                })
            }
            Some(Value::String(kind)) => ONLY_AVRO.contains(&kind.as_str()),
            Some(Value::Object(inner)) => is_avro(&Value::Object(inner.clone())),
            _ => false,
        },
        _ => false,
    }
}

/// Returns the JSON Schema of an Avro schema.
///
/// # Errors
/// Where something is not Avro, as a JSON pointer, and what it is.
pub(super) fn to_json_schema(schema: &Value) -> Result<Value, String> {
    let mut converter = Converter { definitions: Map::new(), known: Vec::new() };
    converter.collect(schema, "", 0)?;
    let top = converter.schema(schema, "", "")?;
    let mut whole = Map::new();
    whole.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    match top {
        Value::Object(fields) => whole.extend(fields),
        other => {
            whole.insert("allOf".to_owned(), json!([other]));
        }
    }
    if !converter.definitions.is_empty() {
        whole.insert("$defs".to_owned(), Value::Object(converter.definitions));
    }
    Ok(Value::Object(whole))
}

struct Converter {
    definitions: Map<String, Value>,
    /// Full names of all named types.
    known: Vec<String>,
}

/// Deeper than any schema that a person or program wrote.
const MAX_DEPTH: usize = 256;

impl Converter {
    /// Notes the names of all types, so that those may be used before they stand.
    fn collect(&mut self, schema: &Value, space: &str, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err("nested too deeply".to_owned());
        }
        match schema {
            Value::Array(branches) => branches.iter().try_for_each(|branch| self.collect(branch, space, depth + 1)),
            Value::Object(fields) => {
                let space = match full_name(fields, space) {
                    Some(name) => {
                        let space = name.rsplit_once('.').map_or("", |(space, _)| space).to_owned();
                        self.known.push(name);
                        space
                    }
                    None => space.to_owned(),
                };
                let parts = ["type", "items", "values"].into_iter().filter_map(|name| fields.get(name));
                let of_fields = fields.get("fields").and_then(Value::as_array).into_iter().flatten();
                let mut parts = parts.chain(of_fields.filter_map(|field| field.get("type")));
                parts.try_for_each(|part| self.collect(part, &space, depth + 1))
            }
            _ => Ok(()),
        }
    }

    /// A schema, in a name space, at a place.
    fn schema(&mut self, schema: &Value, space: &str, place: &str) -> Result<Value, String> {
        match schema {
            Value::String(name) => self.named(name, space, place),
            Value::Array(branches) => {
                let branch = |(n, branch)| self.schema(branch, space, &format!("{place}/{n}"));
                let branches = branches.iter().enumerate().map(branch).collect::<Result<Vec<_>, _>>()?;
                Ok(json!({ "anyOf": branches }))
            }
            Value::Object(fields) => self.complex(fields, space, place),
            other => Err(fault(place, &format!("expected a type, not {other}"))),
        }
    }

    fn named(&self, name: &str, space: &str, place: &str) -> Result<Value, String> {
        if let Some(schema) = primitive(name) {
            return Ok(schema);
        }
        let full = if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") };
        let found = [full.as_str(), name].into_iter().find(|name| self.known.iter().any(|known| known == name));
        match found {
            Some(name) => Ok(json!({ "$ref": format!("#/$defs/{name}") })),
            None => Err(fault(place, &format!("unknown Avro type '{name}'"))),
        }
    }

    fn complex(&mut self, fields: &Map<String, Value>, space: &str, place: &str) -> Result<Value, String> {
        let kind = match fields.get("type") {
            Some(Value::String(kind)) => kind.as_str(),
            Some(inner) => return self.schema(inner, space, &format!("{place}/type")),
            None => return Err(fault(place, "no \"type\"")),
        };
        let logical = fields.get("logicalType").and_then(Value::as_str);
        let part = |name: &str| fields.get(name).ok_or_else(|| fault(place, &format!("no \"{name}\"")));
        match kind {
            "array" => {
                let items = self.schema(part("items")?, space, &format!("{place}/items"))?;
                Ok(json!({ "type": "array", "items": items }))
            }
            "map" => {
                let values = self.schema(part("values")?, space, &format!("{place}/values"))?;
                Ok(json!({ "type": "object", "additionalProperties": values }))
            }
            "record" | "error" | "enum" | "fixed" => {
                let name = full_name(fields, space).ok_or_else(|| fault(place, "no \"name\""))?;
                let space = name.rsplit_once('.').map_or("", |(space, _)| space).to_owned();
                let mut schema = match (kind, logical) {
                    ("enum", _) => json!({ "enum": part("symbols")? }),
                    ("fixed", Some("decimal")) => decimal(),
                    ("fixed", Some("uuid")) => uuid(),
                    ("fixed", _) => {
                        let size = part("size")?.as_u64().ok_or_else(|| fault(place, "\"size\" is not a number"))?;
                        json!({ "type": "string", "minLength": size, "maxLength": size })
                    }
                    _ => self.record(part("fields")?, &space, place)?,
                };
                if let (Some(doc), Value::Object(schema)) = (fields.get("doc"), &mut schema) {
                    schema.insert("description".to_owned(), doc.clone());
                }
                self.definitions.insert(name.clone(), schema);
                Ok(json!({ "$ref": format!("#/$defs/{name}") }))
            }
            kind => Ok(match logical.and_then(|logical| logical_type(kind, logical)) {
                Some(schema) => schema,
                None => self.named(kind, space, &format!("{place}/type"))?,
            }),
        }
    }

    fn record(&mut self, fields: &Value, space: &str, place: &str) -> Result<Value, String> {
        let fields = fields.as_array().ok_or_else(|| fault(place, "\"fields\" is not an array"))?;
        let (mut properties, mut required) = (Map::new(), Vec::new());
        for (n, field) in fields.iter().enumerate() {
            let place = format!("{place}/fields/{n}");
            let name = field.get("name").and_then(Value::as_str).ok_or_else(|| fault(&place, "no \"name\""))?;
            let kind = field.get("type").ok_or_else(|| fault(&place, "no \"type\""))?;
            // Some write a field's logical type beside its type.
            let outer = field.as_object().filter(|field| field.contains_key("logicalType") && kind.is_string());
            let schema = match outer {
                Some(field) => self.complex(field, space, &place)?,
                None => self.schema(kind, space, &format!("{place}/type"))?,
            };
            if field.get("default").is_none() && !may_be_null(kind) {
                required.push(json!(name));
            }
            properties.insert(name.to_owned(), schema);
        }
        Ok(json!({ "type": "object", "properties": properties, "required": required }))
    }
}

/// The full name of a named type.
fn full_name(fields: &Map<String, Value>, space: &str) -> Option<String> {
    let kind = fields.get("type").and_then(Value::as_str)?;
    if !["record", "error", "enum", "fixed"].contains(&kind) {
        return None;
    }
    let name = fields.get("name").and_then(Value::as_str)?;
    let space = fields.get("namespace").and_then(Value::as_str).unwrap_or(space);
    Some(if name.contains('.') || space.is_empty() { name.to_owned() } else { format!("{space}.{name}") })
}

fn may_be_null(kind: &Value) -> bool {
    match kind {
        Value::String(name) => name == "null",
        Value::Array(branches) => branches.iter().any(may_be_null),
        _ => false,
    }
}

fn primitive(name: &str) -> Option<Value> {
    Some(match name {
        name if PRIMITIVES.contains(&name) => json!({ "type": name }),
        "int" => json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX }),
        "long" => json!({ "type": "integer", "minimum": i64::MIN, "maximum": i64::MAX }),
        "float" | "double" => json!({ "type": "number" }),
        // A character a byte, as Avro writes them in JSON.
        "bytes" => json!({ "type": "string", "pattern": "^[\\u0000-\\u00ff]*$" }),
        _ => return None,
    })
}

/// What a logical type adds to its type; `None` leaves it at the type, as Avro asks for what is not known.
fn logical_type(kind: &str, logical: &str) -> Option<Value> {
    const DATE: &str = r"\d{4}-\d{2}-\d{2}";
    const TIME: &str = r"\d{2}:\d{2}:\d{2}(\.\d+)?";

    let or_text = |pattern: String| {
        primitive(kind).map(|own| json!({ "anyOf": [own, { "type": "string", "pattern": format!("^{pattern}$") }] }))
    };
    match (kind, logical) {
        ("bytes", "decimal") => Some(decimal()),
        ("string", "uuid") => Some(uuid()),
        ("int", "date") => or_text(DATE.to_owned()),
        ("int", "time-millis") | ("long", "time-micros") => or_text(TIME.to_owned()),
        ("long", "timestamp-millis" | "timestamp-micros" | "timestamp-nanos") => {
            or_text(format!(r"{DATE}[Tt ]{TIME}([Zz]|[+-]\d{{2}}:?\d{{2}})"))
        }
        ("long", "local-timestamp-millis" | "local-timestamp-micros" | "local-timestamp-nanos") => {
            or_text(format!("{DATE}[Tt ]{TIME}"))
        }
        _ => None,
    }
}

fn decimal() -> Value {
    json!({ "anyOf": [{ "type": "number" }, { "type": "string", "pattern": r"^[+-]?\d+(\.\d+)?$" }] })
}

fn uuid() -> Value {
    json!({ "type": "string", "pattern": "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$" })
}

fn fault(place: &str, what: &str) -> String {
    if place.is_empty() { what.to_owned() } else { format!("{place}: {what}") }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Schema};
    use super::*;

    fn schema(text: &str) -> Schema {
        Schema::build(text.as_bytes(), None, Format::AsDraft, false).expect("a schema")
    }

    #[test]
    fn tells_avro_from_json_schema() {
        let avro = [
            r#""string""#,
            r#"["null","string"]"#,
            r#"{"type":"record","name":"A","fields":[]}"#,
            r#"{"type":"enum","name":"E","symbols":["A"]}"#,
            r#"{"type":"map","values":"int"}"#,
            r#"{"type":"array","items":"int"}"#,
            r#"{"type":"array","items":{"type":"record","name":"A","fields":[]}}"#,
            r#"{"type":"long","logicalType":"timestamp-millis"}"#,
            r#"{"type":{"type":"array","items":"string"}}"#,
        ];
        let json_schema = [
            "true",
            "{}",
            r#"{"type":"object","properties":{"type":{"enum":["record"]}}}"#,
            r#"{"type":"array","items":{"type":"string"}}"#,
            r#"{"type":["null","string"]}"#,
            r#"{"$schema":"https://json-schema.org/draft/2020-12/schema","type":"string"}"#,
            r#"{"type":"string"}"#,
        ];
        for (texts, expected) in [(&avro[..], true), (&json_schema[..], false)] {
            for text in texts {
                assert_eq!(is_avro(&serde_json::from_str(text).expect(text)), expected, "{text}");
            }
        }
    }

    const TRADE: &str = r#"{
      "type": "record", "name": "Trade", "namespace": "com.example", "doc": "One trade",
      "fields": [
        {"name": "symbol", "type": "string"},
        {"name": "price", "type": "double"},
        {"name": "size", "type": "int", "default": 1},
        {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
        {"name": "side", "type": {"type": "enum", "name": "Side", "symbols": ["BUY", "SELL"]}},
        {"name": "other", "type": ["null", "com.example.Side"], "default": null},
        {"name": "note", "type": ["null", "string"]},
        {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []},
        {"name": "limits", "type": {"type": "map", "values": ["int", "long"]}, "default": {}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "fee", "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}, "default": "\u0000"},
        {"name": "hash", "type": {"type": "fixed", "name": "Hash", "size": 4}, "default": "abcd"},
        {"name": "parent", "type": ["null", "Trade"], "default": null}
      ]}"#;

    #[test]
    fn real_shapes_pass_and_others_are_told_apart() {
        let trade = schema(TRADE);
        let base =
            r#""symbol":"A","price":1.5,"id":"6a2f41a3-c54c-fce8-32d2-0324e1c32e22","side":"BUY","at":1700000000000"#;
        let fine = [
            "",
            r#","size":-5,"note":null,"other":"SELL","tags":["a"],"limits":{"a":1,"b":9007199254740993}"#,
            r#","note":"x","fee":"12.50","hash":"0123","unknown":true"#,
            r#","fee":12.5,"parent":null"#,
        ];
        for more in fine {
            assert_eq!(trade.check(format!("{{{base}{more}}}").as_bytes()), Ok(()), "{more}");
        }
        let nested = format!(r#"{{{base},"parent":{{{base}}}}}"#);
        assert_eq!(trade.check(nested.as_bytes()), Ok(()));
        let text = format!("{{{}}}", base.replace("1700000000000", "\"2026-01-02T03:04:05.678Z\""));
        assert_eq!(trade.check(text.as_bytes()), Ok(()));
        let wrong = [
            (r#","size":2147483648"#, "/size"),
            (r#","size":1.5"#, "/size"),
            (r#","other":"HOLD""#, "/other"),
            (r#","note":5"#, "/note"),
            (r#","tags":[1]"#, "/tags/0"),
            (r#","limits":{"a":"x"}"#, "/limits/a"),
            (r#","fee":"much""#, "/fee"),
            (r#","hash":"abc""#, "/hash"),
            (r#","parent":{"symbol":"B"}"#, "/parent"),
        ];
        for (more, place) in wrong {
            let reason = trade.check(format!("{{{base}{more}}}").as_bytes()).expect_err(more);
            assert!(reason.starts_with(place), "{more}: {reason}");
        }
        let reason = trade.check(br#"{"symbol":"A"}"#).expect_err("fields are missing");
        assert!(reason.contains("\"price\" is required"), "{reason}");
    }

    #[test]
    fn unions_maps_and_arrays_stand_alone_too() {
        let table = [
            (r#"["null","long"]"#, "9223372036854775807", "1.5"),
            (r#""bytes""#, "\"\u{ff}\"", "\"\u{100}\""),
            (r#"{"type":"map","values":"boolean"}"#, r#"{"a":true}"#, r#"{"a":1}"#),
            (r#"{"type":"array","items":{"type":"int","logicalType":"date"}}"#, r#"[1,"2026-01-02"]"#, r#"["soon"]"#),
            (
                r#"{"type":"record","name":"L","fields":[{"name":"n","type":["null","L"]}]}"#,
                r#"{"n":{"n":null}}"#,
                r#"{"n":1}"#,
            ),
            // Beside the type, as some write it.
            (
                r#"{"type":"record","name":"R","fields":[{"name":"t","type":"long","logicalType":"timestamp-micros"}]}"#,
                r#"{"t":"2026-01-02 03:04:05+01:00"}"#,
                r#"{"t":"2026"}"#,
            ),
        ];
        for (avro, right, wrong) in table {
            let schema = schema(avro);
            assert_eq!(schema.check(right.as_bytes()), Ok(()), "{avro}");
            assert!(schema.check(wrong.as_bytes()).is_err(), "{avro}");
        }
    }

    #[test]
    fn what_is_not_avro_is_named_with_its_place() {
        let table = [
            (r#""strin""#, "unknown Avro type 'strin'"),
            (
                r#"{"type":"record","name":"A","fields":[{"name":"a","type":"uint"}]}"#,
                "/fields/0/type: unknown Avro type 'uint'",
            ),
            (r#"{"type":"record","name":"A"}"#, "no \"fields\""),
            (r#"{"type":"record","fields":[]}"#, "no \"name\""),
            (r#"{"type":"map"}"#, "no \"values\""),
            (r#"["null",5]"#, "/1: expected a type, not 5"),
        ];
        for (text, expected) in table {
            let error = to_json_schema(&serde_json::from_str(text).expect(text));
            assert_eq!(error, Err(expected.to_owned()), "{text}");
        }
    }
}
