//! The counters of a run as Prometheus reads them (text format 0.0.4).
//!
//! Owns the names, helps and types of the metrics; the format is the `prometheus` library's. Leaves counting to
//! `counters`. Invariant: labels are closed sets, every one of which is always there, so no series comes or goes.

use prometheus::proto::{MetricFamily, MetricType};
use prometheus::{Encoder as _, TextEncoder};

use super::control::{BatchReading, Control, FoldReading, QueueReading};
use super::counters::{BothWays, ByLabel, Counters, Label};
use super::process::ProcessReading;
use super::sample::{Sample, family, histogram_of};
use super::websocket_input;

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Names {
    /// `wsp_…`.
    Own,
    /// Those of the component `websocket_input` of another system.
    WebsocketInput {
        /// The label `component`.
        component: String,
    },
}

/// All metrics of a run that `started` so many seconds after the epoch.
#[must_use]
pub(crate) fn text(run: &dyn Control, names: &Names, started: f64) -> Vec<u8> {
    let mut text = Vec::new();
    let run = match names {
        Names::Own => of_run(run),
        Names::WebsocketInput { component } => websocket_input::families(run, component),
    };
    for family in run.into_iter().chain(of_process(&ProcessReading::now(), started)) {
        // A family without a sample would be refused; there is none.
        let _ = TextEncoder::new().encode(&[family], &mut text);
    }
    text
}

fn of_run(run: &dyn Control) -> Vec<MetricFamily> {
    let counters = run.counters();
    let both = |received: u64, sent: u64| vec![(Some("in"), received), (Some("out"), sent)];
    let one = |value: u64| vec![(None, value)];
    let queues = run.queues();
    let gauges = |value: &dyn Fn(&QueueReading) -> f64| {
        queues.iter().map(|queue| (Some(("queue", queue.name.as_ref())), value(queue))).collect::<Vec<_>>()
    };
    let waiting = run.waiting();
    let lags = run.lags();
    let (received, sent) = (&counters.received, &counters.sent);
    let mut families = vec![
        counter(
            "wsp_messages_total",
            "Messages received (in) and sent (out).",
            "direction",
            both(received.messages.get(), sent.messages.get()),
        ),
        counter(
            "wsp_bytes_total",
            "Payload bytes of messages received (in) and sent (out).",
            "direction",
            both(received.bytes.get(), sent.bytes.get()),
        ),
        gauge("wsp_connections_active", "WebSocket connections that are open.", vec![(None, run.active() as f64)]),
        counter("wsp_connections_total", "WebSocket connections opened.", "", one(counters.connections.get())),
        counter("wsp_reconnect_attempts_total", "Reconnect attempts.", "", one(counters.reconnect_attempts.get())),
        counter("wsp_reconnects_total", "Successful reconnects.", "", one(counters.reconnects.get())),
        counter("wsp_delivered_total", "Messages delivered.", "", one(counters.delivered.get())),
        counter(
            "wsp_filtered_total",
            "Messages filtered out by a filter or registration.",
            "",
            one(counters.filtered.get()),
        ),
        labelled("wsp_dropped_total", "Messages dropped, by reason.", "reason", &counters.dropped),
        labelled("wsp_dead_letters_total", "Messages written to the dead letters.", "reason", &counters.dead_letters),
        gauge("wsp_waiting", "Messages received and not yet settled.", vec![(None, waiting as f64)]),
        gauge("wsp_queue_depth", "Messages waiting, by queue.", gauges(&|queue| queue.depth as f64)),
        gauge(
            "wsp_queue_utilization",
            "Fill level of the fullest queue of this name, from 0 to 1.",
            gauges(&|queue| queue.utilization),
        ),
        labelled("wsp_errors_total", "Errors, by kind.", "kind", &counters.errors),
        family(
            "wsp_ping_seconds",
            "Round-trip time of pings.",
            MetricType::HISTOGRAM,
            vec![histogram_of(Sample::new(), &counters.ping_time)],
        ),
    ];
    families.extend(of_requests(counters));
    if let Some(max) = run.max_sessions() {
        let help = "Limit of WebSocket connections (--max-connections).";
        families.push(gauge("wsp_connections_max", help, vec![(None, max as f64)]));
    }
    if !lags.is_empty() {
        let values = lags.iter().map(|(source, lag)| (Some(("source", &**source)), *lag as f64)).collect();
        families.push(gauge("wsp_lag", "Messages waiting at the source.", values));
    }
    let batches: Vec<_> = queues.iter().filter_map(|queue| Some((Some(&*queue.name), queue.batches?))).collect();
    if !batches.is_empty() {
        families.push(counter("wsp_batches_total", "Batch messages, by queue.", "queue", batches));
    }
    families.extend(of_gathering(&queues));
    families.extend(run.folds().into_iter().flat_map(of_folds));
    families
}

/// Batches that wait for more messages.
fn of_gathering(queues: &[QueueReading]) -> Vec<MetricFamily> {
    let gathering: Vec<_> = queues.iter().filter_map(|queue| Some((queue.name.as_ref(), queue.gathering?))).collect();
    if gathering.is_empty() {
        return Vec::new();
    }
    let values = |value: fn(&BatchReading) -> f64| {
        gathering.iter().map(|(queue, batch)| (Some(("queue", *queue)), value(batch))).collect()
    };
    vec![
        gauge(
            "wsp_batch_messages",
            "Messages in the batch being filled, by queue.",
            values(|batch| batch.messages as f64),
        ),
        gauge(
            "wsp_batch_age_seconds",
            "Age of the batch being filled, by queue.",
            values(|batch| batch.age_ms / 1000.0),
        ),
    ]
}

fn of_folds(folds: FoldReading) -> [MetricFamily; 3] {
    [
        gauge("wsp_fold_states", "States kept by --fold, one per key.", vec![(None, folds.states as f64)]),
        gauge("wsp_fold_states_max", "Limit of states kept by --fold (--state-keys).", vec![(None, folds.most as f64)]),
        counter(
            "wsp_fold_states_evicted_total",
            "States dropped because --state-keys was reached.",
            "",
            vec![(None, folds.evicted)],
        ),
    ]
}

fn of_requests(counters: &Counters) -> Vec<MetricFamily> {
    vec![
        labelled("wsp_envelopes_total", "Envelopes received, by type.", "type", &counters.envelopes),
        both_ways(
            "wsp_requests_total",
            "Requests received (in) and sent (out), by method.",
            "method",
            &counters.requests,
        ),
        both_ways(
            "wsp_replies_total",
            "Answers to requests, received (in) and sent (out).",
            "status",
            &counters.replies,
        ),
        counter(
            "wsp_request_timeouts_total",
            "Requests that were not answered in time.",
            "",
            vec![(None, counters.request_timeouts.get())],
        ),
        family(
            "wsp_request_seconds",
            "Time from a request to its answer, by method.",
            MetricType::HISTOGRAM,
            counters
                .request_time
                .iter()
                .map(|(method, times)| histogram_of(Sample::new().with("method", method.name()), times))
                .collect(),
        ),
    ]
}

fn of_process(process: &ProcessReading, started: f64) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    if let Some(cpu) = process.cpu {
        let metric = Sample::new().value(MetricType::COUNTER, cpu.as_secs_f64());
        let help = "User and system time of the process.";
        families.push(family("process_cpu_seconds_total", help, MetricType::COUNTER, vec![metric]));
    }
    let gauges = [
        ("process_resident_memory_bytes", "Resident memory of the process.", process.resident),
        ("process_open_fds", "Open file descriptors.", process.open_files),
        ("process_max_fds", "Limit of open file descriptors.", process.max_files),
    ];
    for (name, help, value) in gauges {
        families.extend(value.map(|value| gauge(name, help, vec![(None, value as f64)])));
    }
    families.push(gauge(
        "process_start_time_seconds",
        "Start time of the process, in seconds since the epoch.",
        vec![(None, started)],
    ));
    families
}

fn with_label(name: &str, value: Option<&str>) -> Sample {
    value.map_or_else(Sample::new, |value| Sample::new().with(name, value))
}

fn counter(name: &str, help: &str, label: &str, values: Vec<(Option<&str>, u64)>) -> MetricFamily {
    let metric =
        |(value, count): (Option<&str>, u64)| with_label(label, value).value(MetricType::COUNTER, count as f64);
    family(name, help, MetricType::COUNTER, values.into_iter().map(metric).collect())
}

fn labelled<L: Label>(name: &str, help: &str, label: &str, counts: &ByLabel<L>) -> MetricFamily {
    counter(name, help, label, counts.iter().map(|(value, count)| (Some(value.name()), count)).collect())
}

/// Received is `in`, sent `out`.
fn both_ways<L: Label>(name: &str, help: &str, label: &str, counts: &BothWays<L>) -> MetricFamily {
    let ways = [("in", &counts.received), ("out", &counts.sent)];
    let samples = ways.into_iter().flat_map(|(direction, counts)| {
        counts.iter().map(move |(value, count)| {
            let sample = Sample::new().with("direction", direction).with(label, value.name());
            sample.value(MetricType::COUNTER, count as f64)
        })
    });
    family(name, help, MetricType::COUNTER, samples.collect())
}

fn gauge(name: &str, help: &str, values: Vec<(Option<(&str, &str)>, f64)>) -> MetricFamily {
    let metric = |(label, value): (Option<(&str, &str)>, f64)| {
        let (label, name) = label.unzip();
        with_label(label.unwrap_or_default(), name).value(MetricType::GAUGE, value)
    };
    family(name, help, MetricType::GAUGE, values.into_iter().map(metric).collect())
}
