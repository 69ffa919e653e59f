//! When each message is due (pure): one global timeline, of which every shard owns a share.
//!
//! Message k is due when the integral of the rate reaches k; ramps invert that integral. Random spacing adds up
//! seeded exponential gaps instead. Owns the stages' notation. Leaves what is sent late or given up to
//! `lateness`.
//! Invariants: due times never fall back; the shards' shares are disjoint and together the whole; the same seed and
//! number of shards yield the same times.

use std::time::Duration;

/// One piece of a course: evenly from one rate to another, or a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    pub duration: Duration,
    /// The rate at its end.
    pub rate: f64,
    /// The rate holds from its beginning.
    pub step: bool,
}

/// The stage at this second, its number from 1 on.
#[must_use]
pub(crate) fn stage_at(stages: &[Stage], second: f64) -> Option<(usize, Stage)> {
    let mut end = 0.0;
    stages.iter().enumerate().find_map(|(index, stage)| {
        end += stage.duration.as_secs_f64();
        (second < end).then_some((index + 1, *stage))
    })
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Piece {
    /// Seconds at which it begins.
    start: f64,
    seconds: f64,
    from: f64,
    to: f64,
    /// Messages due before it.
    before: f64,
}

impl Piece {
    /// Messages due in its first `seconds`.
    fn count(&self, seconds: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        seconds * (self.from + slope * seconds / 2.0)
    }

    /// When so many messages of it are due: the inverse of [`Piece::count`].
    fn time(&self, count: f64) -> f64 {
        let slope = (self.to - self.from) / self.seconds;
        // Of the two forms of the root this one has no subtraction that could cancel.
        let root = (self.from * self.from + 2.0 * slope * count).max(0.0).sqrt();
        // From a standstill the first message is due at once, where the root is none yet.
        if count <= 0.0 {
            0.0
        } else if self.from + root > 0.0 {
            2.0 * count / (self.from + root)
        } else {
            self.seconds
        }
    }
}

/// The rate over time: pieces in which it changes evenly.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Course {
    pieces: Vec<Piece>,
}

impl Course {
    /// A course of nothing, to be built on with [`Course::then`].
    #[must_use]
    pub(crate) fn new() -> Self {
        Self { pieces: Vec::new() }
    }

    /// The same with another piece behind it. One of no duration is left out.
    #[must_use]
    pub(crate) fn then(mut self, duration: Duration, from: f64, to: f64) -> Self {
        let seconds = duration.as_secs_f64();
        if seconds > 0.0 {
            self.pieces.push(Piece { start: self.seconds(), seconds, from, to, before: self.total() });
        }
        self
    }

    /// One rate all the time.
    #[must_use]
    pub(crate) fn constant(rate: f64, duration: Duration) -> Self {
        Self::new().then(duration, rate, rate)
    }

    /// A warm-up at the first rate there is, then the stages, from `start` on.
    #[must_use]
    pub(crate) fn staged(warmup: Duration, start: f64, stages: &[Stage]) -> Self {
        let first = if start > 0.0 { start } else { stages.first().map_or(0.0, |stage| stage.rate) };
        let mut course = Self::new().then(warmup, first, first);
        let mut rate = start;
        for stage in stages {
            let from = if stage.step { stage.rate } else { rate };
            course = course.then(stage.duration, from, stage.rate);
            rate = stage.rate;
        }
        course
    }

    /// The same with its rate times a factor from a second on: of each of these the one that holds last.
    #[must_use]
    pub(crate) fn turned(&self, turns: &[(f64, f64)]) -> Self {
        let factor_at =
            |second: f64| turns.iter().rev().find(|(at, _)| *at <= second).map_or(1.0, |(_, factor)| *factor);
        let mut course = Self::new();
        for piece in &self.pieces {
            let end = piece.start + piece.seconds;
            let rate = |second: f64| piece.from + (piece.to - piece.from) * (second - piece.start) / piece.seconds;
            let cuts = turns.iter().map(|(at, _)| *at).filter(|at| *at > piece.start && *at < end);
            let mut start = piece.start;
            for cut in cuts.chain([end]) {
                let factor = factor_at(start);
                if cut > start {
                    let (from, to) = (rate(start) * factor, rate(cut) * factor);
                    course.pieces.push(Piece { start, seconds: cut - start, from, to, before: course.total() });
                    start = cut;
                }
            }
        }
        course
    }

    /// How long it takes, in seconds.
    #[must_use]
    pub(crate) fn seconds(&self) -> f64 {
        self.pieces.last().map_or(0.0, |piece| piece.start + piece.seconds)
    }

    /// Messages due in all of it.
    #[must_use]
    pub(crate) fn total(&self) -> f64 {
        self.pieces.last().map_or(0.0, |piece| piece.before + piece.count(piece.seconds))
    }

    /// Messages due before this second.
    #[must_use]
    pub(crate) fn count_at(&self, second: f64) -> f64 {
        let piece = self.pieces.iter().rev().find(|piece| piece.start <= second);
        piece.map_or(0.0, |piece| piece.before + piece.count((second - piece.start).min(piece.seconds)))
    }

    #[must_use]
    pub(crate) fn rate_at(&self, second: f64) -> f64 {
        let piece = self.pieces.iter().rev().find(|piece| piece.start <= second);
        piece.map_or(0.0, |piece| {
            piece.from + (piece.to - piece.from) * ((second - piece.start) / piece.seconds).min(1.0)
        })
    }

    /// The second at which so many messages are due, if that many ever are.
    fn time_of(&self, count: f64, at: &mut usize) -> Option<f64> {
        loop {
            let piece = self.pieces.get(*at)?;
            let within = count - piece.before;
            if within < piece.count(piece.seconds) {
                return Some(piece.start + piece.time(within));
            }
            *at += 1;
        }
    }
}

impl Default for Course {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads `10s:1k,1m:50k`; `10s:=1k` steps instead of ramping. `duration` and `rate` read the parts.
///
/// # Errors
/// A line that says what is wrong.
pub(crate) fn parse_stages(
    text: &str,
    duration: impl Fn(&str) -> Result<Duration, String>,
    rate: impl Fn(&str) -> Result<f64, String>,
) -> Result<Vec<Stage>, String> {
    let read = |part: &str| {
        let (time, target) = part
            .split_once(':')
            .ok_or_else(|| format!("invalid stage '{part}'; use DURATION:RATE or DURATION:=RATE"))?;
        let (target, step) = target.trim().strip_prefix('=').map_or((target.trim(), false), |target| (target, true));
        let duration = duration(time.trim())?;
        if duration.is_zero() {
            return Err(format!("stage '{part}' has no duration; use 10s:=1k for a step"));
        }
        Ok(Stage { duration, rate: rate(target)?, step })
    };
    let stages = text.split(',').map(|part| read(part.trim())).collect::<Result<Vec<_>, _>>()?;
    if stages.iter().all(|stage| stage.rate <= 0.0) {
        return Err("every stage has rate 0".to_owned());
    }
    Ok(stages)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spacing {
    Even,
    /// At random, as independent users would (a Poisson process).
    Poisson,
}

/// One shard's share of the course: the due times of its messages, one after the other.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    course: Course,
    piece: usize,
    spacing: Spacing,
    shards: f64,
    /// How far into the course the next message lies, in messages of all shards.
    position: f64,
    index: u64,
    shard: u64,
    random: fastrand::Rng,
    next: Option<u64>,
    /// Messages of all shards before the course was turned last.
    base: f64,
    /// Another course that holds from a time on.
    turn: Option<Box<(Course, u64)>>,
}

impl Timeline {
    /// The share of `shard`, the first being 0, of `shards`.
    #[must_use]
    pub(crate) fn new(course: Course, spacing: Spacing, shard: u64, shards: u64, seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed ^ shard.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut timeline = Self {
            course,
            piece: 0,
            spacing,
            shards: shards as f64,
            position: 0.0,
            index: 0,
            shard,
            random,
            next: None,
            base: 0.0,
            turn: None,
        };
        timeline.position = match spacing {
            Spacing::Even => shard as f64,
            Spacing::Poisson => timeline.gap(),
        };
        timeline.find();
        timeline
    }

    /// A share of a Poisson process is one of its own, with gaps as much longer.
    fn gap(&mut self) -> f64 {
        -(1.0 - self.random.f64()).ln() * self.shards
    }

    fn find(&mut self) {
        // Nanoseconds of a run are far below 2^63 and never negative.
        #[allow(clippy::cast_sign_loss)]
        let nanos = |seconds: f64| (seconds * 1e9).round() as u64;
        self.next = self.course.time_of(self.position, &mut self.piece).map(nanos);
        if let Some(turn) = self.turn.take_if(|turn| self.next.is_none_or(|next| next >= turn.1)) {
            let (course, at) = *turn;
            // All shards begin anew there, each with its share.
            self.base = course.count_at(at as f64 / 1e9);
            (self.course, self.piece, self.index) = (course, 0, 0);
            self.position = match self.spacing {
                Spacing::Even => self.base + self.shard as f64,
                Spacing::Poisson => self.base + self.gap(),
            };
            self.next = self.course.time_of(self.position, &mut self.piece).map(nanos);
        }
    }

    /// Another course holds from `at` nanoseconds after the start on; what is due before that stays so.
    pub(crate) fn turn(&mut self, course: Course, at: u64) {
        self.turn = Some(Box::new((course, at)));
        self.find();
    }

    /// When the next message is due, in nanoseconds since the start; `None` after the last.
    #[must_use]
    pub(crate) fn peek(&self) -> Option<u64> {
        self.next
    }

    /// Goes on to the message after.
    pub(crate) fn advance(&mut self) {
        self.index += 1;
        match self.spacing {
            // Not accumulated, so rounding errors do not add up.
            Spacing::Even => self.position = self.base + self.shard as f64 + self.index as f64 * self.shards,
            Spacing::Poisson => self.position += self.gap(),
        }
        self.find();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    fn all(mut timeline: Timeline) -> Vec<u64> {
        let mut times = Vec::new();
        while let Some(time) = timeline.peek() {
            times.push(time);
            timeline.advance();
        }
        times
    }

    #[test]
    fn a_stage_is_known_by_the_second() {
        let seconds =
            |text: &str| text.trim_end_matches('s').parse().map(Duration::from_secs).map_err(|_| text.to_owned());
        let stages = parse_stages("2s:10,3s:=40", seconds, |rate| rate.parse().map_err(|_| rate.to_owned()))
            .expect("two stages");
        let number = |second| stage_at(&stages, second).map(|(number, stage)| (number, stage.rate));
        assert_eq!(
            [number(0.0), number(1.9), number(2.0), number(4.9), number(5.0)],
            [Some((1, 10.0)), Some((1, 10.0)), Some((2, 40.0)), Some((2, 40.0)), None]
        );
    }

    #[test]
    fn an_even_rate_is_a_grid() {
        let times = all(Timeline::new(Course::constant(4.0, seconds(1.0)), Spacing::Even, 0, 1, 7));
        assert_eq!(times, [0, 250_000_000, 500_000_000, 750_000_000]);
        let share = all(Timeline::new(Course::constant(4.0, seconds(1.0)), Spacing::Even, 1, 2, 7));
        assert_eq!(share, [250_000_000, 750_000_000]);
    }

    #[test]
    fn a_ramp_inverts_the_integral_of_the_rate() {
        // From 0 to 100 a second in 2 s: k = 25 t^2.
        let course = Course::new().then(seconds(2.0), 0.0, 100.0);
        assert!((course.total() - 100.0).abs() < 1e-9);
        let times = all(Timeline::new(course, Spacing::Even, 0, 1, 1));
        assert_eq!((times.len(), times[25], times[81]), (100, 1_000_000_000, 1_800_000_000));
        assert_eq!(times[..2], [0, 200_000_000], "it begins at once");
        // And down again to nothing.
        let times = all(Timeline::new(Course::new().then(seconds(2.0), 100.0, 0.0), Spacing::Even, 0, 1, 1));
        assert_eq!((times.len(), times[75]), (100, 1_000_000_000));
    }

    #[test]
    fn stages_ramp_or_step() {
        let rate =
            |text: &str| text.trim_end_matches('k').parse::<f64>().map(|n| n * 1000.0).map_err(|e| e.to_string());
        let time = |text: &str| text.trim_end_matches('s').parse().map(seconds).map_err(|_| format!("'{text}'?"));
        let stages = parse_stages("10s:1k, 5s:=3k,5s:3k", time, rate).expect("stages");
        let course = Course::staged(seconds(2.0), 0.0, &stages);
        // Warm-up at the first rate, then from nothing up to it.
        let table = [(0.0, 1000.0), (2.0, 0.0), (7.0, 500.0), (12.0, 3000.0), (17.0, 3000.0), (21.9, 3000.0)];
        for (at, expected) in table {
            assert!((course.rate_at(at) - expected).abs() < 1.0, "{at}: {}", course.rate_at(at));
        }
        assert!((course.total() - (2000.0 + 5000.0 + 30000.0)).abs() < 1e-6);
        assert!((course.count_at(12.0) - 7000.0).abs() < 1e-6 && (course.seconds() - 22.0).abs() < 1e-9);
        for wrong in ["10s", "10s:", "x:1k", "0s:1k", "10s:0k", ""] {
            assert!(parse_stages(wrong, time, rate).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_course_is_turned_while_it_is_followed() {
        let course = Course::new().then(seconds(4.0), 0.0, 400.0).then(seconds(2.0), 400.0, 400.0);
        let turned = course.turned(&[(2.0, 0.5), (5.0, 0.0), (5.5, 2.0)]);
        // Of a ramp half the slope is left; a pause sends nothing, what comes after is twice as fast.
        for (at, rate) in [(1.0, 100.0), (2.0, 100.0), (3.0, 150.0), (4.5, 200.0), (5.2, 0.0), (5.7, 800.0)] {
            assert!((turned.rate_at(at) - rate).abs() < 1e-9, "{at}: {}", turned.rate_at(at));
        }
        assert!((turned.total() - (200.0 + 300.0 + 200.0 + 400.0)).abs() < 1e-9);
        assert_eq!(course.turned(&[]), course);

        let flat = Course::constant(100.0, seconds(4.0));
        let mut shards: Vec<Timeline> =
            (0..3).map(|shard| Timeline::new(flat.clone(), Spacing::Even, shard, 3, 1)).collect();
        let (mut times, mut turns) = (Vec::new(), Vec::new());
        for (second, factor) in [(1_u32, 2.0), (2, 0.0), (3, 1.0)] {
            turns.push((f64::from(second), factor));
            let nanos = u64::from(second) * 1_000_000_000;
            for timeline in &mut shards {
                // Told a little ahead, as shards are.
                while timeline.peek().is_some_and(|next| next < nanos - 50_000_000) {
                    times.extend(timeline.peek());
                    timeline.advance();
                }
                timeline.turn(flat.turned(&turns), nanos);
            }
        }
        times.extend(shards.into_iter().flat_map(all));
        times.sort_unstable();
        let within =
            |from: f64, to: f64| times.iter().filter(|time| (from..to).contains(&(**time as f64 / 1e9))).count();
        assert_eq!([within(0.0, 1.0), within(1.0, 2.0), within(2.0, 3.0), within(3.0, 4.0)], [100, 200, 0, 100]);
        let gaps = times.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap < 900_000_000);
        assert!(gaps.clone().all(|gap| (4_900_000..=10_100_000).contains(&gap)), "{:?}", gaps.collect::<Vec<_>>());
    }

    #[test]
    fn random_spacing_has_the_rate_and_the_spread_of_independent_users() {
        let times = all(Timeline::new(Course::constant(10_000.0, seconds(10.0)), Spacing::Poisson, 0, 1, 42));
        let count = times.len() as f64;
        assert!((count - 100_000.0).abs() < 5.0 * 100_000_f64.sqrt(), "{count}");
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.02, "{}", variance.sqrt() / mean);
        let again = all(Timeline::new(Course::constant(10_000.0, seconds(10.0)), Spacing::Poisson, 0, 1, 42));
        assert_eq!(times, again, "the same seed, the same times");
        let other = all(Timeline::new(Course::constant(10_000.0, seconds(10.0)), Spacing::Poisson, 0, 1, 43));
        assert_ne!(times, other);
    }

    proptest! {
        #[test]
        fn shares_are_disjoint_and_whole(
            rates in prop::collection::vec((0.0..500.0_f64, 0.0..500.0_f64, 0.01..1.0_f64), 1..5),
            shards in 1..5_u64,
        ) {
            let course = rates.iter().fold(Course::new(), |course, (from, to, time)| course.then(seconds(*time), *from, *to));
            let whole = all(Timeline::new(course.clone(), Spacing::Even, 0, 1, 1));
            prop_assert!(whole.windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert!((whole.len() as f64 - course.total()).abs() <= 1.0);
            let mut shares: Vec<u64> =
                (0..shards).flat_map(|shard| all(Timeline::new(course.clone(), Spacing::Even, shard, shards, 1))).collect();
            shares.sort_unstable();
            prop_assert_eq!(&whole, &shares);
            // Each is due when the count reaches it.
            for (index, time) in whole.iter().enumerate() {
                let count = course.count_at(*time as f64 / 1e9);
                prop_assert!((count - index as f64).abs() < 0.01, "{} is due at {}", index, count);
            }
        }

        #[test]
        fn random_times_never_fall_back(seed in any::<u64>(), shard in 0..3_u64) {
            let course = Course::new().then(seconds(0.5), 0.0, 2000.0).then(seconds(0.5), 2000.0, 10.0);
            let times = all(Timeline::new(course, Spacing::Poisson, shard, 3, seed));
            prop_assert!(times.windows(2).all(|pair| pair[0] <= pair[1]));
            prop_assert!(times.last().is_none_or(|last| *last < 1_000_000_000));
        }
    }
}
