//! What is wrong with a program, or with a run of it, in one line: for its author.
//!
//! Leaves finding it to `jq` and `run`. Invariant: a line is bounded in length and holds no control characters.

use jaq_core::load::{self, lex, parse};
use jaq_json::Val;

use super::{Json, STATE, Variables, value};

/// Longest program accepted.
const MAX_SOURCE: usize = 64 * 1024;
/// Deepest nesting of brackets in a program: the parser beneath recurses.
const MAX_SOURCE_DEPTH: usize = 128;
/// Most characters of an error message that are kept: it may quote a whole message.
pub(super) const MAX_ERROR: usize = 300;

/// Why a program does not compile: one line, saying what is wrong and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct FilterError(pub(super) String);

pub(super) fn too_deep_message() -> String {
    format!("the filter yields a value nested deeper than {} levels", value::MAX_OUTPUT_DEPTH)
}

pub(super) fn error_text(value: Val) -> String {
    if value::too_deep(&value, value::MAX_OUTPUT_DEPTH) {
        return too_deep_message();
    }
    let json = Json(value);
    let text = match json.as_str() {
        Some(text) => text.into_owned(),
        None => json.to_compact_string(),
    };
    one_line(&text)
}

/// One line of bounded length, without control characters.
fn one_line(text: &str) -> String {
    let mut line: String = text.chars().take(MAX_ERROR).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(MAX_ERROR).is_some() {
        line.push('…');
    }
    line
}

pub(super) fn check_size(source: &str) -> Result<(), FilterError> {
    if source.len() > MAX_SOURCE {
        return Err(FilterError(format!("the jq program is longer than {MAX_SOURCE} bytes")));
    }
    let mut depth = 0_usize;
    for byte in source.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_SOURCE_DEPTH {
            return Err(FilterError(format!("the jq program nests brackets deeper than {MAX_SOURCE_DEPTH} levels")));
        }
    }
    Ok(())
}

/// ` at line L, column C` of a slice of the program, or empty when it is not a slice of it.
fn place(source: &str, part: &str) -> String {
    let offset = (part.as_ptr() as usize).checked_sub(source.as_ptr() as usize);
    let Some(before) = offset.and_then(|offset| source.get(..offset)) else {
        return String::new();
    };
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    match before.matches('\n').count() {
        0 => format!(" at column {column}"),
        lines => format!(" at line {}, column {column}", lines + 1),
    }
}

/// What stands at a place of the program, and what should.
fn describe_expected(source: &str, expected: Option<&str>, part: &str) -> String {
    let place = place(source, part);
    let short: String = part.chars().take(20).map(|c| if c.is_control() { ' ' } else { c }).collect();
    match expected {
        Some(expected) if part.is_empty() => {
            format!("expected {expected}{place}, but the filter ends there")
        }
        Some(expected) => format!("expected {expected}{place}, found `{short}`"),
        None => format!("unexpected `{short}`{place}"),
    }
}

pub(super) fn describe_load(source: &str, errors: &load::Errors<&str, ()>) -> FilterError {
    let text = errors.iter().find_map(|(_file, error)| match error {
        load::Error::Io(parts) => parts
            .first()
            .map(|(path, _)| format!("modules are not supported: `{}`{}", one_line(path), place(source, path))),
        load::Error::Lex(parts) => parts.first().map(|(expected, part)| match expected {
            lex::Expect::Token => describe_expected(source, None, part),
            other => describe_expected(source, Some(other.as_str()), part),
        }),
        load::Error::Parse(parts) => parts.first().map(|(expected, part)| match expected {
            parse::Expect::Nothing => describe_expected(source, None, part),
            parse::Expect::Just(word) => describe_expected(source, Some(&format!("`{word}`")), part),
            other => describe_expected(source, Some(other.as_str()), part),
        }),
    });
    FilterError(text.unwrap_or_else(|| "cannot parse the jq program".to_owned()))
}

pub(super) fn describe_undefined(
    source: &str,
    errors: &jaq_core::compile::Errors<&str, ()>,
    variables: Option<&Variables>,
) -> FilterError {
    use jaq_core::compile::Undefined;
    let known = match variables {
        None => "$meta and $prev",
        Some(own) if own.first().is_some_and(|(name, _)| name == STATE) => {
            "$state, $meta, $prev, $ENV and those of --arg"
        }
        Some(_) => "$meta, $prev, $ENV and those of --arg",
    };
    let first = errors.iter().find_map(|(_file, errors)| errors.first());
    let text = first.map(|(name, what)| {
        let place = place(source, name);
        match what {
            Undefined::Filter(arity) => format!("unknown filter {name}/{arity}{place}"),
            Undefined::Var => format!("unknown variable {name}{place} (known are {known})"),
            other => format!("unknown {} {name}{place}", other.as_str()),
        }
    });
    FilterError(text.unwrap_or_else(|| "the jq program does not compile".to_owned()))
}
