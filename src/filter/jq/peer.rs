//! jq programs that a peer supplies: a part of jq whose every run ends soon.
//!
//! Owns which part that is, and the fuel a run burns. Leaves compiling and running to `super`.
//! Invariants: nothing can be defined, folded or assigned, so a program cannot loop by itself; every value on its way from
//! one step to the next burns fuel, and where a step's work grows with its input or its output, that is weighed and burned
//! too; so time and memory of a run are bounded by the fuel, which is bounded by the size of the message. Running out ends
//! the run by unwinding, which no `try` can catch.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::panic::resume_unwind;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::native::{self, bome};
use jaq_core::ops::Math;
use jaq_core::path::{Part, Path};
use jaq_core::{Bind, RunPtr};
use jaq_json::{Num, Val};

use super::engine::error;
use super::{Data, Filter, FilterError, Json, check_size, load};

/// Longest program of a peer: it also bounds how deep reading it can recurse.
const MAX_SOURCE: usize = 2048;
/// What reading a program recurses for, beside brackets.
const PREFIXES: [&str; 7] = ["-", "try", "if", "as", "def", "reduce", "foreach"];
/// Most of them in a program.
const MAX_PREFIXES: usize = 64;
/// Deepest nesting of a program's terms: compiling recurses.
const MAX_DEPTH: usize = 64;
/// Fuel for a message of any size.
const BASE_FUEL: u64 = 50_000;
/// Fuel for each byte of the message, so that a step may look at a whole message some times.
const FUEL_PER_BYTE: u64 = 4;
/// Bytes beyond which a message brings no more fuel.
const MAX_FUELLED_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of text that weigh as much as one value.
const BYTES_PER_UNIT: u64 = 64;
/// What making a regular expression costs.
const REGEX_FUEL: u64 = 1000;

/// What needs no weighing: its work is that of one step, beside what its arguments burn themselves.
const LIGHT: [(&str, &[usize]); 11] = [
    ("select", &[1]),
    ("empty", &[0]),
    ("error", &[0, 1]),
    ("not", &[0]),
    ("true", &[0]),
    ("false", &[0]),
    ("null", &[0]),
    ("any", &[1, 2]),
    ("all", &[1, 2]),
    ("isempty", &[1]),
    ("first", &[1]),
];

/// What looks at the whole of its input or its arguments, or makes something new of them.
const HEAVY: [(&str, &[usize]); 57] = [
    ("IN", &[1]),
    ("abs", &[0]),
    ("all", &[0]),
    ("any", &[0]),
    ("arrays", &[0]),
    ("ascii_downcase", &[0]),
    ("ascii_upcase", &[0]),
    ("booleans", &[0]),
    ("ceil", &[0]),
    ("endswith", &[1]),
    ("first", &[0]),
    ("floor", &[0]),
    ("fromdate", &[0]),
    ("fromdateiso8601", &[0]),
    ("fromjson", &[0]),
    ("has", &[1]),
    ("infinite", &[0]),
    ("isarray", &[0]),
    ("isboolean", &[0]),
    ("isfinite", &[0]),
    ("isinfinite", &[0]),
    ("isnan", &[0]),
    ("isnormal", &[0]),
    ("isnumber", &[0]),
    ("isobject", &[0]),
    ("isstring", &[0]),
    ("iterables", &[0]),
    ("keys", &[0]),
    ("keys_unsorted", &[0]),
    ("last", &[0]),
    ("length", &[0]),
    ("ltrimstr", &[1]),
    ("map", &[1]),
    ("max", &[0]),
    ("min", &[0]),
    ("now", &[0]),
    ("nulls", &[0]),
    ("numbers", &[0]),
    ("objects", &[0]),
    ("reverse", &[0]),
    ("round", &[0]),
    ("rtrimstr", &[1]),
    ("scalars", &[0]),
    ("sort", &[0]),
    ("split", &[1]),
    ("startswith", &[1]),
    ("strings", &[0]),
    ("to_entries", &[0]),
    ("toarray", &[0]),
    ("todate", &[0]),
    ("tojson", &[0]),
    ("tonumber", &[0]),
    ("tostring", &[0]),
    ("trim", &[0]),
    ("type", &[0]),
    ("utf8bytelength", &[0]),
    ("values", &[0]),
];

/// What a peer's program is called once it is guarded.
const GUARDED: &str = "guarded";

thread_local! {
    static FUEL: Cell<u64> = const { Cell::new(0) };
}

/// A compiled program that a peer supplied. It can choose among messages and is safe to run on any of them.
#[derive(Debug, Clone)]
pub struct PeerFilter(Filter);

impl PeerFilter {
    /// Compiles a peer's program.
    ///
    /// # Errors
    /// When the program is no jq, or uses what a peer may not use.
    pub fn compile(source: &str) -> Result<Self, FilterError> {
        if source.len() > MAX_SOURCE {
            return Err(FilterError(format!("a peer's jq program may have {MAX_SOURCE} bytes at most")));
        }
        let prefixes: usize = PREFIXES.iter().map(|prefix| source.matches(prefix).count()).sum();
        if prefixes > MAX_PREFIXES {
            return Err(FilterError(format!(
                "a peer's jq program may have {MAX_PREFIXES} times if, try, as and - at most"
            )));
        }
        check_size(source)?;
        let Some(term) = load::parse(source, |p| p.term()) else {
            // What is wrong with it is said by the compiler.
            Filter::compile(source)?;
            return Err(not_allowed("modules"));
        };
        let body = Guard::default().charged(term)?;
        let program = Def { name: GUARDED, args: Vec::new(), body };
        Filter::quick(program, functions()).map(Self)
    }

    /// Whether the first output for a message of `size` bytes is neither `false` nor `null`.
    ///
    /// # Errors
    /// When the run fails, or takes more than a peer's program may.
    pub fn matches(&self, message: &Json, size: usize) -> Result<bool, String> {
        FUEL.set(BASE_FUEL + FUEL_PER_BYTE * size.min(MAX_FUELLED_BYTES) as u64);
        let null = Json::null();
        let mut matched = false;
        let run = self.0.run(message, &null, &null, &mut |value| {
            matched = value.is_truthy();
            ControlFlow::Break(())
        });
        match run {
            Ok(()) => Ok(matched),
            Err(_) if FUEL.get() == 0 => Err("the filter takes too long".to_owned()),
            Err(error) => Err(error),
        }
    }
}

/// Burns fuel; without enough of it the run ends here.
fn burn(units: u64) {
    let left = FUEL.get().saturating_sub(units);
    FUEL.set(left);
    if left == 0 {
        resume_unwind(Box::new("out of fuel"));
    }
}

fn length(text: &[u8]) -> u64 {
    text.len() as u64 / BYTES_PER_UNIT
}

/// Burns what looking at the whole value costs, and returns it.
fn weigh(value: &Val) -> u64 {
    let own = 1 + match value {
        Val::Num(Num::BigInt(number)) => number.bits() / 8,
        Val::Num(Num::Dec(text)) => length(text.as_bytes()),
        Val::TStr(text) | Val::BStr(text) => length(text),
        _ => 0,
    };
    burn(own);
    own + match value {
        Val::Arr(items) => items.iter().map(weigh).sum(),
        Val::Obj(entries) => entries.iter().map(|(key, value)| weigh(key) + weigh(value)).sum(),
        _ => 0,
    }
}

/// The functions a guarded program is interspersed with: each hands on its input.
fn functions() -> impl Iterator<Item = native::Fun<Data>> {
    let variable = || -> Box<[Bind]> { native::v(1) };
    let functions: [native::Filter<RunPtr<Data>>; 5] = [
        ("charge", native::v(0), |cv| {
            burn(1);
            bome(Ok(cv.1))
        }),
        ("weigh", native::v(0), |cv| {
            weigh(&cv.1.0);
            bome(Ok(cv.1))
        }),
        ("weigh_number", native::v(0), |cv| {
            weigh(&cv.1.0);
            // A text times a number is a text of any length; a list minus a list compares each with each.
            let is_number = matches!(cv.1.0, Val::Num(_));
            let wrong = || error("a peer's filter may calculate with numbers only");
            bome(if is_number { Ok(cv.1) } else { Err(wrong()) })
        }),
        ("weigh_with", variable(), |mut cv| {
            let other = weigh(&cv.0.pop_var().0);
            burn(weigh(&cv.1.0).saturating_mul(other));
            bome(Ok(cv.1))
        }),
        ("weigh_regex", variable(), |mut cv| {
            let pattern = match cv.0.pop_var().0 {
                Val::TStr(text) | Val::BStr(text) => text.len() as u64,
                _ => 0,
            };
            burn(REGEX_FUEL + weigh(&cv.1.0).saturating_mul(1 + pattern));
            bome(Ok(cv.1))
        }),
    ];
    functions.into_iter().map(native::run::<Data>)
}

fn not_allowed(what: &str) -> FilterError {
    FilterError(format!("a peer's filter may not use {what}"))
}

type Guarded<'s> = Result<Term<&'s str>, FilterError>;

fn pipe<'s>(left: Term<&'s str>, right: Term<&'s str>) -> Term<&'s str> {
    Term::BinOp(Box::new(left), BinaryOp::Pipe(None), Box::new(right))
}

fn call(name: &str) -> Term<&str> {
    Term::Call(name, Vec::new())
}

/// Makes of a program the same program that burns fuel; an error names what a peer may not use.
#[derive(Default)]
struct Guard {
    depth: usize,
}

impl Guard {
    /// Guards a term and charges each of its outputs, but for those that have exactly one and make nothing new.
    fn charged<'s>(&mut self, term: Term<&'s str>) -> Guarded<'s> {
        let single = matches!(term, Term::Id | Term::Num(_) | Term::Var(_));
        let guarded = self.guard(term)?;
        Ok(if single { guarded } else { pipe(guarded, call("charge")) })
    }

    fn charged_box<'s>(&mut self, term: Term<&'s str>) -> Result<Box<Term<&'s str>>, FilterError> {
        self.charged(term).map(Box::new)
    }

    /// Guards a term and weighs each of its outputs.
    fn weighed<'s>(&mut self, term: Term<&'s str>) -> Guarded<'s> {
        Ok(pipe(self.guard(term)?, call("weigh")))
    }

    fn number<'s>(&mut self, term: Term<&'s str>) -> Guarded<'s> {
        Ok(pipe(self.guard(term)?, call("weigh_number")))
    }

    fn guard<'s>(&mut self, term: Term<&'s str>) -> Guarded<'s> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(FilterError(format!("a peer's jq program may be nested {MAX_DEPTH} levels deep at most")));
        }
        let guarded = match term {
            Term::Id | Term::Recurse | Term::Num(_) | Term::Var(_) | Term::Arr(None) => term,
            Term::Str(None, parts) => {
                let parts = parts.into_iter().map(|part| match part {
                    StrPart::Term(term) => self.weighed(term).map(StrPart::Term),
                    other => Ok(other),
                });
                pipe(Term::Str(None, parts.collect::<Result<_, _>>()?), call("weigh"))
            }
            Term::Str(Some(_), _) => return Err(not_allowed("formats like @base64")),
            Term::Arr(Some(items)) => pipe(Term::Arr(Some(self.charged_box(*items)?)), call("weigh")),
            Term::Obj(entries) => self.object(entries)?,
            Term::Neg(term) => pipe(Term::Neg(self.charged_box(*term)?), call("weigh")),
            Term::BinOp(left, operator, right) => self.binary(*left, operator, *right)?,
            Term::TryCatch(term, catch) => {
                let catch = catch.map(|catch| self.charged_box(*catch)).transpose()?;
                Term::TryCatch(self.charged_box(*term)?, catch)
            }
            Term::IfThenElse(branches, otherwise) => {
                let otherwise = otherwise.map(|otherwise| self.charged_box(*otherwise)).transpose()?;
                let branches = branches.into_iter().map(|(test, then)| Ok((self.charged(test)?, self.charged(then)?)));
                Term::IfThenElse(branches.collect::<Result<_, FilterError>>()?, otherwise)
            }
            Term::Call(name, arguments) => self.function(name, arguments)?,
            Term::Path(of, Path(parts)) => {
                let of = self.charged_box(*of)?;
                let parts = parts.into_iter().map(|(part, optional)| {
                    let part = match part {
                        Part::Index(index) => Part::Index(self.weighed(index)?),
                        Part::Range(from, to) => {
                            let from = from.map(|from| self.weighed(from)).transpose()?;
                            Part::Range(from, to.map(|to| self.weighed(to)).transpose()?)
                        }
                    };
                    Ok((part, optional))
                });
                Term::Path(of, Path(parts.collect::<Result<_, FilterError>>()?))
            }
            Term::Def(..) => return Err(not_allowed("definitions")),
            Term::Fold(name, ..) => return Err(not_allowed(name)),
            Term::Label(..) | Term::Break(_) => return Err(not_allowed("labels")),
        };
        self.depth -= 1;
        Ok(guarded)
    }

    fn object<'s>(&mut self, entries: Vec<(Term<&'s str>, Option<Term<&'s str>>)>) -> Guarded<'s> {
        let entries = entries.into_iter().map(|(key, value)| match value {
            Some(value) => Ok((self.weighed(key)?, Some(self.weighed(value)?))),
            // `{name}` and `{$name}`: the key says what the value is, so it has to stay as it is.
            None if matches!(key, Term::Var(_)) || is_plain(&key) => Ok((key, None)),
            None => Err(not_allowed("keys that are calculated")),
        });
        Ok(pipe(Term::Obj(entries.collect::<Result<_, FilterError>>()?), call("weigh")))
    }

    fn binary<'s>(&mut self, left: Term<&'s str>, operator: BinaryOp<&'s str>, right: Term<&'s str>) -> Guarded<'s> {
        let (left, right, makes) = match &operator {
            BinaryOp::Comma => return self.list(left, right),
            BinaryOp::Pipe(None | Some(Pattern::Var(_))) | BinaryOp::Alt | BinaryOp::Or | BinaryOp::And => {
                (self.charged(left)?, self.charged(right)?, false)
            }
            BinaryOp::Cmp(_) => (self.weighed(left)?, self.weighed(right)?, false),
            BinaryOp::Math(Math::Add) => (self.weighed(left)?, self.weighed(right)?, true),
            BinaryOp::Math(_) => (self.number(left)?, self.number(right)?, true),
            BinaryOp::Pipe(Some(_)) => return Err(not_allowed("patterns")),
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => {
                return Err(not_allowed("assignments"));
            }
        };
        let term = Term::BinOp(Box::new(left), operator, Box::new(right));
        Ok(if makes { pipe(term, call("weigh")) } else { term })
    }

    /// `a, b, c, …` as a tree of little depth, however long the list is.
    fn list<'s>(&mut self, left: Term<&'s str>, right: Term<&'s str>) -> Guarded<'s> {
        let mut rest = vec![right, left];
        let mut items = Vec::new();
        while let Some(term) = rest.pop() {
            match term {
                Term::BinOp(left, BinaryOp::Comma, right) => rest.extend([*right, *left]),
                item => items.push(self.charged(item)?),
            }
        }
        while items.len() > 1 {
            let mut pairs = Vec::with_capacity(items.len().div_ceil(2));
            let mut singles = items.into_iter();
            while let Some(first) = singles.next() {
                pairs.push(match singles.next() {
                    Some(second) => Term::BinOp(Box::new(first), BinaryOp::Comma, Box::new(second)),
                    None => first,
                });
            }
            items = pairs;
        }
        Ok(items.pop().unwrap_or_default())
    }

    fn function<'s>(&mut self, name: &'s str, arguments: Vec<Term<&'s str>>) -> Guarded<'s> {
        let count = arguments.len();
        let is_in =
            |list: &[(&str, &[usize])]| list.iter().any(|(known, counts)| *known == name && counts.contains(&count));
        if is_in(&LIGHT) {
            let arguments = arguments.into_iter().map(|argument| self.charged(argument));
            return Ok(Term::Call(name, arguments.collect::<Result<_, _>>()?));
        }
        let before = match (name, &arguments[..]) {
            _ if is_in(&HEAVY) => call("weigh"),
            ("contains", [part]) => Term::Call("weigh_with", vec![self.weighed(part.clone())?]),
            ("test", [pattern] | [pattern, _]) => {
                if !arguments.iter().all(is_plain) || has_counts(pattern) {
                    return Err(not_allowed("regular expressions that are calculated or count with {}"));
                }
                Term::Call("weigh_regex", vec![pattern.clone()])
            }
            _ => return Err(not_allowed(&format!("{name}/{count}"))),
        };
        let arguments = arguments.into_iter().map(|argument| self.weighed(argument));
        let called = Term::Call(name, arguments.collect::<Result<_, _>>()?);
        Ok(pipe(pipe(before, called), call("weigh")))
    }
}

/// Whether a term is a text that is written out.
fn is_plain(term: &Term<&str>) -> bool {
    matches!(term, Term::Str(None, parts) if !parts.iter().any(|part| matches!(part, StrPart::Term(_))))
}

/// Whether a pattern repeats a counted number of times, which multiplies its size.
fn has_counts(pattern: &Term<&str>) -> bool {
    let Term::Str(_, parts) = pattern else { return true };
    parts.iter().any(|part| match part {
        StrPart::Str(text) => text.contains('{'),
        StrPart::Char(c) => *c == '{',
        StrPart::Term(_) => true,
    })
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
