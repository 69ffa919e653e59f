//! A program made so that it can be stopped.
//!
//! Looks (by a call of `~tick`) are put where a run can go round and round: at the start of each definition, behind
//! everything that yields many values, and before the first half of a list. Each hands on its input, or ends the run by
//! unwinding, which no `try` can catch. `*` becomes a function, since a text times a number can be any length.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Def, Pattern, Term};
use jaq_core::native::{self, bome};
use jaq_core::ops::Math;
use jaq_core::path::{Part, Path};
use jaq_core::{Native, RunPtr};
use jaq_json::Val;

use super::engine::{Value, float};
use super::{Data, engine};
use crate::filter::apart;

/// No program can name these: they are not words of jq.
const TICK: &str = "~tick";
const TIMES: &str = "~times";
/// Longest text that `*` makes where a run may not take long.
const QUICK_TEXT: f64 = 256.0;
/// Longest text that `*` makes at all.
pub(super) const MAX_TEXT: usize = 256 * 1024 * 1024;

/// Factors up to this one need no looking after where a run is quick.
pub(super) const SMALL: f64 = 10.0;

/// The functions that rewritten programs call.
pub(super) fn functions() -> [native::Fun<Data>; 2] {
    let tick = Native::<Data>::new(|cv| {
        apart::tick();
        bome(Ok(cv.1))
    })
    .with_paths(|cv| {
        apart::tick();
        Box::new(std::iter::once(Ok(cv.1)))
    })
    .with_update(|cv, update| {
        apart::tick();
        update(cv.1)
    });
    let times: native::Filter<RunPtr<Data>> = (TIMES, native::v(2), |mut cv| {
        let right = cv.0.pop_var();
        let left = cv.0.pop_var();
        bome(times(left, right))
    });
    [(TICK, native::v(0), tick), native::run::<Data>(times)]
}

fn times(left: Value, right: Value) -> Result<Value, engine::Error> {
    if let (Val::TStr(text) | Val::BStr(text), Val::Num(number))
    | (Val::Num(number), Val::TStr(text) | Val::BStr(text)) = (&left.0, &right.0)
    {
        let length = text.len() as f64 * float(number);
        if length > QUICK_TEXT {
            apart::not_quick();
        }
    }
    left * right
}

/// Rewrites terms; `ticks` says whether they are to be looked after.
#[derive(Clone, Copy)]
pub(super) struct Rewrite {
    pub(super) ticks: bool,
}

fn call(name: &str) -> Term<&str> {
    Term::Call(name, Vec::new())
}

fn pipe<'s>(left: Term<&'s str>, right: Term<&'s str>) -> Term<&'s str> {
    Term::BinOp(Box::new(left), BinaryOp::Pipe(None), Box::new(right))
}

/// Whether a factor is one that is written out and small.
fn is_small(term: &Term<&str>) -> bool {
    matches!(term, Term::Num(text) if text.parse::<f64>().is_ok_and(|number| number <= SMALL))
}

impl Rewrite {
    /// A definition, which is looked after at its start.
    pub(super) fn definition(self, definition: Def<&str>) -> Def<&str> {
        let body = self.term(definition.body);
        let body = if self.ticks { pipe(call(TICK), body) } else { body };
        Def { body, ..definition }
    }

    /// A term that yields many values.
    fn many(self, term: Term<&str>) -> Term<&str> {
        if self.ticks { pipe(term, call(TICK)) } else { term }
    }

    #[allow(clippy::boxed_local)] // As it stands in a term.
    fn boxed(self, term: Box<Term<&str>>) -> Box<Term<&str>> {
        Box::new(self.term(*term))
    }

    fn terms(self, terms: Vec<Term<&str>>) -> Vec<Term<&str>> {
        terms.into_iter().map(|term| self.term(term)).collect()
    }

    fn pattern(self, pattern: Pattern<&str>) -> Pattern<&str> {
        match pattern {
            Pattern::Var(name) => Pattern::Var(name),
            Pattern::Arr(parts) => Pattern::Arr(parts.into_iter().map(|part| self.pattern(part)).collect()),
            Pattern::Obj(entries) => {
                let entry = |(key, part)| (self.term(key), self.pattern(part));
                Pattern::Obj(entries.into_iter().map(entry).collect())
            }
        }
    }

    pub(super) fn term(self, term: Term<&str>) -> Term<&str> {
        match term {
            Term::Id | Term::Num(_) | Term::Arr(None) | Term::Break(_) | Term::Var(_) => term,
            Term::Recurse => self.many(term),
            Term::Str(format, parts) => {
                let part = |part| match part {
                    StrPart::Term(term) => StrPart::Term(self.term(term)),
                    other => other,
                };
                Term::Str(format, parts.into_iter().map(part).collect())
            }
            Term::Arr(Some(items)) => Term::Arr(Some(self.boxed(items))),
            Term::Obj(entries) => {
                // `{"a"}` and `{$x}`: the key says what the value is, so it stays as it is.
                let entry = |(key, value): (_, Option<_>)| match value {
                    None => (key, None),
                    Some(value) => (self.term(key), Some(self.term(value))),
                };
                Term::Obj(entries.into_iter().map(entry).collect())
            }
            Term::Neg(term) => Term::Neg(self.boxed(term)),
            Term::BinOp(left, operator, right) => self.binary(*left, operator, *right),
            Term::Label(name, term) => Term::Label(name, self.boxed(term)),
            Term::Fold(name, items, pattern, terms) => {
                Term::Fold(name, Box::new(self.many(self.term(*items))), self.pattern(pattern), self.terms(terms))
            }
            Term::TryCatch(term, catch) => Term::TryCatch(self.boxed(term), catch.map(|catch| self.boxed(catch))),
            Term::IfThenElse(branches, otherwise) => {
                let branches = branches.into_iter().map(|(test, then)| (self.term(test), self.term(then)));
                Term::IfThenElse(branches.collect(), otherwise.map(|otherwise| self.boxed(otherwise)))
            }
            Term::Def(definitions, body) => {
                let definitions = definitions.into_iter().map(|definition| self.definition(definition));
                Term::Def(definitions.collect(), self.boxed(body))
            }
            Term::Call(name, arguments) => {
                let yields_many = name == "range" && !arguments.is_empty();
                let called = Term::Call(name, self.terms(arguments));
                if yields_many { self.many(called) } else { called }
            }
            Term::Path(of, Path(parts)) => {
                let mut iterates = false;
                let part = |(part, optional)| {
                    let part = match part {
                        Part::Index(index) => Part::Index(self.term(index)),
                        Part::Range(from, to) => {
                            iterates |= from.is_none() && to.is_none();
                            Part::Range(from.map(|from| self.term(from)), to.map(|to| self.term(to)))
                        }
                    };
                    (part, optional)
                };
                let parts = Path(parts.into_iter().map(part).collect());
                let path = Term::Path(self.boxed(of), parts);
                if iterates { self.many(path) } else { path }
            }
        }
    }

    fn binary<'s>(self, left: Term<&'s str>, operator: BinaryOp<&'s str>, right: Term<&'s str>) -> Term<&'s str> {
        let is_small = !self.ticks && (is_small(&left) || is_small(&right));
        let (left, right) = (self.term(left), self.term(right));
        let operator = match operator {
            BinaryOp::Math(Math::Mul) if !is_small => return Term::Call(TIMES, vec![left, right]),
            // `a *= b` is `b as $x | a |= . * $x`.
            BinaryOp::UpdateMath(Math::Mul) => {
                let product = Term::Call(TIMES, vec![Term::Id, Term::Var("$~factor")]);
                let update = Term::BinOp(Box::new(left), BinaryOp::Update, Box::new(product));
                let factor = BinaryOp::Pipe(Some(Pattern::Var("$~factor")));
                return Term::BinOp(Box::new(right), factor, Box::new(update));
            }
            BinaryOp::Pipe(Some(pattern)) => BinaryOp::Pipe(Some(self.pattern(pattern))),
            other => other,
        };
        let left = if self.ticks && matches!(operator, BinaryOp::Comma) { pipe(call(TICK), left) } else { left };
        Term::BinOp(Box::new(left), operator, Box::new(right))
    }
}
