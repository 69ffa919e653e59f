//! Whether two targets differ (pure): the unit is the run, not the message.
//!
//! Messages within a run depend on one another, and there are so many that any difference would count as proven. Owns the
//! rank test (Mann and Whitney, exact, mid-ranks for ties), the interval of the ratio by drawing runs anew, and the words.
//! Invariant: below four runs a side nothing is decided.

use serde::Serialize;

use super::report::Report;

/// Runs a side from which on a difference can be seen at all.
const ENOUGH: usize = 4;
/// A difference at least as unlikely by chance counts.
const LEVEL: f64 = 0.05;
/// Times the runs are drawn anew for the interval.
const DRAWS: usize = 10_000;

/// One figure of both targets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Difference {
    /// `rate`, `p50` or `p99`.
    pub figure: String,
    /// Of each run of the one.
    pub a: Vec<f64>,
    /// Of each run of the other.
    pub b: Vec<f64>,
    /// The other's median by the one's.
    pub ratio: f64,
    /// Where the ratio lies with 95 % confidence.
    pub interval: (f64, f64),
    /// How likely chance alone makes such a difference.
    pub p: f64,
    /// Whether there were enough runs to decide.
    pub enough: bool,
    pub conclusion: String,
}

/// A figure that some runs do not have, for want of messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Unmeasured {
    /// `p50` or `p99`.
    pub figure: &'static str,
    /// Runs of the one without it.
    pub a: usize,
    /// Runs of the other without it.
    pub b: usize,
}

type Figure = (&'static str, fn(&Report) -> Option<f64>);

/// The figures that are compared, by name: of each report.
const FIGURES: [Figure; 3] = [
    ("rate", |report| Some(report.rate.achieved)),
    ("p50", |report| report.headline().1.p50),
    ("p99", |report| report.headline().1.p99),
];

/// Compares the figures that runs of both sides have.
#[must_use]
pub(crate) fn compare(a: &[Report], b: &[Report], seed: u64) -> Vec<Difference> {
    let of =
        |reports: &[Report], get: fn(&Report) -> Option<f64>| -> Vec<f64> { reports.iter().filter_map(get).collect() };
    FIGURES
        .into_iter()
        .map(|(name, get)| (name, of(a, get), of(b, get)))
        .filter(|(_, a, b)| !a.is_empty() && !b.is_empty())
        .map(|(name, a, b)| difference(name, a, b, seed))
        .collect()
}

/// The figures that runs lack.
#[must_use]
pub(crate) fn unmeasured(a: &[Report], b: &[Report]) -> Vec<Unmeasured> {
    let without = |reports: &[Report], get: fn(&Report) -> Option<f64>| {
        reports.iter().filter(|report| get(report).is_none()).count()
    };
    FIGURES
        .into_iter()
        .map(|(figure, get)| Unmeasured { figure, a: without(a, get), b: without(b, get) })
        .filter(|lack| lack.a + lack.b > 0)
        .collect()
}

/// Compares one figure.
#[must_use]
pub(crate) fn difference(figure: &str, a: Vec<f64>, b: Vec<f64>, seed: u64) -> Difference {
    let ratio = median(&b) / median(&a);
    let interval = interval(&a, &b, seed);
    let p = rank_test(&a, &b);
    let enough = a.len().min(b.len()) >= ENOUGH;
    let conclusion = conclude(figure, ratio, interval, p, enough);
    Difference { figure: figure.to_owned(), a, b, ratio, interval, p, enough, conclusion }
}

fn conclude(figure: &str, ratio: f64, (low, high): (f64, f64), p: f64, enough: bool) -> String {
    if !enough {
        return format!("too few runs to decide: --repeat {ENOUGH} or more");
    }
    let percent = |ratio: f64| (ratio - 1.0).abs() * 100.0;
    if p <= LEVEL {
        let better = (figure == "rate") == (ratio > 1.0);
        let word = if figure == "rate" { "higher" } else { "longer" };
        let less = if figure == "rate" { "lower" } else { "shorter" };
        let size = match percent(ratio) {
            // It may be there all the same: what runs show again and again is no chance, however small.
            ..0.05 => "less than 0.1".to_owned(),
            size => format!("{size:.1}"),
        };
        return format!(
            "B is {}: {size} % {}, significant (p = {p:.3})",
            if better { "better" } else { "worse" },
            if ratio > 1.0 { word } else { less },
        );
    }
    let seen = percent(low).max(percent(high)).max(0.1);
    format!("no significant difference (p = {p:.3}; any difference is at most {seen:.1} %)")
}

/// The middle, or the mean of the two in the middle.
#[must_use]
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[half],
        _ => f64::midpoint(sorted[half - 1], sorted[half]),
    }
}

/// The 95 % interval of the ratio of the medians, by drawing from the runs with replacement.
fn interval(a: &[f64], b: &[f64], seed: u64) -> (f64, f64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut draw = |values: &[f64]| {
        let drawn: Vec<f64> = (0..values.len()).map(|_| values[random.usize(..values.len())]).collect();
        median(&drawn)
    };
    let mut ratios: Vec<f64> = (0..DRAWS).map(|_| draw(b) / draw(a)).collect();
    ratios.sort_by(f64::total_cmp);
    (ratios[DRAWS / 40], ratios[DRAWS - 1 - DRAWS / 40])
}

/// The two-sided probability of ranks at least as far apart, over all ways to divide the runs between the sides.
fn rank_test(a: &[f64], b: &[f64]) -> f64 {
    let all: Vec<f64> = a.iter().chain(b).copied().collect();
    // Twice the mid-rank is a whole number.
    let rank = |value: f64| {
        let below = all.iter().filter(|other| **other < value).count();
        let equal = all.iter().filter(|other| (**other - value).abs() == 0.0).count();
        2 * below + equal + 1
    };
    let ranks: Vec<usize> = all.iter().map(|value| rank(*value)).collect();
    let observed: usize = ranks[..a.len()].iter().sum();
    let total: usize = ranks.iter().sum();
    // ways[k][s]: choices of k runs whose ranks add up to s.
    let mut ways = vec![vec![0.0_f64; total + 1]; a.len() + 1];
    ways[0][0] = 1.0;
    for rank in &ranks {
        for count in (1..=a.len()).rev() {
            for sum in (*rank..=total).rev() {
                let more = ways[count - 1][sum - rank];
                ways[count][sum] += more;
            }
        }
    }
    let expected = total as f64 * a.len() as f64 / all.len() as f64;
    let distance = (observed as f64 - expected).abs();
    let sums = &ways[a.len()];
    let everything: f64 = sums.iter().sum();
    let as_far: f64 = sums
        .iter()
        .enumerate()
        .filter(|(sum, _)| (*sum as f64 - expected).abs() >= distance - 1e-9)
        .map(|(_, ways)| ways)
        .sum();
    as_far / everything
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(one: f64, two: f64) -> bool {
        (one - two).abs() < 5e-4
    }

    #[test]
    fn the_rank_test_is_exact() {
        // The least a number of runs can show: 2 of (n over k).
        let table = [
            (vec![1.0, 2.0, 3.0], vec![4.0, 5.0, 6.0], 0.1),
            (vec![1.0, 2.0, 3.0, 4.0], vec![5.0, 6.0, 7.0, 8.0], 0.0286),
            (vec![1.0, 2.0, 3.0, 4.0, 5.0], vec![6.0, 7.0, 8.0, 9.0, 10.0], 0.0079),
            (vec![1.0, 3.0, 5.0, 7.0], vec![2.0, 4.0, 6.0, 8.0], 0.6857),
            (vec![1.0; 5], vec![1.0; 5], 1.0),
        ];
        for (a, b, p) in table {
            assert!(near(rank_test(&a, &b), p), "{} for {a:?} {b:?}", rank_test(&a, &b));
            assert!(near(rank_test(&b, &a), p));
        }
    }

    #[test]
    fn too_few_runs_decide_nothing() {
        let few = difference("p99", vec![1.0, 1.1, 1.2], vec![9.0, 9.1, 9.2], 1);
        assert!(!few.enough && few.conclusion.starts_with("too few runs"), "{few:?}");
        let enough = difference("p99", vec![1.0, 1.1, 1.2, 1.0], vec![2.0, 2.1, 2.2, 2.3], 1);
        assert!(enough.conclusion.starts_with("B is worse"), "{enough:?}");
        assert!(enough.interval.0 > 1.5 && enough.interval.1 < 2.5 && near(enough.ratio, 2.15 / 1.05));
        let faster = difference("rate", vec![1.0, 1.1, 1.2, 1.0], vec![2.0, 2.1, 2.2, 2.3], 1);
        assert!(faster.conclusion.starts_with("B is better"), "{faster:?}");
    }

    #[test]
    fn a_small_difference_says_whether_it_is_significant() {
        let steady = difference("rate", vec![1000.0, 1000.1, 1000.2, 1000.3], vec![1000.4, 1000.5, 1000.6, 1000.7], 1);
        assert_eq!(steady.conclusion, "B is better: less than 0.1 % higher, significant (p = 0.029)");
        let same = difference("rate", vec![1000.0; 4], vec![1000.0; 4], 1);
        assert_eq!(same.conclusion, "no significant difference (p = 1.000; any difference is at most 0.1 %)");
    }

    #[test]
    fn no_difference_is_told_with_what_could_have_been_seen() {
        let same = difference("p50", vec![1.0, 1.02, 0.99, 1.01, 1.0], vec![1.01, 1.0, 1.0, 0.98, 1.03], 3);
        assert!(same.p > 0.05 && same.conclusion.starts_with("no significant difference"), "{same:?}");
        assert!(near(median(&[3.0, 1.0, 2.0, 10.0]), 2.5));
    }
}
