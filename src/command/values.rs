//! Durations, sizes and shares as the user types them (pure).
//!
//! `250ms`, `2s`, `1m30s`, `1h`, a bare number is seconds; `64KiB`, `1MB`, `4096` bytes.

use std::time::Duration;

/// Reads a duration.
///
/// # Errors
/// A line that says what was expected.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("'{text}' is no duration: write 250ms, 2s, 1m30s, 1h or seconds");
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| expected());
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(expected)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let scale = match unit {
            "us" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(expected()),
        };
        let number: f64 = number.parse().map_err(|_| expected())?;
        let part = Duration::try_from_secs_f64(number * scale).map_err(|_| expected())?;
        total = total.checked_add(part).ok_or_else(expected)?;
        rest = tail;
    }
    if text.is_empty() { Err(expected()) } else { Ok(total) }
}

/// Reads the argument of `--wait`: a duration, or `-1` for "until the peer closes".
///
/// # Errors
/// As [`duration`].
pub fn wait(text: &str) -> Result<Wait, String> {
    if text == "-1" { Ok(Wait::UntilClosed) } else { duration(text).map(Wait::Quiet) }
}

/// How long to keep receiving after the input has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Until no message came for this long.
    Quiet(Duration),
    /// Until the peer closes.
    UntilClosed,
}

/// Reads a size in bytes.
///
/// # Errors
/// A line that says what was expected.
pub fn size(text: &str) -> Result<usize, String> {
    let expected = || format!("'{text}' is no size: write 64KiB, 1MB or bytes");
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let scale: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1000,
        "kib" => 1 << 10,
        "m" | "mb" => 1_000_000,
        "mib" => 1 << 20,
        "g" | "gb" => 1_000_000_000,
        "gib" => 1 << 30,
        _ => return Err(expected()),
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale).and_then(|bytes| usize::try_from(bytes).ok()).ok_or_else(expected);
    }
    let number: f64 = number.parse().map_err(|_| expected())?;
    let bytes = (number * scale as f64).round();
    // The text has no minus sign, so the number has none.
    #[allow(clippy::cast_sign_loss)]
    if bytes < 1e18 { Ok(bytes as usize) } else { Err(expected()) }
}

/// Reads the argument of `--fragment`: a size of at least one byte.
///
/// # Errors
/// As [`size`].
pub fn frame_size(text: &str) -> Result<usize, String> {
    match size(text)? {
        0 => Err("a frame of no bytes carries no message: 1 is the least".to_owned()),
        bytes => Ok(bytes),
    }
}

/// Reads a rate, per second: `500`, `2.5k`, `1M`; `/s` may follow.
///
/// # Errors
/// A line that says what was expected.
pub fn rate(text: &str) -> Result<f64, String> {
    let expected = || format!("'{text}' is no rate: write 500, 2.5k or 1M, per second");
    let number = text.strip_suffix("/s").unwrap_or(text).trim();
    let (number, scale) = match number.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1e3),
        None => number.strip_suffix(['m', 'M']).map_or((number, 1.0), |number| (number, 1e6)),
    };
    let value: f64 = number.parse().map_err(|_| expected())?;
    if value.is_finite() && value >= 0.0 && !number.starts_with('+') { Ok(value * scale) } else { Err(expected()) }
}

/// Reads a share: `5%`, `0.05` or `1/20`.
///
/// # Errors
/// A line that says what was expected.
pub fn share(text: &str) -> Result<f64, String> {
    let expected = || format!("'{text}' is no share: write 5%, 0.05 or 1/20");
    let number = |text: &str| text.trim().parse::<f64>().map_err(|_| expected());
    let value = if let Some(percent) = text.strip_suffix('%') {
        number(percent)? / 100.0
    } else if let Some((part, whole)) = text.split_once('/') {
        number(part)? / number(whole)?
    } else {
        number(text)?
    };
    if (0.0..=1.0).contains(&value) { Ok(value) } else { Err(expected()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations() {
        let table = [
            ("250ms", Some(250)),
            ("2s", Some(2000)),
            ("1m30s", Some(90_000)),
            ("1h", Some(3_600_000)),
            ("1.5", Some(1500)),
            ("0", Some(0)),
            ("0.5s", Some(500)),
            ("", None),
            ("s", None),
            ("5x", None),
            ("1m30", None),
            ("-3", None),
            ("1e30s", None),
            ("99999999999999999999h", None),
        ];
        for (text, expected) in table {
            assert_eq!(duration(text).ok(), expected.map(Duration::from_millis), "{text}");
        }
        assert_eq!(wait("-1"), Ok(Wait::UntilClosed));
    }

    #[test]
    fn reads_rates_and_shares() {
        let rates =
            [("500", Some(500.0)), ("2.5k", Some(2500.0)), ("1M/s", Some(1e6)), ("10/s", Some(10.0)), ("", None)];
        for (text, expected) in rates.into_iter().chain([("-1", None), ("k", None), ("1x", None), ("inf", None)]) {
            assert_eq!(rate(text).ok(), expected, "{text}");
        }
        let shares =
            [("5%", Some(0.05)), ("0.05", Some(0.05)), ("1/20", Some(0.05)), ("0", Some(0.0)), ("100%", Some(1.0))];
        for (text, expected) in shares.into_iter().chain([("101%", None), ("1/0", None), ("-1%", None), ("x", None)]) {
            assert_eq!(share(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn reads_sizes() {
        let table = [
            ("4096", Some(4096)),
            ("64KiB", Some(65536)),
            ("1MB", Some(1_000_000)),
            ("1.5MiB", Some(1_572_864)),
            ("64 KiB", Some(65536)),
            ("", None),
            ("12XB", None),
            ("99999999999999999999", None),
            ("99999999999GiB", None),
        ];
        for (text, expected) in table {
            assert_eq!(size(text).ok(), expected, "{text}");
        }
        assert_eq!(frame_size("1KiB"), Ok(1024));
        assert!(frame_size("0").is_err());
    }
}
