//! Lanes in memory: when they are full, what they count, and what they keep alive.

use super::*;
use crate::queue::envelope::Origin;

#[test]
fn a_full_lane_is_full_until_a_tenth_of_it_is_free_and_counts_what_was_taken() {
    let settings = LaneSettings { max_messages: 20, max_bytes: 1000, policy: OverflowPolicy::Block };
    let (lane, ledger) = (Lane::new("null:", settings), Rc::new(Ledger::default()));
    lane.join(&ledger);
    let seen = Rc::new(Cell::new(0));
    let count = Rc::clone(&seen);
    lane.show_to(move |envelope| count.set(count.get() + envelope.message.len()));
    for seq in 1..=20 {
        let receipt = ledger.receive(2, None);
        let (message, origin) = (Message::text("ab"), Origin::new("s1", "-"));
        lane.push(Envelope { message, origin, time: Timestamp::now(), seq, attempts: 0, receipt });
    }
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert!(!lane.is_full(), "nobody waits yet");
    assert!(lane.poll_ready(&mut cx).is_pending() && lane.is_full());
    lane.took(lane.try_next().expect("a message"));
    assert!(lane.poll_ready(&mut cx).is_ready() && lane.is_full(), "one taken is not enough");
    lane.retries();
    assert!(lane.is_retrying());
    lane.took(lane.try_next().expect("a message"));
    assert!(!lane.is_full() && !lane.is_retrying());
    assert_eq!((lane.delivered.get(), lane.delivered_bytes.get(), seen.get()), (2, 4, 4));
    assert_eq!((ledger.delivered.get(), ledger.waiting()), (2, 18));
}

#[test]
fn what_waits_keeps_no_buffer_alive_and_small_messages_wait_side_by_side() {
    for (policy, side_by_side) in [(OverflowPolicy::Block, true), (OverflowPolicy::DropOldest, false)] {
        let settings = LaneSettings { max_messages: 20, max_bytes: 1000, policy };
        let (lane, ledger) = (Lane::new("null:", settings), Rc::new(Ledger::default()));
        let buffer = bytes::Bytes::from(vec![b'x'; 300]);
        for place in 0..3 {
            let message = Message::binary(buffer.slice(place * 100..(place + 1) * 100));
            let (receipt, origin) = (ledger.receive(100, None), Origin::new("s1", "-"));
            lane.push(Envelope { message, origin, time: Timestamp::now(), seq: 1, attempts: 0, receipt });
        }
        assert!(buffer.is_unique(), "nothing waits in it");
        let kept: Vec<_> = std::iter::from_fn(|| lane.try_next()).map(|envelope| envelope.message).collect();
        let ends = kept[1].payload().as_ptr().wrapping_add(100) == kept[2].payload().as_ptr();
        assert_eq!((kept.len(), ends), (3, side_by_side), "{policy:?}");
    }
}
