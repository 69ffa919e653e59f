//! Durations, sizes and shares as the user types them (pure).
//!
//! `250ms`, `2s`, `1m30s`, `1h`, a bare number is seconds; `64KiB`, `1MB`, `4096` bytes; `500`, `2.5k/s` a second.

use std::time::Duration;

use crate::client::plan::Wait;
use crate::message::control::{SENDABLE, check_reason, why_never_sent};
use crate::net::connection::CloseReason;
use crate::session::reconnect::Limit;

/// Reads a duration.
///
/// # Errors
/// A line that says what was expected.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let expected = || format!("invalid duration '{text}'; use e.g. 250ms, 2s, 1m30s, 1h, or a number of seconds");
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
pub(crate) fn wait(text: &str) -> Result<Wait, String> {
    if text == "-1" { Ok(Wait::UntilClosed) } else { duration(text).map(Wait::Quiet) }
}

/// Reads a size in bytes.
///
/// # Errors
/// A line that says what was expected.
pub(crate) fn size(text: &str) -> Result<usize, String> {
    let expected = || format!("invalid size '{text}'; use e.g. 64KiB, 1MB, or a number of bytes");
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

/// Reads a rate per second, above zero.
///
/// # Errors
/// A line that says what was expected.
pub(crate) fn rate(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text).trim_end();
    let scaled = [("k", 1e3), ("K", 1e3), ("M", 1e6)]
        .iter()
        .find_map(|(unit, scale)| number.strip_suffix(unit).map(|number| (number, *scale)));
    let (number, scale) = scaled.unwrap_or((number, 1.0));
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    match number.parse::<f64>() {
        Ok(number) if plain && number > 0.0 && number.is_finite() => Ok(number * scale),
        _ => Err(format!("invalid rate '{text}'; use e.g. 500, 0.5 or 2.5k (per second)")),
    }
}

/// Reads the name of a subprotocol: a token as HTTP has it.
///
/// # Errors
/// A line that says what was expected.
pub(crate) fn subprotocol(text: &str) -> Result<String, String> {
    let is_sign = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_sign) {
        return Err(format!("invalid subprotocol '{text}'; use letters, digits and !#$%&'*+-.^_`|~"));
    }
    Ok(text.to_owned())
}

/// `--reconnect` without a number: never give up.
pub(crate) const UNLIMITED: &str = "unlimited";

/// Reads how many retries in a row are allowed: a number, or `unlimited`.
///
/// # Errors
/// A line that says what was expected.
pub(crate) fn retries(text: &str) -> Result<Limit, String> {
    if text == UNLIMITED {
        return Ok(Limit::Unlimited);
    }
    text.parse::<u32>()
        .map(Limit::from)
        .map_err(|_| format!("invalid number of retries '{text}'; use e.g. 5, or {UNLIMITED}"))
}

/// Reads how many: `2000`, `50k` or `1.5M`; at least one.
///
/// # Errors
/// A line that says what was expected.
pub(crate) fn count(text: &str) -> Result<u64, String> {
    let expected = || format!("invalid count '{text}'; use e.g. 2000, 50k or 1.5M");
    let number = text.parse().ok().or_else(|| {
        let number = rate(text).ok().filter(|_| !text.ends_with("/s"))?;
        // Whole, and exact as a float.
        #[allow(clippy::cast_sign_loss)] // A rate is above zero.
        (number.fract() == 0.0 && number < 9e15).then_some(number as u64)
    });
    number.filter(|number| *number > 0).ok_or_else(expected)
}

/// Reads a share between nothing and all, as a number from 0 to 1.
///
/// # Errors
/// A line that says what was expected.
pub(crate) fn share(text: &str) -> Result<f64, String> {
    let expected = || format!("invalid share '{text}'; use e.g. 5%, 0.05 or 1/20");
    let plain = |number: &str| {
        let number = number.trim();
        let is_plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        number.parse::<f64>().ok().filter(|_| is_plain)
    };
    let value = if let Some(percent) = text.strip_suffix('%') {
        plain(percent).map(|percent| percent / 100.0)
    } else if let Some((part, whole)) = text.split_once('/') {
        plain(part).zip(plain(whole)).map(|(part, whole)| part / whole)
    } else {
        plain(text)
    };
    // 0/0 is not a number.
    value.filter(|value| (0.0..=1.0).contains(value)).ok_or_else(expected)
}

/// Reads bytes per second, above zero.
///
/// # Errors
/// As [`size`].
pub(crate) fn byte_rate(text: &str) -> Result<f64, String> {
    let bytes = size(text.strip_suffix("/s").unwrap_or(text))?;
    if bytes == 0 { Err(format!("rate '{text}' would let no message through")) } else { Ok(bytes as f64) }
}

/// Reads `CODE[:REASON]`: how a connection is closed.
///
/// # Errors
/// A code that must not be sent, a reason that is too long.
pub(crate) fn close(text: &str) -> Result<CloseReason, String> {
    let (code, reason) = text.split_once(':').unwrap_or((text, ""));
    let number = code.trim().parse().map_err(|_| format!("invalid close code '{code}'; use {SENDABLE}"))?;
    if let Some(why) = why_never_sent(number) {
        return Err(format!("close code {number} is never sent: {why}; use {SENDABLE}"));
    }
    check_reason(reason)?;
    Ok(CloseReason::new(number, reason))
}

/// Reads the argument of `--fragment`: a size of at least one byte.
///
/// # Errors
/// As [`size`].
pub(crate) fn frame_size(text: &str) -> Result<usize, String> {
    match size(text)? {
        0 => Err("a frame needs at least 1 byte".to_owned()),
        bytes => Ok(bytes),
    }
}

/// A whole number above 0.
///
/// # Errors
/// What it must be.
pub(crate) fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err("it must be a whole number above 0".to_owned()),
    }
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
    fn reads_rates() {
        let table = [
            ("500", Some(500.0)),
            ("2.5k", Some(2500.0)),
            ("2.5k/s", Some(2500.0)),
            ("1M", Some(1e6)),
            ("0.5/s", Some(0.5)),
            ("10 /s", Some(10.0)),
            ("0", None),
            ("-1", None),
            ("", None),
            ("k", None),
            ("/s", None),
            ("1e3", None),
            ("inf", None),
            ("nan", None),
            ("5/m", None),
        ];
        for (text, expected) in table {
            assert_eq!(rate(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn reads_subprotocols() {
        assert_eq!(subprotocol("v1.stomp").as_deref(), Ok("v1.stomp"));
        for wrong in ["", "a b", "a/b", "a\r\nX: y", "ä"] {
            assert!(subprotocol(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn reads_retries() {
        let table = [
            ("5", Some(Limit::UpTo(5))),
            ("0", Some(Limit::Off)),
            (UNLIMITED, Some(Limit::Unlimited)),
            ("", None),
            ("-1", None),
            ("5x", None),
        ];
        for (text, expected) in table {
            assert_eq!(retries(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn reads_counts() {
        let table = [
            ("2000", Some(2000)),
            ("50k", Some(50_000)),
            ("1.5M", Some(1_500_000)),
            ("18446744073709551615", Some(u64::MAX)),
            ("0", None),
            ("0.5", None),
            ("2/s", None),
            ("-1", None),
            ("", None),
            ("k", None),
        ];
        for (text, expected) in table {
            assert_eq!(count(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn reads_shares() {
        let table = [
            ("5%", Some(0.05)),
            ("0.05", Some(0.05)),
            ("1/20", Some(0.05)),
            ("100%", Some(1.0)),
            ("0", Some(0.0)),
            ("1", Some(1.0)),
            ("0.5 %", Some(0.005)),
            ("101%", None),
            ("1.1", None),
            ("2/1", None),
            ("0/0", None),
            ("1/0", None),
            ("-1%", None),
            ("", None),
            ("%", None),
            ("/", None),
            ("nan", None),
            ("1e-3", None),
        ];
        for (text, expected) in table {
            assert_eq!(share(text).ok(), expected, "{text}");
        }
        assert_eq!(byte_rate("64KiB/s"), Ok(65536.0));
        assert_eq!(byte_rate("100"), Ok(100.0));
        assert!(byte_rate("0").is_err());
    }

    #[test]
    fn reads_closes() {
        assert_eq!(close("1000"), Ok(CloseReason::new(1000, "")));
        assert_eq!(close("4000:a: b"), Ok(CloseReason::new(4000, "a: b")));
        assert_eq!(close("1011:"), Ok(CloseReason::new(1011, "")));
        for text in ["", "x", "999", "1004", "1005", "1006", "1015", "2999", "5000", "-1", "70000", ":x"] {
            assert!(close(text).is_err(), "{text}");
        }
        assert!(close(&format!("1000:{}", "x".repeat(123))).is_ok());
        assert!(close(&format!("1000:{}", "x".repeat(124))).is_err());
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
