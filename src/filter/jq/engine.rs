//! What paths do to values, as jq does it.
//!
//! Owns [`Value`], the value jaq computes with: a wrapper of jaq's own that follows jq where the two differ. An assignment
//! makes what its path lacks, indices may be fractions, and errors say what jq's say. Leaves arithmetic to `operators` and
//! functions with names to `natives`. Invariant: no assignment makes an array longer than [`MAX_INDEX`] items.

use std::fmt;

use jaq_core::path::Opt;
use jaq_core::val::Range;
use jaq_core::{Exn, ValR, ValX};
use jaq_json::{Map, Num, Rc, Val};

use crate::filter::apart;

/// Highest index at which an assignment makes an array longer.
const MAX_INDEX: usize = (1 << 24) - 1;
/// Items by which an assignment makes an array longer where a run may not take long.
const QUICK_GROWTH: usize = 256;
/// Bytes of a value that an error quotes.
const MAX_QUOTE: usize = 29;

/// A value jaq computes with.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Value(pub(super) Val);

pub(super) type Error = jaq_core::Error<Value>;

pub(super) fn error(text: impl fmt::Display) -> Error {
    Error::str(text)
}

/// What jq calls the kind of a value.
pub(super) fn kind(value: &Val) -> &'static str {
    match value {
        Val::Null => "null",
        Val::Bool(_) => "boolean",
        Val::Num(_) => "number",
        Val::TStr(_) | Val::BStr(_) => "string",
        Val::Arr(_) => "array",
        Val::Obj(_) => "object",
    }
}

/// `number (5)`, shortened as jq does it.
pub(super) fn named(value: &Val) -> String {
    format!("{} ({})", kind(value), quote(value))
}

/// A value as JSON of bounded length.
pub(super) fn quote(value: &Val) -> String {
    let text = match value {
        // The rest of a long text is never written.
        Val::TStr(bytes) | Val::BStr(bytes) if bytes.len() > MAX_QUOTE => {
            let part = String::from_utf8_lossy(&bytes[..=MAX_QUOTE]);
            let mut out = Vec::new();
            super::value::write_value(&mut out, &Val::utf8_str(part.into_owned()));
            String::from_utf8_lossy(&out).into_owned()
        }
        value if super::value::too_deep(value, super::value::MAX_OUTPUT_DEPTH) => return "...".to_owned(),
        value => {
            let mut out = Vec::new();
            super::value::write_value(&mut out, value);
            String::from_utf8_lossy(&out).into_owned()
        }
    };
    if text.len() <= MAX_QUOTE {
        return text;
    }
    let end = match text.as_bytes()[0] {
        b'"' => "\"",
        b'[' => "]",
        b'{' => "}",
        _ => "",
    };
    let mut room = MAX_QUOTE - 3 - end.len();
    while !text.is_char_boundary(room) {
        room -= 1;
    }
    format!("{}...{end}", &text[..room])
}

/// `number (5) cannot be negated`
pub(super) fn wrong(value: &Val, what: &str) -> Error {
    error(format_args!("{} {what}", named(value)))
}

pub(super) fn wrong_pair(left: &Val, right: &Val, what: &str) -> Error {
    error(format_args!("{} and {} {what}", named(left), named(right)))
}

fn no_index(value: &Val, index: &Val) -> Error {
    error(format_args!("Cannot index {} with {}", kind(value), named(index)))
}

fn no_items(value: &Val) -> Error {
    error(format_args!("Cannot iterate over {}", named(value)))
}

/// What jaq's own operations raise, which concerns numbers alone.
pub(super) fn foreign(error: jaq_core::Error<Val>) -> Error {
    Error::new(Value(error.into_val()))
}

/// A number as jq converts it for arithmetic.
pub(super) fn float(number: &Num) -> f64 {
    jaq_std::ValT::as_f64(&Val::Num(number.clone())).unwrap_or(f64::NAN)
}

/// A number as an index, `None` where it is not a number.
pub(super) fn whole(number: &Num, round: fn(f64) -> f64) -> Option<isize> {
    if let Num::Int(whole) = number {
        return Some(*whole);
    }
    let float = float(number);
    // Casting saturates, and an index that far is past either end.
    if float.is_nan() { None } else { Some(round(float) as isize) }
}

/// Where an index is in an array, counted from its end when it is negative.
pub(super) fn position(index: isize, length: usize) -> Option<usize> {
    match usize::try_from(index) {
        Ok(at) => Some(at),
        Err(_) => length.checked_sub(index.unsigned_abs()),
    }
}

/// A bound of a slice; none is the end on its side.
fn bound(bound: Option<&Value>, round: fn(f64) -> f64) -> Result<Option<Value>, Error> {
    match bound.map(|value| &value.0) {
        None | Some(Val::Null) => Ok(None),
        Some(Val::Num(number)) => Ok(whole(number, round).map(|at| Value(Val::from(at)))),
        Some(_) => Err(error("Array/string slice indices must be integers")),
    }
}

/// Where a slice begins, and how many items it has.
fn extent(range: &Range<&Value>, length: usize) -> Result<(usize, usize), Error> {
    let at = |bound: Option<Value>, missing: usize| match bound {
        Some(Value(Val::Num(Num::Int(at)))) => position(at, length).unwrap_or(0).min(length),
        _ => missing,
    };
    let start = at(bound(range.start, f64::floor)?, 0);
    let end = at(bound(range.end, f64::ceil)?, length);
    Ok((start, end.saturating_sub(start)))
}

/// The bounds in an object that stands for a slice in a path.
fn bounds(map: &Map) -> (Option<Value>, Option<Value>) {
    let get = |name: &'static str| map.get(&Val::utf8_str(name)).cloned().map(Value);
    (get("start"), get("end"))
}

/// Where `part` stands in `whole`.
pub(super) fn indices(whole: &Val, part: &Val) -> Result<Value, Error> {
    let found: Vec<usize> = match (whole, part) {
        (Val::Null, _) => return Ok(Value(Val::Null)),
        (Val::TStr(text) | Val::BStr(text), Val::TStr(part) | Val::BStr(part)) => {
            let (text, part) = (String::from_utf8_lossy(text), String::from_utf8_lossy(part));
            if part.is_empty() {
                return Ok(Value(Val::Null));
            }
            let starts = text.char_indices().enumerate().filter(|(_, (at, _))| text[*at..].starts_with(&*part));
            starts.map(|(index, _)| index).collect()
        }
        (Val::Arr(_), Val::Arr(part)) if part.is_empty() => return Ok(Value(Val::Null)),
        (Val::Arr(items), Val::Arr(part)) => {
            let starts = items.windows(part.len()).enumerate().filter(|(_, window)| **window == part[..]);
            starts.map(|(index, _)| index).collect()
        }
        (Val::Arr(items), part) => {
            items.iter().enumerate().filter(|(_, item)| *item == part).map(|(index, _)| index).collect()
        }
        (whole, part) => return Err(no_index(whole, part)),
    };
    Ok(Value(found.into_iter().map(Val::from).collect()))
}

fn take<T: Clone>(shared: Rc<T>) -> T {
    Rc::try_unwrap(shared).unwrap_or_else(|shared| (*shared).clone())
}

impl jaq_core::ValT for Value {
    fn from_num(text: &str) -> ValR<Self> {
        Val::from_num(text).map(Self).map_err(foreign)
    }

    fn from_map<I: IntoIterator<Item = (Self, Self)>>(entries: I) -> ValR<Self> {
        let mut map = Map::default();
        for (key, value) in entries {
            if !matches!(key.0, Val::TStr(_) | Val::BStr(_)) {
                return Err(error(format_args!("Cannot use {} as object key", named(&key.0))));
            }
            map.insert(key.0, value.0);
        }
        Ok(Self(Val::obj(map)))
    }

    fn key_values(self) -> Box<dyn Iterator<Item = Result<(Self, Self), Error>>> {
        match self.0 {
            Val::Arr(items) => {
                let items = take(items).into_iter().enumerate();
                Box::new(items.map(|(at, item)| Ok((Self(Val::from(at)), Self(item)))))
            }
            Val::Obj(map) => Box::new(take(map).into_iter().map(|(key, value)| Ok((Self(key), Self(value))))),
            other => Box::new(std::iter::once(Err(no_items(&other)))),
        }
    }

    fn values(self) -> Box<dyn Iterator<Item = ValR<Self>>> {
        match self.0 {
            Val::Arr(items) => Box::new(take(items).into_iter().map(|item| Ok(Self(item)))),
            Val::Obj(map) => Box::new(take(map).into_iter().map(|(_, value)| Ok(Self(value)))),
            other => Box::new(std::iter::once(Err(no_items(&other)))),
        }
    }

    fn index(self, index: &Self) -> ValR<Self> {
        match (&self.0, &index.0) {
            (Val::Null, Val::Null | Val::TStr(_) | Val::BStr(_) | Val::Num(_) | Val::Obj(_)) => Ok(self),
            (Val::Obj(map), Val::TStr(_) | Val::BStr(_)) => Ok(Self(map.get(&index.0).cloned().unwrap_or_default())),
            (Val::Arr(items), Val::Num(number)) => {
                let at = whole(number, f64::floor).and_then(|at| position(at, items.len()));
                Ok(Self(at.and_then(|at| items.get(at)).cloned().unwrap_or_default()))
            }
            (Val::Arr(_), Val::Arr(_)) => indices(&self.0, &index.0),
            (Val::BStr(_), Val::Num(_)) => self.0.index(&index.0).map(Self).map_err(foreign),
            (Val::TStr(_) | Val::BStr(_) | Val::Arr(_), Val::Obj(map)) => {
                let (start, end) = bounds(map);
                self.range(start.as_ref()..end.as_ref())
            }
            (value, index) => Err(no_index(value, index)),
        }
    }

    fn range(self, range: Range<&Self>) -> ValR<Self> {
        match self.0 {
            Val::Null => Ok(self),
            Val::TStr(_) | Val::BStr(_) => {
                let (start, end) = (bound(range.start, f64::floor)?, bound(range.end, f64::ceil)?);
                let range = start.as_ref().map(|at| &at.0)..end.as_ref().map(|at| &at.0);
                self.0.range(range).map(Self).map_err(foreign)
            }
            Val::Arr(items) => {
                let (start, count) = extent(&range, items.len())?;
                Ok(Self(items[start..start + count].iter().cloned().collect()))
            }
            other => Err(no_index(&other, &Self::from(range.start.cloned()..range.end.cloned()).0)),
        }
    }

    fn map_values<'a, I: Iterator<Item = ValX<'a, Self>>>(self, opt: Opt, f: impl Fn(Self) -> I) -> ValX<'a, Self> {
        match self.0 {
            Val::Arr(items) => {
                let items = take(items).into_iter().flat_map(|item| f(Self(item)));
                let items: Result<Vec<Val>, _> = items.map(|item| item.map(|item| item.0)).collect();
                Ok(Self(Val::Arr(Rc::new(items?))))
            }
            Val::Obj(map) => {
                let entries = take(map).into_iter();
                let entries = entries.filter_map(|(key, value)| f(Self(value)).next().map(|new| Ok((key, new?.0))));
                Ok(Self(Val::obj(entries.collect::<Result<Map, Exn<'a, Self>>>()?)))
            }
            other => opt.fail(Self(other), |value| Exn::from(no_items(&value.0))),
        }
    }

    fn map_index<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        index: &Self,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        match (self.0, &index.0) {
            (Val::Null, Val::TStr(_) | Val::BStr(_)) => match f(Self(Val::Null)).next().transpose()? {
                Some(Self(new)) => Ok(Self(Val::obj([(index.0.clone(), new)].into_iter().collect()))),
                None => Ok(Self(Val::Null)),
            },
            (value @ (Val::Null | Val::Arr(_) | Val::TStr(_) | Val::BStr(_)), Val::Obj(map)) => {
                let (start, end) = bounds(map);
                Self(value).map_range(start.as_ref()..end.as_ref(), opt, f)
            }
            (Val::Obj(mut map), Val::TStr(_) | Val::BStr(_)) => {
                let own = Rc::make_mut(&mut map);
                if let Some(place) = own.get_mut(&index.0) {
                    match f(Self(std::mem::take(place))).next().transpose()? {
                        Some(Self(new)) => *place = new,
                        None => drop(own.shift_remove(&index.0)),
                    }
                } else if let Some(Self(new)) = f(Self(Val::Null)).next().transpose()? {
                    own.insert(index.0.clone(), new);
                }
                Ok(Self(Val::Obj(map)))
            }
            (value @ (Val::Null | Val::Arr(_)), Val::Num(number)) => {
                let is_null = matches!(value, Val::Null);
                let mut items = if let Val::Arr(items) = value { items } else { Rc::default() };
                let at = match place(number, items.len()) {
                    Ok(at) => at,
                    Err(error) => {
                        let value = if is_null { Val::Null } else { Val::Arr(items) };
                        return opt.fail(Self(value), |_| Exn::from(error));
                    }
                };
                if at < items.len() {
                    let own = Rc::make_mut(&mut items);
                    match f(Self(std::mem::take(&mut own[at]))).next().transpose()? {
                        Some(Self(new)) => own[at] = new,
                        None => drop(own.remove(at)),
                    }
                } else {
                    match f(Self(Val::Null)).next().transpose()? {
                        Some(Self(new)) => {
                            let own = Rc::make_mut(&mut items);
                            own.resize(at, Val::Null);
                            own.push(new);
                        }
                        None if is_null => return Ok(Self(Val::Null)),
                        None => {}
                    }
                }
                Ok(Self(Val::Arr(items)))
            }
            (value @ Val::Arr(_), Val::Arr(_)) => {
                opt.fail(Self(value), |_| Exn::from(error("Cannot update field at array index of array")))
            }
            (value, index) => opt.fail(Self(value), |value| Exn::from(no_index(&value.0, index))),
        }
    }

    fn map_range<'a, I: Iterator<Item = ValX<'a, Self>>>(
        self,
        range: Range<&Self>,
        opt: Opt,
        f: impl Fn(Self) -> I,
    ) -> ValX<'a, Self> {
        let is_null = matches!(self.0, Val::Null);
        let mut items = match self.0 {
            Val::Arr(items) => items,
            Val::Null => Rc::default(),
            text @ (Val::TStr(_) | Val::BStr(_)) => {
                return opt.fail(Self(text), |_| Exn::from(error("Cannot update string slices")));
            }
            other => {
                let index = Self::from(range.start.cloned()..range.end.cloned());
                return opt.fail(Self(other), |value| Exn::from(no_index(&value.0, &index.0)));
            }
        };
        let (start, count) = extent(&range, items.len())?;
        let before = if is_null { Val::Null } else { items[start..start + count].iter().cloned().collect() };
        let new = match f(Self(before)).next().transpose()?.map(|new| new.0) {
            Some(Val::Arr(new)) => take(new),
            None if is_null => return Ok(Self(Val::Null)),
            None => Vec::new(),
            Some(_) => return Err(error("A slice of an array can only be assigned another array").into()),
        };
        Rc::make_mut(&mut items).splice(start..start + count, new);
        Ok(Self(Val::Arr(items)))
    }

    fn as_bool(&self) -> bool {
        !matches!(self.0, Val::Null | Val::Bool(false))
    }

    fn into_string(self) -> Self {
        Self(self.0.into_string())
    }
}

/// Where an assignment puts an item.
fn place(number: &Num, length: usize) -> Result<usize, Error> {
    let index = whole(number, f64::floor).ok_or_else(|| error("Cannot set array element at NaN index"))?;
    let at = position(index, length).ok_or_else(|| error("Out of bounds negative array index"))?;
    if at >= length.saturating_add(QUICK_GROWTH) {
        apart::not_quick();
    }
    if at > MAX_INDEX && at >= length { Err(error("Array index too large")) } else { Ok(at) }
}

impl jaq_std::ValT for Value {
    fn into_seq<S: FromIterator<Self>>(self) -> Result<S, Self> {
        match self.0 {
            Val::Arr(items) => Ok(take(items).into_iter().map(Self).collect()),
            other => Err(Self(other)),
        }
    }

    fn is_int(&self) -> bool {
        self.0.is_int()
    }

    fn as_isize(&self) -> Option<isize> {
        self.0.as_isize()
    }

    fn as_f64(&self) -> Option<f64> {
        self.0.as_f64()
    }

    fn is_utf8_str(&self) -> bool {
        self.0.is_utf8_str()
    }

    fn as_bytes(&self) -> Option<&[u8]> {
        self.0.as_bytes()
    }

    fn as_sub_str(&self, sub: &[u8]) -> Self {
        Self(self.0.as_sub_str(sub))
    }

    fn from_utf8_bytes(bytes: impl AsRef<[u8]> + Send + 'static) -> Self {
        Self(Val::from_utf8_bytes(bytes))
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self(Val::Bool(value))
    }
}

impl From<isize> for Value {
    fn from(value: isize) -> Self {
        Self(Val::from(value))
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self(Val::from(value))
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self(Val::from(value))
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self(Val::from(value))
    }
}

impl From<Range<Self>> for Value {
    /// A slice in a path has both bounds, as in jq.
    fn from(range: Range<Self>) -> Self {
        let entries = [("start", range.start), ("end", range.end)];
        let value = |value: Option<Self>| value.map(|value| value.0).unwrap_or_default();
        Self(Val::obj(entries.into_iter().map(|(name, bound)| (Val::utf8_str(name), value(bound))).collect()))
    }
}

impl FromIterator<Self> for Value {
    fn from_iter<I: IntoIterator<Item = Self>>(items: I) -> Self {
        Self(items.into_iter().map(|item| item.0).collect())
    }
}
