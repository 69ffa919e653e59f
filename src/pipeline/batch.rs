//! How messages of a lane are gathered: up to a number, a size and an age.
//!
//! Invariants: order is kept; nobody waits for company once the lane or the run ends; a batch is larger than its size only
//! where one message is.

use std::collections::VecDeque;
use std::future::{Future as _, poll_fn};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::queue::envelope::Envelope;
use crate::queue::lane::Lane;
use crate::queue::stop::{Step, Stop};

/// How large a batch may be, and how long it may wait to become so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BatchSettings {
    pub most: usize,
    /// Messages that are enough when nothing more is there.
    pub least: usize,
    pub bytes: usize,
    /// Longest time since its first message; `None` is no limit.
    pub age: Option<Duration>,
}

/// A batch that waits for company, as its lane shows it.
struct Waiting<'l>(&'l Lane);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.has_gathered();
    }
}

/// Adds to a batch that has its first message until it is large enough, or old enough.
pub(crate) async fn fill(lane: &Lane, settings: &BatchSettings, stop: &Stop, batch: &mut VecDeque<Envelope>) {
    let mut bytes: usize = batch.iter().map(|envelope| envelope.message.len()).sum();
    let limit = settings.age.map(|age| Instant::now() + age);
    let (mut timer, waiting) = (None, Waiting(lane));
    loop {
        let fits = |bytes: usize| lane.next_size().map(|next| bytes + next <= settings.bytes);
        while batch.len() < settings.most
            && fits(bytes) == Some(true)
            && let Some(envelope) = lane.try_next()
        {
            bytes += envelope.message.len();
            batch.push_back(envelope);
        }
        let is_full = batch.len() >= settings.most || fits(bytes) == Some(false);
        // Nobody waits for company at the end.
        if is_full || batch.len() >= settings.least || lane.has_ended() || stop.step() > Step::Running {
            return;
        }
        waiting.0.gathers(batch.len());
        let next = poll_fn(|cx| {
            let is_old = limit.is_some_and(|limit| {
                let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(limit)));
                timer.as_mut().poll(cx).is_ready()
            });
            if is_old || stop.poll_reached(Step::Draining, cx).is_ready() || fits(bytes) == Some(false) {
                return Poll::Ready(None);
            }
            lane.poll_next(cx)
        });
        let Some(envelope) = next.await else { return };
        bytes += envelope.message.len();
        batch.push_back(envelope);
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::message::Message;
    use crate::queue::LaneSettings;
    use crate::queue::OverflowPolicy;
    use crate::queue::envelope::Origin;
    use crate::queue::ledger::Ledger;

    const SECOND: Duration = Duration::from_secs(1);

    fn lane() -> Rc<Lane> {
        let settings = LaneSettings { max_messages: 100, max_bytes: 1000, policy: OverflowPolicy::Block };
        Rc::new(Lane::new("lane", settings))
    }

    fn push(lane: &Lane, text: &str) {
        let (origin, receipt) = (Origin::new("s1", "-"), Rc::new(Ledger::default()).receive(text.len(), None));
        let time = origin.clock.now();
        lane.push(Envelope { message: Message::text(text), origin, time, seq: 1, attempts: 0, receipt });
    }

    /// What a batch holds when it is handed on, and after how many seconds; `later` comes a second apart.
    async fn filled(settings: BatchSettings, first: &[&str], later: &[&str], ends: bool) -> (Vec<String>, u64) {
        let (lane, stop, begun) = (lane(), Stop::default(), Instant::now());
        for text in first {
            push(&lane, text);
        }
        let mut batch = VecDeque::from_iter(lane.try_next());
        let feed = async {
            for text in later {
                tokio::time::sleep(SECOND).await;
                push(&lane, text);
            }
            if ends {
                lane.end();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = fill(&lane, &settings, &stop, &mut batch) => {}
            () = feed => {}
        }
        let texts = batch.iter().map(|envelope| envelope.message.as_text().expect("text").to_owned());
        (texts.collect(), begun.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_handed_on_when_it_is_large_or_old_enough() {
        let settings = |most, least, bytes, age: Option<u64>| BatchSettings {
            most,
            least,
            bytes,
            age: age.map(Duration::from_secs),
        };
        for (name, settings, first, later, expected, seconds) in [
            ("all there is", settings(9, 1, 99, None), &["a", "b"][..], &["c"][..], &["a", "b"][..], 0),
            ("the most", settings(2, 1, 99, None), &["a", "b", "c"], &[], &["a", "b"], 0),
            ("the least", settings(9, 3, 99, None), &["a"], &["b", "c", "d"], &["a", "b", "c"], 2),
            ("more than the least", settings(9, 2, 99, None), &["a", "b", "c"], &["d"], &["a", "b", "c"], 0),
            ("the size", settings(9, 9, 4, None), &["aa", "bb", "c"], &[], &["aa", "bb"], 0),
            ("the size, later", settings(9, 9, 4, None), &["aa"], &["b", "cc"], &["aa", "b"], 2),
            ("too large alone", settings(9, 9, 4, None), &["aaaaaa", "b"], &[], &["aaaaaa"], 0),
            ("the age", settings(9, 9, 99, Some(3)), &["a"], &["b", "c", "d", "e"], &["a", "b", "c"], 3),
            ("the age before the least", settings(9, 5, 99, Some(0)), &["a", "b"], &["c"], &["a", "b"], 0),
        ] {
            let got = filled(settings, first, later, false).await;
            assert_eq!(got, (expected.iter().map(|&text| text.to_owned()).collect(), seconds), "{name}");
        }
        let (texts, _) = filled(settings(9, 9, 99, None), &["a"], &["b"], true).await;
        assert_eq!(texts, ["a", "b"], "the end");
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_that_waits_is_seen_until_it_waits_no_longer() {
        let settings = BatchSettings { most: 9, least: 3, bytes: 99, age: None };
        let (lane, stop, mut batch) = (lane(), Stop::default(), VecDeque::new());
        push(&lane, "a");
        push(&lane, "b");
        batch.extend(lane.try_next());
        let seen = |lane: &Lane| lane.gathering().map(|(messages, _)| messages);
        assert_eq!(seen(&lane), None);
        {
            let mut filling = std::pin::pin!(fill(&lane, &settings, &stop, &mut batch));
            assert!(filling.as_mut().now_or_never().is_none());
            assert_eq!(seen(&lane), Some(2));
            push(&lane, "c");
            filling.await;
        }
        assert_eq!((batch.len(), seen(&lane)), (3, Some(0)));
        // One that is given up is seen no longer, either.
        batch.truncate(1);
        {
            let mut filling = std::pin::pin!(fill(&lane, &settings, &stop, &mut batch));
            assert!(filling.as_mut().now_or_never().is_none());
            assert_eq!(seen(&lane), Some(1));
        }
        assert_eq!(seen(&lane), Some(0));
    }
}
