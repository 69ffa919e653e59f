//! Faults on purpose, for testing clients: late, lost, changed, doubled messages, stalls and ends (pure and seeded).
//!
//! Decides for one session, with time as an argument; what is due is sent by the session, which also counts. Invariants:
//! the fate of the n-th message follows from the seed and n alone, so that each session of a run, and each run with the
//! same seed, meets the same faults; order is kept; a changed message differs, has the type it had, and is legal UTF-8
//! where it is text.

use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fastrand::Rng;

use crate::message::{Message, MessageKind};
use crate::net::connection::CloseReason;

/// What is to go wrong. Shares are from 0 to 1.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct FaultSettings {
    /// How late messages are, and by how much more or less.
    pub delay: Option<(Duration, Duration)>,
    /// Share of messages that are not sent.
    pub loss: f64,
    /// Share of messages that are changed.
    pub corrupt: f64,
    /// Share of messages that are sent twice.
    pub duplicate: f64,
    /// For how long nothing is read or written, and how often that begins.
    pub stall: Option<(Duration, Duration)>,
    /// When the session ends.
    pub close_after: Option<CloseAfter>,
    /// How it ends; without a time for that, it does so right after opening.
    pub close: Option<CloseReason>,
    /// Pings are not answered.
    pub no_pong: bool,
    /// Most payload bytes in a frame.
    pub fragment: Option<usize>,
    /// What chance follows from.
    pub seed: u64,
}

impl FaultSettings {
    /// Whether anything but frames is touched.
    #[must_use]
    pub(crate) fn is_any(&self) -> bool {
        *self != Self { fragment: self.fragment, seed: self.seed, ..Self::default() }
    }

    /// Whether chance has a part in it.
    #[must_use]
    pub(crate) fn is_random(&self) -> bool {
        let jitters = self.delay.is_some_and(|(_, jitter)| !jitter.is_zero());
        jitters || self.loss > 0.0 || self.corrupt > 0.0 || self.duplicate > 0.0
    }
}

/// When a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CloseAfter {
    /// After so many messages, both ways together.
    Messages(u64),
    /// After so long.
    Time(Duration),
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Fate {
    /// It will not be sent.
    pub lost: bool,
    /// It was changed.
    pub corrupted: bool,
    /// It will be sent twice.
    pub duplicated: bool,
    /// So many are late.
    pub delayed: u64,
}

/// The faults of one session.
#[derive(Debug)]
pub(crate) struct Faults {
    settings: Rc<FaultSettings>,
    rng: Rng,
    opened: Instant,
    under_way: VecDeque<Late>,
    bytes: usize,
    last_due: Instant,
    /// Both ways.
    messages: u64,
    /// Stalls that were met.
    stall: u32,
}

#[derive(Debug)]
struct Late {
    due: Instant,
    message: Message,
    is_answer: bool,
}

impl Faults {
    /// Of a session that opens now.
    #[must_use]
    pub(crate) fn new(settings: &Rc<FaultSettings>, now: Instant) -> Self {
        Self {
            rng: Rng::with_seed(settings.seed),
            settings: Rc::clone(settings),
            opened: now,
            under_way: VecDeque::new(),
            bytes: 0,
            last_due: now,
            messages: 0,
            stall: 0,
        }
    }

    /// A message is to be sent; an answer goes out before an end on purpose.
    pub(crate) fn send(&mut self, message: &Message, is_answer: bool, now: Instant) -> Fate {
        let settings = Rc::clone(&self.settings);
        // A generator for each message, and always the same draws: one fault does not move the others.
        let mut rng = Rng::with_seed(self.rng.u64(..));
        let mut hits = |share: f64| rng.f64() < share;
        let (lost, corrupted, duplicated) = (hits(settings.loss), hits(settings.corrupt), hits(settings.duplicate));
        let more_or_less = 2.0 * rng.f64();
        if lost {
            return Fate { lost, ..Fate::default() };
        }
        let delay = settings.delay.map(|(time, jitter)| {
            let lowest = time.saturating_sub(jitter);
            lowest + jitter.mul_f64(more_or_less)
        });
        // In order: none overtakes the one before.
        let due = (now + delay.unwrap_or_default()).max(self.last_due);
        self.last_due = due;
        let corrupted = corrupted && !message.is_empty();
        // Kept for a while, it must not keep a read buffer.
        let message = if corrupted { corrupt(message, &mut rng) } else { message.detached() };
        let copies = if duplicated { 2 } else { 1 };
        for _ in 0..copies {
            self.bytes += message.len();
            self.under_way.push_back(Late { due, message: message.clone(), is_answer });
        }
        Fate { lost, corrupted, duplicated, delayed: if delay.is_some() { copies } else { 0 } }
    }

    /// The next message that is due.
    pub(crate) fn next(&mut self, now: Instant) -> Option<Message> {
        if !self.is_due(now) {
            return None;
        }
        let late = self.under_way.pop_front()?;
        self.bytes -= late.message.len();
        Some(late.message)
    }

    /// Whether a message is due.
    #[must_use]
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.under_way.front().is_some_and(|late| late.due <= now)
    }

    /// When there is something to do next.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let end = match self.settings.close_after {
            Some(CloseAfter::Time(time)) => Some(self.opened + time),
            _ => None,
        };
        self.under_way.front().map(|late| late.due).into_iter().chain(end).min()
    }

    /// Messages under way.
    #[must_use]
    pub(crate) fn waiting(&self) -> usize {
        self.under_way.len()
    }

    /// Whether as many messages or bytes are under way as may be.
    #[must_use]
    pub(crate) fn is_full(&self, max_messages: usize, max_bytes: usize) -> bool {
        self.waiting() >= max_messages || self.bytes >= max_bytes
    }

    /// The server ends: what is under way is due.
    pub(crate) fn hurry(&mut self, now: Instant) {
        for late in &mut self.under_way {
            late.due = late.due.min(now);
        }
        self.last_due = self.last_due.min(now);
    }

    /// A message was received or sent.
    pub(crate) fn on_message(&mut self) {
        self.messages += 1;
    }

    /// Whether the session must end, once the answers under way have gone out.
    #[must_use]
    pub(crate) fn must_end(&self, now: Instant) -> bool {
        match self.settings.close_after {
            None => self.settings.close.is_some(),
            Some(CloseAfter::Messages(count)) => self.messages >= count,
            Some(CloseAfter::Time(time)) => now >= self.opened + time,
        }
    }

    /// Takes out what is no answer.
    pub(crate) fn keep_answers(&mut self) -> Vec<Message> {
        let (kept, others): (Vec<_>, Vec<_>) = self.under_way.drain(..).partition(|late| late.is_answer);
        self.under_way = kept.into();
        self.bytes = self.under_way.iter().map(|late| late.message.len()).sum();
        others.into_iter().map(|late| late.message).collect()
    }

    /// The messages under way.
    pub(crate) fn under_way(&self) -> impl Iterator<Item = &Message> {
        self.under_way.iter().map(|late| &late.message)
    }

    /// How the session ends on purpose.
    #[must_use]
    pub(crate) fn close(&self) -> CloseReason {
        self.settings.close.clone().unwrap_or_else(|| CloseReason::new(1000, ""))
    }

    /// Whether pings stay without an answer.
    #[must_use]
    pub(crate) fn answers_no_ping(&self) -> bool {
        self.settings.no_pong
    }

    /// Until when nothing may be read or written, and whether that is news.
    pub(crate) fn stalls_until(&mut self, now: Instant) -> Option<(Instant, bool)> {
        let (time, every) = self.settings.stall?;
        let passed = now.saturating_duration_since(self.opened);
        let number = u32::try_from(passed.as_nanos() / every.as_nanos().max(1)).ok().filter(|number| *number > 0)?;
        let end = self.opened + every.checked_mul(number)? + time;
        if now >= end {
            return None;
        }
        let is_new = self.stall != number;
        self.stall = number;
        Some((end, is_new))
    }
}

/// The message with another character or byte in one place.
fn corrupt(message: &Message, rng: &mut Rng) -> Message {
    let mut payload = message.payload().to_vec();
    let mut at = rng.usize(..payload.len());
    if message.kind() == MessageKind::Binary {
        payload[at] ^= rng.u8(1..);
        return Message::binary(payload);
    }
    if payload[at].is_ascii() {
        // Another one that can be seen, so that a person finds it.
        let other = rng.u8(b'!'..=b'}');
        payload[at] = if other == payload[at] { b'~' } else { other };
    } else {
        // The last byte of a character has six bits that may be anything.
        while payload.get(at + 1).is_some_and(|byte| byte & 0xc0 == 0x80) {
            at += 1;
        }
        payload[at] ^= rng.u8(1..64);
    }
    Message::text_from_bytes(Bytes::from(payload)).unwrap_or_else(|_| message.detached())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn faults(settings: FaultSettings, now: Instant) -> Faults {
        Faults::new(&Rc::new(settings), now)
    }

    /// What comes out of so many numbered messages, and when.
    fn run(settings: FaultSettings, count: u32) -> Vec<(Duration, String)> {
        let start = Instant::now();
        let mut faults = faults(settings, start);
        let mut out = Vec::new();
        let mut now = start;
        for number in 0..count {
            faults.send(&Message::text(number.to_string()), true, now);
            now += MS;
        }
        while let Some(due) = faults.deadline() {
            let message = faults.next(due).expect("it is due");
            out.push((due - start, message.as_text().expect("text").to_owned()));
        }
        out
    }

    fn all(seed: u64) -> FaultSettings {
        FaultSettings {
            delay: Some((10 * MS, 5 * MS)),
            loss: 0.2,
            corrupt: 0.2,
            duplicate: 0.2,
            seed,
            ..FaultSettings::default()
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_faults_and_another_does_not() {
        assert_eq!(run(all(7), 200), run(all(7), 200));
        assert_ne!(run(all(7), 200), run(all(8), 200));
        // Taking one fault away leaves the others where they were.
        let texts = |settings| -> Vec<String> { run(settings, 200).into_iter().map(|(_, text)| text).collect() };
        let (with, without) = (texts(all(7)), texts(FaultSettings { delay: None, ..all(7) }));
        assert_eq!(with, without);
        let lossless = texts(FaultSettings { loss: 0.0, ..all(7) });
        assert!(with.iter().all(|text| lossless.contains(text)) && lossless.len() > with.len());
    }

    #[test]
    fn shares_are_about_right_and_all_or_nothing_is_exact() {
        let start = Instant::now();
        let count = |settings: FaultSettings| {
            let mut faults = faults(settings, start);
            let mut sums = [0_u64; 4];
            for number in 0..10_000 {
                let fate = faults.send(&Message::text(number.to_string()), true, start);
                sums[0] += u64::from(fate.lost);
                sums[1] += u64::from(fate.corrupted);
                sums[2] += u64::from(fate.duplicated);
                sums[3] += fate.delayed;
            }
            sums
        };
        let [lost, corrupted, duplicated, delayed] = count(all(1));
        assert!((1800..2200).contains(&lost), "{lost}");
        assert!((1400..1800).contains(&corrupted), "{corrupted}");
        assert!((1400..1800).contains(&duplicated), "{duplicated}");
        assert_eq!(delayed, 10_000 - lost + duplicated);
        let always = FaultSettings { corrupt: 1.0, duplicate: 1.0, ..FaultSettings::default() };
        assert_eq!(count(always), [0, 10_000, 10_000, 0]);
        assert_eq!(count(FaultSettings { loss: 1.0, ..all(1) }), [10_000, 0, 0, 0]);
    }

    #[test]
    fn late_messages_are_under_way_together_and_keep_their_order() {
        let steady = run(FaultSettings { delay: Some((10 * MS, Duration::ZERO)), ..FaultSettings::default() }, 3);
        let expected = [(10 * MS, "0"), (11 * MS, "1"), (12 * MS, "2")].map(|(at, text)| (at, text.to_owned()));
        assert_eq!(steady, expected);
        let jitters = run(FaultSettings { delay: Some((10 * MS, 10 * MS)), ..FaultSettings::default() }, 500);
        assert!(jitters.windows(2).all(|pair| pair[0].0 <= pair[1].0));
        for (number, (at, text)) in (0_u32..).zip(&jitters) {
            assert_eq!(*text, number.to_string());
            let sent = MS * number;
            assert!(*at >= sent && *at <= sent + 20 * MS, "{number} at {at:?}");
        }
        assert!(jitters.iter().any(|(at, text)| *at > MS * text.parse().expect("a number") + 17 * MS));
    }

    #[test]
    fn as_many_as_may_be_are_under_way() {
        let start = Instant::now();
        let mut late = faults(FaultSettings { delay: Some((MS, Duration::ZERO)), ..FaultSettings::default() }, start);
        for _ in 0..3 {
            assert!(!late.is_full(3, 100) && !late.is_full(100, 9));
            late.send(&Message::text("abc"), true, start);
        }
        assert!(late.is_full(3, 100) && late.is_full(100, 9));
        assert_eq!(late.next(start), None);
        late.hurry(start);
        assert_eq!(late.next(start), Some(Message::text("abc")));
        assert!(!late.is_full(3, 100));
    }

    #[test]
    fn it_ends_after_so_many_messages_or_so_long_or_at_once() {
        let start = Instant::now();
        let after =
            |close_after, close| faults(FaultSettings { close_after, close, ..FaultSettings::default() }, start);
        let mut three = after(Some(CloseAfter::Messages(3)), None);
        for _ in 0..3 {
            assert!(!three.must_end(start));
            three.on_message();
        }
        assert!(three.must_end(start));
        assert_eq!(three.close(), CloseReason::new(1000, ""));
        three.send(&Message::text("pushed"), false, start);
        three.send(&Message::text("answer"), true, start);
        assert_eq!(three.keep_answers().len(), 1);
        assert_eq!(three.next(start), Some(Message::text("answer")));
        let in_time = after(Some(CloseAfter::Time(5 * MS)), None);
        assert_eq!(in_time.deadline(), Some(start + 5 * MS));
        assert!(!in_time.must_end(start + 4 * MS) && in_time.must_end(start + 5 * MS));
        let at_once = after(None, Some(CloseReason::new(4000, "no")));
        assert!(at_once.must_end(start));
        assert!(!after(None, None).must_end(start + 1000 * MS));
        assert!(after(Some(CloseAfter::Messages(0)), None).must_end(start));
    }

    #[test]
    fn stalls_come_again_and_again_and_are_counted_once() {
        let start = Instant::now();
        let settings = FaultSettings { stall: Some((2 * MS, 10 * MS)), ..FaultSettings::default() };
        let mut stalls = faults(settings, start);
        let table = [
            (0, None),
            (9, None),
            (10, Some((12, true))),
            (11, Some((12, false))),
            (12, None),
            (21, Some((22, true))),
            (55, None),
            (100_000_001, Some((100_000_002, true))),
        ];
        for (at, expected) in table {
            let expected = expected.map(|(end, is_new)| (start + end * MS, is_new));
            assert_eq!(stalls.stalls_until(start + at * MS), expected, "{at}");
        }
    }

    proptest! {
        #[test]
        fn what_is_changed_differs_and_stays_what_it_is(text in "\\PC{1,40}|[\\x00-\\x7f]{1,8}|\u{10ffff}|é", seed in any::<u64>()) {
            let mut rng = fastrand::Rng::with_seed(seed);
            for message in [Message::text(text.clone()), Message::binary(text.clone().into_bytes())] {
                let changed = corrupt(&message, &mut rng);
                prop_assert_ne!(changed.payload(), message.payload());
                prop_assert_eq!((changed.kind(), changed.len()), (message.kind(), message.len()));
                prop_assert!(std::str::from_utf8(changed.payload()).is_ok() || changed.kind() == MessageKind::Binary);
            }
        }

        #[test]
        fn nothing_stays_under_way_and_bytes_are_kept_count_of(seed in any::<u64>(), sizes in proptest::collection::vec(0_usize..20, 0..60)) {
            let start = Instant::now();
            let mut faults = faults(all(seed), start);
            let mut expected = 0;
            for size in sizes {
                let fate = faults.send(&Message::binary(vec![0; size]), size % 2 == 0, start);
                expected += if fate.lost { 0 } else { 1 + usize::from(fate.duplicated) };
            }
            prop_assert_eq!(faults.waiting(), expected);
            let dropped = faults.keep_answers();
            let mut sent = 0;
            while let Some(due) = faults.deadline() {
                sent += usize::from(faults.next(due).is_some());
            }
            prop_assert_eq!((sent + dropped.len(), faults.bytes), (expected, 0));
        }
    }
}
