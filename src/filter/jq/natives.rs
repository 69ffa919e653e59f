//! Functions of jq that jaq lacks or that do something else there, as far as they are not definitions.
//!
//! Owns [`functions`], and which of jaq's own they replace. Invariants: none reads a file or another input; only [`env`]
//! shows the environment; JSON is read strictly, and nested no deeper than elsewhere.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use jaq_core::RunPtr;
use jaq_core::native::{self, bome, unary};
use jaq_core::{ValR, ValT as _};
use jaq_json::{Map, Num, Rc, Val};

use super::engine::{Error, Value, error, indices, kind, named, position, whole, wrong};
use super::faults::too_deep_message;
use super::value::{MAX_OUTPUT_DEPTH, too_deep};
use super::{Data, Json, reader};
use crate::message::uuid;
use crate::percent;

/// Longest path `delpaths` takes.
const MAX_PATH: usize = 1024;
/// The letters of base32 (RFC 4648).
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/// Base64 as jq reads it: with padding or without.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Functions of jaq under another name, for definitions of ours that stand before them.
const RENAMED: [(&str, &str); 3] =
    [("mktime", "mktime_of"), ("strftime", "strftime_of"), ("strflocaltime", "strflocaltime_of")];

/// Every function there is beside definitions.
pub(super) fn functions() -> impl Iterator<Item = native::Fun<Data>> {
    let own: Vec<_> = strings().into_iter().chain(values()).chain(json()).map(native::run::<Data>).collect();
    let names: BTreeSet<&str> = own.iter().map(|(name, ..)| *name).collect();
    jaq_core::funs()
        .chain(jaq_std::funs())
        .filter(move |(name, ..)| !names.contains(name))
        .map(|(name, arguments, function)| {
            let renamed = RENAMED.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| *new);
            (renamed, arguments, function)
        })
        .chain(own)
}

/// The environment as an object.
pub(super) fn environment() -> Val {
    static ENVIRONMENT: OnceLock<Val> = OnceLock::new();
    let text = |text: std::ffi::OsString| Val::utf8_str(text.to_string_lossy().into_owned());
    let read = || Val::obj(std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect());
    ENVIRONMENT.get_or_init(read).clone()
}

type Function = native::Filter<RunPtr<Data>>;

fn text_of(value: &Value) -> Option<String> {
    match &value.0 {
        Val::TStr(bytes) | Val::BStr(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

fn text(text: impl Into<String>) -> Value {
    Value(Val::from(text.into()))
}

/// Cuts a text with the text of an argument.
fn cut(value: Value, part: &Value, who: &str, f: fn(&str, &str) -> Option<usize>, at_end: bool) -> ValR<Value> {
    let (Some(whole), Some(part)) = (text_of(&value), text_of(part)) else {
        return Err(error(format_args!("{who}() requires string inputs")));
    };
    Ok(match f(&whole, &part) {
        None => value,
        Some(length) if at_end => text(&whole[..whole.len() - length]),
        Some(length) => text(&whole[length..]),
    })
}

fn trimmed(value: &Value, f: fn(&str) -> &str) -> ValR<Value> {
    text_of(value).map(|whole| text(f(&whole))).ok_or_else(|| error("trim input must be a string"))
}

fn strings() -> [Function; 14] {
    [
        ("utf8bytelength", native::v(0), |cv| {
            bome(match &cv.1.0 {
                Val::TStr(bytes) | Val::BStr(bytes) => Ok(Value::from(bytes.len())),
                other => Err(wrong(other, "only strings have UTF-8 byte length")),
            })
        }),
        ("ltrimstr", native::v(1), |cv| {
            unary(cv, |whole, part| {
                cut(whole, &part, "startswith", |whole, part| whole.starts_with(part).then_some(part.len()), false)
            })
        }),
        ("rtrimstr", native::v(1), |cv| {
            unary(cv, |whole, part| {
                cut(whole, &part, "endswith", |whole, part| whole.ends_with(part).then_some(part.len()), true)
            })
        }),
        ("trim", native::v(0), |cv| bome(trimmed(&cv.1, str::trim))),
        ("ltrim", native::v(0), |cv| bome(trimmed(&cv.1, str::trim_start))),
        ("rtrim", native::v(0), |cv| bome(trimmed(&cv.1, str::trim_end))),
        ("tonumber", native::v(0), |cv| bome(number(cv.1))),
        ("toboolean", native::v(0), |cv| {
            bome(match (&cv.1.0, text_of(&cv.1).as_deref()) {
                (Val::Bool(_), _) => Ok(cv.1),
                (_, Some("true")) => Ok(Value::from(true)),
                (_, Some("false")) => Ok(Value::from(false)),
                (other, _) => Err(wrong(other, "cannot be parsed as a boolean")),
            })
        }),
        ("implode", native::v(0), |cv| bome(implode(&cv.1))),
        ("join", native::v(1), |cv| unary(cv, |items, separator| join(&items, &separator))),
        ("decode_base64", native::v(0), |cv| {
            let whole = text_of(&cv.1).unwrap_or_default();
            let data = whole.trim_end_matches('=');
            let decoded = BASE64.decode(data).map(|bytes| text(String::from_utf8_lossy(&bytes)));
            bome(decoded.map_err(|_| {
                let is_known = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
                let is_cut = data.len() % 4 == 1 && data.bytes().all(is_known);
                wrong(&cv.1.0, if is_cut { "trailing base64 byte found" } else { "is not valid base64 data" })
            }))
        }),
        ("decode_uri", native::v(0), |cv| {
            let decoded = text_of(&cv.1).and_then(|whole| percent::decode_strict(&whole));
            bome(decoded.map(text).ok_or_else(|| wrong(&cv.1.0, "is not a valid uri encoding")))
        }),
        ("encode_base32", native::v(0), |cv| {
            bome(match &cv.1.0 {
                Val::TStr(bytes) | Val::BStr(bytes) => Ok(text(base32(bytes))),
                other => Err(wrong(other, "is not a string")),
            })
        }),
        ("decode_base32", native::v(0), |cv| {
            let decoded = text_of(&cv.1).and_then(|whole| base32_decoded(&whole));
            bome(decoded.map(text).ok_or_else(|| wrong(&cv.1.0, "is not valid base32 data")))
        }),
    ]
}

fn values() -> [Function; 11] {
    [
        ("uuid", native::v(0), |_| bome(Ok(text(uuid::of_random(fastrand::u128(..)))))),
        ("nan", native::v(0), |_| bome(Ok(Value::from(f64::NAN)))),
        ("infinite", native::v(0), |_| bome(Ok(Value::from(f64::INFINITY)))),
        ("length", native::v(0), |cv| bome(length(cv.1))),
        ("contains", native::v(1), |cv| unary(cv, |whole, part| contains(&whole.0, &part.0).map(Value::from))),
        ("has", native::v(1), |cv| unary(cv, |whole, key| has(&whole.0, &key.0).map(Value::from))),
        ("indices", native::v(1), |cv| unary(cv, |whole, part| indices(&whole.0, &part.0))),
        ("bsearch", native::v(1), |cv| {
            unary(cv, |items, wanted| match &items.0 {
                Val::Arr(items) => {
                    let place = items.binary_search(&wanted.0);
                    Ok(Value::from(place.map_or_else(|at| -1 - at.cast_signed(), usize::cast_signed)))
                }
                other => Err(wrong(other, "cannot be searched from")),
            })
        }),
        ("delpaths", native::v(1), |cv| unary(cv, |value, paths| delete(value, &paths.0))),
        ("builtins", native::v(0), |_| bome(Ok(builtins()))),
        ("env", native::v(0), |_| bome(Ok(Value(environment())))),
    ]
}

fn json() -> [Function; 3] {
    [
        ("tojson", native::v(0), |cv| {
            bome(if too_deep(&cv.1.0, MAX_OUTPUT_DEPTH) {
                Err(error(too_deep_message()))
            } else {
                Ok(text(Json(cv.1.0).to_compact_string()))
            })
        }),
        ("fromjson", native::v(0), |cv| {
            bome(match text_of(&cv.1) {
                Some(text) => reader::parse_value(&text).map(Value).map_err(error),
                None => Err(wrong(&cv.1.0, "only strings can be parsed")),
            })
        }),
        ("tobytes", native::v(0), |cv| {
            let mut bytes = Vec::new();
            let is_bytes = push_bytes(&mut bytes, &cv.1.0);
            bome(if is_bytes { Ok(Value(Val::byte_str(bytes))) } else { Err(wrong(&cv.1.0, "cannot be made bytes")) })
        }),
    ]
}

fn push_bytes(out: &mut Vec<u8>, value: &Val) -> bool {
    match value {
        Val::Num(number) => {
            let byte = whole(number, f64::floor).and_then(|byte| u8::try_from(byte).ok());
            out.extend(byte);
            byte.is_some()
        }
        Val::TStr(bytes) | Val::BStr(bytes) => {
            out.extend_from_slice(bytes);
            true
        }
        Val::Arr(items) => items.iter().all(|item| push_bytes(out, item)),
        _ => false,
    }
}

/// A number of its text, which may have a plus sign or begin with a point.
fn number(value: Value) -> ValR<Value> {
    if matches!(value.0, Val::Num(_)) {
        return Ok(value);
    }
    let parsed = text_of(&value).and_then(|text| {
        let is_number = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E');
        if !text.bytes().all(is_number) {
            return None;
        }
        reader::parse_value(&text).ok().or_else(|| text.parse::<f64>().ok().map(Val::from))
    });
    parsed.map(Value).ok_or_else(|| wrong(&value.0, "cannot be parsed as a number"))
}

fn implode(value: &Value) -> ValR<Value> {
    let Val::Arr(items) = &value.0 else { return Err(error("implode input must be an array")) };
    let mut whole_text = String::with_capacity(items.len());
    for item in items.iter() {
        let code = if let Val::Num(number) = item { whole(number, f64::trunc) } else { None };
        let code = code.ok_or_else(|| wrong(item, "can't be imploded, unicode codepoint needs to be numeric"))?;
        let c = u32::try_from(code).ok().and_then(char::from_u32);
        whole_text.push(c.unwrap_or(char::REPLACEMENT_CHARACTER));
    }
    Ok(text(whole_text))
}

fn join(items: &Value, separator: &Value) -> ValR<Value> {
    let Val::Arr(list) = &items.0 else {
        return Err(error(format_args!("Cannot iterate over {}", named(&items.0))));
    };
    let mut joined = Vec::new();
    for (at, item) in list.iter().enumerate() {
        if at > 0 {
            match &separator.0 {
                Val::TStr(bytes) | Val::BStr(bytes) => joined.extend_from_slice(bytes),
                Val::Null => {}
                other => (text(String::from_utf8_lossy(&joined)) + Value(other.clone())).map(drop)?,
            }
        }
        match item {
            Val::Null => {}
            Val::TStr(bytes) | Val::BStr(bytes) => joined.extend_from_slice(bytes),
            Val::Num(_) | Val::Bool(_) => super::value::write_value(&mut joined, item),
            other => (text(String::from_utf8_lossy(&joined)) + Value(other.clone())).map(drop)?,
        }
    }
    Ok(Value(Val::utf8_str(joined)))
}

fn base32(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let mut bits = chunk.iter().fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        bits <<= 8 * (5 - chunk.len());
        let letters = (chunk.len() * 8).div_ceil(5);
        for at in 0..8 {
            let letter = BASE32[(bits >> (35 - 5 * at)) as usize & 31];
            out.push(if at < letters { char::from(letter) } else { '=' });
        }
    }
    out
}

fn base32_decoded(text: &str) -> Option<String> {
    let (mut bits, mut count, mut out) = (0_u32, 0, Vec::new());
    for byte in text.trim_end_matches('=').bytes() {
        let digit = BASE32.iter().position(|letter| *letter == byte)?;
        bits = (bits << 5 | digit as u32) & 0xfff;
        count += 5;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn length(value: Value) -> ValR<Value> {
    Ok(match value.0 {
        Val::Null => Value::from(0_usize),
        Val::TStr(bytes) => Value::from(String::from_utf8_lossy(&bytes).chars().count()),
        Val::BStr(bytes) => Value::from(bytes.len()),
        Val::Arr(items) => Value::from(items.len()),
        Val::Obj(map) => Value::from(map.len()),
        Val::Num(Num::Float(number)) => Value::from(number.abs()),
        number @ Val::Num(_) if number < Val::from(0_isize) => return -Value(number),
        number @ Val::Num(_) => Value(number),
        other @ Val::Bool(_) => return Err(wrong(&other, "has no length")),
    })
}

/// Whether a value contains another, as jq means it.
fn contains(whole: &Val, part: &Val) -> Result<bool, Error> {
    fn within(whole: &Val, part: &Val) -> bool {
        match (whole, part) {
            (Val::TStr(whole) | Val::BStr(whole), Val::TStr(part) | Val::BStr(part)) => {
                memchr::memmem::find(whole, part).is_some()
            }
            (Val::Arr(whole), Val::Arr(part)) => part.iter().all(|part| whole.iter().any(|item| within(item, part))),
            (Val::Obj(whole), Val::Obj(part)) => {
                part.iter().all(|(key, part)| whole.get(key).is_some_and(|value| within(value, part)))
            }
            (whole, part) => whole == part,
        }
    }
    if kind(whole) == kind(part) {
        return Ok(within(whole, part));
    }
    Err(error(format_args!("{} and {} cannot have their containment checked", named(whole), named(part))))
}

fn has(value: &Val, key: &Val) -> Result<bool, Error> {
    match (value, key) {
        (Val::Obj(map), Val::TStr(_) | Val::BStr(_)) => Ok(map.contains_key(key)),
        (Val::Arr(items), Val::Num(number)) => {
            let at = whole(number, f64::floor).and_then(|at| usize::try_from(at).ok());
            Ok(at.is_some_and(|at| at < items.len()))
        }
        (value, key) => Err(error(format_args!("Cannot check whether {} has a {} key", kind(value), kind(key)))),
    }
}

fn delete(value: Value, paths: &Val) -> ValR<Value> {
    let Val::Arr(paths) = paths else { return Err(error("Paths must be specified as an array")) };
    let mut list: Vec<&[Val]> = Vec::with_capacity(paths.len());
    for path in paths.iter() {
        match path {
            Val::Arr(path) if path.len() > MAX_PATH => return Err(error("Path too deep")),
            Val::Arr(path) => list.push(path),
            other => return Err(error(format_args!("Path must be specified as array, not {}", kind(other)))),
        }
    }
    list.sort();
    delete_all(value.0, &list).map(Value)
}

/// Deletes what sorted paths lead to; all of them are about the value as it was.
fn delete_all(mut value: Val, paths: &[&[Val]]) -> Result<Val, Error> {
    let Some(first) = paths.first() else { return Ok(value) };
    if first.is_empty() {
        return Ok(Val::Null);
    }
    let mut here = Vec::new();
    for group in paths.chunk_by(|a, b| a[0] == b[0]) {
        let key = &group[0][0];
        if group[0].len() == 1 {
            here.push(key);
            continue;
        }
        let inner: Vec<&[Val]> = group.iter().map(|path| &path[1..]).collect();
        let child = Value(value.clone()).index(&Value(key.clone()))?;
        if !matches!(child.0, Val::Null) {
            let mut child = Some(delete_all(child.0, &inner)?);
            let put = |_| std::iter::once(Ok(Value(child.take().unwrap_or_default())));
            let put = std::cell::RefCell::new(put);
            let replaced = Value(value)
                .map_index(&Value(key.clone()), jaq_core::path::Opt::Essential, |old| (put.borrow_mut())(old));
            value = replaced.map_err(|raised| raised.get_err().unwrap_or_else(|_| error("no path")))?.0;
        }
    }
    if here.is_empty() { Ok(value) } else { without(value, &here) }
}

/// A value without some of its keys, indices and slices.
fn without(value: Val, keys: &[&Val]) -> Result<Val, Error> {
    match value {
        Val::Null => Ok(Val::Null),
        Val::Obj(mut map) => {
            let own: &mut Map = Rc::make_mut(&mut map);
            for key in keys {
                if !matches!(key, Val::TStr(_) | Val::BStr(_)) {
                    return Err(error(format_args!("Cannot delete {} field of object", kind(key))));
                }
                own.shift_remove(*key);
            }
            Ok(Val::Obj(map))
        }
        Val::Arr(mut items) => {
            let mut goes = vec![false; items.len()];
            for key in keys {
                match key {
                    Val::Num(number) => {
                        let at = whole(number, f64::floor).and_then(|at| position(at, goes.len()));
                        if let Some(goes) = at.and_then(|at| goes.get_mut(at)) {
                            *goes = true;
                        }
                    }
                    Val::Obj(_) => {
                        let numbers: Val = (0..goes.len()).map(Val::from).collect();
                        let gone = Value(numbers).index(&Value((*key).clone()))?;
                        if let Val::Arr(gone) = gone.0 {
                            let gone = gone.iter().filter_map(jaq_std::ValT::as_isize);
                            gone.for_each(|at| goes[at.unsigned_abs()] = true);
                        }
                    }
                    other => return Err(error(format_args!("Cannot delete {} element of array", kind(other)))),
                }
            }
            let mut goes = goes.into_iter();
            Rc::make_mut(&mut items).retain(|_| !goes.next().unwrap_or(false));
            Ok(Val::Arr(items))
        }
        other => Err(error(format_args!("Cannot delete fields from {}", kind(&other)))),
    }
}

/// `name/arguments` of everything a program may call.
fn builtins() -> Value {
    let functions = functions().map(|(name, arguments, _)| format!("{name}/{}", arguments.len()));
    let definitions = super::definitions().map(|definition| format!("{}/{}", definition.name, definition.args.len()));
    let names: BTreeSet<String> = functions.chain(definitions).collect();
    names.into_iter().filter(|name| !name.starts_with(['_', '@'])).map(text).collect()
}
