//! The counters of a run as Prometheus reads them (text format 0.0.4).
//!
//! Owns the names, helps and types of the metrics; the format is the `prometheus` library's. Leaves counting to
//! `counters`. Invariant: labels are closed sets, every one of which is always there, so no series comes or goes.

use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{Encoder as _, TextEncoder};

use super::control::Control;
use super::counters::{ByLabel, Durations, Label};
use super::process::ProcessReading;

/// What the text is.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of a run that `started` so many seconds after the epoch.
#[must_use]
pub fn text(run: &dyn Control, started: f64) -> Vec<u8> {
    let mut text = Vec::new();
    for family in of_run(run).into_iter().chain(of_process(&ProcessReading::now(), started)) {
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
    let gauges = |value: &dyn Fn(&super::control::QueueReading) -> f64| {
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
        counter("wsp_reconnects_total", "Connections opened again after a loss.", "", one(counters.reconnects.get())),
        counter("wsp_delivered_total", "Messages handed to where they were to go.", "", one(counters.delivered.get())),
        counter(
            "wsp_filtered_total",
            "Messages a filter or registration kept from a receiver.",
            "",
            one(counters.filtered.get()),
        ),
        labelled("wsp_dropped_total", "Messages dropped, by reason.", "reason", &counters.dropped),
        labelled("wsp_dead_letters_total", "Messages written to the dead letters.", "reason", &counters.dead_letters),
        gauge("wsp_waiting", "Messages received that wait for their outcome.", vec![(None, waiting as f64)]),
        gauge("wsp_queue_depth", "Messages waiting, by queue.", gauges(&|queue| queue.depth as f64)),
        gauge(
            "wsp_queue_utilization",
            "How full the fullest queue of this name is, from 0 to 1.",
            gauges(&|queue| queue.utilization),
        ),
        labelled("wsp_errors_total", "What went wrong, by kind.", "kind", &counters.errors),
        labelled("wsp_requests_total", "Requests of peers, by method.", "method", &counters.requests),
        labelled("wsp_replies_total", "Answers to requests, by status.", "status", &counters.replies),
        counter(
            "wsp_request_timeouts_total",
            "Requests that were not answered in time.",
            "",
            one(counters.request_timeouts.get()),
        ),
        histogram("wsp_request_seconds", "Time from a request to its answer.", &counters.request_time),
        histogram("wsp_ping_seconds", "Round trip time of pings.", &counters.ping_time),
    ];
    if !lags.is_empty() {
        let values = lags.iter().map(|(source, lag)| (Some(("source", &**source)), *lag as f64)).collect();
        families.push(gauge("wsp_lag", "Messages that wait where a source takes them from.", values));
    }
    let batches: Vec<_> = queues.iter().filter_map(|queue| Some((Some(&*queue.name), queue.batches?))).collect();
    if !batches.is_empty() {
        families.push(counter("wsp_batches_total", "Messages made of several, by queue.", "queue", batches));
    }
    if let Some(folds) = run.folds() {
        families.push(gauge(
            "wsp_fold_states",
            "States that --fold keeps, one for each key.",
            vec![(None, folds.states as f64)],
        ));
        families.push(counter(
            "wsp_fold_states_evicted_total",
            "States that had to go because --state-keys was reached.",
            "",
            one(folds.evicted),
        ));
    }
    families
}

fn of_process(process: &ProcessReading, started: f64) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    if let Some(cpu) = process.cpu {
        let mut metric = Metric::default();
        metric.set_counter(counter_of(cpu.as_secs_f64()));
        let help = "User and system time of the process.";
        families.push(family("process_cpu_seconds_total", help, MetricType::COUNTER, vec![metric]));
    }
    let gauges = [
        ("process_resident_memory_bytes", "Resident memory of the process.", process.resident),
        ("process_open_fds", "Open file descriptors.", process.open_files),
        ("process_max_fds", "File descriptors that may be open.", process.max_files),
    ];
    for (name, help, value) in gauges {
        families.extend(value.map(|value| gauge(name, help, vec![(None, value as f64)])));
    }
    families.push(gauge(
        "process_start_time_seconds",
        "When the process started, in seconds since the epoch.",
        vec![(None, started)],
    ));
    families
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn with_label(name: &str, value: Option<&str>) -> Metric {
    let labels = value.map(|value| {
        let mut label = LabelPair::default();
        label.set_name(name.to_owned());
        label.set_value(value.to_owned());
        label
    });
    Metric::from_label(labels.into_iter().collect())
}

fn counter_of(value: f64) -> proto::Counter {
    let mut counter = proto::Counter::default();
    counter.set_value(value);
    counter
}

fn counter(name: &str, help: &str, label: &str, values: Vec<(Option<&str>, u64)>) -> MetricFamily {
    let metric = |(value, count): (Option<&str>, u64)| {
        let mut metric = with_label(label, value);
        metric.set_counter(counter_of(count as f64));
        metric
    };
    family(name, help, MetricType::COUNTER, values.into_iter().map(metric).collect())
}

fn labelled<L: Label>(name: &str, help: &str, label: &str, counts: &ByLabel<L>) -> MetricFamily {
    counter(name, help, label, counts.iter().map(|(value, count)| (Some(value.name()), count)).collect())
}

fn gauge(name: &str, help: &str, values: Vec<(Option<(&str, &str)>, f64)>) -> MetricFamily {
    let metric = |(label, value): (Option<(&str, &str)>, f64)| {
        let (label, name) = label.unzip();
        let mut metric = with_label(label.unwrap_or_default(), name);
        let mut gauge = proto::Gauge::default();
        gauge.set_value(value);
        metric.set_gauge(gauge);
        metric
    };
    family(name, help, MetricType::GAUGE, values.into_iter().map(metric).collect())
}

fn histogram(name: &str, help: &str, durations: &Durations) -> MetricFamily {
    let bucket = |(bound, count): (f64, u64)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(count);
        bucket
    };
    let mut histogram = proto::Histogram::default();
    histogram.set_bucket(durations.cumulative().into_iter().map(bucket).collect());
    histogram.set_sample_count(durations.count());
    histogram.set_sample_sum(durations.sum().as_secs_f64());
    let mut metric = Metric::default();
    metric.set_histogram(histogram);
    family(name, help, MetricType::HISTOGRAM, vec![metric])
}
