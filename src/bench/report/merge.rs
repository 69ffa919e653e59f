//! Adds reports up: counts and histograms exactly, rates by the time they cover, verdicts by the worst.
//!
//! Percentiles are read from the merged histograms. What cannot be added, the seconds, is left out.

use std::collections::BTreeMap;

use super::{Latency, Report, Summary};
use crate::bench::histogram::Latencies;

/// The sum of several reports; of one, that one.
///
/// # Errors
/// Histograms that cannot be read, and reports that do not belong together.
pub(crate) fn merge(reports: &[Report]) -> Result<Report, String> {
    let Some((first, rest)) = reports.split_first() else { return Err("no report".to_owned()) };
    if rest.is_empty() {
        return Ok(first.clone());
    }
    if let Some(other) = rest.iter().find(|other| other.mode != first.mode || other.load.kind != first.load.kind) {
        return Err(format!(
            "cannot merge an {} loop ({}) with an {} loop ({})",
            first.mode, first.load.kind, other.mode, other.load.kind
        ));
    }
    let mut sum = first.clone();
    for other in rest {
        add(&mut sum, other)?;
    }
    let seconds = covered(reports);
    sum.load.measured_s = seconds;
    let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    let asked: Option<f64> = reports.iter().map(|report| Some(report.rate.asked? * report.load.measured_s)).sum();
    sum.rate.asked = asked.filter(|_| seconds > 0.0).map(|messages| messages / seconds);
    sum.rate.achieved = match sum.load.kind.as_str() {
        "push" => per_second(sum.messages.received),
        "connect" => per_second(sum.connect.ok),
        _ => per_second(sum.messages.sent),
    };
    sum.rate.received = per_second(sum.messages.received);
    sum.series.clear();
    sum.find_max = None;
    sum.thresholds.clear();
    sum.reasons.dedup();
    sum.generator.warnings.dedup();
    sum.valid = reports.iter().all(|report| report.valid);
    let order = ["pass", "degraded", "fail", "invalid"];
    let rank = |name: &str| order.iter().position(|known| *known == name).unwrap_or_default();
    let worst = reports.iter().map(|report| rank(&report.verdict)).max().unwrap_or_default();
    order[worst].clone_into(&mut sum.verdict);
    let healths = ["valid", "degraded", "invalid"];
    let rank = |name: &str| healths.iter().position(|known| *known == name).unwrap_or_default();
    let worst = reports.iter().map(|report| rank(&report.generator.health)).max().unwrap_or_default();
    healths[worst].clone_into(&mut sum.generator.health);
    Ok(sum)
}

fn add(sum: &mut Report, other: &Report) -> Result<(), String> {
    sum.interrupted |= other.interrupted;
    sum.by_hand.extend(other.by_hand.iter().cloned());
    sum.reasons.extend(other.reasons.iter().cloned());
    sum.load.connections += other.load.connections;
    sum.rate.sustained = match (sum.rate.sustained, other.rate.sustained) {
        (Some(one), Some(two)) => Some(one && two),
        (one, two) => one.or(two),
    };
    sum.connect.asked += other.connect.asked;
    sum.connect.ok += other.connect.ok;
    sum.connect.seconds = sum.connect.seconds.max(other.connect.seconds);
    sum.connect.rate += other.connect.rate;
    sum.connect.tls_resumed += other.connect.tls_resumed;
    sum.connect.closed_early += other.connect.closed_early;
    for (to, from) in [
        (&mut sum.connect.failed, &other.connect.failed),
        (&mut sum.closes, &other.closes),
        (&mut sum.errors, &other.errors),
    ] {
        add_counts(to, from);
    }
    for (kind, example) in &other.examples {
        sum.examples.entry(kind.clone()).or_insert_with(|| example.clone());
    }
    sum.messages.add(&other.messages);
    sum.bytes.add(&other.bytes);
    if let (Some(one), Some(two)) = (&mut sum.publish, &other.publish) {
        one.senders += two.senders;
        one.expected += two.expected;
        one.delivered += two.delivered;
        one.reach = if one.expected == 0 { 0.0 } else { one.delivered as f64 / one.expected as f64 };
        add_summary(&mut one.first_ms, &two.first_ms, 0)?;
        add_summary(&mut one.last_ms, &two.last_ms, 0)?;
    }
    let unanswered = sum.unanswered();
    add_latencies(&mut sum.latency_ms, &other.latency_ms, unanswered)?;
    let (generator, more) = (&mut sum.generator, &other.generator);
    generator.shards.extend(more.shards.iter().cloned());
    generator.busiest_cpu = generator.busiest_cpu.max(more.busiest_cpu);
    generator.late += more.late;
    generator.burst = generator.burst.max(more.burst);
    generator.rss_bytes += more.rss_bytes;
    generator.ports_left = generator.ports_left.min(more.ports_left);
    generator.source_addresses += more.source_addresses;
    for warning in &more.warnings {
        if !generator.warnings.contains(warning) {
            generator.warnings.push(warning.clone());
        }
    }
    Ok(())
}

fn add_counts(to: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>) {
    for (name, count) in from {
        *to.entry(name.clone()).or_default() += count;
    }
}

fn add_latencies(to: &mut Latency, from: &Latency, unanswered: u64) -> Result<(), String> {
    for (one, two, unanswered) in [
        (&mut to.connect, &from.connect, 0),
        (&mut to.dns, &from.dns, 0),
        (&mut to.tcp, &from.tcp, 0),
        (&mut to.tls, &from.tls, 0),
        (&mut to.upgrade, &from.upgrade, 0),
        (&mut to.first_message, &from.first_message, 0),
        (&mut to.schedule, &from.schedule, 0),
        (&mut to.service, &from.service, unanswered),
        (&mut to.ping, &from.ping, 0),
    ] {
        add_summary(one, two, unanswered)?;
    }
    if let (Some(one), Some(two)) = (&mut to.response, &from.response) {
        add_summary(one, two, unanswered)?;
    }
    Ok(())
}

fn add_summary(to: &mut Summary, from: &Summary, unanswered: u64) -> Result<(), String> {
    let mut latencies = Latencies::from_base64(&to.hdr)?;
    latencies.add(&Latencies::from_base64(&from.hdr)?);
    *to = latencies.summary(unanswered);
    Ok(())
}

/// Seconds in which at least one of the runs measured: side by side they count once.
fn covered(reports: &[Report]) -> f64 {
    let mut spans: Vec<(f64, f64)> = reports
        .iter()
        .map(|report| {
            let started =
                report.run.started.parse::<jiff::Timestamp>().map_or(0.0, |time| time.as_millisecond() as f64 / 1e3);
            let from = started + report.connect.seconds + report.load.warmup_s;
            (from, from + report.load.measured_s)
        })
        .collect();
    spans.sort_by(|one, two| one.0.total_cmp(&two.0));
    let mut total = 0.0;
    let mut end = f64::MIN;
    for (from, to) in spans {
        total += (to - from.max(end)).max(0.0);
        end = end.max(to);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(started: &str, values: std::ops::Range<u64>) -> Report {
        let mut latencies = Latencies::new();
        values.clone().for_each(|value| latencies.record(value * 1_000_000));
        let count = values.end - values.start;
        let mut report =
            Report { valid: true, verdict: "pass".to_owned(), mode: "open".to_owned(), ..Report::default() };
        report.load.kind = "echo".to_owned();
        report.run.started = started.to_owned();
        report.load.measured_s = 10.0;
        report.messages.sent = count;
        report.messages.received = count;
        report.rate.asked = Some(count as f64 / 10.0);
        report.latency_ms.response = Some(latencies.summary(0));
        report
    }

    #[test]
    fn percentiles_are_those_of_all_together() {
        let one = report("2026-01-02T03:04:05Z", 0..1000);
        let two = report("2026-01-02T03:04:06Z", 1000..3000);
        let whole = report("2026-01-02T03:04:05Z", 0..3000);
        let sum = merge(&[one, two]).expect("they add up");
        assert_eq!(sum.latency_ms.response, whole.latency_ms.response);
        // Nine of the ten seconds are the same.
        assert!((sum.load.measured_s - 11.0).abs() < 1e-6 && (sum.rate.achieved - 3000.0 / 11.0).abs() < 1e-6);
        assert!((sum.rate.asked.expect("asked") - 3000.0 / 11.0).abs() < 1e-6);
    }

    #[test]
    fn one_after_the_other_takes_the_time_of_both_and_the_worst_counts() {
        let one = report("2026-01-02T03:04:05Z", 0..1000);
        let mut two = report("2026-01-02T04:04:05Z", 0..1000);
        two.valid = false;
        two.verdict = "invalid".to_owned();
        let sum = merge(&[one.clone(), two]).expect("they add up");
        assert!((sum.load.measured_s - 20.0).abs() < 1e-6);
        assert_eq!((sum.valid, sum.verdict.as_str()), (false, "invalid"));
        let mut closed = one.clone();
        closed.mode = "closed".to_owned();
        assert!(merge(&[one.clone(), closed]).is_err());
        assert_eq!(merge(std::slice::from_ref(&one)), Ok(one));
        assert!(merge(&[]).is_err());
    }
}
