//! What the figures are worth (pure): whether the generator or the target was measured, and whether the target kept up.
//!
//! Owns the limits. Leaves thresholds to [`super::threshold`] and the exit code to the caller. Invariant: every doubt
//! is named in words, worst first, with a hint where something does.

use super::histogram::{Latencies, millis};

/// A thread that computes for more of its time than this, seconds on end, may have been in the way.
const BUSY: f64 = 0.80;
const BUSY_SECONDS: usize = 3;
/// Beyond this share of the whole time it was the bottleneck.
pub(crate) const SATURATED: f64 = 0.97;
/// Lateness below this is never held against us, in nanoseconds.
const FLOOR: u64 = 50_000;
/// Of the response time's p99, or its p90 where there are too few messages for that.
const LATE_TAIL: f64 = 0.10;
/// Of the response time's median.
const LATE_P50: f64 = 0.25;
/// Share of the messages due that we may miss for our own reasons.
const MISSED: f64 = 0.01;
/// Fewer are chance, unless they are a good part of all.
const MISSED_LEAST: u64 = 10;
/// Such a part.
const GOOD_PART: f64 = 0.10;
/// Share of the rate asked for that is to be achieved.
pub(crate) const ACHIEVED: f64 = 0.99;
/// A backlog below so many seconds' worth of messages is no sign of overload.
const BACKLOG_SECONDS: f64 = 0.05;
/// Nor is one of fewer messages: at low rates one that is under way is more than those seconds' worth.
const BACKLOG_LEAST: f64 = 5.0;
/// How much the backlog's least must grow from one quarter to the next.
const BACKLOG_GROWTH: f64 = 1.2;

/// What the verdict is made from.
#[derive(Debug, Default)]
pub(crate) struct Evidence<'a> {
    /// In open loop: messages a second that were asked for.
    pub asked: Option<f64>,
    /// Messages a second that were sent.
    pub achieved: f64,
    /// Messages that were due while measuring.
    pub due: u64,
    /// Missed because we came too late.
    pub missed_generator: u64,
    /// Missed because a connection had too much under way.
    pub missed_target: u64,
    /// Missed because none was open.
    pub missed_closed: u64,
    pub schedule: Option<&'a Latencies>,
    pub response: Option<&'a Latencies>,
    /// Each thread's share of computing time, over all and second by second.
    pub shards: Vec<(f64, Vec<f64>)>,
    /// How far replies were behind, several times a second while measuring: what was sent after the last message that was
    /// answered. What expires stays in it, since it may wait all the same; what gets lost on its way leaves it with the
    /// next answer.
    pub backlog: Vec<u64>,
    /// Seconds that were measured.
    pub seconds: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// The figures are the target's.
    Valid,
    /// They may be the generator's in part.
    Degraded,
    /// They are the generator's.
    Invalid,
}

impl Health {
    /// As in the report.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Degraded => "degraded",
            Self::Invalid => "invalid",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub health: Health,
    /// Whether the target kept up, in open loop.
    pub sustained: Option<bool>,
    pub reasons: Vec<String>,
}

/// Weighs the evidence.
#[must_use]
pub(crate) fn judge(evidence: &Evidence<'_>) -> Verdict {
    let mut found: Vec<(Health, String)> = Vec::new();
    let busiest = evidence.shards.iter().map(|(cpu, _)| *cpu).fold(0.0, f64::max);
    if busiest > SATURATED {
        let text = format!(
            "the generator was the bottleneck: its busiest thread used {:.0} % CPU; use fewer connections, fewer in \
             flight, a --rate, or more --threads",
            busiest * 100.0
        );
        found.push((Health::Invalid, text));
    } else if evidence.shards.iter().any(|(_, seconds)| is_long_busy(seconds)) {
        let text = format!("a generator thread used more than {:.0} % CPU for {BUSY_SECONDS} s in a row", BUSY * 100.0);
        found.push((Health::Degraded, text));
    }
    let missed = share(evidence.missed_generator, evidence.due);
    if missed > MISSED && is_more_than_chance(evidence.missed_generator, evidence.due) {
        let text =
            format!("the generator itself failed to send {:.1} % of messages within 10 ms of schedule", missed * 100.0);
        found.push((Health::Invalid, text));
    }
    found.extend(lateness(evidence));
    let sustained = evidence.asked.map(|asked| {
        let lacking = (evidence.due as f64 * (1.0 - evidence.achieved / asked)).max(0.0).round();
        // At a low rate the messages at both ends of the time are a good part of all.
        #[allow(clippy::cast_sign_loss)]
        let short = evidence.achieved < ACHIEVED * asked && is_more_than_chance(lacking as u64, evidence.due);
        let by_target = evidence.missed_target + evidence.missed_closed > evidence.missed_generator;
        if short && !by_target {
            let text = format!(
                "the generator sent {} of {} messages a second",
                per_second(evidence.achieved),
                per_second(asked)
            );
            found.push((Health::Degraded, text));
        }
        !(is_growing(&evidence.backlog, asked) || short && by_target)
    });
    found.sort_by_key(|(health, _)| std::cmp::Reverse(*health));
    let health = found.first().map_or(Health::Valid, |(health, _)| *health);
    let mut reasons: Vec<String> = found.into_iter().map(|(_, text)| text).collect();
    if let (Some(false), Some(asked)) = (sustained, evidence.asked) {
        let waits = evidence.backlog.last().copied().unwrap_or_default() as f64;
        let taken =
            if evidence.seconds > 0.0 { evidence.achieved - waits / evidence.seconds } else { evidence.achieved };
        let end = if is_growing(&evidence.backlog, asked) || evidence.missed_target > evidence.missed_closed {
            "the backlog grew until the end, so response times reflect the length of the run"
        } else {
            "the others had no open connection"
        };
        let text = format!(
            "not sustained: the target took {} of {} messages a second; {end}",
            per_second(taken),
            per_second(asked)
        );
        reasons.push(text);
    }
    Verdict { health, sustained, reasons }
}

/// Our own lateness against what was measured.
fn lateness(evidence: &Evidence<'_>) -> Vec<(Health, String)> {
    let (Some(schedule), Some(response)) = (evidence.schedule, evidence.response) else { return Vec::new() };
    if schedule.count() == 0 || response.count() == 0 {
        return Vec::new();
    }
    let mut found = Vec::new();
    // By what the report tells alone: a percentile of too few samples is a single message's luck.
    let told = |percentile: f64| Some((schedule.percentile(percentile)?, response.percentile(percentile)?));
    if let Some((late, answer)) = told(50.0)
        && late > FLOOR
        && late as f64 > LATE_P50 * answer as f64
    {
        let text = format!(
            "half of the messages were sent at least {:.3} ms late, yet the median response time is {:.3} ms",
            millis(late),
            millis(answer)
        );
        found.push((Health::Invalid, text));
    }
    let highest = [(99.0, "a hundred", "p99"), (90.0, "ten", "p90")]
        .into_iter()
        .find_map(|(percentile, of, name)| Some((told(percentile)?, of, name)));
    if let Some(((late, answer), of, name)) = highest
        && found.is_empty()
        && late > FLOOR
        && late as f64 > LATE_TAIL * answer as f64
    {
        let text = format!(
            "one message in {of} was sent at least {:.3} ms late; the response {name} ({:.3} ms) includes that delay",
            millis(late),
            millis(answer)
        );
        found.push((Health::Degraded, text));
    }
    found
}

fn is_long_busy(seconds: &[f64]) -> bool {
    seconds.windows(BUSY_SECONDS).any(|window| window.iter().all(|cpu| *cpu > BUSY))
}

/// Whether what waits grows to the end: its least in the last quarter against that in the one before. The least,
/// since a target that stands still now and then makes the backlog rise and fall.
fn is_growing(backlog: &[u64], asked: f64) -> bool {
    let quarter = backlog.len() / 4;
    if quarter < 2 {
        return false;
    }
    let lowest = |samples: &[u64]| samples.iter().min().copied().unwrap_or_default() as f64;
    let last = lowest(&backlog[backlog.len() - quarter..]);
    let before = lowest(&backlog[backlog.len() - 2 * quarter..backlog.len() - quarter]);
    last > (asked * BACKLOG_SECONDS).max(BACKLOG_LEAST) && last > BACKLOG_GROWTH * before
}

/// Whether so many of all are more than what chance and the ends of the time make.
fn is_more_than_chance(count: u64, all: u64) -> bool {
    count >= MISSED_LEAST || count >= 2 && share(count, all) > GOOD_PART
}

/// A rate in words: low ones with a decimal.
fn per_second(rate: f64) -> String {
    if rate < 100.0 { format!("{rate:.1}") } else { whole(rate) }
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// A number with its thousands apart.
#[must_use]
pub(crate) fn whole(number: f64) -> String {
    // Rates and counts are never negative.
    #[allow(clippy::cast_sign_loss)]
    let digits = (number.max(0.0).round() as u64).to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::matching::{Outstanding, Sent};

    fn of(micros: &[u64]) -> Latencies {
        let mut latencies = Latencies::new();
        for value in micros {
            (0..1000 / micros.len()).for_each(|_| latencies.record(value * 1000));
        }
        latencies
    }

    fn open() -> Evidence<'static> {
        Evidence { asked: Some(1000.0), achieved: 1000.0, due: 10_000, ..Evidence::default() }
    }

    #[test]
    fn a_generator_with_headroom_is_valid() {
        let (schedule, response) = (of(&[20]), of(&[100]));
        let evidence = Evidence {
            schedule: Some(&schedule),
            response: Some(&response),
            shards: vec![(0.6, vec![0.9, 0.9, 0.5, 0.9, 0.9])],
            backlog: vec![3, 5, 2, 4, 5, 1, 3, 4],
            ..open()
        };
        let verdict = judge(&evidence);
        assert_eq!(verdict, Verdict { health: Health::Valid, sustained: Some(true), reasons: Vec::new() });
    }

    #[test]
    fn a_bottleneck_of_our_own_is_named() {
        let late = of(&[60, 60, 60, 80]);
        let slow = of(&[200, 200, 200, 300]);
        let table: Vec<(Evidence<'_>, Health, &str)> = vec![
            (Evidence { shards: vec![(0.5, vec![]), (0.98, vec![])], ..open() }, Health::Invalid, "98 %"),
            (Evidence { shards: vec![(0.7, vec![0.5, 0.81, 0.9, 0.85])], ..open() }, Health::Degraded, "3 s in a row"),
            (Evidence { missed_generator: 101, ..open() }, Health::Invalid, "failed to send 1.0 %"),
            (Evidence { missed_generator: 99, ..open() }, Health::Valid, ""),
            (Evidence { achieved: 980.0, ..open() }, Health::Degraded, "sent 980 of 1,000"),
            (Evidence { schedule: Some(&late), response: Some(&slow), ..open() }, Health::Invalid, "half of"),
        ];
        for (evidence, health, words) in table {
            let verdict = judge(&evidence);
            assert_eq!(verdict.health, health, "{verdict:?}");
            assert!(verdict.reasons.first().is_none_or(|reason| reason.contains(words)), "{verdict:?}");
        }
    }

    #[test]
    fn lateness_counts_from_a_floor_on() {
        let (late, tails) = (of(&[5, 5, 5, 70]), of(&[90, 90, 90, 200]));
        let verdict = judge(&Evidence { schedule: Some(&late), response: Some(&tails), ..open() });
        assert_eq!(verdict.health, Health::Degraded, "{verdict:?}");
        let (late, tails) = (of(&[49]), of(&[50]));
        let verdict = judge(&Evidence { schedule: Some(&late), response: Some(&tails), ..open() });
        assert_eq!(verdict.health, Health::Valid, "{verdict:?}");
    }

    #[test]
    fn low_rates_are_judged_by_what_can_be_told_of_them() {
        let few = |micros: u64, count: u64| {
            let mut latencies = Latencies::new();
            (0..count).for_each(|n| latencies.record(if n % 50 == 49 { 900_000 } else { micros * 1000 }));
            latencies
        };
        let low = || Evidence { asked: Some(50.0), achieved: 50.0, due: 200, seconds: 4.0, ..Evidence::default() };
        // Two of 100 are late: that is not a p99 of them.
        let (schedule, response) = (few(10, 100), few(400, 100));
        let evidence = Evidence { schedule: Some(&schedule), response: Some(&response), ..low() };
        assert_eq!(judge(&evidence).health, Health::Valid);
        let late = few(60, 100);
        let verdict = judge(&Evidence { schedule: Some(&late), response: Some(&response), ..low() });
        assert_eq!(verdict.health, Health::Degraded);
        assert!(verdict.reasons[0].starts_with("one message in ten was sent at least 0.06"), "{verdict:?}");
        // Twenty messages in two seconds: one at the end that was not sent, one under way.
        let twenty = || Evidence { asked: Some(10.0), achieved: 9.5, due: 20, seconds: 2.0, ..Evidence::default() };
        let verdict = judge(&Evidence { missed_generator: 1, backlog: vec![0, 0, 0, 0, 0, 0, 0, 1, 1, 1], ..twenty() });
        assert_eq!(verdict, Verdict { health: Health::Valid, sustained: Some(true), reasons: Vec::new() });
        let verdict = judge(&Evidence { achieved: 7.0, missed_generator: 6, ..twenty() });
        assert_eq!(verdict.health, Health::Invalid, "{verdict:?}");
        assert!(verdict.reasons[1].contains("sent 7.0 of 10.0 messages"), "{verdict:?}");
        let refused = Evidence { achieved: 5.0, missed_target: 10, ..twenty() };
        assert_eq!(judge(&refused).sustained, Some(false));
    }

    #[test]
    fn overload_is_told_from_a_stall() {
        let growing: Vec<u64> = (0..40).map(|n| n * 50).collect();
        let verdict = judge(&Evidence { backlog: growing, ..open() });
        assert_eq!((verdict.health, verdict.sustained), (Health::Valid, Some(false)));
        assert!(verdict.reasons[0].starts_with("not sustained"));
        // Every 25 samples the target stands still for 5.
        let stalls: Vec<u64> = (0..60).map(|n| if n % 25 >= 20 { (n % 25 - 19) * 200 } else { 2 }).collect();
        assert_eq!(judge(&Evidence { backlog: stalls, ..open() }).sustained, Some(true));
        let level: Vec<u64> = vec![400; 40];
        assert_eq!(judge(&Evidence { backlog: level, ..open() }).sustained, Some(true));
        for (refused, words) in [
            (Evidence { achieved: 700.0, missed_target: 3000, ..open() }, "the backlog grew"),
            (Evidence { achieved: 700.0, missed_closed: 3000, ..open() }, "had no open connection"),
        ] {
            let verdict = judge(&refused);
            assert_eq!(verdict.sustained, Some(false));
            assert!(verdict.reasons[0].contains(words), "{verdict:?}");
        }
        assert_eq!(judge(&Evidence::default()).sustained, None);
    }

    /// What a run of 4 s would have to say, 1,000 messages a second on one connection, from messages matched one by one.
    struct Target {
        /// Messages it answers a second, in order; what comes faster waits.
        takes: f64,
        /// Every so many messages one gets lost; 0 for none.
        loses: u64,
        /// It stands still for so many milliseconds of each second.
        stands: u64,
        /// It answers nothing from this millisecond on.
        ends: u64,
        /// Given up after so many milliseconds.
        deadline: u64,
    }

    impl Target {
        fn backlog(&self) -> Vec<u64> {
            let mut outstanding = Outstanding::default();
            let (mut samples, mut answered, mut capacity) = (Vec::new(), 0, 0.0);
            for now in 0..4000 {
                outstanding.push(Sent { intended: now, written: now, variant: 0 });
                capacity += if now % 1000 < self.stands || now >= self.ends { 0.0 } else { self.takes / 1000.0 };
                while capacity >= 1.0 && answered <= now {
                    if self.loses == 0 || answered % self.loses != 0 {
                        outstanding.take(answered);
                    }
                    answered += 1;
                    capacity -= 1.0;
                }
                if answered > now {
                    capacity = capacity.min(1.0);
                }
                outstanding.expire(now.saturating_sub(self.deadline), |_| ());
                if now % 200 == 199 {
                    samples.push(outstanding.behind());
                }
            }
            samples
        }
    }

    #[test]
    fn overload_is_told_at_any_deadline_and_from_losses() {
        let able = Target { takes: 5000.0, loses: 0, stands: 0, ends: u64::MAX, deadline: 5000 };
        let table = [
            ("able", Target { ..able }, true),
            ("loses a twentieth", Target { loses: 20, ..able }, true),
            ("loses a twentieth, deadline passed", Target { loses: 20, deadline: 300, ..able }, true),
            ("loses half", Target { loses: 2, ..able }, true),
            ("stalls and catches up", Target { stands: 400, ..able }, true),
            ("stalls beyond the deadline and catches up", Target { stands: 400, deadline: 100, ..able }, true),
            ("stalls, loses, catches up", Target { stands: 400, deadline: 100, loses: 20, ..able }, true),
            ("takes a fifth", Target { takes: 200.0, ..able }, false),
            ("takes a fifth, the deadline passes", Target { takes: 200.0, deadline: 500, ..able }, false),
            ("takes nine tenths, the deadline passes", Target { takes: 900.0, deadline: 100, ..able }, false),
            ("takes half and loses", Target { takes: 500.0, loses: 20, deadline: 300, ..able }, false),
            ("answers no more", Target { ends: 1500, deadline: 200, ..able }, false),
        ];
        for (name, target, sustained) in table {
            let backlog = target.backlog();
            let verdict = judge(&Evidence { backlog: backlog.clone(), seconds: 4.0, ..open() });
            assert_eq!(verdict.sustained, Some(sustained), "{name}: {backlog:?}");
        }
        let half = Target { takes: 500.0, deadline: 300, ..able };
        let verdict = judge(&Evidence { backlog: half.backlog(), seconds: 4.0, ..open() });
        assert!(verdict.reasons[0].contains("took 500 of 1,000"), "{verdict:?}");
    }

    #[test]
    fn thousands_are_kept_apart() {
        assert_eq!([0.4, 999.0, 1000.0, 1_234_567.0].map(whole), ["0", "999", "1,000", "1,234,567"]);
    }
}
