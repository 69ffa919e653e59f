//! What an event line begins with: time, session, direction and type.
//!
//! Owns how it is written, and keeps the one that was written last for a message: those that arrive together share it.

use std::cell::RefCell;

use jiff::Timestamp;

use super::Direction;
use crate::message::MessageKind;
use crate::message::digits::push_time;
use crate::message::json_string::push_json_string;

/// The session an event line belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EventSession<'a> {
    /// Its id, `s1`.
    pub id: &'a str,
    /// Its name, where it has one.
    pub name: Option<&'a str>,
}

impl<'a> From<&'a str> for EventSession<'a> {
    fn from(id: &'a str) -> Self {
        Self { id, name: None }
    }
}

impl<'a> From<&'a String> for EventSession<'a> {
    fn from(id: &'a String) -> Self {
        Self::from(&**id)
    }
}

thread_local! {
    static LAST: RefCell<Head> = const { RefCell::new(Head::NONE) };
}

struct Head {
    time: Timestamp,
    session: String,
    name: Option<String>,
    dir: Direction,
    kind: MessageKind,
    /// As written; empty if none yet.
    text: Vec<u8>,
}

impl Head {
    const NONE: Self = Self {
        time: Timestamp::UNIX_EPOCH,
        session: String::new(),
        name: None,
        dir: Direction::In,
        kind: MessageKind::Text,
        text: Vec::new(),
    };

    fn is_of(&self, time: Timestamp, session: EventSession<'_>, dir: Direction, kind: MessageKind) -> bool {
        self.time == time
            && self.dir == dir
            && self.kind == kind
            && self.session == session.id
            && self.name.as_deref() == session.name
            && !self.text.is_empty()
    }

    fn set(&mut self, time: Timestamp, session: EventSession<'_>, dir: Direction, kind: MessageKind) {
        if self.session != session.id {
            session.id.clone_into(&mut self.session);
        }
        self.name = session.name.map(str::to_owned);
        (self.time, self.dir, self.kind) = (time, dir, kind);
        self.text.clear();
        push_head(&mut self.text, time, session, Some(dir), kind.name());
    }
}

/// Appends the head of a message's line.
pub(super) fn push_message_head(
    out: &mut Vec<u8>,
    time: Timestamp,
    session: EventSession<'_>,
    dir: Direction,
    kind: MessageKind,
) {
    LAST.with_borrow_mut(|last| {
        if !last.is_of(time, session, dir, kind) {
            last.set(time, session, dir, kind);
        }
        out.extend_from_slice(&last.text);
    });
}

/// Appends the head of any line.
pub(super) fn push_head(
    out: &mut Vec<u8>,
    time: Timestamp,
    session: EventSession<'_>,
    dir: Option<Direction>,
    kind: &str,
) {
    out.extend_from_slice(b"{\"time\":\"");
    push_time(out, time);
    out.extend_from_slice(b"\",\"session\":");
    push_json_string(out, session.id);
    if let Some(name) = session.name {
        out.extend_from_slice(b",\"name\":");
        push_json_string(out, name);
    }
    if let Some(dir) = dir {
        out.extend_from_slice(b",\"dir\":\"");
        out.extend_from_slice(dir.as_str().as_bytes());
        out.push(b'"');
    }
    out.extend_from_slice(b",\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_kept_only_for_what_it_says() {
        let (now, later) = (Timestamp::UNIX_EPOCH, "2026-11-22T10:00:00.000001Z".parse().unwrap());
        let (text, binary) = (MessageKind::Text, MessageKind::Binary);
        let (inward, outward) = (Direction::In, Direction::Out);
        let lines = [
            (now, "", inward, text),
            (now, "", inward, text),
            (now, "s1", inward, text),
            (now, "s1", outward, text),
            (now, "s1", outward, binary),
            (later, "s1", outward, binary),
            (later, "s\"", outward, binary),
            (later, "s1", outward, binary),
            (later, "s1", outward, binary),
        ];
        let named = |(time, id, dir, kind)| {
            [None, Some("anna"), Some("\"")].map(|name| (time, EventSession { id, name }, dir, kind))
        };
        for (time, session, dir, kind) in lines.into_iter().flat_map(named) {
            let (mut kept, mut anew) = (b"so far".to_vec(), b"so far".to_vec());
            push_message_head(&mut kept, time, session, dir, kind);
            push_head(&mut anew, time, session, Some(dir), kind.name());
            assert_eq!(String::from_utf8(kept).unwrap(), String::from_utf8(anew).unwrap());
        }
    }
}
