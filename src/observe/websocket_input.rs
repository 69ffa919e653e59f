//! The counters of a run under the names of the component `websocket_input` of the system `StreamKit`, so that dashboards
//! and alerts made for that go on working.
//!
//! Owns those names and what they mean here; the values are those of `metrics`. Invariant: every sample has the label
//! `component`.

use prometheus::proto::{MetricFamily, MetricType};

use super::control::Control;
use super::counters::{ByLabel, Label};
use super::sample::{Sample, family, histogram_of};

const PREFIX: &str = "websocket_input_";

/// Returns the metrics of a run, whose component has this name.
pub(crate) fn families(run: &dyn Control, component: &str) -> Vec<MetricFamily> {
    let counters = run.counters();
    let queues = run.queues();
    let depth: usize = queues.iter().map(|queue| queue.depth).sum();
    let utilization = queues.iter().map(|queue| queue.utilization).fold(0.0, f64::max);
    let sample = || Sample::new().with("component", component);
    let single = |name: &str, help: &str, kind, value: f64| {
        family(&format!("{PREFIX}{name}"), help, kind, vec![sample().value(kind, value)])
    };
    let counter = |name, help, value: u64| single(name, help, MetricType::COUNTER, value as f64);
    let many = |name: &str, help: &str, label: &str, values: Vec<(String, u64)>| {
        let metric =
            |(value, count): (String, u64)| sample().with(label, &value).value(MetricType::COUNTER, count as f64);
        family(&format!("{PREFIX}{name}"), help, MetricType::COUNTER, values.into_iter().map(metric).collect())
    };
    let times =
        counters.request_time.iter().map(|(method, times)| histogram_of(sample().with("method", method.name()), times));
    let durations = family(
        &format!("{PREFIX}request_duration_seconds"),
        "Time from a request to its reply.",
        MetricType::HISTOGRAM,
        times.collect(),
    );
    vec![
        many("messages_received_total", "Messages received, by type.", "type", received(run)),
        many("messages_published_total", "Messages delivered, by subject.", "subject", run.published()),
        many("messages_dropped_total", "Messages dropped, by reason.", "reason", named(&counters.dropped)),
        single("connections_active", "Open connections.", MetricType::GAUGE, run.active() as f64),
        counter("connections_total", "Connections opened.", counters.connections.get()),
        counter("reconnect_attempts_total", "Attempts to reconnect.", counters.reconnect_attempts.get()),
        many("requests_sent_total", "Requests sent, by method.", "method", named(&counters.requests.sent)),
        many("replies_received_total", "Replies received, by status.", "status", named(&counters.replies.received)),
        counter("request_timeouts_total", "Requests without a reply in time.", counters.request_timeouts.get()),
        durations,
        single("queue_depth", "Messages in queues.", MetricType::GAUGE, depth as f64),
        single("queue_utilization", "Fullest queue, from 0.0 to 1.0.", MetricType::GAUGE, utilization),
        many("errors_total", "Errors, by type.", "type", named(&counters.errors)),
    ]
}

/// By the type of envelope; what comes without envelopes is data.
fn received(run: &dyn Control) -> Vec<(String, u64)> {
    let counters = run.counters();
    let mut types = named(&counters.envelopes);
    if counters.envelopes.total() == 0
        && let Some((_, data)) = types.first_mut()
    {
        *data = counters.received.messages.get();
    }
    types
}

/// Names have underscores there.
fn named<L: Label>(counts: &ByLabel<L>) -> Vec<(String, u64)> {
    counts.iter().map(|(label, count)| (label.name().replace('-', "_"), count)).collect()
}
