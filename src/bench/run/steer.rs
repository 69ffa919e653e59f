//! What comes from outside while a load test runs: signals, and what a person at the dashboard wishes.

use std::sync::Arc;
use std::time::Instant;

use super::{Conductor, SETTLE};
use crate::bench::hand::{Turn, Wish};
use crate::bench::live::Phase;
use crate::bench::shard::Command;
use crate::host::StopSignal;

impl Conductor<'_> {
    /// The first signal ends measuring, the second the waiting for answers, the third everything; time does the same.
    pub(super) fn interrupt(&mut self, signal: StopSignal) {
        match self.phase {
            _ if self.signal.is_none() => self.stop(),
            Phase::Close => {
                let _ = self.commands.send(Command::Abort);
            }
            _ => self.close(),
        }
        self.signal = self.signal.or(Some(signal));
    }

    pub(super) fn stop(&mut self) {
        self.stopped_at.get_or_insert(self.now());
        match self.phase {
            Phase::Connect => self.close(),
            Phase::Warmup | Phase::Measure => {
                let _ = self.commands.send(Command::Stop);
                self.enter(Phase::Drain);
            }
            Phase::Drain | Phase::Close => {}
        }
    }

    /// Carries out what a person wishes.
    pub(super) fn obey(&mut self, now: u64) {
        let (Some(hand), Phase::Warmup | Phase::Measure) = (self.control.hand, self.phase) else { return };
        // All shards are to have begun, and to know of it before it holds.
        if now < self.began() + SETTLE.as_nanos() as u64 {
            return;
        }
        let since = |at: u64, from: u64| at as f64 / 1e9 - from as f64 / 1e9;
        let placed = |(at, wish): (Instant, Wish)| {
            (since(at.saturating_duration_since(self.epoch).as_nanos() as u64, self.measure_from), wish)
        };
        // Where nothing is sent there is nothing to change.
        let can = |wish: Wish| wish == Wish::Mark || self.plan.kind.sends();
        let wishes: Vec<(f64, Wish)> = hand.take().into_iter().filter(|(_, wish)| can(*wish)).map(placed).collect();
        if wishes.is_empty() {
            return;
        }
        let at = now + SETTLE.as_nanos() as u64;
        let course = self.plan.course();
        let told = self.changes.told.len();
        let second = since(at, self.began());
        let warmup = self.plan.warmup.as_secs_f64();
        if self.changes.take(&wishes, second, warmup, course.as_ref()) {
            let course = course.map(|course| self.changes.course(&course));
            let turn = Turn { at, course, paused: self.changes.is_paused() };
            self.turns.send_replace(Some(Arc::new(turn)));
        }
        for entry in &self.changes.told[told..] {
            self.gathered.note(entry.t, entry.plain());
        }
    }
}
