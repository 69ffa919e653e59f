//! The marker in our own payloads: 20 characters that say which message of which connection of which run this is.
//!
//! Owns the layout, the same in text, JSON and binary: a check character, then run, connection, sequence number and the
//! time stamp in microseconds, six bits a character. Leaves the rest of the payload to [`super::payload`].
//! Invariant: a change of any one character is noticed.

/// Characters of a marker.
pub(crate) const LEN: usize = 20;
/// What a payload of the user's has where the marker belongs.
pub(crate) const PLACE: &str = "{{marker}}";

/// Six bits each; none of them needs escaping in JSON.
const ALPHABET: &[u8; 64] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-abcdefghijklmnopqrstuvwxyz_";
/// The value of a byte that is not a character of the alphabet.
const NONE: u8 = 0xff;
const VALUES: [u8; 256] = values();
const RUN: usize = 1;
const CONNECTION: usize = 4;
const SEQUENCE: usize = 8;
const STAMP: usize = 14;

/// Bits of the run's number.
pub(crate) const RUN_BITS: u32 = 18;

const fn values() -> [u8; 256] {
    let mut values = [NONE; 256];
    let mut at = 0;
    while at < ALPHABET.len() {
        values[ALPHABET[at] as usize] = at as u8;
        at += 1;
    }
    values
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marker {
    /// Drawn for each run, so that messages of another one are recognised.
    pub run: u32,
    /// The connection that sent it.
    pub connection: u32,
    pub sequence: u64,
    /// A time in microseconds since the run began.
    pub stamp: u64,
}

impl Marker {
    /// Writes it; numbers are cut to what the layout holds.
    pub(crate) fn write(&self, out: &mut [u8; LEN]) {
        put(&mut out[RUN..CONNECTION], u64::from(self.run));
        put(&mut out[CONNECTION..SEQUENCE], u64::from(self.connection));
        put(&mut out[SEQUENCE..STAMP], self.sequence);
        put(&mut out[STAMP..], self.stamp);
        let sum = checksum(out).unwrap_or_default();
        out[0] = ALPHABET[usize::from(sum)];
    }

    /// Reads one, or `None` when it is damaged or none at all.
    #[must_use]
    pub(crate) fn read(text: &[u8; LEN]) -> Option<Self> {
        if checksum(text)? != VALUES[usize::from(text[0])] {
            return None;
        }
        Some(Self {
            run: get(&text[RUN..CONNECTION]) as u32,
            connection: get(&text[CONNECTION..SEQUENCE]) as u32,
            sequence: get(&text[SEQUENCE..STAMP]),
            stamp: get(&text[STAMP..]),
        })
    }

    /// Reads the one at this offset of a payload.
    #[must_use]
    pub(crate) fn read_at(payload: &[u8], offset: usize) -> Option<Self> {
        Self::read(payload.get(offset..)?.first_chunk()?)
    }

    /// Looks for one of this run anywhere in a payload: servers wrap what they send back.
    #[must_use]
    pub(crate) fn find(payload: &[u8], run: u32) -> Option<(usize, Self)> {
        let mut digits = [0; CONNECTION - RUN];
        put(&mut digits, u64::from(run));
        memchr::memmem::find_iter(payload, &digits).find_map(|at| {
            let offset = at.checked_sub(RUN)?;
            Self::read_at(payload, offset).map(|marker| (offset, marker))
        })
    }
}

fn put(out: &mut [u8], mut number: u64) {
    for byte in out.iter_mut().rev() {
        *byte = ALPHABET[(number & 63) as usize];
        number >>= 6;
    }
}

fn get(text: &[u8]) -> u64 {
    text.iter().fold(0, |number, byte| (number << 6) | u64::from(VALUES[usize::from(*byte)]))
}

/// Six bits over all but the first character. Odd weights: no change of one character keeps the sum.
fn checksum(text: &[u8; LEN]) -> Option<u8> {
    let mut sum = 0_u32;
    let mut known = 0_u8;
    for (index, byte) in text.iter().enumerate().skip(1) {
        let value = VALUES[usize::from(*byte)];
        // Values are below 64: only what is not a character has the highest bit.
        known |= value;
        sum = sum.wrapping_add(u32::from(value) * (2 * index as u32 + 1));
    }
    (known < 64).then_some((sum & 63) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(marker: Marker) -> [u8; LEN] {
        let mut text = [0; LEN];
        marker.write(&mut text);
        text
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            run in 0..1_u32 << RUN_BITS, connection in 0..1_u32 << 24, sequence in 0..1_u64 << 36, stamp in 0..1_u64 << 36,
        ) {
            let marker = Marker { run, connection, sequence, stamp };
            let text = written(marker);
            prop_assert!(text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(byte)));
            prop_assert_eq!(Marker::read(&text), Some(marker));
            let wrapped = [b"{\"id\":\"", &text[..], b"\"}"].concat();
            prop_assert_eq!(Marker::find(&wrapped, run), Some((7, marker)));
            prop_assert_eq!(Marker::find(&wrapped[..26], run), None);
        }

        #[test]
        fn no_change_of_a_character_goes_unnoticed(sequence in 0..1_u64 << 36, at in 0..LEN, byte: u8) {
            let marker = Marker { run: 77, connection: 5, sequence, stamp: sequence / 3 };
            let mut text = written(marker);
            prop_assume!(text[at] != byte);
            text[at] = byte;
            prop_assert_eq!(Marker::read(&text), None);
        }
    }
}
