//! Thresholds: `p99<20ms`, `loss<0.01%`, `rate>10k` (pure).
//!
//! Owns their notation and whether a report meets them. A percentile with too few samples is judged by the maximum: it
//! cannot be above that. Leaves the exit code to the caller. Invariant: what could not be measured is not met.

use serde::{Deserialize, Serialize};

use super::histogram::{Latencies, Summary};
use super::report::Report;

/// How a value compares with the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
    Equal,
}

#[derive(Debug, Clone, PartialEq)]
enum Figure {
    Latency(Kind, Statistic),
    Share(Share),
    Rate,
    Count(Count),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Response in open loop, service in closed loop, connect where nothing is sent.
    Headline,
    Connect,
    Schedule,
    Service,
    Response,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Statistic {
    Percentile(f64),
    Mean,
    Max,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Share {
    Loss,
    Errors,
    Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Count {
    Lost,
    Duplicated,
    Reordered,
    Corrupt,
    Unexpected,
    Received,
    Verified,
    Unverified,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Threshold {
    text: String,
    figure: Figure,
    comparison: Comparison,
    /// Milliseconds, a share, messages a second or a count.
    limit: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// As it was written.
    pub expression: String,
    /// What was measured, in the unit; `None` when it could not be.
    pub value: Option<f64>,
    /// ms, share, per second or nothing.
    pub unit: String,
    pub ok: bool,
    /// What is to be known about the value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// Reads the numbers of a threshold: the notations of the command line.
pub(crate) struct Numbers<'a> {
    /// `20ms` in seconds.
    pub duration: &'a dyn Fn(&str) -> Result<f64, String>,
    /// `10k`.
    pub rate: &'a dyn Fn(&str) -> Result<f64, String>,
    /// `1%` or `0.01` or `1/100`.
    pub share: &'a dyn Fn(&str) -> Result<f64, String>,
}

impl Threshold {
    /// Reads `FIGURE<LIMIT`.
    ///
    /// # Errors
    /// A line that says what is wrong.
    pub(crate) fn parse(text: &str, numbers: &Numbers<'_>) -> Result<Self, String> {
        let at = text
            .find(['<', '>', '='])
            .ok_or_else(|| format!("invalid threshold '{text}'; use e.g. p99<20ms, loss<0.01% or rate>10k"))?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let operators = [
            ("<=", Comparison::AtMost),
            (">=", Comparison::AtLeast),
            ("==", Comparison::Equal),
            ("<", Comparison::Below),
            (">", Comparison::Above),
            ("=", Comparison::Equal),
        ];
        let found = operators.iter().find_map(|(sign, comparison)| Some((rest.strip_prefix(sign)?, *comparison)));
        let (limit, comparison) = found.ok_or_else(|| format!("threshold '{text}' has no comparison"))?;
        let figure = figure(name).ok_or_else(|| {
            format!(
                "'{name}' cannot be compared: p50, p99.9, mean, max (also as connect.p99, service.p99, schedule.p99), \
                 loss, errors, reach, rate, lost, duplicated, reordered, corrupt, unexpected, unverified, verified, \
                 received can"
            )
        })?;
        let limit = limit.trim();
        let limit = match &figure {
            Figure::Latency(..) => (numbers.duration)(limit)? * 1000.0,
            Figure::Share(_) => (numbers.share)(limit)?,
            Figure::Rate => (numbers.rate)(limit)?,
            // Of these there may be none.
            Figure::Count(_) => match limit.parse::<u32>() {
                Ok(count) => f64::from(count),
                Err(_) => (numbers.rate)(limit)?,
            },
        };
        Ok(Self { text: text.trim().to_owned(), figure, comparison, limit })
    }

    /// As it was written.
    #[must_use]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the name of the figure it is about, as written: `p99`, `loss`, `unexpected`.
    #[must_use]
    pub(crate) fn figure(&self) -> &str {
        self.text.split(['<', '>', '=']).next().unwrap_or_default().trim()
    }

    fn holds(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Below => value < self.limit,
            Comparison::AtMost => value <= self.limit,
            Comparison::Above => value > self.limit,
            Comparison::AtLeast => value >= self.limit,
            // Counts and shares of them: no rounding that could matter.
            Comparison::Equal => (value - self.limit).abs() < 1e-9,
        }
    }

    /// Compares with what a report says.
    #[must_use]
    pub(crate) fn judge(&self, report: &Report) -> Outcome {
        let (value, unit, note) = match &self.figure {
            Figure::Latency(kind, statistic) => {
                let (value, note) = latency(report, *kind, *statistic);
                (value, "ms", note)
            }
            Figure::Share(share) => (share_of(report, *share), "share", None),
            Figure::Rate => (Some(report.rate.achieved), "per second", None),
            Figure::Count(count) => (Some(count_of(report, *count) as f64), "", None),
        };
        let ok = value.is_some_and(|value| self.holds(value));
        let note = note.or_else(|| value.is_none().then(|| "not measured".to_owned()));
        Outcome { expression: self.text.clone(), value, unit: unit.to_owned(), ok, note }
    }
}

fn figure(name: &str) -> Option<Figure> {
    let (kind, statistic) = match name.split_once('.') {
        Some(("connect", rest)) => (Kind::Connect, rest),
        Some(("schedule", rest)) => (Kind::Schedule, rest),
        Some(("service", rest)) => (Kind::Service, rest),
        Some(("response", rest)) => (Kind::Response, rest),
        _ => (Kind::Headline, name),
    };
    let statistic = match statistic {
        "mean" => Some(Statistic::Mean),
        "max" => Some(Statistic::Max),
        _ => statistic
            .strip_prefix('p')
            .and_then(|number| number.parse().ok())
            .filter(|number| (0.0..100.0).contains(number))
            .map(Statistic::Percentile),
    };
    if let Some(statistic) = statistic {
        return Some(Figure::Latency(kind, statistic));
    }
    Some(match name {
        "loss" => Figure::Share(Share::Loss),
        "errors" => Figure::Share(Share::Errors),
        "reach" => Figure::Share(Share::Reach),
        "rate" => Figure::Rate,
        "lost" => Figure::Count(Count::Lost),
        "duplicated" => Figure::Count(Count::Duplicated),
        "reordered" => Figure::Count(Count::Reordered),
        "corrupt" => Figure::Count(Count::Corrupt),
        "unexpected" => Figure::Count(Count::Unexpected),
        "received" => Figure::Count(Count::Received),
        "verified" => Figure::Count(Count::Verified),
        "unverified" => Figure::Count(Count::Unverified),
        _ => return None,
    })
}

fn latency(report: &Report, kind: Kind, statistic: Statistic) -> (Option<f64>, Option<String>) {
    let latency = &report.latency_ms;
    let (summary, unanswered): (&Summary, u64) = match kind {
        Kind::Headline => (report.headline().1, report.unanswered()),
        Kind::Connect => (&latency.connect, 0),
        Kind::Schedule => (&latency.schedule, 0),
        Kind::Service => (&latency.service, report.unanswered()),
        Kind::Response => match &latency.response {
            Some(response) => (response, report.unanswered()),
            None => return (None, Some("a closed loop measures no response time; use service".to_owned())),
        },
    };
    let percentile = match statistic {
        Statistic::Mean => return (summary.mean, None),
        Statistic::Max if unanswered > 0 => return (None, Some("messages were never answered".to_owned())),
        Statistic::Max => return (summary.max, None),
        Statistic::Percentile(percentile) => percentile,
    };
    let share = unanswered as f64 * 100.0 / (summary.count + unanswered).max(1) as f64;
    if share > 100.0 - percentile {
        return (None, Some("above the deadline: too many messages were never answered".to_owned()));
    }
    let told = Latencies::from_base64(&summary.hdr).ok().and_then(|latencies| latencies.percentile(percentile));
    match told {
        Some(nanos) => (Some(super::histogram::millis(nanos)), None),
        None => (summary.max, summary.max.map(|_| "the maximum: too few samples for this percentile".to_owned())),
    }
}

fn share_of(report: &Report, share: Share) -> Option<f64> {
    match share {
        Share::Loss => Some(report.messages.loss()),
        Share::Errors => {
            let tried = report.connect.asked.max(report.connect.ok) as f64 + report.messages.sent as f64;
            let failed = report.errors.values().sum::<u64>() + report.messages.lost + report.messages.corrupt;
            Some(if tried == 0.0 { 0.0 } else { failed as f64 / tried })
        }
        Share::Reach => report.publish.as_ref().map(|publish| publish.reach),
    }
}

fn count_of(report: &Report, count: Count) -> u64 {
    let messages = &report.messages;
    match count {
        Count::Lost => messages.lost,
        Count::Duplicated => messages.duplicated,
        Count::Reordered => messages.reordered,
        Count::Corrupt => messages.corrupt,
        Count::Unexpected => messages.unexpected,
        Count::Received => messages.received,
        Count::Verified => messages.verified,
        Count::Unverified => messages.received.saturating_sub(messages.verified),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Threshold, String> {
        let number = |text: &str, unit: &str, scale: f64| {
            text.strip_suffix(unit)
                .and_then(|n| n.parse::<f64>().ok())
                .map(|n| n * scale)
                .ok_or_else(|| text.to_owned())
        };
        let numbers = Numbers {
            duration: &|text| number(text, "ms", 1e-3),
            rate: &|text| number(text, "k", 1000.0).or_else(|_| number(text, "", 1.0)),
            share: &|text| number(text, "%", 0.01).or_else(|_| number(text, "", 1.0)),
        };
        Threshold::parse(text, &numbers)
    }

    fn report(samples: u64, lost: u64) -> Report {
        let mut latencies = Latencies::new();
        (1..=samples).for_each(|n| latencies.record(n * 10_000));
        let mut report = Report::default();
        report.messages.received = samples;
        report.messages.sent = samples + lost;
        report.messages.lost = lost;
        report.rate.achieved = 5000.0;
        report.mode = "open".to_owned();
        report.latency_ms.response = Some(latencies.summary(lost));
        report
    }

    #[test]
    fn what_is_measured_is_compared() {
        let report = report(10_000, 0);
        let table = [
            ("p99<100ms", true),
            ("p99<98ms", false),
            ("p99.9 <= 100.5ms", true),
            ("response.p50>40ms", true),
            ("max<100.1ms", true),
            ("mean<49ms", false),
            ("loss<0.01%", true),
            ("loss=0", true),
            ("lost>0", false),
            ("rate>4k", true),
            ("rate>=5001", false),
            ("corrupt=0", true),
            ("reach>0.9", false),
            ("service.p99<1ms", false),
        ];
        for (text, ok) in table {
            let outcome = parse(text).expect(text).judge(&report);
            assert_eq!((outcome.ok, outcome.expression.as_str()), (ok, text), "{outcome:?}");
        }
    }

    #[test]
    fn too_few_samples_are_judged_by_the_maximum() {
        let few = report(500, 0);
        let met = parse("p99.9<6ms").expect("one").judge(&few);
        assert!(met.ok && met.note.is_some(), "{met:?}");
        assert!(!parse("p99.9<4ms").expect("one").judge(&few).ok);
        let none = parse("p99<20ms").expect("one").judge(&report(0, 0));
        assert!(!none.ok && none.value.is_none(), "{none:?}");
    }

    #[test]
    fn a_percentile_among_lost_messages_is_not_met() {
        let lossy = report(10_000, 200);
        assert!(!parse("p99<1000ms").expect("one").judge(&lossy).ok);
        assert!(parse("p90<1000ms").expect("one").judge(&lossy).ok);
        assert!(!parse("max<10000ms").expect("one").judge(&lossy).ok);
    }

    #[test]
    fn what_is_no_threshold_is_refused() {
        for text in ["p99", "p99<", "p100<1ms", "x<1ms", "p99<20", "<1ms", "connect.loss<1%", "p99!20ms"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
