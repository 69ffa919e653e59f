//! Reads `--retry-on`: which HTTP statuses of refusals and which close codes may pass (pure).

use std::ops::RangeInclusive;

use super::Cause;

/// What is retried when nothing else was asked for: refusals that may pass, and every close code but 1000.
pub(crate) const DEFAULT_RETRY_ON: &str = "408,425,429,5xx,1001-4999";

/// HTTP statuses and close codes that are retried; statuses are below 1000, close codes from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RetryOn(Vec<RangeInclusive<u16>>);

impl Default for RetryOn {
    fn default() -> Self {
        Self(vec![408..=408, 425..=425, 429..=429, 500..=599, 1001..=4999])
    }
}

impl RetryOn {
    /// Reads `429`, `5xx`, `1001-1015`, `default`, `all` and `none`, separated by commas.
    ///
    /// # Errors
    /// A line that names the value at fault and shows valid ones.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut ranges = Vec::new();
        for word in text.split(',').map(str::trim) {
            match word {
                "none" => {}
                "all" => ranges.push(400..=4999),
                "default" => ranges.extend(Self::default().0),
                word => ranges.push(range(word).ok_or_else(|| {
                    format!("invalid status or close code '{word}'; use e.g. 429,5xx,1011, default,401, all or none")
                })?),
            }
        }
        Ok(Self(ranges))
    }

    /// Returns whether another attempt may help after a failure of this cause.
    #[must_use]
    pub(crate) fn lets_pass(&self, cause: Cause) -> bool {
        match cause {
            Cause::Passing => true,
            Cause::Status(code) | Cause::Close(code) => self.contains(code),
            Cause::Final => false,
        }
    }

    /// Returns whether this HTTP status or close code is among them.
    #[must_use]
    pub(crate) fn contains(&self, code: u16) -> bool {
        self.0.iter().any(|range| range.contains(&code))
    }
}

/// `429`, `5xx`, `40x`, `4xxx` or `1001-1015`.
fn range(word: &str) -> Option<RangeInclusive<u16>> {
    let code = |text: &str| {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|code| is_plain && matches!(code, 300..=599 | 1000..=4999))
    };
    if let Some((first, last)) = word.split_once('-') {
        let (first, last) = (code(first.trim())?, code(last.trim())?);
        return (first <= last).then_some(first..=last);
    }
    let digits = word.trim_end_matches(['x', 'X']);
    if digits.is_empty() || !matches!(word.len(), 3 | 4) {
        return None;
    }
    let places = word.len() - digits.len();
    let first = code(&format!("{digits}{}", "0".repeat(places)))?;
    let last = code(&format!("{digits}{}", "9".repeat(places)))?;
    Some(first..=last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_what_it_says() {
        assert_eq!(RetryOn::parse(DEFAULT_RETRY_ON), Ok(RetryOn::default()));
        assert_eq!(RetryOn::parse("default"), Ok(RetryOn::default()));
    }

    #[test]
    fn lists_say_what_passes() {
        let codes = [401, 404, 408, 429, 500, 503, 1000, 1001, 1005, 1006, 1011, 4000];
        for (text, expected) in [
            ("default", vec![408, 429, 500, 503, 1001, 1005, 1006, 1011, 4000]),
            ("all", codes.to_vec()),
            ("none", vec![]),
            ("429, 5xx", vec![429, 500, 503]),
            ("1011", vec![1011]),
            ("default,401", vec![401, 408, 429, 500, 503, 1001, 1005, 1006, 1011, 4000]),
            ("40x,1000-1005", vec![401, 404, 408, 1000, 1001, 1005]),
            ("4xx,4xxx", vec![401, 404, 408, 429, 4000]),
        ] {
            let list = RetryOn::parse(text).expect(text);
            let passing: Vec<_> = codes.into_iter().filter(|code| list.contains(*code)).collect();
            assert_eq!(passing, expected, "{text}");
        }
    }

    #[test]
    fn a_loss_passes_whatever_the_list_says_and_what_cannot_pass_never() {
        for text in ["none", "all", "1011"] {
            let list = RetryOn::parse(text).expect(text);
            assert!(list.lets_pass(Cause::Passing) && !list.lets_pass(Cause::Final), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for text in ["", "x", "xxx", "5x", "42", "99x", "5000", "9xxx", "1011-1001", "429,,5xx", "+429", "4294967295"] {
            assert!(RetryOn::parse(text).is_err(), "{text}");
        }
        let error = RetryOn::parse("429,often").expect_err("no code");
        assert!(error.starts_with("invalid status or close code 'often'"), "{error}");
    }
}
