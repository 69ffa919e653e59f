//! From what was gathered to the report: rates, summaries, the verdict, thresholds.
//!
//! Leaves weighing to [`super::verdict`] and [`super::threshold`], looks to [`super::report`].

use super::doubt::{doubts, is_doubt};
use super::gather::Gathered;
use super::hand::Changes;
use super::histogram::{Latencies, Logged};
use super::machine;
use super::payload::Matching;
use super::plan::{Kind, Load, Plan};
use super::report::{
    Connect, Generator, Latency, Load as LoadReport, Machine, Publish, Rate, Report, Run, SCHEMA, Shard,
};
use super::run::Finished;
use super::schedule::Spacing;
use super::threshold::Threshold;
use super::verdict::{Evidence, Health, Verdict, judge, whole};

/// The report of a finished run, and the lines of its HDR log.
#[must_use]
pub(crate) fn report(mut finished: Finished<'_>) -> (Report, Vec<Logged>) {
    let plan = finished.plan;
    let mut gathered = std::mem::take(&mut finished.gathered);
    let seconds = finished.measured.as_secs_f64();
    let shards = gathered.shards();
    let publish = publish(&finished, &gathered);
    if let Some(publish) = &publish {
        gathered.measured.lost = publish.expected.saturating_sub(publish.delivered);
    }
    let messages = gathered.measured;
    let unanswered = if publish.is_some() || plan.awaits() { messages.unanswered() } else { 0 };
    let per_second = |count: u64| if seconds > 0.0 { count as f64 / seconds } else { 0.0 };
    let achieved = achieved(plan, &gathered, seconds);
    let asked = asked(plan, &finished.changes, seconds);
    let verdict = weigh(plan, &gathered, &shards, asked, achieved, seconds);
    let connect_seconds = if comes_and_goes(plan) {
        finished.connected.as_secs_f64() + seconds
    } else {
        finished.connected.as_secs_f64()
    };
    let connections = gathered.connections;
    let mut report = Report {
        schema: SCHEMA.to_owned(),
        valid: verdict.health != Health::Invalid,
        verdict: String::new(),
        reasons: verdict.reasons,
        interrupted: finished.interrupted,
        mode: plan.mode().to_owned(),
        run: run(&finished),
        load: load(plan, &gathered, seconds),
        rate: Rate { asked, achieved, received: per_second(messages.received), sustained: verdict.sustained },
        connect: Connect {
            asked: if comes_and_goes(plan) { connections.tried } else { plan.connections as u64 },
            ok: connections.opened,
            failed: gathered.failed.clone(),
            seconds: connect_seconds,
            rate: if connect_seconds > 0.0 { connections.opened as f64 / connect_seconds } else { 0.0 },
            tls_resumed: connections.resumed,
            closed_early: connections.closed_early,
        },
        messages,
        publish,
        bytes: gathered.bytes,
        closes: gathered.closes.iter().map(|(code, count)| (code.to_string(), *count)).collect(),
        latency_ms: latency(&finished, &gathered, unanswered),
        errors: gathered.errors.counts(),
        examples: gathered.errors.examples(),
        generator: generator(&finished, &gathered, shards, verdict.health),
        thresholds: Vec::new(),
        by_hand: finished.changes.told.clone(),
        series: gathered.series,
        find_max: None,
    };
    warn(&mut report, plan);
    if finished.changes.has_changed() {
        let changed = "the load was changed manually during the run: do not compare these figures with other runs";
        report.generator.warnings.push(changed.to_owned());
    }
    conclude(&mut report, &plan.thresholds);
    (report, gathered.log)
}

/// Whether connections are opened while measuring.
fn comes_and_goes(plan: &Plan) -> bool {
    plan.churn.is_some() || plan.connection_course.is_some()
}

fn has_response(plan: &Plan) -> bool {
    plan.mode() == "open" && plan.kind != Kind::Send
}

/// The verdict on what has been handed over while a run goes on, so many seconds of what is measured.
pub(crate) fn judge_so_far(plan: &Plan, gathered: &Gathered, changes: &Changes, seconds: f64) -> Verdict {
    let asked = asked(plan, changes, seconds);
    weigh(plan, gathered, &gathered.shards(), asked, achieved(plan, gathered, seconds), seconds)
}

/// What was asked of the time there was, in messages a second: a run that was cut short is no shortfall.
fn asked(plan: &Plan, changes: &Changes, seconds: f64) -> Option<f64> {
    plan.course().map(|course| changes.course(&course)).map(|course| {
        let warmup = plan.warmup.as_secs_f64();
        let due = course.count_at(warmup + seconds) - course.count_at(warmup);
        if seconds > 0.0 { due / seconds } else { 0.0 }
    })
}

fn achieved(plan: &Plan, gathered: &Gathered, seconds: f64) -> f64 {
    let count = match plan.kind {
        Kind::Push => gathered.measured.received,
        Kind::Connect => gathered.connections.opened,
        _ => gathered.measured.sent,
    };
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

fn weigh(
    plan: &Plan,
    gathered: &Gathered,
    shards: &[Shard],
    asked: Option<f64>,
    achieved: f64,
    seconds: f64,
) -> Verdict {
    let busy = |(index, shard): (usize, &Shard)| (shard.cpu, gathered.busy.get(&index).cloned().unwrap_or_default());
    let messages = &gathered.measured;
    judge(&Evidence {
        asked,
        achieved,
        due: messages.due(),
        missed_generator: messages.missed_generator,
        missed_target: messages.missed_backpressure,
        missed_closed: messages.missed_closed,
        schedule: asked.map(|_| &gathered.schedule),
        response: has_response(plan).then_some(&gathered.response),
        shards: shards.iter().enumerate().map(busy).collect(),
        backlog: gathered.backlog(),
        seconds,
    })
}

fn run(finished: &Finished<'_>) -> Run {
    let (plan, facts) = (finished.plan, &finished.facts);
    Run {
        id: format!("{:05x}-{}", finished.run, finished.started.as_second()),
        started: finished.started.to_string(),
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        url: plan.connect.target.to_string(),
        address: facts.address.clone(),
        tls: facts.tls.clone(),
        subprotocol: facts.subprotocol.clone(),
        extensions: facts.extensions.clone(),
        seed: plan.seed,
        host: Machine { cpus: machine::cpus() as u64, kernel: machine::kernel(), memory_bytes: machine::memory() },
    }
}

fn latency(finished: &Finished<'_>, gathered: &Gathered, unanswered: u64) -> Latency {
    let opening = &gathered.opening;
    let mut look_up = Latencies::new();
    look_up.record(finished.look_up.as_nanos() as u64);
    Latency {
        connect: opening.total.summary(0),
        dns: look_up.summary(0),
        tcp: opening.tcp.summary(0),
        tls: opening.tls.summary(0),
        upgrade: opening.upgrade.summary(0),
        first_message: opening.first_message.summary(0),
        schedule: gathered.schedule.summary(0),
        service: gathered.service.summary(unanswered),
        response: has_response(finished.plan).then(|| gathered.response.summary(unanswered)),
        ping: gathered.ping.summary(0),
    }
}

fn generator(finished: &Finished<'_>, gathered: &Gathered, shards: Vec<Shard>, health: Health) -> Generator {
    let opened = gathered.connections.opened;
    let (before, most) = finished.memory;
    Generator {
        health: health.name().to_owned(),
        busiest_cpu: shards.iter().map(|shard| shard.cpu).fold(0.0, f64::max),
        shards,
        late: gathered.catch_up.late,
        burst: gathered.catch_up.burst,
        rss_bytes: most,
        bytes_per_connection: if opened == 0 { 0.0 } else { most.saturating_sub(before) as f64 / opened as f64 },
        ports_left: finished.preflight.ports_left,
        source_addresses: finished.preflight.sources.len() as u64,
        warnings: finished.preflight.warnings.clone(),
    }
}

fn load(plan: &Plan, gathered: &Gathered, seconds: f64) -> LoadReport {
    let spacing = match &plan.load {
        Load::Open { spacing: Spacing::Poisson, .. } => "poisson",
        _ => "even",
    };
    LoadReport {
        kind: plan.kind.name().to_owned(),
        connections: plan.connections as u64,
        in_flight: match plan.load {
            Load::Closed { in_flight } if plan.awaits() => Some(in_flight as u64),
            _ => None,
        },
        spacing: spacing.to_owned(),
        stages: plan.stages_text.clone(),
        payload: if plan.kind.sends() { plan.payload_text.clone() } else { "none".to_owned() },
        payload_bytes: if plan.kind.sends() { plan.payload.mean_size() } else { 0.0 },
        matching: match plan.kind {
            // One that equals its message is proof that all do.
            Kind::Echo if is_assumed(plan) && gathered.measured.verified + gathered.warm.verified > 0 => {
                Matching::Content.name().to_owned()
            }
            Kind::Echo => plan.matching.name().to_owned(),
            Kind::Publish { .. } => "marker".to_owned(),
            _ => "none".to_owned(),
        },
        matching_assumed: is_assumed(plan),
        warmup_s: plan.warmup.as_secs_f64(),
        measured_s: seconds,
        deadline_s: plan.deadline.as_secs_f64(),
    }
}

/// Whether nothing was said about how answers find their message.
fn is_assumed(plan: &Plan) -> bool {
    plan.awaits() && matches!(plan.matching, Matching::Auto)
}

fn publish(finished: &Finished<'_>, gathered: &Gathered) -> Option<Publish> {
    let Kind::Publish { senders } = finished.plan.kind else { return None };
    let broadcasts = &finished.broadcasts;
    let expected = gathered.measured.sent * broadcasts.audience();
    let delivered = gathered.measured.received;
    let last = if broadcasts.is_returned() { &gathered.deliveries.all } else { &gathered.deliveries.all_but_one };
    Some(Publish {
        senders: senders as u64,
        receivers: broadcasts.audience(),
        expected,
        delivered,
        reach: if expected == 0 { 0.0 } else { delivered as f64 / expected as f64 },
        first_ms: gathered.deliveries.first.summary(0),
        last_ms: last.summary(0),
    })
}

/// What is to be known besides the verdict.
fn warn(report: &mut Report, plan: &Plan) {
    let mut warnings = std::mem::take(&mut report.generator.warnings);
    let open = report.connect.ok;
    if !comes_and_goes(plan) && open < plan.connections as u64 {
        warnings.push(format!(
            "measured with {} of {} connections: the others did not open",
            whole(open as f64),
            whole(plan.connections as f64)
        ));
    }
    let waited = report.generator.shards.iter().map(|shard| shard.waited).fold(0.0, f64::max);
    if waited > 0.10 {
        warnings.push(format!(
            "a generator thread waited for a processor {:.0} % of the time: other processes compete for this machine",
            waited * 100.0
        ));
    }
    if report.mode == "closed" && report.load.kind == "echo" {
        // Said in the JSON too: the figure invites a wrong reading.
        warnings.push(
            "closed loop: nothing is sent while the target stalls, so percentiles understate what users would wait; \
             use --rate"
                .to_owned(),
        );
    }
    report.generator.warnings = warnings;
}

/// Judges the thresholds and says the last word.
pub(crate) fn conclude(report: &mut Report, thresholds: &[Threshold]) {
    report.thresholds = thresholds.iter().map(|threshold| threshold.judge(report)).collect();
    let missed: Vec<String> = report
        .thresholds
        .iter()
        .filter(|outcome| !outcome.ok)
        .map(|outcome| format!("missed: {}", outcome.expression))
        .collect();
    let doubts = doubts(report, thresholds);
    let verdict = match () {
        () if !report.valid => "invalid",
        () if !missed.is_empty() || !doubts.is_empty() || report.rate.sustained == Some(false) => "fail",
        () if report.generator.health == "degraded" => "degraded",
        () => "pass",
    };
    verdict.clone_into(&mut report.verdict);
    report.reasons.retain(|reason| !is_doubt(reason));
    report.reasons.splice(0..0, doubts);
    report.reasons.extend(missed);
}
