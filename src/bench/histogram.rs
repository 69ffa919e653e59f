//! Latencies as HDR histograms: recorded on each shard, added up, never averaged.
//!
//! Owns range and precision, when a percentile may be told, and the V2-deflate form other HDR tools read. The only room
//! that sees the crate `hdrhistogram`. Values are nanoseconds, distinguished from half a microsecond on to three
//! digits, up to an hour. Invariant: a percentile beyond which fewer than ten samples lie is not a number.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2DeflateSerializer};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The least value distinguished from nothing, in nanoseconds.
const LOWEST: u64 = 1_000;
/// Larger ones count as this, in nanoseconds.
const HIGHEST: u64 = 3_600_000_000_000;
/// Significant decimal digits.
const DIGITS: u8 = 3;
/// Samples that must lie beyond a percentile.
pub(crate) const BEYOND: f64 = 10.0;
/// The percentiles of every report.
pub(crate) const PERCENTILES: [(&str, f64); 5] =
    [("p50", 50.0), ("p90", 90.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99)];

/// Latencies of one kind. Takes memory from the first one on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies(Option<Box<Histogram<u64>>>);

// The bounds are constants that the library takes.
#[allow(clippy::expect_used)]
fn empty() -> Histogram<u64> {
    Histogram::new_with_bounds(LOWEST, HIGHEST, DIGITS).expect("bounds the library takes")
}

impl Latencies {
    #[must_use]
    pub(crate) fn new() -> Self {
        Self(None)
    }

    /// Adds one, in nanoseconds.
    pub(crate) fn record(&mut self, nanos: u64) {
        self.0.get_or_insert_with(|| Box::new(empty())).saturating_record(nanos);
    }

    pub(crate) fn add(&mut self, other: &Self) {
        if let Some(other) = &other.0 {
            // Same bounds: nothing can be out of range.
            let _ = self.0.get_or_insert_with(|| Box::new(empty())).add(&**other);
        }
    }

    /// Forgets all, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        if let Some(histogram) = self.0.as_mut().filter(|histogram| !histogram.is_empty()) {
            histogram.reset();
        }
    }

    #[must_use]
    pub(crate) fn count(&self) -> u64 {
        self.0.as_ref().map_or(0, |histogram| histogram.len())
    }

    /// The mean in nanoseconds, 0 of none.
    #[must_use]
    pub(crate) fn mean(&self) -> f64 {
        self.0.as_ref().map_or(0.0, |histogram| histogram.mean())
    }

    /// The least in nanoseconds, 0 of none.
    #[must_use]
    pub(crate) fn min(&self) -> u64 {
        self.0.as_ref().map_or(0, |histogram| histogram.min())
    }

    /// The greatest in nanoseconds, 0 of none.
    #[must_use]
    pub(crate) fn max(&self) -> u64 {
        self.0.as_ref().map_or(0, |histogram| histogram.max())
    }

    /// The value in nanoseconds below which this share, in percent, lies; whether it may be told or not.
    #[must_use]
    pub(crate) fn at(&self, percentile: f64) -> u64 {
        self.0.as_ref().map_or(0, |histogram| histogram.value_at_percentile(percentile))
    }

    /// As [`Latencies::at`], or `None` when fewer than ten samples lie beyond.
    #[must_use]
    pub(crate) fn percentile(&self, percentile: f64) -> Option<u64> {
        let beyond = self.count() as f64 * (100.0 - percentile) / 100.0;
        // A little off, since shares of a hundred are not binary fractions.
        (beyond >= BEYOND - 1e-6).then(|| self.at(percentile))
    }

    /// How many lie in each doubling of a tenth of a millisecond: the upper end in milliseconds, from the first that has
    /// any to the last.
    #[must_use]
    pub(crate) fn doublings(&self) -> Vec<(f64, u64)> {
        let Some(histogram) = self.0.as_ref().filter(|histogram| !histogram.is_empty()) else { return Vec::new() };
        let mut found = Vec::new();
        let (mut low, mut high) = (0, 100_000_u64);
        while low <= histogram.max() {
            let count = histogram.count_between(low, high);
            if count > 0 || !found.is_empty() {
                found.push((millis(high), count));
            }
            (low, high) = (high + 1, high * 2);
        }
        found
    }

    /// What a report says of them. `unanswered` messages would have taken longer than any of these.
    #[must_use]
    pub(crate) fn summary(&self, unanswered: u64) -> Summary {
        let count = self.count();
        let share = if count == 0 { 0.0 } else { 100.0 * unanswered as f64 / (count + unanswered) as f64 };
        let some = |value: u64| (count > 0).then(|| millis(value));
        let tell = |percentile: f64| {
            if share > 100.0 - percentile { None } else { self.percentile(percentile).map(millis) }
        };
        let [p50, p90, p99, p999, p9999] = PERCENTILES.map(|(_, percentile)| tell(percentile));
        let beyond_deadline =
            PERCENTILES.iter().filter(|(_, p)| count > 0 && share > 100.0 - p).map(|(name, _)| (*name).to_owned());
        Summary {
            count,
            mean: (count > 0).then(|| self.mean() / 1e6),
            min: some(self.min()),
            max: some(self.max()),
            p50,
            p90,
            p99,
            p999,
            p9999,
            beyond_deadline: beyond_deadline.collect(),
            hdr: self.to_base64(),
        }
    }

    /// The V2-deflate form in base64, as HDR logs have it; empty when there is none.
    #[must_use]
    pub(crate) fn to_base64(&self) -> String {
        let Some(histogram) = self.0.as_ref().filter(|histogram| !histogram.is_empty()) else {
            return String::new();
        };
        let mut bytes = Vec::new();
        match V2DeflateSerializer::new().serialize(histogram, &mut bytes) {
            Ok(_) => BASE64.encode(bytes),
            Err(_) => String::new(),
        }
    }

    /// Reads what [`Latencies::to_base64`] wrote.
    ///
    /// # Errors
    /// Text that is no such histogram.
    pub(crate) fn from_base64(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::new());
        }
        let bytes = BASE64.decode(text).map_err(|error| format!("no base64: {error}"))?;
        let read: Histogram<u64> = Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| format!("invalid HDR histogram: {error}"))?;
        let mut histogram = empty();
        histogram.add(&read).map_err(|error| format!("histogram has different bounds: {error}"))?;
        Ok(Self(Some(Box::new(histogram))))
    }
}

/// Nanoseconds as milliseconds.
#[must_use]
pub(crate) fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// Latencies as a report has them, in milliseconds; `None` is too few samples, or none.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(crate) struct Summary {
    pub count: u64,
    pub mean: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    /// Half of them are below.
    pub p50: Option<f64>,
    /// 90 % are below.
    pub p90: Option<f64>,
    /// 99 % are below.
    pub p99: Option<f64>,
    /// 99.9 % are below.
    #[serde(rename = "p99.9")]
    pub p999: Option<f64>,
    /// 99.99 % are below.
    #[serde(rename = "p99.99")]
    pub p9999: Option<f64>,
    /// Percentiles among the messages that were never answered: longer than the deadline.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beyond_deadline: Vec<String>,
    /// All of them, as other HDR tools read it.
    #[serde(default)]
    pub hdr: String,
}

impl Summary {
    #[must_use]
    pub(crate) fn percentile(&self, name: &str) -> Option<f64> {
        match name {
            "p50" => self.p50,
            "p90" => self.p90,
            "p99" => self.p99,
            "p99.9" => self.p999,
            "p99.99" => self.p9999,
            _ => None,
        }
    }
}

/// The latencies of one kind in one stretch of time, as a line of an HDR log.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Logged {
    pub tag: &'static str,
    /// Seconds since the log began.
    pub start: f64,
    /// How long it was, in seconds.
    pub seconds: f64,
    /// The greatest, in milliseconds.
    pub max: f64,
    /// The V2-deflate form in base64.
    pub histogram: String,
}

impl Logged {
    /// What was recorded from `start` on for `seconds`; `None` where nothing was.
    #[must_use]
    pub(crate) fn of(tag: &'static str, start: f64, seconds: f64, latencies: &Latencies) -> Option<Self> {
        let histogram = latencies.to_base64();
        let max = millis(latencies.max());
        (!histogram.is_empty()).then_some(Self { tag, start, seconds, max, histogram })
    }
}

/// An interval log as the HDR tools write and read it; `begun` in seconds since 1970.
#[must_use]
pub(crate) fn interval_log(comment: &str, begun: f64, intervals: &[Logged]) -> String {
    let mut log = format!(
        "#{comment}\n#[Histogram log format version 1.3]\n#[StartTime: {begun:.3} (seconds since epoch)]\n\
         #[BaseTime: {begun:.3} (seconds since epoch)]\n\
         \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n"
    );
    for interval in intervals {
        let Logged { tag, start, seconds, max, histogram } = interval;
        let _ = writeln!(log, "Tag={tag},{start:.3},{seconds:.3},{max:.3},{histogram}");
    }
    log
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::new();
        values.into_iter().for_each(|value| latencies.record(value));
        latencies
    }

    #[test]
    fn a_percentile_needs_ten_samples_beyond_it() {
        let table = [
            (19, [false, false, false, false, false]),
            (20, [true, false, false, false, false]),
            (100, [true, true, false, false, false]),
            (1000, [true, true, true, false, false]),
            (9_999, [true, true, true, false, false]),
            (10_000, [true, true, true, true, false]),
            (100_000, [true, true, true, true, true]),
        ];
        for (count, told) in table {
            let summary = of((0..count).map(|n| n * 1000)).summary(0);
            let seen = PERCENTILES.map(|(name, _)| summary.percentile(name).is_some());
            assert_eq!(seen, told, "{count}");
        }
        let none = Latencies::new().summary(5);
        assert_eq!((none.count, none.mean, none.max, none.hdr.as_str()), (0, None, None, ""));
    }

    #[test]
    fn what_was_never_answered_took_longer_than_the_deadline() {
        let latencies = of((1..=10_000).map(|n| n * 1000));
        let summary = latencies.summary(150);
        assert_eq!(summary.beyond_deadline, ["p99", "p99.9", "p99.99"]);
        assert!(summary.p50.is_some() && summary.p90.is_some() && summary.p99.is_none());
        assert_eq!(latencies.summary(0).beyond_deadline, Vec::<String>::new());
    }

    #[test]
    fn values_are_told_apart_to_three_digits() {
        let latencies = of([5_000_000]);
        assert!((millis(latencies.at(50.0)) - 5.0).abs() < 0.006);
        assert!((latencies.mean() / 1e6 - 5.0).abs() < 0.006);
        assert_eq!(of([u64::MAX]).count(), 1, "beyond the range counts as the end of it");
    }

    proptest! {
        #[test]
        fn merging_is_as_if_recorded_together(
            one in prop::collection::vec(0..10_000_000_000_u64, 0..200), other in prop::collection::vec(0..10_000_000_u64, 0..200),
        ) {
            let whole = of(one.iter().chain(&other).copied());
            let mut merged = Latencies::from_base64(&of(one).to_base64()).expect("its own form");
            merged.add(&Latencies::from_base64(&of(other).to_base64()).expect("its own form"));
            prop_assert_eq!(merged.summary(0), whole.summary(0));
        }
    }

    #[test]
    fn what_is_no_histogram_is_refused() {
        for text in ["?", "aGVsbG8=", "HISTFAAA"] {
            assert!(Latencies::from_base64(text).is_err(), "{text}");
        }
    }
}
