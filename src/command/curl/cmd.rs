//! Browsers' "Copy as cURL (cmd)" of every year, in words (pure).
//!
//! Over the years Chrome quoted with `^"`, with `"` and carets inside, and with `"` doubled and `%` apart; Windows' own rules
//! would take some of these for something else. Here each means what was copied.

use super::OPEN;

/// Characters that carets escape, in lines that have no other sign of cmd.exe.
const ESCAPED: [&str; 9] = ["^&", "^%", "^!", "^{", "^|", "^<", "^>", "^^", "^["];

/// Whether a line is written for cmd.exe.
pub(super) fn is_cmd(text: &str) -> bool {
    has_carets(text) || has_doubled_quotes(text)
}

/// Whether carets escape what is behind them.
fn has_carets(text: &str) -> bool {
    let at_the_end = |line: &str| line.trim_end().ends_with('^');
    let is_quoted = text.contains(" '") || text.contains(" $'");
    text.contains("^\"") || text.lines().any(at_the_end) || !is_quoted && ESCAPED.iter().any(|sign| text.contains(sign))
}

/// Whether a quote within quotes is written twice.
fn has_doubled_quotes(text: &str) -> bool {
    let is_inner = |place: usize| {
        let before = text[..place].chars().next_back();
        let after = text[place + 2..].chars().next();
        let is_text = |c: Option<char>| c.is_some_and(|c| !c.is_whitespace());
        is_text(before) && is_text(after)
    };
    !text.contains('\'') && text.match_indices("\"\"").any(|(place, _)| is_inner(place))
}

/// Splits a line into words.
pub(super) fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let plain = if has_carets(text) { without_carets(text) } else { text.to_owned() };
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    let mut chars = plain.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if matches!(chars.peek(), Some('\\' | '"')) => word.get_or_insert_default().extend(chars.next()),
            // Twice within quotes it is one of them.
            '"' if quoted && chars.next_if_eq(&'"').is_some() => word.get_or_insert_default().push('"'),
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if quoted { Err(OPEN) } else { Ok(words) }
}

/// What cmd.exe makes of its escapes: `^x` is x, `^` at the end of a line joins it to the next, and an
/// empty line after that is a newline.
fn without_carets(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, if c == '^' { chars.next() } else { None }) {
            ('^', Some('\n')) if chars.next_if_eq(&'\n').is_some() => out.push('\n'),
            ('^', Some('\n')) => out.push(' '),
            ('^', Some(escaped)) => out.push(escaped),
            ('^', None) => {}
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_year_mean_what_was_copied() {
        // A URL with & and %20, a header with JSON, one with an exclamation mark, one with a backslash.
        let expected = ["curl", "wss://h/?a=1&b=%20c", "-H", r#"X: {"a":"b"}"#, "-H", "Y: hi! 100%", "-H", r"Z: c:\d"]
            .map(String::from);
        for line in [
            "curl ^\"wss://h/?a=1^&b=^%^20c^\" ^\n  -H ^\"X: ^{^\\^\"a^\\^\":^\\^\"b^\\^\"^}^\" ^\n  -H ^\"Y: hi^! 100^%^\" -H ^\"Z: c:^\\^\\d^\"",
            "curl \"wss://h/?a=1^&b=^%^20c\" ^\n  -H \"X: ^{^\\^\"a^\\^\":^\\^\"b^\\^\"^}\" ^\n  -H \"Y: hi^! 100^%\" ^\n -H \"Z: c:\\\\d\"",
            "curl \"wss://h/?a=1^&b=^%^20c\" -H \"X: ^{\\\"a\\\":\\\"b\\\"^}\" -H \"Y: hi^! 100^%\" -H \"Z: c:^\\^\\d\"",
            "curl \"wss://h/?a=1&b=\"%\"20c\" -H \"X: {\"\"a\"\":\"\"b\"\"}\" -H \"Y: hi! 100\"%\"\" -H \"Z: c:\\\\d\"",
        ] {
            assert!(is_cmd(line), "{line}");
            assert_eq!(words(line).as_deref(), Ok(&expected[..]), "{line}");
        }
        assert_eq!(words("curl ^\"a^\n\nb^\" \"\""), Ok(["curl", "a\nb", ""].map(String::from).to_vec()));
        assert_eq!(words("curl ^\"a"), Err(OPEN));
    }

    #[test]
    fn a_line_for_bash_is_not_taken_for_one() {
        for line in [
            "curl 'wss://h/?a=^&b' -H 'X: \"\"'",
            "curl \"wss://h/\" -H \"X: y\" \\\n --compressed",
            "curl $'wss://h/^!' -b \"\"",
            "curl wss://h/ -H \"\" -k",
        ] {
            assert!(!is_cmd(line), "{line}");
        }
    }
}
