//! The live figures of a run, at a glance: what is printed during it, and the phases that end with their time.

use super::Conductor;
use crate::bench::compose::judge_so_far;
use crate::bench::live::{Details, Live, Phase};
use crate::bench::machine;
use crate::bench::plan::Load;
use crate::bench::schedule::{Stage, stage_at};

impl Conductor<'_> {
    /// Changes the live figures, and the phases that go by the clock.
    pub(super) fn look(&mut self) {
        let now = self.now();
        self.obey(now);
        if self.phase == Phase::Warmup && now >= self.measure_from {
            self.enter(Phase::Measure);
        }
        let ended = !self.plan.ends_by_count() && self.measure_from != u64::MAX && now > self.measure_to();
        if self.phase == Phase::Measure && ended {
            self.enter(Phase::Drain);
        }
        self.memory.1 = self.memory.1.max(machine::resident());
        let mut live = Live {
            phase: self.phase,
            elapsed: self.phase_since.elapsed().as_secs_f64(),
            of: match self.phase {
                Phase::Warmup => Some(self.plan.warmup.as_secs_f64()),
                Phase::Measure if !self.plan.ends_by_count() => Some(self.plan.measured().as_secs_f64()),
                _ => None,
            },
            asked: self.plan.connections as u64,
            rate_asked: self
                .plan
                .course()
                .map(|course| self.changes.course(&course).rate_at(now.saturating_sub(self.began()) as f64 / 1e9)),
            steerable: self.control.hand.is_some() && self.plan.kind.sends(),
            paused: self.changes.is_paused(),
            changed: self.changes.has_changed(),
            marks: self.changes.marks(),
            ..Live::default()
        };
        self.gathered.fill(&mut live, now);
        live.stage = self.stage(live.elapsed);
        live.details = self.control.detailed.then(|| self.details());
        self.control.live.send_replace(live);
        self.tell_seconds();
    }

    /// The stage of the load, so many seconds into measuring.
    pub(super) fn stage(&self, elapsed: f64) -> Option<(usize, Stage, usize)> {
        let Load::Open { stages, .. } = &self.plan.load else { return None };
        let (number, stage) = stage_at(stages, elapsed).filter(|_| self.phase == Phase::Measure)?;
        Some((number, stage, stages.len()))
    }

    pub(super) fn details(&self) -> Details {
        let mut details = self.gathered.details(self.memory.1);
        let known = self.gathered.known_until().min(self.measure_to());
        let seconds = known.saturating_sub(self.measure_from) as f64 / 1e9;
        // Of less than a second nothing can be said.
        if seconds >= 1.0 {
            let verdict = judge_so_far(&self.plan, &self.gathered, &self.changes, seconds);
            details.verdict = Some((verdict.health, verdict.reasons.into_iter().next()));
        }
        details
    }

    pub(super) fn tell_seconds(&mut self) {
        for second in &self.gathered.series[self.told..] {
            (self.control.second)(second);
        }
        self.told = self.gathered.series.len();
    }
}
