//! What is sent: payloads of a size, of the user's, from lines of a file, from templates, or random JSON (pure).
//!
//! Owns where the marker lies in them, whether a reply is what was sent, and to which message a damaged reply belongs.
//! Leaves frames to `net/`. Invariant: what is sent is a function of the plan, the connection, the number and the time, so
//! that nothing sent has to be kept to be compared.

use std::fmt::Write as _;
use std::sync::Arc;

use super::marker::{self, Marker};
use super::matching::{Outstanding, Sent};
use crate::filter::Template;
use crate::message::MessageKind;

/// Messages a damaged reply is compared with.
const CANDIDATES: usize = 64;

/// One payload, with or without a place for the marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Variant {
    /// Text or binary.
    pub kind: MessageKind,
    /// The payload; where the marker goes there is room for it.
    pub bytes: Vec<u8>,
    pub marker: Option<usize>,
}

impl Variant {
    /// A payload of the user's; `{{marker}}` in it is the marker's place.
    #[must_use]
    pub(crate) fn of_user(kind: MessageKind, bytes: &[u8]) -> Self {
        match memchr::memmem::find(bytes, marker::PLACE.as_bytes()) {
            None => Self { kind, bytes: bytes.to_vec(), marker: None },
            Some(at) => {
                let rest = &bytes[at + marker::PLACE.len()..];
                Self { kind, bytes: [&bytes[..at], &[b'0'; marker::LEN], rest].concat(), marker: Some(at) }
            }
        }
    }

    /// A payload of this size, the marker in front where it fits.
    #[must_use]
    pub(crate) fn of_size(kind: MessageKind, size: usize) -> Self {
        let filler: Vec<u8> = match kind {
            MessageKind::Text => (b'a'..=b'z').cycle().take(size).collect(),
            MessageKind::Binary => (0..=255_u8).cycle().take(size).collect(),
        };
        Self { kind, bytes: filler, marker: (size >= marker::LEN).then_some(0) }
    }

    /// Whether `payload` is this one with that marker in it.
    fn is(&self, kind: MessageKind, payload: &[u8], marker: Option<&Marker>) -> bool {
        if kind != self.kind || payload.len() != self.bytes.len() {
            return false;
        }
        let Some(at) = self.marker else { return payload == self.bytes };
        let end = at + marker::LEN;
        let around = payload[..at] == self.bytes[..at] && payload[end..] == self.bytes[end..];
        around && marker.is_some_and(|marker| Marker::read_at(payload, at) == Some(*marker))
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Payload {
    /// These, in turn.
    Variants(Vec<Variant>),
    /// A template, filled in for each message.
    Template(Arc<Template>, MessageKind),
}

#[derive(Debug, Clone)]
pub(crate) enum Matching {
    Marker,
    /// By their order.
    Fifo,
    /// An answer equals its message.
    Content,
    /// By content once an answer equals its message, else by order.
    Auto,
    /// By what the filter finds in both.
    Id(crate::filter::Filter),
}

impl Matching {
    /// As in the report.
    #[must_use]
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Marker => "marker",
            Self::Fifo | Self::Auto => "fifo",
            Self::Content => "content",
            Self::Id(_) => "jq",
        }
    }
}

impl Payload {
    /// Whether every message has a marker.
    #[must_use]
    pub(crate) fn is_marked(&self) -> bool {
        match self {
            Self::Variants(variants) => variants.iter().all(|variant| variant.marker.is_some()),
            Self::Template(..) => false,
        }
    }

    /// The mean size; 0 where it is not known.
    #[must_use]
    pub(crate) fn mean_size(&self) -> f64 {
        match self {
            Self::Variants(variants) => {
                variants.iter().map(|variant| variant.bytes.len() as f64).sum::<f64>() / variants.len().max(1) as f64
            }
            Self::Template(..) => 0.0,
        }
    }
}

/// What a reply is, by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// It belongs to the message of this number.
    Message {
        sequence: u64,
    },
    /// It is damaged, and most likely belongs to the message of this number.
    Damaged {
        sequence: u64,
    },
    /// It is of another connection of this run.
    CrossTalk,
    Foreign,
}

/// Finds out to which message of connection `connection` in run `run` a reply belongs.
#[must_use]
pub(crate) fn find(
    variants: &[Variant],
    run: u32,
    connection: u32,
    outstanding: &Outstanding,
    payload: &[u8],
) -> Found {
    // Where it usually is; else wherever it is.
    let place = variants.first().and_then(|variant| variant.marker).unwrap_or_default();
    let marker = Marker::read_at(payload, place)
        .filter(|marker| marker.run == run)
        .or_else(|| Marker::find(payload, run).map(|(_, marker)| marker));
    match marker {
        Some(marker) if marker.connection == connection => Found::Message { sequence: marker.sequence },
        Some(_) => Found::CrossTalk,
        None => closest(variants, run, connection, outstanding, payload)
            .map_or(Found::Foreign, |sequence| Found::Damaged { sequence }),
    }
}

/// The outstanding message that is most like a damaged reply, at least in half of its bytes.
fn closest(variants: &[Variant], run: u32, connection: u32, outstanding: &Outstanding, payload: &[u8]) -> Option<u64> {
    let alike = |sequence: u64, sent: &Sent| {
        let variant = variants.get(sent.variant as usize)?;
        let mut expected = variant.bytes.clone();
        if let Some(at) = variant.marker {
            let mut text = [0; marker::LEN];
            of(run, connection, sequence, sent.intended).write(&mut text);
            expected[at..at + marker::LEN].copy_from_slice(&text);
        }
        let equal = expected.iter().zip(payload).filter(|(a, b)| a == b).count();
        (2 * equal >= expected.len().max(payload.len())).then_some(equal)
    };
    let candidates = outstanding.iter().take(CANDIDATES);
    let rated = candidates.filter_map(|(sequence, sent)| Some((alike(sequence, sent)?, sequence)));
    // Of several the oldest.
    rated.max_by_key(|(equal, sequence)| (*equal, u64::MAX - sequence)).map(|(_, sequence)| sequence)
}

/// The marker of a message; `intended` in nanoseconds.
#[must_use]
pub(crate) fn of(run: u32, connection: u32, sequence: u64, intended: u64) -> Marker {
    Marker { run, connection, sequence, stamp: intended / 1000 }
}

/// Whether a reply is what was sent, byte for byte.
#[must_use]
pub(crate) fn is_intact(
    variants: &[Variant],
    sent: &Sent,
    marker: Option<&Marker>,
    kind: MessageKind,
    payload: &[u8],
) -> bool {
    variants.get(sent.variant as usize).is_some_and(|variant| variant.is(kind, payload, marker))
}

/// A short digest, to compare what cannot be made again (FNV-1a).
#[must_use]
pub(crate) fn digest(payload: &[u8]) -> u32 {
    payload.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Random JSON objects of about `size` bytes, one of them taken by each message in turn, with the marker as `id`.
#[must_use]
pub(crate) fn random_json(size: usize, count: usize, seed: u64) -> Vec<Variant> {
    let mut random = fastrand::Rng::with_seed(seed);
    (0..count).map(|_| Variant::of_user(MessageKind::Text, random_object(size, &mut random).as_bytes())).collect()
}

fn random_object(size: usize, random: &mut fastrand::Rng) -> String {
    // The marker is longer than what stands for it here.
    let growth = marker::LEN - marker::PLACE.len();
    let mut text = format!("{{\"id\":\"{}\"", marker::PLACE);
    let word =
        |random: &mut fastrand::Rng, length: usize| -> String { (0..length).map(|_| random.lowercase()).collect() };
    loop {
        let left = size.saturating_sub(text.len() + growth + 1);
        // The shortest member is ,"k":"" with an empty string.
        if left < 7 {
            break;
        }
        let key = word(random, 1);
        if left < 40 {
            // The last one fills up to the size.
            let _ = write!(text, ",\"{key}\":\"{}\"", word(random, left - 7));
            break;
        }
        let length = random.usize(3..8);
        let key = word(random, length);
        let value = match random.u8(0..5) {
            0 => random.i32(-100_000..100_000).to_string(),
            1 => format!("{}.{:02}", random.u32(0..10_000), random.u32(0..100)),
            2 => random.bool().to_string(),
            3 => "null".to_owned(),
            _ => {
                let length = random.usize(0..20);
                format!("\"{}\"", word(random, length))
            }
        };
        let _ = write!(text, ",\"{key}\":{value}");
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RUN: u32 = 4711;

    fn outstanding(count: u64) -> Outstanding {
        let mut outstanding = Outstanding::default();
        for number in 0..count {
            outstanding.push(Sent { intended: number * 1_000_000, written: 0, variant: 0 });
        }
        outstanding
    }

    fn message(variant: &Variant, connection: u32, sequence: u64) -> Vec<u8> {
        let mut text = [0; marker::LEN];
        of(RUN, connection, sequence, sequence * 1_000_000).write(&mut text);
        let mut bytes = variant.bytes.clone();
        let at = variant.marker.expect("a marked payload");
        bytes[at..at + marker::LEN].copy_from_slice(&text);
        bytes
    }

    #[test]
    fn replies_are_told_apart_by_their_marker() {
        for variant in [
            Variant::of_size(MessageKind::Text, 64),
            Variant::of_size(MessageKind::Binary, 20),
            Variant::of_user(MessageKind::Text, b"{\"op\":\"x\",\"id\":\"{{marker}}\"}"),
        ] {
            let variants = [variant.clone()];
            let open = outstanding(5);
            let reply = message(&variant, 7, 3);
            assert_eq!(find(&variants, RUN, 7, &open, &reply), Found::Message { sequence: 3 });
            let wrapped = [b"{\"echo\":", &reply[..], b"}"].concat();
            assert_eq!(find(&variants, RUN, 7, &open, &wrapped), Found::Message { sequence: 3 });
            assert_eq!(find(&variants, RUN, 8, &open, &reply), Found::CrossTalk);
            assert_eq!(find(&variants, RUN + 1, 7, &open, b"hello"), Found::Foreign);
            let sent = Sent { intended: 3_000_000, written: 0, variant: 0 };
            let marker = of(RUN, 7, 3, sent.intended);
            assert!(is_intact(&variants, &sent, Some(&marker), variant.kind, &reply));
            assert!(!is_intact(&variants, &sent, Some(&marker), variant.kind, &wrapped));
        }
    }

    proptest! {
        #[test]
        fn damage_anywhere_is_found_and_belongs_to_its_message(size in 24..200_usize, sequence in 0..5_u64, at: usize, byte: u8) {
            let variant = Variant::of_size(MessageKind::Binary, size);
            let variants = [variant.clone()];
            let mut reply = message(&variant, 7, sequence);
            let at = at % reply.len();
            prop_assume!(reply[at] != byte);
            reply[at] = byte;
            let sent = Sent { intended: sequence * 1_000_000, written: 0, variant: 0 };
            let marker = of(RUN, 7, sequence, sent.intended);
            match find(&variants, RUN, 7, &outstanding(5), &reply) {
                Found::Message { sequence: found } => prop_assert_eq!(found, sequence),
                Found::Damaged { sequence: found } => prop_assert_eq!(found, sequence),
                other => prop_assert!(false, "{:?}", other),
            }
            prop_assert!(!is_intact(&variants, &sent, Some(&marker), variant.kind, &reply));
        }

        #[test]
        fn random_json_is_json_of_its_size(size in 30..5000_usize, seed: u64) {
            for variant in random_json(size, 3, seed) {
                let text = message(&variant, 1, 1);
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
                prop_assert!(text.len().abs_diff(size) <= 7, "{} for {}", text.len(), size);
            }
            prop_assert_eq!(random_json(size, 2, seed), random_json(size, 2, seed));
        }
    }

    #[test]
    fn too_small_a_payload_has_no_marker() {
        assert_eq!(Variant::of_size(MessageKind::Text, 19).marker, None);
        assert_eq!(Variant::of_size(MessageKind::Text, 20).marker, Some(0));
        assert!(!Payload::Variants(vec![Variant::of_size(MessageKind::Text, 3)]).is_marked());
    }
}
