//! Samples of metrics and families of them, as the `prometheus` library has them.

use prometheus::proto::{self, LabelPair, Metric, MetricFamily, MetricType};

use super::counters::Durations;

/// A family of these samples.
pub(super) fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

/// The labels of a sample.
#[derive(Debug, Clone, Default)]
pub(super) struct Sample(Vec<LabelPair>);

impl Sample {
    /// Without any.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// With one more.
    pub(super) fn with(mut self, name: &str, value: &str) -> Self {
        let mut label = LabelPair::default();
        label.set_name(name.to_owned());
        label.set_value(value.to_owned());
        self.0.push(label);
        self
    }

    /// The sample of a counter or a gauge.
    pub(super) fn value(self, kind: MetricType, value: f64) -> Metric {
        let mut metric = Metric::from_label(self.0);
        if kind == MetricType::GAUGE {
            let mut gauge = proto::Gauge::default();
            gauge.set_value(value);
            metric.set_gauge(gauge);
        } else {
            let mut counter = proto::Counter::default();
            counter.set_value(value);
            metric.set_counter(counter);
        }
        metric
    }
}

/// The sample of a histogram.
pub(super) fn histogram_of(sample: Sample, durations: &Durations) -> Metric {
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
    let mut metric = Metric::from_label(sample.0);
    metric.set_histogram(histogram);
    metric
}
