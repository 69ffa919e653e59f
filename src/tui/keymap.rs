//! Which key does what: one table for the keys themselves, the help on the screen and the man page.
//!
//! Leaves what an action means to the model, and reading keys to the terminal. Invariant: in one place a key means one
//! thing.

use std::fmt::Write as _;

/// A key, as far as it can mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// A character that was typed.
    Char(char),
    /// A character with Ctrl.
    Ctrl(char),
    Enter,
    Esc,
    Tab,
    BackTab,
    Up,
    Down,
    Left,
    Right,
    PageUp,
    PageDown,
    Home,
    End,
    Backspace,
    Delete,
}

/// What a key does, outside a line that is being typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// The list of keys.
    Help,
    Quit,
    /// Leave as on an interrupt.
    Interrupt,
    /// To the background.
    Suspend,
    /// Draw everything anew.
    Redraw,
    NextPane,
    /// The pane before.
    PreviousPane,
    /// The pane of this number.
    Pane(u8),
    /// One pane only, or all.
    Zoom,
    Up,
    Down,
    /// A screenful up.
    PageUp,
    /// A screenful down.
    PageDown,
    /// To the first.
    Top,
    /// To the last, and live from there.
    End,
    /// Look at one.
    Detail,
    Back,
    /// Choose what is shown.
    Filter,
    /// No filter any more.
    Clear,
    /// Find a text.
    Search,
    /// Hold still, or go on.
    Pause,
    /// Messages of one way only.
    Direction,
    /// Messages of one kind only.
    Kind,
    /// Messages of one session only.
    OnlySession,
    Times,
    /// The next column to sort by.
    Sort,
    /// The other way round.
    Reverse,
    /// Mark a session.
    Mark,
    /// Send a message.
    Send,
    /// Close a session.
    Close,
    /// Throw a session out.
    Kick,
    Reconnect,
    /// Read nothing from sessions any more, or go on.
    PauseReading,
    /// Read so many messages a second from sessions.
    Limit,
    /// Save what is shown.
    Save,
    /// Save under a name.
    SaveAs,
    /// Copy to the clipboard.
    Copy,
    /// Bytes, or text.
    Hex,
    /// The next queue.
    Queue,
    /// Light or dark.
    Theme,
    /// The mouse is for this, or for the terminal.
    Mouse,
}

impl Action {
    /// Whether it does something to sessions, or is of use for that alone.
    #[must_use]
    pub(crate) fn needs_control(self) -> bool {
        matches!(
            self,
            Self::Mark | Self::Send | Self::Close | Self::Kick | Self::Reconnect | Self::PauseReading | Self::Limit
        )
    }
}

/// A line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub keys: &'static [Key],
    pub shown: &'static str,
    pub action: Action,
    /// The same in words.
    pub help: &'static str,
    /// A word for the line at the bottom; empty leaves it out there.
    pub hint: &'static str,
}

const fn row(keys: &'static [Key], shown: &'static str, action: Action, help: &'static str, hint: &'static str) -> Row {
    Row { keys, shown, action, help, hint }
}

/// All of them, in the order they are shown in.
pub(crate) const KEYS: &[Row] = &[
    row(&[Key::Char('?')], "?", Action::Help, "these keys", "keys"),
    row(&[Key::Char('q')], "q", Action::Quit, "quit", "quit"),
    row(&[Key::Tab], "Tab", Action::NextPane, "next pane", "pane"),
    row(&[Key::BackTab], "Shift-Tab", Action::PreviousPane, "previous pane", ""),
    row(&[Key::Char('1')], "1", Action::Pane(0), "sessions (2 queues, 3 messages, 4 log)", ""),
    row(&[Key::Char('2')], "2", Action::Pane(1), "queues", ""),
    row(&[Key::Char('3')], "3", Action::Pane(2), "messages", ""),
    row(&[Key::Char('4')], "4", Action::Pane(3), "log", ""),
    row(&[Key::Char('z')], "z", Action::Zoom, "zoom this pane, or show all", ""),
    row(&[Key::Up, Key::Char('k')], "Up k", Action::Up, "up; in messages this pauses the view", ""),
    row(&[Key::Down, Key::Char('j')], "Down j", Action::Down, "down", ""),
    row(&[Key::PageUp, Key::Ctrl('b')], "PgUp Ctrl-B", Action::PageUp, "page up", ""),
    row(&[Key::PageDown, Key::Ctrl('f')], "PgDn Ctrl-F", Action::PageDown, "page down", ""),
    row(&[Key::Home, Key::Char('g')], "Home g", Action::Top, "to the first", ""),
    row(&[Key::End, Key::Char('G')], "End G", Action::End, "to the last; messages follow live again", ""),
    row(&[Key::Enter], "Enter", Action::Detail, "show details", "detail"),
    row(&[Key::Esc], "Esc", Action::Back, "back", ""),
    row(&[Key::Char('/')], "/", Action::Filter, "filter: jq for messages, text for sessions and log", "filter"),
    row(&[Key::Ctrl('u')], "Ctrl-U", Action::Clear, "show everything again", ""),
    row(&[Key::Char('f')], "f", Action::Search, "search messages for text", ""),
    row(&[Key::Char(' ')], "Space", Action::Pause, "pause or resume the view", "pause"),
    row(&[Key::Char('d')], "d", Action::Direction, "messages in, out, or both", ""),
    row(&[Key::Char('t')], "t", Action::Kind, "text and binary, text, binary, control frames, everything", ""),
    row(&[Key::Char('s')], "s", Action::OnlySession, "only the selected session's messages, or all", ""),
    row(&[Key::Char('T')], "T", Action::Times, "timestamps: absolute, relative, delta", ""),
    row(&[Key::Char('o')], "o", Action::Sort, "sort sessions by the next column", ""),
    row(&[Key::Char('O')], "O", Action::Reverse, "reverse the sort order", ""),
    row(&[Key::Char('m')], "m", Action::Mark, "mark the selected session", ""),
    row(&[Key::Char('i')], "i", Action::Send, "send a message (Tab: to one, the marked, all; Up: history)", "send"),
    row(&[Key::Char('x')], "x", Action::Close, "close the session with a code, then y", "close"),
    row(&[Key::Char('K')], "K", Action::Kick, "kick the session with code 3003, then y", ""),
    row(&[Key::Char('r')], "r", Action::Reconnect, "reconnect the session, if this side opened it", ""),
    row(
        &[Key::Char('p')],
        "p",
        Action::PauseReading,
        "pause or resume reading from the selected or marked sessions",
        "",
    ),
    row(&[Key::Char('l')], "l", Action::Limit, "limit messages per second from the selected or marked sessions", ""),
    row(
        &[Key::Char('w')],
        "w",
        Action::Save,
        "save the view: messages as event lines, a detail as its payload",
        "save",
    ),
    row(&[Key::Char('W')], "W", Action::SaveAs, "save under a name", ""),
    row(&[Key::Char('y')], "y", Action::Copy, "copy the message to the clipboard (OSC 52)", ""),
    row(&[Key::Char('h')], "h", Action::Hex, "in a detail: hex or text", ""),
    row(&[Key::Char('u')], "u", Action::Queue, "next queue, or all together", ""),
    row(&[Key::Char('c')], "c", Action::Theme, "colours for a dark or light screen", ""),
    row(&[Key::Char('M')], "M", Action::Mouse, "mouse on, or off for the terminal's own selection", ""),
    row(&[Key::Ctrl('l')], "Ctrl-L", Action::Redraw, "redraw", ""),
    row(&[Key::Ctrl('z')], "Ctrl-Z", Action::Suspend, "to the background", ""),
    row(&[Key::Ctrl('c')], "Ctrl-C", Action::Interrupt, "interrupt", ""),
];

#[must_use]
pub(crate) fn action(key: Key) -> Option<Action> {
    KEYS.iter().find(|row| row.keys.contains(&key)).map(|row| row.action)
}

/// What can be offered: all of it, or only what looks and does nothing to sessions.
pub(crate) fn offered(control: bool) -> impl Iterator<Item = &'static Row> {
    KEYS.iter().filter(move |row| control || !row.action.needs_control())
}

/// The table as text, for the man page.
#[must_use]
pub(crate) fn text() -> String {
    KEYS.iter().fold(String::new(), |mut text, row| {
        let _ = writeln!(text, "{:<12} {}", row.shown, row.help);
        text
    })
}

#[cfg(test)]
pub(in crate::tui) mod tests {
    use super::*;

    /// Keys as tests write them: characters, and names in angle brackets.
    pub(in crate::tui) fn keys(text: &str) -> Vec<Key> {
        let mut keys = Vec::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let named = rest.strip_prefix('<').and_then(|rest| rest.split_once('>'));
            let Some((name, after)) = named else {
                keys.push(Key::Char(c));
                rest = &rest[c.len_utf8()..];
                continue;
            };
            keys.push(match name {
                "enter" => Key::Enter,
                "esc" => Key::Esc,
                "tab" => Key::Tab,
                "up" => Key::Up,
                "down" => Key::Down,
                "end" => Key::End,
                "home" => Key::Home,
                "left" => Key::Left,
                "pgup" => Key::PageUp,
                "back" => Key::Backspace,
                "lt" => Key::Char('<'),
                name => Key::Ctrl(name.strip_prefix("c-").and_then(|name| name.chars().next()).expect("a key")),
            });
            rest = after;
        }
        keys
    }

    #[test]
    fn a_key_means_one_thing() {
        let all: Vec<Key> = KEYS.iter().flat_map(|row| row.keys).copied().collect();
        for (place, key) in all.iter().enumerate() {
            assert!(!all[..place].contains(key), "{key:?} is there twice");
        }
        assert_eq!(action(Key::Char('k')), Some(Action::Up));
        assert_eq!(action(Key::Char('Z')), None);
    }

    #[test]
    fn who_only_looks_is_offered_nothing_else() {
        assert_eq!(offered(true).count(), KEYS.len());
        assert_eq!(KEYS.len() - offered(false).count(), 7);
        assert!(offered(false).all(|row| !row.help.contains("session,") && !"imxKrpl".contains(row.shown)));
    }

    #[test]
    fn the_text_has_a_line_a_row() {
        assert_eq!(text().lines().count(), KEYS.len());
    }
}
