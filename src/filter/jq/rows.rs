//! `@csv` and `@tsv`: an array as one row of a table, in time that grows with its length.
//!
//! Written as functions because the definitions in jq build a new text for every character they escape.

use jaq_core::RunPtr;
use jaq_core::native::{self, bome};
use jaq_json::{Num, Val};

use super::Data;
use super::engine::{Error, Value, wrong};
use super::value::write_value;

/// The functions that write rows.
pub(super) fn functions() -> impl Iterator<Item = native::Fun<Data>> {
    let functions: [native::Filter<RunPtr<Data>>; 2] = [
        ("@csv", native::v(0), |cv| bome(row(&cv.1.0, "csv", b',', quoted))),
        ("@tsv", native::v(0), |cv| bome(row(&cv.1.0, "tsv", b'\t', escaped))),
    ];
    functions.into_iter().map(native::run::<Data>)
}

/// The fields of an array, with this between them.
fn row(value: &Val, format: &str, separator: u8, text: fn(&mut Vec<u8>, &[u8])) -> Result<Value, Error> {
    let Val::Arr(fields) = value else {
        return Err(wrong(value, &format!("cannot be {format}-formatted, only an array can be")));
    };
    let mut out = Vec::new();
    for (number, field) in fields.iter().enumerate() {
        if number > 0 {
            out.push(separator);
        }
        match field {
            Val::Null => {}
            Val::TStr(field) | Val::BStr(field) => text(&mut out, field),
            Val::Num(Num::Float(number)) if !number.is_finite() => {}
            Val::Bool(_) | Val::Num(_) => write_value(&mut out, field),
            Val::Arr(_) | Val::Obj(_) => return Err(wrong(field, &format!("is not valid in a {format} row"))),
        }
    }
    Ok(Value(Val::utf8_str(out)))
}

fn quoted(out: &mut Vec<u8>, field: &[u8]) {
    out.push(b'"');
    for &byte in field {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

fn escaped(out: &mut Vec<u8>, field: &[u8]) {
    for &byte in field {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            byte => out.push(byte),
        }
    }
}
