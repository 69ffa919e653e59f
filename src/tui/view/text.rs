//! Text on the screen: safe, of the right width, and figures that people read at a glance (pure).
//!
//! Invariants: what a peer sent never reaches a cell unescaped; nothing is drawn beyond the width given.

use jiff::Timestamp;
use ratatui::buffer::Buffer;
use ratatui::style::Style;
use ratatui::text::Span;

use super::theme::Theme;
use crate::message::render;

/// Draws text into one line, as far as there is room; the width that took.
pub(super) fn put(buffer: &mut Buffer, (x, y): (u16, u16), width: u16, text: &str, style: Style) -> u16 {
    if width == 0 || !buffer.area.contains((x, y).into()) {
        return 0;
    }
    buffer.set_stringn(x, y, text, usize::from(width), style).0 - x
}

/// Draws text that ends at the right.
pub(super) fn put_right(buffer: &mut Buffer, (x, y): (u16, u16), width: u16, text: &str, style: Style) {
    let own = columns(text).min(width);
    put(buffer, (x + width - own, y), own, text, style);
}

/// Columns a text takes.
#[must_use]
pub(super) fn columns(text: &str) -> u16 {
    u16::try_from(Span::raw(text).width()).unwrap_or(u16::MAX)
}

/// What somebody else wrote, in one line that drives nothing; no more than about so many characters of it.
#[must_use]
pub(super) fn shown(payload: &[u8], most: usize) -> String {
    let cut = &payload[..payload.len().min(most * 4)];
    // A character that was cut in two is not an error of its sender's.
    let cut = match std::str::from_utf8(cut) {
        Err(error) if error.error_len().is_none() => &cut[..error.valid_up_to()],
        _ => cut,
    };
    let mut text = Vec::new();
    render::escape_for_terminal(&mut text, cut);
    String::from_utf8_lossy(&text).replace('\n', "\\n").replace('\t', "\\t")
}

/// A number with commas, or in thousands and millions where it is long.
#[must_use]
pub(super) fn count(number: u64) -> String {
    match number {
        0..100_000 => commas(number),
        100_000..1_000_000 => format!("{}k", number / 1000),
        1_000_000..1_000_000_000 => format!("{:.1}M", number as f64 / 1e6),
        _ => format!("{:.1}G", number as f64 / 1e9),
    }
}

#[must_use]
pub(super) fn commas(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[must_use]
pub(super) fn rate(rate: f64) -> String {
    match rate {
        rate if rate < 0.05 => "0".to_owned(),
        rate if rate < 9.95 => format!("{rate:.1}"),
        rate if rate < 999.5 => format!("{rate:.0}"),
        rate if rate < 99_950.0 => format!("{:.1}k", rate / 1e3),
        rate if rate < 999_500.0 => format!("{:.0}k", rate / 1e3),
        rate => format!("{:.1}M", rate / 1e6),
    }
}

#[must_use]
pub(super) fn bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "K", "M", "G", "T"];
    let mut size = bytes;
    let mut unit = 0;
    while size >= 999.5 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 || size >= 99.95 { format!("{size:.0}{}", UNITS[unit]) } else { format!("{size:.1}{}", UNITS[unit]) }
}

/// A time that has passed.
#[must_use]
pub(super) fn age(seconds: f64) -> String {
    // Not below zero.
    #[allow(clippy::cast_sign_loss)]
    let whole = seconds.max(0.0) as u64;
    match whole {
        0..60 => format!("{whole}s"),
        60..3600 => format!("{}m{:02}", whole / 60, whole % 60),
        3600..86400 => format!("{}h{:02}", whole / 3600, whole / 60 % 60),
        _ => format!("{}d{:02}", whole / 86400, whole / 3600 % 24),
    }
}

/// A time in milliseconds, to what can be distinguished.
#[must_use]
pub(super) fn milliseconds(time: f64) -> String {
    match time {
        time if time < 9.995 => format!("{time:.2}ms"),
        time if time < 999.5 => format!("{time:.0}ms"),
        time => format!("{:.1}s", time / 1e3),
    }
}

/// The time of the day, to the millisecond or to the second.
#[must_use]
pub(super) fn clock(time: Timestamp, exact: bool) -> String {
    let text = format!("{time:.3}");
    let (_, clock) = text.trim_end_matches('Z').split_once('T').unwrap_or(("", &text));
    clock.get(..if exact { 12 } else { 8 }).unwrap_or(clock).to_owned()
}

/// What a piece of a line of JSON is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token {
    Key,
    String,
    Number,
    Literal,
    Other,
}

impl Token {
    fn style(self, theme: &Theme) -> Style {
        match self {
            Self::Key => theme.key,
            Self::String => theme.string,
            Self::Number => theme.number,
            Self::Literal => theme.literal,
            Self::Other => Style::new(),
        }
    }
}

/// Cuts a line of JSON into its tokens.
fn tokens(line: &str) -> Vec<(&str, Token)> {
    let mut tokens = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let (length, token) = match first {
            '"' => {
                let mut escaped = false;
                let end = rest.char_indices().skip(1).find(|(_, c)| {
                    let ends = *c == '"' && !escaped;
                    escaped = *c == '\\' && !escaped;
                    ends
                });
                let length = end.map_or(rest.len(), |(place, _)| place + 1);
                let is_key = rest[length..].trim_start().starts_with(':');
                (length, if is_key { Token::Key } else { Token::String })
            }
            '0'..='9' | '-' => {
                (run(rest, |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '-')), Token::Number)
            }
            c if c.is_ascii_alphabetic() => (run(rest, |c| c.is_ascii_alphabetic()), Token::Literal),
            _ => {
                let plain = |c: char| !c.is_ascii_alphanumeric() && c != '"' && c != '-';
                (run(rest, plain).max(first.len_utf8()), Token::Other)
            }
        };
        tokens.push((&rest[..length], token));
        rest = &rest[length..];
    }
    tokens
}

fn run(text: &str, of: impl Fn(char) -> bool) -> usize {
    text.char_indices().find(|(_, c)| !of(*c)).map_or(text.len(), |(place, _)| place)
}

/// Draws a line of JSON in its colours.
pub(super) fn put_json(buffer: &mut Buffer, (x, y): (u16, u16), width: u16, line: &str, theme: &Theme) {
    let mut used = 0;
    for (text, token) in tokens(line) {
        let drawn = put(buffer, (x + used, y), width - used, text, token.style(theme));
        used += drawn;
        // What did not fit is not followed by what would.
        if used >= width || drawn < columns(text) {
            return;
        }
    }
}

/// Cuts a line into pieces that fit.
#[must_use]
pub(super) fn wrap(line: &str, width: u16) -> Vec<&str> {
    let mut pieces = Vec::new();
    let (mut from, mut used) = (0, 0);
    for (place, c) in line.char_indices() {
        let own = columns(c.encode_utf8(&mut [0; 4]));
        if used + own > width && place > from {
            pieces.push(&line[from..place]);
            (from, used) = (place, 0);
        }
        used += own;
    }
    pieces.push(&line[from..]);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        assert_eq!([0, 999, 12_304, 123_456, 1_500_000].map(count), ["0", "999", "12,304", "123k", "1.5M"]);
        assert_eq!([0.0, 0.5, 12.4, 1234.0, 123_456.0].map(rate), ["0", "0.5", "12", "1.2k", "123k"]);
        assert_eq!([0.0, 999.0, 1000.0, 20_480.0, 5e8].map(bytes), ["0B", "999B", "1.0K", "20.0K", "477M"]);
        assert_eq!([5.9, 65.0, 3725.0, 90_000.0].map(age), ["5s", "1m05", "1h02", "1d01"]);
        assert_eq!([0.25, 12.3, 1500.0].map(milliseconds), ["0.25ms", "12ms", "1.5s"]);
        assert_eq!(clock(Timestamp::UNIX_EPOCH, true), "00:00:00.000");
        assert_eq!(clock(Timestamp::UNIX_EPOCH, false), "00:00:00");
    }

    #[test]
    fn nothing_a_peer_sent_drives_the_terminal() {
        assert_eq!(shown("a\x1b[2J\nb\t\u{202e}c\u{9b}".as_bytes(), 100), "a\\u001b[2J\\nb\\t\\u202ec\\u009b");
        assert_eq!(shown("日本".as_bytes(), 1), "日", "it is cut between characters");
    }

    #[test]
    fn json_has_its_tokens_and_lines_fit() {
        let kinds: Vec<_> =
            tokens(r#"{"a\"":[-1.5e3,"x",true]}"#).into_iter().filter(|(_, token)| *token != Token::Other).collect();
        assert_eq!(
            kinds,
            [("\"a\\\"\"", Token::Key), ("-1.5e3", Token::Number), ("\"x\"", Token::String), ("true", Token::Literal)]
        );
        assert_eq!(wrap("日本語abc", 4), ["日本", "語ab", "c"]);
        assert_eq!(wrap("", 4), [""]);
        assert_eq!(wrap("日本", 1), ["日", "本"]);
    }
}
