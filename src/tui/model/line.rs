//! A line that is being typed, and those typed before (pure).
//!
//! Owns the cursor and the history. Leaves what a line means to others. Invariant: the cursor stands between characters.

use crate::tui::keymap::Key;

/// Lines that are remembered.
const REMEMBERED: usize = 100;

/// A line of text with a cursor.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Line {
    text: String,
    at: usize,
}

impl Line {
    /// A line that holds this, the cursor at its end.
    #[must_use]
    pub(crate) fn of(text: &str) -> Self {
        Self { text: text.to_owned(), at: text.len() }
    }

    #[must_use]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    #[must_use]
    pub(crate) fn before(&self) -> &str {
        &self.text[..self.at]
    }

    /// Puts text in at the cursor.
    pub(crate) fn insert(&mut self, text: &str) {
        self.text.insert_str(self.at, text);
        self.at += text.len();
    }

    /// Edits by one key; whether it was one for editing.
    pub(crate) fn key(&mut self, key: Key) -> bool {
        match key {
            Key::Char(c) => self.insert(c.encode_utf8(&mut [0; 4])),
            Key::Backspace | Key::Ctrl('h') => {
                let before = self.left();
                self.text.replace_range(before..self.at, "");
                self.at = before;
            }
            Key::Delete => {
                let after = self.right();
                self.text.replace_range(self.at..after, "");
            }
            Key::Left => self.at = self.left(),
            Key::Right => self.at = self.right(),
            Key::Home | Key::Ctrl('a') => self.at = 0,
            Key::End | Key::Ctrl('e') => self.at = self.text.len(),
            Key::Ctrl('u') => *self = Self::default(),
            Key::Ctrl('k') => self.text.truncate(self.at),
            Key::Ctrl('w') => {
                let kept = self.before().trim_end().rfind(' ').map_or(0, |space| space + 1);
                self.text.replace_range(kept..self.at, "");
                self.at = kept;
            }
            _ => return false,
        }
        true
    }

    fn left(&self) -> usize {
        self.before().char_indices().next_back().map_or(0, |(place, _)| place)
    }

    fn right(&self) -> usize {
        self.text[self.at..].chars().next().map_or(self.at, |c| self.at + c.len_utf8())
    }
}

/// Lines that were typed before.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    lines: Vec<String>,
    /// How far back the one shown is; 0 is the one being typed.
    back: usize,
    typed: String,
}

impl History {
    /// Remembers a line and goes back to the newest.
    pub(crate) fn add(&mut self, line: &str) {
        self.back = 0;
        if self.lines.last().is_some_and(|last| last == line) {
            return;
        }
        if self.lines.len() >= REMEMBERED {
            self.lines.remove(0);
        }
        self.lines.push(line.to_owned());
    }

    /// The line before or after the one shown now.
    pub(crate) fn go(&mut self, line: &mut Line, older: bool) {
        let back = if older { (self.back + 1).min(self.lines.len()) } else { self.back.saturating_sub(1) };
        if back == self.back {
            return;
        }
        if self.back == 0 {
            line.text().clone_into(&mut self.typed);
        }
        self.back = back;
        *line = Line::of(match back {
            0 => &self.typed,
            back => &self.lines[self.lines.len() - back],
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::keymap::tests::keys;

    #[test]
    fn a_line_is_edited() {
        for (typed, text, before) in [
            ("abc", "abc", "abc"),
            ("a你😀<back><back>b", "ab", "ab"),
            ("abc<left><left>x", "axbc", "ax"),
            ("one two  <c-w>x", "one x", "one x"),
            ("abc<c-u>d", "d", "d"),
            ("abc<home><c-k>", "", ""),
            ("<back><left>a", "a", "a"),
        ] {
            let mut line = Line::default();
            for key in keys(typed) {
                assert!(line.key(key));
            }
            assert_eq!((line.text(), line.before()), (text, before), "{typed}");
        }
    }

    #[test]
    fn history_goes_back_and_forth_and_keeps_what_was_being_typed() {
        let mut history = History::default();
        for line in ["one", "two", "two"] {
            history.add(line);
        }
        let mut line = Line::of("ty");
        let mut seen = Vec::new();
        for older in [true, true, true, false, false, false] {
            history.go(&mut line, older);
            seen.push(line.text().to_owned());
        }
        assert_eq!(seen, ["two", "one", "one", "two", "ty", "ty"]);
    }
}
