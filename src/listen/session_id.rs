//! What sessions are called: `s` and their number.

use std::ops::Deref;

use crate::message::event::NO_SESSION;

/// The session of this name.
pub(crate) fn session_number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix('s')?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.starts_with('0');
    if is_plain { digits.parse().ok() } else { None }
}

/// How a session is called in events and on stderr; 0 is none.
pub(crate) fn session_id(id: u64) -> String {
    SessionId::of(id).to_owned()
}

/// Digits of the largest number.
const MAX_DIGITS: usize = 20;

/// A [`session_id`] that takes no allocation.
pub(crate) struct SessionId {
    text: [u8; 1 + MAX_DIGITS],
    from: usize,
}

impl SessionId {
    /// That of this session.
    pub(crate) fn of(id: u64) -> Self {
        let mut this = Self { text: [0; 1 + MAX_DIGITS], from: 1 + MAX_DIGITS };
        let mut rest = id;
        while rest > 0 {
            this.put(b'0' + (rest % 10) as u8);
            rest /= 10;
        }
        if id > 0 {
            this.put(b's');
        } else {
            NO_SESSION.bytes().rev().for_each(|byte| this.put(byte));
        }
        this
    }

    fn put(&mut self, byte: u8) {
        self.from -= 1;
        self.text[self.from] = byte;
    }
}

impl Deref for SessionId {
    type Target = str;

    fn deref(&self) -> &str {
        // It is all ASCII.
        std::str::from_utf8(&self.text[self.from..]).unwrap_or(NO_SESSION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_one_another() {
        for (id, name) in [(1, "s1"), (10, "s10"), (907, "s907"), (u64::MAX, "s18446744073709551615")] {
            assert_eq!(&*SessionId::of(id), name);
            assert_eq!((session_id(id).as_str(), session_number(name)), (name, Some(id)));
        }
        assert_eq!(&*SessionId::of(0), NO_SESSION);
        for wrong in ["", "s", "1", "s0", "s01", "s+1", "s1 ", "s18446744073709551616", NO_SESSION] {
            assert_eq!(session_number(wrong), None, "{wrong:?}");
        }
    }
}
