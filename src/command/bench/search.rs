//! `--find-max`: runs at one rate after the other, and what each says of the target.
//!
//! Leaves which rate is next to `bench/find_max`. Invariant: the report is that of the run at the rate that was found,
//! where one was.

use super::run::Session;
use crate::bench::doubt::is_doubt;
use crate::bench::find_max::{Found, Next, Search, Went};
use crate::bench::plan::{Load, Plan};
use crate::bench::report::text::number;
use crate::bench::report::{FindMax, Report, Step};
use crate::bench::run::Outcome;
use crate::bench::threshold::Threshold;
use crate::bench::verdict::{ACHIEVED, SATURATED};
use crate::error::Error;

/// The run that confirms the greatest rate is so much longer.
const CONFIRMATION: u32 = 3;

/// The conditions of `--find-max`, separated by commas.
pub(super) fn conditions(text: &str) -> Result<Vec<Threshold>, Error> {
    text.split(',').map(|part| super::plan::threshold("--find-max", part)).collect()
}

/// Searches for the greatest rate at which these conditions hold.
pub(super) async fn find_max(plan: Plan, conditions: &[Threshold], session: &mut Session) -> Result<Outcome, Error> {
    let Load::Open { rate, spacing, .. } = plan.load else {
        return Err(Error::usage("--find-max searches for a rate", "leave --mode out"));
    };
    let mut search = Search::new(rate);
    let mut steps = Vec::new();
    let mut held: Vec<(f64, Outcome)> = Vec::new();
    let (found, last) = loop {
        let (rate, factor) = match search.next() {
            Next::Try(rate) => (rate, 1),
            Next::Confirm(rate) => (rate, CONFIRMATION),
            Next::Done(found) => break (found, None),
        };
        let step = Plan {
            load: Load::Open { rate, stages: Vec::new(), spacing },
            duration: plan.duration * factor,
            thresholds: [conditions, &plan.thresholds].concat(),
            ..plan.clone()
        };
        let outcome = session.run(&step).await?;
        let report = &outcome.report;
        let (went, reason) = judge(report);
        let (ok, lost) = (went == Went::Held, went == Went::Lost);
        steps.push(Step { rate, achieved: report.rate.achieved, ok, lost, reason, p99: report.headline().1.p99 });
        if outcome.signal.is_some() || outcome.timed_out || outcome.enough {
            // What it says of its rate is cut short.
            break (search.found(), Some(outcome));
        }
        search.learn(went);
        if ok {
            held.push((rate, outcome));
        } else if held.is_empty() {
            held.push((f64::NAN, outcome));
        }
    };
    let limit = limit(&found, &steps, last.is_some());
    // The last one at that rate is the longest; where none held, the first one says why.
    let is_best = |(rate, _): &(f64, Outcome)| found.rate.is_none_or(|best| (*rate - best).abs() < 1e-9);
    let best = held.iter().rposition(is_best).map(|place| held.swap_remove(place).1);
    let mut outcome = last.or(best).ok_or_else(|| Error::Internal("no step was run".to_owned()))?;
    let condition: Vec<&str> = conditions.iter().map(Threshold::text).collect();
    let Found { rate, confirmed, .. } = found;
    outcome.report.find_max = Some(FindMax { condition: condition.join(","), rate, confirmed, limit, steps });
    Ok(outcome)
}

/// What ended the search, in words.
fn limit(found: &Found, steps: &[Step], is_cut_short: bool) -> String {
    if is_cut_short {
        return "the search was stopped early".to_owned();
    }
    let Some(failed_at) = found.failed_at else { return String::new() };
    let step = steps.iter().rev().find(|step| !step.ok && (step.rate - failed_at).abs() < 1e-9);
    let reason = step.and_then(|step| step.reason.clone()).unwrap_or_default();
    let at = number(failed_at);
    if found.by_generator {
        format!("the generator, at {at}/s: {reason}; the target may handle more than this machine can send")
    } else {
        format!("the target, at {at}/s: {reason}")
    }
}

/// How a run went, and why a rate is not one at which the conditions hold. Our own lateness is in the response times, so that
/// a condition which holds in spite of it holds all the more, and one that is missed because of it says nothing; nor does a
/// rate that was not reached.
fn judge(report: &Report) -> (Went, Option<String>) {
    let asked = report.rate.asked.unwrap_or_default();
    let short = report.rate.achieved < ACHIEVED * asked || report.generator.busiest_cpu > SATURATED;
    let ours = || format!("the generator sent {}/s of {}/s", number(report.rate.achieved), number(asked));
    if let Some(doubt) = report.reasons.iter().find(|reason| is_doubt(reason)) {
        return (Went::Failed, Some(doubt.clone()));
    }
    if report.rate.sustained == Some(false) {
        let reason = report.reasons.iter().find(|reason| reason.starts_with("not sustained"));
        return (Went::Failed, reason.cloned());
    }
    if let Some(outcome) = report.thresholds.iter().find(|outcome| !outcome.ok) {
        if report.generator.health == "valid" {
            return (Went::Failed, Some(format!("missed: {}", outcome.expression)));
        }
        let why = report.reasons.iter().find(|reason| !reason.starts_with("missed: ")).cloned().unwrap_or_else(ours);
        return (Went::Lost, Some(format!("missed: {}, but {why}", outcome.expression)));
    }
    if short { (Went::Lost, Some(ours())) } else { (Went::Held, None) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::threshold::Outcome as Judged;

    fn report(health: &str, achieved: f64, met: bool) -> Report {
        let mut report = Report::default();
        health.clone_into(&mut report.generator.health);
        (report.rate.asked, report.rate.achieved, report.rate.sustained) = (Some(1000.0), achieved, Some(true));
        report.thresholds =
            vec![Judged { expression: "p99<20ms".into(), value: None, unit: String::new(), ok: met, note: None }];
        report
    }

    #[test]
    fn what_the_generator_lost_is_not_held_against_the_target() {
        let mut doubtful = report("valid", 1000.0, true);
        doubtful.reasons.push("nothing came back: none of 100 messages was answered".to_owned());
        let mut slow = report("invalid", 700.0, false);
        slow.rate.sustained = Some(false);
        slow.reasons.push("not sustained: the target took 700".to_owned());
        let mut saturated = report("invalid", 1000.0, true);
        saturated.generator.busiest_cpu = 0.99;
        for (report, went, words) in vec![
            (report("valid", 1000.0, true), Went::Held, ""),
            (report("degraded", 995.0, true), Went::Held, ""),
            (report("valid", 1000.0, false), Went::Failed, "missed: p99<20ms"),
            (report("invalid", 1000.0, false), Went::Lost, "missed: p99<20ms, but"),
            (report("degraded", 1000.0, false), Went::Lost, "missed: p99<20ms, but"),
            (report("degraded", 640.0, true), Went::Lost, "the generator sent 640/s of 1,000/s"),
            (saturated, Went::Lost, "the generator sent"),
            (doubtful, Went::Failed, "nothing came back"),
            (slow, Went::Failed, "not sustained"),
        ] {
            let (found, reason) = judge(&report);
            assert_eq!(found, went, "{reason:?}");
            assert!(reason.unwrap_or_default().starts_with(words), "{words}");
        }
    }

    #[test]
    fn the_limit_that_ended_the_search_is_named() {
        let step = |rate, lost, reason: &str| Step {
            rate,
            achieved: rate,
            ok: false,
            lost,
            reason: Some(reason.to_owned()),
            p99: None,
        };
        let steps =
            [step(2000.0, true, "the generator sent 900/s of 2,000/s"), step(1500.0, false, "missed: p99<20ms")];
        let found = |failed_at, by_generator| Found { rate: Some(1.0), confirmed: true, failed_at, by_generator };
        assert_eq!(limit(&found(Some(1500.0), false), &steps, false), "the target, at 1,500/s: missed: p99<20ms");
        assert!(
            limit(&found(Some(2000.0), true), &steps, false).starts_with("the generator, at 2,000/s: the generator")
        );
        assert!(limit(&found(None, false), &steps, true).contains("was stopped early"));
    }
}
