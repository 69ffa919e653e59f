//! Errors of the system in its words.

use std::io;

/// Returns the cause in the words of the system, without the number behind it.
#[must_use]
pub(crate) fn io_text(error: &io::Error) -> String {
    without_number(&error.to_string()).to_owned()
}

/// Returns the text of an error without the number that the standard library puts behind it.
#[must_use]
pub(crate) fn without_number(text: &str) -> &str {
    text.rsplit_once(" (os error ").map_or(text, |(words, _)| words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_is_left_out() {
        let text = io_text(&io::Error::from_raw_os_error(2));
        assert_eq!(text, "No such file or directory");
        assert_eq!(without_number("connection closed"), "connection closed");
    }
}
