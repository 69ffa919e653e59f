//! Numbers and times as digits, without the general way of formatting: the inner loop of recordings.
//!
//! Owns how a time looks in event lines and in HAR, to the microsecond. Leaves reading times to jiff.

use std::cell::Cell;
use std::io::Write as _;

use jiff::Timestamp;
use jiff::tz::Offset;

thread_local! {
    /// The second and microseconds that were written last, and how: most times share at least the second with the one
    /// before.
    static LAST: Cell<(i64, u32, [u8; 27])> = const { Cell::new((i64::MIN, 0, [0; 27])) };
    /// The microseconds since 1970 that were written last as seconds, and how.
    static LAST_SECONDS: Cell<(u64, [u8; SECONDS])> = const { Cell::new((u64::MAX, [0; SECONDS])) };
}

/// Digits, point and fraction of seconds since 1970, as they are from 2001 to 2286.
const SECONDS: usize = 17;

/// A time as event lines write it.
#[must_use]
pub(crate) fn time_text(time: Timestamp) -> String {
    let mut text = Vec::new();
    push_time(&mut text, time);
    String::from_utf8(text).unwrap_or_default()
}

/// Appends a time as `2026-01-02T03:04:05.678901Z`.
pub(crate) fn push_time(out: &mut Vec<u8>, time: Timestamp) {
    let (mut second, nanoseconds) = (time.as_second(), time.subsec_nanosecond());
    // Before 1970 the fraction counts backwards.
    second -= i64::from(nanoseconds < 0);
    let micros = (nanoseconds.rem_euclid(1_000_000_000)).unsigned_abs() / 1000;
    let (known, known_micros, mut text) = LAST.get();
    if known != second {
        let date = Offset::UTC.to_datetime(time);
        if date.year() < 0 {
            // Writing to a vector cannot fail.
            let _ = write!(out, "{time:.6}");
            return;
        }
        text = *b"0000-00-00T00:00:00.000000Z";
        set_digits(&mut text[0..4], u32::from(date.year().unsigned_abs()));
        for (at, value) in
            [(5, date.month()), (8, date.day()), (11, date.hour()), (14, date.minute()), (17, date.second())]
        {
            set_digits(&mut text[at..at + 2], u32::from(value.unsigned_abs()));
        }
    }
    if known != second || known_micros != micros {
        set_digits(&mut text[20..26], micros);
        LAST.set((second, micros, text));
    }
    out.extend_from_slice(&text);
}

fn set_digits(place: &mut [u8], value: u32) {
    let mut rest = value;
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Appends a time as seconds since 1970, `1767323045.678901`; what lies before is 0.
pub(super) fn push_seconds(out: &mut Vec<u8>, time: Timestamp) {
    let micros = time.as_microsecond().max(0).unsigned_abs();
    let (known, text) = LAST_SECONDS.get();
    if known == micros {
        out.extend_from_slice(&text);
        return;
    }
    let start = out.len();
    push_number(out, micros / 1_000_000);
    let mut end = *b".000000";
    set_digits(&mut end[1..], (micros % 1_000_000) as u32);
    out.extend_from_slice(&end);
    if let Ok(text) = out[start..].try_into() {
        LAST_SECONDS.set((micros, text));
    }
}

/// Appends a number.
pub(crate) fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut from = digits.len();
    let mut rest = number;
    loop {
        from -= 1;
        digits[from] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_six_digits() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00.000000Z"),
            ("2026-12-31T23:59:59.9999999Z", "2026-12-31T23:59:59.999999Z"),
            ("2026-12-31T23:59:59.000001Z", "2026-12-31T23:59:59.000001Z"),
            ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00.000000Z"),
            ("1969-12-31T23:59:59.5Z", "1969-12-31T23:59:59.500000Z"),
            ("1969-12-31T23:59:59.75Z", "1969-12-31T23:59:59.750000Z"),
            ("1970-01-01T00:00:00.25Z", "1970-01-01T00:00:00.250000Z"),
            ("1969-12-31T23:59:59Z", "1969-12-31T23:59:59.000000Z"),
            ("-000001-01-01T00:00:00Z", "-000001-01-01T00:00:00.000000Z"),
        ] {
            let mut out = Vec::new();
            push_time(&mut out, text.parse().unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn numbers_and_seconds_look_as_formatted() {
        for number in [0, 9, 10, 1_234_567_890, u64::MAX] {
            let mut out = Vec::new();
            push_number(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
        for (micros, expected) in
            [(1_767_323_045_678_901, "1767323045.678901"), (5, "0.000005"), (0, "0.000000"), (-5, "0.000000")]
        {
            let mut out = Vec::new();
            push_seconds(&mut out, Timestamp::from_microsecond(micros).unwrap());
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
