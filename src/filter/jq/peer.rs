//! jq programs that a peer supplies: a part of jq whose runs end soon.
//!
//! Owns which part that is. Leaves what a run can cost to `cost`, compiling and running to `super`.
//! Invariants: nothing can be defined, folded or assigned, so the cost of a program is known for a message of any size; a
//! program that is not quick for small messages is refused, and one that is not quick for a message does not run on it.

use std::ops::ControlFlow;

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Pattern, Term};
use jaq_core::path::{Part, Path};

use super::cost::{self, Room};
use super::faults::check_size;
use super::{Filter, FilterError, Json, load, value};

/// Longest program of a peer: it also bounds how deep reading it can recurse.
const MAX_SOURCE: usize = 2048;
/// What reading a program recurses for, beside brackets.
const PREFIXES: [&str; 7] = ["-", "try", "if", "as", "def", "reduce", "foreach"];
/// Most of them in a program.
const MAX_PREFIXES: usize = 64;
/// Deepest nesting of a program's terms: compiling recurses.
const MAX_DEPTH: usize = 64;
/// What a run may cost: about a millisecond, more for a large message, on messages of up to so many levels.
const ROOM: Room = Room { work: 1e6, per_byte: 30.0, size: 4e6, levels: 32 };

/// What may be called, with so many arguments.
const CALLS: [(&str, &[usize]); 67] = [
    ("IN", &[1]),
    ("abs", &[0]),
    ("all", &[0, 1, 2]),
    ("any", &[0, 1, 2]),
    ("arrays", &[0]),
    ("ascii_downcase", &[0]),
    ("ascii_upcase", &[0]),
    ("booleans", &[0]),
    ("ceil", &[0]),
    ("contains", &[1]),
    ("empty", &[0]),
    ("endswith", &[1]),
    ("error", &[0, 1]),
    ("false", &[0]),
    ("first", &[0, 1]),
    ("floor", &[0]),
    ("fromdate", &[0]),
    ("fromdateiso8601", &[0]),
    ("fromjson", &[0]),
    ("has", &[1]),
    ("infinite", &[0]),
    ("isarray", &[0]),
    ("isboolean", &[0]),
    ("isempty", &[1]),
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
    ("not", &[0]),
    ("now", &[0]),
    ("null", &[0]),
    ("nulls", &[0]),
    ("numbers", &[0]),
    ("objects", &[0]),
    ("reverse", &[0]),
    ("round", &[0]),
    ("rtrimstr", &[1]),
    ("scalars", &[0]),
    ("select", &[1]),
    ("sort", &[0]),
    ("split", &[1]),
    ("startswith", &[1]),
    ("strings", &[0]),
    ("test", &[1, 2]),
    ("to_entries", &[0]),
    ("toarray", &[0]),
    ("todate", &[0]),
    ("tojson", &[0]),
    ("tonumber", &[0]),
    ("tostring", &[0]),
    ("trim", &[0]),
    ("true", &[0]),
    ("type", &[0]),
    ("utf8bytelength", &[0]),
    ("values", &[0]),
];

/// A compiled program that a peer supplied. It can choose among messages and is safe to run on any of them.
#[derive(Debug, Clone)]
pub(crate) struct PeerFilter(Filter);

impl PeerFilter {
    /// Compiles a peer's program.
    ///
    /// # Errors
    /// When the program is not jq, uses what a peer may not use, or can take long for small messages.
    pub(crate) fn compile(source: &str) -> Result<Self, FilterError> {
        if source.len() > MAX_SOURCE {
            return Err(FilterError(format!("a peer's jq program may have at most {MAX_SOURCE} bytes")));
        }
        let prefixes: usize = PREFIXES.iter().map(|prefix| source.matches(prefix).count()).sum();
        if prefixes > MAX_PREFIXES {
            return Err(FilterError(format!(
                "a peer's jq program may use if, try, as and - at most {MAX_PREFIXES} times"
            )));
        }
        check_size(source)?;
        let Some(term) = load::parse(source, |p| p.term()) else {
            // What is wrong with it is said by the compiler.
            Filter::compile(source)?;
            return Err(not_allowed("modules"));
        };
        let program = Check::default().term(term)?;
        match cost::quick_size(&program, ROOM) {
            0 => Err(FilterError("a peer's filter must be fast for small messages".to_owned())),
            up_to => Filter::quick(source, program, up_to).map(Self),
        }
    }

    /// Whether the first output for a message is neither `false` nor `null`.
    ///
    /// # Errors
    /// When the run fails, or can take long for this message.
    pub(crate) fn matches(&self, message: &Json) -> Result<bool, String> {
        let mut matched = false;
        let mut first = |value: Json| {
            matched = value.is_truthy();
            ControlFlow::Break(())
        };
        let run = if value::too_deep(&message.0, ROOM.levels) { None } else { self.0.run_quick(message, &mut first) };
        run.ok_or_else(|| "the filter takes too long for this message".to_owned())??;
        Ok(matched)
    }
}

fn not_allowed(what: &str) -> FilterError {
    FilterError(format!("a peer's filter may not use {what}"))
}

type Checked<'s> = Result<Term<&'s str>, FilterError>;

/// Looks for what a peer may not use, and names it. The program stays the same, but that long lists become trees.
#[derive(Default)]
struct Check {
    depth: usize,
}

impl Check {
    #[allow(clippy::boxed_local)] // As it stands in a term.
    fn boxed<'s>(&mut self, term: Box<Term<&'s str>>) -> Result<Box<Term<&'s str>>, FilterError> {
        self.term(*term).map(Box::new)
    }

    fn term<'s>(&mut self, term: Term<&'s str>) -> Checked<'s> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(FilterError(format!("a peer's jq program may nest at most {MAX_DEPTH} levels deep")));
        }
        let checked = match term {
            Term::Id | Term::Recurse | Term::Num(_) | Term::Arr(None) | Term::Var(_) => term,
            Term::Str(Some(_), _) => return Err(not_allowed("formats like @base64")),
            Term::Str(None, parts) => {
                let parts = parts.into_iter().map(|part| match part {
                    StrPart::Term(term) => self.term(term).map(StrPart::Term),
                    other => Ok(other),
                });
                Term::Str(None, parts.collect::<Result<_, _>>()?)
            }
            Term::Arr(Some(items)) => Term::Arr(Some(self.boxed(items)?)),
            Term::Obj(entries) => self.object(entries)?,
            Term::Neg(term) => Term::Neg(self.boxed(term)?),
            Term::BinOp(left, operator, right) => self.binary(*left, operator, *right)?,
            Term::TryCatch(term, catch) => {
                let catch = catch.map(|catch| self.boxed(catch)).transpose()?;
                Term::TryCatch(self.boxed(term)?, catch)
            }
            Term::IfThenElse(branches, otherwise) => {
                let otherwise = otherwise.map(|otherwise| self.boxed(otherwise)).transpose()?;
                let branches = branches.into_iter().map(|(test, then)| Ok((self.term(test)?, self.term(then)?)));
                Term::IfThenElse(branches.collect::<Result<_, FilterError>>()?, otherwise)
            }
            Term::Call(name, arguments) => self.function(name, arguments)?,
            Term::Path(of, Path(parts)) => {
                let of = self.boxed(of)?;
                let parts = parts.into_iter().map(|(part, optional)| {
                    let part = match part {
                        Part::Index(index) => Part::Index(self.term(index)?),
                        Part::Range(from, to) => {
                            let from = from.map(|from| self.term(from)).transpose()?;
                            Part::Range(from, to.map(|to| self.term(to)).transpose()?)
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
        Ok(checked)
    }

    fn object<'s>(&mut self, entries: Vec<(Term<&'s str>, Option<Term<&'s str>>)>) -> Checked<'s> {
        let entries = entries.into_iter().map(|(key, value)| match value {
            Some(value) => Ok((self.term(key)?, Some(self.term(value)?))),
            // `{name}` and `{$name}`: the key says what the value is, so it has to stay as it is.
            None if matches!(key, Term::Var(_)) || is_plain(&key) => Ok((key, None)),
            None => Err(not_allowed("computed keys")),
        });
        Ok(Term::Obj(entries.collect::<Result<_, FilterError>>()?))
    }

    fn binary<'s>(&mut self, left: Term<&'s str>, operator: BinaryOp<&'s str>, right: Term<&'s str>) -> Checked<'s> {
        match &operator {
            BinaryOp::Comma => return self.list(left, right),
            BinaryOp::Pipe(None | Some(Pattern::Var(_)))
            | BinaryOp::Alt
            | BinaryOp::Or
            | BinaryOp::And
            | BinaryOp::Cmp(_)
            | BinaryOp::Math(_) => {}
            BinaryOp::Pipe(Some(_)) => return Err(not_allowed("patterns")),
            BinaryOp::Assign | BinaryOp::Update | BinaryOp::UpdateMath(_) | BinaryOp::UpdateAlt => {
                return Err(not_allowed("assignments"));
            }
        }
        Ok(Term::BinOp(Box::new(self.term(left)?), operator, Box::new(self.term(right)?)))
    }

    /// `a, b, c, …` as a tree of little depth, however long the list is.
    fn list<'s>(&mut self, left: Term<&'s str>, right: Term<&'s str>) -> Checked<'s> {
        let mut rest = vec![right, left];
        let mut items = Vec::new();
        while let Some(term) = rest.pop() {
            match term {
                Term::BinOp(left, BinaryOp::Comma, right) => rest.extend([*right, *left]),
                item => items.push(self.term(item)?),
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

    fn function<'s>(&mut self, name: &'s str, arguments: Vec<Term<&'s str>>) -> Checked<'s> {
        let count = arguments.len();
        if !CALLS.iter().any(|(known, counts)| *known == name && counts.contains(&count)) {
            return Err(not_allowed(&format!("{name}/{count}")));
        }
        if name == "test" && (!arguments.iter().all(is_plain) || cost::has_counts(&arguments[0])) {
            return Err(not_allowed("regular expressions that are computed or repeat with {}"));
        }
        let arguments = arguments.into_iter().map(|argument| self.term(argument));
        Ok(Term::Call(name, arguments.collect::<Result<_, _>>()?))
    }
}

/// Whether a term is a text that is written out.
fn is_plain(term: &Term<&str>) -> bool {
    matches!(term, Term::Str(None, parts) if !parts.iter().any(|part| matches!(part, StrPart::Term(_))))
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
