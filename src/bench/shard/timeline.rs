//! Sends the shard's share of the timeline: all that is due each time, then sleep until the next.
//!
//! Called by its own task when the shard is idle, and between two reads when it is busy.
//! Invariants: a slow connection never stops the timeline, it loses its turn; what is sent late keeps its intended time.

use std::rc::Rc;

use tokio::task::spawn_local;

use super::Shard;
use super::park::{Early, Park};
use crate::bench::lateness::{Due, judge};

/// Shortest sleep, in nanoseconds: several messages may be due at the end of it.
const GRAIN: u64 = 20_000;
/// Where messages are at least so far apart, their times are met more closely than a sleep alone meets them.
const APART: u64 = 400_000;
/// Messages sent in one pass before what has arrived is looked at.
const PASS: u64 = 256;

/// Begins on time, and sends until the end of the timeline.
pub(super) async fn drive(shard: Rc<Shard>) {
    let Ok(park) = Park::new() else { return };
    while let Some(wait) = shard.started.get().checked_sub(shard.now()).filter(|wait| *wait > 0) {
        park.sleep(wait).await;
    }
    shard.links.iter().for_each(|link| link.wake());
    spawn_local(super::open::follow(Rc::clone(&shard)));
    follow(&shard, &park).await;
}

/// Goes on after something was changed.
pub(super) async fn go_on(shard: Rc<Shard>) {
    if let Ok(park) = Park::new() {
        follow(&shard, &park).await;
    }
}

async fn follow(shard: &Shard, park: &Park) {
    if shard.timeline.borrow().is_none() {
        return;
    }
    let mut early = Early::default();
    loop {
        shard.send_due(shard.now());
        let due = shard.next_due.get();
        if due == u64::MAX {
            return;
        }
        let now = shard.now();
        let Some(wait) = due.checked_sub(now) else {
            tokio::task::yield_now().await;
            continue;
        };
        if wait < APART {
            park.sleep(wait.max(GRAIN)).await;
            continue;
        }
        let sleep = early.sleep(wait);
        park.sleep(sleep).await;
        early.learn(shard.now().saturating_sub(now + sleep));
        // Reads go on meanwhile: yielding looks at the sockets.
        while shard.now() < due && shard.next_due.get() == due {
            tokio::task::yield_now().await;
        }
    }
}

impl Shard {
    /// Sends what is due at `now`.
    pub(super) fn send_due(&self, now: u64) {
        let Ok(mut timeline) = self.timeline.try_borrow_mut() else { return };
        let Some(timeline) = timeline.as_mut() else { return };
        let started = self.started.get();
        let mut messages = 0;
        loop {
            let due = match timeline.peek() {
                Some(due) if !self.stopped.get() => started + due,
                _ => {
                    self.next_due.set(u64::MAX);
                    break;
                }
            };
            let verdict = judge(due, now);
            if verdict == Due::Wait || messages == PASS {
                self.next_due.set(due);
                break;
            }
            timeline.advance();
            if self.is_measured(due) {
                self.interval.borrow_mut().catch_up.count(due, now, verdict);
            }
            if verdict == Due::Missed {
                let mut interval = self.interval.borrow_mut();
                self.counts(&mut interval, due).missed_generator += 1;
                continue;
            }
            messages += 1;
            self.send_one(due, now);
        }
        self.interval.borrow_mut().catch_up.pass(messages);
        self.flush();
    }

    /// On the next connection whose turn it is and that is open.
    fn send_one(&self, due: u64, now: u64) {
        let count = self.senders.len();
        if self.open.get() > 0 {
            for _ in 0..count {
                let at = self.cursor.get();
                self.cursor.set((at + 1) % count);
                let link = &self.senders[at];
                if !link.is_open() {
                    continue;
                }
                if !link.send(self, due, now) {
                    let mut interval = self.interval.borrow_mut();
                    self.counts(&mut interval, due).missed_backpressure += 1;
                }
                return;
            }
        }
        let mut interval = self.interval.borrow_mut();
        self.counts(&mut interval, due).missed_closed += 1;
    }
}
