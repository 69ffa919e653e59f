//! Arithmetic on values, as jq does it.
//!
//! `/` and `%` refuse zero, `%` drops what is behind the point, and errors say what jq's say. Invariants: no operator makes
//! a text longer than [`MAX_TEXT`] bytes; whole numbers are calculated exactly, however large.

use std::ops::{Add, Div, Mul, Neg, Rem, Sub};

use jaq_core::ValR;
use jaq_json::{Num, Val};

use super::engine::{Value, error, float, foreign, whole, wrong, wrong_pair};
use super::rewrite::MAX_TEXT;
use crate::filter::apart;

/// Most pairs of items that a list minus a list compares where a run may not take long.
const QUICK_PAIRS: usize = 1024;

impl Add for Value {
    type Output = ValR<Self>;

    fn add(self, other: Self) -> ValR<Self> {
        match (&self.0, &other.0) {
            (Val::Null, _)
            | (_, Val::Null)
            | (Val::Num(_), Val::Num(_))
            | (Val::TStr(_), Val::TStr(_))
            | (Val::BStr(_), Val::BStr(_))
            | (Val::Arr(_), Val::Arr(_))
            | (Val::Obj(_), Val::Obj(_)) => (self.0 + other.0).map(Self).map_err(foreign),
            (left, right) => Err(wrong_pair(left, right, "cannot be added")),
        }
    }
}

impl Sub for Value {
    type Output = ValR<Self>;

    fn sub(self, other: Self) -> ValR<Self> {
        if let (Val::Arr(left), Val::Arr(right)) = (&self.0, &other.0)
            && left.len().saturating_mul(right.len()) > QUICK_PAIRS
        {
            apart::not_quick();
        }
        match (&self.0, &other.0) {
            (Val::Num(_), Val::Num(_)) | (Val::Arr(_), Val::Arr(_)) => (self.0 - other.0).map(Self).map_err(foreign),
            (left, right) => Err(wrong_pair(left, right, "cannot be subtracted")),
        }
    }
}

impl Mul for Value {
    type Output = ValR<Self>;

    fn mul(self, other: Self) -> ValR<Self> {
        match (&self.0, &other.0) {
            (Val::Num(_), Val::Num(_)) | (Val::Obj(_), Val::Obj(_)) => (self.0 * other.0).map(Self).map_err(foreign),
            (text @ (Val::TStr(bytes) | Val::BStr(bytes)), Val::Num(times))
            | (Val::Num(times), text @ (Val::TStr(bytes) | Val::BStr(bytes))) => {
                let times = float(times);
                if times.is_nan() || times < 0.0 {
                    return Ok(Self(Val::Null));
                }
                // It is not negative, and casting saturates.
                #[allow(clippy::cast_sign_loss)]
                let times = times as usize;
                if bytes.len().saturating_mul(times) > MAX_TEXT {
                    return Err(error("Repeat string result too long"));
                }
                let repeated = bytes.repeat(times);
                let is_text = matches!(text, Val::TStr(_));
                Ok(Self(if is_text { Val::utf8_str(repeated) } else { Val::byte_str(repeated) }))
            }
            (left, right) => Err(wrong_pair(left, right, "cannot be multiplied")),
        }
    }
}

impl Div for Value {
    type Output = ValR<Self>;

    fn div(self, other: Self) -> ValR<Self> {
        match (&self.0, &other.0) {
            (Val::Num(_), Val::Num(divisor)) if float(divisor) == 0.0 => {
                Err(wrong_pair(&self.0, &other.0, "cannot be divided because the divisor is zero"))
            }
            (Val::Num(_), Val::Num(_)) | (Val::TStr(_), Val::TStr(_)) | (Val::BStr(_), Val::BStr(_)) => {
                (self.0 / other.0).map(Self).map_err(foreign)
            }
            (left, right) => Err(wrong_pair(left, right, "cannot be divided")),
        }
    }
}

impl Rem for Value {
    type Output = ValR<Self>;

    /// The remainder of what is before the point.
    fn rem(self, other: Self) -> ValR<Self> {
        let (Val::Num(left), Val::Num(right)) = (&self.0, &other.0) else {
            return Err(wrong_pair(&self.0, &other.0, "cannot be divided (remainder)"));
        };
        let is_whole = |number: &Num| matches!(number, Num::Int(_) | Num::BigInt(_));
        let (Some(dividend), Some(divisor)) = (whole(left, f64::trunc), whole(right, f64::trunc)) else {
            return Ok(Self(Val::from(f64::NAN)));
        };
        if divisor == 0 {
            let what = "cannot be divided (remainder) because the divisor is zero";
            return Err(wrong_pair(&self.0, &other.0, what));
        }
        if is_whole(left) && is_whole(right) && !matches!((left, right), (Num::Int(_), Num::Int(_))) {
            return (self.0 % other.0).map(Self).map_err(foreign);
        }
        Ok(Self(Val::from(dividend.wrapping_rem(divisor))))
    }
}

impl Neg for Value {
    type Output = ValR<Self>;

    fn neg(self) -> ValR<Self> {
        match self.0 {
            number @ Val::Num(_) => (-number).map(Self).map_err(foreign),
            other => Err(wrong(&other, "cannot be negated")),
        }
    }
}
