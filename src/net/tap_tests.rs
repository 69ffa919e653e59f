//! The tap, byte by byte and cut anywhere.

use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const MASK_KEY: [u8; 4] = [0x11, 0x82, 0x7f, 0xc1];

/// A frame whose first byte is `first`; the payload holds bytes that look like headers.
fn frame(first: u8, len: usize, masked: bool) -> Vec<u8> {
    let mut frame = vec![first];
    let mask = if masked { MASK } else { 0 };
    match len {
        0..126 => frame.push(mask | len as u8),
        126..0x1_0000 => {
            frame.push(mask | 0x7e);
            frame.extend((len as u16).to_be_bytes());
        }
        _ => {
            frame.push(mask | 0x7f);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    if masked {
        frame.extend(MASK_KEY);
    }
    frame.extend((0..len).map(|i| [0xc1, 0x81, 0x41, 0x02, 0xff][i % 5]));
    frame
}

/// Stream, the same as it should leave the tap, and notes.
fn conversation() -> (Vec<u8>, Vec<u8>, Vec<Note>) {
    let rows: &[(u8, u8, usize, bool)] = &[
        (0xc1, 0x82, 5, true),        // compressed text
        (0x81, 0x81, 3, false),       // plain text
        (0x82, 0x82, 0, true),        // empty binary
        (0x41, 0x02, 130, true),      // compressed text in fragments ...
        (0x89, 0x89, 4, true),        // ... a ping between
        (0x00, 0x00, 0, true),        // ... an empty fragment
        (0xc9, 0xc9, 0, false),       // ... RSV1 on a ping: for the framing layer to refuse
        (0x40, 0x40, 7, false),       // ... RSV1 on a continuation: the same
        (0x80, 0x80, 126, false),     // ... the end
        (0xc2, 0x82, 0x1_0000, true), // 64-bit length
        (0xf2, 0xb2, 0xffff, false),  // RSV2 and RSV3 stay
        (0x02, 0x02, 1, true),        // plain binary in fragments
        (0xc1, 0xc1, 2, true),        // a new message inside: for the framing layer to refuse
        (0x88, 0x88, 2, true),        // Close
        (0xc1, 0xc1, 9, true),        // behind the Close
    ];
    let (mut wire, mut above) = (Vec::new(), Vec::new());
    for (first, expected, len, masked) in rows {
        wire.extend(frame(*first, *len, *masked));
        above.extend(frame(*expected, *len, *masked));
    }
    let note = |compressed, text| Note { compressed, text };
    let notes = vec![
        note(true, true),
        note(false, true),
        note(false, false),
        note(true, true),
        note(true, false),
        note(true, false),
        note(false, false),
    ];
    (wire, above, notes)
}

fn drain(follower: &mut FrameFollower) -> Vec<Note> {
    std::iter::from_fn(|| follower.take_note()).collect()
}

fn follow_in_pieces(wire: &[u8], cuts: impl IntoIterator<Item = usize>, deflate: bool) -> (Vec<u8>, FrameFollower) {
    let mut follower = FrameFollower::new(deflate);
    let mut bytes = wire.to_vec();
    let mut rest = &mut bytes[..];
    for cut in cuts {
        let (piece, behind) = rest.split_at_mut(cut.min(rest.len()));
        follower.follow(piece);
        rest = behind;
    }
    follower.follow(rest);
    (bytes, follower)
}

fn check(wire: &[u8], above: &[u8], notes: &[Note], cuts: impl IntoIterator<Item = usize>) {
    let (bytes, mut follower) = follow_in_pieces(wire, cuts, true);
    assert!(bytes == above);
    assert_eq!(drain(&mut follower), notes);
    assert!(follower.at_frame_boundary() && follower.at_message_boundary());
    assert_eq!(follower.largest_frame_since_reset(), 0x1_0000);
    assert_eq!((follower.messages_completed(), follower.controls_completed()), (8, 3));
}

#[test]
fn every_way_to_cut_the_stream_gives_the_same() {
    let (wire, above, notes) = conversation();
    check(&wire, &above, &notes, []);
    check(&wire, &above, &notes, std::iter::repeat_n(1, wire.len()));
    // All single cuts near headers; inside the two large payloads nothing differs.
    let (front, back) = (frame(0xc1, 5, true).len() + 600, wire.len() - 100);
    for cut in (0..front).chain(back..wire.len()) {
        check(&wire, &above, &notes, [cut]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_cuts_give_the_same(cuts in prop::collection::vec(prop_oneof![0usize..20, 0usize..40_000], 0..60)) {
        let (wire, above, notes) = conversation();
        check(&wire, &above, &notes, cuts);
    }

    #[test]
    fn any_bytes_pass_with_their_length(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
        let (whole, mut one) = follow_in_pieces(&bytes, [], true);
        let (cut, mut two) = follow_in_pieces(&bytes, [cut], true);
        prop_assert_eq!(whole, cut);
        prop_assert_eq!(drain(&mut one), drain(&mut two));
        let (untouched, _) = follow_in_pieces(&bytes, [], false);
        prop_assert_eq!(untouched, bytes);
    }
}

#[test]
fn without_deflate_nothing_changes_but_boundaries_are_known() {
    let (wire, _, _) = conversation();
    let (bytes, mut follower) = follow_in_pieces(&wire, [3, 50], false);
    assert!(bytes == wire);
    assert_eq!(follower.take_note(), None);
    assert!(follower.at_message_boundary());
    assert_eq!((follower.messages_completed(), follower.controls_completed()), (8, 3));
}

#[test]
fn boundaries_of_frames_and_messages() {
    let mut follower = FrameFollower::new(false);
    let mut at = |bytes: &[u8]| {
        follower.follow(&mut bytes.to_vec());
        (follower.at_frame_boundary(), follower.at_message_boundary(), follower.messages_completed())
    };
    assert_eq!(at(&[]), (true, true, 0));
    assert_eq!(at(&[0x01]), (false, false, 0));
    assert_eq!(at(&[0x02]), (false, false, 0));
    assert_eq!(at(b"ab"), (true, false, 0));
    assert_eq!(at(&[0x89, 0x00]), (true, false, 0));
    assert_eq!(at(&[0x80, 0x80, 1, 2, 3]), (false, false, 0));
    assert_eq!(at(&[4]), (true, true, 1));
}

#[test]
fn an_absurd_length_is_only_a_number() {
    let mut follower = FrameFollower::new(true);
    let mut header = [&[0x82, 0xff][..], &[0xff; 8], &MASK_KEY].concat();
    follower.follow(&mut header);
    assert_eq!(follower.largest_frame_since_reset(), u64::MAX);
    follower.reset_largest();
    follower.follow(&mut [0xc1; 100]);
    assert!(!follower.at_frame_boundary());
    assert_eq!((follower.largest_frame_since_reset(), follower.notes_pending()), (0, 1));
}

#[test]
fn a_large_queue_of_notes_is_given_back() {
    let mut follower = FrameFollower::new(true);
    follower.follow(&mut [0x81, 0x00].repeat(5000));
    assert_eq!(follower.notes_pending(), 5000);
    assert_eq!(drain(&mut follower).len(), 5000);
    assert_eq!(follower.notes.capacity(), 0);
}

#[tokio::test]
async fn the_prefix_comes_first_and_bytes_are_counted() {
    let (wire, above, notes) = conversation();
    for prefix_len in [0, 1, 4, 200, wire.len()] {
        let (near, mut far) = tokio::io::duplex(wire.len());
        let mut tap = Tap::new(near, Bytes::copy_from_slice(&wire[..prefix_len]), true);
        far.write_all(&wire[prefix_len..]).await.unwrap();
        let mut read = Vec::new();
        while read.len() < wire.len() {
            let mut piece = [0; 7001];
            let len = tap.read(&mut piece).await.unwrap();
            read.extend_from_slice(&piece[..len]);
        }
        assert!(read == above);
        assert_eq!(std::iter::from_fn(|| tap.take_note()).collect::<Vec<_>>(), notes);
        assert_eq!(tap.bytes_in(), wire.len() as u64);
        assert!(tap.at_message_boundary());

        tap.write_all(b"\x81\x05Hello").await.unwrap();
        let mut written = [0; 7];
        far.read_exact(&mut written).await.unwrap();
        assert_eq!((&written, tap.bytes_out()), (b"\x81\x05Hello", 7));
    }
}

#[test]
fn the_code_of_the_first_close_is_kept_as_it_was_sent() {
    let masked = |code: [u8; 2]| [0x88, 0x82, 9, 8, 7, 6, code[0] ^ 9, code[1] ^ 8];
    let table: [(&[u8], Option<u16>); 6] = [
        (&[0x88, 2, 0x03, 0xea], Some(1002)),
        (&[0x88, 4, 0x03, 0xed, b'h', b'i'], Some(1005)),
        (&[0x88, 0], None),
        (&[0x88, 1, 3], None),
        (&[0x82, 2, 1, 2, 0x88, 2, 0xff, 0xff, 0x88, 2, 0x03, 0xe8], Some(0xffff)),
        (&masked([0x03, 0xec]), Some(1004)),
    ];
    for (wire, code) in table {
        for cut in 0..=wire.len() {
            let (above, follower) = follow_in_pieces(wire, [cut], false);
            assert_eq!((above.as_slice(), follower.close_code()), (wire, code), "cut at {cut}");
        }
    }
}
