//! Numbers of things, in words that agree with them: `1 message`, `2 messages`, `3 retries`.
//!
//! Owns how the plural is made: nouns are English and regular. Leaves how a number is written to the code that has one
//! to write.

use std::fmt::Display;

/// `1 message`, `2 messages`, `0 messages`.
pub(crate) fn counted<N: Copy + Display + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    let words = agreeing(count, noun);
    format!("{count} {words}")
}

/// The noun alone, as the count wants it: `message` or `messages`.
pub(crate) fn agreeing<N: Copy + PartialEq + From<u8>>(count: N, noun: &str) -> String {
    match noun.strip_suffix('y') {
        _ if count == N::from(1) => noun.to_owned(),
        // A day, days, but a retry, retries.
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ => format!("{noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_singular_and_all_else_plural() {
        assert_eq!(counted(0_u64, "message"), "0 messages");
        assert_eq!(counted(1_usize, "message"), "1 message");
        assert_eq!(counted(2_u32, "retry"), "2 retries");
        assert_eq!(counted(1_u32, "retry"), "1 retry");
        assert_eq!(counted(3, "day"), "3 days");
        assert_eq!(counted(0.5, "message"), "0.5 messages");
        assert_eq!(agreeing(1.0, "connection"), "connection");
    }
}
