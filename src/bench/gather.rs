//! Adds up what the shards hand over: totals, seconds, and what the verdict needs.
//!
//! Invariants: histograms are added, never percentiles; of a second whose figures are complete only a few numbers are
//! kept, about 250 bytes and 8 more for each shard, so that an hour takes about 1 MB.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::counts::{Bytes, Connections, Messages};
use super::errors::Errors;
use super::histogram::{Latencies, Logged, millis};
use super::lateness::CatchUp;
use super::live::{Details, Live, Phase, SHOWN};
use super::report::{Second, Shard};
use super::shard::stats::{Deliveries, Interval, Opening};

const SECOND: u64 = 1_000_000_000;
/// Seconds behind the newest in which figures may still arrive.
const BEHIND: i64 = 2;

/// What one shard said at one time.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    end: u64,
    length: u64,
    open: u64,
    in_flight: u64,
    behind: u64,
    cpu: u64,
    waited: u64,
}

impl Sample {
    fn middle(&self) -> u64 {
        self.end - self.length / 2
    }
}

/// What one shard has said of itself.
#[derive(Debug, Clone, Default)]
struct ShardUse {
    /// The newest, not yet in the sums.
    last: Option<Sample>,
    /// Sums of the samples that lie in the measured time for the most part, in nanoseconds.
    length: u64,
    cpu: u64,
    waited: u64,
    /// The most of all samples.
    open_max: u64,
    loop_max: u64,
    queue_max: u64,
}

impl ShardUse {
    fn add(&mut self, sample: Sample, measured: &RangeInclusive<u64>) {
        self.open_max = self.open_max.max(sample.open);
        if let Some(before) = self.last.replace(sample).filter(|before| measured.contains(&before.middle())) {
            self.length += before.length;
            self.cpu += before.cpu;
            self.waited += before.waited;
        }
    }

    /// Returns its figures of the measured time; of a very short run, those of the last sample.
    fn report(&self, measured: &RangeInclusive<u64>) -> Shard {
        let mut all = self.clone();
        all.add(Sample::default(), measured);
        let last = self.last.unwrap_or_default();
        let (length, cpu, waited) =
            if all.length > 0 { (all.length, all.cpu, all.waited) } else { (last.length, last.cpu, last.waited) };
        let share = |part: u64| if length == 0 { 0.0 } else { part as f64 / length as f64 };
        Shard {
            cpu: share(cpu),
            waited: share(waited),
            loop_max_ms: millis(self.loop_max),
            queue_max_bytes: self.queue_max,
            connections: self.open_max,
        }
    }
}

/// A second that is not complete.
#[derive(Debug, Default)]
struct Open {
    written: u64,
    read: u64,
    errors: u64,
    headline: Latencies,
    schedule: Latencies,
    service: Latencies,
    response: Latencies,
    /// Each shard's last word on connections and messages under way.
    last: BTreeMap<usize, (u64, u64)>,
    /// Each shard's computing time and time.
    cpu: BTreeMap<usize, (u64, u64)>,
}

/// Everything the shards have said.
#[derive(Debug, Default)]
pub(crate) struct Gathered {
    /// Messages of the warm-up.
    pub warm: Messages,
    pub measured: Messages,
    /// Bytes while measuring.
    pub bytes: Bytes,
    pub connections: Connections,
    /// Close frames received.
    pub closes: BTreeMap<u16, u64>,
    pub errors: Errors,
    /// Failures to connect, by kind.
    pub failed: BTreeMap<String, u64>,
    pub catch_up: CatchUp,
    pub schedule: Latencies,
    /// From the write to the reply.
    pub service: Latencies,
    /// From the intended time to the reply.
    pub response: Latencies,
    pub ping: Latencies,
    pub opening: Opening,
    /// Deliveries of broadcasts.
    pub deliveries: Deliveries,
    /// Second by second, complete.
    pub series: Vec<Second>,
    /// The same as lines of an HDR log, if requested.
    pub log: Vec<Logged>,
    pub keeps_log: bool,
    /// Computing share of each shard, second by second while measuring.
    pub busy: BTreeMap<usize, Vec<f64>>,
    shards: Vec<ShardUse>,
    backlog: Vec<(u64, u64)>,
    pending: BTreeMap<i64, Open>,
    measure_from: Option<u64>,
    measure_to: u64,
    /// What a person did, by the second.
    by_hand: Vec<(f64, String)>,
    warmup: u64,
    /// Read and written in the last intervals, for the live view.
    recent: Vec<(u64, u64, u64)>,
    /// Since when there are messages.
    busy_from: Option<u64>,
}

impl Gathered {
    /// For so many shards.
    #[must_use]
    pub(crate) fn new(shards: usize, keeps_log: bool) -> Self {
        Self { shards: vec![ShardUse::default(); shards], keeps_log, measure_to: u64::MAX, ..Self::default() }
    }

    /// Measuring begins then, after a warm-up of this length; both in nanoseconds.
    pub(crate) fn begin(&mut self, measure_from: u64, warmup: u64) {
        self.measure_from = Some(measure_from);
        self.warmup = warmup;
    }

    /// A person did this, so many seconds after measuring began.
    pub(crate) fn note(&mut self, second: f64, what: String) {
        self.by_hand.push((second, what));
    }

    /// Measuring ended then.
    pub(crate) fn end(&mut self, measure_to: u64) {
        self.measure_to = measure_to;
    }

    /// Adds what a shard handed over.
    pub(crate) fn add(&mut self, interval: &mut Interval) {
        let shard = interval.shard;
        self.warm.add(&interval.warm);
        self.measured.add(&interval.measured);
        self.bytes.add(&interval.bytes);
        self.connections.add(&interval.connections);
        for (code, count) in &interval.closes {
            *self.closes.entry(*code).or_default() += count;
        }
        for (kind, count) in &interval.failed {
            *self.failed.entry(kind.clone()).or_default() += count;
        }
        let errors = std::mem::take(&mut interval.errors);
        let error_count = errors.total();
        self.errors.add(errors);
        self.catch_up.add(&interval.catch_up);
        self.schedule.add(&interval.schedule);
        self.service.add(&interval.service);
        self.response.add(&interval.response);
        self.ping.add(&interval.ping);
        if let Some(opening) = &interval.opening {
            self.opening.add(opening);
        }
        if let Some(deliveries) = &interval.deliveries {
            self.deliveries.first.add(&deliveries.first);
            self.deliveries.all_but_one.add(&deliveries.all_but_one);
            self.deliveries.all.add(&deliveries.all);
        }
        let measured = self.measured_time();
        let used = &mut self.shards[shard];
        used.loop_max = used.loop_max.max(interval.loop_max);
        used.queue_max = used.queue_max.max(interval.queue_max);
        let sample = Sample {
            end: interval.end,
            length: interval.length,
            open: interval.open,
            in_flight: interval.in_flight,
            behind: interval.behind,
            cpu: interval.cpu,
            waited: interval.waited,
        };
        used.add(sample, &measured);
        if self.busy_from.is_none() && interval.written + interval.read > 0 {
            self.busy_from = Some(interval.end - interval.length);
        }
        self.recent.push((interval.end, interval.written, interval.read));
        if shard == 0 {
            self.backlog.push((interval.end, self.last_samples().map(|sample| sample.behind).sum()));
        }
        self.add_to_second(interval, error_count);
    }

    fn add_to_second(&mut self, interval: &Interval, errors: u64) {
        let Some(from) = self.measure_from else { return };
        let middle = interval.end - interval.length / 2;
        // Seconds of a run fit.
        #[allow(clippy::cast_possible_wrap)]
        let second = (middle as i64 - from as i64).div_euclid(SECOND as i64);
        let open = self.pending.entry(second).or_default();
        open.written += interval.written;
        open.read += interval.read;
        open.errors += errors;
        open.headline.add(&interval.warm_latencies);
        open.last.insert(interval.shard, (interval.open, interval.in_flight));
        let (cpu, length) = open.cpu.entry(interval.shard).or_default();
        *cpu += interval.cpu;
        *length += interval.length;
        // The interval on the border has the first measured ones in it.
        if interval.service.count() + interval.response.count() + interval.schedule.count() == 0 {
            self.complete(second - BEHIND);
            return;
        }
        let open = self.pending.entry(second.max(0)).or_default();
        open.headline.add(if interval.response.count() > 0 { &interval.response } else { &interval.service });
        if self.keeps_log {
            open.schedule.add(&interval.schedule);
            open.service.add(&interval.service);
            open.response.add(&interval.response);
        }
        self.complete(second - BEHIND);
    }

    /// Puts seconds up to this one into the series.
    fn complete(&mut self, upto: i64) {
        while let Some(entry) = self.pending.first_entry().filter(|entry| *entry.key() <= upto) {
            let (second, open) = entry.remove_entry();
            self.close_second(second, &open);
        }
    }

    /// Puts all that is left into the series.
    pub(crate) fn finish(&mut self) {
        self.complete(i64::MAX);
    }

    fn close_second(&mut self, second: i64, open: &Open) {
        let from = self.measure_from.unwrap_or_default();
        let measured = self.measure_to.saturating_sub(from) as f64 / 1e9;
        let phase = match second {
            second if (second as f64) < -(self.warmup as f64 / 1e9) => Phase::Connect,
            ..0 => Phase::Warmup,
            second if (second as f64) < measured => Phase::Measure,
            _ => Phase::Drain,
        };
        let share = |(cpu, length): &(u64, u64)| if *length == 0 { 0.0 } else { *cpu as f64 / *length as f64 };
        if phase == Phase::Measure {
            for (shard, time) in &open.cpu {
                self.busy.entry(*shard).or_default().push(share(time));
            }
        }
        let latencies = &open.headline;
        let within = |(t, _): &(f64, String)| (second as f64..(second + 1) as f64).contains(t);
        let by_hand = self.by_hand.iter().filter(|entry| within(entry)).map(|(_, what)| what.clone()).collect();
        self.series.push(Second {
            t: (second + 1) as f64,
            phase: phase.name().to_owned(),
            connections: open.last.values().map(|(open, _)| open).sum(),
            in_flight: open.last.values().map(|(_, in_flight)| in_flight).sum(),
            sent: open.written,
            received: open.read,
            errors: open.errors,
            p50: latencies.percentile(50.0).map(millis),
            p99: latencies.percentile(99.0).map(millis),
            max: (latencies.count() > 0).then(|| millis(latencies.max())),
            cpu: open.cpu.values().map(share).fold(0.0, f64::max),
            by_hand,
        });
        if self.keeps_log && second >= 0 {
            let kinds = [("response", &open.response), ("service", &open.service), ("schedule", &open.schedule)];
            let lines = kinds.into_iter().filter_map(|(tag, latencies)| Logged::of(tag, second as f64, 1.0, latencies));
            self.log.extend(lines);
        }
    }

    /// Returns each shard's last sample.
    fn last_samples(&self) -> impl Iterator<Item = &Sample> {
        self.shards.iter().filter_map(|shard| shard.last.as_ref())
    }

    /// Returns the measured time in nanoseconds; empty until its begin is known.
    fn measured_time(&self) -> RangeInclusive<u64> {
        self.measure_from.map_or(RangeInclusive::new(1, 0), |from| from..=self.measure_to)
    }

    /// Messages under way, by each shard's last word.
    #[must_use]
    pub(crate) fn in_flight(&self) -> u64 {
        self.last_samples().map(|sample| sample.in_flight).sum()
    }

    /// Open connections, by each shard's last word.
    #[must_use]
    pub(crate) fn open(&self) -> u64 {
        self.last_samples().map(|sample| sample.open).sum()
    }

    /// How far replies were behind while measuring, several times a second.
    #[must_use]
    pub(crate) fn backlog(&self) -> Vec<u64> {
        let from = self.measure_from.unwrap_or(u64::MAX);
        let within = self.backlog.iter().filter(|(end, _)| *end > from && *end <= self.measure_to);
        within.map(|(_, behind)| *behind).collect()
    }

    /// Until when, in nanoseconds, all shards have handed over what they measured.
    #[must_use]
    pub(crate) fn known_until(&self) -> u64 {
        self.shards.iter().map(|shard| shard.last.map_or(0, |sample| sample.end)).min().unwrap_or_default()
    }

    /// How each shard did while measuring.
    #[must_use]
    pub(crate) fn shards(&self) -> Vec<Shard> {
        let measured = self.measured_time();
        self.shards.iter().map(|shard| shard.report(&measured)).collect()
    }

    /// What a dashboard shows of the run so far.
    #[must_use]
    pub(crate) fn details(&self, resident: u64) -> Details {
        let kinds = [("response", &self.response), ("service", &self.service), ("schedule", &self.schedule)];
        let some: Vec<_> = kinds.into_iter().filter(|(_, latencies)| latencies.count() > 0).collect();
        let row = |(name, latencies): &(&'static str, &Latencies)| {
            let told = SHOWN.map(|(_, percentile)| latencies.percentile(percentile).map(millis));
            (*name, told, Some(millis(latencies.max())))
        };
        let messages = &self.measured;
        Details {
            rows: some.iter().map(row).collect(),
            doublings: some.first().map(|(_, latencies)| latencies.doublings()).unwrap_or_default(),
            kinds: self.errors.counts().into_iter().collect(),
            faults: [messages.duplicated, messages.reordered, messages.corrupt, messages.unexpected],
            late: self.catch_up.late,
            resident,
            ..Details::default()
        }
    }

    /// Fills in what is to be seen now, at `now` nanoseconds since the run began.
    pub(crate) fn fill(&mut self, live: &mut Live, now: u64) {
        let since = now.saturating_sub(SECOND);
        self.recent.retain(|(end, ..)| *end > since);
        // In the first second there is less than a second to go by.
        let seconds = now.saturating_sub(since.max(self.busy_from.unwrap_or_default())).max(SECOND / 10) as f64 / 1e9;
        live.sent = self.recent.iter().map(|(_, written, _)| *written).sum::<u64>() as f64 / seconds;
        live.received = self.recent.iter().map(|(.., read)| *read).sum::<u64>() as f64 / seconds;
        live.open = self.open();
        live.in_flight = self.in_flight();
        live.errors = self.errors.total();
        live.lost = self.measured.lost + self.warm.lost;
        let missed = |messages: &Messages| messages.due() - messages.sent;
        live.missed = missed(&self.measured) + missed(&self.warm);
        if let Some((_, second)) = self.pending.last_key_value() {
            let latencies = &second.headline;
            live.p50 = latencies.percentile(50.0).map(millis);
            live.p99 = latencies.percentile(99.0).map(millis);
            live.max = (latencies.count() > 0).then(|| millis(latencies.max()));
        }
        live.cpu = self.last_samples().map(|sample| sample.cpu as f64 / sample.length.max(1) as f64).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(end: u64, cpu: u64) -> Sample {
        Sample { end, length: 10, open: 3, cpu, ..Sample::default() }
    }

    fn computing(samples: &[Sample], measured: RangeInclusive<u64>, known_late: RangeInclusive<u64>) -> f64 {
        let mut used = ShardUse::default();
        for sample in samples {
            used.add(*sample, &measured);
        }
        let shard = used.report(&known_late);
        assert_eq!((shard.connections, used.report(&known_late).cpu.to_bits()), (3, shard.cpu.to_bits()));
        shard.cpu
    }

    #[test]
    fn a_shard_is_judged_by_its_samples_of_the_measured_time() {
        let samples = [sample(100, 10), sample(110, 5), sample(120, 3), sample(130, 0)];
        assert!((computing(&samples, 101..=121, 101..=121) - 0.4).abs() < 1e-9);
        // The end is known only after the last sample came.
        assert!((computing(&samples, 101..=u64::MAX, 101..=124) - 0.4).abs() < 1e-9);
        assert!((computing(&samples, 101..=u64::MAX, 101..=140) - 8.0 / 30.0).abs() < 1e-9);
        // A run too short for any sample of its own.
        assert!((computing(&samples[..1], RangeInclusive::new(1, 0), 98..=99) - 1.0).abs() < 1e-9);
    }
}
