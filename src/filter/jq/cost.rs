//! What a run of a program can cost, worked out before it runs.
//!
//! Each term is given a bound for the number, the size and the work of its outputs, as `factor * n^power` of the size `n` of
//! what is in scope. A program of which every term has one is quick for values that are small enough: it runs where it
//! stands. All others (those that define, fold, recurse or call what is not listed here) run apart, with limits.

use jaq_core::load::lex::StrPart;
use jaq_core::load::parse::{BinaryOp, Pattern, Term};
use jaq_core::ops::Math;
use jaq_core::path::{Part, Path};

/// What a run may take to be quick.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Units of work, about a nanosecond each, for a value of any size.
    pub(super) work: f64,
    /// As many again for each of its bytes.
    pub(super) per_byte: f64,
    /// Bytes of a value.
    pub(super) size: f64,
    /// Deepest value, which `..` visits a level at a time.
    pub(super) levels: usize,
}

/// For programs of the user of this process, on any message.
pub(super) const IN_PLACE: Room = Room { work: 500_000.0, per_byte: 0.0, size: 1e6, levels: super::MAX_INPUT_DEPTH };
/// Nesting beyond which a program is not looked at.
const MAX_DEPTH: usize = 256;
/// What a byte of a regular expression costs to make at most: a class of characters has many ranges.
const REGEX_BYTE: f64 = 2000.0;

/// At most `factor * n^power`.
#[derive(Debug, Clone, Copy)]
struct Bound {
    factor: f64,
    power: i32,
}

const ONE: Bound = Bound { factor: 1.0, power: 0 };

impl Bound {
    fn linear(factor: f64) -> Self {
        Self { factor, power: 1 }
    }

    fn constant(factor: f64) -> Self {
        Self { factor, power: 0 }
    }

    fn plus(self, other: Self) -> Self {
        Self { factor: self.factor + other.factor, power: self.power.max(other.power) }
    }

    fn times(self, other: Self) -> Self {
        Self { factor: self.factor * other.factor, power: self.power + other.power }
    }

    /// Of something done for each of `count` outputs, when this is the bound for all of them as one; `shares` says
    /// whether each looks at something beside its own input.
    fn spread(self, count: Self, shares: bool) -> Self {
        if count.power == 0 || shares {
            return self.times(count);
        }
        Self { factor: self.factor * (1.0 + count.factor), power: self.power.max(count.power) }
    }
}

/// Bounds of a term.
#[derive(Debug, Clone, Copy)]
struct Flow {
    count: Bound,
    size: Bound,
    work: Bound,
}

/// One output of this size, which costs as much.
fn one(size: Bound) -> Flow {
    Flow { count: ONE, size: size.plus(ONE), work: size.plus(ONE) }
}

/// The largest size of a value for which a run is quick; 0 when none is.
pub(super) fn quick_size(program: &Term<&str>, room: Room) -> usize {
    let mut costs = Costs { variables: Vec::new(), depth: 0, levels: room.levels as f64 };
    let Some(flow) = costs.term(program, Bound::linear(1.0)) else { return 0 };
    let work = flow.work.plus(flow.size).plus(flow.count);
    if work.factor > room.work {
        return 0;
    }
    let largest = match work.power {
        0 => f64::MAX,
        1 if work.factor <= room.per_byte => f64::MAX,
        1 => room.work / (work.factor - room.per_byte),
        power => (room.work / work.factor).powf(1.0 / f64::from(power)),
    };
    // What is only a few bytes long would be looked at for nothing.
    #[allow(clippy::cast_sign_loss)] // It is not negative.
    if largest < 16.0 { 0 } else { largest.min(room.size) as usize }
}

struct Costs<'s> {
    variables: Vec<(&'s str, Bound)>,
    depth: usize,
    levels: f64,
}

impl<'s> Costs<'s> {
    fn term(&mut self, term: &Term<&'s str>, input: Bound) -> Option<Flow> {
        self.depth += 1;
        let flow = (self.depth < MAX_DEPTH).then(|| self.known(term, input)).flatten();
        self.depth -= 1;
        flow
    }

    fn known(&mut self, term: &Term<&'s str>, input: Bound) -> Option<Flow> {
        Some(match term {
            Term::Id | Term::Arr(None) => Flow { work: ONE, ..one(input) },
            Term::Num(_) => one(ONE),
            Term::Var(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                // The global ones: what is not a part of the message is small, or the user's own.
                let size = known.map_or(Bound::linear(1.0).plus(Bound::constant(1000.0)), |(_, size)| *size);
                Flow { work: ONE, ..one(size) }
            }
            Term::Recurse => {
                let all = Bound::constant(self.levels).times(input);
                Flow { count: input, size: all, work: input }
            }
            Term::Str(None, parts) => self.text(parts, input)?,
            Term::Arr(Some(items)) => {
                let items = self.term(items, input)?;
                let size = items.size.plus(items.count);
                Flow { count: ONE, size, work: items.work.plus(size) }
            }
            Term::Obj(entries) => self.object(entries, input)?,
            Term::Neg(term) => self.term(term, input)?,
            Term::BinOp(left, operator, right) => self.binary(left, operator, right, input)?,
            Term::TryCatch(term, catch) => {
                let tried = self.term(term, input)?;
                match catch {
                    None => tried,
                    Some(catch) => either(tried, self.term(catch, input.plus(tried.size))?),
                }
            }
            Term::IfThenElse(branches, otherwise) => self.branches(branches, otherwise.as_deref(), input)?,
            Term::Path(of, Path(parts)) => self.path(of, parts, input)?,
            Term::Call(name, arguments) => self.call(name, arguments, input)?,
            Term::Str(Some(_), _) | Term::Def(..) | Term::Fold(..) | Term::Label(..) | Term::Break(_) => return None,
        })
    }

    fn text(&mut self, parts: &[StrPart<&'s str, Term<&'s str>>], input: Bound) -> Option<Flow> {
        let (mut flow, mut length) = (Flow { count: ONE, size: ONE, work: ONE }, ONE);
        for part in parts {
            match part {
                StrPart::Str(text) => length = length.plus(Bound::constant(text.len() as f64)),
                StrPart::Char(_) => length = length.plus(ONE),
                StrPart::Term(term) => {
                    let part = self.term(term, input)?;
                    flow.work = flow.work.plus(part.work.times(flow.count));
                    flow.count = flow.count.times(part.count);
                    // Escapes make a text longer.
                    length = length.plus(part.size.times(Bound::constant(2.0)));
                }
            }
        }
        flow.size = length.times(flow.count);
        flow.work = flow.work.plus(flow.size);
        Some(flow)
    }

    fn object(&mut self, entries: &[(Term<&'s str>, Option<Term<&'s str>>)], input: Bound) -> Option<Flow> {
        let (mut count, mut size, mut work) = (ONE, ONE, ONE);
        for (key, value) in entries {
            let key_flow = self.term(key, input)?;
            let value_flow = match (key, value) {
                (_, Some(value)) => self.term(value, input)?,
                (Term::Var(_), None) => key_flow,
                (_, None) => one(input),
            };
            count = count.times(key_flow.count).times(value_flow.count);
            size = size.plus(key_flow.size).plus(value_flow.size);
            work = work.plus(key_flow.work).plus(value_flow.work);
        }
        Some(Flow { count, size: size.times(count), work: work.plus(size).times(count) })
    }

    fn branches(
        &mut self,
        branches: &[(Term<&'s str>, Term<&'s str>)],
        otherwise: Option<&Term<&'s str>>,
        input: Bound,
    ) -> Option<Flow> {
        let mut all = match otherwise {
            Some(otherwise) => self.term(otherwise, input)?,
            None => one(input),
        };
        for (test, then) in branches.iter().rev() {
            let test = self.term(test, input)?;
            let either = either(self.term(then, input)?, all);
            all = Flow {
                count: either.count.times(test.count),
                size: either.size.times(test.count),
                work: either.work.times(test.count).plus(test.work),
            };
        }
        Some(all)
    }

    fn path(
        &mut self,
        of: &Term<&'s str>,
        parts: &[(Part<Term<&'s str>>, jaq_core::path::Opt)],
        input: Bound,
    ) -> Option<Flow> {
        let mut flow = self.term(of, input)?;
        for (part, _) in parts {
            let index = match part {
                Part::Index(index) => self.term(index, input)?,
                Part::Range(None, None) => Flow { count: flow.size, size: ONE, work: flow.size },
                Part::Range(from, to) => {
                    let mut ends = one(ONE);
                    for end in [from, to].into_iter().flatten() {
                        let end = self.term(end, input)?;
                        ends = Flow {
                            count: ends.count.times(end.count),
                            size: ends.size.plus(end.size),
                            work: ends.work.plus(end.work).plus(flow.size),
                        };
                    }
                    ends
                }
            };
            flow.work = flow.work.plus(index.work);
            if matches!(part, Part::Range(None, None)) {
                flow.count = flow.size;
            } else {
                flow.count = flow.count.times(index.count);
                flow.size = flow.size.times(index.count);
                flow.work = flow.work.plus(flow.count);
            }
        }
        Some(flow)
    }

    /// `then` for each output of `first`.
    fn pipe(&mut self, first: Flow, then: &Term<&'s str>) -> Option<Flow> {
        let second = self.term(then, first.size)?;
        let shares = has_variable(then);
        Some(Flow {
            count: second.count.spread(first.count, shares),
            size: second.size.spread(first.count, shares),
            work: second.work.spread(first.count, shares).plus(first.work),
        })
    }

    fn binary(
        &mut self,
        left: &Term<&'s str>,
        operator: &BinaryOp<&'s str>,
        right: &Term<&'s str>,
        input: Bound,
    ) -> Option<Flow> {
        let first = self.term(left, input)?;
        if let BinaryOp::Pipe(None) = operator {
            return self.pipe(first, right);
        }
        if let BinaryOp::Pipe(Some(pattern)) = operator {
            let before = self.variables.len();
            bind(pattern, first.size, &mut self.variables)?;
            let body = self.term(right, input);
            self.variables.truncate(before);
            let body = body?;
            return Some(Flow {
                count: body.count.times(first.count),
                size: body.size.times(first.count),
                work: body.work.times(first.count).plus(first.work),
            });
        }
        let second = self.term(right, input)?;
        let count = first.count.times(second.count);
        let both = first.size.times(second.count).plus(second.size.times(first.count));
        let work = first.work.plus(second.work.times(first.count));
        Some(match operator {
            BinaryOp::Comma | BinaryOp::Alt => either(first, second),
            BinaryOp::Or | BinaryOp::And => Flow { count, size: count, work },
            BinaryOp::Cmp(_) => Flow { count, size: count, work: work.plus(both) },
            // A text times a number: a run looks after it where the number is not a small one.
            BinaryOp::Math(Math::Mul) => {
                let both = both.times(Bound::constant(super::rewrite::SMALL));
                Flow { count, size: both, work: work.plus(both) }
            }
            BinaryOp::Math(_) => Flow { count, size: both, work: work.plus(both) },
            BinaryOp::Assign | BinaryOp::UpdateAlt => assigned(first, second, input),
            BinaryOp::UpdateMath(operator) if *operator != Math::Mul => assigned(first, second, input),
            BinaryOp::Update => {
                let new = self.pipe(first, right)?;
                Flow { count: ONE, size: input.plus(new.size), work: first.work.plus(new.work).plus(input) }
            }
            BinaryOp::UpdateMath(_) | BinaryOp::Pipe(_) => return None,
        })
    }

    #[allow(clippy::unnested_or_patterns)] // Names are in groups.
    fn call(&mut self, name: &str, arguments: &[Term<&'s str>], input: Bound) -> Option<Flow> {
        let whole = one(input);
        Some(match (name, arguments) {
            ("empty" | "error" | "not" | "true" | "false" | "null" | "now" | "uuid" | "infinite" | "nan", []) => {
                Flow { size: ONE.plus(input), ..one(ONE) }
            }
            (
                "strings" | "numbers" | "booleans" | "nulls" | "arrays" | "objects" | "iterables" | "scalars"
                | "values",
                [],
            )
            | ("type" | "isnumber" | "isstring" | "isboolean" | "isarray" | "isobject" | "first" | "last", []) => whole,
            ("keys" | "keys_unsorted" | "to_entries" | "from_entries" | "reverse", [])
            | ("sort" | "unique" | "min" | "max" | "any" | "all" | "abs" | "floor" | "ceil" | "round" | "sqrt", [])
            | ("tostring" | "tonumber" | "tojson" | "fromjson" | "ascii_downcase" | "ascii_upcase" | "trim", [])
            | ("ltrim" | "rtrim" | "toarray" | "isnan" | "isinfinite" | "isnormal" | "isfinite" | "explode", [])
            | ("fromdate" | "todate" | "fromdateiso8601" | "todateiso8601" | "@json" | "@text" | "@csv" | "@tsv", [])
            | ("@base64" | "@base64d" | "@uri" | "@html", []) => {
                let size = input.times(Bound::constant(8.0));
                Flow { count: ONE, size, work: size.plus(ONE) }
            }
            ("length" | "utf8bytelength", []) => Flow { work: input.plus(ONE), ..one(ONE) },
            // Each sum of texts or lists is a new one.
            ("add", []) => Flow { work: input.times(input).times(Bound::constant(1.0 / 64.0)).plus(input), ..whole },
            ("select", [test]) => {
                let test = self.term(test, input)?;
                Flow { count: test.count, size: input.times(test.count), work: test.work.plus(test.count) }
            }
            ("map" | "map_values", [body]) => {
                let each = self.pipe(Flow { count: input, size: input, work: input }, body)?;
                let size = each.size.plus(each.count);
                Flow { count: ONE, size, work: each.work.plus(size) }
            }
            ("any" | "all" | "min_by" | "max_by" | "sort_by" | "unique_by" | "group_by", [body]) => {
                let each = self.pipe(Flow { count: input, size: input, work: input }, body)?;
                Flow { work: each.work.plus(each.size).plus(input), ..whole }
            }
            ("any" | "all", [items, test]) => {
                let items = self.term(items, input)?;
                Flow { work: self.pipe(items, test)?.work, ..one(ONE) }
            }
            ("first" | "isempty" | "error" | "del" | "add", [body]) => {
                let body = self.term(body, input)?;
                let adds = body.size.times(body.size).times(Bound::constant(1.0 / 64.0));
                let adds = if name == "add" { adds } else { ONE };
                Flow { count: ONE, size: input.plus(body.size), work: body.work.plus(body.size).plus(input).plus(adds) }
            }
            ("has" | "startswith" | "endswith" | "ltrimstr" | "rtrimstr" | "split" | "join", [argument]) => {
                let argument = self.term(argument, input)?;
                let size = input.plus(argument.size.times(input)).times(argument.count);
                let size = if name == "join" { size } else { input.plus(argument.size).times(argument.count) };
                Flow { count: argument.count, size, work: argument.work.plus(size) }
            }
            ("contains" | "inside" | "index" | "rindex" | "indices", [argument]) => {
                let argument = self.term(argument, input)?;
                let work = input.times(argument.size).plus(argument.work);
                Flow { count: argument.count, size: input.times(argument.count), work }
            }
            ("IN", [items]) => {
                let items = self.term(items, input)?;
                Flow { work: items.work.plus(items.size).plus(input.times(items.count)), ..one(ONE) }
            }
            // Made anew for each input, whose size its own does not depend on.
            ("test", [pattern @ Term::Str(None, parts)] | [pattern @ Term::Str(None, parts), _])
                if !has_parts(pattern) && !has_counts(pattern) =>
            {
                let length = |part: &StrPart<&str, _>| if let StrPart::Str(text) = part { text.len() } else { 1 };
                let length: usize = parts.iter().map(length).sum();
                let making = Bound::constant(REGEX_BYTE * (1 + length) as f64);
                Flow { work: making.plus(input.times(Bound::constant(4.0))), ..one(ONE) }
            }
            _ => return None,
        })
    }
}

fn either(first: Flow, second: Flow) -> Flow {
    Flow {
        count: first.count.plus(second.count),
        size: first.size.plus(second.size),
        work: first.work.plus(second.work),
    }
}

/// The input with another value at each of these places, for each of these values.
fn assigned(places: Flow, values: Flow, input: Bound) -> Flow {
    let size = input.plus(places.count.times(values.size)).times(values.count);
    Flow { count: values.count, size, work: places.work.plus(values.work).plus(size) }
}

fn bind<'s>(pattern: &Pattern<&'s str>, size: Bound, variables: &mut Vec<(&'s str, Bound)>) -> Option<()> {
    match pattern {
        Pattern::Var(name) => variables.push((name, size)),
        Pattern::Arr(parts) => parts.iter().try_for_each(|part| bind(part, size, variables))?,
        Pattern::Obj(entries) => {
            for (key, part) in entries {
                match key {
                    Term::Var(name) => variables.push((name, size)),
                    Term::Str(None, _) if !has_parts(key) => {}
                    _ => return None,
                }
                bind(part, size, variables)?;
            }
        }
    }
    Some(())
}

/// Whether a text holds anything but what is written out.
fn has_parts(term: &Term<&str>) -> bool {
    matches!(term, Term::Str(_, parts) if parts.iter().any(|part| matches!(part, StrPart::Term(_))))
}

/// Whether a pattern repeats a counted number of times, which multiplies its size.
pub(super) fn has_counts(pattern: &Term<&str>) -> bool {
    let Term::Str(_, parts) = pattern else { return true };
    parts.iter().any(|part| match part {
        StrPart::Str(text) => text.contains('{'),
        StrPart::Char(c) => *c == '{',
        StrPart::Term(_) => true,
    })
}

fn has_variable(term: &Term<&str>) -> bool {
    match term {
        Term::Id | Term::Recurse | Term::Num(_) | Term::Arr(None) | Term::Break(_) => false,
        Term::Str(_, parts) => parts.iter().any(|part| matches!(part, StrPart::Term(term) if has_variable(term))),
        Term::Arr(Some(term)) | Term::Neg(term) => has_variable(term),
        Term::Obj(entries) => {
            entries.iter().any(|(key, value)| has_variable(key) || value.as_ref().is_some_and(has_variable))
        }
        Term::BinOp(left, _, right) => has_variable(left) || has_variable(right),
        Term::TryCatch(term, catch) => has_variable(term) || catch.as_deref().is_some_and(has_variable),
        Term::IfThenElse(branches, otherwise) => {
            branches.iter().any(|(test, then)| has_variable(test) || has_variable(then))
                || otherwise.as_deref().is_some_and(has_variable)
        }
        Term::Call(_, arguments) => arguments.iter().any(has_variable),
        Term::Path(of, Path(parts)) => {
            has_variable(of)
                || parts.iter().any(|(part, _)| match part {
                    Part::Index(index) => has_variable(index),
                    Part::Range(from, to) => [from, to].into_iter().flatten().any(has_variable),
                })
        }
        Term::Var(_) | Term::Def(..) | Term::Fold(..) | Term::Label(..) => true,
    }
}
