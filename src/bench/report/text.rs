//! The report as a person reads it on a terminal.
//!
//! Owns words and columns. Invariants: the verdict stands before any figure; every figure that must not be quoted is
//! marked; at most 120 columns but for texts of others.

use super::{Report, Summary};
use crate::bench::doubt::{InFlight, is_doubt};
use crate::bench::histogram::PERCENTILES;
use crate::bench::threshold::Outcome;
use crate::bench::verdict::whole;
use crate::message::counted::{agreeing, counted};
use std::fmt::Write as _;

/// Beyond so many errors of other kinds the rest is counted only.
const KINDS: usize = 12;

/// Connections from which on the memory of one is worth telling.
const MANY: u64 = 500;

/// The whole report, each line ended.
#[must_use]
pub(crate) fn text(report: &Report) -> String {
    let mut lines = vec![headline(report), String::new()];
    verdict(report, &mut lines);
    lines.push(connect(report));
    if report.load.kind != "connect" {
        messages(report, &mut lines);
    }
    latencies(report, &mut lines);
    if let Some(publish) = &report.publish {
        lines.push(format!(
            "publish    {} senders to {} each   {} of {} deliveries ({:.4} % reach)   first p50 {}  last p50 {} ms",
            publish.senders,
            whole(publish.receivers as f64),
            whole(publish.delivered as f64),
            whole(publish.expected as f64),
            publish.reach * 100.0,
            optional(publish.first_ms.p50),
            optional(publish.last_ms.p50),
        ));
    }
    lines.push(generator(report));
    lines.extend(report.generator.warnings.iter().map(|warning| format!("note       {warning}")));
    by_hand(report, &mut lines);
    errors(report, &mut lines);
    find_max(report, &mut lines);
    lines.join("\n") + "\n"
}

/// What a person did to the run, as many to a line as there is room for.
fn by_hand(report: &Report, lines: &mut Vec<String>) {
    let mut line = String::new();
    for entry in &report.by_hand {
        let told = format!("{} at {:.1} s", entry.words(), entry.t);
        if !line.is_empty() && line.len() + told.len() > 100 {
            lines.push(std::mem::take(&mut line));
        }
        line.push_str(if line.is_empty() { "by hand    " } else { ",  " });
        line.push_str(&told);
    }
    if !line.is_empty() {
        lines.push(line);
    }
}

fn headline(report: &Report) -> String {
    let load = &report.load;
    let mut parts = vec![format!("{} {}", whole(load.connections as f64), agreeing(load.connections, "connection"))];
    match (load.kind.as_str(), load.in_flight, report.rate.asked) {
        ("echo", Some(in_flight), _) => parts.push(format!("closed loop, {in_flight} in flight on each")),
        (_, _, Some(asked)) => {
            let random = if load.spacing == "poisson" { ", random spacing" } else { "" };
            let course = load.stages.as_ref().map(|stages| format!(", stages {stages}")).unwrap_or_default();
            parts.push(format!("open loop {} msg/s{random}{course}", number(asked)));
        }
        ("send", ..) => parts.push("as fast as the sockets take it".to_owned()),
        ("push", ..) => parts.push("the server speaks".to_owned()),
        _ => parts.push("open and hold".to_owned()),
    }
    if load.payload != "none" {
        parts.push(load.payload.clone());
        if load.matching != "none" {
            parts.push(format!("matched by {}", load.matching));
        }
    }
    let warmup = if load.warmup_s > 0.0 { format!(" (+{} s warm-up)", number(load.warmup_s)) } else { String::new() };
    parts.push(format!("{:.2} s{warmup}", load.measured_s));
    parts.push(format!("seed {}", report.run.seed));
    format!("wsp bench {}   {}", report.run.url, parts.join(", "))
}

/// What a threshold was held against, and what is to be known of it.
#[must_use]
pub(crate) fn measured(outcome: &Outcome) -> String {
    let value = match (outcome.value, outcome.unit.as_str()) {
        (None, _) => return outcome.note.clone().unwrap_or_else(|| "not measured".to_owned()),
        (Some(value), "ms") => format!("{} ms", number(value)),
        (Some(value), "share") => format!("{} %", number(value * 100.0)),
        (Some(value), "per second") => format!("{}/s", whole(value)),
        (Some(value), _) => whole(value),
    };
    let note = outcome.note.as_ref().map(|note| format!(", {note}")).unwrap_or_default();
    value + &note
}

/// The verdict in capitals: what the figures are worth, and what came of the run. Figures in doubt are not called valid.
fn word(report: &Report) -> String {
    let outcome = match () {
        () if report.reasons.iter().any(|reason| is_doubt(reason)) => "NOT PASS",
        () if report.thresholds.iter().any(|outcome| !outcome.ok) => "FAIL",
        () if report.rate.sustained == Some(false) => "NOT SUSTAINED",
        () => "",
    };
    let worth = match report.generator.health.as_str() {
        _ if !report.valid => "INVALID",
        _ if outcome == "NOT PASS" => "",
        "degraded" => "DEGRADED",
        _ if outcome.is_empty() => "VALID  PASS",
        _ => "VALID",
    };
    format!("{worth}  {outcome}").trim().to_owned()
}

fn verdict(report: &Report, lines: &mut Vec<String>) {
    let mut line = word(report);
    for outcome in &report.thresholds {
        let value = measured(outcome);
        let _ = write!(line, "   {} {} ({value})", outcome.expression, if outcome.ok { "ok" } else { "MISSED" });
    }
    let headroom = (1.0 - report.generator.busiest_cpu).max(0.0) * 100.0;
    let _ = match report.generator.health.as_str() {
        "valid" => write!(line, "   generator healthy, {headroom:.0} % headroom"),
        health => write!(line, "   generator {health}"),
    };
    lines.push(line);
    lines.extend(report.reasons.iter().map(|reason| format!("           {reason}")));
    if report.interrupted {
        lines.push("           interrupted: figures up to the interruption".to_owned());
    }
}

fn connect(report: &Report) -> String {
    let connect = &report.connect;
    let latency = &report.latency_ms;
    let failed = |kind: &str| connect.failed.get(kind).copied().unwrap_or_default();
    let http: u64 = connect.failed.iter().filter(|(kind, _)| kind.starts_with("http ")).map(|(_, count)| count).sum();
    let tls = if report.run.tls.is_some() {
        format!("tls {} ({} resumed)", optional(latency.tls.p50), connect.tls_resumed)
    } else {
        "tls –".to_owned()
    };
    let middle = |summary: &Summary| if summary.p50.is_some() { summary.p50 } else { summary.mean };
    let which = if latency.tcp.p50.is_some() { "p50" } else { "mean" };
    let mut line = format!(
        "connect    {} of {} in {:.2} s ({}/s)   dns {}  tcp {}  {tls}  upgrade {} ms {which}   {} refused  {} \
         timeout  {http} http",
        whole(connect.ok as f64),
        whole(connect.asked as f64),
        connect.seconds,
        whole(connect.rate),
        optional(latency.dns.mean),
        optional(middle(&latency.tcp)),
        optional(middle(&latency.upgrade)),
        failed("refused"),
        failed("timeout"),
    );
    if latency.first_message.count > 0 {
        let _ = write!(line, "   first message {} ms", optional(middle(&latency.first_message)));
    }
    line
}

fn messages(report: &Report, lines: &mut Vec<String>) {
    let (messages, rate, bytes) = (&report.messages, &report.rate, &report.bytes);
    let seconds = report.load.measured_s.max(1e-9);
    let mega = |count: u64| format!("{} MB/s framed", number(count as f64 / seconds / 1e6));
    if report.load.kind != "push" {
        let asked = rate.asked.map(|asked| format!(" ({:.1} % of asked)", 100.0 * rate.achieved / asked.max(1e-9)));
        lines.push(format!(
            "sent       {}   {}/s{}   {}",
            whole(messages.sent as f64),
            number(rate.achieved),
            asked.unwrap_or_default(),
            mega(bytes.wire_sent)
        ));
    }
    let awaits = matches!(report.load.kind.as_str(), "echo" | "publish");
    if !awaits {
        lines.push(format!(
            "received   {}   {}/s   {}",
            whole(messages.received as f64),
            number(rate.received),
            mega(bytes.wire_received)
        ));
        return;
    }
    let verified = match messages.verified {
        verified if verified == messages.received => "all".to_owned(),
        verified => whole(verified as f64),
    };
    let mut line = format!("received   {}   verified {verified}", whole(messages.received as f64));
    for (count, what) in [
        (messages.lost, "lost"),
        (messages.duplicated, "duplicated"),
        (messages.reordered, "reordered"),
        (messages.corrupt, "corrupt"),
        (messages.unexpected, "unexpected"),
        (report.connect.closed_early, "closed early"),
    ] {
        let _ = write!(line, "   {} {what}", whole(count as f64));
    }
    for (count, what) in [
        (messages.cross_talk, "of another connection"),
        (messages.late, "answered after the deadline"),
        (messages.censored, "cut off by the end"),
    ] {
        if count > 0 {
            let _ = write!(line, "   {} {what}", whole(count as f64));
        }
    }
    lines.push(line);
}

fn latencies(report: &Report, lines: &mut Vec<String>) {
    let mut head = format!("{:11}", "");
    for name in PERCENTILES.map(|(name, _)| name).iter().chain(&["max"]) {
        let _ = write!(head, "{name:>10}");
    }
    let mut rows = Vec::new();
    let latency = &report.latency_ms;
    let closed = report.mode == "closed";
    let row = |name: &str, summary: &Summary, note: &str| {
        let mut line = format!("{name:11}");
        for (percentile, _) in PERCENTILES {
            let beyond = summary.beyond_deadline.iter().any(|name| name == percentile);
            let cell = match summary.percentile(percentile) {
                Some(value) => format!("{value:.3}"),
                None if beyond => format!(">{}", number(report.load.deadline_s * 1000.0)),
                None => "–".to_owned(),
            };
            let _ = write!(line, "{cell:>10}");
        }
        let max = summary.max.map_or_else(|| "–".to_owned(), |max| format!("{max:.3}"));
        format!("{line}{max:>10} ms   {note}").trim_end().to_owned()
    };
    if let Some(response) = &latency.response {
        rows.push(row("response", response, "from the intended send time  <- quote this"));
    }
    if report.load.kind == "connect" || report.load.kind == "push" {
        rows.push(row("connect", &latency.connect, "look-up to the answer to the upgrade"));
    } else if report.load.kind == "echo" {
        let note = if closed { "from the write; closed loop, hides stalls" } else { "from the actual write" };
        rows.push(row("service", &latency.service, note));
    }
    if !closed {
        rows.push(row("schedule", &latency.schedule, "our own lateness"));
    }
    if latency.ping.count > 0 {
        rows.push(row("ping", &latency.ping, "ping to pong"));
    }
    if !rows.is_empty() {
        lines.push(head);
        lines.append(&mut rows);
    }
    lines.extend(InFlight::of(report).map(|check| {
        let remark = if check.is_over() { ": more, by the answers that came after the end" } else { "" };
        format!(
            "check      mean {:.4} ms x {}/s answered = {} in flight, of {} allowed{remark}",
            check.mean_ms,
            whole(check.rate),
            number(check.found),
            whole(check.allowed)
        )
    }));
}

fn generator(report: &Report) -> String {
    let generator = &report.generator;
    let messages = &report.messages;
    let queue = generator.shards.iter().map(|shard| shard.queue_max_bytes).max().unwrap_or_default();
    let ports = generator.ports_left.map(|ports| format!(", {} ports left", whole(ports as f64))).unwrap_or_default();
    // With few connections the rest of the program would be counted as theirs.
    let each = match report.connect.ok {
        MANY.. => format!(" ({} KB/conn)", number(generator.bytes_per_connection / 1e3)),
        _ => String::new(),
    };
    format!(
        "generator  {}, busiest {:.0} % CPU, {} missed by us, {} by the target, {} late>1ms, send queue max {} B, \
         {} MB RSS{each}{ports}",
        counted(generator.shards.len(), "shard"),
        generator.busiest_cpu * 100.0,
        whole(messages.missed_generator as f64),
        whole((messages.missed_backpressure + messages.missed_closed) as f64),
        whole(generator.late as f64),
        whole(queue as f64),
        number(generator.rss_bytes as f64 / 1e6),
    )
}

fn errors(report: &Report, lines: &mut Vec<String>) {
    for (kind, count) in report.errors.iter().take(KINDS) {
        let example = report.examples.get(kind);
        let text = example.map(|example| format!("   for example: {}", example.text)).unwrap_or_default();
        lines.push(format!("error      {kind} x {}{text}", whole(*count as f64)));
        if let Some(hint) = example.and_then(|example| example.hint.as_ref()) {
            lines.push(format!("           hint: {hint}"));
        }
    }
    if report.errors.len() > KINDS {
        lines.push(format!("           and {} kinds more", report.errors.len() - KINDS));
    }
}

fn find_max(report: &Report, lines: &mut Vec<String>) {
    let Some(found) = &report.find_max else { return };
    for step in &found.steps {
        let reason = step.reason.as_ref().map(|reason| format!("   {reason}")).unwrap_or_default();
        let ok = match (step.ok, step.lost) {
            (true, _) => "holds",
            (false, true) => "says nothing",
            (false, false) => "does not hold",
        };
        lines.push(format!(
            "step       {}/s   achieved {}/s   p99 {} ms   {ok}{reason}",
            whole(step.rate),
            whole(step.achieved),
            optional(step.p99)
        ));
    }
    let unsure = if found.confirmed { "" } else { ", not confirmed by a longer run" };
    lines.push(match found.rate {
        Some(rate) => format!("maximum    {}/s with {}{unsure}", whole(rate), found.condition),
        None => format!("maximum    none: {} failed at every rate tried", found.condition),
    });
    if !found.limit.is_empty() {
        lines.push(format!("limit      {}", found.limit));
    }
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), number)
}

/// A number with about three digits, and no more than it needs.
#[must_use]
pub(crate) fn number(value: f64) -> String {
    let magnitude = value.abs();
    let text = match () {
        () if magnitude >= 1000.0 => return whole(value),
        () if magnitude >= 100.0 => format!("{value:.1}"),
        () if magnitude >= 1.0 => format!("{value:.2}"),
        () => format!("{value:.4}"),
    };
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
