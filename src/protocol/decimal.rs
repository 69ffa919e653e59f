//! Numbers as people write them, compared without losing a digit.
//!
//! Pure: text in, order out. Leaves calculating to others. Invariants: two numbers are equal exactly when they have the
//! same value, however they are written (`12`, `12.0`, `+012`, `1.2e1`); memory is that of the text; invalid numbers
//! are rejected, never guessed.

use std::cmp::Ordering;

/// Most digits of an exponent; what is written with more is not a number here.
const MAX_EXPONENT_DIGITS: usize = 17;

/// A decimal number of any length: `± 0.DIGITS × 10^POINT`, without zeros at either end of the digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Decimal {
    negative: bool,
    point: i64,
    digits: Box<[u8]>,
}

impl Decimal {
    /// Reads a number: a JSON number, or one with a plus sign, leading zeros, or nothing on one side of the point.
    #[must_use]
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (negative, unsigned) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
            Some(at) => (&unsigned[..at], exponent(&unsigned[at + 1..])?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !all_digits(whole) || !all_digits(fraction) {
            return None;
        }
        let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
        let Some(first) = digits.iter().position(|digit| *digit != b'0') else {
            return Some(Self { negative: false, point: 0, digits: Box::default() });
        };
        let last = digits.iter().rposition(|digit| *digit != b'0').unwrap_or(first);
        // The exponent has 17 digits at most, so this is far from overflowing.
        let point = i64::try_from(whole.len()).ok()? - i64::try_from(first).ok()? + exponent;
        Some(Self { negative, point, digits: digits[first..=last].into() })
    }

    fn cmp_magnitude(&self, other: &Self) -> Ordering {
        match (self.digits.is_empty(), other.digits.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            // No zeros at the end: of two texts of digits the longer one is greater where they agree.
            (false, false) => self.point.cmp(&other.point).then_with(|| self.digits.cmp(&other.digits)),
        }
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.cmp_magnitude(other),
            (true, true) => other.cmp_magnitude(self),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

fn exponent(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    if digits.len() > MAX_EXPONENT_DIGITS {
        return None;
    }
    let value: i64 = if digits.is_empty() { 0 } else { digits.parse().ok()? };
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Decimal {
        Decimal::parse(text).unwrap_or_else(|| panic!("{text} is a number"))
    }

    #[test]
    fn order() {
        // Each line is less than the next.
        let ascending = [
            "-1e99999999999999999",
            "-1e1000",
            "-100000000000000000000000000000000000000001",
            "-100000000000000000000000000000000000000000",
            "-12.51",
            "-12.5",
            "-0.0000000000000000000000000001",
            "0",
            "1e-99999999999999999",
            "1e-400",
            "0.1",
            "0.10000000000000000000000000000000000000001",
            "0.11",
            "0.2",
            "1",
            "9",
            "10",
            "12.4999999999999999999999999999",
            "12.5",
            "12.50000000000000000000000000001",
            "9007199254740992",
            "9007199254740993",
            "9e99999999999999998",
            "1e99999999999999999",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(number(pair[0]).cmp(&number(pair[1])), Ordering::Less, "{pair:?}");
            assert_eq!(number(pair[1]).cmp(&number(pair[0])), Ordering::Greater, "{pair:?}");
            assert_ne!(number(pair[0]), number(pair[1]));
        }
    }

    #[test]
    fn equal_values() {
        for group in [
            &["12.5", "12.50", "+12.5", "012.5", "1.25e1", "1.25E+1", "125e-1", "0.125e2", "12500e-000000000000000003"]
                [..],
            &["0", "-0", "0.0", ".0", "0.", "0e5", "-0e-12345678901234567"],
            &["1000", "1e3", "1000.", "0.1e4", "10.00e2"],
            &["-.5", "-0.5", "-5e-1"],
        ] {
            for text in group {
                assert_eq!(number(text), number(group[0]), "{text}");
                assert_eq!(number(text).cmp(&number(group[0])), Ordering::Equal, "{text}");
            }
        }
    }

    #[test]
    fn what_is_no_number() {
        for text in [
            "",
            " ",
            ".",
            "-",
            "+",
            "-.",
            "e5",
            "1e",
            "1e+",
            "1e-",
            "1 ",
            " 1",
            "1,5",
            "1_000",
            "0x10",
            "NaN",
            "inf",
            "Infinity",
            "--1",
            "+-1",
            "1.2.3",
            "1e5e5",
            "1e1.5",
            "٣",
            "1e100000000000000000",
            "12.50 EUR",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    /// The same number without exponent, as many digits long as every other one here.
    fn written_out(digits: &str, exponent: i32) -> String {
        let zeros = "0".repeat(usize::try_from(exponent + 25).unwrap());
        format!("{:0>80}", format!("{digits}{zeros}"))
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics(text in "[-+0-9.eE]{0,40}|.{0,40}") {
            if let Some(number) = Decimal::parse(&text) {
                prop_assert_eq!(number.cmp(&number), Ordering::Equal);
            }
        }

        #[test]
        fn integers_are_ordered_as_integers(a in any::<i128>(), b in any::<i128>(), near in -2..=2_i128) {
            let b = if b % 2 == 0 { a.saturating_add(near) } else { b };
            prop_assert_eq!(number(&a.to_string()).cmp(&number(&b.to_string())), a.cmp(&b));
        }

        #[test]
        fn decimals_are_ordered_as_they_are_written_out(
            a in (any::<bool>(), "[0-9]{1,24}", -24..24_i32), b in (any::<bool>(), "[0-9]{1,24}", -24..24_i32), same in any::<bool>()
        ) {
            let b = if same { (a.0, format!("{}0", a.1), a.2 - 1) } else { b };
            let parse = |(negative, digits, exponent): &(bool, String, i32)| {
                number(&format!("{}{digits}e{exponent}", if *negative { "-" } else { "" }))
            };
            let (text_a, text_b) = (written_out(&a.1, a.2), written_out(&b.1, b.2));
            let is_negative = |negative: bool, text: &str| negative && text.bytes().any(|byte| byte != b'0');
            let wanted = match (is_negative(a.0, &text_a), is_negative(b.0, &text_b)) {
                (false, false) => text_a.cmp(&text_b),
                (true, true) => text_b.cmp(&text_a),
                (negative, _) => if negative { Ordering::Less } else { Ordering::Greater },
            };
            prop_assert_eq!(parse(&a).cmp(&parse(&b)), wanted);
            prop_assert_eq!(parse(&a) == parse(&b), wanted == Ordering::Equal);
        }
    }
}
