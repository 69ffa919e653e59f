//! Reads event lines of messages that stand exactly as `write_message_line` writes them, which is what recordings are
//! full of, at a fraction of what a general parser costs.
//!
//! Whatever differs is left to [`parse_input_line`](super::parse_input_line), faults too. Invariant: a line that is
//! read here means what is read there. Payloads of neighbouring lines share an allocation.

use jiff::Timestamp;

use super::Direction;
use crate::message::Message;
use crate::message::payloads::Payloads;

/// `2026-01-02T03:04:05.`
const SECOND: usize = 20;
/// The same with six digits and `Z`.
const TIME: usize = 27;
/// What may stand behind a time in different lines, if all of it is to be known at a glance.
const HEADS: usize = 16;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RecordedMessage<'h> {
    pub time: Timestamp,
    /// The session's name.
    pub session: &'h str,
    pub dir: Direction,
    pub message: Message,
}

/// Reads line after line.
#[derive(Debug, Default)]
pub(crate) struct RecordedLines {
    /// The second of the last time and how it stands in the line: the next one most likely has the same.
    second: Option<([u8; SECOND], i64)>,
    /// What stood behind times; behind the next one most likely stands one of these.
    heads: Vec<Head>,
    payloads: Payloads,
}

/// What stands between time and size.
#[derive(Debug)]
struct Head {
    text: Vec<u8>,
    session: String,
    dir: Direction,
    is_text: bool,
}

impl Head {
    fn read(text: &[u8]) -> Option<Self> {
        let (session, rest) = word(text.strip_prefix(b"\",\"session\":\"")?)?;
        let rest = match rest.strip_prefix(b",\"name\":\"") {
            Some(name) => word(name)?.1,
            None => rest,
        };
        let (dir, rest) = word(rest.strip_prefix(b",\"dir\":\"")?)?;
        let dir = match dir {
            "in" => Direction::In,
            "out" => Direction::Out,
            _ => return None,
        };
        let (kind, rest) = word(rest.strip_prefix(b",\"type\":\"")?)?;
        let is_text = match kind {
            "text" => true,
            "binary" => false,
            _ => return None,
        };
        let rest = rest.strip_prefix(b",\"size\":")?;
        Some(Self { text: text[..text.len() - rest.len()].to_vec(), session: session.to_owned(), dir, is_text })
    }
}

impl RecordedLines {
    /// Reads the line that `text` begins with, and says how long it is with its newline; `None` leaves it to a general
    /// parser, or is for want of more text.
    pub(crate) fn read_first(&mut self, text: &[u8]) -> Option<(RecordedMessage<'_>, usize)> {
        let (time, rest) = text.strip_prefix(b"{\"time\":\"")?.split_first_chunk::<TIME>()?;
        let time = self.time(time)?;
        let known = self.heads.iter().position(|head| rest.starts_with(&head.text));
        let index = match known {
            Some(index) => index,
            None => self.learn(Head::read(rest)?),
        };
        let head = &self.heads[index];
        let rest = &rest[head.text.len()..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        // A number in JSON has digits, and no zero before another.
        if digits == 0 || digits > 19 || (digits > 1 && rest[0] == b'0') {
            return None;
        }
        let rest = &rest[digits..];
        let (message, end) = if head.is_text {
            self.payloads.text(rest.strip_prefix(b",\"text\":\"")?)?
        } else {
            self.payloads.base64(rest.strip_prefix(b",\"base64\":\"")?)?
        };
        let end = end.strip_prefix(b"}\n")?;
        let message = RecordedMessage { time, session: &head.session, dir: head.dir, message };
        Some((message, text.len() - end.len()))
    }

    fn learn(&mut self, head: Head) -> usize {
        if self.heads.len() == HEADS {
            self.heads.clear();
        }
        self.heads.push(head);
        self.heads.len() - 1
    }

    fn time(&mut self, text: &[u8; TIME]) -> Option<Timestamp> {
        let (second, rest) = text.split_first_chunk::<SECOND>()?;
        let [digits @ .., b'Z'] = rest else { return None };
        let micros = digits.iter().try_fold(0_i32, |value, digit| {
            let digit = digit.wrapping_sub(b'0');
            (digit < 10).then_some(value * 10 + i32::from(digit))
        })?;
        let known = match self.second {
            Some((text, known)) if text == *second => known,
            _ => {
                let time: Timestamp = std::str::from_utf8(text).ok()?.parse().ok()?;
                let known = time.as_second();
                // Not of leap seconds and of what was before 1970, whose fractions are counted otherwise.
                if known < 0 || second[19] != b'.' || second[17] == b'6' {
                    return None;
                }
                self.second = Some((*second, known));
                known
            }
        };
        Timestamp::new(known, micros * 1000).ok()
    }
}

/// A short string of plain ASCII, behind its quote, and what comes after it.
fn word(text: &[u8]) -> Option<(&str, &[u8])> {
    let end = text.iter().position(|byte| !matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_'))?;
    let (word, rest) = text.split_at(end);
    Some((std::str::from_utf8(word).ok()?, rest.strip_prefix(b"\"")?))
}

#[cfg(test)]
mod tests {
    use super::super::{EventSession, InputEvent, parse_input_line, write_message_line};
    use super::*;
    use crate::message::json_string::SHARED;
    use proptest::prelude::*;

    fn line<'s>(micros: i64, session: impl Into<EventSession<'s>>, dir: Direction, message: &Message) -> Vec<u8> {
        let mut out = Vec::new();
        write_message_line(&mut out, Timestamp::from_microsecond(micros).unwrap(), session, dir, message);
        out
    }

    /// Reads a line both ways: what is read here must be what the general parser says.
    fn read(lines: &mut RecordedLines, line: &[u8]) -> bool {
        let Some((quick, length)) = lines.read_first(line) else { return false };
        assert_eq!(length, line.len());
        let general = parse_input_line(line).unwrap();
        assert_eq!(general.time.unwrap().parse::<Timestamp>().unwrap(), quick.time);
        assert_eq!(general.session.as_deref(), Some(quick.session));
        assert_eq!(general.dir, Some(quick.dir));
        assert_eq!(general.event, InputEvent::Message(quick.message));
        true
    }

    #[test]
    fn only_lines_that_stand_as_they_are_written_are_read() {
        let good = String::from_utf8(line(1_767_323_045_678_901, "s1", Direction::Out, &Message::text("a"))).unwrap();
        let mut lines = RecordedLines::default();
        assert!(read(&mut lines, good.as_bytes()));
        let named = EventSession { id: "s1", name: Some("anna") };
        assert!(read(&mut lines, &line(7, named, Direction::Out, &Message::text("a"))));
        // What comes behind it is another's.
        let twice = format!("{good}{good}");
        assert_eq!(lines.read_first(twice.as_bytes()).map(|(_, length)| length), Some(good.len()));
        for (from, to) in [
            ("\"dir\":\"out\",", ""),
            ("out", "up"),
            ("05.678901Z", "5.6789010Z"),
            ("05.678901Z", "05,678901Z"),
            ("05.678901Z", "65.678901Z"),
            ("05.678901Z", "60.678901Z"),
            ("678901Z", "67890 Z"),
            ("678901Z", "678901z"),
            ("2026", "1969"),
            ("\"size\":1", "\"size\":"),
            ("\"size\":1", "\"size\":01"),
            ("\"size\":1", "\"size\":-1"),
            ("\"size\":1", "\"size\":1e3"),
            ("\"text\",", "\"ping\","),
            ("\"text\":", "\"base64\":"),
            ("\"a\"}", "\"a\"} x"),
            ("\"a\"}", "\"a\",\"x\":1}"),
            ("\"a\"}", "\"a\""),
            ("\"a\"}\n", "\"a\"}"),
            ("\"a\"}\n", "\"a\"}\r\n"),
            ("\"a\"}", "\"a\n\"}"),
            ("s1", "s\\u0031"),
        ] {
            let changed = good.replace(from, to);
            assert_ne!(changed, good, "{from}");
            assert!(!read(&mut lines, changed.as_bytes()), "{changed}");
            // A line that is not read does no harm to the next.
            assert!(read(&mut lines, good.as_bytes()));
        }
    }

    #[test]
    fn lines_of_many_sessions_may_alternate() {
        let mut lines = RecordedLines::default();
        for session in (0..100).chain(0..100) {
            for dir in [Direction::In, Direction::Out] {
                for message in [Message::text("a"), Message::binary("b")] {
                    assert!(read(&mut lines, &line(7, &*format!("s{session}"), dir, &message)));
                }
            }
        }
    }

    #[test]
    fn payloads_stay_when_later_lines_are_read() {
        let mut lines = RecordedLines::default();
        let messages: Vec<_> = (0..3000)
            .map(|number| match number % 3 {
                0 => Message::binary(vec![number as u8; number % 700]),
                1 => Message::text("é\n".repeat(number % 300)),
                _ => Message::text("x".repeat(if number == 500 { 3 * SHARED } else { number % 90 })),
            })
            .collect();
        let read: Vec<_> = messages
            .iter()
            .map(|message| lines.read_first(&line(7, "s1", Direction::In, message)).map(|(read, _)| read.message))
            .collect();
        assert!(read.iter().zip(&messages).all(|(read, message)| read.as_ref() == Some(message)));
    }

    fn message() -> impl Strategy<Value = Message> {
        prop_oneof![
            "[a-z\"\\\\ \n\té€😀]{0,120}".prop_map(Message::text),
            proptest::collection::vec(any::<u8>(), 0..60).prop_map(Message::binary),
        ]
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            micros in proptest::collection::vec(0_i64..250_000_000_000_000_000, 1..4),
            near in 0_i64..3_000_000,
            message in message(),
        ) {
            let mut lines = RecordedLines::default();
            for micros in micros.iter().flat_map(|micros| [*micros, *micros + near]) {
                prop_assert!(read(&mut lines, &line(micros, "s12", Direction::In, &message)));
            }
        }

        #[test]
        fn a_changed_line_means_the_same_or_is_not_read(
            message in message(),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            dropped in proptest::option::of(any::<prop::sample::Index>()),
        ) {
            let mut lines = RecordedLines::default();
            let mut line = line(1_767_323_045_678_901, "s1", Direction::Out, &message);
            for (at, byte) in changes {
                let at = at.index(line.len());
                line[at] = byte;
            }
            if let Some(at) = dropped {
                line.remove(at.index(line.len()));
            }
            read(&mut lines, &line);
        }
    }
}
